//! Every way in which a process goes, and every one in which it seems to and does not: who waits for it gets `PeerDied` if it is
//! gone and nothing if it is not; whoever waits for others is not even woken.
//!
//! ```text
//!   the row                        the victim (victim.rs)           a bystander
//!   eight threads, each waiting    the other ends of all eight
//!   for the victim (partners.rs)
//!   two threads, waiting           --------------------------->     waits as well
//!     |                              |                                |
//!     |  1. what does not end it     (stopped, traced, its main thread gone, children that come and go)
//!     |     nobody gets anything; a deadline that passes meanwhile is kept; messages still come
//!     |  2. its end                  (a crash, an exit, exec, closed descriptors, SIGKILL ...)
//!     |     all eight get PeerDied; in every second round another process has taken its ends at once
//!     |  nobody else has slept and woken since 1: the kernel's own count of context switches
//! ```
//!
//! After the last case everything that the dead had is given back.

mod partners;
mod victim;

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use staffetta::{Domain, RecvError, Wait};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::process::{start, Process};
use super::Row;
use partners::{Outcome, PARTNERS};

pub use victim::{open, unshare, ROLES};

pub const ROW: Row = Row {
    name: "life",
    about: "every way to go (crash, exit, exec, closed descriptors, zombie, namespaces, ...) and to seem gone (stopped, traced, \
            forked, main thread ended)",
    tries: (250, 20_000),
    limits: "one victim at a time; partners park, one spins; of several senders or servers nobody succeeds the dead one",
    run,
};

/// A wait that is not over by then never is.
const NEVER: Duration = Duration::from_secs(5);
/// How an error begins that says what the machine does not permit.
const PERMITTED: &str = "not permitted";
/// How long nothing is to happen where nothing should.
const QUIET: Duration = Duration::from_millis(10);

/// How a victim is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    /// As a child of ours.
    Us,
    /// As a child of one that asked for nothing but that it dies with it.
    Parent,
    /// In a pid namespace of its own.
    PidNamespace,
    /// In a pid and a network namespace of its own: the domain is found by a directory.
    NetNamespace,
}

/// How it ends.
#[derive(Clone, Copy)]
enum End {
    /// It does that by itself, on this order.
    Order(&'static str),
    /// We kill it.
    Kill,
    /// We kill its parent.
    KillParent,
}

/// One way to go.
struct Case {
    name: &'static str,
    under: Under,
    /// What happens before and does not end it: an order, or one of the words of [`Stage::meanwhile`].
    meanwhile: &'static [&'static str],
    end: End,
}

const fn case(name: &'static str, end: End) -> Case {
    Case { name, under: Under::Us, meanwhile: &[], end }
}

const fn alive(name: &'static str, meanwhile: &'static [&'static str], end: End) -> Case {
    Case { name, under: Under::Us, meanwhile, end }
}

const fn under(name: &'static str, under: Under, end: End) -> Case {
    Case { name, under, meanwhile: &[], end }
}

const CASES: &[Case] = &[
    case("SIGKILL", End::Kill),
    case("SIGSEGV", End::Order("segv")),
    case("abort", End::Order("abort")),
    case("_exit", End::Order("_exit")),
    case("exit while another thread waits", End::Order("exit")),
    case("exec of another program", End::Order("exec")),
    case("exec with a forked child around", End::Order("fork and exec")),
    case("all descriptors closed", End::Order("close")),
    case("exit with a forked child that goes on", End::Order("fork and exit")),
    case("exit with a started program that goes on", End::Order("spawn and exit")),
    case("exit with a vfork under way", End::Order("vfork and exit")),
    case("exit with a raw clone that keeps all descriptors", End::Order("clone and exit")),
    alive("stopped", &["stop"], End::Kill),
    alive("stopped and continued", &["stop", "continue", "pulse"], End::Kill),
    alive("traced", &["trace"], End::Kill),
    alive("main thread ended", &["leader", "pulse"], End::Kill),
    alive("main thread ended, then the last one", &["leader", "pulse"], End::Order("last")),
    alive("other threads ended and panicked", &["threads", "pulse"], End::Order("_exit")),
    alive("children forked, gone, replaced", &["children", "pulse"], End::Kill),
    under("its parent's death", Under::Parent, End::KillParent),
    under("in another pid namespace: _exit", Under::PidNamespace, End::Order("_exit")),
    under("in another pid namespace: its init is killed", Under::PidNamespace, End::KillParent),
    under("in another pid namespace: exec", Under::PidNamespace, End::Order("exec")),
    under("in another network namespace: _exit", Under::NetNamespace, End::Order("_exit")),
    under("in another network namespace: exec", Under::NetNamespace, End::Order("exec")),
];

/// A victim, and the way to it.
struct Victim {
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its process number, as seen from here; 0 in another namespace.
    pid: i32,
    /// Its threads, if we trace it.
    traced: Vec<i32>,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.0.kill();
        victim::reap(self.pid, &self.traced);
    }
}

