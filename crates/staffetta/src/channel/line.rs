//! The zero-copy synchronous channel's descriptor: one state word and two cells in one cache line.
//!
//! The theory's five fields, and where they are here:
//!
//! | theory | here |
//! |---|---|
//! | `wait` | the state: `OFFER` (a sender waits) or `WANT` (a receiver waits) |
//! | `length`, `val_ref` | the cell of the rendezvous, or the value itself if it is small; a receiver's target is in its [`Side`](super::side::Side) |
//! | `pcb_ref` | in the `Side` of whoever waits: read only if it sleeps (P in the word) |
//! | `LOCK` | nothing: each step is one compare-exchange on the state word |
//!
//! States of rendezvous number *s* (the word's sequence), and who may leave each:
//!
//! ```text
//!                    sender first                             receiver first
//!  IDLE(s) ──offer──► OFFER(s) ──take─────► IDLE(s+1) ◄─────deliver── WANT(s) ◄──want── IDLE(s)
//!                     │  │  ▲ receiver                        sender   ▲ │  │
//!                     │  └──┴─begin─► TAKING(s) ─finish─► IDLE(s+1)    │ │  │
//!                     │                  │      ◄─finish─ GIVING(s) ◄──┴─┘  │
//!             withdraw│(sender)   abandon│(first)                           │withdraw (receiver)
//!                     ▼                  ▼                                  ▼
//!                  IDLE(s+2)        ABANDONED(s) ──finish (second)──► IDLE(s+1 | s+2)
//! ```
//!
//! | state | means | left by |
//! |---|---|---|
//! | IDLE | nobody is here; FORSAKEN: an offer or want has just ended with the death of who was to answer it | either |
//! | OFFER | the sender waits; its message is in cell *s* | receiver: take, begin, refuse; sender: withdraw |
//! | OFFER STAGE | the receiver waits until the sender has staged what it lent | sender: staged, decline |
//! | WANT | the receiver waits | sender: deliver, begin, refuse, lend; receiver: withdraw |
//! | TAKING | the receiver copies from the sender's variable, or from what it lends | receiver: finish, ask; sender: abandon |
//! | GIVING | the sender copies into the receiver's variable | sender: finish; receiver: abandon |
//! | ABANDONED | the first one gave up; the storage being copied is the second's now | second: finish |
//!
//! Private memory is *lent* (`brings::LENT`): its owner offers the address, and the receiver reads it across processes, so a lent
//! message is copied once. Only the receiver ever does: nobody writes into another's private memory, so nothing can go wrong
//! with it, whoever dies or is stopped when. Three more transitions:
//!
//! ```text
//!  WANT(s) LENT ──lend (sender)──► OFFER(s) LENT ──begin──► TAKING(s) LENT ──finish──► IDLE(s+1)
//!                                  OFFER(s) CELL ◄─staged── OFFER(s) STAGE ◄──ask────────┘ (receiver: it cannot be read)
//!                                            (sender)          │ decline (sender: no room)──► IDLE(s+2)
//! ```
//!
//! L1. Cell `s & 1` is written only by the sender, before it leaves IDLE(s), WANT(s) or OFFER(s) STAGE, and is read only
//!     by the receiver of rendezvous *s*, after it ended or while it is TAKING.
//! L2. A cell is not written again before its last message was consumed: cell `s & 1` is written again for
//!     *s*+2 at the earliest, which needs *s*+1 to have ended, which needs the receiver of *s* to have
//!     come back. A withdrawal adds two, so it returns to the same cell: nobody read that one.
//! L3. A rendezvous that ends at *s*+1 happened; one that ends at *s*+2 did not (withdrawn or refused). The partner
//!     alone can only add twos, so the parity still tells when the first one looks late.
//!     Commit points: take and deliver (one step each); finish; for a variable that was abandoned while
//!     TAKING, the abandonment itself. A staged message abandoned while the receiver looks at its length was not taken,
//!     and neither was a lent one abandoned while it was read: its owner may have gone on to change it.
//! L4. Who waits puts P on its own state (a receiver also on OFFER STAGE, where its sender never sleeps); every step
//!     that ends its wait reports P to the caller, who then wakes it. A select, which does not offer or want before it knows
//!     which of its channels it is to be, puts P on whatever state it finds, IDLE too: who then arrives wakes the other
//!     side. Nobody arrives at an IDLE of a side of its own.
//! L5. Settling a death is one compare-exchange from a word that was read *before* the end was seen to be
//!     still the dead one's; so it was written before any successor came, and none writes the same word again:
//!     offers and wants have their sequence, copies name their holder. A sweeper that was stopped for long thus
//!     undoes nothing of a successor's.
//! L6. Storage that is being copied when its owner leaves or dies belongs to the second (ABANDONED): it is
//!     adopted before the word leaves ABANDONED, and given back after. Until then sweepers spare it.
//! L7. An offer or want that was made to one that died is never met by its successor: it ends with the death (FORSAKEN), before the end
//!     says DIED, as if the dead one had refused it. So who waited is told of the death by that very call. (One that arrives after the
//!     sweeper looked, and before it has seen the end word change, may meet the successor; its next call is told.) Where successors are
//!     waited for it stands.

