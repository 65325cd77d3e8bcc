//! What `every_flavor_to_all*.rs` run over: the channels whose messages go to all receivers (broadcast by each policy for slow
//! receivers, and the latest value), with ends of one kind.
//!
//! Nothing here tests. As in `flavor.rs`, what a [`ToAll`] says of a channel is all that a test knows of it.

use std::fmt;
use std::time::Duration;

use staffetta::{
    BroadcastReceiver, BroadcastSender, Domain, Late, LatestReceiver, LatestSender, Message, Method,
    RecvError, SendError, SlowReceiver, Wait,
};

use super::flavor::Cargo;

/// What kind of channel, and its degree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToAll {
    Waits(u64),
    Drops(u64),
    Disconnects(u64),
    Latest,
}

use ToAll::*;

impl ToAll {
    pub const ALL: [ToAll; 7] =
        [Waits(1), Waits(4), Drops(1), Drops(4), Disconnects(1), Disconnects(5), Latest];

    /// How many messages may wait for a receiver.
    pub fn degree(self) -> u64 {
        match self {
            Waits(k) | Drops(k) | Disconnects(k) => k,
            Latest => 1,
        }
    }

    /// The sender waits for receivers.
    pub fn waits(self) -> bool {
        matches!(self, Waits(_))
    }

    /// A slow receiver misses messages, and goes on.
    pub fn misses(self) -> bool {
        matches!(self, Drops(_) | Latest)
    }

    fn policy(self) -> SlowReceiver {
        match self {
            Waits(_) => SlowReceiver::Block,
            Disconnects(_) => SlowReceiver::Disconnect,
            _ => SlowReceiver::DropOldest,
        }
    }
}

/// The sending end.
pub enum Tx<M: Message> {
    Broadcast(BroadcastSender<M>),
    Latest(LatestSender<M>),
}

/// A receiving end.
pub enum Rx<M: Message> {
    Broadcast(BroadcastReceiver<M>),
    Latest(LatestReceiver<M>),
}

macro_rules! either {
    ($end:ident::$self:ident, $inner:ident => $body:expr) => {
        match $self {
            $end::Broadcast($inner) => $body,
            $end::Latest($inner) => $body,
        }
    };
}

impl<M: Message> Tx<M> {
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        either!(Tx::self, tx => tx.send(message))
    }
    /// One that never waits has no other send.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        match self {
            Tx::Broadcast(tx) => tx.try_send(message),
            Tx::Latest(tx) => tx.send(message),
        }
    }
    pub fn send_timeout(&self, message: M, timeout: Duration) -> Result<(), SendError<M>> {
        match self {
            Tx::Broadcast(tx) => tx.send_timeout(message, timeout),
            Tx::Latest(tx) => tx.send(message),
        }
    }
    pub fn receivers(&self) -> usize {
        either!(Tx::self, tx => tx.receivers())
    }
}

impl<M: Message> Rx<M> {
    pub fn recv(&self) -> Result<M, RecvError> {
        either!(Rx::self, rx => rx.recv())
    }
    pub fn try_recv(&self) -> Result<M, RecvError> {
        either!(Rx::self, rx => rx.try_recv())
    }
    pub fn recv_timeout(&self, timeout: Duration) -> Result<M, RecvError> {
        either!(Rx::self, rx => rx.recv_timeout(timeout))
    }
    pub fn recv_deadline(&self, deadline: std::time::Instant) -> Result<M, RecvError> {
        either!(Rx::self, rx => rx.recv_deadline(deadline))
    }
    /// In place: what `read` makes of it, and its place in the channel.
    pub fn recv_ref<R>(&self, read: impl FnOnce(&M) -> R) -> Result<(R, u64), RecvError> {
        let message = either!(Rx::self, rx => rx.recv_ref())?;
        Ok((read(&message), message.seq()))
    }
    /// As [`recv_ref`](Self::recv_ref), if a message waits already; `read` is given its place, too.
    pub fn try_recv_ref<R>(&self, read: impl FnOnce(&M, u64) -> R) -> Result<R, RecvError> {
        let message = either!(Rx::self, rx => rx.try_recv_ref())?;
        Ok(read(&message, message.seq()))
    }
    pub fn missed(&self) -> u64 {
        either!(Rx::self, rx => rx.missed())
    }
    pub fn has_peer(&self) -> bool {
        either!(Rx::self, rx => rx.has_peer())
    }
}

/// One combination.
#[derive(Clone)]
pub struct Case {
    pub domain: Domain,
    pub to_all: ToAll,
    pub method: Method,
    pub wait: Wait,
    pub cargo: &'static str,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}, {:?}, {}", self.to_all, self.cargo, self.method, self.wait)
    }
}

impl Case {
    /// Pairwise, as `flavor::Case::each`.
    pub fn each<M: Cargo>(domain: &Domain, shift: usize, mut test: impl FnMut(Case)) {
        for (row, to_all) in ToAll::ALL.into_iter().enumerate() {
            for (column, method) in Method::ALL.into_iter().enumerate() {
                let wait = Wait::ALL[(row + column + shift) % Wait::ALL.len()];
                test(Case { domain: domain.clone(), to_all, method, wait, cargo: M::NAME });
            }
        }
    }

    pub fn sender<M: Message>(&self, name: &str) -> Tx<M> {
        let channel = self.domain.channel(name).method(self.method).wait(self.wait);
        match self.to_all {
            Latest => channel.latest().sender().map(Tx::Latest),
            other => {
                channel.broadcast(other.degree()).slow_receiver(other.policy()).sender().map(Tx::Broadcast)
            }
        }
        .unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    /// A new receiver; of what was sent before it comes it gets the latest value at most.
    pub fn receiver<M: Message>(&self, name: &str) -> Rx<M> {
        self.late_receiver(name, Late::None)
    }

    /// A new receiver of a broadcast, with what was sent before it; the latest value is always seen.
    pub fn late_receiver<M: Message>(&self, name: &str, late: Late) -> Rx<M> {
        let channel = self.domain.channel(name).method(self.method).wait(self.wait);
        match self.to_all {
            Latest => channel.latest().receiver().map(Rx::Latest),
            other => channel
                .broadcast(other.degree())
                .slow_receiver(other.policy())
                .late(late)
                .receiver()
                .map(Rx::Broadcast),
        }
        .unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    /// A sender, and so many receivers.
    pub fn ends<M: Message>(&self, receivers: usize) -> (Tx<M>, Vec<Rx<M>>) {
        let name = super::name("to-all");
        (self.sender(&name), (0..receivers).map(|_| self.receiver(&name)).collect())
    }

    pub fn pack<M: Cargo>(&self, number: u64) -> M {
        M::pack(&self.domain, self.method, number)
    }
}
