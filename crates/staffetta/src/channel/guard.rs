//! Work in place: a slot that the sender has reserved, a message that the receiver has in hand.
//!
//! A guard borrows its end, which is not Sync: it stays on the end's thread, and the end outlives it.
//!
//! G1. While a guard is out `Buffer::is_held` says so, and no other operation of its end starts; a guard that was
//!     forgotten leaves it so until the end is dropped. So there are never two guards of one slot.
//! G2. A `Slot`'s word is EMPTY and its bytes are the sender's; a `Received`'s is READING and its bytes are the
//!     receiver's (ring.rs, N2).
//! G3. A slot has room for a T, at a multiple of its alignment: both ends agreed on the type, and `Spec::shape` laid the
//!     ring out for it.

#![allow(unsafe_code)] // Views of the slots' bytes, by G2 and G3.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::buffer::Buffer;
use super::call::Patience;
use super::end::{deadline_after, End};
use super::many::Many;
use super::queue::Held;
use super::ring::REDELIVERED;
use crate::error::{RecvError, SendFailure};
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::Message;

/// Where a guard's bytes are.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// The next slot of a buffered channel, and its word.
    Ring(&'a Buffer<Native>, Word),
    /// A slot of a queue.
    Lane(&'a Many, Held),
}

/// A target variable of a buffered channel, reserved: the sender builds its message here, where it will be read.
///
/// Made by [`Sender::reserve`](crate::Sender::reserve), as a slot of `MaybeUninit<T>`: what is in it is whatever was.
/// It becomes a slot of `T` by [`zeroed`](Slot::zeroed), [`reused`](Slot::reused) or [`assume_init`](Slot::assume_init), and is a
/// message when it is [sent](Slot::send). Dropped without that it is given back, and nothing was sent.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let (tx, rx) = domain.channel("").buffered(4).unnamed::<[u32; 256]>()?;
/// let mut slot = tx.reserve()?.zeroed();
/// for (i, x) in slot.iter_mut().enumerate() {
///     *x = i as u32;
/// }
/// slot.send()?;
/// assert_eq!(rx.recv_ref()?[255], 255);
/// drop(tx.reserve()?); // nothing is sent
/// assert!(rx.try_recv_ref().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped without send() nothing is sent"]
pub struct Slot<'a, T> {
    end: &'a End,
    place: Place<'a>,
    /// The bytes are those of the message that was here last (buffer.rs, B4).
    whole: bool,
    data: *mut T,
}

impl<'a, T: Message> Slot<'a, MaybeUninit<T>> {
    #[inline]
    pub(crate) fn reserve(end: &'a End, patience: Patience) -> Result<Self, SendFailure> {
        if !end.member.here() {
            return Err(SendFailure::Forked);
        }
        let fail = |stop| end.send_failure(stop, patience);
        let Some(buffer) = end.buffer() else {
            let many = end.many().ok_or(SendFailure::NotBuffered)?;
            let held = end.reserve_in_queue(many, patience).map_err(fail)?;
            return Ok(Slot { end, place: Place::Lane(many, held), whole: false, data: held.bytes.cast() });
        };
        let empty = end.reserve(buffer, patience).map_err(fail)?;
        let whole = buffer.is_whole(size_of::<T>() as u64);
        buffer.begin_writing();
        Ok(Slot { end, place: Place::Ring(buffer, empty), whole, data: buffer.bytes().cast() })
    }

