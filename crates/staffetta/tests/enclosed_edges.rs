//! Ends of channels as messages, at the edges: what they carried, owed or had in hand when they were sent; forked processes;
//! copies of what stands for them; a full table.
#![allow(unsafe_code)]

mod common;

use std::time::Duration;

use common::{finish, in_use, name, options, role, start, watchdog, Random};
use staffetta::{
    AttachError, ChannelBuilder, Domain, EncloseFailure, Enclosed, Message, Method, Parcel, Receiver,
    RecvError, Select, SendFailure, Sender, TakeOutError, Wait,
};

/// What a forked child that has tried everything ends with.
const TRIED: i32 = 42;

#[derive(Message)]
struct Two {
    first: Enclosed<Receiver<u64>>,
    second: Enclosed<Receiver<u64>>,
}

fn builders(domain: &Domain) -> [(&'static str, ChannelBuilder<'_>); 3] {
    [
        ("rendezvous", domain.channel("").wait(Wait::Park).rendezvous()),
        ("buffered", domain.channel("").wait(Wait::Park).buffered(2)),
        ("bounded", domain.channel("").wait(Wait::Park).bounded(2)),
    ]
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _dog = watchdog(&role, 60);
    let domain = options().open(&arguments[0]).unwrap();
    match role.as_str() {
        // Takes an end of a channel of parcels in files of their own, and says what it received until nobody sends.
        "takes parcels" => {
            let end = domain.receiver::<Receiver<Parcel<u64>>>(&arguments[1]).unwrap().recv().unwrap();
            let sums = domain.channel("sums").bounded(4).sender::<u64>().unwrap();
            loop {
                match end.recv() {
                    Ok(parcel) => sums.send(*parcel).unwrap(),
                    Err(RecvError::Disconnected) => break,
                    Err(why) => panic!("{why:?}"),
                }
            }
        }
        // Takes such an end, and sends it on as it is.
        "passes on" => {
            let end = domain.receiver::<Receiver<Parcel<u64>>>(&arguments[1]).unwrap().recv().unwrap();
            domain.sender::<()>("has it").unwrap().send(()).unwrap();
            domain.receiver::<()>("pass on").unwrap().recv().unwrap();
            domain.sender::<Receiver<Parcel<u64>>>(&arguments[2]).unwrap().send(end).unwrap();
        }
        // Takes an end, and says what it received.
        "takes numbers" => {
            let end = domain.receiver::<Receiver<u64>>("ends").unwrap().recv().unwrap();
            let sums = domain.channel("sums").bounded(4).sender::<u64>().unwrap();
            loop {
                match end.recv() {
                    Ok(number) => sums.send(number).unwrap(),
                    Err(RecvError::Disconnected) => break,
                    Err(why) => panic!("{why:?}"),
                }
            }
        }
        "sends both ends and leaves" => {
            let senders = domain.channel("senders").buffered(4).sender::<Sender<u64>>().unwrap();
            let receivers = domain.channel("receivers").buffered(4).sender::<Receiver<u64>>().unwrap();
            let files = domain.channel("files").buffered(1).sender::<Receiver<Parcel<u64>>>().unwrap();
            for (_, channel) in builders(&domain) {
                let (tx, rx) = channel.unnamed::<u64>().unwrap();
                senders.send(tx).unwrap();
                receivers.send(rx).unwrap();
            }
            let file = domain.parcels(Method::Capability).new(1_u64).unwrap();
            let (tx, rx) = domain.channel("").buffered(1).method(Method::Capability).unnamed().unwrap();
            tx.send(file).unwrap();
            files.send(rx).unwrap();
            // The domain goes before the ends.
            drop(domain);
        }
        "fork" => {
            let (ends, got) = domain.channel("").buffered(2).unnamed::<Sender<u64>>().unwrap();
            let (tx, rx) = domain.channel("").buffered(2).unnamed::<u64>().unwrap();
            let (tx2, rx2) = domain.channel("").bounded(2).unnamed::<u64>().unwrap();
            let (tx3, rx3) = domain.channel("").bounded(2).unnamed::<u64>().unwrap();
            ends.send(tx3).unwrap();
            let mut parcel = Parcel::new(&domain, Enclosed::<Sender<u64>>::default()).unwrap();
            *parcel = parcel.enclose(tx).unwrap();
            let enclosed = *parcel;
            // SAFETY: the child uses only its own thread.
            let child = unsafe { libc::fork() };
            if child == 0 {
                assert!(matches!(parcel.take_out(enclosed).map(drop), Err(TakeOutError::Forked)));
                let failed = parcel.enclose(tx2).map(drop).unwrap_err();
                assert_eq!(failed.why, EncloseFailure::Forked);
                let failed = ends.send(failed.what).unwrap_err();
                assert!(matches!(failed.why, SendFailure::Forked), "{}", failed.why);
                let failed = ends.try_send(failed.message).unwrap_err();
                assert!(matches!(failed.why, SendFailure::Forked), "{}", failed.why);
                assert!(matches!(got.recv().map(drop), Err(RecvError::Forked)));
                drop((failed, parcel, ends, got, rx, rx2, rx3));
                drop(domain);
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(TRIED) };
            }
            let mut status = 0;
            // SAFETY: waits for our own child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            // A test that panics there ends with its thread, and then all is well for the system.
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == TRIED, "the forked child failed");
            // Nothing was harmed.
            parcel.take_out(enclosed).unwrap().send(1).unwrap();
            tx2.send(2).unwrap();
            got.recv().unwrap().send(3).unwrap();
            assert_eq!((rx.recv().unwrap(), rx2.recv().unwrap(), rx3.recv().unwrap()), (1, 2, 3));
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn parcels_in_files_of_their_own_come_to_whoever_takes_the_receiver() {
    let _dog = watchdog("files", 60);
    for round in 0..3 {
        let name = name("files");
        let domain = options().open(&name).unwrap();
        let ends = domain.channel("ends").buffered(1).sender::<Receiver<Parcel<u64>>>().unwrap();
        let sums = domain.channel("sums").bounded(4).receiver::<u64>().unwrap();
        let file = |number: u64| domain.parcels(Method::Capability).new(number).unwrap();
        let (what, channel) = &builders(&domain)[round];
        let (tx, rx) = channel.clone().method(Method::Capability).unnamed::<Parcel<u64>>().unwrap();
        if *what != "rendezvous" {
            tx.send(file(1)).unwrap(); // to the receiver here
        }
        ends.send(rx).unwrap();
        if *what != "rendezvous" {
            tx.send(file(2)).unwrap(); // to the receiver in the message
        }
        let child = start("takes parcels", &[&name, "ends"]);
        tx.send(file(3)).unwrap();
        let first = if *what == "rendezvous" { 3 } else { 1 };
        for number in first..=3 {
            assert_eq!(sums.recv().unwrap(), number, "{what}");
        }
        drop(tx);
        finish(child);
    }
}

#[test]
fn parcels_in_files_of_their_own_pass_through_a_receiver_that_is_sent_on() {
    let _dog = watchdog("passed on", 60);
    for round in 1..3 {
        let name = name("passed");
        let domain = options().open(&name).unwrap();
        let ends = domain.channel("ends").buffered(1).sender::<Receiver<Parcel<u64>>>().unwrap();
        let sums = domain.channel("sums").bounded(4).receiver::<u64>().unwrap();
        let has_it = domain.receiver::<()>("has it").unwrap();
        let pass_on = domain.sender::<()>("pass on").unwrap();
        let file = |number: u64| domain.parcels(Method::Capability).new(number).unwrap();
        let (what, channel) = &builders(&domain)[round];
        let (tx, rx) = channel.clone().method(Method::Capability).unnamed::<Parcel<u64>>().unwrap();
        ends.send(rx).unwrap();
        let first = start("passes on", &[&name, "ends", "onward"]);
        has_it.recv().unwrap();
        tx.send(file(1)).unwrap();
        let second = start("takes parcels", &[&name, "onward"]);
        pass_on.send(()).unwrap();
        tx.send(file(2)).unwrap();
        assert_eq!((sums.recv().unwrap(), sums.recv().unwrap()), (1, 2), "{what}");
        drop(tx);
        finish(first);
        finish(second);
    }
}

#[test]
fn an_end_that_was_in_a_select_is_sent() {
    let _dog = watchdog("selects", 60);
    for forgotten in [false, true] {
        for round in 0..3 {
            let name = name("selects");
            let domain = options().open(&name).unwrap();
            let ends = domain.channel("ends").buffered(1).sender::<Receiver<u64>>().unwrap();
            let sums = domain.channel("sums").bounded(4).receiver::<u64>().unwrap();
            let (_, channel) = &builders(&domain)[round];
            let (tx, rx) = channel.clone().unnamed::<u64>().unwrap();
            let (_quiet, idle) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            select.recv(&idle).unwrap();
            assert!(select.select_timeout(Duration::from_millis(5)).is_err());
            if forgotten {
                std::mem::forget(select);
            } else {
                drop(select);
            }
            ends.send(rx).unwrap();
            let child = start("takes numbers", &[&name]);
            for number in 0..50 {
                tx.send(number).unwrap();
                assert_eq!(sums.recv().unwrap(), number);
            }
            drop(tx);
            finish(child);
        }
    }
}

#[test]
fn what_a_forgotten_guard_had_in_hand_is_received_after_its_end_was_sent() {
    let _dog = watchdog("guards", 60);
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Receiver<u64>>().unwrap();
    for channel in [domain.channel("").buffered(2), domain.channel("").bounded(2)] {
        let (tx, rx) = channel.wait(Wait::Park).unnamed::<u64>().unwrap();
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        std::mem::forget(rx.recv_ref().unwrap());
        ends.send(rx).unwrap();
        let rx = got.recv().unwrap();
        assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (1, 2));
        tx.send(3).unwrap();
        assert_eq!(rx.recv().unwrap(), 3);
    }
    // Another receiver sleeps.
    let (tx, rx) = domain.channel("").bounded(2).wait(Wait::Park).unnamed::<u64>().unwrap();
    let other = rx.try_clone().unwrap();
    tx.send(1).unwrap();
    std::mem::forget(rx.recv_ref().unwrap());
    let sleeps = std::thread::spawn(move || other.recv().unwrap());
    std::thread::sleep(Duration::from_millis(20));
    ends.send(rx).unwrap();
    assert_eq!(sleeps.join().unwrap(), 1);
    let rx = got.recv().unwrap();
    tx.send(2).unwrap();
    assert_eq!(rx.recv().unwrap(), 2);
}

