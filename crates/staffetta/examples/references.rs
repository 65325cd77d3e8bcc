//! The three methods of shared references side by side: the same message, at its address in two processes.
//!
//! ```text
//! cargo run -p staffetta --example references
//! ```

use std::error::Error;

use staffetta::{Addresses, Domain, Method, Parcel};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(domain), Some(method)) => second(&domain, &method),
        _ => first(),
    }
}

fn first() -> Result<(), Box<dyn Error>> {
    let name = format!("references-{}", std::process::id());
    let domain = Domain::open(&name)?;
    for method in Method::ALL {
        println!("{method}:");
        let mut child =
            domain.launcher(std::env::current_exe()?).arg(&name).arg(method.to_string()).spawn()?;
        let tx = domain.channel(&method.to_string()).method(method).sender::<Parcel<[u64]>>()?;
        let parcel = domain.parcels(method).uninit_slice(1000)?.fill_with(|i| i as u64);
        say("sent from", &domain, &parcel);
        tx.send(parcel)?; // only the reference moves
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("the second process ended with {status}").into());
        }
        let (sent, received) = tx.channel_counters();
        println!("  bytes: {} sent, {} copied", sent.bytes, sent.bytes_copied + received.bytes_copied);
    }
    Ok(())
}

fn second(name: &str, method: &str) -> Result<(), Box<dyn Error>> {
    // With distinct addresses every process maps the domain where it has room.
    let distinct = method == Method::Distinct.to_string();
    let addresses = if distinct { Addresses::Distinct } else { Addresses::Coinciding };
    let domain = Domain::options().addresses(addresses).join(name)?;
    let rx = domain.receiver::<Parcel<[u64]>>(method)?; // the method is as the other end fixed it
    let parcel = rx.recv()?;
    say("received at", &domain, &parcel);
    if parcel.iter().enumerate().any(|(i, n)| i as u64 != *n) {
        return Err("the message changed on its way".into());
    }
    // Only a capability leaves the address space of a process while the process runs.
    if let Ok(capability) = parcel.release() {
        println!("  released: its {} bytes are not in this process any more", capability.length());
        let again = capability.acquire().map_err(|(_, why)| why)?;
        say("acquired at", &domain, &again);
    }
    Ok(())
}

fn say(what: &str, domain: &Domain, parcel: &Parcel<[u64]>) {
    let address = parcel.as_ptr() as usize;
    let offset = address.wrapping_sub(domain.window_base());
    print!("  process {}: {what} {address:#x}", std::process::id());
    match (offset as u64) < domain.window_bytes() {
        true => println!(", window at {:#x} + {offset:#x}", domain.window_base()),
        false => println!(", in a mapping of its own"),
    }
}
