//! What the service's thread and the callers share, and what the thread does with what happens.

use super::descriptors::Keepsake;
use super::inquiry::{Asked, Inquiries};
use super::passed::Passed;
use super::vigil::Vigil;
use super::Roster;
use crate::os::epoll::{Epoll, Event};
use crate::os::eventfd::Bell;
use crate::os::fork::NotInherited;
use crate::os::program::Program;
use crate::os::{pidfd, socket};
use crate::process::link::{Key, Peers};
use crate::process::name::Name;
use crate::process::place::Site;
use crate::process::wire::{encode, Member};
use rustix::fd::AsFd;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait where only time can tell (invariant 6).
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(100);

pub(super) const BELL: Key = 0;
pub(super) const DOOR: Key = 1;
pub(super) const MAILBOX: Key = 2;
const FIRST_FREE_KEY: Key = 3;

/// What the thread and the callers share.
pub(super) struct Core {
    pub(super) roster: Arc<dyn Roster>,
    pub(super) me: Member,
    pub(super) format: u64,
    pub(super) site: Site,
    pub(super) name: Option<Name>,
    pub(super) address: Vec<u8>,
    pub(super) epoll: Epoll,
    pub(super) bell: Bell,
    pub(super) door: Option<NotInherited>,
    pub(super) mailbox: NotInherited,
    pub(super) pidfd: NotInherited,
    pub(super) stopping: AtomicBool,
    pub(super) state: Mutex<State>,
    /// Something has happened to an inquiry.
    pub(super) answered: Condvar,
    /// What this member leaves to others ([`Service::bequeath`]).
    pub(super) bequest: Mutex<Vec<Keepsake>>,
    /// How deaths are noticed early, where that can be.
    pub(super) vigil: Option<Vigil>,
}

/// What changes.
pub(super) struct State {
    pub(super) next_key: Key,
    pub(super) connections: HashMap<Key, Connection>,
    pub(super) pidfds: HashMap<Key, (Member, NotInherited)>,
    /// Of those whose end was told, and when, before the kernel has freed their memory.
    pub(super) dying: HashMap<Key, (Instant, NotInherited)>,
    /// Somebody keeps the vigil.
    pub(super) has_vigil: bool,
    /// Whom it is kept for.
    pub(super) watched: Vec<(Member, Arc<Program>)>,
    /// Whom it was kept for, and when they were gone: closed later.
    pub(super) over: VecDeque<(Instant, Arc<Program>)>,
    pub(super) peers: Peers,
    pub(super) passed: Passed,
    /// What we ask others.
    pub(super) inquiries: Inquiries,
    /// How many rounds of questions this process has begun.
    pub(super) rounds: u64,
    /// What others ask us.
    pub(super) asked: Vec<Asked>,
    /// What others ask us and cannot be answered yet, to be tried again later (invariant 6).
    pub(super) postponed: Vec<Asked>,
    /// What the thread is to tell the roster.
    pub(super) news: Vec<News>,
    /// What is not watched for the time being, to be watched again later (invariant 6).
    pub(super) paused: Vec<Key>,
    /// Some member is not linked and has to be tried again later.
    pub(super) incomplete: bool,
}

/// One accepted or made connection.
pub(super) struct Connection {
    pub(super) socket: NotInherited,
    pub(super) stage: Stage,
}

/// Who is at the other end.
pub(super) enum Stage {
    /// Nobody knows yet. If it was welcomed, this is the number of its stake.
    Guest(Option<u64>),
    /// A member.
    Link(Member),
    /// Whoever may still come into a place that is reserved.
    Stake(u64),
}

/// Something to tell the roster.
pub(super) enum News {
    Died(Member),
    Left(Member),
    Vacated(u64),
}

/// How reading a connection came to a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All is read.
    Empty,
    /// All is read, and no more will come.
    End,
    /// This process has no descriptor left for the next message.
    NoDescriptors,
    /// The table of passed descriptors is full.
    Full,
}

impl Drop for Core {
    fn drop(&mut self) {
        // Runs when both the service and its thread are done, in this process.
        let mut state = self.lock();
        // Before the goodbye: whoever sees our end finds with somebody else what was passed to us, up to now.
        let _ = self.accept(&mut state, MAILBOX);
        self.read_all(&mut state, true);
        let mut bequest = self.bequest.lock().unwrap_or_else(PoisonError::into_inner);
        super::descriptors::leave_behind(&state, &mut bequest, |_| true);
        let links: Vec<Key> = state.peers.all_links().collect();
        for key in links {
            if let Some(connection) = state.connections.get(&key) {
                // A full queue drops it; then the slot, which says `left`, speaks for us.
                let _ = socket::send(&connection.socket, &encode::goodbye(), &[]);
            }
        }
        drop((state, bequest));
        self.site.remove_mailbox(&self.address);
        if let (Some(name), Some(door)) = (&self.name, self.door.take()) {
            drop(door);
            self.site.tidy(name);
        }
    }
}

impl Core {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst one message unread; the state has no broken
        // in-between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    pub(super) fn run(&self) {
        let mut events: Vec<Event> = Vec::with_capacity(Epoll::BATCH);
        let mut next_try: Option<Instant> = None;
        loop {
            self.tell();
            self.answer_all();
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
                    News::Left(who) => {
                        self.roster.left(who);
                        look_again = true; // it may have let somebody in who has not come yet (`stakes`)
                    }
                    News::Vacated(stake) => {
                        self.roster.vacated(stake);
                        self.site.pull_up(stake);
                    }
                }
            }
            if look_again {
                let mut state = self.lock();
                self.audit(&mut state); // invariant 1
                                        // What the dead had freed is nobody's to ask for: no descriptor keeps its memory.
                state.passed.keep_only(|id| self.roster.is_wanted(id));
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
                } else if let Some((_, pidfd)) = state.dying.remove(&key) {
                    let _ = self.epoll.remove(&pidfd);
                    self.answered.notify_all();
                }
            }
        }
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            next_key: FIRST_FREE_KEY,
            connections: HashMap::new(),
            pidfds: HashMap::new(),
            dying: HashMap::new(),
            has_vigil: true,
            watched: Vec::new(),
            over: VecDeque::new(),
            peers: Peers::default(),
            passed: Passed::default(),
            inquiries: Inquiries::default(),
            rounds: 0,
            asked: Vec::new(),
            postponed: Vec::new(),
            news: Vec::new(),
            paused: Vec::new(),
            incomplete: false,
        }
    }

    /// Has a member's process exited? None: it has not told us its pidfd.
    pub(super) fn has_heard_of(&self, who: Member) -> Option<bool> {
        let pidfd = self.pidfds.values().find(|(of, _)| *of == who);
        let exited = pidfd.map(|(_, pidfd)| pidfd::has_exited(pidfd.as_fd()));
        exited.or(self.peers.is_gone(who).then_some(true))
    }

    /// Names something to be watched.
    pub(super) fn new_key(&mut self) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    fn has_to_try_again(&self) -> bool {
        self.incomplete || !self.paused.is_empty() || !self.postponed.is_empty()
    }
}
