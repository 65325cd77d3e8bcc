//! A partner is killed, and another process has taken its end before the survivor runs again: it is told `PeerDied` all the same, once,
//! and goes on with the successor; nothing that was sent is lost or comes twice.
//!
//! ```text
//!   victim     attaches ───── killed
//!   survivor   attaches, waits ─ SIGSTOP ──────────────────────── SIGCONT ─ PeerDied, then the successor's messages
//!   this one                            attaches the victim's end ┘
//! ```

mod common;

use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use common::forms::{receiver, sender, wait_of, Form, What, When};
use common::{name, role, start, until, watchdog};
use staffetta::{Domain, Method, RecvError, Select, SendFailure, Wait};

const CHANNEL: &str = "channel";
/// No message comes so late.
const LONG: Duration = Duration::from_secs(20);

/// What the survivor writes down beside the messages that it received, or that were received from it.
const READY: u64 = 1 << 32;
const DIED: u64 = 2 << 32;
const LEFT: u64 = 3 << 32;
const LATE: u64 = 4 << 32;
const OTHER: u64 = 5 << 32;

/// What the survivor waits in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    One(Form),
    Select(Form),
    Queue,
    Broadcast,
    Latest,
}

impl Way {
    fn all() -> Vec<Way> {
        let value = |what| Form { what, method: Method::Coinciding };
        let mut ways: Vec<Way> = Form::all().into_iter().map(Way::One).collect();
        ways.extend([What::Value, What::Buffered(1), What::Basic(1)].map(|what| Way::Select(value(what))));
        ways.extend([Way::Queue, Way::Broadcast, Way::Latest]);
        ways
    }

    fn is_rendezvous(self) -> bool {
        matches!(self, Way::One(form) | Way::Select(form) if !form.is_basic() && !form.is_buffered())
    }

    /// May the survivor be the sender? Who sends to all waits for nobody in particular.
    fn has_senders(self) -> bool {
        !matches!(self, Way::Broadcast | Way::Latest)
    }
}

/// One call as the receiver.
fn receiving(domain: &Domain, way: Way) -> Box<dyn FnMut() -> Result<u64, RecvError>> {
    match way {
        Way::One(form) => {
            let mut rx = receiver(domain, CHANNEL, form);
            Box::new(move || (rx.recv)(When::Within(LONG)))
        }
        Way::Select(form) => {
            let channel = domain.channel(CHANNEL);
            let rx = match form.what {
                What::Value => channel.receiver::<u64>(),
                What::Basic(k) => channel.basic(k).receiver(),
                _ => channel.buffered(form.degree()).receiver(),
            };
            let rx = rx.unwrap();
            let (never, idle) = domain.channel("").rendezvous().unnamed::<u64>().unwrap();
            Box::new(move || {
                let _never = &never;
                let mut select = Select::new();
                select.recv(&idle).unwrap();
                select.recv(&rx).unwrap();
                let chosen = select.select_timeout(LONG);
                let received = chosen.map_or(Err(RecvError::TimedOut), |operation| operation.recv(&rx));
                drop(select);
                received
            })
        }
        Way::Queue => {
            let rx = domain.channel(CHANNEL).bounded(2).receiver::<u64>().unwrap();
            Box::new(move || rx.recv_timeout(LONG))
        }
        Way::Broadcast => {
            let rx = domain.channel(CHANNEL).broadcast(2).receiver::<u64>().unwrap();
            Box::new(move || rx.recv_timeout(LONG))
        }
        Way::Latest => {
            let rx = domain.channel(CHANNEL).latest().receiver::<u64>().unwrap();
            Box::new(move || rx.recv_timeout(LONG))
        }
    }
}

