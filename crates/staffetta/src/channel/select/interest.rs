//! What an end of a domain remembers of the select in which it is an operation.
//!
//! X1. While there is an entry, every other operation of the end that may change what was announced marks the operation first: it
//!     is to be looked at again. So an operation is marked, or announced, or not enabled.
//!
//! An end is not Sync: one thread uses it and selects on it (`select`, V2). Two selects of that thread may have it as an operation
//! in turn; where it was announced for one, and is then announced for the other, the first is marked.

use std::cell::Cell;

use super::turn::At;
use crate::channel::ground::wake_at;
use crate::channel::side::Side;
use crate::member::Member;
use crate::memory::platform::Platform;
use crate::reference::Method;

/// The entry at which an end is an operation.
#[derive(Debug, Default)]
pub struct Interest {
    entry: Cell<u64>,
}

impl Interest {
    /// The entry, or 0.
    #[inline(always)]
    pub fn entry(&self) -> u64 {
        self.entry.get()
    }

    /// X1.
    #[inline(always)]
    pub fn used(&self, member: &Member) {
        if self.entry.get() != 0 {
            self.mark(member);
        }
    }

    #[cold]
    fn mark(&self, member: &Member) {
        wake_at(member, self.entry.get());
    }

    /// It is about to be announced. True: for the first time at this entry.
    pub fn takes(&self, member: &Member, at: At) -> bool {
        match at.entry {
            Some(entry) if entry != self.entry.get() => {
                self.used(member);
                self.entry.set(entry);
                true
            }
            _ => false,
        }
    }

    /// The reference to be announced, if one is.
    pub fn reference(&self, member: &Member, method: Method, at: At) -> Option<u64> {
        at.entry.map(|entry| member.refs.refer(method, entry))
    }

    /// It is no operation of this select any more. True: it was, and what was announced is to be taken back.
    pub fn leaves(&self, member: &Member, at: At) -> bool {
        let was = at.entry.is_some_and(|entry| entry != 0 && entry == self.entry.get()) && member.here();
        if was {
            self.entry.set(0);
        }
        was
    }
}

/// Nobody is woken for the operation any more by who reads this side.
pub fn forget<P: Platform>(side: &Side<P>, reference: Option<u64>) {
    if reference == Some(side.pcb_ref()) {
        side.set_pcb_ref(0);
    }
}
