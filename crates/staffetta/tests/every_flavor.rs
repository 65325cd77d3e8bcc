//! What everybody expects of a channel, for every flavor of channel between processes: one suite, run for values, large
//! values and parcels, for every reference method and every wait policy (pairwise), between the threads of one
//! process. `every_flavor_processes.rs` does the same between processes.
//!
//! The behaviours are those that the tests of crossbeam-channel, of std's mpsc and of Go's channels check: who leaves while
//! others are blocked, deadlines that either happened or did not, iterators, what is not delivered, exactly once,
//! order, and how many may wait. What `common/flavor.rs` says of a flavor is all that a test knows of it.
//!
//! Where a test wants somebody to be blocked it gives them some milliseconds to get there; if they need longer the test
//! checks less, and does not fail.

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{self, scope};
use std::time::{Duration, Instant};

use common::flavor::{Cargo, Case, Flavor, LargeValue, SomeParcel};
use common::{until, watchdog, Random};
use staffetta::{RecvError, SendError, SendFailure, Sender};

/// For others to get blocked.
const A_WHILE: Duration = Duration::from_millis(3);
const SOON: Duration = Duration::from_millis(1);
/// Longer than any test: who waits so long is stuck, and the watchdog says so.
const EVER: Duration = Duration::from_secs(1000);

/// Runs a generic test for every case of every cargo.
macro_rules! for_every_flavor {
    ($($(#[$doc:meta])* $name:ident => $test:ident;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let _watchdog = watchdog(stringify!($name), 60);
            let domain = common::options().create().unwrap();
            Case::each::<u64>(&domain, 0, $test::<u64>);
            Case::each::<LargeValue>(&domain, 1, $test::<LargeValue>);
            Case::each::<SomeParcel>(&domain, 2, $test::<SomeParcel>);
        }
    )*};
}

for_every_flavor! {
    /// The last sender leaves: everybody who waits for a message is told.
    senders_leave_while_receivers_wait => senders_leave;
    /// The last receiver leaves: everybody who waits for room is told, and has the message back.
    receivers_leave_while_senders_wait => receivers_leave;
    what_was_sent_before_the_sender_left_arrives => last_messages;
    one_end_of_several_leaves_and_nothing_is_over => one_of_several_leaves;
    every_call_says_that_the_others_are_gone => all_calls_are_told;
    exactly_k_messages_wait_and_len_counts_them => degree_is_exact;
    deadlines_pass_or_the_message_comes => deadlines;
    who_gives_up_has_the_message_and_nobody_else_has => withdrawal;
    who_is_blocked_goes_on_when_it_can => blocked_go_on;
    iterators_end_where_they_should => iterators;
    every_message_comes_exactly_once_and_in_its_senders_order => exactly_once;
    an_end_may_move_from_thread_to_thread => moves_between_threads;
    what_nobody_receives_is_given_back => undelivered;
    work_in_place_is_one_message_at_a_time => in_place;
}

fn gone(why: &SendFailure) -> bool {
    matches!(why, SendFailure::Disconnected)
}

/// Sends until nothing more goes without waiting: how many that were.
fn fill<M: Cargo>(case: &Case, tx: &Sender<M>) -> u64 {
    let fits = case.flavor.degree();
    for n in 0..fits {
        tx.try_send(case.pack(n)).unwrap_or_else(|e| panic!("{case:?}: message {n}: {}", e.why));
    }
    fits
}

fn numbers<M: Cargo>(messages: impl IntoIterator<Item = M>) -> Vec<u64> {
    messages.into_iter().map(|message| message.number()).collect()
}

