//! What `every_flavor.rs` checks between threads, between processes: every flavor, every reference method and every wait
//! policy (pairwise), values and parcels.
//!
//! A process in a role does something and reports what it saw over a channel of its own, as numbers. Nothing here asserts
//! a time; who is blocked too late makes a test check less.

mod common;

use std::time::Duration;

use common::flavor::{Cargo, Case, Flavor, LargeValue, SomeParcel};
use common::{finish, name, role, start, until, watchdog, Random};
use staffetta::{Domain, Method, Receiver, RecvError, SendError, SendFailure, Sender, Wait};

const CHANNEL: &str = "channel";
const REPORTS: &str = "reports";
/// Longer than any test.
const EVER: Duration = Duration::from_secs(1000);
/// A number says who sent it.
const WHO: u64 = 1_000_000;

/// What a process reports: what it is about, and a number.
type Report = [u64; 2];
const HERE: u64 = 0;
const GOT: u64 = 1;
const SENT: u64 = 2;
const DROPPED: u64 = 3;
const TOLD: u64 = 4;

fn case_of(domain: &Domain, arguments: &[String]) -> Case {
    let flavor = Flavor::ALL.into_iter().find(|flavor| format!("{flavor:?}") == arguments[1]).unwrap();
    let method = Method::ALL.into_iter().find(|method| format!("{method:?}") == arguments[2]).unwrap();
    let wait = Wait::ALL.into_iter().find(|wait| wait.to_string() == arguments[3]).unwrap();
    Case { domain: domain.clone(), flavor, method, wait, cargo: "" }
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let domain = common::options().join(&arguments[0]).unwrap();
    let case = case_of(&domain, &arguments);
    let who: u64 = arguments[5].parse().unwrap();
    match arguments[4].as_str() {
        u64::NAME => play::<u64>(&role, case, who),
        LargeValue::NAME => play::<LargeValue>(&role, case, who),
        _ => play::<SomeParcel>(&role, case, who),
    }
}

fn play<M: Cargo>(role: &str, case: Case, who: u64) {
    let reports = case.domain.sender::<Report>(REPORTS).unwrap();
    let tell = |what, number| reports.send([what, number]).unwrap();
    let tx = || case.builder(CHANNEL).sender::<M>().unwrap();
    let rx = || case.builder(CHANNEL).receiver::<M>().unwrap();
    match role {
        "send" => {
            let tx = tx();
            let before = tx.counters().dropped; // by whoever had its seat before
            tell(HERE, who);
            (0..EACH).for_each(|n| tx.send(case.pack(who * WHO + n)).unwrap());
            tell(SENT, EACH);
            tell(DROPPED, tx.counters().dropped - before);
        }
        // Gives up soon, and tries the next number.
        "send hastily" => {
            let (tx, mut random) = (tx(), Random::new("send hastily"));
            let before = tx.counters().dropped;
            tell(HERE, who);
            let mut sent = 0;
            for n in 0..EACH {
                let time = Duration::from_nanos(random.below([1, 10_000, 100_000][n as usize % 3]));
                match tx.send_timeout(case.pack(who * WHO + n), time) {
                    Ok(()) => sent += 1,
                    Err(SendError { message, why: SendFailure::TimedOut }) => {
                        assert_eq!(message.number(), who * WHO + n);
                    }
                    Err(other) => panic!("{case:?}: {}", other.why),
                }
            }
            tell(SENT, sent);
            tell(DROPPED, tx.counters().dropped - before);
        }
        "receive" => {
            let rx = rx();
            tell(HERE, who);
            loop {
                match rx.recv() {
                    Ok(message) => tell(GOT, message.number()),
                    Err(RecvError::Disconnected) => break,
                    Err(other) => panic!("{case:?}: {other}"),
                }
            }
            tell(TOLD, who);
        }
        // Until the receiver is gone; says with which message.
        "send until told" => {
            let tx = tx();
            tell(HERE, who);
            for n in 0.. {
                if let Err(SendError { message, why }) = tx.send_timeout(case.pack(who * WHO + n), EVER) {
                    assert!(matches!(why, SendFailure::Disconnected), "{case:?}: {why}");
                    assert_eq!(message.number(), who * WHO + n, "{case:?}");
                    break;
                }
            }
            tell(TOLD, who);
        }
        other => panic!("no role {other}"),
    }
}

