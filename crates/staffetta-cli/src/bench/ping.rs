//! The process that holds the clock: opens subjects on both sides, runs the blocks, makes rows.

use super::blocks::{block, calibrate, Timed};
use super::catalogue::specs;
use super::facts::Fact;
use super::orders::{Answer, Measured, Order, Request};
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
            Order::Measure(index) => measure(specs, index, link, plan, &mut gathered)
                .map(|found| Answer::Measured(Box::new(found))),
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
) -> Result<Measured, Fault> {
    let spec = &specs[index];
    let measured = match spec.limit {
        None => measure_limit(specs, index, link, plan, gathered).map(|row| Measured { row, limit_ns: None }),
        Some(name) => {
            let limit = specs.iter().position(|spec| spec.name() == name);
            let limit = limit.ok_or("the subject names a limit that does not exist")?;
            measure_subject(specs, index, limit, link, plan, gathered)
        }
    }?;
    request(link, &Request::CloseAll)?;
    link.recv::<()>()?;
    Ok(measured)
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
            contest.block(link)?;
        }
        samples.extend(contest.result().samples);
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
) -> Result<Measured, Fault> {
    let spec = &specs[index];
    let mut subject = Contest::open(specs, index, 0, link, plan)?;
    let mut limit_contest = Contest::open(specs, limit, spec.open.len(), link, plan)?;
    limit_contest.block(link)?;
    for _ in 0..plan.blocks {
        subject.block(link)?;
        limit_contest.block(link)?;
    }
    let (mut here, mut around) = (subject.result(), limit_contest.result());
    // The limit of the moment between the two: a steady drift cancels.
    let limits = around.medians.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    let mut ratios: Vec<f64> = here.medians.iter().zip(limits).map(|(here, limit)| here / limit).collect();
    gathered.samples(specs[limit].name()).extend(&around.samples);
    let mut row = Row::of(spec, percentiles(&mut here.samples));
    row.ratio = Some(quartiles(&mut ratios));
    let first = &mut subject.variants[0].timed;
    row.copies = first.subject.copies().map(|copies| (copies * 1000.0).round() / 1000.0);
    if spec.alone {
        row.messages_per_s = Some((1e9 / row.oneway_ns.p50).round());
        return Ok(Measured { row, limit_ns: None });
    }
    row.messages_per_s = stream::rate(first, link, plan)?;
    Ok(Measured { row, limit_ns: Some(percentiles(&mut around.samples)) })
}

/// The variants of one subject; all of them run in each block, and the one that counts is chosen at the end.
struct Contest {
    variants: Vec<Variant>,
}

/// One of them, with what was found.
struct Variant {
    timed: Timed,
    blocks: Blocks,
}

/// The blocks of one variant.
#[derive(Default)]
struct Blocks {
    /// The median of each block.
    medians: Vec<f64>,
    /// All their samples.
    samples: Vec<f64>,
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
            variants.push(Variant { timed, blocks: Blocks::default() });
        }
        Ok(Contest { variants })
    }

    /// One block of every variant.
    fn block(&mut self, link: &Wire) -> Result<(), Fault> {
        for variant in &mut self.variants {
            let found = block(&mut variant.timed, link)?;
            variant.blocks.medians.push(median(&found));
            variant.blocks.samples.extend(found);
        }
        Ok(())
    }

    /// The blocks of the variant that is the fastest over all of them: the median of its blocks is the
    /// lowest.
    ///
    /// Not the fastest of each block: where the machine's state changes within a block, the lowest of several
    /// noisy readings is lower than any one variant ever is, and a subject, which is read once a block, would
    /// be compared with a limit that nobody can reach.
    fn result(&mut self) -> Blocks {
        let fastest = self.variants.iter_mut().map(|variant| &mut variant.blocks);
        let fastest = fastest.min_by(|one, other| median(&one.medians).total_cmp(&median(&other.medians)));
        fastest.map(std::mem::take).unwrap_or_default()
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

    const SLOW: Duration = Duration::from_millis(5);

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

    fn answers(repeats: bool, orders: &[usize]) -> Vec<Answer> {
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
        let [Answer::Measured(subject), Answer::Measured(limit)] = &answers(false, &[1, 0])[..] else {
            panic!("not measured");
        };
        let around = subject.limit_ns.expect("the limit of the same blocks");
        let (subject, limit) = (&subject.row, &limit.row);
        assert_eq!(around.p999, limit.oneway_ns.p999, "only this subject has run it");
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
        let answers = answers(true, &[1]);
        assert!(matches!(&answers[..], [Answer::Failed(reason)] if reason.contains("sequence")));
    }
}
