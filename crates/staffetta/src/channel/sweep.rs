//! What a dead process left in the channels.

#![allow(unsafe_code)] // The messages of a channel of parcels are references.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Acquire;

use super::attach::{
    read_spec, read_spec_again, read_spec_of_parcels, settle_places, take_hold, unmake_of_dead,
};
use super::end::{slots, Travelling};
use super::ground::wake;
use super::kept;
use super::line::{brings, Reference3, ABANDONED};
use super::record::{state, Record};
use super::side::{Side, ATTACHED, DIED};
use super::spec::{Content, Kind, Spec};
use crate::enclosure::contents::{free_full, Loose};
use crate::enclosure::table::holds_of;
use crate::member::Member;
use crate::memory::blocks::Blocks;
use crate::memory::map::{BlockId, CHANNELS_MAX};
use crate::memory::stop;
use crate::memory::word::Word;
use crate::reference::capability::{self, Sent};

/// Blocks (by offset) and capabilities (by record) that have left the dead process.
#[derive(Default)]
pub struct InFlight {
    /// Offsets and incarnations of blocks. A receiver that has claimed its block changed the incarnation.
    pub blocks: HashSet<(u64, u64)>,
    /// Records of capabilities, and the third word of their messages (capability.rs, K4).
    pub capabilities: HashSet<(u32, u64)>,
}

/// Settles every end that the dead process in `slot` held, and wakes the partners. Idempotent.
///
/// `still`: is the slot still the dead one's? Asked after a word was read and before it is changed, so a sweeper that was
/// stopped for long does not take what a newcomer in the slot holds for the dead one's. What comes loose is for the caller to
/// give back.
pub fn settle_ends(member: &Member, slot: u16, still: impl Fn() -> bool, loose: &mut Loose) -> InFlight {
    let segment = member.segment();
    let mut in_flight = InFlight::default();
    let used = segment.header().channels.load(Acquire).min(CHANNELS_MAX as u64) as usize;
    // Receivers whose parcels come back before they are said to be dead (kept.rs, U2): the channel, and its queue or not.
    let mut later = Vec::new();
    let mut keeps = false;
    // Channels without a name of which the dead one may have ends; ours of them.
    let held = holds_of(segment, slot);
    let mut schemas = HashMap::new();
    let mut holds = Vec::new();
    for index in 0..used {
        let record = segment.channel(index);
        let now = Word(record.state.load(Acquire));
        // Without a name: the dead one's hold keeps it, and then ours, until we have told whoever waits there. If the dead one
        // has none, what it sent may still be there, and is looked at: whatever is read is checked.
        let ours = match now.state() {
            state::NAMED => None,
            state::UNNAMED if held.contains(&index) && still() => take_hold(member, index),
            state::UNNAMED => {
                if let Some(spec) = read_spec_of_parcels(segment, index) {
                    note_in_flight(member, record, &spec, &mut in_flight);
                }
                continue;
            }
            _ => continue,
        };
        // Without a free entry the dead one's hold has to do: it stays until a sweeper is through.
        let is_there = || matches!(Word(record.state.load(Acquire)).state(), state::NAMED | state::UNNAMED);
        stop::here("sweep: held");
        let has_it = ours.is_some() || is_there();
        holds.extend(ours.map(|hold| (index, hold)));
        if !has_it || !still() {
            continue;
        }
        settle_places(segment, index, slot, &still);
        let Some(spec) = read_spec_again(segment, index, &mut schemas) else {
            continue;
        };
        let keeps_parcels = spec.continuation.keeps() && spec.content == Content::Parcel;
        keeps |= keeps_parcels;
        if spec.kind == Kind::Queue && keeps_parcels {
            note_in_flight(member, record, &spec, &mut in_flight);
            later.push((index, spec));
            continue;
        }
        if spec.kind == Kind::Queue {
            settle_queue(member, record, &spec, slot, &still);
            let parcels = spec.content == Content::Parcel;
            if parcels {
                note_in_flight(member, record, &spec, &mut in_flight);
            }
            continue;
        }
        if matches!(spec.kind, Kind::Broadcast | Kind::Latest) {
            super::broadcast::place::settle(member, record, &spec, slot, &still);
            continue;
        }
        if spec.kind == Kind::Service {
            super::desk::settle(member, record, &spec, slot, &still);
            continue;
        }
        for (dead, partner, is_sender) in
            [(&record.sender, &record.receiver, true), (&record.receiver, &record.sender, false)]
        {
            let end = dead.end();
            if end.state() != ATTACHED && end.slot() == slot {
                // It was closing the end, or sweeping it, and may have been killed before it woke the partner.
                tell(member, record, &spec, partner);
            }
            if end.state() != ATTACHED || end.slot() != slot || !still() {
                continue;
            }
            if spec.continuation.waits() {
                crate::succession::open(segment, slot, &still);
            }
            if keeps_parcels && !is_sender {
                continue;
            }
            let held = || dead.end().awake() == end.awake();
            match spec.kind {
                Kind::Rendezvous => settle_line(member, record, &spec, is_sender, held),
                // A sender leaves nothing half done: what it had not put yet, also a slot that it had reserved, is EMPTY.
                _ if is_sender => {}
                _ => {
                    if let Some(slots) = slots(member, record, &spec) {
                        slots.settle_receiver(held);
                    }
                }
            }
            if spec.content == Content::Parcel && spec.kind == Kind::Rendezvous && !is_sender {
                free_unclaimed(member, index, &spec, held);
            }
            dead.detach(end, DIED);
            // Also if another sweeper was quicker: it may have been stopped before it told anybody.
            tell(member, record, &spec, partner);
        }
        // After the ends were settled: what a dead sender had offered may have been taken until then.
        if spec.content == Content::Parcel {
            note_in_flight(member, record, &spec, &mut in_flight);
        }
        // Storage that a survivor is still copying, whoever's it was (line.rs, L6).
        if spec.kind == Kind::Rendezvous {
            if let Some((_, id)) = abandoned(member, record, &spec) {
                let incarnation = Blocks::incarnation(segment, id);
                in_flight.blocks.insert((segment.map().block(id), incarnation));
            }
        }
        if keeps_parcels {
            later.push((index, spec));
        }
    }
    if keeps {
        let spared = |offset, incarnation| in_flight.blocks.contains(&(offset, incarnation)) || !still();
        for index in kept::return_dead(segment, slot, spared) {
            if let Some(spec) = read_spec_of_parcels(segment, index) {
                kept::tell(member, index, &spec);
            }
        }
    }
    for (index, spec) in later {
        settle_receiver_later(member, segment.channel(index), &spec, slot, &still);
    }
    for (index, hold) in holds {
        hold.free(member);
        loose.channels.push(index);
    }
    // What it was about to take back, or still making.
    (0..used).for_each(|index| unmake_of_dead(member, index, slot, &still, loose));
    in_flight
}

