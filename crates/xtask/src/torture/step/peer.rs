//! A process that is told by lines what to do, and answers by lines; and the report that it gives.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::torture::line::Fault;
use crate::torture::process::{start, Process};

/// What a survivor found.
#[derive(Default, Debug)]
pub struct Report {
    /// What was wrong.
    pub faults: Vec<(Fault, String)>,
    /// How much of the operation had happened: 0 nothing; grows over its commit points. None: it cannot be told.
    pub outcome: Option<u64>,
}

impl Report {
    /// Takes note of something wrong.
    pub fn fault(&mut self, fault: Fault, what: impl Into<String>) {
        self.faults.push((fault, what.into()));
    }

    /// All is well, if so.
    pub fn expect(&mut self, well: bool, fault: Fault, what: impl FnOnce() -> String) {
        if !well {
            self.fault(fault, what());
        }
    }

    /// The lines that say it.
    pub fn print(&self) {
        let mut out = std::io::stdout().lock();
        for (fault, what) in &self.faults {
            let _ = writeln!(out, "fault {fault:?} {}", what.replace('\n', " "));
        }
        if let Some(outcome) = self.outcome {
            let _ = writeln!(out, "outcome {outcome}");
        }
        let _ = writeln!(out, "ok");
        let _ = out.flush();
    }

    /// What the lines said.
    pub fn parse(lines: &[String]) -> Report {
        let mut report = Report::default();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("fault"), Some(fault), Some(what)) => report.fault(fault_of(fault), what),
                (Some("outcome"), Some(outcome), _) => report.outcome = outcome.parse().ok(),
                _ => {}
            }
        }
        report
    }
}

/// The fault of this name.
pub fn fault_of(name: &str) -> Fault {
    let all = [Fault::Lost, Fault::Duplicated, Fault::Leaked, Fault::Hung];
    all.into_iter().find(|fault| format!("{fault:?}") == name).unwrap_or(Fault::Wrong)
}

/// A process in a role that does what lines say.
pub struct Peer {
    pub process: Process,
    unread: Vec<u8>,
}

impl Peer {
    /// Starts it.
    pub fn start(role: &str, arguments: &[&str]) -> Peer {
        Peer { process: start(role, arguments), unread: Vec::new() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Tells it something.
    pub fn tell(&mut self, what: &str) -> Option<()> {
        let input = self.process.0.stdin.as_mut()?;
        input.write_all(format!("{what}\n").as_bytes()).ok()
    }

    /// Tells it something, and gets the lines of its answer, of which the last is `ok`. None: it does not answer.
    pub fn ask(&mut self, what: &str, within: Duration) -> Option<Vec<String>> {
        self.tell(what)?;
        self.answer(within)
    }

    /// The lines up to `ok`.
    pub fn answer(&mut self, within: Duration) -> Option<Vec<String>> {
        let until = Instant::now() + within;
        let mut lines = Vec::new();
        loop {
            let line = self.line(until)?;
            if line == "ok" {
                return Some(lines);
            }
            lines.push(line);
        }
    }

    /// The next line. None: there is none in time, or none ever.
    pub fn line(&mut self, until: Instant) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.drain(..=end).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let left = until.checked_duration_since(Instant::now())?;
            let output = self.process.0.stdout.as_ref()?.as_fd();
            let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&time)) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            }
            let mut buffer = [0; 4096];
            let got = rustix::io::read(output, &mut buffer).ok().filter(|got| *got > 0)?;
            self.unread.extend_from_slice(&buffer[..got]);
        }
    }
}
