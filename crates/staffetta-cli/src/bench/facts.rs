//! `staffetta bench --facts`: figures that are no latencies.
//!
//! | fact | how it is measured |
//! |---|---|
//! | page faults in hand-overs of a parcel | `getrusage` of both processes around them, after prefault |
//! | context switches of parked receivers, and their time on a core | the kernel's counts of each thread (`parked.rs`) |
//! | CPU of an idle receiver | its CPU time while it waits by the default policy and nothing comes |
//! | CPU of each end, one message a millisecond | their CPU time while messages come at that pace |
//! | the same of a bare futex, and of sleeping alone | what the machine takes for that pace in any case |
//! | touching by two processes, to one | raw shared memory and a word that says whose turn it is |
//! | memory of an empty domain | blocks of its file, as the kernel counts them |
//! | time to join a domain | from the call to its return, median of some |
//! | descriptors, threads | /proc/self, before and after |

use super::channel::meet::{meet, unsent, Ends};
use super::limit::cacheline::share;
use super::limit::touch::rotation;
use super::subject::Side;
use crate::failure::Fault;
use crate::machine::now_ns;
use crate::raw::{Usage, LINE_BYTES};
use crate::two::wire::Wire;
use rustix::io::Errno;
use rustix::thread::futex::{wait, wake, Flags};
use serde::{Deserialize, Serialize};
use staffetta::{Addresses, Domain, Method, Parcel, Wait};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// What was measured.
    pub fact: String,
    /// The figure.
    pub value: f64,
    /// `faults`, `switches`, `percent of a core`, `bytes`, `ns`, `descriptors`, `threads`, `x` (a ratio).
    pub unit: String,
}

fn fact(what: impl Into<String>, value: f64, unit: &str) -> Fact {
    let value = (value * 1000.0).round() / 1000.0;
    Fact { fact: what.into(), value, unit: unit.into() }
}

const HAND_OVERS: u64 = 1_000_000;
const IDLE: Duration = Duration::from_secs(4);
const PACED: u64 = 2_000;
const PACE: Duration = Duration::from_millis(1);
const JOINS: usize = 21;

/// Both sides run this at the same time, each its own part.
pub fn measure(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    let mut facts = of_domain(side, link)?;
    facts.extend(faults(side, link)?);
    facts.extend(idle(side, link)?);
    facts.extend(paced(side, link)?);
    facts.extend(touched_by_two(side, link)?);
    facts.extend(parked(side)?);
    Ok(facts)
}

/// What pong has found, told to ping.
fn from_pong(side: Side, link: &Wire, own: f64) -> Result<f64, Fault> {
    match side {
        Side::Ping => link.recv(),
        Side::Pong => link.send(&own).map(|()| own),
    }
}

fn entries(of: &str) -> f64 {
    std::fs::read_dir(of).map_or(0, Iterator::count) as f64
}

fn of_domain(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    if side == Side::Pong {
        let name: String = link.recv()?;
        let (files, threads) = (entries("/proc/self/fd"), entries("/proc/self/task"));
        let mut took = Vec::new();
        let mut held = (0.0, 0.0);
        for _ in 0..JOINS {
            let before = now_ns();
            let domain = Domain::options().addresses(Addresses::Coinciding).join(&name)?;
            took.push((now_ns() - before) as f64);
            held = (entries("/proc/self/fd") - files, entries("/proc/self/task") - threads);
            drop(domain);
        }
        link.send(&(super::stats::median(&took), held))?;
        return Ok(Vec::new());
    }
    let files = entries("/proc/self/fd");
    let name = format!("facts-{}", std::process::id());
    let domain = Domain::options().create_new(&name)?;
    let bytes = rustix::fs::fstat(domain.descriptor())?.st_blocks as f64 * 512.0;
    let alone = entries("/proc/self/fd") - files;
    link.send(&name)?;
    let (join_ns, (with_peer, threads)): (f64, (f64, f64)) = link.recv()?;
    Ok(vec![
        fact("memory of an empty domain", bytes, "bytes"),
        fact("time to join it", join_ns, "ns"),
        fact("descriptors of its only member", alone, "descriptors"),
        fact("descriptors of a member with one peer", with_peer, "descriptors"),
        fact("threads added to a member", threads, "threads"),
    ])
}

fn faults(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    const BYTES: usize = 1 << 20;
    let domain = meet(side, link, Method::Coinciding, Wait::Spin)?;
    let ends = Ends::<Parcel<[u8]>>::attach(side, &domain, |c| c.rendezvous())?;
    let mut parcel = None;
    if side == Side::Ping {
        parcel = Some(domain.parcels(Method::Coinciding).zeroed::<[u8]>(BYTES)?);
    }
    let mut before = Usage::now();
    for n in 0..HAND_OVERS / 2 + 100 {
        // The first rounds bring this process's own code and stack into memory.
        if n == 100 {
            before = Usage::now();
        }
        if let Some(parcel) = parcel.take() {
            if n == 0 {
                parcel.prefault()?;
            }
            ends.out.send(parcel).map_err(unsent)?;
        }
        let mut back = ends.back.recv()?;
        if n == 0 {
            back.prefault()?;
        }
        back[0] = back[0].wrapping_add(1);
        match side {
            Side::Ping => parcel = Some(back),
            Side::Pong => ends.out.send(back).map_err(unsent)?,
        }
    }
    let own = Usage::now().since(before).page_faults as f64;
    let theirs = from_pong(side, link, own)?;
    Ok(vec![fact(
        format!("page faults in {HAND_OVERS} hand-overs of 1 MiB, both processes"),
        own + theirs,
        "faults",
    )])
}

