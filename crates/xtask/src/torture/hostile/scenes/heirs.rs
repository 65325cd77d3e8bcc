//! Channels that wait for a successor, or keep for the sender what a dead receiver had in hand.

use staffetta::{ChannelBuilder, Continuation, Domain, Method, Parcel};

use super::{Context, Held, Theme, SOON};

pub const THEME: Theme = Theme { name: "successors", set_up, scenes: &[succeeds, returns, waits] };

/// What the other member is called.
pub const NAME: &str = "the other one";

fn waiting<'d>(d: &'d Domain, name: &'d str) -> ChannelBuilder<'d> {
    let channel = d.channel(name).method(Method::Distinct).continuation(Continuation::WaitForSuccessor);
    match name {
        "hl" => channel.rendezvous(),
        "hq" => channel.bounded(2),
        _ => channel.buffered(3),
    }
}

fn returning<'d>(d: &'d Domain, name: &'d str) -> ChannelBuilder<'d> {
    let channel = d.channel(name).method(Method::Distinct).continuation(Continuation::ReturnToSender);
    channel.buffered(3)
}

fn set_up(domain: &Domain, other: &Domain, held: &mut Held) {
    held.push(Box::new(waiting(other, "hl").receiver::<u64>().expect("attach")));
    held.push(Box::new(waiting(other, "hq").receiver::<u64>().expect("attach")));
    for channel in [waiting(other, "hb"), returning(other, "hr")] {
        let tx = channel.clone().sender::<Parcel<u64>>().expect("attach");
        let rx = channel.receiver::<Parcel<u64>>().expect("attach");
        let parcels = other.parcels(Method::Distinct);
        (0..3).for_each(|n| tx.send(parcels.new(n).expect("a parcel")).expect("send"));
        held.push(Box::new((rx.recv().expect("receive"), rx.recv().expect("receive"), rx)));
    }
    let tx = returning(domain, "hv").sender::<u64>().expect("attach");
    let rx = returning(other, "hv").receiver::<u64>().expect("attach");
    (0..3).for_each(|n| tx.send(n).expect("send"));
    std::mem::forget(rx.recv_ref().expect("receive"));
    held.push(Box::new(rx));
}

fn succeeds(d: &Domain, c: &mut Context) {
    c.step();
    let Some(Some(heir)) = c.see(d.successor_of(NAME)) else {
        return;
    };
    std::hint::black_box((heir.ends(), heir.generation(), heir.pid(), heir.name().len()));
    c.step();
    if let Some(rx) = c.see(heir.receiver::<u64>("hl")) {
        c.see(rx.recv_timeout(SOON));
    }
    c.step();
    if let Some(rx) = c.see(heir.receiver::<Parcel<u64>>("hb")) {
        for _ in 0..3 {
            c.step();
            if let Some(mut parcel) = c.see(rx.try_recv()) {
                std::hint::black_box(parcel.redelivered());
                *parcel = 4;
            }
        }
        std::hint::black_box(rx.lost());
    }
    c.step();
    c.see(heir.receiver::<u64>("hq").map(|rx| drop(rx.try_recv())));
    c.step();
}

fn returns(d: &Domain, c: &mut Context) {
    c.step();
    if let Some(tx) = c.see(returning(d, "hr").sender::<Parcel<u64>>()) {
        c.step();
        c.see(d.parcels(Method::Distinct).new(7).map(|parcel| drop(tx.try_send(parcel))));
        c.step();
        if let Some(back) = c.see(tx.unacknowledged()) {
            std::hint::black_box(back.iter().map(|parcel| **parcel).sum::<u64>());
        }
        std::hint::black_box(tx.lost());
    }
    c.step();
    if let Some(tx) = c.see(returning(d, "hv").sender::<u64>()) {
        c.see(tx.try_send(7));
        c.step();
        c.see(tx.unacknowledged());
    }
    c.step();
    if let Some(rx) = c.see(returning(d, "hr").receiver::<Parcel<u64>>()) {
        c.step();
        c.see(rx.try_recv());
        c.see(rx.recv_timeout(SOON));
    }
}

fn waits(d: &Domain, c: &mut Context) {
    c.step();
    if let Some(tx) = c.see(waiting(d, "hl").sender::<u64>()) {
        c.step();
        c.see(tx.send_timeout(1, SOON));
        c.see(tx.try_send(1));
    }
    c.step();
    if let Some(tx) = c.see(waiting(d, "hq").sender::<u64>()) {
        for _ in 0..3 {
            c.step();
            c.see(tx.send_timeout(1, SOON));
        }
    }
    c.step();
    if let Some(rx) = c.see(waiting(d, "hb").receiver::<Parcel<u64>>()) {
        c.step();
        c.see(rx.try_recv().map(|parcel| std::hint::black_box(*parcel)));
        c.see(rx.recv_timeout(SOON));
    }
    c.step();
}
