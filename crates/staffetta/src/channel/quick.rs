//! The rendezvous' fast paths, for messages that fit a cell: straight through when the partner is where it is expected, and
//! nothing that the full walk (`rendezvous`) would not do.
//!
//! They are small enough to stand in the caller's code, and keep what they move in registers.

#![allow(unsafe_code)] // Cells are raw memory: each access says which invariant of line.rs allows it.

use super::call::{Incoming, Memory, Outgoing};
use super::line::{brings, Line, Reference3, IDLE, INLINE_BYTES, WANT};
use super::tally::Tally;
use crate::memory::platform::{HoldBytes, Platform};
use crate::memory::word::Word;
use crate::process::wait::Waited;

/// How far the fast path of `send` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has the message.
    Done,
    /// The cell holds the message, but the word changed meanwhile.
    Filled,
    /// The receiver does not wait.
    Not,
}

/// The fast path of `send`, for a message that fits a cell: the receiver waits. It only does what the full walk would do.
///
/// # Safety
/// The caller is the only sender; `fill` writes the whole message.
#[inline(always)]
pub unsafe fn deliver_now<P: Platform>(
    line: &Line<P>,
    memory: &Memory,
    fill: impl FnOnce(*mut HoldBytes),
) -> Delivery {
    // As long as the receiver is always there first, its word is guessed, not read: to read the line and then to write
    // it moves it twice.
    let mut now = memory.expect.get();
    if now.state() != WANT {
        now = line.word();
    }
    let s = now.sequence();
    if now != Word::new(WANT, brings::CELL, s) {
        return Delivery::Not;
    }
    // SAFETY: we are the sender and have not delivered `s` (L1); if the receiver has withdrawn meanwhile, the
    // sequence went on by twos, and the cell is the same (L2).
    unsafe { line.write_cell(s, fill) };
    match line.deliver(now) {
        Ok(()) => {
            memory.expect.set(Word::new(WANT, brings::CELL, s + 1));
            Delivery::Done
        }
        Err(found) => {
            memory.expect.set(Word::new(IDLE, 0, found.sequence()));
            Delivery::Filled
        }
    }
}

/// How far the fast path of `receive` came.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The message of this rendezvous is in its cell.
    Given(u64),
    /// WANT of this rendezvous stands, and nobody came yet.
    Waiting(u64),
    /// Somebody is here already, or not all is as expected.
    Not,
}

/// The fast path of `receive`, for messages that fit a cell: nobody is here, as expected; wait a little.
#[inline(always)]
pub fn want_now<P: Platform>(line: &Line<P>, tally: &Tally<P>, memory: &Memory) -> Wanted {
    let expect = memory.expect.get();
    let s = expect.sequence();
    if expect.state() != IDLE || line.want(expect, brings::CELL).is_err() {
        return Wanted::Not;
    }
    let mut spins = 0;
    for look in 0..memory.eager_steps::<P>() {
        if line.word().sequence() == s + 1 {
            memory.expect.set(Word::new(IDLE, 0, s + 1));
            tally.waited(&Waited { spins, parks: 0 });
            return Wanted::Given(s);
        }
        spins += P::stand_back(look);
    }
    Wanted::Waiting(s)
}

/// A parcel's words, one by one: a wider access would wait until the narrow ones before it have left the processor's
/// store buffer, and with them what was written to the parcel.
///
/// # Safety
/// The cell is the caller's to write.
#[inline(always)]
pub unsafe fn write_words(cell: *mut HoldBytes, words: Reference3) {
    for (i, word) in words.into_iter().enumerate() {
        // SAFETY: a cell has as many words.
        unsafe { cell.cast::<u64>().add(i).write_volatile(word) };
    }
}

/// As `write_words`.
///
/// # Safety
/// The cell holds words, and is the caller's to read.
#[inline(always)]
pub unsafe fn read_words(cell: *const HoldBytes) -> Reference3 {
    // SAFETY: a cell has as many words.
    [0, 1, 2].map(|i| unsafe { cell.cast::<u64>().add(i).read_volatile() })
}

/// Takes a message that fits a cell.
///
/// # Safety
/// By the receiver of rendezvous `s`, which ended; `target` is a cell's or a parcel's, as in `Party::receive`.
pub unsafe fn collect_small<P: Platform>(
    line: &Line<P>,
    tally: &Tally<P>,
    s: u64,
    target: Incoming,
) -> usize {
    match target {
        Incoming::Cell { bytes, length }
        | Incoming::Variable { bytes, capacity: length, small: true, .. } => {
            // SAFETY: passed on; a small message is exactly `length` <= INLINE_BYTES.
            unsafe { line.read_cell(s, |cell| tally.copy(cell.cast(), bytes, length)) };
            length
        }
        Incoming::Parcel(words) => {
            // SAFETY: passed on.
            unsafe { *words = line.read_cell(s, |cell| read_words(cell)) };
            0
        }
        Incoming::Private { .. } | Incoming::Variable { .. } => 0,
    }
}

/// Writes a cell, if the message fits one.
///
/// # Safety
/// The cell is the caller's to write; `message` as in `Party::send`.
#[inline(always)]
pub unsafe fn fill_small<P: Platform>(tally: &Tally<P>, cell: *mut HoldBytes, message: Outgoing) {
    match message {
        Outgoing::Cell { bytes, length } => {
            debug_assert!(length <= INLINE_BYTES);
            // SAFETY: passed on; at most INLINE_BYTES.
            unsafe { tally.copy(bytes, cell.cast(), length) };
        }
        // SAFETY: passed on.
        Outgoing::Parcel(words) => unsafe { write_words(cell, words) },
        Outgoing::Private { .. } | Outgoing::Lent { .. } | Outgoing::Variable { .. } => {}
    }
}
