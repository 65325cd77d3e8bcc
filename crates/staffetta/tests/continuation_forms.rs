//! What else goes on after a death: rendezvous of values, services, selects; ends claimed by the name of the dead process; messages
//! that their sender takes back.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use common::{kill, listen, name, role, start, watchdog};
use staffetta::{
    CallFailure, ChannelBuilder, Continuation, Domain, Parcel, RecvError, Select, SendFailure, Wait,
};

const WAITS: Continuation = Continuation::WaitForSuccessor;
const RETURNS: Continuation = Continuation::ReturnToSender;

fn channel<'d>(domain: &'d Domain, name: &'d str, kind: &str) -> ChannelBuilder<'d> {
    let channel = domain.channel(name);
    match kind {
        "rendezvous" => channel.rendezvous(),
        "basic" => channel.basic(4),
        "buffered" => channel.buffered(4),
        "bounded" => channel.bounded(4),
        "many_to_one" => channel.many_to_one(4),
        "work_queue" => channel.work_queue(4),
        other => panic!("no kind {other}"),
    }
}

const ALL: [&str; 6] = ["rendezvous", "basic", "buffered", "bounded", "many_to_one", "work_queue"];

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let options = common::options().wait(Wait::SpinThenPark).process_name(role.clone());
    let domain = options.open(&arguments[0]).unwrap();
    let ready = domain.channel("ready").many_to_one(8).sender::<u64>().unwrap();
    match role.as_str() {
        // Adds up what it gets, over a rendezvous, in a variable that nobody else sees; asks for nothing after the last one.
        "add" => {
            let rx = domain.receiver::<u64>("channel").unwrap();
            loop {
                ready.send(rx.recv().unwrap()).unwrap();
            }
        }
        // Answers with the number itself, but never the last one.
        "serve" => {
            let server = domain.channel("service").server::<u64, u64>().unwrap();
            let last: u64 = arguments[1].parse().unwrap();
            let mut hand = Vec::new();
            loop {
                let request = server.recv().unwrap();
                let n = *request;
                if n >= last {
                    hand.push(request);
                    ready.send(n).unwrap();
                } else {
                    request.reply(n).unwrap();
                }
            }
        }
        // Takes a message of the one, parcels of the other, and keeps them.
        "worker" => {
            let one = channel(&domain, "one", "buffered").receiver::<u64>().unwrap();
            let other = channel(&domain, "other", "many_to_one").receiver::<Parcel<u64>>().unwrap();
            let _results = domain.sender::<u64>("results").unwrap();
            let message = one.recv_ref().unwrap();
            let parcels = [other.recv().unwrap(), other.recv().unwrap()];
            ready.send(*message + *parcels[0] + *parcels[1]).unwrap();
            for_ever();
        }
        // Wants to be the successor of a worker.
        "heir" => {
            let won = domain.successor_of("worker").unwrap();
            ready.send(u64::from(won.is_some())).unwrap();
            if let Some(succession) = won {
                let mut ends: Vec<_> =
                    succession.ends().iter().map(|left| format!("{} {}", left.channel, left.side)).collect();
                ends.sort();
                assert_eq!(ends, ["one receiver", "other receiver", "results sender"]);
                if arguments[1] == "die" {
                    for_ever();
                }
                let one = succession.receiver::<u64>("one").unwrap();
                let other = succession.receiver::<Parcel<u64>>("other").unwrap();
                let results = succession.sender::<u64>("results").unwrap();
                drop(succession);
                let message = one.recv_ref().unwrap();
                assert!(message.redelivered());
                let parcels = [other.recv().unwrap(), other.recv().unwrap()];
                assert!(parcels.iter().all(Parcel::redelivered));
                results.send(*message + *parcels[0] + *parcels[1]).unwrap();
            }
        }
        // Takes parcels, and keeps them.
        "hoard" => {
            let rx = domain.receiver::<Parcel<u64>>("channel").unwrap();
            let mut parcels = Vec::new();
            loop {
                parcels.push(rx.recv().unwrap());
                ready.send(parcels.len() as u64).unwrap();
            }
        }
        // Sends one message to whoever waits, says so, and waits.
        "send" => {
            let tx = domain.sender::<Parcel<u64>>("channel").unwrap();
            tx.send(Parcel::new(&domain, 42).unwrap()).unwrap();
            ready.send(1).unwrap();
            for_ever();
        }
        "hold" => {
            let rx = domain.receiver::<u64>("channel").unwrap();
            let message = rx.recv_ref().unwrap();
            ready.send(*message).unwrap();
            for_ever();
        }
        other => panic!("no role {other}"),
    }
}

