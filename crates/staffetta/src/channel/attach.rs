//! Finding or making a channel by its name.
//!
//! Names live in hash buckets: each a list of records, pushed by one compare-exchange. A record is filled in before it is
//! pushed (record.rs, C1), and whoever loses the push looks again at what was pushed meanwhile: so two
//! processes that open the same name at the same time, in any order, get the same record, and one that
//! stops in the middle delays nobody.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::Arc;

use super::broadcast::place;
use super::continuation::Continuation;
use super::desk;
use super::form::{Form, Overflow};
use super::many;
use super::record::{self, state, Record, NAME_BYTES_MAX};
use super::schemas::{self, read_schema};
use super::spec::{Content, Kind, Spec, DEGREE_MAX};
use crate::enclosure::contents::Loose;
use crate::enclosure::table;
use crate::error::{AllocateError, AttachError};
use crate::handle::Handle;
use crate::member::{write_text, Member};
use crate::memory::blocks::Blocks;
use crate::memory::map::{BUCKETS, CHANNELS_MAX, ENTRIES_MAX};
use crate::memory::platform::{Native, Platform};
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::message::Schema;
use crate::reference::Method;

/// What an end asks for; None: whatever is there, or the default.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Kind.
    pub kind: Option<Kind>,
    /// Degree of a channel with a buffer.
    pub degree: Option<u64>,
    /// Its ends.
    pub form: Option<Form>,
    /// What a death means to it.
    pub continuation: Option<Continuation>,
    /// Reference method.
    pub method: Option<Method>,
    /// Longest message of a basic channel.
    pub message_bytes_max: Option<u64>,
    /// How messages travel.
    pub content: Content,
    /// The messages' layout.
    pub schema: Schema,
}

/// Longest message of a basic channel of variable length, unless said otherwise.
const MESSAGE_BYTES_MAX_DEFAULT: u64 = 1 << 20;

/// A channel that this process has found.
#[derive(Clone)]
pub struct Found {
    /// Index of its record.
    pub index: usize,
    /// What it is.
    pub spec: Spec,
    /// Of a channel without a name: what its ends share.
    pub unnamed: Option<Arc<Unnamed>>,
}

/// This process's hold of a channel without a name. All its ends here share it: when the last one has left, and has told
/// whoever waited, this process has nothing to do with the channel's memory any more. The end words cannot say so: an end that
/// has left there still has to tell.
pub struct Unnamed {
    member: Handle,
    index: usize,
    /// The entry that says so to everybody (`enclosure`, N3).
    hold: table::Hold,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.member.here() {
            return;
        }
        {
            let mut known = self.member.unnamed.lock().unwrap_or_else(|e| e.into_inner());
            if known.get(&self.index).is_some_and(|other| other.strong_count() == 0) {
                known.remove(&self.index);
            }
        }
        self.hold.free(&self.member);
        Loose { channels: vec![self.index], ..Loose::default() }.give_back(&self.member);
    }
}

/// This process's hold of the channel without a name in record `index`, which somebody keeps in use meanwhile. None: it is no
/// such channel, or no entry is free.
pub fn hold(member: &Handle, index: usize) -> Option<Arc<Unnamed>> {
    let known = |index| {
        let known = member.unnamed.lock().unwrap_or_else(|e| e.into_inner());
        known.get(&index).and_then(std::sync::Weak::upgrade)
    };
    if let Some(unnamed) = known(index) {
        return Some(unnamed);
    }
    let hold = take_hold(member, index)?;
    let unnamed = Arc::new(Unnamed { member: member.clone(), index, hold });
    let mut known = member.unnamed.lock().unwrap_or_else(|e| e.into_inner());
    known.insert(index, Arc::downgrade(&unnamed));
    Some(unnamed)
}

/// The same, for who shares it with nobody.
pub fn take_hold(member: &Member, index: usize) -> Option<table::Hold> {
    let hold = table::Hold::make(member, index)?;
    // After the hold, before an end is taken: who looked for entries before does not take the channel back.
    if !record::came(&member.segment().channel(index).state) {
        hold.free(member);
        // Whoever takes the channel back may have seen our hold, and left the rest to us (`finish_unmaking`).
        Loose { channels: vec![index], ..Loose::default() }.give_back(member);
        return None;
    }
    Some(hold)
}

