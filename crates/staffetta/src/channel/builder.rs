//! What a program says of a channel before it attaches an end.

mod service;

use super::attach::{find, find_or_make, make_unnamed, Found, Wish};
use super::broadcast::builder::{BroadcastBuilder, LatestBuilder};
use super::broadcast::end::ReceiveEnd;
use super::broadcast::observer::DynObserver;
use super::broadcast::Late;
use super::continuation::Continuation;
use super::dynamic::{Carries, DynReceiver, DynSender};
use super::end::End;
use super::form::{Form, Overflow};
use super::receiver::Receiver;
use super::sender::Sender;
use super::spec::{Carried, Content, Kind};
use crate::error::AttachError;
use crate::message::Schema;
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
    pub(super) domain: &'d Domain,
    pub(super) name: &'d str,
    kind: Option<Kind>,
    degree: Option<u64>,
    form: Option<Form>,
    overflow: Option<Overflow>,
    senders: Option<u8>,
    receivers: Option<u8>,
    pub(super) continuation: Option<Continuation>,
    pub(super) method: Option<Method>,
    message_bytes_max: Option<u64>,
    pub(super) wait: Wait,
}

impl<'d> ChannelBuilder<'d> {
    pub(crate) fn new(domain: &'d Domain, name: &'d str) -> Self {
        ChannelBuilder {
            domain,
            name,
            kind: None,
            degree: None,
            form: None,
            overflow: None,
            senders: None,
            receivers: None,
            continuation: None,
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

    /// Many senders, many receivers, each message to one of them; `degree` messages in all may wait, from 1 to 2^20: what
    /// `bounded` is elsewhere in Rust.
    ///
    /// In place, as [`buffered`](Self::buffered): a sender builds its message in a slot of its own, a receiver works on it
    /// where it is. Messages of one sender come in the order in which it sent them. A receiver that dies with
    /// a message in hand returns it: another one gets it.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("jobs").bounded(16).sender::<u64>()?;
    /// let also_tx = domain.sender::<u64>("jobs")?;
    /// let rx = domain.receiver::<u64>("jobs")?;
    /// let also_rx = domain.receiver::<u64>("jobs")?;
    /// tx.send(1)?;
    /// also_tx.send(2)?;
    /// assert_eq!(rx.recv()? + also_rx.recv()?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// At most 64 senders and 16 receivers, unless [`senders`](Self::senders) and [`receivers`](Self::receivers) say otherwise.
    pub fn bounded(self, degree: u64) -> Self {
        self.queue(degree, Form { senders: 64, receivers: 16, ..Form::SYMMETRIC })
    }

    /// Many senders, one receiver, and a degree per sender: `degree` messages *of each sender* may wait, so none can fill
    /// the channel for the others.
    ///
    /// Messages come in the order in which they were sent, whoever sent them; which is fair, since nobody has more than `degree`
    /// before the others'. Otherwise as [`bounded`](Self::bounded). `degree` times the number of senders is
    /// at most 2^20.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("log").many_to_one(1).sender::<u64>()?;
    /// let also_tx = domain.sender::<u64>("log")?;
    /// tx.send(1)?;
    /// assert!(tx.try_send(2).is_err());
    /// also_tx.send(3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// *From the theory: the asymmetric channel, whose asynchrony degree is that of each of its senders.*
    pub fn many_to_one(self, degree: u64) -> Self {
        self.queue(degree, Form { senders: 64, receivers: 1, per_sender: true, ..Form::SYMMETRIC })
    }

    /// One sender, many receivers, each message to one of them: a work queue. Otherwise as [`bounded`](Self::bounded).
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("work").work_queue(8).sender::<u64>()?;
    /// let (one, other) = (domain.receiver::<u64>("work")?, domain.receiver::<u64>("work")?);
    /// tx.send(1)?;
    /// tx.send(2)?;
    /// let (first, second) = (one.recv_ref()?, other.recv_ref()?); // both at work, in place
    /// assert_eq!((*first, *second), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn work_queue(self, degree: u64) -> Self {
        self.queue(degree, Form { senders: 1, receivers: 16, ..Form::SYMMETRIC })
    }

    fn queue(mut self, degree: u64, form: Form) -> Self {
        self.kind = Some(Kind::Queue);
        self.degree = Some(degree);
        self.form = Some(form);
        self
    }

    /// One sender, many receivers, each message to all of them, in place: none is copied for any of them.
    ///
    /// The last `degree` messages, from 1 to 2^20, are there for receivers that are behind, and for those that come late.
    /// More of it, as what happens to a receiver that is slow, is said of the [`BroadcastBuilder`].
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("ticks").broadcast(16).sender::<u64>()?;
    /// let one = domain.channel("ticks").listen().receiver::<u64>()?;
    /// let other = domain.channel("ticks").listen().receiver::<u64>()?;
    /// tx.send(1)?;
    /// assert_eq!((one.recv()?, other.recv()?), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(self, degree: u64) -> BroadcastBuilder<'d> {
        BroadcastBuilder::new(self, Some(degree))
    }

