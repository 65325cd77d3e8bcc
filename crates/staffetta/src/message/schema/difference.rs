//! The first difference between two schemas, as a sentence for whoever has to mend it.
//!
//! It goes from the outside in, in the order of declaration, and stops at the first thing that differs; it
//! says something exactly if the schemas are not equal. It does not judge whether a difference does harm:
//! any difference refuses a channel.

use super::{Field, Kind, Schema, Tag, Variant};

/// Comparing.
impl Schema {
    /// The first difference between this schema ("here") and the peer's ("there"), as a sentence
    /// without a full stop; `None` exactly if they are equal.
    ///
    /// ```
    /// use staffetta::message::{Leaf, Message, Field, Schema};
    /// let here = Schema::structure("app::S@1", 4, 4, [Field::new("a", 0, u32::schema())]);
    /// let there = Schema::structure("app::S@1", 8, 8, [Field::new("a", 0, u64::schema())]);
    /// assert_eq!(
    ///     here.difference(&there).as_deref(),
    ///     Some("field `a`: u32 at offset 0 here, u64 at offset 0 there"),
    /// );
    /// ```
    pub fn difference(&self, other: &Schema) -> Option<String> {
        let (here, there) = (self.identity(), other.identity());
        if here != there {
            return Some(format!("the type is {here} here, {there} there"));
        }
        self.difference_at("", other)
    }

    /// The first difference below `path`; the identities are equal.
    fn difference_at(&self, path: &str, other: &Schema) -> Option<String> {
        if self == other {
            return None;
        }
        let inside = match (&self.kind, &other.kind) {
            (Kind::Array { element: a, .. }, Kind::Array { element: b, .. })
            | (Kind::Slice { element: a }, Kind::Slice { element: b }) => {
                a.difference_part(&format!("{path}[]"), b)
            }
            (Kind::Option { inner: a, tag: t }, Kind::Option { inner: b, tag: u }) => {
                a.difference_part(&format!("{path}?"), b).or_else(|| difference_of_tags(path, t, u))
            }
            (Kind::Struct { fields: a }, Kind::Struct { fields: b }) => difference_of_fields(path, a, b),
            (Kind::Enum { repr: r, variants: a }, Kind::Enum { repr: s, variants: b }) => {
                if r != s {
                    Some(format!("{}: the discriminant is {r} here, {s} there", subject(path)))
                } else {
                    difference_of_variants(path, a, b)
                }
            }
            (a, b) if a != b => Some(format!("{}: {} here, {} there", subject(path), a.noun(), b.noun())),
            _ => None,
        };
        inside
            .or_else(|| {
                (self.size != other.size)
                    .then(|| format!("{}: {} here, {} there", subject(path), self.extent(), other.extent()))
            })
            .or_else(|| {
                (self.align != other.align).then(|| {
                    format!("{}: aligned to {} here, to {} there", subject(path), self.align, other.align)
                })
            })
            .or_else(|| {
                // The same spelling, declared at one end only.
                Some(format!(
                    "{}: the identity {} is declared {} only",
                    subject(path),
                    self.identity(),
                    if self.identity.is_empty() { "there" } else { "here" }
                ))
            })
    }

    /// As [`difference_at`](Self::difference_at), for a part whose identity may differ too.
    fn difference_part(&self, path: &str, other: &Schema) -> Option<String> {
        let (here, there) = (self.identity(), other.identity());
        if here != there {
            return Some(format!("{}: {here} here, {there} there", subject(path)));
        }
        self.difference_at(path, other)
    }
}

impl Kind {
    fn noun(&self) -> String {
        match self {
            Kind::Leaf(leaf) => leaf.name().to_owned(),
            Kind::NonZero(leaf) => format!("a nonzero {leaf}"),
            Kind::Array { .. } => String::from("an array"),
            Kind::Slice { .. } => String::from("a slice"),
            Kind::Struct { .. } => String::from("a struct"),
            Kind::Enum { .. } => String::from("an enum"),
            Kind::Option { .. } => String::from("an option"),
        }
    }
}

