//! What the machine has, what this process may use of it, what it has used, and where it is.
//!
//! What it does not do: it decides nothing; budgets are computed by whoever creates a domain.
//! Everything here is read afresh at each call, and everything that comes from `/proc` or `/sys`
//! is an `Option`: containers hide those files, and nothing essential hangs on them.

#![allow(unsafe_code)] // getrusage and getrandom from libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The memory of the machine, in bytes, swap not counted.
pub(crate) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // the fields' width depends on the architecture
    let (units, unit_bytes) = (u64::from(info.totalram), u64::from(info.mem_unit).max(1));
    units.saturating_mul(unit_bytes)
}

/// The tightest memory limit of the control groups this process is in, in bytes, if there is one.
///
/// A limit binds everyone below it, so the whole way up to the root is looked at, in the unified
/// hierarchy (v2) and in the old memory hierarchy (v1).
pub(crate) fn cgroup_memory_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    hierarchies(&groups, &mounts).into_iter().filter_map(|place| place.limit_bytes()).min()
}

/// One control group that limits memory: where its files are, and where their tree ends.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    root: PathBuf,
    directory: PathBuf,
    file: &'static str,
}

impl Group {
    fn limit_bytes(&self) -> Option<u64> {
        self.directory
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.root))
            .filter_map(|directory| fs::read_to_string(directory.join(self.file)).ok())
            // "max" (v2) does not parse; v1 writes "none" as a number beyond any memory.
            .filter_map(|text| text.trim().parse().ok())
            .filter(|&bytes: &u64| bytes < 1 << 60)
            .min()
    }
}

/// Matches `/proc/self/cgroup` (which group) with `/proc/self/mountinfo` (where to find it).
fn hierarchies(groups: &str, mounts: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in groups.lines() {
        // `id:controllers:path`; v2 has id 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let unified = id == "0" && controllers.is_empty();
        if !unified && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        for mount in mounts.lines() {
            let Some((tree_root, mount_point)) = cgroup_mount(mount, unified) else {
                continue;
            };
            // Inside a container the mount may show only a part of the tree, and the path may
            // lead out of it; then the top of what is visible is the best there is.
            let below = Path::new(path).strip_prefix(tree_root).unwrap_or(Path::new(""));
            let root = PathBuf::from(mount_point);
            let directory = root.join(below);
            let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
            found.push(Group { root, directory, file });
        }
    }
    found
}

/// The root and the mount point, if this line of mountinfo mounts the hierarchy in question.
fn cgroup_mount(line: &str, unified: bool) -> Option<(&str, &str)> {
    // `id parent device root mount-point options… - type source super-options`
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount_point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
    let wanted = if unified {
        kind == "cgroup2"
    } else {
        kind == "cgroup" && options.split(',').any(|option| option == "memory")
    };
    wanted.then_some((root, mount_point))
}

/// How the kernel promises memory that it may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overcommit {
    /// Refuses only what is obviously too much (0, the usual setting).
    Heuristic,
    /// Promises everything (1).
    Always,
    /// Promises no more than it can keep (2).
    Never,
}

/// `vm.overcommit_memory`.
pub(crate) fn overcommit() -> Option<Overcommit> {
    match fs::read_to_string("/proc/sys/vm/overcommit_memory").ok()?.trim() {
        "0" => Some(Overcommit::Heuristic),
        "1" => Some(Overcommit::Always),
        "2" => Some(Overcommit::Never),
        _ => None,
    }
}

/// `CommitLimit - Committed_AS`: how much the kernel would still promise if it never overcommitted.
///
/// Binding only under [`Overcommit::Never`].
pub(crate) fn commit_left_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let limit = meminfo_bytes(&text, "CommitLimit")?;
    Some(limit.saturating_sub(meminfo_bytes(&text, "Committed_AS")?))
}

/// What the kernel could give now without swapping, `MemAvailable`.
pub(crate) fn available_bytes() -> Option<u64> {
    meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

fn meminfo_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What this process has used since it began, over all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Page faults served without reading a disk.
    pub(crate) minor_faults: u64,
    /// Page faults that had to read a disk.
    pub(crate) major_faults: u64,
    /// Times a thread gave up its core to wait.
    pub(crate) voluntary_switches: u64,
    /// Times a thread had its core taken away.
    pub(crate) involuntary_switches: u64,
    /// Processor time in the program.
    pub(crate) user_time: Duration,
    /// Processor time in the kernel.
    pub(crate) system_time: Duration,
}

