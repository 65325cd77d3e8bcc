//! The queue: two senders, two receivers, one of the four crashes somewhere and is swept by two.

use std::sync::Arc;

use shuttle::thread;

use super::{crashes_after, dice, explore, victim, Shuttle};
use crate::channel::call::{Patience, Stop};
use crate::channel::side::{DIED, LEFT};
use crate::memory::word::Word;
use crate::model::world::queue::{End, Many};
use crate::model::world::FOREVER;

const EACH: u64 = 3;
/// More steps than most actors take.
const STEPS_MAX: u64 = 150;

/// Two sweepers after one that crashed.
fn swept_by_two(many: &Arc<Many<Shuttle>>, is_sender: bool, seat: usize, held: Word) {
    let other = many.clone();
    let sweeps = thread::spawn(move || other.detach(is_sender, seat, held, DIED));
    many.detach(is_sender, seat, held, DIED);
    sweeps.join().unwrap();
}

/// What an actor has done, and what may have happened or not.
#[derive(Default)]
struct Done {
    values: Vec<u64>,
    doubtful: Vec<u64>,
}

fn sends(many: Arc<Many<Shuttle>>, end: End<Shuttle>, seat: usize, crash: Option<u64>) -> Done {
    let held = many.held(true, seat);
    let mut done = Done::default();
    let crashed = crashes_after(crash, || {
        for n in 0..EACH {
            let value = 10 * seat as u64 + n;
            done.doubtful = vec![value];
            end.send(value, FOREVER).unwrap();
            done.values.append(&mut done.doubtful);
        }
    });
    match crashed {
        true => swept_by_two(&many, true, seat, held),
        false => many.detach(true, seat, held, LEFT),
    }
    done
}

/// In place, so that it is known what was in hand; a copy that was being made might be any message.
fn receives(many: Arc<Many<Shuttle>>, end: End<Shuttle>, seat: usize, crash: Option<u64>) -> Done {
    let held = many.held(false, seat);
    let mut done = Done::default();
    let in_place = crash.is_some() || dice(2) == 0;
    let crashed = crashes_after(crash, || loop {
        let got = match in_place {
            true => end.recv_in_place(FOREVER, |value| done.doubtful = vec![value]),
            false => end.recv(FOREVER),
        };
        match got {
            Ok(value) => {
                done.doubtful.clear();
                done.values.push(value);
            }
            Err(stop) => {
                assert!(matches!(stop, Stop::Gone(_)), "{stop:?}");
                return;
            }
        }
    });
    match crashed {
        true => swept_by_two(&many, false, seat, held),
        false => many.detach(false, seat, held, LEFT),
    }
    done
}

fn two_and_two(per_sender: Option<u64>) {
    let degree = per_sender.map_or_else(|| 1 + dice(2), |each| 2 * each);
    let many = Many::<Shuttle>::new(degree, per_sender, 2, 2);
    let (victim, steps) = victim(4, STEPS_MAX);
    let crash = |actor: usize| if actor == victim { steps } else { None };
    let ends = [(true, 0), (true, 1), (false, 0), (false, 1)].map(|(is_sender, seat)| {
        // All are there before the first one begins: who comes later does not know who has left.
        (End::new(&many, is_sender, seat), is_sender, seat)
    });
    let threads: Vec<_> = (0..)
        .zip(ends)
        .map(|(actor, (end, is_sender, seat))| {
            let (many, crash) = (many.clone(), crash(actor));
            let acts = if is_sender { sends } else { receives };
            thread::spawn(move || acts(many, end, seat, crash))
        })
        .collect();
    let mut done: Vec<Done> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let (got, sent) = (done.split_off(2), done);
    for (got, who) in got.iter().flat_map(|got| [(&got.values, 0), (&got.values, 1)]) {
        // What a dead receiver had in hand comes later than what was sent after it.
        let from = got.iter().filter(|value| **value / 10 == who);
        assert!(victim == 2 || victim == 3 || from.is_sorted_by(|a, b| a < b), "order: {got:?}");
    }
    let all_of = |done: &[Done]| -> (Vec<u64>, Vec<u64>) {
        let values = done.iter().flat_map(|done| done.values.clone());
        (values.collect(), done.iter().flat_map(|done| done.doubtful.clone()).collect())
    };
    let ((mut got, got_perhaps), (sent, sent_perhaps)) = (all_of(&got), all_of(&sent));
    // What a dead receiver had in hand may have found nobody.
    let (seat, held) = many.receivers.attach(3, 2).unwrap();
    let last = End::new(&many, false, seat);
    let before = got.len();
    while let Ok(value) = last.recv(Patience::Try) {
        got.push(value);
    }
    assert!(got.len() == before || victim >= 2 && steps.is_some(), "left over: {got:?}");
    let number = got.len();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), number, "twice: {got:?}");
    let lost = sent.iter().find(|value| !got.contains(value) && !got_perhaps.contains(value));
    assert_eq!(lost, None, "lost: {sent:?}, {got:?}");
    let more = got.iter().find(|value| !sent.contains(value) && !sent_perhaps.contains(value));
    assert_eq!(more, None, "not sent: {sent:?}, {got:?}");
    // No slot was lost: a successor fills the channel to its degree.
    let (lane, _) = many.senders.attach(3, 2).unwrap();
    many.queue().recover_lane(lane);
    let successor = End::new(&many, true, lane);
    let room = per_sender.unwrap_or(degree);
    for n in 0..room {
        assert_eq!(successor.send(n, Patience::Try).map(drop), Ok(()), "{n} of {room}");
    }
    assert_eq!(successor.send(9, Patience::Try), Err(Stop::WouldBlock));
    (0..room).for_each(|n| assert_eq!(last.recv(Patience::Try), Ok(n)));
    many.detach(false, seat, held, LEFT);
}

#[test]
fn shuttle_queue() {
    explore("queue, two senders, two receivers, one crashes", || two_and_two(None));
}

#[test]
fn shuttle_queue_degree_per_sender() {
    explore("queue, degree per sender, two and two, one crashes", || two_and_two(Some(1)));
}
