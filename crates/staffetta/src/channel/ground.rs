//! The process around a protocol: its PCBs, its references, its staging blocks, and the memory that others lend to it.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::time::Instant;

use super::call::{Ground, Lent};
use super::side::Side;
use super::waits::Waits;
use crate::handle::Handle;
use crate::member::Member;
use crate::memory::map::BlockId;
use crate::memory::platform::Native;
use crate::memory::word::Word;
use crate::os::attach;
use crate::process::pcb::Pcb;
use crate::process::service::Number;
use crate::process::wire;
use crate::process::{threads, wait};
use crate::reference::Method;

/// The ground of one end.
pub struct EndGround<'c> {
    /// The process.
    pub member: &'c Handle,
    /// The channel's reference method.
    pub method: Method,
    /// The sender's side: its staging blocks.
    pub sender: &'c Side,
    /// Who lent last.
    pub lender: &'c Cell<Option<Lender>>,
    /// Of a receiver of parcels that are kept: how often some came back, and what it has seen of that.
    pub returned: Option<(&'c AtomicU64, u64)>,
    /// What the end waits for, when it does.
    pub waits: Waits,
}

/// The process that holds an end, as the kernel knows it.
#[derive(Clone, Copy)]
pub struct Lender {
    /// The word of its end.
    end: Word,
    who: wire::Member,
    pid: rustix::process::Pid,
}

impl EndGround<'_> {
    /// The process that holds the end of this word. What is asked of the shared tables may be a successor's by now; then so
    /// is the end, and what was lent by the one before is dropped (line.rs, L3).
    fn lender(&self, end: Word, deadline: Option<Instant>) -> Result<Lender, Lent> {
        let end = end.awake();
        if let Some(known) = self.lender.get().filter(|known| known.end == end) {
            return Ok(known);
        }
        let who = self.member.peer(end.slot()).ok_or(Lent::NotNow)?;
        let pid = if end.slot() == self.member.slot {
            rustix::process::getpid()
        } else {
            match self.member.service.get().ok_or(Lent::NotNow)?.number_of(who, deadline) {
                Number::Is(pid) => pid,
                Number::NotNow => return Err(Lent::NotNow),
                Number::None => return Err(Lent::Refused),
            }
        };
        let lender = Lender { end, who, pid };
        self.lender.set(Some(lender));
        Ok(lender)
    }

    /// Is it still the same process? Our own always is.
    fn is_still(&self, lender: Lender) -> bool {
        lender.who.slot == self.member.slot
            || self.member.service.get().is_some_and(|service| service.is_still(lender.who))
    }
}

impl Ground<Native> for EndGround<'_> {
    fn own_pcb(&self) -> Option<(&Pcb, u64)> {
        let (pcb, offset) = threads::own_pcb(self.member, self.waits.0).filter(|_| self.member.here())?;
        Some((pcb, self.member.refs.refer(self.method, offset)))
    }

    #[inline(always)]
    fn is_called_away(&self) -> bool {
        // Acquire: pairs with `kept::tell`.
        !self.member.here() || self.returned.is_some_and(|(returned, seen)| returned.load(Acquire) != seen)
    }

    fn wake(&self, pcb_ref: u64) {
        wake(self.member, self.method, pcb_ref);
    }

    fn bury(&self, slot: u16) {
        self.member.sweep_if_dead(slot);
    }

    fn select_at(&self, pcb_ref: u64) -> Option<bool> {
        let offset = self.member.refs.offset(self.method, pcb_ref)?;
        self.member.segment().entry_at(offset).map(|(set, _)| set.is_asleep())
    }

    fn resolve(&self, reference: u64, length: u64) -> Option<*mut u8> {
        self.member.refs.resolve(self.method, reference, length).map(|p| p.as_ptr())
    }

    fn stage(&self, parity: usize, length: usize) -> Option<(u64, *mut u8)> {
        let segment = self.member.segment();
        let staged = self.sender.staging(parity);
        let old = segment.map().locate(staged).filter(|_| staged != 0);
        let id = match old {
            Some(id) if id.bytes() >= length as u64 && enough_charged(self.member, id, length) => id,
            old => {
                let blocks = &self.member.blocks;
                let new = blocks.allocate(segment, length as u64, 64).ok()?;
                // As for a lane and a ring: what the side names is the channel's, also if we are killed in between.
                let old = old.filter(|old| blocks.take_from_channel(segment, *old));
                self.sender.set_staging(parity, segment.map().block(new));
                blocks.give_to_channel(segment, new);
                if let Some(old) = old {
                    blocks.free(segment, old);
                }
                new
            }
        };
        let offset = segment.map().block(id);
        let to = segment.pointer(offset, length as u64)?;
        Some((self.member.refs.refer(self.method, offset), to.as_ptr()))
    }

    fn adopt(&self, storage: *const u8) {
        let segment = self.member.segment();
        if let Some(id) = segment.offset(storage).and_then(|offset| segment.map().locate(offset)) {
            self.member.blocks.adopt(segment, id, || true);
        }
    }

    fn abandoned(&self, storage: *const u8) {
        let segment = self.member.segment();
        if let Some(id) = segment.offset(storage).and_then(|offset| segment.map().locate(offset)) {
            self.member.blocks.free(segment, id);
        }
    }

    fn read_lent(
        &self,
        owner: Word,
        address: u64,
        to: &mut [MaybeUninit<u8>],
        deadline: Option<Instant>,
    ) -> Lent {
        use rustix::io::Errno;
        let lender = match self.lender(owner, deadline) {
            Ok(lender) => lender,
            Err(why) => return why,
        };
        if !self.is_still(lender) {
            return Lent::NotNow;
        }
        // Of our own process, too, the kernel does it: an address that makes no sense is an error, and no fault of ours.
        match attach::read(lender.pid, address, to) {
            // Only now is it known whose memory it was (identity.rs, I1).
            Ok(()) if self.is_still(lender) => Lent::Read,
            Ok(()) => Lent::NotNow,
            Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => Lent::Refused,
            Err(_) => Lent::NotNow,
        }
    }
}

/// A staging block was charged for its first message; a longer one may need more of it.
fn enough_charged(member: &Member, id: BlockId, length: usize) -> bool {
    member.blocks.recharge(member.segment(), id, length as u64).is_ok()
}

/// Wakes whoever is behind a reference that stands where a side says who is to be woken: a PCB, or an operation of a
/// select (`process::ready_set`). Everybody who wakes a side does it here.
pub fn wake(member: &Member, method: Method, pcb_ref: u64) {
    if let Some(offset) = member.refs.offset(method, pcb_ref) {
        wake_at(member, offset);
    }
}

/// The same, by offset.
pub fn wake_at(member: &Member, offset: u64) {
    let segment = member.segment();
    let pcb = match segment.entry_at(offset) {
        Some((set, operation)) => set.deliver(operation).and_then(|pcb| segment.pcb_at(pcb)),
        None => segment.pcb_at(offset),
    };
    if let Some(pcb) = pcb {
        pcb.wake_up(wait::now_ns());
    }
}
