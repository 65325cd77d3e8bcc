//! A process that is killed between two steps that belong together: nothing leaks, whichever two.
//!
//! The victim is a member of its own, in a thread that stops for ever in the window (`memory::stop`); then somebody else
//! sweeps, and the account of the domain must have no leak. To sweep it again, also halfway through and by several, changes
//! nothing.

<<<<<<< HEAD
mod survivors;
=======
mod over;
mod taken;
>>>>>>> c404d25 (A reserved slot has a stake, a socket that lives as long as whoever may come into it: nobody's place is lost with its host)

use std::sync::Arc;

use crate::inspect::account::account;
use crate::memory::stop::tests::killed_at;
use crate::{Addresses, Domain, Enclosed, Message, Method, Parcel, Receiver, Sender};

fn options() -> crate::DomainOptions {
    Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26)
}

/// One more member, in this process.
fn join(domain: &Domain) -> Domain {
    let memory = domain.descriptor().try_clone_to_owned().unwrap();
    options().addresses(Addresses::Distinct).join_descriptor(memory).unwrap()
}

#[derive(Message)]
struct Node {
    tx: Enclosed<Sender<u64>>,
    inner: Enclosed<Parcel<u64>>,
}

/// The victim's doings, each in its own domain.
type Doing = fn(&Domain);

fn small_blocks(domain: &Domain) {
    // More than are kept, so that they become free.
    let parcels: Vec<_> = (0..200).map(|n| Parcel::new(domain, n as u64).unwrap()).collect();
    drop(parcels);
    let again: Vec<_> = (0..200).map(|n| Parcel::new(domain, n as u64).unwrap()).collect();
    drop(again);
}

fn large_blocks(domain: &Domain) {
    for megabytes in [1, 3, 2] {
        let parcels: Vec<_> =
            (0..4).map(|_| Parcel::<[u8]>::with_tail(domain, megabytes << 20).unwrap()).collect();
        drop(parcels);
    }
    domain.trim().unwrap();
}

fn capabilities(domain: &Domain) {
    let parcels = domain.parcels(Method::Capability);
    drop((parcels.new(1_u64).unwrap(), parcels.new(2_u64).unwrap()));
    drop(parcels.new(3_u64).unwrap());
    domain.trim().unwrap();
    drop(parcels.new(4_u64).unwrap());
}

fn channels(domain: &Domain) {
    let (tx, rx) = domain.channel("").bounded(2).unnamed::<Parcel<Node>>().unwrap();
    let (inner, _inner) = domain.channel("").buffered(2).unnamed::<u64>().unwrap();
    let mut node = Parcel::new(domain, Node { tx: Default::default(), inner: Default::default() }).unwrap();
    node.tx = node.enclose(inner).unwrap();
    node.inner = node.enclose(Parcel::new(domain, 1).unwrap()).unwrap();
    tx.send(node).unwrap();
    let mut node = rx.recv().unwrap();
    let tx = node.tx;
    drop(node.take_out(tx));
    drop((tx, rx, node));
    let named = domain.channel("named").basic(2);
    drop((named.clone().sender::<Parcel<u64>>().unwrap(), named.receiver::<Parcel<u64>>().unwrap()));
}

fn basic(domain: &Domain) {
    let (tx, rx) = domain.channel("").basic(3).unnamed::<Parcel<u64>>().unwrap();
    for n in 0..9 {
        tx.send(Parcel::new(domain, n).unwrap()).unwrap();
        assert_eq!(*rx.recv().unwrap(), n);
    }
}

fn sent_capabilities(domain: &Domain) {
    for kind in 0..3 {
        let channel = domain.channel("").method(Method::Capability);
        let channel = match kind {
            0 => channel.basic(3),
            1 => channel.buffered(3),
            _ => channel.rendezvous(),
        };
        let (tx, rx) = channel.unnamed::<Parcel<u64>>().unwrap();
        let sender = domain.clone();
        let sends = std::thread::spawn(move || {
            for n in 0..3_u64 {
                tx.send(sender.parcels(Method::Capability).new(n).unwrap()).unwrap();
            }
        });
        (0..3).for_each(|n| assert_eq!(*rx.recv().unwrap(), n));
        sends.join().unwrap();
    }
}

