//! Broadcast: one sender, many receivers, each message to all of them, in place. With a degree of 1 and receivers that are
//! never waited for it is the channel of the *latest* value.
//!
//! Messages lie in *slots*. A ring of K *cells*, one word each, names the slots of the last K messages:
//!
//! ```text
//!   cells   message t -> | round t/K + 1 | slot |          K cells
//!   slots   [ticket, length, bytes] ...                    K + receivers + 1 slots
//! ```
//!
//! To publish t is one compare-exchange of its cell, from message t-K to t: the commit point. The slot of t-K is then
//! written again once nobody reads it. Each receiver has a line of its own, which only it writes:
//!
//! | word | says |
//! |---|---|
//! | `MODE` | (sequence of the end word, is it waited for): the other words are this holder's |
//! | `CURSOR` | 2n: message n is the next one; 2n+1: it is in hand. Of who is waited for: all before n are done with |
//! | `PIN` | slot + 1: this receiver reads that slot; 0: none |
//! | `MISSED` | messages that were gone before it came to them |
//!
//! F1. A slot that a cell names is written by nobody. One that no cell names any more is *used*, and becomes *free* when a scan
//!     finds that no receiver pins it and none that is waited for can still have its message.
//! F2. *Pins.* A receiver pins the slot that a cell names, then looks at the cell again; the sender changes the cell, then looks
//!     at the pins; both with a fence between. So either the receiver sees that the message is gone, or the sender sees the pin.
//! F3. *Cursors.* What a cursor protects needs no fence: the sender takes slots back, and publishes beyond, only after it saw
//!     (Acquire) the cursor past them, which the receiver moved (Release) when it was done.
//! F4. Messages below `clear` may be published without a look: each receiver that is waited for was seen to have taken the one
//!     K before. So the receivers are looked at once for many messages, and the cost of one does not grow with
//!     their number. `granted >= clear` always, in shared memory.
//! F5. A receiver that comes is waited for from the larger of where it begins and `granted - K` on: it writes its cursor,
//!     fence, reads `granted`; the sender writes `granted`, fence, looks at the cursors again. What is older it reads by pins,
//!     as long as it is there.
//! F6. A receiver has at most one message in hand. So of the slots that no cell names at least one is free.
//! F7. `ticket` (place + 1) is written before the first byte. The cells are the authority for how many were published; `tail` is a
//!     hint that lags behind by what a dead sender did not come to say. A dead sender has published or has not.
//!
//! Who is stopped or dies is in nobody's way, but for a receiver that is waited for: until its end word says that it died.
//! Who waits sleeps in the `Crowd` (receivers), or says so in `sender_sleeps`. Nothing here knows what is in a message.

#![allow(unsafe_code)] // The slots' bytes are raw memory: F1 says whose they are.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{compiler_fence, Ordering};
use std::time::Instant;

use super::call::{Ground, Memory, Patience, Stop};
use super::crowd::{Crowd, Seat};
use super::ring::{Shape, Slot, Slots};
use super::side::{Side, ATTACHED};
use super::tally::Tally;
use crate::memory::platform::{Native, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

/// A seat's words.
pub const CURSOR: usize = 0;
/// See `CURSOR`.
pub const PIN: usize = 1;
/// See `CURSOR`.
pub const MODE: usize = 2;
/// See `CURSOR`.
pub const MISSED: usize = 3;

/// In `MODE`: this receiver is waited for.
const WAITED_FOR: u64 = 1;

/// The words of a broadcast that are nobody's seat. Each in lines of its own.
#[repr(C, align(128))]
pub struct Head<P: Platform = Native> {
    /// How many messages were published: a hint (F7).
    pub tail: P::U64,
    tail_pad: [u64; 15],
    /// F4, F5.
    pub granted: P::U64,
    granted_pad: [u64; 15],
    /// The sender waits for room, and sleeps.
    pub sender_sleeps: P::U64,
    sleeps_pad: [u64; 15],
}

const _: () = assert!(size_of::<Head>() == 384);

impl<P: Platform> Head<P> {
    /// Nothing was sent.
    #[cfg(test)]
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        let pad = [0; 15];
        Head {
            tail: zero(),
            tail_pad: pad,
            granted: zero(),
            granted_pad: pad,
            sender_sleeps: zero(),
            sleeps_pad: pad,
        }
    }
}

