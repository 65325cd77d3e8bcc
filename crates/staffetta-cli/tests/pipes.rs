//! `send` and `recv` between real processes: pipelines of the shell, back-pressure, garbage, a reader that goes away.

mod common;

use common::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

/// A domain's name that no other test uses at the same time.
fn domain(test: &str) -> String {
    format!("cli-{test}-{}", std::process::id())
}

/// A shell in which `$STAFFETTA` is the binary and `$D` the domain; one that hangs is killed.
fn shell_in(domain: &str, script: &str) -> std::process::Output {
    shell(&format!("export D='{domain}'; trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{script}"))
}

struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut command = staffetta();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().expect("the binary starts"))
    }

    fn finish(mut self) -> (i32, String) {
        drop(self.0.stdin.take());
        let mut error = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut error).expect("text");
        (self.0.wait().expect("it ends").code().expect("not by a signal"), error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn look(channel: &str) -> Option<serde_json::Value> {
    let output = run(&["inspect", channel, "--json"]);
    (code(&output) == 0).then(|| json(&output))
}

#[test]
fn a_pipeline_of_three() {
    let output = shell_in(
        &domain("pipeline"),
        "seq 1 100 | timeout 60 $STAFFETTA send $D/there --layout u64 &
         timeout 60 $STAFFETTA recv $D/there --consume --wait | sed 's/$/0/' |
             timeout 60 $STAFFETTA send $D/back --layout u64 --degree 4 &
         timeout 60 $STAFFETTA recv $D/back --consume --wait | paste -sd+ | bc
         wait",
    );
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("50500\n", ""));
}

#[test]
fn frames_from_domain_to_domain() {
    let output = shell_in(
        &domain("frames"),
        "printf '\\5\\0\\0\\0hello\\0\\0\\0\\0\\2\\0\\0\\0hi' |
             timeout 60 $STAFFETTA send $D/text --layout '[u8]' --degree 2 --raw &
         timeout 60 $STAFFETTA recv $D/text --consume --wait --raw |
             timeout 60 $STAFFETTA send ${D}2/text --layout '[u8]' --parcels --raw &
         timeout 60 $STAFFETTA recv ${D}2/text --consume --wait --raw | od -An -tx1 | tr -d ' \\n'
         wait",
    );
    assert_eq!(stdout(&output), "0500000068656c6c6f00000000020000006869", "{}", stderr(&output));
}

#[test]
fn fields_there_and_back() {
    let layout =
        "\"lab::Sample@1\" 24/8 {time@0 8/8 u64, mode@8 8/4 enum u8 {Off = 0 {}, Hold = 7 {at@4 2/2 i16}}, \
                  good@16 1/1 bool, tag@17 3/1 [1/1 u8; 3], next@20 4/4 option zero 4/4 nonzero u32}";
    let lines = "{\"time\":7,\"mode\":\"Off\",\"good\":true,\"tag\":\"abc\",\"next\":null}\n\
                 {\"time\":8,\"mode\":{\"Hold\":{\"at\":-3}},\"good\":false,\"tag\":[1,2,3],\"next\":9}\n";
    let channel = domain("fields") + "/samples";
    let mut sender = Running::start(&["send", &channel, "--layout", layout]);
    sender.0.stdin.as_mut().expect("piped").write_all(lines.as_bytes()).expect("written");
    let output = run(&["recv", &channel, "--consume", "--wait", "--count", "2", "--type", "Sample"]);
    let received: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut expected: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    expected[0]["tag"] = serde_json::json!([97, 98, 99]);
    assert_eq!(received, expected, "{}", stderr(&output));
    assert_eq!(sender.finish(), (0, String::new()));
}

