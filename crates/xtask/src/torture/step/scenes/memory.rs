//! What a process does alone: allocate, free, enclose, take out, acquire, release, make and unmake channels, join, leave.

use staffetta::{Domain, Enclosed, Message, Method, Parcel, Sender};

use super::plain::{act, alone, kept};
use crate::torture::step::scene::{keep, Act, Scene};

#[derive(Message)]
struct Node {
    end: Enclosed<Sender<u64>>,
    inner: Enclosed<Parcel<u64>>,
}

fn parcel(domain: &Domain, words: usize) -> Parcel<[u64]> {
    domain.parcels(Method::Coinciding).zeroed(words).expect("a parcel")
}

fn capability(domain: &Domain) -> Parcel<[u64]> {
    domain.parcels(Method::Capability).zeroed(600).expect("a capability")
}

fn node(domain: &Domain) -> Parcel<Node> {
    Parcel::new(domain, Node { end: Enclosed::default(), inner: Enclosed::default() }).expect("a parcel")
}

fn full(domain: &Domain) -> Parcel<Node> {
    let mut node = node(domain);
    let (tx, rx) = domain.channel("").buffered(2).unnamed::<u64>().expect("a channel");
    keep(rx);
    node.end = node.enclose(tx).expect("room");
    node.inner = node.enclose(Parcel::new(domain, 5_u64).expect("a parcel")).expect("room");
    node
}

/// Allocates some, and frees all but one: the next one freed goes to all.
fn many(domain: &Domain) -> Parcel<[u64]> {
    let mut all: Vec<_> = (0..65).map(|_| parcel(domain, 40)).collect();
    all.pop().expect("one of them")
}

fn make(domain: Domain, channel: fn(&Domain) -> staffetta::ChannelBuilder<'_>) -> Act {
    let domain = kept(domain);
    act(move || channel(domain).unnamed::<Parcel<u64>>())
}

fn unmake(domain: Domain, channel: fn(&Domain) -> staffetta::ChannelBuilder<'_>) -> Act {
    let (tx, rx) = channel(&domain).unnamed::<Parcel<u64>>().expect("a channel");
    let _ = tx.try_send(Parcel::new(&domain, 1_u64).expect("a parcel"));
    kept(domain);
    act(move || drop((tx, rx)))
}

pub fn scenes(all: &mut Vec<Box<dyn Scene>>) {
    all.extend([
        alone("allocate", |d| {
            let d = kept(d);
            act(move || parcel(d, 40))
        }),
        alone("allocate what was freed", |d| {
            drop(parcel(&d, 40));
            let d = kept(d);
            act(move || parcel(d, 40))
        }),
        alone("allocate a long one", |d| {
            let d = kept(d);
            act(move || parcel(d, 1_500))
        }),
        alone("allocate what all can have", |d| {
            drop(parcel(&d, 1_500));
            let d = kept(d);
            act(move || parcel(d, 1_500))
        }),
        alone("free", |d| {
            let it = parcel(&d, 40);
            kept(d);
            act(move || drop(it))
        }),
        alone("free to all", |d| {
            let it = many(&d);
            kept(d);
            act(move || drop(it))
        }),
        alone("free a long one", |d| {
            let it = parcel(&d, 1_500);
            kept(d);
            act(move || drop(it))
        }),
        alone("trim", |d| {
            drop(parcel(&d, 1_500));
            let d = kept(d);
            act(move || d.trim())
        }),
        alone("allocate a variable", |d| {
            let d = kept(d);
            act(move || d.variable_slice::<u64>(100))
        }),
        alone("drop a variable", |d| {
            let it = d.variable_slice::<u64>(100).expect("a variable");
            kept(d);
            act(move || drop(it))
        }),
        alone("allocate a capability", |d| {
            let d = kept(d);
            act(move || capability(d))
        }),
        alone("allocate a capability that was freed", |d| {
            drop(capability(&d));
            let d = kept(d);
            act(move || capability(d))
        }),
        alone("free a capability", |d| {
            let it = capability(&d);
            kept(d);
            act(move || drop(it))
        }),
        alone("release a capability", |d| {
            let it = capability(&d);
            kept(d);
            act(move || it.release())
        }),
        alone("acquire a capability", |d| {
            let it = capability(&d).release().unwrap_or_else(|_| panic!("released"));
            kept(d);
            act(move || it.acquire())
        }),
        alone("seal a capability", |d| {
            let mut it = capability(&d).release().unwrap_or_else(|_| panic!("released"));
            kept(d);
            act(move || {
                let sealed = it.seal();
                (sealed, it)
            })
        }),
        alone("trim capabilities", |d| {
            drop(capability(&d));
            let d = kept(d);
            act(move || d.trim())
        }),
        alone("enclose a parcel", |d| {
            let (mut outer, inner) = (node(&d), Parcel::new(&d, 5_u64).expect("a parcel"));
            kept(d);
            act(move || {
                outer.inner = outer.enclose(inner).expect("room");
                outer
            })
        }),
        alone("enclose an end", |d| {
            let mut outer = node(&d);
            let (tx, rx) = d.channel("").buffered(2).unnamed::<u64>().expect("a channel");
            keep(rx);
            kept(d);
            act(move || {
                outer.end = outer.enclose(tx).expect("room");
                outer
            })
        }),
        alone("take a parcel out", |d| {
            let mut outer = full(&d);
            kept(d);
            act(move || {
                let inner = outer.inner;
                (outer.take_out(inner), outer)
            })
        }),
        alone("take an end out", |d| {
            let mut outer = full(&d);
            kept(d);
            act(move || {
                let end = outer.end;
                (outer.take_out(end), outer)
            })
        }),
        alone("free with an end and a parcel in it", |d| {
            let outer = full(&d);
            kept(d);
            act(move || drop(outer))
        }),
        alone("make a rendezvous", |d| make(d, |d| d.channel("").rendezvous())),
        alone("make a basic channel", |d| make(d, |d| d.channel("").basic(2))),
        alone("make a buffered channel", |d| make(d, |d| d.channel("").buffered(2))),
        alone("make a queue", |d| make(d, |d| d.channel("").bounded(2))),
        alone("unmake a rendezvous", |d| unmake(d, |d| d.channel("").rendezvous())),
        alone("unmake a basic channel", |d| unmake(d, |d| d.channel("").basic(2))),
        alone("unmake a buffered channel", |d| unmake(d, |d| d.channel("").buffered(2))),
        alone("unmake a queue", |d| unmake(d, |d| d.channel("").bounded(2))),
        alone("one more sender of a queue", |d| {
            let (tx, rx) = d.channel("").bounded(2).unnamed::<u64>().expect("a channel");
            kept(d);
            keep(rx);
            let tx = keep(tx);
            act(move || tx.try_clone())
        }),
        alone("leave", |d| act(move || drop(d))),
        alone("leave with a parcel freed", |d| {
            drop((parcel(&d, 40), capability(&d)));
            act(move || drop(d))
        }),
    ]);
    all.push(Box::new(Join));
}

/// Joining: the operation itself is the way in.
struct Join;

impl Scene for Join {
    fn name(&self) -> String {
        "join".to_owned()
    }

    fn victim(&self, domain: &str) -> Act {
        let name = domain.to_owned();
        act(move || Domain::join(&name))
    }

    fn lingering(&self) -> usize {
        2
    }

    fn survivor(&self, domain: &Domain) -> Box<dyn crate::torture::step::scene::Survivor> {
        super::plain::Plain {
            name: "join",
            victim: |d| act(move || d),
            partner: None,
            counts: false,
            after: None,
        }
        .survivor(domain)
    }
}
