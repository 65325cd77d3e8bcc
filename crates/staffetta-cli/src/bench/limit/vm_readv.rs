//! `limit.vm_readv`: private memory of one process read into private memory of the other by the system call alone.
//!
//! Two forms, told apart in the row:
//!
//! - `touch` `first`: one process reads the other's memory, back to back; the other does nothing. The source stays as it is;
//! - `touch` `all`: in turn; the writer writes every byte, a word in shared memory says that it is there, and the reader reads
//!   it over and then reads every byte.
//!
//! Both use as many buffers as the subjects do: two, or more than the last cache holds.

use super::cacheline::share;
use super::touch::{read_all, rotation, write_all};
use crate::bench::subject::{Side, Spec, Subject, Touch, BATCH_LONG};
use crate::failure::Fault;
use crate::raw::{let_read, read_process, SharedWords};
use crate::two::wire::Wire;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Release};

/// One row for each size by itself, and the largest end to end.
pub fn specs() -> Vec<Spec> {
    let of = |bytes: u64, touch| Spec {
        what: "limit.vm_readv",
        reference: None,
        wait: None,
        bytes,
        touch: Some(touch),
        batch: BATCH_LONG,
        alone: touch == Touch::First,
        limit: None,
        open: vec![Box::new(move |side, wire| Ok(Box::new(Reader::open(side, wire, bytes, touch)?)))],
    };
    let mut specs: Vec<Spec> =
        [64 << 10, 1 << 20, 16 << 20].into_iter().map(|bytes| of(bytes, Touch::First)).collect();
    specs.push(of(16 << 20, Touch::All));
    specs
}

/// The buffers of one side, in turn.
pub fn buffers(bytes: u64, touch: Touch) -> Vec<Vec<u8>> {
    let count = match touch {
        Touch::First => 2,
        Touch::All => rotation(bytes),
    };
    // Written once, so that their pages are there.
    (0..count).map(|_| vec![1; bytes as usize]).collect()
}

struct Reader {
    /// Whose turn it is: even ping's, odd pong's.
    words: SharedWords,
    /// The other process, and where its buffers are.
    other: u32,
    theirs: Vec<u64>,
    ours: Vec<Vec<u8>>,
    turn: usize,
    count: u64,
    touch: Touch,
}

impl Reader {
    fn open(side: Side, wire: &Wire, bytes: u64, touch: Touch) -> Result<Reader, Fault> {
        let words = share(side, wire, 1)?;
        let ours = buffers(bytes, touch);
        let addresses: Vec<u64> = ours.iter().map(|buffer| buffer.as_ptr() as u64).collect();
        wire.send(&(std::process::id(), addresses))?;
        let (other, theirs) = wire.recv()?;
        let_read(other);
        Ok(Reader { words, other, theirs, ours, turn: 0, count: 0, touch })
    }

    fn next(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.ours.len();
        self.turn
    }

    fn read(&mut self) -> Result<usize, Fault> {
        let at = self.next();
        read_process(self.other, self.theirs[at], &mut self.ours[at])?;
        black_box(&self.ours[at]);
        Ok(at)
    }

    fn give(&mut self) {
        let at = self.next();
        write_all(&mut self.ours[at], self.count);
        self.count += 1;
        self.words.word(0).store(self.count, Release);
    }

    fn take(&mut self) -> Result<(), Fault> {
        self.count += 1;
        while self.words.word(0).load(Acquire) != self.count {
            spin_loop();
        }
        let at = self.read()?;
        read_all(&self.ours[at]);
        Ok(())
    }
}

impl Subject for Reader {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            match self.touch {
                Touch::First => {
                    self.read()?;
                    self.read()?;
                }
                Touch::All => {
                    self.give();
                    self.take()?;
                }
            }
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        if self.touch == Touch::All {
            for _ in 0..rounds {
                self.take()?;
                self.give();
            }
        }
        Ok(())
    }
}
