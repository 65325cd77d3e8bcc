use staffetta::Message;

fn send<M: Message + ?Sized>(_: &M) {}

fn main() {
    send(&vec![1, 2, 3]);
    send("text");
}
