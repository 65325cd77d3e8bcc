//! What the coordinator and the two processes of the benchmark say to each other.

use super::facts::Fact;
use super::row::Row;
use super::stats::Percentiles;
use serde::{Deserialize, Serialize};

/// From the coordinator to ping.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// Measure a subject, by its place in the catalogue.
    Measure(usize),
    /// Find out the facts.
    Facts,
}

/// What became of one subject.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    /// Its row.
    pub row: Row,
    /// Its limit in the blocks around the subject's own.
    pub limit_ns: Option<Percentiles>,
}

/// From ping to the coordinator.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// The figures.
    Measured(Box<Measured>),
    /// The facts.
    Facts(Vec<Fact>),
    /// It could not be done.
    Failed(String),
}

/// From ping to pong, over the link.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// Take part in finding out the facts.
    Facts,
    /// Open a variant of a subject under a number.
    Open {
        /// The number, for later requests.
        slot: usize,
        /// The subject's place in the catalogue.
        spec: usize,
        /// The variant of the subject.
        variant: usize,
    },
    /// Close everything.
    CloseAll,
    /// Answer so many rounds.
    Pong {
        /// Of which subject.
        slot: usize,
        /// How many.
        rounds: u64,
    },
    /// Receive so many messages one way.
    Stream {
        /// Of which subject.
        slot: usize,
        /// The first one's number.
        first: u64,
        /// How many.
        messages: u64,
    },
}
