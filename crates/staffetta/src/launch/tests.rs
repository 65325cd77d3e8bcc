//! Programs started inside a domain: this very test binary, and a shell.

use super::*;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd;
use std::io::Read;

const LEN: usize = 1 << 30;
const BASE: usize = 0x3000_0000_0000;

// What a launched program writes at its top level.
crate::launched!();

/// A domain with one word in it, and somebody at its door who never answers.
struct Stage {
    memory: OwnedFd,
    base: usize,
    mapping: Mapping,
}

impl Stage {
    fn new(base: usize) -> Self {
        let memory = memfd::create(c"stage", LEN as u64, false).unwrap();
        let anywhere = Placement::Anywhere;
        let mapping = Mapping::map(memory.as_fd(), 0, LEN, anywhere, Access::ReadWrite).unwrap();
        Self { memory, base, mapping }
    }

    /// The first word of the domain, which a launched program changes.
    fn word(&self) -> u32 {
        // SAFETY: the mapping is longer than a word, and aligned to a page.
        unsafe { self.mapping.base().cast::<u32>().as_ptr().read_volatile() }
    }
}

impl Host for Stage {
    fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    fn window(&self) -> (usize, usize) {
        (self.base, LEN)
    }

    fn invite(&self) -> Result<OwnedFd, os::Error> {
        use crate::process::wire::{encode, Member};
        let (ours, theirs) = socket::pair().unwrap();
        let host = Member { slot: 3, generation: 4 };
        let message = encode::welcome(host, 1, b"hello");
        // Any descriptor will do for the stake.
        socket::send(&ours, &message, &[self.memory.as_fd(), self.memory.as_fd()]).unwrap();
        Ok(theirs)
    }
}

/// This test binary, as a program that runs one of the tests below in a role.
fn actor<'d>(stage: &'d Stage, role: &str) -> Launcher<'d> {
    Launcher::of(stage, std::env::current_exe().unwrap())
        .args(["launch::tests::act", "--exact", "--nocapture"])
        .env("STAFFETTA_TEST_ROLE", role)
        .stdout(Stdio::null())
}

