//! Who waits, as the PCBs say, and for whom, as the channels' ends say.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::ends::{Call, Ends, Holder, Seat};
use super::{Doing, Nobody, WaitArm};
use crate::channel::service::TAKEN;
use crate::channel::spec::Kind;
use crate::channel::waits::{self, Waits};
use crate::inspect::InspectError;
use crate::memory::map::{CHANNELS_MAX, PCBS_MAX, SELECT_BYTES};
use crate::memory::reading::Reading;
use crate::memory::segment::Segment;
use crate::process::pcb::{Pcb, SLEEPS, SPINS};

/// A PCB whose thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sleeper {
    /// The PCB.
    pub pcb: usize,
    /// The process slot, and its generation.
    pub process: (u16, u64),
    /// Thread id in its own namespace.
    pub thread: u32,
    /// What it waits for.
    pub waits: Waits,
    /// Since when: monotonic clock.
    pub since_ns: u64,
    /// Until when. None: for ever.
    pub until_ns: Option<u64>,
    /// It is busy waiting; how often it has said so.
    pub spins: Option<u32>,
}

impl Sleeper {
    /// The same wait, and of one that is busy waiting: has it looked in between?
    pub fn is_still(&self, before: &Sleeper) -> bool {
        let counted = |sleeper: &Sleeper| Sleeper { spins: sleeper.spins.map(|_| 0), ..*sleeper };
        counted(self) == counted(before)
    }

    /// Of one that is busy waiting: has it looked since `before`, and not only finished a look?
    pub fn has_looked(&self, before: &Sleeper) -> bool {
        match (self.spins, before.spins) {
            (Some(now), Some(then)) => now.wrapping_sub(then) >= 2,
            _ => true,
        }
    }

    fn of(pcb: usize, words: &Pcb) -> Option<Sleeper> {
        let holder = words.holder.load(Relaxed);
        let slot = u16::try_from((holder & 0xffff).checked_sub(1)?).ok()?;
        let asleep = words.asleep.load(Relaxed);
        let low = asleep as u32;
        let spins = match asleep & !(SLEEPS - 1) {
            // Woken already, if the ticket is an old one.
            SLEEPS if low == words.ticket() => None,
            SPINS => Some(low),
            _ => return None,
        };
        let until_ns = words.until_ns.load(Relaxed);
        Some(Sleeper {
            pcb,
            process: (slot, holder >> 16),
            thread: words.thread.load(Relaxed),
            waits: Waits(words.waits_for.load(Relaxed)),
            since_ns: words.since_ns.load(Relaxed),
            until_ns: (until_ns != u64::MAX).then_some(until_ns),
            spins,
        })
    }
}

/// All that wait.
pub fn sleepers(reading: &Reading, used: u64) -> Result<Vec<Sleeper>, InspectError> {
    let used = usize::try_from(used).unwrap_or(PCBS_MAX).min(PCBS_MAX);
    let mut all = Vec::new();
    for index in 0..used {
        all.extend(Sleeper::of(index, &*reading.copy::<Pcb>(Segment::pcb_offset(index))?));
    }
    Ok(all)
}

/// The channels that were read, each once.
pub struct Channels<'r> {
    reading: &'r Reading,
    window_base: u64,
    used: usize,
    known: HashMap<usize, Option<Ends>>,
}

