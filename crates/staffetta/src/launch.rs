//! Starting programs that hold the domain in their address space before `main`.
//!
//! With static references (coinciding or distinct logical addresses) a process has to have the
//! domain's memory in place before it runs; in the theory that is the loader's work. On Linux
//! exec discards all mappings, so it takes two: a [`Launcher`], which starts a program with the
//! domain's memory as an inherited descriptor, and [`launched!`](crate::launched), which puts a
//! constructor into the program that maps it before `main`.
//!
//! ```text
//!   launcher                                   program
//!   --------                                   -------
//!   reserves a place, puts a welcome           .init_array: maps the descriptor at the window's
//!   into a new socket                                       base, reports
//!   keeper thread: fork ---------------------> main
//!                  wait                        Domain::inherited(): reads the welcome,
//!                    |                                              becomes a member
//!   Child::wait() <--+ exit status
//! ```
//!
//! What a program finds in its environment:
//!
//! | variable | holds |
//! |---|---|
//! | `STAFFETTA_DOMAIN_FD` | `<descriptor>:<inode>` of the domain's memory |
//! | `STAFFETTA_DOOR_FD` | the same, of the socket with its welcome in it |
//! | `STAFFETTA_REPORT_FD` | the same, of the socket for the constructor's report |
//! | `STAFFETTA_WINDOW` | `<base>:<length>` in hexadecimal; base 0 means anywhere |
//! | `STAFFETTA_NAME`, `STAFFETTA_INDEX` | its identity |
//! | `STAFFETTA_END_<name>` | a channel end that is meant for it |
//!
//! What it does not do: it starts no shell, keeps no topology, restarts nobody. A program without
//! `launched!()` runs as it is; it finds the variables, and shell wrappers (`sh -c`, `nice`,
//! `numactl`) hand everything on to the program they start.
//!
//! Invariants:
//!
//! 1. A child dies with its launcher (`PR_SET_PDEATHSIG`), unless it may outlive it. The kernel
//!    ties that to the *thread* that forks, so each child has a keeper: a thread that starts it,
//!    waits for it, and lives exactly as long.
//! 2. A child is always reaped, whether or not anyone asks for its status.
//! 3. A descriptor is inherited by this one child only: it is close-on-exec everywhere except
//!    between this child's fork and its exec.
//! 4. The inode beside each number makes sure that a grandchild, which inherits the variables but
//!    maybe not the descriptors, takes no other file for the domain.

#![allow(unsafe_code)] // pre_exec, which runs between fork and exec.

mod inherit;

use crate::os::socket::{self, Received};
use crate::os::{self, pidfd, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::FdFlags;
use rustix::process::{self, Pid, Signal};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use thiserror::Error;

pub use inherit::{before_main, end, identity, Identity, InheritError};
#[allow(unused_imports)] // until domains are in
pub(crate) use inherit::{inherited, Inherited};

const DOMAIN: &str = "STAFFETTA_DOMAIN_FD";
const DOOR: &str = "STAFFETTA_DOOR_FD";
const REPORT: &str = "STAFFETTA_REPORT_FD";
const WINDOW: &str = "STAFFETTA_WINDOW";
const NAME: &str = "STAFFETTA_NAME";
const INDEX: &str = "STAFFETTA_INDEX";
const END: &str = "STAFFETTA_END_";

/// Maps an inherited domain before `main`.
///
/// Write it once, at the top level of a program that a [`Launcher`](crate::launch::Launcher)
/// starts. It costs a program that is started otherwise one look at its environment.
///
/// ```
/// staffetta::launched!();
///
/// fn main() {
///     match staffetta::launch::identity() {
///         Some(who) => println!("worker {} of the domain", who.index),
///         None => println!("started by hand"),
///     }
/// }
/// ```
#[macro_export]
macro_rules! launched {
    () => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = $crate::launch::before_main;
        };
    };
}

/// What a launcher needs of a domain.
pub(crate) trait Host {
    /// The domain's memory.
    fn memory(&self) -> BorrowedFd<'_>;

    /// Where a process maps it, and how long it is, in bytes; base 0 means anywhere.
    fn window(&self) -> (usize, usize);

    /// A socket with a welcome in it, for one process that is about to become a member.
    fn invite(&self) -> Result<OwnedFd, os::Error>;
}

