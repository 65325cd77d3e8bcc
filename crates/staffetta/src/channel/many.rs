//! An end of a queue as this process holds it: where crowds, cells and lanes lie in the domain, and how ends are taken,
//! left and swept.
//!
//! ```text
//!   block of the channel: senders' crowd | receivers' crowd | cells
//!   block of a lane:      slots, found by word 0 of its sender's seat
//! ```
//!
//! A lane is made by the first sender in its seat and stays with the channel: what waits in it outlives its sender, and the
//! next one in the seat uses it again.
//!
//! The protocol is `queue/`; nothing here changes a cell or a slot's word.

#![allow(unsafe_code)] // From offsets to the crowds and cells; copies of messages.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

use super::attach::Found;
use super::call::{Memory, Patience, Stop};
use super::crowd::{Crowd, Seat, SEATS_MAX};
use super::end::Travelling;
use super::form::Overflow;
use super::ground::{wake, EndGround};
use super::heirs::take_seat;
use super::queue::{Held, Lanes, Plan, Queue, QueueParty, QueueSide};
use super::record::Record;
use super::select::look::Look;
use super::side::{ATTACHED, DIED, LEFT};
use super::spec::{Content, Kind, Spec};
use super::tally::SideCounters;
use crate::error::{AllocateError, AttachError};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::platform::Native;
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::Word;
use crate::process::wait::Wait;

/// Word of a sender's seat: offset of its lane.
pub const LANE: usize = 0;
/// Bytes of a crowd: the senders', then the receivers', then the cells.
pub const CROWD_BYTES: u64 = size_of::<Crowd>() as u64;

/// The lanes of a queue in the domain; `M` keeps the window mapped.
pub struct DomainLanes<M> {
    /// Where they are in this process, once that was looked up: a lane stays where it is.
    known: [AtomicPtr<u8>; SEATS_MAX],
    member: M,
    senders: NonNull<Crowd>,
    lane_bytes: u64,
}

// SAFETY: the crowd consists of atomics.
unsafe impl<M: Send> Send for DomainLanes<M> {}
// SAFETY: as above.
unsafe impl<M: Sync> Sync for DomainLanes<M> {}

impl<M: Deref<Target = Member>> Lanes for DomainLanes<M> {
    #[inline(always)]
    fn lane(&self, lane: usize) -> Option<NonNull<u8>> {
        // Relaxed: it was looked up by this very end.
        let known = NonNull::new(self.known[lane % SEATS_MAX].load(Relaxed));
        known.or_else(|| self.look_up(lane))
    }
}

impl<M: Deref<Target = Member>> DomainLanes<M> {
    #[cold]
    #[inline(never)]
    fn look_up(&self, lane: usize) -> Option<NonNull<u8>> {
        // SAFETY: the member keeps the window mapped.
        let senders = unsafe { self.senders.as_ref() };
        // Acquire: pairs with `make_lane`: its words are zero.
        let offset = senders.seat(lane).words[LANE].load(Acquire);
        if offset == 0 || offset % 64 != 0 {
            return None;
        }
        let first = self.member.segment().pointer(offset, self.lane_bytes)?;
        self.known[lane % SEATS_MAX].store(first.as_ptr(), Relaxed);
        Some(first)
    }
}

/// A queue of the domain.
pub type DomainQueue<M> = Queue<Native, DomainLanes<M>>;

/// Bytes of a queue's block.
fn bytes(plan: &Plan) -> u64 {
    2 * CROWD_BYTES + plan.cells() * 8
}

/// The queue of a channel. None: it has none.
pub fn queue<M: Deref<Target = Member>>(member: M, record: &Record, spec: &Spec) -> Option<DomainQueue<M>> {
    let plan = spec.plan()?;
    let offset = record.ring.load(Relaxed);
    let block = member.segment().pointer(offset, bytes(&plan)).filter(|_| offset % 256 == 0)?;
    let crowd = |at: u64| {
        // SAFETY: inside the block, aligned for it.
        unsafe { block.add((at * CROWD_BYTES) as usize) }.cast::<Crowd>()
    };
    let (senders, receivers) = (crowd(0), crowd(1));
    let known = std::array::from_fn(|_| AtomicPtr::default());
    let lanes = DomainLanes { known, member, senders, lane_bytes: plan.lane.bytes() };
    // SAFETY: the block holds two crowds and the cells (checked above), and stays the channel's while anybody holds an end;
    // the member, which the lanes hold, keeps it mapped.
    Some(unsafe { Queue::new(senders, receivers, crowd(2).cast::<AtomicU64>(), plan, lanes) })
}

