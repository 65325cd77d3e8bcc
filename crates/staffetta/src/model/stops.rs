//! An actor that stops for good before any of its atomic steps, in every interleaving: killed, and swept while its partner goes on;
//! or only stopped, so that nobody sweeps it, and its partner keeps its deadlines.
//!
//! What it had finished counts; the one operation in which it stopped may have happened or not; and nothing happens twice. Two
//! sweepers come: one at once, and one so late that a successor is there, of whose things it must touch none.

use std::sync::Arc;
use std::time::Instant;

use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::{Acquire, Release};
use loom::thread;

use super::exhaustive::{explore_stops, stops, Loom};
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use super::world::{broadcast, queue, reply, FOREVER};
use crate::channel::broadcast::{Late, SlowReceiver};
use crate::channel::call::{Patience, Stop};
use crate::channel::service::{why, Ended};
use crate::channel::side::{ATTACHED, DIED, LEFT};
use crate::process::wait::Wait;

const MESSAGES: u64 = 2;

fn past() -> Patience {
    Patience::Until(Some(Instant::now()))
}

/// What an actor that stopped in the middle of `done + 1` may have done: so many messages.
fn may_be(happened: u64, done: u64, stopped: bool) -> bool {
    happened == done || stopped && happened == done + 1
}

/// The two calls of a channel.
#[derive(Clone, Copy)]
struct Calls {
    name: &'static str,
    degree: u64,
    messages: u64,
    send: fn(&mut Actor, u64, Patience) -> Result<(), Stop>,
    receive: fn(&mut Actor, Patience) -> Result<u64, Stop>,
    end: fn(&Arc<Channel>, usize) -> Actor,
}

fn plain(channel: &Arc<Channel>, who: usize) -> Actor {
    Actor::new(channel, who, Wait::Park)
}

fn buffered(channel: &Arc<Channel>, who: usize) -> Actor {
    Actor::buffered(channel, who, Wait::Park)
}

const LINE: Calls = Calls {
    name: "rendezvous",
    degree: 0,
    messages: 2,
    send: Actor::send,
    receive: Actor::receive,
    end: plain,
};
const VARIABLES: Calls = Calls {
    name: "rendezvous of variables",
    degree: 0,
    messages: 1,
    send: |actor, n, patience| actor.send_variable(n, 2, patience),
    receive: |actor, patience| actor.receive_variable(2, patience),
    end: plain,
};
const RING: Calls = Calls {
    name: "basic channel",
    degree: 1,
    messages: 2,
    send: Actor::put,
    receive: Actor::get,
    end: plain,
};
const BUFFER: Calls = Calls {
    name: "buffered channel",
    degree: 1,
    messages: 2,
    send: |actor, n, patience| actor.put_into(n, patience),
    receive: |actor, patience| actor.get_from(patience),
    end: buffered,
};

/// Receives until the sender is gone.
fn receive_all(calls: Calls, receiver: &mut Actor) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        match (calls.receive)(receiver, FOREVER) {
            Ok(n) => got.push(n),
            Err(Stop::Gone(_)) => return got,
            Err(stop) => panic!("{stop:?}"),
        }
    }
}

/// A sweeper that was stopped until a successor came changes nothing of it.
fn sweep_late(channel: &Channel, who: usize, held: crate::memory::word::Word) {
    channel.sides[who].attach(2).unwrap();
    channel.sweep(who, held);
    let end = channel.sides[who].end();
    assert_eq!((end.state(), end.slot()), (ATTACHED, 2));
}

fn sender_dies(calls: Calls) {
    explore_stops(&format!("{}, the sender is killed", calls.name), move || {
        let channel = Channel::with_degree(calls.degree);
        let held = channel.sides[SENDER].end();
        let mut sender = (calls.end)(&channel, SENDER);
        let mut receiver = (calls.end)(&channel, RECEIVER);
        let sends = thread::spawn({
            let channel = channel.clone();
            move || {
                let mut done = 0;
                let stopped = stops(|| {
                    for n in 1..=calls.messages {
                        (calls.send)(&mut sender, n, FOREVER).unwrap();
                        done = n;
                    }
                });
                match stopped {
                    true => channel.sweep(SENDER, held),
                    false => channel.leave(SENDER),
                }
                (done, stopped)
            }
        });
        let got = receive_all(calls, &mut receiver);
        let (done, stopped) = sends.join().unwrap();
        assert!(got.iter().copied().eq(1..=got.len() as u64), "{got:?}");
        assert!(may_be(got.len() as u64, done, stopped), "{got:?}, {done} sent");
        sweep_late(&channel, SENDER, held);
        // A successor goes on.
        channel.slots().recover_tail(&channel.tail, &channel.head);
        let mut successor = (calls.end)(&channel, SENDER);
        if calls.degree != 0 {
            (calls.send)(&mut successor, 9, FOREVER).unwrap();
            assert_eq!((calls.receive)(&mut receiver, Patience::Try), Ok(9));
        }
    });
}

