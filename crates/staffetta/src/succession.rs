//! Who comes in the place of a process that died: its *estate*, the ends that it held of channels that wait for a successor, and how
//! another process claims all of them in one step.
//!
//! The estate is a word in the process slot of the dead one (its sequence is the generation, and above it a count of steps, so that no word
//! comes twice):
//!
//! | state | means | left by |
//! |---|---|---|
//! | NONE | nobody died here with such ends, or it is settled | who sweeps: OPEN |
//! | OPEN | the process of this slot and generation died with such ends | a successor: CLAIMED; who needs the slot, when all others are taken: NONE |
//! | CLAIMED | the process in the slot field takes these ends over | that process: NONE; who sweeps after its death: OPEN |
//!
//! I1. An estate is open before any of its ends says DIED, and until it is settled its process slot is given to nobody else, unless the
//!     domain has no other: so the slot that such an end word names tells whose estate it is.
//! I2. An end of a claimed estate is attached by its claimant only. What nobody claims whoever attaches by the channel's name gets.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::channel::attach::read_spec;
use crate::channel::ends_that_died;
use crate::channel::record::state as channel_state;
use crate::error::{AttachError, DomainError};
use crate::handle::Handle;
use crate::inspect::Side;
use crate::member::{read_text, Member};
use crate::memory::header::process::{DEAD, FREE, LIVE};
use crate::memory::map::{CHANNELS_MAX, PROCESSES_MAX};
use crate::memory::segment::Segment;
use crate::memory::word::Word;
use crate::{Carried, Domain, Receiver, Sender};

/// The states of an estate.
pub mod state {
    /// There is none, or it is settled.
    pub const NONE: u8 = 0;
    /// It waits for a successor.
    pub const OPEN: u8 = 1;
    /// A process takes it over.
    pub const CLAIMED: u8 = 2;
}

/// Bits of the sequence that count steps.
const STEP_BITS: u32 = 12;

fn generation_of(estate: Word) -> u64 {
    estate.sequence() >> STEP_BITS
}

/// The next word of an estate.
fn step(from: Word, state: u8, slot: u16) -> Word {
    let steps = (1 << STEP_BITS) - 1;
    let next = (from.sequence() & !steps) | ((from.sequence() + 1) & steps);
    Word::new(state, slot, next)
}

fn change(segment: &Segment, slot: usize, from: Word, to: Word) -> bool {
    segment.process(slot).estate.compare_exchange(from.0, to.0, AcqRel, Relaxed).is_ok()
}

fn estate(segment: &Segment, slot: usize) -> Word {
    Word(segment.process(slot).estate.load(Acquire))
}

/// The dead process in `slot` held an end that waits for a successor: its estate is open, before that end says DIED (I1). `still` as in
/// `channel::sweep`. Idempotent: an estate is opened once.
pub fn open(segment: &Segment, slot: u16, still: impl Fn() -> bool) {
    let slot = usize::from(slot) % PROCESSES_MAX;
    let (process, now) = (Word(segment.process(slot).word.load(Acquire)), estate(segment, slot));
    let is_new = process.state() == DEAD && generation_of(now) != process.sequence();
    if is_new && still() {
        // It fails if another sweeper was first.
        change(segment, slot, now, Word::new(state::OPEN, 0, process.sequence() << STEP_BITS));
    }
}

/// What the dead process in `slot` had claimed is open again.
pub fn reopen(segment: &Segment, slot: u16, still: impl Fn() -> bool) {
    let used = segment.header().processes.load(Acquire).min(PROCESSES_MAX as u64) as usize;
    for other in 0..used {
        let now = estate(segment, other);
        if now.state() == state::CLAIMED && now.slot() == slot && still() {
            change(segment, other, now, step(now, state::OPEN, 0));
        }
    }
}

/// May a newcomer have this process slot? `needed`: all others are taken.
pub fn is_settled(segment: &Segment, slot: usize, needed: bool) -> bool {
    let now = estate(segment, slot);
    match now.state() {
        state::OPEN => needed && change(segment, slot, now, step(now, state::NONE, 0)),
        state::CLAIMED => false,
        _ => true,
    }
}

/// What an end that waits for a successor is to this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has claimed the estate.
    Ours,
    /// Whoever comes first gets it.
    Anybodys,
    /// The process in this slot has claimed it.
    Others(u16),
}

