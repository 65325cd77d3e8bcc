//! The memory map of a domain: where everything lies in the window, as a function of its size alone.
//!
//! ```text
//!  0        header (64 KiB): identity, budget, heads of the free lists, high-water marks
//!  64 KiB   process slots           1,024 x 512 B
//!  576 KiB  PCBs                    4,096 x  64 B
//!  832 KiB  name buckets            4,096 x   8 B
//!  1 MiB    channel records        65,536 x 1 KiB
//!  65 MiB   schemas                63 MiB of text
//!  128 MiB  capability records  1,048,576 x 64 B
//!  192 MiB  ready sets             4,096 x 4 KiB
//!  208 MiB  entries               65,536 x 64 B   (to 212 MiB)
//!  W/64     block records, one for each block of 64 B and more (32 B)
//!  20W/256  blocks of 8 B .. 2 KiB, one region of W/256 for each class
//!  W/8      blocks of 4 KiB ..,     one region of W/32  for each class   (to 7W/8)
//!  7W/8     notes of parcels that are kept for a successor, one for each block (32 B)   (to 15W/16)
//! ```
//!
//! W is the window: a power of two, at least 16 GiB. The file is sparse: a region costs memory where it
//! is used, so each class can have a region of its own, and blocks are never split or joined.
//!
//! Blocks of less than a cache line (classes 3 to 5) have a line each, with their record in its first half: a small
//! parcel and the word that says who holds it then travel in one line.
//!
//! M1. A block of class k is 2^k bytes and lies at a multiple of 2^k from the start of the window.
//! M2. Block records lie outside the blocks, and outside the pages of every block that is ever punched.

use super::bits::LEVELS;

/// Largest number of processes of a domain.
pub const PROCESSES_MAX: usize = 1024;
/// Largest number of waiting threads and tasks.
pub const PCBS_MAX: usize = 4096;
/// Largest number of channels that a domain ever has.
pub const CHANNELS_MAX: usize = 65_536;
/// Heads of the lists of channels by name.
pub const BUCKETS: usize = 4096;
/// Largest number of selects that sleep or have slept, and still live.
pub const SELECTS_MAX: usize = 4096;
/// Largest number of ends and parcels that lie in parcels, together with the holds that processes have of channels without a
/// name.
pub const ENTRIES_MAX: usize = 65_536;
/// Largest number of capabilities.
pub const CAPABILITIES_MAX: usize = 1 << 20;

/// Bytes of a process slot.
pub const PROCESS_BYTES: u64 = 512;
/// Bytes of a PCB.
pub const PCB_BYTES: u64 = 64;
/// Bytes of a channel record.
pub const CHANNEL_BYTES: u64 = 1024;
/// Bytes of a capability record.
pub const CAPABILITY_BYTES: u64 = 64;
/// Bytes from one ready set to the next: one for each operation that it can have.
pub const SELECT_BYTES: u64 = 4096;
/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 64;
/// Bytes of a block record.
pub const BLOCK_RECORD_BYTES: u64 = 32;

/// Bytes of a note.
pub const NOTE_BYTES: u64 = 32;

/// Offset of the process slots.
pub const PROCESSES: u64 = 64 << 10;
/// Offset of the PCBs.
pub const PCBS: u64 = PROCESSES + PROCESSES_MAX as u64 * PROCESS_BYTES;
/// Offset of the name buckets.
pub const BUCKET_HEADS: u64 = PCBS + PCBS_MAX as u64 * PCB_BYTES;
/// Offset of the channel records.
pub const CHANNELS: u64 = 1 << 20;
/// Offset of the schema texts.
pub const SCHEMAS: u64 = CHANNELS + CHANNELS_MAX as u64 * CHANNEL_BYTES;
/// Bytes of schema text.
pub const SCHEMAS_BYTES: u64 = CAPABILITIES - SCHEMAS;
/// Offset of the capability records.
pub const CAPABILITIES: u64 = 128 << 20;
/// Offset of the ready sets.
pub const SELECTS: u64 = CAPABILITIES + CAPABILITIES_MAX as u64 * CAPABILITY_BYTES;
/// Offset of the entries.
pub const ENTRIES: u64 = SELECTS + SELECTS_MAX as u64 * SELECT_BYTES;
const FIXED_END: u64 = ENTRIES + ENTRIES_MAX as u64 * ENTRY_BYTES;

