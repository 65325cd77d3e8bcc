//! What is over and was left to somebody who is killed: channels, a half swept process, a place that is kept for somebody.

use std::sync::atomic::Ordering::Relaxed;

use super::{join, options, Node};
use crate::channel::attach::take_hold;
use crate::channel::record::state;
use crate::inspect::account::account;
use crate::member::reserve_slot;
use crate::memory::header::process::{FREE, JOINING};
use crate::memory::stop::tests::killed_at;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::process::place::{Place, Site};
use crate::process::wire::Stake;
use crate::Parcel;

/// A channel that is over may wait for the last of its ends, which another process is giving back (`attach::finish_unmaking`). If that one
/// is killed when the end is given back, and before it has looked whose the channel is, whoever sweeps it looks.
#[test]
fn a_channel_that_waits_for_its_last_end_is_not_left_behind() {
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
    let domain = options().create().unwrap();
    let (tx, rx) = domain.channel("").buffered(2).unnamed::<u64>().unwrap();
    let member = domain.member();
    let index = rx.end().found.index;
    let word = &member.segment().channel(index).state;
    let now = Word(word.load(Relaxed));
    // As whoever takes it back leaves it, who has seen the hold that is made below.
    word.store(now.with_state(state::UNMAKING).with_slot(IN_MESSAGE).0, Relaxed);
    std::mem::forget((tx, rx));
    for (_, entry) in crate::enclosure::table::all(member.segment()) {
        assert!(entry.free(entry.word()));
    }
    assert!(take_hold(member, index).is_none());
    assert_eq!(Word(word.load(Relaxed)).state(), state::FREE);
    assert_eq!(account(member.segment()).unwrap().leaks, []);
}

/// A place that a member had reserved is given back if that one and whoever it was for are both gone, whichever of them went first, and
/// how far the reserving had come. Whether they are gone the kernel says.
#[test]
fn a_place_for_which_nobody_comes_any_more_is_given_back() {
    let site = Site::new(&Place::Abstract).unwrap();
    for case in 0..3 {
        let domain = options().create().unwrap();
        let (host, bystander) = (join(&domain), join(&domain));
        let segment = domain.member().segment();
        let Stake { socket: stake, number } = site.stake().unwrap();
        let slot = if case == 2 {
            // Killed before it had said so.
            segment.process(3).stake.store(number, Relaxed);
            segment.header().processes.fetch_max(4, Relaxed);
            3
        } else {
            reserve_slot(host.member().segment(), number).unwrap().0
        };
        let record = segment.process(slot.into());
        let until = |state: u8, stake: u64| {
            let is_so =
                || Word(record.word.load(Relaxed)).state() == state && record.stake.load(Relaxed) == stake;
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !is_so() {
                assert!(std::time::Instant::now() < end, "{case}: {}", account(segment).unwrap());
                std::thread::yield_now();
            }
        };
        if case == 0 {
            drop(host); // and whoever it is for goes on
            until(JOINING, number);
            drop(bystander);
            until(JOINING, number);
            drop(stake);
        } else {
            drop(stake);
            drop(host);
        }
        until(FREE, 0);
        assert_eq!(account(segment).unwrap().leaks, [], "{case}");
    }
}
