//! Looking at domains without touching them.
//!
//! Nothing here joins a domain, maps it, writes to it, or asks a member for anything. A domain's memory is read through the
//! descriptor that one of its processes has open (`/proc/PID/fd`, which the same user may open), so it works all the same
//! when every member is stopped, hangs, or is dead and not swept yet. That is also its limit: what is not this user's, or is in
//! another process namespace, is not seen.
//!
//! ```
//! use staffetta::{inspect, Domain};
//!
//! # let name = format!("doc-inspect-{}", std::process::id());
//! let domain = Domain::options().window_bytes(16 << 30).open(&name)?;
//! let tx = domain.channel("numbers").buffered(4).sender::<u64>()?;
//! tx.send(7)?;
//!
//! let seen = inspect::Observer::of(&name)?.look()?;
//! assert_eq!(seen.processes.len(), 1);
//! let channel = &seen.channels[0];
//! assert_eq!((channel.name.as_str(), channel.waiting), ("numbers", 1));
//! assert_eq!(channel.senders[0].process, Some(seen.processes[0].slot));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | one idea |
//! |---|---|
//! | `mod.rs` | what is shown |
//! | `find.rs` | which domains there are |
//! | `look.rs` | a domain: its processes, its PCBs |
//! | `channel.rs` | a channel: its words, its ends, who waits for whom |
//! | `account.rs` | of everything in use, who has it; and what nobody has |
//! | `doctor/` | who waits for ever, who holds the others up, what is broken |
//! | `error.rs` | why there is nothing to see |
//!
//! I1. Every word is loaded once, and checked before it is used: what a program wrote wildly is shown as it is, or left
//!     out; it is never followed out of the domain, and work is bounded by the domain's own limits.
//! I2. Words are read one after the other while the domain runs on. What is shown may never have been so at one moment: decide
//!     nothing by it.

pub(crate) mod account;
mod channel;
mod doctor;
mod error;
mod find;
mod look;

use crate::channel::continuation::Continuation;
use crate::message::Schema;
use crate::{DescriptorView, Kind, Method, SideCounters};

pub use account::{Account, Leak, Leaked};
pub use doctor::{doctor, Broken, Deadlock, Diagnosis, Doing, HoldUp, Nobody, WaitArm, Waiting};
pub use error::InspectError;

/// A domain that was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FoundDomain {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its identity, `#` and hexadecimal digits: tells it from another of the same name. None: it cannot be read.
    pub identity: Option<String>,
    /// The processes that have it open.
    pub pids: Vec<u32>,
    /// Why it cannot be looked into, if so.
    pub obstacle: Option<String>,
}

impl std::fmt::Display for FoundDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.name.as_deref().or(self.identity.as_deref()), self.pids.first()) {
            (Some(name), _) => f.pad(name),
            (None, Some(pid)) => f.pad(&format!("(of process {pid})")),
            (None, None) => f.pad("(unknown)"),
        }
    }
}

/// The domains of this user: all that a process of it has open, and names that are taken.
///
/// ```
/// # let name = format!("doc-domains-{}", std::process::id());
/// # let domain = staffetta::Domain::options().window_bytes(16 << 30).open(&name)?;
/// let all = staffetta::inspect::domains();
/// assert!(all.iter().any(|found| found.name.as_deref() == Some(&name)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn domains() -> Vec<FoundDomain> {
    find::candidates().into_iter().map(|candidate| candidate.shown).collect()
}

/// Looks at one domain, as often as asked.
///
/// It has the domain's memory open, so this stays there to be read when the last process is gone; its name is free then.
#[derive(Debug)]
pub struct Observer {
    inner: look::Inner,
}

/// The [account](Observer::account) of a domain whose memory this descriptor stands for, with or without a name.
///
/// # Errors
/// [`InspectError::System`]: it is no domain's, or the kernel does not let it be read.
pub fn account_of(memory: std::os::fd::BorrowedFd<'_>) -> Result<Account, InspectError> {
    Ok(account::account(&find::reading(memory)?)?)
}

impl Observer {
    /// Of the domain called `name`, or of this identity (`#` and the beginning of its digits).
    ///
    /// # Errors
    /// [`InspectError`]: there is none (it tells which there are), several, or its memory is out of reach.
    pub fn of(name: &str) -> Result<Observer, InspectError> {
        look::Inner::of(name).map(|inner| Observer { inner })
    }

