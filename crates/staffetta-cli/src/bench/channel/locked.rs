//! `rendezvous.locked`: the descriptor as the textbook has it, all five fields of it: the students' baseline.
//!
//! ```text
//!   lock | wait | length | val_ref | pcb_ref
//! ```
//!
//! LOCK makes the primitives indivisible: both run entirely under it, the copy included. Whoever waits
//! spins on a word of its own PCB, with the pause hint. References are numbers of lines in the
//! memory that both processes share.

use super::meet::out_of_sequence;
use super::CACHELINE;
use crate::bench::limit::cacheline::share;
use crate::bench::subject::{Side, Spec, Subject, Touch, BATCH_SHORT};
use crate::failure::Fault;
use crate::raw::SharedWords;
use std::hint::spin_loop;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The one row.
pub fn specs() -> Vec<Spec> {
    vec![Spec {
        what: "rendezvous.locked",
        // Numbers of lines, not references of the library: the five fields in a raw mapping.
        reference: None,
        wait: Some("spin"),
        bytes: 8,
        touch: Some(Touch::First),
        batch: BATCH_SHORT,
        alone: false,
        limit: Some(CACHELINE),
        open: vec![Box::new(|side, wire| {
            let words = share(side, wire, 2 * Channel::LINES)?;
            Ok(Box::new(Locked { words, side, next: 0 }))
        })],
    }]
}

/// Words of the descriptor's line.
const LOCK: usize = 0;
const WAIT: usize = 1;
const LENGTH: usize = 2;
const VAL_REF: usize = 3;
const PCB_REF: usize = 4;

/// Words of a PCB's line.
const WOKEN: usize = 0;
const COPIED: usize = 1;

/// One channel in the shared lines: its descriptor, then a PCB and a variable for each end.
struct Channel<'m> {
    words: &'m SharedWords,
    line: usize,
}

impl<'m> Channel<'m> {
    const LINES: usize = 5;

    fn field(&self, field: usize) -> &'m AtomicU64 {
        self.words.at(self.line, field)
    }

    fn pcb(&self, is_sender: bool) -> usize {
        self.line + 1 + usize::from(is_sender)
    }

    fn variable(&self, is_sender: bool) -> usize {
        self.line + 3 + usize::from(is_sender)
    }

    fn lock(&self) {
        let lock = self.field(LOCK);
        while lock.swap(1, Acquire) != 0 {
            while lock.load(Relaxed) != 0 {
                spin_loop();
            }
        }
    }

    fn unlock(&self) {
        self.field(LOCK).store(0, Release);
    }

    /// Copies `length` bytes from variable to variable, and counts them in the copier's own PCB.
    fn copy(&self, from: usize, to: usize, length: u64, pcb: usize) {
        // Relaxed: the lock orders it.
        self.words.at(to, 0).store(self.words.at(from, 0).load(Relaxed), Relaxed);
        let copied = self.words.at(pcb, COPIED);
        copied.store(copied.load(Relaxed) + length, Relaxed);
    }

    /// Both primitives: they are mirror images.
    fn meet(&self, is_sender: bool) {
        let (own_pcb, own) = (self.pcb(is_sender), self.variable(is_sender));
        self.lock();
        let wait = self.field(WAIT);
        if wait.load(Relaxed) != 0 {
            wait.store(0, Relaxed);
            let theirs = self.field(VAL_REF).load(Relaxed) as usize;
            let length = self.field(LENGTH).load(Relaxed);
            match is_sender {
                true => self.copy(own, theirs, length, own_pcb),
                false => self.copy(theirs, own, length, own_pcb),
            }
            let pcb = self.field(PCB_REF).load(Relaxed) as usize;
            self.unlock();
            self.words.at(pcb, WOKEN).store(1, Release);
        } else {
            wait.store(1, Relaxed);
            self.field(LENGTH).store(8, Relaxed);
            self.field(VAL_REF).store(own as u64, Relaxed);
            self.field(PCB_REF).store(own_pcb as u64, Relaxed);
            let woken = self.words.at(own_pcb, WOKEN);
            woken.store(0, Relaxed);
            self.unlock();
            while woken.load(Acquire) == 0 {
                spin_loop();
            }
        }
    }

    fn send(&self, message: u64) {
        self.words.at(self.variable(true), 0).store(message, Relaxed);
        self.meet(true);
    }

    fn receive(&self) -> u64 {
        self.meet(false);
        self.words.at(self.variable(false), 0).load(Relaxed)
    }
}

struct Locked {
    words: SharedWords,
    side: Side,
    next: u64,
}

impl Locked {
    fn there(&self) -> Channel<'_> {
        Channel { words: &self.words, line: 0 }
    }

    fn back(&self) -> Channel<'_> {
        Channel { words: &self.words, line: Channel::LINES }
    }
}

impl Subject for Locked {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.next += 1;
            self.there().send(self.next);
            let found = self.back().receive();
            if found != self.next {
                return Err(out_of_sequence(self.next, found));
            }
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let message = self.there().receive();
            self.back().send(message);
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        true
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).for_each(|number| self.there().send(number));
        self.next += messages;
        Ok(())
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        for number in first..first + messages {
            let found = self.there().receive();
            if found != number {
                return Err(out_of_sequence(number, found));
            }
        }
        Ok(())
    }

    fn copies(&self) -> Option<f64> {
        let there = self.there();
        let copied = |is_sender| self.words.at(there.pcb(is_sender), COPIED).load(Relaxed);
        let sent = (self.side == Side::Ping && self.next != 0).then_some(8 * self.next)?;
        Some((copied(true) + copied(false)) as f64 / sent as f64)
    }
}
