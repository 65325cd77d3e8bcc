//! Where a domain's name is looked up, and where its members are reached.
//!
//! | | domain socket | mailbox of a member | as published |
//! |---|---|---|---|
//! | abstract | `\0staffetta/<uid>/<name>` | `\0staffetta/<uid>/<net>/<random>` | NUL, then the name |
//! | directory | `<dir>/<name>` | `<dir>/.<name>.<slot>.<generation>` | the file name |
//!
//! `<net>` is the network namespace, in which alone an abstract name means anything; so a member
//! can tell "refused" from "cannot be seen from here". A directory may be mounted at different
//! paths in different containers, so only file names are published.
//!
//! What it does not do: it neither accepts nor speaks; see `door` and `service`.
//!
//! 1. An abstract name vanishes with the last descriptor of its socket. The random part of a
//!    mailbox's name makes sure that nobody else ever answers there.
//! 2. A socket file stays behind. It is *stale* if connecting to it is refused, and it is replaced
//!    only under a lock on the directory, after asking once more under the lock.
//! 3. The directory belongs to this user and to nobody else: mode 0700.

use super::name::Name;
use super::wire::Stake;
use crate::os::fork::NotInherited;
use crate::os::socket::{self, Address};
use crate::os::{self, machine};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Connections that may wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Where names of domains live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In the kernel, under this user's number: nothing is left behind, ever. Seen by all
    /// processes of a machine, or of a container with a network of its own.
    #[default]
    Abstract,
    /// In a private directory (mode 0700, created if its parent exists), for processes in several
    /// network namespaces, such as containers that mount it. A socket file that a killed program
    /// left there is replaced when its name is used next.
    Directory(PathBuf),
}

/// Why a place cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The directory cannot be opened or created.
    #[error(
        "cannot use the directory {path:?} for domains: {source}; create it \
         (`mkdir -m 700`), or name another one"
    )]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The directory belongs to somebody else.
    #[error(
        "cannot use the directory {path:?} for domains: it belongs to user {uid}, and this \
         program runs as user {own_uid}; use a directory of your own"
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The user this process runs as.
        own_uid: u32,
    },
    /// Others may enter the directory.
    #[error(
        "cannot use the directory {path:?} for domains: its mode is {mode:o}, so others can \
         get in; `chmod 700` it"
    )]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The kernel refused something else.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// A place that has been looked at and found good.
#[derive(Debug)]
pub(crate) enum Site {
    /// See [`Place::Abstract`].
    Abstract {
        /// The user this process runs as.
        uid: u32,
        /// The network namespace, if known.
        network: Option<u64>,
    },
    /// See [`Place::Directory`].
    Directory {
        /// Its path, without symbolic links.
        path: PathBuf,
        /// The directory itself.
        directory: OwnedFd,
    },
}

/// What trying to reach a member came to.
#[derive(Debug)]
pub(crate) enum Reached {
    /// Connected; whether anyone will answer is another question.
    Connected(NotInherited),
    /// The kernel says that nobody listens there any more.
    Refused,
    /// Not now: no descriptor left, too many connections waiting, the file is missing.
    Later,
    /// The member lives in another network namespace.
    OutOfSight,
}

impl Site {
    /// Looks at a place.
    pub(crate) fn new(place: &Place) -> Result<Self, PlaceError> {
        let uid = rustix::process::geteuid().as_raw();
        let path = match place {
            Place::Abstract => {
                let network = machine::network_namespace();
                return Ok(Self::Abstract { uid, network });
            }
            Place::Directory(path) => path,
        };
        let failed = |source| PlaceError::NoDirectory { path: path.clone(), source };
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let stat = fs::fstat(&directory).map_err(|errno| failed(errno.into()))?;
        if stat.st_uid != uid {
            return Err(PlaceError::ForeignDirectory { path: path.clone(), uid: stat.st_uid, own_uid: uid });
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(PlaceError::OpenToOthers { path: path.clone(), mode: stat.st_mode & 0o7777 });
        }
        let path = path.canonicalize().map_err(failed)?;
        Ok(Self::Directory { path, directory })
    }

