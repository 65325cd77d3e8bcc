//! Request-reply: many clients call, one or more servers answer, in place and in any order.
//!
//! Each client has slots of its own, its *lane*. A call takes one slot: the request is built in it, the reply comes back
//! in it, and so does whatever else ends the call. So the reply's channel is in the request, and is used again by the next
//! call. What is small rides in the line of the slot's word: a round trip is two transfers of one line.
//!
//! ```text
//!   lane of a client    [word | request, reply] [word | request, reply] ...     one slot for each call under way
//!   asked bits          slots that were asked in (a hint; not for slot 0, at which servers look anyway)
//! ```
//!
//! | slot's state | sequence | slot field | means | left by |
//! |---|---|---|---|---|
//! | EMPTY | t | | its client's | its client: ASKED |
//! | ASKED | t | stamp | a request that waits; with one server: or is in its hand | server: REPLIED, REFUSED, or with several TAKEN; client that gives up: ABANDONED, or with several servers EMPTY |
//! | TAKEN | t | seat | in the hand of the server in that seat (if there may be several) | that server: REPLIED, REFUSED; who sweeps after its death: REFUSED; the client: ABANDONED |
//! | REPLIED | t | | the reply is in the slot, which is its client's | its client: ASKED |
//! | REFUSED | t | why | there will be no reply | its client: ASKED |
//! | ABANDONED | t | seat | the client has given up, or is gone; the slot is still its server's | that server, and who sweeps after its death: EMPTY |
//!
//! P is the client's, on ASKED and TAKEN (it waits for the reply) and on ABANDONED (it waits for a slot). Commit points: of a
//! request EMPTY => ASKED, of a reply => REPLIED, of giving up => ABANDONED or EMPTY. Each is one compare-exchange.
//!
//! V1. A slot's bytes are its client's in EMPTY, REPLIED and REFUSED; its server's from when it has it in hand until it leaves ASKED,
//!     TAKEN or ABANDONED. A client that gives up changes the word alone: the server goes on reading the request and
//!     writing the reply where nobody looks. So nobody waits for a client, and a late reply reaches no later call.
//! V2. The sequence is the ticket, which grows by one with each call of a lane, whoever holds it: no word comes twice.
//! V3. With one server nothing tells a request in its hand from one that waits, which saves a transfer of the line at each
//!     call. So it remembers itself what it took; what is ASKED when it dies or leaves is REFUSED;
//!     and a client that gives up never gets its slot back by itself.
//! V4. Who comes to be the only server stamps what is ASKED: a sweeper of the one before it that was stopped for long then finds
//!     another word, and leaves it.
//! V5. An asked bit is set after ASKED, and cleared by who has the slot: by the server while it is in its hand, by the client
//!     that took its request back. So a bit that is clear hides no request. One that is set may be late.
//! V6. Requests of one client are found in the order of their tickets.
//!
//! Servers sleep in their `Crowd`, clients on the word of their slot. Nothing here knows what is in a message.

#![allow(unsafe_code)] // The crowds are behind pointers.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Instant;

use super::call::{Ground, Memory, Patience, Stop};
use super::crowd::{Crowd, SEATS_MAX};
use super::side::{Side, ATTACHED};
use super::tally::Tally;
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

/// Its client's.
pub const EMPTY: u8 = 0;
/// A request.
pub const ASKED: u8 = 1;
/// In the hand of one of several servers.
pub const TAKEN: u8 = 2;
/// The reply is there.
pub const REPLIED: u8 = 3;
/// There will be none.
pub const REFUSED: u8 = 4;
/// The client has given up.
pub const ABANDONED: u8 = 5;

/// The slot field of REFUSED.
pub mod why {
    /// The server dropped the request.
    pub const DROPPED: u16 = 1;
    /// The server left.
    pub const LEFT: u16 = 2;
    /// The server died.
    pub const DIED: u16 = 3;
}

/// Most slots of a lane: a bit for each.
pub const SLOTS_MAX: u64 = 64;
/// Word of a client's seat: its asked bits.
pub const BITS: usize = 1;

/// One slot: its word, and where request and reply are.
pub struct Place<'l, P: Platform> {
    /// The word.
    pub word: &'l P::U64,
    /// Request and reply.
    pub body: *mut u8,
}

