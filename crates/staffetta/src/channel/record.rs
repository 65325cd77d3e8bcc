//! A channel's record in the domain: the descriptor, both sides, counters, and what the channel is.
//!
//! ```text
//!    0  line: state word and cells            128  sender's side     192  receiver's side
//!   64  (its pair: left empty)                256  sender's counters 320  tail of the ring
//!                                             384  receiver's counters 448 head of the ring
//!  512  what the channel is: fixed before the record is published
//! ```
//!
//! C1. The description (from `kind` on) is written by the creator before the record is put into its
//!     name bucket, and never changes while the record is published.
//! C2. `line` and the ring words follow line.rs and ring.rs; each `Side` and tally its own file.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::line::Line;
use super::side::Side;
use super::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;

/// Longest channel name, bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A channel of the domain.
#[repr(C, align(1024))]
pub struct Record {
    /// Rendezvous descriptor.
    pub line: Line,
    line_pair: [u64; 8],
    /// The sender's side.
    pub sender: Side,
    /// The receiver's side.
    pub receiver: Side,
    /// The sender's counters. Processors fetch lines in pairs: this one and the next are written by the sender alone.
    pub sender_tally: Tally,
    /// Channel with a buffer: the sender's next slot.
    pub tail: AtomicU64,
    tail_pad: [u64; 7],
    /// The receiver's counters. This line and the next are written by the receiver alone.
    pub receiver_tally: Tally,
    /// Channel with a buffer: the receiver's next slot.
    pub head: AtomicU64,
    head_pad: [u64; 7],
    /// State word of the record: FREE, BUILDING, NAMED, UNNAMED, UNMAKING; its sequence counts how often it came free, or a
    /// process took hold of it.
    pub state: AtomicU64,
    /// Next record of the same name bucket: index + 1.
    pub next: AtomicU64,
    /// `Kind` code | reference method code << 8 | payload code << 16.
    pub kind: AtomicU64,
    /// Asynchrony degree K.
    pub degree: AtomicU64,
    /// Fingerprint of the message's schema.
    pub fingerprint: AtomicU64,
    /// Word index of the schema text.
    pub schema: AtomicU64,
    /// Longest message, bytes (channels with a buffer).
    pub message_bytes_max: AtomicU64,
    /// Offset of the ring; of a queue, of its crowds and cells.
    pub ring: AtomicU64,
    /// Bytes of the name.
    pub name_len: AtomicU64,
    /// The name, zero padded.
    pub name: [AtomicU64; NAME_BYTES_MAX / 8],
    /// `Form` code.
    pub form: AtomicU64,
    /// Messages that dead receivers had in hand and that nobody gets.
    pub lost: AtomicU64,
    /// Grows when parcels have come back that a dead receiver had not acknowledged (kept.rs).
    pub returned: AtomicU64,
    pad: [u64; 36],
}

/// A record's states.
pub mod state {
    /// Not in use.
    pub const FREE: u8 = 0;
    /// Being filled in by the process in the word's slot.
    pub const BUILDING: u8 = 1;
    /// Published under its name.
    pub const NAMED: u8 = 2;
    /// In use without a name, made by the process in the word's slot; entries say who has ends of it (`enclosure`).
    pub const UNNAMED: u8 = 3;
    /// Being taken back by the process in the word's slot; `IN_MESSAGE`: by whoever gives back the last end of it that lies in a
    /// parcel.
    pub const UNMAKING: u8 = 4;
}

/// UNNAMED => UNNAMED, with the next sequence: a process has made a hold. False: it is no such channel any more.
pub fn came<W: Word64>(state: &W) -> bool {
    let mut now = Word(state.load(Acquire));
    loop {
        if now.state() != state::UNNAMED {
            return false;
        }
        let next = Word::new(state::UNNAMED, now.slot(), now.sequence() + 1);
        match state.compare_exchange(now.0, next.0, AcqRel, Acquire) {
            Ok(_) => return true,
            Err(found) => now = Word(found),
        }
    }
}

/// UNNAMED => UNMAKING(process `slot`), if nobody came since the word was `seen`.
pub fn begin_unmaking<W: Word64>(state: &W, seen: Word, slot: u16) -> bool {
    let mine = Word::new(state::UNMAKING, slot, seen.sequence());
    seen.state() == state::UNNAMED && state.compare_exchange(seen.0, mine.0, AcqRel, Relaxed).is_ok()
}

const _: () = assert!(size_of::<Record>() == crate::memory::map::CHANNEL_BYTES as usize);
const _: () = assert!(std::mem::offset_of!(Record, sender) == 128);
const _: () = assert!(std::mem::offset_of!(Record, sender_tally) == 256);
const _: () = assert!(std::mem::offset_of!(Record, receiver_tally) == 384);
const _: () = assert!(std::mem::offset_of!(Record, state) == 512);

impl Record {
    /// The name, as far as it is UTF-8.
    pub fn name(&self) -> String {
        let words: Vec<u8> = self.name.iter().flat_map(|w| w.load(Relaxed).to_le_bytes()).collect();
        let len = self.name_len.load(Relaxed).min(NAME_BYTES_MAX as u64);
        String::from_utf8_lossy(&words[..len as usize]).into_owned()
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Record {
        line,
        line_pair,
        sender,
        receiver,
        sender_tally,
        tail,
        tail_pad,
        receiver_tally,
        head,
        head_pad,
        state,
        next,
        kind,
        degree,
        fingerprint,
        schema,
        message_bytes_max,
        ring,
        name_len,
        name,
        form,
        lost,
        returned,
        pad
    })]
}
