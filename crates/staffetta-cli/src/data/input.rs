//! Messages from the standard input, one by one.
//!
//! Read through a buffer of a few KiB: so when the channel is full and nothing more is taken from here, the writer of the
//! pipe is held up too.

use super::json;
use crate::failure::Failure;
use crate::interrupt;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use staffetta::message::Schema;
use std::io::{self, BufRead, BufReader, Read};

/// A line may be so long: a message of a few MiB as JSON.
const LINE_BYTES_MAX: u64 = 1 << 28;

/// The standard input, which a signal that asks us to stop interrupts.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            interrupt::check().map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            // A signal between the look and the wait is seen after a while.
            let patience = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
            match poll(&mut ready, Some(&patience)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            match rustix::io::read(&stdin, &mut *into) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// Messages from the standard input.
pub struct Input {
    from: BufReader<Stdin>,
    raw: bool,
    number: u64,
}

impl Input {
    /// Lines of JSON, or frames.
    pub fn new(raw: bool) -> Input {
        Input { from: BufReader::new(Stdin), raw, number: 0 }
    }

    /// What the last message is called: `line 3`, `frame 3`.
    pub fn place(&self) -> String {
        format!("{} {}", if self.raw { "frame" } else { "line" }, self.number)
    }

    /// The bytes of the next message, checked against the layout; None: the input is over.
    pub fn next(&mut self, schema: &Schema) -> Result<Option<Vec<u8>>, Failure> {
        let read = if self.raw { self.next_frame(schema) } else { self.next_line(schema) };
        // A reader that was interrupted says so as a fault of the input.
        read.map_err(|why| match interrupt::check() {
            Err(interrupted) => interrupted,
            Ok(()) => Failure::Data(format!("standard input, {}: {why}; it was not sent", self.place())),
        })
    }

    fn next_line(&mut self, schema: &Schema) -> Result<Option<Vec<u8>>, String> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            let mut limited = self.from.by_ref().take(LINE_BYTES_MAX);
            limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() as u64 == LINE_BYTES_MAX {
                return Err(format!(
                    "it is longer than {LINE_BYTES_MAX} bytes; send messages of that size with --raw"
                ));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value: serde_json::Value = serde_json::from_slice(&line).map_err(|error| {
                let printable = String::from_utf8_lossy(&line).chars().take(40).collect::<String>();
                format!(
                    "{:?} is no JSON ({error}); give one JSON value on each line, or frames with --raw",
                    printable.trim_end()
                )
            })?;
            let value = json::to_value(&value, schema).map_err(|error| error.to_string())?;
            return schema.write(&value).map(Some).map_err(|error| error.to_string());
        }
    }

    fn next_frame(&mut self, schema: &Schema) -> Result<Option<Vec<u8>>, String> {
        self.number += 1;
        let mut head = [0; 4];
        let read = read_full(&mut self.from, &mut head)?;
        if read == 0 {
            return Ok(None);
        }
        if read < head.len() {
            return Err(format!("the input ends after {read} of the 4 bytes that tell its length"));
        }
        let length = u32::from_le_bytes(head);
        schema.check_length(length as usize).map_err(|error| {
            format!("{error} (a frame begins with its length: 4 bytes, the least significant first)")
        })?;
        // Memory for what comes, not for what is announced.
        let mut bytes = Vec::new();
        self.from.by_ref().take(length.into()).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() < length as usize {
            return Err(format!("the input ends after {} of its {length} bytes", bytes.len()));
        }
        schema.validate(&bytes).map_err(|error| error.to_string())?;
        Ok(Some(bytes))
    }
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> Result<usize, String> {
    let mut done = 0;
    while done < into.len() {
        match from.read(&mut into[done..]).map_err(|error| error.to_string())? {
            0 => break,
            more => done += more,
        }
    }
    Ok(done)
}
