//! The table of entries: claimed, changed, found.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::member::Member;
use crate::memory::map::{CHANNELS_MAX, ENTRIES_MAX};
use crate::memory::platform::{Native, Platform, Word64};
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::Word;

/// An entry's states.
pub mod state {
    /// Not in use.
    pub const FREE: u8 = 0;
    /// Being enclosed or taken out by the process in the word's slot.
    pub const MAKING: u8 = 1;
    /// In the parcel.
    pub const ENCLOSED: u8 = 2;
    /// Was taken out.
    pub const TAKEN: u8 = 3;
    /// What it stands for is being given back by the process in the word's slot.
    pub const RELEASING: u8 = 4;
    /// The process in the word's slot may have ends of a channel without a name.
    pub const HOLD: u8 = 5;
}

/// What an entry stands for.
pub mod what {
    /// A process's hold of a channel without a name.
    pub const HOLD: u64 = 0;
    /// The sending end of a channel.
    pub const SENDER: u64 = 1;
    /// The receiving end.
    pub const RECEIVER: u64 = 2;
    /// A parcel.
    pub const PARCEL: u64 = 3;
    /// Nothing any more: it was taken out.
    pub const NOTHING: u64 = 4;
}

/// An entry.
#[repr(C, align(64))]
pub struct Entry<P: Platform = Native> {
    /// State word; its sequence counts how often the entry came free.
    pub word: P::U64,
    /// Offset of the block of the parcel in which it lies.
    pub block: P::U64,
    /// The next entry of that block: index + 1.
    pub next: P::U64,
    /// What it stands for (`what`) | seat of the end << 8 | 1 << 16 if the end has said that its channel is over.
    pub what: P::U64,
    /// Of an end or hold: the channel's index | the lower half of the entry's sequence << 32, so that what an earlier life left is
    /// told. Of a parcel: the offset of its block.
    pub of: P::U64,
    /// Of an end: its end word while it lies here. Of a parcel: the incarnation of its block.
    pub held: P::U64,
    /// Of an end: its partner's end word, as last accounted for. Of a parcel: its message's length.
    pub note: P::U64,
    /// Of a parcel: the fingerprint of its message's schema.
    pub fingerprint: P::U64,
}

const _: () = assert!(size_of::<Entry>() == crate::memory::map::ENTRY_BYTES as usize);

impl<P: Platform> Entry<P> {
    /// Never used.
    #[cfg(test)]
    pub fn new() -> Self {
        let zero = || P::U64::new(0);
        Entry {
            word: zero(),
            block: zero(),
            next: zero(),
            what: zero(),
            of: zero(),
            held: zero(),
            note: zero(),
            fingerprint: zero(),
        }
    }

    pub fn word(&self) -> Word {
        // Acquire: with it what was written before the state was reached.
        Word(self.word.load(Acquire))
    }

    /// `from => to`. False: it was not `from`.
    pub fn change(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, AcqRel, Relaxed).is_ok()
    }

    /// The caller has it: it may be claimed again.
    pub fn free(&self, mine: Word) -> bool {
        self.change(mine, Word::new(state::FREE, 0, mine.sequence() + 1))
    }

    pub fn kind(&self) -> u64 {
        self.what.load(Relaxed) & 0xff
    }

    /// FREE => MAKING(process `slot`).
    pub fn claim(&self, slot: u16) -> Option<Word> {
        let now = self.word();
        let mine = Word::new(state::MAKING, slot, now.sequence());
        (now.state() == state::FREE && self.change(now, mine)).then_some(mine)
    }

    /// MAKING => HOLD of a channel; gives the word.
    pub fn hold(&self, mine: Word, channel: usize) -> Word {
        self.what.store(what::HOLD, Relaxed);
        self.of.store(of_channel(mine, channel), Relaxed);
        let word = mine.with_state(state::HOLD);
        self.change(mine, word);
        word
    }

    /// ENCLOSED => MAKING => TAKEN, if `receive` takes over what it stands for; else it stays.
    pub fn take_out<R>(&self, slot: u16, receive: impl FnOnce() -> Option<R>) -> Option<R> {
        let now = self.word();
        let mine = Word::new(state::MAKING, slot, now.sequence());
        if now.state() != state::ENCLOSED || !self.change(now, mine) {
            return None;
        }
        stop::here("take out: begun");
        let received = receive();
        stop::here("take out: received");
        // It stays in the list until it is the head (N2), and stands for nothing: an end may be in a message again, and its
        // end word the same.
        let then = if received.is_some() {
            self.what.store(what::NOTHING, Relaxed);
            state::TAKEN
        } else {
            state::ENCLOSED
        };
        self.change(mine, mine.with_state(then).with_slot(0));
        received
    }

    /// The channel that it keeps in use in this state, if any (N3).
    pub fn channel(&self, now: Word) -> Option<usize> {
        let of = self.of.load(Relaxed);
        let is_one =
            matches!(self.kind(), what::HOLD | what::SENDER | what::RECEIVER) && now.state() != state::FREE;
        (is_one && of >> 32 == now.sequence() & LOWER_HALF)
            .then_some((of & LOWER_HALF) as usize % CHANNELS_MAX)
    }
}

/// Who uses a channel without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nobody, if its state word has not changed since before this was asked.
    Nobody,
    /// A process.
    Process,
    /// Ends of it lie in parcels.
    Parcels,
}

