//! Request-reply: two clients, two servers; one of the four crashes. Each request reaches at most one server, each call ends, with
//! its own answer or with the reason why there is none.

use std::collections::VecDeque;
use std::sync::Arc;

use shuttle::thread;

use super::{crashes_after, dice, explore, victim, Shuttle};
use crate::channel::call::{Patience, Stop};
use crate::channel::service::{why, Asked, Ended};
use crate::memory::word::Word;
use crate::model::world::reply::{Client, Desk, Server};
use crate::model::world::FOREVER;

const EACH: u64 = 4;
/// More steps than most actors take.
const STEPS_MAX: u64 = 250;

/// Two sweepers after one that has gone.
fn swept_by_two(desk: &Arc<Desk<Shuttle>>, is_client: bool, seat: usize, held: Word) {
    let other = desk.clone();
    let sweeps = thread::spawn(move || other.sweep(is_client, seat, held));
    desk.sweep(is_client, seat, held);
    sweeps.join().unwrap();
}

/// Waits for the oldest call.
fn finish(client: &Client<Shuttle>, under_way: &mut VecDeque<(u64, Asked)>, answered: &mut Vec<u64>) {
    let Some((request, asked)) = under_way.pop_front() else {
        return;
    };
    match client.finish(asked, None) {
        Ok(reply) => {
            assert_eq!(reply, request + 100);
            answered.push(request);
        }
        Err(Ended::Refused(why::DIED)) => {}
        other => panic!("{other:?}"),
    }
}

/// Calls, as many at once as the client has slots; gives those that got their answer.
fn calls(desk: Arc<Desk<Shuttle>>, client: Client<Shuttle>, seat: usize, crash: Option<u64>) -> Vec<u64> {
    let most = desk.terms.slots;
    let held = desk.held(true, seat);
    let mut answered = Vec::new();
    let crashed = crashes_after(crash, || {
        let mut under_way = VecDeque::new();
        for request in (0..EACH).map(|n| 10 * seat as u64 + n) {
            if under_way.len() == most {
                finish(&client, &mut under_way, &mut answered);
            }
            under_way.push_back((request, client.ask(request).unwrap()));
        }
        while !under_way.is_empty() {
            finish(&client, &mut under_way, &mut answered);
        }
    });
    match crashed {
        true => swept_by_two(&desk, true, seat, held),
        false => desk.sweep(true, seat, held),
    }
    answered
}

/// Serves until the last client has gone, and holds one request back now and then; gives what it took.
fn serves(desk: Arc<Desk<Shuttle>>, server: Server<Shuttle>, seat: usize, crash: Option<u64>) -> Vec<u64> {
    let held = desk.held(false, seat);
    let mut taken = Vec::new();
    let crashed = crashes_after(crash, || {
        let mut back = None;
        loop {
            let patience = if back.is_some() { Patience::Try } else { FOREVER };
            match server.take(patience) {
                Ok((hand, request)) => {
                    let before = taken.iter().filter(|taken| **taken / 10 == request / 10);
                    assert!(
                        before.max() < Some(&request),
                        "in the order of its client: {taken:?}, {request}"
                    );
                    taken.push(request);
                    if dice(2) == 0 && back.is_none() {
                        back = Some(hand);
                    } else {
                        server.reply(hand);
                    }
                }
                Err(Stop::WouldBlock) => drop(back.take().map(|hand| server.reply(hand))),
                Err(stop) => {
                    assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                    if let Some(hand) = back.take() {
                        server.reply(hand);
                    }
                    return;
                }
            }
        }
    });
    match crashed {
        true => swept_by_two(&desk, false, seat, held),
        false => desk.sweep(false, seat, held),
    }
    taken
}

#[test]
fn shuttle_reply() {
    explore("request-reply, two clients, two servers, one crashes", || {
        let desk = Desk::<Shuttle>::new(2, 2, false, 1 + dice(2) as usize);
        let (victim, steps) = victim(4, STEPS_MAX);
        let crash = |actor: usize| if actor == victim { steps } else { None };
        let clients = [0, 1].map(|seat| Client::new(&desk, seat));
        let servers = [0, 1].map(|seat| Server::new(&desk, seat));
        let calling: Vec<_> = (0..)
            .zip(clients)
            .map(|(seat, client)| {
                let (desk, crash) = (desk.clone(), crash(seat));
                thread::spawn(move || calls(desk, client, seat, crash))
            })
            .collect();
        let serving: Vec<_> = (0..)
            .zip(servers)
            .map(|(seat, server)| {
                let (desk, crash) = (desk.clone(), crash(2 + seat));
                thread::spawn(move || serves(desk, server, seat, crash))
            })
            .collect();
        let join = |thread: thread::JoinHandle<Vec<u64>>| thread.join().unwrap();
        let answered: Vec<Vec<u64>> = calling.into_iter().map(join).collect();
        let mut taken: Vec<u64> = serving.into_iter().flat_map(join).collect();
        let number = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), number, "one request for two servers: {taken:?}");
        for (client, answered) in answered.iter().enumerate() {
            // Who is alive has an answer for each call, but for what a dead server had in hand.
            let hurt = steps.is_some() && (victim == client || victim >= 2);
            let least = match hurt {
                true if victim == client => 0,
                true => EACH as usize - 2, // it holds one back, and has one in hand
                false => EACH as usize,
            };
            assert!(answered.len() >= least, "{client}: {answered:?}, {victim}");
        }
    });
}