fn cpu_percent(before: (Usage, u64)) -> f64 {
    Usage::now().since(before.0).cpu_ns as f64 * 100.0 / (now_ns() - before.1) as f64
}

fn idle(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    let domain = meet(side, link, Method::Coinciding, Wait::default())?;
    let ends = Ends::<u64>::attach(side, &domain, |c| c.rendezvous())?;
    match side {
        Side::Ping => {
            ends.out.send(0).map_err(unsent)?;
            std::thread::sleep(IDLE);
            ends.out.send(1).map_err(unsent)?;
        }
        Side::Pong => drop(ends.back.recv()?),
    }
    let before = (Usage::now(), now_ns());
    if side == Side::Pong {
        ends.back.recv()?;
    }
    let percent = from_pong(side, link, cpu_percent(before))?;
    let what = format!("CPU of a receiver that waits {} s, default policy", IDLE.as_secs());
    Ok(vec![fact(what, percent, PERCENT)])
}

/// One process is enough for this.
fn parked(side: Side) -> Result<Vec<Fact>, Fault> {
    if side == Side::Pong {
        return Ok(Vec::new());
    }
    let (rows, seconds) = (super::parked::parked()?, super::parked::PARKED.as_secs());
    let on_core_ns: u64 = rows.iter().map(|(_, _, ns)| ns).sum();
    let switches = |(form, switches, _): &(&str, u64, u64)| {
        fact(
            format!("context switches of a parked receiver in {seconds} s: {form}"),
            *switches as f64,
            "switches",
        )
    };
    let mut facts: Vec<_> = rows.iter().map(switches).collect();
    facts.push(fact("time that all of these were on a core", on_core_ns as f64, "ns"));
    Ok(facts)
}

fn paced(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    let mut facts = Vec::new();
    // What is asked of the kernel in any case: a process that wakes up a thousand times a second …
    let before = (Usage::now(), now_ns());
    if side == Side::Ping {
        (0..PACED).for_each(|_| std::thread::sleep(PACE));
        facts.push(fact("CPU of sleeping a millisecond at a time", cpu_percent(before), PERCENT));
    }
    // … and wakes up another one.
    let words = share(side, link, 1)?;
    facts.extend(of_each_end(side, link, "a bare futex", |number| {
        let word = words.futex(0);
        match side {
            Side::Ping => {
                word.store(number as u32 + 1, Release);
                wake(word, Flags::empty(), 1)?;
            }
            Side::Pong => {
                while word.load(Acquire) == number as u32 {
                    match wait(word, Flags::empty(), number as u32, None) {
                        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    })?);
    let domain = meet(side, link, Method::Coinciding, Wait::default())?;
    let ends = Ends::<u64>::attach(side, &domain, |c| c.rendezvous())?;
    facts.extend(of_each_end(side, link, "default policy", |number| match side {
        Side::Ping => ends.out.send(number).map_err(unsent),
        Side::Pong => ends.back.recv().map(drop).map_err(Fault::from),
    })?);
    Ok(facts)
}

const PERCENT: &str = "percent of a core";

/// The CPU of both ends while `step` is done at the pace of [`PACE`]; the sender keeps the time.
fn of_each_end(
    side: Side,
    link: &Wire,
    how: &str,
    mut step: impl FnMut(u64) -> Result<(), Fault>,
) -> Result<Vec<Fact>, Fault> {
    let before = (Usage::now(), now_ns());
    for number in 0..PACED {
        if side == Side::Ping {
            std::thread::sleep(PACE);
        }
        step(number)?;
    }
    let own = cpu_percent(before);
    let theirs = from_pong(side, link, own)?;
    let what = |end| format!("CPU of the {end}, one message a millisecond, {how}");
    Ok(vec![fact(what("sender"), own, PERCENT), fact(what("receiver"), theirs, PERCENT)])
}

/// `limit.touch` is of one process. When another core reads what was written, the bytes cross over, whatever
/// the protocol: here there is none but a word that says whose turn it is.
fn touched_by_two(side: Side, link: &Wire) -> Result<Vec<Fact>, Fault> {
    const LINES: usize = (16 << 20) / LINE_BYTES;
    const BLOCKS: usize = 40;
    let buffers = rotation(16 << 20);
    let words = share(side, link, 1 + buffers * LINES)?;
    let buffer = |n: usize| words.words(1 + n % buffers * LINES..1 + (n % buffers + 1) * LINES);
    let write = |n: usize| buffer(n).iter().for_each(|word| word.store(n as u64, Relaxed));
    let read =
        |n: usize| black_box(buffer(n).iter().fold(0, |sum: u64, word| sum.wrapping_add(word.load(Relaxed))));
    // Message `n` is written by ping if it is even, by pong if it is odd, and read by the other.
    let turn = words.word(0);
    let pass_on = |n: usize| {
        write(n);
        turn.store(n as u64 + 1, Release);
    };
    let take = |n: usize| {
        while turn.load(Acquire) != n as u64 + 1 {
            spin_loop();
        }
        read(n)
    };
    if side == Side::Pong {
        for n in (0..4 * BLOCKS).step_by(2) {
            take(n);
            pass_on(n + 1);
        }
        return Ok(Vec::new());
    }
    let mut ratios = Vec::new();
    for block in 0..BLOCKS {
        let before = now_ns();
        for n in (4 * block..).step_by(2).take(2) {
            pass_on(n);
            take(n + 1);
        }
        let between = now_ns();
        for n in 4 * block..4 * block + 4 {
            write(n);
            read(n);
        }
        ratios.push((between - before) as f64 / (now_ns() - between) as f64);
    }
    let what = "16 MiB written by one process, read by another, to one process alone";
    Ok(vec![fact(what, super::stats::median(&ratios), "x")])
}