fn sleeps(domain: &Domain) {
    let (tx, rx) = domain.channel("").buffered(1).wait(crate::Wait::Park).unnamed::<u64>().unwrap();
    let (_tx, other) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let later = std::time::Duration::from_millis(1);
    let _ = rx.recv_timeout(later);
    drop(tx);
    let mut select = crate::Select::new();
    let _ = select.recv(&other);
    let _ = select.ready_timeout(later);
}

/// All windows that these doings come through.
const WINDOWS: &[(&str, Doing)] = &[
    ("charge: intent written", small_blocks),
    ("charge: sum changed", small_blocks),
    ("charge: word changed", small_blocks),
    ("list: intent written", small_blocks),
    ("list: sum changed", small_blocks),
    ("list: free", small_blocks),
    ("take: intent written", small_blocks),
    ("take: taken", small_blocks),
    ("take: sum changed", small_blocks),
    ("new: mark raised", small_blocks),
    ("charge: intent written", large_blocks),
    ("charge: sum changed", large_blocks),
    ("charge: word changed", large_blocks),
    ("trim: punched", large_blocks),
    ("list: sum changed", large_blocks),
    ("list: free", large_blocks),
    ("take: taken", large_blocks),
    ("capability: mark raised", capabilities),
    ("capability: claimed", capabilities),
    ("charge: sum changed", capabilities),
    ("charge: word changed", capabilities),
    ("capability: in its next life", capabilities),
    ("capability: uncharged", capabilities),
    ("make: ring allocated", channels),
    ("schema: claimed", channels),
    ("schema: text written", channels),
    ("record: claimed", channels),
    ("make: ring named", channels),
    ("make: made", channels),
    ("make: held", channels),
    ("make: unnamed", channels),
    ("make: published", channels),
    ("lane: allocated", channels),
    ("lane: named", channels),
    ("entry: claimed", channels),
    ("enclose: handed over", channels),
    ("enclose: linked", channels),
    ("take out: begun", channels),
    ("take out: received", channels),
    ("unmake: begun", channels),
    ("unmake: block taken", channels),
    ("unmake: block forgotten", channels),
    ("receive: taken", basic),
    ("receive: capability taken", sent_capabilities),
    ("capability: received", sent_capabilities),
    ("waiter: mark raised", sleeps),
    ("waiter: claimed", sleeps),
];

/// How often a window is skipped before the victim is killed there.
const SKIPS: [usize; 5] = [0, 1, 5, 70, 250];

#[test]
fn a_kill_in_any_window_leaks_nothing() {
    for &(window, doing) in WINDOWS {
        let mut killed = 0;
        for skip in SKIPS {
            let domain = options().create().unwrap();
            let victim = join(&domain);
            let (slot, generation) = (victim.member().slot, victim.member().generation);
            if !killed_at(window, skip, move || doing(&victim)) {
                break; // not so often
            }
            killed += 1;
            let member = domain.member();
            member.sweep(slot, generation);
            domain.trim().unwrap(); // what the sweeper keeps for its next allocations
            let after = account(member.segment()).unwrap();
            assert_eq!(after.leaks, [], "{window}, time {skip}: {after}");
            assert_eq!(after.processes, 1);
            let left = (after.blocks_enclosed, after.entries, after.pcbs);
            assert_eq!(left, (0, 0, 0), "{window}, time {skip}: {after}");
            // Nor is one kept: nobody else has its descriptor.
            let capabilities = (after.capabilities_owned, after.capabilities_kept);
            assert_eq!(capabilities, (0, 0), "{window}, time {skip}: {after}");
            // What is free is as good as new: all of it is found again.
            let free = after.blocks_free;
            small_blocks(&domain);
            let again = account(member.segment()).unwrap();
            assert_eq!(again.leaks, [], "{window}, time {skip}, used again: {again}");
            let all = again.blocks_free + again.blocks_owned;
            assert!(all >= free && all <= free + 200, "{window}: {free} free, {again}");
        }
        assert!(killed != 0, "{window}: nobody comes there");
    }
}

