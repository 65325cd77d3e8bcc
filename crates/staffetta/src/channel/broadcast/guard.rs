//! Work in place in a broadcast: a slot that the sender has reserved, a message that a receiver has in hand.
//!
//! R1. While a guard is out its end says `Held` to every other operation; one that was forgotten leaves it so until the end is
//!     dropped. So there are never two guards of one end.
//! R2. A `SharedSlot`'s bytes are the sender's alone; a `Shared`'s are written by nobody until it is given back (F1 to F3).
//! R3. A slot has room for a T, at a multiple of its alignment: both ends agreed on the type, and `place.rs` laid the slots
//!     out for it.

#![allow(unsafe_code)] // Views of the slots' bytes, by R2 and R3.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};

use super::end::{ReceiveEnd, SendEnd};
use super::{Building, Taken};
use crate::channel::call::Patience;
use crate::error::{RecvError, SendFailure};
use crate::Message;

/// A slot of a broadcast, reserved: the sender builds its message here, where all receivers will read it.
///
/// Made by [`BroadcastSender::reserve`](crate::BroadcastSender::reserve) or
/// [`LatestSender::reserve`](crate::LatestSender::reserve), as a slot of `MaybeUninit<T>`: what is in it is whatever was. It
/// becomes a slot of `T` by [`zeroed`](Self::zeroed), [`reused`](Self::reused) or [`assume_init`](Self::assume_init), and
/// a message when it is [sent](Self::send). Dropped without that, nothing was sent.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("frames").broadcast(4).sender::<[u32; 256]>()?;
/// let rx = domain.channel("frames").broadcast(4).receiver::<[u32; 256]>()?;
/// let mut slot = tx.reserve()?.zeroed();
/// slot[255] = 255;
/// slot.send()?;
/// assert_eq!(rx.recv_ref()?[255], 255);
/// drop(tx.reserve()?); // nothing is sent
/// assert!(rx.try_recv_ref().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped without send() nothing is sent"]
pub struct SharedSlot<'a, T> {
    end: &'a SendEnd,
    building: Building,
    data: *mut T,
}

impl<'a, T: Message> SharedSlot<'a, MaybeUninit<T>> {
    #[inline]
    pub(crate) fn reserve(end: &'a SendEnd, patience: Patience) -> Result<Self, SendFailure> {
        let building = end.reserve(patience)?;
        Ok(SharedSlot { end, building, data: building.bytes.cast() })
    }

    fn becomes_t(self) -> SharedSlot<'a, T> {
        let this = ManuallyDrop::new(self);
        SharedSlot { end: this.end, building: this.building, data: this.data.cast() }
    }

    /// Writes `value` and sends it: one copy, as by `send`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn write(self, value: T) -> Result<(), SendFailure> {
        // A message has no drop glue (message::Message, M2): nothing happens to it here once its bytes are away.
        self.copy(&value)
    }

    /// As `write`.
    #[inline]
    pub(super) fn copy(self, value: &T) -> Result<(), SendFailure> {
        if !self.end.common.member.here() {
            return Err(SendFailure::Forked);
        }
        // SAFETY: R2, R3.
        unsafe {
            let bytes = std::ptr::from_ref(value).cast();
            self.end.tally().copy(bytes, self.data.cast(), size_of::<T>());
            self.send_init()
        }
    }

    /// Fills the slot with zeroes, for a type of which they are a value; another one does not compile.
    pub fn zeroed(self) -> SharedSlot<'a, T> {
        const { assert!(T::ZERO_VALID, "all zeroes is not a value of this type: write it, or use assume_init") };
        if self.end.common.member.here() {
            // SAFETY: R2, R3.
            unsafe { self.data.write_bytes(0, 1) };
        }
        // SAFETY: zeroes are a T (message::Message, M3).
        unsafe { self.assume_init() }
    }

    /// Leaves an earlier message of this sender in the slot, whole: for a large one of which little changes, or of which all
    /// will be written. Zeroes if there is none. Which earlier message it is depends on what receivers still read.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("frames").broadcast(1).sender::<[u8; 1000]>()?;
    /// for n in 1..=40 {
    ///     let mut slot = tx.reserve()?.reused();
    ///     assert!(slot.iter().all(|byte| *byte == slot[0]));
    ///     slot.fill(n);
    ///     slot.send()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reused(self) -> SharedSlot<'a, T>
    where
        T: Copy, // receivers may have a copy of it
    {
        if self.building.whole && self.building.length == size_of::<T>() as u64 {
            // SAFETY: it is a message that this sender sent, and nobody wrote since (F1).
            unsafe { self.assume_init() }
        } else {
            self.zeroed()
        }
    }

    /// Says that the slot has been written.
    ///
    /// # Safety
    /// It has: it holds a value of T.
    pub unsafe fn assume_init(self) -> SharedSlot<'a, T> {
        self.becomes_t()
    }

    /// Says that the slot has been written, and sends it.
    ///
    /// # Safety
    /// As [`assume_init`](Self::assume_init).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub unsafe fn send_init(self) -> Result<(), SendFailure> {
        self.becomes_t().send()
    }
}

