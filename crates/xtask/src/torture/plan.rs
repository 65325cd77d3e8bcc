//! What a row is asked to do.

use super::random::Random;

/// How much, and with which choices.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What random choices begin with.
    pub seed: u64,
    /// How many to try.
    pub tries: u64,
    /// In full, not only what fits into the quick battery.
    pub soak: bool,
    /// Only what has this in its name.
    pub only: Option<String>,
    /// Only this point, of numbered tries, and what it depends on.
    pub at: Option<u64>,
}

impl Plan {
    /// Random numbers of this plan; another sequence for every `salt`.
    pub fn random(&self, salt: u64) -> Random {
        Random::new(self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
