//! Waiting for many descriptors at once.
//!
//! 1. Level-triggered: what is not dealt with is reported again, so nothing can be forgotten.
//! 2. An event carries the `u64` its descriptor was added with; what that means is the caller's
//!    affair, as is ignoring an event whose descriptor it has dropped within the same batch.

use super::fork::NotInherited;
use super::{Error, Result};
use rustix::event::epoll::{self, CreateFlags, EventData};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::time::Timespec;
use std::mem::MaybeUninit;
use std::time::Duration;

pub(crate) use rustix::event::epoll::EventFlags as Interest;

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Epoll(NotInherited);

/// Something has happened to the descriptor that was added under `key`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// What the descriptor was added with.
    pub(crate) key: u64,
    /// What has happened; `HUP` and `ERR` come unasked.
    pub(crate) what: Interest,
}

impl Epoll {
    /// The most events that one [`Epoll::wait`] reports.
    pub(crate) const BATCH: usize = 64;

    /// `epoll_create1`.
    pub(crate) fn new() -> Result<Self> {
        NotInherited::create(|| epoll::create(CreateFlags::CLOEXEC))
            .map(Self)
            .map_err(Error::when("make an epoll instance"))
    }

    /// `EPOLL_CTL_ADD`: from now on, reports `interest` in `fd` under `key`.
    pub(crate) fn add(&self, fd: impl AsFd, key: u64, interest: Interest) -> Result<()> {
        epoll::add(&self.0, fd, EventData::new_u64(key), interest).map_err(Error::when("watch a descriptor"))
    }

    /// `EPOLL_CTL_MOD`: changes what is reported, and under which key.
    pub(crate) fn change(&self, fd: impl AsFd, key: u64, interest: Interest) -> Result<()> {
        epoll::modify(&self.0, fd, EventData::new_u64(key), interest)
            .map_err(Error::when("change how a descriptor is watched"))
    }

    /// `EPOLL_CTL_DEL`. Needed even before closing a descriptor of which a duplicate lives on.
    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<()> {
        epoll::delete(&self.0, fd).map_err(Error::when("stop watching a descriptor"))
    }

    /// `epoll_wait`: blocks until something happens; `events` holds what did.
    ///
    /// An interruption by a signal gives an empty batch.
    pub(crate) fn wait(&self, events: &mut Vec<Event>) -> Result<()> {
        self.collect(events, None)
    }

    /// Like [`Epoll::wait`], but gives an empty batch when nothing happens for `limit`.
    pub(crate) fn wait_for(&self, events: &mut Vec<Event>, limit: Duration) -> Result<()> {
        // A limit beyond the clock's range is none.
        self.collect(events, Timespec::try_from(limit).ok().as_ref())
    }

    fn collect(&self, events: &mut Vec<Event>, limit: Option<&Timespec>) -> Result<()> {
        events.clear();
        let mut room = [MaybeUninit::<epoll::Event>::uninit(); Self::BATCH];
        match epoll::wait(&self.0, &mut room, limit) {
            Ok((happened, _)) => {
                events
                    .extend(happened.iter().map(|event| Event { key: event.data.u64(), what: event.flags }));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::new("wait for descriptors", errno)),
        }
    }
}
