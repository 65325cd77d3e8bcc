//! The service among real processes: joined at once, killed, stopped, replaced, forked.
//!
//! Every test starts this very test binary again, as members ([`member`]) that do what they are told.

mod descriptors;
mod door;
mod identity;
mod life;
mod member;
mod process;
mod table;

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const FORMAT: u64 = 1;

/// A name that no other test, and no other run, uses.
fn unique(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

/// Waits for something that another thread is about to do.
#[track_caller]
fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
}
