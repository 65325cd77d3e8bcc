//! The buffered channel: slots reserved and messages in hand, exactly K that wait, deaths.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use loom::thread;

use super::exhaustive::{explore, explore_within};
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use crate::channel::call::{Patience, Stop};
use crate::memory::platform::Word64;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

fn now() -> Patience {
    Patience::Until(Some(Instant::now()))
}

/// `in_place`: by reserving and taking in hand, or by copies.
fn one_way(messages: u64, [sends_in_place, receives_in_place]: [bool; 2]) {
    let channel = Channel::with_degree(1);
    let sender = Actor::buffered(&channel, SENDER, Wait::Park);
    let receiver = Actor::buffered(&channel, RECEIVER, Wait::Park);
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            if sends_in_place {
                sender.build(n, FOREVER, true).unwrap();
            } else {
                sender.put_into(n, FOREVER).unwrap();
            }
        }
    });
    for n in 1..=messages {
        let got =
            if receives_in_place { receiver.look(FOREVER, None, true) } else { receiver.get_from(FOREVER) };
        assert_eq!(got, Ok(n));
    }
    sends.join().unwrap();
}

#[test]
fn loom_buffer_in_place() {
    explore_within(1, "buffered channel, in place", || one_way(3, [true, true]));
}

#[test]
fn loom_buffer_by_copies() {
    explore("buffered channel, send(v) and recv()", || one_way(3, [false, false]));
}

#[test]
fn loom_buffer_mixed() {
    explore("buffered channel, send(v) and recv_ref()", || one_way(2, [false, true]));
}

#[test]
fn loom_buffer_sender_gives_up() {
    explore("buffered channel, a sender that gives up or is too late", || {
        let channel = Channel::with_degree(1);
        let sender = Actor::buffered(&channel, SENDER, Wait::Park);
        let receiver = Actor::buffered(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let sends = thread::spawn(move || {
            sender.build(1, FOREVER, true).unwrap();
            let second = sender.build(2, now(), true);
            other.leave(SENDER);
            second
        });
        assert_eq!(receiver.look(FOREVER, None, true), Ok(1));
        let second = receiver.look(FOREVER, None, true);
        match sends.join().unwrap() {
            Ok(()) => assert_eq!(second, Ok(2)),
            other => {
                assert_eq!(other, Err(Stop::TimedOut));
                assert!(matches!(second, Err(Stop::Gone(_))));
            }
        }
    });
}

/// A receiver dies with a message in hand, `changed` or not: its successor gets it, or is told; nothing is lost or doubled.
/// Meanwhile the sender waits for room, or another sweeper is late.
fn receiver_dies(changed: bool, sender_waits: bool) {
    let channel = Channel::with_degree(1);
    let held = channel.sides[RECEIVER].end();
    let sender = Actor::buffered(&channel, SENDER, Wait::Park);
    let dead = Actor::buffered(&channel, RECEIVER, Wait::Park);
    sender.build(1, FOREVER, true).unwrap();
    assert_eq!(dead.look(FOREVER, changed.then_some(10), false), Ok(if changed { 11 } else { 1 }));
    sender.build(2, FOREVER, true).unwrap();
    let meanwhile = thread::spawn({
        let channel = channel.clone();
        move || {
            if sender_waits {
                match sender.build(3, FOREVER, true) {
                    Err(Stop::Gone(_)) => sender.build(3, FOREVER, true).unwrap(),
                    sent => sent.unwrap(),
                }
            } else {
                channel.sweep(RECEIVER, held);
            }
        }
    });
    channel.sweep(RECEIVER, held);
    channel.sides[RECEIVER].attach(2).unwrap();
    channel.slots().recover_head(&channel.head);
    let successor = Actor::buffered(&channel, RECEIVER, Wait::Park);
    let first = successor.look(FOREVER, None, true);
    assert_eq!(first, if changed { Err(Stop::Torn { place: 0 }) } else { Ok(1) });
    assert_eq!(successor.look(FOREVER, None, true), Ok(2));
    if sender_waits {
        assert_eq!(successor.get_from(FOREVER), Ok(3));
    }
    meanwhile.join().unwrap();
}

#[test]
fn loom_buffer_receiver_dies() {
    for changed in [false, true] {
        explore("buffered channel, receiver dies, two sweepers", move || receiver_dies(changed, false));
    }
}

#[test]
fn loom_buffer_receiver_dies_while_the_sender_waits() {
    for changed in [false, true] {
        explore_within(1, "buffered channel, receiver dies, sender waits", move || {
            receiver_dies(changed, true)
        });
    }
}

/// A sender dies with a slot reserved, or between EMPTY => FULL and moving `tail`, while the receiver takes.
#[test]
fn loom_buffer_sender_dies() {
    for put in [false, true] {
        explore("buffered channel, sender dies", move || {
            let channel = Channel::with_degree(1);
            let held = channel.sides[SENDER].end();
            let dead = Actor::buffered(&channel, SENDER, Wait::Park);
            dead.build(1, FOREVER, put).unwrap();
            channel.tail.store(0, Relaxed); // not moved yet
            let receives = thread::spawn({
                let channel = channel.clone();
                move || {
                    let receiver = Actor::buffered(&channel, RECEIVER, Wait::Park);
                    let get = || match receiver.look(FOREVER, None, true) {
                        Err(Stop::Gone(_)) => receiver.look(FOREVER, None, true),
                        other => other,
                    };
                    if put {
                        assert_eq!(get(), Ok(1));
                    }
                    assert_eq!(get(), Ok(2));
                }
            });
            channel.sweep(SENDER, held);
            channel.sides[SENDER].attach(2).unwrap();
            channel.slots().recover_tail(&channel.tail, &channel.head);
            let successor = Actor::buffered(&channel, SENDER, Wait::Park);
            successor.put_into(2, FOREVER).unwrap();
            receives.join().unwrap();
        });
    }
}
