//! The coordinator of a row: starts its processes, waits for them, ends them, and compares what they found.

use super::check::{verdict, Found};
use super::plan::{Carry, Promise, Row};
use super::side::Order;
use crate::failure::{Failure, Fault};
use crate::interrupt;
use serde::Serialize;
use staffetta::{Domain, Parcel, Sender};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The first round, in which the channel gets its memory.
const FIRST_MESSAGES: u64 = 1000;
/// What a row's domain may occupy.
const DOMAIN_BYTES: u64 = 256 << 20;
/// How often a waiting coordinator looks up.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Small blocks are not given back to the kernel but kept for the next message; how many there are is how many were in use
/// or kept by a process at once, which is not the same in each round. Bytes for each process.
const KEPT_BYTES: u64 = 32 << 10;
/// How long a process may run on when another one has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How long the memory of processes that have ended may take to come back.
const SWEPT_WITHIN: Duration = Duration::from_secs(10);

/// Of a process that had not ended when another one had.
const ENDED: &str = "a process had to be ended, since another one ended first";

/// What became of a row.
#[derive(Serialize)]
pub struct Soaked {
    #[serde(flatten)]
    pub row: Row,
    pub dropped: u64,
    /// By all receivers together, where a slow one misses some.
    pub missed: u64,
    pub seconds: f64,
    pub messages_per_second: f64,
    /// Bytes in use before, and after.
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub problem: Option<String>,
}

