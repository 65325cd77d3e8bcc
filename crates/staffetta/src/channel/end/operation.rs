//! An end as an operation of a select (`channel::select`): looked at, secured, stood for.
//!
//! X1. While it is an operation the fast paths do not apply, and every other operation of the end marks it first (interest.rs).
//! X2. What is secured is completed by the next operation of the end, whoever calls it.

use super::End;
use crate::channel::call::{Patience, Stop};
use crate::channel::ground::EndGround;
use crate::channel::line::Reference3;
use crate::channel::queue::Held;
use crate::channel::select::interest::forget;
use crate::channel::select::look::{is_lost, Look};
use crate::channel::select::turn::At;
use crate::channel::spec::{Content, Kind};
use crate::enclosure::contents::free_full;
use crate::handle::Handle;
use crate::memory::blocks::Blocks;
use crate::memory::word::Word;
use crate::reference::Method;

/// What a select has got hold of for its operation. Of a rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secured {
    Nothing,
    /// The receiver stands: a WANT of this rendezvous (look.rs, K1).
    Standing(u64),
    /// The message of this rendezvous is the receiver's, and still in its cell.
    Given(u64),
    /// The sender has reserved the receiver: the word.
    Reserved(Word),
    /// The message of a queue is in the receiver's hand.
    InHand(Held),
    /// Why there is none after all, for whoever asks next.
    Failed(Stop),
}

impl End {
    pub(super) fn secure_as(&self, secured: Secured) {
        self.secured.set(secured);
        let slow = self.over.get() || self.keeps || self.interest.entry() != 0 || secured != Secured::Nothing;
        self.slow.set(slow);
        self.quick.set(!slow && self.found.spec.kind == Kind::Rendezvous);
    }

    /// X1.
    #[inline(always)]
    pub(super) fn used(&self) {
        self.interest.used(&self.member);
    }

    /// The entry as it stands in a `Side`.
    fn reference(&self, entry: u64) -> u64 {
        self.member.refs.refer(self.found.spec.method, entry)
    }

    pub(crate) fn domain(&self) -> &Handle {
        &self.member
    }

    /// Can it be an operation? A basic channel of degree 0 cannot be sent to: nobody knows before whether it would wait.
    pub(crate) fn is_selectable(&self) -> bool {
        !(self.is_sender && self.found.spec.kind == Kind::Basic && self.found.spec.degree == 0)
    }

    /// The operation's entry, if it has one.
    pub(crate) fn entry(&self) -> u64 {
        self.interest.entry()
    }

    /// No operation of this select any more.
    pub(crate) fn leave_select(&self, at: At) {
        if !self.interest.leaves(&self.member, at) {
            return;
        }
        self.secure_as(self.secured.get());
        let me = match &self.many {
            Some(many) => {
                many.retire();
                &many.seat().side
            }
            None => super::sides(self.record(), self.is_sender).0,
        };
        forget(me, at.entry.map(|entry| self.reference(entry)));
    }

    /// Is it possible? `entry`: a look in vain is announced.
    pub(crate) fn look(&self, at: At) -> Look {
        if !self.member.here() {
            return Look::Ready; // by an error
        }
        if self.interest.takes(&self.member, at) {
            self.secure_as(self.secured.get());
        }
        let ground = self.ground();
        if let Secured::Standing(s) = self.secured.get() {
            return match self.party(&ground).look_standing(s) {
                None => Look::Not,
                Some(given) => self.stands_no_more(s, given),
            };
        }
        if self.over.get() || self.is_owed() || self.secured.get() != Secured::Nothing {
            return Look::Ready;
        }
        let look = self.look_at_channel(at.entry.map(|entry| self.reference(entry)), &ground);
        // After the announcement: whoever brings something back changes this, and then looks who sleeps (kept.rs).
        match &self.kept {
            Some(kept) if look != Look::Ready && kept.secure(self) => Look::Ready,
            _ => look,
        }
    }

    fn look_at_channel(&self, entry: Option<u64>, ground: &EndGround<'_>) -> Look {
        if let Some(many) = &self.many {
            return many.look(ground, &self.memory, entry);
        }
        if self.found.spec.kind == Kind::Rendezvous {
            return self.party(ground).look(self.is_sender, entry);
        }
        let Ok(party) = self.ring_party(ground) else {
            return Look::Ready; // by an error
        };
        match (&self.buffer, self.is_sender) {
            (Some(buffer), true) => party.look_room_in(buffer, entry),
            (Some(buffer), false) => party.look_message_in(buffer, entry),
            (None, true) => party.look_room(entry),
            (None, false) => party.look_message(entry),
        }
    }

    fn stands_no_more(&self, s: u64, given: bool) -> Look {
        self.secure_as(if given { Secured::Given(s) } else { Secured::Nothing });
        // If nothing was given the partner is lost, or the next look says what there is.
        Look::Ready
    }

