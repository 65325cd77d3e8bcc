//! What a peer wrote is looked at before it is followed.

use super::{Mutant, Test};

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a place that a peer names may lie beyond the window",
        file: "crates/staffetta/src/memory/segment.rs",
        at: "if «end > self.map.window_bytes()» {",
        to: "false",
        by: Test("hostile", "a_ring_that_is_moved"),
    },
    Mutant {
        what: "a sender that can neither send nor drop anything tries for ever",
        file: "crates/staffetta/src/channel/many.rs",
        at: "Some(before) if «before == position» => Err(Stop::Corrupt)",
        to: "before == u64::MAX",
        by: Test("hostile", "a_queue_that_has_neither_room"),
    },
    Mutant {
        what: "a place beyond all numbers is followed",
        file: "crates/staffetta/src/channel/ring.rs",
        at: "word.load(Relaxed).min(«PLACES_MAX»)",
        to: "u64::MAX",
        by: Test("hostile", "a_place_beyond"),
    },
    Mutant {
        what: "a message is taken to be as long as its slot says",
        file: "crates/staffetta/src/channel/buffer.rs",
        at: "if «length > capacity as u64 || length > self.slots.shape.message_bytes_max» {\n            return Err(Stop::TooLong { length, capacity: capacity as u64 });\n        }\n        // SAFETY: B3",
        to: "false",
        by: Test("hostile", "a_length_beyond"),
    },
];