/// Who may attach the end whose word `end` says DIED? (I2)
pub fn standing(member: &Member, end: Word) -> Standing {
    if usize::from(end.slot()) >= PROCESSES_MAX {
        return Standing::Anybodys;
    }
    let now = estate(member.segment(), end.slot().into());
    match (now.state(), now.slot()) {
        (state::CLAIMED, by) if by == member.slot => Standing::Ours,
        (state::CLAIMED, by) => Standing::Others(by),
        _ => Standing::Anybodys,
    }
}

/// An end that a dead process left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftEnd {
    /// The name of its channel.
    pub channel: String,
    /// Which end: of a service a client is the sender, a server the receiver.
    pub side: Side,
}

/// The ends of a dead process, claimed: they are this process's to attach, and nobody else's.
///
/// Made by [`Domain::successor_of`]. Each end is then attached by the name of its channel, as any end is; its type is checked again.
/// Dropping the succession settles it: what was not attached whoever comes by the channel's name gets. If this process dies
/// first, the rest can be claimed again.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// // A program that was started again:
/// if let Some(succession) = domain.successor_of("worker")? {
///     for left in succession.ends() {
///         println!("the {:?} of {}", left.side, left.channel);
///     }
///     let jobs = succession.receiver::<u64>("jobs")?;
/// #   drop(jobs);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Succession {
    member: Handle,
    slot: usize,
    claimed: Word,
    name: String,
    pid: u32,
}

impl Succession {
    /// The dead process's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The generation of its slot: which of the processes that were ever in it.
    pub fn generation(&self) -> u64 {
        generation_of(self.claimed)
    }

    /// Its process id, in its own namespace: to show, never an identity.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The ends that it left, and that nobody has taken over yet.
    pub fn ends(&self) -> Vec<LeftEnd> {
        let mut ends = Vec::new();
        if !self.member.here() {
            return ends;
        }
        let segment = self.member.segment();
        let used = segment.header().channels.load(Acquire).min(CHANNELS_MAX as u64) as usize;
        for index in 0..used {
            let record = segment.channel(index);
            let named = Word(record.state.load(Acquire)).state() == channel_state::NAMED;
            let Some(spec) = read_spec(segment, index).filter(|spec| named && spec.continuation.waits())
            else {
                continue;
            };
            let (senders, receivers) = ends_that_died(&self.member, record, &spec, self.slot as u16);
            let left = |side| LeftEnd { channel: record.name(), side };
            ends.extend((0..senders).map(|_| left(Side::Sender)));
            ends.extend((0..receivers).map(|_| left(Side::Receiver)));
        }
        ends
    }

    /// Attaches the sending end of `channel`.
    ///
    /// # Errors
    /// As [`Domain::sender`].
    pub fn sender<T: Carried + ?Sized>(&self, channel: &str) -> Result<Sender<T>, AttachError> {
        Domain::of(&self.member).sender(channel)
    }

    /// Attaches the receiving end of `channel`: what the dead one had not acknowledged comes first.
    ///
    /// # Errors
    /// As [`Domain::receiver`].
    pub fn receiver<T: Carried + ?Sized>(&self, channel: &str) -> Result<Receiver<T>, AttachError> {
        Domain::of(&self.member).receiver(channel)
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        if self.member.here() {
            change(self.member.segment(), self.slot, self.claimed, step(self.claimed, state::NONE, 0));
        }
    }
}

