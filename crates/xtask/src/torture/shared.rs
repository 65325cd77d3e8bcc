//! Memory that processes of the battery share by being forked from one that made it: what they note survives their death.

#![allow(unsafe_code)] // One mapping.

use std::ptr::NonNull;

use rustix::mm::{madvise, mmap_anonymous, Advice, MapFlags, ProtFlags};

/// May lie in shared memory, all zero.
///
/// # Safety
/// Consists of atomic integers only, so that zeroed bytes are a value of it, and several processes may use it at once.
pub unsafe trait Atomics {}

/// A `T` that this process and those forked from it share. It stays mapped until the process ends.
#[derive(Debug)]
pub struct Shared<T: 'static>(&'static T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: Atomics> Shared<T> {
    /// All zero. Pages that nobody touches cost nothing.
    pub fn new() -> Shared<T> {
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe {
            mmap_anonymous(std::ptr::null_mut(), size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE, flags)
        };
        let at = NonNull::new(at.expect("shared memory").cast::<T>()).expect("not at 0");
        // SAFETY: `Atomics`: zeroed bytes are a T; aligned to a page, which no T here exceeds; never unmapped.
        Shared(unsafe { at.as_ref() })
    }
}

impl<T> Shared<T> {
    /// Gives a part's pages back: it is zero again. `part` lies in `self`, and begins and ends with a page.
    pub fn zero<P: Atomics>(&self, part: &P) {
        let (at, begin) = (std::ptr::from_ref(part) as usize, std::ptr::from_ref(self.0) as usize);
        assert!(at >= begin && at + size_of::<P>() <= begin + size_of::<T>(), "not a part of it");
        assert!((at | size_of::<P>()).is_multiple_of(rustix::param::page_size()), "not whole pages");
        // SAFETY: the pages are ours, and consist of atomics: being zero is a value like another.
        unsafe { madvise(at as *mut _, size_of::<P>(), Advice::LinuxRemove) }.expect("give pages back");
    }
}
