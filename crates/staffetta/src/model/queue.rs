//! The queue: many senders, many receivers, who stop and die in the middle.

use std::time::Instant;

use loom::thread;

use super::exhaustive::{explore, Loom};
use super::world::queue;
use super::world::FOREVER;
use crate::channel::call::{Patience, Stop};
use crate::channel::side::{DIED, LEFT};

type Many = queue::Many<Loom>;
type End = queue::End<Loom>;

/// Two senders, one receiver, more messages than there is room for.
#[test]
fn loom_queue_many_to_one() {
    explore("queue, two senders, degree 1 in all", || {
        let many = Many::new(1, None, 2, 1);
        let threads = [0, 1].map(|seat| {
            let sender = End::new(&many, true, seat);
            thread::spawn(move || sender.send(1 + seat as u64, FOREVER).unwrap())
        });
        let receiver = End::new(&many, false, 0);
        let mut got = [receiver.recv(FOREVER).unwrap(), receiver.recv(FOREVER).unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_queue_degree_per_sender() {
    explore("queue, degree 1 per sender", || {
        let many = Many::new(2, Some(1), 1, 1);
        let sender = End::new(&many, true, 0);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER).unwrap();
            sender.send(2, FOREVER).unwrap();
            sender.send(3, FOREVER).unwrap();
        });
        let receiver = End::new(&many, false, 0);
        for n in 1..=3 {
            assert_eq!(receiver.recv(FOREVER), Ok(n));
        }
        sends.join().unwrap();
    });
}

/// One message is taken, and then nothing more: the sender that waits for its room is woken.
#[test]
fn loom_queue_one_is_taken() {
    explore("queue, one message is taken", || {
        let many = Many::new(1, None, 1, 1);
        let sender = End::new(&many, true, 0);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER).unwrap();
            sender.send(2, FOREVER).unwrap();
        });
        let receiver = End::new(&many, false, 0);
        assert_eq!(receiver.recv(FOREVER), Ok(1));
        sends.join().unwrap();
        assert_eq!(receiver.recv(Patience::Try), Ok(2));
    });
}

