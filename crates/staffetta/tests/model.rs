//! Channels with a buffer against a model that anybody can read: a `VecDeque`.
//!
//! One thread does a random sequence of operations on up to three senders and three receivers, none of which waits, and the
//! model says what each must give: how many wait, what comes next, when there is no room, what is dropped, which
//! place a message has. A failing sequence is shrunk (proptest) and printed. `STAFFETTA_TEST_CASES` sets how many sequences are
//! tried of each form.

mod common;

use std::collections::VecDeque;

use common::flavor::Flavor;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use staffetta::{Domain, Overflow, Receiver, RecvError, SendError, SendFailure, Sender};

/// Most ends of a side, and so many seats the channel has.
const ENDS: usize = 3;

/// An operation; the number says which of the ends that there are.
#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend(usize),
    ReserveAndSend(usize),
    ReserveAndDrop(usize),
    ForceSend(usize),
    TryRecv(usize),
    RecvRef(usize),
    /// Takes one in hand and keeps it while the next operation is done on other ends.
    HoldWhile(usize),
    CloneSender(usize),
    CloneReceiver(usize),
    LeaveSender(usize),
    LeaveReceiver(usize),
    Drain(usize),
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    (0..100_u32, 0..ENDS).prop_map(|(dice, end)| match dice {
        0..=24 => TrySend(end),
        25..=36 => ReserveAndSend(end),
        37..=40 => ReserveAndDrop(end),
        41..=50 => ForceSend(end),
        51..=66 => TryRecv(end),
        67..=76 => RecvRef(end),
        77..=82 => HoldWhile(end),
        83..=86 => CloneSender(end),
        87..=90 => CloneReceiver(end),
        91..=93 => LeaveSender(end),
        94..=96 => LeaveReceiver(end),
        _ => Drain(end),
    })
}

/// A form, and what happens when it is full.
#[derive(Clone, Copy, Debug)]
struct Plan {
    flavor: Flavor,
    overflow: Overflow,
}

impl Plan {
    fn all() -> Vec<Plan> {
        use Flavor::{Bounded, Buffered, ManyToOne, WorkQueue};
        use Overflow::{Block, DropNewest, DropOldest};
        let of = |flavor, overflow| Plan { flavor, overflow };
        let mut plans = Vec::new();
        for k in [1, 2, 3, 8] {
            for overflow in [Block, DropOldest, DropNewest] {
                plans.extend([
                    of(Buffered(k), overflow),
                    of(Bounded(k), overflow),
                    of(WorkQueue(k), overflow),
                ]);
            }
            plans.push(of(ManyToOne(k), Block));
        }
        plans
    }

    fn senders(self) -> usize {
        self.flavor.senders() as usize
    }

    fn receivers(self) -> usize {
        self.flavor.receivers() as usize
    }

    /// Is it a queue, and not the buffer of one sender and one receiver?
    fn is_queue(self) -> bool {
        !matches!((self.flavor, self.overflow), (Flavor::Buffered(_), Overflow::Block))
    }

    fn pair(self, domain: &Domain) -> (Sender<u64>, Receiver<u64>) {
        let channel = self.flavor.of(domain, "");
        let channel = match self.flavor {
            Flavor::Buffered(_) => channel,
            Flavor::ManyToOne(_) => channel.senders(ENDS as u8),
            Flavor::WorkQueue(_) => channel.receivers(ENDS as u8),
            _ => channel.senders(ENDS as u8).receivers(ENDS as u8),
        };
        match self.overflow {
            Overflow::Block => channel,
            other => channel.overflow(other),
        }
        .unnamed()
        .unwrap()
    }
}

/// A message of the model: its number, its place, who sent it.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    place: u64,
    sender: usize,
}

struct Model {
    plan: Plan,
    waiting: VecDeque<Waiting>,
    next_number: u64,
    next_place: u64,
    received: u64,
    dropped: u64,
    /// Senders, each with its seat: who comes into the seat of one that has left takes over what waits of it, too.
    senders: Vec<(usize, Sender<u64>)>,
    receivers: Vec<Receiver<u64>>,
}

type Checked = Result<(), TestCaseError>;

impl Model {
    fn new(plan: Plan, domain: &Domain) -> Model {
        let (tx, rx) = plan.pair(domain);
        Model {
            plan,
            waiting: VecDeque::new(),
            next_number: 0,
            next_place: 0,
            received: 0,
            dropped: 0,
            senders: vec![(0, tx)],
            receivers: vec![rx],
        }
    }

    fn is_full(&self, sender: usize) -> bool {
        let k = self.plan.flavor.degree() as usize;
        match self.plan.flavor {
            Flavor::ManyToOne(_) => self.waiting.iter().filter(|m| m.sender == sender).count() >= k,
            _ => self.waiting.len() >= k,
        }
    }

