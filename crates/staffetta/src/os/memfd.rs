//! A memory file: a file without a name, that lives as long as somebody holds or maps it.
//!
//! What it does not do: it maps nothing (see `mapping`), and it does not decide which seals an
//! object gets.
//!
//! Invariants of a file that [`create`] returns:
//!
//! 1. It is close-on-exec, its mode is 0600, and it cannot be executed where the kernel has
//!    `MFD_NOEXEC_SEAL` (6.3).
//! 2. It has its full length and not one page of memory: it is sparse.
//! 3. If `sealable` was false, no seal can ever be added.

use super::fork::{without_fork, NotInherited};
use super::{retry, Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, FallocateFlags, MemfdFlags, Mode, SeekFrom};
use rustix::io::Errno;
use rustix::process::{getrlimit, Resource};
use std::ffi::CStr;

pub(crate) use rustix::fs::SealFlags as Seals;

/// `memfd_create` and `ftruncate`: a sparse file of `len_bytes`.
///
/// `name` is shown in `/proc/<pid>/maps` and nowhere else; two files may share it.
///
/// # Errors
///
/// [`Error::FileTooLarge`] if `RLIMIT_FSIZE` is smaller (the kernel would send `SIGXFSZ`, which
/// kills); [`Error::NoDescriptors`], [`Error::Forbidden`], [`Error::Unsupported`] as they say.
pub(crate) fn create(name: &CStr, len_bytes: u64, sealable: bool) -> Result<OwnedFd> {
    const DOING: &str = "create a memory file";
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit_bytes) = limit.filter(|&limit| len_bytes > limit) {
        return Err(Error::FileTooLarge { wanted_bytes: len_bytes, limit_bytes });
    }

    let plain = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL and answer EINVAL; later ones may insist on it
    // (vm.memfd_noexec = 2).
    let file = match retry(|| fs::memfd_create(name, plain | MemfdFlags::NOEXEC_SEAL)) {
        Err(Errno::INVAL) => retry(|| fs::memfd_create(name, plain)),
        other => other,
    }
    .map_err(Error::when(DOING))?;
    fs::fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(Error::when(DOING))?;
    retry(|| fs::ftruncate(&file, len_bytes)).map_err(Error::when(DOING))?;
    if !sealable {
        add_seals(file.as_fd(), Seals::SEAL)?;
    }
    Ok(file)
}

/// As [`create`], closed in forked children. Not one step: a fork in between leaves the child a
/// descriptor of memory that nobody uses yet.
pub(crate) fn create_here(name: &CStr, len_bytes: u64, sealable: bool) -> Result<NotInherited> {
    keep_here(create(name, len_bytes, sealable)?)
}

/// Sees to it that a memory file that came from elsewhere is closed in forked children.
pub(crate) fn keep_here(file: OwnedFd) -> Result<NotInherited> {
    // Not while a fork is under way: the child's descriptors are copied before its memory, so it could find a
    // number registered that it does not have.
    without_fork(|| NotInherited::register(file)).map_err(Error::when("keep a memory file"))
}

