//! The block allocator: blocks of powers of two, each class in a region of its own, each block with
//! exactly one holder in one word.
//!
//! What it does not do: split, join or move blocks. A region is sparse, so a class costs what it uses.
//!
//! | holder's state | means | left by |
//! |---|---|---|
//! | NEVER | above the high-water mark, or claimed by a process that died before it could say so | who claims it |
//! | FREE | in a free list, or lost from one | who takes it: OWNED |
//! | OWNED(slot) | in use by that process, kept by it for its next allocation, or being punched by it | its owner: FREE, CHANNEL; a receiver: OWNED(receiver) |
//! | CHANNEL | a ring or a staging block, named by a record | whoever ends the channel: OWNED |
//! | ENCLOSED | a parcel that lies in another one | who holds that one: OWNED (`enclosure`) |
//! | RETURNED | a parcel that a dead receiver had not acknowledged | the next receiver of its channel: OWNED (`channel::kept`) |
//!
//! B1. The holder word is the authority; the free lists are hints. A block that is found in a list but is
//!     not FREE is skipped; one that is FREE but in no list is lost until the lists are rebuilt.
//! B2. The incarnation (the word's sequence) changes whenever the holder does (a sent block has changed hands when its
//!     receiver has said so): a reference to an earlier life can be told, and so can a hand-over that is not
//!     yet accounted for.
//! B3. What a block costs is charged before the block is handed out, and stays charged while its memory
//!     may be resident; so blocks never occupy more than the budget.

use std::sync::atomic::compiler_fence;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::Mutex;

use super::header::block::{CHANNEL, FREE, NEVER, OWNED};
use super::header::BlockRecord;
use super::map::{BlockId, BLOCK_RECORD_BYTES, CLASSES};
use super::note;
use super::segment::Segment;
use super::word::Word;
use crate::error::AllocateError;

/// Blocks a process keeps for its next allocations, by class: about 64 KiB worth, at most 64.
fn keep(class: u32) -> usize {
    match class {
        0..=10 => 64,
        11..=16 => 64 >> (class - 10).min(5),
        _ => 0,
    }
}

const INDEX_BITS: u32 = 40;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// Entries of a free list that are looked at before the list is taken for broken.
const LOOKS: usize = 64;

/// This process's view of the allocator.
pub struct Blocks {
    slot: u16,
    kept: [Mutex<Vec<u64>>; CLASSES],
}

impl Blocks {
    /// For the process in `slot`.
    pub fn new(slot: u16) -> Blocks {
        Blocks { slot, kept: std::array::from_fn(|_| Mutex::new(Vec::new())) }
    }

    /// A block of at least `bytes`, aligned to at least `align` (a power of two), owned by this process.
    pub fn allocate(&self, segment: &Segment, bytes: u64, align: u64) -> Result<BlockId, AllocateError> {
        let map = segment.map();
        let page = segment.page_bytes();
        if align > page {
            return Err(AllocateError::Alignment { align, page });
        }
        // Parcels of 64 bytes and more lie on cache lines: their class does (map.rs, M1).
        let class = map
            .class_for(bytes.max(align))
            .ok_or(AllocateError::TooLarge { bytes, bytes_max: 1 << map.class_max() })?;
        let kept = self.kept[class as usize].lock().unwrap_or_else(|e| e.into_inner()).pop();
        let id = match kept {
            Some(index) => BlockId { class, index },
            None => match self.take_free(segment, class) {
                Some(id) => id,
                None => self.take_new(segment, class)?,
            },
        };
        if let Err(full) = self.charge_block(segment, id, bytes, page) {
            self.free(segment, id);
            return Err(full);
        }
        // Memory goes back to the kernel here, and never inside send, receive or drop.
        let retain = segment.header().retain_bytes.load(Relaxed);
        if kept.is_none() && segment.header().retained_bytes.load(Relaxed) > retain {
            self.trim(segment, retain);
        }
        Ok(id)
    }

