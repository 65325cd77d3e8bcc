//! Select between processes: against each other, against those that are stopped or killed.
#![allow(unsafe_code)]

mod common;

use std::process::Child;
use std::time::Duration;

use common::{finish, name, pair, role, start, watchdog, Random};
use staffetta::{select, Domain, RecvError, Select, SelectError, SendFailure, Wait};

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 300);
    let domain = common::options().open(&arguments[0]).unwrap();
    match role.as_str() {
        // Sends `n` numbers over each of three channels.
        "three" => {
            let n: u64 = arguments[1].parse().unwrap();
            let a = domain.channel("a").rendezvous().sender::<u64>().unwrap();
            let b = domain.channel("b").buffered(3).sender::<u64>().unwrap();
            let c = domain.channel("c").basic(2).sender::<u64>().unwrap();
            for i in 0..n {
                a.send(i).unwrap();
                b.send(i).unwrap();
                c.send(i).unwrap();
            }
        }
        "against" => {
            let number = |i: usize| arguments[i].parse::<u64>().unwrap();
            against(&domain, number(1), number(2), false, number(3), arguments[4] == "true");
        }
        // Sends numbers by rendezvous, by a select that listens to something else too, until the receiver leaves.
        "select-sends" => {
            let tx = domain.channel(&arguments[1]).rendezvous().sender::<u64>().unwrap();
            let (_quiet, idle) = pair::<u64>(&domain, "buffered");
            let mut select = Select::new();
            let (_, send) = (select.recv(&idle).unwrap(), select.send(&tx).unwrap());
            let mut n = 0;
            loop {
                let chosen = select.select().unwrap();
                assert_eq!(chosen.index(), send);
                match chosen.send(&tx, n) {
                    Ok(()) => n += 1,
                    Err(error) if matches!(error.why, SendFailure::WouldBlock) => {}
                    Err(error) if matches!(error.why, SendFailure::Disconnected) => return,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        "victim" => {
            let tx = domain.channel(&arguments[1]).rendezvous().sender::<u64>().unwrap();
            let rx = domain.channel(&arguments[2]).rendezvous().receiver::<u64>().unwrap();
            let (mut sent, mut received) = (0, 0);
            loop {
                select! {
                    send(tx, sent) -> result => sent += u64::from(result.is_ok()),
                    recv(rx) -> message => {
                        if let Ok(n) = message {
                            assert_eq!(n, received);
                            received += 1;
                        }
                    }
                }
            }
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn from_another_process() {
    let _watchdog = watchdog("from_another_process", 120);
    let name = name("select");
    let domain = common::options().open(&name).unwrap();
    let a = domain.channel("a").rendezvous().receiver::<u64>().unwrap();
    let b = domain.channel("b").buffered(3).receiver::<u64>().unwrap();
    let c = domain.channel("c").basic(2).receiver::<u64>().unwrap();
    let n = 2_000;
    let sender = start("three", &[&name, &n.to_string()]);
    let mut select = Select::new();
    let ends = [&a, &b, &c];
    let operations = ends.map(|end| select.recv(end).unwrap());
    let mut next = [0; 3];
    while next != [n; 3] {
        let chosen = select.select().unwrap();
        let which = operations.iter().position(|i| *i == chosen.index()).unwrap();
        assert_eq!(chosen.recv(ends[which]).unwrap(), next[which]);
        next[which] += 1;
    }
    finish(sender);
}

/// Both sides of `channels` rendezvous channels are selects, sends and receives mixed: even ones go from the first to the second.
fn against(domain: &Domain, channels: u64, messages: u64, first: bool, seed: u64, slow: bool) {
    let mut random = Random::seeded(seed ^ u64::from(first));
    let senders: Vec<_> = (0..channels)
        .filter(|c| (c % 2 == 0) == first)
        .map(|c| domain.channel(&format!("c{c}")).rendezvous().sender::<u64>().unwrap())
        .collect();
    let receivers: Vec<_> = (0..channels)
        .filter(|c| (c % 2 == 0) != first)
        .map(|c| domain.channel(&format!("c{c}")).rendezvous().receiver::<u64>().unwrap())
        .collect();
    let mut select = Select::new();
    if slow {
        select.set_wait(Wait::Park);
    }
    let sends: Vec<_> = senders.iter().map(|tx| select.send(tx).unwrap()).collect();
    let receives: Vec<_> = receivers.iter().map(|rx| select.recv(rx).unwrap()).collect();
    let (mut sent, mut received) = (vec![0; sends.len()], vec![0; receives.len()]);
    let mut refused = 0;
    while sent.iter().chain(&received).any(|n| *n < messages) {
        for (i, n) in sends.iter().zip(&sent).chain(receives.iter().zip(&received)) {
            select.set_enabled(*i, *n < messages);
        }
        let chosen = match random.below(4) {
            0 => select.select_timeout(Duration::from_micros(random.below(300))),
            1 => select.try_select(),
            _ => select.select(),
        };
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(SelectError::TimedOut | SelectError::WouldBlock) => continue,
            Err(why) => panic!("{why}"),
        };
        if let Some(which) = sends.iter().position(|i| *i == chosen.index()) {
            match chosen.send(&senders[which], sent[which]) {
                Ok(()) => sent[which] += 1,
                Err(error) => {
                    assert!(matches!(error.why, SendFailure::WouldBlock), "{error:?}");
                    refused += 1;
                }
            }
        } else {
            let which = receives.iter().position(|i| *i == chosen.index()).unwrap();
            if random.below(50) == 0 {
                drop(chosen); // it is there for the next receive
                assert_eq!(receivers[which].recv().unwrap(), received[which]);
            } else {
                assert_eq!(chosen.recv(&receivers[which]).unwrap(), received[which]);
            }
            received[which] += 1;
        }
    }
    eprintln!("{} sends and {} receives, {refused} refused", sends.len(), receives.len());
}

#[test]
fn select_against_select() {
    let _watchdog = watchdog("select_against_select", 240);
    let mut random = Random::new("select_against_select");
    for (channels, slow) in [(1, false), (2, false), (2, true), (5, false), (8, true)] {
        let name = name("against");
        let seed = random.below(u64::MAX);
        let domain = common::options().open(&name).unwrap();
        let arguments = [&name, &channels.to_string(), "1000", &seed.to_string(), &slow.to_string()];
        let other = start("against", &arguments);
        against(&domain, channels, 1_000, true, seed, slow);
        finish(other);
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Selects that send to one select, by rendezvous; one of them is stopped at some instruction, and the other goes on.
#[test]
fn one_that_is_stopped_is_in_nobodys_way() {
    let _watchdog = watchdog("one_that_is_stopped_is_in_nobodys_way", 240);
    let mut random = Random::new("one_that_is_stopped_is_in_nobodys_way");
    let name = name("stopped");
    let domain = common::options().open(&name).unwrap();
    let ends = ["up0", "up1"].map(|name| domain.channel(name).rendezvous().receiver::<u64>().unwrap());
    let children = ["up0", "up1"].map(|channel| start("select-sends", &[&name, channel]));
    let mut select = Select::new();
    ends.iter().for_each(|end| assert!(select.recv(end).is_ok()));
    let mut next = [0_u64; 2];
    let mut turn = |select: &mut Select<'_>| {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        assert_eq!(chosen.recv(&ends[i]).unwrap(), next[i], "in order, each once");
        next[i] += 1;
        i
    };
    for _ in 0..60 {
        // Both are there.
        let mut seen = [false; 2];
        while seen != [true; 2] {
            seen[turn(&mut select)] = true;
        }
        let stopped = random.below(2) as usize;
        for _ in 0..random.below(20) {
            turn(&mut select);
        }
        signal(&children[stopped], rustix::process::Signal::STOP);
        let mut others = 0;
        while others < 50 {
            others += usize::from(turn(&mut select) != stopped);
        }
        signal(&children[stopped], rustix::process::Signal::CONT);
    }
    // One is killed in the middle: it is said once, and the other goes on.
    signal(&children[0], rustix::process::Signal::KILL);
    let mut died = 0;
    let mut others = 0;
    while died == 0 || others < 1_000 {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        match (i, chosen.recv(&ends[i])) {
            (i, Ok(n)) => {
                assert_eq!(n, next[i]);
                next[i] += 1;
                others += i;
            }
            (0, Err(RecvError::PeerDied)) => died += 1,
            (i, Err(why)) => panic!("{i}: {why}"),
        }
    }
    assert_eq!(died, 1);
    drop(select);
    drop(ends);
    let [mut killed, other] = children;
    assert!(!killed.wait().unwrap().success());
    finish(other);
}

/// Victims that select, sends and receives mixed, are killed at random moments: what was acknowledged is not lost, nothing
/// comes twice, and every wait ends.
#[test]
fn victims_that_select() {
    let _watchdog = watchdog("victims_that_select", 240);
    let mut random = Random::new("victims_that_select");
    let name = name("victims");
    let domain = common::options().open(&name).unwrap();
    for round in 0..40 {
        let (up, down) = (format!("up{round}"), format!("down{round}"));
        let rx = domain.channel(&up).rendezvous().receiver::<u64>().unwrap();
        let tx = domain.channel(&down).rendezvous().sender::<u64>().unwrap();
        let mut child = start("victim", &[&name, &up, &down]);
        let mut select = Select::new();
        let (receive, _send) = (select.recv(&rx).unwrap(), select.send(&tx).unwrap());
        let (mut sent, mut received) = (0, 0);
        let kill_at = 1 + random.below(400); // not before it has come
        let mut said = false;
        while !said {
            if sent + received == kill_at {
                signal(&child, rustix::process::Signal::KILL);
            }
            let chosen = select.select().unwrap();
            if chosen.index() == receive {
                match chosen.recv(&rx) {
                    Ok(n) => {
                        assert_eq!(n, received);
                        received += 1;
                    }
                    Err(RecvError::PeerDied) => said = true,
                    Err(RecvError::WouldBlock) => {}
                    Err(why) => panic!("{why}"),
                }
            } else {
                match chosen.send(&tx, sent) {
                    Ok(()) => sent += 1,
                    Err(error) if matches!(error.why, SendFailure::PeerDied) => said = true,
                    Err(error) if matches!(error.why, SendFailure::WouldBlock) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        assert!(!child.wait().unwrap().success());
    }
}
