//! Ends and parcels with ends in a mesh of processes, one of which is killed at a random moment: nothing leaks, nobody hangs.
//!
//! Each round is a domain with three workers. They make channels without a name of every form, hand their ends and parcels
//! with ends in them to each other, send over them, take ends out, drop them, and let threads sleep on some. One worker is
//! killed, in every second round another one right after it, which is sweeping then; then the others close, and every end that they have must say that its partner left or died. At last no entry is in
//! use, and as many bytes as before.
//!
//! `STAFFETTA_TEST_KILLS` says how many rounds, `STAFFETTA_TEST_SEED` repeats one run's choices.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{finish, in_use, name, options, role, start, watchdog, Random};
use staffetta::{
    ChannelBuilder, Domain, Enclosed, Message, Parcel, Receiver, RecvError, SendFailure, Sender, Wait,
};

const WORKERS: u64 = 3;
const INBOXES: [&str; WORKERS as usize] = ["inbox 0", "inbox 1", "inbox 2"];

#[derive(Message)]
struct Node {
    tx: Enclosed<Sender<u64>>,
    rx: Enclosed<Receiver<u64>>,
    to: Enclosed<Sender<Parcel<Node>>>,
    from: Enclosed<Receiver<Parcel<Node>>>,
    inner: Enclosed<Parcel<Node>>,
}

/// What a worker has.
#[derive(Default)]
struct Pool {
    tx: Vec<Sender<u64>>,
    rx: Vec<Receiver<u64>>,
    to: Vec<Sender<Parcel<Node>>>,
    from: Vec<Receiver<Parcel<Node>>>,
    nodes: Vec<Parcel<Node>>,
}

/// Parcels that come to worker `of`.
fn inbox(domain: &Domain, of: u64) -> ChannelBuilder<'_> {
    domain.channel(INBOXES[of as usize]).bounded(4).senders(8).receivers(1)
}

/// Ends that any worker takes.
fn ends(domain: &Domain) -> ChannelBuilder<'_> {
    domain.channel("ends").work_queue(4).senders(8).receivers(8)
}

/// Who is ready to begin.
fn readies(domain: &Domain) -> ChannelBuilder<'_> {
    domain.channel("ready").bounded(4).senders(8).receivers(1)
}

fn any_form<'d>(domain: &'d Domain, random: &mut Random) -> ChannelBuilder<'d> {
    let channel = domain.channel("").wait(Wait::Park);
    match random.below(6) {
        0 => channel.rendezvous(),
        1 => channel.basic(2),
        2 => channel.buffered(2),
        3 => channel.bounded(2),
        4 => channel.many_to_one(2).senders(3),
        _ => channel.work_queue(2).receivers(3),
    }
}

/// One of them, taken out.
fn any<T>(of: &mut Vec<T>, random: &mut Random) -> Option<T> {
    (!of.is_empty()).then(|| of.swap_remove(random.below(of.len() as u64) as usize))
}

fn is_over(why: &RecvError) -> bool {
    match why {
        RecvError::Disconnected | RecvError::PeerDied => true,
        RecvError::WouldBlock | RecvError::NoPeer | RecvError::TimedOut => false,
        other => panic!("{other:?}"),
    }
}

/// Of a channel with a name, whose senders were there: it says once that they left, and then that none is there.
fn nobody_sends(why: &RecvError) -> bool {
    matches!(why, RecvError::NoPeer) || is_over(why)
}

/// Sends without waiting; what cannot be sent is dropped.
fn try_send<T: staffetta::Payload>(to: &Sender<T>, message: T) {
    if let Err(failed) = to.try_send(message) {
        use SendFailure::{Disconnected, NoPeer, PeerDied, ThroughItself, WouldBlock};
        let expected = matches!(failed.why, Disconnected | NoPeer | PeerDied | ThroughItself | WouldBlock);
        assert!(expected, "{:?}", failed.why);
    }
}

struct Worker<'d> {
    domain: &'d Domain,
    random: Random,
    pool: Pool,
    closing: Arc<AtomicBool>,
    sleepers: Vec<std::thread::JoinHandle<()>>,
}

