use staffetta::Message;

#[derive(Message)]
struct Threads {
    lock: std::sync::Mutex<u8>,
    cell: std::cell::Cell<u8>,
    since: std::time::Instant,
}

fn main() {}
