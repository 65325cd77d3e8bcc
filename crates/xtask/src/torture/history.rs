//! What was sent and what came: noted where it survives whoever notes it, and compared when all is quiet.
//!
//! Every message is a [`Letter`]: who sent it (an incarnation: each process that is started is another one), its number, a
//! checksum. A sender notes the number before it sends ([`Notes::begun`]) and after ([`Notes::done`]). A receiver sets one bit
//! for each letter that it has ([`Ledger::came`]). So after a kill it is known which letters were sent for certain, which one
//! may or may not have been, and which came; and that a receiver may have died with one that it took and could not note.
//!
//! ```text
//!   0 ................ done ....... begun ................
//!   each came, once    | may have  |  none of these came
//!                      | come      |
//! ```

#![allow(unsafe_code)] // What may lie in shared memory.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8};

use super::line::Fault;
use super::shared::Atomics;

/// Who, number, checksum.
pub type Letter = [u64; 3];

/// The letter `number` of incarnation `who`.
pub fn letter(who: usize, number: u64) -> Letter {
    [who as u64, number, mix(who as u64, number)]
}

/// The answer to a letter that asks: nobody else's.
pub fn answer(letter: Letter) -> Letter {
    [letter[0], !letter[1], mix(!letter[0], letter[1])]
}

/// Is it as it was sent?
pub fn is_whole([who, number, sum]: Letter) -> bool {
    sum == mix(who, number)
}

/// SplitMix64's last steps.
fn mix(who: u64, number: u64) -> u64 {
    let x = number.wrapping_add(who << 40).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Incarnations of one scene.
pub const INCARNATIONS: usize = 64;
/// Letters of one incarnation.
pub const LETTERS: u64 = 1 << 20;

/// What one incarnation is at; 0: it has been started.
pub mod phase {
    /// It has joined the domain.
    pub const JOINED: u32 = 1;
    /// It has its ends.
    pub const ATTACHED: u32 = 2;
    /// It is about to close them.
    pub const LEAVING: u32 = 3;
    /// It has closed them, and is still in the domain.
    pub const CLOSED: u32 = 4;
    /// It has left the domain.
    pub const GONE: u32 = 5;
}

/// What one incarnation notes.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Notes {
    /// See [`phase`].
    pub phase: AtomicU32,
    /// Letters below this number may have been sent.
    pub begun: AtomicU64,
    /// Letters below this number were sent: the send said so.
    pub done: AtomicU64,
    /// It is receiving: it may have taken a letter and not noted it.
    pub taking: AtomicU64,
    /// `who << 32 | number + 1` of the letter that it reads in place.
    pub in_hand: AtomicU64,
    /// Letters that it received.
    pub came: AtomicU64,
    /// Letters that it was told it missed.
    pub missed: AtomicU64,
    /// Letters that came after later ones, since somebody else had them in hand before.
    pub reordered: AtomicU64,
    /// Letters that it was told are lost, since all who had their memory were killed.
    pub lost: AtomicU64,
    /// Letters that it dropped for want of room.
    pub dropped: AtomicU64,
    /// How often it was told that a peer died.
    pub died: AtomicU64,
    /// How often it was told that all peers left.
    pub left: AtomicU64,
    /// Calls that it made since it began: grows while it gets on.
    pub calls: AtomicU64,
    /// 1: it is asked to close and to leave.
    pub leave: AtomicU64,
    /// What went wrong, if anything: the kind + 1, and in words.
    fault: AtomicU32,
    words: [AtomicU64; 24],
}

impl Notes {
    /// Something went wrong. The first thing is kept.
    pub fn fault(&self, fault: Fault, text: &str) {
        if self.fault.load(SeqCst) == 0 {
            for (word, bytes) in self.words.iter().zip(text.as_bytes().chunks(8)) {
                let mut eight = [0; 8];
                eight[..bytes.len()].copy_from_slice(bytes);
                word.store(u64::from_le_bytes(eight), Relaxed);
            }
            self.fault.store(fault as u32 + 1, SeqCst);
        }
    }

    /// The first thing that went wrong.
    pub fn first_fault(&self) -> Option<(Fault, String)> {
        let kind = self.fault.load(SeqCst).checked_sub(1)?;
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
        let fault = [Fault::Lost, Fault::Duplicated, Fault::Leaked, Fault::Hung]
            .into_iter()
            .find(|fault| *fault as u32 == kind)
            .unwrap_or(Fault::Wrong);
        Some((fault, text))
    }

    /// Moves on to a phase.
    pub fn enter(&self, phase: u32) {
        self.phase.store(phase, SeqCst);
    }

    /// The phase it is in.
    pub fn phase(&self) -> u32 {
        self.phase.load(SeqCst)
    }

    /// How often it was told that its peers are gone.
    pub fn told(&self) -> u64 {
        self.died.load(SeqCst) + self.left.load(SeqCst)
    }

    /// As new.
    fn clear(&self) {
        let Notes {
            phase,
            begun,
            done,
            taking,
            in_hand,
            came,
            missed,
            reordered,
            lost,
            dropped,
            died,
            left,
            calls,
            leave,
            ..
        } = self;
        for word in
            [begun, done, taking, in_hand, came, missed, reordered, lost, dropped, died, left, calls, leave]
        {
            word.store(0, SeqCst);
        }
        phase.store(0, SeqCst);
        self.fault.store(0, SeqCst);
        self.words.iter().for_each(|word| word.store(0, SeqCst));
    }
}