/// Where the slots are in this process.
pub trait Places<P: Platform> {
    /// A slot. None: that client never was, or the reference to its lane makes no sense.
    fn place(&self, lane: usize, slot: usize) -> Option<Place<'_, P>>;
}

/// What a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many calls of a client may be under way.
    pub calls: u32,
    /// Slots of a lane: more, for calls that were given up and are still in a server's hand.
    pub slots: usize,
    /// There can only be one server (V3).
    pub exclusive: bool,
}

/// A service as this process reaches it.
pub struct Service<P: Platform, L: Places<P>> {
    clients: NonNull<Crowd<P>>,
    servers: NonNull<Crowd<P>>,
    terms: Terms,
    places: L,
}

// SAFETY: crowds consist of atomics.
unsafe impl<P: Platform, L: Places<P> + Send> Send for Service<P, L> {}
// SAFETY: as above.
unsafe impl<P: Platform, L: Places<P> + Sync> Sync for Service<P, L> {}

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    slot: usize,
    ticket: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a reply, which is in these bytes.
    Replied(*const u8),
    /// Without; `why` says for what reason.
    Refused(u16),
    /// It was given up. `request`: no server took it, and it is in these bytes.
    GivenUp {
        /// Why.
        stop: Stop,
        /// The request, untouched.
        request: Option<*const u8>,
    },
}

/// A request in a server's hand.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    lane: usize,
    slot: usize,
    word: Word,
    /// Request and reply.
    pub body: *mut u8,
}

/// What a client remembers.
#[derive(Debug)]
pub struct ClientSide {
    /// Its seat, which is its lane.
    pub seat: usize,
    ticket: Cell<u64>,
    /// Slots of calls that are under way; of calls that were given up.
    busy: Cell<u64>,
    lost: Cell<u64>,
    departures: Cell<u64>,
}

/// What a server remembers.
#[derive(Debug)]
pub struct ServerSide {
    /// Its seat.
    pub seat: usize,
    /// The lane to look at first.
    next: Cell<usize>,
    /// Ticket + 1 of what the only server took last, of each slot (V3).
    taken: Box<[Cell<u64>]>,
    departures: Cell<u64>,
}

/// May the client have this word's slot?
fn is_clients(word: Word) -> bool {
    matches!(word.state(), EMPTY | REPLIED | REFUSED)
}

impl<P: Platform, L: Places<P>> Service<P, L> {
    /// The service of these parts.
    ///
    /// # Safety
    /// The crowds are there as long as the service is used; zero at first.
    pub unsafe fn new(
        clients: NonNull<Crowd<P>>,
        servers: NonNull<Crowd<P>>,
        terms: Terms,
        places: L,
    ) -> Self {
        Service { clients, servers, terms, places }
    }

    /// The calling side.
    #[inline(always)]
    pub fn clients(&self) -> &Crowd<P> {
        // SAFETY: promised to `new`.
        unsafe { self.clients.as_ref() }
    }

    /// The answering side.
    #[inline(always)]
    pub fn servers(&self) -> &Crowd<P> {
        // SAFETY: promised to `new`.
        unsafe { self.servers.as_ref() }
    }