/// Makes the block of a queue; gives its offset.
pub fn make(member: &Handle, name: &str, spec: &Spec) -> Result<u64, AttachError> {
    let plan = spec.plan().ok_or_else(|| AttachError::Impossible {
        name: name.to_owned(),
        why: format!(
            "{} messages of {} bytes, {} senders: more than {} messages in all, or too many bytes",
            spec.degree,
            spec.message_bytes_max,
            spec.form.senders,
            super::spec::DEGREE_MAX
        ),
    })?;
    let (align, page) = (spec.schema.align(), member.segment().page_bytes());
    if align > page {
        return Err(AllocateError::Alignment { align, page }.into());
    }
    let segment = member.segment();
    // Before the channel has its name: no sender could ever attach.
    let lane_bytes = plan.lane.bytes();
    if segment.map().class_for(lane_bytes).is_none() {
        let bytes_max = 1 << segment.map().class_max();
        return Err(AllocateError::TooLarge { bytes: lane_bytes, bytes_max }.into());
    }
    let id = member.blocks.allocate(segment, bytes(&plan), 256)?;
    let offset = segment.map().block(id);
    crate::message::bytes::zero(segment, offset, bytes(&plan));
    Ok(offset)
}

/// Does the block that the record names hold the queue?
pub fn lies_in_its_block(segment: &Segment, record: &Record, spec: &Spec) -> bool {
    // Guards hand out a whole message of the type in each slot.
    let in_place = spec.content == Content::Value && spec.schema.is_sized();
    if in_place && spec.message_bytes_max != spec.schema.size() {
        return false;
    }
    let offset = record.ring.load(Relaxed);
    match (segment.map().locate(offset), spec.plan()) {
        (Some(id), Some(plan)) => bytes(&plan) <= id.bytes() && segment.map().block(id) == offset,
        _ => false,
    }
}

/// Makes the lane of a seat, unless it has one.
fn make_lane(member: &Member, seat: &Seat, plan: &Plan, align: u64) -> Result<(), AttachError> {
    if seat.words[LANE].load(Acquire) != 0 {
        return Ok(());
    }
    let segment = member.segment();
    let page = segment.page_bytes();
    let id = member.blocks.allocate(segment, plan.lane.bytes(), align.clamp(64, page.max(64)))?;
    stop::here("lane: allocated");
    let offset = segment.map().block(id);
    // The words, not the messages: memory that is never used is never touched.
    for slot in 0..=plan.lane.degree {
        let words = plan.lane.offset.min(64);
        crate::message::bytes::zero(segment, offset + slot * plan.lane.stride, words);
    }
    // Named first: who is killed in between is asked what its seat names (`attach::settle_places`).
    seat.words[LANE].store(offset, Release);
    stop::here("lane: named");
    member.blocks.give_to_channel(segment, id);
    Ok(())
}

/// One end of a queue.
pub struct Many {
    queue: DomainQueue<Handle>,
    side: QueueSide,
    is_sender: bool,
    overflow: Overflow,
    /// What is dropped has to be given back.
    discards: bool,
}

impl Many {
    /// Takes a seat; gives the end word too.
    pub fn attach(
        member: &Handle,
        name: &str,
        found: &Found,
        is_sender: bool,
    ) -> Result<(Many, Word), AttachError> {
        let record = member.segment().channel(found.index);
        let spec = &found.spec;
        let impossible =
            || AttachError::Impossible { name: name.to_owned(), why: "its record is corrupt".to_owned() };
        let queue = queue(member.clone(), record, spec).ok_or_else(impossible)?;
        let (crowd, many, side) = if is_sender {
            (queue.senders(), spec.form.senders, "sender")
        } else {
            (queue.receivers(), spec.form.receivers, "receiver")
        };
        let taken = take_seat(member, spec, crowd, many.into());
        let (seat, held) = taken.map_err(|_| AttachError::EndsTaken { name: name.to_owned(), side, many })?;
        if is_sender {
            if let Err(why) = make_lane(member, crowd.seat(seat), &queue.plan(), spec.schema.align()) {
                leave(member, spec, &queue, true, seat, held, LEFT);
                return Err(why);
            }
        }
        Ok((Many::seated(queue, spec, is_sender, seat), held))
    }

