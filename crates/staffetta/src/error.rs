//! Errors: one enum for each kind of operation. Each message says what happened and what to do.

use crate::os;
use crate::reference::Method;

/// A block or a capability could not be allocated. Nothing already sent is touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// The domain's byte budget is used up.
    #[error(
        "the domain is full: {bytes} more bytes do not fit in its budget ({charged} of {budget} bytes are in use); \
         drop or receive parcels, or create the domain with a larger memory_max_bytes"
    )]
    Full {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes the domain may use.
        budget: u64,
        /// Bytes in use.
        charged: u64,
    },
    /// Larger than the largest block of this window.
    #[error("{bytes} bytes are more than the largest block ({bytes_max} bytes); create the domain with a larger window_bytes")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of the largest block.
        bytes_max: u64,
    },
    /// All blocks of this size are in use.
    #[error("all {blocks} blocks of {bytes} bytes are in use; create the domain with a larger window_bytes")]
    ClassFull {
        /// Bytes of each block.
        bytes: u64,
        /// How many there are.
        blocks: u64,
    },
    /// The type wants an alignment that mapped memory cannot give everywhere.
    #[error("an alignment of {align} bytes is more than a page ({page} bytes), which is all that every process can give; align the data inside the message instead")]
    Alignment {
        /// Alignment asked for.
        align: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// All capability records are in use.
    #[error("all {capabilities} capabilities of the domain are in use; drop some, or send parcels of the domain's own memory")]
    NoCapability {
        /// How many there are.
        capabilities: u64,
    },
    /// A message of this type cannot be that long.
    #[error("no message of this type has {tail} trailing elements; the longest one has isize::MAX bytes")]
    Length {
        /// Elements asked for.
        tail: usize,
    },
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
    /// The capability could not be mapped.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] os::Error),
}

const FORKED: &str =
    "this process was forked from one that had joined the domain, or closed the descriptors of one and counts as dead, and may \
     use nothing of it; open the domain again in the child, or start the child with exec";

/// A capability could not be acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// This process does not have its descriptor.
    #[error(
        "the capability's descriptor is not in this process: it was freed, or it was sent to another process"
    )]
    NotHeld,
    /// The file that came is not what the record says.
    #[error("the memory file of the capability cannot be mapped safely: it has {bytes} of {recorded} bytes and is {}sealed against shrinking", if *sealed { "" } else { "not " })]
    Unsafe {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes that its record says.
        recorded: u64,
        /// Can it shrink?
        sealed: bool,
    },
    /// Its descriptor could not be taken from the queue of descriptors.
    #[error("the capability's descriptor cannot be taken: {0}")]
    Take(#[source] crate::process::service::TakeError),
    /// Nobody alive has its descriptor: whoever had it died before the receiver got it.
    #[error(
        "the message is lost: every process that had the capability's descriptor was killed before it was received; \
         attach the receiver before sending, or keep another process in the domain"
    )]
    Lost,
    /// It cannot be sealed: it is mapped for writing where nobody can be asked to unmap it.
    #[error("the capability is still mapped for writing by {who}; unmap it there, then seal it")]
    StillMapped {
        /// Who maps it, as far as can be told.
        who: String,
    },
    /// Somebody in this process still uses its mapping.
    #[error("the capability is acquired in this process; release it first")]
    InUse,
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] os::Error),
}

/// `main` prints the error that it returns by `Debug`: a program's first error is to be a sentence, too.
macro_rules! debug_is_display {
    ($($error:ty),*) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )*};
}

debug_is_display!(DomainError, AttachError);

