//! The doctor on domains of real processes: well, in a deadlock, held up, broken, busy.
#![allow(unsafe_code)]

mod common;

use std::process::Child;
use std::time::Duration;

use common::{name, role, start, until, watchdog};
use rustix::process::{kill_process, Pid, Signal};
use staffetta::inspect::{self, Diagnosis, Doing, Nobody, ProcessStatus};
use staffetta::{Domain, Select, Wait};

/// Roles that wait. No watchdog: its thread would be one that may help. They die with who started them.
#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let wait = match arguments.get(1).map(String::as_str) {
        Some("spin") => Wait::Spin,
        Some("spin-then-park") => Wait::SpinThenPark,
        _ => Wait::Park,
    };
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let mine = arguments.get(2).map_or("", String::as_str);
    let theirs = arguments.get(3).map_or("", String::as_str);
    let forever = || loop {
        std::thread::park();
    };
    let sleep = || std::thread::sleep(Duration::from_secs(600));
    match role.as_str() {
        // Each has the sender that the other one waits for.
        "receives" => {
            let _tx = domain.channel(mine).sender::<u64>().unwrap();
            let _ = domain.channel(theirs).receiver::<u64>().unwrap().recv();
        }
        "receives-with-deadline" => {
            let _tx = domain.channel(mine).sender::<u64>().unwrap();
            let rx = domain.channel(theirs).receiver::<u64>().unwrap();
            let _ = rx.recv_timeout(Duration::from_secs(500));
        }
        "receives-beside-another-thread" => {
            let _tx = domain.channel(mine).sender::<u64>().unwrap();
            std::thread::Builder::new().name("idler".to_owned()).spawn(sleep).unwrap();
            let _ = domain.channel(theirs).receiver::<u64>().unwrap().recv();
        }
        "selects" => {
            let _tx = domain.channel(mine).sender::<u64>().unwrap();
            let one = domain.channel(theirs).receiver::<u64>().unwrap();
            let two = domain.channel(&arguments[4]).buffered(2).receiver::<u64>().unwrap();
            let mut select = Select::new();
            select.set_wait(wait);
            select.recv(&one).unwrap();
            select.recv(&two).unwrap();
            let _ = select.ready();
        }
        // Sends what two others select over, and receives from the first.
        "sends-two" => {
            let _one = domain.channel(mine).sender::<u64>().unwrap();
            let _two = domain.channel(&arguments[4]).buffered(2).sender::<u64>().unwrap();
            let _ = domain.channel(theirs).receiver::<u64>().unwrap().recv();
        }
        // Holds the other end, and does nothing.
        "holds" => {
            let _tx = domain.channel(mine).buffered(2).sender::<u64>().unwrap();
            forever();
        }
        // The parts of a circle of three: a call, a queue, a rendezvous.
        "calls" => {
            let _rx = domain.channel("rendezvous").receiver::<u64>().unwrap();
            let client = domain.channel("service").service(2).client::<u64, u64>().unwrap();
            let _ = client.call(1);
        }
        "answers" => {
            let queue = domain.channel("queue").many_to_one(4).receiver::<u64>().unwrap();
            let server = domain.channel("service").service(2).server::<u64, u64>().unwrap();
            server.serve(|_| queue.recv().unwrap_or_default());
        }
        "sends" => {
            let _queue = domain.channel("queue").many_to_one(4).sender::<u64>().unwrap();
            let _ = domain.channel("rendezvous").sender::<u64>().unwrap().send(1);
        }
        // A broadcast whose sender waits for a receiver that waits for something else from it.
        "broadcasts" => {
            let _tx = domain.channel("other").sender::<u64>().unwrap();
            let tx = domain.channel("cast").broadcast(2).sender::<u64>().unwrap();
            until(|| tx.receivers() == 2);
            let _ = (0..9).try_for_each(|n| tx.send(n));
        }
        "listens" => {
            let rx = domain.channel("cast").broadcast(2).receiver::<u64>().unwrap();
            let _ = (0..9).try_for_each(|_| rx.recv().map(drop));
        }
        "does-not-listen" => {
            let _rx = domain.channel("cast").broadcast(2).receiver::<u64>().unwrap();
            let _ = domain.channel("other").receiver::<u64>().unwrap().recv();
        }
        "itself" => {
            let _rx = domain.channel("mine").receiver::<u64>().unwrap();
            let _ = domain.channel("mine").sender::<u64>().unwrap().send(1);
        }
        other => panic!("no role {other}"),
    }
    forever();
}

struct Members(Vec<Child>);

