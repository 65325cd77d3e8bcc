//! The demo's figures as a picture. The only file that knows the plotting library.

use super::mechanism::Plan;
use super::report::copies;
use super::row::Row;
use super::source::Source;
use crate::failure::Failure;
use crate::machine;
use crate::show::size::show;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: i32 = 960;
const LABEL_WIDTH: i32 = 250;
const BAR_HEIGHT: i32 = 18;
const BAR_STEP: i32 = 26;
const PANEL_HEAD: i32 = 44;
const HEAD: i32 = 64;
const FOOT: i32 = 40;

type Panel = (&'static str, RGBColor, fn(&Row) -> Option<f64>, fn(f64) -> String);

const PANELS: [Panel; 4] = [
    ("GB/s (more is better)", RGBColor(38, 110, 180), |row| row.gb_per_s, |v| format!("{v:.2}")),
    ("copies of each message", RGBColor(200, 90, 60), |row| row.copies_per_message, copies),
    (
        "context switches, both processes",
        RGBColor(120, 120, 120),
        |row| row.context_switches.map(|n| n as f64),
        |n| format!("{n}"),
    ),
    ("CPU seconds, both processes", RGBColor(90, 140, 80), |row| row.cpu_s, |v| format!("{v:.4}")),
];

/// Finds out before the work whether the picture can be written after it.
pub fn check(path: &Path) -> Result<(), Failure> {
    let new = !path.exists();
    match std::fs::OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) => {
            // Nothing is left behind if the work is interrupted.
            if new {
                let _ = std::fs::remove_file(path);
            }
            Ok(())
        }
        Err(error) => Err(Failure::Environment(format!(
            "cannot write the picture to {}: {error}; name a file in a directory that you may write to",
            path.display()
        ))),
    }
}

/// Draws the rows.
pub fn draw(path: &Path, source: &Source, plan: Plan, rows: &[Row]) -> Result<(), Failure> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.failed.is_none()).collect();
    let mut svg = String::new();
    paint(&mut svg, source, plan, &rows)
        .map_err(|error| Failure::os("cannot draw the picture", std::io::Error::other(error.to_string())))?;
    std::fs::write(path, svg).map_err(|error| Failure::os(&format!("cannot write {}", path.display()), error))
}

fn paint(
    svg: &mut String,
    source: &Source,
    plan: Plan,
    rows: &[&Row],
) -> Result<(), Box<dyn std::error::Error>> {
    let panel_height = PANEL_HEAD + BAR_STEP * rows.len() as i32;
    let height = HEAD + panel_height * PANELS.len() as i32 + FOOT;
    let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let left = |size: i32, color: RGBColor| {
        ("sans-serif", size).into_font().color(&color).pos(Pos::new(HPos::Left, VPos::Center))
    };
    let right = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    let grey = RGBColor(110, 110, 110);
    let file = source.name().unwrap_or_else(|| "made bytes".into());
    let title = format!(
        "{file}, {}, from process to process in messages of {}",
        show(plan.bytes),
        show(plan.message_bytes)
    );
    root.draw(&Text::new(title, (20, 32), left(20, BLACK)))?;
    let mut top = HEAD;
    for (title, color, value, text) in PANELS {
        root.draw(&Text::new(title, (20, top + 18), left(16, BLACK)))?;
        let longest = rows.iter().filter_map(|row| value(row)).fold(0.0, f64::max);
        let room = f64::from(WIDTH - LABEL_WIDTH - 120);
        for (index, row) in rows.iter().enumerate() {
            let Some(value) = value(row) else { continue };
            let middle = top + PANEL_HEAD + BAR_STEP * index as i32;
            let length = if longest > 0.0 { (value / longest * room) as i32 } else { 0 };
            root.draw(&Text::new(row.label(), (LABEL_WIDTH - 10, middle), right.clone()))?;
            let from = (LABEL_WIDTH, middle - BAR_HEIGHT / 2);
            let to = (LABEL_WIDTH + length.max(1), middle + BAR_HEIGHT / 2);
            root.draw(&Rectangle::new([from, to], color.filled()))?;
            root.draw(&Text::new(text(value), (to.0 + 8, middle), left(14, BLACK)))?;
        }
        top += panel_height;
    }
    let about = format!(
        "{}, Linux {}, not pinned. {}",
        machine::processor(),
        machine::kernel(),
        machine::command_line()
    );
    root.draw(&Text::new(about, (20, height - 18), left(12, grey)))?;
    root.present()?;
    Ok(())
}
