//! One block: some rounds of one subject, with the clock read after every batch.
//!
//! Reading the clock costs about 25 ns, so rounds shorter than a microsecond are timed in batches; a
//! percentile is then one of the batches' means. A subject and its limit use the same batch.

use super::orders::Request;
use super::ping::request;
use super::subject::Subject;
use crate::failure::Fault;
use crate::two::wire::Wire;
use std::time::Instant;

/// A subject that is open on both sides, with the length of its block.
pub struct Timed {
    /// Ping's side.
    pub subject: Box<dyn Subject>,
    /// Its number at pong.
    pub slot: usize,
    /// Rounds between two readings of the clock.
    pub batch: u64,
    /// Batches in a block.
    pub batches: u64,
}

/// Runs one block; gives the one-way nanoseconds of each batch.
pub fn block(timed: &mut Timed, link: &Wire) -> Result<Vec<f64>, Fault> {
    // One batch more than is counted: pong has to wake up, and lines have to come.
    let rounds = (timed.batches + 1) * timed.batch;
    timed.subject.prepare(rounds)?;
    request(link, &Request::Pong { slot: timed.slot, rounds })?;
    timed.subject.ping(timed.batch)?;
    let mut samples = Vec::with_capacity(timed.batches as usize);
    let mut before = Instant::now();
    for _ in 0..timed.batches {
        timed.subject.ping(timed.batch)?;
        let now = Instant::now();
        samples.push((now - before).as_nanos() as f64 / (2 * timed.batch) as f64);
        before = now;
    }
    Ok(samples)
}

/// Chooses the batches in a block so that it takes about `block_ns`.
pub fn calibrate(timed: &mut Timed, link: &Wire, block_ns: f64) -> Result<(), Fault> {
    loop {
        let samples = block(timed, link)?;
        let took_ns = samples.iter().sum::<f64>() * (2 * timed.batch) as f64;
        if took_ns >= block_ns / 2.0 {
            let one_ns = took_ns / samples.len() as f64;
            timed.batches = ((block_ns / one_ns) as u64).max(1);
            return Ok(());
        }
        timed.batches *= 2;
    }
}