/// What happens when a receiver is slower than the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum SlowReceiver {
    /// The sender waits for it: nobody misses anything.
    #[default]
    Block,
    /// It misses the oldest messages, and is told how many; nobody waits for it.
    DropOldest,
    /// It is disconnected: its next call says so. Nobody waits for it.
    Disconnect,
}

/// Which of the messages that were sent before it came a receiver gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Late {
    /// None of them.
    #[default]
    None,
    /// The last one, if there is one.
    Last,
    /// The last so many; at most as many as the channel's degree.
    LastN(u64),
}

impl Late {
    fn messages(self) -> u64 {
        match self {
            Late::None => 0,
            Late::Last => 1,
            Late::LastN(n) => n,
        }
    }
}

/// A place in the channel: message `place`, whose cell is `index`, in round `round`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    place: u64,
    index: u64,
    round: u64,
}

impl At {
    fn of(place: u64, degree: u64) -> At {
        At { place, index: place % degree, round: place / degree }
    }

    #[inline(always)]
    fn next(self, degree: u64) -> At {
        let At { place, index, round } = self;
        if index + 1 < degree {
            At { place: place + 1, index: index + 1, round }
        } else {
            At { place: place + 1, index: 0, round: round + 1 }
        }
    }
}

/// A broadcast as this process reaches it.
pub struct Cast<P: Platform> {
    head: NonNull<Head<P>>,
    receivers: NonNull<Crowd<P>>,
    cells: NonNull<P::U64>,
    slots: Slots<P>,
    degree: u64,
    seats: usize,
    slot_bits: u32,
}

// SAFETY: the words are atomic, and F1 says whose the bytes are.
unsafe impl<P: Platform> Send for Cast<P> {}

impl<P: Platform> Cast<P> {
    /// The slots of a broadcast of degree `degree` for `seats` receivers. None: it overflows.
    pub fn shape(degree: u64, seats: usize, message_bytes_max: u64, align: u64) -> Option<Shape> {
        Shape::of::<P>(degree.checked_add(seats as u64)?, message_bytes_max, align)
    }

    /// # Safety
    /// All are there as long as this is used, zero at first: `degree` cells, and the slots that `shape` says.
    pub unsafe fn new(
        head: NonNull<Head<P>>,
        receivers: NonNull<Crowd<P>>,
        cells: NonNull<P::U64>,
        slots: Slots<P>,
        degree: u64,
        seats: usize,
    ) -> Self {
        let slot_bits = 64 - slots.shape.degree.leading_zeros();
        Cast { head, receivers, cells, slots, degree, seats, slot_bits }
    }

    /// The words that are nobody's.
    #[inline(always)]
    pub fn head(&self) -> &Head<P> {
        // SAFETY: `new`.
        unsafe { self.head.as_ref() }
    }

    /// The receivers.
    #[inline(always)]
    pub fn receivers(&self) -> &Crowd<P> {
        // SAFETY: `new`.
        unsafe { self.receivers.as_ref() }
    }

    /// Most receivers.
    pub fn seats(&self) -> usize {
        self.seats
    }

    /// Longest message, bytes.
    pub fn message_bytes_max(&self) -> u64 {
        self.slots.shape.message_bytes_max
    }

    #[inline(always)]
    fn cell(&self, index: u64) -> &P::U64 {
        debug_assert!(index < self.degree);
        // SAFETY: `new`; an `At`'s index is below the degree.
        unsafe { self.cells.add(index as usize).as_ref() }
    }

    /// A slot's words and bytes. None: there is no such slot.
    #[inline(always)]
    fn slot(&self, slot: u64) -> Option<(&Slot<P>, *mut u8)> {
        let shape = &self.slots.shape;
        // SAFETY: a multiple of the stride, below the ring's bytes.
        (slot <= shape.degree).then(|| unsafe { self.slots.slot_at(slot * shape.stride) })
    }

    #[inline(always)]
    fn encode(&self, round: u64, slot: u64) -> u64 {
        ((round + 1) << self.slot_bits) | slot
    }

    #[inline(always)]
    fn slot_of(&self, cell: u64) -> u64 {
        cell & ((1 << self.slot_bits) - 1)
    }

    /// A slot's message was never published: no two slots have the ticket of one message.
    fn give_up(&self, slot: u64) {
        if let Some((words, _)) = self.slot(slot) {
            words.ticket.store(0, Relaxed);
        }
    }

