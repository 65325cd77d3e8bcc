//! Making schemas part by part, as the derive and `impls.rs` do.
//!
//! Sizes, alignments and offsets come from the compiler that laid the type out; nothing is computed here
//! but what follows from the elements, and nothing is checked (that is `check.rs`).

use super::{Field, Kind, Leaf, Schema, Tag, Variant};

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

impl Field {
    /// A field at `offset` bytes from the start of its struct or enum.
    pub fn new(name: impl Into<String>, offset: usize, schema: Schema) -> Field {
        Field { name: name.into(), offset: offset as u64, schema }
    }
}

impl Variant {
    /// A variant; its fields' offsets count from the start of the enum.
    pub fn new(name: impl Into<String>, discriminant: i128, fields: impl Into<Vec<Field>>) -> Variant {
        Variant { name: name.into(), discriminant, fields: fields.into() }
    }
}
