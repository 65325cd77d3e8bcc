//! Broadcast: pins against a sender that overwrites, cursors that it waits for, who comes, leaves and dies meanwhile.
//!
//! Mutants, made by hand, and who fails (without `loom_broadcast_`):
//!
//! | mutant | fails |
//! |---|---|
//! | a pin without the second look at the cell; without the fence between | `overwritten_*` |
//! | a scan that ignores pins; a pin that is given up at once | `overwritten_in_place` |
//! | the pins of both looks of a scan counted together | `overwritten_in_place` |
//! | no second look after `granted` was raised; a receiver that comes does not wake the sender | `comes_during_a_scan` |
//! | a receiver that comes does not read `granted` | `late` |
//! | who takes does not wake the sender | `waited_for`, `late`, `to_two` |
//! | who publishes does not wake | `waited_for` and three more |
//! | `tail` taken for the truth | `sender_goes` |
//! | a receiver's select does not look again after it has announced itself | `select_receives`, `select_sender_leaves` |
//! | the sender's select does not look again; it announces itself without its fence | `select_sends` |

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread;

use super::exhaustive::{explore, explore_within, Loom};
use super::select::{choose, Looks};
use super::world::broadcast;
use super::world::FOREVER;
use crate::channel::broadcast::{Late, SlowReceiver, MISSED};
use crate::channel::call::{Patience, Stop};
use crate::channel::select::turn::At;
use crate::channel::side::{ATTACHED, DIED, LEFT};
use crate::memory::platform::Word64;

type Radio = broadcast::Radio<Loom>;
type Sends = broadcast::Sends<Loom>;
type Receives = broadcast::Receives<Loom>;

/// Pins: never torn, never backwards, what was missed is counted; with an own slot given up in between.
fn overwritten(in_place: bool, policy: SlowReceiver) {
    let radio = Radio::new(1, 1, policy);
    let mut receiver = Receives::join(&radio, SlowReceiver::DropOldest, Late::None);
    let mut sender = Sends::new(&radio);
    sender.send(1, Patience::Try, true).unwrap();
    let sends = thread::spawn(move || {
        for n in 2..=4 {
            sender.send(9, Patience::Try, false).unwrap();
            sender.send(n, Patience::Try, true).unwrap();
        }
    });
    let mut last = 0;
    for _ in 0..2 {
        match receiver.recv(Patience::Try, in_place) {
            Ok((place, value)) => {
                assert!(place + 1 == value && value > last, "{value} after {last}");
                last = value;
            }
            Err(stop) => assert_eq!(stop, Stop::WouldBlock),
        }
    }
    sends.join().unwrap();
    if last != 4 {
        assert_eq!(receiver.recv(Patience::Try, in_place), Ok((3, 4)));
    }
    let missed = radio.receivers.seat(0).words[MISSED].load(Relaxed);
    assert_eq!(missed, receiver.side.missed());
}

#[test]
fn loom_broadcast_overwritten_in_place() {
    // An observer where others are waited for, and where nobody is.
    explore("broadcast, overwritten, in place", || overwritten(true, SlowReceiver::Block));
    explore("broadcast, overwritten, in place", || overwritten(true, SlowReceiver::DropOldest));
}

#[test]
fn loom_broadcast_overwritten_by_copies() {
    explore("broadcast, overwritten, by copies", || overwritten(false, SlowReceiver::DropOldest));
}

/// Cursors: both sleep, nothing is missed.
fn waited_for(degree: u64, messages: u64, in_place: bool) {
    let radio = Radio::new(degree, 1, SlowReceiver::Block);
    let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
    let mut sender = Sends::new(&radio);
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            sender.send(n, FOREVER, true).unwrap();
        }
    });
    for n in 1..=messages {
        assert_eq!(receiver.recv(FOREVER, in_place), Ok((n - 1, n)));
    }
    sends.join().unwrap();
}

