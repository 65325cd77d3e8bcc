//! Ends of a channel whose messages are known only at run time: by the layout that the domain stores.
//!
//! | a channel of | `send_bytes` | `recv_bytes` |
//! |---|---|---|
//! | values | as `send` of a value; two copies, one in place | as `recv` of a value |
//! | values of variable length | as `send_slice` | as `recv_slice`, with room for [`DynReceiver::set_room`] bytes |
//! | parcels | allocates a parcel, copies the bytes in, sends its reference | receives the parcel, copies the bytes out, frees it |
//!
//! So all kinds and all reference methods work; what is paid is a copy, of parcels too, and it is counted.
//!
//! Y1. Nothing is sent that is no value of the type, as far as the layout tells (`message/fields`): the receiver takes it for its
//!     type, and a `bool` of 2 would be undefined behaviour there. What a type promises beyond its layout nobody can check here:
//!     who writes bytes for such a type keeps its promises.
//! Y2. A message that was taken comes back, whatever is wrong with it.

#![allow(unsafe_code)] // Hands pointers to bytes to the protocols, as `payload.rs` does for values.

use std::time::{Duration, Instant};

use super::accessors::accessors;
use super::call::{Incoming, Outgoing, Patience};
use super::end::{deadline_after, End};
use super::line::INLINE_BYTES;
use super::spec::{Content, Kind, Payload};
use crate::error::{AttachError, RecvError, SendFailure};
use crate::message::parcel::{Parcel, Parcels};
use crate::message::{FieldError, Schema, Value, SCHEMA_LENGTH_MAX};
use crate::Domain;

/// What a channel carries, known at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Carries {
    /// Messages of this type.
    Values(Schema),
    /// Parcels that hold messages of this type.
    Parcels(Schema),
}

impl Carries {
    /// The messages' layout.
    pub fn schema(&self) -> &Schema {
        match self {
            Carries::Values(schema) | Carries::Parcels(schema) => schema,
        }
    }

    pub(crate) fn content(&self) -> Content {
        match self {
            Carries::Values(_) => Content::Value,
            Carries::Parcels(_) => Content::Parcel,
        }
    }

    /// A layout that was put together by hand may contradict itself.
    pub(crate) fn check(&self, name: &str) -> Result<(), AttachError> {
        let impossible = |why: String| AttachError::Impossible { name: name.to_owned(), why };
        self.schema().check().map_err(|why| impossible(why.to_string()))?;
        let length = self.schema().to_string().len();
        if length > SCHEMA_LENGTH_MAX {
            return Err(impossible(format!(
                "its layout has {length} bytes of text, at most {SCHEMA_LENGTH_MAX} are stored"
            )));
        }
        Ok(())
    }
}

/// A message was not sent by a [`DynSender`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DynSendError {
    /// It is no message of the channel's type. Nothing was sent.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// As for any sender.
    #[error(transparent)]
    Send(#[from] SendFailure),
}

/// A [`DynReceiver`] has no message to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DynRecvError {
    /// A message was taken, and is no value of the channel's type.
    #[error("a message of {} bytes was received that is no value of its type: {why}", bytes.len())]
    Field {
        /// What is wrong with it.
        #[source]
        why: FieldError,
        /// The message.
        bytes: Vec<u8>,
    },
    /// There is no room for the longest message.
    #[error(
        "there is no memory for a message of {bytes} bytes; receive with less room (set_room), or free some"
    )]
    NoRoom {
        /// Bytes asked for.
        bytes: u64,
    },
    /// As for any receiver.
    #[error(transparent)]
    Recv(#[from] RecvError),
}

/// The sending end of a channel whose messages are known only at run time.
///
/// ```
/// use staffetta::message::Value;
/// # let domain = staffetta::Domain::create()?;
/// let rx = domain.channel("switches").buffered(4).receiver::<[bool; 2]>()?;
/// let tx = domain.channel("switches").dyn_sender()?;
/// assert_eq!(tx.schema().identity(), "[bool; 2]");
/// tx.send_bytes(&[0, 1])?;
/// tx.send_value(&Value::List(vec![Value::Bool(true), Value::Bool(true)]))?;
/// assert_eq!(rx.recv()?, [false, true]);
/// let refused = tx.send_bytes(&[0, 2]).unwrap_err();
/// assert_eq!(refused.to_string(), "field `[1]`: 2 is no value of it; a bool, 0 or 1, is expected");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DynSender {
    end: End,
}

