//! One message out, one message in: the fast paths of the rendezvous, and the walk to each kind of channel.

#![allow(unsafe_code)] // Calls the protocols, whose contract is E1 and E2 (end.rs).

use std::time::Instant;

use super::{sides, End};
use crate::channel::call::{Incoming, Outgoing, Patience, Stop};
use crate::channel::ground::EndGround;
use crate::channel::line::Reference3;
use crate::channel::quick::{deliver_now, read_words, want_now, write_words, Delivery, Wanted};
use crate::channel::rendezvous::Party;
use crate::channel::spec::Kind;
use crate::memory::platform::Native;

impl End {
    /// Do the fast paths apply?
    #[inline(always)]
    pub(super) fn is_quick(&self) -> bool {
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
    pub(super) unsafe fn send_slowly(
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

    pub(super) fn party<'e>(&'e self, ground: &'e EndGround<'e>) -> Party<'e, Native, EndGround<'e>> {
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        let (line, tally, memory) = (&record.line, self.tally(), &self.memory);
        Party { line, me, peer, ground, tally, memory }
    }

    /// # Safety
    /// As `send`.
    pub(super) unsafe fn send_to_ring(
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

    /// Receives a parcel's words, of a rendezvous or a queue (`in_place::take_parcel`).
    #[inline(always)]
    pub(crate) fn receive_parcel(&self, patience: Patience) -> Result<Reference3, Stop> {
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
    pub(in crate::channel) fn count_received(&self, target: Incoming, length: usize) {
        if !matches!(target, Incoming::Parcel(_)) {
            self.tally().message(length);
        }
    }

    /// # Safety
    /// As `receive`; WANT(s) stands.
    #[inline(never)]
    pub(super) unsafe fn receive_wanted(
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
            if !matches!(target, Incoming::Parcel(_)) {
                self.read_out();
            }
            return length.inspect(|&length| {
                self.completed();
                self.count_received(target, length);
            });
        }
        self.check_over()?;
        let received = if self.found.spec.kind == Kind::Rendezvous {
            // SAFETY: E1, E2; the target is the caller's promise.
            let received = unsafe { self.party(&ground).receive(target, patience) };
            if received.is_err() || !matches!(target, Incoming::Parcel(_)) {
                self.read_out();
            }
            received
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
}
