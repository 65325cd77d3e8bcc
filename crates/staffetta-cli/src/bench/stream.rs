//! One way: messages without traffic in the other direction, their sequence numbers checked.
//!
//! Ping-pong hides errors of a protocol, because neither side is ever ahead of the other.

use super::blocks::Timed;
use super::orders::Request;
use super::ping::request;
use super::stats::median;
use super::Plan;
use crate::failure::Fault;
use crate::two::wire::Wire;
use std::time::Instant;

const RUNS: usize = 3;

/// Messages a second: the median of some runs. Nothing if the subject cannot be run one way.
pub fn rate(timed: &mut Timed, link: &Wire, plan: Plan) -> Result<Option<f64>, Fault> {
    if !timed.subject.streams() {
        return Ok(None);
    }
    let mut first = 0;
    let mut messages = 64;
    let mut run = |messages: u64| -> Result<f64, Fault> {
        let start = Instant::now();
        request(link, &Request::Stream { slot: timed.slot, first, messages })?;
        timed.subject.stream_send(first, messages)?;
        // Pong says so when it has read the last one.
        link.recv::<()>()?;
        first += messages;
        Ok(start.elapsed().as_nanos() as f64)
    };
    // Long enough that waking pong at the beginning does not count.
    while run(messages)? < plan.stream_ns() {
        messages *= 2;
    }
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        rates.push(messages as f64 * 1e9 / run(messages)?);
    }
    Ok(Some(median(&rates).round()))
}
