//! The ends of channels within the process as operations of a select.
//!
//! Such an end may be shared by threads, and be in selects of several of them: nothing is remembered in the end itself, but in the
//! channel, by the name of the operation (`local::gate`). Readiness goes through the select's gate.
//!
//! A value that a select has chosen to receive is taken at once, so no other receiver can be quicker (`local::hands`).

use super::ground::Threads;
use super::{Flavor, Receiver, Sender};
use crate::channel::call::Stop;
use crate::channel::select::look::Look;
use crate::channel::select::operands::Operand;
use crate::channel::select::turn::{At, Selectable};
use crate::channel::select::{Receives, Sends};
use crate::error::{RecvError, SendError};

fn look<T>(flavor: &Flavor<T>, is_sender: bool, at: At) -> Look {
    match flavor {
        Flavor::Meet(meet) => meet.look(is_sender, &Threads, at),
        Flavor::Ring(ring) => ring.look(is_sender, at),
    }
}

fn leave<T>(flavor: &Flavor<T>, is_sender: bool, at: At) {
    match flavor {
        Flavor::Meet(meet) => meet.retire(is_sender, at),
        Flavor::Ring(ring) => ring.retire(is_sender, at.local),
    }
}

impl<T> Selectable for Receiver<T> {
    fn look(&self, at: At) -> Look {
        look(&self.shared.flavor, false, at)
    }

    fn secure(&self, at: At) -> bool {
        match &self.shared.flavor {
            Flavor::Ring(ring) => ring.secure(&Threads, at.local),
            Flavor::Meet(meet) => meet.secure(false, &self.me, &Threads, at),
        }
    }

    fn stand(&self, at: At) -> bool {
        match &self.shared.flavor {
            Flavor::Ring(_) => false,
            Flavor::Meet(meet) => meet.stand(&Threads, at),
        }
    }

    fn withdraw(&self, at: At, steps: u64) -> bool {
        match &self.shared.flavor {
            Flavor::Ring(_) => false,
            Flavor::Meet(meet) => meet.hands.withdraw(at.local, steps),
        }
    }

    fn faces_sleeper(&self) -> bool {
        match &self.shared.flavor {
            Flavor::Ring(_) => false,
            Flavor::Meet(meet) => meet.faces_select(false),
        }
    }

    fn release(&self, at: At) {
        match &self.shared.flavor {
            Flavor::Ring(ring) => ring.release(&Threads, at.local),
            Flavor::Meet(meet) => meet.release(false, &Threads, at),
        }
    }

    fn leave(&self, at: At) {
        self.release(at); // given, and found by ready()
        leave(&self.shared.flavor, false, at);
    }
}

impl<T> Selectable for Sender<T> {
    fn look(&self, at: At) -> Look {
        look(&self.shared.flavor, true, at)
    }

    fn secure(&self, at: At) -> bool {
        match &self.shared.flavor {
            Flavor::Ring(_) => true,
            Flavor::Meet(meet) => meet.secure(true, &self.me, &Threads, at),
        }
    }

    fn release(&self, at: At) {
        if let Flavor::Meet(meet) = &self.shared.flavor {
            meet.release(true, &Threads, at);
        }
    }

    fn leave(&self, at: At) {
        leave(&self.shared.flavor, true, at);
    }
}

#[allow(private_interfaces)]
impl<T> Receives for Receiver<T> {
    type Message<'m>
        = T
    where
        Self: 'm;
    type Error = RecvError;
    fn operation(&self) -> Operand<'_> {
        Operand::of_process(self)
    }
    fn complete(&self, at: At) -> Result<T, RecvError> {
        let taken = match &self.shared.flavor {
            Flavor::Ring(ring) => ring.hands.take(at.local),
            Flavor::Meet(meet) => meet.hands.take(at.local),
        };
        taken.map_or_else(|| self.try_recv(), Ok)
    }
}

#[allow(private_interfaces)]
impl<T> Sends for Sender<T> {
    type Message = T;
    fn operation(&self) -> Operand<'_> {
        Operand::of_process(self)
    }
    fn complete(&self, at: At, message: T) -> Result<(), SendError<T>> {
        match &self.shared.flavor {
            Flavor::Ring(_) => self.try_send(message),
            Flavor::Meet(meet) => sent(meet.complete_send(&self.me, &Threads, at, message)),
        }
    }
}

/// What a call says of how a send ended.
pub(super) fn sent<T>(sent: Result<(), (T, Stop)>) -> Result<(), SendError<T>> {
    use crate::error::SendFailure;
    sent.map_err(|(message, stop)| SendError {
        message,
        why: match stop {
            Stop::TimedOut => SendFailure::TimedOut,
            Stop::WouldBlock => SendFailure::WouldBlock,
            _ => SendFailure::Disconnected,
        },
    })
}