impl Worker<'_> {
    fn node(&mut self) -> Parcel<Node> {
        let (tx, rx, to, from, inner) = Default::default();
        Parcel::new(self.domain, Node { tx, rx, to, from, inner }).unwrap()
    }

    /// A parcel with some of what this worker has.
    fn filled(&mut self) -> Parcel<Node> {
        let mut node = any(&mut self.pool.nodes, &mut self.random).unwrap_or_else(|| self.node());
        let what = self.random.below(32);
        macro_rules! put {
            ($bit:literal, $field:ident, $pool:ident) => {
                if what & $bit != 0 {
                    if let Some(it) = any(&mut self.pool.$pool, &mut self.random) {
                        node.$field = node.enclose(it).unwrap();
                    }
                }
            };
        }
        put!(1, tx, tx);
        put!(2, rx, rx);
        put!(4, to, to);
        put!(8, from, from);
        put!(16, inner, nodes);
        node
    }

    /// Takes out some of what lies in a parcel; the rest goes back with it.
    fn open(&mut self, mut node: Parcel<Node>) {
        let what = self.random.below(32);
        macro_rules! take {
            ($bit:literal, $field:ident, $pool:ident) => {
                let it = node.$field;
                if what & $bit != 0 && !it.is_none() {
                    // It may have been taken out before by whoever sent the parcel on.
                    self.pool.$pool.extend(node.take_out(it).ok());
                }
            };
        }
        take!(4, to, to);
        take!(1, tx, tx);
        take!(16, inner, nodes);
        take!(2, rx, rx);
        take!(8, from, from);
        if self.random.below(3) == 0 {
            self.pool.nodes.push(node);
        }
    }

    fn make(&mut self) {
        let numbers = self.random.below(2) == 0;
        let channel = any_form(self.domain, &mut self.random);
        if numbers {
            let (tx, rx) = channel.unnamed().unwrap();
            self.pool.tx.extend(tx.try_clone());
            self.pool.tx.push(tx);
            self.pool.rx.push(rx);
        } else {
            let (tx, rx) = channel.unnamed().unwrap();
            self.pool.from.extend(rx.try_clone());
            self.pool.to.push(tx);
            self.pool.from.push(rx);
        }
    }

    /// A thread that sleeps in a receive, or in sends, until the partners are gone.
    fn sleep(&mut self) {
        if self.sleepers.len() >= 6 {
            return;
        }
        if self.random.below(2) == 0 {
            if let Some(rx) = any(&mut self.pool.rx, &mut self.random) {
                self.sleepers.push(std::thread::spawn(move || {
                    let why = loop {
                        if let Err(why) = rx.recv() {
                            break why;
                        }
                    };
                    assert!(is_over(&why), "{why:?}");
                }));
            }
        } else if let Some(tx) = any(&mut self.pool.tx, &mut self.random) {
            let closing = self.closing.clone();
            self.sleepers.push(std::thread::spawn(move || {
                while !closing.load(Ordering::Relaxed) {
                    if let Err(failed) = tx.send(1) {
                        let over = matches!(failed.why, SendFailure::Disconnected | SendFailure::PeerDied);
                        assert!(over, "{:?}", failed.why);
                        return;
                    }
                }
            }));
        }
    }

    fn step(&mut self, to: &[Sender<Parcel<Node>>], mine: &Receiver<Parcel<Node>>, ends: &Ends) {
        match self.random.below(14) {
            0 if self.pool.tx.len() + self.pool.to.len() < 24 => self.make(),
            1 | 2 => {
                let node = self.filled();
                try_send(&to[self.random.below(to.len() as u64) as usize], node);
            }
            3..=5 => {
                if let Ok(node) = mine.try_recv() {
                    self.open(node);
                }
            }
            6 => {
                if let Some(rx) = any(&mut self.pool.rx, &mut self.random) {
                    try_send(&ends.0, rx);
                }
            }
            7 => self.pool.rx.extend(ends.1.try_recv()),
            8 => {
                let node = self.filled();
                if let Some(to) = any(&mut self.pool.to, &mut self.random) {
                    try_send(&to, node);
                    self.pool.to.push(to);
                }
            }
            9 => {
                if let Some(from) = any(&mut self.pool.from, &mut self.random) {
                    let came = from.try_recv();
                    self.pool.from.push(from);
                    if let Ok(node) = came {
                        self.open(node);
                    }
                }
            }
            10 => {
                self.pool.tx.iter().for_each(|tx| try_send(tx, 1));
                self.pool.rx.iter().for_each(|rx| drop(rx.try_recv()));
            }
            11 => self.sleep(),
            12 => self.drop_one(),
            _ => std::thread::yield_now(),
        }
    }

    fn drop_one(&mut self) {
        match self.random.below(5) {
            0 => drop(any(&mut self.pool.tx, &mut self.random)),
            1 => drop(any(&mut self.pool.rx, &mut self.random)),
            2 => drop(any(&mut self.pool.to, &mut self.random)),
            3 => drop(any(&mut self.pool.from, &mut self.random)),
            _ => drop(any(&mut self.pool.nodes, &mut self.random)),
        }
    }

    /// Everything that could send is dropped; then every receiver is told that its partners left or died.
    fn close(mut self, mine: Receiver<Parcel<Node>>, ends: Receiver<Receiver<u64>>) {
        self.pool.tx.clear();
        self.pool.to.clear();
        self.pool.nodes.clear();
        let (mut mine, mut ends) = (Some(mine), Some(ends));
        let began = Instant::now();
        loop {
            // Said before the watchdog ends it.
            if began.elapsed() > Duration::from_secs(20) {
                let rx: Vec<_> = self.pool.rx.iter().map(Receiver::try_recv).collect();
                let from: Vec<_> = self.pool.from.iter().map(|rx| rx.try_recv().map(drop)).collect();
                let inboxes = (mine.map(|m| m.try_recv().map(drop)), ends.map(|e| e.try_recv().map(drop)));
                panic!("still waiting: {rx:?} {from:?} {inboxes:?} {} threads", self.sleepers.len());
            }
            if mine.as_ref().is_some_and(|mine| mine.try_recv().is_err_and(|why| nobody_sends(&why))) {
                mine = None;
            }
            if ends.as_ref().is_some_and(|ends| ends.try_recv().is_err_and(|why| nobody_sends(&why))) {
                ends = None;
            }
            self.pool.rx.retain(|rx| !rx.try_recv().is_err_and(|why| is_over(&why)));
            self.pool.from.retain(|from| !from.try_recv().is_err_and(|why| is_over(&why)));
            self.sleepers.retain(|sleeper| !sleeper.is_finished());
            let left = self.pool.rx.len() + self.pool.from.len() + self.sleepers.len();
            if left == 0 && mine.is_none() && ends.is_none() {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

type Ends = (Sender<Receiver<u64>>, Receiver<Receiver<u64>>);

#[test]
fn roles() {
    let Some((_, arguments)) = role() else {
        return;
    };
    // A panic of a thread that sleeps is this process's failure, at once.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        std::process::abort();
    }));
    let domain = Domain::join(&arguments[0]).unwrap();
    let me: u64 = arguments[1].parse().unwrap();
    let _dog = watchdog(&format!("worker {me}, seed {}", arguments[2]), 40);
    let mine = inbox(&domain, me).receiver().unwrap();
    let others = (0..WORKERS).filter(|other| *other != me);
    let to: Vec<_> = others.map(|other| inbox(&domain, other).sender().unwrap()).collect();
    let ends = (ends(&domain).sender().unwrap(), ends(&domain).receiver().unwrap());
    let ready = readies(&domain).sender::<()>().unwrap();
    ready.send(()).unwrap();

    let mut stdin = std::io::stdin();
    stdin.read_exact(&mut [0]).unwrap();
    let closing = Arc::new(AtomicBool::new(false));
    let close = closing.clone();
    std::thread::spawn(move || {
        // A byte, or the end of who started us.
        let _ = stdin.read(&mut [0]);
        close.store(true, Ordering::Relaxed);
    });
    let random = Random::seeded(arguments[2].parse().unwrap());
    let pool = Pool::default();
    let mut worker = Worker { domain: &domain, random, pool, closing, sleepers: Vec::new() };
    while !worker.closing.load(Ordering::Relaxed) {
        worker.step(&to, &mine, &ends);
    }
    drop(to);
    drop(ends.0);
    worker.close(mine, ends.1);
}

