//! What a protocol needs from the machine: atomic words and a way to sleep on one.
//!
//! Every protocol of this crate (rendezvous, basic ring, sleep handshake, ready list, free lists) is
//! written once, against [`Platform`], and takes references to its words; it never asks where they
//! live. [`Native`] is the hardware and the shared futex; the model checkers bring their own.
//!
//! This file does not decide *when* to spin or sleep: that is `process::wait`.

#![allow(unsafe_code)] // `Hold` is shared memory that is not atomic: its contract is the proof obligation.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{compiler_fence, fence, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::os;

/// An atomic 64-bit word.
pub trait Word64: Send + Sync {
    /// A word that holds `value`.
    fn new(value: u64) -> Self;
    /// Atomic load.
    fn load(&self, order: Ordering) -> u64;
    /// Atomic store.
    fn store(&self, value: u64, order: Ordering);
    /// Atomic compare-exchange; `Err` holds what was found.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
    /// Atomic addition; returns the value before.
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    /// Sets bits; returns the value before.
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64;
    /// Keeps only these bits; returns the value before.
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64;
}

/// An atomic 32-bit word that can be slept on.
pub trait Word32: Send + Sync {
    /// A word that holds `value`.
    fn new(value: u32) -> Self;
    /// Atomic load.
    fn load(&self, order: Ordering) -> u32;
    /// Atomic addition; returns the value before.
    fn fetch_add(&self, value: u32, order: Ordering) -> u32;
}

/// Words of a [`Hold`].
pub const HOLD_WORDS: usize = 3;
/// What a [`Hold`] holds: bytes, some of which may be padding.
pub type HoldBytes = [MaybeUninit<u64>; HOLD_WORDS];

/// A few bytes of shared memory that are *not* atomic: the protocol around them says who may touch
/// them when. A type of its own so that a model checker can watch every access.
pub trait Hold: Send + Sync {
    /// All uninitialised.
    fn new() -> Self;
    /// Runs `f` with a pointer for writing.
    ///
    /// # Safety
    /// Nobody else may access the bytes meanwhile.
    unsafe fn write<R>(&self, f: impl FnOnce(*mut HoldBytes) -> R) -> R;
    /// Runs `f` with a pointer for reading.
    ///
    /// # Safety
    /// Nobody may write the bytes meanwhile.
    unsafe fn read<R>(&self, f: impl FnOnce(*const HoldBytes) -> R) -> R;
}

/// The machine under a protocol.
pub trait Platform: Sized + 'static {
    /// 64-bit atomic.
    type U64: Word64;
    /// 32-bit atomic.
    type U32: Word32;
    /// A few bytes guarded by a protocol.
    type Hold: Hold;

    /// How many steps a busy wait takes before it looks at anything but the word that it waits for: a
    /// microsecond or two; 0 where the partner may need this very core.
    fn eager_steps() -> u64;
    /// One step of a busy wait. `steps` counts them from the beginning of this wait.
    fn relax(steps: u64);
    /// The same for the first steps of a wait, when the partner is likely to be on another core.
    fn relax_briefly(steps: u64);
    /// Leaves the line to the partner after look number `look` (from 0) in vain; gives the steps that it took. Long enough for an
    /// answer after the first look, shorter afterwards.
    fn stand_back(look: u64) -> u64;
    /// Sleeps while `word` holds `expected`; may return early for no reason.
    fn sleep(word: &Self::U32, expected: u32, deadline: Option<Instant>);
    /// Wakes whoever sleeps on `word`.
    fn wake(word: &Self::U32);
    /// Does nothing for so long, or until the deadline.
    fn rest(ns: u64, deadline: Option<Instant>);
    /// The monotonic clock, nanoseconds; 0 where there is none.
    fn now_ns() -> u64;
    /// Between a read-modify-write of one word and a load of another: the load is not done before. As a fence that is
    /// sequentially consistent; where the read-modify-write is one already it costs nothing.
    fn fence_after_rmw();
}

/// The hardware's atomics and the kernel's shared futex.
#[derive(Debug)]
pub enum Native {}

impl Word64 for AtomicU64 {
    #[inline(always)]
    fn new(value: u64) -> Self {
        AtomicU64::new(value)
    }
    #[inline(always)]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }
    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }
    #[inline(always)]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        AtomicU64::compare_exchange(self, current, new, success, failure)
    }
    #[inline(always)]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_add(self, value, order)
    }
    #[inline(always)]
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_or(self, bits, order)
    }
    #[inline(always)]
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_and(self, bits, order)
    }
}

impl Word32 for AtomicU32 {
    #[inline(always)]
    fn new(value: u32) -> Self {
        AtomicU32::new(value)
    }
    #[inline(always)]
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }
    #[inline(always)]
    fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        AtomicU32::fetch_add(self, value, order)
    }
}

/// Plain shared bytes.
#[repr(transparent)]
pub struct NativeHold(UnsafeCell<HoldBytes>);

// SAFETY: every access goes through `Hold`, whose contract excludes conflicting ones.
unsafe impl Sync for NativeHold {}

impl Hold for NativeHold {
    fn new() -> Self {
        NativeHold(UnsafeCell::new([MaybeUninit::uninit(); HOLD_WORDS]))
    }
    #[inline(always)]
    unsafe fn write<R>(&self, f: impl FnOnce(*mut HoldBytes) -> R) -> R {
        f(self.0.get())
    }
    #[inline(always)]
    unsafe fn read<R>(&self, f: impl FnOnce(*const HoldBytes) -> R) -> R {
        f(self.0.get())
    }
}

impl Platform for Native {
    type U64 = AtomicU64;
    type U32 = AtomicU32;
    type Hold = NativeHold;

    #[inline(always)]
    fn eager_steps() -> u64 {
        const STEPS: u64 = 64;
        if os::affinity::steps_per_yield() > STEPS {
            STEPS
        } else {
            0
        }
    }

    #[inline(always)]
    fn relax(steps: u64) {
        std::hint::spin_loop();
        // A spinning process gives its core away now and then: its partner may be waiting for exactly this one.
        let per_yield = os::affinity::steps_per_yield(); // a power of two
        if steps & (per_yield - 1) == per_yield - 1 {
            os::affinity::yield_now();
        }
    }

    #[inline(always)]
    fn relax_briefly(_steps: u64) {
        std::hint::spin_loop();
    }

    #[inline(always)]
    fn stand_back(look: u64) -> u64 {
        os::pause::stand_back(look)
    }

    fn sleep(word: &AtomicU32, expected: u32, deadline: Option<Instant>) {
        // A deadline beyond the clock's end is none.
        os::futex::wait(word, expected, deadline.and_then(os::futex::Deadline::at));
    }

    fn wake(word: &AtomicU32) {
        os::futex::wake(word, 1);
    }

    fn rest(ns: u64, deadline: Option<Instant>) {
        let ns = Duration::from_nanos(ns);
        let left = deadline.map_or(ns, |deadline| deadline.saturating_duration_since(Instant::now()));
        std::thread::sleep(ns.min(left));
    }

    fn now_ns() -> u64 {
        os::clock::monotonic_ns()
    }

    #[inline(always)]
    fn fence_after_rmw() {
        // A locked instruction of x86-64 is a full fence; only the compiler has to be told.
        if cfg!(all(target_arch = "x86_64", not(miri))) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }
}

/// Asks for the cache line at `address` as one that is about to be written: it then travels once, where a read followed by
/// a write would move it twice. A hint: never faults, changes nothing.
#[inline(always)]
pub fn prefetch_for_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads and writes nothing, whatever the address; x86-64 processors without the
    // instruction take it for a no-op.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = address;
}
