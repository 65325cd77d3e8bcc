//! Select over every form of channel of a domain: broadcast, the latest value, services and calls, between real processes.

mod common;

use std::time::Duration;

use common::{finish, name, role, start, until, watchdog};
use staffetta::{
    after, select, BroadcastReceiver, BroadcastSender, CallFailure, Client, Domain, Late, LatestReceiver,
    LatestSender, RecvError, Select, SelectError, SendFailure, Server, SlowReceiver, Wait,
};

const ROUNDS: u64 = 300;

fn broadcast(domain: &Domain, name: &str, degree: u64) -> (BroadcastSender<u64>, BroadcastReceiver<u64>) {
    let channel = || domain.channel(name).broadcast(degree);
    (channel().sender().unwrap(), channel().receiver().unwrap())
}

fn latest(domain: &Domain, name: &str) -> (LatestSender<u64>, LatestReceiver<u64>) {
    let channel = || domain.channel(name).latest();
    (channel().sender().unwrap(), channel().receiver().unwrap())
}

fn service(domain: &Domain, name: &str) -> (Server<u64, u64>, Client<u64, u64>) {
    let server = domain.channel(name).service(4).server().unwrap();
    (server, domain.channel(name).client().unwrap())
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 120);
    let domain = common::options().open(&arguments[0]).unwrap();
    match role.as_str() {
        "each-in-turn" => {
            let all = domain.channel("all").broadcast(2).sender::<u64>().unwrap();
            let value = domain.channel("value").latest().sender::<u64>().unwrap();
            let asks = domain.channel("asked").client::<u64, u64>().unwrap();
            let answers = domain.channel("answered").service(4).server::<u64, u64>().unwrap();
            until(|| all.receivers() == 1 && value.receivers() == 1);
            for n in 0..ROUNDS {
                all.send(n).unwrap();
                value.send(n).unwrap();
                assert_eq!(asks.call(n).unwrap(), n + 1);
                let request = answers.recv().unwrap();
                let n = *request;
                request.reply(n + 2).unwrap();
            }
        }
        // Holds an end of each, until it is killed.
        "holds" => {
            let _all = domain.channel("all").broadcast(2).sender::<u64>().unwrap();
            let _value = domain.channel("value").latest().sender::<u64>().unwrap();
            let _asks = domain.channel("asked").client::<u64, u64>().unwrap();
            let answers = domain.channel("answered").service(4).server::<u64, u64>().unwrap();
            let _request = answers.recv().unwrap();
            domain.channel("ready").buffered(1).sender::<()>().unwrap().send(()).unwrap();
            std::thread::sleep(Duration::from_secs(100));
        }
        other => panic!("no role {other}"),
    }
}

/// Whatever comes finds this process asleep, or awake, and each thing comes once and in order.
#[test]
fn all_forms_from_another_process() {
    let _watchdog = watchdog("all_forms_from_another_process", 120);
    let name = name("forms");
    let domain = common::options().open(&name).unwrap();
    let all = domain.channel("all").broadcast(2).receiver::<u64>().unwrap();
    let value = domain.channel("value").latest().receiver::<u64>().unwrap();
    let server = domain.channel("asked").service(4).server::<u64, u64>().unwrap();
    let client = domain.channel("answered").service(4).client::<u64, u64>().unwrap();
    let (inside, stop) = staffetta::bounded::<()>(1);
    let other = start("each-in-turn", &[&name]);
    let (mut next, mut newest, mut asked, mut answered) = (0, None, 0, 0);
    let mut pending = client.begin(0).unwrap();
    let mut stopped = false;
    while !stopped {
        let mut again = false;
        select! {
            recv(all) -> message => {
                match message {
                    Ok(n) => {
                        assert_eq!(n, next);
                        next += 1;
                    }
                    Err(why) => assert!(next == ROUNDS && matches!(why, RecvError::Disconnected), "{why}"),
                }
            }
            recv(value) -> message if newest != Some(ROUNDS - 1) => {
                let n = message.unwrap();
                assert!(newest < Some(n), "{newest:?} {n}");
                newest = Some(n);
            }
            recv(server) -> request if asked < ROUNDS => {
                let request = request.unwrap();
                assert_eq!(*request, asked);
                request.reply(asked + 1).unwrap();
                asked += 1;
            }
            recv(pending) -> reply if answered < ROUNDS => {
                assert_eq!(reply.unwrap(), answered + 2);
                answered += 1;
                again = answered < ROUNDS;
            }
            recv(stop) -> message => {
                message.unwrap();
                stopped = true;
            }
        }
        if again {
            pending = client.begin(answered).unwrap();
        }
        if (next, newest, asked, answered) == (ROUNDS, Some(ROUNDS - 1), ROUNDS, ROUNDS) && !stopped {
            let _ = inside.try_send(());
        }
    }
    finish(other);
}

