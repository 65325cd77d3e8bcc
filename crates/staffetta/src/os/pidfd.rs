//! A descriptor that stands for one process, and never for a later one with the same number.
//!
//! 1. A pidfd becomes readable when its whole process has exited, also while it is a zombie.
//! 2. It says nothing when the process replaces its program (exec): for that a close-on-exec
//!    socket is needed.
//! 3. It can be made for oneself and for one's children, who cannot be reaped meanwhile; anyone
//!    else hands in their own.

#![allow(unsafe_code)] // pidfd_send_signal with signal 0, which rustix cannot express.

use super::fork::NotInherited;
use super::{Error, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::{self, Pid, PidfdFlags};

/// `pidfd_open`: a descriptor of this very process, to be handed to others.
pub(crate) fn of_self() -> Result<NotInherited> {
    NotInherited::create(|| process::pidfd_open(process::getpid(), PidfdFlags::empty()))
        .map_err(Error::when("open a pidfd"))
}

/// `pidfd_open`: a descriptor of a child that has not been reaped (invariant 3).
pub(crate) fn of_child(child: Pid) -> Result<OwnedFd> {
    process::pidfd_open(child, PidfdFlags::empty()).map_err(Error::when("open a pidfd"))
}

/// The inode number of a pidfd: from Linux 6.9 on unique for the life of the system; before, all
/// pidfds share one, so equal numbers prove nothing there.
pub(crate) fn inode(pidfd: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstat(pidfd).map_err(Error::when("identify a pidfd"))?;
    Ok(stat.st_ino)
}

/// `pidfd_send_signal(fd, 0)`: whether a descriptor that a peer handed in is a pidfd at all.
pub(crate) fn is_pidfd(fd: BorrowedFd<'_>) -> bool {
    const NO_SIGNAL: libc::c_int = 0;
    // SAFETY: signal 0 is sent to nobody; the call only looks up what the descriptor stands for.
    // The third argument may be null.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            NO_SIGNAL,
            std::ptr::null::<libc::siginfo_t>(),
            0u32,
        )
    };
    // Any refusal but EBADF (gone, not permitted, another pid namespace) speaks of a process.
    answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EBADF)
}

/// Has the process exited? (invariant 1)
pub(crate) fn has_exited(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    let mut looks = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    poll(&mut looks, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready == 1)
}

/// In one look: has the process not exited, and does one of `sockets`, whose other ends it has, still lead to it?
pub(crate) fn is_at<'s>(pidfd: BorrowedFd<'s>, sockets: impl Iterator<Item = BorrowedFd<'s>>) -> bool {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    let mut looks = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    looks.extend(sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)));
    let looked = poll(&mut looks, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    let quiet = |look: &PollFd<'_>| look.revents().is_empty();
    looked.is_ok() && quiet(&looks[0]) && looks[1..].iter().any(quiet)
}

/// The number by which calls made here find the process that a descriptor stands for; None: it has none in our pid
/// namespace, it has been waited for, or there is no /proc to ask.
///
/// It is that process's for as long as the process has not exited.
pub(crate) fn number(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    let number = number_in_proc(pidfd)?;
    // /proc may be that of another pid namespace. What this number stands for *here* has it there as well: the same.
    let here = process::pidfd_open(number, PidfdFlags::empty()).ok()?;
    (number_in_proc(here.as_fd()) == Some(number)).then_some(number)
}

/// The number by which /proc knows it, which may be that of another pid namespace. None: it does not, or it has been waited for.
pub(crate) fn number_in_proc(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = about.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // 0 if it has none, -1 after it was waited for.
    Pid::from_raw(number.trim().parse().ok().filter(|number| *number > 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfd_is_told_from_other_descriptors() {
        let me = of_self().unwrap();
        assert!(is_pidfd(me.as_fd()));
        assert_eq!(inode(me.as_fd()).unwrap(), inode(of_self().unwrap().as_fd()).unwrap());
        let other = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_pidfd(other.as_fd()));
    }

    #[test]
    fn a_number_is_told_until_the_process_was_waited_for() {
        assert_eq!(number(of_self().unwrap().as_fd()), Some(process::getpid()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pidfd = of_child(Pid::from_child(&child)).unwrap();
        assert_eq!(number(pidfd.as_fd()), Some(Pid::from_child(&child)));
        child.wait().unwrap();
        assert_eq!(number(pidfd.as_fd()), None);
        let other = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(number(other.as_fd()), None);
    }

    #[test]
    fn a_dead_child_is_still_a_process() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = of_child(pid).unwrap();
        child.wait().unwrap();
        assert!(is_pidfd(pidfd.as_fd()));
        assert!(has_exited(pidfd.as_fd()) && !has_exited(of_self().unwrap().as_fd()));
    }

    #[test]
    fn a_process_is_where_its_pidfd_and_one_of_its_sockets_say() {
        let me = of_self().unwrap();
        let pairs = [0, 1].map(|_| crate::os::socket::pair().unwrap());
        let is_here = |pidfd: BorrowedFd<'_>| is_at(pidfd, pairs.iter().map(|pair| pair.0.as_fd()));
        assert!(is_here(me.as_fd()) && !is_at(me.as_fd(), std::iter::empty()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = of_child(Pid::from_child(&child)).unwrap();
        child.wait().unwrap();
        assert!(!is_here(gone.as_fd()));
        let [(ours, theirs), (other, others)] = pairs;
        let is_here = || is_at(me.as_fd(), [ours.as_fd(), other.as_fd()].into_iter());
        drop(theirs);
        assert!(is_here(), "a spare one");
        drop(others);
        assert!(!is_here());
    }
}