#[test]
fn a_full_channel_holds_up_whoever_writes_the_pipe() {
    let channel = domain("pressure") + "/n";
    let mut sender = Running::start(&["send", &channel, "--layout", "u64", "--degree", "4"]);
    let mut stdin = sender.0.stdin.take().expect("piped");
    // More than a pipe and the buffers on its way hold.
    const LINES: u64 = 200_000;
    let writer = std::thread::spawn(move || {
        for n in 0..LINES {
            writeln!(stdin, "{n}").expect("the pipe is read");
        }
    });
    until("the channel is full", || look(&channel).is_some_and(|seen| seen["waiting"] == 4));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!writer.is_finished(), "all was read, and nobody had taken it");
    let mut receiver = Running::start(&["recv", &channel, "--consume"]);
    let lines = BufReader::new(receiver.0.stdout.take().expect("piped")).lines();
    let mut next = 0;
    for line in lines {
        assert_eq!(line.expect("text"), next.to_string());
        next += 1;
    }
    assert_eq!(next, LINES);
    writer.join().expect("all was written");
    assert_eq!(receiver.finish(), (0, String::new()));
    assert_eq!(sender.finish(), (0, String::new()));
}

#[test]
fn garbage_is_told_by_its_place_and_nothing_of_it_is_sent() {
    let name = domain("garbage");
    for (number, (layout, raw, input, place, why)) in [
        ("u8", false, &b"1\n\n2\nx\xff\x00\n3\n"[..], "line 4", "is no JSON"),
        ("u8", false, b"1\n2\n256\n", "line 3", "a u8 is expected"),
        ("u8", false, b"1\n2\n[3]\n", "line 3", "a number (u8) is expected"),
        ("[bool; 2]", false, b"[true,true]\n[false,false]\n[true,1]\n", "line 3", "`[1]`"),
        ("u8", true, b"\x01\0\0\0a\x01\0\0\0b\x02\0\0\0cd", "frame 3", "has 2 bytes; one of its type has 1"),
        ("u8", true, b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0", "frame 3", "ends after 0 of its 1 bytes"),
        ("bool", true, b"\x01\0\0\0\x01\x01\0\0\0\x00\x01\0\0\0\x02", "frame 3", "a bool, 0 or 1"),
        (
            "[u8]",
            true,
            b"\x01\0\0\0\x01\x01\0\0\0\x00\xff\xff\xff\xff\x02",
            "frame 3",
            "ends after 1 of its 4294967295",
        ),
        ("u8", true, b"\x01\0\0\0a\x01\0\0\0b\x01\0", "frame 3", "ends after 2 of the 4 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        let channel = format!("{name}-{number}/n");
        // Somebody else is in the domain, so that it stays.
        let stay = Running::start(&["send", &format!("{name}-{number}/other"), "--layout", "u8"]);
        until("somebody is there", || look(&format!("{name}-{number}/other")).is_some());
        let mut arguments = vec!["send", &channel, "--layout", layout, "--degree", "8", "--wait"];
        arguments.extend(raw.then_some("--raw"));
        let mut sender = Running::start(&arguments);
        sender.0.stdin.take().expect("piped").write_all(input).expect("written");
        let (code, error) = sender.finish();
        assert_eq!(code, 3, "{error}");
        for word in [place, why, "it was not sent"] {
            assert!(error.contains(word), "{word:?} is missing in {error}");
        }
        let seen = look(&channel).expect("it is there");
        assert_eq!((&seen["waiting"], &seen["sent"]["messages"]), (&2.into(), &2.into()), "{place}: {error}");
        drop(stay);
    }
}

#[test]
fn who_reads_goes_away() {
    let channel = domain("closed") + "/n";
    let mut sender = Running::start(&["send", &channel, "--layout", "u64"]);
    let mut receiver = Running::start(&["recv", &channel, "--consume", "--wait"]);
    let stdin = sender.0.stdin.as_mut().expect("piped");
    writeln!(stdin, "1").expect("written");
    let mut line = String::new();
    let mut stdout = BufReader::new(receiver.0.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("text");
    assert_eq!(line, "1\n");
    // Nothing waits: it ends by itself, with nothing taken.
    drop(stdout);
    assert_eq!(receiver.finish(), (0, String::new()));
    assert_eq!(look(&channel).expect("it is there")["received"]["messages"], 1);
    // The sender is told, and says what was not sent.
    writeln!(sender.0.stdin.as_mut().expect("piped"), "2").expect("written");
    let (code, error) = sender.finish();
    assert_eq!(code, 1);
    assert!(error.contains("the receiver has left; line 2 was not sent"), "{error}");
}

#[test]
fn a_message_that_could_not_be_written_is_told() {
    let output = shell_in(
        &domain("full"),
        "seq 5 | timeout 60 $STAFFETTA send $D/n --layout u64 2>/dev/null &
         timeout 60 $STAFFETTA recv $D/n --consume --wait > /dev/full; echo $?",
    );
    assert_eq!(stdout(&output), "4\n");
    let error = stderr(&output);
    assert!(error.contains("message 1 was taken from") && error.contains("is not written: 1"), "{error}");
}

#[test]
fn what_is_not_as_expected() {
    let name = domain("expected");
    let channel = format!("{name}/n");
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{word:?} is missing in {}", stderr(&output));
        }
    };
    refused(&["recv", &channel, "--consume"], &["there is no domain", "--wait"]);
    refused(&["recv", "no-slash", "--consume"], &["DOMAIN/CHANNEL"]);
    let sender = Running::start(&["send", &channel, "--layout", "u64"]);
    until("it is there", || look(&channel).is_some());
    refused(&["recv", &channel], &["--consume", "staffetta inspect"]);
    refused(&["recv", &format!("{name}/m"), "--consume"], &["there are \"n\"", "--wait"]);
    refused(
        &["recv", &channel, "--consume", "--type", "Frame"],
        &["asked: Frame", "there: u64: 8 bytes", "8/8 u64"],
    );
    refused(
        &["recv", &channel, "--consume", "--layout", "[f32; 2]"],
        &["there:", "8/8 u64", "here:", "8/4 [4/4 f32; 2]"],
    );
    refused(&["recv", &channel, "--consume", "--layout", "u65"], &["is no layout"]);
    // The end is somebody's.
    let output = run(&["send", &channel]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("has a sender already"), "{}", stderr(&output));
    // None of them was seen by the sender.
    assert_eq!(look(&channel).expect("it is there")["receivers"], serde_json::json!([]));
    assert_eq!(sender.finish(), (0, String::new()));
}

#[test]
fn interrupted_it_leaves_in_order() {
    let channel = domain("interrupted") + "/n";
    let mut sender = Running::start(&["send", &channel, "--layout", "u64"]);
    let receiver = Running::start(&["recv", &channel, "--consume", "--wait"]);
    until("both are there", || {
        look(&channel).is_some_and(|seen| !seen["senders"][0].is_null() && !seen["receivers"][0].is_null())
    });
    let pid = rustix::process::Pid::from_child(&receiver.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    assert_eq!(receiver.finish().0, 130);
    assert_eq!(look(&channel).expect("it is there")["receivers"][0]["state"], "left");
    let pid = rustix::process::Pid::from_child(&sender.0);
    let stdin = sender.0.stdin.take();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(sender.finish().0, 143);
    drop(stdin);
}

#[test]
fn a_partner_that_is_killed_is_told() {
    let channel = domain("killed") + "/n";
    let mut sender = Running::start(&["send", &channel, "--layout", "u64"]);
    let mut receiver = Running::start(&["recv", &channel, "--consume", "--wait"]);
    until("both are there", || {
        look(&channel).is_some_and(|seen| !seen["senders"][0].is_null() && !seen["receivers"][0].is_null())
    });
    sender.0.kill().expect("killed");
    let (code, error) = receiver.finish();
    assert_eq!(code, 1);
    assert!(error.contains("the sender's process died; 0 messages came before"), "{error}");

    let channel = domain("killed-too") + "/n";
    let mut sender = Running::start(&["send", &channel, "--layout", "u64"]);
    receiver = Running::start(&["recv", &channel, "--consume", "--wait"]);
    until("both are there", || {
        look(&channel).is_some_and(|seen| !seen["senders"][0].is_null() && !seen["receivers"][0].is_null())
    });
    receiver.0.kill().expect("killed");
    // Until the sender has heard of it, it may still hand a message to who has died.
    until("the death is told", || look(&channel).is_some_and(|seen| seen["receivers"][0]["state"] == "died"));
    writeln!(sender.0.stdin.as_mut().expect("piped"), "5").expect("written");
    let (code, error) = sender.finish();
    assert_eq!(code, 1);
    assert!(error.contains("line 1 was not sent"), "{error}");
}

#[test]
fn a_domain_by_a_directory() {
    let directory = directory();
    let place = directory.path().join("domains");
    let name = domain("directory");
    let output = shell_in(
        &name,
        &format!(
            "seq 3 | timeout 60 $STAFFETTA send $D/n --layout u16 --directory '{0}' &
             until $STAFFETTA list | grep -q \"^$D \"; do sleep 0.05; done
             timeout 60 $STAFFETTA recv $D/n --consume --wait --directory '{0}'
             wait",
            place.display()
        ),
    );
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("1\n2\n3\n", ""));
}

#[test]
fn a_broadcast_is_listened_to_and_nothing_taken_away() {
    let name = domain("broadcast");
    let domain = staffetta::Domain::options().window_bytes(16 << 30).open(&name).expect("a domain");
    let tx = domain.channel("ticks").broadcast(64).sender::<[u16; 2]>().expect("a sender");
    let other = domain.channel("ticks").listen().receiver::<[u16; 2]>().expect("a receiver");
    let newest = domain.channel("pose").latest().sender::<f32>().expect("a sender");
    newest.send(0.5).expect("sent");
    let channel = format!("{name}/ticks");
    let listener = Running::start(&["recv", &channel, "--count", "3"]);
    until("both listen", || tx.receivers() == 2);
    (0..3).for_each(|n| tx.send([n, 7]).expect("sent"));
    let output = {
        let mut text = String::new();
        let mut listener = listener;
        listener.0.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
        assert_eq!(listener.finish(), (0, String::new()));
        text
    };
    assert_eq!(output, "[0,7]\n[1,7]\n[2,7]\n");
    (0..3).for_each(|n| assert_eq!(other.recv().expect("received"), [n, 7]));
    assert_eq!(stdout(&run(&["recv", &format!("{name}/pose"), "--count", "1"])), "0.5\n");
    let seen = look(&channel).expect("it is there");
    assert_eq!((&seen["what"]["kind"], &seen["sent"]["messages"]), (&"broadcast".into(), &3.into()));
    assert_eq!(seen["receivers"].as_array().map(Vec::len), Some(2), "{seen}");
    assert_eq!(seen["receivers"][1]["state"], "left");
    // A layout that is not the channel's is refused, as elsewhere; and it is not sent to from the shell.
    let output = run(&["recv", &channel, "--layout", "u8", "--consume"]);
    assert!(code(&output) == 2 && stderr(&output).contains("the messages differ"), "{}", stderr(&output));
    let output = run(&["send", &channel]);
    assert!(code(&output) == 4 && stderr(&output).contains("typed ends only send to"), "{}", stderr(&output));
}

#[test]
fn who_listens_too_slowly_is_told_what_it_missed() {
    let name = domain("missed");
    let domain = staffetta::Domain::options().window_bytes(16 << 30).open(&name).expect("a domain");
    let tx = domain.channel("ticks").broadcast(2).sender::<u64>().expect("a sender");
    let mut listener = Running::start(&["recv", &format!("{name}/ticks")]);
    until("it listens", || tx.receivers() == 1);
    // More than its pipe holds, and nobody reads it: the sender is not held up.
    (0..200_000).for_each(|n| tx.send(n).expect("sent"));
    drop(tx);
    let mut text = String::new();
    listener.0.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    let received: Vec<u64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(received.is_sorted() && received.last() == Some(&199_999));
    let (code, error) = listener.finish();
    let missed = 200_000 - received.len();
    assert_eq!(code, 0);
    assert!(missed == 0 || error.contains(&format!("{missed} messages were missed")), "{missed}: {error}");
}
