//! The account of a domain: of everything that can be in use, who has it; and what nobody has, which is a leak.
//!
//! It is exact for a domain in which nothing happens: every process that lives is between two operations (it may wait in one),
//! every one that died was swept. While a domain runs, what is on its way looks like a leak for a moment: look again.
//!
//! | what | may be had by |
//! |---|---|
//! | block | a process that lives; a message that waits in a channel, or for a successor; a channel's record, as its ring, staging or lane; a parcel |
//! | capability | a process that lives, also one that keeps it for later; a message that waits in a channel |
//! | entry | a process that lives; the list of the block in which it lies |
//! | channel without a name | an entry |
//! | end of a channel | a process that lives; an entry |
//! | PCB, ready set, process slot | a process that lives |
//! | bytes charged | the block or capability whose record says so |
//!
//! Work is bounded by the domain's own limits, whatever its words say (I1).

mod channels;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::channel::kept::channel_of_returned;
use crate::channel::schemas::Head;
use crate::enclosure::table::{state as entry, what};
use crate::enclosure::Entry;
use crate::memory::bits::LEVELS;
use crate::memory::header::{block, process, BlockRecord, Header, ProcessSlot};
use crate::memory::ledger::{self, Charged};
use crate::memory::map::{self, BlockId, Map};
use crate::memory::reading::Source;
use crate::memory::segment::Segment;
use crate::memory::word::{Word, IN_MESSAGE};
use crate::os;
use crate::process::pcb::Pcb;
use crate::process::ready_set::ReadySet;
use crate::reference::capability;

/// What a domain has in use, and what of it has been lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// Bytes charged to the budget.
    pub charged_bytes: u64,
    /// Bytes that free blocks keep.
    pub retained_bytes: u64,
    /// Blocks that nobody uses.
    pub blocks_free: u64,
    /// Blocks that processes have: parcels and variables, and what they keep for their next allocations.
    pub blocks_owned: u64,
    /// Blocks of messages that wait in channels.
    pub blocks_waiting: u64,
    /// Blocks that are parts of channels.
    pub blocks_of_channels: u64,
    /// Parcels that lie in parcels.
    pub blocks_enclosed: u64,
    /// Capabilities that processes have, or that wait in channels.
    pub capabilities_owned: u64,
    /// Free capabilities that keep their memory.
    pub capabilities_kept: u64,
    /// Entries in use.
    pub entries: u64,
    /// Channels with a name.
    pub channels_named: u64,
    /// Channels without one.
    pub channels_unnamed: u64,
    /// Ends that are held.
    pub ends: u64,
    /// PCBs in use.
    pub pcbs: u64,
    /// Ready sets in use.
    pub ready_sets: u64,
    /// Members.
    pub processes: u64,
    /// What nobody has, or what does not add up.
    pub leaks: Vec<Leak>,
}

/// Something that is in use and that nobody has; or a sum that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// What it is.
    pub what: Leaked,
    /// Its place in its table; of a block, its offset in the window; of a sum, 0.
    pub place: u64,
    /// Bytes that are lost with it; 0 if it is not counted in bytes.
    pub bytes: u64,
    /// What is wrong, in words.
    pub why: String,
}

/// What can leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Leaked {
    /// The sum of the bytes charged.
    Charged,
    /// The sum of the bytes that free blocks keep.
    Retained,
    /// A block.
    Block,
    /// A capability.
    Capability,
    /// A channel's record.
    Channel,
    /// An end of a channel.
    End,
    /// An entry: an end or a parcel in a parcel, or a hold.
    Entry,
    /// A PCB.
    Pcb,
    /// A ready set of a select.
    ReadySet,
    /// A process slot.
    Process,
    /// The text of a layout.
    Schema,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:#x}: {}", self.what, self.place, self.why)
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes charged ({} retained); blocks: {} free, {} owned, {} waiting, {} of channels, {} enclosed; ",
            self.charged_bytes,
            self.retained_bytes,
            self.blocks_free,
            self.blocks_owned,
            self.blocks_waiting,
            self.blocks_of_channels,
            self.blocks_enclosed
        )?;
        write!(
            f,
            "capabilities: {} owned, {} kept; {} entries; channels: {} named, {} unnamed; {} ends, {} PCBs, ",
            self.capabilities_owned,
            self.capabilities_kept,
            self.entries,
            self.channels_named,
            self.channels_unnamed,
            self.ends,
            self.pcbs
        )?;
        write!(f, "{} ready sets, {} processes", self.ready_sets, self.processes)?;
        self.leaks.iter().try_for_each(|leak| write!(f, "\n  leaked: {leak}"))
    }
}

