//! `parcel`: a message built where it is read; only its reference moves.
//!
//! | row | what goes to and fro |
//! |---|---|
//! | `first`, limit `limit.cacheline` | one and the same parcel, whose pages both processes have |
//! | `first`, limit `limit.mmap` | a fresh capability each time, that the receiver has never seen |
//! | `all` | parcels in turn, together larger than the last cache |
//!
//! As a stream there is nobody to give the parcel back: the sender allocates each, the receiver drops it.

use super::meet::{meet, method_name, out_of_sequence, unsent, wait_name, Ends};
use super::numbered::first_word;
use super::{touch_limit, CACHELINE};
use crate::bench::limit::touch::{read_all, rotation, write_all};
use crate::bench::subject::{LimitName, Side, Spec, Subject, Touch, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use crate::raw::initialised;
use crate::two::wire::Wire;
use staffetta::{Domain, Method, Parcel, Wait};
use std::collections::VecDeque;

/// Larger ones are not streamed: a sender that runs ahead would need several at once.
const STREAMED_MAX: u64 = 256 << 20;

/// All rows; a quick run leaves out the ways to wait, and some sizes.
pub fn specs(quick: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    let spin = Wait::Spin;
    for method in [Method::Coinciding, Method::Distinct] {
        let sizes: &[u64] = match quick {
            true => &[8, 64 << 10, 16 << 20],
            false => &[8, 64 << 10, 1 << 20, 16 << 20, 1 << 30],
        };
        specs.extend(sizes.iter().map(|&bytes| spec(method, spin, bytes, Touch::First, CACHELINE)));
    }
    if !quick {
        let waits = [Wait::SpinThenPark];
        specs.extend(waits.map(|wait| spec(Method::Coinciding, wait, 8, Touch::First, CACHELINE)));
    }
    for bytes in [8, 16 << 20] {
        specs.push(spec(Method::Capability, spin, bytes, Touch::First, CACHELINE));
    }
    let mapped = |bytes| LimitName {
        what: "limit.mmap",
        reference: Some("capability"),
        bytes,
        touch: Some(Touch::First),
    };
    let sizes: &[u64] = if quick { &[1 << 20] } else { &[64 << 10, 1 << 20, 16 << 20] };
    specs.extend(
        sizes.iter().map(|&bytes| spec(Method::Capability, spin, bytes, Touch::First, mapped(bytes))),
    );
    for method in [Method::Coinciding, Method::Distinct, Method::Capability] {
        if !quick || method == Method::Coinciding {
            specs.push(spec(method, spin, 16 << 20, Touch::All, touch_limit(16 << 20)));
        }
    }
    specs
}

fn spec(method: Method, wait: Wait, bytes: u64, touch: Touch, limit: LimitName) -> Spec {
    let short = limit == CACHELINE;
    let fresh = limit.what == "limit.mmap";
    Spec {
        what: "parcel",
        reference: Some(method_name(method)),
        wait: Some(wait_name(wait)),
        bytes,
        touch: Some(touch),
        batch: if short { BATCH_SHORT } else { BATCH_LONG },
        alone: false,
        limit: Some(limit),
        open: vec![Box::new(move |side, wire| {
            let parcels = Parcels::open(side, wire, method, wait, bytes, touch, fresh)?;
            match fresh {
                true => Ok(Box::new(Fresh(parcels))),
                false => Ok(Box::new(parcels)),
            }
        })],
    }
}

struct Parcels {
    ends: Ends<Parcel<[u8]>>,
    held: VecDeque<Parcel<[u8]>>,
    method: Method,
    bytes: usize,
    touch: Touch,
    next: u64,
    domain: Domain,
}

impl Parcels {
    fn open(
        side: Side,
        wire: &Wire,
        method: Method,
        wait: Wait,
        bytes: u64,
        touch: Touch,
        fresh: bool,
    ) -> Result<Parcels, Fault> {
        let domain = meet(side, wire, method, wait)?;
        let ends = Ends::attach(side, &domain, |c| c.rendezvous().method(method))?;
        let held = VecDeque::new();
        let mut parcels = Parcels { ends, held, method, bytes: bytes as usize, touch, next: 0, domain };
        match touch {
            _ if fresh => {}
            Touch::First => parcels.share_out(side, 1, 1)?,
            Touch::All => parcels.share_out(side, 2 * rotation(bytes), rotation(bytes))?,
        }
        Ok(parcels)
    }

    /// Makes parcels that have been in both processes, so that both have all their pages. Ping holds the first
    /// `kept` of them afterwards, pong the rest.
    fn share_out(&mut self, side: Side, count: usize, kept: usize) -> Result<(), Fault> {
        for n in 0..count {
            let parcel = match side {
                Side::Ping => self.domain.parcels(self.method).zeroed(self.bytes)?,
                Side::Pong => self.ends.back.recv()?,
            };
            // A kernel that does not know how (before 5.14): touching does it too.
            if parcel.prefault().is_err() {
                read_all(&parcel);
            }
            match (side, n < kept) {
                (Side::Ping, kept) => {
                    self.ends.out.send(parcel).map_err(unsent)?;
                    if kept {
                        self.held.push_back(self.ends.back.recv()?);
                    }
                }
                (Side::Pong, true) => self.ends.out.send(parcel).map_err(unsent)?,
                (Side::Pong, false) => self.held.push_back(parcel),
            }
        }
        Ok(())
    }

    /// A parcel that nobody has seen.
    fn make(&self) -> Result<Parcel<[u8]>, Fault> {
        Ok(initialised(self.domain.parcels(self.method).uninit_slice(self.bytes)?))
    }

    #[inline]
    fn send(&self, mut parcel: Parcel<[u8]>, number: u64) -> Result<(), Fault> {
        match self.touch {
            Touch::First => parcel[..8].copy_from_slice(&number.to_ne_bytes()),
            Touch::All => write_all(&mut parcel, number),
        }
        self.ends.out.send(parcel).map_err(unsent)
    }

    #[inline]
    fn receive(&self) -> Result<(Parcel<[u8]>, u64), Fault> {
        let parcel = self.ends.back.recv()?;
        if self.touch == Touch::All {
            read_all(&parcel);
        }
        let number = first_word(&parcel);
        Ok((parcel, number))
    }

    fn expect(&self, number: u64) -> Result<Parcel<[u8]>, Fault> {
        match self.receive()? {
            (parcel, found) if found == number => Ok(parcel),
            (_, found) => Err(out_of_sequence(number, found)),
        }
    }

    /// One parcel to and fro, from hand to hand: to put it into a queue and take it out again would count beside a
    /// cache line.
    fn ping_one(&mut self, rounds: u64) -> Result<(), Fault> {
        let mut parcel = self.held()?;
        for _ in 0..rounds {
            self.next += 1;
            parcel[..8].copy_from_slice(&self.next.to_ne_bytes());
            self.ends.out.send(parcel).map_err(unsent)?;
            parcel = self.ends.back.recv()?;
            let found = first_word(&parcel);
            if found != self.next {
                return Err(out_of_sequence(self.next, found));
            }
        }
        self.held.push_back(parcel);
        Ok(())
    }

    fn pong_one(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let mut parcel = self.ends.back.recv()?;
            let number = first_word(&parcel);
            parcel[..8].copy_from_slice(&number.to_ne_bytes());
            self.ends.out.send(parcel).map_err(unsent)?;
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Parcel<[u8]>, Fault> {
        self.held.pop_front().ok_or_else(|| "no parcel is left to send".into())
    }
}

impl Subject for Parcels {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        if self.touch == Touch::First {
            return self.ping_one(rounds);
        }
        for _ in 0..rounds {
            self.next += 1;
            let parcel = self.held()?;
            self.send(parcel, self.next)?;
            let parcel = self.expect(self.next)?;
            self.held.push_back(parcel);
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        if self.touch == Touch::First {
            return self.pong_one(rounds);
        }
        for _ in 0..rounds {
            let (parcel, number) = self.receive()?;
            self.held.push_back(parcel);
            let parcel = self.held()?;
            self.send(parcel, number)?;
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        self.bytes as u64 <= STREAMED_MAX
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.send(self.make()?, number))
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        (first..first + messages).try_for_each(|number| self.expect(number).map(drop))
    }

    fn copies(&self) -> Option<f64> {
        self.ends.copies()
    }
}

/// Each hand-over is the receiver's first acquisition of a capability, and it releases it afterwards. The
/// capabilities are made before the clock runs.
struct Fresh(Parcels);

/// Takes a parcel out of the address space, as the limit does, and frees it.
fn release(parcel: Parcel<[u8]>) {
    drop(parcel.release());
}

impl Subject for Fresh {
    fn prepare(&mut self, rounds: u64) -> Result<(), Fault> {
        // Capabilities that are free again would be found again, and the receiver knows them.
        self.0.domain.trim()?;
        for _ in 0..rounds {
            let mut parcel = self.0.make()?;
            parcel[0] = 0; // its first page is there
            self.0.held.push_back(parcel);
        }
        Ok(())
    }

    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.0.next += 1;
            let parcel = self.0.held()?;
            self.0.send(parcel, self.0.next)?;
            release(self.0.expect(self.0.next)?);
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            let (parcel, number) = self.0.receive()?;
            release(parcel);
            let parcel = self.0.held()?;
            self.0.send(parcel, number)?;
        }
        Ok(())
    }

    fn streams(&self) -> bool {
        self.0.streams()
    }

    fn stream_send(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        self.0.stream_send(first, messages)
    }

    fn stream_receive(&mut self, first: u64, messages: u64) -> Result<(), Fault> {
        self.0.stream_receive(first, messages)
    }

    fn copies(&self) -> Option<f64> {
        self.0.copies()
    }
}