    /// How many messages were published (F7).
    pub fn tail(&self) -> u64 {
        let mut at = At::of(self.head().tail.load(Acquire), self.degree);
        while self.cell(at.index).load(Acquire) >> self.slot_bits > at.round {
            at = at.next(self.degree);
        }
        at.place
    }

    #[inline(always)]
    fn seat(&self, number: usize) -> &Seat<P> {
        self.receivers().seat(number)
    }
}

/// What the sender knows.
pub struct CastSender {
    at: At,
    /// F4.
    clear: u64,
    granted: u64,
    /// What the cells say: only the sender writes them.
    cells: Vec<u64>,
    /// The slot that is reserved.
    held: Option<u64>,
    /// Slots that may be written.
    free: Vec<u64>,
    /// Slots that no cell names any more, and somebody may still read.
    used: Vec<u64>,
    /// What is in each slot: ticket, and whether its bytes are that whole message.
    tickets: Vec<(u64, bool)>,
    /// The scan that found each slot pinned.
    pinned_at: Vec<u64>,
    scans: u64,
    /// Who is waited for, when somebody is.
    slow: Option<Slow>,
}

/// A receiver that has not moved on.
#[derive(Clone, Copy)]
struct Slow {
    seat: usize,
    end: Word,
    cursor: u64,
}

/// What a scan found.
struct Scan {
    /// Messages below were taken by all who are waited for.
    taken: u64,
    /// Messages below were given back by all who are waited for.
    released: u64,
    slow: Option<Slow>,
}

impl CastSender {
    /// Of whoever has just attached: goes on where its predecessor stopped.
    pub fn new<P: Platform>(cast: &Cast<P>) -> CastSender {
        let slots = cast.slots.shape.degree + 1;
        let tail = cast.tail();
        cast.head().tail.store(tail, Release);
        // A predecessor that was killed asleep sleeps no more.
        cast.head().sender_sleeps.fetch_and(0, AcqRel);
        let cells: Vec<u64> = (0..cast.degree).map(|index| cast.cell(index).load(Acquire)).collect();
        let ticket = |slot: u64| cast.slot(slot).map_or(0, |(words, _)| words.ticket.load(Relaxed));
        let tickets: Vec<_> = (0..slots).map(|slot| (ticket(slot), false)).collect();
        let mut sender = CastSender {
            at: At::of(tail, cast.degree),
            clear: tail, // nothing is known
            granted: cast.head().granted.load(Acquire),
            cells,
            held: None,
            free: Vec::with_capacity(slots as usize),
            used: Vec::with_capacity(slots as usize),
            tickets,
            pinned_at: vec![0; slots as usize],
            scans: 0,
            slow: None,
        };
        P::fence_after_rmw(); // F2, of the predecessor's last change
        let mut is_named = vec![false; slots as usize];
        for cell in sender.cells.iter().filter(|cell| **cell != 0) {
            if let Some(is_named) = is_named.get_mut(cast.slot_of(*cell) as usize) {
                *is_named = true;
            }
        }
        for slot in (0..slots).rev().filter(|slot| !is_named[*slot as usize]) {
            match sender.tickets[slot as usize].0 {
                // Never used, or never published: nobody was told of it.
                ticket if ticket == 0 || ticket > tail => {
                    cast.give_up(slot);
                    sender.free.push(slot);
                }
                _ => sender.used.push(slot),
            }
        }
        sender
    }

    /// How many messages were published.
    #[inline(always)]
    pub fn place(&self) -> u64 {
        self.at.place
    }

    /// Is a slot reserved?
    #[inline(always)]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// A slot that may be written now, if the next message may be published.
    #[inline(always)]
    fn room<P: Platform>(&mut self, cast: &Cast<P>) -> Result<Option<u64>, Stop> {
        if self.at.place >= self.clear || self.free.is_empty() {
            if self.slow.is_some_and(|slow| slow.is_there(cast)) {
                return Ok(None);
            }
            self.scan(cast);
            if self.at.place >= self.clear {
                return Ok(None);
            }
        }
        self.free.last().copied().map(Some).ok_or(Stop::Corrupt) // F6
    }

