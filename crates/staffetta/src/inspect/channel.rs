//! A channel: what its record and its words say, who holds its ends, who waits for whom.
//!
//! | kind | who waits is told by |
//! |---|---|
//! | rendezvous | the descriptor's state: OFFER and TAKING, the sender; WANT and GIVING, the receiver |
//! | basic, buffered | P on a slot: EMPTY, the receiver; else the sender |
//! | queue, broadcast, latest | the bits of its crowds |
//! | all | P on an end word: the other side, until somebody attaches |
//!
//! So of a channel with a buffer those who are busy waiting are not told.

use std::sync::atomic::Ordering::Relaxed;

use super::{ChannelView, EndState, EndView, InspectError, Side, SlotView, SpecView, WaitView};
use crate::channel::attach::spec_of;
use crate::channel::broadcast::place;
use crate::channel::crowd::Crowd;
use crate::channel::form::Form;
use crate::channel::many;
use crate::channel::record::{state, Record};
use crate::channel::ring::{EMPTY, FULL, READING};
use crate::channel::schemas::{read_schema_by, Head};
use crate::channel::side::{self, ABSENT, ATTACHED, DIED, LEFT};
use crate::channel::spec::{Content, Kind, Spec, DEGREE_MAX};
use crate::channel::tally::Tally;
use crate::channel::view::{DescriptorState, DescriptorView};
use crate::memory::map::{self, PCBS_MAX, SCHEMAS_BYTES};
use crate::memory::reading::Reading;
use crate::memory::segment::Segment;
use crate::memory::word::Word;
use crate::message::SCHEMA_LENGTH_MAX;
use crate::reference;

/// Slots that are shown of a ring.
const SLOTS_SHOWN: u64 = 16;
/// Places that are looked at for a message that waits, after one that does not any more.
const STEPS_MAX: u64 = 4096;

/// The channel of record `index`; None: there is none.
pub(super) fn look(
    reading: &Reading,
    window_base: u64,
    index: usize,
) -> Result<Option<ChannelView>, InspectError> {
    let record = reading.copy::<Record>(map::CHANNELS + index as u64 * map::CHANNEL_BYTES)?;
    if !matches!(Word(record.state.load(Relaxed)).state(), state::NAMED | state::UNNAMED) {
        return Ok(None);
    }
    let spec = spec(reading, &record);
    let mut view = ChannelView {
        index,
        name: record.name(),
        spec: spec.as_ref().map(show_spec),
        descriptor: None,
        slots: Vec::new(),
        waiting: 0,
        lost: record.lost.load(Relaxed),
        senders: Vec::new(),
        receivers: Vec::new(),
        waits: Vec::new(),
    };
    let Some(spec) = spec else {
        return Ok(Some(view));
    };
    let look = Look { reading, window_base, record: &record, spec: &spec };
    // What lies outside of the domain, or cannot be read, is left out (I1).
    // Of a kind that is not told here what it is is shown, and no more.
    if spec.kind == Kind::Rendezvous {
        look.rendezvous(&mut view);
    } else if matches!(spec.kind, Kind::Basic | Kind::Buffered) {
        look.ring(&mut view).unwrap_or_default();
    } else if spec.kind == Kind::Queue {
        look.queue(&mut view).unwrap_or_default();
    } else if matches!(spec.kind, Kind::Broadcast | Kind::Latest) {
        look.broadcast(&mut view).unwrap_or_default();
    }
    Ok(Some(view))
}

/// What a record says that the channel is.
pub(super) fn spec(reading: &Reading, record: &Record) -> Option<Spec> {
    let at = record.schema.load(Relaxed);
    let words = SCHEMAS_BYTES / 8;
    let read = |from: u64, count: u64| {
        let inside = from.checked_add(count)? <= words;
        inside.then(|| reading.words(map::SCHEMAS + from * 8, count as usize).ok())?
    };
    let head = *read(at, 1)?.first()?;
    let count =
        (2 + Head(head).length().min(SCHEMA_LENGTH_MAX as u64).div_ceil(8)).min(words.checked_sub(at)?);
    let text = read(at, count)?;
    let word = |i: u64| text.get(usize::try_from(i.checked_sub(at)?).ok()?).copied();
    let spec = spec_of(record, read_schema_by(word, at)?)?;
    (spec.degree <= DEGREE_MAX).then_some(spec)
}

