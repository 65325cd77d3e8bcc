//! What everybody expects of a channel, where each message goes to all receivers: broadcast by each policy for slow ones, and the
//! latest value; for every reference method and wait policy (pairwise), between the threads of one process. The same
//! behaviours as `every_flavor.rs`, as far as they apply; `every_flavor_to_all_processes.rs` has processes that die.
//!
//! Where a test wants somebody to be blocked it gives them some milliseconds to get there; if they need longer the test
//! checks less, and does not fail.

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{self, scope};
use std::time::{Duration, Instant};

use common::flavor::{Cargo, LargeValue};
use common::to_all::{Case, Rx, ToAll, Tx};
use common::{name, watchdog, Random};
use staffetta::{Message, RecvError, SendError, SendFailure};

/// For others to get blocked.
const A_WHILE: Duration = Duration::from_millis(3);
const SOON: Duration = Duration::from_millis(1);
/// Longer than any test: who waits so long is stuck, and the watchdog says so.
const EVER: Duration = Duration::from_secs(1000);

/// A message that is its bytes, and a number.
trait Value: Cargo + Message {}
impl Value for u64 {}
impl Value for LargeValue {}

macro_rules! for_all {
    ($($(#[$doc:meta])* $name:ident => $test:ident;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let _watchdog = watchdog(stringify!($name), 60);
            let domain = common::options().create().unwrap();
            Case::each::<u64>(&domain, 0, $test::<u64>);
            Case::each::<LargeValue>(&domain, 1, $test::<LargeValue>);
        }
    )*};
}

for_all! {
    /// The sender leaves: everybody who waits for a message is told.
    the_sender_leaves_while_receivers_wait => sender_leaves;
    /// A receiver for which the sender waits leaves, or takes a message: the sender goes on, and not before.
    the_sender_goes_on_when_it_can => sender_goes_on;
    what_was_sent_before_the_sender_left_arrives => last_messages;
    every_call_says_that_the_sender_is_gone => all_calls_are_told;
    exactly_k_messages_wait => degree_is_exact;
    deadlines_pass_or_the_message_comes => deadlines;
    who_gives_up_has_the_message_and_nobody_else_has => withdrawal;
    each_receiver_that_waits_gets_the_message => blocked_receivers;
    every_message_comes_to_each_once_in_order_or_is_counted => exactly_once;
    an_end_may_move_from_thread_to_thread => moves_between_threads;
    what_nobody_receives_is_given_back => undelivered;
    a_receiver_that_leaves_is_nothing_to_the_others => one_of_several_leaves;
}

fn numbers<M: Value>(rx: &Rx<M>) -> Vec<u64> {
    std::iter::from_fn(|| rx.recv().ok()).map(|message| message.number()).collect()
}

fn sender_leaves<M: Value>(case: Case) {
    let (tx, receivers) = case.ends::<M>(3);
    scope(|scope| {
        for rx in receivers {
            let case = &case;
            scope.spawn(move || assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{case:?}"));
        }
        thread::sleep(A_WHILE);
        drop(tx);
    });
}

fn sender_goes_on<M: Value>(case: Case) {
    if !case.to_all.waits() {
        return;
    }
    for leaves in [true, false] {
        let (tx, mut receivers) = case.ends::<M>(2);
        let k = case.to_all.degree();
        (0..k).for_each(|n| tx.send(case.pack(n)).unwrap());
        let quick = receivers.pop().unwrap();
        let slow = receivers.pop().unwrap();
        (0..k).for_each(|n| assert_eq!(quick.recv().unwrap().number(), n, "{case:?}"));
        let through = AtomicU64::new(0);
        scope(|scope| {
            let (case, through) = (&case, &through);
            scope.spawn(move || {
                tx.send(case.pack(k)).unwrap();
                through.store(1, SeqCst);
            });
            thread::sleep(A_WHILE);
            assert_eq!(through.load(SeqCst), 0, "{case:?}: one of them has not taken anything");
            match leaves {
                true => drop(slow),
                false => (0..=k).for_each(|n| assert_eq!(slow.recv().unwrap().number(), n, "{case:?}")),
            }
            assert_eq!(quick.recv().unwrap().number(), k, "{case:?}");
        });
        assert_eq!(through.load(SeqCst), 1);
    }
}

fn last_messages<M: Value>(case: Case) {
    let (tx, receivers) = case.ends::<M>(2);
    let k = case.to_all.degree();
    let sent = if case.to_all.misses() { k + 3 } else { k };
    (0..sent).for_each(|n| tx.send(case.pack(n)).unwrap());
    drop(tx);
    for rx in receivers {
        assert!((sent - k..sent).eq((0..k).map(|_| rx.recv().unwrap().number())), "{case:?}");
        assert_eq!(rx.missed(), sent - k, "{case:?}");
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{case:?}");
        assert!(matches!(rx.try_recv(), Err(RecvError::NoPeer)), "{case:?}: somebody may come");
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)), "{case:?}");
    }
}

