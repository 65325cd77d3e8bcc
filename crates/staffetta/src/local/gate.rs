//! Where the channels of this process tell a select: its *gate*.
//!
//! A select is told in a ready set, and sleeps on a PCB. If it has ends of a domain these are the domain's, else the gate's own. So
//! with ends of both kinds it sleeps once, on one word: whoever makes an operation of a channel of this process possible
//! goes through the gate, which knows where the select is told.
//!
//! ```text
//!   reference   | GATE | gate's number (12 bits) | operation (12 bits) | 8 bits of 0 |      no address, unlike a PCB's
//! ```
//!
//! G1. Gates are gates for ever, as ready sets are (`process::ready_set`, Y1): who has a reference to an operation of an
//!     earlier holder marks one of the present holder, which is a reason to look, no more.
//! G2. Delivering and changing where is done under a lock. So a bit is in the old set before all operations are marked
//!     because of the change, or it is in the new one.
//! G3. While a gate leads to a domain it keeps that window mapped.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::channel::ground::wake_at;
use crate::channel::select::turn::LOCAL_STEP;
use crate::handle::Handle;
use crate::memory::segment::Segment;
use crate::process::pcb::Pcb;
use crate::process::ready_set::{ReadySet, OPERATIONS_MAX};
use crate::process::wait;

/// Most selects at a time that have ends of channels of this process.
pub const GATES_MAX: usize = 4096;
/// From the references of one gate to those of the next.
const GATE_STEP: u64 = OPERATIONS_MAX as u64 * LOCAL_STEP;
/// What an address of a PCB has not.
const GATE: u64 = 1 << 62;

const _: () = assert!(GATES_MAX as u64 * GATE_STEP < GATE);

/// Where one select is told.
pub struct Gate {
    number: usize,
    set: ReadySet,
    pcb: Pcb,
    /// To this ready set of this domain, instead of its own.
    leads_to: Mutex<Option<(Handle, usize)>>,
}

static GATES: [OnceLock<Box<Gate>>; GATES_MAX] = [const { OnceLock::new() }; GATES_MAX];

struct Free {
    numbers: Vec<usize>,
    /// So many were made.
    made: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { numbers: Vec::new(), made: 0 });

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with one of these in hand.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gate that is the caller's until it is given back. None: all are in use.
pub fn take() -> Option<&'static Gate> {
    let mut free = lock(&FREE);
    let number = match free.numbers.pop() {
        Some(number) => number,
        None if free.made < GATES_MAX => {
            free.made += 1;
            free.made - 1
        }
        None => return None,
    };
    drop(free);
    let make =
        || Box::new(Gate { number, set: ReadySet::new(), pcb: Pcb::new(), leads_to: Mutex::default() });
    Some(GATES[number].get_or_init(make))
}

impl Gate {
    /// The reference of operation 0.
    pub fn base(&self) -> u64 {
        reference_of(self.number, 0)
    }

    /// Its own ready set.
    pub fn set(&self) -> &ReadySet {
        &self.set
    }

    /// Its own PCB, and a word that says that it is one.
    pub fn pcb(&self) -> (&Pcb, u64) {
        (&self.pcb, 1)
    }

    /// From now on whoever tells it tells this ready set of this domain. The caller then looks at all operations (G2).
    pub fn lead_to(&self, member: &Handle, set: usize) {
        *lock(&self.leads_to) = Some((member.clone(), set));
    }

    /// Gives it back. No operation of its holder is in any list any more, but for what somebody has in hand (G1).
    pub fn give_back(&self) {
        let domain = lock(&self.leads_to).take();
        drop(domain); // not with the lock in hand: it may be the last one to know the domain
        lock(&FREE).numbers.push(self.number);
    }

    fn deliver(&self, operation: usize) {
        let leads_to = lock(&self.leads_to); // G2
        match &*leads_to {
            Some((member, set)) if member.here() => wake_at(member, Segment::entry_offset(*set, operation)),
            Some(_) => {} // a forked child, where that select is nobody's
            None => {
                if self.set.deliver(operation).is_some() {
                    self.pcb.wake_up(wait::now_ns());
                }
            }
        }
    }
}

/// The reference of an operation of the select that has this gate.
pub fn reference_of(gate: usize, operation: usize) -> u64 {
    GATE + gate as u64 * GATE_STEP + operation as u64 * LOCAL_STEP
}

/// Is it an operation of a select?
#[inline(always)]
pub fn is_select(reference: u64) -> bool {
    reference & GATE != 0
}

/// Marks the operation behind a reference; wakes its select if that sleeps.
#[cold]
pub fn deliver(reference: u64) {
    let at = reference & (GATE - 1);
    if let Some(gate) = GATES.get((at / GATE_STEP) as usize).and_then(OnceLock::get) {
        gate.deliver((at % GATE_STEP / LOCAL_STEP) as usize);
    }
}

/// Are these operations of one select?
pub fn is_same(one: u64, other: u64) -> bool {
    one / GATE_STEP == other / GATE_STEP
}
