//! Private memory that is lent: read, refused, given up, in both orders of arrival; deaths of both.
//!
//! Mutants, made by hand, and who fails:
//!
//! | mutant | fails |
//! |---|---|
//! | `await_end` does not look whether it is its turn | `loom_lent` and eleven more |
//! | `Line::announce` does not look | `loom_lent`, `loom_lent_in_vain`, `loom_lent_in_vain_to_a_full_domain` |
//! | `Line::withdraw` does not look | `loom_reader_gives_up` and two more |
//! | `lend`, `staged`, `decline` do not wake | `loom_lent`; `loom_lent_in_vain`; `loom_lent_in_vain_to_a_full_domain` |
//! | a want that was lent to and withdrawn is taken for too long | `loom_lender_dies` and four more |
//! | `lend` without a note of the length | `loom_lent_and_withdrawn_after_too_long` |
//! | a loss that was seen at one's turn is forgotten | `loom_reader_gives_up_waiting_for_staging` |

use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::exhaustive::explore;
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use crate::channel::call::{Lent, Patience, Stop};
use crate::channel::line::{brings, IDLE, OFFER};
use crate::channel::side::DIED;
use crate::memory::platform::Word64;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

fn past() -> Patience {
    Patience::Until(Some(Instant::now()))
}

fn one_way(reading: Lent, wait: Wait, messages: u64) {
    let channel = Channel::lending(reading, true);
    let mut sender = Actor::new(&channel, SENDER, wait);
    let mut receiver = Actor::new(&channel, RECEIVER, wait);
    let copies = if reading == Lent::Read { 1 } else { 2 };
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            sender.lend(n, FOREVER).unwrap();
            assert_eq!(sender.memory.copies.get(), copies);
        }
    });
    for n in 1..=messages {
        assert_eq!(receiver.receive_private(1, FOREVER), Ok(n));
        assert_eq!(receiver.memory.copies.get(), copies);
    }
    sends.join().unwrap();
}

#[test]
fn loom_lent() {
    explore("lent and read, parking", || one_way(Lent::Read, Wait::Park, 1));
}

#[test]
fn loom_lent_twice() {
    explore("two lent and read, spinning", || one_way(Lent::Read, Wait::Spin, 2));
}

#[test]
fn loom_lent_in_vain() {
    explore("lent, refused and staged, parking", || one_way(Lent::Refused, Wait::Park, 1));
}

#[test]
fn loom_lent_in_vain_twice() {
    explore("two lent, refused and staged, spinning", || one_way(Lent::Refused, Wait::Spin, 2));
}

#[test]
fn loom_lent_too_early() {
    explore("lent before it can be read", || one_way(Lent::NotNow, Wait::Spin, 2));
}

/// Both agree on whether it happened, and what was read is never what the sender made of it afterwards.
fn given_up(reading: Lent, sends: fn() -> Patience, receives: fn() -> Patience) {
    let channel = Channel::lending(reading, true);
    let mut sender = Actor::new(&channel, SENDER, Wait::Park);
    let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
    let other = channel.clone();
    let thread = thread::spawn(move || {
        let sent = sender.lend(7, sends());
        other.leave(SENDER);
        sent
    });
    let received = receiver.receive_private(1, receives());
    channel.leave(RECEIVER);
    let sent = thread.join().unwrap();
    match received {
        Ok(value) => assert_eq!((value, sent), (7, Ok(()))),
        Err(stop) => {
            assert!(matches!(stop, Stop::TimedOut | Stop::Gone(_)), "{stop:?}");
            assert!(matches!(sent, Err(Stop::TimedOut | Stop::Gone(_))), "{sent:?}");
        }
    }
}

#[test]
fn loom_lender_gives_up() {
    explore("a lender gives up", || given_up(Lent::Read, past, || FOREVER));
}

#[test]
fn loom_lender_gives_up_staging() {
    explore("a lender that has to stage gives up", || given_up(Lent::Refused, past, || FOREVER));
}

#[test]
fn loom_reader_gives_up() {
    explore("a reader gives up", || given_up(Lent::Read, || FOREVER, past));
}

#[test]
fn loom_reader_gives_up_waiting_for_staging() {
    explore("a reader gives up, lent in vain", || given_up(Lent::Refused, || FOREVER, past));
}

#[test]
fn loom_lender_and_reader_give_up() {
    explore("both give up", || given_up(Lent::Read, past, past));
}

#[test]
fn loom_lent_too_long() {
    explore("lent, and too long", || {
        let channel = Channel::lending(Lent::Read, true);
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let sends = thread::spawn(move || sender.lend(7, FOREVER));
        let refused = Stop::TooLong { length: 8, capacity: 0 };
        assert_eq!(receiver.receive_private(0, FOREVER), Err(refused));
        assert_eq!(sends.join().unwrap(), Err(refused));
    });
}

