use staffetta::Message;

#[derive(Message)]
struct Pointers {
    name: String,
    items: Vec<u8>,
    shared: std::sync::Arc<u32>,
    borrowed: &'static str,
    raw: *const u8,
    call: fn(u8) -> u8,
    dynamic: Box<dyn Send>,
    nested: [Option<Box<u8>>; 4],
}

#[derive(Message)]
struct Positional(u8, (u8, Vec<u8>));

#[derive(Message)]
#[repr(u8)]
enum Choice {
    Text { body: String },
    File(std::fs::File),
}

fn main() {}
