//! A station that does three things at once in one thread: it listens to a sensor (a broadcast from another process), answers
//! questions (a service for other processes), and is stopped by a thread of its own (a channel within the process).
//!
//! ```text
//! cargo run -p staffetta --example station
//! ```

use std::error::Error;

use staffetta::{rendezvous, select_biased, Domain, RecvError};

staffetta::launched!();

const READINGS: u32 = 50;
const QUESTIONS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(process) if process.index == 0 => sensor(&Domain::inherited()?),
        Some(_) => asker(&Domain::inherited()?),
        None => station(),
    }
}

fn station() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let readings = domain.channel("readings").broadcast(4).receiver::<f64>()?;
    let questions = domain.channel("mean").service(1).server::<u32, f64>()?;
    let program = std::env::current_exe()?;
    let sensor = domain.launcher(&program).index(0).spawn()?;
    let asker = domain.launcher(&program).index(1).spawn()?;
    // Somebody else decides when it is over. No domain is needed to tell this thread.
    let (stop, stopped) = rendezvous::<Result<(), String>>();
    let watches = std::thread::spawn(move || {
        let all_well =
            [sensor, asker].iter_mut().all(|child| child.wait().is_ok_and(|status| status.success()));
        let end = if all_well { Ok(()) } else { Err("a child failed".to_owned()) };
        stop.send(end).is_ok()
    });
    let (mut sum, mut count, mut answers) = (0.0, 0_u32, 0_u32);
    loop {
        // One sleep for all three. What is said first comes first: nothing is left unheard when the stop is heard.
        select_biased! {
            recv(readings) -> reading => match reading {
                Ok(reading) => {
                    sum += reading;
                    count += 1;
                }
                Err(RecvError::Disconnected) => println!("station: the sensor has left"),
                Err(why) => return Err(why.into()),
            },
            recv(questions) -> request => match request {
                Ok(request) => {
                    let so_far = count.min(*request).max(1);
                    // A client that has given up is no error of ours.
                    answers += u32::from(request.reply(sum / f64::from(so_far)).is_ok());
                }
                Err(RecvError::Disconnected) => println!("station: nobody asks any more"),
                Err(why) => return Err(why.into()),
            },
            recv(stopped) -> end => {
                end??;
                break;
            }
        }
    }
    println!("station: {count} readings, mean {}, {answers} questions answered", sum / f64::from(count));
    assert!(watches.join().is_ok_and(|told| told));
    Ok(())
}

fn sensor(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let readings = domain.channel("readings").broadcast(4).sender::<f64>()?;
    for n in 0..READINGS {
        readings.send(f64::from(n))?; // waits for the station when that is slower
    }
    Ok(())
}

fn asker(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let mean = domain.channel("mean").service(1).client::<u32, f64>()?;
    for _ in 0..QUESTIONS {
        let answer = mean.call(READINGS)?;
        assert!((0.0..f64::from(READINGS)).contains(&answer));
    }
    println!("asker: {QUESTIONS} answers");
    Ok(())
}
