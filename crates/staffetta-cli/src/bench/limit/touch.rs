//! `limit.touch`: one process writes every byte of a message and reads every byte of it, over rotating
//! buffers that together are larger than the last cache. No message can be passed faster end to end.

use super::memcpy::Idle;
use crate::bench::subject::{Side, Spec, Subject, Touch, BATCH_LONG, BATCH_SHORT};
use crate::failure::Fault;
use crate::machine;
use crate::raw::Buffer;
use std::hint::black_box;

/// One row for each size.
pub fn specs(quick: bool) -> Vec<Spec> {
    let sizes: &[u64] = match quick {
        true => &[64 << 10, 1 << 20, 16 << 20],
        false => &[8, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 128 << 20],
    };
    let spec = |&bytes: &u64| Spec {
        what: "limit.touch",
        reference: None,
        wait: None,
        bytes,
        touch: Some(Touch::All),
        batch: if bytes < 64 << 10 { BATCH_SHORT } else { BATCH_LONG },
        alone: true,
        limit: None,
        open: vec![Box::new(move |side, _| match side {
            Side::Ping => {
                let count = rotation(bytes);
                let memory = Buffer::create(count * bytes as usize)?;
                Ok(Box::new(Rotating { memory, bytes: bytes as usize, next: 0, count }))
            }
            Side::Pong => Ok(Box::new(Idle)),
        })],
    };
    sizes.iter().map(spec).collect()
}

/// How many messages of `bytes` make twice the last cache: subjects rotate over as many.
pub fn rotation(bytes: u64) -> usize {
    ((2 * machine::last_cache_bytes()).div_ceil(bytes) as usize).max(2)
}

/// Writes every byte of a message.
#[inline]
pub fn write_all(message: &mut [u8], value: u64) {
    let (words, rest) = message.as_chunks_mut::<8>();
    words.fill(value.to_ne_bytes());
    rest.fill(value as u8);
    black_box(message);
}

/// Reads every byte of a message.
#[inline]
pub fn read_all(message: &[u8]) -> u64 {
    black_box(crate::demo::word_sum(black_box(message)))
}

struct Rotating {
    memory: Buffer,
    bytes: usize,
    next: usize,
    count: usize,
}

impl Subject for Rotating {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds * 2 {
            let from = self.next * self.bytes;
            let message = &mut self.memory.bytes_mut()[from..from + self.bytes];
            write_all(message, self.next as u64);
            read_all(message);
            self.next = (self.next + 1) % self.count;
        }
        Ok(())
    }
}
