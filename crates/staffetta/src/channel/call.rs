//! One call of a protocol: what goes out or in, how long it may wait, why it ended without its message; what the protocol
//! asks of the process around it ([`Ground`]), and what a side remembers from call to call ([`Memory`]).
//!
//! No protocol is here: `rendezvous`, `ring` and `buffer` are.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::time::Instant;

use super::line::{Line, Reference3};
use super::side::{Side, ATTACHED, DIED};
use crate::memory::platform::Platform;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::wait::{Spinner, Wait};

/// What a protocol asks of the process it runs in.
pub trait Ground<P: Platform> {
    /// The calling thread's PCB, and the reference by which other processes find it. None: this
    /// process has no PCB left; the wait then stays busy.
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)>;
    /// Wakes the PCB behind a reference that a peer wrote. A reference that makes no sense is ignored.
    fn wake(&self, pcb_ref: u64);
    /// Is what a peer wrote an operation of a select, and does that sleep? None: it is none.
    fn select_at(&self, _pcb_ref: u64) -> Option<bool> {
        None
    }
    /// The caller has just come first, by an offer or a want that its partner is to find: for selects of the other side that do not
    /// stand in its `Side`.
    #[inline(always)]
    fn came_first(&self) {}
    /// Has something else come for the receiver that waits, which is not in the channel's words (kept.rs)? Or is this process no member
    /// any more?
    #[inline(always)]
    fn is_called_away(&self) -> bool {
        false
    }
    /// An end is held by the process in this slot. If that is dead, what it had in hand comes back now.
    fn bury(&self, _slot: u16) {}
    /// A pointer to `length` bytes behind a reference that a peer wrote; None if it lies outside of
    /// what this process may reach.
    fn resolve(&self, reference: u64, length: u64) -> Option<*mut u8>;
    /// The channel's staging block of this parity, at least `length` bytes: its reference and where it
    /// is for us. L2 says who may touch it when. None: the domain is full.
    fn stage(&self, parity: usize, length: usize) -> Option<(u64, *mut u8)>;
    /// May the first one leave its storage to a partner that is in the middle of a copy? Where a partner cannot be stopped
    /// alone (threads of one process), the end of the copy is waited for instead, beyond the deadline.
    fn may_abandon(&self) -> bool {
        true
    }
    /// The storage of a copy that the first one abandoned is ours now: say so in its holder word (line.rs, L6).
    fn adopt(&self, storage: *const u8);
    /// Give back what was adopted.
    fn abandoned(&self, storage: *const u8);
    /// Fills `to` with what is at `address` of the process that holds the end whose word is `owner`. If there is anything to wait
    /// for, not beyond `deadline`.
    fn read_lent(
        &self,
        owner: Word,
        address: u64,
        to: &mut [MaybeUninit<u8>],
        deadline: Option<Instant>,
    ) -> Lent {
        let _ = (owner, address, to, deadline);
        Lent::Refused
    }
}

/// What came of reading lent memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// All of it was read, and its owner is still who it was.
    Read,
    /// Not this time.
    NotNow,
    /// This process may not read that one's memory.
    Refused,
}

/// What goes out.
#[derive(Clone, Copy)]
pub enum Outgoing {
    /// A small value.
    Cell {
        /// Where the bytes are.
        bytes: *const u8,
        /// How many: at most `INLINE_BYTES`.
        length: usize,
    },
    /// A parcel: only its reference moves.
    Parcel(Reference3),
    /// A message in private memory, too large for a cell.
    Private {
        /// Where the bytes are.
        bytes: *const u8,
        /// How many.
        length: usize,
        /// All messages of this channel have this length.
        exact: bool,
    },
    /// A message in private memory that the receiver may read itself, if it can.
    Lent {
        /// Where the bytes are.
        bytes: *const u8,
        /// How many.
        length: usize,
    },
    /// A message variable of the domain.
    Variable {
        /// Where it is for us.
        bytes: *const u8,
        /// How many bytes.
        length: usize,
        /// Where it is for everybody.
        reference: u64,
        /// All messages of this channel have this length.
        exact: bool,
    },
}

/// Where a message goes to.
#[derive(Clone, Copy)]
pub enum Incoming {
    /// A small value.
    Cell {
        /// Where the bytes go.
        bytes: *mut u8,
        /// How many: at most `INLINE_BYTES`.
        length: usize,
    },
    /// A parcel's reference.
    Parcel(*mut Reference3),
    /// Private memory, for messages too large for a cell.
    Private {
        /// Where the bytes go.
        bytes: *mut u8,
        /// How many there is room for.
        capacity: usize,
        /// All messages of this channel have this length.
        exact: bool,
    },
    /// A target variable of the domain.
    Variable {
        /// Where it is for us.
        bytes: *mut u8,
        /// How many bytes there is room for.
        capacity: usize,
        /// Where it is for everybody.
        reference: u64,
        /// Messages of this channel ride in the cell when they are sent from private memory.
        small: bool,
        /// All messages of this channel have the same length.
        exact: bool,
    },
}