/// What a process was killed with is swept by one that is killed as well, in any window of the sweep; then by a third.
#[test]
fn a_sweeper_killed_in_any_window_leaves_nothing_either() {
    const SWEEPS: &[&str] = &[
        "sweep: marked",
        "sweep: intent settled",
        "sweep: held",
        "sweep: ends settled",
        "sweep: entries settled",
        "tell: not yet woken",
        "release: adopted",
        "list: intent written",
        "list: sum changed",
        "list: free",
        "entry: claimed",
        "unmake: begun",
        "unmake: block taken",
        "unmake: block forgotten",
        "capability: in its next life",
        "charge: sum changed",
        "capability: uncharged",
        "sweep: capabilities released",
        "sweep: waiters released",
    ];
    for &window in SWEEPS {
        let mut killed = 0;
        for skip in [0, 1, 2, 20] {
            let domain = options().create().unwrap();
            let (victim, sweeper) = (join(&domain), join(&domain));
            let dead = (victim.member().slot, victim.member().generation);
            let second = (sweeper.member().slot, sweeper.member().generation);
            let killed_first = killed_at("stop: now", 0, move || {
                let kept: Vec<_> = (0..70).map(|n| Parcel::new(&victim, n as u64).unwrap()).collect();
                let capability = victim.parcels(Method::Capability).new(1_u64).unwrap();
                drop(victim.parcels(Method::Capability).new(1_u64).unwrap());
                let (tx, rx) = victim.channel("").bounded(2).unnamed::<Parcel<Node>>().unwrap();
                let (inner, _other) = victim.channel("").buffered(2).unnamed::<u64>().unwrap();
                let node = Node { tx: Default::default(), inner: Default::default() };
                let mut node = Parcel::new(&victim, node).unwrap();
                node.tx = node.enclose(inner).unwrap();
                node.inner = node.enclose(Parcel::new(&victim, 1).unwrap()).unwrap();
                tx.send(node).unwrap();
                crate::memory::stop::here("stop: now");
                drop((kept, capability, tx, rx));
            });
            assert!(killed_first);
            let sweeping: Arc<_> = sweeper.member().clone();
            let stopped = killed_at(window, skip, move || {
                sweeping.sweep(dead.0, dead.1);
                std::mem::forget(sweeping);
            });
            std::mem::forget(sweeper);
            if !stopped {
                break;
            }
            killed += 1;
            // In either order, and again.
            let member = domain.member();
            let mut order = [second, dead, second];
            if skip == 0 {
                order.reverse();
                order.swap(0, 1);
            }
            for (slot, generation) in order {
                member.sweep(slot, generation);
            }
            domain.trim().unwrap();
            let after = account(member.segment()).unwrap();
            assert_eq!(after.leaks, [], "{window}, time {skip}: {after}");
            let left =
                (after.processes, after.blocks_owned, after.entries, after.channels_unnamed, after.ends);
            assert_eq!(left, (1, 0, 0, 0, 0), "{window}, time {skip}: {after}");
        }
        assert!(killed != 0, "{window}: no sweeper comes there");
    }
}

/// A free capability of a dead process is kept by who sweeps, if it has the descriptor as well.
#[test]
fn a_free_capability_goes_to_a_sweeper_that_has_it_too() {
    let domain = options().create().unwrap();
    let victim = join(&domain);
    let (slot, generation) = (victim.member().slot, victim.member().generation);
    fn channel(domain: &Domain) -> crate::ChannelBuilder<'_> {
        domain.channel("capabilities").buffered(2).method(Method::Capability)
    }
    let rx: Receiver<Parcel<u64>> = channel(&victim).receiver().unwrap();
    let tx: Sender<Parcel<u64>> = channel(&domain).sender().unwrap();
    tx.send(domain.parcels(Method::Capability).new(1_u64).unwrap()).unwrap();
    let killed = killed_at("stop: now", 0, move || {
        drop(rx.recv().unwrap());
        crate::memory::stop::here("stop: now");
        drop((rx, victim));
    });
    assert!(killed);
    let member = domain.member();
    member.sweep(slot, generation);
    let after = account(member.segment()).unwrap();
    assert_eq!((&after.leaks[..], after.capabilities_kept), (&[][..], 1), "{after}");
    let charged = after.charged_bytes;
    let parcel = domain.parcels(Method::Capability).new(2_u64).unwrap();
    assert_eq!(account(member.segment()).unwrap().charged_bytes, charged, "it is used again");
    drop(parcel);
}

