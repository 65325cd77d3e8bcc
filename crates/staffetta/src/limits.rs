//! What the library can hold and what it adds to a process, told from where it is fixed.

use crate::channel::record::NAME_BYTES_MAX;
use crate::memory::map::{
    Map, CAPABILITIES_MAX, CHANNELS_MAX, PCBS_MAX, PROCESSES_MAX, SCHEMAS_BYTES, WINDOW_DEFAULT, WINDOW_MAX,
    WINDOW_MIN,
};
use crate::message::schema::SCHEMA_LENGTH_MAX;
use crate::process::wait::SPIN_NS_MAX;
use crate::process::Name;
use crate::reference::capability::MAPPED_MAX;

/// One limit of the library, or something that it adds to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// What is limited.
    pub name: &'static str,
    /// How much of it there is.
    pub value: u64,
    /// `processes`, `bytes`, `ns` …
    pub unit: &'static str,
    /// What can be done about it, or what it is for.
    pub remark: &'static str,
}

/// Bytes of the largest block in a window of `window_bytes`.
const fn block_max(window_bytes: u64) -> u64 {
    match Map::new(window_bytes) {
        Some(map) => 1 << map.class_max(),
        None => 0,
    }
}

/// The limits of the library, as `staffetta limits` prints them.
///
/// ```
/// for limit in staffetta::limits() {
///     println!("{}: {} {} ({})", limit.name, limit.value, limit.unit, limit.remark);
/// }
/// ```
#[must_use]
pub fn limits() -> Vec<Limit> {
    let limit = |name, value, unit, remark| Limit { name, value, unit, remark };
    vec![
        limit("processes of a domain", PROCESSES_MAX as u64, "processes", "at the same time"),
        limit("PCBs of a domain", PCBS_MAX as u64, "PCBs", "threads and tasks that wait at the same time"),
        limit("channels of a domain", CHANNELS_MAX as u64, "channels", "in its whole life"),
        limit("capabilities of a domain", CAPABILITIES_MAX as u64, "capabilities", "at the same time"),
        limit("schema texts of a domain", SCHEMAS_BYTES, "bytes", "layouts of all message types together"),
        limit("one schema text", SCHEMA_LENGTH_MAX as u64, "bytes", "layout of one message type"),
        limit("window, smallest", WINDOW_MIN, "bytes", "address space, not memory: window_bytes()"),
        limit("window, default", WINDOW_DEFAULT, "bytes", "smaller where the address space is"),
        limit("window, largest", WINDOW_MAX, "bytes", "what a reference can reach"),
        limit("largest block, smallest window", block_max(WINDOW_MIN), "bytes", "the longest message"),
        limit("largest block, default window", block_max(WINDOW_DEFAULT), "bytes", "the longest message"),
        limit("name of a domain", Name::MAX_BYTES as u64, "bytes", "no `/`, no NUL"),
        limit("name of a channel", NAME_BYTES_MAX as u64, "bytes", "per channel"),
        limit("mappings kept", MAPPED_MAX as u64, "mappings", "capabilities that nobody uses, per process"),
        limit("spin before a park, at most", SPIN_NS_MAX, "ns", "default policy; STAFFETTA_SPIN_US"),
        limit(
            "threads added",
            THREADS,
            "threads",
            "per domain joined: `staffetta`, `staffetta-vigil` (from Linux 5.16 on), asleep; one more per launched child",
        ),
        limit("descriptors, alone", DESCRIPTORS_ALONE, "descriptors", "of the only member of a domain"),
        limit(
            "descriptors, each peer",
            DESCRIPTORS_PER_PEER,
            "descriptors",
            "and one for each capability known",
        ),
        limit("signal handlers added", 0, "handlers", "none"),
        limit("fork handlers added", 1, "handlers", "pthread_atfork: what a child must not use is closed"),
    ]
}

/// Measured by a test (`tests/limits.rs`), as is the next one.
const DESCRIPTORS_ALONE: u64 = 7;
/// Its pidfd, what says that its program is over, and the ends of the sockets to it.
const DESCRIPTORS_PER_PEER: u64 = 4;
/// The service's, and the vigil's.
const THREADS: u64 = 2;
