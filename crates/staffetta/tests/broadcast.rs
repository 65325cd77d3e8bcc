//! Broadcast: each message to all, in order; receivers that are slow, late, stopped or killed; a sender that is.

mod common;

use std::process::Child;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{finish, name, role, start, until, watchdog, Random};
use rustix::process::Signal;
use staffetta::{
    AttachError, BroadcastReceiver, BroadcastSender, Domain, Late, Message, Method, Receiver, RecvError,
    SendFailure, SlowReceiver, Wait,
};

const CHANNEL: &str = "news";
/// A number, many times, so that half a message shows.
type News = [u64; 64];
/// Who, what, how many.
type Report = [u64; 3];

const POLICIES: [SlowReceiver; 3] = [SlowReceiver::Block, SlowReceiver::DropOldest, SlowReceiver::Disconnect];

fn whole(news: &News) -> u64 {
    assert!(news.iter().all(|word| *word == news[0]), "torn: {news:?}");
    news[0]
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 100);
    let wait = Wait::ALL.into_iter().find(|w| w.to_string() == arguments[1]).unwrap();
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let number = |i: usize| arguments[i].parse::<u64>().unwrap();
    let reports = || domain.channel("reports").many_to_one(64).sender::<Report>().unwrap();
    let forever = || std::thread::sleep(Duration::from_secs(600));
    match role.as_str() {
        // Gets everything until the sender leaves, with a pause after each message: in place or by copies. Nothing is
        // missed but what is counted. Reports (first, received, missed).
        "listen" => {
            let rx = domain.channel(CHANNEL).listen().receiver::<News>().unwrap();
            let (mut first, mut next, mut received) = (None, 0, 0);
            loop {
                let got = if number(2) != 0 {
                    rx.recv_ref().map(|news| (news.seq(), whole(&news)))
                } else {
                    rx.recv().map(|news| (whole(&news), whole(&news)))
                };
                match got {
                    Ok((seq, n)) => {
                        assert_eq!(seq, n);
                        assert!(first.is_none() || n >= next, "{n} after {next}");
                        first.get_or_insert(n);
                        (next, received) = (n + 1, received + 1);
                    }
                    Err(RecvError::Disconnected | RecvError::PeerDied) => break,
                    Err(RecvError::TooSlow { missed }) => {
                        assert!(missed > 0 && rx.missed() == missed);
                        assert!(matches!(rx.try_recv(), Err(RecvError::TooSlow { .. })), "for ever");
                        break;
                    }
                    Err(why) => panic!("{why}"),
                }
                if number(3) != 0 {
                    std::thread::sleep(Duration::from_micros(number(3)));
                }
            }
            reports().send([first.unwrap_or(u64::MAX), received, rx.missed()]).unwrap();
        }
        // Takes one message in hand, reports it, looks at it again when it is told to go on, and listens to one more.
        "hold" => {
            let rx = domain.channel(CHANNEL).listen().receiver::<News>().unwrap();
            let go_on = domain.receiver::<u64>("go on").unwrap();
            let reports = reports();
            reports.send([0, 0, 0]).unwrap();
            let news = rx.recv_ref().unwrap();
            reports.send([1, whole(&news), news.seq()]).unwrap();
            go_on.recv().unwrap();
            reports.send([2, whole(&news), news.seq()]).unwrap();
            drop(news);
            let last = match rx.recv() {
                Ok(news) => [3, whole(&news), rx.missed()],
                Err(RecvError::TooSlow { missed }) => [4, missed, rx.missed()],
                Err(why) => panic!("{why}"),
            };
            reports.send(last).unwrap();
        }
        // Is there, and never reads.
        "deaf" => {
            let _rx = domain.channel(CHANNEL).listen().receiver::<News>().unwrap();
            reports().send([0, 0, 0]).unwrap();
            forever();
        }
        // Sends numbers for ever, from wherever the last sender stopped.
        "speak" => {
            let tx = domain.channel(CHANNEL).listen().sender::<News>().unwrap();
            reports().send([tx.sent(), 0, 0]).unwrap();
            loop {
                let mut slot = tx.reserve().unwrap().reused();
                let n = slot.seq();
                slot.fill(n);
                slot.send().unwrap();
            }
        }
        other => panic!("no role {other}"),
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

fn stop(child: &Child) {
    signal(child, Signal::STOP);
    let status = format!("/proc/{}/status", child.id());
    until(|| std::fs::read_to_string(&status).unwrap().contains("State:\tT"));
}

fn domain_of(test: &str) -> (Domain, String, Receiver<Report>) {
    let name = name(test);
    let domain = common::options().open(&name).unwrap();
    let reports = domain.channel("reports").many_to_one(64).receiver::<Report>().unwrap();
    (domain, name, reports)
}

/// The next report, whoever has left meanwhile.
fn report(reports: &Receiver<Report>) -> Report {
    loop {
        match reports.recv() {
            Ok(report) => return report,
            Err(why) => assert!(matches!(why, RecvError::Disconnected | RecvError::PeerDied), "{why}"),
        }
    }
}

fn speaker(domain: &Domain, degree: u64, policy: SlowReceiver) -> BroadcastSender<News> {
    domain.channel(CHANNEL).broadcast(degree).slow_receiver(policy).sender().unwrap()
}

fn listener(domain: &Domain, late: Late) -> BroadcastReceiver<News> {
    domain.channel(CHANNEL).listen().late(late).receiver().unwrap()
}

/// Both ends of a broadcast in this process.
fn pair<T: Message>(degree: u64, policy: SlowReceiver) -> (BroadcastSender<T>, BroadcastReceiver<T>, Domain) {
    let domain = Domain::create().unwrap();
    let news = || domain.channel(CHANNEL).broadcast(degree).slow_receiver(policy);
    (news().sender().unwrap(), news().receiver().unwrap(), domain)
}

#[test]
fn each_message_to_all_once_in_order() {
    let _watchdog = watchdog("to all", 100);
    for wait in Wait::ALL {
        for method in Method::ALL {
            let (domain, name, reports) = domain_of("to-all");
            let news = domain.channel(CHANNEL).broadcast(4).method(method).wait(wait);
            let tx = news.sender::<News>().unwrap();
            let listen = |in_place: &str| start("listen", &[&name, &wait.to_string(), in_place, "0"]);
            let children = [listen("0"), listen("1"), listen("1")];
            until(|| tx.receivers() == 3);
            let messages = if wait == Wait::Spin { 500 } else { 2_000 };
            (0..messages).for_each(|n| tx.send([n; 64]).unwrap());
            drop(tx);
            children.into_iter().for_each(finish);
            for _ in 0..3 {
                assert_eq!(report(&reports), [0, messages, 0], "{wait}, {method}");
            }
        }
    }
}

#[test]
fn a_slow_receiver_is_waited_for_or_misses_or_is_disconnected() {
    let _watchdog = watchdog("slow", 100);
    for policy in POLICIES {
        let (domain, name, reports) = domain_of("slow");
        let tx = speaker(&domain, 8, policy);
        let slow = start("listen", &[&name, "spin-then-park", "1", "500"]);
        until(|| tx.receivers() == 1);
        let quick = listener(&domain, Late::None);
        let messages = 2_000;
        for n in 0..messages {
            tx.send([n; 64]).unwrap();
            assert_eq!(whole(&quick.recv().unwrap()), n);
        }
        drop(tx);
        finish(slow);
        let [first, received, missed] = report(&reports);
        assert_eq!(quick.missed(), 0);
        match policy {
            SlowReceiver::Block => assert_eq!([first, received, missed], [0, messages, 0]),
            SlowReceiver::DropOldest => {
                assert_eq!(received + missed, messages);
                assert!(missed > 0);
            }
            SlowReceiver::Disconnect => assert!(missed > 0 && received + missed <= messages),
        }
    }
}

#[test]
fn a_receiver_that_never_reads_costs_nothing_or_blocks_at_the_degree() {
    let _watchdog = watchdog("deaf", 100);
    for policy in POLICIES {
        let (domain, name, reports) = domain_of("deaf");
        let tx = speaker(&domain, 4, policy);
        let deaf = start("deaf", &[&name, "park"]);
        assert_eq!(report(&reports), [0, 0, 0]);
        let before = domain.memory().unwrap();
        if policy == SlowReceiver::Block {
            (0..4).for_each(|n| tx.try_send([n; 64]).unwrap());
            let full = tx.try_send([4; 64]).unwrap_err();
            assert!(matches!((full.message[0], full.why), (4, SendFailure::WouldBlock)));
            let late = tx.send_timeout([4; 64], Duration::from_millis(20)).unwrap_err();
            assert!(matches!(late.why, SendFailure::TimedOut));
            assert!(matches!(tx.try_reserve(), Err(SendFailure::WouldBlock)));
            // Killed, it is in nobody's way: this wakes the sender.
            let child = std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                kill(deaf);
            });
            (4..1000).for_each(|n| tx.send([n; 64]).unwrap());
            child.join().unwrap();
            assert_eq!(tx.receivers(), 0);
        } else {
            (0..200_000).for_each(|n| tx.send([n; 64]).unwrap());
            kill(deaf);
        }
        assert_eq!(domain.memory().unwrap(), before, "memory is bounded");
    }
}

