//! Text for people: sizes, durations, tables, bars, colours.

pub mod bars;
pub mod size;
pub mod style;
pub mod table;
