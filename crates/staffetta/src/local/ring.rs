//! A ring on the heap, for any number of threads at both ends: `bounded(k)`.
//!
//! ```text
//!   senders' side     lock | tail | head as last seen | receivers that sleep
//!   receivers' side   lock | head | tail as last seen | senders that sleep
//!   cells             k values, nothing beside them
//!
//!   tail, head        lap (high bits) | cell (low bits)
//! ```
//!
//! Each side is a queue's end for one, and a lock of one word makes its many threads one: taken by a compare-exchange,
//! given back by a store. So a message costs one locked instruction at each end, and the two ends meet only where a
//! ring for one sender and one receiver would.
//!
//! | bit of a lock | means | set by, cleared by |
//! |---|---|---|
//! | HELD | a thread of this side is at work, or one of the other side that announces itself | it |
//! | ASLEEP | threads of the *other* side sleep: whoever moves this side's position wakes one | who announces itself; who takes the last one off |
//! | CLOSED | nobody is left at the other side | its last thread |
//!
//! A lock with any bit set fails the first compare-exchange, so that looking for sleepers and for the end costs nothing as
//! long as there are none. It is also the sleep handshake, without a fence: whoever wants to sleep takes the lock of the *other*
//! side to say so (K2).
//!
//! Between processes it would not do: a process stopped with the lock in hand would stop all. `channel::queue` pays for that
//! with slots for each sender and two to three more locked instructions a message. In one process nobody is stopped or
//! killed alone; a thread that was interrupted goes on, and who waits for it gives its core away.
//!
//! K1. What is beside a lock is touched only by who has HELD; the positions are read by all, written by who has it.
//! K2. Whoever takes a side's lock sees the positions that were stored under it before (Acquire; pairs with the Release of
//!     `unlock`). So a sleeper that has announced itself under that lock and polls once more sees what was done before, and what is
//!     done later finds ASLEEP.
//! K3. A cell is the senders' while its position is not below the tail (stored after the value, Release), the receivers' until
//!     the head is past it (stored after the value was moved out, Release). The tail is at most a lap before the head.
//! K4. Who is taken off a list of sleepers owes a look: it takes what there is, or, if it leaves for another reason and there is
//!     something, wakes the next one. So one change wakes one sleeper, and none is left asleep.
//!     An operation of a select owes nothing, since nobody knows when its select looks again: it is told, and so is the next one.
//! K5. With CLOSED on the senders' side no value is put any more.

#![allow(unsafe_code)] // Cells are raw memory: K3 says whose they are.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::hands::Hands;
use super::sleepers::{pause, Left, Me, CALM_MAX};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::select::look::Look;
use crate::channel::select::turn::At;
use crate::channel::side::LEFT;
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::Woken;

const HELD: u64 = 1;
const ASLEEP: u64 = 2;
const CLOSED: u64 = 4;

/// One end, in a pair of cache lines of its own: they are fetched in pairs.
#[repr(align(128))]
struct End<P: Platform> {
    lock: P::U64,
    /// The tail, or the head.
    position: P::U64,
    /// The other end's position as last seen (K1).
    seen: Cell<u64>,
    /// PCB references of threads of the other end (K1).
    sleepers: UnsafeCell<VecDeque<u64>>,
}

/// A ring of cells.
pub struct Ring<P: Platform, T> {
    senders: End<P>,
    receivers: End<P>,
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Positions of a lap: a power of two, not less than the cells.
    lap: u64,
    /// What selects have taken.
    pub hands: Hands<P, T>,
}

// SAFETY: values are moved from thread to thread (K3); K1 for the rest.
unsafe impl<P: Platform, T: Send> Send for Ring<P, T> {}
// SAFETY: as above.
unsafe impl<P: Platform, T: Send> Sync for Ring<P, T> {}

/// Why nothing could be put or taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Not {
    /// Full, or empty.
    Yet,
    /// An end is gone.
    Ever,
}

impl From<Not> for Stop {
    fn from(not: Not) -> Stop {
        match not {
            Not::Yet => Stop::WouldBlock,
            Not::Ever => Stop::Gone(Word::new(LEFT, 0, 0)),
        }
    }
}

/// A side's lock in hand: its bits but HELD.
struct Locked<'a, P: Platform> {
    end: &'a End<P>,
    bits: u64,
}

impl<P: Platform> End<P> {
    fn new() -> Self {
        End {
            lock: P::U64::new(0),
            position: P::U64::new(0),
            seen: Cell::new(0),
            sleepers: UnsafeCell::default(),
        }
    }

