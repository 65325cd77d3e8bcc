//! How the two kinds of payload travel: values by their bytes, parcels by their reference.

#![allow(unsafe_code)] // Hands pointers to private values to the protocols.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::time::Instant;

use super::call::{Incoming, Outgoing, Patience, Stop};
use super::end::End;
use super::line::{Reference3, INLINE_BYTES};
use super::queue::Held;
use super::quick::{read_words, write_words};
use super::side::ATTACHED;
use super::spec::{Kind, Payload};
use crate::custody::Missing;
use crate::enclosure::contents::is_full;
use crate::enclosure::face::holds_last_receiver;
use crate::error::{AcquireError, RecvError, SendError, SendFailure};
use crate::memory::note::came_from;
use crate::memory::platform::prefetch_for_write;
use crate::memory::stop;
use crate::memory::word::IN_MESSAGE;
use crate::message::parcel::{Parcel, Raw};
use crate::reference::capability::{CapabilityId, Sent};
use crate::{Message, Method};

impl<T: Message> Payload for T {
    #[inline]
    fn send_on(end: &End, value: T, patience: Patience) -> Result<(), SendError<T>> {
        if !end.member.here() {
            return Err(SendError { message: value, why: SendFailure::Forked });
        }
        // A message has no drop glue (message::Message, M2): it may be forgotten once its bytes are away.
        let value = ManuallyDrop::new(value);
        let bytes = std::ptr::from_ref(&*value).cast::<u8>();
        let length = size_of::<T>();
        let sent = if let Some(buffer) = end.buffer() {
            // SAFETY: `value` lives until the call returns.
            unsafe { end.send_into(buffer, bytes, length, patience) }
        } else if let Some(many) = end.many() {
            // SAFETY: as above.
            unsafe { end.put_value(many, bytes, length, patience) }
        } else if length <= INLINE_BYTES {
            // SAFETY: `value` lives until the call returns.
            unsafe { end.send_cell(bytes, length, patience) }
        } else {
            // SAFETY: as above.
            unsafe { end.send(Outgoing::Private { bytes, length, exact: true }, patience) }
        };
        sent.map_err(|stop| SendError {
            message: ManuallyDrop::into_inner(value),
            why: end.send_failure(stop, patience),
        })
    }

    fn force_on(end: &End, value: T) -> Result<Option<T>, SendError<T>> {
        if !end.member.here() {
            return Err(SendError { message: value, why: SendFailure::Forked });
        }
        let value = ManuallyDrop::new(value);
        let tally = end.tally();
        let bytes = std::ptr::from_ref(&*value).cast::<u8>();
        // SAFETY: the slot is ours to write, and has room for a T; `value` lives until the call returns.
        let fill = |to: *mut u8| unsafe { tally.copy(bytes, to, size_of::<T>()) };
        let displaced = |held: Held| {
            let mut oldest = MaybeUninit::<T>::uninit();
            // SAFETY: the message is ours while this runs: a T, as both ends agreed (attach.rs).
            unsafe {
                tally.copy(held.bytes, oldest.as_mut_ptr().cast(), size_of::<T>());
                oldest.assume_init()
            }
        };
        end.force_into_queue(size_of::<T>(), fill, displaced)
            .map_err(|why| SendError { message: ManuallyDrop::into_inner(value), why })
    }

    #[inline]
    fn recv_on(end: &End, patience: Patience) -> Result<T, RecvError> {
        if !end.member.here() {
            return Err(RecvError::Forked);
        }
        let mut value = MaybeUninit::<T>::uninit();
        let bytes = value.as_mut_ptr().cast::<u8>();
        let length = size_of::<T>();
        let received = if let Some(buffer) = end.buffer() {
            // SAFETY: `value` lives until the call returns.
            unsafe { end.receive_from(buffer, bytes, length, patience) }
        } else if let Some(many) = end.many() {
            // SAFETY: as above.
            unsafe { end.take_value(many, bytes, length, patience) }
        } else if length <= INLINE_BYTES {
            // SAFETY: `value` lives until the call returns.
            unsafe { end.receive_cell(bytes, length, patience) }
        } else {
            // SAFETY: as above.
            unsafe { end.receive(Incoming::Private { bytes, capacity: length, exact: true }, patience) }
        };
        match received {
            // SAFETY: both ends agreed on the type (attach.rs), and all its bytes were written.
            Ok(received) if received == length => Ok(unsafe { value.assume_init() }),
            Ok(_) => Err(RecvError::Corrupt),
            Err(stop) => Err(end.recv_failure(stop, patience)),
        }
    }
}