    /// What it is.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    fn bits(&self, lane: usize) -> &P::U64 {
        &self.clients().seat(lane).words[BITS]
    }

    /// Every slot of every lane that was made.
    fn each(&self, mut f: impl FnMut(usize, usize, &P::U64)) {
        let mut lanes = self.clients().place.load(Acquire);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            self.each_of(lane, &mut f);
        }
    }

    fn each_of(&self, lane: usize, mut f: impl FnMut(usize, usize, &P::U64)) {
        for slot in 0..self.terms.slots {
            if let Some(place) = self.places.place(lane, slot) {
                f(lane, slot, place.word);
            }
        }
    }

    /// What the client in `seat` is to remember. Its lane is there; servers look at it from now on.
    pub fn enter_client(&self, seat: usize) -> ClientSide {
        let (mut ticket, mut lost) = (0, 0);
        self.each_of(seat, |_, slot, word| {
            let word = Word(word.load(Acquire));
            ticket = ticket.max(word.sequence() + 1); // V2
            if !is_clients(word) {
                lost |= 1 << slot;
            }
        });
        // Release: pairs with the Acquire of `each` and `find`: the lane is there.
        self.clients().place.fetch_or(1 << (seat % SEATS_MAX), AcqRel);
        let departures = Cell::new(self.servers().departures());
        ClientSide { seat, ticket: Cell::new(ticket), busy: Cell::new(0), lost: Cell::new(lost), departures }
    }

    /// What the server in `seat` is to remember; `holder` is the sequence of its end word.
    pub fn enter_server(&self, seat: usize, holder: u64, wake: impl Fn(&Side<P>)) -> ServerSide {
        if self.terms.exclusive {
            // V4. Never 0, which is what a client writes.
            let stamp = (holder % 4095) as u16 + 1;
            self.each(|lane, _, word| {
                let to = |now: Word| match now.state() {
                    ASKED => Some(Word::new(ASKED, stamp, now.sequence()).parked_as(now)),
                    ABANDONED => Some(Word::new(EMPTY, 0, now.sequence())),
                    _ => None,
                };
                self.change(lane, word, to, || true, &wake);
            });
        }
        let slots = if self.terms.exclusive { SEATS_MAX * self.terms.slots } else { 0 };
        let taken = (0..slots).map(|_| Cell::new(0)).collect();
        let departures = Cell::new(self.clients().departures());
        ServerSide { seat, next: Cell::new(0), taken, departures }
    }

    /// The word => what `to` says, if anything, while `still`; whoever sleeps on it is woken if it does not stay asleep.
    fn change(
        &self,
        lane: usize,
        word: &P::U64,
        to: impl Fn(Word) -> Option<Word>,
        still: impl Fn() -> bool,
        wake: impl Fn(&Side<P>),
    ) {
        let mut now = Word(word.load(Acquire));
        while let Some(then) = to(now).filter(|_| still()) {
            // AcqRel: what whoever had the slot wrote there goes with it.
            match word.compare_exchange(now.0, then.0, AcqRel, Acquire) {
                Ok(_) => {
                    if now.is_parked() && !then.is_parked() {
                        wake(&self.clients().seat(lane).side);
                    }
                    return;
                }
                Err(found) => now = Word(found),
            }
        }
    }

    /// The server in `seat` is gone, and will answer nothing any more. `still`: is the seat still its own? Asked after a
    /// word was read and before it is changed. Idempotent.
    pub fn settle_server(&self, seat: usize, why: u16, still: impl Fn() -> bool, wake: impl Fn(&Side<P>)) {
        let exclusive = self.terms.exclusive;
        self.each(|lane, _, word| {
            let to = |now: Word| {
                let its = exclusive || usize::from(now.slot()) == seat;
                match now.state() {
                    ASKED if exclusive => Some(Word::new(REFUSED, why, now.sequence())), // V3
                    TAKEN if its => Some(Word::new(REFUSED, why, now.sequence())),
                    ABANDONED if its => Some(Word::new(EMPTY, 0, now.sequence())),
                    _ => None,
                }
            };
            self.change(lane, word, to, &still, &wake);
        });
    }

    /// The client in `seat` is gone: nobody waits for its replies.
    pub fn settle_client(&self, seat: usize, still: impl Fn() -> bool) {
        self.each_of(seat, |lane, slot, word| {
            let to = |now: Word| match now.state() {
                ASKED if !self.terms.exclusive => Some(Word::new(EMPTY, 0, now.sequence())),
                ASKED | TAKEN => Some(Word::new(ABANDONED, now.slot(), now.sequence())),
                _ => None,
            };
            self.change(lane, word, to, &still, |_| ());
            // It may have died before it set the bit; the only server is to find what it abandoned (V5: set is harmless).
            if self.terms.exclusive && Word(word.load(Relaxed)).state() == ABANDONED && still() {
                self.bits(lane).fetch_or(1 << slot, AcqRel);
            }
        });
    }

    /// A server is gone, and has said so in its end word and in `departures`: clients look (wait.rs, H2). All of them, whether
    /// their words say that they sleep or not: it may have died between a reply, which takes P away, and its wake-up.
    pub fn tell_clients(&self, wake: impl Fn(&Side<P>)) {
        self.each(|_, _, word| {
            word.fetch_add(0, AcqRel);
        });
        for seat in self.clients().seats() {
            if seat.side.end().state() == ATTACHED {
                wake(&seat.side);
            }
        }
    }
}

