//! What may be sent: the [`Message`] trait, its derive and the description of a type's layout.
//!
//! A message is read by a process that did not write it, possibly at another address, possibly after
//! its sender has died. So it must be *self-contained*: no pointer, reference or handle of one process,
//! and nothing to do when it is dropped. The compiler checks this; [`derive(Message)`](macro@crate::Message)
//! writes the proof.
//!
//! ```
//! use staffetta::Message;
//!
//! #[derive(Message)]
//! struct Sample {
//!     time_ns: u64,
//!     values: [f32; 3],
//! }
//!
//! // Both ends of a channel compare this before the first message.
//! let here = Sample::schema();
//! assert!(here.identity().ends_with("::Sample@1"));
//! assert_eq!(here.size(), 24);
//! ```
//!
//! A message may end in a slice whose length is chosen when it is built:
//!
//! ```
//! use staffetta::Message;
//!
//! #[derive(Message)]
//! #[repr(C)]
//! struct Frame {
//!     width: u32,
//!     height: u32,
//!     pixels: [u8],
//! }
//!
//! assert_eq!(Frame::length(640 * 480), Some(8 + 640 * 480));
//! assert_eq!(Frame::tail(8 + 640 * 480), Some(640 * 480));
//! assert_eq!(Frame::tail(7), None);
//! ```
//!
//! What cannot mean the same in another process does not compile:
//!
//! ```compile_fail
//! use staffetta::Message;
//!
//! #[derive(Message)]
//! struct Letter {
//!     text: String, // an address in this process's heap
//! }
//! ```
//!
//! # Map
//!
//! | file | what lives there |
//! |---|---|
//! | `mod.rs` | the trait and its contract |
//! | `schema/` | [`Schema`]: a layout as data, as text, as a fingerprint; how two differ |
//! | `fields/` | messages of a type known only at run time: checked, read and written field by field |
//! | `parcel.rs`, `parcel/` | messages built where they will be read; capabilities |
//! | `variable.rs` | places of the domain that messages are copied from and to |
//! | `impls.rs` | the trait for primitives, arrays, slices, tuples, `Option` |
//!
//! This layer does not know how messages travel.

pub(crate) mod bytes;
pub mod fields;
mod impls;
pub(crate) mod number;
pub(crate) mod parcel;
pub mod schema;
pub(crate) mod variable;

#[doc(inline)]
pub use fields::{FieldError, Value};
#[doc(inline)]
pub use schema::{Field, Kind, Leaf, Schema, SchemaError, Tag, Variant, SCHEMA_DEPTH_MAX, SCHEMA_LENGTH_MAX};

/// A type whose values can be handed to another process.
///
/// Do not implement it by hand: [`derive(Message)`](macro@crate::Message) checks every field and
/// records the layout. It is implemented for the integers (with `usize` and `isize`), `f32`, `f64`,
/// `bool`, `char`, `()`, the `NonZero` integers, `Wrapping`, `PhantomData`, and for arrays, tuples
/// (up to 8), `Option`s and slices of messages.
///
/// Messages can be unsized: a slice, or a struct that ends in one. Their **length** in bytes and the
/// number of elements in their **tail** determine each other; a sized message has the tail 0.
///
/// ```
/// use staffetta::Message;
///
/// fn describe<M: Message + ?Sized>() -> String {
///     M::schema().to_string()
/// }
/// assert_eq!(describe::<u32>(), "4/4 u32");
/// assert_eq!(describe::<[u16]>(), "0/2 [2/2 u16]");
/// ```
///
/// # Safety
///
/// Receivers trust the following of every implementation.
///
/// - **M1, self-contained.** A value consists of its bytes: no part is an address, a descriptor or
///   any other thing that means something in one process only, and no part has interior mutability
///   that relies on one process's threads.
/// - **M2, no drop glue.** `needs_drop::<Self>()` is false. A message in flight may be swept by a
///   process that does not know its type.
/// - **M3, zero.** If [`ZERO_VALID`](Self::ZERO_VALID) is true, memory full of zero bytes of any
///   length the type can have is a valid value.
/// - **M4, layout.** [`ALIGN`](Self::ALIGN) is the alignment of every value. [`length`](Self::length)
///   rounded up to `ALIGN` is the size of a value with that tail, is at most `isize::MAX`, and
///   [`tail`](Self::tail) is its exact inverse: `tail(n) == Some(t)` if and only if
///   `length(t) == Some(n)`. Neither panics.
/// - **M5, schema.** [`schema`](Self::schema) tells the truth: a peer whose type has an equal schema
///   may read this type's bytes as its own type, and the other way round.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent between processes",
    label = "not a `Message`",
    note = "a message must mean the same in every process: an address in this process's private memory (a reference, `Vec`, `String`, `Box`, `Rc`), a lock or a file descriptor does not",
    note = "instead of a pointer, use a fixed array `[T; N]`, a struct that ends in a slice `[T]`, a `Parcel`, or an index",
    note = "for a type of your own, add `#[derive(staffetta::Message)]`"
)]
// Declaring the contract is not relying on it: unsafe code stands in `impls.rs` and in derived code.
#[allow(unsafe_code)]
pub unsafe trait Message: Send + 'static {
    /// Whether memory full of zero bytes is a valid value, in the tail as well. If so a message can
    /// be made from fresh memory without being written.
    const ZERO_VALID: bool;

    /// The alignment of a value, in bytes.
    const ALIGN: usize;

    /// Whether `Option<Self>` is guaranteed to have the size of `Self` and to spell `None` as zeroes.
    #[doc(hidden)]
    const NONE_IS_ZERO: bool = false;

    /// The layout of this type in this build, with its identity.
    fn schema() -> Schema;

    /// The identity alone, as [`schema`](Self::schema)`().`[`identity`](Schema::identity)`()` gives it.
    fn identity() -> String {
        Self::schema().identity().into_owned()
    }

    /// The length in bytes of a message with `tail` elements in its trailing slice, *not* rounded up to
    /// the alignment, so that [`tail`](Self::tail) can invert it.
    ///
    /// `None` if such a message, rounded up, would be longer than `isize::MAX`, and for a sized type
    /// unless `tail` is 0.
    fn length(tail: usize) -> Option<usize>;

    /// The number of elements in the trailing slice of a message of `length` bytes.
    ///
    /// `None` if no message of this type has that length. The length may come from a peer: any value
    /// is allowed.
    fn tail(length: usize) -> Option<usize>;

    /// The typed pointer to a message with `tail` elements at `data`; keeps `data`'s address and
    /// provenance.
    ///
    /// # Safety
    ///
    /// `data` is aligned to [`ALIGN`](Self::ALIGN), and points to one allocation of at least
    /// [`length`](Self::length)`(tail)` bytes rounded up to `ALIGN`; that length is not `None`. The
    /// bytes need not be initialised: this makes a pointer and reads nothing.
    unsafe fn from_raw_parts(data: *mut u8, tail: usize) -> *mut Self;
}