fn all_calls_are_told<M: Value>(case: Case) {
    for call in 0..5 {
        let (tx, mut receivers) = case.ends::<M>(1);
        let rx = receivers.pop().unwrap();
        assert!(rx.has_peer());
        drop(tx);
        let told = match call {
            0 => rx.recv(),
            1 => rx.try_recv(),
            2 => rx.recv_timeout(EVER),
            3 => rx.recv_deadline(Instant::now()),
            _ => rx.recv_ref(|message| message.number()).map(|(n, _)| case.pack(n)),
        };
        let told = told.map(|message| message.number());
        assert!(matches!(told, Err(RecvError::Disconnected)), "{case:?}, receive {call}: {told:?}");
        assert!(!rx.has_peer(), "{case:?}");
    }
}

fn degree_is_exact<M: Value>(case: Case) {
    let (tx, mut receivers) = case.ends::<M>(1);
    let (rx, k) = (receivers.pop().unwrap(), case.to_all.degree());
    for round in 0..4 {
        let at = format!("{case:?}, round {round}");
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{at}");
        (0..k).for_each(|n| tx.try_send(case.pack(n)).unwrap());
        let mut first = 0;
        match case.to_all {
            ToAll::Waits(_) => {
                let SendError { message, why } = tx.try_send(case.pack(99)).expect_err("there is no room");
                assert!(matches!(why, SendFailure::WouldBlock), "{at}: {why}");
                assert_eq!(message.number(), 99, "{at}");
            }
            ToAll::Disconnects(_) => {}
            _ => {
                tx.try_send(case.pack(k)).unwrap();
                first = 1;
            }
        }
        for n in first..first + k {
            assert_eq!(rx.try_recv().unwrap().number(), n, "{at}");
        }
        assert_eq!(rx.missed(), first * (round + 1), "{at}");
    }
    if let ToAll::Disconnects(_) = case.to_all {
        (0..=k).for_each(|n| tx.try_send(case.pack(n)).unwrap());
        for _ in 0..2 {
            assert!(matches!(rx.try_recv(), Err(RecvError::TooSlow { .. })), "{case:?}: and for ever");
        }
    }
}

fn deadlines<M: Value>(case: Case) {
    let (tx, mut receivers) = case.ends::<M>(1);
    let rx = receivers.pop().unwrap();
    let start = Instant::now();
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)), "{case:?}");
    assert!(start.elapsed() >= SOON, "{case:?}: too early");
    let deadline = Instant::now() + SOON;
    assert!(matches!(rx.recv_deadline(deadline), Err(RecvError::TimedOut)), "{case:?}");
    assert!(Instant::now() >= deadline, "{case:?}: too early");
    assert!(matches!(rx.recv_deadline(start), Err(RecvError::TimedOut)), "{case:?}");
    let k = case.to_all.degree();
    // What has room goes, whatever the deadline.
    (0..k).for_each(|n| tx.send_timeout(case.pack(n), Duration::ZERO).unwrap());
    if case.to_all.waits() {
        let start = Instant::now();
        let SendError { message, why } = tx.send_timeout(case.pack(70), SOON).expect_err("there is no room");
        assert!(start.elapsed() >= SOON, "{case:?}: too early");
        assert!(matches!(why, SendFailure::TimedOut) && message.number() == 70, "{case:?}: {why}");
    }
    for n in 0..k {
        assert_eq!(rx.recv_deadline(start).unwrap().number(), n, "{case:?}");
    }
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{case:?}: what came back is not there");
    // A deadline so far off that no clock has it is none.
    scope(|scope| {
        let waits = scope.spawn(move || rx.recv_timeout(Duration::MAX).unwrap().number());
        tx.send_timeout(case.pack(8), Duration::MAX).unwrap();
        assert_eq!(waits.join().unwrap(), 8, "{case:?}");
    });
}

