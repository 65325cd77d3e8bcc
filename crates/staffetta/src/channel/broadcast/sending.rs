//! The sending end of a broadcast: which slot may be written, and when the next message may be published.
//!
//! It looks at the receivers once for many messages (`scan`): F1, F4, F6. Invariants: `broadcast/mod.rs`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{At, Cast, CastParty, CURSOR, MODE, PIN, PLACES_MAX, WAITED_FOR};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::side::ATTACHED;
use crate::memory::platform::{prefetch_for_write, Platform, Word64};
use crate::memory::word::Word;

/// The slot of the message so many further on is asked for in advance.
const AHEAD: usize = 4;

/// What the sender knows.
pub struct CastSender {
    at: At,
    /// F4.
    clear: u64,
    granted: u64,
    /// What the cells say: only the sender writes them.
    cells: Vec<u64>,
    /// The slot that is reserved.
    held: Option<u64>,
    /// Slots that may be written.
    free: Vec<u64>,
    /// Slots that no cell names any more, and somebody may still read.
    used: Vec<u64>,
    /// Are the bytes of each slot a whole message of this sender's?
    whole: Vec<bool>,
    /// The look that found each slot pinned.
    pinned_at: Vec<u64>,
    looks: u64,
    /// Who is waited for, when somebody is.
    slow: Option<Slow>,
}

/// A receiver that has not moved on.
#[derive(Clone, Copy)]
struct Slow {
    seat: usize,
    end: Word,
    cursor: u64,
}

/// What a scan found.
struct Scan {
    /// Messages below were taken by all who are waited for.
    taken: u64,
    slow: Option<Slow>,
}

impl CastSender {
    /// Of whoever has just attached: goes on where its predecessor stopped.
    pub fn new<P: Platform>(cast: &Cast<P>) -> CastSender {
        let slots = cast.slots.shape.degree + 1;
        let tail = cast.tail();
        cast.head().tail.store(tail, Release);
        // A predecessor that was killed asleep sleeps no more.
        cast.head().sender_sleeps.fetch_and(0, AcqRel);
        let cells: Vec<u64> = (0..cast.degree).map(|index| cast.cell(index).load(Acquire)).collect();
        let mut sender = CastSender {
            at: At::of(tail, cast.degree),
            clear: if cast.waits { tail } else { u64::MAX }, // nothing is known
            granted: cast.head().granted.load(Acquire).min(PLACES_MAX),
            cells,
            held: None,
            free: Vec::with_capacity(slots as usize),
            used: Vec::with_capacity(slots as usize),
            whole: vec![false; slots as usize],
            pinned_at: vec![0; slots as usize],
            looks: 0,
            slow: None,
        };
        P::fence_after_rmw(); // F2, of the predecessor's last change
        let mut is_named = vec![false; slots as usize];
        for cell in sender.cells.iter().filter(|cell| **cell != 0) {
            if let Some(is_named) = is_named.get_mut(cast.slot_of(*cell) as usize) {
                *is_named = true;
            }
        }
        sender.used.extend((0..slots).rev().filter(|slot| !is_named[*slot as usize]));
        sender
    }

    /// How many messages were published.
    #[inline(always)]
    pub fn place(&self) -> u64 {
        self.at.place
    }

    /// Is a slot reserved?
    #[inline(always)]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// A slot that may be written now, if the next message may be published.
    #[inline(always)]
    pub(super) fn room<P: Platform>(&mut self, cast: &Cast<P>) -> Result<Option<u64>, Stop> {
        if self.at.place >= self.clear || self.free.is_empty() {
            if self.slow.is_some_and(|slow| slow.is_there(cast)) {
                return Ok(None);
            }
            self.scan(cast);
            if self.at.place >= self.clear {
                return Ok(None);
            }
        }
        self.free.last().copied().map(Some).ok_or(Stop::Corrupt) // F6
    }

    /// Looks at all receivers: moves `clear` on, finds out which slots are free.
    #[cold]
    #[inline(never)]
    fn scan<P: Platform>(&mut self, cast: &Cast<P>) {
        // The fence of F2 is that of `publish`: no cell changed since.
        let mut seen = self.look(cast);
        let place = self.at.place;
        let may = |taken: u64| taken.min(place) + cast.degree;
        if cast.waits && may(seen.taken) > self.granted {
            // It is the sender's word. A read-modify-write for the fence.
            cast.head().granted.fetch_add(may(seen.taken) - self.granted, AcqRel);
            self.granted = may(seen.taken);
            P::fence_after_rmw(); // F5
            let again = self.look(cast);
            if again.taken <= seen.taken {
                (seen.taken, seen.slow) = (again.taken, again.slow);
            }
        }
        if cast.waits {
            self.clear = may(seen.taken);
        }
        self.slow = seen.slow.filter(|_| place >= self.clear);
        if place < self.clear {
            // F3: of those who are waited for nobody has one of these in hand.
            let (pinned_at, looks, free) = (&self.pinned_at, self.looks, &mut self.free);
            self.used.retain(|&slot| {
                let is_pinned = pinned_at[slot as usize] == looks;
                if !is_pinned {
                    free.push(slot);
                }
                is_pinned
            });
        }
    }

