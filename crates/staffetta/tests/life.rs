//! Partners that come and go, in good order: nobody hangs, nothing is lost or doubled.

mod common;

use std::time::Duration;

use common::forms::{receiver, sender, wait_of, Form, When};
use common::{finish, name, role, start, until, watchdog};
use staffetta::{AttachError, Domain, Kind, Method, Parcel, RecvError, SendFailure, Wait};

const CHANNEL: &str = "channel";

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let domain = common::options().wait(wait_of(&arguments[1])).open(&arguments[0]).unwrap();
    let number = |i: usize| arguments[i].parse::<u64>().unwrap();
    match role.as_str() {
        // Holds an end for a while and leaves.
        "visit" => {
            let form = Form::decode(&arguments[2]);
            if arguments[3] == "sender" {
                let tx = sender(&domain, CHANNEL, form);
                until(|| (tx.has_peer)());
                std::thread::sleep(Duration::from_millis(number(4)));
            } else {
                let rx = receiver(&domain, CHANNEL, form);
                until(|| (rx.has_peer)());
                std::thread::sleep(Duration::from_millis(number(4)));
            }
        }
        // Sends the numbers from .. to, and leaves.
        "send" => {
            let mut tx = sender(&domain, CHANNEL, Form::decode(&arguments[2]));
            for n in number(3)..number(4) {
                while let Err((back, why)) = (tx.send)(n, When::Blocking) {
                    assert_eq!(back, n);
                    assert!(matches!(why, SendFailure::Disconnected), "{why}");
                }
            }
        }
        // Receives the numbers from .. to, and leaves.
        "receive" => {
            let mut rx = receiver(&domain, CHANNEL, Form::decode(&arguments[2]));
            for n in number(3)..number(4) {
                let got = loop {
                    match (rx.recv)(When::Blocking) {
                        Ok(got) => break got,
                        Err(RecvError::Disconnected) => {}
                        Err(other) => panic!("{other}"),
                    }
                };
                assert_eq!(got, n);
            }
        }
        // Opens the domain at the same time as others, and sends one number.
        "crowd" => {
            let tx = domain.sender::<u64>(&format!("crowd-{}", arguments[2])).unwrap();
            tx.send(number(2)).unwrap();
        }
        other => panic!("no role {other}"),
    }
}

fn partner(role: &str, name: &str, wait: Wait, form: Form, rest: &[&str]) -> std::process::Child {
    let (wait, code) = (wait.to_string(), form.code());
    let mut arguments = vec![name, &wait, &code];
    arguments.extend(rest);
    start(role, &arguments)
}

/// Fills the buffer, so that the next send blocks.
fn fill(tx: &mut common::forms::Tx, form: Form) -> u64 {
    for n in 0..form.degree() {
        (tx.send)(n, When::Blocking).unwrap();
    }
    form.degree()
}

#[test]
fn a_receiver_that_leaves_gives_the_blocked_sender_its_message_back() {
    let _watchdog = watchdog("blocked senders", 120);
    for wait in Wait::ALL {
        for form in Form::all() {
            let name = name("leave");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let mut tx = sender(&domain, CHANNEL, form);
            let mut visitor = partner("visit", &name, wait, form, &["receiver", "50"]);
            let mut gone = false;
            until(|| {
                gone = visitor.try_wait().unwrap().is_some();
                gone || (tx.has_peer)()
            });
            if gone {
                eprintln!("skipped: {form:?} {wait}: it had left before it was seen, on a busy machine");
                continue;
            }
            let next = fill(&mut tx, form);
            let (back, why) = (tx.send)(next, When::Blocking).unwrap_err();
            assert_eq!(back, next, "{form:?} {wait}");
            assert!(matches!(why, SendFailure::Disconnected), "{form:?} {wait}: {why}");
            finish(visitor);
            // The next process takes over.
            let to = (next + 3).to_string();
            let successor = partner("receive", &name, wait, form, &["0", &to]);
            for n in next..next + 3 {
                while let Err((back, why)) = (tx.send)(n, When::Blocking) {
                    assert_eq!(back, n);
                    assert!(matches!(why, SendFailure::Disconnected), "{form:?} {wait}: {why}");
                }
            }
            finish(successor);
        }
    }
}

