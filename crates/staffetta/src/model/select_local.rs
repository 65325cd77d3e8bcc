//! Selects over channels within a process: the ring's lists, the rendezvous' watchers, two selects that meet in `hands`.
//!
//! Locks are not steps of a model (sleepers.rs, Z3): what is explored is the words beside them.
//!
//! | mutant | fails |
//! |---|---|
//! | `Ring::look` without the second look | `loom_select_local_ring` |
//! | a select at the head of a ring's list takes the wake-up of the thread behind it (K4) | `loom_select_local_ring_owes_nothing` |
//! | `Meet::look` without the second look | `loom_select_local_meet_a_call`, `loom_select_local_meet_end` |
//! | `Watchers::announce` without its fence | both with a select at each side, `loom_select_local_meet_a_call`, `loom_select_local_meet_end` |
//! | who offers or wants does not tell the selects (`came_first`) | `loom_select_local_meet_a_call` |
//! | `Meet::close` does not tell them | `loom_select_local_meet_end` |
//! | a select that would send does not tell those that would receive; who stands does not tell those that would send | both with a select at each side |

use std::sync::Arc;

use loom::thread;

use super::exhaustive::{explore, explore_within, quiet, Loom};
use super::select::choose;
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::select::look::Look;
use crate::channel::select::turn::{At, Selectable, LOCAL_STEP};
use crate::channel::tally::Tally;
use crate::local::gate::{is_select, reference_of};
use crate::local::meet::Meet;
use crate::local::ring::Ring;
use crate::local::sleepers::Me;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);
const THREADS: usize = 3;

/// Channels, and threads that may have a select each.
struct World<C> {
    channels: Vec<C>,
    pcbs: Vec<Pcb<Loom>>,
    sets: Vec<ReadySet<Loom, 1>>,
}

impl<C> World<C> {
    fn new(channels: Vec<C>) -> Arc<Self> {
        let pcbs = (0..THREADS).map(|_| Pcb::new()).collect();
        Arc::new(World { channels, pcbs, sets: (0..THREADS).map(|_| ReadySet::new()).collect() })
    }

    fn ground(&self, thread: usize) -> Thread<'_> {
        Thread { pcbs: &self.pcbs, sets: &self.sets, own: thread }
    }

    /// One select of this thread.
    fn choose(&self, thread: usize, operations: &[&dyn Selectable]) -> usize {
        let pcb = (&self.pcbs[thread], pcb_ref(thread));
        choose(&self.sets[thread], pcb, (0, reference_of(thread, 0)), operations)
    }
}

/// As addresses are: a multiple of 64.
fn pcb_ref(thread: usize) -> u64 {
    (thread as u64 + 1) << 6
}

struct Thread<'m> {
    pcbs: &'m [Pcb<Loom>],
    sets: &'m [ReadySet<Loom, 1>],
    own: usize,
}

impl Ground<Loom> for Thread<'_> {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
        Some((&self.pcbs[self.own], pcb_ref(self.own)))
    }
    fn wake(&self, reference: u64) {
        let mut pcb = reference;
        if is_select(reference) {
            let at = (0..THREADS).find(|&gate| crate::local::gate::is_same(reference, reference_of(gate, 0)));
            let gate = at.expect("a gate of the model");
            let operation = (reference - reference_of(gate, 0)) / LOCAL_STEP;
            pcb = self.sets[gate].deliver(operation as usize).unwrap_or(0);
        }
        if let Some(pcb) = (pcb >> 6).checked_sub(1).and_then(|i| self.pcbs.get(i as usize)) {
            pcb.wake_up(0);
        }
    }
    fn select_at(&self, reference: u64) -> Option<bool> {
        is_select(reference).then_some(true)
    }
    fn resolve(&self, reference: u64, _length: u64) -> Option<*mut u8> {
        Some(std::ptr::with_exposed_provenance_mut(reference as usize))
    }
    fn stage(&self, _parity: usize, _length: usize) -> Option<(u64, *mut u8)> {
        None
    }
    fn may_abandon(&self) -> bool {
        false
    }
    fn adopt(&self, _storage: *const u8) {}
    fn abandoned(&self, _storage: *const u8) {}
}

type Rings = World<Ring<Loom, u64>>;
type Meets = World<Meet<Loom, u64>>;

