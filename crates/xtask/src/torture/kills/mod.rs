//! Real SIGKILLs, and SIGSTOPs, at random moments, over every form of channel.
//!
//! | file | one idea |
//! |---|---|
//! | `mod.rs` | the rows: several meshes side by side, one report |
//! | `scene.rs` | what is played: which channel, who survives, who is killed |
//! | `driver.rs` | one mesh: forks, kills, compares |
//! | `member.rs` | what a process of a mesh does |
//! | `ends.rs`, `to_all.rs`, `calls.rs`, `workers.rs` | the parts on each form of channel |
//! | `stage.rs`, `report.rs` | what the processes share; what a driver says at its end |

mod calls;
mod driver;
mod ends;
mod member;
pub mod report;
mod scene;
mod stage;
mod to_all;
mod workers;

use std::io::Read;

use super::line::Line;
use super::plan::Plan;
use super::process::start;
use super::{Role, Row};
use driver::{Order, Strike};
use report::Report;

pub const KILLS: Row = Row {
    name: "kills",
    about: "real SIGKILLs at random moments, over every form of channel, cargo, reference method and wait policy",
    tries: (10_000, 1_000_000),
    limits: "random moments; two survivors in each mesh; a receiver that is killed may have had one message in its hands",
    run: kills,
};

pub const PAUSES: Row = Row {
    name: "pauses",
    about:
        "SIGSTOP and SIGCONT at random moments: nobody is taken for dead, others go on, deadlines are kept",
    tries: (1_000, 100_000),
    limits: "random moments",
    run: pauses,
};

pub const CONSERVATION: Row = Row {
    name: "conservation",
    about: "as many messages as fit between kills: each accounted for, and everything in use given back",
    tries: (1_000, 100_000),
    limits: "random moments; compared when a scene is over",
    run: conservation,
};

pub const DRIVER: Role = ("kills-driver", play_driver);

/// Meshes side by side.
const MESHES: u64 = 3;

fn kills(plan: &Plan) -> Vec<Line> {
    vec![run(plan, "kills", Strike::Kill, 1_500)]
}

fn pauses(plan: &Plan) -> Vec<Line> {
    vec![run(plan, "stops", Strike::Stop, 1_500)]
}

fn conservation(plan: &Plan) -> Vec<Line> {
    vec![run(plan, "conservation over kills", Strike::Kill, 150_000)]
}

fn run(plan: &Plan, name: &str, strike: Strike, longest_us: u64) -> Line {
    let began = std::time::Instant::now();
    let meshes = MESHES.min(plan.tries.max(1));
    let numbers = |mesh: u64| {
        let strikes = plan.tries / meshes + u64::from(mesh < plan.tries % meshes);
        [plan.seed, mesh, strikes, u64::from(strike == Strike::Stop), longest_us]
            .map(|number| number.to_string())
    };
    let drivers: Vec<_> = (0..meshes)
        .map(|mesh| {
            let numbers = numbers(mesh);
            start(DRIVER.0, &numbers.each_ref().map(String::as_str))
        })
        .collect();
    let mut report = Report::default();
    let mut line = Line::new(name);
    for (mesh, mut driver) in drivers.into_iter().enumerate() {
        let mut text = String::new();
        if let Some(out) = driver.0.stdout.as_mut() {
            let _ = out.read_to_string(&mut text);
        }
        if !text.starts_with("sum ") {
            line.fault(super::line::Fault::Wrong, format!("the driver of mesh {mesh} gave no report"));
        }
        report.add(&text);
    }
    line.tried = report.strikes;
    line.figures.push(format!("{} messages accounted for", report.messages));
    line.figures.push(format!("{} may have died in a receiver's hands", report.in_hand));
    line.figures.push(format!("{} told lost, both holders of their memory killed", report.told_lost));
    line.figures.push(format!("{} times what is in use compared", report.accounts));
    line.figures.push(format!("{:.1} a second", report.strikes as f64 / began.elapsed().as_secs_f64()));
    report.finish(&mut line);
    line
}

fn play_driver(arguments: &[String]) {
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let strike = if number(3) == 1 { Strike::Stop } else { Strike::Kill };
    let only = arguments.get(5).and_then(|text| text.parse().ok());
    let order =
        Order { seed: number(0), mesh: number(1), strikes: number(2), strike, longest_us: number(4), only };
    driver::tell(&driver::drive(order));
}