    /// The address of a domain's socket.
    pub(crate) fn domain(&self, name: &Name) -> Result<Address, os::Error> {
        match self {
            Self::Abstract { uid, .. } => abstract_address(format!("staffetta/{uid}/{name}").as_bytes()),
            Self::Directory { .. } => self.file(name.as_str()),
        }
    }

    /// Takes a name, if it is free: from then on, others connect to the socket returned.
    ///
    /// `None` if somebody holds it, or may be about to. A stale socket file is replaced.
    ///
    /// # Errors
    ///
    /// `EAGAIN` in [`os::Error::Failed`] if the lock on the directory cannot be had until
    /// `deadline`; otherwise what the kernel says.
    pub(crate) fn claim(&self, name: &Name, deadline: Instant) -> Result<Option<NotInherited>, os::Error> {
        const DOING: &str = "take the name of a domain";
        let address = self.domain(name)?;
        let bind = || match socket::listen(&address, BACKLOG) {
            Ok(listener) => Ok(Some(listener)),
            Err(Errno::ADDRINUSE) => Ok(None),
            Err(errno) => Err(os::Error::new(DOING, errno)),
        };
        let Self::Directory { directory, .. } = self else {
            return bind();
        };
        // Binding, too, happens under the lock: between bind and listen a socket refuses, and
        // would look stale.
        let _lock = Lock::take(directory, deadline)?;
        match socket::connect(&address) {
            Ok(_) | Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNREFUSED) => unlink(directory, name.as_str()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(os::Error::new(DOING, errno)),
        }
        let listener = bind()?;
        if listener.is_some() {
            self.clear(name);
        }
        Ok(listener)
    }

    /// Opens a socket that stands for a slot which is reserved: it lives exactly as long as whoever may still come into that.
    pub(crate) fn stake(&self) -> Result<Stake, os::Error> {
        let number = machine::random()? as u64 | 1;
        let socket =
            socket::listen(&self.staked(number)?, BACKLOG).map_err(os::Error::when("reserve a place"))?;
        Ok(Stake { socket, number })
    }

    fn staked(&self, number: u64) -> Result<Address, os::Error> {
        match self {
            Self::Abstract { uid, network } => {
                let network = network.unwrap_or(0);
                abstract_address(format!("staffetta/{uid}/{network}/stake-{number:016x}").as_bytes())
            }
            Self::Directory { .. } => self.file(&stake_file(number)),
        }
    }

    /// Connects to a stake. Refused: nobody will come.
    pub(crate) fn reach_stake(&self, number: u64) -> Reached {
        match self {
            Self::Abstract { network, .. } if machine::network_namespace() != *network => Reached::OutOfSight,
            _ => match self.staked(number).map(|address| socket::connect(&address)) {
                Ok(Ok(socket)) => Reached::Connected(socket),
                // A file is removed by who came, or by who saw that nobody will. If somebody else did, whoever comes is told.
                Ok(Err(Errno::CONNREFUSED | Errno::NOENT)) => {
                    self.pull_up(number);
                    Reached::Refused
                }
                _ => Reached::Later,
            },
        }
    }

    /// Removes the socket file of a stake that is not needed any more.
    pub(crate) fn pull_up(&self, number: u64) {
        if let Self::Directory { directory, .. } = self {
            unlink(directory, &stake_file(number));
        }
    }

