//! A member: everything that one process has of one domain. `Domain` is a handle to it.
//!
//! A1. A `Member` lives as long as any handle, end, parcel or variable of its domain in this process, so
//!     the window stays mapped for as long as anything points into it.
//! A2. Every operation asks [`Member::here`] first: a forked child has the handles but not the window.
//! A3. A process that closed descriptors that are not its own is swept while it runs: its slot, its ends and its blocks are others' then.
//!     It finds out by its slot where it waits, and before it leaves ([`Member::is_swept`]); from then on `here` says no.
//! A4. `refs` is dropped with the member, but not by a process that was swept: the numbers of its descriptors are not its own.

#![allow(unsafe_code)] // A4.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::channel::attach::Unnamed;
use crate::enclosure::contents::{self, Loose};
use crate::handle::Visits;
use crate::memory::blocks::Blocks;
use crate::memory::header::process::{DEAD, FREE, JOINING, LIVE};
use crate::memory::ledger;
use crate::memory::map::PROCESSES_MAX;
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::Word;
use crate::os::fork::ForkGuard;
use crate::process::service::Service;
use crate::reference::{capability, References};

/// Everything that one process has of one domain.
pub struct Member {
    /// The window, and how references into it are resolved.
    pub refs: ManuallyDrop<References>,
    /// The allocator.
    pub blocks: Blocks,
    /// Our process slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u64,
    /// The domain's name, if it has one.
    pub name: Option<String>,
    /// The channels without a name of which this process has ends, by their index.
    pub unnamed: Mutex<HashMap<usize, Weak<Unnamed>>>,
    /// Where to look for an entry that is not in use.
    pub(crate) free_entries: crate::enclosure::table::Hint,
    /// May ends that come in messages lend private memory? Not if any handle of the domain here says no.
    lends: AtomicBool,
    /// What kept our slot until we were a member.
    stake: u64,
    /// Our service thread.
    pub service: OnceLock<Service>,
    guard: ForkGuard,
    /// How many handles there are (handle.rs, M1).
    pub(crate) handles: AtomicUsize,
    /// Who is with us without one (handle.rs, M2).
    pub(crate) visits: Arc<Visits>,
}

impl Member {
    /// Joins in a `reserved` process slot of the domain, or in one that is free; `stake` keeps it. None: all are taken.
    pub fn join(
        refs: References,
        name: Option<String>,
        guard: ForkGuard,
        reserved: Option<(u16, u64)>,
        stake: u64,
    ) -> Option<Member> {
        let (slot, generation) = reserved.or_else(|| reserve_slot(refs.segment(), stake))?;
        let member = Member {
            refs: ManuallyDrop::new(refs),
            blocks: Blocks::new(slot),
            slot,
            generation,
            name,
            unnamed: Mutex::default(),
            free_entries: Default::default(),
            lends: AtomicBool::new(true),
            stake,
            service: OnceLock::new(),
            guard,
            handles: AtomicUsize::new(0),
            visits: Arc::default(),
        };
        let record = member.segment().process(slot.into());
        ledger::enter(record);
        record.robust.store(0, Relaxed);
        record.pid.store(std::process::id(), Relaxed);
        record.window_base.store(member.segment().base() as u64, Relaxed);
        write_text(&record.name, &program_name());
        Some(member)
    }

    /// The window.
    #[inline]
    pub fn segment(&self) -> &Segment {
        self.refs.segment()
    }

    /// Is this the process that joined? (A2)
    #[inline(always)]
    pub fn here(&self) -> bool {
        self.guard.alive()
    }

    /// Does the word of our slot say that it is ours, and that we live?
    fn is_ours(&self, now: Word) -> bool {
        matches!(now.state(), JOINING | LIVE) && now.sequence() == self.generation
    }

    /// Have others taken this process for dead, and given away what it had? (A3)
    pub fn is_swept(&self) -> bool {
        let ours = self.is_ours(Word(self.segment().process(self.slot.into()).word.load(Acquire)));
        if !ours {
            self.guard.retire();
        }
        !ours
    }

    /// A handle that says whether private memory may be lent.
    pub fn allow_lending(&self, allowed: bool) {
        self.lends.fetch_and(allowed, Relaxed);
    }

    /// May ends that come in messages lend private memory?
    pub fn lends(&self) -> bool {
        self.lends.load(Relaxed)
    }

    /// Process id and program in a slot, for people.
    pub fn describe_process(&self, slot: u16) -> (u32, String) {
        if usize::from(slot) >= PROCESSES_MAX {
            return (0, "?".to_owned());
        }
        let record = self.segment().process(slot.into());
        (record.pid.load(Relaxed), read_text(&record.name))
    }

