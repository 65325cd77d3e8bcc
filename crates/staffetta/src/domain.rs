//! A domain as one process holds it: the handle from which everything else is made.
//!
//! | file | one idea |
//! |---|---|
//! | `domain.rs` | the handle |
//! | `options` | what can be chosen, and the ways in |
//! | `entry` | how a process becomes a member |
//! | `window` | the memory file: made, described, checked, mapped |
//!
//! Handles, ends and parcels share this process's [`Member`]; with the last of them it leaves the domain.
//! What can be done with a domain is elsewhere: channels in `channel`, messages in `message`; and so is what
//! a member does for the others (`member.rs`, `roster.rs`, `custody.rs`).

mod entry;
mod options;
mod window;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use crate::channel::builder::ChannelBuilder;
use crate::error::{AllocateError, AttachError, DomainError};
use crate::handle::Handle;
use crate::launch::{Host, Launcher};
use crate::member::Member;
use crate::memory::ledger;
use crate::message::parcel::Parcels;
use crate::message::variable::Variable;
use crate::os::mapping;
use crate::process::wait::Wait;
use crate::reference::{capability, Method};
use crate::{Carried, Message, Receiver, Sender};

pub use options::{Addresses, DomainOptions};

/// A set of processes that share memory and channels; a handle to it.
///
/// Nothing of a domain outlives its processes: when the last one is gone, however it went, the kernel has
/// everything back, the name included.
#[derive(Clone)]
pub struct Domain {
    member: Handle,
    wait: Wait,
    cross_memory: bool,
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain")
            .field("name", &self.member.name)
            .field("process", &self.member.slot)
            .field("base", &format_args!("{:#x}", self.member.segment().base()))
            .finish_non_exhaustive()
    }
}

impl Domain {
    /// Options, to be finished with one of the ways in.
    pub fn options() -> DomainOptions {
        DomainOptions::default()
    }

    /// A domain without a name: for the threads of this process, and for processes it launches.
    ///
    /// # Errors
    /// [`DomainError`].
    pub fn create() -> Result<Domain, DomainError> {
        Domain::options().create()
    }

    /// Opens the domain `name`: joins it, or creates it if there is none.
    ///
    /// # Errors
    /// [`DomainError`]: no name, held by another user, another version, no room for the window.
    pub fn open(name: &str) -> Result<Domain, DomainError> {
        Domain::options().open(name)
    }

    /// Joins the domain `name`, which must exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there is none.
    pub fn join(name: &str) -> Result<Domain, DomainError> {
        Domain::options().join(name)
    }

    /// The domain that this process was started in, by a [`Launcher`](crate::launch::Launcher) or
    /// `staffetta run`.
    ///
    /// # Errors
    /// [`DomainError::Inherit`]: it was not, or this is the second call.
    pub fn inherited() -> Result<Domain, DomainError> {
        Domain::options().join_inherited()
    }

    /// A program to be started in this domain.
    pub fn launcher(&self, program: impl AsRef<std::ffi::OsStr>) -> Launcher<'_> {
        Launcher::of(self, program)
    }

    pub(crate) fn of(member: &Handle) -> Domain {
        Domain { member: member.clone(), wait: Wait::default(), cross_memory: true }
    }

    pub(crate) fn member(&self) -> &Handle {
        &self.member
    }

    pub(crate) fn wait(&self) -> Wait {
        self.wait
    }

    pub(crate) fn cross_memory(&self) -> bool {
        self.cross_memory
    }

    /// The domain's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.member.name.as_deref()
    }

    /// The domain's memory: give it to a child and it can [join](DomainOptions::join_descriptor).
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.member.segment().file()
    }

    /// Where this process maps the window.
    pub fn window_base(&self) -> usize {
        self.member.segment().base()
    }

    /// Bytes of the window.
    pub fn window_bytes(&self) -> u64 {
        self.member.segment().map().window_bytes()
    }

    /// Bytes that messages may occupy, and bytes that they occupy now (free blocks that keep their memory
    /// included).
    pub fn memory(&self) -> Result<(u64, u64), DomainError> {
        let segment = self.here()?.segment();
        Ok((segment.header().budget_bytes.load(Relaxed), ledger::charged_bytes(segment)))
    }

    /// Gives the memory of free blocks back to the kernel; gives the bytes returned.
    ///
    /// # Errors
    /// In a forked child.
    pub fn trim(&self) -> Result<u64, DomainError> {
        let member = self.here()?;
        let capabilities =
            capability::trim(member.segment(), &member.blocks, member.refs.capabilities(), member.slot);
        member.blocks.flush(member.segment());
        Ok(member.blocks.trim(member.segment(), 0).saturating_add(capabilities))
    }

    fn here(&self) -> Result<&Member, DomainError> {
        if self.member.here() {
            Ok(&self.member)
        } else {
            Err(DomainError::Forked)
        }
    }

    /// The sending end of the channel `name`; the channel is made if it does not exist.
    ///
    /// # Errors
    /// [`AttachError`]: the other end fixed something else, or somebody holds this end.
    pub fn sender<T: Carried + ?Sized>(&self, name: &str) -> Result<Sender<T>, AttachError> {
        self.channel(name).sender()
    }

    /// The receiving end of the channel `name`; the channel is made if it does not exist.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    pub fn receiver<T: Carried + ?Sized>(&self, name: &str) -> Result<Receiver<T>, AttachError> {
        self.channel(name).receiver()
    }

    /// A channel of which more is to be said than its name.
    pub fn channel<'d>(&'d self, name: &'d str) -> ChannelBuilder<'d> {
        ChannelBuilder::new(self, name)
    }

    /// Parcels for channels of a reference method.
    pub fn parcels(&self, method: Method) -> Parcels<'_> {
        Parcels { domain: self, method }
    }

    /// A variable of the domain: message or target variable; empty at first.
    ///
    /// # Errors
    /// [`AllocateError`]: the domain is full.
    pub fn variable<T: Message>(&self) -> Result<Variable<T>, AllocateError> {
        Variable::allocate(self, 0)
    }

    /// A variable for slices of at most `n` elements.
    ///
    /// # Errors
    /// As [`variable`](Self::variable).
    pub fn variable_slice<T: Message>(&self, n: usize) -> Result<Variable<[T]>, AllocateError> {
        Variable::allocate(self, n)
    }

    /// A variable for messages with a tail of at most `tail` elements.
    ///
    /// # Errors
    /// As [`variable`](Self::variable).
    pub fn variable_with_tail<T: Message + ?Sized>(&self, tail: usize) -> Result<Variable<T>, AllocateError> {
        Variable::allocate(self, tail)
    }

    /// Makes the memory of the metadata, and of blocks of `bytes` in all, present in this process.
    fn prefault(&self, bytes: u64) -> Result<(), DomainError> {
        let parcel = Parcels { domain: self, method: Method::default() }
            .uninit_aligned(bytes as usize, 1)
            .map_err(DomainError::Prefault)?;
        Ok(mapping::populate(parcel.raw().data(), bytes as usize)?)
    }
}

impl Host for Domain {
    fn memory(&self) -> BorrowedFd<'_> {
        self.descriptor()
    }

    fn window(&self) -> (usize, usize) {
        let refs = &self.member.refs;
        (refs.window_base() as usize, refs.segment().map().window_bytes() as usize)
    }

    fn invite(&self) -> Result<OwnedFd, crate::OsError> {
        let gone = || crate::OsError::new("invite a process into the domain", rustix::io::Errno::SRCH);
        self.member.service.get().ok_or_else(gone)?.invite()
    }
}