const EACH: u64 = 150;

/// A case in a domain of its own, with the receiver of reports.
struct Stage {
    case: Case,
    name: String,
    reports: Receiver<Report>,
    cargo: &'static str,
}

impl Stage {
    fn start(&self, role: &str, who: u64) -> std::process::Child {
        let Case { flavor, method, wait, .. } = &self.case;
        let (flavor, method) = (format!("{flavor:?}"), format!("{method:?}"));
        start(role, &[&self.name, &flavor, &method, &wait.to_string(), self.cargo, &who.to_string()])
    }

    fn report(&self) -> Report {
        self.reports.recv_timeout(EVER).unwrap()
    }

    fn await_here(&self, many: u64) {
        (0..many).for_each(|_| assert_eq!(self.report()[0], HERE, "{:?}", self.case));
    }
}

/// Runs `test` for each case of each cargo; between processes the combinations of a cargo are a third of those of threads.
fn each_case(test_name: &str, test: impl Fn(&Stage)) {
    let _watchdog = watchdog(test_name, 120);
    for (shift, cargo) in [u64::NAME, LargeValue::NAME, SomeParcel::NAME].into_iter().enumerate() {
        for (row, flavor) in Flavor::ALL.into_iter().enumerate() {
            let method = Method::ALL[(row + shift) % 3];
            let wait = Wait::ALL[(row / 3 + 2 * shift) % 3];
            let name = name("conformance");
            let domain = common::options().open(&name).unwrap();
            let reports = domain.channel(REPORTS).many_to_one(64).receiver().unwrap();
            let case = Case { domain, flavor, method, wait, cargo };
            test(&Stage { case, name, reports, cargo });
        }
    }
}

macro_rules! by_cargo {
    ($stage:ident, $test:ident) => {
        match $stage.cargo {
            u64::NAME => $test::<u64>($stage),
            LargeValue::NAME => $test::<LargeValue>($stage),
            _ => $test::<SomeParcel>($stage),
        }
    };
}

fn sender<M: Cargo>(stage: &Stage) -> Sender<M> {
    stage.case.builder(CHANNEL).sender().unwrap()
}

fn receiver<M: Cargo>(stage: &Stage) -> Receiver<M> {
    stage.case.builder(CHANNEL).receiver().unwrap()
}

/// Processes that wait for messages are told when the sender leaves, after they have had all that it sent.
fn sender_leaves<M: Cargo>(stage: &Stage) {
    let case = &stage.case;
    let tx = sender::<M>(stage);
    let many = case.flavor.receivers();
    let children: Vec<_> = (0..many).map(|who| stage.start("receive", who)).collect();
    stage.await_here(many);
    tx.send(case.pack(7)).unwrap();
    assert_eq!(stage.report(), [GOT, 7], "{case:?}");
    std::thread::sleep(Duration::from_millis(2));
    drop(tx);
    for _ in 0..many {
        assert_eq!(stage.report()[0], TOLD, "{case:?}");
    }
    children.into_iter().for_each(finish);
}

#[test]
fn processes_that_wait_are_told_when_the_sender_leaves() {
    each_case("sender leaves", |stage| by_cargo!(stage, sender_leaves));
}

/// Processes that wait for room are told when the receiver leaves, and have their message back.
fn receiver_leaves<M: Cargo>(stage: &Stage) {
    let case = &stage.case;
    // One that drops what is too much waits for nobody.
    if case.flavor.drops() {
        return;
    }
    let rx = receiver::<M>(stage);
    let many = case.flavor.senders();
    let children: Vec<_> = (0..many).map(|who| stage.start("send until told", who)).collect();
    stage.await_here(many);
    assert_eq!(rx.recv().unwrap().number() % WHO, 0, "{case:?}");
    std::thread::sleep(Duration::from_millis(2));
    drop(rx);
    for _ in 0..many {
        assert_eq!(stage.report()[0], TOLD, "{case:?}");
    }
    children.into_iter().for_each(finish);
}

