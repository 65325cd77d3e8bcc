//! The ring under the channels that have a buffer; and the basic channel: the textbook's, any degree K, two copies.
//! Kept honest, to be measured against. The buffered channel, which works in the slots, is in `buffer.rs`.
//!
//! `buffer[k+1]` is a ring of slots, each with a state word; a send puts first and blocks afterwards if the
//! buffer is full, as in the theory. `sender_wait` and `receiver_wait` are the bit P of the slot's word
//! that the waiting side waits for (`memory::word`, W1), so both primitives are indivisible without a lock.
//!
//! | slot's state | means | left by |
//! |---|---|---|
//! | EMPTY | may be written; P: the receiver sleeps until it is FULL | sender: put |
//! | FULL | holds a message; P: the sender sleeps until it is EMPTY | receiver: READING, or EMPTY at once (buffered); sender: withdraw (basic) |
//! | READING | the receiver copies it out, or works on it; P as in FULL | receiver: EMPTY, or FULL if its target was too small; who sweeps after its death: FULL |
//!
//! The slot field of FULL and READING is REDELIVERED if some receiver had the message in hand before, and did not give it back.
//!
//! N1. The sequence of a slot's word grows with every change but P.
//! N2. The bytes of a slot are the sender's while EMPTY, nobody's while FULL, the receiver's while READING.
//! N3. `tail` is written only by the holder of the sending end, `head` by that of the receiving end. Commit
//!     points: EMPTY => FULL, and READING => EMPTY: a message that a dead receiver was reading is its successor's.
//! N4. P means: whoever waits for the slot to become EMPTY, or FULL, sleeps. It is kept between FULL and
//!     READING, which end no wait, and reported by the change that ends the wait.
//! N5. `ticket` is the place of the message in a slot that is not EMPTY; it is written before the message. The sender puts, then moves `tail`;
//!     it withdraws, then moves `tail` back; the receiver moves `head`, then empties. So each place is off by one at
//!     most when its holder dies, and the successor finds it again from the slots (`recover_*`).
//! N6. A slot that holds a reference to a parcel is EMPTY only after its receiver has said, in the parcel's own word, that it holds it.
//!     So whatever is not EMPTY is all that is on its way; and a dead receiver's slot that waits again holds a parcel that nobody has
//!     claimed, or one that the dead one had: then its successor passes it over (`pass_over_claimed`).

#![allow(unsafe_code)] // The slots' bytes are raw memory: N2 says whose they are.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Instant;

use super::call::{Ground, Memory, Patience, Stop};
use super::side::Side;
use super::tally::Tally;
use crate::memory::platform::{Native, Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

/// May be written.
pub const EMPTY: u8 = 0;
/// Holds a message.
pub const FULL: u8 = 1;
/// The receiver has it in hand.
pub const READING: u8 = 2;

/// In the slot field of FULL and READING: a receiver has had it in hand.
pub const REDELIVERED: u16 = 1;

/// Places are below, whatever a peer wrote.
const PLACES_MAX: u64 = 1 << 60;

/// What `head` or `tail` says.
pub(super) fn place_in<P: Platform>(word: &P::U64) -> u64 {
    word.load(Relaxed).min(PLACES_MAX)
}

/// A slot's words before its bytes.
#[repr(C)]
pub struct Slot<P: Platform> {
    pub(super) word: P::U64,
    pub(super) length: P::U64,
    pub(super) ticket: P::U64,
}

/// Where messages lie in a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// From one slot to the next, bytes.
    pub stride: u64,
    /// From a slot to its message, bytes.
    pub offset: u64,
    /// K.
    pub degree: u64,
    /// Longest message, bytes.
    pub message_bytes_max: u64,
}

/// Two slots with small messages share a line: half as many lines travel for a stream, and a message to and fro takes no longer.
/// Not where slots are used out of order, or by many.
const HALF_LINE: u64 = 32;
const LINE: u64 = 64;

