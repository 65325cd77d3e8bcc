//! Looking at domains that run: `list`, `inspect`, `doctor`, `rate`. None of them joins a domain, or writes to it.

pub mod describe;
pub mod doctor;
pub mod inspect;
pub mod json;
pub mod list;
pub mod rate;

use crate::failure::Failure;
use serde::Serialize;
use staffetta::inspect::InspectError;

/// The exit codes of these commands.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  2    the command line was not understood; there is no such domain or channel
  4    the domain cannot be looked into: another user's, another version's, out of sight
  130  interrupted (128 + the number of the signal)";

fn failure(error: InspectError) -> Failure {
    match error {
        InspectError::NoDomain { .. } | InspectError::Several { .. } => Failure::Usage(error.to_string()),
        error => Failure::Environment(error.to_string()),
    }
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::os("cannot write JSON", error))
}
