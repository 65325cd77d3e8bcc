//! The theory's alternative (guarded command): several operations at once, of which one happens.
//!
//! | file | one idea |
//! |---|---|
//! | `mod` | the dynamic select and the operation that it chose |
//! | `turn` | the loop: what is worth a look, what is taken, when to sleep |
//! | `look` | an operation seen from its channel; select against select |
//! | `interest` | what an end remembers of its select |
//! | `timer` | `after`, `at`, `tick`, `never` |
//! | `operands` | what can be received from and sent to |
//! | `macros`, `arm` | `select!` and `select_biased!`, and what they ask of a select |
//!
//! Where the readiness arrives is in `process::ready_set`; the ends as operations are in `channel::end::operation`,
//! `channel::broadcast::operation`, `channel::reply::operation` and `local::operation`.
//!
//! V1. A ready set is taken when the select is about to sleep for the first time, and given back with it. Before the
//!     set is given back each operation has left: no end names an entry of a set that is not its select's.
//! V2. Operations are looked at by the thread of their ends, which are not Sync: so is the select, and nobody is in the middle
//!     of another operation of an end while its select looks at it. (Ends within the process are Sync: they remember nothing, see
//!     `local::operation`.)
//! V3. With ends within the process a select has a gate (`local::gate`) from when the first of them is added; it is given back
//!     last, as in V1.

mod arm;
pub(crate) mod interest;
pub(crate) mod look;
mod macros;
pub(crate) mod operands;
mod timer;
pub(crate) mod turn;

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::end::deadline_after;
use super::waits::Waits;
use crate::error::{SelectError, SendError};
use crate::handle::Handle;
use crate::local::gate::{self, Gate, GATES_MAX};
use crate::memory::map::SELECTS_MAX;
use crate::memory::platform::{Native, Platform};
use crate::memory::segment::Segment;
use crate::process::ready_set::OPERATIONS_MAX;
use crate::process::threads;
use crate::process::wait::Wait;

use operands::Home;
pub use operands::{Receives, Sends};
pub use timer::{after, at, never, tick, Timer};
use turn::{At, Bed, Selectable, Turn};

/// How long a try waits for the other side to answer, if that is a select which sleeps: it is there, after all.
pub(crate) const ANSWER: Duration = Duration::from_micros(200);
/// Steps that whoever has reserved a receiver is given to send, if that has anything else to do: some 50 us.
const GRACE_STEPS: u64 = 2_000;