fn me() -> Me {
    Me::new(Wait::Park)
}

/// An end of a ring, as `local::operation` makes an operation of it.
struct RingEnd<'w>(&'w Rings, usize, bool);

impl Selectable for RingEnd<'_> {
    fn look(&self, at: At) -> Look {
        self.0.channels[0].look(self.2, at)
    }
    fn secure(&self, at: At) -> bool {
        self.2 || self.0.channels[0].secure(&self.0.ground(self.1), at.local)
    }
}

fn rings(degree: usize) -> Arc<Rings> {
    World::new(vec![Ring::new(degree)])
}

fn put(world: &Rings, thread: usize, value: u64, patience: Patience) -> Result<(), Stop> {
    let sent = world.channels[0].send(&me(), &world.ground(thread), value, patience);
    sent.map_err(|(_, stop)| stop)
}

fn get(world: &Rings, thread: usize, patience: Patience) -> Result<u64, Stop> {
    world.channels[0].receive(&me(), &world.ground(thread), patience)
}

#[test]
fn loom_select_local_ring() {
    explore("ring within a process, a select receives and sends", || {
        let world = rings(1);
        let other = world.clone();
        let thread = thread::spawn(move || {
            put(&other, 1, 1, FOREVER).unwrap();
            other.channels[0].close(true, &other.ground(1));
        });
        world.choose(0, &[&RingEnd(&world, 0, false)]);
        assert_eq!(world.channels[0].hands.take(reference_of(0, 0)), Some(1));
        world.choose(0, &[&RingEnd(&world, 0, false)]);
        assert!(matches!(get(&world, 0, Patience::Try), Err(Stop::Gone(_))));
        thread.join().unwrap();
    });
    explore("ring within a process, a select sends", || {
        let world = rings(1);
        put(&world, 0, 1, Patience::Try).unwrap();
        let other = world.clone();
        let thread = thread::spawn(move || assert_eq!(get(&other, 1, FOREVER), Ok(1)));
        world.choose(0, &[&RingEnd(&world, 0, true)]);
        assert_eq!(put(&world, 0, 2, Patience::Try), Ok(()));
        thread.join().unwrap();
    });
}

/// A select that is not looking stands first in the list; the thread behind it gets the value.
#[test]
fn loom_select_local_ring_owes_nothing() {
    explore("ring within a process, a select that does not look", || {
        let world = rings(1);
        let at = At { entry: Some(0), local: reference_of(0, 0) };
        assert_eq!(world.channels[0].look(false, at), Look::Not);
        let other = world.clone();
        let thread = thread::spawn(move || assert_eq!(get(&other, 1, FOREVER), Ok(1)));
        put(&world, 2, 1, FOREVER).unwrap();
        thread.join().unwrap();
    });
}

/// An end of a rendezvous: channel, thread, does it send?
struct MeetEnd<'w>(&'w Meets, usize, usize, bool);

impl MeetEnd<'_> {
    fn meet(&self) -> &Meet<Loom, u64> {
        &self.0.channels[self.1]
    }
}

impl Selectable for MeetEnd<'_> {
    fn look(&self, at: At) -> Look {
        self.meet().look(self.3, &self.0.ground(self.2), at)
    }
    fn secure(&self, at: At) -> bool {
        self.meet().secure(self.3, &me(), &self.0.ground(self.2), at)
    }
    fn stand(&self, at: At) -> bool {
        self.meet().stand(&self.0.ground(self.2), at)
    }
    fn withdraw(&self, at: At, steps: u64) -> bool {
        self.meet().hands.withdraw(at.local, steps)
    }
}

fn meets(channels: usize) -> Arc<Meets> {
    let meet = || Meet::new(quiet(Tally::new), quiet(Tally::new));
    World::new((0..channels).map(|_| meet()).collect())
}