    /// What is there now.
    ///
    /// # Errors
    /// [`InspectError::System`]: the kernel does not let it be read.
    pub fn look(&self) -> Result<DomainView, InspectError> {
        self.inner.look()
    }

    /// What is in use, who has it, and what has been lost: exact if nothing happens in the domain meanwhile.
    ///
    /// ```
    /// # let name = format!("doc-account-{}", std::process::id());
    /// # let domain = staffetta::Domain::options().window_bytes(16 << 30).open(&name)?;
    /// let parcel = staffetta::Parcel::new(&domain, 1_u64)?;
    /// let account = staffetta::inspect::Observer::of(&name)?.account()?;
    /// assert_eq!((account.blocks_owned, account.leaks.len()), (1, 0), "{account}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InspectError::System`]: the kernel does not let it be read.
    pub fn account(&self) -> Result<Account, InspectError> {
        Ok(account::account(self.inner.reading())?)
    }

    /// Examines the domain: [`doctor`].
    ///
    /// # Errors
    /// [`InspectError::System`]: the kernel does not let it be read.
    pub fn doctor(&self) -> Result<Diagnosis, InspectError> {
        doctor::examine(&self.inner)
    }
}

/// A domain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DomainView {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its identity.
    pub identity: String,
    /// Bytes of its window.
    pub window_bytes: u64,
    /// Where processes with coinciding addresses map it.
    pub window_base: u64,
    /// Bytes that messages may occupy.
    pub memory_max_bytes: u64,
    /// Bytes that they occupy, free blocks that keep their memory included.
    pub memory_bytes: u64,
    /// Bytes that free blocks keep.
    pub retained_bytes: u64,
    /// Entries in use: one for each end and parcel that lies in a parcel, and one for each hold that a process has of a
    /// channel without a name. None are left when nothing lies anywhere and all such channels are over.
    pub entries_in_use: usize,
    /// Its members, by process slot.
    pub processes: Vec<ProcessView>,
    /// Its channels, in the order in which they were made.
    pub channels: Vec<ChannelView>,
    /// The PCBs that are held: of threads that slept at least once.
    pub pcbs: Vec<PcbView>,
}

impl DomainView {
    /// The channel called so.
    pub fn channel(&self, name: &str) -> Option<&ChannelView> {
        self.channels.iter().find(|channel| channel.name == name && !name.is_empty())
    }

    /// The process in a slot.
    pub fn process(&self, slot: u16) -> Option<&ProcessView> {
        self.processes.iter().find(|process| process.slot == slot)
    }

    /// Does any process still run that has the domain open?
    pub fn is_alive(&self) -> bool {
        self.processes.iter().any(|process| !matches!(process.status, ProcessStatus::Gone))
    }
}

/// What the domain's table says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Membership {
    /// It is joining.
    Joining,
    /// It is a member.
    Live,
    /// It is dead, and what it left is being put in order.
    Dead,
    /// No state that this version knows.
    Unknown,
}

impl std::fmt::Display for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Membership::Joining => "joining",
            Membership::Live => "member",
            Membership::Dead => "dead, being swept",
            Membership::Unknown => "unknown",
        })
    }
}

/// What the kernel says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ProcessStatus {
    /// It runs, or could.
    Running,
    /// It sleeps until something happens.
    Sleeping,
    /// It is stopped, by a signal or a debugger.
    Stopped,
    /// It has ended, and its parent has not asked how.
    Zombie,
    /// There is none with this id that has the domain open: it is dead, or in another process namespace.
    Gone,
}

impl std::fmt::Display for ProcessStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ProcessStatus::Running => "running",
            ProcessStatus::Sleeping => "sleeping",
            ProcessStatus::Stopped => "stopped",
            ProcessStatus::Zombie => "zombie",
            ProcessStatus::Gone => "gone",
        })
    }
}

/// A process of a domain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessView {
    /// Its slot.
    pub slot: u16,
    /// How many processes had the slot, this one included.
    pub generation: u64,
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// Its program.
    pub program: String,
    /// What the domain's table says.
    pub membership: Membership,
    /// What the kernel says.
    pub status: ProcessStatus,
}

