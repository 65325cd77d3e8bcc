//! The queue: many senders, many receivers, each message to one of them, in place.
//!
//! Messages lie in *slots*. Each sender has slots of its own, its *lane*, so nobody contends for the place where a message
//! is built. What is shared is a ring of *cells*, one word each, which says in which order they are taken:
//!
//! ```text
//!   cells     position t  ->  | round t/c + 1 | lane | slot |      c cells, a power of two
//!   lane 0    [slot][slot][slot] ...        a slot: word, length, ticket, bytes (ring.rs)
//!   lane 1    [slot][slot][slot] ...
//! ```
//!
//! | slot's state | sequence | slot field | means | left by |
//! |---|---|---|---|---|
//! | EMPTY | | | its sender's | its sender |
//! | FULL | t | | waits at position t, if cell t says so; else its sender's | receiver: READING, or EMPTY at once; a sender that makes room: DROPPING, or EMPTY at once |
//! | READING | t | seat, attempt | the receiver in that seat has it in hand | that receiver: EMPTY; who sweeps after its death: RETURNED |
//! | RETURNED | t | attempt | a receiver died with it in hand; waits for the next one | receiver: READING |
//! | DROPPING | t | seat | the sender in that seat drops it | that sender: EMPTY; who sweeps after its death: EMPTY |
//!
//! Sending is one compare-exchange of a cell, from what was there to (round, lane, slot): the commit point. Receiving is
//! one compare-exchange of the slot's word, FULL(t) => READING(t): the commit point. A receiver does not write the cell:
//! whether position t waits still is what the slot says that cell t names. So there is no moment in which a
//! position is taken and not yet filled, or filled and not yet readable: whoever is stopped between two
//! instructions is in nobody's way, and whoever dies there has sent or has not.
//!
//! Q1. Cell t is changed from position t-c to t only by a sender that saw cell t-1 at its position, and that t-n waits
//!     no more (n <= c: how many may wait in all). So positions are filled without gap.
//! Q2. A receiver takes t only after it saw that t-1 waits no more. So what waits are at most n positions in a row, and if
//!     one waits no more, none before it does.
//! Q3. A slot's bytes are its sender's while EMPTY, or FULL without a cell that says so; its receiver's while READING. Only
//!     its sender stores FULL and only then, so the store needs no compare-exchange. The word is written before the cell
//!     (Release), so who finds the cell (Acquire) finds the word and the bytes.
//! Q4. t is the ticket: a word of an older message never looks like that of a newer one. An attempt is counted each time a
//!     message is returned, so that READING by the same seat again is another word; a late sweeper's compare-exchange fails.
//! Q5. `place` of both directions are hints. From one that is too low a side comes to the right one within n steps.
//! Q6. `length` is CHANGED while a receiver has write access, as in buffer.rs (B5): if it dies, the next one is told `Torn`.
//!
//! Q7. READING and DROPPING are left by who is in the seat, or after its death. And nobody waits for a slot to become EMPTY:
//!     a lane has K + 1 slots, and two more for each possible receiver: one for the message that it has in hand, one
//!     for a message that was returned. (A receiver takes what was returned before anything else, so there is no third.)
//!     So EMPTY is stored, and nobody is woken. Where parcels are dropped a lane has one more for each sender, which may be
//!     about to give one back. (`force_send` may find a lane without a free slot while many are in the middle of it: it says so.)
//!
//! **When a send blocks.** With a degree in all, exactly when n messages wait. With a degree K per sender, when K of its
//! own wait; the ring is then long enough for all. A message in hand does not wait.
//!
//! | file | one idea |
//! |---|---|
//! | `mod` | cells, slots, and what is where |
//! | `sending` | room, and the commit point of a sender |
//! | `receiving` | what comes next, and the commit point of a receiver |
//! | `waiting` | who sleeps, who is woken, who is gone |
//! | `recovery` | what the dead leave |
//!
//! Who waits sleeps in the `Crowd` of its direction. Nothing here knows what is in a message.

#![allow(unsafe_code)] // The slots' bytes are raw memory: Q3 says whose they are.

mod receiving;
mod recovery;
mod sending;
mod waiting;

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::call::{Ground, Memory};
use super::crowd::{Crowd, SEATS_MAX};
use super::ring::{Shape, Slot, Slots, FULL};
use super::tally::Tally;
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::{Word, SEQUENCE_BITS};

