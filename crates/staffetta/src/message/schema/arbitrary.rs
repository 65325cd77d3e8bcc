//! Random schemas for the property tests of this folder: consistent ones of every kind, with names and
//! identities that need quotes.

use proptest::prelude::*;

use super::{Field, Kind, Leaf, Schema, Tag, Variant};
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
pub fn any_schema() -> impl Strategy<Value = Schema> {
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

pub fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}
