//! What these rows find and is not mended yet: printed, and not counted. An entry goes with its fix.

use super::super::line::Fault;

/// What it is, the kind of fault, and words that its report has, all of them.
type Known = (&'static str, Fault, &'static [&'static str]);

const KNOWN: &[Known] = &[
    (
        "a capability on its way when its sender or receiver is killed may stay in use (about 1 in 3,000 kills)",
        Fault::Leaked,
        &["apabilit", "cargo: Parcel, method: Capability"],
    ),
    (
        "the bytes that free blocks keep may be counted too high (about 1 in 10,000 kills)",
        Fault::Leaked,
        &["Retained: ", "cargo: Parcel"],
    ),
    (
        "a capability that is owed after a select may come after a later one",
        Fault::Duplicated,
        &["came out of order", "cargo: Parcel, method: Capability"],
    ),
];

/// Is it known?
pub fn known(fault: Fault, what: &str) -> Option<&'static str> {
    let fits = |(_, kind, words): &&Known| *kind == fault && words.iter().all(|word| what.contains(word));
    KNOWN.iter().find(fits).map(|(name, ..)| *name)
}
