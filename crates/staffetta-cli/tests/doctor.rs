//! `staffetta doctor` on real processes: what it prints, and its exit codes.
//!
//! A program of its own, without the test harness: its roles are to have one thread.

mod common;

use common::*;
use rustix::process::{kill_process, Pid, Signal};
use staffetta::{Domain, Wait};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROLE: &str = "STAFFETTA_TEST_ROLE";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let words: Vec<&str> = role.split(' ').collect();
        return play(words[0], words[1], words[2]);
    }
    // As the harness does it: only those whose name is asked for.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let tests: [(&str, fn()); 4] = [
        ("a_deadlock_is_drawn", a_deadlock_is_drawn),
        ("a_stopped_partner_is_a_warning", a_stopped_partner_is_a_warning),
        ("a_domain_that_is_well", a_domain_that_is_well),
        ("what_cannot_be_looked_at", what_cannot_be_looked_at),
    ];
    if std::env::args().any(|argument| argument == "--list") {
        return tests.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    for (name, test) in tests {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// Holds the sending end of one channel, and receives from another; without that it only holds.
fn play(domain: &str, says: &str, hears: &str) {
    let domain = Domain::options().window_bytes(16 << 30).wait(Wait::Park).open(domain).expect("open");
    let _tx = domain.sender::<u64>(says).expect("attach");
    if hears != "-" {
        let rx = domain.receiver::<u64>(hears).expect("attach");
        while rx.recv().is_ok() {}
    }
    std::thread::sleep(Duration::from_secs(600));
}

struct Role(Child);

impl Role {
    fn start(domain: &str, says: &str, hears: &str) -> Role {
        let mut command = Command::new(std::env::current_exe().expect("own path"));
        let child = command.env(ROLE, format!("{domain} {says} {hears}")).stdin(Stdio::null()).spawn();
        Role(child.expect("a process starts"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("a signal");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn name(test: &str) -> String {
    format!("cli-doctor-{test}-{}", std::process::id())
}

fn seen(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn a_deadlock_is_drawn() {
    let name = name("deadlock");
    let (left, right) =
        (Role::start(&name, "questions", "answers"), Role::start(&name, "answers", "questions"));
    until("they wait", || {
        seen(&["doctor", &name, "--json"])["deadlocks"].as_array().is_some_and(|all| !all.is_empty())
    });
    let output = run(&["doctor", &name]);
    assert_eq!(code(&output), 1);
    let text = stdout(&output);
    let (left, right) = (left.0.id(), right.0.id());
    for word in [
        format!("(pid {left}) --receive \"answers\" "),
        format!("(pid {right}) --receive \"questions\" "),
        "DEADLOCK: 2 processes wait for each other".to_owned(),
        format!("{name}: 1 deadlock"),
    ] {
        assert!(text.contains(&word), "{word:?} is missing in\n{text}");
    }
    assert_eq!(stderr(&output), "", "it has said what there is to say");
    let output = run(&["doctor", &name, "--json"]);
    assert_eq!(code(&output), 1);
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&seen["healthy"], &seen["deadlocks"][0]["certain"]), (&false.into(), &true.into()));
    assert_eq!(seen["waits"][0]["arms"][0]["does"], "receive");
}

fn a_stopped_partner_is_a_warning() {
    let name = name("stopped");
    let (holds, waits) = (Role::start(&name, "frames", "-"), Role::start(&name, "other", "frames"));
    let is_held_up = || {
        let seen = seen(&["doctor", &name, "--json"]);
        seen["held_up_by"][0]["waiting"].as_array().is_some_and(|all| all.len() == 1)
    };
    until("it waits", is_held_up);
    assert_eq!(code(&run(&["doctor", &name, "--strict"])), 0, "to wait for somebody is no fault");
    holds.signal(Signal::STOP);
    until("it is stopped", || seen(&["doctor", &name, "--json"])["held_up_by"][0]["status"] == "stopped");
    let output = run(&["doctor", &name]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    let (holds, waits) = (holds.0.id(), waits.0.id());
    for word in [
        format!("(pid {waits}) --receive \"frames\" "),
        format!("(pid {holds}, STOPPED)"),
        format!("`kill -CONT {holds}`"),
        "warnings".to_owned(),
    ] {
        assert!(text.contains(&word), "{word:?} is missing in\n{text}");
    }
    assert_eq!(code(&run(&["doctor", &name, "--strict"])), 1);
}

fn a_domain_that_is_well() {
    let name = name("well");
    let _one = Role::start(&name, "frames", "-");
    until("it is there", || {
        seen(&["doctor", &name, "--json"])["processes"].as_array().is_some_and(|all| all.len() == 1)
    });
    let output = run(&["doctor", &name, "--strict"]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).ends_with(&format!("{name}: healthy\n")), "{}", stdout(&output));
}

fn what_cannot_be_looked_at() {
    for arguments in [&["doctor", "no such domain"][..], &["doctor"], &["doctor", "a", "b"], &["doctor", "#"]]
    {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty());
    }
    assert!(stderr(&run(&["doctor", "no such domain"])).contains("there is no domain"));
}
