//! The survivor of a relay: what it does while the victim lives, and what it expects when it is dead.

use std::time::{Duration, Instant};

use staffetta::{Domain, Receiver, RecvError, SendFailure, Sender, Wait};

use super::cargo::Cargo;
use super::Flavor::*;
use super::Op::*;
use super::State::*;
use super::{Relay, DEGREE};
use crate::torture::line::Fault;
use crate::torture::step::peer::Report;
use crate::torture::step::scene::{Survivor, Waiter, PATIENCE};

/// What whoever comes after the dead sends.
const HEIR: u64 = 1 << 40;
/// A deadline of milliseconds has been kept if it passed within this time.
const KEPT: Duration = Duration::from_secs(3);

/// A receiver that waits, and a sender that does.
type Receives<M> = Waiter<(Receiver<M>, Result<M, RecvError>)>;
type Sends<M> = Waiter<(Sender<M>, Result<(), SendFailure>)>;

/// The survivor: it has the other end.
pub struct Partner<M: Cargo> {
    scene: Relay<M>,
    domain: Domain,
    tx: Option<Sender<M>>,
    rx: Option<Receiver<M>>,
    /// What it received.
    got: Vec<u64>,
    /// How many it sent.
    sent: u64,
    receives: Option<Receives<M>>,
    sends: Option<Sends<M>>,
    /// What it was told of the other's end.
    told: Option<String>,
}

impl<M: Cargo> Partner<M> {
    /// With nothing yet.
    pub fn new(scene: Relay<M>, domain: Domain) -> Partner<M> {
        let (tx, rx, receives, sends, told) = (None, None, None, None, None);
        Partner { scene, domain, tx, rx, got: Vec::new(), sent: 0, receives, sends, told }
    }

    /// Attaches its end.
    pub fn come(&mut self) {
        let channel = self.scene.channel(&self.domain);
        if self.scene.op.sends() {
            self.rx = Some(channel.receiver().expect("attach the survivor"));
        } else {
            let tx = channel.sender().expect("attach the survivor");
            self.tx = Some(tx);
            // A message that the victim is to have in hand must be there before it.
            if matches!(self.scene.op, ReleaseRef | AttachReceiver) {
                self.send_before();
            }
        }
    }

    /// Sends what is to wait when the victim begins.
    fn send_before(&mut self) {
        if let Some(tx) = &self.tx {
            self.scene.send_some(&self.domain, tx);
            self.sent = self.scene.before();
        }
    }

    /// Begins to receive, or to send the next message. False: it has no end to do so.
    fn wait(&mut self, settle: bool) -> bool {
        let spins = self.scene.wait == Wait::Spin;
        if self.scene.op.sends() {
            if let Some(rx) = self.rx.take() {
                let waiter = Waiter::start(move || {
                    let came = rx.recv();
                    (rx, came)
                });
                if settle {
                    waiter.settle(spins);
                }
                self.receives = Some(waiter);
                return true;
            }
        } else if let Some(tx) = self.tx.take() {
            let message = M::pack(&self.domain, self.scene.method, self.sent);
            let waiter = Waiter::start(move || {
                let sent = tx.send(message).map_err(|error| error.why);
                (tx, sent)
            });
            if settle {
                waiter.settle(spins);
            }
            self.sends = Some(waiter);
            return true;
        }
        false
    }

    /// A message, or the end of the sender. True: that was all.
    fn note(&mut self, came: Result<M, RecvError>, report: &mut Report) -> bool {
        match came {
            Ok(message) => match message.number() {
                Some(number) => self.got.push(number),
                None => report.fault(Fault::Lost, "a message that is not whole"),
            },
            Err(RecvError::PeerDied) => self.told = Some("PeerDied".into()),
            Err(RecvError::Disconnected) => self.told = Some("Disconnected".into()),
            Err(RecvError::TimedOut) => {
                // There never was a sender, perhaps.
                let untold = self.scene.op == AttachSender || matches!(self.scene.state, Absent | Dead);
                report.expect(untold, Fault::Hung, || "no word of the sender's death".into());
                return true;
            }
            Err(other) => {
                report.fault(Fault::Wrong, format!("receive: {other}"));
                return true;
            }
        }
        self.told.is_some()
    }

    /// Whoever waits for one that died before it came waits on; a look suffices.
    fn patience(&self) -> Duration {
        if self.scene.op.attaches() {
            Duration::from_millis(10)
        } else {
            PATIENCE
        }
    }

