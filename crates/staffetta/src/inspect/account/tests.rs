//! A domain in use has no leaks; and each kind of leak is found where it was made.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::handle::Handle;
use crate::memory::word::Word;
use crate::{Domain, Message, Method, Parcel, Receiver, Sender};

fn domain() -> Domain {
    Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26).create().unwrap()
}

fn see(domain: &Domain) -> Account {
    let mapped = account(domain.member().segment()).unwrap();
    // By way of the file it is the same.
    assert_eq!(crate::inspect::account_of(domain.descriptor()).unwrap(), mapped);
    mapped
}

#[derive(Message)]
struct Node {
    tx: crate::Enclosed<Sender<u64>>,
    inner: crate::Enclosed<Parcel<u64>>,
}

#[test]
fn nothing_of_a_domain_in_use_is_a_leak() {
    let domain = domain();
    let empty = see(&domain);
    assert_eq!((empty.leaks.len(), empty.processes, empty.charged_bytes), (0, 1, 0), "{empty}");

    let any = |name| domain.channel(name);
    let (basic, _b) = any("").basic(4).unnamed::<Parcel<u64>>().unwrap();
    let (buffered, _c) = any("").buffered(4).unnamed::<Parcel<u64>>().unwrap();
    let (queue, _d) = any("").bounded(4).unnamed::<Parcel<Node>>().unwrap();
    let (capabilities, _e) = any("").buffered(4).method(Method::Capability).unnamed::<Parcel<u64>>().unwrap();
    let cast = any("cast").broadcast(4).sender::<u64>().unwrap();
    let heard = any("cast").broadcast(4).receiver::<u64>().unwrap();
    let client = any("service").service(2).client::<u64, u64>().unwrap();
    let server = any("service").service(2).server::<u64, u64>().unwrap();
    let (long, reads) = any("").rendezvous().unnamed::<[u8; 100]>().unwrap();
    let reader = std::thread::spawn(move || drop(reads.recv()));
    long.send([1; 100]).unwrap(); // staged
    reader.join().unwrap();

    basic.send(Parcel::new(&domain, 1).unwrap()).unwrap();
    buffered.send(Parcel::new(&domain, 1).unwrap()).unwrap();
    capabilities.send(domain.parcels(Method::Capability).new(1_u64).unwrap()).unwrap();
    drop(domain.parcels(Method::Capability).new(1_u64).unwrap());
    let node = Node { tx: Default::default(), inner: Default::default() };
    let mut node = Parcel::new(&domain, node).unwrap();
    let (tx, rx) = any("").buffered(1).unnamed::<u64>().unwrap();
    node.tx = node.enclose(tx).unwrap();
    node.inner = node.enclose(Parcel::new(&domain, 1).unwrap()).unwrap();
    queue.send(node).unwrap();
    cast.send(1).unwrap();

    let full = see(&domain);
    assert_eq!(full.leaks, [], "{full}");
    assert_eq!((full.blocks_waiting, full.blocks_enclosed), (3, 1), "{full}");
    assert_eq!((full.capabilities_owned, full.capabilities_kept), (1, 1), "{full}");
    assert_eq!((full.channels_named, full.channels_unnamed), (2, 6), "{full}");

    drop((basic, _b, buffered, _c, queue, _d, capabilities, _e, cast, heard, client, server, long, rx));
    domain.trim().unwrap();
    let over = see(&domain);
    assert_eq!(over.leaks, [], "{over}");
    assert_eq!((over.entries, over.channels_unnamed, over.ends), (0, 0, 0), "{over}");
    assert_eq!((over.blocks_owned, over.blocks_waiting, over.blocks_enclosed), (0, 0, 0), "{over}");
}

/// What is seen after `harm` was done to a domain with one parcel, whose block is known, and one channel.
fn harmed(harm: impl FnOnce(&Handle, BlockId)) -> Vec<Leaked> {
    let domain = domain();
    let parcel = Parcel::new(&domain, 1_u64).unwrap();
    let ends: (Sender<u64>, Receiver<u64>) = domain.channel("").buffered(2).unnamed().unwrap();
    assert_eq!(see(&domain).leaks, []);
    harm(domain.member(), parcel.lies_in().unwrap().0);
    let seen = see(&domain).leaks.into_iter().map(|leak| leak.what).collect();
    // What was harmed is not to be given back.
    std::mem::forget((parcel, ends, domain));
    seen
}

fn add(word: &AtomicU64, more: u64) {
    word.fetch_add(more, Relaxed);
}

/// A slot that nobody is in.
const NOBODY: u16 = 900;

#[test]
fn each_leak_is_found() {
    let of = |harm: fn(&Handle, BlockId)| harmed(harm);
    let blocks = of(|member, id| {
        let holder = &member.segment().block_record(id).holder;
        holder.store(Word(holder.load(Relaxed)).with_slot(NOBODY).0, Relaxed);
    });
    assert_eq!(blocks, [Leaked::Block]);
    let never = of(|member, id| add(&member.segment().header().used[id.class as usize], 1));
    assert_eq!(never, [Leaked::Block]);
    let enclosed = of(|member, id| {
        let holder = &member.segment().block_record(id).holder;
        holder.store(Word(holder.load(Relaxed)).with_state(block::ENCLOSED).0, Relaxed);
    });
    assert_eq!(enclosed, [Leaked::Block]);
    let charged = of(|member, id| add(&member.segment().block_record(id).charged, 64));
    assert_eq!(charged, [Leaked::Charged]);
    let hold = of(|member, _| {
        let word = &member.segment().entry(0).word;
        word.store(Word(word.load(Relaxed)).with_slot(NOBODY).0, Relaxed);
    });
    assert_eq!(hold, [Leaked::Entry]);
    let unreached = of(|member, _| member.segment().entry(0).word.store(0, Relaxed));
    assert_eq!(unreached, [Leaked::Channel]);
    let ring = of(|member, _| member.segment().channel(0).ring.store(0, Relaxed));
    assert_eq!(ring, [Leaked::Block]);
    let pcb = of(|member, _| {
        member.segment().header().pcbs.fetch_max(1, Relaxed);
        member.segment().pcb(0).holder.store(u64::from(NOBODY) + 1, Relaxed);
    });
    assert_eq!(pcb, [Leaked::Pcb]);
    let schema = of(|member, _| {
        let head = member.segment().schema_word(0).unwrap();
        head.store(head.load(Relaxed) & !1, Relaxed);
    });
    assert_eq!(schema, [Leaked::Schema]);
    let capability = of(|member, _| {
        member.segment().header().capabilities.store(1, Relaxed);
        let word = Word::new(block::OWNED, NOBODY, 1);
        member.segment().capability_word(0, capability::word::HOLDER).store(word.0, Relaxed);
    });
    assert_eq!(capability, [Leaked::Capability]);
}
