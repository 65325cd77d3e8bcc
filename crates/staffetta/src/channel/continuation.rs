//! What happens to a channel when a process dies that has an end of it: chosen when the channel is made, and written into its
//! record, so that both sides mean the same.
//!
//! Nothing is done here; who is told what is in `call.rs` (`Memory`), what is kept for a successor in `kept.rs`, and who
//! succeeds a process in `succession.rs`.

/// What becomes of a channel when a process dies that holds an end of it.
///
/// A message is *acknowledged* when its guard or parcel is released or forwarded, or its request is answered. A value that
/// [`recv`](crate::Receiver::recv) copies out is acknowledged by the copy: what a process had received so and not yet worked on dies
/// with it, whatever the channel's continuation. What is never acknowledged because its receiver died is *unacknowledged*; whoever gets
/// it again sees that it is `redelivered`. So under [`WaitForSuccessor`](Self::WaitForSuccessor) and
/// [`ReturnToSender`](Self::ReturnToSender) a message is worked on at least once, and only a `redelivered` one more than once.
///
/// | | partner is told | a message in hand in its slot (guard) | a parcel in hand | a request in a server's hand |
/// |---|---|---|---|---|
/// | `Disconnect` | `PeerDied` | comes to the next receiver | is freed, and counted in [`lost`](crate::Receiver::lost) | its client gets `PeerDied` |
/// | `WaitForSuccessor` | nothing, or [`PeerAbsent`](crate::RecvError::PeerAbsent) when it would not wait longer | comes to the next receiver | comes to the next receiver | comes to the next server |
/// | `ReturnToSender` | `PeerDied` | comes to who asks first: the sender or the next receiver | the same | the same: there is no sender to ask, so it is refused when such a service is made |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Continuation {
    /// The partner is told `PeerDied`; parcels that the dead one held are freed and counted.
    #[default]
    Disconnect,
    /// The partner waits, to its deadline, for a process that takes over the dead one's end; what the dead one had not
    /// acknowledged comes to it first.
    WaitForSuccessor,
    /// The partner is told `PeerDied`; what the dead one had not acknowledged is kept for whoever asks:
    /// [`Sender::unacknowledged`](crate::Sender::unacknowledged), or the next receiver.
    ReturnToSender,
}

impl Continuation {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Continuation::Disconnect => 0,
            Continuation::WaitForSuccessor => 1,
            Continuation::ReturnToSender => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Continuation> {
        match code {
            0 => Some(Continuation::Disconnect),
            1 => Some(Continuation::WaitForSuccessor),
            2 => Some(Continuation::ReturnToSender),
            _ => None,
        }
    }

    /// Does a partner wait for who succeeds a dead process?
    pub(crate) const fn waits(self) -> bool {
        matches!(self, Continuation::WaitForSuccessor)
    }

    /// Is what a dead process had not acknowledged kept?
    pub(crate) const fn keeps(self) -> bool {
        !matches!(self, Continuation::Disconnect)
    }
}

impl std::fmt::Display for Continuation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Continuation::Disconnect => "disconnect",
            Continuation::WaitForSuccessor => "wait for successor",
            Continuation::ReturnToSender => "return to sender",
        })
    }
}
