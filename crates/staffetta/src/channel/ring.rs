//! The basic channel: the textbook's, any degree K, two copies. Kept honest, to be measured against.
//!
//! `buffer[k+1]` is a ring of slots, each with a state word; a send puts first and blocks afterwards if the
//! buffer is full, as in the theory. `sender_wait` and `receiver_wait` are the bit P of the slot's word
//! that the waiting side waits for (`memory::word`, W1), so both primitives are indivisible without a lock.
//!
//! | slot's state | means | left by |
//! |---|---|---|
//! | EMPTY | may be written; P: the receiver sleeps until it is FULL | sender: put |
//! | FULL | holds a message; P: the sender sleeps until it is EMPTY | receiver: READING; sender: withdraw |
//! | READING | the receiver copies it out | receiver: EMPTY, or FULL if its target was too small |
//!
//! N1. The sequence of a slot's word grows with every change but P.
//! N2. The bytes of a slot are the sender's while EMPTY, nobody's while FULL, the receiver's while READING.
//! N3. `tail` is written only by the holder of the sending end, `head` by that of the receiving end: a successor
//!     goes on where the one before stopped. Commit points: EMPTY => FULL, and FULL => READING.

#![allow(unsafe_code)] // The slots' bytes are raw memory: N2 says whose they are.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Instant;

use super::rendezvous::{Ground, Memory, Patience, Stop};
use super::side::Side;
use super::tally::Tally;
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const READING: u8 = 2;

/// A slot's words before its bytes.
#[repr(C)]
struct Slot {
    word: AtomicU64,
    length: AtomicU64,
}
const SLOT_BYTES: u64 = size_of::<Slot>() as u64;

/// Bytes of one slot for messages of at most `message_bytes_max`.
pub fn stride(message_bytes_max: u64) -> Option<u64> {
    message_bytes_max.checked_add(SLOT_BYTES)?.checked_next_multiple_of(64)
}

/// One party of a basic channel.
pub struct RingParty<'c, G: Ground<Native>> {
    /// The slots, `degree + 1` of them, `stride` bytes apart; zero at first.
    pub ring: NonNull<u8>,
    /// K.
    pub degree: u64,
    /// Longest message.
    pub message_bytes_max: u64,
    /// This side's place: `head` or `tail` (N3).
    pub place: &'c AtomicU64,
    /// This side.
    pub me: &'c Side,
    /// The partner's side.
    pub peer: &'c Side,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this side.
    pub tally: &'c Tally,
    /// What this side remembers.
    pub memory: &'c mut Memory,
}

