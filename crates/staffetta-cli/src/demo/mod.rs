//! `staffetta demo`: one file from one process to another by every mechanism, the copies counted.
//!
//! | file | what it is |
//! |---|---|
//! | `source` | the file, and everything that can be wrong with it |
//! | `mechanism`, `catalogue` | what a mechanism is; the list of them |
//! | `kernel` | TCP, Unix socket, pipe |
//! | `channels` | basic channel, rendezvous between variables, parcels by each method |
//! | `orders`, `sender`, `receiver` | the two processes, and what they are told |
//! | `run` | the coordinator: the passes of one mechanism, made into a row |
//! | `row`, `report`, `plot` | the figures: as JSON, as text, as a picture |

mod catalogue;
mod channels;
mod kernel;
mod mechanism;
mod orders;
mod plot;
pub mod receiver;
mod report;
mod row;
mod run;
pub mod sender;
pub mod source;

pub use orders::word_sum;
pub use run::run;

use crate::show::size::parse_positive;
use clap::Args;
use std::path::PathBuf;

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta demo                               64 MiB that it makes
  staffetta demo film.mkv --plot out.svg       your file, and a picture
  staffetta demo --message-size 64KiB --all    every mechanism by every way to wait
  tar c src | staffetta demo -                 the standard input
  staffetta demo --json | jq '.rows[] | [.mechanism, .gb_per_s]'";

/// Send a file from one process to another by every mechanism, and count the copies
///
/// Two processes are started. One reads FILE into its memory, before anything is timed. Then, for
/// each mechanism, it sends FILE as messages to the other, which reads every byte of every message.
/// A first pass is verified by hash and not timed; the figures are those of the median of up to five
/// more passes, each checked by its sum.
///
/// Columns: GB/s (10^9 bytes of FILE a second, from the first send to the last byte read); copies of
/// each message, counted by the channel, or, marked *, known by construction: a mechanism of the
/// kernel copies from the sender to the kernel and from the kernel to the receiver; context switches
/// and CPU seconds of both processes together.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The file to send; `-` is the standard input; without it 64 MiB are made
    pub file: Option<PathBuf>,
    /// The size of a message: 64KiB, 1MiB, or plain bytes
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_positive)]
    pub message_size: u64,
    /// Every mechanism by every way to wait, not one of each
    #[arg(long)]
    pub all: bool,
    /// Draw the figures into an SVG file
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub json: bool,
}
