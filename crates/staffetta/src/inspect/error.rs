//! Why there is nothing to see.

use crate::os;

/// A domain cannot be looked at.
///
/// Its `Debug` is its sentence, since that is what a `main` prints which returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// No domain of this user is called so.
    #[error("there is no domain {name:?} of this user; {}", list(known))]
    NoDomain {
        /// The name.
        name: String,
        /// The domains that there are.
        known: Vec<String>,
    },
    /// Several are called so: in several places, or a new one beside what is left of an old one.
    #[error("there are {} domains {name:?}; say which one by its identity: {}", identities.len(), identities.join(", "))]
    Several {
        /// The name.
        name: String,
        /// Their identities.
        identities: Vec<String>,
    },
    /// It is there, and its memory cannot be reached.
    #[error("domain {name:?} cannot be looked into: {why}")]
    OutOfReach {
        /// The name.
        name: String,
        /// What is in the way.
        why: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] os::Error),
}

impl std::fmt::Debug for InspectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn list(known: &[String]) -> String {
    match known {
        [] => "there is none at all".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
