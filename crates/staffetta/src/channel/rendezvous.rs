//! The rendezvous: whoever arrives second hands the message over and wakes the partner.
//!
//! This file is the walk through the states of [`Line`]; it runs on any [`Platform`], so the code that
//! ships is the code that the model checkers run. It does not know types: messages are bytes or cells,
//! and what it needs of the process around it is [`Ground`].
//!
//! R1. When `send` returns `Ok`, the receiver has taken the message (commit points: line.rs, L3); when
//!     it returns an error other than `Abandoned`, it has not, and nobody else will see it.
//! R2. A partner that stops in the middle of a copy delays only whoever waits without a deadline.

#![allow(unsafe_code)] // Message bytes are raw memory: each copy says which invariant of line.rs allows it.

mod waiting;

use std::time::Instant;

pub use self::waiting::await_attach;
use self::waiting::Outcome;

use super::call::{Ground, Incoming, Memory, Outgoing, Patience, Stop};
use super::line::{brings, Finished, Line, Reference3, IDLE, INLINE_BYTES, OFFER, WANT};
use super::quick::{collect_small, deliver_now, fill_small, want_now, Delivery, Wanted};
use super::select::ANSWER;
use super::side::Side;
use super::tally::Tally;
use crate::memory::platform::Platform;
use crate::memory::word::Word;

/// One party of a rendezvous: the descriptor, both sides, and what this side remembers.
pub struct Party<'c, P: Platform, G: Ground<P>> {
    /// The shared line.
    pub line: &'c Line<P>,
    /// This side.
    pub me: &'c Side<P>,
    /// The partner's side.
    pub peer: &'c Side<P>,
    /// The process around.
    pub ground: &'c G,
    /// Counters of this side.
    pub tally: &'c Tally<P>,
    /// What this side remembers from call to call.
    pub memory: &'c Memory,
}

