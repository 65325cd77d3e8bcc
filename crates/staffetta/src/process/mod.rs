//! Processes: how they find a domain, how they know each other, how they learn of a death.
//!
//! | file | one idea |
//! |---|---|
//! | `name` | what a domain may be called |
//! | `place` | where its name is looked up, and where its members are reached |
//! | `wire` | what two members say to each other over a socket |
//! | `door` | finding a domain by its name, and being let in |
//! | `link` | who is linked with whom, and when somebody is gone |
//! | `service` | the two threads per member that do all of this |
//! | `pcb` | the shared record of one entity that can wait |
//! | `wait` | spin, spin then park, park; the one sleep handshake |
//! | `ready` | the ready list: PCBs that may run again |
//! | `ready_set` | which operations of a select may be possible now |
//! | `threads` | which PCB belongs to which thread |

pub(crate) mod door;
pub(crate) mod link;
pub(crate) mod name;
pub mod pcb;
pub(crate) mod place;
#[allow(dead_code)] // for tasks
pub mod ready;
pub mod ready_set;
pub(crate) mod service;
pub(crate) mod threads;
pub mod wait;
pub(crate) mod wire;

pub use door::OpenError;
pub use name::{Name, NameError};
pub use place::{Place, PlaceError};
pub use service::{PassError, StartError, TakeError};
