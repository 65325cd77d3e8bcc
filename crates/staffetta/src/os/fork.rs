//! What a forked child must not use, and must not keep open.
//!
//! A child made by `fork` is a copy of its parent: the parent's handles are there, but the window
//! is not (it is mapped DONTFORK), and every copied descriptor would keep a connection open whose
//! closing is how others notice a death. This file gives the layers below a cheap question to ask
//! first ([`ForkGuard`]), and closes descriptors in the child ([`NotInherited`]).
//!
//! What it does not do: `vfork` and `posix_spawn` share the parent's memory until they exec, and
//! then every descriptor of ours is closed by close-on-exec; nothing is needed. A raw `clone`
//! runs no fork handler: it is not supported (the guard still works, the descriptors stay open).
//!
//! ```text
//!            NONCE, a page of its own, MADV_WIPEONFORK
//!   parent   [ 5 ]      guards made here remember 5: alive
//!   child    [ 0 ]      the kernel wiped it: the same guards are dead
//!   child    [ 6 ]      the child joins a domain of its own: new guards remember 6
//! ```
//!
//! Invariants:
//!
//! 1. `NONCE` is zero, or a number that no ancestor's page ever held: the counter it comes from
//!    lies in ordinary memory, which a child inherits.
//! 2. The page is never unmapped, so a reference to it lives for ever.
//! 3. A word of `OPEN` is zero, or names a descriptor that is open and owned by exactly one
//!    [`NotInherited`]; the word carries a serial number, so one that was emptied by the handler
//!    and used again is not mistaken for the old one.
//! 4. Between a descriptor's creation and its registration no fork handler runs: both happen
//!    inside [`without_fork`].

#![allow(unsafe_code)] // mmap of the page, pthread_atfork, closing by number in the handler.

use super::{Error, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

// ---------------------------------------------------------------------------------------------
// The guard
// ---------------------------------------------------------------------------------------------

/// Tells whether this is still the process in which the guard was made.
///
/// The question costs one relaxed load and a comparison.
#[derive(Debug)]
pub(crate) struct ForkGuard {
    nonce: AtomicU64,
    page: &'static AtomicU64,
}

impl ForkGuard {
    /// A guard of this process.
    ///
    /// # Errors
    ///
    /// Only at the first call of a process: no memory, or a kernel before 4.14.
    pub(crate) fn new() -> Result<Self> {
        let page = page()?;
        // Relaxed throughout: the number publishes nothing, and fork itself orders everything
        // before it in the parent before everything in the child.
        let mut nonce = page.load(Ordering::Relaxed);
        if nonce == 0 {
            static LAST: AtomicU64 = AtomicU64::new(0);
            let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            nonce = match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => fresh,
                Err(other_thread) => other_thread,
            };
        }
        Ok(Self { nonce: AtomicU64::new(nonce), page })
    }

    /// Whether this process made the guard, and not an ancestor it was forked from.
    #[inline(always)]
    pub(crate) fn alive(&self) -> bool {
        self.page.load(Ordering::Relaxed) == self.nonce.load(Ordering::Relaxed)
    }

    /// Was `retire` called?
    pub(crate) fn is_retired(&self) -> bool {
        self.nonce.load(Ordering::Relaxed) == RETIRED
    }

    /// What it guards is gone for this process too: it is never alive again.
    pub(crate) fn retire(&self) {
        self.nonce.store(RETIRED, Ordering::Relaxed);
    }
}

/// No page ever holds it: numbers count up from 1.
const RETIRED: u64 = u64::MAX;

