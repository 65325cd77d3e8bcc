//! What the machine itself can do: no protocol, no checks, nothing of the library.

pub mod cacheline;
pub mod futex;
pub mod memcpy;
pub mod mmap;
pub mod touch;
pub mod vm_readv;
