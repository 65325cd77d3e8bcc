//! One row of the demo: what a mechanism did with the file.

use super::mechanism::{Copies, Mechanism};
use serde::{Serialize, Serializer};

/// One row. Field order is the order in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `tcp`, `basic`, `parcel` …
    pub mechanism: &'static str,
    /// `coinciding`, `distinct`, `capability`, or nothing.
    pub reference: Option<&'static str>,
    /// `spin`, `spin-then-park`, `park`, or nothing.
    pub wait: Option<&'static str>,
    /// Bytes of the file in 10^9 a second, from the first send to the last byte read.
    pub gb_per_s: Option<f64>,
    /// How often each byte was copied.
    #[serde(serialize_with = "shortly")]
    pub copies_per_message: Option<f64>,
    /// The bytes copied in one pass.
    pub bytes_copied: Option<u64>,
    /// Of both processes in one pass.
    pub context_switches: Option<u64>,
    /// Of both processes in one pass.
    pub cpu_s: Option<f64>,
    /// The hash of what arrived is the hash of what was sent.
    pub verified: bool,
    /// The copies are known by construction, not counted.
    #[serde(skip)]
    pub copies_known: bool,
    /// Why there are no figures.
    #[serde(skip)]
    pub failed: Option<String>,
}

impl Row {
    /// A row without figures yet.
    pub fn of(mechanism: &dyn Mechanism) -> Row {
        Row {
            mechanism: mechanism.name(),
            reference: mechanism.reference(),
            wait: mechanism.wait(),
            gb_per_s: None,
            copies_per_message: None,
            bytes_copied: None,
            context_switches: None,
            cpu_s: None,
            verified: false,
            copies_known: matches!(mechanism.copies(), Copies::Known(_)),
            failed: None,
        }
    }

    /// Its name in one piece: `parcel, distinct, spin`.
    pub fn label(&self) -> String {
        let parts = [Some(self.mechanism), self.reference, self.wait];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Writes 2.0 as 2.
fn shortly<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) if value.fract() == 0.0 => to.serialize_u64(*value as u64),
        other => other.serialize(to),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
pub struct Report {
    /// The file as the user named it; nothing when the demo made the bytes.
    pub file: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// One for each mechanism.
    pub rows: Vec<Row>,
}