const _: () = assert!(BUCKET_HEADS + BUCKETS as u64 * 8 <= CHANNELS);
const _: () = assert!(SCHEMAS < CAPABILITIES && FIXED_END <= WINDOW_MIN / 64);

/// Smallest window.
pub const WINDOW_MIN: u64 = 16 << 30;
/// Default window.
pub const WINDOW_DEFAULT: u64 = 1 << 40;
/// Largest window: what 44 bits of offset in a reference can reach.
pub const WINDOW_MAX: u64 = 1 << 44;

/// Smallest block: 8 bytes.
pub const CLASS_MIN: u32 = 3;
/// First class with its records elsewhere: a cache line.
pub const CLASS_LINE: u32 = 6;
const LINE_BYTES: u64 = 1 << CLASS_LINE;
const _: () = assert!(BLOCK_RECORD_BYTES == LINE_BYTES / 2);
/// First class with a large region: 4 KiB.
pub const CLASS_LARGE: u32 = 12;
/// Largest class, 32 GiB: 24 large regions fit between W/8 and 7W/8.
pub const CLASS_MAX: u32 = CLASS_LARGE + 23;
/// One more than the largest class.
pub const CLASSES: usize = CLASS_MAX as usize + 1;

/// From one block of a class to the next.
const fn pitch_log2(class: u32) -> u32 {
    if class < CLASS_LINE {
        CLASS_LINE
    } else {
        class
    }
}

/// The map of a window of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    window_log2: u32,
}

/// A block: its class and its index in the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// log2 of its size.
    pub class: u32,
    /// Its place among the blocks of its class.
    pub index: u64,
}

impl BlockId {
    /// Bytes of the block.
    pub const fn bytes(self) -> u64 {
        1 << self.class
    }
}

impl Map {
    /// None unless `window_bytes` is a power of two from [`WINDOW_MIN`] to [`WINDOW_MAX`].
    pub const fn new(window_bytes: u64) -> Option<Map> {
        if !window_bytes.is_power_of_two() || window_bytes < WINDOW_MIN || window_bytes > WINDOW_MAX {
            return None;
        }
        Some(Map { window_log2: window_bytes.trailing_zeros() })
    }

    /// W.
    pub const fn window_bytes(self) -> u64 {
        1 << self.window_log2
    }

    /// The largest class of this window.
    pub const fn class_max(self) -> u32 {
        let whole_region = self.window_log2 - 5;
        if whole_region < CLASS_MAX {
            whole_region
        } else {
            CLASS_MAX
        }
    }

    /// The class for `bytes` (0 counts as 1); None: larger than the largest block.
    pub const fn class_for(self, bytes: u64) -> Option<u32> {
        let log2 = if bytes <= 1 { 0 } else { 64 - (bytes - 1).leading_zeros() };
        let class = if log2 < CLASS_MIN { CLASS_MIN } else { log2 };
        if class > self.class_max() {
            return None;
        }
        Some(class)
    }

    const fn region(self, class: u32) -> u64 {
        if class < CLASS_LARGE {
            (20 + (class - CLASS_MIN) as u64) << (self.window_log2 - 8)
        } else {
            (4 + (class - CLASS_LARGE) as u64) << (self.window_log2 - 5)
        }
    }

    /// How many blocks of a class there are at most.
    pub const fn count(self, class: u32) -> u64 {
        let region_log2 = if class < CLASS_LARGE { self.window_log2 - 8 } else { self.window_log2 - 5 };
        1 << (region_log2 - pitch_log2(class))
    }

    /// Offset of a block.
    pub const fn block(self, id: BlockId) -> u64 {
        let start = self.region(id.class) + (id.index << pitch_log2(id.class));
        if id.class < CLASS_LINE {
            start + BLOCK_RECORD_BYTES
        } else {
            start
        }
    }