/// A dead receiver had it in hand.
pub const RETURNED: u8 = 3;
/// A sender drops it to make room.
pub const DROPPING: u8 = 4;

/// What `length` says while a receiver may change the message (Q6).
pub const CHANGED: u64 = u64::MAX;

/// How long who was woken in vain rests before it may be woken again, and how often that doubles.
const REST_NS: u64 = 50_000;
const RESTS_MAX: u32 = 3;

/// See `glance`.
const CALM_MAX: u32 = 8;
const GLANCES: u32 = 6;

/// Slots further on whose lines are asked for in advance: they were last on another core.
const AHEAD: u64 = 6;

/// Positions are below: they are the sequences of words.
const POSITIONS_MAX: u64 = 1 << SEQUENCE_BITS;

/// A seat's number in the slot field of a word.
const SEAT_BITS: u32 = SEATS_MAX.trailing_zeros();
/// So many receivers may die with a message in hand; then it is taken for the reason, and dropped.
const ATTEMPTS_MAX: u16 = (1 << (12 - SEAT_BITS)) - 1;

/// Where the queue's lanes are in this process.
pub trait Lanes {
    /// The first slot of a lane. None: no sender ever had it, or the reference to it makes no sense.
    ///
    /// It has as many slots as the queue's `Plan` says, zero at first, for as long as the queue is used.
    fn lane(&self, lane: usize) -> Option<NonNull<u8>>;
}

/// What a queue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How many messages may wait in all, n.
    pub degree: u64,
    /// How many of one sender may wait; None: that is not limited.
    pub per_sender: Option<u64>,
    /// The slots of a lane.
    pub lane: Shape,
    /// Only one receiver can be there, and no sender drops: a message that waits is that receiver's.
    pub exclusive: bool,
}

impl Plan {
    /// Cells of the ring.
    pub fn cells(&self) -> u64 {
        self.degree.next_power_of_two()
    }

    /// With a degree per sender: can there be one receiver only? A lane has two slots for each (Q7).
    fn one_receiver(&self, degree: u64) -> bool {
        self.lane.degree == degree + 2
    }

    /// What a cell says: its position, the lane and the slot; `position` is one of those that it is for. For who looks without
    /// taking part.
    pub fn read_cell(&self, position: u64, cell: u64) -> Option<(u64, usize, u64)> {
        let (cell_bits, slot_bits) = (self.cells().trailing_zeros(), self.slot_bits());
        let round = (cell >> (SEAT_BITS + slot_bits)).checked_sub(1)?;
        let there = (round << cell_bits) | (position & (self.cells() - 1));
        Some((there, (cell >> slot_bits) as usize % SEATS_MAX, cell & ((1 << slot_bits) - 1)))
    }

    /// Bits of a slot's number in a cell.
    #[inline(always)]
    fn slot_bits(&self) -> u32 {
        64 - self.lane.degree.leading_zeros()
    }

    /// Slots of a lane.
    #[inline(always)]
    fn slots(&self) -> u64 {
        self.lane.degree + 1
    }
}

/// The queue as this process reaches it.
pub struct Queue<P: Platform, L: Lanes> {
    senders: NonNull<Crowd<P>>,
    receivers: NonNull<Crowd<P>>,
    cells: NonNull<P::U64>,
    /// Which of a position's bits tell its cell; how many they are.
    mask: u64,
    cell_bits: u32,
    slot_bits: u32,
    plan: Plan,
    lanes: L,
}

// SAFETY: the words are atomic, and Q3 says whose the bytes are.
unsafe impl<P: Platform, L: Lanes + Send> Send for Queue<P, L> {}
// SAFETY: as above.
unsafe impl<P: Platform, L: Lanes + Sync> Sync for Queue<P, L> {}

/// What one end knows without looking.
pub struct QueueSide {
    /// Its seat.
    pub seat: usize,
    /// The position it looks at next.
    at: Cell<u64>,
    /// A sender: the number of the slot that it builds in next.
    slot: Cell<u64>,
    /// A sender: positions below may be filled without a look (Q2).
    clear: Cell<u64>,
    /// A sender: how many more it may send before it has to look whether K of its own wait.
    credit: Cell<u64>,
    /// How long it pauses before it looks again, as a power of two.
    calm: Cell<u32>,
    /// A receiver: how many were returned when it found none of them left.
    returned: Cell<u64>,
    /// How often in a row it was woken in vain.
    rests: Cell<u32>,
    /// Something is reserved, or in hand.
    is_held: Cell<bool>,
    /// What that is.
    held: Cell<Held>,
    /// The `departures` of the other direction when its end words were looked at.
    departures: Cell<u64>,
}

