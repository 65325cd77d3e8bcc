//! What lies in a block: put in, taken out, given back.
//!
//! Giving back is a loop over a list of what came loose, not a recursion: a parcel may hold an end of a channel
//! in which parcels wait that hold ends, and so on.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::collect;
use super::table::{all, claim, linked, of_channel, state, what, Entry};
use crate::channel::attach::finish_unmaking;
use crate::channel::end::Travelling;
use crate::channel::side::{DIED, LEFT};
use crate::channel::sweep::release_end;
use crate::member::Member;
use crate::memory::header::block::{ENCLOSED, OWNED};
use crate::memory::map::{BlockId, CHANNELS_MAX};
use crate::memory::platform::{Native, Platform};
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::Word;

/// What came loose: blocks that this process holds and that nobody needs, and channels that may be over.
#[derive(Default)]
pub struct Loose {
    /// Blocks that are to be emptied and freed.
    pub blocks: Vec<BlockId>,
    /// Channels without a name of which an end or a hold was given up.
    pub channels: Vec<usize>,
    /// Channels that this process takes back, and whose parcels are in `blocks`: their records come free after those are empty,
    /// since ends of these very channels may lie in them.
    pub unmaking: Vec<usize>,
    /// It was lost with a process that died.
    pub died: bool,
}

impl Loose {
    /// Gives back all of it, and what comes loose with it.
    pub fn give_back(mut self, member: &Member) {
        while !(self.blocks.is_empty() && self.unmaking.is_empty() && self.channels.is_empty()) {
            while let Some(id) = self.blocks.pop() {
                empty(member, id, &mut self);
                member.blocks.free(member.segment(), id);
            }
            finish_unmaking(member, std::mem::take(&mut self.unmaking));
            let suspects = std::mem::take(&mut self.channels);
            if !suspects.is_empty() {
                collect::collect(member, suspects, &mut self);
            }
        }
    }
}

/// Frees a block of a parcel that this process holds, and gives back what lies in it.
#[cold]
pub fn free_full(member: &Member, id: BlockId) {
    Loose { blocks: vec![id], ..Loose::default() }.give_back(member);
}

/// Does anything lie in it? Of a block that the caller holds.
#[inline(always)]
pub fn is_full(segment: &Segment, id: BlockId) -> bool {
    segment.block_record(id).inside.load(Relaxed) != 0
}

/// Takes what lies in a block that this process holds out of it.
fn empty(member: &Member, id: BlockId, loose: &mut Loose) {
    let segment = member.segment();
    let (inside, offset) = (&segment.block_record(id).inside, segment.map().block(id));
    loop {
        let head = inside.load(Acquire);
        let found = linked(segment, head).filter(|(_, entry)| entry.block.load(Relaxed) == offset);
        let Some((index, entry)) = found else {
            if inside.load(Acquire) != head {
                continue; // a sweeper took it out meanwhile
            }
            inside.store(0, Relaxed); // the end; or a wreck: what is not linked is found in the table
            return;
        };
        let (now, next) = (entry.word(), entry.next.load(Relaxed));
        // A sweeper that has the head from whoever died with it takes it out, and frees it, and then it may be anybody's. So what
        // was read is the head's only if it is the head still (N2): nobody else links anything here.
        if inside.load(Acquire) != head {
            continue;
        }
        match now.state() {
            state::FREE | state::HOLD => {
                inside.store(0, Relaxed); // as above
                return;
            }
            // A sweeper gives it back (N2: not before it is out of the list).
            state::RELEASING => {
                if inside.compare_exchange(head, next, AcqRel, Relaxed).is_ok() {
                    Native::fence_after_rmw();
                    // If the sweeper still found it in the list (`put_away`).
                    let taken = Word::new(state::TAKEN, 0, now.sequence());
                    entry.free(taken);
                }
            }
            _ => {
                let mine = Word::new(state::RELEASING, member.slot, now.sequence());
                if entry.change(now, mine) {
                    release(member, index, entry, mine, loose);
                }
            }
        }
    }
}

/// Takes an entry that is the head of its block's list out of it. False: it is not the head.
fn unlink(segment: &Segment, index: usize, entry: &Entry) -> bool {
    segment.map().locate(entry.block.load(Relaxed)).is_some_and(|id| {
        let (head, next) = (index as u64 + 1, entry.next.load(Relaxed));
        segment.block_record(id).inside.compare_exchange(head, next, AcqRel, Relaxed).is_ok()
    })
}

