//! Who is linked with whom, and when somebody is gone.
//!
//! A *link* is one connection between two members. It ends when the other process exits or
//! replaces its program, because it is close-on-exec and held by nobody else. Usually a pair of
//! members shares one; two that join at the same moment, or meet again at the door, share two or
//! three. This file is the book-keeping, without a single system call.
//!
//! ```text
//!   unknown --link--> linked --every link has ended----------------> gone
//!                       |       (answered once: it is dead or left)
//!                       |    --every link has ended, none was ever
//!                       |       answered: ask at its mailbox----+
//!                       +<--------a new connection--------------+--refused--> gone
//!                       +--its pidfd is readable---------------------------> gone
//! ```
//!
//! Invariants:
//!
//! 1. A living member never closes an answered link. So the end of all of them, of which at least
//!    one was answered, is its end. A link that was never answered may have been lost on the way
//!    (the other had no descriptor left to accept it): it proves nothing.
//! 2. Each (slot, generation) is reported gone at most once. Generations of a slot grow, so one
//!    number per slot remembers that.
//! 3. Who said goodbye has left; who did not has died.

use super::wire::Member;
use std::collections::HashMap;

/// What names a connection in the service; never used twice.
pub(crate) type Key = u64;

/// What follows for a member from something that happened to its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Nothing: it lives, or is gone already.
    Nothing,
    /// Ask at its mailbox at once: connect, and see whether that is refused.
    Ask,
    /// Ask at its mailbox, but not at once: the last answer was a connection that ended, too.
    AskLater,
    /// Report its death. Said once.
    Died,
    /// Report that it has left. Said once.
    Left,
}

/// What is known of one living member.
#[derive(Debug, Default)]
struct Peer {
    links: Vec<Key>,
    answered: bool,
    asked: bool,
    goodbye: bool,
}

/// The members we know, dead or alive.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    living: HashMap<Member, Peer>,
    /// For each slot, the last generation that is gone (invariant 2).
    gone: HashMap<u16, u64>,
}

impl Peers {
    /// Whether a member has been reported gone, or a later one of its slot has.
    pub(crate) fn is_gone(&self, who: Member) -> bool {
        self.gone.get(&who.slot).is_some_and(|&last| who.generation <= last)
    }

    /// Whether there is a link to a member.
    pub(crate) fn is_linked(&self, who: Member) -> bool {
        !self.links(who).is_empty()
    }

    /// The links to a member, oldest first.
    pub(crate) fn links(&self, who: Member) -> &[Key] {
        self.living.get(&who).map_or(&[], |peer| &peer.links)
    }

    /// Every link to anybody.
    pub(crate) fn all_links(&self) -> impl Iterator<Item = Key> + '_ {
        self.living.values().flat_map(|peer| peer.links.iter().copied())
    }

    /// Who is linked.
    pub(crate) fn linked(&self) -> impl Iterator<Item = Member> + '_ {
        let linked = self.living.iter().filter(|(_, peer)| !peer.links.is_empty());
        linked.map(|(who, _)| *who)
    }

    /// Who was linked, is not any more, and has not been reported gone.
    pub(crate) fn in_doubt(&self) -> Vec<Member> {
        let unlinked = self.living.iter().filter(|(_, peer)| peer.links.is_empty());
        unlinked.map(|(who, _)| *who).collect()
    }

    /// A new link; `answered` if the other side has spoken on it already.
    pub(crate) fn link(&mut self, who: Member, key: Key, answered: bool) {
        if self.is_gone(who) {
            return; // the belated connection of one that is no more
        }
        let peer = self.living.entry(who).or_default();
        peer.links.push(key);
        peer.answered |= answered;
    }

    /// The other side of a link has spoken.
    pub(crate) fn answered(&mut self, who: Member) {
        if let Some(peer) = self.living.get_mut(&who) {
            peer.answered = true;
        }
    }

    /// A member announced that it leaves.
    pub(crate) fn goodbye(&mut self, who: Member) {
        if let Some(peer) = self.living.get_mut(&who) {
            peer.goodbye = true;
        }
    }

    /// A link has ended.
    pub(crate) fn ended(&mut self, who: Member, key: Key) -> Verdict {
        let Some(peer) = self.living.get_mut(&who) else {
            return Verdict::Nothing;
        };
        peer.links.retain(|&link| link != key);
        if !peer.links.is_empty() {
            Verdict::Nothing
        } else if peer.answered {
            self.gone(who) // invariant 1
        } else if std::mem::replace(&mut peer.asked, true) {
            Verdict::AskLater
        } else {
            Verdict::Ask
        }
    }

    /// The kernel said that a member is gone: its pidfd is readable, or its mailbox refused.
    pub(crate) fn gone(&mut self, who: Member) -> Verdict {
        if self.is_gone(who) {
            return Verdict::Nothing;
        }
        self.gone.insert(who.slot, who.generation);
        let said_goodbye = self.living.remove(&who).is_some_and(|peer| peer.goodbye);
        if said_goodbye {
            Verdict::Left
        } else {
            Verdict::Died
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: Member = Member { slot: 1, generation: 5 };

    #[test]
    fn the_end_of_an_answered_link_is_a_death_told_once() {
        let mut peers = Peers::default();
        peers.link(ANNA, 10, true);
        assert_eq!(peers.ended(ANNA, 10), Verdict::Died);
        assert_eq!(peers.gone(ANNA), Verdict::Nothing);
        peers.link(ANNA, 11, true);
        assert!(!peers.is_linked(ANNA), "a belated link revives nobody");
        assert_eq!(peers.ended(ANNA, 11), Verdict::Nothing);
    }

    #[test]
    fn the_next_of_the_slot_is_somebody_else() {
        let mut peers = Peers::default();
        assert_eq!(peers.gone(ANNA), Verdict::Died);
        let next = Member { generation: 6, ..ANNA };
        peers.link(next, 12, false);
        assert!(peers.is_linked(next));
    }

    #[test]
    fn a_spare_link_may_end() {
        let mut peers = Peers::default();
        peers.link(ANNA, 10, true);
        peers.link(ANNA, 11, false);
        assert_eq!(peers.ended(ANNA, 10), Verdict::Nothing);
        assert_eq!(peers.ended(ANNA, 11), Verdict::Died);
    }

    #[test]
    fn an_unanswered_link_proves_nothing() {
        let mut peers = Peers::default();
        peers.link(ANNA, 10, false);
        assert_eq!(peers.ended(ANNA, 10), Verdict::Ask);
        peers.link(ANNA, 11, false);
        assert_eq!(peers.ended(ANNA, 11), Verdict::AskLater);
        peers.link(ANNA, 12, false);
        peers.answered(ANNA);
        assert_eq!(peers.ended(ANNA, 12), Verdict::Died);
    }

    #[test]
    fn a_goodbye_makes_the_end_a_departure() {
        let mut peers = Peers::default();
        peers.link(ANNA, 10, true);
        peers.goodbye(ANNA);
        assert_eq!(peers.ended(ANNA, 10), Verdict::Left);
    }
}
