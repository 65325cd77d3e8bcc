//! A scene told in two functions: what the victim does, and what a thread of the survivor does until it is over.

use staffetta::{Domain, Parcel, Wait};

use crate::torture::line::Fault;
use crate::torture::step::peer::Report;
use crate::torture::step::scene::{done, join, keep, Act, Scene, Survivor, Waiter};

/// What the survivor's thread does: attaches at once, and gives what it does then. That ends when the victim is dead, if not
/// before; the numbers are what it received, which must be 0, 1, 2 …
pub type Partner = fn(&Domain) -> Box<dyn FnOnce() -> Vec<u64> + Send>;

/// When it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begins {
    /// Before the victim's operation: it waits already.
    First,
    /// When the victim waits for it; at the latest when the victim is dead.
    Called,
}

/// An operation from a starting state.
pub struct Plain {
    pub name: &'static str,
    pub victim: fn(Domain) -> Act,
    pub partner: Option<(Partner, Begins)>,
    /// The operation sends: how much happened is how many came.
    pub counts: bool,
    /// Done when the survivor's thread is through.
    pub after: Option<fn(&Domain)>,
}

/// With nobody else concerned.
pub fn alone(name: &'static str, victim: fn(Domain) -> Act) -> Box<dyn Scene> {
    Box::new(Plain { name, victim, partner: None, counts: false, after: None })
}

/// With somebody who waits, and with somebody who comes when called: two scenes.
pub fn with(
    all: &mut Vec<Box<dyn Scene>>,
    names: [&'static str; 2],
    victim: fn(Domain) -> Act,
    partner: Partner,
    counts: bool,
) {
    for (name, begins) in names.into_iter().zip([Begins::First, Begins::Called]) {
        all.push(Box::new(Plain { name, victim, partner: Some((partner, begins)), counts, after: None }));
    }
}

/// The same, with something to be done at the end.
pub fn with_after(
    all: &mut Vec<Box<dyn Scene>>,
    names: [&'static str; 2],
    victim: fn(Domain) -> Act,
    partner: Partner,
    after: fn(&Domain),
) {
    for (name, begins) in names.into_iter().zip([Begins::First, Begins::Called]) {
        let (partner, after) = (Some((partner, begins)), Some(after));
        all.push(Box::new(Plain { name, victim, partner, counts: false, after }));
    }
}

/// An operation whose result is kept.
pub fn act<T: 'static>(it: impl FnOnce() -> T + 'static) -> Act {
    Box::new(move || done(false, it()))
}

/// An operation that sends, and says whether.
pub fn sends<T: 'static, E: 'static>(it: impl FnOnce() -> Result<T, E> + 'static) -> Act {
    Box::new(move || {
        let sent = it();
        done(sent.is_ok(), sent)
    })
}

/// The domain, kept to the end of the process.
pub fn kept(domain: Domain) -> &'static Domain {
    keep(domain)
}

impl Scene for Plain {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn victim(&self, domain: &str) -> Act {
        (self.victim)(join(domain, Wait::Park))
    }

    fn lingering(&self) -> usize {
        2
    }

    fn survivor(&self, domain: &Domain) -> Box<dyn Survivor> {
        let begins = self.partner.map(|(_, begins)| begins);
        let play = self.partner.map(|(partner, _)| partner(domain));
        Box::new(Thread {
            domain: domain.clone(),
            begins,
            play,
            waiter: None,
            counts: self.counts,
            after: self.after,
        })
    }
}

struct Thread {
    domain: Domain,
    begins: Option<Begins>,
    play: Option<Box<dyn FnOnce() -> Vec<u64> + Send>>,
    waiter: Option<Waiter<Vec<u64>>>,
    counts: bool,
    after: Option<fn(&Domain)>,
}

impl Thread {
    /// False: it has begun already.
    fn begin(&mut self, settle: bool) -> bool {
        let Some(play) = self.play.take() else {
            return false;
        };
        let waiter = Waiter::start(play);
        if settle {
            waiter.settle(false);
        }
        self.waiter = Some(waiter);
        true
    }
}

impl Survivor for Thread {
    fn ready(&mut self) {
        if self.begins == Some(Begins::First) {
            self.begin(true);
        }
    }

    fn nudge(&mut self) -> bool {
        self.begin(false)
    }

    fn check(&mut self, report: &mut Report) {
        self.begin(false);
        if let Some(waiter) = &self.waiter {
            let Some(came) = waiter.finish() else {
                return report.fault(Fault::Hung, "the survivor still waits");
            };
            let well = came.iter().enumerate().all(|(i, number)| *number == i as u64);
            report.expect(well, Fault::Duplicated, || format!("received {came:?}"));
            if self.counts {
                report.outcome = Some(came.len() as u64);
            }
        }
        if let Some(after) = self.after {
            after(&self.domain);
        }
        // The domain goes on: blocks, capabilities, channels.
        let parcel = Parcel::new(&self.domain, [7_u64; 40]);
        report.expect(parcel.is_ok(), Fault::Leaked, || {
            format!("nothing can be allocated: {:?}", parcel.err())
        });
        let passed = self.domain.channel("").buffered(1).unnamed::<u64>();
        let passed = passed.is_ok_and(|(tx, rx)| tx.send(1).is_ok() && rx.recv().is_ok());
        report.expect(passed, Fault::Wrong, || "a new channel does not work".into());
    }
}