impl<T: Message + ?Sized> Payload for Parcel<T> {
    fn send_on(end: &End, parcel: Self, patience: Patience) -> Result<(), SendError<Self>> {
        let fail = |parcel, why| Err(SendError { message: parcel, why });
        if !end.member.here() {
            return fail(parcel, SendFailure::Forked);
        }
        if !end.member.is_of(parcel.raw().member()) {
            return fail(parcel, SendFailure::WrongDomain);
        }
        let words = match parcel.words(end.spec().method) {
            Ok(words) => words,
            Err(why) => return fail(parcel, why),
        };
        if let Some(why) = check_inside(end, parcel.raw()) {
            return fail(parcel, why);
        }
        if let Some(id) = parcel.raw().capability() {
            // The descriptor is in the receiver's hands before the commit point.
            if let Err(why) = pass(end, id, patience) {
                return fail(parcel, why);
            }
        }
        let sent = if end.many().is_some() {
            end.send_to_queue(Outgoing::Parcel(words), patience)
        } else {
            end.send_parcel(words, patience).map(|()| true)
        };
        match sent {
            Ok(true) => {
                parcel.into_raw().sent();
                Ok(())
            }
            Ok(false) => Ok(()), // dropped for want of room
            Err(stop) => fail(parcel, end.send_failure(stop, patience)),
        }
    }

    fn force_on(end: &End, parcel: Self) -> Result<Option<Self>, SendError<Self>> {
        let fail = |parcel, why| Err(SendError { message: parcel, why });
        if !end.member.here() {
            return fail(parcel, SendFailure::Forked);
        }
        if !end.member.is_of(parcel.raw().member()) {
            return fail(parcel, SendFailure::WrongDomain);
        }
        let method = end.spec().method;
        if method == Method::Capability {
            return fail(parcel, SendFailure::CannotDisplace);
        }
        let words = match parcel.words(method) {
            Ok(words) => words,
            Err(why) => return fail(parcel, why),
        };
        if let Some(why) = check_inside(end, parcel.raw()) {
            return fail(parcel, why);
        }
        // SAFETY: the slot is ours to write, and holds that many words.
        let fill = |to: *mut u8| unsafe { write_words(to.cast(), words) };
        let displaced = |held: Held| {
            // SAFETY: the message is ours while this runs, a reference.
            let words = unsafe { read_words(held.bytes.cast()) };
            Parcel::receive(&end.member, || end.member.clone(), method, words, 0)
        };
        match end.force_into_queue(size_of::<Reference3>(), fill, displaced) {
            Ok(displaced) => {
                end.tally().message(words[1] as usize);
                parcel.into_raw().sent();
                Ok(displaced.flatten())
            }
            Err(why) => fail(parcel, why),
        }
    }

    fn recv_on(end: &End, patience: Patience) -> Result<Self, RecvError> {
        if !end.member.here() {
            return Err(RecvError::Forked);
        }
        if let Some(kept) = end.kept() {
            return super::kept::receive(end, kept, patience);
        }
        let method = end.spec().method;
        if method == Method::Capability {
            let (raw, length) = receive_capability(end, patience)?;
            end.tally().message(length as usize);
            return Parcel::from_received(raw, length).ok_or(RecvError::Corrupt);
        }
        end.stock_handle();
        let received = end.receive_and_claim(patience, |words| {
            stop::here("receive: taken");
            // What the sender wrote travels while we look at whether it makes sense.
            prefetch_for_write(end.member.refs.guess(method, words[0]));
            end.tally().message(words[1] as usize);
            let note = came_from(end.found.index, words[2].wrapping_add(1));
            let parcel = Parcel::receive(&end.member, || end.handle(), method, words, note);
            stop::here("receive: claimed");
            parcel
        });
        received.map_err(|why| end.recv_failure(why, patience))?.ok_or(RecvError::Corrupt)
    }

    fn take_back_on(end: &End) -> Vec<Self> {
        end.kept().map_or_else(Vec::new, |kept| super::kept::take_back(end, kept))
    }
}

/// What lies in the parcel must not be what it needs to be received.
#[inline(always)]
fn check_inside(end: &End, raw: &Raw) -> Option<SendFailure> {
    let full = raw.block().filter(|id| is_full(end.member.segment(), *id))?;
    holds_last_receiver(end, full).then_some(SendFailure::ThroughItself)
}

