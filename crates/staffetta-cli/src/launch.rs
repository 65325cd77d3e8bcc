//! `staffetta run`: programs started in a domain of their own, as static references demand: those built with
//! `staffetta::launched!()` have it in their address space before `main`.
//!
//! The command waits in `poll`, on a descriptor for each program and on a pipe that a signal writes to. It
//! ends when the last program has ended, as the first that failed has ended.

use crate::failure::Failure;
use crate::show::size::parse_positive;
use clap::Args;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use staffetta::launch::{exit_code, Child, LaunchError, Mapped};
use staffetta::Domain;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta run -- ./producer + ./consumer       two programs in one domain
  staffetta run --count 4 -- ./worker --fast     four of one kind; each knows its index
  staffetta run --name lab -- ./producer         others can join it: Domain::join(\"lab\")
  staffetta run --verbose -- sh -c 'exec ./x'    tells who has mapped the domain";

/// The exit codes of this command.
pub const EXIT_CODES: &str = "\
Exit codes:
  the code of the program that failed first, or 0 if all ended with 0;
  128 + the number of the signal, if a signal ended it
  2    the command line was not understood
  4    the machine or its limits do not allow it: no domain, no process
  126  a program could not be executed
  127  a program was not found";

/// Start programs that have a domain in their address space before `main`
///
/// Makes a domain and starts PROGRAM in it; several programs are separated by `+`. A program built
/// with `staffetta::launched!()` has the domain mapped before its `main`, at the same address
/// in all, and reaches it by `Domain::inherited()`; it knows its name and its index by
/// `launch::identity()`. Other programs run unchanged.
///
/// The command ends when all have ended. Signals that ask it to end are passed on to all of them. If it is
/// killed the kernel kills them too; with --outlive they go on. The memory of the domain goes
/// with the last process that has it.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Give the domain a name by which other programs can join it; one that exists is joined
    #[arg(long)]
    name: Option<String>,
    /// Start so many of each program
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// The bytes that messages may occupy: 64MiB, 4GiB [default: half of the memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_positive)]
    memory: Option<u64>,
    /// The programs go on when this command ends
    #[arg(long)]
    outlive: bool,
    /// Tell which programs have mapped the domain, and how each has ended
    #[arg(long, short)]
    verbose: bool,
    /// The program and its arguments; `+` as an argument of its own begins another program
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// How a program ended, or could not begin, when that is not success: the exit code to pass on.
pub enum Ended {
    /// Well.
    Good,
    /// With this code.
    Code(u8),
}

/// A program that runs.
struct Running {
    label: String,
    child: Child,
    /// None: it had ended before we could look.
    pidfd: Option<OwnedFd>,
}

/// Runs the command.
pub fn run(args: RunArgs) -> Result<Ended, Failure> {
    let programs: Vec<&[OsString]> = args.command.split(|word| word == "+").collect();
    if programs.iter().any(|words| words.is_empty()) {
        return Err(Failure::Usage(
            "a program is missing beside a `+`: write `staffetta run -- a + b`; to pass a plain + to a program, \
             start it by `sh -c`"
                .into(),
        ));
    }
    let signals = Signals::install()?;
    let mut options = Domain::options();
    if let Some(bytes) = args.memory {
        options = options.memory_max_bytes(bytes);
    }
    let domain = match &args.name {
        Some(name) => options.open(name),
        None => options.create(),
    };
    let domain = domain.map_err(|error| Failure::Environment(format!("cannot make the domain: {error}")))?;
    let mut running = Vec::new();
    for words in programs {
        for index in 0..args.count {
            match start(&domain, words, index, args.outlive) {
                Ok(program) => running.push(program),
                Err(error) => {
                    eprintln!("staffetta: {error}");
                    end(&mut running);
                    return Ok(Ended::Code(code_of(&error)));
                }
            }
        }
    }
    if args.verbose {
        running.iter_mut().for_each(tell_mapped);
    }
    wait(running, &signals, &args)
}

fn start(domain: &Domain, words: &[OsString], index: u32, outlive: bool) -> Result<Running, LaunchError> {
    let program = words.first().map_or(OsStr::new(""), OsString::as_os_str);
    let name = std::path::Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    let launcher = domain.launcher(program).args(&words[1..]).name(&name).index(index).outlive(outlive);
    let child = launcher.spawn()?;
    let pid = Pid::from_raw(child.id() as i32);
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    Ok(Running { label: format!("{name} {index} (process {})", child.id()), child, pidfd })
}

/// Kills what has been started, after a program that could not be.
fn end(running: &mut [Running]) {
    for program in running.iter_mut() {
        let _ = program.child.kill();
    }
    for program in running {
        let _ = program.child.wait();
    }
}

/// As the shells do it.
fn code_of(error: &LaunchError) -> u8 {
    match error {
        LaunchError::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
        LaunchError::Program { .. } => 126,
        _ => 4,
    }
}

fn tell_mapped(program: &mut Running) {
    let label = &program.label;
    match program.child.mapped(Duration::from_millis(500)) {
        Mapped::Yes => eprintln!("staffetta: {label} has mapped the domain, before main"),
        Mapped::Failed { errno } => {
            let why = io::Error::from_raw_os_error(errno);
            eprintln!("staffetta: {label} could not map the domain: {why}");
        }
        _ => eprintln!(
            "staffetta: {label} has not mapped the domain: it is not built with staffetta::launched!(), \
             and runs unchanged"
        ),
    }
}

/// Waits for all programs, and passes signals on meanwhile.
fn wait(mut running: Vec<Running>, signals: &Signals, args: &RunArgs) -> Result<Ended, Failure> {
    let mut ended = Ended::Good;
    while !running.is_empty() {
        let nobody = running.iter().position(|program| program.pidfd.is_none());
        let ready = match nobody {
            Some(index) => Some(index),
            None => signals.wait_for_any(&running)?,
        };
        for signal in signals.noted() {
            // They go on without us.
            if args.outlive {
                return Err(Failure::Interrupted(signal));
            }
            if !(signal == SIGINT || signal == SIGQUIT) || !from_the_terminal() {
                pass_on(&running, signal);
            }
        }
        let Some(index) = ready else {
            continue;
        };
        let mut program = running.remove(index);
        let status = program.child.wait().map_err(|error| Failure::os("cannot wait for a program", error))?;
        if args.verbose {
            eprintln!("staffetta: {} has ended: {status}", program.label);
        }
        match exit_code(status) {
            0 => {}
            code if matches!(ended, Ended::Good) => ended = Ended::Code(code as u8),
            _ => {}
        }
    }
    Ok(ended)
}

fn pass_on(running: &[Running], signal: i32) {
    let Some(signal) = Signal::from_named_raw(signal) else {
        return;
    };
    for pidfd in running.iter().filter_map(|program| program.pidfd.as_ref()) {
        // One that has ended needs no signal.
        let _ = pidfd_send_signal(pidfd, signal);
    }
}

/// Whether keys of a terminal that become signals reach the programs too: then they are not passed on twice.
fn from_the_terminal() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The signals that are passed on.
const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Signals as notes, and a pipe that wakes whoever waits for them.
struct Signals {
    notes: [Arc<AtomicBool>; PASSED_ON.len()],
    pipe: UnixStream,
}

impl Signals {
    fn install() -> Result<Signals, Failure> {
        let cannot = |error| Failure::os("cannot install a signal handler", error);
        let (pipe, theirs) = UnixStream::pair().map_err(cannot)?;
        pipe.set_nonblocking(true).map_err(cannot)?;
        let notes: [Arc<AtomicBool>; PASSED_ON.len()] = Default::default();
        for (note, signal) in notes.iter().zip(PASSED_ON) {
            signal_hook::flag::register(signal, note.clone()).map_err(cannot)?;
            let theirs = theirs.try_clone().map_err(cannot)?;
            signal_hook::low_level::pipe::register(signal, theirs).map_err(cannot)?;
        }
        Ok(Signals { notes, pipe })
    }

    /// Waits until a program has ended, and tells which; none if it was a signal.
    fn wait_for_any(&self, running: &[Running]) -> Result<Option<usize>, Failure> {
        let pidfds = running.iter().filter_map(|program| program.pidfd.as_ref());
        let mut fds: Vec<PollFd> = pidfds.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
        let own = self.pipe.as_fd();
        fds.push(PollFd::from_borrowed_fd(own, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) => Ok(fds[..running.len()].iter().position(|fd| !fd.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(Failure::os("cannot wait for the programs", error)),
        }
    }

    /// The signals since the last look.
    fn noted(&self) -> Vec<i32> {
        // First the pipe, then the notes: one that comes in between is seen, or wakes us again.
        let mut bytes = [0; 64];
        while matches!((&self.pipe).read(&mut bytes), Ok(n) if n != 0) {}
        let noted = self.notes.iter().zip(PASSED_ON);
        noted.filter(|(note, _)| note.swap(false, Ordering::AcqRel)).map(|(_, signal)| signal).collect()
    }
}
