//! The memory of a domain, seen from outside: what changed since the last look.
//!
//! The file is mapped through `/proc/PID/fd`, which needs no membership. Only pages that exist are looked at, so nothing is
//! allocated by looking; a page that came into being is found by the file's count of blocks.

#![allow(unsafe_code)] // A view of memory that others write.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

const PAGE: usize = 4096;

/// The domain's memory as it was at the last look.
pub struct Shadow {
    file: File,
    base: *const u8,
    bytes: usize,
    /// Blocks of the file when the list of pages was made.
    blocks: u64,
    /// Offsets of the pages that exist, and what was in them.
    pages: Vec<(usize, Box<[u8; PAGE]>)>,
    /// The page that changed last: most likely the next one, too.
    last: usize,
}

impl Shadow {
    /// Of the memory file that process `pid` has open as `fd`.
    pub fn of(pid: u32, fd: i32) -> std::io::Result<Shadow> {
        let file = File::open(format!("/proc/{pid}/fd/{fd}"))?;
        let bytes = file.metadata()?.len() as usize;
        // SAFETY: a new mapping, read only; nothing of ours is replaced.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // Children map the domain themselves, perhaps where this lies.
        // SAFETY: the mapping made above.
        unsafe { libc::madvise(base, bytes, libc::MADV_DONTFORK) };
        Ok(Shadow { file, base: base.cast(), bytes, blocks: u64::MAX, pages: Vec::new(), last: 0 })
    }

    /// Takes it as it is now.
    pub fn refresh(&mut self) {
        self.list();
        for (offset, kept) in &mut self.pages {
            copy(self.base, *offset, kept);
        }
    }

    /// Lists the pages that exist; new ones were all zero before.
    fn list(&mut self) {
        let blocks = self.file.metadata().map_or(0, |data| data.blocks());
        if blocks == self.blocks {
            return;
        }
        self.blocks = blocks;
        let mut old = std::mem::take(&mut self.pages).into_iter().peekable();
        let fd = self.file.as_raw_fd();
        let mut at = 0_i64;
        // SAFETY: lseek of a descriptor of ours.
        while let data @ 0.. = unsafe { libc::lseek(fd, at, libc::SEEK_DATA) } {
            // SAFETY: as above.
            let hole = unsafe { libc::lseek(fd, data, libc::SEEK_HOLE) }.max(data + 1);
            for offset in (data as usize..(hole as usize).min(self.bytes)).step_by(PAGE) {
                while old.next_if(|(known, _)| *known < offset).is_some() {}
                let kept = old.next_if(|(known, _)| *known == offset);
                self.pages.push(kept.unwrap_or_else(|| (offset, Box::new([0; PAGE]))));
            }
            at = hole;
        }
        self.last = 0;
    }

    /// Lines that have changed since the last look.
    pub fn changed_lines(&mut self) -> usize {
        self.list();
        let mut lines = 0;
        for (offset, kept) in &mut self.pages {
            let before = kept.clone();
            copy(self.base, *offset, kept);
            lines += before.chunks(64).zip(kept.chunks(64)).filter(|(old, new)| old != new).count();
        }
        lines
    }

    /// Has anything changed since the last look?
    pub fn has_changed(&mut self) -> bool {
        self.list();
        let mut changed = false;
        let count = self.pages.len();
        for i in 0..count {
            let (offset, kept) = &mut self.pages[(self.last + i) % count];
            if differs(self.base, *offset, kept) {
                copy(self.base, *offset, kept);
                changed = true;
            }
        }
        changed
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // SAFETY: our mapping; nothing refers to it any more.
        unsafe { libc::munmap(self.base.cast_mut().cast(), self.bytes) };
    }
}

fn differs(base: *const u8, offset: usize, kept: &[u8; PAGE]) -> bool {
    // SAFETY: a page inside the mapping; memcmp reads what others may write, and any bytes will do.
    unsafe { libc::memcmp(base.add(offset).cast(), kept.as_ptr().cast(), PAGE) != 0 }
}

fn copy(base: *const u8, offset: usize, kept: &mut [u8; PAGE]) {
    // SAFETY: as above.
    unsafe { libc::memcpy(kept.as_mut_ptr().cast(), base.add(offset).cast(), PAGE) };
}
