//! Channels with many ends: exactly once, in order, exactly K that wait; who dies or stops, and where.
#![allow(unsafe_code)]

mod common;

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use common::{finish, name, role, start, until, watchdog, Random};
use staffetta::{
    AttachError, Domain, Kind, Method, Overflow, Parcel, Receiver, RecvError, SendFailure, Sender, Wait,
};

const CHANNEL: &str = "jobs";
/// Who sent it, and its number there.
type Job = [u64; 2];
/// A consumer has attached its end; it has had everything.
const HERE: Job = [u64::MAX, 0];
const DONE: Job = [u64::MAX, 1];

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let wait = Wait::ALL.into_iter().find(|w| w.to_string() == arguments[1]).unwrap();
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let number = |i: usize| arguments[i].parse::<u64>().unwrap();
    let forever = || std::thread::sleep(Duration::from_secs(600));
    let reports = || domain.channel("reports").many_to_one(64).sender::<Job>().unwrap();
    match role.as_str() {
        // Sends numbers as `who`.
        "produce" => {
            let tx = domain.sender::<Job>(CHANNEL).unwrap();
            (0..number(3)).for_each(|n| tx.send([number(2), n]).unwrap());
        }
        // The same, built in place.
        "build" => {
            let tx = domain.sender::<Job>(CHANNEL).unwrap();
            for n in 0..number(3) {
                let mut slot = tx.reserve().unwrap().zeroed();
                *slot = [number(2), n];
                slot.send().unwrap();
            }
        }
        // Reports whatever it gets, until the senders are gone.
        "consume" => {
            let reports = reports();
            let rx = domain.receiver::<Job>(CHANNEL).unwrap();
            reports.send(HERE).unwrap();
            while let Ok(job) = rx.recv() {
                reports.send(job).unwrap();
            }
            reports.send(DONE).unwrap();
        }
        "work in place" => {
            let reports = reports();
            let rx = domain.receiver::<Job>(CHANNEL).unwrap();
            reports.send(HERE).unwrap();
            while let Ok(job) = rx.recv_ref() {
                reports.send(*job).unwrap();
            }
            reports.send(DONE).unwrap();
        }
        // Takes one in hand, changes it or not, says so, and stays like that.
        "hold" => {
            let reports = reports();
            let rx = domain.receiver::<Job>(CHANNEL).unwrap();
            let mut job = rx.recv_ref().unwrap();
            if number(2) != 0 {
                job[1] += 1000;
            }
            reports.send(*job).unwrap();
            forever();
        }
        "wait" => {
            let reports = reports();
            let rx = domain.receiver::<Job>(CHANNEL).unwrap();
            reports.send([0, 0]).unwrap();
            reports.send(rx.recv().unwrap()).unwrap();
            forever();
        }
        // Sends one, reserves a slot, says so, and stays like that.
        "reserve" => {
            let reports = reports();
            let tx = domain.sender::<Job>(CHANNEL).unwrap();
            tx.send([number(2), 0]).unwrap();
            let _slot = tx.reserve().unwrap().zeroed();
            reports.send([number(2), 1]).unwrap();
            forever();
        }
        "parcels" => {
            let tx = domain.sender::<Parcel<Job>>(CHANNEL).unwrap();
            for n in 0..number(3) {
                tx.send(Parcel::new(&domain, [number(2), n]).unwrap()).unwrap();
            }
        }
        // Sends a capability, says so, and stays like that.
        "send a capability" => {
            let reports = reports();
            let domain = common::options().open(&arguments[2]).unwrap();
            let channel = domain.channel(CHANNEL).bounded(8).method(Method::Capability);
            let tx = channel.sender::<Parcel<Job>>().unwrap();
            tx.send(domain.parcels(Method::Capability).new([4, 2]).unwrap()).unwrap();
            reports.send(HERE).unwrap();
            forever();
        }
        "receive parcels" => {
            let reports = reports();
            let rx = domain.receiver::<Parcel<Job>>(CHANNEL).unwrap();
            reports.send(HERE).unwrap();
            while let Ok(job) = rx.recv() {
                reports.send(*job).unwrap();
            }
            reports.send(DONE).unwrap();
        }
        other => panic!("no role {other}"),
    }
}

