//! Request-reply, typed: [`Client`], [`Server`], and what they hold: [`Pending`], [`Request`].
//!
//! A slot holds `(Req, Rep)`: that is the layout which both ends compare when they attach. The protocol is `service.rs`, which
//! says whose the bytes of a slot are (V1).

#![allow(unsafe_code)] // Messages are written to and read from slots.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::{offset_of, ManuallyDrop};
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::attach::Found;
use super::call::{Memory, Patience, Stop};
use super::crowd::Crowd;
use super::desk::{Desk, DeskSide, DomainPlaces};
use super::ground::EndGround;
use super::select::interest::Interest;
use super::service::{why, Asked, ClientParty, ClientSide, Ended, Hand, ServerParty, ServerSide};
use super::side::{ATTACHED, DIED};
use super::tally::SideCounters;
use crate::error::{AttachError, CallError, CallFailure, RecvError, SendError, SendFailure};
use crate::handle::Handle;
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::message::Message;
use crate::process::wait::Wait;

mod operation;
mod pending;

pub use pending::Pending;

type Places = DomainPlaces<Handle>;

fn deadline_in(time: Duration) -> Option<Instant> {
    // Beyond the clock's end is for ever.
    Instant::now().checked_add(time)
}

fn ground(desk: &Desk) -> EndGround<'_> {
    let record = desk.member.segment().channel(desk.index);
    let (member, method, lender) = (&desk.member, desk.spec.method, &desk.lender);
    let waits = desk.waits;
    EndGround { member, method, sender: &record.sender, lender, returned: None, waits }
}

/// The bytes of a request in a slot.
#[inline(always)]
fn request_at<Req, Rep>(body: *mut u8) -> *mut Req {
    // Inside the slot, which holds both. Wrapping: arithmetic alone needs no promise.
    body.wrapping_add(offset_of!((Req, Rep), 0)).cast()
}

/// The bytes of a reply in a slot.
#[inline(always)]
fn reply_at<Req, Rep>(body: *mut u8) -> *mut Rep {
    body.wrapping_add(offset_of!((Req, Rep), 1)).cast()
}

macro_rules! both_ends {
    ($end:ident, $other:literal) => {
        impl<Req: Message, Rep: Message> $end<Req, Rep> {
            /// How this end waits.
            pub fn wait(&self) -> Wait {
                self.memory.wait.get()
            }

            /// Changes how this end waits.
            pub fn set_wait(&self, wait: Wait) {
                self.memory.wait.set(wait);
            }

            /// The counters of this end. A message of a client is a call, one of a server a request.
            pub fn counters(&self) -> SideCounters {
                if !self.desk.member.here() {
                    return SideCounters::default(); // a forked child has no window
                }
                self.desk.seat().tally.read()
            }

            /// The counters of all clients that there were, and of all servers.
            pub fn channel_counters(&self) -> (SideCounters, SideCounters) {
                let sum = |crowd: &Crowd| {
                    crowd.seats().iter().fold(SideCounters::default(), |sum, seat| sum + seat.tally.read())
                };
                if !self.desk.member.here() {
                    return Default::default();
                }
                (sum(self.desk.service.clients()), sum(self.desk.service.servers()))
            }

            #[doc = concat!("Is there a ", $other, " now?")]
            pub fn has_peer(&self) -> bool {
                self.desk.member.here() && self.desk.others().end().state() == ATTACHED
            }
        }
    };
}

/// The calling end of a service: sends a request, and waits for the reply to it.
///
/// Made by [`ChannelBuilder::client`](crate::ChannelBuilder::client).
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let server = domain.channel("squares").service(4).server::<u32, u64>()?;
/// let client = domain.channel("squares").client::<u32, u64>()?;
/// std::thread::spawn(move || {
///     while let Ok(request) = server.recv() {
///         let square = u64::from(*request) * u64::from(*request);
///         let _ = request.reply(square); // a client that does not wait any more is no error of ours
///     }
/// });
/// assert_eq!(client.call(7)?, 49);
/// // Several calls of one client under way:
/// let calls = [client.begin(2)?, client.begin(3)?];
/// assert_eq!(calls.map(|call| call.wait().unwrap()), [4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<Req: Message, Rep: Message> {
    pub(super) desk: Desk,
    memory: Memory,
    types: PhantomData<(Req, Rep)>,
}

both_ends!(Client, "server");

