use staffetta::Message;

#[derive(Message)]
struct NoRepr {
    length: u32,
    bytes: [u8],
}

#[derive(Message)]
#[repr(C)]
struct NotLast {
    bytes: [u8],
    length: u32,
}

#[derive(Message)]
#[repr(C, packed)]
struct Packed {
    length: u32,
    bytes: [u8],
}

#[derive(Message)]
#[repr(u8)]
enum Choice {
    Bytes([u8]),
}

fn main() {}
