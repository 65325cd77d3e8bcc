//! The one thread per member that answers joiners, keeps the links, and learns of deaths.
//!
//! ```text
//!                    +--------------------- Core (shared) ---------------------+
//!   other threads -->| pass: puts a descriptor into a peer's queue, at once    |
//!                    | take: finds a passed one, reading the links itself      |
//!                    +---------------------------------------------------------+
//!                                             ^
//!   the thread "staffetta", blocked in epoll  |
//!     door      a joiner knocks               -> Guest -> "Join" -> Welcome
//!     mailbox   a member connects             -> Guest -> "Hello" -> Link
//!     links     descriptors, goodbye, the end -> Verdict
//!     pidfds    readable: exited              -> Verdict
//!     bell      look again, or stop
//! ```
//!
//! What it does not do: it never touches the domain's memory. What it learns it tells to a
//! [`Roster`], which is implemented over the shared process table.
//!
//! Invariants:
//!
//! 1. Every member is linked with every other one, or tries to be. Whoever joins first publishes
//!    its mailbox and then connects to everyone it sees, so of two that join at once at least one
//!    sees the other. After each death all look again, so one that died between publishing and
//!    connecting is found as well: its mailbox refuses.
//! 2. A link to a living member is never closed: its end means death (see `link`).
//! 3. A connection whose other end runs as another user is closed unread.
//! 4. The roster is told of changes from this thread only, and without any lock held; it is asked
//!    from any thread, with the lock held, and must not call back then.
//! 5. Nothing is read from a queue unless there is room for what it carries: descriptors that are
//!    passed are never lost while their receiver lives.
//! 6. No call made here waits for a peer. Where the kernel cannot tell when to try again (no
//!    descriptor left, a full backlog), the thread tries again every [`TRY_AGAIN`], and only
//!    then; nothing else ever depends on time.