impl<Req: Message, Rep: Message> Client<Req, Rep> {
    pub(super) fn attach(
        member: &Handle,
        name: &str,
        found: &Found,
        wait: Wait,
    ) -> Result<Self, AttachError> {
        let desk = Desk::attach(member, name, found, true)?;
        let memory = Memory::of(Word(0), desk.others().end(), wait);
        memory.waits.set(found.spec.continuation.waits());
        Ok(Client { desk, memory, types: PhantomData })
    }

    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(ClientParty<'_, Native, Places, EndGround<'_>>) -> R) -> R {
        let side: &ClientSide = match &self.desk.side {
            DeskSide::Client(side) => side,
            DeskSide::Server(_) => unreachable!("attached as a client"),
        };
        let (service, memory) = (&self.desk.service, &self.memory);
        let tally = &service.clients().seat(side.seat).tally;
        f(ClientParty { service, side, ground: &ground(&self.desk), tally, memory })
    }

    /// Sends a request and waits for its reply.
    ///
    /// Where no server is, it waits for one to come, as every end of a named channel does.
    ///
    /// # Errors
    /// [`CallError`] says why there is no reply. If no server took the request it comes back. If a server had it,
    /// nobody knows what became of it.
    #[inline]
    pub fn call(&self, request: Req) -> Result<Rep, CallError<Req>> {
        self.call_until(request, None)
    }

    /// The same, with at most `time` for the whole round trip. A reply that comes later is discarded.
    ///
    /// ```
    /// use std::time::Duration;
    /// use staffetta::CallFailure;
    /// # let domain = staffetta::Domain::create()?;
    /// let server = domain.channel("slow").service(1).server::<u8, u8>()?;
    /// let client = domain.channel("slow").client::<u8, u8>()?;
    /// let late = client.call_timeout(1, Duration::from_millis(1)).unwrap_err();
    /// assert!(matches!(late.why, CallFailure::TimedOut));
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call), and [`CallFailure::TimedOut`].
    #[inline]
    pub fn call_timeout(&self, request: Req, time: Duration) -> Result<Rep, CallError<Req>> {
        self.call_until(request, deadline_in(time))
    }

    /// The same, until `deadline`.
    ///
    /// # Errors
    /// As [`call_timeout`](Self::call_timeout).
    #[inline]
    pub fn call_deadline(&self, request: Req, deadline: Instant) -> Result<Rep, CallError<Req>> {
        self.call_until(request, Some(deadline))
    }

    #[inline]
    fn call_until(&self, request: Req, deadline: Option<Instant>) -> Result<Rep, CallError<Req>> {
        let asked = self.ask(request, deadline)?;
        self.outcome(self.with(|party| party.finish(asked, deadline)))
    }

    /// Sends a request, and does not wait for the reply: so several calls of this client are under way, at most as many
    /// as [`service`](crate::ChannelBuilder::service) said.
    ///
    /// It waits only if the slots of this client are all taken by earlier calls that it gave up and a server still has in
    /// hand.
    ///
    /// # Errors
    /// [`CallFailure::TooMany`], or as [`call`](Self::call).
    #[inline]
    pub fn begin(&self, request: Req) -> Result<Pending<'_, Req, Rep>, CallError<Req>> {
        let asked = self.ask(request, None)?;
        Ok(Pending::new(self, asked))
    }

    #[inline(always)]
    fn ask(&self, request: Req, deadline: Option<Instant>) -> Result<Asked, CallError<Req>> {
        if !self.desk.member.here() {
            return Err(CallError { request: Some(request), why: CallFailure::Forked });
        }
        let asked = self.with(|party| {
            let fill = |body: *mut u8| {
                let (from, to) = (std::ptr::from_ref(&request).cast(), request_at::<Req, Rep>(body).cast());
                // SAFETY: the slot is ours to write, and holds a request (V1; desk.rs checked its length).
                unsafe { party.tally.copy(from, to, size_of::<Req>()) };
            };
            let asked = party.ask(Patience::Until(deadline), fill);
            if asked.is_ok() {
                party.tally.message(size_of::<Req>());
            }
            asked
        });
        asked.map_err(|stop| CallError { request: Some(request), why: self.failure(stop) })
    }

    #[cold]
    fn failure(&self, stop: Stop) -> CallFailure {
        match stop {
            Stop::TimedOut | Stop::WouldBlock if self.memory.awaits(self.desk.others().end()) => {
                CallFailure::PeerAbsent
            }
            Stop::TimedOut | Stop::WouldBlock => CallFailure::TimedOut,
            Stop::Gone(end) if end.state() == DIED => CallFailure::PeerDied,
            Stop::Gone(_) => CallFailure::Disconnected,
            Stop::Held => CallFailure::TooMany { calls: self.desk.service.terms().calls },
            _ => CallFailure::Corrupt,
        }
    }

    #[inline(always)]
    fn outcome(&self, ended: Ended) -> Result<Rep, CallError<Req>> {
        match ended {
            Ended::Replied(body) => {
                let reply = reply_at::<Req, Rep>(body.cast_mut());
                let mut here = std::mem::MaybeUninit::<Rep>::uninit();
                // SAFETY: REPLIED: the server wrote a reply there, and the slot is ours until we ask again (V1).
                let reply = unsafe {
                    let to = here.as_mut_ptr().cast();
                    self.with(|party| party.tally.copy(reply.cast(), to, size_of::<Rep>()));
                    here.assume_init()
                };
                Ok(reply)
            }
            other => self.no_reply(other),
        }
    }

    #[cold]
    fn no_reply(&self, ended: Ended) -> Result<Rep, CallError<Req>> {
        let (request, why) = match ended {
            Ended::Replied(_) | Ended::Refused(why::DROPPED) => (None, CallFailure::Unanswered),
            Ended::Refused(why::DIED) => (None, CallFailure::PeerDied),
            Ended::Refused(why::LEFT) => (None, CallFailure::Disconnected),
            Ended::Refused(_) => (None, CallFailure::Corrupt),
            Ended::GivenUp { stop, request } => {
                // SAFETY: as we wrote it: no server took it, and the slot is ours (V1). It has no drop glue (M2), and
                // what the caller gave away it gets back.
                let request = request.map(|body| unsafe { request_at::<Req, Rep>(body.cast_mut()).read() });
                (request, self.failure(stop))
            }
        };
        Err(CallError { request, why })
    }
}