/// `getrusage(RUSAGE_SELF)`.
pub(crate) fn usage() -> Usage {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the struct it is given, and RUSAGE_SELF with a valid pointer cannot
    // fail; if it did, the zeroes would remain, which are valid too.
    let raw = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr());
        raw.assume_init()
    };
    let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
    let time = |value: libc::timeval| {
        let micros = u64::try_from(value.tv_usec).unwrap_or(0);
        Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0)) + Duration::from_micros(micros)
    };
    Usage {
        minor_faults: count(raw.ru_minflt),
        major_faults: count(raw.ru_majflt),
        voluntary_switches: count(raw.ru_nvcsw),
        involuntary_switches: count(raw.ru_nivcsw),
        user_time: time(raw.ru_utime),
        system_time: time(raw.ru_stime),
    }
}

/// The kernel's version, as `(6, 18)` for 6.18.44; `(0, 0)` if it does not read like one.
pub(crate) fn kernel_version() -> (u32, u32) {
    parse_version(&rustix::system::uname().release().to_string_lossy())
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

/// The kernel's full release text.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// A number that changes with every start of the machine.
pub(crate) fn boot_id() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

/// The network namespace of the calling thread: abstract socket names are visible only inside it.
///
/// `None` where `/proc` does not tell.
pub(crate) fn network_namespace() -> Option<u64> {
    let link = fs::read_link("/proc/thread-self/ns/net").ok()?;
    // `net:[4026531840]`
    let text = link.to_str()?;
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// `getrandom`: a number nobody else has.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
pub(crate) fn random() -> super::Result<u128> {
    const DOING: &str = "ask the kernel for a random number";
    let mut bytes = [0u8; 16];
    // SAFETY: the kernel writes at most the given number of bytes to the array. Up to 256 bytes
    // are delivered whole.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 16 {
        return Ok(u128::from_ne_bytes(bytes));
    }
    let cause = std::io::Error::last_os_error();
    let errno = rustix::io::Errno::from_io_error(&cause).unwrap_or(rustix::io::Errno::IO);
    Err(super::Error::new(DOING, errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(memory_bytes() > 1 << 20);
        assert!(usage().minor_faults > 0);
        assert!(kernel_version() > (4, 0));
    }

    #[test]
    fn versions_are_read_as_numbers() {
        assert_eq!(parse_version("6.18.44-fc"), (6, 18));
        assert_eq!(parse_version("5.15-rc1"), (5, 15));
        assert_eq!(parse_version("custom"), (0, 0));
    }

    #[test]
    fn both_control_group_hierarchies_are_found() {
        let groups = "12:cpu,cpuacct:/a\n4:memory:/docker/c1/x\n0::/user.slice/s\n";
        let mounts = "\
            30 24 0:26 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            31 24 0:27 / /sys/fs/cgroup/cpu ro shared:9 - cgroup cgroup rw,cpu\n\
            32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = hierarchies(groups, mounts);
        assert_eq!(
            found,
            [
                Group {
                    root: "/sys/fs/cgroup/memory".into(),
                    directory: "/sys/fs/cgroup/memory/x".into(),
                    file: "memory.limit_in_bytes",
                },
                Group {
                    root: "/sys/fs/cgroup/unified".into(),
                    directory: "/sys/fs/cgroup/unified/user.slice/s".into(),
                    file: "memory.max",
                },
            ]
        );
    }

    #[test]
    fn the_limit_of_a_group_is_the_tightest_on_the_way_up() {
        let root = std::env::temp_dir().join(format!("staffetta-cgroup-{}", std::process::id()));
        let directory = root.join("outer/inner");
        fs::create_dir_all(&directory).unwrap();
        fs::write(root.join("outer/memory.max"), "1000000\n").unwrap();
        fs::write(directory.join("memory.max"), "max\n").unwrap();
        let group = Group { root: root.clone(), directory, file: "memory.max" };
        assert_eq!(group.limit_bytes(), Some(1_000_000));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal: 5 kB\nCommitLimit:    2048 kB\nCommitted_AS: 48 kB\n";
        assert_eq!(meminfo_bytes(text, "CommitLimit"), Some(2048 * 1024));
        assert_eq!(meminfo_bytes(text, "Commit"), None);
    }
}
