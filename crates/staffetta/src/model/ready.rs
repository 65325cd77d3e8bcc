//! The ready list: two pushers, one of which may stop half-way, and a taker.

use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::exhaustive::{explore, Loom, LoomU64};
use crate::memory::platform::Word64;
use crate::process::pcb::Pcb;
use crate::process::ready::{push, take_all};

struct List {
    head: LoomU64,
    pcbs: [Pcb<Loom>; 2],
}

impl List {
    /// Indices of the PCBs taken.
    fn take(&self) -> Vec<usize> {
        let mut taken = Vec::new();
        let resolve = |reference: u64| self.pcbs.get(reference.checked_sub(1)? as usize);
        take_all(&self.head, resolve, |pcb| {
            taken.extend(self.pcbs.iter().position(|p| std::ptr::eq(p, pcb)));
        });
        taken
    }
}

fn two_pushers(second_stops: bool) {
    let list = Arc::new(List { head: LoomU64::new(0), pcbs: [Pcb::new(), Pcb::new()] });
    let pushers = [0, 1].map(|i| {
        let list = list.clone();
        thread::spawn(move || {
            if i == 1 && second_stops {
                // The first half of a push, and then nothing for ever.
                let first = list.head.load(Relaxed);
                list.pcbs[1].next.store(first, Relaxed);
                return false;
            }
            push(&list.head, &list.pcbs[i], i as u64 + 1)
        })
    });
    let mut taken = list.take();
    let rang = pushers.map(|pusher| pusher.join().unwrap());
    assert!(rang[0] || rang[1], "whoever finds the list empty rings");
    taken.extend(list.take());
    taken.sort_unstable();
    assert_eq!(taken, if second_stops { vec![0] } else { vec![0, 1] });
}

#[test]
fn loom_ready_list() {
    explore("ready list", || two_pushers(false));
}

#[test]
fn loom_ready_list_pusher_stops() {
    explore("ready list, a pusher stops half-way", || two_pushers(true));
}
