//! The ends of a service as operations of a select: `recv(server) -> request`, `recv(pending) -> reply`.
//!
//! A request that a select has chosen is in the server's hand at once: another server cannot be quicker, nor can the client
//! take it back. A call that a select has chosen has ended, and how is kept with it.

use super::pending::{Pending, Phase};
use super::{Request, Server};
use crate::channel::call::{Patience, Stop};
use crate::channel::desk::Desk;
use crate::channel::select::interest::{forget, Interest};
use crate::channel::select::look::Look;
use crate::channel::select::operands::Operand;
use crate::channel::select::turn::{At, Selectable};
use crate::channel::select::Receives;
use crate::error::{CallError, CallFailure, RecvError, SelectError};
use crate::Message;

fn reference(interest: &Interest, desk: &Desk, at: At) -> Option<u64> {
    interest.reference(&desk.member, desk.spec.method, at)
}

impl<Req: Message, Rep: Message> Selectable for Server<Req, Rep> {
    fn look(&self, at: At) -> Look {
        if !self.desk.member.here() {
            return Look::Ready; // by an error
        }
        self.interest.takes(&self.desk.member, at);
        let secured = self.secured.take();
        self.secured.set(secured);
        if secured.is_some() {
            return Look::Ready;
        }
        let entry = reference(&self.interest, &self.desk, at);
        self.with(|party| party.look(entry))
    }

    fn secure(&self, _at: At) -> bool {
        let secured = self.secured.take();
        let secured = secured.or_else(|| match self.with(|party| party.take(Patience::Try)) {
            Err(Stop::WouldBlock) => None,
            taken => Some(taken),
        });
        self.secured.set(secured);
        secured.is_some()
    }

    fn leave(&self, at: At) {
        if self.interest.leaves(&self.desk.member, at) {
            self.with(|party| {
                let (servers, seat) = (party.service.servers(), party.side.seat);
                servers.retire(seat);
                forget(&servers.seat(seat).side, reference(&self.interest, &self.desk, at));
            });
        }
    }
}

#[allow(private_interfaces)]
impl<Req: Message, Rep: Message> Receives for Server<Req, Rep> {
    type Message<'m>
        = Request<'m, Req, Rep>
    where
        Self: 'm;
    type Error = RecvError;
    fn operation(&self) -> Operand<'_> {
        Operand::of_domain(self, &self.desk.member, self.interest.entry())
    }
    fn complete(&self, _at: At) -> Result<Request<'_, Req, Rep>, RecvError> {
        self.try_recv()
    }
}

impl<Req: Message, Rep: Message> Selectable for Pending<'_, Req, Rep> {
    fn look(&self, at: At) -> Look {
        let desk = &self.client.desk;
        if self.phase.get() != Phase::UnderWay || !desk.member.here() {
            return Look::Ready; // how it ended, or an error
        }
        self.interest.takes(&desk.member, at);
        let entry = reference(&self.interest, desk, at);
        self.client.with(|party| party.look(self.asked, entry))
    }

    fn secure(&self, _at: At) -> bool {
        !self.client.desk.member.here() || self.settles()
    }

    fn leave(&self, at: At) {
        let desk = &self.client.desk;
        if self.interest.leaves(&desk.member, at) && self.phase.get() == Phase::UnderWay {
            if let Some(entry) = reference(&self.interest, desk, at) {
                self.client.with(|party| party.forget(self.asked, entry));
            }
        }
    }
}

#[allow(private_interfaces)]
impl<Req: Message, Rep: Message> Receives for Pending<'_, Req, Rep> {
    type Message<'m>
        = Rep
    where
        Self: 'm;
    type Error = CallError<Req>;
    fn operation(&self) -> Operand<'_> {
        Operand::of_domain(self, &self.client.desk.member, self.interest.entry())
    }
    fn complete(&self, _at: At) -> Result<Rep, CallError<Req>> {
        if !self.client.desk.member.here() {
            return Err(CallFailure::Forked.into());
        }
        if !self.settles() {
            return Err(CallFailure::NotYet.into()); // it was not this select's to complete
        }
        self.taken()
    }
}

impl<T> From<CallFailure> for CallError<T> {
    fn from(why: CallFailure) -> Self {
        CallError { request: None, why }
    }
}

impl<T> From<SelectError> for CallError<T> {
    fn from(why: SelectError) -> Self {
        CallFailure::Select(why).into()
    }
}
