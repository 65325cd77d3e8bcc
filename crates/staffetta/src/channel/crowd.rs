//! One direction of a channel with many ends: up to 64 seats, and who of them sleeps.
//!
//! ```text
//!   0  sleepers, departures           rarely written: everybody's copy of the line stays good
//! 128  place, returned                where the direction has come to
//! 256  seats: side | words | counters | (pair), 256 bytes each
//! ```
//!
//! The sleep handshake of `process::wait` when several may wait for the same change, which P in a word cannot tell:
//!
//! ```text
//!   sleeper: sets its bit in `sleepers`      waker: changes the word (a read-modify-write)
//!            fence                                  fence
//!            polls once more, sleeps                loads `sleepers`, wakes each whose bit is set
//! ```
//!
//! D1. Of the two loads one sees the other's change, by the two fences: so no wake-up is lost. A waker on whose
//!     side nobody sleeps has done one load.
//! D2. A bit is cleared by its sleeper alone, when it is awake; of one that was killed in its sleep, by the next one in its
//!     seat. (Until then each waker looks at that seat once more, and finds that it was woken already. A sweeper must not clear
//!     it: it may have been stopped for so long that the bit is the next one's.) So a waker that is stopped or killed between its load
//!     and the wake-up takes nothing with it, and whoever changes something next wakes again. All
//!     sleepers are woken, not one: the one might be stopped, and then nobody would come.
//!     Nobody is woken twice for the same sleep: who finds that `rung` says so knows that the wake-up is *done*, not
//!     only begun. That `sleeps` is not one too old is D1 again: it is stored before the sleeper's fence.
//! D3. A seat is held by one end at a time (side.rs). `words` are written by its holder, and by sweepers after its death.
//! D4. `departures` grows after an end word left ATTACHED: who waits looks at the end words when it has changed.
//! D5. Somebody may be stopped between its change and its load, and those for whom the change was sleep on. So who is about to
//!     sleep wakes the sleepers of the other side, if the two cannot have cause to sleep both: an empty queue has room.
//!     Who tries, or spins, does so whenever it looks in vain.
//!
//! D6. `fell` tells of a time when nobody was left, somebody of them having died, and somebody has come since: it is written by whoever
//!     comes, before it takes its seat, so who sees that one sees `fell` grown.
//!
//! This file does not know what is waited for, nor what a message is.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::side::{Side, ATTACHED, DIED, LEFT};
use super::tally::Tally;
use crate::memory::platform::{Native, Platform, Word64};
use crate::memory::word::Word;

/// Most ends of one direction.
pub const SEATS_MAX: usize = 64;
/// Words of a seat for the form's own use.
pub const SEAT_WORDS: usize = 8;

/// One end's part of the shared state.
#[repr(C, align(256))]
pub struct Seat<P: Platform = Native> {
    /// Who holds it, and how it is woken.
    pub side: Side<P>,
    /// For the form (D3), in a line of their own.
    pub words: [P::U64; SEAT_WORDS],
    /// Its counters.
    pub tally: Tally<P>,
    /// How often it was about to sleep.
    sleeps: P::U64,
    /// The last sleep for which its wake-up is done.
    rung: P::U64,
    pair: [u64; 6],
}

/// All ends of one direction.
#[repr(C, align(256))]
pub struct Crowd<P: Platform = Native> {
    sleepers: P::U64,
    departures: P::U64,
    /// D6: how often ends had been taken when nobody was left the last time; 0: never.
    fell: P::U64,
    pad: [u64; 13],
    /// A hint how far this direction has come.
    pub place: P::U64,
    /// Of the receivers: grows after a message was returned that a dead receiver had in hand. Each receiver then looks
    /// for itself: nothing is cleared, so nobody who is stopped while it clears hides a message from others.
    pub returned: P::U64,
    place_pad: [u64; 14],
    seats: [Seat<P>; SEATS_MAX],
}

