//! `broadcast` and `latest`: a `u64` to and fro; and `broadcast.1` to `broadcast.64`: what a send alone costs while so
//! many receivers are there.

use super::meet::{meet, unsent, wait_name};
use super::numbered::{InTurn, Numbered};
use super::{CACHELINE, FUTEX};
use crate::bench::subject::{Open, Side, Spec, Subject, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use crate::two::wire::Wire;
use staffetta::{
    BroadcastReceiver, BroadcastSender, Domain, LatestReceiver, LatestSender, Method, RecvError,
    SlowReceiver, Wait,
};

/// The usual degree of such a channel elsewhere.
const DEGREE: u64 = 1024;

/// `broadcast` by each way to wait, with one receiver; then sends alone, with more and more of them.
pub fn specs() -> Vec<Spec> {
    let mut specs: Vec<Spec> = Wait::ALL
        .map(|wait| {
            let limit = if wait == Wait::Park { FUTEX } else { CACHELINE };
            let batch = if wait == Wait::Park { BATCH_LONG } else { BATCH_SHORT };
            let open = move |side, wire: &Wire| -> Result<Box<dyn Subject>, Fault> {
                let domain = meet(side, wire, Method::Coinciding, wait)?;
                let (out, back) = there_and_back(side);
                let out = domain.channel(out).broadcast(DEGREE).sender()?;
                let back = domain.channel(back).broadcast(DEGREE).receiver()?;
                joined(wire)?;
                Ok(Box::new(InTurn::new(Turns { out, back, _domain: domain })))
            };
            let open: Open = Box::new(open);
            Spec {
                wait: Some(wait_name(wait)),
                batch,
                limit: Some(limit),
                open: vec![open],
                ..spec("broadcast")
            }
        })
        .into();
    for (what, receivers) in
        [("broadcast.1", 1), ("broadcast.4", 4), ("broadcast.16", 16), ("broadcast.64", 64)]
    {
        let open: Open = Box::new(move |side, wire| sends(side, wire, receivers));
        specs.push(Spec { alone: true, open: vec![open], ..spec(what) });
    }
    specs
}

/// `latest`, spinning.
pub fn latest_specs() -> Vec<Spec> {
    let open: Open = Box::new(|side, wire| {
        let domain = meet(side, wire, Method::Coinciding, Wait::Spin)?;
        let (out, back) = there_and_back(side);
        let out = domain.channel(out).latest().sender()?;
        let back = domain.channel(back).latest().receiver()?;
        Ok(Box::new(OneByOne(InTurn::new(Values { out, back, _domain: domain }))))
    });
    vec![Spec { open: vec![open], ..spec("latest") }]
}

fn spec(what: &'static str) -> Spec {
    Spec {
        what,
        reference: None,
        wait: Some(wait_name(Wait::Spin)),
        bytes: 8,
        touch: None,
        batch: BATCH_SHORT,
        alone: false,
        limit: Some(CACHELINE),
        open: Vec::new(),
    }
}

fn there_and_back(side: Side) -> (&'static str, &'static str) {
    match side {
        Side::Ping => ("there", "back"),
        Side::Pong => ("back", "there"),
    }
}

/// Both sides are there: who comes late would not get what was sent before.
fn joined(wire: &Wire) -> Result<(), Fault> {
    wire.send(&())?;
    wire.recv::<()>()
}

struct Turns {
    out: BroadcastSender<u64>,
    back: BroadcastReceiver<u64>,
    _domain: Domain,
}

impl Numbered for Turns {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        self.out.send(number).map_err(unsent)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64, Fault> {
        Ok(self.back.recv()?)
    }

    fn copies(&self) -> Option<f64> {
        let (sent, received) = self.out.channel_counters();
        (sent.bytes != 0).then(|| (sent.bytes_copied + received.bytes_copied) as f64 / sent.bytes as f64)
    }
}

struct Values {
    out: LatestSender<u64>,
    back: LatestReceiver<u64>,
    _domain: Domain,
}

impl Numbered for Values {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        self.out.send(number).map_err(unsent)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64, Fault> {
        Ok(self.back.recv()?)
    }

    fn copies(&self) -> Option<f64> {
        let (sent, received) = self.out.channel_counters();
        (sent.bytes != 0).then(|| (sent.bytes_copied + received.bytes_copied) as f64 / sent.bytes as f64)
    }
}

/// To and fro only: as a stream the receiver would see some of the values, as it should.
struct OneByOne<N>(InTurn<N>);

impl<N: Numbered> Subject for OneByOne<N> {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        self.0.ping(rounds)
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        self.0.pong(rounds)
    }

    fn copies(&self) -> Option<f64> {
        self.0.copies()
    }
}

/// Ping sends; pong holds the receivers, all alive and awake, which nobody waits for.
fn sends(side: Side, wire: &Wire, receivers: u8) -> Result<Box<dyn Subject>, Fault> {
    let domain = meet(side, wire, Method::Coinciding, Wait::Spin)?;
    let channel =
        || domain.channel("there").broadcast(DEGREE).slow_receiver(SlowReceiver::DropOldest).receivers(64);
    Ok(match side {
        Side::Ping => {
            let out = channel().sender()?;
            joined(wire)?;
            Box::new(Sends { out, next: 0, _domain: domain })
        }
        Side::Pong => {
            let ends = (0..receivers).map(|_| channel().receiver()).collect::<Result<_, _>>()?;
            joined(wire)?;
            Box::new(Listens { ends, last: 0, seen: 0, _domain: domain })
        }
    })
}

struct Sends {
    out: BroadcastSender<u64>,
    next: u64,
    _domain: Domain,
}

impl Subject for Sends {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..2 * rounds {
            self.out.send(self.next).map_err(unsent)?;
            self.next += 1;
        }
        Ok(())
    }
}

struct Listens {
    ends: Vec<BroadcastReceiver<u64>>,
    /// How many messages are sent in the blocks so far.
    last: u64,
    /// How many were seen. Ping may be ahead by a block: it waits for nobody.
    seen: u64,
    _domain: Domain,
}

impl Listens {
    /// Reads what waits now, each of them in turn.
    fn read(&mut self) -> Result<(), Fault> {
        for rx in &self.ends {
            loop {
                match rx.try_recv() {
                    Ok(number) => self.seen = self.seen.max(number + 1),
                    Err(RecvError::WouldBlock) => break,
                    Err(why) => return Err(why.into()),
                }
            }
        }
        Ok(())
    }
}

impl Subject for Listens {
    fn ping(&mut self, _rounds: u64) -> Result<(), Fault> {
        Err("this side listens".into())
    }

    /// Reads in bursts, so that the sender meets lines that were read, and readers that are not in its way all the time.
    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        self.last += 2 * rounds;
        while self.seen < self.last {
            self.read()?;
            for _ in 0..PAUSE_STEPS {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }
}

/// Between two bursts: some microseconds.
const PAUSE_STEPS: u32 = 400;
