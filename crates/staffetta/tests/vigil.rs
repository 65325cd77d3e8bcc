//! A death is told as soon as the process runs no instruction any more, not when the kernel is done with it.
#![allow(unsafe_code)]

mod common;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use common::{name, options, role, start, watchdog};
use staffetta::{AcquireError, Method, Parcel, RecvError, Wait};

#[test]
fn roles() {
    let Some((role, arguments)) = role() else { return };
    let domain = options().join(&arguments[0]).unwrap();
    if role == "exec" {
        let receiver =
            domain.channel("parcels").method(Method::Capability).receiver::<Parcel<[u64]>>().unwrap();
        let parcel = receiver.recv().unwrap();
        let sender = domain.channel("line").sender::<u64>().unwrap();
        sender.send(parcel[0]).unwrap();
        panic!("{}", std::process::Command::new("sleep").arg("30").exec());
    }
    assert_eq!(role, "victim");
    let sender = domain.channel("line").sender::<u64>().unwrap();
    sender.send(1).unwrap();
    std::thread::park();
}

/// A system call; the error if it failed.
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: the calls made here take numbers, and null pointers where they may be null.
        match unsafe { libc::syscall(libc::$number $(, $argument)*) } {
            -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
            value => Ok(value),
        }
    };
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut look = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor, which is open.
    unsafe { libc::poll(&mut look, 1, 0) == 1 }
}

/// What the kernel says of a death by descriptors is held up here: second descriptors keep the victim's sockets open, and a
/// traced thread that nobody has waited for keeps its pidfd silent.
#[test]
fn a_death_is_told_before_the_kernel_is_done_with_the_process() {
    let _watchdog = watchdog("vigil", 60);
    let null = std::ptr::null::<u8>();
    if call!(SYS_futex_waitv, null, 0, 0, null, 0) != Err(libc::EINVAL) {
        return; // Linux before 5.16, or a filter: deaths are noticed later there
    }
    for wait in Wait::ALL {
        let name = name("vigil");
        let domain = options().open(&name).unwrap();
        let receiver = domain.channel("line").wait(wait).receiver::<u64>().unwrap();
        let mut victim = start("victim", &[&name]);
        assert_eq!(receiver.recv().unwrap(), 1);

        let pid = victim.id() as i32;
        let pidfd = call!(SYS_pidfd_open, pid, 0).unwrap();
        // SAFETY: just opened.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
        let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        });
        let held: Vec<OwnedFd> = sockets
            .map(|entry| {
                let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
                let copy = call!(SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0).unwrap();
                // SAFETY: just opened.
                unsafe { OwnedFd::from_raw_fd(copy as i32) }
            })
            .collect();
        assert!(!held.is_empty(), "it has links");
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let other: i32 = threads
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|thread| *thread != pid)
            .unwrap();
        call!(SYS_ptrace, libc::PTRACE_SEIZE, other, 0, 0).unwrap();

        call!(SYS_kill, pid, libc::SIGKILL).unwrap();
        assert!(matches!(receiver.recv(), Err(RecvError::PeerDied)));
        assert!(!is_readable(&pidfd), "the kernel has said that it exited");

        // SAFETY: a thread that this one traces; no status is asked for.
        assert_eq!(unsafe { libc::waitpid(other, std::ptr::null_mut(), libc::__WALL) }, other);
        assert!(!victim.wait().unwrap().success());
        assert!(is_readable(&pidfd));
        drop(held);
        // The place is free, and the end.
        let mut again = start("victim", &[&name]);
        assert_eq!(receiver.recv().unwrap(), 1);
        call!(SYS_kill, again.id() as i32, libc::SIGKILL).unwrap();
        assert!(matches!(receiver.recv(), Err(RecvError::PeerDied)));
        again.wait().unwrap();
    }
}

/// Where somebody else has the memory, sealing it says so soon: a member that runs another program by now, and so will not exit
/// for long, is not waited for as one whose memory is still to be freed.
#[test]
fn who_runs_another_program_is_not_waited_for() {
    let _watchdog = watchdog("another program", 60);
    let name = name("another program");
    let domain = options().open(&name).unwrap();
    let receiver = domain.channel("line").receiver::<u64>().unwrap();
    let sender = domain.channel("parcels").method(Method::Capability).sender().unwrap();
    let mut other = start("exec", &[&name]);
    let kept = domain.parcels(Method::Capability).zeroed::<[u64]>(1 << 20).unwrap();
    sender.send(domain.parcels(Method::Capability).zeroed::<[u64]>(1 << 20).unwrap()).unwrap();
    assert_eq!(receiver.recv().unwrap(), 0);
    assert!(matches!(receiver.recv(), Err(RecvError::PeerDied)));
    // Mapped behind the library's back.
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let is_large =
        |file: &std::path::PathBuf| std::fs::metadata(file).is_ok_and(|file| file.len() == 8 << 20);
    let files = files.filter(is_large).map(|file| {
        let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
        let (access, number) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a new mapping, which nobody reads or writes.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, number, 0) }
    });
    let mapped: Vec<_> = files.collect();
    assert!(!mapped.is_empty() && !mapped.contains(&libc::MAP_FAILED));
    let mut kept = kept.release().ok().unwrap();
    assert!(matches!(kept.seal(), Err(AcquireError::StillMapped { .. })));
    for mapping in mapped {
        // SAFETY: ours.
        unsafe { libc::munmap(mapping, 4096) };
    }
    kept.seal().unwrap();
    assert!(other.try_wait().unwrap().is_none(), "it runs");
    other.kill().unwrap();
    other.wait().unwrap();
    // What the dead were watched by is closed, some time.
    let stays = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut files = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        files.any(|file| file.starts_with(format!("/proc/{}", other.id())))
    };
    while stays() {
        std::thread::yield_now();
    }
}
