//! One mesh: a domain with two survivors that play scene after scene, and victims that come and are killed.
//!
//! The driver is in no domain and has one thread: it forks every process of the mesh, kills, reaps, and compares what they
//! noted. So a victim costs a fork and a join.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitStatus};
use staffetta::{Addresses, Method};

use super::super::account::{Books, Quiet};
use super::super::history::{compare, missing, phase, INCARNATIONS};
use super::super::line::Fault;
use super::super::random::Random;
use super::super::shared::Shared;
use super::super::wait;
use super::super::zygote::{fork, Forked};
use super::member::{Member, Part};
use super::report::Report;
use super::scene::{scene, Cargo, Flavor, Scene, Style, Victims};
use super::stage::Stage;

/// The first incarnations of every scene: they are not killed.
pub const SURVIVORS: usize = 2;
/// Scenes that are played in one domain.
const SCENES: u64 = 60;

/// What is done to victims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strike {
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
}

/// What a driver is to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub seed: u64,
    /// Which mesh it is.
    pub mesh: u64,
    pub strikes: u64,
    pub strike: Strike,
    /// How long a victim may work before it is struck, at most.
    pub longest_us: u64,
    /// Only this scene, again and again: to look for the cause of what was found in it.
    pub only: Option<u64>,
}

impl Order {
    /// As many messages as can be between two kills.
    fn is_for_messages(&self) -> bool {
        self.longest_us > 10_000
    }
}

/// Strikes as often as ordered, in as many meshes, one after the other, as it takes.
pub fn drive(order: Order) -> Report {
    let mut report = Report::default();
    let stage = Shared::<Stage>::new();
    let mut first = 0;
    // Do what forked processes would else do each for itself.
    let _ = staffetta::park_ns();
    while report.strikes < order.strikes {
        let name = format!("torture-{}-{}-{first}", std::process::id(), order.mesh);
        first = Mesh::new(order, stage, name, first).play(&mut report);
        if report.broken > 20 {
            break; // It has been shown.
        }
    }
    report
}

/// The domain, and who is in it.
struct Mesh {
    order: Order,
    stage: Shared<Stage>,
    name: &'static str,
    addresses: Addresses,
    /// Number of the first scene.
    first: u64,
    survivors: Vec<Forked>,
    random: Random,
}

/// A scene that is played.
struct Played {
    scene: Scene,
    /// The next incarnation.
    next: usize,
    /// Victims that live.
    alive: Vec<Victim>,
    /// Senders that were killed.
    senders_killed: u64,
    receivers_killed: u64,
    /// Receivers that were not killed, and left before the end.
    receivers_left: u64,
}

/// A process that is to be struck.
struct Victim {
    process: Forked,
    who: usize,
    part: Part,
}

impl Mesh {
    fn new(order: Order, stage: Shared<Stage>, name: String, first: u64) -> Mesh {
        let addresses = if order.mesh % 3 == 1 { Addresses::Distinct } else { Addresses::Coinciding };
        let random = Random::new(order.seed ^ first.wrapping_mul(0x2545_f491) ^ order.mesh << 48);
        let name = Box::leak(name.into_boxed_str());
        Mesh { order, stage, name, addresses, first, survivors: Vec::new(), random }
    }

    fn scene(&self, number: u64) -> Scene {
        scene_of(self.order, self.addresses, number)
    }

    fn member(&self, who: usize) -> Member {
        Member { stage: self.stage, name: self.name, addresses: self.addresses, who }
    }