/// Several operations, of which one happens: sends and receives over channels of any kind, also within the process, requests
/// that come to a [`Server`](crate::Server), replies that come to a [`Pending`](crate::Pending) call, and [`Timer`]s.
///
/// An operation is registered once and stays so. Its channel says when it becomes possible: the select sleeps once, whatever
/// the number of its operations, and looks at those that were heard of and at no others. It is fair among those that are
/// possible, or [biased](Select::set_biased) in favour of the first. Each has a guard, [`set_enabled`](Select::set_enabled).
///
/// For a few operations that are known where the program is written there is [`select!`](crate::select).
///
/// ```
/// # use staffetta::{Domain, Select};
/// # let domain = Domain::create()?;
/// let (tx, numbers) = domain.channel("").buffered(4).unnamed::<u64>()?;
/// let (stop, stopped) = domain.channel("").buffered(1).unnamed::<()>()?;
/// tx.send(1)?;
/// tx.send(2)?;
/// stop.send(())?;
///
/// let mut select = Select::new();
/// let next = select.recv(&numbers)?;
/// let end = select.recv(&stopped)?;
/// let mut sum = 0;
/// select.set_biased(); // the stop comes after the numbers
/// loop {
///     let chosen = select.select()?;
///     match chosen.index() {
///         i if i == next => sum += chosen.recv(&numbers)?,
///         i if i == end => break chosen.recv(&stopped)?,
///         _ => unreachable!(),
///     }
/// }
/// assert_eq!(sum, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Ends of one domain and ends within the process go together, and are slept for at once:
///
/// ```
/// # use staffetta::{after, select, Domain};
/// # use std::time::Duration;
/// # let domain = Domain::create()?;
/// let server = domain.channel("squares").service(2).server::<u64, u64>()?;
/// let client = domain.channel("squares").client::<u64, u64>()?;
/// let (stop, stopped) = staffetta::rendezvous::<String>();
/// let served = std::thread::spawn(move || {
///     let mut served = 0;
///     loop {
///         select! {
///             recv(server) -> request => {
///                 if let Ok(request) = request {
///                     let n = *request;
///                     served += u32::from(request.reply(n * n).is_ok());
///                 }
///             }
///             recv(stopped) -> why => return (served, why.unwrap()),
///         }
///     }
/// });
/// let (two, three) = (client.begin(2)?, client.begin(3)?);
/// for _ in 0..2 {
///     // Whichever is answered first; each of them once.
///     select! {
///         recv(two) -> reply if !two.is_taken() => assert_eq!(reply?, 4),
///         recv(three) -> reply if !three.is_taken() => assert_eq!(reply?, 9),
///         recv(after(Duration::from_secs(9))) -> _ => panic!("no reply"),
///     }
/// }
/// stop.send("enough".to_owned()).unwrap();
/// assert_eq!(served.join().unwrap(), (2, "enough".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Rendezvous
///
/// Two selects find each other, sends and receives mixed, also if one is stopped in the middle. A select that chose
/// to send has reserved the receiver, who gives it a moment; if the program then takes its time, and the
/// receiver's deadline passes or it has something else to do, the message comes back with
/// [`WouldBlock`](crate::SendFailure::WouldBlock).
pub struct Select<'a> {
    turn: Turn<'a>,
    member: Option<Handle>,
    set: Option<usize>,
    /// Where channels of this process tell it, if it has an end of one.
    gate: Option<&'static Gate>,
    /// The gate leads to the domain.
    leads: bool,
    /// It has slept, or was about to: what is not possible is announced.
    announces: bool,
    wait: Wait,
    /// The first operation that cannot be one: for the macros.
    refused: Option<(usize, SelectError)>,
    /// An arm was chosen, and its operation is not completed yet: for the macros.
    chosen: Option<usize>,
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl std::fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select").field("operations", &self.turn.len()).finish_non_exhaustive()
    }
}

/// Where a select begins to look: another place each time, so that short-lived ones are fair too.
fn seed() -> u64 {
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
    }
    NEXT.with(|next| {
        let mut x = next.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        next.set(x);
        x ^ u64::from(std::process::id()) << 32
    })
}

impl<'a> Select<'a> {
    /// Without operations.
    pub fn new() -> Self {
        Select {
            turn: Turn::new(seed()),
            member: None,
            set: None,
            gate: None,
            leads: false,
            announces: false,
            wait: Wait::default(),
            refused: None,
            chosen: None,
        }
    }

    /// In favour of operations that were registered first, from now on.
    pub fn set_biased(&mut self) {
        self.turn.set_biased();
    }

    /// How it waits.
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Registers a receive; gives the operation's number. Numbers count from 0, and are not used again.
    ///
    /// # Errors
    /// [`SelectError`]: another domain, the same end twice, too many operations.
    pub fn recv<R: Receives + ?Sized>(&mut self, from: &'a R) -> Result<usize, SelectError> {
        self.add(from.operation())
    }

    /// Registers a send; gives the operation's number. The message is given when the operation has been chosen.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); a basic channel of degree 0.
    pub fn send<S: Sends + ?Sized>(&mut self, to: &'a S) -> Result<usize, SelectError> {
        self.add(to.operation())
    }