/// A domain, its name, and the receiver of what the others report.
fn domain_of(test: &str) -> (Domain, String, Receiver<Job>) {
    let name = name(test);
    let domain = common::options().open(&name).unwrap();
    let reports = domain.channel("reports").many_to_one(64).receiver::<Job>().unwrap();
    (domain, name, reports)
}

/// Waits for consumers to attach: one that comes after the last sender has left waits for another.
fn await_consumers(reports: &Receiver<Job>, consumers: usize) {
    (0..consumers).for_each(|_| assert_eq!(reports.recv().unwrap(), HERE));
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Collects reports until `consumers` said that they are done: how often each job came.
fn collect(reports: &Receiver<Job>, consumers: usize) -> BTreeMap<Job, u64> {
    let mut jobs = BTreeMap::new();
    let mut done = 0;
    while done < consumers {
        match reports.recv().unwrap() {
            DONE => done += 1,
            HERE => {}
            job => *jobs.entry(job).or_insert(0) += 1,
        }
    }
    jobs
}

fn assert_exactly_once(jobs: &BTreeMap<Job, u64>, senders: u64, each: u64) {
    for who in 0..senders {
        for n in 0..each {
            assert_eq!(jobs.get(&[who, n]), Some(&1), "message {n} of sender {who}");
        }
    }
    assert_eq!(jobs.len() as u64, senders * each);
}

/// N processes send, M receive: every message comes once, whatever the waiting.
#[test]
fn every_message_comes_exactly_once() {
    let _watchdog = watchdog("exactly once", 60);
    const EACH: u64 = 2_000;
    let cases = [
        (Wait::Park, 1, 3, 1, ["produce", "consume"]),
        (Wait::Park, 3, 3, 4, ["build", "work in place"]),
        (Wait::SpinThenPark, 3, 1, 64, ["produce", "consume"]),
        (Wait::SpinThenPark, 2, 2, 2, ["build", "consume"]),
        (Wait::Spin, 2, 2, 7, ["produce", "work in place"]),
    ];
    for (wait, senders, receivers, degree, [sends, receives]) in cases {
        let (domain, name, reports) = domain_of("once");
        // Holds the channel's form, and keeps the receivers waiting until the first sender is there.
        let tx = domain.channel(CHANNEL).bounded(degree).sender::<Job>().unwrap();
        let wait = wait.to_string();
        let consumers: Vec<_> = (0..receivers).map(|_| start(receives, &[name.as_str(), &wait])).collect();
        await_consumers(&reports, receivers);
        let producers: Vec<_> = (0..senders)
            .map(|who: u64| start(sends, &[name.as_str(), &wait, &who.to_string(), &EACH.to_string()]))
            .collect();
        // Until all consumers are done the reports have to be read.
        std::thread::scope(|scope| {
            let jobs = scope.spawn(move || collect(&reports, receivers));
            producers.into_iter().for_each(finish);
            until(|| tx.is_empty());
            drop(tx);
            assert_exactly_once(&jobs.join().unwrap(), senders, EACH);
        });
        consumers.into_iter().for_each(finish);
    }
}

/// Messages of one sender arrive in the order in which it sent them, for every reference method.
#[test]
fn each_senders_order_is_kept() {
    let _watchdog = watchdog("order", 60);
    for method in Method::ALL {
        let (domain, name, _reports) = domain_of("order");
        let rx =
            domain.channel(CHANNEL).many_to_one(3).method(method).wait(Wait::Park).receiver::<Job>().unwrap();
        let (wait, each) = (Wait::Park.to_string(), 3_000_u64);
        let producers: Vec<_> = (0..3_u64)
            .map(|who| start("produce", &[name.as_str(), &wait, &who.to_string(), &each.to_string()]))
            .collect();
        let mut next = [0; 3];
        for _ in 0..3 * each {
            // A sender that is done leaves; that is said when nobody is left and nothing waits.
            let [who, n] = loop {
                match rx.recv() {
                    Err(RecvError::Disconnected) => continue,
                    job => break job.unwrap(),
                }
            };
            assert_eq!(n, next[who as usize], "sender {who}");
            next[who as usize] += 1;
        }
        producers.into_iter().for_each(finish);
    }
}

fn pair(domain: &Domain, degree: u64) -> (Sender<u64>, Receiver<u64>) {
    domain.channel("").bounded(degree).unnamed().unwrap()
}

#[test]
fn k_messages_wait_in_all_and_the_next_blocks_whatever_is_in_hand() {
    let domain = Domain::create().unwrap();
    for k in [1, 2, 3, 7, 64] {
        let (tx, rx) = pair(&domain, k);
        let (other_tx, other_rx) = (tx.try_clone().unwrap(), rx.try_clone().unwrap());
        let full = || {
            for tx in [&tx, &other_tx] {
                let refused = tx.try_send(99).unwrap_err();
                assert!(
                    matches!((refused.message, refused.why), (99, SendFailure::WouldBlock)),
                    "degree {k}"
                );
                assert!(matches!(tx.try_reserve(), Err(SendFailure::WouldBlock)), "degree {k}");
                let late = tx.send_timeout(99, Duration::from_millis(1)).unwrap_err();
                assert!(matches!((late.message, late.why), (99, SendFailure::TimedOut)), "degree {k}");
            }
        };
        for n in 0..k {
            [&tx, &other_tx][n as usize % 2].try_send(n).unwrap();
        }
        assert_eq!((tx.len(), rx.len()), (k, k));
        full();
        let (first, second) = (rx.try_recv_ref().unwrap(), other_rx.try_recv_ref());
        assert_eq!((*first, first.seq()), (0, 0));
        tx.try_send(k).unwrap();
        if let Ok(second) = &second {
            assert_eq!(**second, 1);
            other_tx.try_send(k + 1).unwrap();
        }
        full();
        drop((first, second));
        full(); // what was in hand did not wait
        let rest = rx.try_iter().count() as u64;
        assert_eq!(rest, k);
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    }
}

#[test]
fn a_degree_per_sender_is_each_senders_own() {
    let domain = Domain::create().unwrap();
    for k in [1, 2, 5] {
        let (tx, rx) = domain.channel("").many_to_one(k).unnamed::<u64>().unwrap();
        let other = tx.try_clone().unwrap();
        for round in 0..20 {
            for sender in [&tx, &other] {
                (0..k).for_each(|n| sender.try_send(n).unwrap());
                assert!(matches!(sender.try_send(9).unwrap_err().why, SendFailure::WouldBlock), "{round}");
            }
            assert_eq!(rx.recv().unwrap(), 0);
            tx.try_send(k).unwrap();
            assert!(matches!(other.try_send(9).unwrap_err().why, SendFailure::WouldBlock), "{round}");
            assert_eq!(rx.try_iter().count() as u64, 2 * k);
        }
        assert!(matches!(rx.try_clone(), Err(AttachError::EndsTaken { side: "receiver", many: 1, .. })));
    }
}

#[test]
fn overflow_drops_what_was_declared_and_counts_it() {
    let domain = Domain::create().unwrap();
    for form in ["buffered", "bounded", "work queue", "many to one"] {
        let make = |overflow| {
            let channel = domain.channel("");
            let channel = match form {
                "buffered" => channel.buffered(3),
                "bounded" => channel.bounded(3),
                "work queue" => channel.work_queue(3),
                _ => channel.many_to_one(3).senders(1),
            };
            channel.overflow(overflow).unnamed::<u64>().unwrap()
        };
        let (tx, rx) = make(Overflow::DropOldest);
        (0..10).for_each(|n| tx.send(n).unwrap());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [7, 8, 9], "{form}");
        assert_eq!((tx.counters().messages, tx.counters().dropped), (10, 7), "{form}");
        // In hand is out of reach.
        (10..13).for_each(|n| tx.send(n).unwrap());
        let held = rx.recv_ref().unwrap();
        (13..20).for_each(|n| tx.send(n).unwrap());
        assert_eq!((*held, held.seq()), (10, 10), "{form}");
        drop(held);
        let next = rx.recv_ref().unwrap();
        assert_eq!((*next, next.seq()), (17, 17), "{form}: the gap is what was dropped");
        drop(next);

        let (tx, rx) = make(Overflow::DropNewest);
        (0..10).for_each(|n| tx.send(n).unwrap());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [0, 1, 2], "{form}");
        assert_eq!((tx.counters().messages, tx.counters().dropped), (3, 7), "{form}");
        let mut slot = tx.reserve().unwrap().zeroed();
        *slot = 11;
        slot.send().unwrap();
        assert_eq!(rx.recv().unwrap(), 11, "{form}");
    }
}

