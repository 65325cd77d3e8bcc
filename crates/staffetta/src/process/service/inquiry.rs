//! Questions to every member, and their answers.
//!
//! One process asks everybody at once, since one that is stopped may be the only one who does not know. The
//! end of the wait is everybody's answer, or the kernel's word that there is nobody to answer; never the
//! clock.
//!
//! 1. A *round* asks every member there is. It is over when each has answered or its link has ended. Whoever
//!    ended may have left what was asked for to another who had answered before; so a round in which a link
//!    ended is followed by another one. A round in which none did is the answer.
//! 2. Whoever is asked for a descriptor first reads all that was passed to it. So if any process alive
//!    has the descriptor when a round begins, then it gives it, or it ends.
//!    One that is leaving answers no more (its roster says "not now"): its end does.
//! 3. Questions are answered by the service's thread, without any lock held, since it asks the roster.
//! 4. An answer to what nobody asks any more is ignored, and its descriptor closed.

use super::error::{ObtainError, PassError, TakeError};
use super::links::Reach;
use super::passed::Handed;
use super::thread::{Core, State, TRY_AGAIN};
use super::Service;
use crate::os::{self, memfd};
use crate::process::wire::{encode, Member, Question};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the kernel may take to free the memory of one that died: some 20 GiB.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// What another member wants to know.
pub(super) struct Asked {
    pub(super) who: Member,
    pub(super) question: Question,
    pub(super) id: u64,
    pub(super) round: u64,
}

/// What we want to know and do not know yet.
pub(super) type Inquiries = HashMap<(Question, u64), Inquiry>;

/// How far a round has come.
#[derive(Default)]
pub(super) struct Inquiry {
    /// Which round this is of all that this process asked. An answer says to which it belongs: a "no" to an earlier
    /// one says nothing about what has been handed on since (1).
    round: u64,
    /// Whose answers are awaited.
    awaited: HashSet<Member>,
    /// Somebody ended without an answer.
    ended: bool,
    /// Somebody could not be asked at that moment.
    unasked: bool,
    /// Those whom this process can never ask.
    out_of_sight: Vec<Member>,
}

/// What waiting for an inquiry came to.
enum Outcome {
    /// The round is over.
    Over(Vec<Member>),
    /// Look again.
    Look,
    /// The time is over.
    Late,
}

impl Service {
    /// The descriptor of `id`: passed to us already, or from whoever has it.
    ///
    /// If the time is over the question stands, and a later call takes it up again.
    pub(crate) fn obtain(&self, id: u64, deadline: Option<Instant>) -> Result<Handed, ObtainError> {
        if !self.guard.alive() {
            return Err(ObtainError::Take(TakeError::Forked));
        }
        let core = &self.core;
        let key = (Question::Descriptor, id);
        let mut state = core.lock();
        loop {
            core.look_for(&mut state, id).map_err(ObtainError::Take)?;
            if let Some(handed) = state.passed.take(id) {
                state.inquiries.remove(&key);
                return Ok(handed);
            }
            let outcome;
            (state, outcome) = core.await_round(state, key, deadline);
            match outcome {
                Outcome::Look => {}
                Outcome::Over(_) => return Err(ObtainError::Nobody),
                Outcome::Late => return Err(ObtainError::Later),
            }
        }
    }

    /// Nobody waits for the descriptor of `id` any more.
    pub(crate) fn forget(&self, id: u64) {
        if self.guard.alive() {
            let mut state = self.core.lock();
            state.inquiries.remove(&(Question::Descriptor, id));
            drop(state.passed.take(id));
        }
    }

    /// Returns when no other member has what `id` names in its address space; gives those who could not be
    /// asked.
    pub(crate) fn have_unmapped(&self, id: u64) -> Vec<Member> {
        if !self.guard.alive() {
            return Vec::new();
        }
        let mut state = self.core.lock();
        loop {
            let outcome;
            (state, outcome) = self.core.await_round(state, (Question::Unmap, id), None);
            if let Outcome::Over(out_of_sight) = outcome {
                return out_of_sight;
            }
        }
    }

    /// Waits until the kernel may have freed more of the memory of those who had died by `then`. False: of all of them it has, or it
    /// takes too long: a debugger may keep from ending what has no memory any more, or it runs another program.
    pub(crate) fn await_freed(&self, then: Instant) -> bool {
        if !self.guard.alive() {
            return false;
        }
        let state = self.core.lock();
        let is_awaited = |died: &Instant| *died <= then && died.elapsed() < FREED_WITHIN;
        // Of those that are over, a reader of /proc may be freeing what there was (program.rs).
        let anybody = state.dying.values().any(|(died, _)| is_awaited(died))
            || state.over.iter().any(|(died, _)| is_awaited(died));
        if anybody {
            drop(self.core.answered.wait_timeout(state, TRY_AGAIN));
        }
        anybody
    }
}

