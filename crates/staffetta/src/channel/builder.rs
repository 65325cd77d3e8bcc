//! What a program says of a channel before it attaches an end.

use super::attach::{find_or_make, is_unnamed, make_unnamed, Wish};
use super::end::End;
use super::receiver::Receiver;
use super::sender::Sender;
use super::spec::{Carried, Kind};
use crate::error::AttachError;
use crate::process::wait::Wait;
use crate::reference::Method;
use crate::{Domain, Message};

/// A channel about to be attached; made by [`Domain::channel`].
///
/// What is left unsaid is whatever the other end has fixed, or the default: a rendezvous, with the reference method
/// of the domain.
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("log").basic(16).sender::<[u8; 80]>()?;
/// let rx = domain.receiver::<[u8; 80]>("log")?;
/// tx.send([b'.'; 80])?;
/// assert_eq!(rx.recv()?[0], b'.');
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "attach an end with sender() or receiver()"]
pub struct ChannelBuilder<'d> {
    domain: &'d Domain,
    name: &'d str,
    kind: Option<Kind>,
    degree: Option<u64>,
    method: Option<Method>,
    message_bytes_max: Option<u64>,
    wait: Wait,
}

impl<'d> ChannelBuilder<'d> {
    pub(crate) fn new(domain: &'d Domain, name: &'d str) -> Self {
        ChannelBuilder {
            domain,
            name,
            kind: None,
            degree: None,
            method: None,
            message_bytes_max: None,
            wait: domain.wait(),
        }
    }

    /// The synchronous channel without a buffer.
    pub fn rendezvous(mut self) -> Self {
        self.kind = Some(Kind::Rendezvous);
        self.degree = Some(0);
        self
    }

    /// The textbook channel of asynchrony degree `degree`: two copies of every message.
    pub fn basic(mut self, degree: u64) -> Self {
        self.kind = Some(Kind::Basic);
        self.degree = Some(degree);
        self
    }

    /// The channel of asynchrony degree `degree`, from 1 to 2^20, in place: no copy.
    ///
    /// It has `degree + 1` target variables, *slots*. The sender builds its message in one
    /// ([`Sender::reserve`]), the receiver works on one and gives it back
    /// ([`Receiver::recv_ref`]); `send` and `recv` copy a value into and out of them. A send blocks exactly when
    /// `degree` messages wait; the one that the receiver has in hand does not count.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("frames").buffered(2).sender::<[u8; 4096]>()?;
    /// let rx = domain.receiver::<[u8; 4096]>("frames")?;
    /// let mut frame = tx.reserve()?.zeroed();
    /// frame[0] = 7;
    /// frame.send()?;
    /// let frame = rx.recv_ref()?;
    /// assert_eq!((frame.seq(), frame[0]), (0, 7));
    /// drop(frame); // the sender may use its slot again
    /// let (sent, received) = tx.channel_counters();
    /// assert_eq!(sent.bytes_copied + received.bytes_copied, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Degree 0 is refused when an end is attached: a channel without a buffer is a [`rendezvous`](Self::rendezvous).
    ///
    /// *From the theory: the asynchronous channel without copies, of k+1 target variables.*
    pub fn buffered(mut self, degree: u64) -> Self {
        self.kind = Some(Kind::Buffered);
        self.degree = Some(degree);
        self
    }

    /// The reference method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Longest message, bytes, of a channel with a buffer whose messages have variable length (default 1 MiB).
    pub fn message_bytes_max(mut self, bytes: u64) -> Self {
        self.message_bytes_max = Some(bytes);
        self
    }

    /// How this end waits; changeable later.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    fn wish<T: Carried + ?Sized>(&self) -> Wish {
        Wish {
            kind: self.kind,
            degree: self.degree,
            method: self.method,
            message_bytes_max: self.message_bytes_max,
            content: T::CONTENT,
            schema: T::Message::schema(),
        }
    }

    fn end<T: Carried + ?Sized>(&self, is_sender: bool) -> Result<End, AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        let found = find_or_make(member, self.name, &self.wish::<T>())?;
        End::attach(member, self.name, found, is_sender, self.wait)
    }

    /// Attaches the sending end: finds the channel or makes it.
    ///
    /// # Errors
    /// [`AttachError`]: the other end fixed something else, somebody holds this end, the name is none.
    pub fn sender<T: Carried + ?Sized>(self) -> Result<Sender<T>, AttachError> {
        self.end::<T>(true).map(Sender::new)
    }

    /// Attaches the receiving end: finds the channel or makes it.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    pub fn receiver<T: Carried + ?Sized>(self) -> Result<Receiver<T>, AttachError> {
        self.end::<T>(false).map(Receiver::new)
    }

    /// Both ends of a channel without a name, for the threads of this process. When one has left the other says
    /// `Disconnected` for ever.
    ///
    /// # Errors
    /// [`AttachError`]: no room for another channel.
    pub fn unnamed<T: Carried + ?Sized>(self) -> Result<(Sender<T>, Receiver<T>), AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        let found = make_unnamed(member, &self.wish::<T>())?;
        let sender = End::attach(member, "", found.clone(), true, self.wait)?;
        let receiver = End::attach(member, "", found.clone(), false, self.wait)?;
        is_unnamed(member, &found);
        Ok((Sender::new(sender), Receiver::new(receiver)))
    }
}
