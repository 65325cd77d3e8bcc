//! What a process of a mesh does: it joins, and plays its part on the channel of a scene until it is told to stop, or is killed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use staffetta::{
    AcquireError, Addresses, AttachError, Domain, DomainOptions, Method, RecvError, SendFailure,
};

use super::super::history::{is_whole, letter, phase, Ledger, Letter, Notes, INCARNATIONS, LETTERS};
use super::super::line::Fault;
use super::super::random::Random;
use super::super::shared::Shared;
use super::scene::{Flavor, Scene, Style, Victims};
use super::stage::Stage;
use super::{calls, ends, to_all, workers};

/// What a member is on the channel of a scene.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Sends,
    Receives,
    /// Only in the domain: it sweeps whoever dies.
    Watches,
}

/// One process of a mesh.
#[derive(Clone, Copy)]
pub struct Member {
    /// What all share.
    pub stage: Shared<Stage>,
    /// The domain's name.
    pub name: &'static str,
    pub addresses: Addresses,
    /// Its number in the scene.
    pub who: usize,
}

/// What a member is to do.
#[derive(Clone, Copy)]
pub struct Play<'p> {
    pub domain: &'p Domain,
    pub scene: &'p Scene,
    pub style: Style,
    /// It leaves after so many letters, if it comes so far.
    pub leaves_after: Option<u64>,
}

/// How a part ends that nobody killed.
const BYE: Duration = Duration::from_micros(100);

impl Member {
    pub fn options(&self) -> DomainOptions {
        Domain::options()
            .window_bytes(16 << 30)
            .memory_max_bytes(1 << 30)
            .addresses(self.addresses)
            .patience(Duration::from_secs(2))
    }

    pub fn ledger(&self) -> &Ledger {
        &self.stage.ledger
    }

    pub fn notes(&self) -> &Notes {
        &self.ledger().notes[self.who]
    }

    /// Until the survivors have their ends.
    pub fn wait_to_go(&self) {
        while self.stage.go.load(SeqCst) == 0 {
            std::thread::sleep(BYE);
        }
    }

    /// It was asked to close.
    pub fn is_to_leave(&self) -> bool {
        self.notes().leave.load(SeqCst) != 0
    }

    /// It was asked to close, or has received more than it leaves after, or has tried so often that others may be quicker.
    pub fn has_had_enough(&self, play: Play) -> bool {
        let (came, calls) = (self.notes().came.load(SeqCst), self.notes().calls.load(SeqCst));
        self.is_to_leave() || play.leaves_after.is_some_and(|most| came > most || calls > 100 + most)
    }

    /// It was asked to close, or has sent letter `number` and leaves after that.
    pub fn has_sent_enough(&self, play: Play, number: u64) -> bool {
        self.is_to_leave() || play.leaves_after.is_some_and(|most| number >= most)
    }

    /// The scene is to end.
    pub fn is_to_stop(&self) -> bool {
        self.stage.stop.load(SeqCst) != 0
    }

    fn fault(&self, fault: Fault, scene: &Scene, what: &str) {
        self.notes().fault(fault, &format!("{what} ({:?} {:?})", scene.flavor, scene.cargo));
    }

    /// A survivor: plays in scene after scene.
    pub fn survives(self, part_in: impl Fn(&Scene) -> Part, scene_of: impl Fn(u64) -> Scene) {
        let domain = match self.options().open(self.name) {
            Ok(domain) => domain,
            Err(why) => return self.notes().fault(Fault::Wrong, &format!("a survivor cannot open: {why}")),
        };
        let mut next = 1;
        loop {
            let now = self.stage.scene.load(SeqCst);
            if now == Stage::OVER {
                break;
            }
            if now < next {
                std::thread::sleep(BYE);
                continue;
            }
            next = now + 1;
            let scene = scene_of(now - 1);
            self.notes().enter(phase::JOINED);
            let style = scene.survivor_style;
            let play = Play { domain: &domain, scene: &scene, style, leaves_after: None };
            self.play(part_in(&scene), play);
            let _ = domain.trim();
            self.notes().enter(phase::CLOSED);
        }
        drop(domain);
        self.notes().enter(phase::GONE);
    }

    /// A victim: joins, plays, and leaves after so many letters, if it comes so far.
    pub fn comes(self, scene: &Scene, part: Part, style: Style, leaves_after: Option<u64>) {
        let domain = match self.options().join(self.name) {
            Ok(domain) => domain,
            Err(why) => return self.fault(Fault::Wrong, scene, &format!("cannot join: {why}")),
        };
        self.notes().enter(phase::JOINED);
        self.play(part, Play { domain: &domain, scene, style, leaves_after });
        self.notes().enter(phase::CLOSED);
        drop(domain);
        self.notes().enter(phase::GONE);
    }

