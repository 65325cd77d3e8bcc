//! Custody: in whose hands the descriptors of capabilities are, so that a capability on its way is never in
//! nobody's.
//!
//! A capability is reached through a descriptor, and a descriptor is a process's own. So a message that waits
//! in a channel is worth something only while some process has the descriptor; and whoever receives it must
//! get it from there.
//!
//! ```text
//!   send     there is a receiver: pass it the descriptor, then commit
//!            there is none (basic channel): pass it to another member, a *keeper*, then commit
//!   receive  in the table already, or among what was passed: done
//!            otherwise ask everybody ("send me descriptor X"), and wait for one who has it
//!   leave    pass on what may still be asked for, then say goodbye
//! ```
//!
//! C1. Who has a descriptor keeps it for as long as the capability is in the same life (its incarnation), in
//!     its table or among what was passed to it. So the sender has it, and so has everyone to whom it was
//!     passed.
//! C2. Before the commit point of a send it is with a second process, if the domain has another one that
//!     takes it: the one that holds the receiving end, or else a keeper. It waits in that one's socket queue,
//!     so it is there even if the sender is killed at the commit point. No keeper takes it if the sender is
//!     alone, or if every queue is full.
//! C3. Who leaves passes each descriptor of an owned capability to one who stays, unless one of them is known
//!     to have it, before its links end. It looks who stays twice: before and after its slot says that it
//!     left.
//! C4. *Lost* is said only if no process alive has it: after a round of questions that everybody has answered
//!     and during which nobody ended (`process::service::inquiry`).
//! C5. Waiting for answers ends by an answer, or by the kernel's word that there is nobody to answer. If the
//!     caller's time is over first, or the kernel refuses a descriptor or a mapping for now, the message stays
//!     *owed* to its end of the channel: the next call takes it up, and nothing else is taken before. So a member
//!     that is stopped delays only those who need the very descriptor that nobody else has shown. Until it is
//!     mapped nobody has claimed it: it stays in its slot, and if the end is closed, or its process dies, it is the
//!     next receiver's. (A rendezvous has no slot: it is lost with its receiver.)
//!
//! Not covered: everybody who had the descriptor was killed (or left when no other queue had room, or lives
//! in a network namespace that cannot be reached) before the receiver got it. Then the message is lost: the
//! receiver gets [`AcquireError::Lost`], at once, the memory goes back to the budget, and the channel goes on
//! with the next message.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::error::{AcquireError, SendFailure};
use crate::member::Member;
use crate::process::service::{Handed, Keepsake, ObtainError, PassError};
use crate::process::wire::Member as Peer;
use crate::reference::capability::{self, CapabilityId, Sent};

/// Why the descriptor of a capability that arrived is not in our hands.
pub(crate) enum Missing {
    /// The time is over; it is still owed.
    Late,
    /// It cannot be taken now; it is still owed.
    Owed(AcquireError),
    /// It never will be.
    Never(AcquireError),
}

impl Member {
    /// Puts the descriptor of `id` into the hands of the process in `slot`, unless it has it.
    pub(crate) fn pass_capability(&self, id: CapabilityId, slot: u16) -> Result<(), SendFailure> {
        let peer = self.peer(slot).ok_or(SendFailure::Disconnected)?;
        let service = self.service.get().ok_or(SendFailure::Disconnected)?;
        let pass = |file: BorrowedFd<'_>| service.pass(peer, id.ticket(), file);
        match self.refs.capabilities().pass_to(id, (peer.slot, peer.generation), pass) {
            Some(Ok(())) => Ok(()),
            Some(Err(PassError::Gone)) => Err(SendFailure::PeerDied),
            Some(Err(PassError::Forked)) => Err(SendFailure::Forked),
            Some(Err(why)) => Err(SendFailure::Pass(why)),
            None => Err(SendFailure::Allocate(AcquireError::NotHeld.into())),
        }
    }

