//! What `every_flavor_to_all.rs` checks between threads, between processes, and what happens when one of them is killed while the
//! others wait: broadcast by each policy for slow receivers, and the latest value, for every reference method and every
//! wait policy (pairwise).

mod common;

use std::process::Child;
use std::time::Duration;

use common::flavor::{Cargo, LargeValue};
use common::to_all::{Case, ToAll};
use common::{finish, name, role, start, watchdog};
use staffetta::{Domain, Message, Method, Receiver, RecvError, Wait};

const CHANNEL: &str = "channel";
const REPORTS: &str = "reports";
/// Longer than any test.
const EVER: Duration = Duration::from_secs(1000);
const MESSAGES: u64 = 150;
const RECEIVERS: u64 = 2;

/// Who reports, what it is about, and a number.
type Report = [u64; 3];
const HERE: u64 = 0;
const GOT: u64 = 1;
const MISSED: u64 = 2;
const TOLD: u64 = 3;

/// What was told.
const DISCONNECTED: u64 = 0;
const DIED: u64 = 1;
const TOO_SLOW: u64 = 2;

fn case_of(domain: &Domain, arguments: &[String]) -> Case {
    let to_all = ToAll::ALL.into_iter().find(|to_all| format!("{to_all:?}") == arguments[1]).unwrap();
    let method = Method::ALL.into_iter().find(|method| format!("{method:?}") == arguments[2]).unwrap();
    let wait = Wait::ALL.into_iter().find(|wait| wait.to_string() == arguments[3]).unwrap();
    Case { domain: domain.clone(), to_all, method, wait, cargo: "" }
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
        _ => play::<LargeValue>(&role, case, who),
    }
}

fn play<M: Cargo + Message>(role: &str, case: Case, who: u64) {
    let reports = case.domain.sender::<Report>(REPORTS).unwrap();
    let tell = |what, number| reports.send([who, what, number]).unwrap();
    match role {
        // `nothing`: and is killed while it has nothing to say.
        "send" | "send nothing" => {
            let tx = case.sender::<M>(CHANNEL);
            tell(HERE, 0);
            if role == "send nothing" {
                std::thread::sleep(EVER);
            }
            // The others are here when the word comes: a message on a channel of its own.
            case.domain.receiver::<u64>("go").unwrap().recv().unwrap();
            (0..MESSAGES).for_each(|n| tx.send(case.pack(n)).unwrap());
        }
        "receive" => {
            let rx = case.receiver::<M>(CHANNEL);
            tell(HERE, 0);
            let told = loop {
                match rx.recv() {
                    Ok(message) => tell(GOT, message.number()),
                    Err(RecvError::Disconnected) => break DISCONNECTED,
                    Err(RecvError::PeerDied) => break DIED,
                    Err(RecvError::TooSlow { .. }) => break TOO_SLOW,
                    Err(other) => panic!("{case:?}: {other}"),
                }
            };
            tell(MISSED, rx.missed());
            tell(TOLD, told);
        }
        // Takes no message at all.
        "ignore" => {
            let _rx = case.receiver::<M>(CHANNEL);
            tell(HERE, 0);
            std::thread::sleep(EVER);
        }
        other => panic!("no role {other}"),
    }
}

/// A case in a domain of its own, with the receiver of reports.
struct Stage {
    case: Case,
    name: String,
    reports: Receiver<Report>,
}

impl Stage {
    fn start(&self, role: &str, who: u64) -> Child {
        let Case { to_all, method, wait, cargo, .. } = &self.case;
        let (to_all, method) = (format!("{to_all:?}"), format!("{method:?}"));
        start(role, &[&self.name, &to_all, &method, &wait.to_string(), cargo, &who.to_string()])
    }

    fn report(&self) -> Report {
        loop {
            match self.reports.recv_timeout(EVER) {
                Ok(report) => return report,
                // Whoever reported last was killed; others will come.
                Err(RecvError::PeerDied | RecvError::Disconnected) => {}
                Err(other) => panic!("{:?}: {other}", self.case),
            }
        }
    }

