//! An operation of a select, seen from its channel: is it possible now? If not, whoever makes it possible is to say so.
//!
//! `look` is the poll and the announcement of `process::wait`, apart from the sleep: it puts a reference to the
//! operation's *entry* (`process::ready_set`) where else that of a PCB stands, sets P on the word that will change, and looks
//! again. Nothing is looked at twice unless it was delivered in between: an idle channel costs its select nothing.
//!
//! **Select against select.** Over a channel with a buffer there is nothing to agree on: what is in it, and what room is in it,
//! stays. On a rendezvous channel somebody has to be there, and a select is at many channels at once. So:
//!
//! | who | does |
//! |---|---|
//! | the sender's select | never offers: it does not have its message yet. Finding nobody, it delivers to the receiver's select (a *nudge*) |
//! | the receiver's select | finding that the other side is a select too, *stands*: it makes a real WANT on this one channel, and sleeps. Everything else that becomes possible makes it withdraw first, which succeeds, or finds the message there |
//! | the sender's select, woken | *reserves* the WANT (GIVING): the operation is chosen; sending finishes it, not sending gives it back |
//!
//! K1. Standing is an ordinary WANT and withdrawing an ordinary withdrawal, so a message is taken once or not at all
//!     (line.rs, L3), whoever is stopped or killed where (L5). A select stands on one channel at a time.
//! K2. Both sides put their entry into their `Side` and then change the line by a read-modify-write; whoever is second
//!     sees the other's. So two selects that have nobody else know of each other.
//! K3. What was reserved and is not sent in time is taken back by a receiver that has anything else to do (ABANDONED, without storage):
//!     a sender that is stopped holds nobody but who waits for it alone.
//! K4. After a withdrawal the sender's select looks again, since the WANT woke it, and nudges again if it is still interested. So
//!     whoever passes its turn on forgets nobody.

#![allow(unsafe_code)] // Calls of the protocols.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::channel::buffer::{Buffer, Missing};
use crate::channel::call::{Ground, Memory, Outgoing, Stop};
use crate::channel::line::{brings, Finished, Withdrawn, IDLE, INLINE_BYTES, OFFER, WANT};
use crate::channel::rendezvous::Party;
use crate::channel::ring::{place_in, RingParty, EMPTY, FULL};
use crate::channel::side::ATTACHED;
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

/// What a look at an operation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is possible, or would end at once by an error.
    Ready,
    /// It is not; whoever makes it possible delivers.
    Not,
    /// As `Not`; the other side is a select that sleeps, and was nudged.
    Nudged,
    /// It is not, unless we stand: the other side is a select too.
    Against,
}

/// Is there a loss of the partner that the next call will report? One that left, and whose successor is there already, is no
/// loss to a rendezvous. `died`: its deaths up to `end` (side.rs, S3).
pub fn is_lost(memory: &Memory, end: Word, died: u64, rendezvous: bool) -> bool {
    if memory.is_known(end) {
        return false;
    }
    let lost = memory.would_lose(end, died).filter(|gone| !rendezvous || gone.state() != ATTACHED);
    if lost.is_none() {
        memory.lost_partner(end, died);
    }
    lost.is_some()
}

