//! The buffered channel: exactly K messages wait, work in place, guards that are dropped, forgotten and killed.
#![allow(unsafe_code)]

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use common::{finish, kill, name, role, start, until, watchdog, Random};
use staffetta::{
    AllocateError, AttachError, Domain, Message, Method, Parcel, Receiver, RecvError, SendFailure, Sender,
    Wait,
};

const CHANNEL: &str = "channel";
type Frame = [u64; 200];

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 300);
    let wait = Wait::ALL.into_iter().find(|w| w.to_string() == arguments[1]).unwrap();
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let number = |i: usize| arguments[i].parse::<u64>().unwrap();
    let forever = || std::thread::sleep(Duration::from_secs(600));
    match role.as_str() {
        "stream" => {
            let tx = domain.channel(CHANNEL).buffered(number(2)).sender::<u64>().unwrap();
            (0..number(3)).for_each(|n| tx.send(n).unwrap());
        }
        // Takes a message in hand, changes it or not, says so, and stays like that.
        "hold" => {
            let rx = domain.channel(CHANNEL).receiver::<Frame>().unwrap();
            let told = domain.sender::<u64>("told").unwrap();
            let mut message = rx.recv_ref().unwrap();
            if number(2) != 0 {
                message[0] += 1;
            }
            told.send(message[0]).unwrap();
            forever();
        }
        // Sends some, reserves a slot, writes half of it, says so, and stays like that.
        "reserve" => {
            let tx = domain.channel(CHANNEL).sender::<Frame>().unwrap();
            let told = domain.sender::<u64>("told").unwrap();
            for n in 0..number(2) {
                tx.send([n; 200]).unwrap();
            }
            let mut slot = tx.reserve().unwrap().reused();
            slot[..100].fill(u64::MAX);
            told.send(slot.seq()).unwrap();
            forever();
        }
        other => panic!("no role {other}"),
    }
}

fn pair<T: Message>(domain: &Domain, degree: u64) -> (Sender<T>, Receiver<T>) {
    domain.channel("").buffered(degree).unnamed().unwrap()
}

#[test]
fn k_messages_fit_and_the_next_blocks_whatever_is_in_hand() {
    let domain = Domain::create().unwrap();
    for k in [1, 2, 3, 7, 64] {
        let (tx, rx) = pair::<u64>(&domain, k);
        let full = || {
            assert!(matches!(tx.try_send(99).unwrap_err().why, SendFailure::WouldBlock), "degree {k}");
            assert!(matches!(tx.try_reserve(), Err(SendFailure::WouldBlock)), "degree {k}");
            let late = tx.send_timeout(99, Duration::from_millis(1)).unwrap_err();
            assert!(matches!((late.message, late.why), (99, SendFailure::TimedOut)), "degree {k}");
        };
        let mut next = 0;
        for _ in 0..3 * k {
            while tx.try_send(next).is_ok() {
                next += 1;
            }
            full();
            // One in hand waits no more; its slot is the (k+1)-th.
            let message = rx.recv_ref().unwrap();
            assert_eq!(*message, next - k);
            tx.try_send(next).unwrap();
            next += 1;
            full();
            drop(message);
            full(); // given back, and still K wait
        }
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), (next - k..next).collect::<Vec<_>>());
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
        assert!(matches!(rx.try_recv_ref(), Err(RecvError::WouldBlock)));
    }
}

#[test]
fn against_a_queue() {
    let mut random = Random::new("against_a_queue");
    for degree in [1, 2, 3, 5, 17] {
        let domain = Domain::create().unwrap();
        let (tx, rx) = pair::<[u64; 9]>(&domain, degree);
        let mut model: VecDeque<u64> = VecDeque::new();
        let (mut sent, mut received) = (0, 0);
        for _ in 0..5_000 {
            let room = model.len() < degree as usize;
            match random.below(7) {
                0 => assert_eq!(tx.try_send([sent; 9]).is_ok(), room),
                1 => {
                    let slot = tx.try_reserve();
                    assert_eq!(slot.is_ok(), room);
                    let Ok(slot) = slot else { continue };
                    assert_eq!(slot.seq(), sent);
                    let mut slot = slot.reused();
                    assert!(slot.iter().all(|x| *x == slot[0]), "half a message: {slot:?}");
                    slot.fill(sent);
                    slot.send().unwrap();
                }
                2 => {
                    // Begun, and not sent.
                    let slot = tx.try_reserve();
                    assert_eq!(slot.is_ok(), room);
                    if let Ok(slot) = slot {
                        slot.zeroed()[random.below(9) as usize] = u64::MAX;
                    }
                    continue;
                }
                3 => {
                    assert_eq!(rx.try_recv().ok(), model.pop_front().map(|n| [n; 9]));
                    received = sent - model.len() as u64;
                    continue;
                }
                n => {
                    let message = rx.try_recv_ref();
                    assert_eq!(message.is_ok(), !model.is_empty());
                    if let Ok(mut message) = message {
                        assert_eq!((*message, message.seq()), ([model[0]; 9], received));
                        if n == 4 {
                            *message = [u64::MAX; 9];
                        }
                        assert!(matches!(rx.try_recv(), Err(RecvError::Held)));
                        model.pop_front();
                        received += 1;
                    }
                    continue;
                }
            }
            if room {
                model.push_back(sent);
                sent += 1;
            }
        }
        let (sender, receiver) = tx.channel_counters();
        assert_eq!((sender.messages, receiver.messages), (sent, received));
    }
}