/// The select of `thread` until one of its operations has happened: which, and the value.
fn one_of(world: &Meets, thread: usize, ends: &[&MeetEnd<'_>], value: u64) -> (usize, u64) {
    let operations: Vec<&dyn Selectable> = ends.iter().map(|end| *end as &dyn Selectable).collect();
    loop {
        let i = world.choose(thread, &operations);
        let at = At { entry: None, local: reference_of(thread, i) };
        let (end, ground) = (ends[i], world.ground(thread));
        if !end.3 {
            let taken = end
                .meet()
                .hands
                .take(at.local)
                .or_else(|| end.meet().receive(&me(), &ground, Patience::Try).ok());
            if let Some(value) = taken {
                return (i, value);
            }
        } else if end.meet().complete_send(&me(), &ground, at, value).is_ok() {
            return (i, value);
        }
    }
}

#[test]
fn loom_select_local_meet_a_call() {
    for sends in [true, false] {
        explore("rendezvous within a process, a select and a call", move || {
            let world = meets(1);
            let other = world.clone();
            let thread = thread::spawn(move || {
                let (meet, ground) = (&other.channels[0], other.ground(1));
                if sends {
                    assert_eq!(meet.receive(&me(), &ground, FOREVER), Ok(7));
                } else {
                    assert!(meet.send(&me(), &ground, 7, FOREVER).is_ok());
                }
            });
            assert_eq!(one_of(&world, 0, &[&MeetEnd(&world, 0, 0, sends)], 7), (0, 7));
            thread.join().unwrap();
        });
    }
}

#[test]
fn loom_select_local_meet_end() {
    for sends in [true, false] {
        explore("rendezvous within a process, the other side of a select leaves", move || {
            let world = meets(1);
            let other = world.clone();
            let thread = thread::spawn(move || other.channels[0].close(!sends, &other.ground(1)));
            world.choose(0, &[&MeetEnd(&world, 0, 0, sends)]);
            let ground = world.ground(0);
            if sends {
                let sent = world.channels[0].send(&me(), &ground, 1, Patience::Try);
                assert!(matches!(sent, Err((1, Stop::Gone(_)))));
            } else {
                let got = world.channels[0].receive(&me(), &ground, Patience::Try);
                assert!(matches!(got, Err(Stop::Gone(_))));
            }
            thread.join().unwrap();
        });
    }
}

#[test]
fn loom_select_local_against_select() {
    explore("rendezvous within a process, select against select", || {
        let world = meets(1);
        let other = world.clone();
        let sends = thread::spawn(move || one_of(&other, 1, &[&MeetEnd(&other, 0, 1, true)], 7));
        assert_eq!(one_of(&world, 0, &[&MeetEnd(&world, 0, 0, false)], 0), (0, 7));
        assert_eq!(sends.join().unwrap(), (0, 7));
    });
}

/// Each can send to the other and receive from it; one of the two happens, the same for both.
#[test]
fn loom_select_local_against_select_mixed() {
    explore("rendezvous within a process, select against select, mixed", || {
        let world = meets(2);
        let other = world.clone();
        let second = thread::spawn(move || {
            let ends = (MeetEnd(&other, 0, 1, false), MeetEnd(&other, 1, 1, true));
            one_of(&other, 1, &[&ends.0, &ends.1], 9)
        });
        let ends = (MeetEnd(&world, 0, 0, true), MeetEnd(&world, 1, 0, false));
        let first = one_of(&world, 0, &[&ends.0, &ends.1], 5);
        assert_eq!(first, second.join().unwrap(), "the same operation, the same value");
        assert!(matches!(first, (0, 5) | (1, 9)), "{first:?}");
    });
}

/// A select that has reserved who stands, and does not send after all: another one that would send hears of it.
#[test]
fn loom_select_local_gives_back_what_it_reserved() {
    explore_within(1, "rendezvous within a process, what was reserved is given back", || {
        let world = meets(1);
        let (other, third) = (world.clone(), world.clone());
        let sends = thread::spawn(move || one_of(&other, 1, &[&MeetEnd(&other, 0, 1, true)], 7));
        let reserves = thread::spawn(move || {
            let (end, ground) = (MeetEnd(&third, 0, 2, true), third.ground(2));
            let at = At { entry: Some(0), local: reference_of(2, 0) };
            if end.look(at) == Look::Ready && end.secure(at) {
                end.meet().release(true, &ground, at);
            }
            end.meet().retire(true, at);
        });
        assert_eq!(one_of(&world, 0, &[&MeetEnd(&world, 0, 0, false)], 0), (0, 7));
        assert_eq!(sends.join().unwrap(), (0, 7));
        reserves.join().unwrap();
    });
}
