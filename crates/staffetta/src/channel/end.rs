//! An end of a channel as this process holds it: from typed calls to the protocols.
//!
//! E1. An `End` holds its side of the record: its end word says ATTACHED by our slot, taken by one
//!     compare-exchange, so there is no second one anywhere; the protocols' "only sender" and "only receiver"
//!     rest on it.
//! E2. `Memory` is made of cells and an `End` is not Sync: one operation at a time.
//! E3. `record` lies in the window, which the `Member` keeps mapped.

#![allow(unsafe_code)] // Calls the protocols, whose contract is E1 and E2.

mod operation;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;

use self::operation::Secured;
use super::attach::Found;
use super::buffer::{before_words, Buffer};
use super::call::{Incoming, Memory, Outgoing, Patience, Stop};
use super::ground::{EndGround, Lender};
use super::line::Reference3;
use super::many::Many;
use super::quick::{deliver_now, read_words, want_now, write_words, Delivery, Wanted};
use super::record::Record;
use super::rendezvous::Party;
use super::ring::{RingParty, Slots, READING};
use super::side::{Side, ATTACHED, DIED, LEFT};
use super::spec::{Kind, Spec};
use super::tally::{SideCounters, Tally};
use crate::error::{AttachError, RecvError, SendFailure};
use crate::member::Member;
use crate::memory::platform::{Native, Platform};
use crate::memory::word::Word;
use crate::process::wait::{Wait, Waited};

