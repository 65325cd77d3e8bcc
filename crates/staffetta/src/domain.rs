//! The domain: creating it, opening it, joining it.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::channel::builder::ChannelBuilder;
use crate::error::{AllocateError, AttachError, DomainError};
use crate::launch::{self, Host, Inherited, Launcher};
use crate::member::Member;
use crate::memory::header::{Header, BYTE_ORDER, FORMAT_VERSION, MAGIC};
use crate::memory::map::{Map, PROCESSES_MAX, WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN};
use crate::memory::segment::Segment;
use crate::message::parcel::Parcels;
use crate::message::variable::Variable;
use crate::os::fork::{ForkGuard, NotInherited};
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd::{self, Seals};
use crate::os::{machine, mapping};
use crate::process::door::{self, Wanted};
use crate::process::place::Site;
use crate::process::service::{Entrance, Service};
use crate::process::wait::Wait;
use crate::process::{Name, Place};
use crate::reference::{Method, References};
use crate::roster;
use crate::{Carried, Message, Receiver, Sender};

/// Where a process maps the domain's window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Addresses {
    /// At the same address in every process: references are addresses.
    #[default]
    Coinciding,
    /// Wherever there is room: channels of the coinciding method cannot be used.
    Distinct,
}

/// A set of processes that share memory and channels; a handle to it.
///
/// Nothing of a domain outlives its processes: when the last one is gone, however it went, the kernel has everything back,
/// the name included.
#[derive(Clone)]
pub struct Domain {
    member: Arc<Member>,
    wait: Wait,
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

/// How a domain is created, opened or joined.
///
/// What concerns the domain itself (window, budget, retention) counts when it is created; a joiner takes what is there.
#[derive(Clone, Debug)]
#[must_use = "finish with create(), open(), join() or join_descriptor()"]
pub struct DomainOptions {
    window_bytes: Option<u64>,
    window_base: Option<usize>,
    memory_max_bytes: Option<u64>,
    retain_bytes: Option<u64>,
    prefault_bytes: u64,
    addresses: Addresses,
    place: Place,
    wait: Wait,
    patience: Duration,
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
            patience: Duration::from_secs(10),
        }
    }
}

impl DomainOptions {
    /// Bytes of address space of the window: a power of two from 16 GiB to 16 TiB. Default: 1 TiB, or as much as this
    /// process's limits allow.
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

    /// Bytes of memory that free blocks keep, for the next message; beyond, it goes back to the kernel. Default: a
    /// quarter of the budget.
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

