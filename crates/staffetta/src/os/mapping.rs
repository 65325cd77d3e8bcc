//! A mapping: a range of this process's addresses that shows a range of a memory file.
//!
//! What it does not do: it hands out a base address and a length, never references; whether the
//! bytes may be read or written, and by whom, is for the layers below to prove.
//!
//! Invariants of a [`Mapping`]:
//!
//! 1. `base .. base + len` is mapped in the process that made it until the value is dropped, and
//!    nobody else unmaps it.
//! 2. The range is shared, reserves no swap, stays out of core dumps, and is absent in a forked
//!    child.
//! 3. Making it fills no memory, not even in a process that locks all future mappings.
//! 4. Dropping it in a forked child does nothing: by 2 the child has something else there, or
//!    nothing.

#![allow(unsafe_code)] // mmap and its kin; the layer that wraps them is this one.

use super::fork::ForkGuard;
use super::{Error, Result};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{getrlimit, Resource};
use std::ffi::c_void;
use std::ptr::{self, NonNull};

/// The size of a page on this machine, in bytes: 4, 16 or 64 KiB.
#[must_use]
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At this address or not at all; nothing that is there already is touched.
    At(usize),
    /// Wherever the kernel finds room.
    Anywhere,
}

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only; a write is a fault.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// A mapped range; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    guard: ForkGuard,
}

// SAFETY: a Mapping is an address and a length. It owns the range (invariant 1) and gives no
// access to it, so it may be dropped by, and looked at from, any thread of the process.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` allows only reading the two numbers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset_bytes` on.
    ///
    /// `offset_bytes` has to be a multiple of the page size. `len` is used as it is; the kernel
    /// rounds it up to whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::AddressOccupied`] names what lies there; [`Error::AddressOutOfRange`],
    /// [`Error::AddressSpaceLimit`], [`Error::LockedMemoryLimit`], [`Error::NoAddressSpace`];
    /// [`Error::Forbidden`] if the file is sealed against the access asked for.
    pub(crate) fn map(
        file: BorrowedFd<'_>,
        offset_bytes: u64,
        len: usize,
        placement: Placement,
        access: Access,
    ) -> Result<Self> {
        let guard = ForkGuard::new()?;
        let (hint, fixed) = match placement {
            Placement::At(base) => (base, MapFlags::FIXED_NOREPLACE),
            Placement::Anywhere => (0, MapFlags::empty()),
        };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | fixed;
        // Without any right at first: in a process that locks its future mappings, a readable one
        // would be filled, page by page, inside this call (invariant 3).
        let map = |flags| {
            // SAFETY: the kernel picks a free range, or takes exactly `hint` if it is free
            // (FIXED_NOREPLACE), so no memory of the program is replaced.
            unsafe { mm::mmap(hint as *mut c_void, len, ProtFlags::empty(), flags, file, offset_bytes) }
        };
        let base = match map(flags) {
            // Before Linux 6.7 a file sealed against writing could not be mapped shared at all.
            // It cannot change, so a private mapping that is only read shows the same bytes.
            Err(Errno::PERM) if access == Access::Read => map((flags - MapFlags::SHARED) | MapFlags::PRIVATE),
            other => other,
        }
        .map_err(|errno| explain(errno, placement, len))?;
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            // Page zero is never free to a program; if it were, no reference could point there.
            return Err(Error::new("map memory", Errno::FAULT));
        };
        let mapping = Self { base, len, guard };
        if let Placement::At(wanted) = placement {
            // Before Linux 4.17 FIXED_NOREPLACE was an unknown flag, and the address a hint.
            if base.as_ptr() as usize != wanted {
                drop(mapping);
                return Err(explain(Errno::EXIST, placement, len));
            }
        }
        mapping.open(access)?;
        Ok(mapping)
    }

    /// Gives the range its rights and its advice, now that it lies where it should.
    fn open(&self, access: Access) -> Result<()> {
        const DOING: &str = "set up a mapping";
        let rights = match access {
            Access::Read => MprotectFlags::READ,
            Access::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        let start = self.base.as_ptr().cast::<c_void>();
        // SAFETY: for all four calls: the range is ours alone (invariant 1), nobody has its address
        // yet, and none of these calls changes what its bytes are.
        unsafe {
            // First, while there is nothing to lock yet (invariant 3). ENOMEM and EPERM cannot
            // come from a range that is mapped and ours; anything else would only cost memory.
            let _ = mm::munlock(start, self.len);
            mm::mprotect(start, self.len, rights).map_err(Error::when(DOING))?;
            mm::madvise(start, self.len, Advice::LinuxDontDump).map_err(Error::when(DOING))?;
            mm::madvise(start, self.len, Advice::LinuxDontFork).map_err(Error::when(DOING))
        }
    }

    /// The first address.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether this process made the mapping, rather than a parent it was forked from.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.guard.alive()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.guard.alive() {
            return; // invariant 4
        }
        // SAFETY: the range is ours (invariant 1) and by owning `self` nobody uses it any more.
        // The call fails only for a range that is not page-aligned, which ours is.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Makes the pages of a range present and writable in this process, without changing a byte.
