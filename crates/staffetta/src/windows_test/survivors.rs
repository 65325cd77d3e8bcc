//! What the others see of a process that was killed in a window: who waited for it is told, what it had sent comes, and who comes into its
//! place is not taken for it.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use super::{join, options};
use crate::enclosure::contents::Loose;
use crate::inspect::account::account;
use crate::memory::header::process::{DEAD, LIVE};
use crate::memory::stop;
use crate::memory::stop::tests::killed_at;
use crate::memory::word::Word;
use crate::process::pcb::SLEEPS;
use crate::{Domain, Method, Parcel, Receiver, RecvError, SendFailure, Sender, Wait};

fn id(of: &Domain) -> (u16, u64) {
    (of.member().slot, of.member().generation)
}

/// Channel number `kind` of a few.
fn channel(domain: &Domain, kind: usize) -> crate::ChannelBuilder<'_> {
    let channel = domain.channel("c").wait(Wait::Park);
    match kind {
        0 => channel.rendezvous(),
        1 => channel.basic(1),
        2 => channel.buffered(1),
        _ => channel.bounded(1),
    }
}
const KINDS: usize = 4;

/// Waits until somebody sleeps, or all but.
fn somebody_sleeps(domain: &Domain) {
    let segment = domain.member().segment();
    let is_asleep = || {
        let used = segment.header().pcbs.load(Acquire) as usize;
        (0..used).any(|i| segment.pcb(i).asleep.load(Acquire) & SLEEPS != 0)
    };
    while !is_asleep() {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(10)); // the rest of the way
}

/// Does `call`, which waits, in a thread; gives how to have what it says. Who is never told fails, and does not hang.
fn waiting<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(call()));
    move || told.recv_timeout(Duration::from_secs(30)).expect("it is told")
}

/// How the victim ends: killed with its end in hand, or in the middle of closing it.
const ENDS: [(&str, bool); 2] = [("stop: now", true), ("tell: not yet woken", false)];

#[test]
fn who_waits_for_a_dead_one_is_told() {
    for kind in 0..KINDS {
        for (window, died) in ENDS {
            let domain = options().create().unwrap();
            let victim = join(&domain);
            let dead = id(&victim);
            let tx: Sender<u64> = channel(&victim, kind).sender().unwrap();
            let rx: Receiver<u64> = channel(&domain, kind).receiver().unwrap();
            let waits = waiting(move || rx.recv());
            somebody_sleeps(&domain);
            let killed = killed_at(window, 0, move || {
                if died {
                    stop::here("stop: now");
                }
                drop((tx, victim));
            });
            assert!(killed, "{window}, {kind}");
            domain.member().sweep(dead.0, dead.1);
            let told = waits();
            let is_right = match died {
                true => matches!(told, Err(RecvError::PeerDied)),
                false => matches!(told, Err(RecvError::Disconnected)),
            };
            assert!(is_right, "receiver, {window}, {kind}: {told:?}");
        }
    }
}

#[test]
fn a_sender_that_waits_for_a_dead_one_is_told() {
    for kind in 0..KINDS {
        for (window, died) in ENDS {
            let domain = options().create().unwrap();
            let victim = join(&domain);
            let dead = id(&victim);
            let rx: Receiver<u64> = channel(&victim, kind).receiver().unwrap();
            let tx: Sender<u64> = channel(&domain, kind).sender().unwrap();
            let waits = waiting(move || loop {
                // Until it is full.
                if let Err(error) = tx.send(1) {
                    return error.why;
                }
            });
            somebody_sleeps(&domain);
            let killed = killed_at(window, 0, move || {
                if died {
                    stop::here("stop: now");
                }
                drop((rx, victim));
            });
            assert!(killed, "{window}, {kind}");
            domain.member().sweep(dead.0, dead.1);
            let told = waits();
            let is_right = match died {
                true => matches!(told, SendFailure::PeerDied),
                false => matches!(told, SendFailure::Disconnected),
            };
            assert!(is_right, "sender, {window}, {kind}: {told:?}");
        }
    }
}

