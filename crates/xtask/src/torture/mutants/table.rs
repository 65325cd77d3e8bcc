//! The faults.

use std::fmt;

/// A fault.
pub struct Mutant {
    /// What it does.
    pub what: &'static str,
    /// Where.
    pub file: &'static str,
    /// Text that is there once; what becomes another stands in « and ».
    pub at: &'static str,
    /// What that becomes: an expression of the same type.
    pub to: &'static str,
    /// What is to notice it: the first that does is named.
    pub by: &'static [By],
}

/// What notices a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum By {
    /// A row of the battery, with so many tries.
    Row(&'static str, u64),
    /// A test of the library (`lib`, or the file's name), and which.
    Test(&'static str, &'static str),
}

impl By {
    /// The kind of line.
    pub fn kind(&self) -> &'static str {
        match self {
            By::Row(row, _) => row,
            By::Test(_, filter) if filter.contains("loom") => "loom",
            By::Test(_, filter) if filter.contains("shuttle") => "shuttle",
            By::Test(..) => "tests",
        }
    }

    /// The test file that it needs.
    pub fn test(&self) -> Option<&'static str> {
        match self {
            By::Row(..) => None,
            By::Test(test, _) => Some(test),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Row(row, tries) => write!(f, "{row} ({tries} tries)"),
            By::Test(test, filter) => write!(f, "test {test} {filter}"),
        }
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a transition of a rendezvous publishes nothing (ordering)",
        file: "crates/staffetta/src/channel/line.rs",
        at: "to.0, «AcqRel», Acquire).map(drop).map_err(Word)\n    }\n\n    /// Writes the cell",
        to: "Acquire",
        by: &[By::Test("lib", "model::rendezvous::loom_three_values")],
    },
    Mutant {
        what: "an offer that is withdrawn looks like one that was taken",
        file: "crates/staffetta/src/channel/line.rs",
        at: "self.change(now, «Word::new(IDLE, 0, sequence + 2)») {\n                Ok(()) => return Withdrawn::Yes",
        to: "Word::new(IDLE, 0, sequence + 1)",
        by: &[By::Test("lib", "model::rendezvous::loom_withdrawal")],
    },
    Mutant {
        what: "who ends a copy does not wake the first one",
        file: "crates/staffetta/src/channel/line.rs",
        at: "Ok(()) => return Finished::Done { wake: «now.is_parked()» }",
        to: "false",
        by: &[By::Test("lib", "model::lent::loom_lent_too_long")],
    },
    Mutant {
        what: "a wake-up does not change the word that is slept on",
        file: "crates/staffetta/src/process/pcb.rs",
        at: "«self.wakes.fetch_add(1, Release)»",
        to: "0",
        by: &[By::Test("lib", "model::broadcast::loom_broadcast_disconnects")],
    },
    Mutant {
        what: "who is about to sleep does not look again after it announced itself",
        file: "crates/staffetta/src/process/wait.rs",
        at: "if let Some(r) = «poll()» {\n            return Woken::Ready(r); // 3",
        to: "None",
        by: &[By::Test("lib", "model::queue::loom_queue_degree_per_sender"), By::Test("lib", "model::rendezvous::loom_partner_leaves_while_one_waits")],
    },
    Mutant {
        what: "a full or emptied slot wakes nobody",
        file: "crates/staffetta/src/channel/ring.rs",
        at: "Ok(_) => return Some(«ends_a_wait && now.is_parked()»)",
        to: "false",
        by: &[By::Test("lib", "model::ring::loom_ring_of_degree_1")],
    },
    Mutant {
        what: "a slot publishes nothing (ordering)",
        file: "crates/staffetta/src/channel/ring.rs",
        at: "match slot.word.compare_exchange(now.0, to.0, «AcqRel», Acquire) {\n            Ok(_) => return Some(",
        to: "Relaxed",
        by: &[By::Test("lib", "model::buffer::loom_buffer_in_place")],
    },
    Mutant {
        what: "what a dead receiver had in hand is dropped instead of put back",
        file: "crates/staffetta/src/channel/ring.rs",
        at: "«redeliver(slot, now)»;",
        to: "drop(change(slot, now, EMPTY))",
        by: &[By::Test("lib", "model::buffer::loom_buffer_receiver_dies")],
    },
    Mutant {
        what: "a receiver gives its slot back before it says so (swapped commit step)",
        file: "crates/staffetta/src/channel/buffer.rs",
        at: "head.store(self.place.get() + 1, Relaxed); // first: N5\n        let asleep = «change(slot, from, EMPTY).unwrap_or(true)»;",
        to: "head.store(self.place.get(), Relaxed); let asleep = change(slot, from, EMPTY).unwrap_or(true); head.store(self.place.get() + 1, Relaxed); asleep",
        by: &[By::Test("lib", "model::buffer::loom_buffer_receiver_dies"), By::Test("lib", "model::buffer::loom_buffer_sender_dies")],
    },
    Mutant {
        what: "a cell of the queue publishes no slot (ordering)",
        file: "crates/staffetta/src/channel/queue/sending.rs",
        at: "compare_exchange(cell, mine, «AcqRel», Acquire)",
        to: "Relaxed",
        by: &[By::Test("lib", "model::queue::loom_queue_degree_per_sender")],
    },
    Mutant {
        what: "who sends to a queue wakes no receiver",
        file: "crates/staffetta/src/channel/queue/sending.rs",
        at: "«self.wake(self.queue.receivers())»",
        to: "()",
        by: &[By::Test("lib", "model::random::queue::shuttle_queue_degree_per_sender"), By::Test("lib", "model::queue::loom_queue_degree_per_sender")],
    },
    Mutant {
        what: "who takes from a queue wakes no sender",
        file: "crates/staffetta/src/channel/queue/receiving.rs",
        at: "«self.wake(self.queue.senders())»;\n        true",
        to: "()",
        by: &[By::Test("lib", "model::random::queue::shuttle_queue_degree_per_sender"), By::Test("lib", "model::queue::loom_queue_degree_per_sender")],
    },
    Mutant {
        what: "a dead receiver's message of a queue is dropped instead of returned",
        file: "crates/staffetta/src/channel/queue/recovery.rs",
        at: "«Word::new(RETURNED, join(0, attempt + 1), now.sequence())»",
        to: "Word::new(EMPTY, 0, now.sequence())",
        by: &[By::Test("lib", "model::queue::loom_queue_receiver_dies")],
    },
    Mutant {
        what: "nobody is told that a message of a queue was returned",
        file: "crates/staffetta/src/channel/queue/recovery.rs",
        at: "«self.receivers().returned.fetch_add(1, AcqRel)»",
        to: "0",
        by: &[By::Test("lib", "model::queue::loom_queue_receiver_dies")],
    },
    Mutant {
        what: "a successor sender takes what was never committed for sent",
        file: "crates/staffetta/src/channel/queue/recovery.rs",
        at: "«now.state() == FULL && cell != self.encode(position, lane, slot)»",
        to: "false",
        by: &[By::Test("lib", "model::queue::loom_queue_sender_stops_before_its_commit"), By::Test("lib", "model::random::queue::shuttle_queue")],
    },
    Mutant {
        what: "a sleeper of a crowd counts as woken before it is (swapped steps)",
        file: "crates/staffetta/src/channel/crowd.rs",
        at: "«wake(&seat.side)»;\n                seat.rung.store(sleep, Release)",
        to: "{ seat.rung.store(sleep, Release); wake(&seat.side) }",
        by: &[By::Test("lib", "model::queue::loom_queue_waker_stops_before_its_wake_up")],
    },
    Mutant {
        what: "who sleeps in a crowd does not fence",
        file: "crates/staffetta/src/channel/crowd.rs",
        at: "self.sleepers.fetch_or(1 << (number % SEATS_MAX), AcqRel);\n        «P::fence_after_rmw()»",
        to: "()",
        by: &[By::Test("lib", "model::queue::loom_queue_degree_per_sender"), By::Test("lib", "model::reply::loom_reply_calls_in_turn")],
    },
    Mutant {
        what: "a receiver of a broadcast forgets to wake the sender that waits for it",
        file: "crates/staffetta/src/channel/broadcast/mod.rs",
        at: "«self.cast.head().sender_sleeps.load(Relaxed) != 0»",
        to: "false",
        by: &[By::Test("lib", "model::random::broadcast::shuttle_broadcast_waits"), By::Test("lib", "model::broadcast::loom_broadcast_waited_for")],
    },
    Mutant {
        what: "a request that a dead server had taken stays taken",
        file: "crates/staffetta/src/channel/service/mod.rs",
        at: "TAKEN if its => «Some(Word::new(REFUSED, why, now.sequence()))»",
        to: "None",
        by: &[By::Test("lib", "model::reply::loom_reply_server_dies")],
    },
    Mutant {
        what: "a call that was given up keeps its slot when the server dies",
        file: "crates/staffetta/src/channel/service/mod.rs",
        at: "ABANDONED if its => «Some(Word::new(EMPTY, 0, now.sequence()))»",
        to: "None",
        by: &[By::Test("lib", "model::reply::")],
    },
    Mutant {
        what: "a select that sleeps is not woken by what is delivered to it",
        file: "crates/staffetta/src/process/ready_set.rs",
        at: "«(self.asleep.load(Acquire) != 0).then(|| self.pcb.load(Relaxed))»",
        to: "None",
        by: &[By::Test("lib", "model::select::loom_ready_set")],
    },
    Mutant {
        what: "a dead process's end stays attached",
        file: "crates/staffetta/src/channel/sweep.rs",
        at: "«detach(member, record, &spec, dead, partner, end, DIED)»;",
        to: "()",
        by: &[By::Row("kills", 500)],
    },
    Mutant {
        what: "a sweeper forgets the parcel that a dead receiver had taken and not claimed",
        file: "crates/staffetta/src/channel/sweep.rs",
        at: "«free_unclaimed(member, index, &spec, held)»;",
        to: "()",
        by: &[By::Row("images", 20_000)],
    },
    Mutant {
        what: "a dead process's threads keep their PCBs",
        file: "crates/staffetta/src/member.rs",
        at: "self.refs.capabilities().forget_process((slot, generation));\n        «crate::process::threads::release_dead(segment, slot, generation)»",
        to: "()",
        by: &[By::Row("images", 20_000)],
    },
    Mutant {
        what: "channels that a dead process held the last end of are not looked at",
        file: "crates/staffetta/src/channel/sweep.rs",
        at: "«loose.channels.push(index)»;",
        to: "()",
        by: &[By::Test("enclosed_deaths", "a_death_in_a_mesh"), By::Row("images", 20_000)],
    },
    Mutant {
        what: "a parcel's contents are not given back with it",
        file: "crates/staffetta/src/member.rs",
        at: "«loose.blocks.extend(full)»",
        to: "drop(full)",
        by: &[By::Test("enclosed_deaths", "a_death_in_a_mesh"), By::Row("images", 20_000)],
    },
    Mutant {
        what: "a place that a peer names may lie beyond the window",
        file: "crates/staffetta/src/memory/segment.rs",
        at: "if «end > self.map.window_bytes()» {",
        to: "false",
        by: &[By::Row("mutations", 40_000)],
    },
    Mutant {
        what: "a sender that can neither send nor drop anything tries for ever",
        file: "crates/staffetta/src/channel/many.rs",
        at: "Some(before) if «before == position» => Err(Stop::Corrupt)",
        to: "before == u64::MAX",
        by: &[By::Test("hostile", "a_queue_that_has_neither_room"), By::Row("mutations", 100_000)],
    },
];
