//! Leaves: the types without parts, their names and sizes.
//!
//! One list names each of them once. Alignment is not here: it differs between machines, so that every
//! schema states its own.

use std::fmt;

macro_rules! leaf {
    ($($(#[$doc:meta])* $variant:ident $name:literal $size:literal)*) => {
        /// A type without parts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Leaf {
            $($(#[$doc])* $variant,)*
        }

        impl Leaf {
            #[cfg(test)]
            pub(super) const ALL: &'static [Leaf] = &[$(Leaf::$variant),*];

            /// The name in the text of a schema, and in Rust.
            pub const fn name(self) -> &'static str {
                match self { $(Leaf::$variant => $name,)* }
            }

            /// The size in bytes.
            pub const fn size(self) -> u64 {
                match self { $(Leaf::$variant => $size,)* }
            }

            pub(super) fn from_name(name: &str) -> Option<Leaf> {
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
    pub(super) fn discriminants(self) -> Option<(i128, i128)> {
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