    /// Takes over the seat of an end that lay in a message; gives the end word too. None: it is not as the message says.
    pub fn arrive(member: &Handle, found: &Found, end: &Travelling) -> Option<(Many, Word)> {
        let queue = queue(member.clone(), member.segment().channel(found.index), &found.spec)?;
        let crowd = if end.is_sender { queue.senders() } else { queue.receivers() };
        let held = crowd.seat(end.seat).side.hand_on(end.held, member.slot).ok()?;
        Some((Many::seated(queue, &found.spec, end.is_sender, end.seat), held))
    }

    /// In a seat that this process holds.
    fn seated(queue: DomainQueue<Handle>, spec: &Spec, is_sender: bool, seat: usize) -> Many {
        let side = QueueSide::new(seat);
        if is_sender {
            queue.recover_lane(seat);
            queue.resume(seat, &side);
        }
        let discards = spec.content == Content::Parcel;
        Many { queue, side, is_sender, overflow: spec.form.overflow, discards }
    }

    /// The number of this end's seat.
    pub fn number(&self) -> usize {
        self.side.seat
    }

    /// What the end remembers.
    pub fn memory(&self, wait: Wait) -> Memory {
        self.side.looked(self.others().departures());
        Memory::of(Word(0), self.others().end(), wait)
    }

    fn crowd(&self) -> &Crowd {
        if self.is_sender {
            self.queue.senders()
        } else {
            self.queue.receivers()
        }
    }

    fn others(&self) -> &Crowd {
        if self.is_sender {
            self.queue.receivers()
        } else {
            self.queue.senders()
        }
    }

    /// The other side's end words as if they were one.
    pub fn peer(&self) -> Word {
        self.others().end()
    }

    /// The other side's end words, by seat.
    pub fn words_of_others(&self) -> Vec<Word> {
        self.others().seats().iter().map(|seat| seat.side.end()).collect()
    }

    /// Who has left the other side is looked at again by the next call.
    pub fn look_again(&self) {
        self.side.looked(u64::MAX);
    }

    /// `check`s whether there is a partner left, if anybody left since the last look.
    #[inline(always)]
    pub fn notice<E>(&self, check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let departures = self.others().departures();
        if !self.side.saw(departures) {
            check()?;
            self.side.looked(departures);
        }
        Ok(())
    }

    /// This end's seat.
    pub fn seat(&self) -> &Seat {
        self.crowd().seat(self.side.seat)
    }

    /// Messages that wait.
    pub fn waiting(&self) -> u64 {
        self.queue.waiting()
    }

    /// The counters of all senders that there were, and of all receivers.
    pub fn counters(&self) -> (SideCounters, SideCounters) {
        let sum = |crowd: &Crowd| {
            crowd.seats().iter().fold(SideCounters::default(), |sum, seat| sum + seat.tally.read())
        };
        (sum(self.queue.senders()), sum(self.queue.receivers()))
    }

