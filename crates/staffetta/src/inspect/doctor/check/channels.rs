//! The words of each channel: its record, its ends, and those of its kind.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::tables::below;
use super::{Findings, Lasts};
use crate::channel::broadcast::place;
use crate::channel::crowd::Crowd;
use crate::channel::line::{self, brings};
use crate::channel::queue::DROPPING;
use crate::channel::record::{state, Record};
use crate::channel::ring::READING;
use crate::channel::service::ABANDONED;
use crate::channel::side::{Side, ATTACHED, DIED};
use crate::channel::spec::{Kind, Spec};
use crate::channel::{desk, many};
use crate::inspect::channel::spec;
use crate::inspect::InspectError;
use crate::memory::map::{self, CHANNELS_MAX, PROCESSES_MAX};
use crate::memory::word::{Word, IN_MESSAGE};

/// Slots of a channel that are looked at, at most.
const SLOTS_MAX: u64 = 1 << 14;

/// What the name table has to agree with.
pub struct Named {
    /// Its state word.
    pub state: Word,
    /// The link to the next of its bucket.
    pub next: u64,
    /// Its name.
    pub name: String,
}

/// The records that are in use, by index.
pub fn check(findings: &mut Findings<'_>) -> Result<HashMap<usize, Named>, InspectError> {
    let used = below(findings.reading.header()?.channels.load(Relaxed), CHANNELS_MAX);
    let mut named = HashMap::new();
    for index in 0..used {
        let at = map::CHANNELS + index as u64 * map::CHANNEL_BYTES;
        let record = findings.reading.copy::<Record>(at)?;
        let state = Word(record.state.load(Relaxed));
        if state.state() == state::FREE {
            continue;
        }
        let name = record.name();
        let place =
            if name.is_empty() { format!("channel {index}") } else { format!("channel {index} {name:?}") };
        match state.state() {
            state::NAMED | state::UNNAMED => Look { place, record: &record, findings }.all(),
            state::BUILDING | state::UNMAKING => {
                let gone = state.slot() != IN_MESSAGE && !findings.is_member(state.slot());
                if gone {
                    let what = format!(
                        "process slot {} was making it or taking it back, and lives no more",
                        state.slot()
                    );
                    findings.add(Lasts::Step, place, what, &[state.0]);
                }
            }
            other => findings.add(Lasts::Never, place, format!("state {other} is none"), &[state.0]),
        }
        named.insert(index, Named { state, next: record.next.load(Relaxed), name });
    }
    Ok(named)
}

struct Look<'l, 'f, 'r> {
    place: String,
    record: &'l Record,
    findings: &'f mut Findings<'r>,
}

