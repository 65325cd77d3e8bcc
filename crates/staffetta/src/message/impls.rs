//! `Message` for the types of the language and the core library.
//!
//! What is *not* here, and why: `MaybeUninit` (its bytes may be uninitialised, and reading them in
//! another process would be a leak or worse), unions, atomics and cells (a message has one holder; it
//! is not shared), pointers and references, `Duration`, `Ipv4Addr` and the like (their layout is no
//! promise of the standard library: wrap the integer they convert to).
//!
//! Invariants that the SAFETY comments cite; M1 to M5 are the trait's contract.
//!
//! - **I1** Integers, floats, `bool`, `char` and `NonZero` own no resource and hold no address.
//! - **I2** An array, slice, tuple, `Option` or `Wrapping` of `T: Message` consists of nothing but
//!   values of `T` (an `Option` also of a tag), so M1 and M2 follow from those of `T`.
//! - **I3** A sized type's layout is what `size_of`, `align_of` and `offset_of!` say in this build.

// Implementing the unsafe trait is this file's whole purpose; nothing else in it is unsafe.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::mem::{align_of, offset_of, size_of};
use core::num::{NonZero, Wrapping};

use super::derive_support::{length, length_sized, tail, tail_sized};
use super::{Field, Leaf, Message, Schema, Tag};

/// The version of the compiler, which alone decides where an `Option` keeps its tag.
const COMPILER: &str = env!("STAFFETTA_RUSTC_VERSION");

/// The part of an implementation that all sized types share.
macro_rules! sized {
    () => {
        const ALIGN: usize = align_of::<Self>();

        fn length(tail: usize) -> Option<usize> {
            length_sized(size_of::<Self>(), tail)
        }

        fn tail(length: usize) -> Option<usize> {
            tail_sized(size_of::<Self>(), length)
        }

        unsafe fn from_raw_parts(data: *mut u8, _tail: usize) -> *mut Self {
            data.cast()
        }
    };
}

macro_rules! leaves {
    ($($type:ident $leaf:ident),* $(,)?) => {$(
        // SAFETY: M1, M2 by I1; M3: zero is a value of each of these types; M4 and M5 by I3.
        unsafe impl Message for $type {
            const ZERO_VALID: bool = true;
            sized!();

            fn schema() -> Schema {
                Schema::leaf(Leaf::$leaf, align_of::<Self>())
            }
        }
    )*};
}

leaves! {
    u8 U8, u16 U16, u32 U32, u64 U64, u128 U128,
    i8 I8, i16 I16, i32 I32, i64 I64, i128 I128,
    f32 F32, f64 F64, bool Bool, char Char,
}

macro_rules! non_zeroes {
    ($($type:ident $leaf:ident),* $(,)?) => {$(
        // SAFETY: M1, M2 by I1; M3: zero is not claimed to be valid; M4 and M5 by I3. The standard
        // library guarantees that `Option<NonZero<_>>` is `None` when all bytes are zero.
        unsafe impl Message for NonZero<$type> {
            const ZERO_VALID: bool = false;
            const NONE_IS_ZERO: bool = true;
            sized!();

            fn schema() -> Schema {
                Schema::non_zero(Leaf::$leaf, align_of::<Self>())
            }
        }
    )*};
}

non_zeroes! {
    u8 U8, u16 U16, u32 U32, u64 U64, u128 U128,
    i8 I8, i16 I16, i32 I32, i64 I64, i128 I128,
}

#[cfg(target_pointer_width = "64")]
const USIZE: (Leaf, Leaf) = (Leaf::U64, Leaf::I64);
#[cfg(target_pointer_width = "32")]
const USIZE: (Leaf, Leaf) = (Leaf::U32, Leaf::I32);

macro_rules! sizes {
    ($($type:ident $leaf:expr),*) => {$(
        // SAFETY: M1, M2 by I1; M3: zero is a value; M4 by I3; M5: as wide as the leaf, checked by the
        // schema's size, and named, so that it is not taken for a fixed-width integer.
        unsafe impl Message for $type {
            const ZERO_VALID: bool = true;
            sized!();

            fn schema() -> Schema {
                Schema::leaf($leaf, align_of::<Self>()).named(stringify!($type))
            }
        }

        // SAFETY: as above, and zero is not claimed to be valid.
        unsafe impl Message for NonZero<$type> {
            const ZERO_VALID: bool = false;
            const NONE_IS_ZERO: bool = true;
            sized!();

            fn schema() -> Schema {
                Schema::non_zero($leaf, align_of::<Self>())
                    .named(concat!("NonZero<", stringify!($type), ">"))
            }
        }
    )*};
}

sizes!(usize USIZE.0, isize USIZE.1);

// SAFETY: no bytes at all, so M1 to M3 hold; M4 and M5 by I3. What `T` is does not enter the schema:
// anyone can write a `PhantomData`, so it protects nothing.
unsafe impl<T: ?Sized + Send + 'static> Message for PhantomData<T> {
    const ZERO_VALID: bool = true;
    sized!();

    fn schema() -> Schema {
        Schema::structure("PhantomData", 0, 1, [])
    }
}

