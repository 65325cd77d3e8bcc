//! Real processes, stepped instruction by instruction through every public operation, and killed or stopped at every point.
//!
//! ```text
//!   row ── drivers, one per core ── fork ──> victim: starting state | operation, stepped | SIGKILL
//!               │ lines                        │ the domain
//!               ├────────> survivor: has the other end; says what it finds, and whether the account is as before
//!               └────────> bystander: a member that sweeps, too
//! ```
//!
//! | file | one idea |
//! |---|---|
//! | `tracer.rs` | one thread of another process, stepped or run to an instruction |
//! | `memory.rs` | what changed in a domain, seen from outside |
//! | `scene.rs`, `scenes/` | the operations and their starting states |
//! | `peer.rs`, `peers.rs` | survivors: processes that do what lines say |
//! | `world.rs` | a domain, its survivors, one victim after the other |
//! | `driver.rs` | first pass, kills and stops |
//! | `sweeper.rs` | the same for whoever sweeps the dead |

mod driver;
mod memory;
mod peer;
mod peers;
mod price;
mod scene;
mod scenes;
mod sweeper;
mod tracer;
mod world;

use std::time::{Duration, Instant};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::{Role, Row};
use peer::{fault_of, Peer};

pub use price::PRICE;

pub const IMAGES: Row = Row {
    name: "images",
    about: "steps real processes through every operation from every starting state and kills one at every distinct image",
    tries: (1_000_000, 100_000_000),
    limits: "the peers stand still while the victim is stepped; the order of memory is x86's; images that differ in the victim's private memory only are one",
    run: images,
};

pub const ROLES: [Role; 3] = [peers::SURVIVOR, peers::BYSTANDER, ("step-driver", drive)];

/// How long the quick battery goes on when it has tried enough.
fn quick(play: &str) -> Duration {
    Duration::from_secs(if play == "images" { 55 } else { 22 })
}

/// Points of one scene that the quick battery tries.
const POINTS: usize = 60;
/// Drivers side by side.
const DRIVERS: usize = 2;

pub const STOPS: Row = Row {
    name: "stops",
    about: "the same with SIGSTOP, before and after every change: others go on, keep their deadlines, and after SIGCONT all is as ever",
    tries: (4_000, 1_000_000),
    limits: "one process is stopped at a time; of the instructions between two changes the last one stands for all",
    run: stops,
};

fn images(plan: &Plan) -> Vec<Line> {
    vec![direct(plan, "images", Line::new("crash images of operations, each distinct one a real kill"))]
}

fn stops(plan: &Plan) -> Vec<Line> {
    vec![direct(plan, "stops", Line::new("stops (SIGSTOP) before and after every change of an operation"))]
}

pub const SWEEPS: Row = Row {
    name: "sweeper-images",
    about: "steps a real process through the sweep of a dead one and kills it at every distinct image; others converge",
    tries: (400_000, 10_000_000),
    limits: "the other survivors are stopped while the sweeper is stepped; what is swept is a sample of the points of `images`",
    run: sweeps,
};

fn sweeps(plan: &Plan) -> Vec<Line> {
    vec![direct(
        plan,
        "sweeps",
        Line::new("crash images of sweeps, each distinct one a real kill of the sweeper"),
    )]
}

/// Has drivers play scenes, and sums up what they say.
fn direct(plan: &Plan, play: &str, mut line: Line) -> Line {
    let mut drivers: Vec<Peer> = (0..DRIVERS)
        .map(|which| {
            let arguments = Share::arguments(plan, play, which);
            Peer::start("step-driver", &arguments.each_ref().map(String::as_str))
        })
        .collect();
    let (mut trials, mut scenes, mut missed, mut images, mut skipped) = (0, 0, 0, 0, 0);
    for driver in &mut drivers {
        let mut now = String::new();
        loop {
            let Some(said) = driver.line(Instant::now() + Duration::from_secs(180)) else {
                line.fault(Fault::Hung, format!("nothing more is heard of {now}"));
                break;
            };
            let words: Vec<&str> = said.splitn(3, ' ').collect();
            match words[..] {
                ["fault", fault, what] => line.fault(fault_of(fault), what),
                ["scene", images_here, rest] => {
                    let mut rest = rest.split(' ').map(|n| n.parse::<u64>().unwrap_or(0));
                    images += images_here.parse::<u64>().unwrap_or(0);
                    trials += rest.next().unwrap_or(0);
                    missed += rest.next().unwrap_or(0);
                    skipped += rest.next().unwrap_or(0);
                    scenes += 1;
                }
                ["now", ..] => now = said["now ".len()..].to_owned(),
                ["ok"] => break,
                _ => println!("{said}"),
            }
        }
    }
    line.tried = if play == "stops" { trials } else { images };
    let others = if play == "stops" { format!("{images} images") } else { format!("{trials} kills") };
    line.figures
        .push(format!("{others}, {scenes} operations in a state, {missed} came elsewhere than planned, {skipped} points left out"));
    line
}

