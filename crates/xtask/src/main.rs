//! The project's own tools: `cargo xtask torture` kills, stops and corrupts, and counts what went wrong.

mod torture;

use std::process::ExitCode;

use clap::Parser;

/// The project's own tools.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
enum Task {
    /// Kill, stop and corrupt processes in every way known; count what was lost, duplicated, leaked or hung.
    Torture(torture::Orders),
    /// A process that one of the rows starts: not for people.
    #[command(hide = true)]
    Role {
        /// What it plays.
        role: String,
        /// What it needs for that.
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match Task::parse() {
        Task::Torture(orders) => torture::run(&orders),
        Task::Role { role, arguments } => torture::play(&role, &arguments),
    }
}
