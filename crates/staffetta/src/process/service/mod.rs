//! The threads of a member that answer joiners, keep the links, and learn of deaths.
//!
//! ```text
//!                    +--------------------- Core (shared) ---------------------+
//!   other threads -->| pass: puts a descriptor into a peer's queue, at once    |
//!                    | obtain: finds a passed one, reading the links itself,   |
//!                    |   or asks everybody for it, and waits                   |
//!                    +---------------------------------------------------------+
//!                                             ^
//!   the thread "staffetta", blocked in epoll  |
//!     door      a joiner knocks               -> Guest -> "Join" -> Welcome
//!     mailbox   a member connects             -> Guest -> "Hello" -> Link
//!     links     descriptors, goodbye, the end -> Verdict
//!     pidfds    readable: exited              -> Verdict
//!     bell      look again, or stop
//!
//!   the thread "staffetta-vigil", asleep on a word of each member: told of a death earlier
//! ```
//!
//! | file | one idea |
//! |---|---|
//! | `thread` | what thread and callers share; what happened, and what to do |
//! | `connections` | accepted, watched, read, closed |
//! | `links` | linked with everybody, and what follows from an end |
//! | `descriptors` | passed, taken, left to an heir |
//! | `stakes` | places that are reserved, and for whom nobody comes |
//! | `identity` | a member's process number, and whether it is the same process still |
//! | `passed` | descriptors that peers have put into our hands |
//! | `vigil` | deaths, noticed early |
//! | `inquiry` | questions to everybody, and answers |
//!
//! What it does not do: it never touches the domain's memory, but for the words of the vigil. What it learns it tells to a
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
//!    descriptor left, a full backlog), the thread tries again every [`thread::TRY_AGAIN`], and only
//!    then. What a death was told by is closed a while after it. Nothing else ever depends on time.

mod connections;
mod descriptors;
mod error;
mod identity;
mod inquiry;
mod links;
mod passed;
mod stakes;
#[cfg(test)]
mod tests;
mod thread;
mod vigil;

pub(crate) use descriptors::Keepsake;
pub(crate) use error::ObtainError;
pub use error::{PassError, StartError, TakeError};
pub(crate) use identity::Number;
pub(crate) use passed::Handed;

use self::thread::{Core, News, Stage, State, BELL, DOOR, MAILBOX};
use self::vigil::Vigil;
use super::door::Welcome;
use super::name::Name;
use super::place::Site;
#[cfg(doc)]
use super::wire;
use super::wire::{Member, Stake};
use crate::memory::robust::RobustWords;
use crate::os::epoll::{Epoll, Interest};
use crate::os::eventfd::Bell;
use crate::os::fork::{without_fork, ForkGuard, NotInherited};
use crate::os::{self, pidfd, signal, socket};
use rustix::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// What the service needs to know, and whom it tells: the shared process table.
///
/// `died`, `left`, `vacated`, `descriptor` and `unmap` come from the service's thread, one at a time, and
/// may use the service. The others come from any thread and must neither block nor use it.
pub(crate) trait Roster: Send + Sync {
    /// The slot and generation this process has taken.
    fn me(&self) -> Member;

    /// Publishes the address of this member's mailbox (at most 100 bytes), then that it has joined; gives whether it has. It has not
    /// if its place was taken back.
    ///
    /// Sequentially consistent with [`Roster::others`]: of two members that publish and then look,
    /// at least one sees the other.
    fn publish(&self, address: &[u8]) -> bool;

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

