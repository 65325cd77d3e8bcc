//! What a thread waits for, in one word of its PCB: for people who look at a domain (`inspect`). No protocol reads it.
//!
//! ```text
//!   bits 0 to 7    8 to 15                             16 to 31   32 to 63
//!   what it does   1: also for what no other process    seat       channel; of a select: ready set
//!                  sees, an end within its own
//! ```

/// What a thread does while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// It sends, or waits for somebody to send to.
    Send = 1,
    /// It receives.
    Receive = 2,
    /// It has called a service.
    Call = 3,
    /// It waits for a request.
    Serve = 4,
    /// It waits for several operations at once.
    Select = 5,
}

impl Doing {
    const ALL: [Doing; 5] = [Doing::Send, Doing::Receive, Doing::Call, Doing::Serve, Doing::Select];
}

/// What a thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waits(pub u64);

const WITHIN: u64 = 1 << 8;
const SEAT_SHIFT: u32 = 16;
const INDEX_SHIFT: u32 = 32;

impl Waits {
    /// Of an end, in `seat`, of channel `index`.
    pub const fn of_end(doing: Doing, index: usize, seat: usize) -> Waits {
        Waits(doing as u64 | (seat as u64 & 0xffff) << SEAT_SHIFT | (index as u64) << INDEX_SHIFT)
    }

    /// Of a select that has this ready set. `within`: one of its operations is an end within the process.
    pub const fn of_select(set: usize, within: bool) -> Waits {
        let within = if within { WITHIN } else { 0 };
        Waits(Doing::Select as u64 | within | (set as u64) << INDEX_SHIFT)
    }

    /// None: it is nothing that this version knows.
    pub fn doing(self) -> Option<Doing> {
        Doing::ALL.into_iter().find(|doing| *doing as u64 == self.0 & 0xff)
    }

    /// The channel, or the ready set.
    pub const fn index(self) -> usize {
        (self.0 >> INDEX_SHIFT) as usize
    }

    /// The seat of the end.
    pub const fn seat(self) -> usize {
        (self.0 >> SEAT_SHIFT & 0xffff) as usize
    }

    /// Does it also wait for an end within its process?
    pub const fn is_within(self) -> bool {
        self.0 & WITHIN != 0
    }
}

#[cfg(test)]
pub(crate) fn codes() -> Vec<(&'static str, u64)> {
    vec![
        ("waits::SEND", Doing::Send as u64),
        ("waits::RECEIVE", Doing::Receive as u64),
        ("waits::CALL", Doing::Call as u64),
        ("waits::SERVE", Doing::Serve as u64),
        ("waits::SELECT", Doing::Select as u64),
        ("waits::WITHIN", WITHIN),
        ("pcb::SLEEPS", crate::process::pcb::SLEEPS),
        ("pcb::SPINS", crate::process::pcb::SPINS),
    ]
}
