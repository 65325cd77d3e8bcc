//! The shipped protocols under shuttle: more actors than loom can exhaust, schedules drawn by chance, half of them
//! uniformly and half by PCT (few preemptions at random places), and actors that crash at a random atomic step.
//!
//! Each test runs 5,000 schedules; `STAFFETTA_SHUTTLE_SCHEDULES=1000000` for the long run. The seed is printed, and
//! `STAFFETTA_SHUTTLE_SEED` repeats it. `cargo test -p staffetta --lib shuttle -- --nocapture` prints what was run.
//!
//! Shuttle sees *sequential consistency only*: every load gives the last store, whatever the orderings say, and a fence is nothing. A
//! missing fence or a Relaxed too many is loom's to find. What these tests are for is what loom's two preemptions between
//! two or three actors cannot reach.
//!
//! Who crashes is unwound out of the protocol, before one of its atomic steps, and does nothing more; then two sweep after it at
//! once. What it had finished counts; the one operation that it was in may or may not have happened.
//!
//! Mutants, made by hand, and who fails within 4,000 schedules (without `shuttle_`):
//!
//! | mutant | fails |
//! |---|---|
//! | `wait` without step 3, the recheck; `Pcb::wake_up` asks the kernel first | all but `select_three` |
//! | `Crowd::wake` says `rung` before it wakes; `Crowd::sleepers_after_rmw` clears the bits that it takes | all but `select_three` |
//! | a dead receiver's message is not returned | `queue`, `queue_degree_per_sender` |
//! | a dead sender's lane is not recovered | `queue_degree_per_sender` |
//! | a pin without the second look; a scan that ignores pins; who takes does not wake the sender | `broadcast_waits` |
//! | what a dead server had in hand is not refused | `reply` |
//! | a server takes what is newer than what it saw first; two servers may take one request | `reply` |
//! | a select does not announce itself; a sender's select does not nudge; `ReadySet::deliver` looks at `asleep` first | `select_three` |
//! | a sweeper does not ask whether the seat is still the dead one's | nobody: no newcomer comes while it sweeps |
//! | `Turn::stand` without another look before the sleep | nobody; loom's does (`model/mod.rs`) |

#![allow(unsafe_code)] // `Hold`, and watched bytes.

mod broadcast;
mod crowd;
mod queue;
mod reply;
mod select;

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64 as Counter, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shuttle::rand::{thread_rng, Rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicU32, AtomicU64};
use shuttle::sync::{Condvar, Mutex};
use shuttle::{Config, Runner};

use super::checker::{Checker, Watched};
use crate::memory::platform::{Hold, HoldBytes, Platform, Word32, Word64, HOLD_WORDS};

/// Shuttle's atomics; the futex is a mutex and a condition variable.
pub enum Shuttle {}

