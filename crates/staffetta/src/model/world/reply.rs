//! A service between the threads of a model. Request and reply are watched: the checker fails if one side reads what the other
//! may write (service.rs, V1).

#![allow(unsafe_code)] // The slots' bytes.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::super::checker::{Checker, Watched};
use super::FOREVER;
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
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

/// Seats of each direction that the model has, and slots of a lane.
pub const ENDS: usize = 2;
const SLOTS: usize = 2;
/// Instead of a PCB: it wakes nobody.
const MUTE: usize = usize::MAX;

/// Request and reply.
pub struct Body<P: Checker> {
    pub request: P::Cell<u64>,
    pub reply: P::Cell<u64>,
}

pub struct Desk<P: Checker> {
    pub clients: Box<Crowd<P>>,
    pub servers: Box<Crowd<P>>,
    pub words: Vec<P::U64>,
    pub waiters: Vec<P::U64>,
    pub bodies: Vec<Body<P>>,
    pub pcbs: Vec<Pcb<P>>,
    /// Of the one select that there is: references from 100 on are its operations.
    pub set: ReadySet<P, 1>,
    pub terms: Terms,
}

// SAFETY: the bodies are guarded by the protocol, and watched.
unsafe impl<P: Checker> Sync for Desk<P> {}
// SAFETY: as above.
unsafe impl<P: Checker> Send for Desk<P> {}

pub struct HeapPlaces<P: Checker>(*const Desk<P>);
// SAFETY: the model outlives its services.
unsafe impl<P: Checker> Send for HeapPlaces<P> {}
// SAFETY: as above.
unsafe impl<P: Checker> Sync for HeapPlaces<P> {}

impl<P: Checker> Places<P> for HeapPlaces<P> {
    fn place(&self, lane: usize, slot: usize) -> Option<Place<'_, P>> {
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

impl<P: Checker> Ground<P> for (&Desk<P>, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
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

pub fn body<P: Checker>(bytes: *const u8) -> &'static Body<P> {
    // SAFETY: a body of the model, which outlives its calls.
    unsafe { &*bytes.cast::<Body<P>>() }
}

impl<P: Checker> Desk<P> {
    pub fn new(clients: usize, servers: usize, exclusive: bool, slots: usize) -> Arc<Desk<P>> {
        let seat = |number: usize| match number < ENDS {
            true => P::quiet(Seat::new).with_side(Side::new()),
            false => P::quiet(Seat::new),
        };
        let bits = |number: usize| {
            let mut seat = seat(number);
            if number < clients {
                seat.words = std::array::from_fn(|_| P::U64::new(0));
            }
            seat
        };
        let bodies = || Body { request: P::Cell::new(0), reply: P::Cell::new(0) };
        let desk = Desk {
            clients: Crowd::boxed(bits),
            servers: Crowd::boxed(seat),
            words: (0..clients * SLOTS).map(|_| P::U64::new(0)).collect(),
            waiters: (0..clients * SLOTS).map(|_| P::U64::new(0)).collect(),
            bodies: (0..clients * SLOTS).map(|_| bodies()).collect(),
            pcbs: (0..2 * ENDS).map(|_| Pcb::new()).collect(),
            set: ReadySet::new(),
            terms: Terms { calls: slots as u32, slots, exclusive, keeps: false },
        };
        for (crowd, ends) in [(&desk.clients, clients), (&desk.servers, servers)] {
            for _ in 0..ends {
                crowd.attach(1, ends).unwrap();
            }
        }
        Arc::new(desk)
    }

    pub fn service(&self) -> Service<P, HeapPlaces<P>> {
        let (clients, servers) = (NonNull::from(&*self.clients), NonNull::from(&*self.servers));
        // SAFETY: the model outlives its services.
        unsafe { Service::new(clients, servers, self.terms, HeapPlaces(self)) }
    }

    pub fn crowd(&self, is_client: bool) -> &Crowd<P> {
        if is_client {
            &self.clients
        } else {
            &self.servers
        }
    }

    pub fn held(&self, is_client: bool, seat: usize) -> Word {
        self.crowd(is_client).seat(seat).side.end()
    }