/// The page that the kernel wipes in a child.
fn page() -> Result<&'static AtomicU64> {
    // Not a OnceLock: a fork while another thread is inside its initializer would leave it locked
    // in the child for ever.
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    // Acquire: pairs with the Release below, which publishes that the page is mapped and advised.
    let known = PAGE.load(Ordering::Acquire);
    // SAFETY: the pointer is null, or points to a mapped, zeroed or written, page that is never
    // unmapped (invariant 2) and only ever used as this one atomic word.
    if let Some(page) = unsafe { known.as_ref() } {
        return Ok(page);
    }
    const DOING: &str = "prepare for forked children";
    let len = rustix::param::page_size();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
    let fresh = unsafe {
        mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }
    .map_err(Error::when(DOING))?;
    // SAFETY: the range was mapped by the line above and is not shared with anyone yet.
    if let Err(errno) = unsafe { mm::madvise(fresh, len, Advice::LinuxWipeOnFork) } {
        // SAFETY: as above; nobody has the address.
        let _ = unsafe { mm::munmap(fresh, len) };
        return Err(Error::new(DOING, errno));
    }
    let fresh = fresh.cast::<AtomicU64>();
    let page = match PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(winner) => {
            // SAFETY: another thread published its page first; ours was never seen by anyone.
            let _ = unsafe { mm::munmap(fresh.cast(), len) };
            winner
        }
    };
    // SAFETY: published, hence mapped for ever (invariant 2), aligned to a page.
    Ok(unsafe { &*page })
}

// ---------------------------------------------------------------------------------------------
// The descriptors
// ---------------------------------------------------------------------------------------------

/// How many descriptors can be registered at once, over all domains of a process.
///
/// 1,024 members see each other over four descriptors each, in eight domains.
const OPEN_MAX: usize = 32_768;

/// `serial << 32 | (descriptor + 1)`, or zero (invariant 3).
static OPEN: [AtomicU64; OPEN_MAX] = [const { AtomicU64::new(0) }; OPEN_MAX];

/// Where the search for a free word begins; a hint.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One above the highest word ever used, so that the handler does not walk the whole table.
static HIGH: AtomicU32 = AtomicU32::new(0);

/// A descriptor that is closed in a forked child, before the child runs any code of its own.
#[derive(Debug)]
pub(crate) struct NotInherited {
    /// `Some` until dropped.
    fd: Option<OwnedFd>,
    index: usize,
    word: u64,
}

impl NotInherited {
    /// Runs `create`, and sees to it that no fork comes between the creation of the descriptor
    /// and its registration (invariant 4). `create` must not block.
    ///
    /// # Errors
    ///
    /// What `create` says; or `EMFILE` when the table is full.
    pub(crate) fn create(
        create: impl FnOnce() -> std::result::Result<OwnedFd, Errno>,
    ) -> std::result::Result<Self, Errno> {
        without_fork(|| create().and_then(Self::register))
    }

    /// Registers a descriptor that exists already.
    ///
    /// # Errors
    ///
    /// `EMFILE` when the table is full; the descriptor is then closed.
    pub(crate) fn register(fd: OwnedFd) -> std::result::Result<Self, Errno> {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        install_handlers()?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // Never negative, so plus one fits and is not zero.
        let number = fd.as_raw_fd().unsigned_abs() + 1;
        let word = u64::from(serial) << 32 | u64::from(number);
        let start = NEXT.load(Ordering::Relaxed) as usize;
        for step in 0..OPEN_MAX {
            let index = (start + step) % OPEN_MAX;
            // Relaxed: the table is read by the handler in a child only, after a fork, which
            // orders everything.
            let free = OPEN[index].compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if free {
                let next = index as u32 + 1;
                HIGH.fetch_max(next, Ordering::Relaxed);
                NEXT.store(next % OPEN_MAX as u32, Ordering::Relaxed);
                return Ok(Self { fd: Some(fd), index, word });
            }
        }
        Err(Errno::MFILE)
    }
}

impl AsFd for NotInherited {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("a descriptor is given up only by dropping its owner"),
        }
    }
}

