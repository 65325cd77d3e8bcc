//! What a step of a busy wait costs, and how many of them a waiter leaves between two looks.
//!
//! The processor's pause hint lasts a few cycles on some processors and well over a hundred on others, so what is
//! meant as a time has to be counted out in steps of this very machine.
//!
//! **Why a waiter leaves time between its looks.** On many processors a look at a line that another core has changed takes
//! it away from there, and who writes the next message has to fetch it back first: twice the way of a line. A partner
//! touches the line several times for one message (word, bytes, word), and each look in between is in its way. No
//! answer can come sooner than a line travels there and back, so the time before the second look costs nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// From the first look in vain to the second, nanoseconds: about what a line needs there and back.
const FIRST_NS: u64 = 80;
/// From each look to the next after that, nanoseconds.
const NEXT_NS: u64 = 30;

/// What one step costs, picoseconds; measured once, by the first that asks, in some microseconds.
pub(crate) fn step_ps() -> u64 {
    // 0: not measured yet.
    static STEP: AtomicU64 = AtomicU64::new(0);
    match STEP.load(Relaxed) {
        0 => {
            const STEPS: u64 = 100;
            // The fastest of a few: an interrupt only adds.
            let once = || {
                let start = Instant::now();
                (0..STEPS).for_each(|_| std::hint::spin_loop());
                start.elapsed().as_nanos() as u64 * 1000 / STEPS
            };
            let step = (0..5).map(|_| once()).min().unwrap_or(0).max(1);
            STEP.store(step, Relaxed);
            step
        }
        step => step,
    }
}

/// Stands back after look number `look` (from 0) in vain; gives the steps that it took, at least one.
#[inline(always)]
pub(crate) fn stand_back(look: u64) -> u64 {
    // Steps after the first look and after each other; 0: not known yet.
    static STEPS: AtomicU64 = AtomicU64::new(0);
    let steps = match STEPS.load(Relaxed) {
        0 => count_out(&STEPS),
        steps => steps,
    };
    let steps = if look == 0 { steps >> 32 } else { steps & u64::from(u32::MAX) };
    (0..steps).for_each(|_| std::hint::spin_loop());
    steps
}

#[cold]
#[inline(never)]
fn count_out(to: &AtomicU64) -> u64 {
    let steps = |ns: u64| ((ns * 1000 + step_ps() / 2) / step_ps()).clamp(1, 100); // rounded
    let both = steps(FIRST_NS) << 32 | steps(NEXT_NS);
    to.store(both, Relaxed);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rest_is_the_longest_and_none_is_without_end() {
        let (first, next) = (stand_back(0), stand_back(1));
        assert!((1..=100).contains(&next) && (next..=100).contains(&first), "{first} {next}");
        assert_eq!((stand_back(0), stand_back(64)), (first, next), "counted out once");
    }
}
