//! What is wrong with bytes or with a tree, and with which field.

use super::Path;

/// Bytes are no value of a type, or a [`Value`](super::Value) cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// No message of the type has that length.
    #[error("the message has {length} bytes; {}", lengths(*size, *element))]
    Length {
        /// Bytes of the message.
        length: u64,
        /// Bytes of the type; with an empty slice, if it ends in one.
        size: u64,
        /// Bytes of an element of the slice that it ends in, if it does.
        element: Option<u64>,
    },
    /// These bytes are no value of the field's type.
    #[error("{}: {found} is no value of it; {expected} is expected", subject(field))]
    Invalid {
        /// The field, such as `pose.x` or `samples[3]`; empty for the whole message.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        expected: String,
    },
    /// A field is not given.
    #[error("{} is missing; give every field of the type", subject(field))]
    Missing {
        /// The field.
        field: String,
    },
    /// The type has no such field.
    #[error("{} is not in the type; {known}", subject(field))]
    Unknown {
        /// The field.
        field: String,
        /// What it has.
        known: String,
    },
    /// Only the compiler that laid it out knows what its bytes mean.
    #[error(
        "{}: an option that {compiler} laid out, and only a program built by it can check or write one; use an \
         Option<NonZero…> or an enum in its place, or send from such a program",
        subject(field)
    )]
    Opaque {
        /// The field.
        field: String,
        /// The compiler.
        compiler: String,
    },
    /// More elements without size than anybody wants to see.
    #[error("{} has {count} elements without size, which are not listed", subject(field))]
    TooMany {
        /// The field.
        field: String,
        /// How many.
        count: u64,
    },
}

impl FieldError {
    /// The field that is meant, such as `pose.x` or `samples[3]`; empty for the whole message.
    pub fn field(&self) -> &str {
        match self {
            FieldError::Length { .. } => "",
            FieldError::Invalid { field, .. }
            | FieldError::Missing { field }
            | FieldError::Unknown { field, .. }
            | FieldError::Opaque { field, .. }
            | FieldError::TooMany { field, .. } => field,
        }
    }

    pub(super) fn invalid(
        path: &Path<'_>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> FieldError {
        FieldError::Invalid { field: path.to_string(), found: found.into(), expected: expected.into() }
    }

    /// A part lies outside of its whole: a schema that was put together by hand and not checked.
    pub(super) fn outside(path: &Path<'_>) -> FieldError {
        FieldError::invalid(path, "a part outside of the message", "a schema that passes Schema::check")
    }
}

fn subject(field: &str) -> String {
    if field.is_empty() {
        "the message".to_owned()
    } else {
        format!("field `{field}`")
    }
}

fn lengths(size: u64, element: Option<u64>) -> String {
    match (size, element) {
        (size, None) => format!("one of its type has {size}"),
        (0, Some(element)) => format!("one of its type has a multiple of {element}"),
        (size, Some(element)) => format!("one of its type has {size} and a multiple of {element}"),
    }
}
