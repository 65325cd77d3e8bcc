//! A receiver is killed with a message in hand: its partner waits, and the next process that comes gets the message again before
//! newer ones, and is told so. For each kind of channel, between real processes.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use common::{name, role, start, watchdog};
use staffetta::{AttachError, ChannelBuilder, Continuation, Domain, RecvError, SendFailure};

const WAITS: Continuation = Continuation::WaitForSuccessor;

/// A channel of one of the kinds that go on after a death.
fn channel<'d>(domain: &'d Domain, kind: &str) -> ChannelBuilder<'d> {
    let channel = domain.channel("channel").continuation(WAITS);
    match kind {
        "rendezvous" => channel.rendezvous(),
        "basic" => channel.basic(4),
        "buffered" => channel.buffered(4),
        "bounded" => channel.bounded(4),
        "many_to_one" => channel.many_to_one(4),
        "work_queue" => channel.work_queue(4),
        other => panic!("no kind {other}"),
    }
}

const IN_PLACE: [&str; 4] = ["buffered", "bounded", "many_to_one", "work_queue"];

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = common::options().open(&arguments[0]).unwrap();
    let ready = domain.channel("ready").basic(4).sender::<u64>().unwrap();
    match role.as_str() {
        // Takes one message after another, and never gives the one of this number back.
        "hold" => {
            let rx = channel(&domain, &arguments[1]).receiver::<u64>().unwrap();
            let last: u64 = arguments[2].parse().unwrap();
            loop {
                let message = rx.recv_ref().unwrap();
                ready.send(*message).unwrap();
                if *message == last {
                    loop {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            }
        }
        other => panic!("no role {other}"),
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn what_a_killed_receiver_had_in_hand_comes_to_its_successor() {
    let _watchdog = watchdog("in hand", 120);
    for kind in IN_PLACE {
        let name = name("in-hand");
        let domain = common::options().open(&name).unwrap();
        let ready = domain.channel("ready").basic(4).receiver::<u64>().unwrap();
        let tx = channel(&domain, kind).sender::<u64>().unwrap();
        let child = start("hold", &[&name, kind, "2"]);
        (0..4).for_each(|n| tx.send(n).unwrap());
        (0..3).for_each(|n| assert_eq!(ready.recv().unwrap(), n));
        kill(child);
        // The sender may go on as far as there is room; then it is told who is missing.
        let mut sent = 4;
        let why = loop {
            match tx.send_timeout(sent, Duration::from_millis(30)) {
                Ok(()) => sent += 1,
                Err(error) => break error.why,
            }
        };
        assert!(matches!(why, SendFailure::PeerAbsent), "{kind}: {why}");
        let why = tx.try_send(sent).unwrap_err().why;
        assert!(matches!(why, SendFailure::PeerAbsent), "{kind}: {why}");
        let rx = channel(&domain, kind).receiver::<u64>().unwrap();
        for n in 2..sent {
            let message = rx.recv_ref().unwrap();
            assert_eq!((*message, message.redelivered()), (n, n == 2), "{kind}");
        }
        // And on it goes, as if nobody had died.
        tx.send(sent).unwrap();
        assert_eq!(rx.recv().unwrap(), sent);
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    }
}

#[test]
fn both_sides_agree_on_the_continuation() {
    let domain = Domain::create().unwrap();
    let _tx = domain.channel("c").buffered(1).continuation(WAITS).sender::<u64>().unwrap();
    let other = domain.channel("c").continuation(Continuation::Disconnect).receiver::<u64>();
    let why = other.err().unwrap();
    assert!(matches!(why, AttachError::Mismatch { what: "the continuations differ", .. }), "{why}");
    assert!(why.to_string().contains("on a death: wait for successor"), "{why}");
    // Who says nothing takes it as it is.
    domain.receiver::<u64>("c").unwrap();
}

#[test]
fn where_nobody_can_succeed_it_is_refused() {
    let domain = Domain::create().unwrap();
    let refused = |why: AttachError| assert!(matches!(why, AttachError::Impossible { .. }), "{why}");
    let channel = |name| domain.channel(name).continuation(WAITS);
    refused(channel("").unnamed::<u64>().err().unwrap());
    refused(channel("all").broadcast(4).sender::<u64>().err().unwrap());
    refused(channel("latest").latest().receiver::<u64>().err().unwrap());
    let files = channel("files").method(staffetta::Method::Capability);
    refused(files.sender::<staffetta::Parcel<u64>>().err().unwrap());
    let returns = domain.channel("s").continuation(Continuation::ReturnToSender).service(1);
    refused(returns.server::<u64, u64>().err().unwrap());
}
