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
    let first = if spec.continuation.keeps() { Err(Word(0)) } else { crowd.attach(member.slot, many) };
    first.or_else(|_| {
        // Somebody dead, of whom we have not heard yet, is in nobody's way. And if we are to go on where it stopped, what it had in hand
        // comes back before we look, all of it and in its order: the seat beside it would be free at once.
        let holders: Vec<u16> = crowd.seats().iter().map(|seat| seat.side.end().slot()).collect();
        for slot in holders {
            member.sweep_if_dead(slot);
        }
        crowd.note_fall();
        choose(member, spec, crowd, many)
    })
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
