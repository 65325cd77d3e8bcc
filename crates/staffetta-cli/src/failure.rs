//! Everything that can go wrong in a command, and the exit code of each.
//!
//! Each sentence says what happened and what the user can do about it.

use crate::demo::source::BadInput;
use std::io;

/// What one part of a command reports to the part above it: already a sentence.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A message arrived changed, or a mechanism could not run.
    #[error("{0}")]
    Mechanism(String),
    /// An argument that parses, but that this command cannot use.
    #[error("{0}")]
    Usage(String),
    /// The file given by the user cannot be sent.
    #[error("{0}")]
    Input(#[from] BadInput),
    /// What came through a pipe is no message.
    #[error("{0}")]
    Data(String),
    /// The machine or its limits do not allow what the command needs.
    #[error("{0}")]
    Environment(String),
    /// A signal asked the command to stop; its number.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// A program that was run ended with this code, and has said why.
    #[error("a program ended with code {0}")]
    Program(u8),
    /// The reader of our output has gone (`| head`): nobody is left to tell.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// The exit code, as documented in `--help`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Mechanism(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Input(_) | Failure::Data(_) => 3,
            Failure::Environment(_) => 4,
            Failure::Interrupted(signal) => (128 + signal) as u8,
            Failure::Program(code) => *code,
            Failure::OutputClosed => 0,
        }
    }

    /// A failure to write to the standard output.
    pub fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Environment(format!("cannot write to the standard output: {error}")),
        }
    }

    /// Something the operating system refused: `what` reads "cannot …".
    pub fn os(what: &str, error: impl Into<io::Error>) -> Failure {
        let error = error.into();
        let advice = match error.raw_os_error() {
            Some(libc::EMFILE) => "; raise the limit with `ulimit -n`",
            Some(libc::ENFILE) => "; the whole machine has too many open files",
            Some(libc::EFBIG) => "; raise the limit with `ulimit -f`: shared memory counts as a file",
            Some(libc::ENOMEM | libc::EAGAIN) => "; free some memory, or see `ulimit -v` and `ulimit -u`",
            Some(libc::EPERM | libc::ENOSYS) => "; does a sandbox or seccomp profile forbid it?",
            _ => "",
        };
        Failure::Environment(format!("{what}: {error}{advice}"))
    }
}
