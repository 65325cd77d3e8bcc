//! The only unsafe code of the command line: mapped memory, and `getrusage`, which rustix lacks.
//!
//! Two types, because two uses need different promises:
//!
//! - [`SharedWords`]: a few cache lines that two processes change at the same time. Handed out as
//!   atomics only, so that no access can be a data race.
//! - [`Buffer`]: bytes on a memfd of our own that nobody else maps. Handed out as plain slices.
//!
//! Invariants that the SAFETY comments cite:
//!
//! 1. A `Mapping` covers exactly `bytes` bytes at `start`, readable, and writable if it was made by
//!    `writable`, until it is dropped.
//! 2. The memfd under a writable mapping is at least that long and can no longer shrink, so no access
//!    inside it can raise SIGBUS for want of a file.
//! 3. The descriptor of a `Buffer` never leaves its constructor, so this process is the only one
//!    that maps it.
//! 4. A parcel lies in a memory file (a domain's, or one of its own), so it has been initialised by the
//!    kernel, with zeroes, before anybody else wrote there.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use staffetta::Parcel;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The distance at which two words cannot meet in one cache line, nor in a pair that is fetched together.
pub const LINE_BYTES: usize = 128;

/// A memfd of `bytes` bytes that can no longer shrink.
pub fn memfd(bytes: usize) -> io::Result<OwnedFd> {
    let fd = memfd_create("staffetta-cli", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, bytes as u64)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK)?;
    Ok(fd)
}

struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread (invariant 1).
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps shared memory that two sides will write, after making sure of invariant 2.
    fn writable(fd: &OwnedFd, bytes: usize) -> io::Result<Mapping> {
        let long_enough = rustix::fs::fstat(fd)?.st_size as u64 >= bytes as u64;
        if !long_enough || !fcntl_get_seals(fd)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::other("the memory handed over is too short, or could shrink"));
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        Mapping::of(fd, bytes, prot, MapFlags::SHARED | MapFlags::POPULATE)
    }

    /// Maps, and nothing else.
    fn of(fd: &OwnedFd, bytes: usize, prot: ProtFlags, flags: MapFlags) -> io::Result<Mapping> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at null"))?;
        Ok(Mapping { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: invariant 1; every reference handed out borrows the owner of this mapping.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A few lines shared between processes, each used as one atomic word.
pub struct SharedWords {
    mapping: Mapping,
    fd: OwnedFd,
}

impl SharedWords {
    /// New lines, all zero.
    pub fn create(lines: usize) -> io::Result<SharedWords> {
        SharedWords::open(memfd(lines * LINE_BYTES)?, lines)
    }

    /// The lines that the other process created with as many `lines`.
    pub fn open(fd: OwnedFd, lines: usize) -> io::Result<SharedWords> {
        let mapping = Mapping::writable(&fd, lines * LINE_BYTES)?;
        Ok(SharedWords { mapping, fd })
    }

    /// The descriptor, to be handed to the other process.
    pub fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The 64-bit word at the beginning of a line.
    pub fn word(&self, line: usize) -> &AtomicU64 {
        assert!((line + 1) * LINE_BYTES <= self.mapping.bytes);
        // SAFETY: inside the mapping (asserted; invariant 1), aligned because lines are, alive as
        // long as `self`; every access by any process goes through an atomic of this size.
        unsafe { self.mapping.start.add(line * LINE_BYTES).cast().as_ref() }
    }

    /// A 64-bit word of a line, counted from its beginning.
    #[inline]
    pub fn at(&self, line: usize, word: usize) -> &AtomicU64 {
        assert!((line + 1) * LINE_BYTES <= self.mapping.bytes && word < LINE_BYTES / 8);
        // SAFETY: as for `word`: inside the line, aligned to 8.
        unsafe { self.mapping.start.add(line * LINE_BYTES + word * 8).cast().as_ref() }
    }

    /// All the words of so many lines.
    pub fn words(&self, lines: std::ops::Range<usize>) -> &[AtomicU64] {
        assert!(lines.start <= lines.end && lines.end * LINE_BYTES <= self.mapping.bytes);
        let count = (lines.end - lines.start) * LINE_BYTES / 8;
        // SAFETY: as for `word`: inside the mapping, which zeroes initialise, aligned, and all of it atomics.
        unsafe {
            let first = self.mapping.start.add(lines.start * LINE_BYTES).cast::<AtomicU64>();
            std::slice::from_raw_parts(first.as_ptr(), count)
        }
    }

    /// A 32-bit word for the futex, in the second half of a line, away from `word`.
    pub fn futex(&self, line: usize) -> &AtomicU32 {
        assert!((line + 1) * LINE_BYTES <= self.mapping.bytes);
        // SAFETY: as for `word`; the two never overlap.
        unsafe { self.mapping.start.add(line * LINE_BYTES + LINE_BYTES / 2).cast().as_ref() }
    }
}

/// Bytes on a memfd that only this process maps, every page already there.
pub struct Buffer {
    mapping: Mapping,
}

impl Buffer {
    /// `bytes` zero bytes, faulted in.
    pub fn create(bytes: usize) -> io::Result<Buffer> {
        let fd = memfd(bytes)?;
        Ok(Buffer { mapping: Mapping::writable(&fd, bytes)? })
    }

    /// The bytes, to be read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: invariants 1 to 3: initialised (zero pages), ours alone, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.mapping.start.as_ptr(), self.mapping.bytes) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and borrowed mutably with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr(), self.mapping.bytes) }
    }
}

/// A fresh parcel of bytes as it is: what an earlier message left there, or zeroes.
///
/// To write it all first would be a hand-over of something else: its pages would be there.
pub fn initialised(parcel: Parcel<[MaybeUninit<u8>]>) -> Parcel<[u8]> {
    // SAFETY: invariant 4: every byte of a file has a value, and every value is a u8.
    unsafe { parcel.assume_init_slice() }
}

/// Maps `bytes` of `fd`, reads one byte at every `stride`, unmaps; gives the sum.
///
/// This is what acquiring a capability costs at the least, so nothing is checked that a mapping does
/// not need: a descriptor that is too short ends in SIGBUS, and the callers make their own.
pub fn map_read_unmap(fd: &OwnedFd, bytes: usize, stride: usize) -> io::Result<u64> {
    let mapping = Mapping::of(fd, bytes, ProtFlags::READ, MapFlags::SHARED)?;
    let mut sum = 0;
    for at in (0..bytes).step_by(stride) {
        // SAFETY: `at` is inside the mapping (invariant 1), which is only read; volatile, so a byte
        // changed by another process meanwhile is only another value.
        sum += u64::from(unsafe { mapping.start.add(at).read_volatile() });
    }
    Ok(sum)
}

/// `process_vm_readv`: fills `to` with what is at `address` of process `pid`, which must be the peer of a benchmark, alive.
pub fn read_process(pid: u32, address: u64, to: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < to.len() {
        let rest = &mut to[done..];
        let local = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let remote = libc::iovec { iov_base: (address as usize + done) as *mut _, iov_len: rest.len() };
        // SAFETY: the kernel writes at most `rest.len()` bytes to `rest`; only it looks at the other address.
        let read = unsafe { libc::process_vm_readv(pid as i32, &local, 1, &remote, 1, 0) };
        match read {
            1.. => done += read as usize,
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

/// `prctl(PR_SET_PTRACER)`: lets this one process read our memory where Yama leaves it to ancestors; elsewhere it does nothing.
pub fn let_read(pid: u32) {
    // SAFETY: changes only who may attach to this process.
    let _ = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::from(pid), 0, 0, 0) };
}

/// What this process has used so far.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Processor time, user and system, in nanoseconds.
    pub cpu_ns: u64,
    /// Context switches, voluntary and not.
    pub context_switches: u64,
    /// Page faults, with input or without.
    pub page_faults: u64,
}

impl Usage {
    /// The whole process since it started.
    pub fn now() -> Usage {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` has room for what the call writes, and zero is a valid rusage if it fails.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
        Usage {
            cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime),
            context_switches: usage.ru_nvcsw as u64 + usage.ru_nivcsw as u64,
            page_faults: usage.ru_minflt as u64 + usage.ru_majflt as u64,
        }
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu_ns: self.cpu_ns - earlier.cpu_ns,
            context_switches: self.context_switches - earlier.context_switches,
            page_faults: self.page_faults - earlier.page_faults,
        }
    }
}

impl std::ops::Add for Usage {
    type Output = Usage;
    fn add(self, other: Usage) -> Usage {
        Usage {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            context_switches: self.context_switches + other.context_switches,
            page_faults: self.page_faults + other.page_faults,
        }
    }
}
