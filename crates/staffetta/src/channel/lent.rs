//! The two steps of a rendezvous that private memory needs when it is lent (states: line.rs; faces: transfer.rs).
//!
//! What it does not do: it does not wait, and does not know how memory of another process is read ([`Ground::read_lent`]).

#![allow(unsafe_code)] // Message bytes are raw memory: each copy says which invariant of line.rs allows it.

use std::mem::MaybeUninit;
use std::time::Instant;

use super::call::{Ground, Incoming, Lent, Stop};
use super::line::{Finished, Reference3, IDLE};
use super::rendezvous::Party;
use crate::memory::platform::Platform;
use crate::memory::word::Word;

impl<P: Platform, G: Ground<P>> Party<'_, P, G> {
    /// A message in private memory of the sender's process: reads it if it fits. None: it was not taken; the sender gave
    /// up, or was asked to stage it.
    ///
    /// # Safety
    /// The word is `taking`, made so by us; `target` as in `receive`.
    pub(super) unsafe fn read_lent(
        &mut self,
        taking: Word,
        target: Incoming,
        deadline: Option<Instant>,
    ) -> Option<Result<usize, Stop>> {
        let (s, capacity) = (taking.sequence(), target.capacity() as u64);
        // SAFETY: TAKING: the sender does not touch the cell (L1); one that lends wrote all three words.
        let [address, length, _] = unsafe { self.line.read_cell(s, |cell| cell.cast::<Reference3>().read()) };
        if length > capacity {
            self.me.set_note(capacity);
            self.refuse(taking, None);
            return Some(Err(Stop::TooLong { length, capacity }));
        }
        let bytes = length as usize;
        // A successor of the one that lent may hold the end by now. Then the word says ABANDONED, and what is read is dropped.
        let owner = self.peer.end();
        let lent = match self.memory.lends_to(owner) {
            true => {
                let to: &mut [MaybeUninit<u8>] = match bytes {
                    0 => &mut [],
                    // SAFETY: the target is ours to write, and `bytes` fit.
                    _ => unsafe { std::slice::from_raw_parts_mut(target.bytes().cast(), bytes) },
                };
                self.ground.read_lent(owner, address, to, deadline)
            }
            false => Lent::Refused,
        };
        let ended = if lent == Lent::Read {
            self.tally.copied(bytes);
            self.line.finish(taking, || ())
        } else {
            if lent == Lent::Refused {
                self.memory.unreadable.set(Some(owner.awake()));
            }
            // Is it worth while to lend the next one?
            self.me.set_target(u64::from(lent == Lent::NotNow), capacity);
            self.line.ask(taking)
        };
        match ended {
            Finished::Done { wake } => {
                self.wake_if(wake);
                (lent == Lent::Read).then(|| {
                    self.memory.expect.set(Word::new(IDLE, 0, s + 1));
                    self.memory.copies.set(1);
                    Ok(bytes)
                })
            }
            Finished::Abandoned { wake } => {
                self.wake_if(wake);
                None
            }
            Finished::Lost => Some(Err(Stop::Corrupt)),
        }
    }

    /// `OFFER(s) STAGE => IDLE(s+2)`: there is no room to stage what was lent.
    #[cold]
    pub(super) fn decline(&self, asked: Word) {
        let mut now = asked;
        while let Err(found) = self.line.decline(now) {
            if found.awake() != asked.awake() {
                return; // a wreck
            }
            now = found;
        }
        self.wake_if(now.is_parked());
    }
}