/// The account of a domain's memory.
pub(crate) fn account<S: Source>(memory: &S) -> Result<Account, os::Error> {
    let mut auditor = Auditor::new(memory)?;
    auditor.processes()?;
    auditor.channels()?;
    auditor.blocks()?;
    auditor.entries()?;
    auditor.ends();
    auditor.capabilities()?;
    auditor.waiters()?;
    auditor.schemas()?;
    auditor.sums()?;
    Ok(auditor.account)
}

/// An end that is held.
struct HeldEnd {
    channel: usize,
    seat: usize,
    is_sender: bool,
    word: Word,
}

struct Auditor<'m, S: Source> {
    memory: &'m S,
    map: Map,
    window_base: u64,
    /// The mark of each table.
    header: S::At<'m, Header>,
    /// Slot and generation of each member.
    live: HashMap<u16, u64>,
    /// The offsets of blocks that channels name.
    named: HashSet<u64>,
    /// Messages that wait: offset and incarnation of their blocks, or record and third word of their capabilities.
    waiting: HashSet<(u64, u64)>,
    waiting_capabilities: HashSet<(u32, u64)>,
    ends: Vec<HeldEnd>,
    /// Channels that there are.
    channels: HashSet<usize>,
    /// Channels whose record has to be named by an entry.
    unnamed: Vec<(usize, &'static str)>,
    /// Entries in the list of a block, by index.
    listed: HashSet<u64>,
    /// What parcels that lie in parcels are: offset and incarnation.
    enclosed: HashSet<(u64, u64)>,
    blocks_enclosed: Vec<(u64, u64, u64)>,
    /// What the slots say, and what the records do.
    charged: Vec<u64>,
    retained: Vec<u64>,
    charged_bytes: u64,
    free_bytes: u64,
    account: Account,
}

fn below(mark: &AtomicU64, most: usize) -> usize {
    usize::try_from(mark.load(Relaxed)).unwrap_or(most).min(most)
}

impl<'m, S: Source> Auditor<'m, S> {
    fn new(memory: &'m S) -> Result<Self, os::Error> {
        let header = memory.at::<Header>(0)?;
        Ok(Auditor {
            memory,
            map: memory.map(),
            window_base: header.window_base.load(Relaxed),
            header,
            live: HashMap::new(),
            named: HashSet::new(),
            waiting: HashSet::new(),
            waiting_capabilities: HashSet::new(),
            ends: Vec::new(),
            channels: HashSet::new(),
            unnamed: Vec::new(),
            listed: HashSet::new(),
            enclosed: HashSet::new(),
            blocks_enclosed: Vec::new(),
            charged: Vec::new(),
            retained: Vec::new(),
            charged_bytes: 0,
            free_bytes: 0,
            account: Account::default(),
        })
    }

    fn leak(&mut self, what: Leaked, place: impl TryInto<u64>, bytes: u64, why: impl Into<String>) {
        let place = place.try_into().unwrap_or(u64::MAX);
        self.account.leaks.push(Leak { what, place, bytes, why: why.into() });
    }

    fn is_live(&self, slot: u16) -> bool {
        self.live.contains_key(&slot)
    }

    fn word(&self, offset: u64) -> Result<u64, os::Error> {
        Ok(self.memory.at::<AtomicU64>(offset)?.load(Acquire))
    }

