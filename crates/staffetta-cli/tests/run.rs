//! `staffetta run` as users run it.

mod common;

use common::*;
use rustix::process::{kill_process, Pid, Signal};
use std::process::{Child, Stdio};

#[test]
fn exit_codes_are_passed_on() {
    for (arguments, expected) in [
        (&["run", "--", "true"][..], 0),
        (&["run", "--", "sh", "-c", "exit 7"], 7),
        (&["run", "sh", "-c", "exit 255"], 255),
        (&["run", "--", "sh", "-c", "kill -TERM $$"], 143),
        (&["run", "--", "sh", "-c", "kill -KILL $$"], 137),
        (&["run", "--", "true", "+", "sh", "-c", "exit 3"], 3),
        (&["run", "--", "/no/such/program"], 127),
        (&["run", "--", "/etc/passwd"], 126),
        (&["run", "--", "true", "+"], 2),
        (&["run"], 2),
        (&["run", "--name", "a/b", "--", "true"], 4),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", stderr(&output));
        let quiet = expected == 0 || arguments.contains(&"sh");
        assert_eq!(stderr(&output).is_empty(), quiet, "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn each_program_knows_its_name_and_index() {
    let script = "echo $STAFFETTA_NAME $STAFFETTA_INDEX";
    let output = run(&["run", "--count", "3", "--", "sh", "-c", script]);
    let text = stdout(&output);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["sh 0", "sh 1", "sh 2"]);
}

#[test]
fn only_verbose_tells_who_has_not_mapped_the_domain() {
    let output = run(&["run", "--verbose", "--", "sh", "-c", "exit 1"]);
    assert_eq!(code(&output), 1);
    for word in ["sh 0", "has not mapped the domain", "launched!()", "exit status: 1"] {
        assert!(stderr(&output).contains(word), "{word} is missing in {}", stderr(&output));
    }
}

/// A launcher, and the processes it has started.
fn started(options: &[&str]) -> (Child, Vec<i32>) {
    let mut command = staffetta();
    command.arg("run").args(options).args(["--", "sleep", "60", "+", "sleep", "60"]);
    let launcher = command.stdout(Stdio::null()).spawn().expect("the binary starts");
    let tasks = format!("/proc/{}/task", launcher.id());
    let mut found = Vec::new();
    // Each is the child of a thread of its own.
    until("both programs run", || {
        found = std::fs::read_dir(&tasks)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
            .collect();
        let sleeps = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
        };
        found.len() == 2 && found.iter().all(sleeps)
    });
    (launcher, found)
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("the signal is sent");
}

#[test]
fn a_killed_launcher_leaves_no_child() {
    let (mut launcher, children) = started(&[]);
    signal(launcher.id() as i32, Signal::KILL);
    launcher.wait().expect("it ends");
    until("the programs of a killed launcher are gone", || children.iter().all(|&pid| !runs(pid)));
}

#[test]
fn a_signal_is_passed_on() {
    let (mut launcher, children) = started(&[]);
    signal(launcher.id() as i32, Signal::TERM);
    assert_eq!(launcher.wait().expect("it ends").code(), Some(143));
    assert!(children.iter().all(|&pid| !runs(pid)));
}

#[test]
fn programs_that_may_outlive_it_do() {
    let (mut launcher, children) = started(&["--outlive"]);
    signal(launcher.id() as i32, Signal::KILL);
    launcher.wait().expect("it ends");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let alive: Vec<bool> = children.iter().map(|&pid| runs(pid)).collect();
    children.iter().filter(|&&pid| runs(pid)).for_each(|&pid| signal(pid, Signal::KILL));
    assert_eq!(alive, [true, true]);
}
