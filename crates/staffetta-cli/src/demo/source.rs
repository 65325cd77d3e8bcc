//! What the demo sends: a file read into memory, or bytes that it makes.
//!
//! Everything that can be wrong with a file is found here, before anything is timed. The process that
//! sends does the reading, so that the coordinator can always be interrupted: opening a pipe that
//! nobody writes to blocks.

use crate::show::size::show;
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// How many bytes are made when no file is given.
pub const MADE_BYTES: u64 = 64 << 20;

/// How many times the demo holds the file at once: as read, in the memory messages are built in, and
/// in the memory that a channel keeps for the next pass.
const HELD_TIMES: u64 = 3;

/// Where the bytes come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Made by this program, the same every time.
    Made,
    /// A file, or a pipe that has a name.
    File(PathBuf),
    /// The standard input; its descriptor travels with the order.
    Standard,
}

impl Source {
    /// The source meant by an argument.
    pub fn of(argument: Option<PathBuf>) -> Source {
        // In the process that reads, descriptor 0 is something else: name it before it moves.
        const STANDARD: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
        match argument {
            None => Source::Made,
            Some(path) if STANDARD.iter().any(|name| path.as_os_str() == *name) => Source::Standard,
            Some(path) => Source::File(path),
        }
    }

    /// Its name for people.
    pub fn name(&self) -> Option<String> {
        match self {
            Source::Made => None,
            Source::File(path) => Some(path.display().to_string()),
            Source::Standard => Some("standard input".into()),
        }
    }
}

/// Why a file cannot be sent, and what to do about it.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum BadInput {
    /// There is nothing of that name.
    #[error(
        "{file}: there is no such file; check the path, or leave it out to send {} made for the \
        purpose",
        show(MADE_BYTES)
    )]
    Missing {
        /// As the user named it.
        file: String,
    },
    /// It has no bytes.
    #[error(
        "{file} is empty; choose a file with at least one byte, since nothing can be verified \
        by sending nothing"
    )]
    Empty {
        /// As the user named it.
        file: String,
    },
    /// It is a directory.
    #[error(
        "{file} is a directory; name one file, or send them all as one: `tar c {file} | \
        staffetta demo -`"
    )]
    Directory {
        /// As the user named it.
        file: String,
    },
    /// The system does not let us read it.
    #[error("{file} cannot be read: {reason}; check its permissions with `ls -l`")]
    Unreadable {
        /// As the user named it.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// It does not fit.
    #[error("{file} {}, and at most {} can be sent here: it is held in memory {HELD_TIMES} times and {} \
        are available; send a part: `head -c {} {file} | staffetta demo -`",
        match bytes { Some(bytes) => format!("has {}", show(*bytes)), None => "goes on".into() },
        show(*bytes_max), show(*bytes_available), bytes_max / 2)]
    TooLarge {
        /// As the user named it.
        file: String,
        /// Its length, if it has one.
        bytes: Option<u64>,
        /// The longest that can be sent.
        bytes_max: u64,
        /// The memory that was available.
        bytes_available: u64,
    },
    /// The memory for it is refused.
    #[error("there is not enough memory for the {} of {file}; see `ulimit -v`, or send a part of it", show(*bytes))]
    NoMemory {
        /// As the user named it.
        file: String,
        /// What was asked for.
        bytes: u64,
    },
}

/// Reads the whole source; `progress` is told the bytes so far and the whole length (0: unknown).
pub fn load(
    source: &Source,
    standard: Option<OwnedFd>,
    bytes_available: u64,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<u8>, BadInput> {
    let file = source.name().unwrap_or_else(|| "the data made for the purpose".into());
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => BadInput::Missing { file: file.clone() },
        io::ErrorKind::IsADirectory => BadInput::Directory { file: file.clone() },
        _ => BadInput::Unreadable { file: file.clone(), reason: error.to_string() },
    };
    let bytes_max = bytes_available / HELD_TIMES;
    let too_large = |bytes| BadInput::TooLarge { file: file.clone(), bytes, bytes_max, bytes_available };
    let opened = match (source, standard) {
        (Source::Made, _) => {
            if MADE_BYTES > bytes_max {
                return Err(too_large(Some(MADE_BYTES)));
            }
            let mut data = room(Vec::new(), MADE_BYTES, &file)?;
            data.extend(made_words().take(MADE_BYTES as usize / 8).flat_map(u64::to_le_bytes));
            return Ok(data);
        }
        (Source::File(path), _) => File::open(path).map_err(unreadable)?,
        (Source::Standard, Some(fd)) => File::from(fd),
        (Source::Standard, None) => return Err(unreadable(io::Error::other("it is closed"))),
    };
    let about = opened.metadata().map_err(unreadable)?;
    if about.is_dir() {
        return Err(BadInput::Directory { file });
    }
    // Files of /proc say 0 and have content, pipes have no length: only reading tells.
    let said = if about.is_file() { about.len() } else { 0 };
    if said > bytes_max {
        return Err(too_large(Some(said)));
    }
    let mut data = read_to_end(opened, said, bytes_max, &file, progress).map_err(|stop| match stop {
        Stop::Failed(error) => unreadable(error),
        Stop::TooLong => too_large(None),
        Stop::Bad(bad) => bad,
    })?;
    if data.is_empty() {
        return Err(BadInput::Empty { file });
    }
    data.shrink_to_fit();
    Ok(data)
}

enum Stop {
    Failed(io::Error),
    TooLong,
    Bad(BadInput),
}

fn read_to_end(
    mut from: File,
    said: u64,
    bytes_max: u64,
    file: &str,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<u8>, Stop> {
    const STEP: u64 = 4 << 20;
    let mut data = room(Vec::new(), said, file).map_err(Stop::Bad)?;
    loop {
        let before = data.len() as u64;
        data = room(data, STEP.min(said.saturating_sub(before).max(1)), file).map_err(Stop::Bad)?;
        (&mut from).take(STEP).read_to_end(&mut data).map_err(Stop::Failed)?;
        let now = data.len() as u64;
        if now > bytes_max {
            return Err(Stop::TooLong);
        }
        if now == before {
            return Ok(data);
        }
        progress(now, said.max(now));
    }
}

/// `data` with room for `more` bytes, or a refusal: never an abort.
fn room(mut data: Vec<u8>, more: u64, file: &str) -> Result<Vec<u8>, BadInput> {
    match data.try_reserve(more as usize) {
        Ok(()) => Ok(data),
        Err(_) => Err(BadInput::NoMemory { file: file.to_owned(), bytes: data.len() as u64 + more }),
    }
}

/// The same words every time, without a pattern that a compressing layer could use (splitmix64).
fn made_words() -> impl Iterator<Item = u64> {
    let mut state = 0u64;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(word ^ (word >> 31))
    })
}