    fn processes(&mut self) -> Result<(), os::Error> {
        for i in 0..below(&self.header.processes, map::PROCESSES_MAX) {
            let slot = self.memory.at::<ProcessSlot>(map::PROCESSES + i as u64 * map::PROCESS_BYTES)?;
            let word = Word(slot.word.load(Acquire));
            self.charged.push(slot.charged.load(Relaxed));
            self.retained.push(slot.retained.load(Relaxed));
            match word.state() {
                process::FREE => {}
                process::LIVE => drop(self.live.insert(i as u16, word.sequence())),
                process::JOINING => {
                    self.leak(Leaked::Process, i, 0, "it is reserved for one that never came")
                }
                process::DEAD => self.leak(Leaked::Process, i, 0, "it is dead and not swept"),
                other => self.leak(Leaked::Process, i, 0, format!("state {other}")),
            }
        }
        self.account.processes = self.live.len() as u64;
        Ok(())
    }

    fn blocks(&mut self) -> Result<(), os::Error> {
        for class in self.map.classes() {
            let used = self.header.used[class as usize].load(Acquire).min(self.map.count(class));
            for index in self.memory.recorded(class, used).into_iter().flatten() {
                self.block(BlockId { class, index })?;
            }
        }
        Ok(())
    }

    fn block(&mut self, id: BlockId) -> Result<(), os::Error> {
        let of = self.memory.at::<BlockRecord>(self.map.block_record(id))?;
        let (now, offset) = (Word(of.holder.load(Acquire)), self.map.block(id));
        let charged = Charged::Block(id).bytes(of.charged.load(Relaxed));
        let inside = of.inside.load(Relaxed);
        self.charged_bytes = self.charged_bytes.wrapping_add(charged);
        let is_named = self.named.contains(&offset);
        let lost = |this: &mut Self, why: String| this.leak(Leaked::Block, offset, charged, why);
        match now.state() {
            block::FREE | block::NEVER if !self.is_listed(id)? => {
                self.free_bytes += charged;
                lost(self, "it is free, and nobody can find it".to_owned());
            }
            block::FREE | block::NEVER => {
                self.account.blocks_free += 1;
                self.free_bytes += charged;
                if inside != 0 {
                    lost(self, "it is free, and something lies in it".to_owned());
                }
            }
            block::OWNED if self.waiting.contains(&(offset, now.sequence())) => {
                self.account.blocks_waiting += 1;
                self.list(id, inside)?;
            }
            block::OWNED if self.is_live(now.slot()) => {
                self.account.blocks_owned += 1;
                self.list(id, inside)?;
            }
            block::OWNED => lost(self, format!("process slot {} had it, and lives no more", now.slot())),
            block::CHANNEL => {
                self.account.blocks_of_channels += 1;
                if !is_named {
                    lost(self, "it is a channel's, and no channel names it".to_owned());
                }
            }
            block::RETURNED => {
                self.account.blocks_waiting += 1;
                let channel = channel_of_returned(of.next.load(Relaxed), now.sequence());
                if !channel.is_some_and(|channel| self.channels.contains(&channel)) {
                    lost(self, "it waits for the next receiver of a channel that is over".to_owned());
                }
                self.list(id, inside)?;
            }
            block::ENCLOSED => {
                self.account.blocks_enclosed += 1;
                self.blocks_enclosed.push((offset, now.sequence(), charged));
                self.list(id, inside)?;
            }
            other => lost(self, format!("state {other}")),
        }
        if is_named && now.state() != block::CHANNEL {
            lost(self, format!("a channel names it, and it is in state {}", now.state()));
        }
        Ok(())
    }

    /// Can a free block be found? (memory/bits.rs)
    fn is_listed(&self, id: BlockId) -> Result<bool, os::Error> {
        let mut below = id.index;
        for level in 0..LEVELS {
            let (word, bit) = (below >> 6, 1 << (below & 63));
            let Some(at) = self.map.bits(id.class, level, word) else {
                return Ok(false);
            };
            if self.word(at)? & bit == 0 {
                return Ok(false);
            }
            below = word;
        }
        Ok(true)
    }

