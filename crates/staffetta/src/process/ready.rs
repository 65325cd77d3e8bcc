//! The ready list of a process: the PCBs that may run again.
//!
//! ```text
//!   head ──► PCB ──next──► PCB ──next──► 0        newest first; words are references
//! ```
//!
//! Anybody pushes by one compare-exchange; the process takes all at once. The list is a hint: who pushes
//! something twice, or dies between marking a PCB and pushing it, is the PCB's state's business, not the list's.
//!
//! Y1. A PCB is in one ready list at most, once: `next` is written by its pusher alone, before the push, and read
//!     by the taker alone, after it took the whole list. So there is no ABA, and a pusher that stops half-way has
//!     published nothing.
//! Y2. References are a peer's words: the walk ends at one that makes no sense, and after as many as there are PCBs.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::pcb::Pcb;
use crate::memory::map::PCBS_MAX;
use crate::memory::platform::{Platform, Word64};

/// Pushes the PCB behind `reference`. True: the list was empty, so the process may sleep: ring its doorbell.
pub fn push<P: Platform>(head: &P::U64, pcb: &Pcb<P>, reference: u64) -> bool {
    let mut first = head.load(Relaxed);
    loop {
        pcb.next.store(first, Relaxed);
        // Release: publishes `next` (Y1), and what made the PCB ready; pairs with `take_all`.
        match head.compare_exchange(first, reference, Release, Relaxed) {
            Ok(_) => return first == 0,
            Err(found) => first = found,
        }
    }
}

/// Takes all: gives them to `run` in the order in which they were pushed.
pub fn take_all<'p, P: Platform>(
    head: &P::U64,
    resolve: impl Fn(u64) -> Option<&'p Pcb<P>>,
    run: impl FnMut(&'p Pcb<P>),
) {
    let mut reference = head.load(Acquire);
    while reference != 0 {
        match head.compare_exchange(reference, 0, AcqRel, Acquire) {
            Ok(_) => break,
            Err(found) => reference = found,
        }
    }
    let mut taken = Vec::new();
    while let Some(pcb) = resolve(reference).filter(|_| reference != 0 && taken.len() < PCBS_MAX) {
        taken.push(pcb);
        reference = pcb.next.load(Relaxed);
    }
    taken.into_iter().rev().for_each(run);
}
