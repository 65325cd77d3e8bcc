//! The ends of a broadcast, and of the latest value, as operations of a select: a message is there; there is room.
//!
//! A receiver announces itself in its seat, as if it slept, and its message is nobody else's: nothing needs to be secured. The
//! sender says that it sleeps; it does so no more as soon as there is room, so that receivers stop delivering.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use super::end::{ReceiveEnd, SendEnd};
use super::ends::{BroadcastReceiver, BroadcastSender};
use super::latest::{LatestReceiver, LatestSender};
use super::{CastParty, CastReceiver, CastSender};
use crate::channel::call::Ground;
use crate::channel::select::interest::forget;
use crate::channel::select::look::{is_lost, Look};
use crate::channel::select::operands::Operand;
use crate::channel::select::turn::{At, Selectable};
use crate::channel::select::{Receives, Sends};
use crate::error::{RecvError, SendError};
use crate::memory::platform::{Platform, Word64};
use crate::Message;

impl<P: Platform, G: Ground<P>> CastParty<'_, P, G> {
    /// Is there a message for this receiver, or an error? `entry`: a look in vain is announced.
    pub fn look_message(&self, me: &CastReceiver, entry: Option<u64>) -> Look {
        let lost = || is_lost(self.memory, self.sender.end(), self.sender.died(), false);
        let possible = || me.is_held() || me.finds_any(self.cast) || lost();
        if possible() {
            return Look::Ready;
        }
        let Some(entry) = entry else {
            return Look::Not;
        };
        let receivers = self.cast.receivers();
        receivers.seat(me.seat).side.set_pcb_ref(entry);
        receivers.announce(me.seat);
        if possible() {
            Look::Ready
        } else {
            Look::Not
        }
    }

    /// May the next message be published, or is there an error? `entry`: a look in vain is announced.
    pub fn look_room(&self, me: &mut CastSender, entry: Option<u64>) -> Look {
        let sleeps = &self.cast.head().sender_sleeps;
        let mut possible = || me.is_held() || !matches!(me.room(self.cast), Ok(None));
        if possible() {
            self.retire_sender();
            return Look::Ready;
        }
        let Some(entry) = entry else {
            return Look::Not;
        };
        self.sender.set_pcb_ref(entry);
        sleeps.fetch_or(1, AcqRel);
        P::fence_after_rmw();
        if possible() {
            self.retire_sender();
            return Look::Ready;
        }
        Look::Not
    }

    /// The sender waits for nothing. Relaxed: it is the only one that sets the word.
    pub fn retire_sender(&self) {
        let sleeps = &self.cast.head().sender_sleeps;
        if sleeps.load(Relaxed) != 0 {
            sleeps.fetch_and(0, AcqRel);
        }
    }
}

impl Selectable for ReceiveEnd {
    fn look(&self, at: At) -> Look {
        let common = &self.common;
        if !common.member.here() {
            return Look::Ready; // by an error
        }
        common.interest.takes(&common.member, at);
        let entry = common.interest.reference(&common.member, common.spec().method, at);
        self.call(|party, me| party.look_message(me, entry))
    }

    fn leave(&self, at: At) {
        let common = &self.common;
        if common.interest.leaves(&common.member, at) {
            self.retire();
            forget(self.seat_side(), common.interest.reference(&common.member, common.spec().method, at));
        }
    }
}

impl Selectable for SendEnd {
    fn look(&self, at: At) -> Look {
        let common = &self.common;
        if !common.member.here() {
            return Look::Ready; // by an error
        }
        common.interest.takes(&common.member, at);
        let entry = common.interest.reference(&common.member, common.spec().method, at);
        self.call(|party, me| party.look_room(me, entry))
    }

    fn leave(&self, at: At) {
        let common = &self.common;
        if common.interest.leaves(&common.member, at) {
            self.call(|party, _| {
                party.retire_sender();
                forget(party.sender, common.interest.reference(&common.member, common.spec().method, at));
            });
        }
    }
}

macro_rules! receives {
    ($($receiver:ident),*) => {$(
        #[allow(private_interfaces)]
        impl<T: Message> Receives for $receiver<T> {
            type Message<'m>
                = T
            where
                Self: 'm;
            type Error = RecvError;
            fn operation(&self) -> Operand<'_> {
                let common = &self.end().common;
                Operand::of_domain(self.end(), &common.member, common.interest.entry())
            }
            fn complete(&self, _at: At) -> Result<T, RecvError> {
                self.try_recv()
            }
        }
    )*};
}

receives!(BroadcastReceiver, LatestReceiver);

#[allow(private_interfaces)]
impl<T: Message> Sends for BroadcastSender<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        let common = &self.end().common;
        Operand::of_domain(self.end(), &common.member, common.interest.entry())
    }
    fn complete(&self, _at: At, message: T) -> Result<(), SendError<T>> {
        self.try_send(message)
    }
}

/// Always possible.
#[allow(private_interfaces)]
impl<T: Message> Sends for LatestSender<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        let common = &self.end().common;
        Operand::of_domain(self.end(), &common.member, common.interest.entry())
    }
    fn complete(&self, _at: At, message: T) -> Result<(), SendError<T>> {
        self.send(message)
    }
}
