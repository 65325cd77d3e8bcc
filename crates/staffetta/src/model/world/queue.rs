//! A queue between the threads of a model, with ends that may stop and die in the middle.

#![allow(unsafe_code)] // The lanes' bytes.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::checker::Checker;
use super::Line;
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::queue::{Lanes, Plan, Queue, QueueParty, QueueSide};
use crate::channel::ring::{Shape, Slots};
use crate::channel::side::{Side, DIED};
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::wait::Wait;

const LANE_BYTES: usize = 2048;
/// Lanes, and seats of each direction, that the model has.
const ENDS: usize = 2;

/// A queue between threads of a model.
pub struct Many<P: Checker> {
    pub senders: Box<Crowd<P>>,
    pub receivers: Box<Crowd<P>>,
    pub cells: Vec<P::U64>,
    pub lanes: Vec<Vec<Line>>,
    pub pcbs: Vec<Pcb<P>>,
    pub plan: Plan,
}

// SAFETY: the lanes' bytes are guarded by the protocol.
unsafe impl<P: Checker> Sync for Many<P> {}
// SAFETY: as above.
unsafe impl<P: Checker> Send for Many<P> {}

pub struct HeapLanes<P: Checker>(*const Many<P>);
// SAFETY: the model outlives its queues.
unsafe impl<P: Checker> Send for HeapLanes<P> {}
// SAFETY: as above.
unsafe impl<P: Checker> Sync for HeapLanes<P> {}

impl<P: Checker> Lanes for HeapLanes<P> {
    fn lane(&self, lane: usize) -> Option<NonNull<u8>> {
        // SAFETY: the model outlives its queues.
        let many = unsafe { &*self.0 };
        NonNull::new(many.lanes.get(lane)?[0].at())
    }
}

impl<P: Checker> Ground<P> for (&Many<P>, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, pcb_ref: u64) {
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

/// As the end that has this number, and it stops for good where it is about to wake somebody.
pub struct StopsAtWake<'m, P: Checker>(&'m Many<P>, usize);

/// What is thrown there.
struct Stopped;

