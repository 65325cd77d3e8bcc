//! A service in the domain: where its crowds and lanes lie, and how its ends are taken, left and swept.
//!
//! ```text
//!   block of the channel: clients' crowd | servers' crowd
//!   block of a lane:      slots, found by word 0 of its client's seat; a slot: word, waiter, request, reply; `stride` bytes
//! ```
//!
//! A lane is made by the first client in its seat and stays with the channel. The protocol is `service.rs`; nothing here
//! changes a slot's word.

#![allow(unsafe_code)] // From offsets to the crowds and slots.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};

use super::attach::Found;
use super::crowd::{Crowd, Seat, SEATS_MAX};
use super::ground::{wake, Lender};
use super::heirs::take_seat;
use super::record::Record;
use super::service::{why, ClientSide, Place, Places, ServerSide, Service, Terms, SLOTS_MAX};
use super::side::{Side, ATTACHED, DIED, LEFT};
use super::spec::{Kind, Spec};
use super::waits::{Doing, Waits};
use crate::error::{AllocateError, AttachError};
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::platform::Native;
use crate::memory::segment::Segment;
use crate::memory::word::Word;

/// Most calls of one client that may be under way: half of the slots that a lane can have.
pub const CALLS_MAX: u64 = SLOTS_MAX / 2;
/// How many may be under way unless it is said.
pub const CALLS_DEFAULT: u64 = 8;
/// Word of a client's seat: offset of its lane.
const LANE: usize = 0;
const CROWD_BYTES: u64 = size_of::<Crowd>() as u64;
/// Before request and reply: the word, and who waits.
pub const HEAD_BYTES: u64 = 16;
/// Processors fetch lines in pairs.
const PAIR: u64 = 128;

/// Where a slot's parts are.
#[derive(Clone, Copy)]
struct Layout {
    body: u64,
    stride: u64,
    slots: u64,
}

/// What the service of a channel is. None: it is none, or it overflows.
fn terms(spec: &Spec) -> Option<(Terms, Layout)> {
    let (calls, servers) = (spec.degree, u64::from(spec.form.receivers));
    if spec.kind != Kind::Service || !(1..=CALLS_MAX).contains(&calls) {
        return None;
    }
    // As many again for what was given up, or as there may be servers that are stopped with one in hand.
    let slots = (calls + calls.max(servers)).min(SLOTS_MAX);
    let body = spec.schema.align().max(HEAD_BYTES);
    let stride = body.checked_add(spec.message_bytes_max)?.checked_next_multiple_of(body.max(PAIR))?;
    stride.checked_mul(slots)?;
    let keeps = spec.continuation.keeps();
    let exclusive = servers == 1 && !keeps;
    let terms = Terms { calls: calls as u32, slots: slots as usize, exclusive, keeps };
    Some((terms, Layout { body, stride, slots }))
}

/// From each slot of a lane to the next, and how many there are: for who looks without taking part. None: it is no service.
pub fn lane_shape(spec: &Spec) -> Option<(u64, u64)> {
    terms(spec).map(|(_, layout)| (layout.stride, layout.slots))
}

/// The lanes of a service in the domain; `M` keeps the window mapped.
pub struct DomainPlaces<M> {
    /// Where they are in this process, once that was looked up: a lane stays where it is.
    known: [AtomicPtr<u8>; SEATS_MAX],
    member: M,
    clients: NonNull<Crowd>,
    layout: Layout,
}

// SAFETY: the crowd consists of atomics.
unsafe impl<M: Send> Send for DomainPlaces<M> {}
// SAFETY: as above.
unsafe impl<M: Sync> Sync for DomainPlaces<M> {}

impl<M: Deref<Target = Member>> Places<Native> for DomainPlaces<M> {
    #[inline(always)]
    fn place(&self, lane: usize, slot: usize) -> Option<Place<'_, Native>> {
        // Relaxed: it was looked up by this very end.
        let known = NonNull::new(self.known[lane % SEATS_MAX].load(Relaxed));
        let first = known.or_else(|| self.look_up(lane))?;
        if slot as u64 >= self.layout.slots {
            return None;
        }
        // SAFETY: inside the lane, whose length was checked; the member keeps it mapped; a slot begins with its two words.
        unsafe {
            let at = first.add(slot * self.layout.stride as usize);
            let body = at.add(self.layout.body as usize).as_ptr();
            let words = at.cast::<AtomicU64>();
            Some(Place { word: words.as_ref(), waiter: words.add(1).as_ref(), body })
        }
    }
}