/// A process of a row. It ends with its handle.
struct Side {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn environment(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Environment(format!("{what}: {error}"))
}

/// Runs a row.
pub fn row(row: Row) -> Result<Soaked, Failure> {
    let name = format!("soak-{}", std::process::id());
    let domain = Domain::options()
        .memory_max_bytes(DOMAIN_BYTES)
        .open(&name)
        .map_err(|error| environment("cannot make the domain", error))?;
    let first = Row { messages: row.messages.min(FIRST_MESSAGES), ..row.clone() };
    let mut problem = round(&domain, &name, &first)?.err();
    let bytes_before = in_use(&domain)?;
    let begun = Instant::now();
    let (mut dropped, mut missed) = (0, 0);
    if problem.is_none() {
        match round(&domain, &name, &row)? {
            Ok(lost) => (dropped, missed) = lost,
            Err(why) => problem = Some(why),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut bytes_after = in_use(&domain)?;
    let most = bytes_before + KEPT_BYTES * (row.senders + row.receivers);
    while bytes_after > most && begun.elapsed().as_secs_f64() < seconds + SWEPT_WITHIN.as_secs_f64() {
        interrupt::check()?;
        std::thread::sleep(LOOK_EVERY);
        bytes_after = in_use(&domain)?;
    }
    if problem.is_none() && bytes_after > most {
        problem = Some(format!("{} bytes did not come back", bytes_after - bytes_before));
    }
    let messages_per_second = (row.messages as f64 / seconds).round();
    Ok(Soaked { row, dropped, missed, seconds, messages_per_second, bytes_before, bytes_after, problem })
}

/// Bytes that messages and channels occupy, without what free blocks keep.
fn in_use(domain: &Domain) -> Result<u64, Failure> {
    let bytes = domain.trim().and_then(|_| domain.memory());
    bytes.map(|(_, bytes)| bytes).map_err(|error| environment("cannot ask for the domain's memory", error))
}

/// A sender of the row, whatever it carries; to hold, not to send.
enum Probe {
    Value { _tx: Sender<super::check::Message> },
    Parcel { _tx: Sender<Parcel<super::check::Message>> },
}

fn probe(domain: &Domain, row: &Row) -> Result<Probe, Failure> {
    let channel = row.channel(domain);
    match row.carry {
        Carry::Parcels => channel.sender().map(|_tx| Probe::Parcel { _tx }),
        _ => channel.sender().map(|_tx| Probe::Value { _tx }),
    }
    .map_err(|error| environment("cannot attach to the channel", error))
}

/// One round of a row; gives how many messages were dropped and how many missed, or what was wrong.
fn round(domain: &Domain, name: &str, row: &Row) -> Result<Result<(u64, u64), String>, Failure> {
    let promise = row.flavor.promise();
    // Keeps the receivers from being told that all is over before the last sender has come.
    let is_queue = matches!(promise, Promise::ToOne | Promise::ToOneOrDropped);
    let probe = if is_queue && row.senders > 1 { Some(probe(domain, row)?) } else { None };
    // One process is all of a row within one.
    let (receivers, senders) = match promise {
        Promise::Local => (0, 1),
        _ => (row.receivers, row.senders),
    };
    let begin = |is_sender: bool, many: u64| -> Result<Vec<Side>, Failure> {
        let order = |who| Order { row: row.clone(), domain: name.to_owned(), is_sender, who };
        (0..many).map(|who| start(&order(who))).collect()
    };
    // One after the other: a receiver first, so that nothing is over before it came.
    let mut receivers = begin(false, receivers)?;
    let mut senders = begin(true, senders)?;
    for side in receivers.iter_mut().chain(&mut senders) {
        let mut word = String::new();
        if side.says.read_line(&mut word).is_err() || word.trim() != "ready" {
            return Ok(Err(problem_of(&word)));
        }
    }
    for side in receivers.iter_mut().chain(&mut senders) {
        // One that has died is found below.
        let _ = side.child.stdin.take().map(|mut stdin| stdin.write_all(b"go\n"));
    }
    await_all(&mut senders, &mut receivers)?;
    let sent = senders.into_iter().map(hear).collect::<Vec<_>>();
    drop(probe);
    await_all(&mut receivers, &mut [])?;
    let came = receivers.into_iter().map(hear).collect::<Vec<_>>();
    // Who was ended is not the one to blame, if there is another.
    let blamed = sent.iter().chain(&came).filter_map(|found| found.problem.as_deref());
    if let Some(problem) = blamed.max_by_key(|problem| *problem != ENDED) {
        return Ok(Err(problem.to_owned()));
    }
    let dropped = sent.iter().map(|found| found.dropped).sum();
    let missed = came.iter().map(|found| found.missed).sum();
    if missed != 0 && !row.flavor.misses() {
        return Ok(Err(format!("{missed} messages were missed by receivers that the sender waits for")));
    }
    Ok(verdict(&sent, &came, promise).map(|()| (dropped, missed)))
}

/// What a process said instead of `ready`.
fn problem_of(word: &str) -> String {
    let found = serde_json::from_str::<Found>(word).ok().and_then(|found| found.problem);
    found.unwrap_or_else(|| "a process ended before it was ready".into())
}

fn start(order: &Order) -> Result<Side, Failure> {
    let text = serde_json::to_string(order).map_err(|error| environment("cannot write an order", error))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("staffetta")
        .args(["__soak", &text, "--parent", &std::process::id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::os("cannot start a process from /proc/self/exe", error))?;
    let says = child.stdout.take().map(BufReader::new);
    says.map(|says| Side { child, says })
        .ok_or_else(|| Failure::Environment("cannot hear a process that was started".into()))
}

/// Waits until all `sides` have ended; not much longer than one of the `others`, without whom they may wait for ever.
fn await_all(sides: &mut [Side], others: &mut [Side]) -> Result<(), Failure> {
    let mut alone_since = None;
    loop {
        interrupt::check()?;
        let mut over = true;
        for side in sides.iter_mut() {
            match side.child.try_wait() {
                Ok(Some(status)) if !status.success() => return Ok(()),
                Ok(Some(_)) => {}
                _ => over = false,
            }
        }
        // Who receives ends when the last sender has left, which need not have ended yet; but it soon will.
        if others.iter_mut().any(|side| matches!(side.child.try_wait(), Ok(Some(_)))) {
            alone_since.get_or_insert_with(Instant::now);
        }
        if over || alone_since.is_some_and(|since| since.elapsed() > ENDS_WITHIN) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What an ended process found. One that is not over yet, since another one failed, is ended.
fn hear(mut side: Side) -> Found {
    let problem = |what: String| Found { problem: Some(what), ..Found::default() };
    let status = match side.child.try_wait() {
        Ok(Some(status)) => status,
        _ => return problem(ENDED.into()),
    };
    let mut text = String::new();
    let said = side.says.read_line(&mut text).map_err(Fault::from);
    let found = said.and_then(|_| serde_json::from_str(&text).map_err(Fault::from));
    found.unwrap_or_else(|_| problem(format!("a process ended without a word: {status}")))
}
