//! One side of a channel: who holds the end, and what it brings when it comes first.
//!
//! The end word's states (`memory::word`; slot = process slot, sequence = how many times the end was
//! taken, so that a successor is told from the one before):
//!
//! | state | means | left by |
//! |---|---|---|
//! | ABSENT | nobody ever held this end | whoever attaches |
//! | ATTACHED | a live process holds it | its holder: LEFT; who sweeps after its death: DIED |
//! | LEFT | the holder closed it | whoever attaches |
//! | DIED | the holder's process died | whoever attaches |
//!
//! S1. All words but the end word and `died` are written only by the holder of the end, before it publishes a state
//!     that makes the partner read them.
//! S2. `unread` is of the receiver of a rendezvous that keeps its messages. It is written before the receiver makes its WANT, or takes an
//!     offer, and cleared when the message is read out of its cell, or, a parcel, claimed. So if the line's sequence says
//!     that rendezvous `unread - 1` happened (line.rs, L3), its message is still in its cell, which stays as it is until the
//!     next receiver comes (L2).
//! S3. `died` is written before the end word says DIED, and grows only. So who reads it after an end word (Acquire) knows of every
//!     death before that: also of one whose DIED it never saw, since a successor had attached when it looked.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::memory::platform::{Native, Platform, Word64};
use crate::memory::word::Word;

/// Nobody ever held this end: what all-zero memory says.
#[allow(dead_code)] // it is compared with by nobody: whoever is not ATTACHED is not there
pub const ABSENT: u8 = 0;
/// A live process holds it.
pub const ATTACHED: u8 = 1;
/// The holder closed it.
pub const LEFT: u8 = 2;
/// The holder's process died.
pub const DIED: u8 = 3;

/// One side of a channel, in a cache line that changes only when its holder parks, targets or leaves.
#[repr(C, align(64))]
pub struct Side<P: Platform = Native> {
    end: P::U64,
    /// Reference of the PCB that sleeps on behalf of this side.
    pcb_ref: P::U64,
    /// What a sender and a receiver have of their own:
    ///
    /// | | of a sender | of a receiver |
    /// |---|---|---|
    /// | 0 | block in which a message too large for a cell is staged, of an even rendezvous; it stays with the channel | reference of the target variable of a WANT |
    /// | 1 | the same, of an odd one | its capacity, bytes |
    /// | 2 | | S2: 1 + the rendezvous of which it has not read what its cell brings; 0: none |
    own: [P::U64; 3],
    /// The length (or capacity) that did not fit, when this side refused.
    note: P::U64,
    /// S3: the sequence of the last holding whose process died; 0: none.
    died: P::U64,
    spare: u64,
}

const _: () = assert!(size_of::<Side>() == 64);

