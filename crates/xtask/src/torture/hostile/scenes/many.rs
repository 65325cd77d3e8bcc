//! Channels with many ends: queues, broadcasts and the latest value, services.

use staffetta::{ChannelBuilder, Domain, Late, Method, Overflow, Parcel, SlowReceiver};

use super::ends::{exchange, in_place};
use super::{Context, Held, Theme, SOON};

pub const QUEUES: Theme = Theme {
    name: "queues",
    set_up: queues,
    scenes: &[bounded, many_to_one, drops, of_parcels, queues_of_the_other],
};
pub const CASTS: Theme =
    Theme { name: "broadcasts", set_up: casts, scenes: &[broadcast, latest, casts_of_the_other] };
pub const SERVICES: Theme =
    Theme { name: "services", set_up: services, scenes: &[service, services_of_the_other] };

fn queues(_: &Domain, other: &Domain, held: &mut Held) {
    let jobs = || other.channel("qw").work_queue(3).method(Method::Distinct);
    let (tx, rx) = (jobs().sender::<u64>().expect("attach"), jobs().receiver::<u64>().expect("attach"));
    (0..3).for_each(|n| tx.send(n).expect("send"));
    std::mem::forget(rx.recv_ref().expect("receive"));
    held.push(Box::new((tx, rx)));
    let tx =
        other.channel("qm").many_to_one(2).method(Method::Distinct).sender::<Parcel<u64>>().expect("attach");
    let parcel = || other.parcels(Method::Distinct).new(7_u64).expect("a parcel");
    tx.send(parcel()).expect("send");
    held.push(Box::new((tx, parcel())));
}