/// The channel in record `index`, of which an end lies in a message that this process holds, if it is of what `wish` says.
pub fn find_enclosed(
    member: &Handle,
    index: usize,
    wish: impl FnOnce(&Spec) -> Wish,
) -> Result<Found, AttachError> {
    let segment = member.segment();
    let record = segment.channel(index);
    let name = record.name();
    let spec = read_spec(segment, index).ok_or_else(|| impossible(&name, "its record is corrupt"))?;
    check_wish(&name, &spec, &wish(&spec))?;
    check_method(member, &name, spec.method)?;
    let unnamed = match Word(record.state.load(Acquire)).state() {
        state::UNNAMED => {
            Some(hold(member, index).ok_or(AttachError::TooManyEntries { entries: ENTRIES_MAX })?)
        }
        _ => None,
    };
    Ok(Found { index, spec, unnamed })
}

/// Finds the channel `name`, or makes it as `wish` says.
pub fn find_or_make(member: &Handle, name: &str, wish: &Wish) -> Result<Found, AttachError> {
    check_name(name)?;
    check_degree(name, wish)?;
    let segment = member.segment();
    let bucket = segment.bucket(bucket_of(name));
    let mut made: Option<usize> = None;
    loop {
        let head = bucket.load(Acquire);
        if let Some(index) = look_up(segment, head, name) {
            if let Some(unused) = made {
                unmake(member, unused);
            }
            is_named(segment, index);
            let spec = read_spec(segment, index).ok_or_else(|| impossible(name, "its record is corrupt"))?;
            check_wish(name, &spec, wish)?;
            check_method(member, name, spec.method)?;
            return Ok(Found { index, spec, unnamed: None });
        }
        let index = match made {
            Some(index) => index,
            None => make(member, name, wish)?,
        };
        made = Some(index);
        let record = segment.channel(index);
        record.next.store(head, Relaxed);
        // Release: publishes the record (C1).
        if bucket.compare_exchange(head, index as u64 + 1, Release, Relaxed).is_ok() {
            stop::here("make: published");
            is_named(segment, index);
            let spec = read_spec(segment, index).ok_or_else(|| impossible(name, "its record is corrupt"))?;
            return Ok(Found { index, spec, unnamed: None });
        }
    }
}

/// Finds the channel `name`, whatever its messages are, if it is as `wish` says of what it is.
pub fn find(member: &Handle, name: &str, wish: impl FnOnce(&Spec) -> Wish) -> Result<Found, AttachError> {
    check_name(name)?;
    let segment = member.segment();
    let head = segment.bucket(bucket_of(name)).load(Acquire);
    let Some(index) = look_up(segment, head, name) else {
        return Err(AttachError::NoChannel { name: name.to_owned(), known: names(segment) });
    };
    let spec = read_spec(segment, index).ok_or_else(|| impossible(name, "its record is corrupt"))?;
    check_wish(name, &spec, &wish(&spec))?;
    check_method(member, name, spec.method)?;
    Ok(Found { index, spec, unnamed: None })
}

/// The names of all channels that have one, in order.
fn names(segment: &Segment) -> Vec<String> {
    let used = segment.header().channels.load(Acquire).min(CHANNELS_MAX as u64) as usize;
    let named = |record: &&Record| Word(record.state.load(Acquire)).state() == state::NAMED;
    let mut names: Vec<_> = (0..used).map(|i| segment.channel(i)).filter(named).map(Record::name).collect();
    names.sort();
    names
}

/// Makes a channel without a name.
pub fn make_unnamed(member: &Handle, wish: &Wish) -> Result<Found, AttachError> {
    check_degree("", wish)?;
    let index = make(member, "", wish)?;
    let segment = member.segment();
    let Some(hold) = table::Hold::make(member, index) else {
        unmake(member, index);
        return Err(AttachError::TooManyEntries { entries: ENTRIES_MAX });
    };
    stop::here("make: held");
    let state = &segment.channel(index).state;
    state.store(Word(state.load(Relaxed)).with_state(state::UNNAMED).0, Release);
    stop::here("make: unnamed");
    // From here on whatever fails gives it back.
    let unnamed = Arc::new(Unnamed { member: member.clone(), index, hold });
    {
        let mut known = member.unnamed.lock().unwrap_or_else(|e| e.into_inner());
        known.insert(index, Arc::downgrade(&unnamed));
    }
    let unnamed = Some(unnamed);
    let spec = read_spec(segment, index).ok_or_else(|| impossible("", "its record is corrupt"))?;
    Ok(Found { index, spec, unnamed })
}