    fn becomes_t(self) -> Slot<'a, T> {
        let this = ManuallyDrop::new(self);
        let Slot { end, place, whole, data } = *this;
        Slot { end, place, whole, data: data.cast() }
    }

    /// Writes `value` and sends it: one copy, as by [`Sender::send`](crate::Sender::send).
    ///
    /// # Errors
    /// As [`send`](Slot::send).
    pub fn write(self, value: T) -> Result<(), SendFailure> {
        if !self.end.member.here() {
            return Err(SendFailure::Forked);
        }
        // A message has no drop glue (message::Message, M2): it may be forgotten once its bytes are away.
        let value = ManuallyDrop::new(value);
        // SAFETY: G2, G3.
        unsafe {
            let bytes = std::ptr::from_ref(&*value).cast();
            self.end.tally().copy(bytes, self.data.cast(), size_of::<T>());
            self.send_init()
        }
    }

    /// Fills the slot with zeroes, for a type of which they are a value.
    ///
    /// Another type does not compile:
    ///
    /// ```compile_fail
    /// # let domain = staffetta::Domain::create().unwrap();
    /// let tx = domain.channel("c").buffered(1).sender::<std::num::NonZeroU8>().unwrap();
    /// tx.reserve().unwrap().zeroed().send().unwrap();
    /// ```
    pub fn zeroed(self) -> Slot<'a, T> {
        const { assert!(T::ZERO_VALID, "all zeroes is not a value of this type: write it, or use assume_init") };
        if self.end.member.here() {
            // SAFETY: G2, G3.
            unsafe { self.data.write_bytes(0, 1) };
        }
        // SAFETY: zeroes are a T (message::Message, M3).
        unsafe { self.assume_init() }
    }

    /// Leaves the message in the slot that was sent from it last, `degree + 1` messages ago, as the receiver left it: for
    /// a large message of which little changes, or of which all will be written. Zeroes if there was none, or if somebody began
    /// to write another one and did not send it.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").buffered(1).unnamed::<[u8; 1000]>()?;
    /// for n in 0..4 {
    ///     let mut slot = tx.reserve()?.reused();
    ///     assert_eq!(slot[0], if n < 2 { 0 } else { n - 2 });
    ///     slot[0] = n;
    ///     slot.send()?;
    ///     assert_eq!(rx.recv_ref()?[0], n);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reused(self) -> Slot<'a, T>
    where
        T: Copy, // the receiver may have a copy of it
    {
        if self.whole {
            // SAFETY: B4, B5: it is a message that was sent, and given back by a receiver that was done with it.
            unsafe { self.assume_init() }
        } else {
            self.zeroed()
        }
    }

    /// Says that the slot has been written.
    ///
    /// # Safety
    /// It has: it holds a value of T.
    pub unsafe fn assume_init(self) -> Slot<'a, T> {
        self.becomes_t()
    }

    /// Says that the slot has been written, and sends it.
    ///
    /// # Safety
    /// As [`assume_init`](Self::assume_init).
    ///
    /// # Errors
    /// As [`send`](Slot::send).
    pub unsafe fn send_init(self) -> Result<(), SendFailure> {
        self.becomes_t().send()
    }
}

impl<T: Message> Slot<'_, T> {
    /// Sends the message that was built here. Never waits, unless the channel has other senders, and they have filled it
    /// since the slot was reserved.
    ///
    /// # Errors
    /// `Forked` in a forked child; `Corrupt` if a peer wrote into the slot's word; `Disconnected`, `PeerDied` if it had to
    /// wait, and the last receiver went. Then nothing was sent.
    #[inline]
    pub fn send(self) -> Result<(), SendFailure> {
        // The place moves on; then the drop says that nothing is reserved any more.
        self.send_within(Patience::Until(None))
    }

    /// As [`send`](Self::send), without waiting for room that other senders may have filled: the slot comes back.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").bounded(1).unnamed::<u64>()?;
    /// let slot = tx.reserve()?.zeroed();
    /// tx.try_clone()?.send(7)?; // quicker
    /// let slot = match slot.try_send() {
    ///     Err((slot, staffetta::SendFailure::WouldBlock)) => slot,
    ///     other => panic!("{other:?}"),
    /// };
    /// assert_eq!(rx.recv()?, 7);
    /// slot.send()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `send`; `WouldBlock` if there is no room.
    pub fn try_send(self) -> Result<(), (Self, SendFailure)> {
        self.send_within(Patience::Try).map_err(|why| (self, why))
    }

    /// As [`try_send`](Self::try_send), waiting for room for at most `timeout`.
    ///
    /// # Errors
    /// As `send`; `TimedOut` if there was no room in time.
    pub fn send_timeout(self, timeout: Duration) -> Result<(), (Self, SendFailure)> {
        self.send_within(Patience::Until(deadline_after(timeout))).map_err(|why| (self, why))
    }

    #[inline]
    fn send_within(&self, patience: Patience) -> Result<(), SendFailure> {
        if !self.end.member.here() {
            return Err(SendFailure::Forked);
        }
        let (end, length) = (self.end, size_of::<T>());
        let sent = match self.place {
            Place::Ring(buffer, empty) => end.send_reserved(buffer, empty, length),
            Place::Lane(many, held) => end.publish_in_queue(many, held, length, patience),
        };
        sent.map_err(|stop| end.send_failure(stop, patience))
    }
}

