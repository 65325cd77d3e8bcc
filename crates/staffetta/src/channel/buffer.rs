//! The buffered channel: asynchrony degree K > 0, in place, zero copies. The ring of `ring.rs`, whose slots are the
//! k+1 target variables of the theory: the sender builds its message *in* slot s and raises RDY, the receiver works
//! *on* slot r and raises ACK when it is done.
//!
//! | theory | here |
//! |---|---|
//! | RDY | the slot's word says FULL |
//! | ACK | it says EMPTY |
//! | the slot being worked on is occupied | READING: taken, and not given back yet |
//!
//! Word and message share a line as far as the message fits one, so whoever polls the word of the next slot polls the
//! line that its partner writes next, and finds the message in it. One operation at a time on each side: while a
//! slot is reserved or a message is in hand, the end refuses others (`Stop::Held`), also if the guard was forgotten.
//!
//! **When `send` blocks.** A message *waits* while its slot is FULL. A sender may write place t when message t-K
//! has been taken: before it writes, not after (the basic channel puts first and blocks afterwards). So it
//! blocks exactly when K messages wait, whether or not the receiver works on one more, and a slot that was
//! reserved is sent without waiting; nothing is ever withdrawn. Only the death of a receiver can make K+1 wait: the
//! message that it had in hand waits again.
//!
//! B1. The receiver takes messages in order and has at most one in hand. So if the slot of a later message has left FULL,
//!     those of all earlier ones are EMPTY; and one look at a slot further on tells of many.
//! B2. Places below `clear` may be written without a look: message `clear - 1 - K` has been taken.
//! B3. Nothing is withdrawn: a FULL slot is the receiver's, who may read it before it changes the word. EMPTY => FULL
//!     and what leaves FULL or READING for EMPTY are the commit points.
//! B4. The sender writes `ticket` before the first byte. So the bytes of an EMPTY slot whose ticket names the message
//!     K+1 places ago are that whole message; if somebody began to write, they are not.
//! B5. `length` is CHANGED while a receiver has write access. If it dies, the bytes may be no value of their type: its
//!     successor is told that this message is lost (`Stop::Torn`), and gets the next one. One that was only
//!     read is its successor's, whole.
//! B6. P on FULL means that the sender waits for room; the change that takes the message reports it (unlike N4).

#![allow(unsafe_code)] // The slots' bytes are raw memory: N2 and B3 say whose they are.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{compiler_fence, Ordering};

use super::call::{Ground, Patience, Stop};
use super::ring::{change, change_and, redeliver, RingParty, Slot, Slots, EMPTY, FULL, READING};
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

/// What `length` says while a receiver may change the message (B5).
const CHANGED: u64 = u64::MAX;

/// What a side waits for: a place, and what its word is to be.
pub type Missing = (u64, fn(Word) -> bool);

/// One side's view of the ring: what it knows without looking.
pub struct Buffer<P: Platform> {
    slots: Slots<P>,
    /// This side's next place: what `head` or `tail` says.
    place: Cell<u64>,
    /// Where its slot is, bytes from the ring's beginning: a multiple of the stride, below the ring's bytes.
    at: Cell<u64>,
    /// B2; the sender's.
    clear: Cell<u64>,
    /// A slot is reserved, or a message is in hand.
    held: Cell<bool>,
}

impl<P: Platform> Buffer<P> {
    /// Of a side whose place is `place`.
    pub fn new(slots: Slots<P>, place: u64) -> Buffer<P> {
        let at = (place % (slots.shape.degree + 1)) * slots.shape.stride;
        Buffer {
            slots,
            place: Cell::new(place),
            at: Cell::new(at),
            clear: Cell::new(0),
            held: Cell::new(false),
        }
    }

    /// The slots.
    #[inline(always)]
    pub fn slots(&self) -> Slots<P> {
        self.slots
    }

    /// This side's next place.
    #[inline(always)]
    pub fn place(&self) -> u64 {
        self.place.get()
    }

    /// Is a slot reserved, or a message in hand?
    #[inline(always)]
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// See `is_held`.
    #[inline(always)]
    pub fn hold(&self, held: bool) {
        self.held.set(held);
    }

    #[inline(always)]
    fn slot(&self) -> &Slot<P> {
        // SAFETY: `at` is what its field says.
        unsafe { self.slots.slot_at(self.at.get()) }.0
    }

    /// The bytes of this side's next slot.
    #[inline(always)]
    pub fn bytes(&self) -> *mut u8 {
        // SAFETY: `at` is what its field says.
        unsafe { self.slots.slot_at(self.at.get()) }.1
    }

