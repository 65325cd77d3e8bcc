//! Channels within a process: the ring with its two locks, and the turn of many senders at a rendezvous.
//!
//! Three threads at a spin lock are more than two preemptions allow for: one, there.
//!
//! | mutant | fails |
//! |---|---|
//! | `End::announce` does not set ASLEEP | `loom_local_ring` and both with two |
//! | `Ring::close` tells the sleepers before it says that it is over | `loom_local_ring_last_sender_leaves` |
//! | who was woken and took another message does not wake the next (K4) | a unit test of `local::ring` |

use loom::thread;
use std::sync::Arc;

use super::exhaustive::{explore, explore_within, quiet, Loom};
use crate::channel::call::{Ground, Patience, Stop};
use crate::channel::tally::Tally;
use crate::local::meet::Meet;
use crate::local::ring::Ring;
use crate::local::sleepers::Me;
use crate::process::pcb::Pcb;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);
const THREADS: usize = 3;

/// A channel and the threads that use it.
struct Model<C> {
    channel: C,
    pcbs: Vec<Pcb<Loom>>,
}

impl<C> Model<C> {
    fn new(channel: C) -> Arc<Self> {
        Arc::new(Model { channel, pcbs: (0..THREADS).map(|_| Pcb::new()).collect() })
    }
}

/// One thread of a model.
struct Thread<'m>(&'m [Pcb<Loom>], usize);

impl Ground<Loom> for Thread<'_> {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
        // As addresses are: a multiple of 64.
        Some((&self.0[self.1], (self.1 as u64 + 1) << 6))
    }
    fn wake(&self, pcb_ref: u64) {
        if let Some(pcb) = (pcb_ref >> 6).checked_sub(1).and_then(|i| self.0.get(i as usize)) {
            pcb.wake_up(0);
        }
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

type Rings = Model<Ring<Loom, Box<u64>>>;
/// Too large for a cell.
type Large = [u64; 4];
type Meets<T> = Model<Meet<Loom, T>>;

fn put(model: &Rings, thread: usize, value: u64) -> Result<(), Stop> {
    let ground = Thread(&model.pcbs, thread);
    model.channel.send(&Me::new(Wait::Park), &ground, Box::new(value), FOREVER).map_err(|(_, stop)| stop)
}

fn get(model: &Rings, thread: usize) -> Result<u64, Stop> {
    model.channel.receive(&Me::new(Wait::Park), &Thread(&model.pcbs, thread), FOREVER).map(|value| *value)
}

fn try_get(model: &Rings, thread: usize) -> Result<u64, Stop> {
    let ground = Thread(&model.pcbs, thread);
    model.channel.receive(&Me::new(Wait::Park), &ground, Patience::Try).map(|value| *value)
}

#[test]
fn loom_local_ring() {
    explore("ring within a process, one way", || {
        let model = Model::new(Ring::new(1));
        let sender = model.clone();
        let thread = thread::spawn(move || (1..=3).for_each(|n| put(&sender, 0, n).unwrap()));
        (1..=3).for_each(|n| assert_eq!(get(&model, 1), Ok(n)));
        thread.join().unwrap();
        assert_eq!((try_get(&model, 1), model.channel.len()), (Err(Stop::WouldBlock), 0));
    });
}

#[test]
fn loom_local_ring_last_sender_leaves() {
    explore("ring within a process, the last sender leaves", || {
        let model = Model::new(Ring::new(2));
        let sender = model.clone();
        let thread = thread::spawn(move || {
            put(&sender, 0, 1).unwrap();
            sender.channel.close(true, &Thread(&sender.pcbs, 0));
        });
        assert_eq!(get(&model, 1), Ok(1));
        assert!(matches!(get(&model, 1), Err(Stop::Gone(_))));
        thread.join().unwrap();
    });
}

#[test]
fn loom_local_ring_last_receiver_leaves() {
    explore("ring within a process, the last receiver leaves", || {
        let model = Model::new(Ring::new(1));
        let sender = model.clone();
        let thread = thread::spawn(move || (1..=2).map(|n| put(&sender, 0, n).is_err()).collect::<Vec<_>>());
        let ground = Thread(&model.pcbs, 1);
        model.channel.close(false, &ground);
        model.channel.discard(&ground);
        let failed = thread.join().unwrap();
        assert!(failed[1], "one may have been put before; the other has no room, or nobody to receive it");
        assert_eq!(model.channel.len(), 0, "nothing comes after it was closed");
    });
}

/// Each change wakes one sleeper; nobody is left asleep beside a message.
#[test]
fn loom_local_ring_two_receivers() {
    explore_within(1, "ring within a process, two receivers", || {
        let model = Model::new(Ring::new(2));
        let receivers = [0, 1].map(|thread| {
            let model = model.clone();
            thread::spawn(move || get(&model, thread).unwrap())
        });
        put(&model, 2, 1).unwrap();
        put(&model, 2, 2).unwrap();
        let mut received = receivers.map(|thread| thread.join().unwrap());
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
    });
}

#[test]
fn loom_local_ring_two_senders() {
    explore_within(1, "ring within a process, two senders", || {
        let model = Model::new(Ring::new(1));
        let senders = [0, 1].map(|thread| {
            let model = model.clone();
            thread::spawn(move || put(&model, thread, thread as u64).unwrap())
        });
        let mut received = [get(&model, 2).unwrap(), get(&model, 2).unwrap()];
        received.sort_unstable();
        assert_eq!(received, [0, 1]);
        senders.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn meet<T>() -> Arc<Meets<T>> {
    let tally = || quiet(Tally::new);
    Model::new(Meet::new(tally(), tally()))
}

fn give<T>(model: &Meets<T>, thread: usize, value: T) -> Result<(), Stop> {
    let ground = Thread(&model.pcbs, thread);
    model.channel.send(&Me::new(Wait::Park), &ground, value, FOREVER).map_err(|(_, stop)| stop)
}

fn take<T>(model: &Meets<T>, thread: usize) -> Result<T, Stop> {
    model.channel.receive(&Me::new(Wait::Park), &Thread(&model.pcbs, thread), FOREVER)
}

#[test]
fn loom_local_meet_from_stack_to_stack() {
    explore("rendezvous within a process, from stack to stack", || {
        let model = meet::<Large>();
        let sender = model.clone();
        let thread = thread::spawn(move || (1..=2).for_each(|n| give(&sender, 0, [n; 4]).unwrap()));
        (1..=2).for_each(|n| assert_eq!(take(&model, 1), Ok([n; 4])));
        thread.join().unwrap();
    });
}

#[test]
fn loom_local_meet_two_senders() {
    explore_within(1, "rendezvous within a process, two senders take turns", || {
        let model = meet::<u64>();
        let senders = [0, 1].map(|thread| {
            let model = model.clone();
            thread::spawn(move || give(&model, thread, thread as u64).unwrap())
        });
        let mut received = [take(&model, 2).unwrap(), take(&model, 2).unwrap()];
        received.sort_unstable();
        assert_eq!(received, [0, 1]);
        senders.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn loom_local_meet_all_are_told() {
    explore_within(1, "rendezvous within a process, the receiver leaves two senders", || {
        let model = meet::<u64>();
        let senders = [0, 1].map(|thread| {
            let model = model.clone();
            thread::spawn(move || assert!(matches!(give(&model, thread, 1), Err(Stop::Gone(_)))))
        });
        model.channel.close(false, &Thread(&model.pcbs, 2));
        senders.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
