//! What everybody expects of a channel, where a message is answered: requests and replies with one server and with several, for every
//! reference method and wait policy, between the threads of one process and between processes. The same behaviours as
//! `every_flavor.rs`, as far as they apply; `reply.rs` has what only a service does.
//!
//! Where a test wants somebody to be blocked it gives them some milliseconds to get there; if they need longer the test
//! checks less, and does not fail.

mod common;

use std::thread::{self, scope};
use std::time::{Duration, Instant};

use common::{finish, name, role, start, watchdog, Random};
use staffetta::{CallFailure, ChannelBuilder, Client, Domain, Method, RecvError, SendFailure, Server, Wait};

/// For others to get blocked.
const A_WHILE: Duration = Duration::from_millis(3);
const SOON: Duration = Duration::from_millis(1);
/// Longer than any test: who waits so long is stuck, and the watchdog says so.
const EVER: Duration = Duration::from_secs(1000);
/// Calls of each client that may be under way.
const CALLS: u64 = 3;
const CLIENTS: u64 = 3;
/// A number says who asked.
const WHO: u64 = 1_000_000;

/// More than fits a line: small ones ride in the word's own.
type Asks = [u64; 20];
type Answer = [u64; 9];

fn asks(n: u64) -> Asks {
    [n; 20]
}

/// Whole, and answered.
fn answer(asks: &Asks) -> Answer {
    assert!(asks.iter().all(|word| *word == asks[0]), "torn: {asks:?}");
    [asks[0] + 7; 9]
}

#[derive(Clone, Debug)]
struct Case {
    domain: Domain,
    name: String,
    servers: u8,
    method: Method,
    wait: Wait,
}

impl Case {
    /// Every method with every wait policy, with one server and with several.
    fn each(test: &str, run: impl Fn(&Case)) {
        let _watchdog = watchdog(test, 120);
        for (row, servers) in [1, 3].into_iter().enumerate() {
            for (column, method) in Method::ALL.into_iter().enumerate() {
                let wait = Wait::ALL[(row + column) % 3];
                let name = name("service");
                let domain = common::options().open(&name).unwrap();
                run(&Case { domain, name, servers, method, wait });
            }
        }
    }

    fn builder(&self) -> ChannelBuilder<'_> {
        self.domain
            .channel("service")
            .service(CALLS)
            .servers(self.servers)
            .method(self.method)
            .wait(self.wait)
    }

    fn client(&self) -> Client<Asks, Answer> {
        self.builder().client().unwrap()
    }

    fn server(&self) -> Server<Asks, Answer> {
        self.builder().server().unwrap()
    }

    fn servers(&self) -> Vec<Server<Asks, Answer>> {
        (0..self.servers).map(|_| self.server()).collect()
    }

    fn start(&self, role: &str, who: u64) -> std::process::Child {
        let (servers, method) = (self.servers.to_string(), format!("{:?}", self.method));
        start(role, &[&self.name, &servers, &method, &self.wait.to_string(), &who.to_string()])
    }
}

