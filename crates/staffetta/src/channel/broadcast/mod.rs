//! Broadcast: one sender, many receivers, each message to all of them, in place. With a degree of 1 and receivers that are
//! never waited for it is the channel of the *latest* value.
//!
//! Messages lie in *slots*. A ring of K *cells*, one word each, names the slots of the last K messages:
//!
//! ```text
//!   cells   message t -> | round t/K + 1 | slot |          K cells
//!   slots   [length, bytes] [length, bytes] ...            K + receivers + 1 slots
//! ```
//!
//! To publish t is one compare-exchange of its cell, from message t-K to t: the commit point. The slot of t-K is then
//! written again once nobody reads it. Each receiver has a line of its own, which only it writes:
//!
//! | word | says |
//! |---|---|
//! | `MODE` | (sequence of the end word, is it waited for): the other words are this holder's |
//! | `CURSOR` | 2n: message n is the next one; 2n+1: it is in hand. Of who is waited for: all before n are done with |
//! | `PIN` | slot + 1: this receiver reads that slot; 0: none |
//! | `MISSED` | messages that were gone before it came to them |
//!
//! F1. A slot that a cell names is written by nobody. One that no cell names any more is *used*, and becomes *free* when a scan
//!     finds that nobody reads it: by F2 who pins, by F3 who is waited for.
//! F2. *Pins.* A receiver pins the slot that a cell names, then looks at the cell again; the sender changes the cell, then looks
//!     at the pins; both with a fence between. So either the receiver sees that the message is gone, or the sender sees the pin.
//! F3. *Cursors.* Message p may be published when each receiver that is waited for was seen to have taken p-K (F4). Then it has
//!     given back all before, and those are the ones that no cell names. It needs no fence: the sender saw (Acquire) the cursor,
//!     which the receiver moved (Release) when it was done. So nobody who is waited for pins, and no slot is written before.
//! F4. Messages below `clear` may be published without a look: each receiver that is waited for was seen to have taken the one
//!     K before. So the receivers are looked at once for many messages, and the cost of one does not grow with
//!     their number. `granted >= clear` always, in shared memory. By another policy nobody is waited for, and all is clear.
//! F5. A receiver that comes is waited for from the larger of where it begins and `granted - K` on: it writes its cursor,
//!     fence, reads `granted`; the sender writes `granted`, fence, looks at the cursors again. What is older it reads by pins,
//!     as long as it is there.
//! F6. A receiver has at most one message in hand. So of the slots that no cell names at least one is free.
//! F7. The cells are the authority for how many were published; `tail` is a hint that lags behind by what a dead sender did not
//!     come to say. A dead sender has published or has not; which slots are used its successor finds from the cells.
//!
//! Who is stopped or dies is in nobody's way, but for a receiver that is waited for: until its end word says that it died.
//! Who waits sleeps in the `Crowd` (receivers), or says so in `sender_sleeps`. Nothing here knows what is in a message.

#![allow(unsafe_code)] // The slots' bytes are raw memory: F1 says whose they are.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

use super::call::{Ground, Memory, Stop};
use super::crowd::{Crowd, Seat};
use super::ring::{Shape, Slot, Slots};
use super::side::{Side, ATTACHED};
use super::tally::Tally;
use crate::memory::platform::{Native, Platform, Word64};
use crate::process::wait::{wait, Waited, Woken};

pub(crate) mod builder;
pub(crate) mod end;
pub(crate) mod ends;
pub(crate) mod guard;
pub(crate) mod latest;
pub(crate) mod observer;
mod operation;
pub(crate) mod place;
mod receiving;
mod sending;

pub use receiving::{CastReceiver, Taken};
pub use sending::{Building, CastSender};

/// A seat's words.
pub const CURSOR: usize = 0;
/// See `CURSOR`.
pub const PIN: usize = 1;
/// See `CURSOR`.
pub const MODE: usize = 2;
/// See `CURSOR`.
pub const MISSED: usize = 3;

/// In `MODE`: this receiver is waited for.
const WAITED_FOR: u64 = 1;

/// The words of a broadcast that are nobody's seat. Each in lines of its own.
#[repr(C, align(128))]
pub struct BroadcastHead<P: Platform = Native> {
    /// How many messages were published: a hint (F7).
    pub tail: P::U64,
    tail_pad: [u64; 15],
    /// F4, F5.
    pub granted: P::U64,
    granted_pad: [u64; 15],
    /// The sender waits for room, and sleeps.
    pub sender_sleeps: P::U64,
    sleeps_pad: [u64; 15],
}

