//! What the dead leave: messages in hand, slots that were about to be sent.
//!
//! Invariants: `mod.rs`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::{join, split, Lanes, Queue, QueueSide, ATTEMPTS_MAX, DROPPING, RETURNED};
use crate::channel::crowd::SEATS_MAX;
use crate::channel::ring::{Slot, EMPTY, FULL, READING};
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

impl<P: Platform, L: Lanes> Queue<P, L> {
    /// The receiver in `seat` is dead: what it had in hand waits again. `still`: is the seat the dead one's? Asked
    /// after a word was read and before it is changed (Q4). `claimed`: has it been taken out of its slot's bytes already?
    /// A message that so many died of is dropped and counted: `dropped` as in `settle_sender`.
    /// True: there is something for other receivers.
    pub fn settle_receiver(
        &self,
        seat: usize,
        still: impl Fn() -> bool,
        claimed: impl Fn(*const u8) -> bool,
        dropped: impl Fn(*const u8, &dyn Fn() -> bool),
    ) -> bool {
        let mut any = false;
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((words, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(words.word.load(Acquire));
                let (by, attempt) = split(now.slot());
                let dead_has_it = now.state() == READING && by == seat && still();
                if dead_has_it {
                    let is_claimed = claimed(bytes);
                    let given_up = !is_claimed && attempt >= ATTEMPTS_MAX;
                    if given_up {
                        dropped(bytes, &|| words.word.load(Acquire) == now.0);
                    }
                    let to = if given_up || is_claimed {
                        Word::new(EMPTY, 0, now.sequence())
                    } else {
                        Word::new(RETURNED, join(0, attempt + 1), now.sequence())
                    };
                    // It fails if another sweeper was first.
                    let changed = words.word.compare_exchange(now.0, to.0, AcqRel, Relaxed).is_ok();
                    if changed && given_up {
                        self.receivers().seat(seat).tally.dropped();
                    }
                }
                // Also if it was another sweeper, which has not come to say so, it may be.
                if dead_has_it || now.state() == RETURNED {
                    any = true;
                    // Release: pairs with `next_message`.
                    self.receivers().returned.fetch_add(1, AcqRel);
                }
            }
        }
        any
    }

    /// The sender in `seat` is dead: what it was dropping is dropped: `dropped` has its bytes, and is told
    /// whether they are still those of the message. Its lane stays, for what waits in it and for the next
    /// sender.
    pub fn settle_sender(
        &self,
        seat: usize,
        still: impl Fn() -> bool,
        dropped: impl Fn(*const u8, &dyn Fn() -> bool),
    ) {
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((Slot { word, .. }, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(word.load(Acquire));
                if now.state() == DROPPING && split(now.slot()).0 == seat && still() {
                    dropped(bytes, &|| word.load(Acquire) == now.0);
                    let empty = Word::new(EMPTY, 0, now.sequence());
                    // It fails if another sweeper was first.
                    let _ = word.compare_exchange(now.0, empty.0, AcqRel, Relaxed);
                }
            }
        }
    }

    /// Takes over a lane: slots that were about to be sent and were not are its sender's again.
    pub fn recover_lane(&self, lane: usize) {
        for slot in 0..self.plan.slots() {
            let Some((Slot { word, .. }, _)) = self.slot(lane, slot) else {
                return;
            };
            let now = Word(word.load(Acquire));
            let position = now.sequence();
            let cell = self.cell(position).load(Acquire);
            if now.state() == FULL && cell != self.encode(position, lane, slot) {
                // Q3: nobody else changes it.
                let _ = word.compare_exchange(now.0, Word::new(EMPTY, 0, position).0, AcqRel, Relaxed);
            }
        }
    }

    /// The slot that a lane's next holder builds in: after the one of its newest message.
    pub fn resume(&self, lane: usize, side: &QueueSide) {
        let full = (0..self.plan.slots()).filter_map(|slot| {
            let word = Word(self.slot(lane, slot)?.0.word.load(Acquire));
            (word.state() != EMPTY).then_some((word.sequence(), slot))
        });
        if let Some((_, slot)) = full.max() {
            side.slot.set((slot + 1) % self.plan.slots());
        }
    }

    /// The bytes of every message that was sent and not given back: for sweepers, and when all is over.
    pub fn each(&self, mut f: impl FnMut(*const u8)) {
        for lane in 0..SEATS_MAX {
            for slot in 0..self.plan.slots() {
                let Some((words, bytes)) = self.slot(lane, slot) else {
                    break;
                };
                let now = Word(words.word.load(Acquire));
                let position = now.sequence();
                let is_sent = || self.cell(position).load(Acquire) == self.encode(position, lane, slot);
                if now.state() != EMPTY && (now.state() != FULL || is_sent()) {
                    f(bytes);
                }
            }
        }
    }
}
