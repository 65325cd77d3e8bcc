//! A process that is killed between two steps that belong together: nothing leaks, whichever two.
//!
//! The victim is a member of its own, in a thread that stops for ever in the window (`memory::stop`); then somebody else
//! sweeps, and the account of the domain must have no leak. To sweep it again, also halfway through and by several, changes
//! nothing.

mod over;
mod survivors;
mod taken;

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
    let mut kills = 0;
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
        kills += killed;
    }
    println!("windows: {kills} kills in {} windows", WINDOWS.len());
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
    let mut kills = 0;
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
            let sweeping = sweeper.member().clone();
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
        kills += killed;
    }
    println!("windows: {kills} kills of a sweeper in {} windows", SWEEPS.len());
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
