//! The process that holds the clock: opens subjects on both sides, runs the blocks, makes rows.

use super::blocks::{block, calibrate, Timed};
use super::catalogue::specs;
use super::facts::Fact;
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
    serve_specs(&specs(plan.quick), control, link, plan)
}

fn serve_specs(specs: &[Spec], control: &Wire, link: &Wire, plan: Plan) -> Result<(), Fault> {
    let mut gathered = Gathered::default();
    loop {
        let outcome = match control.recv()? {
            Order::Measure(index) => {
                measure(specs, index, link, plan, &mut gathered).map(|row| Answer::Measured(Box::new(row)))
            }
            Order::Facts => facts(link).map(Answer::Facts),
        };
        let answer = outcome.unwrap_or_else(|fault| Answer::Failed(fault.to_string()));
        control.send(&answer)?;
    }
}

fn facts(link: &Wire) -> Result<Vec<Fact>, Fault> {
    request(link, &Request::Facts)?;
    let facts = super::facts::measure(Side::Ping, link)?;
    link.recv::<()>()?;
    Ok(facts)
}

/// Every block of a limit that was run between the blocks of its subjects. A limit's own row is made
/// of them all, so that it speaks of the same moments as the rows that are compared with it.
#[derive(Default)]
struct Gathered(Vec<(LimitName, Vec<f64>)>);

impl Gathered {
    fn samples(&mut self, name: LimitName) -> &mut Vec<f64> {
        let at = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
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
    row.copies = first.subject.copies().map(|copies| (copies * 1000.0).round() / 1000.0);
    row.messages_per_s = stream::rate(first, link, plan)?;
    Ok(row)
}

/// The variants of one subject; in each block all of them run and the fastest counts.
struct Contest {
    variants: Vec<Timed>,
}

impl Contest {
    /// Opens every variant on both sides, numbered from `slot`, and finds out how long a block is.
    fn open(specs: &[Spec], index: usize, slot: usize, link: &Wire, plan: Plan) -> Result<Contest, Fault> {
        let spec = &specs[index];
        let share_ns = plan.block_ns() / spec.open.len() as f64;
        let mut variants = Vec::new();
        for (variant, open) in spec.open.iter().enumerate() {
            let slot = slot + variant;
            request(link, &Request::Open { slot, spec: index, variant })?;
            let subject = open(Side::Ping, link)?;
            link.recv::<()>()?;
            let mut timed = Timed { subject, slot, batch: spec.batch, batches: 1 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::limit::cacheline::share;
    use crate::bench::pong;
    use crate::bench::subject::{Open, Subject, BATCH_LONG};
    use crate::raw::SharedWords;
    use std::sync::atomic::Ordering::{Acquire, Release};
    use std::thread;
    use std::time::Duration;

    const SLOW: Duration = Duration::from_millis(1);

    /// One word that is empty (0) or holds a message. `delay` makes it slower than its limit;
    /// `repeats` makes the sender send one message twice, which a stream must notice.
    struct Mailbox {
        words: SharedWords,
        next: u64,
        delay: Duration,
        repeats: bool,
    }

    impl Mailbox {
        fn open(delay: Duration, repeats: bool) -> Open {
            Box::new(move |side, wire| {
                let words = share(side, wire, 2)?;
                Ok(Box::new(Mailbox { words, next: 1, delay, repeats }))
            })
        }

        fn put(&self, line: usize, message: u64) {
            if !self.delay.is_zero() {
                thread::sleep(self.delay);
            }
            while self.words.word(line).load(Acquire) != 0 {
                thread::yield_now();
            }
            self.words.word(line).store(message, Release);
        }

        fn take(&self, line: usize) -> u64 {
            loop {
                match self.words.word(line).swap(0, Acquire) {
                    0 => thread::yield_now(),
                    message => return message,
                }
            }
        }
    }

    impl Subject for Mailbox {
        fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
            for _ in 0..rounds {
                self.put(0, self.next);
                if self.take(1) != self.next {
                    return Err("another answer than expected".into());
                }
                self.next += 1;
            }
            Ok(())
        }

        fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
            (0..rounds).for_each(|_| self.put(1, self.take(0)));
            Ok(())
        }

        fn streams(&self) -> bool {
            true
        }

        fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
            for number in first..first + messages {
                let twice = self.repeats && number == first + messages / 2;
                self.put(0, if twice { number } else { number + 1 });
            }
            Ok(())
        }

        fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
            // All are taken before the verdict, so that the sender of this test never blocks.
            let wrong = (first..first + messages).filter(|&n| self.take(0) != n + 1).count();
            match wrong {
                0 => Ok(()),
                wrong => Err(format!("{wrong} messages out of sequence").into()),
            }
        }

        fn copies(&self) -> Option<f64> {
            Some(2.0)
        }
    }

    fn specs(repeats: bool) -> Vec<Spec> {
        let spec = |what, limit, open| Spec {
            what,
            reference: None,
            wait: Some("spin"),
            bytes: 8,
            touch: None,
            batch: BATCH_LONG,
            alone: false,
            limit,
            open,
        };
        let limit = spec(
            "limit.mailbox",
            None,
            vec![Mailbox::open(SLOW, false), Mailbox::open(Duration::ZERO, false)],
        );
        let subject = spec("mailbox", Some(limit.name()), vec![Mailbox::open(SLOW, repeats)]);
        vec![limit, subject]
    }

    fn measured(repeats: bool, orders: &[usize]) -> Vec<Answer> {
        let plan = Plan { quick: true, blocks: 5 };
        let pair = || Wire::pair().map(|(one, other)| (Wire::new(one), Wire::new(other)));
        let ((control, ours), (ping, pong)) = (pair().unwrap(), pair().unwrap());
        thread::spawn(move || serve_specs(&specs(repeats), &ours, &ping, plan).map_err(drop));
        thread::spawn(move || pong::serve_specs(&specs(repeats), &pong).map_err(drop));
        let measure = |&index| {
            control.send(&Order::Measure(index)).unwrap();
            control.recv().unwrap()
        };
        orders.iter().map(measure).collect()
    }

    #[test]
    fn a_subject_is_compared_with_the_fastest_variant_of_its_limit() {
        let [Answer::Measured(subject), Answer::Measured(limit)] = &measured(false, &[1, 0])[..] else {
            panic!("not measured");
        };
        assert_eq!((subject.what.as_str(), subject.copies), ("mailbox", Some(2.0)));
        assert_eq!(subject.limit.as_deref(), Some("limit.mailbox"));
        let ratio = subject.ratio.expect("a ratio");
        assert!(ratio.q1 <= ratio.median && ratio.median <= ratio.q3, "{ratio:?}");
        assert!(subject.messages_per_s.expect("a stream") > 0.0);
        assert!(limit.ratio.is_none() && limit.limit.is_none());
        // However busy the machine: sleeping takes its time, and not every exchange without it does.
        assert!(subject.oneway_ns.min >= SLOW.as_nanos() as f64, "{subject:?}");
        assert!(limit.oneway_ns.min < SLOW.as_nanos() as f64, "{limit:?}");
    }

    #[test]
    fn a_stream_out_of_sequence_is_not_measured() {
        let answers = measured(true, &[1]);
        assert!(matches!(&answers[..], [Answer::Failed(reason)] if reason.contains("sequence")));
    }
}
