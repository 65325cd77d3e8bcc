//! Descriptors on their way from member to member: passed, taken, given on request, left to an heir.

use super::error::{PassError, TakeError};
use super::links::Reach;
use super::thread::{Core, State, Stop, MAILBOX};
use super::Service;
use crate::os::fork::NotInherited;
use crate::os::{self, memfd, socket};
use crate::process::wire::{encode, Member};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::sync::PoisonError;

/// A descriptor that somebody will ask for after this member has left.
#[derive(Debug)]
pub(crate) struct Keepsake {
    /// The number that will be asked for.
    pub(crate) id: u64,
    /// The descriptor.
    pub(crate) descriptor: NotInherited,
    /// Who has it as well: while one of them is linked, nobody else needs it.
    pub(crate) known_by: Vec<Member>,
}

impl Service {
    /// Puts a descriptor into a peer's queue, under a number the peer will ask for.
    ///
    /// When this returns the descriptor is the kernel's to deliver: it arrives even if this
    /// process is killed at once. The number has to be new to the receiver.
    pub(crate) fn pass(&self, to: Member, id: u64, fd: BorrowedFd<'_>) -> Result<(), PassError> {
        if !self.guard.alive() {
            return Err(PassError::Forked);
        }
        let core = &self.core;
        let mut state = core.lock();
        if to == core.me {
            if !state.passed.has_room() {
                return Err(PassError::WouldBlock);
            }
            state.passed.put(id, memfd::duplicate(fd)?, to);
            return Ok(());
        }
        match core.reach(&mut state, to) {
            Reach::Linked => core.say(&state, to, &encode::pass(id), &[fd]),
            Reach::Gone => Err(PassError::Gone),
            Reach::Later | Reach::OutOfSight => Err(PassError::WouldBlock),
        }
    }

    /// This member leaves: these, and what was passed to it, go to others who `stay`. Those that one of them
    /// is known to have, or that nobody can take now, are kept for the next call, and the last ones until the
    /// links end.
    pub(crate) fn bequeath(&self, keepsakes: Vec<Keepsake>, stays: impl Fn(Member) -> bool) {
        let mut bequest = self.core.bequest.lock().unwrap_or_else(PoisonError::into_inner);
        bequest.extend(keepsakes);
        let mut state = self.core.lock();
        // What was passed to us and is still in a queue is ours to leave, too: who passed it may rely on us.
        let _ = self.core.accept(&mut state, MAILBOX);
        self.core.read_all(&mut state, true);
        leave_behind(&state, &mut bequest, stays);
    }
}

impl Core {
    /// Reads what lies in the queues, unless the descriptor of `id` is among what was passed already.
    ///
    /// So a descriptor that was passed before a message was sent is found by whoever received the message.
    pub(super) fn look_for(&self, state: &mut State, id: u64) -> Result<(), TakeError> {
        if state.passed.get(id).is_some() {
            return Ok(());
        }
        let accepted = self.accept(state, MAILBOX);
        // Ends are for the thread, which sees them as well.
        let starved = self.read_all(state, true).contains(&Stop::NoDescriptors);
        if state.passed.get(id).is_some() {
            return Ok(());
        }
        accepted?;
        if starved {
            return Err(os::Error::new("take a descriptor that was passed", Errno::MFILE).into());
        }
        Ok(())
    }

    /// Puts a message into the queue of a member that is linked.
    pub(super) fn say(
        &self,
        state: &State,
        to: Member,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), PassError> {
        for key in state.peers.links(to) {
            let Some(connection) = state.connections.get(key) else {
                continue;
            };
            match socket::send(&connection.socket, message, descriptors) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => {
                    return Err(PassError::WouldBlock);
                }
                // This one has ended; the thread will say so. Another may still be open.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {}
                Err(errno) => return Err(os::Error::new("pass a descriptor", errno).into()),
            }
        }
        Err(PassError::Gone)
    }
}

/// Passes what nobody who `stays` is known to have to one who does; keeps the rest of `bequest`.
pub(super) fn leave_behind(state: &State, bequest: &mut Vec<Keepsake>, stays: impl Fn(Member) -> bool) {
    let heirs: Vec<Member> = state.peers.linked().filter(|who| stays(*who)).collect();
    let give = |id, descriptor: BorrowedFd<'_>| {
        let links = heirs.iter().flat_map(|who| state.peers.links(*who));
        let mut sockets = links.filter_map(|key| state.connections.get(key));
        // A full queue, or one that has ended: the next.
        sockets.any(|c| socket::send(&c.socket, &encode::pass(id), &[descriptor]).is_ok())
    };
    bequest.retain(|kept| {
        let known = kept.known_by.iter().any(|who| heirs.contains(who));
        known || !give(kept.id, kept.descriptor.as_fd())
    });
    for (id, descriptor) in state.passed.all() {
        let _ = give(id, descriptor.as_fd());
    }
}