fn receiver_dies(calls: Calls) {
    explore_stops(&format!("{}, the receiver is killed", calls.name), move || {
        let channel = Channel::with_degree(calls.degree);
        let held = channel.sides[RECEIVER].end();
        let mut sender = (calls.end)(&channel, SENDER);
        let mut receiver = (calls.end)(&channel, RECEIVER);
        let receives = thread::spawn({
            let channel = channel.clone();
            move || {
                let mut got = Vec::new();
                let stopped = stops(|| {
                    for _ in 1..=calls.messages {
                        got.push((calls.receive)(&mut receiver, FOREVER).unwrap());
                    }
                });
                match stopped {
                    true => channel.sweep(RECEIVER, held),
                    false => channel.leave(RECEIVER),
                }
                (got, stopped)
            }
        });
        let mut sent = 0;
        for n in 1..=calls.messages {
            match (calls.send)(&mut sender, n, FOREVER) {
                Ok(()) => sent = n,
                Err(stop) => {
                    // It did not happen, unless the dead one had it already: then it has said so.
                    assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                    break;
                }
            }
        }
        let (got, stopped) = receives.join().unwrap();
        let done = got.len() as u64;
        assert!(got.iter().copied().eq(1..=done), "{got:?}");
        sweep_late(&channel, RECEIVER, held);
        if calls.degree == 0 {
            assert!(may_be(sent, done, stopped), "{sent} sent, {got:?} received");
            return;
        }
        // What it had not received comes to its successor, once.
        channel.slots().recover_head(&channel.head);
        let mut successor = (calls.end)(&channel, RECEIVER);
        let mut rest = Vec::new();
        while let Ok(n) = (calls.receive)(&mut successor, Patience::Try) {
            rest.push(n);
        }
        let first = rest.first().copied().unwrap_or(sent + 1);
        assert!(rest.iter().copied().eq(first..=sent), "{rest:?} of {sent}");
        assert!(may_be(first - 1, done, stopped), "{got:?}, then {rest:?}, of {sent}");
        // And the channel goes on, through each of its slots.
        for n in sent + 1..=sent + calls.degree + 1 {
            let give = |sender: &mut Actor| (calls.send)(sender, n, past());
            let given = give(&mut sender);
            // Of the death it is told once.
            let given = if matches!(given, Err(Stop::Gone(_))) { give(&mut sender) } else { given };
            assert_eq!((given, (calls.receive)(&mut successor, Patience::Try)), (Ok(()), Ok(n)));
        }
    });
}

/// The sender is stopped, and nobody sweeps it: its partner's deadlines hold, and what was sent comes. Then it is killed after all.
fn sender_stops(calls: Calls) {
    explore_stops(&format!("{}, the sender is stopped", calls.name), move || {
        let channel = Channel::with_degree(calls.degree);
        let held = channel.sides[SENDER].end();
        let mut sender = (calls.end)(&channel, SENDER);
        let mut receiver = (calls.end)(&channel, RECEIVER);
        let is_through = Arc::new(AtomicBool::new(false));
        let sends = thread::spawn({
            let is_through = is_through.clone();
            move || {
                let mut done = 0;
                stops(|| {
                    (calls.send)(&mut sender, 1, FOREVER).unwrap();
                    done = 1;
                });
                is_through.store(true, Release);
                done
            }
        });
        let mut got = Vec::new();
        let mut take = |patience| {
            match (calls.receive)(&mut receiver, patience) {
                Ok(n) => got.push(n),
                Err(Stop::Gone(_)) => return true,
                Err(stop) => assert!(matches!(stop, Stop::TimedOut | Stop::Abandoned), "{stop:?}"),
            }
            false
        };
        while !is_through.load(Acquire) {
            take(past());
            thread::yield_now();
        }
        let done = sends.join().unwrap();
        take(past());
        channel.sweep(SENDER, held);
        assert!(take(past()) || take(past()), "nobody said that it died");
        assert!(got == [1] || got.is_empty() && done == 0, "{got:?}, {done} sent");
    });
}

