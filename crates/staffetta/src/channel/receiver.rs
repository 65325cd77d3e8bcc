//! The receiving end.

#![allow(unsafe_code)] // Hands pointers to slices and variables to the protocols.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::accessors::accessors;
use super::call::{Incoming, Patience, Stop};
use super::end::{deadline_after, End};
use super::guard::Received;
use super::line::INLINE_BYTES;
use super::spec::{Carried, Payload};
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
        if !self.end.member.here() {
            return Err(RecvError::Forked);
        }
        let target =
            Incoming::Private { bytes: into.as_mut_ptr().cast(), capacity: size_of_val(into), exact: false };
        // SAFETY: the slice is borrowed mutably until the call returns; both ends agreed on the type, so what is
        // written are elements.
        let length = unsafe { self.end.receive(target, patience) }
            .map_err(|stop| self.end.recv_failure(stop, patience))?;
        <[T] as Message>::tail(length).ok_or(RecvError::Corrupt)
    }
}

impl<T: Message + ?Sized> Receiver<T> {
    fn recv_variable_within(&self, variable: &mut Variable<T>, patience: Patience) -> Result<(), RecvError> {
        if !self.end.member.here() {
            return Err(RecvError::Forked);
        }
        if !Arc::ptr_eq(&self.end.member, variable.storage.raw().member()) {
            return Err(RecvError::WrongDomain);
        }
        if matches!(patience, Patience::Until(Some(_))) {
            variable.ensure_spare()?;
        }
        let Some(block) = variable.storage.raw().block() else {
            return Err(RecvError::Corrupt);
        };
        let segment = self.end.member.segment();
        let reference = self.end.member.refs.refer(self.end.spec().method, segment.map().block(block));
        let schema = &self.end.spec().schema;
        let target = Incoming::Variable {
            bytes: variable.storage.raw().data().as_ptr(),
            capacity: variable.capacity(),
            reference,
            exact: schema.is_sized(),
            small: schema.is_sized() && schema.size() as usize <= INLINE_BYTES,
        };
        variable.clear();
        // SAFETY: the variable is borrowed mutably until this returns; abandoned storage is replaced below.
        match unsafe { self.end.receive(target, patience) } {
            Ok(length) if variable.received(length) => Ok(()),
            Ok(_) => Err(RecvError::Corrupt),
            Err(stop) => {
                if stop == Stop::Abandoned {
                    variable.abandon(false);
                }
                Err(self.end.recv_failure(stop, patience))
            }
        }
    }

    /// Receives into a variable of the domain: from a variable of the sender, copied once. On an error the variable is empty.
    ///
    /// # Errors
    /// `TooLong` (on both sides), `Disconnected`, `PeerDied`.
    pub fn recv_into(&self, variable: &mut Variable<T>) -> Result<(), RecvError> {
        self.recv_variable_within(variable, Patience::Until(None))
    }

    /// As [`recv_into`](Self::recv_into), for at most `timeout`, even if the sender is stopped in the middle of its
    /// copy: then the variable moves to other memory, which is set aside before.
    ///
    /// # Errors
    /// As [`recv_into`](Self::recv_into); `TimedOut`.
    pub fn recv_into_timeout(&self, variable: &mut Variable<T>, timeout: Duration) -> Result<(), RecvError> {
        self.recv_variable_within(variable, Patience::Until(deadline_after(timeout)))
    }

    /// Receives into a variable if a message waits already.
    ///
    /// # Errors
    /// As [`recv_into`](Self::recv_into); `NoPeer`, `WouldBlock`.
    pub fn try_recv_into(&self, variable: &mut Variable<T>) -> Result<(), RecvError> {
        self.recv_variable_within(variable, Patience::Try)
    }
}