/// The length of the file in bytes, holes included.
pub(crate) fn size_bytes(file: BorrowedFd<'_>) -> Result<u64> {
    let stat = fs::fstat(file).map_err(Error::when("ask for the size of a memory file"))?;
    // A negative size cannot come from the kernel; zero makes every later check fail cleanly.
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// How many bytes of memory the file really occupies.
pub(crate) fn allocated_bytes(file: BorrowedFd<'_>) -> Result<u64> {
    let stat = fs::fstat(file).map_err(Error::when("ask for the memory of a memory file"))?;
    // st_blocks counts 512-byte units whatever the page size.
    Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
}

/// `F_ADD_SEALS`. Seals are for ever.
///
/// # Errors
///
/// `EBUSY` in [`Error::Failed`] for [`Seals::WRITE`] while a writable mapping exists anywhere;
/// [`Error::Forbidden`] if the file was made unsealable.
pub(crate) fn add_seals(file: BorrowedFd<'_>, seals: Seals) -> Result<()> {
    fs::fcntl_add_seals(file, seals).map_err(Error::when("seal a memory file"))
}

/// `F_ADD_SEALS`, against writing. False: a writable mapping exists somewhere.
pub(crate) fn seal_against_writing(file: BorrowedFd<'_>) -> Result<bool> {
    match fs::fcntl_add_seals(file, Seals::WRITE) {
        Ok(()) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        Err(errno) => Err(Error::new("seal a memory file", errno)),
    }
}

/// A second descriptor of the same file.
pub(crate) fn duplicate(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(Error::when("duplicate a descriptor"))
}

/// `F_GET_SEALS`: what nobody can do to the file any more.
///
/// # Errors
///
/// `EINVAL` in [`Error::Failed`] if the descriptor is not a memory file at all.
pub(crate) fn seals(file: BorrowedFd<'_>) -> Result<Seals> {
    fs::fcntl_get_seals(file).map_err(Error::when("read the seals of a memory file"))
}

/// Gives the pages of a range back to the kernel; the range then reads as zeroes, in every
/// process, at once. Only whole pages inside the range go back; the rest is zeroed in place.
pub(crate) fn punch(file: BorrowedFd<'_>, offset_bytes: u64, len_bytes: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry(|| fs::fallocate(file, flags, offset_bytes, len_bytes))
        .map_err(Error::when("give memory back to the kernel"))
}

/// The parts of a range of the file that are present; what the kernel does not tell is.
pub(crate) fn present(file: BorrowedFd<'_>, begin: u64, end: u64) -> Vec<std::ops::Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = begin;
    while at < end {
        // Nobody uses the file's position.
        let data = match retry(|| fs::seek(file, SeekFrom::Data(at))) {
            Ok(data) => data.max(at),
            Err(rustix::io::Errno::NXIO) => break, // nothing any more
            Err(_) => at,
        };
        if data >= end {
            break;
        }
        let hole =
            retry(|| fs::seek(file, SeekFrom::Hole(data))).map_or(end, |hole| hole.clamp(data + 1, end));
        ranges.push(data..hole);
        at = hole;
    }
    ranges
}

/// Makes the kernel find the memory for a range now, so that touching it later cannot fail.
///
/// May block while the kernel reclaims memory. A range that is present already costs a walk.
///
/// # Errors
///
/// [`Error::NoMemory`] when there is none: an error in place of a `SIGBUS` later on.
pub(crate) fn allocate(file: BorrowedFd<'_>, offset_bytes: u64, len_bytes: u64) -> Result<()> {
    retry(|| fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset_bytes, len_bytes))
        .map_err(Error::when("allocate memory in a memory file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_long_and_empty() {
        let file = create(c"test", 1 << 40, false).unwrap();
        assert_eq!(size_bytes(file.as_fd()).unwrap(), 1 << 40);
        assert_eq!(allocated_bytes(file.as_fd()).unwrap(), 0);
        let mode = fs::fstat(&file).unwrap().st_mode & 0o777;
        assert_eq!(mode, 0o600);
        assert!(seals(file.as_fd()).unwrap().contains(Seals::SEAL));
        assert!(matches!(add_seals(file.as_fd(), Seals::WRITE), Err(Error::Forbidden { .. })));
    }

    #[test]
    fn allocate_and_punch_move_memory_in_and_out() {
        let file = create(c"test", 1 << 24, true).unwrap();
        allocate(file.as_fd(), 0, 1 << 20).unwrap();
        assert_eq!(allocated_bytes(file.as_fd()).unwrap(), 1 << 20);
        punch(file.as_fd(), 0, 1 << 20).unwrap();
        assert_eq!(allocated_bytes(file.as_fd()).unwrap(), 0);
        add_seals(file.as_fd(), Seals::SHRINK | Seals::GROW).unwrap();
        assert!(seals(file.as_fd()).unwrap().contains(Seals::SHRINK | Seals::GROW));
    }
}
