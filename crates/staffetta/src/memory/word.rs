//! The state word: what every shared state machine of Staffetta is made of.
//!
//! ```text
//!  63                                   16 15           4 3 2     0
//! +---------------------------------------+--------------+-+-------+
//! |              sequence (48)            |   slot (12)  |P| state |
//! +---------------------------------------+--------------+-+-------+
//! ```
//!
//! * **state**: one of up to eight states; each machine lists its own, with who may leave each.
//! * **P**: the side that waits for this word to change sleeps; whoever changes it must wake that
//!   side. Announcing sleep is thus one compare-exchange on the very word that will change, so a
//!   change and an announcement cannot miss each other (invariant W1).
//! * **slot**: the process (or, in forms with many, the lane) that the state names.
//! * **sequence**: grows with the machine; a word never comes back while somebody is stopped in the
//!   middle of a step (budget below).
//!
//! W1. A waiter sleeps only after a compare-exchange that set P on the word it waits for; every
//!     change of the word is a read-modify-write or is made by the only process that may make it,
//!     and observes P.

/// Bits of the sequence.
pub const SEQUENCE_BITS: u32 = 48;
/// Stands where a process slot would, in the end word of an end that lies in a message: no process holds it.
pub const IN_MESSAGE: u16 = SLOT_MASK as u16;
const STATE_MASK: u64 = 0b0111;
const PARKED: u64 = 0b1000;
const SLOT_SHIFT: u32 = 4;
const SLOT_MASK: u64 = 0xfff;
const SEQUENCE_SHIFT: u32 = 16;

// The budget: a machine that takes 50 million steps a second comes round after
// 2^48 / 50e6 s = 65 days; a process must be stopped that long, between two instructions, to be fooled.
const _: () = assert!((1_u64 << SEQUENCE_BITS) / 50_000_000 > 60 * 24 * 3600);
const _: () = assert!(SEQUENCE_SHIFT + SEQUENCE_BITS == 64);

/// A snapshot of a state word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// State, slot and sequence in one word, nobody asleep.
    #[inline(always)]
    pub const fn new(state: u8, slot: u16, sequence: u64) -> Word {
        Word((sequence << SEQUENCE_SHIFT) | ((slot as u64 & SLOT_MASK) << SLOT_SHIFT) | state as u64)
    }
    /// The state, without P.
    #[inline(always)]
    pub const fn state(self) -> u8 {
        (self.0 & STATE_MASK) as u8
    }
    /// The process or lane named.
    #[inline(always)]
    pub const fn slot(self) -> u16 {
        ((self.0 >> SLOT_SHIFT) & SLOT_MASK) as u16
    }
    /// The sequence.
    #[inline(always)]
    pub const fn sequence(self) -> u64 {
        self.0 >> SEQUENCE_SHIFT
    }
    /// The same word, of another process.
    #[inline(always)]
    pub const fn with_slot(self, slot: u16) -> Word {
        Word((self.0 & !(SLOT_MASK << SLOT_SHIFT)) | (slot as u64 & SLOT_MASK) << SLOT_SHIFT)
    }
    /// Of an end word: which holding it tells of, whoever it was handed to meanwhile and whether or not somebody sleeps.
    #[inline(always)]
    pub const fn holding(self) -> Word {
        Word(self.0 & !(SLOT_MASK << SLOT_SHIFT | PARKED))
    }
    /// Does the waiting side sleep?
    #[inline(always)]
    pub const fn is_parked(self) -> bool {
        self.0 & PARKED != 0
    }
    /// The same word, with the waiting side asleep.
    #[inline(always)]
    pub const fn parked(self) -> Word {
        Word(self.0 | PARKED)
    }
    /// The same word, with nobody asleep.
    #[inline(always)]
    pub const fn awake(self) -> Word {
        Word(self.0 & !PARKED)
    }
    /// The same word, with P as in `other`.
    #[inline(always)]
    pub const fn parked_as(self, other: Word) -> Word {
        Word((self.0 & !PARKED) | (other.0 & PARKED))
    }
    /// Another state with the same sequence and slot; keeps P, so that whoever leaves the new state
    /// still wakes the sleeper.
    #[inline(always)]
    pub const fn with_state(self, state: u8) -> Word {
        Word((self.0 & !STATE_MASK) | state as u64)
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "state {} slot {} seq {}{}",
            self.state(),
            self.slot(),
            self.sequence(),
            if self.is_parked() { " parked" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        let w = Word::new(5, 0xabc, (1 << 48) - 1);
        assert_eq!((w.state(), w.slot(), w.sequence()), (5, 0xabc, (1 << 48) - 1));
        assert!(!w.is_parked() && w.parked().is_parked());
        assert_eq!(w.parked().awake(), w);
        assert_eq!(w.parked().with_state(2).state(), 2);
        assert!(w.parked().with_state(2).is_parked());
        assert_eq!(Word::new(0, 0, 0).0, 0, "all zero means never used");
    }
}
