//! Whether a layout contradicts itself: **S1**, node by node.
//!
//! What is checked can be laid out by *some* compiler, not that this one does so. Whether two layouts are the
//! same is `difference.rs`'s question.

use super::{Field, Kind, Schema, SchemaError, Tag, Variant, SCHEMA_DEPTH_MAX, SCHEMA_LENGTH_MAX};

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
    pub(super) fn check_this(&self) -> Result<(), SchemaError> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
