//! Places that are reserved, and for whom nobody comes any more.
//!
//! Whoever reserves a slot of the process table for a process that is about to join marks it with the number of a socket, the
//! *stake*: it listens, and nobody ever accepts there. The socket is handed to the joiner with its welcome, and the reserver keeps no
//! copy. So it lives as long as whoever may still come, wherever that one or its host is killed, and the kernel tells everybody else.
//!
//! ```text
//!   host     stake made -> slot marked -> slot JOINING -> welcome, with the stake -> own copy closed
//!   joiner   ... -> LIVE -> mark away -> stake closed
//!   others   connect: refused  -> mark away, and the slot FREE
//!                     accepted -> the connection is watched; when it ends, look again
//! ```

use super::thread::{Core, News, Stage, State};
use crate::process::place::Reached;

impl Core {
    /// Looks after every stake that is not watched yet.
    pub(super) fn look_after_stakes(&self, state: &mut State) {
        for number in self.roster.stakes() {
            let watches = |stage: &Stage| matches!(stage, Stage::Stake(of) if *of == number);
            if state.connections.values().any(|connection| watches(&connection.stage)) {
                continue;
            }
            match self.site.reach_stake(number) {
                Reached::Connected(socket) => {
                    if self.watch(state, socket, Stage::Stake(number)).is_err() {
                        state.incomplete = true;
                    }
                }
                Reached::Refused => {
                    state.news.push(News::Vacated(number));
                    self.bell.ring(); // this may not be the thread that tells
                }
                Reached::Later | Reached::OutOfSight => state.incomplete = true,
            }
        }
    }
}
