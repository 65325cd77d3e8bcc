//! The benchmark's figures as text: a row as soon as it is known, then the machine and the command.

use super::facts::Fact;
use super::row::Row;
use super::stats::Percentiles;
use super::subject::Touch;
use super::Plan;
use crate::failure::Failure;
use crate::machine;
use crate::show::size::{duration, rate, show};
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words, Column};

const COLUMNS: [Column; 13] = [
    words("what", 19),
    words("reference", 10),
    words("wait", 14),
    numbers("bytes", 8),
    words("touch", 5),
    numbers("min", 9),
    numbers("p50", 9),
    numbers("p99", 9),
    numbers("p99.9", 9),
    numbers("msg/s", 8),
    numbers("copies", 6),
    numbers("ratio (quartiles)", 21),
    words("to", 15),
];

/// How slow the slowest of a thousand messages is, and the limit's slowest at the same time.
pub struct Tail {
    subject: String,
    own_ns: f64,
    limit: String,
    limit_ns: f64,
}

impl Tail {
    /// Of a row that is compared with the machine's own way to pass a word on: small messages.
    pub fn of(row: &Row, limit: Option<Percentiles>) -> Option<Tail> {
        if row.bytes > 8 {
            return None;
        }
        let parts = [Some(row.what.as_str()), row.reference.as_deref(), row.wait.as_deref()];
        Some(Tail {
            subject: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
            own_ns: row.oneway_ns.p999,
            limit: row.limit.clone()?,
            limit_ns: limit?.p999,
        })
    }
}

/// The text on the standard output; silent when JSON is wanted.
pub struct Table {
    silent: bool,
    style: Style,
}

impl Table {
    /// A table that prints unless `silent`.
    pub fn new(silent: bool) -> Table {
        Table { silent, style: Style::of_stdout() }
    }

    /// The titles.
    pub fn head(&self) -> Result<(), Failure> {
        match self.silent {
            true => Ok(()),
            false => table::head(&COLUMNS, self.style),
        }
    }

    /// One row.
    pub fn row(&self, row: &Row) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let touch = row.touch.map(|touch| match touch {
            Touch::First => "first".to_owned(),
            Touch::All => "all".to_owned(),
        });
        let ratio = row.ratio.map(|ratio| format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.q1, ratio.q3));
        table::row(
            &COLUMNS,
            &[
                row.what.clone(),
                or_dash(row.reference.clone()),
                or_dash(row.wait.clone()),
                show(row.bytes),
                or_dash(touch),
                duration(row.oneway_ns.min),
                duration(row.oneway_ns.p50),
                duration(row.oneway_ns.p99),
                duration(row.oneway_ns.p999),
                or_dash(row.messages_per_s.map(rate)),
                or_dash(row.copies.map(|copies| copies.to_string())),
                or_dash(ratio),
                or_dash(row.limit.clone()),
            ],
        )
    }

    /// Slow messages beside their limit's.
    pub fn tails(&self, tails: &[Tail]) -> Result<(), Failure> {
        if self.silent || tails.is_empty() {
            return Ok(());
        }
        line("")?;
        line("p99.9, to the p99.9 of the limit in the blocks around:")?;
        tails.iter().try_for_each(|tail| {
            let (own, limit) = (duration(tail.own_ns), duration(tail.limit_ns));
            let ratio = tail.own_ns / tail.limit_ns;
            line(&format!("  {}: {own}, {ratio:.2} x {limit} of {}", tail.subject, tail.limit))
        })
    }

    /// The figures that are no latencies.
    pub fn facts(&self, facts: &[Fact]) -> Result<(), Failure> {
        let columns = [words("fact", 64), numbers("", 10), words("", 20)];
        for fact in facts {
            let (value, unit) = match fact.unit.as_str() {
                "bytes" => (show(fact.value as u64), ""),
                "ns" => (duration(fact.value), ""),
                unit => (fact.value.to_string(), unit),
            };
            table::row(&columns, &[fact.fact.clone(), value, unit.to_owned()])?;
        }
        Ok(())
    }

    /// The machine and the command.
    pub fn about(&self, cores: [usize; 2]) -> Result<(), Failure> {
        line("")?;
        let machine = format!("{}, Linux {}", machine::processor(), machine::kernel());
        line(&self.style.faint(&format!("{machine}, pinned to cores {} and {}", cores[0], cores[1])))?;
        line(&self.style.faint(&machine::command_line()))
    }

    /// What a sceptic needs to repeat it.
    pub fn foot(&self, cores: [usize; 2], plan: Plan) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let cache = show(machine::last_cache_bytes());
        let about = [
            format!("{}, last cache {cache}, Linux {}", machine::processor(), machine::kernel()),
            format!(
                "two processes pinned to cores {} and {}; one way, half a round trip; {} blocks of {}",
                cores[0],
                cores[1],
                plan.blocks,
                duration(plan.block_ns()),
            ),
            machine::command_line(),
        ];
        line("")?;
        about.iter().try_for_each(|text| line(&self.style.faint(text)))
    }
}
