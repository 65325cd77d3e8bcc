//! Whether any thread still runs a program. The kernel may be busy with what the program had for long after that.
//!
//! A thread has its program's address space until its last instruction: `/proc/PID/maps`, opened while the program ran, has
//! nothing to tell any more as soon as the last of them has let go of it, before its memory is freed. That is so after `exec`
//! as well. Whoever reads it has the address space meanwhile: if all threads let go just then, freeing falls to the reader.
//!
//! To look a dying process up in /proc, or to close what was found there, is dear for its parent: `waitpid` clears the kernel's
//! memory of what was looked up, and if another core is at a part of it, spins until that one is through (2 to 10 ms were seen,
//! with busy cores). So this is opened while the process lives, and closed when it is likely to have been waited for.

use super::fork::NotInherited;
use super::pidfd;
use rustix::fd::BorrowedFd;
use rustix::fs::{open, Mode, OFlags};
use rustix::io::{pread, Errno};

/// A program that a process runs, or ran.
#[derive(Debug)]
pub(crate) struct Program(NotInherited);

impl Program {
    /// What a process runs now. None: it may not be looked into, it has exited, or there is no /proc that knows it.
    pub(crate) fn of(process: BorrowedFd<'_>) -> Option<Self> {
        let maps = format!("/proc/{}/maps", pidfd::number_in_proc(process)?.as_raw_nonzero());
        // It may block while the process is about to run another program: not within `without_fork`.
        let maps = super::retry(|| open(&maps, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())).ok()?;
        let program = Self(NotInherited::register(maps).ok()?);
        // Its number was nobody else's until now. And of a process whose first thread has ended, while others run, some kernels
        // show nothing from the start.
        (!pidfd::has_exited(process) && !program.is_over()).then_some(program)
    }

    /// Will none of its instructions ever be run again?
    pub(crate) fn is_over(&self) -> bool {
        // From the start: what there is now, of which every program has at least one line.
        matches!(super::retry(|| pread(&self.0, &mut [0; 1], 0)), Ok(0) | Err(Errno::SRCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::process::{kill_process, Pid, Signal};
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    fn run(program: &str, arguments: &[&str]) -> (Child, Program, rustix::fd::OwnedFd) {
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd::of_child(Pid::from_child(&child)).unwrap();
        let program = Program::of(pidfd.as_fd()).unwrap();
        assert!(!program.is_over());
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        (child, program, pidfd)
    }

    fn await_end(program: &Program) {
        while !program.is_over() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_is_over_when_its_process_is_killed_and_not_when_it_is_stopped() {
        let (mut child, program, pidfd) = run("cat", &[]);
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(!program.is_over());
        child.kill().unwrap();
        await_end(&program);
        assert!(program.is_over());
        child.wait().unwrap();
        assert!(program.is_over() && Program::of(pidfd.as_fd()).is_none());
    }

    #[test]
    fn a_program_is_not_over_while_one_thread_runs_it() {
        const CODE: &str = "import ctypes, platform, sys, threading
threading.Thread(target=sys.stdin.readline).start()
print('both run', flush=True)
ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)";
        let mut python = Command::new("python3");
        let Ok(mut child) = python.args(["-c", CODE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        else {
            return; // there is none
        };
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "both run");
        let pidfd = pidfd::of_child(Pid::from_child(&child)).unwrap();
        let program = Program::of(pidfd.as_fd());
        let first = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&first).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(program.is_none_or(|program| !program.is_over()));
        // Whoever looks now sees nothing of it, or that it runs.
        assert!(Program::of(pidfd.as_fd()).is_none_or(|program| !program.is_over()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_program_is_over_when_it_ends_or_is_replaced() {
        let (mut child, program, _) = run("sh", &["-c", "read line"]);
        await_end(&program);
        assert!(child.wait().unwrap().success());

        let (mut child, program, pidfd) = run("sh", &["-c", "read line; exec cat"]);
        await_end(&program);
        let next = Program::of(pidfd.as_fd()).unwrap();
        assert!(!next.is_over());
        child.kill().unwrap();
        await_end(&next);
        child.wait().unwrap();
    }
}