#[test]
fn loom_broadcast_waited_for() {
    for in_place in [true, false] {
        explore("broadcast, waited for, degree 1", move || waited_for(1, 3, in_place));
        explore("broadcast, waited for, degree 2", move || waited_for(2, 3, in_place));
    }
}

/// One receiver is waited for, another is not; each gets what it is promised.
#[test]
fn loom_broadcast_to_two() {
    explore_within(1, "broadcast, two receivers", || {
        let radio = Radio::new(1, 2, SlowReceiver::Block);
        let mut one = Receives::join(&radio, SlowReceiver::Block, Late::None);
        let mut other = Receives::join(&radio, SlowReceiver::DropOldest, Late::None);
        let mut sender = Sends::new(&radio);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER, true).unwrap();
            sender.send(2, FOREVER, true).unwrap();
        });
        let reads = thread::spawn(move || {
            let (_, first) = other.recv(FOREVER, true).unwrap();
            if first == 1 {
                assert_eq!(other.recv(FOREVER, true), Ok((1, 2)));
            }
        });
        assert_eq!(one.recv(FOREVER, true), Ok((0, 1)));
        assert_eq!(one.recv(FOREVER, true), Ok((1, 2)));
        sends.join().unwrap();
        reads.join().unwrap();
    });
}

/// A receiver comes while messages are sent: from the first that it gets on it misses none.
#[test]
fn loom_broadcast_late() {
    for late in [Late::None, Late::Last] {
        explore("broadcast, a receiver comes late", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut sender = Sends::new(&radio);
            let sends = thread::spawn({
                let radio = radio.clone();
                move || {
                    for n in 1..=2 {
                        sender.send(n, FOREVER, true).unwrap();
                    }
                    radio.sender_goes(LEFT);
                }
            });
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, late);
            let mut next = None;
            let end = loop {
                match receiver.recv(FOREVER, true) {
                    Ok((place, value)) => {
                        assert_eq!(place + 1, value);
                        assert!(next.is_none_or(|next| next == value), "{value}, expected {next:?}");
                        next = Some(value + 1);
                    }
                    Err(stop) => break stop,
                }
            };
            assert!(matches!(end, Stop::Gone(_)));
            assert!(next.is_none_or(|next| next == 3), "the last one is missing");
            assert!(late == Late::None || next.is_some());
            sends.join().unwrap();
        });
    }
}

/// A receiver comes while the sender looks at the receivers, and wants the message that is about to be overwritten.
#[test]
fn loom_broadcast_comes_during_a_scan() {
    explore("broadcast, a receiver comes during a scan", || {
        let radio = Radio::new(1, 1, SlowReceiver::Block);
        let mut sender = Sends::new(&radio);
        sender.send(1, FOREVER, true).unwrap();
        let sends = thread::spawn(move || sender.send(2, FOREVER, true).unwrap());
        let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::Last);
        let first = receiver.recv(FOREVER, true);
        if first != Ok((1, 2)) {
            assert_eq!(first, Ok((0, 1)));
            assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
        }
        sends.join().unwrap();
    });
}

/// A receiver that is waited for leaves or dies: the sender goes on.
#[test]
fn loom_broadcast_receiver_goes() {
    for (into, in_hand) in [(LEFT, false), (DIED, true)] {
        explore("broadcast, a receiver goes while the sender waits", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            sender.send(1, FOREVER, true).unwrap();
            let goes = thread::spawn(move || {
                if in_hand {
                    receiver.recv(FOREVER, true).unwrap();
                }
                receiver.goes(into);
            });
            sender.send(2, FOREVER, true).unwrap();
            sender.send(3, FOREVER, true).unwrap();
            goes.join().unwrap();
            let mut next = Receives::join(&radio, SlowReceiver::Block, Late::Last);
            assert_eq!(next.recv(FOREVER, true), Ok((2, 3)));
        });
    }
}