#![allow(unsafe_code)] // The cells are not atomic: L1 and L2 say who may touch them when.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::memory::platform::{Hold, HoldBytes, Native, Platform, Word64, HOLD_WORDS};
use crate::memory::word::Word;

/// Nobody is here.
pub const IDLE: u8 = 0;
/// The sender came first.
pub const OFFER: u8 = 1;
/// The receiver came first.
pub const WANT: u8 = 2;
/// The receiver copies out of the sender's variable.
pub const TAKING: u8 = 3;
/// The sender copies into the receiver's variable.
pub const GIVING: u8 = 4;
/// The first one gave up during the copy.
pub const ABANDONED: u8 = 5;

/// Bytes of a value that rides in the line.
pub const INLINE_BYTES: usize = HOLD_WORDS * 8;

/// A reference in a cell: (val_ref, length in bytes, incarnation of the block).
pub type Reference3 = [u64; HOLD_WORDS];

/// The word's slot field says what a state brings.
pub mod brings {
    /// OFFER: the cell is all there is (a value, a staged message, a parcel). WANT: into private memory.
    pub const CELL: u16 = 0;
    /// OFFER: a message variable of the domain, copied while the sender waits. WANT: a target variable.
    pub const VARIABLE: u16 = 1;
    /// ABANDONED by the sender: the receiver was taking.
    pub const TAKING: u16 = 2;
    /// ABANDONED by the receiver: the sender was giving.
    pub const GIVING: u16 = 3;
    /// ABANDONED by the sender of a staged message, whose length the receiver was looking at, or of a lent one, which it was
    /// reading.
    pub const LOOKING: u16 = 4;
    /// OFFER: private memory of the sender's process, which the receiver may read. WANT: into private memory of a
    /// receiver that would read what is lent.
    pub const LENT: u16 = 5;
    /// OFFER: the receiver cannot read what was lent; the sender is to stage it.
    pub const STAGE: u16 = 6;
    /// ABANDONED by the receiver of what comes in the cell: a select of the sender's had reserved it. No storage.
    pub const RESERVED: u16 = 7;
    /// IDLE: whoever was to answer the offer or want of this rendezvous's predecessor died. Its end says so at once.
    pub const FORSAKEN: u16 = 8;
    /// The bits above say, while TAKING or GIVING, which holder of its end copies (low bits of the end word's
    /// sequence): the copy of a dead one cannot be taken for that of its successor (L5).
    pub(super) const BITS: u16 = 0xf;
    /// What it brings, whatever the state.
    pub const fn of(slot: u16) -> u16 {
        slot & BITS
    }
    pub(super) const fn by(brings: u16, holder: u64) -> u16 {
        (brings & BITS) | ((holder as u16 & 0xff) << 4)
    }
}

/// The hot cache line of a rendezvous channel.
#[repr(C, align(64))]
pub struct Line<P: Platform = Native> {
    state: P::U64,
    cells: [P::Hold; 2],
    reserved: u64,
}

const _: () = assert!(size_of::<Line>() == 64);

/// How a copy that was begun ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    /// Both sides have it; `wake`: the first one sleeps.
    Done {
        /// Wake the partner.
        wake: bool,
    },
    /// The first one had given up: the storage that was copied from or to is ours now.
    Abandoned {
        /// The partner is back already, and sleeps until we are done.
        wake: bool,
    },
    /// The word was overwritten.
    Lost,
}

/// What a first one finds when it wants to leave.
#[derive(Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Nobody had come; nothing happened.
    Yes,
    /// The partner came; the rendezvous ended with this word.
    Ended(Word),
    /// The partner is copying.
    Copying(Word),
    /// The partner has come, and it is our turn (`is_our_turn`).
    OurTurn,
}