    fn add(&mut self, operand: operands::Operand<'a>) -> Result<usize, SelectError> {
        let operands::Operand { operation, home, entry, refused } = operand;
        if let Some(why) = refused {
            return Err(why);
        }
        if self.turn.len() == OPERATIONS_MAX {
            return Err(SelectError::TooManyOperations { operations_max: OPERATIONS_MAX });
        }
        let same = |i: &usize| self.turn.get(*i).is_some_and(|other| std::ptr::addr_eq(other, operation));
        // Whether it is here already, an end knows that was looked at; else it is among those that were not.
        let known = match (entry, self.set) {
            (entry, Some(set)) if entry != 0 => {
                let base = Segment::entry_offset(set, 0);
                entry.checked_sub(base).map(|i| i as usize).filter(same)
            }
            _ => (0..self.turn.len()).find(same),
        };
        if let Some(operation) = known {
            return Err(SelectError::Twice { operation });
        }
        match (home, &self.member) {
            (Home::Domain(domain), Some(member)) if !member.is_of(domain) => {
                return Err(SelectError::DifferentDomains)
            }
            (Home::Domain(domain), None) => self.member = Some(domain.clone()),
            (Home::Process, _) if self.gate.is_none() => {
                let gate = gate::take().ok_or(SelectError::TooManySelects { selects_max: GATES_MAX })?;
                self.turn.set_local(gate.base());
                self.gate = Some(gate);
            }
            _ => {}
        }
        Ok(self.turn.add(operation))
    }

    /// Takes an operation out; the numbers of the others stay. False: there is none of this number.
    pub fn remove(&mut self, operation: usize) -> bool {
        let removed = self.turn.remove(operation);
        if let Some(removed) = removed {
            removed.leave(self.at(operation));
        }
        removed.is_some()
    }

