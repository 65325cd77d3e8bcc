//! The loop of a select: which operations are worth a look, which one is taken, when to sleep.
//!
//! Z1. Of an enabled operation one of these holds: its bit is in `pending`, or in the ready set; or it was announced, and
//!     whoever makes it possible delivers the bit; or it stands; or it is in `against`. So the loop looks at the bits,
//!     and at nothing else: an idle operation costs nothing, however many there are.
//! Z2. A bit leaves `pending` when a look finds the operation not possible, never when it is chosen: after that it is to be
//!     looked at again.
//! Z3. At most one operation stands, and only inside `choose`: whatever it returns, what stood has been withdrawn, or is
//!     what was chosen.
//!
//! It runs on any [`Platform`], and does not know what the operations are: [`Selectable`] is all it asks of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::look::Look;
use crate::memory::platform::Platform;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::{wait, Spinner, Wait, Waited, Woken};

/// An operation as those know it who make it possible.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Where its readiness is to be delivered: an offset, for `channel::ground::wake_at`. None: a look in vain is not to be
    /// announced, anywhere.
    pub entry: Option<u64>,
    /// The same among the channels of this process: a reference, for `local::gate`. 0: the select has no such channel.
    pub local: u64,
}

/// What a select asks of an operation; what an end has to implement to be one.
pub trait Selectable {
    /// Is it possible now? If not, and `at` has an entry: whoever makes it possible delivers it there, from before
    /// this look on (announce, then look again: `process::wait`).
    fn look(&self, at: At) -> Look;
    /// It was found possible, and is chosen: sees to it that completing it will not fail because somebody else was quicker.
    /// False: somebody was.
    fn secure(&self, at: At) -> bool {
        let _ = at;
        true
    }
    /// After `Look::Against`: makes it possible for a partner that is a select. False: look again.
    fn stand(&self, at: At) -> bool {
        let _ = at;
        false
    }
    /// It stands no more, and waits so many steps for a partner that is in the middle. True: the partner came first, and it is
    /// secured.
    fn withdraw(&self, at: At, steps: u64) -> bool {
        let _ = (at, steps);
        false
    }
    /// After `Look::Against`: does that select sleep?
    fn faces_sleeper(&self) -> bool {
        false
    }
    /// Chosen, and not completed.
    fn release(&self, at: At) {
        let _ = at;
    }
    /// The select is over, or has removed it: `at` is nobody any more.
    fn leave(&self, at: At) {
        let _ = at;
    }
    /// Of a timer: when it will be possible. None: nobody knows, or never.
    fn due(&self) -> Option<Instant> {
        None
    }
    /// Is it a timer? Then nobody delivers it.
    fn is_timer(&self) -> bool {
        false
    }
}

/// How long a select stands for one other before the next one has its turn.
const TURN: Duration = Duration::from_micros(500);

/// How a select sleeps.
pub struct Bed<'s, P: Platform, const N: usize> {
    /// Where readiness arrives.
    pub set: &'s ReadySet<P, N>,
    /// The entry of operation 0.
    pub base: u64,
    /// How it waits.
    pub wait: Wait,
    /// How many steps it waits, when it is about to choose another operation, for whoever has reserved what it stands for.
    pub grace_steps: u64,
}

/// The operations of a select, and what is known of them.
#[derive(Default)]
pub struct Turn<'a> {
    operations: Vec<Option<&'a dyn Selectable>>,
    enabled: Vec<u64>,
    pending: Vec<u64>,
    timers: Vec<usize>,
    against: VecDeque<usize>,
    standing: Option<usize>,
    /// The last search has woken a select on the other side.
    nudged: bool,
    /// Where the next search begins: fairness.
    start: usize,
    /// Always at the first one.
    biased: bool,
    /// Random steps, so that two selects that make way for each other do not do so for ever.
    random: u64,
    /// Its learning.
    spinner: Spinner,
    /// Operation 0 among the channels of this process, and from each to the next. 0: none of them is one.
    local: u64,
}

/// From the local reference of one operation to that of the next.
pub const LOCAL_STEP: u64 = 1 << 8;

fn bit(i: usize) -> (usize, u64) {
    (i / 64, 1 << (i % 64))
}

impl<'a> Turn<'a> {
    /// Without operations; `random`: where to begin.
    pub fn new(random: u64) -> Self {
        Turn { start: random as usize, random: random | 1, ..Turn::default() }
    }

