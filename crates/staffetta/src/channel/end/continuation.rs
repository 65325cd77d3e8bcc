//! An end that goes on where that of a dead process stopped (`Continuation`): what its receiver had not read, who is waited for, and a
//! sender that takes messages back.

use std::sync::atomic::Ordering::Relaxed;

use super::operation::Secured;
use super::End;
use crate::channel::side::{ATTACHED, DIED};
use crate::channel::spec::Kind;
use crate::memory::word::Word;
use crate::succession::{standing, Standing};

impl End {
    /// A call did nothing in its time; is it because the partner died, and its successor has not come?
    pub(super) fn awaits_successor(&self) -> bool {
        self.memory.awaits(self.peer())
    }

    /// A receiver of a rendezvous that keeps its messages: the one that the receiver before it has not read out of its cell comes
    /// first (side.rs, S2).
    pub(super) fn recover_unread(&self) {
        if !self.memory.keeps.get() {
            return;
        }
        let unread = self.record().receiver.unread();
        let happened = |s: &u64| self.record().line.word().sequence().wrapping_sub(*s) % 2 == 1;
        if let Some(s) = unread.filter(happened) {
            self.secure_as(Secured::Given(s));
        }
    }

    /// The message of a rendezvous was read out of its cell, or none came.
    pub(in crate::channel) fn read_out(&self) {
        if self.memory.keeps.get() {
            self.record().receiver.set_unread(None);
        }
    }

    /// Is the message that comes next one that was given to the receiver before?
    pub(in crate::channel) fn is_recovered(&self) -> bool {
        matches!(self.secured.get(), Secured::Given(_)) && self.interest.entry() == 0
    }

    /// Of a receiver that has just attached: is what comes next in the channel's words a message that a receiver before it had in hand?
    pub(crate) fn comes_again(&self) -> bool {
        if let Some(many) = &self.many {
            return many.has_returned(&self.ground(), &self.memory);
        }
        if self.found.spec.kind == Kind::Rendezvous {
            return self.is_recovered();
        }
        let head = self.record().head.load(Relaxed);
        let slots = super::slots(&self.member, self.record(), &self.found.spec);
        slots.is_some_and(|slots| slots.is_redelivered(head))
    }

    /// Of a sender: takes the receiving end of a dead process for as long as `f` runs, and leaves it as the dead one did. None: nobody
    /// died there, or others have it.
    pub(crate) fn in_place_of_receiver<R>(&self, f: impl FnOnce(&End) -> R) -> Option<R> {
        let receivers = || match &self.many {
            Some(many) => many.words_of_others(),
            None => vec![self.record().receiver.end()],
        };
        for end in receivers().into_iter().filter(|end| end.state() == ATTACHED) {
            self.member.sweep_if_dead(end.slot());
        }
        let (before, dead) = (receivers(), self.peer());
        let claimed =
            |end: &Word| end.state() == DIED && matches!(standing(&self.member, *end), Standing::Others(_));
        if dead.state() != DIED || before.iter().any(claimed) {
            return None;
        }
        let name = self.record().name();
        let end = End::attach(&self.member, &name, self.found.clone(), false, self.memory.wait.get()).ok()?;
        let result = f(&end);
        end.put_back();
        let (side, number) = match &end.many {
            Some(many) => (&many.seat().side, many.number()),
            None => (&end.record().receiver, 0),
        };
        // Its partner, which is this process, waits for no word of it.
        side.leave_as(end.held, before[number]);
        end.departed.set(true);
        if self.memory.is_known(dead) {
            self.memory.peer.set(self.peer().holding());
        }
        Some(result)
    }
}
