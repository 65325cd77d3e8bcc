//! The coordinator of the benchmark: one order for each row, and what becomes of the answers.

use super::catalogue::specs;
use super::orders::{Answer, Measured, Order};
use super::report::{Table, Tail};
use super::row::Row;
use super::subject::Spec;
use super::{BenchArgs, Plan};
use crate::failure::Failure;
use crate::raw::read_process;
use crate::show::table::line;
use crate::two::pair::{LookEvery, Pair};
use crate::two::side::Role;
use crate::{interrupt, machine};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::io::IsTerminal;

const PING: usize = 0;

/// A quick run begins no row after this: with the longest row and the limits it still ends in 40 s.
const QUICK_NS: u64 = 34_000_000_000;

/// Runs the benchmark.
pub fn run(args: BenchArgs) -> Result<(), Failure> {
    interrupt::install()?;
    let plan = Plan { quick: args.quick, blocks: args.blocks.unwrap_or(if args.quick { 30 } else { 60 }) };
    let cores = cores(&args.cores)?;
    if args.facts {
        return facts(cores, plan, args.json);
    }
    let specs = specs(plan.quick);
    let wanted = |what: &str| args.only.is_empty() || args.only.iter().any(|only| what.starts_with(only));
    let mut chosen: Vec<usize> = (0..specs.len()).filter(|&index| wanted(specs[index].what)).collect();
    if chosen.is_empty() {
        let mut names: Vec<&str> = specs.iter().map(|spec| spec.what).collect();
        names.dedup();
        let names = names.join(", ");
        return Err(Failure::Usage(format!("--only matches no row; there are: {names}")));
    }
    let unreadable = read_process(std::process::id(), (&raw const plan) as u64, &mut [0]);
    if let (Err(why), true) = (unreadable, chosen.iter().any(|&index| is_read(&specs[index]))) {
        // A filter, or a kernel without it: not what this machine is measured by.
        eprintln!("staffetta: private, limit.vm_readv: left out, process_vm_readv is refused here ({why})");
        chosen.retain(|&index| !is_read(&specs[index]));
    }
    // Limits last: their rows gather the blocks that ran between their subjects.
    // A quick run may have no time for the large ones on a busy machine: they come after the small ones.
    chosen.sort_by_key(|&index| (specs[index].is_limit(), args.quick && specs[index].bytes > 8));
    let table = Table::new(args.json);
    table.head()?;
    let begun = machine::now_ns();
    let mut pair = start(cores, plan)?;
    let mut rows: Vec<(usize, Row)> = Vec::new();
    let mut tails = Vec::new();
    let mut failed = 0;
    let spinner = spinner();
    for (done, &index) in chosen.iter().enumerate() {
        let spec = &specs[index];
        if args.quick && machine::now_ns() - begun > QUICK_NS && !measured(&rows, &specs, index) {
            eprintln!("staffetta: {}: left out, a quick run has no time for it here", spec.label());
            continue;
        }
        spinner.set_message(format!("{} of {}: {}", done + 1, chosen.len(), spec.label()));
        pair.order(PING, &Order::Measure(index), &[])?;
        spinner.tick();
        let outcome = pair.answer_of(&[PING], LookEvery { ms: 1000 }, &mut || ());
        spinner.finish_and_clear();
        match outcome {
            Ok((_, Answer::Measured(measured))) => {
                let Measured { row, limit_ns } = *measured;
                table.row(&row)?;
                tails.extend(Tail::of(&row, limit_ns));
                rows.push((index, row));
            }
            Ok((_, Answer::Facts(_))) => {
                return Err(Failure::Mechanism("the two processes answered out of turn".into()));
            }
            Ok((_, Answer::Failed(reason))) | Err(Failure::Mechanism(reason)) => {
                eprintln!("staffetta: {}: {reason}", spec.label());
                failed += 1;
                // The two sides may be out of step: begin again with new ones.
                drop(pair);
                pair = start(cores, plan)?;
            }
            Err(failure) => return Err(failure),
        }
    }
    table.tails(&tails)?;
    table.foot(cores, plan)?;
    if args.json {
        rows.sort_by_key(|(index, _)| *index);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        let text =
            serde_json::to_string_pretty(&rows).map_err(|error| Failure::os("cannot write JSON", error))?;
        line(&text)?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Mechanism(format!("{failed} of the rows could not be measured"))),
    }
}

/// The figures that are no latencies, and nothing else.
fn facts(cores: [usize; 2], plan: Plan, json: bool) -> Result<(), Failure> {
    let mut pair = start(cores, plan)?;
    pair.order(PING, &Order::Facts, &[])?;
    let facts = match pair.answer_of(&[PING], LookEvery { ms: 1000 }, &mut || ())? {
        (_, Answer::Facts(facts)) => facts,
        (_, Answer::Failed(reason)) => return Err(Failure::Mechanism(reason)),
        _ => return Err(Failure::Mechanism("the two processes answered out of turn".into())),
    };
    if json {
        let text =
            serde_json::to_string_pretty(&facts).map_err(|error| Failure::os("cannot write JSON", error))?;
        return line(&text);
    }
    Table::new(false).facts(&facts)?;
    Table::new(false).about(cores)
}

/// Whether a row is one of memory that is read across processes.
fn is_read(spec: &Spec) -> bool {
    spec.what == "limit.vm_readv" || spec.limit.is_some_and(|limit| limit.what == "limit.vm_readv")
}

/// Whether a limit has been run between its subjects, so that its row takes no time.
fn measured(rows: &[(usize, Row)], specs: &[Spec], index: usize) -> bool {
    rows.iter().any(|(row, _)| specs[*row].limit == Some(specs[index].name()))
}

fn start(cores: [usize; 2], plan: Plan) -> Result<Pair, Failure> {
    let mut extra = vec![format!("--cores={},{}", cores[0], cores[1]), format!("--blocks={}", plan.blocks)];
    extra.extend(plan.quick.then(|| "--quick".to_owned()));
    Pair::start([Role::BenchPing, Role::BenchPong], &extra)
}

fn cores(asked: &[usize]) -> Result<[usize; 2], Failure> {
    match *asked {
        [] => machine::two_cores(),
        [first, second] if first != second => {
            let usable = machine::usable_cores();
            match [first, second].iter().find(|core| !usable.contains(core)) {
                None => Ok([first, second]),
                Some(core) => {
                    Err(Failure::Usage(format!("core {core} may not be used here; usable are {usable:?}")))
                }
            }
        }
        _ => Err(Failure::Usage("--cores takes two different cores, as in `--cores 0,1`".into())),
    }
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if !std::io::stderr().is_terminal() {
        spinner.set_draw_target(ProgressDrawTarget::hidden());
    }
    spinner
}
