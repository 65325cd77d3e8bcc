//! A forked child has nothing of its parent's domain: every operation says so, every drop does nothing, and nobody else
//! notices that it was there. Here: channels and selects; memory and the domain itself in `fork_memory.rs`.
#![allow(unsafe_code)]

mod common;

use std::mem::ManuallyDrop;
use std::time::Duration;

use common::forked::{
    attached, beside_a_member, chosen, dyn_recv, dyn_send, forked, play, recv, room, send, soon, tried, Step,
    LONG,
};
use staffetta::{CallFailure, Domain, RecvError, Select, SelectError, SendFailure, SlowReceiver, Wait};

#[test]
fn roles() {
    play(&[
        ("values", |domain, _, step| values(domain, step)),
        ("the others", |domain, _, step| the_others(domain, step)),
        ("selects", |domain, _, step| selects(domain, step)),
    ]);
}

/// Channels of values of every mechanism, in both directions, with and without something in hand.
fn values(domain: &Domain, step: &Step) {
    for wait in Wait::ALL {
        let channels = [
            ("rendezvous", domain.channel("").rendezvous()),
            ("basic", domain.channel("").basic(2)),
            ("buffered", domain.channel("").buffered(2)),
            ("bounded", domain.channel("").bounded(2)),
            ("many to one", domain.channel("").many_to_one(2)),
            ("work queue", domain.channel("").work_queue(2)),
        ];
        for (what, channel) in channels {
            let in_place = matches!(what, "buffered" | "bounded" | "many to one" | "work queue");
            let (tx, rx) = channel.wait(wait).unnamed::<u64>().unwrap();
            if what != "rendezvous" {
                tx.send(1).unwrap();
                tx.send(2).unwrap();
            }
            let taken = in_place.then(|| rx.recv_ref().unwrap());
            let slot = in_place.then(|| tx.reserve().unwrap());
            let mut slot = slot.map(staffetta::Slot::zeroed);
            let status = forked(|| {
                step.is(what);
                if let Some(taken) = taken.as_ref().map(std::ptr::from_ref) {
                    step.is("a message in hand: its place");
                    // SAFETY: a guard of our own; the copy is dropped as the child's own would be.
                    let taken = unsafe { std::ptr::read(taken) };
                    let _ = (taken.seq(), format!("{taken:?}"));
                    step.is("a message in hand: dropped");
                    drop(taken);
                }
                if let Some(slot) = slot.as_ref().map(std::ptr::from_ref) {
                    // SAFETY: as above.
                    let copy = || unsafe { std::ptr::read(slot) };
                    step.is("a slot: its place");
                    let _ = (copy().seq(), format!("{:?}", copy()));
                    step.is("a slot: sent");
                    room(copy().send());
                    assert!(matches!(
                        ManuallyDrop::new(copy().try_send()).as_ref(),
                        Err((_, SendFailure::Forked))
                    ));
                    assert!(matches!(copy().send_timeout(LONG), Err((_, SendFailure::Forked))));
                }
                step.is("sends");
                send(tx.send(1));
                send(tx.try_send(1));
                send(tx.send_timeout(1, LONG));
                send(tx.send_deadline(1, soon()));
                send(tx.send_many([1, 2]));
                send(tx.force_send(1));
                step.is("slots");
                room(tx.reserve().map(drop));
                room(tx.try_reserve().map(drop));
                room(tx.reserve_timeout(LONG).map(drop));
                room(tx.reserve_deadline(soon()).map(drop));
                step.is("receives");
                recv(rx.recv());
                recv(rx.try_recv());
                recv(rx.recv_timeout(LONG));
                recv(rx.recv_deadline(soon()));
                recv(rx.recv_many(&mut Vec::new(), 4));
                assert_eq!((rx.iter().next(), rx.try_iter().next()), (None, None));
                step.is("messages in place");
                recv(rx.recv_ref().map(drop));
                recv(rx.try_recv_ref().map(drop));
                recv(rx.recv_ref_timeout(LONG).map(drop));
                recv(rx.recv_ref_deadline(soon()).map(drop));
                step.is("what ends are asked");
                assert_eq!((tx.len(), rx.len(), tx.is_empty()), (0, 0, true));
                assert_eq!((tx.counters().messages, rx.channel_counters().0.messages), (0, 0));
                assert!(!tx.has_peer() && !rx.has_peer() && tx.descriptor().is_none());
                let _ = (tx.degree(), tx.wait());
                tx.set_wait(Wait::Spin);
                attached(tx.try_clone());
                attached(rx.try_clone());
                step.is("selects");
                let mut select = Select::new();
                let added = [select.recv(&rx), select.send(&tx)];
                assert!(added
                    .iter()
                    .all(|added| matches!(added, Ok(_) | Err(SelectError::Forked | SelectError::PutsFirst))));
                if added.iter().any(Result::is_ok) {
                    chosen(select.ready());
                    chosen(select.try_select().map(drop));
                    chosen(select.ready_timeout(LONG));
                }
                drop(select);
                step.is("ends dropped");
                // SAFETY: as above.
                unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx))) };
            });
            tried(step, status);
            // The parent's are as they were.
            if let Some(slot) = &mut slot {
                **slot = 3;
            }
            if let Some(taken) = taken {
                assert_eq!(*taken, 1);
                drop(taken);
                assert_eq!(rx.recv().unwrap(), 2);
            }
            if let Some(sent) = slot.map(staffetta::Slot::send) {
                sent.unwrap();
                assert_eq!(rx.recv().unwrap(), 3, "{what}");
            }
            match what {
                "rendezvous" => {
                    let sends = std::thread::spawn(move || tx.send(9).unwrap());
                    assert_eq!(rx.recv().unwrap(), 9);
                    sends.join().unwrap();
                }
                "basic" => assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (1, 2)),
                _ => {
                    tx.send(9).unwrap();
                    assert_eq!(rx.recv().unwrap(), 9);
                }
            }
        }
    }
}

