//! What can be chosen when a domain is created, opened or joined, and the ways in.
//!
//! Choices only: nothing is checked before a way in is taken, and then by `entry.rs` and `window.rs`, which
//! do the work. The same options can be used several times.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::Domain;
use crate::error::DomainError;
use crate::process::door::Wanted;
use crate::process::wait::Wait;
use crate::process::Place;

/// Where a process maps the domain's window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Addresses {
    /// At the same address in every process: references are addresses.
    #[default]
    Coinciding,
    /// Wherever there is room: channels of the coinciding method cannot be used.
    Distinct,
}

/// How a domain is created, opened or joined.
///
/// What concerns the domain itself (window, budget, retention) counts when it is created; a joiner takes
/// what is there.
#[derive(Clone, Debug)]
#[must_use = "finish with create(), open(), join() or join_descriptor()"]
pub struct DomainOptions {
    pub(super) window_bytes: Option<u64>,
    pub(super) window_base: Option<usize>,
    pub(super) memory_max_bytes: Option<u64>,
    pub(super) retain_bytes: Option<u64>,
    pub(super) prefault_bytes: u64,
    pub(super) addresses: Addresses,
    pub(super) place: Place,
    pub(super) wait: Wait,
    pub(super) cross_memory: bool,
    pub(super) patience: Duration,
    pub(super) process_name: Option<String>,
}

impl Default for DomainOptions {
    fn default() -> Self {
        DomainOptions {
            window_bytes: None,
            window_base: None,
            memory_max_bytes: None,
            retain_bytes: None,
            prefault_bytes: 0,
            addresses: Addresses::default(),
            place: Place::default(),
            wait: Wait::default(),
            cross_memory: true,
            patience: Duration::from_secs(10),
            process_name: None,
        }
    }
}

impl DomainOptions {
    /// Bytes of address space of the window: a power of two from 16 GiB to 16 TiB. Default: 1 TiB, or as
    /// much as this process's limits allow.
    pub fn window_bytes(mut self, bytes: u64) -> Self {
        self.window_bytes = Some(bytes);
        self
    }

    /// The address at which all processes map the window; picked at creation unless it is given.
    pub fn window_base(mut self, address: usize) -> Self {
        self.window_base = Some(address);
        self
    }

    /// Bytes that messages may occupy in all. Default: half of the smaller of the machine's memory and the
    /// cgroup's limit.
    pub fn memory_max_bytes(mut self, bytes: u64) -> Self {
        self.memory_max_bytes = Some(bytes);
        self
    }

    /// Bytes of memory that free blocks keep, for the next message; beyond, it goes back to the kernel.
    /// Default: a quarter of the budget.
    pub fn retain(mut self, bytes: u64) -> Self {
        self.retain_bytes = Some(bytes);
        self
    }

    /// Sets so many bytes of blocks aside, with their memory present, in this process: the first messages
    /// then cause no page faults. See also [`Parcel::prefault`](crate::Parcel::prefault).
    pub fn prefault(mut self, bytes: u64) -> Self {
        self.prefault_bytes = bytes;
        self
    }

    /// Where this process maps the window.
    pub fn addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Where the name is kept: processes in several network namespaces need a directory that all of them
    /// can see.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Shorthand for [`place`](Self::place) with a directory.
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.place(Place::Directory(path.into()))
    }

    /// How ends of this process wait, unless told otherwise.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Whether ends of this process lend private memory to their peers, and read what peers lend: what
    /// [`send_from`](crate::Sender::send_from) sends is then copied once, where the system allows it (default). Otherwise it is
    /// copied twice, by way of the domain.
    ///
    /// ```
    /// let domain = staffetta::Domain::options().cross_memory(false).create()?;
    /// let (tx, rx) = domain.channel("").rendezvous().unnamed::<[u8]>()?;
    /// let receiver = std::thread::spawn(move || rx.recv_into(&mut [0; 4]).unwrap().copies);
    /// assert_eq!(tx.send_from(b"ciao")?.copies, 2);
    /// assert_eq!(receiver.join().unwrap(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cross_memory(mut self, allowed: bool) -> Self {
        self.cross_memory = allowed;
        self
    }

    /// What this process is called in the domain, of which the first 32 bytes are kept: shown to people, and the name by which it is
    /// succeeded ([`Domain::successor_of`]). Unless it is said, the name that its launcher gave it, or that of its program.
    pub fn process_name(mut self, name: impl Into<String>) -> Self {
        self.process_name = Some(name.into());
        self
    }

    /// How long to wait for a member to answer (default 10 s).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A domain without a name: other processes join by its [descriptor](Domain::descriptor).
    ///
    /// # Errors
    /// [`DomainError`].
    pub fn create(&self) -> Result<Domain, DomainError> {
        self.create_with(self.nameless()?)
    }

    /// Opens the domain `name`: joins it, or creates it if there is none.
    ///
    /// # Errors
    /// [`DomainError`]: no name, held by another user, another version, no room for the window.
    pub fn open(&self, name: &str) -> Result<Domain, DomainError> {
        self.meet(name, Wanted::Either)
    }

    /// Joins the domain `name`, which must exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there is none.
    pub fn join(&self, name: &str) -> Result<Domain, DomainError> {
        self.meet(name, Wanted::Existing)
    }

    /// Creates the domain `name`, which must not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there is one.
    pub fn create_new(&self, name: &str) -> Result<Domain, DomainError> {
        self.meet(name, Wanted::New)
    }

    /// Joins the domain whose memory a descriptor stands for, as a launcher passes it on.
    ///
    /// # Errors
    /// [`DomainError::Foreign`] for anything that is not a domain of this version.
    pub fn join_descriptor(&self, file: OwnedFd) -> Result<Domain, DomainError> {
        self.join_with(self.nameless()?, file, None)
    }
}
