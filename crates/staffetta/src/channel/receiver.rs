//! The receiving end.

#![allow(unsafe_code)] // Hands pointers to slices and variables to the protocols.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::accessors::accessors;
use super::call::{Incoming, Patience, Stop};
use super::end::{deadline_after, End};
use super::guard::Received;
use super::line::INLINE_BYTES;
use super::spec::{Carried, Payload};
use super::transfer::{receive_into_slice, Target};
use crate::error::RecvError;
use crate::message::variable::Variable;
use crate::Message;

/// The receiving end of a channel of `T`: values, slices, or [`Parcel`](crate::Parcel)s.
///
/// Iterating over it ends when the sender has left.
pub struct Receiver<T: Carried + ?Sized> {
    end: End,
    _messages: PhantomData<fn() -> Box<T>>,
}

impl<T: Carried + ?Sized> Receiver<T> {
    pub(crate) fn new(end: End) -> Self {
        Receiver { end, _messages: PhantomData }
    }

    pub(crate) fn end(&self) -> &End {
        &self.end
    }
}

accessors!(Receiver, "sending");

impl<T: Payload> Receiver<T> {
    /// Receives: a value into private memory, or a parcel.
    ///
    /// # Errors
    /// [`RecvError`]: the sender left or died; a capability cannot be acquired.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        T::recv_on(&self.end, Patience::Until(None))
    }

    /// Receives if a message waits already.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `NoPeer` if nobody holds the sending end, `WouldBlock` if it offers nothing.
    pub fn try_recv(&self) -> Result<T, RecvError> {
        T::recv_on(&self.end, Patience::Try)
    }

    /// Receives, for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `TimedOut`: then nothing was taken.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        T::recv_on(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// Receives, until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        T::recv_on(&self.end, Patience::Until(Some(deadline)))
    }

    /// Messages until the sender leaves.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Messages that wait already.
    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// A batch: waits for one message, and takes with it those that are there already, at most `most` in all; gives how many
    /// were added to `into`. With `most` 0 it does nothing.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").buffered(8).unnamed::<u64>()?;
    /// tx.send_many(0..5)?;
    /// let mut batch = Vec::new();
    /// assert_eq!(rx.recv_many(&mut batch, 3)?, 3);
    /// assert_eq!(rx.recv_many(&mut batch, 3)?, 2);
    /// assert_eq!(batch, [0, 1, 2, 3, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv), if the first one does not come. Whatever comes after it ends the batch, and is the next call's to
    /// report.
    pub fn recv_many(&self, into: &mut Vec<T>, most: usize) -> Result<usize, RecvError> {
        if most == 0 {
            return Ok(0);
        }
        into.push(self.recv()?);
        let mut taken = 1;
        while taken < most {
            let known = self.end.known_peer();
            match self.try_recv() {
                Ok(message) => into.push(message),
                Err(_) => {
                    // That the sender is gone is said once: by the next call.
                    self.end.knew_peer(known);
                    break;
                }
            }
            taken += 1;
        }
        Ok(taken)
    }
}

impl<T: Message> Receiver<T> {
    /// Takes the next message of a buffered channel in hand, where the sender built it; waits for one.
    ///
    /// One message at a time: while it is out, this and every receive says `Held`.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("lines").buffered(8).sender::<[u8; 80]>()?;
    /// let rx = domain.receiver::<[u8; 80]>("lines")?;
    /// tx.send([b'.'; 80])?;
    /// let line = rx.recv_ref()?;
    /// assert!(line.iter().all(|byte| *byte == b'.'));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `NotBuffered` for a channel of another kind, `Held`, `Torn`.
    #[inline]
    pub fn recv_ref(&self) -> Result<Received<'_, T>, RecvError> {
        Received::take(&self.end, Patience::Until(None))
    }

    /// Takes the next message in hand if one waits already.
    ///
    /// # Errors
    /// As [`recv_ref`](Self::recv_ref); `WouldBlock`, `NoPeer`.
    #[inline]
    pub fn try_recv_ref(&self) -> Result<Received<'_, T>, RecvError> {
        Received::take(&self.end, Patience::Try)
    }

    /// As [`recv_ref`](Self::recv_ref), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_ref`](Self::recv_ref); `TimedOut`.
    pub fn recv_ref_timeout(&self, timeout: Duration) -> Result<Received<'_, T>, RecvError> {
        Received::take(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// As [`recv_ref`](Self::recv_ref), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_ref_timeout`](Self::recv_ref_timeout).
    pub fn recv_ref_deadline(&self, deadline: Instant) -> Result<Received<'_, T>, RecvError> {
        Received::take(&self.end, Patience::Until(Some(deadline)))
    }
}

