//! Which words are changed, how, and when.

#![allow(unsafe_code)] // Words of the window, by their address.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use super::world::World;
use crate::torture::random::Random;

/// Steps of a scene before one of which a strike falls; at its end if it has fewer.
const STEPS: u64 = 16;

/// Words that change, at one moment.
#[derive(Clone, Default)]
pub struct Strike {
    /// Addresses in this process, and what is written there.
    words: Vec<(usize, u64)>,
    /// Steps that are still to come before.
    step: u64,
}

impl Strike {
    /// Nothing changes.
    pub fn none() -> Strike {
        Strike { words: Vec::new(), step: u64::MAX }
    }

    /// Bit `n` of the header.
    pub fn flip(world: &World, n: u64) -> Strike {
        let (at, bit) = (n / 64 * 8, n % 64);
        Strike { words: vec![(world.address(at), world.read(at) ^ 1 << bit)], step: 0 }
    }

    /// A few words, or one.
    pub fn random(world: &World, random: &mut Random) -> Strike {
        let how_many = match random.below(10) {
            0..=5 => 1,
            6..=8 => 2 + random.below(3),
            _ => 5 + random.below(12),
        };
        // Half of them before anything is done.
        let step = random.below(2 * STEPS).saturating_sub(STEPS);
        let mut strike = Strike { words: Vec::new(), step };
        for _ in 0..how_many {
            change(world, random, &mut strike.words);
        }
        strike
    }

    /// A step of the scene begins.
    pub fn step(&mut self) {
        if self.step == 0 {
            self.fall();
        }
        self.step = self.step.wrapping_sub(1);
    }

    /// Falls, unless it did.
    pub fn fall(&mut self) {
        for (address, value) in self.words.drain(..) {
            word(address).store(value, Release);
        }
    }
}

fn word(address: usize) -> &'static AtomicU64 {
    // SAFETY: addresses of words of the window (`World::address`), which stays mapped while its batch is done; the
    // window's words are atomic, or bytes of messages, of which any are good.
    unsafe { &*(address as *const AtomicU64) }
}

/// One word, or two that are swapped.
fn change(world: &World, random: &mut Random, words: &mut Vec<(usize, u64)>) {
    let at = world.aim(random);
    let now = world.read(at);
    let bit = |random: &mut Random| 1_u64 << random.below(64);
    let value = match random.below(20) {
        0..=2 => now ^ bit(random),
        3 => 0,
        4 => u64::MAX,
        5 | 6 => random.below(9),
        7 => bit(random) + random.below(3) - 1,
        8 => world.read(world.aim(random)),
        9 => {
            let other = world.aim(random);
            words.push((world.address(other), now));
            world.read(other)
        }
        10 => random.next(),
        11 => now.wrapping_add(random.below(5)).wrapping_sub(2),
        12 => now & u64::from(u32::MAX),
        13 => now | random.next() << 32,
        14 => world.window_bytes().wrapping_sub(8 * random.below(9)),
        15 => world.any_offset(random),
        _ => state(now, random),
    };
    words.push((world.address(at), value));
}

/// As a state word: another state, P, slot or sequence.
fn state(now: u64, random: &mut Random) -> u64 {
    let mut word = now;
    if random.below(4) != 0 {
        word = word & !7 | random.below(8);
    }
    if random.below(4) == 0 {
        word ^= 8;
    }
    if random.below(3) == 0 {
        let slots = [0, 1, 2, 5, 63, 64, 1023, 1024, 4095, random.below(4096)];
        word = word & !0xfff0 | slots[random.below(slots.len() as u64) as usize] << 4;
    }
    if random.below(3) == 0 {
        let sequence = (word >> 16).wrapping_add(random.below(5)).wrapping_sub(2);
        word = word & 0xffff | sequence << 16;
    }
    word
}

/// As often as something is written while a scene is played, which takes some 50 us: it may need this very core.
const ROUNDS: u32 = 500;

/// A thread that writes all the time while something is done: what was there, and what the strike says, in turn.
pub struct Racer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Odd: it is to write.
    turn: AtomicU64,
    /// The turn that it has seen.
    seen: AtomicU64,
    /// Where, and what.
    words: Mutex<Vec<(usize, u64)>>,
}

impl Racer {
    /// It waits until it is told.
    pub fn start() -> Racer {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || write_in_turns(&theirs));
        Racer { shared }
    }

    /// It writes from now on.
    pub fn race(&mut self, strike: &Strike) {
        self.shared.words.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&strike.words);
        self.turn();
    }

    /// It does not write any more.
    pub fn rest(&mut self) {
        self.turn();
    }

    fn turn(&self) {
        let turn = self.shared.turn.fetch_add(1, Release) + 1;
        while self.shared.seen.load(Acquire) != turn {
            std::thread::yield_now();
        }
    }
}

fn write_in_turns(shared: &Shared) {
    let (mut seen, mut idle) = (0, 0);
    loop {
        let turn = shared.turn.load(Acquire);
        if turn == seen {
            idle += 1;
            match idle {
                0..1000 => std::thread::yield_now(),
                _ => std::thread::sleep(std::time::Duration::from_micros(500)),
            }
            continue;
        }
        shared.seen.store(turn, Release);
        (seen, idle) = (turn, 0);
        if turn.is_multiple_of(2) {
            continue;
        }
        let words = shared.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before: Vec<u64> = words.iter().map(|(address, _)| word(*address).load(Relaxed)).collect();
        let mut rounds = 0..ROUNDS;
        while shared.turn.load(Acquire) == turn && rounds.next().is_some() {
            for ((address, value), before) in words.iter().zip(&before) {
                word(*address).store(*value, Relaxed);
                std::hint::spin_loop();
                word(*address).store(*before, Relaxed);
            }
        }
    }
}
