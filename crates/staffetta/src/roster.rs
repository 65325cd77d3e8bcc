//! The shared process table, as the service thread sees it.

use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Weak};

use crate::handle::{Handle, Visit, Visits};
use crate::member::{give_slot_back, read_bytes, reserve_slot, staked, write_bytes, Member};
use crate::memory::header::process::{DEAD, JOINING, LIVE};
use crate::memory::map::PROCESSES_MAX;
use crate::memory::robust::RobustWords;
use crate::memory::word::Word;
use crate::os;
use crate::process::service::Roster;
use crate::process::wire::Member as Peer;
use crate::reference::capability::{self, CapabilityId};

/// Tells the service who is a member, and a member who died.
///
/// It visits the member: a service belongs to its member. When the member leaves it knows nobody.
pub(crate) struct Table {
    member: Weak<Member>,
    visits: Arc<Visits>,
    me: Peer,
    /// A second descriptor of the memory, so that joiners can be answered without the member.
    file: crate::os::fork::NotInherited,
}

impl Table {
    pub(crate) fn new(member: &Handle, file: crate::os::fork::NotInherited) -> Table {
        let me = Peer { slot: member.slot, generation: member.generation };
        Table { member: member.downgrade(), visits: member.visits.clone(), me, file }
    }

    fn visit(&self) -> Option<Visit<'_>> {
        self.visits.begin(&self.member)
    }
}

impl Roster for Table {
    fn me(&self) -> Peer {
        self.me
    }

    fn publish(&self, address: &[u8]) -> bool {
        let Some(member) = self.visit() else {
            return false;
        };
        let slot = member.segment().process(self.me.slot.into());
        write_bytes(&slot.address, address);
        slot.address_len.store(address.len() as u32, Relaxed);
        // SeqCst, as the trait asks: of two members that publish and then look, one sees the other.
        let [joining, live] =
            [JOINING, LIVE].map(|state| Word::new(state, self.me.slot, self.me.generation).0);
        let is_in = slot.word.compare_exchange(joining, live, SeqCst, Relaxed).is_ok();
        if is_in {
            slot.stake.store(0, Release);
        }
        is_in
    }

    fn others(&self) -> Vec<(Peer, Vec<u8>)> {
        let Some(member) = self.visit() else {
            return Vec::new();
        };
        let segment = member.segment();
        let used = segment.header().processes.load(SeqCst).min(PROCESSES_MAX as u64) as usize;
        (0..used)
            .filter(|&i| i != usize::from(self.me.slot))
            .filter_map(|i| {
                let slot = segment.process(i);
                let word = Word(slot.word.load(SeqCst));
                if word.state() != LIVE {
                    return None;
                }
                let mut address = read_bytes(&slot.address);
                address.truncate(slot.address_len.load(Relaxed) as usize);
                let peer = Peer { slot: i as u16, generation: word.sequence() };
                // Still the same life after its address was read?
                (Word(slot.word.load(SeqCst)) == word && !address.is_empty()).then_some((peer, address))
            })
            .collect()
    }

    fn is_live(&self, who: Peer) -> bool {
        self.visit().is_some_and(|member| {
            let i = usize::from(who.slot);
            i < PROCESSES_MAX
                && Word(member.segment().process(i).word.load(Acquire))
                    == Word::new(LIVE, who.slot, who.generation)
        })
    }

    fn died(&self, who: Peer) {
        if let Some(member) = self.visit().filter(|_| usize::from(who.slot) < PROCESSES_MAX) {
            member.sweep(who.slot, who.generation);
        }
    }

    fn left(&self, who: Peer) {
        if let Some(member) = self.visit() {
            member.refs.capabilities().forget_process((who.slot, who.generation));
        }
    }

    /// The payload names the slot that is reserved for the joiner; it is empty if none is free.
    fn welcome(&self, stake: u64) -> Option<(BorrowedFd<'_>, Vec<u8>)> {
        let reserved = reserve_slot(self.visit()?.segment(), stake);
        let payload = reserved.map(|(slot, generation)| {
            let mut bytes = slot.to_le_bytes().to_vec();
            bytes.extend(generation.to_le_bytes());
            bytes
        });
        Some((std::os::fd::AsFd::as_fd(&self.file), payload.unwrap_or_default()))
    }

    fn robust_words(&self) -> Option<RobustWords> {
        RobustWords::map(std::os::fd::AsFd::as_fd(&self.file)).ok()
    }

    fn descriptor(&self, id: u64, whom: Peer) -> Result<Option<OwnedFd>, os::Error> {
        // A member that leaves must not say that it has nothing: it is about to hand it over.
        let leaving = || os::Error::new("look for a descriptor", Errno::AGAIN);
        let member = self.visit().ok_or_else(leaving)?;
        member.refs.capabilities().copy_for(CapabilityId::of_ticket(id), (whom.slot, whom.generation))
    }

    fn unmap(&self, id: u64) -> bool {
        let id = CapabilityId::of_ticket(id);
        self.visit().is_some_and(|member| member.refs.capabilities().unmap_idle(id))
    }

    fn is_wanted(&self, id: u64) -> bool {
        let id = CapabilityId::of_ticket(id);
        self.visit().is_none_or(|member| capability::is_current(member.segment(), id))
    }

    fn stakes(&self) -> Vec<u64> {
        let stakes = |member: Visit<'_>| staked(member.segment()).map(|(_, stake)| stake).collect();
        self.visit().map_or_else(Vec::new, stakes)
    }

    fn vacated(&self, stake: u64) {
        if let Some(member) = self.visit() {
            give_slot_back(member.segment(), stake);
        }
    }
}

/// The slot and generation that a welcome reserves.
pub(crate) fn reserved_slot(payload: &[u8]) -> Option<(u16, u64)> {
    let (slot, generation) = payload.split_at_checked(2)?;
    let slot = u16::from_le_bytes(slot.try_into().ok()?);
    let generation = u64::from_le_bytes(generation.try_into().ok()?);
    (usize::from(slot) < PROCESSES_MAX).then_some((slot, generation))
}

impl Member {
    /// Who is in `slot` now.
    pub(crate) fn peer(&self, slot: u16) -> Option<Peer> {
        if usize::from(slot) >= PROCESSES_MAX {
            return None;
        }
        // SeqCst: pairs with the store of one that leaves.
        let word = Word(self.segment().process(slot.into()).word.load(SeqCst));
        (word.state() == LIVE).then_some(Peer { slot, generation: word.sequence() })
    }

    /// Sweeps the process in `slot` if it is dead already: a death need not have been told yet, or be swept
    /// to the end. False: it is not.
    pub(crate) fn sweep_if_dead(&self, slot: u16) -> bool {
        if usize::from(slot) >= PROCESSES_MAX || slot == self.slot {
            return false;
        }
        let word = Word(self.segment().process(slot.into()).word.load(Acquire));
        let who = Peer { slot, generation: word.sequence() };
        let dead = match word.state() {
            LIVE => self.service.get().is_some_and(|service| service.has_exited(who)),
            DEAD => true,
            // It was swept, or left, between two looks.
            _ => return true,
        };
        if dead {
            self.sweep(who.slot, who.generation);
        }
        dead
    }
}