/// The record is in its bucket: whoever attaches sees to it that sweepers look at it, also if who made it was killed before
/// it could say so. Not before: one that is not published may be taken back at any moment.
fn is_named(segment: &Segment, index: usize) {
    let state = &segment.channel(index).state;
    let now = Word(state.load(Relaxed));
    if now.state() == state::BUILDING {
        // It fails if another one has said so.
        let _ = state.compare_exchange(now.0, now.with_state(state::NAMED).0, AcqRel, Relaxed);
    }
}

fn impossible(name: &str, why: impl Into<String>) -> AttachError {
    AttachError::Impossible { name: name.to_owned(), why: why.into() }
}

fn check_name(name: &str) -> Result<(), AttachError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 128 bytes"
    } else if name.contains('\0') {
        "it contains a NUL"
    } else {
        return Ok(());
    };
    Err(AttachError::Name { name: name.to_owned(), why })
}

fn check_degree(name: &str, wish: &Wish) -> Result<(), AttachError> {
    if let Some(form) = wish.form.filter(|form| Form::from_code(form.code()).is_none()) {
        let why = format!(
            "it is to have {} senders and {} receivers; 1 to 64 of each are possible",
            form.senders, form.receivers
        );
        return Err(impossible(name, why));
    }
    let drops_own = |form: Form| form.per_sender && form.overflow == Overflow::DropOldest;
    if wish.form.is_some_and(|form| drops_own(form) && form.senders > 1) {
        let why = "a sender of many_to_one cannot drop its own oldest message before those of others: \
                   use bounded(degree), Overflow::DropNewest, or senders(1)";
        return Err(impossible(name, why));
    }
    match (wish.kind, wish.degree) {
        (Some(kind @ (Kind::Buffered | Kind::Queue | Kind::Broadcast)), Some(degree))
            if !(1..=DEGREE_MAX).contains(&degree) =>
        {
            Err(AttachError::Degree { name: name.to_owned(), kind, degree, degree_max: DEGREE_MAX })
        }
        _ => Ok(()),
    }
}

/// FNV-1a: the same in every process.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The bucket of a name.
pub fn bucket_of(name: &str) -> usize {
    hash(name) as usize % BUCKETS
}

fn look_up(segment: &Segment, mut link: u64, name: &str) -> Option<usize> {
    // A list longer than all records is a wreck.
    for _ in 0..CHANNELS_MAX {
        let index = usize::try_from(link.checked_sub(1)?).ok().filter(|i| *i < CHANNELS_MAX)?;
        let record = segment.channel(index);
        if record.name() == name {
            return Some(index);
        }
        link = record.next.load(Relaxed);
    }
    None
}

fn check_wish(name: &str, there: &Spec, wish: &Wish) -> Result<(), AttachError> {
    let differs = |asked: Option<u64>, is: u64| asked.is_some_and(|a| a != is);
    let what = if there.content != wish.content || there.schema != wish.schema {
        "the messages differ"
    } else if wish.kind.is_some_and(|kind| kind != there.kind) {
        "the kinds differ"
    } else if differs(wish.degree, there.degree) {
        "the degrees differ"
    } else if wish.form.is_some_and(|form| form != there.form) {
        "the forms differ"
    } else if wish.continuation.is_some_and(|continuation| continuation != there.continuation) {
        "the continuations differ"
    } else if wish.method.is_some_and(|method| method != there.method) {
        "the reference methods differ"
    } else if differs(wish.message_bytes_max, there.message_bytes_max) {
        "the longest messages differ"
    } else {
        return Ok(());
    };
    let here = Spec {
        kind: wish.kind.unwrap_or(there.kind),
        degree: wish.degree.unwrap_or(there.degree),
        form: wish.form.unwrap_or(there.form),
        continuation: wish.continuation.unwrap_or(there.continuation),
        method: wish.method.unwrap_or(there.method),
        content: wish.content,
        message_bytes_max: wish.message_bytes_max.unwrap_or(there.message_bytes_max),
        schema: wish.schema.clone(),
    };
    let difference =
        wish.schema.difference(&there.schema).map(|d| format!("\n  first difference (here, there): {d}"));
    Err(AttachError::Mismatch {
        name: name.to_owned(),
        what,
        there: there.to_string(),
        here: here.to_string(),
        difference: difference.unwrap_or_default(),
    })
}