    /// The guard of an operation: while it does not hold the operation is not chosen, whatever its channel says. False:
    /// there is none of this number.
    ///
    /// ```
    /// # use staffetta::{Domain, Select, SelectError};
    /// # let domain = Domain::create()?;
    /// let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>()?;
    /// tx.send(1)?;
    /// let mut select = Select::new();
    /// let i = select.recv(&rx)?;
    /// select.set_enabled(i, false);
    /// assert_eq!(select.try_ready(), Err(SelectError::Empty));
    /// select.set_enabled(i, true);
    /// assert_eq!(select.try_ready(), Ok(i));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_enabled(&mut self, operation: usize, enabled: bool) -> bool {
        self.turn.enable(operation, enabled)
    }

    /// The operation as those know it who make it possible.
    fn at(&self, operation: usize) -> At {
        self.turn.at(operation, self.set.map(|set| Segment::entry_offset(set, 0)))
    }

    /// The loop, for all of the calls below. `None` as deadline: for ever.
    fn choose(&mut self, deadline: Option<Instant>, take: bool) -> Result<usize, SelectError> {
        if self.turn.is_empty() {
            return Err(SelectError::Empty);
        }
        if self.member.is_none() && self.gate.is_none() {
            return self.sleep(deadline);
        }
        let member = self.member.clone();
        if member.as_ref().is_some_and(|member| !member.here()) {
            return Err(SelectError::Forked);
        }
        if !self.announces {
            // What is possible at once needs no place to be told.
            if let Some(i) = self.turn.look::<Native>(None, 0, take) {
                return Ok(i);
            }
        }
        if let (Some(member), None) = (&member, self.set) {
            let set = threads::take_ready_set(member)
                .ok_or(SelectError::TooManySelects { selects_max: SELECTS_MAX })?;
            self.set = Some(set);
        }
        // The gate, or the domain, may have come after it has slept (gate.rs, G2).
        if let (Some(gate), Some(member), Some(set), false) = (self.gate, &member, self.set, self.leads) {
            gate.lead_to(member, set);
            self.turn.mark_all();
            self.leads = true;
        }
        self.announces = true;
        let own = self.gate.map(|gate| (gate.set(), 0));
        let domains = member.as_ref().zip(self.set);
        let domains =
            domains.map(|(member, set)| (member.segment().ready_set(set), Segment::entry_offset(set, 0)));
        let Some((set, base)) = domains.or(own) else {
            return Err(SelectError::Empty); // there is a domain or a gate
        };
        let bed = Bed {
            set,
            base,
            wait: self.wait,
            grace_steps: if Native::eager_steps() == 0 { GRACE_STEPS / 100 } else { GRACE_STEPS },
        };
        let gate = self.gate;
        let waits = Waits::of_select(self.set.unwrap_or_default(), gate.is_some());
        let pcb = || match &member {
            Some(member) => threads::own_pcb(member, waits.0),
            None => gate.map(Gate::pcb),
        };
        self.turn.choose(&bed, deadline, take, pcb).ok_or(SelectError::TimedOut)
    }

    /// Only timers.
    fn sleep(&mut self, deadline: Option<Instant>) -> Result<usize, SelectError> {
        loop {
            if let Some(i) = self.turn.look::<Native>(None, 0, true) {
                return Ok(i);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Err(SelectError::TimedOut);
            }
            match self.turn.due().into_iter().chain(deadline).min() {
                Some(until) => std::thread::sleep(until.saturating_duration_since(now)),
                None => std::thread::park(),
            }
        }
    }

    /// Without waiting; a moment for a select on the other side.
    fn choose_now(&mut self, take: bool) -> Result<usize, SelectError> {
        if self.turn.is_empty() {
            return Err(SelectError::Empty);
        }
        if self.member.as_ref().is_some_and(|member| !member.here()) {
            return Err(SelectError::Forked);
        }
        if !self.announces {
            if let Some(i) = self.turn.look::<Native>(None, 0, take) {
                return Ok(i);
            }
            if !self.turn.faces_sleeper() {
                return Err(SelectError::WouldBlock);
            }
            return self.choose(deadline_after(ANSWER), take).map_err(tried);
        }
        self.choose(Some(Instant::now()), take)
            .or_else(|why| match why {
                SelectError::TimedOut if self.turn.faces_sleeper() => {
                    self.choose(deadline_after(ANSWER), take)
                }
                why => Err(why),
            })
            .map_err(tried)
    }

    /// Waits until an operation is possible, chooses it, and gives it to be completed.
    ///
    /// # Errors
    /// [`SelectError::Empty`]; no place to sleep.
    pub fn select(&mut self) -> Result<SelectedOperation<'_, 'a>, SelectError> {
        let chosen = self.choose(None, true);
        self.selected(chosen)
    }

    /// Chooses an operation if one is possible now.
    ///
    /// # Errors
    /// As [`select`](Self::select); `WouldBlock`.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'_, 'a>, SelectError> {
        let chosen = self.choose_now(true);
        self.selected(chosen)
    }

    /// As [`select`](Self::select), for at most `timeout`.
    ///
    /// # Errors
    /// As [`select`](Self::select); `TimedOut`.
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'_, 'a>, SelectError> {
        let chosen = self.choose(deadline_after(timeout), true);
        self.selected(chosen)
    }

    /// As [`select`](Self::select), until `deadline`.
    ///
    /// # Errors
    /// As [`select_timeout`](Self::select_timeout).
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'_, 'a>, SelectError> {
        let chosen = self.choose(Some(deadline), true);
        self.selected(chosen)
    }

    fn selected(
        &mut self,
        chosen: Result<usize, SelectError>,
    ) -> Result<SelectedOperation<'_, 'a>, SelectError> {
        let index = chosen?;
        Ok(SelectedOperation { select: self, index, refused: None })
    }

    /// What was given to a select that stood is anybody's now.
    fn leave_it(&self, i: usize) -> usize {
        if let Some(operation) = self.turn.get(i) {
            operation.release(self.at(i));
        }
        i
    }

    /// Waits until an operation is possible; gives its number, and leaves it to whoever comes first.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn ready(&mut self) -> Result<usize, SelectError> {
        self.choose(None, false).map(|i| self.leave_it(i))
    }

    /// The number of an operation that is possible now.
    ///
    /// # Errors
    /// As [`try_select`](Self::try_select).
    pub fn try_ready(&mut self) -> Result<usize, SelectError> {
        self.choose_now(false).map(|i| self.leave_it(i))
    }

    /// As [`ready`](Self::ready), for at most `timeout`.
    ///
    /// # Errors
    /// As [`select_timeout`](Self::select_timeout).
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, SelectError> {
        self.choose(deadline_after(timeout), false).map(|i| self.leave_it(i))
    }

    /// As [`ready`](Self::ready), until `deadline`.
    ///
    /// # Errors
    /// As [`select_timeout`](Self::select_timeout).
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, SelectError> {
        self.choose(Some(deadline), false).map(|i| self.leave_it(i))
    }
}