impl Core {
    /// Begins a round if there is none, or waits until something has happened to it.
    fn await_round<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        key: (Question, u64),
        deadline: Option<Instant>,
    ) -> (MutexGuard<'s, State>, Outcome) {
        match state.inquiries.get_mut(&key) {
            None => self.ask_all(&mut state, key),
            Some(inquiry) if inquiry.awaited.is_empty() && inquiry.ended => self.ask_all(&mut state, key),
            Some(_) => {}
        }
        let inquiry = state.inquiries.entry(key).or_default();
        if inquiry.awaited.is_empty() && !inquiry.ended && !inquiry.unasked {
            let over = state.inquiries.remove(&key).unwrap_or_default();
            return (state, Outcome::Over(over.out_of_sight));
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return (state, Outcome::Late);
        }
        let again = inquiry.unasked.then(|| now + TRY_AGAIN);
        match [deadline, again].into_iter().flatten().min() {
            None => state = self.answered.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(moment) => {
                let left = moment.saturating_duration_since(now);
                let waited = self.answered.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if again.is_some_and(|moment| Instant::now() >= moment) {
            self.ask_all(&mut state, key);
        }
        (state, Outcome::Look)
    }

    /// Begins a round (1).
    fn ask_all(&self, state: &mut State, key: (Question, u64)) {
        state.rounds += 1;
        let mut round = Inquiry { round: state.rounds, ..Inquiry::default() };
        // Also those whose slots say that they left: until their links end, they are leaving things behind.
        let mut everybody: HashSet<Member> = state.peers.linked().collect();
        everybody.extend(self.roster.others().into_iter().map(|(who, _)| who));
        everybody.remove(&self.me);
        for who in everybody {
            let linked = state.peers.is_linked(who);
            match if linked { Reach::Linked } else { self.reach(state, who) } {
                Reach::Linked => match self.say(state, who, &encode::ask(key.0, key.1, round.round), &[]) {
                    Ok(()) => drop(round.awaited.insert(who)),
                    // Its end will be told, or its queue be emptied.
                    Err(_) => round.unasked = true,
                },
                Reach::Gone => {}
                Reach::Later => round.unasked = true,
                Reach::OutOfSight => round.out_of_sight.push(who),
            }
        }
        state.inquiries.insert(key, round);
    }

    /// Somebody has answered.
    pub(super) fn hear_answer(
        &self,
        state: &mut State,
        who: Member,
        (question, id): (Question, u64),
        round: u64,
        descriptor: Option<OwnedFd>,
    ) {
        if let Some(inquiry) = state.inquiries.get_mut(&(question, id)) {
            if inquiry.round == round {
                inquiry.awaited.remove(&who);
            }
            if let Some(descriptor) = descriptor.filter(|_| question == Question::Descriptor) {
                state.passed.put(id, descriptor, who);
            }
            self.answered.notify_all();
        }
    }

    /// A link has ended: what was asked on it is not answered any more (1).
    pub(super) fn unanswered(&self, state: &mut State, who: Member) {
        for inquiry in state.inquiries.values_mut() {
            inquiry.ended |= inquiry.awaited.remove(&who) || inquiry.unasked;
        }
        self.answered.notify_all();
    }

    /// Answers what others ask.
    pub(super) fn answer_all(&self) {
        let asked = std::mem::take(&mut self.lock().asked);
        for asked in asked {
            if !self.answer(&asked) {
                self.lock().postponed.push(asked);
            }
        }
    }

    /// False: it cannot be answered yet.
    fn answer(&self, asked: &Asked) -> bool {
        let Asked { who, question, id, round } = *asked;
        let descriptor = match question {
            Question::Descriptor => match self.search(id, who) {
                Ok(found) => found,
                Err(_) => return false, // no descriptor left for a copy, or for what lies in a queue
            },
            Question::Unmap if self.roster.unmap(id) => None,
            Question::Unmap => return false,
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        let answered = self.say(&self.lock(), who, &encode::answer(question, id, round), &descriptors);
        matches!(answered, Ok(()) | Err(PassError::Gone))
    }

    /// A copy of the descriptor of `id`, if it is in this process (2). It is not on its way from here to the
    /// roster's table meanwhile: that is done by who received its message, and who asks has received it.
    fn search(&self, id: u64, for_whom: Member) -> Result<Option<OwnedFd>, os::Error> {
        if let Some(descriptor) = self.roster.descriptor(id, for_whom)? {
            return Ok(Some(descriptor));
        }
        let mut state = self.lock();
        match self.look_for(&mut state, id) {
            Ok(()) => state.passed.get(id).map(|passed| memfd::duplicate(passed.as_fd())).transpose(),
            Err(TakeError::Os(error)) => Err(error),
            Err(TakeError::Forked) => Ok(None),
        }
    }
}