/// An end, without its message type.
pub struct End {
    pub(crate) member: Arc<Member>,
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
    /// Whose private memory was read last.
    lender: Cell<Option<Lender>>,
    /// A channel without a name: nobody can come after one that has left.
    unnamed: bool,
    /// An unnamed channel is over when one end has left.
    over: Cell<bool>,
    /// An operation of a select: its entry, or 0.
    entry: Cell<u64>,
    /// What a select has got hold of, and nobody has completed yet.
    secured: Cell<Secured>,
    /// No fast path: one of the three above.
    slow: Cell<bool>,
    /// For the next parcel that comes (`stock_handle`).
    handle: Cell<Option<Arc<Member>>>,
    /// A capability that was taken from the channel and whose descriptor is still to come (`custody`, C5).
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
        member: &Arc<Member>,
        name: &str,
        found: Found,
        is_sender: bool,
        wait: Wait,
    ) -> Result<End, AttachError> {
        let record = member.segment().channel(found.index);
        if found.spec.kind == Kind::Queue {
            let (many, held) = Many::attach(member, name, &found, is_sender)?;
            let memory = many.memory(wait);
            let many = Some(Box::new(many));
            return Ok(End::of(member, found, is_sender, held, memory, None, many));
        }
        let (me, peer) = sides(record, is_sender);
        // Somebody dead, of whom we have not heard yet, is in nobody's way.
        let attached = me.attach(member.slot).or_else(|now| {
            if member.sweep_if_dead(now.slot()) {
                me.attach(member.slot)
            } else {
                Err(now)
            }
        });
        let held = attached.map_err(|now| {
            let (pid, program) = member.describe_process(now.slot());
            AttachError::EndTaken {
                name: name.to_owned(),
                side: if is_sender { "sender" } else { "receiver" },
                pid,
                program,
            }
        })?;
        let mut buffer = None;
        if let Some(slots) = slots(member, record, &found.spec) {
            let place = if is_sender {
                slots.recover_tail(&record.tail, &record.head);
                &record.tail
            } else {
                slots.recover_head(&record.head);
                &record.head
            };
            if found.spec.kind == Kind::Buffered {
                buffer = Some(Buffer::new(slots, place.load(Relaxed)));
            }
        }
        let memory = Memory::new(&record.line, peer, wait);
        // A partner that waits for us to come sleeps on its own PCB.
        super::ground::wake(member, found.spec.method, peer.pcb_ref());
        Ok(End::of(member, found, is_sender, held, memory, buffer, None))
    }

    #[allow(clippy::too_many_arguments)] // private, and all of an end's parts
    fn of(
        member: &Arc<Member>,
        found: Found,
        is_sender: bool,
        held: Word,
        memory: Memory,
        buffer: Option<Buffer<Native>>,
        many: Option<Box<Many>>,
    ) -> End {
        End {
            member: member.clone(),
            record: InWindow(NonNull::from(member.segment().channel(found.index))),
            is_sender,
            held,
            memory,
            quick: Cell::new(found.spec.kind == Kind::Rendezvous),
            buffer,
            many,
            lender: Cell::new(None),
            unnamed: found.unnamed.is_some(),
            over: Cell::new(false),
            entry: Cell::new(0),
            secured: Cell::new(Secured::Nothing),
            slow: Cell::new(false),
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
            self.over.set(true);
            self.quick.set(false);
            self.slow.set(true);
        }
        stop
    }

    /// Sees to it that a handle for the next parcel is there: to count one is a locked instruction, which is cheap
    /// before the message comes and dear after.
    #[inline(always)]
    pub(crate) fn stock_handle(&self) {
        let handle = self.handle.take().unwrap_or_else(|| self.member.clone());
        self.handle.set(Some(handle));
    }

    /// A handle of the member, for a parcel.
    #[inline(always)]
    pub(crate) fn handle(&self) -> Arc<Member> {
        self.handle.take().unwrap_or_else(|| self.member.clone())
    }

    /// Do the fast paths apply?
    #[inline(always)]
    fn is_quick(&self) -> bool {
        self.quick.get() && self.memory.is_known(self.peer())
    }

    /// Sends a value of at most `INLINE_BYTES`.
    ///
    /// # Safety
    /// As `send`.
    #[inline(always)]
    pub(crate) unsafe fn send_cell(
        &self,
        bytes: *const u8,
        length: usize,
        patience: Patience,
    ) -> Result<(), Stop> {
        let mut delivery = None;
        if self.is_quick() {
            let (line, tally) = (&self.record().line, &self.record().sender_tally);
            // SAFETY: E1, E2; the bytes are the caller's promise, and fit a cell.
            let done =
                unsafe { deliver_now(line, &self.memory, |cell| tally.copy(bytes, cell.cast(), length)) };
            if done == Delivery::Done {
                tally.message(length);
                return Ok(());
            }
            delivery = Some(done);
        }
        // SAFETY: passed on.
        unsafe { self.send_slowly(Outgoing::Cell { bytes, length }, patience, delivery) }
    }

    /// Sends a parcel's words.
    #[inline(always)]
    pub(crate) fn send_parcel(&self, words: Reference3, patience: Patience) -> Result<(), Stop> {
        let mut delivery = None;
        if let Some(buffer) = &self.buffer {
            let done = self.put_now(buffer, size_of_val(&words), |to| {
                before_words();
                // SAFETY: the slot is ours to write, and holds that many words.
                unsafe { write_words(to.cast(), words) };
            });
            if done {
                self.record().sender_tally.message(words[1] as usize);
                return Ok(());
            }
        } else if self.is_quick() {
            let (line, tally) = (&self.record().line, &self.record().sender_tally);
            // SAFETY: E1, E2.
            let done = unsafe { deliver_now(line, &self.memory, |cell| write_words(cell, words)) };
            if done == Delivery::Done {
                tally.message(words[1] as usize);
                return Ok(());
            }
            delivery = Some(done);
        }
        // SAFETY: there are no bytes.
        unsafe { self.send_slowly(Outgoing::Parcel(words), patience, delivery) }
    }

    /// # Safety
    /// `message` describes readable bytes, as `Party::send` asks.
    pub(crate) unsafe fn send(&self, message: Outgoing, patience: Patience) -> Result<(), Stop> {
        // SAFETY: passed on.
        unsafe { self.send_slowly(message, patience, None) }
    }

    /// `delivery`: how far the fast path came.
    ///
    /// # Safety
    /// As `send`.
    #[inline(never)]
    unsafe fn send_slowly(
        &self,
        message: Outgoing,
        patience: Patience,
        delivery: Option<Delivery>,
    ) -> Result<(), Stop> {
        let ground = self.ground();
        if let Some(giving) = self.reserved_by_select() {
            // SAFETY: E1, E2; the bytes are the caller's promise.
            let sent = unsafe { self.party(&ground).send_reserved(giving, message) };
            return sent.inspect(|()| self.tally().message(message.length()));
        }
        self.check_over()?;
        // SAFETY: E1, E2; the bytes are the caller's promise.
        let sent = unsafe {
            match (self.found.spec.kind, delivery) {
                (Kind::Rendezvous, Some(delivery)) => {
                    self.party(&ground).send_walk(message, patience, delivery)
                }
                (Kind::Rendezvous, None) => self.party(&ground).send(message, patience),
                (Kind::Queue, _) => return self.send_to_queue(message, patience).map(drop),
                (Kind::Service, _) => return Err(Stop::Corrupt), // its ends are others (reply.rs)
                _ => self.send_to_ring(&ground, message, patience),
            }
        };
        match sent {
            Ok(()) => {
                self.tally().message(message.length());
                Ok(())
            }
            Err(stop) => Err(self.note_over(stop)),
        }
    }

    #[inline(always)]
    pub(super) fn ground(&self) -> EndGround<'_> {
        EndGround {
            member: &self.member,
            method: self.found.spec.method,
            sender: &self.record().sender,
            lender: &self.lender,
        }
    }

    fn party<'e>(&'e self, ground: &'e EndGround<'e>) -> Party<'e, Native, EndGround<'e>> {
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        let (line, tally, memory) = (&record.line, self.tally(), &self.memory);
        Party { line, me, peer, ground, tally, memory }
    }

    /// # Safety
    /// As `send`.
    unsafe fn send_to_ring(
        &self,
        ground: &EndGround<'_>,
        message: Outgoing,
        patience: Patience,
    ) -> Result<(), Stop> {
        let mut party = self.ring_party(ground)?;
        let words;
        let (bytes, length, counts) = match message {
            Outgoing::Parcel(parcel) => {
                words = parcel;
                (words.as_ptr().cast(), size_of_val(&words), false)
            }
            other => (other.bytes(), other.length(), true),
        };
        self.check_receiver()?;
        let Some(buffer) = &self.buffer else {
            // SAFETY: E1, E2; the bytes are the caller's promise.
            return unsafe { party.send(bytes, length, patience, counts) };
        };
        // SAFETY: as above.
        unsafe { party.send_into(buffer, bytes, length, patience, counts) }
    }

    /// Of a queue.
    #[inline(always)]
    pub(super) fn many(&self) -> Option<&Many> {
        self.many.as_deref()
    }

    /// Nobody can come after one that has left.
    #[inline(always)]
    pub(super) fn has_no_name(&self) -> bool {
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
        let gone = self.unnamed && !self.memory.is_known(end) && self.memory.lost_partner(end);
        if gone {
            return Err(self.note_over(Stop::Gone(end)));
        }
        Ok(())
    }

    /// The word of the sender's next slot, if all is as usual and there is room now.
    #[inline(always)]
    fn room_now(&self, buffer: &Buffer<Native>) -> Option<Word> {
        let usual = !buffer.is_held() && !self.slow.get();
        if !usual || (self.unnamed && !self.memory.is_known(self.peer())) {
            return None;
        }
        buffer.room_now()
    }

    /// The fast path of a send over a buffered channel: there is room. It only does what the full walk would do.
    #[inline(always)]
    fn put_now(&self, buffer: &Buffer<Native>, length: usize, fill: impl FnOnce(*mut u8)) -> bool {
        let Some(empty) = self.room_now(buffer) else {
            return false;
        };
        buffer.begin_writing();
        fill(buffer.bytes());
        match buffer.publish(&self.record().tail, empty, length as u64) {
            Some(asleep) => {
                if asleep {
                    self.wake_peer();
                }
                true
            }
            None => false,
        }
    }

    /// The word of the receiver's next slot when a message is in it, now or soon. A try looks once.
    #[inline(always)]
    fn full_soon(&self, buffer: &Buffer<Native>, patience: Patience) -> Option<Word> {
        if buffer.is_held() || self.slow.get() {
            return None;
        }
        if let Some(full) = buffer.full_now() {
            return Some(full);
        }
        if matches!(patience, Patience::Try) {
            return None;
        }
        for step in 0..self.memory.eager_steps::<Native>() {
            Native::relax_briefly(step);
            if let Some(full) = buffer.full_now() {
                self.record().receiver_tally.waited(&Waited { spins: step + 1, parks: 0 });
                return Some(full);
            }
        }
        None
    }

    /// The fast path of a receive from a buffered channel: a message is there, or comes soon, or it is a try in vain. None:
    /// the full walk is needed.
    #[inline(always)]
    fn take_now<R>(
        &self,
        buffer: &Buffer<Native>,
        length: usize,
        patience: Patience,
        read: impl FnOnce(*const u8) -> R,
    ) -> Option<Result<R, Stop>> {
        let Some(full) = self.full_soon(buffer, patience) else {
            let in_vain = matches!(patience, Patience::Try)
                && !buffer.is_held()
                && !self.slow.get()
                && self.memory.is_known(self.peer());
            return in_vain.then_some(Err(Stop::WouldBlock));
        };
        if buffer.length() != length as u64 {
            return None;
        }
        let message = read(buffer.bytes());
        if buffer.give_back(&self.record().head, full, length as u64) {
            self.wake_peer();
        }
        Some(Ok(message))
    }

    /// Sends a value over a buffered channel: one copy, into the slot.
    ///
    /// # Safety
    /// As `send`; messages of this channel have `length` bytes.
    #[inline(always)]
    pub(crate) unsafe fn send_into(
        &self,
        buffer: &Buffer<Native>,
        bytes: *const u8,
        length: usize,
        patience: Patience,
    ) -> Result<(), Stop> {
        let tally = &self.record().sender_tally;
        // SAFETY: the slot is ours to write and has room (attach.rs); `bytes` is the caller's promise.
        if self.put_now(buffer, length, |to| unsafe { tally.copy(bytes, to, length) }) {
            tally.message(length);
            return Ok(());
        }
        // SAFETY: passed on.
        unsafe { self.send_slowly(Outgoing::Private { bytes, length, exact: true }, patience, None) }
    }

    /// Receives a value from a buffered channel: one copy, out of the slot.
    ///
    /// # Safety
    /// As `receive`; messages of this channel have `length` bytes.
    #[inline(always)]
    pub(crate) unsafe fn receive_from(
        &self,
        buffer: &Buffer<Native>,
        bytes: *mut u8,
        length: usize,
        patience: Patience,
    ) -> Result<usize, Stop> {
        let tally = &self.record().receiver_tally;
        // SAFETY: the slot is ours to read, and holds `length` bytes; the target is the caller's promise.
        match self.take_now(buffer, length, patience, |from| unsafe { tally.copy(from, bytes, length) }) {
            Some(Ok(())) => {
                tally.message(length);
                Ok(length)
            }
            Some(Err(stop)) => Err(stop),
            // SAFETY: passed on.
            None => unsafe {
                self.receive(Incoming::Private { bytes, capacity: length, exact: true }, patience)
            },
        }
    }

    /// Reserves the sender's next slot; gives its word.
    #[inline(always)]
    pub(crate) fn reserve(&self, buffer: &Buffer<Native>, patience: Patience) -> Result<Word, Stop> {
        let empty = match self.room_now(buffer) {
            Some(empty) => empty,
            None => self.await_room(buffer, patience)?,
        };
        buffer.hold(true);
        Ok(empty)
    }

    #[inline(never)]
    fn await_room(&self, buffer: &Buffer<Native>, patience: Patience) -> Result<Word, Stop> {
        self.check_over()?;
        let ground = self.ground();
        let room =
            self.check_receiver().and_then(|()| self.ring_party(&ground)?.await_room(buffer, patience));
        room.map_err(|stop| self.note_over(stop))
    }

    /// Sends what the reserved slot holds.
    #[inline(always)]
    pub(crate) fn send_reserved(
        &self,
        buffer: &Buffer<Native>,
        empty: Word,
        length: usize,
    ) -> Result<(), Stop> {
        let asleep = buffer.publish(&self.record().tail, empty, length as u64).ok_or(Stop::Corrupt)?;
        self.record().sender_tally.message(length);
        if asleep {
            self.wake_peer();
        }
        Ok(())
    }

    /// Takes the next message in hand; gives its slot's word. Messages have `length` bytes.
    #[inline(always)]
    pub(crate) fn take_in_hand(
        &self,
        buffer: &Buffer<Native>,
        length: usize,
        patience: Patience,
    ) -> Result<Word, Stop> {
        let full = match self.full_soon(buffer, patience) {
            Some(full) if buffer.length() == length as u64 => full,
            _ => self.await_message(buffer, patience)?,
        };
        if buffer.length() != length as u64 {
            return Err(Stop::Corrupt);
        }
        let (reading, asleep) = buffer.take(full).ok_or(Stop::Corrupt)?;
        buffer.hold(true);
        if asleep {
            self.wake_peer();
        }
        Ok(reading)
    }

    #[inline(never)]
    fn await_message(&self, buffer: &Buffer<Native>, patience: Patience) -> Result<Word, Stop> {
        self.check_over()?;
        let ground = self.ground();
        let message = self.ring_party(&ground)?.await_message(buffer, patience);
        message.map_err(|stop| self.note_over(stop))
    }

    /// Gives back the slot of the message in hand.
    #[inline(always)]
    pub(crate) fn give_back(&self, buffer: &Buffer<Native>, reading: Word, length: usize) {
        let asleep = buffer.give_back(&self.record().head, reading, length as u64);
        self.record().receiver_tally.message(length);
        buffer.hold(false);
        if asleep {
            self.wake_peer();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_peer(&self) {
        let record = self.record();
        let (_, peer) = sides(record, self.is_sender);
        self.tally().woke();
        super::ground::wake(&self.member, self.found.spec.method, peer.pcb_ref());
    }

    fn ring_party<'e>(
        &'e self,
        ground: &'e EndGround<'e>,
    ) -> Result<RingParty<'e, Native, EndGround<'e>>, Stop> {
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        Ok(RingParty {
            slots: slots(&self.member, record, &self.found.spec).ok_or(Stop::Corrupt)?,
            place: if self.is_sender { &record.tail } else { &record.head },
            me,
            peer,
            ground,
            tally: self.tally(),
            memory: &self.memory,
        })
    }

    /// Receives a value of at most `INLINE_BYTES`.
    ///
    /// # Safety
    /// As `receive`.
    #[inline(always)]
    pub(crate) unsafe fn receive_cell(
        &self,
        bytes: *mut u8,
        length: usize,
        patience: Patience,
    ) -> Result<usize, Stop> {
        let target = Incoming::Cell { bytes, length };
        if let (true, Patience::Until(deadline)) = (self.is_quick(), patience) {
            let (line, tally) = (&self.record().line, &self.record().receiver_tally);
            match want_now(line, tally, &self.memory) {
                Wanted::Given(s) => {
                    // SAFETY: E1, E2; our WANT(s) was delivered; the target is the caller's promise, and fits a cell.
                    unsafe { line.read_cell(s, |cell| tally.copy(cell.cast(), bytes, length)) };
                    tally.message(length);
                    return Ok(length);
                }
                // SAFETY: passed on.
                Wanted::Waiting(s) => return unsafe { self.receive_wanted(s, target, deadline) },
                Wanted::Not => {}
            }
        }
        // SAFETY: passed on.
        unsafe { self.receive(target, patience) }
    }

    /// Receives a parcel's words.
    #[inline(always)]
    pub(crate) fn receive_parcel(&self, patience: Patience) -> Result<Reference3, Stop> {
        if let Some(buffer) = &self.buffer {
            let length = size_of::<Reference3>();
            // SAFETY: the slot is ours to read, and holds that many words.
            let taken =
                self.take_now(buffer, length, patience, |from| unsafe { read_words(from.cast_mut().cast()) });
            if let Some(words) = taken {
                return words;
            }
        }
        if let (true, Patience::Until(deadline)) = (self.is_quick(), patience) {
            let (line, tally) = (&self.record().line, &self.record().receiver_tally);
            match want_now(line, tally, &self.memory) {
                // SAFETY: E1, E2; our WANT(s) was delivered.
                Wanted::Given(s) => return Ok(unsafe { line.read_cell(s, |cell| read_words(cell)) }),
                Wanted::Waiting(s) => {
                    let mut words = [0; 3];
                    // SAFETY: the target lives until the call returns; WANT(s) stands.
                    unsafe { self.receive_wanted(s, Incoming::Parcel(&mut words), deadline) }?;
                    return Ok(words);
                }
                Wanted::Not => {}
            }
        }
        let mut words = [0; 3];
        // SAFETY: the target lives until the call returns.
        unsafe { self.receive(Incoming::Parcel(&mut words), patience) }?;
        Ok(words)
    }

    /// Of a parcel's length more is known later.
    #[inline(always)]
    pub(super) fn count_received(&self, target: Incoming, length: usize) {
        if !matches!(target, Incoming::Parcel(_)) {
            self.tally().message(length);
        }
    }

    /// # Safety
    /// As `receive`; WANT(s) stands.
    #[inline(never)]
    unsafe fn receive_wanted(
        &self,
        s: u64,
        target: Incoming,
        deadline: Option<Instant>,
    ) -> Result<usize, Stop> {
        let ground = self.ground();
        // SAFETY: E1, E2; the target is the caller's promise.
        let length = unsafe { self.party(&ground).receive_wanted(s, target, deadline) };
        length.inspect(|&length| self.count_received(target, length)).map_err(|stop| self.note_over(stop))
    }

    /// # Safety
    /// `target` describes writable bytes, as `Party::receive` asks.
    #[inline(never)]
    pub(crate) unsafe fn receive(&self, target: Incoming, patience: Patience) -> Result<usize, Stop> {
        let ground = self.ground();
        if let Some(s) = self.given_to_select() {
            // SAFETY: E1, E2: the rendezvous `s` is over, and was ours; the target is the caller's promise.
            let length = unsafe { self.party(&ground).collect(s, target) };
            return length.inspect(|&length| {
                self.completed();
                self.count_received(target, length);
            });
        }
        self.check_over()?;
        let received = if self.found.spec.kind == Kind::Rendezvous {
            // SAFETY: E1, E2; the target is the caller's promise.
            unsafe { self.party(&ground).receive(target, patience) }
        } else if self.many.is_some() {
            return self.receive_from_queue(target, patience);
        } else {
            let mut party = self.ring_party(&ground)?;
            let (bytes, capacity, counts) = match target {
                Incoming::Parcel(words) => (words.cast(), size_of_val(&[0_u64; 3]), false),
                other => (other.bytes(), other.capacity(), true),
            };
            // SAFETY: as above.
            unsafe {
                match &self.buffer {
                    Some(buffer) => party.receive_from(buffer, bytes, capacity, patience, counts),
                    None => party.receive(bytes, capacity, patience, counts),
                }
            }
        };
        received.inspect(|&length| self.count_received(target, length)).map_err(|stop| self.note_over(stop))
    }

    /// `try_*` did nothing; is it because nobody is there? One that left just now, of which nothing was said yet, is for
    /// the next call to report.
    fn is_alone(&self) -> bool {
        let end = self.peer();
        end.state() != ATTACHED && self.memory.is_known(end)
    }

    pub(crate) fn send_failure(&self, stop: Stop, patience: Patience) -> SendFailure {
        let tried = matches!(patience, Patience::Try);
        match stop {
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
            Stop::Corrupt | Stop::Torn { .. } | Stop::Cut { .. } => SendFailure::Corrupt,
        }
    }

    pub(crate) fn recv_failure(&self, stop: Stop, patience: Patience) -> RecvError {
        let tried = matches!(patience, Patience::Try);
        match stop {
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
            Stop::Full | Stop::Corrupt => RecvError::Corrupt,
        }
    }

    /// Waits for a partner to attach (a capability needs somebody to be passed to).
    pub(crate) fn await_peer(&self, patience: Patience) -> Result<Word, Stop> {
        self.check_over()?;
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        let (ground, memory) = (self.ground(), &self.memory);
        let now = peer.end();
        if memory.lost_partner(now) && now.state() != ATTACHED {
            return Err(self.note_over(Stop::Gone(now)));
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
        if !self.member.here() {
            return;
        }
        self.give_up_secured();
        if let Some(many) = &self.many {
            // What is owed to it is in hand, and goes back to the queue.
            many.leave(&self.member, &self.found.spec, self.held);
            return;
        }
        if let Some(words) = self.owed.take() {
            super::payload::give_up(self, words);
        }
        let record = self.record();
        if let Some(buffer) = self.buffer.as_ref().filter(|buffer| buffer.is_held()) {
            // A guard was forgotten; a message that was in hand is the next receiver's.
            let word = buffer.word();
            if word.state() == READING {
                buffer.put_back(word);
            }
        }
        let (me, peer) = sides(record, self.is_sender);
        super::sweep::detach(&self.member, record, &self.found.spec, me, peer, self.held, LEFT);
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
    // The spec was checked when it was read: the ring lies in its block.
    let ring = member.segment().pointer(record.ring.load(Relaxed), 0)?;
    Some(Slots { ring, shape, platform: PhantomData })
}

/// A deadline `timeout` from now; None, for ever, if that is beyond the clock.
pub(crate) fn deadline_after(timeout: std::time::Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