/// The next capability: the one that is owed to us (`custody`, C5), or the next in the channel; and its length. Its message stays
/// where it lies until it is claimed, so it is on its way for everybody else.
#[inline(never)] // so that nothing of it is in the way of other parcels
fn receive_capability(end: &End, patience: Patience) -> Result<(Raw, u64), RecvError> {
    let words = match end.owed.take() {
        Some(words) => words,
        None => end.take_parcel(patience).map_err(|why| end.recv_failure(why, patience))?,
    };
    stop::here("receive: capability taken");
    let receive = || Raw::receive_capability(&end.member, words);
    let mut raw = receive();
    if matches!(raw, Err(Some(AcquireError::NotHeld))) {
        secure(end, words, patience)?;
        raw = receive();
    }
    match raw {
        Ok(raw) => {
            stop::here("receive: capability claimed");
            end.claimed();
            Ok((raw, words[1]))
        }
        // No address space, say: it may be mapped later.
        Err(Some(why @ AcquireError::System(_))) => {
            end.owed.set(Some(words));
            Err(RecvError::Acquire(why))
        }
        Err(why) => {
            give_up(end, words);
            Err(why.map_or(RecvError::Corrupt, RecvError::Acquire))
        }
    }
}

/// Puts a capability's descriptor into the hands of whoever holds the other end; of a channel with a buffer and without
/// one, into a keeper's (`custody`, C2).
#[inline(never)]
fn pass(end: &End, id: CapabilityId, patience: Patience) -> Result<(), SendFailure> {
    let peer = match end.spec().kind {
        Kind::Rendezvous => end.await_peer(patience).map_err(|stop| end.send_failure(stop, patience))?,
        Kind::Basic | Kind::Buffered | Kind::Broadcast | Kind::Latest => end.peer(),
        // Whoever takes it asks the members for it.
        Kind::Queue | Kind::Service => {
            end.member.keep_capability(id);
            return Ok(());
        }
    };
    if peer.state() == ATTACHED && peer.slot() == IN_MESSAGE {
        // Whoever takes that end out asks the members for it.
        end.member.keep_capability(id);
        return Ok(());
    }
    if peer.state() == ATTACHED && peer.slot() == end.member.slot {
        return Ok(()); // another thread of this process: one table
    }
    let passed = match peer.state() {
        ATTACHED => end.member.pass_capability(id, peer.slot()),
        _ => Err(SendFailure::Disconnected),
    };
    match passed {
        Err(SendFailure::Disconnected | SendFailure::PeerDied) if end.spec().kind != Kind::Rendezvous => {
            end.member.keep_capability(id);
            Ok(())
        }
        // Its end word says how it went, and then it is accounted for.
        Err(why @ (SendFailure::Disconnected | SendFailure::PeerDied)) if peer.state() == ATTACHED => {
            end.member.sweep_if_dead(peer.slot());
            match end.await_peer(Patience::Try) {
                Err(stop @ Stop::Gone(_)) => Err(end.send_failure(stop, patience)),
                _ => Err(why),
            }
        }
        other => other,
    }
}

/// Gets the descriptor of a capability that arrived without it.
fn secure(end: &End, words: Reference3, patience: Patience) -> Result<(), RecvError> {
    let Some(id) = named(end, words).map(|sent| sent.id) else {
        give_up(end, words);
        return Err(RecvError::Corrupt);
    };
    let deadline = match patience {
        Patience::Try => Some(Instant::now()),
        Patience::Until(deadline) => deadline,
    };
    end.member.secure_capability(id, deadline).map_err(|missing| match missing {
        Missing::Late => {
            end.owed.set(Some(words));
            if matches!(patience, Patience::Try) {
                RecvError::WouldBlock
            } else {
                RecvError::TimedOut
            }
        }
        Missing::Owed(why) => {
            end.owed.set(Some(words));
            RecvError::Acquire(why)
        }
        Missing::Never(why) => {
            give_up(end, words);
            RecvError::Acquire(why)
        }
    })
}

/// What these words refer to was taken in hand, and nobody will receive it: its memory is free again, and so is its slot.
pub(super) fn give_up(end: &End, words: Reference3) {
    if let Some(sent) = named(end, words) {
        end.member.abandon_capability(sent);
    }
    end.claimed();
}

/// The capability that these words refer to.
fn named(end: &End, [reference, _, sent]: Reference3) -> Option<Sent> {
    let capability = end.spec().method == Method::Capability;
    let index = end.member.refs.capability_index(reference).filter(|_| capability)?;
    Some(Sent::of(index, sent))
}