    /// What a joiner gets: the domain's memory, and at most [`wire::PAYLOAD_MAX`] bytes. None: this member is
    /// leaving, and cannot let anybody in; the joiner knocks again. `stake` keeps what is reserved for it.
    fn welcome(&self, stake: u64) -> Option<(BorrowedFd<'_>, Vec<u8>)>;

    /// What is reserved and by which stakes: for whom nobody has come yet.
    fn stakes(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Whoever got this stake went away without ever becoming a member: it died, or another member's welcome reached it first. What
    /// was reserved for it can be taken back.
    fn vacated(&self, stake: u64) {
        let _ = stake;
    }

    /// The words by which the kernel says early that a member ends; None: there are none.
    fn robust_words(&self) -> Option<RobustWords> {
        None
    }

    /// A copy of the descriptor that stands for this number, for `whom`; None: it is not here. An error: not
    /// now.
    fn descriptor(&self, id: u64, whom: Member) -> Result<Option<OwnedFd>, os::Error> {
        let _ = (id, whom);
        Ok(None)
    }

    /// Takes what this number stands for out of the address space. False: not yet, somebody uses it for a
    /// moment.
    fn unmap(&self, id: u64) -> bool {
        let _ = id;
        true
    }

    /// Whether anybody may ever ask for the descriptor of this number.
    fn is_wanted(&self, id: u64) -> bool {
        let _ = id;
        true
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
    /// What keeps our place until we are a member.
    pub(crate) stake: Option<Stake>,
    /// The version of the memory layout.
    pub(crate) format: u64,
}

impl Entrance {
    /// For the first member.
    pub(crate) fn created(site: Site, name: Name, listener: NotInherited, format: u64) -> Self {
        Self { site, name: Some(name), listener: Some(listener), host: None, stake: None, format }
    }

    /// For one that was let in. Gives the memory and the payload, too.
    pub(crate) fn joined(
        site: Site,
        name: Option<Name>,
        welcome: Welcome,
        format: u64,
    ) -> (Self, OwnedFd, Vec<u8>) {
        let Welcome { memory, stake, listener, payload, door, host } = welcome;
        let entrance = Self { site, name, listener, host: Some((host, door)), stake: Some(stake), format };
        (entrance, memory, payload)
    }
}

/// What a member's own threads are called: the service's, and the vigil's.
pub(crate) const THREADS: [&str; 2] = ["staffetta", "staffetta-vigil"];

/// A member's service: its threads, and what other threads may ask of it.
///
/// Dropping it is leaving: peers are told goodbye. The roster's slot has to say so *before*, so
/// that nobody who finds the mailbox closed takes it for a death.
pub(crate) struct Service {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
    guard: ForkGuard,
}

impl Service {
    /// Opens the mailbox, publishes it, links with everyone, and starts the thread.
    ///
    /// # Errors
    ///
    /// After any of them the roster's slot is to be given back.
    pub(crate) fn start(entrance: Entrance, roster: Arc<dyn Roster>) -> Result<Self, StartError> {
        let guard = ForkGuard::new()?;
        let Entrance { site, name, listener, host, stake, format } = entrance;
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
            state: Mutex::new(State::new()),
            answered: Condvar::new(),
            bequest: Mutex::new(Vec::new()),
            vigil: roster.robust_words().and_then(Vigil::new),
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
        let is_in = core.roster.publish(&core.address);
        // From here on whether we live is asked at our mailbox.
        if let Some(Stake { socket, number }) = stake {
            drop(socket);
            core.site.pull_up(number);
        }
        if !is_in {
            return Err(StartError::Vacated);
        }
        core.audit(&mut core.lock());

        let core = Arc::new(core);
        let run = {
            let core = Arc::clone(&core);
            move |up: Up| core.run_held(|| up.tell())
        };
        let mut threads = vec![spawn(THREADS[0], run).map_err(StartError::Thread)?];
        if core.vigil.is_some() {
            let keep = {
                let core = Arc::clone(&core);
                move |up: Up| {
                    up.tell();
                    core.vigil.iter().for_each(|vigil| core.keep(vigil));
                }
            };
            match spawn(THREADS[1], keep) {
                Ok(thread) => threads.push(thread),
                Err(_) => core.end_vigil(),
            }
        }
        Ok(Self { core, threads, guard })
    }

    /// A socket with a welcome in it, for a process that is about to become a member without
    /// knocking: the way of a launcher.
    ///
    /// Closing it unused gives up the place ([`Roster::vacated`]).
    pub(crate) fn invite(&self) -> Result<OwnedFd, os::Error> {
        const DOING: &str = "invite a process into the domain";
        if !self.guard.alive() {
            // The lock may have been held when this child was forked, and the descriptors are closed.
            return Err(os::Error::new(DOING, rustix::io::Errno::BADF));
        }
        let core = &self.core;
        let (ours, theirs) = without_fork(|| {
            let (ours, theirs) = socket::pair()?;
            Ok((NotInherited::register(ours)?, theirs))
        })
        .map_err(os::Error::when(DOING))?;
        let given = core.send_welcome(&ours).map_err(|(errno, given)| {
            core.lock().news.extend(given.map(News::Vacated));
            core.bell.ring();
            os::Error::new(DOING, errno)
        })?;
        let stage = Stage::Guest(Some(given));
        core.watch(&mut core.lock(), ours, stage)?;
        Ok(theirs)
    }

    /// Has the process of a member exited, as far as its pidfd says, or its mailbox, which refuses then? The service thread may
    /// not have got round to telling of it, or even to hearing the member's first word. Whether it had left before, its slot says.
    pub(crate) fn has_exited(&self, who: Member) -> bool {
        if !self.guard.alive() {
            return false;
        }
        let mut state = self.core.lock();
        if state.has_heard_of(who).is_none() {
            // What could not be accepted or read now stays for the thread.
            let _ = self.core.accept(&mut state, MAILBOX);
            self.core.read_all(&mut state, false);
        }
        state.has_heard_of(who).unwrap_or_else(|| self.core.refuses(who))
    }

    /// Which members are linked at this moment.
    pub(crate) fn linked(&self) -> Vec<Member> {
        if !self.guard.alive() {
            return Vec::new();
        }
        self.core.lock().peers.linked().collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        if !self.guard.alive() {
            // The threads exist only in our parent, and one may have held the lock when we were
            // forked. The descriptors are closed already; the memory is left alone.
            std::mem::forget((Arc::clone(&self.core), threads));
            return;
        }
        // Release: pairs with the Acquire in `run`.
        self.core.stopping.store(true, Ordering::Release);
        self.core.bell.ring();
        if let Some(vigil) = &self.core.vigil {
            vigil.ring();
        }
        // None of them drops it: the roster only visits the member that has it.
        for thread in threads {
            // A panic of the roster's has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// Tells whoever starts a thread that it is up.
struct Up(std::sync::mpsc::Sender<()>);

impl Up {
    fn tell(self) {
        let _ = self.0.send(());
    }
}

/// Starts a thread that no signal of the program's ever reaches. It is up when this returns: one that has only been asked for
/// can still fail, if memory is taken away now.
fn spawn(name: &str, work: impl FnOnce(Up) + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let (up, is_up) = std::sync::mpsc::channel();
    let thread = signal::with_all_blocked(|| {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || work(Up(up)))
    })?;
    let _ = is_up.recv();
    Ok(thread)
}