#[test]
fn a_slot_of_a_forgotten_guard_comes_free_when_its_end_is_sent() {
    let _dog = watchdog("slots", 60);
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Sender<u64>>().unwrap();
    for channel in [domain.channel("").buffered(1), domain.channel("").bounded(1)] {
        let (tx, rx) = channel.wait(Wait::Park).unnamed::<u64>().unwrap();
        std::mem::forget(tx.reserve().unwrap());
        ends.send(tx).unwrap();
        let tx = got.recv().unwrap();
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
        for number in 0..5 {
            tx.try_send(number).unwrap();
            assert_eq!(rx.recv().unwrap(), number);
        }
    }
    // Another sender, and the receiver, sleep.
    let (tx, rx) = domain.channel("").bounded(1).wait(Wait::Park).unnamed::<u64>().unwrap();
    let other = tx.try_clone().unwrap();
    std::mem::forget(tx.reserve().unwrap());
    let sends = std::thread::spawn(move || other.send(7).unwrap());
    let receives = std::thread::spawn(move || rx.recv().unwrap());
    std::thread::sleep(Duration::from_millis(20));
    ends.send(tx).unwrap();
    assert_eq!(receives.join().unwrap(), 7);
    sends.join().unwrap();
    drop(got.recv().unwrap());
}

