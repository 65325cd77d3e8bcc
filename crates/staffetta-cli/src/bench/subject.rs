//! What is measured: a subject, run by two pinned processes that answer each other.
//!
//! To add a subject, write one file that implements [`Subject`] for each side and add its [`Spec`]s to
//! `catalogue`. Limits are subjects too: a subject and its limit differ only in that one names the other.

use crate::failure::Fault;
use crate::two::wire::Wire;
use serde::{Deserialize, Serialize};

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// Starts every round and holds the clock.
    Ping,
    /// Answers.
    Pong,
}

/// How much of a message is touched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Touch {
    /// Hand-over: the reader reads the first word.
    First,
    /// End to end: the writer writes every byte, the reader reads every byte.
    All,
}

/// One side of a subject, ready to run.
///
/// A *round* is two messages: one from ping to pong, one back. A subject that needs only one process
/// does its two operations in `ping` and leaves `pong` empty.
pub trait Subject {
    /// Called on both sides before a block of so many rounds, outside the timed part.
    fn prepare(&mut self, _rounds: u64) -> Result<(), Fault> {
        Ok(())
    }

    /// Ping's side of so many rounds.
    fn ping(&mut self, rounds: u64) -> Result<(), Fault>;

    /// Pong's side of as many rounds.
    fn pong(&mut self, _rounds: u64) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether it can be run one way: ping sends without an answer, pong receives.
    fn streams(&self) -> bool {
        false
    }

    /// Ping's side of a stream: sends so many messages, numbered from `first`.
    fn stream_send(&mut self, _first: u64, _messages: u64) -> Result<(), Fault> {
        Err("this subject cannot be run as a stream".into())
    }

    /// Pong's side of a stream; a message out of sequence is an error.
    fn stream_receive(&mut self, _first: u64, _messages: u64) -> Result<(), Fault> {
        Err("this subject cannot be run as a stream".into())
    }

    /// Copies of each message, counted by the channel (asked of ping, after the rounds).
    fn copies(&self) -> Option<f64> {
        None
    }
}

/// Opens one side; both open at the same time and may talk over the wire.
pub type Open = Box<dyn Fn(Side, &Wire) -> Result<Box<dyn Subject>, Fault>>;

/// A subject before it runs: what its row says, and how to open it.
pub struct Spec {
    /// `limit.cacheline`, `rendezvous` …
    pub what: &'static str,
    /// Method of reference, if any. For `limit.mmap`, `capability` marks the form in which the
    /// descriptor has come over a socket.
    pub reference: Option<&'static str>,
    /// Wait policy, if any.
    pub wait: Option<&'static str>,
    /// Length of a message.
    pub bytes: u64,
    /// How much of it is touched.
    pub touch: Option<Touch>,
    /// Rounds between two readings of the clock: `BATCH_SHORT` or `BATCH_LONG`.
    pub batch: u64,
    /// Whether only one process works, back to back: its rate is then its latency turned round.
    pub alone: bool,
    /// The limit that it is compared with.
    pub limit: Option<LimitName>,
    /// How it is opened. Several: variants, and the one that is the fastest over all blocks counts.
    pub open: Vec<Open>,
}

/// A limit, named by what its row says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitName {
    /// `limit.cacheline` …
    pub what: &'static str,
    /// See [`Spec::reference`].
    pub reference: Option<&'static str>,
    /// See [`Spec::bytes`].
    pub bytes: u64,
    /// See [`Spec::touch`].
    pub touch: Option<Touch>,
}

impl Spec {
    /// The name by which others can call it their limit.
    pub fn name(&self) -> LimitName {
        LimitName { what: self.what, reference: self.reference, bytes: self.bytes, touch: self.touch }
    }

    /// Whether this is what others are compared with: a limit of the machine, or another library's channel.
    pub fn is_limit(&self) -> bool {
        self.what.starts_with("limit.") || super::threads::is_base(self.what)
    }

    /// The name for people: `parcel 64 KiB, distinct, spin`.
    pub fn label(&self) -> String {
        let size = crate::show::size::show(self.bytes);
        let touch = (self.touch == Some(Touch::All)).then_some("all");
        let parts = [Some(self.what), Some(size.as_str()), touch, self.reference, self.wait];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Rounds between two readings of the clock for operations that take less than a microsecond: reading
/// the clock costs some 25 ns, which must vanish beside what it measures.
pub const BATCH_SHORT: u64 = 16;

/// For everything longer: each round alone.
pub const BATCH_LONG: u64 = 1;
