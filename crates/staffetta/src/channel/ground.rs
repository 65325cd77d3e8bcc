//! The process around a protocol: its PCBs, its references, its staging blocks.

use std::sync::Arc;

use super::call::Ground;
use super::side::Side;
use crate::member::Member;
use crate::memory::map::BlockId;
use crate::memory::platform::Native;
use crate::process::pcb::Pcb;
use crate::process::{threads, wait};
use crate::reference::Method;

/// The ground of one end.
pub struct EndGround<'c> {
    /// The process.
    pub member: &'c Arc<Member>,
    /// The channel's reference method.
    pub method: Method,
    /// The sender's side: its staging blocks.
    pub sender: &'c Side,
}

impl Ground<Native> for EndGround<'_> {
    fn own_pcb(&self) -> Option<(&Pcb, u64)> {
        let (pcb, offset) = threads::own_pcb(self.member)?;
        Some((pcb, self.member.refs.refer(self.method, offset)))
    }

    fn wake(&self, pcb_ref: u64) {
        wake(self.member, self.method, pcb_ref);
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
                let new = self.member.blocks.allocate(segment, length as u64, 64).ok()?;
                self.member.blocks.give_to_channel(segment, new);
                self.sender.set_staging(parity, segment.map().block(new));
                if let Some(old) = old {
                    self.member.blocks.free(segment, old);
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
}

/// A staging block was charged for its first message; a longer one may need more of it.
fn enough_charged(member: &Member, id: BlockId, length: usize) -> bool {
    member.blocks.recharge(member.segment(), id, length as u64).is_ok()
}

/// Wakes the PCB behind a reference.
pub fn wake(member: &Member, method: Method, pcb_ref: u64) {
    let pcb = member.refs.offset(method, pcb_ref).and_then(|offset| member.segment().pcb_at(offset));
    if let Some(pcb) = pcb {
        pcb.wake_up(wait::now_ns());
    }
}
