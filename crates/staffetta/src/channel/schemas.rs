//! The schema store: the texts of all layouts, one after the other, each once.
//!
//! ```text
//!   head | fingerprint | text ...   head | fingerprint | text ...   0
//!   head: bytes of the text << 37 | generation << 13 | process slot << 1 | 1 if it is written
//! ```
//!
//! S1. Who has a new text claims the place behind the last one, in one step: its head says from then on how long it is, whose it
//!     is, and that it is not written yet. Others pass it by.
//! S2. If its process is killed before it is written it is nobody's (`NOBODY` as its slot), and the next text of as many words is
//!     written there. As a rule that is the very same text. With the slot's generation a late sweeper does not take what
//!     a newcomer writes there for the dead one's.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::memory::map::SCHEMAS_BYTES;
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::message::{Schema, SCHEMA_LENGTH_MAX};

/// Stands where a process slot would.
const NOBODY: u64 = 0xfff;

/// The first word of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    /// Not written yet by the process of this slot and generation.
    const fn claimed(length: usize, slot: u16, generation: u64) -> Head {
        Head((length as u64) << 37 | (generation & 0xff_ffff) << 13 | (slot as u64 & NOBODY) << 1)
    }

    const fn nobodys(self) -> Head {
        Head(self.length() << 37 | NOBODY << 1)
    }

    const fn written(self) -> Head {
        Head(self.length() << 37 | 1)
    }

    /// Bytes of the text.
    pub const fn length(self) -> u64 {
        self.0 >> 37
    }

    /// Is the text written?
    pub const fn is_written(self) -> bool {
        self.0 & 1 == 1
    }

    /// Nobody's, and not written (S2)?
    pub const fn is_nobodys(self) -> bool {
        !self.is_written() && self.0 >> 1 & NOBODY == NOBODY
    }

    /// Words, of head, fingerprint and text.
    pub const fn words(self) -> u64 {
        2 + self.length().div_ceil(8)
    }
}

/// Each text: its first word's index, its head as it was read, and the head itself.
fn each(segment: &Segment) -> impl Iterator<Item = (u64, Head, &AtomicU64)> {
    let mut at = 0_u64;
    std::iter::from_fn(move || {
        let word = segment.schema_word(at)?;
        // Acquire: pairs with the Release that says that it is written.
        let head = Head(word.load(Acquire));
        let here = at;
        at = at.checked_add(head.words())?;
        Some((here, head, word))
    })
}

/// Where the text of this schema is, once it is written, for the process of this slot and generation. None: there is no room.
pub fn intern(segment: &Segment, (slot, generation): (u16, u64), schema: &Schema) -> Option<u64> {
    let text = schema.to_string();
    let mine = Head::claimed(text.len(), slot, generation);
    'again: loop {
        for (at, head, word) in each(segment) {
            let is_end = head.0 == 0;
            if head.is_written() {
                let alike = segment.schema_word(at + 1)?.load(Relaxed) == schema.fingerprint();
                if alike && read_schema(segment, at).as_ref() == Some(schema) {
                    return Some(at);
                }
                continue;
            }
            let is_mine_to_take = is_end || (head.is_nobodys() && head.words() == mine.words());
            if !is_mine_to_take {
                continue;
            }
            if at.checked_add(mine.words())? > SCHEMAS_BYTES / 8 {
                return None;
            }
            if word.compare_exchange(head.0, mine.0, AcqRel, Relaxed).is_err() {
                continue 'again; // somebody else was quicker, perhaps with the same text
            }
            stop::here("schema: claimed");
            segment.header().schema_bytes.fetch_max((at + mine.words()) * 8, Relaxed);
            write(segment, at, schema.fingerprint(), &text)?;
            stop::here("schema: text written");
            word.store(mine.written().0, Release);
            return Some(at);
        }
        return None;
    }
}

fn write(segment: &Segment, at: u64, fingerprint: u64, text: &str) -> Option<()> {
    segment.schema_word(at + 1)?.store(fingerprint, Relaxed);
    for (i, eight) in text.as_bytes().chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..eight.len()].copy_from_slice(eight);
        segment.schema_word(at + 2 + i as u64)?.store(u64::from_le_bytes(bytes), Relaxed);
    }
    Some(())
}

/// What the dead process of this slot and generation was writing is nobody's (S2).
pub fn sweep(segment: &Segment, (slot, generation): (u16, u64)) {
    for (_, head, word) in each(segment).take_while(|(_, head, _)| head.0 != 0) {
        if head == Head(head.length() << 37 | Head::claimed(0, slot, generation).0) {
            // It fails if another sweeper was first.
            let _ = word.compare_exchange(head.0, head.nobodys().0, AcqRel, Relaxed);
        }
    }
}

/// The schema whose text begins at word `at`.
pub fn read_schema(segment: &Segment, at: u64) -> Option<Schema> {
    read_schema_by(|at| Some(segment.schema_word(at)?.load(Acquire)), at)
}

/// The same; `word` reads one of the store's words.
pub fn read_schema_by(word: impl Fn(u64) -> Option<u64>, at: u64) -> Option<Schema> {
    let head = Head(word(at)?);
    let length = head.length();
    if !head.is_written() || length > SCHEMA_LENGTH_MAX as u64 {
        return None;
    }
    let mut bytes = Vec::with_capacity(length as usize + 8);
    for i in 0..length.div_ceil(8) {
        bytes.extend(word(at.checked_add(2 + i)?)?.to_le_bytes());
    }
    bytes.truncate(length as usize);
    Schema::parse(std::str::from_utf8(&bytes).ok()?).ok()
}