    fn await_here(&self, many: u64) {
        (0..many).for_each(|_| assert_eq!(self.report()[1], HERE, "{:?}", self.case));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn each_case(test_name: &str, test: impl Fn(&Stage)) {
    let _watchdog = watchdog(test_name, 120);
    for (shift, cargo) in [u64::NAME, LargeValue::NAME].into_iter().enumerate() {
        for (row, to_all) in ToAll::ALL.into_iter().enumerate() {
            let method = Method::ALL[(row + shift) % 3];
            let wait = Wait::ALL[(row / 3 + 2 * shift) % 3];
            let name = name("to-all");
            let domain = common::options().open(&name).unwrap();
            let reports = domain.channel(REPORTS).many_to_one(64).receiver().unwrap();
            test(&Stage { case: Case { domain, to_all, method, wait, cargo }, name, reports });
        }
    }
}

/// Receivers that wait are told when the sending process is killed, or leaves.
#[test]
fn receivers_that_wait_are_told_when_the_sender_goes() {
    each_case("sender goes", |stage| {
        let sender = stage.start("send nothing", 9);
        stage.await_here(1);
        let receivers: Vec<_> = (0..RECEIVERS).map(|who| stage.start("receive", who)).collect();
        stage.await_here(RECEIVERS);
        std::thread::sleep(Duration::from_millis(2));
        kill(sender);
        for _ in 0..2 * RECEIVERS {
            let [who, what, number] = stage.report();
            assert!([[MISSED, 0], [TOLD, DIED]].contains(&[what, number]), "{:?}: {who}", stage.case);
        }
        receivers.into_iter().for_each(finish);
    });
}

/// Each message comes to each receiving process once and in order, or is counted.
#[test]
fn every_message_comes_to_each_process_once_or_is_counted() {
    each_case("exactly once", |stage| {
        let case = &stage.case;
        let sender = stage.start("send", 9);
        stage.await_here(1);
        let receivers: Vec<_> = (0..RECEIVERS).map(|who| stage.start("receive", who)).collect();
        stage.await_here(RECEIVERS);
        case.domain.sender::<u64>("go").unwrap().send(1).unwrap();
        let mut got = [const { Vec::new() }; RECEIVERS as usize];
        let mut missed = [0; RECEIVERS as usize];
        let mut told = 0;
        while told < RECEIVERS {
            let [who, what, number] = stage.report();
            let receiver = who as usize;
            match what {
                GOT => got[receiver].push(number),
                MISSED => missed[receiver] = number,
                _ => {
                    told += 1;
                    let slow = number == TOO_SLOW && matches!(case.to_all, ToAll::Disconnects(_));
                    assert!(number == DISCONNECTED || slow, "{case:?}: {number}");
                    let got = &got[receiver];
                    if case.to_all.misses() {
                        assert!(got.is_sorted_by(|a, b| a < b), "{case:?}: {got:?}");
                        assert_eq!(got.len() as u64 + missed[receiver], MESSAGES, "{case:?}");
                        assert_eq!(got.last(), Some(&(MESSAGES - 1)), "{case:?}");
                    } else {
                        assert!(got.iter().copied().eq(0..got.len() as u64), "{case:?}: {got:?}");
                        assert!(slow || got.len() as u64 == MESSAGES, "{case:?}: {got:?}");
                    }
                }
            }
        }
        receivers.into_iter().chain([sender]).for_each(finish);
    });
}

/// A sender that waits for a receiver goes on when that process is killed; one that does not wait never noticed it.
#[test]
fn a_sender_that_waits_goes_on_when_the_receiver_is_killed() {
    each_case("receiver is killed", |stage| {
        let case = &stage.case;
        match case.cargo {
            u64::NAME => goes_on::<u64>(stage),
            _ => goes_on::<LargeValue>(stage),
        }
    });
}

fn goes_on<M: Cargo + Message>(stage: &Stage) {
    let case = &stage.case;
    let tx = case.sender::<M>(CHANNEL);
    let ignores = stage.start("ignore", 0);
    stage.await_here(1);
    let k = case.to_all.degree();
    (0..k).for_each(|n| tx.try_send(case.pack(n)).unwrap());
    assert_eq!(tx.try_send(case.pack(k)).is_err(), case.to_all.waits(), "{case:?}");
    let case = case.clone();
    std::thread::scope(|scope| {
        let sends = scope.spawn(move || {
            tx.send_timeout(case.pack(k), EVER).unwrap();
            // Nobody is there any more: it waits for nobody.
            (0..10).for_each(|n| tx.send(case.pack(n)).unwrap());
        });
        std::thread::sleep(Duration::from_millis(2));
        kill(ignores);
        sends.join().unwrap();
    });
}
