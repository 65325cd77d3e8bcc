//! Select: the ready set, select against select, who stops or dies in the middle.
//!
//! Mutants, made by hand, and who fails, are in the table of `model/mod.rs`.

use loom::thread;

use super::exhaustive::{explore, explore_within, Loom};
use super::machine::{RECEIVER, SENDER};
use super::world::select::{self, entry, one_of};
pub(super) use super::world::select::{choose, Looks};
use super::world::FOREVER;
use crate::channel::call::{Patience, Stop};
use crate::channel::select::look::Look;
use crate::channel::select::turn::Selectable;
use crate::channel::side::DIED;

type World = select::World<Loom>;
type End = select::End<Loom>;

#[test]
fn loom_ready_set() {
    explore_within(2, "a ready set, two deliver, one of them stops half-way", || {
        let world = World::new(0, 1);
        let set = || &world.sets[0];
        let stops = {
            let world = world.clone();
            // A bit, and nothing after it: as far as anybody who stops gets before the summary.
            thread::spawn(move || world.sets[0].set_and_stop(0))
        };
        let delivers = {
            let world = world.clone();
            thread::spawn(move || world.wake(101))
        };
        let mut pending = [0];
        while pending[0] & 2 == 0 {
            let ticket = world.pcbs[0].ticket();
            if set().announce(1) && !set().any() {
                world.pcbs[0].sleep(ticket, None);
            }
            set().awake();
            set().drain(&mut pending);
        }
        stops.join().unwrap();
        delivers.join().unwrap();
    });
}

#[test]
fn loom_select_against_a_call() {
    for who in [SENDER, RECEIVER] {
        explore("a select against a blocking call", move || {
            let world = World::new(1, 2);
            let other = world.clone();
            let calls = thread::spawn(move || {
                let end = End::new(&other, 0, 1 - who, 1);
                if who == SENDER {
                    assert_eq!(end.receive(FOREVER), Ok(7));
                } else {
                    end.send(7, FOREVER).unwrap();
                }
            });
            let end = End::new(&world, 0, who, 0);
            assert_eq!(one_of(&world, 0, &[&end], 7), (0, Ok(7)));
            calls.join().unwrap();
        });
    }
}

#[test]
fn loom_select_against_select() {
    explore("select against select, one channel", || {
        let world = World::new(1, 2);
        let other = world.clone();
        let sends = thread::spawn(move || {
            let end = End::new(&other, 0, SENDER, 1);
            assert_eq!(one_of(&other, 1, &[&end], 7), (0, Ok(7)));
        });
        let end = End::new(&world, 0, RECEIVER, 0);
        assert_eq!(one_of(&world, 0, &[&end], 0), (0, Ok(7)));
        sends.join().unwrap();
    });
}

/// Each can send to the other and receive from it; one of the two happens, the same for both.
#[test]
fn loom_select_against_select_mixed() {
    explore("select against select, sends and receives mixed", || {
        let world = World::new(2, 2);
        let other = world.clone();
        let second = thread::spawn(move || {
            let (receives, sends) = (End::new(&other, 0, RECEIVER, 1), End::new(&other, 1, SENDER, 1));
            one_of(&other, 1, &[&receives, &sends], 9)
        });
        let (sends, receives) = (End::new(&world, 0, SENDER, 0), End::new(&world, 1, RECEIVER, 0));
        let first = one_of(&world, 0, &[&sends, &receives], 5);
        let second = second.join().unwrap();
        assert_eq!(first, second, "the same operation, the same message");
        assert!(matches!(first, (0, Ok(5)) | (1, Ok(9))), "{first:?}");
    });
}

/// A sender's select that stops, for ever or until it is swept, after each of its steps: looked, nudged, reserved.
fn sender_stops(step: usize, dies: bool) {
    let world = World::new(2, 3);
    let stops = {
        let world = world.clone();
        thread::spawn(move || {
            let end = End::new(&world, 0, SENDER, 1);
            for _ in 0..step {
                if end.look(entry(200)) == Look::Ready {
                    end.secure(entry(0));
                }
            }
            if dies {
                world.dies(0, SENDER);
            }
        })
    };
    let goes_on = (!dies).then(|| {
        let world = world.clone();
        thread::spawn(move || End::new(&world, 1, SENDER, 2).send(8, FOREVER))
    });
    let ends = [0, 1].map(|channel| End::new(&world, channel, RECEIVER, 0));
    let (i, got) = one_of(&world, 0, &[&ends[0], &ends[1]], 0);
    if dies {
        assert!(i == 0 && matches!(got, Err(Stop::Gone(end)) if end.state() == DIED), "{i}: {got:?}");
    } else {
        assert_eq!((i, got), (1, Ok(8)), "the other one is not in its way");
        goes_on.unwrap().join().unwrap().unwrap();
    }
    stops.join().unwrap();
}

#[test]
fn loom_select_sender_stops() {
    for step in 1..=2 {
        explore_within(1, "a sender's select stops", move || sender_stops(step, false));
    }
}

#[test]
fn loom_select_sender_dies() {
    for step in 1..=2 {
        explore("a sender's select dies", move || sender_stops(step, true));
    }
}

/// A receiver's select that stands, and stops there or dies there.
#[test]
fn loom_select_receiver_stands_and_dies() {
    for dies in [true, false] {
        explore("a receiver's select stands, and dies or leaves", move || {
            let world = World::new(1, 2);
            let other = world.clone();
            let stands = thread::spawn(move || {
                let end = End::new(&other, 0, RECEIVER, 1);
                if end.look(entry(200)) == Look::Against {
                    end.stand(entry(0));
                }
                if dies {
                    other.dies(0, RECEIVER);
                    return None;
                }
                let given = end.withdraw(entry(0), 0);
                end.leave();
                given.then(|| end.receive(Patience::Try).unwrap())
            });
            let end = End::new(&world, 0, SENDER, 0);
            let (_, sent) = one_of(&world, 0, &[&end], 7);
            let got = stands.join().unwrap();
            match sent {
                Ok(_) => assert!(dies || got == Some(7), "taken, or taken along"),
                other => assert!(matches!(other, Err(Stop::Gone(_))) && got.is_none(), "{other:?}, {got:?}"),
            }
        });
    }
}

/// A withdrawal against a reservation: the message is taken, or comes back; never both.
#[test]
fn loom_select_withdraws_from_what_is_reserved() {
    for steps in [0, 1] {
        withdraws_from_what_is_reserved(steps);
    }
}

fn withdraws_from_what_is_reserved(steps: u64) {
    explore("a withdrawal against a reservation", move || {
        let world = World::new(1, 2);
        let other = world.clone();
        let sends = thread::spawn(move || {
            let end = End::new(&other, 0, SENDER, 1);
            if end.look(entry(200)) == Look::Ready && end.secure(entry(0)) {
                return end.send(7, Patience::Try).is_ok();
            }
            false
        });
        let end = End::new(&world, 0, RECEIVER, 0);
        let mut given = false;
        end.look(entry(100));
        if end.stand(entry(0)) {
            given = end.withdraw(entry(0), steps);
        }
        let sent = sends.join().unwrap();
        assert_eq!(given, sent);
        if given {
            assert_eq!(end.receive(Patience::Try), Ok(7));
        }
    });
}
