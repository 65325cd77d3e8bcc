//! What a program says of a broadcast, or of a channel of the latest value, before it attaches an end.

use super::end::{ReceiveEnd, SendEnd};
use super::ends::{BroadcastReceiver, BroadcastSender};
use super::latest::{LatestReceiver, LatestSender};
use super::place::{FORM, LATEST_FORM};
use super::{Late, SlowReceiver};
use crate::channel::attach::{find_or_make, Found, Wish};
use crate::channel::builder::ChannelBuilder;
use crate::channel::form::Form;
use crate::channel::spec::{Content, Kind};
use crate::error::AttachError;
use crate::process::wait::Wait;
use crate::reference::Method;
use crate::Message;

/// `sender()` and `receiver()` are for channels whose messages go to one receiver.
pub(crate) fn refuse(name: &str, kind: Kind) -> Result<(), AttachError> {
    let with = match kind {
        Kind::Broadcast => "a broadcast: attach with channel(name).broadcast(degree), or listen()",
        Kind::Latest => "of the latest value: attach with channel(name).latest()",
        _ => return Ok(()),
    };
    Err(AttachError::Impossible { name: name.to_owned(), why: format!("it is {with}") })
}

fn find<T: Message>(
    channel: &ChannelBuilder<'_>,
    kind: Kind,
    degree: Option<u64>,
    form: Option<Form>,
) -> Result<Found, AttachError> {
    let member = channel.domain.member();
    if !member.here() {
        return Err(AttachError::Forked);
    }
    let wish = Wish {
        kind: Some(kind),
        degree,
        form,
        continuation: channel.continuation,
        method: channel.method,
        message_bytes_max: None,
        content: Content::Value,
        schema: T::schema(),
    };
    find_or_make(member, channel.name, &wish)
}

/// A broadcast about to be attached; made by [`ChannelBuilder::broadcast`] and [`ChannelBuilder::listen`].
///
/// ```
/// use staffetta::{Late, SlowReceiver};
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain
///     .channel("camera")
///     .broadcast(4)
///     .slow_receiver(SlowReceiver::DropOldest)
///     .receivers(3)
///     .sender::<[u8; 64]>()?;
/// tx.send([1; 64])?;
/// let rx = domain.channel("camera").listen().late(Late::Last).receiver::<[u8; 64]>()?;
/// assert_eq!(rx.recv_ref()?[0], 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "attach an end with sender() or receiver()"]
pub struct BroadcastBuilder<'d> {
    channel: ChannelBuilder<'d>,
    degree: Option<u64>,
    form: Option<Form>,
    late: Late,
    observes: bool,
}

impl<'d> BroadcastBuilder<'d> {
    pub(crate) fn new(channel: ChannelBuilder<'d>, degree: Option<u64>) -> Self {
        BroadcastBuilder { channel, degree, form: None, late: Late::None, observes: false }
    }

    /// What happens when a receiver is slower than the sender; unless said otherwise the sender waits.
    ///
    /// Whoever says this or [`receivers`](Self::receivers) must say the same as whoever made the channel.
    pub fn slow_receiver(mut self, slow: SlowReceiver) -> Self {
        self.form = Some(Form { slow, ..self.form.unwrap_or(FORM) });
        self
    }

    /// Most receivers, from 1 to 64; 16 unless said otherwise. For each of them memory is set aside for one message more,
    /// which it may have in hand.
    pub fn receivers(mut self, most: u8) -> Self {
        self.form = Some(Form { receivers: most, ..self.form.unwrap_or(FORM) });
        self
    }

    /// Which of the messages that were sent before this receiver comes it gets; none unless said otherwise.
    ///
    /// They are the last of those that are still there, at most as many as the degree. A receiver that is waited for misses
    /// none from then on.
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// This receiver is never waited for, nor disconnected, whatever the channel's policy: it misses what it is too slow for.
    pub fn observer(mut self) -> Self {
        self.observes = true;
        self
    }

