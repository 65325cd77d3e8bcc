//! One row of the benchmark.

use super::stats::{Percentiles, Quartiles};
use super::subject::{Spec, Touch};
use serde::{Deserialize, Serialize};

/// One row. Field order is the order in the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// `limit.cacheline`, `rendezvous` …
    pub what: String,
    /// `coinciding`, `distinct`, `capability`, or nothing.
    pub reference: Option<String>,
    /// `spin`, `spin-then-park`, `park`, or nothing.
    pub wait: Option<String>,
    /// Length of a message.
    pub bytes: u64,
    /// How much of it is touched.
    pub touch: Option<Touch>,
    /// One way, half a round; over batches of rounds when a round is short.
    pub oneway_ns: Percentiles,
    /// As a stream without traffic in the other direction.
    pub messages_per_s: Option<f64>,
    /// Copies of each message, as counted by the channel.
    pub copies: Option<f64>,
    /// The row's limit.
    pub limit: Option<String>,
    /// To that limit, over the interleaved blocks.
    pub ratio: Option<Quartiles>,
}

impl Row {
    /// A row with its figures.
    pub fn of(spec: &Spec, oneway_ns: Percentiles) -> Row {
        Row {
            what: spec.what.to_owned(),
            reference: spec.reference.map(str::to_owned),
            wait: spec.wait.map(str::to_owned),
            bytes: spec.bytes,
            touch: spec.touch,
            oneway_ns,
            messages_per_s: None,
            copies: None,
            limit: spec.limit.map(|limit| limit.what.to_owned()),
            ratio: None,
        }
    }
}
