//! The typed ends of a broadcast.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::end::{ReceiveEnd, SendEnd};
use super::guard::{receive, Shared, SharedSlot};
use super::SlowReceiver;
use crate::channel::call::Patience;
use crate::channel::end::deadline_after;
use crate::error::{RecvError, SendError, SendFailure};
use crate::Message;

/// What the ends of a broadcast, and of the latest value, can be asked alike.
macro_rules! accessors {
    ($($end:ident),*) => {$(
        impl<T: $crate::Message> $end<T> {
            /// How this end waits.
            pub fn wait(&self) -> $crate::Wait {
                self.end.common.wait_policy()
            }

            /// Changes how this end waits.
            pub fn set_wait(&self, wait: $crate::Wait) {
                self.end.common.set_wait(wait);
            }

            /// The counters of this end; zero in a forked child.
            pub fn counters(&self) -> $crate::SideCounters {
                if self.end.common.is_here() {
                    self.end.tally().read()
                } else {
                    $crate::SideCounters::default()
                }
            }

            /// The sender's counters, and those of all receivers together; zero in a forked child.
            pub fn channel_counters(&self) -> ($crate::SideCounters, $crate::SideCounters) {
                self.end.common.counters()
            }

            /// How many receivers there are; 0 in a forked child.
            pub fn receivers(&self) -> usize {
                self.end.common.receivers()
            }
        }

        impl<T: $crate::Message> std::fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($end)).finish_non_exhaustive()
            }
        }
    )*};
}
pub(super) use accessors;

/// The sending end of a broadcast of `T`; made by [`BroadcastBuilder`](crate::BroadcastBuilder).
///
/// A message is sent once, whoever reads it: what a send costs does not grow with the number of receivers, unless they
/// sleep and have to be woken. Without a receiver messages are sent all the same: the last ones are there for who comes late.
pub struct BroadcastSender<T: Message> {
    end: SendEnd,
    _messages: PhantomData<fn(T)>,
}

accessors!(BroadcastSender, BroadcastReceiver);

impl<T: Message> BroadcastSender<T> {
    pub(crate) fn new(end: SendEnd) -> Self {
        BroadcastSender { end, _messages: PhantomData }
    }

    pub(super) fn end(&self) -> &SendEnd {
        &self.end
    }

    fn send_within(&self, message: T, patience: Patience) -> Result<(), SendError<T>> {
        // A message has no drop glue (message::Message, M2): nothing happens to it here once its bytes are away.
        SharedSlot::reserve(&self.end, patience)
            .and_then(|slot| slot.copy(&message))
            .map_err(|why| SendError { message, why })
    }

    /// Sends to all receivers: one copy, into the channel. With [`SlowReceiver::Block`] it waits while one of them has not taken
    /// the message `degree` before; otherwise it never waits.
    ///
    /// # Errors
    /// [`SendError`] with the message: a slot of this sender is reserved (`Held`).
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(None))
    }

    /// Sends if no receiver has to be waited for.
    ///
    /// # Errors
    /// As [`send`](Self::send); `WouldBlock`.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Try)
    }

    /// Sends, or gives the message back when `timeout` has passed.
    ///
    /// # Errors
    /// As [`send`](Self::send); `TimedOut`.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(deadline_after(timeout)))
    }

    /// Sends, or gives the message back at `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(Some(deadline)))
    }

    /// Reserves the next slot, to build a message in place, where all receivers read it. Waits as [`send`](Self::send) does;
    /// sending what was built does not wait.
    ///
    /// # Errors
    /// `Held`: one slot at a time.
    #[inline]
    pub fn reserve(&self) -> Result<SharedSlot<'_, MaybeUninit<T>>, SendFailure> {
        SharedSlot::reserve(&self.end, Patience::Until(None))
    }

    /// Reserves the next slot if no receiver has to be waited for.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); `WouldBlock`.
    pub fn try_reserve(&self) -> Result<SharedSlot<'_, MaybeUninit<T>>, SendFailure> {
        SharedSlot::reserve(&self.end, Patience::Try)
    }

    /// As [`reserve`](Self::reserve), for at most `timeout`.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); `TimedOut`.
    pub fn reserve_timeout(&self, timeout: Duration) -> Result<SharedSlot<'_, MaybeUninit<T>>, SendFailure> {
        SharedSlot::reserve(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// As [`reserve`](Self::reserve), until `deadline`.
    ///
    /// # Errors
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn reserve_deadline(&self, deadline: Instant) -> Result<SharedSlot<'_, MaybeUninit<T>>, SendFailure> {
        SharedSlot::reserve(&self.end, Patience::Until(Some(deadline)))
    }

    /// How many messages were sent, by this sender and those before it.
    pub fn sent(&self) -> u64 {
        self.end.published()
    }

    /// The asynchrony degree: how many messages may wait for a receiver.
    pub fn degree(&self) -> u64 {
        self.end.common.degree()
    }

    /// What happens to a receiver that is slow.
    pub fn slow_receiver(&self) -> SlowReceiver {
        self.end.common.policy()
    }
}