std::thread_local! {
    /// Of one test: its actors are all on the test's own thread.
    static CRASHES: Cell<u64> = const { Cell::new(0) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

shuttle::thread_local! {
    /// How many steps this actor goes on before it crashes.
    static STEPS_LEFT: Cell<Option<u64>> = Cell::new(None);
}

/// What is thrown where an actor crashes.
struct Crashed;

/// Each atomic step begins here.
fn step() {
    STEPS_LEFT.with(|left| match left.get() {
        None => {}
        Some(0) => {
            left.set(None);
            resume_unwind(Box::new(Crashed));
        }
        Some(steps) => left.set(Some(steps - 1)),
    });
}

/// Runs `f`, which crashes after `steps` of its atomic steps, if it takes so many. True: it crashed.
pub fn crashes_after(steps: Option<u64>, f: impl FnOnce()) -> bool {
    STEPS_LEFT.with(|left| left.set(steps));
    let ended = catch_unwind(AssertUnwindSafe(f));
    STEPS_LEFT.with(|left| left.set(None));
    match ended {
        Ok(()) => false,
        Err(why) if why.is::<Crashed>() => {
            CRASHES.set(CRASHES.get() + 1);
            true
        }
        Err(why) => resume_unwind(why),
    }
}

/// One of `0..below`, as the schedule has it.
pub fn dice(below: u64) -> u64 {
    thread_rng().gen_range(0..below)
}

/// Which of so many actors crashes in this schedule, and after how many steps; in one of four nobody does.
pub fn victim(actors: usize, steps_max: u64) -> (usize, Option<u64>) {
    let victim = dice(actors as u64 * 4 / 3 + 1) as usize;
    (victim, (victim < actors).then(|| dice(steps_max)))
}

pub enum ShuttleU64 {
    Watched(AtomicU64),
    Quiet(Counter),
}

macro_rules! either {
    ($self:ident, $word:ident => $body:expr) => {
        match $self {
            ShuttleU64::Watched($word) => {
                step();
                $body
            }
            ShuttleU64::Quiet($word) => $body,
        }
    };
}

impl Word64 for ShuttleU64 {
    fn new(value: u64) -> Self {
        match QUIET.get() {
            true => ShuttleU64::Quiet(Counter::new(value)),
            false => ShuttleU64::Watched(AtomicU64::new(value)),
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

pub struct ShuttleU32 {
    word: AtomicU32,
    bucket: Mutex<()>,
    sleepers: Condvar,
}

impl Word32 for ShuttleU32 {
    fn new(value: u32) -> Self {
        ShuttleU32 { word: AtomicU32::new(value), bucket: Mutex::new(()), sleepers: Condvar::new() }
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

/// Bytes with a count of who has them: others run between its two changes, and find it.
pub struct ShuttleCell<T> {
    had: AtomicU64,
    value: UnsafeCell<T>,
}

/// In `had`: for writing.
const WRITING: u64 = 1 << 32;

impl<T> ShuttleCell<T> {
    fn have<R>(&self, as_what: u64, f: impl FnOnce(*mut T) -> R) -> R {
        let had = self.had.fetch_add(as_what, Ordering::SeqCst);
        assert!(had == 0 || had < WRITING && as_what < WRITING, "two have the same bytes, and one writes");
        let result = f(self.value.get());
        self.had.fetch_sub(as_what, Ordering::SeqCst);
        result
    }
}

// SAFETY: conflicting accesses are found.
unsafe impl<T: Send> Sync for ShuttleCell<T> {}

impl<T> Watched<T> for ShuttleCell<T> {
    fn new(value: T) -> Self {
        ShuttleCell { had: AtomicU64::new(0), value: UnsafeCell::new(value) }
    }
    fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.have(1, |at| f(at))
    }
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.have(WRITING, f)
    }
}

impl Hold for ShuttleCell<HoldBytes> {
    fn new() -> Self {
        Watched::new([MaybeUninit::new(0); HOLD_WORDS])
    }
    unsafe fn write<R>(&self, f: impl FnOnce(*mut HoldBytes) -> R) -> R {
        // A rendezvous may write a cell before it knows that it was right to (line.rs, L2).
        self.with_mut(f)
    }
    unsafe fn read<R>(&self, f: impl FnOnce(*const HoldBytes) -> R) -> R {
        self.with(f)
    }
}

impl Checker for Shuttle {
    type Cell<T: Send> = ShuttleCell<T>;

    fn quiet<R>(f: impl FnOnce() -> R) -> R {
        QUIET.set(true);
        let made = f();
        QUIET.set(false);
        made
    }
}

impl Platform for Shuttle {
    type U64 = ShuttleU64;
    type U32 = ShuttleU32;
    type Hold = ShuttleCell<HoldBytes>;

    fn eager_steps() -> u64 {
        1
    }

    fn relax(_steps: u64) {
        shuttle::thread::yield_now();
    }

    fn relax_briefly(steps: u64) {
        Self::relax(steps);
    }

    fn stand_back(look: u64) -> u64 {
        Self::relax(look);
        1
    }

    // As the kernel's: the word is compared under the lock of its hash bucket, which a waker takes too.
    fn sleep(word: &ShuttleU32, expected: u32, deadline: Option<Instant>) {
        step();
        let bucket = word.bucket.lock().unwrap();
        if word.word.load(Ordering::SeqCst) == expected && deadline.is_none() {
            drop(word.sleepers.wait(bucket).unwrap());
        }
    }

    fn wake(word: &ShuttleU32) {
        step();
        drop(word.bucket.lock().unwrap());
        word.sleepers.notify_all();
    }

    fn rest(_ns: u64, _deadline: Option<Instant>) {
        shuttle::thread::yield_now();
    }

    fn now_ns() -> u64 {
        0
    }

    fn fence_after_rmw() {}
}

/// Runs `model` on random schedules, and prints how many and from which seed.
pub fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let schedules = number("STAFFETTA_SHUTTLE_SCHEDULES").unwrap_or(5_000).max(2);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = number("STAFFETTA_SHUTTLE_SEED").unwrap_or_else(now);
    // Before, so that it is there if a schedule fails.
    println!("shuttle: {name}: {schedules} schedules, STAFFETTA_SHUTTLE_SEED={seed}");
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true; // of orderings that are not SeqCst: that is said above
    let (model, began) = (std::sync::Arc::new(model), Instant::now());
    let half = (schedules / 2) as usize;
    let run = model.clone();
    Runner::new(RandomScheduler::new_from_seed(seed, half), config.clone()).run(move || run());
    Runner::new(PctScheduler::new_from_seed(seed, 3, half), config).run(move || model());
    let (crashes, seconds) = (CRASHES.take(), began.elapsed().as_secs_f64());
    assert_ne!(crashes, 0, "nobody crashed in any schedule");
    println!("shuttle: {name}: {crashes} actors crashed, {seconds:.1} s");
}
