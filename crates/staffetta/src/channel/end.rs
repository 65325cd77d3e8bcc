//! An end of a channel as this process holds it: from typed calls to the protocols.
//!
//! E1. An `End` holds its side of the record: its end word says ATTACHED by our slot, taken by one
//!     compare-exchange, so there is no second one anywhere; the protocols' "only sender" and "only receiver"
//!     rest on it.
//! E2. `Memory` is made of cells and an `End` is not Sync: one operation at a time.
//! E3. `record` lies in the window, which the `Member` keeps mapped.
//!
//! | file | one idea |
//! |---|---|
//! | here | how an end is taken and left, what it can be asked, why a call failed |
//! | `calls` | one message out, one message in |
//! | `continuation` | what goes on where another process's end stopped |
//! | `in_place` | the slots of a buffered channel |
//! | `operation` | an end as an operation of a select |
//! | `travel` | an end that is handed on in a message |

#![allow(unsafe_code)] // Calls the protocols, whose contract is E1 and E2.

mod calls;
mod continuation;
mod in_place;
mod operation;
mod travel;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use self::operation::Secured;
pub use self::travel::Travelling;
use super::attach::Found;
use super::buffer::Buffer;
use super::call::{Memory, Patience, Stop};
use super::ground::{EndGround, Lender};
use super::kept::Kept;
use super::line::Reference3;
use super::many::Many;
use super::record::Record;
use super::ring::{place_in, Slots};
use super::select::interest::Interest;
use super::side::{Side, ATTACHED, DIED, LEFT};
use super::spec::{Content, Kind, Spec};
use super::tally::{SideCounters, Tally};
use super::waits::{Doing, Waits};
use crate::error::{AttachError, RecvError, SendFailure};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::platform::Native;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::process::wait::Wait;

/// An end, without its message type.
pub struct End {
    pub(crate) member: Handle,
    pub(crate) found: Found,
    record: InWindow<Record>,
    is_sender: bool,
    held: Word,
    memory: Memory,
    /// A rendezvous that is not over: the fast paths apply.
    quick: Cell<bool>,
    /// Of a buffered channel.
    buffer: Option<Buffer<Native>>,
    /// Of a queue.
    many: Option<Box<Many>>,
    /// What it waits for, when it does.
    waits: Waits,
    /// Whose private memory was read last.
    lender: Cell<Option<Lender>>,
    /// A channel without a name: nobody can come after one that has left.
    unnamed: bool,
    /// An unnamed channel is over when one end has left.
    over: Cell<bool>,
    /// An operation of a select?
    interest: Interest,
    /// What a select has got hold of, and nobody has completed yet.
    secured: Cell<Secured>,
    /// No fast path: one of the three above.
    slow: Cell<bool>,
    /// It is in a message, and no longer ours.
    departed: Cell<bool>,
    /// A receiver whose messages are kept for its successor by more than their slots: no fast path.
    keeps: bool,
    /// Of such a receiver of parcels.
    kept: Option<Box<Kept>>,
    /// For the next parcel that comes (`stock_handle`).
    handle: Cell<Option<Handle>>,
    /// A capability that was taken in hand and whose descriptor is still to come (`custody`, C5).
    pub(crate) owed: Cell<Option<Reference3>>,
}

/// Something in the window, of an end that keeps it mapped (E3).
struct InWindow<T>(NonNull<T>);

// SAFETY: it gives shared references only.
unsafe impl<T: Sync> Send for InWindow<T> {}

impl<T> InWindow<T> {
    #[inline(always)]
    fn get(&self) -> &T {
        // SAFETY: E3.
        unsafe { self.0.as_ref() }
    }
}

impl End {
    pub(crate) fn attach(
        member: &Handle,
        name: &str,
        found: Found,
        is_sender: bool,
        wait: Wait,
    ) -> Result<End, AttachError> {
        let record = member.segment().channel(found.index);
        if found.spec.kind == Kind::Queue {
            let (many, held) = Many::attach(member, name, &found, is_sender)?;
            return Ok(End::of_many(member, found, is_sender, held, many, wait));
        }
        let (me, peer) = sides(record, is_sender);
        // Somebody dead, of whom we have not heard yet, is in nobody's way.
        let take = || super::heirs::take_side(member, &found.spec, me);
        let attached = take().or_else(|now| if member.sweep_if_dead(now.slot()) { take() } else { Err(now) });
        let held = attached.map_err(|now| {
            let side = if is_sender { "sender" } else { "receiver" };
            if now.slot() == IN_MESSAGE {
                return AttachError::EndInMessage { name: name.to_owned(), side };
            }
            let (pid, program) = member.describe_process(now.slot());
            AttachError::EndTaken { name: name.to_owned(), side, pid, program }
        })?;
        // A partner that waits for us to come sleeps on its own PCB.
        super::ground::wake(member, found.spec.method, peer.pcb_ref());
        Ok(End::of_side(member, found, is_sender, held, wait))
    }

