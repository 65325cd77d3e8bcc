//! What the suites `every_flavor` and `model` run over: a small description of each flavor of channel, and what it carries.
//!
//! Nothing here tests. A `Flavor` says what may be expected of a channel (how many may wait, how many ends there are,
//! whether messages are dropped), a `Cargo` how a number is packed and read again, and a `Case` is both with a
//! reference method and a wait policy.

use std::fmt;

use staffetta::{ChannelBuilder, Domain, Method, Overflow, Parcel, Payload, Receiver, Sender, Wait};

/// What kind of channel, and its degree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    Rendezvous,
    Basic(u64),
    Buffered(u64),
    Bounded(u64),
    ManyToOne(u64),
    WorkQueue(u64),
    DropOldest(u64),
}

use Flavor::*;

impl Flavor {
    pub const ALL: [Flavor; 11] = [
        Rendezvous,
        Basic(0),
        Basic(3),
        Buffered(1),
        Buffered(3),
        Bounded(1),
        Bounded(4),
        ManyToOne(1),
        ManyToOne(3),
        WorkQueue(2),
        DropOldest(3),
    ];

    pub fn of<'d>(self, domain: &'d Domain, name: &'d str) -> ChannelBuilder<'d> {
        let channel = domain.channel(name);
        match self {
            Rendezvous => channel.rendezvous(),
            Basic(k) => channel.basic(k),
            Buffered(k) => channel.buffered(k),
            Bounded(k) => channel.bounded(k),
            ManyToOne(k) => channel.many_to_one(k),
            WorkQueue(k) => channel.work_queue(k),
            DropOldest(k) => channel.bounded(k).overflow(Overflow::DropOldest),
        }
    }

    /// How many messages of one sender may wait.
    pub fn degree(self) -> u64 {
        match self {
            Rendezvous => 0,
            Basic(k) | Buffered(k) | Bounded(k) | ManyToOne(k) | WorkQueue(k) | DropOldest(k) => k,
        }
    }

    /// How many senders the tests use.
    pub fn senders(self) -> u64 {
        if matches!(self, Bounded(_) | ManyToOne(_) | DropOldest(_)) {
            3
        } else {
            1
        }
    }

    /// How many receivers the tests use.
    pub fn receivers(self) -> u64 {
        if matches!(self, Bounded(_) | WorkQueue(_) | DropOldest(_)) {
            3
        } else {
            1
        }
    }

    /// A send never waits, and may push a message out.
    pub fn drops(self) -> bool {
        matches!(self, DropOldest(_))
    }

    /// `reserve` and `recv_ref` work.
    pub fn is_in_place(self) -> bool {
        !matches!(self, Rendezvous | Basic(_))
    }
}

/// A number, packed as a message.
pub trait Cargo: Payload + Sized + 'static {
    const NAME: &'static str;
    fn pack(domain: &Domain, method: Method, number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Cargo for u64 {
    const NAME: &'static str = "values";
    fn pack(_: &Domain, _: Method, number: u64) -> Self {
        number
    }
    fn number(&self) -> u64 {
        *self
    }
}

/// More bytes than fit any line of a descriptor.
const WORDS: usize = 40;

impl Cargo for [u64; WORDS] {
    const NAME: &'static str = "large values";
    fn pack(_: &Domain, _: Method, number: u64) -> Self {
        [number; WORDS]
    }
    fn number(&self) -> u64 {
        assert!(self.iter().all(|word| *word == self[0]), "torn: {self:?}");
        self[0]
    }
}

impl Cargo for Parcel<[u64; WORDS]> {
    const NAME: &'static str = "parcels";
    fn pack(domain: &Domain, method: Method, number: u64) -> Self {
        domain.parcels(method).new([number; WORDS]).unwrap()
    }
    fn number(&self) -> u64 {
        Cargo::number(&**self)
    }
}

pub type LargeValue = [u64; WORDS];
pub type SomeParcel = Parcel<[u64; WORDS]>;

/// One combination.
#[derive(Clone)]
pub struct Case {
    pub domain: Domain,
    pub flavor: Flavor,
    pub method: Method,
    pub wait: Wait,
    pub cargo: &'static str,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}, {:?}, {}", self.flavor, self.cargo, self.method, self.wait)
    }
}

impl Case {
    /// Pairwise: every flavor with every method, every wait policy and every cargo, and any two of those with each other.
    pub fn each<M: Cargo>(domain: &Domain, shift: usize, mut test: impl FnMut(Case)) {
        for (row, flavor) in Flavor::ALL.into_iter().enumerate() {
            for (column, method) in Method::ALL.into_iter().enumerate() {
                let wait = Wait::ALL[(row + column + shift) % Wait::ALL.len()];
                test(Case { domain: domain.clone(), flavor, method, wait, cargo: M::NAME });
            }
        }
    }

    pub fn builder<'c>(&'c self, name: &'c str) -> ChannelBuilder<'c> {
        self.flavor.of(&self.domain, name).method(self.method).wait(self.wait)
    }

    /// Both ends of a new channel without a name.
    pub fn pair<M: Cargo>(&self) -> (Sender<M>, Receiver<M>) {
        self.builder("").unnamed().unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    /// As many ends as the flavor is tested with.
    pub fn ends<M: Cargo>(&self) -> (Vec<Sender<M>>, Vec<Receiver<M>>) {
        let (tx, rx) = self.pair();
        let (mut senders, mut receivers) = (vec![tx], vec![rx]);
        while (senders.len() as u64) < self.flavor.senders() {
            senders.push(senders[0].try_clone().unwrap());
        }
        while (receivers.len() as u64) < self.flavor.receivers() {
            receivers.push(receivers[0].try_clone().unwrap());
        }
        (senders, receivers)
    }

    pub fn pack<M: Cargo>(&self, number: u64) -> M {
        M::pack(&self.domain, self.method, number)
    }
}
