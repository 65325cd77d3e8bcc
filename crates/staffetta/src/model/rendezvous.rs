//! The rendezvous: values and variables, withdrawals, deaths.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use loom::thread;

use super::exhaustive::{explore, explore_within};
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use crate::channel::call::{Patience, Stop};
use crate::channel::line::{brings, OFFER};
use crate::channel::side::{DIED, LEFT};
use crate::memory::word::IN_MESSAGE;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

fn past() -> Patience {
    Patience::Until(Some(Instant::now()))
}

fn one_way(wait: Wait, messages: u64) {
    let channel = Channel::new();
    let mut sender = Actor::new(&channel, SENDER, wait);
    let mut receiver = Actor::new(&channel, RECEIVER, wait);
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            sender.send(n, FOREVER).unwrap();
        }
    });
    for n in 1..=messages {
        assert_eq!(receiver.receive(FOREVER), Ok(n));
    }
    sends.join().unwrap();
}

#[test]
fn loom_values_one_way() {
    explore("two values, parking", || one_way(Wait::Park, 2));
}

#[test]
fn loom_values_one_way_spinning() {
    explore("two values, spinning", || one_way(Wait::Spin, 2));
}

/// Each cell is used again, and the sender guesses which: three values, and a small message that goes from or to a
/// variable (V) in between, which the guess knows nothing of.
fn mixed(wait: Wait, sends: &'static str, receives: &'static str) {
    let channel = Channel::new();
    let mut sender = Actor::new(&channel, SENDER, wait);
    let mut receiver = Actor::new(&channel, RECEIVER, wait);
    let thread = thread::spawn(move || {
        for (n, how) in (1..).zip(sends.chars()) {
            match how {
                'V' => sender.send_variable(n, 1, FOREVER).unwrap(),
                _ => sender.send(n, FOREVER).unwrap(),
            }
        }
    });
    for (n, how) in (1..).zip(receives.chars()) {
        let received = match how {
            'V' => receiver.receive_variable(1, FOREVER),
            _ => receiver.receive(FOREVER),
        };
        assert_eq!(received, Ok(n), "of {sends} into {receives}");
    }
    thread.join().unwrap();
}

#[test]
fn loom_three_values() {
    explore("three values, spinning", || mixed(Wait::Spin, "vvv", "vvv"));
}

#[test]
fn loom_values_around_a_variable() {
    explore("value, variable, value", || mixed(Wait::Spin, "vVv", "vvv"));
}

#[test]
fn loom_values_around_a_target_variable() {
    explore("values into a value, a variable, a value", || mixed(Wait::Spin, "vvv", "vVv"));
}

#[test]
fn loom_variable_to_variable_between_values() {
    explore("value, variable to variable, value", || mixed(Wait::Spin, "vVv", "vVv"));
}

/// A guess that the receiver's withdrawals have made wrong: whatever was sent comes once, in order.
#[test]
fn loom_guess_meets_withdrawals() {
    explore("three values, a receiver that gives up", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Spin);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Spin);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER).unwrap();
            let second = sender.send(2, past()); // it withdraws as well
            sender.send(3, FOREVER).unwrap();
            second
        });
        assert_eq!(receiver.receive(FOREVER), Ok(1));
        let mut received: Vec<u64> = receiver.receive(past()).into_iter().collect();
        while received.last() != Some(&3) {
            received.push(receiver.receive(FOREVER).unwrap());
        }
        match sends.join().unwrap() {
            Ok(()) => assert_eq!(received, [2, 3]),
            other => assert_eq!((other, received), (Err(Stop::TimedOut), vec![3])),
        }
    });
}

/// Both give up at once: they agree on whether it happened.
#[test]
fn loom_withdrawal() {
    explore("withdrawal races with take and deliver", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let sends = thread::spawn(move || {
            let first = sender.send(1, past());
            (first, sender.send(2, past()))
        });
        let received = [receiver.receive(past()), receiver.receive(past())];
        let (first, second) = sends.join().unwrap();
        let mut sent = Vec::new();
        for (value, result) in [(1, first), (2, second)] {
            match result {
                Ok(()) => sent.push(value),
                other => assert_eq!(other, Err(Stop::TimedOut)),
            }
        }
        let received: Vec<u64> = received.into_iter().flatten().collect();
        assert_eq!(sent, received);
    });
}

#[test]
fn loom_try() {
    explore("try_send meets a receiver", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let sends = thread::spawn(move || {
            let sent = sender.send(1, Patience::Try);
            other.leave(SENDER);
            sent
        });
        let received = receiver.receive(FOREVER);
        match sends.join().unwrap() {
            Ok(()) => assert_eq!(received, Ok(1)),
            other => {
                assert_eq!(other, Err(Stop::WouldBlock));
                assert!(matches!(received, Err(Stop::Gone(_))));
            }
        }
    });
}

