//! A picture in ordinary memory goes to another process, which has ordinary memory, too: copied once, by the receiver, if
//! the kernel lets it read the sender's memory; otherwise twice. The program does not change.
//!
//! ```text
//! cargo run -p staffetta --example private
//! ```

use std::error::Error;

use staffetta::Domain;

staffetta::launched!();

/// Bytes of a picture.
const PICTURE: usize = 1920 * 1080;
const PICTURES: u8 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(_) => painter(&Domain::inherited()?),
        None => viewer(),
    }
}

/// The launcher receives: even where Yama is strict, it may read the memory of what it has started.
fn viewer() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let rx = domain.channel("pictures").rendezvous().receiver::<[u8]>()?;
    let mut child = domain.launcher(std::env::current_exe()?).name("painter").spawn()?;
    let mut picture = vec![0; PICTURE];
    for _ in 0..PICTURES {
        let came = rx.recv_into(&mut picture)?;
        println!("viewer: {} pixels of {}, copied {} x", came.elements, picture[0], came.copies);
    }
    let (sent, received) = rx.channel_counters();
    println!("the painter copied {} bytes, the viewer {}", sent.bytes_copied, received.bytes_copied);
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the painter ended with {status}").into());
    }
    Ok(())
}

fn painter(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let tx = domain.channel("pictures").rendezvous().sender::<[u8]>()?;
    let mut picture = vec![0; PICTURE];
    for colour in 1..=PICTURES {
        picture.fill(colour);
        // When this returns the viewer has it, and the memory can be painted again.
        tx.send_from(&picture)?;
    }
    Ok(())
}
