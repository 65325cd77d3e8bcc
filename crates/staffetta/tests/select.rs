//! Select: the theory's alternative, within one process. Between processes: `select_processes.rs`.

mod common;

use std::time::{Duration, Instant};

use common::{pair, watchdog, Random};
use staffetta::{
    after, at, never, select, select_biased, tick, Domain, Parcel, RecvError, Select, SelectError,
    SendFailure, Wait,
};

const FORMS: [&str; 6] = ["rendezvous", "basic", "buffered", "bounded", "many-to-one", "work queue"];

#[test]
fn nothing_to_select_from() {
    let mut select = Select::new();
    assert_eq!(select.try_ready(), Err(SelectError::Empty));
    assert_eq!(select.ready(), Err(SelectError::Empty));
    assert!(matches!(select.select(), Err(SelectError::Empty)));
    let domain = Domain::create().unwrap();
    let (_tx, rx) = pair::<u64>(&domain, "buffered");
    let mut select = Select::new();
    let i = select.recv(&rx).unwrap();
    assert!(select.set_enabled(i, false) && !select.set_enabled(7, true));
    assert!(matches!(select.select(), Err(SelectError::Empty)), "no guard holds");
    assert!(select.remove(i) && !select.remove(i));
    assert!(matches!(select.try_select(), Err(SelectError::Empty)));
    // The first arm is told.
    select! {
        recv(rx) -> message if false => assert!(matches!(message, Err(RecvError::Select(SelectError::Empty)))),
        recv(never()) -> _ if false => unreachable!(),
    }
}

#[test]
fn ends_that_do_not_go_together() {
    let (one, two) = (Domain::create().unwrap(), Domain::create().unwrap());
    let (tx, _rx) = pair::<u64>(&one, "buffered");
    let (_other, foreign) = pair::<u64>(&two, "buffered");
    let mut select = Select::new();
    select.send(&tx).unwrap();
    assert_eq!(select.recv(&foreign), Err(SelectError::DifferentDomains));
    assert_eq!(select.send(&tx), Err(SelectError::Twice { operation: 0 }));
    assert_eq!(select.try_ready(), Ok(0), "what was refused is no part of it");
    drop(select);
    select! {
        send(tx, 1) -> _ => unreachable!(),
        recv(foreign) -> message => assert!(matches!(message, Err(RecvError::Select(SelectError::DifferentDomains)))),
    }
    let (puts, _gets) = one.channel("").basic(0).unnamed::<u64>().unwrap();
    assert_eq!(Select::new().send(&puts), Err(SelectError::PutsFirst));
    select! {
        send(puts, 7) -> sent => {
            let error = sent.unwrap_err();
            assert_eq!(error.message, 7);
            assert!(matches!(error.why, SendFailure::Select(SelectError::PutsFirst)));
        }
        default => unreachable!(),
    }
    // Completed with another end.
    let (second, _rx2) = pair::<u64>(&one, "buffered");
    let mut select = Select::new();
    select.send(&tx).unwrap();
    let error = select.select().unwrap().send(&second, 5).unwrap_err();
    assert!(matches!((error.message, error.why), (5, SendFailure::Select(SelectError::OtherEnd))));
    let many: Vec<_> = (0..4_097).map(|_| never()).collect();
    let mut select = Select::new();
    assert!(many[..4_096].iter().all(|timer| select.recv(timer).is_ok()));
    assert!(matches!(select.recv(&many[4_096]), Err(SelectError::TooManyOperations { .. })));
}

