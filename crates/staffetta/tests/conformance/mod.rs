//! What every channel has to do, whatever it is made of: the behaviours that users of crossbeam-channel, of std's mpsc and
//! of Go know, as functions over a [`Flavor`].
//!
//! A flavor says how its ends are made and how many it can have of each; [`everything`] runs all that applies. Messages
//! are numbers. No test asserts a time: a hang is found by the watchdog, and what must wait is watched for a moment
//! only in the direction in which slowness cannot fail it.
#![allow(dead_code)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use staffetta::{RecvError, SendError, SendFailure};

use crate::common::{watchdog, Random};

/// A sending end.
pub trait Tx: Send {
    fn send(&self, n: u64) -> Result<(), SendError<u64>>;
    fn try_send(&self, n: u64) -> Result<(), SendError<u64>>;
    fn send_deadline(&self, n: u64, deadline: Instant) -> Result<(), SendError<u64>>;
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<(), SendError<u64>>;
}

/// A receiving end.
pub trait Rx: Send {
    fn recv(&self) -> Result<u64, RecvError>;
    fn try_recv(&self) -> Result<u64, RecvError>;
    fn recv_deadline(&self, deadline: Instant) -> Result<u64, RecvError>;
    fn recv_timeout(&self, timeout: Duration) -> Result<u64, RecvError>;
}

/// An end of the library is one of a flavor.
macro_rules! end {
    ($trait:ident for $end:path { $($name:ident ($($argument:ident: $type:ty),*) -> $result:ty;)* }) => {
        impl $trait for $end {
            $(fn $name(&self, $($argument: $type),*) -> $result {
                <$end>::$name(self, $($argument),*)
            })*
        }
    };
}

macro_rules! ends {
    ($tx:path, $rx:path) => {
        end!(Tx for $tx {
            send(n: u64) -> Result<(), SendError<u64>>;
            try_send(n: u64) -> Result<(), SendError<u64>>;
            send_deadline(n: u64, deadline: Instant) -> Result<(), SendError<u64>>;
            send_timeout(n: u64, timeout: Duration) -> Result<(), SendError<u64>>;
        });
        end!(Rx for $rx {
            recv() -> Result<u64, RecvError>;
            try_recv() -> Result<u64, RecvError>;
            recv_deadline(deadline: Instant) -> Result<u64, RecvError>;
            recv_timeout(timeout: Duration) -> Result<u64, RecvError>;
        });
    };
}

ends!(staffetta::local::Sender<u64>, staffetta::local::Receiver<u64>);
ends!(staffetta::Sender<u64>, staffetta::Receiver<u64>);

/// A kind of channel.
pub trait Flavor {
    type Tx: Tx;
    type Rx: Rx;
    /// What it is called when it fails.
    fn name(&self) -> String;
    /// How many messages it holds in all.
    fn degree(&self) -> u64;
    /// How many senders and receivers one channel can have.
    fn most(&self) -> (usize, usize);
    /// A new channel.
    fn channel(&self, senders: usize, receivers: usize) -> (Vec<Self::Tx>, Vec<Self::Rx>);
    /// Messages of a long test.
    fn messages(&self) -> u64;

    /// After an end was told that nobody is left at the other side, does it wait for somebody new? So do channels with a name.
    fn waits_for_successors(&self) -> bool {
        false
    }

    /// A new channel with one end of each.
    fn one(&self) -> (Self::Tx, Self::Rx) {
        let (mut tx, mut rx) = self.channel(1, 1);
        (tx.remove(0), rx.remove(0))
    }
}

/// Long enough that somebody who does not wait would have come back.
const A_MOMENT: Duration = Duration::from_millis(20);
/// Short, for waits that are meant to end without their message.
const SOON: Duration = Duration::from_millis(5);

/// All of it.
pub fn everything<F: Flavor>(flavor: &F) {
    type Test<F> = (&'static str, fn(&F));
    let all: [Test<F>; 18] = [
        ("one message", one_message),
        ("nothing to receive", nothing_to_receive),
        ("full", full),
        ("a deadline that has passed", a_deadline_that_has_passed),
        ("both come in time", both_come_in_time),
        ("disconnected while it receives", disconnected_while_it_receives),
        ("disconnected while it sends", disconnected_while_it_sends),
        ("all who wait are told", all_who_wait_are_told),
        ("after the last sender what is there is received", after_the_last_sender),
        ("after the last receiver", after_the_last_receiver),
        ("as long as one is left", as_long_as_one_is_left),
        ("a rendezvous is one", a_rendezvous_is_one),
        ("order", order),
        ("exactly once", exactly_once),
        ("to and fro", to_and_fro),
        ("who gives up", who_gives_up),
        ("everybody gets a turn", everybody_gets_a_turn),
        ("ends that come and go", ends_that_come_and_go),
    ];
    for (what, test) in all {
        let name = format!("{}: {what}", flavor.name());
        let _watchdog = watchdog(&name, 120);
        eprintln!("{name}");
        test(flavor);
    }
}

fn ends<F: Flavor>(flavor: &F) -> (usize, usize) {
    let (senders, receivers) = flavor.most();
    (senders.min(4), receivers.min(4))
}

fn one_message<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    scope(|s| {
        s.spawn(move || tx.send(7).unwrap());
        assert_eq!(rx.recv().unwrap(), 7);
    });
}