    /// A broadcast as its other ends have fixed it. If there are none yet, one of degree 16.
    pub fn listen(self) -> BroadcastBuilder<'d> {
        BroadcastBuilder::new(self, None)
    }

    /// One sender, many receivers, and only the latest value: the sender never waits, a receiver always gets the newest,
    /// whole, in place.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("position").latest().sender::<[f64; 3]>()?;
    /// let rx = domain.channel("position").latest().receiver::<[f64; 3]>()?;
    /// (0..10).try_for_each(|n| tx.send([f64::from(n); 3]))?;
    /// assert_eq!(rx.recv()?, [9.0; 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latest(self) -> LatestBuilder<'d> {
        LatestBuilder::new(self)
    }

    /// Most senders, from 1 to 64, of a channel that has many.
    pub fn senders(mut self, most: u8) -> Self {
        self.senders = Some(most);
        self
    }

    /// Most receivers, from 1 to 64, of a channel that has many. Each sender sets memory aside for two messages more for each of
    /// them: one that it has in hand, and one that came back when it died.
    pub fn receivers(mut self, most: u8) -> Self {
        self.receivers = Some(most);
        self
    }

    /// What happens to a message for which there is no room, in a channel with a buffer in place. Counted in
    /// [`SideCounters::dropped`](crate::SideCounters).
    ///
    /// ```
    /// use staffetta::Overflow;
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.channel("newest two").buffered(2).overflow(Overflow::DropOldest).sender::<u64>()?;
    /// let rx = domain.receiver::<u64>("newest two")?;
    /// (0..10).try_for_each(|n| tx.send(n))?; // never waits
    /// assert_eq!((rx.recv()?, rx.recv()?), (8, 9));
    /// assert_eq!(tx.counters().dropped, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// What a death means to the channel; unless said otherwise [`Continuation::Disconnect`].
    ///
    /// ```
    /// use staffetta::Continuation;
    /// # let domain = staffetta::Domain::create()?;
    /// let jobs = domain.channel("jobs").buffered(8).continuation(Continuation::WaitForSuccessor);
    /// let tx = jobs.sender::<u64>()?;
    /// // If the process of its receiver dies, `tx` waits for another one that attaches that end.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It is refused when an end is attached where it makes no sense: for broadcasts, the latest value, channels without a name, and
    /// parcels in memory files of their own.
    pub fn continuation(mut self, continuation: Continuation) -> Self {
        self.continuation = Some(continuation);
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
        self.wish_for(T::CONTENT, T::Message::schema())
    }

    fn wish_for(&self, content: Content, schema: Schema) -> Wish {
        // A sender that takes out what it sent before is another protocol than that of one sender and one receiver.
        let drops = self.overflow.is_some_and(|overflow| overflow != Overflow::Block);
        let (kind, form) = match (self.kind, self.form) {
            (Some(Kind::Buffered), None) if drops => (Some(Kind::Queue), Some(Form::SYMMETRIC)),
            other => other,
        };
        let form = form.map(|form| Form {
            senders: self.senders.unwrap_or(form.senders),
            receivers: self.receivers.unwrap_or(form.receivers),
            overflow: self.overflow.unwrap_or(form.overflow),
            ..form
        });
        Wish {
            kind,
            degree: self.degree,
            form,
            continuation: self.continuation,
            method: self.method,
            message_bytes_max: self.message_bytes_max,
            content,
            schema,
        }
    }

    /// What can only be said of some kinds.
    fn check(&self) -> Result<(), AttachError> {
        let impossible =
            |why: &str| Err(AttachError::Impossible { name: self.name.to_owned(), why: why.to_owned() });
        let ends = self.senders.is_some() || self.receivers.is_some();
        match (self.kind, self.form) {
            (_, Some(_)) => Ok(()),
            (Some(Kind::Buffered), None) if !ends => Ok(()),
            _ if ends => impossible(
                "senders(n) and receivers(n) are for bounded, many_to_one and work_queue: say which",
            ),
            _ if self.overflow.is_some() => {
                impossible("overflow(..) is for buffered, bounded, many_to_one and work_queue: say which")
            }
            _ => Ok(()),
        }
    }

    fn end<T: Carried + ?Sized>(&self, is_sender: bool) -> Result<End, AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        self.check()?;
        self.check_not_service(self.kind)?;
        let found = find_or_make(member, self.name, &self.wish::<T>())?;
        super::broadcast::builder::refuse(self.name, found.spec.kind)?;
        self.check_not_service(Some(found.spec.kind))?;
        self.attach(self.name, found, is_sender)
    }

    fn attach(&self, name: &str, found: Found, is_sender: bool) -> Result<End, AttachError> {
        let end = End::attach(self.domain.member(), name, found, is_sender, self.wait)?;
        end.set_lends(self.domain.cross_memory());
        Ok(end)
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

    /// An end whose messages are known only at run time; `None`: as the channel that is there.
    fn dynamic_end(&self, carries: Option<&Carries>, is_sender: bool) -> Result<End, AttachError> {
        let member = self.domain.member();
        let found = match carries {
            None => self.find()?,
            Some(carries) => {
                if !member.here() {
                    return Err(AttachError::Forked);
                }
                self.check()?;
                carries.check(self.name)?;
                let wish = self.wish_for(carries.content(), carries.schema().clone());
                find_or_make(member, self.name, &wish)?
            }
        };
        let kind = found.spec.kind;
        if !matches!(kind, Kind::Rendezvous | Kind::Basic | Kind::Buffered | Kind::Queue) {
            let why = match kind {
                Kind::Broadcast | Kind::Latest => {
                    format!("it is a {kind}, which dyn_observer() receives from, and typed ends only send to")
                }
                _ => format!("it is a {kind}, for which there are no ends typed at run time"),
            };
            return Err(AttachError::Impossible { name: self.name.to_owned(), why });
        }
        End::attach(member, self.name, found, is_sender, self.wait)
    }

    /// What the channel carries, if it exists; no end is attached.
    ///
    /// ```
    /// # let domain = staffetta::Domain::create()?;
    /// let tx = domain.sender::<u16>("numbers")?;
    /// assert_eq!(domain.channel("numbers").carries()?.schema().identity(), "u16");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AttachError`]: there is none, or it is not as was said; nothing is made.
    pub fn carries(&self) -> Result<Carries, AttachError> {
        let spec = self.find()?.spec;
        Ok(match spec.content {
            Content::Value => Carries::Values(spec.schema),
            Content::Parcel => Carries::Parcels(spec.schema),
        })
    }

    /// The kind of the channel, if it exists; no end is attached.
    ///
    /// # Errors
    /// As [`carries`](Self::carries).
    pub fn kind(&self) -> Result<Kind, AttachError> {
        self.find().map(|found| found.spec.kind)
    }

    /// Attaches a receiver to a broadcast, or to the latest value, that exists, whose messages are known only at run time. It takes
    /// nothing away from others, and is never waited for.
    ///
    /// # Errors
    /// As [`dyn_receiver`](Self::dyn_receiver); a channel of another kind.
    pub fn dyn_observer(self) -> Result<DynObserver, AttachError> {
        let found = self.find()?;
        let late = match found.spec.kind {
            Kind::Broadcast => Late::None,
            Kind::Latest => Late::Last,
            kind => {
                let why = format!("whoever receives from a {kind} takes messages away: use dyn_receiver()");
                return Err(AttachError::Impossible { name: self.name.to_owned(), why });
            }
        };
        ReceiveEnd::attach(self.domain.member(), self.name, found, self.wait, late, true)
            .map(DynObserver::new)
    }

    fn find(&self) -> Result<Found, AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        self.check()?;
        find(member, self.name, |there| self.wish_for(there.content, there.schema.clone()))
    }

    /// Attaches the sending end of a channel that exists, whose messages are known only at run time.
    ///
    /// # Errors
    /// As [`sender`](Self::sender); [`AttachError::NoChannel`], which tells the channels that there are.
    pub fn dyn_sender(self) -> Result<DynSender, AttachError> {
        self.dynamic_end(None, true).map(DynSender::new)
    }

    /// Attaches the receiving end of a channel that exists, whose messages are known only at run time.
    ///
    /// # Errors
    /// As [`dyn_sender`](Self::dyn_sender).
    pub fn dyn_receiver(self) -> Result<DynReceiver, AttachError> {
        self.dynamic_end(None, false).map(DynReceiver::new)
    }

    /// Attaches the sending end of a channel of these messages: finds the channel or makes it.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    ///
    /// ```
    /// use staffetta::message::{Schema, Value};
    /// use staffetta::Carries;
    /// # let domain = staffetta::Domain::create()?;
    /// let pairs = Carries::Values(Schema::parse("8/4 {0@0 4/4 u32, 1@4 4/4 f32}")?);
    /// let tx = domain.channel("pairs").buffered(4).dyn_sender_of(&pairs)?;
    /// let rx = domain.receiver::<(u32, f32)>("pairs")?;
    /// tx.send_value(&Value::structure([("0", Value::Unsigned(7)), ("1", Value::F32(0.5))]))?;
    /// assert_eq!(rx.recv()?, (7, 0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dyn_sender_of(self, carries: &Carries) -> Result<DynSender, AttachError> {
        self.dynamic_end(Some(carries), true).map(DynSender::new)
    }

    /// Attaches the receiving end of a channel of these messages: finds the channel or makes it.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    pub fn dyn_receiver_of(self, carries: &Carries) -> Result<DynReceiver, AttachError> {
        self.dynamic_end(Some(carries), false).map(DynReceiver::new)
    }

    /// Both ends of a channel without a name, for the threads of this process, or for whoever an end is sent to
    /// ([`Enclosed`](crate::Enclosed)). When the last one of a side has left the other side says `Disconnected` for ever; when no process
    /// can reach the channel any more its memory is free again.
    ///
    /// # Errors
    /// [`AttachError`]: no room for another channel.
    pub fn unnamed<T: Carried + ?Sized>(self) -> Result<(Sender<T>, Receiver<T>), AttachError> {
        let member = self.domain.member();
        if !member.here() {
            return Err(AttachError::Forked);
        }
        self.check()?;
        self.check_not_service(self.kind)?;
        let found = make_unnamed(member, &self.wish::<T>())?;
        let sender = self.attach("", found.clone(), true)?;
        let receiver = self.attach("", found, false)?;
        Ok((Sender::new(sender), Receiver::new(receiver)))
    }
}