/// A client in a call.
pub struct ClientParty<'c, P: Platform, L: Places<P>, G: Ground<P>> {
    /// The service.
    pub service: &'c Service<P, L>,
    /// What it remembers.
    pub side: &'c ClientSide,
    /// The process around.
    pub ground: &'c G,
    /// Its counters.
    pub tally: &'c Tally<P>,
    /// What every end remembers.
    pub memory: &'c Memory,
}

impl<'c, P: Platform, L: Places<P>, G: Ground<P>> ClientParty<'c, P, L, G> {
    fn place(&self, slot: usize) -> Result<Place<'c, P>, Stop> {
        self.service.places.place(self.side.seat, slot).ok_or(Stop::Corrupt)
    }

    /// Are all servers gone, and is this the first time that it is said?
    #[inline(always)]
    fn lost(&self) -> Option<Word> {
        let servers = self.service.servers();
        let departures = servers.departures();
        if departures == self.side.departures.get() {
            return None;
        }
        let end = servers.end();
        if self.memory.is_known(end) {
            self.side.departures.set(departures);
            return None;
        }
        self.side.departures.set(u64::MAX);
        self.memory.lost_partner(end).then_some(end)
    }

    /// Asks what `fill` writes.
    #[inline(always)]
    pub fn ask(&self, patience: Patience, fill: impl FnOnce(*mut u8)) -> Result<Asked, Stop> {
        if let Some(end) = self.lost() {
            return Err(Stop::Gone(end));
        }
        let side = self.side;
        let slot = match side.busy.get() | side.lost.get() {
            0 => 0,
            _ => self.free_slot(patience)?,
        };
        let place = self.place(slot)?;
        let old = Word(place.word.load(Relaxed)); // Only we leave it (V1).
        if !is_clients(old) {
            return Err(Stop::Corrupt);
        }
        fill(place.body);
        let ticket = side.ticket.get();
        let asked = Word::new(ASKED, 0, ticket);
        // Release: the request. With `sleepers_after_rmw` below it is the waker's half of the handshake (crowd.rs, D1).
        if place.word.compare_exchange(old.0, asked.0, AcqRel, Relaxed).is_err() {
            return Err(Stop::Corrupt);
        }
        side.ticket.set(ticket + 1);
        side.busy.set(side.busy.get() | 1 << slot);
        if slot != 0 {
            self.service.bits(side.seat).fetch_or(1 << slot, AcqRel); // V5
        }
        let servers = self.service.servers();
        let sleepers = servers.sleepers_after_rmw();
        if sleepers != 0 {
            servers.wake(sleepers, |side| {
                self.tally.woke();
                self.ground.wake(side.pcb_ref());
            });
        }
        Ok(Asked { slot, ticket })
    }

    /// A slot that is ours; waits for one that was abandoned.
    #[cold]
    #[inline(never)]
    fn free_slot(&self, patience: Patience) -> Result<usize, Stop> {
        let side = self.side;
        if side.busy.get().count_ones() >= self.service.terms.calls {
            return Err(Stop::Held);
        }
        let poll = || {
            let mut left = side.lost.get();
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                left &= left - 1;
                let place = self.service.places.place(side.seat, slot)?;
                // Acquire: its server is done with the bytes.
                if is_clients(Word(place.word.load(Acquire))) {
                    side.lost.set(side.lost.get() & !(1 << slot));
                }
            }
            let slot = (!(side.busy.get() | side.lost.get())).trailing_zeros() as usize;
            (slot < self.service.terms.slots).then_some(slot)
        };
        let announce = |this: &Self| {
            let mut left = side.lost.get();
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                left &= left - 1;
                let announced =
                    this.place(slot).is_ok_and(|place| park(place.word, |word| !is_clients(word)));
                if !announced {
                    return false;
                }
            }
            true
        };
        match patience {
            Patience::Try => poll().ok_or(Stop::WouldBlock),
            Patience::Until(deadline) => self.wait(deadline, poll, announce).ok_or(Stop::TimedOut),
        }
    }

    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        poll: impl Fn() -> Option<R>,
        announce: impl Fn(&Self) -> bool,
    ) -> Option<R> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let me = &self.service.clients().seat(self.side.seat).side;
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            &poll,
            |pcb_ref| {
                me.set_pcb_ref(pcb_ref);
                announce(self)
            },
        );
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(ready) => Some(ready),
            Woken::TimedOut => None,
        }
    }

    /// Has the call ended?
    pub fn is_ended(&self, asked: Asked) -> bool {
        self.place(asked.slot).is_ok_and(|place| !is_under_way(Word(place.word.load(Acquire)), asked))
    }

    /// Waits for the end of a call, and gives it up when that takes too long. The bytes it gives are the caller's until it
    /// asks again.
    #[inline(always)]
    pub fn finish(&self, asked: Asked, deadline: Option<Instant>) -> Ended {
        let Ok(place) = self.place(asked.slot) else {
            return Ended::GivenUp { stop: Stop::Corrupt, request: None };
        };
        // Where the server is quick, nothing but the word is looked at.
        for step in 0..self.memory.eager_steps::<P>() {
            let now = Word(place.word.load(Acquire));
            if !is_under_way(now, asked) {
                self.tally.waited(&Waited { spins: step, parks: 0 });
                return self.ended(asked, &place, now);
            }
            P::relax_briefly(step);
        }
        let poll = || {
            // Acquire: the reply.
            let now = Word(place.word.load(Acquire));
            if !is_under_way(now, asked) {
                return Some(Ok(now));
            }
            if now.state() != ASKED {
                return None; // in the hand of one of several: if that dies the word says so
            }
            if self.service.servers().departures() == self.side.departures.get() {
                return None;
            }
            // What they answered before they went comes first; the loss is for the next call to report.
            let now = Word(place.word.load(Acquire));
            if !is_under_way(now, asked) {
                return Some(Ok(now));
            }
            self.lost().map(Err)
        };
        let announce = |_: &Self| park(place.word, |word| is_under_way(word, asked));
        match self.wait(deadline, poll, announce) {
            Some(Ok(now)) => self.ended(asked, &place, now),
            Some(Err(end)) => self.give_up(asked, Stop::Gone(end)),
            None => self.give_up(asked, Stop::TimedOut),
        }
    }

    #[inline(always)]
    fn ended(&self, asked: Asked, place: &Place<'_, P>, now: Word) -> Ended {
        self.side.busy.set(self.side.busy.get() & !(1 << asked.slot));
        match now.state() {
            REPLIED if now.sequence() == asked.ticket => {
                prefetch_for_write(place.body); // for the next call
                Ended::Replied(place.body)
            }
            REFUSED if now.sequence() == asked.ticket => Ended::Refused(now.slot()),
            _ => {
                self.side.lost.set(self.side.lost.get() | 1 << asked.slot);
                Ended::GivenUp { stop: Stop::Corrupt, request: None }
            }
        }
    }

    /// Gives a call up, unless it has ended.
    #[cold]
    #[inline(never)]
    pub fn give_up(&self, asked: Asked, stop: Stop) -> Ended {
        let Ok(place) = self.place(asked.slot) else {
            return Ended::GivenUp { stop: Stop::Corrupt, request: None };
        };
        let bit = 1_u64 << asked.slot;
        let mut now = Word(place.word.load(Acquire));
        while is_under_way(now, asked) {
            let takes_back = now.state() == ASKED && !self.service.terms.exclusive; // V3
            let to = if takes_back {
                Word::new(EMPTY, 0, asked.ticket)
            } else {
                Word::new(ABANDONED, now.slot(), asked.ticket)
            };
            match place.word.compare_exchange(now.0, to.0, AcqRel, Acquire) {
                Ok(_) => {
                    self.side.busy.set(self.side.busy.get() & !bit);
                    if !takes_back {
                        self.side.lost.set(self.side.lost.get() | bit);
                        return Ended::GivenUp { stop, request: None };
                    }
                    self.service.bits(self.side.seat).fetch_and(!bit, AcqRel); // V5
                    return Ended::GivenUp { stop, request: Some(place.body) };
                }
                Err(found) => now = Word(found),
            }
        }
        self.ended(asked, &place, now)
    }
}

