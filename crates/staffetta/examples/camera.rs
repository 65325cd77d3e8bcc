//! A camera shows its frames to three consumers, in place: each frame is in memory once, whoever looks at it. One of the
//! consumers is slow: it misses frames, and knows how many; nobody waits for it.
//!
//! ```text
//! cargo run -p staffetta --example camera
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{Domain, Message};

staffetta::launched!();

#[derive(Message, Clone, Copy)]
struct Frame {
    time_ms: u64,
    pixels: [[u8; WIDTH]; HEIGHT],
}

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const FRAMES: u64 = 40;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(who) => consumer(&Domain::inherited()?, &who.name),
        None => camera(),
    }
}

fn camera() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    // The camera may be four frames ahead of whoever is waited for.
    let tx = domain.channel("frames").broadcast(4).receivers(3).sender::<Frame>()?;
    let mut consumers = Vec::new();
    for name in ["display", "recorder", "detector"] {
        consumers.push(domain.launcher(std::env::current_exe()?).name(name).spawn()?);
    }
    // Who comes later gets what is sent from then on.
    while tx.receivers() < consumers.len() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for number in 0..FRAMES {
        // An older frame, or zeroes; all of it is drawn again.
        let mut frame = tx.reserve()?.reused();
        frame.time_ms = 2 * number;
        for (y, line) in frame.pixels.iter_mut().enumerate() {
            line.fill((y as u64 + number) as u8);
        }
        frame.send()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = tx.counters();
    println!("camera: {} frames sent, {} bytes copied", sent.messages, sent.bytes_copied);
    drop(tx); // the consumers are told when they have had them all
    for mut consumer in consumers {
        let status = consumer.wait()?;
        if !status.success() {
            return Err(format!("a consumer ended with {status}").into());
        }
    }
    Ok(())
}

fn consumer(domain: &Domain, name: &str) -> Result<(), Box<dyn Error>> {
    let is_slow = name == "detector";
    let frames = domain.channel("frames").listen();
    // The camera waits for the display and the recorder, but not for the detector.
    let rx = if is_slow { frames.observer() } else { frames }.receiver::<Frame>()?;
    let mut next = 0;
    while let Ok(frame) = rx.recv_ref() {
        // The frame is where the camera drew it, and stays until it is dropped, however far the camera is.
        let gap = frame.seq() - next;
        assert!(is_slow || gap == 0);
        next = frame.seq() + 1;
        if is_slow {
            std::thread::sleep(Duration::from_millis(15));
        }
        assert_eq!(frame.pixels[0][0], frame.seq() as u8);
    }
    let received = rx.counters();
    println!(
        "{name}: {} frames seen, {} missed, {} bytes copied",
        received.messages,
        rx.missed(),
        received.bytes_copied
    );
    Ok(())
}
