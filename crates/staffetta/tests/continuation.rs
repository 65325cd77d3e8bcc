//! A receiver is killed with a message in hand: its partner waits, and the next process that comes gets the message again before
//! newer ones, and is told so. For each kind of channel, between real processes.

mod common;

use std::process::Child;
use std::time::Duration;

use common::{kill, listen, name, role, start, watchdog};
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
    let ready = domain.channel("ready").many_to_one(8).sender::<u64>().unwrap();
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
        // Takes parcels, and keeps all but those that it acknowledges.
        "hoard" => {
            let rx = channel(&domain, &arguments[1]).receiver::<Parcel<u64>>().unwrap();
            let mut kept = Vec::new();
            loop {
                let mut parcel = rx.recv().unwrap();
                let n = *parcel;
                if n == 2 {
                    parcel.acknowledge();
                }
                kept.push(parcel);
                ready.send(n).unwrap();
            }
        }
        // Works on jobs of a queue, in place or as parcels, and dies when it is told to.
        "work" => {
            let done = domain.sender::<(u64, bool)>("done").unwrap();
            if arguments[1] == "values" {
                let rx = domain.receiver::<u64>("jobs").unwrap();
                loop {
                    let job = rx.recv_ref().unwrap();
                    done.send((*job, job.redelivered())).unwrap();
                }
            }
            let rx = domain.receiver::<Parcel<u64>>("jobs").unwrap();
            loop {
                let job = rx.recv().unwrap();
                done.send((*job, job.redelivered())).unwrap();
            }
        }
        // Only there, as another one who sweeps.
        "witness" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
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

#[test]
fn what_a_killed_receiver_had_in_hand_comes_to_its_successor() {
    let _watchdog = watchdog("in hand", 120);
    for kind in IN_PLACE {
        let name = name("in-hand");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
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
        let ready = listen(&domain);
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
        // The next one gets them, and what waits, and is killed as well; one of them it had acknowledged.
        let child = start("hoard", &[&name, kind]);
        let heard = || loop {
            if let Ok(n) = ready.recv() {
                return n;
            }
        };
        let all = || [0, 2, 4, 6, 7].into_iter().chain(8..sent);
        all().for_each(|n| assert_eq!(heard(), n, "{kind}"));
        kill(child);
        let rx = channel(&domain, kind).receiver::<Parcel<u64>>().unwrap();
        for n in all().filter(|n| *n != 2) {
            let parcel = rx.recv().unwrap();
            assert_eq!((*parcel, parcel.redelivered()), (n, true), "{kind}");
        }
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{kind}");
        assert_eq!(rx.lost(), 0, "{kind}");
        drop((tx, rx));
        common::comes_back_to(&domain, before, kind);
    }
}

#[test]
fn a_parcel_that_the_dead_one_had_begun_to_change_is_torn() {
    let _watchdog = watchdog("torn parcels", 120);
    for kind in ALL {
        let name = name("torn");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
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
    let ready = listen(&domain);
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
    common::comes_back_to(&domain, before, "counted");
}

/// Killed at random moments while parcels go through its hands: each comes out, forwarded once at most, or is redelivered.
#[test]
fn whatever_goes_through_the_hands_of_processes_that_are_killed_comes_out() {
    let _watchdog = watchdog("forwarders", 300);
    let mut random = common::Random::new("forwarders");
    for kind in ALL {
        let name = name("forward");
        let domain = common::options().open(&name).unwrap();
        let _ready = listen(&domain);
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
        let mut witness = start("witness", &[&name]);
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
                // Whoever puts in order what it left is killed at that, every second time.
                if kills % 2 == 0 {
                    std::thread::sleep(Duration::from_micros(random.below(400)));
                    kill(witness);
                    witness = start("witness", &[&name]);
                }
                child = Some(start("forward", &[&name, kind]));
            }
        }
        assert!(came.iter().copied().eq(0..MESSAGES), "{kind}: lost, doubled or out of order");
        kill(child.unwrap());
        kill(witness);
        drop((sending.join().unwrap(), out));
        let left = domain.channel("forwarded").receiver::<Parcel<u64>>().unwrap();
        assert!(left.try_recv().is_err());
        drop(left);
        common::comes_back_to(&domain, before, kind);
        eprintln!("{kind}: {kills} kills");
    }
}

/// Of the jobs of a queue each is done; those of killed workers again, by others, who are told.
#[test]
fn of_a_queue_the_other_workers_get_what_a_killed_one_had() {
    let _watchdog = watchdog("workers", 300);
    let mut random = common::Random::new("workers");
    for what in ["values", "parcels"] {
        let name = name("workers");
        let domain = common::options().open(&name).unwrap();
        let _ready = listen(&domain);
        let done = domain.channel("done").many_to_one(8).receiver::<(u64, bool)>().unwrap();
        let jobs = domain.channel("jobs").work_queue(8).continuation(WAITS);
        let (values, parcels);
        if what == "values" {
            (values, parcels) = (Some(jobs.sender::<u64>().unwrap()), None);
        } else {
            (values, parcels) = (None, Some(jobs.sender::<Parcel<u64>>().unwrap()));
        }
        const JOBS: u64 = 2_000;
        let sender_domain = domain.clone();
        let sending = std::thread::spawn(move || {
            for n in 0..JOBS {
                if let Some(jobs) = &values {
                    jobs.send(n).unwrap();
                }
                if let Some(jobs) = &parcels {
                    jobs.send(Parcel::new(&sender_domain, n).unwrap()).unwrap();
                }
            }
            (values, parcels)
        });
        let mut workers: Vec<Child> = (0..3).map(|_| start("work", &[&name, what])).collect();
        let mut times = vec![(0, 0); JOBS as usize];
        let (mut left, mut kills, mut until_kill) = (JOBS, 0, 100);
        while left > 0 {
            let (n, redelivered) = match done.recv_timeout(Duration::from_secs(20)) {
                Ok(said) => said,
                Err(RecvError::PeerDied | RecvError::Disconnected) => continue,
                Err(why) => panic!("{what}: {why}: {left} jobs are left after {kills} kills"),
            };
            let (fresh, again) = &mut times[n as usize];
            left -= u64::from(*fresh + *again == 0);
            *(if redelivered { again } else { fresh }) += 1;
            until_kill -= 1;
            if until_kill == 0 && left > 0 {
                let i = random.below(3) as usize;
                kill(std::mem::replace(&mut workers[i], start("work", &[&name, what])));
                (kills, until_kill) = (kills + 1, 1 + random.below(150));
            }
        }
        assert!(times.iter().all(|(fresh, _)| *fresh <= 1), "{what}: one came twice and was not flagged");
        let again: u64 = times.iter().map(|(_, again)| again).sum();
        assert!(again <= kills, "{what}: {again} came again, of {kills} workers that died");
        eprintln!("{what}: {kills} kills, {again} jobs came again");
        workers.into_iter().for_each(kill);
        drop(sending.join().unwrap());
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
