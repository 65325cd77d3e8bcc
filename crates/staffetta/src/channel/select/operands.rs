//! What can be part of a select: the ends that there are, and timers.
//!
//! A new kind of end implements [`Selectable`] (look, secure, leave), and one of the two traits here in a few lines.

use std::sync::Arc;

use super::look::Look;
use super::timer::Timer;
use super::turn::Selectable;
use crate::channel::end::End;
use crate::channel::receiver::Receiver;
use crate::channel::sender::Sender;
use crate::channel::spec::Payload;
use crate::error::{RecvError, SelectError, SendError};
use crate::member::Member;

/// An operation that is to be registered.
pub struct Operand<'a> {
    pub(super) operation: &'a dyn Selectable,
    /// Where it belongs; a timer belongs nowhere.
    pub(super) domain: Option<&'a Arc<Member>>,
    /// Its entry, if it has been an operation before.
    pub(super) entry: u64,
    /// Why it cannot be one.
    pub(super) refused: Option<SelectError>,
}

/// What a select can receive from: [`Receiver`] and [`Timer`], and references to them.
#[allow(private_interfaces)]
pub trait Receives {
    /// What is received.
    type Message;
    #[doc(hidden)]
    fn operation(&self) -> Operand<'_>;
    #[doc(hidden)]
    fn complete(&self) -> Result<Self::Message, RecvError>;
}

/// What a select can send to: [`Sender`], and references to it.
#[allow(private_interfaces)]
pub trait Sends {
    /// What is sent.
    type Message;
    #[doc(hidden)]
    fn operation(&self) -> Operand<'_>;
    #[doc(hidden)]
    fn complete(&self, message: Self::Message) -> Result<(), SendError<Self::Message>>;
}

impl Selectable for End {
    fn look(&self, entry: Option<u64>) -> Look {
        End::look(self, entry)
    }
    fn secure(&self) -> bool {
        End::secure(self)
    }
    fn stand(&self) -> bool {
        End::stand(self)
    }
    fn withdraw(&self, steps: u64) -> bool {
        End::withdraw(self, steps)
    }
    fn faces_sleeper(&self) -> bool {
        End::faces_sleeper(self)
    }
    fn release(&self) {
        self.unreserve();
    }
    fn leave(&self, entry: u64) {
        self.leave_select(entry);
    }
}

fn operand(end: &End) -> Operand<'_> {
    Operand {
        operation: end,
        domain: Some(end.domain()),
        entry: end.entry(),
        refused: (!end.is_selectable()).then_some(SelectError::PutsFirst),
    }
}

#[allow(private_interfaces)]
impl<T: Payload> Receives for Receiver<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        operand(self.end())
    }
    fn complete(&self) -> Result<T, RecvError> {
        self.try_recv()
    }
}

#[allow(private_interfaces)]
impl<T: Payload> Sends for Sender<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        operand(self.end())
    }
    fn complete(&self, message: T) -> Result<(), SendError<T>> {
        self.try_send(message)
    }
}

#[allow(private_interfaces)]
impl Receives for Timer {
    type Message = std::time::Instant;
    fn operation(&self) -> Operand<'_> {
        Operand { operation: self, domain: None, entry: 0, refused: None }
    }
    fn complete(&self) -> Result<Self::Message, RecvError> {
        self.try_recv()
    }
}

#[allow(private_interfaces)]
impl<R: Receives + ?Sized> Receives for &R {
    type Message = R::Message;
    fn operation(&self) -> Operand<'_> {
        (**self).operation()
    }
    fn complete(&self) -> Result<Self::Message, RecvError> {
        (**self).complete()
    }
}

#[allow(private_interfaces)]
impl<S: Sends + ?Sized> Sends for &S {
    type Message = S::Message;
    fn operation(&self) -> Operand<'_> {
        (**self).operation()
    }
    fn complete(&self, message: Self::Message) -> Result<(), SendError<Self::Message>> {
        (**self).complete(message)
    }
}
