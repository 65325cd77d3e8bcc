//! However a command ends, the processes it started end with it.

mod common;

use common::*;
use rustix::process::{kill_process, Pid, Signal};
use std::process::{Child, Stdio};

/// A demo that is blocked opening a pipe that nobody writes to.
fn blocked(directory: &tempfile::TempDir) -> Child {
    let path = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a named pipe");
    staffetta().arg("demo").arg(path).stdout(Stdio::piped()).spawn().expect("the binary starts")
}

/// A benchmark that would run for minutes.
fn busy() -> Child {
    let arguments = ["bench", "--only", "limit.cacheline", "--blocks", "10000"];
    staffetta().args(arguments).stdout(Stdio::piped()).spawn().expect("the binary starts")
}

fn signal(command: &Child, signal: Signal) {
    let pid = Pid::from_raw(command.id() as i32).expect("a process id");
    kill_process(pid, signal).expect("the signal is sent");
}

#[test]
fn an_interrupt_ends_everything() {
    let directory = directory();
    for mut command in [blocked(&directory), busy()] {
        let sides = sides(&command);
        std::thread::sleep(std::time::Duration::from_millis(100));
        signal(&command, Signal::INT);
        let status = command.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "128 + SIGINT, not {status}");
        for pid in sides {
            assert!(!runs(pid), "process {pid} is left");
        }
    }
}

#[test]
fn a_request_to_end_is_obeyed() {
    let directory = directory();
    let mut command = blocked(&directory);
    let sides = sides(&command);
    signal(&command, Signal::TERM);
    assert_eq!(command.wait().expect("it ends").code(), Some(143));
    assert!(sides.iter().all(|&pid| !runs(pid)));
}

#[test]
fn a_killed_command_leaves_nobody() {
    let directory = directory();
    for mut command in [blocked(&directory), busy()] {
        let sides = sides(&command);
        signal(&command, Signal::KILL);
        command.wait().expect("it ends");
        until("the processes of a killed command are gone", || sides.iter().all(|&pid| !runs(pid)));
    }
}

#[test]
fn a_killed_process_ends_the_command() {
    let directory = directory();
    for victim in [0, 1] {
        let mut command = blocked(&directory);
        let sides = sides(&command);
        std::thread::sleep(std::time::Duration::from_millis(100));
        kill_process(Pid::from_raw(sides[victim]).unwrap(), Signal::KILL).expect("it is killed");
        let status = command.wait().expect("it ends");
        assert_eq!(status.code(), Some(4), "{status}");
        assert!(sides.iter().all(|&pid| !runs(pid)));
        std::fs::remove_file(directory.path().join("pipe")).unwrap();
    }
}
