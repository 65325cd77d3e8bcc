//! An end of a broadcast as this process holds it.
//!
//! E1. It holds its side: the end word says ATTACHED by our slot, taken by one compare-exchange; so the protocol's only
//!     sender, and only holder of a seat.
//! E2. What it knows lies in a `RefCell`, so it is not Sync: one operation at a time.
//! E3. The `Member` keeps the window mapped.

use std::cell::RefCell;

use super::place::{cast, receiver_goes, sender_goes};
use super::{Building, Cast, CastParty, CastReceiver, CastSender, Late, SlowReceiver, Taken};
use crate::channel::attach::Found;
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::ground::wake;
use crate::channel::record::Record;
use crate::channel::select::interest::Interest;
use crate::channel::side::{Side, ATTACHED, DIED, LEFT};
use crate::channel::spec::Spec;
use crate::channel::tally::{SideCounters, Tally};
use crate::channel::waits::{Doing, Waits};
use crate::error::{AttachError, RecvError, SendFailure};
use crate::handle::Handle;
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::threads;
use crate::process::wait::Wait;
use crate::reference::Method;

pub(super) type Party<'e> = CastParty<'e, Native, CastGround<'e>>;

/// The process around an end. It only has to sleep and to wake: the messages lie in the channel.
pub(super) struct CastGround<'c> {
    member: &'c Handle,
    method: Method,
    waits: Waits,
}

