//! Other processes, as `/proc` tells of them: who runs, who is stopped, which memory files they have open.
//!
//! What it does not do: it sends nothing to anybody, and nobody notices it. What it says may be out of date at once; a
//! process that ends while it is looked at is as if it had not been there.

use super::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// A file, whatever name it has: device and inode.
pub(crate) type FileId = (u64, u64);

/// A descriptor of another process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// The process.
    pub(crate) pid: u32,
    /// Its number there.
    pub(crate) fd: u32,
    /// The file.
    pub(crate) file: FileId,
}

/// What the kernel says of a process.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// `R`, `S`, `D`, `T`, `t`, `Z` …
    pub(crate) state: char,
    /// Its id in its own namespace.
    pub(crate) own_pid: u32,
}

/// What the kernel says of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// As of a process.
    pub(crate) state: char,
    /// Its id here, and that of its process.
    pub(crate) tid: u32,
    pub(crate) pid: u32,
    /// Its id in its own namespace.
    pub(crate) own_tid: u32,
    /// Its name.
    pub(crate) name: String,
    /// How often it was taken from its core, or gave it away.
    pub(crate) switches: u64,
    /// Nanoseconds that it ran, if the kernel counts them.
    pub(crate) ran_ns: Option<u64>,
}

/// The processes that this one sees.
pub(crate) fn processes() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut pids: Vec<u32> = entries.flatten().filter_map(pid).collect();
    pids.sort_unstable();
    pids
}

/// The memory files called `name` that a process has open for writing, each once; none if it may not be looked into. Who only
/// looks at such a file (`open_for_reading`) is left out.
pub(crate) fn memory_files(pid: u32, name: &str) -> Vec<Open> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let wanted = format!("/memfd:{name} (deleted)");
    let mut open: Vec<Open> = Vec::new();
    for entry in entries.flatten() {
        let is_wanted = |link: std::path::PathBuf| link.as_os_str().as_bytes() == wanted.as_bytes();
        // The link's own mode says how the file is open.
        let writable = |link: std::fs::Metadata| link.mode() & 0o200 != 0;
        if !std::fs::read_link(entry.path()).is_ok_and(is_wanted) || !entry.metadata().is_ok_and(writable) {
            continue;
        }
        let number = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
        // Follows the link to the file itself.
        if let (Some(fd), Ok(file)) = (number, std::fs::metadata(entry.path())) {
            let file = (file.dev(), file.ino());
            if open.iter().all(|known| known.file != file) {
                open.push(Open { pid, fd, file });
            }
        }
    }
    open
}

/// The same file, opened anew, for reading only. The process need not be running for it.
///
/// # Errors
/// `EACCES` if it is another user's, or may not be looked into; `ENOENT` if it is closed; `ESTALE` if the number is
/// another file's now.
pub(crate) fn open_for_reading(open: Open) -> Result<OwnedFd> {
    const DOING: &str = "open the memory of a domain by one of its processes";
    let path = format!("/proc/{}/fd/{}", open.pid, open.fd);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = super::retry(|| fs::open(path.as_str(), flags, Mode::empty())).map_err(Error::when(DOING))?;
    let stat = fs::fstat(&file).map_err(Error::when(DOING))?;
    #[allow(clippy::unnecessary_cast)] // their types differ between architectures
    if (stat.st_dev as u64, stat.st_ino as u64) != open.file {
        return Err(Error::new(DOING, Errno::STALE));
    }
    Ok(file)
}

/// `pread` of exactly so many bytes. A hole reads as zeroes, and stays a hole: reading it through a mapping would fill it.
///
/// # Errors
/// What the kernel says; `ENODATA` if the file ends before.
pub(crate) fn read_at(file: BorrowedFd<'_>, offset: u64, into: &mut [u8]) -> Result<()> {
    const DOING: &str = "read the memory of a domain";
    let mut done = 0;
    while done < into.len() {
        let read = super::retry(|| rustix::io::pread(file.as_fd(), &mut into[done..], offset + done as u64));
        match read.map_err(Error::when(DOING))? {
            0 => return Err(Error::new(DOING, Errno::NODATA)),
            more => done += more,
        }
    }
    Ok(())
}

/// State and ids of a process; None if there is none.
pub(crate) fn status(pid: u32) -> Option<Status> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let state = field("State")?.trim().chars().next()?;
    // From the outermost namespace that we see to its own.
    let inner = field("NSpid").and_then(|pids| pids.split_whitespace().last()?.parse().ok());
    Some(Status { state, own_pid: inner.unwrap_or(pid) })
}

/// The threads of a process; None if there is none, or it may not be looked into.
pub(crate) fn threads(pid: u32) -> Option<Vec<Thread>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let one = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let count = |key: &str| field(key).and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        let inner = field("NSpid").and_then(|ids| ids.split_whitespace().last()?.parse().ok());
        let ran = std::fs::read_to_string(entry.path().join("schedstat")).ok();
        Some(Thread {
            pid,
            tid: entry.file_name().to_str()?.parse().ok()?,
            state: field("State")?.trim().chars().next()?,
            own_tid: inner?,
            name: field("Name")?.trim().to_owned(),
            switches: count("voluntary_ctxt_switches") + count("nonvoluntary_ctxt_switches"),
            ran_ns: ran.and_then(|ran| ran.split_whitespace().next()?.parse().ok()),
        })
    };
    Some(entries.flatten().filter_map(one).collect())
}

