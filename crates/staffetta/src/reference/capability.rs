//! Capabilities: objects in memory files of their own, acquired and released while the process runs.
//!
//! A capability has a record in the domain (who holds it, its size) and an entry in the private table of each
//! process that holds its descriptor. **Acquire** maps it, **release** unmaps it; in between, the entry
//! is *pinned* by whoever uses the mapping.
//!
//! A mapping costs as much as copying half a megabyte, so mappings that nobody uses are kept: the table
//! is a cache. Rule of eviction: at most [`MAPPED_MAX`] mappings that nobody pins; the one least
//! recently used goes first. Descriptors are kept for as long as their capability lives, so a process
//! that was handed one never has to be handed it again.
//!
//! | record's state | means | left by |
//! |---|---|---|
//! | NEVER | never used | who takes it: OWNED |
//! | FREE(slot) | no holder; that process, which has the descriptor, keeps its memory charged for the next one | a process that has the descriptor: OWNED, in the same life; any, if nothing is charged: OWNED, in a new life |
//! | OWNED(slot) | held by that process, or on its way from it; or being given up by it | its holder: FREE; a receiver: OWNED(receiver) |
//!
//! K1. The incarnation changes when the file behind a record changes; an entry of another incarnation is stale.
//! K2. A mapping is unmapped only when its entry has no pins.
//! K3. Giving a life up takes three steps, all of them of one process that has it alone: OWNED(it) in the next life, then
//!     nothing is charged any more, then FREE. If it is killed in between, the capability is what it held.
//! K4. Whoever receives it says first that it holds it, and then counts that: with the count it is claimed. A message names the count as
//!     it was when it was sent. So of a message it can be told whether its receiver has claimed it; and a capability that came back to
//!     whoever sent it is told from the one on its way that the words of an old message name.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard};

use crate::error::{AcquireError, AllocateError};
use crate::memory::blocks::Blocks;
use crate::memory::header::block::{FREE, NEVER, OWNED};
use crate::memory::ledger::Charged;
use crate::memory::map::CAPABILITIES_MAX;
use crate::memory::segment::Segment;
use crate::memory::stop;
use crate::memory::word::Word;
use crate::os;
use crate::os::fork::NotInherited;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd::{self, Seals};

/// Mappings that a process keeps although nobody uses them.
pub const MAPPED_MAX: usize = 64;

/// Words of a capability record.
pub(crate) mod word {
    /// State word: the table above; the sequence is the incarnation.
    pub const HOLDER: usize = 0;
    /// Bytes of its file.
    pub const BYTES: usize = 1;
    /// What is charged for it (`memory::ledger`).
    pub const CHARGED: usize = 2;
    /// How often it was received (K4).
    pub const HANDS: usize = 3;
}

/// Descriptors of capabilities that this process holds, and their mappings.
pub struct Table {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_index: HashMap<u32, Entry, ByIndex>,
    clock: u64,
}

/// Indices of records are given out in order by ourselves: nobody chooses them to collide.
type ByIndex = BuildHasherDefault<Spread>;

/// Fibonacci hashing of one number.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((self.0 as u32) << 8 | u32::from(*byte)));
    }

    fn write_u32(&mut self, index: u32) {
        self.0 = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

struct Entry {
    file: NotInherited,
    incarnation: u64,
    bytes: u64,
    mapping: Option<Mapping>,
    pins: u32,
    used: u64,
    /// Processes (slot, generation) that have the descriptor as well; some may be gone.
    known_by: Vec<(u16, u64)>,
}

/// What is left of an entry when its process leaves.
pub struct GivenUp {
    /// Of which capability.
    pub id: CapabilityId,
    /// Its descriptor.
    pub file: NotInherited,
    /// Processes (slot, generation) that have the descriptor as well; some may be gone.
    pub known_by: Vec<(u16, u64)>,
}

/// A capability, by its record and the life it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityId {
    /// Its record.
    pub index: u32,
    /// K1.
    pub incarnation: u64,
}

/// Bits of the incarnation in the third word of a message; the rest is the count of hands (K4).
const SENT_BITS: u32 = 36;