fn show_spec(spec: &Spec) -> SpecView {
    let form = (spec.form != Form::SYMMETRIC)
        .then(|| spec.form.to_string().trim_start_matches([',', ' ']).to_owned());
    SpecView {
        kind: spec.kind,
        degree: spec.degree,
        form,
        continuation: spec.continuation,
        method: spec.method,
        carries_parcels: spec.content == Content::Parcel,
        message_bytes_max: spec.message_bytes_max,
        schema: spec.schema.clone(),
    }
}

fn show_end(seat: usize, end: &side::Side, tally: &Tally) -> Option<EndView> {
    let word = end.end();
    let state = match word.state() {
        ABSENT => EndState::Absent,
        ATTACHED => EndState::Attached,
        LEFT => EndState::Left,
        DIED => EndState::Died,
        _ => EndState::Unknown,
    };
    let process = (word.state() == ATTACHED).then(|| word.slot());
    let view = EndView { seat, state, process, taken: word.sequence(), counters: tally.read() };
    (state != EndState::Absent || word.sequence() != 0).then_some(view)
}

/// Who holds these ends.
fn holders(ends: &[EndView]) -> Vec<u16> {
    let mut slots: Vec<u16> = ends.iter().filter_map(|end| end.process).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

struct Look<'l> {
    reading: &'l Reading,
    window_base: u64,
    record: &'l Record,
    spec: &'l Spec,
}

