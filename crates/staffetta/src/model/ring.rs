//! The basic channel: full and empty, withdrawals, deaths.

use std::time::Instant;

use loom::thread;

use super::exhaustive::explore;
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use crate::channel::call::{Patience, Stop};
use crate::memory::platform::Word64;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

fn one_way(degree: u64, messages: u64) {
    let channel = Channel::with_degree(degree);
    let mut sender = Actor::new(&channel, SENDER, Wait::Park);
    let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            sender.put(n, FOREVER).unwrap();
        }
    });
    for n in 1..=messages {
        assert_eq!(receiver.get(FOREVER), Ok(n));
    }
    sends.join().unwrap();
}

#[test]
fn loom_ring_of_degree_0() {
    explore("basic channel, degree 0", || one_way(0, 2));
}

#[test]
fn loom_ring_of_degree_1() {
    explore("basic channel, degree 1", || one_way(1, 3));
}

#[test]
fn loom_ring_withdrawal() {
    explore("basic channel, withdrawal while full", || {
        let channel = Channel::with_degree(0);
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let sends = thread::spawn(move || {
            let sent = sender.put(1, Patience::Until(Some(Instant::now())));
            other.leave(SENDER);
            sent
        });
        let received = receiver.get(FOREVER);
        match sends.join().unwrap() {
            Ok(()) => assert_eq!(received, Ok(1)),
            other => {
                assert_eq!(other, Err(Stop::TimedOut));
                assert!(matches!(received, Err(Stop::Gone(_))));
            }
        }
    });
}

/// A receiver dies while READING, `head` moved or not; two sweepers, one of them late; a successor: nothing lost or doubled.
fn receiver_dies(degree: u64, head_moved: bool) {
    let channel = Channel::with_degree(degree);
    let held = channel.sides[RECEIVER].end();
    channel.slots().put_and_stop(0, 1);
    channel.tail.store(1, std::sync::atomic::Ordering::Relaxed);
    assert!(channel.slots().begin_reading(0));
    channel.head.store(head_moved.into(), std::sync::atomic::Ordering::Relaxed);
    let late = thread::spawn({
        let channel = channel.clone();
        move || channel.sweep(RECEIVER, held)
    });
    channel.sweep(RECEIVER, held);
    channel.sides[RECEIVER].attach(2).unwrap();
    channel.slots().recover_head(&channel.head);
    let mut successor = Actor::new(&channel, RECEIVER, Wait::Park);
    assert_eq!(successor.get(FOREVER), Ok(1));
    late.join().unwrap();
    assert_eq!(channel.head.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn loom_ring_receiver_dies() {
    explore("basic channel, receiver dies while READING", || receiver_dies(1, false));
}

#[test]
fn loom_ring_receiver_dies_later() {
    explore("basic channel, receiver dies after moving head", || receiver_dies(0, true));
}

/// A sender dies between putting (or withdrawing) and moving `tail`, while the receiver reads.
#[test]
fn loom_ring_sender_dies() {
    for (degree, withdrawn) in [(0, false), (1, false), (0, true), (1, true)] {
        explore("basic channel, sender dies before it moves tail", move || {
            let channel = Channel::with_degree(degree);
            let held = channel.sides[SENDER].end();
            let mut sender = Actor::new(&channel, SENDER, Wait::Park);
            let now = || Patience::Until(Some(Instant::now()));
            if withdrawn {
                if degree == 1 {
                    sender.put(1, now()).unwrap();
                }
                assert_eq!(sender.put(9, now()), Err(Stop::TimedOut));
                let tail = degree + 1;
                channel.tail.store(tail, std::sync::atomic::Ordering::Relaxed); // as before the last step
            } else {
                if degree == 0 {
                    // Put, but its wait not begun.
                    channel.slots().put_and_stop(0, 1);
                } else {
                    sender.put(1, now()).unwrap();
                    channel.tail.store(0, std::sync::atomic::Ordering::Relaxed);
                }
            }
            let first = u64::from(!(withdrawn && degree == 0));
            let receives = thread::spawn({
                let channel = channel.clone();
                move || {
                    let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
                    let mut get = || match receiver.get(FOREVER) {
                        Err(Stop::Gone(_)) => receiver.get(FOREVER),
                        other => other,
                    };
                    if first == 1 {
                        assert_eq!(get(), Ok(1));
                    }
                    assert_eq!(get(), Ok(2));
                }
            });
            channel.sweep(SENDER, held);
            channel.sides[SENDER].attach(2).unwrap();
            channel.slots().recover_tail(&channel.tail, &channel.head);
            let mut successor = Actor::new(&channel, SENDER, Wait::Park);
            successor.put(2, FOREVER).unwrap();
            receives.join().unwrap();
        });
    }
}
