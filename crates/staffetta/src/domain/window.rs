//! The domain's memory file and its header: made and published, or checked and mapped.
//!
//! A file comes from a peer or a launcher, so what it says of itself is input: [`check`] reads it once,
//! before the file is mapped whole, and nothing else here believes it. Where things lie *inside* the window
//! is
//! `memory/map.rs`; who may have the file is the door's business.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::Addresses;
use crate::error::DomainError;
use crate::member::write_text;
use crate::memory::header::{Header, BYTE_ORDER, FORMAT_VERSION, MAGIC};
use crate::memory::map::{Map, WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN};
use crate::memory::segment::{header_of, Segment};
use crate::os::fork::NotInherited;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd::{self, Seals};
use crate::os::{machine, mapping};
use crate::reference::References;

/// A file that nobody else knows, mapped whole at the base that comes with it: of `bytes`, at `base`, if they
/// are given.
pub fn create(bytes: Option<u64>, base: Option<usize>) -> Result<(Segment, u64), DomainError> {
    let (file, mapping, map) = make(bytes, base)?;
    memfd::add_seals(file.as_fd(), Seals::SHRINK | Seals::GROW)?;
    let base = mapping.base().as_ptr() as u64;
    Ok((segment(mapping, file, map)?, base))
}

/// Writes the header of a new file, whose magic number comes last: with it the file is a domain.
pub fn publish(
    segment: &Segment,
    name: Option<&str>,
    base: u64,
    budget_bytes: u64,
    retain_bytes: u64,
) -> Result<(), DomainError> {
    let header = segment.header();
    header.window_bytes.store(segment.map().window_bytes(), Relaxed);
    header.window_base.store(base, Relaxed);
    header.page_bytes.store(mapping::page_size() as u64, Relaxed);
    header.budget_bytes.store(budget_bytes, Relaxed);
    header.retain_bytes.store(retain_bytes, Relaxed);
    let random = machine::random()?;
    header.identity[0].store(random as u64, Relaxed);
    header.identity[1].store((random >> 64) as u64, Relaxed);
    write_text(&header.name, name.unwrap_or_default());
    header.byte_order.store(BYTE_ORDER, Relaxed);
    header.version.store(FORMAT_VERSION, Relaxed);
    header.magic.store(MAGIC, Release);
    Ok(())
}

/// Checks the file of an existing domain and maps it.
pub fn join(file: OwnedFd, addresses: Addresses) -> Result<References, DomainError> {
    let file = memfd::keep_here(file)?;
    let (map, base) = check(file.as_fd())?;
    let placement = match addresses {
        Addresses::Coinciding => Placement::At(base as usize),
        Addresses::Distinct => Placement::Anywhere,
    };
    let mapping = Mapping::map(file.as_fd(), 0, map.window_bytes() as usize, placement, Access::ReadWrite)
        .map_err(|source| match addresses {
            Addresses::Coinciding => DomainError::WindowOccupied { base: base as usize, source },
            Addresses::Distinct => source.into(),
        })?;
    Ok(References::new(segment(mapping, file, map)?, base))
}

/// Checks the file of an existing domain that is mapped already.
pub fn adopt(file: OwnedFd, mapping: Mapping) -> Result<References, DomainError> {
    let file = memfd::keep_here(file)?;
    let (map, base) = check(file.as_fd())?;
    Ok(References::new(segment(mapping, file, map)?, base))
}

fn segment(mapping: Mapping, file: NotInherited, map: Map) -> Result<Segment, DomainError> {
    Segment::new(mapping, file, map).ok_or_else(|| foreign("it is too short"))
}

/// A file and its mapping; the window steps down where limits are in the way.
fn make(bytes: Option<u64>, base: Option<usize>) -> Result<(NotInherited, Mapping, Map), DomainError> {
    let window =
        |bytes| Map::new(bytes).ok_or(DomainError::Window { bytes, min: WINDOW_MIN, max: WINDOW_MAX });
    if let Some(bytes) = bytes {
        return try_make(window(bytes)?, base);
    }
    let mut bytes = WINDOW_DEFAULT;
    loop {
        match try_make(window(bytes)?, base) {
            Err(_) if bytes > WINDOW_MIN => bytes /= 2,
            other => return other,
        }
    }
}

