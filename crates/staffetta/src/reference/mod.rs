//! Indirect shared references: from a word in shared memory to a pointer of this process, and back.
//!
//! Every reference in shared memory (val_ref, pcb_ref, the links of lists) goes through [`References`],
//! by one of three methods that a channel chooses at its creation:
//!
//! | method | the word | resolved by |
//! |---|---|---|
//! | coinciding logical addresses | the address itself | nothing: every process maps the window at the same base |
//! | distinct logical addresses | identifier (20 bits) and offset (44 bits) | the private table, filled at join |
//! | capability | the same; identifiers from 2 on name capabilities | the private table, filled when the process *acquires* |
//!
//! A reference is a peer's word: it is range-checked before it becomes a pointer, whatever the method.
//!
//! This layer does not know what lies behind a reference.

pub mod capability;
#[cfg(test)]
mod tests;

use std::ptr::NonNull;

use crate::memory::segment::Segment;

/// How references in shared memory are made meaningful to every process that reads them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Method {
    /// Coinciding logical addresses (static): the reference is the address.
    #[default]
    Coinciding,
    /// Distinct logical addresses (static): an identifier and an offset, and a private table.
    Distinct,
    /// Capability (dynamic): the object lies in a memory file of its own, and enters the address space
    /// of a process when it is acquired.
    Capability,
}

impl Method {
    /// All methods, for suites that run once for each.
    pub const ALL: [Method; 3] = [Method::Coinciding, Method::Distinct, Method::Capability];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Method::Coinciding => 1,
            Method::Distinct => 2,
            Method::Capability => 3,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Method> {
        match code {
            1 => Some(Method::Coinciding),
            2 => Some(Method::Distinct),
            3 => Some(Method::Capability),
            _ => None,
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Method::Coinciding => "coinciding",
            Method::Distinct => "distinct",
            Method::Capability => "capability",
        })
    }
}

const OFFSET_BITS: u32 = 44;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
/// Identifier of the domain's window.
const WINDOW: u64 = 1;
/// First identifier of a capability.
const CAPABILITIES: u64 = 2;

/// Resolves references of one process.
pub struct References {
    segment: Segment,
    /// Where processes with coinciding addresses map the window; ours, or another.
    window_base: u64,
    capabilities: capability::Table,
}

impl References {
    /// For a process that maps `segment`; `window_base` is the one recorded in the domain.
    pub fn new(segment: Segment, window_base: u64) -> References {
        References { segment, window_base, capabilities: capability::Table::new() }
    }

    /// The window.
    #[inline(always)]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Acquired capabilities.
    pub fn capabilities(&self) -> &capability::Table {
        &self.capabilities
    }

    /// Where processes with coinciding addresses map the window.
    pub fn window_base(&self) -> u64 {
        self.window_base
    }

    /// Does this process map the window where the addresses coincide?
    pub fn coincide(&self) -> bool {
        self.window_base == self.segment.base() as u64
    }

    /// The reference to `offset` in the window.
    #[inline]
    pub fn refer(&self, method: Method, offset: u64) -> u64 {
        match method {
            Method::Coinciding => self.window_base + offset,
            Method::Distinct | Method::Capability => (WINDOW << OFFSET_BITS) | offset,
        }
    }

    /// The reference to a capability.
    pub fn refer_capability(&self, index: u32) -> u64 {
        (CAPABILITIES + u64::from(index)) << OFFSET_BITS
    }

    /// The capability that a reference names, if it names one.
    pub fn capability_index(&self, reference: u64) -> Option<u32> {
        capability_index(reference)
    }

    /// The offset in the window that a reference names.
    #[inline]
    pub fn offset(&self, method: Method, reference: u64) -> Option<u64> {
        offset(method, self.window_base, reference)
    }

    /// Where `reference` points in this process, if it makes sense: to be prefetched, not to be used.
    #[inline(always)]
    pub fn guess(&self, method: Method, reference: u64) -> *const u8 {
        match method {
            Method::Coinciding => reference as *const u8,
            _ => (self.segment.base() + (reference & OFFSET_MASK) as usize) as *const u8,
        }
    }

    /// A pointer to `length` bytes behind `reference`. None: it names nothing that this process may reach.
    #[inline]
    pub fn resolve(&self, method: Method, reference: u64, length: u64) -> Option<NonNull<u8>> {
        match self.offset(method, reference) {
            // Coinciding: the same number as the reference itself, by way of the range check.
            Some(offset) => self.segment.pointer(offset, length),
            None if method == Method::Capability => {
                self.capabilities.pointer(self.capability_index(reference)?, length)
            }
            None => None,
        }
    }
}

/// The capability that a reference names, if it names one.
pub fn capability_index(reference: u64) -> Option<u32> {
    let index = (reference >> OFFSET_BITS).checked_sub(CAPABILITIES)?;
    u32::try_from(index).ok().filter(|i| (*i as usize) < crate::memory::map::CAPABILITIES_MAX)
}

/// The offset in a window, whose base is recorded as `window_base`, that a reference names.
#[inline]
pub fn offset(method: Method, window_base: u64, reference: u64) -> Option<u64> {
    match method {
        Method::Coinciding => reference.checked_sub(window_base),
        Method::Distinct | Method::Capability => {
            (reference >> OFFSET_BITS == WINDOW).then_some(reference & OFFSET_MASK)
        }
    }
}

#[cfg(test)]
pub(crate) fn constants() -> [(&'static str, u64); 10] {
    [
        ("reference::OFFSET_BITS", u64::from(OFFSET_BITS)),
        ("reference::WINDOW", WINDOW),
        ("reference::CAPABILITIES", CAPABILITIES),
        ("reference::Coinciding", u64::from(Method::Coinciding.code())),
        ("reference::Distinct", u64::from(Method::Distinct.code())),
        ("reference::Capability", u64::from(Method::Capability.code())),
        ("capability::word::HOLDER", capability::word::HOLDER as u64),
        ("capability::word::BYTES", capability::word::BYTES as u64),
        ("capability::word::CHARGED", capability::word::CHARGED as u64),
        ("capability::word::HANDS", capability::word::HANDS as u64),
    ]
}
