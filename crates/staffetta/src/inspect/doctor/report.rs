//! The diagnosis in words: a drawing of who waits for whom, and what is wrong.

use std::fmt::{Display, Formatter, Result};

use super::{Deadlock, Diagnosis, Doing, HoldUp, WaitArm, Waiting};
use crate::inspect::ProcessStatus;

/// Text that a program chose, fit for a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `3.2 s`, `15 ms`.
fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10),
    }
}

/// `1 process`, `2 processes`.
fn count(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

fn status(status: ProcessStatus) -> &'static str {
    match status {
        ProcessStatus::Stopped => ", STOPPED",
        ProcessStatus::Zombie => ", a ZOMBIE",
        ProcessStatus::Gone => ", GONE",
        ProcessStatus::Running | ProcessStatus::Sleeping => "",
    }
}

/// `producer (pid 11, STOPPED)`.
fn who(diagnosis: &Diagnosis, slot: u16) -> String {
    match diagnosis.process(slot) {
        Some(process) => {
            format!("{} (pid {}{})", clean(&process.program), process.pid, status(process.status))
        }
        None => format!("slot {slot} (nobody)"),
    }
}

fn all_of(diagnosis: &Diagnosis, slots: &[u16], between: &str) -> String {
    slots.iter().map(|slot| who(diagnosis, *slot)).collect::<Vec<_>>().join(between)
}

/// `receive "frames"`.
fn operation(arm: &WaitArm) -> String {
    match (arm.doing, arm.channel, arm.name.as_str()) {
        (Doing::Unknown, ..) | (_, None, _) => "?".to_owned(),
        (doing, Some(index), "") => format!("{doing} (unnamed {index})"),
        (doing, _, name) => format!("{doing} \"{}\"", clean(name)),
    }
}

fn whom(diagnosis: &Diagnosis, arm: &WaitArm) -> String {
    let between = if arm.all { " and " } else { " or " };
    let mut whom = all_of(diagnosis, &arm.for_whom, between);
    if let Some(nobody) = arm.nobody {
        if !whom.is_empty() {
            whom += " or ";
        }
        whom += &nobody.to_string();
    }
    whom
}

/// `consumer (pid 12) --receive "frames" 3.2 s--> producer (pid 11, STOPPED)`, and a line for each arm of a select.
fn draw(diagnosis: &Diagnosis, wait: &Waiting, f: &mut Formatter<'_>) -> Result {
    let mut long = time(wait.for_ns);
    if let Some(left) = wait.left_ns {
        long += &format!(", {} left", time(left));
    }
    if wait.spins {
        long += ", spinning";
    }
    let me = who(diagnosis, wait.process);
    match wait.arms.as_slice() {
        [arm] if !wait.selects => {
            writeln!(f, "  {me} --{} {long}--> {}", operation(arm), whom(diagnosis, arm))
        }
        [] => writeln!(f, "  {me} --select {long}--> nobody: of what it selects nothing is announced"),
        arms => {
            writeln!(f, "  {me} --select {long}--> any of {}", arms.len())?;
            for arm in arms {
                writeln!(f, "    --{}--> {}", operation(arm), whom(diagnosis, arm))?;
            }
            Ok(())
        }
    }
}

fn show_deadlock(diagnosis: &Diagnosis, deadlock: &Deadlock, f: &mut Formatter<'_>) -> Result {
    let title = if deadlock.is_certain() { "DEADLOCK" } else { "perhaps a deadlock" };
    match deadlock.processes.as_slice() {
        [one] => writeln!(f, "{title}: {} waits for itself", who(diagnosis, *one))?,
        all => writeln!(f, "{title}: {} wait for each other", count(all.len(), "process", "processes"))?,
    }
    for wait in deadlock.waits.iter().filter_map(|wait| diagnosis.waits.get(*wait)) {
        draw(diagnosis, wait, f)?;
    }
    if !deadlock.also.is_empty() {
        writeln!(f, "  and for them: {}", all_of(diagnosis, &deadlock.also, ", "))?;
    }
    for (slot, thread) in &deadlock.unless {
        writeln!(f, "  unless thread {} of {} helps", clean(thread), who(diagnosis, *slot))?;
    }
    Ok(())
}