#[test]
fn a_child_may_use_no_channel_of_values() {
    beside_a_member("values");
}

/// Broadcasts, the latest value, request-reply, ends typed at run time.
fn the_others(domain: &Domain, step: &Step) {
    for slow in [SlowReceiver::Block, SlowReceiver::DropOldest, SlowReceiver::Disconnect] {
        let name = format!("news {slow:?}");
        let news = || domain.channel(&name).broadcast(4).slow_receiver(slow);
        let (tx, rx) = (news().sender::<u64>().unwrap(), news().receiver::<u64>().unwrap());
        let observer = domain.channel(&name).dyn_observer().unwrap();
        tx.send(1).unwrap();
        let seen = rx.recv_ref().unwrap();
        let slot = tx.reserve().unwrap().zeroed();
        let status = forked(|| {
            step.is("broadcast: guards");
            // SAFETY: as the child's own.
            let (seen, slot) = unsafe { (std::ptr::read(&seen), std::ptr::read(&slot)) };
            let _ = (seen.seq(), slot.seq(), format!("{seen:?} {slot:?}"));
            drop(seen);
            room(slot.send());
            step.is("broadcast: sends");
            send(tx.send(2));
            send(tx.try_send(2));
            send(tx.send_timeout(2, LONG));
            send(tx.send_deadline(2, soon()));
            room(tx.reserve().map(drop));
            room(tx.reserve_timeout(LONG).map(drop));
            step.is("broadcast: receives");
            recv(rx.recv());
            recv(rx.try_recv());
            recv(rx.recv_timeout(LONG));
            recv(rx.recv_ref().map(drop));
            assert_eq!((rx.iter().next(), rx.try_iter().next()), (None, None));
            step.is("broadcast: asked");
            let _ = (tx.sent(), tx.degree(), tx.slow_receiver(), tx.counters(), rx.missed(), rx.degree());
            let _ = (rx.channel_counters(), tx.receivers());
            assert!(!rx.has_peer());
            step.is("broadcast: observed");
            dyn_recv(observer.recv_bytes());
            dyn_recv(observer.try_recv_bytes());
            dyn_recv(observer.recv_value());
            let _ = (observer.missed(), observer.kind());
            step.is("broadcast: selected");
            let mut select = Select::new();
            if select.recv(&rx).is_ok() {
                chosen(select.ready());
            }
            drop(select);
            // SAFETY: as above.
            unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx), std::ptr::read(&observer))) };
        });
        tried(step, status);
        assert_eq!(*seen, 1);
        drop(seen);
        slot.send().unwrap();
        assert_eq!(rx.recv().unwrap(), 0);
    }
    let (tx, rx) = (
        domain.channel("now").latest().sender::<u64>().unwrap(),
        domain.channel("now").latest().receiver::<u64>().unwrap(),
    );
    tx.send(1).unwrap();
    let seen = rx.get_ref().unwrap();
    let status = forked(|| {
        step.is("latest");
        // SAFETY: as the child's own.
        drop(unsafe { std::ptr::read(&seen) });
        send(tx.send(2));
        room(tx.reserve().map(drop));
        recv(rx.get());
        recv(rx.get_ref().map(drop));
        recv(rx.recv());
        recv(rx.try_recv());
        recv(rx.recv_timeout(LONG));
        let _ = (tx.sent(), rx.missed(), rx.has_peer(), tx.counters());
        // SAFETY: as above.
        unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx))) };
    });
    tried(step, status);
    assert_eq!(*seen, 1);
    drop(seen);
    tx.send(2).unwrap();
    assert_eq!(rx.get().unwrap(), 2);

    let desk = || domain.channel("desk").service(4);
    let (client, server) = (desk().client::<u64, u64>().unwrap(), desk().server::<u64, u64>().unwrap());
    let (first, second) = (client.begin(1).unwrap(), client.begin(2).unwrap());
    let request = server.recv().unwrap();
    let status = forked(|| {
        step.is("calls under way");
        assert!(!first.is_ended() && !first.is_taken());
        // SAFETY: as the child's own.
        let (first, second, request) =
            unsafe { (std::ptr::read(&first), std::ptr::read(&second), std::ptr::read(&request)) };
        let forked = |why| assert!(matches!(why, CallFailure::Forked), "{why}");
        forked(first.wait().unwrap_err().why);
        forked(second.wait_timeout(LONG).unwrap_err().why);
        step.is("a request in hand");
        assert!(!request.is_wanted());
        send(request.reply(1));
        step.is("calls");
        forked(client.call(1).unwrap_err().why);
        forked(client.call_timeout(1, LONG).unwrap_err().why);
        forked(client.begin(1).map(drop).unwrap_err().why);
        recv(server.recv().map(drop));
        recv(server.try_recv().map(drop));
        recv(server.recv_timeout(LONG).map(drop));
        assert!(matches!(server.serve(|n| *n), RecvError::Forked));
        let _ = (client.counters(), server.channel_counters(), client.has_peer(), server.has_peer());
        step.is("a service: selected");
        let mut select = Select::new();
        if select.recv(&server).is_ok() {
            chosen(select.ready());
        }
        drop(select);
        // SAFETY: as above.
        unsafe { drop((std::ptr::read(&client), std::ptr::read(&server))) };
    });
    tried(step, status);
    assert_eq!(*request, 1);
    request.reply(10).unwrap();
    server.recv().unwrap().reply(20).unwrap();
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (10, 20));

    let typed = domain.channel("typed").buffered(2).receiver::<u64>().unwrap();
    let untyped = domain.channel("typed").dyn_sender().unwrap();
    let other = domain.channel("untyped").buffered(2).sender::<u64>().unwrap();
    let others = domain.channel("untyped").dyn_receiver().unwrap();
    other.send(5).unwrap();
    let status = forked(|| {
        step.is("ends typed at run time");
        let bytes = 1_u64.to_ne_bytes();
        dyn_send(untyped.send_bytes(&bytes));
        dyn_send(untyped.try_send_bytes(&bytes));
        dyn_send(untyped.send_bytes_timeout(&bytes, LONG));
        dyn_recv(others.recv_bytes());
        dyn_recv(others.try_recv_bytes());
        dyn_recv(others.recv_value());
        dyn_recv(others.recv_bytes_timeout(LONG));
        // SAFETY: as the child's own.
        unsafe { drop((std::ptr::read(&untyped), std::ptr::read(&others))) };
    });
    tried(step, status);
    untyped.send_bytes(&7_u64.to_ne_bytes()).unwrap();
    assert_eq!((typed.recv().unwrap(), others.recv_bytes().unwrap()), (7, 5_u64.to_ne_bytes().to_vec()));
}