impl Look<'_, '_, '_> {
    fn wrong(&mut self, lasts: Lasts, what: impl Into<String>, words: &[u64]) {
        self.findings.add(lasts, self.place.clone(), what, words);
    }

    fn all(&mut self) {
        let record = self.record;
        let Some(spec) = spec(self.findings.reading, record) else {
            let says =
                [&record.kind, &record.degree, &record.form, &record.schema].map(|word| word.load(Relaxed));
            return self.wrong(Lasts::Never, "what its record says makes no sense", &says);
        };
        self.end("sender", 0, &record.sender);
        self.end("receiver", 0, &record.receiver);
        if spec.kind == Kind::Rendezvous {
            return self.rendezvous();
        }
        let ring = record.ring.load(Relaxed);
        let map = self.findings.reading.map();
        if map.locate(ring).is_none_or(|id| map.block(id) != ring) {
            return self.wrong(Lasts::Never, "its ring is no block", &[ring]);
        }
        // What lies outside of the window was told: it is not followed.
        let _ = match spec.kind {
            Kind::Basic | Kind::Buffered => self.ring(&spec, ring),
            Kind::Queue => self.queue(&spec, ring),
            Kind::Service => self.service(&spec, ring),
            Kind::Broadcast | Kind::Latest => self.broadcast(&spec, ring),
            Kind::Rendezvous => None,
        };
    }

    /// Whether its holder lives is for the account.
    fn end(&mut self, side: &str, seat: usize, of: &Side) {
        let end = of.end();
        if end.state() > DIED {
            self.wrong(Lasts::Never, format!("{side} {seat}: end state {} is none", end.state()), &[end.0]);
        } else if end.state() == ATTACHED
            && end.slot() != IN_MESSAGE
            && usize::from(end.slot()) >= PROCESSES_MAX
        {
            self.wrong(Lasts::Never, format!("{side} {seat}: its holder is no process slot"), &[end.0]);
        }
    }

    fn rendezvous(&mut self) {
        let record = self.record;
        let word = record.line.word();
        let known = word.state() <= line::ABANDONED && brings::of(word.slot()) <= brings::FORSAKEN;
        if !known {
            let what = format!("descriptor: state {} bringing {} is none", word.state(), word.slot());
            return self.wrong(Lasts::Never, what, &[word.0]);
        }
        let there = |side: &Side| side.end().state() == ATTACHED;
        let (sender, receiver) = (there(&record.sender), there(&record.receiver));
        let who = match word.state() {
            line::OFFER if word.slot() == brings::STAGE => (!receiver).then_some("receiver"),
            line::OFFER => (!sender).then_some("sender"),
            line::WANT => (!receiver).then_some("receiver"),
            line::TAKING => (!receiver).then_some("receiver"),
            line::GIVING => (!sender).then_some("sender"),
            _ => None,
        };
        if let Some(who) = who {
            let what = format!("descriptor: its {who} waits or copies, and has no end");
            let words = [word.0, record.sender.end().0, record.receiver.end().0];
            self.wrong(Lasts::Step, what, &words);
        }
    }

    /// The first words of slots that lie so far from each other.
    fn slots(&mut self, what: &str, first: u64, stride: u64, slots: u64, last_state: u8) -> Option<()> {
        for slot in 0..slots.min(SLOTS_MAX) {
            let at = first.checked_add(slot.checked_mul(stride)?)?;
            let word = Word(*self.findings.reading.words(at, 1).ok()?.first()?);
            if word.state() > last_state {
                let what = format!("{what}slot {slot}: state {} is none", word.state());
                self.wrong(Lasts::Never, what, &[word.0]);
            }
        }
        Some(())
    }

    fn ring(&mut self, spec: &Spec, ring: u64) -> Option<()> {
        let shape = spec.shape()?;
        self.slots("", ring, shape.stride, shape.degree + 1, READING)?;
        let (head, tail) = (self.record.head.load(Relaxed), self.record.tail.load(Relaxed));
        // Each place may be behind by one (ring.rs, N5).
        if head > tail.saturating_add(1) || tail > head.saturating_add(shape.degree + 2) {
            let what = format!("its places are {head} and {tail}, and it holds {}", shape.degree + 1);
            self.wrong(Lasts::Step, what, &[head, tail]);
        }
        Some(())
    }

    fn crowd(&mut self, side: &str, at: u64) -> Option<Box<Crowd>> {
        let crowd = self.findings.reading.copy::<Crowd>(at).ok()?;
        for (seat, one) in crowd.seats().iter().enumerate() {
            self.end(side, seat, &one.side);
        }
        Some(crowd)
    }

    /// The lanes of seats: where each begins.
    fn lanes(&mut self, crowd: &Crowd) -> Vec<(usize, u64)> {
        let map = self.findings.reading.map();
        let mut lanes = Vec::new();
        for (seat, one) in crowd.seats().iter().enumerate() {
            let lane = one.words[many::LANE].load(Relaxed);
            if lane == 0 {
                continue;
            }
            if map.locate(lane).is_none_or(|id| map.block(id) != lane) {
                self.wrong(Lasts::Never, format!("the lane of seat {seat} is no block"), &[lane]);
            } else {
                lanes.push((seat, lane));
            }
        }
        lanes
    }

    fn queue(&mut self, spec: &Spec, block: u64) -> Option<()> {
        let plan = spec.plan()?;
        let senders = self.crowd("sender", block)?;
        self.crowd("receiver", block.checked_add(many::CROWD_BYTES)?)?;
        for (seat, lane) in self.lanes(&senders) {
            let what = format!("lane {seat}: ");
            self.slots(&what, lane, plan.lane.stride, plan.lane.degree + 1, DROPPING);
        }
        let cells = block.checked_add(2 * many::CROWD_BYTES)?;
        let count = plan.cells().min(SLOTS_MAX);
        for (cell, word) in self.findings.reading.words(cells, count as usize).ok()?.into_iter().enumerate() {
            let Some((_, lane, slot)) = plan.read_cell(cell as u64, word) else {
                continue;
            };
            let unmade = senders.seat(lane).words[many::LANE].load(Relaxed) == 0;
            if slot > plan.lane.degree || unmade {
                let what = format!("cell {cell}: it names slot {slot} of lane {lane}, and there is none");
                self.wrong(if unmade { Lasts::Step } else { Lasts::Never }, what, &[word]);
            }
        }
        Some(())
    }

    fn service(&mut self, spec: &Spec, block: u64) -> Option<()> {
        let (stride, slots) = desk::lane_shape(spec)?;
        let clients = self.crowd("client", block)?;
        self.crowd("server", block.checked_add(many::CROWD_BYTES)?)?;
        for (seat, lane) in self.lanes(&clients) {
            self.slots(&format!("lane {seat}: "), lane, stride, slots, ABANDONED);
        }
        Some(())
    }

    fn broadcast(&mut self, spec: &Spec, block: u64) -> Option<()> {
        self.crowd("receiver", block.checked_add(place::CROWD_AT)?)?;
        let (cells, slots) = place::cells(spec)?;
        let bits = 64 - (slots - 1).leading_zeros();
        let count = spec.degree.min(SLOTS_MAX) as usize;
        let words = self.findings.reading.words(block.checked_add(cells)?, count).ok()?;
        for (cell, word) in words.into_iter().enumerate().filter(|(_, word)| *word != 0) {
            let slot = word & ((1 << bits) - 1);
            if slot >= slots {
                let what = format!("cell {cell}: it names slot {slot}, and there are {slots}");
                self.wrong(Lasts::Never, what, &[word]);
            }
        }
        Some(())
    }
}
