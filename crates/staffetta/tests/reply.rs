//! Request-reply between processes: one reply for each call, in any order; who gives up, leaves, dies or stops, and where.

mod common;

use std::process::Child;
use std::time::Duration;

use common::{finish, name, role, start, until, watchdog, Random};
use staffetta::{
    AttachError, CallFailure, Client, Domain, Kind, Method, Receiver, RecvError, SendFailure, Server, Wait,
};

const SERVICE: &str = "service";
/// Who asks, and a number.
type Asks = [u64; 2];
/// What was asked, and what comes of it: longer than the line of the slot's word.
type Answer = [u64; 16];

fn answer(asks: Asks) -> Answer {
    let mut answer = [asks[0].wrapping_mul(31).wrapping_add(asks[1]); 16];
    answer[..2].copy_from_slice(&asks);
    answer
}

fn server(domain: &Domain) -> Server<Asks, Answer> {
    domain.channel(SERVICE).server().unwrap()
}

fn client(domain: &Domain) -> Client<Asks, Answer> {
    domain.channel(SERVICE).client().unwrap()
}

/// Of a service, too (replaced.rs): the partner is killed, and another has taken its place before the survivor looks.
#[test]
fn whose_partner_was_replaced_is_told_once_and_goes_on() {
    let _watchdog = watchdog("replaced", 60);
    let domain = common::options().open(&name("replaced-partners")).unwrap();
    let reports = domain.channel("reports").many_to_one(64).receiver::<u64>().unwrap();
    let (place, killed) = (domain.name().unwrap(), |mut child: Child| {
        while reports.recv().is_err() {} // the one before is told of
        child.kill().unwrap();
        child.wait().unwrap();
    });
    drop(domain.channel(SERVICE).service(1).clients(1).servers(1).client::<Asks, Answer>().unwrap());

    let asks = client(&domain);
    killed(start("serve", &[place, "park"]));
    let successor = server(&domain);
    let why = asks.begin([1, 2]).map(drop).unwrap_err().why;
    assert!(matches!(why, CallFailure::PeerDied), "{why}");
    let call = asks.begin([1, 3]).unwrap();
    let request = successor.recv().unwrap();
    let reply = answer(*request);
    request.reply(reply).unwrap();
    assert_eq!(call.wait().unwrap(), reply);

    drop(asks);
    assert!(matches!(successor.try_recv(), Err(RecvError::Disconnected)));
    killed(start("only there", &[place, "park"]));
    let asks = client(&domain);
    assert!(matches!(successor.try_recv(), Err(RecvError::PeerDied)));
    let call = asks.begin([1, 4]).unwrap();
    assert_eq!(*successor.recv().unwrap(), [1, 4]);
    assert!(matches!(call.wait().unwrap_err().why, CallFailure::Unanswered));
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let wait = Wait::ALL.into_iter().find(|w| w.to_string() == arguments[1]).unwrap();
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let number = |i: usize| arguments[i].parse::<u64>().unwrap();
    let report = |n: u64| {
        domain.channel("reports").many_to_one(64).sender::<u64>().unwrap().send(n).unwrap();
    };
    match role.as_str() {
        // Answers until the clients are gone.
        "serve" => {
            let server = server(&domain);
            report(0);
            let gone = server.serve(|asks| answer(*asks));
            assert!(matches!(gone, RecvError::Disconnected | RecvError::PeerDied), "{gone}");
        }
        // The same, whatever there is at once, the last one first.
        "serve backwards" => {
            let server = server(&domain);
            report(0);
            while let Ok(first) = server.recv() {
                let mut hand = vec![first];
                while let Ok(next) = server.try_recv() {
                    hand.push(next);
                }
                while let Some(request) = hand.pop() {
                    let reply = answer(*request);
                    let _ = request.reply(reply);
                }
            }
        }
        // A client that asks nothing.
        "only there" => {
            let _client = client(&domain);
            report(0);
            std::thread::sleep(Duration::from_secs(600));
        }
        // Takes so many in hand, says so, and stays like that.
        "hold" => {
            let server = server(&domain);
            report(0);
            let hand: Vec<_> = (0..number(2)).map(|_| server.recv().unwrap()).collect();
            report(1);
            std::thread::sleep(Duration::from_secs(600));
            drop(hand);
        }
        "call" => {
            let client = client(&domain);
            for n in 0..number(3) {
                assert_eq!(client.call([number(2), n]).unwrap(), answer([number(2), n]));
            }
        }
        // Four under way.
        "call four" => {
            let client = client(&domain);
            for n in 0..number(3) / 4 {
                let calls = [0, 1, 2, 3].map(|i| client.begin([number(2), 4 * n + i]).unwrap());
                for (i, call) in calls.into_iter().enumerate() {
                    let asked = [number(2), 4 * n + i as u64];
                    assert_eq!(call.wait().unwrap(), answer(asked));
                }
            }
        }
        // In no time, or a little: what comes is the answer to what was asked.
        "call in haste" => {
            let mut random = Random::new("call in haste");
            let client = client(&domain);
            let mut late = 0;
            for n in 0..number(3) {
                let asked = [number(2), n];
                match client.call_timeout(asked, Duration::from_micros(random.below(120))) {
                    Ok(came) => assert_eq!(came, answer(asked)),
                    Err(error) => {
                        assert!(matches!(error.why, CallFailure::TimedOut), "{error}");
                        late += 1;
                    }
                }
            }
            eprintln!("{late} of {} gave up", number(3));
            // All in good time again.
            assert_eq!(client.call([7, 7]).unwrap(), answer([7, 7]));
        }
        other => panic!("no role {other}"),
    }
}

