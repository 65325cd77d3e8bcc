//! The coordinator of the demo: orders the passes of each mechanism and makes them into a row.

use super::catalogue::mechanisms;
use super::mechanism::{Copies, Mechanism, Plan};
use super::orders::{Answer, Digest, Order, Passed, Progress, Reader};
use super::report::Table;
use super::row::{Report, Row};
use super::source::Source;
use super::{plot, DemoArgs};
use crate::failure::Failure;
use crate::raw::SharedWords;
use crate::show::table::line;
use crate::two::pair::{LookEvery, Pair};
use crate::two::side::Role;
use crate::{interrupt, machine};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const SENDER: usize = 0;
const RECEIVER: usize = 1;

/// Timed passes of one mechanism: as many as fit into this time, odd, so that one is the median.
const PASSES_MAX: u64 = 5;
const TIMED_NS: u64 = 2_000_000_000;

/// Runs the demo.
pub fn run(args: DemoArgs) -> Result<(), Failure> {
    interrupt::install()?;
    if let Some(path) = &args.plot {
        plot::check(path)?;
    }
    let source = Source::of(args.file.clone());
    let mut demo = Demo::start(&source, args.message_size)?;
    let mut table = Table::new(args.json);
    table.head(&source, demo.plan)?;
    let mut rows = Vec::new();
    let mut broken = None;
    for (index, mechanism) in mechanisms().iter().enumerate() {
        if !args.all && !mechanism.by_default() {
            continue;
        }
        let mut row = Row::of(mechanism.as_ref());
        let outcome = demo.measure(index, mechanism.as_ref(), &mut row);
        demo.bar.finish_and_clear();
        if let Err(Failure::Mechanism(reason)) = &outcome {
            row.failed.get_or_insert(reason.clone());
        }
        table.row(&row)?;
        rows.push(row);
        match outcome {
            // The two sides no longer agree where they are: nothing more can be measured.
            Err(Failure::Mechanism(reason)) => {
                broken = Some(reason);
                break;
            }
            other => other?,
        }
    }
    let failed = rows.iter().filter(|row| !row.verified).count();
    table.foot(&rows)?;
    if let Some(path) = &args.plot {
        plot::draw(path, &source, demo.plan, &rows)?;
    }
    if args.json {
        let report = Report { file: source.name(), bytes: demo.plan.bytes, rows };
        let text =
            serde_json::to_string_pretty(&report).map_err(|error| Failure::os("cannot write JSON", error))?;
        line(&text)?;
    }
    match (broken, failed) {
        (Some(reason), _) => Err(Failure::Mechanism(reason)),
        (None, 0) => Ok(()),
        (None, _) => Err(Failure::Mechanism(format!("{failed} of the mechanisms did not deliver the file"))),
    }
}

struct Demo {
    pair: Pair,
    plan: Plan,
    sent: Digest,
    progress: Progress,
    bar: ProgressBar,
    shown_from: Instant,
}

impl Demo {
    /// Starts both processes and has the file loaded.
    fn start(source: &Source, message_bytes: u64) -> Result<Demo, Failure> {
        let words = SharedWords::create(Progress::LINES)
            .map_err(|error| Failure::os("cannot create shared memory (memfd_create)", error))?;
        let mut demo = Demo {
            pair: Pair::start([Role::DemoSender, Role::DemoReceiver], &[])?,
            plan: Plan { bytes: 0, message_bytes },
            sent: Digest::default(),
            progress: Progress(words),
            bar: ProgressBar::hidden(),
            shown_from: Instant::now(),
        };
        demo.begin("reading");
        let bytes_available = machine::available_bytes();
        let order = Order::Load { source: source.clone(), message_bytes, bytes_available };
        let standard = std::io::stdin();
        let mut fds = vec![demo.progress.0.fd()];
        if matches!(source, Source::Standard) {
            fds.push(standard.as_fd());
        }
        demo.pair.order(SENDER, &order, &fds)?;
        match demo.answer(SENDER)? {
            Answer::Loaded { bytes, digest } => {
                demo.plan.bytes = bytes;
                demo.sent = digest;
            }
            Answer::Bad(bad) => return Err(bad.into()),
            other => return Err(unexpected(other)),
        }
        demo.bar.finish_and_clear();
        let plan = demo.plan;
        demo.pair.order(RECEIVER, &Order::Expect(plan), &[demo.progress.0.fd()])?;
        match demo.answer(RECEIVER)? {
            Answer::Done => Ok(demo),
            other => Err(unexpected(other)),
        }
    }

