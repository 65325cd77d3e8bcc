//! A work queue over four processes: each job goes to the worker that is free, who works on it where it is. One worker is
//! killed in the middle of a job: another gets that job. Nothing is lost, nothing is done twice.
//!
//! ```text
//! cargo run -p staffetta --example work_queue
//! ```

use std::error::Error;

use staffetta::{Domain, Message, RecvError};

staffetta::launched!();

/// A number, and whether it is a prime one.
#[derive(Message, Clone, Copy)]
struct Job {
    number: u64,
    divisor: u64,
}

const JOBS: u64 = 2_000;
const WORKERS: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(worker) => work(&Domain::inherited()?, worker.index),
        None => hand_out(),
    }
}

fn hand_out() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    // Eight jobs may wait; then the one who hands them out does.
    let jobs = domain.channel("jobs").work_queue(8).sender::<Job>()?;
    // Each worker may be eight answers ahead, whatever the others do.
    let answers = domain.channel("answers").many_to_one(8).receiver::<Job>()?;
    let ready = domain.channel("ready").many_to_one(1).receiver::<u32>()?;
    let program = std::env::current_exe()?;
    let worker = |index| domain.launcher(&program).name("worker").index(index).spawn();
    // The first one takes the first job, and keeps it; when all others have come it is killed.
    let mut doomed = worker(0)?;
    jobs.send(Job { number: 1, divisor: 0 })?;
    ready.recv()?;
    let workers = (1..WORKERS).map(worker).collect::<Result<Vec<_>, _>>()?;
    for _ in &workers {
        ready.recv()?;
    }
    doomed.kill()?;
    let collector = std::thread::spawn(move || -> Result<Vec<Job>, RecvError> {
        (0..JOBS).map(|_| answers.recv()).collect()
    });
    for number in 2..=JOBS {
        let mut job = jobs.reserve()?.zeroed(); // built where it will be worked on
        job.number = number;
        job.send()?;
    }
    let mut answers = collector.join().expect("the collector")?;
    answers.sort_by_key(|job| job.number);
    assert!(answers.iter().map(|job| job.number).eq(1..=JOBS), "each once");
    let primes = answers.iter().filter(|job| job.number > 1 && job.divisor == job.number).count();
    println!("{JOBS} jobs by {WORKERS} workers, one of which was killed: {primes} primes");
    drop(jobs); // the workers are told when no job is left
    for mut worker in workers {
        assert!(worker.wait()?.success());
    }
    assert!(!doomed.wait()?.success());
    Ok(())
}

fn work(domain: &Domain, index: u32) -> Result<(), Box<dyn Error>> {
    let jobs = domain.receiver::<Job>("jobs")?;
    let answers = domain.sender::<Job>("answers")?;
    let ready = domain.sender::<u32>("ready")?;
    if index == 0 {
        let job = jobs.recv_ref()?;
        ready.send(index)?;
        loop {
            std::thread::park(); // with the job in hand, until it is killed
            std::hint::black_box(&job);
        }
    }
    ready.send(index)?;
    while let Ok(job) = jobs.recv_ref() {
        let divisor = (2..=job.number).find(|divisor| job.number % divisor == 0);
        answers.send(Job { divisor: divisor.unwrap_or(1), ..*job })?;
    }
    Ok(())
}