    /// A process is dead: puts in order what it left. Concurrent and idempotent: any survivor may run
    /// it, any number of times. Also what others left whom it may have been sweeping when it was killed: nobody else here need have
    /// heard of them.
    pub fn sweep(&self, slot: u16, generation: u64) {
        self.sweep_one(slot, generation);
        let segment = self.segment();
        let used = segment.header().processes.load(Acquire).min(PROCESSES_MAX as u64) as usize;
        let words = (0..used).map(|i| Word(segment.process(i).word.load(Acquire)));
        let dead = words.filter(|word| word.state() == DEAD && word.slot() != self.slot);
        dead.for_each(|word| self.sweep_one(word.slot(), word.sequence()));
    }

    fn sweep_one(&self, slot: u16, generation: u64) {
        if usize::from(slot) >= PROCESSES_MAX {
            return;
        }
        let segment = self.segment();
        let record = segment.process(slot.into());
        let now = Word(record.word.load(Acquire));
        if now.sequence() != generation || now.state() == FREE {
            return;
        }
        // Mark first: from here on it is dead for everybody.
        let dead = Word::new(DEAD, slot, generation);
        if now != dead && record.word.compare_exchange(now.0, dead.0, AcqRel, Acquire).is_err() {
            let now = Word(record.word.load(Acquire));
            if now != dead {
                return;
            }
        }
        // Its ends: undo what it was doing, then say that it died, then wake the partner.
        // A sweeper may be stopped here while others finish, and the slot become a newcomer's: whatever is changed is
        // read first, then the slot is seen to be still the dead one's, and then it is changed from what was read.
        // No word comes back (incarnations, generations), so nothing of the newcomer's is touched.
        let still = || Word(record.word.load(Acquire)) == dead;
        stop::here("sweep: marked");
        // What it was about to do in two places, before either of them changes hands.
        ledger::settle(segment, slot, still);
        crate::channel::schemas::sweep(segment, (slot, generation));
        stop::here("sweep: intent settled");
        let mut loose = Loose { died: true, ..Loose::default() };
        let in_flight = crate::channel::sweep::settle_ends(self, slot, still, &mut loose);
        stop::here("sweep: ends settled");
        // What it was putting into a parcel, or taking out of one; and its holds of channels without a name.
        contents::sweep(self, slot, still, &mut loose);
        stop::here("sweep: entries settled");
        // Its blocks and capabilities, except those that are on their way to a survivor.
        // `spared` is asked between reading and changing.
        let full = self.blocks.release_dead(
            segment,
            slot,
            |offset, incarnation| in_flight.blocks.contains(&(offset, incarnation)) || !still(),
            |channel| crate::channel::kept::lose(segment, channel),
        );
        loose.blocks.extend(full);
        // Also channels that somebody who died meanwhile was about to take back.
        loose.channels.extend(crate::enclosure::collect::without_holds(segment));
        loose.give_back(self);
        let spared = |sent: Option<(u32, u64)>| {
            sent.is_some_and(|sent| in_flight.capabilities.contains(&sent)) || !still()
        };
        let table = self.refs.capabilities();
        capability::release_dead(segment, &self.blocks, table, (slot, self.slot), spared);
        stop::here("sweep: capabilities released");
        self.refs.capabilities().forget_process((slot, generation));
        crate::process::threads::release_dead(segment, slot, generation);
        stop::here("sweep: waiters released");
        crate::succession::reopen(segment, slot, still);
        // Only then may the slot be another's.
        let free = Word::new(FREE, 0, generation);
        let _ = record.word.compare_exchange(dead.0, free.0, AcqRel, Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.guard.is_retired() || self.here() && self.is_swept() {
            // Who never became a member had its place taken back when it gave up, and has its descriptors.
            if let Some(service) = self.service.take() {
                // A3: the descriptors' numbers may be other files by now, and the service waits for ever on what was closed.
                std::mem::forget(service);
                return;
            }
        } else if self.here() {
            self.leave();
        }
        // SAFETY: nobody has the member any more, and nothing below uses it (A4).
        unsafe { ManuallyDrop::drop(&mut self.refs) };
    }
}

impl Member {
    /// This process is no member any more.
    fn leave(&mut self) {
        let segment = self.segment();
        let record = segment.process(self.slot.into());
        self.blocks.flush(segment);
        crate::process::threads::release_dead(segment, self.slot, self.generation);
        // What is free and kept for later is nobody's when we are gone: the budget has it back.
        capability::trim(segment, &self.blocks, self.refs.capabilities(), self.slot);
        // What others may ask for goes to others; and no mapping of ours outlives our links.
        self.leave_capabilities();
        // The slot says that we left before the service says goodbye: who finds our mailbox closed then
        // does not take it for a death. SeqCst: of two that leave at once, one sees the other's (custody.rs).
        let free = Word::new(FREE, 0, self.generation);
        let leave = |now: u64| self.is_ours(Word(now)).then_some(free.0);
        // It fails if we were taken for dead meanwhile: then the slot is for whoever sweeps.
        let _ = record.word.fetch_update(SeqCst, SeqCst, leave);
        // If we never became a member.
        let _ = record.stake.compare_exchange(self.stake, 0, AcqRel, Relaxed);
        self.bequeath(Vec::new());
        drop(self.service.take());
    }
}

/// JOINING => FREE: whoever the slots with this stake were reserved for never comes.
pub(crate) fn give_slot_back(segment: &Segment, stake: u64) {
    for (slot, _) in staked(segment).filter(|(_, of)| *of == stake) {
        let record = segment.process(slot);
        let now = Word(record.word.load(Acquire));
        // Between reading and changing: it is of this stake's time.
        if record.stake.load(Acquire) == stake && now.state() == JOINING {
            let free = Word::new(FREE, 0, now.sequence());
            let _ = record.word.compare_exchange(now.0, free.0, AcqRel, Relaxed);
        }
        stop::here("reserve: given back");
        // Last: who is killed before leaves it to whoever looks next. A stake is never the same again.
        let _ = record.stake.compare_exchange(stake, 0, AcqRel, Relaxed);
    }
}

/// Slots with a stake.
pub(crate) fn staked(segment: &Segment) -> impl Iterator<Item = (usize, u64)> + '_ {
    let used = segment.header().processes.load(SeqCst).min(PROCESSES_MAX as u64) as usize;
    let stake = |slot: usize| (slot, segment.process(slot).stake.load(Acquire));
    (0..used).map(stake).filter(|(_, stake)| *stake != 0)
}