///
/// # Errors
///
/// The kernel's: `EINVAL` before Linux 5.14, `ENOMEM` when there is no memory.
pub(crate) fn populate(start: NonNull<u8>, len: usize) -> Result<()> {
    let page = page_size();
    let first = start.as_ptr() as usize / page * page;
    let end = (start.as_ptr() as usize + len).next_multiple_of(page);
    // SAFETY: the advice changes no byte of the range, whatever lies there.
    unsafe { mm::madvise(first as *mut c_void, end - first, Advice::LinuxPopulateWrite) }
        .map_err(Error::when("make memory present"))
}

/// What a refused `mmap` means.
#[cold]
fn explain(errno: Errno, placement: Placement, len: usize) -> Error {
    match (errno, placement) {
        (Errno::EXIST, Placement::At(base)) => {
            Error::AddressOccupied { base, len, occupant: occupant(base, len) }
        }
        (Errno::AGAIN, _) => {
            let limit_bytes = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
            Error::LockedMemoryLimit { len, limit_bytes }
        }
        (Errno::NOMEM, _) => {
            if let Some(limit_bytes) = getrlimit(Resource::As).current {
                return Error::AddressSpaceLimit { len, limit_bytes };
            }
            match placement {
                // With a fixed address nothing has to be searched for: only the end of the
                // address space, or the number of mappings, can be in the way.
                Placement::At(base) => Error::AddressOutOfRange { base, len },
                Placement::Anywhere => Error::NoAddressSpace { len, source: errno.into() },
            }
        }
        _ => Error::new("map memory", errno),
    }
}

/// Names the first mapping that overlaps a range, from `/proc/self/maps`.
fn occupant(base: usize, len: usize) -> String {
    let end = base.saturating_add(len);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some((from, to)) = fields.next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let parse = |hex| usize::from_str_radix(hex, 16);
        let (Ok(from), Ok(to)) = (parse(from), parse(to)) else {
            continue;
        };
        if from < end && base < to {
            // Four more columns come before the name: rights, offset, device, inode.
            let name = fields.skip(4).collect::<Vec<_>>().join(" ");
            let name = if name.is_empty() { "memory without a name" } else { &name };
            return format!("{name} ({from:#x}-{to:#x})");
        }
    }
    "something that /proc/self/maps does not show".to_owned()
}

/// Whether every address of a range is free in this process at this moment.
///
/// Used to choose a base; the answer can be out of date at once, so the choice is still confirmed
/// by mapping there.
pub(crate) fn is_free(base: usize, len: usize) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: FIXED_NOREPLACE takes the range only if it is free; what is mapped here is unmapped
    // below, before anyone can know its address.
    let probe =
        unsafe { mm::mmap_anonymous(ptr::without_provenance_mut(base), len, ProtFlags::empty(), flags) };
    match probe {
        Ok(at) => {
            // SAFETY: the range just mapped, see above.
            let _ = unsafe { mm::munmap(at, len) };
            at as usize == base
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::memfd;
    use super::*;
    use rustix::fd::AsFd;

    const WINDOW: usize = 1 << 36;
    const BASE: usize = 0x2000_0000_0000;

    #[test]
    fn a_sparse_window_maps_where_it_is_told() {
        let file = memfd::create(c"test", WINDOW as u64, false).unwrap();
        let here = Placement::At(BASE);
        let mapping = Mapping::map(file.as_fd(), 0, WINDOW, here, Access::ReadWrite).unwrap();
        assert_eq!(mapping.base().as_ptr() as usize, BASE);
        assert!(!is_free(BASE, WINDOW));
        let last = mapping.base().as_ptr().wrapping_add(WINDOW - 1);
        // SAFETY: inside the mapping, which is writable, and nobody else has the file.
        unsafe { last.write_volatile(7) };
        assert_eq!(memfd::allocated_bytes(file.as_fd()).unwrap() as usize, page_size());

        let error = Mapping::map(file.as_fd(), 0, WINDOW, here, Access::Read).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("memfd:test") && text.contains("0x200000000000"), "{text}");
        drop(mapping);
        assert!(is_free(BASE, WINDOW));
    }

    #[test]
    fn a_range_beyond_the_address_space_is_named() {
        let file = memfd::create(c"test", 1 << 20, false).unwrap();
        let beyond = Placement::At(1 << 60);
        let error = Mapping::map(file.as_fd(), 0, 1 << 20, beyond, Access::Read).unwrap_err();
        assert!(matches!(error, Error::AddressOutOfRange { .. }), "{error}");
    }

    #[test]
    fn a_sealed_file_can_still_be_read() {
        let file = memfd::create(c"test", 4096, true).unwrap();
        rustix::io::pwrite(&file, b"hello", 0).unwrap();
        memfd::add_seals(file.as_fd(), memfd::Seals::WRITE).unwrap();
        let place = Placement::Anywhere;
        let mapping = Mapping::map(file.as_fd(), 0, 4096, place, Access::Read).unwrap();
        // SAFETY: mapped, readable, and immutable by its seal.
        assert_eq!(unsafe { mapping.base().as_ptr().read_volatile() }, b'h');
        let error = Mapping::map(file.as_fd(), 0, 4096, place, Access::ReadWrite).unwrap_err();
        assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    }
}
