//! Where a broadcast lies in the domain, and what a dead process left in it.
//!
//! ```text
//!   block of the channel: head | receivers' crowd | K cells | slots
//! ```
//!
//! The sender's side and counters are those of the channel's record, a receiver's are in its seat. Nothing here moves a
//! cursor or a pin: a dead receiver's count no more once its end word says so, and a dead sender leaves nothing half done.

#![allow(unsafe_code)] // From offsets to the head, the crowd, the cells and the slots.

use std::marker::PhantomData;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use super::{BroadcastHead, Cast, SlowReceiver};
use crate::channel::crowd::Crowd;
use crate::channel::form::Form;
use crate::channel::ground::wake;
use crate::channel::record::Record;
use crate::channel::ring::{Shape, Slots};
use crate::channel::side::{Side, ATTACHED, DIED};
use crate::channel::spec::{Content, Kind, Spec, DEGREE_MAX};
use crate::error::{AllocateError, AttachError};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::platform::Native;
use crate::memory::segment::Segment;
use crate::memory::word::Word;

/// Where the receivers' crowd is in the block.
pub const CROWD_AT: u64 = 512;
const CELLS_AT: u64 = CROWD_AT + size_of::<Crowd>() as u64;
const _: () = assert!(size_of::<BroadcastHead>() as u64 <= CROWD_AT);
const _: () = assert!(CROWD_AT % align_of::<Crowd>() as u64 == 0);

/// The degree of a broadcast of which nothing else is said.
pub const DEGREE: u64 = 16;
/// The form of a broadcast of which nothing else is said.
pub const FORM: Form = Form { senders: 1, receivers: 16, ..Form::SYMMETRIC };
/// The form of a channel of the latest value of which nothing else is said.
pub const LATEST_FORM: Form = Form { slow: SlowReceiver::DropOldest, ..FORM };

/// Where its parts are in its block.
#[derive(Clone, Copy)]
struct Layout {
    slots_at: u64,
    shape: Shape,
    bytes: u64,
    align: u64,
}

/// None: it is no broadcast, or it overflows.
fn layout(spec: &Spec) -> Option<Layout> {
    let degree_max = match spec.kind {
        Kind::Broadcast => DEGREE_MAX,
        Kind::Latest => 1,
        _ => return None,
    };
    // Guards hand out a whole message of the type in each slot.
    let in_place = spec.content == Content::Value
        && spec.schema.is_sized()
        && spec.message_bytes_max == spec.schema.size();
    if !in_place || !(1..=degree_max).contains(&spec.degree) {
        return None;
    }
    let align = spec.schema.align().max(64);
    let seats = spec.form.receivers.into();
    let shape =
        Cast::<Native>::shape(spec.degree, seats, spec.message_bytes_max, spec.schema.align().max(8))?;
    let slots_at = (CELLS_AT + spec.degree * 8).checked_next_multiple_of(align)?;
    let bytes = slots_at.checked_add(shape.bytes())?;
    Some(Layout { slots_at, shape, bytes, align: align.max(align_of::<Crowd>() as u64) })
}

/// Where the cells are in its block, and how many slots it has: for who looks without taking part. None: it is no broadcast.
pub fn cells(spec: &Spec) -> Option<(u64, u64)> {
    layout(spec).map(|layout| (CELLS_AT, layout.shape.degree + 1))
}

/// Makes the block of a broadcast; gives its offset.
pub fn make(member: &Handle, name: &str, spec: &Spec) -> Result<u64, AttachError> {
    let layout = layout(spec).ok_or_else(|| AttachError::Impossible {
        name: name.to_owned(),
        why: format!(
            "{} messages of {} bytes and {} receivers: too many bytes, or no values of a fixed size",
            spec.degree, spec.message_bytes_max, spec.form.receivers
        ),
    })?;
    let segment = member.segment();
    let page = segment.page_bytes();
    if layout.align > page {
        return Err(AllocateError::Alignment { align: layout.align, page }.into());
    }
    let id = member.blocks.allocate(segment, layout.bytes, layout.align)?;
    let offset = segment.map().block(id);
    crate::message::bytes::zero(segment, offset, layout.slots_at);
    // The words, not the messages: memory that is never used is never touched.
    for slot in 0..=layout.shape.degree {
        let at = offset + layout.slots_at + slot * layout.shape.stride;
        crate::message::bytes::zero(segment, at, layout.shape.offset.min(64));
    }
    Ok(offset)
}