fn check_method(member: &Member, name: &str, method: Method) -> Result<(), AttachError> {
    if method == Method::Coinciding && !member.refs.coincide() {
        return Err(AttachError::AddressesDiffer { name: name.to_owned() });
    }
    Ok(())
}

/// Fills in a record that nobody else knows yet.
fn make(member: &Handle, name: &str, wish: &Wish) -> Result<usize, AttachError> {
    let spec = spec_of_wish(member, name, wish)?;
    check_method(member, name, spec.method)?;
    let segment = member.segment();
    let too_many = || AttachError::TooManyChannels { channels: CHANNELS_MAX };
    let ring = match spec.kind {
        Kind::Rendezvous => 0,
        Kind::Basic | Kind::Buffered => make_ring(member, name, &spec)?,
        Kind::Queue => many::make(member, name, &spec)?,
        Kind::Broadcast | Kind::Latest => place::make(member, name, &spec)?,
        Kind::Service => desk::make(member, name, &spec)?,
    };
    stop::here("make: ring allocated");
    let place = schemas::intern(segment, (member.slot, member.generation), &spec.schema)
        .and_then(|schema| Some((schema, claim_record(member)?)));
    let Some((schema, index)) = place else {
        if let Some(id) = segment.map().locate(ring).filter(|_| ring != 0) {
            member.blocks.free(segment, id);
        }
        return Err(too_many());
    };
    let record = segment.channel(index);
    record.kind.store(
        u64::from(spec.kind.code())
            | u64::from(spec.method.code()) << 8
            | u64::from(spec.content.code()) << 16
            | u64::from(spec.continuation.code()) << 24,
        Relaxed,
    );
    record.degree.store(spec.degree, Relaxed);
    record.message_bytes_max.store(spec.message_bytes_max, Relaxed);
    record.fingerprint.store(spec.schema.fingerprint(), Relaxed);
    record.schema.store(schema, Relaxed);
    record.form.store(spec.form.code(), Relaxed);
    record.ring.store(ring, Relaxed);
    stop::here("make: ring named");
    if let Some(id) = segment.map().locate(ring).filter(|_| ring != 0) {
        // After the record names it: until then it is this process's, and comes free with it (`settle_places`).
        member.blocks.give_to_channel(segment, id);
    }
    record.lost.store(0, Relaxed);
    record.returned.store(0, Relaxed);
    record.head.store(0, Relaxed);
    record.tail.store(0, Relaxed);
    record.sender_tally.reset();
    record.receiver_tally.reset();
    record.name_len.store(name.len() as u64, Relaxed);
    write_text(&record.name, name);
    stop::here("make: made");
    Ok(index)
}

fn spec_of_wish(member: &Member, name: &str, wish: &Wish) -> Result<Spec, AttachError> {
    let kind = wish.kind.unwrap_or(Kind::Rendezvous);
    let coincide = if member.refs.coincide() { Method::Coinciding } else { Method::Distinct };
    let (degree, form) = match kind {
        Kind::Broadcast => (place::DEGREE, place::FORM),
        Kind::Latest => (1, place::LATEST_FORM),
        Kind::Service => (desk::CALLS_DEFAULT, Form::SERVICE),
        _ => (0, Form::SYMMETRIC),
    };
    let degree = wish.degree.unwrap_or(degree);
    if degree > DEGREE_MAX {
        return Err(impossible(name, format!("a degree of {degree} is more than {DEGREE_MAX}")));
    }
    let message_bytes_max = match (kind, wish.content, wish.schema.is_sized()) {
        (Kind::Rendezvous, ..) => 0,
        (_, Content::Parcel, _) => size_of::<super::line::Reference3>() as u64,
        (_, Content::Value, true) => wish.schema.size(),
        (_, Content::Value, false) => wish.message_bytes_max.unwrap_or(MESSAGE_BYTES_MAX_DEFAULT),
    };
    let spec = Spec {
        kind,
        degree,
        form: wish.form.unwrap_or(form),
        continuation: wish.continuation.unwrap_or_default(),
        method: wish.method.unwrap_or(coincide),
        content: wish.content,
        message_bytes_max,
        schema: wish.schema.clone(),
    };
    check_continuation(name, &spec)?;
    Ok(spec)
}

