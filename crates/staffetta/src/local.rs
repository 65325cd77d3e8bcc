//! Channels within one process: on the heap, no domain, no file, any `T: Send`.
//!
//! [`bounded`] and [`rendezvous`] give a [`Sender`] and a [`Receiver`]. Both can be cloned and shared between threads; each
//! message goes to one receiver. Who knows `crossbeam-channel` knows these:
//!
//! ```
//! let (tx, rx) = staffetta::bounded(2);
//! let worker = std::thread::spawn(move || rx.iter().map(|word: String| word.len()).sum::<usize>());
//! for word in ["by", "hand"] {
//!     tx.send(word.to_owned()).unwrap(); // blocks while 2 messages wait
//! }
//! drop(tx); // the receiver gets what is there, and then an end
//! assert_eq!(worker.join().unwrap(), 6);
//! ```
//!
//! Messages may hold anything, also borrowed things, as long as they are `Send`: nothing leaves the process. Between processes
//! use [`Domain::channel`](crate::Domain::channel), whose messages are self-contained.
//!
//! | file | one idea |
//! |---|---|
//! | `meet` | the rendezvous: the protocol that ships between processes, from stack to stack |
//! | `turn` | many senders take turns to be the one that it knows |
//! | `ring` | `bounded(k)` |
//! | `sleepers` | any number of threads that sleep |
//! | `ground` | the threads' PCBs, and references that are addresses |
//! | `operation` | the ends as operations of a select |
//! | `gate`, `watchers` | where a select is told; who is to be told of a rendezvous |
//! | `hands` | values that a select has taken; select against select |
//!
//! Nothing here survives a process, and nothing is counted; there is no `PeerDied`.

pub(crate) mod gate;
mod ground;
pub(crate) mod hands;
pub(crate) mod meet;
mod operation;
pub(crate) mod ring;
pub(crate) mod sleepers;
pub(crate) mod turn;
pub(crate) mod watchers;

use std::fmt;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::call::{Patience, Stop};
use crate::channel::end::deadline_after;
use crate::channel::tally::Tally;
use crate::error::{RecvError, SendError};
use crate::memory::platform::Platform;
use crate::process::wait::Wait;
use ground::{InProcess, Threads};
use meet::Meet;
use ring::Ring;
use sleepers::Me;

/// One step of waiting for a thread that is in the middle of something short, and may have been interrupted there.
#[inline]
pub(crate) fn relax<P: Platform>(steps: u64) {
    /// About as long as what is waited for takes when it is not interrupted.
    const PATIENCE: u64 = 1 << 7;
    // The last step of all gives the core away.
    P::relax(if steps < PATIENCE { steps } else { u64::MAX });
}

/// A channel that holds up to `degree` messages: `send` blocks while so many wait. With 0 it is a [`rendezvous`].
///
/// ```
/// use staffetta::SendFailure;
/// let (tx, rx) = staffetta::bounded(1);
/// tx.send("first").unwrap();
/// let error = tx.try_send("second").unwrap_err();
/// assert!(matches!(error.why, SendFailure::WouldBlock));
/// assert_eq!(error.message, "second");
/// assert_eq!(rx.recv().unwrap(), "first");
/// ```
///
/// # Panics
/// If there is no memory for so many messages, as `Vec::with_capacity` does.
pub fn bounded<T>(degree: usize) -> (Sender<T>, Receiver<T>) {
    if degree == 0 {
        return rendezvous();
    }
    ends(Flavor::Ring(Ring::new(degree)))
}

/// A channel without a buffer: `send` returns when a receiver has taken the message. It is copied once, from the stack of the
/// sender to that of the receiver (twice if it has at most 24 bytes: then it rides in the channel's own cache line).
///
/// ```
/// let (tx, rx) = staffetta::rendezvous();
/// std::thread::scope(|scope| {
///     scope.spawn(|| tx.send(Box::new(7)).unwrap());
///     assert_eq!(*rx.recv().unwrap(), 7);
/// });
/// ```
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    ends(Flavor::Meet(Meet::new(Tally::new(), Tally::new())))
}

fn ends<T>(flavor: Flavor<T>) -> (Sender<T>, Receiver<T>) {
    let one = || AtomicUsize::new(1);
    let shared = Arc::new(Shared { flavor, senders: one(), receivers: one() });
    let sender = Sender { shared: shared.clone(), me: Me::new(Wait::default()) };
    (sender, Receiver { shared, me: Me::new(Wait::default()) })
}

#[allow(clippy::large_enum_variant)] // one for each channel, on the heap
enum Flavor<T> {
    Ring(Ring<InProcess, T>),
    Meet(Meet<InProcess, T>),
}

struct Shared<T> {
    flavor: Flavor<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    fn len(&self) -> usize {
        match &self.flavor {
            Flavor::Ring(ring) => ring.len(),
            Flavor::Meet(_) => 0,
        }
    }

    fn degree(&self) -> usize {
        match &self.flavor {
            Flavor::Ring(ring) => ring.degree(),
            Flavor::Meet(_) => 0,
        }
    }
}

/// The sending end: clone it, or share it by reference. The last one that is dropped disconnects the channel.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    me: Me,
}

/// The receiving end: clone it, or share it by reference. With the last one that is dropped, messages that nobody has received
/// are dropped as well.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    me: Me,
}

