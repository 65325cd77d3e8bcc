//! What lies in parcels; capabilities; allocating, looking, and names.

use staffetta::{Domain, Enclosed, Message, Method, Parcel, Receiver, Sender};

use super::{Context, Held, Theme, SOON};

pub const ENCLOSED: Theme = Theme {
    name: "ends in messages",
    set_up: enclosed,
    scenes: &[encloses, sends_ends, enclosed_of_the_other],
};
pub const CAPABILITIES: Theme =
    Theme { name: "capabilities", set_up: capabilities, scenes: &[capability, capabilities_of_the_other] };
pub const MANAGED: Theme = Theme { name: "allocating", set_up: managed, scenes: &[allocates, names] };

#[derive(Message)]
#[repr(C)]
struct Letter {
    number: u64,
    end: Enclosed<Sender<u64>>,
    other: Enclosed<Receiver<u64>>,
    parcel: Enclosed<Parcel<u64>>,
}

fn letter(d: &Domain) -> Option<Parcel<Letter>> {
    let none =
        Letter { number: 1, end: Default::default(), other: Default::default(), parcel: Default::default() };
    let mut letter = d.parcels(Method::Distinct).new(none).ok()?;
    let (tx, rx) = d.channel("").buffered(1).method(Method::Distinct).unnamed::<u64>().ok()?;
    letter.end = letter.enclose(tx).ok()?;
    letter.other = letter.enclose(rx).ok()?;
    letter.parcel = letter.enclose(d.parcels(Method::Distinct).new(3).ok()?).ok()?;
    Some(letter)
}

fn enclosed(_: &Domain, other: &Domain, held: &mut Held) {
    let letters = other.channel("el").buffered(3).method(Method::Distinct);
    let tx = letters.clone().sender::<Parcel<Letter>>().expect("attach");
    tx.send(letter(other).expect("a letter")).expect("send");
    held.push(Box::new((tx, letter(other).expect("a letter"))));
    let ends =
        other.channel("ee").bounded(3).method(Method::Distinct).sender::<Sender<u64>>().expect("attach");
    let (tx, rx) = other.channel("").bounded(2).method(Method::Distinct).unnamed::<u64>().expect("attach");
    ends.send(tx.try_clone().expect("clone")).expect("send");
    held.push(Box::new((ends, tx, rx)));
}

fn take_out(c: &mut Context, mut letter: Parcel<Letter>) {
    let (end, other, parcel) = (letter.end, letter.other, letter.parcel);
    c.step();
    let tx = c.see(letter.take_out(end));
    c.step();
    let rx = c.see(letter.take_out(other));
    if let Some(tx) = &tx {
        c.see(tx.try_send(1));
    }
    if let Some(rx) = &rx {
        c.see(rx.try_recv());
    }
    c.step();
    if c.below(2) == 0 {
        c.see(letter.take_out(parcel).map(|parcel| std::hint::black_box(*parcel)));
    }
}

fn encloses(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = c.name("letters", method);
    let letters = || d.channel(&name).buffered(2).method(method);
    c.step();
    let (tx, rx) =
        (c.see(letters().sender::<Parcel<Letter>>()), c.see(letters().receiver::<Parcel<Letter>>()));
    c.step();
    let (Some(tx), Some(rx), Some(first)) = (tx, rx, letter(d)) else {
        return;
    };
    c.step();
    c.see(tx.try_send(first));
    c.step();
    if let Some(letter) = c.see(rx.try_recv()) {
        if c.below(3) == 0 {
            c.see(tx.try_send(letter));
        } else {
            take_out(c, letter);
        }
    }
    c.step();
    drop((tx, rx));
}

fn sends_ends(d: &Domain, c: &mut Context) {
    let method = c.method();
    let (name, queue) = (c.name("ends", method), c.below(2) == 0);
    let name = format!("{name}{queue}");
    let ends = || match queue {
        true => d.channel(&name).bounded(2).method(method),
        false => d.channel(&name).buffered(2).method(method),
    };
    c.step();
    let (tx, rx) = (c.see(ends().sender::<Receiver<u64>>()), c.see(ends().receiver::<Receiver<u64>>()));
    c.step();
    let inner = match c.below(3) {
        0 => d.channel("").rendezvous().method(method),
        1 => d.channel("").bounded(2).method(method),
        _ => d.channel("").buffered(2).method(method),
    };
    let (Some(tx), Some(rx), Some((send, receive))) = (tx, rx, c.see(inner.unnamed::<u64>())) else {
        return;
    };
    c.step();
    c.see(send.try_send(1));
    c.see(tx.try_send(receive));
    c.step();
    c.see(send.try_send(2));
    if let Some(receive) = c.see(rx.try_recv()) {
        c.step();
        c.see(receive.try_recv());
        c.see(send.send_timeout(2, SOON));
    }
    c.step();
}

