//! The PCB: the shared record of one entity that can wait. Today that entity is a thread.
//!
//! A sleeper sleeps on one word, `wakes`, that every reason to wake it increments: a partner that
//! arrived, one that left, one that died. So a waiter has one place to sleep, whatever it waits for.
//!
//! P1. `wakes` only grows; a waker increments it *before* it asks the kernel to wake. A sleeper reads
//!     it before it announces itself, so a wake-up after the announcement cannot be missed.
//! P2. A PCB that was given to another thread may still be woken by a late waker: a wake-up is a hint
//!     to look again, never a promise.
//! P3. What a PCB says of its wait (`waits_for` to `asleep`) is for people (`inspect::doctor`): its thread writes it when it is
//!     about to sleep, and no protocol reads it. `asleep` is written last, and taken back first.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;

use crate::memory::platform::{Native, Platform, Word32, Word64};

/// The shared record of one entity that can wait.
#[repr(C, align(64))]
pub struct Pcb<P: Platform = Native> {
    /// Counts wake-ups; the word that is slept on.
    wakes: P::U32,
    /// Thread id of its thread, in its own pid namespace: to show to people.
    pub(crate) thread: AtomicU32,
    /// Who holds this PCB: 0, or process slot + 1 (bits 0..16) and the slot's generation (bits 16..64).
    pub(crate) holder: P::U64,
    /// When the last waker rang, in nanoseconds of the monotonic clock: measures what a park costs.
    pub(crate) rung_ns: P::U64,
    /// Link of the list in which the PCB waits for its turn (a reference; 0 ends the list).
    pub(crate) next: P::U64,
    /// What its thread waits for, or waited for last (`channel::waits`).
    pub(crate) waits_for: AtomicU64,
    /// When it began to sleep, or to be busy waiting: nanoseconds of the monotonic clock.
    pub(crate) since_ns: AtomicU64,
    /// Until when it waits; all ones: for ever.
    pub(crate) until_ns: AtomicU64,
    /// 0: it does not wait. [`SLEEPS`] and the ticket that it sleeps with, or [`SPINS`] and how often it said so.
    pub(crate) asleep: AtomicU64,
}

/// In `asleep`: it sleeps, or is about to, unless `wakes` is no longer the ticket in the low half.
pub const SLEEPS: u64 = 1 << 32;
/// In `asleep`: it is busy waiting; the low half counts on while it looks.
pub const SPINS: u64 = 2 << 32;

impl<P: Platform> Pcb<P> {
    /// A PCB that nobody holds.
    pub fn new() -> Self {
        Pcb {
            wakes: P::U32::new(0),
            thread: AtomicU32::new(0),
            holder: P::U64::new(0),
            rung_ns: P::U64::new(0),
            next: P::U64::new(0),
            waits_for: AtomicU64::new(0),
            since_ns: AtomicU64::new(0),
            until_ns: AtomicU64::new(0),
            asleep: AtomicU64::new(0),
        }
    }

    /// Its thread waits since `since_ns`, as `asleep` says (P3).
    pub fn tell(&self, since_ns: u64, until_ns: u64, asleep: u64) {
        self.since_ns.store(since_ns, Relaxed);
        self.until_ns.store(until_ns, Relaxed);
        self.asleep.store(asleep, Release);
    }

    /// Its thread does not wait any more (P3).
    pub fn tell_awake(&self) {
        self.asleep.store(0, Relaxed);
    }

    /// A ticket to sleep with; take it before announcing.
    #[inline]
    pub fn ticket(&self) -> u32 {
        // Acquire pairs with the Release in `wake_up`: what the waker wrote is visible.
        self.wakes.load(Acquire)
    }

    /// Sleeps until somebody wakes this PCB after `ticket` was taken, or `deadline`; may return early.
    pub fn sleep(&self, ticket: u32, deadline: Option<Instant>) {
        P::sleep(&self.wakes, ticket, deadline);
    }

    /// wake_up(pcb) of the theory.
    pub fn wake_up(&self, now_ns: u64) {
        self.rung_ns.store(now_ns, Relaxed);
        // P1: first the word, then the kernel.
        self.wakes.fetch_add(1, Release);
        P::wake(&self.wakes);
    }
}

impl<P: Platform> Default for Pcb<P> {
    fn default() -> Self {
        Pcb::new()
    }
}

const _: () = assert!(size_of::<Pcb>() == 64);

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Pcb {
        wakes,
        thread,
        holder,
        rung_ns,
        next,
        waits_for,
        since_ns,
        until_ns,
        asleep
    })]
}
