//! The bits that say which blocks may be free: a block that was made free is found, whoever takes wrong bits away meanwhile; also if
//! either of them stops for good, once a sweeper has been there.

use std::sync::Arc;

use loom::thread;

use super::exhaustive::{explore, explore_stops, stops, Loom, LoomU64};
use crate::memory::bits::{FreeBits, LEVELS};
use crate::memory::platform::Word64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const BLOCKS: u64 = 2;

/// Two blocks, whose bits are in one word of each level.
struct Bits {
    words: [LoomU64; LEVELS],
    free: [LoomU64; BLOCKS as usize],
}

impl Bits {
    /// Block 0 seems to be free.
    fn with_a_wrong_bit() -> Arc<Bits> {
        let bits = Bits { words: [1; LEVELS].map(LoomU64::new), free: [0; 2].map(LoomU64::new) };
        Arc::new(bits)
    }

    fn free(&self, i: u64) {
        self.free[i as usize].store(1, Release);
        self.set(i);
    }

    fn any(&self) -> Option<u64> {
        self.take(BLOCKS, |i| {
            let claimed = self.free[i as usize].compare_exchange(1, 0, AcqRel, Acquire);
            claimed.is_ok().then_some(i)
        })
    }

    /// As `Blocks::release_dead` does.
    fn sweep(&self) {
        for i in 0..BLOCKS {
            if self.is_free(i) && !self.is_set(i) {
                self.set(i);
            }
        }
    }
}

impl FreeBits<Loom> for Bits {
    fn word(&self, level: usize, i: u64) -> Option<&LoomU64> {
        self.words.get(level).filter(|_| i == 0)
    }

    fn is_free(&self, i: u64) -> bool {
        self.free.get(i as usize).is_some_and(|free| free.load(Acquire) == 1)
    }
}

#[test]
fn loom_bits_one_is_freed_while_another_seems_free() {
    for freed in 0..BLOCKS {
        explore(&format!("bits, block {freed} is freed while block 0 seems free"), move || {
            let bits = Bits::with_a_wrong_bit();
            let frees = thread::spawn({
                let bits = bits.clone();
                move || bits.free(freed)
            });
            let early = bits.any();
            frees.join().unwrap();
            let late = bits.any();
            assert_eq!(early.or(late), Some(freed), "it cannot be found");
            assert!(early.is_none() || late.is_none(), "it was taken twice");
        });
    }
}

/// Whoever stops, the one that frees or the one that takes: after a sweep all that is free can be found.
#[test]
fn loom_stops_bits() {
    for stops_freeing in [true, false] {
        let who = if stops_freeing { "frees" } else { "looks" };
        explore_stops(&format!("bits, who {who} is killed"), move || {
            let bits = Bits::with_a_wrong_bit();
            let victim = thread::spawn({
                let bits = bits.clone();
                move || {
                    let mut taken = None;
                    stops(|| match stops_freeing {
                        true => bits.free(1),
                        false => taken = bits.any(),
                    });
                    taken
                }
            });
            let taken = match stops_freeing {
                true => bits.any(),
                false => {
                    bits.free(1);
                    None
                }
            };
            let taken = taken.or(victim.join().unwrap());
            bits.sweep();
            // Freed and not taken by anybody who says so; the victim may have taken it and have stopped then.
            let is_free = bits.free[1].load(Relaxed) == 1;
            assert_eq!(bits.any(), is_free.then_some(1));
            assert!(!is_free || taken.is_none());
        });
    }
}