#[test]
fn both_ends_outlive_the_process_that_sent_them() {
    let _dog = watchdog("outlive", 60);
    let name = name("outlive");
    let domain = options().open(&name).unwrap();
    let senders = domain.channel("senders").buffered(4).receiver::<Sender<u64>>().unwrap();
    let receivers = domain.channel("receivers").buffered(4).receiver::<Receiver<u64>>().unwrap();
    let files = domain.channel("files").buffered(1).receiver::<Receiver<Parcel<u64>>>().unwrap();
    finish(start("sends both ends and leaves", &[&name]));
    for (what, _) in builders(&domain) {
        let (tx, rx) = (senders.recv().unwrap(), receivers.recv().unwrap());
        let sends = std::thread::spawn(move || (0..10).for_each(|n| tx.send(n).unwrap()));
        (0..10).for_each(|n| assert_eq!(rx.recv().unwrap(), n, "{what}"));
        sends.join().unwrap();
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "{what}");
    }
    // Also a parcel in a memory file of its own: whoever leaves hands over the descriptor.
    let rx = files.recv().unwrap();
    assert_eq!(*rx.recv().unwrap(), 1);
    assert!(matches!(rx.recv().map(drop), Err(RecvError::Disconnected)));
}

#[test]
fn a_forked_child_is_refused() {
    let _dog = watchdog("fork", 60);
    finish(start("fork", &[&name("fork")]));
}

