//! What an end of a queue does: values, parcels and references, by the calls of `End`.

#![allow(unsafe_code)] // Copies between private memory and slots.

use super::call::{Incoming, Outgoing, Patience, Stop};
use super::end::End;
use super::line::Reference3;
use super::many::Many;
use super::queue::Held;
use super::quick::{read_words, write_words};
use crate::error::SendFailure;

impl End {
    fn queue(&self) -> Result<&Many, Stop> {
        self.many().ok_or(Stop::Corrupt)
    }

    /// A reference in a slot whose message is dropped: nobody has it then.
    fn discard(&self, bytes: *const u8) {
        // SAFETY: of a channel of parcels: a slot holds a reference (Q3: it is ours).
        let words = unsafe { read_words(bytes.cast_mut().cast()) };
        super::sweep::discard(&self.member, self.spec(), words, || true);
    }

    fn discards(&self) -> bool {
        self.spec().content == super::spec::Content::Parcel
    }

    /// Sends a value over a queue: one copy, into the slot.
    ///
    /// # Safety
    /// `bytes` are `length` readable bytes; messages of this channel have that length.
    #[inline(always)]
    pub(crate) unsafe fn put_value(
        &self,
        many: &Many,
        bytes: *const u8,
        length: usize,
        patience: Patience,
    ) -> Result<(), Stop> {
        if self.has_no_name() {
            many.notice(|| self.check_over().and_then(|()| self.check_receiver()))?;
        }
        let tally = &many.seat().tally;
        // SAFETY: the slot is ours to write, and has room for the messages of this channel; the bytes are the caller's promise.
        let fill = |to: *mut u8| unsafe { tally.copy(bytes, to, length) };
        match many.send(&self.ground(), self.memory(), length, patience, fill, |_| ()) {
            Ok(sent) => {
                if sent {
                    tally.message(length);
                }
                Ok(())
            }
            Err(stop) => Err(self.note_over(stop)),
        }
    }

    /// Receives a value from a queue: one copy, out of the slot.
    ///
    /// # Safety
    /// `bytes` are `length` writable bytes; messages of this channel have that length.
    #[inline(always)]
    pub(crate) unsafe fn take_value(
        &self,
        many: &Many,
        bytes: *mut u8,
        length: usize,
        patience: Patience,
    ) -> Result<usize, Stop> {
        let tally = &many.seat().tally;
        let read = |from: *const u8, came: u64| {
            if came == length as u64 {
                // SAFETY: the message is ours while this runs (`Many::receive`), and has that length.
                unsafe { tally.copy(from, bytes, length) };
                tally.message(length);
            }
            came as usize
        };
        if let Some(taken) = self.in_hand_of_select() {
            let held = taken?;
            let length = read(held.bytes, held.length);
            many.give_back(&self.ground(), self.memory(), held);
            return Ok(length);
        }
        self.check_over()?;
        many.receive(&self.ground(), self.memory(), patience, length as u64, read)
            .map_err(|stop| self.note_over(stop))
    }

    /// Sends a message over a queue. False: it was dropped for want of room.
    pub(crate) fn send_to_queue(&self, message: Outgoing, patience: Patience) -> Result<bool, Stop> {
        self.check_over()?;
        self.check_receiver()?;
        let (many, ground) = (self.queue()?, self.ground());
        let discard = |bytes: *const u8| {
            if self.discards() {
                self.discard(bytes);
            }
        };
        let sent = match message {
            Outgoing::Parcel(words) => {
                // SAFETY: the slot is ours to write, and holds that many words.
                let fill = |to: *mut u8| unsafe { write_words(to.cast(), words) };
                many.send(&ground, self.memory(), size_of_val(&words), patience, fill, discard)
            }
            other => {
                let (bytes, length) = (other.bytes(), other.length());
                // SAFETY: the slot is ours to write, and long enough; the bytes are the caller's promise.
                let fill = |to: *mut u8| unsafe { self.tally().copy(bytes, to, length) };
                many.send(&ground, self.memory(), length, patience, fill, discard)
            }
        };
        match sent {
            Ok(sent) => {
                if sent {
                    self.tally().message(message.length());
                }
                Ok(sent)
            }
            Err(stop) => Err(self.note_over(stop)),
        }
    }

    /// The next message in hand; the one that a select has taken.
    fn take_next(&self, many: &Many, patience: Patience) -> Result<Held, Stop> {
        if let Some(taken) = self.in_hand_of_select() {
            return taken;
        }
        self.check_over()?;
        many.take(&self.ground(), self.memory(), patience).map_err(|stop| self.note_over(stop))
    }