/// Who uses the channel, as the entries say (N3).
pub fn usage<'e, P: Platform, E>(entries: impl Fn() -> E, channel: usize) -> Usage
where
    E: Iterator<Item = &'e Entry<P>>,
{
    usages(entries, &HashSet::from([channel])).remove(&channel).unwrap_or(Usage::Nobody)
}

/// The same of several channels; those that nobody uses are left out.
///
/// The holds first, and then all entries that there are by then: who puts an end into a parcel, in an entry that had been passed,
/// keeps its hold until it lies there.
pub fn usages<'e, P: Platform, E>(entries: impl Fn() -> E, of: &HashSet<usize>) -> HashMap<usize, Usage>
where
    E: Iterator<Item = &'e Entry<P>>,
{
    let mut usages = HashMap::new();
    let named = |entry: &'e Entry<P>| {
        let now = entry.word();
        Some((entry.channel(now).filter(|channel| of.contains(channel))?, now.state() == state::HOLD))
    };
    let holds = entries().filter_map(named).filter(|(_, is_hold)| *is_hold);
    usages.extend(holds.map(|(channel, _)| (channel, Usage::Process)));
    for (channel, is_hold) in entries().filter_map(named) {
        let usage = usages.entry(channel).or_insert(Usage::Parcels);
        if is_hold {
            *usage = Usage::Process;
        }
    }
    usages
}

const LOWER_HALF: u64 = u32::MAX as u64;

/// How an entry in its life `mine` says of which channel it is.
pub fn of_channel(mine: Word, index: usize) -> u64 {
    index as u64 | (mine.sequence() & LOWER_HALF) << 32
}

/// All entries that were ever used: by index.
pub fn all(segment: &Segment) -> impl Iterator<Item = (usize, &Entry)> {
    let used = segment.header().entries.load(Acquire).min(ENTRIES_MAX as u64) as usize;
    (0..used).map(|index| (index, segment.entry(index)))
}

/// The channels without a name of which the process in `slot` may have ends.
pub fn holds_of(segment: &Segment, slot: u16) -> HashSet<usize> {
    let its = |(_, entry): (usize, &Entry)| {
        let now = entry.word();
        (now.state() == state::HOLD && now.slot() == slot).then(|| entry.channel(now)).flatten()
    };
    all(segment).filter_map(its).collect()
}

/// The entry of a link (index + 1), if it is one.
pub fn linked(segment: &Segment, link: u64) -> Option<(usize, &Entry)> {
    let index = usize::try_from(link.checked_sub(1)?).ok().filter(|index| *index < ENTRIES_MAX)?;
    Some((index, segment.entry(index)))
}

/// Where this process looks for an entry that is not in use: only a hint.
#[derive(Default)]
pub struct Hint {
    /// Where the last search ended, so that entries in use are not looked at again and again.
    next: AtomicUsize,
    /// How many there were when all were in use last: not before there are twice as many is it worth while to look through them
    /// again. So who fills the table looks at each entry a few times, not at all of them for each.
    full: AtomicUsize,
}

/// FREE => MAKING(this process). None: all are in use.
pub fn claim(member: &Member) -> Option<(usize, Word)> {
    let (segment, hint) = (member.segment(), &member.free_entries);
    let used = segment.header().entries.load(Relaxed).min(ENTRIES_MAX as u64) as usize;
    let begin = hint.next.load(Relaxed).min(used);
    let grown = (hint.full.load(Relaxed) * 2).clamp(used, ENTRIES_MAX);
    let try_one = |index: usize| {
        let entry = segment.entry(index);
        if index >= used && entry.word().state() == state::FREE {
            // Before it is claimed: whoever is killed then is swept up to there.
            segment.header().entries.fetch_max(index as u64 + 1, AcqRel);
        }
        let claimed = entry.claim(member.slot)?;
        stop::here("entry: claimed");
        Some((index, claimed))
    };
    let found = (begin..grown).find_map(try_one).or_else(|| {
        let found = (0..begin).find_map(try_one);
        if found.is_none() {
            hint.full.store(grown, Relaxed);
        }
        found.or_else(|| (grown..ENTRIES_MAX).find_map(try_one))
    })?;
    hint.next.store(found.0 + 1, Relaxed);
    Some(found)
}

/// This process's hold of a channel without a name: an entry.
pub struct Hold {
    index: usize,
    word: Word,
}

impl Hold {
    /// None: all entries are in use.
    pub fn make(member: &Member, channel: usize) -> Option<Hold> {
        let (index, mine) = claim(member)?;
        let word = member.segment().entry(index).hold(mine, channel);
        Some(Hold { index, word })
    }

    pub fn free(&self, member: &Member) {
        member.segment().entry(self.index).free(self.word);
    }
}

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![crate::memory::layout::layout!(Entry { word, block, next, what, of, held, note, fingerprint })]
}

#[cfg(test)]
pub(crate) fn states() -> Vec<(&'static str, u64)> {
    [
        ("entry::FREE", state::FREE),
        ("entry::MAKING", state::MAKING),
        ("entry::ENCLOSED", state::ENCLOSED),
        ("entry::TAKEN", state::TAKEN),
        ("entry::RELEASING", state::RELEASING),
        ("entry::HOLD", state::HOLD),
    ]
    .map(|(name, value)| (name, value.into()))
    .to_vec()
}