/// Answers until the last client has gone: how many, in which order of each client.
fn serve(server: &Server<Asks, Answer>) -> Vec<u64> {
    let mut taken = Vec::new();
    loop {
        match server.recv() {
            Ok(request) => {
                taken.push(request[0]);
                let reply = answer(&request);
                request.reply(reply).unwrap();
            }
            Err(RecvError::Disconnected) => return taken,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 60);
    let domain = common::options().join(&arguments[0]).unwrap();
    let method = Method::ALL.into_iter().find(|method| format!("{method:?}") == arguments[2]).unwrap();
    let wait = Wait::ALL.into_iter().find(|wait| wait.to_string() == arguments[3]).unwrap();
    let servers = arguments[1].parse().unwrap();
    let case = Case { domain, name: arguments[0].clone(), servers, method, wait };
    let who: u64 = arguments[4].parse().unwrap();
    let tell = || {
        let reports = case.domain.channel("reports").many_to_one(64).sender::<u64>().unwrap();
        reports.send(who).unwrap();
        reports
    };
    match role.as_str() {
        "serve" => {
            let server = case.server();
            let _reports = tell();
            serve(&server);
        }
        // Takes a request and keeps it, or waits for one: and is killed.
        "hold" => {
            let server = case.server();
            let reports = tell();
            let _held = server.recv().unwrap();
            reports.send(who).unwrap();
            thread::sleep(EVER);
        }
        "wait for a request" => {
            let server = case.server();
            let _reports = tell();
            let told = server.recv().err();
            assert!(matches!(told, Some(RecvError::PeerDied)), "{told:?}");
        }
        "wait for a reply" => {
            let client = case.client();
            let _reports = tell();
            let _ = client.call(asks(1));
        }
        "call" => {
            let client = case.client();
            let _reports = tell();
            call_many(&case, &client, who);
        }
        other => panic!("no role {other}"),
    }
}

/// Calls with several under way, in an order of its own, each with its own reply.
fn call_many(case: &Case, client: &Client<Asks, Answer>, who: u64) {
    let mut random = Random::new("calls");
    let mut under_way = Vec::new();
    for n in 0..100 {
        let request = asks(who * WHO + n);
        under_way.push((request, client.begin(request).unwrap()));
        while under_way.len() == CALLS as usize || n == 99 && !under_way.is_empty() {
            let (request, call) = under_way.swap_remove(random.below(under_way.len() as u64) as usize);
            assert_eq!(call.wait().unwrap(), answer(&request), "{case:?}");
        }
    }
}

fn reports(case: &Case) -> staffetta::Receiver<u64> {
    case.domain.channel("reports").many_to_one(64).receiver().unwrap()
}

fn await_report(reports: &staffetta::Receiver<u64>) {
    while let Err(error) = reports.recv_timeout(EVER) {
        assert!(matches!(error, RecvError::Disconnected | RecvError::PeerDied), "{error}");
    }
}

#[test]
fn clients_leave_while_servers_wait() {
    Case::each("clients leave", |case| {
        let (client, servers) = (case.client(), case.servers());
        scope(|scope| {
            for server in servers {
                scope.spawn(move || assert!(matches!(server.recv(), Err(RecvError::Disconnected))));
            }
            thread::sleep(A_WHILE);
            drop(client);
        });
    });
}

/// A request that a server had does not come back; one that nobody had does. A server that leaves tells both.
#[test]
fn servers_leave_while_clients_wait() {
    Case::each("servers leave", |case| {
        for in_hand in [true, false] {
            let (client, server) = (case.client(), case.server());
            scope(|scope| {
                let waits = scope.spawn(move || client.call(asks(3)).unwrap_err());
                if in_hand {
                    let request = server.recv().unwrap();
                    thread::sleep(A_WHILE);
                    std::mem::forget(request); // dropped it would say so, for itself
                } else {
                    thread::sleep(A_WHILE);
                }
                drop(server);
                let error = waits.join().unwrap();
                assert!(matches!(error.why, CallFailure::Disconnected), "{case:?}: {}", error.why);
                assert!(!in_hand || error.request.is_none(), "{case:?}");
            });
        }
    });
}

#[test]
fn deadlines_pass_or_the_reply_comes() {
    Case::each("deadlines", |case| {
        let (client, server) = (case.client(), case.server());
        let start = Instant::now();
        assert!(matches!(server.recv_timeout(SOON), Err(RecvError::TimedOut)), "{case:?}");
        assert!(start.elapsed() >= SOON, "{case:?}: too early");
        assert!(matches!(server.recv_deadline(start), Err(RecvError::TimedOut)), "{case:?}");
        assert!(matches!(server.try_recv(), Err(RecvError::WouldBlock)), "{case:?}");
        for n in 0..10 {
            let start = Instant::now();
            let error = client.call_timeout(asks(n), SOON).unwrap_err();
            assert!(start.elapsed() >= SOON, "{case:?}: too early");
            assert!(matches!(error.why, CallFailure::TimedOut), "{case:?}: {}", error.why);
            // Where servers say what they take, one that was not taken comes back, and nobody gets it.
            assert_eq!(error.request, (case.servers > 1).then(|| asks(n)), "{case:?}");
            assert!(matches!(server.try_recv(), Err(RecvError::WouldBlock)), "{case:?}");
        }
        // A late reply is not wanted, and reaches no later call.
        let late = client.begin(asks(50)).unwrap();
        let request = server.recv().unwrap();
        assert!(matches!(late.wait_timeout(SOON).unwrap_err().why, CallFailure::TimedOut), "{case:?}");
        let refused = request.reply([1; 9]).unwrap_err();
        assert!(matches!(refused.why, SendFailure::Unwanted) && refused.message == [1; 9], "{case:?}");
        scope(|scope| {
            scope.spawn(move || assert_eq!(serve(&server), [51], "{case:?}"));
            assert_eq!(client.call_timeout(asks(51), Duration::MAX).unwrap(), answer(&asks(51)), "{case:?}");
            drop(client);
        });
    });
}

#[test]
fn every_call_gets_its_own_reply_exactly_once() {
    Case::each("exactly once", |case| {
        let servers = case.servers();
        let clients: Vec<_> = (0..CLIENTS).map(|_| case.client()).collect();
        scope(|scope| {
            let serves: Vec<_> =
                servers.into_iter().map(|server| scope.spawn(move || serve(&server))).collect();
            for (who, client) in (0..).zip(clients) {
                scope.spawn(move || call_many(case, &client, who));
            }
            let taken: Vec<Vec<u64>> = serves.into_iter().map(|thread| thread.join().unwrap()).collect();
            for (one, who) in taken.iter().flat_map(|one| (0..CLIENTS).map(move |who| (one, who))) {
                let from = one.iter().filter(|n| **n / WHO == who);
                assert!(from.is_sorted_by(|a, b| a < b), "{case:?}: the order of client {who}");
            }
            let mut all = taken.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq((0..CLIENTS).flat_map(|who| (0..100).map(move |n| who * WHO + n))));
        });
    });
}