/// The state of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum EndState {
    /// Nobody ever held it.
    Absent,
    /// Somebody holds it.
    Attached,
    /// Its holder closed it.
    Left,
    /// Its holder died.
    Died,
    /// No state that this version knows.
    Unknown,
}

impl std::fmt::Display for EndState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            EndState::Absent => "absent",
            EndState::Attached => "attached",
            EndState::Left => "left",
            EndState::Died => "died",
            EndState::Unknown => "unknown",
        })
    }
}

/// An end of a channel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndView {
    /// Which of the ends of its direction: 0, unless the channel may have several.
    pub seat: usize,
    /// Its state.
    pub state: EndState,
    /// The process slot of who holds it, if anybody does.
    pub process: Option<u16>,
    /// How often it was taken.
    pub taken: u64,
    /// Its counters, over all who held it.
    pub counters: SideCounters,
}

/// Which direction of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Side {
    /// A sender.
    Sender,
    /// A receiver.
    Receiver,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Side::Sender => "sender",
            Side::Receiver => "receiver",
        })
    }
}

/// Somebody who waits, and for whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitView {
    /// Who: a sender or a receiver.
    pub side: Side,
    /// Its seat.
    pub seat: usize,
    /// Its process slot, if it still holds the end.
    pub process: Option<u16>,
    /// What for, in words.
    pub what: &'static str,
    /// The process slots that could end it: whoever holds an end of the other side. None: somebody who is not there yet.
    pub for_whom: Vec<u16>,
    /// It sleeps in the kernel; else it is busy waiting, or was about to.
    pub asleep: bool,
    /// Its PCB, if that is known.
    pub pcb: Option<usize>,
}

/// A slot of a channel with a buffer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlotView {
    /// The place of the message that is, or will be, in it.
    pub place: u64,
    /// `EMPTY`, `FULL`, `READING` …
    pub state: &'static str,
    /// Who waits for it sleeps.
    pub asleep: bool,
    /// Bytes of the message in it.
    pub length: u64,
}

/// A channel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelView {
    /// Index of its record.
    pub index: usize,
    /// Its name; empty if it has none.
    pub name: String,
    /// What it is. None: what its record says makes no sense.
    pub spec: Option<SpecView>,
    /// Of a rendezvous: the descriptor.
    pub descriptor: Option<DescriptorView>,
    /// Of a channel with a ring of slots: the first ones from the receiver's next on.
    pub slots: Vec<SlotView>,
    /// Messages that wait: sent, and not taken.
    pub waiting: u64,
    /// Messages that dead receivers had in hand and that nobody gets.
    pub lost: u64,
    /// The sending ends that were ever held.
    pub senders: Vec<EndView>,
    /// The receiving ends that were ever held.
    pub receivers: Vec<EndView>,
    /// Who waits for whom.
    pub waits: Vec<WaitView>,
}

impl ChannelView {
    /// The counters of all senders together, and of all receivers.
    pub fn counters(&self) -> (SideCounters, SideCounters) {
        let sum = |ends: &[EndView]| ends.iter().fold(SideCounters::default(), |sum, end| sum + end.counters);
        (sum(&self.senders), sum(&self.receivers))
    }
}

/// What a channel is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpecView {
    /// Its kind.
    pub kind: Kind,
    /// Its asynchrony degree.
    pub degree: u64,
    /// How many ends it may have, whose degree it is, what happens when it is full; if that is to be said.
    pub form: Option<String>,
    /// What a death means to it.
    pub continuation: Continuation,
    /// Its reference method.
    pub method: Method,
    /// Does it carry parcels?
    pub carries_parcels: bool,
    /// Longest message, bytes, of a channel with a buffer.
    pub message_bytes_max: u64,
    /// The layout of its messages.
    pub schema: Schema,
}

/// A PCB: a thread that sleeps, or slept once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PcbView {
    /// Its index.
    pub index: usize,
    /// The process slot of its thread.
    pub process: u16,
    /// How often it was woken.
    pub wakes: u32,
    /// The channel that it sleeps on, by the channel's words: its index in the domain.
    pub sleeps_on: Option<usize>,
}