/// What both ends can be asked.
macro_rules! both_ends {
    ($end:ident, $count:ident) => {
        impl<T> $end<T> {
            /// How many messages wait; 0 for a rendezvous.
            pub fn len(&self) -> usize {
                self.shared.len()
            }

            /// Does no message wait? Always so for a rendezvous.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Would `send` have to wait for room? Always so for a rendezvous.
            pub fn is_full(&self) -> bool {
                self.len() == self.shared.degree()
            }

            /// How many messages it holds: `Some`, since every channel has a bound; 0 for a rendezvous.
            pub fn capacity(&self) -> Option<usize> {
                Some(self.shared.degree())
            }

            /// Is it the same channel?
            ///
            /// ```
            /// let (tx, _rx) = staffetta::bounded::<u8>(1);
            /// assert!(tx.same_channel(&tx.clone()));
            /// assert!(!tx.same_channel(&staffetta::bounded(1).0));
            /// ```
            pub fn same_channel(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.shared, &other.shared)
            }

            /// How this end waits.
            pub fn wait(&self) -> Wait {
                self.me.wait()
            }

            /// Changes how this end waits; clones that exist keep theirs.
            pub fn set_wait(&self, wait: Wait) {
                self.me.set_wait(wait);
            }
        }

        impl<T> Clone for $end<T> {
            /// Another end of the same channel, that waits in the same way.
            fn clone(&self) -> Self {
                // Relaxed, as for an `Arc`: who clones it has one.
                self.shared.$count.fetch_add(1, Relaxed);
                $end { shared: self.shared.clone(), me: Me::new(self.me.wait()) }
            }
        }

        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (degree, len) = (self.shared.degree(), self.shared.len());
                f.debug_struct(stringify!($end))
                    .field("degree", &degree)
                    .field("len", &len)
                    .finish_non_exhaustive()
            }
        }

        impl<T> UnwindSafe for $end<T> {}
        impl<T> RefUnwindSafe for $end<T> {}
    };
}

both_ends!(Sender, senders);
both_ends!(Receiver, receivers);

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: what the others did is done before the channel is closed.
        if self.shared.senders.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        match &self.shared.flavor {
            Flavor::Ring(ring) => ring.close(true, &Threads),
            Flavor::Meet(meet) => meet.close(true, &Threads),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // AcqRel: as above.
        if self.shared.receivers.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        match &self.shared.flavor {
            Flavor::Ring(ring) => {
                ring.close(false, &Threads);
                ring.discard(&Threads);
            }
            Flavor::Meet(meet) => meet.close(false, &Threads),
        }
    }
}

impl<T> Sender<T> {
    /// Sends: waits until there is room (bounded), or until a receiver has taken it (rendezvous).
    ///
    /// # Errors
    /// `Disconnected` with the message: no receiver is left.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(None))
    }

    /// Sends if there is room (bounded), or a receiver waits already (rendezvous).
    ///
    /// # Errors
    /// `WouldBlock` or `Disconnected`, with the message.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Try)
    }

    /// Sends, or gives the message back when `timeout` has passed.
    ///
    /// # Errors
    /// `TimedOut` or `Disconnected`, with the message.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(deadline_after(timeout)))
    }

    /// Sends, or gives the message back at `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.send_within(message, Patience::Until(Some(deadline)))
    }

    #[inline(always)]
    fn send_within(&self, message: T, patience: Patience) -> Result<(), SendError<T>> {
        let sent = match &self.shared.flavor {
            Flavor::Ring(ring) => ring.send(&self.me, &Threads, message, patience),
            Flavor::Meet(meet) => meet.send(&self.me, &Threads, message, patience),
        };
        operation::sent(sent)
    }
}

impl<T> Receiver<T> {
    /// Receives the oldest message; waits for one.
    ///
    /// # Errors
    /// `Disconnected`: no message waits, and no sender is left.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_within(Patience::Until(None))
    }

    /// Receives a message if one waits (bounded), or is offered (rendezvous).
    ///
    /// # Errors
    /// `WouldBlock` or `Disconnected`.
    #[inline]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.recv_within(Patience::Try)
    }

    /// Receives a message that comes before `timeout` has passed.
    ///
    /// # Errors
    /// `TimedOut` or `Disconnected`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_within(Patience::Until(deadline_after(timeout)))
    }

    /// Receives a message that comes before `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        self.recv_within(Patience::Until(Some(deadline)))
    }

    #[inline(always)]
    fn recv_within(&self, patience: Patience) -> Result<T, RecvError> {
        let received = match &self.shared.flavor {
            Flavor::Ring(ring) => ring.receive(&self.me, &Threads, patience),
            Flavor::Meet(meet) => meet.receive(&self.me, &Threads, patience),
        };
        received.map_err(|stop| match stop {
            Stop::TimedOut => RecvError::TimedOut,
            Stop::WouldBlock => RecvError::WouldBlock,
            _ => RecvError::Disconnected,
        })
    }

    /// Messages until no sender is left; waits for each.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Messages that are there already; never waits.
    ///
    /// ```
    /// let (tx, rx) = staffetta::bounded(3);
    /// tx.send(1).unwrap();
    /// tx.send(2).unwrap();
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

/// Messages until no sender is left: [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// Messages that are there: [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// Messages until no sender is left, with the receiver.
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
