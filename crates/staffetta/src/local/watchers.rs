//! Operations of selects that wait for the same change: whoever makes it tells all of them, and each looks for itself.
//!
//! The handshake of `local::sleepers` (Z1). Who was told is on the list no more, and comes back when it has looked in vain. So a
//! select that does not look again owes nobody anything.
//!
//! W1. A list says who is interested, too: the two sides of a rendezvous look at each other's (`local::operation`).

use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gate::is_same;
use crate::channel::call::Ground;
use crate::memory::platform::{Platform, Word64};

/// Operations that are to be told. In lines of their own: the other side looks at `count` with each message.
#[repr(align(128))]
pub struct Watchers<P: Platform> {
    count: P::U64,
    list: Mutex<Vec<u64>>,
}

impl<P: Platform> Watchers<P> {
    /// Nobody.
    pub fn new() -> Self {
        Watchers { count: P::U64::new(0), list: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<u64>> {
        // Nothing panics with the lock in hand.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `who` is to be told; the caller looks once more.
    pub fn announce(&self, who: u64) {
        let mut list = self.list();
        let new = !list.contains(&who);
        if new {
            list.push(who);
        }
        drop(list);
        self.count.fetch_add(u64::from(new), AcqRel);
        P::fence_after_rmw();
    }

    /// `who` is not to be told any more.
    pub fn leave(&self, who: u64) {
        let mut list = self.list();
        let at = list.iter().position(|other| *other == who);
        if let Some(at) = at {
            list.swap_remove(at);
        }
        drop(list);
        if at.is_some() {
            self.count.fetch_add(u64::MAX, AcqRel);
        }
    }

    /// Is anybody to be told, if the caller has just made the change by a read-modify-write?
    #[inline(always)]
    pub fn any_after_rmw(&self) -> bool {
        P::fence_after_rmw();
        self.any()
    }

    /// The same as a hint.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// Is anybody of another select than `own`'s on the list?
    pub fn any_but(&self, own: u64) -> bool {
        self.any() && self.list().iter().any(|other| !is_same(*other, own))
    }

    /// Tells all but those of `own`'s select; 0: all.
    #[cold]
    #[inline(never)]
    pub fn tell<G: Ground<P>>(&self, ground: &G, own: u64) {
        let mut list = self.list();
        let (kept, told): (Vec<u64>, Vec<u64>) =
            list.drain(..).partition(|other| own != 0 && is_same(*other, own));
        *list = kept;
        drop(list);
        self.count.fetch_add((told.len() as u64).wrapping_neg(), AcqRel);
        told.into_iter().for_each(|who| ground.wake(who));
    }
}