    #[inline(always)]
    fn lock(&self) -> Locked<'_, P> {
        // Acquire: K1, K2.
        match self.lock.compare_exchange(0, HELD, Acquire, Relaxed) {
            Ok(_) => Locked { end: self, bits: 0 },
            Err(found) => self.lock_slowly(found),
        }
    }

    #[inline(never)]
    fn lock_slowly(&self, mut found: u64) -> Locked<'_, P> {
        let mut steps = 0;
        loop {
            if found & HELD == 0 {
                match self.lock.compare_exchange(found, found | HELD, Acquire, Relaxed) {
                    Ok(_) => return Locked { end: self, bits: found },
                    Err(now) => found = now,
                }
            } else {
                super::relax::<P>(steps);
                steps += 1;
                found = self.lock.load(Relaxed);
            }
        }
    }

    /// Is nobody left at the other end?
    fn is_closed(&self) -> bool {
        self.lock.load(Relaxed) & CLOSED != 0
    }

    /// The thread behind `pcb_ref`, of the other end, is about to sleep; it polls once more before it does.
    fn announce(&self, pcb_ref: u64) {
        let mut locked = self.lock();
        let sleepers = locked.sleepers();
        if !sleepers.contains(&pcb_ref) {
            sleepers.push_back(pcb_ref);
        }
        locked.bits |= ASLEEP;
        locked.unlock();
    }

    /// It is awake, and waits for nothing.
    fn retire(&self, pcb_ref: u64) -> Left {
        let mut locked = self.lock();
        let sleepers = locked.sleepers();
        let at = sleepers.iter().position(|&other| other == pcb_ref);
        let left = at.and_then(|at| sleepers.remove(at)).map_or(Left::Picked, |_| Left::Asleep);
        if sleepers.is_empty() {
            locked.bits &= !ASLEEP;
        }
        locked.unlock();
        left
    }

    /// Wakes one of those who wait for this end to move.
    #[cold]
    #[inline(never)]
    fn wake_one<G: Ground<P>>(&self, ground: &G) {
        self.lock().unlock_and_wake(ground);
    }

    /// Nobody is left at the other end; whoever waits for this one to move is told as well.
    fn close<G: Ground<P>>(&self, ground: &G) {
        let mut locked = self.lock();
        let sleepers = std::mem::take(locked.sleepers());
        locked.bits = locked.bits & !ASLEEP | CLOSED;
        locked.unlock();
        sleepers.into_iter().for_each(|pcb_ref| ground.wake(pcb_ref));
    }
}

impl<P: Platform> Locked<'_, P> {
    fn sleepers(&mut self) -> &mut VecDeque<u64> {
        // SAFETY: K1: we have the lock, and there is no other reference into the list.
        unsafe { &mut *self.end.sleepers.get() }
    }

    #[inline(always)]
    fn unlock(self) {
        self.end.lock.store(self.bits, Release); // K1, K2
    }

    #[cold]
    #[inline(never)]
    fn unlock_and_wake<G: Ground<P>>(mut self, ground: &G) {
        let sleepers = self.sleepers();
        // K4: up to the first one that is no select.
        let thread = sleepers.iter().position(|&pcb_ref| ground.select_at(pcb_ref).is_none());
        let told = thread.map_or(sleepers.len(), |at| at + 1);
        if told == 1 {
            let first = sleepers.pop_front();
            if sleepers.is_empty() {
                self.bits &= !ASLEEP;
            }
            self.unlock();
            if let Some(pcb_ref) = first {
                ground.wake(pcb_ref);
            }
            return;
        }
        let told: Vec<u64> = sleepers.drain(..told).collect();
        if sleepers.is_empty() {
            self.bits &= !ASLEEP;
        }
        self.unlock();
        told.into_iter().for_each(|pcb_ref| ground.wake(pcb_ref));
    }
}

impl<P: Platform, T> Ring<P, T> {
    /// For `degree` > 0 values. Panics if there is no memory for it, as `Vec::with_capacity` does.
    pub fn new(degree: usize) -> Self {
        let mut cells = Vec::with_capacity(degree);
        // SAFETY: there is room for so many, and a cell may hold anything.
        unsafe { cells.set_len(degree) };
        let lap = (degree as u64).next_power_of_two();
        let cells = cells.into_boxed_slice();
        Ring { senders: End::new(), receivers: End::new(), cells, lap, hands: Hands::new() }
    }

    /// How many it holds.
    #[inline(always)]
    pub fn degree(&self) -> usize {
        self.cells.len()
    }