impl Victim {
    /// Starts one; an error if the machine does not permit it.
    fn start(under: Under, place: &[&str; 2]) -> Result<Victim, String> {
        let [name, directory] = *place;
        let mut process = match under {
            Under::Us => start("life-victim", &[name, directory]),
            Under::Parent => start("life-wrap", &[name, directory, "parent"]),
            Under::PidNamespace => start("life-wrap", &[name, directory, "pid"]),
            Under::NetNamespace => start("life-wrap", &[name, directory, "net"]),
        };
        let orders = process.0.stdin.take().expect("piped");
        let answers = BufReader::new(process.0.stdout.take().expect("piped"));
        let mut victim = Victim { process, orders, answers, pid: 0, traced: Vec::new() };
        match victim.answer().split_once(' ') {
            Some(("ready", pid)) => victim.pid = pid.parse().unwrap_or(0),
            Some(("skipped", why)) => return Err(format!("{PERMITTED}: {why}")),
            other => return Err(format!("it says {other:?}")),
        }
        Ok(victim)
    }

    fn order(&mut self, order: &str) {
        let _ = writeln!(self.orders, "{order}");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// What happens in one case.
struct Stage<'d> {
    domain: &'d Domain,
    victim: Victim,
    outcomes: Receiver<(usize, Outcome)>,
}

impl Stage<'_> {
    /// Something happens that does not end the victim. None: it cannot be done here.
    fn meanwhile(&mut self, what: &str, line: &mut Line) -> Option<()> {
        match what {
            "stop" => {
                self.victim.process.signal(Signal::STOP);
                let pid = rustix::process::Pid::from_child(&self.victim.process.0);
                let stopped =
                    rustix::process::WaitIdOptions::STOPPED | rustix::process::WaitIdOptions::NOWAIT;
                let _ = rustix::process::waitid(rustix::process::WaitId::Pid(pid), stopped);
            }
            "continue" => self.victim.process.signal(Signal::CONT),
            "trace" => self.victim.traced = victim::trace(self.victim.pid).ok()?,
            "pulse" => {
                let rx = self.domain.channel("life pulse").buffered(4).receiver::<u64>().expect("attach");
                self.victim.order("pulse");
                match rx.recv_timeout(NEVER) {
                    Ok(1) => {}
                    other => line.fault(Fault::Lost, format!("after that it is not heard: {other:?}")),
                }
            }
            order => {
                self.victim.order(order);
                let done = self.victim.answer();
                if done != "done" {
                    line.fault(Fault::Wrong, format!("{order}: {done:?}"));
                }
            }
        }
        // A deadline of ours holds, whatever it does.
        let start = Instant::now();
        let spare = self.domain.channel("life spare").rendezvous().wait(Wait::Park);
        let spare = spare.receiver::<u64>().expect("attach").recv_timeout(QUIET);
        if !matches!(spare, Err(RecvError::TimedOut)) || start.elapsed() > Duration::from_secs(1) {
            line.fault(
                Fault::Hung,
                format!("{what}: a deadline of {QUIET:?}: {spare:?} after {:?}", start.elapsed()),
            );
        }
        while let Ok((i, outcome)) = self.outcomes.try_recv() {
            line.fault(Fault::Wrong, format!("{what}: {} got {outcome:?} while it lives", PARTNERS[i].name));
        }
        Some(())
    }