    fn of_many(member: &Handle, found: Found, is_sender: bool, held: Word, many: Many, wait: Wait) -> End {
        let memory = many.memory(wait);
        End::of(member, found, is_sender, held, memory, None, Some(Box::new(many)))
    }

    /// Of a channel of one sender and one receiver, whose side we have.
    fn of_side(member: &Handle, found: Found, is_sender: bool, held: Word, wait: Wait) -> End {
        let record = member.segment().channel(found.index);
        let peer = sides(record, is_sender).1;
        let mut buffer = None;
        if let Some(slots) = slots(member, record, &found.spec) {
            let place = if is_sender {
                slots.recover_tail(&record.tail, &record.head);
                &record.tail
            } else {
                slots.recover_head(&record.head);
                pass_over_claimed(member, record, &found.spec, &slots);
                &record.head
            };
            if found.spec.kind == Kind::Buffered {
                buffer = Some(Buffer::new(slots, place_in::<Native>(place)));
            }
        }
        let memory = Memory::new(&record.line, peer, wait);
        let end = End::of(member, found, is_sender, held, memory, buffer, None);
        end.recover_unread();
        end
    }

    #[allow(clippy::too_many_arguments)] // private, and all of an end's parts
    fn of(
        member: &Handle,
        found: Found,
        is_sender: bool,
        held: Word,
        memory: Memory,
        buffer: Option<Buffer<Native>>,
        many: Option<Box<Many>>,
    ) -> End {
        let spec = &found.spec;
        let rendezvous = spec.kind == Kind::Rendezvous;
        let keeps =
            !is_sender && spec.continuation.keeps() && (rendezvous || spec.content == Content::Parcel);
        memory.waits.set(spec.continuation.waits());
        memory.keeps.set(keeps && rendezvous);
        let doing = if is_sender { Doing::Send } else { Doing::Receive };
        let seat = many.as_ref().map_or(0, |many| many.number());
        End {
            waits: Waits::of_end(doing, found.index, seat),
            member: member.clone(),
            record: InWindow(NonNull::from(member.segment().channel(found.index))),
            is_sender,
            held,
            memory,
            quick: Cell::new(rendezvous && !keeps),
            buffer,
            many,
            lender: Cell::new(None),
            unnamed: found.unnamed.is_some(),
            over: Cell::new(false),
            interest: Interest::default(),
            secured: Cell::new(Secured::Nothing),
            slow: Cell::new(keeps),
            kept: (keeps && spec.content == Content::Parcel).then(Box::default),
            keeps,
            departed: Cell::new(false),
            handle: Cell::new(None),
            owed: Cell::new(None),
            found,
        }
    }

    #[inline(always)]
    pub(crate) fn record(&self) -> &Record {
        self.record.get()
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.found.spec
    }

    #[inline(always)]
    pub(crate) fn tally(&self) -> &Tally {
        if let Some(many) = &self.many {
            return &many.seat().tally;
        }
        let record = self.record();
        if self.is_sender {
            &record.sender_tally
        } else {
            &record.receiver_tally
        }
    }

    #[inline(always)]
    pub(crate) fn peer(&self) -> Word {
        if let Some(many) = &self.many {
            return many.peer();
        }
        sides(self.record(), self.is_sender).1.end()
    }

    pub(crate) fn wait_policy(&self) -> Wait {
        self.memory.wait.get()
    }

    pub(crate) fn set_wait(&self, wait: Wait) {
        self.memory.wait.set(wait);
    }

    pub(crate) fn is_rendezvous(&self) -> bool {
        self.found.spec.kind == Kind::Rendezvous
    }

    /// May private memory be lent over this end, and lent memory be read?
    pub(crate) fn set_lends(&self, lends: bool) {
        self.memory.lends.set(lends);
    }

    /// How often the last message was copied, by both sides together. Into a buffer and out of it, where there is one.
    pub(crate) fn copies(&self) -> u32 {
        match self.found.spec.kind {
            Kind::Rendezvous => self.memory.copies.get(),
            _ => 2,
        }
    }

    #[inline(always)]
    pub(super) fn check_over(&self) -> Result<(), Stop> {
        self.used();
        if self.over.get() {
            return Err(Stop::Gone(self.peer()));
        }
        Ok(())
    }

