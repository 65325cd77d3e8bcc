//! Row `mutants`: is the battery worth anything? Faults are put into a copy of the library, and each must be noticed.
//!
//! | file | one idea |
//! |---|---|
//! | `mod.rs` | the row: what notices a fault passes without one, and then each fault is tried |
//! | `faults/` | the faults, by what they break |
//! | `tree.rs` | the copy: every fault in it, each behind a switch that an environment variable throws |
//! | `copy.rs` | the copy, built, and its checks |
//!
//! One build serves all faults, and the shipped sources know nothing of it.

mod copy;
mod faults;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::Row;
use copy::{Built, Outcome};
use faults::{Mutant, Test, COUNT};

pub const ROW: Row = Row {
    name: "mutants",
    about: "faults put into a copy of the library: each must be noticed by a line of the battery",
    tries: (COUNT, COUNT),
    limits: "the faults somebody thought of, each where it is expected to be noticed",
    run,
};

/// Checks side by side: most run on one core.
const WORKERS: usize = 2;
/// A check without any fault that takes longer shows nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// With a fault it may take so much longer, and so many times as long as without; then it hangs, and that is noticed.
const SLACK: Duration = Duration::from_secs(6);
const TIMES: u32 = 4;

fn run(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("mutants");
    let chosen: Vec<(usize, &Mutant)> = (1..)
        .zip(faults::all())
        .filter(|(number, mutant)| {
            plan.at.is_none_or(|at| at == *number as u64)
                && plan.only.as_ref().is_none_or(|text| mutant.what.contains(text.as_str()))
        })
        .take(plan.tries as usize)
        .collect();
    let mut checks: Vec<Test> = chosen.iter().map(|(_, mutant)| mutant.by).collect();
    checks.sort();
    checks.dedup();
    let began = Instant::now();
    let built = match Built::new(&checks) {
        Ok(built) => built,
        Err(why) => {
            line.fault(Fault::Wrong, why);
            return vec![line];
        }
    };
    eprintln!("  {} faults in a copy, built in {:.0?}", chosen.len(), began.elapsed());
    // What fails without any fault shows nothing.
    let sound: HashMap<Test, Duration> = side_by_side(&checks, |by| {
        let began = Instant::now();
        let outcome = built.check(by, 0, plan.seed, PATIENCE);
        (*by, outcome, began.elapsed())
    })
    .into_iter()
    .filter_map(|(by, outcome, took)| match outcome {
        Outcome::Passed => Some((by, took)),
        Outcome::Noticed(how) => {
            line.fault(Fault::Wrong, format!("{by} {how} without any fault: it can show nothing"));
            None
        }
        Outcome::Absent(why) => {
            line.fault(Fault::Wrong, format!("{by}: {why}"));
            None
        }
    })
    .collect();
    let mut by_whom: BTreeMap<&str, u32> = BTreeMap::new();
    let tried = side_by_side(&chosen, |(number, mutant)| {
        let patience = *sound.get(&mutant.by)? * TIMES + SLACK;
        let began = Instant::now();
        let outcome = built.check(&mutant.by, *number, plan.seed, patience);
        let (what, by) = (mutant.what, mutant.by);
        let how = match &outcome {
            Outcome::Noticed(how) => how,
            Outcome::Passed => "DOES NOT NOTICE IT",
            Outcome::Absent(_) => "tried nothing",
        };
        eprintln!("  mutant {number}, {what}: {by} {how}, {:.1?}", began.elapsed());
        Some(outcome)
    });
    for ((number, mutant), outcome) in chosen.iter().zip(tried) {
        line.tried += 1;
        match outcome {
            Some(Outcome::Noticed(_)) => *by_whom.entry(mutant.by.line()).or_default() += 1,
            Some(Outcome::Passed) => {
                line.fault(Fault::Wrong, format!("mutant {number} survives: {}", mutant.what));
            }
            Some(Outcome::Absent(why)) => line.fault(Fault::Wrong, format!("mutant {number}: {why}")),
            None => line.fault(Fault::Wrong, format!("mutant {number} was not tried: {}", mutant.what)),
        }
    }
    let caught: u32 = by_whom.values().sum();
    let shares: Vec<_> = by_whom.iter().map(|(kind, many)| format!("{many} by {kind}")).collect();
    let percent = 100.0 * f64::from(caught) / line.tried.max(1) as f64;
    line.figures.push(format!("noticed {caught} ({percent:.0} %): {}", shares.join(", ")));
    vec![line]
}

/// `f` of each, by as many threads as there are `WORKERS`, in order.
fn side_by_side<T: Sync, R: Send>(of: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((i, one)) =
                    Some(next.fetch_add(1, Relaxed)).and_then(|i| Some((i, of.get(i)?)))
                {
                    let result = f(one);
                    done.lock().expect("no worker panics with it").insert(i, result);
                }
            });
        }
    });
    done.into_inner().expect("no worker panics with it").into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn what_is_done_side_by_side_comes_in_order() {
        let of: Vec<u64> = (0..100).collect();
        assert_eq!(side_by_side(&of, |n| n * n), of.iter().map(|n| n * n).collect::<Vec<_>>());
    }
}