/// What a dead process held of a queue.
fn settle_queue(member: &Member, record: &Record, spec: &Spec, slot: u16, still: &impl Fn() -> bool) {
    let parcels = spec.content == Content::Parcel;
    let claimed = |bytes: *const u8| parcels && is_claimed(member, spec, reference_at(bytes));
    let dropped = |bytes: *const u8, still: &dyn Fn() -> bool| {
        if parcels {
            discard(member, spec, reference_at(bytes), still);
        }
    };
    super::many::settle(member, record, spec, slot, still, claimed, dropped);
}

/// What a dead process held of a channel that keeps parcels, after they came back: its queue, or the receiving end.
fn settle_receiver_later(
    member: &Member,
    record: &Record,
    spec: &Spec,
    slot: u16,
    still: &impl Fn() -> bool,
) {
    if spec.kind == Kind::Queue {
        return settle_queue(member, record, spec, slot, still);
    }
    let (dead, partner) = (&record.receiver, &record.sender);
    let end = dead.end();
    if end.state() != ATTACHED || end.slot() != slot || !still() {
        return;
    }
    let held = || dead.end().awake() == end.awake();
    if spec.kind == Kind::Rendezvous {
        settle_line(member, record, spec, false, held);
    } else if let Some(slots) = slots(member, record, spec) {
        slots.settle_receiver(held);
    }
    dead.detach(end, DIED);
    tell(member, record, spec, partner); // as in `settle_ends`
}

