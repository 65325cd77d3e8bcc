//! Channels within one process: what every channel does (`conformance`), and what only those on the heap do: any type, any
//! number of ends, drop glue.

mod common;
mod conformance;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::Duration;

use common::{until, watchdog};
use conformance::{everything, Flavor};
use proptest::prelude::*;
use staffetta::local::{Receiver, Sender};
use staffetta::{bounded, rendezvous, RecvError, SendFailure, Wait};

struct Local {
    degree: usize,
    wait: Wait,
}

impl Flavor for Local {
    type Tx = Sender<u64>;
    type Rx = Receiver<u64>;

    fn name(&self) -> String {
        format!("local, degree {}, {}", self.degree, self.wait)
    }

    fn degree(&self) -> u64 {
        self.degree as u64
    }

    fn most(&self) -> (usize, usize) {
        (usize::MAX, usize::MAX)
    }

    fn messages(&self) -> u64 {
        if self.wait == Wait::Park {
            2_000
        } else {
            10_000
        }
    }

    fn channel(&self, senders: usize, receivers: usize) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
        let (tx, rx) = bounded(self.degree);
        tx.set_wait(self.wait);
        rx.set_wait(self.wait);
        (vec![tx; senders], vec![rx; receivers])
    }
}

#[test]
fn a_rendezvous_is_a_channel() {
    Wait::ALL.into_iter().for_each(|wait| everything(&Local { degree: 0, wait }));
}

#[test]
fn one_cell_is_a_channel() {
    Wait::ALL.into_iter().for_each(|wait| everything(&Local { degree: 1, wait }));
}

#[test]
fn some_cells_are_a_channel() {
    for degree in [2, 3, 64] {
        Wait::ALL.into_iter().for_each(|wait| everything(&Local { degree, wait }));
    }
}

/// A value that counts how many of its kind there are.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>, #[allow(dead_code)] [u64; 5]);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, SeqCst);
        Counted(alive.clone(), [7; 5])
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn what_nobody_receives_is_dropped_once() {
    let alive = Arc::new(AtomicUsize::new(0));
    for receiver_first in [false, true] {
        let (tx, rx) = bounded(5);
        // Round the ring, so that what is left lies across its end.
        for _ in 0..3 {
            tx.send(Counted::new(&alive)).unwrap();
            drop(rx.recv().unwrap());
        }
        (0..4).for_each(|_| tx.send(Counted::new(&alive)).unwrap());
        drop(rx.recv().unwrap());
        assert_eq!(alive.load(SeqCst), 3);
        if receiver_first {
            drop(rx);
            assert_eq!(alive.load(SeqCst), 0, "dropped with the last receiver, while a sender is there");
            let error = tx.send(Counted::new(&alive)).unwrap_err();
            assert_eq!(alive.load(SeqCst), 1, "it came back");
            drop(error);
        } else {
            drop(tx);
            assert_eq!(alive.load(SeqCst), 3, "they can be received still");
            drop(rx);
        }
        assert_eq!(alive.load(SeqCst), 0);
    }
}

#[test]
fn what_comes_back_is_not_lost() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = rendezvous();
    let soon = Duration::from_millis(2);
    drop(tx.try_send(Counted::new(&alive)).unwrap_err());
    drop(tx.send_timeout(Counted::new(&alive), soon).unwrap_err());
    assert!(matches!(rx.recv_timeout(soon), Err(RecvError::TimedOut)));
    assert_eq!(alive.load(SeqCst), 0);
    drop(rx);
    let message = tx.send(Counted::new(&alive)).unwrap_err().message;
    assert_eq!(alive.load(SeqCst), 1);
    drop(message);
    assert_eq!(alive.load(SeqCst), 0);
}

#[test]
fn many_to_many_drop_each_once() {
    let _watchdog = watchdog("many to many", 60);
    let alive = Arc::new(AtomicUsize::new(0));
    for degree in [0, 1, 8] {
        let received = AtomicUsize::new(0);
        let (tx, rx) = bounded(degree);
        scope(|s| {
            for _ in 0..3 {
                let (tx, alive) = (tx.clone(), &alive);
                s.spawn(move || (0..500).for_each(|_| tx.send(Counted::new(alive)).unwrap()));
                let (rx, received) = (rx.clone(), &received);
                s.spawn(move || received.fetch_add(rx.iter().count(), SeqCst));
            }
            drop((tx, rx));
        });
        assert_eq!((received.load(SeqCst), alive.load(SeqCst)), (1500, 0));
    }
}

#[test]
fn a_drop_that_panics_does_not_keep_the_others() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
            assert!(!self.0, "a bomb");
        }
    }
    let (tx, rx) = bounded(4);
    for bomb in [false, true, false, false] {
        assert!(tx.send(Bomb(bomb)).is_ok());
    }
    let result = std::panic::catch_unwind(move || drop(rx));
    assert!(result.is_err());
    assert_eq!(DROPPED.load(SeqCst), 4);
    assert!(matches!(tx.send(Bomb(false)).map_err(|error| error.why), Err(SendFailure::Disconnected)));
}