#[test]
fn a_stopped_receiver_keeps_what_it_has_in_hand() {
    let _watchdog = watchdog("stopped", 100);
    for policy in [SlowReceiver::DropOldest, SlowReceiver::Disconnect] {
        let (domain, name, reports) = domain_of("stopped");
        let tx = speaker(&domain, 2, policy);
        let go_on = domain.sender::<u64>("go on").unwrap();
        let holder = start("hold", &[&name, "spin-then-park"]);
        assert_eq!(report(&reports), [0, 0, 0]);
        tx.send([0; 64]).unwrap();
        assert_eq!(report(&reports), [1, 0, 0]);
        stop(&holder);
        let quick = listener(&domain, Late::None);
        for n in 1..50_000 {
            tx.send([n; 64]).unwrap();
            assert_eq!(whole(&quick.recv_ref().unwrap()), n);
        }
        signal(&holder, Signal::CONT);
        go_on.send(0).unwrap();
        assert_eq!(report(&reports), [2, 0, 0], "it is still there, whole");
        let then = match policy {
            SlowReceiver::DropOldest => [3, 49_998, 49_997],
            _ => [4, 49_997, 49_997],
        };
        assert_eq!(report(&reports), then);
        finish(holder);
    }
}

#[test]
fn a_stopped_receiver_that_is_waited_for_holds_the_sender_and_nobody_else() {
    let _watchdog = watchdog("stopped, waited for", 100);
    let (domain, name, reports) = domain_of("stopped-block");
    let tx = speaker(&domain, 4, SlowReceiver::Block);
    let go_on = domain.sender::<u64>("go on").unwrap();
    let holder = start("hold", &[&name, "park"]);
    assert_eq!(report(&reports), [0, 0, 0]);
    let quick = listener(&domain, Late::None);
    tx.send([0; 64]).unwrap();
    assert_eq!(report(&reports), [1, 0, 0]);
    stop(&holder);
    assert_eq!(whole(&quick.recv().unwrap()), 0);
    // The one in hand does not wait.
    (1..5).for_each(|n| tx.try_send([n; 64]).unwrap());
    (1..5).for_each(|n| assert_eq!(whole(&quick.try_recv().unwrap()), n));
    assert!(tx.send_timeout([5; 64], Duration::from_millis(20)).is_err());
    signal(&holder, Signal::CONT);
    go_on.send(0).unwrap();
    tx.send([5; 64]).unwrap();
    assert_eq!(report(&reports), [2, 0, 0]);
    assert_eq!(report(&reports), [3, 1, 0]);
    finish(holder);
    tx.send([6; 64]).unwrap();
    assert_eq!(quick.iter().take(2).map(|news| whole(&news)).sum::<u64>(), 11);
}