/// Two sweep; the quicker one says that the end is a dead one's, and stops for ever before it tells the partner. The other one, who
/// has looked before, tells it.
#[test]
fn who_waits_is_told_by_the_second_sweeper_if_the_first_one_stops() {
    for kind in 0..KINDS {
        let overtaken = Cell::new(0);
        // Whichever look of the second one it is, after which the first one comes.
        for look in 0..20 {
            let domain = options().create().unwrap();
            let (victim, first) = (join(&domain), join(&domain));
            let dead = id(&victim);
            let tx: Sender<u64> = channel(&victim, kind).sender().unwrap();
            let rx: Receiver<u64> = channel(&domain, kind).receiver().unwrap();
            let waits = waiting(move || rx.recv());
            somebody_sleeps(&domain);
            let killed = killed_at("stop: now", 0, move || {
                stop::here("stop: now");
                drop((tx, victim));
            });
            assert!(killed);
            let member = domain.member();
            let word = &member.segment().process(dead.0.into()).word;
            word.store(Word::new(DEAD, dead.0, dead.1).0, Relaxed);
            let (looks, first) = (Cell::new(0), RefCell::new(Some(first)));
            let still = || {
                looks.set(looks.get() + 1);
                if looks.get() > look {
                    if let Some(first) = first.take() {
                        let stops = killed_at("tell: not yet woken", 0, move || {
                            first.member().sweep(dead.0, dead.1);
                            std::mem::forget(first);
                        });
                        overtaken.set(overtaken.get() + usize::from(stops));
                    }
                }
                true
            };
            let mut loose = Loose { died: true, ..Loose::default() };
            crate::channel::sweep::settle_ends(member, dead.0, still, &mut loose);
            loose.give_back(member);
            let told = waits();
            assert!(matches!(told, Err(RecvError::PeerDied)), "{kind}, look {look}: {told:?}");
            if first.take().is_some() {
                break; // it did not look so often
            }
        }
        assert!(overtaken.get() != 0, "{kind}: nobody came in between");
    }
}

/// What was sent is on its way, and no longer the dead sender's.
#[test]
fn what_a_dead_sender_sent_comes() {
    for method in [Method::Distinct, Method::Capability] {
        for kind in 1..KINDS {
            let domain = options().create().unwrap();
            let victim = join(&domain);
            let dead = id(&victim);
            let rx: Receiver<Parcel<u64>> = channel(&domain, kind).method(method).receiver().unwrap();
            let tx: Sender<Parcel<u64>> = channel(&victim, kind).method(method).sender().unwrap();
            let killed = killed_at("stop: now", 0, move || {
                tx.send(victim.parcels(method).new(7_u64).unwrap()).unwrap();
                stop::here("stop: now");
                drop((tx, victim));
            });
            assert!(killed);
            domain.member().sweep(dead.0, dead.1);
            domain.member().sweep(dead.0, dead.1);
            // Nobody is given its memory meanwhile.
            let others: Vec<_> = (0..70).map(|_| domain.parcels(method).new(9_u64).unwrap()).collect();
            assert_eq!(*rx.recv().unwrap(), 7, "{method}, {kind}");
            assert!(matches!(rx.try_recv(), Err(RecvError::PeerDied)), "{method}, {kind}");
            drop((others, rx));
            assert_eq!(account(domain.member().segment()).unwrap().leaks, [], "{method}, {kind}");
        }
    }
}

/// Who comes into the process slot of a dead one is somebody else, however late that one is swept again.
#[test]
fn a_late_sweeper_touches_nothing_of_the_next_one() {
    let domain = options().create().unwrap();
    let victim = join(&domain);
    let dead = id(&victim);
    let killed = killed_at("stop: now", 0, move || {
        let kept = Parcel::new(&victim, 1_u64).unwrap();
        stop::here("stop: now");
        drop((kept, victim));
    });
    assert!(killed);
    let member = domain.member();
    member.sweep(dead.0, dead.1);
    let next = join(&domain);
    assert_eq!(next.member().slot, dead.0, "the lowest that is free");
    let parcel = Parcel::new(&next, 2_u64).unwrap();
    let tx: Sender<u64> = channel(&next, 2).sender().unwrap();
    let rx: Receiver<u64> = channel(&domain, 2).receiver().unwrap();
    member.sweep(dead.0, dead.1);
    let now = Word(member.segment().process(dead.0.into()).word.load(Relaxed));
    assert_eq!((now.state(), now.sequence()), (LIVE, dead.1 + 1));
    tx.send(3).unwrap();
    assert_eq!(rx.recv().unwrap(), 3);
    assert_eq!(account(member.segment()).unwrap().blocks_owned, 1, "the parcel");
    drop((parcel, tx, rx));
}