impl Shape {
    /// Of a ring whose slots are used in turn by one on each side. None: it overflows.
    pub fn in_turn(degree: u64, message_bytes_max: u64, align: u64) -> Option<Shape> {
        let mut shape = Shape::new(degree, message_bytes_max, align)?;
        if shape.offset + message_bytes_max <= HALF_LINE {
            shape.stride = HALF_LINE.max(align);
        }
        Some(shape)
    }

    /// Of a ring of `degree + 1` slots for messages that lie at multiples of `align`, a power of two. None: it
    /// overflows.
    pub fn new(degree: u64, message_bytes_max: u64, align: u64) -> Option<Shape> {
        Shape::of::<Native>(degree, message_bytes_max, align)
    }

    pub(crate) fn of<P: Platform>(degree: u64, message_bytes_max: u64, align: u64) -> Option<Shape> {
        let offset = (size_of::<Slot<P>>() as u64).checked_next_multiple_of(align.max(1))?;
        let stride = message_bytes_max.checked_add(offset)?.checked_next_multiple_of(align.max(LINE))?;
        stride.checked_mul(degree.checked_add(1)?)?;
        Some(Shape { stride, offset, degree, message_bytes_max })
    }

    /// Bytes of the ring.
    pub fn bytes(&self) -> u64 {
        self.stride * (self.degree + 1)
    }
}

/// The slots of a channel.
pub struct Slots<P: Platform> {
    /// The first of `degree + 1` slots, all of them mapped; zero at first.
    pub ring: NonNull<u8>,
    /// Where they are.
    pub shape: Shape,
    /// The slots' words.
    pub platform: PhantomData<fn() -> P>,
}

impl<P: Platform> Clone for Slots<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for Slots<P> {}

// SAFETY: the words are atomic, and N2 says whose the bytes are.
unsafe impl<P: Platform> Send for Slots<P> {}

/// One party of a basic channel.
pub struct RingParty<'c, P: Platform, G: Ground<P>> {
    /// The slots.
    pub slots: Slots<P>,
    /// This side's place: `head` or `tail` (N3).
    pub place: &'c P::U64,
    /// This side.
    pub me: &'c Side<P>,
    /// The partner's side.
    pub peer: &'c Side<P>,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this side.
    pub tally: &'c Tally<P>,
    /// What this side remembers.
    pub memory: &'c Memory,
}

/// From `from` (with or without P) to `state`, next sequence. Some(whoever waited for this change sleeps), or None if
/// the word is no longer `from`.
pub(super) fn change<P: Platform>(slot: &Slot<P>, from: Word, state: u8) -> Option<bool> {
    change_and(slot, from, state, 0, (from.state() == EMPTY) != (state == EMPTY))
    // N4
}

/// READING => FULL: whoever takes it next is told.
pub(super) fn redeliver<P: Platform>(slot: &Slot<P>, reading: Word) {
    // It fails if another sweeper was first.
    let _ = change_and(slot, reading, FULL, REDELIVERED, false);
}

/// `ends_a_wait`: report P, and clear it.
#[inline(always)]
pub(super) fn change_and<P: Platform>(
    slot: &Slot<P>,
    from: Word,
    state: u8,
    mark: u16,
    ends_a_wait: bool,
) -> Option<bool> {
    let mut now = from;
    loop {
        let to = Word::new(state, mark, from.sequence() + 1);
        let to = if ends_a_wait { to } else { to.parked_as(now) };
        // AcqRel: releases the bytes (N2) to the other side, acquires what it did to them before.
        match slot.word.compare_exchange(now.0, to.0, AcqRel, Acquire) {
            Ok(_) => return Some(ends_a_wait && now.is_parked()),
            Err(found) if Word(found).awake() == from.awake() => now = Word(found),
            Err(_) => return None,
        }
    }
}