    /// Plays scenes; says which one is next.
    fn play(mut self, report: &mut Report) -> u64 {
        self.stage.scene.store(0, SeqCst);
        self.clear();
        for who in 0..SURVIVORS {
            let (member, order, addresses) = (self.member(who), self.order, self.addresses);
            let scenes = move |number| scene_of(order, addresses, number);
            self.survivors
                .push(fork(|| member.survives(|scene| Member::part_of_survivor(who, scene), scenes)));
        }
        let mut told = HashSet::new();
        let mut books = None;
        let mut number = self.first;
        while number < self.first + SCENES && report.strikes < self.order.strikes {
            let scene = self.scene(number);
            number += 1;
            if let Err((fault, what)) = self.play_scene(&scene, report) {
                report.fault(fault, format!("{what}; {scene:?}"));
                report.broken += 1;
                return number; // Whoever hangs is killed with the mesh.
            }
            match books.get_or_insert_with(|| Books::of(self.name)) {
                Ok(books) => self.settle(books, &mut told, &scene, report),
                Err(why) => report.fault(Fault::Wrong, format!("the domain cannot be looked at: {why}")),
            }
        }
        self.leave(report);
        number
    }

    /// Forgets what was noted in the last scene.
    fn clear(&self) {
        let ledger = &self.stage.ledger;
        ledger.clear();
        self.stage.zero(ledger.bits());
        self.stage.stop.store(0, SeqCst);
        self.stage.go.store(0, SeqCst);
    }

    fn play_scene(&mut self, scene: &Scene, report: &mut Report) -> Result<(), (Fault, String)> {
        self.clear();
        self.stage.scene.store(scene.number + 1, SeqCst);
        let mut played = Played {
            scene: *scene,
            next: SURVIVORS,
            alive: Vec::new(),
            senders_killed: 0,
            receivers_killed: 0,
            receivers_left: 0,
        };
        self.until("a survivor attaches", report, |mesh| {
            (0..SURVIVORS).all(|who| mesh.phase(who) >= phase::ATTACHED)
        })?;
        self.stage.go.store(1, SeqCst);
        for _ in 0..scene.kills {
            self.strike(&mut played, report)?;
            self.look_after_survivors()?;
        }
        for victim in std::mem::take(&mut played.alive) {
            self.kill(victim, &mut played, report)?;
        }
        self.close(&mut played, report)?;
        self.judge(&played, report)
    }

    fn phase(&self, who: usize) -> u32 {
        self.stage.ledger.notes[who].phase()
    }

    /// Waits until it is so.
    fn until(
        &mut self,
        what: &str,
        report: &mut Report,
        so: impl Fn(&Mesh) -> bool,
    ) -> Result<(), (Fault, String)> {
        match wait::until(Duration::from_micros(30), || so(self)) {
            Ok(waited) => report.waited(what, waited),
            Err(seen) => {
                self.look_after_survivors()?;
                let notes = self.stage.ledger.notes.iter().take(SURVIVORS);
                let now: Vec<_> = notes.map(|notes| (notes.phase(), notes.calls.load(SeqCst))).collect();
                return Err((
                    Fault::Hung,
                    format!("{what}: not so; survivors (phase, calls): {now:?}; {seen}"),
                ));
            }
        }
        Ok(())
    }

    /// Survivors survive, and say if anything was wrong.
    fn look_after_survivors(&mut self) -> Result<(), (Fault, String)> {
        for who in 0..INCARNATIONS {
            if let Some(fault) = self.stage.ledger.notes[who].first_fault() {
                return Err((fault.0, format!("{who}: {}", fault.1)));
            }
        }
        for (who, survivor) in self.survivors.iter_mut().enumerate() {
            if let Some(status) = survivor.ended() {
                return Err((Fault::Wrong, format!("survivor {who} ended: {status:?}")));
            }
        }
        Ok(())
    }

    /// A process comes; it dies with the mesh.
    fn start(&mut self, played: &mut Played, part: Part, leaves_after: Option<u64>) -> Victim {
        let who = played.next;
        played.next += 1;
        let (member, scene) = (self.member(who), played.scene);
        let style = match part {
            Part::Receives if scene.cargo == Cargo::InPlace => Style::Blocking,
            _ => scene.victim_style,
        };
        Victim { process: fork(|| member.comes(&scene, part, style, leaves_after)), who, part }
    }

