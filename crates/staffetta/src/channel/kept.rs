//! Parcels that a receiver had in hand when its process died, of a channel that keeps them (`Continuation`): from the hand of the
//! dead one to that of the next receiver.
//!
//! ```text
//!   received      slot READING, note written, holder = OWNED(receiver), slot EMPTY      the parcel is noted (memory/note.rs)
//!   released      holder = OWNED or FREE in the next incarnation                        acknowledged
//!   forwarded     the commit point of the channel that it is sent over                  acknowledged
//!   dies          holder: OWNED(the dead one) => RETURNED                               whoever sweeps
//!   comes again   holder: RETURNED => OWNED(the next receiver), noted again             flagged redelivered
//! ```
//!
//! U1. The holder word is the authority: there is no list of what came back that could be half written. `Record::returned` grows after
//!     something came back; each receiver then looks for itself, and what it finds are hints.
//! U2. A parcel comes back before the end of its dead receiver says DIED, so the next receiver finds it before anything newer. And after
//!     it was found out which blocks are on their way to somebody: what the dead one had forwarded is not returned.
//! U3. A slot is READING until its parcel is claimed (ring.rs, N6). So of a dead receiver's slot that waits again the parcel was claimed,
//!     and came back by itself (then its incarnation has changed, and the slot is passed over), or it was not.
//! U4. A parcel that came back too often is lost: whoever gets it seems to die of it.
//! U5. Who takes write access to a parcel notes that first: if it dies then, the bytes may be no value of their type, and whoever comes
//!     next is told `Torn`, as for a guard (buffer.rs, B5).

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::call::{Patience, Stop};
use super::end::{slots, End};
use super::ground::wake;
use super::line::Reference3;
use super::spec::{Kind, Spec};
use crate::enclosure::contents::free_full;
use crate::error::RecvError;
use crate::member::Member;
use crate::memory::blocks::Blocks;
use crate::memory::header::block::{OWNED, RETURNED};
use crate::memory::map::BlockId;
use crate::memory::note::{keeper_of, kept_from};
use crate::memory::segment::Segment;
use crate::memory::word::Word;
use crate::message::parcel::Parcel;
use crate::Message;

/// What a receiver knows of the parcels that came back.
#[derive(Default)]
pub struct Kept {
    /// What `Record::returned` said when it looked for them last.
    seen: Cell<u64>,
    /// Those that it found then, the oldest last.
    found: RefCell<Vec<BlockId>>,
    /// One that it has claimed for a select.
    hand: Cell<Option<Claimed>>,
}

/// A parcel that came back and that this process holds.
#[derive(Clone, Copy)]
struct Claimed {
    id: BlockId,
    incarnation: u64,
    order: u64,
    length: u64,
    changed: bool,
    /// Too many died of it.
    is_fatal: bool,
}

/// So many receivers may die with a parcel in hand; then it is taken for the reason, and is lost. As for the slots of a queue.
const RETURNS_MAX: u64 = 63;

impl Kept {
    /// What it has seen of `Record::returned`.
    pub fn seen(&self) -> u64 {
        self.seen.get()
    }

    /// Claims one, if there is any, for the next `receive`.
    pub fn secure(&self, end: &End) -> bool {
        let claimed = self.take(end);
        self.hand.set(claimed);
        claimed.is_some()
    }

    /// Is one claimed?
    pub fn is_secured(&self) -> bool {
        let hand = self.hand.take();
        self.hand.set(hand);
        hand.is_some()
    }

    /// Nobody will receive over this end what was claimed for a select.
    pub fn put_back(&self, end: &End) {
        let Some(Claimed { id, incarnation, .. }) = self.hand.take() else {
            return;
        };
        let owned = Word::new(OWNED, end.member.slot, incarnation);
        let returned = Word::new(RETURNED, 0, incarnation);
        let holder = &end.member.segment().block_record(id).holder;
        let _ = holder.compare_exchange(owned.0, returned.0, AcqRel, Relaxed);
        tell(&end.member, end.found.index, end.spec());
    }