const _: () = assert!(size_of::<Seat>() == 256);
const _: () = assert!(size_of::<Crowd>() == 256 * (SEATS_MAX + 1));

impl<P: Platform> Seat<P> {
    /// Never held.
    pub fn new() -> Self {
        Seat {
            side: Side::new(),
            words: std::array::from_fn(|_| P::U64::new(0)),
            tally: Tally::new(),
            sleeps: P::U64::new(0),
            rung: P::U64::new(0),
            pair: [0; 6],
        }
    }

    /// With another side.
    #[cfg(test)]
    pub fn with_side(self, side: Side<P>) -> Self {
        Seat { side, sleeps: P::U64::new(0), rung: P::U64::new(0), ..self }
    }

    /// With other words.
    #[cfg(test)]
    pub fn with_words(self, words: [P::U64; SEAT_WORDS]) -> Self {
        Seat { words, ..self }
    }
}

impl<P: Platform> Default for Seat<P> {
    fn default() -> Self {
        Seat::new()
    }
}

impl<P: Platform> Crowd<P> {
    /// Nobody there, on the heap. It never is on the stack: a model's has not room for it.
    #[cfg(test)]
    #[allow(unsafe_code)] // fields are written one by one
    pub fn boxed(mut seat: impl FnMut(usize) -> Seat<P>) -> Box<Self> {
        let mut crowd = Box::<Self>::new_uninit();
        let at = crowd.as_mut_ptr();
        // SAFETY: inside the allocation; every field is written before it is called initialised.
        unsafe {
            (&raw mut (*at).sleepers).write(P::U64::new(0));
            (&raw mut (*at).departures).write(P::U64::new(0));
            (&raw mut (*at).fell).write(P::U64::new(0));
            (&raw mut (*at).pad).write([0; 13]);
            (&raw mut (*at).place).write(P::U64::new(0));
            (&raw mut (*at).returned).write(P::U64::new(0));
            (&raw mut (*at).place_pad).write([0; 14]);
            for number in 0..SEATS_MAX {
                (&raw mut (*at).seats[number]).write(seat(number));
            }
            crowd.assume_init()
        }
    }

    /// A seat; numbers come round.
    #[inline(always)]
    pub fn seat(&self, number: usize) -> &Seat<P> {
        &self.seats[number % SEATS_MAX]
    }

    /// All seats.
    pub fn seats(&self) -> &[Seat<P>; SEATS_MAX] {
        &self.seats
    }

    /// Takes the first free one of the first `many` seats for process `slot`: its number, and its end word. `Err`: all are
    /// taken; the end word of the first.
    pub fn attach(&self, slot: u16, many: usize) -> Result<(usize, Word), Word> {
        let free = |(number, seat): (usize, &Seat<P>)| Some((number, seat.side.attach(slot).ok()?));
        let taken = self.seats[..many.min(SEATS_MAX)].iter().enumerate().find_map(free);
        if let Some((number, _)) = taken.filter(|(number, _)| self.sleepers() >> number & 1 == 1) {
            self.retire(number); // D2: of one that was killed while it slept
        }
        taken.ok_or(self.seats[0].side.end())
    }

    /// This seat is about to sleep; the caller polls once more before it does (D1).
    pub fn announce(&self, number: usize) {
        let seat = self.seat(number);
        // Release: with it the reference of the PCB, and the ticket that was taken before.
        seat.sleeps.store(seat.sleeps.load(Relaxed).wrapping_add(1), Release);
        self.sleepers.fetch_or(1 << (number % SEATS_MAX), AcqRel);
        P::fence_after_rmw();
    }

    /// This seat is awake, and waits for nothing.
    pub fn retire(&self, number: usize) {
        self.sleepers.fetch_and(!(1 << (number % SEATS_MAX)), AcqRel);
    }

    /// Those who sleep, or are about to, if the caller has just changed by a read-modify-write what they wait for (D1).
    #[inline(always)]
    pub fn sleepers_after_rmw(&self) -> u64 {
        P::fence_after_rmw();
        self.sleepers.load(Relaxed)
    }