/// Is it the turn of the one that came first in rendezvous `s`: a sender that is to stage what it lent, a receiver that
/// is to read what is lent?
pub fn is_our_turn(now: Word, s: u64, sender: bool) -> bool {
    let stage = now.slot() == brings::STAGE;
    now.sequence() == s && now.state() == OFFER && (stage || !sender)
}

impl<P: Platform> Line<P> {
    /// A line where nobody has been.
    pub fn new() -> Self {
        Line { state: P::U64::new(0), cells: [P::Hold::new(), P::Hold::new()], reserved: 0 }
    }

    /// The state word now.
    #[inline(always)]
    pub fn word(&self) -> Word {
        // Acquire pairs with the release half of every transition: what the other side wrote before
        // it (the cell, the copied variable, its Side) is visible.
        Word(self.state.load(Acquire))
    }

    /// Every transition. AcqRel: releases the cell and the copied bytes to the other side, acquires
    /// what the other side published with the state that is left.
    #[inline(always)]
    fn change(&self, from: Word, to: Word) -> Result<(), Word> {
        self.state.compare_exchange(from.0, to.0, AcqRel, Acquire).map(drop).map_err(Word)
    }

    /// Writes the cell of rendezvous `sequence`.
    ///
    /// # Safety
    /// By the sender, who has not offered or delivered this rendezvous yet (L1, L2).
    #[inline(always)]
    pub unsafe fn write_cell<R>(&self, sequence: u64, f: impl FnOnce(*mut HoldBytes) -> R) -> R {
        // SAFETY: L1 and L2: nobody reads this cell before the transition that the caller makes next.
        unsafe { self.cells[(sequence & 1) as usize].write(f) }
    }

    /// Reads the cell of rendezvous `sequence`.
    ///
    /// # Safety
    /// By the receiver, after this rendezvous ended or while it is TAKING, and before it arrives again.
    #[inline(always)]
    pub unsafe fn read_cell<R>(&self, sequence: u64, f: impl FnOnce(*const HoldBytes) -> R) -> R {
        // SAFETY: L2: the sender does not write this cell again before the receiver comes back.
        unsafe { self.cells[(sequence & 1) as usize].read(f) }
    }

    /// `IDLE(s) => OFFER(s)`, by the sender, with the cell written. `Err`: the word found instead. If `idle` has P, a select
    /// of the receiver's is to be woken (L4).
    #[inline(always)]
    pub fn offer(&self, idle: Word, brings: u16) -> Result<Word, Word> {
        let offer = Word::new(OFFER, brings, idle.sequence());
        self.change(idle, offer).map(|()| offer)
    }

    /// `IDLE(s) => WANT(s)`, by the receiver; P as for `offer`.
    #[inline(always)]
    pub fn want(&self, idle: Word, brings: u16) -> Result<Word, Word> {
        let want = Word::new(WANT, brings, idle.sequence());
        self.change(idle, want).map(|()| want)
    }

    /// `WANT(s) => IDLE(s+1)`, by the sender, with the cell written.
    #[inline(always)]
    pub fn deliver(&self, want: Word) -> Result<(), Word> {
        debug_assert_eq!(want.state(), WANT);
        self.change(want, Word::new(IDLE, 0, want.sequence() + 1))
    }

    /// `WANT(s) LENT => OFFER(s) LENT`, by the sender, with the cell written: the receiver is to read what is lent.
    pub fn lend(&self, want: Word) -> Result<(), Word> {
        debug_assert_eq!((want.state(), want.slot()), (WANT, brings::LENT));
        self.change(want, Word::new(OFFER, brings::LENT, want.sequence()))
    }

    /// `TAKING(s) LENT => OFFER(s) STAGE`, by the receiver: it cannot read what is lent.
    pub fn ask(&self, taking: Word) -> Finished {
        let s = taking.sequence();
        self.end_copy(taking, Word::new(OFFER, brings::STAGE, s), Word::new(IDLE, 0, s + 2), || ())
    }

    /// `OFFER(s) STAGE => OFFER(s) CELL`, by the sender, with the staged message in the cell.
    pub fn staged(&self, asked: Word) -> Result<(), Word> {
        self.change(asked, Word::new(OFFER, brings::CELL, asked.sequence()))
    }

    /// `OFFER(s) STAGE => IDLE(s+2)`, by the sender: it cannot stage.
    pub fn decline(&self, asked: Word) -> Result<(), Word> {
        self.change(asked, Word::new(IDLE, 0, asked.sequence() + 2))
    }