    /// Opens a member's own socket, and says what to publish as its address.
    pub(crate) fn mailbox(
        &self,
        name: Option<&Name>,
        slot: u16,
        generation: u64,
    ) -> Result<(NotInherited, Vec<u8>), os::Error> {
        let (address, published) = match self {
            Self::Abstract { uid, network } => {
                let network = network.unwrap_or(0);
                let random = machine::random()?;
                let text = format!("staffetta/{uid}/{network}/{random:032x}");
                let mut published = vec![0];
                published.extend_from_slice(text.as_bytes());
                (abstract_address(text.as_bytes())?, published)
            }
            Self::Directory { directory, .. } => {
                let name = name.map_or("", Name::as_str);
                let file = format!(".{name}.{slot}.{generation:x}");
                // Slot and generation are ours alone, so what has this name is left over from an
                // earlier domain.
                unlink(directory, &file);
                (self.file(&file)?, file.into_bytes())
            }
        };
        let socket = socket::listen(&address, BACKLOG).map_err(os::Error::when("open a mailbox"))?;
        Ok((socket, published))
    }

    /// The address behind what somebody published, if it means anything to the calling thread.
    pub(crate) fn sight(&self, published: &[u8]) -> Option<Address> {
        match (self, published) {
            (Self::Abstract { uid, network }, [0, text @ ..]) => {
                let here = format!("staffetta/{uid}/{}/", network.unwrap_or(0));
                // A thread may have moved to another namespace since (setns, unshare).
                let seen = text.starts_with(here.as_bytes()) && machine::network_namespace() == *network;
                seen.then(|| abstract_address(text).ok())?
            }
            (Self::Directory { .. }, [b'.', ..]) if !published.contains(&b'/') => {
                self.file(std::str::from_utf8(published).ok()?).ok()
            }
            _ => None,
        }
    }

    /// Connects to the mailbox that somebody published.
    pub(crate) fn reach(&self, published: &[u8]) -> Reached {
        let Some(address) = self.sight(published) else {
            return Reached::OutOfSight;
        };
        match socket::connect(&address) {
            Ok(socket) => Reached::Connected(socket),
            Err(Errno::CONNREFUSED) => Reached::Refused,
            // A missing file proves nothing: someone may have cleaned up the directory.
            Err(_) => Reached::Later,
        }
    }

    /// Removes the socket file of a member that is gone.
    pub(crate) fn remove_mailbox(&self, published: &[u8]) {
        if let (Self::Directory { directory, .. }, Ok(file)) = (self, std::str::from_utf8(published)) {
            if file.starts_with('.') && !file.contains('/') {
                unlink(directory, file);
            }
        }
    }

    /// Removes the socket file of a domain whose last member has just left, if that is so.
    ///
    /// A courtesy: whoever uses the name next would replace it anyway.
    pub(crate) fn tidy(&self, name: &Name) {
        let Self::Directory { directory, .. } = self else {
            return;
        };
        let Ok(_lock) = Lock::take(directory, Instant::now()) else {
            return;
        };
        let refused = |address| matches!(socket::connect(&address), Err(Errno::CONNREFUSED));
        if self.domain(name).is_ok_and(refused) {
            unlink(directory, name.as_str());
        }
    }

    /// Removes the mailboxes that members of an earlier domain of this name left behind.
    fn clear(&self, name: &Name) {
        let Self::Directory { path, directory } = self else {
            return;
        };
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        let prefix = format!(".{name}.");
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|file| file.starts_with(&prefix)) else {
                continue;
            };
            // Another domain's name may begin like ours; only refused ones are touched.
            let refused = |address| matches!(socket::connect(&address), Err(Errno::CONNREFUSED));
            if self.file(file).is_ok_and(refused) {
                unlink(directory, file);
            }
        }
    }

    /// The address of a file in the directory.
    fn file(&self, file: &str) -> Result<Address, os::Error> {
        let path = match self {
            Self::Directory { path, .. } => path.join(file),
            Self::Abstract { .. } => PathBuf::from(file),
        };
        Address::path(&path)
            .or_else(|errno| match self {
                // Too long for a socket address, which has 108 bytes: by way of the descriptor.
                Self::Directory { directory, .. } if errno == Errno::NAMETOOLONG => {
                    let number = directory.as_raw_fd();
                    Address::path(Path::new(&format!("/proc/self/fd/{number}/{file}")))
                }
                _ => Err(errno),
            })
            .map_err(os::Error::when("make the address of a socket file"))
    }
}

