//! Descriptors that peers have put into our hands, until somebody asks for them.
//!
//! What it does not do: it does not know what they are; a capability checks its own size and seals.
//!
//! 1. When it holds [`PASSED_MAX`], nothing more is taken out of a socket's queue, so the queues fill, and
//!    senders are told: back-pressure, no loss. Only one that is looked for, and those before it, are taken
//!    out all the same.
//! 2. A number stands for the first descriptor passed under it; a second one is closed.

use crate::process::wire::Member;
use rustix::fd::OwnedFd;
use std::collections::hash_map::{Entry, HashMap};

/// How many descriptors wait here before senders have to wait.
const PASSED_MAX: usize = 4096;

/// A descriptor that was passed to this process.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The descriptor.
    pub(crate) descriptor: OwnedFd,
    /// Who passed it, and has it as well.
    pub(crate) from: Member,
}

/// The table, number to descriptor.
#[derive(Debug, Default)]
pub(super) struct Passed {
    held: HashMap<u64, Handed>,
}

impl Passed {
    /// Whether one more fits.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < PASSED_MAX
    }

    /// Keeps a descriptor, whether or not there is room: see [`Passed::has_room`].
    pub(super) fn put(&mut self, id: u64, descriptor: OwnedFd, from: Member) {
        if let Entry::Vacant(place) = self.held.entry(id) {
            place.insert(Handed { descriptor, from });
        }
    }

    /// Gives a descriptor away.
    pub(super) fn take(&mut self, id: u64) -> Option<Handed> {
        self.held.remove(&id)
    }

    /// Looks at a descriptor.
    pub(super) fn get(&self, id: u64) -> Option<&OwnedFd> {
        self.held.get(&id).map(|handed| &handed.descriptor)
    }

    /// Closes those that nobody will ever ask for.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.held.retain(|&id, _| is_wanted(id));
    }

    /// All that are here.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &OwnedFd)> {
        self.held.iter().map(|(id, handed)| (*id, &handed.descriptor))
    }
}
