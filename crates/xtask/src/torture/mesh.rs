//! A mesh of 64 processes, one of which is killed every 100 ms and started again: every message accounted for, and what the
//! others pay for it.
//!
//! Two processes are a pair, with a channel of their own. Half of the pairs are never touched; their CPU time per message is
//! measured in turns, with kills elsewhere in the domain and without. A process that is started again goes on with the numbers
//! of the one before it, after the one that may or may not have been sent; so its receiver sees growing numbers, and the counts
//! say what is missing.

#![allow(unsafe_code)] // What may lie in shared memory; another process's clock.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use staffetta::{ChannelBuilder, Domain, Parcel, RecvError, SendFailure, Wait};

use super::account::{Books, Quiet};
use super::kills::report::Report;
use super::line::{Fault, Line};
use super::plan::Plan;
use super::process::start;
use super::random::Random;
use super::shared::{Atomics, Shared};
use super::wait;
use super::zygote::{fork, Forked};
use super::{Role, Row};

pub const ROW: Row = Row {
    name: "mesh",
    about: "64 processes in one domain, one killed every 100 ms and started again; CPU per message of the pairs that are not touched",
    tries: (50, 3_000),
    limits: "pairs that send in bursts and sleep between; random moments",
    run,
};

pub const DRIVER: Role = ("mesh-driver", play);

const PROCESSES: usize = 64;
/// Processes below this are never killed.
const UNTOUCHED: usize = PROCESSES / 2;
const BETWEEN_KILLS: Duration = Duration::from_millis(100);
/// Letters between two sleeps, and the sleep.
const BURST: u64 = 20;
const REST: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_millis(200);

/// What a process notes; its successors go on with it.
#[repr(C, align(64))]
struct Seat {
    /// 1: it has its end. 2: it has closed it.
    phase: AtomicU64,
    /// Numbers below may have been sent.
    begun: AtomicU64,
    /// Numbers below were sent.
    done: AtomicU64,
    /// It is receiving.
    taking: AtomicU64,
    /// Letters that came.
    came: AtomicU64,
    /// The next number is at least this.
    next: AtomicU64,
    /// Letters out of order, or torn.
    wrong: AtomicU64,
}

#[repr(C, align(4096))]
struct Mesh {
    seats: [Seat; PROCESSES],
    /// 1: senders stop. 2: all leave.
    stop: AtomicU64,
}

// SAFETY: atomic integers only.
unsafe impl Atomics for Mesh {}

fn run(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("kills in a mesh of 64 processes");
    // Kills between two measurements without.
    let block = if plan.soak { 50 } else { 10 };
    let numbers = [plan.seed, plan.tries, block].map(|number| number.to_string());
    let mut driver = start(DRIVER.0, &numbers.each_ref().map(String::as_str));
    let mut text = String::new();
    if let Some(out) = driver.0.stdout.as_mut() {
        let _ = std::io::Read::read_to_string(out, &mut text);
    }
    let mut report = Report::default();
    report.add(&text);
    line.tried = report.strikes;
    if report.strikes < plan.tries {
        line.fault(Fault::Hung, format!("{} of {} kills were made", report.strikes, plan.tries));
    }
    line.figures.push(format!("{} messages, each accounted for", report.messages));
    line.figures.push(format!("{} may have died in a receiver's hands", report.in_hand));
    line.figures.extend(text.lines().filter_map(|line| line.strip_prefix("figure ")).map(str::to_owned));
    report.finish(&mut line);
    vec![line]
}

fn play(arguments: &[String]) {
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let mesh = Shared::<Mesh>::new();
    let name = format!("torture-mesh-{}", std::process::id());
    let _ = staffetta::park_ns();
    let mut report = Report::default();
    let mut play = Play {
        mesh,
        all: (0..PROCESSES).map(|seat| begin(mesh, &name, seat)).collect(),
        random: Random::new(number(0)),
        killed_in_hand: [0; PROCESSES],
        may: [0; PROCESSES],
        name,
    };
    match play.through(number(1), number(2).max(1), &mut report) {
        Ok(costs) => {
            println!("figure CPU of the {} untouched pairs {costs}", UNTOUCHED / 2);
            if let Err((fault, what)) = play.close(&mut report) {
                report.fault(fault, what);
            }
        }
        Err((fault, what)) => report.fault(fault, what),
    }
    print!("{}", report.text());
}

/// What a run knows.
struct Play {
    mesh: Shared<Mesh>,
    all: Vec<Forked>,
    random: Random,
    name: String,
    /// Of each receiver: killed while it received.
    killed_in_hand: [u64; PROCESSES],
    /// Of each sender: letters that may or may not have been sent.
    may: [u64; PROCESSES],
}

/// CPU time and messages of the untouched pairs.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_ns: u64,
    messages: u64,
}

