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