/// One sender, two receivers: each message to one.
#[test]
fn loom_queue_one_to_many() {
    explore("queue, two receivers", || {
        let many = Many::new(1, None, 1, 2);
        let threads = [0, 1].map(|seat| {
            let receiver = End::new(&many, false, seat);
            thread::spawn(move || receiver.recv(FOREVER).unwrap())
        });
        let sender = End::new(&many, true, 0);
        sender.send(1, FOREVER).unwrap();
        sender.send(2, FOREVER).unwrap();
        let mut got = threads.map(|thread| thread.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

/// A sender that makes room drops what is in its way, and nothing when somebody has just taken that.
#[test]
fn loom_queue_makes_room() {
    explore("queue, a sender makes room while a receiver takes", || {
        let many = Many::new(2, None, 1, 2);
        let sender = End::new(&many, true, 0);
        sender.send(0, FOREVER).unwrap();
        sender.send(1, FOREVER).unwrap();
        let sends = thread::spawn(move || sender.force(2));
        let first = End::new(&many, false, 0).recv(Patience::Try).unwrap();
        let dropped = sends.join().unwrap();
        assert_eq!(first, dropped, "the first one was taken, or dropped");
    });
}

/// A receiver dies with a message in hand, while another waits: it is returned, and comes once.
#[test]
fn loom_queue_receiver_dies() {
    explore("queue, a receiver dies with a message in hand, two sweepers", || {
        let many = Many::new(2, None, 1, 2);
        let dead = End::new(&many, false, 1);
        let held = many.held(false, 1);
        End::new(&many, true, 0).send(7, FOREVER).unwrap();
        assert_eq!(dead.hold(FOREVER), Ok(7));
        let sweeps = thread::spawn({
            let many = many.clone();
            move || many.detach(false, 1, held, DIED)
        });
        let receives = thread::spawn({
            let receiver = End::new(&many, false, 0);
            move || receiver.recv(FOREVER)
        });
        many.detach(false, 1, held, DIED);
        assert_eq!(receives.join().unwrap(), Ok(7));
        sweeps.join().unwrap();
        let other = End::new(&many, false, 0);
        assert_eq!(other.recv(Patience::Try), Err(Stop::WouldBlock));
    });
}

/// The sender leaves; a receiver that waits is told, after it has what was sent.
#[test]
fn loom_queue_sender_leaves() {
    explore("queue, the sender leaves while the receiver waits", || {
        let many = Many::new(1, None, 1, 1);
        let sender = End::new(&many, true, 0);
        let receiver = End::new(&many, false, 0);
        let leaves = thread::spawn({
            let many = many.clone();
            move || {
                sender.send(1, FOREVER).unwrap();
                many.detach(true, 0, many.held(true, 0), LEFT);
            }
        });
        assert_eq!(receiver.recv(FOREVER), Ok(1));
        assert!(matches!(receiver.recv(FOREVER), Err(Stop::Gone(_))));
        leaves.join().unwrap();
    });
}

/// A receiver is stopped after its commit point, before it wakes the sender that waits for room: the other one does.
#[test]
fn loom_queue_receiver_stops_before_it_wakes() {
    explore("queue, a receiver stops after its commit point", || {
        let many = Many::new(1, None, 1, 2);
        let [receiver, stops] = [0, 1].map(|seat| End::new(&many, false, seat));
        let sends = thread::spawn({
            let sender = End::new(&many, true, 0);
            move || {
                sender.send(1, FOREVER).unwrap();
                sender.send(2, FOREVER).unwrap();
            }
        });
        let takes = thread::spawn(move || stops.call(|party| party.take_and_stop()));
        let first = receiver.recv(FOREVER).unwrap();
        if !takes.join().unwrap() {
            assert_eq!((first, receiver.recv(FOREVER)), (1, Ok(2)));
        }
        sends.join().unwrap();
    });
}

/// The same, and the other one never sleeps.
#[test]
fn loom_queue_receiver_stops_and_another_tries() {
    explore("queue, a receiver stops after its commit point, and another tries", || {
        let many = Many::new(1, None, 1, 2);
        let [receiver, stops] = [0, 1].map(|seat| End::new(&many, false, seat));
        let sender = End::new(&many, true, 0);
        sender.send(1, FOREVER).unwrap();
        let sends = thread::spawn(move || sender.send(2, FOREVER).unwrap());
        assert!(stops.call(|party| party.take_and_stop()));
        while receiver.recv(Patience::Try).is_err() {
            thread::yield_now();
        }
        sends.join().unwrap();
    });
}

/// A sender gives up for want of room, or is just in time: never both.
#[test]
fn loom_queue_sender_gives_up() {
    explore("queue, a sender that gives up", || {
        let many = Many::new(1, None, 2, 1);
        let [first, second] = [0, 1].map(|seat| End::new(&many, true, seat));
        first.send(1, FOREVER).unwrap();
        let gives_up = thread::spawn(move || second.send(2, Patience::Until(Some(Instant::now()))).is_ok());
        let receiver = End::new(&many, false, 0);
        assert_eq!(receiver.recv(FOREVER), Ok(1));
        let sent = gives_up.join().unwrap();
        assert_eq!(receiver.recv(Patience::Try).is_ok(), sent);
    });
}

/// A sender is stopped between marking its slot and filling the cell: others go on; its successor has the slot again.
#[test]
fn loom_queue_sender_stops_before_its_commit() {
    explore("queue, a sender dies before its commit point", || {
        let many = Many::new(2, None, 2, 1);
        let dead = End::new(&many, true, 1);
        dead.call(|party| party.mark_and_stop());
        let held = many.held(true, 1);
        let sends = thread::spawn({
            let sender = End::new(&many, true, 0);
            move || sender.send(1, FOREVER).unwrap()
        });
        many.detach(true, 1, held, DIED);
        assert!(many.senders.attach(2, 2).is_ok());
        many.queue().recover_lane(1);
        let successor = End::new(&many, true, 1);
        successor.send(2, FOREVER).unwrap();
        sends.join().unwrap();
        let receiver = End::new(&many, false, 0);
        let mut got = [receiver.recv(FOREVER).unwrap(), receiver.recv(FOREVER).unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert_eq!(receiver.recv(Patience::Try), Err(Stop::WouldBlock));
    });
}

/// Senders die in the same place, one after the other, more often than there are slots: the next one has room.
#[test]
fn loom_queue_senders_die_before_their_commit() {
    const SLOTS: usize = 4;
    explore("queue, senders die before their commit point, one after the other", || {
        let many = Many::new(1, None, 1, 1);
        for _ in 0..2 * SLOTS {
            let dead = End::new(&many, true, 0);
            dead.call(|party| party.mark_and_stop());
            many.detach(true, 0, many.held(true, 0), DIED);
            many.senders.attach(2, 1).unwrap();
            many.queue().recover_lane(0);
        }
        assert_eq!(End::new(&many, true, 0).send(1, Patience::Try), Ok(0));
    });
}

/// A sender stops or dies between its commit point and the wake-up that it owes: the next one wakes whoever sleeps (crowd.rs,
/// D2).
#[test]
fn loom_queue_waker_stops_before_its_wake_up() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static STOPPED: AtomicU64 = AtomicU64::new(0);
    explore("queue, a waker that stops before the wake-up", || {
        let many = Many::new(2, None, 2, 1);
        let receives = thread::spawn({
            let receiver = End::new(&many, false, 0);
            move || [receiver.recv(FOREVER), receiver.recv(FOREVER)]
        });
        let [stopped, other] = [0, 1].map(|seat| End::new(&many, true, seat));
        STOPPED.fetch_add(u64::from(stopped.send_and_stop_at_wake(1)), Relaxed);
        other.send(2, FOREVER).unwrap();
        assert_eq!(receives.join().unwrap(), [Ok(1), Ok(2)]);
    });
    assert_ne!(STOPPED.load(Relaxed), 0, "nobody was asleep in any execution");
}