impl Look<'_> {
    /// Both ends of a channel that has one of each.
    fn ends(&self, view: &mut ChannelView) {
        let record = self.record;
        view.senders.extend(show_end(0, &record.sender, &record.sender_tally));
        view.receivers.extend(show_end(0, &record.receiver, &record.receiver_tally));
        if record.receiver.end().is_parked() && record.receiver.end().state() != ATTACHED {
            self.wait(view, Side::Sender, "a receiver to attach", true);
        }
        if record.sender.end().is_parked() && record.sender.end().state() != ATTACHED {
            self.wait(view, Side::Receiver, "a sender to attach", true);
        }
    }

    fn wait(&self, view: &mut ChannelView, side: Side, what: &'static str, asleep: bool) {
        let sender = &self.record.sender;
        let (me, ends, others) = match side {
            Side::Sender => (sender, &view.senders, &view.receivers),
            Side::Receiver => (&self.record.receiver, &view.receivers, &view.senders),
        };
        let process = ends.first().and_then(|end| end.process);
        let for_whom = holders(others);
        let pcb = self.pcb(me);
        view.waits.push(WaitView { side, seat: 0, process, what, for_whom, asleep, pcb });
    }

    /// The PCB that a side names.
    fn pcb(&self, side: &side::Side) -> Option<usize> {
        let reference = Some(side.pcb_ref()).filter(|reference| *reference != 0)?;
        let offset = reference::offset(self.spec.method, self.window_base, reference)?;
        let index = offset.checked_sub(Segment::pcb_offset(0))? / map::PCB_BYTES;
        let index = usize::try_from(index).ok().filter(|index| *index < PCBS_MAX)?;
        (Segment::pcb_offset(index) == offset).then_some(index)
    }

    fn rendezvous(&self, view: &mut ChannelView) {
        self.ends(view);
        let descriptor = DescriptorView::of(self.record);
        let waits = match descriptor.state {
            DescriptorState::Offer => Some((Side::Sender, "its message to be taken")),
            DescriptorState::Taking => Some((Side::Sender, "its message to be copied by the receiver")),
            DescriptorState::Want => Some((Side::Receiver, "a message")),
            DescriptorState::Giving => Some((Side::Receiver, "its message to be copied by the sender")),
            _ => None,
        };
        if let Some((side, what)) = waits {
            view.waits.retain(|wait| wait.side != side);
            self.wait(view, side, what, descriptor.asleep);
        }
        view.descriptor = Some(descriptor);
    }

    fn ring(&self, view: &mut ChannelView) -> Option<()> {
        self.ends(view);
        let shape = self.spec.shape()?;
        let slots = shape.degree + 1;
        let (head, tail) = (self.record.head.load(Relaxed), self.record.tail.load(Relaxed));
        view.waiting = tail.saturating_sub(head).min(slots);
        let ring = self.record.ring.load(Relaxed);
        let (mut sender, mut receiver) = (false, false);
        for place in head..head.saturating_add(slots.min(SLOTS_SHOWN)) {
            let at = ring.checked_add((place % slots).checked_mul(shape.stride)?)?;
            let words = self.reading.words(at, 3).ok()?;
            let [word, length, _ticket] = words[..] else {
                return None;
            };
            let word = Word(word);
            let state = match word.state() {
                EMPTY => "EMPTY",
                FULL => "FULL",
                READING => "READING",
                _ => "unknown",
            };
            sender |= word.is_parked() && word.state() != EMPTY;
            receiver |= word.is_parked() && word.state() == EMPTY;
            view.slots.push(SlotView { place, state, asleep: word.is_parked(), length });
        }
        if sender {
            self.wait(view, Side::Sender, "room", true);
        }
        if receiver {
            self.wait(view, Side::Receiver, "a message", true);
        }
        Some(())
    }

    /// How far each receiver is, is its own affair: no messages are told to wait.
    fn broadcast(&self, view: &mut ChannelView) -> Option<()> {
        view.senders.extend(show_end(0, &self.record.sender, &self.record.sender_tally));
        let at = self.record.ring.load(Relaxed).checked_add(place::CROWD_AT)?;
        let receivers = self.reading.copy::<Crowd>(at).ok()?;
        let seats = receivers.seats().iter().enumerate();
        view.receivers.extend(seats.filter_map(|(seat, one)| show_end(seat, &one.side, &one.tally)));
        self.sleepers(view, Side::Receiver, &receivers, "a message", holders(&view.senders));
        Some(())
    }

    /// Those whose bits are set.
    fn sleepers(
        &self,
        view: &mut ChannelView,
        side: Side,
        crowd: &Crowd,
        what: &'static str,
        for_whom: Vec<u16>,
    ) {
        let sleepers = crowd.sleepers();
        let asleep = crowd.seats().iter().enumerate().filter(|(seat, _)| sleepers >> seat & 1 == 1);
        view.waits.extend(asleep.map(|(seat, one)| {
            let end = one.side.end();
            let process = (end.state() == ATTACHED).then(|| end.slot());
            let (for_whom, pcb) = (for_whom.clone(), self.pcb(&one.side));
            WaitView { side, seat, process, what, for_whom, asleep: true, pcb }
        }));
    }

    fn queue(&self, view: &mut ChannelView) -> Option<()> {
        let plan = self.spec.plan()?;
        let block = self.record.ring.load(Relaxed);
        let senders = self.reading.copy::<Crowd>(block).ok()?;
        let receivers = self.reading.copy::<Crowd>(block.checked_add(many::CROWD_BYTES)?).ok()?;
        let ends = |crowd: &Crowd| -> Vec<EndView> {
            let seats = crowd.seats().iter().enumerate();
            seats.filter_map(|(seat, one)| show_end(seat, &one.side, &one.tally)).collect()
        };
        (view.senders, view.receivers) = (ends(&senders), ends(&receivers));
        let both = [
            (Side::Sender, &senders, "room", holders(&view.receivers)),
            (Side::Receiver, &receivers, "a message", holders(&view.senders)),
        ];
        for (side, crowd, what, for_whom) in both {
            self.sleepers(view, side, crowd, what, for_whom);
        }
        // As `Queue::waiting`: the oldest message that waits, and what was sent from there on.
        let cells = block.checked_add(2 * many::CROWD_BYTES)?;
        let cells = self.reading.words(cells, usize::try_from(plan.cells()).ok()?).ok()?;
        let committed = |position: u64| {
            let cell = cells[(position % plan.cells()) as usize];
            plan.read_cell(position, cell).filter(|(there, ..)| *there == position)
        };
        let waits = |position: u64| {
            let (_, lane, slot) = committed(position)?;
            let lane = senders.seat(lane).words[many::LANE].load(Relaxed);
            let at = lane.checked_add(slot.checked_mul(plan.lane.stride)?)?;
            let word = Word(*self.reading.words(at, 1).ok()?.first()?);
            Some(word.state() == FULL && word.sequence() == position)
        };
        let from = receivers.place.load(Relaxed);
        let near = from..from.saturating_add(STEPS_MAX.min(plan.degree + 1));
        let oldest = near
            .take_while(|position| waits(*position).is_some())
            .find(|position| waits(*position) == Some(true));
        view.waiting = oldest.map_or(0, |oldest| {
            let all = oldest..oldest.saturating_add(plan.degree);
            all.take_while(|position| committed(*position).is_some()).count() as u64
        });
        Some(())
    }
}