    fn play(&self, part: Part, play: Play) {
        let scene = play.scene;
        let played = match (scene.flavor, part) {
            (_, Part::Watches) => {
                self.notes().enter(phase::ATTACHED);
                while !self.is_to_stop() && !self.is_to_leave() {
                    std::thread::sleep(BYE);
                }
                Ok(())
            }
            (Flavor::Enclosed, _) => workers::work(self, play),
            (Flavor::Service, Part::Sends) => calls::call(self, play),
            (Flavor::Service, Part::Receives) => calls::serve(self, play),
            (_, Part::Sends) => self.send(play),
            (_, Part::Receives) => self.receive(play),
        };
        if let Err(why) = played {
            self.fault(Fault::Wrong, scene, &format!("cannot attach: {why}"));
        }
    }

    /// Sends letters until it is to stop.
    fn send(&self, play: Play) -> Result<(), AttachError> {
        let Play { domain, scene, style, .. } = play;
        let attach = if scene.is_to_all() { to_all::sender } else { ends::sender };
        let mut tx = attach(domain, scene, style)?;
        let notes = self.notes();
        notes.enter(phase::ATTACHED);
        let mut random = Random::new(scene.number ^ self.who as u64);
        self.wait_to_go();
        for number in 0..LETTERS {
            notes.begun.store(number + 1, SeqCst);
            if !self.send_one(&mut tx, scene, letter(self.who, number)) {
                break;
            }
            notes.done.store(number + 1, SeqCst);
            if self.has_sent_enough(play, number) || self.is_to_stop() {
                break;
            }
            self.pace(scene, &mut random);
        }
        notes.enter(phase::LEAVING);
        notes.dropped.store((tx.dropped)(), SeqCst);
        Ok(())
    }

    /// Until it is sent. False: something is wrong.
    fn send_one(&self, tx: &mut ends::Tx, scene: &Scene, letter: Letter) -> bool {
        let notes = self.notes();
        loop {
            notes.calls.fetch_add(1, SeqCst);
            match (tx.send)(letter) {
                Ok(()) => return true,
                Err(SendFailure::PeerDied) => drop(notes.died.fetch_add(1, SeqCst)),
                Err(SendFailure::Disconnected) => drop(notes.left.fetch_add(1, SeqCst)),
                Err(SendFailure::WouldBlock | SendFailure::NoPeer) => std::thread::yield_now(),
                // Its queue of descriptors is full: it takes some when it runs again.
                Err(SendFailure::TimedOut | SendFailure::Pass(_)) => {}
                Err(SendFailure::Select(why)) if is_patience(why) => {}
                Err(why) => {
                    self.fault(Fault::Wrong, scene, &format!("send: {why}"));
                    return false;
                }
            }
        }
    }

    /// Sometimes nothing is sent for a while, so that receivers sleep.
    pub fn pace(&self, scene: &Scene, random: &mut Random) {
        // Who is never held up would have said all that there is to say before the scene is over.
        let done = self.notes().done.load(SeqCst);
        if done > LETTERS / 2 {
            std::thread::sleep(if done > LETTERS / 4 * 3 { 10 * BYE } else { BYE });
        }
        if scene.paced && random.below(20) == 0 {
            std::thread::sleep(Duration::from_micros(20 + random.below(300)));
        }
    }

    /// Receives until it is to stop and nobody sends any more.
    fn receive(&self, play: Play) -> Result<(), AttachError> {
        let Play { domain, scene, style, .. } = play;
        let attach = if scene.is_to_all() { to_all::receiver } else { ends::receiver };
        let mut rx = attach(domain, scene, style)?;
        let notes = self.notes();
        notes.enter(phase::ATTACHED);
        let mut heard = Heard { member: self, scene, next: [0; INCARNATIONS], missed: 0 };
        loop {
            notes.taking.store(1, SeqCst);
            notes.calls.fetch_add(1, SeqCst);
            let missed = &rx.missed;
            let came = (rx.recv)(&mut |letter, in_place| heard.take(letter, in_place, missed()));
            notes.in_hand.store(0, SeqCst);
            // A capability may be owed to this end after a call that came to nothing: it is in its hands all the same.
            if came.is_ok() || scene.method != Method::Capability {
                notes.taking.store(0, SeqCst);
            }
            match came {
                Ok(()) => {}
                Err(RecvError::PeerDied) => drop(notes.died.fetch_add(1, SeqCst)),
                Err(RecvError::Disconnected) => drop(notes.left.fetch_add(1, SeqCst)),
                Err(RecvError::WouldBlock | RecvError::NoPeer) => std::thread::yield_now(),
                Err(RecvError::TimedOut) => {}
                Err(RecvError::Select(why)) if is_patience(why) => {}
                // It was in the hands of none but the dead.
                Err(RecvError::Acquire(AcquireError::Lost)) => drop(notes.lost.fetch_add(1, SeqCst)),
                Err(RecvError::TooSlow { .. }) if scene.flavor == Flavor::BroadcastDisconnect => {
                    drop(rx);
                    rx = attach(domain, scene, style)?;
                    // Nobody tells who comes after the last sender left.
                    if self.is_to_stop() && !(rx.has_peer)() {
                        break;
                    }
                    continue;
                }
                Err(why) => {
                    self.fault(Fault::Wrong, scene, &format!("receive: {why}"));
                    break;
                }
            }
            if self.has_had_enough(play) || self.is_over(scene, &came, &heard.next) {
                break;
            }
        }
        notes.enter(phase::LEAVING);
        notes.missed.store((rx.missed)(), SeqCst);
        Ok(())
    }
}

