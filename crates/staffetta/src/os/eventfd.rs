//! A descriptor that one thread rings and another one waits for.

use super::fork::NotInherited;
use super::{Error, Result};
use rustix::event::EventfdFlags;
use rustix::fd::{AsFd, BorrowedFd};

/// A bell: rung any number of times, heard once.
#[derive(Debug)]
pub(crate) struct Bell(NotInherited);

impl Bell {
    /// `eventfd`, not blocking.
    pub(crate) fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        NotInherited::create(|| rustix::event::eventfd(0, flags))
            .map(Self)
            .map_err(Error::when("make an eventfd"))
    }

    /// Makes the descriptor readable. Never blocks: a bell that is ringing already stays so.
    pub(crate) fn ring(&self) {
        // EAGAIN, a full counter, means that it is ringing, which is all that was wanted.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable again. Call it before looking for what the ring was about.
    pub(crate) fn hush(&self) {
        // EAGAIN means that it was not ringing.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
