//! A ring of cells on the heap, for any number of threads at both ends: `bounded(k)`.
//!
//! ```text
//!   tail, head    position: lap (high bits) | cell (low bits); tail's top bit: CLOSED
//!   cell i        stamp | value
//! ```
//!
//! | stamp of cell i | means | left by |
//! |---|---|---|
//! | p, a position of this cell | free, for the message of position p | the sender that moved the tail from p |
//! | p + 1 | holds the message of position p | the receiver that moved the head from p |
//!
//! Sending is one compare-exchange of the tail, receiving one of the head: that gives the cell to whoever made it, who
//! copies and then moves the stamp on. This is the bounded queue of Dmitry Vyukov, with exactly k cells.
//!
//! Between processes it would not do: whoever stops between the two steps has a cell in hand that nobody else can
//! pass. `channel::queue` pays for that with slots for each sender and one more locked instruction a message. In one
//! process nobody is killed alone, and a thread that was interrupted there goes on.
//!
//! V1. The cell of position p is written by the sender that moved the tail from p, when the stamp is p, and read by the
//!     receiver that moved the head from p, when the stamp is p + 1. Each stores the next stamp when it is done (Release; pairs
//!     with the Acquire of who finds it).
//! V2. Full: the head is a lap behind the tail. Empty: the tail is where the head is. Who sleeps looks at these two
//!     words, which change by read-modify-writes (sleepers.rs, Z1), not at stamps; where a stamp is late, it is waited for.
//! V3. A lap is longer than the ring by at least one: p + 1 is no position of the same cell.
//! V4. With CLOSED in the tail nobody moves it: what is there is all that comes.

#![allow(unsafe_code)] // Cells are raw memory: V1 says whose they are.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::sleepers::{pause, Left, Me, Sleepers};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::side::LEFT;
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;
use crate::process::wait::Woken;

/// In the tail: an end is gone for good.
const CLOSED: u64 = 1 << 63;

/// In pairs of cache lines of its own: they are fetched in pairs.
#[repr(align(128))]
struct Apart<W>(W);

struct Cell<P: Platform, T> {
    stamp: P::U64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A ring of cells.
pub struct Ring<P: Platform, T> {
    tail: Apart<P::U64>,
    head: Apart<P::U64>,
    shape: Apart<Shape<P, T>>,
    senders: Apart<Sleepers<P>>,
    receivers: Apart<Sleepers<P>>,
}

/// What does not change.
struct Shape<P: Platform, T> {
    cells: Box<[Cell<P, T>]>,
    /// Positions of a lap, a power of two (V3).
    lap: u64,
}

// SAFETY: values are moved from thread to thread; V1.
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

impl<P: Platform, T> Ring<P, T> {
    /// For `degree` > 0 values. Panics if there is no memory for it, as `Vec::with_capacity` does.
    pub fn new(degree: usize) -> Self {
        let cells = (0..degree)
            .map(|i| Cell { stamp: P::U64::new(i as u64), value: UnsafeCell::new(MaybeUninit::uninit()) })
            .collect();
        let zero = || Apart(P::U64::new(0));
        Ring {
            tail: zero(),
            head: zero(),
            shape: Apart(Shape { cells, lap: (degree as u64 + 1).next_power_of_two() }),
            senders: Apart(Sleepers::new()),
            receivers: Apart(Sleepers::new()),
        }
    }

    /// How many it holds.
    pub fn degree(&self) -> usize {
        self.shape.0.cells.len()
    }

