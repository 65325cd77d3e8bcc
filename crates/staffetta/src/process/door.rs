//! Finding a domain by its name, and being let in.
//!
//! A domain's name is a listening socket of which every member holds the descriptor, so any of
//! them answers, and the name goes with the last. This file is the side of the one who knocks;
//! `service` is the side that answers.
//!
//! ```text
//!   open -> connect -> refused (nobody) -> take the name -> taken meanwhile? -> again
//!              |                               |
//!              | "Join"                     Created
//!              v
//!           a member answers "Welcome": Joined        ...or "WrongFormat": an error
//!           it ends (the member died)               -> again
//!           silence for 100 ms (it may be stopped)  -> knock once more, and listen to both
//! ```
//!
//! 1. The other side runs as the same user, or nothing is sent to it nor read from it.
//! 2. What `open` does is bounded by `patience`; its periods are for courtesy, not correctness.
//! 3. Whoever answered first is our host; connections to others are closed, which tells them so.

use super::name::Name;
use super::place::{PlaceError, Site};
use super::wire::{self, encode, Member, Message, Stake};
use crate::os;
use crate::os::fork::{without_fork, NotInherited};
use crate::os::socket::{self, Address, Received};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::{Duration, Instant};
use thiserror::Error;

/// After how long a silent member is left to itself and another one is asked.
const KNOCK_AGAIN: Duration = Duration::from_millis(100);
/// How long to wait before looking again, where there is nothing to wait for.
const BREATH: Duration = Duration::from_millis(1);
/// Longer patience is no longer: 100 years, which every clock can add.
const PATIENCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How many unanswered connections are kept at a time.
const KNOCKS_MAX: usize = 32;

/// Which of the two ways in are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Join the domain of this name, or be the first.
    Either,
    /// Be the first, or fail.
    New,
    /// Join, or fail.
    Existing,
}

/// The ways in.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The name was free and is ours now. Joiners wait until a service answers them.
    Created(NotInherited),
    /// A member let us in.
    Joined(Welcome),
}

/// What a joiner gets from the member that answers.
#[derive(Debug)]
pub(crate) struct Welcome {
    /// The domain's memory.
    pub(crate) memory: OwnedFd,
    /// Keeps our place until we are a member.
    pub(crate) stake: Stake,
    /// The listening socket, to be held like everybody else does.
    pub(crate) listener: Option<NotInherited>,
    /// What the domain's layer had to say.
    pub(crate) payload: Vec<u8>,
    /// The connection to the host, which becomes the first link.
    pub(crate) door: NotInherited,
    /// Who answered.
    pub(crate) host: Member,
}

/// Why a domain could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no domain of this name.
    #[error("there is no domain named {name:?}; start the program that creates it, or create it")]
    NoSuchDomain {
        /// The name looked for.
        name: String,
    },
    /// There is one already.
    #[error("a domain named {name:?} exists already; join it, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Another user has taken the name.
    #[error(
        "the name {name:?} is held by another user, uid {uid}; this program runs as uid \
         {own_uid}, and domains are not shared between users: choose another name"
    )]
    ForeignUser {
        /// The name.
        name: String,
        /// Who holds it.
        uid: u32,
        /// The user this process runs as.
        own_uid: u32,
    },
    /// The domain was made by a version of Staffetta with another layout of memory.
    #[error(
        "the domain {name:?} has memory format {theirs}, and this program knows format {ours}; \
         rebuild both with the same version of Staffetta"
    )]
    WrongFormat {
        /// The name.
        name: String,
        /// The format of the domain.
        theirs: u64,
        /// The format of this program.
        ours: u64,
    },
    /// Whoever listens there does not speak our language.
    #[error("the name {name:?} is held by a program that is not Staffetta; choose another name")]
    NotStaffetta {
        /// The name.
        name: String,
    },
    /// Nobody answered in time.
    #[error(
        "the domain {name:?} exists, but none of its members answered within {waited:?}; they \
         may be stopped (SIGSTOP, a debugger), out of file descriptors, or in another network \
         namespace"
    )]
    NoAnswer {
        /// The name.
        name: String,
        /// How long this program waited.
        waited: Duration,
    },
    /// The place cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The kernel refused something else.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// Opens a domain by name.
///
/// `format` is the version of the memory layout this program knows.
pub(crate) fn open(
    site: &Site,
    name: &Name,
    wanted: Wanted,
    format: u64,
    patience: Duration,
) -> Result<Opened, OpenError> {
    let deadline = Instant::now() + patience.min(PATIENCE_MAX);
    let address = site.domain(name)?;
    let knocker = Knocker { name, address: &address, format, patience, deadline };
    loop {
        if wanted != Wanted::New {
            if let Some(welcome) = knocker.knock()? {
                return Ok(Opened::Joined(welcome));
            }
        }
        if wanted == Wanted::Existing {
            return Err(OpenError::NoSuchDomain { name: name.to_string() });
        }
        match site.claim(name, deadline)? {
            Some(listener) => return Ok(Opened::Created(listener)),
            None if wanted == Wanted::New => {
                knocker.is_ours()?;
                return Err(OpenError::NameTaken { name: name.to_string() });
            }
            // Taken between our two looks; whoever took it may not listen yet.
            None if Instant::now() < deadline => std::thread::sleep(BREATH),
            None => return Err(knocker.silence()),
        }
    }
}

