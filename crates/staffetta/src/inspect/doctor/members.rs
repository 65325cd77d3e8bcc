//! The members' processes as the kernel tells of them: who runs, who is stopped, and which of their threads wait for nothing
//! that the domain knows of.

use std::collections::{BTreeMap, HashMap};

use super::waits::Sleeper;
use crate::inspect::ProcessView;
use crate::os::proc::{self, Thread};
use crate::process::service::THREADS;

/// The threads of the members, by process slot. A member that is not seen is left out.
pub struct Members(BTreeMap<u16, Vec<Thread>>);

/// A process's threads that wait for nothing in this domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Others {
    /// It has none, or none that anybody but they themselves could wake: as a `main` that has called `join`.
    None,
    /// These (name and id), and all the time none of them did anything.
    Quiet(Vec<String>),
    /// One of them did something, or they cannot be seen.
    Busy,
}

impl Members {
    /// Looks at them now. `numbers`: from the process ids in the domain to those that are seen here.
    pub fn look(processes: &[ProcessView], numbers: &HashMap<u32, u32>) -> Members {
        let threads = |process: &ProcessView| {
            let pid = numbers.get(&process.pid)?;
            Some((process.slot, proc::threads(*pid).filter(|threads| !threads.is_empty())?))
        };
        Members(processes.iter().filter_map(threads).collect())
    }

    /// Of the process in a slot, which was looked at `before` and now.
    pub fn others(&self, before: &Members, slot: u16, sleepers: &[Sleeper]) -> Others {
        let (Some(then), Some(now)) = (before.0.get(&slot), self.0.get(&slot)) else {
            return Others::Busy;
        };
        let waits = |thread: &Thread| {
            sleepers.iter().any(|sleeper| sleeper.process.0 == slot && sleeper.thread == thread.own_tid)
        };
        let others: Vec<&Thread> =
            now.iter().filter(|thread| !THREADS.contains(&thread.name.as_str()) && !waits(thread)).collect();
        let rests = |thread: &&Thread| !is_busy(thread) && then.contains(*thread);
        if !others.iter().all(rests) {
            return Others::Busy;
        }
        let others: Vec<&Thread> = others.into_iter().filter(|thread| !proc::waits_within(thread)).collect();
        if others.is_empty() {
            return Others::None;
        }
        Others::Quiet(others.iter().map(|thread| format!("{} ({})", thread.name, thread.own_tid)).collect())
    }

    /// Is a process stopped, so that it may be in the middle of anything?
    pub fn stopped(&self) -> Vec<u16> {
        let stopped = |threads: &Vec<Thread>| threads.iter().any(|thread| matches!(thread.state, 'T' | 't'));
        self.0.iter().filter(|(_, threads)| stopped(threads)).map(|(slot, _)| *slot).collect()
    }

    /// Has each thread that was in the middle of something done something since?
    pub fn have_moved(&self, since: &Members) -> bool {
        since.0.iter().all(|(slot, then)| {
            let now = self.0.get(slot);
            then.iter().filter(|thread| is_busy(thread)).all(|thread| {
                let same = now.and_then(|now| now.iter().find(|now| now.own_tid == thread.own_tid));
                same.is_none_or(|now| now.switches != thread.switches || now.ran_ns != thread.ran_ns)
            })
        })
    }
}

/// It runs, or would, or cannot be disturbed.
fn is_busy(thread: &Thread) -> bool {
    matches!(thread.state, 'R' | 'D')
}