/// Not every channel can go on after a death.
fn check_continuation(name: &str, spec: &Spec) -> Result<(), AttachError> {
    let why = match (spec.continuation, spec.kind) {
        (Continuation::Disconnect, _) => return Ok(()),
        (_, Kind::Broadcast | Kind::Latest) => {
            format!("a {} has only Continuation::Disconnect: its receivers come and go by themselves", spec.kind)
        }
        (Continuation::ReturnToSender, Kind::Service) => {
            "a service has no ReturnToSender: a client is told by its call, and may ask again".to_owned()
        }
        _ if name.is_empty() => {
            "a channel without a name has only Continuation::Disconnect: nobody can come to it by name".to_owned()
        }
        _ if spec.content == Content::Parcel && spec.method == Method::Capability => {
            "parcels in memory files of their own are not kept for a successor: use another reference method, or \
             Continuation::Disconnect"
                .to_owned()
        }
        _ => return Ok(()),
    };
    Err(impossible(name, why))
}

fn make_ring(member: &Handle, name: &str, spec: &Spec) -> Result<u64, AttachError> {
    let shape = spec.shape().ok_or_else(|| impossible(name, "degree times message size overflows"))?;
    let bytes = shape.bytes();
    let segment = member.segment();
    // Whole pages of the window are aligned alike in every process, and no more than that.
    let (align, page) = (spec.schema.align(), segment.page_bytes());
    if spec.kind == Kind::Buffered && align > page {
        return Err(AllocateError::Alignment { align, page }.into());
    }
    let id = member.blocks.allocate(segment, bytes, align.clamp(64, page.max(64)))?;
    let offset = segment.map().block(id);
    crate::message::bytes::zero(segment, offset, bytes);
    Ok(offset)
}

fn claim_record(member: &Member) -> Option<usize> {
    let segment = member.segment();
    let claim = |index: usize| {
        let state = &segment.channel(index).state;
        let now = Word(state.load(Relaxed));
        let mine = Word::new(state::BUILDING, member.slot, now.sequence());
        now.state() == state::FREE && state.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok()
    };
    let used = segment.header().channels.load(Relaxed).min(CHANNELS_MAX as u64) as usize;
    // Records of unnamed channels come free; named ones stay with the domain.
    let raise = |index: usize| {
        if index >= used {
            // Before it is claimed: whoever is killed then is swept up to there.
            segment.header().channels.fetch_max(index as u64 + 1, AcqRel);
        }
        index
    };
    (0..CHANNELS_MAX).map(raise).find(|&index| claim(index)).inspect(|_| stop::here("record: claimed"))
}

/// Whoever was about to take back a channel without a name died, or was still making a channel: it is taken back. Several
/// may try at once: one does it.
pub fn unmake_of_dead(member: &Member, index: usize, slot: u16, still: impl Fn() -> bool, loose: &mut Loose) {
    let segment = member.segment();
    let state = &segment.channel(index).state;
    let now = Word(state.load(Acquire));
    let its = matches!(now.state(), state::UNMAKING | state::BUILDING) && now.slot() == slot;
    if !its || !still() {
        return;
    }
    if now.state() == state::BUILDING && is_published(segment, index) {
        is_named(segment, index);
        return;
    }
    settle_places(segment, index, slot, || Word(state.load(Acquire)) == now && still());
    let mine = now.with_state(state::UNMAKING).with_slot(member.slot);
    if state.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok() {
        unmake_into(member, index, loose);
    }
}

