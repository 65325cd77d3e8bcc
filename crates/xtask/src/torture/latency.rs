//! How long after SIGKILL a partner is told `PeerDied`: while it sleeps and while it spins, by how much memory the victim had.
//!
//! The kernel frees a process's memory before it says that it is dead, so the time until its parent is told is printed beside.

#![allow(unsafe_code)] // What may lie in shared memory.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{clock_gettime, ClockId};
use staffetta::{Domain, RecvError, Wait};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::process::start;
use super::shared::{Atomics, Shared};
use super::wait;
use super::zygote::fork;
use super::{Role, Row};

pub const ROW: Row = Row {
    name: "latency",
    about: "from SIGKILL to PeerDied, for a partner that sleeps and one that spins, victims with 1 MiB, 64 MiB, 1 GiB resident",
    tries: (500, 20_000),
    limits: "printed, never judged: how long the kernel takes depends on the machine and on what else runs",
    run,
};

pub const DRIVER: Role = ("latency-driver", play);

/// Resident MiB of a victim, and how many per 100 tries have as much.
const SIZES: [(u64, u64); 3] = [(1, 70), (64, 28), (1024, 2)];
/// The targets, up to 64 MiB.
const TARGET: &str = "target 0.5 ms / 5 ms";

#[repr(C, align(4096))]
struct Times {
    /// The victim has sent, and has its memory.
    ready: AtomicU64,
    /// The partner begins to wait.
    waits: AtomicU64,
    /// When it was told, in ns.
    told: AtomicU64,
    /// It was told something else.
    wrong: AtomicU64,
}

// SAFETY: atomic integers only.
unsafe impl Atomics for Times {}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn run(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    for (mib, share) in SIZES {
        let mut line = Line::new(format!("PeerDied after kills, {mib} MiB resident"));
        let tries = (plan.tries * share / 100 / 2).max(1);
        if mib > 64 && free_mib() < 2 * mib {
            line.skipped = Some(format!("less than {} MiB of memory are free", 2 * mib));
            lines.push(line);
            continue;
        }
        for wait in [Wait::Park, Wait::Spin] {
            let name = format!("torture-latency-{}-{mib}-{wait}", std::process::id());
            let mut driver =
                start(DRIVER.0, &[&name, &wait.to_string(), &mib.to_string(), &tries.to_string()]);
            let mut text = String::new();
            if let Some(out) = driver.0.stdout.as_mut() {
                let _ = std::io::Read::read_to_string(out, &mut text);
            }
            let mut times: [Vec<u64>; 2] = Default::default();
            for sample in text.lines() {
                let mut numbers = sample.split(' ').filter_map(|number| number.parse().ok());
                times.iter_mut().zip(&mut numbers).for_each(|(times, ns)| times.push(ns));
            }
            line.tried += times[0].len() as u64;
            if (times[0].len() as u64) < tries {
                let what = format!("{wait}: {} of {tries} partners were told", times[0].len());
                line.fault(Fault::Hung, what);
            }
            let [told, kernel] = times.map(|mut times| in_ms(&mut times));
            let target = if mib <= 64 { TARGET } else { "no target" };
            line.figures.push(format!("{wait}: p50 / p99 {told} ({target}; its parent: {kernel})"));
        }
        lines.push(line);
    }
    lines
}

fn free_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn in_ms(times: &mut [u64]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0) as f64 / 1e6
    };
    format!("{:.2} ms / {:.2} ms", at(50), at(99))
}

/// One line for each kill: ns until the partner was told, and until the parent was.
fn play(arguments: &[String]) {
    let [name, wait, mib, tries] = arguments else {
        return;
    };
    let wait = Wait::ALL.into_iter().find(|known| known.to_string() == *wait).unwrap_or_default();
    let (mib, tries): (usize, u64) = (mib.parse().unwrap_or(1), tries.parse().unwrap_or(1));
    let times = Shared::<Times>::new();
    let _ = staffetta::park_ns();
    let options = || Domain::options().window_bytes(16 << 30);
    let _partner = fork(|| {
        let domain = options().open(name).expect("open");
        let rx = domain.channel("it").wait(wait).receiver::<u64>().expect("attach");
        loop {
            match rx.recv() {
                Ok(_) => times.waits.store(1, SeqCst),
                Err(RecvError::PeerDied) => times.told.store(now_ns(), SeqCst),
                Err(_) => times.wrong.store(1, SeqCst),
            }
        }
    });
    for _ in 0..tries {
        [&times.ready, &times.waits, &times.told].iter().for_each(|word| word.store(0, SeqCst));
        let mut victim = fork(|| {
            let memory = vec![1_u8; mib << 20];
            let domain = options().open(name).expect("open");
            let tx = domain.channel("it").wait(wait).sender::<u64>().expect("attach");
            tx.send(1).expect("send");
            times.ready.store(u64::from(memory[memory.len() / 2]), SeqCst);
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        if !is_so(|| times.ready.load(SeqCst) == 1 && times.waits.load(SeqCst) == 1) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2)); // It waits, and has fallen asleep if it does.
        let killed = now_ns();
        victim.signal(Signal::KILL);
        victim.kill();
        let reaped = now_ns();
        if !is_so(|| times.told.load(SeqCst) > 0) {
            return;
        }
        println!("{} {}", times.told.load(SeqCst).saturating_sub(killed), reaped - killed);
    }
}

fn is_so(so: impl Fn() -> bool) -> bool {
    wait::until(Duration::from_micros(50), so).is_ok()
}
