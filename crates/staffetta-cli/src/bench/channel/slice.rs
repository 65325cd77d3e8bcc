//! `basic` for many bytes: from private memory into the channel, from there into private memory.

use super::meet::{meet, unsent, wait_name, Ends};
use super::numbered::{first_word, InTurn, Numbered};
use super::touch_limit;
use crate::bench::limit::touch::{read_all, rotation, write_all};
use crate::bench::subject::{Side, Spec, Touch, BATCH_LONG};
use crate::failure::Fault;
use crate::two::wire::Wire;
use staffetta::{Domain, Method, Wait};

/// Two copies, end to end: what one copy and none are to be compared with.
pub fn specs() -> Vec<Spec> {
    let (wait, bytes) = (Wait::Spin, 16 << 20);
    vec![Spec {
        what: "basic",
        reference: None,
        wait: Some(wait_name(wait)),
        bytes,
        touch: Some(Touch::All),
        batch: BATCH_LONG,
        alone: false,
        limit: Some(touch_limit(bytes)),
        open: vec![Box::new(move |side, wire| {
            Ok(Box::new(InTurn::new(Slices::open(side, wire, wait, bytes)?)))
        })],
    }]
}

struct Slices {
    ends: Ends<[u8]>,
    /// Message and target variables in private memory, in turn: together larger than the last cache.
    variables: Vec<Vec<u8>>,
    turn: usize,
    _domain: Domain,
}

impl Slices {
    fn open(side: Side, wire: &Wire, wait: Wait, bytes: u64) -> Result<Slices, Fault> {
        let domain = meet(side, wire, Method::Coinciding, wait)?;
        let ends = Ends::attach(side, &domain, |c| c.basic(1).message_bytes_max(bytes))?;
        // Written once, so that their pages are there.
        let variables = (0..rotation(bytes)).map(|_| vec![1; bytes as usize]).collect();
        Ok(Slices { ends, variables, turn: 0, _domain: domain })
    }

    fn variable(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.variables.len();
        self.turn
    }
}

impl Numbered for Slices {
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        let at = self.variable();
        write_all(&mut self.variables[at], number);
        self.ends.out.send_slice(&self.variables[at]).map_err(unsent)
    }

    fn receive(&mut self) -> Result<u64, Fault> {
        let at = self.variable();
        let length = self.ends.back.recv_slice(&mut self.variables[at])?;
        let message = &self.variables[at][..length];
        read_all(message);
        Ok(first_word(message))
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