/// Why an operation ended without its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The deadline passed; the offer or want was withdrawn.
    TimedOut,
    /// The partner is not there any more: its end word, whose state is DIED if any that was there since the last call died, also
    /// when somebody else is there now.
    Gone(Word),
    /// `try_*`: nobody waits on the other side.
    WouldBlock,
    /// The message does not fit the target.
    TooLong {
        /// Bytes of the message.
        length: u64,
        /// Bytes there is room for.
        capacity: u64,
    },
    /// The deadline passed while the partner copied; the storage is the partner's now. For a sender
    /// the message *was* taken; for a receiver it was not.
    Abandoned,
    /// As `Abandoned`, but the message would not have fitted: it was not taken. The storage is the partner's all the same.
    AbandonedTooLong {
        /// Bytes of the message.
        length: u64,
        /// Bytes there is room for.
        capacity: u64,
    },
    /// No room to stage the message.
    Full,
    /// A slot of this end is reserved, or a message is in hand.
    Held,
    /// The message of this place is lost: a receiver died while it changed it (buffer.rs, B5).
    Torn {
        /// Its place.
        place: u64,
    },
    /// A receiver of a broadcast was too slow, and is disconnected.
    Cut {
        /// Messages that it missed.
        missed: u64,
    },
    /// A peer left a reference that points outside the domain.
    Corrupt,
    /// `Ground::is_called_away`.
    CalledAway,
}

/// How long an operation may wait.
#[derive(Clone, Copy)]
pub enum Patience {
    /// Not at all.
    Try,
    /// Until then; for ever if None.
    Until(Option<Instant>),
}

impl Patience {
    /// The moment until which a call may wait; None: for ever.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Try => Some(Instant::now()),
            Patience::Until(deadline) => deadline,
        }
    }
}

impl Outgoing {
    /// Does it fit a cell?
    pub(crate) fn is_small(&self) -> bool {
        matches!(self, Outgoing::Cell { .. } | Outgoing::Parcel(_))
    }

    /// As the name says; a parcel has its message's length and no bytes to copy.
    pub(crate) fn length(&self) -> usize {
        match *self {
            Outgoing::Cell { length, .. }
            | Outgoing::Private { length, .. }
            | Outgoing::Lent { length, .. }
            | Outgoing::Variable { length, .. } => length,
            Outgoing::Parcel(words) => words[1] as usize,
        }
    }
    /// As the name says; a parcel has its message's length and no bytes to copy.
    pub(crate) fn bytes(&self) -> *const u8 {
        match *self {
            Outgoing::Cell { bytes, .. }
            | Outgoing::Private { bytes, .. }
            | Outgoing::Lent { bytes, .. }
            | Outgoing::Variable { bytes, .. } => bytes,
            Outgoing::Parcel(_) => std::ptr::null(),
        }
    }
}

impl Incoming {
    /// Is the length known before?
    pub(crate) fn is_exact(&self) -> bool {
        match *self {
            Incoming::Cell { .. } | Incoming::Parcel(_) => true,
            Incoming::Private { exact, .. } | Incoming::Variable { exact, .. } => exact,
        }
    }

    /// The target variable's reference; 0 for private memory.
    pub(crate) fn reference(&self) -> u64 {
        match *self {
            Incoming::Variable { reference, .. } => reference,
            _ => 0,
        }
    }

    /// As the name says; a parcel has its message's length and no bytes to copy.
    pub(crate) fn capacity(&self) -> usize {
        match *self {
            Incoming::Cell { length, .. } => length,
            Incoming::Parcel(_) => 0,
            Incoming::Private { capacity, .. } | Incoming::Variable { capacity, .. } => capacity,
        }
    }
    /// As the name says; a parcel has its message's length and no bytes to copy.
    pub(crate) fn bytes(&self) -> *mut u8 {
        match *self {
            Incoming::Parcel(_) => std::ptr::null_mut(),
            Incoming::Cell { bytes, .. }
            | Incoming::Private { bytes, .. }
            | Incoming::Variable { bytes, .. } => bytes,
        }
    }
}