    /// Lets a victim come, strikes it at a random moment, and sees that the survivors go on.
    fn strike(&mut self, played: &mut Played, report: &mut Report) -> Result<(), (Fault, String)> {
        let part = match played.scene.victims {
            Victims::Senders => Part::Sends,
            Victims::Receivers => Part::Receives,
        };
        let kind = self.random.below(10);
        let leaves_after = (kind == 0).then(|| self.random.below(40));
        let told = self.stage.ledger.notes[0].told();
        let victim = self.start(played, part, leaves_after);
        let who = victim.who;
        match kind {
            // While it joins or attaches.
            1 | 2 => self.spin(1_500),
            // While it leaves.
            0 => {
                self.until("a process joins and attaches", report, |mesh| {
                    mesh.phase(who) >= phase::ATTACHED
                })?;
                // If others are quicker, it is killed before it has had what it leaves after.
                let soon = Instant::now() + Duration::from_millis(20);
                while self.phase(who) < phase::LEAVING && Instant::now() < soon {
                    std::thread::sleep(Duration::from_micros(30));
                }
                self.spin(300);
            }
            _ => {
                self.until("a process joins and attaches", report, |mesh| {
                    mesh.phase(who) >= phase::ATTACHED
                })?;
                let soon = [20, 200, self.order.longest_us][self.random.below(3) as usize];
                let longest = if self.order.is_for_messages() { self.order.longest_us } else { soon };
                self.pause(longest);
            }
        }
        // Somebody who sweeps, and is killed while it does.
        let sweeper = (kind >= 8 && self.order.strike == Strike::Kill && played.next + 4 < INCARNATIONS)
            .then(|| self.start(played, Part::Watches, None));
        if let Some(sweeper) = &sweeper {
            let who = sweeper.who;
            self.until("a sweeper joins", report, |mesh| mesh.phase(who) >= phase::ATTACHED)?;
        }
        if self.order.strike == Strike::Stop {
            self.stop(&victim, played, report)?;
        }
        if self.order.strike == Strike::Stop && self.random.below(3) > 0 {
            // It goes on; another stop may meet it later.
            while self.phase(who) < phase::CLOSED && self.random.below(4) > 0 {
                self.spin(500);
                self.stop(&victim, played, report)?;
            }
        }
        if played.scene.crowd && played.alive.is_empty() && self.random.below(3) == 0 && kind > 2 {
            played.alive.push(victim); // It plays beside the next one.
            return Ok(());
        }
        // Who came and was gone again before a survivor looked is not missed by one that waits for somebody to come.
        let notes = &self.stage.ledger.notes[who];
        let met = notes.came.load(SeqCst) + notes.done.load(SeqCst) > 0;
        let moved = self.moves();
        self.kill(victim, played, report)?;
        if let Some(sweeper) = sweeper {
            self.spin(400);
            self.kill(sweeper, played, report)?;
        }
        if played.scene.crowd {
            self.until("the survivors go on", report, |mesh| mesh.has_moved(&moved))?;
        } else if met && played.scene.tells() {
            self.until("the survivor is told", report, |mesh| mesh.stage.ledger.notes[0].told() > told)?;
        }
        Ok(())
    }

    /// Where the survivors are.
    fn moves(&self) -> [u64; SURVIVORS] {
        std::array::from_fn(|who| self.stage.ledger.notes[who].calls.load(SeqCst))
    }

    /// A call that was under way came to its end, and another one: of each of them.
    fn has_moved(&self, since: &[u64; SURVIVORS]) -> bool {
        self.moves().iter().zip(since).all(|(now, then)| *now > then + 1)
    }