impl Members {
    fn start(name: &str, roles: &[(&str, &[&str])]) -> Members {
        let one = |(role, arguments): &(&str, &[&str])| start(role, &[&[name], *arguments].concat());
        Members(roles.iter().map(one).collect())
    }

    fn pid(&self, role: usize) -> u32 {
        self.0[role].id()
    }

    fn signal(&self, role: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.0[role]), signal).unwrap();
    }

    /// The process slot of a role.
    fn slot(&self, diagnosis: &Diagnosis, role: usize) -> u16 {
        diagnosis.processes.iter().find(|process| process.pid == self.pid(role)).expect("a member").slot
    }

    fn slots(&self, diagnosis: &Diagnosis, roles: &[usize]) -> Vec<u16> {
        let mut slots: Vec<u16> = roles.iter().map(|role| self.slot(diagnosis, *role)).collect();
        slots.sort_unstable();
        slots
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sorted(slots: &[u16]) -> Vec<u16> {
    let mut slots = slots.to_vec();
    slots.sort_unstable();
    slots
}

/// The diagnosis once so many threads wait, each the same wait all the time, and there are so many deadlocks: their processes
/// may have had something else to do when the wait began. That there are none is asked several times.
fn settled(name: &str, waits: usize, deadlocks: usize) -> Diagnosis {
    let mut last = None;
    let mut looks = if deadlocks == 0 { 8 } else { 1 };
    until(|| {
        last = inspect::doctor(name).ok();
        let is_so = last.as_ref().is_some_and(|seen| {
            seen.waits.len() == waits
                && seen
                    .waits
                    .iter()
                    .all(|wait| wait.lasts && wait.arms.iter().all(|arm| arm.nobody.is_none()))
                && seen.deadlocks.len() >= deadlocks
        });
        looks -= u32::from(is_so);
        looks == 0 || last.as_ref().is_some_and(|seen| seen.deadlocks.len() > deadlocks)
    });
    last.unwrap()
}

const POLICIES: [&str; 3] = ["spin", "spin-then-park", "park"];

#[test]
fn two_that_receive_from_each_other() {
    let _watchdog = watchdog("two", 120);
    for policy in POLICIES {
        let name = name("doctor-two");
        let roles: [(&str, &[&str]); 2] =
            [("receives", &[policy, "a", "b"]), ("receives", &[policy, "b", "a"])];
        let members = Members::start(&name, &roles);
        let seen = settled(&name, 2, 1);
        assert_eq!(seen.deadlocks.len(), 1, "{policy}: {seen}");
        let deadlock = &seen.deadlocks[0];
        assert!(deadlock.is_certain() && !seen.is_healthy(), "{seen}");
        assert_eq!(sorted(&deadlock.processes), members.slots(&seen, &[0, 1]));
        let waits: Vec<_> = deadlock.waits.iter().map(|wait| &seen.waits[*wait]).collect();
        for wait in &waits {
            assert_eq!((wait.left_ns, wait.spins, wait.selects), (None, policy == "spin", false), "{seen}");
            assert!(wait.for_ns > 0 && wait.arms.len() == 1 && wait.arms[0].doing == Doing::Receive);
        }
        let first = members.slot(&seen, 0);
        let of_first = waits.iter().find(|wait| wait.process == first).unwrap();
        assert_eq!(of_first.arms[0].name, "b");
        assert_eq!(of_first.arms[0].for_whom, [members.slot(&seen, 1)]);
        assert!(seen.broken.is_empty() && seen.unsettled.is_empty() && seen.held_up_by.is_empty(), "{seen}");
        let text = seen.to_string();
        assert!(text.contains("DEADLOCK: 2 processes wait for each other"), "{text}");
        assert!(text.contains(&format!("(pid {}) --receive \"b\" ", members.pid(0))), "{text}");
        // A kill ends it: nothing is left to complain about.
        members.signal(0, Signal::KILL);
        until(|| inspect::doctor(&name).is_ok_and(|seen| seen.is_healthy() && seen.processes.len() == 1));
    }
}

#[test]
fn a_circle_of_three_by_call_queue_and_rendezvous_and_one_who_waits_for_it() {
    let _watchdog = watchdog("three", 120);
    for policy in POLICIES {
        let name = name("doctor-three");
        let roles: [(&str, &[&str]); 3] =
            [("answers", &[policy]), ("calls", &[policy]), ("sends", &[policy])];
        let members = Members::start(&name, &roles);
        let seen = settled(&name, 3, 1);
        assert_eq!(seen.deadlocks.len(), 1, "{seen}");
        assert_eq!(sorted(&seen.deadlocks[0].processes), members.slots(&seen, &[0, 1, 2]), "{seen}");
        let doing = |role: usize| {
            let slot = members.slot(&seen, role);
            seen.waits.iter().find(|wait| wait.process == slot).map(|wait| wait.arms[0].doing)
        };
        assert_eq!(
            [doing(0), doing(1), doing(2)],
            [Some(Doing::Receive), Some(Doing::Call), Some(Doing::Send)]
        );
        // In the order in which they wait for each other.
        let whom = |wait: usize| seen.waits[wait].arms[0].for_whom[0];
        let circle = &seen.deadlocks[0].waits;
        for (at, wait) in circle.iter().enumerate() {
            assert_eq!(whom(*wait), seen.waits[circle[(at + 1) % 3]].process, "{seen}");
        }
        let text = seen.to_string();
        for word in ["--call \"service\" ", "--receive \"queue\" ", "--send \"rendezvous\" "] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
fn a_select_is_lost_only_if_all_its_arms_are() {
    let _watchdog = watchdog("select", 120);
    let name = name("doctor-select");
    // 0 selects over what 1 and 2 send, 1 receives from 0, and 2 is in nobody's way.
    let roles: [(&str, &[&str]); 3] =
        [("selects", &["park", "a", "b", "c"]), ("receives", &["park", "b", "a"]), ("holds", &["park", "c"])];
    let members = Members::start(&name, &roles);
    let seen = settled(&name, 2, 0);
    assert!(seen.deadlocks.is_empty() && seen.is_healthy(), "{seen}");
    let select = seen.waits.iter().find(|wait| wait.selects).expect("it waits");
    assert_eq!((select.process, select.arms.len()), (members.slot(&seen, 0), 2));
    let holds_up = &seen.held_up_by[0];
    assert_eq!((holds_up.process, holds_up.waiting.len()), (members.slot(&seen, 2), 2), "{seen}");
    assert!(seen.to_string().contains("--> any of 2\n"), "{seen}");
    drop(members);

    // 1 has the other ends of both.
    let name = common::name("doctor-select-lost");
    let roles: [(&str, &[&str]); 2] =
        [("selects", &["park", "a", "b", "c"]), ("sends-two", &["park", "b", "a", "c"])];
    let members = Members::start(&name, &roles);
    let seen = settled(&name, 2, 1);
    assert_eq!(sorted(&seen.deadlocks[0].processes), members.slots(&seen, &[0, 1]), "{seen}");
    drop(members);

    // Nobody has the other end of the second arm: whoever comes may help.
    let name = common::name("doctor-select-open");
    let roles: [(&str, &[&str]); 2] =
        [("selects", &["park", "a", "b", "c"]), ("receives", &["park", "b", "a"])];
    let _members = Members::start(&name, &roles);
    let mut seen = None;
    until(|| {
        let lasts = |seen: &Diagnosis| seen.waits.iter().filter(|wait| wait.lasts).count() == 2;
        seen = inspect::doctor(&name).ok().filter(lasts);
        seen.as_ref().is_some_and(|seen| {
            let arms = || seen.waits.iter().flat_map(|wait| &wait.arms);
            arms().count() == 3 && arms().filter(|arm| arm.nobody == Some(Nobody::NotThere)).count() == 1
        })
    });
    let seen = seen.unwrap();
    assert!(seen.deadlocks.is_empty() && seen.to_string().contains("nobody yet"), "{seen}");
}

#[test]
fn a_deadline_or_a_thread_that_may_help_is_no_deadlock() {
    let _watchdog = watchdog("deadline", 120);
    let name = name("doctor-deadline");
    let roles: [(&str, &[&str]); 2] =
        [("receives-with-deadline", &["park", "a", "b"]), ("receives", &["park", "b", "a"])];
    let members = Members::start(&name, &roles);
    let seen = settled(&name, 2, 0);
    assert!(seen.deadlocks.is_empty() && seen.is_healthy() && seen.warnings().is_empty(), "{seen}");
    let slot = members.slot(&seen, 0);
    let left = seen.waits.iter().find(|wait| wait.process == slot).unwrap().left_ns.unwrap();
    assert!(left > 100_000_000_000 && left <= 500_000_000_000, "{seen}");
    drop(members);

    let name = common::name("doctor-idler");
    let roles: [(&str, &[&str]); 2] =
        [("receives-beside-another-thread", &["park", "a", "b"]), ("receives", &["park", "b", "a"])];
    let members = Members::start(&name, &roles);
    let seen = settled(&name, 2, 1);
    assert_eq!(seen.deadlocks.len(), 1, "{seen}");
    let deadlock = &seen.deadlocks[0];
    assert!(!deadlock.is_certain() && seen.is_healthy(), "{seen}");
    assert_eq!(deadlock.unless.len(), 1, "{seen}");
    let (slot, thread) = &deadlock.unless[0];
    assert!(*slot == members.slot(&seen, 0) && thread.starts_with("idler ("), "{seen}");
    assert_eq!(seen.warnings().len(), 1, "{seen}");
}

#[test]
fn the_sender_of_a_broadcast_needs_all_who_are_behind() {
    let _watchdog = watchdog("broadcast", 120);
    let name = name("doctor-broadcast");
    let roles: [(&str, &[&str]); 3] =
        [("broadcasts", &["park"]), ("listens", &["park"]), ("does-not-listen", &["park"])];
    let members = Members::start(&name, &roles);
    let seen = settled(&name, 3, 1);
    assert_eq!(seen.deadlocks.len(), 1, "{seen}");
    let deadlock = &seen.deadlocks[0];
    assert_eq!(sorted(&deadlock.processes), members.slots(&seen, &[0, 2]), "{seen}");
    // Who listens has heard all there is, and waits for the sender.
    assert_eq!(deadlock.also, [members.slot(&seen, 1)], "{seen}");
    let sender = members.slot(&seen, 0);
    let wait = seen.waits.iter().find(|wait| wait.process == sender).unwrap();
    assert_eq!((wait.arms[0].all, &wait.arms[0].for_whom), (true, &vec![members.slot(&seen, 2)]), "{seen}");
}

#[test]
fn one_that_waits_for_itself() {
    let _watchdog = watchdog("itself", 120);
    let name = name("doctor-itself");
    let members = Members::start(&name, &[("itself", &["park"])]);
    let seen = settled(&name, 1, 1);
    assert_eq!(seen.deadlocks[0].processes, [members.slot(&seen, 0)], "{seen}");
    assert!(seen.to_string().contains("waits for itself"), "{seen}");
}

#[test]
fn a_partner_that_is_stopped_is_named() {
    let _watchdog = watchdog("stopped", 120);
    let name = name("doctor-stopped");
    let members = Members::start(&name, &[("holds", &["park", "c"]), ("receives", &["park", "x", "y"])]);
    let domain = common::options().open(&name).unwrap();
    let rx = domain.channel("c").buffered(2).receiver::<u64>().unwrap();
    let _to_the_other = domain.channel("y").sender::<u64>().unwrap();
    std::thread::Builder::new().name("waits".into()).spawn(move || rx.recv()).unwrap();
    until(|| inspect::doctor(&name).is_ok_and(|seen| seen.processes.len() == 3 && seen.waits.len() == 2));
    members.signal(0, Signal::STOP);
    let mut seen = None;
    until(|| {
        seen = inspect::doctor(&name).ok();
        seen.as_ref().is_some_and(|seen| {
            seen.held_up_by.first().is_some_and(|hold| hold.status == ProcessStatus::Stopped)
        })
    });
    let seen = seen.unwrap();
    // This process waits for the stopped one, and the other one for this: that both wait is no deadlock.
    let hold = &seen.held_up_by[0];
    assert_eq!((hold.process, hold.waiting.len()), (members.slot(&seen, 0), 2), "{seen}");
    assert!(seen.is_healthy() && seen.deadlocks.is_empty(), "{seen}");
    let warnings = seen.warnings();
    assert!(warnings.iter().any(|one| one.contains("STOPPED") && one.contains("kill -CONT")), "{warnings:?}");
    assert!(seen.to_string().contains(&format!("(pid {}, STOPPED)", members.pid(0))), "{seen}");
    members.signal(0, Signal::CONT);
    until(|| inspect::doctor(&name).is_ok_and(|seen| seen.warnings().is_empty()));
    drop(domain);
}

#[test]
fn a_domain_that_is_well() {
    let name = name("doctor-well");
    let domain = common::options().open(&name).unwrap();
    let server = domain.channel("service").service(2).server::<u64, u64>().unwrap();
    let client = domain.channel("service").client::<u64, u64>().unwrap();
    let (tx, rx) = domain.channel("").bounded(4).unnamed::<u64>().unwrap();
    tx.send(1).unwrap();
    let asked = client.begin(1).unwrap();
    let seen = inspect::doctor(&name).unwrap();
    assert!(seen.is_healthy() && seen.warnings().is_empty() && seen.waits.is_empty(), "{seen}");
    assert_eq!(seen.processes.len(), 1);
    assert!(seen.to_string().ends_with(&format!("{name}: healthy")), "{seen}");
    drop((server, rx, asked));
    assert!(inspect::doctor("no such domain").unwrap_err().to_string().contains("there is no domain"));
    let _ = Domain::join(&name).unwrap();
}
