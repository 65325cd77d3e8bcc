//! A process that does one trial after the other, and says at which it is.

#![allow(unsafe_code)] // Limits of the process; pages beside the window.

use std::sync::atomic::Ordering::{Relaxed, Release};

use super::mutate::{Racer, Strike};
use super::scenes::{self, Context, Scene};
use super::supervise::{map_report, Report};
use super::world::World;
use super::HEADER_BITS;
use crate::torture::random::Random;
use staffetta::Domain;

/// Trials in the same domain, by the same process: what is remembered from one to the next ends with it.
pub const BATCH: u64 = 512;

/// How often all scenes of a batch are done before the first trial.
const REHEARSALS: usize = 3;

/// Which row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Flips,
    Mutations,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Flips => "flips",
            Kind::Mutations => "mutations",
        }
    }
}

/// Memory that a victim may have of its own.
const DATA_MAX: u64 = 2 << 30;

pub fn play(arguments: &[String]) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&arguments[0]).expect("the report");
    let report = map_report(&file.into());
    let kind = if arguments[1] == "flips" { Kind::Flips } else { Kind::Mutations };
    let numbers: Vec<u64> = arguments[2..].iter().map(|n| n.parse().expect("a number")).collect();
    let &[seed, share, shares, first, tries, only] = numbers.as_slice() else {
        panic!("six numbers");
    };
    limit();
    std::panic::set_hook(Box::new(move |why| {
        report.say(&format!("{why}\n{}", here()));
        std::process::abort();
    }));
    tell_where_on_request(report);
    let all = if kind == Kind::Flips { tries.min(HEADER_BITS) } else { tries };
    // One alone: its batch, up to it.
    let (first, end) = match only.checked_sub(1) {
        Some(only) => (only / BATCH * BATCH, only + 1),
        None => (first, all),
    };
    let mut racer = Racer::start();
    let mut batch = first / BATCH;
    while batch * BATCH < end {
        if only != 0 || batch % shares == share {
            let from = first.max(batch * BATCH);
            let to = end.min((batch + 1) * BATCH);
            do_batch(kind, seed, batch, from..to, report, &mut racer);
        }
        batch += 1;
    }
    report.over.store(1, Release);
}

fn do_batch(
    kind: Kind,
    seed: u64,
    batch: u64,
    trials: std::ops::Range<u64>,
    report: &Report,
    racer: &mut Racer,
) {
    let salted = |salt: u64| Random::new(seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut world = World::build(kind, batch, &mut salted(batch.wrapping_add(1 << 60)));
    let scenes = scenes::of(kind, batch);
    let mut random = salted(batch.wrapping_add(2 << 60));
    let mut rehearse = |scene: &Scene, domain: &Domain| {
        scene(domain, &mut Context::new(Random::new(random.next()), Strike::none(), report));
    };
    // Channels are there; and which words are used shows when everything is done once.
    (0..REHEARSALS).for_each(|_| scenes.iter().for_each(|scene| rehearse(scene, &world.domain)));
    world.note();
    for _ in 0..REHEARSALS {
        scenes.iter().for_each(|scene| rehearse(scene, &world.domain));
        world.note_used();
    }
    world.restore();
    // Of each theme one batch in eight.
    let races = kind == Kind::Mutations && batch / scenes::THEMES.len() as u64 % 8 == 7;
    for n in trials {
        report.at.store(n + 1, Release);
        let mut random = salted(n);
        let strike = match kind {
            Kind::Flips => Strike::flip(&world, n),
            Kind::Mutations => Strike::random(&world, &mut random),
        };
        if kind == Kind::Mutations && random.below(5) < 2 {
            world.bury();
        }
        if kind == Kind::Flips {
            trial_of_flip(&world, strike, random, report);
        } else {
            let scene = scenes[random.below(scenes.len() as u64) as usize];
            if races {
                racer.race(&strike);
                report.raced.fetch_add(1, Relaxed);
            }
            let mut context = Context::new(random, strike, report);
            scene(&world.domain, &mut context);
            context.strike();
            if races {
                racer.rest();
            }
        }
        if let Some(grown) = world.grown() {
            report.say(&format!("the domain's memory grew by {} MiB", grown >> 20));
            std::process::abort();
        }
        world.restore();
        report.done.fetch_add(1, Relaxed);
    }
    world.end();
}

/// Somebody joins the domain after the flip, and does everything there.
fn trial_of_flip(world: &World, strike: Strike, random: Random, report: &Report) {
    let mut context = Context::new(random, strike, report);
    context.strike();
    let file = || world.domain.descriptor().try_clone_to_owned().expect("a descriptor");
    let options = staffetta::Domain::options();
    // The window is mapped here already, so this one cannot be had.
    context.see(options.clone().join_descriptor(file()));
    let distinct = options.addresses(staffetta::Addresses::Distinct);
    if let Some(joined) = context.see(distinct.join_descriptor(file())) {
        for scene in scenes::of(Kind::Flips, 0) {
            scene(&joined, &mut context);
        }
    }
}

/// Where in the library this thread is.
fn here() -> String {
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    let lines: Vec<&str> = trace.lines().map(str::trim).collect();
    let ours = lines.windows(2).filter(|pair| pair[1].contains("crates/staffetta/src"));
    ours.map(|pair| pair[1].split("crates/").last().unwrap_or_default()).collect::<Vec<_>>().join(" < ")
}

/// The report of this process, for a signal handler.
static REPORT: std::sync::OnceLock<&Report> = std::sync::OnceLock::new();

/// Whoever watches may ask where we are, when we are not through in time; and a fault says where it was. What the handler does is not safe in a handler; if it
/// gets stuck nobody is worse off than before.
fn tell_where_on_request(report: &'static Report) {
    extern "C" fn tell(signal: libc::c_int) {
        if let Some(report) = REPORT.get() {
            report.say(&here());
        }
        // A fault comes again, and ends us.
        // SAFETY: a plain system call.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = REPORT.set(report);
    for signal in [libc::SIGUSR1, libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: installs a handler that touches only atomics and memory of its own.
        unsafe { libc::signal(signal, tell as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

fn limit() {
    let limit = |resource, bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a plain system call on a local struct.
        unsafe { libc::setrlimit(resource, &limit) };
    };
    limit(libc::RLIMIT_CORE, 0);
    limit(libc::RLIMIT_DATA, DATA_MAX);
    // Short deadlines are to be short.
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000, 0, 0, 0) };
}
