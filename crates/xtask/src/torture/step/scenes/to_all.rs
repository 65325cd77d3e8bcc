//! Broadcasts, the latest value, request-reply, selects, variables, private memory, and ends sent through channels.

use staffetta::{Client, Domain, Parcel, Receiver, Select, Sender, Server, Wait};

use super::plain::{act, kept, sends, with, with_after};
use crate::torture::step::scene::{keep, Act, Scene};

fn is_again(error: &staffetta::RecvError) -> bool {
    matches!(error, staffetta::RecvError::NoPeer)
}

/// Receives until the sender is gone.
fn drain(mut recv: impl FnMut() -> Result<u64, staffetta::RecvError>) -> Vec<u64> {
    let mut came = Vec::new();
    loop {
        match recv() {
            Ok(number) => came.push(number),
            Err(error) if is_again(&error) => {}
            Err(_) => return came,
        }
    }
}

fn broadcast_sender(d: Domain, receive: bool) -> Act {
    let d = kept(d);
    let tx = keep(d.channel("to all").broadcast(2).wait(Wait::Park).sender::<u64>().expect("attach"));
    if receive {
        return act(move || tx.send(0));
    }
    sends(move || tx.send(0))
}

fn broadcast_receiver(d: Domain) -> Act {
    let d = kept(d);
    let rx = keep(d.channel("from all").broadcast(2).wait(Wait::Park).receiver::<u64>().expect("attach"));
    act(move || rx.recv())
}

fn client(d: &'static Domain, name: &'static str) -> &'static Client<u64, u64> {
    keep(d.channel(name).service(2).wait(Wait::Park).client().expect("attach"))
}

fn server(d: &'static Domain, name: &'static str) -> &'static Server<u64, u64> {
    keep(d.channel(name).service(2).wait(Wait::Park).server().expect("attach"))
}

