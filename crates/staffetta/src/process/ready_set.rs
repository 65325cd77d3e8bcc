//! The ready set: which operations of a select may be possible now. The theory's alternative (guarded command) waits for
//! several channels at once; here readiness is brought to the one who waits, who asks nobody.
//!
//! ```text
//!   0   holder | PCB | asleep | summary | ...    a bit of `summary` for each word
//!  64   words                                    a bit for each operation
//! ```
//!
//! A side of a channel that is an operation of a select has, where else the reference of a PCB stands, a reference to an
//! *entry*: the set's offset plus the operation's number. So whoever wakes a side by the one function there is
//! (`channel::ground::wake`) wakes a select as well, and no channel knows of it.
//!
//! Y1. Ready sets are ready sets for ever (as PCBs are PCBs): a waker that was stopped for long sets a bit of a later holder.
//!     A bit is a hint to look, never a promise.
//! Y2. Who delivers sets the bit, then the summary's, then looks at `asleep`: each a read-modify-write, or after one
//!     and a fence. Who sleeps sets `asleep`, then looks at the summary. So one sees the other (`process::wait`, H1).
//! Y3. Delivering is idempotent. One that stops half-way delays the operation that it delivers, and no other: whoever
//!     delivers another looks at `asleep` itself.
//! Y4. `drain` takes the summary's bits before the words': a bit that comes in between is found at the next look.
//!
//! This file does not know what the operations are.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::memory::platform::{Native, Platform, Word64};

/// Words of a set; more would not fit the summary.
pub const WORDS: usize = 64;
/// Most operations of a select.
pub const OPERATIONS_MAX: usize = 64 * WORDS;

const _: () = assert!(OPERATIONS_MAX as u64 <= crate::memory::map::SELECT_BYTES);
const _: () = assert!(size_of::<ReadySet>() as u64 <= crate::memory::map::SELECT_BYTES);

/// Which operations of one select may be possible. A model has fewer words.
#[repr(C, align(64))]
pub struct ReadySet<P: Platform = Native, const N: usize = WORDS> {
    /// Who holds it, as in a PCB.
    pub(crate) holder: P::U64,
    /// Offset of the PCB that sleeps (of a model: its reference).
    pcb: P::U64,
    /// 1: somebody sleeps, or is about to.
    asleep: P::U64,
    /// Words that may have bits.
    summary: P::U64,
    reserved: [u64; 4],
    words: [P::U64; N],
}

impl<P: Platform, const N: usize> ReadySet<P, N> {
    /// Nothing ready.
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        ReadySet {
            holder: zero(),
            pcb: zero(),
            asleep: zero(),
            summary: zero(),
            reserved: [0; 4],
            words: std::array::from_fn(|_| zero()),
        }
    }

    /// Operation `i` is worth a look. Gives the PCB to wake, if somebody sleeps.
    pub fn deliver(&self, i: usize) -> Option<u64> {
        let word = i / 64 % N;
        // Y2. AcqRel: what made it ready is visible to whoever drains the bit.
        self.words[word].fetch_or(1 << (i % 64), AcqRel);
        self.summary.fetch_or(1 << word, AcqRel);
        P::fence_after_rmw();
        // Acquire: pairs with `announce`: the PCB is the sleeper's.
        (self.asleep.load(Acquire) != 0).then(|| self.pcb.load(Relaxed))
    }

    /// As `deliver`, and no further than the first step.
    #[cfg(test)]
    pub fn set_and_stop(&self, i: usize) {
        self.words[i / 64 % N].fetch_or(1 << (i % 64), AcqRel);
    }

    /// Is anything worth a look?
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.summary.load(Acquire) != 0
    }

    /// Moves the bits to `pending`, which has as many words as there are operations, or fewer.
    pub fn drain(&self, pending: &mut [u64]) {
        if !self.any() {
            return;
        }
        let mut summary = self.summary.fetch_and(0, AcqRel); // Y4
        while summary != 0 {
            let word = summary.trailing_zeros() as usize % N;
            summary &= summary - 1;
            let bits = self.words[word].fetch_and(0, AcqRel);
            if let Some(pending) = pending.get_mut(word) {
                *pending |= bits;
            }
        }
    }

    /// The holder is about to sleep on this PCB. False: there is something to look at. The caller looks once more.
    pub fn announce(&self, pcb: u64) -> bool {
        if self.pcb.load(Relaxed) != pcb {
            self.pcb.store(pcb, Relaxed);
        }
        self.asleep.fetch_or(1, AcqRel); // Y2
        P::fence_after_rmw();
        !self.any()
    }

    /// It is awake again.
    pub fn awake(&self) {
        if self.asleep.load(Relaxed) != 0 {
            self.asleep.store(0, Relaxed);
        }
    }

    /// Does its holder sleep?
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Relaxed) != 0
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(ReadySet<Native> { holder, pcb, asleep, summary, reserved, words })]
}