/// What an end has in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    lane: usize,
    slot: u64,
    /// Of a message in hand: its word, READING.
    word: Word,
    /// Where its bytes are.
    pub bytes: *mut u8,
    /// How many bytes it has; CHANGED if that is not known any more.
    pub length: u64,
}

// SAFETY: a place in shared memory, of which Q3 says whose it is: the end's, on whichever thread that is.
unsafe impl Send for Held {}

impl Held {
    const NONE: Held = Held { lane: 0, slot: 0, word: Word(0), bytes: std::ptr::null_mut(), length: 0 };

    /// Its position.
    pub fn position(&self) -> u64 {
        self.word.sequence()
    }

    /// Of a message in hand: some receiver has had it in hand before.
    pub fn is_redelivered(&self) -> bool {
        split(self.word.slot()).1 != 0
    }
}

/// A message found: who it belongs to and what its word says.
struct Found<'q, P: Platform> {
    lane: usize,
    slot: u64,
    word: Word,
    words: &'q Slot<P>,
    bytes: *mut u8,
}

impl QueueSide {
    /// Of the end in `seat`.
    pub fn new(seat: usize) -> QueueSide {
        QueueSide {
            seat,
            at: Cell::new(0),
            slot: Cell::new(0),
            clear: Cell::new(0),
            credit: Cell::new(0),
            calm: Cell::new(0),
            returned: Cell::new(0),
            rests: Cell::new(0),
            is_held: Cell::new(false),
            held: Cell::new(Held::NONE),
            departures: Cell::new(u64::MAX),
        }
    }

    /// The end words of the others were looked at, after their `departures` were `departures`.
    #[inline(always)]
    pub fn looked(&self, departures: u64) {
        self.departures.set(departures);
    }

    /// Were they looked at since?
    #[inline(always)]
    pub fn saw(&self, departures: u64) -> bool {
        departures == self.departures.get()
    }

    /// The position that it looks at next.
    pub fn position(&self) -> u64 {
        self.at.get()
    }

    /// What it has in hand.
    pub fn in_hand(&self) -> Option<Held> {
        self.is_held().then(|| self.held.get())
    }

    /// Is a slot reserved, or a message in hand?
    pub fn is_held(&self) -> bool {
        self.is_held.get()
    }

    fn hold(&self, held: Held) -> Held {
        self.held.set(held);
        self.is_held.set(true);
        held
    }
}

impl<P: Platform, L: Lanes> Queue<P, L> {
    /// The queue of these parts.
    ///
    /// # Safety
    /// The crowds and `plan.cells()` cells are there as long as the queue is used; zero at first.
    pub unsafe fn new(
        senders: NonNull<Crowd<P>>,
        receivers: NonNull<Crowd<P>>,
        cells: NonNull<P::U64>,
        plan: Plan,
        lanes: L,
    ) -> Self {
        let mask = plan.cells() - 1;
        let (cell_bits, slot_bits) = (mask.count_ones(), plan.slot_bits());
        Queue { senders, receivers, cells, mask, cell_bits, slot_bits, plan, lanes }
    }

    /// The senders.
    #[inline(always)]
    pub fn senders(&self) -> &Crowd<P> {
        // SAFETY: `new`.
        unsafe { self.senders.as_ref() }
    }

    /// The receivers.
    #[inline(always)]
    pub fn receivers(&self) -> &Crowd<P> {
        // SAFETY: `new`.
        unsafe { self.receivers.as_ref() }
    }

