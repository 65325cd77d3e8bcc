//! The threads of this process as the ground of a protocol: their PCBs on the heap, and references that are addresses.
//!
//! G1. A PCB is never freed: a thread that ends gives it to the next one (pcb.rs, P2). So a reference that was once
//!     written stays good, however late a waker reads it.
//! G2. A reference to a message or target is the address of a variable of a thread that waits in a call until the copy has
//!     ended: nothing is abandoned here, since nobody who copies is stopped while others run on.

#![allow(unsafe_code)] // References are addresses.

use std::ptr::with_exposed_provenance;
use std::ptr::with_exposed_provenance_mut;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::gate;
use crate::channel::call::Ground;
use crate::memory::platform::{Native, Platform};
use crate::os;
use crate::process::pcb::Pcb;
use crate::process::wait;

/// [`Native`] within one process: its futex need not be found by others, which is quicker.
pub enum InProcess {}

impl Platform for InProcess {
    type U64 = <Native as Platform>::U64;
    type U32 = <Native as Platform>::U32;
    type Hold = <Native as Platform>::Hold;

    #[inline(always)]
    fn eager_steps() -> u64 {
        Native::eager_steps()
    }

    /// Gives the core away soon: a process often has more threads than cores, and who is waited for may need this one.
    #[inline(always)]
    fn relax(steps: u64) {
        const SPINS: u64 = 1 << 6;
        if steps < SPINS {
            std::hint::spin_loop();
        } else {
            os::affinity::yield_now();
        }
    }

    #[inline(always)]
    fn relax_briefly(steps: u64) {
        Native::relax_briefly(steps);
    }

    #[inline(always)]
    fn stand_back(look: u64) -> u64 {
        Native::stand_back(look)
    }

    fn sleep(word: &Self::U32, expected: u32, deadline: Option<Instant>) {
        os::futex::wait_private(word, expected, deadline.and_then(os::futex::Deadline::at));
    }

    fn wake(word: &Self::U32) {
        os::futex::wake_private(word, 1);
    }

    fn rest(ns: u64, deadline: Option<Instant>) {
        Native::rest(ns, deadline);
    }

    fn now_ns() -> u64 {
        Native::now_ns()
    }

    #[inline(always)]
    fn fence_after_rmw() {
        Native::fence_after_rmw();
    }
}

/// PCBs of threads that have ended.
static FREE: Mutex<Vec<&'static Pcb<InProcess>>> = Mutex::new(Vec::new());

/// A thread's PCB.
struct Own(&'static Pcb<InProcess>);

impl Drop for Own {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

thread_local! {
    static OWN: Own = {
        let used = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Own(used.unwrap_or_else(|| Box::leak(Box::new(Pcb::new())))) // G1
    };
}

/// The threads of this process.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Ground<InProcess> for Threads {
    /// None while the thread ends: it then waits busily.
    fn own_pcb(&self) -> Option<(&Pcb<InProcess>, u64)> {
        let pcb = OWN.try_with(|own| own.0).ok()?;
        Some((pcb, std::ptr::from_ref(pcb).expose_provenance() as u64))
    }

    fn wake(&self, pcb_ref: u64) {
        if gate::is_select(pcb_ref) {
            return gate::deliver(pcb_ref);
        }
        let pcb = with_exposed_provenance::<Pcb<InProcess>>(pcb_ref as usize);
        // SAFETY: the words of a channel on the heap are written by this crate alone; this one is 0, or by `own_pcb` (G1), since it is no gate.
        if let Some(pcb) = unsafe { pcb.as_ref() } {
            pcb.wake_up(wait::now_ns());
        }
    }

    fn select_at(&self, pcb_ref: u64) -> Option<bool> {
        gate::is_select(pcb_ref).then_some(true)
    }

    fn resolve(&self, reference: u64, _length: u64) -> Option<*mut u8> {
        Some(with_exposed_provenance_mut(reference as usize))
    }

    fn stage(&self, _parity: usize, _length: usize) -> Option<(u64, *mut u8)> {
        None // messages that do not fit a cell are variables
    }

    fn may_abandon(&self) -> bool {
        false // G2
    }

    fn adopt(&self, _storage: *const u8) {}

    fn abandoned(&self, _storage: *const u8) {}
}
