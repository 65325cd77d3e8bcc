//! Parcels: messages built where they will be read. Sending one moves a reference, never a byte.
//!
//! A parcel lies in a block of the domain, or, for channels of the capability method, in a memory file of its own.
//!
//! Q1. A `Parcel` is the only handle to its memory in all processes: its holder word names this process,
//!     and sending it consumes the handle.
//! Q2. Its memory is mapped, aligned for `T` and at least as long as `T` with `tail` elements, for as long
//!     as the handle lives (it keeps the `Member`; a capability is pinned).

#![allow(unsafe_code)] // A parcel owns raw shared memory: Q1 and Q2 make references to it sound.

mod capability;

pub use self::capability::{Capability, ReadOnly};

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::compiler_fence;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::channel::line::Reference3;
use crate::enclosure::contents;
use crate::error::{AcquireError, AllocateError, SendFailure};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::map::BlockId;
use crate::message::Message;
use crate::os::mapping::Access;
use crate::reference::capability::{CapabilityId, Sent};
use crate::reference::Method;
use crate::Domain;

/// Where a parcel's memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// A block of the domain, in this incarnation.
    Block(BlockId, u64),
    /// A memory file of its own.
    Capability(CapabilityId),
}

/// What a parcel is made of but for its type.
pub(crate) struct Raw {
    member: Handle,
    memory: Memory,
    data: NonNull<u8>,
    /// It is noted for the case that this process dies, and nobody has written to it yet (`channel::kept`, U5).
    kept: bool,
    /// A receiver that died had it in hand before.
    redelivered: bool,
}

impl Raw {
    #[inline(always)]
    fn new(member: Handle, memory: Memory, data: NonNull<u8>) -> Raw {
        Raw { member, memory, data, kept: false, redelivered: false }
    }

    fn acknowledge(&mut self) {
        self.kept = false;
        if let (Memory::Block(id, _), true) = (self.memory, self.member.here()) {
            // The note is about this incarnation only; whoever holds the block writes it (note.rs, Z2).
            self.member.segment().block_record(id).next.store(0, Relaxed);
        }
    }

    /// Somebody is about to write to what is noted (U5).
    #[cold]
    #[inline(never)]
    fn begin_changing(&mut self) {
        self.kept = false;
        if let (Memory::Block(id, _), true) = (self.memory, self.member.here()) {
            self.member.segment().note(id).changed.store(1, Relaxed);
            compiler_fence(AcqRel); // whoever is killed has done a beginning of its program
        }
    }

    /// `bytes` of fresh memory for `method`, not initialised.
    fn allocate(member: &Handle, method: Method, bytes: u64, align: u64) -> Result<Raw, AllocateError> {
        if !member.here() {
            return Err(AllocateError::Forked);
        }
        let segment = member.segment();
        if method == Method::Capability {
            let page = segment.page_bytes();
            if align > page {
                return Err(AllocateError::Alignment { align, page });
            }
            let table = member.refs.capabilities();
            let (id, data) = table.create(segment, &member.blocks, member.slot, bytes)?;
            return Ok(Raw::new(member.clone(), Memory::Capability(id), data));
        }
        // Parcels of 64 bytes and more lie on cache lines.
        let id = member.blocks.allocate(segment, bytes, align)?;
        let offset = segment.map().block(id);
        let data = segment
            .pointer(offset, bytes)
            .ok_or(AllocateError::TooLarge { bytes, bytes_max: segment.map().window_bytes() })?;
        let incarnation = crate::memory::blocks::Blocks::incarnation(segment, id);
        Ok(Raw::new(member.clone(), Memory::Block(id, incarnation), data))
    }

    /// Acquires a capability that a peer sent, and then says that it is ours; `None` if its reference makes no sense.
    pub(crate) fn receive_capability(
        member: &Handle,
        [reference, length, sent]: Reference3,
    ) -> Result<Raw, Option<AcquireError>> {
        let index = member.refs.capability_index(reference).ok_or(None)?;
        let sent = Sent::of(index, sent);
        let table = member.refs.capabilities();
        let data = table.acquire(sent.id, Access::ReadWrite, length).map_err(Some)?.ok_or(None)?;
        if !sent.claim(member.segment(), member.slot) {
            table.unpin(sent.id);
            return Err(None);
        }
        Ok(Raw::new(member.clone(), Memory::Capability(sent.id), data))
    }

