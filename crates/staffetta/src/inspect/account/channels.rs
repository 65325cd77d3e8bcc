//! What channels have: blocks, ends, and messages that wait.

use std::collections::HashSet;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::{below, Auditor, HeldEnd, Leaked};
use crate::channel::attach::spec_of;
use crate::channel::broadcast::place;
use crate::channel::crowd::Crowd;
use crate::channel::line::OFFER;
use crate::channel::many::{CROWD_BYTES, LANE};
use crate::channel::record::{state as record, Record};
use crate::channel::ring::{EMPTY, FULL};
use crate::channel::side::{Side, ATTACHED};
use crate::channel::spec::{Content, Kind, Spec, DEGREE_MAX};
use crate::memory::map;
use crate::memory::reading::Source;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::os;
use crate::reference;

impl<S: Source> Auditor<'_, S> {
    /// All channels that there are.
    pub(super) fn channels(&mut self) -> Result<(), os::Error> {
        let reached = self.in_buckets()?;
        for index in 0..below(&self.header.channels, map::CHANNELS_MAX) {
            let at = map::CHANNELS + index as u64 * map::CHANNEL_BYTES;
            let of = self.memory.at::<Record>(at)?;
            let now = Word(of.state.load(Acquire));
            match now.state() {
                record::FREE => {
                    let named = [of.ring.load(Relaxed), of.sender.staging(0), of.sender.staging(1)];
                    if named != [0; 3] {
                        self.leak(Leaked::Channel, index, 0, "it is free, and names blocks");
                    }
                    continue;
                }
                record::NAMED => {
                    self.account.channels_named += 1;
                    if !reached.contains(&index) {
                        self.leak(Leaked::Channel, index, 0, "it has a name, and is in no bucket");
                    }
                }
                record::UNNAMED => {
                    self.account.channels_unnamed += 1;
                    self.unnamed.push((index, "without a name, and reached by nobody"));
                }
                record::BUILDING | record::UNMAKING if self.is_live(now.slot()) => {}
                record::BUILDING => self.leak(Leaked::Channel, index, 0, "whoever was making it is dead"),
                record::UNMAKING if now.slot() == IN_MESSAGE => {
                    self.unnamed.push((index, "over, and no end of it lies anywhere"));
                }
                record::UNMAKING => self.leak(Leaked::Channel, index, 0, "whoever took it back is dead"),
                other => self.leak(Leaked::Channel, index, 0, format!("state {other}")),
            }
            self.channels.insert(index);
            self.parts(index, &of);
            let any = <u8 as crate::Message>::schema();
            match spec_of(&of, any) {
                Some(spec) if spec.degree <= DEGREE_MAX => self.contents(index, &of, &spec),
                _ => self.leak(Leaked::Channel, index, 0, "its record makes no sense"),
            }
        }
        Ok(())
    }

    /// The records that a name leads to.
    fn in_buckets(&self) -> Result<HashSet<usize>, os::Error> {
        let mut reached = HashSet::new();
        if self.header.channels.load(Relaxed) == 0 {
            return Ok(reached);
        }
        for bucket in 0..map::BUCKETS as u64 {
            let mut link = self.word(map::BUCKET_HEADS + bucket * 8)?;
            while let Some(index) =
                usize::try_from(link.wrapping_sub(1)).ok().filter(|i| *i < map::CHANNELS_MAX)
            {
                if !reached.insert(index) {
                    break; // a wreck
                }
                let at = map::CHANNELS + index as u64 * map::CHANNEL_BYTES;
                link = self.memory.at::<Record>(at)?.next.load(Relaxed);
            }
        }
        Ok(reached)
    }

    /// The blocks that a record names itself.
    fn parts(&mut self, index: usize, of: &Record) {
        let named = [of.ring.load(Relaxed), of.sender.staging(0), of.sender.staging(1)];
        for offset in named {
            self.name(index, offset);
        }
    }

    fn name(&mut self, index: usize, offset: u64) {
        if offset != 0 && !self.named.insert(offset) {
            self.leak(Leaked::Channel, index, 0, format!("the block at {offset:#x} is named twice"));
        }
    }

    /// The lanes, ends and messages of a channel. What does not lie in the window is left out.
    fn contents(&mut self, index: usize, of: &Record, spec: &Spec) {
        let ring = of.ring.load(Relaxed);
        let crowd = |at: u64| ring.checked_add(at).and_then(|at| self.memory.at::<Crowd>(at).ok());
        match spec.kind {
            Kind::Rendezvous | Kind::Basic | Kind::Buffered => {
                self.end(index, 0, true, &of.sender);
                self.end(index, 0, false, &of.receiver);
            }
            Kind::Broadcast | Kind::Latest => {
                let receivers = crowd(place::CROWD_AT);
                self.end(index, 0, true, &of.sender);
                self.crowd(index, false, receivers.as_deref());
            }
            Kind::Queue | Kind::Service => {
                let (senders, receivers) = (crowd(0), crowd(CROWD_BYTES));
                self.crowd(index, true, senders.as_deref());
                self.crowd(index, false, receivers.as_deref());
                for seat in senders.iter().flat_map(|crowd| crowd.seats()) {
                    self.name(index, seat.words[LANE].load(Acquire));
                }
            }
        }
        if spec.content == Content::Parcel {
            let waiting = match spec.kind {
                Kind::Rendezvous => self.offered(of),
                Kind::Basic | Kind::Buffered => self.buffered(ring, spec).unwrap_or_default(),
                Kind::Queue => self.queued(ring, spec).unwrap_or_default(),
                Kind::Broadcast | Kind::Latest | Kind::Service => Vec::new(),
            };
            for [reference, _, incarnation] in waiting {
                match reference::offset(spec.method, self.window_base, reference) {
                    Some(offset) => drop(self.waiting.insert((offset, incarnation))),
                    None => self
                        .waiting_capabilities
                        .extend(reference::capability_index(reference).map(|index| (index, incarnation))),
                }
            }
        }
    }

    fn crowd(&mut self, index: usize, is_sender: bool, crowd: Option<&Crowd>) {
        for (number, seat) in crowd.into_iter().flat_map(|crowd| crowd.seats().iter().enumerate()) {
            self.end(index, number, is_sender, &seat.side);
        }
    }

    fn end(&mut self, channel: usize, seat: usize, is_sender: bool, side: &Side) {
        let word = side.end();
        if word.state() == ATTACHED {
            self.account.ends += 1;
            self.ends.push(HeldEnd { channel, seat, is_sender, word });
        }
    }

    /// What a rendezvous offers, and what was taken last, if its receiver may not have said so yet.
    fn offered(&self, of: &Record) -> Vec<[u64; 3]> {
        let word = of.line.word();
        let mut all = Vec::new();
        if word.state() == OFFER {
            all.push(of.line.peek_reference(word.sequence()));
        }
        // What a dead receiver had not read out of its cell is its successor's (side.rs, S2).
        let unread = of.receiver.unread().filter(|s| word.sequence().wrapping_sub(*s) % 2 == 1);
        all.extend(unread.map(|s| of.line.peek_reference(s)));
        let receiver = of.receiver.end();
        if receiver.state() == ATTACHED && self.is_live(receiver.slot()) {
            all.push(of.line.peek_reference(word.sequence().wrapping_sub(1)));
        }
        all
    }

    fn three_words(&self, at: u64) -> Option<[u64; 3]> {
        let word = |i: u64| self.word(at.checked_add(i * 8)?).ok();
        Some([word(0)?, word(1)?, word(2)?])
    }

    fn buffered(&self, ring: u64, spec: &Spec) -> Option<Vec<[u64; 3]>> {
        let shape = spec.shape()?;
        let mut all = Vec::new();
        for slot in 0..=shape.degree {
            let at = ring.checked_add(slot.checked_mul(shape.stride)?)?;
            if Word(self.word(at).ok()?).state() != EMPTY {
                all.push(self.three_words(at.checked_add(shape.offset)?)?);
            }
        }
        Some(all)
    }

    fn queued(&self, block: u64, spec: &Spec) -> Option<Vec<[u64; 3]>> {
        let plan = spec.plan()?;
        let senders = self.memory.at::<Crowd>(block).ok()?;
        let cells = block.checked_add(2 * CROWD_BYTES)?;
        let mut all = Vec::new();
        for (number, seat) in senders.seats().iter().enumerate() {
            let lane = seat.words[LANE].load(Acquire);
            for slot in (0..=plan.lane.degree).filter(|_| lane != 0) {
                let at = lane.checked_add(slot.checked_mul(plan.lane.stride)?)?;
                let now = Word(self.word(at).ok()?);
                let position = now.sequence();
                let cell = self.word(cells.checked_add(position % plan.cells() * 8)?).ok()?;
                let is_sent = || plan.read_cell(position, cell) == Some((position, number, slot));
                if now.state() != EMPTY && (now.state() != FULL || is_sent()) {
                    all.push(self.three_words(at.checked_add(plan.lane.offset)?)?);
                }
            }
        }
        Some(all)
    }
}
