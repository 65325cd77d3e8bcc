//! `list`, `inspect` and `rate` on domains that run, and on one whose members are all stopped.

mod common;

use common::*;
use rustix::process::{kill_process, Pid, Signal};
use std::io::Write;
use std::process::{Child, Stdio};

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sender that has filled its channel, and sleeps.
fn wedge(name: &str) -> Stopped {
    let channel = format!("{name}/frames");
    let mut command = staffetta();
    command.args(["send", &channel, "--layout", "[u32; 4]", "--degree", "2"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.as_mut().expect("piped").write_all(b"[1,2,3,4]\n[5,6,7,8]\n[9,9,9,9]\n").expect("written");
    until("the channel is full", || {
        let output = run(&["inspect", &channel, "--json"]);
        code(&output) == 0 && json(&output)["waits"].as_array().is_some_and(|waits| !waits.is_empty())
    });
    kill_process(Pid::from_child(&child), Signal::STOP).expect("a signal");
    Stopped(child)
}

#[test]
fn a_domain_whose_only_process_is_stopped() {
    let name = format!("cli-stopped-{}", std::process::id());
    let wedged = wedge(&name);
    let stopped = |list: &serde_json::Value| {
        let mine = list.as_array()?.iter().find(|domain| domain["name"] == name)?;
        (mine["processes"][0]["status"] == "stopped").then(|| mine.clone())
    };
    let mut mine = None;
    until("it is listed as stopped", || {
        mine = stopped(&json(&run(&["list", "--json"])));
        mine.is_some()
    });
    let mine = mine.expect("found");
    assert_eq!(mine["pids"], serde_json::json!([wedged.0.id()]));
    assert_eq!(mine["channels"][0]["name"], "frames");
    let text = stdout(&run(&["list"]));
    assert!(text.lines().any(|line| line.starts_with(&name)), "{text}");

    let seen = json(&run(&["inspect", &name, "--json"]));
    assert_eq!(
        (&seen["processes"][0]["status"], &seen["pcbs"][0]["sleeps_on"]),
        (&"stopped".into(), &0.into())
    );
    // By its identity too.
    let identity = seen["identity"].as_str().expect("text");
    assert_eq!(json(&run(&["inspect", &identity[..12], "--json"]))["name"], name.as_str());
    let text = stdout(&run(&["inspect", &name]));
    for word in ["stopped", "frames", "[u32; 4]", "waits for room, asleep: nobody is there yet", "1 asleep"] {
        assert!(text.contains(word), "{word:?} is missing in\n{text}");
    }
    let channel = format!("{name}/frames");
    let seen = json(&run(&["inspect", &channel, "--json"]));
    assert_eq!((&seen["waiting"], &seen["what"]["layout"]), (&2.into(), &"16/4 [4/4 u32; 4]".into()));
    let text = stdout(&run(&["inspect", &channel]));
    for word in ["buffered of degree 2", "slots: 0:FULL+P 1:FULL", "layout: 16/4 [4/4 u32; 4]", "copied"] {
        assert!(text.contains(word), "{word:?} is missing in\n{text}");
    }
    let rate = json(&run(&["rate", &channel, "--interval", "0.05", "--count", "1", "--json"]));
    assert_eq!((&rate["sent"], &rate["waiting"]), (&0.into(), &2.into()));

    let output = run(&["inspect", &format!("{name}/frame")]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("there are frames"), "{}", stderr(&output));

    // It goes on as if nobody had looked.
    kill_process(Pid::from_child(&wedged.0), Signal::CONT).expect("a signal");
    let output = run(&["recv", &channel, "--consume", "--count", "3"]);
    assert_eq!(stdout(&output), "[1,2,3,4]\n[5,6,7,8]\n[9,9,9,9]\n");
}

#[test]
fn rates_are_those_of_what_passes() {
    let name = format!("cli-rate-{}", std::process::id());
    let output = shell(&format!(
        "trap 'kill $(jobs -p) 2>/dev/null' EXIT
         yes 7 | $STAFFETTA send {name}/n --layout u64 --degree 64 2>/dev/null &
         $STAFFETTA recv {name}/n --consume --wait >/dev/null &
         until $STAFFETTA inspect {name}/n 2>/dev/null | grep -q 'receivers: [0-9]'; do sleep 0.05; done
         $STAFFETTA rate {name} --interval 0.5 --count 2 --json"
    ));
    let text = stdout(&output);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{text}{}", stderr(&output));
    for line in lines {
        let (sent, bytes) = (line["sent_per_second"].as_f64(), line["bytes_per_second"].as_f64());
        let (sent, bytes) = (sent.expect("a number"), bytes.expect("a number"));
        assert!(sent > 0.0 && line["received"].as_u64() > Some(0), "{line}");
        assert!((bytes / sent - 8.0).abs() < 2.0, "{line}");
    }
}

#[test]
fn a_domain_that_ends_ends_the_rate() {
    let name = format!("cli-end-{}", std::process::id());
    let wedged = wedge(&name);
    let mut command = staffetta();
    command.args(["rate", &name, "--interval", "0.05"]).stdout(Stdio::piped());
    let rate = command.spawn().expect("the binary starts");
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(wedged);
    let output = rate.wait_with_output().expect("it ends");
    assert!(stdout(&output).ends_with("the domain has ended\n"), "{}", stdout(&output));
    let output = run(&["inspect", &name]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("there is no domain"), "{}", stderr(&output));
}
