//! Connections: accepted, watched, read, closed.

use super::inquiry::Asked;
use super::thread::{Connection, Core, News, Stage, State, Stop, DOOR, MAILBOX};
use crate::os;
use crate::os::epoll::Interest;
use crate::os::fork::NotInherited;
use crate::os::socket::{self, Received};
use crate::process::link::Key;
use crate::process::wire::{self, encode, Message, Stake};
use rustix::fd::AsFd;
use rustix::io::Errno;

impl Core {
    /// Adds a connection.
    pub(super) fn watch(
        &self,
        state: &mut State,
        socket: NotInherited,
        stage: Stage,
    ) -> Result<Key, os::Error> {
        let key = state.new_key();
        self.epoll.add(&socket, key, Interest::IN | Interest::RDHUP)?;
        state.connections.insert(key, Connection { socket, stage });
        Ok(key)
    }

    /// Stops watching a connection; it is closed when the caller drops it.
    ///
    /// Closing alone would do, if nobody else had a copy of the descriptor; a process that was
    /// just made by `vfork` has, until it execs.
    pub(super) fn close(&self, state: &mut State, key: Key) -> Option<Connection> {
        let connection = state.connections.remove(&key)?;
        // ENOENT if it is paused.
        let _ = self.epoll.remove(&connection.socket);
        Some(connection)
    }

    /// Stops watching something that cannot be dealt with now, so that it does not keep the
    /// thread awake.
    pub(super) fn pause(&self, state: &mut State, key: Key) {
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
    pub(super) fn resume(&self, state: &mut State) {
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
        let postponed = std::mem::take(&mut state.postponed);
        state.asked.extend(postponed);
    }

    /// Accepts everyone who waits at one of our two sockets.
    pub(super) fn accept(&self, state: &mut State, key: Key) -> Result<(), os::Error> {
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

    /// Reads a connection, and draws the conclusions from how that ended.
    pub(super) fn serve_connection(&self, state: &mut State, key: Key) {
        match self.read(state, key, false) {
            Stop::Empty => {}
            Stop::NoDescriptors | Stop::Full => self.pause(state, key),
            Stop::End => {
                let Some(connection) = self.close(state, key) else {
                    return;
                };
                match connection.stage {
                    Stage::Guest(given) => {
                        state.news.extend(given.map(News::Vacated));
                        // It may have published itself, and died before it could say hello.
                        self.audit(state);
                    }
                    Stage::Stake(_) => self.audit(state),
                    Stage::Link(who) => {
                        let verdict = state.peers.ended(who, key);
                        self.unanswered(state, who);
                        self.conclude(state, who, verdict);
                    }
                }
            }
        }
    }

    /// Reads a connection until there is nothing more, or no room for it.
    ///
    /// `make_room`: somebody is here for a descriptor that may lie behind others, so those have room as well.
    pub(super) fn read(&self, state: &mut State, key: Key, make_room: bool) -> Stop {
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
            if !make_room && wire::passes(bytes) && !state.passed.has_room() {
                state.passed.keep_only(|id| self.roster.is_wanted(id));
                if !state.passed.has_room() {
                    return Stop::Full; // invariant 5: it stays where it is
                }
            }
            socket::remove(&connection.socket);
            if let Ok(message) = wire::decode(bytes, descriptors) {
                self.hear(state, key, message);
            }
        }
    }

    /// Reads every connection that there is.
    pub(super) fn read_all(&self, state: &mut State, make_room: bool) -> Vec<Stop> {
        let keys: Vec<Key> = state.connections.keys().copied().collect();
        keys.into_iter().map(|key| self.read(state, key, make_room)).collect()
    }

    /// Acts on a message.
    pub(super) fn hear(&self, state: &mut State, key: Key, message: Message) {
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
                    Ok(what) => *given = Some(what),
                    Err((_, what)) => {
                        // It is gone, or too many descriptors are in flight: closing the
                        // connection sends it to another member, or back to us later.
                        *given = what;
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
            (Message::Pass { id, descriptor }, Stage::Link(who)) => {
                state.passed.put(id, descriptor, *who);
            }
            (Message::Ask { question, id, round }, Stage::Link(who)) => {
                state.asked.push(Asked { who: *who, question, id, round });
                self.bell.ring(); // this may not be the thread that answers
            }
            (Message::Answer { question, id, round, descriptor }, Stage::Link(who)) => {
                let who = *who;
                self.hear_answer(state, who, (question, id), round, descriptor);
            }
            // Out of turn: nothing that a program of this version says. Ignored, not answered
            // with an end, which would be taken for our death (invariant 2).
            _ => {}
        }
    }

    /// Lets somebody in; says which stake it was given, also if that could not be sent.
    pub(super) fn send_welcome(&self, socket: &NotInherited) -> Result<u64, (Errno, Option<u64>)> {
        let Stake { socket: stake, number } = self.site.stake().map_err(|_| (Errno::MFILE, None))?;
        let Some((memory, payload)) = self.roster.welcome(number) else {
            self.site.pull_up(number);
            return Err((Errno::SHUTDOWN, None));
        };
        debug_assert!(payload.len() <= wire::PAYLOAD_MAX, "a welcome has to fit");
        let message = encode::welcome(self.me, number, &payload);
        let descriptors = match &self.door {
            Some(door) => vec![memory, stake.as_fd(), door.as_fd()],
            None => vec![memory, stake.as_fd()],
        };
        match socket::send(socket, &message, &descriptors) {
            Ok(()) => Ok(number),
            Err(errno) => Err((errno, Some(number))),
        }
    }

    pub(super) fn say_hello(&self, socket: &NotInherited) -> Result<(), Errno> {
        socket::send(socket, &encode::hello(self.me), &[self.pidfd.as_fd()])
    }

    /// Closes a guest's connection.
    pub(super) fn forget(&self, state: &mut State, key: Key) {
        let Some(connection) = self.close(state, key) else {
            return;
        };
        if let Stage::Guest(Some(given)) = connection.stage {
            state.news.push(News::Vacated(given));
            self.bell.ring(); // this may not be the thread that tells
        }
    }
}
