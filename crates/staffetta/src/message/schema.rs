//! A type's layout as data: built by the derive, stored in the domain as one line of text, compared
//! between builds, languages and versions.
//!
//! A schema is *identity* (which type is meant) and *layout* (where its parts lie). Both ends of a
//! channel must agree on both: equal layout alone would let a type with an invariant be forged from
//! one without.
//!
//! # The text
//!
//! One line, one spelling per schema. [`Schema::parse`] accepts exactly what [`Display`](fmt::Display)
//! writes: `parse(text)?.to_string() == text`.
//!
//! ```text
//! schema  = [ string " " ] size "/" align " " kind
//! kind    = leaf
//!         | "nonzero " leaf
//!         | "[" schema "; " number "]"                                array
//!         | "[" schema "]"                                            slice; its size is 0
//!         | fields                                                    struct or tuple
//!         | "enum " leaf " {" name " = " integer " " fields { ", " … } "}"
//!         | "option zero " schema                                     None is all zeroes
//!         | "option by " string " " schema                            the tag is where this compiler puts it
//! fields  = "{" [ name "@" offset " " schema { ", " … } ] "}"
//! leaf    = "u8" … "u128" | "i8" … "i128" | "f32" | "f64" | "bool" | "char"
//! name    = ( letter | digit | "_" )+ , all ASCII, or string
//! string  = '"' … '"', with `\"`, `\\`, and `\u{hex}` for control characters; not empty
//! ```
//!
//! Sizes, alignments and offsets are bytes, in decimal without leading zeroes; offsets count from the
//! start of the struct or enum that has the field. The leading string is the *declared* identity; a
//! type without one (`u32`, `[u8; 4]`, `(u8, bool)`) is what its structure says. The size of a type
//! that ends in a slice is its length with an empty slice. An enum's discriminant lies at offset 0.
//!
//! # Invariants
//!
//! - **S1** A parsed schema is consistent ([`Schema::check`]): every part lies inside its whole, the
//!   fields of one struct or variant do not overlap, and only a last field can be unsized. So a reader
//!   that has checked a message's length may follow the offsets. Fields of packed types may be
//!   unaligned.
//! - **S2** No text makes the parser panic, overflow the stack, or allocate more than a fixed multiple
//!   of the text's length: the length and the depth are bounded before anything is built.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use thiserror::Error;

/// The longest text of a schema, in bytes.
pub const SCHEMA_LENGTH_MAX: usize = 64 * 1024;

/// The deepest nesting of a schema: a leaf has depth 1.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// The layout and identity of a [`Message`](super::Message) type.
///
/// Its text form is described in [`schema`](self).
///
/// ```
/// use staffetta::message::{Message, Schema};
///
/// let schema = <(u32, [u8; 4])>::schema();
/// let text = schema.to_string();
/// assert_eq!(text, "8/4 {0@0 4/4 u32, 1@4 4/1 [1/1 u8; 4]}");
/// assert_eq!(Schema::parse(&text), Ok(schema));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    /// Declared; empty for a type that is what its structure says.
    identity: String,
    size: u64,
    align: u64,
    kind: Kind,
}

/// What a type consists of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A number, `bool` or `char`.
    Leaf(Leaf),
    /// An integer that is not 0.
    NonZero(Leaf),
    /// `len` elements, one after the other.
    Array {
        /// The layout of one element.
        element: Box<Schema>,
        /// How many elements.
        len: u64,
    },
    /// As many elements as the message's length allows.
    Slice {
        /// The layout of one element.
        element: Box<Schema>,
    },
    /// A struct or, without a declared identity, a tuple; fields in the order of declaration.
    Struct {
        /// The fields.
        fields: Vec<Field>,
    },
    /// A discriminant at offset 0 that says which variant's fields follow.
    Enum {
        /// The discriminant's type: an integer of 8 to 64 bits.
        repr: Leaf,
        /// The variants in the order of declaration.
        variants: Vec<Variant>,
    },
    /// A value or none.
    Option {
        /// The layout of the value.
        inner: Box<Schema>,
        /// How none is told from a value.
        tag: Tag,
    },
}

/// How an `Option` tells `None` from a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// `None` is all zeroes, and the value lies at offset 0.
    Zero,
    /// As the named compiler chose: only programs built by the same compiler can exchange it.
    Compiler(String),
}

/// A named part of a struct or of an enum's variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    name: String,
    offset: u64,
    schema: Schema,
}

/// One variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    name: String,
    discriminant: i128,
    fields: Vec<Field>,
}

