//! From a tree to bytes.
//!
//! The length comes from the tree's slice, then each part is written into its own bytes; padding is zero. A number goes into any
//! number type that can hold it exactly; a whole number also into a float.

use super::{is_byte, FieldError, Path, Value};
use crate::message::schema::{Field, Kind, Leaf, Schema, Tag};

/// From fields.
impl Schema {
    /// Writes the bytes of a message of this type.
    ///
    /// ```
    /// use staffetta::message::{Message, Value};
    /// let schema = <[u16]>::schema();
    /// let bytes = schema.write(&Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)]))?;
    /// assert_eq!(bytes, [1_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat());
    /// let wrong = schema.write(&Value::List(vec![Value::Unsigned(65536)])).unwrap_err();
    /// assert_eq!(wrong.to_string(), "field `[0]`: 65536 is no value of it; a u16 is expected");
    /// # Ok::<(), staffetta::message::FieldError>(())
    /// ```
    ///
    /// # Errors
    /// [`FieldError`], which names the field: it is missing, unknown, or of another type.
    pub fn write(&self, value: &Value) -> Result<Vec<u8>, FieldError> {
        let length = length(self, value, &Path::TOP)?;
        let too_long =
            || FieldError::Length { length, size: self.size(), element: self.tail().map(Schema::size) };
        let mut bytes = Vec::new();
        let whole = usize::try_from(length).map_err(|_| too_long())?;
        // A sized type may say anything of its size: an allocation that fails is an error here, not the end.
        bytes.try_reserve_exact(whole).map_err(|_| too_long())?;
        bytes.resize(whole, 0);
        self.check_length(whole)?;
        write(self, value, &mut bytes, &Path::TOP)?;
        Ok(bytes)
    }
}

/// Bytes that `value` needs.
fn length(schema: &Schema, value: &Value, path: &Path<'_>) -> Result<u64, FieldError> {
    let whole = match schema.kind() {
        Kind::Slice { element } => {
            let count = match value {
                Value::List(list) => list.len(),
                Value::Bytes(bytes) => bytes.len(),
                other => return Err(mismatch(schema, other, path)),
            };
            element.size().checked_mul(count as u64)
        }
        Kind::Struct { fields } if !schema.is_sized() => {
            let Some(field) = fields.last() else {
                return Ok(schema.size());
            };
            let path = path.name(field.name());
            let value = value.field(field.name()).ok_or_else(|| missing(&path))?;
            field.offset().checked_add(length(field.schema(), value, &path)?)
        }
        _ => Some(schema.size()),
    };
    whole.ok_or_else(|| FieldError::outside(path))
}

fn write(schema: &Schema, value: &Value, bytes: &mut [u8], path: &Path<'_>) -> Result<(), FieldError> {
    match (schema.kind(), value) {
        (Kind::Leaf(leaf), value) => write_leaf(*leaf, value, bytes, path),
        (Kind::NonZero(leaf), value) => {
            if matches!(value, Value::Unsigned(0) | Value::Signed(0)) {
                return Err(FieldError::invalid(path, "0", format!("a {leaf} that is not 0")));
            }
            write_leaf(*leaf, value, bytes, path)
        }
        (Kind::Array { element, .. } | Kind::Slice { element }, Value::Bytes(given)) if is_byte(element) => {
            if given.len() != bytes.len() {
                return Err(mismatch(schema, value, path));
            }
            bytes.copy_from_slice(given);
            Ok(())
        }
        (Kind::Array { element, len }, Value::List(list)) => {
            if list.len() as u64 != *len {
                return Err(mismatch(schema, value, path));
            }
            write_elements(element, list, bytes, path)
        }
        (Kind::Slice { element }, Value::List(list)) => write_elements(element, list, bytes, path),
        (Kind::Struct { fields }, Value::Struct(given)) => write_fields(fields, given, bytes, path),
        (Kind::Enum { repr, variants }, Value::Enum { variant, fields }) => {
            let Some(known) = variants.iter().find(|known| known.name() == variant) else {
                let known = list(variants.iter().map(|known| known.name()));
                return Err(FieldError::Unknown {
                    field: path.name(variant).to_string(),
                    known: format!("its variants are {known}"),
                });
            };
            write_leaf(*repr, &Value::Signed(known.discriminant()), bytes, path)?;
            write_fields(known.fields(), fields, bytes, &path.name(variant))
        }
        // Without size there are no bytes to be wrong (F3): so it is valid, and what was read of it can be written.
        (Kind::Option { tag: Tag::Compiler(_), .. }, Value::Opaque(given))
            if given.is_empty() && schema.size() == 0 =>
        {
            Ok(())
        }
        (Kind::Option { tag: Tag::Compiler(compiler), .. }, _) => {
            Err(FieldError::Opaque { field: path.to_string(), compiler: compiler.clone() })
        }
        (Kind::Option { .. }, Value::None) => {
            bytes.fill(0);
            Ok(())
        }
        (Kind::Option { inner, .. }, Value::Some(value)) => {
            write(inner, value, part_mut(bytes, 0, inner.size(), path)?, path)?;
            if bytes.iter().all(|byte| *byte == 0) {
                // It would be read as none.
                return Err(mismatch(schema, value, path));
            }
            Ok(())
        }
        _ => Err(mismatch(schema, value, path)),
    }
}