/// A mark that is wrong, as a program that writes wildly leaves it, makes a sweeper touch nothing that is not there.
#[test]
fn a_wrong_mark_is_no_reason_to_touch_a_whole_table() {
    let domain = options().create().unwrap();
    let victim = join(&domain);
    let dead = (victim.member().slot, victim.member().generation);
    let kept: Vec<_> = (0..1000).map(|n| Parcel::new(&victim, n as u64).unwrap()).collect();
    std::mem::forget((victim, kept));
    let member = domain.member();
    for used in &member.segment().header().used {
        used.fetch_max(u64::MAX, std::sync::atomic::Ordering::Relaxed);
    }
    member.sweep(dead.0, dead.1);
    let after = account(member.segment()).unwrap();
    assert!(after.blocks_free >= 1000, "{after}");
    let present = rustix::fs::fstat(domain.descriptor()).unwrap().st_blocks as u64 * 512;
    assert!(present < 8 << 20, "{present} bytes are present");
}

/// How long a sweep takes in a domain with 100,000 live blocks, and whether others go on sending meanwhile.
#[test]
#[ignore = "prints milliseconds; run it alone, with --release"]
fn how_long_a_sweep_takes() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;
    let big = || Domain::options().window_bytes(1 << 40).memory_max_bytes(4 << 30);
    for (what, of_the_dead, named, unnamed) in [
        ("the survivors' blocks, 1,000 of the dead one", 1_000, 0, 0),
        ("and 2,000 channels with a name, half of them of parcels", 1_000, 2_000, 0),
        ("100,000 of the dead one as well", 100_000, 0, 0),
        ("and 1,000 channels without a name of the dead one, all with a parcel that waits", 1_000, 0, 1_000),
    ] {
        let domain = big().create().unwrap();
        let memory = domain.descriptor().try_clone_to_owned().unwrap();
        let victim = big().addresses(Addresses::Distinct).join_descriptor(memory).unwrap();
        let dead = (victim.member().slot, victim.member().generation);
        let parcels = |of: &Domain, n: usize| -> Vec<Parcel<[u8]>> {
            (0..n).map(|i| Parcel::with_tail(of, 8 << (i % 8)).unwrap()).collect()
        };
        let live = parcels(&domain, 100_000);
        let lost = parcels(&victim, of_the_dead);
        let ends: Vec<_> = (0..named)
            .map(|i| {
                let name = format!("channel {i}");
                let numbers =
                    (i % 2 == 0).then(|| domain.channel(&name).buffered(4).sender::<u64>().unwrap());
                let parcels =
                    (i % 2 == 1).then(|| domain.channel(&name).bounded(4).sender::<Parcel<u64>>().unwrap());
                (numbers, parcels)
            })
            .collect();
        let lost_ends: Vec<_> = (0..unnamed)
            .map(|i| {
                let (tx, rx) = victim.channel("").buffered(2).unnamed::<Parcel<u64>>().unwrap();
                tx.send(Parcel::new(&victim, i).unwrap()).unwrap();
                (tx, rx)
            })
            .collect();
        std::mem::forget((victim, lost, lost_ends));
        let (tx, rx) = domain.channel("").buffered(64).unnamed::<u64>().unwrap();
        let over = AtomicBool::new(false);
        let (took, sent, gap) = std::thread::scope(|scope| {
            let receives = scope.spawn(move || while rx.recv().is_ok() {});
            let sends = scope.spawn(|| {
                let (mut sent, mut gap, mut last) = (0_u64, 0, Instant::now());
                while !over.load(Ordering::Relaxed) {
                    tx.send(sent).unwrap();
                    sent += 1;
                    gap = gap.max(last.elapsed().as_micros());
                    last = Instant::now();
                }
                drop(tx);
                (sent, gap)
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            let began = Instant::now();
            domain.member().sweep(dead.0, dead.1);
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            let (sent, gap) = sends.join().unwrap();
            receives.join().unwrap();
            (took, sent, gap)
        });
        let leaks = account(domain.member().segment()).unwrap().leaks;
        assert_eq!(leaks, [], "{what}");
        println!(
            "sweep: 100,000 live blocks, {what}: {:.2} ms; {sent} messages sent by others, longest gap {gap} us",
            took.as_secs_f64() * 1e3
        );
        drop((live, ends));
    }
}
<<<<<<< HEAD

/// The channels that a parcel is received over in the tests below.
fn carrier(domain: &Domain, kind: usize, method: Method) -> crate::ChannelBuilder<'_> {
    let channel = domain.channel("c").method(method);
    match kind {
        0 => channel.basic(2),
        1 => channel.buffered(2),
        2 => channel.bounded(2),
        _ => channel.rendezvous(),
    }
}