accessors!("receiving", impl DynSender);

/// The receiving end of a channel whose messages are known only at run time.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("numbers").buffered(4).sender::<u32>()?;
/// let rx = domain.channel("numbers").dyn_receiver()?;
/// tx.send(7)?;
/// tx.send(8)?;
/// assert_eq!(rx.recv_bytes()?, 7_u32.to_ne_bytes());
/// assert_eq!(rx.recv_value()?, staffetta::message::Value::Unsigned(8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DynReceiver {
    end: End,
    room: std::cell::Cell<u64>,
}

accessors!("sending", impl DynReceiver);

/// Room for a message of variable length, unless said otherwise: memory that is not written is not used.
const ROOM_BYTES: u64 = 16 << 20;

macro_rules! describe {
    ($end:ident) => {
        impl $end {
            /// The layout of the messages, as the domain stores it.
            pub fn schema(&self) -> &Schema {
                &self.end.spec().schema
            }

            /// The kind of channel.
            pub fn kind(&self) -> Kind {
                self.end.spec().kind
            }

            /// Does it carry parcels?
            pub fn carries_parcels(&self) -> bool {
                self.end.spec().content == Content::Parcel
            }
        }
    };
}

describe!(DynSender);
describe!(DynReceiver);

impl DynSender {
    pub(crate) fn new(end: End) -> Self {
        DynSender { end }
    }

    /// Sends the bytes of a message, checked against the layout.
    ///
    /// Returns as [`Sender::send`](crate::Sender::send) does.
    ///
    /// # Errors
    /// [`DynSendError::Field`] names the field that is no value of its type; nothing was sent then. Otherwise
    /// as any sender.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), DynSendError> {
        self.send_within(bytes, Patience::Until(None))
    }

    /// As [`send_bytes`](Self::send_bytes), if it need not wait.
    ///
    /// # Errors
    /// As [`send_bytes`](Self::send_bytes); `NoPeer`, `WouldBlock`.
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), DynSendError> {
        self.send_within(bytes, Patience::Try)
    }

    /// As [`send_bytes`](Self::send_bytes), for at most `timeout`.
    ///
    /// # Errors
    /// As [`send_bytes`](Self::send_bytes); `TimedOut`: it was not sent.
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), DynSendError> {
        self.send_within(bytes, Patience::Until(deadline_after(timeout)))
    }

    /// As [`send_bytes`](Self::send_bytes), until `deadline`.
    ///
    /// # Errors
    /// As [`send_bytes_timeout`](Self::send_bytes_timeout).
    pub fn send_bytes_deadline(&self, bytes: &[u8], deadline: Instant) -> Result<(), DynSendError> {
        self.send_within(bytes, Patience::Until(Some(deadline)))
    }

    /// Sends a message given by its fields.
    ///
    /// # Errors
    /// As [`send_bytes`](Self::send_bytes); a field may also be missing, unknown, or out of range.
    pub fn send_value(&self, value: &Value) -> Result<(), DynSendError> {
        self.send_bytes(&self.schema().write(value)?)
    }

    /// As [`send_value`](Self::send_value), if it need not wait.
    ///
    /// # Errors
    /// As [`send_value`](Self::send_value); `NoPeer`, `WouldBlock`.
    pub fn try_send_value(&self, value: &Value) -> Result<(), DynSendError> {
        self.try_send_bytes(&self.schema().write(value)?)
    }

    /// As [`send_value`](Self::send_value), for at most `timeout`.
    ///
    /// # Errors
    /// As [`send_value`](Self::send_value); `TimedOut`: it was not sent.
    pub fn send_value_timeout(&self, value: &Value, timeout: Duration) -> Result<(), DynSendError> {
        self.send_bytes_timeout(&self.schema().write(value)?, timeout)
    }

    /// As [`send_value`](Self::send_value), until `deadline`.
    ///
    /// # Errors
    /// As [`send_value_timeout`](Self::send_value_timeout).
    pub fn send_value_deadline(&self, value: &Value, deadline: Instant) -> Result<(), DynSendError> {
        self.send_bytes_deadline(&self.schema().write(value)?, deadline)
    }

    fn send_within(&self, bytes: &[u8], patience: Patience) -> Result<(), DynSendError> {
        if !self.end.member.here() {
            return Err(SendFailure::Forked.into());
        }
        self.schema().validate(bytes)?; // Y1
        if self.carries_parcels() {
            return Ok(self.send_parcel(bytes, patience)?);
        }
        let (end, at, length) = (&self.end, bytes.as_ptr(), bytes.len());
        let exact = self.schema().is_sized();
        // SAFETY: `bytes` is borrowed until the call returns; they have the length of the channel's messages, if those have one
        // (validated above). The walk is that of `Payload::send_on` for values, and of `send_slice`.
        let sent = unsafe {
            match (end.buffer(), end.many()) {
                (Some(buffer), _) if exact => end.send_into(buffer, at, length, patience),
                (_, Some(many)) if exact => end.put_value(many, at, length, patience),
                _ if exact && length <= INLINE_BYTES => end.send_cell(at, length, patience),
                _ => end.send(Outgoing::Private { bytes: at, length, exact }, patience),
            }
        };
        Ok(sent.map_err(|stop| end.send_failure(stop, patience))?)
    }

    fn send_parcel(&self, bytes: &[u8], patience: Patience) -> Result<(), SendFailure> {
        let domain = Domain::of(&self.end.member);
        let parcels = Parcels { domain: &domain, method: self.end.spec().method };
        let tally = self.end.tally();
        let parcel = parcels.of_bytes(bytes.len(), self.schema().align(), |to| {
            // SAFETY: fresh memory of that many bytes.
            unsafe { tally.copy(bytes.as_ptr(), to, bytes.len()) };
        })?;
        Parcel::send_on(&self.end, parcel, patience).map_err(|error| error.why)
    }
}

