//! Zero-copy message passing between processes on Linux.

// Lets the derive's `::staffetta` paths resolve inside this crate too.
extern crate self as staffetta;

pub mod message;

pub use message::Message;
pub use staffetta_derive::Message;
