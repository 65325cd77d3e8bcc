//! Descriptors that peers have put into our hands, until somebody asks for them.
//!
//! What it does not do: it does not know who passed them or what they are; a capability checks
//! its own size and seals.
//!
//! 1. It holds at most [`PASSED_MAX`]. When it is full nothing is taken out of a socket's queue,
//!    so the queues fill, and senders are told: back-pressure, no loss.
//! 2. A number stands for the first descriptor passed under it; a second one is closed.

use rustix::fd::OwnedFd;
use std::collections::hash_map::{Entry, HashMap};

/// The most descriptors that wait here at one time.
pub(crate) const PASSED_MAX: usize = 4096;

/// The table, number to descriptor.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    held: HashMap<u64, OwnedFd>,
}

impl Passed {
    /// Whether one more fits.
    pub(crate) fn has_room(&self) -> bool {
        self.held.len() < PASSED_MAX
    }

    /// Keeps a descriptor, whether or not there is room: see [`Passed::has_room`].
    pub(crate) fn put(&mut self, id: u64, descriptor: OwnedFd) {
        if let Entry::Vacant(place) = self.held.entry(id) {
            place.insert(descriptor);
        }
    }

    /// Gives a descriptor away.
    pub(crate) fn take(&mut self, id: u64) -> Option<OwnedFd> {
        self.held.remove(&id)
    }
}
