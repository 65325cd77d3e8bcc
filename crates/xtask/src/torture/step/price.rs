//! Row `price`: what a message of 8 bytes costs on the hot path, counted: instructions, those that lock, and lines of the
//! domain that it changes; beside what the same program counted before there was recovery of more than ends and blocks.

use std::time::Duration;

use staffetta::{Domain, Wait};

use super::super::line::{Fault, Line};
use super::super::plan::Plan;
use super::super::Row;
use super::memory::Shadow;
use super::tracer::{mark, Stop, Traced};
use super::world::{fork, run_to_mark};

pub const PRICE: Row = Row {
    name: "price",
    about: "counts instructions, locked ones, and lines changed, of sends and receives of 8 bytes on the hot path",
    tries: (CASES.len() as u64, CASES.len() as u64),
    limits: "counts, not times; lines that are only read are not seen; of a rendezvous the partner changes some of the lines",
    run: price,
};

/// So many more locked instructions than before may recovery cost.
const LOCKED_MORE: u64 = 1;
/// No operation of the hot path is longer.
const STEPS_MAX: u64 = 10_000;
/// Calls before the one that is counted.
const WARM: u64 = 100;

/// What was counted before: instructions, locked ones, and lines, if only this side changes any.
struct Before(u64, u64, Option<usize>);

type Case = (&'static str, Before, fn(&Domain));

const CASES: [Case; 4] = [
    ("rendezvous send", Before(85, 1, None), |domain| {
        let (tx, rx) = domain.channel("").rendezvous().wait(Wait::Spin).unnamed::<u64>().expect("a channel");
        let partner = std::thread::spawn(move || (0..=WARM).for_each(|_| assert!(rx.recv().is_ok())));
        counted(|n| tx.send(n).expect("send"));
        partner.join().expect("the partner");
    }),
    ("rendezvous recv", Before(331, 3, None), |domain| {
        let (tx, rx) = domain.channel("").rendezvous().wait(Wait::Spin).unnamed::<u64>().expect("a channel");
        let partner = std::thread::spawn(move || (0..=WARM).for_each(|n| tx.send(n).expect("send")));
        counted(|_| assert!(rx.recv().is_ok()));
        partner.join().expect("the partner");
    }),
    ("buffered send", Before(105, 1, Some(3)), |domain| {
        let (tx, rx) = domain.channel("").buffered(WARM + 1).unnamed::<u64>().expect("a channel");
        counted(|n| tx.send(n).expect("send"));
        drop(rx);
    }),
    ("buffered recv", Before(118, 1, Some(3)), |domain| {
        let (tx, rx) = domain.channel("").buffered(WARM + 1).unnamed::<u64>().expect("a channel");
        (0..=WARM).for_each(|n| tx.send(n).expect("send"));
        counted(|_| assert!(rx.recv().is_ok()));
    }),
];

/// Calls `WARM` times, and once between two marks, when the partner is there.
fn counted(mut call: impl FnMut(u64)) {
    (0..WARM).for_each(&mut call);
    std::thread::sleep(Duration::from_millis(50));
    mark(0);
    call(WARM);
    mark(1);
}

fn price(_: &Plan) -> Vec<Line> {
    let mut line = Line::new("price of the hot path");
    for (name, Before(steps_before, locked_before, lines_before), play) in CASES {
        line.tried += 1;
        match count(play) {
            Ok((steps, locked, lines)) => {
                let counts = format!(
                    "{name}: {steps} instructions ({steps_before} before), {locked} locked ({locked_before}), {lines} lines"
                );
                if locked > locked_before + LOCKED_MORE || lines_before.is_some_and(|before| lines > before) {
                    line.fault(Fault::Wrong, format!("{counts}: that is more than recovery may cost"));
                }
                line.figures.push(counts);
            }
            Err(why) => line.fault(Fault::Wrong, format!("{name}: {why}")),
        }
    }
    vec![line]
}

/// Instructions, locked ones, and lines changed between the marks.
fn count(play: fn(&Domain)) -> Result<(u64, u64, usize), String> {
    let mut traced = fork(|| {
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(64 << 20);
        play(&options.create().expect("a domain"));
        0
    });
    let counted = between_marks(&mut traced);
    traced.kill();
    counted
}

fn between_marks(traced: &mut Traced) -> Result<(u64, u64, usize), String> {
    match run_to_mark(traced) {
        Stop::Here => {}
        other => return Err(format!("it came to no mark: {other:?}")),
    }
    let pid = traced.pid.unsigned_abs();
    let fd = memory_file(pid).ok_or("it has no memory file")?;
    let mut shadow = Shadow::of(pid, fd).map_err(|why| format!("its memory cannot be read: {why}"))?;
    shadow.refresh();
    let (mut steps, mut locked) = (0, 0);
    loop {
        let at = traced.registers().rip;
        if Traced::is_at_mark(at) {
            return Ok((steps, locked, shadow.changed_lines()));
        }
        if steps == STEPS_MAX {
            return Err(format!("more than {STEPS_MAX} instructions: it waits"));
        }
        locked += u64::from(Traced::is_at_locked(at));
        steps += 1;
        match traced.step(Traced::is_at_syscall(at), Duration::from_secs(1)) {
            Stop::Here => {}
            other => return Err(format!("instruction {steps} at {at:#x}: {other:?}")),
        }
    }
}

/// The first memory file that a process has open.
fn memory_file(pid: u32) -> Option<i32> {
    std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().find_map(|entry| {
        let is_memory = std::fs::read_link(entry.path()).ok()?.to_string_lossy().starts_with("/memfd:");
        is_memory.then(|| entry.file_name().to_string_lossy().parse().ok())?
    })
}