    fn check_received(&mut self, report: &mut Report) {
        if let Some(waiter) = self.receives.take() {
            match waiter.within(self.patience()) {
                Some((rx, came)) => {
                    self.rx = Some(rx);
                    self.note(came, report);
                }
                // Nobody came: the heir will.
                None if self.scene.op == AttachSender => return self.receives = Some(waiter),
                None => return report.fault(Fault::Hung, "a receiver still waits"),
            }
        }
        if self.rx.is_none() {
            self.come();
        }
        let Some(rx) = self.rx.take() else {
            return;
        };
        // Whoever comes after the death of the last sender is not told of it.
        let untold = self.scene.op == AttachSender || matches!(self.scene.state, Absent | Dead);
        let patience = if untold { Duration::from_millis(5) } else { PATIENCE };
        while self.told.is_none() {
            if self.note(rx.recv_timeout(patience), report) {
                break;
            }
        }
        self.rx = Some(rx);
        let before = self.scene.before();
        let most = match self.scene.op {
            SendMany => 2,
            CloseSender | AttachSender | ReserveAndDrop => 0,
            _ => 1,
        };
        let first = *self.got.first().unwrap_or(&0);
        let contiguous = self.got.iter().enumerate().all(|(i, number)| *number == first + i as u64);
        let displaces = self.scene.flavor == DropOldest || self.scene.op == ForceSend;
        // Of several that are sent some are missing, if one who drops the newest finds room only now and then, or if one who drops the
        // oldest finds room for the first of them, which a receiver has just made, and not for the next.
        let sorted = self.got.is_sorted_by(|a, b| a < b);
        let gaps = self.scene.op == SendMany
            && sorted
            && match self.scene.flavor {
                DropNewest => (first..before).all(|n| self.got.contains(&n)),
                DropOldest => {
                    self.got.last().is_some_and(|last| last + 1 - first <= self.got.len() as u64 + most)
                }
                _ => false,
            };
        let end = first + self.got.len() as u64;
        let lost =
            end < before || (first > 0 && !(displaces && first <= (before + most).saturating_sub(DEGREE)));
        report.expect(contiguous || gaps, Fault::Duplicated, || format!("received {:?}", self.got));
        report.expect(!lost, Fault::Lost, || format!("received {:?} of {before} and {most} more", self.got));
        let newest = self.got.last().map_or(0, |last| last + 1);
        report.expect(newest <= before + most, Fault::Duplicated, || format!("received {:?}", self.got));
        report.outcome = match self.scene.op {
            AttachSender => None,
            CloseSender if matches!(self.scene.state, Absent | Dead) => None,
            CloseSender => Some((self.told.as_deref() == Some("Disconnected")).into()),
            _ if contiguous => Some(end.saturating_sub(before)),
            _ => Some(self.got.iter().filter(|number| **number >= before).count() as u64),
        };
    }

