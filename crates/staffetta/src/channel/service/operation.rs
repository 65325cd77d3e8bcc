//! Of a service as operations of a select: a request came (a server), a reply came (a call).
//!
//! A server announces itself in its seat, as if it slept. A call is announced in its own slot (V7), so of many calls of
//! one client each is an operation of its own.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::client::{is_under_way, park};
use super::{Asked, ClientParty, Places, ServerParty, ABANDONED, ASKED};
use crate::channel::call::Ground;
use crate::channel::crowd::SEATS_MAX;
use crate::channel::select::look::{is_lost, Look};
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

impl<P: Platform, L: Places<P>, G: Ground<P>> ServerParty<'_, P, L, G> {
    /// Is a request there, or an error? `entry`: a look in vain is announced.
    pub fn look(&self, entry: Option<u64>) -> Look {
        let possible = || self.is_asked() || self.loses_clients();
        if possible() {
            return Look::Ready;
        }
        let Some(entry) = entry else {
            return Look::Not;
        };
        let servers = self.service.servers();
        servers.seat(self.side.seat).side.set_pcb_ref(entry);
        servers.announce(self.side.seat);
        if possible() {
            Look::Ready
        } else {
            Look::Not
        }
    }

    /// Does a request wait? What was abandoned meanwhile is its client's again.
    fn is_asked(&self) -> bool {
        let mut lanes = self.service.clients().place.load(Acquire);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize % SEATS_MAX;
            lanes &= lanes - 1;
            // Acquire: who sees a bit sees what was asked before it. Slot 0 has none (V5).
            let mut slots = self.service.bits(lane).load(Acquire) | 1;
            while slots != 0 {
                let slot = slots.trailing_zeros() as usize;
                slots &= slots - 1;
                let Some(place) =
                    self.service.places.place(lane, slot).filter(|_| slot < self.service.terms.slots)
                else {
                    continue;
                };
                let now = Word(place.word.load(Acquire));
                if !self.is_new(now, lane, slot) {
                    continue;
                }
                if now.state() != ABANDONED {
                    return true;
                }
                self.take_this(lane, slot, now, place.body);
            }
        }
        false
    }

    /// Have all clients gone, and will the next call say so?
    fn loses_clients(&self) -> bool {
        let clients = self.service.clients();
        let departures = clients.departures();
        if departures == self.side.departures.get() {
            return false;
        }
        let end = clients.end();
        let lost = is_lost(self.memory, end, clients.fell_by(end), false);
        if !lost {
            self.side.departures.set(departures);
        }
        lost
    }
}

impl<P: Platform, L: Places<P>, G: Ground<P>> ClientParty<'_, P, L, G> {
    /// Has the call ended, or is an error to be told? `entry`: a look in vain is announced.
    pub fn look(&self, asked: Asked, entry: Option<u64>) -> Look {
        let Ok(place) = self.place(asked.slot) else {
            return Look::Ready; // by an error
        };
        let possible = || {
            let now = Word(place.word.load(Acquire));
            !is_under_way(now, asked) || now.state() == ASKED && self.loses_servers()
        };
        if possible() {
            return Look::Ready;
        }
        let Some(entry) = entry else {
            return Look::Not;
        };
        if !park(&place, entry, |word| is_under_way(word, asked)) || possible() {
            Look::Ready
        } else {
            Look::Not
        }
    }

    /// Nobody is woken for the call any more.
    pub fn forget(&self, asked: Asked, entry: u64) {
        if let Ok(place) = self.place(asked.slot) {
            if place.waiter.load(Relaxed) == entry {
                place.waiter.store(0, Relaxed);
            }
        }
    }

    /// Have all servers gone, and will the next call say so?
    fn loses_servers(&self) -> bool {
        let servers = self.service.servers();
        let departures = servers.departures();
        if departures == self.side.departures.get() {
            return false;
        }
        let end = servers.end();
        let lost = is_lost(self.memory, end, servers.fell_by(end), false);
        if !lost {
            self.side.departures.set(departures);
        }
        lost
    }
}
