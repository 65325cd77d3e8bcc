//! What the tests of the command line share: running the real binary.
#![allow(dead_code)] // Each test crate uses a part of it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub fn staffetta() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_staffetta"));
    command.stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

/// Runs it with arguments.
pub fn run(args: &[&str]) -> Output {
    staffetta().args(args).output().expect("the binary starts")
}

/// Runs a line of the shell in which `$STAFFETTA` is the binary.
pub fn shell(script: &str) -> Output {
    Command::new("bash")
        .args(["-c", script])
        .env("STAFFETTA", env!("CARGO_BIN_EXE_staffetta"))
        .stdin(Stdio::null())
        .output()
        .expect("bash starts")
}

/// The exit code, or a panic that shows what was printed.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// The standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The standard output as JSON.
pub fn json(output: &Output) -> serde_json::Value {
    assert_eq!(code(output), 0, "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A directory that disappears with the test.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A file with these bytes in a directory.
pub fn file(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).expect("the file is written");
    path
}

/// Whether a process with this id is running (a zombie is not).
pub fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// The two processes that a command has started, as soon as both are there.
pub fn sides(command: &Child) -> Vec<i32> {
    let pid = command.id();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let mut found = Vec::new();
    until("both processes run", || {
        let list = std::fs::read_to_string(&path).unwrap_or_default();
        found = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        found.len() == 2
    });
    found
}

/// Waits until something is so; ten seconds are enough on any machine.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
