//! How an end waits, whom it wakes, and how it learns that nobody is left on the other side.
//!
//! Invariants: `mod.rs`, and `crowd.rs` for the handshake.

use std::cell::Cell;
use std::time::Instant;

use super::{Lanes, QueueParty, CALM_MAX, GLANCES, RESTS_MAX, REST_NS};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::crowd::Crowd;
use crate::channel::side::ATTACHED;
use crate::memory::platform::Platform;
use crate::memory::word::Word;
use crate::process::wait::{wait, Wait, Waited, Woken};

impl<'c, P: Platform, L: Lanes, G: Ground<P>> QueueParty<'c, P, L, G> {
    /// Wakes those who sleep in `crowd`. The caller has just changed by a read-modify-write what they wait for.
    #[inline(always)]
    pub(super) fn wake(&self, crowd: &Crowd<P>) {
        self.wake_seen(crowd, crowd.sleepers_after_rmw());
    }

    #[inline(always)]
    pub(super) fn wake_seen(&self, crowd: &Crowd<P>, sleepers: u64) {
        if sleepers != 0 {
            crowd.wake(sleepers, |side| {
                self.tally.woke();
                self.ground.wake(side.pcb_ref());
            });
        }
    }

    /// The caller has announced itself, and finds nothing: those of the other side who sleep should not (crowd.rs, D5).
    pub fn wake_sleepers_of(&self, others: &Crowd<P>) {
        self.wake(others);
    }

    /// Is anybody left at the other side? What there was is to be looked at once more before it is said.
    pub(super) fn lost(&self, others: &Crowd<P>) -> Option<Word> {
        let departures = others.departures();
        if departures == self.side.departures.get() {
            return None;
        }
        let end = others.end();
        if self.memory.is_known(end) {
            self.side.departures.set(departures);
            return None;
        }
        Some(end)
    }

    /// Those of our own side who are dead are swept.
    #[cold]
    fn bury(&self, own: &Crowd<P>) {
        let holders = own.seats().iter().map(|seat| seat.side.end()).filter(|end| end.state() == ATTACHED);
        holders.for_each(|end| self.ground.bury(end.slot()));
    }

    /// Is there something to take, or a place to send into, or nobody left at the other side, which the next call says? For
    /// a select.
    pub fn is_possible(&self, is_sender: bool) -> bool {
        let others = if is_sender {
            if self.side.is_held() || (self.free_slot().is_some() && self.room().is_some()) {
                return true;
            }
            self.queue.receivers()
        } else {
            if self.side.is_held() || self.next_message().is_some() {
                return true;
            }
            self.queue.senders()
        };
        let Some(end) = self.lost(others) else {
            return false;
        };
        if self.memory.would_lose(end, others.fell_by(end)).is_some() {
            return true;
        }
        self.side.departures.set(u64::MAX);
        self.memory.lost_partner(end, others.fell_by(end));
        false
    }

    /// Waits until `look` gives something, in this end's seat of `own`.
    #[inline(never)]
    pub(super) fn pause<R>(
        &self,
        patience: Patience,
        own: &Crowd<P>,
        others: &Crowd<P>,
        look: impl Fn(&Self) -> Option<R>,
    ) -> Result<R, Stop> {
        // Who never sleeps looks again and again, and each time whether others sleep who should not (crowd.rs, D5).
        let sleepless = matches!(patience, Patience::Try) || self.memory.wait.get() == Wait::Spin;
        let poll = || {
            if let Some(found) = look(self) {
                return Some(Ok(found));
            }
            if self.ground.is_called_away() {
                return Some(Err(Stop::CalledAway));
            }
            if sleepless {
                self.wake_seen(others, others.sleepers());
            }
            let end = self.lost(others)?;
            // What they did before they went comes first, also what one of our own side had in hand who is dead and not swept yet;
            // the loss is for the next call to report.
            self.bury(own);
            if let Some(found) = look(self) {
                return Some(Ok(found));
            }
            self.side.departures.set(u64::MAX);
            self.memory.lost_partner(end, others.fell_by(end)).map(|gone| Err(Stop::Gone(gone)))
        };
        let Patience::Until(deadline) = patience else {
            return poll().unwrap_or(Err(Stop::WouldBlock));
        };
        if let Some(result) = self.glance(poll) {
            return result;
        }
        self.wait(deadline, own, others, poll)
    }

    /// Looks a few times before the wait begins. Who finds what it waits for at once, again and again, is in the middle of a
    /// stream, and looks too often: each look takes the line from who writes it. Its next pause before the first look is twice as
    /// long, so that both sides work in batches.
    pub(super) fn glance<R>(&self, poll: impl Fn() -> Option<R>) -> Option<R> {
        if self.memory.wait.get() == Wait::Park || P::eager_steps() <= 1 {
            return None;
        }
        let calm = self.side.calm.get();
        (0..(1_u64 << calm) - 1).for_each(P::relax_briefly);
        for look in 0..GLANCES {
            if let Some(found) = poll() {
                self.side.calm.set(if look <= 1 { (calm + 1).min(CALM_MAX) } else { 0 });
                return Some(found);
            }
            (0..1 << look).for_each(P::relax_briefly);
        }
        self.side.calm.set(0);
        None
    }

    pub(super) fn wait<R>(
        &self,
        deadline: Option<Instant>,
        own: &Crowd<P>,
        others: &Crowd<P>,
        poll: impl Fn() -> Option<Result<R, Stop>>,
    ) -> Result<R, Stop> {
        let mut waited = Waited::default();
        let mut spinner = self.memory.spinner.get();
        let announced = Cell::new(false);
        let me = &own.seat(self.side.seat).side;
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || self.ground.own_pcb(),
            &poll,
            |pcb_ref| {
                if announced.replace(false) {
                    // Woken, and others had what there was. Nobody wakes us again before we announce again: let them.
                    let rests = self.side.rests.get();
                    self.side.rests.set((rests + 1).min(RESTS_MAX));
                    own.retire(self.side.seat);
                    P::rest(REST_NS << rests, deadline);
                    return false;
                }
                me.set_pcb_ref(pcb_ref);
                own.announce(self.side.seat);
                announced.set(true);
                // Both sides have never cause to sleep at once: somebody was stopped before it woke them (D5).
                self.wake_sleepers_of(others);
                true
            },
        );
        if announced.get() {
            own.retire(self.side.seat);
            self.side.rests.set(0);
        }
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(result) => result,
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }
}
