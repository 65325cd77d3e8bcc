//! Select: the ready set, select against select, who stops or dies in the middle.
//!
//! Mutants, made by hand, and who fails, are in the table of `model/mod.rs`.

#![allow(unsafe_code)] // calls of the protocols

use std::cell::Cell;
use std::sync::Arc;

use loom::thread;

use super::machine::{explore, explore_within, quiet, Loom, RECEIVER, SENDER};
use crate::channel::call::{Ground, Incoming, Memory, Outgoing, Patience, Stop};
use crate::channel::line::Line;
use crate::channel::rendezvous::Party;
use crate::channel::select::look::Look;
use crate::channel::select::turn::{At, Bed, Selectable, Turn};
use crate::channel::side::{Side, DIED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

/// An operation that nobody can be quicker at: how it is looked at.
pub(super) struct Looks<F>(pub F);

impl<F: Fn(At) -> Look> Selectable for Looks<F> {
    fn look(&self, at: At) -> Look {
        (self.0)(at)
    }
}

/// One select of this thread over `operations`; local references begin at `local`. Gives which was chosen.
pub(super) fn choose(
    set: &ReadySet<Loom, 1>,
    pcb: (&Pcb<Loom>, u64),
    (base, local): (u64, u64),
    operations: &[&dyn Selectable],
) -> usize {
    let mut turn = Turn::new(1);
    turn.set_local(local);
    for operation in operations {
        turn.add(*operation);
    }
    let bed = Bed { set, base, wait: Wait::Park, grace_steps: 0 };
    turn.choose(&bed, None, true, || Some(pcb)).expect("no deadline")
}

/// Rendezvous channels, and two threads with a select each.
struct World {
    lines: Vec<Line<Loom>>,
    sides: Vec<[Side<Loom>; 2]>,
    tallies: [Tally<Loom>; 2],
    pcbs: Vec<Pcb<Loom>>,
    sets: [ReadySet<Loom, 1>; 2],
}

impl World {
    fn new(channels: usize, threads: usize) -> Arc<World> {
        let world = World {
            lines: (0..channels).map(|_| Line::new()).collect(),
            sides: (0..channels).map(|_| [Side::new(), Side::new()]).collect(),
            tallies: quiet(|| [Tally::new(), Tally::new()]),
            pcbs: (0..threads).map(|_| Pcb::new()).collect(),
            sets: [ReadySet::new(), ReadySet::new()],
        };
        for side in world.sides.iter().flatten() {
            side.attach(1).unwrap();
        }
        Arc::new(world)
    }

    /// As `channel::ground::wake`: references below 100 are PCBs, from there on operations.
    fn wake(&self, reference: u64) {
        let pcb = match reference.checked_sub(100) {
            Some(at) => self.sets[at as usize / 100].deliver(at as usize % 100),
            None => Some(reference),
        };
        if let Some(pcb) = pcb.and_then(|pcb| self.pcbs.get(pcb.checked_sub(1)? as usize)) {
            pcb.wake_up(0);
        }
    }

    fn detach(&self, channel: usize, who: usize, held: Word, into: u8) {
        if self.sides[channel][who].detach(held, into) {
            self.lines[channel].word_after_change();
            self.wake(self.sides[channel][1 - who].pcb_ref());
        }
    }

    fn dies(&self, channel: usize, who: usize) {
        let held = self.sides[channel][who].end();
        let still = || self.sides[channel][who].end().awake() == held.awake();
        self.lines[channel].settle_death(who == SENDER, still);
        self.detach(channel, who, held, DIED);
    }
}

impl Ground<Loom> for (&World, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, reference: u64) {
        self.0.wake(reference);
    }
    fn select_at(&self, reference: u64) -> Option<bool> {
        reference.checked_sub(100).map(|at| self.0.sets[at as usize / 100].is_asleep())
    }
    fn resolve(&self, _reference: u64, _length: u64) -> Option<*mut u8> {
        None
    }
    fn stage(&self, _parity: usize, _length: usize) -> Option<(u64, *mut u8)> {
        None
    }
    fn adopt(&self, _storage: *const u8) {}
    fn abandoned(&self, _storage: *const u8) {}
}

