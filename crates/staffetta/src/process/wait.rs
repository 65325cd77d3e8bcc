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
//! Who sleeps says so in its PCB, for people (pcb.rs, P3); who is busy waiting does after `TELL_EVERY` looks at the clock, so that the
//! hot path, and a spin that is followed by a sleep, say nothing.
//!
//! This file does not know what is waited for: `poll` and `announce` do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::pcb::{Pcb, SLEEPS, SPINS};
use crate::memory::platform::Platform;

/// How an endpoint waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Wait {
    /// Busy waiting: the fastest hand-over; the core stays busy.
    Spin,
    /// Spin about as long as a park would cost, then sleep in the kernel. Adapts: an endpoint whose
    /// partner is never back in time soon sleeps at once, and only now and then looks whether it is quicker.
    /// `STAFFETTA_SPIN_US` in the environment sets the length of every spin, in microseconds; 0: none.
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
/// An endpoint that keeps missing spins for once in so many waits: how else would it learn that its partner
/// has become quick? Costs it SPIN_NS_MAX / 64 a wait, less than a microsecond.
const PROBE_EVERY: u32 = 64;
/// Steps of a spin between two looks at the clock.
const STEPS_PER_CLOCK: u64 = 64;
/// Looks at the clock after which one that only spins says so in its PCB, again and again: after about half a millisecond.
const TELL_EVERY: u64 = 256;

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
#[derive(Debug, Clone, Copy, Default)]
pub struct Spinner {
    /// Waits since the last one that a spin was long enough for.
    misses: u32,
}

impl Spinner {
    /// How long to spin now; None: not at all.
    fn limit_ns(&self) -> Option<u64> {
        match spin_override_ns() {
            Some(0) => None,
            Some(ns) => Some(ns),
            None => self.learned_ns((2 * park_ns()).min(SPIN_NS_MAX)),
        }
    }

    /// After 0, 1, 2, 4, 8, 16 and 32 misses, and then after every 64th; otherwise it parks at once. Soon
    /// again, so that one disturbance does no lasting harm. Always at full length: two partners that both
    /// park answer no sooner than a park takes, and a shorter spin would never find out that they need not.
    fn learned_ns(&self, whole_ns: u64) -> Option<u64> {
        let probe = match self.misses {
            few if few < PROBE_EVERY => few == 0 || few.is_power_of_two(),
            many => many % PROBE_EVERY == 0,
        };
        probe.then_some(whole_ns)
    }

    /// One that knows only this.
    #[inline(always)]
    pub fn with_misses(misses: u32) -> Spinner {
        Spinner { misses }
    }

    /// Waits since the last one that a spin was long enough for.
    #[inline(always)]
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// Has the last spin been long enough?
    #[inline(always)]
    pub fn is_hopeful(&self) -> bool {
        self.misses == 0
    }

    /// The partner came while we spun.
    fn hit(&mut self) {
        self.misses = 0;
    }

