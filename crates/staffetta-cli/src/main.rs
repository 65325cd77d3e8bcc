//! The command line of Staffetta.
fn main() {}