#[test]
fn dropped_parcels_are_given_back() {
    let domain = Domain::create().unwrap();
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (tx, rx) = domain.channel("").bounded(2).overflow(overflow).unnamed::<Parcel<[u8]>>().unwrap();
        let parcel = || Parcel::<[u8]>::with_tail(&domain, 4096).unwrap();
        tx.send(parcel()).unwrap();
        drop(rx.recv().unwrap());
        let before = domain.memory().unwrap().1;
        for _ in 0..200 {
            tx.send(parcel()).unwrap();
        }
        assert_eq!(rx.try_iter().count(), 2);
        assert_eq!(tx.counters().dropped, 198);
        let kept = domain.memory().unwrap().1 - before;
        assert!(kept < 40 * 4200, "{kept} bytes are still in use");
    }
    let (tx, rx) = domain.channel("").bounded(1).unnamed::<Parcel<[u8]>>().unwrap();
    for n in 0..100_u8 {
        let mut parcel = Parcel::<[u8]>::with_tail(&domain, 1000).unwrap();
        parcel[0] = n;
        let out = tx.force_send(parcel).unwrap();
        assert_eq!(out.map(|parcel| parcel[0]), n.checked_sub(1));
    }
    assert_eq!(rx.recv().unwrap()[0], 99);
}

