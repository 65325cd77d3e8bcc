//! A server in a call: it finds a request, has it in hand as long as it likes, and answers in the same slot.

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::{attempt_of, SEAT_BITS};
use super::{why, Hand, Places, ServerSide, Service, ABANDONED, ASKED, EMPTY, REFUSED, REPLIED, TAKEN};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::SEATS_MAX;
use crate::channel::tally::Tally;
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

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
            let mut spins = 0;
            for look in 0..self.memory.eager_steps::<P>() {
                spins += P::stand_back(look);
                if let Some(hand) = self.find() {
                    self.tally.waited(&Waited { spins, parks: 0 });
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
    pub(super) fn is_new(&self, now: Word, lane: usize, slot: usize) -> bool {
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

    /// Takes only what is not newer than what it had seen before it looked. Of several servers another one may have taken
    /// from a slot and not yet cleared its bit; what is asked there next is then seen beside a slot that was looked at
    /// before it. But whatever is older than a request that was seen can be seen from then on (V6).
    #[cold]
    #[inline(never)]
    fn find_oldest(&self, lane: usize, asked: u64) -> Option<Hand> {
        let (_, mut seen, _) = self.oldest(lane, asked)?;
        loop {
            // Acquire: as in `find_in`.
            let asked = self.service.bits(lane).load(Acquire) | 1;
            let (slot, now, body) = self.oldest(lane, asked)?;
            if now.sequence() > seen.sequence() {
                seen = now;
            } else if let Some(hand) = self.take_this(lane, slot, now, body) {
                return Some(hand);
            }
        }
    }

    /// The oldest request in these slots.
    fn oldest(&self, lane: usize, mut asked: u64) -> Option<(usize, Word, *mut u8)> {
        let mut oldest: Option<(usize, Word, *mut u8)> = None;
        while asked != 0 {
            let slot = asked.trailing_zeros() as usize;
            asked &= asked - 1;
            let Some(place) =
                self.service.places.place(lane, slot).filter(|_| slot < self.service.terms.slots)
            else {
                continue;
            };
            // Acquire: pairs with `ask`; who sees a request sees what was asked before it.
            let now = Word(place.word.load(Acquire));
            let older = |(_, word, _): (usize, Word, *mut u8)| word.sequence() < now.sequence();
            if self.is_new(now, lane, slot) && !oldest.is_some_and(older) {
                oldest = Some((slot, now, place.body));
            }
        }
        oldest
    }

    /// Takes what was found. None: another server was quicker, or it was abandoned, and is its client's again now.
    #[inline(always)]
    pub(super) fn take_this(&self, lane: usize, slot: usize, now: Word, body: *mut u8) -> Option<Hand> {
        let mut word = now;
        if let Some(taken) = self.taken(lane, slot) {
            // The reply will be written there: what the server does before it is in the shadow of the line's way.
            prefetch_for_write(body);
            taken.set(now.sequence() + 1);
        } else {
            let place = self.service.places.place(lane, slot)?;
            let attempt = attempt_of(now) << SEAT_BITS; // V8
            word = Word::new(TAKEN, self.side.seat as u16 | attempt, now.sequence());
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
            self.memory.lost_partner(end, clients.fell_by(end)).map(|gone| Err(Stop::Gone(gone)))
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
                        self.ground.wake(place.waiter.load(Relaxed)); // V7
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