/// One call as the sender, which gets its message back if it is not sent.
fn sending(domain: &Domain, way: Way) -> Box<dyn FnMut(u64, When) -> Result<(), SendFailure>> {
    match way {
        Way::One(form) => {
            let mut tx = sender(domain, CHANNEL, form);
            Box::new(move |n, when| {
                (tx.send)(n, when).map_err(|(back, why)| {
                    assert_eq!(back, n, "another message came back");
                    why
                })
            })
        }
        Way::Select(form) => {
            let channel = domain.channel(CHANNEL);
            let tx = match form.what {
                What::Value => channel.sender::<u64>(),
                What::Basic(k) => channel.basic(k).sender(),
                _ => channel.buffered(form.degree()).sender(),
            };
            let tx = tx.unwrap();
            Box::new(move |n, when| {
                if matches!(when, When::Try) {
                    return tx.try_send(n).map_err(|error| error.why);
                }
                let mut select = Select::new();
                select.send(&tx).unwrap();
                let chosen = select.select_timeout(LONG);
                let sent = chosen.map_or(Err(SendFailure::TimedOut), |operation| {
                    operation.send(&tx, n).map_err(|error| error.why)
                });
                drop(select);
                sent
            })
        }
        Way::Queue => {
            let tx = domain.channel(CHANNEL).bounded(2).sender::<u64>().unwrap();
            Box::new(move |n, when| {
                match when {
                    When::Try => tx.try_send(n),
                    _ => tx.send_timeout(n, LONG),
                }
                .map_err(|error| error.why)
            })
        }
        Way::Broadcast => {
            let tx = domain.channel(CHANNEL).broadcast(2).sender::<u64>().unwrap();
            Box::new(move |n, _| tx.send_timeout(n, LONG).map_err(|error| error.why))
        }
        Way::Latest => {
            let tx = domain.channel(CHANNEL).latest().sender::<u64>().unwrap();
            Box::new(move |n, _| tx.send(n).map_err(|error| error.why))
        }
    }
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = common::options().wait(wait_of(&arguments[1])).open(&arguments[0]).unwrap();
    let way = Way::all()[arguments[2].parse::<usize>().unwrap()];
    let survivor_sends = arguments[3] == "true";
    let log = domain.channel("log").bounded(64).sender::<u64>().unwrap();
    match role.as_str() {
        "victim" => {
            let _end: Box<dyn std::any::Any> = match survivor_sends {
                true => Box::new(receiving(&domain, way)),
                false => Box::new(sending(&domain, way)),
            };
            log.send(READY).unwrap();
            loop {
                std::thread::sleep(LONG);
            }
        }
        "survivor" if survivor_sends => {
            let mut send = sending(&domain, way);
            let mut n = 1;
            while send(n, When::Try).is_ok() {
                n += 1;
            }
            log.send(READY + n - 1).unwrap();
            loop {
                let told = match send(n, When::Within(LONG)) {
                    Ok(()) => n,
                    Err(SendFailure::PeerDied) => DIED,
                    Err(SendFailure::Disconnected) => LEFT,
                    Err(SendFailure::TimedOut) => LATE,
                    Err(_) => OTHER,
                };
                n += u64::from(told == n);
                log.send(told).unwrap();
            }
        }
        "survivor" => {
            let mut recv = receiving(&domain, way);
            log.send(READY).unwrap();
            loop {
                let told = match recv() {
                    Ok(n) => n,
                    Err(RecvError::PeerDied) => DIED,
                    Err(RecvError::Disconnected) => LEFT,
                    Err(RecvError::TimedOut) => LATE,
                    Err(_) => OTHER,
                };
                log.send(told).unwrap();
            }
        }
        other => panic!("no role {other}"),
    }
}

/// What has happened before the survivor runs again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// A successor has attached.
    Came,
    /// It has attached, and sends or receives one message.
    Acted,
    /// One has attached and left, and then another.
    Twice,
}