impl<P: Platform> Side<P> {
    /// A side that nobody ever held.
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        Side {
            end: zero(),
            pcb_ref: zero(),
            own: [zero(), zero(), zero()],
            note: zero(),
            died: zero(),
            spare: 0,
        }
    }

    /// The end word.
    #[inline(always)]
    pub fn end(&self) -> Word {
        // Acquire pairs with `change_end`: what the holder wrote before it attached or left is visible.
        Word(self.end.load(Acquire))
    }

    /// ABSENT | LEFT | DIED => ATTACHED by process `slot`. `Err`: somebody holds it. The caller wakes the
    /// partner, who may sleep until somebody comes.
    pub fn attach(&self, slot: u16) -> Result<Word, Word> {
        let mut now = self.end();
        loop {
            if now.state() == ATTACHED {
                return Err(now);
            }
            let held = Word::new(ATTACHED, slot, now.sequence() + 1);
            match self.change_end(now, held) {
                Ok(()) => return Ok(held),
                Err(found) => now = found,
            }
        }
    }

    /// The partner puts P on the empty end: whoever attaches wakes it. False: somebody is there.
    pub fn announce(&self) -> bool {
        loop {
            let now = self.end();
            if now.state() == ATTACHED {
                return false;
            }
            // Also where P is already: the change publishes who sleeps now.
            if self.change_end(now, now.parked()).is_ok() {
                return true;
            }
        }
    }

    /// ATTACHED => LEFT | DIED. Idempotent: false if the end is no longer as `held`.
    pub fn detach(&self, held: Word, into: u8) -> bool {
        let mut now = self.end();
        loop {
            if now.awake() != held.awake() {
                return false;
            }
            if into == DIED {
                self.note_death(held.sequence());
            }
            match self.change_end(now, now.awake().with_state(into)) {
                Ok(()) => return true,
                Err(found) => now = found,
            }
        }
    }

    /// S3. The change of the end word that follows publishes it.
    fn note_death(&self, holding: u64) {
        let mut noted = self.died.load(Relaxed);
        // A sweeper that was stopped for long does not take back what came after.
        while noted < holding {
            match self.died.compare_exchange(noted, holding, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(found) => noted = found,
            }
        }
    }

    /// The sequence of the last holding whose process died, up to an end word that was read before (S3).
    pub fn died(&self) -> u64 {
        self.died.load(Relaxed)
    }

    /// As `detach`: the end is again what it `was` before it was attached, but for its sequence.
    pub fn leave_as(&self, held: Word, was: Word) -> bool {
        let mut now = self.end();
        loop {
            if now.awake() != held.awake() {
                return false;
            }
            match self.change_end(now, now.awake().with_state(was.state()).with_slot(was.slot())) {
                Ok(()) => return true,
                Err(found) => now = found,
            }
        }
    }

    /// The end is handed on, from where `held` says to process `slot` or into a message: the same holding, so the partner
    /// notices nothing. `Err`: it is no longer as `held`.
    pub fn hand_on(&self, held: Word, slot: u16) -> Result<Word, Word> {
        let mut now = self.end();
        loop {
            if now.awake() != held.awake() {
                return Err(now);
            }
            match self.change_end(now, now.with_slot(slot)) {
                Ok(()) => return Ok(now.with_slot(slot).awake()),
                Err(found) => now = found,
            }
        }
    }

    fn change_end(&self, from: Word, to: Word) -> Result<(), Word> {
        self.end.compare_exchange(from.0, to.0, AcqRel, Acquire).map(drop).map_err(Word)
    }

    /// The PCB that sleeps for this side.
    pub fn pcb_ref(&self) -> u64 {
        self.pcb_ref.load(Relaxed)
    }
    /// Published by the announcement that follows (S1).
    pub fn set_pcb_ref(&self, reference: u64) {
        if self.pcb_ref.load(Relaxed) != reference {
            self.pcb_ref.store(reference, Relaxed);
        }
    }
    /// (reference, capacity) of the target variable.
    pub fn target(&self) -> (u64, u64) {
        (self.own[0].load(Relaxed), self.own[1].load(Relaxed))
    }
    /// Published by the WANT that follows (S1).
    pub fn set_target(&self, reference: u64, capacity: u64) {
        self.own[0].store(reference, Relaxed);
        self.own[1].store(capacity, Relaxed);
    }
    /// What did not fit.
    pub fn note(&self) -> u64 {
        self.note.load(Relaxed)
    }
    /// Published by the refusal that follows (S1).
    pub fn set_note(&self, bytes: u64) {
        self.note.store(bytes, Relaxed);
    }
    /// S2: the rendezvous whose message this receiver may not have read.
    pub fn unread(&self) -> Option<u64> {
        // Acquire: of a dead receiver, whose last words its successor reads.
        self.own[2].load(Acquire).checked_sub(1)
    }
    /// See `unread`.
    pub fn set_unread(&self, s: Option<u64>) {
        self.own[2].store(s.map_or(0, |s| s + 1), Release);
    }
    /// The staging block of a parity; 0 if there is none yet.
    pub fn staging(&self, parity: usize) -> u64 {
        self.own[parity & 1].load(Relaxed)
    }
    /// Written by the holder of the end.
    pub fn set_staging(&self, parity: usize, reference: u64) {
        self.own[parity & 1].store(reference, Relaxed);
    }
}

impl<P: Platform> Default for Side<P> {
    fn default() -> Self {
        Side::new()
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Side { end, pcb_ref, own, note, died, spare })]
}