impl<P: Platform> Slots<P> {
    /// The words and the bytes of the slot of `place`.
    pub(super) fn slot(&self, place: u64) -> (&Slot<P>, *mut u8) {
        let at = (place % (self.shape.degree + 1)) * self.shape.stride;
        // SAFETY: below the ring's bytes, a multiple of the stride.
        unsafe { self.slot_at(at) }
    }

    /// # Safety
    /// `at` is a multiple of the stride, below the ring's bytes.
    #[inline(always)]
    pub(super) unsafe fn slot_at(&self, at: u64) -> (&Slot<P>, *mut u8) {
        // SAFETY: the ring has `degree + 1` slots of `stride` bytes (checked when it was attached).
        unsafe { Self::words_and_bytes(self.ring, self.shape.offset, at) }
    }

    /// As `slot_at`, for as long as the ring lives.
    ///
    /// # Safety
    /// As `slot_at`; the ring lives as long as `'a`.
    #[inline(always)]
    pub(super) unsafe fn words_and_bytes<'a>(
        ring: NonNull<u8>,
        offset: u64,
        at: u64,
    ) -> (&'a Slot<P>, *mut u8) {
        // SAFETY: passed on.
        unsafe {
            let slot = ring.as_ptr().add(at as usize);
            (&*slot.cast::<Slot<P>>(), slot.add(offset as usize))
        }
    }

    /// Slots whose words are not made by zeroing.
    ///
    /// # Safety
    /// Nobody uses the ring yet.
    #[cfg(test)]
    pub unsafe fn make(&self) {
        for place in 0..=self.shape.degree {
            let zero = || P::U64::new(0);
            let slot = std::ptr::from_ref(self.slot(place).0).cast_mut();
            // SAFETY: inside the ring, by the caller's promise.
            unsafe { slot.write(Slot { word: zero(), length: zero(), ticket: zero() }) };
        }
    }

    /// Undoes `make`.
    ///
    /// # Safety
    /// Nobody uses the ring any more.
    #[cfg(test)]
    pub unsafe fn unmake(&self) {
        for place in 0..=self.shape.degree {
            // SAFETY: made by `make`.
            unsafe { std::ptr::from_ref(self.slot(place).0).cast_mut().drop_in_place() };
        }
    }

    /// FULL => READING and no further: a receiver that stops there. False: withdrawn.
    #[cfg(test)]
    pub fn begin_reading(&self, place: u64) -> bool {
        let slot = self.slot(place).0;
        let now = Word(slot.word.load(Acquire));
        now.state() == FULL && change(slot, now, READING).is_some()
    }

    /// EMPTY => FULL and no further: a sender that stops there.
    #[cfg(test)]
    pub fn put_and_stop(&self, place: u64, value: u64) {
        let (slot, to) = self.slot(place);
        // SAFETY: EMPTY: the sender's.
        unsafe { to.cast::<u64>().write_unaligned(value) };
        slot.length.store(8, Relaxed);
        slot.ticket.store(place, Relaxed);
        assert!(change(slot, Word(slot.word.load(Acquire)), FULL).is_some());
    }

    /// State and ticket of the slot of `place`.
    pub(super) fn look(&self, place: u64) -> (u8, u64) {
        let slot = self.slot(place).0;
        // Acquire: pairs with `change`; the ticket, and `head` before an emptied slot, are visible.
        let state = Word(slot.word.load(Acquire)).state();
        (state, slot.ticket.load(Relaxed))
    }

    /// Does a message wait in the slot of `place` that a receiver has had in hand?
    pub fn is_redelivered(&self, place: u64) -> bool {
        let now = Word(self.slot(place).0.word.load(Acquire));
        now.state() == FULL && now.slot() == REDELIVERED
    }

    /// The place of a sender's successor, who has just attached (N5).
    pub fn recover_tail(&self, tail: &P::U64, head: &P::U64) {
        let place = place_in::<P>(tail);
        // The last message was withdrawn, but `tail` not moved back: nobody read it, so `head` is not past it.
        if place != 0 && self.look(place - 1).0 == EMPTY && head.load(Relaxed) < place {
            tail.store(place - 1, Relaxed);
            return;
        }
        // A message was put, but `tail` not moved: it is still there, or it was read.
        let (state, ticket) = self.look(place);
        let put = if state == EMPTY { head.load(Relaxed) > place } else { ticket == place };
        if put {
            tail.store(place + 1, Relaxed);
        }
    }

    /// The place of a receiver's successor, who has just attached (N5): `head` was moved, but the slot not emptied.
    pub fn recover_head(&self, head: &P::U64) {
        let place = place_in::<P>(head);
        if let Some(before) = place.checked_sub(1) {
            let (state, ticket) = self.look(before);
            if state != EMPTY && ticket == before {
                head.store(before, Relaxed);
            }
        }
    }

    /// A receiver's successor has just attached: the dead one had said that it holds the parcel in the slot of `head`, and was killed
    /// before it gave the slot back. `claimed` is asked whether that is so; then the slot is EMPTY, and `head` has moved. True: the
    /// sender sleeps until it is.
    ///
    /// # Safety
    /// The messages are references.
    pub unsafe fn pass_over_claimed(&self, head: &P::U64, claimed: impl FnOnce([u64; 3]) -> bool) -> bool {
        let place = place_in::<P>(head);
        let (slot, bytes) = self.slot(place);
        let now = Word(slot.word.load(Acquire));
        // SAFETY: inside the slot, by the caller's promise; FULL, and we are the only receiver (N2).
        if now.state() != FULL || !claimed(unsafe { bytes.cast::<[u64; 3]>().read() }) {
            return false;
        }
        head.store(place + 1, Relaxed); // first: N5
        change(slot, now, EMPTY).unwrap_or(true)
    }

    /// The receiver is dead: READING => FULL. `still` as in `Line::settle_death`; idempotent, and safe to run in several
    /// processes at once.
    pub fn settle_receiver(&self, still: impl Fn() -> bool) {
        for place in 0..=self.shape.degree {
            let slot = self.slot(place).0;
            let now = Word(slot.word.load(Acquire));
            if now.state() == READING && still() {
                redeliver(slot, now);
            }
        }
    }

    /// The leaver's look at every slot (wait.rs, H2): a partner that was about to sleep sees the change, or is seen.
    pub fn touch(&self) {
        for place in 0..=self.shape.degree {
            self.slot(place).0.word.fetch_add(0, AcqRel);
        }
    }

    /// The references to parcels that wait in the slots or are being taken out of them: for a sweeper, who checks each against the
    /// block's own word. A slot is not EMPTY until whoever takes its parcel has said that it holds it.
    ///
    /// # Safety
    /// The messages are references.
    pub unsafe fn buffered(&self) -> Vec<[u64; 3]> {
        let full = (0..=self.shape.degree).filter(|&place| self.look(place).0 != EMPTY);
        // SAFETY: inside the slot, by the caller's promise. Volatile: it may be taken and written again meanwhile; whatever is
        // read is only a hint.
        full.map(|i| unsafe { self.slot(i).1.cast::<[u64; 3]>().read_volatile() }).collect()
    }
}

