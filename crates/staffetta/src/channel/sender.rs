//! The sending end.

#![allow(unsafe_code)] // Hands pointers to slices and variables to the protocols.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::accessors::accessors;
use super::call::{Outgoing, Patience, Stop};
use super::end::{deadline_after, End};
use super::guard::Slot;
use super::spec::{Carried, Payload};
use crate::error::{SendError, SendFailure};
use crate::message::variable::Variable;
use crate::Message;

/// The sending end of a channel of `T`: values, slices, or [`Parcel`](crate::Parcel)s.
///
/// `send` returns when the message has been taken (rendezvous) or is in the buffer (basic, buffered); an error gives
/// the message back. Dropping the end disconnects it.
pub struct Sender<T: Carried + ?Sized> {
    end: End,
    _messages: PhantomData<fn(Box<T>)>,
}

impl<T: Carried + ?Sized> Sender<T> {
    pub(crate) fn new(end: End) -> Self {
        Sender { end, _messages: PhantomData }
    }

    pub(crate) fn end(&self) -> &End {
        &self.end
    }
}

accessors!(Sender, "receiving");

impl<T: Payload> Sender<T> {
    /// Sends, and returns when the message has been taken (rendezvous) or is in the buffer (basic, buffered).
    ///
    /// A value comes from private memory: it is staged, or rides in the descriptor's own line, and is copied twice. Of a
    /// parcel only the reference moves; using it afterwards does not compile:
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
    /// [`SendError`] with the message: the receiver left or died; there is no memory to stage a value; a parcel lies in
    /// the wrong kind of memory.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        T::send_on(&self.end, message, Patience::Until(None))
    }

    /// Sends if a receiver waits already (rendezvous) or there is room (basic, buffered).
    ///
    /// # Errors
    /// As [`send`](Self::send); `NoPeer` if nobody holds the receiving end, `WouldBlock` if it does not wait.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        T::send_on(&self.end, message, Patience::Try)
    }

    /// Sends, or gives the message back when `timeout` has passed: it was taken, or it was not, never both.
    ///
    /// # Errors
    /// As [`send`](Self::send); `TimedOut`.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendError<T>> {
        T::send_on(&self.end, message, Patience::Until(deadline_after(timeout)))
    }

    /// Sends, or gives the message back at `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendError<T>> {
        T::send_on(&self.end, message, Patience::Until(Some(deadline)))
    }
}

impl<T: Payload> Sender<T> {
    /// Sends one after the other, waiting for room where there is none; gives how many. See
    /// [`recv_many`](crate::Receiver::recv_many).
    ///
    /// # Errors
    /// As [`send`](Self::send), with the message that was not sent. Those before it are sent; those after it are still in the
    /// iterator, if that was passed by reference.
    pub fn send_many(&self, messages: impl IntoIterator<Item = T>) -> Result<u64, SendError<T>> {
        let mut sent = 0;
        for message in messages {
            self.send(message)?;
            sent += 1;
        }
        Ok(sent)
    }
}

impl<T: Payload> Sender<T> {
    /// Sends without waiting, whatever waits: if there is no room the oldest message is taken out, and comes back.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").bounded(2).unnamed::<u64>()?;
    /// assert_eq!(tx.force_send(1)?, None);
    /// assert_eq!(tx.force_send(2)?, None);
    /// assert_eq!(tx.force_send(3)?, Some(1));
    /// assert_eq!(rx.recv()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SendFailure::CannotDisplace`]: of a channel whose messages only receivers may take: one that is not a queue,
    /// or a [`many_to_one`](crate::ChannelBuilder::many_to_one).
    pub fn force_send(&self, message: T) -> Result<Option<T>, SendError<T>> {
        T::force_on(&self.end, message)
    }
}

