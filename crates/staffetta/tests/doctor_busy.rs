//! The doctor beside processes that do everything at once and die at any moment: it has nothing to say. And on domains in which a
//! word was changed: it says which.
//!
//! `STAFFETTA_TEST_SECONDS` says for how long, `STAFFETTA_TEST_SEED` repeats one run's choices.
#![allow(unsafe_code)]

mod common;

use std::process::Child;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::{name, role, start, watchdog, Random};
use staffetta::inspect::{self, Diagnosis, Observer};
use staffetta::{Domain, Enclosed, Message, Method, Parcel, Select, Sender, Wait};

#[derive(Message)]
struct Node {
    tx: Enclosed<Sender<u64>>,
    inner: Enclosed<Parcel<[u8]>>,
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    assert_eq!(role, "busy");
    let mut random = Random::seeded(arguments[1].parse().unwrap());
    loop {
        // It comes and goes; most steps fail, since somebody else has the end.
        let Ok(domain) = common::options().open(&arguments[0]) else {
            continue;
        };
        let mut kept: Vec<Parcel<[u8]>> = Vec::new();
        for _ in 0..random.below(60) {
            step(&domain, &mut random, &mut kept);
            if random.below(400) == 0 {
                std::process::abort();
            }
        }
    }
}

fn parcel(domain: &Domain, random: &mut Random) -> Option<Parcel<[u8]>> {
    let method = if random.below(8) == 0 { Method::Capability } else { Method::Coinciding };
    domain.parcels(method).zeroed(1 << random.below(14)).ok()
}

/// One of many things, with a deadline.
fn step(domain: &Domain, random: &mut Random, kept: &mut Vec<Parcel<[u8]>>) {
    let soon = Duration::from_micros(random.below(3_000));
    let wait = Wait::ALL[random.below(3) as usize];
    let channel = |name| domain.channel(name).wait(wait);
    let n = random.below(3) + 1;
    match random.below(16) {
        0 => drop(
            channel("meet").sender::<u64>().map(|tx| (0..n).for_each(|n| drop(tx.send_timeout(n, soon)))),
        ),
        1 => {
            drop(channel("meet").receiver::<u64>().map(|rx| (0..n).for_each(|_| drop(rx.recv_timeout(soon)))))
        }
        2 => drop(channel("buffer").buffered(2).sender::<Parcel<[u8]>>().map(|tx| {
            (0..n).for_each(|_| drop(parcel(domain, random).map(|parcel| tx.send_timeout(parcel, soon))));
        })),
        3 => drop(channel("buffer").buffered(2).receiver::<Parcel<[u8]>>().map(|rx| {
            kept.extend((0..n).filter_map(|_| rx.recv_timeout(soon).ok()));
        })),
        4 => drop(channel("queue").bounded(3).sender::<u64>().map(|tx| drop(tx.send_timeout(n, soon)))),
        5 => drop(channel("queue").bounded(3).receiver::<u64>().map(|rx| drop(rx.recv_timeout(soon)))),
        6 => drop(channel("jobs").work_queue(3).sender::<Parcel<[u8]>>().map(|tx| {
            drop(parcel(domain, random).map(|parcel| tx.send_timeout(parcel, soon)));
        })),
        7 => drop(channel("jobs").work_queue(3).receiver::<Parcel<[u8]>>().map(|rx| {
            kept.extend(rx.recv_timeout(soon).ok());
        })),
        8 => drop(channel("cast").broadcast(2).sender::<u64>().map(|tx| {
            (0..n).for_each(|n| drop(tx.send_timeout(n, soon)));
        })),
        9 => drop(channel("cast").broadcast(2).receiver::<u64>().map(|rx| drop(rx.recv_timeout(soon)))),
        10 => drop(channel("service").service(2).client::<u64, u64>().map(|client| {
            (0..n).for_each(|n| drop(client.call_timeout(n, soon)));
        })),
        11 => drop(channel("service").service(2).server::<u64, u64>().map(|server| {
            (0..n).for_each(|_| drop(server.recv_timeout(soon).map(|request| request.reply(1))));
        })),
        12 => drop(enclose(domain, random)),
        13 => drop(select(domain, soon)),
        14 => kept.clear(),
        _ => kept.extend(parcel(domain, random)),
    }
}

