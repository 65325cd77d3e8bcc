//! The ledger: what blocks and capabilities cost, and what free blocks keep, as sums that are right whoever is killed when.
//!
//! What a block costs is said in its record; what all of them cost together has to be known as well, when one more is to be
//! charged. Two places cannot be changed in one step, and of a sum that everybody adds to nobody can tell whether the dead had
//! added. So each process has sums of its own, in its slot, which it alone changes, under one lock, and writes down first what
//! it is about to do: its *intent*. The domain's sum is the sum over all slots; they outlive their processes, for whoever comes
//! into the slot goes on with them.
//!
//! | operation | intent | 1st step | 2nd step | killed in between: a sweeper |
//! |---|---|---|---|---|
//! | CHARGE a block or a capability | its `charged` word, before and after | own sum `charged` | the word | does the 2nd step |
//! | LIST: a block becomes free | its holder word, OWNED and FREE | own sum `retained` | the word | does the 2nd step |
//! | TAKE a free block | its holder word, FREE and OWNED | the word | own sum `retained` | undoes the 1st: FREE again |
//!
//! E1. An intent is written before the first step, and says nothing any more after the second. While it stands, whether the sum
//!     was changed can be told from the sum alone: nobody else changes it, and it says what it is before and after. (If the two
//!     are the same nothing is at stake.)
//! E2. What a sweeper does is one compare-exchange of the word of a block or capability, which never is the same again: a
//!     holder word has its incarnation, a `charged` word counts its changes. So any number of sweepers may do it, once or
//!     late: it happens once.
//! E3. A sweeper reads the intent, and the sum, and then sees that the slot is still the dead one's: so both are the dead one's.
//! E4. Who charges adds first, then adds up what all have charged, and takes it back if it is too much. Of several at once the
//!     last to add sees what all others added; so together they never have more than the budget.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{fence, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::header::block::{FREE, OWNED};
use super::header::ProcessSlot;
use super::map::{BlockId, BLOCK_RECORD_BYTES, CAPABILITIES_MAX, PROCESSES_MAX};
use super::segment::Segment;
use super::stop;
use super::word::Word;

/// An intent's words.
mod word {
    pub const OPERATION: usize = 0;
    pub const WHAT: usize = 1;
    pub const FROM: usize = 2;
    pub const TO: usize = 3;
    pub const BEFORE: usize = 4;
    pub const AFTER: usize = 5;
}

/// What an intent is to do.
mod operation {
    /// Nothing.
    pub const NONE: u64 = 0;
    pub const CHARGE_BLOCK: u64 = 1;
    pub const CHARGE_CAPABILITY: u64 = 2;
    pub const LIST: u64 = 3;
    pub const TAKE: u64 = 4;
}

const CLASS_SHIFT: u32 = 48;

/// What is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// A block, in units of a block record.
    Block(BlockId),
    /// A capability, in units of the smallest page.
    Capability(u32),
}

/// Bytes of a unit in which a capability is charged.
const CAPABILITY_UNIT: u64 = 4096;
/// A `charged` word: units in the lower half, changes in the upper. A sweeper that is stopped between its look and its
/// compare-exchange is fooled if the word has changed a multiple of 2^32 times meanwhile and is then the same; each
/// change gives memory back or fills it again, at some microsecond each.
const UNITS: u64 = u32::MAX as u64;

impl Charged {
    const fn unit(self) -> u64 {
        match self {
            Charged::Block(_) => BLOCK_RECORD_BYTES,
            Charged::Capability(_) => CAPABILITY_UNIT,
        }
    }

    fn word(self, segment: &Segment) -> &AtomicU64 {
        match self {
            Charged::Block(id) => &segment.block_record(id).charged,
            Charged::Capability(index) => {
                segment.capability_word(index as usize, crate::reference::capability::word::CHARGED)
            }
        }
    }

    /// Bytes that the `charged` word says.
    pub const fn bytes(self, word: u64) -> u64 {
        (word & UNITS) * self.unit()
    }

    /// Bytes charged for it now.
    pub fn now(self, segment: &Segment) -> u64 {
        self.bytes(self.word(segment).load(Relaxed))
    }

    /// The word that says so many bytes, after `word`.
    const fn next(self, word: u64, bytes: u64) -> u64 {
        (word & !UNITS).wrapping_add(UNITS + 1) | bytes.div_ceil(self.unit())
    }

    const fn code(self) -> (u64, u64) {
        match self {
            Charged::Block(id) => (operation::CHARGE_BLOCK, code_of(id)),
            Charged::Capability(index) => (operation::CHARGE_CAPABILITY, index as u64),
        }
    }
}