impl<P: Platform, G: Ground<P>> Party<'_, P, G> {
    /// Rendezvous. `entry`: our reference, if a look in vain is to be announced.
    pub fn look(&self, is_sender: bool, entry: Option<u64>) -> Look {
        loop {
            if is_lost(self.memory, self.peer.end(), self.peer.died(), true) {
                return Look::Ready;
            }
            let now = self.line.word();
            if now.state() == if is_sender { WANT } else { OFFER } {
                return Look::Ready;
            }
            let Some(entry) = entry else {
                let idle = now.state() == IDLE;
                return match self.ground.select_at(self.peer.pcb_ref()) {
                    Some(true) if idle && is_sender => Look::Nudged,
                    Some(true) if idle => Look::Against,
                    _ => Look::Not,
                };
            };
            self.me.set_pcb_ref(entry);
            if !self.line.announce_on(now) {
                continue;
            }
            if is_lost(self.memory, self.peer.end(), self.peer.died(), true) {
                return Look::Ready;
            }
            // K2. Relaxed: published by a change of the line before ours.
            let theirs = self.peer.pcb_ref();
            return match self.ground.select_at(theirs) {
                Some(asleep) if is_sender => {
                    self.ground.wake(theirs);
                    if asleep {
                        Look::Nudged
                    } else {
                        Look::Not
                    }
                }
                Some(_) if now.state() == IDLE => Look::Against,
                Some(_) => Look::Not, // the end of an earlier copy comes first
                None => Look::Not,
            };
        }
    }

    /// The receiver stands: `IDLE => WANT`, announced. Gives the rendezvous; None: look again.
    pub fn stand(&self, entry: u64) -> Option<u64> {
        let now = self.line.word();
        self.mark_unread(Some(now.sequence()));
        if now.state() != IDLE || self.line.want(now, brings::CELL).is_err() {
            return None;
        }
        self.me.set_pcb_ref(entry);
        // False: it is over already, as the next look finds.
        self.line.announce(now.sequence(), false);
        self.wake_if(now.is_parked());
        Some(now.sequence())
    }

    /// A look at a WANT that stands. Some(the message is in its cell): it stands no more.
    pub fn look_standing(&self, s: u64) -> Option<bool> {
        let now = self.line.word();
        if now.sequence() == s && !is_lost(self.memory, self.peer.end(), self.peer.died(), true) {
            return None;
        }
        if now.sequence() == s {
            return Some(self.withdraw(s, 0));
        }
        Some(self.ended(s, now))
    }

    /// The receiver stands no more. True: somebody came first; the message of `s` is in its cell. One who has
    /// reserved it is waited for as many steps.
    pub fn withdraw(&self, s: u64, steps: u64) -> bool {
        let mut step = 0;
        loop {
            match self.line.withdraw(s, false) {
                Withdrawn::Yes => {
                    self.memory.expect.set(Word::new(IDLE, 0, s + 2));
                    return false;
                }
                Withdrawn::Ended(now) => return self.ended(s, now),
                Withdrawn::OurTurn => return false, // not of a message that fits its cell; an offer now
                Withdrawn::Copying(_) if step < steps => {
                    P::relax(step);
                    step += 1;
                }
                Withdrawn::Copying(_) => match self.line.abandon(s) {
                    Ok(_) => {
                        self.memory.expect.set(Word::new(IDLE, 0, s));
                        return false;
                    }
                    Err(now) if now.sequence() != s => return self.ended(s, now),
                    Err(_) => {} // given back: a WANT again
                },
            }
        }
    }

    fn ended(&self, s: u64, now: Word) -> bool {
        self.memory.expect.set(Word::new(IDLE, 0, now.sequence().max(s + 1)));
        now.sequence().wrapping_sub(s) % 2 == 1 // L3
    }

    /// The receiver takes an offer that stays in its cell until it is collected. Some(the rendezvous); None: it was
    /// withdrawn, or has to be copied while the sender waits.
    pub fn take_offer(&self) -> Option<u64> {
        let now = self.line.word();
        if now.state() != OFFER || now.slot() != brings::CELL {
            return None;
        }
        self.mark_unread(Some(now.sequence()));
        if self.line.take(now).is_err() {
            return None;
        }
        self.wake_if(now.is_parked());
        self.memory.expect.set(Word::new(IDLE, 0, now.sequence() + 1));
        Some(now.sequence())
    }

    /// Is there an offer that `take_offer` does not take?
    pub fn has_variable(&self) -> bool {
        let now = self.line.word();
        now.state() == OFFER && now.slot() != brings::CELL
    }

    /// The sender reserves the receiver that waits: `WANT => GIVING`. None: it does not wait any more.
    pub fn reserve_receiver(&self) -> Option<Word> {
        let now = self.line.word();
        if now.state() != WANT {
            return None;
        }
        self.line.begin(now, self.me.end().sequence()).ok()
    }

    /// Gives a reserved receiver back.
    pub fn unreserve(&self, giving: Word) {
        self.memory.expect.set(Word::new(IDLE, 0, 0));
        self.wake_if(self.line.unreserve(giving));
    }

    /// Sends to the receiver that was reserved.
    ///
    /// # Safety
    /// As `send`; `giving` is what `reserve_receiver` gave.
    pub unsafe fn send_reserved(&mut self, giving: Word, message: Outgoing) -> Result<(), Stop> {
        // As in `send_walk`: the guess knows nothing of this.
        self.memory.expect.set(Word::new(IDLE, 0, 0));
        let sent = if brings::of(giving.slot()) == brings::VARIABLE {
            // SAFETY: GIVING, made so by us.
            unsafe { self.give(giving, message) }
        } else {
            // As in `send_walk`: what a receiver with a private target expects.
            let message = match message {
                Outgoing::Variable { bytes, length, exact: true, .. } if length <= INLINE_BYTES => {
                    Outgoing::Cell { bytes, length }
                }
                Outgoing::Variable { bytes, length, exact, .. } => Outgoing::Private { bytes, length, exact },
                other => other,
            };
            // SAFETY: sender; the receiver reads this cell after the rendezvous ended (L1), or not at all.
            match unsafe { self.fill_cell(giving.sequence(), message) } {
                Ok(_) => match self.line.finish(giving, || ()) {
                    Finished::Done { wake } => {
                        self.wake_if(wake);
                        Some(Ok(()))
                    }
                    Finished::Abandoned { wake } => {
                        self.wake_if(wake);
                        None
                    }
                    Finished::Lost => Some(Err(Stop::Corrupt)),
                },
                Err(stop) => {
                    self.unreserve(giving);
                    Some(Err(stop))
                }
            }
        };
        sent.unwrap_or_else(|| Err(self.partner_gone(self.peer.end()).map_or(Stop::WouldBlock, Stop::Gone)))
    }
}

