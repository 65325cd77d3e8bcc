//! Who sleeps until something changes, when any number of threads of one process may: a list under a lock, and a word
//! that says how long it is.
//!
//! ```text
//!   sleeper: joins the list, adds 1 to `count`     waker: changes the word (a read-modify-write)
//!            fence                                        fence
//!            polls once more, sleeps                      loads `count`; if it is not 0, wakes from the list
//! ```
//!
//! It is the handshake of `channel::crowd` without its limit of 64 seats: nobody here is killed with the lock in hand.
//! Whoever finds `count` 0 has done one load: no lock, no system call.
//!
//! Z1. Of the two loads one sees the other's change, by the two fences: so no wake-up is lost.
//! Z2. An entry is the reference of the PCB that sleeps: a thread is in one list at most once.
//! Z3. No atomic step of the platform is made with the lock in hand: under loom a thread that holds it is not interrupted.
//!
//! This file does not know what is waited for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU8, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::channel::call::Ground;
use crate::memory::platform::{Platform, Word64};
use crate::process::wait::{wait, Spinner, Wait, Waited, Woken};

/// A sleeper, or somebody who is about to be one.
struct Entry {
    pcb_ref: u64,
    /// `wake_front` has woken it since it came, or came again.
    woken: bool,
}

#[derive(Default)]
struct List {
    entries: VecDeque<Entry>,
    /// How often the first one was passed over.
    passed_over: u32,
}

/// Threads that sleep, first come, first woken.
pub struct Sleepers<P: Platform> {
    count: P::U64,
    list: Mutex<List>,
}

/// How somebody left the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// By itself.
    Asleep,
    /// By itself, after `wake_front` had woken it.
    Woken,
    /// Somebody else took it off the list.
    Picked,
}