impl<'r> Channels<'r> {
    pub fn new(reading: &'r Reading, window_base: u64, used: u64) -> Channels<'r> {
        let used = usize::try_from(used).unwrap_or(CHANNELS_MAX).min(CHANNELS_MAX);
        Channels { reading, window_base, used, known: HashMap::new() }
    }

    fn get(&mut self, index: usize) -> Option<&Ends> {
        let (reading, base) = (self.reading, self.window_base);
        self.known.entry(index).or_insert_with(|| Ends::read(reading, base, index)).as_ref()
    }

    /// What a thread waits for.
    pub fn arms(&mut self, sleeper: &Sleeper) -> Vec<WaitArm> {
        let waits = sleeper.waits;
        let doing = match waits.doing() {
            Some(waits::Doing::Select) => return self.arms_of_select(sleeper),
            Some(waits::Doing::Send) => Doing::Send,
            Some(waits::Doing::Receive) => Doing::Receive,
            Some(waits::Doing::Call) => Doing::Call,
            Some(waits::Doing::Serve) => Doing::Serve,
            None => return vec![unknown()],
        };
        let entry = Segment::pcb_offset(sleeper.pcb);
        match self.get(waits.index()) {
            Some(ends) => {
                vec![arm(ends, doing, |call| call.lane == waits.seat() && call.wakes == Some(entry))]
            }
            None => vec![unknown()],
        }
    }

    /// Wherever an end of this process says that an operation of this select is to be woken.
    fn arms_of_select(&mut self, sleeper: &Sleeper) -> Vec<WaitArm> {
        let first = Segment::entry_offset(0, 0) + sleeper.waits.index() as u64 * SELECT_BYTES;
        let its = |wakes: u64| wakes.checked_sub(first).is_some_and(|i| i < SELECT_BYTES);
        let mine =
            |seat: &Seat| seat.holder() == Holder::Process(sleeper.process.0) && seat.wakes.is_some_and(its);
        let mut arms = Vec::new();
        for index in 0..self.used {
            let Some(ends) = self.get(index) else { continue };
            let service = ends.spec.kind == Kind::Service;
            if !service && ends.senders.iter().any(mine) {
                arms.push(arm(ends, Doing::Send, |_| false));
            }
            if ends.receivers.iter().any(mine) {
                arms.push(arm(ends, if service { Doing::Serve } else { Doing::Receive }, |_| false));
            }
            let asked = |call: &Call| call.wakes.is_some_and(its);
            if ends.calls.iter().any(|call| asked(call) && call.word.is_parked()) {
                arms.push(arm(ends, Doing::Call, asked));
            }
        }
        if sleeper.waits.is_within() {
            arms.push(WaitArm { nobody: Some(Nobody::Within), ..unknown() });
        }
        arms
    }
}

fn unknown() -> WaitArm {
    WaitArm {
        doing: Doing::Unknown,
        channel: None,
        name: String::new(),
        for_whom: Vec::new(),
        all: false,
        nobody: Some(Nobody::Unknown),
    }
}

/// For whom an end of this channel waits that does so. `its`: is it a call of the waiter's?
fn arm(ends: &Ends, doing: Doing, its: impl Fn(&Call) -> bool) -> WaitArm {
    let others = match doing {
        Doing::Send | Doing::Call => &ends.receivers,
        _ => &ends.senders,
    };
    let all = doing == Doing::Send && ends.spec.kind == Kind::Broadcast;
    // A call in the hand of one of several servers is that server's.
    let calls = || ends.calls.iter().filter(|call| call.word.is_parked() && its(call));
    let in_hand =
        doing == Doing::Call && calls().count() != 0 && calls().all(|call| call.word.state() == TAKEN);
    let matters = |seat: &&Seat| match () {
        () if all => ends.slow.contains(&seat.seat),
        () if in_hand => calls().any(|call| usize::from(call.word.slot()) == seat.seat),
        () => true,
    };
    let holders: Vec<Holder> = others.iter().filter(matters).map(Seat::holder).collect();
    let mut for_whom: Vec<u16> = holders
        .iter()
        .filter_map(|holder| match holder {
            Holder::Process(slot) => Some(*slot),
            _ => None,
        })
        .collect();
    for_whom.sort_unstable();
    for_whom.dedup();
    let nobody = if holders.contains(&Holder::Message) {
        Some(Nobody::InMessage)
    } else {
        for_whom.is_empty().then_some(Nobody::NotThere)
    };
    WaitArm { doing, channel: Some(ends.index), name: ends.name.clone(), for_whom, all, nobody }
}
