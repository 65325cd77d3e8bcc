//! Request-reply: clients that give up, servers that answer late; who stops and dies in the middle.
//!
//! Request and reply are watched cells: loom fails if one side reads what the other may write (service.rs, V1).

#![allow(unsafe_code)] // The slots' bytes.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::thread;

use super::machine::{explore, explore_within, quiet, Loom, LoomU64};
use super::select::{choose, Looks};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::select::turn::At;
use crate::channel::service::{
    why, Asked, ClientParty, ClientSide, Ended, Hand, Place, Places, ServerParty, ServerSide, Service, Terms,
};
use crate::channel::side::{Side, DIED};
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);
/// Seats of each direction that the model has, and slots of a lane.
const ENDS: usize = 2;
const SLOTS: usize = 2;
/// Instead of a PCB: it wakes nobody.
const MUTE: usize = usize::MAX;

/// Request and reply.
struct Body {
    request: UnsafeCell<u64>,
    reply: UnsafeCell<u64>,
}

struct Desk {
    clients: Box<Crowd<Loom>>,
    servers: Box<Crowd<Loom>>,
    words: Vec<LoomU64>,
    waiters: Vec<LoomU64>,
    bodies: Vec<Body>,
    pcbs: Vec<Pcb<Loom>>,
    /// Of the one select that there is: references from 100 on are its operations.
    set: ReadySet<Loom, 1>,
    terms: Terms,
}

// SAFETY: the bodies are guarded by the protocol, and watched.
unsafe impl Sync for Desk {}
// SAFETY: as above.
unsafe impl Send for Desk {}

struct HeapPlaces(*const Desk);
// SAFETY: the model outlives its services.
unsafe impl Send for HeapPlaces {}
// SAFETY: as above.
unsafe impl Sync for HeapPlaces {}

impl Places<Loom> for HeapPlaces {
    fn place(&self, lane: usize, slot: usize) -> Option<Place<'_, Loom>> {
        // SAFETY: the model outlives its services.
        let desk = unsafe { &*self.0 };
        if slot >= desk.terms.slots {
            return None;
        }
        let at = lane * SLOTS + slot;
        let body = std::ptr::from_ref(desk.bodies.get(at)?).cast::<u8>().cast_mut();
        Some(Place { word: desk.words.get(at)?, waiter: desk.waiters.get(at)?, body })
    }
}

impl Ground<Loom> for (&Desk, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, pcb_ref: u64) {
        if self.1 == MUTE {
            return;
        }
        let pcb_ref = match pcb_ref.checked_sub(100) {
            Some(operation) => self.0.set.deliver(operation as usize).unwrap_or(0),
            None => pcb_ref,
        };
        if let Some(pcb) = pcb_ref.checked_sub(1).and_then(|i| self.0.pcbs.get(i as usize)) {
            pcb.wake_up(0);
        }
    }
    fn resolve(&self, _reference: u64, _length: u64) -> Option<*mut u8> {
        None
    }
    fn stage(&self, _parity: usize, _length: usize) -> Option<(u64, *mut u8)> {
        None
    }
    fn adopt(&self, _storage: *const u8) {}
    fn abandoned(&self, _storage: *const u8) {}
}

fn body(bytes: *const u8) -> &'static Body {
    // SAFETY: a body of the model, which outlives its calls.
    unsafe { &*bytes.cast::<Body>() }
}

impl Desk {
    fn new(clients: usize, servers: usize, exclusive: bool, slots: usize) -> Arc<Desk> {
        let seat = |number: usize| match number < ENDS {
            true => quiet(Seat::new).with_side(Side::new()),
            false => quiet(Seat::new),
        };
        let bits = |number: usize| {
            let mut seat = seat(number);
            if number < clients {
                seat.words = std::array::from_fn(|_| LoomU64::new(0));
            }
            seat
        };
        let bodies = || Body { request: UnsafeCell::new(0), reply: UnsafeCell::new(0) };
        let desk = Desk {
            clients: Crowd::boxed(bits),
            servers: Crowd::boxed(seat),
            words: (0..clients * SLOTS).map(|_| LoomU64::new(0)).collect(),
            waiters: (0..clients * SLOTS).map(|_| LoomU64::new(0)).collect(),
            bodies: (0..clients * SLOTS).map(|_| bodies()).collect(),
            pcbs: (0..2 * ENDS).map(|_| Pcb::new()).collect(),
            set: ReadySet::new(),
            terms: Terms { calls: slots as u32, slots, exclusive },
        };
        for (crowd, ends) in [(&desk.clients, clients), (&desk.servers, servers)] {
            for _ in 0..ends {
                crowd.attach(1, ends).unwrap();
            }
        }
        Arc::new(desk)
    }

    fn service(&self) -> Service<Loom, HeapPlaces> {
        let (clients, servers) = (NonNull::from(&*self.clients), NonNull::from(&*self.servers));
        // SAFETY: the model outlives its services.
        unsafe { Service::new(clients, servers, self.terms, HeapPlaces(self)) }
    }