    /// The slot `more` places further on; `more` is at most K.
    #[inline(always)]
    fn further(&self, more: u64) -> &Slot<P> {
        let shape = &self.slots.shape;
        let at = self.at.get() + more * shape.stride;
        let at = if at < shape.bytes() { at } else { at - shape.bytes() };
        // SAFETY: a multiple of the stride; less than twice the ring's bytes, and so below them.
        unsafe { self.slots.slot_at(at) }.0
    }

    #[inline(always)]
    fn step(&self) {
        self.place.set(self.place.get() + 1);
        let next = self.at.get() + self.slots.shape.stride;
        self.at.set(if next < self.slots.shape.bytes() { next } else { 0 });
    }

    /// The word of the sender's next slot, if it may be written now (B2).
    #[inline(always)]
    pub fn room_now(&self) -> Option<Word> {
        if self.place.get() >= self.clear.get() && !self.look_further() {
            return None;
        }
        // Acquire: pairs with the receiver's `change`: it is done with the bytes.
        let now = Word(self.slot().word.load(Acquire));
        (now.state() == EMPTY).then_some(now)
    }

    /// What the sender's next slot waits for, if it may not be written now: a place, and what its word is to be.
    pub fn missing_room(&self) -> Option<Missing> {
        if self.room_now().is_some() {
            return None;
        }
        let place = self.place.get();
        Some(if place < self.clear.get() {
            // Not by B1: a receiver that does not keep to it.
            (place, |now| now.state() == EMPTY)
        } else {
            (place + 1, |now| now.state() != FULL)
        })
    }

    /// Moves `clear` on, as far as one look tells (B1).
    #[inline(always)]
    fn look_further(&self) -> bool {
        let mut more = self.slots.shape.degree;
        loop {
            // Relaxed: says only that the receiver has come so far; the slot that is written is loaded on its own.
            if Word(self.further(more).word.load(Relaxed)).state() != FULL {
                self.clear.set(self.place.get() + more);
                return true;
            }
            if more <= 1 {
                return false; // K messages wait
            }
            more /= 2;
        }
    }

    /// From now on the bytes of the sender's next slot are no whole message (B4).
    #[inline(always)]
    pub fn begin_writing(&self) {
        self.slot().ticket.store(self.place.get(), Relaxed);
        // A sender that is killed has done a beginning of its program: the order of its own stores is all that counts.
        compiler_fence(Ordering::AcqRel);
    }

    /// Are the bytes of the sender's next slot, which is EMPTY, the whole message that was there before? (B4, B5)
    pub fn is_whole(&self, length: u64) -> bool {
        let before = self.place.get().checked_sub(self.slots.shape.degree + 1);
        let slot = self.slot();
        before == Some(slot.ticket.load(Relaxed)) && slot.length.load(Relaxed) == length
    }

    /// EMPTY => FULL: sends what the sender's next slot holds. Some(the receiver sleeps), or None if the word is not
    /// as it was left.
    #[inline(always)]
    pub fn publish(&self, tail: &P::U64, empty: Word, length: u64) -> Option<bool> {
        let slot = self.slot();
        slot.length.store(length, Relaxed);
        let asleep = change(slot, empty, FULL)?;
        self.step();
        tail.store(self.place.get(), Relaxed);
        Some(asleep)
    }

    /// The word of the receiver's next slot, if a message is in it: one load.
    #[inline(always)]
    pub fn full_now(&self) -> Option<Word> {
        // Acquire: pairs with `publish`: the bytes and `length` are visible.
        let now = Word(self.slot().word.load(Acquire));
        (now.state() == FULL).then_some(now)
    }

    /// The length of the message in the receiver's next slot.
    #[inline(always)]
    pub fn length(&self) -> u64 {
        self.slot().length.load(Relaxed)
    }

    /// FULL => READING: the message is in hand. Some(the sender waits for room and sleeps).
    #[inline(always)]
    pub fn take(&self, full: Word) -> Option<(Word, bool)> {
        let asleep = change_and(self.slot(), full, READING, full.slot(), true)?; // B6
        Some((Word::new(READING, full.slot(), full.sequence() + 1), asleep))
    }

    /// The receiver is about to change the message that it has in hand (B5).
    #[inline(always)]
    pub fn begin_changing(&self) {
        self.slot().length.store(CHANGED, Relaxed);
        compiler_fence(Ordering::AcqRel); // as in `begin_writing`
    }

    /// READING | FULL => EMPTY: the receiver is done with the message, which has `length` bytes now. True: the sender
    /// waits for room and sleeps.
    #[inline(always)]
    pub fn give_back(&self, head: &P::U64, from: Word, length: u64) -> bool {
        let slot = self.slot();
        if slot.length.load(Relaxed) != length {
            compiler_fence(Ordering::AcqRel); // after the last change
            slot.length.store(length, Relaxed);
        }
        self.skip(head, from)
    }