const _: () = assert!(size_of::<BroadcastHead>() == 384);

impl<P: Platform> BroadcastHead<P> {
    /// Nothing was sent.
    #[cfg(test)]
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        let pad = [0; 15];
        BroadcastHead {
            tail: zero(),
            tail_pad: pad,
            granted: zero(),
            granted_pad: pad,
            sender_sleeps: zero(),
            sleeps_pad: pad,
        }
    }
}

/// Places are below, whatever a peer wrote: there is room for two of them in a word (`CURSOR`).
const PLACES_MAX: u64 = 1 << 60;

/// What happens when a receiver is slower than the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum SlowReceiver {
    /// The sender waits for it: nobody misses anything.
    #[default]
    Block,
    /// It misses the oldest messages, and is told how many; nobody waits for it.
    DropOldest,
    /// It is disconnected: its next call says so. Nobody waits for it.
    Disconnect,
}

impl SlowReceiver {
    pub(crate) const fn code(self) -> u8 {
        match self {
            SlowReceiver::Block => 0,
            SlowReceiver::DropOldest => 1,
            SlowReceiver::Disconnect => 2,
        }
    }
    pub(crate) const fn from_code(code: u8) -> Option<SlowReceiver> {
        match code {
            0 => Some(SlowReceiver::Block),
            1 => Some(SlowReceiver::DropOldest),
            2 => Some(SlowReceiver::Disconnect),
            _ => None,
        }
    }
}

impl std::fmt::Display for SlowReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            SlowReceiver::Block => "the sender waits",
            SlowReceiver::DropOldest => "it misses the oldest",
            SlowReceiver::Disconnect => "it is disconnected",
        })
    }
}

/// Which of the messages that were sent before it came a receiver gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Late {
    /// None of them.
    #[default]
    None,
    /// The last one, if there is one.
    Last,
    /// The last so many; at most as many as the channel's degree.
    LastN(u64),
}

impl Late {
    fn messages(self) -> u64 {
        match self {
            Late::None => 0,
            Late::Last => 1,
            Late::LastN(n) => n,
        }
    }
}

/// A place in the channel: message `place`, whose cell is `index`, in round `round`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    place: u64,
    index: u64,
    round: u64,
}

impl At {
    fn of(place: u64, degree: u64) -> At {
        At { place, index: place % degree, round: place / degree }
    }

    #[inline(always)]
    fn next(self, degree: u64) -> At {
        let At { place, index, round } = self;
        if index + 1 < degree {
            At { place: place + 1, index: index + 1, round }
        } else {
            At { place: place + 1, index: 0, round: round + 1 }
        }
    }
}

/// A broadcast as this process reaches it.
pub struct Cast<P: Platform> {
    head: NonNull<BroadcastHead<P>>,
    receivers: NonNull<Crowd<P>>,
    cells: NonNull<P::U64>,
    slots: Slots<P>,
    degree: u64,
    seats: usize,
    slot_bits: u32,
    /// Some receiver may have to be waited for.
    waits: bool,
}

// SAFETY: the words are atomic, and F1 says whose the bytes are.
unsafe impl<P: Platform> Send for Cast<P> {}

impl<P: Platform> Cast<P> {
    /// The slots of a broadcast of degree `degree` for `seats` receivers. None: it overflows.
    pub fn shape(degree: u64, seats: usize, message_bytes_max: u64, align: u64) -> Option<Shape> {
        Shape::of::<P>(degree.checked_add(seats as u64)?, message_bytes_max, align)
    }

    /// # Safety
    /// All are there as long as this is used, zero at first: `degree` cells, and the slots that `shape` says.
    pub unsafe fn new(
        head: NonNull<BroadcastHead<P>>,
        receivers: NonNull<Crowd<P>>,
        cells: NonNull<P::U64>,
        slots: Slots<P>,
        degree: u64,
        seats: usize,
        policy: SlowReceiver,
    ) -> Self {
        let slot_bits = 64 - slots.shape.degree.leading_zeros();
        let waits = policy == SlowReceiver::Block;
        Cast { head, receivers, cells, slots, degree, seats, slot_bits, waits }
    }

    /// The words that are nobody's.
    #[inline(always)]
    pub fn head(&self) -> &BroadcastHead<P> {
        // SAFETY: `new`.
        unsafe { self.head.as_ref() }
    }