fn nothing_to_receive<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    let began = Instant::now();
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)));
    assert!(began.elapsed() >= SOON, "not before");
    scope(|s| {
        s.spawn(move || tx.send(8).unwrap());
        assert_eq!(rx.recv().unwrap(), 8, "who timed out left nothing behind");
    });
}

fn full<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    for n in 0..flavor.degree() {
        tx.try_send(n).unwrap();
    }
    let error = tx.try_send(100).unwrap_err();
    assert!(matches!(error.why, SendFailure::WouldBlock), "{error}");
    assert_eq!(error.message, 100);
    let began = Instant::now();
    let error = tx.send_timeout(101, SOON).unwrap_err();
    assert!(began.elapsed() >= SOON, "not before");
    assert!(matches!(error.why, SendFailure::TimedOut), "{error}");
    assert_eq!(error.message, 101);
    for n in 0..flavor.degree() {
        assert_eq!(rx.try_recv().unwrap(), n);
    }
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "what came back is not there");
}

fn a_deadline_that_has_passed<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    let past = Instant::now();
    assert!(matches!(rx.recv_deadline(past), Err(RecvError::TimedOut)));
    for n in 0..flavor.degree() {
        tx.send_deadline(n, past).expect("there is room");
    }
    let error = tx.send_deadline(9, past).unwrap_err();
    assert!(matches!(error.why, SendFailure::TimedOut), "{error}");
    if flavor.degree() != 0 {
        assert_eq!(rx.recv_deadline(past).expect("it is there"), 0);
    }
}

fn both_come_in_time<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    let late = Instant::now() + Duration::from_secs(1000);
    scope(|s| {
        s.spawn(move || (0..50).for_each(|n| tx.send_deadline(n, late).unwrap()));
        for n in 0..50 {
            assert_eq!(rx.recv_timeout(Duration::MAX).unwrap(), n, "for ever is a deadline, too");
        }
    });
}

fn disconnected_while_it_receives<F: Flavor>(flavor: &F) {
    for asleep in [false, true] {
        let (tx, rx) = flavor.one();
        scope(|s| {
            s.spawn(move || assert!(matches!(rx.recv(), Err(RecvError::Disconnected))));
            if asleep {
                sleep(A_MOMENT);
            }
            drop(tx);
        });
    }
}

fn disconnected_while_it_sends<F: Flavor>(flavor: &F) {
    for asleep in [false, true] {
        let (tx, rx) = flavor.one();
        scope(|s| {
            s.spawn(move || {
                // More than any channel holds.
                let error = (0..=1 << 21).find_map(|n| tx.send(n).err()).expect("disconnected");
                assert!(matches!(error.why, SendFailure::Disconnected), "{error}");
            });
            if asleep {
                sleep(A_MOMENT);
            }
            drop(rx);
        });
    }
}

fn all_who_wait_are_told<F: Flavor>(flavor: &F) {
    let (senders, receivers) = ends(flavor);
    let (tx, rx) = flavor.channel(1, receivers);
    scope(|s| {
        for rx in rx {
            s.spawn(move || assert!(matches!(rx.recv(), Err(RecvError::Disconnected))));
        }
        sleep(A_MOMENT);
        drop(tx);
    });
    let (tx, rx) = flavor.channel(senders, 1);
    (0..flavor.degree()).for_each(|n| tx[0].try_send(n).unwrap());
    scope(|s| {
        for tx in tx {
            s.spawn(move || {
                let error = tx.send(1).unwrap_err();
                assert!(matches!(error.why, SendFailure::Disconnected), "{error}");
                assert_eq!(error.message, 1);
            });
        }
        sleep(A_MOMENT);
        drop(rx);
    });
}

fn after_the_last_sender<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    (0..flavor.degree()).for_each(|n| tx.send(n).unwrap());
    drop(tx);
    for n in 0..flavor.degree() {
        assert_eq!(rx.recv().unwrap(), n);
    }
    assert!(matches!(rx.try_recv(), Err(RecvError::Disconnected)));
    if !flavor.waits_for_successors() {
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::Disconnected)));
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    }
}