use super::door::Welcome;
use super::link::{Key, Peers, Verdict};
use super::name::Name;
use super::passed::{Passed, PASSED_MAX};
use super::place::{Reached, Site};
use super::wire::{self, encode, Member, Message};
use crate::os::epoll::{Epoll, Event, Interest};
use crate::os::eventfd::Bell;
use crate::os::fork::{without_fork, ForkGuard, NotInherited};
use crate::os::socket::{self, Received};
use crate::os::{self, pidfd, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long to wait where only time can tell (invariant 6).
const TRY_AGAIN: Duration = Duration::from_millis(100);

const BELL: Key = 0;
const DOOR: Key = 1;
const MAILBOX: Key = 2;
const FIRST_FREE_KEY: Key = 3;

/// What the service needs to know, and whom it tells: the shared process table.
///
/// `died`, `left` and `forsaken` come from the service's thread, one at a time, and may use the
/// service. The others come from any thread and must neither block nor use it.
pub(crate) trait Roster: Send + Sync {
    /// The slot and generation this process has taken.
    fn me(&self) -> Member;

    /// Publishes the address of this member's mailbox (at most 100 bytes), then that it has joined.
    ///
    /// Sequentially consistent with [`Roster::others`]: of two members that publish and then look,
    /// at least one sees the other.
    fn publish(&self, address: &[u8]);

    /// Everyone who has published an address and has neither left nor died, with that address.
    fn others(&self) -> Vec<(Member, Vec<u8>)>;

    /// Whether a member's slot still says that it is one: same generation, not left, not dead.
    fn is_live(&self, who: Member) -> bool;

    /// The kernel says that this member's process is no more, or runs another program. Called at
    /// most once per member and generation in each process; several processes may be told.
    ///
    /// A goodbye is lost if its queue is full: for a slot that says `left`, this is `left`.
    fn died(&self, who: Member);

    /// This member left in an orderly way. Called once, and then `died` is not.
    fn left(&self, who: Member);

    /// What a joiner gets: the domain's memory, and at most [`wire::PAYLOAD_MAX`] bytes. None: this member is leaving,
    /// and cannot let anybody in; the joiner knocks again.
    fn welcome(&self) -> Option<(BorrowedFd<'_>, Vec<u8>)>;

    /// Whoever got this payload went away without ever becoming a member: it died, or another
    /// member's welcome reached it first. What was reserved for it can be taken back.
    fn forsaken(&self, payload: &[u8]) {
        let _ = payload;
    }
}

/// How this process came to the domain.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The place and the name, if it has one.
    pub(crate) site: Site,
    /// The domain's name.
    pub(crate) name: Option<Name>,
    /// The listening socket of the name.
    pub(crate) listener: Option<NotInherited>,
    /// The connection to the member that let us in.
    pub(crate) host: Option<(Member, NotInherited)>,
    /// The version of the memory layout.
    pub(crate) format: u64,
}

impl Entrance {
    /// For the first member.
    pub(crate) fn created(site: Site, name: Name, listener: NotInherited, format: u64) -> Self {
        Self { site, name: Some(name), listener: Some(listener), host: None, format }
    }

    /// For one that was let in. Gives the memory and the payload, too.
    pub(crate) fn joined(
        site: Site,
        name: Option<Name>,
        welcome: Welcome,
        format: u64,
    ) -> (Self, OwnedFd, Vec<u8>) {
        let Welcome { memory, listener, payload, door, host } = welcome;
        let entrance = Self { site, name, listener, host: Some((host, door)), format };
        (entrance, memory, payload)
    }
}

/// Why a service could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A member lives in another network namespace, where this one cannot reach it.
    #[error(
        "member {slot} of the domain is in another network namespace, where abstract sockets of \
         this one cannot be seen; open the domain with Place::Directory in a directory that both \
         can see"
    )]
    OtherNetwork {
        /// The slot of the member.
        slot: u16,
    },
    /// The thread could not be started.
    #[error("cannot start the service thread: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[source] std::io::Error),
    /// The kernel refused something else.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// Why a descriptor could not be passed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PassError {
    /// The peer has died or left.
    #[error("the process that the descriptor is for is no longer a member of the domain")]
    Gone,
    /// The peer's queue is full, or it cannot be reached at this moment.
    #[error(
        "the receiver's queue of descriptors is full; try again when it has taken some, or \
         after its process runs again"
    )]
    WouldBlock,
    /// This is a forked child of the member.
    #[error("a forked child may not use its parent's domain; join it anew")]
    Forked,
    /// The kernel refused something else.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// Why a descriptor could not be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TakeError {
    /// Nobody has passed one under this number, or it was taken already.
    #[error("no descriptor was passed under the number {id}")]
    Unknown {
        /// The number.
        id: u64,
    },
    /// Too many others lie before it.
    #[error(
        "{PASSED_MAX} descriptors that were passed to this process wait to be taken; take or \
         drop their messages first"
    )]
    Full,
    /// This is a forked child of the member.
    #[error("a forked child may not use its parent's domain; join it anew")]
    Forked,
    /// The kernel refused something else: no descriptor left, for instance. Nothing is lost; try
    /// again when there is.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// A member's service: its thread, and what other threads may ask of it.
///
/// Dropping it is leaving: peers are told goodbye. The roster's slot has to say so *before*, so
/// that nobody who finds the mailbox closed takes it for a death.
pub(crate) struct Service {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
    guard: ForkGuard,
}

/// What the thread and the callers share.
struct Core {
    roster: Arc<dyn Roster>,
    me: Member,
    format: u64,
    site: Site,
    name: Option<Name>,
    address: Vec<u8>,
    epoll: Epoll,
    bell: Bell,
    door: Option<NotInherited>,
    mailbox: NotInherited,
    pidfd: NotInherited,
    stopping: AtomicBool,
    state: Mutex<State>,
}

/// What changes.
struct State {
    next_key: Key,
    connections: HashMap<Key, Connection>,
    pidfds: HashMap<Key, (Member, NotInherited)>,
    peers: Peers,
    passed: Passed,
    /// What the thread is to tell the roster.
    news: Vec<News>,
    /// What is not watched for the time being, to be watched again later (invariant 6).
    paused: Vec<Key>,
    /// Some member is not linked and has to be tried again later.
    incomplete: bool,
}

/// One accepted or made connection.
struct Connection {
    socket: NotInherited,
    stage: Stage,
}

/// Who is at the other end.
enum Stage {
    /// Nobody knows yet. If it was welcomed, this is what it was given.
    Guest(Option<Vec<u8>>),
    /// A member.
    Link(Member),
}

/// Something to tell the roster.
enum News {
    Died(Member),
    Left(Member),
    Forsaken(Vec<u8>),
}

/// How reading a connection came to a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// All is read.
    Empty,
    /// All is read, and no more will come.
    End,
    /// This process has no descriptor left for the next message.
    NoDescriptors,
    /// The table of passed descriptors is full.
    Full,
}

