//! Select over channels within the process, alone and beside ends of a domain.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use common::{until, watchdog, Random};
use staffetta::local::{Receiver, Sender};
use staffetta::{
    after, bounded, rendezvous, select, select_biased, Domain, RecvError, Select, SelectError, SendFailure,
    Wait,
};

type Ends<T> = (Sender<T>, Receiver<T>);

/// Every kind of channel within a process.
fn kinds<T>() -> [(&'static str, Ends<T>); 3] {
    [("rendezvous", rendezvous()), ("bounded(1)", bounded(1)), ("bounded(3)", bounded(3))]
}

/// Is a thread of this process asleep in the kernel?
fn asleep(thread: &std::sync::mpsc::Receiver<String>) -> impl Fn() -> bool {
    let path = thread.recv().unwrap();
    move || std::fs::read_to_string(&path).is_ok_and(|stat| stat.rsplit(')').next().unwrap().contains(" S "))
}

/// Says where the calling thread's state is to be read.
fn here(tell: &std::sync::mpsc::Sender<String>) {
    let path = std::fs::read_link("/proc/thread-self").unwrap();
    tell.send(format!("/proc/{}/stat", path.display())).unwrap();
}

#[test]
fn ready_at_once_or_while_asleep() {
    let _watchdog = watchdog("ready_at_once_or_while_asleep", 60);
    for wait in Wait::ALL {
        for (kind, (tx, rx)) in kinds::<u64>() {
            let mut select = Select::new();
            select.set_wait(wait);
            let i = select.recv(&rx).unwrap();
            assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
            assert!(matches!(select.select_timeout(Duration::from_millis(1)), Err(SelectError::TimedOut)));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for n in 0..40 {
                        if n % 2 == 0 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        tx.send(n).unwrap();
                    }
                });
                for n in 0..40 {
                    let chosen = select.select().unwrap();
                    assert_eq!(chosen.index(), i);
                    assert_eq!(chosen.recv(&rx).unwrap(), n, "{kind}");
                }
            });
            drop(select);
            // And the other way round.
            let mut select = Select::new();
            select.set_wait(wait);
            select.send(&tx).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for n in 0..40 {
                        if n % 2 == 0 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        assert_eq!(rx.recv().unwrap(), n);
                    }
                });
                for n in 0..40 {
                    select.select().unwrap().send(&tx, n).unwrap();
                }
            });
        }
    }
}

#[test]
fn the_other_side_leaves() {
    let _watchdog = watchdog("the_other_side_leaves", 60);
    for wait in Wait::ALL {
        for (kind, (tx, rx)) in kinds::<u64>() {
            let leaves = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(2));
                drop(tx);
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.recv(&rx).unwrap();
            for _ in 0..3 {
                let got = select.select().unwrap().recv(&rx);
                assert!(matches!(got, Err(RecvError::Disconnected)), "{kind}: {got:?}");
            }
            leaves.join().unwrap();
        }
        for (kind, (tx, rx)) in kinds::<u64>() {
            while kind != "rendezvous" && tx.try_send(0).is_ok() {}
            let leaves = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(2));
                drop(rx);
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.send(&tx).unwrap();
            for _ in 0..3 {
                let error = select.select().unwrap().send(&tx, 1).unwrap_err();
                assert!(matches!(error.why, SendFailure::Disconnected), "{kind}: {error:?}");
            }
            leaves.join().unwrap();
        }
    }
}

/// Two threads select against each other, sends and receives mixed: neither waits for ever, and nothing is taken twice.
fn against(ends: (&Sender<Box<u64>>, &Receiver<Box<u64>>), messages: u64, seed: u64, wait: Wait) -> u64 {
    let (tx, rx) = ends;
    let mut random = Random::seeded(seed);
    let mut select = Select::new();
    select.set_wait(wait);
    let (send, receive) = (select.send(tx).unwrap(), select.recv(rx).unwrap());
    let (mut sent, mut received, mut refused) = (0, 0, 0);
    while sent < messages || received < messages {
        select.set_enabled(send, sent < messages);
        select.set_enabled(receive, received < messages);
        let chosen = match random.below(4) {
            0 => select.select_timeout(Duration::from_micros(random.below(300))),
            1 => select.try_select(),
            _ => select.select(),
        };
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(SelectError::TimedOut | SelectError::WouldBlock) => continue,
            Err(why) => panic!("{why}"),
        };
        if chosen.index() == send {
            if random.below(20) == 0 {
                continue; // given up: whoever waited for it goes on
            }
            match chosen.send(tx, Box::new(sent)) {
                Ok(()) => sent += 1,
                Err(error) => {
                    assert!(matches!(error.why, SendFailure::WouldBlock), "{error:?}");
                    refused += 1;
                }
            }
        } else if random.below(20) == 0 {
            drop(chosen);
            assert_eq!(*rx.recv().unwrap(), received); // it is what comes next
            received += 1;
        } else {
            assert_eq!(*chosen.recv(rx).unwrap(), received);
            received += 1;
        }
    }
    refused
}

