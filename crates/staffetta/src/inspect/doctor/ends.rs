//! A channel as the doctor reads it: who holds which end, and whom each end would wake.
//!
//! Every word is copied once, and checked before it is followed (`inspect`, I1).

use std::sync::atomic::Ordering::Relaxed;

use crate::channel::broadcast::{place, CURSOR, MODE};
use crate::channel::crowd::{Crowd, SEATS_MAX};
use crate::channel::record::{state, Record};
use crate::channel::side::{Side, ATTACHED};
use crate::channel::spec::{Kind, Spec};
use crate::channel::{desk, many};
use crate::inspect::channel::spec;
use crate::memory::map;
use crate::memory::reading::Reading;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::reference;

/// One end, held or not.
pub struct Seat {
    /// Its number.
    pub seat: usize,
    /// Its end word.
    pub end: Word,
    /// Offset of whom it wants to be woken: a PCB, or an operation of a select.
    pub wakes: Option<u64>,
}

/// Where an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Nowhere.
    Nobody,
    /// In a message.
    Message,
    /// With the process in this slot.
    Process(u16),
}

impl Seat {
    /// Who holds it.
    pub fn holder(&self) -> Holder {
        match (self.end.state(), self.end.slot()) {
            (ATTACHED, IN_MESSAGE) => Holder::Message,
            (ATTACHED, slot) => Holder::Process(slot),
            _ => Holder::Nobody,
        }
    }
}

/// A slot of a client's lane.
pub struct Call {
    /// The client's seat.
    pub lane: usize,
    /// The slot's word.
    pub word: Word,
    /// Offset of whom the client wants to be woken.
    pub wakes: Option<u64>,
}

/// A channel.
pub struct Ends {
    /// Index of its record.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What it is.
    pub spec: Spec,
    /// The sending ends; of a service, the clients.
    pub senders: Vec<Seat>,
    /// The receiving ends; of a service, the servers.
    pub receivers: Vec<Seat>,
    /// Of a service.
    pub calls: Vec<Call>,
    /// Of a broadcast: the seats that its sender waits for, if it does.
    pub slow: Vec<usize>,
}

impl Ends {
    /// The channel in record `index`. None: there is none, or it makes no sense.
    pub fn read(reading: &Reading, window_base: u64, index: usize) -> Option<Ends> {
        if index >= map::CHANNELS_MAX {
            return None;
        }
        let record = reading.copy::<Record>(map::CHANNELS + index as u64 * map::CHANNEL_BYTES).ok()?;
        if !matches!(Word(record.state.load(Relaxed)).state(), state::NAMED | state::UNNAMED) {
            return None;
        }
        let spec = spec(reading, &record)?;
        let read = Read { reading, window_base, record: &record, spec: &spec };
        let (mut calls, mut slow) = (Vec::new(), Vec::new());
        let (senders, receivers) = match spec.kind {
            Kind::Rendezvous | Kind::Basic | Kind::Buffered => {
                (vec![read.seat(0, &record.sender)], vec![read.seat(0, &record.receiver)])
            }
            Kind::Queue | Kind::Service => {
                let [first, second] = read.crowds()?;
                if spec.kind == Kind::Service {
                    calls = read.calls(&first);
                }
                (read.seats(&first), read.seats(&second))
            }
            Kind::Broadcast | Kind::Latest => {
                let crowd = read.receivers()?;
                slow = read.slow(&crowd).unwrap_or_default();
                (vec![read.seat(0, &record.sender)], read.seats(&crowd))
            }
        };
        Some(Ends { index, name: record.name(), senders, receivers, calls, slow, spec })
    }
}

struct Read<'r> {
    reading: &'r Reading,
    window_base: u64,
    record: &'r Record,
    spec: &'r Spec,
}

impl Read<'_> {
    /// The offset that a reference names.
    fn offset(&self, reference: u64) -> Option<u64> {
        if reference == 0 {
            return None;
        }
        reference::offset(self.spec.method, self.window_base, reference)
    }

    fn seat(&self, seat: usize, side: &Side) -> Seat {
        Seat { seat, end: side.end(), wakes: self.offset(side.pcb_ref()) }
    }

    /// Seats that were ever taken.
    fn seats(&self, crowd: &Crowd) -> Vec<Seat> {
        let all = crowd.seats().iter().enumerate().map(|(seat, one)| self.seat(seat, &one.side));
        all.filter(|seat| seat.end.0 != 0).collect()
    }

    /// Both crowds of a queue, or a service.
    fn crowds(&self) -> Option<[Box<Crowd>; 2]> {
        let block = self.record.ring.load(Relaxed);
        let first = self.reading.copy::<Crowd>(block).ok()?;
        Some([first, self.reading.copy::<Crowd>(block.checked_add(many::CROWD_BYTES)?).ok()?])
    }

    /// The receivers of a broadcast.
    fn receivers(&self) -> Option<Box<Crowd>> {
        let at = self.record.ring.load(Relaxed).checked_add(place::CROWD_AT)?;
        self.reading.copy::<Crowd>(at).ok()
    }

    fn calls(&self, clients: &Crowd) -> Vec<Call> {
        let Some((stride, slots)) = desk::lane_shape(self.spec) else {
            return Vec::new();
        };
        let mut calls = Vec::new();
        for (lane, seat) in clients.seats().iter().enumerate() {
            let first = seat.words[many::LANE].load(Relaxed);
            if first == 0 || seat.side.end().state() != ATTACHED {
                continue;
            }
            for slot in 0..slots {
                let at = stride.checked_mul(slot).and_then(|at| first.checked_add(at));
                let words = at.and_then(|at| self.reading.words(at, 2).ok()).unwrap_or_default();
                if let [word, waiter] = words[..] {
                    calls.push(Call { lane, word: Word(word), wakes: self.offset(waiter) });
                }
            }
        }
        calls
    }

    /// The receivers that are waited for and are furthest behind, or so far that there is no room for one message more.
    fn slow(&self, crowd: &Crowd) -> Option<Vec<usize>> {
        let waited_for = |number: usize| {
            let seat = crowd.seat(number);
            let end = seat.side.end();
            let mode = seat.words[MODE].load(Relaxed);
            let its = end.state() == ATTACHED && mode == (end.sequence() << 1 | 1);
            // 2n: n is the next one; 2n + 1: it is in hand.
            its.then(|| (number, seat.words[CURSOR].load(Relaxed).div_ceil(2)))
        };
        let taken: Vec<(usize, u64)> = (0..SEATS_MAX).filter_map(waited_for).collect();
        // The first word of its block (BroadcastHead): how many were published.
        let tail = *self.reading.words(self.record.ring.load(Relaxed), 1).ok()?.first()?;
        let full = tail.saturating_sub(self.spec.degree);
        let most = taken.iter().map(|(_, taken)| *taken).min()?.max(full);
        Some(taken.into_iter().filter(|(_, taken)| *taken <= most).map(|(seat, _)| seat).collect())
    }
}
