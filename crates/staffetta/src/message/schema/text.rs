//! A schema as one line of text, and the fingerprint of that line.
//!
//! Only writing; `parse.rs` reads. The grammar, which both follow, stands in the documentation of
//! [`schema`](super), because other implementations are held to it too.

use std::fmt::{self, Write as _};

use super::{Field, Kind, Schema, Tag};

/// The canonical text; its grammar stands in the documentation of [`schema`](super).
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.identity.is_empty() {
            write_string(f, &self.identity)?;
            f.write_char(' ')?;
        }
        write!(f, "{}/{} ", self.size, self.align)?;
        match &self.kind {
            Kind::Leaf(leaf) => write!(f, "{leaf}"),
            Kind::NonZero(leaf) => write!(f, "nonzero {leaf}"),
            Kind::Array { element, len } => write!(f, "[{element}; {len}]"),
            Kind::Slice { element } => write!(f, "[{element}]"),
            Kind::Struct { fields } => write_fields(f, fields),
            Kind::Enum { repr, variants } => {
                write!(f, "enum {repr} {{")?;
                for (index, variant) in variants.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write_name(f, &variant.name)?;
                    write!(f, " = {} ", variant.discriminant)?;
                    write_fields(f, &variant.fields)?;
                }
                f.write_char('}')
            }
            Kind::Option { inner, tag } => {
                match tag {
                    Tag::Zero => f.write_str("option zero ")?,
                    Tag::Compiler(compiler) => {
                        f.write_str("option by ")?;
                        write_string(f, compiler)?;
                        f.write_char(' ')?;
                    }
                }
                write!(f, "{inner}")
            }
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[Field]) -> fmt::Result {
    f.write_char('{')?;
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_name(f, &field.name)?;
        write!(f, "@{} {}", field.offset, field.schema)?;
    }
    f.write_char('}')
}

pub(super) const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if !name.is_empty() && name.bytes().all(is_bare) {
        f.write_str(name)
    } else {
        write_string(f, name)
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Schema {
    /// A hash of the text: 64-bit FNV-1a over its UTF-8 bytes, the same in every build and language.
    ///
    /// It finds mistakes quickly; it does not keep out somebody who wants two texts to collide. Where
    /// that matters compare the texts.
    ///
    /// ```
    /// use staffetta::Message;
    /// assert_eq!(u8::schema().fingerprint(), u8::schema().fingerprint());
    /// assert_ne!(u8::schema().fingerprint(), i8::schema().fingerprint());
    /// ```
    pub fn fingerprint(&self) -> u64 {
        struct Fnv1a(u64);

        impl fmt::Write for Fnv1a {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
                Ok(())
            }
        }

        let mut hash = Fnv1a(0xcbf2_9ce4_8422_2325);
        // Neither the hash nor our `Display` ever fails.
        let _ = write!(hash, "{self}");
        hash.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::{any_schema, config};
    use super::*;
    use crate::message::Message;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_text_is_parsed_back(schema in any_schema()) {
            prop_assert_eq!(schema.check(), Ok(()));
            let text = schema.to_string();
            prop_assert!(!text.contains(char::is_control));
            prop_assert_eq!(Schema::parse(&text), Ok(schema));
        }
    }

    /// Written down by other implementations; a change breaks every stored schema.
    #[test]
    fn the_fingerprint_never_changes() {
        // FNV-1a 64 of "4/4 u32", computed elsewhere.
        assert_eq!(u32::schema().fingerprint(), 0xf3d0_e956_c6ca_cba2);
    }
}