    /// What it is.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> &P::U64 {
        // SAFETY: `new`; below `cells()`.
        unsafe { self.cells.add((position & self.mask) as usize).as_ref() }
    }

    #[inline(always)]
    fn encode(&self, position: u64, lane: usize, slot: u64) -> u64 {
        let bits = self.slot_bits;
        (((position >> self.cell_bits) + 1) << (SEAT_BITS + bits)) | ((lane as u64) << bits) | slot
    }

    /// The position that a cell's word is about; None: nothing yet, or what no sender writes.
    #[inline(always)]
    fn position_of(&self, position: u64, cell: u64) -> Option<u64> {
        let round = (cell >> (SEAT_BITS + self.slot_bits)).checked_sub(1)?;
        Some((round << self.cell_bits) | (position & self.mask)).filter(|there| *there < POSITIONS_MAX)
    }

    /// The hint of a direction: what a peer wrote there may be anything.
    #[inline(always)]
    fn place(crowd: &Crowd<P>) -> u64 {
        crowd.place.load(Relaxed).min(POSITIONS_MAX)
    }

    /// (lane, slot) of a cell's word.
    #[inline(always)]
    fn named(&self, cell: u64) -> (usize, u64) {
        let bits = self.slot_bits;
        ((cell >> bits) as usize % SEATS_MAX, cell & ((1 << bits) - 1))
    }

    /// A slot's words, and its bytes. None: there is no such lane.
    #[inline(always)]
    fn slot(&self, lane: usize, slot: u64) -> Option<(&Slot<P>, *mut u8)> {
        let ring = self.lanes.lane(lane)?;
        let shape = &self.plan.lane;
        // SAFETY: a multiple of the stride, below the lane's bytes (`Lanes::lane`). The words live as long as the lane.
        (slot <= shape.degree)
            .then(|| unsafe { Slots::words_and_bytes(ring, shape.offset, slot * shape.stride) })
    }

    /// The word of the message of `position`, if it waits there still; `cell` is what the cell says.
    #[inline(always)]
    fn waits(&self, position: u64, cell: u64) -> Option<Found<'_, P>> {
        let (lane, slot) = self.named(cell);
        // Acquire: the bytes (Q3), or what its receiver did with them.
        let (words, bytes) = self.slot(lane, slot)?;
        let word = Word(words.word.load(Acquire));
        let waits = word.state() == FULL && word.sequence() == position;
        waits.then_some(Found { lane, slot, word, words, bytes })
    }

    /// The oldest message that waits, from `at` on, which moves. None: none waits.
    #[inline(always)]
    fn oldest(&self, at: &Cell<u64>, crowd: &Crowd<P>) -> Option<Found<'_, P>> {
        loop {
            let position = at.get();
            // Acquire: pairs with the sender's commit (Q3).
            let cell = self.cell(position).load(Acquire);
            match self.position_of(position, cell) {
                Some(there) if there == position => match self.waits(position, cell) {
                    Some(found) => return Some(found),
                    // Taken: the place hint says how far others have come.
                    None => at.set((position + 1).max(Self::place(crowd))),
                },
                // A later round: at most n positions back from there may wait (Q2).
                Some(later) if later > position => {
                    at.set((position + 1).max((later + 1).saturating_sub(self.plan.degree)));
                }
                _ => return None,
            }
        }
    }

    /// How many messages wait, about: exact if nobody sends or receives meanwhile.
    pub fn waiting(&self) -> u64 {
        let at = Cell::new(Self::place(self.receivers()));
        let Some(found) = self.oldest(&at, self.receivers()) else {
            return 0;
        };
        let oldest = found.word.sequence();
        let committed =
            |position: u64| self.position_of(position, self.cell(position).load(Acquire)) == Some(position);
        (oldest..oldest + self.plan.degree).take_while(|&position| committed(position)).count() as u64
    }
}

fn split(slot: u16) -> (usize, u16) {
    (usize::from(slot) % SEATS_MAX, slot >> SEAT_BITS)
}

fn join(seat: usize, attempt: u16) -> u16 {
    seat as u16 | attempt << SEAT_BITS
}

/// One end of a queue in a call.
pub struct QueueParty<'c, P: Platform, L: Lanes, G: Ground<P>> {
    /// The queue.
    pub queue: &'c Queue<P, L>,
    /// What this end knows.
    pub side: &'c QueueSide,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this end.
    pub tally: &'c Tally<P>,
    /// What it remembers.
    pub memory: &'c Memory,
}

#[cfg(test)]
pub(crate) fn states() -> [(&'static str, u64); 2] {
    [("queue::RETURNED", RETURNED.into()), ("queue::DROPPING", DROPPING.into())]
}
