//! Waiting: the policy (spin, spin then park, park) and the one sleep handshake.
//!
//! The handshake, implemented once, here, for every kind of waiting:
//!
//! ```text
//!   ticket   = pcb.wakes          1. before anything is announced
//!   announce : set P on the word  2. a compare-exchange on the word that will change (word.rs, W1)
//!   recheck  : poll once more     3. what does not change that word (a partner that leaves) is caught here
//!   sleep    while pcb.wakes == ticket
//! ```
//!
//! H1. A change of the word after step 2 sees P and wakes; before step 2 it makes the announcement fail.
//! H2. Other reasons to wake change their own word first and then read this one by a read-modify-write;
//!     so they either see P, or their change is visible to the poll of step 3.
//!
//! This file does not know what is waited for: `poll` and `announce` do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::pcb::Pcb;
use crate::memory::platform::Platform;

/// How an endpoint waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Wait {
    /// Busy waiting: the fastest hand-over; the core stays busy.
    Spin,
    /// Spin about as long as a park would cost, then sleep in the kernel. Adapts: an endpoint whose
    /// partner is never back in time soon spins less.
    #[default]
    SpinThenPark,
    /// Sleep in the kernel at once.
    Park,
}

impl Wait {
    /// All policies, for suites that run once for each.
    pub const ALL: [Wait; 3] = [Wait::Spin, Wait::SpinThenPark, Wait::Park];
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Wait::Spin => "spin",
            Wait::SpinThenPark => "spin-then-park",
            Wait::Park => "park",
        })
    }
}

/// No spin is longer than this, whatever a park was measured to cost.
pub(crate) const SPIN_NS_MAX: u64 = 50_000;
/// What a park is taken to cost before one was measured.
const PARK_NS_GUESS: u64 = 10_000;
/// An endpoint that keeps missing spins this little.
const SPIN_NS_MIN: u64 = 500;
/// Steps of a spin between two looks at the clock.
const STEPS_PER_CLOCK: u64 = 64;

/// What a park costs in this process: from the waker's ring to the sleeper's return, nanoseconds.
static PARK_NS: AtomicU64 = AtomicU64::new(0);

/// The measured cost of a park in this process (ring to return), in nanoseconds; a guess until the
/// first one.
pub fn park_ns() -> u64 {
    match PARK_NS.load(Relaxed) {
        0 => PARK_NS_GUESS,
        measured => measured,
    }
}

fn park_measured(ns: u64) {
    // A moving average; a reading of milliseconds is the scheduler's, not the park's.
    let reading = ns.clamp(1_000, SPIN_NS_MAX);
    let old = park_ns();
    PARK_NS.store((old * 7 + reading) / 8, Relaxed);
}

/// `STAFFETTA_SPIN_US`, if set: the longest spin of the default policy, microseconds.
fn spin_override_ns() -> Option<u64> {
    use std::sync::OnceLock;
    static OVERRIDE: OnceLock<Option<u64>> = OnceLock::new();
    *OVERRIDE.get_or_init(|| {
        let us: u64 = std::env::var("STAFFETTA_SPIN_US").ok()?.trim().parse().ok()?;
        us.checked_mul(1_000)
    })
}

/// How long this endpoint spins before it parks; learns from its own waits.
#[derive(Debug, Clone, Copy)]
pub struct Spinner {
    /// Share of a park it spins, in 1/256: 256 = a whole park.
    share: u16,
}

impl Default for Spinner {
    fn default() -> Self {
        Spinner { share: 256 }
    }
}

impl Spinner {
    fn limit_ns(&self) -> u64 {
        if let Some(ns) = spin_override_ns() {
            return ns;
        }
        let whole = (2 * park_ns()).min(SPIN_NS_MAX);
        (whole * u64::from(self.share) / 256).max(SPIN_NS_MIN)
    }
    fn hit(&mut self) {
        self.share = (self.share * 2).min(256);
    }
    fn missed(&mut self) {
        self.share = (self.share / 2).max(8);
    }
}

/// What one wait cost.
#[derive(Clone, Copy, Default, Debug)]
pub struct Waited {
    /// Steps of busy waiting.
    pub spins: u64,
    /// Times the waiter slept.
    pub parks: u64,
}

/// Why a wait ended.
pub enum Woken<R> {
    /// `poll` gave this.
    Ready(R),
    /// The deadline passed first.
    TimedOut,
}

/// Waits until `poll` gives something or the deadline passes.
///
/// `announce` makes the sleep known to whoever will change the word (W1) and returns false if the
/// word has changed already; it is given the reference of the PCB about to be slept on. `pcb` is asked
/// for only when the waiter parks; a thread that cannot have one keeps spinning.
pub fn wait<'p, P: Platform, R>(
    policy: Wait,
    spinner: &mut Spinner,
    deadline: Option<Instant>,
    waited: &mut Waited,
    mut pcb: impl FnMut() -> Option<(&'p Pcb<P>, u64)>,
    mut poll: impl FnMut() -> Option<R>,
    mut announce: impl FnMut(u64) -> bool,
) -> Woken<R> {
    // Busy waiting.
    if policy != Wait::Park {
        let mut until: Option<Instant> = None;
        let mut steps = 0_u64;
        loop {
            if let Some(r) = poll() {
                waited.spins += steps;
                if policy == Wait::SpinThenPark {
                    spinner.hit();
                }
                return Woken::Ready(r);
            }
            P::relax(steps);
            steps += 1;
            if steps % STEPS_PER_CLOCK == 0 && (deadline.is_some() || policy == Wait::SpinThenPark) {
                let now = Instant::now();
                if deadline.is_some_and(|d| now >= d) {
                    waited.spins += steps;
                    return last_look(poll);
                }
                if policy == Wait::SpinThenPark
                    && now >= *until.get_or_insert_with(|| now + Duration::from_nanos(spinner.limit_ns()))
                {
                    waited.spins += steps;
                    spinner.missed();
                    break;
                }
            }
        }
    }
    // Context switching.
    loop {
        if let Some(r) = poll() {
            return Woken::Ready(r);
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return last_look(poll);
        }
        let Some((pcb, pcb_ref)) = pcb() else {
            P::relax(u64::MAX);
            continue;
        };
        let ticket = pcb.ticket(); // 1
        if !announce(pcb_ref) {
            continue; // 2: changed meanwhile
        }
        if let Some(r) = poll() {
            return Woken::Ready(r); // 3
        }
        waited.parks += 1;
        pcb.sleep(ticket, deadline);
        if pcb.ticket() != ticket {
            let rung = crate::memory::platform::Word64::load(&pcb.rung_ns, Relaxed);
            if rung != 0 {
                park_measured(P::now_ns().saturating_sub(rung));
            }
        }
    }
}

/// A deadline that passes at the same moment as the event: the event wins.
fn last_look<R>(mut poll: impl FnMut() -> Option<R>) -> Woken<R> {
    poll().map_or(Woken::TimedOut, Woken::Ready)
}

/// The clock that `Pcb::wake_up` writes down.
pub(crate) fn now_ns() -> u64 {
    <crate::memory::platform::Native as Platform>::now_ns()
}
