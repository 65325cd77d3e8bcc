//! The processes of a row in which each message goes to all receivers: a broadcast, or a channel of the latest value.
//!
//! Whoever may miss messages is told how many by the channel, and compares that with the gaps in the numbers. One that is
//! disconnected for being slow comes again, asks for the last message, and counts the gap itself.

use super::check::{number, Found, Message};
use super::plan::{Carry, Flavor, Row};
use super::side::{ready, send_share};
use crate::failure::Fault;
use staffetta::{BroadcastReceiver, BroadcastSender, Domain, LatestReceiver, LatestSender};
use staffetta::{Late, RecvError, SharedSlot};
use std::mem::MaybeUninit;

/// After so many messages the sender of a broadcast that disconnects waits for those who come again: else they would see
/// next to nothing.
const GATHERS_AFTER: u64 = 64;

/// The sender.
pub fn send(row: &Row, domain: &Domain) -> Result<Found, Fault> {
    fn build(slot: SharedSlot<'_, MaybeUninit<Message>>, message: Message) -> Result<(), Fault> {
        let mut slot = slot.zeroed();
        *slot = message;
        Ok(slot.send()?)
    }
    if row.flavor == Flavor::Latest {
        let tx: LatestSender<Message> = row.latest(domain).sender()?;
        ready()?;
        return Ok(send_share(row, 0, |message| match row.carry {
            Carry::InPlace => build(tx.reserve()?, message),
            _ => Ok(tx.send(message).map_err(|error| error.why)?),
        }));
    }
    let tx: BroadcastSender<Message> = row.broadcast(domain).sender()?;
    ready()?;
    let gathers = row.flavor == Flavor::BroadcastDisconnect;
    Ok(send_share(row, 0, |message| {
        if gathers && number(message).is_multiple_of(GATHERS_AFTER) {
            while (tx.receivers() as u64) < row.receivers {
                std::thread::yield_now();
            }
        }
        match row.carry {
            Carry::InPlace => build(tx.reserve()?, message),
            _ => Ok(tx.send(message).map_err(|error| error.why)?),
        }
    }))
}

/// A receiver.
pub fn receive(row: &Row, domain: &Domain) -> Result<Found, Fault> {
    match row.flavor {
        Flavor::Latest => receive_latest(row, row.latest(domain).receiver()?),
        Flavor::BroadcastDisconnect => receive_again_and_again(row, domain),
        _ => receive_broadcast(row, row.broadcast(domain).receiver()?),
    }
}

fn receive_broadcast(row: &Row, rx: BroadcastReceiver<Message>) -> Result<Found, Fault> {
    ready()?;
    Ok(until_told(row, || one(row, &rx).map(|message| (message, rx.missed()))))
}

fn receive_latest(row: &Row, rx: LatestReceiver<Message>) -> Result<Found, Fault> {
    // What an earlier round left.
    while rx.try_recv().is_ok() {}
    let before = rx.missed();
    ready()?;
    Ok(until_told(row, || {
        let message = match row.carry {
            Carry::InPlace => *rx.recv_ref()?,
            _ => rx.recv()?,
        };
        Ok((message, rx.missed() - before))
    }))
}

/// Receives messages, with how many were missed so far, until the sender has left.
fn until_told(row: &Row, mut one: impl FnMut() -> Result<(Message, u64), RecvError>) -> Found {
    let mut found = Found::of(row.senders);
    loop {
        match one() {
            Ok((message, missed)) => found.take_after_missing(message, missed),
            Err(RecvError::Disconnected) => return found,
            Err(error) => {
                found.note(format!("a receiver could not receive: {error}"));
                return found;
            }
        }
    }
}

#[inline]
fn one(row: &Row, rx: &BroadcastReceiver<Message>) -> Result<Message, RecvError> {
    match row.carry {
        Carry::InPlace => Ok(*rx.recv_ref()?),
        _ => rx.recv(),
    }
}

/// Until the last message, which whoever comes too late to see the sender finds all the same.
fn receive_again_and_again(row: &Row, domain: &Domain) -> Result<Found, Fault> {
    let mut rx = row.broadcast(domain).receiver()?;
    ready()?;
    let mut found = Found::of(row.senders);
    let mut was_slow = false;
    while found.heaps[0].next < row.messages && found.problem.is_none() {
        match one(row, &rx) {
            Ok(message) => {
                let next = found.heaps[0].next;
                let gap = match was_slow {
                    true => number(message).saturating_sub(next),
                    false => 0,
                };
                if was_slow && gap == 0 {
                    found.note(format!("a receiver was disconnected before message {next}, and missed none"));
                }
                was_slow = false;
                found.take_after_missing(message, found.missed + gap);
            }
            Err(RecvError::TooSlow { .. }) => {
                drop(rx);
                rx = row.broadcast(domain).late(Late::Last).receiver()?;
                was_slow = true;
            }
            Err(error) => found.note(format!("a receiver could not receive: {error}")),
        }
    }
    Ok(found)
}