/// Puts P on a word while `waits`. False: it has changed.
fn park<U: Word64>(word: &U, waits: impl Fn(Word) -> bool) -> bool {
    let mut now = Word(word.load(Acquire));
    while waits(now) {
        if now.is_parked() {
            return true;
        }
        match word.compare_exchange(now.0, now.parked().0, AcqRel, Acquire) {
            Ok(_) => return true,
            Err(found) => now = Word(found),
        }
    }
    false
}

#[inline(always)]
fn is_under_way(word: Word, asked: Asked) -> bool {
    matches!(word.state(), ASKED | TAKEN) && word.sequence() == asked.ticket
}

/// A server in a call.
pub struct ServerParty<'c, P: Platform, L: Places<P>, G: Ground<P>> {
    /// The service.
    pub service: &'c Service<P, L>,
    /// What it remembers.
    pub side: &'c ServerSide,
    /// The process around.
    pub ground: &'c G,
    /// Its counters.
    pub tally: &'c Tally<P>,
    /// What every end remembers.
    pub memory: &'c Memory,
}

impl<'c, P: Platform, L: Places<P>, G: Ground<P>> ServerParty<'c, P, L, G> {
    /// Takes a request in hand.
    #[inline(always)]
    pub fn take(&self, patience: Patience) -> Result<Hand, Stop> {
        if let Some(hand) = self.find() {
            return Ok(hand);
        }
        if matches!(patience, Patience::Until(_)) {
            for step in 0..self.memory.eager_steps::<P>() {
                P::relax_briefly(step);
                if let Some(hand) = self.find() {
                    self.tally.waited(&Waited { spins: step, parks: 0 });
                    return Ok(hand);
                }
            }
        }
        self.await_request(patience)
    }

