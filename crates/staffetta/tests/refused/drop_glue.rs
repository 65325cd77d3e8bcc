use staffetta::Message;

#[derive(Message)]
struct Loud(u8);

impl Drop for Loud {
    fn drop(&mut self) {}
}

fn main() {}