/// Why a program could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The program could not be executed.
    #[error("cannot start {program:?}: {source}; check its path and that it is executable")]
    Program {
        /// What was to be started.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The name of a channel end cannot be part of a variable's name.
    #[error(
        "a channel end for a launched program is named {name:?}; use letters, digits and '_', \
         so that it fits into an environment variable"
    )]
    EndName {
        /// The name.
        name: String,
    },
    /// A text that contains NUL, or a name with `=` in it.
    #[error("{what} of a launched program contains a NUL character; leave it out")]
    Nul {
        /// Which text.
        what: &'static str,
    },
    /// The thread that keeps the child could not be started.
    #[error("cannot start a thread to keep a child: {0}; raise the limit on processes (`ulimit -u`)")]
    Keeper(#[source] io::Error),
    /// The kernel refused something else.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// Starts a program inside a domain.
pub struct Launcher<'d> {
    host: &'d dyn Host,
    command: Command,
    name: String,
    index: u32,
    ends: Vec<(String, String)>,
    outlive: bool,
}

impl<'d> Launcher<'d> {
    /// A program to be started in the domain of `host`.
    pub(crate) fn of(host: &'d dyn Host, program: impl AsRef<OsStr>) -> Self {
        let name = program.as_ref().to_string_lossy().into_owned();
        Self { host, command: Command::new(program), name, index: 0, ends: Vec::new(), outlive: false }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable in the program's environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// The name by which the program knows itself; at first, the program's own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The number by which the program knows itself among others of its kind; at first, 0.
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// Hands a channel end to the program, under a name that it looks up with [`end`].
    #[must_use]
    pub fn end(mut self, name: impl Into<String>, channel: impl fmt::Display) -> Self {
        self.ends.push((name.into(), channel.to_string()));
        self
    }

    /// Whether the program goes on when this process ends. At first it does not: it is killed.
    #[must_use]
    pub fn outlive(mut self, outlive: bool) -> Self {
        self.outlive = outlive;
        self
    }

    /// Where the program's standard input comes from; see [`Child::stdin`].
    #[must_use]
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Where the program's standard output goes; see [`Child::stdout`].
    #[must_use]
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Where the program's standard error goes; see [`Child::stderr`].
    #[must_use]
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self
    }

    /// Starts the program.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Program`] if it cannot be executed: the child's failure is reported here,
    /// not by an exit status.
    pub fn spawn(self) -> Result<Child, LaunchError> {
        let Self { host, mut command, name, index, ends, outlive } = self;
        if name.contains('\0') {
            return Err(LaunchError::Nul { what: "the name" });
        }
        for (name, channel) in &ends {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(fits) {
                return Err(LaunchError::EndName { name: name.clone() });
            }
            if channel.contains('\0') {
                return Err(LaunchError::Nul { what: "a channel end" });
            }
            command.env(format!("{END}{name}"), channel);
        }
        let (base, len) = host.window();
        command.env(NAME, name).env(INDEX, index.to_string()).env(WINDOW, format!("{base:x}:{len:x}"));

        let memory = rustix::io::fcntl_dupfd_cloexec(host.memory(), 0)
            .map_err(os::Error::when("duplicate the domain's descriptor"))?;
        let door = host.invite()?;
        let (report, reporting) =
            socket::pair().map_err(os::Error::when("make a socket for a child's report"))?;
        for (key, file) in [(DOMAIN, &memory), (DOOR, &door), (REPORT, &reporting)] {
            command.env(key, inherit::describe(file.as_fd())?);
        }
        let inherited = [memory, door, reporting];
        let launcher = process::getpid();
        // The keeper blocks all signals, and a child inherits that: it is to have ours instead.
        let mask = signal::Mask::of_this_thread();
        let between = move || {
            mask.apply();
            prepare_child(&inherited, launcher, outlive)
        };
        // SAFETY: runs in the child between fork and exec, where only async-signal-safe calls are
        // sound: it makes a few system calls, and allocates and locks nothing.
        unsafe { command.pre_exec(between) };
        let mut child = keep(command)?;
        child.report = Some(report);
        Ok(child)
    }
}

impl fmt::Debug for Launcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher")
            .field("command", &self.command)
            .field("name", &self.name)
            .field("index", &self.index)
            .field("ends", &self.ends)
            .field("outlive", &self.outlive)
            .finish_non_exhaustive()
    }
}