impl Service {
    /// Opens the mailbox, publishes it, links with everyone, and starts the thread.
    ///
    /// # Errors
    ///
    /// After any of them the roster's slot is to be given back.
    pub(crate) fn start(entrance: Entrance, roster: Arc<dyn Roster>) -> Result<Self, StartError> {
        let guard = ForkGuard::new()?;
        let Entrance { site, name, listener, host, format } = entrance;
        let me = roster.me();
        let others = roster.others();
        let hidden = |(who, address): &&(Member, Vec<u8>)| *who != me && site.sight(address).is_none();
        if let Some((who, _)) = others.iter().find(hidden) {
            return Err(StartError::OtherNetwork { slot: who.slot });
        }
        let (mailbox, address) = site.mailbox(name.as_ref(), me.slot, me.generation)?;
        let core = Core {
            me,
            format,
            site,
            name,
            address,
            epoll: Epoll::new()?,
            bell: Bell::new()?,
            door: listener,
            mailbox,
            pidfd: pidfd::of_self()?,
            stopping: AtomicBool::new(false),
            state: Mutex::new(State {
                next_key: FIRST_FREE_KEY,
                connections: HashMap::new(),
                pidfds: HashMap::new(),
                peers: Peers::default(),
                passed: Passed::default(),
                news: Vec::new(),
                paused: Vec::new(),
                incomplete: false,
            }),
            roster,
        };
        core.epoll.add(&core.bell, BELL, Interest::IN)?;
        core.epoll.add(&core.mailbox, MAILBOX, Interest::IN)?;
        if let Some(door) = &core.door {
            core.epoll.add(door, DOOR, Interest::IN)?;
        }
        // Our host hears of us before anyone can see us: if we die from here on, it knows.
        if let Some((host, door)) = host {
            core.greet(&mut core.lock(), host, door, true);
        }
        core.roster.publish(&core.address);
        core.audit(&mut core.lock());

        let core = Arc::new(core);
        let run = {
            let core = Arc::clone(&core);
            move || core.run()
        };
        let thread =
            signal::with_all_blocked(|| thread::Builder::new().name("staffetta".to_owned()).spawn(run))
                .map_err(StartError::Thread)?;
        Ok(Self { core, thread: Some(thread), guard })
    }