const fn code_of(id: BlockId) -> u64 {
    (id.class as u64) << CLASS_SHIFT | id.index
}

fn block_of(segment: &Segment, code: u64) -> Option<BlockId> {
    let id = BlockId { class: (code >> CLASS_SHIFT) as u32, index: code & ((1 << CLASS_SHIFT) - 1) };
    let map = segment.map();
    (map.classes().any(|class| class == id.class) && id.index < map.count(id.class)).then_some(id)
}

/// One process's part of the ledger.
pub struct Ledger {
    slot: u16,
    lock: Mutex<()>,
}

/// The intent of the process whose lock is held.
struct Intent<'s> {
    of: &'s ProcessSlot,
    _locked: MutexGuard<'s, ()>,
}

impl Intent<'_> {
    /// E1.
    fn write(&self, operation: u64, what: u64, [from, to]: [u64; 2], [before, after]: [u64; 2]) {
        let intent = &self.of.intent;
        intent[word::WHAT].store(what, Relaxed);
        intent[word::FROM].store(from, Relaxed);
        intent[word::TO].store(to, Relaxed);
        intent[word::BEFORE].store(before, Relaxed);
        intent[word::AFTER].store(after, Relaxed);
        // Release, as each of the steps: none is done before the one before.
        intent[word::OPERATION].store(operation, Release);
    }
}

impl Drop for Intent<'_> {
    fn drop(&mut self) {
        self.of.intent[word::OPERATION].store(operation::NONE, Release);
    }
}

impl Ledger {
    /// Of the process in `slot`.
    pub fn new(slot: u16) -> Ledger {
        Ledger { slot, lock: Mutex::new(()) }
    }

    fn begin<'s>(&'s self, segment: &'s Segment) -> Intent<'s> {
        let _locked = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        Intent { of: segment.process(self.slot.into()), _locked }
    }

    /// `bytes` are charged for it from now on; the caller has it. `Err`: what is charged in all; more would be too much.
    pub fn charge(&self, segment: &Segment, what: Charged, bytes: u64) -> Result<(), u64> {
        if bytes.div_ceil(what.unit()) > UNITS {
            return Err(charged_bytes(segment)); // more than any budget
        }
        let intent = self.begin(segment);
        let (place, sum) = (what.word(segment), &intent.of.charged);
        let from = place.load(Relaxed);
        let to = what.next(from, bytes);
        let before = sum.load(Relaxed);
        let after = before.wrapping_add(what.bytes(to)).wrapping_sub(what.bytes(from));
        let (operation, code) = what.code();
        intent.write(operation, code, [from, to], [before, after]);
        stop::here("charge: intent written");
        sum.store(after, SeqCst); // E4
        stop::here("charge: sum changed");
        if what.bytes(to) > what.bytes(from) {
            let all = charged_bytes(segment);
            if all > segment.header().budget_bytes.load(Relaxed) {
                sum.store(before, Release);
                return Err(all - (what.bytes(to) - what.bytes(from)).min(all));
            }
        }
        place.store(to, Release);
        stop::here("charge: word changed");
        Ok(())
    }

    /// OWNED(this process) => FREE, next incarnation.
    pub fn list(&self, segment: &Segment, id: BlockId) {
        let intent = self.begin(segment);
        let record = segment.block_record(id);
        let from = Word(record.holder.load(Relaxed));
        let to = Word::new(FREE, 0, from.sequence() + 1);
        let before = intent.of.retained.load(Relaxed);
        let after = before.wrapping_add(Charged::Block(id).now(segment));
        intent.write(operation::LIST, code_of(id), [from.0, to.0], [before, after]);
        stop::here("list: intent written");
        intent.of.retained.store(after, Release);
        stop::here("list: sum changed");
        // Release: publishes whatever its last holder did to the block.
        record.holder.store(to.0, Release);
        stop::here("list: free");
    }

    /// `from`, FREE or NEVER, as it was read => OWNED(this process), in the same incarnation. False: somebody else was quicker.
    pub fn take(&self, segment: &Segment, id: BlockId, from: Word) -> bool {
        let intent = self.begin(segment);
        let record = segment.block_record(id);
        let to = Word::new(OWNED, self.slot, from.sequence());
        let before = intent.of.retained.load(Relaxed);
        // What is charged is of `from`, if the compare-exchange finds that.
        let after = before.wrapping_sub(Charged::Block(id).now(segment));
        intent.write(operation::TAKE, code_of(id), [from.0, to.0], [before, after]);
        stop::here("take: intent written");
        // AcqRel: acquires what was released with the block.
        let taken = record.holder.compare_exchange(from.0, to.0, AcqRel, Relaxed).is_ok();
        if taken {
            stop::here("take: taken");
            intent.of.retained.store(after, Release);
            stop::here("take: sum changed");
        }
        taken
    }
}