/// Sends `values` over channels of every degree; the receiver compares.
fn pass<T: Send + PartialEq + std::fmt::Debug>(make: impl Fn(usize) -> T + Sync) {
    let _watchdog = watchdog("pass", 60);
    for degree in [0, 1, 3] {
        for wait in Wait::ALL {
            let (tx, rx) = bounded(degree);
            tx.set_wait(wait);
            rx.set_wait(wait);
            scope(|s| {
                s.spawn(|| (0..200).for_each(|i| tx.send(make(i)).unwrap()));
                (0..200).for_each(|i| assert_eq!(rx.recv().unwrap(), make(i)));
            });
        }
    }
}

#[test]
fn values_of_every_size_and_alignment() {
    #[derive(PartialEq, Debug)]
    #[repr(align(256))]
    struct Wide([u8; 300]);
    #[derive(PartialEq, Debug)]
    #[repr(align(64))]
    struct Nothing;
    pass(|_| ());
    pass(|_| Nothing);
    pass(|i| i as u8);
    pass(|i| (i as u8, i as u64, i as u16));
    pass(|i| [i; 3]);
    pass(|i| (i as u128, [i as u8; 9]));
    pass(|i| [i; 4]);
    pass(|i| Wide([i as u8; 300]));
    pass(|i| vec![i; i % 5]);
    pass(|i| i.to_string());
    pass(|i| (i % 2 == 0).then(|| Box::new(i)));
    pass(|i| [i as u64; 5000]);
}

#[test]
fn what_is_borrowed_can_be_sent() {
    let words = ["one".to_owned(), "two".to_owned()];
    let (tx, rx) = bounded::<&str>(2);
    scope(|s| {
        s.spawn(|| words.iter().for_each(|word| tx.send(word).unwrap()));
        assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), ("one", "two"));
    });
}

#[test]
fn one_end_is_shared_by_reference() {
    let _watchdog = watchdog("shared", 60);
    for degree in [0, 4] {
        let (tx, rx) = bounded(degree);
        let sum = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| (1..=300).for_each(|n| tx.send(n).unwrap()));
                s.spawn(|| {
                    for _ in 0..300 {
                        sum.fetch_add(rx.recv().unwrap(), SeqCst);
                    }
                });
            }
        });
        assert_eq!(sum.load(SeqCst), 3 * 300 * 301 / 2);
    }
}

#[test]
fn iterators() {
    let (tx, rx) = bounded(3);
    (1..4).for_each(|n| tx.send(n).unwrap());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rx.try_iter().next(), None, "and waits for none");
    (4..6).for_each(|n| tx.send(n).unwrap());
    assert_eq!(rx.iter().next(), Some(4));
    let other = rx.clone();
    drop(tx);
    assert_eq!((&rx).into_iter().collect::<Vec<_>>(), [5]);
    assert_eq!(rx.into_iter().next(), None);
    assert_eq!(other.into_iter().next(), None);
    let (tx, rx) = rendezvous();
    scope(|s| {
        s.spawn(move || (0..100).for_each(|n| tx.send(n).unwrap()));
        assert!(rx.into_iter().eq(0..100));
    });
}

#[test]
fn what_an_end_can_be_asked() {
    let (tx, rx) = bounded(2);
    assert_eq!((tx.capacity(), rx.capacity()), (Some(2), Some(2)));
    for round in 0..5 {
        assert!(tx.is_empty() && rx.is_empty() && !tx.is_full() && !rx.is_full(), "round {round}");
        tx.send(1).unwrap();
        assert_eq!((tx.len(), rx.len(), tx.is_empty(), tx.is_full()), (1, 1, false, false));
        tx.send(2).unwrap();
        assert_eq!((tx.len(), rx.len(), rx.is_empty(), rx.is_full()), (2, 2, false, true));
        assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (1, 2));
    }
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
    let (other, _rx) = bounded(2);
    assert!(!tx.same_channel(&other));
    assert_eq!(format!("{tx:?}"), "Sender { degree: 2, len: 0, .. }");
    let (tx, rx) = rendezvous::<u8>();
    assert_eq!((tx.capacity(), tx.len(), rx.len()), (Some(0), 0, 0));
    assert!(tx.is_empty() && tx.is_full() && rx.is_empty() && rx.is_full());
    assert!(bounded::<u8>(0).0.is_full(), "it is a rendezvous");
    tx.set_wait(Wait::Park);
    assert_eq!((tx.wait(), tx.clone().wait(), rx.wait()), (Wait::Park, Wait::Park, Wait::default()));
}

#[test]
fn its_length_has_bounds() {
    let _watchdog = watchdog("length", 60);
    for degree in [1, 5, 8] {
        let (tx, rx) = bounded(degree);
        let watched = rx.clone();
        scope(|s| {
            s.spawn(move || (0..5000).for_each(|n| tx.send(n).unwrap()));
            s.spawn(move || assert_eq!(rx.iter().count(), 5000));
            (0..2000).for_each(|_| assert!(watched.len() <= degree));
            drop(watched);
        });
    }
}