#[test]
fn time() {
    let domain = Domain::create().unwrap();
    let (_tx, rx) = pair::<u64>(&domain, "rendezvous");
    let ms = Duration::from_millis;
    let began = Instant::now();
    let soon = began + ms(50);
    let moment = at(soon);
    let mut select = Select::new();
    select.recv(&rx).unwrap();
    assert!(matches!(select.select_timeout(ms(20)), Err(SelectError::TimedOut)));
    assert!(matches!(select.select_deadline(began), Err(SelectError::TimedOut)));
    assert!(matches!(select.ready_timeout(ms(1)), Err(SelectError::TimedOut)));
    assert!(matches!(select.ready_deadline(began), Err(SelectError::TimedOut)));
    assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
    assert!(began.elapsed() >= ms(20));
    let i = select.recv(&moment).unwrap();
    assert_eq!(select.ready(), Ok(i));
    let chosen = select.select().unwrap();
    assert_eq!(chosen.recv(&moment).unwrap(), soon);
    assert!(Instant::now() >= soon);
    assert!(matches!(select.try_ready(), Err(SelectError::WouldBlock)), "it comes once");
    let ticks = tick(ms(3));
    let mut got = Vec::new();
    let end = after(ms(60));
    loop {
        select! {
            recv(ticks) -> moment => got.push(moment.unwrap()),
            recv(end) -> _ => break,
            recv(never()) -> _ => unreachable!(),
            recv(rx) -> _ => unreachable!(),
        }
    }
    assert!((1..=20).contains(&got.len()), "{got:?}");
    assert!(got.windows(2).all(|pair| pair[1] >= pair[0] + ms(3)), "they do not pile up: {got:?}");
    select! {
        recv(rx) -> _ => unreachable!(),
        default(ms(5)) => {}
    }
    select! {
        default(ms(1)) => {}
    }
    select! {
        recv(after(ms(1))) -> moment => assert!(moment.unwrap() <= Instant::now()),
    }
    // Only timers, and a select that is kept.
    let (fast, slow) = (tick(ms(2)), tick(ms(9)));
    let mut select = Select::new();
    let operations = [select.recv(&fast).unwrap(), select.recv(&slow).unwrap()];
    let mut counts = [0, 0];
    while counts[1] < 3 {
        let chosen = select.select().unwrap();
        let which = operations.iter().position(|i| *i == chosen.index()).unwrap();
        chosen.recv([&fast, &slow][which]).unwrap();
        counts[which] += 1;
    }
    assert!(counts[0] > 0);
}

#[test]
fn who_leaves_or_comes_wakes() {
    let _watchdog = watchdog("who_leaves_or_comes_wakes", 60);
    let domain = Domain::create().unwrap();
    for wait in Wait::ALL {
        for form in FORMS {
            // The sender leaves while the select sleeps; it is ready for ever then.
            let (tx, rx) = pair::<u64>(&domain, form);
            let leaves = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(3));
                drop(tx);
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.recv(&rx).unwrap();
            for _ in 0..3 {
                let chosen = select.select().unwrap();
                assert!(matches!(chosen.recv(&rx), Err(RecvError::Disconnected)), "{form}");
            }
            leaves.join().unwrap();
            // The receiver leaves.
            let (tx, rx) = pair::<u64>(&domain, form);
            while form != "rendezvous" && tx.try_send(0).is_ok() {}
            let leaves = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(3));
                drop(rx);
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.send(&tx).unwrap();
            for _ in 0..3 {
                let error = select.select().unwrap().send(&tx, 1).unwrap_err();
                assert!(matches!(error.why, SendFailure::Disconnected), "{form}: {error:?}");
            }
            leaves.join().unwrap();
            // A message comes; room comes.
            let (tx, rx) = pair::<u64>(&domain, form);
            let comes = std::thread::spawn(move || {
                for n in 0..20 {
                    std::thread::sleep(Duration::from_micros(300));
                    tx.send(n).unwrap();
                }
                tx
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.recv(&rx).unwrap();
            for n in 0..20 {
                assert_eq!(select.select().unwrap().recv(&rx).unwrap(), n, "{form}");
            }
            drop(select);
            let tx = comes.join().unwrap();
            let takes = std::thread::spawn(move || {
                for n in 0..20 {
                    std::thread::sleep(Duration::from_micros(300));
                    assert_eq!(rx.recv().unwrap(), n);
                }
            });
            let mut select = Select::new();
            select.set_wait(wait);
            select.send(&tx).unwrap();
            for n in 0..20 {
                select.select().unwrap().send(&tx, n).unwrap();
            }
            takes.join().unwrap();
        }
    }
}

#[test]
fn fair_or_biased() {
    let domain = Domain::create().unwrap();
    let channels: Vec<_> = (0..70).map(|_| pair::<u64>(&domain, "buffered")).collect();
    let mut select = Select::new();
    for (tx, rx) in &channels {
        tx.send(0).unwrap();
        select.recv(rx).unwrap();
    }
    let mut counts = vec![0_u32; channels.len()];
    for _ in 0..100 * channels.len() {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        chosen.recv(&channels[i].1).unwrap();
        channels[i].0.send(0).unwrap();
        counts[i] += 1;
    }
    assert!(counts.iter().all(|n| *n == 100), "each has its turn: {counts:?}");
    select.set_biased();
    for _ in 0..100 {
        let chosen = select.select().unwrap();
        assert_eq!(chosen.index(), 0);
        chosen.recv(&channels[0].1).unwrap();
        channels[0].0.send(0).unwrap();
    }
    channels[0].1.recv().unwrap();
    assert_eq!(select.ready(), Ok(1));
    // The macro begins somewhere else each time.
    let (a, b) = (&channels[1], &channels[2]);
    let mut counts = [0, 0];
    for _ in 0..1_000 {
        select! {
            recv(a.1) -> message => {
                message.unwrap();
                counts[0] += 1;
                a.0.send(0).unwrap();
            }
            recv(&b.1) -> message => {
                message.unwrap();
                counts[1] += 1;
                b.0.send(0).unwrap();
            }
        }
    }
    assert!(counts.iter().all(|n| *n > 300), "{counts:?}");
}

