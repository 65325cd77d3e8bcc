//! Fields of messages whose type is known only at run time: bytes checked, read and written by a [`Schema`].
//!
//! | file | one idea |
//! |---|---|
//! | `mod.rs` | a value as a tree, and where in a message something is |
//! | `validate.rs` | are these bytes a value of the type? |
//! | `read.rs` | from bytes to a tree |
//! | `write.rs` | from a tree to bytes |
//! | `error.rs` | what is wrong, and with which field |
//!
//! | the type | its [`Value`] |
//! |---|---|
//! | integers, also nonzero ones | `Unsigned`, `Signed` |
//! | `f32`, `f64`, `bool`, `char` | `F32`, `F64`, `Bool`, `Char` |
//! | array or slice of `u8` | `Bytes`; a `List` is taken too when it is written |
//! | other arrays, slices | `List` |
//! | struct, tuple | `Struct`; the fields of a tuple are called `0`, `1` … |
//! | enum | `Enum`: the variant and its fields |
//! | `Option` whose `None` is all zeroes | `None`, `Some` |
//! | other `Option`s | `Opaque`: only their compiler knows where it put the tag |
//!
//! F1. No bytes and no tree make this panic, whatever the schema: every part is looked up, never indexed.
//! F2. What `write` gives passes `validate`; what passes `validate` is what `read` reads, but for elements without size,
//!     of which it reads a bounded number.
//! F3. Work is bounded by the bytes: the nesting by the schema's depth, and elements without size are not walked through.
//!
//! Nothing here knows channels. What a type promises *beyond* its layout (that a list is sorted) no schema says, so
//! nobody can check it from here: whoever writes bytes for such a type is trusted to keep its promises.

mod error;
mod read;
mod validate;
mod write;

pub use error::FieldError;

use super::schema::{Field, Kind, Leaf, Schema};

/// A message, or a part of one, as a tree.
///
/// ```
/// use staffetta::message::Value;
/// use staffetta::Message;
///
/// #[derive(Message)]
/// struct Sample {
///     time_ns: u64,
///     good: bool,
/// }
///
/// let schema = Sample::schema();
/// let value = Value::structure([("time_ns", Value::Unsigned(7)), ("good", Value::Bool(true))]);
/// let bytes = schema.write(&value)?;
/// assert_eq!(schema.read(&bytes)?, value);
///
/// let mut bytes = bytes;
/// bytes.fill(2);
/// assert_eq!(schema.validate(&bytes).unwrap_err().field(), "good");
/// # Ok::<(), staffetta::message::FieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An unsigned integer of any width.
    Unsigned(u128),
    /// A signed integer of any width.
    Signed(i128),
    /// `f32`
    F32(f32),
    /// `f64`
    F64(f64),
    /// `bool`
    Bool(bool),
    /// `char`
    Char(char),
    /// The elements of an array or slice.
    List(Vec<Value>),
    /// The elements of an array or slice of `u8`.
    Bytes(Vec<u8>),
    /// The fields of a struct or tuple, by name.
    Struct(Vec<(String, Value)>),
    /// A variant of an enum.
    Enum {
        /// Its name.
        variant: String,
        /// Its fields, by name.
        fields: Vec<(String, Value)>,
    },
    /// `None`
    None,
    /// `Some`
    Some(Box<Value>),
    /// An `Option` as it lies in memory, where only its compiler knows what that means.
    Opaque(Vec<u8>),
}

