//! The process that holds the clock: opens subjects on both sides, runs the blocks, makes rows.

use super::blocks::{block, calibrate, Timed};
use super::catalogue::specs;
use super::orders::{Answer, Order, Request};
use super::row::Row;
use super::stats::{median, percentiles, quartiles};
use super::stream;
use super::subject::{LimitName, Side, Spec};
use super::Plan;
use crate::failure::Fault;
use crate::two::wire::Wire;

/// Does what the coordinator orders until it closes the wire.
pub fn serve(control: &Wire, link: &Wire, plan: Plan) -> Result<(), Fault> {
    let specs = specs(plan.quick);
    let mut gathered = Gathered::default();
    loop {
        let Order::Measure(index) = control.recv()?;
        let answer = match measure(&specs, index, link, plan, &mut gathered) {
            Ok(row) => Answer::Measured(Box::new(row)),
            Err(fault) => Answer::Failed(fault.to_string()),
        };
        control.send(&answer)?;
    }
}

/// Every block of a limit that was run between the blocks of its subjects. A limit's own row is made
/// of them all, so that it speaks of the same moments as the rows that are compared with it.
#[derive(Default)]
struct Gathered(Vec<(LimitName, Vec<f64>)>);

impl Gathered {
    fn samples(&mut self, name: LimitName) -> &mut Vec<f64> {
        let at = self
            .0
            .iter()
            .position(|(known, _)| *known == name)
            .unwrap_or_else(|| {
                self.0.push((name, Vec::new()));
                self.0.len() - 1
            });
        &mut self.0[at].1
    }
}

fn measure(
    specs: &[Spec],
    index: usize,
    link: &Wire,
    plan: Plan,
    gathered: &mut Gathered,
) -> Result<Row, Fault> {
    let spec = &specs[index];
    let row = match spec.limit {
        None => measure_limit(specs, index, link, plan, gathered),
        Some(name) => {
            let limit = specs.iter().position(|spec| spec.name() == name);
            let limit = limit.ok_or("the subject names a limit that does not exist")?;
            measure_subject(specs, index, limit, link, plan, gathered)
        }
    }?;
    request(link, &Request::CloseAll)?;
    link.recv::<()>()?;
    Ok(row)
}

/// A limit on its own, unless its subjects have already run it often enough.
fn measure_limit(
    specs: &[Spec],
    index: usize,
    link: &Wire,
    plan: Plan,
    gathered: &mut Gathered,
) -> Result<Row, Fault> {
    let spec = &specs[index];
    let samples = gathered.samples(spec.name());
    if samples.is_empty() {
        let mut contest = Contest::open(specs, index, 0, link, plan)?;
        for _ in 0..plan.blocks {
            contest.block(link, samples)?;
        }
    }
    let mut row = Row::of(spec, percentiles(samples));
    if spec.alone {
        row.messages_per_s = Some((1e9 / row.oneway_ns.p50).round());
    }
    Ok(row)
}

/// A subject, its blocks between blocks of its limit: L S L S … L.
fn measure_subject(
    specs: &[Spec],
    index: usize,
    limit: usize,
    link: &Wire,
    plan: Plan,
    gathered: &mut Gathered,
) -> Result<Row, Fault> {
    let spec = &specs[index];
    let mut subject = Contest::open(specs, index, 0, link, plan)?;
    let mut limit_contest = Contest::open(specs, limit, spec.open.len(), link, plan)?;
    let limit_samples = gathered.samples(specs[limit].name());
    let mut samples = Vec::new();
    let mut ratios = Vec::new();
    let mut before = limit_contest.block(link, limit_samples)?;
    for _ in 0..plan.blocks {
        let here = subject.block(link, &mut samples)?;
        let after = limit_contest.block(link, limit_samples)?;
        // The limit of the moment between the two: a steady drift cancels.
        ratios.push(here / ((before + after) / 2.0));
        before = after;
    }
    let mut row = Row::of(spec, percentiles(&mut samples));
    row.ratio = Some(quartiles(&mut ratios));
    let first = &mut subject.variants[0];
    row.copies = first
        .subject
        .copies()
        .map(|copies| (copies * 1000.0).round() / 1000.0);
    row.messages_per_s = stream::rate(first, link, plan)?;
    Ok(row)
}

/// The variants of one subject; in each block all of them run and the fastest counts.
struct Contest {
    variants: Vec<Timed>,
}

impl Contest {
    /// Opens every variant on both sides, numbered from `slot`, and finds out how long a block is.
    fn open(
        specs: &[Spec],
        index: usize,
        slot: usize,
        link: &Wire,
        plan: Plan,
    ) -> Result<Contest, Fault> {
        let spec = &specs[index];
        let share_ns = plan.block_ns() / spec.open.len() as f64;
        let mut variants = Vec::new();
        for (variant, open) in spec.open.iter().enumerate() {
            let slot = slot + variant;
            request(
                link,
                &Request::Open {
                    slot,
                    spec: index,
                    variant,
                },
            )?;
            let subject = open(Side::Ping, link)?;
            link.recv::<()>()?;
            let mut timed = Timed {
                subject,
                slot,
                batch: spec.batch,
                batches: 1,
            };
            calibrate(&mut timed, link, share_ns)?;
            variants.push(timed);
        }
        Ok(Contest { variants })
    }

    /// One block; adds the samples of the fastest variant and gives their median.
    fn block(&mut self, link: &Wire, samples: &mut Vec<f64>) -> Result<f64, Fault> {
        let mut best: Option<(f64, Vec<f64>)> = None;
        for variant in &mut self.variants {
            let found = block(variant, link)?;
            let middle = median(&found);
            if best.as_ref().is_none_or(|(fastest, _)| middle < *fastest) {
                best = Some((middle, found));
            }
        }
        let (middle, found) = best.ok_or("a subject without a variant")?;
        samples.extend(found);
        Ok(middle)
    }
}

/// Asks something of pong.
pub fn request(link: &Wire, request: &Request) -> Result<(), Fault> {
    link.send(request)
}