    /// Offset of a block's record.
    pub const fn block_record(self, id: BlockId) -> u64 {
        if id.class < CLASS_LINE {
            return self.region(id.class) + (id.index << CLASS_LINE);
        }
        // Records of all smaller classes come before: a geometric series, 2^(a+1) - 2^(b+1).
        let small_log2 = self.window_log2 - 8;
        let large_log2 = self.window_log2 - 5;
        let before = if id.class < CLASS_LARGE {
            (1 << (small_log2 - CLASS_LINE + 1)) - (1 << (small_log2 - id.class + 1))
        } else {
            (1 << (small_log2 - CLASS_LINE + 1)) - (1 << (small_log2 - CLASS_LARGE + 1))
                + (1 << (large_log2 - CLASS_LARGE + 1))
                - (1 << (large_log2 + 1 - id.class))
        };
        let before: u64 = before;
        (1 << (self.window_log2 - 6)) + (before + id.index) * BLOCK_RECORD_BYTES
    }

    /// Offset of a block's note.
    pub const fn note(self, id: BlockId) -> u64 {
        let notes = 7 << (self.window_log2 - 3);
        if id.class < CLASS_LINE {
            // After the others, which fill less than W/64, as their records do.
            let of_class = 1 << (self.window_log2 - 9);
            return notes
                + (1 << (self.window_log2 - 6))
                + (id.class - CLASS_MIN) as u64 * of_class
                + id.index * NOTE_BYTES;
        }
        notes + self.block_record(id) - (1 << (self.window_log2 - 6))
    }

