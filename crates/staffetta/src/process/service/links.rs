//! Links to every member (see `link`), and what follows from their ends.

use super::thread::{Core, News, Stage, State};
use super::vigil::Vigil;
use crate::os::epoll::Interest;
use crate::os::fork::NotInherited;
use crate::os::pidfd;
use crate::os::program::Program;
use crate::process::link::Verdict;
use crate::process::place::Reached;
use crate::process::wire::Member;
use rustix::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Whether a member can be spoken to.
pub(super) enum Reach {
    /// There is a link.
    Linked,
    /// It is no longer a member.
    Gone,
    /// Not at this moment.
    Later,
    /// Never from here: it is in another network namespace.
    OutOfSight,
}

impl Core {
    /// Connects to every member that is not linked yet (invariant 1).
    pub(super) fn audit(&self, state: &mut State) {
        state.incomplete = false;
        self.look_after_stakes(state);
        let others = self.roster.others();
        for who in state.peers.in_doubt() {
            if !others.iter().any(|(other, _)| *other == who) {
                // Somebody else has found out, and told the roster.
                let verdict = state.peers.gone(who);
                self.conclude(state, who, verdict);
            }
        }
        for (who, address) in others {
            if who == self.me || state.peers.is_gone(who) || state.peers.is_linked(who) {
                continue;
            }
            match self.site.reach(&address) {
                Reached::Connected(socket) => self.greet(state, who, socket, false),
                Reached::Refused => {
                    // If the slot has changed since the roster was asked, it has left, or others
                    // have told of its death. That is no news of one whom we never knew.
                    let news = self.roster.is_live(who) || state.peers.in_doubt().contains(&who);
                    let verdict = state.peers.gone(who);
                    if news {
                        self.conclude(state, who, verdict);
                    }
                }
                // Of one that cannot be seen from here others will tell the roster.
                Reached::Later | Reached::OutOfSight => state.incomplete = true,
            }
        }
    }

    /// Makes sure that there is a link to `who`, who lives.
    pub(super) fn reach(&self, state: &mut State, who: Member) -> Reach {
        if state.peers.is_gone(who) || !self.roster.is_live(who) {
            return Reach::Gone;
        }
        if state.peers.is_linked(who) {
            return Reach::Linked;
        }
        let Some((_, address)) = self.roster.others().into_iter().find(|(other, _)| *other == who) else {
            return Reach::Gone;
        };
        match self.site.reach(&address) {
            Reached::Connected(socket) => {
                self.greet(state, who, socket, false);
                Reach::Linked
            }
            // The thread will find out what that means (invariant 4).
            Reached::Refused | Reached::Later => {
                self.bell.ring();
                Reach::Later
            }
            Reached::OutOfSight => Reach::OutOfSight,
        }
    }

    /// Does the mailbox of one whom we do not know refuse, though it is still a member? Then it died before we met.
    pub(super) fn refuses(&self, who: Member) -> bool {
        let address = self.roster.others().into_iter().find(|(other, _)| *other == who).map(|(_, it)| it);
        let refuses = |address: Vec<u8>| matches!(self.site.reach(&address), Reached::Refused);
        address.is_some_and(refuses) && self.roster.is_live(who)
    }

    /// Says hello on a connection that we made; from then on it is a link.
    pub(super) fn greet(&self, state: &mut State, who: Member, socket: NotInherited, answered: bool) {
        if self.say_hello(&socket).is_err() {
            // It ended meanwhile; whether that was a death is asked at the mailbox.
            state.incomplete = true;
            return;
        }
        match self.watch(state, socket, Stage::Link(who)) {
            Ok(key) => state.peers.link(who, key, answered),
            Err(_) => state.incomplete = true,
        }
    }

    /// Acts on a verdict.
    pub(super) fn conclude(&self, state: &mut State, who: Member, verdict: Verdict) {
        match verdict {
            Verdict::Nothing => {}
            Verdict::Ask => self.audit(state),
            Verdict::AskLater => state.incomplete = true,
            Verdict::Died => {
                state.news.push(News::Died(who));
                self.unwatch_process(state, who);
            }
            Verdict::Left => {
                state.news.push(News::Left(who));
                self.unwatch_process(state, who);
            }
        }
    }

    /// A process has exited: reads what it had sent, then reports it.
    pub(super) fn bury(&self, state: &mut State, who: Member) {
        for key in state.peers.links(who).to_vec() {
            // A goodbye may be waiting. What stays because there is no room for it stays watched.
            let _ = self.read(state, key, false);
        }
        let verdict = state.peers.gone(who);
        self.unanswered(state, who);
        self.conclude(state, who, verdict);
        self.unwatch_process(state, who);
    }

    /// A process runs no instruction any more, and is not through with its end: its memory may be there still.
    pub(super) fn bury_early(&self, state: &mut State, who: Member) {
        if let Some(key) = state.pidfds.iter().find(|(_, (of, _))| *of == who).map(|(key, _)| *key) {
            let pidfd = state.pidfds.remove(&key).map(|(_, pidfd)| pidfd);
            state.dying.extend(pidfd.map(|pidfd| (key, (Instant::now(), pidfd))));
        }
        self.bury(state, who);
    }

    /// Watches a peer's process, once.
    pub(super) fn watch_process(&self, state: &mut State, who: Member, pidfd: Option<OwnedFd>) {
        let Some(pidfd) = pidfd.filter(|fd| pidfd::is_pidfd(fd.as_fd())) else {
            return; // the links tell of a death as well
        };
        if state.peers.is_gone(who) || state.pidfds.values().any(|(of, _)| *of == who) {
            return;
        }
        let key = state.new_key();
        let Ok(pidfd) = NotInherited::register(pidfd) else {
            return;
        };
        if self.epoll.add(&pidfd, key, Interest::IN).is_ok() {
            if let Some(vigil) = self.vigil.as_ref().filter(|_| state.has_vigil) {
                state.watched.extend(Program::of(pidfd.as_fd()).map(|program| (who, Arc::new(program))));
                vigil.ring();
            }
            state.pidfds.insert(key, (who, pidfd));
        }
    }

    /// Gives up the pidfd of one that is gone.
    pub(super) fn unwatch_process(&self, state: &mut State, who: Member) {
        state.pidfds.retain(|_, (of, pidfd)| {
            if *of == who {
                let _ = self.epoll.remove(&*pidfd);
            }
            *of != who
        });
        if let Some(i) = state.watched.iter().position(|(of, _)| *of == who) {
            // Not closed at once, when its parent waits for it (program.rs).
            state.over.push_back((Instant::now(), state.watched.swap_remove(i).1));
            self.vigil.iter().for_each(Vigil::ring);
        }
    }
}
