//! Time as an operation of a select: no thread waits for it; it bounds the select's own sleep.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::look::Look;
use super::turn::{At, Selectable};
use crate::error::RecvError;

/// A moment, or one after another, or none: what [`after`], [`at`], [`tick`] and [`never()`] make. Received from like a
/// channel, by [`select!`](crate::select), a [`Select`](crate::Select), or directly.
#[derive(Debug)]
pub struct Timer {
    next: Cell<Option<Instant>>,
    every: Option<Duration>,
}

/// A moment `duration` from now: it comes once. A duration beyond the clock's end is [`never()`].
///
/// ```
/// use staffetta::{after, select};
/// use std::time::Duration;
/// # let domain = staffetta::Domain::create()?;
/// # let (_tx, rx) = domain.channel("").unnamed::<u64>()?;
/// select! {
///     recv(rx) -> message => println!("{}", message?),
///     recv(after(Duration::from_millis(1))) -> now => println!("nothing until {:?}", now?),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn after(duration: Duration) -> Timer {
    Timer { next: Cell::new(Instant::now().checked_add(duration)), every: None }
}

/// A moment: it comes once.
///
/// ```
/// let now = std::time::Instant::now();
/// assert_eq!(staffetta::at(now).recv()?, now);
/// # Ok::<(), staffetta::RecvError>(())
/// ```
pub fn at(moment: Instant) -> Timer {
    Timer { next: Cell::new(Some(moment)), every: None }
}

/// A moment every `duration`, the first one `duration` from now. Whoever is late gets one, and the next is a whole
/// `duration` later: they do not pile up.
///
/// ```
/// let tick = staffetta::tick(std::time::Duration::from_millis(1));
/// let first = tick.recv()?;
/// assert!(tick.recv()? > first);
/// # Ok::<(), staffetta::RecvError>(())
/// ```
pub fn tick(duration: Duration) -> Timer {
    Timer { next: Cell::new(Instant::now().checked_add(duration)), every: Some(duration) }
}

/// No moment at all: for an operation that is not to happen.
///
/// ```
/// assert!(staffetta::never().try_recv().is_err());
/// ```
pub fn never() -> Timer {
    Timer { next: Cell::new(None), every: None }
}

impl Timer {
    /// Waits for the moment; gives it. For ever if there is none.
    ///
    /// # Errors
    /// None today.
    pub fn recv(&self) -> Result<Instant, RecvError> {
        loop {
            match self.try_recv() {
                Ok(moment) => return Ok(moment),
                Err(_) => match self.next.get() {
                    Some(next) => std::thread::sleep(next.saturating_duration_since(Instant::now())),
                    None => std::thread::park(),
                },
            }
        }
    }

    /// The moment, if it has come.
    ///
    /// # Errors
    /// `WouldBlock`.
    pub fn try_recv(&self) -> Result<Instant, RecvError> {
        let now = Instant::now();
        let moment = self.next.get().filter(|&next| next <= now).ok_or(RecvError::WouldBlock)?;
        self.next.set(self.every.and_then(|every| now.checked_add(every)));
        Ok(moment)
    }
}

impl Selectable for Timer {
    fn look(&self, _at: At) -> Look {
        match self.next.get() {
            Some(next) if next <= Instant::now() => Look::Ready,
            _ => Look::Not,
        }
    }

    fn due(&self) -> Option<Instant> {
        self.next.get()
    }

    fn is_timer(&self) -> bool {
        true
    }
}
