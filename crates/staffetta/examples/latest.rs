//! A sensor measures all the time; a controller wants to know what is so now, whenever it looks. The sensor never waits, and
//! the controller always gets the newest reading, whole, in place.
//!
//! ```text
//! cargo run -p staffetta --example latest
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{Domain, Message};

staffetta::launched!();

#[derive(Message, Clone, Copy)]
struct Reading {
    number: u64,
    /// All of one moment: never one of them new and another old.
    axes: [f64; 3],
}

const READINGS: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(_) => sensor(&Domain::inherited()?),
        None => controller(),
    }
}

fn sensor(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let tx = domain.channel("position").latest().sender::<Reading>()?;
    for number in 0..READINGS {
        tx.send(Reading { number, axes: [number as f64; 3] })?;
    }
    Ok(())
}

fn controller() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let rx = domain.channel("position").latest().receiver::<Reading>()?;
    let mut sensor = domain.launcher(std::env::current_exe()?).name("sensor").spawn()?;
    let mut cycles = 0;
    // Waits until there is a reading that it has not seen. The last one stays when the sensor has gone.
    while let Ok(reading) = rx.recv_ref() {
        // However often the sensor measures meanwhile, this reading does not change.
        std::thread::sleep(Duration::from_micros(500));
        assert!(reading.axes.iter().all(|axis| *axis == reading.number as f64));
        cycles += 1;
        if reading.seq() == READINGS - 1 {
            break;
        }
    }
    let last = rx.get()?;
    println!("the last of {} readings is {:?}", last.number + 1, last.axes);
    println!("{cycles} + {} = {READINGS}: seen, and overwritten before", rx.missed());
    assert_eq!(cycles + rx.missed(), READINGS);
    let status = sensor.wait()?;
    if !status.success() {
        return Err(format!("the sensor ended with {status}").into());
    }
    Ok(())
}
