//! The waits of a rendezvous: for its end, for a partner that is still busy, for somebody to attach.
//!
//! Each is `process::wait` on a word that the partner changes, or on its end word (wait.rs, H2).

use std::time::Instant;

use super::Party;
use crate::channel::call::{Ground, Memory, Patience, Stop};
use crate::channel::line::{brings, is_our_turn, Withdrawn, IDLE};
use crate::channel::side::{Side, ATTACHED, DIED};
use crate::channel::tally::Tally;
use crate::memory::platform::Platform;
use crate::memory::word::Word;
use crate::process::wait::{wait, Waited, Woken};

/// How the wait of a first one came to its end.
pub enum Outcome {
    /// The message is over.
    Happened,
    /// It is our turn (`is_our_turn`), or what was lent to us was withdrawn: look at the word again.
    LookAgain,
}

impl<P: Platform, G: Ground<P>> Party<'_, P, G> {
    /// The first one, which brings `what`, waits for the end of rendezvous `s`, or for its turn.
    #[inline]
    pub(super) fn await_end(
        &mut self,
        s: u64,
        mut deadline: Option<Instant>,
        size: usize,
        sender: bool,
        what: u16,
    ) -> Result<Outcome, Stop> {
        let mut waited = Waited::default();
        let (line, me, peer, ground) = (self.line, self.me, self.peer, self.ground);
        // A loss that this call does not report is the next call's to report.
        let known = self.memory.peer.get();
        let end = loop {
            let memory = self.memory;
            let (policy, mut spinner) = (memory.wait.get(), memory.spinner.get());
            let mut lost = None;
            let mut called_away = false;
            let woken = wait(
                policy,
                &mut spinner,
                deadline,
                &mut waited,
                || ground.own_pcb(),
                || {
                    let now = line.word();
                    if now.sequence() != s || is_our_turn(now, s, sender) {
                        return Some(now);
                    }
                    if ground.is_called_away() {
                        called_away = true;
                        return Some(now);
                    }
                    let end = peer.end();
                    lost = memory.lost_partner(end, peer.died());
                    lost.map(|_| now)
                },
                |pcb_ref| {
                    me.set_pcb_ref(pcb_ref);
                    line.announce(s, sender)
                },
            );
            self.memory.spinner.set(spinner);
            let stop = match (&woken, lost) {
                (Woken::Ready(_), None) if called_away => Stop::CalledAway,
                (Woken::Ready(now), None) => break *now,
                (_, Some(gone)) => Stop::Gone(gone),
                (Woken::TimedOut, None) => Stop::TimedOut,
            };
            match line.withdraw(s, sender) {
                Withdrawn::Ended(now) => break now,
                Withdrawn::OurTurn => break line.word(),
                Withdrawn::Yes => {
                    self.memory.expect.set(Word::new(IDLE, 0, s + 2));
                    if stop == Stop::TimedOut {
                        self.memory.peer.set(known);
                    }
                    self.tally.waited(&waited);
                    return Err(stop);
                }
                // A successor of the partner that left copies already: that is a rendezvous.
                Withdrawn::Copying(_) if stop != Stop::TimedOut => continue,
                Withdrawn::Copying(_) if !ground.may_abandon() => {
                    deadline = None;
                    continue;
                }
                Withdrawn::Copying(_) => match line.abandon(s) {
                    Ok(what) => {
                        self.memory.expect.set(Word::new(IDLE, 0, s));
                        self.memory.peer.set(known);
                        self.tally.waited(&waited);
                        return Err(match what {
                            brings::LOOKING | brings::RESERVED => Stop::TimedOut,
                            brings::TAKING if size as u64 > self.peer.target().1 => {
                                Stop::AbandonedTooLong { length: size as u64, capacity: self.peer.target().1 }
                            }
                            _ => Stop::Abandoned,
                        });
                    }
                    // It ended just now, or (a dead partner's copy undone) is to be looked at again.
                    Err(now) if now.sequence() != s => break now,
                    Err(_) => continue,
                },
            }
        };
        self.memory.peer.set(known);
        self.tally.waited(&waited);
        if is_our_turn(end, s, sender) {
            return Ok(Outcome::LookAgain);
        }
        let here = end.sequence();
        // The usual next thing: the same side is first again.
        self.memory.expect.set(Word::new(IDLE, 0, here.max(s + 1)));
        // L3. The partner may have come again, and withdrawn, before we looked: that adds two each time.
        if here.wrapping_sub(s) % 2 == 1 {
            return Ok(Outcome::Happened);
        }
        // It ended without happening: with a death (line.rs, L7), or our message or target did not fit.
        if let Some(stop) = self.forsaken(end, deadline) {
            return Err(stop);
        }
        let (mine, theirs) = (size as u64, self.peer.note());
        if !sender && what == brings::LENT && theirs <= mine {
            return Ok(Outcome::LookAgain); // lent, and withdrawn before we came to read it
        }
        Err(if sender {
            Stop::TooLong { length: mine, capacity: theirs }
        } else {
            Stop::TooLong { length: theirs, capacity: mine }
        })
    }

    /// Our offer or want has ended without happening, and the line's word is `end` since. Some: with the partner's death.
    #[cold]
    fn forsaken(&mut self, end: Word, deadline: Option<Instant>) -> Option<Stop> {
        let peer = self.peer.end();
        let gone = self.memory.would_lose(peer, self.peer.died()).filter(|gone| gone.state() == DIED);
        if gone.is_some() {
            return self.partner_gone(peer).map(Stop::Gone);
        }
        if (end.state(), end.slot()) != (IDLE, brings::FORSAKEN) {
            return None;
        }
        // Whoever sweeps is about to say so.
        match self.await_partner(end, Patience::Until(deadline)) {
            Err(stop) => Some(stop),
            // The word has changed, and the end has not: a wreck that another process wrote.
            Ok(_) => Some(Stop::Corrupt),
        }
    }

    /// Waits until the word is no longer `seen`: the partner is busy with something we gave up.
    #[cold]
    pub(super) fn await_partner(&mut self, seen: Word, patience: Patience) -> Result<Word, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        let mut waited = Waited::default();
        let (line, me, peer, ground) = (self.line, self.me, self.peer, self.ground);
        let known = self.memory.peer.get();
        let mut spinner = self.memory.spinner.get();
        let woken = wait(
            self.memory.wait.get(),
            &mut spinner,
            deadline,
            &mut waited,
            || ground.own_pcb(),
            || {
                let now = line.word();
                (now.awake() != seen.awake() || peer.end().holding() != known).then_some(now)
            },
            |pcb_ref| {
                me.set_pcb_ref(pcb_ref);
                let now = line.word();
                now.awake() == seen.awake() && line.announce_on(now)
            },
        );
        self.memory.spinner.set(spinner);
        self.tally.waited(&waited);
        match woken {
            Woken::Ready(now) => {
                let end = self.peer.end();
                let gone = if end.holding() != known { self.partner_gone(end) } else { None };
                gone.map_or(Ok(now), |gone| Err(Stop::Gone(gone)))
            }
            Woken::TimedOut => Err(Stop::TimedOut),
        }
    }

    /// Accounts for the partner's end word. Some: for `Stop::Gone`. One that left, and whose successor is there already, is no loss.
    #[cold]
    pub(in crate::channel) fn partner_gone(&self, end: Word) -> Option<Word> {
        self.memory.lost_partner(end, self.peer.died()).filter(|gone| gone.state() != ATTACHED)
    }
}

/// Waits until somebody holds the other end; gives its end word.
pub fn await_attach<P: Platform, G: Ground<P>>(
    peer: &Side<P>,
    me: &Side<P>,
    ground: &G,
    memory: &Memory,
    tally: &Tally<P>,
    deadline: Option<Instant>,
) -> Result<Word, Stop> {
    let mut waited = Waited::default();
    let mut spinner = memory.spinner.get();
    let woken = wait(
        memory.wait.get(),
        &mut spinner,
        deadline,
        &mut waited,
        || ground.own_pcb(),
        || Some(peer.end().awake()).filter(|end| end.state() == ATTACHED),
        |pcb_ref| {
            me.set_pcb_ref(pcb_ref);
            peer.announce()
        },
    );
    memory.spinner.set(spinner);
    tally.waited(&waited);
    match woken {
        Woken::Ready(end) => {
            // One that came and died before this one is told of.
            let gone = memory.lost_partner(end, peer.died()).filter(|gone| gone.state() != ATTACHED);
            gone.map_or(Ok(end), |gone| Err(Stop::Gone(gone)))
        }
        Woken::TimedOut => Err(Stop::TimedOut),
    }
}