/// The launched program.
#[test]
fn act() {
    let Ok(role) = std::env::var("STAFFETTA_TEST_ROLE") else {
        return; // the test run itself
    };
    match role.as_str() {
        "write" => {
            let who = identity().unwrap();
            assert_eq!((who.name.as_str(), who.index), ("w7", 7));
            assert_eq!(end("samples").as_deref(), Some("channel 5"));
            assert_eq!(end("nothing"), None);
            let Inherited { mapping, welcome } = inherited().unwrap();
            assert_eq!(mapping.base().as_ptr() as usize, BASE);
            assert_eq!((welcome.host.slot, &welcome.payload[..]), (3, &b"hello"[..]));
            // SAFETY: inside the mapping, which is writable and aligned.
            unsafe { mapping.base().cast::<u32>().as_ptr().write_volatile(77) };
            assert!(matches!(inherited(), Err(InheritError::Taken)));
            // Its own children inherit the variables, but no descriptor.
            let program = std::env::current_exe().unwrap();
            let status = Command::new(program)
                .args(["launch::tests::act", "--exact"])
                .env("STAFFETTA_TEST_ROLE", "grandchild")
                .status();
            assert!(status.unwrap().success());
        }
        "grandchild" => {
            assert!(matches!(inherited(), Err(InheritError::NotLaunched)));
            assert!(matches!(inherited(), Err(InheritError::NotLaunched)));
        }
        "code" => std::process::exit(42),
        "sleep" => thread::sleep(Duration::from_secs(60)),
        "launch" => {
            // A launcher that is killed: says who its child is, and waits.
            let stage = Stage::new(0);
            let outlive = std::env::var_os("STAFFETTA_TEST_OUTLIVE").is_some();
            let child = actor(&stage, "sleep").outlive(outlive).spawn().unwrap();
            println!("@{}", child.id());
            thread::sleep(Duration::from_secs(60));
        }
        "pass on" => {
            let status = Command::new("sh").args(["-c", "kill -TERM $$"]).status();
            pass_on(status.unwrap());
        }
        other => panic!("what is {other:?}?"),
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_launched_program_holds_the_domain_before_main() {
    let stage = Stage::new(BASE);
    let launcher = actor(&stage, "write").name("w7").index(7);
    let mut child = launcher.end("samples", "channel 5").spawn().unwrap();
    assert_eq!(child.mapped(PATIENCE), Mapped::Yes);
    assert_eq!(child.mapped(Duration::ZERO), Mapped::Yes);
    assert!(child.wait().unwrap().success());
    assert_eq!(stage.word(), 77);
}

#[test]
fn an_ordinary_program_runs_as_it_is() {
    let stage = Stage::new(0);
    let mut child = Launcher::of(&stage, "sh")
        .args(["-c", "echo $STAFFETTA_NAME $STAFFETTA_INDEX $STAFFETTA_END_x"])
        .name("plain")
        .end("x", 9)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut output = child.stdout.take().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "plain 0 9\n");
    assert_eq!(exit_code(child.wait().unwrap()), 0);
    assert_eq!(child.mapped(Duration::ZERO), Mapped::No);
}

#[test]
fn a_shell_hands_the_domain_on() {
    let stage = Stage::new(BASE);
    let program = std::env::current_exe().unwrap();
    let script = format!("{} launch::tests::act --exact; exit $?", program.display());
    let mut child = Launcher::of(&stage, "sh")
        .args(["-c", &script])
        .env("STAFFETTA_TEST_ROLE", "write")
        .name("w7")
        .index(7)
        .end("samples", "channel 5")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(child.mapped(Duration::ZERO), Mapped::Yes);
    assert_eq!(stage.word(), 77);
}

#[test]
fn a_place_that_cannot_be_had_is_reported() {
    // Beyond the end of any address space.
    let stage = Stage::new(0x1000_0000_0000_0000);
    let mut child = actor(&stage, "code").spawn().unwrap();
    let errno = libc::ENOMEM;
    assert_eq!(child.mapped(PATIENCE), Mapped::Failed { errno });
    assert_eq!(exit_code(child.wait().unwrap()), 42, "it runs nevertheless");
}

#[test]
fn ends_are_passed_on() {
    let stage = Stage::new(0);
    let mut child = actor(&stage, "code").spawn().unwrap();
    assert_eq!(exit_code(child.wait().unwrap()), 42);
    let mut child = actor(&stage, "sleep").spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    assert_eq!(exit_code(child.wait().unwrap()), 128 + libc::SIGKILL);
    child.kill().unwrap();
    let mut child = actor(&stage, "pass on").spawn().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn mistakes_are_errors() {
    let stage = Stage::new(0);
    let error = Launcher::of(&stage, "/no/such/program").spawn().unwrap_err();
    assert!(matches!(error, LaunchError::Program { .. }), "{error}");
    let error = actor(&stage, "code").end("a b", 1).spawn().unwrap_err();
    assert!(matches!(error, LaunchError::EndName { .. }), "{error}");
}

/// Kills a launcher, and says whether its child goes on.
fn child_of_a_killed_launcher_lives(outlive: bool) -> bool {
    let stage = Stage::new(0);
    let mut launcher = actor(&stage, "launch").stdout(Stdio::piped());
    if outlive {
        launcher = launcher.env("STAFFETTA_TEST_OUTLIVE", "1");
    }
    let mut launcher = launcher.spawn().unwrap();
    let mut lines = io::BufRead::lines(io::BufReader::new(launcher.stdout.take().unwrap()));
    let child: i32 = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, number)) = line.split_once('@') {
            break number.parse().unwrap();
        }
    };
    let child = Pid::from_raw(child).unwrap();
    // Not our child, but one that we know not to be reaped before it is killed.
    let child = pidfd::of_child(child).unwrap();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    let limit = if outlive { Duration::from_millis(200) } else { PATIENCE };
    let ended = socket::wait_readable(std::slice::from_ref(&child), limit).unwrap();
    let _ = process::pidfd_send_signal(&child, Signal::KILL);
    ended.is_empty()
}

#[test]
fn a_child_dies_with_its_launcher_unless_it_may_not() {
    assert!(!child_of_a_killed_launcher_lives(false));
    assert!(child_of_a_killed_launcher_lives(true));
}
