//! The queue: many senders, many receivers, who stop and die in the middle.

#![allow(unsafe_code)] // The lanes' bytes.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use loom::thread;

use super::machine::{explore, quiet, Loom, LoomU64};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::queue::{Lanes, Plan, Queue, QueueParty, QueueSide};
use crate::channel::ring::{Shape, Slots};
use crate::channel::side::{Side, DIED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);
const LANE_BYTES: usize = 1024;
/// Lanes, and seats of each direction, that the model has.
const ENDS: usize = 2;

/// On the heap: a model's stack is small.
#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; 64]>);

/// A queue between threads of a model.
struct Many {
    senders: Box<Crowd<Loom>>,
    receivers: Box<Crowd<Loom>>,
    cells: Vec<LoomU64>,
    lanes: Vec<Vec<Line>>,
    pcbs: Vec<Pcb<Loom>>,
    plan: Plan,
}

// SAFETY: the lanes' bytes are guarded by the protocol.
unsafe impl Sync for Many {}
// SAFETY: as above.
unsafe impl Send for Many {}

struct HeapLanes(*const Many);
// SAFETY: the model outlives its queues.
unsafe impl Send for HeapLanes {}
// SAFETY: as above.
unsafe impl Sync for HeapLanes {}

impl Lanes for HeapLanes {
    fn lane(&self, lane: usize) -> Option<NonNull<u8>> {
        // SAFETY: the model outlives its queues.
        let many = unsafe { &*self.0 };
        NonNull::new(many.lanes.get(lane)?[0].0.get().cast())
    }
}

impl Ground<Loom> for (&Many, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
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
struct StopsAtWake<'m>(&'m Many, usize);

/// What is thrown there.
struct Stopped;

impl Ground<Loom> for StopsAtWake<'_> {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
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