/// What a side remembers between two calls.
#[derive(Debug)]
pub struct Memory {
    /// The state word expected at the next arrival: a guess that saves a cache miss. Of a receiver: IDLE. Of a
    /// sender: WANT of the rendezvous after the one that `deliver_now` ended, if nothing of its own came in between,
    /// else it looks: a wrong IDLE costs a look, but a WANT of the wrong parity would be a cell that is being read.
    pub expect: Cell<Word>,
    /// The partner's holding, as last accounted for. An end that is handed on in a message is the same holding.
    pub peer: Cell<Word>,
    /// Waiting policy.
    pub wait: Cell<Wait>,
    /// Its learning.
    pub spinner: Cell<Spinner>,
    /// May private memory be lent, and lent memory be read?
    pub lends: Cell<bool>,
    /// The partner's end word for which lending was found to be in vain.
    pub unreadable: Cell<Option<Word>>,
    /// How often the last message was copied, by both sides together.
    pub copies: Cell<u32>,
    /// A partner that died is waited for: another one will come in its place (`Continuation::WaitForSuccessor`).
    pub waits: Cell<bool>,
    /// Of the receiver of a rendezvous: what it has not read out of its cell is its successor's (side.rs, S2).
    pub keeps: Cell<bool>,
}

impl Memory {
    /// Of a side that has just attached.
    pub fn new<P: Platform>(line: &Line<P>, peer: &Side<P>, wait: Wait) -> Memory {
        Memory::of(line.word(), peer.end(), wait)
    }

    /// Of a side that expects the state word `expect`, and has found the partner's end word `peer`.
    pub fn of(expect: Word, peer: Word, wait: Wait) -> Memory {
        Memory {
            expect: Cell::new(expect.awake()),
            peer: Cell::new(peer.holding()),
            wait: Cell::new(wait),
            spinner: Cell::default(),
            lends: Cell::new(false),
            unreadable: Cell::new(None),
            copies: Cell::new(0),
            waits: Cell::new(false),
            keeps: Cell::new(false),
        }
    }

    /// How often to look for the partner before a wait begins in earnest.
    #[inline(always)]
    pub fn eager_steps<P: Platform>(&self) -> u64 {
        match self.wait.get() {
            Wait::Park => 0,
            Wait::SpinThenPark if !self.spinner.get().is_hopeful() => 0,
            _ => P::eager_steps(),
        }
    }

    /// Is there any use in lending to, or reading from, the partner whose end word is `end`?
    pub fn lends_to(&self, end: Word) -> bool {
        self.lends.get() && self.unreadable.get() != Some(end.awake())
    }

    /// Is the partner's end as it was last accounted for?
    #[inline(always)]
    pub fn is_known(&self, end: Word) -> bool {
        end.holding() == self.peer.get()
    }

    /// What would `lost_partner` say?
    pub fn would_lose(&self, now: Word, died: u64) -> Option<Word> {
        self.loss(self.peer.get(), told_by(now, died), died)
    }

    /// Where a successor is waited for, whoever died and whoever came in its place is no loss; who left is.
    fn loss(&self, before: Word, now: Word, died: u64) -> Option<Word> {
        if self.waits.get() {
            let goes_on = now == before || matches!(now.state(), ATTACHED | DIED);
            return (!goes_on).then_some(now);
        }
        // Of the holdings after `before`, and of that one if it was not over.
        if now != before && died.saturating_add(u64::from(before.state() == ATTACHED)) > before.sequence() {
            return Some(now.with_state(DIED));
        }
        (now != before && (before.state() == ATTACHED || now.state() != ATTACHED)).then_some(now)
    }

    /// Is a partner awaited that died?
    pub fn awaits(&self, now: Word) -> bool {
        self.waits.get() && now.state() == DIED
    }

    /// Accounts for the partner's end word `now`, and its deaths up to then (side.rs, S3). Some: a partner that was there is gone,
    /// and this is the first time that it is said; the word for `Stop::Gone`. One that came and went between two looks counts: it
    /// may have sent something.
    pub fn lost_partner(&self, now: Word, died: u64) -> Option<Word> {
        let now = told_by(now, died);
        let before = self.peer.replace(now);
        self.loss(before, now, died)
    }
}

/// The end word `now`, as it will be at once if its own holding is among the deaths that are noted: that is told of now, and not again
/// when the word says so too.
fn told_by(now: Word, died: u64) -> Word {
    let now = now.holding();
    if now.state() == ATTACHED && died == now.sequence() {
        now.with_state(DIED)
    } else {
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// side.rs, S3: a death is noted before the end word says it. Whoever looks between the two is told once.
    #[test]
    fn a_death_that_is_noted_and_not_said_yet_is_told_once() {
        let attached = |n| Word::new(ATTACHED, 3, n);
        let died = |n| attached(n).with_state(DIED);
        for known in [attached(7), died(6), attached(6)] {
            let memory = Memory::of(Word::new(0, 0, 0), known, Wait::Park);
            let told = |now, died| memory.lost_partner(now, died).map(|gone| gone.state());
            assert_eq!(told(attached(7), 7), Some(DIED), "{known:?}");
            assert_eq!(told(died(7), 7), None, "{known:?}: a second time");
            assert_eq!(told(attached(8), 7), None, "{known:?}: the next one is well");
        }
    }
}
