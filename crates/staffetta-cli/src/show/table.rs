//! A table whose rows are printed as they come, so its widths are fixed beforehand.

use super::style::Style;
use crate::failure::Failure;
use std::io::Write;

/// One column: its title, its width, and whether it holds numbers (which stand to the right).
pub struct Column {
    /// The title.
    pub title: &'static str,
    /// In characters; longer content pushes the rest of its row.
    pub width: usize,
    /// Numbers stand to the right.
    pub number: bool,
}

/// A column of words.
pub const fn words(title: &'static str, width: usize) -> Column {
    Column { title, width, number: false }
}

/// A column of numbers.
pub const fn numbers(title: &'static str, width: usize) -> Column {
    Column { title, width, number: true }
}

/// Prints one line and pushes it out, so that a reader sees it at once.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Prints the titles.
pub fn head(columns: &[Column], style: Style) -> Result<(), Failure> {
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    line(&style.strong(&fit(columns, &titles)))
}

/// Prints one row.
pub fn row(columns: &[Column], cells: &[String]) -> Result<(), Failure> {
    line(&fit(columns, cells))
}

fn fit(columns: &[Column], cells: &[String]) -> String {
    let mut text = String::new();
    for (column, cell) in columns.iter().zip(cells) {
        let pad = " ".repeat(column.width.saturating_sub(cell.chars().count()));
        match column.number {
            true => text.extend([pad.as_str(), cell, "  "]),
            false => text.extend([cell, pad.as_str(), "  "]),
        }
    }
    text.trim_end().to_owned()
}
