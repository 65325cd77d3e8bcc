//! So many senders and so many receivers, each a thread, and numbered messages in one direction.
//!
//! ```text
//!   ping ──how many──► each thread        each thread ──done──► ping
//! ```
//!
//! The threads live as long as the subject and sleep between two batches; whoever holds the clock sleeps meanwhile. One
//! sender and one receiver are pinned to the two cores of the benchmark; more than two threads may use both.

use super::peers::Peer;
use crate::bench::subject::{Side, Subject};
use crate::failure::Fault;
use crate::machine;
use crate::two::wire::Wire;
use std::marker::PhantomData;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// How many threads there are at each end.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Threads that send.
    pub senders: usize,
    /// Threads that receive.
    pub receivers: usize,
    /// Messages that may wait.
    pub degree: usize,
}

/// Senders put their number into these bits and above.
const SENDER_SHIFT: u32 = 48;

/// One library's channel, and the threads at its ends.
pub struct Race<P> {
    form: Form,
    /// How many of the threads here send: the first.
    senders: usize,
    orders: Vec<mpsc::Sender<u64>>,
    done: mpsc::Receiver<Result<(), String>>,
    threads: Vec<JoinHandle<()>>,
    peer: PhantomData<P>,
}

impl<P: Peer> Race<P> {
    /// Within one process everything runs at ping.
    pub fn open(form: Form, side: Side, wire: &Wire) -> Result<Race<P>, Fault> {
        let (told, done) = mpsc::channel();
        let mut race =
            Race { form, senders: 0, orders: Vec::new(), done, threads: Vec::new(), peer: PhantomData };
        wire.send(&machine::usable_cores())?;
        let (here, there): (Vec<usize>, Vec<usize>) = (machine::usable_cores(), wire.recv()?);
        let both = [here.clone(), there.clone()].concat();
        let pinned = form.senders == 1 && form.receivers == 1;
        let (mut here, mut there) = if pinned { (here, there) } else { (both.clone(), both) };
        if side == Side::Pong {
            std::mem::swap(&mut here, &mut there); // senders have ping's cores
        }
        let (tx, rx) = P::open(side, wire, form)?;
        race.senders = tx.len();
        for (sender, tx) in tx.into_iter().enumerate() {
            race.start(&here, told.clone(), send::<P>(tx, sender as u64));
        }
        for rx in rx {
            race.start(&there, told.clone(), receive::<P>(rx, form.senders));
        }
        Ok(race)
    }

    /// Starts a thread that does `work` for each order.
    fn start(
        &mut self,
        cores: &[usize],
        told: mpsc::Sender<Result<(), String>>,
        mut work: impl FnMut(u64) -> Result<(), String> + Send + 'static,
    ) {
        let (order, orders) = mpsc::channel();
        self.orders.push(order);
        let cores = cores.to_vec();
        self.threads.push(thread::spawn(move || {
            let allowed = machine::keep_to(&cores).map_err(|failure| failure.to_string());
            for messages in orders {
                let result = allowed.clone().and_then(|()| work(messages));
                if told.send(result).is_err() {
                    return;
                }
            }
        }));
    }
}

fn send<P: Peer>(mut tx: P::Tx, sender: u64) -> impl FnMut(u64) -> Result<(), String> {
    let mut next = sender << SENDER_SHIFT;
    move |messages| {
        for number in next..next + messages {
            if !P::send(&mut tx, number) {
                return Err("the receivers are gone".into());
            }
        }
        next += messages;
        Ok(())
    }
}

/// The numbers of each sender rise.
fn receive<P: Peer>(mut rx: P::Rx, senders: usize) -> impl FnMut(u64) -> Result<(), String> {
    let mut least: Vec<u64> = (0..senders as u64).map(|sender| sender << SENDER_SHIFT).collect();
    move |messages| {
        for _ in 0..messages {
            let Some(number) = P::receive(&mut rx) else {
                return Err("the senders are gone".into());
            };
            let least = least.get_mut((number >> SENDER_SHIFT) as usize).filter(|least| **least <= number);
            match least {
                Some(least) => *least = number + 1,
                None => return Err(format!("message {number:#x} came out of sequence")),
            }
        }
        Ok(())
    }
}

impl<P: Peer> Race<P> {
    /// Everything that the threads of this process have to do in so many rounds.
    fn run(&mut self, rounds: u64) -> Result<(), Fault> {
        // Two messages a round. The forms and batches are even, so that each thread has its share.
        let messages = 2 * rounds;
        let shares = [self.form.senders, self.form.receivers].map(|threads| messages / threads as u64);
        for (thread, order) in self.orders.iter().enumerate() {
            order.send(shares[usize::from(thread >= self.senders)])?;
        }
        for _ in &self.orders {
            if let Err(why) = self.done.recv()? {
                self.threads.clear(); // the others may wait for ever: they are not joined
                return Err(why.into());
            }
        }
        Ok(())
    }
}

impl<P: Peer> Subject for Race<P> {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        self.run(rounds)
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        self.run(rounds)
    }
}

impl<P> Drop for Race<P> {
    fn drop(&mut self) {
        self.orders.clear();
        for thread in self.threads.drain(..) {
            // It ends by itself: it only waits for orders, and there are no more.
            drop(thread.join());
        }
    }
}
