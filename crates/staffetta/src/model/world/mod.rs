//! Channels between the threads of a model, for any checker: what lies in shared memory lies on the heap here, and what
//! the layers above do when an end comes, leaves, dies or is swept is done by hand.

pub mod broadcast;
pub mod queue;
pub mod reply;
pub mod select;

use std::cell::UnsafeCell;

use crate::channel::call::Patience;

/// However long it takes.
pub const FOREVER: Patience = Patience::Until(None);

/// Bytes of slots, on the heap: a model's stack is small.
#[repr(C, align(64))]
pub struct Line(UnsafeCell<[u8; 64]>);

impl Line {
    /// Zeroes.
    pub fn new() -> Line {
        Line(UnsafeCell::new([0; 64]))
    }

    /// Where they are.
    pub fn at(&self) -> *mut u8 {
        self.0.get().cast()
    }
}