/// Ends and parcels in a parcel that is sent, or received and taken apart, or lost.
fn enclose(domain: &Domain, random: &mut Random) -> Option<()> {
    let nodes = || domain.channel("nodes").bounded(2).senders(4).receivers(4);
    if random.below(2) == 0 {
        let node = Node { tx: Enclosed::default(), inner: Enclosed::default() };
        let mut node = Parcel::new(domain, node).ok()?;
        let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().ok()?;
        node.tx = node.enclose(tx).ok()?;
        let inner = domain.parcels(Method::Coinciding).zeroed::<[u8]>(9).ok()?;
        node.inner = node.enclose(inner).ok()?;
        drop(nodes().sender::<Parcel<Node>>().ok()?.try_send(node));
        drop(rx.try_recv());
    } else {
        let mut node = nodes().receiver::<Parcel<Node>>().ok()?.try_recv().ok()?;
        let tx = std::mem::take(&mut node.tx);
        let tx = node.take_out(tx).ok()?;
        drop(tx.try_send(1));
    }
    Some(())
}

fn select(domain: &Domain, soon: Duration) -> Option<()> {
    let one = domain.channel("queue").bounded(3).receiver::<u64>().ok()?;
    let two = domain.channel("meet").receiver::<u64>().ok()?;
    let mut select = Select::new();
    select.recv(&one).ok()?;
    select.recv(&two).ok()?;
    let _ = select.ready_timeout(soon);
    Some(())
}

struct Busy(Vec<Child>);

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn nothing_is_said_of_what_is_merely_under_way() {
    let seconds = std::env::var("STAFFETTA_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(6);
    let _watchdog = watchdog("busy", 120 + seconds);
    let mut random = Random::new("busy");
    let name = name("doctor-busy");
    let domain = common::options().open(&name).unwrap();
    let observer = Observer::of(&name).unwrap();
    let mut start = || start("busy", &[&name, &(random.below(1 << 40) + 1).to_string()]);
    let mut busy = Busy((0..4).map(|_| start()).collect());
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut examined, mut seen_waiting, mut killed) = (0_u32, 0, 0_u32);
    while Instant::now() < until {
        let seen = observer.doctor().unwrap();
        assert!(is_well(&seen), "after {examined}: {seen}\n{seen:#?}");
        examined += 1;
        seen_waiting += seen.waits.len();
        let fate = examined as usize % busy.0.len();
        if examined % 5 == 0 {
            busy.0[fate].kill().unwrap();
        }
        for child in &mut busy.0 {
            if child.try_wait().unwrap().is_some() {
                killed += 1;
                *child = start();
            }
        }
    }
    eprintln!("examined {examined} times, {seen_waiting} waits seen, {killed} deaths");
    assert!(examined > 3 && seen_waiting > 0 && killed > 1, "{examined} {seen_waiting} {killed}");
    drop(busy);
    // And when all is over.
    common::until(|| observer.look().unwrap().processes.len() == 1);
    let seen = observer.doctor().unwrap();
    assert!(is_well(&seen), "{seen}");
    drop(domain);
}

fn is_well(seen: &Diagnosis) -> bool {
    seen.broken.is_empty() && seen.unsettled.is_empty() && seen.deadlocks.iter().all(|one| !one.is_certain())
}

/// A domain with some of everything, and where its words are.
struct Patient {
    domain: Domain,
    observer: Observer,
    _ends: Box<dyn std::any::Any>,
}

