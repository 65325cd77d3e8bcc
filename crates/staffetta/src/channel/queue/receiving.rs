//! What a receiver does: finds the message that comes next, takes it, gives its slot back.
//!
//! Invariants: `mod.rs`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{compiler_fence, fence, Ordering};

use super::{join, split, Found, Held, Lanes, QueueParty, AHEAD, CHANGED, RETURNED};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::crowd::SEATS_MAX;
use crate::channel::ring::{EMPTY, FULL, READING};
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;

impl<'c, P: Platform, L: Lanes, G: Ground<P>> QueueParty<'c, P, L, G> {
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
    pub(super) fn await_message(&self, patience: Patience, capacity: u64) -> Result<Found<'c, P>, Stop> {
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

    pub(super) fn check(&self, length: u64, place: u64) -> Result<(), Stop> {
        match length {
            CHANGED => Err(Stop::Torn { place }),
            length if length > self.queue.plan.lane.message_bytes_max => Err(Stop::Corrupt),
            _ => Ok(()),
        }
    }

    /// The word of a message that was found => `to`: the commit point of receiving. False: another was quicker.
    #[inline(always)]
    pub(super) fn change(&self, found: &Found<'_, P>, to: Word) -> bool {
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
    pub(super) fn next_message(&self) -> Option<Found<'c, P>> {
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

    /// The oldest message that a dead receiver had in hand.
    #[cold]
    #[inline(never)]
    pub(super) fn returned(&self) -> Option<Found<'c, P>> {
        let mut oldest: Option<Found<'c, P>> = None;
        for lane in 0..SEATS_MAX {
            for slot in 0..self.queue.plan.slots() {
                let Some((words, bytes)) = self.queue.slot(lane, slot) else {
                    break;
                };
                let word = Word(words.word.load(Acquire));
                let older = |found: &Found<'c, P>| found.word.sequence() < word.sequence();
                if word.state() == RETURNED && !oldest.as_ref().is_some_and(older) {
                    oldest = Some(Found { lane, slot, word, words, bytes });
                }
            }
        }
        oldest
    }

    /// Does a message wait that a receiver had in hand when it died?
    pub fn has_returned(&self) -> bool {
        self.returned().is_some()
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
    pub(super) fn empty(&self, held: Held) {
        let Some((words, _)) = self.queue.slot(held.lane, held.slot) else {
            return;
        };
        // Release: pairs with `any_slot`: we are done with the bytes. Only we leave READING or DROPPING (Q7).
        words.word.store(Word::new(EMPTY, 0, held.word.sequence()).0, Release);
    }
}
