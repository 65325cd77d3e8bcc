//! The right to be *the* sender, or *the* receiver, of a channel that knows one of each: clones take turns.
//!
//! | state | means | left by |
//! |---|---|---|
//! | FREE | nobody has the turn | whoever takes it |
//! | TRYING | somebody has it who will not wait | its holder |
//! | WILLING | somebody has it who may wait for the partner | its holder |
//! | GIVEN + reference | it is the thread's behind this PCB reference | that thread: WILLING |
//!
//! One locked instruction takes it, one gives it back. Who does not get it waits in line. Whoever comes by may be quicker
//! than the first in line, which has to wake up first; but only so often: then it is given to the first.
//!
//! T1. Every change is a read-modify-write, or is made by the holder: so who announced itself sees FREE, or is seen.
//! T2. Who is taken off the line is given the turn: GIVEN comes, if it is not there yet. A thread that gives up waits for it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Instant;

use super::sleepers::{pause, Left, Me, Sleepers};
use crate::channel::call::{Ground, Patience};
use crate::memory::platform::{Platform, Word64};
use crate::process::wait::Woken;

const FREE: u64 = 0;
const TRYING: u64 = 1;
const WILLING: u64 = 2;
const GIVEN: u64 = 4;

/// So often the first in line may be passed over.
#[cfg(not(test))]
const PASSED_OVER_MAX: u32 = 64;
#[cfg(test)]
const PASSED_OVER_MAX: u32 = 2;

/// The right to be the only one.
pub struct Turn<P: Platform> {
    word: P::U64,
    line: Sleepers<P>,
}

/// Why somebody did not get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTurn {
    /// The deadline passed.
    TimedOut,
    /// Somebody has it and waits.
    Taken,
}

impl<P: Platform> Turn<P> {
    /// Nobody's.
    pub fn new() -> Self {
        Turn { word: P::U64::new(FREE), line: Sleepers::new() }
    }

    #[inline(always)]
    fn change(&self, from: u64, to: u64) -> bool {
        // Acquire: what the last holder did as the only one. Release: what we did.
        self.word.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }

    /// Takes the turn. `is_stuck`: whoever has it waits for a partner.
    #[inline(always)]
    pub fn take<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        patience: Patience,
        is_stuck: impl Fn() -> bool,
    ) -> Result<(), NoTurn> {
        let state = if matches!(patience, Patience::Try) { TRYING } else { WILLING };
        if self.change(FREE, state) {
            return Ok(());
        }
        match patience {
            Patience::Try => self.try_again(is_stuck),
            Patience::Until(deadline) => self.wait_in_line(me, ground, deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn try_again(&self, is_stuck: impl Fn() -> bool) -> Result<(), NoTurn> {
        let mut steps = 0;
        while !self.change(FREE, TRYING) {
            // Who has it does what it has to do, and soon gives it back; or waits, and then there is no partner.
            if is_stuck() || steps > super::meet::TRIES_MAX {
                return Err(NoTurn::Taken);
            }
            super::relax::<P>(steps);
            steps += 1;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn wait_in_line<G: Ground<P>>(
        &self,
        me: &Me,
        ground: &G,
        deadline: Option<Instant>,
    ) -> Result<(), NoTurn> {
        let poll = |announced: Option<u64>| match (self.word.load(Relaxed), announced) {
            (FREE, _) => self.change(FREE, WILLING).then_some(()),
            (word, Some(me)) if word == GIVEN | me => self.change(word, WILLING).then_some(()),
            _ => None,
        };
        let announce = |pcb_ref| self.line.announce(pcb_ref);
        let retire = |pcb_ref| self.line.retire(pcb_ref);
        let (woken, left) = pause::<P, _, _>(me, ground, deadline, 0, poll, announce, retire);
        match (woken, left) {
            (Woken::Ready(()), _) => Ok(()),
            (Woken::TimedOut, Some((me, Left::Picked))) => {
                let mut steps = 0;
                while !self.change(GIVEN | me, WILLING) {
                    super::relax::<P>(steps); // T2
                    steps += 1;
                }
                Ok(())
            }
            (Woken::TimedOut, left) => {
                // What woke us was meant for whoever is first.
                if left.is_some_and(|(_, left)| left == Left::Woken) && self.word.load(Acquire) == FREE {
                    self.line.wake_front(ground);
                }
                Err(NoTurn::TimedOut)
            }
        }
    }

    /// Gives the turn back.
    #[inline(always)]
    pub fn give_back<G: Ground<P>>(&self, ground: &G) {
        if self.line.any() {
            if let Some(next) = self.line.pick(PASSED_OVER_MAX) {
                self.word.store(GIVEN | next, Release); // T1: we are the holder
                ground.wake(next);
                return;
            }
        }
        self.word.fetch_and(FREE, AcqRel);
        if self.line.any_after_rmw() {
            self.line.wake_front(ground);
        }
    }

    /// Is anybody here who may wait for the partner, or comes?
    pub fn is_willing(&self) -> bool {
        !matches!(self.word.load(Relaxed), FREE | TRYING) || self.line.any()
    }
}