macro_rules! leaf {
    ($($(#[$doc:meta])* $variant:ident $name:literal $size:literal)*) => {
        /// A type without parts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Leaf {
            $($(#[$doc])* $variant,)*
        }

        impl Leaf {
            #[cfg(test)]
            const ALL: &'static [Leaf] = &[$(Leaf::$variant),*];

            /// The name in the text of a schema, and in Rust.
            pub const fn name(self) -> &'static str {
                match self { $(Leaf::$variant => $name,)* }
            }

            /// The size in bytes.
            pub const fn size(self) -> u64 {
                match self { $(Leaf::$variant => $size,)* }
            }

            fn from_name(name: &str) -> Option<Leaf> {
                match name { $($name => Some(Leaf::$variant),)* _ => None }
            }
        }
    };
}

leaf! {
    /// `u8`
    U8 "u8" 1
    /// `u16`
    U16 "u16" 2
    /// `u32`
    U32 "u32" 4
    /// `u64`
    U64 "u64" 8
    /// `u128`
    U128 "u128" 16
    /// `i8`
    I8 "i8" 1
    /// `i16`
    I16 "i16" 2
    /// `i32`
    I32 "i32" 4
    /// `i64`
    I64 "i64" 8
    /// `i128`
    I128 "i128" 16
    /// `f32`
    F32 "f32" 4
    /// `f64`
    F64 "f64" 8
    /// `bool`: one byte, 0 or 1
    Bool "bool" 1
    /// `char`: a Unicode scalar value in 4 bytes
    Char "char" 4
}

impl Leaf {
    /// Whether this is one of the integers.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Leaf::F32 | Leaf::F64 | Leaf::Bool | Leaf::Char)
    }

    /// The values that a discriminant of this type can have.
    fn discriminants(self) -> Option<(i128, i128)> {
        Some(match self {
            Leaf::U8 => (0, u8::MAX.into()),
            Leaf::U16 => (0, u16::MAX.into()),
            Leaf::U32 => (0, u32::MAX.into()),
            Leaf::U64 => (0, u64::MAX.into()),
            Leaf::I8 => (i8::MIN.into(), i8::MAX.into()),
            Leaf::I16 => (i16::MIN.into(), i16::MAX.into()),
            Leaf::I32 => (i32::MIN.into(), i32::MAX.into()),
            Leaf::I64 => (i64::MIN.into(), i64::MAX.into()),
            _ => return None,
        })
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

impl Field {
    /// A field at `offset` bytes from the start of its struct or enum.
    pub fn new(name: impl Into<String>, offset: usize, schema: Schema) -> Field {
        Field { name: name.into(), offset: offset as u64, schema }
    }

    /// The name; a number in a tuple.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the field starts, in bytes from the start of the struct or enum.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The layout of the field's type.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl Variant {
    /// A variant; its fields' offsets count from the start of the enum.
    pub fn new(name: impl Into<String>, discriminant: i128, fields: impl Into<Vec<Field>>) -> Variant {
        Variant { name: name.into(), discriminant, fields: fields.into() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The discriminant that selects this variant.
    pub fn discriminant(&self) -> i128 {
        self.discriminant
    }

    /// The fields in the order of declaration.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

/// Building. Nothing is checked here: see [`Schema::check`].
impl Schema {
    /// A number, `bool` or `char`.
    pub fn leaf(leaf: Leaf, align: usize) -> Schema {
        Schema::new(leaf.size(), align, Kind::Leaf(leaf))
    }

    /// An integer that is not 0.
    pub fn non_zero(leaf: Leaf, align: usize) -> Schema {
        Schema::new(leaf.size(), align, Kind::NonZero(leaf))
    }

    /// An array. A size beyond `u64` saturates, and [`check`](Self::check) refuses it.
    pub fn array(element: Schema, len: usize) -> Schema {
        let len = len as u64;
        Schema {
            identity: String::new(),
            size: element.size.saturating_mul(len),
            align: element.align,
            kind: Kind::Array { element: Box::new(element), len },
        }
    }

    /// A slice of any length.
    pub fn slice(element: Schema) -> Schema {
        Schema {
            identity: String::new(),
            size: 0,
            align: element.align,
            kind: Kind::Slice { element: Box::new(element) },
        }
    }

    /// A struct, or a tuple if `identity` is empty. `size` is that with an empty slice if the last
    /// field is unsized.
    pub fn structure(
        identity: impl Into<String>,
        size: usize,
        align: usize,
        fields: impl Into<Vec<Field>>,
    ) -> Schema {
        let fields = fields.into();
        Schema::new(size as u64, align, Kind::Struct { fields }).named(identity)
    }

    /// An enum with its discriminant, of type `repr`, at offset 0.
    pub fn enumeration(
        identity: impl Into<String>,
        size: usize,
        align: usize,
        repr: Leaf,
        variants: impl Into<Vec<Variant>>,
    ) -> Schema {
        let variants = variants.into();
        Schema::new(size as u64, align, Kind::Enum { repr, variants }).named(identity)
    }

    /// An `Option` of `inner`.
    pub fn option(inner: Schema, size: usize, align: usize, tag: Tag) -> Schema {
        let inner = Box::new(inner);
        Schema::new(size as u64, align, Kind::Option { inner, tag })
    }

    /// The same layout with a declared identity.
    pub fn named(mut self, identity: impl Into<String>) -> Schema {
        self.identity = identity.into();
        self
    }

    fn new(size: u64, align: usize, kind: Kind) -> Schema {
        Schema { identity: String::new(), size, align: align as u64, kind }
    }
}

/// Reading.
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

    /// The size in bytes; of a type that ends in a slice, the length with an empty slice.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The alignment in bytes.
    pub fn align(&self) -> u64 {
        self.align
    }

    /// What the type consists of.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The fields of a struct or tuple; nothing for another kind.
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct { fields } => fields,
            _ => &[],
        }
    }

    /// The layout of the elements of the slice that the type is or ends in, if any.
    pub fn tail(&self) -> Option<&Schema> {
        let mut schema = self;
        loop {
            match &schema.kind {
                Kind::Slice { element } => return Some(element),
                Kind::Struct { fields } => schema = &fields.last()?.schema,
                _ => return None,
            }
        }
    }

    /// Whether all values have the same size: the type neither is nor ends in a slice.
    pub fn is_sized(&self) -> bool {
        self.tail().is_none()
    }

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

    fn extent(&self) -> String {
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

/// Comparing.
impl Schema {
    /// The first difference between this schema ("here") and the peer's ("there"), as a sentence
    /// without a full stop; `None` exactly if they are equal.
    ///
    /// ```
    /// use staffetta::message::{Leaf, Message, Field, Schema};
    /// let here = Schema::structure("app::S@1", 4, 4, [Field::new("a", 0, u32::schema())]);
    /// let there = Schema::structure("app::S@1", 8, 8, [Field::new("a", 0, u64::schema())]);
    /// assert_eq!(
    ///     here.difference(&there).as_deref(),
    ///     Some("field `a`: u32 at offset 0 here, u64 at offset 0 there"),
    /// );
    /// ```
    pub fn difference(&self, other: &Schema) -> Option<String> {
        let (here, there) = (self.identity(), other.identity());
        if here != there {
            return Some(format!("the type is {here} here, {there} there"));
        }
        self.difference_at("", other)
    }

    /// The first difference below `path`; the identities are equal.
    fn difference_at(&self, path: &str, other: &Schema) -> Option<String> {
        if self == other {
            return None;
        }
        let inside = match (&self.kind, &other.kind) {
            (Kind::Array { element: a, .. }, Kind::Array { element: b, .. })
            | (Kind::Slice { element: a }, Kind::Slice { element: b }) => {
                a.difference_part(&format!("{path}[]"), b)
            }
            (Kind::Option { inner: a, tag: t }, Kind::Option { inner: b, tag: u }) => {
                a.difference_part(&format!("{path}?"), b).or_else(|| difference_of_tags(path, t, u))
            }
            (Kind::Struct { fields: a }, Kind::Struct { fields: b }) => difference_of_fields(path, a, b),
            (Kind::Enum { repr: r, variants: a }, Kind::Enum { repr: s, variants: b }) => {
                if r != s {
                    Some(format!("{}: the discriminant is {r} here, {s} there", subject(path)))
                } else {
                    difference_of_variants(path, a, b)
                }
            }
            (a, b) if a != b => Some(format!("{}: {} here, {} there", subject(path), a.noun(), b.noun())),
            _ => None,
        };
        inside
            .or_else(|| {
                (self.size != other.size)
                    .then(|| format!("{}: {} here, {} there", subject(path), self.extent(), other.extent()))
            })
            .or_else(|| {
                (self.align != other.align).then(|| {
                    format!("{}: aligned to {} here, to {} there", subject(path), self.align, other.align)
                })
            })
            .or_else(|| {
                // The same spelling, declared at one end only.
                Some(format!(
                    "{}: the identity {} is declared {} only",
                    subject(path),
                    self.identity(),
                    if self.identity.is_empty() { "there" } else { "here" }
                ))
            })
    }

    /// As [`difference_at`](Self::difference_at), for a part whose identity may differ too.
    fn difference_part(&self, path: &str, other: &Schema) -> Option<String> {
        let (here, there) = (self.identity(), other.identity());
        if here != there {
            return Some(format!("{}: {here} here, {there} there", subject(path)));
        }
        self.difference_at(path, other)
    }
}

impl Kind {
    fn noun(&self) -> String {
        match self {
            Kind::Leaf(leaf) => leaf.name().to_owned(),
            Kind::NonZero(leaf) => format!("a nonzero {leaf}"),
            Kind::Array { .. } => String::from("an array"),
            Kind::Slice { .. } => String::from("a slice"),
            Kind::Struct { .. } => String::from("a struct"),
            Kind::Enum { .. } => String::from("an enum"),
            Kind::Option { .. } => String::from("an option"),
        }
    }
}

/// What a sentence about `path` is about.
fn subject(path: &str) -> String {
    if path.is_empty() {
        String::from("the type")
    } else {
        format!("field `{path}`")
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn difference_of_tags(path: &str, here: &Tag, there: &Tag) -> Option<String> {
    fn noun(tag: &Tag) -> String {
        match tag {
            Tag::Zero => String::from("zero"),
            Tag::Compiler(compiler) => format!("laid out by {}", compiler.escape_debug()),
        }
    }
    (here != there)
        .then(|| format!("{}: `None` is {} here, {} there", subject(path), noun(here), noun(there)))
}

fn difference_of_fields(path: &str, here: &[Field], there: &[Field]) -> Option<String> {
    for (a, b) in here.iter().zip(there) {
        if a == b {
            continue;
        }
        if a.name != b.name {
            return Some(format!(
                "field `{}` here is field `{}` there",
                below(path, &a.name),
                below(path, &b.name)
            ));
        }
        let path = below(path, &a.name);
        let (here, there) = (a.schema.identity(), b.schema.identity());
        if here != there || a.offset != b.offset {
            return Some(format!(
                "field `{path}`: {here} at offset {} here, {there} at offset {} there",
                a.offset, b.offset
            ));
        }
        return a.schema.difference_at(&path, &b.schema);
    }
    let lone = |fields: &[Field], common: usize, place: &str| {
        fields.get(common).map(|field| {
            format!(
                "field `{}`: {} at offset {} {place} only",
                below(path, &field.name),
                field.schema.identity(),
                field.offset
            )
        })
    };
    lone(here, there.len(), "here").or_else(|| lone(there, here.len(), "there"))
}

fn difference_of_variants(path: &str, here: &[Variant], there: &[Variant]) -> Option<String> {
    for (a, b) in here.iter().zip(there) {
        if a == b {
            continue;
        }
        let (p, q) = (below(path, &a.name), below(path, &b.name));
        if a.name != b.name {
            return Some(format!("variant `{p}` here is variant `{q}` there"));
        }
        if a.discriminant != b.discriminant {
            return Some(format!(
                "variant `{p}`: discriminant {} here, {} there",
                a.discriminant, b.discriminant
            ));
        }
        return difference_of_fields(&p, &a.fields, &b.fields);
    }
    let lone = |variants: &[Variant], common: usize, place: &str| {
        variants.get(common).map(|variant| format!("variant `{}` {place} only", below(path, &variant.name)))
    };
    lone(here, there.len(), "here").or_else(|| lone(there, here.len(), "there"))
}

/// Checking.
impl Schema {
    /// Whether some type can have this schema, and its text can be parsed again.
    ///
    /// [`parse`](Self::parse) does this; a schema put together by hand should be checked.
    ///
    /// # Errors
    ///
    /// [`SchemaError::TooDeep`] or [`SchemaError::TooLong`] where [`parse`](Self::parse) would refuse
    /// the text; [`SchemaError::Layout`] where parts overlap, stick out of their whole, or a size,
    /// alignment or discriminant is impossible.
    pub fn check(&self) -> Result<(), SchemaError> {
        self.check_layout(1)?;
        let length = self.to_string().len();
        if length > SCHEMA_LENGTH_MAX {
            return Err(SchemaError::TooLong { length });
        }
        Ok(())
    }

    fn check_layout(&self, depth: usize) -> Result<(), SchemaError> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        match &self.kind {
            Kind::Leaf(_) | Kind::NonZero(_) => {}
            Kind::Array { element: part, .. }
            | Kind::Slice { element: part }
            | Kind::Option { inner: part, .. } => part.check_layout(depth + 1)?,
            Kind::Struct { fields } => {
                for field in fields {
                    field.schema.check_layout(depth + 1)?;
                }
            }
            Kind::Enum { variants, .. } => {
                for field in variants.iter().flat_map(|variant| &variant.fields) {
                    field.schema.check_layout(depth + 1)?;
                }
            }
        }
        self.check_this()
    }

    /// S1 for this node; its parts have been checked.
    fn check_this(&self) -> Result<(), SchemaError> {
        let wrong = |reason| Err(SchemaError::Layout { part: self.identity().into_owned(), reason });
        if !self.align.is_power_of_two() || self.align > 1 << 29 {
            return wrong("the alignment is not a power of two up to 2^29");
        }
        if self.size > i64::MAX as u64 - (self.align - 1) {
            return wrong("the size is larger than any memory");
        }
        if self.is_sized() && self.size % self.align != 0 {
            return wrong("the size is not a multiple of the alignment");
        }
        match &self.kind {
            Kind::Leaf(leaf) => {
                if self.size != leaf.size() {
                    return wrong("the size is not that of the leaf");
                }
            }
            Kind::NonZero(leaf) => {
                if self.size != leaf.size() {
                    return wrong("the size is not that of the leaf");
                }
                if !leaf.is_integer() {
                    return wrong("only an integer can be nonzero");
                }
            }
            Kind::Array { element, len } => {
                if !element.is_sized() {
                    return wrong("the elements of an array must be sized");
                }
                if element.size.checked_mul(*len) != Some(self.size) {
                    return wrong("the size is not that of the elements");
                }
                if element.align != self.align {
                    return wrong("the alignment is not that of the elements");
                }
            }
            Kind::Slice { element } => {
                if !element.is_sized() || element.size == 0 {
                    return wrong("the elements of a slice must be sized, and not empty");
                }
                if self.size != 0 {
                    return wrong("the size of a slice is not 0");
                }
                if element.align != self.align {
                    return wrong("the alignment is not that of the elements");
                }
            }
            Kind::Struct { fields } => {
                let last = fields.len().wrapping_sub(1);
                for (index, field) in fields.iter().enumerate() {
                    if !field.schema.is_sized() {
                        if index != last {
                            return wrong("a field that is not the last one is unsized");
                        }
                        if field.offset.checked_add(field.schema.size) != Some(self.size) {
                            return wrong("the size is not the offset of the slice");
                        }
                    }
                }
                if let Some(reason) = self.misplaced(fields, 0) {
                    return wrong(reason);
                }
            }
            Kind::Enum { repr, variants } => {
                let Some((min, max)) = repr.discriminants() else {
                    return wrong("the discriminant is not an integer of 8 to 64 bits");
                };
                if variants.is_empty() {
                    return wrong("an enum without variants has no values");
                }
                if self.size < repr.size() {
                    return wrong("the size is smaller than the discriminant");
                }
                let mut discriminants = Vec::with_capacity(variants.len());
                for variant in variants {
                    if variant.discriminant < min || variant.discriminant > max {
                        return wrong("a discriminant does not fit its type");
                    }
                    discriminants.push(variant.discriminant);
                    if variant.fields.iter().any(|field| !field.schema.is_sized()) {
                        return wrong("a field of an enum is unsized");
                    }
                    if let Some(reason) = self.misplaced(&variant.fields, repr.size()) {
                        return wrong(reason);
                    }
                }
                if has_duplicate(discriminants) {
                    return wrong("two variants have the same discriminant");
                }
                if has_duplicate(variants.iter().map(Variant::name).collect()) {
                    return wrong("two variants have the same name");
                }
            }
            Kind::Option { inner, tag } => {
                if !inner.is_sized() {
                    return wrong("the value of an option must be sized");
                }
                if inner.size > self.size {
                    return wrong("the value is larger than the option");
                }
                if *tag == Tag::Zero && inner.size != self.size {
                    return wrong("an option whose None is zero has the size of its value");
                }
            }
        }
        Ok(())
    }

    /// Why `fields`, which may start at `start`, cannot lie in this type, if so.
    fn misplaced(&self, fields: &[Field], start: u64) -> Option<&'static str> {
        let mut places = Vec::with_capacity(fields.len());
        for field in fields {
            match field.offset.checked_add(field.schema.size) {
                Some(end) if end <= self.size && field.offset >= start => {
                    // Fields of size 0 may lie anywhere inside.
                    if field.schema.size > 0 {
                        places.push((field.offset, end));
                    }
                }
                _ => return Some("a field lies outside"),
            }
        }
        places.sort_unstable();
        if places.windows(2).any(|pair| match pair {
            [a, b] => a.1 > b.0,
            _ => false,
        }) {
            return Some("two fields overlap");
        }
        if has_duplicate(fields.iter().map(Field::name).collect()) {
            return Some("two fields have the same name");
        }
        None
    }
}

fn has_duplicate<T: Ord>(mut items: Vec<T>) -> bool {
    items.sort_unstable();
    items.windows(2).any(|pair| match pair {
        [a, b] => a == b,
        _ => false,
    })
}

/// The canonical text; its grammar stands in the documentation of the module.
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

const fn is_bare(byte: u8) -> bool {
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
    /// Reads the canonical text.
    ///
    /// The text may come from a peer: no text makes this panic, and at most [`SCHEMA_LENGTH_MAX`]
    /// bytes nested at most [`SCHEMA_DEPTH_MAX`] deep are looked at.
    ///
    /// ```
    /// use staffetta::message::{Schema, SchemaError};
    /// assert_eq!(Schema::parse("4/4 u32").unwrap().identity(), "u32");
    /// assert_eq!(
    ///     Schema::parse("4/4 u33"),
    ///     Err(SchemaError::Syntax { at: 4, expected: "a kind" }),
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`SchemaError::Syntax`] if the text is not spelled as [`Display`](fmt::Display) spells it,
    /// [`SchemaError::TooLong`], [`SchemaError::TooDeep`], and [`SchemaError::Layout`] as
    /// [`check`](Self::check).
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        if text.len() > SCHEMA_LENGTH_MAX {
            return Err(SchemaError::TooLong { length: text.len() });
        }
        let mut parser = Parser { text, at: 0 };
        let schema = parser.schema(1)?;
        if parser.at != text.len() {
            return Err(parser.expected("the end"));
        }
        Ok(schema)
    }
}

impl std::str::FromStr for Schema {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Schema, SchemaError> {
        Schema::parse(text)
    }
}

/// A cursor over the text: `at <= text.len()`, on a character's boundary.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn expected(&self, expected: &'static str) -> SchemaError {
        SchemaError::Syntax { at: self.at, expected }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Steps over `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn token(&mut self, token: &'static str) -> Result<(), SchemaError> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.expected(token))
        }
    }

    /// The longest run of letters, digits and underscores; possibly empty.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| is_bare(*byte)).count();
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn number(&mut self) -> Result<u64, SchemaError> {
        let start = self.at;
        let word = self.word();
        let canonical = word == "0" || !word.starts_with('0');
        // A word has no sign, so only digits get through.
        match word.parse() {
            Ok(number) if canonical => Ok(number),
            _ => {
                self.at = start;
                Err(self.expected("a number"))
            }
        }
    }

    fn discriminant(&mut self) -> Result<i128, SchemaError> {
        let start = self.at;
        let negative = self.eat("-");
        match self.number()? {
            0 if negative => {
                self.at = start;
                Err(self.expected("a number"))
            }
            number if negative => Ok(-i128::from(number)),
            number => Ok(i128::from(number)),
        }
    }

    fn string(&mut self) -> Result<String, SchemaError> {
        self.token("\"")?;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(self.expected("a closing quote"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(string);
                }
                '\\' => {
                    let (length, c) = escaped(rest).ok_or_else(|| self.expected("an escape"))?;
                    self.at += length;
                    string.push(c);
                }
                c if c.is_control() => return Err(self.expected("no control character")),
                c => {
                    self.at += c.len_utf8();
                    string.push(c);
                }
            }
        }
    }

    /// A string that means something: an identity or a compiler.
    fn filled_string(&mut self) -> Result<String, SchemaError> {
        let start = self.at;
        let string = self.string()?;
        if string.is_empty() {
            self.at = start;
            return Err(self.expected("a string that is not empty"));
        }
        Ok(string)
    }

    fn name(&mut self) -> Result<String, SchemaError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            let name = self.string()?;
            if !name.is_empty() && name.bytes().all(is_bare) {
                self.at = start;
                return Err(self.expected("a name without quotes"));
            }
            return Ok(name);
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.expected("a name"));
        }
        Ok(word.to_owned())
    }

    fn leaf(&mut self) -> Result<Leaf, SchemaError> {
        let start = self.at;
        Leaf::from_name(self.word()).ok_or_else(|| {
            self.at = start;
            self.expected("a leaf")
        })
    }

    /// `depth` bounds the recursion, here and in everything that walks the result (S2).
    fn schema(&mut self, depth: usize) -> Result<Schema, SchemaError> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        let identity = if self.rest().starts_with('"') {
            let identity = self.filled_string()?;
            self.token(" ")?;
            identity
        } else {
            String::new()
        };
        let size = self.number()?;
        self.token("/")?;
        let align = self.number()?;
        self.token(" ")?;
        let kind = self.kind(depth)?;
        let schema = Schema { identity, size, align, kind };
        // Parts first, as they are parsed: each node is checked once.
        schema.check_this()?;
        Ok(schema)
    }

    fn kind(&mut self, depth: usize) -> Result<Kind, SchemaError> {
        if self.eat("[") {
            let element = Box::new(self.schema(depth + 1)?);
            let kind = if self.eat("; ") {
                let len = self.number()?;
                Kind::Array { element, len }
            } else {
                Kind::Slice { element }
            };
            self.token("]")?;
            return Ok(kind);
        }
        if self.rest().starts_with('{') {
            return Ok(Kind::Struct { fields: self.fields(depth)? });
        }
        let start = self.at;
        match self.word() {
            "nonzero" => {
                self.token(" ")?;
                Ok(Kind::NonZero(self.leaf()?))
            }
            "enum" => {
                self.token(" ")?;
                let repr = self.leaf()?;
                self.token(" {")?;
                let mut variants = Vec::new();
                loop {
                    let name = self.name()?;
                    self.token(" = ")?;
                    let discriminant = self.discriminant()?;
                    self.token(" ")?;
                    let fields = self.fields(depth)?;
                    variants.push(Variant { name, discriminant, fields });
                    if self.eat("}") {
                        return Ok(Kind::Enum { repr, variants });
                    }
                    self.token(", ")?;
                }
            }
            "option" => {
                let tag = if self.eat(" zero ") {
                    Tag::Zero
                } else {
                    self.token(" by ")?;
                    let compiler = self.filled_string()?;
                    self.token(" ")?;
                    Tag::Compiler(compiler)
                };
                let inner = Box::new(self.schema(depth + 1)?);
                Ok(Kind::Option { inner, tag })
            }
            word => match Leaf::from_name(word) {
                Some(leaf) => Ok(Kind::Leaf(leaf)),
                None => {
                    self.at = start;
                    Err(self.expected("a kind"))
                }
            },
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, SchemaError> {
        self.token("{")?;
        let mut fields = Vec::new();
        if self.eat("}") {
            return Ok(fields);
        }
        loop {
            let name = self.name()?;
            self.token("@")?;
            let offset = self.number()?;
            self.token(" ")?;
            let schema = self.schema(depth + 1)?;
            fields.push(Field { name, offset, schema });
            if self.eat("}") {
                return Ok(fields);
            }
            self.token(", ")?;
        }
    }
}

/// The length of the escape at the start of `rest` and the character it stands for; `None` for one
/// that is not canonical.
fn escaped(rest: &str) -> Option<(usize, char)> {
    let body = rest.strip_prefix('\\')?;
    match body.chars().next()? {
        c @ ('"' | '\\') => Some((2, c)),
        'u' => {
            let (hex, _) = body.strip_prefix("u{")?.split_once('}')?;
            let canonical = hex.len() <= 6
                && (hex == "0" || !hex.starts_with('0'))
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !canonical {
                return None;
            }
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            // `\u{` and `}` around the digits.
            c.is_control().then_some((hex.len() + 4, c))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;

    /// Lays fields out one after the other, as `repr(C)` does, from `start`.
    fn laid_out(schemas: Vec<(String, Schema)>, start: u64) -> (Vec<Field>, u64, u64) {
        let (mut at, mut align) = (start, 1);
        let mut fields = Vec::new();
        for (name, schema) in schemas {
            at = at.next_multiple_of(schema.align);
            let offset = at;
            at += schema.size;
            align = align.max(schema.align);
            fields.push(Field { name, offset, schema });
        }
        (fields, at, align)
    }

    /// Distinct names, some of which need quotes.
    fn named(schemas: Vec<Schema>) -> Vec<(String, Schema)> {
        let name = |index| match index % 4 {
            0 => format!("f{index}"),
            1 => format!("{index}"),
            2 => format!("größe {index}"),
            _ => format!("\"\\\n\u{85}{index}"),
        };
        let names = (0..schemas.len()).map(name);
        names.zip(schemas).collect()
    }

    fn structure(identity: String, schemas: Vec<Schema>) -> Schema {
        let (fields, end, align) = laid_out(named(schemas), 0);
        Schema { identity, size: end.next_multiple_of(align), align, kind: Kind::Struct { fields } }
    }

    fn enumeration(identity: String, bodies: Vec<Vec<Schema>>) -> Schema {
        let (mut size, mut align) = (2, 2);
        let mut variants = Vec::new();
        for (index, body) in bodies.into_iter().enumerate() {
            let (fields, end, fields_align) = laid_out(named(body), 2);
            size = size.max(end);
            align = align.max(fields_align);
            variants.push(Variant { name: format!("V{index}"), discriminant: index as i128 * 7 - 3, fields });
        }
        let kind = Kind::Enum { repr: Leaf::I16, variants };
        Schema { identity, size: size.next_multiple_of(align), align, kind }
    }

    fn identity() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-z]{1,6}::[A-Z]@[1-9]<[a-z]>", "\\PC{0,4}\n?\\\\?\"?"]
    }

    /// Consistent sized schemas.
    fn sized() -> impl Strategy<Value = Schema> {
        let leaf = prop_oneof![
            prop::sample::select(Leaf::ALL).prop_map(|leaf| Schema::leaf(leaf, leaf.size() as usize)),
            Just(Schema::non_zero(Leaf::U32, 4)),
            Just(usize::schema()),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                (inner.clone(), 0usize..4).prop_map(|(element, len)| Schema::array(element, len)),
                (inner.clone(), any::<bool>()).prop_map(|(value, zero)| {
                    let (size, align) = (value.size as usize, value.align as usize);
                    let tag = if zero { Tag::Zero } else { Tag::Compiler(String::from("rustc \"1\"")) };
                    Schema::option(value, size, align, tag)
                }),
                (identity(), prop::collection::vec(inner.clone(), 0..5))
                    .prop_map(|(identity, fields)| structure(identity, fields)),
                (identity(), prop::collection::vec(prop::collection::vec(inner, 0..3), 1..4))
                    .prop_map(|(identity, bodies)| enumeration(identity, bodies)),
            ]
        })
    }

    /// Consistent schemas, some of which end in a slice.
    fn any_schema() -> impl Strategy<Value = Schema> {
        (sized(), sized(), any::<bool>()).prop_map(|(head, element, ends_in_slice)| {
            if !ends_in_slice || element.size == 0 {
                return head;
            }
            let slice = Schema::slice(element);
            let (fields, size, align) = laid_out(named(vec![head, slice]), 0);
            Schema { identity: String::new(), size, align, kind: Kind::Struct { fields } }
        })
    }

    const CASES: u32 = if cfg!(miri) { 4 } else { 512 };

    fn config() -> ProptestConfig {
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_text_is_parsed_back(schema in any_schema()) {
            prop_assert_eq!(schema.check(), Ok(()));
            let text = schema.to_string();
            prop_assert!(!text.contains(char::is_control));
            prop_assert_eq!(Schema::parse(&text), Ok(schema));
        }

        #[test]
        fn a_difference_is_told_exactly_if_there_is_one(a in any_schema(), b in any_schema()) {
            prop_assert_eq!(a.difference(&a), None);
            prop_assert_eq!(a.difference(&b).is_none(), a == b);
            prop_assert_eq!(a.fingerprint() == b.fingerprint(), a == b);
            let _ = a.pretty();
        }

        /// Hostile texts: a real one with a few characters replaced, removed or repeated.
        #[test]
        fn a_mutated_text_is_refused_or_canonical(
            schema in any_schema(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<prop::sample::Index>()), 1..6),
        ) {
            let alphabet: Vec<char> = "{}[]\"\\@/; ,=-0123456789ubyzeron_é\u{7f}\n".chars().collect();
            let mut text: Vec<char> = schema.to_string().chars().collect();
            for (at, edit, what) in edits {
                if text.is_empty() {
                    break;
                }
                let at = at.index(text.len());
                match edit {
                    0 => text[at] = *what.get(&alphabet),
                    1 => { text.remove(at); }
                    2 => text.insert(at, *what.get(&alphabet)),
                    _ => {
                        let other = what.index(text.len());
                        let piece = text[at.min(other)..at.max(other)].to_vec();
                        text.splice(at..at, piece);
                    }
                }
            }
            let text: String = text.into_iter().collect();
            if let Ok(parsed) = Schema::parse(&text) {
                prop_assert_eq!(parsed.to_string(), text);
                prop_assert_eq!(parsed.check(), Ok(()));
                prop_assert_eq!(parsed.difference(&schema).is_none(), parsed == schema);
                let _ = parsed.pretty();
            }
        }

        #[test]
        fn any_text_at_all(text in "\\PC{0,40}") {
            if let Ok(parsed) = Schema::parse(&text) {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_accepted() {
        for text in [
            "",
            " ",
            "4/4",
            "4/4 ",
            "04/4 u32",
            "4/+4 u32",
            "4/4  u32",
            "4/4 u32 ",
            "4/4 U32",
            "\"\" 4/4 u32",
            "\"a\"4/4 u32",
            "\"a 4/4 u32",
            "\"\\u{61}\" 4/4 u32",
            "\"\\u{07}\" 4/4 u32",
            "\"\\u{}\" 4/4 u32",
            "\"\\u{110000}\" 4/4 u32",
            "\"\\n\" 4/4 u32",
            "\"\u{7}\" 4/4 u32",
            "4/4 {\"a\"@0 4/4 u32}",
            "4/4 {a@0 4/4 u32,}",
            "4/4 {a@0 4/4 u32, }",
            "4/4 {a@-0 4/4 u32}",
            "1/1 enum u8 {A = -0 {}}",
            "1/1 enum u8 {}",
            "1/1 enum u8 {A = 0}",
            "4/4 nonzero",
            "4/4 option 4/4 u32",
            "4/4 option by \"\" 4/4 u32",
            "[1/1 u8]",
            "99999999999999999999/1 u8",
            "4/4 {é@0 4/4 u32}",
        ] {
            let error = Schema::parse(text).unwrap_err();
            assert!(matches!(error, SchemaError::Syntax { .. }), "{text}: {error}");
        }
        for text in [
            "\"\\u{7}\\\\\\\"é\" 4/4 u32",
            "4/4 {\"é\"@0 4/4 u32}",
            "4/4 {\"\"@0 4/4 u32}",
            "2/1 enum i8 {A = -1 {}, B = 0 {0@1 1/1 u8}}",
            "0/1 [1/1 u8; 0]",
        ] {
            assert_eq!(Schema::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_layout_that_contradicts_itself_is_refused() {
        for text in [
            "4/3 u32",
            "8/4 u32",
            "4/0 u32",
            "4/8 u32",
            "4/4 nonzero f32",
            "4/4 [4/4 u32; 2]",
            "8/8 [4/4 u32; 2]",
            "4/4 [4/4 u32]",
            "0/4 [0/4 [4/4 u32]]",
            "0/4 [0/4 [4/4 u32]; 0]",
            "0/1 [0/1 {}]",
            "4/4 {a@1 4/4 u32}",
            "4/4 {a@18446744073709551615 4/4 u32}",
            "8/4 {a@0 4/4 u32, b@2 4/4 u32}",
            "8/4 {a@0 4/4 u32, a@4 4/4 u32}",
            "4/4 {a@0 0/4 [4/4 u32], b@0 4/4 u32}",
            "8/4 {a@0 4/4 u32, b@4 0/4 [4/4 u32]}",
            "12/4 {a@0 4/4 u32, b@4 0/4 [4/4 u32]}",
            "1/1 enum u8 {A = 256 {}}",
            "1/1 enum u8 {A = -1 {}}",
            "1/1 enum f32 {A = 0 {}}",
            "1/1 enum u16 {A = 0 {}}",
            "1/1 enum u8 {A = 0 {}, B = 0 {}}",
            "1/1 enum u8 {A = 0 {}, A = 1 {}}",
            "2/1 enum u8 {A = 0 {0@0 1/1 u8}}",
            "2/1 enum u8 {A = 0 {0@2 0/1 [1/1 u8]}}",
            "1/1 option zero 2/2 u16",
            "4/4 option zero 2/2 u16",
            "0/1 option zero 0/1 [1/1 u8]",
            "9223372036854775808/1 [1/1 u8; 9223372036854775808]",
            "0/2147483648 {}",
        ] {
            let error = Schema::parse(text).unwrap_err();
            assert!(matches!(error, SchemaError::Layout { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| {
            let (open, close) = ("0/1 [".repeat(depth - 1), "; 0]".repeat(depth - 1));
            format!("{open}1/1 u8{close}")
        };
        assert!(Schema::parse(&nested(SCHEMA_DEPTH_MAX)).is_ok());
        assert_eq!(Schema::parse(&nested(SCHEMA_DEPTH_MAX + 1)), Err(SchemaError::TooDeep));
        assert_eq!(Schema::parse(&"0/1 [".repeat(10_000)), Err(SchemaError::TooDeep));
        assert_eq!(Schema::parse(&"0/1 {a@0 ".repeat(7_000)), Err(SchemaError::TooDeep));

        let named = |length| format!("\"{}\" 1/1 u8", "x".repeat(length - 9));
        assert!(Schema::parse(&named(SCHEMA_LENGTH_MAX)).is_ok());
        let length = SCHEMA_LENGTH_MAX + 1;
        let too_long = Err(SchemaError::TooLong { length });
        assert_eq!(Schema::parse(&named(length)), too_long);
        let schema = u8::schema().named("x".repeat(length - 9));
        assert_eq!(schema.check(), Err(SchemaError::TooLong { length }));

        let mut deep = u8::schema();
        for _ in 0..SCHEMA_DEPTH_MAX {
            deep = Schema::array(deep, 1);
        }
        assert_eq!(deep.check(), Err(SchemaError::TooDeep));
    }

    /// Written down by other implementations; a change breaks every stored schema.
    #[test]
    fn the_fingerprint_never_changes() {
        // FNV-1a 64 of "4/4 u32", computed elsewhere.
        assert_eq!(u32::schema().fingerprint(), 0xf3d0_e956_c6ca_cba2);
    }

    #[test]
    fn each_kind_of_difference_is_a_sentence() {
        for (here, there, sentence) in [
            ("1/1 u8", "2/2 u16", "the type is u8 here, u16 there"),
            ("\"u8\" 1/1 u8", "1/1 u8", "the type: the identity u8 is declared here only"),
            ("\"a\" 4/4 u32", "\"a\" 4/2 u32", "the type: aligned to 4 here, to 2 there"),
            ("\"a\" 4/4 u32", "\"a\" 4/4 f32", "the type: u32 here, f32 there"),
            ("\"a\" 4/4 {}", "\"a\" 8/4 {}", "the type: 4 bytes here, 8 bytes there"),
            ("\"a\" 4/4 {}", "\"a\" 4/4 [4/4 u32; 1]", "the type: a struct here, an array there"),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "\"a\" 1/1 enum u8 {A = 2 {}}",
                "variant `A`: discriminant 1 here, 2 there",
            ),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "\"a\" 1/1 enum i8 {A = 1 {}}",
                "the type: the discriminant is u8 here, i8 there",
            ),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}, B = 2 {}}",
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "variant `B` here only",
            ),
            (
                "\"a\" 2/1 enum u8 {A = 1 {x@1 1/1 u8}}",
                "\"a\" 2/1 enum u8 {A = 1 {x@1 1/1 i8}}",
                "field `A.x`: u8 at offset 1 here, i8 at offset 1 there",
            ),
            (
                "1/1 option by \"rustc 1\" 1/1 bool",
                "1/1 option by \"rustc 2\" 1/1 bool",
                "the type: `None` is laid out by rustc 1 here, laid out by rustc 2 there",
            ),
            (
                "\"a\" 1/1 {l@0 1/1 [\"b\" 1/1 {x@0 1/1 u8}; 1]}",
                "\"a\" 1/1 {l@0 1/1 [\"b\" 1/1 {x@0 1/1 i8}; 1]}",
                "field `l[].x`: u8 at offset 0 here, i8 at offset 0 there",
            ),
        ] {
            let (here, there) = (Schema::parse(here).unwrap(), Schema::parse(there).unwrap());
            assert_eq!(here.difference(&there).as_deref(), Some(sentence));
        }
    }
}