#[test]
fn a_million_in_order_between_processes() {
    let _watchdog = watchdog("the million", 300);
    const MESSAGES: u64 = 1_000_000;
    let name = name("million");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.channel(CHANNEL).buffered(256).receiver::<u64>().unwrap();
    let child = start("stream", &[&name, "spin-then-park", "256", &MESSAGES.to_string()]);
    for n in 0..MESSAGES {
        if n % 3 == 0 {
            let message = rx.recv_ref().unwrap();
            assert_eq!((*message, message.seq()), (n, n), "lost, doubled or out of order");
        } else {
            assert_eq!(rx.recv().unwrap(), n, "lost, doubled or out of order");
        }
    }
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    let (sent, received) = rx.channel_counters();
    assert_eq!((sent.messages, received.messages, sent.bytes_copied), (MESSAGES, MESSAGES, 8 * MESSAGES));
    assert_eq!(received.bytes_copied, 8 * (MESSAGES - MESSAGES.div_ceil(3)), "in place nothing is copied");
    finish(child);
}

#[test]
fn a_receiver_killed_with_a_message_in_hand() {
    let _watchdog = watchdog("killed with a message in hand", 120);
    for wait in Wait::ALL {
        for changes in [false, true] {
            let name = name("in-hand");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let tx = domain.channel(CHANNEL).buffered(2).sender::<Frame>().unwrap();
            let told = domain.receiver::<u64>("told").unwrap();
            (10..12).for_each(|n| tx.send([n; 200]).unwrap());
            let child = start("hold", &[&name, &wait.to_string(), if changes { "1" } else { "0" }]);
            assert_eq!(told.recv().unwrap(), 10 + u64::from(changes));
            tx.send([12; 200]).unwrap(); // one is in hand, two wait
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                kill(child);
            });
            let error = tx.send([13; 200]).unwrap_err();
            assert!(matches!((error.message[0], error.why), (13, SendFailure::PeerDied)), "{wait}");
            killer.join().unwrap();
            let rx = domain.receiver::<Frame>(CHANNEL).unwrap();
            if changes {
                let error = rx.recv_ref().unwrap_err();
                assert!(matches!(error, RecvError::Torn { seq: 0 }), "{wait}: {error}");
            } else {
                let again = rx.recv_ref().unwrap();
                assert_eq!((*again, again.seq()), ([10; 200], 0), "{wait}");
            }
            let next = rx.recv_ref().unwrap();
            assert_eq!((*next, next.seq()), ([11; 200], 1), "{wait}");
            drop(next);
            tx.send([13; 200]).unwrap();
            assert_eq!(rx.recv().unwrap(), [12; 200], "{wait}");
            assert_eq!(rx.recv().unwrap(), [13; 200], "{wait}");
            assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "{wait}");
        }
    }
}