    /// As `channel::desk` does it, in one of several sweepers.
    pub fn sweep(&self, is_client: bool, seat: usize, held: Word) {
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

pub struct Client<P: Checker> {
    pub desk: Arc<Desk<P>>,
    pub service: Service<P, HeapPlaces<P>>,
    pub side: ClientSide,
    pub memory: Memory,
    pub tally: Tally<P>,
}

impl<P: Checker> Client<P> {
    pub fn new(desk: &Arc<Desk<P>>, seat: usize) -> Client<P> {
        let service = desk.service();
        let side = service.enter_client(seat);
        let memory = Memory::of(Word(0), desk.servers.end(), Wait::Park);
        Client { desk: desk.clone(), service, side, memory, tally: P::quiet(Tally::new) }
    }

    pub fn with<R>(&self, f: impl FnOnce(ClientParty<'_, P, HeapPlaces<P>, (&Desk<P>, usize)>) -> R) -> R {
        f(ClientParty {
            service: &self.service,
            side: &self.side,
            ground: &(&*self.desk, self.side.seat),
            tally: &self.tally,
            memory: &self.memory,
        })
    }

    pub fn ask(&self, request: u64) -> Result<Asked, Stop> {
        self.ask_within(request, FOREVER)
    }

    pub fn ask_within(&self, request: u64, patience: Patience) -> Result<Asked, Stop> {
        // SAFETY: the slot is ours to write (V1), and loom watches.
        let fill = |bytes: *mut u8| body::<P>(bytes).request.with_mut(|at| unsafe { *at = request });
        self.with(|party| party.ask(patience, fill))
    }

    pub fn finish(&self, asked: Asked, deadline: Option<Instant>) -> Result<u64, Ended> {
        match self.with(|party| party.finish(asked, deadline)) {
            // SAFETY: the slot is ours (V1), and loom watches.
            Ended::Replied(bytes) => Ok(body::<P>(bytes).reply.with(|at| unsafe { *at })),
            other => Err(other),
        }
    }

    pub fn call(&self, request: u64) -> Result<u64, Ended> {
        let asked = self.ask(request).map_err(|stop| Ended::GivenUp { stop, request: None })?;
        self.finish(asked, None)
    }
}

pub struct Server<P: Checker> {
    pub desk: Arc<Desk<P>>,
    pub service: Service<P, HeapPlaces<P>>,
    pub side: ServerSide,
    pub memory: Memory,
    pub tally: Tally<P>,
    /// Does it come to wake anybody?
    pub rings: bool,
}

impl<P: Checker> Server<P> {
    pub fn new(desk: &Arc<Desk<P>>, seat: usize) -> Server<P> {
        let service = desk.service();
        let held = desk.held(false, seat).sequence();
        let side = service.enter_server(seat, held, |waiter| (&**desk, 0).wake(waiter));
        let memory = Memory::of(Word(0), desk.clients.end(), Wait::Park);
        Server { desk: desk.clone(), service, side, memory, tally: P::quiet(Tally::new), rings: true }
    }

    pub fn with<R>(&self, f: impl FnOnce(ServerParty<'_, P, HeapPlaces<P>, (&Desk<P>, usize)>) -> R) -> R {
        f(ServerParty {
            service: &self.service,
            side: &self.side,
            ground: &(&*self.desk, if self.rings { ENDS + self.side.seat } else { MUTE }),
            tally: &self.tally,
            memory: &self.memory,
        })
    }

    pub fn take(&self, patience: Patience) -> Result<(Hand, u64), Stop> {
        let hand = self.with(|party| party.take(patience))?;
        Ok((hand, request::<P>(hand)))
    }

    pub fn reply(&self, hand: Hand) -> bool {
        let reply = request::<P>(hand) + 100;
        // SAFETY: the slot is in our hand (V1), and loom watches.
        body::<P>(hand.body).reply.with_mut(|at| unsafe { *at = reply });
        self.with(|party| party.reply(hand))
    }

    /// Answers until it has answered `last`.
    pub fn serve(&self, last: u64) {
        loop {
            let (hand, request) = self.take(FOREVER).unwrap();
            self.reply(hand);
            if request == last {
                return;
            }
        }
    }
}

pub fn request<P: Checker>(hand: Hand) -> u64 {
    // SAFETY: the slot is in our hand (V1), and loom watches.
    body::<P>(hand.body).request.with(|at| unsafe { *at })
}