/// Receivers are killed and replaced at any moment; the one that stays gets everything, in order.
#[test]
fn receivers_are_killed_at_any_moment() {
    let _watchdog = watchdog("receivers killed", 100);
    let mut random = Random::new("receivers_are_killed");
    for policy in POLICIES {
        let (domain, name, _reports) = domain_of("killed");
        let tx = speaker(&domain, 1 + random.below(8), policy);
        let quick = listener(&domain, Late::None);
        let (over, rounds) = (std::sync::atomic::AtomicBool::new(false), 12);
        std::thread::scope(|scope| {
            let over = &over;
            scope.spawn(move || {
                let mut n = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    tx.send([n; 64]).unwrap();
                    n += 1;
                    if policy != SlowReceiver::Block && n % 4 == 0 {
                        std::thread::sleep(Duration::from_micros(50)); // or the other one of this process is slow as well
                    }
                }
            });
            let listens = scope.spawn(move || {
                let (mut next, mut received) = (0, 0);
                loop {
                    match quick.recv_ref() {
                        Ok(news) => {
                            let n = whole(&news);
                            assert!(if policy == SlowReceiver::Block { n == next } else { n >= next });
                            (next, received) = (n + 1, received + 1);
                        }
                        Err(RecvError::Disconnected | RecvError::TooSlow { .. }) => break,
                        Err(why) => panic!("{why}"),
                    }
                }
                if policy != SlowReceiver::Disconnect {
                    assert_eq!(received + quick.missed(), next);
                }
            });
            for _ in 0..rounds {
                let wait = Wait::ALL[random.below(3) as usize].to_string();
                let in_place = random.below(2).to_string();
                let pause = (random.below(2) * 100).to_string();
                let doomed: Vec<_> =
                    (0..2).map(|_| start("listen", &[&name, &wait, &in_place, &pause])).collect();
                std::thread::sleep(Duration::from_micros(random.below(100_000)));
                doomed.into_iter().for_each(kill);
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            listens.join().unwrap();
        });
        until(|| domain.channel(CHANNEL).listen().receiver::<News>().unwrap().receivers() == 1);
    }
}

