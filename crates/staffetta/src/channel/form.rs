//! The form of a channel with many ends: how many there may be, whose degree it is, and what happens when it is full.

use super::broadcast::SlowReceiver;
use super::crowd::SEATS_MAX;

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Overflow {
    /// Its sender waits: back-pressure.
    #[default]
    Block,
    /// The oldest message that waits is dropped, and counted by the sender that dropped it
    /// ([`SideCounters::dropped`](crate::SideCounters)). A send never waits.
    DropOldest,
    /// The message itself is dropped, and counted. A send never waits.
    DropNewest,
}

impl Overflow {
    const fn code(self) -> u8 {
        match self {
            Overflow::Block => 0,
            Overflow::DropOldest => 1,
            Overflow::DropNewest => 2,
        }
    }
    const fn from_code(code: u8) -> Option<Overflow> {
        match code {
            0 => Some(Overflow::Block),
            1 => Some(Overflow::DropOldest),
            2 => Some(Overflow::DropNewest),
            _ => None,
        }
    }
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Overflow::Block => "block",
            Overflow::DropOldest => "drop oldest",
            Overflow::DropNewest => "drop newest",
        })
    }
}

/// How many ends there may be, and what the degree counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    /// Most senders.
    pub senders: u8,
    /// Most receivers.
    pub receivers: u8,
    /// The degree is each sender's, as in the theory; else it is that of the whole channel.
    pub per_sender: bool,
    /// What happens when it is full.
    pub overflow: Overflow,
    /// Of a broadcast: what happens when a receiver is slow.
    pub slow: SlowReceiver,
}

impl Form {
    /// One of each.
    pub const SYMMETRIC: Form = Form {
        senders: 1,
        receivers: 1,
        per_sender: false,
        overflow: Overflow::Block,
        slow: SlowReceiver::Block,
    };

    /// Many clients, one server.
    pub const SERVICE: Form = Form { senders: 64, per_sender: true, ..Form::SYMMETRIC };

    /// As one word of the channel's record.
    pub fn code(self) -> u64 {
        u64::from(self.per_sender)
            | u64::from(self.overflow.code()) << 8
            | u64::from(self.senders) << 16
            | u64::from(self.receivers) << 24
            | u64::from(self.slow.code()) << 32
    }

    /// None: it makes no sense.
    pub fn from_code(code: u64) -> Option<Form> {
        let byte = |at: u32| (code >> at) as u8;
        let form = Form {
            per_sender: code & 1 != 0,
            overflow: Overflow::from_code(byte(8))?,
            senders: byte(16),
            receivers: byte(24),
            slow: SlowReceiver::from_code(byte(32))?,
        };
        let good = |ends: u8| (1..=SEATS_MAX as u8).contains(&ends);
        (good(form.senders) && good(form.receivers)).then_some(form)
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = if self.per_sender { " per sender" } else { "" };
        let (senders, receivers, overflow) = (self.senders, self.receivers, self.overflow);
        write!(f, "{each}, at most {senders} senders and {receivers} receivers, when full: {overflow}")
    }
}
