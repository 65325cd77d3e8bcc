//! What the limits of a process do to the calls of this layer: each in a process of its own, since
//! a limit, once set, holds for everything in it.

#![allow(unsafe_code)] // a test may call what the layer does not

use super::mapping::{is_free, page_size, Access, Mapping, Placement};
use super::{memfd, Error};
use rustix::fd::AsFd;
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::process::{geteuid, setrlimit, Resource, Rlimit};
use std::process::Command;

const WINDOW: usize = 1 << 40;
const BASE: usize = 0x2000_0000_0000;

/// Runs the test `name` again, in a process in which it finds itself limited.
fn limited(name: &str) -> bool {
    if std::env::var("STAFFETTA_TEST_LIMIT").is_ok_and(|limited| limited == name) {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([&format!("os::limits_test::{name}"), "--exact", "--nocapture"])
        .env("STAFFETTA_TEST_LIMIT", name)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    false
}

fn set(resource: Resource, limit: u64) {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = Some(limit);
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
}

#[test]
fn a_file_size_limit_is_an_error_and_no_signal() {
    if limited("a_file_size_limit_is_an_error_and_no_signal") {
        set(Resource::Fsize, 1 << 20);
        let error = memfd::create(c"test", 1 << 30, false).unwrap_err();
        assert!(
            matches!(error, Error::FileTooLarge { wanted_bytes: 0x4000_0000, limit_bytes: 0x10_0000 }),
            "{error}"
        );
        memfd::create(c"test", 1 << 20, false).unwrap();
    }
}

#[test]
fn an_address_space_limit_is_named() {
    if limited("an_address_space_limit_is_named") {
        let file = memfd::create(c"test", WINDOW as u64, false).unwrap();
        set(Resource::As, 1 << 33);
        for place in [Placement::Anywhere, Placement::At(BASE)] {
            let access = Access::ReadWrite;
            let error = Mapping::map(file.as_fd(), 0, WINDOW, place, access).unwrap_err();
            assert!(matches!(error, Error::AddressSpaceLimit { limit_bytes: 0x2_0000_0000, .. }), "{error}");
        }
    }
}

#[test]
fn no_descriptor_left_is_named() {
    if limited("no_descriptor_left_is_named") {
        set(Resource::Nofile, 3);
        let error = memfd::create(c"test", 4096, false).unwrap_err();
        assert!(matches!(error, Error::NoDescriptors { .. }), "{error}");
        assert_eq!(error.errno(), Some(libc::EMFILE));
    }
}

#[test]
fn a_process_that_locks_its_memory_does_not_fill_the_window() {
    if limited("a_process_that_locks_its_memory_does_not_fill_the_window") {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root may lock a window of this size");
            return;
        }
        mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).unwrap();
        let file = memfd::create(c"test", WINDOW as u64, false).unwrap();
        let here = Placement::At(BASE);
        let mapping = Mapping::map(file.as_fd(), 0, WINDOW, here, Access::ReadWrite).unwrap();
        let middle = mapping.base().as_ptr().wrapping_add(WINDOW / 2);
        // SAFETY: inside the mapping, and nobody else has the file.
        unsafe { middle.write_volatile(1) };
        let allocated = memfd::allocated_bytes(file.as_fd()).unwrap();
        assert_eq!(allocated, page_size() as u64);
    }
}

#[test]
fn a_limit_on_locked_memory_is_named() {
    if limited("a_limit_on_locked_memory_is_named") {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can lock everything first and lose its rights then");
            return;
        }
        let file = memfd::create(c"test", WINDOW as u64, false).unwrap();
        set(Resource::Memlock, 1 << 22);
        mlockall(MlockAllFlags::FUTURE).unwrap();
        // From here on without CAP_IPC_LOCK.
        // SAFETY: the raw call changes this thread only; the test ends in it.
        let code = unsafe { libc::syscall(libc::SYS_setresuid, 54_321, 54_321, 54_321) };
        assert_eq!(code, 0);
        let anywhere = Placement::Anywhere;
        let error = Mapping::map(file.as_fd(), 0, WINDOW, anywhere, Access::Read).unwrap_err();
        assert!(matches!(error, Error::LockedMemoryLimit { limit_bytes: 0x40_0000, .. }), "{error}");
    }
}

#[test]
fn a_forked_child_has_no_window_and_unmaps_nothing() {
    let file = memfd::create(c"test", 1 << 20, false).unwrap();
    let base = BASE + (1 << 41);
    let here = Placement::At(base);
    let mapping = Mapping::map(file.as_fd(), 0, 1 << 20, here, Access::ReadWrite).unwrap();
    let mut mapping = std::mem::ManuallyDrop::new(mapping);
    // SAFETY: the child makes system calls only, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let free = is_free(base, 1 << 20) && !mapping.is_ours();
        // SAFETY: a new mapping at a place that was just seen to be free.
        let own = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::without_provenance_mut(base),
                1 << 20,
                rustix::mm::ProtFlags::READ,
                rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED_NOREPLACE,
            )
        };
        // SAFETY: dropped once in this process.
        unsafe { std::mem::ManuallyDrop::drop(&mut mapping) };
        let good = free && own.is_ok() && !is_free(base, 1 << 20);
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    // SAFETY: dropped once in this process.
    unsafe { std::mem::ManuallyDrop::drop(&mut mapping) };
    assert!(is_free(base, 1 << 20));
}