/// Stops a process, and sees it stopped.
fn stop(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    common::until(|| std::fs::read_to_string(&stat).unwrap().contains(") T "));
}

/// A value that was delivered to a receiver that was dead by then, or died before it had read it, is its successor's. So of those that
/// were sent each arrives, whenever the receiver is killed; only what it had read and not said may be missing at its own end.
#[test]
fn a_value_delivered_to_a_dead_receiver_of_a_rendezvous_is_its_successors() {
    let _watchdog = watchdog("rendezvous", 60);
    let mut random = common::Random::new("rendezvous");
    let name = name("rendezvous");
    let domain = common::options().open(&name).unwrap();
    let ready = listen(&domain);
    let tx = domain.channel("channel").rendezvous().continuation(WAITS).sender::<u64>().unwrap();
    // A successor that left again is no death, and said once.
    let send = |n| while tx.send(n).is_err() {};
    let mut said = Vec::new();
    let (mut sent, mut taken_over) = (0, 0);
    for _ in 0..40 {
        let mut child = start("add", &[&name]);
        for _ in 0..1 + random.below(20) {
            send(sent);
            sent += 1;
            said.push(received(&ready));
        }
        // It waits now, or is about to. Stopped, it reads nothing more, and if it waited the next message is given to it.
        stop(&child);
        let rx = std::thread::scope(|scope| {
            let successor = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(1));
                child.kill().unwrap();
                assert_eq!(child.wait().unwrap().signal(), Some(9));
                let rx = domain.receiver::<u64>("channel").unwrap();
                assert_eq!(rx.recv().unwrap(), sent);
                rx
            });
            send(sent);
            successor.join().unwrap()
        });
        said.push(sent);
        taken_over += usize::from(rx.counters().waits == 0);
        sent += 1;
    }
    eprintln!("{taken_over} of 40 were there before their receiver");
    assert!(said.iter().copied().eq(0..sent), "{said:?}");
}

/// The message lies in the descriptor, and neither of the two who gave and got it lives.
#[test]
fn a_parcel_that_was_given_to_a_dead_receiver_outlives_its_sender() {
    let _watchdog = watchdog("both die", 60);
    let mut given = 0;
    for _ in 0..20 {
        let name = name("both");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
        let channel = domain.channel("channel").rendezvous().continuation(WAITS);
        drop(channel.clone().sender::<Parcel<u64>>().unwrap());
        let before = common::in_use(&domain);
        let mut receiver = start("hoard", &[&name]);
        let watching = domain.channel("channel").carries().is_ok();
        assert!(watching);
        // It waits: there is somebody to give to.
        let view = || staffetta::inspect::Observer::of(&name).unwrap().look().unwrap();
        common::until(|| view().channels.iter().any(|c| c.name == "channel" && !c.waits.is_empty()));
        stop(&receiver);
        let sender = start("send", &[&name]);
        let sent = ready.recv_timeout(Duration::from_millis(200)).is_ok();
        receiver.kill().unwrap();
        receiver.wait().unwrap();
        kill(sender);
        given += u32::from(sent);
        let rx = domain.receiver::<Parcel<u64>>("channel").unwrap();
        match rx.recv_timeout(Duration::from_millis(200)) {
            Ok(parcel) => assert_eq!((*parcel, parcel.redelivered()), (42, true)),
            Err(why) => assert!(!sent, "it was sent: {why}"),
        }
        drop(rx);
        common::comes_back_to(&domain, before, "both");
    }
    assert!(given > 0, "never was one given to who waits");
}