    /// Puts the descriptor of `id` into the hands of any other member, unless one has it (C2).
    pub(crate) fn keep_capability(&self, id: CapabilityId) {
        let Some(service) = self.service.get() else {
            return;
        };
        let others = service.linked();
        let named: Vec<(u16, u64)> = others.iter().map(|peer| (peer.slot, peer.generation)).collect();
        let kept = self.refs.capabilities().is_known_to(id, &named);
        let _ = kept || others.iter().any(|peer| self.pass_capability(id, peer.slot).is_ok());
    }

    /// Makes sure that the descriptor of a capability that arrived is in our table.
    pub(crate) fn secure_capability(
        &self,
        id: CapabilityId,
        deadline: Option<Instant>,
    ) -> Result<(), Missing> {
        let service = self.service.get().ok_or(Missing::Never(AcquireError::NotHeld))?;
        let Handed { descriptor, from } = match service.obtain(id.ticket(), deadline) {
            Ok(handed) => handed,
            Err(ObtainError::Later) => return Err(Missing::Late),
            Err(ObtainError::Nobody) => return Err(Missing::Never(AcquireError::Lost)),
            Err(ObtainError::Take(why)) => return Err(Missing::Owed(AcquireError::Take(why))),
        };
        let table = self.refs.capabilities();
        let from = (from.slot, from.generation);
        table.adopt(self.segment(), id, descriptor, from).map_err(|why| match why {
            // Whoever gave it has it still, and is asked again.
            AcquireError::System(_) => Missing::Owed(why),
            _ => Missing::Never(why),
        })
    }

    /// A capability that arrived will not be received: nobody holds it any more.
    pub(crate) fn abandon_capability(&self, sent: Sent) {
        capability::discard(self.segment(), &self.blocks, sent, self.slot, || true);
        if let Some(service) = self.service.get() {
            service.forget(sent.id.ticket());
        }
    }

    /// Seals a capability that this process holds against writing, once every other member has unmapped it.
    pub(crate) fn seal_capability(&self, id: CapabilityId) -> Result<(), AcquireError> {
        let table = self.refs.capabilities();
        if table.seal(id)? {
            return Ok(());
        }
        let service = self.service.get().ok_or(AcquireError::NotHeld)?;
        let out_of_sight = service.have_unmapped(id.ticket());
        let then = Instant::now();
        // Once more after nobody is dying: the last one may have been through since we tried.
        let mut again = true;
        while !table.seal(id)? {
            if !again {
                return Err(AcquireError::StillMapped { who: self.who_has_it(&out_of_sight) });
            }
            again = service.await_freed(then);
        }
        Ok(())
    }

    /// Who may have a capability mapped that everybody who could be asked has unmapped.
    fn who_has_it(&self, out_of_sight: &[Peer]) -> String {
        let name = |peer: &Peer| {
            let (pid, program) = self.describe_process(peer.slot);
            format!("process {pid} ({program}), which cannot be asked: it is in another network namespace")
        };
        let who: Vec<String> = out_of_sight.iter().map(name).collect();
        if who.is_empty() {
            return "no other member, so this process by a ReadOnly that was forgotten, or a program outside"
                .to_owned();
        }
        who.join("; ")
    }

    /// This member is about to leave: unmaps all, and gives what it has to those who stay (C3).
    pub(crate) fn leave_capabilities(&self) {
        let kept = self.refs.capabilities().give_up(self.segment());
        let peer = |(slot, generation)| Peer { slot, generation };
        let keepsakes = kept.into_iter().map(|kept| Keepsake {
            id: kept.id.ticket(),
            descriptor: kept.file,
            known_by: kept.known_by.into_iter().map(peer).collect(),
        });
        self.bequeath(keepsakes.collect());
    }

    /// To be called again when the slot says that this member left: of two that relied on each other, and
    /// leave at the same time, at least one sees then that the other does not stay.
    pub(crate) fn bequeath(&self, keepsakes: Vec<Keepsake>) {
        if let Some(service) = self.service.get() {
            service.bequeath(keepsakes, |who| self.peer(who.slot) == Some(who));
        }
    }
}
