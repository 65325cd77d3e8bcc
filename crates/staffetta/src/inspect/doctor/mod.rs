//! The doctor: who waits for whom, who will wait for ever, who holds the others up, and which words of the domain are wrong.
//!
//! It reads and nothing else (`inspect`): no process is asked, stopped or disturbed, and it works as well when all of them
//! hang. A thread that is about to sleep has said in its PCB what it waits for, since when and until when (`process::pcb`, P3).
//!
//! ```no_run
//! let diagnosis = staffetta::inspect::doctor("lab")?;
//! for deadlock in &diagnosis.deadlocks {
//!     println!("processes in slots {:?} wait for each other", deadlock.processes);
//! }
//! println!("{diagnosis}"); // the same with names, and a drawing
//! # Ok::<(), staffetta::inspect::InspectError>(())
//! ```
//!
//! | file | one idea |
//! |---|---|
//! | `mod.rs` | what is said |
//! | `examine.rs` | how often it is looked at before it is said |
//! | `waits.rs`, `ends.rs` | who waits, and for whom, from PCBs and channels |
//! | `graph.rs` | who can go on and who never will |
//! | `members.rs` | the members' threads, as the kernel tells of them |
//! | `check/` | what must hold of the domain's words |
//! | `report.rs` | all of it in words |
//!
//! **What is not seen**: a thread that waits outside of the domain (for a lock, a timer, a file), or polls with `try_*`; a wait for an
//! end within the process (`staffetta::bounded`), unless a select has it beside ends of the domain; one that is busy waiting
//! before it has done so for about half a millisecond. Whoever has such a thread is taken for somebody who may still help.

mod check;
mod ends;
mod examine;
mod graph;
mod members;
mod report;
mod waits;

use super::{InspectError, ProcessStatus, ProcessView};

pub(super) use examine::examine;

/// What a thread does while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Doing {
    /// It sends.
    Send,
    /// It receives.
    Receive,
    /// It has called a service, and waits for the reply.
    Call,
    /// It waits for a request.
    Serve,
    /// It does not say anything that this version knows.
    Unknown,
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Doing::Send => "send",
            Doing::Receive => "receive",
            Doing::Call => "call",
            Doing::Serve => "serve",
            Doing::Unknown => "unknown",
        })
    }
}

/// Somebody who could end a wait, and is no process that is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Nobody {
    /// Whoever will attach to the other side: nobody holds an end there.
    NotThere,
    /// Whoever takes the end out of the message in which it lies.
    InMessage,
    /// A thread of its own process, by an end within the process.
    Within,
    /// The channel's words make no sense.
    Unknown,
}

impl std::fmt::Display for Nobody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Nobody::NotThere => "nobody yet",
            Nobody::InMessage => "an end that lies in a message",
            Nobody::Within => "a thread of its own process",
            Nobody::Unknown => "somebody unknown: the channel's words make no sense",
        })
    }
}

/// One of the operations that a thread waits for: of a select there may be several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitArm {
    /// What it does.
    pub doing: Doing,
    /// The channel: its index in the domain.
    pub channel: Option<usize>,
    /// Its name; empty if it has none.
    pub name: String,
    /// Process slots of those who could end the wait.
    pub for_whom: Vec<u16>,
    /// All of them are needed, as by the sender of a broadcast; else any of them will do.
    pub all: bool,
    /// Somebody else could end it, too.
    pub nobody: Option<Nobody>,
}

/// A thread that waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Waiting {
    /// Its process slot.
    pub process: u16,
    /// Its thread id, in its own namespace.
    pub thread: u32,
    /// Its PCB.
    pub pcb: usize,
    /// For how long.
    pub for_ns: u64,
    /// For how much longer at most. None: for ever.
    pub left_ns: Option<u64>,
    /// It is busy waiting; else it sleeps in the kernel.
    pub spins: bool,
    /// It was the same wait at every look.
    pub lasts: bool,
    /// It waits for several operations at once, of which one is enough.
    pub selects: bool,
    /// What it waits for.
    pub arms: Vec<WaitArm>,
}

/// Processes that wait for each other, without a deadline, and for nobody else.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deadlock {
    /// Their process slots.
    pub processes: Vec<u16>,
    /// Their waits, one after the other: indices of [`Diagnosis::waits`].
    pub waits: Vec<usize>,
    /// Process slots of those who wait for them.
    pub also: Vec<u16>,
    /// Threads of these processes that wait for nothing that is seen, and did nothing meanwhile: unless one of them helps it is
    /// a deadlock. None: it is one.
    pub unless: Vec<(u16, String)>,
}

impl Deadlock {
    /// Can nobody help?
    pub fn is_certain(&self) -> bool {
        self.unless.is_empty()
    }
}

/// A process that others wait for, and that waits for nobody.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HoldUp {
    /// Its process slot.
    pub process: u16,
    /// Is it stopped, or has it ended?
    pub status: ProcessStatus,
    /// Process slots of those who wait for it, also by way of others.
    pub waiting: Vec<u16>,
}

/// Something of the domain's memory that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Broken {
    /// Where.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// The words that say so.
    pub words: Vec<u64>,
}

/// How a domain is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The domain's name, if it has one.
    pub name: Option<String>,
    /// Its identity.
    pub identity: String,
    /// Its members.
    pub processes: Vec<ProcessView>,
    /// Who waits for whom.
    pub waits: Vec<Waiting>,
    /// Who will wait for ever.
    pub deadlocks: Vec<Deadlock>,
    /// Whom they all wait for: most important first.
    pub held_up_by: Vec<HoldUp>,
    /// What is wrong with its words.
    pub broken: Vec<Broken>,
    /// What would be wrong if a process that is stopped, or that got no core meanwhile, was not in the middle of it.
    pub unsettled: Vec<Broken>,
}

impl Diagnosis {
    /// Is there neither a deadlock for certain, nor anything broken?
    pub fn is_healthy(&self) -> bool {
        self.broken.is_empty() && !self.deadlocks.iter().any(Deadlock::is_certain)
    }

    /// Sentences about what may be wrong: a process that holds others up and is stopped or gone, what may be a deadlock, what could
    /// not be settled.
    pub fn warnings(&self) -> Vec<String> {
        report::warnings(self)
    }

    /// The process in a slot.
    pub fn process(&self, slot: u16) -> Option<&ProcessView> {
        self.processes.iter().find(|process| process.slot == slot)
    }
}

/// Examines the domain called `name`, or of this identity (`#` and the beginning of its digits). Takes some hundredths of a second;
/// longer, up to some seconds, if something seems wrong.
///
/// ```
/// # let name = format!("doc-doctor-{}", std::process::id());
/// let domain = staffetta::Domain::options().window_bytes(16 << 30).open(&name)?;
/// let tx = domain.channel("numbers").buffered(4).sender::<u64>()?;
/// tx.send(7)?;
/// let diagnosis = staffetta::inspect::doctor(&name)?;
/// assert!(diagnosis.is_healthy(), "{diagnosis}");
/// assert!(diagnosis.waits.is_empty() && diagnosis.deadlocks.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Observer::of`](super::Observer::of) and [`Observer::look`](super::Observer::look).
pub fn doctor(name: &str) -> Result<Diagnosis, InspectError> {
    super::Observer::of(name)?.doctor()
}
