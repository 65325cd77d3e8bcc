//! Row `mutants`: is the battery worth anything? Faults are put into a copy of the library, and each must be noticed.
//!
//! All faults ([`table`]) are compiled into one copy, each behind a switch that an environment variable throws
//! ([`tree`]): so one build serves them all, and the shipped sources know nothing of it. What is to notice a fault is run
//! first without any, and must pass then.

mod table;
mod tree;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::Row;
use table::{By, MUTANTS};
use tree::SWITCH;

pub const ROW: Row = Row {
    name: "mutants",
    about: "faults put into a copy of the library: each must be noticed by a line of the battery",
    tries: (MUTANTS.len() as u64, MUTANTS.len() as u64),
    limits: "the faults somebody thought of, each where it is expected to be noticed",
    run,
};

/// Longer than this, and it has hung: noticed, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a check of the copy ended.
enum Outcome {
    Passed,
    Noticed(&'static str),
}

fn run(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("mutants");
    let built = match build() {
        Ok(built) => built,
        Err(why) => {
            line.fault(Fault::Wrong, why);
            return vec![line];
        }
    };
    let mut sound: HashMap<By, bool> = HashMap::new();
    let mut by_whom: HashMap<&str, u32> = HashMap::new();
    for (index, mutant) in MUTANTS.iter().enumerate().take(plan.tries as usize) {
        let number = index + 1;
        line.tried += 1;
        let began = Instant::now();
        let noticed = mutant.by.iter().find_map(|by| {
            let is_sound =
                *sound.entry(*by).or_insert_with(|| matches!(built.check(by, 0, plan.seed), Outcome::Passed));
            if !is_sound {
                line.fault(Fault::Wrong, format!("{by} fails without any fault: it can show nothing"));
                return None;
            }
            match built.check(by, number, plan.seed) {
                Outcome::Noticed(how) => Some((by, how)),
                Outcome::Passed => None,
            }
        });
        match noticed {
            Some((by, how)) => {
                *by_whom.entry(by.kind()).or_default() += 1;
                eprintln!("  mutant {number}, {}: {how} by {by}, {:.1?}", mutant.what, began.elapsed());
            }
            None => line.fault(Fault::Wrong, format!("mutant {number} survives: {}", mutant.what)),
        }
    }
    let caught: u32 = by_whom.values().sum();
    let mut shares: Vec<_> = by_whom.iter().map(|(kind, many)| format!("{many} by {kind}")).collect();
    shares.sort();
    let percent = 100.0 * f64::from(caught) / line.tried.max(1) as f64;
    line.figures.push(format!("noticed {caught} ({percent:.0} %): {}", shares.join(", ")));
    vec![line]
}

/// The copy, built: its battery, and its tests by name.
struct Built {
    battery: PathBuf,
    tests: HashMap<String, PathBuf>,
    folder: PathBuf,
}

fn build() -> Result<Built, String> {
    let root = root()?;
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (folder, target) = (base.join("mutants/source"), base.join("mutants/target"));
    tree::plant(&root, &folder, MUTANTS)?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // A build of its own, whatever it was started from.
        command.current_dir(&folder).env("CARGO_TARGET_DIR", &target).args(arguments);
        command.env("RUSTFLAGS", "-Awarnings").stderr(Stdio::inherit());
        command.output().map_err(|why| format!("cargo cannot be started: {why}"))
    };
    let fails =
        |what: &str| format!("the copy with the mutants in {} does not build: {what}", folder.display());
    if !cargo(&["build", "--locked", "--quiet", "--release", "--package", "xtask"])?.status.success() {
        return Err(fails("xtask"));
    }
    let mut names: Vec<_> = MUTANTS.iter().flat_map(|mutant| mutant.by).filter_map(By::test).collect();
    names.sort();
    names.dedup();
    let mut arguments = vec!["test", "--locked", "--quiet", "--package", "staffetta", "--no-run"];
    arguments.push("--message-format=json");
    for name in &names {
        match *name {
            "lib" => arguments.push("--lib"),
            test => arguments.extend(["--test", test]),
        }
    }
    let mut tests = HashMap::new();
    if !names.is_empty() {
        let output = cargo(&arguments)?;
        if !output.status.success() {
            return Err(fails("its tests"));
        }
        for artifact in String::from_utf8_lossy(&output.stdout).lines() {
            if let (Some(name), Some(path)) =
                (field(artifact, "\"name\":\""), field(artifact, "\"executable\":\""))
            {
                let name = if name == "staffetta" { "lib" } else { name };
                tests.insert(name.to_owned(), PathBuf::from(path));
            }
        }
    }
    Ok(Built { battery: target.join("release/xtask"), tests, folder })
}

/// What follows `key` in one of cargo's messages, to the next quotation mark; the last one, since the target's own name
/// comes after those of its package.
fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.rsplit_once(key)?.1.split('"').next()
}

/// The workspace's root.
fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).filter(|root| root.join("Cargo.lock").is_file());
    root.map(Path::to_owned).ok_or_else(|| format!("{} is in no checkout any more", here.display()))
}

impl Built {
    fn check(&self, by: &By, number: usize, seed: u64) -> Outcome {
        let (seed, number) = (seed.to_string(), number.to_string());
        let mut command = match by {
            By::Row(row, tries) => {
                let mut command = Command::new(&self.battery);
                command.args(["torture", row, "--seed", &seed, "--tries", &tries.to_string()]);
                command
            }
            By::Test(test, filter) => {
                let Some(path) = self.tests.get(*test) else {
                    return Outcome::Passed; // said by "survives"
                };
                let mut command = Command::new(path);
                command.arg(filter).env("STAFFETTA_TEST_SEED", &seed);
                command.current_dir(self.folder.join("crates/staffetta"));
                command
            }
        };
        command.env(SWITCH, number).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            return Outcome::Passed;
        };
        match super::process::Process(child).finish(PATIENCE) {
            Some(status) if status.success() => Outcome::Passed,
            Some(_) => Outcome::Noticed("noticed"),
            None => Outcome::Noticed("hangs, so noticed"),
        }
    }
}