    /// As `give_back`; `length` stays.
    #[inline(always)]
    fn skip(&self, head: &P::U64, from: Word) -> bool {
        let slot = self.slot();
        head.store(self.place.get() + 1, Relaxed); // first: N5
        let asleep = change(slot, from, EMPTY).unwrap_or(true);
        self.step();
        asleep
    }

    /// How many messages wait between `head` and `tail`: the one that the receiver has in hand does not.
    pub fn waiting(&self, head: u64, tail: u64) -> u64 {
        let (state, _) = self.slots.look(head);
        tail.saturating_sub(head).saturating_sub(u64::from(state == READING))
    }

    /// READING => FULL: the holder of the end closes it, with a message in hand that it forgot.
    pub fn put_back(&self, reading: Word) {
        redeliver(self.slot(), reading);
    }

    /// The word of this side's next slot.
    pub fn word(&self) -> Word {
        Word(self.slot().word.load(Acquire))
    }
}

impl<P: Platform, G: Ground<P>> RingParty<'_, P, G> {
    /// Waits until the sender's next slot may be written; gives its word.
    pub fn await_room(&mut self, buffer: &Buffer<P>, patience: Patience) -> Result<Word, Stop> {
        loop {
            if buffer.is_held() {
                return Err(Stop::Held);
            }
            if let Some(empty) = buffer.room_now() {
                return Ok(empty);
            }
            let Patience::Until(deadline) = patience else {
                return self.tried(|| buffer.room_now());
            };
            if let Some((place, good)) = buffer.missing_room() {
                self.await_word(place, good, deadline)?;
            }
        }
    }

    /// Waits until a message is in the receiver's next slot, whole; gives its word, FULL.
    pub fn await_message(&mut self, buffer: &Buffer<P>, patience: Patience) -> Result<Word, Stop> {
        if buffer.is_held() {
            return Err(Stop::Held);
        }
        let full = match (buffer.full_now(), patience) {
            (Some(full), _) => full,
            (None, Patience::Try) => self.tried(|| buffer.full_now())?,
            (None, Patience::Until(deadline)) => {
                self.await_word(buffer.place(), |now| now.state() == FULL, deadline)?
            }
        };
        if buffer.length() == CHANGED {
            let place = buffer.place();
            let asleep = buffer.skip(self.place, full);
            self.wake_if(asleep);
            return Err(Stop::Torn { place });
        }
        Ok(full)
    }

    /// A `try_*` found nothing. `look` again if the partner is gone: what it did before it went comes first.
    fn tried(&mut self, look: impl Fn() -> Option<Word>) -> Result<Word, Stop> {
        let end = self.peer.end();
        if self.memory.is_known(end) {
            return Err(Stop::WouldBlock);
        }
        match look() {
            Some(now) => Ok(now),
            None => Err(self.memory.lost_partner(end, self.peer.died()).map_or(Stop::WouldBlock, Stop::Gone)),
        }
    }

    /// `send(v)`: waits for room, copies the message into the slot, sends it.
    ///
    /// # Safety
    /// The caller is the only sender; `bytes` are `length` readable bytes.
    pub unsafe fn send_into(
        &mut self,
        buffer: &Buffer<P>,
        bytes: *const u8,
        length: usize,
        patience: Patience,
        counts: bool,
    ) -> Result<(), Stop> {
        let capacity = self.slots.shape.message_bytes_max;
        if length as u64 > capacity {
            return Err(Stop::TooLong { length: length as u64, capacity });
        }
        let empty = self.await_room(buffer, patience)?;
        buffer.begin_writing();
        // SAFETY: EMPTY: the bytes are ours (N2), as many as fit; `bytes` is the caller's promise.
        unsafe { self.copy(bytes, buffer.bytes(), length, counts) };
        let asleep = buffer.publish(self.place, empty, length as u64).ok_or(Stop::Corrupt)?;
        self.wake_if(asleep);
        Ok(())
    }

    /// `recv()`: waits for a message, copies it out of the slot, gives the slot back; gives its length.
    ///
    /// # Safety
    /// The caller is the only receiver; `to` is `capacity` writable bytes.
    pub unsafe fn receive_from(
        &mut self,
        buffer: &Buffer<P>,
        to: *mut u8,
        capacity: usize,
        patience: Patience,
        counts: bool,
    ) -> Result<usize, Stop> {
        let full = self.await_message(buffer, patience)?;
        let length = buffer.length();
        if length > capacity as u64 || length > self.slots.shape.message_bytes_max {
            return Err(Stop::TooLong { length, capacity: capacity as u64 });
        }
        // SAFETY: B3: the bytes are ours; the length was checked.
        unsafe { self.copy(buffer.bytes(), to, length as usize, counts) };
        let asleep = buffer.give_back(self.place, full, length);
        self.wake_if(asleep);
        Ok(length as usize)
    }
}