impl Many {
    /// `senders` and `receivers` are attached.
    fn new(degree: u64, per_sender: Option<u64>, senders: usize, receivers: usize) -> Arc<Many> {
        let slots = per_sender.unwrap_or(degree) + 1 + 2 * receivers as u64;
        let lane = Shape::of::<Loom>(slots - 1, 8, 8).unwrap();
        assert!(lane.bytes() <= LANE_BYTES as u64, "{lane:?}");
        let plan = Plan { degree, per_sender, lane, exclusive: receivers == 1 };
        // Only the seats that are used are watched.
        let seat = |number: usize| match number < ENDS {
            true => quiet(Seat::new).with_side(Side::new()),
            false => quiet(Seat::new),
        };
        let lines = || (0..LANE_BYTES / 64).map(|_| Line(UnsafeCell::new([0; 64]))).collect();
        let many = Many {
            senders: Crowd::boxed(seat),
            receivers: Crowd::boxed(seat),
            cells: (0..plan.cells()).map(|_| LoomU64::new(0)).collect(),
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

    fn slots(&self, lane: usize) -> Slots<Loom> {
        let ring = NonNull::new(self.lanes[lane][0].0.get().cast()).unwrap();
        Slots { ring, shape: self.plan.lane, platform: PhantomData }
    }

    fn queue(&self) -> Queue<Loom, HeapLanes> {
        let (senders, receivers) = (NonNull::from(&*self.senders), NonNull::from(&*self.receivers));
        let cells = NonNull::new(self.cells.as_ptr().cast_mut()).unwrap();
        // SAFETY: the model outlives its queues.
        unsafe { Queue::new(senders, receivers, cells, self.plan, HeapLanes(self)) }
    }

    /// As `channel::many` does it.
    fn detach(&self, is_sender: bool, seat: usize, held: Word, into: u8) {
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

    fn held(&self, is_sender: bool, seat: usize) -> Word {
        let crowd = if is_sender { &self.senders } else { &self.receivers };
        crowd.seat(seat).side.end()
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        for lane in 0..ENDS {
            // SAFETY: made in `new`; nobody uses it any more.
            unsafe { self.slots(lane).unmake() };
        }
    }
}

/// One thread's end.
struct End {
    many: Arc<Many>,
    queue: Queue<Loom, HeapLanes>,
    side: QueueSide,
    is_sender: bool,
    memory: Memory,
    tally: Tally<Loom>,
}

impl End {
    fn new(many: &Arc<Many>, is_sender: bool, seat: usize) -> End {
        let others = if is_sender { &many.receivers } else { &many.senders };
        End {
            many: many.clone(),
            queue: many.queue(),
            side: QueueSide::new(seat),
            is_sender,
            memory: Memory::of(Word(0), others.end(), Wait::Park),
            tally: quiet(Tally::new),
        }
    }

    fn pcb(&self) -> usize {
        self.side.seat + if self.is_sender { 0 } else { ENDS }
    }

    fn call<R>(&self, f: impl FnOnce(&mut QueueParty<'_, Loom, HeapLanes, (&Many, usize)>) -> R) -> R {
        self.call_on(&(&*self.many, self.pcb()), f)
    }

    fn call_on<'e, G: Ground<Loom>, R>(
        &'e self,
        ground: &'e G,
        f: impl FnOnce(&mut QueueParty<'e, Loom, HeapLanes, G>) -> R,
    ) -> R {
        let (queue, side, tally, memory) = (&self.queue, &self.side, &self.tally, &self.memory);
        f(&mut QueueParty { queue, side, ground, tally, memory })
    }

    /// Sends, and stops for good before it wakes anybody, if anybody sleeps. True: it stopped.
    fn send_and_stop_at_wake(&self, value: u64) -> bool {
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

    fn send(&self, value: u64, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            let held = party.reserve(patience)?;
            // SAFETY: reserved.
            unsafe { held.bytes.cast::<u64>().write_unaligned(value) };
            party.publish(held, 8, patience).inspect_err(|_| party.withdraw(held))
        })
    }

    fn recv(&self, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            // SAFETY: in hand.
            party.take_and(patience, 8, |bytes, _| unsafe { bytes.cast::<u64>().read_unaligned() })
        })
    }

    /// Takes a message in hand and keeps it.
    fn hold(&self, patience: Patience) -> Result<u64, Stop> {
        self.call(|party| {
            // SAFETY: in hand.
            party.take(patience, 8).map(|held| unsafe { held.bytes.cast::<u64>().read_unaligned() })
        })
    }
}

/// Two senders, one receiver, more messages than there is room for.
#[test]
fn loom_queue_many_to_one() {
    explore("queue, two senders, degree 1 in all", || {
        let many = Many::new(1, None, 2, 1);
        let threads = [0, 1].map(|seat| {
            let sender = End::new(&many, true, seat);
            thread::spawn(move || sender.send(1 + seat as u64, FOREVER).unwrap())
        });
        let receiver = End::new(&many, false, 0);
        let mut got = [receiver.recv(FOREVER).unwrap(), receiver.recv(FOREVER).unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_queue_degree_per_sender() {
    explore("queue, degree 1 per sender", || {
        let many = Many::new(2, Some(1), 1, 1);
        let sender = End::new(&many, true, 0);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER).unwrap();
            sender.send(2, FOREVER).unwrap();
            sender.send(3, FOREVER).unwrap();
        });
        let receiver = End::new(&many, false, 0);
        for n in 1..=3 {
            assert_eq!(receiver.recv(FOREVER), Ok(n));
        }
        sends.join().unwrap();
    });
}

/// One sender, two receivers: each message to one.
#[test]
fn loom_queue_one_to_many() {
    explore("queue, two receivers", || {
        let many = Many::new(1, None, 1, 2);
        let threads = [0, 1].map(|seat| {
            let receiver = End::new(&many, false, seat);
            thread::spawn(move || receiver.recv(FOREVER).unwrap())
        });
        let sender = End::new(&many, true, 0);
        sender.send(1, FOREVER).unwrap();
        sender.send(2, FOREVER).unwrap();
        let mut got = threads.map(|thread| thread.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

/// A receiver dies with a message in hand, while another waits: it is returned, and comes once.
#[test]
fn loom_queue_receiver_dies() {
    explore("queue, a receiver dies with a message in hand, two sweepers", || {
        let many = Many::new(2, None, 1, 2);
        let dead = End::new(&many, false, 1);
        let held = many.held(false, 1);
        End::new(&many, true, 0).send(7, FOREVER).unwrap();
        assert_eq!(dead.hold(FOREVER), Ok(7));
        let sweeps = thread::spawn({
            let many = many.clone();
            move || many.detach(false, 1, held, DIED)
        });
        let receives = thread::spawn({
            let receiver = End::new(&many, false, 0);
            move || receiver.recv(FOREVER)
        });
        many.detach(false, 1, held, DIED);
        assert_eq!(receives.join().unwrap(), Ok(7));
        sweeps.join().unwrap();
        let other = End::new(&many, false, 0);
        assert_eq!(other.recv(Patience::Try), Err(Stop::WouldBlock));
    });
}

/// The sender leaves; a receiver that waits is told, after it has what was sent.
#[test]
fn loom_queue_sender_leaves() {
    explore("queue, the sender leaves while the receiver waits", || {
        let many = Many::new(1, None, 1, 1);
        let sender = End::new(&many, true, 0);
        let receiver = End::new(&many, false, 0);
        let leaves = thread::spawn({
            let many = many.clone();
            move || {
                sender.send(1, FOREVER).unwrap();
                many.detach(true, 0, many.held(true, 0), LEFT);
            }
        });
        assert_eq!(receiver.recv(FOREVER), Ok(1));
        assert!(matches!(receiver.recv(FOREVER), Err(Stop::Gone(_))));
        leaves.join().unwrap();
    });
}

/// A receiver is stopped after its commit point, before it wakes the sender that waits for room: the other one does.
#[test]
fn loom_queue_receiver_stops_before_it_wakes() {
    explore("queue, a receiver stops after its commit point", || {
        let many = Many::new(1, None, 1, 2);
        let [receiver, stops] = [0, 1].map(|seat| End::new(&many, false, seat));
        let sends = thread::spawn({
            let sender = End::new(&many, true, 0);
            move || {
                sender.send(1, FOREVER).unwrap();
                sender.send(2, FOREVER).unwrap();
            }
        });
        let takes = thread::spawn(move || stops.call(|party| party.take_and_stop()));
        let first = receiver.recv(FOREVER).unwrap();
        if !takes.join().unwrap() {
            assert_eq!((first, receiver.recv(FOREVER)), (1, Ok(2)));
        }
        sends.join().unwrap();
    });
}

/// The same, and the other one never sleeps.
#[test]
fn loom_queue_receiver_stops_and_another_tries() {
    explore("queue, a receiver stops after its commit point, and another tries", || {
        let many = Many::new(1, None, 1, 2);
        let [receiver, stops] = [0, 1].map(|seat| End::new(&many, false, seat));
        let sender = End::new(&many, true, 0);
        sender.send(1, FOREVER).unwrap();
        let sends = thread::spawn(move || sender.send(2, FOREVER).unwrap());
        assert!(stops.call(|party| party.take_and_stop()));
        while receiver.recv(Patience::Try).is_err() {
            thread::yield_now();
        }
        sends.join().unwrap();
    });
}

/// A sender gives up for want of room, or is just in time: never both.
#[test]
fn loom_queue_sender_gives_up() {
    explore("queue, a sender that gives up", || {
        let many = Many::new(1, None, 2, 1);
        let [first, second] = [0, 1].map(|seat| End::new(&many, true, seat));
        first.send(1, FOREVER).unwrap();
        let gives_up = thread::spawn(move || second.send(2, Patience::Until(Some(Instant::now()))).is_ok());
        let receiver = End::new(&many, false, 0);
        assert_eq!(receiver.recv(FOREVER), Ok(1));
        let sent = gives_up.join().unwrap();
        assert_eq!(receiver.recv(Patience::Try).is_ok(), sent);
    });
}

/// A sender is stopped between marking its slot and filling the cell: others go on; its successor has the slot again.
#[test]
fn loom_queue_sender_stops_before_its_commit() {
    explore("queue, a sender dies before its commit point", || {
        let many = Many::new(2, None, 2, 1);
        let dead = End::new(&many, true, 1);
        dead.call(|party| party.mark_and_stop(0));
        let held = many.held(true, 1);
        let sends = thread::spawn({
            let sender = End::new(&many, true, 0);
            move || sender.send(1, FOREVER).unwrap()
        });
        many.detach(true, 1, held, DIED);
        assert!(many.senders.attach(2, 2).is_ok());
        many.queue().recover_lane(1);
        let successor = End::new(&many, true, 1);
        successor.send(2, FOREVER).unwrap();
        sends.join().unwrap();
        let receiver = End::new(&many, false, 0);
        let mut got = [receiver.recv(FOREVER).unwrap(), receiver.recv(FOREVER).unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert_eq!(receiver.recv(Patience::Try), Err(Stop::WouldBlock));
    });
}

/// A sender stops or dies between its commit point and the wake-up that it owes: the next one wakes whoever sleeps (crowd.rs,
/// D2).
#[test]
fn loom_queue_waker_stops_before_its_wake_up() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static STOPPED: AtomicU64 = AtomicU64::new(0);
    explore("queue, a waker that stops before the wake-up", || {
        let many = Many::new(2, None, 2, 1);
        let receives = thread::spawn({
            let receiver = End::new(&many, false, 0);
            move || [receiver.recv(FOREVER), receiver.recv(FOREVER)]
        });
        let [stopped, other] = [0, 1].map(|seat| End::new(&many, true, seat));
        STOPPED.fetch_add(u64::from(stopped.send_and_stop_at_wake(1)), Relaxed);
        other.send(2, FOREVER).unwrap();
        assert_eq!(receives.join().unwrap(), [Ok(1), Ok(2)]);
    });
    assert_ne!(STOPPED.load(Relaxed), 0, "nobody was asleep in any execution");
}