impl std::fmt::Debug for Succession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Succession")
            .field("name", &self.name)
            .field("slot", &self.slot)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Domain {
    /// Claims the ends that a dead process of this name left in channels that wait for a successor
    /// ([`Continuation::WaitForSuccessor`](crate::Continuation)), all of them in one step: of several processes that try, one gets
    /// them. None: no process of this name died and left any that nobody has claimed. If several did, the one in the lowest slot is claimed;
    /// call it again for the next.
    ///
    /// A process is called as [`DomainOptions::process_name`](crate::DomainOptions::process_name) says, or its launcher, or like its program;
    /// the first 32 bytes count.
    ///
    /// # Errors
    /// In a forked child.
    pub fn successor_of(&self, name: &str) -> Result<Option<Succession>, DomainError> {
        let member = self.member();
        if !member.here() {
            return Err(DomainError::Forked);
        }
        let segment = member.segment();
        let used = segment.header().processes.load(Acquire).min(PROCESSES_MAX as u64) as usize;
        for slot in 0..used {
            let process = segment.process(slot);
            let called = read_text(&process.name);
            if called.is_empty() || !is_cut_from(&called, name, size_of_val(&process.name)) {
                continue;
            }
            // Its death need not have been told yet.
            if matches!(Word(process.word.load(Acquire)).state(), LIVE | DEAD) {
                member.sweep_if_dead(slot as u16);
            }
            let pid = process.pid.load(Relaxed);
            let now = estate(segment, slot);
            let is_over = Word(process.word.load(Acquire));
            let is_its = is_over.state() == FREE && is_over.sequence() == generation_of(now);
            let claimed = step(now, state::CLAIMED, member.slot);
            // The name is the dead one's: nobody else is given its slot while the estate is open (I1).
            if now.state() == state::OPEN && is_its && change(segment, slot, now, claimed) {
                return Ok(Some(Succession { member: member.clone(), slot, claimed, name: called, pid }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
pub(crate) fn states() -> [(&'static str, u64); 3] {
    [
        ("succession::NONE", state::NONE.into()),
        ("succession::OPEN", state::OPEN.into()),
        ("succession::CLAIMED", state::CLAIMED.into()),
    ]
}

/// Is `called` what is left of `name` in so many bytes?
fn is_cut_from(called: &str, name: &str, bytes: usize) -> bool {
    called == name || (name.starts_with(called) && name.len() > bytes && called.len() + 4 > bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::header::process::JOINING;

    /// A process that is in slot 5, dead.
    fn with_a_dead_one(f: impl Fn(&Segment)) {
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options.create().unwrap();
        let segment = domain.member().segment();
        segment.header().processes.fetch_max(6, Relaxed);
        segment.process(5).word.store(Word::new(DEAD, 5, 9).0, Relaxed);
        crate::member::write_text(&segment.process(5).name, "worker");
        f(segment);
    }

    fn free(segment: &Segment) {
        segment.process(5).word.store(Word::new(FREE, 0, 9).0, Relaxed);
    }

    #[test]
    fn an_estate_is_opened_once_whoever_sweeps_how_often() {
        with_a_dead_one(|segment| {
            open(segment, 5, || true);
            let opened = estate(segment, 5);
            assert_eq!((opened.state(), generation_of(opened)), (state::OPEN, 9));
            assert!(change(segment, 5, opened, step(opened, state::NONE, 0)));
            open(segment, 5, || true);
            assert_eq!(estate(segment, 5).state(), state::NONE, "it was settled");
        });
    }

    #[test]
    fn what_a_dead_claimant_had_is_claimed_again_and_no_word_comes_twice() {
        with_a_dead_one(|segment| {
            open(segment, 5, || true);
            let mut seen = vec![estate(segment, 5)];
            for _ in 0..10 {
                let now = estate(segment, 5);
                assert!(change(segment, 5, now, step(now, state::CLAIMED, 3)));
                seen.push(estate(segment, 5));
                reopen(segment, 4, || true);
                assert_eq!(estate(segment, 5).state(), state::CLAIMED, "another one died");
                reopen(segment, 3, || true);
                seen.push(estate(segment, 5));
                assert_eq!(estate(segment, 5).state(), state::OPEN);
            }
            let words: std::collections::HashSet<u64> = seen.iter().map(|word| word.0).collect();
            assert_eq!(words.len(), seen.len());
            assert!(seen.iter().all(|word| generation_of(*word) == 9));
        });
    }

    #[test]
    fn a_slot_with_an_open_estate_is_the_last_to_be_given_away() {
        with_a_dead_one(|segment| {
            open(segment, 5, || true);
            free(segment);
            let reserve = || crate::member::reserve_slot(segment, 1).map(|(slot, _)| slot);
            let mut given = Vec::new();
            while let Some(slot) = reserve().filter(|_| given.len() < PROCESSES_MAX) {
                given.push(slot);
            }
            assert_eq!(given.last(), Some(&5), "when all others are taken");
            assert_eq!(given.iter().filter(|slot| **slot == 5).count(), 1);
            assert_eq!(Word(segment.process(5).word.load(Relaxed)).state(), JOINING);
            assert_eq!(estate(segment, 5).state(), state::NONE);
        });
    }

    #[test]
    fn a_name_is_found_as_far_as_it_was_kept() {
        assert!(is_cut_from("worker", "worker", 32));
        assert!(!is_cut_from("work", "worker", 32));
        let long = "w".repeat(40);
        assert!(is_cut_from(&long[..32], &long, 32));
        assert!(!is_cut_from(&long[..20], &long, 32));
    }
}
