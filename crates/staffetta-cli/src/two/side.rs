//! One of the two processes: what the hidden command does.
//!
//! Its standard input is the control wire to the coordinator, its standard output the link to the
//! other process; so no descriptor number has to be trusted, and nothing else may print there.

use super::wire::Wire;
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use rustix::process::{getppid, set_parent_process_death_signal, Signal};
use std::os::fd::AsFd;

/// Which of the two processes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    /// `demo`: the process that holds the file.
    DemoSender,
    /// `demo`: the process that the file goes to.
    DemoReceiver,
    /// `bench`: the process that holds the clock.
    BenchPing,
    /// `bench`: the process that answers.
    BenchPong,
}

impl Role {
    /// The word on the hidden command line.
    pub fn word(self) -> &'static str {
        match self {
            Role::DemoSender => "demo-sender",
            Role::DemoReceiver => "demo-receiver",
            Role::BenchPing => "bench-ping",
            Role::BenchPong => "bench-pong",
        }
    }
}

/// The hidden command's arguments.
#[derive(Debug, Args)]
pub struct SideArgs {
    role: Role,
    #[arg(long)]
    parent: u32,
    /// `bench`: the measurements are chosen for a quick run.
    #[arg(long)]
    quick: bool,
    /// `bench`: the cores of the two processes.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// `bench`: how many blocks each subject gets.
    #[arg(long, default_value_t = 30)]
    blocks: u32,
}

/// Runs one of the two processes until the coordinator closes the control wire.
pub fn run(args: SideArgs) -> Result<(), Failure> {
    die_with(args.parent)?;
    crate::machine::raise_descriptor_limit();
    let own = |fd: std::os::fd::BorrowedFd| {
        fd.try_clone_to_owned().map_err(|error| Failure::os("cannot take over the wires", error))
    };
    let control = Wire::new(own(std::io::stdin().as_fd())?);
    let link = Wire::new(own(std::io::stdout().as_fd())?);
    // A wire that fails means that the coordinator has gone or ends us: nobody is left to tell.
    match args.role {
        Role::DemoSender => drop(crate::demo::sender::serve(&control, &link)),
        Role::DemoReceiver => drop(crate::demo::receiver::serve(&control, &link)),
        Role::BenchPing | Role::BenchPong => {
            let plan = crate::bench::Plan { quick: args.quick, blocks: args.blocks };
            let ping = matches!(args.role, Role::BenchPing);
            let core = args.cores.get(usize::from(!ping)).copied();
            if let Some(core) = core {
                crate::machine::pin_to(core)?;
            }
            match ping {
                true => drop(crate::bench::ping::serve(&control, &link, plan)),
                false => drop(crate::bench::pong::serve(&link, plan)),
            }
        }
    }
    Ok(())
}

/// Asks the kernel to kill this process when its parent dies, and ends it if that has happened already.
pub fn die_with(parent: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::os("cannot tie this process to its parent", error))?;
    match getppid() {
        Some(pid) if pid.as_raw_nonzero().get() as u32 == parent => Ok(()),
        _ => Err(Failure::Usage("`__side` is started by other commands, not by hand".into())),
    }
}