/// Wherever a receiver is killed, what it had not claimed yet is its successor's where it lies in a slot, and nobody's in a rendezvous;
/// what it had claimed is nobody's, and comes to nobody. Though whoever sent it lives, or is killed as well, before or after.
#[test]
fn what_a_killed_receiver_had_taken_comes_once_or_is_nobodys() {
    let all = [
        (Method::Distinct, "receive: taken", true),
        (Method::Distinct, "receive: claimed", false),
        (Method::Capability, "receive: capability taken", true),
        (Method::Capability, "capability: received", true),
        (Method::Capability, "receive: capability claimed", false),
    ];
    for (method, window, waits) in all {
        for (kind, sender_dies) in (0..4).flat_map(|kind| (0..3).map(move |dies| (kind, dies))) {
            let case = format!("{window}, {method}, {kind}, sender {sender_dies}");
            let domain = options().create().unwrap();
            let (victim, sender) = (join(&domain), join(&domain));
            let dead = (victim.member().slot, victim.member().generation);
            let second = (sender.member().slot, sender.member().generation);
            let rx: Receiver<Parcel<u64>> = carrier(&victim, kind, method).receiver().unwrap();
            let tx: Sender<Parcel<u64>> = carrier(&sender, kind, method).sender().unwrap();
            let (of, to) = (sender.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || {
                tx.send(of.parcels(method).new(1_u64).unwrap()).unwrap();
                to.0.send(tx).unwrap();
            });
            let killed = killed_at(window, 0, move || drop((rx.recv(), rx, victim)));
            assert!(killed, "{case}");
            let tx = to.1.recv().unwrap();
            let member = domain.member();
            if sender_dies == 1 {
                member.sweep(second.0, second.1);
            }
            member.sweep(dead.0, dead.1);
            if sender_dies == 2 {
                member.sweep(second.0, second.1);
            }
            let after = account(member.segment()).unwrap();
            assert_eq!(after.leaks, [], "{case}: {after}");
            let waits = waits && kind != 3;
            // Who comes next has it, and goes on; a descriptor that was the dead one's alone is lost with it.
            let rx: Receiver<Parcel<u64>> = carrier(&domain, kind, method).receiver().unwrap();
            if waits {
                match rx.recv() {
                    Ok(parcel) => assert_eq!(*parcel, 1, "{case}"),
                    Err(why) => assert!(sender_dies != 0 && method == Method::Capability, "{case}: {why}"),
                }
            } else {
                assert!(rx.try_recv().is_err(), "{case}");
            }
            if sender_dies == 0 && kind != 3 {
                for n in 2..9 {
                    tx.send(sender.parcels(method).new(n).unwrap()).unwrap();
                    assert_eq!(*rx.recv().unwrap(), n, "{case}");
                }
            }
            drop(rx);
            if sender_dies == 0 {
                drop((tx, sender));
            } else {
                std::mem::forget((tx, sender));
            }
            domain.trim().unwrap();
            let after = account(member.segment()).unwrap();
            let left = (after.blocks_owned, after.blocks_waiting, after.capabilities_owned, after.ends);
            assert_eq!((&after.leaks[..], left), (&[][..], (0, 0, 0, 0)), "{case}: {after}");
        }
    }
}