#[test]
fn loom_variables() {
    explore("variable to variable, parking", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let sends = thread::spawn(move || sender.send_variable(7, 4, FOREVER));
        assert_eq!(receiver.receive_variable(5, FOREVER), Ok(7));
        sends.join().unwrap().unwrap();
    });
}

fn adoptions(channel: &Channel) -> [[u64; 2]; 2] {
    [&channel.adopted, &channel.given_back].map(|two| [two[0].load(Relaxed), two[1].load(Relaxed)])
}

#[test]
fn loom_sender_abandons() {
    explore("a sender abandons a copy", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let sends = thread::spawn(move || {
            let sent = sender.send_variable(7, 4, past());
            other.leave(SENDER);
            sent
        });
        let received = receiver.receive_variable(5, FOREVER);
        let adopted = match sends.join().unwrap() {
            Ok(()) => {
                assert_eq!(received, Ok(7));
                0
            }
            // It counts as sent, and the storage is the receiver's.
            Err(Stop::Abandoned) => {
                assert_eq!(received, Ok(7));
                1
            }
            Err(stop) => {
                assert_eq!(stop, Stop::TimedOut);
                assert!(matches!(received, Err(Stop::Gone(_))));
                0
            }
        };
        assert_eq!(adoptions(&channel), [[adopted, 0], [adopted, 0]]);
    });
}

#[test]
fn loom_receiver_abandons() {
    explore("a receiver abandons a copy", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let receives = thread::spawn(move || {
            let received = receiver.receive_variable(5, past());
            other.leave(RECEIVER);
            received
        });
        let sent = sender.send_variable(7, 4, FOREVER);
        let (happened, adopted) = match receives.join().unwrap() {
            Ok(value) => {
                assert_eq!(value, 7);
                (true, 0)
            }
            Err(Stop::Abandoned) => (false, 1),
            other => {
                assert_eq!(other, Err(Stop::TimedOut));
                (false, 0)
            }
        };
        assert_eq!(sent.is_ok(), happened, "{sent:?}");
        assert_eq!(adoptions(&channel), [[0, adopted], [0, adopted]]);
    });
}

/// Too long, either first; one of the two may give up meanwhile.
fn too_long(patience: impl Fn() -> Patience) {
    let channel = Channel::new();
    let mut sender = Actor::new(&channel, SENDER, Wait::Park);
    let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
    let other = channel.clone();
    let patience = patience();
    let sends = thread::spawn(move || {
        let sent = sender.send_variable(7, 5, patience);
        other.leave(SENDER);
        sent
    });
    let received = receiver.receive_variable(2, FOREVER);
    let sent = sends.join().unwrap();
    let refused = Stop::TooLong { length: 40, capacity: 16 };
    match sent {
        Err(Stop::TimedOut) => assert!(matches!(received, Err(Stop::Gone(_))), "{received:?}"),
        // It gave up while the receiver looked: what the receiver then refused is given back.
        Err(Stop::Abandoned) => assert_eq!(adoptions(&channel), [[1, 0], [1, 0]]),
        other => assert_eq!((other, received), (Err(refused), Err(refused))),
    }
}

#[test]
fn loom_too_long() {
    explore("a message that does not fit", || too_long(|| FOREVER));
}

#[test]
fn loom_too_long_and_abandoned() {
    explore("a message that does not fit, abandoned", || too_long(past));
}

#[test]
fn loom_partner_leaves_while_one_waits() {
    explore("the receiver takes one and leaves", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let receives = thread::spawn(move || {
            assert_eq!(receiver.receive(FOREVER), Ok(1));
            other.leave(RECEIVER);
        });
        sender.send(1, FOREVER).unwrap();
        assert!(matches!(sender.send(2, FOREVER), Err(Stop::Gone(_))));
        receives.join().unwrap();
    });
}

/// A receiver that stops for ever after `begin`, or before; two sweepers; the sender's call ends.
#[test]
fn loom_receiver_dies_while_taking() {
    explore("the receiver dies while TAKING", || {
        let channel = Channel::new();
        let held = channel.sides[RECEIVER].end();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let dies = thread::spawn({
            let channel = channel.clone();
            move || {
                // The last steps of the dead one: nothing, or a copy begun.
                let now = channel.line.word();
                if now.state() == OFFER {
                    let _ = channel.line.begin(now, held.sequence());
                }
                let other = channel.clone();
                let sweeps = thread::spawn(move || other.sweep(RECEIVER, held));
                channel.sweep(RECEIVER, held);
                sweeps.join().unwrap();
            }
        });
        let sent = sender.send_variable(7, 4, FOREVER);
        assert!(matches!(sent, Err(Stop::Gone(end)) if end.state() == DIED), "{sent:?}");
        dies.join().unwrap();
        assert_eq!(adoptions(&channel), [[0, 0], [0, 0]]);
    });
}

