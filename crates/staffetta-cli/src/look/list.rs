//! `staffetta list`: which domains there are.

use super::{describe, json, pretty};
use crate::failure::Failure;
use crate::show::size::show;
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words};
use clap::Args;
use staffetta::inspect::{domains, DomainView, Observer, ProcessStatus};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta list
  staffetta list --json | jq -r '.[].name'
  staffetta inspect NAME                what is in one of them";

/// List the domains of this user: their processes, channels, memory
///
/// A domain is there as long as a process of it is. This works when all of them are stopped or hang,
/// and disturbs none: nothing is joined, mapped or written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
pub struct ListArgs {
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: ListArgs) -> Result<(), Failure> {
    let seen = domains().into_iter().filter_map(|found| {
        let looked = match (&found.identity, &found.obstacle) {
            (Some(identity), None) => Observer::of(identity).and_then(|observer| observer.look()),
            (_, obstacle) => return Some((found.clone(), Err(obstacle.clone().unwrap_or_default()))),
        };
        match looked {
            // It has ended between the two looks.
            Err(staffetta::inspect::InspectError::NoDomain { .. }) => None,
            other => Some((found, other.map_err(|error| error.to_string()))),
        }
    });
    let seen: Vec<_> = seen.collect();
    if args.json {
        let all: Vec<_> = seen
            .iter()
            .map(|(found, view)| json::found(found, view.as_ref().ok(), view.as_ref().err().cloned()))
            .collect();
        return line(&pretty(&all)?);
    }
    if seen.is_empty() {
        return line("no domain of this user");
    }
    let columns = [
        words("domain", 24),
        numbers("processes", 9),
        numbers("stopped", 7),
        numbers("channels", 8),
        numbers("waiting", 7),
        numbers("memory", 10),
        numbers("of", 10),
    ];
    table::head(&columns, Style::of_stdout())?;
    for (found, view) in seen {
        let name = describe::clean(&found.to_string());
        match view {
            Ok(view) => table::row(&columns, &row(&name, &view))?,
            Err(why) => line(&format!("{name:24}  {why}"))?,
        }
    }
    Ok(())
}

fn row(name: &str, view: &DomainView) -> [String; 7] {
    let stopped = view.processes.iter().filter(|process| process.status == ProcessStatus::Stopped).count();
    let waiting: u64 = view.channels.iter().map(|channel| channel.waiting).sum();
    [
        name.to_owned(),
        view.processes.len().to_string(),
        stopped.to_string(),
        view.channels.len().to_string(),
        waiting.to_string(),
        show(view.memory_bytes),
        show(view.memory_max_bytes),
    ]
}