/// Messages until the sender leaves.
pub struct IntoIter<T: Carried>(Receiver<T>);

impl<T: Payload> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T: Payload> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<T: Message + Copy> Receiver<[T]> {
    /// Receives a slice into private memory; gives its elements' number.
    ///
    /// # Errors
    /// As for a value; `TooLong` if there is no room for it: it is not taken, the sender is told as well.
    pub fn recv_slice(&self, into: &mut [T]) -> Result<usize, RecvError> {
        self.recv_slice_within(into, Patience::Until(None))
    }

    /// As [`recv_slice`](Self::recv_slice), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_slice`](Self::recv_slice); `TimedOut`.
    pub fn recv_slice_timeout(&self, into: &mut [T], timeout: Duration) -> Result<usize, RecvError> {
        self.recv_slice_within(into, Patience::Until(deadline_after(timeout)))
    }

    fn recv_slice_within(&self, into: &mut [T], patience: Patience) -> Result<usize, RecvError> {
        receive_into_slice(&self.end, into, patience)
    }
}

/// Receives into a variable of the domain.
pub(super) fn receive_into_variable<T: Message + ?Sized>(
    end: &End,
    variable: &mut Variable<T>,
    patience: Patience,
) -> Result<(), RecvError> {
    if !end.member.here() {
        return Err(RecvError::Forked);
    }
    if !end.member.is_of(variable.storage.raw().member()) {
        return Err(RecvError::WrongDomain);
    }
    if matches!(patience, Patience::Until(Some(_))) {
        variable.ensure_spare()?;
    }
    let Some(block) = variable.storage.raw().block() else {
        return Err(RecvError::Corrupt);
    };
    let segment = end.member.segment();
    let reference = end.member.refs.refer(end.spec().method, segment.map().block(block));
    let schema = &end.spec().schema;
    let target = Incoming::Variable {
        bytes: variable.storage.raw().data().as_ptr(),
        capacity: variable.capacity(),
        reference,
        exact: schema.is_sized(),
        small: schema.is_sized() && schema.size() as usize <= INLINE_BYTES,
    };
    variable.clear();
    // SAFETY: the variable is borrowed mutably until this returns; abandoned storage is replaced below.
    match unsafe { end.receive(target, patience) } {
        Ok(length) if variable.received(length) => Ok(()),
        Ok(_) => Err(RecvError::Corrupt),
        Err(stop) => {
            if stop == Stop::Abandoned {
                variable.abandon(false);
            }
            Err(end.recv_failure(stop, patience))
        }
    }
}

impl<T: Message + ?Sized> Receiver<T> {
    /// Receives into a target of the caller's: a [`Variable`] of the domain, or, for slices of numbers, private memory. Copied once
    /// from a variable of the sender into a variable, and from a slice that is sent by [`Sender::send_from`](crate::Sender::send_from)
    /// into either. On an error a variable is empty, and what is in a slice is unspecified.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").rendezvous().unnamed::<[f32]>()?;
    /// # let sender = std::thread::spawn(move || {
    /// tx.send_from(&[0.5, 1.5]).unwrap(); // in another thread, or another process
    /// # });
    /// let mut target = [0.0; 8];
    /// let came = rx.recv_into(&mut target)?;
    /// assert_eq!(target[..came.elements], [0.5, 1.5]);
    /// # sender.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TooLong` (on both sides), `Disconnected`, `PeerDied`.
    pub fn recv_into<V: Target<T> + ?Sized>(&self, target: &mut V) -> Result<V::Came, RecvError> {
        target.receive_on(&self.end, Patience::Until(None))
    }

    /// As [`recv_into`](Self::recv_into), for at most `timeout`, even if the sender is stopped in the middle of its
    /// copy: then a variable moves to other memory, which is set aside before.
    ///
    /// # Errors
    /// As [`recv_into`](Self::recv_into); `TimedOut`.
    pub fn recv_into_timeout<V: Target<T> + ?Sized>(
        &self,
        target: &mut V,
        timeout: Duration,
    ) -> Result<V::Came, RecvError> {
        target.receive_on(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// Receives into a target if a message waits already.
    ///
    /// # Errors
    /// As [`recv_into`](Self::recv_into); `NoPeer`, `WouldBlock`.
    pub fn try_recv_into<V: Target<T> + ?Sized>(&self, target: &mut V) -> Result<V::Came, RecvError> {
        target.receive_on(&self.end, Patience::Try)
    }
}
