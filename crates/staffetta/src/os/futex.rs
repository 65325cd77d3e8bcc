//! Sleeping on a word of memory, and waking those who sleep on it, across processes.
//!
//! What it does not do: it knows no protocol. A return says only why the call came back; the
//! caller looks at its word again, always.
//!
//! 1. The futexes here are *shared*: the private flag, which most libraries set, would find only
//!    sleepers of this process. Those whose name says `private` are for channels within one.
//! 2. A deadline is absolute and monotonic, so a wait that is repeated does not grow longer, and
//!    a clock that is set does not move it.

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{clock_gettime, ClockId, Timespec};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Why a wait came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Somebody woke this thread; or nobody did, for the kernel may wake spuriously.
    Woken,
    /// The word did not hold the expected value, so the thread never slept.
    Changed,
    /// A signal handler ran.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// A moment on the monotonic clock, which all processes of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Timespec);

impl Deadline {
    /// `delay` from now; `None` if that is later than the clock can say, which is for ever.
    pub(crate) fn after(delay: Duration) -> Option<Self> {
        let now = clock_gettime(ClockId::Monotonic);
        let delay = Timespec::try_from(delay).ok()?;
        now.checked_add(delay).map(Self)
    }

    /// The same moment as `instant`, whose representation the standard library keeps to itself.
    pub(crate) fn at(instant: Instant) -> Option<Self> {
        Self::after(instant.saturating_duration_since(Instant::now()))
    }
}

/// `FUTEX_WAIT_BITSET`: sleeps while `word` holds `expected`, until woken or the deadline.
///
/// `None` waits for ever.
#[inline]
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Waited {
    wait_flagged(word, Flags::empty(), expected, deadline)
}

/// As [`wait`], woken by [`wake_private`] of this process alone.
#[inline]
pub(crate) fn wait_private(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Waited {
    wait_flagged(word, Flags::PRIVATE, expected, deadline)
}

#[inline]
fn wait_flagged(word: &AtomicU32, flags: Flags, expected: u32, deadline: Option<Deadline>) -> Waited {
    // All bits: a plain wake-up reaches this sleeper. The bitset form is used for its absolute
    // time-out; plain FUTEX_WAIT has a relative one.
    const ANY: NonZeroU32 = NonZeroU32::MAX;
    let until = deadline.as_ref().map(|Deadline(moment)| moment);
    match futex::wait_bitset(word, flags, expected, until, ANY) {
        Ok(()) => Waited::Woken,
        Err(Errno::AGAIN) => Waited::Changed,
        Err(Errno::TIMEDOUT) => Waited::TimedOut,
        // EFAULT cannot come from a reference, EINVAL not from a well-formed deadline. Whatever
        // else a kernel invents, looking at the word again is right.
        Err(_) => Waited::Interrupted,
    }
}

/// `FUTEX_WAKE`: wakes at most `count` sleepers and says how many.
#[inline]
pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    wake_flagged(word, Flags::empty(), count)
}

/// As [`wake`], of who sleeps by [`wait_private`].
#[inline]
pub(crate) fn wake_private(word: &AtomicU32, count: u32) -> usize {
    wake_flagged(word, Flags::PRIVATE, count)
}

#[inline]
fn wake_flagged(word: &AtomicU32, flags: Flags, count: u32) -> usize {
    // A count above i32::MAX would read as negative in the kernel.
    let count = count.min(i32::MAX as u32);
    futex::wake(word, flags, count).unwrap_or(0)
}

/// The most words that [`wait_any`] can wait on.
pub(crate) const WORDS_MAX: usize = 128;

/// `futex_waitv`: sleeps while each of `words` holds its expected value, until one of them is woken or the deadline has
/// passed. An error: this kernel, or a filter, has no such call.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Option<Deadline>) -> Result<(), Errno> {
    let waits: Vec<Wait> = words
        .iter()
        .map(|(word, expected)| {
            let mut wait = Wait::new();
            wait.val = u64::from(*expected);
            wait.uaddr = WaitPtr::new(word.as_ptr().cast());
            wait.flags = WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    let deadline = deadline.as_ref().map(|deadline| &deadline.0);
    match futex::waitv(&waits, WaitvFlags::empty(), deadline, ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn any_of_several_words_wakes() {
        let words = [AtomicU32::new(0), AtomicU32::new(7)];
        let both = |first, second| wait_any(&[(&words[0], first), (&words[1], second)], None);
        match both(0, 6) {
            Err(Errno::NOSYS | Errno::PERM) => return, // a kernel before 5.16, or a filter
            other => other.unwrap(),
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while words[1].load(Ordering::Acquire) == 7 {
                    both(0, 7).unwrap();
                }
            });
            words[1].store(8, Ordering::Release);
            wake(&words[1], 1);
        });
        let soon = Deadline::after(Duration::from_millis(1));
        assert!(wait_any(&[(&words[1], 8)], soon).is_ok(), "nobody wakes it, and it comes back");
    }

    #[test]
    fn each_reason_is_told_apart() {
        let word = AtomicU32::new(1);
        assert_eq!(wait(&word, 0, None), Waited::Changed);
        let start = Instant::now();
        let soon = Deadline::at(start + Duration::from_millis(20));
        assert_eq!(wait(&word, 1, soon), Waited::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(wait(&word, 1, Deadline::after(Duration::ZERO)), Waited::TimedOut);
        assert_eq!(wake(&word, u32::MAX), 0);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, None);
                }
            });
            word.store(1, Ordering::Release);
            wake(&word, 1);
        });
    }
}