/// The third word of a message with a capability that was received so often, and is in this life.
pub const fn sent_word(hands: u64, incarnation: u64) -> u64 {
    hands << SENT_BITS | incarnation & ((1 << SENT_BITS) - 1)
}

/// A capability as a message names it.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Which one.
    pub id: CapabilityId,
    hands: u64,
}

impl Sent {
    /// The third word of a message with a capability that this process holds.
    pub fn word(segment: &Segment, id: CapabilityId) -> u64 {
        sent_word(hands(segment, id.index), id.incarnation)
    }

    /// What a message says whose third word is this.
    pub const fn of(index: u32, word: u64) -> Sent {
        let incarnation = word & ((1 << SENT_BITS) - 1);
        Sent { id: CapabilityId { index, incarnation }, hands: word >> SENT_BITS }
    }

    /// The holder word, if it is as it was sent: nobody has claimed it.
    pub fn unclaimed(self, segment: &Segment) -> Option<Word> {
        let now = Word(holder(segment, self.id.index).load(Acquire));
        let same_hands = hands(segment, self.id.index) & (u64::MAX >> SENT_BITS) == self.hands;
        (now.state() == OWNED && now.sequence() == self.id.incarnation && same_hands).then_some(now)
    }

    /// It arrived: it is held by process `slot`. False: it is not as it was sent.
    pub fn claim(self, segment: &Segment, slot: u16) -> bool {
        let mine = Word::new(OWNED, slot, self.id.incarnation);
        let word = holder(segment, self.id.index);
        let claimed = self.unclaimed(segment);
        if claimed.is_none_or(|now| word.compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_err()) {
            return false;
        }
        stop::here("capability: received");
        let count = segment.capability_word(self.id.index as usize, word::HANDS);
        count.store(count.load(Relaxed).wrapping_add(1), Release); // K4: after the holder
        true
    }
}

fn hands(segment: &Segment, index: u32) -> u64 {
    segment.capability_word(index as usize, word::HANDS).load(Acquire)
}

impl CapabilityId {
    /// The number by which its descriptor is passed from process to process.
    pub fn ticket(self) -> u64 {
        (self.incarnation << 20) | u64::from(self.index)
    }

    /// The capability whose descriptor is passed under this number.
    pub fn of_ticket(ticket: u64) -> CapabilityId {
        CapabilityId { index: (ticket & ((1 << 20) - 1)) as u32, incarnation: ticket >> 20 }
    }
}

