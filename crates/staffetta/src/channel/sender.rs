//! The sending end.

#![allow(unsafe_code)] // Hands pointers to private values, variables and parcels to the protocols.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::end::{deadline_after, End};
use super::line::INLINE_BYTES;
use super::rendezvous::{Outgoing, Patience, Stop};
use super::side::{ATTACHED, DIED};
use super::spec::Carried;
use super::tally::SideCounters;
use crate::error::{AllocateError, SendError, SendFailure};
use crate::message::parcel::Parcel;
use crate::message::variable::Variable;
use crate::process::wait::Wait;
use crate::Message;

/// The sending end of a channel of `T`: values, slices, or [`Parcel`]s.
///
/// `send` returns when the message has been taken (rendezvous) or is in the buffer (basic); an error gives the
/// message back. Dropping the end disconnects it.
pub struct Sender<T: Carried + ?Sized> {
    end: End,
    /// One operation at a time (end.rs, E2): Send, not Sync.
    _messages: PhantomData<(Cell<()>, fn(Box<T>))>,
}

impl<T: Carried + ?Sized> Sender<T> {
    pub(crate) fn new(end: End) -> Self {
        Sender { end, _messages: PhantomData }
    }

    /// How this end waits.
    pub fn wait(&self) -> Wait {
        self.end.wait_policy()
    }

    /// Changes how this end waits.
    pub fn set_wait(&self, wait: Wait) {
        self.end.set_wait(wait);
    }

    /// The counters of this side.
    pub fn counters(&self) -> SideCounters {
        self.end.tally().read()
    }

    /// The counters of both sides: the sender's, the receiver's.
    pub fn channel_counters(&self) -> (SideCounters, SideCounters) {
        let record = self.end.record();
        (record.sender_tally.read(), record.receiver_tally.read())
    }

    /// Does anybody hold the receiving end?
    pub fn has_peer(&self) -> bool {
        self.end.member.here() && self.end.peer().state() == ATTACHED
    }

    fn failure(&self, stop: Stop, patience: Patience) -> SendFailure {
        match stop {
            Stop::TimedOut if matches!(patience, Patience::Try) => self.would_block(),
            Stop::TimedOut | Stop::Abandoned => SendFailure::TimedOut,
            Stop::Gone(end) if end.state() == DIED => SendFailure::PeerDied,
            Stop::Gone(_) => SendFailure::Disconnected,
            Stop::WouldBlock => self.would_block(),
            Stop::TooLong { length, capacity } => SendFailure::TooLong { length, capacity },
            Stop::Full => SendFailure::Allocate(AllocateError::Full {
                bytes: 0,
                budget: self.end.member.segment().header().budget_bytes.load(std::sync::atomic::Ordering::Relaxed),
                charged: self.end.member.segment().header().charged_bytes.load(std::sync::atomic::Ordering::Relaxed),
            }),
            Stop::Corrupt => SendFailure::Corrupt,
        }
    }

    fn would_block(&self) -> SendFailure {
        if self.has_peer() {
            SendFailure::WouldBlock
        } else {
            SendFailure::NoPeer
        }
    }
}

impl<T: Message> Sender<T> {
    #[inline]
    fn send_value(&self, value: T, patience: Patience) -> Result<(), SendError<T>> {
        if !self.end.member.here() {
            return Err(SendError { message: value, why: SendFailure::Forked });
        }
        // M2: no drop glue, so the value may simply be forgotten once its bytes are away.
        let value = ManuallyDrop::new(value);
        let bytes = std::ptr::from_ref(&*value).cast::<u8>();
        let length = size_of::<T>();
        let message = if length <= INLINE_BYTES {
            Outgoing::Cell { bytes, length }
        } else {
            Outgoing::Private { bytes, length }
        };
        // SAFETY: `value` lives until the call returns.
        match unsafe { self.end.send(message, patience) } {
            Ok(()) => Ok(()),
            Err(stop) => Err(SendError {
                message: ManuallyDrop::into_inner(value),
                why: self.failure(stop, patience),
            }),
        }
    }