#[test]
fn ready_at_once_or_not() {
    let domain = common::options().create().unwrap();
    let (all, each) = broadcast(&domain, "b", 2);
    let (value, watch) = latest(&domain, "l");
    let (server, client) = service(&domain, "s");
    let other = common::options().create().unwrap();
    let (_tx, far) = broadcast(&other, "b", 2);
    let mut select = Select::new();
    let (a, b, c) =
        (select.recv(&each).unwrap(), select.recv(&watch).unwrap(), select.recv(&server).unwrap());
    for _ in 0..3 {
        // First before it has slept, then with all announced.
        assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
        all.send(1).unwrap();
        assert_eq!(select.try_ready(), Ok(a));
        assert_eq!(select.select().unwrap().recv(&each).unwrap(), 1);
        value.send(2).unwrap();
        assert_eq!(select.try_ready(), Ok(b));
        assert_eq!(select.select().unwrap().recv(&watch).unwrap(), 2);
        let call = client.begin(3).unwrap();
        assert_eq!(select.try_ready(), Ok(c));
        let request = select.select().unwrap().recv(&server).unwrap();
        {
            let mut calls = Select::new();
            calls.recv(&call).unwrap();
            assert!(matches!(calls.try_select(), Err(SelectError::WouldBlock)));
            assert!(matches!(calls.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
            request.reply(4).unwrap();
            assert_eq!(calls.try_select().unwrap().recv(&call).unwrap(), 4);
            // It comes once; after that it is an error, not a hang.
            let taken = calls.select().unwrap().recv(&call).unwrap_err();
            assert!(matches!(taken.why, CallFailure::Taken), "{taken:?}");
        }
        assert!(matches!(call.wait().unwrap_err().why, CallFailure::Taken));
        assert!(matches!(select.select_timeout(Duration::from_millis(1)), Err(SelectError::TimedOut)));
    }
    // An end once in a select; ends of another domain not at all.
    assert_eq!(select.recv(&each), Err(SelectError::Twice { operation: a }));
    assert_eq!(select.recv(&far), Err(SelectError::DifferentDomains));
}

/// Many calls of one client, answered in any order: each is an operation of its own.
#[test]
fn each_call_is_woken_for_itself() {
    let _watchdog = watchdog("each_call_is_woken_for_itself", 60);
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]] {
            let (server, client) = service(&domain, &format!("s{wait}{order:?}"));
            let calls = [0, 1, 2, 3].map(|n| client.begin(n).unwrap());
            let answers = std::thread::spawn(move || {
                let mut requests: Vec<_> = (0..4).map(|_| Some(server.recv().unwrap())).collect();
                for i in order {
                    std::thread::sleep(Duration::from_micros(500));
                    let request = requests[i].take().unwrap();
                    let n = *request;
                    request.reply(10 * n).unwrap();
                }
            });
            let mut select = Select::new();
            select.set_wait(wait);
            let operations = calls.each_ref().map(|call| select.recv(call).unwrap());
            // The first one is not looked at: its reply must not hide the others'.
            select.set_enabled(operations[0], false);
            let mut got = Vec::new();
            while got.len() < 3 {
                let chosen = select.select().unwrap();
                let i = chosen.index();
                assert_eq!(chosen.recv(&calls[i]).unwrap(), 10 * i as u64);
                select.remove(i);
                got.push(i);
            }
            select.set_enabled(operations[0], true);
            assert_eq!(select.select().unwrap().recv(&calls[0]).unwrap(), 0);
            drop(select);
            answers.join().unwrap();
            // What was chosen and not completed is what wait() gives.
            drop(calls);
        }
    }
}