    /// Of the first `used` blocks of a class those whose records may say anything, by index: those that are present, as `present`
    /// says of a range of offsets, and a few more after each, that were counted and not touched yet.
    pub fn recorded(
        self,
        class: u32,
        used: u64,
        present: impl FnOnce(u64, u64) -> Vec<std::ops::Range<u64>>,
    ) -> Vec<std::ops::Range<u64>> {
        const MORE: u64 = 128;
        let used = used.min(self.count(class));
        let pitch = if class < CLASS_LINE { 1 << CLASS_LINE } else { BLOCK_RECORD_BYTES };
        let begin = self.block_record(BlockId { class, index: 0 });
        let mut all = Vec::new();
        all.push(0..used.min(MORE));
        if used <= MORE {
            return all;
        }
        for range in present(begin, begin + used * pitch) {
            let from = (range.start - begin) / pitch;
            let to = ((range.end - begin).div_ceil(pitch) + MORE).min(used);
            match all.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(to),
                _ => all.push(from..to),
            }
        }
        all
    }

    /// Words of each level of the bits that say which blocks of a class may be free (`bits.rs`).
    const fn bit_words(self, class: u32, level: usize) -> u64 {
        self.count(class).div_ceil(1 << (6 * (level + 1)))
    }

    /// Offset of word `i` of a level of those bits; None: there is no such word. The upper levels come first, so that a
    /// class of which little is used touches few pages.
    pub const fn bits(self, class: u32, level: usize, i: u64) -> Option<u64> {
        if class > self.class_max() || level >= LEVELS || i >= self.bit_words(class, level) {
            return None;
        }
        // 2^(log2 - 14) blocks at most: 2^(log2 - 17) bytes, and less than as many again above.
        let mut at = (15 << (self.window_log2 - 4)) + ((class as u64) << (self.window_log2 - 16));
        let mut above = LEVELS - 1;
        while above > level {
            at += self.bit_words(class, above) * 8;
            above -= 1;
        }
        Some(at + i * 8)
    }

    /// The block that holds `offset`, if any. The offset may come from a peer.
    #[inline]
    pub const fn locate(self, offset: u64) -> Option<BlockId> {
        if offset >= self.window_bytes() {
            return None;
        }
        let (class, region_log2) = if offset >= self.region(CLASS_LARGE) {
            let region_log2 = self.window_log2 - 5;
            let class = (offset >> region_log2) as u32 + CLASS_LARGE - 4;
            if class > self.class_max() {
                return None;
            }
            (class, region_log2)
        } else {
            let region_log2 = self.window_log2 - 8;
            let at = offset >> region_log2;
            if at < 20 || at >= 20 + (CLASS_LARGE - CLASS_MIN) as u64 {
                return None;
            }
            (at as u32 - 20 + CLASS_MIN, region_log2)
        };
        if class < CLASS_LINE {
            let block = offset & (LINE_BYTES - 1);
            if block < BLOCK_RECORD_BYTES || block >= BLOCK_RECORD_BYTES + (1 << class) {
                return None;
            }
        }
        Some(BlockId { class, index: (offset & ((1 << region_log2) - 1)) >> pitch_log2(class) })
    }

    /// All classes of this window.
    pub fn classes(self) -> impl DoubleEndedIterator<Item = u32> {
        CLASS_MIN..=self.class_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap_and_blocks_are_found_again() {
        for log2 in 34..=44 {
            let map = Map::new(1 << log2).unwrap();
            let mut end = FIXED_END;
            // Records first, then regions, each after the one before.
            let first = map.block_record(BlockId { class: CLASS_LINE, index: 0 });
            assert!(first >= end);
            let last = BlockId { class: map.class_max(), index: map.count(map.class_max()) - 1 };
            end = map.block_record(last) + BLOCK_RECORD_BYTES;
            for class in map.classes() {
                let first = BlockId { class, index: 0 };
                let last = BlockId { class, index: map.count(class) - 1 };
                assert!(map.block(first) >= end, "class {class} of 2^{log2}");
                assert_eq!(map.block(first) % (1 << class), 0, "M1");
                end = map.block(last) + last.bytes();
                for id in [first, last] {
                    assert_eq!(map.locate(map.block(id)), Some(id));
                    assert_eq!(map.locate(map.block(id) + id.bytes() - 1), Some(id));
                    if class < CLASS_LINE {
                        assert_eq!(map.block_record(id) % LINE_BYTES, 0);
                        assert_eq!(map.block(id), map.block_record(id) + BLOCK_RECORD_BYTES);
                        assert_eq!(map.locate(map.block_record(id)), None, "a record is no block");
                        assert_eq!(map.locate(map.block(id) - 1), None, "nor is its last byte");
                    }
                }
                assert_eq!(map.class_for(1 << class), Some(class));
            }
            assert!(end <= map.window_bytes() / 8 * 7);
            // Notes: first those of larger blocks, then those of small ones; below 15W/16.
            let large = map.classes().filter(|class| *class >= CLASS_LINE);
            end = map.window_bytes() / 8 * 7;
            for class in large.chain(CLASS_MIN..CLASS_LINE) {
                assert!(map.note(BlockId { class, index: 0 }) >= end, "notes of class {class} of 2^{log2}");
                end = map.note(BlockId { class, index: map.count(class) - 1 }) + NOTE_BYTES;
            }
            assert!(end <= map.window_bytes() / 16 * 15);
            end = map.window_bytes() / 16 * 15;
            // The bits after them, apart from each other.
            for class in map.classes() {
                for level in (0..LEVELS).rev() {
                    let words = map.bit_words(class, level);
                    let [first, last] = [0, words - 1].map(|i| map.bits(class, level, i).unwrap());
                    assert!(first >= end && words << (6 * (level + 1)) >= map.count(class));
                    assert_eq!((map.bits(class, level, words), map.locate(first)), (None, None));
                    end = last + 8;
                }
            }
            assert!(end <= map.window_bytes());
            assert_eq!(map.locate(0), None);
            assert_eq!(map.locate(first), None);
            assert_eq!(map.locate(map.window_bytes() - 1), None);
            assert_eq!(map.class_for(map.window_bytes()), None);
            for offset in (log2..64).map(|bit| 1 << bit).chain([u64::MAX, u64::MAX - 4095, 1 << 61 | 1 << 34])
            {
                assert_eq!(map.locate(offset), None, "{offset:#x} is beyond the window");
            }
        }
        assert!(Map::new(WINDOW_MIN / 2).is_none() && Map::new(WINDOW_MIN + 1).is_none());
    }
}