    /// The words by which a channel of `method` refers to it.
    #[inline(always)]
    pub(crate) fn words(&self, method: Method, length: usize) -> Result<Reference3, SendFailure> {
        match self.memory {
            Memory::Block(id, incarnation) if method != Method::Capability => {
                let refs = &self.member.refs;
                let offset = refs.segment().map().block(id);
                Ok([refs.refer(method, offset), length as u64, incarnation])
            }
            _ => self.other_words(method, length),
        }
    }

    /// As `words`, for all but a block in a channel of the domain's own memory.
    #[inline(never)]
    fn other_words(&self, method: Method, length: usize) -> Result<Reference3, SendFailure> {
        let refs = &self.member.refs;
        match (self.memory, method) {
            (Memory::Capability(id), Method::Capability) => {
                Ok([refs.refer_capability(id.index), length as u64, Sent::word(refs.segment(), id)])
            }
            (Memory::Block(..), _) => Err(SendFailure::WrongMemory {
                channel: method,
                lies: "the domain's window",
                remedy: "domain.parcels(Method::Capability)",
            }),
            (Memory::Capability(_), _) => Err(SendFailure::WrongMemory {
                channel: method,
                lies: "a memory file of its own",
                remedy: "domain.parcels(Method::Coinciding)",
            }),
        }
    }

    pub(crate) fn member(&self) -> &Handle {
        &self.member
    }

    pub(crate) fn capability(&self) -> Option<CapabilityId> {
        match self.memory {
            Memory::Capability(id) => Some(id),
            Memory::Block(..) => None,
        }
    }

    pub(crate) fn block(&self) -> Option<BlockId> {
        match self.memory {
            Memory::Block(id, _) => Some(id),
            Memory::Capability(_) => None,
        }
    }

    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// The memory is somebody else's now.
    #[inline(always)]
    pub(crate) fn sent(self) {
        let this = std::mem::ManuallyDrop::new(self);
        if let Memory::Capability(id) = this.memory {
            this.member.refs.capabilities().unpin(id);
        }
        // SAFETY: `this` is never used again, and never dropped.
        drop(unsafe { std::ptr::read(&this.member) });
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if !self.member.here() {
            return;
        }
        let segment = self.member.segment();
        match self.memory {
            Memory::Block(id, _) if contents::is_full(segment, id) => contents::free_full(&self.member, id),
            Memory::Block(id, _) => self.member.blocks.free(segment, id),
            Memory::Capability(id) => {
                let table = self.member.refs.capabilities();
                table.unpin(id);
                table.free(segment, id, self.member.slot);
            }
        }
    }
}

// SAFETY: a Raw owns its memory alone (Q1) and gives no access to it by itself.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

/// A message in the domain's memory, owned by exactly one holder; sending it moves it.
///
/// ```
/// use staffetta::{Domain, Parcel};
///
/// let domain = Domain::create()?;
/// let mut numbers = Parcel::<[u32]>::with_tail(&domain, 1000)?;
/// numbers[7] = 42;
/// assert_eq!(numbers.len(), 1000);
/// drop(numbers); // its block is free again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Parcel<T: ?Sized> {
    raw: Raw,
    tail: usize,
    _owns: PhantomData<Box<T>>,
}

// SAFETY: a parcel owns its T like a Box does.
unsafe impl<T: ?Sized + Send> Send for Parcel<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Parcel<T> {}

/// Allocates parcels for channels of one reference method; made by [`Domain::parcels`].
#[derive(Clone, Copy)]
pub struct Parcels<'d> {
    pub(crate) domain: &'d Domain,
    pub(crate) method: Method,
}