    fn check_sent(&mut self, report: &mut Report) {
        let rendezvous = self.scene.flavor == Rendezvous;
        if let Some(waiter) = self.sends.take() {
            match waiter.within(self.patience()) {
                Some((tx, sent)) => {
                    self.tx = Some(tx);
                    match sent {
                        Ok(()) => self.sent += 1,
                        Err(why @ (SendFailure::PeerDied | SendFailure::Disconnected)) => {
                            self.told = Some(format!("{why:?}"));
                        }
                        Err(why) => report.fault(Fault::Wrong, format!("send: {why}")),
                    }
                }
                None if self.scene.op == AttachReceiver => return self.sends = Some(waiter),
                None => return report.fault(Fault::Hung, "a sender still waits"),
            }
        }
        // In a rendezvous what was sent was taken: also while the victim stood still, or when it was nudged.
        let taken = self.sent;
        let Some(tx) = self.tx.take() else {
            return;
        };
        // Its ends are given back before anybody takes over: what it had in hand comes first then.
        if self.scene.flavor.drops() {
            for _ in 0..10_000 {
                if !tx.has_peer() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        // As long as there is room it need not know; then it does.
        let mut tries =
            if self.scene.op == AttachReceiver || self.scene.flavor.drops() { 0 } else { DEGREE + 3 };
        while self.told.is_none() && tries > 0 {
            tries -= 1;
            let message = M::pack(&self.domain, self.scene.method, self.sent);
            match tx.send_timeout(message, PATIENCE).map_err(|error| error.why) {
                Ok(()) => self.sent += 1,
                Err(why @ (SendFailure::PeerDied | SendFailure::Disconnected)) => {
                    self.told = Some(format!("{why:?}"));
                }
                Err(why) => {
                    report.fault(Fault::Hung, format!("{why:?} instead of the receiver's death"));
                    break;
                }
            }
            if tries == 0 {
                report.fault(Fault::Hung, "it sends and sends, and does not hear of the receiver's death");
            }
        }
        self.tx = Some(tx);
        report.outcome = match self.scene.op {
            AttachReceiver => None,
            CloseReceiver if matches!(self.scene.state, Absent | Dead) || self.scene.flavor.drops() => None,
            CloseReceiver => Some((self.told.as_deref() == Some("Disconnected")).into()),
            _ if rendezvous => Some(taken),
            _ => None, // the heir tells
        };
    }

    /// Somebody comes at last to the receiver that waits.
    fn relieve_receiver(&mut self, waiter: &Receives<M>, report: &mut Report) {
        let tx = match self.scene.channel(&self.domain).sender::<M>() {
            Ok(tx) => tx,
            Err(why) => return report.fault(Fault::Leaked, format!("no heir can attach: {why}")),
        };
        if let Err(error) = tx.send_timeout(M::pack(&self.domain, self.scene.method, HEIR), PATIENCE) {
            report.fault(Fault::Hung, format!("the heir sends to one who waits: {}", error.why));
        }
        let came = waiter.finish().map(|(_, came)| came.map(|message| message.number()));
        let well = matches!(came, Some(Ok(Some(HEIR))));
        report.expect(well, Fault::Hung, || format!("who waited got {came:?} from the heir"));
    }

    /// Somebody comes at last to the sender that waits.
    fn relieve_sender(&mut self, waiter: &Sends<M>, report: &mut Report) {
        let rx = match self.scene.channel(&self.domain).receiver::<M>() {
            Ok(rx) => rx,
            Err(why) => return report.fault(Fault::Leaked, format!("no heir can attach: {why}")),
        };
        for number in 0..=self.sent {
            let came = rx.recv_timeout(PATIENCE).map(|message| message.number());
            let well = matches!(came, Ok(Some(n)) if n == number);
            report.expect(well, Fault::Lost, || format!("the heir got {came:?} instead of {number}"));
        }
        let sent = waiter.finish().map(|(_, sent)| sent);
        report.expect(matches!(sent, Some(Ok(()))), Fault::Hung, || format!("who waited: {sent:?}"));
    }

    /// Whoever takes over finds a channel that works, with what was not received.
    fn check_heir(&mut self, report: &mut Report) {
        let (domain, method) = (self.domain.clone(), self.scene.method);
        let channel = self.scene.channel(&domain);
        let (tx, rx) = match (self.tx.take(), self.rx.take()) {
            (Some(tx), None) => (Ok(tx), channel.receiver()),
            (None, Some(rx)) => (channel.sender(), Ok(rx)),
            (tx, rx) => {
                (tx.map_or_else(|| channel.clone().sender(), Ok), rx.map_or_else(|| channel.receiver(), Ok))
            }
        };
        let (tx, rx) = match (tx, rx) {
            (Ok(tx), Ok(rx)) => (tx, rx),
            (tx, rx) => {
                let why = tx.err().or(rx.err()).map(|error| error.to_string()).unwrap_or_default();
                return report.fault(Fault::Leaked, format!("no heir can attach: {why}"));
            }
        };
        let mut left = Vec::new();
        if !self.scene.op.sends() {
            loop {
                match rx.try_recv() {
                    Ok(message) => left.extend(message.number()),
                    Err(RecvError::WouldBlock | RecvError::NoPeer) => break,
                    Err(RecvError::PeerDied | RecvError::Disconnected) => {}
                    Err(other) => return report.fault(Fault::Wrong, format!("the heir receives: {other}")),
                }
            }
        }
        let message = M::pack(&domain, method, HEIR);
        let waiter = Waiter::start(move || {
            // That the other one died may not have been told yet.
            let mut sent = tx.send_timeout(message, PATIENCE);
            for _ in 0..2 {
                sent = match sent {
                    Err(error) if matches!(error.why, SendFailure::PeerDied | SendFailure::Disconnected) => {
                        tx.send_timeout(error.message, PATIENCE)
                    }
                    other => other,
                };
            }
            (tx, sent.map_err(|error| error.why))
        });
        loop {
            match rx.recv_timeout(PATIENCE) {
                Ok(message) => match message.number() {
                    Some(HEIR) => break,
                    Some(number) => left.push(number),
                    None => report.fault(Fault::Lost, "a message that is not whole"),
                },
                Err(RecvError::PeerDied | RecvError::Disconnected) => {}
                Err(other) => {
                    report.fault(Fault::Hung, format!("the heir waits: {other}"));
                    break;
                }
            }
        }
        match waiter.finish() {
            Some((_, Ok(()))) => {}
            Some((_, Err(why))) => report.fault(Fault::Wrong, format!("the heir sends: {why}")),
            None => report.fault(Fault::Hung, "the heir's send does not end"),
        }
        let told = (self.scene.op, self.scene.flavor);
        if self.scene.op.sends() || told.1 == Rendezvous {
            report.expect(left.is_empty(), Fault::Duplicated, || format!("the heir got {left:?}"));
            return;
        }
        // What the victim did not take, once and in order.
        let first = self.sent - (left.len() as u64).min(self.sent);
        let expected: Vec<u64> = (first..self.sent).collect();
        report.expect(left == expected, Fault::Lost, || format!("of {} the heir got {left:?}", self.sent));
        if !matches!(told.0, CloseReceiver | AttachReceiver) {
            report.outcome = Some(first);
        } else {
            report.expect(first == 0, Fault::Lost, || format!("of {} the heir got {left:?}", self.sent));
        }
    }
}

impl<M: Cargo> Survivor for Partner<M> {
    fn ready(&mut self) {
        if self.sent == 0 {
            self.send_before();
        }
        if self.scene.state == Waits {
            self.wait(true);
        }
    }

    fn nudge(&mut self) -> bool {
        let once = self.scene.flavor.drops() && (self.sent > 0 || self.sends.is_some());
        // Who drops never waits to send. Who was told of the end waits for nobody any more.
        let never = self.scene.flavor.drops() && self.scene.op.sends();
        if !self.scene.op.blocks() || once || never || self.told.is_some() {
            return false;
        }
        if self.tx.is_none() && self.rx.is_none() && self.sends.is_none() && self.receives.is_none() {
            self.come();
        }
        // What it waited for before has come, or is still waited for.
        if let Some(waiter) = self.receives.take() {
            match waiter.glance() {
                Some((rx, came)) => {
                    self.rx = Some(rx);
                    self.note(came, &mut Report::default());
                }
                None => {
                    self.receives = Some(waiter);
                    return false;
                }
            }
        }
        if let Some(waiter) = self.sends.take() {
            match waiter.glance() {
                Some((tx, sent)) => {
                    self.tx = Some(tx);
                    self.sent += u64::from(sent.is_ok());
                    self.told = sent.err().map(|why| format!("{why:?}"));
                }
                None => {
                    self.sends = Some(waiter);
                    return false;
                }
            }
        }
        self.told.is_none() && self.wait(false)
    }

    fn meanwhile(&mut self, report: &mut Report) {
        let short = Duration::from_millis(2);
        let begun = Instant::now();
        let alive = |told: bool, report: &mut Report| {
            report.expect(!told, Fault::Wrong, || "one that is stopped is taken for dead".into());
        };
        if let Some(rx) = self.rx.take() {
            let came = rx.recv_timeout(short);
            alive(matches!(came, Err(RecvError::PeerDied)), report);
            if !matches!(came, Err(RecvError::TimedOut)) {
                self.note(came, report);
            }
            self.rx = Some(rx);
        } else if let Some(tx) = self.tx.as_ref().filter(|_| !self.scene.flavor.drops()) {
            let sent = tx.send_timeout(M::pack(&self.domain, self.scene.method, self.sent), short);
            match sent.map_err(|error| error.why) {
                Ok(()) => self.sent += 1,
                Err(SendFailure::PeerDied) => alive(true, report),
                Err(why @ SendFailure::Disconnected) => self.told = Some(format!("{why:?}")),
                Err(_) => {}
            }
        }
        // Others get on, on this channel's domain.
        let channel = self.domain.channel("").wait(Wait::Park).buffered(1).unnamed::<u64>();
        let passed = channel.is_ok_and(|(tx, rx)| tx.send(1).is_ok() && rx.recv().is_ok());
        report.expect(passed, Fault::Hung, || "a channel of others does not work".into());
        report.expect(begun.elapsed() < KEPT, Fault::Hung, || format!("deadlines: {:?}", begun.elapsed()));
    }

    fn check(&mut self, report: &mut Report) {
        if self.scene.op.sends() {
            self.check_received(report);
        } else {
            self.check_sent(report);
        }
        let hung = report.faults.iter().any(|(fault, _)| *fault == Fault::Hung);
        if hung {
            return;
        }
        if let Some(waiter) = self.receives.take() {
            self.relieve_receiver(&waiter, report);
        } else if let Some(waiter) = self.sends.take() {
            self.relieve_sender(&waiter, report);
        } else {
            self.check_heir(report);
        }
    }
}