fn senders_leave<M: Cargo>(case: Case) {
    let (senders, receivers) = case.ends::<M>();
    scope(|scope| {
        let blocked: Vec<_> = receivers
            .into_iter()
            .map(|rx| {
                let case = &case;
                scope.spawn(move || {
                    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{case:?}");
                    // And for ever: nobody can come.
                    assert!(matches!(rx.recv_timeout(EVER), Err(RecvError::Disconnected)), "{case:?}");
                })
            })
            .collect();
        thread::sleep(A_WHILE);
        drop(senders);
        blocked.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn receivers_leave<M: Cargo>(case: Case) {
    let (senders, receivers) = case.ends::<M>();
    scope(|scope| {
        let blocked: Vec<_> = (1..)
            .zip(senders)
            .map(|(who, tx)| {
                let case = &case;
                scope.spawn(move || {
                    // Until it is told; one that drops what is too much is told as well.
                    for n in 0.. {
                        let number = who * 1_000_000 + n;
                        let Err(SendError { message, why }) = tx.send(case.pack(number)) else {
                            assert!(case.flavor.drops() || n < 2 + case.flavor.degree(), "{case:?}");
                            continue;
                        };
                        assert!(gone(&why), "{case:?}: {why}");
                        assert_eq!(message.number(), number, "{case:?}");
                        break;
                    }
                    let again = tx.send_timeout(case.pack(who), EVER).expect_err("nobody can come");
                    assert!(gone(&again.why) && again.message.number() == who, "{case:?}: {}", again.why);
                })
            })
            .collect();
        thread::sleep(A_WHILE);
        drop(receivers);
        blocked.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn last_messages<M: Cargo>(case: Case) {
    let (tx, rx) = case.pair::<M>();
    let waiting = fill(&case, &tx);
    drop(tx);
    assert_eq!(rx.len(), waiting, "{case:?}");
    for n in 0..waiting {
        assert_eq!(rx.recv().unwrap().number(), n, "{case:?}");
    }
    for _ in 0..3 {
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{case:?}");
    }
}

fn one_of_several_leaves<M: Cargo>(case: Case) {
    let (mut senders, mut receivers) = case.ends::<M>();
    let (tx, rx) = (senders.pop().unwrap(), receivers.pop().unwrap());
    drop((senders, receivers));
    if case.flavor.degree() > 0 {
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{case:?}");
        tx.send(case.pack(5)).unwrap();
        assert_eq!(rx.recv().unwrap().number(), 5, "{case:?}");
    }
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)), "{case:?}");
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{case:?}");
}

fn all_calls_are_told<M: Cargo>(case: Case) {
    let past = Instant::now();
    for call in 0..4 {
        let (tx, rx) = case.pair::<M>();
        drop(rx);
        let told = match call {
            0 => tx.send(case.pack(7)),
            1 => tx.try_send(case.pack(7)),
            2 => tx.send_timeout(case.pack(7), EVER),
            _ => tx.send_deadline(case.pack(7), past),
        };
        let Err(SendError { message, why }) = told else {
            panic!("{case:?}, send {call}: nobody is there to receive it");
        };
        assert!(gone(&why), "{case:?}, send {call}: {why}");
        assert_eq!(message.number(), 7, "{case:?}");
        assert!(!tx.has_peer(), "{case:?}");

        let (tx, rx) = case.pair::<M>();
        drop(tx);
        let told = match call {
            0 => rx.recv(),
            1 => rx.try_recv(),
            2 => rx.recv_timeout(EVER),
            _ => rx.recv_deadline(past),
        };
        let told = told.map(|message| message.number());
        assert!(matches!(told, Err(RecvError::Disconnected)), "{case:?}, receive {call}: {told:?}");
        assert!(!rx.has_peer(), "{case:?}");
    }
}

fn degree_is_exact<M: Cargo>(case: Case) {
    let (tx, rx) = case.pair::<M>();
    for round in 0..5 {
        let at = format!("{case:?}, round {round}");
        assert!(tx.is_empty() && rx.is_empty(), "{at}");
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{at}");
        for n in 0..case.flavor.degree() {
            assert_eq!((tx.len(), rx.len()), (n, n), "{at}");
            tx.try_send(case.pack(n)).unwrap();
        }
        let k = case.flavor.degree();
        assert_eq!((tx.len(), rx.len()), (k, k), "{at}");
        let mut first = 0;
        if case.flavor.drops() {
            tx.try_send(case.pack(k)).unwrap();
            assert_eq!((tx.len(), tx.counters().dropped), (k, round + 1), "{at}");
            first = 1;
        } else {
            let SendError { message, why } = tx.try_send(case.pack(99)).expect_err("there is no room");
            assert!(matches!(why, SendFailure::WouldBlock), "{at}: {why}");
            assert_eq!(message.number(), 99, "{at}");
        }
        for n in first..first + k {
            assert_eq!(rx.len(), first + k - n, "{at}");
            assert_eq!(rx.try_recv().unwrap().number(), n, "{at}");
        }
    }
}

fn deadlines<M: Cargo>(case: Case) {
    let (tx, rx) = case.pair::<M>();
    let start = Instant::now();
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)), "{case:?}");
    assert!(start.elapsed() >= SOON, "{case:?}: too early");
    let deadline = Instant::now() + SOON;
    assert!(matches!(rx.recv_deadline(deadline), Err(RecvError::TimedOut)), "{case:?}");
    assert!(Instant::now() >= deadline, "{case:?}: too early");
    assert!(matches!(rx.recv_deadline(start), Err(RecvError::TimedOut)), "{case:?}");
    assert!(matches!(rx.recv_timeout(Duration::ZERO), Err(RecvError::TimedOut)), "{case:?}");
    let waiting = fill(&case, &tx);
    if !case.flavor.drops() {
        for late in [
            tx.send_timeout(case.pack(70), SOON),
            tx.send_deadline(case.pack(70), Instant::now() + SOON),
            tx.send_deadline(case.pack(70), start),
            tx.send_timeout(case.pack(70), Duration::ZERO),
        ] {
            let SendError { message, why } = late.expect_err("there is no room");
            assert!(matches!(why, SendFailure::TimedOut), "{case:?}: {why}");
            assert_eq!(message.number(), 70, "{case:?}");
        }
    }
    // What is there is had, whatever the deadline; what was withdrawn is not there.
    for n in 0..waiting {
        assert_eq!(rx.recv_deadline(start).unwrap().number(), n, "{case:?}");
    }
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{case:?}");
    // A deadline so far off that no clock has it is none.
    scope(|scope| {
        let waits = scope.spawn(move || rx.recv_timeout(Duration::MAX).unwrap().number());
        tx.send_timeout(case.pack(8), Duration::MAX).unwrap();
        assert_eq!(waits.join().unwrap(), 8, "{case:?}");
    });
}

