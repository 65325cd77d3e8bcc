//! Everybody in a named domain is killed at once, in the middle of traffic: nothing is left, and the name can be used at once.

#![allow(unsafe_code)] // What may lie in shared memory.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use staffetta::{Domain, DomainOptions, Method, Parcel};

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
    name: "all-killed",
    about: "kill -9 of every member of a domain at once, during traffic: no file, process, socket or name is left",
    tries: (100, 10_000),
    limits: "files are looked for in /dev/shm, /run/user and the temporary folder; every fourth round has its name in a directory, where a socket stays until the next use",
    run,
};

pub const DRIVER: Role = ("all-killed-driver", play);

/// Most members.
const MEMBERS: u64 = 6;

#[repr(C, align(4096))]
struct Traffic {
    /// Members that have their ends.
    attached: AtomicU64,
    /// Messages received.
    came: AtomicU64,
    /// The newcomer made the domain anew.
    made: AtomicU64,
}

// SAFETY: atomic integers only.
unsafe impl Atomics for Traffic {}

fn run(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("kills of everybody at once");
    let mut driver = start(DRIVER.0, &[&plan.seed.to_string(), &plan.tries.to_string()]);
    let mut text = String::new();
    if let Some(out) = driver.0.stdout.as_mut() {
        let _ = std::io::Read::read_to_string(out, &mut text);
    }
    let mut report = Report::default();
    report.add(&text);
    line.tried = report.accounts;
    if report.accounts < plan.tries {
        line.fault(Fault::Hung, format!("{} of {} rounds were played", report.accounts, plan.tries));
    }
    line.figures.push(format!("{} processes killed, {} messages", report.strikes, report.messages));
    report.finish(&mut line);
    vec![line]
}

fn play(arguments: &[String]) {
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let mut random = Random::new(number(0));
    let traffic = Shared::<Traffic>::new();
    let directory = std::env::temp_dir().join(format!("torture-all-{}", std::process::id()));
    let _ = staffetta::park_ns();
    let mut report = Report::default();
    for round in 0..number(1) {
        let place = (round % 4 == 3).then_some(directory.as_path());
        match play_round(traffic, place, &mut random, &mut report) {
            Ok(()) => report.accounts += 1,
            Err((fault, what)) => report.fault(fault, format!("round {round}: {what}")),
        }
    }
    let _ = std::fs::remove_dir_all(&directory);
    print!("{}", report.text());
}

fn options(place: Option<&Path>) -> DomainOptions {
    let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(256 << 20);
    match place {
        Some(directory) => options.directory(directory),
        None => options,
    }
}

fn play_round(
    traffic: Shared<Traffic>,
    place: Option<&Path>,
    random: &mut Random,
    report: &mut Report,
) -> Result<(), (Fault, String)> {
    // The same name in every round: what is left of one would be in the way of the next.
    let name = format!("torture-all-{}", std::process::id());
    [&traffic.attached, &traffic.came, &traffic.made].iter().for_each(|word| word.store(0, SeqCst));
    let before = files();
    let members = 2 + random.below(MEMBERS - 1);
    let mut all: Vec<Forked> = (0..members).map(|who| fork(|| member(traffic, place, &name, who))).collect();
    // Mostly when all are there, sometimes while they come.
    let there = if random.below(4) == 0 { 1 } else { members };
    let waited = wait::until(Duration::from_micros(50), || traffic.attached.load(SeqCst) >= there);
    report.waited(
        "members attach",
        waited.map_err(|seen| (Fault::Hung, format!("members do not attach; {seen}")))?,
    );
    let end = Instant::now() + Duration::from_micros(random.below(3_000));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    all.iter().for_each(|process| process.signal(Signal::KILL));
    for process in &mut all {
        let status = process.kill();
        if status.is_some_and(|status| status.exit_status().is_some()) {
            return Err((Fault::Wrong, format!("a member ended by itself: {status:?}")));
        }
        report.strikes += 1;
    }
    report.messages += traffic.came.load(SeqCst);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    if let (None, Some(left)) = (place, sockets.lines().find(|line| line.contains(&name))) {
        return Err((Fault::Leaked, format!("a socket: {left}")));
    }
    if let Some(left) = files().into_iter().find(|file| !before.contains(file)) {
        return Err((Fault::Leaked, format!("a file: {left}")));
    }
    if staffetta::inspect::domains().iter().any(|domain| domain.name.as_deref() == Some(&name)) {
        return Err((Fault::Leaked, "a process still has the domain".to_owned()));
    }
    let mut newcomer = fork(|| match options(place).create_new(&name) {
        Ok(domain) => traffic.made.store(1 + u64::from(domain.memory().is_ok()), SeqCst),
        Err(why) => panic!("{why}"),
    });
    let status = newcomer.finish();
    if traffic.made.load(SeqCst) != 2 {
        return Err((Fault::Wrong, format!("the name cannot be used at once: {status:?}")));
    }
    report.waited("a newcomer leaves", status.map_err(|seen| (Fault::Hung, seen))?.1);
    Ok(())
}

/// Files of ours. Those in the driver's own folder are the sockets that the next use replaces.
fn files() -> Vec<String> {
    let temporary = std::env::temp_dir();
    let folders = [Path::new("/dev/shm"), Path::new("/run/user"), &temporary];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.path().display().to_string());
    let own = format!("torture-all-{}", std::process::id());
    names.filter(|name| name.contains("staffetta") && !name.ends_with(&own)).collect()
}

/// Sends and receives parcels until it is killed.
fn member(traffic: Shared<Traffic>, place: Option<&Path>, name: &str, who: u64) {
    let domain = options(place).open(name).expect("open");
    let method = Method::ALL[(who % 3) as usize];
    let channel = format!("traffic of {method}");
    let ends = || domain.channel(&channel).method(method).bounded(4).senders(8).receivers(8);
    let tx = ends().sender::<Parcel<[u64]>>().expect("attach");
    let rx = ends().receiver::<Parcel<[u64]>>().expect("attach");
    traffic.attached.fetch_add(1, SeqCst);
    loop {
        if let Ok(parcel) = domain.parcels(method).zeroed::<[u64]>(100) {
            let _ = tx.try_send(parcel);
        }
        if rx.try_recv().is_ok() {
            traffic.came.fetch_add(1, SeqCst);
        }
    }
}
