//! The block allocator: blocks of powers of two, each class in a region of its own, each block with
//! exactly one holder in one word.
//!
//! What it does not do: split, join or move blocks. A region is sparse, so a class costs what it uses.
//!
//! | holder's state | means | left by |
//! |---|---|---|
//! | NEVER | above the high-water mark, or its process died before it could claim it | who takes it: OWNED |
//! | FREE | nobody's; its bit says so | who takes it: OWNED |
//! | OWNED(slot) | in use by that process, kept by it for its next allocation, or being punched by it | its owner: FREE, CHANNEL; a receiver: OWNED(receiver) |
//! | CHANNEL | a ring or a staging block, named by a record | whoever ends the channel: OWNED |
//! | ENCLOSED | a parcel that lies in another one | who holds that one: OWNED (`enclosure`) |
//! | RETURNED | a parcel that a dead receiver had not acknowledged | the next receiver of its channel: OWNED (`channel::kept`) |
//!
//! B1. The holder word is the authority; the bits that say which blocks may be free (`bits.rs`) are hints. A block whose bit is
//!     set but that is not FREE is passed by; one that is FREE, or NEVER below the high-water mark, and whose bit is not set
//!     is found by the next sweep.
//! B2. The incarnation (the word's sequence) changes whenever the holder does (a sent block has changed hands when its
//!     receiver has said so): a reference to an earlier life can be told, and so can a hand-over that is not
//!     yet accounted for.
//! B3. What a block costs is charged before the block is handed out, and stays charged while its memory
//!     may be resident; so blocks never occupy more than the budget. The sums are the ledger's (`ledger.rs`).

use std::sync::atomic::compiler_fence;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::Mutex;

use super::bits::FreeBits;
use super::header::block::{CHANNEL, FREE, NEVER, OWNED};
use super::ledger::{self, Charged, Ledger};
use super::map::{BlockId, BLOCK_RECORD_BYTES, CLASSES};
use super::note;
use super::platform::Native;
use super::segment::Segment;
use super::stop;
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

/// The bits of one class.
struct ClassBits<'s> {
    segment: &'s Segment,
    class: u32,
}

impl FreeBits<Native> for ClassBits<'_> {
    fn word(&self, level: usize, i: u64) -> Option<&AtomicU64> {
        self.segment.bits_word(self.class, level, i)
    }

    fn is_free(&self, index: u64) -> bool {
        let id = BlockId { class: self.class, index };
        may_be_taken(Word(self.segment.block_record(id).holder.load(Acquire)))
    }
}

fn bits(segment: &Segment, class: u32) -> ClassBits<'_> {
    ClassBits { segment, class }
}

fn may_be_taken(holder: Word) -> bool {
    matches!(holder.state(), FREE | NEVER)
}

/// This process's view of the allocator.
pub struct Blocks {
    slot: u16,
    ledger: Ledger,
    kept: [Mutex<Vec<u64>>; CLASSES],
}

