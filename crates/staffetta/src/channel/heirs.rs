//! Which end a newcomer takes where ends of dead processes wait for their successors.

use super::crowd::{Crowd, Seat};
use super::record::Record;
use super::side::{Side, ATTACHED, DIED};
use super::spec::{Kind, Spec};
use super::{desk, many};
use crate::member::Member;
use crate::memory::word::Word;
use crate::succession::{standing, Standing};

/// Takes the end for this process. `Err`: somebody holds it, or has claimed it: the word that names who.
pub fn take_side(member: &Member, spec: &Spec, side: &Side) -> Result<Word, Word> {
    let now = side.end();
    if spec.continuation.waits() && now.state() == DIED {
        if let Standing::Others(by) = standing(member, now) {
            return Err(Word::new(ATTACHED, by, now.sequence()));
        }
    }
    side.attach(member.slot)
}

/// Takes one of the first `many` seats: one of those that this process has claimed, else one whose holder died, else any. `Err`: all
/// are taken.
pub fn take_seat(member: &Member, spec: &Spec, crowd: &Crowd, many: usize) -> Result<(usize, Word), Word> {
    crowd.note_fall();
    if !spec.continuation.keeps() {
        if let Ok(taken) = crowd.attach(member.slot, many) {
            return Ok(taken);
        }
    }
    // Somebody dead, of whom we have not heard yet, is in nobody's way. And if we are to go on where it stopped, what it had in hand
    // comes back before we look, all of it and in its order: the seat beside it would be free at once.
    let holders: Vec<u16> = crowd.seats().iter().map(|seat| seat.side.end().slot()).collect();
    for slot in holders {
        member.sweep_if_dead(slot);
    }
    crowd.note_fall();
    choose(member, spec, crowd, many)
}

fn choose(member: &Member, spec: &Spec, crowd: &Crowd, many: usize) -> Result<(usize, Word), Word> {
    if !spec.continuation.waits() {
        return crowd.attach(member.slot, many);
    }
    let rank = |seat: &Seat| {
        let end = seat.side.end();
        match (end.state(), standing(member, end)) {
            (ATTACHED, _) | (DIED, Standing::Others(_)) => None,
            (DIED, Standing::Ours) => Some(0),
            (DIED, Standing::Anybodys) => Some(1),
            _ => Some(2),
        }
    };
    let seats = crowd.seats().iter().enumerate().take(many);
    let mut free: Vec<_> = seats.filter_map(|(number, seat)| Some((rank(seat)?, number))).collect();
    free.sort_unstable();
    let take = |(_, number): (u8, usize)| Some((number, crowd.seat(number).side.attach(member.slot).ok()?));
    free.into_iter().find_map(take).ok_or(crowd.seat(0).side.end())
}

/// How many sending and receiving ends the process that was in `slot` left dead.
pub fn ends_that_died(member: &Member, record: &Record, spec: &Spec, slot: u16) -> (usize, usize) {
    let died = |side: &Side| side.end().state() == DIED && side.end().slot() == slot;
    let of = |crowd: &Crowd| crowd.seats().iter().filter(|seat| died(&seat.side)).count();
    match spec.kind {
        Kind::Queue => many::queue(member, record, spec)
            .map_or((0, 0), |queue| (of(queue.senders()), of(queue.receivers()))),
        Kind::Service => desk::service(member, record, spec)
            .map_or((0, 0), |service| (of(service.clients()), of(service.servers()))),
        _ => (usize::from(died(&record.sender)), usize::from(died(&record.receiver))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::channel::side::ATTACHED;
    use crate::memory::header::process;
    use crate::memory::word::Word;
    use crate::{Continuation, Domain};

    /// Another seat is free, and its holder's death is not settled: that one is succeeded.
    #[test]
    fn who_comes_takes_the_seat_of_one_that_is_dead_and_not_swept() {
        const DEAD: u16 = 77;
        for continuation in [Continuation::Disconnect, Continuation::WaitForSuccessor] {
            let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 26);
            let domain = options.create().unwrap();
            let channel = || domain.channel("c").work_queue(4).receivers(2).continuation(continuation);
            let rx = channel().receiver::<u64>().unwrap();
            let (member, seat) = (rx.end().member.clone(), &rx.end().many().unwrap().seat().side);
            assert!(seat.hand_on(seat.end(), DEAD).is_ok());
            member.segment().header().processes.fetch_max(u64::from(DEAD) + 1, Relaxed);
            let dead = Word::new(process::DEAD, DEAD, 1);
            member.segment().process(DEAD.into()).word.store(dead.0, Relaxed);
            let successor = channel().receiver::<u64>().unwrap();
            let succeeds = continuation.waits();
            assert_eq!(successor.end().many().unwrap().number(), usize::from(!succeeds));
            assert_eq!((seat.end().state(), seat.end().slot() == DEAD), (ATTACHED, !succeeds));
            drop(successor);
            std::mem::forget(rx);
        }
    }
}
