//! What starting a service, passing and taking descriptors can come to.

use crate::os;
use thiserror::Error;

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
    /// The place that was reserved for this process was taken back, as if it had died.
    #[error(
        "the place that was reserved for this process was given back, as if it had died: the socket that keeps it was \
         removed from the directory of the domain; leave those files alone, and open the domain again"
    )]
    Vacated,
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
    /// This is a forked child of the member.
    #[error("a forked child may not use its parent's domain; join it anew")]
    Forked,
    /// The kernel refused something else: no descriptor left, for instance. Nothing is lost; try
    /// again when there is.
    #[error(transparent)]
    Os(#[from] os::Error),
}

/// Why a descriptor that nobody had passed to us was not obtained from anybody.
#[derive(Debug)]
pub(crate) enum ObtainError {
    /// Everybody alive was asked, and answered that it does not have it.
    Nobody,
    /// The time is over before everybody has answered; the question stands.
    Later,
    /// It may be on its way or there already, but cannot be taken now.
    Take(TakeError),
}
