use staffetta::Message;

struct Plain {
    value: u8,
}

#[derive(Message)]
struct Outer {
    first: u8,
    plain: Plain,
}

fn main() {}