    /// All passes of one mechanism. A mechanism that cannot be opened is told in the row; one that
    /// breaks in the middle of a pass is an error.
    fn measure(&mut self, index: usize, what: &dyn Mechanism, row: &mut Row) -> Result<(), Failure> {
        self.begin(&row.label());
        if let Some(reason) = self.open(index)? {
            row.failed = Some(reason);
            return self.close();
        }
        let verified = self.pass(what, Reader::Hash)?;
        let mut good = verified.digest.hash == self.sent.hash && verified.bytes == self.plan.bytes;
        let mut passes: Vec<Pass> = Vec::new();
        let mut wanted = 1;
        while (passes.len() as u64) < wanted {
            let pass = self.pass(what, Reader::Sum)?;
            good &= pass.digest.sum == self.sent.sum && pass.bytes == self.plan.bytes;
            if passes.is_empty() {
                wanted = (TIMED_NS / pass.elapsed_ns.max(1)).clamp(1, PASSES_MAX) | 1;
            }
            passes.push(pass);
        }
        passes.sort_by_key(|pass| pass.elapsed_ns);
        let median = &passes[passes.len() / 2];
        row.verified = good;
        row.gb_per_s = Some(round(self.plan.bytes as f64 / median.elapsed_ns as f64, 4));
        row.bytes_copied = Some(median.bytes_copied);
        row.copies_per_message = Some(round(median.bytes_copied as f64 / self.plan.bytes as f64, 4));
        row.context_switches = Some(median.context_switches);
        row.cpu_s = Some(round(median.cpu_ns as f64 / 1e9, 6));
        self.close()
    }

    /// Opens a mechanism on both sides; gives the reason if one of them could not.
    fn open(&mut self, index: usize) -> Result<Option<String>, Failure> {
        let mut reason = None;
        for side in [SENDER, RECEIVER] {
            self.pair.order(side, &Order::Open(index), &[])?;
        }
        for side in [SENDER, RECEIVER] {
            match self.answer(side)? {
                Answer::Done => {}
                Answer::Failed(why) => reason = Some(why),
                other => return Err(unexpected(other)),
            }
        }
        Ok(reason)
    }

    fn close(&mut self) -> Result<(), Failure> {
        for side in [SENDER, RECEIVER] {
            self.pair.order(side, &Order::Close, &[])?;
            self.answer(side)?;
        }
        Ok(())
    }

    /// One pass of the whole file.
    fn pass(&mut self, what: &dyn Mechanism, reader: Reader) -> Result<Pass, Failure> {
        let before = self.count(what)?;
        self.pair.order(RECEIVER, &Order::Pass(reader), &[])?;
        self.pair.order(SENDER, &Order::Pass(reader), &[])?;
        // The first to answer decides: when one side fails, the other may wait for it for ever.
        let (first, one) = self.passed(&[SENDER, RECEIVER])?;
        let (_, other) = self.passed(&[1 - first])?;
        let (sent, received) = if first == SENDER { (one, other) } else { (other, one) };
        let usage = sent.usage + received.usage;
        Ok(Pass {
            elapsed_ns: received.end_ns.saturating_sub(sent.start_ns),
            bytes: received.bytes,
            bytes_copied: match what.copies() {
                Copies::Known(copies) => copies * self.plan.bytes,
                Copies::Counted => self.count(what)? - before,
            },
            cpu_ns: usage.cpu_ns,
            context_switches: usage.context_switches,
            digest: received.digest,
        })
    }

    /// The bytes that the open channel has copied so far.
    fn count(&mut self, what: &dyn Mechanism) -> Result<u64, Failure> {
        if what.copies() != Copies::Counted {
            return Ok(0);
        }
        self.pair.order(SENDER, &Order::Count, &[])?;
        match self.answer(SENDER)? {
            Answer::Counted(bytes) => Ok(bytes),
            other => Err(unexpected(other)),
        }
    }

    /// A new step, whose progress bar appears if it takes longer than a second.
    fn begin(&mut self, what: &str) {
        self.progress.set(0, 0);
        self.shown_from = Instant::now() + Duration::from_secs(1);
        self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg:24} [{bar:30}] {bytes}/{total_bytes}") {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_message(what.to_owned());
    }

    fn passed(&mut self, sides: &[usize]) -> Result<(usize, Passed), Failure> {
        match self.answer_of(sides)? {
            (side, Answer::Passed(passed)) => Ok((side, passed)),
            (_, other) => Err(unexpected(other)),
        }
    }

    fn answer(&mut self, side: usize) -> Result<Answer, Failure> {
        Ok(self.answer_of(&[side])?.1)
    }

    fn answer_of(&mut self, sides: &[usize]) -> Result<(usize, Answer), Failure> {
        let Demo { pair, progress, bar, shown_from, .. } = self;
        let visible = std::io::stderr().is_terminal();
        let result = pair.answer_of(sides, LookEvery { ms: 100 }, &mut || {
            if visible && Instant::now() >= *shown_from {
                if bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                let (done, whole) = progress.get();
                bar.set_length(whole);
                bar.set_position(done);
            }
        });
        if result.is_err() {
            bar.finish_and_clear();
        }
        result
    }
}

/// One pass of the whole file, both sides together.
struct Pass {
    elapsed_ns: u64,
    bytes: u64,
    bytes_copied: u64,
    cpu_ns: u64,
    context_switches: u64,
    digest: Digest,
}

fn unexpected(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(reason) => Failure::Mechanism(reason),
        Answer::Bad(bad) => bad.into(),
        _ => Failure::Mechanism("the two processes answered out of turn".into()),
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
