//! Corrupt and hostile memory: bits and words of the domain are changed under a process's hands, by a peer that may write
//! anything. Attaching, and each operation, gives Ok or a typed error: never a panic, a hang, an access outside of the window, a
//! loop without bound, or memory without bound.
//!
//! | file | one idea |
//! |---|---|
//! | here | the two rows |
//! | `supervise` | victims are watched: who dies, hangs or grows is a finding, and another one goes on |
//! | `victim` | a process that does one trial after the other, and says at which it is |
//! | `world` | a domain in use, in a member's hands and in a dead one's; taken back to what it was after each trial |
//! | `mutate` | which words are changed, how, and when |
//! | `scenes` | what the victim does meanwhile |
//!
//! Trials are numbered. What a trial does depends on the seed and its number; and, since a process remembers things, on the
//! trials before it in its batch. So one is done again by doing its batch up to it: `--seed S --at N`.

mod mutate;
mod scenes;
mod supervise;
mod victim;
mod world;

use super::line::Line;
use super::plan::Plan;
use super::{Role, Row};

/// Bits of the first 4 KiB.
const HEADER_BITS: u64 = 4096 * 8;

pub const FLIPS: Row = Row {
    name: "header-flips",
    about: "each single bit of the domain's first 4 KiB flipped; then somebody joins, and does everything",
    tries: (HEADER_BITS, HEADER_BITS),
    limits: "one flip at a time, in a domain that is at rest",
    run: flips,
};

pub const MUTATIONS: Row = Row {
    name: "mutations",
    about: "random words of the domain in use changed before, between and during all operations",
    tries: (1_000_000, 100_000_000),
    limits: "random words; what a message says is not looked at",
    run: mutations,
};

pub const VICTIM: Role = ("hostile", victim::play);

fn flips(plan: &Plan) -> Vec<Line> {
    vec![supervise::run(plan, "header-flips", victim::Kind::Flips)]
}

fn mutations(plan: &Plan) -> Vec<Line> {
    vec![supervise::run(plan, "mutations", victim::Kind::Mutations)]
}