fn entry(entry: u64) -> At {
    At { entry: Some(entry), local: 0 }
}

#[derive(Clone, Copy)]
enum Secured {
    Nothing,
    Standing(u64),
    Given(u64),
    Reserved(Word),
}

/// An end, as `channel::end::operation` makes one of it.
struct End {
    world: Arc<World>,
    channel: usize,
    who: usize,
    thread: usize,
    memory: Memory,
    secured: Cell<Secured>,
    entry: Cell<u64>,
}

impl End {
    fn new(world: &Arc<World>, channel: usize, who: usize, thread: usize) -> End {
        let memory = Memory::new(&world.lines[channel], &world.sides[channel][1 - who], Wait::Park);
        let secured = Cell::new(Secured::Nothing);
        End { world: world.clone(), channel, who, thread, memory, secured, entry: Cell::new(0) }
    }

    fn party<R>(&self, f: impl FnOnce(&mut Party<'_, Loom, (&World, usize)>) -> R) -> R {
        let world = &*self.world;
        f(&mut Party {
            line: &world.lines[self.channel],
            me: &world.sides[self.channel][self.who],
            peer: &world.sides[self.channel][1 - self.who],
            ground: &(world, self.thread),
            tally: &world.tallies[self.who],
            memory: &self.memory,
        })
    }

    fn send(&self, value: u64, patience: Patience) -> Result<(), Stop> {
        let message = Outgoing::Cell { bytes: std::ptr::from_ref(&value).cast(), length: 8 };
        match self.secured.replace(Secured::Nothing) {
            Secured::Reserved(giving) => {
                // SAFETY: the only sender; the bytes live until the call returns.
                self.party(|party| unsafe { party.send_reserved(giving, message) })
            }
            // SAFETY: as above.
            _ => self.party(|party| unsafe { party.send(message, patience) }),
        }
    }

    fn receive(&self, patience: Patience) -> Result<u64, Stop> {
        let mut value = 0_u64;
        let target = Incoming::Cell { bytes: std::ptr::from_mut(&mut value).cast(), length: 8 };
        match self.secured.replace(Secured::Nothing) {
            // SAFETY: the only receiver; the target lives until the call returns.
            Secured::Given(s) => self.party(|party| unsafe { party.collect(s, target) }),
            // SAFETY: as above.
            _ => self.party(|party| unsafe { party.receive(target, patience) }),
        }
        .map(|_| value)
    }

    fn leave(&self) {
        self.release(entry(0));
        self.world.detach(self.channel, self.who, self.world.sides[self.channel][self.who].end(), LEFT);
    }
}

impl Selectable for End {
    fn look(&self, at: At) -> Look {
        let entry = at.entry;
        self.entry.set(entry.unwrap_or(0));
        match self.secured.get() {
            Secured::Nothing => self.party(|party| party.look(self.who == SENDER, entry)),
            Secured::Standing(s) => match self.party(|party| party.look_standing(s)) {
                None => Look::Not,
                Some(given) => {
                    self.secured.set(if given { Secured::Given(s) } else { Secured::Nothing });
                    Look::Ready
                }
            },
            _ => Look::Ready,
        }
    }
    fn secure(&self, _at: At) -> bool {
        if !matches!(self.secured.get(), Secured::Nothing) {
            return true;
        }
        let secured = if self.who == SENDER {
            self.party(|party| party.reserve_receiver()).map(Secured::Reserved)
        } else {
            self.party(|party| party.take_offer()).map(Secured::Given)
        };
        match secured {
            Some(secured) => self.secured.set(secured),
            None => return self.memory.would_lose(self.world.sides[self.channel][1 - self.who].end()),
        }
        true
    }
    fn stand(&self, _at: At) -> bool {
        let standing = self.party(|party| party.stand(self.entry.get()));
        standing.inspect(|&s| self.secured.set(Secured::Standing(s))).is_some()
    }
    fn withdraw(&self, _at: At, steps: u64) -> bool {
        let Secured::Standing(s) = self.secured.get() else {
            return !matches!(self.secured.get(), Secured::Nothing);
        };
        let given = self.party(|party| party.withdraw(s, steps));
        self.secured.set(if given { Secured::Given(s) } else { Secured::Nothing });
        given
    }
    fn release(&self, _at: At) {
        if let Secured::Reserved(giving) = self.secured.get() {
            self.secured.set(Secured::Nothing);
            self.party(|party| party.unreserve(giving));
        }
    }
}

/// The select of `thread` over `ends` until one operation has happened: which, and what was received.
fn one_of(world: &Arc<World>, thread: usize, ends: &[&End], value: u64) -> (usize, Result<u64, Stop>) {
    let mut turn = Turn::new(1);
    for end in ends {
        turn.add(*end);
    }
    let bed =
        Bed { set: &world.sets[thread], base: 100 + 100 * thread as u64, wait: Wait::Park, grace_steps: 0 };
    loop {
        let pcb = || Some((&world.pcbs[thread], thread as u64 + 1));
        let i = turn.choose(&bed, None, true, pcb).expect("no deadline");
        let done = if ends[i].who == SENDER {
            ends[i].send(value, Patience::Try).map(|()| value)
        } else {
            ends[i].receive(Patience::Try)
        };
        if done != Err(Stop::WouldBlock) {
            return (i, done);
        }
    }
}

#[test]
fn loom_ready_set() {
    explore_within(2, "a ready set, two deliver, one of them stops half-way", || {
        let world = World::new(0, 1);
        let set = || &world.sets[0];
        let stops = {
            let world = world.clone();
            // A bit, and nothing after it: as far as anybody who stops gets before the summary.
            thread::spawn(move || world.sets[0].set_and_stop(0))
        };
        let delivers = {
            let world = world.clone();
            thread::spawn(move || world.wake(101))
        };
        let mut pending = [0];
        while pending[0] & 2 == 0 {
            let ticket = world.pcbs[0].ticket();
            if set().announce(1) && !set().any() {
                world.pcbs[0].sleep(ticket, None);
            }
            set().awake();
            set().drain(&mut pending);
        }
        stops.join().unwrap();
        delivers.join().unwrap();
    });
}

#[test]
fn loom_select_against_a_call() {
    for who in [SENDER, RECEIVER] {
        explore("a select against a blocking call", move || {
            let world = World::new(1, 2);
            let other = world.clone();
            let calls = thread::spawn(move || {
                let end = End::new(&other, 0, 1 - who, 1);
                if who == SENDER {
                    assert_eq!(end.receive(FOREVER), Ok(7));
                } else {
                    end.send(7, FOREVER).unwrap();
                }
            });
            let end = End::new(&world, 0, who, 0);
            assert_eq!(one_of(&world, 0, &[&end], 7), (0, Ok(7)));
            calls.join().unwrap();
        });
    }
}

#[test]
fn loom_select_against_select() {
    explore("select against select, one channel", || {
        let world = World::new(1, 2);
        let other = world.clone();
        let sends = thread::spawn(move || {
            let end = End::new(&other, 0, SENDER, 1);
            assert_eq!(one_of(&other, 1, &[&end], 7), (0, Ok(7)));
        });
        let end = End::new(&world, 0, RECEIVER, 0);
        assert_eq!(one_of(&world, 0, &[&end], 0), (0, Ok(7)));
        sends.join().unwrap();
    });
}

/// Each can send to the other and receive from it; one of the two happens, the same for both.
#[test]
fn loom_select_against_select_mixed() {
    explore("select against select, sends and receives mixed", || {
        let world = World::new(2, 2);
        let other = world.clone();
        let second = thread::spawn(move || {
            let (receives, sends) = (End::new(&other, 0, RECEIVER, 1), End::new(&other, 1, SENDER, 1));
            one_of(&other, 1, &[&receives, &sends], 9)
        });
        let (sends, receives) = (End::new(&world, 0, SENDER, 0), End::new(&world, 1, RECEIVER, 0));
        let first = one_of(&world, 0, &[&sends, &receives], 5);
        let second = second.join().unwrap();
        assert_eq!(first, second, "the same operation, the same message");
        assert!(matches!(first, (0, Ok(5)) | (1, Ok(9))), "{first:?}");
    });
}

/// A sender's select that stops, for ever or until it is swept, after each of its steps: looked, nudged, reserved.
fn sender_stops(step: usize, dies: bool) {
    let world = World::new(2, 3);
    let stops = {
        let world = world.clone();
        thread::spawn(move || {
            let end = End::new(&world, 0, SENDER, 1);
            for _ in 0..step {
                if end.look(entry(200)) == Look::Ready {
                    end.secure(entry(0));
                }
            }
            if dies {
                world.dies(0, SENDER);
            }
        })
    };
    let goes_on = (!dies).then(|| {
        let world = world.clone();
        thread::spawn(move || End::new(&world, 1, SENDER, 2).send(8, FOREVER))
    });
    let ends = [0, 1].map(|channel| End::new(&world, channel, RECEIVER, 0));
    let (i, got) = one_of(&world, 0, &[&ends[0], &ends[1]], 0);
    if dies {
        assert!(i == 0 && matches!(got, Err(Stop::Gone(end)) if end.state() == DIED), "{i}: {got:?}");
    } else {
        assert_eq!((i, got), (1, Ok(8)), "the other one is not in its way");
        goes_on.unwrap().join().unwrap().unwrap();
    }
    stops.join().unwrap();
}

#[test]
fn loom_select_sender_stops() {
    for step in 1..=2 {
        explore_within(1, "a sender's select stops", move || sender_stops(step, false));
    }
}

#[test]
fn loom_select_sender_dies() {
    for step in 1..=2 {
        explore("a sender's select dies", move || sender_stops(step, true));
    }
}

/// A receiver's select that stands, and stops there or dies there.
#[test]
fn loom_select_receiver_stands_and_dies() {
    for dies in [true, false] {
        explore("a receiver's select stands, and dies or leaves", move || {
            let world = World::new(1, 2);
            let other = world.clone();
            let stands = thread::spawn(move || {
                let end = End::new(&other, 0, RECEIVER, 1);
                if end.look(entry(200)) == Look::Against {
                    end.stand(entry(0));
                }
                if dies {
                    other.dies(0, RECEIVER);
                    return None;
                }
                let given = end.withdraw(entry(0), 0);
                end.leave();
                given.then(|| end.receive(Patience::Try).unwrap())
            });
            let end = End::new(&world, 0, SENDER, 0);
            let (_, sent) = one_of(&world, 0, &[&end], 7);
            let got = stands.join().unwrap();
            match sent {
                Ok(_) => assert!(dies || got == Some(7), "taken, or taken along"),
                other => assert!(matches!(other, Err(Stop::Gone(_))) && got.is_none(), "{other:?}, {got:?}"),
            }
        });
    }
}

/// A withdrawal against a reservation: the message is taken, or comes back; never both.
#[test]
fn loom_select_withdraws_from_what_is_reserved() {
    for steps in [0, 1] {
        withdraws_from_what_is_reserved(steps);
    }
}

fn withdraws_from_what_is_reserved(steps: u64) {
    explore("a withdrawal against a reservation", move || {
        let world = World::new(1, 2);
        let other = world.clone();
        let sends = thread::spawn(move || {
            let end = End::new(&other, 0, SENDER, 1);
            if end.look(entry(200)) == Look::Ready && end.secure(entry(0)) {
                return end.send(7, Patience::Try).is_ok();
            }
            false
        });
        let end = End::new(&world, 0, RECEIVER, 0);
        let mut given = false;
        end.look(entry(100));
        if end.stand(entry(0)) {
            given = end.withdraw(entry(0), steps);
        }
        let sent = sends.join().unwrap();
        assert_eq!(given, sent);
        if given {
            assert_eq!(end.receive(Patience::Try), Ok(7));
        }
    });
}
