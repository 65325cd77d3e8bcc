//! A receiving end of a broadcast: how it takes a message in hand, and what it does when the sender was quicker.
//!
//! Invariants: `broadcast/mod.rs`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{At, Cast, CastParty, Late, SlowReceiver, CURSOR, MISSED, MODE, PIN, PLACES_MAX, WAITED_FOR};
use crate::channel::call::{Ground, Patience, Stop};
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

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
        let waited_for = cast.waits && policy == SlowReceiver::Block;
        let mode = end.sequence() << 1 | if waited_for { WAITED_FOR } else { 0 };
        // A read-modify-write for the fence; Release: publishes the other words.
        let _ = words[MODE].compare_exchange(words[MODE].load(Relaxed), mode, AcqRel, Relaxed);
        P::fence_after_rmw(); // F5
        let mut waited_from = u64::MAX;
        if waited_for {
            let granted = cast.head().granted.load(Acquire).min(PLACES_MAX);
            waited_from = start.max(granted.saturating_sub(cast.degree));
            words[CURSOR].fetch_add(2 * (waited_from - start), AcqRel);
        }
        let (at, since) = (At::of(start, cast.degree), if waited_for { waited_from } else { tail });
        let receiver =
            CastReceiver { seat, at, policy, waited_from, since, missed: 0, hand: None, cut: false };
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

    /// Is the next message there, or one after it, or is this receiver disconnected?
    pub(super) fn finds_any<P: Platform>(&self, cast: &Cast<P>) -> bool {
        self.cut || cast.cell(self.at.index).load(Acquire) >> cast.slot_bits > self.at.round
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
                self.skip(cast, ((there - 1) * cast.degree).saturating_add(index))?;
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
        let published = cast.head().tail.load(Relaxed).min(PLACES_MAX).max(newest + 1);
        let place = self.at.place;
        if place >= self.waited_from || newest >= PLACES_MAX {
            return Err(Stop::Corrupt); // F4; and no sender ever came so far
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

impl<P: Platform, G: Ground<P>> CastParty<'_, P, G> {
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
            self.memory.lost_partner(end, self.sender.died()).map(|gone| Err(Stop::Gone(gone)))
        };
        let Patience::Until(deadline) = patience else {
            let mut poll = poll;
            return poll().unwrap_or(Err(Stop::WouldBlock));
        };
        let receivers = cast.receivers();
        let own = &receivers.seat(number).side;
        self.wait(deadline, own, poll, || receivers.announce(number), || receivers.retire(number))
    }
}