/// The receiver is stopped, and nobody sweeps it: its partner's deadlines hold; what it had not received comes to its successor.
fn receiver_stops(calls: Calls) {
    explore_stops(&format!("{}, the receiver is stopped", calls.name), move || {
        let channel = Channel::with_degree(calls.degree);
        let held = channel.sides[RECEIVER].end();
        let mut sender = (calls.end)(&channel, SENDER);
        let mut receiver = (calls.end)(&channel, RECEIVER);
        let is_through = Arc::new(AtomicBool::new(false));
        let receives = thread::spawn({
            let is_through = is_through.clone();
            move || {
                let mut got = 0;
                stops(|| got = (calls.receive)(&mut receiver, FOREVER).unwrap());
                is_through.store(true, Release);
                got
            }
        });
        let mut sent = Vec::new();
        let mut n = 0;
        let mut give = || {
            n += 1;
            match (calls.send)(&mut sender, n, past()) {
                Ok(()) => sent.push(n),
                Err(Stop::Gone(_)) => return true,
                Err(stop) => assert!(matches!(stop, Stop::TimedOut | Stop::Abandoned), "{stop:?}"),
            }
            false
        };
        give();
        while !is_through.load(Acquire) {
            give();
            thread::yield_now();
        }
        let got = receives.join().unwrap();
        give();
        channel.sweep(RECEIVER, held);
        assert!(give() || give(), "nobody said that it died");
        // One more may have been on its way into the hands of the dead one.
        let first = sent.first().copied().unwrap_or(0);
        assert!(got == 0 || got == first, "{got} received, {sent:?} sent");
        if calls.degree == 0 {
            assert!(sent.len() <= 1, "{got} received, {sent:?} sent");
            return;
        }
        channel.sides[RECEIVER].attach(2).unwrap();
        channel.slots().recover_head(&channel.head);
        let mut successor = (calls.end)(&channel, RECEIVER);
        let mut rest = Vec::new();
        while let Ok(n) = (calls.receive)(&mut successor, Patience::Try) {
            rest.push(n);
        }
        assert!(
            rest == sent || rest == sent[1.min(sent.len())..],
            "{got} received, then {rest:?}, of {sent:?}"
        );
        assert!(got == 0 || !rest.contains(&got), "{got} twice");
    });
}

#[test]
fn loom_stops_rendezvous_sender() {
    sender_dies(LINE);
}

#[test]
fn loom_stops_rendezvous_receiver() {
    receiver_dies(LINE);
}

#[test]
fn loom_stops_variables_sender() {
    sender_dies(VARIABLES);
}

#[test]
fn loom_stops_variables_receiver() {
    receiver_dies(VARIABLES);
}

#[test]
fn loom_stops_basic_sender() {
    sender_dies(RING);
}

#[test]
fn loom_stops_basic_receiver() {
    receiver_dies(RING);
}

#[test]
fn loom_stops_buffered_sender() {
    sender_dies(BUFFER);
}

#[test]
fn loom_stops_buffered_receiver() {
    receiver_dies(BUFFER);
}

#[test]
fn loom_stops_unswept_sender() {
    [LINE, RING, BUFFER].into_iter().for_each(sender_stops);
}

#[test]
fn loom_stops_unswept_receiver() {
    [LINE, RING, BUFFER].into_iter().for_each(receiver_stops);
}

type Many = queue::Many<Loom>;
type QueueEnd = queue::End<Loom>;

/// A sender of a queue is killed: what it has sent comes, once, and its lane is its successor's.
#[test]
fn loom_stops_queue_sender() {
    explore_stops("queue, a sender is killed", || {
        let many = Many::new(2, None, 1, 1);
        let held = many.held(true, 0);
        let (sender, receiver) = (QueueEnd::new(&many, true, 0), QueueEnd::new(&many, false, 0));
        let sends = thread::spawn({
            let many = many.clone();
            move || {
                let mut done = 0;
                let stopped = stops(|| {
                    sender.send(1, FOREVER).unwrap();
                    done = 1;
                });
                many.detach(true, 0, held, if stopped { DIED } else { LEFT });
                (done, stopped)
            }
        });
        let mut got = 0;
        while receiver.recv(FOREVER).is_ok() {
            got += 1;
        }
        let (done, stopped) = sends.join().unwrap();
        assert!(may_be(got, done, stopped), "{got} received, {done} sent");
        let (lane, _) = many.senders.attach(2, 1).unwrap();
        many.detach(true, 0, held, DIED); // late
        many.queue().recover_lane(lane);
        let successor = QueueEnd::new(&many, true, lane);
        for n in 5..9 {
            successor.send(n, Patience::Try).unwrap();
            assert_eq!(receiver.recv(Patience::Try), Ok(n));
        }
    });
}

