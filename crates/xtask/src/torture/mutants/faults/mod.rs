//! The faults, and what is to notice each.
//!
//! | file | what is broken |
//! |---|---|
//! | `channels.rs` | how a message goes from hand to hand |
//! | `waiting.rs` | who is woken, and when |
//! | `memory.rs` | the ledger, the bits, blocks and capabilities |
//! | `deaths.rs` | what is noticed of a death, swept, continued |
//! | `bounds.rs` | what a peer wrote is looked at before it is followed |

mod bounds;
mod channels;
mod deaths;
mod memory;
mod waiting;

use std::fmt;

/// A fault.
pub struct Mutant {
    /// What it does.
    pub what: &'static str,
    /// Where.
    pub file: &'static str,
    /// Text that is there once; what becomes another stands in « and ».
    pub at: &'static str,
    /// What that becomes: an expression of the same type.
    pub to: &'static str,
    /// What is to notice it.
    pub by: Test,
}

/// All of them, in order.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    ALL.into_iter().flatten()
}

const ALL: [&[Mutant]; 5] =
    [channels::MUTANTS, waiting::MUTANTS, memory::MUTANTS, deaths::MUTANTS, bounds::MUTANTS];

/// How many there are.
pub const COUNT: u64 = {
    let (mut count, mut i) = (0, 0);
    while i < ALL.len() {
        count += ALL[i].len() as u64;
        i += 1;
    }
    count
};

/// What notices a fault: the library's tests in this file (`lib`: those beside the code) with this in their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Test(pub &'static str, pub &'static str);

impl Test {
    /// The line of the battery that it belongs to.
    pub fn line(&self) -> &'static str {
        let lines = ["loom", "shuttle", "windows"];
        lines.into_iter().find(|line| self.1.contains(line)).unwrap_or("tests")
    }

    /// How many tests ran, from what they say.
    pub fn tried(&self, said: &str) -> Option<u64> {
        said.split("running ").nth(1)?.split(' ').next()?.parse().ok()
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test("lib", filter) => write!(f, "{filter}"),
            Test(file, filter) => write!(f, "{file}: {filter}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Test;

    #[test]
    fn a_check_that_tried_nothing_is_told() {
        let tried = |said| Test("lib", "x").tried(said);
        assert_eq!(tried("\nrunning 1 test\n"), Some(1));
        assert_eq!((tried("\nrunning 0 tests\n"), tried("")), (Some(0), None));
    }
}