#[test]
fn more_than_64_threads_wait() {
    let _watchdog = watchdog("150 threads", 120);
    const MANY: usize = 150;
    for degree in [0, 2] {
        let (tx, rx) = bounded(degree);
        let received = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..MANY {
                let (rx, received) = (rx.clone(), &received);
                s.spawn(move || {
                    rx.recv().unwrap();
                    received.fetch_add(1, SeqCst);
                });
            }
            sleep(Duration::from_millis(30));
            for n in 0..MANY {
                tx.send(n).unwrap();
            }
        });
        assert_eq!(received.load(SeqCst), MANY, "each got one, and nobody was forgotten");
        let (tx, rx) = bounded(degree);
        scope(|s| {
            for n in 0..MANY {
                let tx = tx.clone();
                s.spawn(move || tx.send(n).unwrap());
            }
            sleep(Duration::from_millis(30));
            let mut all: Vec<usize> = (0..MANY).map(|_| rx.recv().unwrap()).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..MANY));
        });
    }
}

#[test]
fn as_many_as_wait_are_found_by_try() {
    let _watchdog = watchdog("try finds who waits", 60);
    for wait in [Wait::Spin, Wait::Park] {
        let (tx, rx) = rendezvous();
        rx.set_wait(wait);
        scope(|s| {
            for _ in 0..3 {
                let rx = rx.clone();
                s.spawn(move || rx.recv().unwrap());
            }
            let mut left = 3;
            until(|| {
                left -= usize::from(tx.try_send(left).is_ok());
                left == 0
            });
        });
        assert!(matches!(tx.try_send(9).map_err(|error| error.why), Err(SendFailure::WouldBlock)));
    }
}

#[test]
fn a_channel_goes_through_a_channel() {
    let (tx, rx) = bounded(1);
    let (reply, answer) = rendezvous();
    scope(|s| {
        s.spawn(move || {
            let reply: Sender<u32> = rx.recv().unwrap();
            reply.send(42).unwrap();
        });
        tx.send(reply).unwrap();
        assert_eq!(answer.recv().unwrap(), 42);
        assert!(answer.recv().is_err());
    });
}

/// A thread whose thread-local values are being dropped has no PCB any more: it waits busily.
#[test]
fn a_thread_that_ends_can_still_send() {
    let _watchdog = watchdog("ending thread", 60);
    struct AtTheEnd(Sender<u32>);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            self.0.send(1).unwrap();
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<AtTheEnd>> = const { std::cell::RefCell::new(None) };
    }
    let (tx, rx) = rendezvous();
    std::thread::spawn(move || LAST.set(Some(AtTheEnd(tx))));
    sleep(Duration::from_millis(10));
    assert_eq!(rx.recv().unwrap(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    Receive,
    CloneSender,
    DropSender,
    DropReceivers,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<u8>().prop_map(Step::Send),
        8 => Just(Step::Receive),
        1 => Just(Step::CloneSender),
        1 => Just(Step::DropSender),
        1 => Just(Step::DropReceivers),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// One thread's view of `bounded` is a queue of limited length.
    #[test]
    fn bounded_is_a_queue(degree in 1_usize..9, steps in steps()) {
        let (tx, rx) = bounded(degree);
        let (mut senders, mut receiver) = (vec![tx], Some(rx));
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Step::Send(n) => {
                    let Some(tx) = senders.last() else { continue };
                    match tx.try_send(Box::new(n)).map_err(|error| (error.why, *error.message)) {
                        Ok(()) => {
                            prop_assert!(receiver.is_some() && model.len() < degree);
                            model.push_back(n);
                        }
                        Err((SendFailure::WouldBlock, back)) => {
                            prop_assert_eq!((model.len(), back), (degree, n));
                        }
                        Err((why, back)) => {
                            prop_assert!(matches!(why, SendFailure::Disconnected));
                            prop_assert!(receiver.is_none() && back == n);
                        }
                    }
                }
                Step::Receive => {
                    let Some(rx) = &receiver else { continue };
                    match (rx.try_recv(), model.pop_front()) {
                        (Ok(n), expected) => prop_assert_eq!(Some(*n), expected),
                        (Err(RecvError::WouldBlock), None) => prop_assert!(!senders.is_empty()),
                        (Err(RecvError::Disconnected), None) => prop_assert!(senders.is_empty()),
                        (Err(error), expected) => prop_assert!(false, "{} where {:?} waits", error, expected),
                    }
                }
                Step::CloneSender => senders.extend(senders.last().cloned()),
                Step::DropSender => drop(senders.pop()),
                Step::DropReceivers => {
                    receiver = None;
                    model.clear();
                }
            }
            let len = receiver.as_ref().map(Receiver::len).or(senders.last().map(Sender::len));
            prop_assert_eq!(len.unwrap_or(0), model.len());
        }
    }
}
