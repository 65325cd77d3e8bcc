//! A broadcast between the threads of a model.

#![allow(unsafe_code)] // The slots' bytes.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::Arc;

use super::super::checker::{Checker, Watched};
use super::select::{choose, Looks};
use super::Line;
use crate::channel::broadcast::{
    BroadcastHead, Cast, CastParty, CastReceiver, CastSender, Late, SlowReceiver, Taken,
};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::ring::{Shape, Slots};
use crate::channel::select::look::Look;
use crate::channel::select::turn::At;
use crate::channel::side::Side;
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::Wait;

const RING_BYTES: usize = 2048;

/// A broadcast between threads of a model.
pub struct Radio<P: Checker> {
    pub head: Box<BroadcastHead<P>>,
    pub sender: Side<P>,
    pub receivers: Box<Crowd<P>>,
    pub cells: Vec<P::U64>,
    pub ring: Vec<Line>,
    /// Whose the bytes of each slot are: loom reports conflicts.
    pub watched: Vec<P::Cell<()>>,
    /// Of the one select that there is: references from 100 on are its operations.
    pub set: ReadySet<P, 1>,
    pub shape: Shape,
    pub seats: usize,
    pub policy: SlowReceiver,
    /// The last one is the sender's.
    pub pcbs: Vec<Pcb<P>>,
    /// The first sender's end word.
    pub first: Word,
    /// Changed between the two halves of a message: loom lets others run there.
    pub between: P::U64,
}

// SAFETY: the slots' bytes are guarded by the protocol.
unsafe impl<P: Checker> Sync for Radio<P> {}
// SAFETY: as above.
unsafe impl<P: Checker> Send for Radio<P> {}

