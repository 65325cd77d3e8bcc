//! `staffetta soak`: very many messages over each flavor of channel, between processes, and none lost, doubled, out of order
//! or kept.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | the flavors, what they carry, and the rows |
//! | `check` | how messages are told apart, and what must add up |
//! | `side` | one process: sends or receives |
//! | `to_all`, `reply`, `local` | the same of a broadcast or latest values, of a service, within one process |
//! | `run` | starts the processes of a row, waits, compares |
//!
//! It measures nothing: the rate is told so that one knows how long to wait.

mod check;
mod local;
mod plan;
mod reply;
mod run;
pub mod side;
mod to_all;

use crate::failure::Failure;
use crate::show::style::Style;
use crate::show::{size, table};
use clap::{Args, ValueEnum};
use plan::{parse_count, Carry, Choice, Flavor};
use staffetta::{Method, Wait};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta soak                                      10^9 messages a flavor: for hours
  staffetta soak --messages 10^6                      a minute
  staffetta soak --flavor bounded --processes 4       four senders, four receivers
  staffetta soak --flavor broadcast-drop-oldest       what was missed and what came add up
  staffetta soak --wait park --messages 1e5           everybody sleeps for every message
  staffetta soak --json > soak.json";

/// Send very many messages over each flavor of channel, and check that each arrives once
///
/// Every row is real processes in a domain of their own: one sender or several, one receiver or several. Each message has a
/// number and a fingerprint. Checked is that each arrives exactly once and whole, that the messages of a sender arrive
/// in its order, and that when all is over the domain has as many bytes in use as before
/// (`blocks`; after a short first round, in which the channel gets its own memory).
/// Where the oldest message is dropped for want of room, what came and what was dropped must add up.
///
/// Of a broadcast each receiver must get each message, in order; where a slow one misses some, or is disconnected and comes again,
/// the gaps in the numbers must be exactly what it was told that it missed, and the last message must come. So with
/// the latest value: whole, never backwards, and the last one. Of a service each request must reach one server, and each
/// call get its own reply; clients have up to --degree calls (at most 32) under way, and servers answer out of order.
/// Flavors within one process (`local`, `local-rendezvous`) run in threads of one, and have no blocks.
///
/// What is not fixed by --wait and --method goes round from row to row, so that any two choices meet. Messages
/// built in place and parcels are a tenth of --messages, capabilities a thousandth: they are dearer. So are
/// calls of a service, and messages of a broadcast whose sender waits for all or for those who come again: a tenth.
///
/// Wait policies: `spin` keeps a core busy for each process; `park` sleeps in the kernel for each message
/// that is not there yet; `spin-then-park` is the default of channels.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// Only this flavor; may be repeated
    #[arg(long, value_name = "FLAVOR")]
    flavor: Vec<Flavor>,
    /// Only what travels like this; may be repeated
    #[arg(long, value_name = "WHAT")]
    carry: Vec<Carry>,
    /// Messages of each flavor: 1000000, 10^9, 1e5
    #[arg(long, value_name = "N", default_value = "10^9", value_parser = parse_count)]
    messages: u64,
    /// How all ends wait: spin, spin-then-park, park
    #[arg(long, value_parser = parse_wait)]
    wait: Option<Wait>,
    /// The reference method: coinciding, distinct, capability
    #[arg(long, value_parser = parse_method)]
    method: Option<Method>,
    /// How many messages may wait
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 14))]
    degree: u64,
    /// Senders, and receivers, of a flavor that has many
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=32))]
    processes: u64,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

fn parse_wait(text: &str) -> Result<Wait, String> {
    let wait = Wait::ALL.into_iter().find(|wait| wait.to_string() == text);
    wait.ok_or_else(|| "it is spin, spin-then-park or park".into())
}

fn parse_method(text: &str) -> Result<Method, String> {
    let method = Method::ALL.into_iter().find(|method| method.to_string() == text);
    method.ok_or_else(|| "it is coinciding, distinct or capability".into())
}

const COLUMNS: [table::Column; 10] = [
    table::words("flavor", 21),
    table::words("carries", 9),
    table::words("references", 11),
    table::words("wait", 15),
    table::words("ends", 5),
    table::numbers("messages", 13),
    table::numbers("dropped", 11),
    table::numbers("missed", 11),
    table::numbers("time", 9),
    table::words("", 8),
];

/// Runs the command.
pub fn run(args: SoakArgs) -> Result<(), Failure> {
    crate::interrupt::install()?;
    crate::machine::raise_descriptor_limit();
    let or_all =
        |given: &[Flavor]| if given.is_empty() { Flavor::value_variants().to_vec() } else { given.to_vec() };
    let carries = if args.carry.is_empty() { Carry::value_variants().to_vec() } else { args.carry.clone() };
    let choice = Choice {
        flavors: &or_all(&args.flavor),
        carries: &carries,
        wait: args.wait,
        method: args.method,
        degree: args.degree,
        many: args.processes,
        messages: args.messages,
    };
    let rows = choice.rows();
    if rows.is_empty() {
        return Err(Failure::Usage("no row is left: rendezvous, basic, request-reply and local cannot carry in-place, and only channels to one receiver \
             carry parcels".into()));
    }
    if !args.json {
        table::head(&COLUMNS, Style::of_stdout())?;
    }
    let mut done = Vec::new();
    for row in rows {
        let soaked = run::row(row)?;
        if !args.json {
            let row = &soaked.row;
            let cells = [
                word(&row.flavor),
                word(&row.carry),
                row.method.clone(),
                row.wait.clone(),
                format!("{}:{}", row.senders, row.receivers),
                row.messages.to_string(),
                soaked.dropped.to_string(),
                soaked.missed.to_string(),
                size::duration(soaked.seconds * 1e9),
                soaked.problem.clone().unwrap_or_else(|| "ok".into()),
            ];
            table::row(&COLUMNS, &cells)?;
        }
        done.push(soaked);
    }
    let problem = done.iter().find_map(|soaked| soaked.problem.clone());
    if args.json {
        let text = serde_json::json!({ "rows": done });
        table::line(&format!("{text:#}"))?;
    }
    match problem {
        Some(problem) => Err(Failure::Mechanism(problem)),
        None => Ok(()),
    }
}

/// Its word on the command line.
fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
