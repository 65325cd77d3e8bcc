//! Channels with many ends, at their edges: clones and their last one, degrees of senders that overflow, errors that leak.
#![allow(unsafe_code)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::time::Duration;

use common::watchdog;
use staffetta::{AttachError, Domain, Overflow, Parcel, RecvError, SendFailure};

fn domain() -> Domain {
    common::options().open(&common::name("edges")).unwrap()
}

/// A clone made after the other side has left knows what its original knows: it does not wait for ever.
#[test]
fn a_clone_of_an_end_whose_partners_have_left_is_told() {
    let domain = domain();
    for asked_before in [false, true] {
        let (tx, rx) = domain.channel("").bounded(4).unnamed::<u64>().unwrap();
        tx.send(1).unwrap();
        drop(tx);
        let early = rx.try_clone().unwrap();
        assert_eq!(early.recv().unwrap(), 1);
        if asked_before {
            assert!(matches!(early.recv(), Err(RecvError::Disconnected)));
        }
        let late = early.try_clone().unwrap();
        for end in [&late, &early, &rx] {
            for _ in 0..2 {
                let said = end.recv_timeout(Duration::from_secs(5));
                assert!(matches!(said, Err(RecvError::Disconnected)), "{asked_before}: {said:?}");
            }
        }
        let (tx, rx) = domain.channel("").bounded(4).unnamed::<u64>().unwrap();
        drop(rx);
        if asked_before {
            assert!(tx.send(1).is_err());
        }
        let late = tx.try_clone().unwrap();
        for end in [&late, &tx] {
            for _ in 0..2 {
                assert!(matches!(end.send(1).unwrap_err().why, SendFailure::Disconnected), "{asked_before}");
            }
        }
        assert!(matches!(late.reserve().unwrap_err(), SendFailure::Disconnected), "{asked_before}");
    }
    // With a name: what its original was told is not told again, and what it was not told is.
    let tx = domain.channel("named").bounded(4).sender::<u64>().unwrap();
    let rx = domain.receiver::<u64>("named").unwrap();
    drop(tx);
    let clone = rx.try_clone().unwrap();
    for end in [&rx, &clone] {
        assert!(matches!(end.recv_timeout(Duration::from_secs(5)), Err(RecvError::Disconnected)));
    }
    let clone = rx.try_clone().unwrap();
    assert!(matches!(clone.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut)));
}

/// Ends of one channel that leave at the same moment: nobody writes to memory that is somebody else's by then.
#[test]
fn the_last_ends_leave_together_and_touch_nothing_afterwards() {
    let _watchdog = watchdog("last ends", 100);
    let domain = domain();
    let over = AtomicBool::new(false);
    // Of the class of a queue's block.
    let parcel = || Parcel::<[u8]>::with_tail(&domain, 40_000).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut kept: Vec<_> = (0..4).map(|_| parcel()).collect();
                kept.iter_mut().for_each(|parcel| parcel.fill(0));
                for _ in 0..3 {
                    std::thread::yield_now();
                    assert!(kept.iter().all(|p| p.iter().all(|&byte| byte == 0)), "somebody wrote there");
                }
            }
        });
        let finish = scopeguard(&over);
        for _ in 0..3000 {
            let (tx, rx) = domain.channel("").bounded(1).unnamed::<u64>().unwrap();
            let together = Barrier::new(3);
            std::thread::scope(|scope| {
                let ends = [Some(rx.try_clone().unwrap()), Some(rx)];
                scope.spawn(|| {
                    together.wait();
                    drop(tx);
                });
                for end in ends {
                    scope.spawn(|| {
                        let end = end;
                        together.wait();
                        // A new seat is taken, an old one is left.
                        drop(end.as_ref().unwrap().try_clone());
                        drop(end);
                    });
                }
            });
        }
        drop(finish);
    });
}

fn scopeguard(over: &AtomicBool) -> impl Drop + '_ {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    Over(over)
}

/// A degree per sender is kept whatever happens when it is full.
#[test]
fn a_degree_per_sender_holds_with_overflow() {
    let domain = domain();
    let channel = || domain.channel("").many_to_one(3).senders(2);
    let (tx, rx) = channel().overflow(Overflow::DropNewest).unnamed::<u64>().unwrap();
    let other = tx.try_clone().unwrap();
    for n in 0..20 {
        tx.send(n).unwrap();
        other.send(100 + n).unwrap();
    }
    let mut slot = tx.reserve().unwrap().zeroed();
    *slot = 99;
    slot.send().unwrap();
    assert_eq!((tx.counters().dropped, other.counters().dropped), (18, 17));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [0, 100, 1, 101, 2, 102]);
    // To drop its own oldest a sender would have to overtake those of others.
    let refused = channel().overflow(Overflow::DropOldest).unnamed::<u64>();
    assert!(matches!(&refused, Err(AttachError::Impossible { why, .. }) if why.contains("bounded")));
    let (tx, rx) = channel().receivers(2).unnamed::<u64>().unwrap();
    assert!(matches!(tx.force_send(1).unwrap_err().why, SendFailure::CannotDisplace));
    drop(rx);
}

/// K of each sender wait, neither more nor fewer, also while another receiver has a message in hand for long.
#[test]
fn a_degree_per_sender_is_exact_around_a_message_in_hand() {
    let domain = domain();
    for k in [1, 2, 3, 5] {
        let (tx, rx) = domain.channel("").many_to_one(k).receivers(3).unnamed::<u64>().unwrap();
        let [first, second] = [0; 2].map(|_| rx.try_clone().unwrap());
        tx.send(0).unwrap();
        let held = first.recv_ref().unwrap();
        tx.send(0).unwrap();
        let also_held = second.recv_ref().unwrap();
        let mut n = 1;
        for round in 0..100 {
            let mut waiting = rx.len();
            while tx.try_send(n).is_ok() {
                n += 1;
                waiting += 1;
            }
            assert_eq!((waiting, rx.len()), (k, k), "round {round}");
            for _ in 0..=round % k {
                rx.recv().unwrap();
            }
        }
        drop((held, also_held));
    }
}

/// A channel that could not be made leaves nothing behind.
#[test]
fn what_could_not_be_made_leaves_nothing() {
    let domain = domain();
    let make = || {
        let refused = domain.channel("").bounded(1 << 20).unnamed::<[u8; 1 << 20]>();
        assert!(matches!(refused, Err(AttachError::Allocate(_))));
    };
    make();
    let before = domain.memory().unwrap().1;
    for _ in 0..3 {
        make();
    }
    assert_eq!(domain.memory().unwrap().1, before);
    // Nor does it take the name.
    assert!(domain.channel("a").bounded(1 << 20).sender::<[u8; 1 << 20]>().is_err());
    assert!(domain.channel("a").bounded(1).sender::<u64>().is_ok());
}
