//! What can go wrong between this process and the kernel.
//!
//! A bare errno says neither what was tried nor what to do: `EAGAIN` from `mmap` is the limit on
//! locked memory, `EAGAIN` from `fork` is the limit on processes. Each variant here is one cause
//! that a person can act on; the errno stays reachable through [`std::error::Error::source`] and
//! [`Error::errno`].

use rustix::io::Errno;
use std::io;
use thiserror::Error as ThisError;

/// An operation that the kernel refused, with the reason and what to do about it.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// This process has used up its file descriptors (`EMFILE`).
    #[error(
        "cannot {doing}: this process has no file descriptor left; close some, or raise the \
         limit (`ulimit -n`)"
    )]
    NoDescriptors {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The whole system has used up its open files (`ENFILE`).
    #[error(
        "cannot {doing}: the system has no open file left; raise fs.file-max (`sysctl`), or \
         close files of other programs"
    )]
    NoSystemDescriptors {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file would be larger than `RLIMIT_FSIZE`; checked before the kernel would send a
    /// deadly `SIGXFSZ`.
    #[error(
        "cannot make a memory file of {wanted_bytes} bytes: the limit on file sizes is \
         {limit_bytes} bytes; raise it (`ulimit -f`), or ask for less"
    )]
    FileTooLarge {
        /// The size asked for.
        wanted_bytes: u64,
        /// The soft limit in force.
        limit_bytes: u64,
    },
    /// Something else already lies where a mapping has to go.
    #[error(
        "cannot map {len} bytes at {base:#x}: the place is taken by {occupant}; start this \
         program with that address range free, or use distinct addresses"
    )]
    AddressOccupied {
        /// Where the mapping had to begin.
        base: usize,
        /// How long it had to be, in bytes.
        len: usize,
        /// The first overlapping line of `/proc/self/maps`, or a guess where it is unreadable.
        occupant: String,
    },
    /// The address lies outside what this machine gives to programs.
    #[error(
        "cannot map {len} bytes at {base:#x}: the range lies outside the address space of \
         programs on this machine; use a smaller window or distinct addresses"
    )]
    AddressOutOfRange {
        /// Where the mapping had to begin.
        base: usize,
        /// How long it had to be, in bytes.
        len: usize,
    },
    /// The limit on the size of the address space forbids the mapping.
    #[error(
        "cannot map {len} bytes: the limit on this process's address space is {limit_bytes} \
         bytes; raise it (`ulimit -v`), or use a smaller window"
    )]
    AddressSpaceLimit {
        /// How long the mapping had to be, in bytes.
        len: usize,
        /// The soft limit `RLIMIT_AS`.
        limit_bytes: u64,
    },
    /// No hole of that length, too many mappings, or strict overcommit.
    #[error(
        "cannot map {len} bytes: this process has no free address range of that length, or too \
         many mappings (vm.max_map_count); use a smaller window"
    )]
    NoAddressSpace {
        /// How long the mapping had to be, in bytes.
        len: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The process locks all its future mappings and may not lock this much.
    #[error(
        "cannot map {len} bytes: this process locks its memory (mlockall) and may lock only \
         {limit_bytes} bytes; raise the limit (`ulimit -l`), grant CAP_IPC_LOCK, or call \
         mlockall(MCL_FUTURE) only after the domain is open"
    )]
    LockedMemoryLimit {
        /// How long the mapping had to be, in bytes.
        len: usize,
        /// The soft limit `RLIMIT_MEMLOCK`.
        limit_bytes: u64,
    },
    /// The kernel has no memory left for what was asked (`ENOMEM`, `ENOSPC`, `ENOBUFS`).
    #[error("cannot {doing}: the system is out of memory; free some, or ask for less")]
    NoMemory {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The kernel, a seal or a sandbox forbids it (`EPERM`, `EACCES`).
    #[error(
        "cannot {doing}: not permitted; check the rights on the object, its seals, and the \
         sandbox (seccomp, AppArmor, SELinux) this program runs in"
    )]
    Forbidden {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// This kernel does not know the call (`ENOSYS`).
    #[error(
        "cannot {doing}: this kernel, or the sandbox around this program, does not offer the \
         call; Staffetta needs Linux 5.3 or later and a seccomp profile that lets it through"
    )]
    Unsupported {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Anything else; the source has the system's own words.
    #[error("cannot {doing}: {source}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// The cause behind `errno`, where the errno alone decides it.
    ///
    /// `doing` completes the sentence "cannot …".
    #[cold]
    pub(crate) fn new(doing: &'static str, errno: Errno) -> Self {
        let source = io::Error::from(errno);
        match errno {
            Errno::MFILE => Self::NoDescriptors { doing, source },
            Errno::NFILE => Self::NoSystemDescriptors { doing, source },
            Errno::NOMEM | Errno::NOSPC | Errno::NOBUFS => Self::NoMemory { doing, source },
            Errno::PERM | Errno::ACCESS => Self::Forbidden { doing, source },
            Errno::NOSYS => Self::Unsupported { doing, source },
            _ => Self::Failed { doing, source },
        }
    }

    /// For `map_err`: the cause behind an errno that came up while `doing` something.
    pub(crate) fn when(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(doing, errno)
    }

    /// The number the kernel gave, where it gave one.
    ///
    /// ```
    /// # fn look(error: &staffetta::OsError) {
    /// if error.errno() == Some(24) { /* EMFILE: close some files and try again */ }
    /// # }
    /// ```
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NoDescriptors { source, .. }
            | Self::NoSystemDescriptors { source, .. }
            | Self::NoAddressSpace { source, .. }
            | Self::NoMemory { source, .. }
            | Self::Forbidden { source, .. }
            | Self::Unsupported { source, .. }
            | Self::Failed { source, .. } => source.raw_os_error(),
            Self::FileTooLarge { .. } => Some(Errno::FBIG.raw_os_error()),
            Self::AddressOccupied { .. } => Some(Errno::EXIST.raw_os_error()),
            Self::AddressOutOfRange { .. } | Self::AddressSpaceLimit { .. } => {
                Some(Errno::NOMEM.raw_os_error())
            }
            Self::LockedMemoryLimit { .. } => Some(Errno::AGAIN.raw_os_error()),
        }
    }
}