#[test]
fn what_cannot_be_is_said() {
    let domain = Domain::create().unwrap();
    let refused = |result: Result<Sender<u64>, AttachError>| result.err().map(|e| e.to_string()).unwrap();
    assert!(refused(domain.channel("a").bounded(0).sender()).contains("use rendezvous()"));
    assert!(refused(domain.channel("a").bounded((1 << 20) + 1).sender()).contains("1048576"));
    assert!(refused(domain.channel("a").many_to_one(1 << 20).sender()).contains("64 senders"));
    assert!(refused(domain.channel("a").bounded(1).senders(0).sender()).contains("1 to 64"));
    assert!(refused(domain.channel("a").bounded(1).receivers(65).sender()).contains("1 to 64"));
    assert!(refused(domain.channel("a").rendezvous().senders(2).sender()).contains("say which"));
    assert!(refused(domain.channel("a").overflow(Overflow::DropOldest).sender()).contains("say which"));
    let huge = domain.channel("a").bounded(1 << 20).sender::<[u8; 1 << 20]>();
    assert!(matches!(huge, Err(AttachError::Allocate(_))), "a lane of a tebibyte");
    let tx = domain.channel("b").bounded(4).senders(2).receivers(1).sender::<u64>().unwrap();
    let _second = tx.try_clone().unwrap();
    assert!(refused(tx.try_clone()).contains("senders(n)"));
    assert!(refused(domain.channel("b").bounded(5).sender()).contains("degrees differ"));
    assert!(refused(domain.channel("b").work_queue(4).sender()).contains("forms differ"));
    assert!(refused(domain.channel("b").buffered(4).sender()).contains("kinds differ"));
    let (tx, _rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    assert!(matches!(tx.force_send(1).unwrap_err().why, SendFailure::CannotDisplace));
    assert!(matches!(tx.try_clone(), Err(AttachError::EndTaken { .. })));
    let _ = Kind::Queue;
}

#[test]
fn ends_that_leave_are_told_when_the_last_is_gone() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair(&domain, 4);
    let (tx2, rx2) = (tx.try_clone().unwrap(), rx.try_clone().unwrap());
    tx.send(1).unwrap();
    drop(tx);
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "one sender is left");
    tx2.send(2).unwrap();
    drop(tx2);
    assert_eq!(rx2.recv().unwrap(), 2);
    for rx in [&rx, &rx2] {
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "for ever: it has no name");
    }
    let (tx, rx) = pair(&domain, 1);
    drop(rx);
    assert!(matches!(tx.send(1).unwrap_err().why, SendFailure::Disconnected));
    // While it waits.
    let (tx, rx) = pair(&domain, 1);
    tx.send(1).unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(move || tx.send(2).unwrap_err().why);
        std::thread::sleep(Duration::from_millis(20));
        drop(rx);
        assert!(matches!(blocked.join().unwrap(), SendFailure::Disconnected));
    });
}