    /// The entries of a block.
    fn list(&mut self, id: BlockId, mut link: u64) -> Result<(), os::Error> {
        while let Some(index) = link.checked_sub(1).filter(|index| *index < map::ENTRIES_MAX as u64) {
            let of = self.memory.at::<Entry>(map::ENTRIES + index * map::ENTRY_BYTES)?;
            if of.block.load(Relaxed) != self.map.block(id) || !self.listed.insert(index) {
                self.leak(Leaked::Entry, index, 0, "it is in a list in which it does not lie");
                break;
            }
            link = of.next.load(Relaxed);
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<(), os::Error> {
        let mut reached: HashSet<usize> = HashSet::new();
        let mut travelling = HashSet::new();
        for index in 0..below(&self.header.entries, map::ENTRIES_MAX) as u64 {
            let of = self.memory.at::<Entry>(map::ENTRIES + index * map::ENTRY_BYTES)?;
            let now = of.word();
            if now.state() == entry::FREE {
                if self.listed.contains(&index) {
                    self.leak(Leaked::Entry, index, 0, "it is free, and in a block's list");
                }
                continue;
            }
            self.account.entries += 1;
            reached.extend(of.channel(now));
            match now.state() {
                entry::MAKING | entry::RELEASING | entry::HOLD if self.is_live(now.slot()) => {}
                entry::ENCLOSED | entry::TAKEN if self.listed.contains(&index) => {}
                entry::ENCLOSED | entry::TAKEN => {
                    self.leak(Leaked::Entry, index, 0, "it lies in no parcel that anybody has");
                }
                other => {
                    let why =
                        format!("process slot {} had it in state {other}, and lives no more", now.slot());
                    self.leak(Leaked::Entry, index, 0, why);
                }
            }
            if now.state() != entry::TAKEN {
                let (of_what, held) = (of.of.load(Relaxed), of.held.load(Relaxed));
                match of.kind() {
                    what::PARCEL => drop(self.enclosed.insert((of_what, held))),
                    kind @ (what::SENDER | what::RECEIVER) => {
                        let seat = (of.what.load(Relaxed) >> 8 & 0xff) as usize;
                        let channel = of.channel(now);
                        travelling
                            .extend(channel.map(|c| (c, seat, kind == what::SENDER, Word(held).awake().0)));
                    }
                    _ => {}
                }
            }
        }
        for (offset, incarnation, bytes) in std::mem::take(&mut self.blocks_enclosed) {
            if !self.enclosed.contains(&(offset, incarnation)) {
                self.leak(Leaked::Block, offset, bytes, "it lies in a parcel, and no entry says in which");
            }
        }
        for (index, why) in std::mem::take(&mut self.unnamed) {
            if !reached.contains(&index) {
                self.leak(Leaked::Channel, index, 0, why);
            }
        }
        let lost = |end: &HeldEnd| {
            let key = (end.channel, end.seat, end.is_sender, end.word.awake().0);
            end.word.slot() == IN_MESSAGE && !travelling.contains(&key)
        };
        let lost: Vec<_> = self.ends.iter().filter(|end| lost(end)).map(|end| end.channel).collect();
        for channel in lost {
            self.leak(
                Leaked::End,
                channel,
                0,
                "an end of this channel lies in a message, and no entry says in which",
            );
        }
        Ok(())
    }

    fn ends(&mut self) {
        for end in std::mem::take(&mut self.ends) {
            let slot = end.word.slot();
            if slot != IN_MESSAGE && !self.is_live(slot) {
                let side = if end.is_sender { "sender" } else { "receiver" };
                let why =
                    format!("its {side} {} is held by process slot {slot}, which lives no more", end.seat);
                self.leak(Leaked::End, end.channel, 0, why);
            }
        }
    }

    fn capabilities(&mut self) -> Result<(), os::Error> {
        for index in 0..below(&self.header.capabilities, map::CAPABILITIES_MAX) {
            let at = map::CAPABILITIES + index as u64 * map::CAPABILITY_BYTES;
            let now = Word(self.word(at + capability::word::HOLDER as u64 * 8)?);
            let charged = self.word(at + capability::word::CHARGED as u64 * 8)?;
            let bytes = Charged::Capability(index as u32).bytes(charged);
            self.charged_bytes += bytes;
            match now.state() {
                block::OWNED => {
                    self.account.capabilities_owned += 1;
                    let hands = self.word(at + capability::word::HANDS as u64 * 8)?;
                    let sent = capability::sent_word(hands, now.sequence());
                    let waits = self.waiting_capabilities.contains(&(index as u32, sent));
                    if !waits && !self.is_live(now.slot()) {
                        let why = format!("process slot {} had it, and lives no more", now.slot());
                        self.leak(Leaked::Capability, index, bytes, why);
                    }
                }
                block::FREE | block::NEVER if bytes == 0 => {}
                block::FREE if self.is_live(now.slot()) => self.account.capabilities_kept += 1,
                block::FREE => {
                    self.leak(Leaked::Capability, index, bytes, "whoever kept it for later lives no more");
                }
                other => self.leak(Leaked::Capability, index, bytes, format!("state {other}")),
            }
        }
        Ok(())
    }

    /// PCBs and ready sets.
    fn waiters(&mut self) -> Result<(), os::Error> {
        for i in 0..below(&self.header.pcbs, map::PCBS_MAX) {
            let holder = self.memory.at::<Pcb>(Segment::pcb_offset(i))?.holder.load(Acquire);
            self.account.pcbs += u64::from(holder != 0);
            self.waiter(Leaked::Pcb, i, holder);
        }
        for i in 0..below(&self.header.selects, map::SELECTS_MAX) {
            let holder = self.memory.at::<ReadySet>(Segment::entry_offset(i, 0))?.holder.load(Acquire);
            self.account.ready_sets += u64::from(holder != 0);
            self.waiter(Leaked::ReadySet, i, holder);
        }
        Ok(())
    }

    /// `holder`: process slot + 1, and its generation (process/threads.rs).
    fn waiter(&mut self, what: Leaked, index: usize, holder: u64) {
        let Some(slot) = (holder & 0xffff).checked_sub(1) else {
            return;
        };
        if self.live.get(&(slot as u16)) != Some(&(holder >> 16)) {
            self.leak(what, index, 0, format!("process slot {slot} had it, and lives no more"));
        }
    }

    /// Texts that were not written to the end.
    fn schemas(&mut self) -> Result<(), os::Error> {
        let words = map::SCHEMAS_BYTES / 8;
        let mut at = 0;
        while at < words {
            let head = Head(self.word(map::SCHEMAS + at * 8)?);
            if head.0 == 0 {
                break;
            }
            // One that is nobody's is used by the next text of its length.
            if !head.is_written() && !head.is_nobodys() {
                self.leak(Leaked::Schema, at, head.words() * 8, "it was not written to the end");
            }
            at = at.saturating_add(head.words());
        }
        Ok(())
    }

    fn sums(&mut self) -> Result<(), os::Error> {
        let (charged, retained) =
            (ledger::total(self.charged.drain(..)), ledger::total(self.retained.drain(..)));
        (self.account.charged_bytes, self.account.retained_bytes) = (charged, retained);
        for (what, says, adds_up) in
            [(Leaked::Charged, charged, self.charged_bytes), (Leaked::Retained, retained, self.free_bytes)]
        {
            if says != adds_up {
                let why = format!("the domain says {says} bytes, the records add up to {adds_up}");
                self.leak(what, 0_u64, says.wrapping_sub(adds_up), why);
            }
        }
        Ok(())
    }
}
