//! Forked children for tests, which walk through everything that a process can hold or call, and are told each time that they are none.
//!
//! A child ends with a status of its own ([`TRIED`]): one that panics, faults or hangs on the way cannot end so. The step it was at is
//! in memory that both share.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use staffetta::{
    AttachError, Domain, DynRecvError, DynSendError, RecvError, SelectError, SendError, SendFailure,
};

use super::{finish, name, role, start, watchdog};

/// How a child ends that has tried everything.
pub const TRIED: i32 = 77;
/// Long enough to hang aloud.
pub const LONG: Duration = Duration::from_secs(600);

/// What a child is doing: the text of its step.
pub struct Step(*const (AtomicPtr<u8>, AtomicUsize));

impl Step {
    pub fn new() -> Step {
        // SAFETY: fresh shared memory, zeroed, large enough and aligned to a page.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let page =
                libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            Step(page.cast())
        }
    }

    pub fn is(&self, text: &'static str) {
        // SAFETY: mapped for ever.
        let (at, len) = unsafe { &*self.0 };
        len.store(0, Relaxed);
        at.store(text.as_ptr().cast_mut(), Relaxed);
        len.store(text.len(), Relaxed);
    }

    pub fn last(&self) -> &'static str {
        // SAFETY: a text of this program, which the child was forked from.
        unsafe {
            let (at, len) = &*self.0;
            match at.load(Relaxed) {
                at if at.is_null() => "nothing yet",
                at => std::str::from_utf8_unchecked(std::slice::from_raw_parts(at, len.load(Relaxed))),
            }
        }
    }
}

/// Forks; the child runs `child` and ends with [`TRIED`], or with 1 if it panicked. Gives the child's raw wait status.
pub fn forked(child: impl FnOnce()) -> i32 {
    // SAFETY: the child is the copy of a thread that held no lock; it ends by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: a plain system call; one that hangs ends as well.
        unsafe { libc::alarm(20) };
        let tried = catch_unwind(AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(if tried { TRIED } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

/// The child of `forked` did everything.
#[track_caller]
pub fn tried(step: &Step, status: i32) {
    let tried = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == TRIED;
    assert!(tried, "the child ended with {status:#x} at: {}", step.last());
}

pub fn send<M>(result: Result<impl Sized, SendError<M>>) {
    match result {
        Err(SendError { why: SendFailure::Forked, .. }) => {}
        Err(SendError { why, .. }) => panic!("{why}"),
        Ok(_) => panic!("it was sent"),
    }
}

pub fn room(result: Result<impl Sized, SendFailure>) {
    assert!(matches!(result, Err(SendFailure::Forked)));
}

pub fn recv(result: Result<impl Sized, RecvError>) {
    assert!(matches!(result, Err(RecvError::Forked)));
}

pub fn dyn_send(result: Result<(), DynSendError>) {
    assert!(matches!(result, Err(DynSendError::Send(SendFailure::Forked))), "{result:?}");
}

pub fn dyn_recv(result: Result<impl Sized, DynRecvError>) {
    assert!(matches!(result, Err(DynRecvError::Recv(RecvError::Forked))));
}

pub fn chosen(result: Result<impl Sized, SelectError>) {
    assert!(matches!(result, Err(SelectError::Forked)));
}

pub fn attached(result: Result<impl Sized, AttachError>) {
    assert!(matches!(result, Err(AttachError::Forked)));
}

/// Reading it panics, and says why: the memory is not there.
pub fn says_why(read: impl FnOnce() -> u64) {
    let said = catch_unwind(AssertUnwindSafe(read)).expect_err("it is not there");
    assert!(said.downcast_ref::<&str>().is_some_and(|said| said.contains("forked")));
}

pub fn soon() -> Instant {
    Instant::now() + LONG
}

/// What a parent does in a test, step by step.
pub type Play = fn(&Domain, &str, &Step);

/// The test `roles` of a file: its roles, by name.
pub fn play(roles: &[(&str, Play)]) {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 100);
    let domain = super::options().open(&arguments[0]).unwrap();
    let step = Step::new();
    let (_, play) = roles.iter().find(|(name, _)| *name == role).unwrap_or_else(|| panic!("no role {role}"));
    play(&domain, &arguments[0], &step);
    // The child of any of them neither took the parent along nor told anybody that it was dead.
    domain.channel("alive").buffered(1).sender::<u64>().unwrap().send(1).unwrap();
}

/// Plays a role in a process of its own, beside a member that watches.
pub fn beside_a_member(what: &str) {
    let _watchdog = watchdog(what, 120);
    let name = name("fork");
    let domain = super::options().open(&name).unwrap();
    let alive = domain.channel("alive").buffered(1).receiver::<u64>().unwrap();
    finish(start(what, &[&name]));
    assert_eq!(alive.recv().unwrap(), 1);
    let left = alive.recv();
    assert!(
        matches!(left, Err(RecvError::Disconnected)),
        "{what}: alive to the end, and then left: {left:?}"
    );
}
