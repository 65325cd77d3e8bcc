//! A request-reply server and three clients, each a process. The server answers what is quick before what is slow, and
//! does not mind that one client goes away in the middle of a call.
//!
//! ```text
//! cargo run -p staffetta --example request_reply
//! ```

use std::error::Error;
use std::time::Duration;

use staffetta::{CallFailure, Client, Domain, Message, RecvError};

staffetta::launched!();

/// Add up the numbers from `from` to `to`.
#[derive(Message, Clone, Copy)]
struct Sum {
    from: u64,
    to: u64,
}

const CLIENTS: u32 = 3;
const CALLS: u64 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    match staffetta::launch::identity() {
        Some(process) if process.index == 0 => serve(&Domain::inherited()?),
        Some(process) => ask(&Domain::inherited()?, process.index),
        None => launch(),
    }
}

fn launch() -> Result<(), Box<dyn Error>> {
    let domain = Domain::create()?;
    // Four calls of each client may be under way. The server waits for more as long as there is a client: this one.
    let client: Client<Sum, u64> = domain.channel("sums").service(4).client()?;
    let program = std::env::current_exe()?;
    let process = |index| domain.launcher(&program).index(index).spawn();
    let mut server = process(0)?;
    let clients = (1..=CLIENTS).map(process).collect::<Result<Vec<_>, _>>()?;
    for (number, mut process) in clients.into_iter().enumerate() {
        // The last one aborts in the middle of a call.
        assert_eq!(process.wait()?.success(), number + 1 != CLIENTS as usize);
    }
    println!("1 to 1000 is {}", client.call(Sum { from: 1, to: 1000 })?);
    let endless = client.call_timeout(Sum { from: 1, to: u64::MAX }, Duration::from_secs(10));
    assert!(matches!(endless, Err(error) if matches!(error.why, CallFailure::Unanswered)));
    drop(client);
    assert!(server.wait()?.success());
    Ok(())
}

fn serve(domain: &Domain) -> Result<(), Box<dyn Error>> {
    let server = domain.channel("sums").server::<Sum, u64>()?;
    let mut answered = 0;
    loop {
        // Whatever is there is taken in hand, where its client wrote it; the shortest is answered first.
        let mut hand = vec![match server.recv() {
            Ok(request) => request,
            Err(RecvError::Disconnected | RecvError::PeerDied) => break,
            Err(error) => return Err(error.into()),
        }];
        while let Ok(request) = server.try_recv() {
            hand.push(request);
        }
        hand.sort_by_key(|sum| sum.to.wrapping_sub(sum.from));
        for request in hand {
            if request.to == u64::MAX {
                continue; // dropped: its client is told
            }
            let sum = (request.from..=request.to).sum();
            // A client that is gone is no error of ours.
            answered += u64::from(request.reply(sum).is_ok());
        }
    }
    println!("answered {}", if answered > u64::from(CLIENTS - 1) * CALLS { "all" } else { "too few" });
    Ok(())
}

fn ask(domain: &Domain, index: u32) -> Result<(), Box<dyn Error>> {
    let client = domain.channel("sums").client::<Sum, u64>()?;
    for n in 1..=CALLS {
        // Two under way at once: the long one is asked first, and may be answered last.
        let long = client.begin(Sum { from: 1, to: 10 * n })?;
        let short = client.begin(Sum { from: n, to: n })?;
        assert_eq!(short.wait()?, n);
        assert_eq!(long.wait()?, 10 * n * (10 * n + 1) / 2);
        if index == CLIENTS && n == CALLS / 2 {
            let _under_way = client.begin(Sum { from: 1, to: 1_000_000 })?;
            std::process::abort();
        }
    }
    println!("client {index} has {} sums", 2 * CALLS);
    Ok(())
}