    /// Where the name is kept: processes in several network namespaces need a directory that all of them can see.
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
        let entrance = Entrance {
            site: Site::new(&self.place)?,
            name: None,
            listener: None,
            host: None,
            format: FORMAT_VERSION.into(),
        };
        self.create_with(entrance)
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
        let entrance = Entrance {
            site: Site::new(&self.place)?,
            name: None,
            listener: None,
            host: None,
            format: FORMAT_VERSION.into(),
        };
        self.join_with(entrance, file, None)
    }

    fn meet(&self, name: &str, wanted: Wanted) -> Result<Domain, DomainError> {
        let name = Name::new(name)?;
        // A process is one member of a domain, however often it opens it.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|known| known.member.strong_count() != 0);
        if wanted != Wanted::New {
            let same = |known: &&Opened| {
                (known.addresses, known.name.as_str()) == (self.addresses, name.as_str())
                    && known.place == self.place
            };
            let member = opened.iter().find(same).and_then(|known| known.member.upgrade());
            if let Some(member) = member.filter(|member| member.here()) {
                return Ok(Domain { member, wait: self.wait });
            }
        }
        let site = Site::new(&self.place)?;
        let format = FORMAT_VERSION.into();
        let known_as = name.as_str().to_owned();
        let domain = match door::open(&site, &name, wanted, format, self.patience)? {
            door::Opened::Created(listener) => {
                self.create_with(Entrance::created(site, name, listener, format))?
            }
            door::Opened::Joined(welcome) => {
                let (entrance, file, payload) = Entrance::joined(site, Some(name), welcome, format);
                self.join_with(entrance, file, Some(&payload))?
            }
        };
        opened.push(Opened {
            place: self.place.clone(),
            name: known_as,
            addresses: self.addresses,
            member: Arc::downgrade(&domain.member),
        });
        Ok(domain)
    }

    /// Joins what `launched!()` has mapped before `main`.
    fn join_inherited(&self) -> Result<Domain, DomainError> {
        let Inherited { mapping, welcome } = launch::inherited()?;
        let format = FORMAT_VERSION.into();
        let (entrance, file, payload) = Entrance::joined(Site::new(&self.place)?, None, welcome, format);
        let file = memfd::keep_here(file)?;
        let (map, base) = check_file(file.as_fd())?;
        let segment = Segment::new(mapping, file, map).ok_or_else(|| foreign("it is too short"))?;
        self.enter(entrance, References::new(segment, base), Some(&payload))
    }

    /// Builds the domain in a file that nobody else knows, and publishes it last.
    fn create_with(&self, entrance: Entrance) -> Result<Domain, DomainError> {
        let budget = self.budget()?;
        let (file, mapping, map) = self.make_window()?;
        memfd::add_seals(file.as_fd(), Seals::SHRINK | Seals::GROW)?;
        let base = mapping.base().as_ptr() as u64;
        let segment = Segment::new(mapping, file, map).ok_or_else(|| foreign("it is too short"))?;
        let header = segment.header();
        header.window_bytes.store(map.window_bytes(), Relaxed);
        header.window_base.store(base, Relaxed);
        header.page_bytes.store(mapping::page_size() as u64, Relaxed);
        header.budget_bytes.store(budget, Relaxed);
        header.retain_bytes.store(self.retain_bytes.unwrap_or(budget / 4), Relaxed);
        let random = machine::random()?;
        header.identity[0].store(random as u64, Relaxed);
        header.identity[1].store((random >> 64) as u64, Relaxed);
        header.byte_order.store(BYTE_ORDER, Relaxed);
        header.version.store(FORMAT_VERSION, Relaxed);
        header.magic.store(MAGIC, Release);
        self.enter(entrance, References::new(segment, base), None)
    }

    fn join_with(
        &self,
        entrance: Entrance,
        file: OwnedFd,
        payload: Option<&[u8]>,
    ) -> Result<Domain, DomainError> {
        let file = memfd::keep_here(file)?;
        let (map, base) = check_file(file.as_fd())?;
        let placement = match self.addresses {
            Addresses::Coinciding => Placement::At(base as usize),
            Addresses::Distinct => Placement::Anywhere,
        };
        let mapping =
            Mapping::map(file.as_fd(), 0, map.window_bytes() as usize, placement, Access::ReadWrite)
                .map_err(|source| match self.addresses {
                    Addresses::Coinciding => DomainError::WindowOccupied { base: base as usize, source },
                    Addresses::Distinct => source.into(),
                })?;
        let segment = Segment::new(mapping, file, map).ok_or_else(|| foreign("it is too short"))?;
        self.enter(entrance, References::new(segment, base), payload)
    }

    /// Takes a slot, starts the service, and is a member.
    fn enter(
        &self,
        entrance: Entrance,
        refs: References,
        payload: Option<&[u8]>,
    ) -> Result<Domain, DomainError> {
        let guard = ForkGuard::new()?;
        let file = refs.segment().file().try_clone_to_owned().map_err(DomainError::Descriptor)?;
        let file = memfd::keep_here(file)?;
        let name = entrance.name.as_ref().map(|name| name.as_str().to_owned());
        let full = || DomainError::TooManyProcesses { max: PROCESSES_MAX };
        // A welcome reserves a slot; one without means that all are taken.
        let reserved = match payload {
            Some(payload) => Some(roster::reserved_slot(payload).ok_or_else(full)?),
            None => None,
        };
        let member = Member::join(refs, name, guard, reserved).ok_or_else(full)?;
        let member = Arc::new(member);
        let service = Service::start(entrance, Arc::new(roster::Table::new(&member, file)))?;
        let _ = member.service.set(service);
        let domain = Domain { member, wait: self.wait };
        if self.prefault_bytes != 0 {
            domain.prefault(self.prefault_bytes)?;
        }
        Ok(domain)
    }

    fn budget(&self) -> Result<u64, DomainError> {
        let mut limit = machine::memory_bytes();
        let mut source_of_limit = "the machine's memory";
        if let Some(cgroup) = machine::cgroup_memory_limit_bytes().filter(|bytes| *bytes < limit) {
            limit = cgroup;
            source_of_limit = "the memory limit of this control group";
        }
        if matches!(machine::overcommit(), Some(machine::Overcommit::Never)) {
            if let Some(left) = machine::commit_left_bytes().filter(|bytes| *bytes < limit) {
                limit = left;
                source_of_limit = "what vm.overcommit_memory=2 leaves to commit";
            }
        }
        match self.memory_max_bytes {
            Some(bytes) if bytes > limit => Err(DomainError::Budget { bytes, limit, source_of_limit }),
            Some(bytes) => Ok(bytes),
            None => Ok(limit / 2),
        }
    }

    /// A file and its mapping; the window steps down where limits are in the way.
    fn make_window(&self) -> Result<(NotInherited, Mapping, Map), DomainError> {
        let window =
            |bytes| Map::new(bytes).ok_or(DomainError::Window { bytes, min: WINDOW_MIN, max: WINDOW_MAX });
        if let Some(bytes) = self.window_bytes {
            return self.try_window(window(bytes)?);
        }
        let mut bytes = WINDOW_DEFAULT;
        loop {
            match self.try_window(window(bytes)?) {
                Err(_) if bytes > WINDOW_MIN => bytes /= 2,
                other => return other,
            }
        }
    }

    fn try_window(&self, map: Map) -> Result<(NotInherited, Mapping, Map), DomainError> {
        let file = memfd::create_here(c"staffetta", map.window_bytes(), true)?;
        let len = map.window_bytes() as usize;
        let at = |placement| Mapping::map(file.as_fd(), 0, len, placement, Access::ReadWrite);
        if let Some(base) = self.window_base {
            let mapping =
                at(Placement::At(base)).map_err(|source| DomainError::WindowOccupied { base, source })?;
            return Ok((file, mapping, map));
        }
        let random = machine::random()? as u64;
        let free = bases(len, random).find_map(|base| at(Placement::At(base)).ok());
        // Nowhere of the usual places: where the kernel likes, which other programs may not have free.
        let mapping = free.map_or_else(|| at(Placement::Anywhere), Ok)?;
        Ok((file, mapping, map))
    }
}

