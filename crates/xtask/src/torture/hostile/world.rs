//! A domain in use, in a member's hands and in a dead one's; taken back to what it was after each trial.
//!
//! The domain has two members, both in this process: the one that is tried, and another one (at other addresses) that holds
//! ends, has messages in hand and parcels, and that is *buried* in some trials: its process slot says that it is dead, so
//! whoever comes upon it sweeps it.
//!
//! What the domain's memory is, page by page, is noted when all is set up; after each trial each page that differs is written
//! again. The numbers here are those of docs/layout.md.

#![allow(unsafe_code)] // Pages of the window.

use std::any::Any;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::SeekFrom;
use staffetta::{Addresses, Domain};

use super::scenes;
use super::victim::Kind;
use crate::torture::random::Random;

const WINDOW: u64 = 16 << 30;
const PAGE: u64 = 4096;
const PAGE_WORDS: usize = 512;
/// On both sides of the window nothing may be touched.
const GUARD: usize = 1 << 32;
/// So much more memory than before a trial is without bound.
///
/// Whoever believes a high-water mark may look through all of a table, and so make it present: all tables but those of
/// blocks are 212 MiB.
const GROWTH_MAX: u64 = 256 << 20;
/// So much may be left of the trials before.
const STRAY_MAX: u64 = 16 << 20;

/// Where the regions of the window begin: header, process slots, PCBs, buckets, channels, schemas, capabilities, ready sets,
/// entries, block records, blocks, notes.
const REGIONS: [u64; 12] = [
    0,
    64 << 10,
    0x90000,
    0xd0000,
    1 << 20,
    65 << 20,
    128 << 20,
    192 << 20,
    208 << 20,
    WINDOW / 64,
    WINDOW / 256 * 20,
    WINDOW / 8 * 7,
];
/// How often each is aimed at.
const WEIGHTS: [u64; 12] = [8, 8, 4, 4, 30, 3, 6, 8, 8, 10, 25, 5];

const PROCESS_BYTES: u64 = 512;
const DEAD: u64 = 3;
const LIVE: u64 = 2;

pub struct World {
    /// The member that is tried.
    pub domain: Domain,
    other: Option<Domain>,
    /// What the other one holds.
    held: Vec<Box<dyn Any>>,
    /// Offset and words of each page that is there.
    pages: Vec<(u64, Box<[u64; PAGE_WORDS]>)>,
    /// Offsets of words in use, by region.
    used: Vec<Vec<u64>>,
    /// Bytes of the domain's memory.
    bytes: u64,
    /// Where the other one's process slot is.
    grave: u64,
    guards: Vec<(usize, usize)>,
}

/// What the batch is about, for people.
pub fn theme(kind: Kind, batch: u64) -> &'static str {
    match kind {
        Kind::Flips => "all",
        Kind::Mutations => scenes::THEMES[(batch % scenes::THEMES.len() as u64) as usize].name,
    }
}

impl World {
    pub fn build(kind: Kind, batch: u64, random: &mut Random) -> World {
        let options = Domain::options().window_bytes(WINDOW).memory_max_bytes(256 << 20).retain(32 << 20);
        let domain = options.create().expect("a domain");
        let base = domain.window_base();
        let guards = [base - GUARD, base + WINDOW as usize].into_iter().filter_map(|at| guard(at, GUARD));
        let guards = guards.collect();
        let file = domain.descriptor().try_clone_to_owned().expect("a descriptor");
        let other = options.addresses(Addresses::Distinct).process_name(scenes::heirs::NAME);
        let other = other.join_descriptor(file).expect("join");
        let held = scenes::set_up(kind, batch, &domain, &other, random);
        let world = World {
            domain,
            other: Some(other),
            held,
            pages: Vec::new(),
            used: vec![Vec::new(); REGIONS.len()],
            bytes: 0,
            grave: REGIONS[1] + PROCESS_BYTES,
            guards,
        };
        assert_eq!(world.read(world.grave) & 7, LIVE, "the other one is in the second slot");
        world
    }

    /// Notes what the memory is, and which words are in use.
    pub fn note(&mut self) {
        for offset in present(self.domain.descriptor()) {
            let page: Box<[u64; PAGE_WORDS]> =
                Box::new(std::array::from_fn(|i| self.read(offset + i as u64 * 8)));
            for (i, word) in page.iter().enumerate() {
                if *word != 0 {
                    self.used[region(offset)].push(offset + i as u64 * 8);
                }
            }
            self.pages.push((offset, page));
        }
        self.bytes = allocated(self.domain.descriptor());
    }

    /// Notes the words that have changed since.
    pub fn note_used(&mut self) {
        let mut found: Vec<BTreeSet<u64>> =
            self.used.iter().map(|all| all.iter().copied().collect()).collect();
        for offset in present(self.domain.descriptor()) {
            let before =
                self.pages.binary_search_by_key(&offset, |page| page.0).ok().map(|i| &self.pages[i].1);
            for i in 0..PAGE_WORDS {
                let at = offset + i as u64 * 8;
                if self.read(at) != before.map_or(0, |page| page[i]) {
                    found[region(offset)].insert(at);
                }
            }
        }
        self.used = found.into_iter().map(|all| all.into_iter().collect()).collect();
    }