    /// Gives a block back. The caller holds it: nobody else will.
    pub fn free(&self, segment: &Segment, id: BlockId) {
        let record = segment.block_record(id);
        let incarnation = Word(record.holder.load(Relaxed)).sequence() + 1;
        {
            let mut kept = self.kept[id.class as usize].lock().unwrap_or_else(|e| e.into_inner());
            if kept.len() < keep(id.class) {
                record.holder.store(Word::new(OWNED, self.slot, incarnation).0, Release);
                kept.push(id.index);
                return;
            }
        }
        self.list(segment, id);
    }

    /// Gives everything kept back to all.
    pub fn flush(&self, segment: &Segment) {
        for (class, kept) in self.kept.iter().enumerate() {
            let indices = std::mem::take(&mut *kept.lock().unwrap_or_else(|e| e.into_inner()));
            for index in indices {
                self.list(segment, BlockId { class: class as u32, index });
            }
        }
    }

    /// The incarnation of a block that the caller holds.
    pub fn incarnation(segment: &Segment, id: BlockId) -> u64 {
        Word(segment.block_record(id).holder.load(Relaxed)).sequence()
    }

    /// A parcel arrived: corrects the holder word, and notes from which channel it came (Z2; 0: from none). Plain stores: the
    /// hand-over gave the block to this process alone (the state word of the channel was acquired).
    #[inline]
    pub fn received(&self, segment: &Segment, id: BlockId, incarnation: u64, note: u64) {
        let record = segment.block_record(id);
        record.next.store(note, Relaxed);
        compiler_fence(AcqRel); // whoever is killed has done a beginning of its program
        record.holder.store(Word::new(OWNED, self.slot, incarnation).0, Relaxed);
    }

    /// A block whose owner left it to us, in whatever word says so (`still`, asked after the holder was read, so what
    /// was read is the owner of then): OWNED(anybody) => OWNED(this process). None: it is not the owner's any more.
    pub fn adopt(&self, segment: &Segment, id: BlockId, still: impl FnOnce() -> bool) -> Option<Word> {
        let holder = &segment.block_record(id).holder;
        let now = Word(holder.load(Acquire));
        let mine = Word::new(OWNED, self.slot, now.sequence() + 1);
        let taken = now.state() == OWNED
            && still()
            && holder.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok();
        taken.then_some(mine)
    }

    /// Gives an adopted block back to all, unless another sweeper adopted it from us meanwhile.
    pub fn free_adopted(segment: &Segment, id: BlockId, adopted: Word) {
        let record = segment.block_record(id);
        let free = Word::new(FREE, 0, adopted.sequence() + 1);
        if record.holder.compare_exchange(adopted.0, free.0, AcqRel, Relaxed).is_ok() {
            segment.header().retained_bytes.fetch_add(record.charged.load(Relaxed), Relaxed);
            push(segment, id);
        }
    }

    /// A block that the caller owns becomes part of a channel.
    pub fn give_to_channel(&self, segment: &Segment, id: BlockId) {
        let record = segment.block_record(id);
        let incarnation = Word(record.holder.load(Relaxed)).sequence();
        record.holder.store(Word::new(CHANNEL, 0, incarnation).0, Release);
    }

    /// CHANNEL => OWNED(this process). False: it is no channel's.
    pub fn take_from_channel(&self, segment: &Segment, id: BlockId) -> bool {
        let holder = &segment.block_record(id).holder;
        let now = Word(holder.load(Acquire));
        let mine = Word::new(OWNED, self.slot, now.sequence() + 1);
        now.state() == CHANNEL && holder.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok()
    }

    /// OWNED(dead process `slot`) => CHANNEL, for a block that a channel's record names. `still`: as in `release_dead`.
    pub fn settle_channel(segment: &Segment, id: BlockId, slot: u16, still: impl Fn() -> bool) {
        let holder = &segment.block_record(id).holder;
        let now = Word(holder.load(Acquire));
        if now.state() == OWNED && now.slot() == slot && still() {
            let channels = Word::new(CHANNEL, 0, now.sequence());
            // It fails if another sweeper did it.
            let _ = holder.compare_exchange(now.0, channels.0, AcqRel, Relaxed);
        }
    }