    /// It ends, and all that wait for it are told so; also if another takes its ends at once, perhaps before they run.
    fn end(&mut self, case: &Case, succeeded: bool, line: &mut Line, times: &mut Vec<Duration>) {
        let start = Instant::now();
        match case.end {
            End::Order(order) => self.victim.order(order),
            // Not waited for: a zombie, until this is over.
            End::Kill | End::KillParent => self.victim.process.signal(Signal::KILL),
        }
        let _successor = succeeded.then(|| partners::Ends::succeed(self.domain));
        let mut missing: Vec<usize> = (0..PARTNERS.len()).collect();
        while let Ok((i, outcome)) = self.outcomes.recv() {
            missing.retain(|other| *other != i);
            match outcome {
                Outcome::Died => times.push(start.elapsed()),
                Outcome::TimedOut => line.fault(Fault::Hung, format!("{}: {}", case.name, PARTNERS[i].name)),
                Outcome::Other(what) => {
                    line.fault(Fault::Wrong, format!("{}: {} got {what}", case.name, PARTNERS[i].name));
                }
            }
        }
        for i in missing {
            line.fault(Fault::Wrong, format!("{}: {} told nothing", case.name, PARTNERS[i].name));
        }
    }
}

/// Two threads of ours that wait for a bystander, and one of its that waits for us: how often have they been switched to?
struct Uninvolved {
    _process: Process,
    threads: Vec<String>,
}

impl Uninvolved {
    fn start(domain: &Domain, place: &[&str; 2]) -> Uninvolved {
        let mut process = start("life-bystander", place);
        let mut answers = BufReader::new(process.0.stdout.take().expect("piped"));
        let (tell, told) = channel();
        for select in [false, true] {
            let (domain, tell) = (domain.clone(), tell.clone());
            std::thread::spawn(move || {
                let name = if select { "bystander 1" } else { "bystander 0" };
                let rx = domain.channel(name).buffered(2).wait(Wait::Park).receiver::<u64>().expect("attach");
                let _ = tell
                    .send(format!("/proc/self/task/{}/status", rustix::thread::gettid().as_raw_nonzero()));
                if select {
                    let mut select = staffetta::Select::new();
                    select.set_wait(Wait::Park);
                    let _ = select.recv(&rx);
                    let _ = select.ready();
                } else {
                    let _ = rx.recv();
                }
            });
        }
        let _to = domain.channel("bystander 2").buffered(2).sender::<u64>().expect("attach");
        std::mem::forget(_to);
        let mut line = String::new();
        let _ = answers.read_line(&mut line);
        let mut threads: Vec<String> = (0..2).map(|_| told.recv().expect("told")).collect();
        threads.push(line.trim_end().to_owned());
        std::mem::forget(answers);
        std::thread::sleep(Duration::from_millis(20));
        Uninvolved { _process: process, threads }
    }

    fn switches(&self) -> u64 {
        let of = |path: &String| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(u64::MAX / 8)
        };
        self.threads.iter().map(of).sum()
    }
}

/// Bytes and entries in use.
fn in_use(domain: &Domain) -> (u64, usize, usize) {
    let _ = domain.trim();
    let view = staffetta::inspect::Observer::of(domain.name().expect("named")).and_then(|it| it.look());
    view.map_or((0, 0, 0), |view| {
        (view.memory_bytes - view.retained_bytes, view.entries_in_use, view.processes.len())
    })
}

