//! Select against select against a third: three threads in a ring, each may send to the next and receive from the one before; one of
//! them crashes somewhere, and one may make blocking calls instead. Everything that was sent was received, by the same
//! operation of the other side.

use std::sync::Arc;

use shuttle::thread;

use super::{crashes_after, dice, explore, victim, Shuttle};
use crate::channel::call::Stop;
use crate::model::machine::{RECEIVER, SENDER};
use crate::model::world::select::{one_of, End, World};
use crate::model::world::FOREVER;

const THREADS: usize = 3;
const ROUNDS: u64 = 2;
/// More steps than most actors take.
const STEPS_MAX: u64 = 200;

/// What a thread sent to the next one, and got from the one before.
#[derive(Default, Debug)]
struct Log {
    sent: Vec<u64>,
    got: Vec<u64>,
}

/// Sends and receives in turn, by blocking calls, as long as somebody is there.
fn calls(ends: &[End<Shuttle>; 2], me: usize, log: &mut Log) {
    let mut there = [true; 2];
    for round in 0..ROUNDS {
        let value = 10 * me as u64 + round;
        for (end, there) in ends.iter().zip(&mut there).filter(|(_, there)| **there) {
            let done = match end.who {
                SENDER => end.send(value, FOREVER).map(|()| log.sent.push(value)),
                _ => end.receive(FOREVER).map(|value| log.got.push(value)),
            };
            if let Err(stop) = done {
                assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                *there = false; // it would wait for a successor
            }
        }
    }
}

fn selects(
    world: Arc<World<Shuttle>>,
    ends: [End<Shuttle>; 2],
    me: usize,
    crash: Option<u64>,
) -> (Log, bool) {
    let mut log = Log::default();
    let by_calls = me == 2 && dice(2) == 0;
    let crashed = crashes_after(crash, || {
        if by_calls {
            calls(&ends, me, &mut log);
            ends.iter().for_each(End::leave);
            return;
        }
        let mut there: Vec<&End<Shuttle>> = ends.iter().collect();
        for round in 0..ROUNDS {
            let value = 10 * me as u64 + round;
            while !there.is_empty() {
                let (i, done) = one_of(&world, me, &there, value);
                match done {
                    Ok(value) if there[i].who == SENDER => log.sent.push(value),
                    Ok(value) => log.got.push(value),
                    Err(stop) => {
                        assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                        there.remove(i);
                        continue;
                    }
                }
                break;
            }
        }
        ends.iter().for_each(End::leave);
    });
    if crashed {
        // One sweeper for each channel.
        let other = world.clone();
        let before = (me + THREADS - 1) % THREADS;
        let sweeps = thread::spawn(move || other.dies(me, SENDER));
        world.dies(before, RECEIVER);
        sweeps.join().unwrap();
    }
    (log, crashed)
}

#[test]
fn shuttle_select_three() {
    explore("select against select against a third, one crashes", || {
        let world = World::<Shuttle>::new(THREADS, THREADS);
        let (victim, steps) = victim(THREADS, STEPS_MAX);
        let threads: Vec<_> = (0..THREADS)
            .map(|me| {
                let before = (me + THREADS - 1) % THREADS;
                let ends = [End::new(&world, me, SENDER, me), End::new(&world, before, RECEIVER, me)];
                (me, ends)
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(me, ends)| {
                let (world, crash) = (world.clone(), if me == victim { steps } else { None });
                thread::spawn(move || selects(world, ends, me, crash))
            })
            .collect();
        let logs: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for me in 0..THREADS {
            let (from, from_crashed) = &logs[me];
            let (to, to_crashed) = &logs[(me + 1) % THREADS];
            let (sent, got) = (&from.sent, &to.got);
            // What the one that crashed was in may have happened.
            let same = sent.len().min(got.len());
            assert_eq!(sent[..same], got[..same], "{logs:?}");
            assert!(sent.len() <= got.len() + usize::from(*to_crashed), "lost: {logs:?}");
            assert!(got.len() <= sent.len() + usize::from(*from_crashed), "from nowhere: {logs:?}");
        }
    });
}