    /// Puts a descriptor into a peer's queue, under a number the peer will ask for.
    ///
    /// When this returns the descriptor is the kernel's to deliver: it arrives even if this
    /// process is killed at once. The number has to be new to the receiver.
    pub(crate) fn pass(&self, to: Member, id: u64, fd: BorrowedFd<'_>) -> Result<(), PassError> {
        if !self.guard.alive() {
            return Err(PassError::Forked);
        }
        let core = &self.core;
        let mut state = core.lock();
        if to == core.me {
            if !state.passed.has_room() {
                return Err(PassError::WouldBlock);
            }
            let copy =
                rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(os::Error::when("duplicate a descriptor"))?;
            state.passed.put(id, copy);
            return Ok(());
        }
        if state.peers.is_gone(to) || !core.roster.is_live(to) {
            return Err(PassError::Gone);
        }
        if !state.peers.is_linked(to) {
            let address = core.roster.others().into_iter().find(|(who, _)| *who == to);
            let Some((_, address)) = address else {
                return Err(PassError::Gone);
            };
            match core.site.reach(&address) {
                Reached::Connected(socket) => {
                    core.greet(&mut state, to, socket, false);
                }
                // The thread will find out what that means (invariant 4).
                Reached::Refused | Reached::Later | Reached::OutOfSight => {
                    core.bell.ring();
                    return Err(PassError::WouldBlock);
                }
            }
        }
        let message = encode::pass(id);
        for key in state.peers.links(to) {
            let Some(connection) = state.connections.get(key) else {
                continue;
            };
            match socket::send(&connection.socket, &message, &[fd]) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => {
                    return Err(PassError::WouldBlock);
                }
                // This one has ended; the thread will say so. Another may still be open.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {}
                Err(errno) => return Err(os::Error::new("pass a descriptor", errno).into()),
            }
        }
        Err(PassError::Gone)
    }

    /// The descriptor that somebody passed under a number.
    ///
    /// What is still in a socket's queue is read here and now, so that a descriptor passed before
    /// a message was sent is found by whoever received the message.
    pub(crate) fn take(&self, id: u64) -> Result<OwnedFd, TakeError> {
        const DOING: &str = "take a descriptor that was passed";
        if !self.guard.alive() {
            return Err(TakeError::Forked);
        }
        let core = &self.core;
        let mut state = core.lock();
        if let Some(descriptor) = state.passed.take(id) {
            return Ok(descriptor);
        }
        let accepted = core.accept(&mut state, MAILBOX);
        let keys: Vec<Key> = state.connections.keys().copied().collect();
        let (mut starved, mut full) = (false, false);
        for key in keys {
            match core.read(&mut state, key, Some(id)) {
                Stop::NoDescriptors => starved = true,
                Stop::Full => full = true,
                // Ends are for the thread, which sees them as well.
                Stop::Empty | Stop::End => {}
            }
            if let Some(descriptor) = state.passed.take(id) {
                return Ok(descriptor);
            }
        }
        accepted?;
        if starved {
            return Err(os::Error::new(DOING, Errno::MFILE).into());
        }
        Err(if full { TakeError::Full } else { TakeError::Unknown { id } })
    }

    /// A socket with a welcome in it, for a process that is about to become a member without
    /// knocking: the way of a launcher.
    ///
    /// Closing it unused gives up the place ([`Roster::forsaken`]).
    pub(crate) fn invite(&self) -> Result<OwnedFd, os::Error> {
        const DOING: &str = "invite a process into the domain";
        let core = &self.core;
        let (ours, theirs) = without_fork(|| {
            let (ours, theirs) = socket::pair()?;
            Ok((NotInherited::register(ours)?, theirs))
        })
        .map_err(os::Error::when(DOING))?;
        let payload = core.send_welcome(&ours).map_err(|(errno, payload)| {
            core.lock().news.push(News::Forsaken(payload));
            core.bell.ring();
            os::Error::new(DOING, errno)
        })?;
        let stage = Stage::Guest(Some(payload));
        core.watch(&mut core.lock(), ours, stage)?;
        Ok(theirs)
    }

    /// Has the process of a member exited, as far as its pidfd says? The service thread may not have got round to
    /// telling of it. Whether it had left before, its slot says.
    pub(crate) fn has_exited(&self, who: Member) -> bool {
        self.guard.alive() && {
            let state = self.core.lock();
            let of = state.pidfds.values().find(|(of, _)| *of == who);
            of.map_or_else(|| state.peers.is_gone(who), |(_, pidfd)| pidfd::has_exited(pidfd.as_fd()))
        }
    }

    /// Which members are linked at this moment.
    #[cfg(test)]
    pub(crate) fn linked(&self) -> Vec<Member> {
        if !self.guard.alive() {
            return Vec::new();
        }
        self.core.lock().peers.linked().collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !self.guard.alive() {
            // The thread exists only in our parent, and may have held the lock when we were
            // forked. The descriptors are closed already; the memory is left alone.
            std::mem::forget((Arc::clone(&self.core), thread));
            return;
        }
        // Release: pairs with the Acquire in `run`.
        self.core.stopping.store(true, Ordering::Release);
        self.core.bell.ring();
        if thread.thread().id() == thread::current().id() {
            return; // dropped by the roster, from a callback; the thread stops after it
        }
        // A panic of the roster's has been printed; there is nothing to add.
        let _ = thread.join();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Runs when both the service and its thread are done, in this process.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let links: Vec<Key> = state.peers.all_links().collect();
        for key in links {
            if let Some(connection) = state.connections.get(&key) {
                // A full queue drops it; then the slot, which says `left`, speaks for us.
                let _ = socket::send(&connection.socket, &encode::goodbye(), &[]);
            }
        }
        self.site.remove_mailbox(&self.address);
        if let (Some(name), Some(door)) = (&self.name, self.door.take()) {
            drop(door);
            self.site.tidy(name);
        }
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst one message unread; the state has no broken
        // in-between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn run(&self) {
        let mut events: Vec<Event> = Vec::with_capacity(Epoll::BATCH);
        let mut next_try: Option<Instant> = None;
        loop {
            self.tell();
            // Acquire: pairs with the Release of whoever drops the service.
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            if !self.lock().has_to_try_again() {
                next_try = None;
            } else if next_try.is_none() {
                next_try = Some(Instant::now() + TRY_AGAIN);
            }
            let waited = match next_try {
                None => self.epoll.wait(&mut events),
                Some(moment) => {
                    let left = moment.saturating_duration_since(Instant::now());
                    self.epoll.wait_for(&mut events, left)
                }
            };
            if waited.is_err() {
                // Cannot happen to an epoll of our own; if it does, do not spin.
                thread::sleep(TRY_AGAIN);
            }
            let mut state = self.lock();
            if next_try.is_some_and(|moment| Instant::now() >= moment) {
                next_try = None;
                self.resume(&mut state);
            }
            for event in &events {
                self.serve(&mut state, *event);
            }
        }
    }

    /// Tells the roster what has happened (invariant 4).
    fn tell(&self) {
        loop {
            let news = std::mem::take(&mut self.lock().news);
            if news.is_empty() {
                return;
            }
            let mut look_again = false;
            for item in news {
                match item {
                    News::Died(who) => {
                        self.roster.died(who);
                        look_again = true;
                    }
                    News::Left(who) => self.roster.left(who),
                    News::Forsaken(payload) => self.roster.forsaken(&payload),
                }
            }
            if look_again {
                self.audit(&mut self.lock()); // invariant 1
            }
        }
    }

    /// Deals with one event.
    fn serve(&self, state: &mut State, event: Event) {
        match event.key {
            BELL => {
                self.bell.hush();
                self.audit(state);
            }
            DOOR | MAILBOX => {
                if self.accept(state, event.key).is_err() {
                    self.pause(state, event.key);
                }
            }
            key if state.connections.contains_key(&key) => self.serve_connection(state, key),
            key => {
                if let Some((who, _)) = state.pidfds.get(&key) {
                    let who = *who;
                    self.bury(state, who);
                }
            }
        }
    }

    /// Reads a connection, and draws the conclusions from how that ended.
    fn serve_connection(&self, state: &mut State, key: Key) {
        match self.read(state, key, None) {
            Stop::Empty => {}
            Stop::NoDescriptors | Stop::Full => self.pause(state, key),
            Stop::End => {
                let Some(connection) = self.close(state, key) else {
                    return;
                };
                match connection.stage {
                    Stage::Guest(given) => {
                        state.news.extend(given.map(News::Forsaken));
                        // It may have published itself, and died before it could say hello.
                        self.audit(state);
                    }
                    Stage::Link(who) => {
                        let verdict = state.peers.ended(who, key);
                        self.conclude(state, who, verdict);
                    }
                }
            }
        }
    }

    /// Stops watching a connection; it is closed when the caller drops it.
    ///
    /// Closing alone would do, if nobody else had a copy of the descriptor; a process that was
    /// just made by `vfork` has, until it execs.
    fn close(&self, state: &mut State, key: Key) -> Option<Connection> {
        let connection = state.connections.remove(&key)?;
        // ENOENT if it is paused.
        let _ = self.epoll.remove(&connection.socket);
        Some(connection)
    }

    /// A process has exited: reads what it had sent, then reports it.
    fn bury(&self, state: &mut State, who: Member) {
        for key in state.peers.links(who).to_vec() {
            // A goodbye may be waiting. What stays because there is no room for it stays watched.
            let _ = self.read(state, key, None);
        }
        let verdict = state.peers.gone(who);
        self.conclude(state, who, verdict);
        self.unwatch_process(state, who);
    }

    /// Acts on a verdict.
    fn conclude(&self, state: &mut State, who: Member, verdict: Verdict) {
        match verdict {
            Verdict::Nothing => {}
            Verdict::Ask => self.audit(state),
            Verdict::AskLater => state.incomplete = true,
            Verdict::Died => {
                state.news.push(News::Died(who));
                self.unwatch_process(state, who);
            }
            Verdict::Left => {
                state.news.push(News::Left(who));
                self.unwatch_process(state, who);
            }
        }
    }

    /// Connects to every member that is not linked yet (invariant 1).
    fn audit(&self, state: &mut State) {
        state.incomplete = false;
        let others = self.roster.others();
        for who in state.peers.in_doubt() {
            if !others.iter().any(|(other, _)| *other == who) {
                // Somebody else has found out, and told the roster.
                let verdict = state.peers.gone(who);
                self.conclude(state, who, verdict);
            }
        }
        for (who, address) in others {
            if who == self.me || state.peers.is_gone(who) || state.peers.is_linked(who) {
                continue;
            }
            match self.site.reach(&address) {
                Reached::Connected(socket) => self.greet(state, who, socket, false),
                Reached::Refused => {
                    // If the slot has changed since the roster was asked, it has left, or others
                    // have told of its death. That is no news of one whom we never knew.
                    let news = self.roster.is_live(who) || state.peers.in_doubt().contains(&who);
                    let verdict = state.peers.gone(who);
                    if news {
                        self.conclude(state, who, verdict);
                    }
                }
                // Of one that cannot be seen from here others will tell the roster.
                Reached::Later | Reached::OutOfSight => state.incomplete = true,
            }
        }
    }

    /// Says hello on a connection that we made; from then on it is a link.
    fn greet(&self, state: &mut State, who: Member, socket: NotInherited, answered: bool) {
        if self.say_hello(&socket).is_err() {
            // It ended meanwhile; whether that was a death is asked at the mailbox.
            state.incomplete = true;
            return;
        }
        match self.watch(state, socket, Stage::Link(who)) {
            Ok(key) => state.peers.link(who, key, answered),
            Err(_) => state.incomplete = true,
        }
    }

    /// Lets somebody in; says what was promised to it, also if that could not be sent.
    fn send_welcome(&self, socket: &NotInherited) -> Result<Vec<u8>, (Errno, Vec<u8>)> {
        let (memory, payload) = self.roster.welcome().ok_or((Errno::SHUTDOWN, Vec::new()))?;
        debug_assert!(payload.len() <= wire::PAYLOAD_MAX, "a welcome has to fit");
        let message = encode::welcome(self.me, &payload);
        let descriptors = match &self.door {
            Some(door) => vec![memory, door.as_fd()],
            None => vec![memory],
        };
        match socket::send(socket, &message, &descriptors) {
            Ok(()) => Ok(payload),
            Err(errno) => Err((errno, payload)),
        }
    }

    fn say_hello(&self, socket: &NotInherited) -> Result<(), Errno> {
        socket::send(socket, &encode::hello(self.me), &[self.pidfd.as_fd()])
    }

    /// Adds a connection.
    fn watch(&self, state: &mut State, socket: NotInherited, stage: Stage) -> Result<Key, os::Error> {
        let key = state.new_key();
        self.epoll.add(&socket, key, Interest::IN | Interest::RDHUP)?;
        state.connections.insert(key, Connection { socket, stage });
        Ok(key)
    }

    /// Stops watching something that cannot be dealt with now, so that it does not keep the
    /// thread awake.
    fn pause(&self, state: &mut State, key: Key) {
        let removed = match (key, &self.door, state.connections.get(&key)) {
            (MAILBOX, _, _) => self.epoll.remove(&self.mailbox),
            (DOOR, Some(door), _) => self.epoll.remove(door),
            (_, _, Some(connection)) => self.epoll.remove(&connection.socket),
            _ => return,
        };
        if removed.is_ok() {
            state.paused.push(key);
        }
    }

    /// Watches again what was paused, and tries again to link with whom we are not linked.
    fn resume(&self, state: &mut State) {
        for key in std::mem::take(&mut state.paused) {
            let all = Interest::IN | Interest::RDHUP;
            let added = match (key, &self.door, state.connections.get(&key)) {
                (MAILBOX, _, _) => self.epoll.add(&self.mailbox, key, Interest::IN),
                (DOOR, Some(door), _) => self.epoll.add(door, key, Interest::IN),
                (_, _, Some(connection)) => self.epoll.add(&connection.socket, key, all),
                _ => continue,
            };
            if added.is_err() {
                state.paused.push(key);
            }
        }
        if state.incomplete {
            self.audit(state);
        }
    }

    /// Accepts everyone who waits at one of our two sockets.
    fn accept(&self, state: &mut State, key: Key) -> Result<(), os::Error> {
        let listener = match (key, &self.door) {
            (MAILBOX, _) => &self.mailbox,
            (_, Some(door)) => door,
            (_, None) => return Ok(()),
        };
        loop {
            let socket = match socket::accept(listener) {
                Ok(socket) => socket,
                Err(errno) if errno == Errno::AGAIN => return Ok(()),
                Err(errno) => return Err(os::Error::new("accept a connection", errno)),
            };
            let own_uid = rustix::process::geteuid().as_raw();
            if socket::peer(&socket).is_ok_and(|peer| peer.uid == own_uid) {
                self.watch(state, socket, Stage::Guest(None))?;
            }
        }
    }

    /// Reads a connection until there is nothing more, or no room for it.
    ///
    /// A descriptor passed under `wanted` has room always: its caller is here for it.
    fn read(&self, state: &mut State, key: Key, wanted: Option<u64>) -> Stop {
        let mut buffer = [0; wire::MESSAGE_MAX];
        loop {
            let Some(connection) = state.connections.get(&key) else {
                return Stop::Empty;
            };
            let (len, descriptors) = match socket::peek(&connection.socket, &mut buffer) {
                Ok(Received::Message { len, descriptors }) => (len, descriptors),
                Ok(Received::End) => return Stop::End,
                Err(Errno::MFILE) => return Stop::NoDescriptors,
                Err(Errno::MSGSIZE) => continue, // not of our language, and removed
                Err(_) => return Stop::Empty,
            };
            let bytes = &buffer[..len];
            let passed = wire::passed_id(bytes);
            if passed.is_some() && passed != wanted && !state.passed.has_room() {
                return Stop::Full; // invariant 5: it stays where it is
            }
            socket::remove(&connection.socket);
            if let Ok(message) = wire::decode(bytes, descriptors) {
                self.hear(state, key, message);
            }
        }
    }

    /// Acts on a message.
    fn hear(&self, state: &mut State, key: Key, message: Message) {
        let Some(connection) = state.connections.get_mut(&key) else {
            return;
        };
        match (message, &mut connection.stage) {
            (Message::Join { format }, Stage::Guest(given)) if given.is_none() => {
                if format != self.format {
                    let answer = encode::wrong_format(self.format);
                    let _ = socket::send(&connection.socket, &answer, &[]);
                    return;
                }
                match self.send_welcome(&connection.socket) {
                    Ok(payload) => *given = Some(payload),
                    Err((_, payload)) => {
                        // It is gone, or too many descriptors are in flight: closing the
                        // connection sends it to another member, or back to us later.
                        *given = Some(payload);
                        self.forget(state, key);
                    }
                }
            }
            (Message::Hello { me: who, pidfd }, Stage::Guest(_)) => {
                connection.stage = Stage::Link(who);
                // If it is gone by now, reading further will say so.
                let _ = self.say_hello(&connection.socket);
                state.peers.link(who, key, true);
                self.watch_process(state, who, pidfd);
            }
            (Message::Hello { me, pidfd }, Stage::Link(who)) if me == *who => {
                state.peers.answered(me);
                self.watch_process(state, me, pidfd);
            }
            (Message::Goodbye, Stage::Link(who)) => {
                let who = *who;
                state.peers.goodbye(who);
            }
            (Message::Pass { id, descriptor }, Stage::Link(_)) => {
                state.passed.put(id, descriptor);
            }
            // Out of turn: nothing that a program of this version says. Ignored, not answered
            // with an end, which would be taken for our death (invariant 2).
            _ => {}
        }
    }

    /// Closes a guest's connection.
    fn forget(&self, state: &mut State, key: Key) {
        let Some(connection) = self.close(state, key) else {
            return;
        };
        if let Stage::Guest(Some(payload)) = connection.stage {
            state.news.push(News::Forsaken(payload));
            self.bell.ring(); // this may not be the thread that tells
        }
    }

    /// Watches a peer's process, once.
    fn watch_process(&self, state: &mut State, who: Member, pidfd: Option<OwnedFd>) {
        let Some(pidfd) = pidfd.filter(|fd| pidfd::is_pidfd(fd.as_fd())) else {
            return; // the links tell of a death as well
        };
        if state.peers.is_gone(who) || state.pidfds.values().any(|(of, _)| *of == who) {
            return;
        }
        let key = state.new_key();
        let Ok(pidfd) = NotInherited::register(pidfd) else {
            return;
        };
        if self.epoll.add(&pidfd, key, Interest::IN).is_ok() {
            state.pidfds.insert(key, (who, pidfd));
        }
    }

    /// Gives up the pidfd of one that is gone.
    fn unwatch_process(&self, state: &mut State, who: Member) {
        state.pidfds.retain(|_, (of, pidfd)| {
            if *of == who {
                let _ = self.epoll.remove(&*pidfd);
            }
            *of != who
        });
    }
}

impl State {
    /// Names something to be watched.
    fn new_key(&mut self) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    fn has_to_try_again(&self) -> bool {
        self.incomplete || !self.paused.is_empty()
    }
}