fn stake_file(number: u64) -> String {
    format!(".stake.{number:x}")
}

fn abstract_address(name: &[u8]) -> Result<Address, os::Error> {
    Address::abstract_name(name).map_err(os::Error::when("make the address of a socket"))
}

/// Removes a file that may be gone already.
fn unlink(directory: &OwnedFd, file: &str) {
    let _ = fs::unlinkat(directory, file, AtFlags::empty());
}

/// `flock` on a directory of its own opening, released on drop, and by the kernel at death.
struct Lock {
    _file: NotInherited,
}

impl Lock {
    /// Tries until `deadline`: the holder may be stopped in the middle.
    fn take(directory: &OwnedFd, deadline: Instant) -> Result<Self, os::Error> {
        const DOING: &str = "lock the directory of a domain's name (its holder may be stopped)";
        // Opened anew: a lock belongs to the opening, not to the process.
        let file = NotInherited::create(|| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::openat(directory, c".", flags, Mode::empty())
        })
        .map_err(os::Error::when(DOING))?;
        loop {
            match fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(os::Error::new(DOING, errno)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    fn scratch(what: &str) -> PathBuf {
        std::env::temp_dir().join(format!("staffetta-{what}-{}", std::process::id()))
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let place = Place::Directory(scratch("place"));
        let site = Site::new(&place).unwrap();
        let name = Name::new("relay").unwrap();
        let first = site.claim(&name, soon()).unwrap().unwrap();
        assert!(site.claim(&name, soon()).unwrap().is_none());
        let (box_socket, published) = site.mailbox(Some(&name), 3, 9).unwrap();
        assert!(matches!(site.reach(&published), Reached::Connected(_)));
        drop((first, box_socket));
        // A process that another test is starting holds copies of everything until it execs.
        let patient = |done: &dyn Fn() -> bool| {
            let end = soon();
            while !done() {
                assert!(Instant::now() < end);
                std::thread::yield_now();
            }
        };
        patient(&|| matches!(site.reach(&published), Reached::Refused));
        let again = std::cell::RefCell::new(None);
        patient(&|| {
            again.replace(site.claim(&name, soon()).unwrap());
            again.borrow().is_some()
        });
        assert!(matches!(site.reach(&published), Reached::Later), "cleared with the name");
        drop(again);
        let Place::Directory(path) = place else { unreachable!("made above") };
        patient(&|| {
            site.tidy(&name);
            std::fs::remove_dir(&path).is_ok() // nothing is left in it
        });
    }

    #[test]
    fn a_long_path_is_reached_by_its_descriptor() {
        let top = scratch("long");
        let path = top.join("d".repeat(120));
        std::fs::create_dir_all(&top).unwrap();
        let site = Site::new(&Place::Directory(path)).unwrap();
        let name = Name::new("n".repeat(64)).unwrap();
        let listener = site.claim(&name, soon()).unwrap().unwrap();
        socket::connect(&site.domain(&name).unwrap()).unwrap();
        drop(listener);
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let path = scratch("open");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let error = Site::new(&Place::Directory(path.clone())).unwrap_err();
        assert!(matches!(error, PlaceError::OpenToOthers { mode: 0o755, .. }), "{error}");
        std::fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_mailbox_of_another_network_is_out_of_sight() {
        let site = Site::new(&Place::Abstract).unwrap();
        let (_socket, published) = site.mailbox(None, 0, 1).unwrap();
        assert!(published.len() <= 100);
        assert!(matches!(site.reach(&published), Reached::Connected(_)));
        let foreign = b"\0staffetta/0/1/00".to_vec();
        assert!(matches!(site.reach(&foreign), Reached::OutOfSight));
    }
}
