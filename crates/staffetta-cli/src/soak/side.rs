//! One process of a row: it attaches its end, says so, waits for the word to begin, plays its part, and tells what it
//! found. Here are the parts of channels whose messages go to one receiver; `to_all`, `reply` and `local` have the others.
//!
//! Its orders come as an argument, the word to begin on the standard input; what it says goes to the standard output, a
//! line each: `ready`, and then what it found, as JSON.

use super::check::{message, Found, Message};
use super::plan::{Carry, Promise, Row};
use super::{local, reply, to_all};
use crate::failure::{Failure, Fault};
use clap::Args;
use serde::{Deserialize, Serialize};
use staffetta::{Domain, Parcel, Receiver, RecvError, Sender};
use std::io::{BufRead, Write};

/// What a process is to do.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub row: Row,
    /// The domain's name.
    pub domain: String,
    pub is_sender: bool,
    /// Which of the senders.
    pub who: u64,
}

/// The hidden command's arguments.
#[derive(Debug, Args)]
pub struct SoakSideArgs {
    order: String,
    #[arg(long)]
    parent: u32,
}

/// Runs the process.
pub fn run(args: SoakSideArgs) -> Result<(), Failure> {
    crate::two::side::die_with(args.parent)?;
    crate::machine::raise_descriptor_limit();
    let found = serde_json::from_str(&args.order).map_err(Fault::from).and_then(|order| play(&order));
    let found = found.unwrap_or_else(|fault| Found { problem: Some(fault.to_string()), ..Found::default() });
    // Whoever cannot be told has gone, and has ended us.
    let _ = serde_json::to_string(&found).map(|text| say(&text));
    Ok(())
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Says that the end is attached, and waits for the word.
pub fn ready() -> Result<(), Fault> {
    say("ready")?;
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word)?;
    Ok(())
}

fn play(order: &Order) -> Result<Found, Fault> {
    let Order { row, is_sender, who, .. } = order;
    if row.flavor.promise() == Promise::Local {
        return local::play(row);
    }
    let domain = Domain::join(&order.domain)?;
    match (row.flavor.promise(), is_sender) {
        (Promise::ToAll, true) => return to_all::send(row, &domain),
        (Promise::ToAll, false) => return to_all::receive(row, &domain),
        (Promise::Answered, true) => return reply::call(row, &domain, *who),
        (Promise::Answered, false) => return reply::serve(row, &domain),
        _ => {}
    }
    let channel = row.channel(&domain);
    match (is_sender, row.carry) {
        (true, Carry::Parcels) => {
            let parcels = domain.parcels(row.method());
            send(row, *who, channel.sender::<Parcel<Message>>()?, |tx, message| {
                Ok(tx.send(parcels.new(message)?).map_err(|error| error.why)?)
            })
        }
        (true, Carry::Values) => send(row, *who, channel.sender::<Message>()?, |tx, message| {
            Ok(tx.send(message).map_err(|error| error.why)?)
        }),
        (true, Carry::InPlace) => send(row, *who, channel.sender::<Message>()?, |tx, message| {
            let mut slot = tx.reserve()?.zeroed();
            *slot = message;
            Ok(slot.send()?)
        }),
        (false, Carry::Parcels) => receive(row, channel.receiver::<Parcel<Message>>()?, |rx| Ok(*rx.recv()?)),
        (false, Carry::Values) => receive(row, channel.receiver::<Message>()?, |rx| rx.recv()),
        (false, Carry::InPlace) => receive(row, channel.receiver::<Message>()?, |rx| Ok(*rx.recv_ref()?)),
    }
}

fn send<T: staffetta::Payload>(
    row: &Row,
    who: u64,
    tx: Sender<T>,
    one: impl Fn(&Sender<T>, Message) -> Result<(), Fault>,
) -> Result<Found, Fault> {
    // Whoever had its seat before has dropped as well.
    let before = tx.counters().dropped;
    ready()?;
    let mut found = send_share(row, who, |message| one(&tx, message));
    found.dropped = tx.counters().dropped - before;
    Ok(found)
}

/// What a sender sends.
pub fn send_share(row: &Row, who: u64, mut one: impl FnMut(Message) -> Result<(), Fault>) -> Found {
    let mut found = Found::of(row.senders);
    for n in 0..row.share(who) {
        let message = message(who, n);
        if let Err(fault) = one(message) {
            found.note(format!("sender {who} could not send message {n}: {fault}"));
            break;
        }
        found.heaps[who as usize].add(message);
    }
    found
}

fn receive<T: staffetta::Payload>(
    row: &Row,
    rx: Receiver<T>,
    one: impl Fn(&Receiver<T>) -> Result<Message, RecvError>,
) -> Result<Found, Fault> {
    ready()?;
    Ok(receive_all(row, || one(&rx)))
}

/// What a receiver receives until the last sender has left.
pub fn receive_all(row: &Row, mut one: impl FnMut() -> Result<Message, RecvError>) -> Found {
    let mut found = Found::of(row.senders);
    loop {
        match one() {
            Ok(message) => found.take(message),
            Err(RecvError::Disconnected) => return found,
            Err(error) => {
                found.note(format!("a receiver could not receive: {error}"));
                return found;
            }
        }
    }
}