/// Both sides give up again and again: what the sender was told that it sent arrives or is counted, and nothing else.
fn withdrawal<M: Value>(case: Case) {
    let (tx, mut receivers) = case.ends::<M>(1);
    let rx = receivers.pop().unwrap();
    scope(|scope| {
        let case = &case;
        let sends = scope.spawn(move || {
            let mut dice = Random::new("withdrawal, sender");
            let mut sent = Vec::new();
            for n in 0..150 {
                let result = match dice.below(4) {
                    0 => tx.try_send(case.pack(n)),
                    some => {
                        tx.send_timeout(case.pack(n), Duration::from_nanos(dice.below(some * some * 8_000)))
                    }
                };
                match result {
                    Ok(()) => sent.push(n),
                    Err(SendError { message, why: SendFailure::TimedOut | SendFailure::WouldBlock }) => {
                        assert!(message.number() == n && case.to_all.waits(), "{case:?}");
                    }
                    Err(other) => panic!("{case:?}: {}", other.why),
                }
            }
            sent
        });
        let (mut got, mut random, mut too_slow) = (Vec::new(), Random::new("withdrawal"), false);
        loop {
            let result = match random.below(4) {
                0 => rx.try_recv(),
                some => rx.recv_timeout(Duration::from_nanos(random.below(some * some * 8_000))),
            };
            match result {
                Ok(message) => got.push(message.number()),
                Err(RecvError::TimedOut | RecvError::WouldBlock) => {}
                Err(RecvError::TooSlow { .. }) if matches!(case.to_all, ToAll::Disconnects(_)) => {
                    too_slow = true;
                    break;
                }
                Err(RecvError::Disconnected) => break,
                Err(other) => panic!("{case:?}: {other}"),
            }
        }
        let sent = sends.join().unwrap();
        if case.to_all.misses() {
            assert_eq!(got.len() as u64 + rx.missed(), sent.len() as u64, "{case:?}");
            assert!(got.is_sorted_by(|a, b| a < b) && got.iter().all(|n| sent.contains(n)), "{case:?}");
            assert_eq!(got.last(), sent.last(), "{case:?}");
        } else {
            assert!(sent.starts_with(&got) && (too_slow || got == sent), "{case:?}: {got:?}, {sent:?}");
        }
    });
}

fn blocked_receivers<M: Value>(case: Case) {
    let (tx, receivers) = case.ends::<M>(3);
    scope(|scope| {
        let wait = |rx: Rx<M>| scope.spawn(move || (rx.recv().unwrap().number(), rx));
        let blocked: Vec<_> = receivers.into_iter().map(wait).collect();
        thread::sleep(A_WHILE);
        tx.send(case.pack(6)).unwrap();
        for thread in blocked {
            let (number, rx) = thread.join().unwrap();
            assert_eq!(number, 6, "{case:?}");
            assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{case:?}: once");
        }
    });
}

