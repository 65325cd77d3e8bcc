//! A receiver is killed with a message in hand: its partner waits, and the next process that comes gets the message again before
//! newer ones, and is told so. For each kind of channel, between real processes.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use common::{name, role, start, watchdog};
use staffetta::{AttachError, ChannelBuilder, Continuation, Domain, Parcel, RecvError, SendFailure};

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
        // Takes parcels and keeps some of them: gives those back of which the number is odd, but for the last.
        "keep" | "keep-default" => {
            let rx = if role == "keep" {
                channel(&domain, &arguments[1]).receiver::<Parcel<u64>>().unwrap()
            } else {
                domain.receiver::<Parcel<u64>>("channel").unwrap()
            };
            let last: u64 = arguments[2].parse().unwrap();
            let mut kept = Vec::new();
            loop {
                let parcel = rx.recv().unwrap();
                let n = *parcel;
                if n % 2 == 0 || n == last {
                    kept.push(parcel);
                } else {
                    drop(parcel);
                }
                ready.send(n).unwrap();
                if n == last {
                    // One of them it is about to change.
                    if arguments[3] == "change" {
                        *kept[0] += 0;
                        ready.send(n + 1).unwrap();
                    }
                    loop {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            }
        }
        // Receives from one channel, and forwards to another, until it is killed.
        "forward" => {
            let rx = channel(&domain, &arguments[1]).receiver::<Parcel<u64>>().unwrap();
            let tx = domain.sender::<Parcel<u64>>("forwarded").unwrap();
            loop {
                let parcel = rx.recv().unwrap();
                tx.send(parcel).unwrap();
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

const ALL: [&str; 6] = ["rendezvous", "basic", "buffered", "bounded", "many_to_one", "work_queue"];

#[test]
fn parcels_that_a_killed_receiver_had_not_released_come_to_its_successor_in_order() {
    let _watchdog = watchdog("parcels", 120);
    for kind in ALL {
        let name = name("parcels");
        let domain = common::options().open(&name).unwrap();
        let ready = domain.channel("ready").basic(4).receiver::<u64>().unwrap();
        let tx = channel(&domain, kind).sender::<Parcel<u64>>().unwrap();
        let before = common::in_use(&domain);
        let child = start("keep", &[&name, kind, "7", ""]);
        let send = |n| tx.send_timeout(Parcel::new(&domain, n).unwrap(), Duration::from_millis(30));
        (0..8).for_each(|n| {
            tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
            assert_eq!(ready.recv().unwrap(), n);
        });
        kill(child);
        let mut sent = 8;
        let why = loop {
            match send(sent) {
                Ok(()) => sent += 1,
                Err(error) => break error.why,
            }
        };
        assert!(matches!(why, SendFailure::PeerAbsent), "{kind}: {why}");
        let rx = channel(&domain, kind).receiver::<Parcel<u64>>().unwrap();
        for n in [0, 2, 4, 6, 7] {
            let parcel = rx.recv().unwrap();
            assert_eq!((*parcel, parcel.redelivered()), (n, true), "{kind}");
        }
        for n in 8..sent {
            let parcel = rx.recv().unwrap();
            assert_eq!((*parcel, parcel.redelivered()), (n, false), "{kind}");
        }
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{kind}");
        assert_eq!(rx.lost(), 0, "{kind}");
        drop((tx, rx));
        assert_eq!(common::in_use(&domain), before, "{kind}: something leaked");
    }
}

#[test]
fn a_parcel_that_the_dead_one_had_begun_to_change_is_torn() {
    let _watchdog = watchdog("torn parcels", 120);
    for kind in ALL {
        let name = name("torn");
        let domain = common::options().open(&name).unwrap();
        let ready = domain.channel("ready").basic(4).receiver::<u64>().unwrap();
        let tx = channel(&domain, kind).sender::<Parcel<u64>>().unwrap();
        let child = start("keep", &[&name, kind, "2", "change"]);
        (0..3).for_each(|n| {
            tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
            assert_eq!(ready.recv().unwrap(), n);
        });
        assert_eq!(ready.recv().unwrap(), 3);
        kill(child);
        let rx = channel(&domain, kind).receiver::<Parcel<u64>>().unwrap();
        assert!(matches!(rx.recv(), Err(RecvError::Torn { .. })), "{kind}");
        let parcel = rx.recv().unwrap();
        assert_eq!((*parcel, parcel.redelivered(), rx.lost()), (2, true, 1), "{kind}");
    }
}

#[test]
fn by_default_they_are_freed_and_counted() {
    let _watchdog = watchdog("counted", 120);
    let name = name("counted");
    let domain = common::options().open(&name).unwrap();
    let ready = domain.channel("ready").basic(4).receiver::<u64>().unwrap();
    let channel = domain.channel("channel").buffered(4).continuation(Continuation::Disconnect);
    let tx = channel.sender::<Parcel<u64>>().unwrap();
    let before = common::in_use(&domain);
    let child = start("keep-default", &[&name, "", "7", ""]);
    (0..8).for_each(|n| {
        tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
        assert_eq!(ready.recv().unwrap(), n);
    });
    kill(child);
    common::until(|| tx.lost() == 5);
    let rx = domain.receiver::<Parcel<u64>>("channel").unwrap();
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    drop((tx, rx));
    assert_eq!(common::in_use(&domain), before);
}

/// Killed at random moments while parcels go through its hands: each comes out, forwarded once at most, or is redelivered.
#[test]
fn whatever_goes_through_the_hands_of_processes_that_are_killed_comes_out() {
    let _watchdog = watchdog("forwarders", 300);
    let mut random = common::Random::new("forwarders");
    for kind in ALL {
        let name = name("forward");
        let domain = common::options().open(&name).unwrap();
        let _ready = domain.channel("ready").basic(4).receiver::<u64>().unwrap();
        let tx = channel(&domain, kind).sender::<Parcel<u64>>().unwrap();
        let out = domain.channel("forwarded").buffered(64).receiver::<Parcel<u64>>().unwrap();
        let before = common::in_use(&domain);
        let (sender, sender_domain) = (tx, domain.clone());
        const MESSAGES: u64 = 3_000;
        let sending = std::thread::spawn(move || {
            for n in 0..MESSAGES {
                sender.send(Parcel::new(&sender_domain, n).unwrap()).unwrap();
            }
            sender
        });
        let mut child = Some(start("forward", &[&name, kind]));
        let mut came = Vec::new();
        let mut kills = 0;
        while came.len() < MESSAGES as usize {
            let next_kill = came.len() + 1 + random.below(200) as usize;
            while came.len() < next_kill.min(MESSAGES as usize) {
                match out.recv_timeout(Duration::from_secs(20)) {
                    Ok(parcel) => came.push(*parcel),
                    Err(RecvError::PeerDied | RecvError::Disconnected) => {} // its successor may be there already
                    Err(why) => panic!("{kind}: {why} after {} messages and {kills} kills", came.len()),
                }
            }
            if came.len() < MESSAGES as usize {
                kill(child.take().unwrap());
                kills += 1;
                child = Some(start("forward", &[&name, kind]));
            }
        }
        assert!(came.iter().copied().eq(0..MESSAGES), "{kind}: lost, doubled or out of order");
        kill(child.unwrap());
        drop((sending.join().unwrap(), out));
        let left = domain.channel("forwarded").receiver::<Parcel<u64>>().unwrap();
        assert!(left.try_recv().is_err());
        drop(left);
        common::until(|| common::in_use(&domain) == before);
        eprintln!("{kind}: {kills} kills");
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
