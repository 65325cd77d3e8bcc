//! What is soaked: the flavors, what they carry, and the rows that a run is made of.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use staffetta::{
    BroadcastBuilder, ChannelBuilder, Domain, LatestBuilder, Method, Overflow, SlowReceiver, Wait,
};

/// A kind of channel, and how many ends it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavor {
    /// No buffer
    Rendezvous,
    /// The textbook's buffer: two copies
    Basic,
    /// In place, one sender and one receiver
    Buffered,
    /// Many senders, many receivers
    Bounded,
    /// Many senders, one receiver, a degree per sender
    ManyToOne,
    /// One sender, many receivers
    WorkQueue,
    /// Many senders that drop the oldest message when it is full
    DropOldest,
    /// Each message to all receivers; the sender waits for the slowest
    Broadcast,
    /// Each message to all receivers; a slow one misses the oldest
    BroadcastDropOldest,
    /// Each message to all receivers; a slow one is disconnected, and comes again
    BroadcastDisconnect,
    /// The newest value, to all receivers
    Latest,
    /// Many clients, many servers
    RequestReply,
    /// Within one process, between threads
    Local,
    /// Within one process, without a buffer
    LocalRendezvous,
}

/// What a flavor promises, and by what its processes are played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// Each message to one receiver.
    ToOne,
    /// To one receiver, or to nobody and counted.
    ToOneOrDropped,
    /// Each message to each receiver, or missed by it and counted.
    ToAll,
    /// To one receiver, and an answer comes back.
    Answered,
    /// As the first, between the threads of one process.
    Local,
}

/// What travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carry {
    /// By `send` and `recv`
    Values,
    /// Built in its slot, read in its slot
    InPlace,
    /// A block of the domain for each message
    Parcels,
}

/// One row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub flavor: Flavor,
    pub carry: Carry,
    pub method: String,
    pub wait: String,
    pub degree: u64,
    pub senders: u64,
    pub receivers: u64,
    /// Of all senders together.
    pub messages: u64,
}

/// The channel's name in the row's domain.
pub const CHANNEL: &str = "soak";

/// How large a part of the messages goes as something dearer than a value, or over a channel on which each costs more than one
/// hand-over.
const PARCELS: u64 = 10;
const CAPABILITIES: u64 = 1000;
const ROUND_TRIPS: u64 = 10;
const WAITS_FOR_ALL: u64 = 10;
/// Most calls of a client that a service can have under way.
const CALLS_MAX: u64 = 32;

impl Flavor {
    fn has_many(self) -> (bool, bool) {
        match self {
            Flavor::Rendezvous | Flavor::Basic | Flavor::Buffered => (false, false),
            Flavor::Bounded | Flavor::RequestReply | Flavor::Local | Flavor::LocalRendezvous => (true, true),
            Flavor::ManyToOne | Flavor::DropOldest => (true, false),
            Flavor::WorkQueue | Flavor::Latest => (false, true),
            Flavor::Broadcast | Flavor::BroadcastDropOldest | Flavor::BroadcastDisconnect => (false, true),
        }
    }

    pub fn promise(self) -> Promise {
        match self {
            Flavor::Rendezvous | Flavor::Basic | Flavor::Buffered => Promise::ToOne,
            Flavor::Bounded | Flavor::ManyToOne | Flavor::WorkQueue => Promise::ToOne,
            Flavor::DropOldest => Promise::ToOneOrDropped,
            Flavor::Broadcast | Flavor::BroadcastDropOldest | Flavor::BroadcastDisconnect => Promise::ToAll,
            Flavor::Latest => Promise::ToAll,
            Flavor::RequestReply => Promise::Answered,
            Flavor::Local | Flavor::LocalRendezvous => Promise::Local,
        }
    }

    /// A receiver may miss messages, which are counted.
    pub fn misses(self) -> bool {
        matches!(self, Flavor::BroadcastDropOldest | Flavor::BroadcastDisconnect | Flavor::Latest)
    }

    fn carries(self, carry: Carry) -> bool {
        match self.promise() {
            Promise::Answered | Promise::Local => carry == Carry::Values,
            Promise::ToAll => carry != Carry::Parcels,
            _ => carry != Carry::InPlace || !matches!(self, Flavor::Rendezvous | Flavor::Basic),
        }
    }
}

/// What the user fixed; the rest goes round, so that any two choices meet (pairwise).
pub struct Choice<'c> {
    pub flavors: &'c [Flavor],
    pub carries: &'c [Carry],
    pub wait: Option<Wait>,
    pub method: Option<Method>,
    pub degree: u64,
    pub many: u64,
    pub messages: u64,
}

