//! Numbered messages, to and fro or one way: rounds and streams of them.
//!
//! A subject says how it sends one message and receives one ([`Numbered`]); [`InTurn`] repeats that, and checks
//! the numbers. Parcels are not here (what was received is sent again), nor is the locked rendezvous
//! (it counts its copies itself).

use super::meet::out_of_sequence;
use crate::bench::subject::Subject;
use crate::failure::Fault;

/// How one message is sent, and one received.
pub trait Numbered {
    /// Sends the message that says `number`.
    fn send(&mut self, number: u64) -> Result<(), Fault>;

    /// Receives a message, and gives its number.
    fn receive(&mut self) -> Result<u64, Fault>;

    /// See [`Subject::copies`].
    fn copies(&self) -> Option<f64>;
}

/// A subject of messages that are numbered one after the other.
pub struct InTurn<N> {
    messages: N,
    last: u64,
}

impl<N: Numbered> InTurn<N> {
    /// A subject whose first message has the number 1.
    pub fn new(messages: N) -> InTurn<N> {
        InTurn { messages, last: 0 }
    }

    #[inline(always)]
    fn expect(&mut self, number: u64) -> Result<(), Fault> {
        match self.messages.receive()? {
            found if found == number => Ok(()),
            found => Err(out_of_sequence(number, found)),
        }
    }
}

impl<N: Numbered> Subject for InTurn<N> {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.last += 1;
            self.messages.send(self.last)?;
            self.expect(self.last)?;
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let number = self.messages.receive()?;
            self.messages.send(number)?;
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        true
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.messages.send(number))
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.expect(number))
    }

    fn copies(&self) -> Option<f64> {
        self.messages.copies()
    }
}

/// The first word of a message: its number, or a byte of it for a message shorter than a word.
pub fn first_word(message: &[u8]) -> u64 {
    message.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}
