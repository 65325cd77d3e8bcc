//! A rendezvous by hand: two processes, the descriptor printed while one of them waits, and the counters after.
//! Whoever arrives second copies the message, once, and wakes the partner.
//!
//! ```text
//! cargo run -p staffetta --example rendezvous_by_hand
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::DescriptorState::{Offer, Want};
use staffetta::{DescriptorState, DescriptorView, Domain, Receiver, Sender, SideCounters};

staffetta::launched!();

fn main() -> Result<(), Box<dyn Error>> {
    match Domain::inherited() {
        Ok(domain) => sender(&domain),
        Err(_) => receiver(),
    }
}

fn receiver() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    let rx: Receiver<[u64]> = domain.receiver("message")?;
    let mut target = domain.variable_slice::<u64>(100)?;
    show("receiver", "nobody has come", rx.descriptor());
    let mut child = domain.launcher(std::env::current_exe()?).spawn()?;

    // The sender comes first, and waits: we come second, and copy.
    wait_for(Offer, || rx.descriptor());
    show("receiver", "the sender came first", rx.descriptor());
    rx.recv_into(&mut target)?;
    show("receiver", "we copied", rx.descriptor());
    copied(rx.channel_counters());

    // We come first, and wait: the sender will copy.
    rx.recv_into(&mut target)?;
    show("receiver", "the sender copied", rx.descriptor());
    copied(rx.channel_counters());
    if target.get() != Some(&[2; 100]) {
        return Err("another message came than was sent".into());
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the sender ended with {status}").into());
    }
    let (sender, receiver) = rx.channel_counters();
    for (who, side) in [("sender", sender), ("receiver", receiver)] {
        println!("{who:8} | waited {} times, woke its partner {} times", side.waits, side.wake_ups);
    }
    Ok(())
}

fn sender(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let tx: Sender<[u64]> = domain.sender("message")?;
    let mut message = domain.variable_slice::<u64>(100)?;
    message.set_slice(&[1; 100]);
    tx.send_variable(&mut message)?;

    message.set_slice(&[2; 100]);
    wait_for(Want, || tx.descriptor());
    show("sender", "the receiver came first", tx.descriptor());
    tx.send_variable(&mut message)?;
    Ok(())
}

/// Looks until whoever comes first is there, and asleep.
fn wait_for(state: DescriptorState, look: impl Fn() -> Option<DescriptorView>) {
    while !look().is_some_and(|now| now.state == state && now.asleep) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn show(who: &str, what: &str, descriptor: Option<DescriptorView>) {
    if let Some(now) = descriptor {
        println!("{who:8} | {what}\n         | {now}");
    }
}

fn copied((sender, receiver): (SideCounters, SideCounters)) {
    let (sent, received) = (sender.bytes_copied, receiver.bytes_copied);
    println!("         | copied so far: {sent} bytes by the sender, {received} by the receiver");
}