    /// Looks at all receivers: moves `clear` on, finds out which slots are free.
    #[cold]
    #[inline(never)]
    fn scan<P: Platform>(&mut self, cast: &Cast<P>) {
        self.scans += 1;
        // The fence of F2 is that of `publish`: no cell changed since.
        let mut seen = self.look(cast);
        let place = self.at.place;
        let may = |taken: u64| taken.min(place) + cast.degree;
        if may(seen.taken) > self.granted {
            // It is the sender's word. A read-modify-write for the fence.
            cast.head().granted.fetch_add(may(seen.taken) - self.granted, AcqRel);
            self.granted = may(seen.taken);
            P::fence_after_rmw(); // F5
            let again = self.look(cast);
            seen.released = seen.released.min(again.released);
            if again.taken <= seen.taken {
                (seen.taken, seen.slow) = (again.taken, again.slow);
            }
        }
        self.clear = may(seen.taken);
        self.slow = seen.slow.filter(|_| place >= self.clear);
        let (tickets, pinned_at, scans) = (&self.tickets, &self.pinned_at, self.scans);
        let free = &mut self.free;
        self.used.retain(|&slot| {
            // `ticket` is the message's number + 1.
            let is_read = pinned_at[slot as usize] == scans || tickets[slot as usize].0 > seen.released;
            if !is_read {
                free.push(slot);
            }
            is_read
        });
    }

    fn look<P: Platform>(&mut self, cast: &Cast<P>) -> Scan {
        let mut scan = Scan { taken: u64::MAX, released: u64::MAX, slow: None };
        for number in 0..cast.seats {
            let seat = cast.seat(number);
            let end = seat.side.end();
            if end.state() != ATTACHED {
                continue;
            }
            // Acquire: pairs with `join`: the other words are this holder's.
            let mode = seat.words[MODE].load(Acquire);
            if mode >> 1 != end.sequence() {
                continue; // it is still coming
            }
            // Acquire: pairs with `give_back`, here and at the cursor.
            let pin = seat.words[PIN].load(Acquire);
            let pinned = (pin as usize).checked_sub(1).and_then(|slot| self.pinned_at.get_mut(slot));
            if let Some(pinned_at) = pinned {
                *pinned_at = self.scans;
            }
            if mode & WAITED_FOR != 0 {
                let cursor = seat.words[CURSOR].load(Acquire);
                scan.released = scan.released.min(cursor / 2);
                if cursor.div_ceil(2) < scan.taken {
                    scan.taken = cursor.div_ceil(2);
                    scan.slow = Some(Slow { seat: number, end: end.awake(), cursor });
                }
            }
        }
        scan
    }

    /// Reserves `slot`, which `room` gave; gives its bytes.
    #[inline(always)]
    fn hold<P: Platform>(&mut self, cast: &Cast<P>, slot: u64) -> Result<Building, Stop> {
        let (words, bytes) = cast.slot(slot).ok_or(Stop::Corrupt)?;
        self.free.pop();
        self.held = Some(slot);
        let whole = std::mem::replace(&mut self.tickets[slot as usize], (self.at.place + 1, false)).1;
        words.ticket.store(self.at.place + 1, Relaxed); // F7
        compiler_fence(Ordering::AcqRel); // a killed process has done a beginning of its program
        Ok(Building { place: self.at.place, bytes, length: words.length.load(Relaxed), whole })
    }

    /// Gives the reserved slot up: nothing is sent.
    pub fn withdraw<P: Platform>(&mut self, cast: &Cast<P>) {
        if let Some(slot) = self.held.take() {
            cast.give_up(slot);
            self.free.push(slot);
        }
    }
}

impl Slow {
    /// Has it not moved on?
    fn is_there<P: Platform>(&self, cast: &Cast<P>) -> bool {
        let seat = cast.seat(self.seat);
        seat.words[CURSOR].load(Relaxed) == self.cursor && seat.side.end().awake() == self.end
    }
}

/// A slot in which a message is being built.
#[derive(Clone, Copy, Debug)]
pub struct Building {
    /// The message's number.
    pub place: u64,
    /// Where its bytes go.
    pub bytes: *mut u8,
    /// Of the message that was there before.
    pub length: u64,
    /// Is that one still there, whole?
    pub whole: bool,
}

/// What a receiver knows.
pub struct CastReceiver {
    /// Its seat.
    pub seat: usize,
    at: At,
    policy: SlowReceiver,
    /// It is waited for from this message on.
    waited_from: u64,
    /// What it misses from here on counts.
    since: u64,
    missed: u64,
    hand: Option<Hand>,
    /// It was disconnected.
    cut: bool,
}