    /// The oldest one that came back, claimed.
    fn take(&self, end: &End) -> Option<Claimed> {
        if let Some(claimed) = self.hand.take() {
            return Some(claimed);
        }
        let (member, index) = (&end.member, end.found.index);
        loop {
            // Acquire: pairs with `tell`: the words that say RETURNED. Before they are looked for (U1).
            let returned = end.record().returned.load(Acquire);
            if returned != self.seen.get() {
                *self.found.borrow_mut() = all_returned(member.segment(), index);
                self.seen.set(returned);
            }
            let id = self.found.borrow_mut().pop()?;
            // Another receiver may have been quicker.
            match claim(member, id, index) {
                Some(claimed) if claimed.is_fatal => {
                    lose(member.segment(), index);
                    free_full(member, id);
                }
                Some(claimed) => return Some(claimed),
                None => {}
            }
        }
    }
}

/// The channel of a RETURNED block; its next holder may have moved its note already (note.rs, Z2).
pub fn channel_of_returned(note: u64, incarnation: u64) -> Option<usize> {
    keeper_of(note, incarnation).or_else(|| keeper_of(note, incarnation + 1))
}

/// The blocks that came back to a channel, the oldest last.
fn all_returned(segment: &Segment, index: usize) -> Vec<BlockId> {
    let mut found = Vec::new();
    each_block(segment, |id, holder, note| {
        let here = holder.state() == RETURNED && channel_of_returned(note, holder.sequence()) == Some(index);
        if here {
            found.push((segment.note(id).order.load(Relaxed), id));
        }
    });
    found.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));
    found.into_iter().map(|(_, id)| id).collect()
}

fn each_block(segment: &Segment, mut f: impl FnMut(BlockId, Word, u64)) {
    for class in segment.map().classes() {
        let used = segment.header().used[class as usize].load(Acquire).min(segment.map().count(class));
        for index in 0..used {
            let id = BlockId { class, index };
            let record = segment.block_record(id);
            let holder = Word(record.holder.load(Acquire));
            f(id, holder, record.next.load(Relaxed));
        }
    }
}

/// RETURNED => OWNED(this process). None: another one has it.
fn claim(member: &Member, id: BlockId, index: usize) -> Option<Claimed> {
    let record = member.segment().block_record(id);
    let now = Word(record.holder.load(Acquire));
    let incarnation = now.sequence();
    let here = channel_of_returned(record.next.load(Relaxed), incarnation) == Some(index);
    if now.state() != RETURNED || !here {
        return None;
    }
    // Z2: first, so that it comes back again if we are killed right after the claim. It fails if it was moved before.
    let (from, to) = (kept_from(index, incarnation), kept_from(index, incarnation + 1));
    let _ = record.next.compare_exchange(from, to, AcqRel, Relaxed);
    let mine = Word::new(OWNED, member.slot, incarnation + 1);
    record.holder.compare_exchange(now.0, mine.0, AcqRel, Relaxed).ok()?;
    let note = member.segment().note(id);
    let returns = note.returns.load(Relaxed) + 1;
    note.returns.store(returns, Relaxed);
    Some(Claimed {
        id,
        incarnation: incarnation + 1,
        order: note.order.load(Relaxed),
        length: note.length.load(Relaxed),
        changed: note.changed.load(Relaxed) != 0,
        is_fatal: returns > RETURNS_MAX,
    })
}

/// The next parcel of a receiver whose channel keeps them: what came back, and then what is in the channel.
#[cold]
#[inline(never)]
pub fn receive<T: Message + ?Sized>(
    end: &End,
    kept: &Kept,
    patience: Patience,
) -> Result<Parcel<T>, RecvError> {
    loop {
        if let Some(claimed) = kept.take(end) {
            return redeliver(end, claimed);
        }
        match next(end, patience) {
            Ok(Some(parcel)) => {
                let parcel = parcel.ok_or(RecvError::Corrupt)?;
                end.tally().message(Parcel::length(&parcel));
                return Ok(parcel);
            }
            // U3; or something came back while we waited.
            Err(Stop::CalledAway) if !end.member.here() => return Err(RecvError::Forked),
            Ok(None) | Err(Stop::CalledAway) => {}
            Err(stop) => return Err(end.recv_failure(stop, patience)),
        }
    }
}

