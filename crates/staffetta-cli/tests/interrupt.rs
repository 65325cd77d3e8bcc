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

/// A terminal of the test's own: the end that a person would sit at, and the end that a program gets.
fn terminal() -> (std::fs::File, std::fs::File) {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let person = rustix::pty::openpt(flags).expect("a pseudoterminal");
    rustix::pty::grantpt(&person).expect("its rights");
    rustix::pty::unlockpt(&person).expect("it is unlocked");
    let name = rustix::pty::ptsname(&person, Vec::new()).expect("its name");
    let program = rustix::fs::open(name.as_c_str(), rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
    (person.into(), program.expect("its other end").into())
}

#[test]
fn the_terminals_interrupt_key_ends_everything_and_leaves_the_terminal_as_it_was() {
    use std::io::{Read, Write};
    let (mut person, program) = terminal();
    let settings = |of: &std::fs::File| format!("{:?}", rustix::termios::tcgetattr(of).expect("a terminal"));
    let before = settings(&program);
    // As a shell does: the terminal belongs to the command, whose processes all get the signal at once.
    // Messages so small that the demo takes long. `setsid` makes the terminal its own.
    let mut command = std::process::Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_staffetta"), "demo", "--message-size=64"])
        .env("TERM", "xterm")
        .stdin(program.try_clone().unwrap())
        .stdout(program.try_clone().unwrap())
        .stderr(program.try_clone().unwrap())
        .spawn()
        .expect("setsid starts");
    let (seen, output) = std::sync::mpsc::channel();
    let mut reader = person.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        // Ends with an error when nobody has the other end any more.
        while let Ok(bytes @ 1..) = reader.read(&mut buffer) {
            all.extend_from_slice(&buffer[..bytes]);
            if seen.send(all.clone()).is_err() {
                return;
            }
        }
    });
    // The first row is there, so the second mechanism is at work.
    let mut shown = String::new();
    until("the first row is shown", || {
        shown =
            output.try_iter().last().map_or(shown.clone(), |all| String::from_utf8_lossy(&all).into_owned());
        shown.contains("tcp ")
    });
    let group = rustix::termios::tcgetpgrp(&person).expect("the command has the terminal");
    person.write_all(&[3]).expect("ctrl-C is typed");
    let status = command.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "128 + SIGINT, not {status}: {shown}");
    let gone = || rustix::process::test_kill_process_group(group) == Err(rustix::io::Errno::SRCH);
    until("no process of the command is left", gone);
    assert_eq!(settings(&program), before, "the terminal is as it was");
    drop(program);
    let all = output.iter().last().map_or(shown, |all| String::from_utf8_lossy(&all).into_owned());
    let last = |what: &str| all.rfind(what).map_or(-1, |at| at as i64);
    assert!(last("\x1b[?25h") >= last("\x1b[?25l"), "the cursor is hidden: {all:?}");
    assert!(last("\x1b[0m") >= last("\x1b[1m").max(last("\x1b[2m")), "the colours are left on: {all:?}");
    assert!(!all.contains("panicked"), "{all}");
}
