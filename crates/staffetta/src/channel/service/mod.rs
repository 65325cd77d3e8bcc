//! Request-reply: many clients call, one or more servers answer, in place and in any order.
//!
//! Each client has slots of its own, its *lane*. A call takes one slot: the request is built in it, the reply comes back
//! in it, and so does whatever else ends the call. So the reply's channel is in the request, and is used again by the next
//! call. What is small rides in the line of the slot's word: a round trip is two transfers of one line.
//!
//! ```text
//!   lane of a client    [word, waiter | request, reply] ...     one slot for each call under way
//!   asked bits          slots that were asked in (a hint; not for slot 0, at which servers look anyway)
//! ```
//!
//! | slot's state | sequence | slot field | means | left by |
//! |---|---|---|---|---|
//! | EMPTY | t | | its client's | its client: ASKED |
//! | ASKED | t | stamp, or attempt | a request that waits; with one server: or is in its hand | server: REPLIED, REFUSED, or with several TAKEN; client that gives up: ABANDONED, or with several servers EMPTY |
//! | TAKEN | t | seat, attempt | in the hand of the server in that seat (if there may be several, or it keeps) | that server: REPLIED, REFUSED; who sweeps after its death: REFUSED, or where it keeps ASKED; the client: ABANDONED |
//! | REPLIED | t | | the reply is in the slot, which is its client's | its client: ASKED |
//! | REFUSED | t | why | there will be no reply | its client: ASKED |
//! | ABANDONED | t | seat | the client has given up, or is gone; the slot is still its server's | that server, and who sweeps after its death: EMPTY |
//!
//! P is the client's, on ASKED and TAKEN (it waits for the reply) and on ABANDONED (it waits for a slot); `waiter` says who is to be
//! woken, of each slot for itself: each call may be an operation of another select. Commit points: of a
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
//! V7. `waiter` is written by the slot's client, before it puts P on the word; by a read-modify-write also where P is already, which
//!     publishes who waits now.
//!
//! V8. A service that *keeps* (`Continuation::WaitForSuccessor`) says of each request who has it, as if there were several servers. If that
//!     one dies the request is asked again (TAKEN => ASKED), and its attempts are counted: so TAKEN by the same seat again is another
//!     word, whoever reads the request knows that another one had it, and one that so many died of is refused.
//!
//! Servers sleep in their `Crowd`, clients on the word of their slot. Nothing here knows what is in a message.
//!
//! | file | what is there |
//! |---|---|
//! | `mod` | the words, and what is done to them when somebody comes or is gone |
//! | `client` | a call: ask, wait, give up |
//! | `operation` | a request came, a reply came: operations of a select |
//! | `server` | a request is found, taken in hand, answered |

#![allow(unsafe_code)] // The crowds are behind pointers.

mod client;
mod operation;
mod server;

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

pub use client::ClientParty;
pub use server::ServerParty;

use super::call::Stop;
use super::crowd::{Crowd, SEATS_MAX};
use super::side::ATTACHED;
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

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
    /// V7.
    pub waiter: &'l P::U64,
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
    /// What a dead server had in hand is asked again (V8).
    pub keeps: bool,
}

/// A seat's number in the slot field of TAKEN and ABANDONED; above it, and in that of an ASKED that is not stamped, the attempt.
const SEAT_BITS: u32 = SEATS_MAX.trailing_zeros();
/// So many servers may die with a request in hand; then it is taken for the reason, and refused.
const ATTEMPTS_MAX: u16 = (1 << (12 - SEAT_BITS)) - 1;

fn seat_of(word: Word) -> usize {
    usize::from(word.slot()) % SEATS_MAX
}