/// Both sides give up again and again: what a sender was told that it sent arrives, and nothing else.
fn withdrawal<M: Cargo>(case: Case) {
    let mut random = Random::new("withdrawal");
    let (tx, rx) = case.pair::<M>();
    scope(|scope| {
        let case = &case;
        let sends = scope.spawn(move || {
            let mut dice = Random::new("withdrawal, sender");
            let mut sent = Vec::new();
            for n in 0..100 {
                let message = case.pack(n);
                let result = match dice.below(4) {
                    0 => tx.try_send(message),
                    some => tx.send_timeout(message, Duration::from_nanos(dice.below(some * some * 8_000))),
                };
                match result {
                    Ok(()) => sent.push(n),
                    Err(SendError { message, why: SendFailure::TimedOut | SendFailure::WouldBlock }) => {
                        assert_eq!(message.number(), n, "{case:?}");
                    }
                    Err(other) => panic!("{case:?}: {}", other.why),
                }
            }
            (sent, tx.counters().dropped)
        });
        let mut got = Vec::new();
        loop {
            let result = match random.below(4) {
                0 => rx.try_recv(),
                some => rx.recv_timeout(Duration::from_nanos(random.below(some * some * 8_000))),
            };
            match result {
                Ok(message) => got.push(message.number()),
                Err(RecvError::TimedOut | RecvError::WouldBlock) => {}
                Err(RecvError::Disconnected) => break,
                Err(other) => panic!("{case:?}: {other}"),
            }
        }
        let (sent, dropped) = sends.join().unwrap();
        if case.flavor.drops() {
            assert_eq!(got.len() as u64 + dropped, sent.len() as u64, "{case:?}");
            assert!(got.windows(2).all(|two| two[0] < two[1]), "{case:?}: {got:?}");
            assert!(got.iter().all(|n| sent.contains(n)), "{case:?}");
        } else {
            assert_eq!(got, sent, "{case:?}");
        }
    });
}