/// RELEASING(this process) => FREE, or TAKEN: what it stands for is given back, if it is the entry's (N1).
fn release(member: &Member, index: usize, entry: &Entry, mine: Word, loose: &mut Loose) {
    let segment = member.segment();
    match entry.kind() {
        what::PARCEL => {
            if let Some(id) = segment.map().locate(entry.of.load(Relaxed)) {
                let now = Word::new(ENCLOSED, 0, entry.held.load(Relaxed));
                let owned = Word::new(OWNED, member.slot, now.sequence() + 1);
                let holder = &segment.block_record(id).holder;
                if holder.compare_exchange(now.0, owned.0, AcqRel, Relaxed).is_ok() {
                    loose.blocks.push(id);
                }
            }
            put_away(segment, index, entry, mine);
        }
        what::SENDER | what::RECEIVER if entry.channel(mine).is_some() => {
            let end = travelling(entry);
            release_end(member, &end, if loose.died { DIED } else { LEFT });
            put_away(segment, index, entry, mine);
            stop::here("release: end put away");
            // After the entry: it keeps the channel in use (N3).
            loose.channels.push(end.index);
        }
        _ => put_away(segment, index, entry, mine),
    }
}

/// RELEASING(this process) => FREE if it is in no list (N2); else TAKEN, and it is freed by who finds it at the list's head: a
/// process that was killed while it took something out may leave it behind others.
fn put_away(segment: &Segment, index: usize, entry: &Entry, mine: Word) {
    if unlink(segment, index, entry) || !is_listed(segment, index, entry) {
        entry.free(mine);
        return;
    }
    entry.what.store(what::NOTHING, Relaxed);
    let taken = mine.with_state(state::TAKEN).with_slot(0);
    entry.change(mine, taken);
    // Another sweeper may have emptied the list meanwhile: it sees TAKEN, or this one that it is in no list (`empty`).
    Native::fence_after_rmw();
    if !is_listed(segment, index, entry) {
        entry.free(taken);
    }
}

/// Is an entry, which nobody frees meanwhile, in its block's list?
fn is_listed(segment: &Segment, index: usize, entry: &Entry) -> bool {
    let offset = entry.block.load(Relaxed);
    let Some(id) = segment.map().locate(offset) else {
        return false;
    };
    let inside = &segment.block_record(id).inside;
    loop {
        let head = inside.load(Acquire);
        let (mut link, mut found) = (head, false);
        // A wreck may be a circle.
        for _ in 0..crate::memory::map::ENTRIES_MAX {
            match linked(segment, link).filter(|(_, entry)| entry.block.load(Relaxed) == offset) {
                Some((at, _)) if at == index => found = true,
                Some((_, next)) => link = next.next.load(Relaxed),
                None => break,
            }
            if found {
                break;
            }
        }
        // A list changes at its head only (N2): what was walked was the list.
        if inside.load(Acquire) == head {
            return found;
        }
    }
}

/// The end that an entry stands for.
pub fn travelling(entry: &Entry) -> Travelling {
    let what = entry.what.load(Relaxed);
    Travelling {
        index: (entry.of.load(Relaxed) & u64::from(u32::MAX)) as usize % CHANNELS_MAX,
        is_sender: what & 0xff == what::SENDER,
        seat: (what >> 8 & 0xff) as usize,
        is_over: what >> 16 & 1 == 1,
        held: Word(entry.held.load(Relaxed)),
        known: Word(entry.note.load(Relaxed)),
    }
}

/// Puts an end into the block, which this process holds. `depart`: the end is the entry's from then on. None: no entry is free.
pub fn put_end(
    member: &Member,
    id: BlockId,
    end: &Travelling,
    depart: impl FnOnce() -> bool,
) -> Option<(usize, u64)> {
    let kind = if end.is_sender { what::SENDER } else { what::RECEIVER };
    let what = kind | (end.seat as u64) << 8 | u64::from(end.is_over) << 16;
    put(member, id, |mine| [what, of_channel(mine, end.index), end.held.0, end.known.0, 0], depart)
}

/// Puts the parcel in block `parcel`, of that incarnation, into block `id`; this process holds both.
pub fn put_parcel(
    member: &Member,
    id: BlockId,
    parcel: BlockId,
    incarnation: u64,
    [length, fingerprint]: [u64; 2],
) -> Option<(usize, u64)> {
    let segment = member.segment();
    let owned = Word::new(OWNED, member.slot, incarnation);
    let enclosed = Word::new(ENCLOSED, 0, incarnation + 1);
    let offset = segment.map().block(parcel);
    put(
        member,
        id,
        |_| [what::PARCEL, offset, incarnation + 1, length, fingerprint],
        || {
            let holder = &segment.block_record(parcel).holder;
            holder.compare_exchange(owned.0, enclosed.0, AcqRel, Relaxed).is_ok()
        },
    )
}