impl<G: Ground<Native>> RingParty<'_, G> {
    fn slot(&self, place: u64) -> (&Slot, *mut u8) {
        let stride = stride(self.message_bytes_max).unwrap_or(0);
        let at = (place % (self.degree + 1)) * stride;
        // SAFETY: the ring has `degree + 1` slots of `stride` bytes (checked when it was attached).
        unsafe {
            let slot = self.ring.as_ptr().add(at as usize);
            (&*slot.cast::<Slot>(), slot.add(SLOT_BYTES as usize))
        }
    }

    /// From `from` (with or without P) to `state`, next sequence. Some(P was set), or None if it is no longer `from`.
    fn change(slot: &Slot, from: Word, state: u8) -> Option<bool> {
        let mut now = from;
        loop {
            let to = Word::new(state, 0, from.sequence() + 1);
            // AcqRel: releases the bytes (N2) to the other side, acquires what it did to them before.
            match slot.word.compare_exchange(now.0, to.0, AcqRel, Acquire) {
                Ok(_) => return Some(now.is_parked()),
                Err(found) if Word(found).awake() == from.awake() => now = Word(found),
                Err(_) => return None,
            }
        }
    }

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
        if length as u64 > self.message_bytes_max {
            return Err(Stop::TooLong { length: length as u64, capacity: self.message_bytes_max });
        }
        let deadline = match patience {
            Patience::Try => Some(Instant::now()),
            Patience::Until(deadline) => deadline,
        };
        let place = self.place.load(Relaxed);
        // Empty unless a withdrawal failed or the sender before us left in the middle.
        let empty = self.await_slot(place, EMPTY, deadline)?;
        let (slot, to) = self.slot(place);
        // SAFETY: EMPTY: the bytes are ours (N2).
        unsafe { self.copy(bytes, to, length, counts) };
        slot.length.store(length as u64, Relaxed);
        let asleep = Self::change(slot, empty, FULL).ok_or(Stop::Corrupt)?;
        self.place.store(place + 1, Relaxed);
        self.wake_if(asleep);
        // Full? Then our last message waits with us.
        match self.await_slot(place + 1, EMPTY, deadline) {
            Ok(_) => Ok(()),
            Err(stop) => {
                let (slot, _) = self.slot(place);
                let full = Word::new(FULL, 0, empty.sequence() + 1);
                match Self::change(slot, full, EMPTY) {
                    Some(asleep) => {
                        self.place.store(place, Relaxed);
                        self.wake_if(asleep);
                        Err(stop)
                    }
                    None => Ok(()), // it was taken
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
        let place = self.place.load(Relaxed);
        let full = self.await_slot(place, FULL, deadline)?;
        let (slot, from) = self.slot(place);
        if Self::change(slot, full, READING).is_none() {
            // Withdrawn just now: wait for the next one.
            // SAFETY: passed on.
            return unsafe { self.receive(to, capacity, Patience::Until(deadline), counts) };
        }
        let reading = Word::new(READING, 0, full.sequence() + 1);
        let length = slot.length.load(Relaxed);
        if length > capacity as u64 || length > self.message_bytes_max {
            Self::change(slot, reading, FULL);
            return Err(Stop::TooLong { length, capacity: capacity as u64 });
        }
        // SAFETY: READING: the bytes are ours (N2); the length was checked.
        unsafe { self.copy(from, to, length as usize, counts) };
        self.place.store(place + 1, Relaxed);
        let asleep = Self::change(slot, reading, EMPTY).unwrap_or(true);
        self.wake_if(asleep);
        Ok(length as usize)
    }

    /// Waits until the slot is in `state`.
    fn await_slot(&mut self, place: u64, state: u8, deadline: Option<Instant>) -> Result<Word, Stop> {
        let slot: *const Slot = self.slot(place).0;
        // SAFETY: the ring outlives `self` (it is part of the channel); a second borrow, since `self` is split below.
        let slot = unsafe { &*slot };
        let look = || {
            // Acquire: pairs with `change`.
            let now = Word(slot.word.load(Acquire));
            (now.state() == state).then_some(now)
        };
        if let Some(now) = look() {
            return Ok(now);
        }
        let mut waited = Waited::default();
        let (me, peer, ground) = (self.me, self.peer, self.ground);
        let memory = &mut *self.memory;
        let (policy, mut spinner) = (memory.wait, memory.spinner.clone());
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
                let end = peer.end();
                // It may have put its last message before it left.
                memory.lost_partner(end).then(|| look().ok_or(Stop::Gone(end)))
            },
            |pcb_ref| {
                me.set_pcb_ref(pcb_ref);
                let now = Word(slot.word.load(Acquire));
                now.state() != state
                    && (now.is_parked()
                        || slot.word.compare_exchange(now.0, now.parked().0, AcqRel, Relaxed).is_ok())
            },
        );
        self.memory.spinner = spinner;
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
    unsafe fn copy(&self, from: *const u8, to: *mut u8, length: usize, counts: bool) {
        // SAFETY: passed on.
        unsafe {
            if counts {
                self.tally.copy(from, to, length);
            } else {
                std::ptr::copy_nonoverlapping(from, to, length);
            }
        }
    }

    fn wake_if(&self, asleep: bool) {
        if asleep {
            self.tally.woke();
            self.ground.wake(self.peer.pcb_ref());
        }
    }
}

/// The leaver's look at every slot (wait.rs, H2): a partner that was about to sleep sees the change, or is seen.
///
/// # Safety
/// `ring` has `degree + 1` slots for messages of `message_bytes_max`.
pub unsafe fn touch(ring: NonNull<u8>, degree: u64, message_bytes_max: u64) {
    let stride = stride(message_bytes_max).unwrap_or(0);
    for i in 0..=degree {
        // SAFETY: inside the ring, by the caller's promise.
        let slot = unsafe { &*ring.as_ptr().add((i * stride) as usize).cast::<Slot>() };
        slot.word.fetch_add(0, AcqRel);
    }
}

/// The references to parcels that the slots hold, or held last: for a sweeper, who checks each
/// against the block's own word.
///
/// # Safety
/// `ring` has `degree + 1` slots for references.
pub unsafe fn references(ring: NonNull<u8>, degree: u64, message_bytes_max: u64) -> Vec<[u64; 3]> {
    let stride = stride(message_bytes_max).unwrap_or(0);
    (0..=degree)
        .map(|i| {
            // SAFETY: inside the ring, by the caller's promise. Volatile: a survivor may be reading or writing it;
            // whatever is read is only a hint.
            unsafe {
                let slot = ring.as_ptr().add((i * stride + SLOT_BYTES) as usize);
                slot.cast::<[u64; 3]>().read_volatile()
            }
        })
        .collect()
}