impl Choice<'_> {
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (line, &flavor) in self.flavors.iter().enumerate() {
            for (column, &carry) in
                self.carries.iter().enumerate().filter(|(_, carry)| flavor.carries(**carry))
            {
                let method = self.method.unwrap_or(Method::ALL[(line + column) % 3]);
                let wait = self.wait.unwrap_or(Wait::ALL[(line / 3 + line + 2 * column) % 3]);
                let part = match (flavor, carry, method) {
                    (Flavor::RequestReply, ..) => ROUND_TRIPS,
                    (Flavor::Broadcast | Flavor::BroadcastDisconnect, Carry::Values, _) => WAITS_FOR_ALL,
                    (_, Carry::Values, _) => 1,
                    (_, Carry::Parcels, Method::Capability) => CAPABILITIES,
                    _ => PARCELS,
                };
                let (senders, receivers) = flavor.has_many();
                let ends = |many: bool| if many { self.many } else { 1 };
                rows.push(Row {
                    flavor,
                    carry,
                    method: match flavor.promise() {
                        Promise::Local => "-".into(), // addresses of one process need none
                        _ => method.to_string(),
                    },
                    wait: wait.to_string(),
                    degree: self.degree,
                    senders: ends(senders),
                    receivers: ends(receivers),
                    messages: (self.messages / part).max(1),
                });
            }
        }
        rows
    }
}

impl Row {
    pub fn method(&self) -> Method {
        Method::ALL.into_iter().find(|method| method.to_string() == self.method).unwrap_or(Method::Distinct)
    }

    pub fn wait(&self) -> Wait {
        Wait::ALL.into_iter().find(|wait| wait.to_string() == self.wait).unwrap_or_default()
    }

    /// How many of them sender `who` sends.
    pub fn share(&self, who: u64) -> u64 {
        self.messages / self.senders + u64::from(who < self.messages % self.senders)
    }

    fn any_channel<'d>(&self, domain: &'d Domain) -> ChannelBuilder<'d> {
        domain.channel(CHANNEL).method(self.method()).wait(self.wait())
    }

    /// The channel of a row whose messages go to one receiver. One sender more may come: the coordinator, who keeps it from
    /// being over too early.
    pub fn channel<'d>(&self, domain: &'d Domain) -> ChannelBuilder<'d> {
        let (senders, receivers) = (self.senders as u8 + 1, self.receivers as u8);
        let channel = self.any_channel(domain);
        match self.flavor {
            Flavor::Basic => channel.basic(self.degree),
            Flavor::Buffered => channel.buffered(self.degree),
            Flavor::Bounded => channel.bounded(self.degree).senders(senders).receivers(receivers),
            Flavor::ManyToOne => channel.many_to_one(self.degree).senders(senders),
            Flavor::WorkQueue => channel.work_queue(self.degree).receivers(receivers),
            Flavor::DropOldest => channel
                .bounded(self.degree)
                .senders(senders)
                .receivers(receivers)
                .overflow(Overflow::DropOldest),
            _ => channel.rendezvous(),
        }
    }

    /// The channel of a row of a broadcast.
    pub fn broadcast<'d>(&self, domain: &'d Domain) -> BroadcastBuilder<'d> {
        let slow = match self.flavor {
            Flavor::BroadcastDropOldest => SlowReceiver::DropOldest,
            Flavor::BroadcastDisconnect => SlowReceiver::Disconnect,
            _ => SlowReceiver::Block,
        };
        self.any_channel(domain).broadcast(self.degree).slow_receiver(slow).receivers(self.receivers as u8)
    }

    /// The channel of a row of latest values.
    pub fn latest<'d>(&self, domain: &'d Domain) -> LatestBuilder<'d> {
        self.any_channel(domain).latest().receivers(self.receivers as u8)
    }

    /// The channel of a row of requests and replies.
    pub fn service<'d>(&self, domain: &'d Domain) -> ChannelBuilder<'d> {
        let (clients, servers) = (self.senders as u8, self.receivers as u8);
        self.any_channel(domain).service(self.calls()).clients(clients).servers(servers)
    }

    /// How many calls each client has under way.
    pub fn calls(&self) -> u64 {
        self.degree.min(CALLS_MAX)
    }
}

/// `1000000`, `10^7`, `1e5`.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let power = |base: &str, exponent: &str| {
        let ten = 10_u64.checked_pow(exponent.parse().ok()?)?;
        base.parse::<u64>().ok()?.checked_mul(ten)
    };
    let count = match (text.strip_prefix("10^"), text.split_once(['e', 'E'])) {
        (Some(exponent), _) => power("1", exponent),
        (_, Some((base, exponent))) => power(base, exponent),
        _ => text.replace('_', "").parse().ok(),
    };
    count.filter(|count| (1..1 << 48).contains(count)).ok_or_else(|| {
        format!("`{text}` is no number of messages: write 1000000, 10^6 or 1e6; at most 10^14")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_people_write_them() {
        for (text, count) in [("7", 7), ("10^9", 1_000_000_000), ("3e5", 300_000), ("1_000", 1000)] {
            assert_eq!(parse_count(text), Ok(count));
        }
        for text in ["", "0", "-1", "10^", "e5", "10^15", "10^99", "much"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rows_pair_every_two_choices() {
        let (flavors, carries) = (Flavor::value_variants(), Carry::value_variants());
        let choice =
            Choice { flavors, carries, wait: None, method: None, degree: 1, many: 2, messages: 1001 };
        let rows = choice.rows();
        for method in Method::ALL.map(|method| method.to_string()) {
            for wait in Wait::ALL.map(|wait| wait.to_string()) {
                assert!(rows.iter().any(|row| row.method == method && row.wait == wait), "{method}, {wait}");
            }
        }
        for row in &rows {
            assert_eq!((0..row.senders).map(|who| row.share(who)).sum::<u64>(), row.messages);
        }
    }
}
