//! Hello, half two: receives numbers until the sender leaves. Start it and `hello_send` in two terminals, in
//! either order:
//!
//! ```text
//! cargo run -p staffetta --example hello_receive
//! cargo run -p staffetta --example hello_send
//! ```
//!
//! An argument names another domain than `hello`.

use std::error::Error;

use staffetta::{Domain, RecvError};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "hello".to_owned());
    let domain = Domain::open(&name)?;
    let rx = domain.receiver::<u64>("numbers")?;
    if !rx.has_peer() {
        println!("waiting for a sender of {name:?}");
    }
    // `for n in rx` does the same, but does not tell a sender that left from one that died.
    loop {
        match rx.recv() {
            Ok(n) => println!("received {n}"),
            Err(RecvError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
