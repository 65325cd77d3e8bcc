//! Zero-copy message passing between processes on Linux.

#[allow(dead_code)] // until every layer is in
mod os;

pub use os::Error as OsError;
