//! Which PCB belongs to which thread: one per thread and domain, taken at the first park, given back
//! when the thread ends.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::Weak;

use crate::handle::Handle;
use crate::member::Member;
use crate::memory::map::{PCBS_MAX, SELECTS_MAX};
use crate::memory::platform::Native;
use crate::memory::segment::Segment;
use crate::memory::stop;
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
            if let Some(member) = Handle::of(&held.member).filter(|m| m.here()) {
                member.segment().pcb(held.index).holder.store(0, Relaxed);
            }
        }
    }
}

thread_local! {
    static HELD: RefCell<HeldByThread> = RefCell::default();
}

/// The calling thread's PCB in this domain, and its offset; it is about to wait for what `waits_for` says. None: all are
/// taken, or the thread is ending.
pub fn own_pcb(member: &Handle, waits_for: u64) -> Option<(&Pcb<Native>, u64)> {
    member.is_swept(); // member.rs, A3: if so, `here` says it from now on
    let index = HELD
        .try_with(|held| {
            let held = &mut held.borrow_mut().0;
            let same = |h: &&Held| std::ptr::eq(h.member.as_ptr(), &**member);
            if let Some(h) = held.iter().find(same) {
                return Some(h.index);
            }
            held.retain(|h| h.member.strong_count() != 0);
            let index = take(member.segment(), holder_word(member.slot, member.generation))?;
            held.push(Held { member: member.downgrade(), index });
            let pcb = member.segment().pcb(index);
            pcb.tell_awake(); // its last holder may have been killed asleep
            pcb.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u32, Relaxed);
            Some(index)
        })
        .ok()??;
    let pcb = member.segment().pcb(index);
    pcb.waits_for.store(waits_for, Relaxed);
    Some((pcb, Segment::pcb_offset(index)))
}

/// Who holds a PCB; with the generation, so that a late sweeper does not take a newcomer's PCB for the dead one's.
fn holder_word(slot: u16, generation: u64) -> u64 {
    (u64::from(slot) + 1) | generation << 16
}

/// 0 => holder: a PCB that nobody holds.
fn take(segment: &Segment, holder: u64) -> Option<usize> {
    (0..PCBS_MAX).find(|&i| claim(&segment.pcb(i).holder, holder, &segment.header().pcbs, i))
}

/// 0 => holder, of number `i` of a table. Its mark is raised first: whoever is killed afterwards is swept up to there.
fn claim(holder: &AtomicU64, mine: u64, mark: &AtomicU64, i: usize) -> bool {
    if holder.load(Acquire) != 0 {
        return false;
    }
    mark.fetch_max(i as u64 + 1, AcqRel);
    stop::here("waiter: mark raised");
    let claimed = holder.compare_exchange(0, mine, AcqRel, Relaxed).is_ok();
    stop::here("waiter: claimed");
    claimed
}

/// Gives back the PCBs and ready sets of a process that left or died.
pub fn release_dead(segment: &Segment, slot: u16, generation: u64) {
    let dead = holder_word(slot, generation);
    let used = segment.header().pcbs.load(Acquire).min(PCBS_MAX as u64) as usize;
    for i in 0..used {
        let holder = &segment.pcb(i).holder;
        let _ = holder.compare_exchange(dead, 0, AcqRel, Relaxed);
    }
    let used = segment.header().selects.load(Acquire).min(SELECTS_MAX as u64) as usize;
    for i in 0..used {
        let holder = &segment.ready_set(i).holder;
        let _ = holder.compare_exchange(dead, 0, AcqRel, Relaxed);
    }
}

/// A ready set for a select of this process. None: all are taken.
pub fn take_ready_set(member: &Member) -> Option<usize> {
    let segment = member.segment();
    let mine = holder_word(member.slot, member.generation);
    (0..SELECTS_MAX).find(|&i| claim(&segment.ready_set(i).holder, mine, &segment.header().selects, i))
}

/// Gives a ready set back. Who still has a reference to it marks an operation of its next holder: a reason to look, no more.
pub fn release_ready_set(member: &Member, i: usize) {
    member.segment().ready_set(i).holder.store(0, Release);
}