/// The sender is killed at any moment, and another one goes on: nothing is lost, doubled or torn, and everybody is told.
#[test]
fn the_sender_is_killed_at_any_moment() {
    let _watchdog = watchdog("sender killed", 100);
    let mut random = Random::new("the_sender_is_killed");
    for wait in Wait::ALL {
        let (domain, name, reports) = domain_of("sender-killed");
        let news = domain.channel(CHANNEL).broadcast(1 + random.below(4)).wait(wait);
        let ends = [news.clone().receiver::<News>().unwrap(), news.receiver::<News>().unwrap()];
        std::thread::scope(|scope| {
            let listening = ends.map(|rx| {
                scope.spawn(move || {
                    let (mut next, mut told) = (0, 0);
                    loop {
                        match rx.recv_ref().map(|news| (news.seq(), whole(&news))) {
                            Ok((seq, u64::MAX)) => {
                                assert_eq!((seq, rx.missed()), (next, 0));
                                return (next, told);
                            }
                            Ok(got) => assert_eq!(got, (next, next)),
                            Err(RecvError::PeerDied | RecvError::Disconnected) => {
                                told += 1;
                                continue;
                            }
                            Err(why) => panic!("{why}"),
                        }
                        next += 1;
                    }
                })
            });
            let mut last = 0;
            for _ in 0..10 {
                let speaker = start("speak", &[&name, &wait.to_string()]);
                let [began, ..] = report(&reports);
                assert!(began >= last, "{began} after {last}");
                last = began;
                std::thread::sleep(Duration::from_micros(random.below(20_000)));
                kill(speaker);
            }
            // Until its death is known its end is taken.
            let mut attached = None;
            until(|| {
                attached = domain.channel(CHANNEL).listen().sender::<News>().ok();
                attached.is_some()
            });
            let tx = attached.unwrap();
            tx.send([u64::MAX; 64]).unwrap();
            let told = listening.map(|thread| thread.join().unwrap());
            assert!(told.iter().all(|(next, told)| *next == tx.sent() - 1 && *told > 0), "{told:?}");
        });
    }
}

#[test]
fn a_stopped_sender_delays_nobody_who_reads_what_was_sent() {
    let _watchdog = watchdog("sender stopped", 100);
    let (domain, name, reports) = domain_of("sender-stopped");
    let speaker = start("speak", &[&name, "park"]);
    report(&reports);
    for _ in 0..20 {
        let rx = listener(&domain, Late::Last);
        let first = whole(&rx.recv().unwrap());
        stop(&speaker);
        let rest: Vec<_> = rx.try_iter().map(|news| whole(&news)).collect();
        assert!(rest.iter().zip(first + 1..).all(|(n, expected)| *n == expected));
        assert!(matches!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut)));
        let late = listener(&domain, Late::Last);
        assert_eq!(whole(&late.recv().unwrap()), first + rest.len() as u64);
        signal(&speaker, Signal::CONT);
        let after = first + rest.len() as u64 + 1;
        assert_eq!((whole(&rx.recv().unwrap()), whole(&late.recv().unwrap())), (after, after));
    }
    kill(speaker);
}