#[test]
fn a_child_may_use_no_other_channel() {
    beside_a_member("the others");
}

/// Selects that exist already, and one that has chosen.
fn selects(domain: &Domain, step: &Step) {
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let (jobs, job) = domain.channel("").work_queue(2).unnamed::<u64>().unwrap();
    let (_meets, meet) = domain.channel("").rendezvous().unnamed::<u64>().unwrap();
    let (local, locals) = staffetta::bounded::<u64>(1);
    let mut select = Select::new();
    let (a, b) = (select.recv(&rx).unwrap(), select.recv(&job).unwrap());
    select.recv(&meet).unwrap();
    select.recv(&locals).unwrap();
    // It has slept: it stands on the rendezvous, and has a ready set.
    assert_eq!(select.ready_timeout(Duration::from_millis(20)).err(), Some(SelectError::TimedOut));
    let status = forked(|| {
        step.is("a select that has slept");
        chosen(select.ready());
        chosen(select.try_ready());
        chosen(select.select_timeout(LONG).map(drop));
        // SAFETY: dropped as the child's own.
        let mut select = unsafe { std::ptr::read(&select) };
        step.is("a select: removed from");
        assert!(select.remove(a));
        step.is("a select: dropped");
        drop(select);
    });
    tried(step, status);
    jobs.send(4).unwrap();
    let operation = select.select_timeout(LONG).unwrap();
    assert_eq!(operation.index(), b);
    let status = forked(|| {
        step.is("a select that has chosen");
        // SAFETY: as the child's own.
        let operation = unsafe { std::ptr::read(&operation) };
        recv(operation.recv(&job));
    });
    tried(step, status);
    let status = forked(|| {
        step.is("a select that has chosen: dropped");
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&operation) });
    });
    tried(step, status);
    assert_eq!(operation.recv(&job).unwrap(), 4);
    tx.send(5).unwrap();
    let operation = select.select_timeout(LONG).unwrap();
    assert_eq!((operation.index(), operation.recv(&rx).unwrap()), (a, 5));
    local.send(6).unwrap();
    assert_eq!(select.select_timeout(LONG).unwrap().recv(&locals).unwrap(), 6);
}

#[test]
fn a_child_may_use_no_select() {
    beside_a_member("selects");
}
