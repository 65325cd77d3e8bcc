//! `staffetta doctor`: who waits for whom, who waits for ever, and what is broken.

use super::{json, pretty};
use crate::failure::Failure;
use crate::show::table::line;
use clap::Args;
use staffetta::inspect::Observer;

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta doctor lab                  who waits for whom, deadlocks, broken words
  staffetta doctor lab --json | jq '.deadlocks[].processes'
  staffetta doctor lab || echo 'lab is not well'
  staffetta doctor lab --strict         a process that is stopped and holds others up is an error, too

What it says of a domain in which two processes wait for each other:
  who waits for whom
    left (pid 71) --receive \"answers\" 4.0 s--> right (pid 72)
    right (pid 72) --receive \"questions\" 4.0 s--> left (pid 71)
    viewer (pid 73) --receive \"frames\" 1.5 s, 3.5 s left--> camera (pid 74, STOPPED)
  DEADLOCK: 2 processes wait for each other";

const EXIT_CODES: &str = "\
Exit codes:
  0    healthy; there may be warnings: a process that is stopped and holds others up, what may be a
       deadlock, what may be under way in a process that is stopped
  1    something is wrong: a deadlock, a broken word; with --strict also a warning
  2    it could not look: no such domain, another user's, another version's, out of sight; or the
       command line was not understood
  130  interrupted (128 + the number of the signal)";

/// Examine a domain: who waits for whom, who will wait for ever, what is broken
///
/// Draws who waits for whom, since when, on which channel; names deadlocks (processes that wait for each
/// other, without a deadline and for nobody else), and the process that the others wait for, with whether it
/// is stopped. Checks the words of the domain while it runs: what is said to be broken was so, word for
/// word, at several looks. It only reads: nobody is asked, stopped or disturbed.
///
/// Not seen: a thread that waits outside of the domain (for a lock, a timer, a file, a channel within its
/// process) or polls; one that is busy waiting for less than half a millisecond. Whoever has such a thread
/// may still help, so no deadlock is said to be certain because of it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct DoctorArgs {
    /// The domain, by its name or its identity (# and the beginning of its digits)
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// End with code 1 also if there are only warnings
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
pub fn run(args: DoctorArgs) -> Result<(), Failure> {
    // Whatever keeps it from looking has one code.
    let cannot = |error: staffetta::inspect::InspectError| Failure::Usage(error.to_string());
    let diagnosis = Observer::of(&args.name).and_then(|observer| observer.doctor()).map_err(cannot)?;
    if args.json {
        line(&pretty(&json::diagnosis(&diagnosis))?)?;
    } else {
        line(&diagnosis.to_string())?;
    }
    let is_well = diagnosis.is_healthy() && (!args.strict || diagnosis.warnings().is_empty());
    if is_well {
        Ok(())
    } else {
        Err(Failure::Program(1)) // it has been said why
    }
}
