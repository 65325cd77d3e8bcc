//! `#[derive(Message)]` for Staffetta: proves that a type is self-contained and records its layout.
//!
//! Use it through the `staffetta` crate, which re-exports it.
//!
//! | file | what lives there |
//! |---|---|
//! | `lib.rs` | the entry point and its manual |
//! | `attributes.rs` | `#[message(..)]` and `#[repr(..)]`, read and checked |
//! | `refusals.rs` | the field types that can never be sent, and what to say about them |
//! | `expand.rs` | the generated code |
//!
//! What the derive cannot see, it leaves to the compiler: it knows only how a type is *spelled*, so
//! refusals by name are for better messages, and the proof is the bound `FieldType: Message`.

mod attributes;
mod expand;
mod refusals;

use proc_macro::TokenStream;

/// Makes a type a message: something that another process can read where it lies.
///
/// ```
/// use staffetta::Message;
///
/// #[derive(Message)]
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// #[derive(Message)]
/// #[repr(u8)]
/// enum Shape {
///     Nothing = 0,
///     Circle { centre: Point, radius: f32 },
///     Line([Point; 2]),
/// }
///
/// // All zeroes is `Shape::Nothing`.
/// const { assert!(Shape::ZERO_VALID) }
/// ```
///
/// # What can be derived
///
/// - **Structs** with named fields, tuple structs and unit structs, with any `repr`: the real offsets
///   are recorded, so both ends find out if they differ.
/// - **Structs that end in a slice** `[T]`: these need `#[repr(C)]`, because a receiver computes where
///   the slice lies from the message's length.
/// - **Enums** with `#[repr(u8)]` or another fixed-width integer up to 64 bits (also
///   `#[repr(C, u8)]`), with or without fields.
/// - **Generic** types: each type parameter gets the bound `Message`. Lifetimes are refused: a message
///   cannot borrow from one process's memory.
///
/// Every field must be a `Message`, and the type must not have drop glue.
///
/// # Attributes
///
/// | attribute | meaning |
/// |---|---|
/// | `#[message(id = "com.acme.Frame")]` | the identity to agree on instead of the module's path and the name: for types that move, or that several programs declare |
/// | `#[message(version = 2)]` | the version in the identity (default 1): raise it when the meaning changes and the layout does not |
/// | `#[message(crate = "path")]` | where `staffetta` is found, for crates that re-export it |
///
/// The path is that of the module: two types of one name inside two functions of one module need an
/// `id` each.
///
/// ```
/// use staffetta::Message;
///
/// #[derive(Message)]
/// #[message(id = "com.acme.Pair", version = 2)]
/// struct Pair<T> {
///     left: T,
///     right: T,
/// }
///
/// assert_eq!(<Pair<u8>>::schema().identity(), "com.acme.Pair@2<u8>");
/// ```
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::message(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
