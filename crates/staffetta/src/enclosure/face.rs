//! `Enclosed`, `Parcel::enclose`, `Parcel::take_out`; and ends of channels as messages.

#![allow(unsafe_code)] // `Enclosed` is a message.

use std::marker::PhantomData;

use super::contents;
use super::table::{what, Entry};
use crate::channel::attach::{find_enclosed, Wish};
use crate::channel::call::Patience;
use crate::channel::end::{End, Travelling};
use crate::channel::many;
use crate::channel::receiver::Receiver;
use crate::channel::sender::Sender;
use crate::channel::side::ATTACHED;
use crate::channel::spec::{Carried, Content, Kind, Payload};
use crate::error::{EncloseError, EncloseFailure, RecvError, SendError, SendFailure, TakeOutError};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::header::block::{ENCLOSED, OWNED};
use crate::memory::map::{BlockId, ENTRIES_MAX};
use crate::memory::word::{Word, IN_MESSAGE};
use crate::message::derive_support::{length_sized, tail_sized};
use crate::message::parcel::Parcel;
use crate::message::{Field, Message, Schema};
use crate::process::wait::Wait;
use crate::reference::Method;

/// What stands in a message for an end of a channel, or a parcel, that lies in the message's parcel.
///
/// It is a number, worth something only with the parcel: [`Parcel::take_out`] gives what it stands for, once. All zero, its
/// default, stands for nothing.
///
/// ```
/// use staffetta::{Domain, Enclosed, Message, Parcel, Sender};
///
/// #[derive(Message)]
/// struct Question {
///     number: u64,
///     answer: Enclosed<Sender<u64>>,
/// }
///
/// let domain = Domain::create()?;
/// let asked = domain.channel("questions").buffered(4);
/// let asks = asked.clone().sender::<Parcel<Question>>()?;
/// let answers = asked.receiver::<Parcel<Question>>()?;
///
/// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>()?;
/// let mut question = Parcel::new(&domain, Question { number: 6, answer: Enclosed::default() })?;
/// question.answer = question.enclose(tx)?;
/// asks.send(question)?;
///
/// // As a rule in another process:
/// let mut question = answers.recv()?;
/// let answer = question.answer;
/// question.take_out(answer)?.send(question.number * 7)?;
///
/// assert_eq!(rx.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct Enclosed<E> {
    entry: u64,
    sequence: u64,
    _of: PhantomData<fn() -> E>,
}

impl<E> Clone for Enclosed<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Enclosed<E> {}

impl<E> Default for Enclosed<E> {
    fn default() -> Self {
        Enclosed { entry: 0, sequence: 0, _of: PhantomData }
    }
}

impl<E> Enclosed<E> {
    fn new((index, sequence): (usize, u64)) -> Self {
        Enclosed { entry: index as u64 + 1, sequence, _of: PhantomData }
    }

    /// Does it stand for nothing?
    pub fn is_none(&self) -> bool {
        self.entry == 0
    }
}

impl<E> std::fmt::Debug for Enclosed<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_none() { "Enclosed(nothing)" } else { "Enclosed(..)" })
    }
}

// SAFETY: M1, M2: two integers, which mean the same in every process of the domain, and are checked whenever they are used; M3:
// zero is a value; M4, M5: `repr(C)`, as the schema says.
unsafe impl<E: Enclose> Message for Enclosed<E> {
    const ZERO_VALID: bool = true;
    const ALIGN: usize = align_of::<u64>();

    fn schema() -> Schema {
        let fields = [Field::new("entry", 0, u64::schema()), Field::new("sequence", 8, u64::schema())];
        // What the end carries is compared when it is taken out: a message may hold an end of a channel of such messages.
        Schema::structure(format!("staffetta::Enclosed<{}>@1", E::NAME), 16, 8, fields)
    }

    fn length(tail: usize) -> Option<usize> {
        length_sized(16, tail)
    }

    fn tail(length: usize) -> Option<usize> {
        tail_sized(16, length)
    }