impl<P: Platform, G: Ground<P>> RingParty<'_, P, G> {
    /// Sets P on the word of `place` unless it is `good`. False: it is.
    fn announce(&self, place: u64, entry: u64, good: impl Fn(Word) -> bool) -> bool {
        let word = &self.slots.slot(place).0.word;
        self.me.set_pcb_ref(entry);
        loop {
            let now = Word(word.load(Acquire));
            if good(now) {
                return false;
            }
            if word.compare_exchange(now.0, now.parked().0, AcqRel, Relaxed).is_ok() {
                return true;
            }
        }
    }

    fn state(&self, place: u64) -> u8 {
        Word(self.slots.slot(place).0.word.load(Acquire)).state()
    }

    /// What there is to announce, until something is there or the announcement stands. `missing`: the place, and what
    /// its word must not be; None: nothing is missing.
    fn look_until(&self, entry: Option<u64>, missing: impl Fn() -> Option<Missing>) -> Look {
        loop {
            let Some((place, good)) = missing() else {
                return Look::Ready;
            };
            if is_lost(self.memory, self.peer.end(), self.peer.died(), false) {
                return Look::Ready;
            }
            let Some(entry) = entry else {
                return Look::Not;
            };
            if self.announce(place, entry, good) {
                let lost = is_lost(self.memory, self.peer.end(), self.peer.died(), false);
                return if lost { Look::Ready } else { Look::Not };
            }
        }
    }

    /// Basic channel: is a message there?
    pub fn look_message(&self, entry: Option<u64>) -> Look {
        let place = place_in::<P>(self.place);
        self.look_until(entry, || (self.state(place) != FULL).then_some((place, |now| now.state() == FULL)))
    }

    /// Basic channel: is room there, so that the sender does not wait after it has put? K > 0.
    pub fn look_room(&self, entry: Option<u64>) -> Look {
        let place = place_in::<P>(self.place);
        self.look_until(entry, || {
            let taken = [place, place + 1].into_iter().find(|&place| self.state(place) != EMPTY)?;
            Some((taken, |now| now.state() == EMPTY))
        })
    }

    /// Buffered channel: is a message there?
    pub fn look_message_in(&self, buffer: &Buffer<P>, entry: Option<u64>) -> Look {
        if buffer.is_held() {
            return Look::Ready; // by an error
        }
        let missing = || buffer.full_now().is_none();
        self.look_until(entry, || {
            missing().then(|| (buffer.place(), (|now| now.state() == FULL) as fn(Word) -> bool))
        })
    }

    /// Buffered channel: is room there?
    pub fn look_room_in(&self, buffer: &Buffer<P>, entry: Option<u64>) -> Look {
        if buffer.is_held() {
            return Look::Ready; // by an error
        }
        self.look_until(entry, || buffer.missing_room())
    }
}