impl<P: Checker> Ground<P> for (&Radio<P>, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, reference: u64) {
        let pcb_ref = match reference.checked_sub(100) {
            Some(operation) => self.0.set.deliver(operation as usize).unwrap_or(0),
            None => reference,
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

impl<P: Checker> Radio<P> {
    pub fn new(degree: u64, seats: usize, policy: SlowReceiver) -> Arc<Radio<P>> {
        let shape = Cast::<P>::shape(degree, seats, 16, 8).unwrap();
        assert!(shape.bytes() <= RING_BYTES as u64, "{shape:?}");
        // Only what the model uses is watched: not the counters, not the seats beyond.
        let seat = |number: usize| {
            let seat = P::quiet(Seat::new);
            match number < seats {
                true => seat.with_side(Side::new()).with_words(std::array::from_fn(|word| match word {
                    0..=2 => P::U64::new(0),
                    _ => P::quiet(|| P::U64::new(0)),
                })),
                false => seat,
            }
        };
        let sender = Side::new();
        let radio = Radio {
            first: sender.attach(1).unwrap(),
            sender,
            head: Box::new(BroadcastHead::new()),
            receivers: Crowd::boxed(seat),
            cells: (0..degree).map(|_| P::U64::new(0)).collect(),
            ring: (0..RING_BYTES / 64).map(|_| Line::new()).collect(),
            watched: (0..=shape.degree).map(|_| P::Cell::new(())).collect(),
            set: ReadySet::new(),
            shape,
            seats,
            policy,
            pcbs: (0..=seats).map(|_| Pcb::new()).collect(),
            between: P::U64::new(0),
        };
        // SAFETY: nobody uses it yet.
        P::quiet(|| unsafe { radio.slots().make() });
        Arc::new(radio)
    }

    pub fn slots(&self) -> Slots<P> {
        let ring = NonNull::new(self.ring[0].at()).unwrap();
        Slots { ring, shape: self.shape, platform: PhantomData }
    }

    pub fn cast(&self) -> Cast<P> {
        let (head, receivers) = (NonNull::from(&*self.head), NonNull::from(&*self.receivers));
        let cells = NonNull::new(self.cells.as_ptr().cast_mut()).unwrap();
        // SAFETY: the model outlives its ends.
        unsafe {
            Cast::new(head, receivers, cells, self.slots(), self.cells.len() as u64, self.seats, self.policy)
        }
    }

    fn watched(&self, bytes: *const u8) -> &P::Cell<()> {
        &self.watched[(bytes as usize - self.ring[0].at() as usize) / self.shape.stride as usize]
    }

    /// As `channel::cast` does it.
    pub fn receiver_goes(&self, seat: usize, held: Word, into: u8) {
        if self.receivers.seat(seat).side.detach(held, into) {
            self.cast().head().sender_sleeps.fetch_or(0, AcqRel);
            (self, 0).wake(self.sender.pcb_ref());
        }
    }

    pub fn sender_goes(&self, into: u8) {
        if self.sender.detach(self.sender.end(), into) {
            self.receivers.wake(self.receivers.sleepers_after_rmw(), |side| {
                (self, 0).wake(side.pcb_ref());
            });
        }
    }
}

impl<P: Checker> Drop for Radio<P> {
    fn drop(&mut self) {
        // SAFETY: made in `new`; nobody uses it any more.
        unsafe { self.slots().unmake() };
    }
}

pub struct Sends<P: Checker> {
    pub radio: Arc<Radio<P>>,
    pub cast: Cast<P>,
    pub side: CastSender,
    pub memory: Memory,
    pub tally: Tally<P>,
}

impl<P: Checker> Sends<P> {
    pub fn new(radio: &Arc<Radio<P>>) -> Sends<P> {
        let cast = radio.cast();
        let side = CastSender::new(&cast);
        let memory = Memory::of(Word(0), Word(0), Wait::Park);
        Sends { radio: radio.clone(), cast, side, memory, tally: P::quiet(Tally::new) }
    }

    /// `publish`: or gives the slot up.
    pub fn send(&mut self, value: u64, patience: Patience, publish: bool) -> Result<(), Stop> {
        let radio = &*self.radio;
        let party = CastParty {
            cast: &self.cast,
            sender: &radio.sender,
            ground: &(radio, radio.seats),
            tally: &self.tally,
            memory: &self.memory,
        };
        let building = party.reserve(&mut self.side, patience)?;
        let bytes = building.bytes.cast::<u64>();
        let watched = radio.watched(building.bytes);
        // SAFETY: reserved.
        watched.with_mut(|_| unsafe { bytes.write_unaligned(value) });
        radio.between.fetch_add(1, Relaxed);
        // SAFETY: as above.
        watched.with_mut(|_| unsafe { bytes.add(1).write_unaligned(value) });
        if publish {
            party.publish(&mut self.side, 16)
        } else {
            self.side.withdraw();
            Ok(())
        }
    }
}

pub struct Receives<P: Checker> {
    pub radio: Arc<Radio<P>>,
    pub cast: Cast<P>,
    pub side: CastReceiver,
    pub held: Word,
    pub memory: Memory,
    pub tally: Tally<P>,
}

impl<P: Checker> Receives<P> {
    pub fn join(radio: &Arc<Radio<P>>, policy: SlowReceiver, late: Late) -> Receives<P> {
        let cast = radio.cast();
        let (seat, held) = radio.receivers.attach(2, radio.seats).unwrap();
        let memory = Memory::of(Word(0), radio.first, Wait::Park);
        let tally = P::quiet(Tally::new);
        let party = CastParty {
            cast: &cast,
            sender: &radio.sender,
            ground: &(&**radio, seat),
            tally: &tally,
            memory: &memory,
        };
        let side = party.join(seat, held, policy, late);
        Receives { radio: radio.clone(), cast, side, held, memory, tally }
    }

    /// `in_place`: the message is kept in hand meanwhile.
    pub fn recv(&mut self, patience: Patience, in_place: bool) -> Result<(u64, u64), Stop> {
        let radio = &*self.radio;
        let party = CastParty {
            cast: &self.cast,
            sender: &radio.sender,
            ground: &(radio, self.side.seat),
            tally: &self.tally,
            memory: &self.memory,
        };
        let read = |taken: Taken| {
            let bytes = taken.bytes.cast::<u64>();
            let watched = radio.watched(taken.bytes);
            // SAFETY: in hand.
            let first = watched.with(|_| unsafe { bytes.read_unaligned() });
            radio.between.fetch_add(1, Relaxed);
            // SAFETY: as above.
            let second = watched.with(|_| unsafe { bytes.add(1).read_unaligned() });
            assert_eq!(first, second, "torn");
            (taken.place, first)
        };
        if !in_place {
            return party.take_and(&mut self.side, patience, read);
        }
        let got = read(party.take(&mut self.side, patience)?);
        self.side.give_back(&self.cast);
        Ok(got)
    }

    pub fn goes(&self, into: u8) {
        self.radio.receiver_goes(self.side.seat, self.held, into);
    }
}

impl<P: Checker> Receives<P> {
    pub fn look(&self, at: At) -> Look {
        let radio = &*self.radio;
        let party = CastParty {
            cast: &self.cast,
            sender: &radio.sender,
            ground: &(radio, self.side.seat),
            tally: &self.tally,
            memory: &self.memory,
        };
        party.look_message(&self.side, at.entry)
    }

    /// By a select.
    pub fn select(&mut self) -> Result<(u64, u64), Stop> {
        let radio = self.radio.clone();
        let seat = self.side.seat;
        choose(&radio.set, (&radio.pcbs[seat], seat as u64 + 1), (100, 0), &[&Looks(|at: At| self.look(at))]);
        self.recv(Patience::Try, false)
    }
}

impl<P: Checker> Sends<P> {
    pub fn look(&mut self, at: At) -> Look {
        let radio = &*self.radio;
        let party = CastParty {
            cast: &self.cast,
            sender: &radio.sender,
            ground: &(radio, radio.seats),
            tally: &self.tally,
            memory: &self.memory,
        };
        party.look_room(&mut self.side, at.entry)
    }
}
