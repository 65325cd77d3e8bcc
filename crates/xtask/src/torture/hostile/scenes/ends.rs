//! Channels with a buffer for one sender and one receiver; and what all ends can do.

use staffetta::{Domain, Message, Method, Parcel, Payload, Receiver, Sender};

use super::{Context, Held, Theme, SOON};

pub const THEME: Theme = Theme {
    name: "basic and buffered",
    set_up,
    scenes: &[buffered, basic, parcels, bytes, dynamic, of_the_other],
};

fn set_up(_: &Domain, other: &Domain, held: &mut Held) {
    let ring = |name| other.channel(name).buffered(3).method(Method::Distinct);
    // A message in hand, and two that wait; a slot that is reserved.
    let tx = ring("rr").sender::<u64>().expect("attach");
    let rx = ring("rr").receiver::<u64>().expect("attach");
    (0..3).for_each(|n| tx.send(n).expect("send"));
    std::mem::forget(rx.recv_ref().expect("receive"));
    held.push(Box::new(rx));
    drop(tx);
    let tx = ring("rs").sender::<u64>().expect("attach");
    std::mem::forget(tx.reserve().expect("reserve"));
    held.push(Box::new(tx));
    // Parcels that wait.
    let tx = ring("rp").sender::<Parcel<u64>>().expect("attach");
    let parcels = other.parcels(Method::Distinct);
    (0..2).for_each(|n| tx.send(parcels.new(n).expect("a parcel")).expect("send"));
    held.push(Box::new(tx));
    held.push(Box::new(parcels.new(5_u64).expect("a parcel")));
    held.push(Box::new(
        other.channel("rb").basic(2).method(Method::Distinct).receiver::<u64>().expect("attach"),
    ));
}

/// Some of what two ends can do.
pub fn exchange<T: Payload>(
    c: &mut Context,
    tx: &Sender<T>,
    rx: &Receiver<T>,
    mut make: impl FnMut() -> Option<T>,
) {
    for _ in 0..3 + c.below(6) {
        c.step();
        match c.below(12) {
            0..=3 => {
                if let Some(message) = make() {
                    c.see(tx.try_send(message));
                }
            }
            4 => {
                if let Some(message) = make() {
                    c.see(tx.send_timeout(message, SOON));
                }
            }
            5 => {
                if let Some(message) = make() {
                    c.see(tx.force_send(message));
                }
            }
            6..=8 => drop(c.see(rx.try_recv())),
            9 => drop(c.see(rx.recv_timeout(SOON))),
            10 => drop(rx.try_iter().take(4).count()),
            _ => ask(c, tx, rx),
        }
    }
}

/// What ends can be asked.
fn ask<T: Payload>(c: &mut Context, tx: &Sender<T>, rx: &Receiver<T>) {
    let answers = (tx.len(), rx.is_empty(), tx.has_peer(), rx.has_peer(), tx.degree(), rx.counters());
    std::hint::black_box((
        answers,
        tx.channel_counters(),
        rx.channel_counters(),
        tx.descriptor(),
        rx.descriptor(),
    ));
    c.step();
    c.see(tx.try_clone());
    c.see(rx.try_clone());
}

/// Some of what can be done in place. `alone`: nobody else sends, so a slot that is reserved is sent without a wait. (Of others a
/// changed word may say that they have filled the channel, and then `send` waits for room, for ever as it should.)
pub fn in_place<T: Message + Copy>(c: &mut Context, tx: &Sender<T>, rx: &Receiver<T>, value: T, alone: bool) {
    for _ in 0..3 + c.below(4) {
        c.step();
        match c.below(7) {
            0..=2 => {
                let reserved = if c.below(2) == 0 { tx.try_reserve() } else { tx.reserve_timeout(SOON) };
                let Some(slot) = c.see(reserved) else {
                    continue;
                };
                c.step();
                match c.below(5) {
                    0 => drop(slot),
                    1 if alone => drop(c.see(slot.write(value))),
                    2 if alone => drop(c.see(slot.zeroed().send())),
                    3 if alone => drop(c.see(slot.reused().send())),
                    1 | 2 => {
                        let sent = slot.zeroed().send_timeout(SOON);
                        c.see(sent.map_err(|(_, why)| why));
                    }
                    _ => {
                        let sent = slot.reused().try_send();
                        c.see(sent.map_err(|(_, why)| why));
                    }
                }
            }
            3..=5 => {
                let taken = if c.below(2) == 0 { rx.try_recv_ref() } else { rx.recv_ref_timeout(SOON) };
                let Some(mut taken) = c.see(taken) else {
                    continue;
                };
                c.step();
                if c.below(2) == 0 {
                    *taken = value;
                }
                std::hint::black_box(*taken);
                if c.below(16) == 0 {
                    std::mem::forget(taken);
                }
            }
            _ => ask(c, tx, rx),
        }
    }
}