impl Patient {
    fn new() -> Patient {
        let name = name("doctor-patient");
        let domain = common::options().open(&name).unwrap();
        let channel = |name| domain.channel(name);
        let buffered = channel("buffered").buffered(2).sender::<u64>().unwrap();
        let meet = channel("meet").sender::<u64>().unwrap();
        let queue = channel("queue").bounded(2).sender::<u64>().unwrap();
        let service = channel("service").service(2).client::<u64, u64>().unwrap();
        let cast = channel("cast").broadcast(2).sender::<u64>().unwrap();
        buffered.send(1).unwrap();
        queue.send(1).unwrap();
        cast.send(1).unwrap();
        let (tx, rx) = channel("").buffered(1).unnamed::<u64>().unwrap();
        let parcel = Parcel::new(&domain, 1_u64).unwrap();
        // A thread that has slept has a PCB.
        assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
        let observer = Observer::of(&name).unwrap();
        let ends = Box::new((buffered, meet, queue, service, cast, tx, rx, parcel));
        Patient { domain, observer, _ends: ends }
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        let at = self.domain.window_base() + offset as usize;
        // SAFETY: a word of the domain's window, which is mapped; a wild program would write there as well.
        unsafe { &*(at as *const AtomicU64) }
    }

    /// What is said while a word is another one.
    fn with(&self, offset: u64, wrong: impl Fn(u64) -> u64) -> Diagnosis {
        let before = self.word(offset).load(Relaxed);
        self.word(offset).store(wrong(before), Relaxed);
        let seen = self.observer.doctor().unwrap();
        self.word(offset).store(before, Relaxed);
        seen
    }
}

const SLOTS: u64 = 64 << 10;
const PCBS: u64 = 576 << 10;
const BUCKETS: u64 = 832 << 10;
const CHANNELS: u64 = 1 << 20;
const ENTRIES: u64 = 208 << 20;

#[test]
fn a_word_that_is_wrong_is_found_and_named() {
    let _watchdog = watchdog("wrong", 120);
    let patient = Patient::new();
    let seen = patient.observer.doctor().unwrap();
    assert!(is_well(&seen) && seen.is_healthy(), "{seen}");
    let channel = |index: u64, at: u64| CHANNELS + index * 1024 + at;
    let ring = patient.word(channel(0, 568)).load(Relaxed);
    let crowd = patient.word(channel(2, 568)).load(Relaxed);
    let lane = patient.word(crowd + 256 + 64).load(Relaxed);
    let cells = crowd + 2 * 16640;
    let calls = patient.word(patient.word(channel(3, 568)).load(Relaxed) + 256 + 64).load(Relaxed);
    let cast = patient.word(channel(4, 568)).load(Relaxed);
    let bucket = (0..4096).map(|i| BUCKETS + i * 8).find(|at| patient.word(*at).load(Relaxed) == 1).unwrap();
    let state = |state: u64| move |word: u64| word & !7 | state;
    type Wrong = Box<dyn Fn(u64) -> u64>;
    let cases: Vec<(u64, Wrong, &str, &str)> = vec![
        (160, Box::new(|_| 5_000), "header: mark of the process slots", "5000 are said to be in use"),
        (SLOTS, Box::new(state(5)), "process slot 0", "state 5 is none"),
        (SLOTS, Box::new(|word| word ^ 1 << 4), "process slot 0", "it says that it is slot 1"),
        (PCBS + 8, Box::new(|word| word + (1 << 16)), "pcb 0", "lives no more"),
        (PCBS + 8, Box::new(|_| 5_000), "PCB 0", "no process slot"),
        (PCBS + 56, Box::new(|_| 7 << 32), "PCB 0", "its sleep"),
        (channel(0, 512), Box::new(state(7)), "channel 0 \"buffered\"", "state 7 is none"),
        (channel(0, 128), Box::new(state(6)), "channel 0 \"buffered\"", "sender 0: end state 6 is none"),
        (channel(0, 128), Box::new(|word| word | 900 << 4), "end 0", "process slot 900"),
        (channel(0, 568), Box::new(|word| word + 64), "channel 0 \"buffered\"", "its ring is no block"),
        (channel(0, 320), Box::new(|word| word + 50), "channel 0 \"buffered\"", "its places are"),
        (channel(0, 528), Box::new(|_| 99), "channel 0 \"buffered\"", "makes no sense"),
        (ring, Box::new(state(6)), "channel 0 \"buffered\"", "slot 0: state 6 is none"),
        (channel(1, 0), Box::new(state(6)), "channel 1 \"meet\"", "descriptor: state 6"),
        (
            channel(1, 0),
            Box::new(state(2)),
            "channel 1 \"meet\"",
            "its receiver waits or copies, and has no end",
        ),
        (crowd + 256, Box::new(state(5)), "channel 2 \"queue\"", "sender 0: end state 5 is none"),
        (lane, Box::new(state(6)), "channel 2 \"queue\"", "lane 0: slot 0: state 6 is none"),
        (cells, Box::new(|word| word | 255), "channel 2 \"queue\"", "cell 0: it names slot"),
        (calls, Box::new(state(7)), "channel 3 \"service\"", "lane 0: slot 0: state 7 is none"),
        (cast + 512 + 16640, Box::new(|word| word | 31), "channel 4 \"cast\"", "cell 0: it names slot"),
        (bucket, Box::new(|_| 0), "channel 0 \"buffered\"", "its name does not lead to it"),
        (bucket, Box::new(|_| 1 << 30), "name bucket", "a channel that cannot be"),
        (channel(0, 520), Box::new(|_| 1), "name bucket", "it comes back to channel 0"),
        (channel(0, 584), Box::new(|word| word ^ 1), "name bucket", "belongs to bucket"),
        (ENTRIES, Box::new(state(7)), "entry 0", "state 7 is none"),
        (ENTRIES, Box::new(|word| word ^ 900 << 4), "entry 0", "lives no more"),
    ];
    for (offset, wrong, place, what) in cases {
        let seen = patient.with(offset, wrong);
        let named = seen.broken.iter().any(|one| one.place.starts_with(place) && one.what.contains(what));
        assert!(named && !seen.is_healthy(), "{offset:#x}: {place}: {what} is missing in {seen}");
        assert!(seen.to_string().contains("BROKEN"), "{seen}");
    }
    let seen = patient.observer.doctor().unwrap();
    assert!(is_well(&seen), "what was put right again is well: {seen}");
}

