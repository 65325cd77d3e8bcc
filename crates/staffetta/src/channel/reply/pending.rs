//! A call under way.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::{deadline_in, Client};
use crate::channel::call::Stop;
use crate::channel::select::interest::Interest;
use crate::channel::service::Asked;
use crate::error::{CallError, CallFailure};
use crate::Message;

/// A call under way; made by [`Client::begin`]. Dropping it gives the call up: the server may answer or not, nobody will
/// see it.
///
/// In a [`Select`](crate::Select) or [`select!`](crate::select) it is received from: `recv(pending) -> reply`. That comes once;
/// what is received after it is [`CallFailure::Taken`], at once.
#[must_use = "dropping it gives the call up: wait() for the reply"]
pub struct Pending<'c, Req: Message, Rep: Message> {
    pub(super) client: &'c Client<Req, Rep>,
    pub(super) asked: Asked,
    pub(super) phase: Cell<Phase>,
    /// How it ended: kept here once the slot was given back.
    outcome: RefCell<Option<Result<Rep, CallError<Req>>>>,
    pub(super) interest: Interest,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The slot is the call's.
    UnderWay,
    /// The slot was given back; `outcome` has what there was.
    Ended,
    /// And somebody has it.
    Taken,
}

impl<'c, Req: Message, Rep: Message> Pending<'c, Req, Rep> {
    pub(super) fn new(client: &'c Client<Req, Rep>, asked: Asked) -> Self {
        let (phase, outcome) = (Cell::new(Phase::UnderWay), RefCell::new(None));
        Pending { client, asked, phase, outcome, interest: Interest::default() }
    }

    /// Has the call ended? Then [`wait`](Self::wait) does not wait.
    pub fn is_ended(&self) -> bool {
        if self.phase.get() != Phase::UnderWay {
            return true;
        }
        self.client.desk.member.here() && self.client.with(|party| party.is_ended(self.asked))
    }

    /// Has a select received what there was? Then nothing comes any more: the guard for a loop around `select!`.
    pub fn is_taken(&self) -> bool {
        self.phase.get() == Phase::Taken
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(self) -> Result<Rep, CallError<Req>> {
        self.wait_until(None)
    }

    /// Waits for the reply at most for `time`, and gives the call up after that.
    ///
    /// # Errors
    /// As [`Client::call_timeout`].
    pub fn wait_timeout(self, time: Duration) -> Result<Rep, CallError<Req>> {
        self.wait_until(deadline_in(time))
    }

    /// The same, until `deadline`.
    ///
    /// # Errors
    /// As [`Client::call_timeout`].
    pub fn wait_deadline(self, deadline: Instant) -> Result<Rep, CallError<Req>> {
        self.wait_until(Some(deadline))
    }

    #[inline(always)]
    fn wait_until(self, deadline: Option<Instant>) -> Result<Rep, CallError<Req>> {
        if self.phase.get() != Phase::UnderWay {
            return self.taken();
        }
        // It ends here, one way or the other: the drop finds nothing under way.
        self.phase.set(Phase::Taken);
        if !self.client.desk.member.here() {
            return Err(CallError { request: None, why: CallFailure::Forked });
        }
        self.client.outcome(self.client.with(|party| party.finish(self.asked, deadline)))
    }

    /// Keeps how it ended, if it has. False: it is under way.
    pub(super) fn settles(&self) -> bool {
        if self.phase.get() == Phase::UnderWay {
            let Some(ended) = self.client.with(|party| party.try_finish(self.asked)) else {
                return false;
            };
            self.phase.set(Phase::Ended);
            self.outcome.replace(Some(self.client.outcome(ended)));
        }
        true
    }

    /// How it ended; once.
    #[cold]
    pub(super) fn taken(&self) -> Result<Rep, CallError<Req>> {
        self.phase.set(Phase::Taken);
        let outcome = self.outcome.take();
        outcome.unwrap_or(Err(CallError { request: None, why: CallFailure::Taken }))
    }
}

impl<Req: Message, Rep: Message> Drop for Pending<'_, Req, Rep> {
    fn drop(&mut self) {
        if self.phase.get() == Phase::UnderWay && self.client.desk.member.here() {
            self.client.with(|party| party.give_up(self.asked, Stop::TimedOut));
        }
    }
}