/// A domain, its name, and the receiver of reports.
fn domain_of(test: &str) -> (Domain, String, Receiver<u64>) {
    let name = name(test);
    let domain = common::options().open(&name).unwrap();
    let reports = domain.channel("reports").many_to_one(64).receiver::<u64>().unwrap();
    (domain, name, reports)
}

/// The next report; a reporter that left in between is none.
fn report(reports: &Receiver<u64>) -> u64 {
    loop {
        match reports.recv() {
            Ok(report) => return report,
            Err(RecvError::Disconnected | RecvError::PeerDied) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A call that may still be told of a server that died before.
fn call(client: &Client<Asks, Answer>, asks: Asks) -> Answer {
    loop {
        match client.call(asks) {
            Ok(answer) => return answer,
            Err(error) => assert!(matches!(error.why, CallFailure::PeerDied), "{error}"),
        }
    }
}

/// N processes call, M answer: each call gets the reply to what it asked, whatever the waiting and the references.
#[test]
fn every_call_gets_its_own_reply() {
    let _watchdog = watchdog("own reply", 120);
    let cases = [
        (Wait::Park, Method::Coinciding, 1, 3, ["serve", "call"]),
        (Wait::Park, Method::Distinct, 2, 2, ["serve backwards", "call four"]),
        (Wait::SpinThenPark, Method::Capability, 1, 2, ["serve backwards", "call four"]),
        (Wait::SpinThenPark, Method::Coinciding, 2, 3, ["serve", "call in haste"]),
        (Wait::SpinThenPark, Method::Distinct, 1, 2, ["serve backwards", "call in haste"]),
        (Wait::Spin, Method::Coinciding, 1, 1, ["serve", "call four"]),
        (Wait::Spin, Method::Distinct, 1, 1, ["serve", "call"]),
    ];
    for (wait, method, servers, clients, [serves, calls]) in cases {
        let (domain, name, reports) = domain_of("own");
        let service = domain.channel(SERVICE).service(4).servers(servers).method(method);
        let held = service.client::<Asks, Answer>().unwrap(); // holds the servers
        let wait = wait.to_string();
        let serving: Vec<_> = (0..servers).map(|_| start(serves, &[name.as_str(), &wait])).collect();
        (0..servers).for_each(|_| assert_eq!(report(&reports), 0));
        let calling: Vec<_> = (0..clients)
            .map(|who: u64| start(calls, &[name.as_str(), &wait, &who.to_string(), "2000"]))
            .collect();
        calling.into_iter().for_each(finish);
        let (asked, answered) = held.channel_counters();
        assert!(asked.messages >= answered.messages, "{asked:?} {answered:?}");
        if calls != "call in haste" {
            assert_eq!((asked.messages, answered.messages), (clients * 2000, clients * 2000));
        }
        drop(held);
        serving.into_iter().for_each(finish);
    }
}

#[test]
fn replies_go_to_their_calls_in_any_order() {
    let domain = Domain::create().unwrap();
    for servers in [1, 3] {
        let name = format!("any order {servers}");
        let service = domain.channel(&name).service(5).servers(servers);
        let (client, server) =
            (service.clone().client::<u64, u64>().unwrap(), service.server::<u64, u64>().unwrap());
        for round in 0..100 {
            let mut calls: Vec<_> = (0..5).map(|n| client.begin(10 * round + n).unwrap()).collect();
            let mut hand: Vec<_> = (0..5).map(|_| server.recv().unwrap()).collect();
            let asked: Vec<_> = hand.iter().map(|request| **request).collect();
            assert!(asked.iter().copied().eq((0..5).map(|n| 10 * round + n)), "in order: {asked:?}");
            assert!(matches!(server.try_recv(), Err(RecvError::WouldBlock)));
            hand.rotate_left(round as usize % 5);
            for request in hand {
                let reply = *request + 1;
                request.reply(reply).unwrap();
            }
            calls.rotate_left(round as usize % 3);
            for call in calls {
                assert!(call.is_ended());
                let reply = call.wait().unwrap();
                assert!((10 * round + 1..10 * round + 6).contains(&reply));
            }
        }
    }
}

#[test]
fn a_late_reply_reaches_nobody_and_the_slot_comes_back() {
    let domain = Domain::create().unwrap();
    let soon = Duration::from_millis(1);
    for servers in [1, 2] {
        let name = format!("late {servers}");
        let service = domain.channel(&name).service(1).servers(servers);
        let (client, server) =
            (service.clone().client::<u64, u64>().unwrap(), service.server::<u64, u64>().unwrap());
        // Given up before anybody took it. With one server it cannot be told.
        let late = client.call_timeout(1, soon).unwrap_err();
        assert!(matches!(late.why, CallFailure::TimedOut));
        assert_eq!(late.request, (servers > 1).then_some(1));
        assert!(matches!(server.try_recv(), Err(RecvError::WouldBlock)), "nobody wants it any more");

        // Given up in hand: one call goes on in another slot, and then all slots are in the server's hand.
        let slots = 1 + u64::from(servers);
        let mut hand = Vec::new();
        for n in 0..slots {
            let call = client.begin(n).unwrap();
            let request = server.recv().unwrap();
            assert!(request.is_wanted());
            drop(call);
            assert!(!request.is_wanted());
            assert_eq!(*request, n);
            hand.push(request);
        }
        let none = client.call_timeout(9, soon).unwrap_err();
        assert!(matches!((none.request, none.why), (Some(9), CallFailure::TimedOut)));
        let unwanted = hand.pop().unwrap().reply(99).unwrap_err();
        assert!(matches!((unwanted.message, unwanted.why), (99, SendFailure::Unwanted)));
        let call = client.begin(10).unwrap();
        let request = server.recv().unwrap();
        assert_eq!(*request, 10);
        // Late replies while it is under way, and after.
        assert!(hand.remove(0).reply(98).is_err());
        request.reply(11).unwrap();
        assert_eq!(call.wait().unwrap(), 11);
        for request in hand {
            assert!(request.reply(97).is_err());
        }
        for n in 0..10 {
            let call = client.begin(n).unwrap();
            server.recv().unwrap().reply(n + 1).unwrap();
            assert_eq!(call.wait().unwrap(), n + 1);
        }
    }
}

#[test]
fn a_request_that_is_dropped_says_so_and_too_many_calls_are_refused() {
    let domain = Domain::create().unwrap();
    let client = domain.channel(SERVICE).service(2).client::<u64, u64>().unwrap();
    let server = domain.channel(SERVICE).server::<u64, u64>().unwrap();
    let calls = [client.begin(1).unwrap(), client.begin(2).unwrap()];
    let third = client.begin(3).err().unwrap();
    assert!(matches!((third.request, third.why), (Some(3), CallFailure::TooMany { calls: 2 })));
    drop(server.recv().unwrap());
    server.recv().unwrap().reply(20).unwrap();
    let [first, second] = calls.map(|call| call.wait());
    assert!(matches!(first.unwrap_err().why, CallFailure::Unanswered));
    assert_eq!(second.unwrap(), 20);
    // A server that leaves: what it had not answered is told, and the next call waits for another server.
    let call = client.begin(4).unwrap();
    drop(server);
    assert!(matches!(call.wait().unwrap_err().why, CallFailure::Disconnected));
    let server = domain.channel(SERVICE).server::<u64, u64>().unwrap();
    let answers = std::thread::spawn(move || server.serve(|n| n * 2));
    let doubled = (0..).find_map(|_| client.call(4).ok());
    assert_eq!(doubled, Some(8));
    drop(client);
    assert!(matches!(answers.join().unwrap(), RecvError::Disconnected));
}

#[test]
fn what_cannot_be_is_said() {
    let domain = Domain::create().unwrap();
    for calls in [0, 33, u64::MAX] {
        let refused = domain.channel("bad").service(calls).client::<u64, u64>().err().unwrap();
        assert!(matches!(refused, AttachError::Impossible { .. } | AttachError::Degree { .. }), "{refused}");
    }
    for kind in ["sender", "receiver", "unnamed"] {
        let channel = domain.channel("bad").service(1);
        let refused = match kind {
            "sender" => channel.sender::<u64>().err(),
            "receiver" => channel.receiver::<u64>().err(),
            _ => channel.unnamed::<u64>().err(),
        };
        assert!(refused.unwrap().to_string().contains("attach client() or server()"));
    }
    let refused = domain.channel("bad").rendezvous().client::<u64, u64>().err().unwrap();
    assert!(refused.to_string().contains("service(calls)"), "{refused}");

    let first = domain.channel("good").service(1).clients(1).server::<u8, [u16; 3]>().unwrap();
    let other = domain.channel("good").client::<u8, [u16; 4]>().err().unwrap();
    assert!(
        other.to_string().contains("[2/2 u16; 3]") && other.to_string().contains("[2/2 u16; 4]"),
        "{other}"
    );
    assert!(domain.sender::<(u8, [u16; 3])>("good").is_err());
    let second = domain.channel("good").server::<u8, [u16; 3]>().err().unwrap();
    assert!(matches!(second, AttachError::EndsTaken { side: "server", many: 1, .. }), "{second}");
    let client = domain.channel("good").client::<u8, [u16; 3]>().unwrap();
    let refused = domain.channel("good").client::<u8, [u16; 3]>().err().unwrap();
    assert!(matches!(refused, AttachError::EndsTaken { side: "client", many: 1, .. }), "{refused}");
    assert!(client.has_peer() && first.has_peer());
    let differs = domain.channel("good").service(2).client::<u8, [u16; 3]>().err().unwrap();
    assert!(differs.to_string().contains("the degrees differ"), "{differs}");
    assert_eq!(Kind::Service.to_string(), "service");
}

/// A server is killed with requests in hand: their clients are told, and another server answers what comes after.
#[test]
fn a_server_is_killed_with_requests_in_hand() {
    let _watchdog = watchdog("server killed", 120);
    for wait in Wait::ALL {
        let (domain, name, reports) = domain_of("server-killed");
        let client = domain.channel(SERVICE).service(4).wait(wait).client::<Asks, Answer>().unwrap();
        for round in 0..3 {
            let holds = start("hold", &[name.as_str(), &wait.to_string(), "2"]);
            assert_eq!(report(&reports), 0);
            // Two that it takes, and one that it does not.
            let calls = [0, 1, 2].map(|n| client.begin([round, n]));
            let calls = calls.map(|call| call.or_else(|_| client.begin([round, 9])).unwrap());
            assert_eq!(report(&reports), 1);
            kill(holds);
            for call in calls {
                assert!(matches!(call.wait().unwrap_err().why, CallFailure::PeerDied), "{wait}");
            }
        }
        let serves = start("serve", &[name.as_str(), &wait.to_string()]);
        for n in 0..100 {
            assert_eq!(call(&client, [5, n]), answer([5, n]));
        }
        drop(client);
        finish(serves);
    }
}

/// Of several servers one is killed, and one is stopped, with a request in hand: the others go on.
#[test]
fn one_of_several_servers_is_killed_or_stopped() {
    let _watchdog = watchdog("one of several", 120);
    for stops in [false, true] {
        let (domain, name, reports) = domain_of("several");
        let service = domain.channel(SERVICE).service(2).servers(3).wait(Wait::Park);
        let client = service.client::<Asks, Answer>().unwrap();
        let wait = Wait::Park.to_string();
        let holds = start("hold", &[name.as_str(), &wait, "1"]);
        assert_eq!(report(&reports), 0);
        let held = client.begin([1, 1]).unwrap();
        assert_eq!(report(&reports), 1);
        let serves = [0, 1].map(|_| start("serve", &[name.as_str(), &wait]));
        (0..2).for_each(|_| assert_eq!(report(&reports), 0));
        if stops {
            signal(&holds, rustix::process::Signal::STOP);
        }
        for n in 0..200 {
            assert_eq!(client.call([2, n]).unwrap(), answer([2, n]));
        }
        if stops {
            let late = held.wait_timeout(Duration::from_millis(1)).unwrap_err();
            assert!(matches!((late.request, late.why), (None, CallFailure::TimedOut)));
            for n in 0..200 {
                let calls = [0, 1].map(|i| client.begin([n, i]).unwrap());
                calls.into_iter().enumerate().for_each(|(i, call)| {
                    assert_eq!(call.wait().unwrap(), answer([n, i as u64]));
                });
            }
            kill(holds);
        } else {
            kill(holds);
            assert!(matches!(held.wait().unwrap_err().why, CallFailure::PeerDied));
        }
        assert_eq!(client.call([3, 3]).unwrap(), answer([3, 3]));
        drop(client);
        serves.into_iter().for_each(finish);
    }
}

/// Clients are killed anywhere, again and again: the server goes on, their seats and slots come free, nothing leaks.
#[test]
fn clients_are_killed_anywhere() {
    let _watchdog = watchdog("clients killed", 120);
    let mut random = Random::new("clients killed");
    for (servers, serves) in [(1, "serve"), (2, "serve backwards")] {
        let (domain, name, reports) = domain_of("clients-killed");
        let service = domain.channel(SERVICE).service(4).servers(servers).clients(4).wait(Wait::Park);
        let client = service.client::<Asks, Answer>().unwrap();
        let wait = Wait::SpinThenPark.to_string();
        let serving: Vec<_> = (0..servers).map(|_| start(serves, &[name.as_str(), &wait])).collect();
        (0..servers).for_each(|_| assert_eq!(report(&reports), 0));
        let mut charged = None;
        for round in 0..12 {
            let roles = ["call", "call four", "call in haste"];
            let doomed: Vec<_> = (0..3_u64)
                .map(|who| start(roles[who as usize], &[name.as_str(), &wait, &who.to_string(), "100000000"]))
                .collect();
            std::thread::sleep(Duration::from_millis(20 + random.below(30)));
            for n in 0..10 {
                assert_eq!(client.call([round, n]).unwrap(), answer([round, n]));
            }
            doomed.into_iter().for_each(kill);
            assert_eq!(client.call([round, 99]).unwrap(), answer([round, 99]));
            // All three have a lane, or will have: a domain that grows with each round leaks.
            let (used, _) = domain.memory().unwrap();
            eprintln!("round {round}: {used} bytes");
            if round == 5 {
                charged = Some(used);
            }
        }
        let (used, _) = domain.memory().unwrap();
        assert!(charged.is_some_and(|charged| used <= charged + 4096), "{charged:?} {used}");
        drop(client);
        serving.into_iter().for_each(finish);
    }
}

/// A stopped client delays nobody; a server in a long call is waited for by nobody who has a deadline.
#[test]
fn a_client_is_stopped() {
    let _watchdog = watchdog("client stopped", 60);
    let (domain, name, reports) = domain_of("client-stopped");
    let client = domain.channel(SERVICE).service(4).wait(Wait::Park).client::<Asks, Answer>().unwrap();
    let wait = Wait::SpinThenPark.to_string();
    let serves = start("serve", &[name.as_str(), &wait]);
    assert_eq!(report(&reports), 0);
    for round in 0..10 {
        let other = start("call four", &[name.as_str(), &wait, "7", "100000000"]);
        std::thread::sleep(Duration::from_millis(10));
        signal(&other, rustix::process::Signal::STOP);
        for n in 0..100 {
            assert_eq!(client.call([round, n]).unwrap(), answer([round, n]));
        }
        kill(other);
    }
    drop(client);
    until(|| true);
    finish(serves);
}