impl Parcels<'_> {
    /// A parcel that holds `value`.
    ///
    /// # Errors
    /// [`AllocateError`]: the domain is full, or `T` asks for more than a page of alignment.
    #[allow(clippy::new_ret_no_self)] // it is the parcel that is new
    pub fn new<T: Message>(&self, value: T) -> Result<Parcel<T>, AllocateError> {
        let mut parcel = self.uninit::<T>()?;
        parcel.write(value);
        // SAFETY: written above.
        Ok(unsafe { parcel.assume_init() })
    }

    /// A parcel to be written in place.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn uninit<T: Message>(&self) -> Result<Parcel<MaybeUninit<T>>, AllocateError> {
        let raw =
            Raw::allocate(self.domain.member(), self.method, size_of::<T>() as u64, align_of::<T>() as u64)?;
        Ok(Parcel { raw, tail: 0, _owns: PhantomData })
    }

    /// A slice to be written in place.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn uninit_slice<T: Message>(&self, n: usize) -> Result<Parcel<[MaybeUninit<T>]>, AllocateError> {
        let bytes = <[T] as Message>::length(n).ok_or(AllocateError::Length { tail: n })?;
        let raw = Raw::allocate(self.domain.member(), self.method, bytes as u64, align_of::<T>() as u64)?;
        Ok(Parcel { raw, tail: n, _owns: PhantomData })
    }

    /// Raw storage, for variables.
    pub(crate) fn uninit_aligned(
        &self,
        bytes: usize,
        align: usize,
    ) -> Result<Parcel<[MaybeUninit<u8>]>, AllocateError> {
        let raw = Raw::allocate(self.domain.member(), self.method, bytes as u64, align as u64)?;
        Ok(Parcel { raw, tail: bytes, _owns: PhantomData })
    }

    /// `length` bytes of a message of a type known only at run time, which lies at multiples of `align`; `fill` writes them all.
    pub(crate) fn of_bytes(
        &self,
        length: usize,
        align: u64,
        fill: impl FnOnce(*mut u8),
    ) -> Result<Parcel<[u8]>, AllocateError> {
        let raw = Raw::allocate(self.domain.member(), self.method, length as u64, align)?;
        // The kernel, or an earlier message, has initialised it: bytes that are not written are some bytes.
        fill(raw.data.as_ptr());
        Ok(Parcel { raw, tail: length, _owns: PhantomData })
    }

    /// A parcel of zeroes with `tail` elements in its trailing slice (0 for a sized type). Does not compile for types of
    /// which zeroes are no value.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if no message of this type is that long.
    pub fn zeroed<T: Message + ?Sized>(&self, tail: usize) -> Result<Parcel<T>, AllocateError> {
        const { assert!(T::ZERO_VALID, "all zeroes is not a value of this type: use Parcel::new or uninit") };
        let length = T::length(tail).ok_or(AllocateError::Length { tail })?;
        let bytes = length.next_multiple_of(T::ALIGN);
        let raw = Raw::allocate(self.domain.member(), self.method, bytes as u64, T::ALIGN as u64)?;
        // SAFETY: Q1, Q2: fresh memory of at least `bytes`.
        unsafe { raw.data.as_ptr().write_bytes(0, bytes) };
        Ok(Parcel { raw, tail, _owns: PhantomData })
    }
}

impl<T: Message> Parcel<T> {
    /// A parcel of the domain's memory that holds `value`.
    pub(crate) fn of_member(member: &Handle, value: T) -> Result<Parcel<T>, AllocateError> {
        let raw = Raw::allocate(member, Method::default(), size_of::<T>() as u64, align_of::<T>() as u64)?;
        let mut parcel = Parcel::<MaybeUninit<T>> { raw, tail: 0, _owns: PhantomData };
        parcel.write(value);
        // SAFETY: written above.
        Ok(unsafe { parcel.assume_init() })
    }

    /// A parcel that holds `value`, for channels of the domain's own memory.
    ///
    /// # Errors
    /// [`AllocateError`]: the domain is full, or `T` asks for more than a page of alignment.
    pub fn new(domain: &Domain, value: T) -> Result<Parcel<T>, AllocateError> {
        domain.parcels(Method::default()).new(value)
    }

    /// A parcel to be written in place.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn uninit(domain: &Domain) -> Result<Parcel<MaybeUninit<T>>, AllocateError> {
        domain.parcels(Method::default()).uninit()
    }
}

impl<T: Message + ?Sized> Parcel<T> {
    /// A parcel of zeroes with `tail` elements in its trailing slice: `Parcel::<[f32]>::with_tail(&domain, n)`, or a
    /// header with `n` pixels. Does not compile for types of which zeroes are no value.
    ///
    /// # Errors
    /// [`AllocateError`]: the domain is full, or no message of this type is that long.
    pub fn with_tail(domain: &Domain, tail: usize) -> Result<Parcel<T>, AllocateError> {
        domain.parcels(Method::default()).zeroed(tail)
    }

