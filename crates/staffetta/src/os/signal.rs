//! Which signals a thread lets through.

#![allow(unsafe_code)] // pthread_sigmask, which rustix lacks.

use std::mem::MaybeUninit;

/// Runs `work` with every signal blocked in this thread; threads that it starts are born so.
///
/// A library's thread has to be: a signal meant for the program must be handled by a thread of
/// the program.
pub(crate) fn with_all_blocked<T>(work: impl FnOnce() -> T) -> T {
    /// Puts the old mask back, also when `work` panics.
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: a mask that the kernel gave us; the old one is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initializes the set it is given and cannot fail; pthread_sigmask reads
    // the one and initializes the other, and fails only for an unknown first argument.
    let old = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    };
    let _restore = Restore(old);
    work()
}
