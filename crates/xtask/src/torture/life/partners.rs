//! Eight threads that wait for the victim, each in another way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Duration;

use staffetta::{CallFailure, Domain, Parcel, RecvError, Select, SendFailure, Wait};

use super::NEVER;

/// What a wait came to.
#[derive(Debug)]
pub enum Outcome {
    Died,
    TimedOut,
    Other(String),
}

/// One that waits.
pub struct Partner {
    pub name: &'static str,
    run: fn(&Domain, &Attached) -> Outcome,
}

/// How many of them have attached: whoever attaches after a death waits for somebody else.
#[derive(Clone, Default)]
pub struct Attached(Arc<AtomicUsize>);

impl Attached {
    fn here(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Waits for all.
    pub fn await_all(&self) {
        while self.0.load(Ordering::Acquire) < PARTNERS.len() {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// All of them.
pub const PARTNERS: [Partner; 8] = [
    Partner { name: "a receiver that is parked", run: receives_parked },
    Partner { name: "a receiver that spins", run: receives_spinning },
    Partner { name: "a sender with its offer", run: sends },
    Partner { name: "a sender to a full buffer", run: fills },
    Partner { name: "a select", run: selects },
    Partner { name: "a call", run: calls },
    Partner { name: "a receiver of a broadcast", run: hears },
    Partner { name: "a receiver into private memory", run: receives_lent },
];

/// Starts them.
pub fn start(domain: &Domain) -> (Receiver<(usize, Outcome)>, Attached) {
    let (tell, told) = channel();
    let attached = Attached::default();
    for (i, partner) in PARTNERS.iter().enumerate() {
        let (domain, tell, attached) = (domain.clone(), tell.clone(), attached.clone());
        std::thread::spawn(move || {
            let outcome = (partner.run)(&domain, &attached);
            let _ = tell.send((i, outcome));
        });
    }
    (told, attached)
}

/// There is no victim: they are not to wait for one.
pub fn send_home(domain: &Domain) {
    drop(Ends::attach(domain));
}

/// The other ends of all.
pub struct Ends {
    _held: Vec<Box<dyn std::any::Any>>,
    server: staffetta::Server<u64, u64>,
}

impl Ends {
    pub fn attach(domain: &Domain) -> Ends {
        let channel = |name| domain.channel(name);
        let held: Vec<Box<dyn std::any::Any>> = vec![
            Box::new(channel("life 0").rendezvous().sender::<u64>().expect("attach")),
            Box::new(channel("life 1").rendezvous().sender::<Parcel<u64>>().expect("attach")),
            Box::new(channel("life 2").rendezvous().receiver::<u64>().expect("attach")),
            Box::new(channel("life 3").buffered(2).receiver::<u64>().expect("attach")),
            Box::new(channel("life 4").bounded(2).sender::<u64>().expect("attach")),
            Box::new(channel("life 6").broadcast(2).sender::<u64>().expect("attach")),
            Box::new(channel("life 7").rendezvous().sender::<[u8]>().expect("attach")),
        ];
        let server = channel("life 5").service(2).server::<u64, u64>().expect("attach");
        Ends { _held: held, server }
    }

    /// Takes those ends of a dead process of which there is one, as soon as that is possible: who waits for the dead one is to be told of it
    /// all the same. (Of several senders or servers the others just go on.)
    pub fn succeed(domain: &Domain) -> Vec<Box<dyn std::any::Any>> {
        fn when_free<E: 'static>(
            attach: impl Fn() -> Result<E, staffetta::AttachError>,
        ) -> Box<dyn std::any::Any> {
            let start = std::time::Instant::now();
            loop {
                match attach() {
                    Ok(end) => return Box::new(end),
                    Err(_) if start.elapsed() < NEVER => std::thread::yield_now(),
                    Err(why) => panic!("no end for a successor: {why}"),
                }
            }
        }
        let channel = |name| domain.channel(name);
        vec![
            when_free(|| channel("life 0").rendezvous().sender::<u64>()),
            when_free(|| channel("life 1").rendezvous().sender::<Parcel<u64>>()),
            when_free(|| channel("life 2").rendezvous().receiver::<u64>()),
            when_free(|| channel("life 3").buffered(2).receiver::<u64>()),
            when_free(|| channel("life 6").broadcast(2).sender::<u64>()),
            when_free(|| channel("life 7").rendezvous().sender::<[u8]>()),
        ]
    }

    /// Takes the call in hand, and keeps it.
    pub fn take_call(&self) {
        if let Ok(request) = self.server.recv_timeout(Duration::from_secs(20)) {
            std::mem::forget(request);
        }
    }
}

fn received<M>(result: Result<M, RecvError>) -> Outcome {
    match result {
        Err(RecvError::PeerDied) => Outcome::Died,
        Err(RecvError::TimedOut) => Outcome::TimedOut,
        Err(why) => Outcome::Other(why.to_string()),
        Ok(_) => Outcome::Other("a message".to_owned()),
    }
}

fn sent<M>(result: Result<(), staffetta::SendError<M>>) -> Outcome {
    match result.map_err(|error| error.why) {
        Err(SendFailure::PeerDied) => Outcome::Died,
        Err(SendFailure::TimedOut) => Outcome::TimedOut,
        Err(why) => Outcome::Other(why.to_string()),
        Ok(()) => Outcome::Other("a receipt".to_owned()),
    }
}

fn receives_parked(domain: &Domain, attached: &Attached) -> Outcome {
    let rx = domain.channel("life 0").rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach");
    attached.here();
    received(rx.recv_timeout(NEVER))
}

fn receives_spinning(domain: &Domain, attached: &Attached) -> Outcome {
    let rx =
        domain.channel("life 1").rendezvous().wait(Wait::Spin).receiver::<Parcel<u64>>().expect("attach");
    attached.here();
    received(rx.recv_timeout(NEVER))
}

fn sends(domain: &Domain, attached: &Attached) -> Outcome {
    let tx = domain.channel("life 2").rendezvous().wait(Wait::Park).sender::<u64>().expect("attach");
    attached.here();
    sent(tx.send_timeout(1, NEVER))
}

fn fills(domain: &Domain, attached: &Attached) -> Outcome {
    let tx = domain.channel("life 3").buffered(2).wait(Wait::Park).sender::<u64>().expect("attach");
    attached.here();
    // It may be full of what nobody received before.
    while tx.try_send(1).is_ok() {}
    sent(tx.send_timeout(1, NEVER))
}

fn selects(domain: &Domain, attached: &Attached) -> Outcome {
    let rx = domain.channel("life 4").bounded(2).receiver::<u64>().expect("attach");
    attached.here();
    let (_never, idle) = domain.channel("").rendezvous().unnamed::<u64>().expect("a channel");
    let mut select = Select::new();
    select.set_wait(Wait::Park);
    let (_, first) = (select.recv(&idle).expect("added"), select.recv(&rx).expect("added"));
    let outcome = match select.select_timeout(NEVER) {
        Ok(operation) if operation.index() == first => received(operation.recv(&rx)),
        Ok(_) => Outcome::Other("the other operation".to_owned()),
        Err(staffetta::SelectError::TimedOut) => Outcome::TimedOut,
        Err(why) => Outcome::Other(why.to_string()),
    };
    drop(select);
    outcome
}

fn calls(domain: &Domain, attached: &Attached) -> Outcome {
    let client = domain.channel("life 5").service(2).wait(Wait::Park).client::<u64, u64>().expect("attach");
    attached.here();
    match client.call_timeout(1, NEVER).map_err(|error| error.why) {
        Err(CallFailure::PeerDied) => Outcome::Died,
        Err(CallFailure::TimedOut) => Outcome::TimedOut,
        Err(why) => Outcome::Other(why.to_string()),
        Ok(_) => Outcome::Other("a reply".to_owned()),
    }
}

fn hears(domain: &Domain, attached: &Attached) -> Outcome {
    let rx = domain.channel("life 6").broadcast(2).wait(Wait::Park).receiver::<u64>().expect("attach");
    attached.here();
    received(rx.recv_timeout(NEVER))
}

fn receives_lent(domain: &Domain, attached: &Attached) -> Outcome {
    let rx = domain.channel("life 7").rendezvous().wait(Wait::Park).receiver::<[u8]>().expect("attach");
    attached.here();
    received(rx.recv_into_timeout(&mut [0; 64], NEVER))
}
