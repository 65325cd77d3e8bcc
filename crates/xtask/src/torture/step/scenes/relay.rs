//! Sends and receives over every channel that hands each message to one receiver: the victim has one end, the survivor the
//! other.

mod cargo;
mod partner;

use std::marker::PhantomData;
use std::time::Duration;

use staffetta::{ChannelBuilder, Domain, Method, Overflow, Parcel, RecvError, Sender, Wait};

use self::cargo::{Cargo, WORDS};
use self::partner::Partner;
use crate::torture::step::scene::{done, join, keep, Act, Done, Scene, Survivor};

/// Messages that may wait.
const DEGREE: u64 = 2;

/// A deadline that does not pass.
const LONG: Duration = Duration::from_secs(2);

/// What kind of channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    Rendezvous,
    Basic,
    Buffered,
    Bounded,
    ManyToOne,
    WorkQueue,
    DropOldest,
    DropNewest,
}

use Flavor::*;

const FLAVORS: [Flavor; 8] =
    [Bounded, Rendezvous, Basic, Buffered, ManyToOne, WorkQueue, DropOldest, DropNewest];

impl Flavor {
    fn of<'d>(self, domain: &'d Domain, name: &'d str, method: Method, wait: Wait) -> ChannelBuilder<'d> {
        let channel = domain.channel(name).method(method).wait(wait);
        match self {
            Rendezvous => channel.rendezvous(),
            Basic => channel.basic(DEGREE),
            Buffered => channel.buffered(DEGREE),
            Bounded => channel.bounded(DEGREE),
            ManyToOne => channel.many_to_one(DEGREE),
            WorkQueue => channel.work_queue(DEGREE),
            DropOldest => channel.bounded(DEGREE).overflow(Overflow::DropOldest),
            DropNewest => channel.bounded(DEGREE).overflow(Overflow::DropNewest),
        }
    }

    fn degree(self) -> u64 {
        if self == Rendezvous {
            0
        } else {
            DEGREE
        }
    }

    fn is_in_place(self) -> bool {
        !matches!(self, Rendezvous | Basic)
    }

    fn drops(self) -> bool {
        matches!(self, DropOldest | DropNewest)
    }
}

/// What the victim does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    TrySend,
    Send,
    SendTimeout,
    SendMany,
    ForceSend,
    Build,
    ReserveAndDrop,
    CloseSender,
    AttachSender,
    TryRecv,
    Recv,
    RecvTimeout,
    RecvMany,
    RecvRef,
    ReleaseRef,
    CloseReceiver,
    AttachReceiver,
}

use Op::*;

const OPS: [Op; 17] = [
    TrySend,
    Send,
    SendTimeout,
    SendMany,
    ForceSend,
    Build,
    ReserveAndDrop,
    CloseSender,
    AttachSender,
    TryRecv,
    Recv,
    RecvTimeout,
    RecvMany,
    RecvRef,
    ReleaseRef,
    CloseReceiver,
    AttachReceiver,
];

impl Op {
    /// The victim is a sender.
    fn sends(self) -> bool {
        (self as u8) < (TryRecv as u8)
    }

    fn is_in_place(self) -> bool {
        matches!(self, Build | ReserveAndDrop | RecvRef | ReleaseRef)
    }

    fn attaches(self) -> bool {
        matches!(self, AttachSender | AttachReceiver)
    }

    /// It waits if it has to.
    fn blocks(self) -> bool {
        matches!(
            self,
            Send | SendTimeout | SendMany | Build | ReserveAndDrop | Recv | RecvTimeout | RecvMany | RecvRef
        )
    }
}

/// How things are when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The partner never came.
    Absent,
    /// The partner is there; nothing waits.
    There,
    /// The partner waits, and sleeps or spins.
    Waits,
    /// One message waits.
    One,
    /// As many messages wait as may.
    Full,
    /// The partner died.
    Dead,
}

use State::*;

const STATES: [State; 6] = [There, Waits, One, Full, Absent, Dead];

/// An operation on one end, with the other one in a state.
struct Relay<M> {
    flavor: Flavor,
    method: Method,
    wait: Wait,
    op: Op,
    state: State,
    /// The channel's name.
    called: String,
    cargo: PhantomData<fn() -> M>,
}