    /// Sends a value from private memory: staged, or riding in the descriptor's own line; two copies.
    ///
    /// # Errors
    /// [`SendError`] with the value: the receiver left or died, or there is no memory to stage it.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_value(value, Patience::Until(None))
    }

    /// Sends if a receiver waits already.
    ///
    /// # Errors
    /// As [`send`](Self::send); `NoPeer` if nobody holds the receiving end, `WouldBlock` if it does not wait.
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_value(value, Patience::Try)
    }

    /// Sends, or gives the value back when `timeout` has passed: it was taken, or it was not, never both.
    ///
    /// # Errors
    /// As [`send`](Self::send); `TimedOut`.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_value(value, Patience::Until(deadline_after(timeout)))
    }

    /// Sends, or gives the value back at `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.send_value(value, Patience::Until(Some(deadline)))
    }
}

impl<T: Message + Copy> Sender<[T]> {
    /// Sends a copy of a slice of private memory; two copies.
    ///
    /// # Errors
    /// As for a value; `TooLong` if the receiver has no room for it.
    pub fn send_slice(&self, slice: &[T]) -> Result<(), SendError<()>> {
        self.send_slice_within(slice, Patience::Until(None))
    }

    /// As [`send_slice`](Self::send_slice), for at most `timeout`.
    ///
    /// # Errors
    /// As [`send_slice`](Self::send_slice); `TimedOut`.
    pub fn send_slice_timeout(&self, slice: &[T], timeout: Duration) -> Result<(), SendError<()>> {
        self.send_slice_within(slice, Patience::Until(deadline_after(timeout)))
    }

    fn send_slice_within(&self, slice: &[T], patience: Patience) -> Result<(), SendError<()>> {
        if !self.end.member.here() {
            return Err(SendError { message: (), why: SendFailure::Forked });
        }
        let message = Outgoing::Private { bytes: slice.as_ptr().cast(), length: size_of_val(slice) };
        // SAFETY: the slice is borrowed until the call returns; T is Copy.
        unsafe { self.end.send(message, patience) }
            .map_err(|stop| SendError { message: (), why: self.failure(stop, patience) })
    }
}

impl<T: Message + ?Sized> Sender<T> {
    fn send_variable_within(&self, variable: &mut Variable<T>, patience: Patience) -> Result<(), SendError<()>> {
        let fail = |why| Err(SendError { message: (), why });
        if !self.end.member.here() {
            return fail(SendFailure::Forked);
        }
        if !Arc::ptr_eq(&self.end.member, variable.storage.raw().member()) {
            return fail(SendFailure::WrongDomain);
        }
        let timed = matches!(patience, Patience::Until(Some(_)));
        if timed {
            if let Err(full) = variable.ensure_spare() {
                return fail(full.into());
            }
        }
        let (Some(length), Some(block)) = (variable.length(), variable.storage.raw().block()) else {
            return fail(SendFailure::EmptyVariable);
        };
        let segment = self.end.member.segment();
        let reference = self.end.member.refs.refer(self.end.spec().method, segment.map().block(block));
        let bytes = variable.storage.raw().data().as_ptr();
        let message = Outgoing::Variable { bytes, length, reference };
        // SAFETY: the variable is borrowed mutably: nobody writes it until this returns; if the storage is
        // abandoned it is replaced below.
        match unsafe { self.end.send(message, patience) } {
            Ok(()) => Ok(()),
            Err(Stop::Abandoned) => {
                // The receiver has begun to take it: the message is sent (line.rs, L3). It reads the old
                // storage, and gives it back.
                variable.abandon(true);
                self.end.tally().message(length);
                Ok(())
            }
            Err(stop) => fail(self.failure(stop, patience)),
        }
    }

    /// Sends the message in a variable of the domain: copied once, into the receiver's variable, by whoever arrives second.
    /// The variable keeps its message.
    ///
    /// # Errors
    /// `EmptyVariable`, `TooLong` (on both sides), `Disconnected`, `PeerDied`.
    pub fn send_variable(&self, variable: &mut Variable<T>) -> Result<(), SendError<()>> {
        self.send_variable_within(variable, Patience::Until(None))
    }