/// A receiver is killed with a message in hand: another gets it, or is told that it is torn; the others are not disturbed.
#[test]
fn what_a_dead_receiver_had_in_hand_comes_back() {
    let _watchdog = watchdog("in hand", 60);
    for changes in ["0", "1"] {
        let (domain, name, reports) = domain_of("hand");
        let tx = domain.channel(CHANNEL).work_queue(4).sender::<Job>().unwrap();
        let rx = domain.receiver::<Job>(CHANNEL).unwrap();
        tx.send([7, 0]).unwrap();
        let holder = start("hold", &[&name, "park", changes]);
        assert_eq!(reports.recv().unwrap()[0], 7);
        tx.send([7, 1]).unwrap();
        assert_eq!(rx.recv().unwrap(), [7, 1]);
        std::thread::scope(|scope| {
            let blocked = scope.spawn(move || (rx.recv(), rx));
            std::thread::sleep(Duration::from_millis(20));
            kill(holder);
            let (job, rx) = blocked.join().unwrap();
            match job {
                Ok(job) => assert_eq!((job, changes), ([7, 0], "0")),
                Err(RecvError::Torn { seq }) => assert_eq!((seq, changes), (0, "1")),
                Err(other) => panic!("{other}"),
            }
            tx.send([7, 2]).unwrap();
            assert_eq!(rx.recv().unwrap(), [7, 2]);
        });
    }
}

/// Whoever is stopped, wherever: the others go on.
#[test]
fn a_stopped_end_is_in_nobodys_way() {
    use rustix::process::Signal;
    let _watchdog = watchdog("stopped", 60);
    let (domain, name, reports) = domain_of("stopped");
    let tx = domain.channel(CHANNEL).bounded(2).sender::<Job>().unwrap();
    let rx = domain.receiver::<Job>(CHANNEL).unwrap();
    // A sender with a slot reserved, a receiver with a message in hand, and one that waits.
    let sender = start("reserve", &[&name, "park", "5"]);
    assert_eq!(reports.recv().unwrap(), [5, 1]);
    let holder = start("hold", &[&name, "park", "0"]);
    assert_eq!(reports.recv().unwrap(), [5, 0]);
    let waiter = start("wait", &[&name, "park"]);
    assert_eq!(reports.recv().unwrap(), [0, 0]);
    std::thread::sleep(Duration::from_millis(50));
    for child in [&sender, &holder, &waiter] {
        signal(child, Signal::STOP);
        let status = format!("/proc/{}/status", child.id());
        until(|| std::fs::read_to_string(&status).unwrap().contains("State:\tT"));
    }
    for n in 0..1000 {
        tx.send_timeout([1, n], Duration::from_secs(10)).unwrap();
        // The waiter is asleep, was woken, and does not run: this one is woken too.
        assert_eq!(rx.recv_timeout(Duration::from_secs(10)).unwrap(), [1, n]);
    }
    [sender, holder, waiter].into_iter().for_each(kill);
    assert_eq!(rx.recv_timeout(Duration::from_secs(10)).unwrap(), [5, 0], "it came back");
}