impl<M> Clone for Relay<M> {
    fn clone(&self) -> Self {
        let Relay { flavor, method, wait, op, state, ref called, cargo } = *self;
        Relay { flavor, method, wait, op, state, called: called.clone(), cargo }
    }
}

/// All that make sense; cargo, method and wait policy go round, so that any two of all choices come together.
pub fn scenes(all: &mut Vec<Box<dyn Scene>>) {
    let mut turn = 0_usize;
    for flavor in FLAVORS {
        for op in OPS {
            for state in STATES {
                for _ in 0..2 {
                    turn += 1;
                    let wait = [Wait::Park, Wait::Park, Wait::SpinThenPark, Wait::Spin][turn % 4];
                    let method = Method::ALL[(turn / 3) % 3];
                    match turn % 3 {
                        0 => add::<u64>(all, flavor, method, wait, op, state),
                        1 => add::<[u64; WORDS]>(all, flavor, method, wait, op, state),
                        _ => add::<Parcel<[u64; WORDS]>>(all, flavor, method, wait, op, state),
                    }
                }
            }
        }
    }
}

fn add<M: Cargo>(
    all: &mut Vec<Box<dyn Scene>>,
    flavor: Flavor,
    method: Method,
    wait: Wait,
    op: Op,
    state: State,
) {
    let capabilities = method == Method::Capability && M::NAME == "parcel";
    let senseless = match op {
        // Messages wait nowhere in a rendezvous; in_place needs slots.
        _ if flavor == Rendezvous && matches!(state, One | Full) => true,
        _ if op.is_in_place() && (!flavor.is_in_place() || M::NAME == "parcel") => true,
        ForceSend => flavor == ManyToOne || !flavor.is_in_place() || flavor == Buffered || capabilities,
        // A receiver that waits has emptied it; a sender that waits has filled it; who drops never waits.
        _ if !op.sends() && state == Waits && flavor.drops() => true,
        // For ever.
        _ if op.blocks() && matches!(state, Dead) => true,
        ReleaseRef => !matches!(state, One | Full),
        AttachSender => matches!(state, One | Full),
        _ => false,
    };
    if !senseless {
        let called = format!("{op:?} {flavor:?} {state:?} {} {method:?} {wait}", M::NAME);
        all.push(Box::new(Relay::<M> { flavor, method, wait, op, state, called, cargo: PhantomData }));
    }
}

impl<M: Cargo> Relay<M> {
    fn channel<'d>(&'d self, domain: &'d Domain) -> ChannelBuilder<'d> {
        self.flavor.of(domain, &self.called, self.method, self.wait)
    }

    /// Messages that wait when it begins.
    fn before(&self) -> u64 {
        match self.state {
            One => 1,
            Full => self.flavor.degree(),
            Waits if !self.op.sends() => self.flavor.degree(),
            _ => 0,
        }
    }

    fn send_some(&self, domain: &Domain, tx: &Sender<M>) {
        for number in 0..self.before() {
            if let Err(error) = tx.try_send(M::pack(domain, self.method, number)) {
                panic!("message {number} of {}: {}", self.before(), error.why);
            }
        }
    }

    fn victim_sends(&self, domain: Domain) -> Act {
        let (op, method, number) = (self.op, self.method, self.before());
        if op == AttachSender {
            let (flavor, wait, called) = (self.flavor, self.wait, keep(self.called.clone()));
            let domain = keep(domain);
            return Box::new(move || {
                let tx = flavor.of(domain, called, method, wait).sender::<M>();
                done(tx.is_ok(), tx.map_err(|error| panic!("attach: {error}")))
            });
        }
        let tx = self.channel(&domain).sender::<M>().expect("attach a sender");
        self.send_some(&domain, &tx);
        let tx = keep(tx);
        let domain = keep(domain);
        let pack = move |n| M::pack(domain, method, n);
        let message = (!op.is_in_place() && op != CloseSender).then(|| pack(number));
        // Who drops the newest says that all is well; that it did not go the counter says.
        let drops_it = self.flavor == DropNewest && op != ForceSend;
        let before = tx.counters().dropped;
        let dropped = move || if drops_it { tx.counters().dropped - before } else { 0 };
        let said =
            move |sent: Result<(), staffetta::SendError<M>>| done(sent.is_ok() && dropped() == 0, sent);
        match op {
            TrySend => Box::new(move || said(tx.try_send(message.expect("made")))),
            Send => Box::new(move || said(tx.send(message.expect("made")))),
            SendTimeout => Box::new(move || said(tx.send_timeout(message.expect("made"), LONG))),
            SendMany => {
                let two = [message.expect("made"), pack(number + 1)];
                Box::new(move || match tx.send_many(two) {
                    Ok(sent) => Done { outcome: sent - dropped(), kept: Box::new(()) },
                    Err(error) => done(false, error),
                })
            }
            ForceSend => Box::new(move || {
                let sent = tx.force_send(message.expect("made"));
                done(sent.is_ok(), sent)
            }),
            Build | ReserveAndDrop => {
                let number = (op == Build).then_some(number);
                Box::new(move || {
                    let built = M::build(tx, number).expect("slots");
                    done(number.is_some() && built.is_ok() && dropped() == 0, built)
                })
            }
            _ => {
                let again = std::ptr::from_ref(tx);
                Box::new(move || {
                    close(again);
                    done(true, ())
                })
            }
        }
    }

