//! Trees there and back, for every schema that can be; and bytes that are no value.

use proptest::prelude::*;

use super::super::schema::arbitrary::{any_schema, config};
use super::*;
use crate::message::Message;

/// Some value of a type; None where only a compiler could write one.
pub(crate) fn some_value(schema: &Schema, seed: &mut u64) -> Option<Value> {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let random = *seed >> 33;
    let fields = |fields: &[Field], seed: &mut u64| {
        fields
            .iter()
            .map(|f| Some((f.name().to_owned(), some_value(f.schema(), seed)?)))
            .collect::<Option<Vec<_>>>()
    };
    Some(match schema.kind() {
        Kind::Leaf(Leaf::Bool) => Value::Bool(random & 1 == 1),
        Kind::Leaf(Leaf::Char) => Value::Char(char::from_u32(random as u32 % 0xd800).unwrap()),
        Kind::Leaf(Leaf::F32) => Value::F32(random as f32),
        Kind::Leaf(Leaf::F64) => Value::F64(random as f64 / 3.0),
        Kind::Leaf(leaf) | Kind::NonZero(leaf) => match leaf.name().starts_with('i') {
            true => Value::Signed(-1 - (random % 128) as i128),
            false => Value::Unsigned(u128::from(1 + random % 255)),
        },
        Kind::Array { element, len } => {
            let list = (0..*len).map(|_| some_value(element, seed)).collect::<Option<Vec<_>>>()?;
            bytes_or_list(element, list)
        }
        Kind::Slice { element } => {
            let list = (0..random % 5).map(|_| some_value(element, seed)).collect::<Option<Vec<_>>>()?;
            bytes_or_list(element, list)
        }
        Kind::Struct { fields: all } => Value::Struct(fields(all, seed)?),
        Kind::Enum { variants, .. } => {
            let variant = &variants[random as usize % variants.len()];
            Value::Enum { variant: variant.name().to_owned(), fields: fields(variant.fields(), seed)? }
        }
        Kind::Option { tag: super::super::schema::Tag::Compiler(_), .. } => return None,
        Kind::Option { inner, .. } => match random & 1 {
            0 => Value::None,
            _ => Value::Some(Box::new(some_value(inner, seed)?)),
        },
    })
}

fn bytes_or_list(element: &Schema, list: Vec<Value>) -> Value {
    let byte = |value: &Value| match value {
        Value::Unsigned(n) => *n as u8,
        _ => 0,
    };
    if is_byte(element) {
        Value::Bytes(list.iter().map(byte).collect())
    } else {
        Value::List(list)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_valid_and_read_back(schema in any_schema(), seed in any::<u64>()) {
        let Some(value) = some_value(&schema, &mut seed.clone()) else {
            return Ok(());
        };
        match schema.write(&value) {
            Ok(bytes) => {
                prop_assert_eq!(schema.validate(&bytes), Ok(()));
                prop_assert_eq!(schema.read(&bytes), Ok(value));
            }
            // Some(all zeroes) of an option whose None is all zeroes is no value.
            Err(error) => prop_assert!(error.to_string().contains("all zeroes"), "{}", error),
        }
    }

    #[test]
    fn no_bytes_panic_and_what_is_valid_is_readable(
        schema in any_schema(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        zeroes in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if schema.is_sized() {
            bytes.resize(schema.size().min(4096) as usize, 0);
        }
        if zeroes {
            bytes.iter_mut().for_each(|byte| *byte &= 1);
        }
        if schema.validate(&bytes).is_ok() {
            let value = schema.read(&bytes).unwrap();
            let again = schema.write(&value).unwrap();
            prop_assert_eq!(again.len(), bytes.len());
        }
        let _ = schema.read(&bytes);
    }
}

/// Found by the property above.
#[test]
fn elements_without_size_are_read_and_written_back() {
    let schema = Schema::parse("0/1 [0/1 option by \"rustc 1\" 0/1 {}; 1]").unwrap();
    assert_eq!(schema.validate(&[]), Ok(()));
    let value = schema.read(&[]).unwrap();
    assert_eq!(schema.write(&value), Ok(Vec::new()));
}

#[test]
fn each_wrong_leaf_is_named() {
    let schema = Schema::parse(
        "\"a::S@1\" 24/4 {good@0 1/1 bool, sign@4 4/4 char, \
         kind@8 8/4 enum u8 {Off = 0 {}, At = 3 {x@4 4/4 nonzero i32}}, maybe@16 4/4 option zero 4/4 nonzero u32, \
         list@20 4/1 [1/1 bool; 4]}",
    )
    .unwrap();
    let good = [0_u8; 24];
    assert_eq!(schema.validate(&good), Ok(()));
    for (at, byte, field) in
        [(0, 2, "good"), (6, 0x11, "sign"), (8, 1, "kind"), (8, 3, "kind.At.x"), (22, 9, "list[2]")]
    {
        let mut bytes = good;
        bytes[at] = byte;
        if at == 6 {
            bytes[4..8].copy_from_slice(&0xd800_u32.to_ne_bytes());
        }
        let error = schema.validate(&bytes).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
        assert_eq!(schema.read(&bytes).unwrap_err().field(), field);
    }
    assert!(matches!(
        schema.validate(&good[1..]),
        Err(FieldError::Length { length: 23, size: 24, element: None })
    ));
}

#[test]
fn an_option_of_the_compiler_is_refused_by_name() {
    let schema = <(u8, Option<bool>)>::schema();
    let error = schema.validate(&[0, 0]).unwrap_err();
    assert!(matches!(&error, FieldError::Opaque { field, .. } if field == "1"), "{error}");
    assert!(matches!(schema.read(&[0, 1]).unwrap().field("1"), Some(Value::Opaque(bytes)) if bytes == &[1]));
}

#[test]
fn what_is_missing_unknown_or_too_large_is_named() {
    let schema = Schema::parse("\"a::S@1\" 4/2 {a@0 1/1 u8, b@2 2/2 i16}").unwrap();
    let write = |a: Option<Value>, b: Value, more: &[(&str, Value)]| {
        let fields = a.map(|a| ("a", a)).into_iter().chain([("b", b)]).chain(more.iter().cloned());
        schema.write(&Value::structure(fields))
    };
    let one = || Value::Unsigned(1);
    assert_eq!(write(Some(one()), Value::Signed(-2), &[]).unwrap()[2..], (-2_i16).to_ne_bytes());
    assert!(matches!(write(None, one(), &[]), Err(FieldError::Missing { field }) if field == "a"));
    let unknown = write(Some(one()), one(), &[("c", one())]).unwrap_err();
    assert_eq!(unknown.to_string(), "field `c` is not in the type; its fields are a, b");
    assert_eq!(write(Some(Value::Unsigned(256)), one(), &[]).unwrap_err().field(), "a");
    assert_eq!(write(Some(Value::Char('x')), one(), &[]).unwrap_err().field(), "a");
}

#[test]
fn elements_without_size_are_not_walked_through() {
    let schema = Schema::parse("0/1 [0/1 [0/1 {}; 4000000000]; 4000000000]").unwrap();
    assert_eq!(schema.validate(&[]), Ok(()));
    assert!(matches!(schema.read(&[]), Err(FieldError::TooMany { .. })));
    let huge = Schema::parse("9223372036854775807/1 [1/1 bool; 9223372036854775807]").unwrap();
    assert!(huge.write(&Value::List(Vec::new())).is_err());
}