    /// Stops it and lets it go on. Meanwhile deadlines pass, whoever has another partner goes on with it, and nobody is told
    /// of a death: nobody dies in such a row.
    fn stop(&mut self, victim: &Victim, played: &Played, report: &mut Report) -> Result<(), (Fault, String)> {
        let scene = &played.scene;
        victim.process.signal(Signal::STOP);
        report.strikes += 1;
        self.spin(2_000);
        let moved = self.moves();
        if scene.goes_on_beside_a_stopped_one() {
            self.until("the survivors go on while a peer is stopped", report, |mesh| mesh.has_moved(&moved))?;
        } else if matches!(scene.survivor_style, Style::Timeout | Style::Try) {
            self.until("a deadline passes while a peer is stopped", report, |mesh| {
                mesh.moves()[0] > moved[0] + 1
            })?;
        }
        victim.process.signal(Signal::CONT);
        if (0..INCARNATIONS).any(|who| self.stage.ledger.notes[who].died.load(SeqCst) > 0) {
            return Err((Fault::Wrong, "somebody was told of a death, and nobody died".to_owned()));
        }
        Ok(())
    }

    /// Kills and reaps it; or, where nobody is killed, has it leave.
    fn kill(
        &mut self,
        mut victim: Victim,
        played: &mut Played,
        report: &mut Report,
    ) -> Result<(), (Fault, String)> {
        if self.order.strike == Strike::Stop {
            self.stage.ledger.notes[victim.who].leave.store(1, SeqCst);
            played.receivers_left += u64::from(victim.part == Part::Receives);
            let (status, waited) = victim.process.finish().map_err(|seen| {
                (Fault::Hung, format!("{} does not leave, which was stopped before; {seen}", victim.who))
            })?;
            report.waited("one that was stopped leaves", waited);
            return self.check_end(&victim, Some(status));
        }
        let status = victim.process.kill();
        report.strikes += 1;
        played.senders_killed += u64::from(victim.part == Part::Sends);
        played.receivers_killed += u64::from(victim.part == Part::Receives);
        self.check_end(&victim, status)
    }

    fn check_end(&self, victim: &Victim, status: Option<WaitStatus>) -> Result<(), (Fault, String)> {
        let notes = &self.stage.ledger.notes[victim.who];
        if let Some((fault, what)) = notes.first_fault() {
            return Err((fault, format!("{}: {what}", victim.who)));
        }
        match status {
            Some(status) if status.exit_status().is_some_and(|code| code != 0) => {
                Err((Fault::Wrong, format!("{} ended: {status:?}", victim.who)))
            }
            _ => Ok(()),
        }
    }

    /// A random time, at most so long; asleep, if it is long, so that the meshes have the cores.
    fn pause(&mut self, most_us: u64) {
        if most_us < 10_000 {
            return self.spin(most_us);
        }
        std::thread::sleep(Duration::from_micros(self.random.below(most_us)));
    }

    /// A random time, at most so long.
    fn spin(&mut self, most_us: u64) {
        let end = Instant::now() + Duration::from_micros(self.random.below(most_us));
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }

    /// All that was sent is received, and the survivors close their ends.
    fn close(&mut self, played: &mut Played, report: &mut Report) -> Result<(), (Fault, String)> {
        let mut last = None;
        if !played.scene.crowd {
            let part = match played.scene.victims {
                Victims::Senders => Part::Sends,
                Victims::Receivers => Part::Receives,
            };
            let victim = self.start(played, part, None);
            let who = victim.who;
            self.stage.last.store(who as u64, SeqCst);
            self.until("a last process joins and attaches", report, |mesh| {
                mesh.phase(who) >= phase::ATTACHED
            })?;
            last = Some(victim);
        }
        self.stage.stop.store(1, SeqCst);
        self.until("the survivors close", report, |mesh| {
            (0..SURVIVORS).all(|who| mesh.phase(who) == phase::CLOSED)
        })?;
        if let Some(mut last) = last {
            let (status, waited) = last
                .process
                .finish()
                .map_err(|seen| (Fault::Hung, format!("the last process does not leave; {seen}")))?;
            report.waited("the last process leaves", waited);
            self.check_end(&last, Some(status))?;
        }
        self.look_after_survivors()
    }

