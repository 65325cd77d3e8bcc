//! Which blocks of a class may be free: a bit for each, and two levels above that say where to look.
//!
//! ```text
//!   level 2   a bit for each word of level 1
//!   level 1   a bit for each word of level 0
//!   level 0   a bit for each block
//! ```
//!
//! A bit is a hint, the block's holder word is the authority: so a bit may be set twice, by anybody, at any time, and who finds
//! one that is wrong takes it away. A list would have to be in order for everybody at every moment, also when whoever
//! changed it was killed halfway; here a sweeper sets the bits of all free blocks again, and that is all.
//!
//! F1. Who makes a block free sets its bit afterwards, and then the bits above that are not set.
//! F2. Who takes a bit away because it is wrong, at any level, looks again afterwards: if what is below came meanwhile, the bit
//!     is set again. With F1 one of the two sees the other's change (between a read-modify-write and the look is a fence).
//!     Who has taken a block takes its bit away and need not look: nobody else makes it free.
//! F3. So a free block whose bit cannot be found is one whose process was killed, or is stopped, between two steps of F1 or F2.
//!
//! This file does not know what a block is.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::platform::{Platform, Word64};

/// Levels.
pub const LEVELS: usize = 3;
/// Bits that are looked at in one search, before what is there is taken for a wreck.
const LOOKS: usize = 4096;

/// The words of one class.
pub trait FreeBits<P: Platform> {
    /// Word `i` of a level. None: there is no such word.
    fn word(&self, level: usize, i: u64) -> Option<&P::U64>;

    /// Is block `i` free?
    fn is_free(&self, i: u64) -> bool;

    /// Block `i` was made free: it can be found (F1).
    fn set(&self, i: u64) {
        self.raise(0, i);
    }

    /// Can block `i`, which is free, be found?
    fn is_set(&self, mut i: u64) -> bool {
        (0..LEVELS).all(|level| {
            let word = self.word(level, i >> 6);
            let bit = 1 << (i & 63);
            i >>= 6;
            word.is_some_and(|word| word.load(Acquire) & bit != 0)
        })
    }

    /// Offers what may be free of the first `used` blocks to `claim`, until it takes one.
    fn take<R>(&self, used: u64, mut claim: impl FnMut(u64) -> Option<R>) -> Option<R> {
        let mut looks = LOOKS;
        let tops = used.div_ceil(1 << (6 * LEVELS));
        (0..tops).find_map(|top| self.search(LEVELS - 1, top, used, &mut looks, &mut claim))
    }

    /// Below word `i` of a level.
    #[doc(hidden)]
    fn search<R>(
        &self,
        level: usize,
        i: u64,
        used: u64,
        looks: &mut usize,
        claim: &mut impl FnMut(u64) -> Option<R>,
    ) -> Option<R> {
        let word = self.word(level, i)?;
        // Acquire: the block's words, as whoever set the bit left them.
        let mut bits = word.load(Acquire);
        while bits != 0 && *looks != 0 {
            *looks -= 1;
            let below = (i << 6) | u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            if level != 0 {
                let found = self.search(level - 1, below, used, looks, claim);
                if found.is_some() {
                    return found;
                }
                let has_any = || self.word(level - 1, below).is_some_and(|word| word.load(Acquire) != 0);
                if !has_any() {
                    self.lower(level, below, has_any);
                }
                continue;
            }
            if below >= used {
                continue;
            }
            if let Some(claimed) = claim(below) {
                word.fetch_and(!(1 << (below & 63)), AcqRel); // F2
                return Some(claimed);
            }
            if !self.is_free(below) {
                self.lower(0, below, || self.is_free(below));
            }
        }
        None
    }

    /// Takes away the bit of a level that stands for `below`; F2.
    #[doc(hidden)]
    fn lower(&self, level: usize, below: u64, is_right: impl Fn() -> bool) {
        if let Some(word) = self.word(level, below >> 6) {
            word.fetch_and(!(1 << (below & 63)), AcqRel);
            P::fence_after_rmw();
            if is_right() {
                self.raise(level, below);
            }
        }
    }

    /// Sets the bit of a level that stands for `below`, and then those above that are not set.
    #[doc(hidden)]
    fn raise(&self, from: usize, mut below: u64) {
        for level in from..LEVELS {
            let Some(word) = self.word(level, below >> 6) else {
                return;
            };
            let bit = 1 << (below & 63);
            // Of those above a look is enough: who takes one away looks here afterwards (F2).
            if level == from || word.load(Acquire) & bit == 0 {
                word.fetch_or(bit, AcqRel);
                P::fence_after_rmw();
            }
            below >>= 6;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::memory::platform::Native;

    /// Blocks up to 2^18 of each top word.
    struct Bits {
        words: [Vec<AtomicU64>; LEVELS],
        free: Vec<AtomicU64>,
    }

    impl Bits {
        fn new(blocks: usize) -> Bits {
            let many = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
            let words = [1, 2, 3].map(|level| many(blocks.div_ceil(1 << (6 * level))));
            Bits { words, free: many(blocks) }
        }

        fn free(&self, i: u64) {
            self.free[i as usize].store(1, Relaxed);
            self.set(i);
        }

        fn claim(&self, i: u64) -> Option<u64> {
            let free = self.free[i as usize].compare_exchange(1, 0, AcqRel, Acquire);
            free.is_ok().then_some(i)
        }

        fn any(&self) -> Option<u64> {
            self.take(self.free.len() as u64, |i| self.claim(i))
        }
    }

    impl FreeBits<Native> for Bits {
        fn word(&self, level: usize, i: u64) -> Option<&AtomicU64> {
            self.words[level].get(i as usize)
        }

        fn is_free(&self, i: u64) -> bool {
            self.free[i as usize].load(Acquire) == 1
        }
    }

    #[test]
    fn what_is_free_is_found_lowest_first_and_once() {
        let bits = Bits::new(600_000);
        assert_eq!(bits.any(), None);
        let some = [5, 63, 64, 4095, 4096, 262_143, 262_144, 599_999];
        for i in some.into_iter().rev() {
            bits.free(i);
            bits.set(i); // twice is as good as once
        }
        assert_eq!(std::array::from_fn(|_| bits.any()), some.map(Some));
        assert_eq!(bits.any(), None);
        // What was above is gone with the last one.
        assert!(bits.words.iter().flatten().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn wrong_bits_are_passed_by_and_taken_away() {
        let bits = Bits::new(5000);
        (0..100).for_each(|i| bits.set(i));
        bits.free(4999);
        bits.words[2][0].fetch_or(1 << 1, Relaxed); // and one beyond everything
        assert_eq!((bits.any(), bits.any()), (Some(4999), None));
        assert!(bits.words[0].iter().all(|word| word.load(Relaxed) == 0));
        // Beyond what is used nothing is offered.
        bits.free(1000);
        assert_eq!(bits.take(1000, |i| bits.claim(i)), None);
        assert_eq!(bits.any(), Some(1000));
    }

    #[test]
    fn threads_that_take_and_give_back_lose_none() {
        let bits = Bits::new(10_000);
        let all = [3, 64, 65, 127, 4096, 9999];
        all.into_iter().for_each(|i| bits.free(i));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let (a, b) = (bits.any(), bits.any());
                        a.into_iter().chain(b).for_each(|i| bits.free(i));
                    }
                });
            }
        });
        assert_eq!(std::array::from_fn(|_| bits.any()), all.map(Some));
    }
}
