//! The launched program's side: what happens before `main`, and what it left for later.
//!
//! ```text
//!   UNTOUCHED --before_main, or the first `inherited`--> READY or FAILED --inherited--> TAKEN
//! ```
//!
//! 1. Before `main` other constructors may not have run. So ours reads the environment, maps,
//!    reports, and remembers; it starts no thread, prints nothing, and cannot fail the program.
//! 2. Whatever it finds is checked: a variable may be stale, and a number may mean another file.
//! 3. What was inherited is made close-on-exec, so that this program's own children get none of it.

#![allow(unsafe_code)] // taking over a descriptor that is known by its number

use super::{DOMAIN, DOOR, END, INDEX, NAME, REPORT, WINDOW};
use crate::os;
use crate::os::fork::{without_fork, NotInherited};
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::socket::{self, Received};
use crate::process::door::Welcome;
use crate::process::wire::{self, Message};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::FdFlags;
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Who a launched program is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The name its launcher gave it.
    pub name: String,
    /// Its number among others of its kind.
    pub index: u32,
}

/// Who this program is, if a launcher started it.
#[must_use]
pub fn identity() -> Option<Identity> {
    let name = std::env::var(NAME).ok()?;
    let index = std::env::var(INDEX).ok()?.parse().ok()?;
    Some(Identity { name, index })
}

/// The channel end that a launcher handed to this program under a name.
#[must_use]
pub fn end(name: &str) -> Option<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(format!("{END}{name}")).ok()
}

/// Why a program has not inherited a domain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InheritError {
    /// No launcher started this program.
    #[error(
        "this program was not started by a launcher, or is a child of one that was; start it \
         with staffetta's launcher, or open a domain by name"
    )]
    NotLaunched,
    /// Somebody has called this before.
    #[error("the inherited domain was taken already; a program inherits one, once")]
    Taken,
    /// The memory could not be mapped.
    #[error("cannot map the inherited domain: {0}")]
    Mapping(#[source] os::Error),
    /// The launcher's welcome is missing: it died, or runs another version of Staffetta.
    #[error(
        "the launcher's welcome cannot be read; it may have ended, or use another version of \
         Staffetta than this program"
    )]
    NoWelcome,
}

/// A domain that was mapped before `main`, with everything needed to become a member.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The domain's memory in this process, readable and writable.
    pub(crate) mapping: Mapping,
    /// What a joiner gets from the member that lets it in.
    pub(crate) welcome: Welcome,
}

/// What the constructor has left.
#[derive(Debug)]
struct Prepared {
    mapping: Mapping,
    door: NotInherited,
}

enum State {
    Untouched,
    Ready(Prepared),
    Failed(InheritError),
    Taken,
}

static STATE: Mutex<State> = Mutex::new(State::Untouched);

/// Maps an inherited domain; called by [`launched!`](crate::launched) before `main`.
pub extern "C" fn before_main() {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*state, State::Untouched) {
        *state = prepare();
    }
}

/// The domain that this program has inherited.
///
/// Without `launched!()` it is mapped now, which can be too late for a place in the address space.
pub(crate) fn inherited() -> Result<Inherited, InheritError> {
    before_main();
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let prepared = match std::mem::replace(&mut *state, State::Taken) {
        State::Ready(prepared) => prepared,
        State::Failed(InheritError::NotLaunched) => {
            *state = State::Failed(InheritError::NotLaunched);
            return Err(InheritError::NotLaunched);
        }
        State::Failed(error) => return Err(error),
        State::Untouched | State::Taken => return Err(InheritError::Taken),
    };
    let Prepared { mapping, door } = prepared;
    let mut buffer = [0; wire::MESSAGE_MAX];
    let message = without_fork(|| match socket::receive(&door, &mut buffer) {
        Ok(Received::Message { len, descriptors }) => wire::decode(&buffer[..len], descriptors).ok(),
        Ok(Received::End) | Err(_) => None,
    });
    match message {
        Some(Message::Welcome { host, memory, stake, listener, payload }) => {
            Ok(Inherited { mapping, welcome: Welcome { memory, stake, listener, payload, door, host } })
        }
        _ => Err(InheritError::NoWelcome),
    }
}

/// What a variable says of a descriptor: `<number>:<inode>`.
pub(super) fn describe(file: BorrowedFd<'_>) -> Result<String, os::Error> {
    let stat = rustix::fs::fstat(file).map_err(os::Error::when("identify a descriptor"))?;
    Ok(format!("{}:{:x}", file.as_raw_fd(), stat.st_ino))
}

/// Looks at the environment, maps, and reports.
fn prepare() -> State {
    let Some((base, len)) = variable(WINDOW, |text| {
        let (base, len) = text.split_once(':')?;
        let parse = |hex| usize::from_str_radix(hex, 16).ok();
        Some((parse(base)?, parse(len)?))
    }) else {
        return State::Failed(InheritError::NotLaunched);
    };
    let (Some(memory), Some(door)) = (adopt(DOMAIN), adopt(DOOR)) else {
        return State::Failed(InheritError::NotLaunched);
    };
    let placement = match base {
        0 => Placement::Anywhere,
        base => Placement::At(base),
    };
    let mapped = Mapping::map(memory.as_fd(), 0, len, placement, Access::ReadWrite).and_then(|mapping| {
        let door = NotInherited::register(door).map_err(os::Error::when("keep a socket"))?;
        Ok(Prepared { mapping, door })
    });
    if let Some(report) = adopt(REPORT) {
        let errno = match &mapped {
            Ok(_) => 0,
            Err(error) => error.errno().unwrap_or(libc::EIO),
        };
        // If the launcher is gone, or has no interest, nobody is told.
        let _ = socket::send(&report, &errno.to_ne_bytes(), &[]);
    }
    match mapped {
        Ok(prepared) => State::Ready(prepared),
        Err(error) => State::Failed(InheritError::Mapping(error)),
    }
}

/// A variable, taken apart.
fn variable<T>(key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    read(&std::env::var(key).ok()?)
}

/// Takes over an inherited descriptor, if the variable still tells the truth (invariant 2).
fn adopt(key: &str) -> Option<OwnedFd> {
    let (number, inode) = variable(key, |text| {
        let (number, inode) = text.split_once(':')?;
        let number: RawFd = number.parse().ok().filter(|&number| number >= 0)?;
        Some((number, u64::from_str_radix(inode, 16).ok()?))
    })?;
    // SAFETY: used for the two calls below only; if nothing is open there, they fail.
    let there = unsafe { BorrowedFd::borrow_raw(number) };
    let stat = rustix::fs::fstat(there).ok()?;
    if stat.st_ino != inode {
        return None;
    }
    rustix::io::fcntl_setfd(there, FdFlags::CLOEXEC).ok()?; // invariant 3
                                                            // SAFETY: it is the very file that the launcher left open for this program and nobody else;
                                                            // STATE sees to it that it is taken over once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