/// The parcel that the dead receiver of a rendezvous took last, if it was killed before it could say that it holds it: nobody does.
/// (Elsewhere it waits in its slot as before: ring.rs, N6.)
///
/// `held`: is the end still the dead one's? Until it is not, no other message is taken, so the cell is stable.
fn free_unclaimed(member: &Member, index: usize, spec: &Spec, held: impl Fn() -> bool) {
    let segment = member.segment();
    let line = &segment.channel(index).line;
    let [reference, _, incarnation] = line.peek_reference(line.word().sequence().wrapping_sub(1));
    if let Some(id) = block_of(member, spec, reference) {
        // It still has the incarnation that it was sent with (blocks.rs, B2).
        let still = || Blocks::incarnation(segment, id) == incarnation && held();
        if member.blocks.adopt(segment, id, still).is_some() {
            kept::lose(segment, index);
            free_full(member, id);
        }
    } else if let Some(capability) = member.refs.capability_index(reference) {
        let sent = Sent::of(capability, incarnation);
        capability::discard(segment, &member.blocks, sent, member.slot, held);
    }
}

/// The block of the parcel that these words refer to, if it is still as it was sent.
pub fn parcel_of(member: &Member, spec: &Spec, [reference, _, incarnation]: Reference3) -> Option<BlockId> {
    let id = block_of(member, spec, reference)?;
    (Blocks::incarnation(member.segment(), id) == incarnation).then_some(id)
}

pub fn block_of(member: &Member, spec: &Spec, reference: u64) -> Option<BlockId> {
    let map = member.segment().map();
    let id = map.locate(member.refs.offset(spec.method, reference)?)?;
    (id.index < map.count(id.class)).then_some(id)
}

/// Gives back the parcels in the buffer of a channel that is over. The caller alone has its record.
pub fn discard_buffered(member: &Member, index: usize, loose: &mut Loose) {
    let segment = member.segment();
    let record = segment.channel(index);
    let Some(spec) = read_spec_of_parcels(segment, index) else {
        return;
    };
    if let Some(queue) = super::many::queue(member, record, &spec) {
        queue.each(|bytes| discard_into(member, &spec, reference_at(bytes), || true, loose));
    }
    let Some(slots) = slots(member, record, &spec) else {
        return;
    };
    // SAFETY: a channel of parcels: its messages are references.
    for words in unsafe { slots.buffered() } {
        discard_into(member, &spec, words, || true, loose);
    }
}

/// Gives back a parcel that nobody will receive. `still`: is it so? Asked between reading and changing.
pub fn discard(member: &Member, spec: &Spec, words: Reference3, still: impl Fn() -> bool) {
    let mut loose = Loose::default();
    discard_into(member, spec, words, still, &mut loose);
    loose.give_back(member);
}

/// The same, for who has more to give back.
fn discard_into(
    member: &Member,
    spec: &Spec,
    words: Reference3,
    still: impl Fn() -> bool,
    loose: &mut Loose,
) {
    let [reference, _, incarnation] = words;
    let segment = member.segment();
    if let Some(id) = block_of(member, spec, reference) {
        let still = || Blocks::incarnation(segment, id) == incarnation && still();
        if member.blocks.adopt(segment, id, still).is_some() {
            loose.blocks.push(id);
        }
    } else if let Some(index) = member.refs.capability_index(reference) {
        let sent = Sent::of(index, incarnation);
        capability::discard(segment, &member.blocks, sent, member.slot, still);
    }
}

/// Has the receiver of a parcel said that it holds it? (blocks.rs, B2; capability.rs, K4)
pub fn is_claimed(member: &Member, spec: &Spec, [reference, _, incarnation]: Reference3) -> bool {
    let segment = member.segment();
    if let Some(id) = block_of(member, spec, reference) {
        return Blocks::incarnation(segment, id) != incarnation;
    }
    let index = member.refs.capability_index(reference);
    index.is_some_and(|index| Sent::of(index, incarnation).unclaimed(segment).is_none())
}

/// The reference in a slot's bytes.
fn reference_at(bytes: *const u8) -> Reference3 {
    // SAFETY: only called with the bytes of a slot of a channel of parcels, which holds a reference. Volatile: a survivor may
    // be writing it; whatever is read is checked against the block's own word.
    unsafe { bytes.cast::<Reference3>().read_volatile() }
}

