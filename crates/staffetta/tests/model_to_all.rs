//! Broadcast and the latest value against a model that anybody can read: how many were sent, and which one each receiver
//! is due.
//!
//! One thread does a random sequence of operations on one sender and up to three receivers, none of which waits, and the model
//! says what each must give: which message, its place, how many were missed, when there is no room, who is disconnected. A
//! failing sequence is shrunk (proptest) and printed. `STAFFETTA_TEST_CASES` sets how many sequences are tried of each form.

mod common;

use common::to_all::{Case, Rx, ToAll, Tx};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use staffetta::{Late, Method, RecvError, SendFailure, Wait};

/// Most receivers.
const RECEIVERS: usize = 3;

/// An operation; the number says which of the receivers that there are.
#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend,
    ReserveAndSend,
    ReserveAndDrop,
    /// A sender leaves and the next one goes on.
    ReplaceSender,
    /// A receiver comes, and asks for the last so many.
    Join(u64),
    Leave(usize),
    TryRecv(usize),
    RecvRef(usize),
    /// One in hand while so many are sent.
    HoldWhile(usize, u64),
    /// The newest value, seen or not.
    Get(usize),
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    (0..100_u32, 0..RECEIVERS, 0..7_u64).prop_map(|(dice, which, n)| match dice {
        0..25 => TrySend,
        25..33 => ReserveAndSend,
        33..37 => ReserveAndDrop,
        37..40 => ReplaceSender,
        40..48 => Join(n),
        48..51 => Leave(which),
        51..70 => TryRecv(which),
        70..83 => RecvRef(which),
        83..92 => HoldWhile(which, n),
        _ => Get(which),
    })
}

/// A receiver, and what is known of it.
struct Receiver {
    rx: Rx<u64>,
    /// The message that it is due.
    next: u64,
    /// What it misses from here on counts.
    since: u64,
    missed: u64,
    /// A sender left, and it was not told yet: that comes when nothing is due.
    lost_sender: bool,
}

struct Model {
    case: Case,
    name: String,
    tx: Option<Tx<u64>>,
    /// Message n has the number n.
    sent: u64,
    receivers: Vec<Receiver>,
}

impl Model {
    fn new(case: &Case) -> Model {
        let name = common::name("model");
        let tx = Some(case.sender(&name));
        Model { case: case.clone(), name, tx, sent: 0, receivers: Vec::new() }
    }

    fn degree(&self) -> u64 {
        self.case.to_all.degree()
    }

    /// May one more be sent?
    fn has_room(&self) -> bool {
        let slowest = self.receivers.iter().map(|receiver| receiver.next).min();
        !self.case.to_all.waits() || slowest.is_none_or(|next| self.sent < next + self.degree())
    }

    fn tx(&self) -> &Tx<u64> {
        self.tx.as_ref().expect("there is always a sender")
    }

    fn sent_is(&mut self, why: Option<SendFailure>) -> Result<(), TestCaseError> {
        prop_assert_eq!(why.is_none(), self.has_room());
        prop_assert!(matches!(why, None | Some(SendFailure::WouldBlock)), "{:?}", why);
        self.sent += u64::from(why.is_none());
        Ok(())
    }

    fn reserve(&mut self, send: bool) -> Result<(), TestCaseError> {
        let n = self.sent;
        let why = match self.tx() {
            Tx::Broadcast(tx) => tx.try_reserve(),
            Tx::Latest(tx) => tx.reserve(),
        }
        .and_then(|slot| {
            let mut slot = slot.reused();
            *slot = n;
            if send {
                slot.send()?;
            }
            Ok(())
        })
        .err();
        if send {
            self.sent_is(why)
        } else {
            prop_assert_eq!(why.is_none(), self.has_room());
            Ok(())
        }
    }

    /// The oldest that is there still for somebody who is due `next`.
    fn oldest(&self, next: u64) -> u64 {
        self.sent.saturating_sub(self.degree()).max(next)
    }