impl DynReceiver {
    pub(crate) fn new(end: End) -> Self {
        DynReceiver { end, room: std::cell::Cell::new(ROOM_BYTES) }
    }

    /// Room for a message of variable length in a rendezvous of values, bytes (default 16 MiB): a longer one is refused, and its
    /// sender is told. Channels with a buffer know their longest message, and parcels bring their own room.
    pub fn set_room(&self, bytes: u64) {
        self.room.set(bytes);
    }

    /// Receives the bytes of a message.
    ///
    /// They have a length that the type can have; whether they are a value of it says
    /// [`Schema::validate`], or [`recv_value`](Self::recv_value).
    ///
    /// # Errors
    /// As any receiver; [`DynRecvError::NoRoom`].
    pub fn recv_bytes(&self) -> Result<Vec<u8>, DynRecvError> {
        self.recv_within(Patience::Until(None))
    }

    /// As [`recv_bytes`](Self::recv_bytes), if a message waits already.
    ///
    /// # Errors
    /// As [`recv_bytes`](Self::recv_bytes); `NoPeer`, `WouldBlock`.
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, DynRecvError> {
        self.recv_within(Patience::Try)
    }

    /// As [`recv_bytes`](Self::recv_bytes), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_bytes`](Self::recv_bytes); `TimedOut`: nothing was taken.
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, DynRecvError> {
        self.recv_within(Patience::Until(deadline_after(timeout)))
    }

    /// As [`recv_bytes`](Self::recv_bytes), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_bytes_timeout`](Self::recv_bytes_timeout).
    pub fn recv_bytes_deadline(&self, deadline: Instant) -> Result<Vec<u8>, DynRecvError> {
        self.recv_within(Patience::Until(Some(deadline)))
    }