    fn victim_receives(&self, domain: Domain) -> Act {
        let (op, method) = (self.op, self.method);
        let domain = keep(domain);
        if op == AttachReceiver {
            let (flavor, wait, called) = (self.flavor, self.wait, keep(self.called.clone()));
            return Box::new(move || {
                let rx = flavor.of(domain, called, method, wait).receiver::<M>();
                done(rx.is_ok(), rx.map_err(|error| panic!("attach: {error}")))
            });
        }
        let rx = keep(self.channel(domain).receiver::<M>().expect("attach a receiver"));
        let said = |came: Result<M, RecvError>| done(came.is_ok(), came);
        match op {
            TryRecv => Box::new(move || said(rx.try_recv())),
            Recv => Box::new(move || said(rx.recv())),
            RecvTimeout => Box::new(move || said(rx.recv_timeout(LONG))),
            RecvMany => {
                let mut into = Vec::with_capacity(4);
                Box::new(move || {
                    let came = rx.recv_many(&mut into, 2);
                    Done { outcome: *came.as_ref().unwrap_or(&0) as u64, kept: Box::new(into) }
                })
            }
            // Taken and not given back: the next receiver gets it again.
            RecvRef => Box::new(move || done(false, M::take(rx).expect("slots"))),
            ReleaseRef => {
                // The message comes when the survivor is ready: before the first mark that is not so yet.
                let guard = M::take(rx).expect("slots").expect("a message");
                Box::new(move || {
                    drop(guard);
                    done(true, ())
                })
            }
            _ => {
                let again = std::ptr::from_ref(rx);
                Box::new(move || {
                    close(again);
                    done(true, ())
                })
            }
        }
    }
}

/// Drops what was kept.
#[allow(unsafe_code)]
fn close<T>(kept: *const T) {
    // SAFETY: it was made by `keep`, from a box, and nobody uses it any more.
    drop(unsafe { Box::from_raw(kept.cast_mut()) });
}

impl<M: Cargo> Scene for Relay<M> {
    fn name(&self) -> String {
        self.called.clone()
    }

    fn victim(&self, domain: &str) -> Act {
        let domain = join(domain, self.wait);
        if self.op.sends() {
            self.victim_sends(domain)
        } else {
            self.victim_receives(domain)
        }
    }

    fn gone_before(&self, domain: &str) -> bool {
        if self.state != Dead {
            return false;
        }
        let domain = keep(join(domain, self.wait));
        if self.op.sends() {
            keep(self.channel(domain).receiver::<M>().expect("attach the one that dies"));
        } else {
            keep(self.channel(domain).sender::<M>().expect("attach the one that dies"));
        }
        true
    }

    /// The textbook's channel puts first, and withdraws what nobody took.
    fn may_happen_more(&self) -> bool {
        self.flavor == Basic
    }

    fn lingering(&self) -> usize {
        let capabilities = self.method == Method::Capability && M::NAME == "parcel";
        if capabilities {
            DEGREE as usize + 2
        } else {
            0
        }
    }

    fn survivor(&self, domain: &Domain) -> Box<dyn Survivor> {
        let mut survivor = Partner::new(self.clone(), domain.clone());
        if !matches!(self.state, Absent | Dead) {
            survivor.come();
        }
        Box::new(survivor)
    }
}