/// A private directory, for a domain that is found in it.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Directory {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("torture-life-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(plan: &Plan) -> Vec<Line> {
    let mut random = plan.random(0x11fe);
    let mut line = Line::new("life: ways to go and to stay");
    let directory = Directory::new();
    let path = directory.0.to_str().expect("a path").to_owned();
    let (name, there) =
        (format!("torture-life-{}", std::process::id()), format!("there-{}", std::process::id()));
    let places = [[name.as_str(), ""], [there.as_str(), path.as_str()]];
    let domains = places.map(|place| victim::open(place[0], place[1]));
    let uninvolved = Uninvolved::start(&domains[0], &places[0]);
    let mut before = [(0, 0, 0); 2];
    let (mut times, mut woken, mut skipped) = (Vec::new(), 0, Vec::<String>::new());
    let mut seen = 0;
    // Channels that have a name stay, with their buffers: one round of each is not counted.
    for (domain, place) in domains.iter().zip(&places) {
        drop(domain.channel("life own").buffered(1).receiver::<u64>());
        let (outcomes, attached) = partners::start(domain);
        let victim = Victim::start(Under::Us, place).expect("a victim");
        attached.await_all();
        let mut stage = Stage { domain, victim, outcomes };
        let _ = stage.meanwhile("pulse", &mut Line::new("not counted"));
        stage.end(&CASES[0], false, &mut Line::new("not counted"), &mut Vec::new());
    }
    for (domain, before) in domains.iter().zip(&mut before) {
        partners::send_home(domain);
        let settled = || in_use(domain);
        let mut last = (0, 0, 0);
        while std::mem::replace(&mut last, settled()) != last {
            std::thread::sleep(Duration::from_millis(20));
        }
        *before = last;
    }
    for n in 0..plan.tries {
        // Each in turn, in another order each time.
        if (n as usize).is_multiple_of(CASES.len()) {
            seen = random.below(CASES.len() as u64) as usize;
        }
        let case = &CASES[(seen + n as usize) % CASES.len()];
        let there = usize::from(case.under == Under::NetNamespace);
        let (domain, place) = (&domains[there], &places[there]);
        let (outcomes, attached) = partners::start(domain);
        let victim = match Victim::start(case.under, place) {
            Ok(victim) => victim,
            Err(why) if !why.starts_with(PERMITTED) => {
                line.fault(Fault::Wrong, format!("{}: no victim can be started: {why}", case.name));
                break;
            }
            Err(why) => {
                partners::send_home(domain);
                drop(outcomes);
                if !skipped.iter().any(|known| known.starts_with(case.name)) {
                    skipped.push(format!("{} skipped: {why}", case.name));
                }
                continue;
            }
        };
        let mut stage = Stage { domain, victim, outcomes };
        attached.await_all();
        std::thread::sleep(QUIET);
        let switches = uninvolved.switches();
        for what in case.meanwhile {
            if stage.meanwhile(what, &mut line).is_none()
                && !skipped.iter().any(|known| known.starts_with(what))
            {
                skipped.push(format!("{what} skipped: not permitted"));
            }
        }
        let succeeded = (n as usize / CASES.len()) % 2 == 1;
        stage.end(case, succeeded, &mut line, &mut times);
        woken += uninvolved.switches() - switches;
        line.tried += 1;
        if plan.tries < 5 {
            println!("{}", case.name);
        }
    }
    // Others may still sweep what the last one left.
    let mut after = domains.each_ref().map(in_use);
    for _ in 0..300 {
        if after == before {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        after = domains.each_ref().map(in_use);
    }
    if after != before {
        line.fault(Fault::Leaked, format!("(bytes, entries, processes) were {before:?} and are {after:?}"));
    }
    if woken > 0 {
        line.fault(Fault::Wrong, format!("threads that wait for others were woken {woken} times"));
    }
    times.sort();
    if let (Some(median), Some(late)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        line.figures.push(format!("{} PeerDied, p50 {median:.1?}, p99 {late:.1?}", times.len()));
    }
    line.figures.push(format!("wake-ups of uninvolved waiters {woken}"));
    line.figures.extend(skipped);
    vec![line]
}