#[test]
fn a_wreck_is_examined_to_the_end() {
    let _watchdog = watchdog("wreck", 200);
    let mut random = Random::new("wreck");
    let patient = Patient::new();
    let rings: Vec<u64> = (0..5).map(|i| patient.word(CHANNELS + i * 1024 + 568).load(Relaxed)).collect();
    for _ in 0..40 {
        let (from, bytes) = match random.below(7) {
            0 => (128, 64),
            1 => (SLOTS, 512),
            2 => (PCBS, 256),
            3 => (BUCKETS, 4096 * 8),
            4 => (ENTRIES, 256),
            5 => (rings[random.below(5) as usize].max(64), 4096),
            _ => (CHANNELS, 6 * 1024),
        };
        // Several at once.
        let offsets: Vec<u64> =
            (0..random.below(6) + 1).map(|_| from + random.below(bytes / 8) * 8).collect();
        let before: Vec<u64> = offsets.iter().map(|at| patient.word(*at).load(Relaxed)).collect();
        for at in &offsets {
            let now = patient.word(*at).load(Relaxed);
            let wild = match random.below(3) {
                0 => now ^ 1 << random.below(64),
                1 => u64::MAX >> random.below(64),
                _ => random.below(u64::MAX),
            };
            patient.word(*at).store(wild, Relaxed);
        }
        let seen = patient.observer.doctor();
        for (at, before) in offsets.iter().zip(before).rev() {
            patient.word(*at).store(before, Relaxed);
        }
        let _ = seen.map(|seen| (seen.to_string(), seen.warnings()));
    }
    let seen = inspect::doctor(patient.domain.name().unwrap()).unwrap();
    assert!(is_well(&seen), "{seen}");
}
