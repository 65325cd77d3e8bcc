//! The domain in which the two processes meet, and the ends of a channel each way.

use crate::bench::subject::Side;
use crate::failure::Fault;
use crate::two::wire::Wire;
use staffetta::{
    Addresses, Carried, ChannelBuilder, Domain, Method, Receiver, SendError, Sender, SideCounters, Wait,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Opens a domain of its own for one subject: ping makes it, pong joins it by its name. With distinct
/// addresses pong maps it elsewhere, so that the addresses really differ.
pub fn meet(side: Side, wire: &Wire, method: Method, wait: Wait) -> Result<Domain, Fault> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match side {
        Side::Ping => {
            // Relaxed: only the number has to be another one.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("bench-{}-{number}", std::process::id());
            let domain = Domain::options().wait(wait).create_new(&name)?;
            wire.send(&name)?;
            Ok(domain)
        }
        Side::Pong => {
            let name: String = wire.recv()?;
            let addresses = match method {
                Method::Distinct => Addresses::Distinct,
                Method::Coinciding | Method::Capability => Addresses::Coinciding,
            };
            Ok(Domain::options().wait(wait).addresses(addresses).join(&name)?)
        }
    }
}

/// The end to send by, and the end to receive by.
pub struct Ends<T: Carried + ?Sized> {
    /// To the other side.
    pub out: Sender<T>,
    /// From the other side.
    pub back: Receiver<T>,
}

impl<T: Carried + ?Sized> Ends<T> {
    /// Attaches this side's ends of a channel each way; `form` says what they are.
    pub fn attach(
        side: Side,
        domain: &Domain,
        form: impl Fn(ChannelBuilder<'_>) -> ChannelBuilder<'_>,
    ) -> Result<Ends<T>, Fault> {
        let (out, back) = match side {
            Side::Ping => ("there", "back"),
            Side::Pong => ("back", "there"),
        };
        Ok(Ends { out: form(domain.channel(out)).sender()?, back: form(domain.channel(back)).receiver()? })
    }

    /// Copies of each message that this side sent, as both sides counted them.
    pub fn copies(&self) -> Option<f64> {
        let (sent, received): (SideCounters, SideCounters) = self.out.channel_counters();
        let copied = sent.bytes_copied + received.bytes_copied;
        (sent.bytes != 0).then(|| copied as f64 / sent.bytes as f64)
    }
}

/// The sentence of a send that failed, without the message inside.
pub fn unsent<T>(error: SendError<T>) -> Fault {
    error.why.to_string().into()
}

/// A message arrived that is not the one that was due.
#[cold]
pub fn out_of_sequence(expected: u64, found: u64) -> Fault {
    format!("message {found} arrived where {expected} was due").into()
}

/// The word that a row says for a wait policy.
pub fn wait_name(wait: Wait) -> &'static str {
    match wait {
        Wait::Spin => "spin",
        Wait::SpinThenPark => "spin-then-park",
        Wait::Park => "park",
    }
}

/// The word that a row says for a reference method.
pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::Coinciding => "coinciding",
        Method::Distinct => "distinct",
        Method::Capability => "capability",
    }
}