    fn take_free(&self, segment: &Segment, class: u32) -> Option<BlockId> {
        let head = &segment.header().free[class as usize];
        let limit = segment.map().count(class);
        let mut now = head.load(Acquire);
        for _ in 0..LOOKS {
            let index = (now & INDEX_MASK).checked_sub(1)?;
            if index >= limit {
                return None; // a wreck: B1, not ours to believe
            }
            let id = BlockId { class, index };
            let record = segment.block_record(id);
            // The tag makes a list that changed meanwhile very unlikely to look the same; if it ever
            // does, B1 still holds: the claim below fails or is exclusive.
            let next = (record.next.load(Relaxed) & INDEX_MASK) | (tag(now).wrapping_add(1) << INDEX_BITS);
            // AcqRel: acquires what the pusher released with the block.
            if let Err(found) = head.compare_exchange(now, next, AcqRel, Acquire) {
                now = found;
                continue;
            }
            now = next;
            if self.claim(record, FREE) {
                let charged = record.charged.load(Relaxed);
                segment.header().retained_bytes.fetch_sub(charged, Relaxed);
                return Some(id);
            }
        }
        None
    }

    /// `from => OWNED(this process)`, keeping the incarnation.
    fn claim(&self, record: &BlockRecord, from: u8) -> bool {
        let now = Word(record.holder.load(Acquire));
        let mine = Word::new(OWNED, self.slot, now.sequence());
        now.state() == from && record.holder.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok()
    }

    fn take_new(&self, segment: &Segment, class: u32) -> Result<BlockId, AllocateError> {
        let used = &segment.header().used[class as usize];
        let limit = segment.map().count(class);
        loop {
            let index = used.load(Relaxed);
            if index >= limit {
                return Err(AllocateError::ClassFull { bytes: 1 << class, blocks: limit });
            }
            if used.compare_exchange(index, index + 1, AcqRel, Relaxed).is_err() {
                continue;
            }
            let id = BlockId { class, index };
            if self.claim(segment.block_record(id), NEVER) {
                return Ok(id);
            }
        }
    }

    /// A block that the caller holds is to hold `bytes` from now on.
    pub fn recharge(&self, segment: &Segment, id: BlockId, bytes: u64) -> Result<(), AllocateError> {
        let page = segment.page_bytes();
        self.charge_block(segment, id, bytes, page)
    }

    /// Charges what a block of `bytes` will occupy beyond what is charged already (B3).
    fn charge_block(
        &self,
        segment: &Segment,
        id: BlockId,
        bytes: u64,
        page: u64,
    ) -> Result<(), AllocateError> {
        let record = segment.block_record(id);
        let charged = record.charged.load(Relaxed);
        let needs = if id.bytes() < page {
            id.bytes().max(BLOCK_RECORD_BYTES) + BLOCK_RECORD_BYTES
        } else {
            bytes.max(1).next_multiple_of(page) + BLOCK_RECORD_BYTES
        };
        if needs <= charged {
            return Ok(());
        }
        self.charge(segment, needs - charged, bytes)?;
        record.charged.store(needs, Relaxed);
        Ok(())
    }

    /// Charges `more` bytes to the domain's budget, giving free memory back to the kernel if need be.
    pub fn charge(&self, segment: &Segment, more: u64, asked: u64) -> Result<(), AllocateError> {
        let header = segment.header();
        let budget = header.budget_bytes.load(Relaxed);
        let mut trimmed = false;
        loop {
            let before = header.charged_bytes.fetch_add(more, Relaxed);
            if before.saturating_add(more) <= budget {
                return Ok(());
            }
            header.charged_bytes.fetch_sub(more, Relaxed);
            if trimmed || self.trim(segment, 0) == 0 {
                return Err(AllocateError::Full { bytes: asked, budget, charged: before });
            }
            trimmed = true;
        }
    }