    unsafe fn from_raw_parts(data: *mut u8, _tail: usize) -> *mut Self {
        data.cast()
    }
}

const _: () = assert!(size_of::<Enclosed<Sender<u8>>>() == 16);

/// The block of a parcel that this process holds.
#[derive(Clone, Copy)]
pub struct Outer<'m> {
    member: &'m Handle,
    id: BlockId,
}

mod sealed {
    /// What a parcel can hold.
    pub trait Sealed {}
}

/// What can lie in a parcel: a [`Sender`] or [`Receiver`], or another [`Parcel`].
pub trait Enclose: sealed::Sealed + Sized + 'static {
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    fn put_into(self, outer: Outer<'_>) -> Result<Enclosed<Self>, EncloseError<Self>>;
    #[doc(hidden)]
    fn take_from(outer: Outer<'_>, enclosed: Enclosed<Self>) -> Result<Self, TakeOutError>;
}

macro_rules! ends {
    ($($end:ident, $what:ident, $is_sender:literal);*) => {$(
        impl<T: Carried + ?Sized> sealed::Sealed for $end<T> {}

        impl<T: Carried + ?Sized> Enclose for $end<T> {
            const NAME: &'static str = stringify!($end);

            fn put_into(self, outer: Outer<'_>) -> Result<Enclosed<Self>, EncloseError<Self>> {
                match put_end(self.end(), outer) {
                    Ok(enclosed) => Ok(Enclosed::new(enclosed)),
                    Err(why) => Err(EncloseError { what: self, why }),
                }
            }

            fn take_from(outer: Outer<'_>, enclosed: Enclosed<Self>) -> Result<Self, TakeOutError> {
                let Outer { member, id } = outer;
                let entry = find(member, id, enclosed, what::$what)?;
                let end = contents::travelling(entry);
                let found = find_enclosed(member, end.index, |there| Wish {
                    kind: None,
                    degree: None,
                    continuation: None,
                    form: None,
                    method: None,
                    message_bytes_max: None,
                    content: T::CONTENT,
                    // Compared last: it may be long.
                    schema: if there.content == T::CONTENT { T::Message::schema() } else { there.schema.clone() },
                })?;
                let arrive = || End::arrive(member, found, &end, Wait::default());
                entry.take_out(member.slot, arrive).map($end::new).ok_or(TakeOutError::NotHere)
            }
        }

        /// An end is sent in a parcel that holds nothing else: a channel of ends is one of such parcels.
        impl<T: Carried + ?Sized> Carried for $end<T> {
            type Message = Enclosed<$end<T>>;
            const CONTENT: Content = Content::Parcel;
        }

        impl<T: Carried + ?Sized> Payload for $end<T> {
            fn send_on(end: &End, message: Self, patience: Patience) -> Result<(), SendError<Self>> {
                let message = (message, $end::end, $end::new);
                send_end(end, message, |parcel| Parcel::send_on(end, parcel, patience))
            }

            fn force_on(end: &End, message: Self) -> Result<Option<Self>, SendError<Self>> {
                let message = (message, $end::end, $end::new);
                let displaced = send_end(end, message, |parcel| Parcel::force_on(end, parcel))?;
                // One that this process cannot use is given back, as if it had been received.
                Ok(displaced.and_then(|parcel| unwrap(parcel).ok()))
            }

            fn recv_on(end: &End, patience: Patience) -> Result<Self, RecvError> {
                Ok(unwrap(Parcel::<Enclosed<Self>>::recv_on(end, patience)?)?)
            }

            fn take_back_on(end: &End) -> Vec<Self> {
                let parcels = Parcel::<Enclosed<Self>>::take_back_on(end);
                parcels.into_iter().filter_map(|parcel| unwrap(parcel).ok()).collect()
            }
        }
    )*};
}

ends!(Sender, SENDER, true; Receiver, RECEIVER, false);

/// An end as a message: sent in a parcel with nothing else in it. It stays at hand, with this process's hold of its channel, so
/// that it can come back whatever else is in use meanwhile.
fn send_end<E: Enclose, R>(
    over: &End,
    (what, as_end, of_end): (E, impl Fn(&E) -> &End, impl FnOnce(End) -> E),
    send: impl FnOnce(Parcel<Enclosed<E>>) -> Result<R, SendError<Parcel<Enclosed<E>>>>,
) -> Result<R, SendError<E>> {
    let member = &over.member;
    let wrap = || -> Result<Parcel<Enclosed<E>>, SendFailure> {
        if !member.here() {
            return Err(SendFailure::Forked);
        }
        let mut parcel = Parcel::of_member(member, Enclosed::default())?;
        let (id, _) = parcel.lies_in().ok_or(EncloseFailure::Capability)?;
        if over.spec().method == Method::Capability {
            return Err(EncloseFailure::Capability.into());
        }
        *parcel = Enclosed::new(put_end(as_end(&what), Outer { member, id })?);
        Ok(parcel)
    };
    let parcel = match wrap() {
        Ok(parcel) => parcel,
        Err(why) => return Err(SendError { message: what, why }),
    };
    send(parcel).map_err(|SendError { message: parcel, why }| {
        let entry = parcel.lies_in().and_then(|(id, _)| find_any(member, id, *parcel).ok());
        let back = entry.and_then(|entry| {
            let travelling = contents::travelling(entry);
            let end = as_end(&what);
            let arrive = || End::arrive(member, end.found.clone(), &travelling, end.wait_policy());
            entry.take_out(member.slot, arrive)
        });
        // It was put there by this very call. If somebody has overwritten the entry, what comes back is an end that says that it
        // is over.
        let message = match back {
            Some(end) => of_end(end),
            None => what,
        };
        SendError { message, why }
    })
}

fn unwrap<E: Enclose>(mut parcel: Parcel<Enclosed<E>>) -> Result<E, TakeOutError> {
    let enclosed = *parcel;
    parcel.take_out(enclosed)
}

impl<M: Message + ?Sized> sealed::Sealed for Parcel<M> {}

impl<M: Message + ?Sized> Enclose for Parcel<M> {
    const NAME: &'static str = "Parcel";

    fn put_into(self, outer: Outer<'_>) -> Result<Enclosed<Self>, EncloseError<Self>> {
        let Outer { member, id } = outer;
        let fail = |what, why| Err(EncloseError { what, why });
        if !member.is_of(self.raw().member()) {
            return fail(self, EncloseFailure::WrongDomain);
        }
        let Some((parcel, incarnation)) = self.lies_in() else {
            return fail(self, EncloseFailure::Capability);
        };
        let message = [self.length() as u64, M::schema().fingerprint()];
        match contents::put_parcel(member, id, parcel, incarnation, message) {
            Some(enclosed) => {
                self.into_raw().sent();
                Ok(Enclosed::new(enclosed))
            }
            None => fail(self, EncloseFailure::TooMany { entries: ENTRIES_MAX }),
        }
    }

    fn take_from(outer: Outer<'_>, enclosed: Enclosed<Self>) -> Result<Self, TakeOutError> {
        use std::sync::atomic::Ordering::{AcqRel, Relaxed};
        let Outer { member, id } = outer;
        let entry = find(member, id, enclosed, what::PARCEL)?;
        let (length, incarnation) = (entry.note.load(Relaxed), entry.held.load(Relaxed));
        let segment = member.segment();
        let inner = segment.map().locate(entry.of.load(Relaxed)).ok_or(TakeOutError::NotHere)?;
        let receive = || {
            let lies = Word::new(ENCLOSED, 0, incarnation);
            let ours = Word::new(OWNED, member.slot, incarnation.wrapping_add(1));
            let holder = &segment.block_record(inner).holder;
            holder.compare_exchange(lies.0, ours.0, AcqRel, Relaxed).is_ok().then_some(())
        };
        let same = entry.fingerprint.load(Relaxed) == M::schema().fingerprint();
        if !same || !Parcel::<M>::can_lie_in(member, inner, length) {
            return Err(TakeOutError::Type { here: M::schema().to_string() });
        }
        entry.take_out(member.slot, receive).ok_or(TakeOutError::NotHere)?;
        Parcel::of_block(member, inner, incarnation.wrapping_add(1), length).ok_or(TakeOutError::NotHere)
    }
}

/// The entry that `enclosed` stands for, if it lies in the block.
fn find_any<E>(member: &Member, id: BlockId, enclosed: Enclosed<E>) -> Result<&Entry, TakeOutError> {
    let index = enclosed.entry.checked_sub(1).ok_or(TakeOutError::Nothing)?;
    contents::find(member.segment(), id, index, enclosed.sequence).ok_or(TakeOutError::NotHere)
}

/// The same, if it is of this kind.
fn find<E>(member: &Member, id: BlockId, enclosed: Enclosed<E>, kind: u64) -> Result<&Entry, TakeOutError> {
    find_any(member, id, enclosed)
        .and_then(|entry| (entry.kind() == kind).then_some(entry).ok_or(TakeOutError::NotHere))
}

fn put_end(end: &End, Outer { member, id }: Outer<'_>) -> Result<(usize, u64), EncloseFailure> {
    if !member.is_of(end.domain()) {
        return Err(EncloseFailure::WrongDomain);
    }
    let travelling = end.travelling().ok_or(EncloseFailure::Owed)?;
    contents::put_end(member, id, &travelling, || end.depart())
        .ok_or(EncloseFailure::TooMany { entries: ENTRIES_MAX })
}

impl<T: Message + ?Sized> Parcel<T> {
    /// Puts an end of a channel, or another parcel, into this one: it goes wherever this parcel goes, and is given back with
    /// it. What stands for it is to be put into the message; see [`Enclosed`].
    ///
    /// For the other end of its channel nothing changes: nobody has left, and a send waits until somebody has taken the end
    /// out and receives.
    ///
    /// # Errors
    /// [`EncloseError`], with what was to be enclosed: it belongs to another domain; this parcel or that one lies in a memory file
    /// of its own; all entries of the domain are in use.
    pub fn enclose<E: Enclose>(&mut self, what: E) -> Result<Enclosed<E>, EncloseError<E>> {
        let member = self.raw().member().clone();
        if !member.here() {
            return Err(EncloseError { what, why: EncloseFailure::Forked });
        }
        let Some((id, _)) = self.lies_in() else {
            return Err(EncloseError { what, why: EncloseFailure::Capability });
        };
        self.begin_changing();
        contents::tidy(&member, id);
        what.put_into(Outer { member: &member, id })
    }

    /// Takes what was enclosed out of this parcel: once.
    ///
    /// # Errors
    /// [`TakeOutError`]: it does not lie here, or no more; the channel carries something else; this process cannot map what the
    /// end needs. What could not be taken out stays, and can be sent on.
    pub fn take_out<E: Enclose>(&mut self, enclosed: Enclosed<E>) -> Result<E, TakeOutError> {
        let member = self.raw().member().clone();
        if !member.here() {
            return Err(TakeOutError::Forked);
        }
        let (id, _) = self.lies_in().ok_or(TakeOutError::NotHere)?;
        self.begin_changing();
        let taken = E::take_from(Outer { member: &member, id }, enclosed)?;
        contents::tidy(&member, id);
        Ok(taken)
    }
}

/// Would the message in this block, once sent, take the channel's last receiver with it, so that nobody could ever receive it?
#[cold]
pub(crate) fn holds_last_receiver(end: &End, id: BlockId) -> bool {
    let spec = end.spec();
    let mut inside = 0;
    contents::each_end(end.member.segment(), id, |other: &Travelling| {
        inside += usize::from(!other.is_sender && other.index == end.found.index);
    });
    if inside == 0 {
        return false;
    }
    if spec.kind != Kind::Queue {
        let receiver = end.peer();
        return receiver.state() == ATTACHED && receiver.slot() == IN_MESSAGE;
    }
    // Of a queue with a name another receiver may come.
    end.has_no_name() && inside >= many::receivers(&end.member, end.record(), spec)
}
