//! Channels without a name that no process can reach: found, and taken back.
//!
//! A channel is reached if a process has a hold of it, or if an end of it lies in a parcel that is reached: one that a process
//! holds, or that waits in a channel that is reached. A channel that holds its own end, or two that hold each other's, are
//! reached by nobody, and no count would ever say so.
//!
//! T1. What no process reaches stays as it is: an end is taken out, sent or received by a process that has a hold of the
//!     channel, or of the parcel. So it is enough that at one moment nobody reached it.
//! T2. There is such a moment: the holds are looked at first, then what waits and where the ends lie, and then each channel's
//!     state word is the same as before all that. Whoever makes a hold changes that word before it takes an end (N3), so
//!     none was made meanwhile; without one nobody could receive what waits there. A channel whose word is not the same is
//!     reached, and so is what was seen to lie in it.
//! T3. Whoever gives up a hold, or an end in a parcel, comes here afterwards. Of two that do so at once the later sees what the earlier
//!     did: what it did is a read-modify-write, and between that and its looking is a fence.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::contents::{travelling, Loose};
use super::table::{all, state, usages, what, Usage};
use crate::channel::attach::{resume_unmaking, unmake_unnamed};
use crate::channel::record;
use crate::channel::sweep::parcels_in;
use crate::member::Member;
use crate::memory::map::CHANNELS_MAX;
use crate::memory::platform::{Native, Platform};
use crate::memory::segment::Segment;
use crate::memory::word::{Word, IN_MESSAGE};

/// Takes back those of the `suspects` that are over, and circles of channels if there are any.
pub fn collect(member: &Member, mut suspects: Vec<usize>, loose: &mut Loose) {
    Native::fence_after_rmw(); // T3
    let segment = member.segment();
    suspects.sort_unstable();
    suspects.dedup();
    let mut circles = false;
    // Their words, and then who uses them (T2): for all of them at once.
    let seen = suspects.into_iter().filter(|index| *index < CHANNELS_MAX);
    let seen = seen.map(|index| (index, Word(segment.channel(index).state.load(Acquire))));
    let seen: Vec<_> =
        seen.filter(|(_, seen)| seen.state() == record::state::UNNAMED || is_waiting(*seen)).collect();
    if seen.is_empty() {
        return;
    }
    let of = seen.iter().map(|(index, _)| *index).collect();
    let used = usages(|| all(segment).map(|(_, entry)| entry), &of);
    for (index, seen) in seen {
        let is_waiting = is_waiting(seen);
        match used.get(&index).copied().unwrap_or(Usage::Nobody) {
            Usage::Nobody if is_waiting => {
                // Whoever took it back left the end to this entry's holder.
                if resume_unmaking(member, index) {
                    loose.unmaking.push(index);
                }
            }
            _ if is_waiting => {}
            Usage::Nobody => unmake_unnamed(member, index, seen, loose),
            Usage::Process => {}
            Usage::Parcels => circles = true,
        }
    }
    if circles {
        collect_circles(member, loose);
    }
}

/// The channels without a name of which no process has a hold; also those that are over and were left to whoever gives their last
/// end back, who may have died between that and coming here (T3).
pub fn without_holds(segment: &Segment) -> Vec<usize> {
    let held = held(segment);
    let over = |now: Word| now.state() == record::state::UNNAMED || is_waiting(now);
    words(segment)
        .filter(|(index, now)| over(*now) && !held.contains(index))
        .map(|(index, _)| index)
        .collect()
}

/// It is over, and an end of it was in somebody's hand: who gives that end back takes the record back.
fn is_waiting(now: Word) -> bool {
    now.state() == record::state::UNMAKING && now.slot() == IN_MESSAGE
}

fn words(segment: &Segment) -> impl Iterator<Item = (usize, Word)> + '_ {
    let used = segment.header().channels.load(Acquire).min(CHANNELS_MAX as u64) as usize;
    (0..used).map(|index| (index, Word(segment.channel(index).state.load(Acquire))))
}

fn unnamed(segment: &Segment) -> HashMap<usize, Word> {
    words(segment).filter(|(_, now)| now.state() == record::state::UNNAMED).collect()
}

/// Channels that a process has a hold of, or of which it puts an end into a parcel, takes one out or gives one back.
fn held(segment: &Segment) -> HashSet<usize> {
    let busy = |state| matches!(state, state::HOLD | state::MAKING | state::RELEASING);
    let of = |(_, entry): (usize, &super::Entry)| {
        let now = entry.word();
        entry.channel(now).filter(|_| busy(now.state()))
    };
    all(segment).filter_map(of).collect()
}

/// T1, T2.
fn collect_circles(member: &Member, loose: &mut Loose) {
    let segment = member.segment();
    let seen = unnamed(segment);
    let held_first = held(segment);
    let candidates: HashSet<usize> = seen.keys().copied().filter(|c| !held_first.contains(c)).collect();

    // In which candidate a parcel waits; in which block a parcel lies.
    let mut waits = HashMap::new();
    for &index in &candidates {
        waits.extend(parcels_in(member, index).into_iter().map(|id| (segment.map().block(id), index)));
    }
    let mut lies = HashMap::new();
    let mut ends = Vec::new();
    for (_, entry) in all(segment) {
        let block = entry.block.load(Relaxed);
        match (entry.word().state(), entry.kind()) {
            (state::ENCLOSED, what::PARCEL) => drop(lies.insert(entry.of.load(Relaxed), block)),
            (state::ENCLOSED, what::SENDER | what::RECEIVER) => ends.push((travelling(entry).index, block)),
            _ => {}
        }
    }
    // Reached: what has an end in a parcel that waits in none of the candidates; then what has one in a channel that is reached.
    let waits_in = |mut block: u64| {
        // A parcel lies in at most so many others as there are; a wreck may be a circle.
        for _ in 0..=lies.len() {
            match lies.get(&block) {
                Some(&outer) => block = outer,
                None => break,
            }
        }
        waits.get(&block).copied()
    };
    let mut reached: HashSet<usize> = held(segment);
    let mut next: Vec<usize> = Vec::new();
    let mut edges: HashMap<usize, Vec<usize>> = HashMap::new();
    for (channel, block) in ends {
        match waits_in(block) {
            Some(outer) => edges.entry(outer).or_default().push(channel),
            None => next.push(channel),
        }
    }
    next.extend(reached.iter().copied());
    loop {
        while let Some(channel) = next.pop() {
            reached.insert(channel);
            let inner = edges.remove(&channel).unwrap_or_default();
            next.extend(inner.into_iter().filter(|c| !reached.contains(c)));
        }
        // Whoever made a hold meanwhile reached that channel, and perhaps what lay in it; the others may be over all the same, and
        // nobody else may come to look at them.
        let unreached = candidates.iter().copied().filter(|c| !reached.contains(c));
        let came = |c: &usize| segment.channel(*c).state.load(Acquire) != seen[c].0;
        next.extend(unreached.filter(came));
        if next.is_empty() {
            break;
        }
    }
    let unreached = candidates.into_iter().filter(|c| !reached.contains(c));
    unreached.for_each(|c| unmake_unnamed(member, c, seen[&c], loose));
}