#[test]
fn a_sender_killed_with_a_slot_reserved() {
    let _watchdog = watchdog("killed with a slot", 120);
    for wait in Wait::ALL {
        let name = name("slot");
        let domain = common::options().wait(wait).open(&name).unwrap();
        let rx = domain.channel(CHANNEL).buffered(3).receiver::<Frame>().unwrap();
        let told = domain.receiver::<u64>("told").unwrap();
        let child = start("reserve", &[&name, &wait.to_string(), "2"]);
        while told.recv().is_err() {}
        kill(child);
        assert_eq!([rx.recv().unwrap()[0], rx.recv().unwrap()[0]], [0, 1], "{wait}");
        let why = rx.recv().unwrap_err();
        assert!(matches!(why, RecvError::PeerDied), "{wait}: {why}");
        // Its successor gets the slot, and not what the dead one began to write.
        let tx = domain.sender::<Frame>(CHANNEL).unwrap();
        let slot = tx.reserve().unwrap().reused();
        assert_eq!((slot.seq(), *slot), (2, [0; 200]), "{wait}");
        drop(slot);
        tx.send([2; 200]).unwrap();
        assert_eq!(rx.recv_ref().unwrap()[199], 2, "{wait}");
    }
}

#[test]
fn guards_that_were_forgotten() {
    let domain = Domain::create().unwrap();
    let attach = || domain.channel(CHANNEL).buffered(2);
    let tx = attach().sender::<u64>().unwrap();
    let rx = attach().receiver::<u64>().unwrap();
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    std::mem::forget(rx.recv_ref().unwrap());
    for _ in 0..2 {
        assert!(matches!(rx.recv_ref(), Err(RecvError::Held)));
        assert!(matches!(rx.recv(), Err(RecvError::Held)));
    }
    std::mem::forget(tx.reserve().unwrap());
    assert!(matches!(tx.reserve(), Err(SendFailure::Held)));
    assert!(matches!(tx.send(3).unwrap_err().why, SendFailure::Held));
    // The next holders of the ends start afresh.
    drop(rx);
    let rx = attach().receiver::<u64>().unwrap();
    assert_eq!(*rx.recv_ref().unwrap(), 1, "it was never given back");
    drop(tx);
    let tx = attach().sender::<u64>().unwrap();
    tx.send(3).unwrap();
    assert_eq!([rx.recv().unwrap(), rx.recv().unwrap()], [2, 3]);
}

#[derive(Message, Clone, Copy)]
#[repr(C, align(256))]
struct Wide {
    number: u64,
    rest: [u8; 248],
}

#[derive(Message, Clone, Copy)]
#[repr(C, align(8192))]
struct Wider {
    number: u64,
    rest: [u8; 8184],
}

#[test]
fn messages_lie_where_their_type_wants_them() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair::<Wide>(&domain, 4);
    for n in 0..20 {
        let mut slot = tx.reserve().unwrap().zeroed();
        assert_eq!(std::ptr::from_ref(&*slot).addr() % 256, 0);
        slot.number = n;
        slot.send().unwrap();
        let message = rx.recv_ref().unwrap();
        assert_eq!((std::ptr::from_ref(&*message).addr() % 256, message.number), (0, n));
        assert_eq!(message.rest, [0; 248]);
    }
    let (tx, rx) = pair::<()>(&domain, 1);
    tx.send(()).unwrap();
    rx.recv().unwrap();
    let error = domain.channel("").buffered(1).unnamed::<Wider>().err().unwrap();
    assert!(matches!(error, AttachError::Allocate(AllocateError::Alignment { align: 8192, .. })), "{error}");
}

#[test]
fn slots_are_written_and_read_in_every_way() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair::<Option<std::num::NonZeroU64>>(&domain, 1);
    let seven = std::num::NonZeroU64::new(7);
    tx.reserve().unwrap().write(seven).unwrap();
    assert_eq!(rx.recv().unwrap(), seven);
    let mut slot = tx.reserve().unwrap();
    std::mem::MaybeUninit::write(&mut slot, seven);
    // SAFETY: just written.
    unsafe { slot.send_init() }.unwrap();
    assert_eq!(*rx.recv_ref().unwrap(), seven);
    assert_eq!(*tx.reserve().unwrap().reused(), seven, "what was there two messages ago");
    assert_eq!(*tx.reserve().unwrap().reused(), None, "begun since, and not sent");
    let (sent, received) = tx.channel_counters();
    assert_eq!((sent.bytes, sent.bytes_copied), (16, 8));
    assert_eq!((received.bytes, received.bytes_copied), (16, 8));
}

#[test]
fn guards_of_other_channels() {
    let domain = Domain::create().unwrap();
    for channel in [domain.channel("a").basic(3), domain.channel("b").rendezvous()] {
        let tx = channel.clone().sender::<u64>().unwrap();
        let rx = channel.receiver::<u64>().unwrap();
        assert!(matches!(tx.reserve(), Err(SendFailure::NotBuffered)));
        assert!(matches!(rx.recv_ref(), Err(RecvError::NotBuffered)));
        assert!(tx.reserve().unwrap_err().to_string().contains("buffered(degree)"));
    }
}