impl<T> Slot<'_, T> {
    /// The message's place in the channel: how many were sent before it. With other senders a
    /// guess: whoever sends first is first.
    pub fn seq(&self) -> u64 {
        match self.place {
            Place::Ring(buffer, _) => buffer.place(),
            Place::Lane(many, _) => many.next_position(),
        }
    }
}

impl<T> Deref for Slot<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: G1, G2, G3; a T if it says so (`assume_init`).
        unsafe { &*self.data }
    }
}

impl<T> DerefMut for Slot<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.data }
    }
}

impl<T> Drop for Slot<'_, T> {
    #[inline]
    fn drop(&mut self) {
        match self.place {
            Place::Ring(buffer, _) => buffer.hold(false),
            Place::Lane(many, held) => self.end.withdraw_from_queue(many, held),
        }
    }
}

impl<T> std::fmt::Debug for Slot<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

/// A message of a buffered channel in the receiver's hand, where the sender built it.
///
/// Made by [`Receiver::recv_ref`](crate::Receiver::recv_ref). Dropping it acknowledges the message, and gives its slot
/// back to the sender. It may be changed: it is the receiver's target variable.
///
/// If the receiver's process dies first, its successor gets the message again, unless the dead one had begun to change
/// it: then it is lost, and the successor is told so ([`RecvError::Torn`]).
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>()?;
/// tx.send(20)?;
/// let mut message = rx.recv_ref()?;
/// *message += 1;
/// assert_eq!((message.seq(), *message), (0, 21));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once the message is acknowledged unread"]
pub struct Received<'a, T: Message> {
    end: &'a End,
    place: Place<'a>,
    changed: bool,
    data: *mut T,
}

impl<'a, T: Message> Received<'a, T> {
    #[inline]
    pub(crate) fn take(end: &'a End, patience: Patience) -> Result<Self, RecvError> {
        if !end.member.here() {
            return Err(RecvError::Forked);
        }
        let fail = |stop| end.recv_failure(stop, patience);
        let Some(buffer) = end.buffer() else {
            let many = end.many().ok_or(RecvError::NotBuffered)?;
            let held = end.take_from_queue(many, size_of::<T>(), patience).map_err(fail)?;
            return Ok(Received {
                end,
                place: Place::Lane(many, held),
                changed: false,
                data: held.bytes.cast(),
            });
        };
        let reading = end.take_in_hand(buffer, size_of::<T>(), patience).map_err(fail)?;
        let place = Place::Ring(buffer, reading);
        Ok(Received { end, place, changed: false, data: buffer.bytes().cast() })
    }

    /// The message's place in the channel: how many were sent before it.
    pub fn seq(&self) -> u64 {
        match self.place {
            Place::Ring(buffer, _) => buffer.place(),
            Place::Lane(_, held) => held.position(),
        }
    }

    /// Had another receiver this message in hand before, and died (or left) without giving it back? Then it may have done a part
    /// of the work.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>()?;
    /// tx.send(1)?;
    /// assert!(!rx.recv_ref()?.redelivered());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redelivered(&self) -> bool {
        match self.place {
            Place::Ring(_, reading) => reading.slot() == REDELIVERED,
            Place::Lane(_, held) => held.is_redelivered(),
        }
    }
}

impl<T: Message> Deref for Received<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: G1, G2, G3; a T was sent, and nobody stopped in the middle of changing it (B5).
        unsafe { &*self.data }
    }
}

impl<T: Message> DerefMut for Received<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        if !self.changed {
            self.changed = true;
            match self.place {
                Place::Ring(buffer, _) => buffer.begin_changing(),
                Place::Lane(many, held) => self.end.begin_changing_in_queue(many, held),
            }
        }
        // SAFETY: as in `deref`.
        unsafe { &mut *self.data }
    }
}

impl<T: Message> Drop for Received<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.end.member.here() {
            match self.place {
                Place::Ring(buffer, reading) => self.end.give_back(buffer, reading, size_of::<T>()),
                Place::Lane(many, held) => self.end.give_back_to_queue(many, held, size_of::<T>()),
            }
        }
    }
}

impl<T: Message> std::fmt::Debug for Received<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("seq", &self.seq()).finish_non_exhaustive()
    }
}
