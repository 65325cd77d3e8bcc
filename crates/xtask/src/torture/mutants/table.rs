//! The faults.

use std::fmt;

/// A fault.
pub struct Mutant {
    /// What it does.
    pub what: &'static str,
    /// Where.
    pub file: &'static str,
    /// An expression that is there once, perhaps with what frames it.
    pub from: &'static str,
    /// What frames the expression in `from`: before and after an `@`.
    pub keep: &'static str,
    /// What the expression becomes.
    pub to: &'static str,
    /// What is to notice it: the first that does is named.
    pub by: &'static [By],
}

/// What notices a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum By {
    /// A row of the battery, with so many tries.
    Row(&'static str, u64),
    /// A test of the library (`lib`, or the file's name), and which.
    Test(&'static str, &'static str),
}

impl By {
    /// The kind of line.
    pub fn kind(&self) -> &'static str {
        match self {
            By::Row(row, _) => row,
            By::Test(_, filter) if filter.contains("loom") => "loom",
            By::Test(_, filter) if filter.contains("shuttle") => "shuttle",
            By::Test(..) => "tests",
        }
    }

    /// The test file that it needs.
    pub fn test(&self) -> Option<&'static str> {
        match self {
            By::Row(..) => None,
            By::Test(test, _) => Some(test),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Row(row, tries) => write!(f, "{row} ({tries} tries)"),
            By::Test(test, filter) => write!(f, "test {test} {filter}"),
        }
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "who closes an end does not wake its partner",
        file: "crates/staffetta/src/channel/sweep.rs",
        from: "wake(member, spec.method, partner.pcb_ref());\n}",
        keep: "@;\n}",
        to: "()",
        by: &[By::Row("kills", 20)],
    },
    Mutant {
        what: "a parker does not look again after it announced itself",
        file: "crates/staffetta/src/process/wait.rs",
        from: "if let Some(r) = poll() {\n            return Woken::Ready(r); // 3",
        keep: "if let Some(r) = @ {\n            return Woken::Ready(r); // 3",
        to: "None::<R>",
        by: &[By::Test("lib", "loom_")],
    },
];
