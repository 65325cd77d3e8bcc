//! A client in a call: it asks in a slot of its own, waits on that slot's word, and may give up at any time.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Instant;

use super::{
    is_clients, Asked, ClientSide, Ended, Place, Places, Service, ABANDONED, ASKED, EMPTY, REFUSED, REPLIED,
    TAKEN,
};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::tally::Tally;
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

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
    pub(super) fn place(&self, slot: usize) -> Result<Place<'c, P>, Stop> {
        self.service.places.place(self.side.seat, slot).ok_or(Stop::Corrupt)
    }

    /// Are all servers gone, and is this the first time that it is said?
    #[inline(always)]
    pub(super) fn lost(&self) -> Option<Word> {
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
        self.memory.lost_partner(end, servers.fell_by(end))
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
        let announce = |this: &Self, pcb_ref: u64| {
            let mut left = side.lost.get();
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                left &= left - 1;
                let announced =
                    this.place(slot).is_ok_and(|place| park(&place, pcb_ref, |word| !is_clients(word)));
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
        announce: impl Fn(&Self, u64) -> bool,
    ) -> Option<R> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            &poll,
            |pcb_ref| announce(self, pcb_ref),
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
        let mut spins = 0;
        for look in 0..self.memory.eager_steps::<P>() {
            let now = Word(place.word.load(Acquire));
            if !is_under_way(now, asked) {
                self.tally.waited(&Waited { spins, parks: 0 });
                return self.ended(asked, &place, now);
            }
            spins += P::stand_back(look);
        }
        let poll = || self.poll(asked, &place);
        let announce = |_: &Self, pcb_ref: u64| park(&place, pcb_ref, |word| is_under_way(word, asked));
        match self.wait(deadline, poll, announce) {
            Some(Ok(now)) => self.ended(asked, &place, now),
            Some(Err(end)) => self.give_up(asked, Stop::Gone(end)),
            None => self.give_up(asked, Stop::TimedOut),
        }
    }

    /// Has it ended, or will it never? Then the servers' end word.
    fn poll(&self, asked: Asked, place: &Place<'_, P>) -> Option<Result<Word, Word>> {
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
    }

    /// As `finish`, without waiting. None: it is under way.
    pub fn try_finish(&self, asked: Asked) -> Option<Ended> {
        let Ok(place) = self.place(asked.slot) else {
            return Some(Ended::GivenUp { stop: Stop::Corrupt, request: None });
        };
        Some(match self.poll(asked, &place)? {
            Ok(now) => self.ended(asked, &place, now),
            Err(end) => self.give_up(asked, Stop::Gone(end)),
        })
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

/// Puts P on a slot's word while `waits`, for `waiter` (V7). False: it has changed.
pub(super) fn park<P: Platform>(place: &Place<'_, P>, waiter: u64, waits: impl Fn(Word) -> bool) -> bool {
    if place.waiter.load(Relaxed) != waiter {
        place.waiter.store(waiter, Relaxed);
    }
    let mut now = Word(place.word.load(Acquire));
    while waits(now) {
        match place.word.compare_exchange(now.0, now.parked().0, AcqRel, Acquire) {
            Ok(_) => return true,
            Err(found) => now = Word(found),
        }
    }
    false
}

#[inline(always)]
pub(super) fn is_under_way(word: Word, asked: Asked) -> bool {
    matches!(word.state(), ASKED | TAKEN) && word.sequence() == asked.ticket
}
