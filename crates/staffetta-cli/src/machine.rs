//! What the machine is: cores, caches, kernel, memory that is free.

use crate::failure::Failure;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The cores this process may use.
pub fn usable_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Keeps this process on one core.
pub fn pin_to(core: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(Failure::Usage(format!("there is no core {core}")));
    }
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::os(&format!("cannot pin a process to core {core}"), error))
}

/// Keeps the calling thread on these cores.
pub fn keep_to(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::os(&format!("cannot keep a thread on the cores {cores:?}"), error))
}

/// Two cores for two processes: not two threads of one core, if that can be avoided.
pub fn two_cores() -> Result<[usize; 2], Failure> {
    let cores = usable_cores();
    let (Some(&first), true) = (cores.first(), cores.len() >= 2) else {
        return Err(Failure::Environment(
            "two processes that wait for each other need two cores, and only one may be used here; \
             see `taskset -p $$` or the container's cpuset"
                .into(),
        ));
    };
    let siblings =
        fs::read_to_string(format!("/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list"))
            .map(|list| cores_of_list(&list))
            .unwrap_or_default();
    let second = cores.iter().copied().find(|core| *core != first && !siblings.contains(core));
    Ok([first, second.unwrap_or(cores[1])])
}

/// `0-1,8` as the kernel writes it.
fn cores_of_list(list: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse(), to.parse::<usize>()) {
            cores.extend(from..=to);
        }
    }
    cores
}

/// The size of the largest cache, 32 MiB when the machine does not say.
pub fn last_cache_bytes() -> u64 {
    let sizes = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").into_iter().flatten().flatten();
    sizes
        .filter_map(|entry| fs::read_to_string(entry.path().join("size")).ok())
        .filter_map(|text| crate::show::size::parse(text.trim()).ok())
        .max()
        .unwrap_or(32 << 20)
}

/// The processor in one line.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let model = field("model name").or_else(|| field("CPU implementer"));
    let virtual_machine = match field("flags").is_some_and(|flags| flags.contains(" hypervisor")) {
        true => ", virtual machine",
        false => "",
    };
    format!("{}{virtual_machine}", model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))
}

/// The kernel's release, `6.8.0-45-generic`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// How many bytes this process can still get: the smallest of what the machine has free, what its
/// control groups leave it, and its own limit on address space.
pub fn available_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024);
    let address_space = rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(u64::MAX);
    free.min(address_space).min(group_bytes())
}

/// What the control groups (version 2) of this process leave it.
fn group_bytes() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return u64::MAX;
    };
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let root = Path::new("/sys/fs/cgroup");
    root.join(own)
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| {
            let most = number(group.join("memory.max"))?;
            Some(most.saturating_sub(number(group.join("memory.current")).unwrap_or(0)))
        })
        .min()
        .unwrap_or(u64::MAX)
}

/// Allows this process as many descriptors as it may allow itself: each capability is one.
pub fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Without it, what needs more says so itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A clock that two processes of one machine share, in nanoseconds.
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The command that was typed, so that it can be typed again.
pub fn command_line() -> String {
    let quoted = std::env::args().skip(1).map(|arg| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c);
        match !arg.is_empty() && arg.chars().all(plain) {
            true => arg,
            false => format!("'{}'", arg.replace('\'', "'\\''")),
        }
    });
    std::iter::once("staffetta".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn core_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(super::cores_of_list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(super::cores_of_list("3\n"), [3]);
        assert!(super::cores_of_list("\n").is_empty());
    }
}
