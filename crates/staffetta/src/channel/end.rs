//! An end of a channel as this process holds it: from typed calls to the protocols.
//!
//! E1. An `End` holds its side of the record: its end word says ATTACHED by our slot, taken by one
//!     compare-exchange, so there is no second one anywhere; the protocols' "only sender" and "only receiver"
//!     rest on it.
//! E2. `Memory` is in a RefCell and an `End` is not Sync: one operation at a time.

#![allow(unsafe_code)] // Calls the protocols, whose contract is E1 and E2.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;

use super::attach::Found;
use super::ground::EndGround;
use super::line::Reference3;
use super::record::{state, Record};
use super::rendezvous::{Incoming, Memory, Outgoing, Party, Patience, Stop};
use super::ring::{RingParty, Slots};
use super::side::{Side, ATTACHED, DIED, LEFT};
use super::spec::{Kind, Spec};
use super::tally::Tally;
use crate::error::{AttachError, RecvError, SendFailure};
use crate::member::Member;
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::process::wait::Wait;

/// An end, without its message type.
pub struct End {
    pub(crate) member: Arc<Member>,
    pub(crate) found: Found,
    is_sender: bool,
    held: Word,
    memory: RefCell<Memory>,
    /// An unnamed channel is over when one end has left.
    over: std::cell::Cell<bool>,
    /// A capability that was taken from the channel and whose descriptor is still to come (`custody`, C5).
    pub(crate) owed: std::cell::Cell<Option<Reference3>>,
}

impl End {
    pub(crate) fn attach(
        member: &Arc<Member>,
        name: &str,
        found: Found,
        is_sender: bool,
        wait: Wait,
    ) -> Result<End, AttachError> {
        let record = member.segment().channel(found.index);
        let (me, peer) = sides(record, is_sender);
        // Somebody dead, of whom we have not heard yet, is in nobody's way.
        let attached = me.attach(member.slot).or_else(|now| {
            if member.sweep_if_dead(now.slot()) {
                me.attach(member.slot)
            } else {
                Err(now)
            }
        });
        let held = attached.map_err(|now| {
            let (pid, program) = member.describe_process(now.slot());
            AttachError::EndTaken {
                name: name.to_owned(),
                side: if is_sender { "sender" } else { "receiver" },
                pid,
                program,
            }
        })?;
        if let Some(slots) = slots(member, record, &found.spec) {
            if is_sender {
                slots.recover_tail(&record.tail, &record.head);
            } else {
                slots.recover_head(&record.head);
            }
        }
        let memory = Memory::new(&record.line, peer, wait);
        // A partner that waits for us to come sleeps on its own PCB.
        super::ground::wake(member, found.spec.method, peer.pcb_ref());
        Ok(End {
            member: member.clone(),
            found,
            is_sender,
            held,
            memory: RefCell::new(memory),
            over: std::cell::Cell::new(false),
            owed: std::cell::Cell::new(None),
        })
    }

    pub(crate) fn record(&self) -> &Record {
        self.member.segment().channel(self.found.index)
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.found.spec
    }

    pub(crate) fn is_unnamed(&self) -> bool {
        Word(self.record().state.load(Relaxed)).state() == state::UNNAMED
    }

    pub(crate) fn tally(&self) -> &Tally {
        let record = self.record();
        if self.is_sender {
            &record.sender_tally
        } else {
            &record.receiver_tally
        }
    }

    pub(crate) fn peer(&self) -> Word {
        sides(self.record(), self.is_sender).1.end()
    }

    pub(crate) fn wait_policy(&self) -> Wait {
        self.memory.borrow().wait
    }

    pub(crate) fn set_wait(&self, wait: Wait) {
        self.memory.borrow_mut().wait = wait;
    }

    fn check_over(&self) -> Result<(), Stop> {
        if self.over.get() {
            return Err(Stop::Gone(self.peer()));
        }
        Ok(())
    }

