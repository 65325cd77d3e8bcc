//! What the coordinator and the two processes of the demo say to each other.

use super::mechanism::Plan;
use super::source::{BadInput, Source};
use crate::raw::{SharedWords, Usage};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;

/// From the coordinator.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// To the sender: read the file. Comes with the progress words, and with the standard input if that is read.
    Load {
        /// Where the bytes come from.
        source: Source,
        /// The length of a message.
        message_bytes: u64,
        /// The memory that may be used.
        bytes_available: u64,
    },
    /// To the receiver: the file to come. Comes with the progress words.
    Expect(Plan),
    /// To both: open a mechanism, by its place in the catalogue.
    Open(usize),
    /// To both: move the whole file once.
    Pass(Reader),
    /// To the sender: tell the bytes copied so far.
    Count,
    /// To both: close the mechanism.
    Close,
}

/// What the receiver does with each message.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Reader {
    /// Reads every byte, adding it up: the timed passes.
    Sum,
    /// Hashes it: the pass that verifies.
    Hash,
}

/// To the coordinator.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// The file is in memory.
    Loaded {
        /// Its length.
        bytes: u64,
        /// What the receiver must find.
        digest: Digest,
    },
    /// The file cannot be sent.
    Bad(BadInput),
    /// An order without a result is done.
    Done,
    /// A pass is over.
    Passed(Passed),
    /// The bytes copied so far.
    Counted(u64),
    /// This side could not do it.
    Failed(String),
}

/// One side's part in a pass.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Passed {
    /// When it began, on the clock that both share.
    pub start_ns: u64,
    /// When its last message was sent, or read.
    pub end_ns: u64,
    /// What it cost.
    pub usage: Usage,
    /// The bytes moved.
    pub bytes: u64,
    /// What was found, by the receiver.
    pub digest: Digest,
}

/// What identifies the file: the sum of its words, and its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// See [`word_sum`].
    pub sum: u64,
    /// XXH3, 128 bits, as two halves.
    pub hash: [u64; 2],
}

/// Reads every byte of a message, as fast as memory gives them.
pub fn word_sum(message: &[u8]) -> u64 {
    let (words, rest) = message.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// The halves of a hash: JSON has no 128-bit numbers.
pub fn halves(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

/// How far the running step is, in a line that all three processes see.
pub struct Progress(pub SharedWords);

impl Progress {
    /// The lines it needs.
    pub const LINES: usize = 2;

    /// Notes that `done` of `whole` bytes are done. Relaxed: only shown to people.
    pub fn set(&self, done: u64, whole: u64) {
        self.0.word(1).store(whole, Ordering::Relaxed);
        self.0.word(0).store(done, Ordering::Relaxed);
    }

    /// The bytes done, and the whole.
    pub fn get(&self) -> (u64, u64) {
        (self.0.word(0).load(Ordering::Relaxed), self.0.word(1).load(Ordering::Relaxed))
    }
}
