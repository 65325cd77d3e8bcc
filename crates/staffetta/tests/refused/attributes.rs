use staffetta::Message;

#[derive(Message)]
#[message(name = "a")]
struct Unknown;

#[derive(Message)]
#[message(id = "with space")]
struct BadId;

#[derive(Message)]
#[message(id = "")]
struct EmptyId;

#[derive(Message)]
#[message(version = 1, version = 2)]
struct Twice;

#[derive(Message)]
struct OnField {
    #[message(version = 2)]
    field: u8,
}

fn main() {}
