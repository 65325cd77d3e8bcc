//! A row within one process: its threads send and receive, and what each found is compared here.

use super::check::{verdict, Found, Message};
use super::plan::{Flavor, Promise, Row};
use super::side::{ready, receive_all, send_share};
use crate::failure::Fault;
use std::thread;

/// All ends of the row.
pub fn play(row: &Row) -> Result<Found, Fault> {
    let (tx, rx) = match row.flavor {
        Flavor::LocalRendezvous => staffetta::rendezvous::<Message>(),
        _ => staffetta::bounded::<Message>(row.degree as usize),
    };
    tx.set_wait(row.wait());
    rx.set_wait(row.wait());
    ready()?;
    let (sent, came) = thread::scope(|scope| {
        let receive = || {
            let rx = rx.clone();
            scope.spawn(move || receive_all(row, || rx.recv()))
        };
        let receivers: Vec<_> = (0..row.receivers).map(|_| receive()).collect();
        let send = |who| {
            let tx = tx.clone();
            scope.spawn(move || {
                send_share(row, who, |message| Ok(tx.send(message).map_err(|error| error.why)?))
            })
        };
        let senders: Vec<_> = (0..row.senders).map(send).collect();
        drop((tx, rx));
        let hear = |thread: thread::ScopedJoinHandle<'_, Found>| {
            let panicked = |_| Found { problem: Some("a thread panicked".into()), ..Found::of(row.senders) };
            thread.join().unwrap_or_else(panicked)
        };
        let sent: Vec<Found> = senders.into_iter().map(hear).collect();
        (sent, receivers.into_iter().map(hear).collect::<Vec<Found>>())
    });
    let problem = verdict(&sent, &came, Promise::ToOne).err();
    Ok(Found { problem, ..Found::of(row.senders) })
}
