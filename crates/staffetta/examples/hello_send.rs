//! Hello, half one: sends five numbers. Start it and `hello_receive` in two terminals, in either order:
//!
//! ```text
//! cargo run -p staffetta --example hello_send
//! cargo run -p staffetta --example hello_receive
//! ```
//!
//! An argument names another domain than `hello`.

use std::error::Error;

use staffetta::Domain;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "hello".to_owned());
    let domain = Domain::open(&name)?;
    let tx = domain.sender::<u64>("numbers")?;
    if !tx.has_peer() {
        println!("waiting for a receiver of {name:?}");
    }
    for n in 1..=5 {
        tx.send(n)?; // returns when the receiver has it
        println!("sent {n}");
    }
    Ok(())
}
