//! Rendezvous: values, staged ones, parcels, variables, private memory; two at once.

use std::time::Duration;

use staffetta::{Domain, Method, Parcel, Payload, Receiver, Sender};

use super::partner::beside;
use super::{Context, Held, Theme, SOON};

pub const THEME: Theme =
    Theme { name: "rendezvous", set_up, scenes: &[small, large, parcels, variables, slices, of_the_other] };

fn set_up(domain: &Domain, other: &Domain, held: &mut Held) {
    let line = |name| other.channel(name).rendezvous().method(Method::Distinct);
    held.push(Box::new(line("ls").sender::<u64>().expect("attach")));
    held.push(Box::new(line("lr").receiver::<Parcel<[u8]>>().expect("attach")));
    held.push(Box::new(domain.channel("lu").rendezvous().unnamed::<u64>().expect("attach")));
}

/// Both ends of a channel, if they can be had.
fn pair<T: Payload>(d: &Domain, c: &mut Context, name: &str) -> Option<(Sender<T>, Receiver<T>, Method)> {
    let (method, wait) = (c.method(), c.wait());
    let name = c.name(name, method);
    c.step();
    let line = || d.channel(&name).rendezvous().method(method).wait(wait);
    let tx = c.see(line().sender::<T>());
    c.step();
    let rx = c.see(line().receiver::<T>());
    Some((tx?, rx?, method))
}

const BESIDE: Duration = Duration::from_micros(100);

/// One comes beside, the other one here; or nobody comes.
fn meet<T: Payload + Send>(
    c: &mut Context,
    tx: Sender<T>,
    rx: Receiver<T>,
    mut make: impl FnMut() -> Option<T>,
) {
    match c.below(4) {
        0 => {
            let there = beside(move || (0..2).for_each(|_| drop(rx.recv_timeout(BESIDE))));
            c.step();
            if let Some(message) = make() {
                c.see(tx.send_timeout(message, BESIDE));
            }
            c.step();
            drop(there);
        }
        1 => {
            let messages = [make(), make()];
            let there = beside(move || {
                messages.into_iter().flatten().for_each(|message| drop(tx.send_timeout(message, BESIDE)))
            });
            c.step();
            c.see(rx.recv_timeout(BESIDE));
            c.step();
            c.see(rx.try_recv());
            drop(there);
        }
        _ => super::ends::exchange(c, &tx, &rx, make),
    }
}

fn small(d: &Domain, c: &mut Context) {
    if let Some((tx, rx, _)) = pair::<u64>(d, c, "small") {
        meet(c, tx, rx, || Some(7));
    }
}

fn large(d: &Domain, c: &mut Context) {
    if let Some((tx, rx, _)) = pair::<[u64; 40]>(d, c, "large") {
        meet(c, tx, rx, || Some([7; 40]));
    }
}

fn parcels(d: &Domain, c: &mut Context) {
    if let Some((tx, rx, method)) = pair::<Parcel<[u8]>>(d, c, "parcels") {
        let bytes = c.below(300) as usize;
        let d = d.clone();
        meet(c, tx, rx, move || d.parcels(method).zeroed::<[u8]>(bytes).ok());
    }
}

fn variables(d: &Domain, c: &mut Context) {
    let Some((tx, rx, _)) = pair::<[u64; 40]>(d, c, "large") else {
        return;
    };
    c.step();
    let from = c.see(d.variable::<[u64; 40]>());
    let to = c.see(d.variable::<[u64; 40]>());
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    from.set([8; 40]);
    c.step();
    if c.below(2) == 0 {
        let there = beside(move || {
            let _ = rx.recv_into_timeout(&mut to, BESIDE);
            std::hint::black_box(to.get().map(|words| words[3]));
            let _ = rx.try_recv_into(&mut to);
        });
        c.step();
        c.see(tx.send_variable_timeout(&mut from, BESIDE));
        drop(there);
    } else {
        let there = beside(move || drop(tx.send_variable_timeout(&mut from, BESIDE)));
        c.step();
        c.see(rx.recv_into_timeout(&mut to, BESIDE));
        std::hint::black_box(to.get().map(|words| words[3]));
        drop(there);
    }
}

fn slices(d: &Domain, c: &mut Context) {
    let (method, wait) = (c.method(), c.wait());
    let name = c.name("slices", method);
    let line = || d.channel(&name).rendezvous().method(method).wait(wait);
    c.step();
    let (tx, rx) = (c.see(line().sender::<[u64]>()), c.see(line().receiver::<[u64]>()));
    let (Some(tx), Some(rx)) = (tx, rx) else {
        return;
    };
    let (lends, into_variable) = (c.below(2) == 0, c.below(3) == 0);
    c.step();
    let there = beside(move || {
        let words = vec![9; 60];
        if lends {
            let _ = tx.send_from_timeout(&words, BESIDE);
        } else {
            let _ = tx.send_slice_timeout(&words, BESIDE);
        }
    });
    c.step();
    if into_variable {
        if let Some(mut to) = c.see(d.variable_slice::<u64>(80)) {
            c.see(rx.recv_into_timeout(&mut to, BESIDE));
            std::hint::black_box(to.get().map(|words| words.iter().sum::<u64>()));
        }
    } else {
        let mut to = vec![0_u64; 50 + c.below(30) as usize];
        if c.below(2) == 0 {
            c.see(rx.recv_into_timeout(&mut to, BESIDE));
        } else {
            c.see(rx.recv_slice_timeout(&mut to, BESIDE));
        }
    }
    drop(there);
}

/// The ends that face the other member's, and those that it holds: whoever takes one of a dead member sweeps it.
fn of_the_other(d: &Domain, c: &mut Context) {
    let line = |name| d.channel(name).rendezvous().method(Method::Distinct);
    c.step();
    if let Some(rx) = c.see(line("ls").receiver::<u64>()) {
        c.step();
        c.see(rx.try_recv());
        c.see(rx.recv_timeout(SOON));
    }
    c.step();
    if let Some(tx) = c.see(line("lr").sender::<Parcel<[u8]>>()) {
        if let Some(parcel) = c.see(d.parcels(Method::Distinct).zeroed::<[u8]>(100)) {
            c.step();
            c.see(tx.send_timeout(parcel, SOON));
        }
    }
    c.step();
    c.see(line("ls").sender::<u64>());
    c.step();
    c.see(line("lr").receiver::<Parcel<[u8]>>());
}