/// A sender that stops for ever after its offer, while the receiver copies from its variable.
#[test]
fn loom_sender_dies_while_the_receiver_copies() {
    explore("the sender dies while the receiver is TAKING", || {
        let channel = Channel::new();
        let held = channel.sides[SENDER].end();
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        // SAFETY: the sender, IDLE(0).
        #[allow(unsafe_code)]
        unsafe {
            let words = [super::machine::reference(SENDER), 32, 0];
            channel.line.write_cell(0, |cell| cell.cast::<[u64; 3]>().write(words));
        }
        channel.line.offer(channel.line.word(), brings::VARIABLE).unwrap();
        let sweeps = [0, 1].map(|_| {
            let channel = channel.clone();
            thread::spawn(move || channel.sweep(SENDER, held))
        });
        let received = receiver.receive_variable(5, FOREVER);
        for sweep in sweeps {
            sweep.join().unwrap();
        }
        let [[adopted, _], [given_back, _]] = adoptions(&channel);
        match received {
            Ok(_) => assert!(adopted == given_back && adopted <= 1),
            other => {
                assert!(matches!(other, Err(Stop::Gone(_))), "{other:?}");
                assert_eq!(adopted, 0);
            }
        }
    });
}

/// A sweeper that is stopped for long does nothing to a successor.
#[test]
fn loom_late_sweeper() {
    explore_within(1, "a late sweeper and a successor", || {
        let channel = Channel::new();
        let held = channel.sides[RECEIVER].end();
        channel.line.want(channel.line.word(), 0).unwrap(); // where it died
        let late = thread::spawn({
            let channel = channel.clone();
            move || channel.sweep(RECEIVER, held)
        });
        let succeeds = thread::spawn({
            let channel = channel.clone();
            move || {
                channel.sweep(RECEIVER, held);
                channel.sides[RECEIVER].attach(2).unwrap();
                Actor::new(&channel, RECEIVER, Wait::Park).receive(FOREVER)
            }
        });
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let sent = match sender.send(7, FOREVER) {
            Err(Stop::Gone(_)) => sender.send(7, FOREVER),
            // Delivered to the dead one, just before it was swept.
            Ok(()) if channel.line.word().sequence() == 1 => match sender.send(7, FOREVER) {
                Err(Stop::Gone(_)) => sender.send(7, FOREVER),
                other => other,
            },
            other => other,
        };
        sent.unwrap();
        late.join().unwrap();
        assert_eq!(succeeds.join().unwrap(), Ok(7));
    });
}

/// The end is handed on in a message between two messages: the sender, which may sleep, notices nothing.
fn handed_on(wait: Wait, gives_up: bool) {
    let channel = Channel::new();
    let mut sender = Actor::new(&channel, SENDER, wait);
    let mut receiver = Actor::new(&channel, RECEIVER, wait);
    let thread = thread::spawn(move || {
        assert_eq!(sender.send(1, FOREVER), Ok(()));
        sender.send(2, FOREVER)
    });
    assert_eq!(receiver.receive(FOREVER), Ok(1));
    let side = &channel.sides[RECEIVER];
    let known = receiver.memory.peer.get();
    drop(receiver);
    let travelling = side.hand_on(side.end().awake(), IN_MESSAGE).unwrap();
    if gives_up {
        // The message was dropped, with the end in it.
        channel.detach(RECEIVER, travelling, LEFT);
        assert!(matches!(thread.join().unwrap(), Err(Stop::Gone(_))));
        return;
    }
    side.hand_on(travelling, 2).unwrap();
    let mut receiver = Actor::new(&channel, RECEIVER, wait);
    receiver.memory.peer.set(known);
    assert_eq!(receiver.receive(FOREVER), Ok(2));
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn loom_end_handed_on() {
    explore("an end is handed on, parking", || handed_on(Wait::Park, false));
}

#[test]
fn loom_end_handed_on_spinning() {
    explore("an end is handed on, spinning", || handed_on(Wait::Spin, false));
}

#[test]
fn loom_end_dropped_in_a_message() {
    explore("an end is dropped in a message", || handed_on(Wait::Park, true));
}