// SAFETY: M1 and M2 by I2; M3: `Wrapping` is transparent; M4 and M5 by I3.
unsafe impl<T: Message> Message for Wrapping<T> {
    const ZERO_VALID: bool = T::ZERO_VALID;
    sized!();

    fn schema() -> Schema {
        Schema::structure(
            Self::identity(),
            size_of::<Self>(),
            align_of::<Self>(),
            [Field::new("0", offset_of!(Self, 0), T::schema())],
        )
    }

    fn identity() -> String {
        format!("Wrapping<{}>", T::identity())
    }
}

// SAFETY: M1 and M2 by I2; M3: zeroes are an array of zeroes; M4 and M5 by I3.
unsafe impl<T: Message, const N: usize> Message for [T; N] {
    const ZERO_VALID: bool = N == 0 || T::ZERO_VALID;
    sized!();

    fn schema() -> Schema {
        Schema::array(T::schema(), N)
    }
}

// SAFETY: M1 and M2 by I2; M3: zeroes are a slice of zeroes; M4: a slice is its elements, one after
// the other; M5 from that of `T`.
unsafe impl<T: Message> Message for [T] {
    const ZERO_VALID: bool = T::ZERO_VALID;

    const ALIGN: usize = {
        assert!(
            size_of::<T>() != 0,
            "a slice of zero-sized elements cannot be sent: its length in bytes does not tell how many there are"
        );
        align_of::<T>()
    };

    fn schema() -> Schema {
        Schema::slice(T::schema())
    }

    fn length(tail: usize) -> Option<usize> {
        length(0, size_of::<T>(), Self::ALIGN, tail)
    }

    fn tail(length: usize) -> Option<usize> {
        tail(0, size_of::<T>(), Self::ALIGN, length)
    }

    unsafe fn from_raw_parts(data: *mut u8, tail: usize) -> *mut Self {
        core::ptr::slice_from_raw_parts_mut(data.cast::<T>(), tail)
    }
}

// SAFETY: M1 and M2 by I2; M3: zero is claimed only where the standard library guarantees that it is
// `None`; M4 by I3; M5: where the tag's place is the compiler's choice, the schema names the compiler.
unsafe impl<T: Message> Message for Option<T> {
    const ZERO_VALID: bool = T::NONE_IS_ZERO;
    sized!();

    fn schema() -> Schema {
        let tag = if T::NONE_IS_ZERO { Tag::Zero } else { Tag::Compiler(COMPILER.to_owned()) };
        Schema::option(T::schema(), size_of::<Self>(), align_of::<Self>(), tag)
    }
}

