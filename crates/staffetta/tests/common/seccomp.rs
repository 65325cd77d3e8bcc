//! System call filters for a process that a test starts: what a sandbox or a container refuses.

use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::c_long;

/// A system call, and the error that it ends with.
pub type Refused = (c_long, i32);

/// Flags of `clone` that make new namespaces.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// What Docker's default profile refuses to a container without extra capabilities, as its documentation
/// lists it ("Significant syscalls blocked by the default profile"), with what older versions of it refused
/// in addition.
pub fn docker() -> Vec<Refused> {
    let mut calls = vec![
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_finit_module,
        libc::SYS_get_mempolicy,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kcmp,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_mbind,
        libc::SYS_mount,
        libc::SYS_move_pages,
        libc::SYS_open_by_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_personality,
        libc::SYS_pidfd_getfd,
        libc::SYS_pivot_root,
        libc::SYS_process_madvise,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_set_mempolicy,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_ioperm,
        libc::SYS_iopl,
        libc::SYS_nfsservctl,
        libc::SYS_sysfs,
        libc::SYS_uselib,
        libc::SYS_ustat,
    ]);
    let mut refused: Vec<Refused> = calls.into_iter().map(|call| (call, libc::EPERM)).collect();
    // Its flags lie in memory, where a filter cannot look: the C library takes `clone` instead.
    refused.push((libc::SYS_clone3, libc::ENOSYS));
    refused
}

/// Lets the command run, and all that it starts, without these calls, and without new namespaces.
pub fn without(command: &mut Command, refused: &[Refused]) {
    under(command, program(refused));
}

/// Lets the command run, and all that it starts, as on Linux 5.3: later system calls, and later flags of those that we make, are
/// not known.
pub fn as_on_5_3(command: &mut Command) {
    /// `clone3` came with 5.3 as well, but containers of that time refused it; from it on numbers are the same everywhere.
    const FIRST_LATER: u32 = 435;
    /// `MADV_COLD`, of 5.4; the ones after it are later still.
    const LATER_ADVICE: u32 = 20;
    let at_least = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, value, jt, jf);
    let mut program = vec![load(ARCHITECTURE), is(OWN_ARCHITECTURE, 1, 0), error(libc::ENOSYS), load(NUMBER)];
    program.extend([at_least(FIRST_LATER, 0, 1), error(libc::ENOSYS)]);
    program.extend([is(libc::SYS_memfd_create as u32, 0, 3), load(argument(1)), has(MFD_NOEXEC_SEAL, 0, 5)]);
    program.extend([error(libc::EINVAL)]);
    program.extend([is(libc::SYS_madvise as u32, 0, 3), load(argument(2)), at_least(LATER_ADVICE, 0, 1)]);
    program.extend([error(libc::EINVAL), end(libc::SECCOMP_RET_ALLOW)]);
    under(command, program);
}

/// Of 6.3.
const MFD_NOEXEC_SEAL: u32 = 8;

/// Installs a filter in the command before it runs.
fn under(command: &mut Command, program: Vec<libc::sock_filter>) {
    // SAFETY: only async-signal-safe system calls between fork and exec; `program` is moved in and alive.
    unsafe {
        command.pre_exec(move || {
            let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            let done = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0;
            match done {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// The low half of an argument, on little-endian machines.
const fn argument(number: u32) -> u32 {
    16 + 8 * number
}

#[cfg(target_arch = "x86_64")]
const OWN_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ARCHITECTURE: u32 = 0xc000_00b7;

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn load(from: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, from, 0, 0)
}

fn is(value: u32, jt: u8, jf: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf)
}

fn has(bits: u32, jt: u8, jf: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits, jt, jf)
}

fn end(with: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, with, 0, 0)
}

fn error(errno: i32) -> libc::sock_filter {
    end(libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// As a program of the kernel's packet filter.
fn program(refused: &[Refused]) -> Vec<libc::sock_filter> {
    let mut program = vec![load(ARCHITECTURE), is(OWN_ARCHITECTURE, 1, 0), error(libc::ENOSYS), load(NUMBER)];
    for &(call, errno) in refused {
        program.extend([is(call as u32, 0, 1), error(errno)]);
    }
    program.extend([
        is(libc::SYS_clone as u32, 0, 3),
        load(argument(0)),
        has(NAMESPACES, 0, 1),
        error(libc::EPERM),
        end(libc::SECCOMP_RET_ALLOW),
    ]);
    program
}