fn enclosed_of_the_other(d: &Domain, c: &mut Context) {
    c.step();
    let letters = || d.channel("el").buffered(3).method(Method::Distinct);
    if let Some(rx) = c.see(letters().receiver::<Parcel<Letter>>()) {
        c.step();
        if let Some(letter) = c.see(rx.try_recv()) {
            take_out(c, letter);
        }
        c.see(letters().sender::<Parcel<Letter>>());
        c.see(rx.try_recv());
    }
    c.step();
    let ends = || d.channel("ee").bounded(3).method(Method::Distinct);
    if let Some(rx) = c.see(ends().receiver::<Sender<u64>>()) {
        c.step();
        if let Some(tx) = c.see(rx.try_recv()) {
            c.step();
            c.see(tx.try_send(1));
            c.see(tx.try_clone());
        }
    }
    c.step();
    c.see(letters().sender::<Parcel<Letter>>());
}

fn capabilities(_: &Domain, other: &Domain, held: &mut Held) {
    let parcels = other.parcels(Method::Capability);
    let channel = || other.channel("kb").buffered(2).method(Method::Capability);
    let rx = channel().receiver::<Parcel<[u8]>>().expect("attach");
    let tx = channel().sender::<Parcel<[u8]>>().expect("attach");
    tx.send(parcels.zeroed::<[u8]>(5000).expect("a parcel")).expect("send");
    held.push(Box::new((rx, tx, parcels.zeroed::<[u8]>(100).expect("a parcel"))));
}

fn capability(d: &Domain, c: &mut Context) {
    let name = c.name("capabilities", Method::Capability);
    let queue = c.below(2) == 0;
    let name = format!("{name}{queue}");
    let channel = || d.channel(&name).method(Method::Capability);
    let ring = || if queue { channel().bounded(2) } else { channel().buffered(2) };
    c.step();
    let (tx, rx) = (c.see(ring().sender::<Parcel<[u8]>>()), c.see(ring().receiver::<Parcel<[u8]>>()));
    c.step();
    let parcel = c.see(d.parcels(Method::Capability).zeroed::<[u8]>(4000));
    if let (Some(tx), Some(rx), Some(mut parcel)) = (tx, rx, parcel) {
        parcel.fill(4);
        c.step();
        c.see(tx.send_timeout(parcel, SOON));
        c.step();
        if let Some(parcel) = c.see(rx.recv_timeout(SOON)) {
            std::hint::black_box(parcel.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            c.step();
            if let Ok(mut capability) = parcel.release() {
                c.step();
                match c.below(8) {
                    0 => drop(c.see(capability.seal())),
                    1 => drop(c.see(capability.acquire_read().map(|read| std::hint::black_box(read.len())))),
                    _ => {
                        if let Some(parcel) = c.see(capability.acquire().map_err(|(_, why)| why)) {
                            std::hint::black_box(parcel.first().copied());
                        }
                    }
                }
            }
        }
    }
}

fn capabilities_of_the_other(d: &Domain, c: &mut Context) {
    let channel = || d.channel("kb").buffered(2).method(Method::Capability);
    c.step();
    if let Some(rx) = c.see(channel().receiver::<Parcel<[u8]>>()) {
        c.step();
        if let Some(parcel) = c.see(rx.recv_timeout(SOON)) {
            std::hint::black_box(parcel.len());
        }
    }
    c.step();
    c.see(channel().sender::<Parcel<[u8]>>());
}

fn managed(_: &Domain, other: &Domain, held: &mut Held) {
    let parcels = other.parcels(Method::Distinct);
    for bytes in [1, 40, 100, 3000, 5000, 70_000] {
        held.push(Box::new(parcels.zeroed::<[u8]>(bytes).expect("a parcel")));
    }
    held.push(Box::new(
        other.channel("mo").buffered(1).method(Method::Distinct).sender::<u64>().expect("attach"),
    ));
}

fn allocates(d: &Domain, c: &mut Context) {
    let mut kept = Vec::new();
    for _ in 0..4 + c.below(8) {
        c.step();
        match c.below(12) {
            0..=5 => {
                let bytes = 1 << c.below(17);
                let more = c.below(3) as usize;
                kept.extend(c.see(d.parcels(Method::Distinct).zeroed::<[u8]>(bytes + more)));
            }
            6 => drop(c.see(d.variable::<u64>())),
            7 => kept.clear(),
            8 => drop(kept.pop()),
            9 if c.below(4) == 0 => drop(c.see(d.trim())),
            10 => drop(c.see(d.memory())),
            _ => kept.iter_mut().for_each(|parcel| parcel.fill(1)),
        }
    }
    c.step();
}

fn names(d: &Domain, c: &mut Context) {
    c.step();
    for i in 0..3 {
        let name = format!("name {}", c.below(40) + i);
        c.step();
        let buffered = || d.channel(&name).buffered(1).method(Method::Distinct);
        let tx = c.see(buffered().sender::<u64>());
        // Another type, another degree.
        c.see(buffered().receiver::<i64>());
        c.see(d.channel(&name).buffered(2).method(Method::Distinct).receiver::<u64>());
        c.step();
        c.see(d.channel(&name).carries());
        c.see(d.channel(&name).kind());
        drop(tx);
    }
    c.step();
    // Held by the other one, which may be dead.
    c.see(d.channel("mo").buffered(1).method(Method::Distinct).sender::<u64>());
    c.step();
    if c.below(4) == 0 {
        c.see(d.trim());
    }
}