impl<P: Platform, G: Ground<P>> Party<'_, P, G> {
    /// `send(ch, msg)`.
    ///
    /// # Safety
    /// The caller is the only sender of this channel; `message` describes readable bytes that nobody
    /// writes until this returns (a variable: until it returns anything but `Abandoned`).
    #[inline]
    pub unsafe fn send(&mut self, message: Outgoing, patience: Patience) -> Result<(), Stop> {
        // A partner that left since the last call is reported once, before anything is offered.
        let end = self.peer.end();
        if !self.memory.is_known(end) {
            if let Some(gone) = self.partner_gone(end) {
                return Err(Stop::Gone(gone));
            }
        }
        let mut delivery = Delivery::Not;
        if message.is_small() {
            // SAFETY: E1 of the caller; the message is small.
            delivery =
                unsafe { deliver_now(self.line, self.memory, |cell| fill_small(self.tally, cell, message)) };
        }
        match delivery {
            Delivery::Done => Ok(()),
            // SAFETY: passed on.
            delivery => unsafe { self.send_walk(message, patience, delivery) },
        }
    }

    /// Goes on where `deliver_now` left off.
    ///
    /// # Safety
    /// As `send`.
    pub unsafe fn send_walk(
        &mut self,
        message: Outgoing,
        mut patience: Patience,
        delivery: Delivery,
    ) -> Result<(), Stop> {
        // The guess is good from one `deliver_now` to the next only: what this walk ends changes the parity.
        self.memory.expect.set(Word::new(IDLE, 0, 0));
        let mut message = match message {
            // Lending means waiting until it was read, and a reader.
            Outgoing::Lent { bytes, length }
                if matches!(patience, Patience::Try) || !self.memory.lends_to(self.peer.end()) =>
            {
                Outgoing::Private { bytes, length, exact: false }
            }
            other => other,
        };
        let mut now = self.line.word();
        // What the cell brings already. It stays good whatever the word does meanwhile: without the sender the
        // sequence changes by two only, so the cell is the same (L2).
        let mut filled = (delivery == Delivery::Filled).then_some(brings::CELL);
        let mut eager = self.memory.eager_steps::<P>();
        loop {
            let s = now.sequence();
            match now.state() {
                IDLE if matches!(patience, Patience::Try) => {
                    let variable = matches!(message, Outgoing::Variable { .. });
                    patience = self.a_moment().filter(|_| !variable).ok_or(Stop::WouldBlock)?;
                }
                // To deliver is cheaper than to offer: a short look whether the receiver comes.
                IDLE if eager != 0 => {
                    now = self.look_for_change(now, eager);
                    eager = 0;
                }
                IDLE => {
                    let what = match filled {
                        Some(what) => what,
                        // SAFETY: sender, IDLE(s): L1.
                        None => unsafe { self.fill_cell(s, message) }?,
                    };
                    filled = Some(what);
                    match self.line.offer(now, what) {
                        Ok(_) => {
                            self.wake_if(now.is_parked());
                            self.ground.came_first();
                            match self.await_taker(s, patience, message.length(), what)? {
                                Outcome::Happened => return Ok(()),
                                Outcome::LookAgain => now = self.line.word(),
                            }
                        }
                        Err(found) => now = found,
                    }
                }
                // The receiver cannot read what we lent, and waits until it is staged.
                OFFER if now.slot() == brings::STAGE => {
                    if let Outgoing::Lent { bytes, length } = message {
                        message = Outgoing::Private { bytes, length, exact: false };
                        // Nor any other?
                        if self.peer.target().0 == 0 {
                            self.memory.unreadable.set(Some(self.peer.end().awake()));
                        }
                    }
                    if filled != Some(brings::CELL) {
                        // SAFETY: sender, OFFER(s) STAGE: L1.
                        match unsafe { self.fill_cell(s, message) } {
                            Ok(what) => filled = Some(what),
                            Err(stop) => {
                                self.decline(now);
                                return Err(stop);
                            }
                        }
                    }
                    match self.line.staged(now) {
                        Ok(()) => {
                            self.wake_if(now.is_parked());
                            match self.await_taker(s, patience, message.length(), brings::CELL)? {
                                Outcome::Happened => return Ok(()),
                                Outcome::LookAgain => now = self.line.word(),
                            }
                        }
                        Err(found) => now = found,
                    }
                }
                // The receiver waits with a target variable, and we have the bytes: straight into it.
                WANT if now.slot() == brings::VARIABLE => {
                    match self.line.begin(now, self.me.end().sequence()) {
                        // SAFETY: GIVING(s): the target is ours to write until we finish.
                        Ok(giving) => match unsafe { self.give(giving, message) } {
                            Some(end) => return end,
                            None => now = self.line.word(), // it had given up: our message goes to the next
                        },
                        Err(found) => now = found,
                    }
                }
                WANT => {
                    // A variable for a private target rides in the cell, where this receiver expects what is small, or
                    // is staged.
                    let message = match message {
                        Outgoing::Variable { bytes, length, exact: true, .. } if length <= INLINE_BYTES => {
                            Outgoing::Cell { bytes, length }
                        }
                        Outgoing::Variable { bytes, length, exact, .. } => {
                            Outgoing::Private { bytes, length, exact }
                        }
                        Outgoing::Lent { bytes, length } if now.slot() != brings::LENT => {
                            Outgoing::Private { bytes, length, exact: false }
                        }
                        other => other,
                    };
                    if matches!(message, Outgoing::Private { exact: false, .. } | Outgoing::Lent { .. }) {
                        // The receiver says how much room there is in its private memory.
                        let (length, capacity) = (message.length() as u64, self.peer.target().1);
                        if length > capacity {
                            match self.line.begin(now, self.me.end().sequence()) {
                                Ok(giving) => {
                                    self.me.set_note(length);
                                    self.refuse(giving, None);
                                    return Err(Stop::TooLong { length, capacity });
                                }
                                Err(found) => {
                                    now = found;
                                    continue;
                                }
                            }
                        }
                    }
                    if let Outgoing::Lent { length, .. } = message {
                        if filled != Some(brings::LENT) {
                            // SAFETY: sender, WANT(s): L1.
                            filled = Some(unsafe { self.fill_cell(s, message) }?);
                        }
                        // For a receiver whose want ends without a message: not because it did not fit.
                        self.me.set_note(length as u64);
                        match self.line.lend(now) {
                            Ok(()) => {
                                self.wake_if(now.is_parked());
                                match self.await_taker(s, patience, length, brings::LENT)? {
                                    Outcome::Happened => return Ok(()),
                                    Outcome::LookAgain => now = self.line.word(),
                                }
                            }
                            Err(found) => now = found,
                        }
                        continue;
                    }
                    if filled != Some(brings::CELL) {
                        // SAFETY: sender, WANT(s): L1.
                        filled = Some(unsafe { self.fill_cell(s, message) }?);
                    }
                    match self.line.deliver(now) {
                        Ok(()) => {
                            self.memory.copies.set(2);
                            self.wake_if(now.is_parked());
                            return Ok(());
                        }
                        Err(found) => now = found,
                    }
                }
                // The partner is still busy with a copy that we gave up, or the word is a wreck.
                _ => now = self.await_partner(now, patience)?,
            }
        }
    }

    /// A sender waits until its offer of `s` is taken.
    fn await_taker(&mut self, s: u64, patience: Patience, length: usize, what: u16) -> Result<Outcome, Stop> {
        let Patience::Until(deadline) = patience else {
            return Err(Stop::WouldBlock); // who tries makes no offer
        };
        let outcome = self.await_end(s, deadline, length, true, what)?;
        self.memory.copies.set(if what == brings::CELL { 2 } else { 1 });
        Ok(outcome)
    }

    /// A try finds nobody, but a select sleeps at the other side, and would be there if it was asked: for so long.
    #[cold]
    fn a_moment(&self) -> Option<Patience> {
        (self.ground.select_at(self.peer.pcb_ref()) == Some(true))
            .then(|| Patience::Until(Instant::now().checked_add(ANSWER)))
    }

    /// Looks for up to `steps` steps whether the word changes; gives the word now.
    fn look_for_change(&self, seen: Word, steps: u64) -> Word {
        for step in 0..steps {
            let now = self.line.word();
            if now != seen {
                self.tally.spun(step);
                return now;
            }
            P::relax(step);
        }
        self.tally.spun(steps);
        seen
    }

    /// Writes the cell of `s`; says what an OFFER of it brings.
    ///
    /// # Safety
    /// As `Line::write_cell`; `message` as in `send`.
    pub(super) unsafe fn fill_cell(&self, s: u64, message: Outgoing) -> Result<u16, Stop> {
        if message.is_small() {
            // SAFETY: passed on.
            unsafe { self.line.write_cell(s, |cell| fill_small(self.tally, cell, message)) };
            return Ok(brings::CELL);
        }
        let (reference, length, what) = match message {
            Outgoing::Private { bytes, length, .. } => {
                let (reference, to) = self.ground.stage((s & 1) as usize, length).ok_or(Stop::Full)?;
                // SAFETY: L2: nobody reads this staging block; it holds at least `length` bytes.
                unsafe { self.tally.copy(bytes, to, length) };
                (reference, length, brings::CELL)
            }
            Outgoing::Lent { bytes, length } => (bytes as u64, length, brings::LENT),
            Outgoing::Variable { length, reference, .. } => (reference, length, brings::VARIABLE),
            Outgoing::Cell { .. } | Outgoing::Parcel(_) => unreachable!("filled above"),
        };
        let words: Reference3 = [reference, length as u64, 0];
        // SAFETY: passed on; a cell is as large as a `Reference3`.
        unsafe { self.line.write_cell(s, |cell| cell.cast::<Reference3>().write(words)) };
        Ok(what)
    }

    /// Copies into the receiver's variable. None: the receiver had given up.
    ///
    /// # Safety
    /// The word is `giving`, made so by us.
    pub(super) unsafe fn give(&mut self, giving: Word, message: Outgoing) -> Option<Result<(), Stop>> {
        let (target, capacity) = self.peer.target();
        let length = message.length() as u64;
        let to = self.ground.resolve(target, capacity);
        let fits = length <= capacity;
        let (Some(to), true) = (to, fits) else {
            self.me.set_note(length);
            self.refuse(giving, to.map(|to| to.cast_const()));
            return Some(Err(if fits { Stop::Corrupt } else { Stop::TooLong { length, capacity } }));
        };
        // SAFETY: GIVING: the receiver does not touch its target; the range was checked.
        unsafe { self.tally.copy(message.bytes(), to, message.length()) };
        self.me.set_note(length);
        match self.line.finish(giving, || self.ground.adopt(to)) {
            Finished::Done { wake } => {
                self.memory.copies.set(1);
                self.wake_if(wake);
                Some(Ok(()))
            }
            Finished::Abandoned { wake } => {
                self.ground.abandoned(to);
                self.wake_if(wake);
                None
            }
            Finished::Lost => None,
        }
    }

    /// Refuses what the first one brought; `storage` is its variable, if it can be resolved.
    pub(super) fn refuse(&self, copying: Word, storage: Option<*const u8>) {
        let ended = self.line.refuse(copying, || {
            if let Some(storage) = storage {
                self.ground.adopt(storage);
            }
        });
        match ended {
            Finished::Done { wake } => self.wake_if(wake),
            Finished::Abandoned { wake } => {
                if let Some(storage) = storage {
                    self.ground.abandoned(storage);
                }
                self.wake_if(wake);
            }
            Finished::Lost => {}
        }
    }

    /// `receive(ch, vtg)`; gives the message's length in bytes.
    ///
    /// # Safety
    /// The caller is the only receiver of this channel; `target` describes memory that is ours to write
    /// until this returns.
    #[inline]
    pub unsafe fn receive(&mut self, target: Incoming, patience: Patience) -> Result<usize, Stop> {
        let end = self.peer.end();
        if !self.memory.is_known(end) {
            if let Some(gone) = self.partner_gone(end) {
                return Err(Stop::Gone(gone));
            }
        }
        let small = matches!(target, Incoming::Cell { .. } | Incoming::Parcel(_)) && !self.memory.keeps.get();
        if let (true, Patience::Until(deadline)) = (small, patience) {
            match want_now(self.line, self.tally, self.memory) {
                // SAFETY: our WANT(s) was delivered.
                Wanted::Given(s) => return Ok(unsafe { collect_small(self.line, self.tally, s, target) }),
                Wanted::Waiting(s) => {
                    self.ground.came_first();
                    // SAFETY: passed on.
                    return unsafe { self.receive_wanted(s, target, deadline) };
                }
                Wanted::Not => {}
            }
        }
        // SAFETY: passed on.
        unsafe { self.receive_walk(target, patience) }
    }

    /// Goes on where `want_now` left off.
    ///
    /// # Safety
    /// As `receive`; WANT(s) stands, for a message that fits a cell.
    pub unsafe fn receive_wanted(
        &mut self,
        s: u64,
        target: Incoming,
        deadline: Option<Instant>,
    ) -> Result<usize, Stop> {
        self.await_end(s, deadline, target.capacity(), false, brings::CELL)?;
        // SAFETY: our WANT(s) was delivered.
        Ok(unsafe { collect_small(self.line, self.tally, s, target) })
    }

    /// # Safety
    /// As `receive`.
    unsafe fn receive_walk(&mut self, target: Incoming, mut patience: Patience) -> Result<usize, Stop> {
        let mut now = self.line.word();
        loop {
            let s = now.sequence();
            match now.state() {
                IDLE if matches!(patience, Patience::Try) => {
                    self.memory.expect.set(now.awake());
                    let variable = matches!(target, Incoming::Variable { .. });
                    patience = self.a_moment().filter(|_| !variable).ok_or(Stop::WouldBlock)?;
                }
                IDLE => {
                    let what = match target {
                        Incoming::Variable { reference, capacity, .. } => {
                            self.me.set_target(reference, capacity as u64);
                            brings::VARIABLE
                        }
                        Incoming::Private { exact: false, .. } if self.memory.lends_to(self.peer.end()) => {
                            brings::LENT
                        }
                        _ => brings::CELL,
                    };
                    if !target.is_exact() {
                        self.me.set_target(target.reference(), target.capacity() as u64);
                    }
                    self.mark_unread((what == brings::CELL).then_some(s));
                    match self.line.want(now, what) {
                        Ok(_) => {
                            self.wake_if(now.is_parked());
                            self.ground.came_first();
                            let Patience::Until(deadline) = patience else { unreachable!() };
                            match self.await_end(s, deadline, target.capacity(), false, what)? {
                                Outcome::Happened => {}
                                Outcome::LookAgain => {
                                    now = self.line.word();
                                    continue;
                                }
                            }
                            if what == brings::VARIABLE {
                                // The sender copied, and left the length in its note.
                                self.memory.copies.set(1);
                                return Ok(self.peer.note().min(target.capacity() as u64) as usize);
                            }
                            // SAFETY: our WANT(s) was delivered.
                            return unsafe { self.collect(s, target) };
                        }
                        Err(found) => now = found,
                    }
                }
                OFFER if now.slot() == brings::VARIABLE => {
                    // For a sender that gives up in the middle: would it have fitted?
                    self.me.set_target(0, target.capacity() as u64);
                    self.mark_unread(None);
                    match self.line.begin(now, self.me.end().sequence()) {
                        // SAFETY: TAKING(s), made so by us.
                        Ok(taking) => return unsafe { self.copy_offered(taking, target) },
                        Err(found) => now = found,
                    }
                }
                OFFER if now.slot() == brings::LENT => {
                    self.mark_unread(None);
                    match self.line.begin(now, self.me.end().sequence()) {
                        // SAFETY: TAKING(s), made so by us.
                        Ok(taking) => match unsafe { self.read_lent(taking, target, patience.deadline()) } {
                            Some(end) => return end,
                            None => now = self.line.word(), // it is to be staged, or was withdrawn
                        },
                        Err(found) => now = found,
                    }
                }
                OFFER if now.slot() == brings::STAGE => now = self.await_partner(now, patience)?,
                OFFER if !target.is_exact() => {
                    self.mark_unread(Some(s));
                    match self.line.begin(now, self.me.end().sequence()) {
                        // SAFETY: TAKING(s), made so by us.
                        Ok(taking) => match unsafe { self.look_at_staged(taking, target) } {
                            Some(end) => return end,
                            None => now = self.line.word(), // withdrawn while we looked
                        },
                        Err(found) => now = found,
                    }
                }
                OFFER => {
                    self.mark_unread(Some(s));
                    match self.line.take(now) {
                        Ok(()) => {
                            self.wake_if(now.is_parked());
                            self.memory.expect.set(Word::new(IDLE, 0, s + 1));
                            // SAFETY: we took the offer of `s`.
                            return unsafe { self.collect(s, target) };
                        }
                        Err(found) => now = found,
                    }
                }
                _ => now = self.await_partner(now, patience)?,
            }
        }
    }

    /// The receiver is about to come: what it may find in the cell of `s` is its successor's until it has read it (side.rs, S2).
    #[inline(always)]
    pub(super) fn mark_unread(&self, s: Option<u64>) {
        if self.memory.keeps.get() {
            self.me.set_unread(s);
        }
    }

    /// Takes what the cell of the ended rendezvous `s` brings.
    ///
    /// # Safety
    /// As `Line::read_cell`.
    pub unsafe fn collect(&self, s: u64, target: Incoming) -> Result<usize, Stop> {
        match target {
            Incoming::Cell { .. } | Incoming::Parcel(_) | Incoming::Variable { small: true, .. } => {
                // SAFETY: passed on.
                Ok(unsafe { collect_small(self.line, self.tally, s, target) })
            }
            Incoming::Private { bytes, capacity, .. } | Incoming::Variable { bytes, capacity, .. } => {
                // SAFETY: passed on; the sender of a message that is not small wrote all three words.
                let (from, length) = unsafe { self.referred(s) }?;
                if length > capacity {
                    return Err(Stop::TooLong { length: length as u64, capacity: capacity as u64 });
                }
                // SAFETY: the staging block is stable like the cell (L2); ranges were checked.
                unsafe { self.tally.copy(from, bytes, length) };
                self.memory.copies.set(2);
                Ok(length)
            }
        }
    }

    /// A staged message of variable length: takes it if it fits. None: the sender had given up.
    ///
    /// # Safety
    /// The word is `taking`, made so by us; `target` as in `receive`.
    unsafe fn look_at_staged(&mut self, taking: Word, target: Incoming) -> Option<Result<usize, Stop>> {
        let (s, capacity) = (taking.sequence(), target.capacity());
        // SAFETY: TAKING: the sender does not touch the cell (L1).
        let too_long = match unsafe { self.referred(s) } {
            Ok((_, length)) if length <= capacity => None,
            Ok((_, length)) => Some(Stop::TooLong { length: length as u64, capacity: capacity as u64 }),
            Err(stop) => Some(stop),
        };
        if let Some(stop) = too_long {
            self.me.set_note(capacity as u64);
            self.refuse(taking, None); // the staging block stays the channel's
            return Some(Err(stop));
        }
        match self.line.finish(taking, || ()) {
            Finished::Done { wake } => {
                self.wake_if(wake);
                self.memory.expect.set(Word::new(IDLE, 0, s + 1));
                // SAFETY: `s` ended and we are its receiver: cell and staging block are stable (L2).
                Some(unsafe { self.collect(s, target) })
            }
            Finished::Abandoned { wake } => {
                self.wake_if(wake);
                None
            }
            Finished::Lost => Some(Err(Stop::Corrupt)),
        }
    }

    /// What the cell refers to, checked.
    ///
    /// # Safety
    /// As `Line::read_cell`.
    unsafe fn referred(&self, s: u64) -> Result<(*const u8, usize), Stop> {
        // SAFETY: passed on; the sender of a message that is not small wrote all three words.
        let words = unsafe { self.line.read_cell(s, |cell| cell.cast::<Reference3>().read()) };
        let from = self.ground.resolve(words[0], words[1]).ok_or(Stop::Corrupt)?;
        Ok((from, usize::try_from(words[1]).map_err(|_| Stop::Corrupt)?))
    }

    /// Copies out of the sender's variable.
    ///
    /// # Safety
    /// The word is `taking`, made so by us; `target` as in `receive`.
    unsafe fn copy_offered(&mut self, taking: Word, target: Incoming) -> Result<usize, Stop> {
        // SAFETY: TAKING: the sender does not touch the cell (L1).
        let found = unsafe { self.referred(taking.sequence()) };
        let capacity = target.capacity();
        let (from, length) = match found {
            Ok((from, length)) if length <= capacity => (from, length),
            other => {
                self.me.set_note(capacity as u64);
                self.refuse(taking, other.ok().map(|(from, _)| from));
                let (_, length) = other?;
                return Err(Stop::TooLong { length: length as u64, capacity: capacity as u64 });
            }
        };
        // SAFETY: TAKING: the sender does not touch its variable; the range was checked.
        unsafe { self.tally.copy(from, target.bytes(), length) };
        match self.line.finish(taking, || self.ground.adopt(from)) {
            Finished::Done { wake } => self.wake_if(wake),
            Finished::Abandoned { wake } => {
                self.ground.abandoned(from);
                self.wake_if(wake);
            }
            Finished::Lost => return Err(Stop::Corrupt),
        }
        self.memory.copies.set(1);
        self.memory.expect.set(Word::new(IDLE, 0, taking.sequence() + 1));
        Ok(length)
    }

    #[inline(always)]
    pub(super) fn wake_if(&self, asleep: bool) {
        if asleep {
            self.tally.woke();
            self.ground.wake(self.peer.pcb_ref());
        }
    }
}
