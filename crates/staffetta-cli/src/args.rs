//! The commands as the user sees them: their words, their help, their examples.

use crate::bench::BenchArgs;
use crate::demo::DemoArgs;
use crate::failure::Failure;
use crate::launch::RunArgs;
use crate::limits::LimitsArgs;
use crate::soak::side::SoakSideArgs;
use crate::soak::SoakArgs;
use crate::two::side::SideArgs;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

const EXIT_CODES: &str = "\
Exit codes:
  0    everything ran, and every message arrived unchanged
  1    a message arrived changed, or a mechanism could not run
  2    the command line was not understood
  3    bad input: the file is missing, empty, a directory, unreadable or too large
  4    the machine or its limits (memory, descriptors, cores) do not allow it
  130  interrupted (128 + the number of the signal)";

const AFTER: &str = "\
Examples:
  staffetta demo                        64 MiB from process to process, every mechanism
  staffetta demo film.mkv --plot out.svg
  staffetta bench --quick               latencies beside the machine's own limits, in 40 s
  staffetta soak --messages 10^6        each flavor of channel: none lost, none twice
  staffetta run -- ./producer + ./consumer
  staffetta list                        the domains that run; then: inspect, rate
  staffetta doctor lab                  who waits for whom, and for ever; what is broken
  seq 9 | staffetta send lab/numbers --layout u64 &
  staffetta recv lab/numbers --consume --wait
  staffetta limits                      what this machine can hold
  staffetta completions bash > ~/.local/share/bash-completion/completions/staffetta";

/// Zero-copy message passing between processes
///
/// A message is handed from process to process as a baton is in a relay race: passed on, never
/// duplicated. These commands show it on your own machine, with the copies counted, and measure
/// it against what the machine itself can do.
#[derive(Debug, Parser)]
#[command(name = "staffetta", version, after_help = AFTER,
    after_long_help = format!("{AFTER}\n\n{EXIT_CODES}"), max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    // What these commands do is told at their arguments: a comment here would hide that.
    #[command(after_help = crate::demo::EXAMPLES,
        after_long_help = format!("{}\n\n{EXIT_CODES}", crate::demo::EXAMPLES))]
    Demo(DemoArgs),
    #[command(after_help = crate::bench::EXAMPLES,
        after_long_help = format!("{}\n\n{EXIT_CODES}", crate::bench::EXAMPLES))]
    Bench(BenchArgs),
    #[command(after_help = crate::soak::EXAMPLES,
        after_long_help = format!("{}\n\n{EXIT_CODES}", crate::soak::EXAMPLES))]
    Soak(SoakArgs),
    #[command(after_help = crate::launch::EXAMPLES,
        after_long_help = format!("{}\n\n{}", crate::launch::EXAMPLES, crate::launch::EXIT_CODES))]
    Run(RunArgs),
    List(crate::look::list::ListArgs),
    Inspect(crate::look::inspect::InspectArgs),
    Doctor(crate::look::doctor::DoctorArgs),
    Rate(crate::look::rate::RateArgs),
    Send(crate::send::SendArgs),
    Recv(crate::recv::RecvArgs),
    #[command(after_help = "Examples:\n  staffetta limits\n  staffetta limits --json")]
    Limits(LimitsArgs),
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  staffetta completions zsh > ~/.zfunc/_staffetta")]
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
    /// One of the two processes that a command starts.
    #[command(name = "__side", hide = true)]
    Side(SideArgs),
    /// One of the processes of a soak.
    #[command(name = "__soak", hide = true)]
    SoakSide(SoakSideArgs),
}

/// Prints the completions for `shell`.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    // Into memory first: clap_complete panics when the pipe it writes to is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "staffetta", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