/// Who waits is the thread, not the end: each call is made and served by another thread.
#[test]
fn an_end_may_move_from_thread_to_thread() {
    Case::each("moves", |case| {
        let (mut client, mut server) = (case.client(), case.server());
        for n in 0..10 {
            (client, server) = scope(|scope| {
                let serves = scope.spawn(move || {
                    let request = server.recv().unwrap();
                    let reply = answer(&request);
                    request.reply(reply).unwrap();
                    server
                });
                let calls = scope.spawn(move || {
                    assert_eq!(client.call(asks(n)).unwrap(), answer(&asks(n)));
                    client
                });
                (calls.join().unwrap(), serves.join().unwrap())
            });
        }
    });
}

/// Requests that nobody takes, that are dropped, given up or refused: their memory is the service's.
#[test]
fn what_nobody_answers_is_given_back() {
    Case::each("given back", |case| {
        let round = || {
            let (client, server) = (case.client(), case.server());
            let calls = [0, 1, 2].map(|n| client.begin(asks(n)).unwrap());
            let more = client.begin(asks(3)).err().map(|error| (error.request, error.why));
            assert!(matches!(more, Some((Some(_), CallFailure::TooMany { .. }))), "{case:?}");
            drop(server.recv().unwrap());
            let [first, second, third] = calls;
            assert!(matches!(first.wait().unwrap_err().why, CallFailure::Unanswered), "{case:?}");
            drop(second);
            drop(server);
            drop(third);
        };
        round();
        let in_use = || case.domain.memory().unwrap().1;
        let before = in_use();
        (0..10).for_each(|_| round());
        assert_eq!(in_use(), before, "{case:?}: bytes in use");
    });
}

#[test]
fn every_call_gets_its_own_reply_between_processes() {
    Case::each("processes", |case| {
        let reports = reports(case);
        let here = case.client(); // the service is not over before the others have come
        let serves: Vec<_> = (0..case.servers).map(|who| case.start("serve", who.into())).collect();
        serves.iter().for_each(|_| await_report(&reports));
        let calls: Vec<_> = (0..CLIENTS).map(|who| case.start("call", who)).collect();
        call_many(case, &here, CLIENTS);
        calls.into_iter().for_each(finish);
        drop(here);
        serves.into_iter().for_each(finish);
    });
}

/// A server is killed while a client waits for its reply: told, and what comes next is answered by another one.
#[test]
fn a_client_that_waits_is_told_when_its_server_is_killed() {
    Case::each("server killed", |case| {
        let reports = reports(case);
        let client = case.client();
        let mut holds = case.start("hold", 0);
        await_report(&reports);
        let waits = thread::spawn(move || {
            let told = client.call(asks(1)).map_err(|error| (error.request, error.why));
            (told, client)
        });
        await_report(&reports);
        holds.kill().unwrap();
        holds.wait().unwrap();
        let (told, client) = waits.join().unwrap();
        assert!(matches!(told, Err((None, CallFailure::PeerDied))), "{case:?}: {told:?}");
        let serves = case.start("serve", 1);
        await_report(&reports);
        // That the server has gone may still have to be said.
        let reply = client.call(asks(2)).ok().unwrap_or_else(|| client.call(asks(2)).unwrap());
        assert_eq!(reply, answer(&asks(2)), "{case:?}");
        drop(client);
        finish(serves);
    });
}

/// The only client is killed while servers wait for requests, and while it waits for a reply.
#[test]
fn servers_that_wait_are_told_when_the_client_is_killed() {
    Case::each("client killed", |case| {
        let reports = reports(case);
        let server = case.server();
        let mut calls = case.start("wait for a reply", 0);
        await_report(&reports);
        let request = server.recv().unwrap();
        let more = (case.servers > 1).then(|| case.start("wait for a request", 1));
        more.iter().for_each(|_| await_report(&reports));
        thread::sleep(A_WHILE);
        calls.kill().unwrap();
        calls.wait().unwrap();
        assert!(matches!(server.recv(), Err(RecvError::PeerDied)), "{case:?}");
        assert!(request.reply([1; 9]).is_err(), "{case:?}: nobody is there");
        more.into_iter().for_each(finish);
    });
}
