//! The domain's memory: the map of the segment, its header and tables, state words, the block
//! allocator.
//!
//! It does not know what a message or a channel is (but for where the channel records lie), nor how a
//! process came to map the segment.

pub mod bits;
pub mod blocks;
pub mod header;
#[cfg(test)]
pub(crate) mod layout;
pub mod ledger;
pub mod map;
pub mod note;
pub mod platform;
pub mod reading;
pub mod robust;
pub mod segment;
pub(crate) mod stop;
pub mod word;
