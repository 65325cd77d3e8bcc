//! A word that the kernel marks, and whose sleepers it wakes, when the thread that holds it ends (a robust futex).
//!
//! The kernel does so before it takes the process's memory apart, and says that the process has exited only after that: with
//! much memory, tens of milliseconds later. So the word is an alarm that comes early; it proves nothing.
//!
//! 1. A held word reads the thread's id in its own pid namespace, with the bit that makes the kernel wake one sleeper.
//! 2. When the thread has ended, [`DIED`] is set.
//! 3. The kernel follows the list while the thread ends, so list and word outlive the holding: both are borrowed for
//!    [`hold`], and the list that the C library had put there is put back.

#![allow(unsafe_code)] // set_robust_list, which rustix leaves out.

use std::cell::UnsafeCell;
use std::ffi::c_long;
use std::marker::PhantomPinned;
use std::pin::pin;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Set by the kernel when the holder has ended.
pub(crate) const DIED: u32 = libc::FUTEX_OWNER_DIED;

/// An element of the kernel's list; the last one points to the list's head.
#[repr(C)]
struct Node {
    next: *const Node,
}

/// What the kernel is told: its `struct robust_list_head`, and the one element.
#[repr(C)]
struct List {
    head: Node,
    /// From an element to its word.
    offset: c_long,
    pending: *const Node,
    element: Node,
    pinned: PhantomPinned,
}

/// Bytes of the kernel's `struct robust_list_head`.
const HEAD_BYTES: usize = std::mem::offset_of!(List, element);

/// Puts back what the C library had registered for this thread.
struct Restore<'w> {
    word: &'w AtomicU32,
    held: u32,
    head: *const Node,
    bytes: usize,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // SAFETY: the list is this thread's own and was registered before, by the C library, for as long as the thread lives.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.bytes) };
        // Nobody holds it: a thread that ends from here on marks nothing. It may be another's by now, whose word it stays: a member
        // gives its slot back before its service thread comes here.
        let _ = self.word.compare_exchange(self.held, 0, Release, Relaxed);
    }
}

/// Does `work` while this thread holds `word`. Where that is refused the word stays as it is, and the work is done all the same.
pub(crate) fn hold<T>(word: &AtomicU32, work: impl FnOnce() -> T) -> T {
    let list = pin!(UnsafeCell::new(List {
        head: Node { next: ptr::null() },
        offset: 0,
        pending: ptr::null(),
        element: Node { next: ptr::null() },
        pinned: PhantomPinned,
    }));
    let list = list.as_ref().get_ref().get();
    // SAFETY: nobody else has the list, which is pinned in this frame.
    unsafe {
        (*list).head.next = &raw const (*list).element;
        (*list).element.next = &raw const (*list).head;
        let element = &raw const (*list).element;
        (*list).offset = (word.as_ptr() as usize).wrapping_sub(element as usize) as c_long;
    }
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let held = thread | libc::FUTEX_WAITERS;
    let mut before = Restore { word, held, head: ptr::null(), bytes: HEAD_BYTES };
    // SAFETY: 0 is this thread; the kernel writes a pointer and a length.
    let known = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut before.head, &mut before.bytes) };
    // SAFETY: a list of one element, well formed; it is pinned in this frame, and the word is borrowed, until `before` is
    // dropped, which takes the list back. The kernel only reads the list, and only while this very thread ends.
    let is_held = known == 0 && unsafe { libc::syscall(libc::SYS_set_robust_list, list, HEAD_BYTES) } == 0;
    if !is_held {
        std::mem::forget(before);
        return work();
    }
    // Release: nothing that the thread did before is seen later than that it holds the word.
    word.store(held, Release);
    let done = work();
    drop(before);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::futex;
    use std::sync::atomic::Ordering::Acquire;

    #[test]
    fn a_word_is_free_again_after_the_work() {
        let word = AtomicU32::new(0);
        let id = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        assert_eq!(hold(&word, || word.load(Acquire)), id | libc::FUTEX_WAITERS);
        assert_eq!(word.load(Acquire), 0);
        hold(&word, || word.store(7, Release));
        assert_eq!(word.swap(0, Release), 7, "it is the next one's already");
        std::panic::catch_unwind(|| hold(&word, || panic!("in the middle"))).unwrap_err();
        assert_eq!(word.load(Acquire), 0);
        std::thread::scope(|scope| scope.spawn(|| hold(&word, || ())).join().unwrap());
        assert_eq!(word.load(Acquire), 0, "a thread that ended in order marks nothing");
    }

    #[test]
    fn the_end_of_a_thread_in_the_middle_wakes_a_sleeper() {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let thread = std::thread::spawn(|| {
            hold(&WORD, || {
                // As a kill would, without the others of this process; what is on its stack is never dropped.
                // SAFETY: the thread has nothing that others wait for but its own end.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
            });
        });
        loop {
            let now = WORD.load(Acquire);
            if now & DIED != 0 {
                break;
            }
            futex::wait(&WORD, now, None);
        }
        assert_eq!(WORD.load(Acquire) & 0x3fff_ffff, 0, "the kernel took the id away");
        let _ = thread;
    }
}