    /// What came is what was sent.
    fn judge(&self, played: &Played, report: &mut Report) -> Result<(), (Fault, String)> {
        let (scene, ledger) = (&played.scene, &self.stage.ledger);
        let notes = &ledger.notes[..played.next];
        let sum = compare(ledger, 0..played.next).map_err(|what| (Fault::Duplicated, what))?;
        report.messages += sum.came;
        let reordered: u64 = notes.iter().map(|notes| notes.reordered.load(SeqCst)).sum();
        // Who leaves while the descriptor of a capability is owed to it has that message in hand, and gives it back: it comes to another
        // receiver, which may have had later ones.
        let left = if scene.method == Method::Capability { played.receivers_left } else { 0 };
        if reordered > played.receivers_killed + left {
            let killed = played.receivers_killed;
            let what = format!("{reordered} came out of order, {killed} receivers were killed, {left} left");
            return Err((Fault::Duplicated, what));
        }
        if matches!(scene.flavor, Flavor::Service | Flavor::Enclosed | Flavor::BroadcastDisconnect) {
            return Ok(());
        }
        if scene.is_to_all() {
            // Those in between may have been published before the sender could say so.
            let begun: u64 = notes.iter().map(|notes| notes.begun.load(SeqCst)).sum();
            let heard = &ledger.notes[scene.listener()];
            let (came, missed) = (heard.came.load(SeqCst), heard.missed.load(SeqCst));
            if came + missed < sum.sent || came + missed > begun {
                let what = format!("{} to {begun} were sent, {came} came and {missed} were missed", sum.sent);
                return Err((Fault::Lost, what));
            }
            return Ok(());
        }
        // A receiver that was killed may have had one in its hands; one that it read in place comes again to another.
        let in_hand = notes.iter().filter(|notes| notes.taking.load(SeqCst) == 1).count() as u64;
        let excused = if scene.cargo == Cargo::InPlace { 0 } else { in_hand };
        let dropped = notes.iter().map(|notes| notes.dropped.load(SeqCst)).max().unwrap_or(0);
        let lost: u64 = notes.iter().map(|notes| notes.lost.load(SeqCst)).sum();
        let told = lost + if scene.drops() { dropped + played.senders_killed } else { 0 };
        report.told_lost += lost;
        report.in_hand += sum.missing.min(excused);
        if sum.missing > excused + told {
            let missing = missing(ledger, 0..played.next, 12);
            let what = format!(
                "{} of {} did not come; {dropped} dropped, {in_hand} receivers killed while they received; {missing}",
                sum.missing, sum.sent
            );
            return Err((Fault::Lost, what));
        }
        Ok(())
    }

    /// All that is in use is somebody's. `told`: what was found before counts once.
    fn settle(&self, books: &Books, told: &mut HashSet<String>, scene: &Scene, report: &mut Report) {
        report.accounts += 1;
        let channels = self.stage.scene.load(SeqCst) - self.first;
        let quiet = Quiet { processes: SURVIVORS as u64, channels, pcbs: 2 * SURVIVORS as u64 };
        match books.settle(&quiet, told) {
            Ok(waited) => report.waited("what is in use is given back", waited),
            Err(found) => found
                .into_iter()
                .for_each(|what| report.fault(Fault::Leaked, format!("{what}; after {scene:?}"))),
        }
    }

    /// Everybody leaves.
    fn leave(&mut self, report: &mut Report) {
        self.stage.scene.store(Stage::OVER, SeqCst);
        for (who, survivor) in self.survivors.iter_mut().enumerate() {
            match survivor.finish() {
                Ok((status, waited)) if status.exit_status() == Some(0) => {
                    report.waited("a survivor leaves", waited)
                }
                other => {
                    report.fault(Fault::Hung, format!("survivor {who} does not leave the domain: {other:?}"))
                }
            }
        }
    }
}

fn scene_of(order: Order, addresses: Addresses, number: u64) -> Scene {
    let what = order.only.unwrap_or(number);
    let scene = scene(order.seed ^ order.mesh << 56, what, addresses == Addresses::Distinct);
    Scene { number, paced: scene.paced && !order.is_for_messages(), ..scene }
}

/// What the process of a mesh says to the one that collects.
pub fn tell(report: &Report) {
    let _ = std::io::stdout().write_all(report.text().as_bytes());
}