fn buffered(d: &Domain, c: &mut Context) {
    let (method, wait) = (c.method(), c.wait());
    let name = c.name("buffered", method);
    let ring = || d.channel(&name).buffered(3).method(method).wait(wait);
    c.step();
    let (tx, rx) = (c.see(ring().sender::<u64>()), c.see(ring().receiver::<u64>()));
    let (Some(tx), Some(rx)) = (tx, rx) else {
        return;
    };
    if c.below(2) == 0 {
        exchange(c, &tx, &rx, || Some(1));
    } else {
        in_place(c, &tx, &rx, 2, true);
    }
}

fn basic(d: &Domain, c: &mut Context) {
    let (method, degree) = (c.method(), c.below(3));
    let name = c.name(["basic0", "basic1", "basic2"][degree as usize], method);
    let ring = || d.channel(&name).basic(degree).method(method);
    c.step();
    let (tx, rx) = (c.see(ring().sender::<u64>()), c.see(ring().receiver::<u64>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        exchange(c, &tx, &rx, || Some(1));
    }
}

fn parcels(d: &Domain, c: &mut Context) {
    let method = c.method();
    let (name, basic) = (c.name("parcels", method), c.below(2) == 0);
    let name = format!("{name}{basic}");
    let ring = || match basic {
        true => d.channel(&name).basic(2).method(method),
        false => d.channel(&name).buffered(2).method(method),
    };
    c.step();
    let (tx, rx) = (c.see(ring().sender::<Parcel<[u64]>>()), c.see(ring().receiver::<Parcel<[u64]>>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        let words = c.below(600) as usize;
        exchange(c, &tx, &rx, || d.parcels(method).zeroed::<[u64]>(words).ok());
        c.step();
        if let Some(parcel) = c.see(rx.try_recv()) {
            std::hint::black_box(parcel.iter().sum::<u64>());
        }
    }
}

fn bytes(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = c.name("bytes", method);
    let ring = || d.channel(&name).buffered(2).method(method);
    c.step();
    let (tx, rx) = (c.see(ring().sender::<[u8; 100]>()), c.see(ring().receiver::<[u8; 100]>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        in_place(c, &tx, &rx, [3; 100], true);
    }
}

/// Ends of types known at run time only.
fn dynamic(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = match c.below(4) {
        0 => c.name("buffered", method),
        1 => c.name("basic1", method),
        2 => c.name("bytes", method),
        _ => format!("{}false", c.name("parcels", method)),
    };
    c.step();
    c.see(d.channel(&name).carries());
    c.see(d.channel(&name).kind());
    c.step();
    let (tx, rx) = (c.see(d.channel(&name).dyn_sender()), c.see(d.channel(&name).dyn_receiver()));
    if let Some(tx) = &tx {
        c.step();
        let bytes = vec![0; if tx.carries_parcels() { 64 } else { tx.schema().size().min(4096) as usize }];
        c.see(tx.try_send_bytes(&bytes));
        c.see(tx.send_bytes_timeout(&bytes, SOON));
    }
    if let Some(rx) = &rx {
        c.step();
        rx.set_room(1 << 16);
        c.see(rx.try_recv_bytes());
        c.see(rx.recv_value_timeout(SOON));
    }
}

/// The ends that face the other member's, and those that it holds: whoever takes one of a dead member sweeps it.
fn of_the_other(d: &Domain, c: &mut Context) {
    let ring = |name| d.channel(name).buffered(3).method(Method::Distinct);
    c.step();
    if let Some(tx) = c.see(ring("rr").sender::<u64>()) {
        c.step();
        c.see(tx.try_send(4));
    }
    c.step();
    if let Some(rx) = c.see(ring("rr").receiver::<u64>()) {
        c.step();
        c.see(rx.try_recv());
        c.see(rx.recv_ref_timeout(SOON).map(drop));
    }
    if let Some(rx) = c.see(ring("rp").receiver::<Parcel<u64>>()) {
        c.step();
        c.see(rx.recv_timeout(SOON));
        c.see(rx.try_recv());
    }
    c.step();
    c.see(ring("rs").sender::<u64>().map(|tx| drop(tx.try_send(1))));
    c.step();
    c.see(d.channel("rb").basic(2).method(Method::Distinct).sender::<u64>().map(|tx| drop(tx.try_send(1))));
}
