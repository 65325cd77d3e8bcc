//! Messages in private memory: `send_from(&[T])`, `recv_into(&mut [T])`.
//!
//! What it does not do: the walk is `rendezvous`, the states are in `line`, the kernel's part is in `os::attach`.
//!
//! The sender *lends* its slice: it waits until the receiver has read it, across processes, straight into its own target. So
//! such a message is copied once, by the receiver, whichever of the two came first:
//!
//! | the receiver's target | copies | by |
//! |---|---|---|
//! | private memory, or a variable and it came second | 1 | the receiver, by cross-memory attach |
//! | a variable, and it came first | 1 | the sender |
//! | any, where attaching is refused or switched off; a channel with a buffer | 2 | each one, into the domain and out of it |
//!
//! X1. A slice is borrowed until the call returns. Nobody ever writes into it from outside, and after the call has returned,
//!     whatever somebody may still read there is dropped (line.rs, L3).
//! X2. Only slices of numbers are received this way: a target of which a part was written is still one (`message::number`).
//!
//! Rejected: a sender that comes second writes into the receiver's memory (`process_vm_writev`). It would save a wake-up, and
//! one copy where the sender alone may attach (an ancestor, under Yama). But a process number may be another's by the time the
//! kernel looks it up: what was read by mistake is thrown away, what was written is not. And a first one that gives up, or whose
//! partner was killed, would have to wait until nobody writes into its memory any more.

#![allow(unsafe_code)] // Hands pointers to slices to the protocols.

use std::time::Duration;

use super::call::{Incoming, Outgoing, Patience};
use super::end::{deadline_after, End};
use super::sender::Sender;
use crate::error::{RecvError, SendError, SendFailure};
use crate::message::number::Number;
use crate::message::variable::Variable;
use crate::Message;

/// How a message between private memories went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// Elements of the message.
    pub elements: usize,
    /// How often each byte was copied, by both sides together: 1 if it went straight from the sender's memory into the receiver's,
    /// 2 by way of the domain.
    pub copies: u32,
}

impl<T: Number> Sender<[T]> {
    /// Sends a slice of private memory, and returns when the receiver has it: the receiver reads it out of this process, so
    /// it is copied once. Where that cannot be, it is copied twice; the result tells.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").rendezvous().unnamed::<[u8]>()?;
    /// let receiver = std::thread::spawn(move || {
    ///     let mut target = [0; 100];
    ///     let came = rx.recv_into(&mut target[..]).unwrap();
    ///     assert_eq!(&target[..came.elements], b"from my memory into yours");
    /// });
    /// let went = tx.send_from(b"from my memory into yours")?;
    /// assert_eq!(went.elements, 25);
    /// println!("copied {} x", went.copies); // 1, or 2 where cross-memory attach is not allowed
    /// # receiver.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Who is allowed to.** The receiver reads by `process_vm_readv`, for which it needs the right to attach a debugger to this
    /// process. Processes of one user usually have it of each other. They do not where the system was told so (Yama's
    /// `kernel.yama.ptrace_scope`: 1 leaves it to ancestors, such as the launcher that started this process; 2 to
    /// administrators, 3 to nobody), where a container or a seccomp filter forbids the call, or if this process has made itself
    /// non-dumpable. Staffetta never widens those rights; a program that wants to under Yama can name its receiver by
    /// `prctl(PR_SET_PTRACER)`, which lets that process do anything to it. Level 1 trusts a peer that far in any case: both write
    /// the domain's memory. [`DomainOptions::cross_memory`](crate::DomainOptions::cross_memory) switches it off.
    ///
    /// A short slice is copied faster by [`send_slice`](Self::send_slice): the system call costs about as much as copying some
    /// thousand bytes.
    ///
    /// # Errors
    /// `TooLong` if the receiver has no room for it, with both lengths in bytes; the receiver is told as well, and nothing is lost.
    /// `Disconnected`, `PeerDied`: the receiver left or died, perhaps in the middle; the slice was not received. `NoStaging`: it has
    /// to be copied twice, and the domain is full.
    pub fn send_from(&self, slice: &[T]) -> Result<Transfer, SendError<()>> {
        self.send_from_within(slice, Patience::Until(None))
    }