/// Is the record in any bucket? Of one whose maker is dead: it stays so.
fn is_published(segment: &Segment, index: usize) -> bool {
    let reaches = |bucket: usize| {
        let mut link = segment.bucket(bucket).load(Acquire);
        // A list longer than all records is a wreck.
        for _ in 0..CHANNELS_MAX {
            match usize::try_from(link.wrapping_sub(1)).ok().filter(|at| *at < CHANNELS_MAX) {
                Some(at) if at == index => return true,
                Some(at) => link = segment.channel(at).next.load(Relaxed),
                None => return false,
            }
        }
        false
    };
    (0..BUCKETS).any(reaches)
}

/// The blocks that a record names are the channel's, also if the dead process in `slot` was about to say so, or to take them
/// back: OWNED(the dead one) => CHANNEL. Before its blocks come free.
pub fn settle_places(segment: &Segment, index: usize, slot: u16, still: impl Fn() -> bool) {
    let record = segment.channel(index);
    let own = [record.ring.load(Acquire), record.sender.staging(0), record.sender.staging(1)];
    let settle = |offset: u64| {
        if let Some(id) = segment.map().locate(offset).filter(|_| offset != 0) {
            Blocks::settle_channel(segment, id, slot, &still);
        }
    };
    // The ring first: the lanes are named in it.
    own.into_iter().for_each(settle);
    many::lanes(segment, record).for_each(|lane| settle(lane.load(Acquire)));
}

/// UNMAKING(nobody) => UNMAKING(this process), which is to finish it: no entry names the channel any more.
pub fn resume_unmaking(member: &Member, index: usize) -> bool {
    let state = &member.segment().channel(index).state;
    let now = Word(state.load(Acquire));
    now.state() == state::UNMAKING
        && now.slot() == IN_MESSAGE
        && state.compare_exchange(now.0, now.with_slot(member.slot).0, AcqRel, Relaxed).is_ok()
}

/// UNNAMED => UNMAKING, and takes it back, if nobody came since its state word was `seen`: who looked after that, and found
/// no entry of it, has it alone (`enclosure`, N3). The parcels that wait in it come loose.
pub fn unmake_unnamed(member: &Member, index: usize, seen: Word, loose: &mut Loose) {
    if record::begin_unmaking(&member.segment().channel(index).state, seen, member.slot) {
        unmake_into(member, index, loose);
    }
}

/// Takes back a record that was never published.
fn unmake(member: &Member, index: usize) {
    let mut loose = Loose::default();
    unmake_into(member, index, &mut loose);
    loose.give_back(member);
}

/// Takes back a record that was never published, or an unnamed one that nobody reaches any more. The caller alone has it.
fn unmake_into(member: &Member, index: usize, loose: &mut Loose) {
    stop::here("unmake: begun");
    super::sweep::discard_buffered(member, index, loose);
    loose.unmaking.push(index);
}

/// The second half: the parcels that waited there are empty. If another sweeper still has one of them in hand, an end of this
/// channel may lie there: then it is for whoever gives that end back (`resume_unmaking`).
pub fn finish_unmaking(member: &Member, all: Vec<usize>) {
    // For all of them at once. Of a channel that is taken back no entry is made any more.
    let of = all.iter().copied().collect();
    let segment = member.segment();
    let entries = || table::all(segment).map(|(_, entry)| entry);
    let named = if all.is_empty() { Default::default() } else { table::usages(entries, &of) };
    all.into_iter().for_each(|index| finish_one(member, index, named.contains_key(&index)));
}

