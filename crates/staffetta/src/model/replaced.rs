//! A partner dies and a successor takes its end while somebody waits: who waited is told of the death once, whenever it runs, and gets, or
//! gives, the successor's message once.

use std::fmt::Debug;
use std::sync::Arc;

use loom::thread;

use super::exhaustive::{explore, Loom};
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use super::world::queue::{End, Many};
use crate::channel::call::{Patience, Stop};
use crate::channel::side::DIED;
use crate::process::wait::Wait;

const FOREVER: Patience = Patience::Until(None);

/// One call, and another one after whichever came first, the death or the message. A try that is in vain before the death was told
/// would be a fault.
fn told_once<T: Debug>(mut call: impl FnMut(Patience) -> Result<T, Stop>) -> T {
    let is_death = |stop: &Stop| matches!(stop, Stop::Gone(end) if end.state() == DIED);
    match call(FOREVER) {
        Ok(message) => {
            let told = call(Patience::Try);
            assert!(told.as_ref().is_err_and(is_death), "after the message: {told:?}");
            message
        }
        Err(stop) => {
            assert!(is_death(&stop), "{stop:?}");
            call(FOREVER).expect("the successor's")
        }
    }
}

/// Sweeps the partner of `survivor`, and succeeds it.
fn succeeded(channel: &Arc<Channel>, who: usize) -> Actor {
    channel.sweep(who, channel.sides[who].end());
    channel.sides[who].attach(2).unwrap();
    channel.wake(channel.sides[1 - who].pcb_ref());
    Actor::new(channel, who, Wait::Park)
}

#[test]
fn loom_sender_is_replaced() {
    explore("a sender dies and is replaced", || {
        let channel = Channel::new();
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let heir = thread::spawn(move || succeeded(&channel, SENDER).send(7, FOREVER).unwrap());
        assert_eq!(told_once(|patience| receiver.receive(patience)), 7);
        heir.join().unwrap();
        assert!(matches!(receiver.receive(Patience::Try), Err(Stop::WouldBlock)));
    });
}

#[test]
fn loom_receiver_is_replaced() {
    explore("a receiver dies and is replaced", || {
        let channel = Channel::new();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let heir = thread::spawn(move || assert_eq!(succeeded(&channel, RECEIVER).receive(FOREVER), Ok(7)));
        told_once(|patience| sender.send(7, patience));
        heir.join().unwrap();
        assert!(matches!(sender.send(8, Patience::Try), Err(Stop::WouldBlock)));
    });
}

#[test]
fn loom_copying_receiver_is_replaced() {
    explore("a receiver dies while it copies a variable, and is replaced", || {
        let channel = Channel::new();
        let held = channel.sides[RECEIVER].end();
        let mut sender = Actor::new(&channel, SENDER, Wait::Park);
        let heir = thread::spawn(move || {
            let now = channel.line.word();
            if now.state() == crate::channel::line::OFFER {
                let _ = channel.line.begin(now, held.sequence());
            }
            assert_eq!(succeeded(&channel, RECEIVER).receive_variable(5, FOREVER), Ok(7));
        });
        told_once(|patience| sender.send_variable(7, 4, patience));
        heir.join().unwrap();
    });
}

#[test]
fn loom_ring_sender_is_replaced() {
    explore("basic channel, the sender dies and is replaced", || {
        let channel = Channel::with_degree(1);
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let heir = thread::spawn(move || succeeded(&channel, SENDER).put(7, FOREVER).unwrap());
        assert_eq!(told_once(|patience| receiver.get(patience)), 7);
        heir.join().unwrap();
    });
}

#[test]
fn loom_queue_sender_is_replaced() {
    explore("queue, the only sender dies and is replaced", || {
        let many = Many::<Loom>::new(1, None, 1, 1);
        let receiver = End::new(&many, false, 0);
        let heir = thread::spawn(move || {
            many.detach(true, 0, many.held(true, 0), DIED);
            many.senders.note_fall();
            many.senders.attach(2, 1).unwrap();
            End::new(&many, true, 0).send(7, FOREVER).unwrap();
        });
        assert_eq!(told_once(|patience| receiver.recv(patience)), 7);
        heir.join().unwrap();
    });
}