    /// `OFFER(s) => IDLE(s+1)`, by the receiver; then the cell is its to read.
    #[inline(always)]
    pub fn take(&self, offer: Word) -> Result<(), Word> {
        debug_assert_eq!(offer.state(), OFFER);
        self.change(offer, Word::new(IDLE, 0, offer.sequence() + 1))
    }

    /// `OFFER(s) => TAKING(s)` or `WANT(s) => GIVING(s)`: the second one starts to copy. `holder`: the
    /// sequence of its end word (L5).
    pub fn begin(&self, first: Word, holder: u64) -> Result<Word, Word> {
        let state = if first.state() == OFFER { TAKING } else { GIVING };
        let copying = Word::new(state, brings::by(first.slot(), holder), first.sequence()).parked_as(first);
        self.change(first, copying).map(|()| copying)
    }

    /// The second one has copied: `TAKING | GIVING => IDLE(s+1)`. `adopt` takes over the storage if the first one
    /// gave up (L6).
    pub fn finish(&self, copying: Word, adopt: impl FnOnce()) -> Finished {
        // L3: of what was abandoned, only the taking of a variable did happen.
        let variable = copying.slot() & brings::BITS == brings::VARIABLE;
        let abandoned = if copying.state() == TAKING && variable { 1 } else { 2 };
        let s = copying.sequence();
        self.end_copy(copying, Word::new(IDLE, 0, s + 1), Word::new(IDLE, 0, s + abandoned), adopt)
    }

    /// The second one cannot take what the first one brought: `TAKING | GIVING => IDLE(s+2)`.
    pub fn refuse(&self, copying: Word, adopt: impl FnOnce()) -> Finished {
        let refused = Word::new(IDLE, 0, copying.sequence() + 2);
        self.end_copy(copying, refused, refused, adopt)
    }

    /// Retries while P appears.
    fn end_copy(&self, copying: Word, done: Word, abandoned: Word, adopt: impl FnOnce()) -> Finished {
        let s = copying.sequence();
        let mut now = copying;
        let mut adopt = Some(adopt);
        loop {
            let given_up = now.state() == ABANDONED;
            if let Some(adopt) = adopt.take_if(|_| given_up) {
                adopt(); // L6: before the change
            }
            match self.change(now, if given_up { abandoned } else { done }) {
                Ok(()) if given_up => return Finished::Abandoned { wake: now.is_parked() },
                Ok(()) => return Finished::Done { wake: now.is_parked() },
                Err(found)
                    if found.awake() == copying.awake()
                        || (found.state() == ABANDONED && found.sequence() == s) =>
                {
                    now = found;
                }
                // A wreck that another process wrote: there is nothing to finish, and the storage is not ours.
                Err(_) => return Finished::Lost,
            }
        }
    }

    /// The first one puts P on its state, or on the copy that is going on (L4). False: the wait is over.
    pub fn announce(&self, sequence: u64, sender: bool) -> bool {
        loop {
            let now = self.word();
            if now.sequence() != sequence || now.state() == IDLE || is_our_turn(now, sequence, sender) {
                return false;
            }
            // Also where P is already, from an earlier wait: the change publishes who sleeps now.
            if self.change(now, now.parked()).is_ok() {
                return true;
            }
        }
    }

    /// Somebody waits for a word that is not its own to change (an abandoned copy of a partner that is still busy; a select).
    /// The word must be `seen`.
    pub fn announce_on(&self, seen: Word) -> bool {
        self.change(seen, seen.parked()).is_ok()
    }

    /// The sender has reserved what it does not send: `GIVING => WANT`, or `ABANDONED => IDLE(s+2)`. True: wake the
    /// receiver, which gave up and waits for us.
    pub fn unreserve(&self, giving: Word) -> bool {
        let s = giving.sequence();
        let mut now = giving;
        loop {
            let to = if now.state() == ABANDONED {
                Word::new(IDLE, 0, s + 2)
            } else {
                Word::new(WANT, giving.slot() & brings::BITS, s).parked_as(now)
            };
            match self.change(now, to) {
                Ok(()) => return now.state() == ABANDONED && now.is_parked(),
                Err(found)
                    if found.awake() == giving.awake()
                        || (found.state() == ABANDONED && found.sequence() == s) =>
                {
                    now = found;
                }
                Err(_) => return false,
            }
        }
    }