/// A message in hand.
#[derive(Clone, Copy)]
struct Hand {
    pinned: bool,
}

/// A message taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its number.
    pub place: u64,
    /// Where it is.
    pub bytes: *const u8,
    /// How many bytes it has.
    pub length: u64,
}

impl CastReceiver {
    /// Of whoever has just taken `seat` with the end word `end`. True: the sender is to be woken if it sleeps.
    fn join<P: Platform>(
        cast: &Cast<P>,
        seat: usize,
        end: Word,
        policy: SlowReceiver,
        late: Late,
    ) -> (CastReceiver, bool) {
        let words = &cast.seat(seat).words;
        cast.receivers().retire(seat); // its last holder may have been killed asleep
        let tail = cast.tail();
        let start = tail - late.messages().min(cast.degree).min(tail);
        words[CURSOR].store(2 * start, Relaxed);
        words[PIN].store(0, Relaxed);
        words[MISSED].store(0, Relaxed);
        let waited_for = policy == SlowReceiver::Block;
        let mode = end.sequence() << 1 | if waited_for { WAITED_FOR } else { 0 };
        // A read-modify-write for the fence; Release: publishes the other words.
        let _ = words[MODE].compare_exchange(words[MODE].load(Relaxed), mode, AcqRel, Relaxed);
        P::fence_after_rmw(); // F5
        let mut waited_from = u64::MAX;
        if waited_for {
            waited_from = start.max(cast.head().granted.load(Acquire).saturating_sub(cast.degree));
            words[CURSOR].fetch_add(2 * (waited_from - start), AcqRel);
        }
        let (at, since) = (At::of(start, cast.degree), if waited_for { waited_from } else { tail });
        let receiver = CastReceiver { seat, at, policy, waited_from, since, missed: 0, hand: None, cut: false };
        (receiver, waited_for)
    }

    /// Is a message in hand?
    #[inline(always)]
    pub fn is_held(&self) -> bool {
        self.hand.is_some()
    }

    /// How many messages were gone before this receiver came to them.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Takes the next message in hand, if it is there.
    #[inline(always)]
    fn take<P: Platform>(&mut self, cast: &Cast<P>) -> Result<Option<Taken>, Stop> {
        loop {
            if self.cut {
                return Err(Stop::Cut { missed: self.missed });
            }
            let At { place, index, round } = self.at;
            // Acquire: pairs with `publish`: the bytes are there.
            let word = cast.cell(index).load(Acquire);
            let there = word >> cast.slot_bits;
            if there <= round {
                return Ok(None);
            }
            if there > round + 1 {
                self.skip(cast, (there - 1) * cast.degree + index)?;
                continue;
            }
            let slot = cast.slot_of(word);
            let (words, bytes) = cast.slot(slot).ok_or(Stop::Corrupt)?;
            let pinned = place < self.waited_from;
            if pinned && !self.pin(cast, index, word) {
                continue;
            }
            self.hand = Some(Hand { pinned });
            let length = words.length.load(Relaxed);
            if length > cast.message_bytes_max() {
                self.give_back(cast);
                return Err(Stop::Corrupt);
            }
            return Ok(Some(Taken { place, bytes, length }));
        }
    }

    /// Pins the slot that a cell's word names. False: the cell says something else now (F2).
    #[inline(always)]
    fn pin<P: Platform>(&self, cast: &Cast<P>, index: u64, word: u64) -> bool {
        let pin = &cast.seat(self.seat).words[PIN];
        // It is ours, and says 0. A read-modify-write for the fence.
        let _ = pin.compare_exchange(0, cast.slot_of(word) + 1, AcqRel, Relaxed);
        P::fence_after_rmw();
        let stands = cast.cell(index).load(Acquire) == word;
        if !stands {
            pin.store(0, Release);
        }
        stands
    }

    /// The next message is gone: `newest` lies in its cell.
    #[cold]
    #[inline(never)]
    fn skip<P: Platform>(&mut self, cast: &Cast<P>, newest: u64) -> Result<(), Stop> {
        let published = cast.head().tail.load(Relaxed).max(newest + 1);
        let place = self.at.place;
        if place >= self.waited_from {
            return Err(Stop::Corrupt); // F4
        }
        let to = published.saturating_sub(cast.degree).max(place + 1).min(self.waited_from);
        let missed = to.saturating_sub(place.max(self.since));
        self.at = At::of(to, cast.degree);
        if missed != 0 {
            self.missed += missed;
            cast.seat(self.seat).words[MISSED].store(self.missed, Relaxed);
            self.cut = self.policy == SlowReceiver::Disconnect;
        }
        Ok(())
    }

