//! The smallest process table that can serve as a roster.

use crate::os::mapping::{Access, Mapping, Placement};
use crate::process::service::Roster;
use crate::process::wire::Member;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering::SeqCst};
use std::sync::Mutex;

pub(super) const SLOTS: usize = 16;

pub(super) const JOINED: u64 = 1;
pub(super) const LEFT: u64 = 2;
pub(super) const DEAD: u64 = 3;

/// A slot of the shared table; all zeroes means never used.
#[repr(C)]
pub(super) struct Slot {
    /// `generation << 2 | state`.
    pub(super) word: AtomicU64,
    pub(super) address_len: AtomicU32,
    pub(super) address: [AtomicU8; 100],
    /// How often this member was told that the one in slot n has died, or left.
    pub(super) deaths: [AtomicU32; SLOTS],
    pub(super) departures: [AtomicU32; SLOTS],
}

pub(super) struct Table {
    pub(super) mapping: Mapping,
    pub(super) memory: OwnedFd,
    pub(super) me: Member,
    pub(super) forsaken: AtomicU32,
    /// While it is locked, the service's thread gets no further than to a departure.
    pub(super) stalled: Mutex<()>,
}

#[allow(unsafe_code)] // the table of a test, in shared memory
impl Table {
    /// Maps the table and takes a slot that was never used.
    pub(super) fn enter(memory: OwnedFd) -> Self {
        let len = size_of::<[Slot; SLOTS]>();
        let place = Placement::Anywhere;
        let mapping = Mapping::map(memory.as_fd(), 0, len, place, Access::ReadWrite).unwrap();
        let me = Member { slot: 0, generation: 7 };
        let mut table = Self { mapping, memory, me, forsaken: AtomicU32::new(0), stalled: Mutex::new(()) };
        let free = |slot: &Slot| slot.word.compare_exchange(0, 7 << 2, SeqCst, SeqCst).is_ok();
        table.me.slot = table.slots().iter().position(free).expect("a free slot") as u16;
        table
    }

    pub(super) fn slots(&self) -> &[Slot; SLOTS] {
        // SAFETY: the mapping has this length, lives as long as `self`, and holds only atomics,
        // for which every byte pattern is valid.
        unsafe { self.mapping.base().cast().as_ref() }
    }

    pub(super) fn slot(&self, number: u16) -> &Slot {
        &self.slots()[usize::from(number)]
    }

    pub(super) fn mark(&self, who: Member, state: u64) {
        let word = &self.slot(who.slot).word;
        let joined = who.generation << 2 | JOINED;
        let _ = word.compare_exchange(joined, who.generation << 2 | state, SeqCst, SeqCst);
    }
}

impl Roster for Table {
    fn me(&self) -> Member {
        self.me
    }

    fn publish(&self, address: &[u8]) -> bool {
        let slot = self.slot(self.me.slot);
        for (place, byte) in slot.address.iter().zip(address) {
            place.store(*byte, SeqCst);
        }
        slot.address_len.store(address.len() as u32, SeqCst);
        slot.word.store(self.me.generation << 2 | JOINED, SeqCst);
        true
    }

    fn others(&self) -> Vec<(Member, Vec<u8>)> {
        let numbered = self.slots().iter().zip(0u16..);
        numbered
            .filter(|(slot, _)| slot.word.load(SeqCst) & 3 == JOINED)
            .map(|(slot, number)| {
                let len = slot.address_len.load(SeqCst) as usize;
                let address = slot.address[..len].iter().map(|byte| byte.load(SeqCst));
                let generation = slot.word.load(SeqCst) >> 2;
                let who = Member { slot: number, generation };
                (who, address.collect())
            })
            .collect()
    }

    fn is_live(&self, who: Member) -> bool {
        self.slot(who.slot).word.load(SeqCst) == who.generation << 2 | JOINED
    }

    fn died(&self, who: Member) {
        self.mark(who, DEAD);
        let told = &self.slot(self.me.slot).deaths[usize::from(who.slot)];
        told.fetch_add(1, SeqCst);
    }

    fn left(&self, who: Member) {
        let told = &self.slot(self.me.slot).departures[usize::from(who.slot)];
        told.fetch_add(1, SeqCst);
        drop(self.stalled.lock());
    }

    fn welcome(&self, _: u64) -> Option<(BorrowedFd<'_>, Vec<u8>)> {
        Some((self.memory.as_fd(), b"payload".to_vec()))
    }

    fn vacated(&self, _: u64) {
        self.forsaken.fetch_add(1, SeqCst);
    }
}
