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
//! Who waits sleeps in the `Crowd` of its direction. Nothing here knows what is in a message.

#![allow(unsafe_code)] // The slots' bytes are raw memory: Q3 says whose they are.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{compiler_fence, fence, Ordering};
use std::time::Instant;

use super::call::{Ground, Memory, Patience, Stop};
use super::crowd::{Crowd, SEATS_MAX};
use super::ring::{Shape, Slot, Slots, EMPTY, FULL, READING};
use super::tally::Tally;
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Wait, Waited, Woken};

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

    /// The position that a cell's word is about; None: nothing yet.
    #[inline(always)]
    fn position_of(&self, position: u64, cell: u64) -> Option<u64> {
        let round = (cell >> (SEAT_BITS + self.slot_bits)).checked_sub(1)?;
        Some((round << self.cell_bits) | (position & self.mask))
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
        let shape = self.plan.lane;
        let slots = Slots { ring, shape, platform: PhantomData };
        // SAFETY: a multiple of the stride, below the lane's bytes (`Lanes::lane`). The words live as long as the lane.
        (slot <= shape.degree).then(|| unsafe { slots.words_and_bytes(slot * shape.stride) })
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
                    None => at.set((position + 1).max(crowd.place.load(Relaxed))),
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
        let at = Cell::new(self.receivers().place.load(Relaxed));
        let Some(found) = self.oldest(&at, self.receivers()) else {
            return 0;
        };
        let oldest = found.word.sequence();
        let committed =
            |position: u64| self.position_of(position, self.cell(position).load(Acquire)) == Some(position);
        (oldest..oldest + self.plan.degree).take_while(|&position| committed(position)).count() as u64
    }

    /// The receiver in `seat` is dead: what it had in hand waits again. `still`: is the seat the dead one's? Asked
    /// after a word was read and before it is changed (Q4). `claimed`: has it been taken out of its slot's bytes already?
    /// A message that so many died of is dropped and counted: `dropped` as in `settle_sender`.
    /// True: there is something for other receivers.
    pub fn settle_receiver(
        &self,
        seat: usize,
        still: impl Fn() -> bool,
        claimed: impl Fn(*const u8) -> bool,
        dropped: impl Fn(*const u8, &dyn Fn() -> bool),
    ) -> bool {
        let mut any = false;
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((words, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(words.word.load(Acquire));
                let (by, attempt) = split(now.slot());
                let dead_has_it = now.state() == READING && by == seat && still();
                if dead_has_it {
                    let is_claimed = claimed(bytes);
                    let given_up = !is_claimed && attempt >= ATTEMPTS_MAX;
                    if given_up {
                        dropped(bytes, &|| words.word.load(Acquire) == now.0);
                    }
                    let to = if given_up || is_claimed {
                        Word::new(EMPTY, 0, now.sequence())
                    } else {
                        Word::new(RETURNED, join(0, attempt + 1), now.sequence())
                    };
                    // It fails if another sweeper was first.
                    let changed = words.word.compare_exchange(now.0, to.0, AcqRel, Relaxed).is_ok();
                    if changed && given_up {
                        self.receivers().seat(seat).tally.dropped();
                    }
                }
                // Also if it was another sweeper, which has not come to say so, it may be.
                if dead_has_it || now.state() == RETURNED {
                    any = true;
                    // Release: pairs with `next_message`.
                    self.receivers().returned.fetch_add(1, AcqRel);
                }
            }
        }
        any
    }

    /// The sender in `seat` is dead: what it was dropping is dropped: `dropped` has its bytes, and is told
    /// whether they are still those of the message. Its lane stays, for what waits in it and for the next
    /// sender.
    pub fn settle_sender(
        &self,
        seat: usize,
        still: impl Fn() -> bool,
        dropped: impl Fn(*const u8, &dyn Fn() -> bool),
    ) {
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((Slot { word, .. }, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(word.load(Acquire));
                if now.state() == DROPPING && split(now.slot()).0 == seat && still() {
                    dropped(bytes, &|| word.load(Acquire) == now.0);
                    let empty = Word::new(EMPTY, 0, now.sequence());
                    // It fails if another sweeper was first.
                    let _ = word.compare_exchange(now.0, empty.0, AcqRel, Relaxed);
                }
            }
        }
    }

    /// Takes over a lane: slots that were about to be sent and were not are its sender's again.
    pub fn recover_lane(&self, lane: usize) {
        for slot in 0..self.plan.slots() {
            let Some((Slot { word, .. }, _)) = self.slot(lane, slot) else {
                return;
            };
            let now = Word(word.load(Acquire));
            let position = now.sequence();
            let cell = self.cell(position).load(Acquire);
            if now.state() == FULL && cell != self.encode(position, lane, slot) {
                // Q3: nobody else changes it.
                let _ = word.compare_exchange(now.0, Word::new(EMPTY, 0, position).0, AcqRel, Relaxed);
            }
        }
    }

    /// The slot that a lane's next holder builds in: after the one of its newest message.
    pub fn resume(&self, lane: usize, side: &QueueSide) {
        let full = (0..self.plan.slots()).filter_map(|slot| {
            let word = Word(self.slot(lane, slot)?.0.word.load(Acquire));
            (word.state() != EMPTY).then_some((word.sequence(), slot))
        });
        if let Some((_, slot)) = full.max() {
            side.slot.set((slot + 1) % self.plan.slots());
        }
    }

    /// The bytes of every message that was sent and not given back: for sweepers, and when all is over.
    pub fn each(&self, mut f: impl FnMut(*const u8)) {
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((words, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(words.word.load(Acquire));
                let position = now.sequence();
                let is_sent = || self.cell(position).load(Acquire) == self.encode(position, lane, slot);
                if now.state() != EMPTY && (now.state() != FULL || is_sent()) {
                    f(bytes);
                }
            }
        }
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

impl<'c, P: Platform, L: Lanes, G: Ground<P>> QueueParty<'c, P, L, G> {
    /// Its lane's slot with this number.
    #[inline(always)]
    fn own(&self, slot: u64) -> Option<(&'c Slot<P>, *mut u8)> {
        self.queue.slot(self.side.seat, slot)
    }

    /// An own slot that may be written, if fewer than K of this sender's messages wait.
    #[inline(always)]
    fn free_slot(&self) -> Option<u64> {
        self.has_credit().then(|| self.any_slot())?
    }

    /// Do fewer than K of this sender's messages wait? Not asked while it has a slot reserved that may be marked.
    #[inline(always)]
    pub fn has_credit(&self) -> bool {
        let Some(degree) = self.queue.plan.per_sender else {
            return true;
        };
        self.side.credit.get() != 0 || self.look_back(degree)
    }

    /// Gives credit, as far as one look tells: messages are taken in order, so if the one that is sent `more` after the one K
    /// before waits no more, `more` may follow. False: K wait.
    fn look_back(&self, degree: u64) -> bool {
        let (slots, next) = (self.queue.plan.slots(), self.side.slot.get());
        // Relaxed: says only that the receiver has come so far.
        let waits = |slot: u64| {
            self.own(slot).is_some_and(|(words, _)| Word(words.word.load(Relaxed)).state() == FULL)
        };
        if !self.queue.plan.one_receiver(degree) {
            // While one has a message in hand, others go on, round the lane and past it: slots do not tell the order.
            let waiting = (0..slots).filter(|&slot| waits(slot)).count() as u64;
            self.side.credit.set(degree.saturating_sub(waiting));
            return waiting < degree;
        }
        let mut more = degree / 2;
        loop {
            let before = (next + slots + more - degree) % slots;
            if !waits(before) {
                self.side.credit.set(more + 1);
                return true;
            }
            if more == 0 {
                return false;
            }
            more /= 2;
        }
    }

    /// An own slot that may be written.
    #[inline(always)]
    fn any_slot(&self) -> Option<u64> {
        let slots = self.queue.plan.slots();
        let first = self.side.slot.get();
        // Acquire: pairs with `empty`: the receiver is done with the bytes.
        let is_free = |slot: &u64| {
            self.own(*slot).is_some_and(|(words, _)| Word(words.word.load(Acquire)).state() == EMPTY)
        };
        if is_free(&first) {
            return Some(first);
        }
        // Some receiver has it in hand for long: another one.
        (first + 1..first + slots).map(|slot| slot % slots).find(is_free)
    }

    /// The position to fill next, and what its cell says now. None: n messages wait.
    #[inline(always)]
    fn room(&self) -> Option<(u64, u64)> {
        let (queue, at) = (self.queue, &self.side.at);
        loop {
            let position = at.get();
            let cell = queue.cell(position).load(Acquire);
            match queue.position_of(position, cell) {
                Some(there) if there == position => {
                    at.set((position + 1).max(queue.senders().place.load(Relaxed)));
                }
                Some(later) if later > position => at.set(later + 1),
                _ if position < self.side.clear.get() || self.look_further(position) => {
                    return Some((position, cell));
                }
                _ => return None,
            }
        }
    }

    /// Moves `clear` on as far as one look tells (Q2). True: `position` may be filled.
    #[inline(always)]
    fn look_further(&self, position: u64) -> bool {
        let queue = self.queue;
        let n = queue.plan.degree;
        // Does position `position + more - n` wait no more?
        let mut more = n / 2;
        loop {
            let Some(before) = (position + more).checked_sub(n) else {
                // The first round: nothing was there.
                self.side.clear.set(position + more + 1);
                return true;
            };
            let cell = queue.cell(before).load(Acquire);
            let waits = match queue.position_of(before, cell) {
                Some(there) if there == before => queue.waits(before, cell).is_some(),
                Some(later) => later < before, // not filled yet: nothing is known of it
                None => true,
            };
            if !waits {
                self.side.clear.set(position + more + 1);
                return true;
            }
            if more == 0 {
                return false;
            }
            more /= 2;
        }
    }

    /// Reserves an own slot, when there is one and room for its message.
    pub fn reserve(&mut self, patience: Patience) -> Result<Held, Stop> {
        if self.side.is_held() {
            return Err(Stop::Held);
        }
        let slot = self.await_room(patience)?;
        self.reserve_slot(slot)
    }

    /// Reserves an own slot, whether there is room or not.
    pub fn reserve_anyway(&mut self) -> Result<Held, Stop> {
        if self.side.is_held() {
            return Err(Stop::Held);
        }
        self.reserve_slot(self.any_slot().ok_or(Stop::WouldBlock)?)
    }

    #[inline(always)]
    fn reserve_slot(&mut self, slot: u64) -> Result<Held, Stop> {
        let (_, bytes) = self.own(slot).ok_or(Stop::Corrupt)?;
        Ok(self.side.hold(Held { lane: self.side.seat, slot, word: Word(0), bytes, length: 0 }))
    }

    /// A free slot of this sender's while there is room for its message.
    #[inline(always)]
    fn await_room(&mut self, patience: Patience) -> Result<u64, Stop> {
        let look = |this: &Self| this.free_slot().filter(|_| this.room().is_some());
        if let Some(slot) = look(self) {
            return Ok(slot);
        }
        self.pause(patience, self.queue.senders(), self.queue.receivers(), look)
    }

    /// Sends a message of `length` bytes that `fill` writes into an own slot; gives its position.
    #[inline(always)]
    pub fn put(&mut self, length: u64, patience: Patience, fill: impl FnOnce(*mut u8)) -> Result<u64, Stop> {
        if self.side.is_held() {
            return Err(Stop::Held);
        }
        let slot = self.await_room(patience)?;
        let (words, bytes) = self.own(slot).ok_or(Stop::Corrupt)?;
        fill(bytes);
        self.commit(words, slot, length, patience).inspect_err(|_| {
            // Q3: no cell names it.
            words.word.store(Word::new(EMPTY, 0, 0).0, Release);
        })
    }

    /// Sends the message of `length` bytes in the reserved slot; gives its position. If it fails the slot is still reserved.
    pub fn publish(&mut self, held: Held, length: u64, patience: Patience) -> Result<u64, Stop> {
        let (words, _) = self.own(held.slot).ok_or(Stop::Corrupt)?;
        let position = self.commit(words, held.slot, length, patience)?;
        self.side.is_held.set(false);
        Ok(position)
    }

    /// The commit point of sending.
    #[inline(always)]
    fn commit(&self, words: &Slot<P>, slot: u64, length: u64, patience: Patience) -> Result<u64, Stop> {
        words.length.store(length, Relaxed);
        loop {
            let Some((position, cell)) = self.room() else {
                // Others were quicker since it was reserved.
                self.pause(patience, self.queue.senders(), self.queue.receivers(), |this| this.room())?;
                continue;
            };
            // Q3: published by the cell.
            words.word.store(Word::new(FULL, 0, position).0, Release);
            let mine = self.queue.encode(position, self.side.seat, slot);
            // Release: Q3. Acquire: what waits no more was seen by whoever filled this cell before.
            if self.queue.cell(position).compare_exchange(cell, mine, AcqRel, Acquire).is_err() {
                continue;
            }
            self.side.at.set(position + 1);
            let next = slot + 1;
            self.side.slot.set(if next < self.queue.plan.slots() { next } else { 0 });
            if let Some((words, _)) = self.own(slot + AHEAD) {
                prefetch_for_write(std::ptr::from_ref(words).cast());
            }
            self.side.credit.set(self.side.credit.get().saturating_sub(1));
            self.queue.senders().place.store(position + 1, Relaxed);
            self.wake(self.queue.receivers());
            return Ok(position);
        }
    }

    /// Gives up the reserved slot, also after a `publish` that failed.
    pub fn withdraw(&mut self, held: Held) {
        if let Some((words, _)) = self.own(held.slot) {
            // Q3: no cell names it.
            words.word.store(Word::new(EMPTY, 0, 0).0, Release);
        }
        self.side.is_held.set(false);
    }

    /// As `publish` does, and no further than before the commit point.
    #[cfg(test)]
    pub fn mark_and_stop(&mut self, slot: u64) {
        let Some((position, _)) = self.room() else {
            return;
        };
        if let Some((words, _)) = self.own(slot) {
            words.word.store(Word::new(FULL, 0, position).0, Release);
        }
    }

    /// The commit point of receiving, and no further. False: there was no message.
    #[cfg(test)]
    pub fn take_and_stop(&mut self) -> bool {
        let Some(Found { word, words, .. }) = self.next_message() else {
            return false;
        };
        let empty = Word::new(EMPTY, 0, word.sequence());
        words.word.compare_exchange(word.0, empty.0, AcqRel, Acquire).is_ok()
    }

    /// The message to take next. One of more than `capacity` bytes stays where it is.
    #[inline(always)]
    fn await_message(&self, patience: Patience, capacity: u64) -> Result<Found<'c, P>, Stop> {
        if self.side.is_held() {
            return Err(Stop::Held);
        }
        loop {
            let found = match self.next_message() {
                Some(found) => found,
                None => {
                    let (receivers, senders) = (self.queue.receivers(), self.queue.senders());
                    self.pause(patience, receivers, senders, |this| this.next_message())?
                }
            };
            let words = found.words;
            let length = words.length.load(Relaxed);
            if length <= capacity || length == CHANGED {
                return Ok(found);
            }
            // Unless another receiver took it meanwhile, and this is the length of a later one.
            fence(Ordering::Acquire);
            if words.word.load(Relaxed) == found.word.0 {
                return Err(Stop::TooLong { length, capacity });
            }
        }
    }

    /// Takes the oldest message in hand.
    #[inline(always)]
    pub fn take(&mut self, patience: Patience, capacity: u64) -> Result<Held, Stop> {
        loop {
            let found = self.await_message(patience, capacity)?;
            let Found { lane, slot, word, words, bytes } = found;
            let (_, attempt) = split(word.slot());
            let reading = Word::new(READING, join(self.side.seat, attempt), word.sequence());
            if !self.change(&found, reading) {
                continue; // another receiver was quicker
            }
            let held = Held { lane, slot, word: reading, bytes, length: words.length.load(Relaxed) };
            if let Err(stop) = self.check(held.length, word.sequence()) {
                self.empty(held);
                return Err(stop);
            }
            return Ok(self.side.hold(held));
        }
    }

    /// Takes the oldest message: `read` has it for as long as it runs, and gives what is to be returned.
    #[inline(always)]
    pub fn take_and<R>(
        &mut self,
        patience: Patience,
        capacity: u64,
        read: impl FnOnce(*const u8, u64) -> R,
    ) -> Result<R, Stop> {
        loop {
            let found = self.await_message(patience, capacity)?;
            let Found { word, words, bytes, .. } = found;
            let empty = Word::new(EMPTY, 0, word.sequence());
            let length = words.length.load(Relaxed);
            if self.queue.plan.exclusive {
                let result = self.check(length, word.sequence()).map(|()| read(bytes, length));
                // At once from FULL or RETURNED: nobody else may take it.
                if !self.change(&found, empty) {
                    return Err(Stop::Corrupt);
                }
                return result;
            }
            let (_, attempt) = split(word.slot());
            if !self.change(&found, Word::new(READING, join(self.side.seat, attempt), word.sequence())) {
                continue; // another receiver was quicker
            }
            let length = words.length.load(Relaxed);
            let result = self.check(length, word.sequence()).map(|()| read(bytes, length));
            // Release: pairs with `any_slot`: we are done with the bytes. Only we leave READING (Q7).
            words.word.store(empty.0, Release);
            return result;
        }
    }

    fn check(&self, length: u64, place: u64) -> Result<(), Stop> {
        match length {
            CHANGED => Err(Stop::Torn { place }),
            length if length > self.queue.plan.lane.message_bytes_max => Err(Stop::Corrupt),
            _ => Ok(()),
        }
    }

    /// The word of a message that was found => `to`: the commit point of receiving. False: another was quicker.
    #[inline(always)]
    fn change(&self, found: &Found<'_, P>, to: Word) -> bool {
        let Found { word, words, .. } = found;
        // AcqRel: acquires the bytes; releases to the sender that waits for room.
        if words.word.compare_exchange(word.0, to.0, AcqRel, Acquire).is_err() {
            return false;
        }
        if word.state() == FULL {
            let soon = word.sequence() + AHEAD;
            let (lane, slot) = self.queue.named(self.queue.cell(soon).load(Relaxed));
            if let Some((words, _)) = self.queue.slot(lane, slot) {
                prefetch_for_write(std::ptr::from_ref(words).cast());
            }
            self.side.at.set(word.sequence() + 1);
            self.queue.receivers().place.store(word.sequence() + 1, Relaxed);
        }
        self.wake(self.queue.senders());
        true
    }

    /// What a receiver may take next: what came back first.
    #[inline(always)]
    fn next_message(&self) -> Option<Found<'c, P>> {
        let receivers = self.queue.receivers();
        // Acquire: pairs with `settle_receiver`: the words that say RETURNED.
        let returned = receivers.returned.load(Acquire);
        if returned != self.side.returned.get() {
            if let Some(found) = self.returned() {
                return Some(found);
            }
            // None is left of those that this number counts.
            self.side.returned.set(returned);
        }
        self.queue.oldest(&self.side.at, receivers)
    }

    /// A message that a dead receiver had in hand.
    #[cold]
    #[inline(never)]
    fn returned(&self) -> Option<Found<'c, P>> {
        for lane in 0..SEATS_MAX {
            for slot in 0..self.queue.plan.slots() {
                let Some((words, bytes)) = self.queue.slot(lane, slot) else {
                    break;
                };
                let word = Word(words.word.load(Acquire));
                if word.state() == RETURNED {
                    return Some(Found { lane, slot, word, words, bytes });
                }
            }
        }
        None
    }

    /// The receiver is about to change the message in hand (Q6).
    pub fn begin_changing(&mut self, held: Held) {
        if let Some((words, _)) = self.queue.slot(held.lane, held.slot) {
            words.length.store(CHANGED, Relaxed);
            compiler_fence(Ordering::AcqRel); // a killed process has done a beginning of its program
        }
    }

    /// The receiver is done with the message in hand.
    #[inline(always)]
    pub fn give_back(&mut self, held: Held) {
        self.side.is_held.set(false);
        self.empty(held);
    }

    /// READING | DROPPING => EMPTY: only we may leave it.
    #[inline(always)]
    fn empty(&self, held: Held) {
        let Some((words, _)) = self.queue.slot(held.lane, held.slot) else {
            return;
        };
        // Release: pairs with `any_slot`: we are done with the bytes. Only we leave READING or DROPPING (Q7).
        words.word.store(Word::new(EMPTY, 0, held.word.sequence()).0, Release);
    }

    /// Makes room: takes the oldest message to drop it, as a receiver would. None: none waits.
    pub fn take_to_drop(&mut self) -> Result<Option<Held>, Stop> {
        loop {
            let receivers = self.queue.receivers();
            let at = Cell::new(receivers.place.load(Relaxed));
            let Some(found) = self.queue.oldest(&at, receivers) else {
                return Ok(None);
            };
            let (words, bytes) = (found.words, found.bytes);
            let position = found.word.sequence();
            let word = Word::new(DROPPING, join(self.side.seat, 0), position);
            if words.word.compare_exchange(found.word.0, word.0, AcqRel, Acquire).is_ok() {
                receivers.place.store(position + 1, Relaxed);
                self.wake(self.queue.senders());
                let (lane, slot, length) = (found.lane, found.slot, words.length.load(Relaxed));
                return Ok(Some(Held { lane, slot, word, bytes, length }));
            }
        }
    }

    /// Makes room: the oldest message is gone at once. Nothing is to be done with its bytes.
    pub fn drop_oldest(&mut self) -> bool {
        let receivers = self.queue.receivers();
        let at = Cell::new(receivers.place.load(Relaxed));
        while let Some(found) = self.queue.oldest(&at, receivers) {
            let position = found.word.sequence();
            let empty = Word::new(EMPTY, 0, position);
            if found.words.word.compare_exchange(found.word.0, empty.0, AcqRel, Acquire).is_ok() {
                receivers.place.store(position + 1, Relaxed);
                self.wake(self.queue.senders());
                return true;
            }
        }
        false
    }

    /// Drops what `take_to_drop` gave.
    pub fn dropped(&mut self, held: Held) {
        self.empty(held);
    }

    /// Wakes those who sleep in `crowd`. The caller has just changed by a read-modify-write what they wait for.
    #[inline(always)]
    fn wake(&self, crowd: &Crowd<P>) {
        self.wake_seen(crowd, crowd.sleepers_after_rmw());
    }

    #[inline(always)]
    fn wake_seen(&self, crowd: &Crowd<P>, sleepers: u64) {
        if sleepers != 0 {
            crowd.wake(sleepers, |side| {
                self.tally.woke();
                self.ground.wake(side.pcb_ref());
            });
        }
    }

    /// The caller has announced itself, and finds nothing: those of the other side who sleep should not (crowd.rs, D5).
    pub fn wake_sleepers_of(&self, others: &Crowd<P>) {
        self.wake(others);
    }

    /// Is anybody left at the other side? What there was is to be looked at once more before it is said.
    fn lost(&self, others: &Crowd<P>) -> Option<Word> {
        let departures = others.departures();
        if departures == self.side.departures.get() {
            return None;
        }
        let end = others.end();
        if self.memory.is_known(end) {
            self.side.departures.set(departures);
            return None;
        }
        Some(end)
    }

    /// Is there something to take, or a place to send into, or nobody left at the other side, which the next call says? For
    /// a select.
    pub fn is_possible(&self, is_sender: bool) -> bool {
        let others = if is_sender {
            if self.side.is_held() || (self.free_slot().is_some() && self.room().is_some()) {
                return true;
            }
            self.queue.receivers()
        } else {
            if self.side.is_held() || self.next_message().is_some() {
                return true;
            }
            self.queue.senders()
        };
        let Some(end) = self.lost(others) else {
            return false;
        };
        if self.memory.would_lose(end) {
            return true;
        }
        self.side.departures.set(u64::MAX);
        self.memory.lost_partner(end);
        false
    }

    /// Waits until `look` gives something, in this end's seat of `own`.
    #[inline(never)]
    fn pause<R>(
        &self,
        patience: Patience,
        own: &Crowd<P>,
        others: &Crowd<P>,
        look: impl Fn(&Self) -> Option<R>,
    ) -> Result<R, Stop> {
        // Who never sleeps looks again and again, and each time whether others sleep who should not (crowd.rs, D5).
        let sleepless = matches!(patience, Patience::Try) || self.memory.wait.get() == Wait::Spin;
        let poll = || {
            if let Some(found) = look(self) {
                return Some(Ok(found));
            }
            if sleepless {
                self.wake_seen(others, others.sleepers());
            }
            let end = self.lost(others)?;
            // What they did before they went comes first; the loss is for the next call to report.
            if let Some(found) = look(self) {
                return Some(Ok(found));
            }
            self.side.departures.set(u64::MAX);
            self.memory.lost_partner(end).then_some(Err(Stop::Gone(end)))
        };
        let Patience::Until(deadline) = patience else {
            return poll().unwrap_or(Err(Stop::WouldBlock));
        };
        if let Some(result) = self.glance(poll) {
            return result;
        }
        self.wait(deadline, own, others, poll)
    }

    /// Looks a few times before the wait begins. Who finds what it waits for at once, again and again, is in the middle of a
    /// stream, and looks too often: each look takes the line from who writes it. Its next pause before the first look is twice as
    /// long, so that both sides work in batches.
    fn glance<R>(&self, poll: impl Fn() -> Option<R>) -> Option<R> {
        if self.memory.wait.get() == Wait::Park || P::eager_steps() <= 1 {
            return None;
        }
        let calm = self.side.calm.get();
        (0..(1_u64 << calm) - 1).for_each(P::relax_briefly);
        for look in 0..GLANCES {
            if let Some(found) = poll() {
                self.side.calm.set(if look <= 1 { (calm + 1).min(CALM_MAX) } else { 0 });
                return Some(found);
            }
            (0..1 << look).for_each(P::relax_briefly);
        }
        self.side.calm.set(0);
        None
    }

    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        own: &Crowd<P>,
        others: &Crowd<P>,
        poll: impl Fn() -> Option<Result<R, Stop>>,
    ) -> Result<R, Stop> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let announced = Cell::new(false);
        let me = &own.seat(self.side.seat).side;
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            &poll,
            |pcb_ref| {
                if announced.replace(false) {
                    // Woken, and others had what there was. Nobody wakes us again before we announce again: let them.
                    let rests = self.side.rests.get();
                    self.side.rests.set((rests + 1).min(RESTS_MAX));
                    own.retire(self.side.seat);
                    P::rest(REST_NS << rests, deadline);
                    return false;
                }
                me.set_pcb_ref(pcb_ref);
                own.announce(self.side.seat);
                announced.set(true);
                // Both sides have never cause to sleep at once: somebody was stopped before it woke them (D5).
                self.wake_sleepers_of(others);
                true
            },
        );
        if announced.get() {
            own.retire(self.side.seat);
            self.side.rests.set(0);
        }
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }
}

#[cfg(test)]
pub(crate) fn states() -> [(&'static str, u64); 2] {
    [("queue::RETURNED", RETURNED.into()), ("queue::DROPPING", DROPPING.into())]
}