    /// As [`send_variable`](Self::send_variable), for at most `timeout`, even if the receiver is stopped in
    /// the middle of its copy: then the message counts as sent, and the variable moves to other memory of the same size, which
    /// is set aside before.
    ///
    /// # Errors
    /// As [`send_variable`](Self::send_variable); `TimedOut`.
    pub fn send_variable_timeout(&self, variable: &mut Variable<T>, timeout: Duration) -> Result<(), SendError<()>> {
        self.send_variable_within(variable, Patience::Until(deadline_after(timeout)))
    }

    /// Sends the message in a variable if a receiver waits already.
    ///
    /// # Errors
    /// As [`send_variable`](Self::send_variable); `NoPeer`, `WouldBlock`.
    pub fn try_send_variable(&self, variable: &mut Variable<T>) -> Result<(), SendError<()>> {
        self.send_variable_within(variable, Patience::Try)
    }
}

impl<T: Message + ?Sized> Sender<Parcel<T>> {
    fn send_parcel(&self, parcel: Parcel<T>, patience: Patience) -> Result<(), SendError<Parcel<T>>> {
        let fail = |parcel, why| Err(SendError { message: parcel, why });
        if !self.end.member.here() {
            return fail(parcel, SendFailure::Forked);
        }
        if !Arc::ptr_eq(&self.end.member, parcel.raw().member()) {
            return fail(parcel, SendFailure::WrongDomain);
        }
        let words = match parcel.words(self.end.spec().method) {
            Ok(words) => words,
            Err(why) => return fail(parcel, why),
        };
        if let Some(id) = parcel.raw().capability() {
            // The descriptor is in the receiver's hands before the commit point.
            if let Err(why) = self.pass(id, patience) {
                return fail(parcel, why);
            }
        }
        // SAFETY: a parcel has no private bytes.
        match unsafe { self.end.send(Outgoing::Parcel(words), patience) } {
            Ok(()) => {
                parcel.into_raw().sent();
                Ok(())
            }
            Err(stop) => fail(parcel, self.failure(stop, patience)),
        }
    }

    fn pass(&self, id: crate::reference::capability::CapabilityId, patience: Patience) -> Result<(), SendFailure> {
        let end = self.end.await_peer(patience).map_err(|stop| self.failure(stop, patience))?;
        let member = &self.end.member;
        if end.slot() == member.slot {
            return Ok(()); // another thread of this process: one table
        }
        member.pass_capability(id, end.slot())
    }

    /// Sends a parcel: only its reference moves. Using it afterwards does not compile:
    ///
    /// ```compile_fail
    /// # use staffetta::{Domain, Parcel};
    /// # let domain = Domain::create().unwrap();
    /// # let tx = domain.sender::<Parcel<u64>>("x").unwrap();
    /// let parcel = Parcel::new(&domain, 7_u64).unwrap();
    /// tx.send(parcel).unwrap();
    /// println!("{}", *parcel);
    /// ```
    ///
    /// # Errors
    /// [`SendError`] with the parcel: the receiver left or died, or the parcel lies in the wrong kind of memory.
    pub fn send(&self, parcel: Parcel<T>) -> Result<(), SendError<Parcel<T>>> {
        self.send_parcel(parcel, Patience::Until(None))
    }

    /// Sends if a receiver waits already.
    ///
    /// # Errors
    /// As [`send`](Self::send); `NoPeer`, `WouldBlock`.
    pub fn try_send(&self, parcel: Parcel<T>) -> Result<(), SendError<Parcel<T>>> {
        self.send_parcel(parcel, Patience::Try)
    }

    /// Sends, or gives the parcel back when `timeout` has passed.
    ///
    /// # Errors
    /// As [`send`](Self::send); `TimedOut`.
    pub fn send_timeout(&self, parcel: Parcel<T>, timeout: Duration) -> Result<(), SendError<Parcel<T>>> {
        self.send_parcel(parcel, Patience::Until(deadline_after(timeout)))
    }

    /// Sends, or gives the parcel back at `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, parcel: Parcel<T>, deadline: Instant) -> Result<(), SendError<Parcel<T>>> {
        self.send_parcel(parcel, Patience::Until(Some(deadline)))
    }
}