    /// Takes a charge back.
    pub fn uncharge(segment: &Segment, bytes: u64) {
        segment.header().charged_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Gives the memory of free blocks back to the kernel until at most `retain` bytes are kept; gives
    /// the bytes returned. Largest blocks first: one call each, and they are what counts.
    pub fn trim(&self, segment: &Segment, retain: u64) -> u64 {
        let header = segment.header();
        let page = segment.page_bytes();
        let mut returned = 0;
        for class in segment.map().classes().rev().take_while(|class| 1 << class >= page) {
            // Taken out of the list first: while it is punched it is ours, and nobody else's.
            let mut taken = Vec::new();
            while header.retained_bytes.load(Relaxed) > retain {
                let Some(id) = self.take_free(segment, class) else {
                    break;
                };
                let record = segment.block_record(id);
                let given = record.charged.load(Relaxed).saturating_sub(BLOCK_RECORD_BYTES);
                if given != 0 && segment.punch(segment.map().block(id), id.bytes()).is_ok() {
                    record.charged.store(BLOCK_RECORD_BYTES, Relaxed);
                    Self::uncharge(segment, given);
                    returned = given.saturating_add(returned); // a peer's word
                }
                taken.push(id);
            }
            for id in taken {
                self.list(segment, id);
            }
        }
        returned
    }

    /// OWNED => FREE, in the list of all.
    fn list(&self, segment: &Segment, id: BlockId) {
        let record = segment.block_record(id);
        let incarnation = Word(record.holder.load(Relaxed)).sequence() + 1;
        record.holder.store(Word::new(FREE, 0, incarnation).0, Release);
        segment.header().retained_bytes.fetch_add(record.charged.load(Relaxed), Relaxed);
        push(segment, id);
    }
}

fn tag(head: u64) -> u64 {
    head >> INDEX_BITS
}

/// Push by one compare-exchange: a pusher that stops half-way breaks nothing.
fn push(segment: &Segment, id: BlockId) {
    let head = &segment.header().free[id.class as usize];
    let record = segment.block_record(id);
    let mut now = head.load(Relaxed);
    loop {
        record.next.store(now & INDEX_MASK, Relaxed);
        let new = (id.index + 1) | (tag(now).wrapping_add(1) << INDEX_BITS);
        // Release: publishes `next` and whatever its last holder did to the block.
        match head.compare_exchange(now, new, Release, Relaxed) {
            Ok(_) => return,
            Err(found) => now = found,
        }
    }
}

/// Gives back what dead process `slot` held, except the blocks in `spared` (by offset): those are on
/// their way to somebody. Idempotent. `spared` is asked between reading a word and changing it. Those in which something lies
/// become this process's, and are for the caller to empty and to free. `lost` is told of each parcel from which channel it had
/// come.
pub fn release_dead(
    segment: &Segment,
    slot: u16,
    by: u16,
    spared: impl Fn(u64, u64) -> bool,
    lost: impl Fn(usize),
) -> Vec<BlockId> {
    let mut full = Vec::new();
    for class in segment.map().classes() {
        let used = segment.header().used[class as usize].load(Acquire).min(segment.map().count(class));
        for index in 0..used {
            let id = BlockId { class, index };
            let record = segment.block_record(id);
            let now = Word(record.holder.load(Acquire));
            let dead = now.state() == OWNED && now.slot() == slot;
            if !dead || spared(segment.map().block(id), now.sequence()) {
                continue;
            }
            let is_full = record.inside.load(Relaxed) != 0;
            let came_from = note::channel_of(record.next.load(Relaxed), now.sequence());
            let next = Word::new(
                if is_full { OWNED } else { FREE },
                if is_full { by } else { 0 },
                now.sequence() + 1,
            );
            if record.holder.compare_exchange(now.0, next.0, AcqRel, Relaxed).is_err() {
                continue;
            }
            came_from.into_iter().for_each(&lost);
            if is_full {
                full.push(id);
            } else {
                segment.header().retained_bytes.fetch_add(record.charged.load(Relaxed), Relaxed);
                push(segment, id);
            }
        }
    }
    full
}
