//! Deaths, noticed early: a second thread sleeps on the words that the kernel marks when a member's service thread ends.
//!
//! ```text
//!   SIGKILL --> threads end ---------> memory is freed --> sockets close --> pidfd readable
//!                    |                  (64 MiB: some ms)        |
//!                    +- the word is marked: this thread wakes    +- the service thread wakes, as ever
//! ```
//!
//! What it does not do: it decides nothing by the word, which any peer can write. The word is an alarm; whether the process
//! runs no instruction any more the kernel says ([`Program::is_over`]). Where the alarm is missing (Linux before 5.16, a filter,
//! another pid namespace, no /proc), or one thread of the process takes its time, the links and the pidfd tell, later.
//!
//! The kernel wakes one sleeper for each word; if that one is stopped or killed in its turn, the links tell the others.

use super::thread::{Core, State};
use crate::memory::robust::RobustWords;
use crate::os::futex::{self, Deadline};
use crate::os::program::Program;
use crate::os::robust;
use crate::process::wire::Member;
use std::collections::HashSet;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

/// How often to look whether the other threads of a process have followed the one that ended: they have been told to, and
/// have only to be given a core.
const LOOKS: u32 = 40;
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);
/// When what is kept for looking is closed, after a death: its parent has waited for it by then, if it does so at once.
pub(super) const KEPT_OPEN: Duration = Duration::from_millis(100);

/// What the vigil is kept with.
pub(super) struct Vigil {
    pub(super) words: RobustWords,
    /// Rung when there is somebody else to watch, or when it is over.
    bell: AtomicU32,
}

impl Vigil {
    /// None: this kernel, or a filter, does not let a thread sleep on several words.
    pub(super) fn new(words: RobustWords) -> Option<Self> {
        let bell = AtomicU32::new(1);
        // Comes back at once: that is not what the word holds.
        futex::wait_any(&[(&bell, 0)], None).is_ok().then_some(Self { words, bell })
    }

    /// Look again.
    pub(super) fn ring(&self) {
        self.bell.fetch_add(1, Release);
        futex::wake(&self.bell, 1);
    }
}

impl State {
    /// Closes what has been kept open long enough; says when it is time for the next. Nothing else is late if this is.
    fn close(&mut self) -> Option<Deadline> {
        let now = Instant::now();
        while self.over.front().is_some_and(|(died, _)| *died + KEPT_OPEN <= now) {
            self.over.pop_front();
        }
        self.over.front().and_then(|(died, _)| Deadline::at(*died + KEPT_OPEN))
    }
}

impl Core {
    /// Does the service thread's work, with this member's own word held; first says that it is.
    pub(super) fn run_held(&self, up: impl FnOnce()) {
        let run = || {
            up();
            self.run();
        };
        match self.vigil.as_ref().and_then(|vigil| vigil.words.of(self.me.slot)) {
            Some(word) => robust::hold(word, run),
            None => run(),
        }
    }

    /// The other thread.
    pub(super) fn keep(&self, vigil: &Vigil) {
        // Whose alarm has been heard; what it meant the links tell if it was not the end.
        let mut heard: HashSet<Member> = HashSet::new();
        loop {
            // Acquire: who rings has changed before what is read below.
            let rung = vigil.bell.load(Acquire);
            if self.stopping.load(Acquire) {
                return;
            }
            let (mut watched, closes) = {
                let mut state = self.lock();
                (state.watched.clone(), state.close())
            };
            // The slots after our own first: of very many members each is watched by somebody.
            watched.sort_unstable_by_key(|(who, _)| who.slot.wrapping_sub(self.me.slot));
            heard.retain(|who| watched.iter().any(|(watched, _)| watched == who));
            let mut alarmed = Vec::new();
            let mut sleep_on = vec![(&vigil.bell, rung)];
            for (who, program) in watched {
                let Some(word) = vigil.words.of(who.slot).filter(|_| !heard.contains(&who)) else { continue };
                match word.load(Acquire) {
                    marked if marked & robust::DIED != 0 => alarmed.push((who, program)),
                    quiet if sleep_on.len() < futex::WORDS_MAX => sleep_on.push((word, quiet)),
                    _ => {}
                }
            }
            if alarmed.is_empty() {
                if futex::wait_any(&sleep_on, closes).is_err() {
                    self.end_vigil(); // it could at the start
                    return;
                }
                continue;
            }
            for (who, program) in alarmed {
                heard.insert(who);
                self.examine(who, &program);
            }
        }
    }

    /// Nobody keeps it: the links tell all the same.
    pub(super) fn end_vigil(&self) {
        let mut state = self.lock();
        state.has_vigil = false;
        state.watched.clear();
        state.over.clear();
    }

    /// An alarm: is it the end?
    fn examine(&self, who: Member, program: &Program) {
        for look in 0..LOOKS {
            if program.is_over() {
                self.bury_early(&mut self.lock(), who);
                self.bell.ring(); // the service thread tells (invariant 4)
                return;
            }
            let told = self.lock().peers.is_gone(who) || self.stopping.load(Acquire);
            if told || look + 1 == LOOKS {
                return;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}