    /// Bytes of the message: what counts as its length.
    pub fn length(&self) -> usize {
        T::length(self.tail).unwrap_or(0)
    }

    /// Fills this process's page table for the parcel's memory, so that touching it faults no more.
    ///
    /// # Errors
    /// The kernel's, if it refuses (Linux before 5.14 does not know how); `EFAULT` in a forked child, whose the memory is not.
    pub fn prefault(&self) -> Result<(), crate::OsError> {
        if !self.raw.member.here() {
            // Something of the child's own may lie at these addresses by now.
            let doing = "make a parcel present in a child that was forked (its memory is not here; open the domain in the child)";
            return Err(crate::OsError::new(doing, rustix::io::Errno::FAULT));
        }
        crate::os::mapping::populate(self.raw.data, self.length())
    }

    /// Did a receiver that died have it in hand before, and neither release nor forward it? Then it may have done a part of the
    /// work. Only of channels with a [`Continuation`](crate::Continuation) that keeps messages; a parcel that the dead one had begun
    /// to write to does not come again ([`RecvError::Torn`](crate::RecvError)).
    pub fn redelivered(&self) -> bool {
        self.raw.redelivered
    }

    /// Acknowledges it, as releasing or forwarding it would, and keeps it: if this process dies from here on, it does not come again.
    /// For a worker that goes on to use a parcel's memory when its work is done.
    pub fn acknowledge(&mut self) {
        self.raw.acknowledge();
    }

    /// It was received from a channel that keeps it, and is noted.
    pub(crate) fn is_kept(&mut self, redelivered: bool) {
        (self.raw.kept, self.raw.redelivered) = (true, redelivered);
    }

    pub(crate) fn words(&self, method: Method) -> Result<Reference3, SendFailure> {
        self.raw.words(method, self.length())
    }

    /// Takes over a block that a peer sent; `None` if its words make no sense. `handle` gives a handle of `member`; `note` says from
    /// which channel it came (`memory::note`).
    #[inline(always)]
    pub(crate) fn receive(
        member: &Handle,
        handle: impl FnOnce() -> Handle,
        method: Method,
        [reference, length, incarnation]: Reference3,
        note: u64,
    ) -> Option<Parcel<T>> {
        let offset = member.refs.offset(method, reference)?;
        let segment = member.segment();
        let id = segment.map().locate(offset)?;
        let data = segment.pointer(offset, length)?;
        let tail = Self::tail_in(id, data, length).filter(|_| segment.map().block(id) == offset)?;
        let next = incarnation.wrapping_add(1);
        let memory = Memory::Block(id, next);
        let parcel = Parcel { raw: Raw::new(handle(), memory, data), tail, _owns: PhantomData };
        // Last: it waits for the line of the holder word, which the sender had, and what is written after it waits too.
        member.blocks.received(segment, id, next, note);
        Some(parcel)
    }

    /// A capability that arrived, if its length is one of `T`.
    pub(crate) fn from_received(raw: Raw, length: u64) -> Option<Parcel<T>> {
        let tail = usize::try_from(length).ok().and_then(T::tail)?;
        (length as usize).checked_next_multiple_of(T::ALIGN)?;
        // A whole number of pages, checked when it was acquired.
        Some(Parcel { raw, tail, _owns: PhantomData })
    }

    /// The parcel of `length` bytes at an offset, of which this process has become the holder in this incarnation. None: no
    /// message of `T` lies there.
    pub(crate) fn of_block(member: &Handle, id: BlockId, incarnation: u64, length: u64) -> Option<Parcel<T>> {
        let data = member.segment().pointer(member.segment().map().block(id), length)?;
        let tail = Self::tail_in(id, data, length)?;
        let raw = Raw::new(member.clone(), Memory::Block(id, incarnation), data);
        Some(Parcel { raw, tail, _owns: PhantomData })
    }

