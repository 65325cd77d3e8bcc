use staffetta::Message;

#[derive(Message)]
#[repr(C)]
struct Empty {
    length: u32,
    units: [()],
}

fn main() {}
