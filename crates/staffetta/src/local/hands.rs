//! Values on their way through a select: what one has taken and not yet handed to its program, and what two selects hand to each
//! other.
//!
//! A select chooses first and completes later; a value that it has taken lies here meanwhile, by its name. On a rendezvous,
//! where a select that would send has no value before it has chosen, one that receives *stands* here:
//!
//! | state | means | left by |
//! |---|---|---|
//! | OPEN | it stands: a select that sends may reserve it | that one: RESERVED; who stands: gone |
//! | RESERVED by | a select has chosen to send to it | that one: GIVEN, OPEN; who stands, when it has waited long enough: gone |
//! | GIVEN | the value is its own | it, which takes the value; or leaves it to whoever receives next |
//!
//! These are the states of a rendezvous' line (WANT, GIVING), and the same rules (`channel::select::look`, K1 to K4); but under a
//! lock, since only selects come here, and none of them is stopped alone. No atomic step of the platform is made with the lock in
//! hand (sleepers.rs, Z3).

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gate::is_same;
use crate::memory::platform::{Platform, Word64};

enum State<T> {
    Open,
    Reserved(u64),
    Given(T),
}

/// Values and stands, each by the name of its operation; 0: anybody's.
pub struct Hands<P: Platform, T> {
    /// How many there are.
    count: P::U64,
    /// How many are anybody's.
    left: P::U64,
    list: Mutex<Vec<(u64, State<T>)>>,
}

impl<P: Platform, T> Hands<P, T> {
    /// Nothing.
    pub fn new() -> Self {
        Hands { count: P::U64::new(0), left: P::U64::new(0), list: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u64, State<T>)>> {
        // Nothing panics with the lock in hand: values are dropped by whoever took them out.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Relaxed: what is `who`'s it was told of, or has put there itself.
    fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    fn push(&self, who: u64, state: State<T>) {
        self.list().push((who, state));
        self.count.fetch_add(1, AcqRel);
        P::fence_after_rmw();
    }

    /// Takes out the first one of `who`'s of which `is` holds.
    fn remove(&self, who: u64, is: impl Fn(&State<T>) -> bool) -> Option<State<T>> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.list();
        let at = list.iter().position(|(other, state)| *other == who && is(state))?;
        let (_, state) = list.remove(at);
        drop(list);
        self.count.fetch_add(u64::MAX, AcqRel);
        Some(state)
    }

    /// `who` has taken a value.
    pub fn put(&self, who: u64, value: T) {
        self.push(who, State::Given(value));
    }

    /// Is a value `who`'s?
    pub fn has(&self, who: u64) -> bool {
        !self.is_empty()
            && self.list().iter().any(|(other, state)| *other == who && matches!(state, State::Given(_)))
    }

    /// The value that is `who`'s.
    pub fn take(&self, who: u64) -> Option<T> {
        match self.remove(who, |state| matches!(state, State::Given(_)))? {
            State::Given(value) => Some(value),
            _ => None,
        }
    }

    /// The value that is `who`'s is left to whoever receives next. True: there is one.
    pub fn leave(&self, who: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut list = self.list();
        let given = list.iter_mut().find(|(other, state)| *other == who && matches!(state, State::Given(_)));
        let found = given.map(|given| given.0 = 0).is_some();
        drop(list);
        if found {
            self.left.fetch_add(1, AcqRel);
        }
        found
    }

    /// A value that was left.
    #[inline(always)]
    pub fn take_left(&self) -> Option<T> {
        if self.left.load(Relaxed) == 0 {
            return None;
        }
        let value = self.take(0)?;
        self.left.fetch_add(u64::MAX, AcqRel);
        Some(value)
    }

    /// Was a value left?
    pub fn has_left(&self) -> bool {
        self.left.load(Acquire) != 0
    }

    /// `who` stands.
    pub fn stand(&self, who: u64) {
        self.push(who, State::Open);
    }

    /// Does `who` stand?
    pub fn stands(&self, who: u64) -> bool {
        !self.is_empty()
            && self.list().iter().any(|(other, state)| *other == who && !matches!(state, State::Given(_)))
    }

    /// `who` stands no more, and waits so many steps for somebody who has reserved it. True: a value is its own.
    pub fn withdraw(&self, who: u64, steps: u64) -> bool {
        let mut step = 0;
        loop {
            if self.has(who) {
                return true;
            }
            let may_go = |state: &State<T>| match state {
                State::Open => true,
                State::Reserved(_) => step >= steps,
                State::Given(_) => false,
            };
            if self.remove(who, may_go).is_some() || !(self.stands(who) || self.has(who)) {
                return false;
            }
            super::relax::<P>(step);
            step += 1;
        }
    }

    /// Does a select stand which is not `own`'s, and nobody has reserved it?
    pub fn any_open(&self, own: u64) -> bool {
        let open = |(who, state): &(u64, State<T>)| matches!(state, State::Open) && !is_same(*who, own);
        !self.is_empty() && self.list().iter().any(open)
    }

    /// `own` reserves the first one that stands.
    pub fn reserve(&self, own: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut list = self.list();
        let open = |(who, state): &&mut (u64, State<T>)| matches!(state, State::Open) && !is_same(*who, own);
        list.iter_mut().find(open).map(|(_, state)| *state = State::Reserved(own)).is_some()
    }

    /// `own` gives a value to what it has reserved: whom to wake. `Err`: it has withdrawn.
    pub fn give(&self, own: u64, value: T) -> Result<u64, T> {
        if self.is_empty() {
            return Err(value);
        }
        let mut list = self.list();
        match list.iter_mut().find(|(_, state)| matches!(state, State::Reserved(by) if *by == own)) {
            Some((who, state)) => {
                *state = State::Given(value);
                Ok(*who)
            }
            None => Err(value),
        }
    }

    /// What `own` has reserved stands again. False: it had reserved nothing.
    pub fn unreserve(&self, own: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut list = self.list();
        let reserved = |(_, state): &&mut (u64, State<T>)| matches!(state, State::Reserved(by) if *by == own);
        list.iter_mut().find(reserved).map(|(_, state)| *state = State::Open).is_some()
    }
}