fn write_elements(
    element: &Schema,
    list: &[Value],
    bytes: &mut [u8],
    path: &Path<'_>,
) -> Result<(), FieldError> {
    for (index, value) in list.iter().enumerate() {
        let path = path.index(index as u64);
        let at = element.size().checked_mul(index as u64).ok_or_else(|| FieldError::outside(&path))?;
        write(element, value, part_mut(bytes, at, element.size(), &path)?, &path)?;
    }
    Ok(())
}

fn write_fields(
    fields: &[Field],
    given: &[(String, Value)],
    bytes: &mut [u8],
    path: &Path<'_>,
) -> Result<(), FieldError> {
    if let Some((unknown, _)) = given.iter().find(|(name, _)| fields.iter().all(|field| field.name() != name))
    {
        let known = match fields {
            [] => "it has no fields".to_owned(),
            fields => format!("its fields are {}", list(fields.iter().map(|field| field.name()))),
        };
        return Err(FieldError::Unknown { field: path.name(unknown).to_string(), known });
    }
    for field in fields {
        let path = path.name(field.name());
        let value = given.iter().find(|(name, _)| name == field.name());
        let (_, value) = value.ok_or_else(|| missing(&path))?;
        let size = if field.schema().is_sized() {
            field.schema().size()
        } else {
            (bytes.len() as u64).checked_sub(field.offset()).ok_or_else(|| FieldError::outside(&path))?
        };
        write(field.schema(), value, part_mut(bytes, field.offset(), size, &path)?, &path)?;
    }
    Ok(())
}

fn write_leaf(leaf: Leaf, value: &Value, bytes: &mut [u8], path: &Path<'_>) -> Result<(), FieldError> {
    let wrong = || FieldError::invalid(path, value.noun(), article(leaf));
    macro_rules! integer {
        ($type:ty) => {{
            let number = match value {
                Value::Unsigned(n) => <$type>::try_from(*n).ok(),
                Value::Signed(n) => <$type>::try_from(*n).ok(),
                _ => None,
            };
            number.ok_or_else(wrong)?.to_ne_bytes().to_vec()
        }};
    }
    let written = match (leaf, value) {
        (Leaf::U8, _) => integer!(u8),
        (Leaf::U16, _) => integer!(u16),
        (Leaf::U32, _) => integer!(u32),
        (Leaf::U64, _) => integer!(u64),
        (Leaf::U128, _) => integer!(u128),
        (Leaf::I8, _) => integer!(i8),
        (Leaf::I16, _) => integer!(i16),
        (Leaf::I32, _) => integer!(i32),
        (Leaf::I64, _) => integer!(i64),
        (Leaf::I128, _) => integer!(i128),
        (Leaf::F32, Value::F32(x)) => x.to_ne_bytes().to_vec(),
        (Leaf::F32, Value::F64(x)) => (*x as f32).to_ne_bytes().to_vec(),
        (Leaf::F32, Value::Unsigned(n)) => (*n as f32).to_ne_bytes().to_vec(),
        (Leaf::F32, Value::Signed(n)) => (*n as f32).to_ne_bytes().to_vec(),
        (Leaf::F64, Value::F32(x)) => f64::from(*x).to_ne_bytes().to_vec(),
        (Leaf::F64, Value::F64(x)) => x.to_ne_bytes().to_vec(),
        (Leaf::F64, Value::Unsigned(n)) => (*n as f64).to_ne_bytes().to_vec(),
        (Leaf::F64, Value::Signed(n)) => (*n as f64).to_ne_bytes().to_vec(),
        (Leaf::Bool, Value::Bool(b)) => vec![u8::from(*b)],
        (Leaf::Char, Value::Char(c)) => u32::from(*c).to_ne_bytes().to_vec(),
        _ => return Err(wrong()),
    };
    part_mut(bytes, 0, written.len() as u64, path)?.copy_from_slice(&written);
    Ok(())
}

fn part_mut<'b>(
    bytes: &'b mut [u8],
    offset: u64,
    size: u64,
    path: &Path<'_>,
) -> Result<&'b mut [u8], FieldError> {
    let range =
        usize::try_from(offset).ok().zip(offset.checked_add(size).and_then(|end| end.try_into().ok()));
    let part = range.and_then(|(from, to): (usize, usize)| bytes.get_mut(from..to));
    part.ok_or_else(|| FieldError::outside(path))
}

fn missing(path: &Path<'_>) -> FieldError {
    FieldError::Missing { field: path.to_string() }
}

fn mismatch(schema: &Schema, value: &Value, path: &Path<'_>) -> FieldError {
    let expected = match schema.kind() {
        Kind::Leaf(leaf) | Kind::NonZero(leaf) => article(*leaf),
        Kind::Array { len, .. } => format!("a list of {len}"),
        Kind::Slice { .. } => "a list".to_owned(),
        Kind::Struct { fields } => {
            format!("a struct with the fields {}", list(fields.iter().map(|field| field.name())))
        }
        Kind::Enum { variants, .. } => {
            format!("one of the variants {}", list(variants.iter().map(|variant| variant.name())))
        }
        Kind::Option { inner, .. } => format!("none, or a {} that is not all zeroes", inner.identity()),
    };
    FieldError::invalid(path, value.noun(), expected)
}

fn article(leaf: Leaf) -> String {
    match leaf {
        Leaf::I8 => "an i8".to_owned(),
        Leaf::I16 | Leaf::I32 | Leaf::I64 | Leaf::I128 | Leaf::F32 | Leaf::F64 => format!("an {leaf}"),
        _ => format!("a {leaf}"),
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut all: Vec<&str> = names.collect();
    if all.len() > 12 {
        all.truncate(12);
        all.push("…");
    }
    all.join(", ")
}