/// One of two receivers of a queue is killed, or stopped: the other one has what is left, once.
#[test]
fn loom_stops_queue_receiver() {
    for swept in [true, false] {
        let how = if swept { "killed" } else { "stopped" };
        explore_stops(&format!("queue, one of two receivers is {how}"), move || {
            let many = Many::new(2, None, 1, 2);
            let held = many.held(false, 1);
            let sender = QueueEnd::new(&many, true, 0);
            let [receiver, victim] = [0, 1].map(|seat| QueueEnd::new(&many, false, seat));
            sender.send(1, FOREVER).unwrap();
            let receives = thread::spawn({
                let many = many.clone();
                move || {
                    let mut got = None;
                    let stopped = stops(|| got = victim.recv(Patience::Try).ok());
                    if swept {
                        many.detach(false, 1, held, if stopped { DIED } else { LEFT });
                    }
                    (got, stopped)
                }
            });
            let mut rest: Vec<u64> = receiver.recv(Patience::Try).into_iter().collect();
            sender.send(2, FOREVER).unwrap();
            rest.extend(receiver.recv(Patience::Try));
            let (got, stopped) = receives.join().unwrap();
            many.detach(false, 1, held, DIED);
            while let Ok(n) = receiver.recv(Patience::Try) {
                rest.push(n);
            }
            let mut all: Vec<u64> = got.iter().copied().chain(rest.iter().copied()).collect();
            all.sort_unstable();
            let lost_at_most = u64::from(stopped && got.is_none());
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "twice: {got:?}, {rest:?}");
            assert!(all.len() as u64 + lost_at_most >= 2, "lost: {got:?}, {rest:?}, stopped {stopped}");
        });
    }
}

/// The sender of a broadcast is killed: each receiver has what was published, and a successor goes on.
#[test]
fn loom_stops_broadcast_sender() {
    explore_stops("broadcast, the sender is killed", || {
        let radio = broadcast::Radio::<Loom>::new(1, 1, SlowReceiver::Block);
        let mut receiver = broadcast::Receives::join(&radio, SlowReceiver::Block, Late::None);
        let mut sender = broadcast::Sends::new(&radio);
        let sends = thread::spawn({
            let radio = radio.clone();
            move || {
                let mut done = 0;
                let stopped = stops(|| {
                    for n in 1..=MESSAGES {
                        sender.send(n, FOREVER, true).unwrap();
                        done = n;
                    }
                });
                radio.sender_goes(if stopped { DIED } else { LEFT });
                (done, stopped)
            }
        });
        let mut got = 0;
        while let Ok((place, value)) = receiver.recv(FOREVER, false) {
            got += 1;
            assert_eq!((place, value), (got - 1, got));
        }
        let (done, stopped) = sends.join().unwrap();
        assert!(may_be(got, done, stopped), "{got} received, {done} sent");
        radio.sender.attach(2).unwrap();
        let mut successor = broadcast::Sends::new(&radio);
        for n in 5..8 {
            successor.send(n, Patience::Try, true).unwrap();
            assert_eq!(receiver.recv(Patience::Try, false).map(|came| came.1), Ok(n));
        }
    });
}

/// A receiver of a broadcast that is waited for is killed: the sender waits for it no more.
#[test]
fn loom_stops_broadcast_receiver() {
    for in_place in [false, true] {
        let how = if in_place { "in place" } else { "copying" };
        explore_stops(&format!("broadcast, a receiver is killed, {how}"), move || {
            let radio = broadcast::Radio::<Loom>::new(1, 1, SlowReceiver::Block);
            let mut receiver = broadcast::Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = broadcast::Sends::new(&radio);
            let receives = thread::spawn(move || {
                let stopped = stops(|| {
                    let (_, value) = receiver.recv(FOREVER, in_place).unwrap();
                    assert_eq!(value, 1);
                });
                receiver.goes(if stopped { DIED } else { LEFT });
            });
            for n in 1..=2 {
                sender.send(n, FOREVER, true).unwrap();
            }
            receives.join().unwrap();
        });
    }
}