fn try_make(map: Map, base: Option<usize>) -> Result<(NotInherited, Mapping, Map), DomainError> {
    let file = memfd::create_here(c"staffetta", map.window_bytes(), true)?;
    let len = map.window_bytes() as usize;
    let at = |placement| Mapping::map(file.as_fd(), 0, len, placement, Access::ReadWrite);
    if let Some(base) = base {
        let mapping =
            at(Placement::At(base)).map_err(|source| DomainError::WindowOccupied { base, source })?;
        return Ok((file, mapping, map));
    }
    let random = machine::random()? as u64;
    let free = bases(len, random).find_map(|base| at(Placement::At(base)).ok());
    // Nowhere of the usual places: where the kernel likes, which other programs may not have free.
    let mapping = free.map_or_else(|| at(Placement::Anywhere), Ok)?;
    Ok((file, mapping, map))
}

/// Where the window may lie: the part of the address space that programs (position independent ones begin at
/// 0x5500_0000_0000, the kernel places mappings from the top down), the sanitizers (AddressSanitizer's
/// shadow ends at 0x1000_8000_0000) and language runtimes (Go: from 0xc0_0000_0000, Java: low addresses)
/// leave free.
const BASES: Range<usize> = 0x1100_0000_0000..0x5500_0000_0000;
/// The same for 39-bit address spaces.
const BASES_SMALL: Range<usize> = 0x10_0000_0000..0x40_0000_0000;
/// Places that are tried at creation.
const BASES_TRIED: usize = 16;

/// Places for a window of `len` bytes (a power of two), beginning with a random one: a process may be in
/// several domains, made by others who know nothing of each other.
fn bases(len: usize, random: u64) -> impl Iterator<Item = usize> {
    [BASES, BASES_SMALL].into_iter().flat_map(move |range| {
        let places = (range.end - range.start) / len;
        let first = range.start.next_multiple_of(len);
        (0..places.min(BASES_TRIED))
            .map(move |i| first + (random as usize % places + i) % places * len)
            .filter(move |base| base + len <= range.end)
    })
}

/// Reads and checks what a file says of itself (header.rs, D2), before it is mapped whole.
fn check(file: BorrowedFd<'_>) -> Result<(Map, u64), DomainError> {
    let page = mapping::page_size();
    let bytes = memfd::size_bytes(file)?;
    if bytes < WINDOW_MIN {
        return Err(foreign(format!("it has only {bytes} bytes")));
    }
    let seals = memfd::seals(file).map_err(|_| foreign("it is not a memory file"))?;
    if !seals.contains(Seals::SHRINK) {
        return Err(foreign("it can shrink: it is not sealed"));
    }
    let first = Mapping::map(file, 0, page.max(size_of::<Header>()), Placement::Anywhere, Access::Read)?;
    let header = header_of(&first).ok_or_else(|| foreign("it has no header"))?;
    if header.magic.load(Relaxed) != MAGIC {
        return Err(foreign("its first bytes are not those of a domain"));
    }
    if header.byte_order.load(Relaxed) != BYTE_ORDER {
        return Err(DomainError::ByteOrder);
    }
    let version = header.version.load(Relaxed);
    if version != FORMAT_VERSION {
        return Err(DomainError::Version { theirs: version, ours: FORMAT_VERSION });
    }
    if header.page_bytes.load(Relaxed) != page as u64 {
        return Err(foreign("it was made with another page size"));
    }
    let window = header.window_bytes.load(Relaxed);
    let map = Map::new(window).filter(|map| map.window_bytes() <= bytes);
    let map = map.ok_or_else(|| foreign(format!("its window of {window} bytes is impossible")))?;
    let base = header.window_base.load(Relaxed);
    if base % page as u64 != 0 || base.checked_add(window).is_none_or(|end| end > 1 << 56) {
        return Err(foreign(format!("its window cannot lie at {base:#x}")));
    }
    Ok((map, base))
}

fn foreign(what: impl Into<String>) -> DomainError {
    DomainError::Foreign { what: what.into() }
}