impl<P: Platform, G: Ground<P>> RingParty<'_, P, G> {
    /// `send`: puts, then waits if the buffer is full.
    ///
    /// # Safety
    /// The caller is the only sender; `bytes` are `length` readable bytes.
    pub unsafe fn send(
        &mut self,
        bytes: *const u8,
        length: usize,
        patience: Patience,
        counts: bool,
    ) -> Result<(), Stop> {
        let capacity = self.slots.shape.message_bytes_max;
        if length as u64 > capacity {
            return Err(Stop::TooLong { length: length as u64, capacity });
        }
        let deadline = match patience {
            Patience::Try => Some(Instant::now()),
            Patience::Until(deadline) => deadline,
        };
        let place = place_in::<P>(self.place);
        // Empty unless a withdrawal failed or the sender before us left in the middle.
        let empty = self.await_slot(place, EMPTY, deadline)?;
        let (slot, to) = self.slots.slot(place);
        slot.ticket.store(place, Relaxed);
        // SAFETY: EMPTY: the bytes are ours (N2).
        unsafe { self.copy(bytes, to, length, counts) };
        slot.length.store(length as u64, Relaxed);
        let asleep = change(slot, empty, FULL).ok_or(Stop::Corrupt)?;
        self.place.store(place + 1, Relaxed);
        self.wake_if(asleep);
        // Full? Then our last message waits with us.
        let known = self.memory.peer.get();
        match self.await_slot(place + 1, EMPTY, deadline) {
            Ok(_) => Ok(()),
            Err(stop) => {
                let (slot, _) = self.slots.slot(place);
                let full = Word::new(FULL, 0, empty.sequence() + 1);
                match change(slot, full, EMPTY) {
                    Some(asleep) => {
                        self.place.store(place, Relaxed);
                        self.wake_if(asleep);
                        Err(stop)
                    }
                    None => {
                        // It was taken; a loss is the next call's to report.
                        self.memory.peer.set(known);
                        Ok(())
                    }
                }
            }
        }
    }

    /// `receive`: gets the oldest message; gives its length.
    ///
    /// # Safety
    /// The caller is the only receiver; `to` is `capacity` writable bytes.
    pub unsafe fn receive(
        &mut self,
        to: *mut u8,
        capacity: usize,
        patience: Patience,
        counts: bool,
    ) -> Result<usize, Stop> {
        let deadline = match patience {
            Patience::Try => Some(Instant::now()),
            Patience::Until(deadline) => deadline,
        };
        let place = place_in::<P>(self.place);
        let full = loop {
            let full = self.await_slot(place, FULL, deadline)?;
            if change(self.slots.slot(place).0, full, READING).is_some() {
                break full;
            }
            // Withdrawn just now: wait for the next one.
        };
        let (slot, from) = self.slots.slot(place);
        let reading = Word::new(READING, 0, full.sequence() + 1);
        let length = slot.length.load(Relaxed);
        if length > capacity as u64 || length > self.slots.shape.message_bytes_max {
            change(slot, reading, FULL);
            return Err(Stop::TooLong { length, capacity: capacity as u64 });
        }
        // SAFETY: READING: the bytes are ours (N2); the length was checked.
        unsafe { self.copy(from, to, length as usize, counts) };
        self.place.store(place + 1, Relaxed);
        let asleep = change(slot, reading, EMPTY).unwrap_or(true);
        self.wake_if(asleep);
        Ok(length as usize)
    }

    /// Takes a message of `length` bytes in hand (basic): its bytes, the place, and whether a receiver had them in hand before.
    pub fn take_in_hand(&mut self, patience: Patience, length: u64) -> Result<(*const u8, u64, bool), Stop> {
        let deadline = patience.deadline();
        let place = self.place.load(Relaxed);
        let slots = self.slots;
        let (slot, bytes) = slots.slot(place);
        let (full, reading) = loop {
            let full = self.await_slot(place, FULL, deadline)?;
            if change_and(slot, full, READING, full.slot(), false).is_some() {
                break (full, Word::new(READING, full.slot(), full.sequence() + 1));
            }
            // Withdrawn just now: wait for the next one.
        };
        if slot.length.load(Relaxed) != length {
            redeliver(slot, reading);
            return Err(Stop::Corrupt);
        }
        Ok((bytes, place, full.slot() == REDELIVERED))
    }

    /// READING => EMPTY: the message in hand is the receiver's.
    pub fn give_back(&mut self) {
        let place = place_in::<P>(self.place);
        let slot = self.slots.slot(place).0;
        let now = Word(slot.word.load(Acquire));
        if now.state() == READING {
            self.place.store(place + 1, Relaxed); // first: N5
            let asleep = change(slot, now, EMPTY).unwrap_or(true);
            self.wake_if(asleep);
        }
    }

    /// READING => FULL: the holder of the end closes it with a message in hand.
    pub fn put_back(&mut self) {
        let slot = self.slots.slot(place_in::<P>(self.place)).0;
        let now = Word(slot.word.load(Acquire));
        if now.state() == READING {
            redeliver(slot, now);
        }
    }

    /// Waits until the slot is in `state`.
    fn await_slot(&mut self, place: u64, state: u8, deadline: Option<Instant>) -> Result<Word, Stop> {
        self.await_word(place, |now| now.state() == state, deadline)
    }

    /// Waits until the slot's word is as it should be. It ends with a change of the word that reports P.
    pub(super) fn await_word(
        &mut self,
        place: u64,
        good: impl Fn(Word) -> bool,
        deadline: Option<Instant>,
    ) -> Result<Word, Stop> {
        let slots = self.slots;
        let slot = slots.slot(place).0;
        let look = || {
            // Acquire: pairs with `change`.
            let now = Word(slot.word.load(Acquire));
            good(now).then_some(now)
        };
        if let Some(now) = look() {
            return Ok(now);
        }
        let mut waited = Waited::default();
        let (me, peer, ground) = (self.me, self.peer, self.ground);
        let memory = self.memory;
        let (policy, mut spinner) = (memory.wait.get(), memory.spinner.get());
        let woken = wait(
            policy,
            &mut spinner,
            deadline,
            &mut waited,
            || ground.own_pcb(),
            || {
                if let Some(now) = look() {
                    return Some(Ok(now));
                }
                if ground.is_called_away() {
                    return Some(Err(Stop::CalledAway));
                }
                let end = peer.end();
                if memory.is_known(end) {
                    return None;
                }
                // It may have put its last message before it left: then the loss is for the next call to report.
                if let Some(now) = look() {
                    return Some(Ok(now));
                }
                memory.lost_partner(end, peer.died()).map(|gone| Err(Stop::Gone(gone)))
            },
            |pcb_ref| {
                me.set_pcb_ref(pcb_ref);
                let now = Word(slot.word.load(Acquire));
                // Also where P is already, from an earlier wait: the exchange publishes who sleeps now.
                !good(now) && slot.word.compare_exchange(now.0, now.parked().0, AcqRel, Relaxed).is_ok()
            },
        );
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }

    /// `counts`: the bytes are a message's, not a reference to one.
    ///
    /// # Safety
    /// As `Tally::copy`.
    pub(super) unsafe fn copy(&self, from: *const u8, to: *mut u8, length: usize, counts: bool) {
        // SAFETY: passed on.
        unsafe {
            if counts {
                self.tally.copy(from, to, length);
            } else {
                std::ptr::copy(from, to, length);
            }
        }
    }

    /// Wakes the partner if a change said that it sleeps.
    pub fn wake_if(&self, asleep: bool) {
        if asleep {
            self.tally.woke();
            self.ground.wake(self.peer.pcb_ref());
        }
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Slot<Native> { word, length, ticket })]
}

#[cfg(test)]
pub(crate) fn states() -> [(&'static str, u64); 4] {
    [
        ("ring::EMPTY", EMPTY.into()),
        ("ring::FULL", FULL.into()),
        ("ring::READING", READING.into()),
        ("ring::REDELIVERED", REDELIVERED.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slots_that_are_used_in_turn_share_a_line() {
        let stride = |bytes, align| Shape::in_turn(1024, bytes, align).unwrap().stride;
        assert_eq!(
            [stride(0, 8), stride(8, 8), stride(9, 8), stride(40, 8), stride(41, 8)],
            [32, 32, 64, 64, 128]
        );
        assert_eq!([stride(8, 32), stride(0, 32), stride(16, 16), stride(8, 64)], [64, 32, 64, 128]);
        assert_eq!(Shape::new(1024, 8, 8).unwrap().stride, 64, "a line for each where many use them");
        assert_eq!(Shape::in_turn(u64::MAX, 8, 8), None);
    }
}
