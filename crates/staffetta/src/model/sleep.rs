//! The sleep handshake: whoever sleeps is woken by whatever ends its wait.

use loom::thread;

use super::exhaustive::explore;
use super::machine::{Actor, Channel, RECEIVER, SENDER};
use crate::channel::call::{Patience, Stop};
use crate::channel::rendezvous::await_attach;
use crate::process::wait::Wait;

#[test]
fn loom_sleeper_sees_the_partner_come() {
    explore("a partner comes", || {
        let channel = Channel::unattached(0);
        channel.sides[SENDER].attach(1).unwrap();
        let other = channel.clone();
        let comes = thread::spawn(move || {
            other.sides[RECEIVER].attach(2).unwrap();
            // As `End::attach` does.
            other.wake(other.sides[SENDER].pcb_ref());
        });
        let sender = Actor::new(&channel, SENDER, Wait::Park);
        let (peer, me) = (&channel.sides[RECEIVER], &channel.sides[SENDER]);
        let ground = (&*channel, SENDER);
        let tally = &channel.tallies[SENDER];
        let end = await_attach(peer, me, &ground, &sender.memory, tally, None).unwrap();
        assert_eq!(end.slot(), 2);
        comes.join().unwrap();
    });
}

#[test]
fn loom_sleeper_sees_the_partner_leave() {
    explore("a partner leaves", || {
        let channel = Channel::new();
        let mut receiver = Actor::new(&channel, RECEIVER, Wait::Park);
        let other = channel.clone();
        let leaves = thread::spawn(move || other.leave(SENDER));
        assert!(matches!(receiver.receive(Patience::Until(None)), Err(Stop::Gone(_))));
        leaves.join().unwrap();
    });
}