    fn put(&mut self, sender: usize, number: u64) {
        self.waiting.push_back(Waiting { number, place: self.next_place, sender });
        self.next_place += 1;
    }

    /// Which sender, and a new number; None: there is none left.
    fn sender(&mut self, end: usize) -> Option<(usize, usize, u64)> {
        let at = end.checked_rem(self.senders.len())?;
        self.next_number += 1;
        Some((at, self.senders[at].0, self.next_number))
    }

    /// What the model says to a send; None: nobody is there to receive. True: it is sent.
    fn expect_send(&mut self, who: usize, number: u64) -> Option<bool> {
        if self.receivers.is_empty() {
            return None;
        }
        if self.is_full(who) {
            match self.plan.overflow {
                Overflow::Block => return Some(false),
                Overflow::DropNewest => {
                    self.dropped += 1;
                    return Some(true);
                }
                Overflow::DropOldest => {
                    self.waiting.pop_front();
                    self.dropped += 1;
                }
            }
        }
        self.put(who, number);
        Some(true)
    }

    fn try_send(&mut self, end: usize) -> Checked {
        let Some((at, who, number)) = self.sender(end) else { return Ok(()) };
        let result = self.senders[at].1.try_send(number);
        match (self.expect_send(who, number), result) {
            (Some(true), Ok(())) => {}
            (Some(false), Err(SendError { message, why: SendFailure::WouldBlock })) if message == number => {}
            (None, Err(SendError { message, why: SendFailure::Disconnected })) if message == number => {}
            (expected, result) => prop_assert!(false, "expected {:?}, it was {:?}", expected, result),
        }
        Ok(())
    }

    fn reserve(&mut self, end: usize, send: bool) -> Checked {
        let Some((at, who, number)) = self.sender(end) else { return Ok(()) };
        let expected = match (self.receivers.is_empty(), self.is_full(who), self.plan.overflow) {
            (true, ..) => None,
            (_, true, Overflow::Block) => Some(false),
            _ => Some(true),
        };
        let sent = match (expected, self.senders[at].1.try_reserve()) {
            (Some(true), Ok(slot)) if send => {
                // Where one sends at a time the place is known before; one that drops looks for it when it sends.
                if self.plan.overflow == Overflow::Block {
                    prop_assert_eq!(slot.seq(), self.next_place);
                }
                slot.write(number).map_err(|why| TestCaseError::fail(why.to_string()))?;
                true
            }
            (Some(true), Ok(_)) => false,
            (Some(false), Err(SendFailure::WouldBlock)) | (None, Err(SendFailure::Disconnected)) => false,
            (expected, slot) => {
                let slot = slot.map(|slot| slot.seq());
                return Err(TestCaseError::fail(format!("expected {expected:?}, it was {slot:?}")));
            }
        };
        if sent {
            self.expect_send(who, number);
        }
        Ok(())
    }

    fn force_send(&mut self, end: usize) -> Checked {
        let Some((at, who, number)) = self.sender(end) else { return Ok(()) };
        let result = self.senders[at].1.force_send(number);
        // A degree per sender, and a buffer of one sender and one receiver, are the receiver's alone.
        let may_displace = !matches!(self.plan.flavor, Flavor::ManyToOne(_)) && self.plan.is_queue();
        if !may_displace {
            let refused = matches!(result, Err(SendError { why: SendFailure::CannotDisplace, .. }));
            prop_assert!(refused, "{:?}", result);
            return Ok(());
        }
        if self.receivers.is_empty() {
            prop_assert!(
                matches!(result, Err(SendError { why: SendFailure::Disconnected, .. })),
                "{:?}",
                result
            );
            return Ok(());
        }
        let out = if self.is_full(who) { self.waiting.pop_front() } else { None };
        self.dropped += u64::from(out.is_some());
        self.put(who, number);
        match result {
            Ok(displaced) => prop_assert_eq!(displaced, out.map(|m| m.number)),
            Err(why) => prop_assert!(false, "{:?}", why),
        }
        Ok(())
    }

    /// Receives by `take`, which gives the number and the place if it knows it.
    fn receive(
        &mut self,
        end: usize,
        take: impl FnOnce(&Receiver<u64>) -> Result<(u64, Option<u64>), RecvError>,
    ) -> Checked {
        let Some(at) = end.checked_rem(self.receivers.len()) else { return Ok(()) };
        let result = take(&self.receivers[at]);
        match (self.waiting.pop_front(), result) {
            (Some(expected), Ok((number, place))) => {
                self.received += 1;
                prop_assert_eq!(number, expected.number);
                prop_assert_eq!(place.unwrap_or(expected.place), expected.place);
            }
            (None, Err(RecvError::WouldBlock)) if !self.senders.is_empty() => {}
            (None, Err(RecvError::Disconnected)) if self.senders.is_empty() => {}
            (expected, result) => prop_assert!(false, "expected {:?}, it was {:?}", expected, result),
        }
        Ok(())
    }

