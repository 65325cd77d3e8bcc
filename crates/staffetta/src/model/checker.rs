//! What the models need from a model checker beside its atomics: loom (`exhaustive.rs`) and shuttle (`random/`) are two.
//!
//! The worlds in `world/` are written once, over a [`Checker`]; which of their interleavings are run is the checker's.

use crate::memory::platform::Platform;

/// A model checker.
pub trait Checker: Platform {
    /// Bytes that are not atomic, each access watched.
    type Cell<T: Send>: Watched<T>;

    /// Words made by `f` are not watched: counters, which one thread writes and which publish nothing.
    fn quiet<R>(f: impl FnOnce() -> R) -> R;
}

/// Bytes that are not atomic: the checker fails if somebody writes them while anybody else has them.
pub trait Watched<T> {
    /// Holds `value`.
    fn new(value: T) -> Self;
    /// For reading.
    fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R;
    /// For writing.
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R;
}
