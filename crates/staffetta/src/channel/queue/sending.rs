//! What a sender does: finds an own slot and room for its message, fills the cell; makes room by dropping.
//!
//! Invariants: `mod.rs`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{join, Found, Held, Lanes, Queue, QueueParty, AHEAD, DROPPING};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::ring::{Slot, EMPTY, FULL};
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;

impl<'c, P: Platform, L: Lanes, G: Ground<P>> QueueParty<'c, P, L, G> {
    /// Its lane's slot with this number.
    #[inline(always)]
    pub(super) fn own(&self, slot: u64) -> Option<(&'c Slot<P>, *mut u8)> {
        self.queue.slot(self.side.seat, slot)
    }

    /// An own slot that may be written, if fewer than K of this sender's messages wait.
    #[inline(always)]
    pub(super) fn free_slot(&self) -> Option<u64> {
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
    pub(super) fn look_back(&self, degree: u64) -> bool {
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
    pub(super) fn any_slot(&self) -> Option<u64> {
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
    pub(super) fn room(&self) -> Option<(u64, u64)> {
        let (queue, at) = (self.queue, &self.side.at);
        loop {
            let position = at.get();
            let cell = queue.cell(position).load(Acquire);
            match queue.position_of(position, cell) {
                Some(there) if there == position => {
                    at.set((position + 1).max(Queue::<P, L>::place(queue.senders())));
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
    pub(super) fn look_further(&self, position: u64) -> bool {
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
    pub(super) fn reserve_slot(&mut self, slot: u64) -> Result<Held, Stop> {
        let (_, bytes) = self.own(slot).ok_or(Stop::Corrupt)?;
        Ok(self.side.hold(Held { lane: self.side.seat, slot, word: Word(0), bytes, length: 0 }))
    }

    /// A free slot of this sender's while there is room for its message.
    #[inline(always)]
    pub(super) fn await_room(&mut self, patience: Patience) -> Result<u64, Stop> {
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
    pub(super) fn commit(
        &self,
        words: &Slot<P>,
        slot: u64,
        length: u64,
        patience: Patience,
    ) -> Result<u64, Stop> {
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
    pub fn mark_and_stop(&mut self) {
        let slot = self.any_slot().expect("a slot is free");
        let (position, _) = self.room().expect("there is room");
        let (words, _) = self.own(slot).expect("there is the lane");
        words.word.store(Word::new(FULL, 0, position).0, Release);
    }

    /// The message in the way of this sender's next place, where there was no room: the oldest one (Q1, Q2). Who has taken it since
    /// then has made room: a later one is not to be dropped for it. Where it lies is looked at, and no hint, so that a look
    /// that finds it gone is followed by one that finds room.
    fn in_the_way(&self) -> Option<Found<'c, P>> {
        let queue = self.queue;
        let position = self.side.position().checked_sub(queue.plan.degree)?;
        let cell = queue.cell(position).load(Acquire);
        queue.waits(position, cell).filter(|_| queue.position_of(position, cell) == Some(position))
    }

    /// Makes room: takes the oldest message to drop it, as a receiver would. None: none is in the way.
    pub fn take_to_drop(&mut self) -> Result<Option<Held>, Stop> {
        loop {
            let Some(found) = self.in_the_way() else {
                return Ok(None);
            };
            let (words, bytes) = (found.words, found.bytes);
            let position = found.word.sequence();
            let word = Word::new(DROPPING, join(self.side.seat, 0), position);
            if words.word.compare_exchange(found.word.0, word.0, AcqRel, Acquire).is_ok() {
                self.queue.receivers().place.store(position + 1, Relaxed);
                self.wake(self.queue.senders());
                let (lane, slot, length) = (found.lane, found.slot, words.length.load(Relaxed));
                return Ok(Some(Held { lane, slot, word, bytes, length }));
            }
        }
    }

    /// Makes room: the oldest message is gone at once. Nothing is to be done with its bytes. False: none is in the way.
    pub fn drop_oldest(&mut self) -> bool {
        while let Some(found) = self.in_the_way() {
            let position = found.word.sequence();
            let empty = Word::new(EMPTY, 0, position);
            if found.words.word.compare_exchange(found.word.0, empty.0, AcqRel, Acquire).is_ok() {
                self.queue.receivers().place.store(position + 1, Relaxed);
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
}
