//! Each channel with a name is in the bucket of its name, once; and the buckets lead nowhere else.

use std::collections::{HashMap, HashSet};

use super::channels::Named;
use super::{Findings, Lasts};
use crate::channel::attach::bucket_of;
use crate::channel::record::state;
use crate::inspect::InspectError;
use crate::memory::map::{BUCKETS, BUCKET_HEADS, CHANNELS_MAX};

/// `records`: those that are in use, by index.
pub fn check(findings: &mut Findings<'_>, records: &HashMap<usize, Named>) -> Result<(), InspectError> {
    let heads = findings.reading.words(BUCKET_HEADS, BUCKETS)?;
    let mut found: HashMap<usize, usize> = HashMap::new();
    for (bucket, head) in heads.into_iter().enumerate() {
        let (mut link, mut walked) = (head, HashSet::new());
        while let Some(index) = link.checked_sub(1) {
            let place = || format!("name bucket {bucket}");
            let Some(index) = usize::try_from(index).ok().filter(|index| *index < CHANNELS_MAX) else {
                findings.add(Lasts::Never, place(), "it leads to a channel that cannot be", &[head, link]);
                break;
            };
            if !walked.insert(index) {
                findings.add(
                    Lasts::Step,
                    place(),
                    format!("it comes back to channel {index}"),
                    &[head, link],
                );
                break;
            }
            let Some(record) = records.get(&index) else {
                let what = format!("it leads to channel {index}, which is not in use");
                findings.add(Lasts::Step, place(), what, &[head, link]);
                break;
            };
            if let Some(before) = found.insert(index, bucket) {
                let what = format!("channel {index} is in it, and in bucket {before}");
                findings.add(Lasts::Step, place(), what, &[head, link]);
            }
            // Who made it may not have come to say that it is named (attach.rs).
            if !matches!(record.state.state(), state::NAMED | state::BUILDING) {
                let what = format!("channel {index} is in it, and has no name");
                findings.add(Lasts::Step, place(), what, &[head, link, record.state.0]);
            } else if bucket_of(&record.name) != bucket {
                let what =
                    format!("channel {index} is in it, and belongs to bucket {}", bucket_of(&record.name));
                findings.add(Lasts::Step, place(), what, &[head, link]);
            }
            link = record.next;
        }
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut named: Vec<_> = records.iter().filter(|(_, one)| one.state.state() == state::NAMED).collect();
    named.sort_unstable_by_key(|(index, _)| **index);
    for (index, record) in named {
        let place = format!("channel {index} {:?}", record.name);
        if !found.contains_key(index) {
            findings.add(Lasts::Step, place.clone(), "its name does not lead to it", &[record.state.0]);
        }
        if let Some(other) = names.insert(&record.name, *index) {
            findings.add(Lasts::Step, place, format!("channel {other} has the same name"), &[record.state.0]);
        }
    }
    Ok(())
}