impl<P: Checker> Ground<P> for StopsAtWake<'_, P> {
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, _pcb_ref: u64) {
        std::panic::resume_unwind(Box::new(Stopped));
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

impl<P: Checker> Many<P> {
    /// `senders` and `receivers` are attached.
    pub fn new(degree: u64, per_sender: Option<u64>, senders: usize, receivers: usize) -> Arc<Many<P>> {
        let slots = per_sender.unwrap_or(degree) + 1 + 2 * receivers as u64;
        let lane = Shape::of::<P>(slots - 1, 8, 8).unwrap();
        assert!(lane.bytes() <= LANE_BYTES as u64, "{lane:?}");
        let plan = Plan { degree, per_sender, lane, exclusive: receivers == 1 };
        // Only the seats that are used are watched.
        let seat = |number: usize| match number < ENDS {
            true => P::quiet(Seat::new).with_side(Side::new()),
            false => P::quiet(Seat::new),
        };
        let lines = || (0..LANE_BYTES / 64).map(|_| Line::new()).collect();
        let many = Many {
            senders: Crowd::boxed(seat),
            receivers: Crowd::boxed(seat),
            cells: (0..plan.cells()).map(|_| P::U64::new(0)).collect(),
            lanes: (0..ENDS).map(|_| lines()).collect(),
            pcbs: (0..2 * ENDS).map(|_| Pcb::new()).collect(),
            plan,
        };
        for lane in 0..ENDS {
            // SAFETY: nobody uses it yet.
            unsafe { many.slots(lane).make() };
        }
        for (crowd, ends) in [(&many.senders, senders), (&many.receivers, receivers)] {
            for _ in 0..ends {
                crowd.attach(1, ends).unwrap();
            }
        }
        Arc::new(many)
    }

    pub fn slots(&self, lane: usize) -> Slots<P> {
        let ring = NonNull::new(self.lanes[lane][0].at()).unwrap();
        Slots { ring, shape: self.plan.lane, platform: PhantomData }
    }

    pub fn queue(&self) -> Queue<P, HeapLanes<P>> {
        let (senders, receivers) = (NonNull::from(&*self.senders), NonNull::from(&*self.receivers));
        let cells = NonNull::new(self.cells.as_ptr().cast_mut()).unwrap();
        // SAFETY: the model outlives its queues.
        unsafe { Queue::new(senders, receivers, cells, self.plan, HeapLanes(self)) }
    }

    /// As `channel::many` does it.
    pub fn detach(&self, is_sender: bool, seat: usize, held: Word, into: u8) {
        let queue = self.queue();
        let (crowd, others) = match is_sender {
            true => (&self.senders, &self.receivers),
            false => (&self.receivers, &self.senders),
        };
        let still = || crowd.seat(seat).side.end().awake() == held.awake();
        if into == DIED {
            if is_sender {
                queue.settle_sender(seat, still, |_, _| ());
            } else {
                queue.settle_receiver(seat, still, |_| false, |_, _| ());
            }
        }
        if crowd.seat(seat).side.detach(held, into) {
            crowd.departed();
            others.wake(others.sleepers_after_rmw(), |side| (self, 0).wake(side.pcb_ref()));
            crowd.wake(crowd.sleepers_after_rmw(), |side| (self, 0).wake(side.pcb_ref()));
        }
    }

    pub fn held(&self, is_sender: bool, seat: usize) -> Word {
        let crowd = if is_sender { &self.senders } else { &self.receivers };
        crowd.seat(seat).side.end()
    }
}

impl<P: Checker> Drop for Many<P> {
    fn drop(&mut self) {
        for lane in 0..ENDS {
            // SAFETY: made in `new`; nobody uses it any more.
            unsafe { self.slots(lane).unmake() };
        }
    }
}

/// One thread's end.
pub struct End<P: Checker> {
    pub many: Arc<Many<P>>,
    pub queue: Queue<P, HeapLanes<P>>,
    pub side: QueueSide,
    pub is_sender: bool,
    pub memory: Memory,
    pub tally: Tally<P>,
}

impl<P: Checker> End<P> {
    pub fn new(many: &Arc<Many<P>>, is_sender: bool, seat: usize) -> End<P> {
        let others = if is_sender { &many.receivers } else { &many.senders };
        End {
            many: many.clone(),
            queue: many.queue(),
            side: QueueSide::new(seat),
            is_sender,
            memory: Memory::of(Word(0), others.end(), Wait::Park),
            tally: P::quiet(Tally::new),
        }
    }

    pub fn pcb(&self) -> usize {
        self.side.seat + if self.is_sender { 0 } else { ENDS }
    }

    pub fn call<R>(&self, f: impl FnOnce(&mut QueueParty<'_, P, HeapLanes<P>, (&Many<P>, usize)>) -> R) -> R {
        self.call_on(&(&*self.many, self.pcb()), f)
    }

    pub fn call_on<'e, G: Ground<P>, R>(
        &'e self,
        ground: &'e G,
        f: impl FnOnce(&mut QueueParty<'e, P, HeapLanes<P>, G>) -> R,
    ) -> R {
        let (queue, side, tally, memory) = (&self.queue, &self.side, &self.tally, &self.memory);
        f(&mut QueueParty { queue, side, ground, tally, memory })
    }

    /// Sends, and stops for good before it wakes anybody, if anybody sleeps. True: it stopped.
    pub fn send_and_stop_at_wake(&self, value: u64) -> bool {
        let ground = StopsAtWake(&self.many, self.pcb());
        let sends = || {
            self.call_on(&ground, |party| {
                // SAFETY: the slot is ours while this runs.
                party.put(8, Patience::Try, |to| unsafe { to.cast::<u64>().write_unaligned(value) })
            })
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(sends)) {
            Ok(sent) => {
                sent.unwrap();
                false
            }
            Err(why) if why.is::<Stopped>() => true,
            Err(why) => std::panic::resume_unwind(why),
        }
    }

    pub fn send(&self, value: u64, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            let held = party.reserve(patience)?;
            // SAFETY: reserved.
            unsafe { held.bytes.cast::<u64>().write_unaligned(value) };
            party.publish(held, 8, patience).inspect_err(|_| party.withdraw(held))
        })
    }

    /// Sends whatever waits, as `channel::many` does: how many messages it dropped for it.
    pub fn force(&self, value: u64) -> u64 {
        self.call(|party| {
            let held = party.reserve_anyway().unwrap();
            // SAFETY: reserved.
            unsafe { held.bytes.cast::<u64>().write_unaligned(value) };
            let mut dropped = 0;
            while party.publish(held, 8, Patience::Try).is_err() {
                dropped += u64::from(party.drop_oldest());
            }
            dropped
        })
    }

    pub fn recv(&self, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            // SAFETY: in hand.
            party.take_and(patience, 8, |bytes, _| unsafe { bytes.cast::<u64>().read_unaligned() })
        })
    }

    /// As `recv`, in place: `in_hand` is told of it before it is given back.
    pub fn recv_in_place(&self, patience: Patience, in_hand: impl FnOnce(u64)) -> Result<u64, Stop> {
        self.call(|party| {
            let held = party.take(patience, 8)?;
            // SAFETY: in hand.
            let value = unsafe { held.bytes.cast::<u64>().read_unaligned() };
            in_hand(value);
            party.give_back(held);
            Ok(value)
        })
    }

    /// Takes a message in hand and keeps it.
    pub fn hold(&self, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            // SAFETY: in hand.
            party.take(patience, 8).map(|held| unsafe { held.bytes.cast::<u64>().read_unaligned() })
        })
    }
}
