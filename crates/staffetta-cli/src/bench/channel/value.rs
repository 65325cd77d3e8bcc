//! `basic`, `buffered` and `rendezvous`: a `u64` from private memory, the comfortable `send(v)`.

use super::meet::{meet, out_of_sequence, unsent, wait_name, Ends};
use super::{CACHELINE, FUTEX};
use crate::bench::subject::{Spec, Subject, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use staffetta::{ChannelBuilder, Domain, Method, Wait};

/// `basic` of degree 1 by each way to wait.
pub fn basic_specs() -> Vec<Spec> {
    Wait::ALL.map(|wait| spec("basic", wait, |c| c.basic(1))).into()
}

/// `buffered` by each way to wait. The degree matters one way only: how far the sender may run ahead.
pub fn buffered_specs() -> Vec<Spec> {
    Wait::ALL.map(|wait| spec("buffered", wait, |c| c.buffered(BUFFERED_DEGREE))).into()
}

/// The usual degree of such a channel elsewhere, so that the rows can be compared.
const BUFFERED_DEGREE: u64 = 1024;

/// `rendezvous` by each way to wait.
pub fn rendezvous_specs() -> Vec<Spec> {
    Wait::ALL.map(|wait| spec("rendezvous", wait, |c| c.rendezvous())).into()
}

fn spec(what: &'static str, wait: Wait, form: fn(ChannelBuilder<'_>) -> ChannelBuilder<'_>) -> Spec {
    Spec {
        what,
        reference: None,
        wait: Some(wait_name(wait)),
        bytes: 8,
        touch: None,
        batch: if wait == Wait::Park { BATCH_LONG } else { BATCH_SHORT },
        alone: false,
        limit: Some(if wait == Wait::Park { FUTEX } else { CACHELINE }),
        open: vec![Box::new(move |side, wire| {
            let domain = meet(side, wire, Method::Coinciding, wait)?;
            Ok(Box::new(Values { ends: Ends::attach(side, &domain, form)?, next: 0, _domain: domain }))
        })],
    }
}

struct Values {
    ends: Ends<u64>,
    next: u64,
    _domain: Domain,
}

impl Subject for Values {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.next += 1;
            self.ends.out.send(self.next).map_err(unsent)?;
            let found = self.ends.back.recv()?;
            if found != self.next {
                return Err(out_of_sequence(self.next, found));
            }
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let message = self.ends.back.recv()?;
            self.ends.out.send(message).map_err(unsent)?;
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        true
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.ends.out.send(number).map_err(unsent))
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        for number in first..first + messages {
            let found = self.ends.back.recv()?;
            if found != number {
                return Err(out_of_sequence(number, found));
            }
        }
        Ok(())
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