/// `Line::settle_death`; and if the dead one was copying what the first one had left to it, the storage goes back.
fn settle_line(member: &Member, record: &Record, spec: &Spec, is_sender: bool, held: impl Fn() -> bool) {
    let segment = member.segment();
    let copier = if is_sender { brings::GIVING } else { brings::TAKING };
    let storage = abandoned(member, record, spec).filter(|(word, _)| word.slot() == copier);
    // L6: adopted while the word says ABANDONED and the end is the dead one's; given back after.
    let adopted = storage.and_then(|(word, id)| {
        let still = || record.line.word().awake() == word.awake() && held();
        Some((id, member.blocks.adopt(segment, id, still)?))
    });
    record.line.settle_death(is_sender, !spec.continuation.waits(), held);
    if let Some((id, adopted)) = adopted {
        member.blocks.free_adopted(segment, id, adopted);
    }
}

/// The block of a copy whose first one gave up, and the word that says so.
fn abandoned(member: &Member, record: &Record, spec: &Spec) -> Option<(Word, BlockId)> {
    let word = record.line.word();
    if word.state() != ABANDONED {
        return None;
    }
    let reference = match word.slot() {
        brings::TAKING => record.line.peek_reference(word.sequence())[0],
        brings::GIVING => record.receiver.target().0,
        _ => return None, // a staged message: its block is the channel's
    };
    Some((word, block_of(member, spec, reference)?))
}

/// Closes an end that lies in a message.
pub fn release_end(member: &Member, end: &Travelling, into: u8) {
    let record = member.segment().channel(end.index);
    let Some(spec) = read_spec(member.segment(), end.index) else {
        return;
    };
    if spec.kind == Kind::Queue {
        return super::many::release(member, record, &spec, end, into);
    }
    let (side, partner) =
        if end.is_sender { (&record.sender, &record.receiver) } else { (&record.receiver, &record.sender) };
    detach(member, record, &spec, side, partner, end.held, into);
}

/// The parcels that wait in a channel that nobody uses: their blocks.
pub fn parcels_in(member: &Member, index: usize) -> Vec<BlockId> {
    let record = member.segment().channel(index);
    let mut blocks = Vec::new();
    let Some(spec) = read_spec_of_parcels(member.segment(), index) else {
        return blocks;
    };
    if let Some(queue) = super::many::queue(member, record, &spec) {
        queue.each(|bytes| blocks.extend(parcel_of(member, &spec, reference_at(bytes))));
    } else if let Some(slots) = slots(member, record, &spec) {
        // SAFETY: a channel of parcels: its messages are references.
        let words = unsafe { slots.buffered() };
        blocks.extend(words.into_iter().filter_map(|words| parcel_of(member, &spec, words)));
    }
    blocks
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
    if side.detach(held, into) {
        tell(member, record, spec, partner);
    }
}

/// An end changed, and its partner has to look at it.
fn tell(member: &Member, record: &Record, spec: &Spec, partner: &Side) {
    stop::here("tell: not yet woken");
    match spec.kind {
        Kind::Rendezvous => drop(record.line.word_after_change()),
        _ => {
            if let Some(slots) = slots(member, record, spec) {
                slots.touch();
            }
        }
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
            in_flight.capabilities.insert((index, incarnation));
        }
    };
    match spec.kind {
        Kind::Rendezvous => {
            let s = record.line.word().sequence();
            // What a dead receiver has not read out of its cell is its successor's (side.rs, S2).
            let unread = record.receiver.unread().filter(|unread| s.wrapping_sub(*unread) % 2 == 1);
            unread.into_iter().for_each(|unread| note(record.line.peek_reference(unread)));
            let receiver = record.receiver.end();
            if receiver.state() == ATTACHED {
                let s = record.line.word().sequence();
                note(record.line.peek_reference(s.wrapping_sub(1)));
            }
        }
        Kind::Service => {}
        Kind::Queue => {
            if let Some(queue) = super::many::queue(member, record, spec) {
                queue.each(|bytes| note(reference_at(bytes)));
            }
        }
        _ => {
            let Some(slots) = slots(member, record, spec) else {
                return;
            };
            // SAFETY: a channel of parcels: its messages are references.
            let references = unsafe { slots.buffered() };
            references.into_iter().for_each(&mut note);
        }
    }
}