#[cfg(target_arch = "x86_64")]
const SYS_FUTEX: u64 = 202;
#[cfg(target_arch = "aarch64")]
const SYS_FUTEX: u64 = 98;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SYS_FUTEX: u64 = u64::MAX; // not known here: nothing is said

/// Does a thread sleep on a futex of its process's private memory, without a timeout, as in a lock, a `join` or a `park`? Then only
/// another thread of its process wakes it. False also if that cannot be seen: it wants the right to trace the process.
pub(crate) fn waits_within(thread: &Thread) -> bool {
    futex_address(thread).and_then(|address| is_private(thread.pid, address)) == Some(true)
}

/// What a thread sleeps on without a timeout.
fn futex_address(thread: &Thread) -> Option<u64> {
    let Thread { pid, tid, .. } = thread;
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    // Its number, and six arguments.
    let mut words = text.split_whitespace();
    if words.next()?.parse() != Ok(SYS_FUTEX) {
        return None;
    }
    let arguments: Vec<u64> =
        words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
    let [address, operation, _value, timeout, ..] = arguments[..] else {
        return None;
    };
    // FUTEX_WAIT, FUTEX_WAIT_BITSET.
    (matches!(operation & 0x7f, 0 | 9) && timeout == 0).then_some(address)
}

/// Is the memory at an address of a process its own?
fn is_private(pid: u32, address: u64) -> Option<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).ok());
        (from? <= address && address < to?).then(|| rest.as_bytes().get(3) == Some(&b'p'))
    })
}

/// Names of the abstract sockets of this network namespace that begin with `prefix`, and somebody listens on; without it.
pub(crate) fn abstract_listeners(prefix: &str) -> Vec<String> {
    let Ok(bytes) = std::fs::read("/proc/net/unix") else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    // Num RefCount Protocol Flags Type St Inode Path; the path may have blanks.
    let name = |line: &str| {
        let mut fields = line.splitn(8, ' ').filter(|field| !field.is_empty());
        let flags = fields.nth(3)?;
        let path = line.split_once(" @")?.1;
        (flags == "00010000").then(|| path.strip_prefix(prefix).map(str::to_owned))?
    };
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::memfd;
    use super::*;

    fn futex_op(thread: &Thread) -> Option<()> {
        let path = format!("/proc/{}/task/{}/syscall", thread.pid, thread.tid);
        std::fs::read_to_string(path).ok()?.starts_with(&format!("{SYS_FUTEX} ")).then_some(())
    }

    #[test]
    fn a_file_of_a_process_is_found_and_read_without_filling_its_holes() {
        let name = format!("proc-{}", std::process::id());
        let c_name = std::ffi::CString::new(name.clone()).unwrap();
        let file = memfd::create(&c_name, 1 << 30, true).unwrap();
        rustix::io::pwrite(&file, b"hello", 4096 * 9).unwrap();
        let before = memfd::allocated_bytes(file.as_fd()).unwrap();
        assert!(processes().contains(&std::process::id()));
        let found = memory_files(std::process::id(), &name);
        assert_eq!(found.len(), 1);
        let same = open_for_reading(found[0]).unwrap();
        let mut bytes = [1; 5];
        read_at(same.as_fd(), 4096 * 9, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        let mut hole = vec![1; 1 << 20];
        read_at(same.as_fd(), 1 << 24, &mut hole).unwrap();
        assert!(hole.iter().all(|byte| *byte == 0));
        assert_eq!(memfd::allocated_bytes(file.as_fd()).unwrap(), before);
        assert!(read_at(same.as_fd(), (1 << 30) - 2, &mut bytes).is_err());
        assert!(rustix::io::pwrite(&same, b"x", 0).is_err(), "it is open for reading only");
        assert_eq!(status(std::process::id()).unwrap().own_pid, std::process::id());
        let me = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let threads = threads(std::process::id()).unwrap();
        let own = threads.iter().find(|thread| thread.own_tid == me).unwrap();
        assert!(own.state == 'R' && !waits_within(own));
        // One that is parked, and one that sleeps with a timeout: only the first can nobody else wake.
        let parked = std::thread::Builder::new().name("parked".into()).spawn(std::thread::park).unwrap();
        let timed = || std::thread::park_timeout(std::time::Duration::from_secs(60));
        let timed = std::thread::Builder::new().name("timed".into()).spawn(timed).unwrap();
        let named = |name: &str| {
            super::threads(std::process::id()).unwrap().into_iter().find(|thread| thread.name == name)
        };
        while !named("parked").is_some_and(|thread| waits_within(&thread)) {
            std::thread::yield_now();
        }
        while named("timed").is_none_or(|thread| futex_op(&thread).is_none()) {
            std::thread::yield_now();
        }
        assert!(!waits_within(&named("timed").unwrap()));
        for thread in [parked, timed] {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}
