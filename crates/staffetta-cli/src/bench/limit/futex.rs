//! `limit.futex`: a process put to sleep and woken by another, on shared futex words.
//!
//! Each side has its own word. It changes the other's word, wakes its sleeper, and sleeps on its own
//! until that has changed. Every message costs one wake-up, which is what parking must cost at least.

use super::cacheline::share;
use crate::bench::subject::{Side, Spec, Subject, BATCH_LONG};
use crate::failure::Fault;
use crate::raw::SharedWords;
use rustix::io::Errno;
use rustix::thread::futex::{wait, wake, Flags};
use std::sync::atomic::Ordering::{Acquire, Release};

/// The one row.
pub fn specs() -> Vec<Spec> {
    vec![Spec {
        what: "limit.futex",
        reference: None,
        wait: Some("park"),
        bytes: 8,
        touch: None,
        batch: BATCH_LONG,
        alone: false,
        limit: None,
        open: vec![Box::new(|side, wire| {
            let words = share(side, wire, 2)?;
            Ok(Box::new(Sleepers { words, side, value: 0 }))
        })],
    }]
}

struct Sleepers {
    words: SharedWords,
    side: Side,
    value: u32,
}

impl Sleepers {
    /// Gives `value` to the other side and wakes it.
    fn tell(&self, value: u32) -> Result<(), Fault> {
        let theirs = self.words.futex(usize::from(self.side == Side::Ping));
        theirs.store(value, Release);
        wake(theirs, Flags::empty(), 1)?;
        Ok(())
    }

    /// Sleeps until the own word holds `value`.
    fn await_value(&self, value: u32) -> Result<(), Fault> {
        let ours = self.words.futex(usize::from(self.side == Side::Pong));
        loop {
            let now = ours.load(Acquire);
            if now == value {
                return Ok(());
            }
            match wait(ours, Flags::empty(), now, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Subject for Sleepers {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.value = self.value.wrapping_add(1);
            self.tell(self.value)?;
            self.await_value(self.value)?;
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.value = self.value.wrapping_add(1);
            self.await_value(self.value)?;
            self.tell(self.value)?;
        }
        Ok(())
    }
}