    /// The message in hand stays there until it is given back. True: the sender is to be woken if it sleeps.
    #[inline(always)]
    fn keep<P: Platform>(&self, cast: &Cast<P>) -> bool {
        let pinned = self.hand.is_some_and(|hand| hand.pinned);
        if !pinned {
            // 2n => 2n+1. AcqRel: a read-modify-write for the fence before `sender_sleeps` is read.
            cast.seat(self.seat).words[CURSOR].fetch_add(1, AcqRel);
        }
        !pinned
    }

    /// The message in hand, which was kept, is done with.
    #[inline(always)]
    pub fn give_back<P: Platform>(&mut self, cast: &Cast<P>) {
        let words = &cast.seat(self.seat).words;
        if self.hand.take().is_some_and(|hand| hand.pinned) {
            words[PIN].store(0, Release); // F1: pairs with `look`
        }
        self.at = self.at.next(cast.degree);
        // Of one that reads by pins it is for people; before it is waited for the cursor says from where on.
        if self.waited_from == u64::MAX || self.at.place > self.waited_from {
            words[CURSOR].store(2 * self.at.place, Release); // F3
        }
    }

    /// As `give_back`, of a message that was not kept. True: the sender is to be woken if it sleeps.
    #[inline(always)]
    fn done<P: Platform>(&mut self, cast: &Cast<P>) -> bool {
        let pinned = self.hand.is_some_and(|hand| hand.pinned);
        if pinned {
            self.give_back(cast);
        } else {
            self.hand = None;
            self.at = self.at.next(cast.degree);
            // 2n => 2n+2. F3; a read-modify-write as in `keep`.
            cast.seat(self.seat).words[CURSOR].fetch_add(2, AcqRel);
        }
        !pinned
    }

    /// The last message again, if it is still there: for the latest value.
    pub fn back_to_the_last<P: Platform>(&mut self, cast: &Cast<P>) {
        if let Some(place) = self.at.place.checked_sub(1) {
            self.at = At::of(place, cast.degree);
            // It has been seen.
            self.since = self.since.max(place + 1);
        }
    }
}

/// One end of a broadcast in a call: the sender, or a receiver.
pub struct CastParty<'c, P: Platform, G: Ground<P>> {
    /// The broadcast.
    pub cast: &'c Cast<P>,
    /// The sender's side.
    pub sender: &'c Side<P>,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this end.
    pub tally: &'c Tally<P>,
    /// What it remembers.
    pub memory: &'c Memory,
}

