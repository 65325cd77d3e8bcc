//! Numbers: what private memory that is read from another process can be made of.

use crate::Message;

/// A number: any bytes are a value of it.
///
/// Slices of numbers can be received from private memory of another process ([`Receiver::recv_into`](crate::Receiver::recv_into)):
/// if that process dies in the middle, the target is left with some of its bytes, and is a slice of numbers all the same.
///
/// Implemented for the integers and floating-point numbers; it is sealed.
pub trait Number: Message + Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl sealed::Sealed for $number {}
        impl Number for $number {}
    )*};
}

numbers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
