//! Variables: typed places of the domain that can be a message variable or a target variable.
//!
//! A message that goes from variable to variable is copied once, by whoever arrives second. A variable may be empty: it
//! was just made, or an operation gave its storage away (see `send_variable_timeout`).
//!
//! V1. The storage is a block that this process holds; nobody else touches it except during a rendezvous
//!     that this process waits for.
//! V2. `tail` is Some only if the storage holds a message with that many trailing elements.

#![allow(unsafe_code)] // A variable owns raw shared memory: V1 and V2.

use std::marker::PhantomData;

use crate::error::AllocateError;
use crate::message::parcel::Parcel;
use crate::message::Message;
use crate::Domain;

/// A typed place of the domain: where a message comes from, or where one goes to.
///
/// ```
/// let domain = staffetta::Domain::create()?;
/// let mut here = domain.variable::<u64>()?;
/// assert_eq!(here.get(), None);
/// here.set(7);
/// assert_eq!(here.get(), Some(&7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Variable<T: Message + ?Sized> {
    pub(crate) storage: Parcel<[std::mem::MaybeUninit<u8>]>,
    /// What a timed operation may have to leave behind is replaced by this.
    pub(crate) spare: Option<Parcel<[std::mem::MaybeUninit<u8>]>>,
    capacity: usize,
    tail: Option<usize>,
    _owns: PhantomData<Box<T>>,
}

// SAFETY: a variable owns its T like a Box does.
unsafe impl<T: Message + ?Sized> Send for Variable<T> {}

impl<T: Message + ?Sized> Variable<T> {
    pub(crate) fn allocate(domain: &Domain, tail_max: usize) -> Result<Self, AllocateError> {
        let capacity = T::length(tail_max).ok_or(AllocateError::Length { tail: tail_max })?;
        let storage = Self::storage(domain, capacity)?;
        Ok(Variable { storage, spare: None, capacity, tail: None, _owns: PhantomData })
    }

    fn storage(
        domain: &Domain,
        capacity: usize,
    ) -> Result<Parcel<[std::mem::MaybeUninit<u8>]>, AllocateError> {
        // A block is aligned to its size, so rounding up to ALIGN also aligns; small ones are rounded to ALIGN itself.
        let bytes = capacity.max(1).next_multiple_of(T::ALIGN);
        domain.parcels(crate::Method::default()).uninit_aligned(bytes, T::ALIGN)
    }

    /// Sees to it that there is a spare for a timed operation.
    pub(crate) fn ensure_spare(&mut self) -> Result<(), AllocateError> {
        if self.spare.is_none() {
            let domain = Domain::of(self.storage.raw().member());
            self.spare = Some(Self::storage(&domain, self.capacity)?);
        }
        Ok(())
    }

    /// The storage is somebody else's now: goes on with the spare. `keep`: the message is still wanted, so
    /// it is copied over (nobody writes it: the taker only reads).
    pub(crate) fn abandon(&mut self, keep: bool) {
        let Some(spare) = self.spare.take() else {
            return;
        };
        let old = std::mem::replace(&mut self.storage, spare);
        match self.tail.filter(|_| keep).and_then(T::length) {
            // SAFETY: V2: `length` bytes of the old storage are initialised; both blocks hold `capacity`. They do not overlap, unless
            // a peer wrote into the allocator's words.
            Some(length) => unsafe {
                std::ptr::copy(old.raw().data().as_ptr(), self.storage.raw().data().as_ptr(), length);
            },
            None => self.tail = None,
        }
        old.into_raw().sent();
    }

    /// The message in it; None while it is empty.
    pub fn get(&self) -> Option<&T> {
        let tail = self.tail.filter(|_| self.storage.raw().member().here())?;
        // SAFETY: V1, V2.
        Some(unsafe { &*T::from_raw_parts(self.storage.raw().data().as_ptr(), tail) })
    }

    /// The message in it, to be changed; None while it is empty.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        let tail = self.tail.filter(|_| self.storage.raw().member().here())?;
        // SAFETY: V1, V2; `&mut self`.
        Some(unsafe { &mut *T::from_raw_parts(self.storage.raw().data().as_ptr(), tail) })
    }

    /// Bytes there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes it a message of zeroes with `tail` elements (0 for a sized type); None if there is no room.
    /// Does not compile for types of which zeroes are no value.
    pub fn zero(&mut self, tail: usize) -> Option<&mut T> {
        const { assert!(T::ZERO_VALID, "all zeroes is not a value of this type: use set") };
        let length = T::length(tail).filter(|l| *l <= self.capacity)?;
        if !self.storage.raw().member().here() {
            return None;
        }
        // SAFETY: V1; `length <= capacity`, rounded up to ALIGN the storage is still large enough.
        unsafe {
            self.storage.raw().data().as_ptr().write_bytes(0, length.next_multiple_of(T::ALIGN));
        }
        self.tail = Some(tail);
        self.get_mut()
    }

    /// Bytes of the message in it.
    pub fn length(&self) -> Option<usize> {
        self.tail.and_then(T::length)
    }

    /// A message of `length` bytes has been received into the storage. False: no message has that length.
    pub(crate) fn received(&mut self, length: usize) -> bool {
        self.tail = T::tail(length);
        self.tail.is_some()
    }

    /// The storage is about to be overwritten.
    pub(crate) fn clear(&mut self) {
        self.tail = None;
    }
}

impl<T: Message> Variable<T> {
    /// Puts `value` into it.
    pub fn set(&mut self, value: T) {
        if self.storage.raw().member().here() {
            // SAFETY: V1; the storage was allocated for a T.
            unsafe { self.storage.raw().data().as_ptr().cast::<T>().write(value) };
            self.tail = Some(0);
        }
    }
}

impl<T: Message + Copy> Variable<[T]> {
    /// Copies a slice into it; gives false if there is no room.
    pub fn set_slice(&mut self, from: &[T]) -> bool {
        if size_of_val(from) > self.capacity || !self.storage.raw().member().here() {
            return false;
        }
        // SAFETY: V1; there is room; private memory does not overlap the block.
        unsafe {
            let to = self.storage.raw().data().as_ptr().cast::<T>();
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
        self.tail = Some(from.len());
        true
    }
}