/// Senders and receivers are killed at any moment. What the survivors sent comes once; what the dead ones sent comes at
/// most once, a beginning of it, in order; nothing blocks.
#[test]
fn killed_at_any_moment() {
    let _watchdog = watchdog("killed", 60);
    let mut random = Random::new("killed");
    for round in 0..8 {
        let (domain, name, reports) = domain_of("killed");
        let tx = domain.channel(CHANNEL).bounded(1 + random.below(8)).sender::<Job>().unwrap();
        let rx = domain.receiver::<Job>(CHANNEL).unwrap();
        let wait = Wait::ALL[random.below(3) as usize].to_string();
        let doomed_senders: Vec<_> =
            (1..3_u64).map(|who| start("produce", &[&name, &wait, &who.to_string(), "1000000000"])).collect();
        let doomed_receivers: Vec<_> = (0..2).map(|_| start("hold", &[&name, &wait, "0"])).collect();
        let each = 5_000;
        std::thread::scope(|scope| {
            scope.spawn(move || (0..each).for_each(|n| tx.send([0, n]).unwrap()));
            let pauses = [0; 4].map(|_| random.below(60_000));
            let killer = scope.spawn(move || {
                let doomed = doomed_receivers.into_iter().chain(doomed_senders);
                for (child, pause) in doomed.zip(pauses) {
                    std::thread::sleep(Duration::from_micros(pause));
                    kill(child);
                }
            });
            let mut got = BTreeMap::<Job, u64>::new();
            let mut quiet = 0;
            while quiet < 3 {
                match rx.recv_timeout(Duration::from_millis(200)) {
                    Ok(job) => {
                        *got.entry(job).or_insert(0) += 1;
                        quiet = 0;
                    }
                    Err(RecvError::TimedOut) if killer.is_finished() => quiet += 1,
                    Err(RecvError::TimedOut | RecvError::PeerDied | RecvError::Disconnected) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            for n in 0..each {
                assert_eq!(got.get(&[0, n]), Some(&1), "round {round}: {n} of the survivor");
            }
            for who in 1..3 {
                let numbers: Vec<_> = got.keys().filter(|job| job[0] == who).map(|job| job[1]).collect();
                let all = numbers.iter().copied().eq(0..numbers.len() as u64);
                assert!(all, "round {round}: a gap in what {who} sent");
            }
            assert!(got.values().all(|&times| times == 1), "round {round}");
        });
        drop(reports);
    }
}

/// Parcels over a queue: each arrives once, and all memory comes back, also of those whose receiver was killed.
#[test]
fn parcels_arrive_once_and_their_memory_comes_back() {
    let _watchdog = watchdog("parcels", 60);
    let mut random = Random::new("parcels");
    for method in [Method::Coinciding, Method::Distinct] {
        let (domain, name, reports) = domain_of("parcels");
        let tx = domain.channel(CHANNEL).bounded(8).method(method).sender::<Parcel<Job>>().unwrap();
        let rx = domain.receiver::<Parcel<Job>>(CHANNEL).unwrap();
        let producers: Vec<_> =
            (0..2_u64).map(|who| start("parcels", &[&name, "park", &who.to_string(), "2000"])).collect();
        let mut got = BTreeMap::<Job, u64>::new();
        let consumer = start("receive parcels", &[&name, "park"]);
        await_consumers(&reports, 1);
        let doomed = start("receive parcels", &[&name, "park"]);
        let pause = random.below(60);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(pause));
            kill(doomed);
        });
        let collector = std::thread::spawn(move || collect(&reports, 1));
        let mut producers = producers;
        while producers.iter_mut().any(|producer| producer.try_wait().unwrap().is_none()) {
            if let Ok(job) = rx.recv_timeout(Duration::from_millis(1)) {
                *got.entry(*job).or_insert(0) += 1;
            }
        }
        producers.into_iter().for_each(finish);
        killer.join().unwrap();
        drop(tx);
        while let Ok(job) = rx.recv() {
            *got.entry(*job).or_insert(0) += 1;
        }
        for (job, times) in collector.join().unwrap() {
            *got.entry(job).or_insert(0) += times;
        }
        assert!(got.values().all(|&times| times == 1), "twice");
        // What the killed one had received and not reported is with it: it received it.
        assert!(got.len() <= 4000 && got.len() > 1000, "{} of 4000", got.len());
        finish(consumer);
        drop(rx);
    }
}

/// Capabilities over a queue: whoever takes one asks for its descriptor.
#[test]
fn capabilities_find_whoever_takes_them() {
    let _watchdog = watchdog("capabilities", 60);
    let (domain, name, reports) = domain_of("capabilities");
    let tx = domain.channel(CHANNEL).bounded(8).method(Method::Capability).sender::<Parcel<Job>>().unwrap();
    let rx = domain.receiver::<Parcel<Job>>(CHANNEL).unwrap();
    let consumers = [0; 2].map(|_| start("receive parcels", &[&name, "park"]));
    await_consumers(&reports, 2);
    let collector = std::thread::spawn(move || collect(&reports, 2));
    let capabilities = domain.parcels(Method::Capability);
    for n in 0..200 {
        tx.send(capabilities.new([1, n]).unwrap()).unwrap();
    }
    drop(tx);
    let mut got = BTreeMap::<Job, u64>::new();
    while let Ok(job) = rx.recv() {
        *got.entry(*job).or_insert(0) += 1;
    }
    for (job, times) in collector.join().unwrap() {
        *got.entry(job).or_insert(0) += times;
    }
    assert_eq!(got.len(), 200);
    assert!(got.values().all(|&times| times == 1));
    consumers.into_iter().for_each(finish);
}

