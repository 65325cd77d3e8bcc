//! The rendezvous between threads: the shipped [`Line`] and its walk, with values that move from the sender's stack to the
//! receiver's.
//!
//! What fits a cell rides in it. What does not is a message variable on the sender's stack and a target variable on the
//! receiver's, and whoever comes second copies, once: in one address space a pointer is a reference that needs no resolving.
//! Any number of senders and receivers take turns to be the one that the line knows.
//!
//! M1. A half's memory, side and tally are used by who has its turn.
//! M2. A message is read by the other side, or it comes back: never both (line.rs, L3). Its bytes are then the receiver's
//!     value; nobody drops the sender's.

#![allow(unsafe_code)] // Values are moved as bytes.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

use super::sleepers::Me;
use super::turn::{NoTurn, Turn};
use crate::channel::call::{Ground, Incoming, Memory, Outgoing, Patience, Stop};
use crate::channel::line::{Line, INLINE_BYTES, OFFER, WANT};
use crate::channel::rendezvous::Party;
use crate::channel::side::{Side, ATTACHED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::platform::Platform;
use crate::memory::word::Word;
use crate::process::wait::Wait;

/// How often `try_send` and `try_recv` look for a partner that is on its way.
pub(super) const TRIES_MAX: u64 = 1 << 10;

/// One side.
#[repr(align(128))]
struct Half<P: Platform> {
    turn: Turn<P>,
    side: Side<P>,
    tally: Tally<P>,
    memory: Memory,
}

impl<P: Platform> Half<P> {
    fn new(tally: Tally<P>, line: &Line<P>) -> Self {
        let side = Side::new();
        let held = side.attach(0).unwrap_or_else(|held| held);
        Half { turn: Turn::new(), side, tally, memory: Memory::of(line.word(), held, Wait::SpinThenPark) }
    }
}

/// A rendezvous on the heap.
pub struct Meet<P: Platform, T> {
    line: Line<P>,
    sender: Half<P>,
    receiver: Half<P>,
    values: PhantomData<T>,
}

// SAFETY: values are moved from thread to thread; M1 for the rest.
unsafe impl<P: Platform, T: Send> Send for Meet<P, T> {}
// SAFETY: as above.
unsafe impl<P: Platform, T: Send> Sync for Meet<P, T> {}

impl<P: Platform, T> Meet<P, T> {
    /// Does a value ride in a cell?
    const SMALL: bool = size_of::<T>() <= INLINE_BYTES;

    /// Both ends held; counted in these.
    pub fn new(sender: Tally<P>, receiver: Tally<P>) -> Self {
        let line = Line::new();
        let (sender, receiver) = (Half::new(sender, &line), Half::new(receiver, &line));
        Meet { line, sender, receiver, values: PhantomData }
    }

    /// Sends a value, or gives it back.
    #[inline]
    pub fn send<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        message: T,
        patience: Patience,
    ) -> Result<(), (T, Stop)> {
        let message = ManuallyDrop::new(message);
        let (bytes, length) = ((&raw const *message).cast::<u8>(), size_of::<T>());
        let outgoing = if Self::SMALL {
            Outgoing::Cell { bytes, length }
        } else {
            Outgoing::Variable { bytes, length, reference: bytes.expose_provenance() as u64, exact: true }
        };
        let sent = self.meet(&self.sender, &self.receiver, OFFER, (me, ground, patience), |mut party| {
            // SAFETY: we have the turn, so are the only sender (M1); the value stays where it is until this returns.
            unsafe { party.send(outgoing, patience) }
        });
        sent.map_err(|stop| (ManuallyDrop::into_inner(message), stop)) // M2
    }

    /// Receives a value.
    #[inline]
    pub fn receive<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        let mut target = MaybeUninit::<T>::uninit();
        let (bytes, length) = (target.as_mut_ptr().cast::<u8>(), size_of::<T>());
        let incoming = if Self::SMALL {
            Incoming::Cell { bytes, length }
        } else {
            let reference = bytes.expose_provenance() as u64;
            Incoming::Variable { bytes, capacity: length, reference, small: false, exact: true }
        };
        self.meet(&self.receiver, &self.sender, WANT, (me, ground, patience), |mut party| {
            // SAFETY: we have the turn, so are the only receiver (M1); the target is ours until this returns.
            unsafe { party.receive(incoming, patience) }
        })?;
        // SAFETY: a whole value was copied in (M2): all messages of this channel are `T`s.
        Ok(unsafe { target.assume_init() })
    }

    /// One call as the only one of `own`; `first` is the line's state while it waits.
    #[inline(always)]
    fn meet<G: Ground<P>, R>(
        &self,
        own: &Half<P>,
        other: &Half<P>,
        first: u8,
        (me, ground, patience): (&Me, &G, Patience),
        call: impl Fn(Party<'_, P, G>) -> Result<R, Stop>,
    ) -> Result<R, Stop> {
        let gone = || Some(other.side.end()).filter(|end| end.state() != ATTACHED);
        if let Some(end) = gone() {
            return Err(Stop::Gone(end));
        }
        own.turn.take(me, ground, patience, || self.line.word().state() == first).map_err(|no| {
            match (no, gone()) {
                (_, Some(end)) => Stop::Gone(end),
                (NoTurn::TimedOut, _) => Stop::TimedOut,
                (NoTurn::Taken, _) => Stop::WouldBlock,
            }
        })?;
        let turn = InTurn { turn: &own.turn, ground };
        // Somebody else may have been told of it: it is to be told to each.
        if let Some(end) = gone() {
            return Err(Stop::Gone(end));
        }
        own.memory.wait.set(me.wait());
        own.memory.spinner.set(me.spinner());
        let party = || Party {
            line: &self.line,
            me: &own.side,
            peer: &other.side,
            ground,
            tally: &own.tally,
            memory: &own.memory,
        };
        let mut result = call(party());
        if matches!(result, Err(Stop::WouldBlock)) {
            // A partner that is in its call, but not yet at the line, waits as well.
            let mut tries = 0;
            while matches!(result, Err(Stop::WouldBlock)) && other.turn.is_willing() && tries < TRIES_MAX {
                super::relax::<P>(tries);
                tries += 1;
                result = call(party());
            }
        }
        me.set_spinner(own.memory.spinner.get());
        drop(turn);
        result
    }

    /// The last sender (`sender`), or the last receiver, is gone.
    pub fn close<G: Ground<P>>(&self, sender: bool, ground: &G) {
        let (own, other) =
            if sender { (&self.sender, &self.receiver) } else { (&self.receiver, &self.sender) };
        own.side.detach(own.side.end(), LEFT);
        // The end word first, then the line's (wait.rs, H2). Those in line behind the one that is woken follow it.
        let word: Word = self.line.word_after_change();
        if word.is_parked() {
            ground.wake(other.side.pcb_ref());
        }
    }
}

/// The turn, given back however the call ends.
struct InTurn<'a, P: Platform, G: Ground<P>> {
    turn: &'a Turn<P>,
    ground: &'a G,
}

impl<P: Platform, G: Ground<P>> Drop for InTurn<'_, P, G> {
    #[inline(always)]
    fn drop(&mut self) {
        self.turn.give_back(self.ground);
    }
}
