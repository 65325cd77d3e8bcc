//! Handles of a member: as long as there is one, this process is a member; and who drops the last one has left when it goes on.
//!
//! An `Arc` alone cannot promise that. The service's threads look after the member for moments in which they must be sure of it; if
//! the user's last handle went meanwhile, the leaving would fall to them, and a program whose `main` ends then has exited before it has
//! left: its death is told, and what it was to hand over is lost.
//!
//! M1. All handles together have one strong count of the `Arc`, and are counted by themselves: `Member::handles`. Who drops the last
//!     one lets no new visit begin, waits for those that have begun, and only then gives the strong count back.
//! M2. A visit has a strong count of its own, and gives it back before it says that it has ended. So it is never the last.
//!
//! Not covered: a thread of the user's that opens the name again, or ends, at the very moment when another one drops the last handle: then
//! that thread may be the one that leaves. And where the process is not a member any more (forked, or swept while it ran: member.rs, A3)
//! nobody waits, and there is nothing to leave.

#![allow(unsafe_code)] // Several handles have one strong count (M1).

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::member::Member;

/// A handle of a member. Costs what an `Arc` does.
pub(crate) struct Handle(ManuallyDrop<Arc<Member>>);

impl Handle {
    /// The first handle.
    pub(crate) fn new(member: Member) -> Handle {
        member.handles.store(1, Relaxed);
        Handle(ManuallyDrop::new(Arc::new(member)))
    }

    /// One more handle, if there is one.
    pub(crate) fn of(member: &Weak<Member>) -> Option<Handle> {
        let member = member.upgrade()?;
        member.handles.fetch_update(Relaxed, Relaxed, |count| (count != 0).then(|| count + 1)).ok()?;
        Some(Handle(one_more(&member)))
    }

    /// What does not keep it.
    pub(crate) fn downgrade(&self) -> Weak<Member> {
        Arc::downgrade(&self.0)
    }

    /// Are both of the same member?
    pub(crate) fn is_of(&self, other: &Handle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// For a handle that has been counted.
fn one_more(member: &Arc<Member>) -> ManuallyDrop<Arc<Member>> {
    // SAFETY: it is dropped by the last handle only, and this is one (M1).
    ManuallyDrop::new(unsafe { ptr::read(member) })
}

impl Deref for Handle {
    type Target = Member;

    #[inline(always)]
    fn deref(&self) -> &Member {
        &self.0
    }
}

impl Clone for Handle {
    #[inline]
    fn clone(&self) -> Handle {
        if self.handles.fetch_add(1, Relaxed) > isize::MAX as usize {
            std::process::abort(); // as `Arc` does: somebody forgets handles in a loop
        }
        Handle(one_more(&self.0))
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if self.handles.fetch_sub(1, Release) == 1 {
            // Pairs with the Release of those that were dropped before.
            fence(Acquire);
            self.give_back();
        }
    }
}

impl Handle {
    #[cold]
    fn give_back(&mut self) {
        // In a forked child nobody visits, and the lock may have been held when it was made.
        if self.here() {
            self.visits.end();
        }
        // SAFETY: the last handle (M1).
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

/// Who is with a member for a moment without a handle of it.
#[derive(Default)]
pub(crate) struct Visits {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Visits that have begun and not ended.
    inside: usize,
    over: bool,
}

impl Visits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A visit. None: the member is leaving, or has left.
    pub(crate) fn begin<'v>(&'v self, member: &Weak<Member>) -> Option<Visit<'v>> {
        let mut state = self.lock();
        // One from within another: that one is waited for, and may need it.
        if state.over && state.inside == 0 {
            return None;
        }
        let member = member.upgrade()?;
        state.inside += 1;
        Some(Visit { member, _ending: Ending(self) })
    }

    /// Waits until nobody visits, and nobody will.
    fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        while state.inside != 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A member that is visited. The fields are dropped in this order (M2).
pub(crate) struct Visit<'v> {
    member: Arc<Member>,
    _ending: Ending<'v>,
}

/// Says that a visit has ended.
struct Ending<'v>(&'v Visits);

impl Deref for Visit<'_> {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.member
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside -= 1;
        if state.inside == 0 {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::Domain;

    #[test]
    fn who_drops_the_last_handle_has_left_when_it_goes_on_whoever_visits() {
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options.create().unwrap();
        let (member, visits) = (domain.member().downgrade(), domain.member().visits.clone());
        let visit = visits.begin(&member).unwrap();
        let through = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !visits.lock().over {
                    std::thread::yield_now();
                }
                assert!(visits.begin(&member).is_some(), "from within another visit");
                assert_eq!(visit.segment().process(0).pid.load(Relaxed), std::process::id());
                through.store(true, SeqCst);
                drop(visit);
            });
            drop(domain);
            assert!(through.load(SeqCst));
        });
        assert_eq!(member.strong_count(), 0, "it left here, not where the visit ended");
        assert!(visits.begin(&member).is_none() && Handle::of(&member).is_none());
    }

    #[test]
    fn handles_that_come_and_go_in_several_threads_keep_it() {
        let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
        let domain = options.create().unwrap();
        let member = domain.member().downgrade();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut handle = Some(domain.member().clone());
                let member = &member;
                scope.spawn(move || {
                    for n in 0..1000 {
                        let another = if n % 2 == 0 { handle.clone() } else { Handle::of(member) };
                        handle = another;
                    }
                    assert!(handle.is_some_and(|handle| handle.here()));
                });
            }
        });
        assert_eq!(domain.member().handles.load(Relaxed), 1);
        drop(domain);
        assert_eq!(member.strong_count(), 0);
    }
}
