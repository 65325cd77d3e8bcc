//! Two real processes that a command runs, and the wires to them.
//!
//! ```text
//!                  the command (coordinator): prints, waits in poll, handles signals
//!                  /                          \
//!          control wire                   control wire          orders and answers, JSON
//!                /                              \
//!        first process  ---- link ----  second process          how the two meet; descriptors
//! ```
//!
//! The processes are this same program started again with a hidden command (no fork without exec).
//! They die with the coordinator, whatever kills it, and the coordinator ends both when one fails.

pub mod pair;
pub mod side;
pub mod wire;