#[test]
fn degrees_and_sizes_that_cannot_be() {
    let domain = common::options().create().unwrap();
    for degree in [0, (1 << 20) + 1, u64::MAX] {
        let refused = |error: AttachError| {
            assert!(matches!(error, AttachError::Degree { degree: d, .. } if d == degree), "{error}");
            let text = error.to_string();
            assert!(text.contains(if degree == 0 { "rendezvous()" } else { "1048576" }), "{text}");
        };
        refused(domain.channel("c").buffered(degree).sender::<u64>().err().unwrap());
        refused(domain.channel("c").buffered(degree).receiver::<Parcel<u64>>().err().unwrap());
        refused(domain.channel("").buffered(degree).unnamed::<u64>().err().unwrap());
    }
    type Huge = [[u64; 1 << 20]; 1 << 30];
    let error = domain.channel("huge").buffered(1 << 20).sender::<Huge>().err().unwrap();
    assert!(matches!(error, AttachError::Impossible { .. }), "{error}");
    let error = domain.channel("large").buffered(1 << 20).sender::<[u64; 1 << 20]>().err().unwrap();
    assert!(matches!(error, AttachError::Allocate(AllocateError::TooLarge { .. })), "{error}");
    let error = domain.channel("full").buffered(64).sender::<[u64; 1 << 22]>().err().unwrap();
    assert!(matches!(error, AttachError::Allocate(_)), "{error}");
    // Nothing was harmed; and the largest degree is one.
    let tx = domain.channel("c").buffered(1 << 20).sender::<u64>().unwrap();
    let rx = domain.receiver::<u64>("c").unwrap();
    tx.send(1).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    let error = domain.channel("c").buffered(3).sender::<u64>().err().unwrap();
    assert!(matches!(error, AttachError::Mismatch { .. }), "{error}");
}

#[test]
fn who_is_left_alone_is_told() {
    let domain = Domain::create().unwrap();
    // The receiver has left for ever: no room helps.
    let (tx, rx) = pair::<u64>(&domain, 3);
    tx.send(1).unwrap();
    drop(rx);
    for _ in 0..3 {
        let error = tx.send(2).unwrap_err();
        assert!(matches!((error.message, error.why), (2, SendFailure::Disconnected)));
        assert!(matches!(tx.reserve(), Err(SendFailure::Disconnected)));
    }
    // The sender has: what it sent first.
    let (tx, rx) = pair::<u64>(&domain, 3);
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    drop(tx);
    assert_eq!(rx.try_recv().unwrap(), 1);
    assert_eq!(*rx.recv_ref().unwrap(), 2);
    for _ in 0..3 {
        assert!(matches!(rx.recv_ref(), Err(RecvError::Disconnected)));
        assert!(matches!(rx.try_recv(), Err(RecvError::Disconnected)));
    }
}

#[test]
fn parcels_in_a_buffered_channel_that_is_over_are_given_back() {
    let domain = Domain::create().unwrap();
    for method in Method::ALL {
        let round = || {
            let (tx, rx) = domain.channel("").method(method).buffered(3).unnamed::<Parcel<[u8]>>().unwrap();
            (0..3).for_each(|_| tx.send(domain.parcels(method).zeroed(100_000).unwrap()).unwrap());
            assert_eq!(rx.recv().unwrap().len(), 100_000);
            drop((tx, rx));
            domain.trim().unwrap();
            domain.memory().unwrap().1
        };
        let first = round();
        for _ in 0..20 {
            assert!(round() <= first, "{method}: more is charged in every round");
        }
    }
}

#[test]
fn a_sleeping_sender_is_woken_by_a_message_taken_in_hand() {
    let _watchdog = watchdog("sleeping senders", 60);
    let domain = Domain::options().wait(Wait::Park).create().unwrap();
    let (tx, rx) = pair::<u64>(&domain, 1);
    let sender = std::thread::spawn(move || {
        (0..100).for_each(|n| tx.send(n).unwrap());
        tx
    });
    for n in 0..99 {
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(2)); // so that it sleeps, usually
        }
        let message = rx.recv_ref().unwrap();
        assert_eq!(*message, n);
        if n == 98 {
            // In hand, not given back: the last one is sent all the same.
            until(|| sender.is_finished());
        }
    }
    drop(sender.join().unwrap());
}
