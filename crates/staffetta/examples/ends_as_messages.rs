//! Ends of channels as messages. A reception desk hands each visitor a private channel to one of its workers: two ends without a
//! name, one sent to the visitor, one to the worker, each a process of its own. The desk is in nobody's way after that.
//!
//! ```text
//! cargo run -p staffetta --example ends_as_messages
//! ```

use std::error::Error;

use staffetta::{Domain, Enclosed, Message, Parcel, Receiver, RecvError, Sender};

staffetta::launched!();

/// A visitor asks for somebody to talk to; the channel for the answer lies in the message.
#[derive(Message)]
struct Visit {
    visitor: u32,
    admitted: Enclosed<Sender<Sender<u64>>>,
}

const WORKERS: u32 = 2;
const VISITORS: u32 = 6;
const NUMBERS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(process) if process.index < WORKERS => work(&Domain::inherited()?, process.index),
        Some(process) => visit(&Domain::inherited()?, process.index - WORKERS),
        None => receive_visitors(),
    }
}

fn receive_visitors() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let desk = domain.channel("desk").bounded(4).receiver::<Parcel<Visit>>()?;
    let workers: Vec<Sender<Receiver<u64>>> = (0..WORKERS)
        .map(|worker| domain.channel(&format!("worker {worker}")).buffered(8).sender())
        .collect::<Result<_, _>>()?;
    let program = std::env::current_exe()?;
    let processes: Vec<_> = (0..WORKERS + VISITORS)
        .map(|index| domain.launcher(&program).index(index).spawn())
        .collect::<Result<_, _>>()?;

    for _ in 0..VISITORS {
        let mut visit = desk.recv()?;
        let admitted = visit.admitted;
        let admitted = visit.take_out(admitted)?;
        let (talks, listens) = domain.channel("").buffered(16).unnamed::<u64>()?;
        workers[(visit.visitor % WORKERS) as usize].send(listens)?;
        admitted.send(talks)?;
    }
    drop(workers);
    for mut process in processes {
        assert!(process.wait()?.success());
    }
    Ok(())
}

fn visit(domain: &Domain, visitor: u32) -> Result<(), Box<dyn Error>> {
    let desk = domain.channel("desk").bounded(4).sender::<Parcel<Visit>>()?;
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<Sender<u64>>()?;
    let mut visit = Parcel::new(domain, Visit { visitor, admitted: Enclosed::default() })?;
    visit.admitted = visit.enclose(tx)?;
    desk.send(visit)?;
    let talks = rx.recv()?;
    for n in 1..=NUMBERS {
        talks.send(n)?;
    }
    println!("visitor {visitor} has said {NUMBERS} numbers");
    Ok(())
}

fn work(domain: &Domain, worker: u32) -> Result<(), Box<dyn Error>> {
    let visitors = domain.channel(&format!("worker {worker}")).buffered(8).receiver::<Receiver<u64>>()?;
    for listens in visitors {
        let mut sum = 0;
        loop {
            match listens.recv() {
                Ok(n) => sum += n,
                Err(RecvError::Disconnected) => break,
                Err(error) => return Err(error.into()),
            }
        }
        assert_eq!(sum, NUMBERS * (NUMBERS + 1) / 2);
        println!("worker {worker} has heard {NUMBERS} numbers");
    }
    Ok(())
}