impl<T: Message> Sender<T> {
    /// Reserves the next slot of a buffered channel, to build a message in place; waits while `degree` messages wait.
    ///
    /// One slot at a time: while it is out, this and every send says `Held`.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("points").buffered(8).sender::<[f64; 3]>()?;
    /// # let rx = domain.receiver::<[f64; 3]>("points")?;
    /// let mut point = tx.reserve()?.zeroed();
    /// point[1] = 0.5;
    /// assert_eq!(point.seq(), 0);
    /// point.send()?;
    /// # assert_eq!(rx.recv()?, [0.0, 0.5, 0.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send); `NotBuffered` for a channel of another kind, `Held`.
    #[inline]
    pub fn reserve(&self) -> Result<Slot<'_, MaybeUninit<T>>, SendFailure> {
        Slot::reserve(&self.end, Patience::Until(None))
    }

    /// Reserves the next slot if fewer than `degree` messages wait.
    ///
    /// ```
    /// use staffetta::SendFailure;
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>()?;
    /// tx.try_reserve()?.write(1)?;
    /// assert!(matches!(tx.try_reserve(), Err(SendFailure::WouldBlock)));
    /// assert_eq!(rx.recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); `WouldBlock`, `NoPeer`.
    pub fn try_reserve(&self) -> Result<Slot<'_, MaybeUninit<T>>, SendFailure> {
        Slot::reserve(&self.end, Patience::Try)
    }

    /// As [`reserve`](Self::reserve), for at most `timeout`.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); `TimedOut`.
    pub fn reserve_timeout(&self, timeout: Duration) -> Result<Slot<'_, MaybeUninit<T>>, SendFailure> {
        Slot::reserve(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// As [`reserve`](Self::reserve), until `deadline`.
    ///
    /// # Errors
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn reserve_deadline(&self, deadline: Instant) -> Result<Slot<'_, MaybeUninit<T>>, SendFailure> {
        Slot::reserve(&self.end, Patience::Until(Some(deadline)))
    }
}

impl<T: Message + Copy> Sender<[T]> {
    /// Sends a copy of a slice of private memory; two copies. [`send_from`](Self::send_from) makes one of them, if the slice is long.
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
        let message =
            Outgoing::Private { bytes: slice.as_ptr().cast(), length: size_of_val(slice), exact: false };
        // SAFETY: the slice is borrowed until the call returns; T is Copy.
        unsafe { self.end.send(message, patience) }
            .map_err(|stop| SendError { message: (), why: self.end.send_failure(stop, patience) })
    }
}

impl<T: Payload> Sender<T> {
    /// Takes back what a dead receiver had not acknowledged, for another one to do the work: its parcels, and the message that it had in
    /// hand. Empty as long as a receiver is there, which gets them itself, or a successor has claimed that end
    /// ([`Domain::successor_of`](crate::Domain::successor_of)).
    ///
    /// What was sent and not yet received stays in the channel. What comes back was perhaps worked on in part. A message that the dead one
    /// had begun to change in place does not come back; it is counted in [`lost`](Self::lost).
    ///
    /// ```
    /// use staffetta::{Continuation, SendFailure};
    /// # let domain = staffetta::Domain::create()?;
    /// let jobs = domain.channel("jobs").buffered(8).continuation(Continuation::ReturnToSender).sender::<u64>()?;
    /// if let Err(error) = jobs.try_send(7) {
    ///     if matches!(error.why, SendFailure::PeerDied | SendFailure::PeerAbsent) {
    ///         let again = jobs.unacknowledged()?;
    ///         // ... give them to somebody else
    /// #       drop(again);
    ///     }
    /// }
    /// assert!(jobs.unacknowledged()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotKept`: the channel's continuation keeps nothing; `Forked`.
    pub fn unacknowledged(&self) -> Result<Vec<T>, SendFailure> {
        if !self.end.member.here() {
            return Err(SendFailure::Forked);
        }
        if !self.end.spec().continuation.keeps() {
            return Err(SendFailure::NotKept);
        }
        Ok(self.end.in_place_of_receiver(T::take_back_on).unwrap_or_default())
    }
}

impl<T: Message + ?Sized> Sender<T> {
    fn send_variable_within(
        &self,
        variable: &mut Variable<T>,
        patience: Patience,
    ) -> Result<(), SendError<()>> {
        let fail = |why| Err(SendError { message: (), why });
        if !self.end.member.here() {
            return fail(SendFailure::Forked);
        }
        if !self.end.member.is_of(variable.storage.raw().member()) {
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
        let exact = self.end.spec().schema.is_sized();
        let message = Outgoing::Variable { bytes, length, reference, exact };
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
            Err(stop) => {
                if let Stop::AbandonedTooLong { .. } = stop {
                    variable.abandon(true);
                }
                fail(self.end.send_failure(stop, patience))
            }
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
    pub fn send_variable_timeout(
        &self,
        variable: &mut Variable<T>,
        timeout: Duration,
    ) -> Result<(), SendError<()>> {
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