/// The sender goes while a receiver waits; its successor goes on after the last message.
#[test]
fn loom_broadcast_sender_goes() {
    explore("broadcast, the sender dies, another comes", || {
        let radio = Radio::new(1, 1, SlowReceiver::Block);
        let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
        let mut sender = Sends::new(&radio);
        let goes = thread::spawn({
            let radio = radio.clone();
            move || {
                sender.send(1, FOREVER, true).unwrap();
                radio.head.tail.store(0, Relaxed); // it did not come to say so
                radio.sender_goes(DIED);
                assert_ne!(radio.sender.end().state(), ATTACHED);
            }
        });
        assert_eq!(receiver.recv(FOREVER, true), Ok((0, 1)));
        assert!(matches!(receiver.recv(FOREVER, true), Err(Stop::Gone(_))));
        goes.join().unwrap();
        radio.sender.attach(1).unwrap();
        let mut successor = Sends::new(&radio);
        successor.send(2, FOREVER, true).unwrap();
        assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
    });
}

/// Too slow, and told so, once and for all.
#[test]
fn loom_broadcast_disconnects() {
    explore("broadcast, a slow receiver is disconnected", || {
        let radio = Radio::new(1, 1, SlowReceiver::Disconnect);
        let mut receiver = Receives::join(&radio, SlowReceiver::Disconnect, Late::None);
        let mut sender = Sends::new(&radio);
        let sends = thread::spawn(move || {
            sender.send(1, Patience::Try, true).unwrap();
            sender.send(2, Patience::Try, true).unwrap();
        });
        match receiver.recv(FOREVER, true) {
            Ok(first) => {
                assert_eq!(first, (0, 1));
                assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
            }
            Err(stop) => {
                assert_eq!(stop, Stop::Cut { missed: 1 });
                assert_eq!(receiver.recv(FOREVER, true), Err(stop));
            }
        }
        sends.join().unwrap();
    });
}

#[test]
fn loom_broadcast_select_receives() {
    for policy in [SlowReceiver::Block, SlowReceiver::DropOldest] {
        explore("broadcast, a receiver selects", move || {
            let radio = Radio::new(2, 1, policy);
            let mut receiver = Receives::join(&radio, policy, Late::None);
            let mut sender = Sends::new(&radio);
            let sends = thread::spawn(move || {
                (1..=2).for_each(|n| sender.send(n, FOREVER, true).unwrap());
            });
            // Between the two it is told by a call of its own, too.
            assert_eq!(receiver.select(), Ok((0, 1)));
            assert_eq!(receiver.select(), Ok((1, 2)));
            sends.join().unwrap();
        });
    }
}

#[test]
fn loom_broadcast_select_sender_leaves() {
    for into in [LEFT, DIED] {
        explore("broadcast, the sender of one who selects leaves or dies", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            let goes = thread::spawn(move || {
                sender.send(1, FOREVER, true).unwrap();
                sender.radio.sender_goes(into);
            });
            assert_eq!(receiver.select(), Ok((0, 1)));
            assert!(matches!(receiver.select(), Err(Stop::Gone(end)) if end.state() == into));
            goes.join().unwrap();
        });
    }
}

#[test]
fn loom_broadcast_select_sends() {
    for leaves in [false, true] {
        explore("broadcast, the sender selects", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            sender.send(1, Patience::Try, true).unwrap();
            let takes = thread::spawn(move || {
                if leaves {
                    return receiver.goes(LEFT);
                }
                assert_eq!(receiver.recv(FOREVER, false), Ok((0, 1)));
                assert_eq!(receiver.recv(FOREVER, false), Ok((1, 2)));
            });
            let sender = RefCell::new(sender);
            let own = (&radio.pcbs[radio.seats], radio.seats as u64 + 1);
            choose(&radio.set, own, (100, 0), &[&Looks(|at: At| sender.borrow_mut().look(at))]);
            assert_eq!(sender.borrow_mut().send(2, Patience::Try, true), Ok(()));
            takes.join().unwrap();
        });
    }
}
