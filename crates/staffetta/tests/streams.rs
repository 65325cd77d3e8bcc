//! One-way streams whose sequence is checked, with and without deadlines that race.

mod common;

use std::time::Duration;

use common::forms::{receiver, sender, wait_of, Form, What, When};
use common::{finish, name, role, start, watchdog, Random};
use staffetta::{RecvError, SendFailure, Wait};

const CHANNEL: &str = "channel";

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 300);
    let domain = common::options().wait(wait_of(&arguments[1])).open(&arguments[0]).unwrap();
    let form = Form::decode(&arguments[2]);
    let messages: u64 = arguments[3].parse().unwrap();
    match role.as_str() {
        "send" => {
            let mut tx = sender(&domain, CHANNEL, form);
            for n in 0..messages {
                (tx.send)(n, When::Blocking).unwrap();
            }
        }
        // Each send gives up soon, and tries again with the same number.
        "send-hastily" => {
            let mut random = Random::new("send-hastily");
            let mut tx = sender(&domain, CHANNEL, form);
            let mut back_again = 0_u64;
            for n in 0..messages {
                loop {
                    let when = hasty(&mut random);
                    let Err((back, why)) = (tx.send)(n, when) else { break };
                    assert_eq!(back, n);
                    back_again += 1;
                    match why {
                        SendFailure::TimedOut | SendFailure::WouldBlock => {}
                        SendFailure::NoPeer if n == 0 => {}
                        other => panic!("{form:?}: {other}"),
                    }
                }
            }
            eprintln!("{form:?}: {back_again} sends gave up");
        }
        other => panic!("no role {other}"),
    }
}

/// STAFFETTA_TEST_SOAK=1: on a machine that does nothing else.
fn soak() -> bool {
    std::env::var_os("STAFFETTA_TEST_SOAK").is_some()
}

fn hasty(random: &mut Random) -> When {
    match random.below(4) {
        0 => When::Try,
        n => When::Within(Duration::from_nanos(random.below([300, 3_000, 60_000][n as usize - 1]))),
    }
}

fn run(role: &str, form: Form, wait: Wait, messages: u64, mut when: impl FnMut() -> When) {
    let _watchdog = watchdog(&format!("{role} {form:?} {wait}"), 120);
    let name = name("stream");
    let domain = common::options().wait(wait).open(&name).unwrap();
    let began = std::time::Instant::now();
    let mut rx = receiver(&domain, CHANNEL, form);
    let child = start(role, &[&name, &wait.to_string(), &form.code(), &messages.to_string()]);
    for n in 0..messages {
        let got = loop {
            match (rx.recv)(when()) {
                Ok(got) => break got,
                Err(RecvError::TimedOut | RecvError::WouldBlock) => {}
                Err(RecvError::NoPeer) if n == 0 => {}
                Err(other) => panic!("{form:?} {wait}, message {n}: {other}"),
            }
        };
        assert_eq!(got, n, "{form:?} {wait}: lost, doubled or out of order");
    }
    assert!(
        matches!((rx.recv)(When::Blocking), Err(RecvError::Disconnected)),
        "{form:?} {wait}: one too many"
    );
    finish(child);
    eprintln!("{role} {form:?} {wait}: {messages} in {:?}", began.elapsed());
}

#[test]
fn every_stream_arrives_in_order() {
    for form in Form::all() {
        let heavy = !matches!(form.what, What::Value | What::LineValue | What::Basic(_) | What::Buffered(_));
        for wait in Wait::ALL {
            // Busy waiting takes turns with whatever else runs on the machine: few messages, unless it is ours.
            let messages = match (wait, heavy) {
                _ if soak() => 200_000,
                (Wait::SpinThenPark, false) => 20_000,
                _ => 2_000,
            };
            run("send", form, wait, messages, || When::Blocking);
        }
    }
}

#[test]
fn messages_that_were_withdrawn_come_back_and_the_others_arrive_once() {
    let mut random = Random::new("hasty");
    let messages = if soak() { 20_000 } else { 500 };
    for form in Form::all() {
        for wait in Wait::ALL {
            run("send-hastily", form, wait, messages, || hasty(&mut random));
            run("send-hastily", form, wait, messages, || When::Blocking);
            run("send", form, wait, messages, || hasty(&mut random));
        }
    }
}
