use staffetta::Message;

#[derive(Message)]
enum Level {
    Low,
    High,
}

#[derive(Message)]
#[repr(usize)]
enum Wide {
    Low,
    High,
}

#[derive(Message)]
enum Nothing {}

fn main() {}