fn bounded(d: &Domain, c: &mut Context) {
    let (method, wait, degree) = (c.method(), c.wait(), 1 + c.below(2) * 3);
    let name = c.name(if degree == 1 { "bounded1" } else { "bounded4" }, method);
    let queue = || d.channel(&name).bounded(degree).method(method).wait(wait);
    c.step();
    let (tx, rx) = (c.see(queue().sender::<u64>()), c.see(queue().receiver::<u64>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        if c.below(2) == 0 {
            exchange(c, &tx, &rx, || Some(1));
        } else {
            in_place(c, &tx, &rx, 2, false);
        }
    }
}

fn many_to_one(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = c.name("many-to-one", method);
    let queue = || d.channel(&name).many_to_one(2).method(method);
    c.step();
    let (one, two) = (c.see(queue().sender::<u64>()), c.see(queue().sender::<u64>()));
    c.step();
    if let (Some(one), Some(two), Some(rx)) = (one, two, c.see(queue().receiver::<u64>())) {
        exchange(c, &one, &rx, || Some(1));
        c.see(two.try_send(3));
        in_place(c, &two, &rx, 2, false);
    }
}

fn drops(d: &Domain, c: &mut Context) {
    let method = c.method();
    let newest = c.below(2) == 0;
    let name = c.name(if newest { "drops-newest" } else { "drops-oldest" }, method);
    let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
    let queue = || d.channel(&name).bounded(2).overflow(overflow).method(method);
    c.step();
    let (tx, rx) = (c.see(queue().sender::<u64>()), c.see(queue().receiver::<u64>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        exchange(c, &tx, &rx, || Some(1));
        in_place(c, &tx, &rx, 2, false);
    }
}

fn of_parcels(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = c.name("queue-of-parcels", method);
    let queue = || d.channel(&name).bounded(2).overflow(Overflow::DropOldest).method(method);
    c.step();
    let (tx, rx) = (c.see(queue().sender::<Parcel<u64>>()), c.see(queue().receiver::<Parcel<u64>>()));
    if let (Some(tx), Some(rx)) = (tx, rx) {
        exchange(c, &tx, &rx, || d.parcels(method).new(4_u64).ok());
    }
}

fn queues_of_the_other(d: &Domain, c: &mut Context) {
    let jobs = || d.channel("qw").work_queue(3).method(Method::Distinct);
    c.step();
    if let Some(rx) = c.see(jobs().receiver::<u64>()) {
        c.step();
        c.see(rx.try_recv());
        c.see(rx.recv_ref_timeout(SOON).map(drop));
        c.step();
        c.see(jobs().sender::<u64>().map(|tx| drop(tx.try_send(1))));
        c.see(rx.try_recv());
    }
    let mail = || d.channel("qm").many_to_one(2).method(Method::Distinct);
    c.step();
    if let Some(rx) = c.see(mail().receiver::<Parcel<u64>>()) {
        c.step();
        c.see(rx.try_recv());
        c.see(rx.recv_timeout(SOON));
    }
    // So many that the dead one's seat is wanted.
    c.step();
    let taken: Vec<_> = (0..3).filter_map(|_| mail().senders(2).sender::<Parcel<u64>>().ok()).collect();
    c.step();
    drop(taken);
    // The queue has one sender: whoever wants to be it looks whether the one before is dead.
    c.see(jobs().sender::<u64>());
}

fn casts(_: &Domain, other: &Domain, held: &mut Held) {
    let cast = |name| other.channel(name).broadcast(2).method(Method::Distinct);
    let tx = cast("cb").sender::<u64>().expect("attach");
    let rx = cast("cb").receiver::<u64>().expect("attach");
    tx.send(1).expect("send");
    tx.send(2).expect("send");
    std::mem::forget(rx.recv_ref().expect("receive"));
    held.push(Box::new(rx));
    drop(tx);
    let latest = || other.channel("cl").latest().method(Method::Distinct);
    let tx = latest().sender::<u64>().expect("attach");
    tx.send(3).expect("send");
    held.push(Box::new((tx, latest().receiver::<u64>().expect("attach"))));
}

fn broadcast(d: &Domain, c: &mut Context) {
    let (method, wait) = (c.method(), c.wait());
    let (slow, name) = [
        (SlowReceiver::Block, "waits"),
        (SlowReceiver::DropOldest, "misses"),
        (SlowReceiver::Disconnect, "disconnects"),
    ][c.below(3) as usize];
    let degree = 1 + c.below(2) * 2;
    let name = format!("{}{degree}", c.name(name, method));
    let cast =
        || d.channel(&name).broadcast(degree).slow_receiver(slow).receivers(3).method(method).wait(wait);
    c.step();
    let (tx, one) = (c.see(cast().sender::<u64>()), c.see(cast().receiver::<u64>()));
    c.step();
    let late = if c.below(2) == 0 { Late::Last } else { Late::LastN(9) };
    let (Some(tx), Some(one), Some(two)) = (tx, one, c.see(cast().late(late).receiver::<u64>())) else {
        return;
    };
    for _ in 0..4 + c.below(6) {
        c.step();
        match c.below(9) {
            0..=2 => drop(c.see(tx.try_send(1))),
            3 => drop(c.see(tx.send_timeout(2, SOON))),
            4 => {
                let reserved = if c.below(2) == 0 { tx.try_reserve() } else { tx.reserve_timeout(SOON) };
                let reserved = c.see(reserved);
                c.step();
                if let Some(slot) = reserved {
                    c.see(slot.reused().send());
                }
            }
            5 => drop(c.see(one.try_recv())),
            6 => drop(c.see(two.recv_timeout(SOON))),
            7 => {
                let rx = if c.below(2) == 0 { &one } else { &two };
                let taken = if c.below(2) == 0 { rx.try_recv_ref() } else { rx.recv_ref_timeout(SOON) };
                if let Some(taken) = c.see(taken) {
                    c.step();
                    std::hint::black_box(*taken);
                    c.see(tx.try_send(1));
                }
            }
            _ => {
                let answers = (tx.receivers(), tx.sent(), one.missed(), one.has_peer(), one.degree());
                std::hint::black_box((answers, tx.channel_counters(), one.counters()));
                two.try_iter().take(3).for_each(drop);
            }
        }
    }
}

fn latest(d: &Domain, c: &mut Context) {
    let method = c.method();
    let name = c.name("latest", method);
    let channel = || d.channel(&name).latest().receivers(2).method(method);
    c.step();
    let (tx, rx) = (c.see(channel().sender::<[u64; 9]>()), c.see(channel().receiver::<[u64; 9]>()));
    let (Some(tx), Some(rx)) = (tx, rx) else {
        return;
    };
    for _ in 0..3 + c.below(5) {
        c.step();
        match c.below(6) {
            0 | 1 => drop(c.see(tx.send([1; 9]))),
            2 => {
                if let Some(slot) = c.see(tx.reserve()) {
                    c.step();
                    c.see(slot.zeroed().send());
                }
            }
            3 => drop(c.see(rx.try_recv())),
            4 => drop(c.see(rx.recv_ref_timeout(SOON).map(|value| value[3]))),
            _ => {
                std::hint::black_box((tx.sent(), rx.missed(), rx.has_peer(), tx.receivers()));
                if c.see(rx.try_recv_ref().map(drop)).is_some() {
                    c.see(rx.get());
                }
            }
        }
    }
    c.step();
    if let Some(observer) = c.see(d.channel(&name).dyn_observer()) {
        c.step();
        c.see(observer.try_recv_bytes());
        c.see(observer.recv_bytes_timeout(SOON));
        std::hint::black_box(observer.missed());
    }
}

fn casts_of_the_other(d: &Domain, c: &mut Context) {
    let cast = |name| d.channel(name).broadcast(2).method(Method::Distinct);
    c.step();
    if let Some(tx) = c.see(cast("cb").sender::<u64>()) {
        for _ in 0..3 {
            c.step();
            c.see(tx.send_timeout(4, SOON));
        }
    }
    c.step();
    let latest = || d.channel("cl").latest().method(Method::Distinct);
    if let Some(rx) = c.see(latest().receiver::<u64>()) {
        c.see(rx.try_recv());
        c.step();
        c.see(rx.recv_timeout(SOON));
    }
    c.step();
    c.see(latest().sender::<u64>().map(|tx| drop(tx.send(4))));
}

fn services(domain: &Domain, other: &Domain, held: &mut Held) {
    // A server with a request in hand, whose client has given up; one of two servers; a client that has asked.
    let one = |d| ChannelBuilder::service(Domain::channel(d, "ss"), 2).method(Method::Distinct).servers(1);
    let server = one(other).server::<u64, u64>().expect("attach");
    let client = one(domain).client::<u64, u64>().expect("attach");
    let pending = client.begin(1).expect("ask");
    std::mem::forget(server.recv().expect("a request"));
    drop(pending);
    held.push(Box::new((server, client)));
    let two = |d| ChannelBuilder::service(Domain::channel(d, "s2"), 2).method(Method::Distinct).servers(2);
    let server = two(other).server::<u64, u64>().expect("attach");
    let client = two(other).client::<u64, u64>().expect("attach");
    std::mem::forget((client.begin(2).expect("ask"), client.begin(3).expect("ask")));
    std::mem::forget(server.recv().expect("a request"));
    held.push(Box::new((server, client)));
}

fn service(d: &Domain, c: &mut Context) {
    let (method, wait, servers) = (c.method(), c.wait(), 1 + c.below(2) as u8);
    let name = c.name(if servers == 1 { "service" } else { "service2" }, method);
    let desk = || d.channel(&name).service(3).clients(3).servers(servers).method(method).wait(wait);
    c.step();
    let (server, client) = (c.see(desk().server::<u64, [u8; 20]>()), c.see(desk().client::<u64, [u8; 20]>()));
    let (Some(server), Some(client)) = (server, client) else {
        return;
    };
    c.step();
    c.see(client.call_timeout(1, SOON));
    let mut pending = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..3 + c.below(6) {
        c.step();
        match c.below(8) {
            // Who has a slot free does not wait.
            0..=2 if pending.is_empty() => pending.extend(c.see(client.begin(5))),
            0..=2 => {}
            3 | 4 => requests.extend(c.see(server.try_recv())),
            5 => requests.extend(c.see(server.recv_timeout(SOON))),
            6 => {
                if let Some(request) = requests.pop() {
                    std::hint::black_box((*request, request.is_wanted()));
                    c.step();
                    if c.below(4) == 0 {
                        drop(request);
                    } else {
                        c.see(request.reply([1; 20]));
                    }
                }
            }
            _ => {
                if let Some(call) = pending.pop() {
                    std::hint::black_box(call.is_ended());
                    c.see(call.wait_timeout(SOON));
                }
                std::hint::black_box((client.has_peer(), server.has_peer(), client.channel_counters()));
            }
        }
    }
    c.step();
}

fn services_of_the_other(d: &Domain, c: &mut Context) {
    let desk = |name| d.channel(name).service(2).method(Method::Distinct);
    c.step();
    if let Some(client) = c.see(desk("ss").servers(1).client::<u64, u64>()) {
        c.step();
        c.see(client.call_timeout(1, SOON));
    }
    c.step();
    if let Some(server) = c.see(desk("ss").servers(1).server::<u64, u64>()) {
        c.step();
        if let Some(request) = c.see(server.try_recv()) {
            c.see(request.reply(2));
        }
    }
    let one = c.see(desk("s2").servers(2).server::<u64, u64>());
    c.step();
    let two = c.see(desk("s2").servers(2).server::<u64, u64>());
    for server in [one, two].iter().flatten() {
        c.step();
        if let Some(request) = c.see(server.recv_timeout(SOON)) {
            c.step();
            c.see(request.reply(2));
        }
    }
}