impl Drop for NotInherited {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        // Relaxed: see `register`.
        let ours =
            OPEN[self.index].compare_exchange(self.word, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if ours {
            NEXT.store(self.index as u32, Ordering::Relaxed);
            drop(fd);
        } else {
            // We are a child, and the handler has closed it: the number may mean something else
            // by now, which is not ours to close.
            let _ = fd.into_raw_fd();
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The handlers
// ---------------------------------------------------------------------------------------------

/// `forks under way << 16 | sections under way`.
static GATE: AtomicU32 = AtomicU32::new(0);
const FORK: u32 = 1 << 16;
const SECTION: u32 = 1;

/// Runs `section`, which must not block, while no fork happens in this process.
pub(crate) fn without_fork<T>(section: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            GATE.fetch_sub(SECTION, Ordering::Release);
        }
    }
    // Acquire and Release: what a section does is complete before a fork copies it, and the other
    // way round.
    while GATE
        .fetch_update(Ordering::Acquire, Ordering::Relaxed, |gate| (gate < FORK).then_some(gate + SECTION))
        .is_err()
    {
        rustix::thread::sched_yield();
    }
    let _leave = Leave;
    section()
}

/// Before a fork, in the thread that forks: waits until no section is under way.
extern "C" fn before() {
    GATE.fetch_add(FORK, Ordering::Acquire);
    // A section is a few system calls long. The bound is for a fork in a signal handler that
    // interrupted a section of its own thread (which POSIX does not allow, and which would wait
    // for itself): better a descriptor left open in the child than a program that hangs.
    for _ in 0..100_000 {
        if GATE.load(Ordering::Acquire) % FORK == 0 {
            break;
        }
        rustix::thread::sched_yield();
    }
}

/// After a fork, in the parent.
extern "C" fn after_in_parent() {
    GATE.fetch_sub(FORK, Ordering::Release);
}

/// After a fork, in the child, whose only thread this is: closes what must not stay open.
///
/// Calls nothing but `close`: other threads of the parent may have held any lock.
extern "C" fn after_in_child() {
    let high = (HIGH.load(Ordering::Relaxed) as usize).min(OPEN_MAX);
    for word in &OPEN[..high] {
        let number = word.swap(0, Ordering::Relaxed) as u32;
        if number != 0 {
            // SAFETY: the word named a descriptor that was open in the parent (invariant 3), so
            // it is open here; its owner sees the emptied word and does not close it again.
            // libc's, which only returns an error if that was ever wrong: this must not panic.
            let _ = unsafe { libc::close(number as i32 - 1) };
        }
    }
    // Sections of other threads do not exist in this process.
    GATE.store(0, Ordering::Relaxed);
}

/// `pthread_atfork`, once per process; children inherit it.
fn install_handlers() -> std::result::Result<(), Errno> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    let code = *INSTALLED.get_or_init(|| {
        // SAFETY: the three functions live as long as the program, never unwind, and call only
        // what is safe to call around a fork.
        unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) }
    });
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forks, runs `child`, and says whether it returned true.
    fn in_child(child: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child only runs code without locks or allocation, and leaves by _exit.
        unsafe {
            match libc::fork() {
                0 => {
                    let good = child();
                    libc::_exit(i32::from(!good));
                }
                pid => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
                    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
                }
            }
        }
    }

    fn is_open(number: i32) -> bool {
        // SAFETY: F_GETFD touches nothing.
        unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
    }

    #[test]
    fn a_guard_dies_in_the_child_and_a_new_one_lives() {
        let guard = ForkGuard::new().unwrap();
        assert!(guard.alive());
        assert!(in_child(|| {
            let before = guard.alive();
            let own = ForkGuard::new();
            !before && !guard.alive() && own.is_ok_and(|own| own.alive())
        }));
        assert!(guard.alive());
    }

    #[test]
    fn a_registered_descriptor_is_closed_in_the_child_and_only_once() {
        let make = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (kept, _end) = make();
        let (closed, _other) = make();
        let number = closed.as_raw_fd();
        let kept_number = kept.as_raw_fd();
        let closed = NotInherited::register(closed).unwrap();
        // A copy of the owner, as a child has one.
        let again = NotInherited {
            // SAFETY: dropped only in the child, where the number has been closed.
            fd: Some(unsafe { rustix::fd::FromRawFd::from_raw_fd(number) }),
            index: closed.index,
            word: closed.word,
        };
        let mut again = std::mem::ManuallyDrop::new(again);
        assert!(in_child(|| {
            let gone = !is_open(number) && is_open(kept_number);
            // SAFETY: F_DUPFD takes the lowest free number from `number` on: the very same.
            let reused = unsafe { libc::fcntl(kept_number, libc::F_DUPFD, number) } == number;
            // SAFETY: dropped once, here.
            unsafe { std::mem::ManuallyDrop::drop(&mut again) };
            gone && reused && is_open(number)
        }));
        assert!(is_open(number));
        drop(closed);
    }
}