#[test]
fn what_was_chosen_and_not_completed_is_still_there() {
    let domain = common::options().create().unwrap();
    let (server, client) = service(&domain, "s");
    let call = client.begin(1).unwrap();
    let mut select = Select::new();
    select.recv(&server).unwrap();
    drop(select.select().unwrap());
    drop(select);
    let request = server.try_recv().unwrap();
    request.reply(2).unwrap();
    let mut select = Select::new();
    select.recv(&call).unwrap();
    drop(select.select().unwrap());
    drop(select);
    assert!(call.is_ended());
    assert_eq!(call.wait().unwrap(), 2);
    // In the hand of one server, so no other one gets it; with that server's end it is over.
    let channel = || domain.channel("two").service(2).servers(2);
    let (first, second) = (channel().server::<u64, u64>().unwrap(), channel().server::<u64, u64>().unwrap());
    let client = domain.channel("two").client::<u64, u64>().unwrap();
    let call = client.begin(1).unwrap();
    let mut select = Select::new();
    select.recv(&first).unwrap();
    drop(select.select().unwrap());
    drop(select);
    assert!(matches!(second.try_recv(), Err(RecvError::WouldBlock)));
    drop(first);
    assert!(matches!(call.wait().unwrap_err().why, CallFailure::Disconnected));
}