impl Member {
    /// No letter will come any more. Where the victims are the only senders, the last of them leaves, and does not die; that
    /// one before it has left may be told as late, and then what the last one sent is still to come: `next` of it.
    pub fn is_over<T>(&self, scene: &Scene, came: &Result<T, RecvError>, next: &[u64; INCARNATIONS]) -> bool {
        let gone = match came {
            // That the last one left may be told together with the death of one before it.
            Err(RecvError::Disconnected | RecvError::PeerDied) => {
                let last = self.stage.last.load(SeqCst) as usize;
                let notes = &self.ledger().notes[last];
                let has_all = || !scene.brings_the_last() || next[last] >= notes.done.load(SeqCst);
                scene.crowd || last == self.who || (notes.phase() >= phase::LEAVING && has_all())
            }
            _ => false,
        };
        gone && self.is_to_stop()
    }
}

fn is_patience(why: staffetta::SelectError) -> bool {
    matches!(why, staffetta::SelectError::TimedOut | staffetta::SelectError::WouldBlock)
}

/// What one receiver has heard of each sender.
struct Heard<'m> {
    member: &'m Member,
    scene: &'m Scene,
    /// The number that the next letter has at the least.
    next: [u64; INCARNATIONS],
    missed: u64,
}

impl Heard<'_> {
    fn take(&mut self, letter: Letter, in_place: bool, missed: u64) {
        let (ledger, notes) = (self.member.ledger(), self.member.notes());
        let [who, number, _] = letter;
        if !is_whole(letter) || who >= INCARNATIONS as u64 || number >= LETTERS {
            return self.member.fault(Fault::Duplicated, self.scene, &format!("torn: {letter:x?}"));
        }
        let (who, next) = (who as usize, &mut self.next[who as usize]);
        if number < *next && self.scene.may_reorder() {
            notes.reordered.fetch_add(1, SeqCst);
        } else if number < *next {
            let what = format!("letter {number} of {who} came after {}", *next - 1);
            return self.member.fault(Fault::Duplicated, self.scene, &what);
        }
        if self.scene.flavor == Flavor::Broadcast && number != *next && self.member.is_survivor() {
            let what = format!("letter {number} of {who} came where {next} was due");
            self.member.fault(Fault::Lost, self.scene, &what);
        }
        *next = (*next).max(number + 1);
        self.missed = missed;
        if in_place {
            notes.in_hand.store((who as u64) << 32 | (number + 1), SeqCst);
        }
        notes.came.fetch_add(1, SeqCst);
        // To all: each notes for itself, and one of the survivors for the comparison.
        let counts = !self.scene.is_to_all() || self.member.who == self.scene.listener();
        if counts && !ledger.came(who, number) {
            let again = in_place && ledger.was_in_hand(who, number, self.member.who);
            if !again {
                self.member.fault(
                    Fault::Duplicated,
                    self.scene,
                    &format!("letter {number} of {who} came twice"),
                );
            }
        }
    }
}

impl Member {
    /// Is it one of those that are not killed?
    pub fn is_survivor(&self) -> bool {
        self.who < super::driver::SURVIVORS
    }

    /// What the survivors do in a scene.
    pub fn part_of_survivor(who: usize, scene: &Scene) -> Part {
        let (with_victims, other) = match scene.victims {
            Victims::Senders => (Part::Sends, Part::Receives),
            Victims::Receivers => (Part::Receives, Part::Sends),
        };
        match who {
            0 => other,
            _ if scene.crowd => with_victims,
            _ if scene.is_to_all() => other,
            _ => Part::Watches,
        }
    }
}
