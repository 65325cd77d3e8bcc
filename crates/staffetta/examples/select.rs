//! A worker that waits for several things at once, in the order of their priorities: a stop, urgent jobs, ordinary jobs, and
//! somebody who wants to be told how far it is.
//!
//! ```text
//! cargo run -p staffetta --example select
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{after, select, select_biased, Domain, RecvError};

staffetta::launched!();

const JOBS: u64 = 6;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(_) => worker(&Domain::inherited()?),
        None => boss(),
    }
}

fn boss() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let urgent = domain.channel("urgent").buffered(8).sender::<u64>()?;
    let ordinary = domain.channel("ordinary").buffered(8).sender::<u64>()?;
    let stop = domain.channel("stop").rendezvous().sender::<()>()?;
    let done = domain.channel("done").rendezvous().receiver::<u64>()?;
    // All is there before the worker comes, so it has a choice.
    for job in [1, 2, 3, 4] {
        ordinary.send(job)?;
    }
    for job in [100, 101] {
        urgent.send(job)?;
    }
    let mut child = domain.launcher(std::env::current_exe()?).name("worker").spawn()?;
    select! {
        recv(done) -> jobs => println!("boss: {} jobs are done", jobs?),
        recv(after(Duration::from_secs(30))) -> _ => return Err("the worker takes too long".into()),
    }
    stop.send(())?;
    let status = child.wait()?;
    println!("boss: the worker has ended");
    if !status.success() {
        return Err(format!("the worker ended with {status}").into());
    }
    Ok(())
}

fn worker(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let urgent = domain.channel("urgent").buffered(8).receiver::<u64>()?;
    let ordinary = domain.channel("ordinary").buffered(8).receiver::<u64>()?;
    let stop = domain.channel("stop").rendezvous().receiver::<()>()?;
    let done = domain.channel("done").rendezvous().sender::<u64>()?;
    let mut jobs: Vec<u64> = Vec::new();
    let mut told = false;
    loop {
        let so_far = jobs.len() as u64;
        select_biased! {
            recv(stop) -> message => {
                match message {
                    Ok(()) => println!("worker: stopped, with nothing left to do"),
                    Err(RecvError::PeerDied) => println!("worker: there is nobody to work for"),
                    Err(error) => return Err(error.into()),
                }
                break;
            }
            recv(urgent) -> job => {
                let job = job?;
                println!("worker: urgent job {job}");
                jobs.push(job);
            }
            recv(ordinary) -> job => jobs.push(job?),
            // A send takes part like a receive; its guard says when.
            send(done, so_far) -> sent if so_far == JOBS && !told => {
                sent.map_err(|error| error.why)?;
                told = true;
                let list: Vec<String> = jobs.iter().map(u64::to_string).collect();
                println!("worker: {so_far} jobs: {}", list.join(" "));
            }
        }
    }
    Ok(())
}
