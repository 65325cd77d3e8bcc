//! What a domain may be called.
//!
//! A name is shown in listings, becomes part of a socket address of at most 108 bytes, and can be
//! a file name. So: 1 to 64 bytes of printable UTF-8, no `/`, no dot at the beginning.

use std::fmt;
use thiserror::Error;

/// The name of a domain, checked.
///
/// ```
/// use staffetta::{Name, NameError};
///
/// assert_eq!(Name::new("camera")?.as_str(), "camera");
/// assert_eq!(Name::new("a/b"), Err(NameError::HasSlash));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Why a text cannot be the name of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("a domain's name is empty; give it 1 to {} bytes", Name::MAX_BYTES)]
    Empty,
    /// It has more than [`Name::MAX_BYTES`] bytes.
    #[error(
        "a domain's name has {len_bytes} bytes; it has to go into a socket address, so shorten \
         it to {} bytes of UTF-8",
        Name::MAX_BYTES
    )]
    TooLong {
        /// The length of the text.
        len_bytes: usize,
    },
    /// It contains `/`.
    #[error("a domain's name contains '/'; use another separator, such as '.' or '-'")]
    HasSlash,
    /// It contains the character NUL.
    #[error("a domain's name contains the character NUL; leave it out")]
    HasNul,
    /// It begins with a dot, which is kept for the sockets of members.
    #[error("a domain's name begins with '.'; begin it with another character")]
    LeadingDot,
    /// It contains a control character.
    #[error(
        "a domain's name contains the unprintable character {character:?}; use printable \
         characters"
    )]
    NotPrintable {
        /// The first of them.
        character: char,
    },
    /// Its bytes are not UTF-8.
    #[error("a domain's name is not UTF-8 after byte {valid_bytes}; encode it as UTF-8")]
    NotUtf8 {
        /// How many bytes at the beginning are.
        valid_bytes: usize,
    },
}

impl Name {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks a text.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { len_bytes: text.len() });
        }
        if text.starts_with('.') {
            return Err(NameError::LeadingDot);
        }
        for character in text.chars() {
            match character {
                '/' => return Err(NameError::HasSlash),
                '\0' => return Err(NameError::HasNul),
                _ if character.is_control() => {
                    return Err(NameError::NotPrintable { character });
                }
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// Checks bytes from outside, such as an argument or a file name.
    ///
    /// # Errors
    ///
    /// [`NameError::NotUtf8`], or as for [`Name::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| NameError::NotUtf8 { valid_bytes: error.valid_up_to() })?;
        Self::new(text)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_error() {
        let long = "x".repeat(65);
        for (text, error) in [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong { len_bytes: 65 }),
            ("a/b", NameError::HasSlash),
            ("a\0b", NameError::HasNul),
            ("..", NameError::LeadingDot),
            ("a\nb", NameError::NotPrintable { character: '\n' }),
        ] {
            assert_eq!(Name::new(text), Err(error));
        }
        assert_eq!(Name::from_bytes(b"ab\xff"), Err(NameError::NotUtf8 { valid_bytes: 2 }));
        for text in ["a", "staffetta è bella", &"x".repeat(64)] {
            assert_eq!(Name::new(text).unwrap().as_str(), text);
        }
    }
}
