//! Who is woken, and when.

use super::{Mutant, Test};

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "who ends a copy does not wake the first one",
        file: "crates/staffetta/src/channel/line.rs",
        at: "Finished::Done { wake: «now.is_parked()» }",
        to: "false",
        by: Test("lib", "model::lent::loom_lent_too_long"),
    },
    Mutant {
        what: "a wake-up does not change the word that is slept on",
        file: "crates/staffetta/src/process/pcb.rs",
        at: "«self.wakes.fetch_add(1, Release)»",
        to: "0",
        by: Test("lib", "loom_broadcast_disconnects"),
    },
    Mutant {
        what: "who is about to sleep does not look again after it announced itself",
        file: "crates/staffetta/src/process/wait.rs",
        at: "if let Some(r) = «poll()» {\n            return Woken::Ready(r); // 3",
        to: "None",
        by: Test("lib", "loom_partner_leaves_while_one_waits"),
    },
    Mutant {
        what: "a full or emptied slot wakes nobody",
        file: "crates/staffetta/src/channel/ring.rs",
        at: "Ok(_) => return Some(«ends_a_wait && now.is_parked()»)",
        to: "false",
        by: Test("lib", "loom_ring_of_degree_1"),
    },
    Mutant {
        what: "who sends to a queue wakes no receiver",
        file: "crates/staffetta/src/channel/queue/sending.rs",
        at: "«self.wake(self.queue.receivers())»",
        to: "()",
        by: Test("lib", "loom_queue_degree_per_sender"),
    },
    Mutant {
        what: "who takes from a queue wakes no sender",
        file: "crates/staffetta/src/channel/queue/receiving.rs",
        at: "«self.wake(self.queue.senders())»;\n        true",
        to: "()",
        by: Test("lib", "loom_queue_one_is_taken"),
    },
    Mutant {
        what: "nobody is told that a message of a queue was returned",
        file: "crates/staffetta/src/channel/queue/recovery.rs",
        at: "«self.receivers().returned.fetch_add(1, AcqRel)»",
        to: "0",
        by: Test("lib", "loom_queue_receiver_dies"),
    },
    Mutant {
        what: "a sleeper of a crowd counts as woken before it is (swapped steps)",
        file: "crates/staffetta/src/channel/crowd.rs",
        at: "«wake(&seat.side)»;\n                seat.rung.store(sleep, Release)",
        to: "{ seat.rung.store(sleep, Release); wake(&seat.side) }",
        by: Test("lib", "loom_queue_waker_stops_before_its_wake_up"),
    },
    Mutant {
        what: "who sleeps in a crowd does not fence",
        file: "crates/staffetta/src/channel/crowd.rs",
        at: "AcqRel);\n        «P::fence_after_rmw()»;\n    }\n\n    /// This seat is awake",
        to: "()",
        by: Test("lib", "loom_reply_calls_in_turn"),
    },
    Mutant {
        what: "a receiver of a broadcast forgets the sender that waits for it",
        file: "crates/staffetta/src/channel/broadcast/mod.rs",
        at: "«self.cast.head().sender_sleeps.load(Relaxed) != 0»",
        to: "false",
        by: Test("lib", "shuttle_broadcast_waits"),
    },
    Mutant {
        what: "a select that sleeps is not woken by what is delivered to it",
        file: "crates/staffetta/src/process/ready_set.rs",
        at: "«(self.asleep.load(Acquire) != 0).then(|| self.pcb.load(Relaxed))»",
        to: "None",
        by: Test("lib", "loom_ready_set"),
    },
    Mutant {
        what: "the partner of a dead process is not woken",
        file: "crates/staffetta/src/channel/sweep.rs",
        at: "«wake(member, spec.method, partner.pcb_ref())»;\n}\n\n/// What the cells",
        to: "()",
        by: Test("lib", "windows_test::survivors::who_waits_for_a_dead_one_is_told"),
    },
    Mutant {
        what: "a partner is not woken whose end was closed by who died before it woke it",
        file: "crates/staffetta/src/channel/sweep.rs",
        at: "«tell(member, record, &spec, partner)»;\n            }\n            if end",
        to: "()",
        by: Test("lib", "windows_test::survivors::who_waits_for_a_dead_one_is_told"),
    },
];