#[test]
fn select_against_select() {
    let _watchdog = watchdog("select_against_select", 120);
    let mut random = Random::new("select_against_select");
    for wait in Wait::ALL {
        for (kind, (tx, rx)) in kinds::<Box<u64>>() {
            let (there, back) = if kind == "rendezvous" { rendezvous() } else { bounded(1) };
            let seeds = [random.below(1 << 40), random.below(1 << 40)];
            let messages = if wait == Wait::Spin { 300 } else { 1_000 };
            let refused = std::thread::scope(|scope| {
                let other = scope.spawn(|| against((&there, &rx), messages, seeds[0], wait));
                against((&tx, &back), messages, seeds[1], wait) + other.join().unwrap()
            });
            eprintln!("{kind}, {wait}: {refused} refused");
            assert!(kind == "rendezvous" || refused == 0, "one sender each: there is room once there was");
        }
    }
}

/// Several selects on each side of the same channels, on clones and on ends that threads share, beside calls that block.
#[test]
fn many_selects_over_the_same_channels() {
    let _watchdog = watchdog("many_selects_over_the_same_channels", 120);
    const EACH: u64 = 1_000;
    for kind in [0, 1] {
        let make = || if kind == 0 { rendezvous::<[u64; 5]>() } else { bounded(2) };
        let channels = [make(), make()];
        let senders = channels.each_ref().map(|(tx, _)| tx);
        let receivers = channels.each_ref().map(|(_, rx)| rx);
        let taken = AtomicUsize::new(0);
        let got = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for who in 0..3 {
                scope.spawn(move || {
                    if who == 0 {
                        for n in 0..EACH {
                            senders[n as usize % 2].send([n; 5]).unwrap();
                        }
                        return;
                    }
                    let own = senders.map(Sender::clone);
                    let ends = if who == 1 { senders } else { own.each_ref() };
                    let mut select = Select::new();
                    ends.iter().for_each(|end| assert!(select.send(*end).is_ok()));
                    let mut n = 0;
                    while n < EACH {
                        let chosen = select.select().unwrap();
                        let i = chosen.index();
                        match chosen.send(ends[i], [who * EACH + n; 5]) {
                            Ok(()) => n += 1,
                            Err(error) => {
                                assert!(matches!(error.why, SendFailure::WouldBlock), "{error:?}");
                            }
                        }
                    }
                });
            }
            for who in 0..3 {
                let (taken, got) = (&taken, &got);
                scope.spawn(move || {
                    let own = receivers.map(Receiver::clone);
                    let ends = if who == 1 { receivers } else { own.each_ref() };
                    let mut select = Select::new();
                    ends.iter().for_each(|end| assert!(select.recv(*end).is_ok()));
                    let mut mine = Vec::new();
                    while taken.load(SeqCst) < 3 * EACH as usize {
                        let message = if who == 0 {
                            ends[mine.len() % 2].recv_timeout(Duration::from_micros(500)).ok()
                        } else {
                            match select.select_timeout(Duration::from_millis(2)) {
                                Ok(chosen) => {
                                    let i = chosen.index();
                                    Some(chosen.recv(ends[i]).expect("it was taken when it was chosen"))
                                }
                                Err(SelectError::TimedOut) => None,
                                Err(why) => panic!("{why}"),
                            }
                        };
                        if let Some(words) = message {
                            assert_eq!(words, [words[0]; 5]);
                            mine.push(words[0]);
                            taken.fetch_add(1, SeqCst);
                        }
                    }
                    got.lock().unwrap().extend(mine);
                });
            }
        });
        let mut got = got.into_inner().unwrap();
        got.sort_unstable();
        assert_eq!(got, (0..3 * EACH).collect::<Vec<_>>());
    }
}

/// A select of both ends of one rendezvous does not meet itself.
#[test]
fn nobody_meets_itself() {
    let _watchdog = watchdog("nobody_meets_itself", 30);
    let (tx, rx) = rendezvous::<u8>();
    let mut select = Select::new();
    select.send(&tx).unwrap();
    select.recv(&rx).unwrap();
    for _ in 0..5 {
        assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
        assert!(matches!(select.select_timeout(Duration::from_millis(1)), Err(SelectError::TimedOut)));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| tx.send(3).unwrap());
        let chosen = select.select().unwrap();
        assert_eq!(chosen.index(), 1);
        assert_eq!(chosen.recv(&rx).unwrap(), 3);
    });
}