    /// How many wait now: of a moment between the call and its return.
    pub fn len(&self) -> usize {
        loop {
            let tail = self.senders.position.load(Acquire);
            let head = self.receivers.position.load(Acquire);
            if self.senders.position.load(Acquire) == tail {
                // At most one lap lies between the two.
                let laps = (tail / self.lap).wrapping_sub(head / self.lap);
                let cells = laps.wrapping_mul(self.degree() as u64);
                return cells.wrapping_add(tail % self.lap).wrapping_sub(head % self.lap) as usize;
            }
        }
    }

    /// The cell of a position.
    ///
    /// # Safety
    /// `position` is 0 or came from `after`.
    #[inline(always)]
    unsafe fn cell(&self, position: u64) -> *mut T {
        // SAFETY: the low bits are below the degree: `after` sees to it.
        unsafe { self.cells.get_unchecked((position & (self.lap - 1)) as usize).get().cast() }
    }

    #[inline(always)]
    fn after(&self, position: u64) -> u64 {
        if (position & (self.lap - 1)) + 1 < self.degree() as u64 {
            position + 1
        } else {
            (position & !(self.lap - 1)).wrapping_add(self.lap)
        }
    }

    /// Moves the value at `message` into the ring, if there is room.
    ///
    /// # Safety
    /// `message` is a value that may be moved out; it was if this is Ok.
    #[inline(always)]
    unsafe fn put<G: Ground<P>>(&self, ground: &G, message: *const T) -> Result<(), Not> {
        let end = &self.senders;
        let locked = end.lock();
        if locked.bits & CLOSED != 0 {
            locked.unlock();
            return Err(Not::Ever);
        }
        // Relaxed: K1.
        let tail = end.position.load(Relaxed);
        if tail == end.seen.get().wrapping_add(self.lap) {
            end.seen.set(self.receivers.position.load(Acquire)); // K3
            if tail == end.seen.get().wrapping_add(self.lap) {
                locked.unlock();
                return Err(Not::Yet);
            }
        }
        // SAFETY: a position; K3: the cell is ours to write.
        unsafe { self.cell(tail).copy_from_nonoverlapping(message, 1) };
        end.position.store(self.after(tail), Release); // K3
        if locked.bits & ASLEEP == 0 {
            locked.unlock();
        } else {
            locked.unlock_and_wake(ground);
        }
        Ok(())
    }

    /// Moves the oldest value out.
    #[inline(always)]
    fn get<G: Ground<P>>(&self, ground: &G) -> Result<T, Not> {
        let end = &self.receivers;
        let locked = end.lock();
        let head = end.position.load(Relaxed);
        if end.seen.get() == head {
            end.seen.set(self.senders.position.load(Acquire)); // K3
            if end.seen.get() == head {
                let closed = locked.bits & CLOSED != 0;
                locked.unlock();
                return Err(if closed { Not::Ever } else { Not::Yet });
            }
        }
        // SAFETY: a position; K3: the cell holds a value, and it is ours.
        let value = unsafe { self.cell(head).read() };
        end.position.store(self.after(head), Release); // K3
        if locked.bits & ASLEEP == 0 {
            locked.unlock();
        } else {
            locked.unlock_and_wake(ground);
        }
        Ok(value)
    }

