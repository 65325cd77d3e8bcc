//! The words of the process slots by which the kernel says early that a process ends, for the service thread and for the one
//! that keeps vigil.
//!
//! They have a mapping of their own: these threads may outlive the member, and with it the window, for a moment.

#![allow(unsafe_code)] // From offsets to references: V1.

use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;

use super::header::ProcessSlot;
use super::map::{PROCESSES, PROCESSES_MAX, PROCESS_BYTES};
use crate::os;
use crate::os::mapping::{Access, Mapping, Placement};

/// `ProcessSlot::robust` of every slot.
pub struct RobustWords {
    /// V1. All process slots, for as long as this lives; the file is at least as long (sealed against shrinking).
    mapping: Mapping,
}

impl RobustWords {
    /// Of the domain whose memory `file` is.
    pub fn map(file: BorrowedFd<'_>) -> Result<RobustWords, os::Error> {
        const BYTES: usize = PROCESSES_MAX * PROCESS_BYTES as usize;
        let mapping = Mapping::map(file, PROCESSES, BYTES, Placement::Anywhere, Access::ReadWrite)?;
        Ok(RobustWords { mapping })
    }

    /// That of a slot. None: there is no such slot.
    pub fn of(&self, slot: u16) -> Option<&AtomicU32> {
        let slot = usize::from(slot);
        let offset = slot * PROCESS_BYTES as usize + std::mem::offset_of!(ProcessSlot, robust);
        // SAFETY: V1: in the mapping, and aligned: an atomic, which peers change as one.
        (slot < PROCESSES_MAX)
            .then(|| unsafe { &*self.mapping.base().as_ptr().add(offset).cast::<AtomicU32>() })
    }
}
