//! `basic` for many bytes: from private memory into the channel, from there into private memory.

use super::meet::{meet, out_of_sequence, unsent, wait_name, Ends};
use super::touch_limit;
use crate::bench::limit::touch::{read_all, rotation, write_all};
use crate::bench::subject::{Side, Spec, Subject, Touch, BATCH_LONG};
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
        open: vec![Box::new(move |side, wire| Ok(Box::new(Slices::open(side, wire, wait, bytes)?)))],
    }]
}

struct Slices {
    ends: Ends<[u8]>,
    /// Message and target variables in private memory, in turn: together larger than the last cache.
    variables: Vec<Vec<u8>>,
    turn: usize,
    next: u64,
    _domain: Domain,
}

impl Slices {
    fn open(side: Side, wire: &Wire, wait: Wait, bytes: u64) -> Result<Slices, Fault> {
        let domain = meet(side, wire, Method::Coinciding, wait)?;
        let ends = Ends::attach(side, &domain, |c| c.basic(1).message_bytes_max(bytes))?;
        // Written once, so that their pages are there.
        let variables = (0..rotation(bytes)).map(|_| vec![1; bytes as usize]).collect();
        Ok(Slices { ends, variables, turn: 0, next: 0, _domain: domain })
    }

    fn variable(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.variables.len();
        self.turn
    }

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
}

/// The first word of a message: its number, or a byte of it for a message shorter than a word.
pub fn first_word(message: &[u8]) -> u64 {
    message.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

impl Subject for Slices {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.next += 1;
            self.send(self.next)?;
            match self.receive()? {
                found if found == self.next => {}
                found => return Err(out_of_sequence(self.next, found)),
            }
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let number = self.receive()?;
            self.send(number)?;
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        true
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.send(number))
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        for number in first..first + messages {
            match self.receive()? {
                found if found == number => {}
                found => return Err(out_of_sequence(number, found)),
            }
        }
        Ok(())
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}
