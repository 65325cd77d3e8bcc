//! A layout as it is written on the command line: `u64`, `[f32; 3]`, `[u8]`, or the whole text that `inspect` prints.

use staffetta::message::Schema;
use staffetta::Message;

/// Reads a layout.
pub fn parse(text: &str) -> Result<Schema, String> {
    let text = text.trim();
    match short(text) {
        Some(schema) => Ok(schema),
        None => Schema::parse(text).map_err(|error| {
            format!(
                "{text:?} is no layout: {error}; write u64, f32, bool, char …, [f32; 3], [u8], or the text that \
                 `staffetta inspect DOMAIN/CHANNEL` prints"
            )
        }),
    }
}

fn short(text: &str) -> Option<Schema> {
    macro_rules! leaves {
        ($($leaf:ident)*) => {
            match text {
                $(stringify!($leaf) => return Some(<$leaf as Message>::schema()),)*
                _ => {}
            }
        };
    }
    leaves!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char);
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    match inside.rsplit_once(';') {
        Some((element, len)) => {
            let (element, len) = (short(element.trim())?, len.trim().parse::<usize>().ok()?);
            element.size().checked_mul(len as u64).filter(|bytes| *bytes <= isize::MAX as u64)?;
            element.is_sized().then(|| Schema::array(element, len))
        }
        None => short(inside.trim())
            .filter(|element| element.is_sized() && element.size() != 0)
            .map(Schema::slice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_are_those_of_rust() {
        assert_eq!(parse("u64"), Ok(u64::schema()));
        assert_eq!(parse(" [f32; 3] "), Ok(<[f32; 3]>::schema()));
        assert_eq!(parse("[[u8;2];4]"), Ok(<[[u8; 2]; 4]>::schema()));
        assert_eq!(parse("[u8]"), Ok(<[u8]>::schema()));
        assert_eq!(parse("8/4 {0@0 4/4 u32, 1@4 4/4 f32}"), Ok(<(u32, f32)>::schema()));
        for wrong in ["", "u65", "[u8", "[[u8]]", "[u8; x]", "[u64; 9223372036854775807]", "8/8 u32"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