    /// It did not, or we did not spin.
    fn missed(&mut self) {
        // Comes round to a probe, never to 0.
        self.misses = self.misses.checked_add(1).unwrap_or(PROBE_EVERY);
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
    let spin_ns = match policy {
        Wait::Spin => None,
        Wait::SpinThenPark => spinner.limit_ns(),
        Wait::Park => None,
    };
    // Busy waiting.
    if policy == Wait::Spin || spin_ns.is_some() {
        // Where each step gives the core away, one may last as long as a time slice.
        let steps_per_clock = if P::eager_steps() == 0 { 1 } else { STEPS_PER_CLOCK };
        let mut until: Option<Instant> = None;
        let mut steps = 0_u64;
        let mut told = Told::default();
        loop {
            if let Some(r) = poll() {
                waited.spins += steps;
                told.no_more();
                if policy == Wait::SpinThenPark {
                    spinner.hit();
                }
                return Woken::Ready(r);
            }
            P::relax(steps);
            steps += 1;
            if steps % (steps_per_clock * TELL_EVERY) == 0 && policy == Wait::Spin {
                told.spins(&mut pcb, deadline, steps);
            }
            if steps % steps_per_clock == 0 && (deadline.is_some() || policy == Wait::SpinThenPark) {
                let now = Instant::now();
                if deadline.is_some_and(|d| now >= d) {
                    waited.spins += steps;
                    told.no_more();
                    return last_look(poll);
                }
                let long =
                    spin_ns.is_some_and(|ns| now >= *until.get_or_insert(now + Duration::from_nanos(ns)));
                if long {
                    waited.spins += steps;
                    break;
                }
            }
        }
    }
    // Context switching.
    let mut parked = false;
    let mut told = Told::default();
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
        if !parked {
            spinner.missed(); // the spin was not long enough, or there was none
            parked = true;
        }
        waited.parks += 1;
        told.sleeps(pcb, ticket, deadline);
        pcb.sleep(ticket, deadline);
        told.no_more();
        if pcb.ticket() != ticket {
            let rung = crate::memory::platform::Word64::load(&pcb.rung_ns, Relaxed);
            if rung != 0 {
                park_measured(P::now_ns().saturating_sub(rung));
            }
        }
    }
}

/// What a wait has said in its thread's PCB.
struct Told<'p, P: Platform> {
    pcb: Option<&'p Pcb<P>>,
    since_ns: u64,
    until_ns: u64,
}

impl<P: Platform> Default for Told<'_, P> {
    fn default() -> Self {
        Told { pcb: None, since_ns: 0, until_ns: 0 }
    }
}

impl<'p, P: Platform> Told<'p, P> {
    fn says(&mut self, pcb: &'p Pcb<P>, deadline: Option<Instant>, asleep: u64) {
        if self.since_ns == 0 {
            self.since_ns = P::now_ns();
            let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()).as_nanos();
            let until = |deadline| {
                u64::try_from(left(deadline)).map_or(u64::MAX, |ns| ns.saturating_add(self.since_ns))
            };
            self.until_ns = deadline.map_or(u64::MAX, until);
        }
        pcb.tell(self.since_ns, self.until_ns, asleep);
        self.pcb = Some(pcb);
    }

    fn sleeps(&mut self, pcb: &'p Pcb<P>, ticket: u32, deadline: Option<Instant>) {
        self.says(pcb, deadline, SLEEPS | u64::from(ticket));
    }

    /// A thread that cannot have a PCB says nothing.
    #[cold]
    #[inline(never)]
    fn spins(
        &mut self,
        pcb: &mut impl FnMut() -> Option<(&'p Pcb<P>, u64)>,
        deadline: Option<Instant>,
        steps: u64,
    ) {
        if let Some(pcb) = self.pcb.or_else(|| Some(pcb()?.0)) {
            self.says(pcb, deadline, SPINS | (steps / TELL_EVERY) & (SLEEPS - 1));
        }
    }

    fn no_more(&mut self) {
        if let Some(pcb) = self.pcb.take() {
            pcb.tell_awake();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_keeps_missing_stops_spinning_and_probes() {
        let mut spinner = Spinner::default();
        let mut spins = Vec::new();
        for wait in 0..4 * PROBE_EVERY {
            spins.extend(spinner.learned_ns(8_000).map(|ns| (wait, ns)));
            spinner.missed();
        }
        let probes = [0, 1, 2, 4, 8, 16, 32, 64, 128, 192];
        assert_eq!(spins, probes.map(|wait| (wait, 8_000)), "each is a whole spin");
        spinner.hit();
        assert_eq!(spinner.learned_ns(8_000), Some(8_000));
        spinner.misses = u32::MAX;
        spinner.missed();
        assert_eq!(spinner.learned_ns(8_000), Some(8_000), "the counter comes round to a probe");
    }
}