fn after_the_last_receiver<F: Flavor>(flavor: &F) {
    if flavor.waits_for_successors() && flavor.degree() != 0 {
        return; // there is room, and somebody may come
    }
    let (tx, rx) = flavor.one();
    drop(rx);
    #[allow(clippy::type_complexity)]
    let sends: [fn(&F::Tx) -> Result<(), SendError<u64>>; 3] =
        [|tx| tx.try_send(1), |tx| tx.send_timeout(1, SOON), |tx| tx.send(1)];
    let calls = if flavor.waits_for_successors() { 1 } else { 3 };
    for send in &sends[..calls] {
        let error = send(&tx).unwrap_err();
        assert!(matches!(error.why, SendFailure::Disconnected), "{error}");
        assert_eq!(error.message, 1);
    }
}

fn as_long_as_one_is_left<F: Flavor>(flavor: &F) {
    let (senders, receivers) = ends(flavor);
    let (mut tx, mut rx) = flavor.channel(senders, receivers);
    tx.truncate(1);
    rx.truncate(1);
    scope(|s| {
        s.spawn(move || tx[0].send(3).unwrap());
        assert_eq!(rx[0].recv().unwrap(), 3);
    });
}

fn a_rendezvous_is_one<F: Flavor>(flavor: &F) {
    if flavor.degree() != 0 {
        return;
    }
    let (mut tx, mut rx) = flavor.one();
    let asked = AtomicBool::new(false);
    scope(|s| {
        let (tx, asked) = (&mut tx, &asked);
        s.spawn(move || {
            for n in 0..200 {
                tx.send(n).unwrap();
                assert!(asked.swap(false, SeqCst), "send came back before anybody asked");
            }
        });
        for n in 0..200 {
            if n % 40 == 0 {
                sleep(SOON);
            }
            assert!(!asked.swap(true, SeqCst) || n == 0, "the sender has come back");
            assert_eq!(rx.recv().unwrap(), n);
            // The sender takes the flag down in its own time.
            while asked.load(SeqCst) {
                std::thread::yield_now();
            }
        }
    });
    // Whoever waits is found without waiting.
    scope(|s| {
        let rx = &mut rx;
        s.spawn(move || assert_eq!(rx.recv().unwrap(), 5));
        while tx.try_send(5).is_err() {
            std::thread::yield_now();
        }
    });
    scope(|s| {
        s.spawn(move || tx.send(6).unwrap());
        let found = loop {
            match rx.try_recv() {
                Ok(found) => break found,
                Err(_) => std::thread::yield_now(),
            }
        };
        assert_eq!(found, 6);
    });
}

fn order<F: Flavor>(flavor: &F) {
    let (tx, rx) = flavor.one();
    let messages = flavor.messages();
    scope(|s| {
        s.spawn(move || (0..messages).for_each(|n| tx.send(n).unwrap()));
        for n in 0..messages {
            assert_eq!(rx.recv().unwrap(), n);
        }
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    });
}

