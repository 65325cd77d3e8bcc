//! An end that is handed on in a message: it departs here, and arrives in another process, or in this one again.
//!
//! Its holding stays the same (side.rs, `hand_on`): for its partner nobody left and nobody came.

use super::{sides, End};
use crate::channel::attach::Found;
use crate::channel::many::Many;
use crate::channel::ring::READING;
use crate::channel::spec::Kind;
use crate::handle::Handle;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::process::wait::Wait;

/// An end in a message.
#[derive(Clone, Copy, Debug)]
pub struct Travelling {
    /// The index of its channel's record.
    pub index: usize,
    /// Which end.
    pub is_sender: bool,
    /// Of a queue: its seat.
    pub seat: usize,
    /// The channel has no name, and its partner has left.
    pub is_over: bool,
    /// Its end word.
    pub held: Word,
    /// Its partner's, as last accounted for.
    pub known: Word,
}

impl End {
    /// What it will be in a message. None: it must not be sent, since a capability is owed to it.
    pub(crate) fn travelling(&self) -> Option<Travelling> {
        (!self.is_owed()).then(|| Travelling {
            index: self.found.index,
            is_sender: self.is_sender,
            seat: self.many.as_ref().map_or(0, |many| many.number()),
            is_over: self.over.get(),
            held: self.held.with_slot(IN_MESSAGE),
            known: self.memory.peer.get(),
        })
    }

    /// It is in a message from here on, and no longer this process's. False: it was not its.
    pub(crate) fn depart(&self) -> bool {
        self.put_back();
        let side = match &self.many {
            Some(many) => &many.seat().side,
            None => sides(self.record(), self.is_sender).0,
        };
        let departed = side.hand_on(self.held, IN_MESSAGE).is_ok();
        self.departed.set(departed);
        if departed {
            // Nobody calls it any more; and if, by an error of others, it is called, it answers.
            self.set_over();
        }
        departed
    }

    /// Takes over an end that lay in a message. None: it is not as the message says.
    pub(crate) fn arrive(member: &Handle, found: Found, end: &Travelling, wait: Wait) -> Option<End> {
        let record = member.segment().channel(found.index);
        let arrived = if found.spec.kind == Kind::Queue {
            let (many, held) = Many::arrive(member, &found, end)?;
            End::of_many(member, found, end.is_sender, held, many, wait)
        } else {
            let held = sides(record, end.is_sender).0.hand_on(end.held, member.slot).ok()?;
            End::of_side(member, found, end.is_sender, held, wait)
        };
        arrived.knew_peer(end.known);
        arrived.set_lends(member.lends());
        if end.is_over {
            arrived.set_over();
        }
        if let Some(many) = &arrived.many {
            many.look_again();
        }
        Some(arrived)
    }

    /// Nothing is in hand any more: a guard may have been forgotten, and its message is the next receiver's.
    pub(super) fn put_back(&self) {
        self.give_up_secured();
        if let Some(kept) = &self.kept {
            kept.put_back(self);
        }
        if let Some(many) = &self.many {
            many.put_back(&self.member, &self.found.spec);
        }
        if let Some(buffer) = self.buffer.as_ref().filter(|buffer| buffer.is_held()) {
            let word = buffer.word();
            if word.state() == READING {
                buffer.put_back(word);
            }
        }
        // What is owed goes back where it lies in a slot.
        if let Some(words) = self.owed.take() {
            match self.found.spec.kind {
                Kind::Rendezvous => crate::channel::payload::give_up(self, words),
                Kind::Basic => self.put_back_in_ring(),
                _ => {}
            }
        }
    }
}
