//! A domain with a survivor and a bystander, in which one victim after the other dies.

use std::time::{Duration, Instant};

use super::memory::Shadow;
use super::peer::{Peer, Report};
use super::scene::{Scene, PATIENCE};
use super::scenes;
use super::tracer::{self, mark, mark_end, Stop, Traced};
use crate::torture::line::Fault;

/// How long whatever is not measured may take.
const LONG: Duration = Duration::from_secs(20);

/// A domain and who lives in it.
pub struct World {
    pub name: String,
    survivor: Peer,
    bystander: Peer,
    pub shadow: Shadow,
    /// How many were played here: each leaves a channel with a name.
    pub scenes: u32,
}

/// Why there is no victim.
pub struct Failed(pub String);

impl World {
    /// A new domain.
    pub fn new() -> World {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("step-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut survivor = Peer::start("step-survivor", &[&name]);
        let said = survivor.answer(LONG).expect("the survivor's domain");
        let fd = said[0].strip_prefix("memory ").and_then(|fd| fd.parse().ok()).expect("a descriptor");
        let shadow = Shadow::of(survivor.pid(), fd).expect("the domain's memory");
        let mut bystander = Peer::start("step-bystander", &[&name]);
        bystander.answer(LONG).expect("a bystander");
        let mut world = World { name, survivor, bystander, shadow, scenes: 0 };
        // What is made once for all (PCBs of threads, descriptors) is made before the first account.
        if let Ok(mut victim) = world.stage(0) {
            victim.kill();
        }
        let _ = world.ask("check");
        let _ = world.ask("base 0");
        let _ = world.bystander.ask("base 0", LONG);
        world
    }

    /// Makes the starting state of a scene; the victim stands before its first instruction.
    pub fn stage(&mut self, number: usize) -> Result<Traced, Failed> {
        let scene = &scenes::all()[number];
        self.ask(&format!("stage {number}"))?;
        let mut gone = fork(|| {
            if scene.gone_before(&self.name) {
                mark(0);
            }
            0
        });
        match run_to_mark(&mut gone) {
            Stop::Here => gone.kill(),
            Stop::Gone { code: 0, .. } => {}
            other => return Err(Failed(format!("the one before: {other:?}"))),
        }
        let mut victim = fork(|| {
            let act = scene.victim(&self.name);
            mark(0);
            let done = act();
            mark_end(done.outcome);
            // It ends without giving anything back.
            std::mem::forget(done.kept);
            done.outcome
        });
        match run_to_mark(&mut victim) {
            Stop::Here => {}
            other => {
                victim.kill();
                return Err(Failed(format!("the victim's way to its starting state: {other:?}")));
            }
        }
        // They have linked up before anything is sent, and what is sent has been read before the operation begins: else what it finds
        // is not always the same.
        let everybody = [victim.pid, self.survivor.pid() as i32, self.bystander.pid() as i32];
        everybody.into_iter().for_each(tracer::await_quiet);
        self.ask("ready")?;
        tracer::await_quiet(victim.pid);
        Ok(victim)
    }

    /// A member that has nothing, and sweeps: its service thread, before whatever it is told next.
    pub fn sweeper(&mut self) -> Result<Traced, Failed> {
        let mut member = fork(|| {
            let _domain = super::scene::join(&self.name, staffetta::Wait::Park);
            mark(0);
            0
        });
        if run_to_mark(&mut member) != Stop::Here {
            member.kill();
            return Err(Failed("the sweeper does not join".into()));
        }
        // The thread that learns of deaths earlier rests, so that what the one that sweeps does is always the same.
        let seize =
            |name| tracer::thread_called(member.pid, name).and_then(|tid| Traced::seize(member.pid, tid));
        match (seize("staffetta"), seize("staffetta-vigil")) {
            (Some(service), vigil) => Ok(service.beside(vigil)),
            _ => {
                member.kill();
                Err(Failed("the sweeper has no service thread to trace".into()))
            }
        }
    }

    /// Another member with a channel, a parcel in it, and a parcel in hand: one more to be swept.
    pub fn companion(&mut self) -> Result<Traced, Failed> {
        let mut member = fork(|| {
            let domain = super::scene::join(&self.name, staffetta::Wait::Park);
            let channel = domain.channel("").buffered(2).unnamed::<staffetta::Parcel<u64>>();
            let parcel = |n| staffetta::Parcel::new(&domain, n).expect("a parcel");
            let (tx, rx) = channel.expect("a channel");
            tx.send(parcel(1)).expect("room");
            let kept = (tx, rx, parcel(2));
            mark(0);
            std::mem::forget(kept);
            0
        });
        match run_to_mark(&mut member) {
            Stop::Here => Ok(member),
            other => {
                member.kill();
                Err(Failed(format!("the companion: {other:?}")))
            }
        }
    }

    /// Stops survivor and bystander, so that nobody but the sweeper sweeps.
    pub fn freeze(&self) {
        for peer in [&self.survivor, &self.bystander] {
            peer.process.signal(rustix::process::Signal::STOP);
        }
        for peer in [&self.survivor, &self.bystander] {
            while !tracer::is_stopped(peer.pid() as i32) {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        for peer in [&self.survivor, &self.bystander] {
            peer.process.signal(rustix::process::Signal::CONT);
        }
    }

    /// Tells the survivor something.
    pub fn ask(&mut self, what: &str) -> Result<Report, Failed> {
        let said = self.survivor.ask(what, LONG);
        said.map(|lines| Report::parse(&lines))
            .ok_or_else(|| Failed(format!("the survivor has no answer to {what:?}")))
    }

    /// The victim waits: the survivor does what it waits for. False: it is at it, or there is nothing to do.
    pub fn nudge(&mut self) -> Result<bool, Failed> {
        Ok(self.ask("nudge")?.outcome == Some(1))
    }

    /// The victim was stopped, and goes on, untraced: how much happened. It ends by itself.
    pub fn finish(&mut self, victim: &mut Traced) -> Result<u64, Failed> {
        victim.resume_stopped();
        let until = Instant::now() + PATIENCE;
        let mut nudges = 4;
        while Instant::now() < until {
            match victim.finish(Duration::from_millis(3)) {
                Some(Ok(101)) => return Err(Failed("it panics when it goes on".into())),
                Some(Err(signal)) => return Err(Failed(format!("signal {signal} kills it when it goes on"))),
                Some(Ok(outcome)) => return Ok(outcome as u64),
                None if nudges > 0 => nudges -= u32::from(self.nudge()?),
                None => {}
            }
        }
        victim.kill();
        Err(Failed("it goes on, and does not come to the end".into()))
    }

    /// The victim is dead: what do the others find? So many descriptors may linger.
    pub fn conclude(&mut self, linger: usize) -> Result<Report, Failed> {
        let mut report = self.ask("check")?;
        let account = format!("account {linger}");
        // A sweeper keeps what it found for its own next allocations, until it trims; it may sweep late.
        let mut found = Report::default();
        for patience in ["look", "look", "look", "account"] {
            let _ = self.bystander.ask("trim 0", LONG);
            found = self.ask(&format!("{patience} {linger}"))?;
            if found.faults.is_empty() {
                break;
            }
        }
        report.faults.extend(found.faults);
        match self.bystander.ask(&account, LONG) {
            Some(lines) => report.faults.extend(Report::parse(&lines).faults),
            None => report.fault(Fault::Hung, "the bystander has no answer"),
        }
        Ok(report)
    }
}

/// To the next mark, however often it sleeps on its way.
pub(super) fn run_to_mark(process: &mut Traced) -> Stop {
    let until = Instant::now() + LONG;
    loop {
        match process.run(LONG) {
            Stop::Asleep if Instant::now() < until => {}
            other => return other,
        }
    }
}

/// A copy of this process that does something, traced; what it gives is its exit code.
pub(super) fn fork(play: impl FnOnce() -> u64) -> Traced {
    // SAFETY: this process has one thread, so the copy may do whatever it likes.
    #[allow(unsafe_code)]
    match unsafe { libc::fork() } {
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            tracer::trace_me();
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(play));
            // SAFETY: nothing of this copy of the process is to be put in order.
            unsafe { libc::_exit(played.map_or(101, |outcome| outcome as i32)) }
        }
        pid => Traced::child(pid),
    }
}

/// The scene of a number.
pub fn scene(number: usize) -> &'static dyn Scene {
    &*scenes::all()[number]
}