    /// How many wait now: of a moment between the call and its return.
    pub fn len(&self) -> usize {
        let low = self.shape.0.lap - 1;
        loop {
            let tail = self.tail.0.load(Acquire);
            let head = self.head.0.load(Acquire);
            if self.tail.0.load(Acquire) != tail {
                continue;
            }
            let (tail, degree) = (tail & !CLOSED, self.degree() as u64);
            return match (tail & low).cmp(&(head & low)) {
                std::cmp::Ordering::Greater => (tail - head) as usize,
                std::cmp::Ordering::Less => (degree + (tail & low) - (head & low)) as usize,
                std::cmp::Ordering::Equal if tail == head => 0,
                std::cmp::Ordering::Equal => degree as usize,
            };
        }
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell<P, T> {
        let shape = &self.shape.0;
        // SAFETY: the low bits of a position are below the degree: `next` sees to it.
        unsafe { shape.cells.get_unchecked((position & (shape.lap - 1)) as usize) }
    }

    #[inline(always)]
    fn next(&self, position: u64) -> u64 {
        let Shape { cells, lap } = &self.shape.0;
        if (position & (lap - 1)) + 1 < cells.len() as u64 {
            position + 1
        } else {
            (position & !(lap - 1)).wrapping_add(*lap)
        }
    }

    /// Moves the value at `message` into the ring, if there is room.
    ///
    /// # Safety
    /// `message` is a value that may be moved out; it was if this is Ok.
    #[inline(always)]
    unsafe fn put(&self, message: *const T) -> Result<(), Not> {
        let mut tail = self.tail.0.load(Relaxed);
        let mut steps = 0;
        loop {
            if tail & CLOSED != 0 {
                return Err(Not::Ever);
            }
            let cell = self.cell(tail);
            let stamp = cell.stamp.load(Acquire); // V1
            if stamp == tail {
                // AcqRel: orders nothing but V2; the bytes go with the stamp.
                match self.tail.0.compare_exchange(tail, self.next(tail), AcqRel, Relaxed) {
                    Ok(_) => {
                        // SAFETY: V1: the cell is ours to write.
                        unsafe { (*cell.value.get()).as_mut_ptr().copy_from_nonoverlapping(message, 1) };
                        cell.stamp.store(tail + 1, Release); // V1
                        return Ok(());
                    }
                    Err(found) => tail = found,
                }
                P::relax_briefly(steps);
                continue;
            }
            if stamp.wrapping_add(self.shape.0.lap) == tail + 1
                && self.head.0.load(Relaxed).wrapping_add(self.shape.0.lap) == tail
            {
                return Err(Not::Yet); // V2
            }
            // A receiver is about to free it, or another sender was quicker.
            super::relax::<P>(steps);
            steps += 1;
            tail = self.tail.0.load(Relaxed);
        }
    }

    /// Moves the oldest value out.
    #[inline(always)]
    fn get(&self) -> Result<T, Not> {
        let mut head = self.head.0.load(Relaxed);
        let mut steps = 0;
        loop {
            let cell = self.cell(head);
            let stamp = cell.stamp.load(Acquire); // V1
            if stamp == head + 1 {
                match self.head.0.compare_exchange(head, self.next(head), AcqRel, Relaxed) {
                    Ok(_) => {
                        // SAFETY: V1: the cell holds a value, and it is ours.
                        let value = unsafe { (*cell.value.get()).assume_init_read() };
                        cell.stamp.store(head.wrapping_add(self.shape.0.lap), Release); // V1
                        return Ok(value);
                    }
                    Err(found) => head = found,
                }
                P::relax_briefly(steps);
                continue;
            }
            if stamp == head {
                // Acquire: what was put before it was closed is seen, for V4.
                let tail = self.tail.0.load(Acquire);
                if tail & !CLOSED == head {
                    return Err(if tail & CLOSED != 0 { Not::Ever } else { Not::Yet });
                    // V2
                }
            }
            // A sender is about to fill it, or another receiver was quicker.
            super::relax::<P>(steps);
            steps += 1;
            head = self.head.0.load(Relaxed);
        }
    }

    /// Sends the value at `message`. Ok: it was moved out, and is not to be used or dropped there.
    ///
    /// # Safety
    /// As `put`.
    #[inline(always)]
    pub unsafe fn send<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        message: *const T,
        patience: Patience,
    ) -> Result<(), Stop> {
        // SAFETY: passed on.
        match unsafe { self.put(message) } {
            Ok(()) => {}
            // SAFETY: passed on; it was not moved.
            Err(Not::Yet) => unsafe { self.send_waiting(me, ground, message, patience) }?,
            Err(not) => return Err(not.into()),
        }
        if self.receivers.0.any_after_rmw() {
            self.receivers.0.wake_one(ground);
        }
        Ok(())
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
        let put = || unsafe { self.put(message) };
        self.wait(me, ground, &self.senders.0, patience, put, || self.len() < self.degree())
    }

    /// Receives the oldest value.
    #[inline(always)]
    pub fn receive<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        let value = match self.get() {
            Ok(value) => value,
            Err(Not::Yet) => self.receive_waiting(me, ground, patience)?,
            Err(not) => return Err(not.into()),
        };
        if self.senders.0.any_after_rmw() {
            self.senders.0.wake_one(ground);
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    fn receive_waiting<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        self.wait(me, ground, &self.receivers.0, patience, || self.get(), || self.len() != 0)
    }

    /// Waits until `act` does its work; `more`: is there work for another one who sleeps in `own`?
    fn wait<G: Ground<P>, R>(
        &self,
        me: &Me,
        ground: &G,
        own: &Sleepers<P>,
        patience: Patience,
        act: impl Fn() -> Result<R, Not>,
        more: impl Fn() -> bool,
    ) -> Result<R, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        let poll = |_| match act() {
            Ok(done) => Some(Ok(done)),
            Err(Not::Yet) => None,
            Err(not) => Some(Err(not.into())),
        };
        let (woken, left) = pause(me, ground, own, deadline, poll);
        if left.is_some_and(|(_, left)| left == Left::Picked) && more() {
            own.wake_one(ground); // Z3
        }
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }

    /// Nobody sends any more, or nobody receives; whoever sleeps is told.
    pub fn close<G: Ground<P>>(&self, ground: &G) {
        self.tail.0.fetch_or(CLOSED, AcqRel);
        P::fence_after_rmw();
        self.senders.0.wake_all(ground);
        self.receivers.0.wake_all(ground);
    }

    /// Drops what nobody will receive; after `close`. A `Drop` that panics does not keep the others from being dropped.
    pub fn discard(&self) {
        struct Rest<'a, P: Platform, T>(&'a Ring<P, T>);
        impl<P: Platform, T> Drop for Rest<'_, P, T> {
            fn drop(&mut self) {
                self.0.drop_all();
            }
        }
        let rest = Rest(self);
        self.drop_all();
        std::mem::forget(rest);
    }

    fn drop_all(&self) {
        while self.get().is_ok() {}
    }
}

impl<P: Platform, T> Drop for Ring<P, T> {
    fn drop(&mut self) {
        self.discard();
    }
}
