//! What a channel is: kind, degree, reference method, and what its messages are.

use super::call::Patience;
use super::continuation::Continuation;
use super::end::End;
use super::form::{Form, Overflow};
use super::queue::Plan;
use super::ring::Shape;
use crate::error::{RecvError, SendError};
use crate::message::{Message, Schema};
use crate::reference::Method;

/// Most messages that may wait in a channel.
pub const DEGREE_MAX: u64 = 1 << 20;

/// The kinds of channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Synchronous, without a buffer: whoever arrives second hands the message over.
    Rendezvous,
    /// The textbook channel with a buffer: two copies, any degree.
    Basic,
    /// With a buffer in which both sides work in place: no copy, a degree of at least 1.
    Buffered,
    /// As buffered, with many senders, many receivers, or messages that are dropped when it is full: each message goes to
    /// one receiver.
    Queue,
    /// With many receivers, each of which gets each message, in place.
    Broadcast,
    /// Of the newest value only: its sender never waits, its receivers read it in place.
    Latest,
    /// Request-reply: clients call, servers answer.
    Service,
}

impl Kind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Kind::Rendezvous => 1,
            Kind::Basic => 2,
            Kind::Buffered => 3,
            Kind::Queue => 4,
            Kind::Broadcast => 5,
            Kind::Latest => 6,
            Kind::Service => 8,
        }
    }
    pub(crate) const fn from_code(code: u8) -> Option<Kind> {
        match code {
            1 => Some(Kind::Rendezvous),
            2 => Some(Kind::Basic),
            3 => Some(Kind::Buffered),
            4 => Some(Kind::Queue),
            5 => Some(Kind::Broadcast),
            6 => Some(Kind::Latest),
            8 => Some(Kind::Service),
            _ => None,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Kind::Rendezvous => "rendezvous",
            Kind::Basic => "basic",
            Kind::Buffered => "buffered",
            Kind::Queue => "queue",
            Kind::Broadcast => "broadcast",
            Kind::Latest => "latest",
            Kind::Service => "service",
        })
    }
}

/// How messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Content {
    /// The bytes of the message.
    Value,
    /// A reference to a message in the domain.
    Parcel,
}

impl Content {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Content::Value => 1,
            Content::Parcel => 2,
        }
    }
    pub(crate) const fn from_code(code: u8) -> Option<Content> {
        match code {
            1 => Some(Content::Value),
            2 => Some(Content::Parcel),
            _ => None,
        }
    }
}

/// What a channel is, as its first end fixes it.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Kind.
    pub kind: Kind,
    /// Asynchrony degree K (0 for a rendezvous).
    pub degree: u64,
    /// Its ends.
    pub form: Form,
    /// What a death means to it.
    pub continuation: Continuation,
    /// Reference method.
    pub method: Method,
    /// How messages travel.
    pub content: Content,
    /// Longest message of a channel with a buffer, bytes; 0 for a rendezvous.
    pub message_bytes_max: u64,
    /// The messages' layout.
    pub schema: Schema,
}

impl Spec {
    /// Where messages lie in its ring. None: it has none, or it overflows.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let has_ring = matches!(self.kind, Kind::Basic | Kind::Buffered);
        has_ring.then(|| Shape::in_turn(self.degree, self.message_bytes_max, self.ring_align()))?
    }

    /// What its ring is aligned to, at least.
    pub(crate) fn ring_align(&self) -> u64 {
        // In place a message lies as its type wants it; where it is copied any place will do.
        match (self.kind, self.content) {
            (Kind::Buffered, Content::Value) => self.schema.align().max(8),
            _ => 8,
        }
    }

    /// What its queue is. None: it is none, or it overflows.
    pub(crate) fn plan(&self) -> Option<Plan> {
        let form = self.form;
        let align = if self.content == Content::Value { self.schema.align().max(8) } else { 8 };
        // One more than may wait for the message that is built, and two for each receiver (queue/mod.rs, Q7).
        let discards = self.content == Content::Parcel && form.overflow == Overflow::DropOldest;
        let drop = if discards { form.senders } else { 0 };
        let others = self.degree.checked_add(2 * u64::from(form.receivers) + u64::from(drop))?;
        let lane = Shape::new(others, self.message_bytes_max, align)?;
        let degree =
            if form.per_sender { self.degree.checked_mul(form.senders.into())? } else { self.degree };
        let per_sender = form.per_sender.then_some(self.degree);
        let exclusive = form.receivers == 1 && form.per_sender && form.overflow == Overflow::Block;
        let one = self.kind == Kind::Queue && (1..=DEGREE_MAX).contains(&degree);
        one.then_some(Plan { degree, per_sender, lane, exclusive })
    }

    fn write_continuation(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.continuation {
            Continuation::Disconnect => Ok(()),
            other => write!(f, "on a death: {other}, "),
        }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.kind == Kind::Service {
            let Form { senders, receivers, .. } = self.form;
            write!(
                f,
                "service of {} calls per client, at most {senders} clients and {receivers} servers, ",
                self.degree
            )?;
            self.write_continuation(f)?;
            return write!(f, "{} references, of (request, reply) {}", self.method, self.schema);
        }
        write!(f, "{}", self.kind)?;
        if self.kind != Kind::Rendezvous {
            write!(f, " of degree {}", self.degree)?;
            if self.kind == Kind::Queue {
                write!(f, "{}", self.form)?;
            }
            if self.kind == Kind::Broadcast {
                let Form { receivers, slow, .. } = self.form;
                write!(f, ", at most {receivers} receivers, if one is slow {slow}")?;
            }
            write!(f, ", messages of at most {} bytes", self.message_bytes_max)?;
        }
        write!(f, ", ")?;
        self.write_continuation(f)?;
        write!(f, "{} references, of ", self.method)?;
        if self.content == Content::Parcel {
            write!(f, "parcels of ")?;
        }
        write!(f, "{}", self.schema)
    }
}

/// What a channel can carry: any [`Message`], also one of variable length, or a
/// [`Parcel`](crate::Parcel) of one.
pub trait Carried: 'static {
    /// The message, or what is in the parcel.
    type Message: Message + ?Sized;
    #[doc(hidden)]
    const CONTENT: Content;
}

impl<M: Message + ?Sized> Carried for M {
    type Message = M;
    const CONTENT: Content = Content::Value;
}

impl<M: Message + ?Sized> Carried for crate::message::parcel::Parcel<M> {
    type Message = M;
    const CONTENT: Content = Content::Parcel;
}

/// What `send` and `recv` move from process to process: a sized [`Message`], or a [`Parcel`](crate::Parcel).
pub trait Payload: Carried + Sized {
    #[doc(hidden)]
    fn send_on(end: &End, payload: Self, patience: Patience) -> Result<(), SendError<Self>>;
    #[doc(hidden)]
    fn force_on(end: &End, payload: Self) -> Result<Option<Self>, SendError<Self>>;
    #[doc(hidden)]
    fn recv_on(end: &End, patience: Patience) -> Result<Self, RecvError>;
    /// What was in the hand of a receiver that died, and nothing else.
    #[doc(hidden)]
    fn take_back_on(end: &End) -> Vec<Self> {
        let mut back = Vec::new();
        while end.comes_again() {
            match Self::recv_on(end, Patience::Try) {
                Ok(message) => back.push(message),
                Err(RecvError::Torn { .. }) => {}
                Err(_) => break,
            }
        }
        back
    }
}
