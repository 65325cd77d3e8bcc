//! Every system call Staffetta makes, one file per kernel object.
//!
//! What this layer does: it turns raw calls into owned values, typed errors and safe functions.
//! What it does not do: it holds no policy. It does not know what a domain is, how large one
//! should be, who may join, or what to do about a failure; it only says what failed, why, and
//! what a person can do about it ([`Error`]).
//!
//! | file | kernel object |
//! |---|---|
//! | `memfd` | a memory file: create, size, seals, punch, allocate |
//! | `mapping` | a part of an address space |
//! | `futex` | sleep on a word, wake its sleepers, also across processes |
//! | `pidfd` | a descriptor that stands for a process |
//! | `program` | whether any thread still runs a process's program |
//! | `robust` | a word that is marked when a thread ends |
//! | `attach` | another process's private memory |
//! | `epoll`, `eventfd` | wait for descriptors; a descriptor to ring |
//! | `socket` | Unix sockets that keep message boundaries and carry descriptors |
//! | `signal` | which signals a thread lets through |
//! | `clock` | the monotonic clock |
//! | `pause` | what a step of a busy wait costs; no system call at all |
//! | `affinity` | which cores a thread may run on |
//! | `machine` | memory, limits, kernel, counters of this process |
//! | `fork` | what a forked child must not use, and must not keep open |
//!
//! Rules of the layer:
//!
//! 1. Every descriptor is close-on-exec from its first instant; none is set so afterwards.
//! 2. No function blocks unless its name or its documentation says so.
//! 3. `EINTR` is retried wherever a call can be repeated without changing its meaning, and
//!    reported where the caller has to look again ([`futex`]).

pub(crate) mod affinity;
pub(crate) mod attach;
pub(crate) mod clock;
pub(crate) mod epoll;
mod error;
pub(crate) mod eventfd;
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(test)]
mod limits_test;
pub(crate) mod machine;
pub(crate) mod mapping;
pub(crate) mod memfd;
pub(crate) mod pause;
pub(crate) mod pidfd;
pub(crate) mod proc;
pub(crate) mod program;
pub(crate) mod robust;
pub(crate) mod signal;
pub(crate) mod socket;

pub use error::Error;

/// The result of an operation of this layer.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Calls `operation` again for as long as a signal interrupts it.
///
/// For calls that a signal leaves without effect. Calls with a relative time-out do not belong
/// here: each repetition would start the time anew.
pub(crate) fn retry<T>(operation: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(operation)
}
