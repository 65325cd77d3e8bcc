//! Which type is meant: the declared identity, or what the structure says.
//!
//! A spelling for people and for comparison. It does not say where parts lie, and is not parsed again.

use std::borrow::Cow;

use super::{Kind, Schema};

impl Schema {
    /// Which type is meant: the declared identity, such as `app::Pair@1<u8, u32>` or
    /// `com.acme.Frame@2`, or the structure of a type that has none, such as `[u8; 4]`.
    pub fn identity(&self) -> Cow<'_, str> {
        if self.identity.is_empty() {
            let mut text = String::new();
            self.write_identity(&mut text);
            Cow::Owned(text)
        } else {
            Cow::Borrowed(&self.identity)
        }
    }

    fn write_identity(&self, text: &mut String) {
        if !self.identity.is_empty() {
            text.push_str(&self.identity);
            return;
        }
        match &self.kind {
            Kind::Leaf(leaf) => text.push_str(leaf.name()),
            Kind::NonZero(leaf) => {
                text.push_str("NonZero<");
                text.push_str(leaf.name());
                text.push('>');
            }
            Kind::Array { element, len } => {
                text.push('[');
                element.write_identity(text);
                text.push_str("; ");
                text.push_str(&len.to_string());
                text.push(']');
            }
            Kind::Slice { element } => {
                text.push('[');
                element.write_identity(text);
                text.push(']');
            }
            Kind::Struct { fields } => {
                text.push('(');
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push_str(", ");
                    }
                    field.schema.write_identity(text);
                }
                text.push_str(if fields.len() == 1 { ",)" } else { ")" });
            }
            Kind::Enum { repr, .. } => {
                text.push_str("enum ");
                text.push_str(repr.name());
            }
            Kind::Option { inner, .. } => {
                text.push_str("Option<");
                inner.write_identity(text);
                text.push('>');
            }
        }
    }
}