pub fn scenes(all: &mut Vec<Box<dyn Scene>>) {
    with(
        all,
        ["broadcast to one who waits", "broadcast to one who comes later"],
        |d| broadcast_sender(d, false),
        |d| {
            let rx = d.channel("to all").broadcast(2).wait(Wait::Park).receiver::<u64>().expect("attach");
            Box::new(move || drain(|| rx.recv()))
        },
        true,
    );
    with(
        all,
        ["receive a broadcast that is there", "receive a broadcast that comes"],
        broadcast_receiver,
        |d| {
            let tx = d.channel("from all").broadcast(2).wait(Wait::Park).sender::<u64>().expect("attach");
            Box::new(move || {
                for n in 0..4 {
                    let _ = tx.send_timeout(n, std::time::Duration::from_millis(200));
                }
                Vec::new()
            })
        },
        false,
    );
    with(
        all,
        ["send the latest to one who waits", "send the latest to one who comes later"],
        |d| {
            let d = kept(d);
            let tx = keep(d.channel("latest").latest().sender::<u64>().expect("attach"));
            act(move || tx.send(0))
        },
        |d| {
            let rx = d.channel("latest").latest().receiver::<u64>().expect("attach");
            Box::new(move || drop_all(drain(|| rx.recv_timeout(std::time::Duration::from_millis(100)))))
        },
        false,
    );
    with(
        all,
        ["call a server that waits", "call a server that comes later"],
        |d| {
            let client = client(kept(d), "call");
            act(move || client.call(1))
        },
        |d| {
            let server = d.channel("call").service(2).wait(Wait::Park).server::<u64, u64>().expect("attach");
            Box::new(move || {
                server.serve(|n| n + 1);
                Vec::new()
            })
        },
        false,
    );
    with(
        all,
        ["serve a request that is there", "serve a request that comes"],
        |d| {
            let server = server(kept(d), "serve");
            act(move || server.recv())
        },
        |d| call_once(d, "serve"),
        false,
    );
    with(
        all,
        ["serve and reply", "wait, serve and reply"],
        |d| {
            let server = server(kept(d), "reply");
            act(move || server.recv().map(|request| request.reply(2)))
        },
        |d| call_once(d, "reply"),
        false,
    );
    with(
        all,
        ["take a request and drop it", "wait for a request and drop it"],
        |d| {
            let server = server(kept(d), "refuse");
            act(move || drop(server.recv()))
        },
        |d| call_once(d, "refuse"),
        false,
    );
    with(
        all,
        ["begin a call and give it up", "begin a call and give it up, later"],
        |d| {
            let client = client(kept(d), "give up");
            act(move || drop(client.begin(1)))
        },
        |d| {
            let server =
                d.channel("give up").service(2).wait(Wait::Park).server::<u64, u64>().expect("attach");
            Box::new(move || {
                server.serve(|n| n + 1);
                Vec::new()
            })
        },
        false,
    );
    with(
        all,
        ["select of two, a sender waits", "select of two, a sender comes"],
        |d| {
            let d = kept(d);
            let one = keep(
                d.channel("select one").rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach"),
            );
            let two =
                keep(d.channel("select two").buffered(2).wait(Wait::Park).receiver::<u64>().expect("attach"));
            act(move || {
                let mut select = Select::new();
                let first = select.recv(one).expect("an operation");
                select.recv(two).expect("an operation");
                let chosen =
                    select.select().map(|op| if op.index() == first { op.recv(one) } else { op.recv(two) });
                chosen.map(|got| got.is_ok()).is_ok()
            })
        },
        |d| {
            let one = d.channel("select one").rendezvous().wait(Wait::Park).sender::<u64>().expect("attach");
            let two = d.channel("select two").buffered(2).wait(Wait::Park).sender::<u64>().expect("attach");
            Box::new(move || {
                let _ = one.send(0);
                drop(two);
                Vec::new()
            })
        },
        false,
    );
    with(
        all,
        ["select against a select that waits", "select against a select that comes"],
        |d| {
            let d = kept(d);
            let rx =
                keep(d.channel("against a").rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach"));
            let tx =
                keep(d.channel("against b").rendezvous().wait(Wait::Park).sender::<u64>().expect("attach"));
            act(move || both(tx, rx))
        },
        |d| {
            let tx = d.channel("against a").rendezvous().wait(Wait::Park).sender::<u64>().expect("attach");
            let rx = d.channel("against b").rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach");
            Box::new(move || {
                both(&tx, &rx);
                Vec::new()
            })
        },
        false,
    );
    with(
        all,
        ["variable to a variable that waits", "variable to a variable that comes"],
        |d| {
            let d = kept(d);
            let tx = keep(d.channel("variable").wait(Wait::Park).sender::<[u64]>().expect("attach"));
            let mut variable = d.variable_slice::<u64>(50).expect("a variable");
            variable.set_slice(&[0; 50]);
            sends(move || tx.send_variable(&mut variable))
        },
        |d| {
            let rx = d.channel("variable").wait(Wait::Park).receiver::<[u64]>().expect("attach");
            let mut into = d.variable_slice::<u64>(50).expect("a variable");
            Box::new(move || drain(|| rx.recv_into(&mut into).map(|()| into.get().map_or(9, |got| got[49]))))
        },
        true,
    );
    with(
        all,
        ["private memory to one who waits", "private memory to one who comes"],
        |d| {
            let d = kept(d);
            let tx = keep(d.channel("private").wait(Wait::Park).sender::<[u64]>().expect("attach"));
            let from = vec![0_u64; 1_000];
            sends(move || tx.send_from(&from))
        },
        |d| {
            let rx = d.channel("private").wait(Wait::Park).receiver::<[u64]>().expect("attach");
            let mut into = vec![9_u64; 1_000];
            Box::new(move || drain(|| rx.recv_into(&mut into[..]).map(|_| into[999])))
        },
        true,
    );
    with(
        all,
        ["send an end to one who waits", "send an end to one who comes later"],
        |d| {
            let d = kept(d);
            let tx =
                keep(d.channel("ends").buffered(2).wait(Wait::Park).sender::<Sender<u64>>().expect("attach"));
            let (end, other) = d.channel("").buffered(1).unnamed::<u64>().expect("a channel");
            keep(other);
            sends(move || tx.send(end).map_err(|error| error.why))
        },
        |d| {
            let rx =
                d.channel("ends").buffered(2).wait(Wait::Park).receiver::<Sender<u64>>().expect("attach");
            Box::new(move || {
                let mut n = 0;
                drain(|| rx.recv().map(|_| std::mem::replace(&mut n, 1)))
            })
        },
        true,
    );
    with_after(
        all,
        ["receive an end that is there", "receive an end that comes"],
        |d| {
            let d = kept(d);
            let rx =
                d.channel("ends to come").bounded(2).wait(Wait::Park).receiver::<Receiver<Parcel<u64>>>();
            let rx = keep(rx.expect("attach"));
            act(move || rx.recv())
        },
        |d| {
            let tx = d.channel("ends to come").bounded(2).wait(Wait::Park).sender::<Receiver<Parcel<u64>>>();
            let (tx, d) = (tx.expect("attach"), d.clone());
            Box::new(move || {
                let (talks, listens) = d.channel("").buffered(1).unnamed::<Parcel<u64>>().expect("a channel");
                let _ = talks.send(Parcel::new(&d, 1_u64).expect("a parcel"));
                let _ = tx.send(listens);
                Vec::new()
            })
        },
        take_back,
    );
}

/// What nobody took is taken back, so that the account is whole; what the dead had in hand comes when it is swept.
fn take_back(d: &Domain) {
    let rx = d.channel("ends to come").bounded(2).receiver::<Receiver<Parcel<u64>>>().expect("attach");
    while rx.recv_timeout(std::time::Duration::from_millis(30)).is_ok() {}
}

fn drop_all(_: Vec<u64>) -> Vec<u64> {
    Vec::new()
}

fn call_once(d: &Domain, name: &'static str) -> Box<dyn FnOnce() -> Vec<u64> + Send> {
    let client = d.channel(name).service(2).wait(Wait::Park).client::<u64, u64>().expect("attach");
    Box::new(move || {
        let _ = client.call(1);
        Vec::new()
    })
}

/// Sends and receives whatever is possible first.
fn both(tx: &Sender<u64>, rx: &Receiver<u64>) -> bool {
    let mut select = Select::new();
    select.set_wait(Wait::Park);
    let sends = select.send(tx).expect("an operation");
    select.recv(rx).expect("an operation");
    let happened = match select.select() {
        Ok(op) if op.index() == sends => op.send(tx, 1).is_ok(),
        Ok(op) => op.recv(rx).is_ok(),
        Err(_) => false,
    };
    happened
}