#[test]
fn a_sender_that_leaves_is_told_to_the_blocked_receiver() {
    let _watchdog = watchdog("blocked receivers", 120);
    for wait in Wait::ALL {
        for form in Form::all() {
            let name = name("left");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let mut rx = receiver(&domain, CHANNEL, form);
            let mut visitor = partner("visit", &name, wait, form, &["sender", "50"]);
            let mut gone = false;
            until(|| {
                gone = visitor.try_wait().unwrap().is_some();
                gone || (rx.has_peer)()
            });
            if gone {
                eprintln!("skipped: {form:?} {wait}: it had left before it was seen, on a busy machine");
                continue;
            }
            let why = (rx.recv)(When::Blocking).unwrap_err();
            assert!(matches!(why, RecvError::Disconnected), "{form:?} {wait}: {why}");
            finish(visitor);
            let successor = partner("send", &name, wait, form, &["0", "3"]);
            for n in 0..3 {
                assert_eq!((rx.recv)(When::Blocking).unwrap(), n, "{form:?} {wait}");
            }
            finish(successor);
        }
    }
}

#[test]
fn a_lone_end_waits_tries_say_so_and_timeouts_give_back() {
    let _watchdog = watchdog("lone ends", 120);
    for wait in Wait::ALL {
        for form in Form::all() {
            let name = name("lone");
            let domain = common::options().wait(wait).open(&name).unwrap();
            {
                let mut tx = sender(&domain, CHANNEL, form);
                let next = fill(&mut tx, form);
                let (back, why) = (tx.send)(next, When::Try).unwrap_err();
                assert_eq!(back, next);
                let timed = matches!(form.what, common::forms::What::Slice | common::forms::What::Lent);
                assert!(matches!(why, SendFailure::NoPeer) || timed, "{form:?} {wait}: {why:?}");
                let (back, why) = (tx.send)(next, When::Within(Duration::from_millis(2))).unwrap_err();
                assert_eq!(back, next);
                assert!(matches!(why, SendFailure::TimedOut), "{form:?} {wait}: {why:?}");
                // A receiver that is there and does not wait.
                let rx = receiver(&domain, CHANNEL, form);
                let (back, why) = (tx.send)(next, When::Try).unwrap_err();
                assert_eq!(back, next);
                assert!(matches!(why, SendFailure::WouldBlock) || timed, "{form:?} {wait}: {why:?}");
                drop(rx);
                // What is in the buffer stays for the next receiver; and it is told once that one has left.
                let receiver = partner("receive", &name, wait, form, &["0", &(next + 1).to_string()]);
                while let Err((back, why)) = (tx.send)(next, When::Blocking) {
                    assert_eq!(back, next);
                    assert!(matches!(why, SendFailure::Disconnected), "{form:?} {wait}: {why:?}");
                }
                finish(receiver);
            }
            let mut rx = receiver(&domain, "other", form);
            let timed = matches!(form.what, common::forms::What::Slice | common::forms::What::Lent);
            let why = (rx.recv)(When::Try).unwrap_err();
            assert!(matches!(why, RecvError::NoPeer) || timed, "{form:?} {wait}: {why:?}");
            let why = (rx.recv)(When::Within(Duration::from_millis(2))).unwrap_err();
            assert!(matches!(why, RecvError::TimedOut), "{form:?} {wait}: {why:?}");
            let _tx = sender(&domain, "other", form);
            let why = (rx.recv)(When::Try).unwrap_err();
            assert!(matches!(why, RecvError::WouldBlock) || timed, "{form:?} {wait}: {why:?}");
        }
    }
}

#[test]
fn either_side_restarted_a_hundred_times_every_message_accounted_for() {
    let _watchdog = watchdog("restarts", 300);
    const TIMES: u64 = 100;
    const EACH: u64 = 20;
    let forms = Form::all();
    for (i, wait) in [Wait::Spin, Wait::SpinThenPark, Wait::Park].into_iter().cycle().take(6).enumerate() {
        let form = forms[[0, 4, 7, 9, 11, 13][i]];
        let name = name("restart");
        let domain = common::options().wait(wait).open(&name).unwrap();
        // The sender is restarted.
        let mut rx = receiver(&domain, CHANNEL, form);
        let mut expected = 0;
        for _ in 0..TIMES / 6 + 1 {
            let child =
                partner("send", &name, wait, form, &[&expected.to_string(), &(expected + EACH).to_string()]);
            for n in expected..expected + EACH {
                let got = loop {
                    match (rx.recv)(When::Blocking) {
                        Ok(got) => break got,
                        Err(RecvError::Disconnected) => {}
                        Err(other) => panic!("{form:?} {wait}: {other}"),
                    }
                };
                assert_eq!(got, n, "{form:?} {wait}");
            }
            expected += EACH;
            finish(child);
        }
        drop(rx);
        // The receiver is.
        let mut tx = sender(&domain, CHANNEL, form);
        for _ in 0..TIMES / 6 + 1 {
            let child = partner(
                "receive",
                &name,
                wait,
                form,
                &[&expected.to_string(), &(expected + EACH).to_string()],
            );
            for n in expected..expected + EACH {
                while let Err((back, why)) = (tx.send)(n, When::Blocking) {
                    assert_eq!(back, n);
                    assert!(matches!(why, SendFailure::Disconnected), "{form:?} {wait}: {why}");
                }
            }
            expected += EACH;
            finish(child);
        }
    }
}