/// One bit for each letter of one incarnation.
#[repr(C, align(4096))]
pub struct Bits([AtomicU8; LETTERS as usize / 8]);

/// The bits of all.
#[repr(C)]
pub struct Came([Bits; INCARNATIONS]);

/// What all incarnations of a scene note.
#[repr(C, align(4096))]
pub struct Ledger {
    /// Each its own.
    pub notes: [Notes; INCARNATIONS],
    came: Came,
}

// SAFETY: atomic integers only.
unsafe impl Atomics for Ledger {}
// SAFETY: as above.
unsafe impl Atomics for Came {}

impl Ledger {
    /// The bits, to be zeroed between two scenes.
    pub fn bits(&self) -> &Came {
        &self.came
    }

    /// Forgets what was noted; `bits` are the caller's to zero.
    pub fn clear(&self) {
        self.notes.iter().for_each(Notes::clear);
    }

    /// A letter came. False: it had come before.
    pub fn came(&self, who: usize, number: u64) -> bool {
        let (byte, bit) = (number as usize / 8, 1 << (number % 8));
        self.came.0[who].0[byte].fetch_or(bit, SeqCst) & bit == 0
    }

    /// Has it come?
    pub fn has_come(&self, who: usize, number: u64) -> bool {
        self.came.0[who].0[number as usize / 8].load(SeqCst) & (1 << (number % 8)) != 0
    }

    /// Was it in the hand of somebody else, who has not given it back? Then it comes again to another.
    pub fn was_in_hand(&self, who: usize, number: u64, not_of: usize) -> bool {
        let hand = (who as u64) << 32 | (number + 1);
        (0..INCARNATIONS).any(|i| i != not_of && self.notes[i].in_hand.load(SeqCst) == hand)
    }
}

/// What a comparison of one scene found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// Letters that were sent for certain.
    pub sent: u64,
    /// Of these, those that did not come.
    pub missing: u64,
    /// Letters that came.
    pub came: u64,
}

/// Compares what the incarnations `senders` sent with what came. Says of a letter that came and was not sent.
pub fn compare(ledger: &Ledger, senders: impl IntoIterator<Item = usize>) -> Result<Sum, String> {
    let mut sum = Sum::default();
    for who in senders {
        let notes = &ledger.notes[who];
        let (done, begun) = (notes.done.load(SeqCst), notes.begun.load(SeqCst));
        sum.sent += done;
        for number in 0..begun.min(LETTERS) {
            match ledger.has_come(who, number) {
                true => sum.came += 1,
                false if number < done => sum.missing += 1,
                false => {}
            }
        }
        // Rounded up to whole bytes, and a little further.
        if let Some(number) = (begun..(begun + 64).min(LETTERS)).find(|n| ledger.has_come(who, *n)) {
            return Err(format!("letter {number} of {who} came, who had begun only {begun}"));
        }
    }
    Ok(sum)
}

/// The first letters that were sent for certain and did not come, in words.
pub fn missing(ledger: &Ledger, senders: impl IntoIterator<Item = usize>, most: usize) -> String {
    let mut all = Vec::new();
    for who in senders {
        let notes = &ledger.notes[who];
        let done = notes.done.load(SeqCst).min(LETTERS);
        all.extend(
            (0..done).filter(|number| !ledger.has_come(who, *number)).map(|number| format!("{who}:{number}")),
        );
    }
    all.truncate(most);
    format!("missing (sender:number): {}", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::shared::Shared;
    use super::*;

    #[test]
    fn what_is_lost_or_doubled_or_invented_is_found() {
        let ledger = Shared::<Ledger>::new();
        let notes = &ledger.notes[2];
        notes.begun.store(4, SeqCst);
        notes.done.store(3, SeqCst);
        for number in [0, 2] {
            assert!(ledger.came(2, number));
        }
        assert!(!ledger.came(2, 2), "twice");
        let sum = compare(&ledger, [1, 2]).expect("none invented");
        assert_eq!(sum, Sum { sent: 3, missing: 1, came: 2 });
        assert!(ledger.came(2, 3), "the one that was being sent");
        assert_eq!(compare(&ledger, [2]).expect("none invented").missing, 1);
        assert!(ledger.came(2, 4));
        assert!(compare(&ledger, [2]).is_err());
        ledger.clear();
        ledger.zero(ledger.bits());
        assert_eq!(compare(&ledger, 0..INCARNATIONS), Ok(Sum::default()));
        assert!(is_whole(letter(3, 9)) && !is_whole([3, 9, 1]));
    }

    #[test]
    fn what_went_wrong_is_kept_in_words() {
        let ledger = Shared::<Ledger>::new();
        let notes = &ledger.notes[0];
        assert_eq!(notes.first_fault(), None);
        notes.fault(Fault::Hung, "a wait that did not end");
        notes.fault(Fault::Lost, "later");
        assert_eq!(notes.first_fault(), Some((Fault::Hung, "a wait that did not end".to_owned())));
    }
}
