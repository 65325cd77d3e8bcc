//! What travels: a number, packed as a value that fits into a line, as one that does not, or as a parcel.

use std::any::Any;

use staffetta::{Domain, Method, Parcel, Payload, Receiver, RecvError, SendFailure, Sender};

/// A number, packed as a message.
pub trait Cargo: Payload + Sized + std::marker::Send + 'static {
    const NAME: &'static str;
    fn pack(domain: &Domain, method: Method, number: u64) -> Self;
    /// None: it is not whole.
    fn number(&self) -> Option<u64>;
    /// Builds the message in its slot, and sends it, or not.
    fn build(_: &'static Sender<Self>, _: Option<u64>) -> Option<Result<(), SendFailure>> {
        None
    }
    /// Takes a message in hand.
    fn take(_: &'static Receiver<Self>) -> Option<Result<Box<dyn Any>, RecvError>> {
        None
    }
}

/// More than fits any line of a descriptor.
pub const WORDS: usize = 40;

macro_rules! in_place {
    ($make:expr) => {
        fn build(tx: &'static Sender<Self>, number: Option<u64>) -> Option<Result<(), SendFailure>> {
            Some(tx.reserve().and_then(|slot| match number {
                Some(number) => slot.write($make(number)),
                None => Ok(drop(slot)),
            }))
        }
        fn take(rx: &'static Receiver<Self>) -> Option<Result<Box<dyn Any>, RecvError>> {
            Some(rx.recv_ref().map(|guard| Box::new(guard) as Box<dyn Any>))
        }
    };
}

impl Cargo for u64 {
    const NAME: &'static str = "value";
    fn pack(_: &Domain, _: Method, number: u64) -> Self {
        number
    }
    fn number(&self) -> Option<u64> {
        Some(*self)
    }
    in_place!(|number| number);
}

fn whole(words: &[u64; WORDS]) -> Option<u64> {
    words.iter().all(|word| *word == words[0]).then_some(words[0])
}

impl Cargo for [u64; WORDS] {
    const NAME: &'static str = "long value";
    fn pack(_: &Domain, _: Method, number: u64) -> Self {
        [number; WORDS]
    }
    fn number(&self) -> Option<u64> {
        whole(self)
    }
    in_place!(|number| [number; WORDS]);
}

impl Cargo for Parcel<[u64; WORDS]> {
    const NAME: &'static str = "parcel";
    fn pack(domain: &Domain, method: Method, number: u64) -> Self {
        domain.parcels(method).new([number; WORDS]).expect("a parcel")
    }
    fn number(&self) -> Option<u64> {
        whole(self)
    }
}
