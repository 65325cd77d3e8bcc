//! A worker is killed in the middle of its work. Whoever sends it jobs waits; the worker is started again, claims in one step what the
//! dead one left, and gets the job that it had in hand again, flagged, before newer ones.
//!
//! ```text
//! cargo run -p staffetta --example successor
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{Continuation, Domain, Parcel, SendFailure};

staffetta::launched!();

const JOBS: u64 = 6;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(worker) => work(&Domain::inherited()?, worker.index),
        None => hand_out(),
    }
}

fn hand_out() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    // Said when the channel is made, by whoever comes first; both ends agree on it.
    let go_on = Continuation::WaitForSuccessor;
    let jobs = domain.channel("jobs").buffered(2).continuation(go_on).sender::<Parcel<u64>>()?;
    let answers = domain.channel("answers").buffered(16).continuation(go_on).receiver::<u64>()?;
    let program = std::env::current_exe()?;
    let start = |life| domain.launcher(&program).name("worker").index(life).spawn();

    let mut first = start(0)?;
    for n in 0..JOBS {
        let mut job = Parcel::new(&domain, n)?;
        // A channel that waits for a successor says `PeerAbsent`, and the job comes back; it is no error to wait longer.
        while let Err(error) = jobs.send_timeout(job, Duration::from_millis(50)) {
            assert!(matches!(error.why, SendFailure::PeerAbsent | SendFailure::TimedOut));
            job = error.message;
            if first.try_wait()?.is_some() {
                println!("the worker is dead: start it again");
                first = start(1)?;
            }
        }
    }
    let mut squares = (0..JOBS).map(|_| answers.recv()).collect::<Result<Vec<_>, _>>()?;
    squares.sort_unstable();
    println!("answers: {squares:?}");
    assert!(
        squares.into_iter().eq((0..JOBS).map(|n| n * n)),
        "each once: none was lost with the first worker"
    );
    drop(jobs); // the second worker is told, and leaves
    assert!(first.wait()?.success());
    Ok(())
}

fn work(domain: &Domain, life: u32) -> Result<(), Box<dyn Error>> {
    // If another one of this name died, its ends are ours from here on, and nobody else's.
    let succession = domain.successor_of("worker")?;
    for left in succession.iter().flat_map(|succession| succession.ends()) {
        println!("worker {life} takes over the {} of {:?}", left.side, left.channel);
    }
    let jobs = domain.receiver::<Parcel<u64>>("jobs")?;
    let answers = domain.sender::<u64>("answers")?;
    drop(succession); // both ends are attached
    while let Ok(job) = jobs.recv() {
        let again = if job.redelivered() { ", again: it died with the one before" } else { "" };
        println!("worker {life}: job {}{again}", *job);
        if life == 0 && *job == 2 {
            std::process::abort(); // before it has answered
        }
        answers.send(*job * *job)?;
        drop(job); // it is done
    }
    Ok(())
}