#[test]
fn a_request_that_a_dead_server_had_in_hand_is_answered_by_its_successor() {
    let _watchdog = watchdog("service", 120);
    for servers in [1, 2] {
        let name = name("service");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
        let service = || domain.channel("service").service(4).servers(servers).continuation(WAITS);
        let client = service().client::<u64, u64>().unwrap();
        let child = start("serve", &[&name, "3"]);
        for n in 0..3 {
            assert_eq!(client.call(n).unwrap(), n);
        }
        // Two are in its hand, in the order in which they were asked; two wait.
        let calls = [client.begin(3).unwrap(), client.begin(4).unwrap()];
        assert_eq!((ready.recv().unwrap(), ready.recv().unwrap()), (3, 4));
        kill(child);
        common::until(|| !client.has_peer());
        let why = client.call_timeout(9, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(why.why, CallFailure::PeerAbsent), "{why}");
        assert_eq!(why.request, Some(9), "nobody had it");
        let newer = client.begin(5).unwrap();
        let successor = service().server::<u64, u64>().unwrap();
        for (n, redelivered) in [(3, true), (4, true), (5, false)] {
            let request = successor.recv().unwrap();
            assert_eq!((*request, request.redelivered()), (n, redelivered));
            request.reply(n + 100).unwrap();
        }
        assert_eq!(calls.map(|call| call.wait().unwrap()), [103, 104]);
        assert_eq!(newer.wait().unwrap(), 105);
        // A client that gives up while nobody is there has its slot back.
        drop(successor);
        let why = client.call(1).unwrap_err().why;
        assert!(matches!(why, CallFailure::Disconnected), "one that left did not die: {why}");
    }
}

#[test]
fn a_request_that_no_server_survives_is_refused_in_the_end() {
    let domain = Domain::create().unwrap();
    let service = || domain.channel("service").service(1).continuation(WAITS);
    let client = service().client::<u64, u64>().unwrap();
    let server = service().server::<u64, u64>().unwrap();
    let call = client.begin(1).unwrap();
    drop(server.recv().unwrap());
    assert!(matches!(call.wait().unwrap_err().why, CallFailure::Unanswered));
}

#[test]
fn of_several_successors_one_gets_all_ends() {
    let _watchdog = watchdog("successors", 120);
    let name = name("successors");
    let domain = common::options().process_name("the test").open(&name).unwrap();
    let ready = listen(&domain);
    let one = channel(&domain, "one", "buffered").continuation(WAITS).sender::<u64>().unwrap();
    let other = channel(&domain, "other", "many_to_one").continuation(WAITS);
    let other = other.sender::<Parcel<u64>>().unwrap();
    let results = channel(&domain, "results", "basic").continuation(WAITS).receiver::<u64>().unwrap();
    assert!(domain.successor_of("worker").unwrap().is_none(), "nobody died");
    let worker = start("worker", &[&name]);
    one.send(1).unwrap();
    other.send(Parcel::new(&domain, 20).unwrap()).unwrap();
    other.send(Parcel::new(&domain, 300).unwrap()).unwrap();
    assert_eq!(ready.recv().unwrap(), 321);
    assert!(domain.successor_of("worker").unwrap().is_none(), "it is alive");
    kill(worker);
    assert!(matches!(results.recv_timeout(Duration::from_millis(20)), Err(RecvError::PeerAbsent)));
    // One claims, and dies; what it had claimed can be claimed again.
    let first = start("heir", &[&name, "die"]);
    assert_eq!(received(&ready), 1);
    assert!(domain.successor_of("worker").unwrap().is_none(), "it is claimed");
    let taken = domain.receiver::<u64>("one").err().unwrap();
    assert!(taken.to_string().contains("heir"), "{taken}");
    assert!(domain.receiver::<Parcel<u64>>("other").is_err());
    assert!(one.unacknowledged().unwrap().is_empty(), "they are the claimant's");
    kill(first);
    // Several at a time.
    let heirs: Vec<Child> = (0..3).map(|_| start("heir", &[&name, "live"])).collect();
    let won: u64 = (0..3).map(|_| received(&ready)).sum();
    assert_eq!(won, 1);
    assert_eq!(results.recv().unwrap(), 321);
    heirs.into_iter().for_each(common::finish);
}

/// The next number, whoever died meanwhile.
fn received(ready: &staffetta::Receiver<u64>) -> u64 {
    loop {
        if let Ok(n) = ready.recv() {
            return n;
        }
    }
}

