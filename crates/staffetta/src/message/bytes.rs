//! Raw bytes of the domain that this process holds alone.

#![allow(unsafe_code)] // memset of a block that the caller holds.

use crate::memory::segment::Segment;

/// Fills a block with zeroes. The caller holds it, so nobody else reads or writes it.
pub(crate) fn zero(segment: &Segment, offset: u64, bytes: u64) {
    if let Some(to) = segment.pointer(offset, bytes) {
        // SAFETY: `pointer` checked the range; the caller holds the block.
        unsafe { to.as_ptr().write_bytes(0, bytes as usize) };
    }
}