/// What generated code calls. Not a public interface: it changes with the derive.
#[doc(hidden)]
pub mod derive_support {
    use core::fmt::Debug;

    use super::{Message, Schema};

    /// What a derived implementation needs to know of a field's type.
    pub struct Part {
        /// [`Message::ZERO_VALID`]
        pub zero_valid: bool,
        /// [`Message::schema`]
        pub schema: fn() -> Schema,
    }

    /// The facts about `M`.
    pub const fn part<M: Message + ?Sized>() -> Part {
        Part { zero_valid: M::ZERO_VALID, schema: M::schema }
    }

    /// The declared identity: path, version, generic arguments.
    pub fn identity(path: &str, version: u32, arguments: &[String]) -> String {
        let mut text = format!("{path}@{version}");
        if !arguments.is_empty() {
            text.push('<');
            text.push_str(&arguments.join(", "));
            text.push('>');
        }
        text
    }

    /// A const generic argument (an integer, a `bool` or a `char`) as it stands in an identity.
    pub fn argument(value: impl Debug) -> String {
        format!("{value:?}")
    }

    /// [`Message::length`](super::Message::length) for `offset` bytes followed by elements of
    /// `element` bytes.
    pub const fn length(offset: usize, element: usize, align: usize, tail: usize) -> Option<usize> {
        let Some(slice) = element.checked_mul(tail) else {
            return None;
        };
        let Some(length) = offset.checked_add(slice) else {
            return None;
        };
        // The largest length that can still be rounded up: `align` is a power of two, and
        // isize::MAX is one less than one.
        if length > isize::MAX as usize - (align - 1) {
            return None;
        }
        Some(length)
    }

    /// [`Message::tail`](super::Message::tail): the inverse of [`length`].
    pub const fn tail(offset: usize, element: usize, align: usize, length: usize) -> Option<usize> {
        let Some(slice) = length.checked_sub(offset) else {
            return None;
        };
        if length > isize::MAX as usize - (align - 1) {
            return None;
        }
        // Zero-sized elements are refused at compile time; `None` here spares a panic path.
        if element == 0 || slice % element != 0 {
            return None;
        }
        Some(slice / element)
    }

    /// [`Message::length`](super::Message::length) of a sized type.
    pub const fn length_sized(size: usize, tail: usize) -> Option<usize> {
        if tail == 0 {
            Some(size)
        } else {
            None
        }
    }

    /// [`Message::tail`](super::Message::tail) of a sized type.
    pub const fn tail_sized(size: usize, length: usize) -> Option<usize> {
        if length == size {
            Some(0)
        } else {
            None
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lengths_and_tails_are_inverse_up_to_the_last_one() {
            let max = isize::MAX as usize;
            for (offset, element, align) in [(0, 1, 1), (8, 1, 4), (5, 3, 1), (24, 16, 16)] {
                let last = (max - (align - 1) - offset) / element;
                for t in [0, 1, 2, 1000, last - 1, last] {
                    let n = length(offset, element, align, t).unwrap();
                    assert_eq!(tail(offset, element, align, n), Some(t));
                    assert!(n.next_multiple_of(align) <= max);
                }
                for t in [last + 1, usize::MAX] {
                    assert_eq!(length(offset, element, align, t), None);
                }
                for n in [max + 1, usize::MAX] {
                    assert_eq!(tail(offset, element, align, n), None);
                }
            }
            assert_eq!(tail(8, 4, 4, 7), None);
            assert_eq!(tail(8, 4, 4, 10), None);
            assert_eq!(tail(8, 0, 4, 8), None);
            assert_eq!(length_sized(4, 1), None);
            assert_eq!(tail_sized(4, 5), None);
        }

        #[test]
        fn an_identity_names_version_and_arguments() {
            assert_eq!(identity("a::B", 1, &[]), "a::B@1");
            let arguments = [String::from("u8"), argument('x'), argument(4)];
            assert_eq!(identity("a::B", 2, &arguments), "a::B@2<u8, 'x', 4>");
        }
    }
}
