//! The derive, seen from a user's crate with strict lints.
#![forbid(unsafe_code)]
#![deny(missing_docs, warnings, clippy::all, clippy::undocumented_unsafe_blocks)]
// Most types are here for their layout only.
#![allow(dead_code)]

use std::marker::PhantomData;
use std::num::NonZero;

use staffetta::message::{Field, Kind, Leaf, Schema};
use staffetta::Message;

fn checked<M: Message + ?Sized>() -> Schema {
    let schema = M::schema();
    schema.check().unwrap();
    assert_eq!(Schema::parse(&schema.to_string()).as_ref(), Ok(&schema));
    assert_eq!(M::identity(), schema.identity());
    assert_eq!(schema.align(), M::ALIGN as u64);
    assert_eq!(schema.difference(&schema), None);
    let smallest = M::length(0).unwrap();
    assert_eq!(schema.size(), smallest as u64);
    assert_eq!(M::tail(smallest), Some(0));
    assert_eq!(schema.is_sized(), M::length(1).is_none());
    schema
}

fn offsets(fields: &[Field]) -> Vec<(&str, u64)> {
    fields.iter().map(|f| (f.name(), f.offset())).collect()
}

/// Public, with private parts.
#[derive(Message)]
#[repr(C)]
pub struct Point {
    x: f32,
    r#type: u8,
    z: f64,
}

#[derive(Message)]
struct Unit;

#[derive(Message)]
struct Unordered(u8, u64, u16);

#[derive(Message, Clone, Copy)]
struct Pair<T, const N: usize = 2>
where
    T: Copy,
{
    left: [T; N],
    right: T,
}

#[derive(Message)]
#[repr(C, packed)]
struct Packed {
    a: u8,
    b: u64,
}

#[derive(Message)]
#[repr(C)]
struct Frame {
    width: u32,
    height: u32,
    pixels: [u8],
}

#[derive(Message)]
#[repr(C)]
struct Samples<T: Copy> {
    kind: u8,
    values: [T],
}

#[derive(Message)]
#[repr(transparent)]
struct Bytes([u8]);

#[derive(Message)]
#[repr(C, align(64))]
struct Wide(u8, [u16]);

#[derive(Message)]
#[repr(i8)]
enum Level {
    Low = -1,
    Middle,
    High = LEVEL_HIGH,
}

const LEVEL_HIGH: i8 = 1 + 9;

#[derive(Message)]
#[repr(u16)]
enum Shape<T> {
    Nothing,
    Circle { centre: (f32, f32), radius: f64 } = 7,
    Line(T, u8),
}

#[derive(Message)]
#[repr(C, u8)]
enum Separate {
    A(u8),
    B(u64),
}

#[derive(Message)]
#[repr(u8)]
enum NeverZero {
    A(NonZero<u8>),
    B,
}

#[derive(Message)]
#[message(id = "com.acme.Meters", version = 3)]
struct Meters<U>(f64, PhantomData<U>);

#[derive(Message)]
#[message(crate = "staffetta")]
struct Everything {
    pair: Pair<u8>,
    shape: Shape<Level>,
    maybe: Option<NonZero<u32>>,
    perhaps: Option<char>,
    length: Meters<Unit>,
    marker: PhantomData<fn() -> String>,
    words: [[usize; 2]; 3],
    me: PhantomData<Everything>,
}

#[derive(Message)]
struct Itself {
    me: PhantomData<Self>,
    bytes: [u8; Self::LEN],
}

impl Itself {
    const LEN: usize = 3;
}

#[derive(Message)]
#[repr(u8)]
enum ItselfToo<T> {
    A(PhantomData<Self>, T) = ItselfToo::<u8>::FIRST,
}

impl<T> ItselfToo<T> {
    const FIRST: u8 = 2;
}

/// Through a macro, where types come in invisible groups and `$crate` is not ours.
macro_rules! declare {
    ($name:ident, $type:ty) => {
        #[derive(Message)]
        #[repr(C)]
        struct $name {
            head: $type,
            tail: [$type],
        }
    };
}
declare!(Declared, (u8, u16));

/// Names that only look like the standard library's.
mod own {
    #[derive(staffetta::Message)]
    pub struct Cell(u8);
    #[derive(staffetta::Message)]
    pub struct Sheet([Cell; 4]);
}

