//! A schema for people, on several lines.
//!
//! Not a format: it may change, and cannot be read back. That is what the text is for.

use super::{Field, Kind, Schema, Tag};

impl Schema {
    /// The layout for people: one line per field, with its offset and size in bytes.
    ///
    /// ```
    /// use staffetta::Message;
    /// assert_eq!(
    ///     <(u32, [u8; 4])>::schema().pretty(),
    ///     "(u32, [u8; 4]): 8 bytes, align 4\n  \
    ///      at 0: 0: u32, 4 bytes\n  \
    ///      at 4: 1: [u8; 4], 4 bytes\n",
    /// );
    /// ```
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        text.push_str(&format!("{}: {}, align {}", self.identity(), self.extent(), self.align));
        self.write_pretty_parts(&mut text, 1);
        text
    }

    pub(super) fn extent(&self) -> String {
        let bytes = if self.size == 1 { "byte" } else { "bytes" };
        if self.is_sized() {
            format!("{} {bytes}", self.size)
        } else if self.size == 0 {
            String::from("any length")
        } else {
            format!("{} {bytes} and a slice", self.size)
        }
    }

    /// Ends the line, then writes one line per part.
    fn write_pretty_parts(&self, text: &mut String, depth: usize) {
        fn write_fields(text: &mut String, fields: &[Field], depth: usize) {
            for field in fields {
                let schema = &field.schema;
                text.push_str(&format!(
                    "{:indent$}at {}: {}: {}, {}",
                    "",
                    field.offset,
                    field.name.escape_debug(),
                    schema.identity(),
                    schema.extent(),
                    indent = depth * 2,
                ));
                schema.write_pretty_parts(text, depth + 1);
            }
        }

        let part = match &self.kind {
            Kind::Leaf(leaf) if !self.identity.is_empty() => {
                text.push_str(&format!(" ({leaf})\n"));
                return;
            }
            Kind::NonZero(leaf) if !self.identity.is_empty() => {
                text.push_str(&format!(" (nonzero {leaf})\n"));
                return;
            }
            Kind::Leaf(_) | Kind::NonZero(_) => {
                text.push('\n');
                return;
            }
            Kind::Struct { fields } => {
                text.push('\n');
                write_fields(text, fields, depth);
                return;
            }
            Kind::Enum { repr, variants } => {
                text.push_str(&format!(", enum of {repr}\n"));
                for variant in variants {
                    text.push_str(&format!(
                        "{:indent$}{} = {}\n",
                        "",
                        variant.name.escape_debug(),
                        variant.discriminant,
                        indent = depth * 2,
                    ));
                    write_fields(text, &variant.fields, depth + 1);
                }
                return;
            }
            Kind::Array { element, .. } | Kind::Slice { element } => element,
            Kind::Option { inner, tag } => {
                if let Tag::Compiler(compiler) = tag {
                    text.push_str(&format!(", laid out by {}", compiler.escape_debug()));
                }
                inner
            }
        };
        // What an array or option holds is spelled in its own identity; only its parts are news.
        match part.innermost().kind {
            Kind::Struct { .. } | Kind::Enum { .. } => {
                text.push_str(&format!(
                    "\n{:indent$}each {}: {}",
                    "",
                    part.identity(),
                    part.extent(),
                    indent = depth * 2
                ));
                part.write_pretty_parts(text, depth + 1);
            }
            _ => text.push('\n'),
        }
    }

    /// What arrays, slices and options of this hold at last.
    fn innermost(&self) -> &Schema {
        let mut schema = self;
        while let Kind::Array { element: inner, .. }
        | Kind::Slice { element: inner }
        | Kind::Option { inner, .. } = &schema.kind
        {
            schema = inner;
        }
        schema
    }
}