/// What came back, and what the dead receiver had not claimed yet; nothing else.
pub fn take_back<T: Message + ?Sized>(end: &End, kept: &Kept) -> Vec<Parcel<T>> {
    let mut back = Vec::new();
    while let Some(claimed) = kept.take(end) {
        back.extend(redeliver(end, claimed).ok());
    }
    while end.comes_again() {
        match next(end, Patience::Try) {
            Ok(parcel) => back.extend(parcel.flatten()),
            Err(_) => break,
        }
    }
    back
}

fn redeliver<T: Message + ?Sized>(end: &End, claimed: Claimed) -> Result<Parcel<T>, RecvError> {
    let Claimed { id, incarnation, order, length, changed, .. } = claimed;
    let parcel = if changed { None } else { Parcel::<T>::of_block(&end.member, id, incarnation, length) };
    match parcel {
        Some(mut parcel) => {
            end.tally().message(length as usize);
            parcel.is_kept(true);
            Ok(parcel)
        }
        None => {
            lose(end.member.segment(), end.found.index);
            free_full(&end.member, id);
            Err(if changed { RecvError::Torn { seq: order } } else { RecvError::Corrupt })
        }
    }
}

/// The next parcel in the channel; claimed and noted. None: it came back by itself (U3). None inside: it is none.
#[allow(clippy::type_complexity)]
fn next<T: Message + ?Sized>(end: &End, patience: Patience) -> Result<Option<Option<Parcel<T>>>, Stop> {
    match end.spec().kind {
        Kind::Rendezvous => {
            let again = end.is_recovered();
            let words = end.receive_parcel(patience)?;
            let order = end.record().receiver.unread().unwrap_or_default();
            let parcel = claim_fresh(end, words, order, again);
            end.read_out();
            Ok(parcel)
        }
        Kind::Queue => {
            let words = end.receive_parcel(patience)?;
            let held = end.many().and_then(|many| many.in_hand()).ok_or(Stop::Corrupt)?;
            let parcel = claim_fresh(end, words, held.position(), held.is_redelivered());
            end.claimed();
            Ok(parcel)
        }
        _ => {
            let (words, place, again) = end.take_from_ring(patience)?;
            let parcel = claim_fresh(end, words, place, again);
            end.claimed();
            Ok(parcel)
        }
    }
}

fn claim_fresh<T: Message + ?Sized>(
    end: &End,
    words: Reference3,
    order: u64,
    again: bool,
) -> Option<Option<Parcel<T>>> {
    let (member, spec) = (&end.member, end.spec());
    let Some(id) = super::sweep::block_of(member, spec, words[0]) else {
        return Some(None);
    };
    if Blocks::incarnation(member.segment(), id) != words[2] {
        return None; // U3
    }
    let note = member.segment().note(id);
    note.order.store(order, Relaxed);
    note.length.store(words[1], Relaxed);
    note.changed.store(0, Relaxed);
    note.returns.store(0, Relaxed);
    // Then the note in the record, and then the holder word (`Blocks::received`).
    let from = kept_from(end.found.index, words[2] + 1);
    let parcel = Parcel::<T>::receive(member, || member.clone(), spec.method, words, from);
    Some(parcel.map(|mut parcel| {
        parcel.is_kept(again);
        parcel
    }))
}

/// One more message is lost with its receiver.
pub fn lose(segment: &Segment, index: usize) {
    segment.channel(index).lost.fetch_add(1, Relaxed);
}

/// What the dead process in `slot` had received and not acknowledged comes back: OWNED(the dead one) => RETURNED. `spared` as in
/// `blocks::release_dead`. Idempotent, and safe to run in several processes at once. Gives the channels that something came back to,
/// also if it was another sweeper, which may not have come to say so.
pub fn return_dead(segment: &Segment, slot: u16, spared: impl Fn(u64, u64) -> bool) -> Vec<usize> {
    let mut channels = Vec::new();
    each_block(segment, |id, now, note| {
        if now.state() == RETURNED {
            channels.extend(channel_of_returned(note, now.sequence()));
            return;
        }
        let dead = now.state() == OWNED && now.slot() == slot;
        let Some(index) = keeper_of(note, now.sequence()).filter(|_| dead) else {
            return;
        };
        if spared(segment.map().block(id), now.sequence()) {
            return;
        }
        // In the same incarnation: its note stays good.
        let returned = Word::new(RETURNED, 0, now.sequence());
        // It fails if another sweeper was first.
        let _ = segment.block_record(id).holder.compare_exchange(now.0, returned.0, AcqRel, Relaxed);
        channels.push(index);
    });
    channels.sort_unstable();
    channels.dedup();
    channels
}

