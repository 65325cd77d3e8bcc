//! A domain's window as this process maps it: from offsets to references of the right type.
//!
//! G1. The mapping covers the whole window for as long as the `Segment` lives, and the file behind it is
//!     at least as long (sealed against shrinking, and checked).
//! G2. The types handed out consist of atomics, of plain words that are only reserved, and of
//!     protocol-guarded bytes: any content is valid, and peers may change it at any time.

#![allow(unsafe_code)] // From offsets to references: G1 and G2.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use super::header::{BlockRecord, Header, ProcessSlot};
use super::map::{self, BlockId, Map};
use super::note::Note;
use crate::channel::crowd::Crowd;
use crate::channel::record::Record;
use crate::enclosure::Entry;
use crate::os;
use crate::os::fork::NotInherited;
use crate::os::mapping::Mapping;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;

/// A type that shared memory may hold (G2).
///
/// # Safety
/// Any bytes are a valid value; all that peers may change is atomic or guarded by a protocol.
pub unsafe trait Shared {}
// SAFETY: atomics and reserved words only.
unsafe impl Shared for Header {}
// SAFETY: as above.
unsafe impl Shared for ProcessSlot {}
// SAFETY: as above.
unsafe impl Shared for BlockRecord {}
// SAFETY: as above.
unsafe impl Shared for Note {}
// SAFETY: as above.
unsafe impl Shared for Pcb {}
// SAFETY: as above.
unsafe impl Shared for ReadySet {}
// SAFETY: atomics, reserved words, and cells guarded by line.rs L1 and L2.
unsafe impl Shared for Record {}
// SAFETY: atomics and reserved words only.
unsafe impl Shared for Crowd {}
// SAFETY: as above.
unsafe impl Shared for Entry {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}

/// The mapped window.
pub struct Segment {
    mapping: Mapping,
    file: NotInherited,
    map: Map,
    page_bytes: u64,
}

impl Segment {
    /// None: the mapping is shorter than the window.
    pub fn new(mapping: Mapping, file: NotInherited, map: Map) -> Option<Segment> {
        let page_bytes = os::mapping::page_size() as u64;
        (mapping.len() as u64 >= map.window_bytes()).then_some(Segment { mapping, file, map, page_bytes })
    }

    /// Bytes of a page: the machine's. The header's was compared with it, and is not believed after that.
    pub fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The file behind the window.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the memory of a range back to the kernel.
    pub fn punch(&self, offset: u64, bytes: u64) -> Result<(), os::Error> {
        os::memfd::punch(self.file(), offset, bytes)
    }

    /// Of the first `used` blocks of a class those whose records may say anything; a mark that is wrong makes nobody touch what
    /// is not there.
    pub fn recorded(&self, class: u32, used: u64) -> Vec<std::ops::Range<u64>> {
        self.map.recorded(class, used, |begin, end| os::memfd::present(self.file(), begin, end))
    }

    /// The map.
    pub fn map(&self) -> Map {
        self.map
    }

    /// Where this process maps the window.
    pub fn base(&self) -> usize {
        self.mapping.base().as_ptr() as usize
    }

    #[inline]
    fn at<T: Shared>(&self, offset: u64) -> &T {
        debug_assert!(offset + size_of::<T>() as u64 <= self.map.window_bytes());
        debug_assert!(offset % align_of::<T>() as u64 == 0);
        // SAFETY: G1: callers below give offsets of the map only, each aligned for its type; G2.
        unsafe { &*self.mapping.base().as_ptr().add(offset as usize).cast::<T>() }
    }

    /// What lies at an offset that need not make sense; None: it is not in the window, or not aligned.
    pub fn look<T: Shared>(&self, offset: u64) -> Option<&T> {
        let end = offset.checked_add(size_of::<T>() as u64)?;
        let fits = end <= self.map.window_bytes() && offset % align_of::<T>() as u64 == 0;
        fits.then(|| self.at(offset))
    }

    /// The header.
    #[inline]
    pub fn header(&self) -> &Header {
        self.at(0)
    }

    /// Process slot `i`.
    #[inline]
    pub fn process(&self, i: usize) -> &ProcessSlot {
        assert!(i < map::PROCESSES_MAX);
        self.at(map::PROCESSES + i as u64 * map::PROCESS_BYTES)
    }

    /// PCB `i`.
    #[inline]
    pub fn pcb(&self, i: usize) -> &Pcb {
        assert!(i < map::PCBS_MAX);
        self.at(Self::pcb_offset(i))
    }