    fn note_over(&self, stop: Stop) -> Stop {
        if matches!(stop, Stop::Gone(_)) && self.is_unnamed() {
            self.over.set(true);
        }
        stop
    }

    /// # Safety
    /// `message` describes readable bytes, as `Party::send` asks.
    #[inline]
    pub(crate) unsafe fn send(&self, message: Outgoing, patience: Patience) -> Result<(), Stop> {
        self.check_over()?;
        let record = self.record();
        let ground =
            EndGround { member: &self.member, method: self.found.spec.method, sender: &record.sender };
        let memory = &mut *self.memory.borrow_mut();
        let (me, peer) = sides(record, self.is_sender);
        let tally = &record.sender_tally;
        let sent = if self.found.spec.kind == Kind::Rendezvous {
            let mut party = Party { line: &record.line, me, peer, ground: &ground, tally, memory };
            // SAFETY: E1, E2; the bytes are the caller's promise.
            unsafe { party.send(message, patience) }
        } else {
            // SAFETY: as above.
            unsafe { self.send_basic(record, &ground, memory, message, patience) }
        };
        match sent {
            Ok(()) => {
                tally.message(message.length());
                Ok(())
            }
            Err(stop) => Err(self.note_over(stop)),
        }
    }

    /// # Safety
    /// As `send`.
    unsafe fn send_basic(
        &self,
        record: &Record,
        ground: &EndGround<'_>,
        memory: &mut Memory,
        message: Outgoing,
        patience: Patience,
    ) -> Result<(), Stop> {
        let (me, peer) = sides(record, self.is_sender);
        let spec = &self.found.spec;
        let mut party = RingParty {
            slots: slots(&self.member, record, spec).ok_or(Stop::Corrupt)?,
            place: &record.tail,
            me,
            peer,
            ground,
            tally: &record.sender_tally,
            memory,
        };
        let words;
        let (bytes, length, counts) = match message {
            Outgoing::Parcel(parcel) => {
                words = parcel;
                (words.as_ptr().cast(), size_of_val(&words), false)
            }
            other => (other.bytes(), other.length(), true),
        };
        // SAFETY: E1, E2; the bytes are the caller's promise.
        unsafe { party.send(bytes, length, patience, counts) }
    }

    /// # Safety
    /// `target` describes writable bytes, as `Party::receive` asks.
    #[inline]
    pub(crate) unsafe fn receive(&self, target: Incoming, patience: Patience) -> Result<usize, Stop> {
        self.check_over()?;
        let record = self.record();
        let ground =
            EndGround { member: &self.member, method: self.found.spec.method, sender: &record.sender };
        let memory = &mut *self.memory.borrow_mut();
        let (me, peer) = sides(record, self.is_sender);
        let tally = &record.receiver_tally;
        let received = if self.found.spec.kind == Kind::Rendezvous {
            let mut party = Party { line: &record.line, me, peer, ground: &ground, tally, memory };
            // SAFETY: E1, E2; the target is the caller's promise.
            unsafe { party.receive(target, patience) }
        } else {
            let spec = &self.found.spec;
            let mut party = RingParty {
                slots: slots(&self.member, record, spec).ok_or(Stop::Corrupt)?,
                place: &record.head,
                me,
                peer,
                ground: &ground,
                tally,
                memory,
            };
            let (bytes, capacity, counts) = match target {
                Incoming::Parcel(words) => (words.cast(), size_of_val(&[0_u64; 3]), false),
                other => (other.bytes(), other.capacity(), true),
            };
            // SAFETY: as above.
            unsafe { party.receive(bytes, capacity, patience, counts) }
        };
        match received {
            Ok(length) => {
                if !matches!(target, Incoming::Parcel(_)) {
                    tally.message(length);
                }
                Ok(length)
            }
            Err(stop) => Err(self.note_over(stop)),
        }
    }

