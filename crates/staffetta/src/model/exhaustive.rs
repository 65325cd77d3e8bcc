//! Loom as a platform and a checker, and how a model is explored by it.

#![allow(unsafe_code)] // `Hold` over loom's watched cell.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64 as Counter, Ordering};
use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::sync::{Condvar, Mutex};

use super::checker::{Checker, Watched};
use crate::memory::platform::{Hold, HoldBytes, Platform, Word32, Word64, HOLD_WORDS};

/// Loom's atomics; the futex is a mutex and a condition variable.
pub enum Loom {}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

thread_local! {
    /// Before which of its steps the actor stops that is to stop, if one is. Loom's threads are all on the test's own.
    static STOP_AT: Cell<Option<u64>> = const { Cell::new(None) };
    /// In how many executions it did.
    static STOPPED: Cell<u64> = const { Cell::new(0) };
}

loom::thread_local! {
    /// How many steps this actor goes on before it stops.
    static STEPS_LEFT: Cell<Option<u64>> = Cell::new(None);
}

/// What is thrown where an actor stops for good.
struct Stopped;

/// Each atomic step begins here.
#[inline]
fn step() {
    if STOP_AT.get().is_some() {
        STEPS_LEFT.with(|left| match left.get() {
            None => {}
            Some(0) => {
                left.set(None);
                std::panic::resume_unwind(Box::new(Stopped));
            }
            Some(steps) => left.set(Some(steps - 1)),
        });
    }
}

/// Runs `f` by the actor that stops somewhere (`explore_stops`): it does nothing more from there on. True: it stopped.
pub fn stops(f: impl FnOnce()) -> bool {
    STEPS_LEFT.with(|left| left.set(STOP_AT.get()));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    STEPS_LEFT.with(|left| left.set(None));
    match ended {
        Ok(()) => false,
        Err(why) if why.is::<Stopped>() => {
            STOPPED.set(STOPPED.get() + 1);
            true
        }
        Err(why) => std::panic::resume_unwind(why),
    }
}

/// As `Checker::quiet`.
pub fn quiet<R>(f: impl FnOnce() -> R) -> R {
    QUIET.set(true);
    let made = f();
    QUIET.set(false);
    made
}

impl Checker for Loom {
    type Cell<T: Send> = LoomCell<T>;

    fn quiet<R>(f: impl FnOnce() -> R) -> R {
        quiet(f)
    }
}

/// Loom's own.
pub struct LoomCell<T>(UnsafeCell<T>);

impl<T> Watched<T> for LoomCell<T> {
    fn new(value: T) -> Self {
        LoomCell(UnsafeCell::new(value))
    }
    fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

pub enum LoomU64 {
    Watched(AtomicU64),
    Quiet(Counter),
}

macro_rules! either {
    ($self:ident, $word:ident => $body:expr) => {
        match $self {
            LoomU64::Watched($word) => {
                step();
                $body
            }
            LoomU64::Quiet($word) => $body,
        }
    };
}

impl Word64 for LoomU64 {
    fn new(value: u64) -> Self {
        if QUIET.get() {
            LoomU64::Quiet(Counter::new(value))
        } else {
            LoomU64::Watched(AtomicU64::new(value))
        }
    }
    fn load(&self, order: Ordering) -> u64 {
        either!(self, w => w.load(order))
    }
    fn store(&self, value: u64, order: Ordering) {
        either!(self, w => w.store(value, order));
    }
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        either!(self, w => w.compare_exchange(current, new, success, failure))
    }
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        either!(self, w => w.fetch_add(value, order))
    }
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        either!(self, w => w.fetch_or(bits, order))
    }
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        either!(self, w => w.fetch_and(bits, order))
    }
}

pub struct LoomU32 {
    word: AtomicU32,
    bucket: Mutex<()>,
    sleepers: Condvar,
}

impl Word32 for LoomU32 {
    fn new(value: u32) -> Self {
        LoomU32 { word: AtomicU32::new(value), bucket: Mutex::new(()), sleepers: Condvar::new() }
    }
    fn load(&self, order: Ordering) -> u32 {
        step();
        self.word.load(order)
    }
    fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        step();
        self.word.fetch_add(value, order)
    }
}

pub struct LoomHold(UnsafeCell<HoldBytes>);

// SAFETY: loom reports conflicting accesses.
unsafe impl Sync for LoomHold {}
// SAFETY: as above.
unsafe impl Send for LoomHold {}

impl Hold for LoomHold {
    fn new() -> Self {
        LoomHold(UnsafeCell::new([MaybeUninit::new(0); HOLD_WORDS]))
    }
    unsafe fn write<R>(&self, f: impl FnOnce(*mut HoldBytes) -> R) -> R {
        self.0.with_mut(f)
    }
    unsafe fn read<R>(&self, f: impl FnOnce(*const HoldBytes) -> R) -> R {
        self.0.with(f)
    }
}

impl Platform for Loom {
    type U64 = LoomU64;
    type U32 = LoomU32;
    type Hold = LoomHold;

    fn eager_steps() -> u64 {
        1
    }

    fn relax(_steps: u64) {
        loom::thread::yield_now();
    }

    fn relax_briefly(steps: u64) {
        Self::relax(steps);
    }

    fn stand_back(look: u64) -> u64 {
        Self::relax(look);
        1
    }

    // As the kernel's: the word is compared under the lock of its hash bucket, which a waker takes too.
    fn sleep(word: &LoomU32, expected: u32, deadline: Option<Instant>) {
        step();
        let bucket = word.bucket.lock().unwrap();
        // Relaxed: ordered by the bucket's lock alone.
        if word.word.load(Ordering::Relaxed) == expected && deadline.is_none() {
            drop(word.sleepers.wait(bucket).unwrap());
        }
    }

    fn wake(word: &LoomU32) {
        step();
        drop(word.bucket.lock().unwrap());
        word.sleepers.notify_all();
    }

    fn rest(_ns: u64, _deadline: Option<Instant>) {
        loom::thread::yield_now();
    }

    fn now_ns() -> u64 {
        0
    }

    fn fence_after_rmw() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Explores `model`, and prints how many executions there were.
pub fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    explore_within(2, name, model);
}

/// With more threads: fewer preemptions, unless asked for.
pub fn explore_within(preemptions: usize, name: &str, model: impl Fn() + Sync + Send + 'static) {
    let executions = Arc::new(Counter::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let bound = builder.preemption_bound;
    let counted = executions.clone();
    let began = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!(
        "loom: {name}: {} executions, preemptions {bound:?}, {:.1} s",
        executions.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
}

/// Explores `model` once for each step of the actor that runs under `stops`: it stops there for good, in every interleaving that
/// the bound allows; until it never comes so far. Prints how many steps and executions there were.
pub fn explore_stops(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let (executions, stopped) = (Arc::new(Counter::new(0)), Arc::new(Counter::new(0)));
    let model = Arc::new(model);
    let began = Instant::now();
    let mut steps = 0;
    let mut bound;
    loop {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(2));
        bound = builder.preemption_bound;
        STOP_AT.set(Some(steps));
        STOPPED.set(0);
        let (counted, model) = (executions.clone(), model.clone());
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
        STOP_AT.set(None);
        stopped.fetch_add(STOPPED.get(), Ordering::Relaxed);
        if STOPPED.get() == 0 {
            break;
        }
        steps += 1;
    }
    assert_ne!(steps, 0, "nobody stopped in any execution");
    println!(
        "loom: {name}: {} executions, preemptions {bound:?}, stopped before each of {steps} steps, {} times, {:.1} s",
        executions.load(Ordering::Relaxed),
        stopped.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
}
