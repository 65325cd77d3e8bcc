//! `limit.memcpy`: one copy of a message by one process, from one place to another, both in cache if
//! they fit there.

use crate::bench::subject::{Side, Spec, Subject, Touch, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use crate::raw::Buffer;
use std::hint::black_box;

/// One row for each size.
pub fn specs(quick: bool) -> Vec<Spec> {
    let sizes: &[u64] = match quick {
        true => &[64 << 10, 1 << 20, 16 << 20],
        false => &[4 << 10, 64 << 10, 1 << 20, 16 << 20, 128 << 20],
    };
    let spec = |&bytes: &u64| Spec {
        what: "limit.memcpy",
        reference: None,
        wait: None,
        bytes,
        touch: Some(Touch::All),
        batch: if bytes < 64 << 10 { BATCH_SHORT } else { BATCH_LONG },
        alone: true,
        limit: None,
        open: vec![Box::new(move |side, _| match side {
            Side::Ping => Ok(Box::new(Copy {
                from: Buffer::create(bytes as usize)?,
                to: Buffer::create(bytes as usize)?,
            })),
            Side::Pong => Ok(Box::new(Idle)),
        })],
    };
    sizes.iter().map(spec).collect()
}

/// The side that has nothing to do.
pub struct Idle;

impl Subject for Idle {
    fn ping(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }
}

struct Copy {
    from: Buffer,
    to: Buffer,
}

impl Subject for Copy {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds * 2 {
            self.to.bytes_mut().copy_from_slice(black_box(self.from.bytes()));
            black_box(self.to.bytes());
        }
        Ok(())
    }
}