/// What a sentence about `path` is about.
fn subject(path: &str) -> String {
    if path.is_empty() {
        String::from("the type")
    } else {
        format!("field `{path}`")
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn difference_of_tags(path: &str, here: &Tag, there: &Tag) -> Option<String> {
    fn noun(tag: &Tag) -> String {
        match tag {
            Tag::Zero => String::from("zero"),
            Tag::Compiler(compiler) => format!("laid out by {}", compiler.escape_debug()),
        }
    }
    (here != there)
        .then(|| format!("{}: `None` is {} here, {} there", subject(path), noun(here), noun(there)))
}

fn difference_of_fields(path: &str, here: &[Field], there: &[Field]) -> Option<String> {
    for (a, b) in here.iter().zip(there) {
        if a == b {
            continue;
        }
        if a.name != b.name {
            return Some(format!(
                "field `{}` here is field `{}` there",
                below(path, &a.name),
                below(path, &b.name)
            ));
        }
        let path = below(path, &a.name);
        let (here, there) = (a.schema.identity(), b.schema.identity());
        if here != there || a.offset != b.offset {
            return Some(format!(
                "field `{path}`: {here} at offset {} here, {there} at offset {} there",
                a.offset, b.offset
            ));
        }
        return a.schema.difference_at(&path, &b.schema);
    }
    let lone = |fields: &[Field], common: usize, place: &str| {
        fields.get(common).map(|field| {
            format!(
                "field `{}`: {} at offset {} {place} only",
                below(path, &field.name),
                field.schema.identity(),
                field.offset
            )
        })
    };
    lone(here, there.len(), "here").or_else(|| lone(there, here.len(), "there"))
}

fn difference_of_variants(path: &str, here: &[Variant], there: &[Variant]) -> Option<String> {
    for (a, b) in here.iter().zip(there) {
        if a == b {
            continue;
        }
        let (p, q) = (below(path, &a.name), below(path, &b.name));
        if a.name != b.name {
            return Some(format!("variant `{p}` here is variant `{q}` there"));
        }
        if a.discriminant != b.discriminant {
            return Some(format!(
                "variant `{p}`: discriminant {} here, {} there",
                a.discriminant, b.discriminant
            ));
        }
        return difference_of_fields(&p, &a.fields, &b.fields);
    }
    let lone = |variants: &[Variant], common: usize, place: &str| {
        variants.get(common).map(|variant| format!("variant `{}` {place} only", below(path, &variant.name)))
    };
    lone(here, there.len(), "here").or_else(|| lone(there, here.len(), "there"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::{any_schema, config};
    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_difference_is_told_exactly_if_there_is_one(a in any_schema(), b in any_schema()) {
            prop_assert_eq!(a.difference(&a), None);
            prop_assert_eq!(a.difference(&b).is_none(), a == b);
            prop_assert_eq!(a.fingerprint() == b.fingerprint(), a == b);
            let _ = a.pretty();
        }
    }

    #[test]
    fn each_kind_of_difference_is_a_sentence() {
        for (here, there, sentence) in [
            ("1/1 u8", "2/2 u16", "the type is u8 here, u16 there"),
            ("\"u8\" 1/1 u8", "1/1 u8", "the type: the identity u8 is declared here only"),
            ("\"a\" 4/4 u32", "\"a\" 4/2 u32", "the type: aligned to 4 here, to 2 there"),
            ("\"a\" 4/4 u32", "\"a\" 4/4 f32", "the type: u32 here, f32 there"),
            ("\"a\" 4/4 {}", "\"a\" 8/4 {}", "the type: 4 bytes here, 8 bytes there"),
            ("\"a\" 4/4 {}", "\"a\" 4/4 [4/4 u32; 1]", "the type: a struct here, an array there"),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "\"a\" 1/1 enum u8 {A = 2 {}}",
                "variant `A`: discriminant 1 here, 2 there",
            ),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "\"a\" 1/1 enum i8 {A = 1 {}}",
                "the type: the discriminant is u8 here, i8 there",
            ),
            (
                "\"a\" 1/1 enum u8 {A = 1 {}, B = 2 {}}",
                "\"a\" 1/1 enum u8 {A = 1 {}}",
                "variant `B` here only",
            ),
            (
                "\"a\" 2/1 enum u8 {A = 1 {x@1 1/1 u8}}",
                "\"a\" 2/1 enum u8 {A = 1 {x@1 1/1 i8}}",
                "field `A.x`: u8 at offset 1 here, i8 at offset 1 there",
            ),
            (
                "1/1 option by \"rustc 1\" 1/1 bool",
                "1/1 option by \"rustc 2\" 1/1 bool",
                "the type: `None` is laid out by rustc 1 here, laid out by rustc 2 there",
            ),
            (
                "\"a\" 1/1 {l@0 1/1 [\"b\" 1/1 {x@0 1/1 u8}; 1]}",
                "\"a\" 1/1 {l@0 1/1 [\"b\" 1/1 {x@0 1/1 i8}; 1]}",
                "field `l[].x`: u8 at offset 0 here, i8 at offset 0 there",
            ),
        ] {
            let (here, there) = (Schema::parse(here).unwrap(), Schema::parse(there).unwrap());
            assert_eq!(here.difference(&there).as_deref(), Some(sentence));
        }
    }
}