/// A receiving end of a broadcast of `T`; made by [`BroadcastBuilder`](crate::BroadcastBuilder).
///
/// It gets each message from the moment on at which it was attached, and those before that it asked for
/// ([`Late`](crate::Late)), in order, and at most once. What it misses because it was slow, where that is the channel's
/// policy, is counted ([`missed`](Self::missed)). Iterating ends when the sender has left.
pub struct BroadcastReceiver<T: Message> {
    end: ReceiveEnd,
    _messages: PhantomData<fn() -> T>,
}

impl<T: Message> BroadcastReceiver<T> {
    pub(crate) fn new(end: ReceiveEnd) -> Self {
        BroadcastReceiver { end, _messages: PhantomData }
    }

    pub(super) fn end(&self) -> &ReceiveEnd {
        &self.end
    }

    /// Receives a copy of the next message; waits for one.
    ///
    /// # Errors
    /// [`RecvError`]: the sender left or died, and all that it sent was received; `TooSlow` if this receiver was too slow for
    /// [`SlowReceiver::Disconnect`]: then this is all it will ever say.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(None))
    }

    /// Receives if a message waits already.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `NoPeer` if nobody holds the sending end, `WouldBlock`.
    #[inline]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        receive(&self.end, Patience::Try)
    }

    /// Receives, for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `TimedOut`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(deadline_after(timeout)))
    }

    /// Receives, until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        receive(&self.end, Patience::Until(Some(deadline)))
    }

    /// Takes the next message in hand, where the sender built it; waits for one. One message at a time.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `Held`.
    #[inline]
    pub fn recv_ref(&self) -> Result<Shared<'_, T>, RecvError> {
        Shared::take(&self.end, Patience::Until(None))
    }

    /// Takes the next message in hand if one waits already.
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

    /// How many messages were overwritten before this receiver came to them. It learns of it when it receives.
    ///
    /// ```
    /// use staffetta::SlowReceiver;
    /// # let domain = staffetta::Domain::create()?;
    /// let pictures = || domain.channel("pictures").broadcast(2).slow_receiver(SlowReceiver::DropOldest);
    /// let (tx, rx) = (pictures().sender::<u64>()?, pictures().receiver::<u64>()?);
    /// (0..10).try_for_each(|n| tx.send(n))?; // never waits
    /// assert_eq!((rx.recv()?, rx.recv()?, rx.missed()), (8, 9, 8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn missed(&self) -> u64 {
        self.end.missed()
    }

    /// Does anybody hold the sending end?
    pub fn has_peer(&self) -> bool {
        self.end.common.has_sender()
    }

    /// The asynchrony degree: how many messages may wait for this receiver.
    pub fn degree(&self) -> u64 {
        self.end.common.degree()
    }

    /// Messages until the sender leaves.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Messages that wait already.
    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

/// Messages of a broadcast until the sender leaves.
#[derive(Debug)]
pub struct BroadcastIter<T: Message>(BroadcastReceiver<T>);

impl<T: Message> Iterator for BroadcastIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T: Message> IntoIterator for BroadcastReceiver<T> {
    type Item = T;
    type IntoIter = BroadcastIter<T>;
    fn into_iter(self) -> BroadcastIter<T> {
        BroadcastIter(self)
    }
}