impl<T: Message> SharedSlot<'_, T> {
    /// Sends the message that was built here; never waits.
    ///
    /// # Errors
    /// `Forked` in a forked child; `Corrupt` if a peer wrote into the channel's words. Then nothing was sent.
    #[inline]
    pub fn send(self) -> Result<(), SendFailure> {
        // Once it is published the drop finds nothing reserved.
        self.end.publish(size_of::<T>())
    }
}

impl<T> SharedSlot<'_, T> {
    /// The message's place in the channel: how many were sent before it.
    pub fn seq(&self) -> u64 {
        self.building.place
    }
}

impl<T> Deref for SharedSlot<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: R1, R2, R3; a T if it says so (`assume_init`).
        unsafe { &*self.data }
    }
}

impl<T> DerefMut for SharedSlot<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.data }
    }
}

impl<T> Drop for SharedSlot<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.end.withdraw();
    }
}

impl<T> std::fmt::Debug for SharedSlot<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSlot").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

/// A message of a broadcast in a receiver's hand, where the sender built it, and where all receivers read it: so it cannot
/// be changed.
///
/// Made by [`BroadcastReceiver::recv_ref`](crate::BroadcastReceiver::recv_ref) and by
/// [`LatestReceiver`](crate::LatestReceiver). While it is there nobody overwrites it, however far the sender goes on.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("n").broadcast(4).sender::<u64>()?;
/// let (one, other) = (domain.channel("n").listen(), domain.channel("n").listen());
/// let (one, other) = (one.receiver::<u64>()?, other.receiver::<u64>()?);
/// tx.send(20)?;
/// let (one, other) = (one.recv_ref()?, other.recv_ref()?);
/// assert_eq!((*one, one.seq()), (20, 0));
/// assert!(std::ptr::eq(&*one, &*other)); // not a copy
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once the message is given back unread"]
pub struct Shared<'a, T: Message> {
    end: &'a ReceiveEnd,
    place: u64,
    data: *const T,
}

impl<'a, T: Message> Shared<'a, T> {
    #[inline]
    pub(crate) fn take(end: &'a ReceiveEnd, patience: Patience) -> Result<Self, RecvError> {
        let Taken { place, bytes, .. } = end.take(size_of::<T>(), patience)?;
        Ok(Shared { end, place, data: bytes.cast() })
    }

    /// The message's place in the channel: how many were sent before it. A gap is what this receiver missed.
    pub fn seq(&self) -> u64 {
        self.place
    }
}

impl<T: Message> Deref for Shared<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: R1, R2, R3; a T was published.
        unsafe { &*self.data }
    }
}

impl<T: Message> Drop for Shared<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.end.common.member.here() {
            self.end.give_back();
            self.end.tally().message(size_of::<T>());
        }
    }
}

impl<T: Message> std::fmt::Debug for Shared<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

/// The next message, copied out.
#[inline]
pub(super) fn receive<T: Message>(end: &ReceiveEnd, patience: Patience) -> Result<T, RecvError> {
    let mut value = MaybeUninit::<T>::uninit();
    end.take_and(size_of::<T>(), patience, |taken| {
        // SAFETY: R2, R3: a T of as many bytes lies there, and `value` has room for it.
        unsafe {
            end.tally().copy(taken.bytes, value.as_mut_ptr().cast(), size_of::<T>());
            value.assume_init()
        }
    })
}
