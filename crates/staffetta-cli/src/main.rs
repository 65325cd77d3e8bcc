//! The command line of Staffetta.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the commands as the user sees them: words, help, examples |
//! | `failure` | everything that can go wrong, and the exit code of each |
//! | `two` | two real processes that a command runs, and the wires to them |
//! | `demo` | one file, every mechanism, the copies counted |
//! | `bench` | subjects and raw limits in interleaved blocks |
//! | `soak` | very many messages over each flavor, and none lost |
//! | `launch` | `staffetta run`: programs in a domain |
//! | `look` | `list`, `inspect`, `doctor`, `rate`: domains that run, looked at and not touched |
//! | `send`, `recv`, `target`, `data` | messages through pipes: which channel, in which form |
//! | `limits` | what this machine and this library can hold |
//! | `show` | text on the terminal: tables, bars, colours, units |
//! | `machine` | what the machine is: cores, caches, kernel, free memory |
//! | `raw` | the only unsafe code: mappings, and one system call rustix lacks |

mod args;
mod bench;
mod data;
mod demo;
mod failure;
mod interrupt;
mod launch;
mod limits;
mod look;
mod machine;
mod raw;
mod recv;
mod send;
mod show;
mod soak;
mod target;
mod two;

use args::{Cli, Command};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors; clap knows which stream each belongs to.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let result = interrupt::survive_file_limit().and_then(|()| match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Run(args) => match launch::run(args)? {
            launch::Ended::Good => Ok(()),
            launch::Ended::Code(code) => Err(Failure::Program(code)),
        },
        Command::List(args) => look::list::run(args),
        Command::Inspect(args) => look::inspect::run(args),
        Command::Doctor(args) => look::doctor::run(args),
        Command::Rate(args) => look::rate::run(args),
        Command::Send(args) => send::run(args),
        Command::Recv(args) => recv::run(args),
        Command::Soak(args) => soak::run(args),
        Command::SoakSide(args) => soak::side::run(args),
        Command::Limits(args) => limits::run(args),
        Command::Completions { shell } => args::completions(shell),
        Command::Side(args) => two::side::run(args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Interrupted(_) | Failure::Program(_)) {
                eprintln!("staffetta: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