    /// Receives a message, as its fields.
    ///
    /// # Errors
    /// As [`recv_bytes`](Self::recv_bytes); [`DynRecvError::Field`], with the message, if its sender wrote what is no value
    /// of the type.
    pub fn recv_value(&self) -> Result<Value, DynRecvError> {
        self.read(self.recv_bytes()?)
    }

    /// As [`recv_value`](Self::recv_value), if a message waits already.
    ///
    /// # Errors
    /// As [`recv_value`](Self::recv_value); `NoPeer`, `WouldBlock`.
    pub fn try_recv_value(&self) -> Result<Value, DynRecvError> {
        self.read(self.try_recv_bytes()?)
    }

    /// As [`recv_value`](Self::recv_value), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_value`](Self::recv_value); `TimedOut`: nothing was taken.
    pub fn recv_value_timeout(&self, timeout: Duration) -> Result<Value, DynRecvError> {
        self.read(self.recv_bytes_timeout(timeout)?)
    }

    /// As [`recv_value`](Self::recv_value), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_value_timeout`](Self::recv_value_timeout).
    pub fn recv_value_deadline(&self, deadline: Instant) -> Result<Value, DynRecvError> {
        self.read(self.recv_bytes_deadline(deadline)?)
    }

    fn read(&self, bytes: Vec<u8>) -> Result<Value, DynRecvError> {
        // Y2.
        self.schema().read(&bytes).map_err(|why| DynRecvError::Field { why, bytes })
    }

    fn recv_within(&self, patience: Patience) -> Result<Vec<u8>, DynRecvError> {
        if !self.end.member.here() {
            return Err(RecvError::Forked.into());
        }
        let bytes =
            if self.carries_parcels() { self.recv_parcel(patience)? } else { self.recv_private(patience)? };
        match self.schema().check_length(bytes.len()) {
            Ok(()) => Ok(bytes),
            Err(why) => Err(DynRecvError::Field { why, bytes }),
        }
    }

    fn recv_parcel(&self, patience: Patience) -> Result<Vec<u8>, DynRecvError> {
        let parcel = Parcel::<[u8]>::recv_on(&self.end, patience)?;
        let length = parcel.len();
        let mut bytes = Vec::with_capacity(length);
        // SAFETY: room for so many bytes, all of which are written; the parcel is ours.
        unsafe {
            self.end.tally().copy(parcel.as_ptr(), bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        Ok(bytes)
    }

    fn recv_private(&self, patience: Patience) -> Result<Vec<u8>, DynRecvError> {
        let (end, schema) = (&self.end, self.schema());
        let exact = schema.is_sized();
        let room = match end.spec().kind {
            _ if exact => schema.size(),
            Kind::Rendezvous => self.room.get(),
            _ => end.spec().message_bytes_max,
        };
        let no_room = || DynRecvError::NoRoom { bytes: room };
        let length = usize::try_from(room).map_err(|_| no_room())?;
        let mut bytes = Vec::<u8>::new();
        bytes.try_reserve_exact(length).map_err(|_| no_room())?;
        let at = bytes.as_mut_ptr();
        // SAFETY: room for `length` bytes that nobody else has until the call returns. The walk is that of `Payload::recv_on` for
        // values, and of `recv_slice`.
        let received = unsafe {
            match (end.buffer(), end.many()) {
                (Some(buffer), _) if exact => end.receive_from(buffer, at, length, patience),
                (_, Some(many)) if exact => end.take_value(many, at, length, patience),
                _ if exact && length <= INLINE_BYTES => end.receive_cell(at, length, patience),
                _ => end.receive(Incoming::Private { bytes: at, capacity: length, exact }, patience),
            }
        };
        match received {
            Ok(received) if received <= length && (!exact || received == length) => {
                // SAFETY: so many bytes were written.
                unsafe { bytes.set_len(received) };
                bytes.shrink_to_fit();
                Ok(bytes)
            }
            Ok(_) => Err(RecvError::Corrupt.into()),
            Err(stop) => Err(end.recv_failure(stop, patience).into()),
        }
    }
}

#[cfg(test)]
mod tests;