    /// It was found possible: sees to it that completing it does not fail because the partner changes its mind. False: it
    /// has.
    pub(crate) fn secure(&self) -> bool {
        if self.kept.as_ref().is_some_and(|kept| kept.is_secured()) {
            return true;
        }
        // What is owed comes first: no other message is taken before.
        if !self.member.here() || self.secured.get() != Secured::Nothing || self.over.get() || self.is_owed()
        {
            return true;
        }
        let ground = self.ground();
        if let Some(many) = self.many.as_ref().filter(|many| !self.is_sender && many.has_rivals()) {
            if many.is_held() {
                return true; // an error
            }
            return match many.take(&ground, &self.memory, Patience::Try) {
                Ok(held) => {
                    self.secure_as(Secured::InHand(held));
                    true
                }
                Err(Stop::WouldBlock) => false,
                Err(stop) => {
                    self.secure_as(Secured::Failed(stop));
                    true
                }
            };
        }
        if self.found.spec.kind != Kind::Rendezvous {
            return true;
        }
        let party = self.party(&ground);
        // A loss is to be told before anything that a successor brings.
        if self.is_loss() {
            return true;
        }
        let secured = if self.is_sender {
            party.reserve_receiver().map(Secured::Reserved)
        } else if party.has_variable() {
            return true; // copied while its sender waits
        } else {
            party.take_offer().map(Secured::Given)
        };
        match secured {
            Some(secured) => {
                self.secure_as(secured);
                true
            }
            // A loss of the partner is to be reported; else it is as it was before.
            None => party.look(self.is_sender, None) == Look::Ready && self.is_loss(),
        }
    }

    fn is_loss(&self) -> bool {
        let (_, peer) = super::sides(self.record(), self.is_sender);
        is_lost(&self.memory, peer.end(), peer.died(), true)
    }

    /// Does a select on the other side sleep?
    pub(crate) fn faces_sleeper(&self) -> bool {
        use crate::channel::call::Ground;
        let (_, peer) = super::sides(self.record(), self.is_sender); // of a queue: nobody
        self.ground().select_at(peer.pcb_ref()) == Some(true)
    }

    /// The receiver of a rendezvous stands. False: look again.
    pub(crate) fn stand(&self) -> bool {
        let ground = self.ground();
        let standing = self.party(&ground).stand(self.reference(self.interest.entry()));
        if let Some(s) = standing {
            self.secure_as(Secured::Standing(s));
        }
        standing.is_some()
    }

    /// It stands no more. True: somebody came first, and the operation is secured.
    pub(crate) fn withdraw(&self, steps: u64) -> bool {
        let ground = self.ground();
        match self.secured.get() {
            Secured::Standing(s) => {
                let given = self.party(&ground).withdraw(s, steps);
                self.secure_as(if given { Secured::Given(s) } else { Secured::Nothing });
                given
            }
            other => other != Secured::Nothing,
        }
    }

    /// The receiver that a select has reserved for the message that is to be sent now (X2).
    #[inline(always)]
    pub(super) fn reserved_by_select(&self) -> Option<Word> {
        match self.secured.get() {
            Secured::Reserved(giving) => {
                self.completed();
                Some(giving)
            }
            _ => None,
        }
    }

    /// The rendezvous whose message a select has taken (X2).
    #[inline(always)]
    pub(super) fn given_to_select(&self) -> Option<u64> {
        match self.secured.get() {
            Secured::Given(s) => Some(s),
            _ => None,
        }
    }

    /// The message of a queue that a select has taken in hand (X2).
    #[inline(always)]
    pub(crate) fn in_hand_of_select(&self) -> Option<Result<Held, Stop>> {
        let taken = match self.secured.get() {
            Secured::InHand(held) => Ok(held),
            Secured::Failed(stop) => Err(stop),
            _ => return None,
        };
        self.completed();
        Some(taken.map_err(|stop| self.note_over(stop)))
    }

    /// What was secured is over.
    #[cold]
    pub(super) fn completed(&self) {
        self.used();
        self.secure_as(Secured::Nothing);
    }

    /// Gives back what a select has reserved, if it was not sent.
    pub(crate) fn unreserve(&self) {
        if let (Secured::Reserved(giving), true) = (self.secured.get(), self.member.here()) {
            let ground = self.ground();
            self.party(&ground).unreserve(giving);
            self.completed();
        }
    }

    /// The end is closed: what was secured is nobody's, or its successor's.
    pub(super) fn give_up_secured(&self) {
        self.unreserve();
        self.withdraw(0);
        let Secured::Given(s) = self.secured.get() else {
            return;
        };
        self.secure_as(Secured::Nothing);
        let spec = &self.found.spec;
        if spec.content != Content::Parcel || self.keeps {
            return;
        }
        let words: Reference3 = self.record().line.peek_reference(s);
        if spec.method == Method::Capability {
            crate::channel::payload::give_up(self, words);
            return;
        }
        let segment = self.member.segment();
        let offset = self.member.refs.offset(spec.method, words[0]);
        if let Some(id) = offset.and_then(|offset| segment.map().locate(offset)) {
            // It still has the incarnation that it was sent with (blocks.rs, B2).
            let still = || Blocks::incarnation(segment, id) == words[2];
            if self.member.blocks.adopt(segment, id, still).is_some() {
                free_full(&self.member, id);
            }
        }
    }
}