/// A domain could not be created, opened or joined.
///
/// Its `Debug` is its sentence, since that is what a `main` prints which returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// Not a window that a domain can have.
    #[error("a window of {bytes} bytes is impossible: it must be a power of two from {min} to {max}")]
    Window {
        /// Bytes asked for.
        bytes: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// More than this machine can give.
    #[error("memory_max_bytes of {bytes} is more than this process may use ({limit} bytes: {source_of_limit}); touching it would end in SIGBUS or the OOM killer, so ask for less")]
    Budget {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes available.
        limit: u64,
        /// Where the limit comes from.
        source_of_limit: &'static str,
    },
    /// The file is no domain.
    #[error("the descriptor is not a Staffetta domain: {what}; pass the descriptor of a domain, as Domain::descriptor() gives it")]
    Foreign {
        /// What is wrong with it.
        what: String,
    },
    /// Made by another version.
    #[error("the domain has format {theirs}, this program speaks format {ours}; build both with the same version of staffetta")]
    Version {
        /// Its format.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// Made on a machine of the other byte order.
    #[error("the domain was made with another byte order; a domain does not leave its machine")]
    ByteOrder,
    /// The window's place is taken in this process.
    #[error("the domain's window cannot be mapped at {base:#x} in this process: {source}; join with distinct addresses (DomainOptions::addresses(Addresses::Distinct)) and use channels of the distinct or capability method, or create the domain with another window_base")]
    WindowOccupied {
        /// Where it should be.
        base: usize,
        /// What is there.
        source: os::Error,
    },
    /// No process slot is left.
    #[error("the domain has {max} processes already; let some leave")]
    TooManyProcesses {
        /// How many fit.
        max: usize,
    },
    /// This process has inherited no domain.
    #[error(transparent)]
    Inherit(#[from] crate::launch::InheritError),
    /// It is no name.
    #[error(transparent)]
    Name(#[from] crate::process::NameError),
    /// The place where names are kept.
    #[error(transparent)]
    Place(#[from] crate::process::PlaceError),
    /// The domain of this name cannot be opened.
    #[error(transparent)]
    Open(#[from] crate::process::OpenError),
    /// No descriptor is left for the domain's memory.
    #[error("cannot duplicate the descriptor of the domain's memory: {0}; raise the limit on descriptors (`ulimit -n`)")]
    Descriptor(#[source] std::io::Error),
    /// The memory to be made present in advance does not fit.
    #[error("cannot prefault: {0}")]
    Prefault(#[source] AllocateError),
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
    /// This process cannot take part.
    #[error(transparent)]
    Start(#[from] crate::process::service::StartError),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] os::Error),
}

/// An end of a channel could not be attached.
///
/// Its `Debug` is its sentence, since that is what a `main` prints which returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Not a channel name.
    #[error("{name:?} is no channel name: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The other end fixed something else.
    #[error("channel {name:?} is not what this end expects: {what}\n  there: {there}\n  here:  {here}{difference}")]
    Mismatch {
        /// The channel.
        name: String,
        /// What differs.
        what: &'static str,
        /// As it exists.
        there: String,
        /// As asked for.
        here: String,
        /// The first difference between the two message types, if they differ.
        difference: String,
    },
    /// There is none, and nothing was said of what it is to be.
    #[error("there is no channel {name:?} in the domain; {}", list_channels(known))]
    NoChannel {
        /// The channel.
        name: String,
        /// The channels that there are.
        known: Vec<String>,
    },
    /// This end lies in a message.
    #[error("the {side} of channel {name:?} lies in a message that nobody has received yet, and this form allows one; receive that message, or drop it")]
    EndInMessage {
        /// Its name.
        name: String,
        /// "sender" or "receiver".
        side: &'static str,
    },
    /// Somebody holds this end.
    #[error("channel {name:?} has a {side} already: process {pid} ({program}); this form allows one, so close that end first")]
    EndTaken {
        /// The channel.
        name: String,
        /// `sender` or `receiver`.
        side: &'static str,
        /// Its process id.
        pid: u32,
        /// Its program.
        program: String,
    },
    /// As many as its creator allowed hold this end.
    #[error("channel {name:?} has all {many} {side}s that it was made for; close one first, or make the channel for more with {side}s(n), at most 64")]
    EndsTaken {
        /// The channel.
        name: String,
        /// `sender` or `receiver`.
        side: &'static str,
        /// How many it was made for.
        many: u8,
    },
    /// References of this channel are addresses, and ours differ.
    #[error("channel {name:?} uses coinciding logical addresses, but this process maps the domain elsewhere; join with coinciding addresses, or create the channel with the {} or {} method", Method::Distinct, Method::Capability)]
    AddressesDiffer {
        /// The channel.
        name: String,
    },
    /// A channel with a buffer holds at least one message.
    #[error("channel {name:?} cannot be {kind} with degree {degree}: {}", if *degree == 0 { "a channel without a buffer is a rendezvous, so use rendezvous()".to_owned() } else { format!("the largest degree is {degree_max}") })]
    Degree {
        /// The channel.
        name: String,
        /// Kind asked for.
        kind: crate::Kind,
        /// Degree asked for.
        degree: u64,
        /// Largest.
        degree_max: u64,
    },
    /// Something about the channel that cannot be.
    #[error("channel {name:?} cannot be: {why}")]
    Impossible {
        /// The channel.
        name: String,
        /// What cannot be.
        why: String,
    },
    /// All entries are in use.
    #[error("all {entries} entries of the domain are in use, for channels without a name and for ends and parcels that lie in parcels; drop or receive some")]
    TooManyEntries {
        /// How many there are.
        entries: usize,
    },
    /// No channel record, or no schema space, is left.
    #[error("the domain has no room for another channel ({channels} fit)")]
    TooManyChannels {
        /// How many fit.
        channels: usize,
    },
    /// No memory for the ring.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// At most so many as a person reads.
fn list_channels(known: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = known.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match known.len() {
        0 => "it has none yet: attach the other end first, or say what its messages are".to_owned(),
        1..=SHOWN => format!("there are {shown}"),
        more => format!("there are {shown} and {} more", more - SHOWN),
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The receiver closed its end. On a named channel the next call waits for a new one.
    #[error("the receiver has left")]
    Disconnected,
    /// The receiver's process died.
    #[error("the receiver's process died")]
    PeerDied,
    /// The receiver's process died, and none has taken its place yet; the message was not taken. Of a channel that waits for a
    /// successor ([`Continuation::WaitForSuccessor`](crate::Continuation)), instead of `PeerDied`, and of `TimedOut` and `WouldBlock`.
    #[error("the receiver's process died, and no successor has come yet; start it again, or take its messages back with unacknowledged()")]
    PeerAbsent,
    /// The channel does not keep what a dead receiver had.
    #[error("the channel does not keep what a dead receiver had in hand; make it with continuation(Continuation::WaitForSuccessor) or ReturnToSender")]
    NotKept,
    /// The deadline passed first; the message was not taken.
    #[error("nobody took the message in time")]
    TimedOut,
    /// `try_send`: the receiver is there but does not wait.
    #[error("the receiver is not waiting")]
    WouldBlock,
    /// `try_send`: nobody holds the receiving end.
    #[error("the channel has no receiver yet")]
    NoPeer,
    /// The message is longer than its target.
    #[error("the message has {length} bytes, its target has room for {capacity}; send less or receive into a larger variable")]
    TooLong {
        /// Bytes of the message.
        length: u64,
        /// Bytes of room.
        capacity: u64,
    },
    /// A slot of this sender is reserved.
    #[error("a slot of this sender is reserved already; send or drop it first (one that was forgotten stays reserved until the sender is dropped)")]
    Held,
    /// The channel has no slots to reserve.
    #[error(
        "only a buffered channel has slots to work in; attach both ends with buffered(degree), or use send"
    )]
    NotBuffered,
    /// Nothing that waits may be taken out by a sender.
    #[error("force_send needs a channel whose senders may take out what waits: one made with bounded, work_queue, or an overflow that drops, of parcels in the domain or of values")]
    CannotDisplace,
    /// No memory to stage the message.
    #[error("the domain is full: the message cannot be staged; drop or receive parcels, send from a variable, or create the domain with a larger memory_max_bytes")]
    NoStaging,
    /// No memory to set aside.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The parcel lies in the wrong kind of memory for this channel's reference method.
    #[error("a channel of the {channel} method cannot carry this parcel: it lies in {lies}; allocate it with {remedy}")]
    WrongMemory {
        /// The channel's method.
        channel: Method,
        /// Where the parcel lies.
        lies: &'static str,
        /// How to allocate it instead.
        remedy: &'static str,
    },
    /// The parcel or variable belongs to another domain.
    #[error("the parcel or variable belongs to another domain than the channel; allocate it from the channel's domain")]
    WrongDomain,
    /// The variable holds no message.
    #[error("the variable is empty: set it before it is sent")]
    EmptyVariable,
    /// The capability's descriptor could not be put into the receiver's hands.
    #[error("the capability could not be passed to the receiver: {0}")]
    Pass(#[source] crate::process::service::PassError),
    /// The select of which it is an operation.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An end or a parcel could not be put into a parcel to be sent.
    #[error(transparent)]
    Enclose(#[from] EncloseFailure),
    /// Nobody could ever receive it.
    #[error("the message holds the last receiver of the very channel that it is sent through: nobody could ever receive it; send the receiver through another channel, or keep a clone of it")]
    ThroughItself,
    /// Of a reply: nobody waits for it.
    #[error("the client has given the call up, or is gone; nobody waits for this reply")]
    Unwanted,
    /// What the peer wrote makes no sense.
    #[error("the peer left a reference that lies outside of the domain; its program is corrupt")]
    Corrupt,
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// A message was not sent; it comes back.
#[derive(thiserror::Error)]
#[error("{why}")]
pub struct SendError<T> {
    /// The message that was not sent.
    pub message: T,
    /// Why.
    #[source]
    pub why: SendFailure,
}

impl<T> std::fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendError").field("why", &self.why).finish_non_exhaustive()
    }
}

/// An end or a parcel was not put into a parcel; it comes back.
#[derive(thiserror::Error)]
#[error("{why}")]
pub struct EncloseError<E> {
    /// What was to be enclosed.
    pub what: E,
    /// Why it was not.
    #[source]
    pub why: EncloseFailure,
}

impl<E> std::fmt::Debug for EncloseError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncloseError").field("why", &self.why).finish_non_exhaustive()
    }
}

/// Why an end or a parcel was not put into a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncloseFailure {
    /// It belongs to another domain.
    #[error("it belongs to another domain than the parcel; what lies in a parcel is of the parcel's domain")]
    WrongDomain,
    /// One of the two lies in a memory file of its own.
    #[error("a parcel that lies in a memory file of its own cannot hold ends or parcels, nor lie in one; allocate it with Parcel::new, in the domain's window, and send ends over a channel of another method than capability")]
    Capability,
    /// A capability is owed to the end.
    #[error("a capability that came over this end has still to be acquired; receive it first")]
    Owed,
    /// All entries are in use.
    #[error("all {entries} entries of the domain are in use, for ends and parcels that lie in parcels and for channels without a name; receive or drop some")]
    TooMany {
        /// How many there are.
        entries: usize,
    },
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// What lies in a parcel could not be taken out. It stays there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOutError {
    /// An `Enclosed` that stands for nothing.
    #[error("nothing was enclosed here: the field still has its default")]
    Nothing,
    /// It is not in this parcel.
    #[error("it does not lie in this parcel: it was taken out before, or the message was copied out of the parcel that it came in")]
    NotHere,
    /// The end cannot be used here: its channel carries something else, or needs addresses that this process does not have.
    #[error("the end cannot be taken out here, and stays in the parcel: {0}")]
    Attach(#[from] AttachError),
    /// The parcel holds another type.
    #[error(
        "the enclosed parcel holds a message of another type than {here}; enclose and take out the same type"
    )]
    Type {
        /// The type that was asked for.
        here: String,
    },
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// Why a select chose nothing, or an operation cannot be part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No operation, or none whose guard holds.
    #[error("nothing to select from: no operation is registered whose guard holds; register one, or give a default")]
    Empty,
    /// The ends belong to different domains.
    #[error("the ends of this select belong to different domains; a thread sleeps in one, so use one select for each domain, in threads of their own")]
    DifferentDomains,
    /// The end is in this select already.
    #[error("this end is operation {operation} of this select already; an end can be there once, so use that one, and its guard")]
    Twice {
        /// The operation.
        operation: usize,
    },
    /// Nobody can know before whether it would wait.
    #[error("a select cannot send to a basic channel of degree 0, which puts first and waits then; use a rendezvous() channel")]
    PutsFirst,
    /// More operations than a ready set has bits.
    #[error("a select has at most {operations_max} operations; remove some, or make another select for those that are left (numbers are not used again)")]
    TooManyOperations {
        /// Most there can be.
        operations_max: usize,
    },
    /// All ready sets of the domain are in use, or all gates of the process.
    #[error("all {selects_max} selects of the domain, or of this process, are in use; drop some that have slept, or that have ends of channels within the process")]
    TooManySelects {
        /// Most there can be.
        selects_max: usize,
    },
    /// The deadline passed first.
    #[error("no operation was possible in time")]
    TimedOut,
    /// `try_*`: none is possible now.
    #[error("no operation is possible now")]
    WouldBlock,
    /// An operation that was chosen is completed with its own end.
    #[error("the operation that was chosen is one of another end; complete it with the end that it was registered with")]
    OtherEnd,
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallFailure {
    /// The server closed its end. The next call waits for a new one.
    #[error("the server has left; if it had the request, what became of it is not known")]
    Disconnected,
    /// The server's process died.
    #[error("the server's process died; if it had the request, what became of it is not known")]
    PeerDied,
    /// The server's process died, and none has taken its place yet. Of a service that waits for a successor
    /// ([`Continuation::WaitForSuccessor`](crate::Continuation)), instead of `PeerDied`, and of `TimedOut`.
    #[error("the server's process died, and no successor has come yet; start it again, or wait longer")]
    PeerAbsent,
    /// The server dropped the request.
    #[error("the server dropped the request without an answer")]
    Unanswered,
    /// The deadline passed first; a reply that comes later is discarded.
    #[error("no reply came in time")]
    TimedOut,
    /// The reply was taken already, by a select.
    #[error("the reply to this call was taken already; a call is an operation once: remove it from its select then, or guard it")]
    Taken,
    /// Completed by a select that chose it, and is under way after all.
    #[error("no reply has come yet")]
    NotYet,
    /// The select of which it is an operation.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// So many calls of this client are under way.
    #[error("{calls} calls of this client are under way, which is all that the service allows; wait for one, or make the service for more with service(calls)")]
    TooMany {
        /// How many it allows.
        calls: u32,
    },
    /// What the peer wrote makes no sense.
    #[error("a peer wrote over the call; its program is corrupt")]
    Corrupt,
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}

/// A call has no reply.
#[derive(thiserror::Error)]
#[error("{why}")]
pub struct CallError<T> {
    /// The request, if no server took it. None: a server had it, or may have had it.
    pub request: Option<T>,
    /// Why.
    #[source]
    pub why: CallFailure,
}

impl<T> std::fmt::Debug for CallError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallError").field("why", &self.why).finish_non_exhaustive()
    }
}

/// Why no message was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The sender closed its end. On a named channel the next call waits for a new one.
    #[error("the sender has left")]
    Disconnected,
    /// The sender's process died.
    #[error("the sender's process died")]
    PeerDied,
    /// The sender's process died, and none has taken its place yet. Of a channel that waits for a successor
    /// ([`Continuation::WaitForSuccessor`](crate::Continuation)), instead of `PeerDied`, and of `TimedOut` and `WouldBlock`.
    #[error("the sender's process died, and no successor has come yet; start it again, or wait longer")]
    PeerAbsent,
    /// The deadline passed first; nothing was taken.
    #[error("no message came in time")]
    TimedOut,
    /// `try_recv`: the sender is there but offers nothing.
    #[error("no message is waiting")]
    WouldBlock,
    /// `try_recv`: nobody holds the sending end.
    #[error("the channel has no sender yet")]
    NoPeer,
    /// The message is longer than its target.
    #[error(
        "the message has {length} bytes, the target has room for {capacity}; receive into a larger variable"
    )]
    TooLong {
        /// Bytes of the message.
        length: u64,
        /// Bytes of room.
        capacity: u64,
    },
    /// A message of this receiver is in hand.
    #[error("a message of this receiver is in hand already; drop it first (one that was forgotten stays in hand until the receiver is dropped)")]
    Held,
    /// The channel has no slots to work in.
    #[error(
        "only a buffered channel has slots to work in; attach both ends with buffered(degree), or use recv"
    )]
    NotBuffered,
    /// A receiver died while it changed the message in place. The next call gets the next message.
    #[error("message {seq} is lost: the receiver that had it died while it changed it in place; the next call gets the next one")]
    Torn {
        /// Its place in the channel.
        seq: u64,
    },
    /// This receiver of a broadcast was slower than the channel's degree allows, and is disconnected.
    #[error("this receiver was too slow: {missed} messages were gone before it came to them, and the broadcast disconnects who is slow; attach again")]
    TooSlow {
        /// Messages that it missed.
        missed: u64,
    },
    /// The end that came cannot be used here. It was given back: its partner sees that it has left.
    #[error(transparent)]
    TakeOut(#[from] TakeOutError),
    /// The variable belongs to another domain.
    #[error(
        "the variable belongs to another domain than the channel; allocate it from the channel's domain"
    )]
    WrongDomain,
    /// The variable could not be given new memory.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The parcel could not be acquired.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The select of which it is an operation.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// What the peer wrote makes no sense.
    #[error("the peer sent something that is no message of this channel; its program is corrupt")]
    Corrupt,
    /// This process was forked from the one that joined the domain.
    #[error("{FORKED}")]
    Forked,
}
