//! Broadcast: one sender, three receivers, of which two are waited for and one is not; one of the four crashes.

use std::sync::Arc;

use shuttle::thread;

use super::{crashes_after, dice, explore, victim, Shuttle};
use crate::channel::broadcast::{Late, SlowReceiver};
use crate::channel::call::{Patience, Stop};
use crate::channel::side::{DIED, LEFT};
use crate::model::world::broadcast::{Radio, Receives, Sends};
use crate::model::world::FOREVER;

const MESSAGES: u64 = 4;
/// More steps than most actors take.
const STEPS_MAX: u64 = 120;

/// What a receiver saw.
struct Seen {
    values: Vec<u64>,
    missed: u64,
    crashed: bool,
}

fn receives(radio: Arc<Radio<Shuttle>>, mut end: Receives<Shuttle>, crash: Option<u64>) -> Seen {
    let mut values = Vec::new();
    let in_place = dice(2) == 0;
    let crashed = crashes_after(crash, || loop {
        match end.recv(FOREVER, in_place) {
            Ok((place, value)) => {
                assert_eq!(place + 1, value);
                values.push(value);
            }
            Err(stop) => {
                assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                return;
            }
        }
    });
    let missed = end.side.missed();
    if crashed {
        let (other, seat, held) = (radio.clone(), end.side.seat, end.held);
        let sweeps = thread::spawn(move || other.receiver_goes(seat, held, DIED));
        end.goes(DIED);
        sweeps.join().unwrap();
    } else {
        end.goes(LEFT);
    }
    Seen { values, missed, crashed }
}

fn to_three(policy: SlowReceiver) {
    let radio = Radio::<Shuttle>::new(1 + dice(2), 3, policy);
    let (victim, steps) = victim(4, STEPS_MAX);
    let crash = |actor: usize| if actor == victim { steps } else { None };
    let receivers: Vec<_> = [policy, policy, SlowReceiver::DropOldest]
        .map(|policy| Receives::join(&radio, policy, Late::None))
        .into_iter()
        .zip(1..)
        .map(|(end, actor)| {
            let (radio, crash) = (radio.clone(), crash(actor));
            thread::spawn(move || receives(radio, end, crash))
        })
        .collect();
    let mut sender = Sends::new(&radio);
    let mut sent = 0;
    let crashed = crashes_after(crash(0), || {
        for n in 1..=MESSAGES {
            sender.send(n, FOREVER, true).unwrap();
            sent = n;
        }
    });
    radio.sender_goes(if crashed { DIED } else { LEFT });
    let published = radio.cast().tail();
    assert!(published == sent || crashed && published == sent + 1, "{sent} sent, {published} published");
    for (actor, seen) in (1..).zip(receivers) {
        let Seen { values, missed, crashed } = seen.join().unwrap();
        assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
        assert!(!crashed || actor == victim);
        if !crashed {
            assert_eq!(values.len() as u64 + missed, published, "{actor}: {values:?}");
            assert!(published == 0 || values.last() == Some(&published), "{actor}: {values:?}");
        }
        if policy == SlowReceiver::Block && actor != 3 {
            assert!(values.iter().copied().eq(1..=values.len() as u64), "{actor}: {values:?}");
        }
    }
    // No slot was lost: a successor sends on, and who comes last sees it.
    let mut successor = Sends::new(&radio);
    let mut last = Receives::join(&radio, SlowReceiver::DropOldest, Late::None);
    for n in published + 1..=published + 6 {
        successor.send(n, Patience::Try, true).unwrap();
        assert_eq!(last.recv(Patience::Try, true), Ok((n - 1, n)));
    }
}

#[test]
fn shuttle_broadcast_waits() {
    explore("broadcast, three receivers, two waited for, one crashes", || to_three(SlowReceiver::Block));
}

#[test]
fn shuttle_broadcast_drops() {
    explore("broadcast, three receivers that may miss messages, one crashes", || {
        to_three(SlowReceiver::DropOldest);
    });
}