impl<P: Platform, G: Ground<P>> CastParty<'_, P, G> {
    /// Reserves a slot when the next message may be published.
    #[inline(always)]
    pub fn reserve(&self, me: &mut CastSender, patience: Patience) -> Result<Building, Stop> {
        if me.is_held() {
            return Err(Stop::Held);
        }
        let slot = match me.room(self.cast)? {
            Some(slot) => slot,
            None => self.await_room(me, patience)?,
        };
        me.hold(self.cast, slot)
    }

    #[cold]
    #[inline(never)]
    fn await_room(&self, me: &mut CastSender, patience: Patience) -> Result<u64, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        let sleeps = &self.cast.head().sender_sleeps;
        self.wait(
            deadline,
            self.sender,
            || me.room(self.cast).transpose(),
            || {
                sleeps.fetch_or(1, AcqRel);
                P::fence_after_rmw();
            },
            || {
                sleeps.fetch_and(0, AcqRel);
            },
        )
    }

    /// Publishes the message of `length` bytes in the reserved slot: the commit point.
    #[inline(always)]
    pub fn publish(&self, me: &mut CastSender, length: u64) -> Result<(), Stop> {
        let cast = self.cast;
        let slot = me.held.ok_or(Stop::Corrupt)?;
        let (words, _) = cast.slot(slot).ok_or(Stop::Corrupt)?;
        words.length.store(length, Relaxed);
        let index = me.at.index;
        let (before, now) = (me.cells[index as usize], cast.encode(me.at.round, slot));
        // AcqRel: releases the bytes (F1).
        if cast.cell(index).compare_exchange(before, now, AcqRel, Relaxed).is_err() {
            return Err(Stop::Corrupt);
        }
        me.cells[index as usize] = now;
        me.held = None;
        me.tickets[slot as usize].1 = true;
        if before != 0 && cast.slot_of(before) <= cast.slots.shape.degree {
            me.used.push(cast.slot_of(before));
        }
        me.at = me.at.next(cast.degree);
        cast.head().tail.store(me.at.place, Release);
        let receivers = cast.receivers();
        let sleepers = receivers.sleepers_after_rmw(); // the fence of F2, too
        if sleepers != 0 {
            self.tally.woke();
            receivers.wake(sleepers, |side| self.wake(side));
        }
        Ok(())
    }

    /// A receiver has just taken `seat` with the end word `end`.
    pub fn join(&self, seat: usize, end: Word, policy: SlowReceiver, late: Late) -> CastReceiver {
        let (receiver, moved) = CastReceiver::join(self.cast, seat, end, policy, late);
        if moved {
            self.wake_sender();
        }
        receiver
    }

    /// Takes the next message in hand; it is kept until it is given back.
    #[inline(always)]
    pub fn take(&self, me: &mut CastReceiver, patience: Patience) -> Result<Taken, Stop> {
        let taken = self.await_message(me, patience)?;
        if me.keep(self.cast) {
            self.wake_sender();
        }
        Ok(taken)
    }

    /// Takes the next message: `read` has it for as long as it runs, and gives what is to be returned.
    #[inline(always)]
    pub fn take_and<R>(
        &self,
        me: &mut CastReceiver,
        patience: Patience,
        read: impl FnOnce(Taken) -> R,
    ) -> Result<R, Stop> {
        let taken = self.await_message(me, patience)?;
        let result = read(taken);
        if me.done(self.cast) {
            self.wake_sender();
        }
        Ok(result)
    }

    #[inline(always)]
    fn await_message(&self, me: &mut CastReceiver, patience: Patience) -> Result<Taken, Stop> {
        if me.is_held() {
            return Err(Stop::Held);
        }
        match me.take(self.cast)? {
            Some(taken) => Ok(taken),
            None => self.pause(me, patience),
        }
    }

    /// The caller has just moved its cursor by a read-modify-write.
    #[inline(always)]
    fn wake_sender(&self) {
        P::fence_after_rmw();
        if self.cast.head().sender_sleeps.load(Relaxed) != 0 {
            self.tally.woke();
            self.wake(self.sender);
        }
    }

    /// Who was killed asleep sleeps no more.
    fn wake(&self, side: &Side<P>) {
        if side.end().state() == ATTACHED {
            self.ground.wake(side.pcb_ref());
        }
    }

    #[inline(never)]
    fn pause(&self, me: &mut CastReceiver, patience: Patience) -> Result<Taken, Stop> {
        let (cast, number) = (self.cast, me.seat);
        let poll = || {
            if let Some(found) = me.take(cast).transpose() {
                return Some(found);
            }
            let end = self.sender.end();
            if self.memory.is_known(end) {
                return None;
            }
            // What it sent before it went comes first; the loss is for a later call to report.
            if let Some(found) = me.take(cast).transpose() {
                return Some(found);
            }
            self.memory.lost_partner(end).then_some(Err(Stop::Gone(end)))
        };
        let Patience::Until(deadline) = patience else {
            let mut poll = poll;
            return poll().unwrap_or(Err(Stop::WouldBlock));
        };
        let receivers = cast.receivers();
        let own = &receivers.seat(number).side;
        self.wait(deadline, own, poll, || receivers.announce(number), || receivers.retire(number))
    }

    /// Waits until `poll` gives something; sleeps as `own`.
    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        own: &Side<P>,
        poll: impl FnMut() -> Option<Result<R, Stop>>,
        announce: impl Fn(),
        retire: impl Fn(),
    ) -> Result<R, Stop> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let announced = Cell::new(false);
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            poll,
            |pcb_ref| {
                own.set_pcb_ref(pcb_ref);
                announce();
                announced.set(true);
                true
            },
        );
        if announced.get() {
            retire();
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
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Head {
        tail,
        tail_pad,
        granted,
        granted_pad,
        sender_sleeps,
        sleeps_pad
    })]
}
