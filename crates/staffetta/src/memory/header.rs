//! The first page of a domain, and the records of its tables.
//!
//! D1. A record that is all zero was never used.
//! D2. Identity (magic to window base) is written before the domain's descriptor is given to anybody,
//!     and never changes.

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::map::CLASSES;

/// "staffet" and the layout's generation.
pub const MAGIC: u64 = u64::from_le_bytes(*b"staffeta");
/// Version of everything shared: changes whenever a layout or a protocol changes.
pub const FORMAT_VERSION: u32 = 7;
/// Reads 0x01020304 only in the byte order in which it was written.
pub const BYTE_ORDER: u32 = 0x0102_0304;

/// The header.
#[repr(C, align(64))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`FORMAT_VERSION`].
    pub version: AtomicU32,
    /// [`BYTE_ORDER`].
    pub byte_order: AtomicU32,
    /// Bytes of the window.
    pub window_bytes: AtomicU64,
    /// Where processes with coinciding logical addresses map the window.
    pub window_base: AtomicU64,
    /// Page size of the creator.
    pub page_bytes: AtomicU64,
    /// The domain's identity: random, tells a domain from another of the same name.
    pub identity: [AtomicU64; 2],
    /// Bytes that blocks may occupy.
    pub budget_bytes: AtomicU64,
    /// Free blocks keep their memory up to so many bytes.
    pub retain_bytes: AtomicU64,
    pad0: [u64; 9],
    /// Channel records used so far.
    pub channels: AtomicU64,
    /// Schema bytes used so far.
    pub schema_bytes: AtomicU64,
    /// Process slots used so far.
    pub processes: AtomicU64,
    /// PCBs used so far.
    pub pcbs: AtomicU64,
    /// Capability records used so far.
    pub capabilities: AtomicU64,
    /// Ready sets used so far.
    pub selects: AtomicU64,
    /// For each class: blocks used so far.
    pub used: [AtomicU64; CLASSES],
    /// The domain's name, UTF-8, zero padded; written with its identity. None: all zero.
    pub name: [AtomicU64; NAME_WORDS],
    /// Entries ever used (high-water mark).
    pub entries: AtomicU64,
}

/// Words of a domain's name.
pub const NAME_WORDS: usize = 8;

const _: () = assert!(std::mem::offset_of!(Header, channels) == 144);
const _: () = assert!(std::mem::offset_of!(Header, used) == 192);
const _: () = assert!(size_of::<Header>() <= 64 << 10);

/// A process slot's states.
pub mod process {
    /// Nobody, or never used.
    pub const FREE: u8 = 0;
    /// A process is joining.
    pub const JOINING: u8 = 1;
    /// A member.
    pub const LIVE: u8 = 2;
    /// Its process is dead; what it left is being put in order.
    pub const DEAD: u8 = 3;
}

/// Words of an intent (`memory::ledger`).
pub const INTENT_WORDS: usize = 6;
/// Longest mailbox address.
pub const ADDRESS_BYTES: usize = 100;

/// One process of the domain.
#[repr(C, align(512))]
pub struct ProcessSlot {
    /// State word (`memory::word`); the sequence is the generation of the slot.
    pub word: AtomicU64,
    /// Process id in its own pid namespace: to show to people, never an identity.
    pub pid: AtomicU32,
    /// Bytes of `address`.
    pub address_len: AtomicU32,
    /// PCBs of this process that may run again: a list of references (`process::ready`).
    pub ready: AtomicU64,
    /// Where this process maps the window.
    pub window_base: AtomicU64,
    /// Its name, UTF-8, zero padded.
    pub name: [AtomicU64; 4],
    /// Address of its mailbox.
    pub address: [AtomicU64; 13],
    /// What it left for a successor, if it died (`succession`).
    pub estate: AtomicU64,
    pad0: [u64; 10],
    /// Bytes that this process charged for blocks and capabilities, less those it gave back; it and the next are of all who were
    /// in this slot, and wrap around below zero (`memory::ledger`).
    pub charged: AtomicU64,
    /// Bytes that blocks kept when this process made them free, less those of free blocks that it took.
    pub retained: AtomicU64,
    /// What this process is about to do in two places: operation, block or capability, the word there before and after, its own
    /// sum before and after.
    pub intent: [AtomicU64; INTENT_WORDS],
    /// Held by the thread that answers for this process: the kernel marks it when that ends (`os::robust`).
    pub robust: AtomicU32,
    pad1: u32,
    /// Number of the socket that lives as long as whoever may still come into this slot (`process::service::stakes`); 0: nobody is
    /// awaited.
    pub stake: AtomicU64,
    pad: [u64; 22],
}

const _: () = assert!(size_of::<ProcessSlot>() == super::map::PROCESS_BYTES as usize);
const _: () = assert!(std::mem::offset_of!(ProcessSlot, charged) == 256);
const _: () = assert!(std::mem::offset_of!(ProcessSlot, robust) == 320);
const _: () = assert!(ADDRESS_BYTES <= 13 * 8);

/// A block's states.
pub mod block {
    /// Never used.
    pub const NEVER: u8 = 0;
    /// Free.
    pub const FREE: u8 = 1;
    /// Owned by the process in the word's slot (in use, or kept by it for reuse).
    pub const OWNED: u8 = 2;
    /// Part of a channel: its ring or its staging.
    pub const CHANNEL: u8 = 3;
    /// In a parcel: an entry says in which (`enclosure`).
    pub const ENCLOSED: u8 = 4;
    /// A parcel that a dead receiver had not acknowledged: waits for the next one (`channel::kept`).
    pub const RETURNED: u8 = 5;
}

/// One block: who holds it, and what its memory costs.
#[repr(C, align(32))]
pub struct BlockRecord {
    /// State word; the sequence is the block's incarnation: it changes whenever the block is freed.
    pub holder: AtomicU64,
    /// Of a parcel that was received: from which channel (`memory::note`). Not used by the allocator.
    pub next: AtomicU64,
    /// What is charged for it (`memory::ledger`).
    pub charged: AtomicU64,
    /// What lies in it, if it is a parcel that holds ends or parcels: the first entry, index + 1 (`enclosure`).
    pub inside: AtomicU64,
}

const _: () = assert!(size_of::<BlockRecord>() == super::map::BLOCK_RECORD_BYTES as usize);

#[cfg(test)]
pub(crate) fn layouts() -> Vec<crate::memory::layout::Layout> {
    vec![
        crate::memory::layout::layout!(Header {
            magic,
            version,
            byte_order,
            window_bytes,
            window_base,
            page_bytes,
            identity,
            budget_bytes,
            retain_bytes,
            pad0,
            channels,
            schema_bytes,
            processes,
            pcbs,
            capabilities,
            selects,
            used,
            name,
            entries
        }),
        crate::memory::layout::layout!(ProcessSlot {
            word,
            pid,
            address_len,
            ready,
            window_base,
            name,
            address,
            estate,
            pad0,
            charged,
            retained,
            intent,
            robust,
            pad1,
            stake,
            pad
        }),
        crate::memory::layout::layout!(BlockRecord { holder, next, charged, inside }),
    ]
}