    pub(super) fn note_over(&self, stop: Stop) -> Stop {
        if matches!(stop, Stop::Gone(_)) && self.unnamed {
            self.set_over();
        }
        stop
    }

    fn set_over(&self) {
        self.over.set(true);
        self.quick.set(false);
        self.slow.set(true);
    }

    /// Sees to it that a handle for the next parcel is there: to count one is a locked instruction, which is cheap
    /// before the message comes and dear after.
    #[inline(always)]
    pub(crate) fn stock_handle(&self) {
        let handle = self.handle.take().unwrap_or_else(|| self.member.clone());
        self.handle.set(Some(handle));
    }

    /// Is a capability owed to it?
    pub(crate) fn is_owed(&self) -> bool {
        let owed = self.owed.take();
        self.owed.set(owed);
        owed.is_some()
    }

    /// A handle of the member, for a parcel.
    #[inline(always)]
    pub(crate) fn handle(&self) -> Handle {
        self.handle.take().unwrap_or_else(|| self.member.clone())
    }

    #[inline(always)]
    pub(super) fn ground(&self) -> EndGround<'_> {
        EndGround {
            member: &self.member,
            method: self.found.spec.method,
            sender: &self.record().sender,
            lender: &self.lender,
            returned: self.kept.as_ref().map(|kept| (&self.record().returned, kept.seen())),
            waits: self.waits,
        }
    }

    /// What this receiver keeps for its successor, if it is parcels.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.kept.as_deref()
    }

    /// Of a queue.
    #[inline(always)]
    pub(super) fn many(&self) -> Option<&Many> {
        self.many.as_deref()
    }

    /// Nobody can come after one that has left.
    #[inline(always)]
    pub(crate) fn has_no_name(&self) -> bool {
        self.unnamed
    }

    #[inline(always)]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The counters of all senders, and of all receivers.
    pub(crate) fn channel_counters(&self) -> (SideCounters, SideCounters) {
        let record = self.record();
        match &self.many {
            Some(many) => many.counters(),
            None => (record.sender_tally.read(), record.receiver_tally.read()),
        }
    }

    /// Another end of the same side. What this one has accounted for, it has; what not, it is told as well.
    pub(crate) fn another(&self) -> Result<End, AttachError> {
        if !self.member.here() {
            return Err(AttachError::Forked);
        }
        let name = self.record().name();
        let end =
            End::attach(&self.member, &name, self.found.clone(), self.is_sender, self.memory.wait.get())?;
        end.over.set(self.over.get());
        end.memory.peer.set(self.memory.peer.get());
        if let Some(many) = &end.many {
            many.look_again();
        }
        Ok(end)
    }

    /// The partner's end word, as last accounted for.
    pub(crate) fn known_peer(&self) -> Word {
        self.memory.peer.get()
    }

    /// What was accounted for since then is for the next call to report.
    pub(crate) fn knew_peer(&self, known: Word) {
        self.memory.peer.set(known);
    }

    /// How many messages wait; exact if nobody sends or receives meanwhile.
    pub(crate) fn waiting(&self) -> u64 {
        let record = self.record();
        let places = || (record.head.load(Relaxed), record.tail.load(Relaxed));
        match (&self.many, &self.buffer, self.found.spec.kind) {
            (Some(many), _, _) => many.waiting(),
            (_, Some(buffer), _) => buffer.waiting(places().0, places().1),
            (_, _, Kind::Rendezvous) => 0,
            _ => places().1.saturating_sub(places().0),
        }
    }

    /// Of a buffered channel.
    #[inline(always)]
    pub(crate) fn buffer(&self) -> Option<&Buffer<Native>> {
        self.buffer.as_ref()
    }

    /// The receiver of a channel without a name has left: whatever room there is, nobody will read what is put there.
    pub(super) fn check_receiver(&self) -> Result<(), Stop> {
        let end = self.peer();
        if !self.unnamed || self.memory.is_known(end) {
            return Ok(());
        }
        let gone = self.memory.lost_partner(end, sides(self.record(), self.is_sender).1.died());
        gone.map_or(Ok(()), |gone| Err(self.note_over(Stop::Gone(gone))))
    }

    /// `try_*` did nothing; is it because nobody is there? One that left just now, of which nothing was said yet, is for
    /// the next call to report.
    fn is_alone(&self) -> bool {
        let end = self.peer();
        end.state() != ATTACHED && self.memory.is_known(end)
    }

    pub(crate) fn send_failure(&self, stop: Stop, patience: Patience) -> SendFailure {
        if !self.member.here() {
            return SendFailure::Forked;
        }
        let tried = matches!(patience, Patience::Try);
        match stop {
            Stop::WouldBlock | Stop::TimedOut if self.awaits_successor() => SendFailure::PeerAbsent,
            Stop::WouldBlock | Stop::TimedOut if tried || stop == Stop::WouldBlock => {
                if self.is_alone() {
                    SendFailure::NoPeer
                } else {
                    SendFailure::WouldBlock
                }
            }
            Stop::WouldBlock | Stop::TimedOut | Stop::Abandoned => SendFailure::TimedOut,
            Stop::Gone(end) if end.state() == DIED => SendFailure::PeerDied,
            Stop::Gone(_) => SendFailure::Disconnected,
            Stop::TooLong { length, capacity } | Stop::AbandonedTooLong { length, capacity } => {
                SendFailure::TooLong { length, capacity }
            }
            Stop::Full => SendFailure::NoStaging,
            Stop::Held => SendFailure::Held,
            Stop::Corrupt | Stop::Torn { .. } | Stop::Cut { .. } | Stop::CalledAway => SendFailure::Corrupt,
        }
    }

    pub(crate) fn recv_failure(&self, stop: Stop, patience: Patience) -> RecvError {
        if !self.member.here() {
            return RecvError::Forked;
        }
        let tried = matches!(patience, Patience::Try);
        match stop {
            Stop::WouldBlock | Stop::TimedOut if self.awaits_successor() => RecvError::PeerAbsent,
            Stop::WouldBlock | Stop::TimedOut if tried || stop == Stop::WouldBlock => {
                if self.is_alone() {
                    RecvError::NoPeer
                } else {
                    RecvError::WouldBlock
                }
            }
            Stop::WouldBlock | Stop::TimedOut | Stop::Abandoned => RecvError::TimedOut,
            Stop::Gone(end) if end.state() == DIED => RecvError::PeerDied,
            Stop::Gone(_) => RecvError::Disconnected,
            Stop::TooLong { length, capacity } | Stop::AbandonedTooLong { length, capacity } => {
                RecvError::TooLong { length, capacity }
            }
            Stop::Held => RecvError::Held,
            Stop::Torn { place } => RecvError::Torn { seq: place },
            Stop::Cut { missed } => RecvError::TooSlow { missed },
            Stop::Full | Stop::Corrupt | Stop::CalledAway => RecvError::Corrupt,
        }
    }

    /// Waits for a partner to attach (a capability needs somebody to be passed to).
    pub(crate) fn await_peer(&self, patience: Patience) -> Result<Word, Stop> {
        self.check_over()?;
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        let (ground, memory) = (self.ground(), &self.memory);
        let now = peer.end();
        let lost = memory.lost_partner(now, peer.died()).filter(|gone| gone.state() != ATTACHED);
        if let Some(gone) = lost {
            return Err(self.note_over(Stop::Gone(gone)));
        }
        if now.state() == ATTACHED {
            return Ok(now.awake());
        }
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        super::rendezvous::await_attach(peer, me, &ground, memory, &record.sender_tally, deadline)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.member.here() || self.departed.get() {
            return;
        }
        self.put_back();
        if let Some(many) = &self.many {
            many.leave(&self.member, &self.found.spec, self.held);
            return;
        }
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        super::sweep::detach(&self.member, record, &self.found.spec, me, peer, self.held, LEFT);
    }
}

