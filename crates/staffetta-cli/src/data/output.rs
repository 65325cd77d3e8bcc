//! Messages to the standard output, and whether anybody reads it.

use super::json;
use crate::failure::Failure;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use staffetta::message::Schema;
use std::io::{self, Write};

/// Has the reader of the standard output gone? Then no message is taken that nobody would see.
pub fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut ready = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&now)).is_ok_and(|n| n == 1) && ready[0].revents().contains(PollFlags::ERR)
}

/// A message as it is written.
pub fn encode(bytes: &[u8], schema: &Schema, raw: bool) -> Result<Vec<u8>, String> {
    if raw {
        let length = u32::try_from(bytes.len())
            .map_err(|_| format!("a message of {} bytes is too long for a frame", bytes.len()))?;
        return Ok([&length.to_le_bytes(), bytes].concat());
    }
    let value = schema.read(bytes).map_err(|error| error.to_string())?;
    let mut line = json::of_value(&value).to_string();
    line.push('\n');
    Ok(line.into_bytes())
}

/// Writes a whole message and pushes it out, so that the reader has it at once.
pub fn write(encoded: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(encoded).and_then(|()| out.flush()).map_err(Failure::output)
}