fn blocked_go_on<M: Cargo>(case: Case) {
    let (senders, receivers) = case.ends::<M>();
    // Each receiver that is blocked gets one.
    let receivers: Vec<_> = scope(|scope| {
        let blocked = receivers.into_iter().map(|rx| {
            scope.spawn(move || {
                let number = rx.recv().unwrap().number();
                (number, rx)
            })
        });
        let blocked: Vec<_> = blocked.collect();
        thread::sleep(A_WHILE);
        for n in 0..blocked.len() {
            let tx = &senders[n % senders.len()];
            tx.send(case.pack(n as u64)).unwrap();
            if case.flavor.drops() {
                until(|| tx.is_empty());
            }
        }
        let (mut got, receivers): (Vec<_>, Vec<_>) =
            blocked.into_iter().map(|thread| thread.join().unwrap()).unzip();
        got.sort_unstable();
        assert!(got.iter().copied().eq(0..got.len() as u64), "{case:?}: {got:?}");
        receivers
    });
    if case.flavor.drops() {
        return; // no sender is ever blocked
    }
    // Each sender that is blocked gets through, when there is room for it and not before.
    let rx = &receivers[0];
    let full: u64 = match case.flavor {
        Flavor::ManyToOne(_) => senders.iter().map(|tx| fill(&case, tx)).sum(),
        _ => fill(&case, &senders[0]),
    };
    let (through, count) = (AtomicU64::new(0), senders.len() as u64);
    scope(|scope| {
        for tx in senders {
            let (case, through) = (&case, &through);
            scope.spawn(move || {
                tx.send(case.pack(500)).unwrap();
                through.fetch_add(1, SeqCst);
            });
        }
        thread::sleep(A_WHILE);
        assert_eq!(through.load(SeqCst), 0, "{case:?}: nobody has taken anything");
        let got = numbers((0..full + count).map(|_| rx.recv().unwrap()));
        let (first, last) = got.split_at(full as usize);
        assert!(first.iter().all(|n| *n != 500) && last.iter().all(|n| *n == 500), "{case:?}: {got:?}");
    });
    assert_eq!(through.load(SeqCst), count, "{case:?}");
}

fn iterators<M: Cargo>(case: Case) {
    let (tx, rx) = case.pair::<M>();
    let waiting = fill(&case, &tx);
    assert!(numbers(rx.try_iter()).into_iter().eq(0..waiting), "{case:?}");
    assert_eq!(rx.try_iter().count(), 0, "{case:?}: nothing waits, and it does not wait for more");
    const MESSAGES: u64 = 20;
    let send = &|tx: Sender<M>| {
        for n in 0..MESSAGES {
            tx.send(case.pack(n)).unwrap();
            if case.flavor.drops() {
                until(|| tx.is_empty());
            }
        }
    };
    scope(|scope| {
        scope.spawn(move || send(tx));
        assert!(numbers(rx.iter()).into_iter().eq(0..MESSAGES), "{case:?}");
    });
    assert_eq!(rx.iter().count(), 0, "{case:?}: over is over");
    let (tx, rx) = case.pair::<M>();
    scope(|scope| {
        scope.spawn(move || send(tx));
        let mut next = 0;
        for message in rx {
            assert_eq!(message.number(), next, "{case:?}");
            next += 1;
        }
        assert_eq!(next, MESSAGES, "{case:?}");
    });
}