/// Each receiver sees the numbers of each sender rise; all together see each number once.
fn exactly_once<F: Flavor>(flavor: &F) {
    let (senders_max, receivers_max) = ends(flavor);
    let forms = [(1, 1), (2, 1), (1, 2), (senders_max, receivers_max)];
    for (senders, receivers) in forms {
        if senders > senders_max || receivers > receivers_max {
            continue;
        }
        let each = flavor.messages() / senders as u64;
        let (tx, rx) = flavor.channel(senders, receivers);
        let received: Vec<Vec<u64>> = scope(|s| {
            for (sender, tx) in tx.into_iter().enumerate() {
                s.spawn(move || {
                    (0..each).for_each(|n| tx.send((sender as u64) << 32 | n).unwrap());
                });
            }
            let receive = |rx: F::Rx| std::iter::from_fn(move || rx.recv().ok()).collect::<Vec<u64>>();
            let threads: Vec<_> = rx.into_iter().map(|rx| s.spawn(move || receive(rx))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for one in &received {
            let mut last = vec![None; senders];
            for &n in one {
                let last = &mut last[(n >> 32) as usize];
                assert!(*last < Some(n as u32), "the order of one sender is kept");
                *last = Some(n as u32);
            }
        }
        let mut all: Vec<u64> = received.concat();
        all.sort_unstable();
        let sent = (0..senders as u64).flat_map(|sender| (0..each).map(move |n| sender << 32 | n));
        assert!(all.into_iter().eq(sent), "{senders} to {receivers}: each once");
    }
}

fn to_and_fro<F: Flavor>(flavor: &F) {
    let ((to, from_here), (back, from_there)) = (flavor.one(), flavor.one());
    let rounds = flavor.messages() / 4;
    scope(|s| {
        s.spawn(move || {
            while let Ok(n) = from_here.recv() {
                back.send(n + 1).unwrap();
            }
        });
        for n in 0..rounds {
            to.send(n).unwrap();
            assert_eq!(from_there.recv().unwrap(), n + 1);
        }
        drop(to);
    });
}

/// Both sides give up now and then: what was said to be sent is received, and nothing else.
fn who_gives_up<F: Flavor>(flavor: &F) {
    let (senders, receivers) = ends(flavor);
    let (tx, rx) = flavor.channel(senders.min(2), receivers.min(2));
    let mut random = Random::new(&flavor.name());
    let mut seed = || random.below(1 << 40) | 1;
    let each = (flavor.messages() / 20).max(200);
    let (sent, received) = scope(|s| {
        let mut sending = Vec::new();
        for (sender, tx) in tx.into_iter().enumerate() {
            let mut patience = Patience(seed());
            sending.push(s.spawn(move || {
                let mut sent = Vec::new();
                for n in 0..each {
                    let n = (sender as u64) << 32 | n;
                    let result = match patience.next() {
                        None => tx.try_send(n),
                        Some(patience) => tx.send_timeout(n, patience),
                    };
                    match result {
                        Ok(()) => sent.push(n),
                        Err(error) => {
                            assert_eq!(error.message, n);
                            assert!(
                                matches!(error.why, SendFailure::TimedOut | SendFailure::WouldBlock),
                                "{error}"
                            );
                        }
                    }
                }
                sent
            }));
        }
        let mut receiving = Vec::new();
        for rx in rx {
            let mut patience = Patience(seed());
            receiving.push(s.spawn(move || {
                let mut received = Vec::new();
                loop {
                    let result = match patience.next() {
                        None => rx.try_recv(),
                        Some(patience) => rx.recv_timeout(patience),
                    };
                    match result {
                        Ok(n) => received.push(n),
                        Err(RecvError::Disconnected) => return received,
                        Err(RecvError::TimedOut | RecvError::WouldBlock) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        let sent: Vec<Vec<u64>> = sending.into_iter().map(|thread| thread.join().unwrap()).collect();
        let received: Vec<Vec<u64>> = receiving.into_iter().map(|thread| thread.join().unwrap()).collect();
        (sent.concat(), received.concat())
    });
    let unique: HashSet<u64> = received.iter().copied().collect();
    assert_eq!(unique.len(), received.len(), "nothing twice");
    assert_eq!(unique, sent.into_iter().collect(), "what was sent, no more and no less");
}

/// None: not at all; else a few microseconds.
struct Patience(u64);

impl Patience {
    fn next(&mut self) -> Option<Duration> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        match self.0 >> 20 & 7 {
            0 => None,
            few => Some(Duration::from_micros(few * few)),
        }
    }
}

/// Nobody of several senders, and nobody of several receivers, waits for ever while the others go on.
fn everybody_gets_a_turn<F: Flavor>(flavor: &F) {
    let (senders, receivers) = ends(flavor);
    let over = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = (0..senders).map(|_| AtomicU64::new(0)).collect();
    let (tx, mut rx) = flavor.channel(senders, 1);
    let rx = rx.remove(0);
    scope(|s| {
        for (sender, tx) in tx.into_iter().enumerate() {
            let over = &over;
            s.spawn(move || while !over.load(SeqCst) && tx.send(sender as u64).is_ok() {});
        }
        while counts.iter().any(|count| count.load(SeqCst) < 10) {
            counts[rx.recv().unwrap() as usize].fetch_add(1, SeqCst);
        }
        over.store(true, SeqCst);
        while rx.recv().is_ok() {}
    });
    let counts: Vec<AtomicU64> = (0..receivers).map(|_| AtomicU64::new(0)).collect();
    let (mut tx, rx) = flavor.channel(1, receivers);
    let tx = tx.remove(0);
    scope(|s| {
        for (receiver, rx) in rx.into_iter().enumerate() {
            let count = &counts[receiver];
            s.spawn(move || {
                while rx.recv().is_ok() {
                    count.fetch_add(1, SeqCst);
                }
            });
        }
        while counts.iter().any(|count| count.load(SeqCst) < 10) {
            tx.send(0).unwrap();
        }
        drop(tx);
    });
}

/// Channels are made, used a little and dropped, from both sides at any moment: nobody hangs.
fn ends_that_come_and_go<F: Flavor>(flavor: &F) {
    let mut random = Random::new(&flavor.name());
    for _ in 0..(flavor.messages() / 100).clamp(20, 300) {
        let (tx, rx) = flavor.one();
        let (to_send, to_receive) = (random.below(4), random.below(4));
        scope(|s| {
            s.spawn(move || {
                for n in 0..to_send {
                    if let Err(error) = tx.send(n) {
                        assert!(matches!(error.why, SendFailure::Disconnected), "{error}");
                        break;
                    }
                }
            });
            for n in 0..to_receive {
                match rx.recv() {
                    Ok(found) => assert_eq!(found, n),
                    Err(RecvError::Disconnected) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            drop(rx);
        });
    }
}