fn advice(diagnosis: &Diagnosis, hold: &HoldUp) -> String {
    let pid = diagnosis.process(hold.process).map_or(0, |process| process.pid);
    match hold.status {
        ProcessStatus::Stopped => format!(
            "it is stopped, by a signal or a debugger; `kill -CONT {pid}` lets it go on, `kill -KILL {pid}` lets the others"
        ),
        ProcessStatus::Zombie => "it has ended, and is about to be swept".to_owned(),
        ProcessStatus::Gone => {
            "no such process is seen from here: it is dead and not swept yet, or in another process namespace".to_owned()
        }
        ProcessStatus::Running => "it runs, and waits for nobody in this domain".to_owned(),
        ProcessStatus::Sleeping => "it sleeps, and waits for nobody in this domain".to_owned(),
    }
}

/// Sentences.
pub fn warnings(diagnosis: &Diagnosis) -> Vec<String> {
    let still = |hold: &&HoldUp| !matches!(hold.status, ProcessStatus::Running | ProcessStatus::Sleeping);
    let holds = diagnosis.held_up_by.iter().filter(still).map(|hold| {
        let waiting = count(hold.waiting.len(), "process waits", "processes wait");
        format!("{waiting} for {}: {}", who(diagnosis, hold.process), advice(diagnosis, hold))
    });
    let perhaps =
        diagnosis.deadlocks.iter().filter(|deadlock| !deadlock.is_certain()).map(|deadlock| {
            format!("perhaps a deadlock of {}", all_of(diagnosis, &deadlock.processes, ", "))
        });
    let unsettled = diagnosis.unsettled.iter().map(|broken| {
        format!(
            "{}: {}, unless a process that is stopped, or got no core, is in the middle of it",
            clean(&broken.place),
            clean(&broken.what)
        )
    });
    holds.chain(perhaps).chain(unsettled).collect()
}

impl Display for Diagnosis {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = self.name.as_deref().map_or_else(|| "(unnamed)".to_owned(), clean);
        let processes = count(self.processes.len(), "process", "processes");
        writeln!(f, "domain {name} {}: {processes}", self.identity)?;
        if self.waits.is_empty() {
            writeln!(f, "\nnobody waits")?;
        } else {
            writeln!(f, "\nwho waits for whom")?;
            for wait in &self.waits {
                draw(self, wait, f)?;
            }
        }
        if !self.held_up_by.is_empty() {
            writeln!(f, "\nwho is waited for, and waits for nobody")?;
            for hold in &self.held_up_by {
                let by = all_of(self, &hold.waiting, ", ");
                writeln!(f, "  {}: {} (by {by})", who(self, hold.process), advice(self, hold))?;
            }
        }
        for deadlock in &self.deadlocks {
            writeln!(f)?;
            show_deadlock(self, deadlock, f)?;
        }
        if !self.broken.is_empty() {
            writeln!(f, "\nBROKEN")?;
            for broken in &self.broken {
                let words: Vec<String> = broken.words.iter().map(|word| format!("{word:#x}")).collect();
                writeln!(f, "  {}: {} [{}]", clean(&broken.place), clean(&broken.what), words.join(" "))?;
            }
        }
        let warnings = self.warnings();
        if !warnings.is_empty() {
            writeln!(f, "\nwarnings")?;
            for warning in &warnings {
                writeln!(f, "  {warning}")?;
            }
        }
        let deadlocks = self.deadlocks.iter().filter(|deadlock| deadlock.is_certain()).count();
        let verdict = match (deadlocks, self.broken.len()) {
            (0, 0) => "healthy".to_owned(),
            (deadlocks, 0) => count(deadlocks, "deadlock", "deadlocks"),
            (0, broken) => format!("{} broken", count(broken, "thing is", "things are")),
            (deadlocks, broken) => format!(
                "{}, and {} broken",
                count(deadlocks, "deadlock", "deadlocks"),
                count(broken, "thing is", "things are")
            ),
        };
        write!(f, "\n{name}: {verdict}")
    }
}