macro_rules! tuples {
    ($(($($type:ident $index:tt),*))*) => {$(
        // SAFETY: M1 and M2 by I2; M3: zeroes are a tuple of zeroes; M4 and M5 by I3.
        unsafe impl<$($type: Message),*> Message for ($($type,)*) {
            const ZERO_VALID: bool = true $(&& $type::ZERO_VALID)*;
            sized!();

            fn schema() -> Schema {
                Schema::structure(
                    "",
                    size_of::<Self>(),
                    align_of::<Self>(),
                    [$(Field::new(stringify!($index), offset_of!(Self, $index), $type::schema())),*],
                )
            }
        }
    )*};
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<M: Message + ?Sized>() -> String {
        let schema = M::schema();
        schema.check().unwrap();
        let text = schema.to_string();
        assert_eq!(Schema::parse(&text).as_ref(), Ok(&schema));
        assert_eq!(M::identity(), schema.identity());
        text
    }

    #[test]
    fn the_text_of_every_kind() {
        assert_eq!(text::<u8>(), "1/1 u8");
        assert_eq!(text::<i128>(), format!("16/{} i128", align_of::<i128>()));
        assert_eq!(text::<char>(), "4/4 char");
        assert_eq!(text::<()>(), "0/1 {}");
        assert_eq!(text::<(u16,)>(), "2/2 {0@0 2/2 u16}");
        assert_eq!(text::<[f32; 3]>(), "12/4 [4/4 f32; 3]");
        assert_eq!(text::<[[u8; 2]]>(), "0/1 [2/1 [1/1 u8; 2]]");
        assert_eq!(text::<NonZero<u32>>(), "4/4 nonzero u32");
        assert_eq!(text::<Option<NonZero<u32>>>(), "4/4 option zero 4/4 nonzero u32");
        assert_eq!(text::<Option<bool>>(), format!("1/1 option by \"{COMPILER}\" 1/1 bool"));
        assert_eq!(text::<PhantomData<String>>(), "\"PhantomData\" 0/1 {}");
        assert_eq!(text::<Wrapping<u8>>(), "\"Wrapping<u8>\" 1/1 {0@0 1/1 u8}");
        #[cfg(target_pointer_width = "64")]
        assert_eq!(text::<usize>(), "\"usize\" 8/8 u64");
        #[cfg(target_pointer_width = "64")]
        assert_eq!(text::<NonZero<isize>>(), "\"NonZero<isize>\" 8/8 nonzero i64");
    }

    #[test]
    fn real_offsets_of_a_tuple() {
        // The compiler may reorder a tuple; the schema says what it did.
        type T = (u8, u64, u16);
        let schema = T::schema();
        let offsets: Vec<u64> = schema.fields().iter().map(Field::offset).collect();
        let real = [offset_of!(T, 0), offset_of!(T, 1), offset_of!(T, 2)];
        assert_eq!(offsets, real.map(|offset| offset as u64));
        text::<T>();
        text::<(u8, u16, u32, u64, i8, i16, i32, (bool, Option<char>))>();
    }

    #[test]
    fn zero_is_valid_only_where_it_is() {
        const {
            assert!(u64::ZERO_VALID && bool::ZERO_VALID && char::ZERO_VALID);
            assert!(!<NonZero<u8>>::ZERO_VALID && !<[NonZero<u8>; 2]>::ZERO_VALID);
            assert!(<[NonZero<u8>; 0]>::ZERO_VALID);
            assert!(!<(u8, NonZero<u8>)>::ZERO_VALID);
            assert!(<Option<NonZero<i64>>>::ZERO_VALID && !<Option<u8>>::ZERO_VALID);
            assert!(<[u8]>::ZERO_VALID);
        }
    }

    #[test]
    fn a_slice_from_raw_parts() {
        let mut words = [1u32, 2, 3];
        let tail = <[u32]>::tail(12).unwrap();
        // SAFETY: `words` is 3 aligned elements, and `tail` is 3.
        let slice = unsafe { &mut *<[u32]>::from_raw_parts(words.as_mut_ptr().cast(), tail) };
        slice[2] = 7;
        assert_eq!(words, [1, 2, 7]);
        assert_eq!(<[u32]>::tail(13), None);
        assert_eq!(<[u32]>::length(usize::MAX), None);
        assert_eq!(u32::length(1), None);
        assert_eq!(u32::tail(4), Some(0));
        let mut word = 5u32;
        // SAFETY: one aligned u32.
        let same = unsafe { *u32::from_raw_parts((&raw mut word).cast(), 0) };
        assert_eq!(same, 5);
    }

    #[derive(crate::Message)]
    #[repr(C)]
    struct Frame {
        width: u32,
        tag: u8,
        pixels: [u16],
    }

    #[test]
    fn a_struct_with_a_tail_from_raw_parts() {
        // width 7, tag 9, one byte of padding, then the pixels 1, 2 and 3, and two more bytes up to
        // the alignment.
        let mut memory = [7u32.to_ne_bytes(), [9, 0, 1, 1], [2, 2, 3, 3], [0, 0, 0, 0]];
        let tail = Frame::tail(12).unwrap();
        assert_eq!((tail, Frame::ALIGN, Frame::length(4)), (3, 4, Some(14)));
        let mut aligned = memory.map(u32::from_ne_bytes);
        // SAFETY: `aligned` is 16 bytes, aligned to 4; a frame with 4 pixels takes all of them.
        let frame = unsafe { &mut *Frame::from_raw_parts(aligned.as_mut_ptr().cast(), 4) };
        assert_eq!(size_of_val(frame), 16);
        assert_eq!((frame.width, frame.tag), (7, 9));
        assert_eq!(frame.pixels, [0x0101, 0x0202, 0x0303, 0]);
        frame.pixels[3] = 0x0404;
        memory[3] = [4, 4, 0, 0];
        assert_eq!(aligned, memory.map(u32::from_ne_bytes));
    }

    #[derive(crate::Message, Debug, PartialEq)]
    #[repr(u8)]
    enum Shape {
        Nothing,
        Circle { radius: u32 },
        Line(u8, u16) = 9,
    }

    #[test]
    fn an_enum_read_as_its_schema_says() {
        let mut memory = [0u32; 2];
        let shape: *mut Shape = {
            // SAFETY: 8 bytes, aligned to 4, are the enum's size and alignment.
            unsafe { Shape::from_raw_parts(memory.as_mut_ptr().cast(), 0) }
        };
        // SAFETY: M3: zero is valid.
        assert_eq!(unsafe { shape.read() }, Shape::Nothing);
        let schema = Shape::schema();
        let crate::message::Kind::Enum { variants, .. } = schema.kind() else { panic!("{schema}") };
        let line = &variants[2];
        let mut bytes = [0u8; 8];
        bytes[0] = line.discriminant() as u8;
        bytes[line.fields()[0].offset() as usize] = 5;
        let at = line.fields()[1].offset() as usize;
        bytes[at..at + 2].copy_from_slice(&6u16.to_ne_bytes());
        // SAFETY: M5: these are the bytes of a `Line`; a byte array has no alignment to keep.
        let read = unsafe { bytes.as_ptr().cast::<Shape>().read_unaligned() };
        assert_eq!(read, Shape::Line(5, 6));
        assert_ne!(read, Shape::Circle { radius: 0 });
    }
}