#[test]
fn the_macro_moves_only_what_it_sends() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair::<Parcel<u64>>(&domain, "bounded");
    let (_never, idle) = pair::<u64>(&domain, "rendezvous");
    let mut parcel = Some(Parcel::new(&domain, 7_u64).unwrap());
    for n in 0..6 {
        let sent: Result<bool, SendFailure> = (|| {
            Ok(select! {
                recv(idle) -> message => { message.unwrap(); false }
                send(&tx, parcel.take().ok_or(SendFailure::EmptyVariable)?) -> result if n != 1 => {
                    result.map_err(|error| error.why)?;
                    true
                },
                default => false,
            })
        })();
        match n {
            0 => assert!(sent.unwrap() && parcel.is_none()),
            1 => assert!(!sent.unwrap()),
            _ => assert!(matches!(sent, Err(SendFailure::EmptyVariable)), "an early return"),
        }
    }
    for n in 0.. {
        select_biased! {
            recv(idle) -> _ => unreachable!(),
            recv(rx) -> parcel if n == 0 => assert_eq!(*parcel.unwrap(), 7),
            default => break,
        }
    }
    let mut values = vec![1, 2, 3];
    let (tx, rx) = pair::<u64>(&domain, "buffered");
    let result = loop {
        select! {
            send(tx, values.pop().unwrap()) -> sent => {
                sent.unwrap();
                assert!(!values.is_empty());
                continue;
            },
            default() => break rx.try_iter().sum::<u64>(),
        }
    };
    assert_eq!((result, values.len()), (5, 1));
}

#[test]
fn an_end_is_used_between_two_selects() {
    let _watchdog = watchdog("an_end_is_used_between_two_selects", 120);
    let mut random = Random::new("an_end_is_used_between_two_selects");
    let domain = common::options().create().unwrap();
    for form in FORMS {
        let n = 3_000;
        let (tx, rx) = pair::<u64>(&domain, form);
        let (back, answers) = pair::<u64>(&domain, form);
        let mut delay = Random::seeded(random.below(u64::MAX));
        let partner = std::thread::spawn(move || {
            for i in 0..n {
                if delay.below(8) == 0 {
                    std::thread::sleep(Duration::from_micros(delay.below(60)));
                }
                tx.send(i).unwrap();
                assert_eq!(answers.recv().unwrap(), i);
            }
        });
        let mut first = Select::new();
        let (i, _) = (first.recv(&rx).unwrap(), first.send(&back).unwrap());
        let mut second = Select::new();
        second.set_wait(Wait::Park);
        second.recv(&rx).unwrap();
        for n in 0..n {
            first.set_enabled(1, false);
            let got = match random.below(6) {
                0 => rx.recv().unwrap(),
                1 => second.select().unwrap().recv(&rx).unwrap(),
                2 => match rx.recv_timeout(Duration::from_micros(random.below(100))) {
                    Ok(got) => got,
                    Err(_) => first.select().unwrap().recv(&rx).unwrap(),
                },
                3 => {
                    drop(second.select().unwrap());
                    rx.recv().unwrap()
                }
                4 => {
                    while first.try_ready() != Ok(i) {
                        std::thread::yield_now();
                    }
                    first.select().unwrap().recv(&rx).unwrap()
                }
                _ => first.select().unwrap().recv(&rx).unwrap(),
            };
            assert_eq!(got, n, "{form}");
            if random.below(2) == 0 {
                first.set_enabled(i, false);
                first.set_enabled(1, true);
                loop {
                    match first.select().unwrap().send(&back, got) {
                        Ok(()) => break,
                        Err(error) => assert!(matches!(error.why, SendFailure::WouldBlock), "{error:?}"),
                    }
                }
                first.set_enabled(i, true);
            } else {
                back.send(got).unwrap();
            }
        }
        partner.join().unwrap();
    }
}