#[test]
fn a_sender_takes_back_what_its_dead_receiver_had() {
    let _watchdog = watchdog("taken back", 120);
    for kind in ALL {
        for continuation in [WAITS, RETURNS] {
            let name = name("back");
            let domain = common::options().open(&name).unwrap();
            let ready = listen(&domain);
            let made = channel(&domain, "channel", kind).continuation(continuation);
            let tx = made.sender::<Parcel<u64>>().unwrap();
            let before = common::in_use(&domain);
            let child = start("hoard", &[&name]);
            for n in 0..3 {
                tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
                assert_eq!(ready.recv().unwrap(), n + 1);
            }
            assert!(tx.unacknowledged().unwrap().is_empty(), "{kind}: it is alive");
            kill(child);
            let back = tx.unacknowledged().unwrap().into_iter();
            let back: Vec<_> = back.map(|parcel| (*parcel, parcel.redelivered())).collect();
            assert_eq!(back, [(0, true), (1, true), (2, true)], "{kind}");
            assert!(tx.unacknowledged().unwrap().is_empty(), "{kind}: once");
            // The death is told as the continuation says; then it goes on with another receiver.
            let parcel = || Parcel::new(&domain, 3).unwrap();
            let mut why = tx.send_timeout(parcel(), Duration::from_millis(10)).map_err(|error| error.why);
            while let Ok(()) = why {
                why = tx.send_timeout(parcel(), Duration::from_millis(10)).map_err(|error| error.why);
            }
            match (continuation, why.unwrap_err()) {
                (WAITS, SendFailure::PeerAbsent) | (RETURNS, SendFailure::PeerDied) => {}
                (_, why) => panic!("{kind}, {continuation}: {why}"),
            }
            let rx = domain.receiver::<Parcel<u64>>("channel").unwrap();
            while let Ok(parcel) = rx.try_recv() {
                assert_eq!((*parcel, parcel.redelivered()), (3, false), "{kind}");
            }
            drop((tx, rx));
            common::comes_back_to(&domain, before, kind);
        }
    }
}

#[test]
fn a_sender_takes_back_the_value_that_its_dead_receiver_had_in_hand() {
    let _watchdog = watchdog("value taken back", 120);
    for kind in ["buffered", "bounded", "many_to_one", "work_queue"] {
        let name = name("back-value");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
        let tx = channel(&domain, "channel", kind).continuation(RETURNS).sender::<u64>().unwrap();
        let child = start("hold", &[&name]);
        tx.send(7).unwrap();
        tx.send(8).unwrap();
        assert_eq!(ready.recv().unwrap(), 7);
        kill(child);
        assert_eq!(tx.unacknowledged().unwrap(), [7], "{kind}");
        assert!(tx.unacknowledged().unwrap().is_empty(), "{kind}");
        let rx = domain.receiver::<u64>("channel").unwrap();
        assert_eq!(rx.recv().unwrap(), 8, "{kind}: what was not received stays");
    }
}

#[test]
fn where_nothing_is_kept_nothing_can_be_taken_back() {
    let domain = Domain::create().unwrap();
    let tx = domain.channel("c").buffered(1).sender::<u64>().unwrap();
    assert!(matches!(tx.unacknowledged(), Err(SendFailure::NotKept)));
}

#[test]
fn an_operation_whose_partner_is_absent_is_not_ready() {
    let _watchdog = watchdog("select", 120);
    for kind in ALL {
        let name = name("absent");
        let domain = common::options().open(&name).unwrap();
        let ready = listen(&domain);
        let tx = channel(&domain, "channel", kind).continuation(WAITS).sender::<Parcel<u64>>().unwrap();
        let child = start("hoard", &[&name]);
        for n in 0..3 {
            tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
            assert_eq!(ready.recv().unwrap(), n + 1);
        }
        kill(child);
        // Of a channel with a buffer there is room until it is full.
        while tx.send_timeout(Parcel::new(&domain, 3).unwrap(), Duration::from_millis(10)).is_ok() {}
        let mut select = Select::new();
        select.send(&tx).unwrap();
        let chosen = select.select_timeout(Duration::from_millis(20)).is_ok();
        assert!(!chosen, "{kind}: its receiver is absent");
        drop(select);
        // A successor that selects gets what the dead one had, first.
        let rx = domain.receiver::<Parcel<u64>>("channel").unwrap();
        let (_idle, idle) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
        let mut select = Select::new();
        let of_rx = select.recv(&rx).unwrap();
        select.recv(&idle).unwrap();
        for n in 0..3 {
            let chosen = select.select().unwrap();
            assert_eq!(chosen.index(), of_rx);
            let parcel = chosen.recv(&rx).unwrap();
            assert_eq!((*parcel, parcel.redelivered()), (n, true), "{kind}");
        }
    }
}