impl<M: Deref<Target = Member>> DomainPlaces<M> {
    #[cold]
    #[inline(never)]
    fn look_up(&self, lane: usize) -> Option<NonNull<u8>> {
        // SAFETY: the member keeps the window mapped.
        let clients = unsafe { self.clients.as_ref() };
        // Acquire: pairs with `make_lane`: its words are zero.
        let offset = clients.seat(lane).words[LANE].load(Acquire);
        if offset == 0 || offset % self.layout.body.max(64) != 0 {
            return None;
        }
        let first = self.member.segment().pointer(offset, self.layout.stride * self.layout.slots)?;
        self.known[lane % SEATS_MAX].store(first.as_ptr(), Relaxed);
        Some(first)
    }
}

/// A service of the domain.
pub type DomainService<M> = Service<Native, DomainPlaces<M>>;

/// The service of a channel. None: it has none.
pub fn service<M: Deref<Target = Member>>(
    member: M,
    record: &Record,
    spec: &Spec,
) -> Option<DomainService<M>> {
    let (terms, layout) = terms(spec)?;
    let offset = record.ring.load(Relaxed);
    let block = member.segment().pointer(offset, 2 * CROWD_BYTES).filter(|_| offset % 256 == 0)?;
    let clients = block.cast::<Crowd>();
    // SAFETY: inside the block.
    let servers = unsafe { block.add(size_of::<Crowd>()) }.cast::<Crowd>();
    let known = std::array::from_fn(|_| AtomicPtr::default());
    let places = DomainPlaces { known, member, clients, layout };
    // SAFETY: the block holds two crowds (checked above), and stays the channel's; the member, which the places hold, keeps
    // it mapped.
    Some(unsafe { Service::new(clients, servers, terms, places) })
}

/// Makes the block of a service; gives its offset.
pub fn make(member: &Handle, name: &str, spec: &Spec) -> Result<u64, AttachError> {
    if terms(spec).is_none() {
        let (calls, bytes) = (spec.degree, spec.message_bytes_max);
        let why = format!(
            "{calls} calls of a client under way, of {bytes} bytes each: 1 to {CALLS_MAX} calls are possible, and \
             fewer bytes"
        );
        return Err(AttachError::Impossible { name: name.to_owned(), why });
    }
    let segment = member.segment();
    let (align, page) = (spec.schema.align(), segment.page_bytes());
    if align > page {
        return Err(AllocateError::Alignment { align, page }.into());
    }
    let id = member.blocks.allocate(segment, 2 * CROWD_BYTES, 256)?;
    let offset = segment.map().block(id);
    crate::message::bytes::zero(segment, offset, 2 * CROWD_BYTES);
    Ok(offset)
}

/// Does the block that the record names hold the service?
pub fn lies_in_its_block(segment: &Segment, record: &Record, spec: &Spec) -> bool {
    let offset = record.ring.load(Relaxed);
    // Ends hand out a whole message of the type in each slot.
    let whole = spec.schema.is_sized() && spec.message_bytes_max == spec.schema.size();
    let id = segment.map().locate(offset);
    whole
        && terms(spec).is_some()
        && id.is_some_and(|id| 2 * CROWD_BYTES <= id.bytes() && segment.map().block(id) == offset)
}

/// Makes the lane of a seat, unless it has one.
fn make_lane(member: &Member, seat: &Seat, layout: &Layout) -> Result<(), AttachError> {
    if seat.words[LANE].load(Acquire) != 0 {
        return Ok(());
    }
    let segment = member.segment();
    let id = member.blocks.allocate(segment, layout.stride * layout.slots, layout.body.max(PAIR))?;
    let offset = segment.map().block(id);
    // The words, not the messages: memory that is never used is never touched.
    for slot in 0..layout.slots {
        crate::message::bytes::zero(segment, offset + slot * layout.stride, HEAD_BYTES);
    }
    // Named first: who is killed in between is asked what its seat names (`attach::settle_places`).
    seat.words[LANE].store(offset, Release);
    member.blocks.give_to_channel(segment, id);
    Ok(())
}

/// What an end remembers of the protocol.
pub enum DeskSide {
    /// It calls.
    Client(ClientSide),
    /// It answers.
    Server(ServerSide),
}

/// One end of a service, without its types.
pub struct Desk {
    pub member: Handle,
    pub service: DomainService<Handle>,
    pub side: DeskSide,
    pub spec: Spec,
    /// The index of the channel's record.
    pub index: usize,
    seat: usize,
    held: Word,
    /// What it waits for, when it does.
    pub waits: Waits,
    /// What the ground of an end has; nobody lends anything here.
    pub lender: Cell<Option<Lender>>,
}