/// Several selects at each side of the same queues: nothing is taken twice, and nothing is lost.
#[test]
fn many_selects_over_the_same_channels() {
    let _watchdog = watchdog("many_selects_over_the_same_channels", 120);
    let domain = common::options().create().unwrap();
    let (per_sender, channels) = (2_000_u64, ["q0", "q1", "q2"]);
    let attach = |name: &'static str| domain.channel(name).bounded(3);
    let receivers: Vec<_> =
        (0..3).map(|_| channels.map(|name| attach(name).receiver::<u64>().unwrap())).collect();
    let senders: Vec<_> =
        (0..2).map(|_| channels.map(|name| attach(name).sender::<u64>().unwrap())).collect();
    let sends: Vec<_> = (0..)
        .zip(senders)
        .map(|(who, ends)| {
            std::thread::spawn(move || {
                let mut select = Select::new();
                ends.iter().for_each(|end| assert!(select.send(end).is_ok()));
                let mut n = 0;
                while n < per_sender {
                    let chosen = select.select().unwrap();
                    let i = chosen.index();
                    match chosen.send(&ends[i], who * per_sender + n) {
                        Ok(()) => n += 1,
                        Err(error) => assert!(matches!(error.why, SendFailure::WouldBlock), "{error:?}"),
                    }
                }
            })
        })
        .collect();
    let receives: Vec<_> = receivers
        .into_iter()
        .map(|ends| {
            std::thread::spawn(move || {
                let mut got = Vec::new();
                let mut select = Select::new();
                ends.iter().for_each(|end| assert!(select.recv(end).is_ok()));
                let mut open = ends.len();
                while open > 0 {
                    let chosen = select.select().unwrap();
                    let i = chosen.index();
                    match chosen.recv(&ends[i]) {
                        Ok(n) => got.push(n),
                        Err(RecvError::Disconnected) => {
                            open -= 1;
                            select.remove(i);
                        }
                        Err(why) => panic!("{why}"),
                    }
                }
                got
            })
        })
        .collect();
    sends.into_iter().for_each(|thread| thread.join().unwrap());
    let mut got: Vec<u64> = receives.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, (0..2 * per_sender).collect::<Vec<_>>());
}

/// A partner that does not wait finds a select that sleeps.
#[test]
fn a_try_meets_a_select_that_sleeps() {
    let _watchdog = watchdog("a_try_meets_a_select_that_sleeps", 60);
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair::<u64>(&domain, "rendezvous");
    let sends = std::thread::spawn(move || {
        let mut select = Select::new();
        select.send(&tx).unwrap();
        for n in 0..50 {
            while select.select().unwrap().send(&tx, n).is_err() {}
        }
        drop(select);
        tx
    });
    for n in 0..50 {
        let got = loop {
            match rx.try_recv() {
                Ok(got) => break got,
                Err(RecvError::WouldBlock) => std::thread::sleep(Duration::from_micros(50)),
                Err(why) => panic!("{why}"),
            }
        };
        assert_eq!(got, n);
    }
    let tx = sends.join().unwrap();
    let receives = std::thread::spawn(move || {
        let mut select = Select::new();
        select.recv(&rx).unwrap();
        (0..100).for_each(|n| assert_eq!(select.select().unwrap().recv(&rx).unwrap(), n));
    });
    for n in 0..100 {
        // By turns a try, and a select with a default.
        loop {
            let sent = if n % 2 == 0 {
                tx.try_send(n).is_ok()
            } else {
                select! {
                    send(tx, n) -> sent => sent.is_ok(),
                    default => false,
                }
            };
            if sent {
                break;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    receives.join().unwrap();
}

/// A message that a select has taken and nobody received goes with the end; a parcel's memory comes back.
#[test]
fn what_was_chosen_and_not_completed() {
    let _watchdog = watchdog("what_was_chosen_and_not_completed", 60);
    let domain = Domain::create().unwrap();
    for form in FORMS {
        for received in [true, false] {
            let (tx, rx) = pair::<Parcel<[u64; 1_000]>>(&domain, form);
            let parcel = Parcel::new(&domain, [1; 1_000]).unwrap();
            let sends = std::thread::spawn(move || {
                tx.send(parcel).unwrap();
                tx
            });
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            drop(select.select().unwrap());
            drop(select);
            if received {
                assert_eq!(rx.recv().unwrap()[999], 1);
            }
            drop(rx);
            drop(sends.join().unwrap());
        }
    }
    domain.trim().unwrap();
    let free = domain.memory().unwrap().1;
    for _ in 0..100 {
        let (tx, rx) = pair::<Parcel<[u64; 1_000]>>(&domain, "rendezvous");
        let parcel = Parcel::new(&domain, [1; 1_000]).unwrap();
        let sends = std::thread::spawn(move || tx.send(parcel).map(|()| tx));
        let mut select = Select::new();
        select.recv(&rx).unwrap();
        drop(select.select().unwrap());
        drop(select);
        drop(rx);
        drop(sends.join().unwrap());
    }
    domain.trim().unwrap();
    let now = domain.memory().unwrap().1;
    assert!(now <= free + (1 << 16), "{free} bytes before, {now} after");
}