#[test]
fn a_copy_of_what_stands_for_an_end_is_worth_nothing() {
    let domain = options().open(&name("copies")).unwrap();
    let before = in_use(&domain);
    let (tx, rx) = domain.channel("").bounded(2).unnamed::<u64>().unwrap();
    let mut parcel =
        Parcel::new(&domain, Two { first: Default::default(), second: Default::default() }).unwrap();
    parcel.first = parcel.enclose(rx).unwrap();
    parcel.second = parcel.first;
    let mut copy = Parcel::new(&domain, Two { first: parcel.first, second: parcel.first }).unwrap();
    let (first, second) = (copy.first, copy.second);
    assert!(matches!(copy.take_out(first).map(drop), Err(TakeOutError::NotHere)));
    let rx = parcel.take_out(first).unwrap();
    assert!(matches!(parcel.take_out(second).map(drop), Err(TakeOutError::NotHere)));
    // It lies in the other one now: the old number says nothing of it, in either.
    let again = copy.enclose(rx).unwrap();
    assert!(matches!(parcel.take_out(first).map(drop), Err(TakeOutError::NotHere)));
    assert!(matches!(copy.take_out(second).map(drop), Err(TakeOutError::NotHere)));
    assert!(matches!(parcel.take_out(again).map(drop), Err(TakeOutError::NotHere)));
    tx.send(4).unwrap();
    drop(parcel);
    let rx = copy.take_out(again).unwrap();
    assert_eq!(rx.recv().unwrap(), 4);
    drop((tx, rx, copy));
    assert_eq!(in_use(&domain), before);
}

#[test]
fn a_thousand_ends_in_one_parcel_are_taken_out_in_any_order() {
    let _dog = watchdog("thousand", 60);
    let domain = options().open(&name("thousand")).unwrap();
    let mut random = Random::new("thousand");
    let before = in_use(&domain);
    let mut parcel = Parcel::new(&domain, 0_u64).unwrap();
    let mut inside = Vec::new();
    for number in 0..1000 {
        let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
        tx.send(number).unwrap();
        inside.push((number, parcel.enclose(rx).unwrap(), tx));
    }
    while inside.len() > 100 {
        let (number, enclosed, _tx) = inside.swap_remove(random.below(inside.len() as u64) as usize);
        let rx = parcel.take_out(enclosed).unwrap();
        assert_eq!(rx.recv().unwrap(), number);
    }
    // The rest goes with the parcel.
    drop(parcel);
    for (number, _, tx) in inside {
        let failed = tx.send(number).unwrap_err();
        assert!(matches!(failed.why, SendFailure::Disconnected), "{}", failed.why);
    }
    assert_eq!(in_use(&domain), before);
}