#[test]
fn processes_that_wait_for_room_are_told_when_the_receiver_leaves() {
    each_case("receiver leaves", |stage| by_cargo!(stage, receiver_leaves));
}

/// Whatever `role` says that it sent arrives once, in order; at the end as much memory is in use as before.
fn arrives<M: Cargo>(stage: &Stage, role: &str) {
    let case = &stage.case;
    let rx = receiver::<M>(stage);
    let senders = case.flavor.senders();
    let more_receivers = case.flavor.receivers() - 1;
    // Keeps the channel from being over before the last one has come.
    let probe = (case.flavor.senders() > 1).then(|| sender::<M>(stage));
    let consumers: Vec<_> = (0..more_receivers).map(|who| stage.start("receive", who)).collect();
    stage.await_here(more_receivers);
    let producers: Vec<_> = (0..senders).map(|who| stage.start(role, who)).collect();
    let (mut got, mut dropped, mut sent, mut told, mut reported) = (Vec::new(), 0, 0, 0, 0);
    let mut probe = probe;
    let mut own_told = false;
    while !own_told || told < more_receivers || reported < 2 * senders {
        match rx.recv_timeout(Duration::from_micros(300)) {
            Ok(message) => got.push(message.number()),
            Err(RecvError::TimedOut) => {}
            // Before the first sender has come nothing is over.
            Err(RecvError::Disconnected) => own_told = true,
            Err(other) => panic!("{case:?}: {other}"),
        }
        while let Ok([what, number]) = stage.reports.try_recv() {
            match what {
                GOT => got.push(number),
                SENT => (sent, reported) = (sent + number, reported + 1),
                DROPPED => (dropped, reported) = (dropped + number, reported + 1),
                TOLD => told += 1,
                _ => {}
            }
        }
        if reported == 2 * senders {
            probe = None;
        }
    }
    drop(probe);
    producers.into_iter().chain(consumers).for_each(finish);
    assert_eq!(got.len() as u64 + dropped, sent, "{case:?}: {got:?}");
    if more_receivers == 0 {
        for who in 0..senders {
            let from = got.iter().filter(|number| **number / WHO == who);
            assert!(from.is_sorted_by(|a, b| a < b), "{case:?}: the order of sender {who}");
        }
    }
    got.sort_unstable();
    assert!(got.is_sorted_by(|a, b| a < b), "{case:?}: twice");
    until(|| rx.is_empty());
}

fn all_arrive<M: Cargo>(stage: &Stage) {
    arrives::<M>(stage, "send");
}

#[test]
fn every_message_comes_exactly_once_between_processes() {
    each_case("exactly once", |stage| by_cargo!(stage, all_arrive));
}

/// Processes that come, send and receive capabilities and leave: what they kept for later does not stay charged to the
/// domain.
#[test]
fn free_capabilities_of_a_process_that_left_are_given_back() {
    let _watchdog = watchdog("free capabilities", 60);
    let name = name("conformance");
    let domain = common::options().open(&name).unwrap();
    let reports = domain.channel(REPORTS).many_to_one(64).receiver().unwrap();
    let (flavor, method, cargo) = (Flavor::Buffered(3), Method::Capability, SomeParcel::NAME);
    let case = Case { domain: domain.clone(), flavor, method, wait: Wait::Park, cargo };
    let stage = Stage { case, name, reports, cargo };
    let in_use = || {
        domain.trim().unwrap();
        domain.memory().unwrap().1
    };
    let mut first = None;
    for round in 0..4 {
        let receives = stage.start("receive", 0);
        stage.await_here(1);
        let sends = stage.start("send", round);
        let mut told = false;
        while !told {
            told = stage.report()[0] == TOLD;
        }
        [sends, receives].into_iter().for_each(finish);
        while stage.reports.try_recv().is_ok() {}
        let before = *first.get_or_insert_with(in_use);
        until(|| in_use() <= before);
    }
}

fn those_sent_arrive<M: Cargo>(stage: &Stage) {
    arrives::<M>(stage, "send hastily");
}

#[test]
fn what_a_process_withdrew_does_not_come_and_the_rest_does() {
    each_case("withdrawn", |stage| by_cargo!(stage, those_sent_arrive));
}
