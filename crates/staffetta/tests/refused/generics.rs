use staffetta::Message;

#[derive(Message)]
struct Borrowing<'a> {
    marker: std::marker::PhantomData<&'a u8>,
}

#[derive(Message)]
#[repr(C)]
struct Unsized<T: ?Sized> {
    head: u8,
    tail: T,
}

fn main() {}