/// Does the block that the record names hold the broadcast?
pub fn lies_in_its_block(segment: &Segment, record: &Record, spec: &Spec) -> bool {
    let offset = record.ring.load(Relaxed);
    match (segment.map().locate(offset), layout(spec)) {
        (Some(id), Some(layout)) => layout.bytes <= id.bytes() && segment.map().block(id) == offset,
        _ => false,
    }
}

/// The broadcast of a channel, for as long as `member` is kept. None: it is none.
pub fn cast(member: &Member, record: &Record, spec: &Spec) -> Option<Cast<Native>> {
    let layout = layout(spec)?;
    let offset = record.ring.load(Relaxed);
    let block = member.segment().pointer(offset, layout.bytes).filter(|_| offset % layout.align == 0)?;
    // SAFETY: inside the block, which is as long (checked above) and stays the channel's while anybody holds an end; each
    // part is aligned, since the block and its place in it are.
    unsafe {
        let at = |at: u64| block.add(at as usize);
        let slots = Slots { ring: at(layout.slots_at), shape: layout.shape, platform: PhantomData };
        let (crowd, cells) = (at(CROWD_AT).cast(), at(CELLS_AT).cast());
        Some(Cast::new(
            block.cast(),
            crowd,
            cells,
            slots,
            spec.degree,
            spec.form.receivers.into(),
            spec.form.slow,
        ))
    }
}

/// The sender leaves, or died: ATTACHED => `into`, and the receivers that wait are told.
pub fn sender_goes(member: &Member, record: &Record, spec: &Spec, cast: &Cast<Native>, held: Word, into: u8) {
    if record.sender.detach(held, into) {
        tell_receivers(member, spec, cast);
    }
}

fn tell_receivers(member: &Member, spec: &Spec, cast: &Cast<Native>) {
    let crowd = cast.receivers();
    crowd.departed();
    crowd.wake(crowd.sleepers_after_rmw(), |side| wake(member, spec.method, side.pcb_ref()));
}

/// A receiver leaves, or died: ATTACHED => `into`, and the sender is told, which may wait for it.
pub fn receiver_goes(
    member: &Member,
    record: &Record,
    spec: &Spec,
    cast: &Cast<Native>,
    (side, held): (&Side, Word),
    into: u8,
) {
    if side.detach(held, into) {
        tell_sender(member, record, spec, cast);
    }
}

fn tell_sender(member: &Member, record: &Record, spec: &Spec, cast: &Cast<Native>) {
    // A read-modify-write, so that the sender sees the end word, or this sees that it sleeps (H2).
    if cast.head().sender_sleeps.fetch_or(0, AcqRel) != 0 {
        wake(member, spec.method, record.sender.pcb_ref());
    }
}

/// Settles the ends that the dead process in `slot` held; `still` as in `sweep::settle_ends`.
pub fn settle(member: &Member, record: &Record, spec: &Spec, slot: u16, still: impl Fn() -> bool) {
    let Some(cast) = cast(member, record, spec) else {
        return;
    };
    let dead = |end: Word| end.state() == ATTACHED && end.slot() == slot && still();
    let end = record.sender.end();
    if dead(end) {
        sender_goes(member, record, spec, &cast, end, DIED);
    }
    for seat in cast.receivers().seats() {
        let end = seat.side.end();
        if dead(end) {
            receiver_goes(member, record, spec, &cast, (&seat.side, end), DIED);
        }
    }
    // It may have died after it closed its end and before it said so.
    tell_receivers(member, spec, &cast);
    tell_sender(member, record, spec, &cast);
}