    /// A request, which is in hand then. Lanes in turn.
    #[inline(always)]
    fn find(&self) -> Option<Hand> {
        // Acquire: the lanes are there.
        let lanes = self.service.clients().place.load(Acquire);
        let first = self.side.next.get();
        let mut left = lanes.rotate_right(first as u32);
        while left != 0 {
            let lane = (first + left.trailing_zeros() as usize) % SEATS_MAX;
            left &= left - 1;
            if let Some(hand) = self.find_in(lane) {
                self.side.next.set((lane + 1) % SEATS_MAX);
                return Some(hand);
            }
        }
        None
    }

    #[inline(always)]
    fn find_in(&self, lane: usize) -> Option<Hand> {
        let bits = self.service.bits(lane);
        // Before slot 0: V6. Acquire: who sees a bit sees what was asked before it.
        let mut asked = bits.load(Acquire);
        let place = self.service.places.place(lane, 0)?;
        let now = Word(place.word.load(Acquire));
        if asked == 0 {
            if !self.is_new(now, lane, 0) {
                return None;
            }
            // An older one may have been asked in another slot before it.
            asked = bits.load(Acquire);
            if asked == 0 {
                return self.take_this(lane, 0, now, place.body);
            }
        }
        self.find_oldest(lane, asked | 1)
    }

    /// A request, or what a client abandoned, that we have not in hand.
    #[inline(always)]
    fn is_new(&self, now: Word, lane: usize, slot: usize) -> bool {
        match now.state() {
            ASKED if !self.service.terms.exclusive => true,
            ASKED | ABANDONED if self.service.terms.exclusive => {
                self.taken(lane, slot).is_some_and(|taken| taken.get() != now.sequence() + 1)
            }
            _ => false,
        }
    }

