//! `limit.cacheline`: a cache line from core to core, in every way that is worth trying.
//!
//! Two processes count a word up, in turn. The value of the word *is* the message. Eight variants, because
//! which one wins depends on the machine; all run in every block, and the one whose median over the blocks is
//! the lowest is the limit (ping.rs says why not the fastest of each block):
//!
//! | lines | one: both change the same word · two: each has its own and watches the other's |
//! |---|---|
//! | change | store · compare-exchange |
//! | while watching | nothing · the processor's pause hint |

use crate::bench::subject::{Open, Side, Spec, Subject, BATCH_SHORT};
use crate::failure::Fault;
use crate::raw::SharedWords;
use crate::two::wire::Wire;
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The one row, with its eight variants.
pub fn specs() -> Vec<Spec> {
    vec![Spec {
        what: "limit.cacheline",
        reference: None,
        wait: Some("spin"),
        bytes: 8,
        touch: None,
        batch: BATCH_SHORT,
        alone: false,
        limit: None,
        open: vec![
            open::<false, false, false>(),
            open::<false, false, true>(),
            open::<false, true, false>(),
            open::<false, true, true>(),
            open::<true, false, false>(),
            open::<true, false, true>(),
            open::<true, true, false>(),
            open::<true, true, true>(),
        ],
    }]
}

fn open<const TWO: bool, const EXCHANGE: bool, const PAUSE: bool>() -> Open {
    Box::new(|side, wire| {
        let words = share(side, wire, 2)?;
        Ok(Box::new(Line::<TWO, EXCHANGE, PAUSE> { words, value: 0 }))
    })
}

/// The same lines in both processes: ping makes them, pong gets their descriptor.
pub fn share(side: Side, wire: &Wire, lines: usize) -> Result<SharedWords, Fault> {
    match side {
        Side::Ping => {
            let words = SharedWords::create(lines)?;
            wire.send_with(&(), &[words.fd()])?;
            Ok(words)
        }
        Side::Pong => Ok(SharedWords::open(wire.recv_fd::<()>()?.1, lines)?),
    }
}

/// Even values are ping's to change, odd ones pong's.
struct Line<const TWO: bool, const EXCHANGE: bool, const PAUSE: bool> {
    words: SharedWords,
    value: u64,
}

impl<const TWO: bool, const EXCHANGE: bool, const PAUSE: bool> Line<TWO, EXCHANGE, PAUSE> {
    /// Publishes `value + 1` in `line`, then waits for `value + 2` in the line of the other side.
    #[inline(always)]
    fn change(&self, line: usize, value: u64) {
        let word = self.words.word(line);
        // Release publishes the message in a channel; here only the word itself, at the same price.
        match EXCHANGE {
            true => {
                // One line holds `value`; an own line still holds what we wrote last.
                let before = if TWO { value.wrapping_sub(1) } else { value };
                let before = if TWO && value == 0 { 0 } else { before };
                let _ = word.compare_exchange(before, value + 1, AcqRel, Relaxed);
            }
            false => word.store(value + 1, Release),
        }
    }

    #[inline(always)]
    fn watch(&self, line: usize, until: u64) {
        let word = self.words.word(line);
        while word.load(Acquire) != until {
            if PAUSE {
                spin_loop();
            }
        }
    }
}

impl<const TWO: bool, const EXCHANGE: bool, const PAUSE: bool> Subject for Line<TWO, EXCHANGE, PAUSE> {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        let theirs = usize::from(TWO);
        for _ in 0..rounds {
            self.change(0, self.value);
            self.watch(theirs, self.value + 2);
            self.value += 2;
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        let ours = usize::from(TWO);
        for _ in 0..rounds {
            self.watch(0, self.value + 1);
            self.change(ours, self.value + 1);
            self.value += 2;
        }
        Ok(())
    }
}