    /// How this end waits; changeable later.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.channel.wait = wait;
        self
    }

    /// The reference method, by which ends find each other's threads; the messages lie in the channel.
    pub fn method(mut self, method: Method) -> Self {
        self.channel.method = Some(method);
        self
    }

    /// Attaches the sending end: finds the channel or makes it.
    ///
    /// # Errors
    /// [`AttachError`]: the channel is another one, somebody holds this end, the name is none.
    pub fn sender<T: Message>(self) -> Result<BroadcastSender<T>, AttachError> {
        let found = find::<T>(&self.channel, Kind::Broadcast, self.degree, self.form)?;
        let ChannelBuilder { domain, name, wait, .. } = self.channel;
        SendEnd::attach(domain.member(), name, found, wait).map(BroadcastSender::new)
    }

    /// Attaches a receiving end: finds the channel or makes it.
    ///
    /// # Errors
    /// As [`sender`](Self::sender); `EndsTaken` if there are as many as there may be.
    pub fn receiver<T: Message>(self) -> Result<BroadcastReceiver<T>, AttachError> {
        let found = find::<T>(&self.channel, Kind::Broadcast, self.degree, self.form)?;
        let ChannelBuilder { domain, name, wait, .. } = self.channel;
        let end = ReceiveEnd::attach(domain.member(), name, found, wait, self.late, self.observes)?;
        Ok(BroadcastReceiver::new(end))
    }
}

/// A channel of the latest value about to be attached; made by [`ChannelBuilder::latest`].
///
/// ```
/// # let domain = staffetta::Domain::create()?;
/// let tx = domain.channel("pose").latest().sender::<[f64; 6]>()?;
/// let rx = domain.channel("pose").latest().receiver::<[f64; 6]>()?;
/// tx.send([0.0; 6])?;
/// tx.send([1.0; 6])?; // nobody waits, whoever reads
/// assert_eq!(*rx.recv_ref()?, [1.0; 6]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "attach an end with sender() or receiver()"]
pub struct LatestBuilder<'d> {
    channel: ChannelBuilder<'d>,
    form: Option<Form>,
}

impl<'d> LatestBuilder<'d> {
    pub(crate) fn new(channel: ChannelBuilder<'d>) -> Self {
        LatestBuilder { channel, form: None }
    }

    /// Most receivers, from 1 to 64; 16 unless said otherwise. For each of them memory is set aside for one value more.
    pub fn receivers(mut self, most: u8) -> Self {
        self.form = Some(Form { receivers: most, ..LATEST_FORM });
        self
    }

    /// How this end waits; changeable later.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.channel.wait = wait;
        self
    }

    /// The reference method, by which ends find each other's threads; the values lie in the channel.
    pub fn method(mut self, method: Method) -> Self {
        self.channel.method = Some(method);
        self
    }

    /// Attaches the sending end: finds the channel or makes it.
    ///
    /// # Errors
    /// As [`BroadcastBuilder::sender`].
    pub fn sender<T: Message>(self) -> Result<LatestSender<T>, AttachError> {
        let found = find::<T>(&self.channel, Kind::Latest, Some(1), self.form)?;
        let ChannelBuilder { domain, name, wait, .. } = self.channel;
        SendEnd::attach(domain.member(), name, found, wait).map(LatestSender::new)
    }

    /// Attaches a receiving end: finds the channel or makes it. The newest value is the first that it sees.
    ///
    /// # Errors
    /// As [`BroadcastBuilder::receiver`].
    pub fn receiver<T: Message>(self) -> Result<LatestReceiver<T>, AttachError> {
        let found = find::<T>(&self.channel, Kind::Latest, Some(1), self.form)?;
        let ChannelBuilder { domain, name, wait, .. } = self.channel;
        ReceiveEnd::attach(domain.member(), name, found, wait, Late::Last, true).map(LatestReceiver::new)
    }
}