    /// Of the only server (V3).
    #[inline(always)]
    fn taken(&self, lane: usize, slot: usize) -> Option<&'c Cell<u64>> {
        self.side.taken.get(lane * self.service.terms.slots + slot)
    }

    #[cold]
    #[inline(never)]
    fn find_oldest(&self, lane: usize, asked: u64) -> Option<Hand> {
        loop {
            let mut oldest: Option<(usize, Word, *mut u8)> = None;
            let mut left = asked;
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(place) =
                    self.service.places.place(lane, slot).filter(|_| slot < self.service.terms.slots)
                else {
                    continue;
                };
                let now = Word(place.word.load(Acquire));
                let older = |(_, word, _): (usize, Word, *mut u8)| word.sequence() < now.sequence();
                if self.is_new(now, lane, slot) && !oldest.is_some_and(older) {
                    oldest = Some((slot, now, place.body));
                }
            }
            let (slot, now, body) = oldest?;
            if let Some(hand) = self.take_this(lane, slot, now, body) {
                return Some(hand);
            }
        }
    }

    /// Takes what was found. None: another server was quicker, or it was abandoned, and is its client's again now.
    #[inline(always)]
    fn take_this(&self, lane: usize, slot: usize, now: Word, body: *mut u8) -> Option<Hand> {
        let mut word = now;
        if let Some(taken) = self.taken(lane, slot) {
            // The reply will be written there: what the server does before it is in the shadow of the line's way.
            prefetch_for_write(body);
            taken.set(now.sequence() + 1);
        } else {
            let place = self.service.places.place(lane, slot)?;
            word = Word::new(TAKEN, self.side.seat as u16, now.sequence());
            let mut now = now;
            // Acquire: the request. If P alone has changed we are still the first; and must be, since a client that sleeps
            // wakes no server any more.
            while let Err(found) = place.word.compare_exchange(now.0, word.parked_as(now).0, AcqRel, Acquire)
            {
                if Word(found).awake() != now.awake() {
                    return None;
                }
                now = Word(found);
            }
        }
        if slot != 0 {
            self.service.bits(lane).fetch_and(!(1 << slot), AcqRel); // V5: it is in our hand
        }
        let hand = Hand { lane, slot, word, body };
        if now.state() == ABANDONED {
            self.end(hand, REFUSED, why::DROPPED);
            return None;
        }
        Some(hand)
    }

    #[inline(never)]
    fn await_request(&self, patience: Patience) -> Result<Hand, Stop> {
        let poll = || {
            if let Some(hand) = self.find() {
                return Some(Ok(hand));
            }
            let clients = self.service.clients();
            let departures = clients.departures();
            if departures == self.side.departures.get() {
                return None;
            }
            // What they asked before they went comes first.
            if let Some(hand) = self.find() {
                return Some(Ok(hand));
            }
            let end = clients.end();
            if self.memory.is_known(end) {
                self.side.departures.set(departures);
                return None;
            }
            self.side.departures.set(u64::MAX);
            self.memory.lost_partner(end).then_some(Err(Stop::Gone(end)))
        };
        let Patience::Until(deadline) = patience else {
            return poll().unwrap_or(Err(Stop::WouldBlock));
        };
        let servers = self.service.servers();
        let me = &servers.seat(self.side.seat).side;
        let announced = Cell::new(false);
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            &poll,
            |pcb_ref| {
                me.set_pcb_ref(pcb_ref);
                servers.announce(self.side.seat);
                announced.set(true);
                true
            },
        );
        if announced.get() {
            servers.retire(self.side.seat);
        }
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }

    /// The reply is in the slot. False: the client has given up or is gone, and nobody will see it.
    #[inline(always)]
    pub fn reply(&self, hand: Hand) -> bool {
        self.end(hand, REPLIED, 0)
    }

    /// Does the client still wait for it?
    pub fn is_wanted(&self, hand: Hand) -> bool {
        let place = self.service.places.place(hand.lane, hand.slot);
        place.is_some_and(|place| Word(place.word.load(Relaxed)).awake() == hand.word.awake())
    }

    /// There will be no reply.
    pub fn refuse(&self, hand: Hand) -> bool {
        self.end(hand, REFUSED, why::DROPPED)
    }

    /// ASKED | TAKEN => `state`; ABANDONED => EMPTY.
    #[inline(always)]
    fn end(&self, hand: Hand, state: u8, why: u16) -> bool {
        let Some(place) = self.service.places.place(hand.lane, hand.slot) else {
            return false;
        };
        let ticket = hand.word.sequence();
        let mut now = hand.word;
        loop {
            let given_up = now.state() == ABANDONED;
            let to = if given_up { Word::new(EMPTY, 0, ticket) } else { Word::new(state, why, ticket) };
            // Release: the reply, and that we are done with the bytes. Acquire: the PCB that sleeps.
            match place.word.compare_exchange(now.0, to.0, AcqRel, Acquire) {
                Ok(_) => {
                    if now.is_parked() {
                        self.tally.woke();
                        self.ground.wake(self.service.clients().seat(hand.lane).side.pcb_ref());
                    }
                    return !given_up;
                }
                Err(found) => now = Word(found),
            }
            let ours = now.awake() == hand.word.awake() || now.state() == ABANDONED;
            if !ours || now.sequence() != ticket {
                return false; // a wreck that another process wrote
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn states() -> [(&'static str, u64); 6] {
    [
        ("service::EMPTY", EMPTY.into()),
        ("service::ASKED", ASKED.into()),
        ("service::TAKEN", TAKEN.into()),
        ("service::REPLIED", REPLIED.into()),
        ("service::REFUSED", REFUSED.into()),
        ("service::ABANDONED", ABANDONED.into()),
    ]
}