fn finish_one(member: &Member, index: usize, is_named: bool) {
    let segment = member.segment();
    let record = segment.channel(index);
    let named =
        || table::usage(|| table::all(segment).map(|(_, entry)| entry), index) != table::Usage::Nobody;
    if is_named {
        let now = Word(record.state.load(Relaxed));
        record.state.swap(now.with_state(state::UNMAKING).with_slot(IN_MESSAGE).0, AcqRel);
        // Of two, the later sees what the earlier did, as in `enclosure::collect`, T3.
        Native::fence_after_rmw();
        if named() || !resume_unmaking(member, index) {
            return;
        }
    }
    many::unmake(member, record);
    // First it is this process's, then the record does not name it any more: whoever is killed in between has it still
    // (`settle_places`).
    let give_back = |offset: u64, forget: &dyn Fn()| {
        let id = segment.map().locate(offset).filter(|_| offset != 0);
        if let Some(id) = id.filter(|id| member.blocks.take_from_channel(segment, *id)) {
            stop::here("unmake: block taken");
            forget();
            stop::here("unmake: block forgotten");
            member.blocks.free(segment, id);
        } else {
            forget();
        }
    };
    give_back(record.ring.load(Relaxed), &|| record.ring.store(0, Release));
    for parity in 0..2 {
        give_back(record.sender.staging(parity), &|| record.sender.set_staging(parity, 0));
    }
    record.name_len.store(0, Relaxed);
    let generation = Word(record.state.load(Relaxed)).sequence();
    record.state.store(Word::new(state::FREE, 0, generation + 1).0, Release);
}

/// Reads what a record says; None if it makes no sense.
pub fn read_spec(segment: &Segment, index: usize) -> Option<Spec> {
    read_spec_again(segment, index, &mut HashMap::new())
}

/// The same, for who reads many: `known` has the schemas that were read before, by their place.
pub fn read_spec_again(
    segment: &Segment,
    index: usize,
    known: &mut HashMap<u64, Option<Schema>>,
) -> Option<Spec> {
    let record = segment.channel(index);
    let at = record.schema.load(Relaxed);
    let schema = known.entry(at).or_insert_with(|| read_schema(segment, at)).clone()?;
    let spec = spec_of(record, schema)?;
    lies_well(segment, record, &spec).then_some(spec)
}

/// Do its parts lie in blocks that hold them?
fn lies_well(segment: &Segment, record: &Record, spec: &Spec) -> bool {
    match spec.kind {
        Kind::Rendezvous => true,
        Kind::Basic | Kind::Buffered => ring_lies_in_its_block(segment, record, spec),
        Kind::Queue => many::lies_in_its_block(segment, record, spec),
        Kind::Broadcast | Kind::Latest => place::lies_in_its_block(segment, record, spec),
        Kind::Service => desk::lies_in_its_block(segment, record, spec),
    }
}

/// What the record of a channel of parcels says, but for its messages' layout: `discard_buffered` and the like need no more.
/// None: it is none, or makes no sense.
pub fn read_spec_of_parcels(segment: &Segment, index: usize) -> Option<Spec> {
    let record = segment.channel(index);
    let any = <u8 as crate::Message>::schema();
    spec_of(record, any).filter(|spec| spec.content == Content::Parcel && lies_well(segment, record, spec))
}

/// What a record says of a channel of this schema; None if it makes no sense. Where its parts lie is not looked at.
pub fn spec_of(record: &Record, schema: Schema) -> Option<Spec> {
    let kind = record.kind.load(Relaxed);
    Some(Spec {
        kind: Kind::from_code(kind as u8)?,
        method: Method::from_code((kind >> 8) as u8)?,
        content: Content::from_code((kind >> 16) as u8)?,
        continuation: Continuation::from_code((kind >> 24) as u8)?,
        degree: record.degree.load(Relaxed),
        form: Form::from_code(record.form.load(Relaxed))?,
        message_bytes_max: record.message_bytes_max.load(Relaxed),
        schema,
    })
}

fn ring_lies_in_its_block(segment: &Segment, record: &Record, spec: &Spec) -> bool {
    let offset = record.ring.load(Relaxed);
    if spec.kind == Kind::Buffered {
        // Guards hand out a whole message of the type in each slot.
        let in_place = spec.content == Content::Value && spec.schema.is_sized();
        if spec.degree == 0 || (in_place && spec.message_bytes_max != spec.schema.size()) {
            return false;
        }
    }
    let bytes = spec.shape().filter(|_| spec.degree <= DEGREE_MAX).map(|shape| shape.bytes());
    let block = segment.map().locate(offset);
    matches!((block, bytes), (Some(id), Some(bytes)) if bytes <= id.bytes() && segment.map().block(id) == offset)
}