#[test]
fn a_try_meets_a_select_that_sleeps() {
    let _watchdog = watchdog("a_try_meets_a_select_that_sleeps", 60);
    let (tx, rx) = rendezvous::<[u64; 9]>();
    for _ in 0..20 {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let receives = scope.spawn(|| {
                here(&tell);
                let mut select = Select::new();
                select.set_wait(Wait::Park);
                select.recv(&rx).unwrap();
                select.select().unwrap().recv(&rx).unwrap()
            });
            until(asleep(&told));
            // It is told by the first try, and may need longer than that one waits for it.
            while let Err(error) = tx.try_send([7; 9]) {
                assert!(matches!(error.why, SendFailure::WouldBlock));
                std::thread::sleep(Duration::from_micros(50));
            }
            assert_eq!(receives.join().unwrap(), [7; 9]);
        });
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                here(&tell);
                let mut select = Select::new();
                select.set_wait(Wait::Park);
                select.send(&tx).unwrap();
                while select.select().unwrap().send(&tx, [8; 9]).is_err() {}
            });
            until(asleep(&told));
            let got = loop {
                match rx.try_recv() {
                    Ok(got) => break got,
                    Err(RecvError::WouldBlock) => std::thread::sleep(Duration::from_micros(50)),
                    Err(why) => panic!("{why}"),
                }
            };
            assert_eq!(got, [8; 9]);
        });
    }
}

/// One select with ends of both kinds, and time: whatever comes wakes it, also if the first of one kind was added after it slept.
#[test]
fn mixed_with_a_domain_and_time() {
    let _watchdog = watchdog("mixed_with_a_domain_and_time", 60);
    let domain = Domain::create().unwrap();
    for wait in Wait::ALL {
        for domain_first in [true, false] {
            let (far, from_far) = domain.channel("").rendezvous().unnamed::<u64>().unwrap();
            let (near, from_near) = rendezvous::<u64>();
            let (queue, from_queue) = bounded::<String>(2);
            let moment = after(Duration::from_millis(1));
            let mut select = Select::new();
            select.set_wait(wait);
            let time = select.recv(&moment).unwrap();
            let (mut of_far, mut of_near) = (usize::MAX, usize::MAX);
            if domain_first {
                of_far = select.recv(&from_far).unwrap();
            } else {
                of_near = select.recv(&from_near).unwrap();
            }
            let chosen = select.select().unwrap();
            assert_eq!(chosen.index(), time);
            chosen.recv(&moment).unwrap();
            if domain_first {
                of_near = select.recv(&from_near).unwrap();
            } else {
                of_far = select.recv(&from_far).unwrap();
            }
            let of_queue = select.recv(&from_queue).unwrap();
            let other = std::thread::spawn(move || {
                for n in 0..60 {
                    if n % 5 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    match n % 3 {
                        0 => far.send(n).unwrap(),
                        1 => near.send(n).unwrap(),
                        _ => queue.send(n.to_string()).unwrap(),
                    }
                }
            });
            let mut got = Vec::new();
            while got.len() < 60 {
                let chosen = select.select().unwrap();
                let i = chosen.index();
                let message = if i == of_far {
                    chosen.recv(&from_far).ok()
                } else if i == of_near {
                    chosen.recv(&from_near).ok()
                } else {
                    assert_eq!(i, of_queue);
                    chosen.recv(&from_queue).ok().map(|text| text.parse().unwrap())
                };
                got.extend(message);
            }
            got.sort_unstable(); // what waits in the queue may be chosen later than what came after it
            assert_eq!(got, (0..60).collect::<Vec<_>>());
            other.join().unwrap();
        }
    }
}

/// What `ready` found is left to whoever comes first, also where a select on the other side gave it.
#[test]
fn ready_leaves_it_to_the_end() {
    let _watchdog = watchdog("ready_leaves_it_to_the_end", 60);
    for (kind, (tx, rx)) in kinds::<u64>() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut select = Select::new();
                select.send(&tx).unwrap();
                for n in 0..200 {
                    while select.select().unwrap().send(&tx, n).is_err() {}
                }
            });
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            for n in 0..200 {
                if n % 2 == 0 {
                    assert_eq!(select.ready(), Ok(0));
                }
                assert_eq!(rx.recv().unwrap(), n, "{kind}");
            }
        });
    }
}