    /// The other one is dead.
    pub fn bury(&self) {
        let word = self.read(self.grave);
        self.word(self.grave).store(word & !7 | DEAD, Relaxed);
    }

    /// Makes the memory what it was when it was noted. Of pages that are new since, only if they are many: whoever believed a wrong
    /// high-water mark may have made a whole table present, and the next one another table.
    pub fn restore(&self) {
        if allocated(self.domain.descriptor()) > self.bytes + STRAY_MAX {
            self.punch_strays();
        }
        let base = self.domain.window_base();
        for (offset, page) in &self.pages {
            let there = (base + *offset as usize) as *mut [u64; PAGE_WORDS];
            // SAFETY: a page of the window, which is mapped, and which nobody else uses between two trials.
            unsafe {
                if *there != **page {
                    there.write(**page);
                }
            }
        }
    }

    /// Takes away the pages that were not there.
    fn punch_strays(&self) {
        use rustix::fs::{fallocate, FallocateFlags};
        let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let page = PAGE_WORDS as u64 * 8;
        let mut from = 0;
        for offset in self.pages.iter().map(|(offset, _)| *offset).chain([WINDOW]) {
            if offset > from {
                fallocate(self.domain.descriptor(), holes, from, offset - from)
                    .expect("punch what was not there");
            }
            from = offset + page;
        }
    }

    /// By how much the memory has grown in this trial, if that is too much.
    pub fn grown(&self) -> Option<u64> {
        let grown = allocated(self.domain.descriptor()).saturating_sub(self.bytes);
        (grown > GROWTH_MAX).then_some(grown)
    }

    /// All is as it was set up, and is given back.
    pub fn end(mut self) {
        self.restore();
        self.held.clear();
        drop(self.other.take());
        for (at, len) in std::mem::take(&mut self.guards) {
            // SAFETY: made by `guard`, and used by nobody.
            let _ = unsafe { rustix::mm::munmap(at as *mut _, len) };
        }
    }

    /// Where a word of the window is in this process.
    pub fn address(&self, offset: u64) -> usize {
        assert!(offset < WINDOW && offset.is_multiple_of(8));
        self.domain.window_base() + offset as usize
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: a word of the window, which the domain keeps mapped.
        unsafe { &*(self.address(offset) as *const AtomicU64) }
    }

    /// What a word says.
    pub fn read(&self, offset: u64) -> u64 {
        self.word(offset).load(Relaxed)
    }

    pub fn window_bytes(&self) -> u64 {
        WINDOW
    }

    /// A word that is worth changing.
    pub fn aim(&self, random: &mut Random) -> u64 {
        let there = |i: &usize| !self.used[*i].is_empty();
        let all: u64 = (0..REGIONS.len()).filter(there).map(|i| WEIGHTS[i]).sum();
        let mut left = random.below(all);
        let mut region = 0;
        for i in (0..REGIONS.len()).filter(there) {
            region = i;
            match left.checked_sub(WEIGHTS[i]) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        let words = &self.used[region];
        let at = words[random.below(words.len() as u64) as usize];
        // Or one that is not in use, beside it.
        if random.below(6) == 0 {
            (at & !63) | (random.below(8) * 8)
        } else {
            at
        }
    }

    /// What might be taken for a reference or an offset: somewhere in the window, or just outside of it.
    pub fn any_offset(&self, random: &mut Random) -> u64 {
        let region = random.below(REGIONS.len() as u64) as usize;
        let offset = match random.below(3) {
            0 => REGIONS[region] + random.below(64) * 64,
            1 => random.below(WINDOW),
            _ => self.aim(random) & !63,
        };
        match random.below(4) {
            0 => offset,
            1 => offset | 1 << 44,
            2 => offset.wrapping_add(self.domain.window_base() as u64),
            _ => (self.domain.window_base() as u64).wrapping_sub(random.below(3) * 8),
        }
    }
}

fn region(offset: u64) -> usize {
    REGIONS.iter().rposition(|start| *start <= offset).unwrap_or(0)
}

/// Offsets of the pages of a file that are there.
fn present(file: BorrowedFd<'_>) -> Vec<u64> {
    let mut pages = Vec::new();
    let mut at = 0;
    while let Ok(from) = rustix::fs::seek(file, SeekFrom::Data(at)) {
        let to = rustix::fs::seek(file, SeekFrom::Hole(from)).expect("a hole at the end");
        pages.extend((from / PAGE..to.div_ceil(PAGE)).map(|page| page * PAGE));
        at = to;
    }
    pages
}

fn allocated(file: BorrowedFd<'_>) -> u64 {
    rustix::fs::fstat(file.as_fd()).map_or(0, |stat| stat.st_blocks as u64 * 512)
}

/// Takes a range, in which nothing may be touched, if it is free.
fn guard(at: usize, len: usize) -> Option<(usize, usize)> {
    use rustix::mm::{MapFlags, ProtFlags};
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: FIXED_NOREPLACE replaces nothing.
    let mapped = unsafe { rustix::mm::mmap_anonymous(at as *mut _, len, ProtFlags::empty(), flags) };
    mapped.ok().map(|at| (at as usize, len))
}
