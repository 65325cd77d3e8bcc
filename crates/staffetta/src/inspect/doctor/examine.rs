//! What is looked at, how often, and what follows from it.
//!
//! O1. A wait is the same wait if its PCB's words are. Whoever is in a deadlock was seen in the same wait before and after its
//!     channel was looked at, and was not woken in between: so all of them slept at one moment, and nobody was left to wake them.
//!     One that is busy waiting has said twice in between that it looks.
//! O2. What is said to be broken was so, word for word, at every look, and every thread that was in the middle of something at
//!     the first look has gone on since.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::members::{Members, Others};
use super::waits::{sleepers, Channels, Sleeper};
use super::{check, graph, Broken, Deadlock, Diagnosis, HoldUp, WaitArm, Waiting};
use crate::inspect::look::Inner;
use crate::inspect::{InspectError, Membership, ProcessStatus, ProcessView};
use crate::process::wait::now_ns;

/// Between two looks at the waits.
const BREATH: Duration = Duration::from_millis(5);
/// So long at most until those who are busy waiting have looked, and those who are in the middle of something have gone on.
const PATIENCE: Duration = Duration::from_secs(2);
/// A process that is joining, or dead and being swept, is so for a moment.
const MOMENT: Duration = Duration::from_secs(1);
/// Looks at what seems broken, at least, and how long they take together.
const LOOKS: u32 = 6;
const LOOKS_TAKE: Duration = Duration::from_millis(40);

/// All of it.
pub fn examine(inner: &Inner) -> Result<Diagnosis, InspectError> {
    let (broken, unsettled) = examine_words(inner)?;
    let Seen { processes, waits, deadlocks } = examine_waits(inner)?;
    let held_up_by = held_up_by(&processes, &waits);
    let (name, identity) = inner.who()?;
    Ok(Diagnosis { name, identity, processes, waits, deadlocks, held_up_by, broken, unsettled })
}

/// What the PCBs said.
struct Seen {
    processes: Vec<ProcessView>,
    waits: Vec<Waiting>,
    deadlocks: Vec<Deadlock>,
}

/// O1.
fn examine_waits(inner: &Inner) -> Result<Seen, InspectError> {
    let reading = inner.reading();
    let header = reading.header()?;
    let all = || sleepers(reading, reading.header()?.pcbs.load(Relaxed));
    let (processes, numbers) = inner.processes(&header)?;
    let first = all()?;
    let threads = Members::look(&processes, &numbers);
    std::thread::sleep(BREATH);

    let mut channels =
        Channels::new(reading, header.window_base.load(Relaxed), header.channels.load(Relaxed));
    let seen: Vec<(Sleeper, Vec<WaitArm>)> =
        all()?.into_iter().map(|sleeper| (sleeper, channels.arms(&sleeper))).collect();
    std::thread::sleep(BREATH);

    let threads_now = Members::look(&processes, &numbers);
    let mut last = all()?;
    let before = |sleeper: &Sleeper| first.iter().find(|before| sleeper.is_still(before));
    let until = Instant::now() + PATIENCE;
    let looks = |last: &[Sleeper]| last.iter().all(|now| before(now).is_none_or(|then| now.has_looked(then)));
    while !looks(&last) && Instant::now() < until {
        std::thread::sleep(BREATH);
        last = all()?;
    }

    // Of what was dead already, or came meanwhile, nothing is said.
    let (processes, _) = inner.processes(&*reading.header()?)?;
    let is_member = |sleeper: &Sleeper| {
        let its = |process: &&ProcessView| (process.slot, process.generation) == sleeper.process;
        processes.iter().find(its).is_some_and(|process| process.membership == Membership::Live)
    };
    let now = now_ns();
    let mut waits = Vec::new();
    for (sleeper, arms) in seen.into_iter().filter(|(sleeper, _)| is_member(sleeper)) {
        let end = last.iter().find(|last| last.is_still(&sleeper));
        let lasts = before(&sleeper).zip(end).is_some_and(|(before, end)| end.has_looked(before));
        waits.push(Waiting {
            process: sleeper.process.0,
            thread: sleeper.thread,
            pcb: sleeper.pcb,
            for_ns: now.saturating_sub(sleeper.since_ns),
            left_ns: sleeper.until_ns.map(|until| until.saturating_sub(now)),
            spins: sleeper.spins.is_some(),
            lasts,
            selects: sleeper.waits.doing() == Some(crate::channel::waits::Doing::Select),
            arms,
        });
    }
    let others = |slot: u16| threads_now.others(&threads, slot, &last);
    let deadlocks = deadlocks(&waits, others);
    Ok(Seen { processes, waits, deadlocks })
}