#[test]
fn unnamed_ends_are_over_when_one_has_left() {
    let _watchdog = watchdog("unnamed ends", 60);
    let domain = Domain::create().unwrap();
    let (tx, rx) = domain.channel("").unnamed::<u64>().unwrap();
    drop(rx);
    for _ in 0..3 {
        let error = tx.send(5).unwrap_err();
        assert!(matches!((error.message, error.why), (5, SendFailure::Disconnected)));
    }
    let (tx, rx) = domain.channel("").unnamed::<Parcel<u64>>().unwrap();
    drop(tx);
    for _ in 0..3 {
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(rx.try_recv(), Err(RecvError::Disconnected)));
    }
    // Records come free again: more channels than there are records.
    for n in 0..70_000_u64 {
        let (tx, rx) = domain.channel("").basic(1).unnamed::<u64>().unwrap();
        tx.send(n).unwrap();
        assert_eq!(rx.recv().unwrap(), n);
    }
}

#[test]
fn a_second_end_is_refused_and_told_who_has_the_first() {
    let _watchdog = watchdog("second ends", 60);
    let name = name("second");
    let form = Form::all()[0];
    let domain = common::options().open(&name).unwrap();
    let rx = receiver(&domain, CHANNEL, form);
    let visitor = partner("visit", &name, Wait::Park, form, &["sender", "300"]);
    until(|| (rx.has_peer)());
    let error = domain.sender::<u64>(CHANNEL).err().expect("refused");
    assert!(matches!(error, AttachError::EndTaken { pid, .. } if pid == visitor.id()), "{error}");
    assert!(error.to_string().contains("sender"), "{error}");
    let error = domain.receiver::<u64>(CHANNEL).err().expect("refused");
    assert!(matches!(error, AttachError::EndTaken { pid, .. } if pid == std::process::id()), "{error}");
    finish(visitor);
    assert!(domain.sender::<u64>(CHANNEL).is_ok(), "free again");
}

#[test]
fn a_mismatch_prints_both_sides() {
    let domain = Domain::create().unwrap();
    let _rx = domain.channel("c").basic(3).method(Method::Distinct).receiver::<u64>().unwrap();
    let refused = |error: Result<staffetta::Sender<u64>, AttachError>, words: [&str; 2]| {
        let text = error.err().expect("refused").to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(text.contains("there:") && text.contains("here:"), "{text}");
    };
    refused(domain.channel("c").rendezvous().sender(), ["rendezvous", "basic"]);
    refused(domain.channel("c").basic(4).sender(), ["degree 3", "degree 4"]);
    refused(domain.channel("c").method(Method::Capability).sender(), ["distinct", "capability"]);
    let text = domain.sender::<i64>("c").err().expect("refused").to_string();
    assert!(text.contains("u64") && text.contains("i64"), "{text}");
    let text = domain.sender::<Parcel<u64>>("c").err().expect("refused").to_string();
    assert!(text.contains("parcels"), "{text}");
    assert!(matches!(domain.sender::<i64>("c"), Err(AttachError::Mismatch { .. })));
    // Nothing was harmed.
    let tx = domain.sender::<u64>("c").unwrap();
    tx.send(1).unwrap();
    let _ = Kind::Basic;
}

#[test]
fn eight_processes_open_one_name_at_once() {
    let _watchdog = watchdog("the crowd", 120);
    for _ in 0..10 {
        let name = name("crowd");
        let children: Vec<_> =
            (0..8).map(|i| start("crowd", &[&name, "spin-then-park", &i.to_string()])).collect();
        let domain = common::options().open(&name).unwrap();
        for i in 0..8 {
            let rx = domain.receiver::<u64>(&format!("crowd-{i}")).unwrap();
            assert_eq!(rx.recv().unwrap(), i, "all in one domain");
        }
        children.into_iter().for_each(finish);
    }
}
