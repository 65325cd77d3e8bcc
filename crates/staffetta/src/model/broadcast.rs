//! Broadcast: pins against a sender that overwrites, cursors that it waits for, who comes, leaves and dies meanwhile.
//!
//! Mutants, made by hand, and who fails (without `loom_broadcast_`):
//!
//! | mutant | fails |
//! |---|---|
//! | a pin without the second look at the cell; without the fence between | `overwritten_*` |
//! | a scan that ignores pins; a pin that is given up at once | `overwritten_in_place` |
//! | the pins of both looks of a scan counted together | `overwritten_in_place` |
//! | no second look after `granted` was raised; a receiver that comes does not wake the sender | `comes_during_a_scan` |
//! | a receiver that comes does not read `granted` | `late` |
//! | who takes does not wake the sender | `waited_for`, `late`, `to_two` |
//! | who publishes does not wake | `waited_for` and three more |
//! | `tail` taken for the truth | `sender_goes` |
//! | a receiver's select does not look again after it has announced itself | `select_receives`, `select_sender_leaves` |
//! | the sender's select does not look again; it announces itself without its fence | `select_sends` |

#![allow(unsafe_code)] // The slots' bytes.

use std::cell::{RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::Arc;

use loom::thread;

use super::machine::{explore, explore_within, quiet, Loom, LoomU64};
use super::select::{choose, Looks};
use crate::channel::broadcast::{
    BroadcastHead, Cast, CastParty, CastReceiver, CastSender, Late, SlowReceiver, Taken, MISSED,
};
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::ring::{Shape, Slots};
use crate::channel::select::look::Look;
use crate::channel::select::turn::At;
use crate::channel::side::{Side, ATTACHED, DIED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);
const RING_BYTES: usize = 512;

/// On the heap: a model's stack is small.
#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; 64]>);

/// A broadcast between threads of a model.
struct Radio {
    head: Box<BroadcastHead<Loom>>,
    sender: Side<Loom>,
    receivers: Box<Crowd<Loom>>,
    cells: Vec<LoomU64>,
    ring: Vec<Line>,
    shape: Shape,
    seats: usize,
    policy: SlowReceiver,
    /// Of the one select that there is: references from 100 on are its operations.
    set: ReadySet<Loom, 1>,
    /// The last one is the sender's.
    pcbs: Vec<Pcb<Loom>>,
    /// The first sender's end word.
    first: Word,
    /// Changed between the two halves of a message: loom lets others run there.
    between: LoomU64,
}

// SAFETY: the slots' bytes are guarded by the protocol.
unsafe impl Sync for Radio {}
// SAFETY: as above.
unsafe impl Send for Radio {}

impl Ground<Loom> for (&Radio, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
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

impl Radio {
    fn new(degree: u64, seats: usize, policy: SlowReceiver) -> Arc<Radio> {
        let shape = Cast::<Loom>::shape(degree, seats, 16, 8).unwrap();
        assert!(shape.bytes() <= RING_BYTES as u64, "{shape:?}");
        // Only what the model uses is watched: not the counters, not the seats beyond.
        let seat = |number: usize| {
            let seat = quiet(Seat::new);
            match number < seats {
                true => seat.with_side(Side::new()).with_words(std::array::from_fn(|word| match word {
                    0..=2 => LoomU64::new(0),
                    _ => quiet(|| LoomU64::new(0)),
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
            cells: (0..degree).map(|_| LoomU64::new(0)).collect(),
            ring: (0..RING_BYTES / 64).map(|_| Line(UnsafeCell::new([0; 64]))).collect(),
            shape,
            seats,
            policy,
            set: ReadySet::new(),
            pcbs: (0..=seats).map(|_| Pcb::new()).collect(),
            between: LoomU64::new(0),
        };
        // SAFETY: nobody uses it yet.
        quiet(|| unsafe { radio.slots().make() });
        Arc::new(radio)
    }

    fn slots(&self) -> Slots<Loom> {
        let ring = NonNull::new(self.ring[0].0.get().cast()).unwrap();
        Slots { ring, shape: self.shape, platform: PhantomData }
    }

    fn cast(&self) -> Cast<Loom> {
        let (head, receivers) = (NonNull::from(&*self.head), NonNull::from(&*self.receivers));
        let cells = NonNull::new(self.cells.as_ptr().cast_mut()).unwrap();
        // SAFETY: the model outlives its ends.
        unsafe {
            Cast::new(head, receivers, cells, self.slots(), self.cells.len() as u64, self.seats, self.policy)
        }
    }

    /// As `channel::cast` does it.
    fn receiver_goes(&self, seat: usize, held: Word, into: u8) {
        if self.receivers.seat(seat).side.detach(held, into) {
            self.cast().head().sender_sleeps.fetch_or(0, AcqRel);
            (self, 0).wake(self.sender.pcb_ref());
        }
    }

    fn sender_goes(&self, into: u8) {
        if self.sender.detach(self.sender.end(), into) {
            self.receivers.wake(self.receivers.sleepers_after_rmw(), |side| {
                (self, 0).wake(side.pcb_ref());
            });
        }
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        // SAFETY: made in `new`; nobody uses it any more.
        unsafe { self.slots().unmake() };
    }
}

struct Sends {
    radio: Arc<Radio>,
    cast: Cast<Loom>,
    side: CastSender,
    memory: Memory,
    tally: Tally<Loom>,
}

impl Sends {
    fn new(radio: &Arc<Radio>) -> Sends {
        let cast = radio.cast();
        let side = CastSender::new(&cast);
        let memory = Memory::of(Word(0), Word(0), Wait::Park);
        Sends { radio: radio.clone(), cast, side, memory, tally: quiet(Tally::new) }
    }

    /// `publish`: or gives the slot up.
    fn send(&mut self, value: u64, patience: Patience, publish: bool) -> Result<(), Stop> {
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
        // SAFETY: reserved.
        unsafe {
            bytes.write_unaligned(value);
            radio.between.fetch_add(1, Relaxed);
            bytes.add(1).write_unaligned(value);
        }
        if publish {
            party.publish(&mut self.side, 16)
        } else {
            self.side.withdraw();
            Ok(())
        }
    }
}

struct Receives {
    radio: Arc<Radio>,
    cast: Cast<Loom>,
    side: CastReceiver,
    held: Word,
    memory: Memory,
    tally: Tally<Loom>,
}

impl Receives {
    fn join(radio: &Arc<Radio>, policy: SlowReceiver, late: Late) -> Receives {
        let cast = radio.cast();
        let (seat, held) = radio.receivers.attach(2, radio.seats).unwrap();
        let memory = Memory::of(Word(0), radio.first, Wait::Park);
        let tally = quiet(Tally::new);
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
    fn recv(&mut self, patience: Patience, in_place: bool) -> Result<(u64, u64), Stop> {
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
            // SAFETY: in hand.
            let first = unsafe { bytes.read_unaligned() };
            radio.between.fetch_add(1, Relaxed);
            // SAFETY: as above.
            let second = unsafe { bytes.add(1).read_unaligned() };
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

    fn goes(&self, into: u8) {
        self.radio.receiver_goes(self.side.seat, self.held, into);
    }
}

/// Pins: never torn, never backwards, what was missed is counted; with an own slot given up in between.
fn overwritten(in_place: bool, policy: SlowReceiver) {
    let radio = Radio::new(1, 1, policy);
    let mut receiver = Receives::join(&radio, SlowReceiver::DropOldest, Late::None);
    let mut sender = Sends::new(&radio);
    sender.send(1, Patience::Try, true).unwrap();
    let sends = thread::spawn(move || {
        for n in 2..=4 {
            sender.send(9, Patience::Try, false).unwrap();
            sender.send(n, Patience::Try, true).unwrap();
        }
    });
    let mut last = 0;
    for _ in 0..2 {
        match receiver.recv(Patience::Try, in_place) {
            Ok((place, value)) => {
                assert!(place + 1 == value && value > last, "{value} after {last}");
                last = value;
            }
            Err(stop) => assert_eq!(stop, Stop::WouldBlock),
        }
    }
    sends.join().unwrap();
    if last != 4 {
        assert_eq!(receiver.recv(Patience::Try, in_place), Ok((3, 4)));
    }
    let missed = radio.receivers.seat(0).words[MISSED].load(Relaxed);
    assert_eq!(missed, receiver.side.missed());
}

#[test]
fn loom_broadcast_overwritten_in_place() {
    // An observer where others are waited for, and where nobody is.
    explore("broadcast, overwritten, in place", || overwritten(true, SlowReceiver::Block));
    explore("broadcast, overwritten, in place", || overwritten(true, SlowReceiver::DropOldest));
}

#[test]
fn loom_broadcast_overwritten_by_copies() {
    explore("broadcast, overwritten, by copies", || overwritten(false, SlowReceiver::DropOldest));
}

/// Cursors: both sleep, nothing is missed.
fn waited_for(degree: u64, messages: u64, in_place: bool) {
    let radio = Radio::new(degree, 1, SlowReceiver::Block);
    let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
    let mut sender = Sends::new(&radio);
    let sends = thread::spawn(move || {
        for n in 1..=messages {
            sender.send(n, FOREVER, true).unwrap();
        }
    });
    for n in 1..=messages {
        assert_eq!(receiver.recv(FOREVER, in_place), Ok((n - 1, n)));
    }
    sends.join().unwrap();
}

#[test]
fn loom_broadcast_waited_for() {
    for in_place in [true, false] {
        explore("broadcast, waited for, degree 1", move || waited_for(1, 3, in_place));
        explore("broadcast, waited for, degree 2", move || waited_for(2, 3, in_place));
    }
}

/// One receiver is waited for, another is not; each gets what it is promised.
#[test]
fn loom_broadcast_to_two() {
    explore_within(1, "broadcast, two receivers", || {
        let radio = Radio::new(1, 2, SlowReceiver::Block);
        let mut one = Receives::join(&radio, SlowReceiver::Block, Late::None);
        let mut other = Receives::join(&radio, SlowReceiver::DropOldest, Late::None);
        let mut sender = Sends::new(&radio);
        let sends = thread::spawn(move || {
            sender.send(1, FOREVER, true).unwrap();
            sender.send(2, FOREVER, true).unwrap();
        });
        let reads = thread::spawn(move || {
            let (_, first) = other.recv(FOREVER, true).unwrap();
            if first == 1 {
                assert_eq!(other.recv(FOREVER, true), Ok((1, 2)));
            }
        });
        assert_eq!(one.recv(FOREVER, true), Ok((0, 1)));
        assert_eq!(one.recv(FOREVER, true), Ok((1, 2)));
        sends.join().unwrap();
        reads.join().unwrap();
    });
}

/// A receiver comes while messages are sent: from the first that it gets on it misses none.
#[test]
fn loom_broadcast_late() {
    for late in [Late::None, Late::Last] {
        explore("broadcast, a receiver comes late", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut sender = Sends::new(&radio);
            let sends = thread::spawn({
                let radio = radio.clone();
                move || {
                    for n in 1..=2 {
                        sender.send(n, FOREVER, true).unwrap();
                    }
                    radio.sender_goes(LEFT);
                }
            });
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, late);
            let mut next = None;
            let end = loop {
                match receiver.recv(FOREVER, true) {
                    Ok((place, value)) => {
                        assert_eq!(place + 1, value);
                        assert!(next.is_none_or(|next| next == value), "{value}, expected {next:?}");
                        next = Some(value + 1);
                    }
                    Err(stop) => break stop,
                }
            };
            assert!(matches!(end, Stop::Gone(_)));
            assert!(next.is_none_or(|next| next == 3), "the last one is missing");
            assert!(late == Late::None || next.is_some());
            sends.join().unwrap();
        });
    }
}

/// A receiver comes while the sender looks at the receivers, and wants the message that is about to be overwritten.
#[test]
fn loom_broadcast_comes_during_a_scan() {
    explore("broadcast, a receiver comes during a scan", || {
        let radio = Radio::new(1, 1, SlowReceiver::Block);
        let mut sender = Sends::new(&radio);
        sender.send(1, FOREVER, true).unwrap();
        let sends = thread::spawn(move || sender.send(2, FOREVER, true).unwrap());
        let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::Last);
        let first = receiver.recv(FOREVER, true);
        if first != Ok((1, 2)) {
            assert_eq!(first, Ok((0, 1)));
            assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
        }
        sends.join().unwrap();
    });
}

/// A receiver that is waited for leaves or dies: the sender goes on.
#[test]
fn loom_broadcast_receiver_goes() {
    for (into, in_hand) in [(LEFT, false), (DIED, true)] {
        explore("broadcast, a receiver goes while the sender waits", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            sender.send(1, FOREVER, true).unwrap();
            let goes = thread::spawn(move || {
                if in_hand {
                    receiver.recv(FOREVER, true).unwrap();
                }
                receiver.goes(into);
            });
            sender.send(2, FOREVER, true).unwrap();
            sender.send(3, FOREVER, true).unwrap();
            goes.join().unwrap();
            let mut next = Receives::join(&radio, SlowReceiver::Block, Late::Last);
            assert_eq!(next.recv(FOREVER, true), Ok((2, 3)));
        });
    }
}

/// The sender goes while a receiver waits; its successor goes on after the last message.
#[test]
fn loom_broadcast_sender_goes() {
    explore("broadcast, the sender dies, another comes", || {
        let radio = Radio::new(1, 1, SlowReceiver::Block);
        let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
        let mut sender = Sends::new(&radio);
        let goes = thread::spawn({
            let radio = radio.clone();
            move || {
                sender.send(1, FOREVER, true).unwrap();
                radio.head.tail.store(0, Relaxed); // it did not come to say so
                radio.sender_goes(DIED);
                assert_ne!(radio.sender.end().state(), ATTACHED);
            }
        });
        assert_eq!(receiver.recv(FOREVER, true), Ok((0, 1)));
        assert!(matches!(receiver.recv(FOREVER, true), Err(Stop::Gone(_))));
        goes.join().unwrap();
        radio.sender.attach(1).unwrap();
        let mut successor = Sends::new(&radio);
        successor.send(2, FOREVER, true).unwrap();
        assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
    });
}

/// Too slow, and told so, once and for all.
#[test]
fn loom_broadcast_disconnects() {
    explore("broadcast, a slow receiver is disconnected", || {
        let radio = Radio::new(1, 1, SlowReceiver::Disconnect);
        let mut receiver = Receives::join(&radio, SlowReceiver::Disconnect, Late::None);
        let mut sender = Sends::new(&radio);
        let sends = thread::spawn(move || {
            sender.send(1, Patience::Try, true).unwrap();
            sender.send(2, Patience::Try, true).unwrap();
        });
        match receiver.recv(FOREVER, true) {
            Ok(first) => {
                assert_eq!(first, (0, 1));
                assert_eq!(receiver.recv(FOREVER, true), Ok((1, 2)));
            }
            Err(stop) => {
                assert_eq!(stop, Stop::Cut { missed: 1 });
                assert_eq!(receiver.recv(FOREVER, true), Err(stop));
            }
        }
        sends.join().unwrap();
    });
}

impl Receives {
    fn look(&self, at: At) -> Look {
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
    fn select(&mut self) -> Result<(u64, u64), Stop> {
        let radio = self.radio.clone();
        let seat = self.side.seat;
        choose(&radio.set, (&radio.pcbs[seat], seat as u64 + 1), (100, 0), &[&Looks(|at: At| self.look(at))]);
        self.recv(Patience::Try, false)
    }
}

impl Sends {
    fn look(&mut self, at: At) -> Look {
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

#[test]
fn loom_broadcast_select_receives() {
    for policy in [SlowReceiver::Block, SlowReceiver::DropOldest] {
        explore("broadcast, a receiver selects", move || {
            let radio = Radio::new(2, 1, policy);
            let mut receiver = Receives::join(&radio, policy, Late::None);
            let mut sender = Sends::new(&radio);
            let sends = thread::spawn(move || {
                (1..=2).for_each(|n| sender.send(n, FOREVER, true).unwrap());
            });
            // Between the two it is told by a call of its own, too.
            assert_eq!(receiver.select(), Ok((0, 1)));
            assert_eq!(receiver.select(), Ok((1, 2)));
            sends.join().unwrap();
        });
    }
}

#[test]
fn loom_broadcast_select_sender_leaves() {
    for into in [LEFT, DIED] {
        explore("broadcast, the sender of one who selects leaves or dies", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            let goes = thread::spawn(move || {
                sender.send(1, FOREVER, true).unwrap();
                sender.radio.sender_goes(into);
            });
            assert_eq!(receiver.select(), Ok((0, 1)));
            assert!(matches!(receiver.select(), Err(Stop::Gone(end)) if end.state() == into));
            goes.join().unwrap();
        });
    }
}

#[test]
fn loom_broadcast_select_sends() {
    for leaves in [false, true] {
        explore("broadcast, the sender selects", move || {
            let radio = Radio::new(1, 1, SlowReceiver::Block);
            let mut receiver = Receives::join(&radio, SlowReceiver::Block, Late::None);
            let mut sender = Sends::new(&radio);
            sender.send(1, Patience::Try, true).unwrap();
            let takes = thread::spawn(move || {
                if leaves {
                    return receiver.goes(LEFT);
                }
                assert_eq!(receiver.recv(FOREVER, false), Ok((0, 1)));
                assert_eq!(receiver.recv(FOREVER, false), Ok((1, 2)));
            });
            let sender = RefCell::new(sender);
            let own = (&radio.pcbs[radio.seats], radio.seats as u64 + 1);
            choose(&radio.set, own, (100, 0), &[&Looks(|at: At| sender.borrow_mut().look(at))]);
            assert_eq!(sender.borrow_mut().send(2, Patience::Try, true), Ok(()));
            takes.join().unwrap();
        });
    }
}
