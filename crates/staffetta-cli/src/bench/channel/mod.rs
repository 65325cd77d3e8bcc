//! What the library does, as subjects: every channel beside the limit of the machine that it is held to.
//!
//! | file | subject |
//! |---|---|
//! | `meet` | the domain in which the two processes meet, and the ends of a channel each way |
//! | `numbered` | messages that are numbered: rounds and streams of them |
//! | `value` | `basic`, `buffered` and `rendezvous`: a `u64` from private memory |
//! | `select` | `select.2`, `.100`, `.1000`: one of so many channels is used |
//! | `broadcast` | `broadcast`, `latest`; a send alone with 1 to 64 receivers |
//! | `slice` | `basic`: many bytes from private memory, two copies |
//! | `variable` | `rendezvous.variable`: one copy |
//! | `private` | `private`: private memory to private memory, one copy |
//! | `parcel` | `parcel`: no copy, by each of the three reference methods |
//! | `reply` | `request-reply`: a call, a `u64` each way |
//! | `locked` | `rendezvous.locked`: the five fields of the textbook, with a real lock |

pub mod broadcast;
pub mod locked;
pub mod meet;
pub mod numbered;
pub mod parcel;
pub mod private;
pub mod reply;
pub mod select;
pub mod slice;
pub mod value;
pub mod variable;

use super::subject::{LimitName, Touch};

/// `limit.cacheline`, for whoever spins.
const CACHELINE: LimitName = LimitName { what: "limit.cacheline", reference: None, bytes: 8, touch: None };

/// `limit.futex`, for whoever parks.
const FUTEX: LimitName = LimitName { what: "limit.futex", reference: None, bytes: 8, touch: None };

/// `limit.touch` of a size: end to end.
const fn touch_limit(bytes: u64) -> LimitName {
    LimitName { what: "limit.touch", reference: None, bytes, touch: Some(Touch::All) }
}

/// `limit.memcpy` of a size: one copy.
const fn copy_limit(bytes: u64) -> LimitName {
    LimitName { what: "limit.memcpy", reference: None, bytes, touch: Some(Touch::All) }
}