/// A client of a service is killed: its server goes on to the next one.
#[test]
fn loom_stops_client() {
    for exclusive in [true, false] {
        let servers = if exclusive { 1 } else { 2 };
        explore_stops(&format!("request-reply, a client is killed, at most {servers} servers"), move || {
            let desk = reply::Desk::<Loom>::new(1, 1, exclusive, 2);
            let held = desk.held(true, 0);
            let (client, server) = (reply::Client::new(&desk, 0), reply::Server::new(&desk, 0));
            let calls = thread::spawn({
                let desk = desk.clone();
                move || {
                    stops(|| {
                        let _ = client.call(1);
                    });
                    desk.sweep(true, 0, held);
                }
            });
            loop {
                match server.take(FOREVER) {
                    Ok((hand, request)) => {
                        assert_eq!(request, 1);
                        server.reply(hand);
                    }
                    Err(stop) => {
                        assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                        break;
                    }
                }
            }
            calls.join().unwrap();
            desk.clients.attach(2, 1).unwrap();
            desk.sweep(true, 0, held); // late
            let next = reply::Client::new(&desk, 0);
            let asked = next.ask(7).unwrap();
            let (hand, request) = server.take(Patience::Try).unwrap();
            assert!(request == 7 && server.reply(hand));
            assert!(matches!(next.finish(asked, None), Ok(107)));
        });
    }
}

/// A server is killed: each call ends, with its reply or with the reason why there is none.
#[test]
fn loom_stops_server() {
    for exclusive in [true, false] {
        let servers = if exclusive { 1 } else { 2 };
        explore_stops(&format!("request-reply, a server is killed, at most {servers}"), move || {
            let desk = reply::Desk::<Loom>::new(1, 1, exclusive, 2);
            let held = desk.held(false, 0);
            let (client, server) = (reply::Client::new(&desk, 0), reply::Server::new(&desk, 0));
            let serves = thread::spawn({
                let desk = desk.clone();
                move || {
                    let stopped = stops(|| {
                        let (hand, _) = server.take(FOREVER).unwrap();
                        server.reply(hand);
                    });
                    desk.sweep(false, 0, held);
                    stopped
                }
            });
            let ended = client.call(1);
            let stopped = serves.join().unwrap();
            match ended {
                Ok(reply) => assert_eq!(reply, 101),
                Err(Ended::Refused(why::DIED) | Ended::GivenUp { stop: Stop::Gone(_), .. }) => {
                    assert!(stopped)
                }
                Err(other) => panic!("{other:?}"),
            }
        });
    }
}

/// A server is killed while its client gives up: the client has its slot again, and the next server answers.
#[test]
fn loom_stops_server_of_a_call_that_is_given_up() {
    for exclusive in [true, false] {
        let servers = if exclusive { 1 } else { 2 };
        explore_stops(
            &format!("request-reply, given up, its server is killed, at most {servers}"),
            move || {
                let desk = reply::Desk::<Loom>::new(1, 1, exclusive, 1);
                let held = desk.held(false, 0);
                let (client, server) = (reply::Client::new(&desk, 0), reply::Server::new(&desk, 0));
                let serves = thread::spawn({
                    let desk = desk.clone();
                    move || {
                        stops(|| {
                            if let Ok((hand, _)) = server.take(Patience::Try) {
                                server.reply(hand);
                            }
                        });
                        desk.sweep(false, 0, held);
                    }
                });
                // It may be dead already.
                let asked = client.ask(1);
                if let Ok(reply) = asked.map(|asked| client.finish(asked, Some(Instant::now()))) {
                    assert!(
                        matches!(reply, Ok(101) | Err(Ended::GivenUp { .. } | Ended::Refused(_))),
                        "{reply:?}"
                    );
                }
                serves.join().unwrap();
                desk.servers.attach(2, 1).unwrap();
                desk.sweep(false, 0, held); // late
                let next = reply::Server::new(&desk, 0);
                let ask = || client.ask_within(7, Patience::Try);
                let asked =
                    ask().or_else(|stop| if matches!(stop, Stop::Gone(_)) { ask() } else { Err(stop) });
                let (hand, request) = next.take(Patience::Try).unwrap();
                assert!(request == 7 && next.reply(hand));
                assert_eq!(client.finish(asked.unwrap(), None), Ok(107));
            },
        );
    }
}