fn attempt_of(word: Word) -> u16 {
    word.slot() >> SEAT_BITS
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

impl Hand {
    /// Has a server died with this request in hand? (V8)
    pub fn is_redelivered(&self) -> bool {
        self.word.state() == TAKEN && attempt_of(self.word) != 0
    }
}

// SAFETY: where the bytes are is no secret; who may touch them V1 says, and asks which server it is, not which thread.
unsafe impl Send for Hand {}

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
    fn each(&self, mut f: impl FnMut(usize, usize, &Place<'_, P>)) {
        let mut lanes = self.clients().place.load(Acquire);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            self.each_of(lane, &mut f);
        }
    }

    fn each_of(&self, lane: usize, mut f: impl FnMut(usize, usize, &Place<'_, P>)) {
        for slot in 0..self.terms.slots {
            if let Some(place) = self.places.place(lane, slot) {
                f(lane, slot, &place);
            }
        }
    }

    /// What the client in `seat` is to remember. Its lane is there; servers look at it from now on.
    pub fn enter_client(&self, seat: usize) -> ClientSide {
        let (mut ticket, mut lost) = (0, 0);
        self.each_of(seat, |_, slot, place| {
            let word = Word(place.word.load(Acquire));
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
    pub fn enter_server(&self, seat: usize, holder: u64, wake: impl Fn(u64)) -> ServerSide {
        if self.terms.exclusive {
            // V4. Never 0, which is what a client writes.
            let stamp = (holder % 4095) as u16 + 1;
            self.each(|_, _, place| {
                let to = |now: Word| match now.state() {
                    ASKED => Some(Word::new(ASKED, stamp, now.sequence()).parked_as(now)),
                    ABANDONED => Some(Word::new(EMPTY, 0, now.sequence())),
                    _ => None,
                };
                self.change(place, to, || true, &wake);
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
        place: &Place<'_, P>,
        to: impl Fn(Word) -> Option<Word>,
        still: impl Fn() -> bool,
        wake: impl Fn(u64),
    ) {
        let word = place.word;
        let mut now = Word(word.load(Acquire));
        while let Some(then) = to(now).filter(|_| still()) {
            // AcqRel: what whoever had the slot wrote there goes with it.
            match word.compare_exchange(now.0, then.0, AcqRel, Acquire) {
                Ok(_) => {
                    if now.is_parked() && !then.is_parked() {
                        wake(place.waiter.load(Relaxed)); // V7
                    }
                    return;
                }
                Err(found) => now = Word(found),
            }
        }
    }

    /// The server in `seat` is gone, and will answer nothing any more. `still`: is the seat still its own? Asked after a
    /// word was read and before it is changed. Idempotent.
    pub fn settle_server(&self, seat: usize, why: u16, still: impl Fn() -> bool, wake: impl Fn(u64)) {
        let exclusive = self.terms.exclusive;
        let keeps = self.terms.keeps && why == why::DIED;
        self.each(|lane, slot, place| {
            let to = |now: Word| {
                let its = exclusive || seat_of(now) == seat;
                match now.state() {
                    TAKEN if its && keeps && attempt_of(now) < ATTEMPTS_MAX => {
                        let again = (attempt_of(now) + 1) << SEAT_BITS;
                        Some(Word::new(ASKED, again, now.sequence()).parked_as(now))
                    }
                    ASKED if exclusive => Some(Word::new(REFUSED, why, now.sequence())), // V3
                    TAKEN if its => Some(Word::new(REFUSED, why, now.sequence())),
                    ABANDONED if its => Some(Word::new(EMPTY, 0, now.sequence())),
                    _ => None,
                }
            };
            self.change(place, to, &still, &wake);
            // Whoever took it cleared its bit (V5). Also if it was another sweeper, which has not come to set it.
            let now = Word(place.word.load(Acquire));
            if keeps && slot != 0 && now.state() == ASKED && attempt_of(now) != 0 && still() {
                self.bits(lane).fetch_or(1 << slot, AcqRel);
            }
        });
    }

    /// The client in `seat` is gone: nobody waits for its replies.
    pub fn settle_client(&self, seat: usize, still: impl Fn() -> bool) {
        self.each_of(seat, |lane, slot, place| {
            let to = |now: Word| match now.state() {
                ASKED if !self.terms.exclusive => Some(Word::new(EMPTY, 0, now.sequence())),
                ASKED | TAKEN => Some(Word::new(ABANDONED, now.slot(), now.sequence())),
                _ => None,
            };
            self.change(place, to, &still, |_| ());
            // It may have died before it set the bit; the only server is to find what it abandoned (V5: set is harmless).
            if self.terms.exclusive && Word(place.word.load(Relaxed)).state() == ABANDONED && still() {
                self.bits(lane).fetch_or(1 << slot, AcqRel);
            }
        });
    }

    /// A server is gone, and has said so in its end word and in `departures`: clients look (wait.rs, H2). All of them, whether
    /// their words say that they sleep or not: it may have died between a reply, which takes P away, and its wake-up.
    pub fn tell_clients(&self, wake: impl Fn(u64)) {
        let mut told = 0;
        self.each(|lane, _, place| {
            place.word.fetch_add(0, AcqRel);
            let waiter = place.waiter.load(Relaxed);
            // A thread that waits, or has waited, in several slots is told once.
            if waiter != told && self.clients().seat(lane).side.end().state() == ATTACHED {
                wake(waiter);
                told = waiter;
            }
        });
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
