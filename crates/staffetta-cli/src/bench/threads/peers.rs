//! Each library's channel of numbers: how it is made, and how one is sent and received by a thread that waits.

use super::race::Form;
use crate::bench::channel::meet::meet;
use crate::bench::subject::Side;
use crate::failure::Fault;
use crate::two::wire::Wire;
use staffetta::{ChannelBuilder, Method, Wait};

/// The ends that a process has.
pub type Ends<P> = (Vec<<P as Peer>::Tx>, Vec<<P as Peer>::Rx>);

/// A library.
pub trait Peer: 'static {
    /// Its sending end.
    type Tx: Send + 'static;
    /// Its receiving end.
    type Rx: Send + 'static;

    /// The ends of one channel; with degree 0 a rendezvous.
    fn channel(degree: usize, senders: usize, receivers: usize) -> (Vec<Self::Tx>, Vec<Self::Rx>);

    /// The ends that this process has: within one process, ping has them all.
    fn open(side: Side, _wire: &Wire, form: Form) -> Result<Ends<Self>, Fault>
    where
        Self: Sized,
    {
        Ok(match side {
            Side::Ping => Self::channel(form.degree, form.senders, form.receivers),
            Side::Pong => (Vec::new(), Vec::new()),
        })
    }

    /// Sends a number; false if nobody receives any more.
    fn send(tx: &mut Self::Tx, number: u64) -> bool;

    /// Receives a number; nothing if nobody sends any more.
    fn receive(rx: &mut Self::Rx) -> Option<u64>;
}

/// A library whose two ends can be cloned.
macro_rules! cloned {
    ($(#[$doc:meta])* $peer:ident, $tx:ty, $rx:ty, $make:expr) => {
        $(#[$doc])*
        pub enum $peer {}

        impl Peer for $peer {
            type Tx = $tx;
            type Rx = $rx;

            fn channel(degree: usize, senders: usize, receivers: usize) -> (Vec<$tx>, Vec<$rx>) {
                let (tx, rx) = $make(degree);
                (vec![tx; senders], vec![rx; receivers])
            }

            #[inline(always)]
            fn send(tx: &mut $tx, number: u64) -> bool {
                tx.send(number).is_ok()
            }

            #[inline(always)]
            fn receive(rx: &mut $rx) -> Option<u64> {
                rx.recv().ok()
            }
        }
    };
}

cloned!(
    /// This library, within one process.
    Local,
    staffetta::local::Sender<u64>,
    staffetta::local::Receiver<u64>,
    staffetta::bounded
);
cloned!(
    /// crossbeam-channel.
    Crossbeam,
    crossbeam_channel::Sender<u64>,
    crossbeam_channel::Receiver<u64>,
    crossbeam_channel::bounded
);
cloned!(
    /// kanal.
    Kanal,
    kanal::Sender<u64>,
    kanal::Receiver<u64>,
    kanal::bounded
);

/// The standard library's `sync_channel`: one receiver.
pub enum Mpsc {}

impl Peer for Mpsc {
    type Tx = std::sync::mpsc::SyncSender<u64>;
    type Rx = std::sync::mpsc::Receiver<u64>;

    fn channel(degree: usize, senders: usize, _receivers: usize) -> (Vec<Self::Tx>, Vec<Self::Rx>) {
        let (tx, rx) = std::sync::mpsc::sync_channel(degree);
        (vec![tx; senders], vec![rx])
    }

    #[inline(always)]
    fn send(tx: &mut Self::Tx, number: u64) -> bool {
        tx.send(number).is_ok()
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx) -> Option<u64> {
        rx.recv().ok()
    }
}

/// rtrb, which has no way to wait: both sides spin.
pub enum Rtrb {}

impl Peer for Rtrb {
    type Tx = rtrb::Producer<u64>;
    type Rx = rtrb::Consumer<u64>;

    fn channel(degree: usize, _senders: usize, _receivers: usize) -> (Vec<Self::Tx>, Vec<Self::Rx>) {
        let (tx, rx) = rtrb::RingBuffer::new(degree);
        (vec![tx], vec![rx])
    }

    #[inline(always)]
    fn send(tx: &mut Self::Tx, number: u64) -> bool {
        while tx.push(number).is_err() {
            if tx.is_abandoned() {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }

    #[inline(always)]
    fn receive(rx: &mut Self::Rx) -> Option<u64> {
        loop {
            match rx.pop() {
                Ok(number) => return Some(number),
                Err(_) if rx.is_abandoned() => return None,
                Err(_) => std::hint::spin_loop(),
            }
        }
    }
}

/// A channel between two processes: the receivers are ping's, the senders pong's.
macro_rules! across {
    ($(#[$doc:meta])* $peer:ident, $form:expr) => {
        $(#[$doc])*
        pub enum $peer {}

        impl Peer for $peer {
            type Tx = staffetta::Sender<u64>;
            type Rx = staffetta::Receiver<u64>;

            fn channel(_degree: usize, _senders: usize, _receivers: usize) -> (Vec<Self::Tx>, Vec<Self::Rx>) {
                (Vec::new(), Vec::new()) // `open` makes them
            }

            fn open(side: Side, wire: &Wire, form: Form) -> Result<Ends<Self>, Fault> {
                let domain = meet(side, wire, Method::Coinciding, Wait::SpinThenPark)?;
                let channel = || {
                    let make: fn(ChannelBuilder<'_>, u64) -> ChannelBuilder<'_> = $form;
                    make(domain.channel("there"), form.degree as u64)
                };
                let (mut tx, mut rx) = (Vec::new(), Vec::new());
                match side {
                    Side::Ping => {
                        for _ in 0..form.receivers {
                            rx.push(channel().receiver()?);
                        }
                    }
                    Side::Pong => {
                        for _ in 0..form.senders {
                            tx.push(channel().sender()?);
                        }
                    }
                }
                Ok((tx, rx))
            }

            #[inline(always)]
            fn send(tx: &mut Self::Tx, number: u64) -> bool {
                tx.send(number).is_ok()
            }

            #[inline(always)]
            fn receive(rx: &mut Self::Rx) -> Option<u64> {
                rx.recv().ok()
            }
        }
    };
}

across!(
    /// Many to one, with a degree per sender.
    ManyToOne,
    |channel, degree| channel.many_to_one(degree)
);
across!(
    /// Each message to one of many.
    WorkQueue,
    |channel, degree| channel.work_queue(degree)
);
across!(
    /// Many to many, with a degree in all.
    Bounded,
    |channel, degree| channel.bounded(degree)
);
