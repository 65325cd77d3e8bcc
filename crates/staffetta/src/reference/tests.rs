//! One suite, run once for each method.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Method, References, OFFSET_BITS};
use crate::memory::map::{Map, WINDOW_MIN};
use crate::memory::segment::Segment;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd;
use crate::process::pcb::Pcb;
use crate::process::ready;

/// A process's view of a domain's file: its own mapping, wherever the kernel puts it.
fn view(file: BorrowedFd<'_>, window_base: Option<u64>) -> References {
    let file = memfd::keep_here(file.try_clone_to_owned().unwrap()).unwrap();
    let mapping =
        Mapping::map(file.as_fd(), 0, WINDOW_MIN as usize, Placement::Anywhere, Access::ReadWrite).unwrap();
    let segment = Segment::new(mapping, file, Map::new(WINDOW_MIN).unwrap()).unwrap();
    let base = window_base.unwrap_or(segment.base() as u64);
    References::new(segment, base)
}

fn views() -> (References, References) {
    let file = memfd::create_here(c"staffetta-test", WINDOW_MIN, true).unwrap();
    let first = view(file.as_fd(), None);
    let second = view(file.as_fd(), Some(first.window_base()));
    (first, second)
}

/// The first two offsets of PCBs, a block in the middle of the window, and its end.
fn offsets() -> [u64; 4] {
    [Segment::pcb_offset(0), Segment::pcb_offset(1), WINDOW_MIN / 2, WINDOW_MIN - 8]
}

#[test]
fn what_is_referred_to_is_found_again() {
    let (refs, _) = views();
    for method in Method::ALL {
        for offset in offsets() {
            let reference = refs.refer(method, offset);
            assert_ne!(reference, 0, "0 ends a list");
            assert_eq!(refs.offset(method, reference), Some(offset), "{method}");
            let pointer = refs.resolve(method, reference, 8).unwrap();
            assert_eq!(refs.segment().offset(pointer.as_ptr()), Some(offset), "{method}");
        }
    }
}

#[test]
fn what_lies_outside_is_refused() {
    let (refs, _) = views();
    for method in Method::ALL {
        let end = refs.refer(method, WINDOW_MIN);
        assert!(refs.resolve(method, end, 1).is_none(), "{method}: beyond the end");
        let last = refs.refer(method, WINDOW_MIN - 8);
        assert!(refs.resolve(method, last, 9).is_none(), "{method}: across the end");
        assert!(refs.resolve(method, last, u64::MAX).is_none(), "{method}: length overflows");
        for wrong in [0, 1, u64::MAX, 7 << OFFSET_BITS, !0 << OFFSET_BITS] {
            assert!(refs.resolve(method, wrong, 1).is_none(), "{method}: {wrong:#x}");
        }
    }
    // Each method refuses the references of the other.
    let address = refs.refer(Method::Coinciding, 4096);
    let pair = refs.refer(Method::Distinct, 4096);
    assert!(refs.resolve(Method::Distinct, address, 1).is_none());
    assert!(refs.resolve(Method::Coinciding, pair, 1).is_none());
    // A capability is named by its own identifier, and reached only when it is acquired.
    let capability = refs.refer_capability(3);
    assert_eq!(refs.capability_index(capability), Some(3));
    assert!(refs.resolve(Method::Capability, capability, 1).is_none());
    assert_eq!(refs.capability_index(pair), None);
}

#[test]
fn two_views_at_different_addresses_reach_the_same_bytes() {
    let (first, second) = views();
    assert_ne!(first.segment().base(), second.segment().base());
    assert!(first.coincide() && !second.coincide());
    for method in [Method::Distinct, Method::Capability] {
        let reference = first.refer(method, Segment::pcb_offset(7));
        assert_eq!(reference, second.refer(method, Segment::pcb_offset(7)), "{method}");
        let here = first.resolve(method, reference, 64).unwrap();
        let there = second.resolve(method, reference, 64).unwrap();
        assert_ne!(here, there);
        let pcb = first.segment().pcb_at(first.offset(method, reference).unwrap()).unwrap();
        pcb.wake_up(1);
        let same = second.segment().pcb_at(second.offset(method, reference).unwrap()).unwrap();
        assert_eq!(same.ticket(), pcb.ticket());
        assert_ne!(same.ticket(), 0);
        pcb.wake_up(2);
        assert_eq!(same.ticket(), pcb.ticket());
    }
}

#[test]
fn a_ready_list_is_pushed_here_and_taken_there() {
    for method in Method::ALL {
        let (first, second) = views();
        // Where addresses must coincide, one process takes what it pushed.
        let taker = if method == Method::Coinciding { &first } else { &second };
        let head = &first.segment().process(3).ready;
        for i in [4, 2, 9] {
            let reference = first.refer(method, Segment::pcb_offset(i));
            let was_empty = ready::push(head, first.segment().pcb(i), reference);
            assert_eq!(was_empty, i == 4, "{method}");
        }
        let resolve =
            |reference: u64| taker.offset(method, reference).and_then(|at| taker.segment().pcb_at(at));
        let mut taken = Vec::new();
        let mut take = || {
            let head = &taker.segment().process(3).ready;
            ready::take_all(head, resolve, |pcb: &Pcb| {
                let at = taker.segment().offset(std::ptr::from_ref(pcb).cast()).unwrap();
                taken.push((0..10).find(|i| Segment::pcb_offset(*i) == at).unwrap());
            });
        };
        take();
        take();
        assert_eq!(taken, [4, 2, 9], "{method}: in the order of the pushes, once");
        // A head that makes no sense gives nothing.
        head.store(5, std::sync::atomic::Ordering::Relaxed);
        ready::take_all(&taker.segment().process(3).ready, resolve, |_: &Pcb| panic!("{method}"));
    }
}
