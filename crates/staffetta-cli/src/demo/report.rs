//! The demo's figures as text: a row as soon as it is known, then bars.

use super::mechanism::Plan;
use super::row::Row;
use super::source::Source;
use crate::failure::Failure;
use crate::machine;
use crate::show::bars;
use crate::show::size::show;
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words, Column};

const COLUMNS: [Column; 8] = [
    words("mechanism", 10),
    words("reference", 10),
    words("wait", 14),
    numbers("GB/s", 7),
    numbers("copies", 6),
    numbers("switches", 9),
    numbers("CPU s", 8),
    words("arrival", 8),
];

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

    /// What is sent, and the titles.
    pub fn head(&mut self, source: &Source, plan: Plan) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let file = source.name().unwrap_or_else(|| "made bytes".into());
        let (bytes, message) = (show(plan.bytes), show(plan.message_bytes));
        line(&format!("{file}, {bytes}, from one process to another in messages of {message}"))?;
        line("")?;
        table::head(&COLUMNS, self.style)
    }

    /// One row.
    pub fn row(&mut self, row: &Row) -> Result<(), Failure> {
        if let Some(reason) = &row.failed {
            eprintln!("staffetta: {}: {reason}", row.label());
        }
        if self.silent {
            return Ok(());
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let mark = if row.copies_known { "*" } else { "" };
        let arrival = match (row.verified, &row.failed) {
            (true, _) => self.style.good("verified"),
            (false, Some(_)) => self.style.bad("failed"),
            (false, None) => self.style.bad("CHANGED"),
        };
        table::row(
            &COLUMNS,
            &[
                row.mechanism.to_owned(),
                row.reference.unwrap_or("-").to_owned(),
                row.wait.unwrap_or("-").to_owned(),
                or_dash(row.gb_per_s.map(|value| format!("{value:.2}"))),
                or_dash(row.copies_per_message.map(|value| format!("{}{mark}", copies(value)))),
                or_dash(row.context_switches.map(|value| value.to_string())),
                or_dash(row.cpu_s.map(|value| format!("{value:.4}"))),
                arrival,
            ],
        )
    }

    /// The bars, and what has to be said about the figures.
    pub fn foot(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let groups: [Group; 4] = [
            ("GB/s (more is better)", |row| row.gb_per_s, |value| format!("{value:.2}")),
            ("copies of each message", |row| row.copies_per_message, copies),
            ("context switches", |row| row.context_switches.map(|n| n as f64), |n| format!("{n}")),
            ("CPU seconds, both processes", |row| row.cpu_s, |value| format!("{value:.4}")),
        ];
        for (title, value, text) in groups {
            let bars: Vec<_> = rows
                .iter()
                .filter_map(|row| value(row).map(|value| (row.label(), value, text(value))))
                .collect();
            if !bars.is_empty() {
                bars::group(title, &bars, self.style)?;
            }
        }
        line("")?;
        if rows.iter().any(|row| row.copies_known) {
            line(
                &self.style.faint(
                    "* known, not counted: at least user to kernel and kernel to user, by construction",
                ),
            )?;
        }
        let about = format!("{}, Linux {}", machine::processor(), machine::kernel());
        line(&self.style.faint(&format!("{about}, not pinned: {}", machine::command_line())))
    }
}

type Group = (&'static str, fn(&Row) -> Option<f64>, fn(f64) -> String);

/// `2`, `0`, `1.25`.
pub fn copies(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.2}"),
    }
}