#[test]
// The watchdog is short: each entry is looked at a few times while the table fills, not all for each (that took a minute).
fn a_full_table_loses_nothing() {
    let _dog = watchdog("full", 30);
    let domain = options().open(&name("full")).unwrap();
    let before = in_use(&domain);
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Receiver<u64>>().unwrap();
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let mut outer = Parcel::new(&domain, 0_u64).unwrap();
    let mut inside = Vec::new();
    let left = loop {
        match outer.enclose(Parcel::new(&domain, inside.len() as u64).unwrap()) {
            Ok(enclosed) => inside.push(enclosed),
            Err(failed) => {
                assert!(matches!(failed.why, EncloseFailure::TooMany { entries: 65_536 }), "{}", failed.why);
                break failed.what;
            }
        }
    };
    assert_eq!(*left as usize, inside.len(), "it comes back as it was");
    assert_eq!(inside.len(), 65_536 - 2, "two channels without a name");
    // An end comes back, and works; no channel without a name can be made, and those with one can.
    let failed = ends.send(rx).unwrap_err();
    assert!(matches!(failed.why, SendFailure::Enclose(EncloseFailure::TooMany { .. })), "{}", failed.why);
    let rx = failed.message;
    tx.send(1).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    let failed = outer.enclose(rx).map(drop).unwrap_err();
    assert!(matches!(failed.why, EncloseFailure::TooMany { .. }), "{}", failed.why);
    let rx = failed.what;
    for (what, channel) in builders(&domain) {
        let why = channel.unnamed::<u64>().map(drop).unwrap_err();
        assert!(matches!(why, AttachError::TooManyEntries { entries: 65_536 }), "{what}: {why}");
    }
    let named = domain.channel("named").buffered(1).sender::<u64>().unwrap();
    let named_rx = domain.channel("named").buffered(1).receiver::<u64>().unwrap();
    named.send(5).unwrap();
    assert_eq!(named_rx.recv().unwrap(), 5);
    // One comes free, and then an end can be sent.
    let first = inside.swap_remove(1000);
    assert_eq!(*outer.take_out(first).unwrap(), 1000);
    drop(outer);
    ends.send(rx).unwrap();
    let rx = got.recv().unwrap();
    tx.send(2).unwrap();
    assert_eq!(rx.recv().unwrap(), 2);
    drop((named, named_rx));
    let with_named = in_use(&domain);
    drop((left, tx, rx, ends, got));
    let after = in_use(&domain);
    assert_eq!(after.1, before.1);
    assert!(after.0 < with_named.0);
}

#[test]
fn a_named_end_goes_with_the_parcel_in_which_it_lies() {
    let domain = options().create().unwrap();
    for kind in ["rendezvous", "buffered", "bounded"] {
        let channel = domain.channel(kind);
        let channel = match kind {
            "rendezvous" => channel.rendezvous(),
            "buffered" => channel.buffered(1),
            _ => channel.bounded(1).receivers(1),
        };
        let tx = channel.clone().sender::<u64>().unwrap();
        let rx = channel.clone().receiver::<u64>().unwrap();
        let mut parcel = Parcel::new(&domain, 0_u64).unwrap();
        parcel.enclose(rx).unwrap();
        let why = channel.clone().receiver::<u64>().map(drop).unwrap_err();
        if kind == "bounded" {
            assert!(matches!(why, AttachError::EndsTaken { .. }), "{why}");
        } else {
            assert!(matches!(why, AttachError::EndInMessage { .. }), "{why}");
            assert!(why.to_string().contains("lies in a message"), "{why}");
        }
        drop(parcel);
        // Its receiver has left, and another one may come.
        if kind == "rendezvous" {
            let failed = tx.send(1).unwrap_err();
            assert!(matches!(failed.why, SendFailure::Disconnected), "{}", failed.why);
        }
        let rx = channel.clone().receiver::<u64>().unwrap();
        let sends = std::thread::spawn(move || while tx.send(2).is_err() {});
        assert_eq!(rx.recv().unwrap(), 2, "{kind}");
        sends.join().unwrap();
    }
}

/// What cannot be sent comes back, also if others take each entry that comes free, and nothing else of its channel is here.
#[test]
fn an_end_comes_back_while_others_take_every_entry() {
    let _dog = watchdog("comes back", 60);
    let domain = options().create().unwrap();
    let (ends, _got) = domain.channel("").buffered(1).unnamed::<Receiver<u64>>().unwrap();
    let (_, waits) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    ends.send(waits).unwrap(); // and there is no room for another one
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    tx.send(7).unwrap();
    let mut outer = Parcel::new(&domain, 0_u64).unwrap();
    outer.enclose(tx).unwrap();
    let mut last = Vec::new();
    while let Ok(enclosed) = outer.enclose(Parcel::new(&domain, 1_u64).unwrap()) {
        last.push(enclosed);
    }
    for enclosed in last.drain(last.len() - 2..).rev() {
        outer.take_out(enclosed).unwrap();
    }
    let mut mine = Some(rx);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(domain.channel("").rendezvous().unnamed::<u64>());
                }
            });
        }
        let mut full = 0;
        for _ in 0..600 {
            let failed = ends.try_send(mine.take().unwrap()).unwrap_err();
            full += u32::from(matches!(failed.why, SendFailure::WouldBlock));
            mine = Some(failed.message);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(full > 0, "no entry was free, ever");
    });
    assert_eq!(mine.unwrap().recv().unwrap(), 7);
}