/// A receiver to whom something was lent and withdrawn does not take it for what was too long before.
#[test]
fn loom_lent_and_withdrawn_after_too_long() {
    explore("lent and withdrawn, after one that was too long", || {
        let channel = Channel::lending(Lent::Read, true);
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let refused = Stop::TooLong { length: 16, capacity: 8 };
        let sends = thread::spawn(move || {
            assert_eq!(sender.lend_words(6, 2, FOREVER), Err(refused));
            let sent = sender.lend(7, past());
            other.leave(SENDER);
            sent
        });
        assert_eq!(receiver.receive_private(1, FOREVER), Err(refused));
        let received = receiver.receive_private(1, FOREVER);
        match sends.join().unwrap() {
            Ok(()) => assert_eq!(received, Ok(7)),
            other => {
                assert_eq!(other, Err(Stop::TimedOut));
                assert!(matches!(received, Err(Stop::Gone(_))), "{received:?}");
            }
        }
    });
}

#[test]
fn loom_lent_in_vain_to_a_full_domain() {
    explore("lent in vain, and no room to stage it", || {
        let channel = Channel::lending(Lent::Refused, false);
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let sends = thread::spawn(move || {
            let sent = sender.lend(6, FOREVER);
            // Then there is room. Nobody leaves: the receiver has to be awake by now.
            other.room.store(1, Relaxed);
            sender.lend(7, FOREVER).unwrap();
            sent
        });
        assert_eq!(receiver.receive_private(1, FOREVER), Ok(7));
        assert_eq!(sends.join().unwrap(), Err(Stop::Full));
    });
}

/// A receiver that stops for ever before it reads, in the middle, or after it has asked; two sweepers.
fn reader_dies(last_steps: usize) {
    let channel = Channel::lending(Lent::Read, true);
    let held = channel.sides[RECEIVER].end();
    let mut sender = Actor::new(&channel, SENDER, Wait::Park);
    let dies = thread::spawn({
        let channel = channel.clone();
        move || {
            let now = channel.line.word();
            if now.state() == OFFER && last_steps > 0 {
                let taking = channel.line.begin(now, held.sequence());
                if let (Ok(taking), 2) = (taking, last_steps) {
                    channel.line.ask(taking); // and it is killed before it wakes the sender
                }
            }
            let other = channel.clone();
            let sweeps = thread::spawn(move || other.sweep(RECEIVER, held));
            channel.sweep(RECEIVER, held);
            sweeps.join().unwrap();
        }
    });
    let sent = sender.lend(7, FOREVER);
    assert!(matches!(sent, Err(Stop::Gone(end)) if end.state() == DIED), "{sent:?}");
    dies.join().unwrap();
}

#[test]
fn loom_reader_dies_while_reading() {
    explore("the reader dies while it reads", || reader_dies(1));
}

#[test]
fn loom_reader_dies_having_asked() {
    explore("the reader dies after it asked for staging", || reader_dies(2));
}

/// A want that was turned into an offer, when its receiver dies.
#[test]
fn loom_reader_dies_wanting() {
    explore("the reader dies, and was lent to", || {
        let channel = Channel::lending(Lent::Read, true);
        let held = channel.sides[RECEIVER].end();
        channel.line.want(channel.line.word(), brings::LENT).unwrap();
        channel.sides[RECEIVER].set_target(0, 8);
        let sweeps = thread::spawn({
            let channel = channel.clone();
            move || channel.sweep(RECEIVER, held)
        });
        let sent = Actor::new(&channel, SENDER, Wait::Park).lend(7, FOREVER);
        assert!(matches!(sent, Err(Stop::Gone(end)) if end.state() == DIED), "{sent:?}");
        sweeps.join().unwrap();
    });
}

/// A sender that stops for ever after it lent, whichever of the two came first.
fn lender_dies(reading: Lent) {
    let channel = Channel::lending(reading, true);
    let held = channel.sides[SENDER].end();
    let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
    channel.lent.store(7, Relaxed);
    let dies = thread::spawn({
        let channel = channel.clone();
        move || {
            let now = channel.line.word();
            // SAFETY: the sender, IDLE(0) or WANT(0).
            #[allow(unsafe_code)]
            unsafe {
                channel.line.write_cell(0, |cell| cell.cast::<[u64; 3]>().write([1, 8, 0]));
            }
            channel.sides[SENDER].set_note(8);
            match now.state() {
                IDLE => drop(channel.line.offer(now, brings::LENT)),
                _ => drop(channel.line.lend(now)),
            }
            channel.sweep(SENDER, held);
        }
    });
    let received = receiver.receive_private(1, FOREVER);
    dies.join().unwrap();
    match received {
        Ok(value) => assert_eq!((reading, value), (Lent::Read, 7)),
        other => assert!(matches!(other, Err(Stop::Gone(_))), "{other:?}"),
    }
}

#[test]
fn loom_lender_dies() {
    explore("the lender dies", || lender_dies(Lent::Read));
}

#[test]
fn loom_lender_dies_asked_to_stage() {
    explore("the lender dies, asked to stage", || lender_dies(Lent::Refused));
}