impl Ground<Native> for CastGround<'_> {
    fn own_pcb(&self) -> Option<(&Pcb, u64)> {
        let (pcb, offset) = threads::own_pcb(self.member, self.waits.0)?;
        Some((pcb, self.member.refs.refer(self.method, offset)))
    }
    fn wake(&self, pcb_ref: u64) {
        wake(self.member, self.method, pcb_ref);
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

/// What both ends have.
pub struct Common {
    pub(super) member: Handle,
    found: Found,
    cast: Cast<Native>,
    held: Word,
    memory: Memory,
    /// What it waits for, when it does.
    waits: Waits,
    /// An operation of a select?
    pub(super) interest: Interest,
}

impl Common {
    fn new(member: &Handle, name: &str, found: Found, wait: Wait) -> Result<Common, AttachError> {
        let record = member.segment().channel(found.index);
        let cast = cast(member, record, &found.spec).ok_or_else(|| AttachError::Impossible {
            name: name.to_owned(),
            why: "its record is corrupt".to_owned(),
        })?;
        let memory = Memory::of(Word(0), record.sender.end(), wait);
        let interest = Interest::default();
        let waits = Waits::of_end(Doing::Send, found.index, 0);
        Ok(Common { member: member.clone(), found, cast, held: Word(0), memory, waits, interest })
    }

    /// A call that may wait says that it does, and then that it does not: what was announced for a select is gone (X1).
    #[inline(always)]
    fn used(&self, patience: Patience) {
        if matches!(patience, Patience::Until(_)) {
            self.interest.used(&self.member);
        }
    }

    #[inline(always)]
    fn record(&self) -> &Record {
        self.member.segment().channel(self.found.index)
    }

    #[inline(always)]
    fn call<R>(&self, tally: &Tally, f: impl FnOnce(&Party<'_>) -> R) -> R {
        let sender = &self.record().sender;
        let (member, method, waits) = (&self.member, self.found.spec.method, self.waits);
        let ground = CastGround { member, method, waits };
        f(&CastParty { cast: &self.cast, sender, ground: &ground, tally, memory: &self.memory })
    }

    pub fn wait_policy(&self) -> Wait {
        self.memory.wait.get()
    }

    pub fn set_wait(&self, wait: Wait) {
        self.memory.wait.set(wait);
    }

    /// What the channel is.
    pub fn spec(&self) -> &Spec {
        &self.found.spec
    }

    pub fn degree(&self) -> u64 {
        self.found.spec.degree
    }

    /// What happens to a receiver that is slow.
    pub fn policy(&self) -> SlowReceiver {
        self.found.spec.form.slow
    }

    /// Is this the process that attached, and not one that was forked from it?
    pub(super) fn is_here(&self) -> bool {
        self.member.here()
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        if self.is_here() {
            self.cast.joined()
        } else {
            0
        }
    }

    pub fn has_sender(&self) -> bool {
        self.member.here() && self.record().sender.end().state() == ATTACHED
    }

    /// Does nobody hold the sending end, and was that said?
    fn is_alone(&self) -> bool {
        let end = self.record().sender.end();
        end.state() != ATTACHED && self.memory.is_known(end)
    }

    /// The sender's counters, and those of all receivers that there were.
    pub fn counters(&self) -> (SideCounters, SideCounters) {
        if !self.is_here() {
            return Default::default();
        }
        let receivers = self.cast.receivers().seats().iter();
        let received = receivers.fold(SideCounters::default(), |sum, seat| sum + seat.tally.read());
        (self.record().sender_tally.read(), received)
    }
}

/// The sending end.
pub struct SendEnd {
    pub(super) common: Common,
    side: RefCell<CastSender>,
}

impl SendEnd {
    pub(crate) fn attach(
        member: &Handle,
        name: &str,
        found: Found,
        wait: Wait,
    ) -> Result<SendEnd, AttachError> {
        let mut common = Common::new(member, name, found, wait)?;
        let side = &common.record().sender;
        // Somebody dead, of whom we have not heard yet, is in nobody's way.
        let attached = side.attach(member.slot).or_else(|now| {
            if member.sweep_if_dead(now.slot()) {
                side.attach(member.slot)
            } else {
                Err(now)
            }
        });
        common.held = attached.map_err(|now| {
            let (pid, program) = member.describe_process(now.slot());
            AttachError::EndTaken { name: name.to_owned(), side: "sender", pid, program }
        })?;
        let side = RefCell::new(CastSender::new(&common.cast));
        Ok(SendEnd { common, side })
    }

    #[inline(always)]
    pub(super) fn tally(&self) -> &Tally {
        &self.common.record().sender_tally
    }

    #[inline(always)]
    pub(super) fn call<R>(&self, f: impl FnOnce(&Party<'_>, &mut CastSender) -> R) -> R {
        self.common.call(self.tally(), |party| f(party, &mut self.side.borrow_mut()))
    }

    /// Reserves a slot.
    #[inline(always)]
    pub(super) fn reserve(&self, patience: Patience) -> Result<Building, SendFailure> {
        if !self.common.member.here() {
            return Err(SendFailure::Forked);
        }
        self.common.used(patience);
        self.call(|party, me| party.reserve(me, patience)).map_err(|stop| match stop {
            Stop::WouldBlock => SendFailure::WouldBlock,
            Stop::TimedOut => SendFailure::TimedOut,
            Stop::Held => SendFailure::Held,
            _ => SendFailure::Corrupt,
        })
    }

    /// Publishes what the reserved slot holds.
    #[inline(always)]
    pub(super) fn publish(&self, length: usize) -> Result<(), SendFailure> {
        if !self.common.member.here() {
            return Err(SendFailure::Forked);
        }
        self.call(|party, me| party.publish(me, length as u64)).map_err(|_| SendFailure::Corrupt)?;
        self.tally().message(length);
        Ok(())
    }

    /// Gives the reserved slot up, if it was not published.
    pub(super) fn withdraw(&self) {
        if self.common.member.here() {
            self.side.borrow_mut().withdraw();
        }
    }

    /// How many messages were published.
    pub fn published(&self) -> u64 {
        self.side.borrow().place()
    }
}

impl Drop for SendEnd {
    fn drop(&mut self) {
        let Common { member, found, cast, held, .. } = &self.common;
        if member.here() {
            sender_goes(member, self.common.record(), &found.spec, cast, *held, LEFT);
        }
    }
}

/// A receiving end.
pub struct ReceiveEnd {
    pub(super) common: Common,
    seat: usize,
    side: RefCell<CastReceiver>,
}

impl ReceiveEnd {
    pub(crate) fn attach(
        member: &Handle,
        name: &str,
        found: Found,
        wait: Wait,
        late: Late,
        observes: bool,
    ) -> Result<ReceiveEnd, AttachError> {
        let mut common = Common::new(member, name, found, wait)?;
        let (crowd, many) = (common.cast.receivers(), common.cast.seats());
        let taken = crowd.attach(member.slot, many).or_else(|_| {
            let holders: Vec<u16> = crowd.seats().iter().map(|seat| seat.side.end().slot()).collect();
            for slot in holders {
                member.sweep_if_dead(slot);
            }
            crowd.attach(member.slot, many)
        });
        let (seat, held) = taken.map_err(|_| AttachError::EndsTaken {
            name: name.to_owned(),
            side: "receiver",
            many: many as u8,
        })?;
        common.held = held;
        common.waits = Waits::of_end(Doing::Receive, common.found.index, seat);
        let policy = if observes { SlowReceiver::DropOldest } else { common.policy() };
        let side = common
            .call(&common.cast.receivers().seat(seat).tally, |party| party.join(seat, held, policy, late));
        Ok(ReceiveEnd { common, seat, side: RefCell::new(side) })
    }

    #[inline(always)]
    pub(super) fn tally(&self) -> &Tally {
        &self.common.cast.receivers().seat(self.seat).tally
    }

    #[inline(always)]
    pub(super) fn call<R>(&self, f: impl FnOnce(&Party<'_>, &mut CastReceiver) -> R) -> R {
        self.common.call(self.tally(), |party| f(party, &mut self.side.borrow_mut()))
    }

    /// The next message: `read` has it as long as it runs.
    #[inline(always)]
    pub(super) fn take_and<R>(
        &self,
        length: usize,
        patience: Patience,
        read: impl FnOnce(Taken) -> R,
    ) -> Result<R, RecvError> {
        if !self.common.member.here() {
            return Err(RecvError::Forked);
        }
        self.common.used(patience);
        let read = |taken: Taken| (taken.length == length as u64).then(|| read(taken));
        match self.call(|party, me| party.take_and(me, patience, read)) {
            Ok(Some(read)) => {
                self.tally().message(length);
                Ok(read)
            }
            Ok(None) => Err(RecvError::Corrupt),
            Err(stop) => Err(self.failure(stop)),
        }
    }

    /// Takes the next message in hand.
    #[inline(always)]
    pub(super) fn take(&self, length: usize, patience: Patience) -> Result<Taken, RecvError> {
        if !self.common.member.here() {
            return Err(RecvError::Forked);
        }
        self.common.used(patience);
        let taken = self.call(|party, me| party.take(me, patience)).map_err(|stop| self.failure(stop))?;
        if taken.length != length as u64 {
            self.give_back();
            return Err(RecvError::Corrupt);
        }
        Ok(taken)
    }

    /// The message in hand is done with.
    #[inline(always)]
    pub(super) fn give_back(&self) {
        self.side.borrow_mut().give_back(&self.common.cast);
    }

    /// The last message is the next one again, unless a message is in hand.
    pub(super) fn back_to_the_last(&self) {
        let mut side = self.side.borrow_mut();
        if self.common.member.here() && !side.is_held() {
            side.back_to_the_last(&self.common.cast);
        }
    }

    pub fn missed(&self) -> u64 {
        self.side.borrow().missed()
    }

    pub(super) fn seat_side(&self) -> &Side {
        &self.common.cast.receivers().seat(self.seat).side
    }

    /// It waits for nothing.
    pub(super) fn retire(&self) {
        self.common.cast.receivers().retire(self.seat);
    }

    #[cold]
    fn failure(&self, stop: Stop) -> RecvError {
        match stop {
            // A sender that left just now, of which nothing was said yet, is for the next call to report.
            Stop::WouldBlock if !self.common.is_alone() => RecvError::WouldBlock,
            Stop::WouldBlock => RecvError::NoPeer,
            Stop::TimedOut => RecvError::TimedOut,
            Stop::Gone(end) if end.state() == DIED => RecvError::PeerDied,
            Stop::Gone(_) => RecvError::Disconnected,
            Stop::Held => RecvError::Held,
            Stop::Cut { missed } => RecvError::TooSlow { missed },
            _ => RecvError::Corrupt,
        }
    }
}

impl Drop for ReceiveEnd {
    fn drop(&mut self) {
        let Common { member, found, cast, held, .. } = &self.common;
        if member.here() {
            receiver_goes(member, self.common.record(), &found.spec, cast, (self.seat_side(), *held), LEFT);
        }
    }
}