    fn crowd(&self, is_client: bool) -> &Crowd<Loom> {
        if is_client {
            &self.clients
        } else {
            &self.servers
        }
    }

    fn held(&self, is_client: bool, seat: usize) -> Word {
        self.crowd(is_client).seat(seat).side.end()
    }

    /// As `channel::desk` does it, in one of several sweepers.
    fn sweep(&self, is_client: bool, seat: usize, held: Word) {
        let service = self.service();
        let side = &self.crowd(is_client).seat(seat).side;
        let wake = |waiter: u64| (self, 0).wake(waiter);
        let still = || side.end().awake() == held.awake();
        if is_client {
            service.settle_client(seat, still);
        } else {
            service.settle_server(seat, why::DIED, still, wake);
        }
        if !side.detach(held, DIED) {
            return;
        }
        if is_client {
            self.clients.departed();
            self.servers.wake(self.servers.sleepers_after_rmw(), |side| wake(side.pcb_ref()));
        } else {
            self.servers.departed();
            service.tell_clients(wake);
        }
    }
}

struct Client {
    desk: Arc<Desk>,
    service: Service<Loom, HeapPlaces>,
    side: ClientSide,
    memory: Memory,
    tally: Tally<Loom>,
}

impl Client {
    fn new(desk: &Arc<Desk>, seat: usize) -> Client {
        let service = desk.service();
        let side = service.enter_client(seat);
        let memory = Memory::of(Word(0), desk.servers.end(), Wait::Park);
        Client { desk: desk.clone(), service, side, memory, tally: quiet(Tally::new) }
    }

    fn with<R>(&self, f: impl FnOnce(ClientParty<'_, Loom, HeapPlaces, (&Desk, usize)>) -> R) -> R {
        f(ClientParty {
            service: &self.service,
            side: &self.side,
            ground: &(&*self.desk, self.side.seat),
            tally: &self.tally,
            memory: &self.memory,
        })
    }

    fn ask(&self, request: u64) -> Result<Asked, Stop> {
        self.ask_within(request, FOREVER)
    }

    fn ask_within(&self, request: u64, patience: Patience) -> Result<Asked, Stop> {
        // SAFETY: the slot is ours to write (V1), and loom watches.
        let fill = |bytes: *mut u8| body(bytes).request.with_mut(|at| unsafe { *at = request });
        self.with(|party| party.ask(patience, fill))
    }

    fn finish(&self, asked: Asked, deadline: Option<Instant>) -> Result<u64, Ended> {
        match self.with(|party| party.finish(asked, deadline)) {
            // SAFETY: the slot is ours (V1), and loom watches.
            Ended::Replied(bytes) => Ok(body(bytes).reply.with(|at| unsafe { *at })),
            other => Err(other),
        }
    }

    fn call(&self, request: u64) -> Result<u64, Ended> {
        let asked = self.ask(request).map_err(|stop| Ended::GivenUp { stop, request: None })?;
        self.finish(asked, None)
    }
}

struct Server {
    desk: Arc<Desk>,
    service: Service<Loom, HeapPlaces>,
    side: ServerSide,
    memory: Memory,
    tally: Tally<Loom>,
    /// Does it come to wake anybody?
    rings: bool,
}

impl Server {
    fn new(desk: &Arc<Desk>, seat: usize) -> Server {
        let service = desk.service();
        let held = desk.held(false, seat).sequence();
        let side = service.enter_server(seat, held, |waiter| (&**desk, 0).wake(waiter));
        let memory = Memory::of(Word(0), desk.clients.end(), Wait::Park);
        Server { desk: desk.clone(), service, side, memory, tally: quiet(Tally::new), rings: true }
    }

    fn with<R>(&self, f: impl FnOnce(ServerParty<'_, Loom, HeapPlaces, (&Desk, usize)>) -> R) -> R {
        f(ServerParty {
            service: &self.service,
            side: &self.side,
            ground: &(&*self.desk, if self.rings { ENDS + self.side.seat } else { MUTE }),
            tally: &self.tally,
            memory: &self.memory,
        })
    }

    fn take(&self, patience: Patience) -> Result<(Hand, u64), Stop> {
        let hand = self.with(|party| party.take(patience))?;
        Ok((hand, request(hand)))
    }

    fn reply(&self, hand: Hand) -> bool {
        let reply = request(hand) + 100;
        // SAFETY: the slot is in our hand (V1), and loom watches.
        body(hand.body).reply.with_mut(|at| unsafe { *at = reply });
        self.with(|party| party.reply(hand))
    }

    /// Answers until it has answered `last`.
    fn serve(&self, last: u64) {
        loop {
            let (hand, request) = self.take(FOREVER).unwrap();
            self.reply(hand);
            if request == last {
                return;
            }
        }
    }
}

fn request(hand: Hand) -> u64 {
    // SAFETY: the slot is in our hand (V1), and loom watches.
    body(hand.body).request.with(|at| unsafe { *at })
}

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
                        assert_eq!(body(bytes).request.with(|at| unsafe { *at }), 1);
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