impl Cost {
    fn per_message_ns(self) -> f64 {
        self.cpu_ns as f64 / self.messages.max(1) as f64
    }
}

type Found = (Fault, String);

impl Play {
    /// Kills so many, in blocks, with a block without kills after each. Gives the costs, in words.
    fn through(&mut self, kills: u64, block: u64, report: &mut Report) -> Result<String, Found> {
        self.until("all attach", report, |mesh| mesh.seats.iter().all(|seat| seat.phase.load(SeqCst) >= 1))?;
        std::thread::sleep(Duration::from_millis(300));
        let [mut with, mut without] = [Cost::default(); 2];
        while report.strikes < kills {
            let before = self.cost();
            for _ in 0..block.min(kills - report.strikes) {
                let next = Instant::now() + BETWEEN_KILLS;
                self.kill_one(report)?;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            self.add(&mut with, before, report)?;
            let before = self.cost();
            std::thread::sleep(Duration::from_secs(1));
            self.add(&mut without, before, report)?;
        }
        let (with, without) = (with.per_message_ns(), without.per_message_ns());
        Ok(format!(
            "{with:.0} ns a message with kills elsewhere, {without:.0} ns without ({:.2})",
            with / without
        ))
    }

    fn kill_one(&mut self, report: &mut Report) -> Result<(), Found> {
        let seat = UNTOUCHED + self.random.below((PROCESSES - UNTOUCHED) as u64) as usize;
        let status = self.all[seat].kill();
        if status.is_some_and(|status| status.exit_status().is_some()) {
            return Err((Fault::Wrong, format!("process {seat} ended by itself: {status:?}")));
        }
        report.strikes += 1;
        let notes = &self.mesh.seats[seat];
        self.killed_in_hand[seat] += notes.taking.swap(0, SeqCst);
        let (begun, done) = (notes.begun.load(SeqCst), notes.done.load(SeqCst));
        self.may[seat] += begun - done;
        notes.done.store(begun, SeqCst);
        notes.phase.store(0, SeqCst);
        self.all[seat] = begin(self.mesh, &self.name, seat);
        self.until("a process comes again", report, |mesh| mesh.seats[seat].phase.load(SeqCst) >= 1)
    }

    /// What the untouched pairs have used, and received, so far.
    fn cost(&self) -> Cost {
        let cpu_ns = self.all[..UNTOUCHED].iter().filter_map(Forked::pid).map(cpu_ns).sum();
        Cost { cpu_ns, messages: self.came().iter().sum() }
    }

    /// Of the untouched pairs.
    fn came(&self) -> [u64; UNTOUCHED / 2] {
        std::array::from_fn(|pair| self.mesh.seats[2 * pair + 1].came.load(SeqCst))
    }

    fn add(&self, sum: &mut Cost, before: Cost, report: &mut Report) -> Result<(), Found> {
        let now = self.cost();
        sum.cpu_ns += now.cpu_ns - before.cpu_ns;
        sum.messages += now.messages - before.messages;
        let came = self.came();
        let go_on = |_: &Mesh| self.came().iter().zip(came).all(|(now, then)| *now > then);
        self.until("the untouched pairs go on", report, go_on)
    }

    fn until(&self, what: &str, report: &mut Report, so: impl Fn(&Mesh) -> bool) -> Result<(), Found> {
        let waited = wait::until(Duration::from_micros(100), || so(&self.mesh));
        report.waited(what, waited.map_err(|seen| (Fault::Hung, format!("{what}: not so; {seen}")))?);
        Ok(())
    }

    /// Everybody closes; then what came is compared with what was sent, and what is in use is nobody's.
    fn close(&mut self, report: &mut Report) -> Result<(), Found> {
        self.mesh.stop.store(1, SeqCst);
        let closed = |mesh: &Mesh| mesh.seats.iter().all(|seat| seat.phase.load(SeqCst) == 2);
        self.until("the senders close", report, |mesh| {
            mesh.seats.iter().step_by(2).all(|seat| seat.phase.load(SeqCst) == 2)
        })?;
        self.until("all close", report, closed)?;
        for pair in 0..PROCESSES / 2 {
            let (from, to) = (&self.mesh.seats[2 * pair], &self.mesh.seats[2 * pair + 1]);
            let (done, came) = (from.done.load(SeqCst), to.came.load(SeqCst));
            let (may, in_hand) = (self.may[2 * pair], self.killed_in_hand[2 * pair + 1]);
            report.messages += came;
            report.in_hand += in_hand.min(done.saturating_sub(came));
            if came > done || came + may + in_hand < done {
                let what = format!(
                    "pair {pair}: {came} of {done} came, {may} may not have been sent, {in_hand} in hand"
                );
                report.fault(if came > done { Fault::Duplicated } else { Fault::Lost }, what);
            }
            if to.wrong.load(SeqCst) > 0 {
                report.fault(
                    Fault::Duplicated,
                    format!("pair {pair}: letters came twice, out of order, or torn"),
                );
            }
        }
        match Books::of(&self.name) {
            Ok(books) => {
                let (processes, channels) = (PROCESSES as u64, PROCESSES as u64 / 2);
                let quiet = Quiet { processes, channels, pcbs: processes };
                match books.settle(&quiet, &mut HashSet::new()) {
                    Ok(waited) => report.waited("what is in use is given back", waited),
                    Err(found) => found.into_iter().for_each(|what| report.fault(Fault::Leaked, what)),
                }
            }
            Err(why) => report.fault(Fault::Wrong, why.to_string()),
        }
        self.mesh.stop.store(2, SeqCst);
        for (seat, process) in self.all.iter_mut().enumerate() {
            match process.finish() {
                Ok((status, waited)) if status.exit_status() == Some(0) => {
                    report.waited("a process leaves", waited)
                }
                other => report.fault(Fault::Hung, format!("process {seat} does not leave: {other:?}")),
            }
        }
        Ok(())
    }
}

/// CPU time that a process has used.
fn cpu_ns(pid: u32) -> u64 {
    let mut clock = 0;
    // SAFETY: writes one clock id.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        return 0;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return 0;
    }
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn begin(mesh: Shared<Mesh>, name: &str, seat: usize) -> Forked {
    fork(|| {
        let domain =
            Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 30).open(name).expect("open");
        if seat.is_multiple_of(2) {
            send(&mesh, &domain, seat);
        } else {
            receive(&mesh, &domain, seat);
        }
        let _ = domain.trim();
        mesh.seats[seat].phase.store(2, SeqCst);
        while mesh.stop.load(SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

/// The channel of a pair: each form of one sender and one receiver.
fn channel<'d>(domain: &'d Domain, name: &'d str, pair: usize) -> ChannelBuilder<'d> {
    let channel = domain.channel(name).wait(Wait::Park);
    match pair % 4 {
        0 => channel.rendezvous(),
        1 => channel.basic(8),
        2 => channel.buffered(8),
        _ => channel.bounded(8),
    }
}

fn send(mesh: &Mesh, domain: &Domain, seat: usize) {
    let (notes, pair) = (&mesh.seats[seat], seat / 2);
    let name = format!("pair-{pair}");
    let tx = channel(domain, &name, pair).sender::<Parcel<[u64; 4]>>().expect("attach");
    notes.phase.store(1, SeqCst);
    for number in notes.done.load(SeqCst).. {
        notes.begun.store(number + 1, SeqCst);
        loop {
            let letter = Parcel::new(domain, [number, !number, seat as u64, 0]).expect("a parcel");
            match tx.send_timeout(letter, PATIENCE) {
                Ok(()) => break,
                Err(failed) if mesh.stop.load(SeqCst) > 0 => {
                    drop(failed);
                    notes.begun.store(number, SeqCst);
                    return;
                }
                Err(failed) => match failed.why {
                    SendFailure::PeerDied | SendFailure::Disconnected | SendFailure::TimedOut => {}
                    why => panic!("{why}"),
                },
            }
        }
        notes.done.store(number + 1, SeqCst);
        if mesh.stop.load(SeqCst) > 0 {
            return;
        }
        if number % BURST == 0 {
            std::thread::sleep(REST);
        }
    }
}

fn receive(mesh: &Mesh, domain: &Domain, seat: usize) {
    let (notes, from, pair) = (&mesh.seats[seat], &mesh.seats[seat - 1], seat / 2);
    let name = format!("pair-{pair}");
    let rx = channel(domain, &name, pair).receiver::<Parcel<[u64; 4]>>().expect("attach");
    notes.phase.store(1, SeqCst);
    loop {
        let last = from.phase.load(SeqCst) == 2;
        notes.taking.store(1, SeqCst);
        let came = if last { rx.try_recv() } else { rx.recv_timeout(PATIENCE) };
        if let Ok(letter) = &came {
            let [number, check, who, _] = **letter;
            let is_whole = check == !number && who + 1 == seat as u64;
            if !is_whole || number < notes.next.load(SeqCst) {
                notes.wrong.fetch_add(1, SeqCst);
            }
            notes.next.store(number + 1, SeqCst);
            notes.came.fetch_add(1, SeqCst);
        }
        notes.taking.store(0, SeqCst);
        match came {
            Ok(_) | Err(RecvError::TimedOut) => {}
            // It says once that the sender is gone, before or after what that one had sent.
            Err(RecvError::PeerDied | RecvError::Disconnected) => {}
            Err(RecvError::WouldBlock | RecvError::NoPeer) if last => return,
            Err(why) => panic!("{why}"),
        }
    }
}