    /// A message in hand does not wait, and is in nobody's way.
    fn hold_while(&mut self, end: usize) -> Checked {
        if self.receivers.len() < 2 || self.waiting.is_empty() || self.senders.is_empty() {
            return Ok(());
        }
        let expected = self.waiting.pop_front();
        self.received += 1;
        let holder = self.receivers.swap_remove(end % self.receivers.len());
        {
            let held = holder.try_recv_ref();
            let number = held.as_deref().ok().copied();
            prop_assert_eq!(number, expected.map(|m| m.number));
            prop_assert!(matches!(holder.try_recv(), Err(RecvError::Held)));
            for _ in 0..=self.plan.flavor.degree() {
                self.try_send(end)?;
            }
            self.receive(end, |rx| rx.try_recv().map(|n| (n, None)))?;
            self.check()?;
            prop_assert_eq!(held.as_deref().ok().copied(), number, "it changed in hand");
        }
        self.receivers.push(holder);
        Ok(())
    }

    fn check(&self) -> Checked {
        let waiting = self.waiting.len() as u64;
        for (_, tx) in &self.senders {
            prop_assert_eq!(tx.len(), waiting);
            prop_assert_eq!(tx.has_peer(), !self.receivers.is_empty());
        }
        for rx in &self.receivers {
            prop_assert_eq!(rx.len(), waiting);
            prop_assert_eq!(rx.is_empty(), waiting == 0);
            prop_assert_eq!(rx.has_peer(), !self.senders.is_empty());
        }
        let counters = match (self.senders.first(), self.receivers.first()) {
            (Some((_, tx)), _) => tx.channel_counters(),
            (_, Some(rx)) => rx.channel_counters(),
            _ => return Ok(()),
        };
        prop_assert_eq!(counters.0.dropped + counters.1.dropped, self.dropped);
        prop_assert_eq!(counters.0.messages, self.next_place);
        Ok(())
    }

    fn step(&mut self, op: Op) -> Checked {
        match op {
            Op::TrySend(end) => self.try_send(end)?,
            Op::ReserveAndSend(end) => self.reserve(end, true)?,
            Op::ReserveAndDrop(end) => self.reserve(end, false)?,
            Op::ForceSend(end) => self.force_send(end)?,
            Op::TryRecv(end) => self.receive(end, |rx| rx.try_recv().map(|n| (n, None)))?,
            Op::RecvRef(end) => {
                self.receive(end, |rx| rx.try_recv_ref().map(|m| (*m, Some(m.seq()))))?;
            }
            Op::HoldWhile(end) => self.hold_while(end)?,
            Op::CloneSender(end) => {
                if let Some(at) = end.checked_rem(self.senders.len()) {
                    let clone = self.senders[at].1.try_clone();
                    prop_assert_eq!(clone.is_ok(), self.senders.len() < self.plan.senders());
                    let seat = (0..).find(|seat| self.senders.iter().all(|(taken, _)| taken != seat));
                    self.senders.extend(seat.zip(clone.ok()));
                }
            }
            Op::CloneReceiver(end) => {
                if let Some(at) = end.checked_rem(self.receivers.len()) {
                    let clone = self.receivers[at].try_clone();
                    prop_assert_eq!(clone.is_ok(), self.receivers.len() < self.plan.receivers());
                    self.receivers.extend(clone.ok());
                }
            }
            Op::LeaveSender(end) => {
                if let Some(at) = end.checked_rem(self.senders.len()) {
                    self.senders.swap_remove(at);
                }
            }
            Op::LeaveReceiver(end) => {
                if let Some(at) = end.checked_rem(self.receivers.len()) {
                    self.receivers.swap_remove(at);
                }
            }
            Op::Drain(end) => {
                if let Some(at) = end.checked_rem(self.receivers.len()) {
                    let all: Vec<u64> = self.receivers[at].try_iter().collect();
                    let expected: Vec<u64> = self.waiting.drain(..).map(|m| m.number).collect();
                    self.received += all.len() as u64;
                    prop_assert_eq!(all, expected);
                }
            }
        }
        self.check()
    }
}

#[test]
fn channels_do_what_the_model_does() {
    let _watchdog = common::watchdog("model", 240);
    let cases = std::env::var("STAFFETTA_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let domain = common::options().create().unwrap();
    for plan in Plan::all() {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let run = runner.run(&prop::collection::vec(op(), 1..80), |ops| {
            let mut model = Model::new(plan, &domain);
            for (at, op) in ops.into_iter().enumerate() {
                model.step(op).map_err(|e| TestCaseError::fail(format!("step {at}, {op:?}: {e}")))?;
            }
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{plan:?}: {failure}"));
    }
    // Every sequence ended with its channel: so did its memory.
    assert!(domain.memory().unwrap().1 < 1 << 20, "{:?}", domain.memory());
}