fn exactly_once<M: Cargo>(case: Case) {
    const EACH: u64 = 150;
    const WHO: u64 = 1_000_000;
    let (senders, receivers) = case.ends::<M>();
    let many = senders.len() as u64;
    let probe = (case.flavor.senders() == 3).then(|| senders[0].try_clone().unwrap());
    let (mut times, dropped) = scope(|scope| {
        let sends = senders.into_iter().zip(0..).map(|(tx, who)| {
            let case = &case;
            scope.spawn(move || {
                (0..EACH).for_each(|n| tx.send(case.pack(who * WHO + n)).unwrap());
                tx.counters().dropped
            })
        });
        let sends: Vec<_> = sends.collect();
        let receives = receivers.into_iter().map(|rx| {
            let case = &case;
            scope.spawn(move || {
                let got = numbers(rx.iter());
                for who in 0..many {
                    let from = got.iter().filter(|n| *n / WHO == who);
                    assert!(from.is_sorted_by(|a, b| a < b), "{case:?}: the order of sender {who}");
                }
                got
            })
        });
        let receives: Vec<_> = receives.collect();
        let dropped: u64 = sends.into_iter().map(|thread| thread.join().unwrap()).sum();
        drop(probe);
        (receives.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), dropped)
    });
    times.sort_unstable();
    assert_eq!(times.len() as u64 + dropped, many * EACH, "{case:?}: lost, or twice");
    assert!(times.is_sorted_by(|a, b| a < b), "{case:?}: twice");
    if !case.flavor.drops() {
        let all = (0..many).flat_map(|who| (0..EACH).map(move |n| who * WHO + n));
        assert!(times.into_iter().eq(all), "{case:?}");
    }
}

/// Who waits is the thread, not the end: each message is sent and received by another thread.
fn moves_between_threads<M: Cargo>(case: Case) {
    let (mut tx, mut rx) = case.pair::<M>();
    for n in 0..10 {
        (tx, rx) = scope(|scope| {
            let receives = scope.spawn(move || {
                assert_eq!(rx.recv().unwrap().number(), n);
                rx
            });
            let case = &case;
            let sends = scope.spawn(move || {
                tx.send(case.pack(n)).unwrap();
                tx
            });
            (sends.join().unwrap(), receives.join().unwrap())
        });
    }
}

/// Messages that wait when the channel ends, that were dropped for others, and that come back with an error: their memory
/// comes back, too.
fn undelivered<M: Cargo>(case: Case) {
    let round = || {
        let (tx, rx) = case.pair::<M>();
        fill(&case, &tx);
        if case.flavor.drops() {
            (0..10).for_each(|n| tx.send(case.pack(n)).unwrap());
            assert_eq!(tx.counters().dropped, 10, "{case:?}");
        } else {
            assert!(tx.try_send(case.pack(99)).is_err(), "{case:?}");
        }
        drop(rx);
        assert!(tx.send(case.pack(100)).is_err(), "{case:?}");
    };
    let in_use = || case.domain.memory().unwrap().1;
    round();
    let before = in_use();
    (0..10).for_each(|_| round());
    assert_eq!(in_use(), before, "{case:?}: bytes in use");
    // The other end first.
    let round = || {
        let (tx, rx) = case.pair::<M>();
        fill(&case, &tx);
        drop(tx);
        drop(rx);
    };
    round();
    let before = in_use();
    (0..10).for_each(|_| round());
    assert_eq!(in_use(), before, "{case:?}: bytes in use");
}

fn in_place<M: Cargo>(case: Case) {
    if !case.flavor.is_in_place() || M::NAME == SomeParcel::NAME {
        return;
    }
    let (tx, rx) = case.pair::<LargeValue>();
    for n in 0..20 {
        drop(tx.reserve().unwrap()); // nothing is sent
        assert!(matches!(rx.try_recv_ref(), Err(RecvError::WouldBlock)), "{case:?}");
        let mut slot = tx.try_reserve().unwrap().zeroed();
        slot.fill(n);
        assert!(matches!(tx.try_reserve(), Err(SendFailure::Held)), "{case:?}");
        assert!(matches!(tx.send([1; 40]).unwrap_err().why, SendFailure::Held), "{case:?}");
        assert_eq!(slot.seq(), n, "{case:?}");
        slot.send().unwrap();
        assert_eq!((tx.len(), rx.len()), (1, 1), "{case:?}");
        let message = rx.recv_ref_timeout(EVER).unwrap();
        assert_eq!((message.number(), message.seq()), (n, n), "{case:?}");
        assert!(matches!(rx.try_recv(), Err(RecvError::Held)), "{case:?}");
        assert_eq!((tx.len(), rx.len()), (0, 0), "{case:?}: what is in hand does not wait");
    }
    let (sent, received) = tx.channel_counters();
    assert_eq!((sent.messages, received.messages), (20, 20), "{case:?}");
    assert_eq!(sent.bytes_copied + received.bytes_copied, 0, "{case:?}");
}