/// The successor: attaches, says so, and sends or receives up to message `go` whenever it is told to. It says when it has.
fn succeed(
    domain: &Domain,
    way: Way,
    survivor_sends: bool,
    twice: bool,
    (done, go): (Sender<()>, Receiver<u64>),
) {
    let mut n = 1;
    if survivor_sends {
        let attach = || receiving(domain, way);
        if twice {
            drop(attach());
        }
        let mut recv = attach();
        done.send(()).unwrap();
        while let Ok(last) = go.recv() {
            while n <= last {
                assert_eq!(recv().unwrap(), n, "{way:?}");
                n += 1;
            }
            let _ = done.send(());
        }
    } else {
        let attach = || sending(domain, way);
        if twice {
            drop(attach());
        }
        let mut send = attach();
        done.send(()).unwrap();
        while let Ok(last) = go.recv() {
            while n <= last {
                send(n, When::Within(LONG)).unwrap_or_else(|why| panic!("{way:?}, message {n}: {why}"));
                n += 1;
            }
            let _ = done.send(());
        }
    }
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

fn one(way: Way, index: usize, survivor_sends: bool, before: Before, wait: Wait) {
    let case = format!(
        "{way:?}, the survivor {}, {before:?}, {wait}",
        if survivor_sends { "sends" } else { "receives" }
    );
    let name = name("replaced");
    let domain = common::options().wait(wait).open(&name).unwrap();
    let log = domain.channel("log").bounded(64).receiver::<u64>().unwrap();
    let read = || log.recv_timeout(LONG).unwrap_or_else(|why| panic!("{case}: nothing is told: {why}"));
    let arguments = [name.as_str(), &wait.to_string(), &index.to_string(), &survivor_sends.to_string()];
    let mut victim = start("victim", &arguments);
    assert_eq!(read(), READY, "{case}");
    let mut survivor = start("survivor", &arguments);
    let filled = read() - READY;
    // Not needed: who has not begun to wait yet is told when it begins. But then it would not be what this is about.
    std::thread::sleep(Duration::from_millis(5));
    let pid = rustix::process::Pid::from_child(&survivor);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    until(|| is_stopped(survivor.id()));
    victim.kill().unwrap();
    victim.wait().unwrap();
    if way == Way::Queue {
        // Of several it is told only when nobody is left: the successor comes after that.
        let observer = staffetta::inspect::Observer::of(&name).unwrap();
        until(|| observer.look().unwrap().processes.len() == 2);
    }
    let ((done, is_done), (order, go)) = (channel(), channel());
    std::thread::scope(|scope| {
        let (domain, twice) = (&domain, before == Before::Twice);
        let heir = scope.spawn(move || succeed(domain, way, survivor_sends, twice, (done, go)));
        is_done.recv_timeout(LONG).unwrap();
        if before == Before::Acted {
            order.send(1).unwrap();
            let _ = is_done.recv_timeout(Duration::from_millis(20));
        }
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        let mut told = Vec::new();
        // The first message that it is to account for.
        let mut next = filled + 1;
        let mut deaths = 0;
        while deaths == 0 {
            let entry = read();
            told.push(entry);
            deaths += u64::from(entry == DIED);
            assert!(entry == DIED || entry == next, "{case}: {told:x?}");
            next += u64::from(entry != DIED);
        }
        // What a buffer brings, or has room for, comes first.
        if before != Before::Acted || way.is_rendezvous() {
            assert_eq!(told, [DIED], "{case}");
        }
        let last = if way == Way::Latest { next } else { next + 2 };
        order.send(last).unwrap();
        while next <= last {
            let entry = read();
            told.push(entry);
            assert_eq!(entry, next, "{case}: {told:x?}");
            next += 1;
        }
        drop(order);
        survivor.kill().unwrap();
        survivor.wait().unwrap();
        heir.join().unwrap();
    });
}

fn all(before: Before) {
    for (index, way) in Way::all().into_iter().enumerate() {
        for (survivor_sends, wait) in [(false, Wait::Park), (true, Wait::Spin)] {
            let wait = if index % 2 == 0 { wait } else { Wait::SpinThenPark };
            if way.has_senders() || !survivor_sends {
                one(way, index, survivor_sends, before, wait);
            }
        }
    }
}

#[test]
fn a_successor_has_come() {
    let _watchdog = watchdog("successors", 300);
    all(Before::Came);
}

#[test]
fn a_successor_has_come_and_has_sent_or_received() {
    let _watchdog = watchdog("successors that act", 300);
    all(Before::Acted);
}

#[test]
fn a_successor_has_come_and_gone_and_another_has_come() {
    let _watchdog = watchdog("successors of successors", 300);
    all(Before::Twice);
}
