//! `private`: from private memory into private memory, one copy, by the receiver.

use super::meet::{meet, unsent, wait_name, Ends};
use super::numbered::{first_word, InTurn, Numbered};
use crate::bench::limit::touch::{read_all, write_all};
use crate::bench::limit::vm_readv::buffers;
use crate::bench::subject::{LimitName, Side, Spec, Touch, BATCH_LONG};
use crate::failure::Fault;
use crate::raw::let_read;
use crate::two::wire::Wire;
use staffetta::{Domain, Method, Wait};

/// Hand-over at every size, against the system call alone; end to end at the largest, against the same by hand.
pub fn specs() -> Vec<Spec> {
    let mut specs: Vec<Spec> =
        [64 << 10, 1 << 20, 16 << 20].into_iter().map(|bytes| spec(bytes, Touch::First)).collect();
    specs.push(spec(16 << 20, Touch::All));
    specs
}

fn spec(bytes: u64, touch: Touch) -> Spec {
    let wait = Wait::Spin;
    Spec {
        what: "private",
        reference: None,
        wait: Some(wait_name(wait)),
        bytes,
        touch: Some(touch),
        batch: BATCH_LONG,
        alone: false,
        limit: Some(LimitName { what: "limit.vm_readv", reference: None, bytes, touch: Some(touch) }),
        open: vec![Box::new(move |side, wire| {
            Ok(Box::new(InTurn::new(Private::open(side, wire, wait, bytes, touch)?)))
        })],
    }
}

struct Private {
    ends: Ends<[u8]>,
    /// Message and target variables in private memory, in turn; end to end, together larger than the last cache.
    buffers: Vec<Vec<u8>>,
    turn: usize,
    touch: Touch,
    _domain: Domain,
}

impl Private {
    fn open(side: Side, wire: &Wire, wait: Wait, bytes: u64, touch: Touch) -> Result<Private, Fault> {
        let domain = meet(side, wire, Method::Coinciding, wait)?;
        let ends = Ends::attach(side, &domain, |c| c.rendezvous())?;
        // The other process is no ancestor of this one: with Yama it has to be named.
        wire.send(&std::process::id())?;
        let_read(wire.recv()?);
        Ok(Private { ends, buffers: buffers(bytes, touch), turn: 0, touch, _domain: domain })
    }

    fn next(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.buffers.len();
        self.turn
    }
}

impl Numbered for Private {
    fn send(&mut self, number: u64) -> Result<(), Fault> {
        let at = self.next();
        let message = &mut self.buffers[at];
        match self.touch {
            Touch::First => message[..8].copy_from_slice(&number.to_ne_bytes()),
            Touch::All => write_all(message, number),
        }
        self.ends.out.send_from(message).map_err(unsent)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<u64, Fault> {
        let at = self.next();
        let came = self.ends.back.recv_into(&mut self.buffers[at])?;
        let message = &self.buffers[at][..came.elements];
        if self.touch == Touch::All {
            read_all(message);
        }
        Ok(first_word(message))
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
