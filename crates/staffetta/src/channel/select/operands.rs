//! What can be part of a select: the ends that there are, and timers.
//!
//! A new kind of end implements [`Selectable`] (look, secure, leave) beside its own calls, and one of the two traits here in a few
//! lines.

use super::look::Look;
use super::timer::Timer;
use super::turn::{At, Selectable};
use crate::channel::end::End;
use crate::channel::receiver::Receiver;
use crate::channel::sender::Sender;
use crate::channel::spec::Payload;
use crate::error::{RecvError, SelectError, SendError};
use crate::handle::Handle;

/// An operation that is to be registered.
pub struct Operand<'a> {
    pub(super) operation: &'a dyn Selectable,
    /// Where it belongs.
    pub(super) home: Home<'a>,
    /// Its entry, if it has been an operation before.
    pub(super) entry: u64,
    /// Why it cannot be one.
    pub(super) refused: Option<SelectError>,
}

/// Where an operation belongs.
#[derive(Clone, Copy)]
pub enum Home<'a> {
    /// To this domain.
    Domain(&'a Handle),
    /// To a channel of this process.
    Process,
    /// A timer belongs nowhere.
    Nowhere,
}

impl<'a> Operand<'a> {
    /// An end of a domain; the entry that it has, or 0.
    pub(crate) fn of_domain(operation: &'a dyn Selectable, domain: &'a Handle, entry: u64) -> Self {
        Operand { operation, home: Home::Domain(domain), entry, refused: None }
    }

    /// An end of a channel of this process.
    pub(crate) fn of_process(operation: &'a dyn Selectable) -> Self {
        Operand { operation, home: Home::Process, entry: 0, refused: None }
    }
}

/// What a select can receive from: [`Receiver`], [`BroadcastReceiver`](crate::BroadcastReceiver),
/// [`LatestReceiver`](crate::LatestReceiver), [`Server`](crate::Server), [`Pending`](crate::Pending),
/// [`local::Receiver`](crate::local::Receiver), [`Timer`], and references to them.
#[allow(private_interfaces)]
pub trait Receives {
    /// What is received.
    type Message<'m>
    where
        Self: 'm;
    /// Why nothing is.
    type Error: From<SelectError>;
    #[doc(hidden)]
    fn operation(&self) -> Operand<'_>;
    #[doc(hidden)]
    fn complete(&self, at: At) -> Result<Self::Message<'_>, Self::Error>;
}

/// What a select can send to: [`Sender`], [`BroadcastSender`](crate::BroadcastSender), [`LatestSender`](crate::LatestSender),
/// [`local::Sender`](crate::local::Sender), and references to them.
#[allow(private_interfaces)]
pub trait Sends {
    /// What is sent.
    type Message;
    #[doc(hidden)]
    fn operation(&self) -> Operand<'_>;
    #[doc(hidden)]
    fn complete(&self, at: At, message: Self::Message) -> Result<(), SendError<Self::Message>>;
}

impl Selectable for End {
    fn look(&self, at: At) -> Look {
        End::look(self, at)
    }
    fn secure(&self, _at: At) -> bool {
        End::secure(self)
    }
    fn stand(&self, _at: At) -> bool {
        End::stand(self)
    }
    fn withdraw(&self, _at: At, steps: u64) -> bool {
        End::withdraw(self, steps)
    }
    fn faces_sleeper(&self) -> bool {
        End::faces_sleeper(self)
    }
    fn release(&self, _at: At) {
        self.unreserve();
    }
    fn leave(&self, at: At) {
        self.leave_select(at);
    }
}

fn operand(end: &End) -> Operand<'_> {
    let operand = Operand::of_domain(end, end.domain(), end.entry());
    Operand { refused: (!end.is_selectable()).then_some(SelectError::PutsFirst), ..operand }
}

#[allow(private_interfaces)]
impl<T: Payload> Receives for Receiver<T> {
    type Message<'m>
        = T
    where
        Self: 'm;
    type Error = RecvError;
    fn operation(&self) -> Operand<'_> {
        operand(self.end())
    }
    fn complete(&self, _at: At) -> Result<T, RecvError> {
        self.try_recv()
    }
}

#[allow(private_interfaces)]
impl<T: Payload> Sends for Sender<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        operand(self.end())
    }
    fn complete(&self, _at: At, message: T) -> Result<(), SendError<T>> {
        self.try_send(message)
    }
}

#[allow(private_interfaces)]
impl Receives for Timer {
    type Message<'m> = std::time::Instant;
    type Error = RecvError;
    fn operation(&self) -> Operand<'_> {
        Operand { operation: self, home: Home::Nowhere, entry: 0, refused: None }
    }
    fn complete(&self, _at: At) -> Result<std::time::Instant, RecvError> {
        self.try_recv()
    }
}

#[allow(private_interfaces)]
impl<R: Receives + ?Sized> Receives for &R {
    type Message<'m>
        = R::Message<'m>
    where
        Self: 'm;
    type Error = R::Error;
    fn operation(&self) -> Operand<'_> {
        (**self).operation()
    }
    fn complete(&self, at: At) -> Result<Self::Message<'_>, Self::Error> {
        (**self).complete(at)
    }
}

#[allow(private_interfaces)]
impl<S: Sends + ?Sized> Sends for &S {
    type Message = S::Message;
    fn operation(&self) -> Operand<'_> {
        (**self).operation()
    }
    fn complete(&self, at: At, message: Self::Message) -> Result<(), SendError<Self::Message>> {
        (**self).complete(at, message)
    }
}
