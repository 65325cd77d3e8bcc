//! An image, a header and pixels in one message, drawn in place by one process and read in place by another.
//!
//! ```text
//! cargo run -p staffetta --example image
//! ```

use std::error::Error;

use staffetta::{Domain, Message, Parcel};

staffetta::launched!();

/// What is sent. Its last field is a slice, whose length is chosen when a frame is made.
#[derive(Message)]
#[repr(C)]
struct Frame {
    number: u64,
    width: u32,
    height: u32,
    pixels: [u8],
}

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(_) => viewer(&Domain::inherited()?),
        None => camera(),
    }
}

fn camera() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let tx = domain.sender::<Parcel<Frame>>("frames")?;
    let mut child = domain.launcher(std::env::current_exe()?).name("viewer").spawn()?;
    for number in 0..3 {
        let mut frame = Parcel::<Frame>::with_tail(&domain, (WIDTH * HEIGHT) as usize)?;
        frame.number = number;
        (frame.width, frame.height) = (WIDTH, HEIGHT);
        for (i, pixel) in frame.pixels.iter_mut().enumerate() {
            *pixel = (i as u64 + number) as u8;
        }
        tx.send(frame)?; // moved: using it here does not compile any more
    }
    let (sent, received) = tx.channel_counters();
    drop(tx);
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the viewer ended with {status}").into());
    }
    println!("{} bytes sent, {} copied", sent.bytes, sent.bytes_copied + received.bytes_copied);
    Ok(())
}

fn viewer(domain: &Domain) -> Result<(), Box<dyn Error>> {
    for frame in domain.receiver::<Parcel<Frame>>("frames")? {
        let Frame { number, width, height, ref pixels } = *frame;
        let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
        println!("frame {number}: {width} x {height}, mean grey {}", sum / pixels.len() as u64);
        // The end of the loop drops the frame: its block is free for the next one.
    }
    Ok(())
}
