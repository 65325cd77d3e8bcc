//! What a dead process left in the channels.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Acquire;

use super::attach::read_spec;
use super::ground::wake;
use super::line::Reference3;
use super::record::{state, Record};
use super::side::{Side, ATTACHED, DIED};
use super::spec::{Content, Kind, Spec};
use crate::member::Member;
use crate::memory::map::CHANNELS_MAX;
use crate::memory::word::Word;

/// Blocks (by offset) and capabilities (by record) that have left the dead process.
#[derive(Default)]
pub struct InFlight {
    /// Offsets and incarnations of blocks. A receiver that has claimed its block changed the incarnation.
    pub blocks: HashSet<(u64, u64)>,
    /// Records of capabilities.
    pub capabilities: HashSet<u32>,
}

/// Settles every end that process `slot` held, and wakes the partners. Idempotent.
pub fn settle_ends(member: &Member, slot: u16, still_dead: &impl Fn() -> bool) -> InFlight {
    let segment = member.segment();
    let mut in_flight = InFlight::default();
    let used = segment.header().channels.load(Acquire).min(CHANNELS_MAX as u64) as usize;
    for index in 0..used {
        let record = segment.channel(index);
        if !matches!(Word(record.state.load(Acquire)).state(), state::NAMED | state::UNNAMED) {
            continue;
        }
        let Some(spec) = read_spec(segment, index) else {
            continue;
        };
        if spec.content == Content::Parcel {
            note_in_flight(member, record, &spec, &mut in_flight);
        }
        for (dead, partner, is_sender) in
            [(&record.sender, &record.receiver, true), (&record.receiver, &record.sender, false)]
        {
            let end = dead.end();
            // Asked after the word was read: a sweeper that was stopped must not touch a successor in the same slot.
            if end.state() != ATTACHED || end.slot() != slot || !still_dead() {
                continue;
            }
            record.line.settle_death(is_sender, || dead.end().awake() == end.awake());
            detach(member, record, &spec, dead, partner, end, DIED);
        }
    }
    in_flight
}

/// ATTACHED => `into`, and the partner is told (wait.rs, H2).
pub fn detach(
    member: &Member,
    record: &Record,
    spec: &Spec,
    side: &Side,
    partner: &Side,
    held: Word,
    into: u8,
) {
    if !side.detach(held, into) {
        return;
    }
    match spec.kind {
        Kind::Rendezvous => drop(record.line.word_after_change()),
        Kind::Basic => super::end::touch_ring(member, record, spec),
    }
    // Spuriously rather than never.
    wake(member, spec.method, partner.pcb_ref());
}

/// What the cells of a rendezvous refer to: the last message taken may not have been claimed by its
/// receiver yet (its holder word still names the dead sender).
fn note_in_flight(member: &Member, record: &Record, spec: &Spec, in_flight: &mut InFlight) {
    let mut note = |[reference, _, incarnation]: Reference3| {
        if let Some(offset) = member.refs.offset(spec.method, reference) {
            in_flight.blocks.insert((offset, incarnation));
        } else if let Some(index) = member.refs.capability_index(reference) {
            in_flight.capabilities.insert(index);
        }
    };
    match spec.kind {
        Kind::Rendezvous => {
            let receiver = record.receiver.end();
            if receiver.state() == ATTACHED {
                let s = record.line.word().sequence();
                note(record.line.peek_reference(s.wrapping_sub(1)));
            }
        }
        Kind::Basic => {
            for reference in super::end::ring_references(member, record, spec) {
                note(reference);
            }
        }
    }
}