    /// Receives a message from a queue into private memory or a variable; gives its length.
    pub(crate) fn receive_from_queue(&self, target: Incoming, patience: Patience) -> Result<usize, Stop> {
        let (many, ground) = (self.queue()?, self.ground());
        let (bytes, capacity) = (target.bytes(), target.capacity());
        if let Incoming::Parcel(words) = target {
            let held = self.take_next(many, patience)?;
            // SAFETY: the message is in hand, a reference.
            unsafe { words.write(read_words(held.bytes.cast())) };
            // Given back when the parcel is claimed (`claimed`), so that it is never nobody's.
            return Ok(size_of::<Reference3>());
        }
        let read = |from: *const u8, length: u64| {
            let length = length.min(capacity as u64) as usize;
            // SAFETY: the message is ours while this runs (`Many::receive`); it fits; the target is the caller's promise.
            unsafe { self.tally().copy(from, bytes, length) };
            length
        };
        if let Some(taken) = self.in_hand_of_select() {
            let held = taken?;
            let length = read(held.bytes, held.length);
            many.give_back(&ground, self.memory(), held);
            self.count_received(target, length);
            return Ok(length);
        }
        self.check_over()?;
        let length = many
            .receive(&ground, self.memory(), patience, capacity as u64, read)
            .map_err(|stop| self.note_over(stop))?;
        self.count_received(target, length);
        Ok(length)
    }

    /// The parcel whose reference was received from a queue is this process's: its slot goes back.
    #[inline(always)]
    pub(super) fn claimed_from_queue(&self, many: &Many) {
        if let Some(held) = many.in_hand() {
            many.give_back(&self.ground(), self.memory(), held);
        }
    }

    /// Sends whatever waits; gives what was taken out for it.
    pub(crate) fn force_into_queue<R>(
        &self,
        length: usize,
        fill: impl FnOnce(*mut u8),
        displaced: impl Fn(Held) -> R,
    ) -> Result<Option<R>, SendFailure> {
        let many = self.many().filter(|many| many.may_displace()).ok_or(SendFailure::CannotDisplace)?;
        let forced = self.check_over().and_then(|()| self.check_receiver());
        let forced = forced.and_then(|()| many.force(&self.ground(), self.memory(), length, fill, displaced));
        let displaced =
            forced.map_err(|stop| self.send_failure(self.note_over(stop), Patience::Until(None)))?;
        if self.spec().content == super::spec::Content::Value {
            self.tally().message(length);
        }
        Ok(displaced)
    }

    /// Reserves a slot of this sender's lane.
    pub(crate) fn reserve_in_queue(&self, many: &Many, patience: Patience) -> Result<Held, Stop> {
        self.check_over()?;
        self.check_receiver()?;
        many.reserve(&self.ground(), self.memory(), patience).map_err(|stop| self.note_over(stop))
    }

    /// Sends what the reserved slot holds. If it fails, or is dropped for want of room, the slot stays reserved.
    pub(crate) fn publish_in_queue(
        &self,
        many: &Many,
        held: Held,
        length: usize,
        patience: Patience,
    ) -> Result<(), Stop> {
        let sent = many.publish(&self.ground(), self.memory(), held, length, patience, |_| ());
        if sent.map_err(|stop| self.note_over(stop))? {
            self.tally().message(length);
        }
        Ok(())
    }

    /// Gives up the reserved slot, unless it was sent.
    pub(crate) fn withdraw_from_queue(&self, many: &Many, held: Held) {
        if self.member.here() && many.is_held() {
            many.withdraw(&self.ground(), self.memory(), held);
        }
    }

    /// Takes a message of `length` bytes in hand.
    pub(crate) fn take_from_queue(
        &self,
        many: &Many,
        length: usize,
        patience: Patience,
    ) -> Result<Held, Stop> {
        let held = self.take_next(many, patience)?;
        if held.length == length as u64 {
            return Ok(held);
        }
        many.give_back(&self.ground(), self.memory(), held);
        Err(Stop::Corrupt)
    }

    /// The message in hand is about to be changed.
    pub(crate) fn begin_changing_in_queue(&self, many: &Many, held: Held) {
        many.begin_changing(&self.ground(), self.memory(), held);
    }

    /// Gives the message in hand back.
    pub(crate) fn give_back_to_queue(&self, many: &Many, held: Held, length: usize) {
        self.tally().message(length);
        many.give_back(&self.ground(), self.memory(), held);
    }
}
