//! Selects over ends of all kinds.

use staffetta::{Domain, Method, Parcel, Select};

use super::partner::beside;
use super::{Context, Held, Theme, SOON};

pub const THEME: Theme = Theme { name: "select", set_up, scenes: &[mixed, rendezvous] };

fn set_up(_: &Domain, other: &Domain, held: &mut Held) {
    let tx = other.channel("xb").buffered(2).method(Method::Distinct).sender::<u64>().expect("attach");
    tx.send(1).expect("send");
    held.push(Box::new(tx));
    held.push(Box::new(
        other.channel("xl").rendezvous().method(Method::Distinct).sender::<u64>().expect("attach"),
    ));
}

fn mixed(d: &Domain, c: &mut Context) {
    let (method, wait) = (c.method(), c.wait());
    let name = |c: &mut Context, name: &str| c.name(name, method);
    let (buffered, queue, cast, desk) =
        (name(c, "xbuffered"), name(c, "xqueue"), name(c, "xcast"), name(c, "xdesk"));
    c.step();
    let buffered = || d.channel(&buffered).buffered(2).method(method);
    let queue = || d.channel(&queue).bounded(2).method(method);
    let cast = || d.channel(&cast).broadcast(2).method(method);
    let desk = || d.channel(&desk).service(2).method(method);
    let (b_tx, b_rx) = (c.see(buffered().sender::<u64>()), c.see(buffered().receiver::<u64>()));
    c.step();
    let (q_tx, q_rx) = (c.see(queue().sender::<Parcel<u64>>()), c.see(queue().receiver::<Parcel<u64>>()));
    let (c_tx, c_rx) = (c.see(cast().sender::<u64>()), c.see(cast().receiver::<u64>()));
    let (client, server) = (c.see(desk().client::<u64, u64>()), c.see(desk().server::<u64, u64>()));
    let x_rx = c.see(d.channel("xb").buffered(2).method(Method::Distinct).receiver::<u64>());
    let call = client.as_ref().and_then(|client| c.see(client.begin(4)));
    let (local_tx, local_rx) = staffetta::bounded::<u64>(1);
    let mut select = Select::new();
    select.set_wait(wait);
    let mut kinds = Vec::new();
    let mut add = |kind: u8, added: Option<usize>| kinds.extend(added.map(|_| kind));
    add(0, b_tx.as_ref().and_then(|end| c.see(select.send(end))));
    add(1, b_rx.as_ref().and_then(|end| c.see(select.recv(end))));
    add(2, q_tx.as_ref().and_then(|end| c.see(select.send(end))));
    add(3, q_rx.as_ref().and_then(|end| c.see(select.recv(end))));
    add(4, c_tx.as_ref().and_then(|end| c.see(select.send(end))));
    add(5, c_rx.as_ref().and_then(|end| c.see(select.recv(end))));
    add(6, server.as_ref().and_then(|end| c.see(select.recv(end))));
    add(7, call.as_ref().and_then(|end| c.see(select.recv(end))));
    add(8, x_rx.as_ref().and_then(|end| c.see(select.recv(end))));
    if c.below(2) == 0 {
        add(9, c.see(select.recv(&local_rx)));
    }
    // What is possible at once is taken away now and then, so that the select sleeps.
    if c.below(3) == 0 {
        for (i, kind) in kinds.iter().enumerate() {
            if matches!(kind, 0 | 2 | 4 | 6 | 8) {
                select.remove(i);
            }
        }
    }
    for _ in 0..3 + c.below(5) {
        c.step();
        if c.below(8) == 0 {
            let _ = local_tx.try_send(1);
        }
        if c.below(6) == 0 {
            c.see(select.ready_timeout(SOON));
            continue;
        }
        let chosen = if c.below(2) == 0 { select.try_select() } else { select.select_timeout(SOON) };
        let Some(chosen) = c.see(chosen) else {
            continue;
        };
        c.step();
        if c.below(8) == 0 {
            drop(chosen);
            continue;
        }
        let kind = kinds.get(chosen.index()).copied();
        match (kind, &b_tx, &b_rx, &q_tx, &q_rx) {
            (Some(0), Some(end), ..) => drop(c.see(chosen.send(end, 1))),
            (Some(1), _, Some(end), ..) => drop(c.see(chosen.recv(end))),
            (Some(2), _, _, Some(end), _) => {
                if let Some(parcel) = c.see(d.parcels(method).new(1_u64)) {
                    c.see(chosen.send(end, parcel));
                }
            }
            (Some(3), .., Some(end)) => drop(c.see(chosen.recv(end))),
            _ => match (kind, &c_tx, &c_rx, &server, &call) {
                (Some(4), Some(end), ..) => drop(c.see(chosen.send(end, 1))),
                (Some(5), _, Some(end), ..) => drop(c.see(chosen.recv(end))),
                (Some(6), _, _, Some(end), _) => {
                    if let Some(request) = c.see(chosen.recv(end)) {
                        c.see(request.reply(1));
                    }
                }
                (Some(7), .., Some(end)) => drop(c.see(chosen.recv(end))),
                (Some(8), ..) => {
                    if let Some(end) = &x_rx {
                        c.see(chosen.recv(end));
                    }
                }
                _ => drop(chosen),
            },
        }
    }
    c.step();
}

/// A select of a rendezvous, beside which somebody comes.
fn rendezvous(d: &Domain, c: &mut Context) {
    let method = c.method();
    let (one, two) = (c.name("x1", method), c.name("x2", method));
    let line = |name: &str| {
        (
            d.channel(name).rendezvous().method(method).sender::<u64>(),
            d.channel(name).rendezvous().method(method).receiver::<u64>(),
        )
    };
    c.step();
    let ((a_tx, a_rx), (b_tx, b_rx)) = (line(&one), line(&two));
    let (a_tx, a_rx, b_tx, b_rx) = (c.see(a_tx), c.see(a_rx), c.see(b_tx), c.see(b_rx));
    let (Some(a_tx), Some(a_rx), Some(b_tx), Some(b_rx)) = (a_tx, a_rx, b_tx, b_rx) else {
        return;
    };
    let there = (c.below(3) != 0).then(|| {
        let sends = c.below(2) == 0;
        beside(move || {
            if sends {
                let _ = a_tx.send_timeout(1, SOON * 4);
            }
            let _ = b_rx.recv_timeout(SOON * 4);
        })
    });
    c.step();
    let mut select = Select::new();
    c.see(select.recv(&a_rx));
    c.see(select.send(&b_tx));
    for _ in 0..2 {
        c.step();
        if let Some(chosen) = c.see(select.select_timeout(SOON * 2)) {
            c.step();
            match chosen.index() {
                0 => drop(c.see(chosen.recv(&a_rx))),
                _ => drop(c.see(chosen.send(&b_tx, 2))),
            }
        }
    }
    drop(select);
    drop(there);
    c.step();
    if let Some(rx) = c.see(d.channel("xl").rendezvous().method(Method::Distinct).receiver::<u64>()) {
        let mut select = Select::new();
        c.see(select.recv(&rx));
        c.step();
        if let Some(chosen) = c.see(select.select_timeout(SOON)) {
            c.see(chosen.recv(&rx));
        };
    }
}