/// A domain that this process has opened by name.
struct Opened {
    place: Place,
    name: String,
    addresses: Addresses,
    member: Weak<Member>,
}

/// Held while a name is opened, so that two threads that open the same one become one member.
static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// Where the window may lie: the part of the address space that programs (position independent ones begin at
/// 0x5500_0000_0000, the kernel places mappings from the top down), the sanitizers (AddressSanitizer's shadow ends
/// at 0x1000_8000_0000) and language runtimes (Go: from 0xc0_0000_0000, Java: low addresses) leave free.
const BASES: Range<usize> = 0x1100_0000_0000..0x5500_0000_0000;
/// The same for 39-bit address spaces.
const BASES_SMALL: Range<usize> = 0x10_0000_0000..0x40_0000_0000;
/// Places that are tried at creation.
const BASES_TRIED: usize = 16;

/// Places for a window of `len` bytes (a power of two), beginning with a random one: a process may be in several domains, made by
/// others who know nothing of each other.
fn bases(len: usize, random: u64) -> impl Iterator<Item = usize> {
    [BASES, BASES_SMALL].into_iter().flat_map(move |range| {
        let places = (range.end - range.start) / len;
        let first = range.start.next_multiple_of(len);
        (0..places.min(BASES_TRIED))
            .map(move |i| first + (random as usize % places + i) % places * len)
            .filter(move |base| base + len <= range.end)
    })
}

/// Reads and checks what a file says of itself (header.rs, D2), before it is mapped whole.
fn check_file(file: BorrowedFd<'_>) -> Result<(Map, u64), DomainError> {
    let page = mapping::page_size();
    let bytes = memfd::size_bytes(file)?;
    if bytes < WINDOW_MIN {
        return Err(foreign(format!("it has only {bytes} bytes")));
    }
    let seals = memfd::seals(file).map_err(|_| foreign("it is not a memory file"))?;
    if !seals.contains(Seals::SHRINK) {
        return Err(foreign("it can shrink: it is not sealed"));
    }
    let first = Mapping::map(file, 0, page.max(size_of::<Header>()), Placement::Anywhere, Access::Read)?;
    let header = crate::memory::segment::header_of(&first).ok_or_else(|| foreign("it has no header"))?;
    if header.magic.load(Relaxed) != MAGIC {
        return Err(foreign("its first bytes are not those of a domain"));
    }
    if header.byte_order.load(Relaxed) != BYTE_ORDER {
        return Err(DomainError::ByteOrder);
    }
    let version = header.version.load(Relaxed);
    if version != FORMAT_VERSION {
        return Err(DomainError::Version { theirs: version, ours: FORMAT_VERSION });
    }
    if header.page_bytes.load(Relaxed) != page as u64 {
        return Err(foreign("it was made with another page size"));
    }
    let window = header.window_bytes.load(Relaxed);
    let map = Map::new(window).filter(|map| map.window_bytes() <= bytes);
    let map = map.ok_or_else(|| foreign(format!("its window of {window} bytes is impossible")))?;
    let base = header.window_base.load(Relaxed);
    if base % page as u64 != 0 || base.checked_add(window).is_none_or(|end| end > 1 << 56) {
        return Err(foreign(format!("its window cannot lie at {base:#x}")));
    }
    Ok((map, base))
}

fn foreign(what: impl Into<String>) -> DomainError {
    DomainError::Foreign { what: what.into() }
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

    /// The domain that this process was started in, by a [`Launcher`](crate::launch::Launcher) or `staffetta run`.
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

    pub(crate) fn of(member: &Arc<Member>) -> Domain {
        Domain { member: member.clone(), wait: Wait::default() }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    pub(crate) fn wait(&self) -> Wait {
        self.wait
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

    /// Bytes that messages may occupy, and bytes that they occupy now (free blocks that keep their memory included).
    pub fn memory(&self) -> Result<(u64, u64), DomainError> {
        let header = self.here()?.segment().header();
        Ok((header.budget_bytes.load(Relaxed), header.charged_bytes.load(Relaxed)))
    }

    /// Gives the memory of free blocks back to the kernel; gives the bytes returned.
    ///
    /// # Errors
    /// In a forked child.
    pub fn trim(&self) -> Result<u64, DomainError> {
        let member = self.here()?;
        let capabilities = crate::reference::capability::trim(member.segment(), member.refs.capabilities());
        member.blocks.flush(member.segment());
        Ok(member.blocks.trim(member.segment(), 0) + capabilities)
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