    /// `got` is what the model says; gives whether the receiver is there still.
    fn receives(&mut self, at: usize, got: Result<u64, RecvError>) -> Result<bool, TestCaseError> {
        let oldest = self.oldest(self.receivers[at].next);
        let (sent, to_all) = (self.sent, self.case.to_all);
        let receiver = &mut self.receivers[at];
        let missed = oldest.saturating_sub(receiver.next.max(receiver.since));
        receiver.missed += missed;
        if missed != 0 && matches!(to_all, ToAll::Disconnects(_)) {
            prop_assert!(matches!(got, Err(RecvError::TooSlow { .. })), "{:?}", got);
            prop_assert!(matches!(receiver.rx.try_recv(), Err(RecvError::TooSlow { .. })), "for ever");
            prop_assert_eq!(receiver.rx.missed(), receiver.missed);
            return Ok(false);
        }
        if oldest == sent {
            match std::mem::take(&mut receiver.lost_sender) {
                true => prop_assert!(matches!(got, Err(RecvError::Disconnected)), "{:?}, a sender left", got),
                false => prop_assert!(matches!(got, Err(RecvError::WouldBlock)), "{:?}, nothing is due", got),
            }
        } else {
            prop_assert_eq!(got.map_err(|error| error.to_string()), Ok(oldest));
            receiver.next = oldest + 1;
        }
        prop_assert_eq!(receiver.rx.missed(), receiver.missed);
        prop_assert!(!to_all.waits() || receiver.missed == 0);
        Ok(true)
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        let which = |which: usize| which.checked_rem(self.receivers.len());
        match op {
            Op::TrySend => {
                let why = self.tx().try_send(self.sent).err();
                if let Some(error) = &why {
                    prop_assert_eq!(error.message, self.sent);
                }
                self.sent_is(why.map(|error| error.why))?;
            }
            Op::ReserveAndSend => self.reserve(true)?,
            Op::ReserveAndDrop => self.reserve(false)?,
            Op::ReplaceSender => {
                self.tx = None;
                self.tx = Some(self.case.sender(&self.name));
                self.receivers.iter_mut().for_each(|receiver| receiver.lost_sender = true);
            }
            Op::Join(late) if self.receivers.len() < RECEIVERS => {
                // Who is waited for and comes late is due what the sender has not been told of yet: not modelled.
                let late = if self.case.to_all.waits() { 0 } else { late };
                let (rx, start) = match self.case.to_all {
                    ToAll::Latest => (self.case.receiver(&self.name), self.sent.saturating_sub(1)),
                    _ => {
                        let rx = self.case.late_receiver(&self.name, Late::LastN(late));
                        (rx, self.sent - late.min(self.degree()).min(self.sent))
                    }
                };
                self.receivers.push(Receiver {
                    rx,
                    next: start,
                    since: self.sent,
                    missed: 0,
                    lost_sender: false,
                });
            }
            Op::Leave(of) => drop(which(of).map(|at| self.receivers.swap_remove(at))),
            Op::TryRecv(of) => {
                if let Some(at) = which(of) {
                    let got = self.receivers[at].rx.try_recv();
                    self.receives_or_goes(at, got)?;
                }
            }
            Op::RecvRef(of) => {
                if let Some(at) = which(of) {
                    let got = self.receivers[at].rx.try_recv_ref(|message, place| {
                        assert_eq!(*message, place, "its place");
                        *message
                    });
                    self.receives_or_goes(at, got)?;
                }
            }
            Op::HoldWhile(of, sends) => {
                if let Some(at) = which(of) {
                    // As many as there is room for: what is in hand is taken, and stays as it is.
                    let room = self.room_after_taking(at).min(sends);
                    let (tx, sent) = (self.tx(), self.sent);
                    let mut done = 0;
                    let got = self.receivers[at].rx.try_recv_ref(|message, _| {
                        let before = *message;
                        while done < room && tx.try_send(sent + done).is_ok() {
                            done += 1;
                        }
                        assert_eq!(*message, before, "changed in hand");
                        before
                    });
                    prop_assert!(done == room || got.is_err());
                    self.receives_or_goes(at, got)?;
                    self.sent += done;
                }
            }
            Op::Get(of) => {
                if let (Some(at), ToAll::Latest) = (which(of), self.case.to_all) {
                    let sent = self.sent;
                    let receiver = &mut self.receivers[at];
                    let Rx::Latest(rx) = &receiver.rx else { unreachable!("of this kind") };
                    let got = rx.get().map_err(|error| error.to_string()).ok();
                    prop_assert_eq!(got, sent.checked_sub(1));
                    if sent == 0 {
                        receiver.lost_sender = false; // that is what it was told
                    } else {
                        receiver.missed += (sent - 1).saturating_sub(receiver.next.max(receiver.since));
                        (receiver.next, receiver.since) = (sent, receiver.since.max(receiver.next));
                    }
                    prop_assert_eq!(receiver.rx.missed(), receiver.missed);
                }
            }
            Op::Join(_) => {}
        }
        Ok(())
    }

    fn receives_or_goes(&mut self, at: usize, got: Result<u64, RecvError>) -> Result<(), TestCaseError> {
        if !self.receives(at, got)? {
            self.receivers.swap_remove(at);
        }
        Ok(())
    }

    /// How many may be sent once the receiver at `at` has taken one.
    fn room_after_taking(&self, at: usize) -> u64 {
        if !self.case.to_all.waits() {
            return u64::MAX;
        }
        let next = |(i, receiver): (usize, &Receiver)| receiver.next + u64::from(i == at);
        let slowest = self.receivers.iter().enumerate().map(next).min();
        slowest.map_or(u64::MAX, |next| (next + self.degree()).saturating_sub(self.sent))
    }
}

#[test]
fn channels_to_all_do_what_the_model_does() {
    let _watchdog = common::watchdog("model to all", 240);
    let cases = std::env::var("STAFFETTA_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for to_all in ToAll::ALL {
        let domain = common::options().create().unwrap();
        let case = Case { domain, to_all, method: Method::Coinciding, wait: Wait::Park, cargo: "values" };
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let run = runner.run(&prop::collection::vec(op(), 1..120), |ops| {
            let mut model = Model::new(&case);
            for (at, op) in ops.into_iter().enumerate() {
                model.step(op).map_err(|e| TestCaseError::fail(format!("step {at}, {op:?}: {e}")))?;
            }
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{to_all:?}: {failure}"));
    }
}
