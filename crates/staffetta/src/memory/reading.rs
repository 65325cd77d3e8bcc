//! A domain's memory read without mapping it, and without being a member: for who looks at it and touches nothing.
//!
//! What is read is copied, once, out of the file: so it cannot change while it is looked at, nothing can be written by
//! mistake, and what was never used stays unused (`os/proc.rs`). Several words are not read at one moment, and a word
//! that changes meanwhile may, on some machines, be read half old and half new: what is shown is for people, and is no part of
//! any protocol.
//!
//! V1. The file was checked when it was opened: it is a domain of this version, and as long as its window. What is in it is
//!     any bytes all the same: whoever follows an offset found there asks for a range, and is told if it is none.

#![allow(unsafe_code)] // From copied bytes to the types of shared memory.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::header::{Header, BYTE_ORDER, FORMAT_VERSION, MAGIC};
use super::map::{Map, WINDOW_MIN};
use super::segment::{Segment, Shared};
use crate::os;

/// A domain's memory, for who only looks: a member's mapping, or a file that is read.
pub trait Source {
    /// What lies at an offset: itself, or a copy.
    type At<'s, T: Shared + 's>: std::ops::Deref<Target = T>
    where
        Self: 's;

    /// Where everything lies.
    fn map(&self) -> Map;

    /// Of the first `used` blocks of a class those whose records may say anything.
    fn recorded(&self, class: u32, used: u64) -> Vec<std::ops::Range<u64>>;

    /// What lies at `offset`, which need not make sense (V1).
    fn at<T: Shared>(&self, offset: u64) -> Result<Self::At<'_, T>, os::Error>;
}

impl Source for Reading {
    type At<'s, T: Shared + 's> = Box<T>;

    fn map(&self) -> Map {
        self.map
    }

    fn recorded(&self, class: u32, used: u64) -> Vec<std::ops::Range<u64>> {
        self.map.recorded(class, used, |begin, end| os::memfd::present(self.file.as_fd(), begin, end))
    }

    fn at<T: Shared>(&self, offset: u64) -> Result<Box<T>, os::Error> {
        self.copy(offset)
    }
}

impl Source for Segment {
    type At<'s, T: Shared + 's> = &'s T;

    fn map(&self) -> Map {
        Segment::map(self)
    }

    fn recorded(&self, class: u32, used: u64) -> Vec<std::ops::Range<u64>> {
        Segment::recorded(self, class, used)
    }

    fn at<T: Shared>(&self, offset: u64) -> Result<&T, os::Error> {
        self.look(offset).ok_or(os::Error::new("look outside of a domain's window", Errno::RANGE))
    }
}

/// A domain's memory, open for reading.
pub struct Reading {
    file: OwnedFd,
    map: Map,
}

/// Why a file cannot be read as a domain.
#[derive(Debug)]
pub enum Unreadable {
    /// It is none, or not yet.
    Foreign,
    /// Made by another version.
    Version(u32),
    /// The kernel refused.
    System(os::Error),
}

impl From<os::Error> for Unreadable {
    fn from(error: os::Error) -> Self {
        Unreadable::System(error)
    }
}

impl Reading {
    /// Checks what the file says of itself (V1).
    pub fn new(file: OwnedFd) -> Result<Reading, Unreadable> {
        let bytes = os::memfd::size_bytes(file.as_fd())?;
        if bytes < WINDOW_MIN {
            return Err(Unreadable::Foreign);
        }
        let header = copy::<Header>(&file, 0)?;
        if header.magic.load(Relaxed) != MAGIC || header.byte_order.load(Relaxed) != BYTE_ORDER {
            return Err(Unreadable::Foreign);
        }
        let version = header.version.load(Relaxed);
        if version != FORMAT_VERSION {
            return Err(Unreadable::Version(version));
        }
        let map = Map::new(header.window_bytes.load(Relaxed)).filter(|map| map.window_bytes() <= bytes);
        Ok(Reading { file, map: map.ok_or(Unreadable::Foreign)? })
    }

    /// Where everything lies.
    pub fn map(&self) -> Map {
        self.map
    }

    /// A copy of what lies at `offset`.
    pub fn copy<T: Shared>(&self, offset: u64) -> Result<Box<T>, os::Error> {
        self.check(offset, size_of::<T>() as u64)?;
        copy(&self.file, offset)
    }

    /// The header.
    pub fn header(&self) -> Result<Box<Header>, os::Error> {
        self.copy(0)
    }

    /// `count` words from `offset` on.
    pub fn words(&self, offset: u64, count: usize) -> Result<Vec<u64>, os::Error> {
        self.check(offset, count as u64 * 8)?;
        let mut bytes = vec![0; count * 8];
        os::proc::read_at(self.file.as_fd(), offset, &mut bytes)?;
        let word = |chunk: &[u8]| chunk.first_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight));
        Ok(bytes.chunks_exact(8).map(word).collect())
    }

    fn check(&self, offset: u64, bytes: u64) -> Result<(), os::Error> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.map.window_bytes() => Ok(()),
            _ => Err(os::Error::new("read outside of a domain's window", Errno::RANGE)),
        }
    }
}

fn copy<T: Shared>(file: &OwnedFd, offset: u64) -> Result<Box<T>, os::Error> {
    let mut place = Box::<T>::new_uninit();
    let at = place.as_mut_ptr().cast::<u8>();
    // SAFETY: inside the allocation, whose bytes are set before a slice of them is made.
    let bytes = unsafe {
        at.write_bytes(0, size_of::<T>());
        std::slice::from_raw_parts_mut(at, size_of::<T>())
    };
    os::proc::read_at(file.as_fd(), offset, bytes)?;
    // SAFETY: all bytes are set, and any bytes are a valid value of what is `Shared` (segment.rs, G2).
    Ok(unsafe { place.assume_init() })
}