#[test]
fn a_batch_ends_where_the_sender_left() {
    let domain = Domain::create().unwrap();
    for form in ["buffered", "bounded", "basic"] {
        let channel = domain.channel("");
        let channel = match form {
            "buffered" => channel.buffered(8),
            "bounded" => channel.bounded(8),
            _ => channel.basic(8),
        };
        let (tx, rx) = channel.unnamed::<u64>().unwrap();
        assert_eq!(tx.send_many(0..5).unwrap(), 5);
        drop(tx);
        let mut batch = Vec::new();
        assert_eq!(rx.recv_many(&mut batch, 0).unwrap(), 0);
        assert_eq!(rx.recv_many(&mut batch, 2).unwrap(), 2);
        assert_eq!(rx.recv_many(&mut batch, 9).unwrap(), 3, "{form}");
        assert_eq!(batch, [0, 1, 2, 3, 4], "{form}");
        assert!(matches!(rx.recv_many(&mut batch, 9), Err(RecvError::Disconnected)), "{form}");
    }
}

/// A capability whose descriptor does not come, since its sender is stopped, goes back with the end that took it.
#[test]
fn a_capability_that_is_owed_is_the_next_receivers() {
    use rustix::process::Signal;
    let _watchdog = watchdog("owed", 60);
    let (_domain, reports_name, reports) = domain_of("owed");
    let name = name("owed");
    let sender = start("send a capability", &[&reports_name, "park", &name]);
    await_consumers(&reports, 1);
    // Nobody else was a member when it was sent, so nobody else has its descriptor.
    let domain = common::options().open(&name).unwrap();
    let rx = domain.receiver::<Parcel<Job>>(CHANNEL).unwrap();
    let next = rx.try_clone().unwrap();
    signal(&sender, Signal::STOP);
    let status = format!("/proc/{}/status", sender.id());
    until(|| std::fs::read_to_string(&status).unwrap().contains("State:\tT"));
    for _ in 0..2 {
        let late = rx.recv_timeout(Duration::from_millis(10));
        assert!(matches!(late, Err(RecvError::TimedOut)), "{:?}", late.err());
    }
    let occupied = domain.memory().unwrap().1;
    drop(rx);
    assert_eq!(domain.memory().unwrap().1, occupied, "it was given up, and comes all the same");
    signal(&sender, Signal::CONT);
    assert_eq!(*next.recv().unwrap(), [4, 2]);
    assert!(next.is_empty());
    kill(sender);
}

/// A message that every receiver dies of is dropped in the end, and counted.
#[test]
fn a_message_that_receivers_die_of_is_dropped() {
    let _watchdog = watchdog("dies of it", 60);
    let (domain, name, reports) = domain_of("poison");
    let tx = domain.channel(CHANNEL).work_queue(1).sender::<Job>().unwrap();
    tx.send([6, 6]).unwrap();
    for _ in 0..64 {
        let holder = start("hold", &[&name, "park", "0"]);
        // That the one before has died is said, too.
        let job = std::iter::repeat_with(|| reports.recv()).find_map(|job| job.ok());
        assert_eq!(job, Some([6, 6]));
        kill(holder);
    }
    let rx = domain.receiver::<Job>(CHANNEL).unwrap();
    until(|| tx.channel_counters().1.dropped == 1);
    tx.send([7, 7]).unwrap();
    assert_eq!(rx.recv().unwrap(), [7, 7]);
}

#[test]
fn a_slot_that_finds_no_room_comes_back() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair(&domain, 2);
    let other = tx.try_clone().unwrap();
    let mut slot = tx.reserve().unwrap().zeroed();
    *slot = 5;
    (0..2).for_each(|n| other.send(n).unwrap());
    let (slot, why) = slot.try_send().unwrap_err();
    assert!(matches!(why, SendFailure::WouldBlock));
    let (mut slot, why) = slot.send_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(matches!((*slot, why), (5, SendFailure::TimedOut)));
    *slot += 1;
    assert_eq!(rx.recv().unwrap(), 0);
    slot.try_send().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 6]);
    // Given up, it is as if it had not been.
    let slot = tx.reserve().unwrap().zeroed();
    (0..2).for_each(|n| other.send(n).unwrap());
    drop(slot.try_send().unwrap_err());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [0, 1]);
    tx.send(9).unwrap();
    assert_eq!(rx.recv().unwrap(), 9);
}
