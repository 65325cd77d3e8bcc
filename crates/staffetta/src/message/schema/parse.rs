//! From the text to a schema: the texts of peers come through here.
//!
//! A parser by recursive descent that accepts the canonical spelling and no other (`text.rs` writes it), and
//! lets out only what `check.rs` has passed. It is where **S2** is kept: the length is bounded before
//! the first byte is read, the depth at each step down, and what is allocated is bounded by what was read.

use super::text::is_bare;
use super::{Field, Kind, Leaf, Schema, SchemaError, Tag, Variant, SCHEMA_DEPTH_MAX, SCHEMA_LENGTH_MAX};

impl Schema {
    /// Reads the canonical text.
    ///
    /// The text may come from a peer: no text makes this panic, and at most [`SCHEMA_LENGTH_MAX`]
    /// bytes nested at most [`SCHEMA_DEPTH_MAX`] deep are looked at.
    ///
    /// ```
    /// use staffetta::message::{Schema, SchemaError};
    /// assert_eq!(Schema::parse("4/4 u32").unwrap().identity(), "u32");
    /// assert_eq!(
    ///     Schema::parse("4/4 u33"),
    ///     Err(SchemaError::Syntax { at: 4, expected: "a kind" }),
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`SchemaError::Syntax`] if the text is not spelled as [`Display`](std::fmt::Display) spells it,
    /// [`SchemaError::TooLong`], [`SchemaError::TooDeep`], and [`SchemaError::Layout`] as
    /// [`check`](Self::check).
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        if text.len() > SCHEMA_LENGTH_MAX {
            return Err(SchemaError::TooLong { length: text.len() });
        }
        let mut parser = Parser { text, at: 0 };
        let schema = parser.schema(1)?;
        if parser.at != text.len() {
            return Err(parser.expected("the end"));
        }
        Ok(schema)
    }
}

impl std::str::FromStr for Schema {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Schema, SchemaError> {
        Schema::parse(text)
    }
}

