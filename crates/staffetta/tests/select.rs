//! Select: the theory's alternative, between threads and between processes.
#![allow(unsafe_code)]

mod common;

use std::time::{Duration, Instant};

use common::{finish, name, role, start, watchdog, Random};
use staffetta::{
    after, at, never, select, select_biased, tick, Domain, Message, Parcel, Receiver, RecvError, Select,
    SelectError, SendFailure, Sender, Wait,
};

fn buffered<T: Message>(domain: &Domain, degree: u64) -> (Sender<T>, Receiver<T>) {
    domain.channel("").buffered(degree).unnamed().unwrap()
}

fn basic<T: Message>(domain: &Domain, degree: u64) -> (Sender<T>, Receiver<T>) {
    domain.channel("").basic(degree).unnamed().unwrap()
}

fn rendezvous<T: Message>(domain: &Domain) -> (Sender<T>, Receiver<T>) {
    domain.channel("").unnamed().unwrap()
}

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
