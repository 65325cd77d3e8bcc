//! The rendezvous between threads: the shipped [`Line`] and its walk, with values that move from the sender's stack to the
//! receiver's.
//!
//! What fits a cell rides in it. What does not is a message variable on the sender's stack and a target variable on the
//! receiver's, and whoever comes second copies, once: in one address space a pointer is a reference that needs no resolving.
//! Any number of senders and receivers take turns to be the one that the line knows.
//!
//! Selects never have a turn while they sleep. They are told by whoever offers or wants, from a list beside the line; two selects that
//! have only each other meet in `hands`.
//!
//! M1. A half's memory, side and tally are used by who has its turn.
//! M2. A message is read by the other side, or it comes back: never both (line.rs, L3). Its bytes are then the receiver's
//!     value; nobody drops the sender's.

#![allow(unsafe_code)] // Values are moved as bytes.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::time::Instant;

use super::hands::Hands;
use super::sleepers::Me;
use super::turn::{NoTurn, Turn};
use super::watchers::Watchers;
use crate::channel::call::{Ground, Incoming, Memory, Outgoing, Patience, Stop};
use crate::channel::line::{Line, INLINE_BYTES, OFFER, WANT};
use crate::channel::rendezvous::Party;
use crate::channel::select::look::Look;
use crate::channel::select::turn::At;
use crate::channel::select::ANSWER;
use crate::channel::side::{Side, ATTACHED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::platform::Platform;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
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
    /// Selects of this side, to be told when the other one comes first.
    watchers: Watchers<P>,
}

impl<P: Platform> Half<P> {
    fn new(tally: Tally<P>, line: &Line<P>) -> Self {
        let side = Side::new();
        let held = side.attach(0).unwrap_or_else(|held| held);
        let memory = Memory::of(line.word(), held, Wait::SpinThenPark);
        Half { turn: Turn::new(), side, tally, memory, watchers: Watchers::new() }
    }
}

