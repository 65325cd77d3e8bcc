//! What must hold of a domain's words while it runs.
//!
//! | file | checks |
//! |---|---|
//! | `tables.rs` | the header's marks; the states of process slots, PCBs, ready sets and entries |
//! | `channels.rs` | the states of a channel's record, ends, descriptor, slots and cells |
//! | `names.rs` | each channel with a name is found by it, once |
//!
//! Whether everything in use has somebody who has it, and whether sums are sums, the account says (`inspect::account`); of a domain that
//! runs it also tells of what is on its way.
//!
//! Words are read one after the other, so what is found here may never have been so at one moment: whoever asks looks again.

mod channels;
mod names;
mod tables;

use std::collections::BTreeMap;

use super::Broken;
use crate::inspect::account::{account, Leaked};
use crate::inspect::{InspectError, Membership, ProcessView};
use crate::memory::reading::Reading;

/// How long something that looks broken may last while all is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasts {
    /// Not at all: no program writes that.
    Never,
    /// As long as somebody is in the middle of changing it.
    Step,
    /// Longer than that: for a moment.
    Moment,
    /// A moment, and for ever if a process is not seen from here.
    Unseen,
}

/// Something that looks broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How long may it be so?
    pub lasts: Lasts,
    /// What it is.
    pub broken: Broken,
}

/// More is not told of one domain: it is a wreck.
const FINDINGS_MAX: usize = 1000;

/// What was found.
pub struct Findings<'r> {
    reading: &'r Reading,
    /// Slots in which a process is a member, or was, and is not swept yet: its generation.
    members: BTreeMap<u16, u64>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, lasts: Lasts, place: impl Into<String>, what: impl Into<String>, words: &[u64]) {
        if self.found.len() < FINDINGS_MAX {
            let broken = Broken { place: place.into(), what: what.into(), words: words.to_vec() };
            self.found.push(Finding { lasts, broken });
        }
    }

    fn is_member(&self, slot: u16) -> bool {
        self.members.contains_key(&slot)
    }
}

/// All that looks broken now.
pub fn all(reading: &Reading, processes: &[ProcessView]) -> Result<Vec<Finding>, InspectError> {
    let is_one = |process: &&ProcessView| {
        matches!(process.membership, Membership::Live | Membership::Dead | Membership::Joining)
    };
    let members = processes.iter().filter(is_one).map(|process| (process.slot, process.generation)).collect();
    let mut findings = Findings { reading, members, found: Vec::new() };
    tables::check(&mut findings, processes)?;
    let records = channels::check(&mut findings)?;
    names::check(&mut findings, &records)?;
    leaks(&mut findings)?;
    Ok(findings.found)
}

/// What nobody has.
fn leaks(findings: &mut Findings<'_>) -> Result<(), InspectError> {
    for leak in account(findings.reading)?.leaks {
        // Process slots: `tables.rs` knows for how long. A text of a layout that was not written to the end is skipped by everybody.
        if !matches!(leak.what, Leaked::Process | Leaked::Schema) {
            let place = match leak.what {
                Leaked::Charged | Leaked::Retained => format!("{:?} bytes", leak.what).to_lowercase(),
                Leaked::Block => format!("block at {:#x}", leak.place),
                what => format!("{} {}", format!("{what:?}").to_lowercase(), leak.place),
            };
            findings.add(Lasts::Step, place, leak.why, &[leak.bytes]);
        }
    }
    Ok(())
}
