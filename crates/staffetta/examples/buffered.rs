//! A camera draws its frames in the slots of a buffered channel; another process works on them there. Nothing is copied.
//!
//! ```text
//! cargo run -p staffetta --example buffered
//! ```

use std::error::Error;

use staffetta::{Domain, Message};

staffetta::launched!();

/// What is sent. It has one size, so a channel can have slots for it.
#[derive(Message, Clone, Copy)]
struct Frame {
    time_ms: u64,
    pixels: [[u8; WIDTH]; HEIGHT],
}

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const FRAMES: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(_) => consumer(&Domain::inherited()?),
        None => camera(),
    }
}

fn camera() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    // The camera may be two frames ahead; then it waits.
    let tx = domain.channel("frames").buffered(2).sender::<Frame>()?;
    let mut child = domain.launcher(std::env::current_exe()?).name("consumer").spawn()?;
    for number in 0..FRAMES {
        // An older frame, or zeroes; all of it is drawn again.
        let mut frame = tx.reserve()?.reused();
        frame.time_ms = 40 * number;
        for (y, line) in frame.pixels.iter_mut().enumerate() {
            line.fill((y as u64 + number) as u8);
        }
        frame.send()?;
    }
    let (sent, _) = tx.channel_counters();
    println!("camera: {} frames sent, {} bytes copied", sent.messages, sent.bytes_copied);
    drop(tx); // the consumer is told when it has had them all
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the consumer ended with {status}").into());
    }
    Ok(())
}

fn consumer(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let rx = domain.receiver::<Frame>("frames")?;
    while let Ok(mut frame) = rx.recv_ref() {
        // It may be changed: the slot is the consumer's until the guard is dropped.
        frame.pixels.iter_mut().flatten().for_each(|pixel| *pixel = 255 - *pixel);
        let (seq, time_ms, corner) = (frame.seq(), frame.time_ms, frame.pixels[0][0]);
        println!("frame {seq} at {time_ms} ms: inverted, its first pixel is {corner}");
    }
    let received = rx.counters();
    println!("consumer: {} frames received, {} bytes copied", received.messages, received.bytes_copied);
    Ok(())
}
