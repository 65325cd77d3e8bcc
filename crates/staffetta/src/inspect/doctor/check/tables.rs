//! The header's marks, and the records of the small tables.

use std::sync::atomic::Ordering::Relaxed;

use super::{Findings, Lasts};
use crate::enclosure::table::{state as entry, what};
use crate::enclosure::Entry;
use crate::inspect::{InspectError, ProcessStatus, ProcessView};
use crate::memory::header::{process, ProcessSlot};
use crate::memory::map::{self, ENTRIES_MAX, PCBS_MAX, PROCESSES_MAX, SELECTS_MAX};
use crate::memory::segment::Segment;
use crate::memory::word::Word;
use crate::process::pcb::{Pcb, SLEEPS, SPINS};
use crate::process::ready_set::ReadySet;

pub fn check(findings: &mut Findings<'_>, processes: &[ProcessView]) -> Result<(), InspectError> {
    marks(findings)?;
    slots(findings, processes)?;
    waiters(findings)?;
    entries(findings)
}

fn marks(findings: &mut Findings<'_>) -> Result<(), InspectError> {
    let header = findings.reading.header()?;
    let marks = [
        ("process slots", &header.processes, PROCESSES_MAX),
        ("PCBs", &header.pcbs, PCBS_MAX),
        ("channels", &header.channels, map::CHANNELS_MAX),
        ("ready sets", &header.selects, SELECTS_MAX),
        ("entries", &header.entries, ENTRIES_MAX),
        ("capabilities", &header.capabilities, map::CAPABILITIES_MAX),
    ];
    for (table, mark, most) in marks {
        let mark = mark.load(Relaxed);
        if mark > most as u64 {
            let what = format!("{mark} are said to be in use, and there are {most}");
            findings.add(Lasts::Never, format!("header: mark of the {table}"), what, &[mark]);
        }
    }
    Ok(())
}

fn slots(findings: &mut Findings<'_>, processes: &[ProcessView]) -> Result<(), InspectError> {
    let used = below(findings.reading.header()?.processes.load(Relaxed), PROCESSES_MAX);
    for index in 0..used {
        let at = map::PROCESSES + index as u64 * map::PROCESS_BYTES;
        let word = Word(findings.reading.copy::<ProcessSlot>(at)?.word.load(Relaxed));
        let place = format!("process slot {index}");
        let wrong = match word.state() {
            process::FREE => None,
            process::JOINING | process::LIVE | process::DEAD if usize::from(word.slot()) != index => {
                Some((Lasts::Never, format!("it says that it is slot {}", word.slot())))
            }
            process::JOINING => {
                Some((Lasts::Unseen, "it is reserved for a process that does not come".to_owned()))
            }
            process::DEAD => Some((Lasts::Moment, "its process is dead, and nobody has swept it".to_owned())),
            process::LIVE => {
                let gone = processes.iter().find(|process| {
                    usize::from(process.slot) == index
                        && process.generation == word.sequence()
                        && matches!(process.status, ProcessStatus::Gone | ProcessStatus::Zombie)
                });
                gone.map(|process| {
                    let what =
                        format!("it says that process {} lives, and no such process is seen", process.pid);
                    (Lasts::Unseen, what)
                })
            }
            other => Some((Lasts::Never, format!("state {other} is none"))),
        };
        if let Some((lasts, what)) = wrong {
            findings.add(lasts, place, what, &[word.0]);
        }
    }
    Ok(())
}

/// PCBs and ready sets. Whether their holders live is for the account.
fn waiters(findings: &mut Findings<'_>) -> Result<(), InspectError> {
    let header = findings.reading.header()?;
    for index in 0..below(header.pcbs.load(Relaxed), PCBS_MAX) {
        let pcb = findings.reading.copy::<Pcb>(Segment::pcb_offset(index))?;
        let (holder, asleep) = (pcb.holder.load(Relaxed), pcb.asleep.load(Relaxed));
        holder_is_one(findings, format!("PCB {index}"), holder);
        if !matches!(asleep & !(SLEEPS - 1), 0 | SLEEPS | SPINS) {
            findings.add(
                Lasts::Never,
                format!("PCB {index}"),
                "what it says of its sleep is nothing",
                &[asleep],
            );
        }
    }
    for index in 0..below(header.selects.load(Relaxed), SELECTS_MAX) {
        let set = findings.reading.copy::<ReadySet>(Segment::entry_offset(index, 0))?;
        holder_is_one(findings, format!("ready set {index}"), set.holder.load(Relaxed));
    }
    Ok(())
}

/// Process slot + 1, and its generation (process/threads.rs).
fn holder_is_one(findings: &mut Findings<'_>, place: String, holder: u64) {
    if holder & 0xffff > PROCESSES_MAX as u64 || (holder != 0 && holder & 0xffff == 0) {
        findings.add(Lasts::Never, place, "its holder is no process slot", &[holder]);
    }
}

/// Whose they are is for the account.
fn entries(findings: &mut Findings<'_>) -> Result<(), InspectError> {
    for index in 0..below(findings.reading.header()?.entries.load(Relaxed), ENTRIES_MAX) {
        let one = findings.reading.copy::<Entry>(map::ENTRIES + index as u64 * map::ENTRY_BYTES)?;
        let word = one.word();
        let place = format!("entry {index}");
        if word.state() > entry::HOLD || word.is_parked() {
            findings.add(Lasts::Never, place, format!("state {} is none", word.state()), &[word.0]);
        } else if word.state() != entry::FREE && one.kind() > what::NOTHING {
            findings.add(Lasts::Never, place, "what it stands for is nothing", &[word.0, one.kind()]);
        }
    }
    Ok(())
}

pub(super) fn below(mark: u64, most: usize) -> usize {
    usize::try_from(mark).unwrap_or(most).min(most)
}