    /// Sends a value, or gives it back.
    #[inline(always)]
    pub fn send<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        message: T,
        patience: Patience,
    ) -> Result<(), (T, Stop)> {
        let message = ManuallyDrop::new(message);
        // SAFETY: it is not used again if it was moved out.
        let not = match unsafe { self.put(ground, &raw const *message) } {
            Ok(()) => return Ok(()),
            Err(not) => not,
        };
        // Moved to another place, so that no address of the first one is given away, which may then be a register.
        let waiting = message;
        let result = match not {
            // SAFETY: as above.
            Not::Yet => unsafe { self.send_waiting(me, ground, &raw const *waiting, patience) },
            Not::Ever => Err(not.into()),
        };
        result.map_err(|stop| (ManuallyDrop::into_inner(waiting), stop))
    }

    /// # Safety
    /// As `put`.
    #[cold]
    #[inline(never)]
    unsafe fn send_waiting<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        message: *const T,
        patience: Patience,
    ) -> Result<(), Stop> {
        // SAFETY: passed on; after an Ok it is not called again.
        let put = || unsafe { self.put(ground, message) };
        let hopeless = || self.len() == self.degree() && !self.senders.is_closed();
        self.wait(me, ground, &self.receivers, patience, hopeless, put)
    }

    /// Receives the oldest value.
    #[inline(always)]
    pub fn receive<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        if let Some(value) = self.hands.take_left() {
            return Ok(value);
        }
        match self.get(ground) {
            Ok(value) => Ok(value),
            Err(Not::Yet) => self.receive_waiting(me, ground, patience),
            Err(not) => Err(not.into()),
        }
    }

    #[cold]
    #[inline(never)]
    fn receive_waiting<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        let hopeless = || !self.is_possible(false);
        let act = || self.hands.take_left().map_or_else(|| self.get(ground), Ok);
        self.wait(me, ground, &self.senders, patience, hopeless, act)
    }

    /// Waits for `other` to move, until `act` does its work. `hopeless`: it would find nothing to do, as far as can be told without
    /// a lock.
    fn wait<G: Ground<P>, R>(
        &self,
        me: &Me,
        ground: &G,
        other: &End<P>,
        patience: Patience,
        hopeless: impl Fn() -> bool,
        act: impl Fn() -> Result<R, Not>,
    ) -> Result<R, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        let poll = |_| {
            if hopeless() {
                return None;
            }
            match act() {
                Ok(done) => Some(Ok(done)),
                Err(Not::Yet) => None,
                Err(not) => Some(Err(not.into())),
            }
        };
        let announce = |pcb_ref| other.announce(pcb_ref);
        // Not longer than it takes to fill or empty half of the ring.
        let calm_max = (self.degree() / 2).checked_ilog2().unwrap_or(0).min(CALM_MAX);
        let retire = |pcb_ref| other.retire(pcb_ref);
        let (woken, left) = pause::<P, _, _>(me, ground, deadline, calm_max, poll, announce, retire);
        if left.is_some_and(|(_, left)| left == Left::Picked) && !hopeless() {
            other.wake_one(ground); // K4
        }
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }

    /// Would a send, or a receive, find something to do, or an end?
    fn is_possible(&self, is_sender: bool) -> bool {
        if is_sender {
            self.len() < self.degree() || self.senders.is_closed()
        } else {
            self.len() > 0 || self.receivers.is_closed() || self.hands.has_left()
        }
    }

    /// Is the operation of a select possible? Who announces itself does so under the lock of the other side (K2).
    pub fn look(&self, is_sender: bool, at: At) -> Look {
        let possible = || !is_sender && self.hands.has(at.local) || self.is_possible(is_sender);
        if possible() {
            return Look::Ready;
        }
        if at.entry.is_none() {
            return Look::Not;
        }
        if is_sender { &self.receivers } else { &self.senders }.announce(at.local);
        if possible() {
            Look::Ready
        } else {
            Look::Not
        }
    }

    /// It is not to be told any more.
    pub fn retire(&self, is_sender: bool, who: u64) {
        if is_sender { &self.receivers } else { &self.senders }.retire(who);
    }

    /// What a select has taken and does not want is the next value that is received.
    pub fn release<G: Ground<P>>(&self, ground: &G, who: u64) {
        if self.hands.leave(who) {
            self.senders.wake_one(ground);
        }
    }

    /// Takes the oldest value for the select behind `who`. False: there is none.
    pub fn secure<G: Ground<P>>(&self, ground: &G, who: u64) -> bool {
        if self.hands.has(who) || self.hands.has_left() {
            return true;
        }
        match self.get(ground) {
            Ok(value) => {
                self.hands.put(who, value);
                true
            }
            Err(Not::Yet) => false,
            Err(Not::Ever) => true, // an error, to be told
        }
    }

    /// Nobody sends any more (`sender`), or nobody receives.
    pub fn close<G: Ground<P>>(&self, sender: bool, ground: &G) {
        // Those who wait for a side to move are told by that side's lock; that it is over is said in their own.
        let (gone, left) =
            if sender { (&self.senders, &self.receivers) } else { (&self.receivers, &self.senders) };
        left.close(ground);
        gone.close(ground);
    }

    /// Drops what nobody will receive; after `close`, and before the ring itself is dropped, which does not. A `Drop` that panics does not keep the others from being dropped.
    pub fn discard<G: Ground<P>>(&self, ground: &G) {
        struct Rest<'a, P: Platform, T, G: Ground<P>>(&'a Ring<P, T>, &'a G);
        impl<P: Platform, T, G: Ground<P>> Drop for Rest<'_, P, T, G> {
            fn drop(&mut self) {
                self.0.drop_all(self.1);
            }
        }
        let rest = Rest(self, ground);
        self.drop_all(ground);
        std::mem::forget(rest);
    }

    fn drop_all<G: Ground<P>>(&self, ground: &G) {
        while self.get(ground).is_ok() {}
    }
}

#[cfg(test)]
mod tests;
