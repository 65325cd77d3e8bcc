//! Whether parked receivers are ever scheduled: the kernel's own count, while each waits for what does not come.
//!
//! One thread for each form, all at once; the partners hold their ends and do nothing. A thread that sleeps in the
//! kernel without a deadline switches no context and gets no CPU time: what is counted is the difference over `PARKED`.

use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use staffetta::{Domain, RecvError, Select, Wait};

use crate::failure::Fault;

/// How long they are watched.
pub const PARKED: Duration = Duration::from_secs(10);
/// Until all of them sleep.
const SETTLED: Duration = Duration::from_secs(1);

/// What the kernel has counted of a thread: context switches, and nanoseconds on a core.
fn counted(thread: u32) -> Result<(u64, u64), Fault> {
    let task = format!("/proc/self/task/{thread}");
    let status = std::fs::read_to_string(format!("{task}/status"))?;
    let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
    let switches = switches.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    let schedstat = std::fs::read_to_string(format!("{task}/schedstat"))?;
    let on_core_ns = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    Ok((switches, on_core_ns))
}

/// A thread that waits in `wait`, and its number.
fn sleeper(wait: impl FnOnce() + Send + 'static) -> Result<(JoinHandle<()>, u32), Fault> {
    let (tells, told) = mpsc::channel();
    let thread = Builder::new().spawn(move || {
        let _ = tells.send(rustix::thread::gettid().as_raw_nonzero().get());
        wait();
    })?;
    let number = told.recv().map_err(|_| Fault::from("a thread ended before it began"))?;
    Ok((thread, number.unsigned_abs()))
}

/// (form, context switches, nanoseconds on a core) of a receiver that is parked for `PARKED`.
pub fn parked() -> Result<Vec<(&'static str, u64, u64)>, Fault> {
    let domain = Domain::options().create()?;
    let channel = |name| domain.channel(name).wait(Wait::Park);
    let mut sleepers = Vec::new();
    let over = |waited: Result<u64, RecvError>| debug_assert!(waited.is_err(), "nothing is sent");

    let (rendezvous, rx) = channel("").rendezvous().unnamed::<u64>()?;
    sleepers.push(("rendezvous", sleeper(move || over(rx.recv()))?));
    let (buffered, rx) = channel("").buffered(1).unnamed::<u64>()?;
    sleepers.push(("buffered", sleeper(move || over(rx.recv()))?));
    let (queue, rx) = channel("").bounded(1).unnamed::<u64>()?;
    sleepers.push(("bounded", sleeper(move || over(rx.recv()))?));
    let broadcast = channel("broadcast").broadcast(1).sender::<u64>()?;
    let rx = channel("broadcast").listen().receiver::<u64>()?;
    sleepers.push(("broadcast", sleeper(move || over(rx.recv()))?));
    let client = channel("service").service(1).client::<u64, u64>()?;
    let server = channel("service").server::<u64, u64>()?;
    sleepers.push(("service", sleeper(move || drop(server.recv()))?));
    let (one, first) = channel("").buffered(1).unnamed::<u64>()?;
    let (other, second) = channel("").bounded(1).unnamed::<u64>()?;
    sleepers.push((
        "select",
        sleeper(move || {
            let mut select = Select::new();
            if select.recv(&first).and_then(|_| select.recv(&second)).is_ok() {
                let _ = select.ready();
            }
        })?,
    ));
    let (within, rx) = staffetta::bounded::<u64>(1);
    sleepers.push(("within the process", sleeper(move || drop(rx.recv()))?));

    std::thread::sleep(SETTLED);
    let look = || sleepers.iter().map(|(_, (_, thread))| counted(*thread)).collect::<Result<Vec<_>, _>>();
    let before = look()?;
    std::thread::sleep(PARKED);
    let after = look()?;
    let counts =
        before.into_iter().zip(after).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
    let rows = sleepers.iter().zip(counts).map(|((form, _), (switches, ns))| (*form, switches, ns)).collect();
    // Whoever waits is told that nobody is left.
    drop((rendezvous, buffered, queue, broadcast, client, one, other, within));
    for (_, (thread, _)) in sleepers {
        let _ = thread.join();
    }
    Ok(rows)
}
