//! Parcels of the capability method out of this process's address space: released, acquired again, read only, sealed.

#![allow(unsafe_code)] // As in parcel.rs: Q1 and Q2.

use std::marker::PhantomData;
use std::ops::Deref;

use super::{forked, Memory, Parcel, Raw};
use crate::error::AcquireError;
use crate::handle::Handle;
use crate::message::Message;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::reference::capability::{CapabilityId, Table};

impl<T: Message + ?Sized> Parcel<T> {
    /// Takes a parcel of the capability method out of this process's address space.
    ///
    /// When this returns the mapping is gone. Access through safe code does not compile any more:
    ///
    /// ```compile_fail
    /// # use staffetta::{Domain, Method, Parcel};
    /// # let domain = Domain::create().unwrap();
    /// let parcel = domain.parcels(Method::Capability).new(7_u64).unwrap();
    /// let capability = parcel.release().unwrap();
    /// println!("{}", *parcel); // moved
    /// ```
    ///
    /// # Errors
    /// Gives the parcel back if it lies in the domain's window: that is not released piece by piece.
    pub fn release(self) -> Result<Capability<T>, Parcel<T>> {
        let Some(id) = self.raw.capability() else {
            return Err(self);
        };
        let length = self.length();
        let raw = std::mem::ManuallyDrop::new(self.raw);
        // SAFETY: `raw` is never used again, and never dropped.
        let member = unsafe { std::ptr::read(&raw.member) };
        member.refs.capabilities().release(id);
        Ok(Capability { member, id, length, _owns: PhantomData })
    }
}

/// A parcel of the capability method that is not in this process's address space: it must be acquired first.
pub struct Capability<T: Message + ?Sized> {
    member: Handle,
    id: CapabilityId,
    length: usize,
    _owns: PhantomData<Box<T>>,
}

impl<T: Message + ?Sized> Capability<T> {
    /// Puts it into this process's address space, to read and to write.
    ///
    /// # Errors
    /// [`AcquireError`], for instance if it is sealed against writing; the capability is given back.
    pub fn acquire(self) -> Result<Parcel<T>, (Capability<T>, AcquireError)> {
        if !self.member.here() {
            return Err((self, AcquireError::Forked));
        }
        match self.member.refs.capabilities().acquire(self.id, Access::ReadWrite, self.length as u64) {
            Ok(None) => Err((self, AcquireError::NotHeld)),
            Ok(Some(data)) => {
                let this = std::mem::ManuallyDrop::new(self);
                // SAFETY: `this` is never used again, and never dropped.
                let member = unsafe { std::ptr::read(&this.member) };
                let raw = Raw::new(member, Memory::Capability(this.id), data);
                let tail = T::tail(this.length).unwrap_or(0);
                Ok(Parcel { raw, tail, _owns: PhantomData })
            }
            Err(why) => Err((self, why)),
        }
    }

    /// Puts it into this process's address space, to read only: the mapping itself allows no more.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub fn acquire_read(&self) -> Result<ReadOnly<'_, T>, AcquireError> {
        if !self.member.here() {
            return Err(AcquireError::Forked);
        }
        let mapping = self.member.refs.capabilities().map_read(self.id)?;
        if (mapping.len()) < self.length {
            return Err(AcquireError::NotHeld);
        }
        Ok(ReadOnly { mapping, tail: T::tail(self.length).unwrap_or(0), _capability: PhantomData })
    }

    /// Seals it against writing, for ever and for everybody.
    ///
    /// Earlier holders may keep a mapping that they do not use: they are asked to unmap it, and waited for; as
    /// long as one of them is stopped, this waits.
    ///
    /// # Errors
    /// [`AcquireError::StillMapped`] if it is mapped for writing by somebody who cannot be asked.
    pub fn seal(&mut self) -> Result<(), AcquireError> {
        if !self.member.here() {
            return Err(AcquireError::Forked);
        }
        self.member.seal_capability(self.id)
    }

    /// Bytes of the message.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl<T: Message + ?Sized> Drop for Capability<T> {
    fn drop(&mut self) {
        if self.member.here() {
            self.member.refs.capabilities().free(self.member.segment(), self.id, self.member.slot);
        }
    }
}

/// A capability acquired with the right to read: released when dropped.
pub struct ReadOnly<'c, T: ?Sized> {
    mapping: Mapping,
    tail: usize,
    _capability: PhantomData<&'c T>,
}

impl<T: Message + ?Sized> Deref for ReadOnly<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        if !self.mapping.is_ours() {
            forked();
        }
        // SAFETY: the mapping covers the message (checked when acquired); the `Capability` that is borrowed is
        // the only holder (Q1), and does not write while it is borrowed.
        unsafe { &*T::from_raw_parts(self.mapping.base().as_ptr(), self.tail) }
    }
}

impl Table {
    fn map_read(&self, id: CapabilityId) -> Result<Mapping, AcquireError> {
        self.with_file(id, |file, bytes| {
            Ok(Mapping::map(file, 0, bytes as usize, Placement::Anywhere, Access::Read)?)
        })
    }
}