impl Blocks {
    /// For the process in `slot`.
    pub fn new(slot: u16) -> Blocks {
        Blocks { slot, ledger: Ledger::new(slot), kept: std::array::from_fn(|_| Mutex::new(Vec::new())) }
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
        if kept.is_none() && 1 << class >= page && ledger::retained_bytes(segment) > retain {
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

    /// Gives an adopted block back to all, unless another sweeper adopted it from us meanwhile. Nobody adopts it from now on: what
    /// said that it may be is over.
    pub fn free_adopted(&self, segment: &Segment, id: BlockId, adopted: Word) {
        let record = segment.block_record(id);
        let ours = Word::new(OWNED, self.slot, adopted.sequence() + 1);
        if record.holder.compare_exchange(adopted.0, ours.0, AcqRel, Relaxed).is_ok() {
            self.list(segment, id);
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
        let used = segment.header().used[class as usize].load(Acquire).min(segment.map().count(class));
        bits(segment, class).take(used, |index| {
            let id = BlockId { class, index };
            self.take(segment, id).then_some(id)
        })
    }

    /// FREE | NEVER => OWNED(this process).
    fn take(&self, segment: &Segment, id: BlockId) -> bool {
        let now = Word(segment.block_record(id).holder.load(Acquire));
        may_be_taken(now) && self.ledger.take(segment, id, now)
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
            stop::here("new: mark raised");
            // A sweeper may have found it, and somebody have taken it.
            let id = BlockId { class, index };
            if self.take(segment, id) {
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
        let needs = if id.bytes() < page {
            id.bytes().max(BLOCK_RECORD_BYTES) + BLOCK_RECORD_BYTES
        } else {
            bytes.max(1).next_multiple_of(page) + BLOCK_RECORD_BYTES
        };
        if needs <= Charged::Block(id).now(segment) {
            return Ok(());
        }
        self.charge(segment, Charged::Block(id), needs, bytes)
    }

    /// `bytes` are charged for it from now on, where `asked` were asked for; free memory goes back to the kernel if need be. The
    /// caller has it.
    pub fn charge(
        &self,
        segment: &Segment,
        what: Charged,
        bytes: u64,
        asked: u64,
    ) -> Result<(), AllocateError> {
        let mut trimmed = false;
        loop {
            match self.ledger.charge(segment, what, bytes) {
                Ok(()) => return Ok(()),
                Err(charged) if trimmed || self.trim(segment, 0) == 0 => {
                    let budget = segment.header().budget_bytes.load(Relaxed);
                    return Err(AllocateError::Full { bytes: asked, budget, charged });
                }
                Err(_) => trimmed = true,
            }
        }
    }

    /// Less, or nothing, is charged for what the caller has.
    pub fn uncharge(&self, segment: &Segment, what: Charged, bytes: u64) {
        debug_assert!(bytes <= what.now(segment));
        let less = self.ledger.charge(segment, what, bytes);
        debug_assert!(less.is_ok(), "less is never too much");
    }

    /// Gives the memory of free blocks back to the kernel until at most `retain` bytes are kept; gives
    /// the bytes returned. Largest blocks first: one call each, and they are what counts.
    pub fn trim(&self, segment: &Segment, retain: u64) -> u64 {
        let page = segment.page_bytes();
        let mut returned = 0;
        for class in segment.map().classes().rev().take_while(|class| 1 << class >= page) {
            // Taken out of the list first: while it is punched it is ours, and nobody else's.
            let mut taken = Vec::new();
            while ledger::retained_bytes(segment) > retain {
                let Some(id) = self.take_free(segment, class) else {
                    break;
                };
                let charged = Charged::Block(id);
                let given = charged.now(segment).saturating_sub(BLOCK_RECORD_BYTES);
                if given != 0 && segment.punch(segment.map().block(id), id.bytes()).is_ok() {
                    stop::here("trim: punched");
                    self.uncharge(segment, charged, BLOCK_RECORD_BYTES);
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

    /// OWNED => FREE, for all.
    fn list(&self, segment: &Segment, id: BlockId) {
        self.ledger.list(segment, id);
        bits(segment, id.class).set(id.index);
    }

    /// Gives back what dead process `slot` held, except the blocks in `spared` (by offset): those are on
    /// their way to somebody. Idempotent. `spared` is asked between reading a word and changing it. Those in which something
    /// lies become this process's, and are for the caller to empty and to free. `lost` is told of each parcel from which channel
    /// it had come.
    ///
    /// What is free, and cannot be found, can be found afterwards (B1).
    pub fn release_dead(
        &self,
        segment: &Segment,
        slot: u16,
        spared: impl Fn(u64, u64) -> bool,
        lost: impl Fn(usize),
    ) -> Vec<BlockId> {
        let mut full = Vec::new();
        for class in segment.map().classes() {
            let used = segment.header().used[class as usize].load(Acquire).min(segment.map().count(class));
            let bits = bits(segment, class);
            for index in segment.recorded(class, used).into_iter().flatten() {
                let id = BlockId { class, index };
                let record = segment.block_record(id);
                let now = Word(record.holder.load(Acquire));
                if may_be_taken(now) {
                    if !bits.is_set(index) {
                        bits.set(index);
                    }
                    continue;
                }
                let dead = now.state() == OWNED && now.slot() == slot;
                if !dead || spared(segment.map().block(id), now.sequence()) {
                    continue;
                }
                let came_from = note::channel_of(record.next.load(Relaxed), now.sequence());
                // First it is ours, alone: whoever sweeps after us gives it back.
                let ours = Word::new(OWNED, self.slot, now.sequence() + 1);
                if record.holder.compare_exchange(now.0, ours.0, AcqRel, Relaxed).is_err() {
                    continue;
                }
                stop::here("release: adopted");
                came_from.into_iter().for_each(&lost);
                if record.inside.load(Relaxed) != 0 {
                    full.push(id);
                } else {
                    self.list(segment, id);
                }
            }
        }
        full
    }
}
