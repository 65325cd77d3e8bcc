//! Victims are watched: who dies, hangs or grows is a finding, and another one goes on.

#![allow(unsafe_code)] // A page that is shared with a victim.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags};

use super::victim::{Kind, BATCH};
use crate::torture::line::{Fault, Line};
use crate::torture::plan::Plan;
use crate::torture::process::{start, Process};

/// Victims side by side: more than cores, since they wait now and then.
const VICTIMS: u64 = 4;
/// A trial takes some 0.1 ms; who is not through after so long hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// A victim needs some 20 MiB; so much more is without bound.
const RESIDENT_MAX: u64 = 512 << 20;
/// Findings after which a row gives up.
const FINDINGS_MAX: u64 = 200;

/// What a victim says of itself, in memory that it shares with whoever watches it.
#[repr(C)]
pub struct Report {
    /// The trial under way, + 1.
    pub at: AtomicU64,
    /// Trials that are through.
    pub done: AtomicU64,
    /// All are through.
    pub over: AtomicU64,
    /// Calls that gave Ok.
    pub ok: AtomicU64,
    /// Calls that gave an error.
    pub errors: AtomicU64,
    /// Trials during which another thread wrote all the time.
    pub raced: AtomicU64,
    /// Bytes of the text: what it panicked about, or grew by.
    pub said: AtomicU64,
    /// The text.
    pub text: [AtomicU64; 400],
}

const _: () = assert!(size_of::<Report>() <= PAGE);
const PAGE: usize = 4096;

impl Report {
    /// Leaves a text for whoever watches; the first one stays.
    pub fn say(&self, text: &str) {
        if self.said.load(Relaxed) != 0 {
            return;
        }
        let bytes = &text.as_bytes()[..text.len().min(self.text.len() * 8)];
        for (word, eight) in self.text.iter().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..eight.len()].copy_from_slice(eight);
            word.store(u64::from_le_bytes(whole), Relaxed);
        }
        self.said.store(bytes.len() as u64, Release);
    }

    fn read(&self) -> String {
        let length = self.said.load(Acquire) as usize;
        let bytes: Vec<u8> = self.text.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        String::from_utf8_lossy(&bytes[..length.min(bytes.len())]).into_owned()
    }
}

/// The report behind a descriptor, for as long as this process lives.
pub fn map_report(file: &OwnedFd) -> &'static Report {
    let (rights, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: the kernel picks a free range; the file has a page (`new_report`).
    let at = unsafe { rustix::mm::mmap(std::ptr::null_mut(), PAGE, rights, shared, file, 0) };
    // SAFETY: a page of atomics, never unmapped.
    unsafe { &*at.expect("map the report").cast::<Report>() }
}

fn new_report() -> (OwnedFd, &'static Report) {
    let file = rustix::fs::memfd_create(c"report", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file");
    rustix::fs::ftruncate(&file, PAGE as u64).expect("a page");
    let report = map_report(&file);
    (file, report)
}

/// One of the victims, and where it is.
struct Watched {
    process: Process,
    report: &'static Report,
    _file: OwnedFd,
    /// Which share of the batches is its.
    share: u64,
    at: u64,
    since: Instant,
}

impl Watched {
    fn start(plan: &Plan, kind: Kind, share: u64, first: u64) -> Watched {
        let (file, report) = new_report();
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let numbers = [plan.seed, share, VICTIMS, first, plan.tries, plan.at.map_or(0, |n| n + 1)];
        let numbers = numbers.map(|n| n.to_string());
        let mut arguments = vec![path.as_str(), kind.name()];
        arguments.extend(numbers.iter().map(String::as_str));
        let process = start("hostile", &arguments);
        Watched { process, report, _file: file, share, at: 0, since: Instant::now() }
    }

    /// Bytes of memory that it has resident.
    fn resident(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.0.id()));
        let pages = statm.ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        pages.unwrap_or(0) * rustix::param::page_size() as u64
    }

    /// What became of it, if it is not simply going on.
    fn look(&mut self) -> Option<(Fault, String)> {
        if let Ok(Some(status)) = self.process.0.try_wait() {
            if self.report.over.load(Acquire) == 1 && status.success() {
                return None;
            }
            let said = self.report.read();
            return Some((Fault::Wrong, format!("{status} {said}")));
        }
        let at = self.report.at.load(Acquire);
        if at != self.at {
            (self.at, self.since) = (at, Instant::now());
        }
        let resident = self.resident();
        if resident > RESIDENT_MAX {
            self.process.kill();
            return Some((Fault::Leaked, format!("{} MiB are resident", resident >> 20)));
        }
        if self.since.elapsed() > PATIENCE {
            self.process.signal(rustix::process::Signal::USR1);
            std::thread::sleep(Duration::from_millis(500));
            self.process.kill();
            let said = self.report.read();
            return Some((Fault::Hung, format!("not through after {PATIENCE:?}: {said}")));
        }
        None
    }

    fn is_over(&mut self) -> bool {
        self.report.over.load(Acquire) == 1 && matches!(self.process.0.try_wait(), Ok(Some(_)))
    }
}

/// Does all trials of a row.
pub fn run(plan: &Plan, name: &str, kind: Kind) -> Line {
    let mut line = Line::new(name);
    let shares = if plan.at.is_some() { 0..1 } else { 0..VICTIMS };
    let mut victims: Vec<Watched> = shares.map(|share| Watched::start(plan, kind, share, 0)).collect();
    let mut sums = [0; 4];
    let mut findings = 0;
    let mut told = HashSet::new();
    while !victims.is_empty() && findings < FINDINGS_MAX {
        std::thread::sleep(Duration::from_millis(5));
        let mut next = Vec::new();
        for mut victim in victims {
            let found = victim.look();
            if found.is_none() && !victim.is_over() {
                next.push(victim);
                continue;
            }
            let report = victim.report;
            let counted = [&report.done, &report.ok, &report.errors, &report.raced];
            sums.iter_mut().zip(counted).for_each(|(sum, more)| *sum += more.load(Relaxed));
            let Some((fault, what)) = found else {
                continue;
            };
            findings += 1;
            let at = report.at.load(Acquire);
            let new = told.insert(what.clone());
            if new {
                line.fault(fault, format!("{}: {what}", describe(kind, at)));
            } else {
                line.count(fault);
            }
            if plan.at.is_none() && at != 0 {
                sums[0] += 1; // this one
                next.push(Watched::start(plan, kind, victim.share, at));
            }
        }
        victims = next;
    }
    let [done, ok, errors, raced] = sums;
    line.tried = done;
    line.figures.push(format!("{ok} calls gave Ok and {errors} an error"));
    if raced != 0 {
        line.figures.push(format!("{raced} of them raced"));
    }
    line
}

fn describe(kind: Kind, at: u64) -> String {
    match at.checked_sub(1) {
        None => "before the first trial".to_owned(),
        Some(n) => format!("number {n} (batch {}: {})", n / BATCH, super::world::theme(kind, n / BATCH)),
    }
}
