//! Parcels that a receiver took and had not claimed when it was killed: they come once, or are nobody's.

use super::{join, options};
use crate::inspect::account::account;
use crate::memory::stop::tests::killed_at;
use crate::{Domain, Method, Parcel, Receiver, Sender};

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
