//! Zero-copy message passing between processes on Linux.

#[allow(dead_code)] // until every layer is in
mod os;

pub use os::Error as OsError;

#[allow(dead_code)] // until every layer is in
pub mod launch;
#[allow(dead_code)] // until every layer is in
mod process;
pub use process::{
    Name, NameError, OpenError, PassError, Place, PlaceError, StartError, TakeError,
};