/// A driver: its share of the scenes, in an order that the seed chooses.
fn drive(arguments: &[String]) {
    tracer::block_child_signals();
    // What a process asks once for all when it first spins, a victim has from here: it is no part of any operation.
    let (_tx, rx) = staffetta::rendezvous::<u64>();
    let _ = rx.recv_timeout(Duration::from_millis(1));
    let share = Share::of(arguments);
    let begun = Instant::now();
    let mut world = None;
    let mut tried = 0;
    for number in share.scenes() {
        let started = Instant::now();
        println!("now {}", scenes::all()[number].name());
        let found = match share.play.as_str() {
            "stops" => driver::stops(&mut world, number, share.at, share.most()),
            "sweeps" => {
                let until = share.ends().then(|| begun + quick(&share.play));
                sweeper::sweeps(&mut world, number, share.seed, share.at, until)
            }
            _ => driver::images(&mut world, number, share.at, share.most()),
        };
        let name = scenes::all()[number].name();
        if !share.only.is_empty() {
            println!(
                "note {name}: {} images, {} points, {:.0?}",
                found.images,
                found.points,
                started.elapsed()
            );
        }
        for (fault, what) in &found.faults {
            println!("fault {fault:?} {}", what.replace('\n', " "));
        }
        println!("scene {} {} {} {}", found.images, found.points, found.missed, found.skipped);
        tried += if share.play == "stops" { found.points } else { found.images };
        if share.is_enough(tried, begun.elapsed()) {
            break;
        }
    }
    println!("ok");
}

/// What one driver is to do.
struct Share {
    which: usize,
    of: usize,
    seed: u64,
    tries: u64,
    only: String,
    at: Option<usize>,
    soak: bool,
    play: String,
}

impl Share {
    fn of(arguments: &[String]) -> Share {
        let number = |i: usize| arguments[i].parse::<u64>().expect("a number");
        Share {
            which: number(0) as usize,
            of: number(1) as usize,
            seed: number(2),
            tries: number(3) / number(1),
            only: arguments[4].clone(),
            at: arguments[5].parse().ok(),
            soak: arguments[6] == "soak",
            play: arguments[7].clone(),
        }
    }

    fn arguments(plan: &Plan, play: &str, which: usize) -> [String; 8] {
        [
            which.to_string(),
            DRIVERS.to_string(),
            plan.seed.to_string(),
            plan.tries.to_string(),
            plan.only.clone().unwrap_or_default(),
            plan.at.map_or("all".to_owned(), |at| at.to_string()),
            if plan.soak { "soak" } else { "quick" }.to_owned(),
            play.to_owned(),
        ]
    }

    /// The scenes, by number: each once; in a soak again and again.
    fn scenes(&self) -> impl Iterator<Item = usize> {
        let all = scenes::all();
        let mut numbers: Vec<usize> =
            (0..all.len()).filter(|i| all[*i].name().contains(&self.only)).collect();
        let mut random = super::random::Random::new(self.seed);
        for i in (1..numbers.len()).rev() {
            numbers.swap(i, random.below(i as u64 + 1) as usize);
        }
        let rounds = if self.soak { usize::MAX } else { 1 };
        let (which, of) = (self.which, self.of);
        let mine: Vec<usize> = numbers.into_iter().skip(which).step_by(of).collect();
        (0..rounds).flat_map(move |_| mine.clone())
    }

    /// Points of one scene: one in which somebody spins beside the victim has very many, all alike.
    fn most(&self) -> usize {
        if self.soak {
            usize::MAX
        } else {
            POINTS
        }
    }

    /// It goes on for a time, and not until all is done.
    fn ends(&self) -> bool {
        self.only.is_empty() && !self.soak
    }

    fn is_enough(&self, tried: u64, time: Duration) -> bool {
        let (enough, long) = (tried >= self.tries, quick(&self.play));
        // On a busy machine fewer are tried, and the line says how many.
        self.only.is_empty() && if self.soak { enough } else { (enough && time >= long) || time >= long * 2 }
    }
}
