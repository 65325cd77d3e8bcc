//! Which signals a thread lets through, and ending by one.

#![allow(unsafe_code)] // signals are libc's affair; rustix leaves them out.

use std::mem::MaybeUninit;
use std::ptr;

/// The signals that a thread blocks.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl Mask {
    /// What the calling thread blocks now.
    pub(crate) fn of_this_thread() -> Self {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: without a new mask this only initializes the old one; it fails only for an
        // unknown first argument.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), mask.as_mut_ptr());
            Self(mask.assume_init())
        }
    }

    /// Every signal there is.
    fn full() -> Self {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initializes the set it is given and cannot fail.
        unsafe {
            libc::sigfillset(mask.as_mut_ptr());
            Self(mask.assume_init())
        }
    }

    /// Makes the calling thread block these and no others. Safe between fork and exec.
    pub(crate) fn apply(&self) {
        // SAFETY: the set is initialized; the old one is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

/// Runs `work` with every signal blocked in this thread; threads that it starts are born so.
///
/// A library's thread has to be: a signal meant for the program must be handled by a thread of
/// the program.
pub(crate) fn with_all_blocked<T>(work: impl FnOnce() -> T) -> T {
    /// Puts the old mask back, also when `work` panics.
    struct Restore(Mask);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.apply();
        }
    }
    let _restore = Restore(Mask::of_this_thread());
    Mask::full().apply();
    work()
}

/// Ends this process by a signal, as if it had never been handled or blocked.
///
/// Returns if the signal is one that does not end a process.
pub(crate) fn die_of(signal: i32) {
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the set before the others use it; no handler of ours is
    // replaced, the process is to end. An unknown number makes these calls fail, and nothing more.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), ptr::null_mut());
        libc::raise(signal);
    }
}