/// A receiver comes after one that may have been killed when it had claimed a parcel and not given its slot back (ring.rs, N6).
fn pass_over_claimed(member: &Member, record: &Record, spec: &Spec, slots: &Slots<Native>) {
    let claimed = |words| super::sweep::is_claimed(member, spec, words);
    // SAFETY: a channel of parcels: its messages are references.
    if spec.content == Content::Parcel && unsafe { slots.pass_over_claimed(&record.head, claimed) } {
        super::ground::wake(member, spec.method, record.sender.pcb_ref());
    }
}

fn sides(record: &Record, is_sender: bool) -> (&Side, &Side) {
    if is_sender {
        (&record.sender, &record.receiver)
    } else {
        (&record.receiver, &record.sender)
    }
}

/// The slots of a channel with a buffer. None for a rendezvous.
pub(crate) fn slots(member: &Member, record: &Record, spec: &Spec) -> Option<Slots<Native>> {
    let shape = spec.shape()?;
    // Where it lies was checked when the spec was read, but that word may have changed since.
    let offset = record.ring.load(Relaxed);
    let ring = member.segment().pointer(offset, shape.bytes()).filter(|_| offset % spec.ring_align() == 0)?;
    Some(Slots { ring, shape, platform: PhantomData })
}

/// A deadline `timeout` from now; None, for ever, if that is beyond the clock.
pub(crate) fn deadline_after(timeout: std::time::Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