fn graph_of(waits: &[Waiting]) -> Vec<graph::Wait> {
    let arm =
        |arm: &WaitArm| graph::Arm { who: arm.for_whom.clone(), all: arm.all, outside: arm.nobody.is_some() };
    let wait = |wait: &Waiting| graph::Wait {
        process: wait.process,
        ends: wait.left_ns.is_some() || !wait.lasts,
        arms: wait.arms.iter().map(arm).collect(),
    };
    waits.iter().map(wait).collect()
}

fn deadlocks(waits: &[Waiting], others: impl Fn(u16) -> Others) -> Vec<Deadlock> {
    let graph = graph_of(waits);
    let slots: BTreeSet<u16> = waits.iter().map(|wait| wait.process).collect();
    let others: Vec<(u16, Others)> = slots.into_iter().map(|slot| (slot, others(slot))).collect();
    let of = |slot: u16| others.iter().find(|(other, _)| *other == slot).map(|(_, others)| others);
    let certain = graph::lost(&graph, |slot| of(slot) != Some(&Others::None));
    let likely = graph::lost(&graph, |slot| of(slot).is_none_or(|others| *others == Others::Busy));
    let told = |knot: graph::Knot, is_certain: bool| {
        let mut processes: Vec<u16> = Vec::new();
        for wait in &knot.waits {
            if !processes.contains(&waits[*wait].process) {
                processes.push(waits[*wait].process);
            }
        }
        let quiet = |slot: &u16| match of(*slot) {
            Some(Others::Quiet(names)) if !is_certain => {
                names.iter().map(|name| (*slot, name.clone())).collect()
            }
            _ => Vec::new(),
        };
        let unless = processes.iter().flat_map(quiet).collect();
        Deadlock { processes, waits: knot.waits, also: knot.also, unless }
    };
    let mut all: Vec<Deadlock> =
        graph::knots(&graph, &certain).into_iter().map(|knot| told(knot, true)).collect();
    let known: BTreeSet<u16> = all.iter().flat_map(|deadlock| deadlock.processes.clone()).collect();
    let more = graph::knots(&graph, &likely).into_iter().map(|knot| told(knot, false));
    // One of which none is known yet, and which has somebody whom it depends on.
    all.extend(more.filter(|deadlock| {
        !deadlock.is_certain() && deadlock.processes.iter().all(|slot| !known.contains(slot))
    }));
    all
}

fn held_up_by(processes: &[ProcessView], waits: &[Waiting]) -> Vec<HoldUp> {
    let of = |slot: u16| processes.iter().find(|process| process.slot == slot);
    let one = |(process, waiting): (u16, BTreeSet<u16>)| HoldUp {
        process,
        status: of(process).map_or(ProcessStatus::Gone, |process| process.status),
        waiting: waiting.into_iter().collect(),
    };
    let mut all: Vec<HoldUp> = graph::held_up_by(&graph_of(waits)).into_iter().map(one).collect();
    let goes_on = |hold: &HoldUp| matches!(hold.status, ProcessStatus::Running | ProcessStatus::Sleeping);
    all.sort_by_key(|hold| (goes_on(hold), std::cmp::Reverse(hold.waiting.len())));
    all
}

/// O2. What is broken, and what could not be settled.
fn examine_words(inner: &Inner) -> Result<(Vec<Broken>, Vec<Broken>), InspectError> {
    let begin = Instant::now();
    let (processes, numbers) = inner.processes(&*inner.reading().header()?)?;
    let mut found = check::all(inner.reading(), &processes)?;
    if found.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let threads = Members::look(&processes, &numbers);
    let mut breath = Duration::from_millis(1);
    let mut looks = 1;
    let settled = loop {
        std::thread::sleep(breath);
        breath = (breath * 2).min(LOOKS_TAKE);
        let (processes, _) = inner.processes(&*inner.reading().header()?)?;
        let again = check::all(inner.reading(), &processes)?;
        found.retain(|one| again.contains(one));
        looks += 1;
        let slow = found.iter().any(|one| one.lasts == check::Lasts::Moment);
        if found.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let waited = begin.elapsed();
        let enough = looks >= LOOKS && waited >= if slow { MOMENT } else { LOOKS_TAKE };
        let moved = Members::look(&processes, &numbers).have_moved(&threads);
        if enough && (moved || waited >= PATIENCE) {
            break moved;
        }
    };
    let stopped = !threads.stopped().is_empty();
    let (mut broken, mut unsettled) = (Vec::new(), Vec::new());
    for one in found {
        let is_certain = one.lasts == check::Lasts::Never || (settled && !stopped);
        if is_certain { &mut broken } else { &mut unsettled }.push(one.broken);
    }
    Ok((broken, unsettled))
}