fn put(
    member: &Member,
    id: BlockId,
    words: impl FnOnce(Word) -> [u64; 5],
    hand_over: impl FnOnce() -> bool,
) -> Option<(usize, u64)> {
    let segment = member.segment();
    let (index, mine) = claim(member)?;
    let [what, of, held, note, fingerprint] = words(mine);
    let (entry, inside) = (segment.entry(index), &segment.block_record(id).inside);
    entry.block.store(segment.map().block(id), Relaxed);
    entry.next.store(inside.load(Relaxed), Relaxed);
    entry.what.store(what, Relaxed);
    entry.of.store(of, Relaxed);
    entry.held.store(held, Relaxed);
    entry.note.store(note, Relaxed);
    entry.fingerprint.store(fingerprint, Relaxed);
    if !hand_over() {
        entry.free(mine);
        return None;
    }
    stop::here("enclose: handed over");
    inside.store(index as u64 + 1, Release);
    stop::here("enclose: linked");
    entry.change(mine, mine.with_state(state::ENCLOSED));
    Some((index, mine.sequence()))
}

/// The entry `index`, in its life `sequence`, if it lies in the block.
pub fn find(segment: &Segment, id: BlockId, index: u64, sequence: u64) -> Option<&Entry> {
    let (_, entry) = linked(segment, index.checked_add(1)?)?;
    let now = entry.word();
    let here = entry.block.load(Relaxed) == segment.map().block(id);
    (here && now.state() == state::ENCLOSED && now.sequence() == sequence).then_some(entry)
}

/// Frees the entries at the head of the block's list that were taken out.
pub fn tidy(member: &Member, id: BlockId) {
    let segment = member.segment();
    let inside = &segment.block_record(id).inside;
    while let Some((index, entry)) = linked(segment, inside.load(Relaxed)) {
        let now = entry.word();
        let mine = Word::new(state::RELEASING, member.slot, now.sequence());
        if now.state() != state::TAKEN || !entry.change(now, mine) {
            return;
        }
        unlink(segment, index, entry);
        entry.free(mine);
    }
}

/// Each end in the block, and in the parcels in it: what it is.
pub fn each_end(segment: &Segment, id: BlockId, mut f: impl FnMut(&Travelling)) {
    let mut blocks = vec![id];
    // No more than there can be: a wreck may be a circle.
    let mut left = crate::memory::map::ENTRIES_MAX;
    while let Some(id) = blocks.pop() {
        let mut link = segment.block_record(id).inside.load(Acquire);
        while let Some((_, entry)) = linked(segment, link).filter(|_| left > 0) {
            left -= 1;
            link = entry.next.load(Relaxed);
            match (entry.word().state(), entry.kind()) {
                (state::ENCLOSED, what::PARCEL) => {
                    blocks.extend(segment.map().locate(entry.of.load(Relaxed)));
                }
                (state::ENCLOSED, what::SENDER | what::RECEIVER) => f(&travelling(entry)),
                _ => {}
            }
        }
    }
}

/// What the dead process in `slot` was enclosing, taking out or giving back; then its holds. `still`: as in `channel::sweep`.
pub fn sweep(member: &Member, slot: u16, still: impl Fn() -> bool, loose: &mut Loose) {
    for (index, entry) in all(member.segment()) {
        let now = entry.word();
        let its = matches!(now.state(), state::MAKING | state::RELEASING | state::HOLD) && now.slot() == slot;
        if !its || !still() {
            continue;
        }
        if now.state() == state::HOLD {
            if entry.free(now) {
                loose.channels.extend(entry.channel(now));
            }
            continue;
        }
        let mine = Word::new(state::RELEASING, member.slot, now.sequence());
        if entry.change(now, mine) {
            release(member, index, entry, mine, loose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, Parcel};

    /// Two of a parcel's entries, in the list's order, and a word that says that a dead process had them in hand.
    fn with_a_dead_ones(check: impl Fn(&Member, &mut Loose, u16)) {
        const DEAD: u16 = 77;
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options.create().unwrap();
        let mut parcel = Parcel::new(&domain, 1_u64).unwrap();
        let member = parcel.raw().member().clone();
        let mut partners = Vec::new();
        for _ in 0..3 {
            let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
            parcel.enclose(tx).unwrap();
            partners.push(rx);
        }
        let mut enclosed = all(member.segment()).filter(|(_, entry)| entry.word().state() == state::ENCLOSED);
        let (_, middle) = enclosed.nth(1).unwrap();
        let word = middle.word();
        assert!(middle.change(word, Word::new(state::MAKING, DEAD, word.sequence())));
        let mut loose = Loose { died: true, ..Loose::default() };
        check(&member, &mut loose, DEAD);
        loose.give_back(&member);
        drop(parcel);
        for rx in &partners {
            let why = rx.try_recv().unwrap_err();
            assert!(matches!(why, crate::RecvError::Disconnected | crate::RecvError::PeerDied), "{why}");
        }
        drop(partners);
        assert_eq!(all(member.segment()).filter(|(_, entry)| entry.word().state() != state::FREE).count(), 0);
    }

    #[test]
    fn what_lies_behind_an_entry_of_a_dead_process_is_given_back_too() {
        with_a_dead_ones(|member, loose, dead| sweep(member, dead, || true, loose));
    }

    #[test]
    fn an_entry_that_nobody_swept_is_given_back_with_its_parcel() {
        with_a_dead_ones(|_, _, _| ());
    }
}
