//! Who has to wait for whom: a rendezvous is over for both at once, nobody is left out where there is no buffer, and with a degree
//! per sender no sender has more than that in front of the others.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, scope};
use std::time::Duration;

use common::{until, watchdog};
use staffetta::Wait;

/// For others to get blocked.
const A_WHILE: Duration = Duration::from_millis(3);

/// A send over a rendezvous is over when the message was taken, not before; a try needs somebody who waits.
#[test]
fn a_rendezvous_is_one() {
    let _watchdog = watchdog("rendezvous", 120);
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        let (tx, rx) = domain.channel("").rendezvous().wait(wait).unnamed::<u64>().unwrap();
        let taken = AtomicBool::new(false);
        scope(|scope| {
            let taken = &taken;
            let sends = scope.spawn(move || {
                tx.send(1).unwrap();
                assert!(taken.load(SeqCst), "{wait}: the send was over first");
                tx
            });
            thread::sleep(A_WHILE);
            taken.store(true, SeqCst);
            assert_eq!(rx.recv().unwrap(), 1);
            let tx = sends.join().unwrap();
            // A try in either direction against one who waits.
            let receives = scope.spawn(move || (rx.recv().unwrap(), rx));
            until(|| tx.try_send(2).is_ok());
            let (two, rx) = receives.join().unwrap();
            assert_eq!(two, 2);
            let sends = scope.spawn(move || tx.send(3).unwrap());
            until(|| rx.try_recv().is_ok_and(|three| three == 3));
            sends.join().unwrap();
        });
    }
}

/// Two senders without a buffer, each on a channel of its own, one receiver that never waits: neither is left out.
#[test]
fn zero_capacity_is_fair_among_channels() {
    let _watchdog = watchdog("zero capacity", 120);
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        for degree in [None, Some(0)] {
            let pairs = [0, 1].map(|_| {
                let channel = domain.channel("").wait(wait);
                match degree {
                    None => channel.rendezvous().unnamed::<u64>().unwrap(),
                    Some(k) => channel.basic(k).unnamed::<u64>().unwrap(),
                }
            });
            let mut hits = [0, 0];
            scope(|scope| {
                let [(tx0, rx0), (tx1, rx1)] = pairs;
                for tx in [tx0, tx1] {
                    scope.spawn(move || {
                        // Until the receiver leaves.
                        let mut n = 0;
                        while tx.send(n).is_ok() {
                            n += 1;
                        }
                    });
                }
                let receivers = [rx0, rx1];
                while hits.iter().any(|hits| *hits < 50) {
                    for (rx, hits) in receivers.iter().zip(&mut hits) {
                        if let Ok(n) = rx.try_recv() {
                            assert_eq!(n, *hits, "{wait}");
                            *hits += 1;
                        }
                    }
                    thread::yield_now();
                }
            });
        }
    }
}

/// With a degree per sender nobody has more than it in front of the others.
#[test]
fn many_to_one_is_fair_among_senders() {
    let domain = common::options().create().unwrap();
    for k in [1, 2, 5] {
        let (tx, rx) = domain.channel("").many_to_one(k).unnamed::<u64>().unwrap();
        let senders = [tx.try_clone().unwrap(), tx.try_clone().unwrap(), tx];
        // One is quick; the others come when it has sent all that it may.
        let mut taken = [0; 3];
        for _ in 0..30 {
            for (who, tx) in senders.iter().enumerate() {
                while tx.try_send(who as u64).is_ok() {}
            }
            (0..3).for_each(|_| taken[rx.recv().unwrap() as usize] += 1);
            let (most, least) = (taken.iter().max().unwrap(), taken.iter().min().unwrap());
            assert!(most - least <= k, "degree {k}: {taken:?}");
        }
    }
}
