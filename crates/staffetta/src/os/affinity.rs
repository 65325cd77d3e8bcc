//! Which cores a thread runs on.

#![allow(unsafe_code)] // sysconf, from libc.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Error, Result};
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};

/// The cores that this thread may use, by number, in rising order.
///
/// # Errors
///
/// `EINVAL` in [`Error::Failed`] on machines with more than 1,024 cores.
pub(crate) fn usable_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).map_err(Error::when("list the usable cores"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Keeps the calling thread, and the threads it starts from now on, on one core.
///
/// # Errors
///
/// `EINVAL` in [`Error::Failed`] if this process may not use that core, or it does not exist.
pub(crate) fn pin_to(core: usize) -> Result<()> {
    const DOING: &str = "pin a thread to a core";
    if core >= CpuSet::MAX_CPU {
        return Err(Error::new(DOING, rustix::io::Errno::INVAL));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(Error::when(DOING))
}

/// Lets another thread that is ready run on this core first.
#[inline]
pub(crate) fn yield_now() {
    rustix::thread::sched_yield();
}

/// After how many steps a busy wait gives its core away: at once on a machine of one core; soon where this
/// thread has one core of several (its partner may be pinned to the same one, or not); else rarely.
///
/// Asked once, by the first thread that waits.
#[inline]
pub(crate) fn steps_per_yield() -> u64 {
    // 0: not asked yet.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    match ANSWER.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: sysconf only reads its argument.
            let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
            let pinned = usable_cores().is_ok_and(|cores| cores.len() == 1);
            let steps = match (online, pinned) {
                (1, _) => 1,
                (_, true) => 1 << 8,
                _ => 1 << 12,
            };
            ANSWER.store(steps, Ordering::Relaxed);
            steps
        }
        steps => steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned() {
        std::thread::spawn(|| {
            let last = *usable_cores().unwrap().last().unwrap();
            pin_to(last).unwrap();
            assert_eq!(usable_cores().unwrap(), [last]);
            assert!(pin_to(CpuSet::MAX_CPU).is_err());
        })
        .join()
        .unwrap();
    }
}