    /// Can a message of `length` bytes, one of `T`, lie in the block?
    pub(crate) fn can_lie_in(member: &Member, id: BlockId, length: u64) -> bool {
        let data = member.segment().pointer(member.segment().map().block(id), length);
        data.is_some_and(|data| Self::tail_in(id, data, length).is_some())
    }

    /// The tail of a message of `length` bytes at `data`, the start of a block, if one of `T` can lie there (Q2).
    #[inline(always)]
    fn tail_in(id: BlockId, data: NonNull<u8>, length: u64) -> Option<usize> {
        let tail = usize::try_from(length).ok().and_then(T::tail)?;
        let whole = (length as usize).checked_next_multiple_of(T::ALIGN)?;
        let aligned = data.as_ptr() as usize & (T::ALIGN - 1) == 0;
        (whole as u64 <= id.bytes() && aligned).then_some(tail)
    }

    fn pointer(&self) -> *mut T {
        // SAFETY: Q2.
        unsafe { T::from_raw_parts(self.raw.data.as_ptr(), self.tail) }
    }
}

impl<T: ?Sized> Parcel<T> {
    pub(crate) fn raw(&self) -> &Raw {
        &self.raw
    }

    pub(crate) fn into_raw(self) -> Raw {
        self.raw
    }

    /// What is in it is about to be changed.
    #[inline(always)]
    pub(crate) fn begin_changing(&mut self) {
        if self.raw.kept {
            self.raw.begin_changing();
        }
    }

    /// The block and its incarnation; None: a memory file of its own.
    pub(crate) fn lies_in(&self) -> Option<(BlockId, u64)> {
        match self.raw.memory {
            Memory::Block(id, incarnation) => Some((id, incarnation)),
            Memory::Capability(_) => None,
        }
    }
}

impl<T: Message> Parcel<MaybeUninit<T>> {
    /// Says that the parcel has been written.
    ///
    /// # Safety
    /// It has.
    pub unsafe fn assume_init(self) -> Parcel<T> {
        Parcel { raw: self.raw, tail: self.tail, _owns: PhantomData }
    }

    /// Writes `value` in place.
    pub fn write(&mut self, value: T) -> &mut T {
        // SAFETY: Q1, Q2: ours alone, mapped, aligned and large enough.
        unsafe {
            let place = self.raw.data.as_ptr().cast::<T>();
            place.write(value);
            &mut *place
        }
    }
}

impl<T: Message> Parcel<[MaybeUninit<T>]> {
    /// Says that all elements have been written.
    ///
    /// # Safety
    /// They have.
    pub unsafe fn assume_init_slice(self) -> Parcel<[T]> {
        Parcel { raw: self.raw, tail: self.tail, _owns: PhantomData }
    }

    /// The elements, to be written.
    pub fn as_uninit_mut(&mut self) -> &mut [MaybeUninit<T>] {
        // SAFETY: Q1, Q2.
        unsafe { std::slice::from_raw_parts_mut(self.raw.data.as_ptr().cast(), self.tail) }
    }

    /// Writes each element in place, in order, and gives the finished parcel.
    pub fn fill_with(mut self, mut element: impl FnMut(usize) -> T) -> Parcel<[T]> {
        for (i, place) in self.as_uninit_mut().iter_mut().enumerate() {
            place.write(element(i));
        }
        // SAFETY: all were written.
        unsafe { self.assume_init_slice() }
    }
}

impl<T: Message + ?Sized> Deref for Parcel<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // In a forked child the window is not mapped: better a message than a signal.
        assert_here(&self.raw.member);
        // SAFETY: Q1, Q2, and the parcel was initialised before it became a `Parcel<T>`.
        unsafe { &*self.pointer() }
    }
}

impl<T: Message + ?Sized> DerefMut for Parcel<T> {
    fn deref_mut(&mut self) -> &mut T {
        assert_here(&self.raw.member);
        self.begin_changing();
        // SAFETY: as for `deref`; `&mut self`.
        unsafe { &mut *self.pointer() }
    }
}

#[inline(always)]
fn assert_here(member: &Member) {
    if !member.here() {
        forked();
    }
}

#[cold]
fn forked() -> ! {
    panic!("this process was forked from the one that holds the parcel; its memory is not here");
}

impl<T: Message + ?Sized + std::fmt::Debug> std::fmt::Debug for Parcel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Parcel").field(&&**self).finish()
    }
}