    /// How many there are or were.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The operation.
    pub fn get(&self, i: usize) -> Option<&'a dyn Selectable> {
        self.operations.get(i).copied().flatten()
    }

    /// Its operations have local references from now on; the first one's.
    pub fn set_local(&mut self, base: u64) {
        self.local = base;
    }

    /// All are to be looked at again.
    pub fn mark_all(&mut self) {
        self.pending.copy_from_slice(&self.enabled);
    }

    /// Operation `i` as those know it who make it possible; `base` is the entry of operation 0.
    pub fn at(&self, i: usize, base: Option<u64>) -> At {
        let i = i as u64;
        let local = if self.local == 0 { 0 } else { self.local + i * LOCAL_STEP };
        At { entry: base.map(|base| base + i), local }
    }

    /// Always the first possible one.
    pub fn set_biased(&mut self) {
        self.biased = true;
    }

    /// One more; gives its number.
    pub fn add(&mut self, operation: &'a dyn Selectable) -> usize {
        let i = self.operations.len();
        self.operations.push(Some(operation));
        if i % 64 == 0 {
            self.enabled.push(0);
            self.pending.push(0);
        }
        if operation.is_timer() {
            self.timers.push(i);
        }
        let (word, bit) = bit(i);
        self.enabled[word] |= bit;
        self.pending[word] |= bit;
        i
    }

    /// One less; the numbers of the others stay.
    pub fn remove(&mut self, i: usize) -> Option<&'a dyn Selectable> {
        let operation = self.operations.get_mut(i)?.take()?;
        let (word, bit) = bit(i);
        self.enabled[word] &= !bit;
        self.pending[word] &= !bit;
        self.timers.retain(|&timer| timer != i);
        self.against.retain(|&other| other != i);
        Some(operation)
    }

    /// Its guard. False: there is no such operation.
    pub fn enable(&mut self, i: usize, enabled: bool) -> bool {
        if self.get(i).is_none() {
            return false;
        }
        let (word, bit) = bit(i);
        if !enabled {
            self.enabled[word] &= !bit;
        } else if self.enabled[word] & bit == 0 {
            self.enabled[word] |= bit;
            self.pending[word] |= bit;
        }
        true
    }

    /// Is none enabled?
    pub fn is_empty(&self) -> bool {
        self.enabled.iter().all(|&word| word == 0)
    }

    /// Is the other side of an enabled operation a select that sleeps, and may answer in a moment?
    pub fn faces_sleeper(&self) -> bool {
        let faces = |i: usize| self.get(i).is_some_and(|operation| operation.faces_sleeper());
        self.nudged || self.against.iter().any(|&i| self.is_enabled(i) && faces(i))
    }

    /// When the first enabled timer is due.
    pub fn due(&self) -> Option<Instant> {
        let enabled = self.timers.iter().filter(|&&i| self.is_enabled(i));
        enabled.filter_map(|&i| self.operations[i]?.due()).min()
    }

    fn is_enabled(&self, i: usize) -> bool {
        let (word, bit) = bit(i);
        self.enabled[word] & bit != 0
    }

    fn mark(&mut self, i: usize) {
        let (word, bit) = bit(i);
        self.pending[word] |= bit;
    }

    /// The first operation from `from` on, below `to`, that is to be looked at.
    fn next(&self, from: usize, to: usize) -> Option<usize> {
        let mut at = from;
        while at < to {
            let word = (self.pending[at / 64] & self.enabled[at / 64]) >> (at % 64);
            if word != 0 {
                let found = at + word.trailing_zeros() as usize;
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// Looks at all that are worth it. `base`: a look in vain is announced. `take`: the chosen one is secured.
    pub fn look<P: Platform>(&mut self, base: Option<u64>, grace_steps: u64, take: bool) -> Option<usize> {
        if !self.timers.is_empty() {
            for t in 0..self.timers.len() {
                self.mark(self.timers[t]);
            }
        }
        self.nudged = false;
        let n = self.len();
        let start = if self.biased || n == 0 { 0 } else { self.start % n };
        for (mut from, to) in [(start, n), (0, start)] {
            while let Some(i) = self.next(from, to) {
                from = i + 1;
                let Some(operation) = self.get(i) else { continue };
                let (word, bit) = bit(i);
                let at = self.at(i, base);
                match operation.look(at) {
                    Look::Ready => {
                        if let Some(standing) = self.make_way::<P>(i, grace_steps) {
                            return Some(standing);
                        }
                        if !take || operation.secure(at) {
                            self.start = i + 1;
                            return Some(i);
                        }
                        from = i; // not any more: look again
                    }
                    // A look without an announcement tells nothing of later.
                    Look::Not if base.is_some() => self.pending[word] &= !bit,
                    Look::Not => {}
                    Look::Nudged => {
                        self.nudged = true;
                        if base.is_some() {
                            self.pending[word] &= !bit;
                        }
                    }
                    Look::Against => {
                        if base.is_some() {
                            self.pending[word] &= !bit;
                        }
                        if !self.against.contains(&i) {
                            self.against.push_back(i);
                        }
                    }
                }
            }
        }
        None
    }

    /// `i` is about to be chosen: what stands is withdrawn. Some: too late, it happened.
    fn make_way<P: Platform>(&mut self, i: usize, grace_steps: u64) -> Option<usize> {
        let standing = self.standing?;
        if standing == i {
            self.standing = None; // its look has withdrawn it, or found it over
            return None;
        }
        let operation = self.get(standing)?;
        // The other one may be about to withdraw in order to take what stands here: one of us is to be slower.
        for step in 0..self.random(64).min(P::eager_steps()) {
            P::relax_briefly(step);
        }
        self.standing = None;
        self.mark(standing);
        if operation.withdraw(self.at(standing, None), grace_steps) {
            self.start = standing + 1;
            return Some(standing);
        }
        None
    }

    /// What stands is withdrawn. Some: it happened.
    fn withdraw(&mut self, grace_steps: u64) -> Option<usize> {
        let standing = self.standing.take()?;
        self.mark(standing);
        self.get(standing)?.withdraw(self.at(standing, None), grace_steps).then(|| {
            self.start = standing + 1;
            standing
        })
    }

    /// What stands has had its turn. It is announced as it was before, and its partner, which the WANT woke, says if it
    /// is still interested (look.rs, K4). Some: it happened.
    fn pass_on(&mut self, base: u64, grace_steps: u64) -> Option<usize> {
        let standing = self.standing?;
        let happened = self.withdraw(grace_steps);
        if happened.is_none() && self.get(standing)?.look(self.at(standing, Some(base))) != Look::Ready {
            let (word, bit) = bit(standing);
            self.pending[word] &= !bit;
        }
        happened
    }

    /// Lets somebody who is a select too have its turn.
    fn stand(&mut self) {
        while let Some(i) = self.against.pop_front() {
            match self.get(i) {
                Some(operation) if self.is_enabled(i) => {
                    self.mark(i); // once more before we sleep: it may be over already
                    if operation.stand(self.at(i, None)) {
                        self.standing = Some(i);
                        return;
                    }
                }
                _ if i < self.len() => self.mark(i), // for when it is enabled
                _ => {}
            }
        }
    }

    /// Waits until an operation is possible, and chooses it. None: the deadline passed.
    pub fn choose<'p, P: Platform, const N: usize>(
        &mut self,
        bed: &Bed<'_, P, N>,
        deadline: Option<Instant>,
        take: bool,
        mut pcb: impl FnMut() -> Option<(&'p Pcb<P>, u64)>,
    ) -> Option<usize> {
        let mut turn_ends = None;
        loop {
            bed.set.drain(&mut self.pending);
            if let Some(i) = self.look::<P>(Some(bed.base), bed.grace_steps, take) {
                // Not secured: nothing may stay behind (Z3).
                return self.withdraw(bed.grace_steps).or(Some(i));
            }
            let now =
                (deadline.is_some() || !self.timers.is_empty() || turn_ends.is_some()).then(Instant::now);
            let passed =
                |limit: Option<Instant>| limit.is_some_and(|limit| now.is_some_and(|now| now >= limit));
            if passed(deadline) {
                return self.withdraw(bed.grace_steps);
            }
            if !self.against.is_empty() && passed(turn_ends) {
                if let Some(i) = self.pass_on(bed.base, bed.grace_steps) {
                    return Some(i);
                }
            }
            if self.standing.is_none() {
                self.stand();
                turn_ends = None;
            }
            if self.next(0, self.len()).is_some() {
                continue; // marked meanwhile
            }
            if self.standing.is_some() && !self.against.is_empty() && turn_ends.is_none() {
                turn_ends = Instant::now().checked_add(TURN);
            }
            let until = [deadline, self.due(), turn_ends].into_iter().flatten().min();
            let (set, mut spinner) = (bed.set, self.spinner);
            // However it ends, all there is to look at is looked at.
            let _: Woken<()> = wait(
                bed.wait,
                &mut spinner,
                until,
                &mut Waited::default(),
                &mut pcb,
                || set.any().then_some(()),
                |pcb| set.announce(pcb),
            );
            set.awake();
            self.spinner = spinner;
        }
    }
}