    /// The first one leaves: `OFFER | WANT => IDLE(s+2)`.
    pub fn withdraw(&self, sequence: u64, sender: bool) -> Withdrawn {
        let mut now = self.word();
        loop {
            if now.sequence() != sequence || now.state() == IDLE {
                return Withdrawn::Ended(now);
            }
            if is_our_turn(now, sequence, sender) {
                return Withdrawn::OurTurn;
            }
            if matches!(now.state(), TAKING | GIVING) {
                return Withdrawn::Copying(now);
            }
            match self.change(now, Word::new(IDLE, 0, sequence + 2)) {
                Ok(()) => return Withdrawn::Yes,
                Err(found) => now = found,
            }
        }
    }

    /// The first one leaves its storage to the second, who is in the middle of the copy:
    /// `TAKING | GIVING => ABANDONED`; gives what was abandoned. `Err`: the copy had just ended, with this word.
    pub fn abandon(&self, sequence: u64) -> Result<u16, Word> {
        let mut now = self.word();
        loop {
            if now.sequence() != sequence || !matches!(now.state(), TAKING | GIVING) {
                return Err(now);
            }
            let was = match (now.state(), now.slot() & brings::BITS) {
                (TAKING, brings::VARIABLE) => brings::TAKING,
                (TAKING, _) => brings::LOOKING,
                (GIVING, brings::CELL) => brings::RESERVED,
                _ => brings::GIVING,
            };
            match self.change(now, Word::new(ABANDONED, was, sequence)) {
                Ok(()) => return Ok(was),
                Err(found) => now = found,
            }
        }
    }

    /// What cell `sequence & 1` refers to, for a sweeper: a hint, to be checked against the block's word.
    pub fn peek_reference(&self, sequence: u64) -> Reference3 {
        // SAFETY: the sender does not write this cell while `sequence + 1` is the word's sequence (L2); if that
        // changed meanwhile, what is read is garbage, which a hint may be. Volatile: not to be reasoned about.
        unsafe { self.cells[(sequence & 1) as usize].read(|cell| cell.cast::<Reference3>().read_volatile()) }
    }

    /// Reads the word by a read-modify-write: whoever changed something else first (its end, a death
    /// mark) now either sees P, or is seen by the waiter's recheck (wait.rs, H2).
    pub fn word_after_change(&self) -> Word {
        Word(self.state.fetch_add(0, AcqRel))
    }

    /// The process of the sender (`sender`) or of the receiver is dead: undo what it was doing.
    /// A copy it had begun goes back to the offer or want it answered; its own offer or want goes away; its own
    /// storage that the partner is copying becomes the partner's (L6).
    /// `ends`: an offer or want that was made to the dead one ends (L7); else it stands for a successor.
    /// `still`: is the end still the dead one's? (L5) Idempotent, and safe to run in several processes at once.
    pub fn settle_death(&self, sender: bool, ends: bool, still: impl Fn() -> bool) {
        let mut now = self.word();
        loop {
            let s = now.sequence();
            let brings = now.slot() & brings::BITS;
            let forsaken = Word::new(IDLE, brings::FORSAKEN, s + 2);
            let to = match (now.state(), sender) {
                // The first one still waits, perhaps asleep, for a dead one that had not come, or was copying.
                (OFFER, false) | (WANT, true) | (TAKING, false) | (GIVING, true) if ends => forsaken,
                // The dead one came first and nobody answered.
                (OFFER, true) | (WANT, false) => Word::new(IDLE, 0, s + 2),
                // The same, and goes on waiting.
                (TAKING, false) => Word::new(OFFER, brings, s).parked_as(now),
                (GIVING, true) => Word::new(WANT, brings, s).parked_as(now),
                // The dead one came first, and the partner is copying.
                (TAKING, true) if brings != brings::VARIABLE => Word::new(ABANDONED, brings::LOOKING, s),
                (TAKING, true) => Word::new(ABANDONED, brings::TAKING, s),
                (GIVING, false) if brings == brings::CELL => Word::new(ABANDONED, brings::RESERVED, s),
                (GIVING, false) => Word::new(ABANDONED, brings::GIVING, s),
                // The first one had left as well (L3).
                (ABANDONED, false) if brings == brings::TAKING => Word::new(IDLE, 0, s + 1),
                (ABANDONED, false) if brings == brings::LOOKING => Word::new(IDLE, 0, s + 2),
                (ABANDONED, true) if matches!(brings, brings::GIVING | brings::RESERVED) => {
                    Word::new(IDLE, 0, s + 2)
                }
                _ => return,
            };
            if !still() {
                return;
            }
            match self.change(now, to) {
                Ok(()) => return,
                Err(found) => now = found,
            }
        }
    }
}

impl<P: Platform> Default for Line<P> {
    fn default() -> Self {
        Line::new()
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Line { state, cells, reserved })]
}
