//! A program that starts itself three times as workers, in a domain without a name, and hands each its channel ends.
//!
//! ```text
//! cargo run -p staffetta --example launcher
//! ```

use std::error::Error;

use staffetta::{launch, Domain};

// The workers map the domain before `main`; it costs the program that starts them a look at its environment.
staffetta::launched!();

const WORKERS: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    match launch::identity() {
        Some(who) => worker(&who),
        None => launcher(),
    }
}

fn launcher() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let program = std::env::current_exe()?;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        let (work, results) = (format!("work {index}"), format!("results {index}"));
        let tx = domain.sender::<[u64; 2]>(&work)?;
        let rx = domain.receiver::<u64>(&results)?;
        let child = domain
            .launcher(&program)
            .name("adder")
            .index(index)
            .end("in", work)
            .end("out", results)
            .spawn()?;
        workers.push((child, tx, rx));
    }
    for (index, (_, tx, _)) in (0_u64..).zip(&workers) {
        tx.send([index * 1000, (index + 1) * 1000])?;
    }
    let mut sum = 0;
    for (mut child, tx, rx) in workers {
        sum += rx.recv()?;
        drop(tx); // no more work: the worker's loop ends
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("worker {} ended with {status}", child.id()).into());
        }
    }
    println!("the sum of all numbers below {} is {sum}", WORKERS * 1000);
    Ok(())
}

fn worker(who: &launch::Identity) -> Result<(), Box<dyn Error>> {
    let domain = Domain::inherited()?;
    let end = |name| launch::end(name).ok_or(format!("no channel end {name:?} was handed over"));
    let rx = domain.receiver::<[u64; 2]>(&end("in")?)?;
    let tx = domain.sender::<u64>(&end("out")?)?;
    for [from, to] in rx {
        println!("{} {} adds {from} to {}", who.name, who.index, to - 1);
        tx.send((from..to).sum())?;
    }
    Ok(())
}
