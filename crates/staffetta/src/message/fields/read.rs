//! From bytes to a tree.
//!
//! A tree has at most 64 nodes for each byte, one for each level of the schema, and so many more for elements without size
//! (F3).

use super::{count, discriminant, field_bytes, is_byte, part, FieldError, Path, Value};
use crate::message::schema::{Field, Kind, Leaf, Schema, Tag};

/// Nodes without bytes that a tree may have.
const EMPTY_NODES_MAX: u64 = 1 << 16;

/// By fields.
impl Schema {
    /// Reads the bytes of a message of this type.
    ///
    /// ```
    /// use staffetta::message::{Message, Value};
    /// let value = <(u8, [bool; 2])>::schema().read(&[7, 1, 0])?;
    /// assert_eq!(value.field("0"), Some(&Value::Unsigned(7)));
    /// assert_eq!(value.field("1"), Some(&Value::List(vec![Value::Bool(true), Value::Bool(false)])));
    /// # Ok::<(), staffetta::message::FieldError>(())
    /// ```
    ///
    /// # Errors
    /// [`FieldError`]: the bytes are no value of this type.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, FieldError> {
        self.check_length(bytes.len())?;
        let mut reader = Reader { empty_nodes: 0 };
        reader.read(self, bytes, &Path::TOP)
    }
}

struct Reader {
    empty_nodes: u64,
}

impl Reader {
    fn read(&mut self, schema: &Schema, bytes: &[u8], path: &Path<'_>) -> Result<Value, FieldError> {
        Ok(match schema.kind() {
            Kind::Leaf(kind) => leaf(bytes, *kind, path)?,
            Kind::NonZero(kind) => {
                let value = leaf(bytes, *kind, path)?;
                if matches!(value, Value::Unsigned(0) | Value::Signed(0)) {
                    return Err(FieldError::invalid(path, "0", format!("a {kind} that is not 0")));
                }
                value
            }
            Kind::Array { element, .. } | Kind::Slice { element } if is_byte(element) => {
                Value::Bytes(bytes.to_vec())
            }
            Kind::Array { element, len } if element.size() == 0 => {
                self.count_empty(*len, path)?;
                let elements = (0..*len).map(|index| self.read(element, &[], &path.index(index)));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            Kind::Array { element, .. } | Kind::Slice { element } => {
                let size = element.size();
                let elements = (0..count(bytes, size, path)?).map(|index| {
                    let path = path.index(index);
                    self.read(element, part(bytes, index * size, size, &path)?, &path)
                });
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            Kind::Struct { fields } => Value::Struct(self.read_fields(fields, bytes, path)?),
            Kind::Enum { repr, variants } => {
                let number = discriminant(bytes, *repr, path)?;
                let variant = variants.iter().find(|variant| variant.discriminant() == number);
                let variant = variant.ok_or_else(|| {
                    FieldError::invalid(path, format!("the discriminant {number}"), "one of a variant")
                })?;
                let fields = self.read_fields(variant.fields(), bytes, &path.name(variant.name()))?;
                Value::Enum { variant: variant.name().to_owned(), fields }
            }
            Kind::Option { inner, tag: Tag::Zero } => {
                if bytes.iter().all(|byte| *byte == 0) {
                    return Ok(Value::None);
                }
                Value::Some(Box::new(self.read(inner, part(bytes, 0, inner.size(), path)?, path)?))
            }
            Kind::Option { .. } => Value::Opaque(bytes.to_vec()),
        })
    }

    fn read_fields(
        &mut self,
        fields: &[Field],
        bytes: &[u8],
        path: &Path<'_>,
    ) -> Result<Vec<(String, Value)>, FieldError> {
        let empty = fields.iter().filter(|field| field.schema().size() == 0).count();
        self.count_empty(empty as u64, path)?;
        let read = |field: &Field| {
            let path = path.name(field.name());
            let value = self.read(field.schema(), field_bytes(bytes, field, &path)?, &path)?;
            Ok((field.name().to_owned(), value))
        };
        fields.iter().map(read).collect()
    }

    fn count_empty(&mut self, more: u64, path: &Path<'_>) -> Result<(), FieldError> {
        self.empty_nodes = self.empty_nodes.saturating_add(more);
        if self.empty_nodes > EMPTY_NODES_MAX {
            return Err(FieldError::TooMany { field: path.to_string(), count: more });
        }
        Ok(())
    }
}

/// Reads a leaf.
pub(super) fn leaf(bytes: &[u8], leaf: Leaf, path: &Path<'_>) -> Result<Value, FieldError> {
    let bytes = part(bytes, 0, leaf.size(), path)?;
    // Messages do not leave their machine: its own byte order.
    macro_rules! number {
        ($type:ty, $value:path) => {
            bytes
                .first_chunk()
                .map(|chunk| $value(<$type>::from_ne_bytes(*chunk).into()))
                .ok_or_else(|| FieldError::outside(path))?
        };
    }
    Ok(match leaf {
        Leaf::U8 => number!(u8, Value::Unsigned),
        Leaf::U16 => number!(u16, Value::Unsigned),
        Leaf::U32 => number!(u32, Value::Unsigned),
        Leaf::U64 => number!(u64, Value::Unsigned),
        Leaf::U128 => number!(u128, Value::Unsigned),
        Leaf::I8 => number!(i8, Value::Signed),
        Leaf::I16 => number!(i16, Value::Signed),
        Leaf::I32 => number!(i32, Value::Signed),
        Leaf::I64 => number!(i64, Value::Signed),
        Leaf::I128 => number!(i128, Value::Signed),
        Leaf::F32 => number!(f32, Value::F32),
        Leaf::F64 => number!(f64, Value::F64),
        Leaf::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => {
                let found = bytes.first().map_or_else(String::new, u8::to_string);
                return Err(FieldError::invalid(path, found, "a bool, 0 or 1,"));
            }
        },
        Leaf::Char => {
            let number = bytes.first_chunk().map_or(u32::MAX, |chunk| u32::from_ne_bytes(*chunk));
            match char::from_u32(number) {
                Some(character) => Value::Char(character),
                None => {
                    let expected = "a char, a Unicode scalar value,";
                    return Err(FieldError::invalid(path, format!("{number:#x}"), expected));
                }
            }
        }
    })
}