#[test]
fn who_comes_late_gets_none_the_last_or_the_last_n() {
    for policy in POLICIES {
        let (tx, rx, domain) = pair::<News>(4, policy);
        let before = |late| listener(&domain, late).try_iter().map(|news| whole(&news)).collect::<Vec<_>>();
        assert_eq!(before(Late::LastN(9)), [], "nothing was sent");
        for n in 0..100 {
            tx.send([n; 64]).unwrap();
            assert_eq!(whole(&rx.recv().unwrap()), n);
            assert_eq!(before(Late::None), []);
            assert_eq!(before(Late::Last), [n]);
            assert_eq!(before(Late::LastN(0)), []);
            assert_eq!(before(Late::LastN(2)), (n.saturating_sub(1)..=n).collect::<Vec<_>>());
            // At most as many as the degree.
            let all = (n.saturating_sub(3)..=n).collect::<Vec<_>>();
            assert_eq!((before(Late::LastN(4)), before(Late::LastN(u64::MAX))), (all.clone(), all));
        }
        if policy == SlowReceiver::Block {
            continue;
        }
        // What it gets late it may have in hand while it is overwritten.
        let late = listener(&domain, Late::LastN(4));
        let oldest = late.recv_ref().unwrap();
        for n in 100..104 {
            tx.send([n; 64]).unwrap();
            rx.recv().unwrap();
        }
        assert_eq!((whole(&oldest), oldest.seq()), (96, 96));
        drop(oldest);
        // The rest of the old ones is gone; that it was not there in time is no fault of its own.
        assert_eq!(late.try_iter().map(|news| whole(&news)).collect::<Vec<_>>(), [100, 101, 102, 103]);
        assert_eq!(late.missed(), 0);
    }
}

/// Receivers come while messages are sent as fast as can be: with a sender that waits none misses anything.
/// Says that it is over, also if a test fails.
struct Told<'o>(&'o AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn receivers_come_and_go_meanwhile() {
    let _watchdog = watchdog("come and go", 100);
    let mut random = Random::new("receivers_come_and_go");
    let (tx, rx, domain) = pair::<News>(3, SlowReceiver::Block);
    // As long as anybody comes: who comes to a broadcast whose sender has left waits for the next one.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let _told = Told(over);
        scope.spawn(move || {
            (0..).take_while(|_| !over.load(Relaxed)).for_each(|n| tx.send([n; 64]).unwrap());
        });
        scope.spawn(move || {
            for n in 0.. {
                match rx.recv() {
                    Ok(news) => assert_eq!(whole(&news), n),
                    Err(why) => return assert!(matches!(why, RecvError::Disconnected), "{why}"),
                }
            }
        });
        for _ in 0..200 {
            let late = [Late::None, Late::Last, Late::LastN(3)][random.below(3) as usize];
            let rx = listener(&domain, late);
            let mut next = None;
            for _ in 0..random.below(100) {
                let Ok(news) = rx.recv_ref() else { break };
                let n = whole(&news);
                assert!(next.is_none_or(|next| next == n), "{n}, expected {next:?}, {late:?}");
                next = Some(n + 1);
            }
            assert_eq!(rx.missed(), 0);
        }
    });
}