/// In the child, between fork and exec.
fn prepare_child(inherited: &[OwnedFd; 3], launcher: Pid, outlive: bool) -> io::Result<()> {
    for file in inherited {
        rustix::io::fcntl_setfd(file, FdFlags::empty())?; // invariant 3
    }
    if !outlive {
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the launcher died before that call, nobody will send the signal. A parent in another
        // pid namespace is `None`, alive or dead; there the signal has to do alone.
        if process::getppid().is_some_and(|parent| parent != launcher) {
            return Err(rustix::io::Errno::SRCH.into());
        }
    }
    Ok(())
}

/// Starts a child from a thread of its own, which waits for it (invariants 1 and 2).
fn keep(mut command: Command) -> Result<Child, LaunchError> {
    let (started, start) = mpsc::sync_channel(1);
    let (ended, end) = mpsc::sync_channel(1);
    let program = command.get_program().to_string_lossy().into_owned();
    let keeper = move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(source) => {
                let _ = started.send(Err(LaunchError::Program { program, source }));
                return;
            }
        };
        drop(command); // the parent's copies of what the child has inherited
        let handle = pidfd::of_child(Pid::from_child(&child)).map(|pidfd| Child {
            id: child.id(),
            pidfd,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            report: None,
            end,
            status: None,
        });
        let handle = handle.map_err(|error| {
            let _ = child.kill();
            LaunchError::from(error)
        });
        let _ = started.send(handle);
        let _ = ended.send(child.wait());
    };
    // Signals are for the threads of the program.
    signal::with_all_blocked(|| thread::Builder::new().name("staffetta-child".to_owned()).spawn(keeper))
        .map_err(LaunchError::Keeper)?;
    match start.recv() {
        Ok(started) => started,
        // The keeper sends before it ends, whatever happens.
        Err(mpsc::RecvError) => Err(LaunchError::Keeper(io::ErrorKind::BrokenPipe.into())),
    }
}

/// A program that was started in the domain.
///
/// Dropping it neither kills nor waits; the program is reaped all the same.
#[derive(Debug)]
pub struct Child {
    id: u32,
    pidfd: OwnedFd,
    /// The writing end of its standard input, if it was [`Stdio::piped`].
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if it was [`Stdio::piped`].
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if it was [`Stdio::piped`].
    pub stderr: Option<ChildStderr>,
    report: Option<OwnedFd>,
    end: mpsc::Receiver<io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
}

/// Whether a program has the domain in its address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mapped {
    /// Its constructor has mapped it, before `main`.
    Yes,
    /// Its constructor could not; [`io::Error::from_raw_os_error`] tells why, and
    /// `Domain::inherited` in the program says more.
    Failed {
        /// The system's error number.
        errno: i32,
    },
    /// It has not, or not yet: it has no `launched!()`, has not got that far, or has ended.
    No,
}

impl Child {
    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Errors
    ///
    /// `ECHILD` if the program that launched it ignores `SIGCHLD`, or waits for all its children.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take()); // or it may wait for us to write
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.end.recv().map_err(|_| gone())??;
        self.status = Some(status);
        Ok(status)
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    ///
    /// As for [`Child::wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match self.end.try_recv() {
                Ok(status) => Some(status?),
                Err(mpsc::TryRecvError::Empty) => None,
                Err(mpsc::TryRecvError::Disconnected) => return Err(gone()),
            };
        }
        Ok(self.status)
    }

    /// Kills it (`SIGKILL`). No error if it has ended already.
    ///
    /// # Errors
    ///
    /// `EPERM` if it has become another user.
    pub fn kill(&mut self) -> io::Result<()> {
        match process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it has mapped the domain. Waits for its report for at most `patience`.
    pub fn mapped(&mut self, patience: Duration) -> Mapped {
        let Some(report) = &self.report else {
            return Mapped::No;
        };
        let report = std::slice::from_ref(report);
        // A signal makes the answer early, and that is all.
        let _ = socket::wait_readable(report, patience);
        let mut errno = [0; 4];
        let Ok(Received::Message { len: 4, .. }) = socket::peek(&report[0], &mut errno) else {
            return Mapped::No;
        };
        match i32::from_ne_bytes(errno) {
            0 => Mapped::Yes,
            errno => Mapped::Failed { errno },
        }
    }
}

/// Somebody else has waited for the child.
fn gone() -> io::Error {
    rustix::io::Errno::CHILD.into()
}

/// The exit code that a shell gives for a status: the program's own, or 128 and the signal.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    }
}

/// Ends this process the way another one has ended: with its exit code, or by its signal.
pub fn pass_on(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        signal::die_of(signal);
    }
    std::process::exit(exit_code(status))
}

#[cfg(test)]
mod tests;