    /// Those who sleep, or are about to, as it may have been some time ago: for who looks again.
    #[inline(always)]
    pub fn sleepers(&self) -> u64 {
        self.sleepers.load(Relaxed)
    }

    /// Wakes all of `sleepers` by `wake`.
    #[cold]
    #[inline(never)]
    pub fn wake(&self, mut sleepers: u64, wake: impl Fn(&Side<P>)) {
        while sleepers != 0 {
            let seat = &self.seats[sleepers.trailing_zeros() as usize];
            sleepers &= sleepers - 1;
            // Acquire: pairs with `announce`.
            let sleep = seat.sleeps.load(Acquire);
            // Acquire: pairs with the store below, that comes after its wake-up.
            if seat.rung.load(Acquire) != sleep {
                wake(&seat.side);
                seat.rung.store(sleep, Release);
            }
        }
    }

    /// Somebody has left or died (D4). The caller then wakes the other direction's sleepers.
    pub fn departed(&self) {
        self.departures.fetch_add(1, AcqRel);
    }

    /// Changes when somebody has left or died.
    #[inline(always)]
    pub fn departures(&self) -> u64 {
        self.departures.load(Acquire)
    }

    /// Somebody is about to come: if nobody is left, and not all came to their end, that is not forgotten (D6).
    pub fn note_fall(&self) {
        let end = self.end();
        // Twice the same: so there was a moment, between the two looks, when nobody was there.
        if end.state() != DIED || self.end() != end {
            return;
        }
        let mut noted = self.fell();
        while noted < end.sequence() {
            match self.fell.compare_exchange(noted, end.sequence(), AcqRel, Acquire) {
                Ok(_) => return,
                Err(found) => noted = found,
            }
        }
    }

    /// How often ends had been taken when nobody was left the last time before somebody came.
    pub fn fell(&self) -> u64 {
        self.fell.load(Acquire)
    }

    /// The same, up to an `end` that was read before: who has come since is not the one of whom that tells.
    pub fn fell_by(&self, end: Word) -> u64 {
        if end.state() == ATTACHED {
            end.sequence().saturating_sub(1)
        } else {
            self.fell()
        }
    }

    /// How many ends are held.
    pub fn attached(&self) -> usize {
        self.seats.iter().filter(|seat| seat.side.end().state() == ATTACHED).count()
    }

    /// The end words of all as if they were one: ATTACHED as long as anybody is there, the same word until all were gone (D6); else
    /// DIED if anybody died, LEFT if somebody was there, with a sequence that tells how often ends were taken.
    ///
    /// Anybody whose seat nobody has taken since: whoever is told that all are gone has to know that not all of them came
    /// to their end, though the last one to go may have left. Once somebody has taken the dead one's seat it has a successor,
    /// and is not told of any more.
    pub fn end(&self) -> Word {
        let mut fell = self.fell();
        loop {
            let end = self.end_as(fell);
            // Somebody may have died after their word was read, and be noted since: then it is not the word to that number.
            let now = self.fell();
            if end.state() != ATTACHED || now == fell {
                return end;
            }
            fell = now;
        }
    }

    fn end_as(&self, fell: u64) -> Word {
        let mut taken = 0;
        let mut state = 0;
        for seat in &self.seats {
            let end = seat.side.end();
            match end.state() {
                ATTACHED => return Word::new(ATTACHED, 0, fell.wrapping_add(1)),
                DIED => state = DIED,
                LEFT if state != DIED => state = LEFT,
                _ => {}
            }
            taken += end.sequence();
        }
        Word::new(state, 0, taken)
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![
        crate::memory::layout::layout!(Seat { side, words, tally, sleeps, rung, pair }),
        crate::memory::layout::layout!(Crowd {
            sleepers,
            departures,
            fell,
            pad,
            place,
            returned,
            place_pad,
            seats
        }),
    ]
}