/// A process comes into a slot: what the one before intended has been settled.
pub fn enter(slot: &ProcessSlot) {
    slot.intent[word::OPERATION].store(operation::NONE, Release);
    // E3: a sweeper that reads any word of an intent of ours, also one that is stored relaxed, sees that the slot is ours.
    fence(Release);
}

/// Settles the intent of the dead process in `slot`. `still`: is the slot the dead one's? (E3)
pub fn settle(segment: &Segment, slot: u16, still: impl Fn() -> bool) {
    let of = segment.process(slot.into());
    let intent: [u64; 6] = std::array::from_fn(|i| of.intent[i].load(Acquire));
    let (charged, retained) = (of.charged.load(Acquire), of.retained.load(Acquire));
    let [operation, what, from, to, before, after] = intent;
    if operation == operation::NONE || before == after || !still() {
        return;
    }
    // Into a word that is as the intent says (E2). What a peer wrote is looked at before it is followed.
    let change = |place: &AtomicU64, from: u64, to: u64| {
        let _ = place.compare_exchange(from, to, AcqRel, Relaxed);
    };
    let holder = || block_of(segment, what).map(|id| &segment.block_record(id).holder);
    match operation {
        operation::CHARGE_BLOCK if charged == after => {
            if let Some(id) = block_of(segment, what) {
                change(&segment.block_record(id).charged, from, to);
            }
        }
        operation::CHARGE_CAPABILITY if charged == after && what < CAPABILITIES_MAX as u64 => {
            change(Charged::Capability(what as u32).word(segment), from, to);
        }
        operation::LIST if retained == after => {
            if let Some(holder) = holder() {
                change(holder, from, to);
            }
        }
        operation::TAKE if retained == before => {
            if let Some(holder) = holder() {
                change(holder, to, Word::new(FREE, 0, Word(to).sequence() + 1).0);
            }
        }
        _ => {}
    }
}

fn sum(segment: &Segment, of: impl Fn(&ProcessSlot) -> &AtomicU64) -> u64 {
    let used = segment.header().processes.load(SeqCst).min(PROCESSES_MAX as u64) as usize;
    total((0..used).map(|i| of(segment.process(i)).load(SeqCst)))
}

/// Of the sums of all slots. One may have been seen before, and another after, the same bytes went from hand to hand: less than
/// nothing is nothing.
pub fn total(of: impl Iterator<Item = u64>) -> u64 {
    of.fold(0_i64, |all, one| all.wrapping_add(one as i64)).max(0) as u64
}

/// Bytes that blocks and capabilities occupy: in use, or free and kept.
pub fn charged_bytes(segment: &Segment) -> u64 {
    sum(segment, |slot| &slot.charged)
}

/// Bytes that free blocks keep.
pub fn retained_bytes(segment: &Segment) -> u64 {
    sum(segment, |slot| &slot.retained)
}

#[cfg(test)]
mod tests {
    use crate::{Addresses, Domain, Parcel};

    /// E4: of two that charge at once neither takes what is not there.
    #[test]
    fn together_processes_never_have_more_than_the_budget() {
        const BUDGET: u64 = 4 << 20;
        let options = || Domain::options().window_bytes(16 << 30).memory_max_bytes(BUDGET);
        let domain = options().create().unwrap();
        let memory = domain.descriptor().try_clone_to_owned().unwrap();
        let other = options().addresses(Addresses::Distinct).join_descriptor(memory).unwrap();
        for _ in 0..20 {
            let fill = |of: &Domain| {
                let next = || Parcel::<[u8]>::with_tail(of, 60_000).ok();
                std::iter::from_fn(next).collect::<Vec<_>>()
            };
            let parcels = std::thread::scope(|scope| {
                let others = scope.spawn(|| fill(&other));
                [fill(&domain), others.join().unwrap()]
            });
            let charged = super::charged_bytes(domain.member().segment());
            assert!(charged <= BUDGET, "{charged} bytes");
            let all: usize = parcels.iter().flatten().map(|parcel| parcel.len()).sum();
            assert!(all as u64 > BUDGET / 2, "only {all} bytes could be had");
        }
    }
}
