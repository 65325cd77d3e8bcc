//! Rendezvous channels and threads with a select each, between the threads of a model.

#![allow(unsafe_code)] // calls of the protocols

use std::cell::Cell;
use std::sync::Arc;

use super::super::checker::Checker;
use super::super::machine::SENDER;
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

/// An operation that nobody can be quicker at: how it is looked at.
pub struct Looks<F>(pub F);

impl<F: Fn(At) -> Look> Selectable for Looks<F> {
    fn look(&self, at: At) -> Look {
        (self.0)(at)
    }
}

/// One select of this thread over `operations`; local references begin at `local`. Gives which was chosen.
pub fn choose<P: Checker>(
    set: &ReadySet<P, 1>,
    pcb: (&Pcb<P>, u64),
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

/// Rendezvous channels, and threads with a select each.
pub struct World<P: Checker> {
    pub lines: Vec<Line<P>>,
    pub sides: Vec<[Side<P>; 2]>,
    pub tallies: [Tally<P>; 2],
    pub pcbs: Vec<Pcb<P>>,
    pub sets: Vec<ReadySet<P, 1>>,
}

impl<P: Checker> World<P> {
    pub fn new(channels: usize, threads: usize) -> Arc<World<P>> {
        let world = World {
            lines: (0..channels).map(|_| Line::new()).collect(),
            sides: (0..channels).map(|_| [Side::new(), Side::new()]).collect(),
            tallies: P::quiet(|| [Tally::new(), Tally::new()]),
            pcbs: (0..threads).map(|_| Pcb::new()).collect(),
            sets: (0..threads.max(2)).map(|_| ReadySet::new()).collect(),
        };
        for side in world.sides.iter().flatten() {
            side.attach(1).unwrap();
        }
        Arc::new(world)
    }

    /// As `channel::ground::wake`: references below 100 are PCBs, from there on operations.
    pub fn wake(&self, reference: u64) {
        let pcb = match reference.checked_sub(100) {
            Some(at) => self.sets[at as usize / 100].deliver(at as usize % 100),
            None => Some(reference),
        };
        if let Some(pcb) = pcb.and_then(|pcb| self.pcbs.get(pcb.checked_sub(1)? as usize)) {
            pcb.wake_up(0);
        }
    }

    pub fn detach(&self, channel: usize, who: usize, held: Word, into: u8) {
        if self.sides[channel][who].detach(held, into) {
            self.lines[channel].word_after_change();
            self.wake(self.sides[channel][1 - who].pcb_ref());
        }
    }

    pub fn dies(&self, channel: usize, who: usize) {
        let held = self.sides[channel][who].end();
        let still = || self.sides[channel][who].end().awake() == held.awake();
        self.lines[channel].settle_death(who == SENDER, true, still);
        self.detach(channel, who, held, DIED);
    }
}

impl<P: Checker> Ground<P> for (&World<P>, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<P>, u64)> {
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

/// An operation of a select by its reference.
pub fn entry(entry: u64) -> At {
    At { entry: Some(entry), local: 0 }
}

#[derive(Clone, Copy)]
pub enum Secured {
    Nothing,
    Standing(u64),
    Given(u64),
    Reserved(Word),
}

/// An end, as `channel::end::operation` makes one of it.
pub struct End<P: Checker> {
    pub world: Arc<World<P>>,
    pub channel: usize,
    pub who: usize,
    pub thread: usize,
    pub memory: Memory,
    pub secured: Cell<Secured>,
    pub entry: Cell<u64>,
}

impl<P: Checker> End<P> {
    pub fn new(world: &Arc<World<P>>, channel: usize, who: usize, thread: usize) -> End<P> {
        let memory = Memory::new(&world.lines[channel], &world.sides[channel][1 - who], Wait::Park);
        let secured = Cell::new(Secured::Nothing);
        End { world: world.clone(), channel, who, thread, memory, secured, entry: Cell::new(0) }
    }

    pub fn party<R>(&self, f: impl FnOnce(&mut Party<'_, P, (&World<P>, usize)>) -> R) -> R {
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

    pub fn send(&self, value: u64, patience: Patience) -> Result<(), Stop> {
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

    pub fn receive(&self, patience: Patience) -> Result<u64, Stop> {
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

    pub fn leave(&self) {
        self.release(entry(0));
        self.world.detach(self.channel, self.who, self.world.sides[self.channel][self.who].end(), LEFT);
    }
}

impl<P: Checker> Selectable for End<P> {
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
            None => {
                let peer = &self.world.sides[self.channel][1 - self.who];
                return self.memory.would_lose(peer.end(), peer.died()).is_some();
            }
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
pub fn one_of<P: Checker>(
    world: &Arc<World<P>>,
    thread: usize,
    ends: &[&End<P>],
    value: u64,
) -> (usize, Result<u64, Stop>) {
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
