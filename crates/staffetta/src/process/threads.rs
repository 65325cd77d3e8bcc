//! Which PCB belongs to which thread: one per thread and domain, taken at the first park, given back
//! when the thread ends.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Weak};

use crate::member::Member;
use crate::memory::map::PCBS_MAX;
use crate::memory::platform::Native;
use crate::memory::segment::Segment;
use crate::process::pcb::Pcb;

struct Held {
    member: Weak<Member>,
    index: usize,
}

#[derive(Default)]
struct HeldByThread(Vec<Held>);

impl Drop for HeldByThread {
    fn drop(&mut self) {
        for held in &self.0 {
            if let Some(member) = held.member.upgrade().filter(|m| m.here()) {
                member.segment().pcb(held.index).holder.store(0, Relaxed);
            }
        }
    }
}

thread_local! {
    static HELD: RefCell<HeldByThread> = RefCell::default();
}

/// The calling thread's PCB in this domain, and its offset. None: all are taken, or the thread is ending.
pub fn own_pcb(member: &Arc<Member>) -> Option<(&Pcb<Native>, u64)> {
    let index = HELD
        .try_with(|held| {
            let held = &mut held.borrow_mut().0;
            let same = |h: &&Held| std::ptr::eq(h.member.as_ptr(), Arc::as_ptr(member));
            if let Some(h) = held.iter().find(same) {
                return Some(h.index);
            }
            held.retain(|h| h.member.strong_count() != 0);
            let index = take(member.segment(), member.slot, member.generation)?;
            held.push(Held { member: Arc::downgrade(member), index });
            Some(index)
        })
        .ok()??;
    Some((member.segment().pcb(index), Segment::pcb_offset(index)))
}

/// The holder word of a PCB: slot + 1 and, so that a slow sweeper spares a successor in the same slot, the generation.
fn holder(slot: u16, generation: u64) -> u64 {
    (generation << 16) | (u64::from(slot) + 1)
}

/// 0 => holder: a PCB that nobody holds.
fn take(segment: &Segment, slot: u16, generation: u64) -> Option<usize> {
    (0..PCBS_MAX).find(|&i| {
        let word = &segment.pcb(i).holder;
        let mine = holder(slot, generation);
        let free = word.load(Acquire) == 0 && word.compare_exchange(0, mine, AcqRel, Relaxed).is_ok();
        if free {
            segment.header().pcbs.fetch_max(i as u64 + 1, Relaxed);
        }
        free
    })
}

/// Gives back the PCBs of a process that left or died.
pub fn release(segment: &Segment, slot: u16, generation: u64) {
    let used = segment.header().pcbs.load(Acquire).min(PCBS_MAX as u64) as usize;
    for i in 0..used {
        let word = &segment.pcb(i).holder;
        let _ = word.compare_exchange(holder(slot, generation), 0, AcqRel, Relaxed);
    }
}
