//! The counters of one side of a channel, and the one function that copies message bytes.
//!
//! Zero-copy is proven, not promised: everything that copies bytes of a message does it through
//! [`Tally::copy`], which counts them in shared memory, where anyone can read them.
//!
//! T1. A tally is written only by the holder of its end, so an addition is a load and a store, in a
//!     line that its writer owns.

#![allow(unsafe_code)] // The one copy of raw message bytes.

use std::sync::atomic::Ordering::Relaxed;

use crate::memory::platform::{Native, Platform, Word64};
use crate::process::wait::Waited;

/// Counters of one side of a channel, in shared memory.
#[repr(C, align(64))]
pub struct Tally<P: Platform = Native> {
    messages: P::U64,
    bytes: P::U64,
    bytes_copied: P::U64,
    waits: P::U64,
    parks: P::U64,
    wake_ups: P::U64,
    spins: P::U64,
    dropped: P::U64,
}

const _: () = assert!(size_of::<Tally>() == 64);

/// A reading of one side's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideCounters {
    /// Messages that this side sent or received.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that this side copied to do so: 0 for parcels.
    pub bytes_copied: u64,
    /// Times this side came first and had to wait.
    pub waits: u64,
    /// Times it slept.
    pub parks: u64,
    /// Times it woke a sleeping partner.
    pub wake_ups: u64,
    /// Steps of busy waiting.
    pub spins: u64,
    /// Time spent in them, nanoseconds: steps times what a step costs, measured in the process that reads.
    pub spin_ns: u64,
    /// Messages that this side dropped for want of room.
    pub dropped: u64,
}

impl std::ops::Add for SideCounters {
    type Output = SideCounters;
    // Wrapping: a peer may have written anything there.
    fn add(self, more: SideCounters) -> SideCounters {
        SideCounters {
            messages: self.messages.wrapping_add(more.messages),
            bytes: self.bytes.wrapping_add(more.bytes),
            bytes_copied: self.bytes_copied.wrapping_add(more.bytes_copied),
            waits: self.waits.wrapping_add(more.waits),
            parks: self.parks.wrapping_add(more.parks),
            wake_ups: self.wake_ups.wrapping_add(more.wake_ups),
            spins: self.spins.wrapping_add(more.spins),
            spin_ns: self.spin_ns.wrapping_add(more.spin_ns),
            dropped: self.dropped.wrapping_add(more.dropped),
        }
    }
}

impl<P: Platform> Tally<P> {
    /// All zero.
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        Tally {
            messages: zero(),
            bytes: zero(),
            bytes_copied: zero(),
            waits: zero(),
            parks: zero(),
            wake_ups: zero(),
            spins: zero(),
            dropped: zero(),
        }
    }

    #[inline(always)]
    fn add(word: &P::U64, more: u64) {
        // T1: nobody else writes. Relaxed: a counter publishes nothing.
        word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Copies `length` bytes of a message, and counts them.
    ///
    /// The two may overlap: where they are may come from a peer.
    ///
    /// # Safety
    /// As `ptr::copy`.
    #[inline(always)]
    pub unsafe fn copy(&self, from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: passed on to the caller.
        unsafe { std::ptr::copy(from, to, length) };
        Self::add(&self.bytes_copied, length as u64);
    }

    /// The kernel has copied `length` bytes of a message for us.
    pub fn copied(&self, length: usize) {
        Self::add(&self.bytes_copied, length as u64);
    }

    /// One message of `length` bytes was handed over.
    #[inline(always)]
    pub fn message(&self, length: usize) {
        Self::add(&self.messages, 1);
        Self::add(&self.bytes, length as u64);
    }

    /// This side waited.
    #[inline(always)]
    pub fn waited(&self, waited: &Waited) {
        Self::add(&self.waits, 1);
        Self::add(&self.spins, waited.spins);
        if waited.parks != 0 {
            Self::add(&self.parks, waited.parks);
        }
    }

    /// This side looked so often whether the partner comes.
    #[inline(always)]
    pub fn spun(&self, steps: u64) {
        Self::add(&self.spins, steps);
    }

    /// This side woke its partner.
    pub fn woke(&self) {
        Self::add(&self.wake_ups, 1);
    }

    /// This side dropped a message.
    pub fn dropped(&self) {
        Self::add(&self.dropped, 1);
    }

    /// All zero again, of a channel that begins where another one was. Nobody holds an end of it yet (T1).
    pub fn reset(&self) {
        let Tally { messages, bytes, bytes_copied, waits, parks, wake_ups, spins, dropped } = self;
        for word in [messages, bytes, bytes_copied, waits, parks, wake_ups, spins, dropped] {
            word.store(0, Relaxed);
        }
    }

    /// The counters now. They are read one by one: a reading taken while messages pass may be off by one.
    pub fn read(&self) -> SideCounters {
        let spins = self.spins.load(Relaxed);
        SideCounters {
            spins,
            spin_ns: (u128::from(spins) * u128::from(crate::os::pause::step_ps()) / 1000) as u64,
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_copied: self.bytes_copied.load(Relaxed),
            waits: self.waits.load(Relaxed),
            parks: self.parks.load(Relaxed),
            wake_ups: self.wake_ups.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

impl<P: Platform> Default for Tally<P> {
    fn default() -> Self {
        Tally::new()
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Tally {
        messages,
        bytes,
        bytes_copied,
        waits,
        parks,
        wake_ups,
        spins,
        dropped
    })]
}