    /// As [`send_from`](Self::send_from), for at most `timeout`, even if the receiver is stopped while it reads: what it has read
    /// by then it drops.
    ///
    /// # Errors
    /// As [`send_from`](Self::send_from); `TimedOut`: the slice was not received.
    pub fn send_from_timeout(&self, slice: &[T], timeout: Duration) -> Result<Transfer, SendError<()>> {
        self.send_from_within(slice, Patience::Until(deadline_after(timeout)))
    }

    fn send_from_within(&self, slice: &[T], patience: Patience) -> Result<Transfer, SendError<()>> {
        let end = self.end();
        if !end.member.here() {
            return Err(SendError { message: (), why: SendFailure::Forked });
        }
        let (bytes, length) = (slice.as_ptr().cast(), size_of_val(slice));
        let message = match end.is_rendezvous() {
            true => Outgoing::Lent { bytes, length },
            false => Outgoing::Private { bytes, length, exact: false },
        };
        // SAFETY: X1.
        match unsafe { end.send(message, patience) } {
            Ok(()) => Ok(Transfer { elements: slice.len(), copies: end.copies() }),
            Err(stop) => Err(SendError { message: (), why: end.send_failure(stop, patience) }),
        }
    }
}

/// Where a receiver can be told to put a message of `T`: a [`Variable`], or for slices of [numbers](Number) a slice, an array or a
/// vector as long as it is.
///
/// See [`Receiver::recv_into`](crate::Receiver::recv_into).
pub trait Target<T: ?Sized>: sealed::Sealed {
    /// What is told of a message that has been received.
    type Came;
    #[doc(hidden)]
    fn receive_on(&mut self, end: &End, patience: Patience) -> Result<Self::Came, RecvError>;
}

mod sealed {
    pub trait Sealed {}
    impl<T: crate::Message + ?Sized> Sealed for crate::Variable<T> {}
    impl<T: super::Number> Sealed for [T] {}
    impl<T: super::Number, const N: usize> Sealed for [T; N] {}
    impl<T: super::Number> Sealed for Vec<T> {}
}

impl<T: Message + ?Sized> Target<T> for Variable<T> {
    type Came = ();
    fn receive_on(&mut self, end: &End, patience: Patience) -> Result<(), RecvError> {
        super::receiver::receive_into_variable(end, self, patience)
    }
}

impl<T: Number> Target<[T]> for [T] {
    type Came = Transfer;
    fn receive_on(&mut self, end: &End, patience: Patience) -> Result<Transfer, RecvError> {
        let length = receive_into_slice(end, self, patience)?;
        Ok(Transfer { elements: length, copies: end.copies() })
    }
}

impl<T: Number, const N: usize> Target<[T]> for [T; N] {
    type Came = Transfer;
    fn receive_on(&mut self, end: &End, patience: Patience) -> Result<Transfer, RecvError> {
        self[..].receive_on(end, patience)
    }
}

impl<T: Number> Target<[T]> for Vec<T> {
    type Came = Transfer;
    fn receive_on(&mut self, end: &End, patience: Patience) -> Result<Transfer, RecvError> {
        self[..].receive_on(end, patience)
    }
}

/// Receives a slice into private memory; gives its elements' number.
pub(super) fn receive_into_slice<T: Message + Copy>(
    end: &End,
    into: &mut [T],
    patience: Patience,
) -> Result<usize, RecvError> {
    if !end.member.here() {
        return Err(RecvError::Forked);
    }
    let (bytes, capacity) = (into.as_mut_ptr().cast(), size_of_val(into));
    let target = Incoming::Private { bytes, capacity, exact: false };
    // SAFETY: the slice is borrowed mutably until the call returns; both ends agreed on the type, so what is
    // written are elements, or (X2) bytes of numbers.
    let length = unsafe { end.receive(target, patience) }.map_err(|stop| end.recv_failure(stop, patience))?;
    <[T] as Message>::tail(length).ok_or(RecvError::Corrupt)
}
