//! Are these bytes a value of the type? Leaf by leaf, in the order of declaration; the first that is not is told.
//!
//! This is what stands between bytes from outside and a receiver that takes them for its type: a `bool` of 2, a `char` beyond
//! Unicode or an enum without a variant is undefined behaviour there. Bytes of padding may be anything.

use super::{count, discriminant, field_bytes, part, read, FieldError, Path};
use crate::message::schema::{Field, Kind, Leaf, Schema, Tag};

/// By bytes.
impl Schema {
    /// Whether `bytes` are a value of this type.
    ///
    /// ```
    /// use staffetta::Message;
    /// let schema = <(bool, u8)>::schema();
    /// assert!(schema.validate(&[1, 255]).is_ok());
    /// let wrong = <[bool]>::schema().validate(&[1, 0, 2]).unwrap_err();
    /// assert_eq!(wrong.to_string(), "field `[2]`: 2 is no value of it; a bool, 0 or 1, is expected");
    /// ```
    ///
    /// # Errors
    /// [`FieldError`], which names the field; [`FieldError::Opaque`] for an `Option` whose tag only its compiler can
    /// find.
    pub fn validate(&self, bytes: &[u8]) -> Result<(), FieldError> {
        self.check_length(bytes.len())?;
        validate(self, bytes, &Path::TOP)
    }

    /// Whether all bytes of the right length are a value.
    pub(crate) fn takes_any_bytes(&self) -> bool {
        match self.kind() {
            Kind::Leaf(leaf) => !matches!(leaf, Leaf::Bool | Leaf::Char),
            Kind::Array { element, .. } | Kind::Slice { element } => element.takes_any_bytes(),
            Kind::Struct { fields } => fields.iter().all(|field| field.schema().takes_any_bytes()),
            Kind::NonZero(_) | Kind::Enum { .. } | Kind::Option { .. } => false,
        }
    }
}

fn validate(schema: &Schema, bytes: &[u8], path: &Path<'_>) -> Result<(), FieldError> {
    match schema.kind() {
        Kind::Leaf(leaf) => validate_leaf(bytes, *leaf, path),
        Kind::NonZero(leaf) => match part(bytes, 0, leaf.size(), path)?.iter().any(|byte| *byte != 0) {
            true => Ok(()),
            false => Err(FieldError::invalid(path, "0", format!("a {leaf} that is not 0"))),
        },
        Kind::Array { element, .. } | Kind::Slice { element } => {
            // Elements without size have no bytes to be wrong (F3).
            if element.size() == 0 || element.takes_any_bytes() {
                return Ok(());
            }
            for index in 0..count(bytes, element.size(), path)? {
                let path = path.index(index);
                let element_bytes = part(bytes, index * element.size(), element.size(), &path)?;
                validate(element, element_bytes, &path)?;
            }
            Ok(())
        }
        Kind::Struct { fields } => validate_fields(fields, bytes, path),
        Kind::Enum { repr, variants } => {
            let discriminant = discriminant(bytes, *repr, path)?;
            match variants.iter().find(|variant| variant.discriminant() == discriminant) {
                Some(variant) => validate_fields(variant.fields(), bytes, &path.name(variant.name())),
                None => Err(FieldError::invalid(
                    path,
                    format!("the discriminant {discriminant}"),
                    format!("one of {}", known(variants.iter().map(|v| (v.name(), v.discriminant())))),
                )),
            }
        }
        Kind::Option { inner, tag: Tag::Zero } => {
            if bytes.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            validate(inner, part(bytes, 0, inner.size(), path)?, path)
        }
        Kind::Option { tag: Tag::Compiler(compiler), .. } => {
            Err(FieldError::Opaque { field: path.to_string(), compiler: compiler.clone() })
        }
    }
}

fn validate_fields(fields: &[Field], bytes: &[u8], path: &Path<'_>) -> Result<(), FieldError> {
    for field in fields {
        let path = path.name(field.name());
        validate(field.schema(), field_bytes(bytes, field, &path)?, &path)?;
    }
    Ok(())
}

fn validate_leaf(bytes: &[u8], leaf: Leaf, path: &Path<'_>) -> Result<(), FieldError> {
    match leaf {
        Leaf::Bool | Leaf::Char => read::leaf(bytes, leaf, path).map(drop),
        _ => part(bytes, 0, leaf.size(), path).map(drop),
    }
}

/// `A (0), B (1)`, not too many.
fn known<'v>(variants: impl Iterator<Item = (&'v str, i128)>) -> String {
    let mut all: Vec<String> = variants.map(|(name, number)| format!("{name} ({number})")).collect();
    if all.len() > 12 {
        all.truncate(12);
        all.push("…".to_owned());
    }
    all.join(", ")
}
