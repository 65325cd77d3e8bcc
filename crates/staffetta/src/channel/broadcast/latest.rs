//! The channel of the latest value: a broadcast of degree 1 whose sender never waits, and whose receivers want the newest.
//!
//! No protocol of its own: to publish is the same compare-exchange; a receiver pins the newest value, and so reads it whole, in
//! place, however often the sender publishes meanwhile (`broadcast/mod.rs`, F1, F2, F6).

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::end::{ReceiveEnd, SendEnd};
use super::ends::accessors;
use super::guard::{receive, Shared, SharedSlot};
use crate::channel::call::Patience;
use crate::channel::end::deadline_after;
use crate::error::{RecvError, SendError, SendFailure};
use crate::Message;

/// The sending end of a channel of the latest value; made by [`LatestBuilder`](crate::LatestBuilder).
///
/// It never waits for anybody: not for a receiver that reads, nor for one that is stopped.
pub struct LatestSender<T: Message> {
    end: SendEnd,
    _values: PhantomData<fn(T)>,
}

/// A receiving end of a channel of the latest value; made by [`LatestBuilder`](crate::LatestBuilder).
///
/// It gets whole values, always the newest, in place. What it does not look at in time is overwritten.
pub struct LatestReceiver<T: Message> {
    end: ReceiveEnd,
    _values: PhantomData<fn() -> T>,
}

accessors!(LatestSender, LatestReceiver);

impl<T: Message> LatestSender<T> {
    pub(crate) fn new(end: SendEnd) -> Self {
        LatestSender { end, _values: PhantomData }
    }

    pub(super) fn end(&self) -> &SendEnd {
        &self.end
    }

    /// Makes `value` the latest; one copy. Never waits.
    ///
    /// # Errors
    /// [`SendError`] with the value: a slot of this sender is reserved (`Held`).
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        // A message has no drop glue (message::Message, M2): nothing happens to it here once its bytes are away.
        self.reserve().and_then(|slot| slot.copy(&value)).map_err(|why| SendError { message: value, why })
    }

    /// Reserves a slot, to build the next value in place. Never waits.
    ///
    /// # Errors
    /// `Held`: one slot at a time.
    pub fn reserve(&self) -> Result<SharedSlot<'_, MaybeUninit<T>>, SendFailure> {
        // A degree of which nobody is waited for always has room (F4, F6).
        SharedSlot::reserve(&self.end, Patience::Try)
    }

    /// How many values were sent, by this sender and those before it.
    pub fn sent(&self) -> u64 {
        self.end.published()
    }
}

impl<T: Message> LatestReceiver<T> {
    pub(crate) fn new(end: ReceiveEnd) -> Self {
        LatestReceiver { end, _values: PhantomData }
    }

    pub(super) fn end(&self) -> &ReceiveEnd {
        &self.end
    }

    /// A copy of the newest value, at once, whether or not this receiver has seen it.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("temperature").latest().sender::<f64>()?;
    /// let rx = domain.channel("temperature").latest().receiver::<f64>()?;
    /// assert!(rx.get().is_err()); // none yet
    /// (0..100).try_for_each(|n| tx.send(f64::from(n)))?;
    /// assert_eq!((rx.get()?, rx.get()?), (99.0, 99.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `WouldBlock`, `NoPeer`, `Disconnected` or `PeerDied`: nothing was ever sent. A value stays when its sender is gone.
    pub fn get(&self) -> Result<T, RecvError> {
        self.end.back_to_the_last();
        receive(&self.end, Patience::Try)
    }

    /// The newest value in place, at once, whether or not this receiver has seen it.
    ///
    /// # Errors
    /// As [`get`](Self::get); `Held`.
    pub fn get_ref(&self) -> Result<Shared<'_, T>, RecvError> {
        self.end.back_to_the_last();
        Shared::take(&self.end, Patience::Try)
    }

    /// Waits for a value that this receiver has not seen; a copy of the newest.
    ///
    /// # Errors
    /// [`RecvError`]: the sender left or died, and its last value was seen.
    pub fn recv(&self) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(None))
    }

    /// As [`recv`](Self::recv), if there is one already.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock`, `NoPeer`.
    pub fn try_recv(&self) -> Result<T, RecvError> {
        receive(&self.end, Patience::Try)
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `TimedOut`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// As [`recv`](Self::recv), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(Some(deadline)))
    }

    /// Waits for a value that this receiver has not seen; the newest, in place.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `Held`.
    pub fn recv_ref(&self) -> Result<Shared<'_, T>, RecvError> {
        Shared::take(&self.end, Patience::Until(None))
    }

    /// As [`recv_ref`](Self::recv_ref), if there is one already.
    ///
    /// # Errors
    /// As [`recv_ref`](Self::recv_ref); `WouldBlock`, `NoPeer`.
    pub fn try_recv_ref(&self) -> Result<Shared<'_, T>, RecvError> {
        Shared::take(&self.end, Patience::Try)
    }

    /// As [`recv_ref`](Self::recv_ref), for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_ref`](Self::recv_ref); `TimedOut`.
    pub fn recv_ref_timeout(&self, timeout: Duration) -> Result<Shared<'_, T>, RecvError> {
        Shared::take(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// As [`recv_ref`](Self::recv_ref), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_ref_timeout`](Self::recv_ref_timeout).
    pub fn recv_ref_deadline(&self, deadline: Instant) -> Result<Shared<'_, T>, RecvError> {
        Shared::take(&self.end, Patience::Until(Some(deadline)))
    }

    /// How many values were overwritten before this receiver looked at them.
    pub fn missed(&self) -> u64 {
        self.end.missed()
    }

    /// Does anybody hold the sending end?
    pub fn has_peer(&self) -> bool {
        self.end.common.has_sender()
    }
}
