//! What a model checker has no time for, and positions.

use std::cell::RefCell;

use super::*;
use crate::local::ground::{InProcess, Threads};
use crate::process::pcb::Pcb;
use crate::process::wait::Wait;

const ANOTHER_RECEIVER: u64 = 1 << 6;
const A_SENDER: u64 = 2 << 6;
const FOREVER: Patience = Patience::Until(None);

/// A receiver's ground; what others do when it is about to announce itself, and when it wakes a sender.
struct Stage<'r> {
    ring: &'r Ring<InProcess, u64>,
    pcb: Pcb<InProcess>,
    woken: RefCell<Vec<u64>>,
}

impl Ground<InProcess> for Stage<'_> {
    fn own_pcb(&self) -> Option<(&Pcb<InProcess>, u64)> {
        put(self.ring, self, 1);
        self.ring.receivers.announce(A_SENDER);
        Some((&self.pcb, 3 << 6))
    }
    fn wake(&self, pcb_ref: u64) {
        if pcb_ref == A_SENDER {
            // Between the receiver's taking 1 and its leaving the list: another one sleeps, and a message comes.
            self.ring.senders.announce(ANOTHER_RECEIVER);
            put(self.ring, self, 2);
        }
        self.woken.borrow_mut().push(pcb_ref);
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

fn put(ring: &Ring<InProcess, u64>, ground: &impl Ground<InProcess>, value: u64) {
    assert!(ring.send(&Me::new(Wait::Park), ground, value, Patience::Try).is_ok());
}

/// K4. A model checker needs more preemptions than it has time for.
#[test]
fn who_was_woken_for_a_message_and_took_another_wakes_the_next() {
    let ring = Ring::new(2);
    let stage = Stage { ring: &ring, pcb: Pcb::new(), woken: RefCell::default() };
    assert_eq!(ring.receive(&Me::new(Wait::Park), &stage, FOREVER), Ok(1));
    assert_eq!(stage.woken.take(), [3 << 6, A_SENDER, ANOTHER_RECEIVER]);
    assert_eq!(ring.len(), 1);
}

#[test]
fn positions_of_a_ring_that_is_no_power_of_two() {
    for degree in [1, 2, 3, 5, 8] {
        let ring = Ring::<InProcess, u64>::new(degree);
        let me = Me::new(Wait::Park);
        for round in 0..4 * degree as u64 {
            (0..degree as u64).for_each(|n| put(&ring, &Threads, round + n));
            assert_eq!(ring.len(), degree);
            assert!(matches!(ring.send(&me, &Threads, 0, Patience::Try), Err((0, Stop::WouldBlock))));
            for n in 0..degree as u64 {
                assert_eq!(ring.receive(&me, &Threads, Patience::Try), Ok(round + n));
                assert_eq!(ring.len() as u64, degree as u64 - n - 1);
            }
            // One further each round.
            put(&ring, &Threads, 9);
            assert_eq!(ring.receive(&me, &Threads, Patience::Try), Ok(9));
        }
    }
}
