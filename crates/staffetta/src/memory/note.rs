//! From which channel a parcel came: what its receiver notes of it, for the case that it dies before it releases or forwards it.
//!
//! ```text
//!  63       62       61            46 45                                     0
//! +--------+--------+----------------+----------------------------------------+
//! | 1:note | 1:kept |  channel (16)  |  incarnation of the block, low 46 bits |     in the block's record, beside the holder word
//! +--------+--------+----------------+----------------------------------------+
//! ```
//!
//! All channels note what is received, so that what is lost with its receiver can be counted. Those that keep their messages for a
//! successor say so (kept): they have a name, so their record is never another channel's.
//!
//! Z1. A note is about one incarnation. Whatever becomes of the block (freed, forwarded and received, enclosed) changes that, and the
//!     note is void, without anybody having to take it back.
//! Z2. Only who holds the block stores its note, before the holder word says so; who claims a RETURNED block moves its note to the next
//!     incarnation by compare-exchange, before it claims. So no late store meets another life of the block.
//! Z3. Of a channel that keeps its messages there is a `Note` too, in a region of its own (map.rs), which is valid if the note in
//!     the record is.

use std::sync::atomic::AtomicU64;

use super::map::CHANNELS_MAX;

const NOTED: u64 = 1 << 63;
const KEPT: u64 = 1 << 62;
const INCARNATION_BITS: u32 = 46;
const INCARNATION_MASK: u64 = (1 << INCARNATION_BITS) - 1;

const _: () = assert!(CHANNELS_MAX <= 1 << (62 - INCARNATION_BITS));

/// More of a parcel that came over a channel which keeps its messages for a successor.
#[repr(C, align(32))]
pub struct Note {
    /// Its place in the channel: what is smaller comes first.
    pub order: AtomicU64,
    /// Bytes of its message.
    pub length: AtomicU64,
    /// 1: its receiver may have begun to change it.
    pub changed: AtomicU64,
    /// How often it came back.
    pub returns: AtomicU64,
}

const _: () = assert!(size_of::<Note>() == super::map::NOTE_BYTES as usize);

/// The note that a block of this incarnation came from `channel`, which does not keep its messages.
#[inline(always)]
pub fn came_from(channel: usize, incarnation: u64) -> u64 {
    NOTED | (channel as u64) << INCARNATION_BITS | incarnation & INCARNATION_MASK
}

/// The note that a block of this incarnation came from `channel`, which keeps it for a successor.
pub fn kept_from(channel: usize, incarnation: u64) -> u64 {
    came_from(channel, incarnation) | KEPT
}

fn channel_in(note: u64) -> usize {
    (note >> INCARNATION_BITS) as usize % CHANNELS_MAX
}

/// The channel from which a block of this incarnation came. None: the note says nothing of it (Z1).
pub fn channel_of(note: u64, incarnation: u64) -> Option<usize> {
    let channel = channel_in(note);
    (note & !KEPT == came_from(channel, incarnation)).then_some(channel)
}

/// The channel that keeps a block of this incarnation. None: none does.
pub fn keeper_of(note: u64, incarnation: u64) -> Option<usize> {
    channel_of(note, incarnation).filter(|_| note & KEPT != 0)
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Note { order, length, changed, returns })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_about_one_incarnation() {
        for note in [came_from(65_535, 7), kept_from(65_535, 7)] {
            assert_eq!(channel_of(note, 7), Some(65_535));
            assert_eq!(channel_of(note, 8), None);
            assert_eq!(channel_of(note & !NOTED, 7), None, "a link of a free list is no note");
        }
        assert_eq!(keeper_of(kept_from(65_535, 7), 7), Some(65_535));
        assert_eq!(keeper_of(kept_from(65_535, 7), 6), None);
        assert_eq!(keeper_of(came_from(65_535, 7), 7), None);
        assert_eq!(channel_of(0, 0), None);
        assert_eq!(channel_of(came_from(0, u64::MAX >> 16), u64::MAX >> 16), Some(0));
    }
}
