//! Request-reply: clients that give up, servers that answer late; who stops and dies in the middle.
//!
//! Request and reply are watched cells: loom fails if one side reads what the other may write (service.rs, V1).

#![allow(unsafe_code)] // a slot is looked into

use std::sync::atomic::Ordering::AcqRel;
use std::time::Instant;

use loom::thread;

use super::checker::Watched;
use super::exhaustive::{explore, explore_within, Loom};
use super::select::{choose, Looks};
use super::world::reply::ENDS;
use super::world::reply::{self, body};
use super::world::FOREVER;
use crate::channel::call::{Patience, Stop};
use crate::channel::select::turn::At;
use crate::channel::service::{why, Ended, BITS};
use crate::channel::side::DIED;
use crate::memory::platform::Word64;

type Desk = reply::Desk<Loom>;
type Client = reply::Client<Loom>;
type Server = reply::Server<Loom>;

#[test]
fn loom_reply_calls_in_turn() {
    for exclusive in [true, false] {
        explore("request-reply, two calls", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let serves = thread::spawn(move || server.serve(2));
            assert_eq!(client.call(1), Ok(101));
            assert_eq!(client.call(2), Ok(102));
            serves.join().unwrap();
        });
    }
}

/// Found in the order in which they were asked; answered in the other.
#[test]
fn loom_reply_two_calls_under_way() {
    explore("request-reply, two calls under way", || {
        let desk = Desk::new(1, 1, true, 2);
        let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
        let serves = thread::spawn(move || {
            let ((first, one), (second, two)) =
                (server.take(FOREVER).unwrap(), server.take(FOREVER).unwrap());
            assert_eq!((one, two), (1, 2));
            assert!(server.reply(second) && server.reply(first));
        });
        let (first, second) = (client.ask(1).unwrap(), client.ask(2).unwrap());
        assert_eq!(client.finish(first, None), Ok(101));
        assert_eq!(client.finish(second, None), Ok(102));
        serves.join().unwrap();
    });
}

