//! A receiver of a broadcast, or of the latest value, that is in nobody's way, for messages known only at run time.

#![allow(unsafe_code)] // Copies a message out of its slot.

use std::time::{Duration, Instant};

use super::end::ReceiveEnd;
use crate::channel::call::Patience;
use crate::channel::dynamic::DynRecvError;
use crate::channel::end::deadline_after;
use crate::channel::spec::Kind;
use crate::message::{Schema, Value};

/// A receiver of a broadcast, or of the latest value, whose messages are known only at run time.
///
/// It takes nothing away from the others, and is never waited for: what it is too slow for it misses, and counts. Made by
/// [`ChannelBuilder::dyn_observer`](crate::ChannelBuilder::dyn_observer).
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("ticks").broadcast(4).sender::<u32>()?;
/// let rx = domain.channel("ticks").dyn_observer()?;
/// (0..10).try_for_each(|n| tx.send(n))?; // waits for nobody
/// assert_eq!(rx.recv_value()?, staffetta::message::Value::Unsigned(6));
/// assert_eq!((rx.recv_bytes()?, rx.missed()), (7_u32.to_ne_bytes().to_vec(), 6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DynObserver {
    end: ReceiveEnd,
}

impl DynObserver {
    pub(crate) fn new(end: ReceiveEnd) -> Self {
        DynObserver { end }
    }

    /// The layout of the messages, as the domain stores it.
    pub fn schema(&self) -> &Schema {
        &self.end.common.spec().schema
    }

    /// The kind of channel.
    pub fn kind(&self) -> Kind {
        self.end.common.spec().kind
    }

    /// Messages that were gone before this receiver came to them.
    pub fn missed(&self) -> u64 {
        self.end.missed()
    }

    /// Receives the bytes of the next message.
    ///
    /// # Errors
    /// [`DynRecvError`]: the sender left or died, and what it sent was received.
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
    /// As [`recv_bytes`](Self::recv_bytes); `TimedOut`.
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

    /// Receives the next message, as its fields.
    ///
    /// # Errors
    /// As [`recv_bytes`](Self::recv_bytes); [`DynRecvError::Field`], with the message.
    pub fn recv_value(&self) -> Result<Value, DynRecvError> {
        let bytes = self.recv_bytes()?;
        self.schema().read(&bytes).map_err(|why| DynRecvError::Field { why, bytes })
    }

    fn recv_within(&self, patience: Patience) -> Result<Vec<u8>, DynRecvError> {
        let room = self.schema().size();
        let length = usize::try_from(room).map_err(|_| DynRecvError::NoRoom { bytes: room })?;
        let mut bytes = Vec::<u8>::new();
        bytes.try_reserve_exact(length).map_err(|_| DynRecvError::NoRoom { bytes: room })?;
        self.end.take_and(length, patience, |taken| {
            // SAFETY: as many bytes lie there (`take_and` compares), nobody writes them while this runs, and there is room.
            unsafe {
                self.end.tally().copy(taken.bytes, bytes.as_mut_ptr(), length);
                bytes.set_len(length);
            }
        })?;
        Ok(bytes)
    }
}
