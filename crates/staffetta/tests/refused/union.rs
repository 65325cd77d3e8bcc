use staffetta::Message;

#[derive(Message)]
#[repr(C)]
union Word {
    float: f32,
    int: u32,
}

fn main() {}
