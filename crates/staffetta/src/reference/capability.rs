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
//! | NEVER, FREE (incarnation odd or even alike) | no holder; its memory is kept by whoever has its descriptor | a process that has the descriptor: OWNED; any: new life with a new file |
//! | OWNED(slot) | held by that process, or on its way from it | its holder; a receiver: OWNED(receiver) |
//!
//! K1. The incarnation changes when the file behind a record changes; an entry of another incarnation is stale.
//! K2. A mapping is unmapped only when its entry has no pins.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard};

use crate::error::{AcquireError, AllocateError};
use crate::memory::blocks::Blocks;
use crate::memory::header::block::{FREE, NEVER, OWNED};
use crate::memory::map::CAPABILITIES_MAX;
use crate::memory::segment::Segment;
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
        if let Some(again) = self.take_again(segment, slot, bytes) {
            return again;
        }
        blocks.charge(segment, bytes, bytes)?;
        let made = self.create_new(segment, slot, bytes);
        if made.is_err() {
            Blocks::uncharge(segment, bytes);
        }
        made
    }

    /// One that was freed by whoever held it, and whose file we have.
    fn take_again(
        &self,
        segment: &Segment,
        slot: u16,
        bytes: u64,
    ) -> Option<Result<(CapabilityId, NonNull<u8>), AllocateError>> {
        let mut entries = self.lock();
        let fits = |entry: &Entry| entry.bytes >= bytes && entry.bytes / 2 <= bytes && entry.pins == 0;
        let (&index, entry) = entries.by_index.iter().find(|(&index, entry)| {
            let now = Word(holder(segment, index).load(Acquire));
            fits(entry) && now == Word::new(FREE, 0, entry.incarnation)
        })?;
        let free = Word::new(FREE, 0, entry.incarnation);
        let mine = Word::new(OWNED, slot, entry.incarnation);
        holder(segment, index).compare_exchange(free.0, mine.0, AcqRel, Relaxed).ok()?;
        let (id, old) = (CapabilityId { index, incarnation: entry.incarnation }, entry.bytes);
        match entries.pin(id, Access::ReadWrite) {
            Ok(data) => Some(Ok((id, data))),
            Err(_) => {
                // Sealed against writing: of no more use. Its record gets a new life (K1), its file goes.
                let next = Word::new(FREE, 0, id.incarnation.wrapping_add(1));
                segment.capability_word(index as usize, word::BYTES).store(0, Relaxed);
                holder(segment, index).store(next.0, Release);
                Blocks::uncharge(segment, old);
                entries.by_index.remove(&index);
                None
            }
        }
    }

    fn create_new(
        &self,
        segment: &Segment,
        slot: u16,
        bytes: u64,
    ) -> Result<(CapabilityId, NonNull<u8>), AllocateError> {
        let file = memfd::create_here(c"staffetta-capability", bytes, true)?;
        memfd::add_seals(file.as_fd(), Seals::SHRINK | Seals::GROW)?;
        let mapping = Mapping::map(file.as_fd(), 0, bytes as usize, Placement::Anywhere, Access::ReadWrite)?;
        let id = claim_record(segment, slot)
            .ok_or(AllocateError::NoCapability { capabilities: CAPABILITIES_MAX as u64 })?;
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

    /// The holder gives the capability up: whoever has its descriptor may take it again.
    pub fn free(&self, segment: &Segment, id: CapabilityId) {
        holder(segment, id.index).store(Word::new(FREE, 0, id.incarnation).0, Release);
    }

    /// The capability arrived: it is held by process `slot`.
    pub fn received(segment: &Segment, id: CapabilityId, slot: u16) {
        holder(segment, id.index).store(Word::new(OWNED, slot, id.incarnation).0, Relaxed);
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

/// A record that was never used.
fn claim_record(segment: &Segment, slot: u16) -> Option<CapabilityId> {
    let used = &segment.header().capabilities;
    loop {
        let index = used.load(Relaxed);
        if index >= CAPABILITIES_MAX as u64 {
            return reuse_record(segment, slot);
        }
        if used.compare_exchange(index, index + 1, AcqRel, Relaxed).is_err() {
            continue;
        }
        let id = CapabilityId { index: index as u32, incarnation: 1 };
        let never = Word::new(NEVER, 0, 0);
        let mine = Word::new(OWNED, slot, id.incarnation);
        if holder(segment, id.index).compare_exchange(never.0, mine.0, AcqRel, Relaxed).is_ok() {
            return Some(id);
        }
    }
}

/// All records were used: a free one gets a new life (K1). Its old file goes when the last process
/// that has its descriptor notices.
fn reuse_record(segment: &Segment, slot: u16) -> Option<CapabilityId> {
    (0..CAPABILITIES_MAX as u32).find_map(|index| {
        let now = Word(holder(segment, index).load(Acquire));
        let id = CapabilityId { index, incarnation: now.sequence() + 1 };
        let mine = Word::new(OWNED, slot, id.incarnation);
        let free = now.state() == FREE
            && holder(segment, index).compare_exchange(now.0, mine.0, AcqRel, Relaxed).is_ok();
        if free {
            let old = segment.capability_word(index as usize, word::BYTES).load(Relaxed);
            Blocks::uncharge(segment, old);
        }
        free.then_some(id)
    })
}

/// Gives the memory of free capabilities back: their records get a new life, so every process drops
/// its descriptor when it next looks. Gives the bytes uncharged.
pub fn trim(segment: &Segment, table: &Table) -> u64 {
    let mut entries = table.lock();
    let mut given = 0;
    for (&index, entry) in entries.by_index.iter().filter(|(_, e)| e.pins == 0) {
        let free = Word::new(FREE, 0, entry.incarnation);
        let next = Word::new(FREE, 0, entry.incarnation.wrapping_add(1));
        if holder(segment, index).compare_exchange(free.0, next.0, AcqRel, Relaxed).is_ok() {
            // Punched, so that mappings others keep of it hold no memory.
            let _ = memfd::punch(entry.file.as_fd(), 0, entry.bytes);
            Blocks::uncharge(segment, entry.bytes);
            segment.capability_word(index as usize, word::BYTES).store(0, Relaxed);
            given += entry.bytes;
        }
    }
    entries.drop_stale(segment);
    given
}

/// Frees a capability that is on its way to nobody: its record gets a new life.
pub fn discard(segment: &Segment, id: CapabilityId) {
    let now = Word(holder(segment, id.index).load(Acquire));
    let free = Word::new(FREE, 0, id.incarnation.wrapping_add(1));
    let mine = now.state() == OWNED && now.sequence() == id.incarnation;
    if mine && holder(segment, id.index).compare_exchange(now.0, free.0, AcqRel, Relaxed).is_ok() {
        let bytes = segment.capability_word(id.index as usize, word::BYTES);
        Blocks::uncharge(segment, bytes.swap(0, AcqRel));
    }
}

/// Frees what dead process `slot` held, except `spared`.
pub fn release_dead(segment: &Segment, slot: u16, spared: impl Fn(u32) -> bool) {
    let used = segment.header().capabilities.load(Acquire).min(CAPABILITIES_MAX as u64) as u32;
    for index in 0..used {
        let now = Word(holder(segment, index).load(Acquire));
        if now.state() == OWNED && now.slot() == slot && !spared(index) {
            let free = Word::new(FREE, 0, now.sequence() + 1);
            if holder(segment, index).compare_exchange(now.0, free.0, AcqRel, Relaxed).is_ok() {
                let bytes = segment.capability_word(index as usize, word::BYTES);
                Blocks::uncharge(segment, bytes.swap(0, AcqRel));
            }
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
