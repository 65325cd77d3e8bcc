//! Cross-memory attach: reading the private memory of another process.
//!
//! What it does not do: it does not know whose memory it reads. A process number may be another's by the time the kernel looks
//! it up, so whoever calls this makes sure, before and after, that it was not (`process/service/identity.rs`), and throws
//! away what it read otherwise. There is no function that writes: what was read by mistake can be thrown away, what was
//! written cannot be taken back.
//!
//! The kernel allows it to whoever may attach a debugger: by default the same user, unless the other process is not dumpable
//! (set-user-ID programs, `PR_SET_DUMPABLE`); with Yama (`kernel.yama.ptrace_scope`) 0: that, 1: only ancestors, and
//! whom the other one named by `PR_SET_PTRACER`, 2: only `CAP_SYS_PTRACE`, 3: nobody. Containers and seccomp filters may forbid
//! the call itself.

#![allow(unsafe_code)] // process_vm_readv, which rustix does not have.

use rustix::io::Errno;
use rustix::process::Pid;
use std::mem::MaybeUninit;

/// The most bytes asked for at once: the kernel transfers at most 2 GiB less a page in one call.
const PIECE_BYTES: usize = 1 << 30;

/// `process_vm_readv`: fills `to` with what is at `address` of the process `pid`.
///
/// # Errors
/// `EPERM`: this process may not; `ENOSYS`: nobody may (also `EPERM`, from a seccomp filter); `ESRCH`: there is no such process,
/// or it is dying; `EFAULT`: some of it is not mapped there, or may not be read in this way. `to` may have been written in part.
pub(crate) fn read(pid: Pid, address: u64, to: &mut [MaybeUninit<u8>]) -> Result<(), Errno> {
    let mut done = 0;
    while done < to.len() {
        let from = usize::try_from(address).ok().and_then(|address| address.checked_add(done));
        let from = from.ok_or(Errno::FAULT)?;
        let rest = &mut to[done..];
        let piece = rest.len().min(PIECE_BYTES);
        let local = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: piece };
        let remote = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: piece };
        // SAFETY: the kernel writes at most `piece` bytes to `local`, which is inside of `rest`; `remote` is an address that
        // only the kernel looks at.
        let read = unsafe { libc::process_vm_readv(pid.as_raw_nonzero().get(), &local, 1, &remote, 1, 0) };
        match usize::try_from(read) {
            Ok(0) => return Err(Errno::FAULT),
            // Less than asked for: what follows is not there, or a signal came. The next call tells which.
            Ok(bytes) => done += bytes,
            Err(_) => {
                let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
                if errno != Errno::INTR {
                    return Err(errno);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read_to_the_last_byte_that_is_there() {
        let me = rustix::process::getpid();
        let from: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let mut to = vec![MaybeUninit::new(0); 10_000];
        match read(me, from.as_ptr() as u64, &mut to) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::NOSYS) => {
                return eprintln!("skipped: cross-memory attach is forbidden here");
            }
            Err(errno) => panic!("{errno}"),
        }
        // SAFETY: written.
        assert!(from.iter().zip(&to).all(|(from, to)| *from == unsafe { to.assume_init() }));
        let page = crate::os::mapping::page_size() as u64;
        // The first page is never mapped.
        assert_eq!(read(me, page - 10, &mut to[..100]), Err(Errno::FAULT));
        assert_eq!(read(me, u64::MAX - 10, &mut to[..100]), Err(Errno::FAULT));
        assert_eq!(read(me, 0, &mut []), Ok(()));
    }
}
