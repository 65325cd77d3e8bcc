//! What an end of a buffered channel does in its slots; the fast paths do only what the full walks of `buffer.rs` would do.

#![allow(unsafe_code)] // Calls the protocols, whose contract is E1 and E2 (end.rs).

use super::{sides, slots, End};
use crate::channel::buffer::Buffer;
use crate::channel::call::{Incoming, Outgoing, Patience, Stop};
use crate::channel::ground::EndGround;
use crate::channel::line::Reference3;
use crate::channel::quick::read_words;
use crate::channel::ring::{RingParty, READING, REDELIVERED};
use crate::channel::spec::Kind;
use crate::memory::platform::{Native, Platform};
use crate::memory::word::Word;
use crate::process::wait::Waited;

impl End {
    /// The word of the sender's next slot, if all is as usual and there is room now.
    #[inline(always)]
    pub(super) fn room_now(&self, buffer: &Buffer<Native>) -> Option<Word> {
        let usual = !buffer.is_held() && !self.slow.get();
        if !usual || (self.unnamed && !self.memory.is_known(self.peer())) {
            return None;
        }
        buffer.room_now()
    }

    /// The fast path of a send over a buffered channel: there is room. It only does what the full walk would do.
    #[inline(always)]
    pub(super) fn put_now(&self, buffer: &Buffer<Native>, length: usize, fill: impl FnOnce(*mut u8)) -> bool {
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
    pub(super) fn full_soon(&self, buffer: &Buffer<Native>, patience: Patience) -> Option<Word> {
        if buffer.is_held() || self.slow.get() {
            return None;
        }
        if let Some(full) = buffer.full_now() {
            return Some(full);
        }
        if matches!(patience, Patience::Try) {
            return None;
        }
        let mut spins = 0;
        for look in 0..self.memory.eager_steps::<Native>() {
            spins += Native::stand_back(look);
            if let Some(full) = buffer.full_now() {
                self.record().receiver_tally.waited(&Waited { spins, parks: 0 });
                return Some(full);
            }
        }
        None
    }

    /// The fast path of a receive from a buffered channel: a message is there, or comes soon, or it is a try in vain. None:
    /// the full walk is needed.
    #[inline(always)]
    pub(super) fn take_now<R>(
        &self,
        buffer: &Buffer<Native>,
        length: usize,
        patience: Patience,
        read: impl FnOnce(*const u8) -> R,
    ) -> Option<Result<R, Stop>> {
        let Some(full) = self.full_soon(buffer, patience) else {
            return self.is_tried_in_vain(buffer, patience).then_some(Err(Stop::WouldBlock));
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

    /// There was no message: is that all there is to say?
    #[inline(always)]
    fn is_tried_in_vain(&self, buffer: &Buffer<Native>, patience: Patience) -> bool {
        matches!(patience, Patience::Try)
            && !buffer.is_held()
            && !self.slow.get()
            && self.memory.is_known(self.peer())
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
    pub(super) fn await_room(&self, buffer: &Buffer<Native>, patience: Patience) -> Result<Word, Stop> {
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
    pub(super) fn await_message(&self, buffer: &Buffer<Native>, patience: Patience) -> Result<Word, Stop> {
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

    /// Receives a parcel: `claim` has its words while they still lie where they came (ring.rs, N6), except in a rendezvous, whose
    /// cell stays as it is until this end comes back.
    #[inline(always)]
    pub(crate) fn receive_and_claim<R>(
        &self,
        patience: Patience,
        claim: impl FnOnce(Reference3) -> R,
    ) -> Result<R, Stop> {
        if let Some(buffer) = &self.buffer {
            let length = size_of::<Reference3>();
            match self.full_soon(buffer, patience) {
                Some(full) if buffer.length() == length as u64 => {
                    // SAFETY: the slot is ours to read, and holds that many words.
                    let claimed = claim(unsafe { read_words(buffer.bytes().cast()) });
                    if buffer.give_back(&self.record().head, full, length as u64) {
                        self.wake_peer();
                    }
                    return Ok(claimed);
                }
                None if self.is_tried_in_vain(buffer, patience) => return Err(Stop::WouldBlock),
                _ => {}
            }
        }
        let claimed = claim(self.take_parcel(patience)?);
        self.claimed();
        Ok(claimed)
    }

    /// Takes the next parcel, whose words stay in hand until it is claimed.
    #[inline(always)]
    pub(crate) fn take_parcel(&self, patience: Patience) -> Result<Reference3, Stop> {
        match self.found.spec.kind {
            Kind::Basic | Kind::Buffered => self.take_from_ring(patience).map(|(words, ..)| words),
            _ => self.receive_parcel(patience),
        }
    }

    /// As `take_parcel`, of a ring: also the place, and whether a receiver had it before.
    #[inline(never)]
    pub(crate) fn take_from_ring(&self, patience: Patience) -> Result<(Reference3, u64, bool), Stop> {
        let length = size_of::<Reference3>();
        let (bytes, place, again) = match &self.buffer {
            Some(buffer) => {
                let reading = self.take_in_hand(buffer, length, patience)?;
                (buffer.bytes().cast_const(), buffer.place(), reading.slot() == REDELIVERED)
            }
            None => {
                self.check_over()?;
                let ground = self.ground();
                let taken = self.ring_party(&ground)?.take_in_hand(patience, length as u64);
                taken.map_err(|stop| self.note_over(stop))?
            }
        };
        // SAFETY: the slot is in hand, of a channel of parcels: it holds a reference.
        Ok((unsafe { read_words(bytes.cast_mut().cast()) }, place, again))
    }

    /// The parcel that was taken is this process's: its slot goes back.
    #[inline(always)]
    pub(crate) fn claimed(&self) {
        match (&self.many, &self.buffer) {
            (Some(many), _) => self.claimed_from_queue(many),
            (_, Some(buffer)) => {
                let now = buffer.word();
                if buffer.is_held() && now.state() == READING {
                    let length = size_of::<Reference3>() as u64;
                    let asleep = buffer.give_back(&self.record().head, now, length);
                    buffer.hold(false);
                    if asleep {
                        self.wake_peer();
                    }
                }
            }
            _ if self.found.spec.kind == Kind::Basic => {
                let ground = self.ground();
                if let Ok(mut party) = self.ring_party(&ground) {
                    party.give_back();
                }
            }
            _ => {}
        }
    }

    /// A message of a basic channel that is in hand is its next receiver's.
    pub(super) fn put_back_in_ring(&self) {
        let ground = self.ground();
        if let Ok(mut party) = self.ring_party(&ground) {
            party.put_back();
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn wake_peer(&self) {
        let record = self.record();
        let (_, peer) = sides(record, self.is_sender);
        self.tally().woke();
        crate::channel::ground::wake(&self.member, self.found.spec.method, peer.pcb_ref());
    }

    pub(super) fn ring_party<'e>(
        &'e self,
        ground: &'e EndGround<'e>,
    ) -> Result<RingParty<'e, Native, EndGround<'e>>, Stop> {
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        Ok(RingParty {
            // Of one end always the same: what a buffer knows of its place is about these.
            slots: match &self.buffer {
                Some(buffer) => buffer.slots(),
                None => slots(&self.member, record, &self.found.spec).ok_or(Stop::Corrupt)?,
            },
            place: if self.is_sender { &record.tail } else { &record.head },
            me,
            peer,
            ground,
            tally: self.tally(),
            memory: &self.memory,
        })
    }
}
