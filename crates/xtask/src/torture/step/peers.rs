//! What the processes beside the victim play: the survivor, which has live ends, and the bystander, which is a member and
//! nothing more.

use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use staffetta::inspect::Observer;
use staffetta::{Domain, Wait};

use super::peer::Report;
use super::scene::{Survivor, PATIENCE};
use super::scenes;
use crate::torture::line::Fault;
use crate::torture::Role;

pub const SURVIVOR: Role = ("step-survivor", survivor);
pub const BYSTANDER: Role = ("step-bystander", bystander);

/// What may differ from one quiet moment to another: nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Quiet {
    leaks: Vec<String>,
    /// Everything that must be 0 when only the survivor and the bystander are there, and have nothing.
    in_use: [(&'static str, u64); 9],
    /// As many as at the beginning.
    pcbs: u64,
    processes: u64,
    descriptors: usize,
}

impl Quiet {
    fn of(domain: &Domain, observer: &Observer) -> Option<Quiet> {
        domain.trim().ok()?;
        let it = observer.account().ok()?;
        Some(Quiet {
            leaks: it.leaks.iter().map(ToString::to_string).collect(),
            in_use: [
                ("blocks owned", it.blocks_owned),
                ("blocks of messages", it.blocks_waiting),
                ("blocks enclosed", it.blocks_enclosed),
                ("capabilities", it.capabilities_owned),
                ("capabilities kept", it.capabilities_kept),
                ("entries", it.entries),
                ("channels without a name", it.channels_unnamed),
                ("ends", it.ends),
                ("ready sets", it.ready_sets),
            ],
            pcbs: it.pcbs,
            processes: it.processes,
            descriptors: descriptors(),
        })
    }

    /// The same as `base`, but for so many descriptors.
    fn is_as(&self, base: &Quiet, linger: usize) -> bool {
        let descriptors = self.descriptors.clamp(base.descriptors, base.descriptors + linger);
        self.descriptors == descriptors && Quiet { descriptors: base.descriptors, ..self.clone() } == *base
    }

    fn is_clean(&self) -> bool {
        self.leaks.is_empty() && self.in_use.iter().all(|(_, count)| *count == 0)
    }

    /// What is not as it should be.
    fn complaint(&self, base: &Quiet) -> String {
        let used = self
            .in_use
            .iter()
            .filter(|(_, count)| *count != 0)
            .map(|(what, count)| format!("{count} {what}"));
        let mut all: Vec<String> = self.leaks.iter().take(4).cloned().chain(used).collect();
        for (what, now, then) in [
            ("PCBs", self.pcbs, base.pcbs),
            ("processes", self.processes, base.processes),
            ("descriptors", self.descriptors as u64, base.descriptors as u64),
        ] {
            if now != then {
                all.push(format!("{now} {what} instead of {then}"));
            }
        }
        all.join("; ")
    }
}

/// Those by which deaths are told are closed a moment later: so many may be there.
const TOLD_BY: usize = 64;

/// How many there are, but for those by which deaths are told.
fn descriptors() -> usize {
    let mut told_by = 0;
    let counts = |entry: std::fs::DirEntry| {
        // It may be closed by now.
        let file = std::fs::read_link(entry.path()).ok()?;
        // `maps (deleted)`, when the process has been waited for.
        let is_maps = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"maps"));
        told_by += usize::from(is_maps && file.starts_with("/proc"));
        (told_by > TOLD_BY || !is_maps || !file.starts_with("/proc")).then_some(())
    };
    std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.flatten().filter_map(counts).count())
}

fn survivor(arguments: &[String]) {
    let domain =
        Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 30).open(&arguments[0]).expect("open");
    let observer = Observer::of(&arguments[0]).expect("observe");
    // This thread has slept once, and has its PCB.
    let (_tx, rx) = domain.channel("").wait(Wait::Park).unnamed::<u64>().expect("a channel");
    let _ = rx.recv_timeout(Duration::from_millis(1));
    drop((_tx, rx));
    println!("memory {}\nok", domain.descriptor().as_fd().as_raw_fd());
    let mut base: Option<Quiet> = None;
    let mut stage: Option<Box<dyn Survivor>> = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else {
            return;
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let mut report = Report::default();
        match (word, &mut stage) {
            ("stage", _) => {
                let scene = rest.parse::<usize>().ok().and_then(|i| scenes::all().get(i)).expect("a scene");
                stage = Some(scene.survivor(&domain));
            }
            ("ready", Some(stage)) => stage.ready(),
            ("nudge", Some(stage)) => report.outcome = Some(stage.nudge().into()),
            ("meanwhile", Some(stage)) => stage.meanwhile(&mut report),
            ("check", Some(stage)) => stage.check(&mut report),
            // All ends are dropped; what is in use must be what was.
            ("base" | "account" | "look", _) => {
                stage = None;
                let linger = rest.parse().unwrap_or(0);
                let patience = if word == "look" { Duration::from_millis(20) } else { PATIENCE };
                settle((&domain, &observer), &mut base, linger, patience, &mut report);
            }
            _ => panic!("{line:?} makes no sense now"),
        }
        report.print();
    }
}

/// Waits until the account is what it was; the first one is what it is to be.
fn settle(
    (domain, observer): (&Domain, &Observer),
    base: &mut Option<Quiet>,
    linger: usize,
    patience: Duration,
    report: &mut Report,
) {
    let until = Instant::now() + patience;
    let mut before: Option<Quiet> = None;
    loop {
        let Some(now) = Quiet::of(domain, observer) else {
            return report.fault(Fault::Wrong, "the domain cannot be looked at");
        };
        match base {
            Some(base) if now.is_as(base, linger) => return,
            // The first one: whatever has come to rest.
            None if before.as_ref() == Some(&now) && now.is_clean() => {
                *base = Some(now);
                return;
            }
            _ => {}
        }
        if Instant::now() > until {
            return report.fault(Fault::Leaked, now.complaint(base.as_ref().unwrap_or(&now)));
        }
        before = Some(now);
        std::thread::sleep(Duration::from_micros(if base.is_some() { 200 } else { 20_000 }));
    }
}

fn bystander(arguments: &[String]) {
    let domain = Domain::join(&arguments[0]).expect("join");
    println!("ok");
    let mut base = None;
    for line in std::io::stdin().lock().lines() {
        let mut report = Report::default();
        let Ok(line) = line else {
            return;
        };
        let (word, linger) = line.split_once(' ').expect("two words");
        let linger: usize = linger.parse().expect("a number");
        match word {
            "base" => {
                std::thread::sleep(Duration::from_millis(20));
                base = Some(descriptors());
            }
            // What it keeps for its next allocations is given to all.
            "trim" => drop(domain.trim()),
            _ => {
                let base = base.expect("said before");
                let until = Instant::now() + PATIENCE;
                let well = |now: usize| (base..=base + linger).contains(&now);
                while !well(descriptors()) && Instant::now() < until {
                    std::thread::sleep(Duration::from_micros(200));
                }
                let now = descriptors();
                report.expect(well(now), Fault::Leaked, || {
                    format!("the bystander has {now} descriptors instead of {base}")
                });
            }
        }
        report.print();
    }
    drop(domain);
}