/// The answering end of a service.
///
/// Made by [`ChannelBuilder::server`](crate::ChannelBuilder::server). Clients are looked at in turn; the requests of one client
/// come in the order in which it made them, and may be answered in any order.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let server = domain.channel("words").service(2).server::<u32, u32>()?;
/// let client = domain.channel("words").client::<u32, u32>()?;
/// let (first, second) = (client.begin(1)?, client.begin(2)?);
/// let (one, two) = (server.recv()?, server.recv()?);
/// two.reply(20)?;
/// one.reply(10)?;
/// assert_eq!((first.wait()?, second.wait()?), (10, 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server<Req: Message, Rep: Message> {
    pub(super) desk: Desk,
    memory: Memory,
    pub(super) interest: Interest,
    /// What a select has taken in hand, or why it could not, and nobody has completed yet.
    pub(super) secured: Cell<Option<Result<Hand, Stop>>>,
    types: PhantomData<(Req, Rep)>,
}

both_ends!(Server, "client");

impl<Req: Message, Rep: Message> Server<Req, Rep> {
    pub(super) fn attach(
        member: &Handle,
        name: &str,
        found: &Found,
        wait: Wait,
    ) -> Result<Self, AttachError> {
        let desk = Desk::attach(member, name, found, false)?;
        let memory = Memory::of(Word(0), desk.others().end(), wait);
        let (interest, secured) = (Interest::default(), Cell::new(None));
        Ok(Server { desk, memory, interest, secured, types: PhantomData })
    }

    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(ServerParty<'_, Native, Places, EndGround<'_>>) -> R) -> R {
        let side: &ServerSide = match &self.desk.side {
            DeskSide::Server(side) => side,
            DeskSide::Client(_) => unreachable!("attached as a server"),
        };
        let (service, memory) = (&self.desk.service, &self.memory);
        let tally = &service.servers().seat(side.seat).tally;
        f(ServerParty { service, side, ground: &ground(&self.desk), tally, memory })
    }

    #[inline(always)]
    fn take(&self, patience: Patience) -> Result<Request<'_, Req, Rep>, RecvError> {
        if !self.desk.member.here() {
            return Err(RecvError::Forked);
        }
        if matches!(patience, Patience::Until(_)) {
            self.interest.used(&self.desk.member); // X1: it says that it waits, and then that it does not
        }
        let taken = self.with(|party| {
            let hand = match self.secured.take() {
                None => party.take(patience)?,
                Some(secured) => secured?,
            };
            party.tally.message(size_of::<Req>());
            Ok(hand)
        });
        match taken {
            Ok(hand) => Ok(Request { server: self, hand }),
            Err(stop) => Err(self.failure(stop)),
        }
    }

    #[cold]
    fn failure(&self, stop: Stop) -> RecvError {
        match stop {
            Stop::TimedOut => RecvError::TimedOut,
            Stop::WouldBlock if self.has_peer() => RecvError::WouldBlock,
            Stop::WouldBlock => RecvError::NoPeer,
            Stop::Gone(end) if end.state() == DIED => RecvError::PeerDied,
            Stop::Gone(_) => RecvError::Disconnected,
            _ => RecvError::Corrupt,
        }
    }

    /// Waits for a request. Any number may be in hand at once, to be answered later.
    ///
    /// # Errors
    /// [`RecvError::Disconnected`] or [`RecvError::PeerDied`] when the last client has gone; the next call waits for a new one.
    #[inline]
    pub fn recv(&self) -> Result<Request<'_, Req, Rep>, RecvError> {
        self.take(Patience::Until(None))
    }

    /// Takes a request if there is one.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`], or as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&self) -> Result<Request<'_, Req, Rep>, RecvError> {
        self.take(Patience::Try)
    }

    /// Waits for a request at most for `time`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`], or as [`recv`](Self::recv).
    #[inline]
    pub fn recv_timeout(&self, time: Duration) -> Result<Request<'_, Req, Rep>, RecvError> {
        self.take(Patience::Until(deadline_in(time)))
    }

    /// Waits for a request until `deadline`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`], or as [`recv`](Self::recv).
    #[inline]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Request<'_, Req, Rep>, RecvError> {
        self.take(Patience::Until(Some(deadline)))
    }

    /// Answers requests one by one until the last client has gone; says how it went.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// # let server = domain.channel("double").service(1).server::<u32, u32>()?;
    /// # let client = domain.channel("double").client::<u32, u32>()?;
    /// let answers = std::thread::spawn(move || server.serve(|request| request * 2));
    /// assert_eq!(client.call(21)?, 42);
    /// drop(client);
    /// assert!(matches!(answers.join().unwrap(), staffetta::RecvError::Disconnected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve(&self, mut answer: impl FnMut(&Req) -> Rep) -> RecvError {
        loop {
            match self.recv() {
                Ok(request) => {
                    let reply = answer(&request);
                    // Nobody waits for it any more: no error of ours.
                    drop(request.reply(reply));
                }
                Err(why) => return why,
            }
        }
    }
}

