//! `select`: a dynamic select that was registered once, over so many channels of which one is ever used. What it costs beyond
//! `buffered` is the same for 2 and for 1,000.

use super::meet::{meet, unsent, wait_name, Ends};
use super::numbered::{InTurn, Numbered};
use super::CACHELINE;
use crate::bench::subject::{Spec, BATCH_SHORT};
use crate::failure::Fault;
use staffetta::{Domain, Method, Receiver, Select, Wait};

/// `select` over 2, 100 and 1,000 channels; the row's name says how many.
pub fn specs() -> Vec<Spec> {
    [("select.2", 2), ("select.100", 100), ("select.1000", 1000)]
        .map(|(what, channels)| Spec {
            what,
            reference: None,
            wait: Some(wait_name(Wait::Spin)),
            bytes: 8,
            touch: None,
            batch: BATCH_SHORT,
            alone: false,
            limit: Some(CACHELINE),
            open: vec![Box::new(move |side, wire| {
                let domain = meet(side, wire, Method::Coinciding, Wait::Spin)?;
                let ends = Ends::attach(side, &domain, |c| c.buffered(1024))?;
                let idle: Result<Vec<_>, _> = (1..channels)
                    .map(|n| domain.channel(&format!("{side:?} {n}")).buffered(1).receiver::<u64>())
                    .collect();
                // The select borrows its ends; they are this process's until it ends.
                let ends: &'static Ends<u64> = Box::leak(Box::new(ends));
                let idle: &'static [Receiver<u64>] = idle?.leak();
                let mut select = Select::new();
                select.set_wait(Wait::Spin);
                // In the middle, as it comes.
                let (before, after) = idle.split_at(idle.len() / 2);
                for end in before.iter().chain([&ends.back]).chain(after) {
                    select.recv(end)?;
                }
                Ok(Box::new(InTurn::new(Selected { ends, select, _domain: domain })))
            })],
        })
        .into()
}

struct Selected {
    ends: &'static Ends<u64>,
    select: Select<'static>,
    _domain: Domain,
}

impl Numbered for Selected {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        self.ends.out.send(number).map_err(unsent)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64, Fault> {
        Ok(self.select.select()?.recv(&self.ends.back)?)
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