impl Desk {
    /// Takes a seat.
    pub fn attach(member: &Handle, name: &str, found: &Found, is_client: bool) -> Result<Desk, AttachError> {
        let segment = member.segment();
        let (record, spec) = (segment.channel(found.index), found.spec.clone());
        let impossible =
            || AttachError::Impossible { name: name.to_owned(), why: "its record is corrupt".to_owned() };
        let service = service(member.clone(), record, &spec).ok_or_else(impossible)?;
        let (crowd, many, side) = if is_client {
            (service.clients(), spec.form.senders, "client")
        } else {
            (service.servers(), spec.form.receivers, "server")
        };
        let taken = take_seat(member, &spec, crowd, many.into());
        let (seat, held) = taken.map_err(|_| AttachError::EndsTaken { name: name.to_owned(), side, many })?;
        if is_client {
            let (_, layout) = terms(&spec).ok_or_else(impossible)?;
            if let Err(why) = make_lane(member, crowd.seat(seat), &layout) {
                leave(member, &spec, &service, true, seat, held, LEFT);
                return Err(why);
            }
        }
        let wake = |waiter: u64| wake(member, spec.method, waiter);
        let side = if is_client {
            DeskSide::Client(service.enter_client(seat))
        } else {
            DeskSide::Server(service.enter_server(seat, held.sequence(), wake))
        };
        let doing = if is_client { Doing::Call } else { Doing::Serve };
        Ok(Desk {
            member: member.clone(),
            service,
            side,
            spec,
            index: found.index,
            seat,
            held,
            waits: Waits::of_end(doing, found.index, seat),
            lender: Cell::new(None),
        })
    }

    pub fn is_client(&self) -> bool {
        matches!(self.side, DeskSide::Client(_))
    }

    /// This end's seat.
    #[inline(always)]
    pub fn seat(&self) -> &Seat {
        let service = &self.service;
        if self.is_client() { service.clients() } else { service.servers() }.seat(self.seat)
    }

    /// The other ends.
    pub fn others(&self) -> &Crowd {
        if self.is_client() {
            self.service.servers()
        } else {
            self.service.clients()
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if self.member.here() {
            let is_client = self.is_client();
            leave(&self.member, &self.spec, &self.service, is_client, self.seat, self.held, LEFT);
        }
    }
}

/// Settles what the end has in its lane or hand; then ATTACHED => `into`, and everybody who waits is told.
fn leave(
    member: &Member,
    spec: &Spec,
    service: &DomainService<impl Deref<Target = Member>>,
    is_client: bool,
    seat: usize,
    held: Word,
    into: u8,
) {
    let wake = |waiter: u64| wake(member, spec.method, waiter);
    let crowd = if is_client { service.clients() } else { service.servers() };
    let side = &crowd.seat(seat).side;
    let still = || side.end().awake() == held.awake();
    if is_client {
        service.settle_client(seat, still);
    } else {
        service.settle_server(seat, if into == DIED { why::DIED } else { why::LEFT }, still, wake);
        if service.terms().keeps {
            // What it had in hand waits again, for the others.
            let servers = service.servers();
            servers.wake(servers.sleepers_after_rmw(), |side: &Side| wake(side.pcb_ref()));
        }
    }
    if side.detach(held, into) {
        tell(service, is_client, wake);
    }
}

fn tell(service: &DomainService<impl Deref<Target = Member>>, is_client: bool, wake: impl Fn(u64)) {
    if is_client {
        service.clients().departed();
        let servers = service.servers();
        servers.wake(servers.sleepers_after_rmw(), |side: &Side| wake(side.pcb_ref()));
    } else {
        service.servers().departed();
        service.tell_clients(wake);
    }
}

/// Settles what the dead process in `slot` held of a service.
pub fn settle(member: &Member, record: &Record, spec: &Spec, slot: u16, still: impl Fn() -> bool) {
    let Some(service) = service(member, record, spec) else {
        return;
    };
    for (crowd, is_client) in [(service.clients(), true), (service.servers(), false)] {
        for (number, seat) in crowd.seats().iter().enumerate() {
            let end = seat.side.end();
            if end.state() == ATTACHED && end.slot() == slot && still() {
                if spec.continuation.waits() {
                    crate::succession::open(member.segment(), slot, &still);
                }
                leave(member, spec, &service, is_client, number, end, DIED);
            }
        }
    }
    // It may have died after it closed its end and before it said so (crowd.rs, D4), and so may another sweeper.
    let wake = |waiter: u64| wake(member, spec.method, waiter);
    tell(&service, true, wake);
    tell(&service, false, wake);
}