fn tried(why: SelectError) -> SelectError {
    match why {
        SelectError::TimedOut => SelectError::WouldBlock,
        other => other,
    }
}

impl Drop for Select<'_> {
    fn drop(&mut self) {
        if let Some((i, operation)) = self.chosen.and_then(|i| Some((i, self.turn.get(i)?))) {
            operation.release(self.at(i));
        }
        if self.announces {
            for i in 0..self.turn.len() {
                if let Some(operation) = self.turn.get(i) {
                    operation.leave(self.at(i)); // V1
                }
            }
        }
        if let Some(gate) = self.gate {
            gate.give_back();
        }
        if let Some((set, member)) = self.set.zip(self.member.as_ref()).filter(|(_, member)| member.here()) {
            threads::release_ready_set(member, set);
        }
    }
}

/// An operation that a [`Select`] has chosen, to be completed with the end that it was registered with.
///
/// Dropped without that nothing is lost: a message that was taken already is what the end receives next.
#[must_use = "the operation that was chosen has not happened yet: complete it with recv or send"]
pub struct SelectedOperation<'s, 'a> {
    select: &'s mut Select<'a>,
    index: usize,
    /// For the macros: why nothing was chosen.
    refused: Option<SelectError>,
}

impl SelectedOperation<'_, '_> {
    /// The operation's number.
    pub fn index(&self) -> usize {
        self.index
    }

    fn check(&self, operation: &dyn Selectable) -> Result<(), SelectError> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        let same = self.select.turn.get(self.index).is_some_and(|other| std::ptr::addr_eq(other, operation));
        same.then_some(()).ok_or(SelectError::OtherEnd)
    }

    /// Completes a receive; does not wait.
    ///
    /// # Errors
    /// As `try_recv` of the end; [`SelectError::OtherEnd`].
    pub fn recv<'m, R: Receives + ?Sized>(self, from: &'m R) -> Result<R::Message<'m>, R::Error> {
        self.check(from.operation().operation)?;
        from.complete(self.select.at(self.index))
    }

    /// Completes a send; does not wait.
    ///
    /// # Errors
    /// As `try_send` of the end, with the message; `WouldBlock` if a receiver that was there has given up waiting since;
    /// [`SelectError::OtherEnd`].
    pub fn send<S: Sends + ?Sized>(self, to: &S, message: S::Message) -> Result<(), SendError<S::Message>> {
        match self.check(to.operation().operation) {
            Ok(()) => to.complete(self.select.at(self.index), message),
            Err(why) => Err(SendError { message, why: why.into() }),
        }
    }
}

impl std::fmt::Debug for SelectedOperation<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelectedOperation").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Drop for SelectedOperation<'_, '_> {
    fn drop(&mut self) {
        if let Some(operation) = self.select.turn.get(self.index) {
            operation.release(self.select.at(self.index));
        }
    }
}
