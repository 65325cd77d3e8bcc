//! A message's fields as JSON, there and back.
//!
//! Back needs the layout: whether `"x"` is a char, a variant or three bytes only the layout tells. What is missing, unknown or
//! out of range the library says, by the path of the field; here only kinds are told apart.

use serde_json::{Map, Number, Value as Json};
use staffetta::message::{Field, FieldError, Kind, Leaf, Schema, Value};

/// A message as JSON.
pub fn of_value(value: &Value) -> Json {
    match value {
        Value::Unsigned(n) => u64::try_from(*n).map_or_else(|_| Json::String(n.to_string()), Json::from),
        Value::Signed(n) => i64::try_from(*n).map_or_else(|_| Json::String(n.to_string()), Json::from),
        Value::F32(x) => of_float(shortest(*x)),
        Value::F64(x) => of_float(*x),
        Value::Bool(b) => Json::Bool(*b),
        Value::Char(c) => Json::String(c.to_string()),
        Value::List(list) => Json::Array(list.iter().map(of_value).collect()),
        Value::Bytes(bytes) => Json::Array(bytes.iter().map(|byte| Json::from(*byte)).collect()),
        Value::Struct(fields) => of_fields(fields),
        Value::Enum { variant, fields } if fields.is_empty() => Json::String(variant.clone()),
        Value::Enum { variant, fields } => {
            Json::Object(Map::from_iter([(variant.clone(), of_fields(fields))]))
        }
        Value::None => Json::Null,
        Value::Some(value) => of_value(value),
        Value::Opaque(bytes) => {
            let bytes = bytes.iter().map(|byte| Json::from(*byte)).collect();
            Json::Object(Map::from_iter([("opaque".to_owned(), Json::Array(bytes))]))
        }
        other => Json::String(format!("{other:?}")),
    }
}

fn of_fields(fields: &[(String, Value)]) -> Json {
    let tuple = !fields.is_empty() && fields.iter().enumerate().all(|(i, (name, _))| *name == i.to_string());
    if tuple {
        return Json::Array(fields.iter().map(|(_, value)| of_value(value)).collect());
    }
    Json::Object(fields.iter().map(|(name, value)| (name.clone(), of_value(value))).collect())
}

fn of_float(x: f64) -> Json {
    Number::from_f64(x).map_or_else(|| Json::String(x.to_string()), Json::Number)
}

/// The `f64` that prints as the `f32` does: 0.1, not 0.10000000149011612; if it is the same `f32`.
fn shortest(x: f32) -> f64 {
    let printed: f64 = x.to_string().parse().unwrap_or(f64::NAN);
    if printed as f32 == x {
        printed
    } else {
        x.into()
    }
}

/// A message of this layout from JSON.
pub fn to_value(json: &Json, schema: &Schema) -> Result<Value, FieldError> {
    convert(json, schema, "")
}

fn convert(json: &Json, schema: &Schema, path: &str) -> Result<Value, FieldError> {
    let wrong = |expected: &str| invalid(path, json, expected);
    match schema.kind() {
        Kind::Leaf(Leaf::Bool) => json.as_bool().map(Value::Bool).ok_or_else(|| wrong("true or false")),
        Kind::Leaf(Leaf::Char) => {
            let mut chars = json.as_str().unwrap_or_default().chars();
            match (chars.next(), chars.next()) {
                (Some(one), None) => Ok(Value::Char(one)),
                _ => Err(wrong("a string of one character")),
            }
        }
        Kind::Leaf(leaf) | Kind::NonZero(leaf) => {
            number(json, *leaf).ok_or_else(|| wrong(&format!("a number ({leaf})")))
        }
        Kind::Array { element, .. } | Kind::Slice { element } => match json {
            Json::String(text) if matches!(element.kind(), Kind::Leaf(Leaf::U8)) => {
                Ok(Value::Bytes(text.as_bytes().to_vec()))
            }
            Json::Array(list) => {
                let element = |(i, json): (usize, &Json)| convert(json, element, &format!("{path}[{i}]"));
                Ok(Value::List(list.iter().enumerate().map(element).collect::<Result<_, _>>()?))
            }
            _ => Err(wrong("a list")),
        },
        Kind::Struct { fields } => Ok(Value::Struct(convert_fields(json, fields, path)?)),
        Kind::Enum { variants, .. } => {
            let one = match json {
                Json::String(name) => Some((name, None)),
                Json::Object(map) if map.len() == 1 => {
                    map.iter().next().map(|(name, json)| (name, Some(json)))
                }
                _ => None,
            };
            let (name, json) = one.ok_or_else(|| wrong("\"Variant\" or {\"Variant\": {…}}"))?;
            let known = variants.iter().find(|variant| variant.name() == name);
            let fields = match (known, json) {
                (Some(known), Some(json)) => convert_fields(json, known.fields(), &below(path, name))?,
                // What is missing or unknown the library says.
                _ => Vec::new(),
            };
            Ok(Value::Enum { variant: name.clone(), fields })
        }
        Kind::Option { .. } if json.is_null() => Ok(Value::None),
        Kind::Option { inner, .. } => Ok(Value::Some(Box::new(convert(json, inner, path)?))),
        _ => Err(wrong("a type that this version knows")),
    }
}