impl Table {
    /// Empty.
    pub fn new() -> Table {
        Table { entries: Mutex::new(Entries::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A capability of at least `bytes`, held by process `slot`, mapped and pinned.
    pub fn create(
        &self,
        segment: &Segment,
        blocks: &Blocks,
        slot: u16,
        bytes: u64,
    ) -> Result<(CapabilityId, NonNull<u8>), AllocateError> {
        let page = segment.page_bytes();
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(page)
            .ok_or(AllocateError::TooLarge { bytes, bytes_max: u64::MAX - page })?;
        if let Some(again) = self.take_again(segment, blocks, slot, bytes) {
            return again;
        }
        let id = claim_record(segment, slot)
            .ok_or(AllocateError::NoCapability { capabilities: CAPABILITIES_MAX as u64 })?;
        stop::here("capability: claimed");
        let made = blocks
            .charge(segment, Charged::Capability(id.index), bytes, bytes)
            .and_then(|()| self.create_new(segment, id, bytes));
        if made.is_err() {
            let next = Word::new(OWNED, slot, id.incarnation.wrapping_add(1));
            holder(segment, id.index).store(next.0, Release);
            give_up_life(segment, blocks, id.index, next);
        }
        made
    }

    /// One that was freed by whoever held it, and whose file we have.
    fn take_again(
        &self,
        segment: &Segment,
        blocks: &Blocks,
        slot: u16,
        bytes: u64,
    ) -> Option<Result<(CapabilityId, NonNull<u8>), AllocateError>> {
        let mut entries = self.lock();
        let fits = |entry: &Entry| entry.bytes >= bytes && entry.bytes / 2 <= bytes && entry.pins == 0;
        let (index, free) = entries.by_index.iter().find_map(|(&index, entry)| {
            let now = Word(holder(segment, index).load(Acquire));
            (fits(entry) && is_free(now, entry.incarnation)).then_some((index, now))
        })?;
        let mine = free.with_state(OWNED).with_slot(slot);
        holder(segment, index).compare_exchange(free.0, mine.0, AcqRel, Relaxed).ok()?;
        let id = CapabilityId { index, incarnation: free.sequence() };
        match entries.pin(id, Access::ReadWrite) {
            Ok(data) => Some(Ok((id, data))),
            Err(_) => {
                // Sealed against writing: of no more use. Its record gets a new life (K1), its file goes.
                let next = Word::new(OWNED, slot, id.incarnation.wrapping_add(1));
                holder(segment, index).store(next.0, Release);
                give_up_life(segment, blocks, index, next);
                entries.by_index.remove(&index);
                None
            }
        }
    }

    fn create_new(
        &self,
        segment: &Segment,
        id: CapabilityId,
        bytes: u64,
    ) -> Result<(CapabilityId, NonNull<u8>), AllocateError> {
        let file = memfd::create_here(c"staffetta-capability", bytes, true)?;
        memfd::add_seals(file.as_fd(), Seals::SHRINK | Seals::GROW)?;
        let mapping = Mapping::map(file.as_fd(), 0, bytes as usize, Placement::Anywhere, Access::ReadWrite)?;
        segment.capability_word(id.index as usize, word::BYTES).store(bytes, Relaxed);
        let base = mapping.base();
        let mut entries = self.lock();
        entries.drop_stale(segment);
        entries.insert(id, file, bytes, Some(mapping), 1);
        Ok((id, base))
    }

    /// A descriptor arrived; `from` has it as well. Checks that the file is as long as the record says.
    pub fn adopt(
        &self,
        segment: &Segment,
        id: CapabilityId,
        file: OwnedFd,
        from: (u16, u64),
    ) -> Result<(), AcquireError> {
        let bytes = memfd::size_bytes(file.as_fd())?;
        let sealed = memfd::seals(file.as_fd())?.contains(Seals::SHRINK);
        let recorded = segment.capability_word(id.index as usize, word::BYTES).load(Relaxed);
        if !sealed || bytes < recorded {
            return Err(AcquireError::Unsafe { bytes, recorded, sealed });
        }
        let file = memfd::keep_here(file)?;
        let mut entries = self.lock();
        entries.drop_stale(segment);
        entries.insert(id, file, bytes, None, 0);
        if let Some(entry) = entries.by_index.get_mut(&id.index) {
            entry.known_by.push(from);
        }
        Ok(())
    }

    /// Acquires: maps if it is not mapped, and pins. None: it has fewer than `length` bytes.
    pub fn acquire(
        &self,
        id: CapabilityId,
        access: Access,
        length: u64,
    ) -> Result<Option<NonNull<u8>>, AcquireError> {
        let mut entries = self.lock();
        if entries.entry(id)?.bytes < length {
            return Ok(None);
        }
        entries.pin(id, access).map(Some)
    }

    /// The holder does not use the mapping any more; it stays mapped until it is evicted.
    pub fn unpin(&self, id: CapabilityId) {
        let mut entries = self.lock();
        entries.unpin(id);
        entries.evict();
    }

    /// Releases: the mapping is gone when this returns, unless another handle of this process pins it.
    pub fn release(&self, id: CapabilityId) -> bool {
        let mut entries = self.lock();
        entries.unpin(id);
        match entries.by_index.get_mut(&id.index) {
            Some(entry) if entry.pins == 0 => entry.mapping.take().is_some(), // K2
            _ => false,
        }
    }

    /// The holder, process `slot`, gives the capability up: whoever has its descriptor may take it again.
    pub fn free(&self, segment: &Segment, id: CapabilityId, slot: u16) {
        holder(segment, id.index).store(Word::new(FREE, slot, id.incarnation).0, Release);
    }

    /// Runs `pass` with the descriptor unless `to` has it already; remembers that it has then.
    pub fn pass_to<E>(
        &self,
        id: CapabilityId,
        to: (u16, u64),
        pass: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let mut entries = self.lock();
        let entry = entries.by_index.get_mut(&id.index).filter(|e| e.incarnation == id.incarnation)?;
        if entry.known_by.contains(&to) {
            return Some(Ok(()));
        }
        let passed = pass(entry.file.as_fd());
        if passed.is_ok() {
            entry.known_by.push(to);
        }
        Some(passed)
    }

    /// Whether one of those who have the descriptor as well is one of `processes`.
    pub fn is_known_to(&self, id: CapabilityId, processes: &[(u16, u64)]) -> bool {
        let mut entries = self.lock();
        entries.entry(id).is_ok_and(|entry| entry.known_by.iter().any(|known| processes.contains(known)))
    }

    /// A copy of the descriptor, for the process `to`, if this process has it.
    pub fn copy_for(&self, id: CapabilityId, to: (u16, u64)) -> Result<Option<OwnedFd>, os::Error> {
        let mut entries = self.lock();
        let Ok(entry) = entries.entry(id) else {
            return Ok(None);
        };
        let copy = memfd::duplicate(entry.file.as_fd())?;
        if !entry.known_by.contains(&to) {
            entry.known_by.push(to);
        }
        Ok(Some(copy))
    }

    /// Takes an idle mapping out of the address space. False: it is pinned.
    pub fn unmap_idle(&self, id: CapabilityId) -> bool {
        let mut entries = self.lock();
        match entries.entry(id) {
            Ok(entry) if entry.pins != 0 => false,
            Ok(entry) => {
                entry.mapping = None; // K2
                true
            }
            Err(_) => true,
        }
    }

    /// Seals the file against writing, for ever. False: somebody has it mapped for writing.
    pub fn seal(&self, id: CapabilityId) -> Result<bool, AcquireError> {
        let mut entries = self.lock();
        let entry = entries.entry(id)?;
        if entry.pins != 0 {
            return Err(AcquireError::InUse);
        }
        entry.mapping = None;
        Ok(memfd::seal_against_writing(entry.file.as_fd())?)
    }

    /// The process leaves: everything is unmapped, and the descriptors that others may ask for are given up.
    pub fn give_up(&self, segment: &Segment) -> Vec<GivenUp> {
        let entries = std::mem::take(&mut *self.lock());
        let owned = |index, incarnation| {
            let now = Word(holder(segment, index).load(Acquire));
            now.state() == OWNED && now.sequence() == incarnation
        };
        let all = entries.by_index.into_iter();
        all.filter(|(index, entry)| owned(*index, entry.incarnation))
            .map(|(index, entry)| GivenUp {
                id: CapabilityId { index, incarnation: entry.incarnation },
                file: entry.file,
                known_by: entry.known_by,
            })
            .collect()
    }

    /// Forgets a process: it may have died, and its slot may be another's.
    pub fn forget_process(&self, member: (u16, u64)) {
        for entry in self.lock().by_index.values_mut() {
            entry.known_by.retain(|known| *known != member);
        }
    }

    /// A pointer into a mapping that somebody pins.
    pub fn pointer(&self, index: u32, length: u64) -> Option<NonNull<u8>> {
        let entries = self.lock();
        let entry = entries.by_index.get(&index)?;
        (entry.pins != 0 && length <= entry.bytes).then(|| entry.mapping.as_ref().map(Mapping::base))?
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Entries {
    fn entry(&mut self, id: CapabilityId) -> Result<&mut Entry, AcquireError> {
        self.by_index
            .get_mut(&id.index)
            .filter(|e| e.incarnation == id.incarnation)
            .ok_or(AcquireError::NotHeld)
    }

    fn insert(
        &mut self,
        id: CapabilityId,
        file: NotInherited,
        bytes: u64,
        mapping: Option<Mapping>,
        pins: u32,
    ) {
        self.clock += 1;
        let entry = Entry {
            file,
            incarnation: id.incarnation,
            bytes,
            mapping,
            pins,
            used: self.clock,
            known_by: Vec::new(),
        };
        self.by_index.insert(id.index, entry);
    }

    fn pin(&mut self, id: CapabilityId, access: Access) -> Result<NonNull<u8>, AcquireError> {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.entry(id)?;
        if entry.mapping.is_none() {
            let bytes = entry.bytes as usize;
            entry.mapping = Some(Mapping::map(entry.file.as_fd(), 0, bytes, Placement::Anywhere, access)?);
        }
        entry.used = clock;
        entry.pins += 1;
        entry.mapping.as_ref().map(Mapping::base).ok_or(AcquireError::NotHeld)
    }

    fn unpin(&mut self, id: CapabilityId) {
        if let Ok(entry) = self.entry(id) {
            entry.pins = entry.pins.saturating_sub(1);
        }
    }

    /// Unmaps the least recently used mappings beyond [`MAPPED_MAX`].
    fn evict(&mut self) {
        if self.by_index.len() <= MAPPED_MAX {
            return;
        }
        let idle = |e: &&mut Entry| e.pins == 0 && e.mapping.is_some();
        let mut idle: Vec<&mut Entry> = self.by_index.values_mut().filter(idle).collect();
        if idle.len() > MAPPED_MAX {
            idle.sort_by_key(|e| e.used);
            let beyond = idle.len() - MAPPED_MAX;
            for entry in idle.into_iter().take(beyond) {
                entry.mapping = None; // K2: no pins
            }
        }
    }

    /// Drops entries whose capability has another file by now (K1).
    fn drop_stale(&mut self, segment: &Segment) {
        self.by_index.retain(|&index, entry| {
            entry.pins != 0 || Word(holder(segment, index).load(Acquire)).sequence() == entry.incarnation
        });
    }
}

fn holder(segment: &Segment, index: u32) -> &std::sync::atomic::AtomicU64 {
    segment.capability_word(index as usize, word::HOLDER)
}

/// Is this the life that the capability is in?
pub fn is_current(segment: &Segment, id: CapabilityId) -> bool {
    (id.index as usize) < CAPABILITIES_MAX
        && Word(holder(segment, id.index).load(Acquire)).sequence() == id.incarnation
}

/// Is it free, in this life?
fn is_free(now: Word, incarnation: u64) -> bool {
    now.state() == FREE && now.sequence() == incarnation
}

/// A record that was never used, for process `slot`; nothing is charged for it.
fn claim_record(segment: &Segment, slot: u16) -> Option<CapabilityId> {
    let used = &segment.header().capabilities;
    loop {
        let index = used.load(Relaxed);
        if index >= CAPABILITIES_MAX as u64 {
            return reuse_record(segment, slot);
        }
        // The mark first: who is killed in between leaves a record that was never used, and is (`reuse_record`).
        let raised = used.compare_exchange(index, index + 1, AcqRel, Relaxed).is_ok();
        stop::here("capability: mark raised");
        if raised && claim(segment, slot, index as u32) {
            return Some(CapabilityId { index: index as u32, incarnation: 1 });
        }
    }
}

/// NEVER | FREE, with nothing charged => OWNED(process `slot`), in the next life (K1).
fn claim(segment: &Segment, slot: u16, index: u32) -> bool {
    let now = Word(holder(segment, index).load(Acquire));
    let mine = Word::new(OWNED, slot, now.sequence() + 1);
    matches!(now.state(), NEVER | FREE)
        && Charged::Capability(index).now(segment) == 0
        && holder(segment, index).compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok()
}

/// All records were used: one for which nothing is charged gets a new life. One that is free and charged is its keeper's.
fn reuse_record(segment: &Segment, slot: u16) -> Option<CapabilityId> {
    let index = (0..CAPABILITIES_MAX as u32).find(|index| claim(segment, slot, *index))?;
    let incarnation = Word(holder(segment, index).load(Relaxed)).sequence();
    Some(CapabilityId { index, incarnation })
}

/// `mine`, OWNED(this process) in its next life => FREE, with nothing charged (K3). Gives the bytes uncharged.
fn give_up_life(segment: &Segment, blocks: &Blocks, index: u32, mine: Word) -> u64 {
    stop::here("capability: in its next life");
    let charged = Charged::Capability(index).now(segment);
    segment.capability_word(index as usize, word::BYTES).store(0, Relaxed);
    if charged != 0 {
        blocks.uncharge(segment, Charged::Capability(index), 0);
    }
    stop::here("capability: uncharged");
    holder(segment, index).store(mine.with_state(FREE).with_slot(0).0, Release);
    charged
}

/// `now`, as it was read => OWNED(process `slot`), in the next life. None: somebody else was quicker.
fn begin_giving_up(segment: &Segment, index: u32, now: Word, slot: u16) -> Option<Word> {
    let mine = Word::new(OWNED, slot, now.sequence() + 1);
    holder(segment, index).compare_exchange(now.0, mine.0, AcqRel, Relaxed).ok().map(|_| mine)
}

/// Gives the memory of free capabilities back: their records get a new life, so every process drops
/// its descriptor when it next looks. Gives the bytes uncharged.
pub fn trim(segment: &Segment, blocks: &Blocks, table: &Table, slot: u16) -> u64 {
    let mut entries = table.lock();
    let mut given = 0;
    for (&index, entry) in entries.by_index.iter().filter(|(_, e)| e.pins == 0) {
        let now = Word(holder(segment, index).load(Acquire));
        if !is_free(now, entry.incarnation) {
            continue;
        }
        if let Some(mine) = begin_giving_up(segment, index, now, slot) {
            // Punched, so that mappings others keep of it hold no memory.
            let _ = memfd::punch(entry.file.as_fd(), 0, entry.bytes);
            given += give_up_life(segment, blocks, index, mine);
        }
    }
    entries.drop_stale(segment);
    given
}

/// Frees a capability that nobody will receive: its record gets a new life. Not if its receiver has claimed it. `still`: will nobody
/// receive it? Asked between reading and changing.
pub fn discard(segment: &Segment, blocks: &Blocks, sent: Sent, slot: u16, still: impl Fn() -> bool) {
    let now = sent.unclaimed(segment).filter(|_| still());
    if let Some(mine) = now.and_then(|now| begin_giving_up(segment, sent.id.index, now, slot)) {
        give_up_life(segment, blocks, sent.id.index, mine);
    }
}

/// Frees what dead process `dead` held, except what is `spared`, as a message would name it now; and takes over, for process `slot`, what it kept for later, if we
/// have the descriptor as well.
pub fn release_dead(
    segment: &Segment,
    blocks: &Blocks,
    table: &Table,
    (dead, slot): (u16, u16),
    spared: impl Fn(Option<(u32, u64)>) -> bool,
) {
    let used = segment.header().capabilities.load(Acquire).min(CAPABILITIES_MAX as u64) as u32;
    for index in 0..used {
        let now = Word(holder(segment, index).load(Acquire));
        let kept = now.state() == FREE && Charged::Capability(index).now(segment) != 0;
        let its = (now.state() == OWNED || kept) && now.slot() == dead;
        // After the holder was read (K4): who claims it meanwhile has changed that.
        let sent = || Sent::word(segment, CapabilityId { index, incarnation: now.sequence() });
        if !its || spared((!kept).then(|| (index, sent()))) {
            continue;
        }
        let has_it = || table.lock().entry(CapabilityId { index, incarnation: now.sequence() }).is_ok();
        if kept && has_it() {
            // It fails if it was taken again, or another sweeper was quicker.
            let ours = now.with_slot(slot);
            let _ = holder(segment, index).compare_exchange(now.0, ours.0, AcqRel, Relaxed);
        } else if let Some(mine) = begin_giving_up(segment, index, now, slot) {
            give_up_life(segment, blocks, index, mine);
        }
    }
}

impl Table {
    /// Runs `f` with the descriptor and its size.
    pub fn with_file<R>(
        &self,
        id: CapabilityId,
        f: impl FnOnce(std::os::fd::BorrowedFd<'_>, u64) -> Result<R, AcquireError>,
    ) -> Result<R, AcquireError> {
        let mut entries = self.lock();
        let entry = entries.entry(id)?;
        f(entry.file.as_fd(), entry.bytes)
    }
}
