//! The examples run, end by themselves, and print what they say they print.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// An example that takes longer hangs: it is killed, and the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(name: &str) -> PathBuf {
    // target/<profile>/deps/examples-<hash>: the examples are built beside it by `cargo test`.
    let own = std::env::current_exe().expect("own path");
    let profile = own.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build -p staffetta --examples`", path.display());
    path
}

fn start(name: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(program(name));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("start an example")
}

/// What it printed; it must end well, and in time.
fn finish(name: &str, child: Child) -> String {
    let (ended, end) = mpsc::channel::<()>();
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    });
    let output = child.wait_with_output().expect("wait for an example");
    drop(ended);
    watchdog.join().expect("watchdog");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}\n{error}", output.status);
    assert_eq!(error, "", "{name} complains");
    text
}

fn run(name: &str) -> String {
    finish(name, start(name, &[]))
}

#[test]
fn hello_in_either_order() {
    for order in [["hello_send", "hello_receive"], ["hello_receive", "hello_send"]] {
        let domain = format!("example-{}-{}", order[0], std::process::id());
        let first = start(order[0], &[&domain]);
        std::thread::sleep(Duration::from_millis(100));
        let second = start(order[1], &[&domain]);
        let text = [finish(order[0], first), finish(order[1], second)].concat();
        for n in 1..=5 {
            assert!(text.contains(&format!("sent {n}\n")), "{text}");
            assert!(text.contains(&format!("received {n}\n")), "{text}");
        }
    }
}

#[test]
fn launcher() {
    let text = run("launcher");
    for line in ["adder 0 adds 0 to 999", "adder 2 adds 2000 to 2999", "below 3000 is 4498500"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn work_queue() {
    let text = run("work_queue");
    assert!(text.contains("2000 jobs by 4 workers, one of which was killed: 303 primes"), "{text}");
}

#[test]
fn successor() {
    let text = run("successor");
    for line in [
        "the worker is dead: start it again",
        "worker 1 takes over the receiver of \"jobs\"",
        "worker 1 takes over the sender of \"answers\"",
        "worker 1: job 2, again: it died with the one before",
        "answers: [0, 1, 4, 9, 16, 25]",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn private() {
    let text = run("private");
    let once = text.contains("viewer: 2073600 pixels of 3, copied 1 x\n")
        && text.contains("the painter copied 0 bytes, the viewer 6220800\n");
    // Where the viewer may not read the painter's memory.
    let twice = text.contains("viewer: 2073600 pixels of 3, copied 2 x\n");
    assert!(once || twice, "{text}");
}

#[test]
fn request_reply() {
    let text = run("request_reply");
    for line in ["client 1 has 1000 sums", "client 2 has 1000 sums", "1 to 1000 is 500500", "answered all"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn ends_as_messages() {
    let text = run("ends_as_messages");
    assert_eq!(text.matches("has said 1000 numbers").count(), 6, "{text}");
    assert_eq!(text.matches("has heard 1000 numbers").count(), 6, "{text}");
}

#[test]
fn references() {
    let text = run("references");
    let part = |from: &str, to: &str| {
        let rest = &text[text.find(from).expect(from)..];
        let part = &rest[..rest.find(to).unwrap_or(rest.len())];
        let address = |what: &str| {
            let at = part.find(what).unwrap_or_else(|| panic!("{what} is missing: {text}")) + what.len();
            part[at..].split([',', '\n']).next().expect("an address").to_owned()
        };
        (address("sent from "), address("received at "), part.to_owned())
    };
    let (sent, received, _) = part("coinciding:", "distinct:");
    assert_eq!(sent, received, "{text}");
    let (sent, received, _) = part("distinct:", "capability:");
    assert_ne!(sent, received, "{text}");
    let (_, _, capability) = part("capability:", "the end");
    for line in ["in a mapping of its own", "released: its 8000 bytes", "acquired at 0x"] {
        assert!(capability.contains(line), "{text}");
    }
    assert_eq!(text.matches("8000 sent, 0 copied").count(), 3, "{text}");
}

#[test]
fn rendezvous_by_hand() {
    let text = run("rendezvous_by_hand");
    for line in [
        "IDLE(0): nobody waits",
        "OFFER(0): the sender waits with a message variable, asleep",
        "WANT(1): the receiver waits with a target variable, asleep",
        "IDLE(2): nobody waits",
        "0 bytes by the sender, 800 by the receiver",
        "800 bytes by the sender, 800 by the receiver",
        "sender   | waited 1 times, woke its partner 1 times",
        "receiver | waited 1 times, woke its partner 1 times",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn buffered() {
    let text = run("buffered");
    for n in 0..5 {
        let line = format!("frame {n} at {} ms: inverted, its first pixel is {}\n", 40 * n, 255 - n);
        assert!(text.contains(&line), "{text}");
    }
    for line in ["camera: 5 frames sent, 0 bytes copied", "consumer: 5 frames received, 0 bytes copied"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn select() {
    let text = run("select");
    for line in [
        "worker: urgent job 100\n",
        "worker: 6 jobs: 100 101 1 2 3 4\n",
        "worker: stopped, with nothing left to do\n",
        "boss: 6 jobs are done\n",
        "boss: the worker has ended\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn station() {
    let text = run("station");
    for line in [
        "asker: 10 answers\n",
        "station: nobody asks any more\n",
        "station: the sensor has left\n",
        "station: 50 readings, mean 24.5, 10 questions answered\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn doctor() {
    let text = run("doctor");
    for line in [
        "DEADLOCK: 2 processes wait for each other\n",
        " --receive \"answers\" ",
        " --receive \"questions\" ",
        "left would wait for answers for ever\n",
        "right would wait for questions for ever\n",
        "who waited for questions is told: ",
        "and now the domain is well: true\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn image() {
    let text = run("image");
    for n in 0..3 {
        assert!(text.contains(&format!("frame {n}: 640 x 480, mean grey 127")), "{text}");
    }
    assert!(text.contains("921648 bytes sent, 0 copied"), "{text}");
}

#[test]
fn camera() {
    let text = run("camera");
    for line in [
        "camera: 40 frames sent, 0 bytes copied\n",
        "display: 40 frames seen, 0 missed, 0 bytes copied\n",
        "recorder: 40 frames seen, 0 missed, 0 bytes copied\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let slow = text.lines().find_map(|line| line.strip_prefix("detector: ")).expect("the slow one");
    let numbers: Vec<u64> = slow.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] + numbers[1] == 40 && numbers[1] > 0 && numbers[2] == 0, "{slow}");
}

#[test]
fn latest() {
    let text = run("latest");
    assert!(text.contains("the last of 100000 readings is [99999.0, 99999.0, 99999.0]\n"), "{text}");
    assert!(text.contains(" = 100000: seen, and overwritten before\n"), "{text}");
}