#[test]
fn against_a_list() {
    let mut random = Random::new("against_a_list");
    for policy in POLICIES {
        for degree in [1, 2, 3, 7] {
            let domain = Domain::create().unwrap();
            let news = || domain.channel(CHANNEL).broadcast(degree).slow_receiver(policy).receivers(4);
            let tx = news().sender::<News>().unwrap();
            let mut sent: u64 = 0;
            // Each with the number that it expects, whether it is still listening, and what it missed.
            let mut receivers: Vec<(BroadcastReceiver<News>, u64, u64)> = Vec::new();
            for _ in 0..6_000 {
                match random.below(12) {
                    0 if receivers.len() < 4 => {
                        // What is older than a receiver that is waited for is there as long as it is there.
                        let n = if policy == SlowReceiver::Block { 0 } else { random.below(degree + 2) };
                        let rx = news().late(Late::LastN(n)).receiver().unwrap();
                        receivers.push((rx, sent - n.min(degree).min(sent), 0));
                    }
                    0 => assert!(matches!(
                        news().receiver::<News>(),
                        Err(AttachError::EndsTaken { many: 4, side: "receiver", .. })
                    )),
                    1 if !receivers.is_empty() => {
                        receivers.swap_remove(random.below(receivers.len() as u64) as usize);
                    }
                    2..7 => {
                        let taken = receivers.iter().map(|(_, next, _)| *next).min().unwrap_or(sent);
                        let room = policy != SlowReceiver::Block || sent < taken + degree;
                        if random.below(3) == 0 {
                            drop(tx.try_reserve().map(|slot| slot.zeroed()[1] = 9));
                            // begun, and not sent
                        }
                        let done = if random.below(2) == 0 {
                            tx.try_send([sent; 64]).is_ok()
                        } else {
                            tx.try_reserve().is_ok_and(|slot| {
                                let mut slot = slot.reused();
                                whole(&slot);
                                slot.fill(sent);
                                slot.send().is_ok()
                            })
                        };
                        assert_eq!(done, room, "{policy:?}, degree {degree}, {sent} sent, {taken} taken");
                        sent += u64::from(done);
                    }
                    what if !receivers.is_empty() => {
                        let which = random.below(receivers.len() as u64) as usize;
                        let (rx, next, missed) = &mut receivers[which];
                        let oldest = sent.saturating_sub(degree).max(*next);
                        let late = oldest - *next;
                        let got = if what < 10 {
                            rx.try_recv_ref().map(|news| {
                                assert_eq!(whole(&news), news.seq());
                                assert!(matches!(rx.try_recv(), Err(RecvError::Held)));
                                news.seq()
                            })
                        } else {
                            rx.try_recv().map(|news| whole(&news))
                        };
                        match got {
                            Ok(n) => {
                                assert_eq!(n, oldest);
                                *next = oldest + 1;
                            }
                            Err(RecvError::WouldBlock) => assert_eq!(*next, sent),
                            Err(RecvError::TooSlow { .. }) => {
                                assert!(policy == SlowReceiver::Disconnect && late > 0);
                                receivers.swap_remove(which);
                                continue;
                            }
                            Err(why) => panic!("{why}"),
                        }
                        *missed += late;
                        // What it would have got late does not count.
                        assert!(rx.missed() <= *missed);
                        assert!(policy != SlowReceiver::Block || *missed == 0);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn an_observer_is_never_waited_for() {
    let (tx, rx, domain) = pair::<News>(2, SlowReceiver::Block);
    let observer = domain.channel(CHANNEL).listen().observer().receiver::<News>().unwrap();
    for n in 0..100 {
        tx.try_send([n; 64]).unwrap();
        rx.recv().unwrap();
    }
    assert_eq!(whole(&observer.recv().unwrap()), 98);
    assert_eq!((observer.missed(), rx.missed()), (98, 0));
}

#[test]
fn one_guard_at_a_time_also_if_it_was_forgotten() {
    let (tx, rx, domain) = pair::<News>(2, SlowReceiver::Block);
    std::mem::forget(tx.reserve().unwrap());
    assert!(matches!(tx.reserve(), Err(SendFailure::Held)));
    let back = tx.send([7; 64]).unwrap_err();
    assert!(matches!((back.message[63], back.why), (7, SendFailure::Held)));
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    assert!(matches!(rx.try_recv(), Err(RecvError::NoPeer)));
    let tx = domain.channel(CHANNEL).listen().sender::<News>().unwrap();
    tx.send([0; 64]).unwrap();
    std::mem::forget(rx.recv_ref().unwrap());
    assert!(matches!(rx.recv_ref(), Err(RecvError::Held)));
    assert!(matches!(rx.recv(), Err(RecvError::Held)));
    (1..3).for_each(|n| tx.try_send([n; 64]).unwrap());
    assert!(tx.try_send([3; 64]).is_err(), "it is still waited for");
    drop(rx);
    (3..100).for_each(|n| tx.try_send([n; 64]).unwrap());
}

#[test]
fn calls_that_wait_end_in_time() {
    let _watchdog = watchdog("in time", 60);
    let (tx, rx, _domain) = pair::<News>(1, SlowReceiver::Block);
    let soon = || std::time::Instant::now() + Duration::from_millis(2);
    for wait in Wait::ALL {
        tx.set_wait(wait);
        rx.set_wait(wait);
        assert_eq!((tx.wait(), rx.wait()), (wait, wait));
        assert!(matches!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvError::TimedOut)));
        assert!(matches!(rx.recv_deadline(soon()), Err(RecvError::TimedOut)));
        assert!(matches!(rx.recv_ref_timeout(Duration::ZERO), Err(RecvError::TimedOut)));
        assert!(matches!(rx.recv_ref_deadline(soon()), Err(RecvError::TimedOut)));
        tx.send_timeout([1; 64], Duration::from_secs(9)).unwrap();
        assert!(matches!(
            tx.send_timeout([2; 64], Duration::from_millis(2)).unwrap_err().why,
            SendFailure::TimedOut
        ));
        assert!(matches!(tx.send_deadline([2; 64], soon()).unwrap_err().why, SendFailure::TimedOut));
        assert!(matches!(tx.reserve_timeout(Duration::from_millis(2)), Err(SendFailure::TimedOut)));
        assert!(matches!(tx.reserve_deadline(soon()), Err(SendFailure::TimedOut)));
        assert_eq!(whole(&rx.recv_timeout(Duration::from_secs(9)).unwrap()), 1);
    }
}

#[test]
fn what_cannot_be() {
    let domain = Domain::create().unwrap();
    let news = |degree| domain.channel(CHANNEL).broadcast(degree);
    for degree in [0, (1 << 20) + 1] {
        let why = news(degree).sender::<u64>().unwrap_err();
        assert!(matches!(why, AttachError::Degree { .. }), "{why}");
    }
    for receivers in [0, 65] {
        let why = news(1).receivers(receivers).sender::<u64>().unwrap_err();
        assert!(matches!(why, AttachError::Impossible { .. }), "{why}");
    }
    // As large as they may be, or larger than the domain.
    let why = news(1 << 20).sender::<[u64; 1 << 20]>().unwrap_err();
    assert!(matches!(why, AttachError::Allocate(_)), "{why}");
    let tx = news(4).slow_receiver(SlowReceiver::DropOldest).sender::<u64>().unwrap();
    assert_eq!((tx.degree(), tx.slow_receiver()), (4, SlowReceiver::DropOldest));
    for mismatch in [
        news(4).slow_receiver(SlowReceiver::Block).receiver::<u64>().err(),
        news(3).receiver::<u64>().err(),
        news(4).receiver::<i64>().err(),
        domain.channel(CHANNEL).latest().receiver::<u64>().err(),
        domain.channel(CHANNEL).buffered(4).receiver::<u64>().err(),
    ] {
        assert!(matches!(mismatch, Some(AttachError::Mismatch { .. })), "{mismatch:?}");
    }
    let why = domain.receiver::<u64>(CHANNEL).err().unwrap();
    assert!(matches!(why, AttachError::Impossible { .. }) && why.to_string().contains("broadcast"), "{why}");
    let why = news(4).sender::<u64>().unwrap_err();
    assert!(matches!(why, AttachError::EndTaken { side: "sender", .. }), "{why}");
}

#[test]
fn nothing_is_copied_for_a_receiver_in_place() {
    let (tx, rx, domain) = pair::<News>(4, SlowReceiver::Block);
    let also = domain.channel(CHANNEL).listen().receiver::<News>().unwrap();
    for n in 0..10 {
        let mut slot = tx.reserve().unwrap().zeroed();
        slot.fill(n);
        slot.send().unwrap();
        let (one, other) = (rx.recv_ref().unwrap(), also.recv_ref().unwrap());
        assert!(std::ptr::eq(&*one, &*other));
    }
    let (sent, received) = tx.channel_counters();
    assert_eq!((sent.messages, received.messages, sent.bytes), (10, 20, 5120));
    assert_eq!(sent.bytes_copied + received.bytes_copied, 0);
}
