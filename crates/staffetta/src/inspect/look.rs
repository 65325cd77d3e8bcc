//! A domain at about one moment: its processes, its channels, its PCBs.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::{
    channel, find, DomainView, FoundDomain, InspectError, Membership, PcbView, ProcessStatus, ProcessView,
};
use crate::enclosure::table::state as entry;
use crate::member::read_text;
use crate::memory::header::{process, Header, ProcessSlot};
use crate::memory::ledger::total;
use crate::memory::map::{self, CHANNELS_MAX, ENTRIES_MAX, PCBS_MAX, PROCESSES_MAX};
use crate::memory::reading::Reading;
use crate::memory::segment::Segment;
use crate::memory::word::Word;
use crate::os::proc::{self, FileId};
use crate::process::pcb::Pcb;

fn shown(state: char) -> ProcessStatus {
    match state {
        'R' => ProcessStatus::Running,
        'T' | 't' => ProcessStatus::Stopped,
        'Z' | 'X' => ProcessStatus::Zombie,
        _ => ProcessStatus::Sleeping,
    }
}

/// Nobody of this id has the domain open: it may have ended, and nobody has asked how.
fn unseen(pid: u32) -> ProcessStatus {
    let ended = proc::status(pid).filter(|status| status.own_pid == pid && matches!(status.state, 'Z' | 'X'));
    ended.map_or(ProcessStatus::Gone, |_| ProcessStatus::Zombie)
}

/// A domain that is looked at.
pub(super) struct Inner {
    reading: Reading,
    file: FileId,
    found: FoundDomain,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.found)
    }
}

impl Inner {
    pub(super) fn of(name: &str) -> Result<Inner, InspectError> {
        let find::Candidate { shown, file, reading } = find::one(name)?;
        match reading {
            Some(reading) => Ok(Inner { reading, file, found: shown }),
            None => {
                let why = shown.obstacle.unwrap_or_default();
                Err(InspectError::OutOfReach { name: name.to_owned(), why })
            }
        }
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    pub(super) fn look(&self) -> Result<DomainView, InspectError> {
        let header = self.reading.header()?;
        // High-water marks are what somebody wrote: no more than there can be (I1).
        let below = |mark: u64, most: usize| 0..usize::try_from(mark).unwrap_or(most).min(most);
        let statuses = self.statuses();
        let mut processes = Vec::new();
        let (mut charged, mut retained) = (Vec::new(), Vec::new());
        for slot in below(header.processes.load(Relaxed), PROCESSES_MAX) {
            let record =
                self.reading.copy::<ProcessSlot>(map::PROCESSES + slot as u64 * map::PROCESS_BYTES)?;
            charged.push(record.charged.load(Relaxed));
            retained.push(record.retained.load(Relaxed));
            processes.extend(process_view(slot, &record, &statuses));
        }
        let window_base = header.window_base.load(Relaxed);
        let mut channels = Vec::new();
        for index in below(header.channels.load(Relaxed), CHANNELS_MAX) {
            channels.extend(channel::look(&self.reading, window_base, index)?);
        }
        let mut pcbs = Vec::new();
        for index in below(header.pcbs.load(Relaxed), PCBS_MAX) {
            pcbs.extend(self.pcb(index)?);
        }
        for channel in &channels {
            for wait in channel.waits.iter().filter(|wait| wait.asleep) {
                if let Some(pcb) = pcbs.iter_mut().find(|pcb| Some(pcb.index) == wait.pcb) {
                    pcb.sleeps_on = Some(channel.index);
                }
            }
        }
        Ok(DomainView {
            name: self.found.name.clone(),
            identity: find::identity(&header),
            window_bytes: self.reading.map().window_bytes(),
            window_base,
            memory_max_bytes: header.budget_bytes.load(Relaxed),
            memory_bytes: total(charged.into_iter()),
            retained_bytes: total(retained.into_iter()),
            entries_in_use: self.entries_in_use(below(header.entries.load(Relaxed), ENTRIES_MAX).end)?,
            processes,
            channels,
            pcbs,
        })
    }

    /// Its name and its identity.
    pub(super) fn who(&self) -> Result<(Option<String>, String), InspectError> {
        Ok((self.found.name.clone(), find::identity(&*self.reading.header()?)))
    }

    /// Its members; and from their process ids, as they stand in their slots, to those by which they are seen here.
    pub(super) fn processes(
        &self,
        header: &Header,
    ) -> Result<(Vec<ProcessView>, HashMap<u32, u32>), InspectError> {
        let statuses = self.statuses();
        let used =
            usize::try_from(header.processes.load(Relaxed)).unwrap_or(PROCESSES_MAX).min(PROCESSES_MAX);
        let mut processes = Vec::new();
        for slot in 0..used {
            let at = map::PROCESSES + slot as u64 * map::PROCESS_BYTES;
            processes.extend(process_view(slot, &*self.reading.copy::<ProcessSlot>(at)?, &statuses));
        }
        Ok((processes, statuses.into_iter().map(|(own, (pid, _))| (own, pid)).collect()))
    }

    /// What the kernel says of the processes that have the domain open, by their ids in their own namespaces, which is what
    /// they wrote into their slots; and their ids here.
    fn statuses(&self) -> HashMap<u32, (u32, ProcessStatus)> {
        let status = |pid| {
            let status = proc::status(pid)?;
            Some((status.own_pid, (pid, shown(status.state))))
        };
        find::pids(self.file).into_iter().filter_map(status).collect()
    }

    /// Of the first `used` entries those that are not free.
    fn entries_in_use(&self, used: usize) -> Result<usize, InspectError> {
        let words = (map::ENTRY_BYTES / 8) as usize;
        let entries = self.reading.words(map::ENTRIES, used * words)?;
        // The state word comes first (table.rs).
        Ok(entries.chunks(words).filter(|entry| Word(entry[0]).state() != entry::FREE).count())
    }

    fn pcb(&self, index: usize) -> Result<Option<PcbView>, InspectError> {
        let pcb = self.reading.copy::<Pcb>(Segment::pcb_offset(index))?;
        // process slot + 1, and its generation (process/threads.rs).
        let holder = pcb.holder.load(Relaxed) & 0xffff;
        let process = holder.checked_sub(1).filter(|slot| *slot < PROCESSES_MAX as u64);
        let view = |process| PcbView { index, process: process as u16, wakes: pcb.ticket(), sleeps_on: None };
        Ok(process.map(view))
    }
}

fn process_view(
    slot: usize,
    record: &ProcessSlot,
    statuses: &HashMap<u32, (u32, ProcessStatus)>,
) -> Option<ProcessView> {
    let word = Word(record.word.load(Relaxed));
    let membership = match word.state() {
        process::FREE => return None,
        process::JOINING => Membership::Joining,
        process::LIVE => Membership::Live,
        process::DEAD => Membership::Dead,
        _ => Membership::Unknown,
    };
    let pid = record.pid.load(Relaxed);
    Some(ProcessView {
        slot: slot as u16,
        generation: word.sequence(),
        pid,
        program: read_text(&record.name),
        membership,
        status: statuses.get(&pid).map_or_else(|| unseen(pid), |(_, status)| *status),
    })
}