/// Something came back to a channel: its receivers look (wait.rs, H2).
pub fn tell(member: &Member, index: usize, spec: &Spec) {
    let record = member.segment().channel(index);
    record.returned.fetch_add(1, AcqRel);
    match spec.kind {
        Kind::Queue => super::many::tell_all(member, record, spec),
        Kind::Rendezvous => drop(record.line.word_after_change()),
        _ => {
            if let Some(slots) = slots(member, record, spec) {
                slots.touch();
            }
        }
    }
    wake(member, spec.method, record.receiver.pcb_ref());
}

#[cfg(test)]
#[allow(unsafe_code)] // A ring is looked at as a sweeper does.
mod tests {
    use super::*;
    use crate::channel::side::DIED;
    use crate::memory::header::process::LIVE;
    use crate::{Continuation, Domain};

    const DEAD: u16 = 77;

    /// How far a receiver came with its first parcel when it was killed; a sweeper may have been there before.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Killed {
        InHand,
        Claimed,
        ClaimedAndReturned,
        ReturnedAndClaimMoved,
    }

    /// Two parcels in a channel; a receiver in the process slot DEAD was killed with the first one.
    fn after(killed: Killed, basic: bool) {
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options.create().unwrap();
        let channel = domain.channel("c").continuation(Continuation::WaitForSuccessor);
        let channel = if basic { channel.basic(2) } else { channel.buffered(2) };
        let tx = channel.sender::<Parcel<u64>>().unwrap();
        let rx = domain.receiver::<Parcel<u64>>("c").unwrap();
        for n in [1, 2] {
            tx.send(Parcel::new(&domain, n).unwrap()).unwrap();
        }
        let (member, index, spec) = (rx.end().member.clone(), rx.end().found.index, rx.end().spec().clone());
        let segment = member.segment();
        let record = segment.channel(index);
        std::mem::forget(rx);
        let places = slots(&member, record, &spec).unwrap();
        assert!(places.begin_reading(0));
        // SAFETY: a channel of parcels.
        let words = unsafe { places.buffered() }[0];
        let id = crate::channel::sweep::block_of(&member, &spec, words[0]).unwrap();
        let (block, next) = (segment.block_record(id), words[2] + 1);
        if killed != Killed::InHand {
            segment.note(id).order.store(0, Relaxed);
            segment.note(id).length.store(words[1], Relaxed);
            let claims = u64::from(killed == Killed::ReturnedAndClaimMoved);
            block.next.store(kept_from(index, next + claims), Relaxed);
            let came_back = matches!(killed, Killed::ClaimedAndReturned | Killed::ReturnedAndClaimMoved);
            let (state, holder) = if came_back { (RETURNED, 0) } else { (OWNED, DEAD) };
            block.holder.store(Word::new(state, holder, next).0, Relaxed);
        }
        assert!(record.receiver.hand_on(record.receiver.end(), DEAD).is_ok());
        segment.header().processes.fetch_max(u64::from(DEAD) + 1, Relaxed);
        segment.process(DEAD.into()).word.store(Word::new(LIVE, DEAD, 1).0, Relaxed);
        member.sweep(DEAD, 1);
        assert_eq!(record.receiver.end().state(), DIED);

        let rx = domain.receiver::<Parcel<u64>>("c").unwrap();
        let next = || rx.try_recv().map(|parcel| (*parcel, parcel.redelivered()));
        assert_eq!(next().unwrap(), (1, true), "{killed:?}, basic: {basic}");
        assert_eq!(next().unwrap(), (2, false), "{killed:?}, basic: {basic}");
        assert!(matches!(next(), Err(RecvError::WouldBlock)), "{killed:?}, basic: {basic}");
        assert_eq!(rx.lost(), 0);
    }

    #[test]
    fn wherever_its_receiver_was_killed_a_parcel_comes_once_and_first() {
        let all =
            [Killed::InHand, Killed::Claimed, Killed::ClaimedAndReturned, Killed::ReturnedAndClaimMoved];
        for killed in all {
            after(killed, false);
            after(killed, true);
        }
    }
}
