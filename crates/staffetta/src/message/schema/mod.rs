//! A type's layout as data: built by the derive, stored in the domain as one line of text, compared
//! between builds, languages and versions.
//!
//! A schema is *identity* (which type is meant) and *layout* (where its parts lie). Both ends of a
//! channel must agree on both: equal layout alone would let a type with an invariant be forged from
//! one without.
//!
//! # The text
//!
//! One line, one spelling per schema. [`Schema::parse`] accepts exactly what [`Display`](std::fmt::Display)
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
//!
//! # Map
//!
//! | file | what lives there |
//! |---|---|
//! | `mod.rs` | what a schema consists of, and the invariants |
//! | `leaf.rs` | the types without parts |
//! | `construct.rs` | making a schema |
//! | `identity.rs` | which type is meant |
//! | `check.rs` | S1: whether a layout contradicts itself |
//! | `text.rs`, `parse.rs` | the text: written, with its fingerprint; read |
//! | `difference.rs` | how two schemas differ |
//! | `pretty.rs` | the layout for people |
//! | `error.rs` | why a text or a layout is refused |
//! | `arbitrary.rs` | random schemas for the property tests |
//!
//! A schema is plain data: nothing here reads a message, nor knows of domains and channels. The store of
//! texts in the domain is `channel/attach.rs`.

#[cfg(test)]
pub(crate) mod arbitrary;
mod check;
mod construct;
mod difference;
mod error;
mod identity;
mod leaf;
mod parse;
mod pretty;
mod text;

pub use error::SchemaError;
pub use leaf::Leaf;

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

/// Reading.
impl Schema {
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
}

impl Field {
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