/// A request in a server's hand, where the client wrote it. Dropping it unanswered tells the client so
/// ([`CallFailure::Unanswered`](crate::CallFailure)).
#[must_use = "dropping it leaves the client without a reply: reply()"]
pub struct Request<'s, Req: Message, Rep: Message> {
    server: &'s Server<Req, Rep>,
    hand: Hand,
}

impl<Req: Message, Rep: Message> Request<'_, Req, Rep> {
    /// Answers. Never waits, whatever the client does.
    ///
    /// # Errors
    /// [`SendFailure::Unwanted`]: the client has given the call up, or is gone; the reply comes back.
    #[inline]
    pub fn reply(self, reply: Rep) -> Result<(), SendError<Rep>> {
        let this = ManuallyDrop::new(self);
        if !this.server.desk.member.here() {
            return Err(SendError { message: reply, why: SendFailure::Forked });
        }
        let delivered = this.server.with(|party| {
            let (from, to) = (std::ptr::from_ref(&reply).cast(), reply_at::<Req, Rep>(this.hand.body).cast());
            // SAFETY: the slot is in our hand, also if the client has given up (V1), and holds a reply (desk.rs checked it).
            unsafe { party.tally.copy(from, to, size_of::<Rep>()) };
            party.reply(this.hand)
        });
        if !delivered {
            return Err(SendError { message: reply, why: SendFailure::Unwanted });
        }
        Ok(())
    }

    /// Had another server this request in hand, and died before it answered? Then it may have done a part of the work. Only of
    /// services that wait for a successor ([`Continuation::WaitForSuccessor`](crate::Continuation)).
    pub fn redelivered(&self) -> bool {
        self.hand.is_redelivered()
    }

    /// Does the client still wait? One that does may give up the next moment.
    pub fn is_wanted(&self) -> bool {
        self.server.desk.member.here() && self.server.with(|party| party.is_wanted(self.hand))
    }
}

impl<Req: Message, Rep: Message> Deref for Request<'_, Req, Rep> {
    type Target = Req;

    #[inline(always)]
    fn deref(&self) -> &Req {
        // SAFETY: the slot is in our hand: nobody writes the request (V1). It is one: both ends agreed on the type.
        unsafe { &*request_at::<Req, Rep>(self.hand.body) }
    }
}

impl<Req: Message, Rep: Message> Drop for Request<'_, Req, Rep> {
    fn drop(&mut self) {
        if self.server.desk.member.here() {
            self.server.with(|party| party.refuse(self.hand));
        }
    }
}