fn exactly_once<M: Value>(case: Case) {
    const MESSAGES: u64 = 200;
    let (tx, receivers) = case.ends::<M>(3);
    assert_eq!(tx.receivers(), 3, "{case:?}");
    scope(|scope| {
        let receives: Vec<_> = receivers
            .into_iter()
            .map(|rx| {
                scope.spawn(move || {
                    let mut got = Vec::new();
                    let end = loop {
                        // By copies and in place in turn.
                        let one = match got.len() % 2 {
                            0 => rx.recv().map(|message| message.number()),
                            _ => rx.recv_ref(|message| message.number()).map(|(number, seq)| {
                                assert_eq!(number, seq, "its place");
                                number
                            }),
                        };
                        match one {
                            Ok(number) => got.push(number),
                            Err(end) => break end,
                        }
                    };
                    (got, rx.missed(), end)
                })
            })
            .collect();
        (0..MESSAGES).for_each(|n| tx.send(case.pack(n)).unwrap());
        drop(tx);
        for thread in receives {
            let (got, missed, end) = thread.join().unwrap();
            assert!(got.is_sorted_by(|a, b| a < b), "{case:?}: {got:?}");
            if case.to_all.misses() {
                assert_eq!(got.len() as u64 + missed, MESSAGES, "{case:?}");
                assert_eq!(got.last(), Some(&(MESSAGES - 1)), "{case:?}");
            } else {
                assert!(got.iter().copied().eq(0..got.len() as u64), "{case:?}: {got:?}");
            }
            match (case.to_all, end) {
                (ToAll::Disconnects(_), RecvError::TooSlow { .. }) => {}
                (ToAll::Drops(_) | ToAll::Latest, RecvError::Disconnected) => {}
                (_, RecvError::Disconnected) => assert_eq!(got.len() as u64, MESSAGES, "{case:?}"),
                (_, other) => panic!("{case:?}: {other}"),
            }
        }
    });
}

/// Who waits is the thread, not the end: each message is sent and received by another thread.
fn moves_between_threads<M: Value>(case: Case) {
    let (mut tx, mut receivers): (Tx<M>, _) = case.ends(1);
    let mut rx = receivers.pop().unwrap();
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

/// What waits when the ends go, in either order, costs nothing: the channel's own memory is all there is.
fn undelivered<M: Value>(case: Case) {
    let name = name("undelivered");
    let round = |receiver_first: bool| {
        let (tx, rx) = (case.sender::<M>(&name), case.receiver::<M>(&name));
        (0..case.to_all.degree()).for_each(|n| tx.send(case.pack(n)).unwrap());
        match receiver_first {
            true => drop(rx),
            false => drop((tx, rx)),
        }
    };
    let in_use = || case.domain.memory().unwrap().1;
    round(true);
    let before = in_use();
    (0..10).for_each(|n| round(n % 2 == 0));
    assert_eq!(in_use(), before, "{case:?}: bytes in use");
}

fn one_of_several_leaves<M: Value>(case: Case) {
    let (tx, mut receivers) = case.ends::<M>(3);
    tx.send(case.pack(0)).unwrap();
    drop(receivers.pop());
    for n in 1..10 {
        for rx in &receivers {
            assert_eq!(rx.recv().unwrap().number(), n - 1, "{case:?}");
        }
        tx.send(case.pack(n)).unwrap();
    }
    assert_eq!(tx.receivers(), 2, "{case:?}");
    drop(tx);
    for rx in receivers {
        assert_eq!(numbers(&rx), [9], "{case:?}");
    }
}

/// Iterators of a broadcast end where they should.
#[test]
fn iterators_end_where_they_should() {
    let _watchdog = watchdog("iterators", 60);
    let domain = common::options().create().unwrap();
    for wait in staffetta::Wait::ALL {
        let channel = || domain.channel("iterators").wait(wait).broadcast(4);
        let (tx, rx) = (channel().sender::<u64>().unwrap(), channel().receiver::<u64>().unwrap());
        (0..4).for_each(|n| tx.send(n).unwrap());
        assert!(rx.try_iter().eq(0..4), "{wait}");
        assert_eq!(rx.try_iter().count(), 0, "{wait}: nothing waits, and it does not wait for more");
        let other = channel().receiver::<u64>().unwrap();
        scope(|scope| {
            scope.spawn(move || (0..20).for_each(|n| tx.send(n).unwrap()));
            let other = scope.spawn(move || other.into_iter().eq(0..20));
            assert!(rx.iter().eq(0..20), "{wait}");
            assert!(other.join().unwrap(), "{wait}");
        });
    }
}