    /// `try_*`: nothing happened; why?
    fn has_peer(&self) -> bool {
        self.peer().state() == ATTACHED
    }

    pub(crate) fn send_failure(&self, stop: Stop, patience: Patience) -> SendFailure {
        let tried = matches!(patience, Patience::Try);
        match stop {
            Stop::WouldBlock | Stop::TimedOut if tried || stop == Stop::WouldBlock => {
                if self.has_peer() {
                    SendFailure::WouldBlock
                } else {
                    SendFailure::NoPeer
                }
            }
            Stop::WouldBlock | Stop::TimedOut | Stop::Abandoned => SendFailure::TimedOut,
            Stop::Gone(end) if end.state() == DIED => SendFailure::PeerDied,
            Stop::Gone(_) => SendFailure::Disconnected,
            Stop::TooLong { length, capacity } | Stop::AbandonedTooLong { length, capacity } => {
                SendFailure::TooLong { length, capacity }
            }
            Stop::Full => SendFailure::NoStaging,
            Stop::Corrupt => SendFailure::Corrupt,
        }
    }

    pub(crate) fn recv_failure(&self, stop: Stop, patience: Patience) -> RecvError {
        let tried = matches!(patience, Patience::Try);
        match stop {
            Stop::WouldBlock | Stop::TimedOut if tried || stop == Stop::WouldBlock => {
                if self.has_peer() {
                    RecvError::WouldBlock
                } else {
                    RecvError::NoPeer
                }
            }
            Stop::WouldBlock | Stop::TimedOut | Stop::Abandoned => RecvError::TimedOut,
            Stop::Gone(end) if end.state() == DIED => RecvError::PeerDied,
            Stop::Gone(_) => RecvError::Disconnected,
            Stop::TooLong { length, capacity } | Stop::AbandonedTooLong { length, capacity } => {
                RecvError::TooLong { length, capacity }
            }
            Stop::Full | Stop::Corrupt => RecvError::Corrupt,
        }
    }

    /// Waits for a partner to attach (a capability needs somebody to be passed to).
    pub(crate) fn await_peer(&self, patience: Patience) -> Result<Word, Stop> {
        self.check_over()?;
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        let ground =
            EndGround { member: &self.member, method: self.found.spec.method, sender: &record.sender };
        let memory = &mut *self.memory.borrow_mut();
        let now = peer.end();
        if memory.lost_partner(now) && now.state() != ATTACHED {
            return Err(self.note_over(Stop::Gone(now)));
        }
        if now.state() == ATTACHED {
            return Ok(now.awake());
        }
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock);
        };
        super::rendezvous::await_attach(peer, me, &ground, memory, &record.sender_tally, deadline)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.member.here() {
            return;
        }
        if let Some(words) = self.owed.take() {
            super::payload::give_up(self, words);
        }
        let record = self.record();
        let (me, peer) = sides(record, self.is_sender);
        super::sweep::detach(&self.member, record, &self.found.spec, me, peer, self.held, LEFT);
        super::attach::unmake_if_over(&self.member, self.found.index);
    }
}

fn sides(record: &Record, is_sender: bool) -> (&Side, &Side) {
    if is_sender {
        (&record.sender, &record.receiver)
    } else {
        (&record.receiver, &record.sender)
    }
}

/// The slots of a basic channel. None for other kinds.
pub(crate) fn slots(member: &Member, record: &Record, spec: &Spec) -> Option<Slots<Native>> {
    if spec.kind != Kind::Basic {
        return None;
    }
    // The spec was checked when it was read: the ring lies in its block.
    let ring = member.segment().pointer(record.ring.load(Relaxed), 0)?;
    let (degree, message_bytes_max) = (spec.degree, spec.message_bytes_max);
    Some(Slots { ring, degree, message_bytes_max, platform: PhantomData })
}

/// A deadline `timeout` from now; None, for ever, if that is beyond the clock.
pub(crate) fn deadline_after(timeout: std::time::Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
