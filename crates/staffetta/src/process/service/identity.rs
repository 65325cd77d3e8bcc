//! Which process number a member has here, and whether it is the same process still: for calls of the kernel that want a
//! number, where a number is no identity.
//!
//! What it does not do: it reads nobody's memory (`os/attach.rs`), and remembers nothing.
//!
//! | what could make a number another's | why it is noticed |
//! |---|---|
//! | the process ends, and the number is given to a new one | a number is free only when its process has been waited for; long before that the pidfd says that it has exited |
//! | it runs another program (exec) | the links to it are close-on-exec: they end before the new memory can be attached to (both are inside of `exec_update_lock`) |
//! | the number is one of another pid namespace, or of a /proc of another | a pidfd made from the number, here, is said by the same /proc to have the same number |
//!
//! I1. If `is_still` says yes after the number was used, it was that member's all the while since `number_of` gave it.

use super::thread::{Core, MAILBOX};
use super::Service;
use crate::os::pidfd;
use crate::process::wire::Member;
use rustix::fd::AsFd;
use rustix::process::Pid;
use std::time::{Duration, Instant};

/// How long to wait for a pidfd that a member has not told us yet: it does so as soon as it notices us.
const TOLD_WITHIN: Duration = Duration::from_millis(200);

/// Whether a member has a number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// This one.
    Is(Pid),
    /// It is not told yet, or the member is gone.
    NotNow,
    /// It has none: it is outside of our pid namespace, or there is no /proc.
    None,
}

impl Service {
    /// The number of a member's process in our pid namespace. Waits a little for one that has not told us its pidfd yet, but
    /// not beyond `deadline`.
    pub(crate) fn number_of(&self, who: Member, deadline: Option<Instant>) -> Number {
        if !self.guard.alive() {
            return Number::NotNow;
        }
        let enough = Instant::now() + TOLD_WITHIN;
        let until = deadline.map_or(enough, |deadline| deadline.min(enough));
        loop {
            let mut state = self.core.lock();
            if state.peers.is_gone(who) {
                return Number::NotNow;
            }
            if let Some((_, pidfd)) = state.pidfds.values().find(|(of, _)| *of == who) {
                return match pidfd::number(pidfd.as_fd()) {
                    Some(pid) => Number::Is(pid),
                    None if pidfd::has_exited(pidfd.as_fd()) => Number::NotNow,
                    None => Number::None,
                };
            }
            let _ = self.core.accept(&mut state, MAILBOX);
            self.core.read_all(&mut state, false);
            drop(state);
            if Instant::now() >= until {
                return Number::NotNow;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Is this member still the process that it was when it joined: not exited, and in the same program? (I1)
    pub(crate) fn is_still(&self, who: Member) -> bool {
        self.guard.alive() && self.core.is_still(who)
    }
}

impl Core {
    fn is_still(&self, who: Member) -> bool {
        let state = self.lock();
        let pidfd = state.pidfds.values().find(|(of, _)| *of == who).map(|(_, pidfd)| pidfd.as_fd());
        // A spare link may have ended; all of them end with the program.
        let links = state.peers.links(who).iter();
        let links = links.filter_map(|key| Some(state.connections.get(key)?.socket.as_fd()));
        pidfd.is_some_and(|pidfd| pidfd::is_at(pidfd, links))
    }
}
