//! An operation in a starting state: what the victim does, and what its survivor has and expects.

use std::any::Any;
use std::sync::mpsc;
use std::time::Duration;

use staffetta::{Domain, Wait};

use super::peer::Report;
use crate::torture::wait::EVER;

/// What a survivor has waited for this long never comes.
pub const PATIENCE: Duration = EVER;

/// One public operation from one starting state.
pub trait Scene: Send + Sync {
    /// What it is: the operation, the channel, the state.
    fn name(&self) -> String;

    /// In the victim: brings it to its starting state and gives the operation, which is what is stepped through.
    fn victim(&self, domain: &str) -> Act;

    /// In another process that is killed before the victim comes: brings it to where it dies.
    fn gone_before(&self, _domain: &str) -> bool {
        false
    }

    /// Descriptors that may stay with others until the next death: of capabilities that they were given to keep.
    fn lingering(&self) -> usize {
        0
    }

    /// May more have happened in the middle than at the end? Then it is undone.
    fn may_happen_more(&self) -> bool {
        false
    }

    /// In the survivor, before the victim comes.
    fn survivor(&self, domain: &Domain) -> Box<dyn Survivor>;
}

/// The operation; its results are kept until the victim ends, so that dropping them is not part of it.
pub type Act = Box<dyn FnOnce() -> Done>;

/// What an operation did.
pub struct Done {
    /// How much happened: what a survivor's [`Report::outcome`] must say of the end.
    pub outcome: u64,
    /// What it gave.
    pub kept: Box<dyn Any>,
}

/// That it happened, and what it gave.
pub fn done(happened: bool, kept: impl Any) -> Done {
    Done { outcome: happened.into(), kept: Box::new(kept) }
}

/// What lives on.
pub trait Survivor {
    /// The victim has reached its starting state.
    fn ready(&mut self) {}

    /// The victim waits in its operation: begins what it waits for. False: that has been begun, or there is nothing to do.
    fn nudge(&mut self) -> bool {
        false
    }

    /// The victim is stopped in its operation: others make progress, and keep their deadlines.
    fn meanwhile(&mut self, _report: &mut Report) {}

    /// The victim is dead.
    fn check(&mut self, report: &mut Report);
}

/// The victim's way into the domain.
pub fn join(name: &str, wait: Wait) -> Domain {
    Domain::options().wait(wait).join(name).expect("join the domain")
}

/// Whatever is kept to the end of the process.
pub fn keep<T>(it: T) -> &'static T {
    Box::leak(Box::new(it))
}

/// A thread that waits for something.
pub struct Waiter<T> {
    tid: i32,
    result: mpsc::Receiver<T>,
}

impl<T: Send + 'static> Waiter<T> {
    /// Begins to wait.
    pub fn start(wait: impl FnOnce() -> T + Send + 'static) -> Waiter<T> {
        let (tell_tid, tid) = mpsc::channel();
        let (tell, result) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell_tid.send(rustix::thread::gettid().as_raw_nonzero().get());
            let _ = tell.send(wait());
        });
        Waiter { tid: tid.recv().expect("its number"), result }
    }

    /// Waits until it sleeps; one that spins never does, and is given a moment.
    pub fn settle(&self, spins: bool) {
        if spins {
            return std::thread::sleep(Duration::from_micros(300));
        }
        let pid = std::process::id() as i32;
        let mut asleep = 0;
        for _ in 0..10_000 {
            asleep = if super::tracer::state(pid, self.tid) == Some('S') { asleep + 1 } else { 0 };
            if asleep == 3 {
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// What it has got by now.
    pub fn glance(&self) -> Option<T> {
        self.result.recv_timeout(Duration::from_millis(2)).ok()
    }

    /// What it gets in this time.
    pub fn within(&self, time: Duration) -> Option<T> {
        self.result.recv_timeout(time).ok()
    }

    /// What it got. None: it waits and waits.
    pub fn finish(&self) -> Option<T> {
        self.result.recv_timeout(PATIENCE).ok()
    }
}
