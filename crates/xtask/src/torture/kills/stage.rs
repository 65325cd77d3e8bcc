//! What all processes of a mesh share beside the domain.

#![allow(unsafe_code)] // As `history.rs`.

use std::sync::atomic::AtomicU64;

use super::super::history::Ledger;
use super::super::shared::Atomics;

/// Shared by the driver of a mesh and all that it forks.
#[repr(C, align(4096))]
pub struct Stage {
    /// The number of the scene that is played + 1; 0 before the first.
    pub scene: AtomicU64,
    /// 1: the survivors have their ends, and may begin.
    pub go: AtomicU64,
    /// 1: who sends is to stop, who receives when nothing comes any more.
    pub stop: AtomicU64,
    /// The incarnation that comes last, and leaves.
    pub last: AtomicU64,
    /// What was sent and what came.
    pub ledger: Ledger,
}

// SAFETY: atomic integers only.
unsafe impl Atomics for Stage {}

impl Stage {
    /// In `scene`: no scene comes any more.
    pub const OVER: u64 = u64::MAX;
}