    /// Offset of PCB `i`.
    pub fn pcb_offset(i: usize) -> u64 {
        map::PCBS + i as u64 * map::PCB_BYTES
    }

    /// The PCB at an offset that a peer wrote.
    pub fn pcb_at(&self, offset: u64) -> Option<&Pcb> {
        let at = offset.checked_sub(map::PCBS)?;
        let i = at / map::PCB_BYTES;
        (at % map::PCB_BYTES == 0 && i < map::PCBS_MAX as u64).then(|| self.pcb(i as usize))
    }

    /// Ready set `i`.
    #[inline]
    pub fn ready_set(&self, i: usize) -> &ReadySet {
        assert!(i < map::SELECTS_MAX);
        self.at(Self::entry_offset(i, 0))
    }

    /// Offset that stands for an operation of ready set `i`.
    pub fn entry_offset(i: usize, operation: usize) -> u64 {
        map::SELECTS + i as u64 * map::SELECT_BYTES + operation as u64
    }

    /// The ready set and the operation that an offset stands for which a peer wrote.
    pub fn entry_at(&self, offset: u64) -> Option<(&ReadySet, usize)> {
        let at = offset.checked_sub(map::SELECTS)?;
        let i = at / map::SELECT_BYTES;
        (i < map::SELECTS_MAX as u64).then(|| (self.ready_set(i as usize), (at % map::SELECT_BYTES) as usize))
    }

    /// Head of name bucket `i`.
    #[inline]
    pub fn bucket(&self, i: usize) -> &AtomicU64 {
        assert!(i < map::BUCKETS);
        self.at(map::BUCKET_HEADS + i as u64 * 8)
    }

    /// Channel record `i`.
    #[inline]
    pub fn channel(&self, i: usize) -> &Record {
        assert!(i < map::CHANNELS_MAX);
        self.at(map::CHANNELS + i as u64 * map::CHANNEL_BYTES)
    }

    /// Entry `i`.
    #[inline]
    pub fn entry(&self, i: usize) -> &Entry {
        assert!(i < map::ENTRIES_MAX);
        self.at(map::ENTRIES + i as u64 * map::ENTRY_BYTES)
    }

    /// The record of a block.
    #[inline]
    pub fn block_record(&self, id: BlockId) -> &BlockRecord {
        assert!(id.class <= self.map.class_max() && id.index < self.map.count(id.class));
        self.at(self.map.block_record(id))
    }

    /// The note of a block.
    pub fn note(&self, id: BlockId) -> &Note {
        assert!(id.class <= self.map.class_max() && id.index < self.map.count(id.class));
        self.at(self.map.note(id))
    }

    /// A word of the bits that say which blocks of a class may be free.
    #[inline]
    pub fn bits_word(&self, class: u32, level: usize, i: u64) -> Option<&AtomicU64> {
        Some(self.at(self.map.bits(class, level, i)?))
    }

    /// Schema bytes as words, from a word index; all of the schema region.
    pub fn schema_word(&self, i: u64) -> Option<&AtomicU64> {
        (i < map::SCHEMAS_BYTES / 8).then(|| self.at(map::SCHEMAS + i * 8))
    }

    /// Word `i` of a capability record.
    pub fn capability_word(&self, index: usize, word: usize) -> &AtomicU64 {
        assert!(index < map::CAPABILITIES_MAX && word < 8);
        self.at(map::CAPABILITIES + index as u64 * map::CAPABILITY_BYTES + word as u64 * 8)
    }

    /// A pointer to `length` bytes at `offset`, if they lie in the window.
    #[inline]
    pub fn pointer(&self, offset: u64, length: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.map.window_bytes() {
            return None;
        }
        // SAFETY: G1: inside the mapping (or one past its end, for length 0).
        Some(unsafe { self.mapping.base().add(offset as usize) })
    }

    /// The offset of a pointer into the window.
    #[inline]
    pub fn offset(&self, pointer: *const u8) -> Option<u64> {
        let offset = (pointer as usize as u64).checked_sub(self.base() as u64)?;
        (offset < self.map.window_bytes()).then_some(offset)
    }
}

/// The header of a file whose first pages are mapped; None if they are too few.
pub fn header_of(first: &Mapping) -> Option<&Header> {
    // SAFETY: long enough, page-aligned, and G2.
    (first.len() >= size_of::<Header>()).then(|| unsafe { &*first.base().as_ptr().cast::<Header>() })
}