#[test]
fn unusual_spellings() {
    assert_eq!(checked::<Itself>().size(), 3);
    assert_eq!(variants(&checked::<ItselfToo<u16>>())[0].discriminant(), 2);
    assert_eq!(checked::<Declared>().fields().len(), 2);
    assert_eq!(checked::<own::Sheet>().size(), 4);
}

#[test]
fn structs_record_the_real_offsets() {
    let schema = checked::<Point>();
    assert_eq!(schema.identity(), "message_derive::Point@1");
    assert_eq!(offsets(schema.fields()), [("x", 0), ("type", 4), ("z", 8)]);

    let schema = checked::<Unordered>();
    let real = [
        std::mem::offset_of!(Unordered, 0) as u64,
        std::mem::offset_of!(Unordered, 1) as u64,
        std::mem::offset_of!(Unordered, 2) as u64,
    ];
    assert_eq!(offsets(schema.fields()), [("0", real[0]), ("1", real[1]), ("2", real[2])]);

    assert_eq!(checked::<Unit>().size(), 0);
    assert_eq!(checked::<Packed>().to_string(), "\"message_derive::Packed@1\" 9/1 {a@0 1/1 u8, b@1 8/8 u64}");
    checked::<Everything>();
}

#[test]
fn identities_name_arguments_and_versions() {
    assert_eq!(checked::<Pair<u8>>().identity(), "message_derive::Pair@1<u8, 2>");
    assert_eq!(checked::<Pair<[u8; 2], 4>>().identity(), "message_derive::Pair@1<[u8; 2], 4>");
    assert_eq!(checked::<Meters<Unit>>().identity(), "com.acme.Meters@3<message_derive::Unit@1>");
    // The same bytes mean another thing.
    assert_ne!(checked::<Meters<u8>>().fingerprint(), checked::<Meters<u16>>().fingerprint());
}

#[test]
fn tails_and_lengths() {
    let schema = checked::<Frame>();
    assert_eq!(offsets(schema.fields()), [("width", 0), ("height", 4), ("pixels", 8)]);
    assert_eq!(schema.tail().unwrap().kind(), &Kind::Leaf(Leaf::U8));
    assert_eq!((Frame::ALIGN, Frame::length(5), Frame::tail(13)), (4, Some(13), Some(5)));
    assert_eq!((Frame::tail(7), Frame::length(usize::MAX)), (None, None));
    assert_eq!(Frame::length(isize::MAX as usize - 8), None);
    assert_eq!(Frame::length(isize::MAX as usize - 11), Some(isize::MAX as usize - 3));

    let schema = checked::<Samples<u64>>();
    assert_eq!(offsets(schema.fields()), [("kind", 0), ("values", 8)]);
    assert_eq!(<Samples<u64>>::tail(12), None);
    assert_eq!(<Samples<(u8, u8)>>::length(3), Some(7));
    checked::<Bytes>();
    let schema = checked::<Wide>();
    assert_eq!((Wide::ALIGN, Wide::length(2), schema.size()), (64, Some(6), 2));
    checked::<[Pair<u8>]>();
}

fn variants(schema: &Schema) -> &[staffetta::message::Variant] {
    match schema.kind() {
        Kind::Enum { variants, .. } => variants,
        kind => panic!("{kind:?} is no enum"),
    }
}

#[test]
fn enums_record_discriminants_and_payloads() {
    let schema = checked::<Level>();
    let values: Vec<_> = variants(&schema).iter().map(|v| (v.name(), v.discriminant())).collect();
    assert_eq!(values, [("Low", -1), ("Middle", 0), ("High", 10)]);

    let schema = checked::<Shape<u32>>();
    let [_, circle, line] = variants(&schema) else { panic!() };
    assert_eq!((circle.discriminant(), line.discriminant()), (7, 8));
    assert_eq!(offsets(circle.fields()), [("centre", 4), ("radius", 16)]);
    assert_eq!(offsets(line.fields()), [("0", 4), ("1", 8)]);
    // The compiler agrees, as far as safe code can look.
    let shape = Shape::Line(5u32, 6);
    let Shape::Line(a, b) = &shape else { panic!() };
    let base = &raw const shape as usize;
    let real = (&raw const *a as usize - base, &raw const *b as usize - base);
    assert_eq!(real, (4, 8));

    let schema = checked::<Separate>();
    for variant in variants(&schema) {
        assert_eq!(offsets(variant.fields()), [("0", 8)]);
    }
    let value = Separate::A(1);
    let Separate::A(a) = &value else { panic!() };
    assert_eq!(&raw const *a as usize - &raw const value as usize, 8);
}

