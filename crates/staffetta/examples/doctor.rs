//! Two processes wait for each other: each wants to hear first. The doctor, which is a third one, names them and what they wait
//! for; then one of them is killed, and the other is told that its partner died.
//!
//! ```text
//! cargo run -p staffetta --example doctor
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{inspect, Domain};

staffetta::launched!();

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(who) if who.name == "left" => speak(&Domain::inherited()?, "answers", "questions"),
        Some(_) => speak(&Domain::inherited()?, "questions", "answers"),
        None => watch(),
    }
}

/// A sentence for a sentence, and each begins by listening.
fn speak(domain: &Domain, hear: &str, say: &str) -> Result<(), Box<dyn Error>> {
    let tx = domain.sender::<u64>(say)?;
    let rx = domain.receiver::<u64>(hear)?;
    match rx.recv() {
        Ok(sentence) => tx.send(sentence)?,
        Err(why) => println!("who waited for {hear} is told: {why}"),
    }
    Ok(())
}

fn watch() -> Result<(), Box<dyn Error>> {
    let name = format!("doctor-{}", std::process::id());
    let domain = Domain::open(&name)?;
    let program = std::env::current_exe()?;
    let mut left = domain.launcher(&program).name("left").spawn()?;
    let mut right = domain.launcher(&program).name("right").spawn()?;

    // They need a moment to come to where they wait.
    let diagnosis = loop {
        let diagnosis = inspect::doctor(&name)?;
        if !diagnosis.deadlocks.is_empty() {
            break diagnosis;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    println!("{diagnosis}\n");
    for wait in diagnosis.deadlocks[0].waits.iter().map(|wait| &diagnosis.waits[*wait]) {
        let who = if diagnosis.process(wait.process).map(|it| it.pid) == Some(left.id()) {
            "left"
        } else {
            "right"
        };
        println!("{who} would wait for {} for ever", wait.arms[0].name);
    }

    left.kill()?;
    left.wait()?;
    if !right.wait()?.success() {
        return Err("the other one did not end well".into());
    }
    println!("and now the domain is well: {}", inspect::doctor(&name)?.is_healthy());
    Ok(())
}