    fn look<P: Platform>(&mut self, cast: &Cast<P>) -> Scan {
        // What an earlier look found pinned may be so no more: each receiver pins one slot at most (F6).
        self.looks += 1;
        let mut scan = Scan { taken: u64::MAX, slow: None };
        for number in 0..cast.seats {
            let seat = cast.seat(number);
            let end = seat.side.end();
            if end.state() != ATTACHED {
                continue;
            }
            // Acquire: pairs with `join`: the other words are this holder's.
            let mode = seat.words[MODE].load(Acquire);
            if mode >> 1 != end.sequence() {
                continue; // it is still coming
            }
            // Acquire: pairs with `give_back`, here and at the cursor.
            let pin = seat.words[PIN].load(Acquire);
            let pinned = (pin as usize).checked_sub(1).and_then(|slot| self.pinned_at.get_mut(slot));
            if let Some(pinned_at) = pinned {
                *pinned_at = self.looks;
            }
            if mode & WAITED_FOR != 0 {
                let cursor = seat.words[CURSOR].load(Acquire);
                if cursor.div_ceil(2) < scan.taken {
                    scan.taken = cursor.div_ceil(2);
                    scan.slow = Some(Slow { seat: number, end: end.awake(), cursor });
                }
            }
        }
        scan
    }

    /// Reserves `slot`, which `room` gave; gives its bytes.
    #[inline(always)]
    fn hold<P: Platform>(&mut self, cast: &Cast<P>, slot: u64) -> Result<Building, Stop> {
        let (words, bytes) = cast.slot(slot).ok_or(Stop::Corrupt)?;
        self.free.pop();
        self.held = Some(slot);
        // A line that its readers have in their caches takes a while to come.
        let ahead = self.free.len().checked_sub(AHEAD).and_then(|at| cast.slot(self.free[at]));
        if let Some((words, _)) = ahead {
            prefetch_for_write(std::ptr::from_ref(words).cast());
        }
        let whole = std::mem::take(&mut self.whole[slot as usize]);
        Ok(Building { place: self.at.place, bytes, length: words.length.load(Relaxed), whole })
    }

    /// Gives the reserved slot up: nothing is sent.
    pub fn withdraw(&mut self) {
        if let Some(slot) = self.held.take() {
            self.free.push(slot);
        }
    }
}

impl Slow {
    /// Has it not moved on?
    fn is_there<P: Platform>(&self, cast: &Cast<P>) -> bool {
        let seat = cast.seat(self.seat);
        seat.words[CURSOR].load(Relaxed) == self.cursor && seat.side.end().awake() == self.end
    }
}

/// A slot in which a message is being built.
#[derive(Clone, Copy, Debug)]
pub struct Building {
    /// The message's number.
    pub place: u64,
    /// Where its bytes go.
    pub bytes: *mut u8,
    /// Of the message that was there before.
    pub length: u64,
    /// Is that one still there, whole?
    pub whole: bool,
}

impl<P: Platform, G: Ground<P>> CastParty<'_, P, G> {
    /// Reserves a slot when the next message may be published.
    #[inline(always)]
    pub fn reserve(&self, me: &mut CastSender, patience: Patience) -> Result<Building, Stop> {
        if me.is_held() {
            return Err(Stop::Held);
        }
        let slot = match me.room(self.cast)? {
            Some(slot) => slot,
            None => self.await_room(me, patience)?,
        };
        me.hold(self.cast, slot)
    }

    #[cold]
    #[inline(never)]
    fn await_room(&self, me: &mut CastSender, patience: Patience) -> Result<u64, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        let sleeps = &self.cast.head().sender_sleeps;
        self.wait(
            deadline,
            self.sender,
            || me.room(self.cast).transpose(),
            || {
                sleeps.fetch_or(1, AcqRel);
                P::fence_after_rmw();
            },
            || {
                sleeps.fetch_and(0, AcqRel);
            },
        )
    }

    /// Publishes the message of `length` bytes in the reserved slot: the commit point.
    #[inline(always)]
    pub fn publish(&self, me: &mut CastSender, length: u64) -> Result<(), Stop> {
        let cast = self.cast;
        let slot = me.held.ok_or(Stop::Corrupt)?;
        let (words, _) = cast.slot(slot).ok_or(Stop::Corrupt)?;
        words.length.store(length, Relaxed);
        let index = me.at.index;
        let (before, now) = (me.cells[index as usize], cast.encode(me.at.round, slot));
        // AcqRel: releases the bytes (F1).
        if cast.cell(index).compare_exchange(before, now, AcqRel, Relaxed).is_err() {
            return Err(Stop::Corrupt);
        }
        me.cells[index as usize] = now;
        me.held = None;
        me.whole[slot as usize] = true;
        if before != 0 && cast.slot_of(before) <= cast.slots.shape.degree {
            me.used.push(cast.slot_of(before));
        }
        me.at = me.at.next(cast.degree);
        cast.head().tail.store(me.at.place, Release);
        let receivers = cast.receivers();
        let sleepers = receivers.sleepers_after_rmw(); // the fence of F2, too
        if sleepers != 0 {
            self.tally.woke();
            receivers.wake(sleepers, |side| self.wake(side));
        }
        Ok(())
    }
}