impl<P: Platform> Sleepers<P> {
    /// Nobody.
    pub fn new() -> Self {
        Sleepers { count: P::U64::new(0), list: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing panics with the lock in hand; were it so, the list would still be whole.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This PCB is about to sleep; the caller polls once more before it does (Z1).
    pub fn announce(&self, pcb_ref: u64) {
        let mut list = self.list();
        let known = list.entries.iter_mut().find(|entry| entry.pcb_ref == pcb_ref);
        let new = known.is_none();
        match known {
            Some(entry) => entry.woken = false,
            None => list.entries.push_back(Entry { pcb_ref, woken: false }),
        }
        drop(list);
        // AcqRel and the fence: Z1. A waker that saw the entry before it is counted makes `count` wrap for a moment:
        // not 0 either.
        self.count.fetch_add(u64::from(new), AcqRel);
        P::fence_after_rmw();
    }

    /// This PCB is awake, and waits for nothing.
    pub fn retire(&self, pcb_ref: u64) -> Left {
        let mut list = self.list();
        let at = list.entries.iter().position(|entry| entry.pcb_ref == pcb_ref);
        let entry = at.and_then(|at| list.remove(at));
        drop(list);
        match entry {
            None => Left::Picked,
            Some(entry) => {
                self.uncount();
                if entry.woken {
                    Left::Woken
                } else {
                    Left::Asleep
                }
            }
        }
    }

    fn uncount(&self) {
        self.count.fetch_add(u64::MAX, AcqRel);
    }

    /// Is anybody asleep, or about to be, if the caller has just changed by a read-modify-write what they wait for (Z1)?
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

    /// Wakes the first one, which stays first, unless it is awake.
    #[cold]
    #[inline(never)]
    pub fn wake_front<G: Ground<P>>(&self, ground: &G) {
        let mut list = self.list();
        let front = list.entries.front_mut().and_then(|entry| {
            let woken = std::mem::replace(&mut entry.woken, true);
            (!woken).then_some(entry.pcb_ref)
        });
        drop(list);
        if let Some(pcb_ref) = front {
            ground.wake(pcb_ref);
        }
    }

    /// The first one is passed over. The `patience`th time it is taken off the list instead: the caller gives it what it
    /// waits for, and wakes it.
    #[cold]
    #[inline(never)]
    pub fn pick(&self, patience: u32) -> Option<u64> {
        let mut list = self.list();
        list.passed_over += 1;
        let due = list.passed_over >= patience;
        let picked = due.then(|| list.remove(0)).flatten();
        drop(list);
        picked.map(|entry| {
            self.uncount();
            entry.pcb_ref
        })
    }
}

impl List {
    fn remove(&mut self, at: usize) -> Option<Entry> {
        if at == 0 {
            self.passed_over = 0;
        }
        self.entries.remove(at)
    }
}

/// How one end waits: its policy, and what it has learned. Threads that share the end share it.
pub struct Me {
    wait: AtomicU8,
    misses: AtomicU32,
    /// How long to pause before the first look, as a power of two.
    calm: AtomicU32,
}

impl Me {
    /// An end with this policy.
    pub fn new(wait: Wait) -> Me {
        Me { wait: AtomicU8::new(wait as u8), misses: AtomicU32::new(0), calm: AtomicU32::new(0) }
    }

    /// Its policy.
    #[inline(always)]
    pub fn wait(&self) -> Wait {
        match self.wait.load(Relaxed) {
            0 => Wait::Spin,
            2 => Wait::Park,
            _ => Wait::SpinThenPark,
        }
    }

    /// Changes it.
    pub fn set_wait(&self, wait: Wait) {
        self.wait.store(wait as u8, Relaxed);
    }

    /// What it has learned.
    #[inline(always)]
    pub fn spinner(&self) -> Spinner {
        Spinner::with_misses(self.misses.load(Relaxed))
    }

    /// What it has learned now. Of two threads one is forgotten: it is a hint.
    #[inline(always)]
    pub fn set_spinner(&self, spinner: Spinner) {
        if self.misses.load(Relaxed) != spinner.misses() {
            self.misses.store(spinner.misses(), Relaxed);
        }
    }
}

const _: () = assert!(Wait::Spin as u8 == 0 && Wait::SpinThenPark as u8 == 1 && Wait::Park as u8 == 2);

/// How many looks, with longer and longer pauses between them, before a wait begins in earnest.
const GLANCES: u32 = 6;
/// And how many after that, giving the core away between two of them: two threads on one core that fill and empty a ring do it
/// in long turns then, where each would else be woken for a single message.
const YIELDS: u32 = 8;
/// The longest pause before the first look, as a power of two.
pub const CALM_MAX: u32 = 8;

/// Waits until `poll` gives something. `announce` and `retire` say to whoever makes it so that a PCB sleeps, and that it does not
/// any more; also given is how this thread left, if it was announced.
///
/// `poll` is told the reference of the PCB once it is announced. Who finds what it waits for at once, again and again, is in the
/// middle of a stream and looks too often: each look takes the line from who writes it, who then gets no further than one
/// message at a time. Its next pause before the first look is twice as long, up to 2^`calm_max` steps.
pub fn pause<P: Platform, G: Ground<P>, R>(
    me: &Me,
    ground: &G,
    deadline: Option<Instant>,
    calm_max: u32,
    mut poll: impl FnMut(Option<u64>) -> Option<R>,
    announce: impl Fn(u64),
    retire: impl Fn(u64) -> Left,
) -> (Woken<R>, Option<(u64, Left)>) {
    let policy = me.wait();
    if policy != Wait::Park {
        // On a machine of one core nobody comes while we look.
        let first = if P::eager_steps() == 0 { GLANCES } else { 0 };
        let calm = me.calm.load(Relaxed);
        (0..(1_u64 << calm) - 1).for_each(P::relax_briefly);
        let glances = if policy == Wait::Spin { GLANCES } else { GLANCES + YIELDS };
        for look in first..glances {
            if let Some(found) = poll(None) {
                let now = if look <= 1 { (calm + 1).min(calm_max) } else { 0 };
                if now != calm {
                    me.calm.store(now, Relaxed);
                }
                return (Woken::Ready(found), None);
            }
            if look < GLANCES {
                (0..1 << look).for_each(P::relax_briefly);
            } else {
                P::relax(u64::MAX);
            }
        }
        me.calm.store(0, Relaxed);
    }
    let mut spinner = me.spinner();
    let announced = Cell::new(None);
    let woken = wait(
        me.wait(),
        &mut spinner,
        deadline,
        &mut Waited::default(),
        || ground.own_pcb(),
        || poll(announced.get()),
        |pcb_ref| {
            announce(pcb_ref);
            announced.set(Some(pcb_ref));
            true
        },
    );
    me.set_spinner(spinner);
    (woken, announced.get().map(|pcb_ref| (pcb_ref, retire(pcb_ref))))
}