    #[inline(always)]
    fn party<'e>(
        &'e self,
        ground: &'e EndGround<'e>,
        memory: &'e Memory,
    ) -> QueueParty<'e, Native, DomainLanes<Handle>, EndGround<'e>> {
        QueueParty { queue: &self.queue, side: &self.side, ground, tally: &self.seat().tally, memory }
    }

    /// Sends `length` bytes that `fill` writes. False: it was dropped for want of room. `discard` has the bytes of a message that
    /// is dropped to make room.
    #[inline(always)]
    pub fn send(
        &self,
        ground: &EndGround<'_>,
        memory: &Memory,
        length: usize,
        patience: Patience,
        fill: impl FnOnce(*mut u8),
        discard: impl Fn(*const u8),
    ) -> Result<bool, Stop> {
        let capacity = self.queue.plan().lane.message_bytes_max;
        if length as u64 > capacity {
            return Err(Stop::TooLong { length: length as u64, capacity });
        }
        if self.overflow == Overflow::Block {
            return self.party(ground, memory).put(length as u64, patience, fill).map(|_| true);
        }
        let held = self.reserve(ground, memory, patience)?;
        fill(held.bytes);
        let sent = self.publish(ground, memory, held, length, patience, discard);
        if !matches!(sent, Ok(true)) {
            self.withdraw(ground, memory, held);
        }
        sent
    }

    /// Reserves a slot; when there is room, if this channel's sends wait for it.
    #[inline(always)]
    pub fn reserve(&self, ground: &EndGround<'_>, memory: &Memory, patience: Patience) -> Result<Held, Stop> {
        let mut party = self.party(ground, memory);
        if self.overflow == Overflow::Block {
            party.reserve(patience)
        } else {
            party.reserve_anyway()
        }
    }

    /// Sends the message in the reserved slot. False: it was dropped; the slot is still reserved then, and after an error.
    #[inline(always)]
    pub fn publish(
        &self,
        ground: &EndGround<'_>,
        memory: &Memory,
        held: Held,
        length: usize,
        patience: Patience,
        discard: impl Fn(*const u8),
    ) -> Result<bool, Stop> {
        let mut party = self.party(ground, memory);
        if self.overflow == Overflow::Block {
            return party.publish(held, length as u64, patience).map(|_| true);
        }
        let drops_newest = self.overflow == Overflow::DropNewest;
        if drops_newest && !party.has_credit() {
            self.seat().tally.dropped();
            return Ok(false);
        }
        let known = memory.peer.get();
        let mut stuck = Stuck::default();
        loop {
            let published = party.publish(held, length as u64, Patience::Try);
            if matches!(published, Err(Stop::Gone(_))) {
                memory.peer.set(known); // the loss is for the next call to report
            }
            match published {
                Ok(_) => return Ok(true),
                Err(Stop::WouldBlock | Stop::Gone(_)) if drops_newest => {
                    self.seat().tally.dropped();
                    return Ok(false);
                }
                Err(Stop::WouldBlock | Stop::Gone(_)) if !self.discards => {
                    if party.drop_oldest() {
                        self.seat().tally.dropped();
                    } else {
                        stuck.at(self.side.position())?;
                    }
                }
                Err(Stop::WouldBlock | Stop::Gone(_)) => {
                    if let Some(oldest) = party.take_to_drop()? {
                        discard(oldest.bytes);
                        party.dropped(oldest);
                        self.seat().tally.dropped();
                    } else {
                        stuck.at(self.side.position())?;
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Sends the message in the reserved slot, whatever waits: if there is no room the oldest one is taken, and `displaced`
    /// has it. Only where `may_displace`.
    pub fn force<R>(
        &self,
        ground: &EndGround<'_>,
        memory: &Memory,
        length: usize,
        fill: impl FnOnce(*mut u8),
        displaced: impl Fn(Held) -> R,
    ) -> Result<Option<R>, Stop> {
        let mut party = self.party(ground, memory);
        let held = party.reserve_anyway()?;
        fill(held.bytes);
        let mut out = None;
        let known = memory.peer.get();
        let mut stuck = Stuck::default();
        loop {
            let published = party.publish(held, length as u64, Patience::Try);
            if matches!(published, Err(Stop::Gone(_))) {
                memory.peer.set(known); // as in `publish`
            }
            match published {
                Ok(_) => return Ok(out),
                Err(Stop::WouldBlock | Stop::Gone(_)) => {
                    // Another sender may fill the room that was made: what was taken first is displaced, the rest dropped.
                    if let Some(oldest) = party.take_to_drop()? {
                        let taken = displaced(oldest);
                        party.dropped(oldest);
                        self.seat().tally.dropped();
                        out.get_or_insert(taken);
                    } else if let Err(stop) = stuck.at(self.side.position()) {
                        party.withdraw(held);
                        return Err(stop);
                    }
                }
                Err(stop) => {
                    party.withdraw(held);
                    return Err(stop);
                }
            }
        }
    }

    /// May a sender take messages to make room?
    pub fn may_displace(&self) -> bool {
        let Plan { exclusive, per_sender, degree, .. } = self.queue.plan();
        !exclusive && per_sender.is_none_or(|each| each == degree)
    }

    /// Gives up the reserved slot.
    pub fn withdraw(&self, ground: &EndGround<'_>, memory: &Memory, held: Held) {
        self.party(ground, memory).withdraw(held);
    }

    /// The position that a message sent now would have.
    pub fn next_position(&self) -> u64 {
        self.side.position()
    }

    /// What is reserved, or in hand.
    pub fn in_hand(&self) -> Option<Held> {
        self.side.in_hand()
    }

    /// Is a slot reserved, or a message in hand?
    pub fn is_held(&self) -> bool {
        self.side.is_held()
    }

    /// Receives a message: `read` has it while nobody else may.
    #[inline(always)]
    pub fn receive<R>(
        &self,
        ground: &EndGround<'_>,
        memory: &Memory,
        patience: Patience,
        capacity: u64,
        read: impl FnOnce(*const u8, u64) -> R,
    ) -> Result<R, Stop> {
        self.party(ground, memory).take_and(patience, capacity, read)
    }

    /// Takes a message in hand.
    #[inline(always)]
    pub fn take(&self, ground: &EndGround<'_>, memory: &Memory, patience: Patience) -> Result<Held, Stop> {
        self.party(ground, memory).take(patience, u64::MAX)
    }

    /// The message in hand is about to be changed.
    pub fn begin_changing(&self, ground: &EndGround<'_>, memory: &Memory, held: Held) {
        self.party(ground, memory).begin_changing(held);
    }

    /// Gives the message in hand back.
    #[inline(always)]
    pub fn give_back(&self, ground: &EndGround<'_>, memory: &Memory, held: Held) {
        self.party(ground, memory).give_back(held);
    }

    /// Is the operation of a select possible? `entry`: a look in vain is announced.
    pub fn look(&self, ground: &EndGround<'_>, memory: &Memory, entry: Option<u64>) -> Look {
        if self.is_sender && self.overflow != Overflow::Block {
            return Look::Ready;
        }
        let party = self.party(ground, memory);
        let possible = || party.is_possible(self.is_sender);
        if possible() {
            return Look::Ready;
        }
        let Some(entry) = entry else {
            return Look::Not;
        };
        self.seat().side.set_pcb_ref(entry);
        self.crowd().announce(self.side.seat);
        party.wake_sleepers_of(self.others());
        if possible() {
            Look::Ready
        } else {
            Look::Not
        }
    }

    /// Does a message wait that a receiver had in hand when it died?
    pub fn has_returned(&self, ground: &EndGround<'_>, memory: &Memory) -> bool {
        self.party(ground, memory).has_returned()
    }

    /// Nobody waits here any more.
    pub fn retire(&self) {
        self.crowd().retire(self.side.seat);
    }

    /// May another end take what this one found?
    pub fn has_rivals(&self) -> bool {
        !self.queue.plan().exclusive
    }

    /// A message in hand that was forgotten is the next receiver's.
    pub fn put_back(&self, member: &Member, spec: &Spec) {
        if !self.is_sender && self.side.is_held() {
            self.queue.settle_receiver(self.side.seat, || true, |_| false, |_, _| ());
            tell(member, spec, &self.queue, false);
        }
    }

    /// Closes the end.
    pub fn leave(&self, member: &Handle, spec: &Spec, held: Word) {
        leave(member, spec, &self.queue, self.is_sender, self.side.seat, held, LEFT);
    }
}

/// Tells a queue in which nobody else does anything, and which has neither room nor a message that could make some, from one in
/// which others were quicker.
#[derive(Default)]
struct Stuck(Option<u64>);

impl Stuck {
    /// There was no room at this position, and then no message in its way. Twice in a row: whoever has come between the two, and
    /// took the message or filled the place, would have made room, or moved the position on. So nobody has, and the words are corrupt.
    fn at(&mut self, position: u64) -> Result<(), Stop> {
        match self.0.replace(position) {
            Some(before) if before == position => Err(Stop::Corrupt),
            _ => Ok(()),
        }
    }
}

/// ATTACHED => `into`, and everybody who waits is told.
fn leave(
    member: &Member,
    spec: &Spec,
    queue: &DomainQueue<impl Deref<Target = Member>>,
    is_sender: bool,
    seat: usize,
    held: Word,
    into: u8,
) {
    let crowd = if is_sender { queue.senders() } else { queue.receivers() };
    if crowd.seat(seat).side.detach(held, into) {
        tell(member, spec, queue, is_sender);
    }
}

/// Somebody of this direction is gone: the other one looks, and this one too, since a message may have come back.
fn tell(member: &Member, spec: &Spec, queue: &DomainQueue<impl Deref<Target = Member>>, is_sender: bool) {
    stop::here("tell: not yet woken");
    let gone = if is_sender { queue.senders() } else { queue.receivers() };
    gone.departed();
    for crowd in [queue.senders(), queue.receivers()] {
        crowd.wake(crowd.sleepers_after_rmw(), |side| wake(member, spec.method, side.pcb_ref()));
    }
}

/// Something came back to the queue: everybody who waits looks.
pub fn tell_all(member: &Member, record: &Record, spec: &Spec) {
    if let Some(queue) = queue(member, record, spec) {
        tell(member, spec, &queue, false);
    }
}

/// Settles what the dead process in `slot` held of a queue. `claimed`: has the message been taken out of the slot's bytes
/// already? `dropped`: a dead sender was about to drop it.
pub fn settle(
    member: &Member,
    record: &Record,
    spec: &Spec,
    slot: u16,
    still: impl Fn() -> bool,
    claimed: impl Fn(*const u8) -> bool,
    dropped: impl Fn(*const u8, &dyn Fn() -> bool),
) {
    let Some(queue) = queue(member, record, spec) else {
        return;
    };
    // The receivers first: whoever is told that no sender is left finds what the dead one had in hand.
    for (crowd, is_sender) in [(queue.receivers(), false), (queue.senders(), true)] {
        for (number, seat) in crowd.seats().iter().enumerate() {
            let end = seat.side.end();
            if end.state() != ATTACHED || end.slot() != slot || !still() {
                continue;
            }
            if spec.continuation.waits() {
                crate::succession::open(member.segment(), slot, &still);
            }
            let held = || seat.side.end().awake() == end.awake();
            if is_sender {
                queue.settle_sender(number, held, &dropped);
            } else {
                queue.settle_receiver(number, held, &claimed, &dropped);
            }
            seat.side.detach(end, DIED);
        }
    }
    // It may have died after it closed its end and before it said so (crowd.rs, D4), and so may another sweeper.
    tell(member, spec, &queue, true);
    tell(member, spec, &queue, false);
}

/// Closes an end that lies in a message.
pub fn release(member: &Member, record: &Record, spec: &Spec, end: &Travelling, into: u8) {
    if let Some(queue) = queue(member, record, spec) {
        leave(member, spec, &queue, end.is_sender, end.seat, end.held, into);
    }
}

/// How many receivers the queue has, those in messages included.
pub fn receivers(member: &Member, record: &Record, spec: &Spec) -> usize {
    queue(member, record, spec).map_or(0, |queue| queue.receivers().attached())
}

/// Gives the lanes of a queue that is over back.
pub fn unmake(member: &Member, record: &Record) {
    let segment = member.segment();
    for lane in lanes(segment, record) {
        let offset = lane.load(Relaxed);
        let id = segment.map().locate(offset).filter(|_| offset != 0);
        // As in `attach::finish_unmaking`: ours first, then not named any more.
        let ours = id.filter(|id| member.blocks.take_from_channel(segment, *id));
        lane.store(0, Release);
        if let Some(id) = ours {
            member.blocks.free(segment, id);
        }
    }
}

/// Where the seats of a queue's senders, or of a service's clients, name their lanes. None of another channel.
pub fn lanes<'s>(segment: &'s Segment, record: &Record) -> impl Iterator<Item = &'s AtomicU64> {
    first_crowd(segment, record).into_iter().flat_map(|crowd| crowd.seats()).map(|seat| &seat.words[LANE])
}

/// The first crowd of a channel whose record says that it has lanes.
fn first_crowd<'s>(segment: &'s Segment, record: &Record) -> Option<&'s Crowd> {
    let kind = Kind::from_code(record.kind.load(Relaxed) as u8);
    if !matches!(kind, Some(Kind::Queue | Kind::Service)) {
        return None;
    }
    let offset = record.ring.load(Acquire);
    let block = segment.pointer(offset, CROWD_BYTES).filter(|_| offset != 0 && offset % 256 == 0)?;
    // SAFETY: inside the window, which the segment keeps mapped; atomics.
    Some(unsafe { block.cast::<Crowd>().as_ref() })
}