/// As long as a receiver has not said that it holds what it took, its sender cannot fill that slot again; else nobody would know of it
/// when the receiver is killed, and a sweeper of the sender would free it under the hands of a receiver that lives.
#[test]
fn what_is_taken_and_not_claimed_stays_in_its_slot() {
    for kind in 0..3 {
        let domain = options().create().unwrap();
        let victim = join(&domain);
        let dead = (victim.member().slot, victim.member().generation);
        let rx: Receiver<Parcel<u64>> = carrier(&victim, kind, Method::Distinct).receiver().unwrap();
        let tx: Sender<Parcel<u64>> = carrier(&domain, kind, Method::Distinct).sender().unwrap();
        tx.send(Parcel::new(&domain, 0).unwrap()).unwrap();
        assert!(killed_at("receive: taken", 0, move || drop((rx.recv(), rx, victim))));
        let sent = (1..9).take_while(|n| tx.try_send(Parcel::new(&domain, *n).unwrap()).is_ok()).count();
        assert!(sent <= 2, "{kind}: {sent}");
        domain.member().sweep(dead.0, dead.1);
        let rx: Receiver<Parcel<u64>> = carrier(&domain, kind, Method::Distinct).receiver().unwrap();
        let came: Vec<u64> = rx.try_iter().map(|parcel| *parcel).collect();
        assert_eq!(came, (0..=sent as u64).collect::<Vec<_>>(), "{kind}");
        drop((tx, rx));
        domain.trim().unwrap();
        let after = account(domain.member().segment()).unwrap();
        assert_eq!((&after.leaks[..], after.blocks_owned), (&[][..], 0), "{kind}: {after}");
    }
}

/// A capability that came back to whoever had sent it is not on its way any more, though an old message names it.
#[test]
fn a_capability_that_came_back_is_not_on_its_way() {
    for kind in 0..4 {
        let domain = options().create().unwrap();
        let victim = join(&domain);
        let dead = (victim.member().slot, victim.member().generation);
        let rx: Receiver<Parcel<u64>> = carrier(&domain, kind, Method::Capability).receiver().unwrap();
        let tx: Sender<Parcel<u64>> = carrier(&victim, kind, Method::Capability).sender().unwrap();
        let receives = std::thread::spawn(move || {
            drop(rx.recv().unwrap());
            rx
        });
        let killed = killed_at("stop: now", 0, move || {
            tx.send(victim.parcels(Method::Capability).new(1_u64).unwrap()).unwrap();
            let rx = receives.join().unwrap();
            // The same one.
            let again = victim.parcels(Method::Capability).new(2_u64).unwrap();
            crate::memory::stop::here("stop: now");
            drop((tx, rx, again));
        });
        assert!(killed);
        let member = domain.member();
        assert_eq!(account(member.segment()).unwrap().capabilities_owned, 1);
        member.sweep(dead.0, dead.1);
        let after = account(member.segment()).unwrap();
        assert_eq!((&after.leaks[..], after.capabilities_owned), (&[][..], 0), "{kind}: {after}");
    }
}

/// A channel that is over may wait for the last of its ends, which another process is giving back (`attach::finish_unmaking`). If that one
/// is killed when the end is given back, and before it has looked whose the channel is, whoever sweeps it looks.
#[test]
fn a_channel_that_waits_for_its_last_end_is_not_left_behind() {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::channel::record::state;
    use crate::memory::word::{Word, IN_MESSAGE};

    let domain = options().create().unwrap();
    let victim = join(&domain);
    let dead = (victim.member().slot, victim.member().generation);
    let (tx, rx) = victim.channel("").buffered(2).unnamed::<u64>().unwrap();
    let index = rx.end().found.index;
    let node = Node { tx: Default::default(), inner: Default::default() };
    let mut node = Parcel::new(&victim, node).unwrap();
    node.tx = node.enclose(tx).unwrap();
    drop(rx);
    // As whoever takes the channel back leaves it, who found that an end is in the victim's hand.
    let record = domain.member().segment().channel(index);
    let now = Word(record.state.load(Relaxed));
    assert_eq!(now.state(), state::UNNAMED);
    record.state.store(now.with_state(state::UNMAKING).with_slot(IN_MESSAGE).0, Relaxed);
    let killed = killed_at("release: end put away", 0, move || drop((node, victim)));
    assert!(killed);
    domain.member().sweep(dead.0, dead.1);
    domain.trim().unwrap();
    let after = account(domain.member().segment()).unwrap();
    let left = (after.channels_unnamed, after.blocks_owned, after.entries);
    assert_eq!((&after.leaks[..], left), (&[][..], (0, 0, 0)), "{after}");
}

