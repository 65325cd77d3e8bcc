//! Which cores a thread runs on.

use std::sync::atomic::{AtomicU8, Ordering};

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

/// Whether this process had only one core when it first asked: then a busy wait has to yield.
#[inline]
pub(crate) fn single_core() -> bool {
    // 0: not asked yet, 1: no, 2: yes.
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Ordering::Relaxed) {
        0 => {
            let single = usable_cores().is_ok_and(|cores| cores.len() == 1);
            ANSWER.store(1 + u8::from(single), Ordering::Relaxed);
            single
        }
        answer => answer == 2,
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
