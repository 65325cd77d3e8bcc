//! Why a text or a layout is refused.

use thiserror::Error;

use super::{SCHEMA_DEPTH_MAX, SCHEMA_LENGTH_MAX};

/// Why a text is not a schema, or a schema is not one of any type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The text is longer than [`SCHEMA_LENGTH_MAX`].
    #[error("the schema's text has {length} bytes; at most {SCHEMA_LENGTH_MAX} are allowed")]
    TooLong {
        /// The text's length in bytes.
        length: usize,
    },
    /// The nesting is deeper than [`SCHEMA_DEPTH_MAX`].
    #[error("the schema is nested more than {SCHEMA_DEPTH_MAX} deep")]
    TooDeep,
    /// The text does not follow the grammar.
    #[error("the schema's text is wrong at byte {at}: expected {expected}")]
    Syntax {
        /// Where, in bytes from the start.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The layout contradicts itself.
    #[error("`{part}` cannot be laid out like this: {reason}")]
    Layout {
        /// The identity of the part that is wrong, or the path of a field.
        part: String,
        /// What contradicts what.
        reason: &'static str,
    },
}