#[test]
fn loom_reply_two_clients() {
    explore_within(1, "request-reply, two clients", || {
        let desk = Desk::new(2, 1, true, 1);
        let server = Server::new(&desk, 0);
        let clients = [0, 1].map(|seat| {
            let client = Client::new(&desk, seat);
            thread::spawn(move || assert_eq!(client.call(seat as u64), Ok(100 + seat as u64)))
        });
        for _ in 0..2 {
            let (hand, _) = server.take(FOREVER).unwrap();
            assert!(server.reply(hand));
        }
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn loom_reply_two_servers() {
    explore("request-reply, two servers", || {
        let desk = Desk::new(1, 2, false, 2);
        let client = Client::new(&desk, 0);
        // Asked before they look: who sleeps in a crowd is the queue's model.
        let (first, second) = (client.ask(1).unwrap(), client.ask(2).unwrap());
        let other = Server::new(&desk, 1);
        let serves = thread::spawn(move || {
            let (hand, _) = other.take(Patience::Try).unwrap();
            assert!(other.reply(hand));
        });
        let server = Server::new(&desk, 0);
        let (hand, _) = server.take(Patience::Try).unwrap();
        assert!(server.reply(hand));
        assert_eq!(client.finish(first, None), Ok(101));
        assert_eq!(client.finish(second, None), Ok(102));
        serves.join().unwrap();
    });
}

/// Of two servers one has taken a request and not yet cleared its bit: what is asked in that slot next is not found before what was
/// asked before it (V6).
#[test]
fn loom_reply_order_with_two_servers() {
    explore("request-reply, a bit that is late", || {
        let desk = Desk::new(1, 2, false, 2);
        let (client, slow) = (Client::new(&desk, 0), Server::new(&desk, 1));
        let (first, second) = (client.ask(1).unwrap(), client.ask(2).unwrap());
        let ((one, _), (two, _)) = (slow.take(Patience::Try).unwrap(), slow.take(Patience::Try).unwrap());
        // As if it had been stopped in between.
        let bits = &desk.clients.seat(0).words[BITS];
        bits.fetch_or(1 << 1, AcqRel);
        let serves = thread::spawn({
            let server = Server::new(&desk, 0);
            move || [(); 2].map(|()| server.take(Patience::Try).map(|(_, request)| request).unwrap_or(0))
        });
        bits.fetch_and(!(1 << 1), AcqRel);
        assert!(slow.reply(one) && slow.reply(two));
        assert_eq!((client.finish(first, None), client.finish(second, None)), (Ok(101), Ok(102)));
        let (_third, _fourth) = (client.ask(3).unwrap(), client.ask(4).unwrap());
        let taken = serves.join().unwrap();
        assert!(taken != [4, 3] && taken != [4, 0], "{taken:?}");
    });
}

/// A client gives up while the server may answer: a reply or none, and the next call gets its own; from the same slot
/// if there is but one, once the server is done with it.
#[test]
fn loom_reply_client_gives_up() {
    for (exclusive, slots) in [(true, 1), (true, 2), (false, 1)] {
        explore("request-reply, a client gives up", move || {
            let desk = Desk::new(1, 1, exclusive, slots);
            let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let serves = thread::spawn(move || server.serve(2));
            let asked = client.ask(1).unwrap();
            match client.finish(asked, Some(Instant::now())) {
                Ok(reply) => assert_eq!(reply, 101),
                Err(Ended::GivenUp { stop: Stop::TimedOut, request }) => {
                    if let Some(bytes) = request {
                        // SAFETY: no server took it, so it is ours (V1), and loom watches.
                        assert_eq!(body::<Loom>(bytes).request.with(|at| unsafe { *at }), 1);
                    }
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(client.call(2), Ok(102));
            serves.join().unwrap();
        });
    }
}

/// A server dies with a request in hand; two sweep. The client is told once, and a successor answers what comes next.
#[test]
fn loom_reply_server_dies() {
    for exclusive in [true, false] {
        explore("request-reply, a server dies with a request in hand, two sweepers", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (client, dead) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let held = desk.held(false, 0);
            let asked = client.ask(1).unwrap();
            assert_eq!(dead.take(Patience::Try).map(|(_, request)| request), Ok(1));
            let sweeps = thread::spawn({
                let desk = desk.clone();
                move || desk.sweep(false, 0, held)
            });
            let waits = thread::spawn(move || {
                assert_eq!(client.finish(asked, None), Err(Ended::Refused(why::DIED)));
            });
            desk.sweep(false, 0, held);
            waits.join().unwrap();
            sweeps.join().unwrap();
        });
    }
}

/// As above; what the client asks next meets late sweepers and a successor, which has it in hand (V4).
#[test]
fn loom_reply_late_sweeper_and_successor() {
    explore_within(1, "request-reply, a late sweeper and the next only server", || {
        let desk = Desk::new(1, 1, true, 1);
        let client = Client::new(&desk, 0);
        drop(Server::new(&desk, 0));
        let held = desk.held(false, 0);
        let sweeps = thread::spawn({
            let desk = desk.clone();
            move || desk.sweep(false, 0, held)
        });
        let calls = thread::spawn(move || {
            let first = client.call(1);
            assert!(first.is_err() || first == Ok(101), "{first:?}");
            if let Ok(asked) = client.ask_within(2, Patience::Try) {
                // Who comes too late waits for the next server: not for ever here.
                let second = client.finish(asked, Some(Instant::now()));
                assert!(second.is_err() || second == Ok(102), "{second:?}");
            }
        });
        desk.sweep(false, 0, held);
        desk.servers.attach(2, 1).unwrap();
        let server = Server::new(&desk, 0);
        for _ in 0..2 {
            if let Ok((hand, _)) = server.take(Patience::Try) {
                server.reply(hand);
            }
        }
        let held = desk.held(false, 0);
        desk.sweep(false, 0, held); // whoever waits still is told
        calls.join().unwrap();
        sweeps.join().unwrap();
    });
}

/// A sweeper is stopped with the word of a request in its hand that another sweeper had come too early for: what the next only
/// server has taken is not refused under its hands (V4).
#[test]
fn loom_reply_a_request_between_two_sweepers() {
    explore_within(1, "request-reply, a sweeper that comes back to a successor's request", || {
        let desk = Desk::new(1, 1, true, 1);
        let client = Client::new(&desk, 0);
        let held = desk.held(false, 0);
        let asked = client.ask(1).unwrap(); // after the first sweeper had passed its slot
        let sweeps = thread::spawn({
            let desk = desk.clone();
            move || desk.sweep(false, 0, held)
        });
        let calls = thread::spawn(move || {
            let first = client.finish(asked, None);
            // As soon as the slot is its own it writes there.
            let _ = client.ask_within(2, Patience::Try);
            first
        });
        desk.servers.seat(0).side.detach(held, DIED); // the rest of the first sweeper
        desk.servers.departed();
        desk.servers.attach(2, 1).unwrap();
        let server = Server::new(&desk, 0);
        if let Ok((hand, 1)) = server.take(Patience::Try) {
            server.reply(hand);
        }
        desk.sweep(false, 0, desk.held(false, 0)); // whoever waits still is told
        let first = calls.join().unwrap();
        assert!(first.is_err() || first == Ok(101), "{first:?}");
        sweeps.join().unwrap();
    });
}

/// A client dies while the server has its request in hand; two sweep; the next client in the seat gets its own reply.
#[test]
fn loom_reply_client_dies() {
    for exclusive in [true, false] {
        explore_within(1, "request-reply, a client dies, the next one calls", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (dead, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let held = desk.held(true, 0);
            dead.ask(1).unwrap();
            let serves = thread::spawn(move || loop {
                match server.take(FOREVER) {
                    Ok((hand, 1)) => drop(server.reply(hand)),
                    Ok((hand, request)) => {
                        assert_eq!(request, 2);
                        assert!(server.reply(hand));
                        return;
                    }
                    Err(stop) => assert!(matches!(stop, Stop::Gone(_)), "{stop:?}"),
                }
            });
            desk.sweep(true, 0, held);
            desk.clients.attach(2, 1).unwrap();
            let successor = Client::new(&desk, 0);
            assert_eq!(successor.call(2), Ok(102));
            serves.join().unwrap();
        });
    }
}

/// A server dies between its reply and the wake-up: who sweeps wakes.
#[test]
fn loom_reply_server_dies_before_its_wake_up() {
    for exclusive in [true, false] {
        explore("request-reply, a server dies between reply and wake-up", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (client, mut dead) = (Client::new(&desk, 0), Server::new(&desk, 0));
            dead.rings = false;
            let held = desk.held(false, 0);
            let asked = client.ask(1).unwrap();
            let waits = thread::spawn(move || assert_eq!(client.finish(asked, None), Ok(101)));
            let (hand, _) = dead.take(Patience::Try).unwrap();
            dead.reply(hand);
            desk.sweep(false, 0, held);
            waits.join().unwrap();
        });
    }
}

/// The only server leaves while the client waits: told, whatever it had seen.
#[test]
fn loom_reply_server_leaves_unasked() {
    for exclusive in [true, false] {
        explore("request-reply, the server leaves while a client asks", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let client = Client::new(&desk, 0);
            let held = desk.held(false, 0);
            let asks = thread::spawn(move || client.call(1).unwrap_err());
            desk.sweep(false, 0, held);
            let told = asks.join().unwrap();
            let gone = matches!(told, Ended::GivenUp { stop: Stop::Gone(_), .. } | Ended::Refused(why::DIED));
            assert!(gone, "{told:?}");
        });
    }
}

/// A server that selects hears of each request, and of its last client's end.
#[test]
fn loom_reply_select_of_a_server() {
    for exclusive in [true, false] {
        explore("request-reply, the server selects", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let calls = thread::spawn(move || {
                assert_eq!(client.call(1), Ok(101));
                client.desk.sweep(true, 0, client.desk.held(true, 0));
            });
            let select = || {
                let own = (&desk.pcbs[ENDS], ENDS as u64 + 1);
                choose(
                    &desk.set,
                    own,
                    (100, 0),
                    &[&Looks(|at: At| server.with(|party| party.look(at.entry)))],
                );
            };
            select();
            let (hand, _) = server.take(Patience::Try).unwrap();
            assert!(server.reply(hand));
            select();
            assert!(matches!(server.take(Patience::Try), Err(Stop::Gone(end)) if end.state() == DIED));
            calls.join().unwrap();
        });
    }
}

/// What a client gave up before its server looked is the client's again: the server's look sees to it.
#[test]
fn loom_reply_select_cleans_up() {
    explore("request-reply, a server's look at what was given up", || {
        let desk = Desk::new(1, 1, true, 1);
        let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
        let calls = thread::spawn(move || {
            let asked = client.ask(1).unwrap();
            client.with(|party| party.give_up(asked, Stop::TimedOut));
            // It needs the slot that it gave up.
            assert_eq!(client.call(2), Ok(102));
        });
        loop {
            let own = (&desk.pcbs[ENDS], ENDS as u64 + 1);
            choose(&desk.set, own, (100, 0), &[&Looks(|at: At| server.with(|party| party.look(at.entry)))]);
            // The request may have been given up since.
            let Ok((hand, request)) = server.take(Patience::Try) else { continue };
            server.reply(hand);
            if request == 2 {
                break;
            }
        }
        calls.join().unwrap();
    });
}

/// Two calls of one client, each an operation of its own; the one that is answered is the one that is told.
#[test]
fn loom_reply_select_of_calls() {
    for first in [0, 1] {
        explore("request-reply, two calls of a select", move || {
            let desk = Desk::new(1, 1, true, 2);
            let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let asked = [client.ask(1).unwrap(), client.ask(2).unwrap()];
            let answers = thread::spawn(move || {
                let hands = [server.take(Patience::Try).unwrap(), server.take(Patience::Try).unwrap()];
                assert!(server.reply(hands[first].0));
                server
            });
            let looks = asked.map(|asked| {
                let client = &client;
                Looks(move |at: At| client.with(|party| party.look(asked, at.entry)))
            });
            let chosen = choose(&desk.set, (&desk.pcbs[0], 1), (100, 0), &[&looks[0], &looks[1]]);
            assert_eq!(chosen, first);
            let ended = client.with(|party| party.try_finish(asked[first]));
            assert!(matches!(ended, Some(Ended::Replied(_))), "{ended:?}");
            assert!(client.with(|party| party.try_finish(asked[1 - first])).is_none());
            answers.join().unwrap();
        });
    }
}

/// The last server dies, with the request in its hand, or before it saw it: then, if others could come, only its end says so.
#[test]
fn loom_reply_select_of_a_call_and_a_death() {
    for (exclusive, takes) in [(true, true), (false, true), (false, false)] {
        explore("request-reply, a call of a select, the server dies", move || {
            let desk = Desk::new(1, 1, exclusive, 1);
            let (client, server) = (Client::new(&desk, 0), Server::new(&desk, 0));
            let asked = client.ask(1).unwrap();
            let dies = thread::spawn(move || {
                if takes {
                    let _ = server.take(Patience::Try);
                }
                server.desk.sweep(false, 0, server.desk.held(false, 0));
            });
            let look = Looks(|at: At| client.with(|party| party.look(asked, at.entry)));
            choose(&desk.set, (&desk.pcbs[0], 1), (100, 0), &[&look]);
            let ended = client.with(|party| party.try_finish(asked));
            match ended {
                Some(Ended::Refused(why::DIED)) => assert!(takes || exclusive),
                Some(Ended::GivenUp { stop: Stop::Gone(_), request: Some(_) }) => assert!(!takes),
                other => panic!("{other:?}"),
            }
            dies.join().unwrap();
        });
    }
}
