//! The monotonic clock.

use rustix::time::{clock_gettime, ClockId};

/// Nanoseconds since some moment that is the same for all processes of the machine.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are never negative for this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
