//! The PCB: the shared record of one entity that can wait. Today that entity is a thread.
//!
//! A sleeper sleeps on one word, `wakes`, that every reason to wake it increments: a partner that
//! arrived, one that left, one that died. So a waiter has one place to sleep, whatever it waits for.
//!
//! P1. `wakes` only grows; a waker increments it *before* it asks the kernel to wake. A sleeper reads
//!     it before it announces itself, so a wake-up after the announcement cannot be missed.
//! P2. A PCB that was given to another thread may still be woken by a late waker: a wake-up is a hint
//!     to look again, never a promise.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use crate::memory::platform::{Native, Platform, Word32, Word64};

/// The shared record of one entity that can wait.
#[repr(C, align(64))]
pub struct Pcb<P: Platform = Native> {
    /// Counts wake-ups; the word that is slept on.
    wakes: P::U32,
    pad: u32,
    /// Who holds this PCB: 0, or process slot + 1 (bits 0..16) and the slot's generation (bits 16..64).
    pub(crate) holder: P::U64,
    /// When the last waker rang, in nanoseconds of the monotonic clock: measures what a park costs.
    pub(crate) rung_ns: P::U64,
    /// Link of the list in which the PCB waits for its turn (a reference; 0 ends the list).
    pub(crate) next: P::U64,
    reserved: [u64; 4],
}

impl<P: Platform> Pcb<P> {
    /// A PCB that nobody holds.
    pub fn new() -> Self {
        Pcb {
            wakes: P::U32::new(0),
            pad: 0,
            holder: P::U64::new(0),
            rung_ns: P::U64::new(0),
            next: P::U64::new(0),
            reserved: [0; 4],
        }
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
    vec![crate::memory::layout::layout!(Pcb { wakes, pad, holder, rung_ns, next, reserved })]
}