/// One who wants to be let in.
struct Knocker<'a> {
    name: &'a Name,
    address: &'a Address,
    format: u64,
    patience: Duration,
    deadline: Instant,
}

/// What trying to connect came to.
enum Attempt {
    /// A connection, with our question in its queue.
    Knocked(NotInherited),
    /// Nobody listens.
    Nobody,
    /// As many as can wait are waiting already; all members may be stopped.
    Crowded,
}

/// What came back on one connection.
enum Answer {
    /// Nothing yet.
    Silence,
    /// It was closed.
    End,
    /// We are in.
    Welcome(Welcome),
}

impl Knocker<'_> {
    /// Knocks until somebody answers. `None` if there is nobody.
    fn knock(&self) -> Result<Option<Welcome>, OpenError> {
        let mut open: Vec<NotInherited> = Vec::new();
        loop {
            if open.len() < KNOCKS_MAX {
                match self.connect()? {
                    Attempt::Knocked(socket) => open.push(socket),
                    Attempt::Nobody if open.is_empty() => return Ok(None),
                    // A connection from before may still have been accepted.
                    Attempt::Nobody => {}
                    Attempt::Crowded => std::thread::sleep(BREATH),
                }
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silence());
            }
            let ready = socket::wait_readable(&open, left.min(KNOCK_AGAIN))
                .map_err(os::Error::when("wait for a member's answer"))?;
            // From the back, so that removing one moves none that is still to be looked at.
            for position in ready.into_iter().rev() {
                match self.listen(&mut open, position)? {
                    Answer::Silence => {}
                    Answer::End => std::thread::sleep(BREATH),
                    Answer::Welcome(welcome) => return Ok(Some(welcome)),
                }
            }
        }
    }

    /// Makes one connection and asks on it.
    fn connect(&self) -> Result<Attempt, OpenError> {
        const DOING: &str = "connect to a domain";
        let socket = match socket::connect(self.address) {
            Ok(socket) => socket,
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(Attempt::Nobody),
            Err(errno) if errno == Errno::AGAIN => return Ok(Attempt::Crowded),
            // A socket of another kind is bound there.
            Err(Errno::PROTOTYPE) => return Err(self.not_staffetta()),
            Err(errno) => return Err(os::Error::new(DOING, errno).into()),
        };
        self.check_user(&socket)?;
        // If it was closed meanwhile, reading will say so.
        let _ = socket::send(&socket, &encode::join(self.format), &[]);
        Ok(Attempt::Knocked(socket))
    }

    /// An error if somebody else holds the name; nothing is said to its holder.
    fn is_ours(&self) -> Result<(), OpenError> {
        match socket::connect(self.address) {
            Ok(socket) => self.check_user(&socket),
            Err(Errno::PROTOTYPE) => Err(self.not_staffetta()),
            // It went meanwhile, or many wait: whose it was does not matter.
            Err(_) => Ok(()),
        }
    }

    /// Invariant 1.
    fn check_user(&self, socket: &NotInherited) -> Result<(), OpenError> {
        let holder = socket::peer(socket).map_err(os::Error::when("ask who holds the name of a domain"))?;
        let own_uid = rustix::process::geteuid().as_raw();
        match holder.uid == own_uid {
            true => Ok(()),
            false => Err(OpenError::ForeignUser { name: self.name.to_string(), uid: holder.uid, own_uid }),
        }
    }

    /// Reads the answer on one of the connections, and takes it out if it is of no more use there.
    fn listen(&self, open: &mut Vec<NotInherited>, position: usize) -> Result<Answer, OpenError> {
        const DOING: &str = "read a member's answer";
        let mut buffer = [0; wire::MESSAGE_MAX];
        // The listener, which may be among the descriptors, is to be registered before a fork.
        let received = without_fork(|| {
            Ok(match socket::receive(&open[position], &mut buffer)? {
                Received::End => None,
                Received::Message { len, descriptors } => Some(wire::decode(&buffer[..len], descriptors)),
            })
        });
        let message = match received {
            Ok(Some(message)) => message,
            Ok(None) => {
                open.swap_remove(position);
                return Ok(Answer::End);
            }
            Err(errno) if errno == Errno::AGAIN => return Ok(Answer::Silence),
            Err(Errno::MSGSIZE) => return Err(self.not_staffetta()),
            Err(errno) => return Err(os::Error::new(DOING, errno).into()),
        };
        match message {
            Ok(Message::Welcome { host, memory, stake, listener, payload }) => Ok(Answer::Welcome(Welcome {
                memory,
                stake,
                listener,
                payload,
                door: open.swap_remove(position),
                host,
            })),
            Ok(Message::WrongFormat { format }) => {
                Err(OpenError::WrongFormat { name: self.name.to_string(), theirs: format, ours: self.format })
            }
            _ => Err(self.not_staffetta()),
        }
    }

    fn not_staffetta(&self) -> OpenError {
        OpenError::NotStaffetta { name: self.name.to_string() }
    }

    fn silence(&self) -> OpenError {
        OpenError::NoAnswer { name: self.name.to_string(), waited: self.patience }
    }
}