#[test]
fn zero_is_claimed_only_where_it_is_a_value() {
    const {
        assert!(Point::ZERO_VALID && Unit::ZERO_VALID && Frame::ZERO_VALID);
        assert!(Level::ZERO_VALID && Shape::<NonZero<u8>>::ZERO_VALID && Separate::ZERO_VALID);
        assert!(!NeverZero::ZERO_VALID && !Everything::ZERO_VALID);
        assert!(!Samples::<NonZero<u8>>::ZERO_VALID && !Pair::<Option<u8>>::ZERO_VALID);
    }
}

/// One type in several builds, so to say.
mod builds {
    macro_rules! build {
        ($name:ident, $($field:ident: $type:ty),*) => {
            pub mod $name {
                #[derive(staffetta::Message)]
                #[repr(C)]
                #[message(id = "com.acme.Inner")]
                pub struct Inner { $($field: $type),* }

                #[derive(staffetta::Message)]
                #[repr(C)]
                #[message(id = "com.acme.Outer")]
                pub struct Outer { head: u64, pixels: Inner }
            }
        };
    }
    build!(here, height: u32, width: u32);
    build!(same, height: u32, width: u32);
    build!(wider, height: u32, width: u64);
    build!(renamed, width: u32, height: u32);
    build!(signed, height: u32, width: i32);
    build!(longer, height: u32, width: u32, depth: u32);
}

#[test]
fn another_layout_of_the_same_identity_differs() {
    let here = checked::<builds::here::Outer>();
    let same = checked::<builds::same::Outer>();
    assert_eq!(here, same);
    assert_eq!(here.fingerprint(), same.fingerprint());
    for (there, sentence) in [
        (
            checked::<builds::wider::Outer>(),
            "field `pixels.width`: u32 at offset 4 here, u64 at offset 8 there",
        ),
        (checked::<builds::renamed::Outer>(), "field `pixels.height` here is field `pixels.width` there"),
        (
            checked::<builds::signed::Outer>(),
            "field `pixels.width`: u32 at offset 4 here, i32 at offset 4 there",
        ),
        (checked::<builds::longer::Outer>(), "field `pixels.depth`: u32 at offset 8 there only"),
    ] {
        assert_ne!(here.fingerprint(), there.fingerprint());
        assert_eq!(here.difference(&there).as_deref(), Some(sentence));
    }
    assert_eq!(
        here.difference(&checked::<Frame>()).as_deref(),
        Some("the type is com.acme.Outer@1 here, message_derive::Frame@1 there")
    );
}

#[test]
fn the_pretty_form() {
    assert_eq!(
        checked::<Shape<Pair<u8>>>().pretty(),
        "\
message_derive::Shape@1<message_derive::Pair@1<u8, 2>>: 24 bytes, align 8, enum of u16
  Nothing = 0
  Circle = 7
    at 4: centre: (f32, f32), 8 bytes
      at 0: 0: f32, 4 bytes
      at 4: 1: f32, 4 bytes
    at 16: radius: f64, 8 bytes
  Line = 8
    at 2: 0: message_derive::Pair@1<u8, 2>, 3 bytes
      at 0: left: [u8; 2], 2 bytes
      at 2: right: u8, 1 byte
    at 5: 1: u8, 1 byte
"
    );
    assert_eq!(
        checked::<Frame>().pretty(),
        "\
message_derive::Frame@1: 8 bytes and a slice, align 4
  at 0: width: u32, 4 bytes
  at 4: height: u32, 4 bytes
  at 8: pixels: [u8], any length
"
    );
    assert_eq!(
        checked::<[Separate; 2]>().pretty(),
        "\
[message_derive::Separate@1; 2]: 32 bytes, align 8
  each message_derive::Separate@1: 16 bytes, enum of u8
    A = 0
      at 8: 0: u8, 1 byte
    B = 1
      at 8: 0: u64, 8 bytes
"
    );
}