impl Value {
    /// A struct of these fields.
    pub fn structure<N: Into<String>>(fields: impl IntoIterator<Item = (N, Value)>) -> Value {
        Value::Struct(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// The field `name` of a struct or of an enum's variant, if there is one.
    ///
    /// ```
    /// use staffetta::message::Value;
    /// let point = Value::structure([("x", Value::F64(1.5))]);
    /// assert_eq!(point.field("x"), Some(&Value::F64(1.5)));
    /// assert_eq!(point.field("y"), None);
    /// ```
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) | Value::Enum { fields, .. } => {
                fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// What it is, for a sentence.
    fn noun(&self) -> String {
        match self {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::F32(x) => format!("the number {x}"),
            Value::F64(x) => format!("the number {x}"),
            Value::Bool(b) => b.to_string(),
            Value::Char(c) => format!("the character {c:?}"),
            Value::List(list) => format!("a list of {}", list.len()),
            Value::Bytes(bytes) => format!("a list of {}", bytes.len()),
            Value::Struct(_) => "a struct".to_owned(),
            Value::Enum { variant, .. } => format!("the variant {variant:?}"),
            Value::None => "none".to_owned(),
            Value::Some(_) => "some value".to_owned(),
            Value::Opaque(bytes) => format!("{} opaque bytes", bytes.len()),
        }
    }
}

/// Where in a message something is; made into text only for an error.
#[derive(Clone, Copy)]
struct Path<'p> {
    above: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Top,
    Name(&'p str),
    Index(u64),
}

impl<'p> Path<'p> {
    const TOP: Path<'static> = Path { above: None, step: Step::Top };

    fn name(&'p self, name: &'p str) -> Path<'p> {
        Path { above: Some(self), step: Step::Name(name) }
    }

    fn index(&'p self, index: u64) -> Path<'p> {
        Path { above: Some(self), step: Step::Index(index) }
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}")?;
        }
        let first = self.above.is_none_or(|above| matches!(above.step, Step::Top));
        match self.step {
            Step::Top => Ok(()),
            Step::Name(name) if first => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// `size` bytes of `bytes` from `offset` on (F1).
fn part<'b>(bytes: &'b [u8], offset: u64, size: u64, path: &Path<'_>) -> Result<&'b [u8], FieldError> {
    let range =
        usize::try_from(offset).ok().zip(offset.checked_add(size).and_then(|end| end.try_into().ok()));
    range.and_then(|(from, to): (usize, usize)| bytes.get(from..to)).ok_or_else(|| FieldError::outside(path))
}

/// The bytes of a field: as many as it has, or, if it ends in a slice, all that are left.
fn field_bytes<'b>(bytes: &'b [u8], field: &Field, path: &Path<'_>) -> Result<&'b [u8], FieldError> {
    let size = if field.schema().is_sized() {
        field.schema().size()
    } else {
        (bytes.len() as u64).checked_sub(field.offset()).ok_or_else(|| FieldError::outside(path))?
    };
    part(bytes, field.offset(), size, path)
}

/// How many elements of `size` bytes these are.
fn count(bytes: &[u8], size: u64, path: &Path<'_>) -> Result<u64, FieldError> {
    let length = bytes.len() as u64;
    match length.checked_div(size) {
        Some(count) if count * size == length => Ok(count),
        _ => Err(FieldError::outside(path)),
    }
}

/// The discriminant of an enum, as an integer of type `repr`.
fn discriminant(bytes: &[u8], repr: Leaf, path: &Path<'_>) -> Result<i128, FieldError> {
    Ok(match read::leaf(part(bytes, 0, repr.size(), path)?, repr, path)? {
        Value::Unsigned(n) => i128::try_from(n).unwrap_or(i128::MAX),
        Value::Signed(n) => n,
        _ => return Err(FieldError::outside(path)),
    })
}

/// Whether it is an array or slice of plain bytes.
fn is_byte(element: &Schema) -> bool {
    matches!(element.kind(), Kind::Leaf(Leaf::U8))
}

/// By length.
impl Schema {
    /// Whether a message of this type can have `length` bytes.
    ///
    /// # Errors
    /// [`FieldError::Length`].
    ///
    /// ```
    /// use staffetta::Message;
    /// assert!(<[u32]>::schema().check_length(8).is_ok());
    /// assert!(<[u32]>::schema().check_length(7).is_err());
    /// assert!(<u64>::schema().check_length(7).is_err());
    /// ```
    pub fn check_length(&self, length: usize) -> Result<(), FieldError> {
        let element = self.tail().map(Schema::size);
        let rest = (length as u64).checked_sub(self.size());
        let good = match (rest, element) {
            (Some(rest), None) => rest == 0,
            (Some(rest), Some(element)) => rest.checked_rem(element) == Some(0),
            (None, _) => false,
        };
        let fits = length as u64 <= i64::MAX as u64 - (self.align().max(1) - 1);
        if good && fits {
            return Ok(());
        }
        Err(FieldError::Length { length: length as u64, size: self.size(), element })
    }
}

#[cfg(test)]
pub(crate) mod tests;