fn convert_fields(json: &Json, fields: &[Field], path: &str) -> Result<Vec<(String, Value)>, FieldError> {
    match json {
        Json::Object(map) => map
            .iter()
            .map(|(name, json)| {
                let known = fields.iter().find(|field| field.name() == name);
                let value = known.map(|field| convert(json, field.schema(), &below(path, name)));
                Ok((name.clone(), value.transpose()?.unwrap_or(Value::None)))
            })
            .collect(),
        // By place, as a tuple is printed.
        Json::Array(list) if list.len() == fields.len() => fields
            .iter()
            .zip(list)
            .map(|(field, json)| {
                Ok((field.name().to_owned(), convert(json, field.schema(), &below(path, field.name()))?))
            })
            .collect(),
        _ => Err(invalid(path, json, &format!("an object of {} fields, or a list of as many", fields.len()))),
    }
}

fn number(json: &Json, leaf: Leaf) -> Option<Value> {
    let is_float = matches!(leaf, Leaf::F32 | Leaf::F64);
    match json {
        Json::Number(n) if is_float => n.as_f64().map(Value::F64),
        Json::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => Some(Value::Unsigned(n.into())),
            (None, Some(n)) => Some(Value::Signed(n.into())),
            // No integer: the library says so, with the field.
            (None, None) => n.as_f64().map(Value::F64),
        },
        Json::String(text) if is_float => text.parse().ok().map(Value::F64),
        Json::String(text) => {
            let unsigned = text.parse().ok().map(Value::Unsigned);
            unsigned.or_else(|| text.parse().ok().map(Value::Signed))
        }
        _ => None,
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn invalid(path: &str, json: &Json, expected: &str) -> FieldError {
    let mut found = json.to_string();
    if found.chars().count() > 40 {
        found = found.chars().take(40).chain(['…']).collect();
    }
    FieldError::Invalid { field: path.to_owned(), found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(text: &str) -> Schema {
        Schema::parse(text).expect("a layout")
    }

    #[test]
    fn every_kind_there_and_back() {
        for (text, json) in [
            ("8/8 u64", json!(u64::MAX)),
            ("8/8 i64", json!(i64::MIN)),
            ("16/16 u128", json!("340282366920938463463374607431768211455")),
            ("16/16 i128", json!("-170141183460469231731687303715884105728")),
            ("4/4 f32", json!(0.1)),
            ("4/4 f32", json!("NaN")),
            ("8/8 f64", json!(-1e300)),
            ("8/8 f64", json!("-inf")),
            ("1/1 bool", json!(true)),
            ("4/4 char", json!("è")),
            ("4/4 nonzero u32", json!(7)),
            ("3/1 [1/1 u8; 3]", json!([1, 2, 255])),
            ("0/1 [1/1 u8]", json!([])),
            ("0/2 [2/2 i16]", json!([-1, 2])),
            ("8/4 {0@0 4/4 u32, 1@4 1/1 bool}", json!([5, false])),
            ("\"a::S@1\" 8/4 {x@0 4/4 u32, y@4 4/4 f32}", json!({"x": 1, "y": 0.5})),
            ("\"a::E@1\" 8/4 enum u8 {Off = 0 {}, At = 3 {x@4 4/4 i32}}", json!("Off")),
            ("\"a::E@1\" 8/4 enum u8 {Off = 0 {}, At = 3 {x@4 4/4 i32}}", json!({"At": {"x": -4}})),
            ("4/4 option zero 4/4 nonzero u32", json!(null)),
            ("4/4 option zero 4/4 nonzero u32", json!(9)),
        ] {
            let schema = schema(text);
            let value = to_value(&json, &schema).unwrap_or_else(|error| panic!("{text}: {error}"));
            let bytes = schema.write(&value).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(of_value(&schema.read(&bytes).expect("just written")), json, "{text}");
        }
        let text = to_value(&json!("hi"), &schema("0/1 [1/1 u8]")).expect("bytes");
        assert_eq!(text, Value::Bytes(b"hi".to_vec()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let pose = schema("\"a::S@1\" 12/4 {x@0 4/4 u32, list@4 8/4 [4/4 i32; 2]}");
        for (json, field) in [
            (json!({"x": -1, "list": [1, 2]}), "x"),
            (json!({"x": 1.5, "list": [1, 2]}), "x"),
            (json!({"x": "one", "list": [1, 2]}), "x"),
            (json!({"x": 1}), "list"),
            (json!({"x": 1, "list": [1]}), "list"),
            (json!({"x": 1, "list": [1, true]}), "list[1]"),
            (json!({"x": 1, "list": [1, 2], "z": 1}), "z"),
            (json!(5), ""),
        ] {
            let written = to_value(&json, &pose).and_then(|value| pose.write(&value));
            assert_eq!(written.expect_err("wrong").field(), field, "{json}");
        }
    }
}