#[test]
fn a_death_in_a_mesh_leaks_nothing_and_leaves_nobody_waiting() {
    let kills = std::env::var("STAFFETTA_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut random = Random::new("enclosed_deaths");
    for round in 0..kills {
        let _dog = watchdog("a round", 60);
        let name = name("mesh");
        let domain = options().open(&name).unwrap();
        // Channels with names stay, and so does what each sender of them has there.
        for of in 0..WORKERS {
            drop(
                (0..WORKERS)
                    .map(|_| inbox(&domain, of).sender::<Parcel<Node>>().unwrap())
                    .collect::<Vec<_>>(),
            );
        }
        drop((0..WORKERS).map(|_| ends(&domain).sender::<Receiver<u64>>().unwrap()).collect::<Vec<_>>());
        drop((0..WORKERS).map(|_| readies(&domain).sender::<()>().unwrap()).collect::<Vec<_>>());
        let ready = readies(&domain).receiver::<()>().unwrap();
        let before = in_use(&domain);
        let as_before = |now: (u64, usize)| now == before;

        let seed = |random: &mut Random| (random.below(u64::MAX >> 11) | 1).to_string();
        let mut workers: Vec<_> = (0..WORKERS)
            .map(|me| (me, start("worker", &[&name, &me.to_string(), &seed(&mut random)])))
            .collect();
        for _ in 0..WORKERS {
            ready.recv().unwrap();
        }
        for (_, worker) in &mut workers {
            worker.stdin.as_mut().unwrap().write_all(b"g").unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        let mut dead = Vec::new();
        for _ in 0..1 + round % 2 {
            let (of, mut victim) = workers.swap_remove(random.below(workers.len() as u64) as usize);
            victim.kill().unwrap();
            victim.wait().unwrap();
            dead.push(of);
            // The next one is killed while it sweeps after this one, or before, or after.
            std::thread::sleep(Duration::from_micros(random.below(1_000)));
        }
        std::thread::sleep(Duration::from_micros(random.below(4_000)));
        for (_, worker) in &mut workers {
            worker.stdin.as_mut().unwrap().write_all(b"c").unwrap();
        }
        // What was sent to the dead is there for who comes after them.
        let began = Instant::now();
        let mut left = Vec::new();
        while left.len() < dead.len() {
            // The end is the dead one's until it is known to be dead.
            left.extend(inbox(&domain, dead[left.len()]).receiver::<Parcel<Node>>().ok());
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "round {round}: the end of the dead is not free"
            );
        }
        // Ends that nobody took; also what the dead one had in hand may come back when the others have gone.
        let rest = ends(&domain).receiver::<Receiver<u64>>().unwrap();
        while workers.iter_mut().any(|(_, worker)| worker.try_wait().unwrap().is_none()) {
            left.iter().for_each(|left| drop(left.try_recv()));
            drop(rest.try_recv());
            std::thread::sleep(Duration::from_micros(100));
        }
        left.iter().for_each(|left| while left.try_recv().is_ok() {});
        drop(left);
        for (_, worker) in workers {
            finish(worker);
        }
        while rest.try_recv().is_ok() {}
        drop(rest);
        // The dead one was found to be dead; who sweeps after it may not be done.
        let began = Instant::now();
        while !as_before(in_use(&domain)) && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = in_use(&domain);
        assert!(as_before(after), "round {round}: (bytes, entries) in use: {after:?}, before: {before:?}");
        let account = staffetta::inspect::account_of(domain.descriptor()).unwrap();
        assert_eq!(account.leaks, [], "round {round}: {account}");
        assert_eq!(before.1, 0);
    }
    eprintln!("{kills} kills");
}