#[test]
fn the_macro_in_one_process() {
    let _watchdog = watchdog("the_macro_in_one_process", 60);
    let (tx, rx) = bounded::<String>(1);
    let (stop, stopped) = rendezvous::<()>();
    let worker = std::thread::spawn(move || {
        let mut lengths = 0;
        loop {
            select_biased! {
                recv(rx) -> word => match word {
                    Ok(word) => lengths += word.len(),
                    Err(RecvError::Disconnected) => panic!("stopped first"),
                    Err(why) => panic!("{why}"),
                },
                recv(stopped) -> end => {
                    end.unwrap();
                    return lengths;
                }
            }
        }
    });
    for word in ["by", "hand", "from", "thread", "to", "thread"] {
        select! {
            send(tx, word.to_owned()) -> sent => sent.unwrap(),
            recv(after(Duration::from_secs(30))) -> _ => panic!("the worker takes too long"),
        }
    }
    stop.send(()).unwrap();
    assert_eq!(worker.join().unwrap(), 24);
    select! {
        send(tx, String::new()) -> sent => assert!(matches!(sent.unwrap_err().why, SendFailure::Disconnected)),
        default => panic!("an end is an outcome"),
    }
}

#[test]
fn fair_or_biased() {
    let channels: Vec<_> = (0..5).map(|_| bounded::<usize>(1)).collect();
    let mut select = Select::new();
    for (tx, rx) in &channels {
        tx.send(0).unwrap();
        select.recv(rx).unwrap();
    }
    let mut counts = [0; 5];
    for _ in 0..500 {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        chosen.recv(&channels[i].1).unwrap();
        channels[i].0.send(0).unwrap();
        counts[i] += 1;
    }
    assert_eq!(counts, [100; 5]);
    select.set_biased();
    for _ in 0..50 {
        let chosen = select.select().unwrap();
        assert_eq!(chosen.index(), 0);
        chosen.recv(&channels[0].1).unwrap();
        channels[0].0.send(0).unwrap();
    }
}

/// What a select took, and what it left: each value is dropped once, and none is lost.
#[test]
fn values_that_are_not_completed() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    {
        let (tx, rx) = bounded(2);
        let again = rx.clone();
        tx.send(Counted(dropped.clone())).unwrap();
        tx.send(Counted(dropped.clone())).unwrap();
        let mut select = Select::new();
        select.recv(&rx).unwrap();
        drop(select.select().unwrap());
        drop(select);
        assert_eq!(dropped.load(SeqCst), 0);
        drop(again.try_recv().unwrap());
        assert_eq!(dropped.load(SeqCst), 1);
        let mut select = Select::new();
        select.recv(&rx).unwrap();
        drop(select.select().unwrap());
        assert!(select.try_ready().is_ok());
        // The channel is dropped with it.
    }
    assert_eq!(dropped.load(SeqCst), 2);
    // A select that has chosen to send, and does not: whoever stood for it goes on.
    let (tx, rx) = rendezvous::<u8>();
    std::thread::scope(|scope| {
        let receives = scope.spawn(|| {
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            select.select().unwrap().recv(&rx).unwrap()
        });
        let mut select = Select::new();
        select.send(&tx).unwrap();
        drop(select.select().unwrap());
        drop(select.select().unwrap());
        drop(select);
        tx.send(5).unwrap();
        assert_eq!(receives.join().unwrap(), 5);
    });
}

/// Selects come and go: there is a gate for each as long as they are not too many at a time, and nobody is told in vain.
#[test]
fn a_dropped_select_leaves_nothing() {
    let _watchdog = watchdog("a_dropped_select_leaves_nothing", 60);
    let (_tx, rx) = bounded::<u8>(1);
    let (meet, met) = rendezvous::<u8>();
    for _ in 0..10_000 {
        let mut select = Select::new();
        let i = select.recv(&rx).unwrap();
        select.recv(&met).unwrap();
        assert!(matches!(select.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
        select.remove(i);
    }
    // Nobody is there to be told: a try does not wait for a select.
    assert!(matches!(meet.try_send(1).unwrap_err().why, SendFailure::WouldBlock));
    let held: Vec<_> = (0..4_096)
        .map_while(|_| {
            let mut select = Select::new();
            select.recv(&rx).is_ok().then_some(select)
        })
        .collect();
    assert!(held.len() > 4_000, "others of this program have some");
    drop(held);
    assert_eq!(Select::new().recv(&rx), Ok(0));
}