/// FREE => JOINING, next generation. `stake` is the number of a socket that lives as long as somebody may come into it.
pub(crate) fn reserve_slot(segment: &Segment, stake: u64) -> Option<(u16, u64)> {
    // Those last of which the process before left ends to a successor, who is to find them.
    for (slot, needed) in
        [false, true].into_iter().flat_map(|needed| (0..PROCESSES_MAX).map(move |slot| (slot, needed)))
    {
        let record = segment.process(slot);
        let now = Word(record.word.load(Acquire));
        if now.state() != FREE || !crate::succession::is_settled(segment, slot, needed) {
            continue;
        }
        // The mark first: whoever adds up over all slots does not miss this one.
        segment.header().processes.fetch_max(slot as u64 + 1, SeqCst);
        if record.stake.compare_exchange(0, stake, AcqRel, Relaxed).is_err() {
            continue; // somebody else reserves it
        }
        stop::here("reserve: staked");
        let generation = now.sequence() + 1;
        let mine = Word::new(JOINING, slot as u16, generation);
        if record.word.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok() {
            stop::here("reserve: joining");
            return Some((slot as u16, generation));
        }
        let _ = record.stake.compare_exchange(stake, 0, AcqRel, Relaxed);
    }
    None
}

fn program_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&path)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Writes text into words, zero padded, cut at a character.
pub(crate) fn write_text(words: &[std::sync::atomic::AtomicU64], text: &str) {
    let mut end = text.len().min(words.len() * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    write_bytes(words, &text.as_bytes()[..end]);
}

/// Writes bytes into words, zero padded.
pub(crate) fn write_bytes(words: &[std::sync::atomic::AtomicU64], bytes: &[u8]) {
    for (i, word) in words.iter().enumerate() {
        let mut eight = [0_u8; 8];
        let rest = bytes.get(i * 8..).unwrap_or_default();
        let n = rest.len().min(8);
        eight[..n].copy_from_slice(&rest[..n]);
        word.store(u64::from_le_bytes(eight), Relaxed);
    }
}

/// Reads bytes from words.
pub(crate) fn read_bytes(words: &[std::sync::atomic::AtomicU64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.load(Relaxed).to_le_bytes()).collect()
}

/// Reads text up to the first zero.
pub(crate) fn read_text(words: &[std::sync::atomic::AtomicU64]) -> String {
    let bytes = read_bytes(words);
    let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addresses, Domain, Parcel};

    #[test]
    fn who_was_taken_for_dead_and_leaves_later_does_nothing_to_the_next_one_in_its_slot() {
        let options = || Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options().create().unwrap();
        let join = || {
            let memory = domain.descriptor().try_clone_to_owned().unwrap();
            options().addresses(Addresses::Distinct).join_descriptor(memory).unwrap()
        };
        let closed = join();
        drop(Parcel::new(&closed, 1_u64).unwrap()); // a block that is kept for later
        let slot = closed.member().slot;
        domain.member().sweep(slot, closed.member().generation);
        let next = join();
        assert_eq!(next.member().slot, slot, "it is free");
        let parcels: Vec<_> = (0..200).map(|n| Parcel::new(&next, n as u64).unwrap()).collect();
        let incarnations = || -> Vec<u64> {
            let block = |parcel: &Parcel<u64>| {
                Blocks::incarnation(next.member().segment(), parcel.raw().block().unwrap())
            };
            parcels.iter().map(block).collect()
        };
        let word = || Word(next.member().segment().process(slot.into()).word.load(Acquire));
        let before = (word(), incarnations());
        assert_eq!(before.0, Word::new(LIVE, slot, next.member().generation));
        drop(closed);
        assert_eq!((word(), incarnations()), before);
    }
}
