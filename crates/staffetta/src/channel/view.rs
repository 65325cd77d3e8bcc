//! A channel's descriptor as people see it: a reading, never part of a protocol.

use super::line::{self, brings};
use super::record::Record;
use super::side;
use crate::memory::word::Word;

/// The states of a rendezvous.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum DescriptorState {
    /// Nobody is here.
    Idle,
    /// The sender came first and waits.
    Offer,
    /// The receiver came first and waits.
    Want,
    /// The receiver copies out of the sender's variable.
    Taking,
    /// The sender copies into the receiver's variable.
    Giving,
    /// Whoever came first gave up while the partner was copying.
    Abandoned,
    /// No state that this version knows: a peer wrote into the descriptor.
    Unknown,
}

impl DescriptorState {
    const fn of(state: u8) -> DescriptorState {
        match state {
            line::IDLE => DescriptorState::Idle,
            line::OFFER => DescriptorState::Offer,
            line::WANT => DescriptorState::Want,
            line::TAKING => DescriptorState::Taking,
            line::GIVING => DescriptorState::Giving,
            line::ABANDONED => DescriptorState::Abandoned,
            _ => DescriptorState::Unknown,
        }
    }
}

impl std::fmt::Display for DescriptorState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DescriptorState::Idle => "IDLE",
            DescriptorState::Offer => "OFFER",
            DescriptorState::Want => "WANT",
            DescriptorState::Taking => "TAKING",
            DescriptorState::Giving => "GIVING",
            DescriptorState::Abandoned => "ABANDONED",
            DescriptorState::Unknown => "unknown",
        })
    }
}

/// The descriptor of a rendezvous channel at one moment, for people and for teaching.
///
/// By the time it is printed it may have changed: decide nothing by it.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.sender::<u64>("numbers")?;
/// let now = tx.descriptor().expect("a rendezvous");
/// assert_eq!(now.to_string(), "IDLE(0): nobody waits; sender in process slot 0, no receiver");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DescriptorView {
    /// The state.
    pub state: DescriptorState,
    /// The number of the rendezvous. One that happened adds one, one that did not (withdrawn or refused) adds two.
    pub sequence: u64,
    /// Whoever waits sleeps in the kernel: the partner will wake it.
    pub asleep: bool,
    /// What is offered or wanted is a variable of the domain, not private memory or a cell of the descriptor.
    pub variable: bool,
    /// What is offered is private memory of the sender's process, which the receiver is to read.
    pub lent: bool,
    /// Process slot of whoever holds the sending end.
    pub sender: Option<u16>,
    /// Process slot of whoever holds the receiving end.
    pub receiver: Option<u16>,
}

impl DescriptorView {
    pub(crate) fn of(record: &Record) -> DescriptorView {
        let word = record.line.word();
        let holder = |end: Word| (end.state() == side::ATTACHED).then(|| end.slot());
        DescriptorView {
            state: DescriptorState::of(word.state()),
            sequence: word.sequence(),
            asleep: word.is_parked(),
            variable: matches!(word.state(), line::OFFER | line::WANT) && word.slot() == brings::VARIABLE,
            lent: word.state() == line::OFFER && matches!(word.slot(), brings::LENT | brings::STAGE),
            sender: holder(record.sender.end()),
            receiver: holder(record.receiver.end()),
        }
    }
}

impl std::fmt::Display for DescriptorView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}): ", self.state, self.sequence)?;
        f.write_str(match (self.state, self.variable) {
            (DescriptorState::Idle, _) => "nobody waits",
            (DescriptorState::Offer, _) if self.lent => "the sender waits, and lends its private memory",
            (DescriptorState::Offer, true) => "the sender waits with a message variable",
            (DescriptorState::Offer, false) => "the sender waits, its message is in the cell",
            (DescriptorState::Want, true) => "the receiver waits with a target variable",
            (DescriptorState::Want, false) => "the receiver waits, with private memory",
            (DescriptorState::Taking, _) => {
                "the receiver copies from the sender's variable, or from what it lends"
            }
            (DescriptorState::Giving, _) => "the sender copies into the receiver's variable",
            (DescriptorState::Abandoned, _) => "a copy goes on that nobody waits for any more",
            (DescriptorState::Unknown, _) => "no state of this version",
        })?;
        if self.asleep {
            f.write_str(", asleep")?;
        }
        for (separator, end, holder) in [("; ", "sender", self.sender), (", ", "receiver", self.receiver)] {
            match holder {
                Some(slot) => write!(f, "{separator}{end} in process slot {slot}")?,
                None => write!(f, "{separator}no {end}")?,
            }
        }
        Ok(())
    }
}