/// Nobody is told that all senders have left while a receiver is dead, and not swept yet, that had a message in hand.
#[test]
fn what_a_dead_receiver_had_in_hand_comes_before_the_news_that_nobody_sends() {
    for method in [Method::Distinct, Method::Capability] {
        let domain = options().create().unwrap();
        let (victim, sweeper) = (join(&domain), join(&domain));
        let dead = (victim.member().slot, victim.member().generation);
        let tx: Sender<Parcel<u64>> = carrier(&domain, 2, method).sender().unwrap();
        let rx: Receiver<Parcel<u64>> = carrier(&domain, 2, method).receiver().unwrap();
        let rival: Receiver<Parcel<u64>> = carrier(&victim, 2, method).receiver().unwrap();
        tx.send(domain.parcels(method).new(1_u64).unwrap()).unwrap();
        let window =
            if method == Method::Capability { "receive: capability taken" } else { "receive: taken" };
        assert!(killed_at(window, 0, move || drop((rival.recv(), rival, victim))));
        let sweeping = sweeper.member().clone();
        assert!(killed_at("sweep: marked", 0, move || sweeping.sweep(dead.0, dead.1)));
        drop(tx);
        assert_eq!(*rx.recv().unwrap(), 1);
        assert!(matches!(rx.recv(), Err(crate::RecvError::Disconnected)));
        std::mem::forget(sweeper);
    }
}

/// A sweeper that is killed as soon as it has marked a dead process may have been the only one to know of it: whoever sweeps the sweeper
/// sweeps that one too.
#[test]
fn whom_a_killed_sweeper_had_marked_is_swept_with_it() {
    let domain = options().create().unwrap();
    let (victim, sweeper) = (join(&domain), join(&domain));
    let dead = (victim.member().slot, victim.member().generation);
    let second = (sweeper.member().slot, sweeper.member().generation);
    let parcel = Parcel::new(&victim, 1_u64).unwrap();
    std::mem::forget((victim, parcel));
    let sweeping = sweeper.member().clone();
    assert!(killed_at("sweep: marked", 0, move || sweeping.sweep(dead.0, dead.1)));
    std::mem::forget(sweeper);
    domain.member().sweep(second.0, second.1);
    domain.trim().unwrap();
    let after = account(domain.member().segment()).unwrap();
    assert_eq!((&after.leaks[..], after.processes, after.blocks_owned), (&[][..], 1, 0), "{after}");
}

/// So does a channel that waits for somebody who came too late, and had to give up its hold again.
#[test]
fn who_comes_too_late_to_a_channel_takes_it_back_if_it_was_left_to_it() {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::channel::attach::take_hold;
    use crate::channel::record::state;
    use crate::memory::word::{Word, IN_MESSAGE};

    let domain = options().create().unwrap();
    let (tx, rx) = domain.channel("").buffered(2).unnamed::<u64>().unwrap();
    let member = domain.member();
    let state = &member.segment().channel(rx.end().found.index).state;
    let (index, now) = (rx.end().found.index, Word(state.load(Relaxed)));
    // As whoever takes it back leaves it, who has seen the hold that is made below.
    state.store(now.with_state(state::UNMAKING).with_slot(IN_MESSAGE).0, Relaxed);
    let _both = (std::mem::ManuallyDrop::new(tx), std::mem::ManuallyDrop::new(rx));
    let entries: Vec<_> = crate::enclosure::table::all(member.segment()).map(|(_, entry)| entry).collect();
    entries.iter().for_each(|entry| assert!(entry.word().state() == 0 || entry.free(entry.word())));
    assert!(take_hold(member, index).is_none());
    assert_eq!(Word(state.load(Relaxed)).state(), state::FREE);
    assert_eq!(account(member.segment()).unwrap().leaks, []);
}
=======
>>>>>>> c404d25 (A reserved slot has a stake, a socket that lives as long as whoever may come into it: nobody's place is lost with its host)
