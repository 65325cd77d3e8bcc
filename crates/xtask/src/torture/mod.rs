//! `cargo xtask torture`: one line per row of the battery, each with its limits; exit code 1 if any found anything.
//!
//! A row is one file of this folder (or a folder of it) and one entry of [`ROWS`]: a name, what it does, what it cannot
//! see, and a function from [`Plan`] to [`Line`]. Whatever is random comes from the plan's seed, so that
//! `cargo xtask torture NAME --seed S` does the same again. A row that needs processes starts this program again in a role
//! ([`process::start`]) and lists the role in [`ROLES`]; a process started so dies with whoever started it.

mod account;
mod all_killed;
mod history;
mod hostile;
mod kills;
mod latency;
mod life;
mod line;
mod mesh;
mod models;
mod mutants;
mod pid_reuse;
mod plan;
mod process;
mod random;
mod shared;
mod step;
mod wait;
mod zygote;

use std::process::ExitCode;
use std::time::Instant;

use line::Line;
use plan::Plan;

/// One row of the battery.
struct Row {
    /// Its name on the command line.
    name: &'static str,
    /// What it does.
    about: &'static str,
    /// How many the quick battery tries, and how many a soak.
    tries: (u64, u64),
    /// What it does not see.
    limits: &'static str,
    /// Does it; may give several lines.
    run: fn(&Plan) -> Vec<Line>,
}

/// What a process plays: a name, and what it does with its arguments.
type Role = (&'static str, fn(&[String]));

/// The battery, in the order in which it runs.
const ROWS: &[Row] = &[
    step::IMAGES,
    step::SWEEPS,
    step::STOPS,
    kills::KILLS,
    kills::PAUSES,
    kills::CONSERVATION,
    latency::ROW,
    all_killed::ROW,
    mesh::ROW,
    life::ROW,
    pid_reuse::ROW,
    hostile::FLIPS,
    hostile::MUTATIONS,
    step::PRICE,
    models::WINDOWS,
    models::LOOM,
    models::SHUTTLE,
    mutants::ROW,
];

/// What processes of the rows play.
const ROLES: &[&[Role]] = &[
    &[kills::DRIVER, latency::DRIVER, all_killed::DRIVER, mesh::DRIVER],
    &step::ROLES,
    &life::ROLES,
    &[pid_reuse::ROLE, hostile::VICTIM],
];

/// What to do.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture                       the quick battery: at most 8 minutes on two cores
  cargo xtask torture --list                the rows, what each does and what it does not see
  cargo xtask torture kills --seed 7        one row again, with the choices of seed 7
  cargo xtask torture kills --tries 100000  more of it
  cargo xtask torture --soak                the long battery: hours")]
pub struct Orders {
    /// Rows to run: all, if none is named.
    rows: Vec<String>,
    /// The long figures.
    #[arg(long)]
    soak: bool,
    /// What random choices begin with; without it the clock.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many to try, of every row that runs.
    #[arg(long, value_name = "N")]
    tries: Option<u64>,
    /// Only what has this in its name, of rows that try many things.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only this point, of rows whose tries are numbered, and what it depends on.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
    /// Say what rows there are, and stop.
    #[arg(long)]
    list: bool,
}

/// Runs the rows; says in the exit code whether all is well.
pub fn run(orders: &Orders) -> ExitCode {
    if orders.list {
        for row in ROWS {
            println!(
                "{}: {}; {} tries, {} in a soak; limits: {}",
                row.name, row.about, row.tries.0, row.tries.1, row.limits
            );
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = orders.rows.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("there is no row {unknown:?}; there are: {}", known.join(", "));
        return ExitCode::from(2);
    }
    let seed = orders.seed.unwrap_or_else(random::seed_of_the_clock);
    let began = Instant::now();
    let mut found = String::new();
    let mut failed = 0;
    for row in
        ROWS.iter().filter(|row| orders.rows.is_empty() || orders.rows.iter().any(|name| name == row.name))
    {
        let usual = if orders.soak { row.tries.1 } else { row.tries.0 };
        let plan = Plan {
            seed,
            tries: orders.tries.unwrap_or(usual),
            soak: orders.soak,
            only: orders.only.clone(),
            at: orders.at,
        };
        let start = Instant::now();
        for line in (row.run)(&plan) {
            println!("{} [{:.0?}; limits: {}]", line.text(seed), start.elapsed(), row.limits);
            for note in &line.notes {
                println!("  {}: late: {note}", line.name);
            }
            if !line.is_well() {
                failed += 1;
                let mut told: String =
                    line.failures.iter().map(|what| format!("  {}: {what}\n", line.name)).collect();
                let (row, tries) = (row.name, plan.tries);
                told += &format!("  again: cargo xtask torture {row} --seed {seed} --tries {tries}\n");
                eprint!("{told}");
                found += &format!("{}\n{told}", line.text(seed));
            }
        }
    }
    if failed > 0 {
        // Once more: what was found is looked for at the end.
        print!("{found}");
        println!("{failed} lines found something, in {:.0?}", began.elapsed());
        return ExitCode::FAILURE;
    }
    println!("all well, in {:.0?}", began.elapsed());
    ExitCode::SUCCESS
}

/// Plays a role that a row has started.
pub fn play(role: &str, arguments: &[String]) -> ExitCode {
    match ROLES.iter().copied().flatten().find(|(name, _)| *name == role) {
        Some((_, play)) => {
            play(arguments);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("there is no role {role:?}: roles are for the battery itself");
            ExitCode::from(2)
        }
    }
}
