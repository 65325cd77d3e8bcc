//! Horizontal bars in text.

use super::style::Style;
use super::table::line;
use crate::failure::Failure;

const WIDTH: usize = 40;

/// One group of bars on one scale: a title, and for each bar its label, value and the text of its value.
pub fn group(title: &str, bars: &[(String, f64, String)], style: Style) -> Result<(), Failure> {
    let longest = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let label_width = bars.iter().map(|bar| bar.0.chars().count()).max().unwrap_or(0);
    line("")?;
    line(&style.strong(title))?;
    for (label, value, text) in bars {
        let pad = " ".repeat(label_width - label.chars().count());
        line(&format!("  {label}{pad}  {} {text}", style.bar(&bar(*value, longest))))?;
    }
    Ok(())
}

/// A bar in eighths of a character.
fn bar(value: f64, longest: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if longest <= 0.0 {
        return String::new();
    }
    let eighths = (value / longest * (WIDTH * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

#[cfg(test)]
mod tests {
    #[test]
    fn bars_are_to_scale() {
        assert_eq!(super::bar(1.0, 1.0).chars().count(), super::WIDTH);
        assert_eq!(super::bar(0.0, 1.0), "");
        assert_eq!(super::bar(0.0, 0.0), "");
    }
}