    /// The receivers.
    #[inline(always)]
    pub fn receivers(&self) -> &Crowd<P> {
        // SAFETY: `new`.
        unsafe { self.receivers.as_ref() }
    }

    /// Most receivers.
    pub fn seats(&self) -> usize {
        self.seats
    }

    /// Longest message, bytes.
    pub fn message_bytes_max(&self) -> u64 {
        self.slots.shape.message_bytes_max
    }

    #[inline(always)]
    fn cell(&self, index: u64) -> &P::U64 {
        debug_assert!(index < self.degree);
        // SAFETY: `new`; an `At`'s index is below the degree.
        unsafe { self.cells.add(index as usize).as_ref() }
    }

    /// A slot's words and bytes. None: there is no such slot.
    #[inline(always)]
    fn slot(&self, slot: u64) -> Option<(&Slot<P>, *mut u8)> {
        let shape = &self.slots.shape;
        // SAFETY: a multiple of the stride, below the ring's bytes.
        (slot <= shape.degree).then(|| unsafe { self.slots.slot_at(slot * shape.stride) })
    }

    #[inline(always)]
    fn encode(&self, round: u64, slot: u64) -> u64 {
        ((round + 1) << self.slot_bits) | slot
    }

    #[inline(always)]
    fn slot_of(&self, cell: u64) -> u64 {
        cell & ((1 << self.slot_bits) - 1)
    }

    /// How many messages were published (F7).
    pub fn tail(&self) -> u64 {
        let mut place = self.head().tail.load(Acquire);
        loop {
            place = place.min(PLACES_MAX);
            let at = At::of(place, self.degree);
            let there = self.cell(at.index).load(Acquire) >> self.slot_bits;
            if there <= at.round || place == PLACES_MAX {
                return place;
            }
            // To where this cell says that it has come: each cell is looked at once, unless the sender goes on meanwhile.
            place = (there - 1).saturating_mul(self.degree).saturating_add(at.index + 1);
        }
    }

    /// How many receivers have come: none of them misses a message that is sent from now on, unless it is slow.
    pub fn joined(&self) -> usize {
        let has_come = |seat: &&Seat<P>| {
            let end = seat.side.end();
            // Acquire: its cursor was written before.
            end.state() == ATTACHED && seat.words[MODE].load(Acquire) >> 1 == end.sequence()
        };
        self.receivers().seats().iter().filter(has_come).count()
    }

    #[inline(always)]
    fn seat(&self, number: usize) -> &Seat<P> {
        self.receivers().seat(number)
    }
}

/// One end of a broadcast in a call: the sender, or a receiver.
pub struct CastParty<'c, P: Platform, G: Ground<P>> {
    /// The broadcast.
    pub cast: &'c Cast<P>,
    /// The sender's side.
    pub sender: &'c Side<P>,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this end.
    pub tally: &'c Tally<P>,
    /// What it remembers.
    pub memory: &'c Memory,
}

impl<P: Platform, G: Ground<P>> CastParty<'_, P, G> {
    /// The caller has just moved its cursor by a read-modify-write.
    #[inline(always)]
    fn wake_sender(&self) {
        P::fence_after_rmw();
        if self.cast.head().sender_sleeps.load(Relaxed) != 0 {
            self.tally.woke();
            self.wake(self.sender);
        }
    }

    /// Who was killed asleep sleeps no more.
    fn wake(&self, side: &Side<P>) {
        if side.end().state() == ATTACHED {
            self.ground.wake(side.pcb_ref());
        }
    }

    /// Waits until `poll` gives something; sleeps as `own`.
    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        own: &Side<P>,
        poll: impl FnMut() -> Option<Result<R, Stop>>,
        announce: impl Fn(),
        retire: impl Fn(),
    ) -> Result<R, Stop> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let announced = Cell::new(false);
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            poll,
            |pcb_ref| {
                own.set_pcb_ref(pcb_ref);
                announce();
                announced.set(true);
                true
            },
        );
        if announced.get() {
            retire();
        }
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(BroadcastHead {
        tail,
        tail_pad,
        granted,
        granted_pad,
        sender_sleeps,
        sleeps_pad
    })]
}

#[cfg(test)]
pub(crate) fn words() -> [(&'static str, u64); 4] {
    [
        ("broadcast::CURSOR", CURSOR as u64),
        ("broadcast::PIN", PIN as u64),
        ("broadcast::MODE", MODE as u64),
        ("broadcast::MISSED", MISSED as u64),
    ]
}
