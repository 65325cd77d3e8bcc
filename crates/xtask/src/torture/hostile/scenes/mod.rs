//! What the victim does while its memory changes: scenes of a few operations, in themes.
//!
//! A scene takes ends, uses them in ways that the context chooses, and lets them go. Before each operation it calls
//! [`Context::step`]: that is where a strike may fall. No operation of a scene waits for long by itself.

mod ends;
pub mod heirs;
mod inside;
mod lines;
mod many;
mod partner;
mod selects;

use std::any::Any;
use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use staffetta::{Domain, Method, Wait};

use super::mutate::Strike;
use super::supervise::Report;
use super::victim::Kind;
use crate::torture::random::Random;

/// How long an operation of a scene waits.
pub const SOON: Duration = Duration::from_micros(20);

/// Some operations.
pub type Scene = fn(&Domain, &mut Context);

/// What another member, which may be dead in a trial, holds: made, and kept.
pub type SetUp = fn(&Domain, &Domain, &mut Held);

/// Ends, parcels and the like that are dropped when the batch is over.
pub type Held = Vec<Box<dyn Any>>;

/// Scenes that use the same channels.
pub struct Theme {
    pub name: &'static str,
    pub set_up: SetUp,
    pub scenes: &'static [Scene],
}

/// All of them: each batch is about one.
pub const THEMES: &[Theme] = &[
    lines::THEME,
    ends::THEME,
    many::QUEUES,
    many::CASTS,
    many::SERVICES,
    selects::THEME,
    inside::ENCLOSED,
    inside::CAPABILITIES,
    inside::MANAGED,
    heirs::THEME,
];

/// What is done in a batch.
pub fn of(kind: Kind, batch: u64) -> Vec<Scene> {
    match kind {
        Kind::Mutations => theme(batch).scenes.to_vec(),
        Kind::Flips => THEMES.iter().flat_map(|theme| theme.scenes.first().copied()).collect(),
    }
}

fn theme(batch: u64) -> &'static Theme {
    &THEMES[(batch % THEMES.len() as u64) as usize]
}

/// The other member takes what it is to hold.
pub fn set_up(kind: Kind, batch: u64, domain: &Domain, other: &Domain, _random: &mut Random) -> Held {
    let mut held = Held::new();
    match kind {
        Kind::Mutations => (theme(batch).set_up)(domain, other, &mut held),
        Kind::Flips => THEMES.iter().for_each(|theme| (theme.set_up)(domain, other, &mut held)),
    }
    held
}

/// What a scene is given: choices, and the strike that falls meanwhile.
pub struct Context<'r> {
    pub random: Random,
    strike: Strike,
    report: &'r Report,
}

impl<'r> Context<'r> {
    pub fn new(random: Random, strike: Strike, report: &'r Report) -> Context<'r> {
        Context { random, strike, report }
    }

    /// An operation comes next.
    pub fn step(&mut self) {
        self.strike.step();
    }

    /// The strike falls now, if it did not.
    pub fn strike(&mut self) {
        self.strike.fall();
    }

    /// Counts a result; an error can be shown.
    pub fn see<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.report.ok.fetch_add(1, Relaxed);
                Some(value)
            }
            Err(why) => {
                if self.report.errors.fetch_add(1, Relaxed).is_multiple_of(16) {
                    std::hint::black_box(why.to_string());
                }
                None
            }
        }
    }

    /// One of 0 .. n.
    pub fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    /// A method; not that of capabilities.
    pub fn method(&mut self) -> Method {
        if self.below(2) == 0 {
            Method::Coinciding
        } else {
            Method::Distinct
        }
    }

    /// A wait policy.
    pub fn wait(&mut self) -> Wait {
        Wait::ALL[self.below(Wait::ALL.len() as u64) as usize]
    }

    /// The name of a channel that is there, or now and then of a new one; methods have channels of their own.
    pub fn name(&mut self, name: &str, method: Method) -> String {
        let new = if self.below(8) == 0 { "+" } else { "" };
        format!("{name}-{method}{new}")
    }
}
