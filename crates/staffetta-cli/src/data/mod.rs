//! Messages as they go through a pipe: lines of JSON, or raw frames; and layouts as a user writes them.
//!
//! | file | what it is |
//! |---|---|
//! | `json` | a message's fields as JSON, there and back |
//! | `input` | messages from the standard input, one by one, with the number of each |
//! | `output` | messages to the standard output, and whether anybody reads it |
//! | `layout` | a layout as it is written on the command line |

pub mod input;
pub mod json;
pub mod layout;
pub mod output;

/// What both sides of a pipe are told of the form of messages.
pub const FORMS: &str = "\
Messages:
  One JSON value on each line, by the layout that the domain stores:
    integers and floats are numbers (beyond 64 bits, and NaN, inf, -inf: strings);
    a bool is true or false, a char a string of one character;
    a struct is an object, a tuple or an array a list, bytes are a list of numbers (or, when
    sent, a string: its UTF-8 bytes);
    an enum is \"Variant\" if that has no fields, else {\"Variant\": {fields}};
    an Option is null or the value.
  With --raw each message is a frame: its length in bytes, 4 bytes, the least significant first, then
  as many bytes as they lie in memory. `staffetta inspect DOMAIN/CHANNEL` prints what lies where.";