/// A cursor over the text: `at <= text.len()`, on a character's boundary.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn expected(&self, expected: &'static str) -> SchemaError {
        SchemaError::Syntax { at: self.at, expected }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Steps over `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn token(&mut self, token: &'static str) -> Result<(), SchemaError> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.expected(token))
        }
    }

    /// The longest run of letters, digits and underscores; possibly empty.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| is_bare(*byte)).count();
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn number(&mut self) -> Result<u64, SchemaError> {
        let start = self.at;
        let word = self.word();
        let canonical = word == "0" || !word.starts_with('0');
        // A word has no sign, so only digits get through.
        match word.parse() {
            Ok(number) if canonical => Ok(number),
            _ => {
                self.at = start;
                Err(self.expected("a number"))
            }
        }
    }

    fn discriminant(&mut self) -> Result<i128, SchemaError> {
        let start = self.at;
        let negative = self.eat("-");
        match self.number()? {
            0 if negative => {
                self.at = start;
                Err(self.expected("a number"))
            }
            number if negative => Ok(-i128::from(number)),
            number => Ok(i128::from(number)),
        }
    }

    fn string(&mut self) -> Result<String, SchemaError> {
        self.token("\"")?;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(self.expected("a closing quote"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(string);
                }
                '\\' => {
                    let (length, c) = escaped(rest).ok_or_else(|| self.expected("an escape"))?;
                    self.at += length;
                    string.push(c);
                }
                c if c.is_control() => return Err(self.expected("no control character")),
                c => {
                    self.at += c.len_utf8();
                    string.push(c);
                }
            }
        }
    }

    /// A string that means something: an identity or a compiler.
    fn filled_string(&mut self) -> Result<String, SchemaError> {
        let start = self.at;
        let string = self.string()?;
        if string.is_empty() {
            self.at = start;
            return Err(self.expected("a string that is not empty"));
        }
        Ok(string)
    }

    fn name(&mut self) -> Result<String, SchemaError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            let name = self.string()?;
            if !name.is_empty() && name.bytes().all(is_bare) {
                self.at = start;
                return Err(self.expected("a name without quotes"));
            }
            return Ok(name);
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.expected("a name"));
        }
        Ok(word.to_owned())
    }

    fn leaf(&mut self) -> Result<Leaf, SchemaError> {
        let start = self.at;
        Leaf::from_name(self.word()).ok_or_else(|| {
            self.at = start;
            self.expected("a leaf")
        })
    }

    /// `depth` bounds the recursion, here and in everything that walks the result (S2).
    fn schema(&mut self, depth: usize) -> Result<Schema, SchemaError> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        let identity = if self.rest().starts_with('"') {
            let identity = self.filled_string()?;
            self.token(" ")?;
            identity
        } else {
            String::new()
        };
        let size = self.number()?;
        self.token("/")?;
        let align = self.number()?;
        self.token(" ")?;
        let kind = self.kind(depth)?;
        let schema = Schema { identity, size, align, kind };
        // Parts first, as they are parsed: each node is checked once.
        schema.check_this()?;
        Ok(schema)
    }

    fn kind(&mut self, depth: usize) -> Result<Kind, SchemaError> {
        if self.eat("[") {
            let element = Box::new(self.schema(depth + 1)?);
            let kind = if self.eat("; ") {
                let len = self.number()?;
                Kind::Array { element, len }
            } else {
                Kind::Slice { element }
            };
            self.token("]")?;
            return Ok(kind);
        }
        if self.rest().starts_with('{') {
            return Ok(Kind::Struct { fields: self.fields(depth)? });
        }
        let start = self.at;
        match self.word() {
            "nonzero" => {
                self.token(" ")?;
                Ok(Kind::NonZero(self.leaf()?))
            }
            "enum" => {
                self.token(" ")?;
                let repr = self.leaf()?;
                self.token(" {")?;
                let mut variants = Vec::new();
                loop {
                    let name = self.name()?;
                    self.token(" = ")?;
                    let discriminant = self.discriminant()?;
                    self.token(" ")?;
                    let fields = self.fields(depth)?;
                    variants.push(Variant { name, discriminant, fields });
                    if self.eat("}") {
                        return Ok(Kind::Enum { repr, variants });
                    }
                    self.token(", ")?;
                }
            }
            "option" => {
                let tag = if self.eat(" zero ") {
                    Tag::Zero
                } else {
                    self.token(" by ")?;
                    let compiler = self.filled_string()?;
                    self.token(" ")?;
                    Tag::Compiler(compiler)
                };
                let inner = Box::new(self.schema(depth + 1)?);
                Ok(Kind::Option { inner, tag })
            }
            word => match Leaf::from_name(word) {
                Some(leaf) => Ok(Kind::Leaf(leaf)),
                None => {
                    self.at = start;
                    Err(self.expected("a kind"))
                }
            },
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, SchemaError> {
        self.token("{")?;
        let mut fields = Vec::new();
        if self.eat("}") {
            return Ok(fields);
        }
        loop {
            let name = self.name()?;
            self.token("@")?;
            let offset = self.number()?;
            self.token(" ")?;
            let schema = self.schema(depth + 1)?;
            fields.push(Field { name, offset, schema });
            if self.eat("}") {
                return Ok(fields);
            }
            self.token(", ")?;
        }
    }
}

/// The length of the escape at the start of `rest` and the character it stands for; `None` for one
/// that is not canonical.
fn escaped(rest: &str) -> Option<(usize, char)> {
    let body = rest.strip_prefix('\\')?;
    match body.chars().next()? {
        c @ ('"' | '\\') => Some((2, c)),
        'u' => {
            let (hex, _) = body.strip_prefix("u{")?.split_once('}')?;
            let canonical = hex.len() <= 6
                && (hex == "0" || !hex.starts_with('0'))
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !canonical {
                return None;
            }
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            // `\u{` and `}` around the digits.
            c.is_control().then_some((hex.len() + 4, c))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::{any_schema, config};
    use super::*;
    use crate::message::Message;

    proptest! {
        #![proptest_config(config())]

        /// Hostile texts: a real one with a few characters replaced, removed or repeated.
        #[test]
        fn a_mutated_text_is_refused_or_canonical(
            schema in any_schema(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<prop::sample::Index>()), 1..6),
        ) {
            let alphabet: Vec<char> = "{}[]\"\\@/; ,=-0123456789ubyzeron_é\u{7f}\n".chars().collect();
            let mut text: Vec<char> = schema.to_string().chars().collect();
            for (at, edit, what) in edits {
                if text.is_empty() {
                    break;
                }
                let at = at.index(text.len());
                match edit {
                    0 => text[at] = *what.get(&alphabet),
                    1 => { text.remove(at); }
                    2 => text.insert(at, *what.get(&alphabet)),
                    _ => {
                        let other = what.index(text.len());
                        let piece = text[at.min(other)..at.max(other)].to_vec();
                        text.splice(at..at, piece);
                    }
                }
            }
            let text: String = text.into_iter().collect();
            if let Ok(parsed) = Schema::parse(&text) {
                prop_assert_eq!(parsed.to_string(), text);
                prop_assert_eq!(parsed.check(), Ok(()));
                prop_assert_eq!(parsed.difference(&schema).is_none(), parsed == schema);
                let _ = parsed.pretty();
            }
        }

        #[test]
        fn any_text_at_all(text in "\\PC{0,40}") {
            if let Ok(parsed) = Schema::parse(&text) {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_accepted() {
        for text in [
            "",
            " ",
            "4/4",
            "4/4 ",
            "04/4 u32",
            "4/+4 u32",
            "4/4  u32",
            "4/4 u32 ",
            "4/4 U32",
            "\"\" 4/4 u32",
            "\"a\"4/4 u32",
            "\"a 4/4 u32",
            "\"\\u{61}\" 4/4 u32",
            "\"\\u{07}\" 4/4 u32",
            "\"\\u{}\" 4/4 u32",
            "\"\\u{110000}\" 4/4 u32",
            "\"\\n\" 4/4 u32",
            "\"\u{7}\" 4/4 u32",
            "4/4 {\"a\"@0 4/4 u32}",
            "4/4 {a@0 4/4 u32,}",
            "4/4 {a@0 4/4 u32, }",
            "4/4 {a@-0 4/4 u32}",
            "1/1 enum u8 {A = -0 {}}",
            "1/1 enum u8 {}",
            "1/1 enum u8 {A = 0}",
            "4/4 nonzero",
            "4/4 option 4/4 u32",
            "4/4 option by \"\" 4/4 u32",
            "[1/1 u8]",
            "99999999999999999999/1 u8",
            "4/4 {é@0 4/4 u32}",
        ] {
            let error = Schema::parse(text).unwrap_err();
            assert!(matches!(error, SchemaError::Syntax { .. }), "{text}: {error}");
        }
        for text in [
            "\"\\u{7}\\\\\\\"é\" 4/4 u32",
            "4/4 {\"é\"@0 4/4 u32}",
            "4/4 {\"\"@0 4/4 u32}",
            "2/1 enum i8 {A = -1 {}, B = 0 {0@1 1/1 u8}}",
            "0/1 [1/1 u8; 0]",
        ] {
            assert_eq!(Schema::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| {
            let (open, close) = ("0/1 [".repeat(depth - 1), "; 0]".repeat(depth - 1));
            format!("{open}1/1 u8{close}")
        };
        assert!(Schema::parse(&nested(SCHEMA_DEPTH_MAX)).is_ok());
        assert_eq!(Schema::parse(&nested(SCHEMA_DEPTH_MAX + 1)), Err(SchemaError::TooDeep));
        assert_eq!(Schema::parse(&"0/1 [".repeat(10_000)), Err(SchemaError::TooDeep));
        assert_eq!(Schema::parse(&"0/1 {a@0 ".repeat(7_000)), Err(SchemaError::TooDeep));

        let named = |length| format!("\"{}\" 1/1 u8", "x".repeat(length - 9));
        assert!(Schema::parse(&named(SCHEMA_LENGTH_MAX)).is_ok());
        let length = SCHEMA_LENGTH_MAX + 1;
        let too_long = Err(SchemaError::TooLong { length });
        assert_eq!(Schema::parse(&named(length)), too_long);
        let schema = u8::schema().named("x".repeat(length - 9));
        assert_eq!(schema.check(), Err(SchemaError::TooLong { length }));

        let mut deep = u8::schema();
        for _ in 0..SCHEMA_DEPTH_MAX {
            deep = Schema::array(deep, 1);
        }
        assert_eq!(deep.check(), Err(SchemaError::TooDeep));
    }
}