#[test]
fn who_misses_messages_is_told() {
    let domain = common::options().create().unwrap();
    for (policy, name) in [(SlowReceiver::DropOldest, "drops"), (SlowReceiver::Disconnect, "cuts")] {
        let channel = || domain.channel(name).broadcast(2).slow_receiver(policy);
        let (tx, rx) = (channel().sender::<u64>().unwrap(), channel().receiver::<u64>().unwrap());
        let mut select = Select::new();
        select.recv(&rx).unwrap();
        assert!(matches!(select.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
        for n in 0..10 {
            tx.send(n).unwrap();
        }
        let got = select.select().unwrap().recv(&rx);
        if policy == SlowReceiver::DropOldest {
            assert_eq!((got.unwrap(), rx.missed()), (8, 8));
            assert_eq!(select.select().unwrap().recv(&rx).unwrap(), 9);
            assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
        } else {
            assert!(matches!(got, Err(RecvError::TooSlow { .. })));
            // For ever.
            let again = select.select().unwrap().recv(&rx);
            assert!(matches!(again, Err(RecvError::TooSlow { .. })));
        }
    }
}

/// The sender of a broadcast that waits for its receivers: room comes when the slowest moves, or leaves.
#[test]
fn room_in_a_broadcast() {
    let _watchdog = watchdog("room_in_a_broadcast", 60);
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        let (tx, rx) = broadcast(&domain, &format!("room{wait}"), 2);
        let reads = std::thread::spawn(move || {
            for n in 0..50 {
                std::thread::sleep(Duration::from_micros(200));
                assert_eq!(rx.recv().unwrap(), n);
            }
            std::thread::sleep(Duration::from_millis(2));
            // It leaves with messages unread.
        });
        let mut select = Select::new();
        select.set_wait(wait);
        let send = select.send(&tx).unwrap();
        for n in 0..60 {
            let chosen = select.select().unwrap();
            assert_eq!(chosen.index(), send);
            chosen.send(&tx, n).unwrap();
        }
        reads.join().unwrap();
    }
    // A blocking call between two selects, which says that it sleeps, and then that it does not.
    let (tx, rx) = broadcast(&domain, "between", 1);
    let mut select = Select::new();
    select.set_wait(Wait::Park);
    select.send(&tx).unwrap();
    select.select().unwrap().send(&tx, 0).unwrap();
    for n in 0..5 {
        assert!(matches!(select.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
        assert!(matches!(
            tx.send_timeout(9, Duration::from_millis(1)).unwrap_err().why,
            SendFailure::TimedOut
        ));
        assert_eq!(rx.recv().unwrap(), 2 * n);
        select.select().unwrap().send(&tx, 2 * n + 1).unwrap();
        assert_eq!(rx.recv().unwrap(), 2 * n + 1);
        select.select().unwrap().send(&tx, 2 * n + 2).unwrap();
    }
    // The latest value always has room.
    let (tx, rx) = latest(&domain, "always");
    let mut select = Select::new();
    select.send(&tx).unwrap();
    for n in 0..5 {
        select.try_select().unwrap().send(&tx, n).unwrap();
    }
    assert_eq!(rx.recv().unwrap(), 4);
}

/// An end is used by its own calls, and by another select, between two selects that sleep on it.
#[test]
fn two_selects_and_the_end_itself() {
    let _watchdog = watchdog("two_selects_and_the_end_itself", 60);
    let domain = common::options().create().unwrap();
    let (tx, rx) = broadcast(&domain, "b", 4);
    let (server, client) = service(&domain, "s");
    let mut selects = [Select::new(), Select::new()];
    for select in &mut selects {
        select.set_wait(Wait::Park);
        select.recv(&rx).unwrap();
        select.recv(&server).unwrap();
    }
    let feeds = std::thread::spawn(move || {
        for n in 0..200 {
            std::thread::sleep(Duration::from_micros(100));
            tx.send(n).unwrap();
            assert_eq!(client.call(n).unwrap(), n);
        }
    });
    let (mut next, mut asked) = (0, 0);
    let mut turn = 0;
    while next < 200 || asked < 200 {
        turn += 1;
        let chosen = match turn % 5 {
            4 => {
                // Its own call sleeps, and takes what it announced away again.
                if let Ok(n) = rx.recv_timeout(Duration::from_micros(150)) {
                    assert_eq!(n, next);
                    next += 1;
                }
                if let Ok(request) = server.recv_timeout(Duration::from_micros(150)) {
                    assert_eq!(*request, asked);
                    asked += 1;
                    request.reply(asked - 1).unwrap();
                }
                continue;
            }
            which => selects[which % 2].select().unwrap(),
        };
        if chosen.index() == 0 {
            match chosen.recv(&rx) {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(why) => {
                    assert!(next == 200 && matches!(why, RecvError::Disconnected), "{why}");
                }
            }
        } else {
            match chosen.recv(&server) {
                Ok(request) => {
                    assert_eq!(*request, asked);
                    asked += 1;
                    request.reply(asked - 1).unwrap();
                }
                Err(why) => assert!(asked == 200 && matches!(why, RecvError::Disconnected), "{why}"),
            }
        }
    }
    feeds.join().unwrap();
}

/// A select that is gone is told nothing: the next one to sleep is, and there is room for as many as one likes.
#[test]
fn a_dropped_select_leaves_nothing() {
    let _watchdog = watchdog("a_dropped_select_leaves_nothing", 60);
    let domain = common::options().create().unwrap();
    let (tx, rx) = broadcast(&domain, "b", 1);
    let (server, client) = service(&domain, "s");
    let call = client.begin(0).unwrap();
    for _ in 0..5_000 {
        let mut select = Select::new();
        select.set_wait(Wait::Park);
        let of_call = select.recv(&call).unwrap();
        select.recv(&rx).unwrap();
        assert!(matches!(select.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
        select.remove(of_call);
        assert!(matches!(select.try_select(), Err(SelectError::WouldBlock)));
    }
    std::thread::scope(|scope| {
        let sends = scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            tx.send(7).unwrap();
            let request = server.recv().unwrap();
            std::thread::sleep(Duration::from_millis(2));
            request.reply(8).unwrap();
            tx
        });
        rx.set_wait(Wait::Park);
        assert_eq!(rx.recv().unwrap(), 7);
        client.set_wait(Wait::Park);
        assert_eq!(call.wait().unwrap(), 8);
        let tx = sends.join().unwrap();
        let counted = tx.counters().wake_ups;
        tx.send(9).unwrap();
        assert_eq!(tx.counters().wake_ups, counted, "nobody sleeps");
    });
}

#[test]
fn fair_among_all_forms() {
    let domain = common::options().create().unwrap();
    let (all, each) = broadcast(&domain, "b", 4);
    let (value, watch) = latest(&domain, "l");
    let (server, client) = service(&domain, "s");
    let (tx, rx) = domain.channel("").buffered(4).unnamed::<u64>().unwrap();
    let (inside, within) = staffetta::bounded::<u64>(4);
    let mut select = Select::new();
    select.recv(&each).unwrap();
    select.recv(&watch).unwrap();
    select.recv(&server).unwrap();
    select.recv(&rx).unwrap();
    select.recv(&within).unwrap();
    let mut counts = [0; 5];
    let mut call = client.begin(0).unwrap();
    all.send(0).unwrap();
    value.send(0).unwrap();
    tx.send(0).unwrap();
    inside.send(0).unwrap();
    for _ in 0..500 {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        counts[i] += 1;
        match i {
            0 => {
                chosen.recv(&each).unwrap();
                all.send(0).unwrap();
            }
            1 => {
                chosen.recv(&watch).unwrap();
                value.send(0).unwrap();
            }
            2 => {
                chosen.recv(&server).unwrap().reply(1).unwrap();
                call = client.begin(0).unwrap();
            }
            3 => {
                chosen.recv(&rx).unwrap();
                tx.send(0).unwrap();
            }
            _ => {
                chosen.recv(&within).unwrap();
                inside.send(0).unwrap();
            }
        }
    }
    drop(call);
    assert_eq!(counts, [100; 5]);
}

#[test]
fn a_partner_leaves() {
    let _watchdog = watchdog("a_partner_leaves", 60);
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        let (tx, each) = broadcast(&domain, &format!("b{wait}"), 2);
        let (value, watch) = latest(&domain, &format!("l{wait}"));
        let (server, asks) = service(&domain, &format!("s{wait}"));
        let (answers, client) = service(&domain, &format!("c{wait}"));
        let call = client.begin(1).unwrap();
        value.send(5).unwrap();
        let leaves = std::thread::spawn(move || {
            for end in [Box::new(tx) as Box<dyn Send>, Box::new(value), Box::new(asks), Box::new(answers)] {
                std::thread::sleep(Duration::from_millis(1));
                drop(end);
            }
        });
        let mut select = Select::new();
        select.set_wait(wait);
        select.recv(&each).unwrap();
        select.recv(&watch).unwrap();
        select.recv(&server).unwrap();
        select.recv(&call).unwrap();
        let mut seen = Vec::new();
        let mut got = None;
        while seen.len() < 4 {
            let chosen = select.select().unwrap();
            let i = chosen.index();
            let over = match i {
                0 => matches!(chosen.recv(&each), Err(RecvError::Disconnected)),
                1 => match chosen.recv(&watch) {
                    Ok(n) => {
                        got = Some(n);
                        continue;
                    }
                    Err(why) => matches!(why, RecvError::Disconnected),
                },
                2 => matches!(chosen.recv(&server), Err(RecvError::Disconnected)),
                _ => {
                    let error = chosen.recv(&call).unwrap_err();
                    matches!(error.why, CallFailure::Disconnected)
                }
            };
            assert!(over, "operation {i}");
            select.remove(i);
            seen.push(i);
        }
        assert_eq!(got, Some(5), "a value stays");
        leaves.join().unwrap();
    }
}

#[test]
fn a_partner_is_killed() {
    let _watchdog = watchdog("a_partner_is_killed", 60);
    let name = name("killed");
    let domain = common::options().open(&name).unwrap();
    let all = domain.channel("all").broadcast(2).receiver::<u64>().unwrap();
    let value = domain.channel("value").latest().receiver::<u64>().unwrap();
    let server = domain.channel("asked").service(4).server::<u64, u64>().unwrap();
    let client = domain.channel("answered").service(4).client::<u64, u64>().unwrap();
    let ready = domain.channel("ready").buffered(1).receiver::<()>().unwrap();
    let call = client.begin(1).unwrap();
    let mut other = start("holds", &[&name]);
    ready.recv().unwrap();
    let mut select = Select::new();
    select.set_wait(Wait::Park);
    select.recv(&all).unwrap();
    select.recv(&value).unwrap();
    select.recv(&server).unwrap();
    select.recv(&call).unwrap();
    assert!(matches!(select.select_timeout(Duration::from_millis(5)), Err(SelectError::TimedOut)));
    other.kill().unwrap();
    other.wait().unwrap();
    for _ in 0..4 {
        let chosen = select.select().unwrap();
        let i = chosen.index();
        let died = match i {
            0 => matches!(chosen.recv(&all), Err(RecvError::PeerDied)),
            1 => matches!(chosen.recv(&value), Err(RecvError::PeerDied)),
            2 => matches!(chosen.recv(&server), Err(RecvError::PeerDied)),
            _ => matches!(chosen.recv(&call).unwrap_err().why, CallFailure::PeerDied),
        };
        assert!(died, "operation {i}");
        select.remove(i);
    }
}

/// How often this thread has given its core away to wait.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A thousand channels of all forms, all idle: one sleep for one event, whichever it is.
#[test]
fn a_thousand_idle_channels_cost_one_sleep() {
    let _watchdog = watchdog("a_thousand_idle_channels_cost_one_sleep", 120);
    let domain = common::options().create().unwrap();
    let casts: Vec<_> = (0..250).map(|n| broadcast(&domain, &format!("b{n}"), 1)).collect();
    let values: Vec<_> = (0..250).map(|n| latest(&domain, &format!("l{n}"))).collect();
    let services: Vec<_> = (0..250).map(|n| service(&domain, &format!("s{n}"))).collect();
    let within: Vec<_> = (0..250)
        .map(|n| if n % 2 == 0 { staffetta::bounded::<u64>(1) } else { staffetta::rendezvous() })
        .collect();
    let mut select = Select::new();
    select.set_wait(Wait::Park);
    casts.iter().for_each(|(_, rx)| assert!(select.recv(rx).is_ok()));
    values.iter().for_each(|(_, rx)| assert!(select.recv(rx).is_ok()));
    services.iter().for_each(|(server, _)| assert!(select.recv(server).is_ok()));
    within.iter().for_each(|(_, rx)| assert!(select.recv(rx).is_ok()));
    assert!(matches!(select.select_timeout(Duration::ZERO), Err(SelectError::TimedOut)));
    for round in 0..8 {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let name = format!("{}{}", ["b", "l", "s", ""][round % 4], 17 * round);
        let inside = within[17 * round % 250].0.clone();
        let domain = &domain;
        std::thread::scope(|scope| {
            // An end of its own, of the channel that is to stir.
            scope.spawn(move || {
                gone.recv().unwrap();
                std::thread::sleep(Duration::from_millis(5));
                match round % 4 {
                    2 => {
                        let client = domain.channel(&name).service(4).client::<u64, u64>().unwrap();
                        assert_eq!(client.call(3).unwrap(), 4);
                    }
                    3 => inside.send(5).unwrap(),
                    _ => {}
                }
            });
            if round % 4 < 2 {
                // Their senders are this thread's: they stir at once.
                match round % 4 {
                    0 => casts[17 * round].0.send(1).unwrap(),
                    _ => values[17 * round].0.send(2).unwrap(),
                }
            }
            let before = sleeps();
            go.send(()).unwrap();
            let chosen = select.select().unwrap();
            let i = chosen.index();
            let slept = sleeps() - before;
            match i / 250 {
                0 => assert_eq!((round % 4, chosen.recv(&casts[i].1).unwrap()), (0, 1)),
                1 => assert_eq!((round % 4, chosen.recv(&values[i - 250].1).unwrap()), (1, 2)),
                2 => {
                    let request = chosen.recv(&services[i - 500].0).unwrap();
                    assert_eq!((round % 4, *request), (2, 3));
                    request.reply(4).unwrap();
                }
                _ => assert_eq!((round % 4, chosen.recv(&within[i - 750].1).unwrap()), (3, 5)),
            }
            let least = u64::from(round % 4 >= 2);
            assert!((least..=2).contains(&slept), "{slept} sleeps for one event, round {round}");
        });
        // The client of round 2 has left: that, too, is told once.
        while let Ok(chosen) = select.try_select() {
            let i = chosen.index();
            assert!(matches!(chosen.recv(&services[i - 500].0), Err(RecvError::Disconnected)), "{i}");
        }
    }
}

/// With a late joiner's last message there at once, and time as an operation beside it.
#[test]
fn a_late_joiner_and_time() {
    let domain = common::options().create().unwrap();
    let tx = domain.channel("late").broadcast(4).sender::<u64>().unwrap();
    tx.send(3).unwrap();
    let rx = domain.channel("late").broadcast(4).late(Late::Last).receiver::<u64>().unwrap();
    let mut got = Vec::new();
    let moment = after(Duration::from_millis(5));
    loop {
        select! {
            recv(rx) -> message => got.push(message.unwrap()),
            recv(moment) -> _ => break,
        }
    }
    assert_eq!(got, [3]);
    select! {
        recv(rx) -> message => panic!("{message:?}"),
        default => {}
    }
}