/// A rendezvous on the heap.
pub struct Meet<P: Platform, T> {
    line: Line<P>,
    sender: Half<P>,
    receiver: Half<P>,
    /// What selects have taken, and what they give to each other.
    pub hands: Hands<P, T>,
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
        Meet { line, sender, receiver, hands: Hands::new(), values: PhantomData }
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
        let sent =
            self.meet(&self.sender, &self.receiver, OFFER, (me, ground, patience), |mut party, patience| {
                // SAFETY: we have the turn, so are the only sender (M1); the value stays where it is until this returns.
                unsafe { party.send(outgoing, patience) }
            });
        sent.map_err(|stop| (ManuallyDrop::into_inner(message), stop)) // M2
    }

    /// Receives a value.
    #[inline]
    pub fn receive<G: Ground<P>>(&self, me: &Me, ground: &G, patience: Patience) -> Result<T, Stop> {
        if let Some(value) = self.hands.take_left() {
            return Ok(value);
        }
        let mut target = MaybeUninit::<T>::uninit();
        let (bytes, length) = (target.as_mut_ptr().cast::<u8>(), size_of::<T>());
        let incoming = if Self::SMALL {
            Incoming::Cell { bytes, length }
        } else {
            let reference = bytes.expose_provenance() as u64;
            Incoming::Variable { bytes, capacity: length, reference, small: false, exact: true }
        };
        self.meet(&self.receiver, &self.sender, WANT, (me, ground, patience), |mut party, patience| {
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
        call: impl Fn(Party<'_, P, Meeting<'_, P, G>>, Patience) -> Result<R, Stop>,
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
        let meeting = Meeting { ground, watchers: &other.watchers };
        let party = || Party {
            line: &self.line,
            me: &own.side,
            peer: &other.side,
            ground: &meeting,
            tally: &own.tally,
            memory: &own.memory,
        };
        let mut result = call(party(), patience);
        if matches!(result, Err(Stop::WouldBlock)) {
            // A partner that is in its call, but not yet at the line, waits as well.
            let mut tries = 0;
            while matches!(result, Err(Stop::WouldBlock)) && other.turn.is_willing() && tries < TRIES_MAX {
                super::relax::<P>(tries);
                tries += 1;
                result = call(party(), patience);
            }
            // A select that sleeps is there if it is told.
            if matches!(result, Err(Stop::WouldBlock)) && other.watchers.any() {
                let moment = Patience::Until(Instant::now().checked_add(ANSWER));
                result = call(party(), moment).map_err(|stop| match stop {
                    Stop::TimedOut => Stop::WouldBlock,
                    other => other,
                });
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
        if other.watchers.any_after_rmw() {
            other.watchers.tell(ground, 0);
        }
    }

    fn halves(&self, is_sender: bool) -> (&Half<P>, &Half<P>) {
        if is_sender {
            (&self.sender, &self.receiver)
        } else {
            (&self.receiver, &self.sender)
        }
    }

    /// Is a partner there who has come first and waits, or is nobody left?
    fn is_possible(&self, is_sender: bool) -> bool {
        let (_, other) = self.halves(is_sender);
        let waits = self.line.word().state() == if is_sender { WANT } else { OFFER };
        waits || other.side.end().state() != ATTACHED
    }

    /// Is the operation of a select possible? (`channel::select::look`, K1 to K4; `hands` for what stands.)
    pub fn look<G: Ground<P>>(&self, is_sender: bool, ground: &G, at: At) -> Look {
        let (own, other) = self.halves(is_sender);
        let stands = !is_sender && self.hands.stands(at.local);
        let possible = || {
            self.is_possible(is_sender)
                || if is_sender {
                    self.hands.any_open(at.local)
                } else {
                    self.hands.has(at.local) || self.hands.has_left()
                }
        };
        let ready = || {
            if stands {
                self.hands.withdraw(at.local, 0); // or it is given
            }
            Look::Ready
        };
        if possible() {
            return ready();
        }
        let meets = if is_sender { Look::Nudged } else { Look::Against };
        if at.entry.is_none() {
            return if other.watchers.any_but(at.local) { meets } else { Look::Not };
        }
        own.watchers.announce(at.local);
        if possible() {
            return ready();
        }
        if stands || !other.watchers.any_but(at.local) {
            return Look::Not;
        }
        if is_sender {
            other.watchers.tell(ground, at.local);
        }
        meets
    }

    /// Chosen: sees to it that it happens. False: somebody was quicker.
    pub fn secure<G: Ground<P>>(&self, is_sender: bool, me: &Me, ground: &G, at: At) -> bool {
        if is_sender {
            return self.hands.reserve(at.local) || self.is_possible(true);
        }
        if self.hands.has(at.local) || self.hands.has_left() {
            return true;
        }
        match self.receive(me, ground, Patience::Try) {
            Ok(value) => {
                self.hands.put(at.local, value);
                true
            }
            Err(Stop::WouldBlock) => false,
            Err(_) => true, // to be told
        }
    }

    /// A select that receives stands, and those that would send are told.
    pub fn stand<G: Ground<P>>(&self, ground: &G, at: At) -> bool {
        self.hands.stand(at.local);
        if self.sender.watchers.any() {
            self.sender.watchers.tell(ground, at.local);
        }
        true
    }

    /// What was reserved for a value that does not come stands again, and others that would send are told. A value that was taken
    /// and is not wanted is what is received next; other selects are told.
    pub fn release<G: Ground<P>>(&self, is_sender: bool, ground: &G, at: At) {
        if !is_sender {
            if self.hands.leave(at.local) {
                self.receiver.watchers.tell(ground, at.local);
            }
        } else if self.hands.unreserve(at.local) {
            self.sender.watchers.tell(ground, at.local);
        }
    }

    /// No operation of its select any more.
    pub fn retire(&self, is_sender: bool, at: At) {
        self.halves(is_sender).0.watchers.leave(at.local);
    }

    /// Is a select of the other side there?
    pub fn faces_select(&self, is_sender: bool) -> bool {
        self.halves(is_sender).1.watchers.any()
    }

    /// Gives the value to what was reserved, or to who waits.
    pub fn complete_send<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        at: At,
        message: T,
    ) -> Result<(), (T, Stop)> {
        match self.hands.give(at.local, message) {
            Ok(who) => {
                ground.wake(who);
                Ok(())
            }
            Err(message) => self.send(me, ground, message, Patience::Try),
        }
    }
}

/// The ground of a call, which tells the selects of the other side when it comes first.
struct Meeting<'a, P: Platform, G: Ground<P>> {
    ground: &'a G,
    watchers: &'a Watchers<P>,
}

impl<P: Platform, G: Ground<P>> Ground<P> for Meeting<'_, P, G> {
    #[inline(always)]
    fn came_first(&self) {
        if self.watchers.any_after_rmw() {
            self.watchers.tell(self.ground, 0);
        }
    }
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
        self.ground.own_pcb()
    }
    fn wake(&self, pcb_ref: u64) {
        self.ground.wake(pcb_ref);
    }
    fn resolve(&self, reference: u64, length: u64) -> Option<*mut u8> {
        self.ground.resolve(reference, length)
    }
    fn stage(&self, parity: usize, length: usize) -> Option<(u64, *mut u8)> {
        self.ground.stage(parity, length)
    }
    fn may_abandon(&self) -> bool {
        self.ground.may_abandon()
    }
    fn adopt(&self, storage: *const u8) {
        self.ground.adopt(storage);
    }
    fn abandoned(&self, storage: *const u8) {
        self.ground.abandoned(storage);
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
