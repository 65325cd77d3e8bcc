//! `basic`, `buffered` and `rendezvous`: a `u64` from private memory, the comfortable `send(v)`.

use super::meet::{meet, unsent, wait_name, Ends};
use super::numbered::{InTurn, Numbered};
use super::{CACHELINE, FUTEX};
use crate::bench::subject::{Spec, BATCH_LONG, BATCH_SHORT};
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
            Ok(Box::new(InTurn::new(Values { ends: Ends::attach(side, &domain, form)?, _domain: domain })))
        })],
    }
}

struct Values {
    ends: Ends<u64>,
    _domain: Domain,
}

impl Numbered for Values {
    // As if it stood in the loops: a call would count beside a cache line.
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        self.ends.out.send(number).map_err(unsent)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64, Fault> {
        Ok(self.ends.back.recv()?)
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
