//! What the processes of the row do: the victim, whoever starts it, and a bystander.

#![allow(unsafe_code)] // Crashes, raw system calls.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use staffetta::{Domain, Wait};

use super::partners::Ends;
use crate::torture::Role;

pub const ROLES: [Role; 3] = [("life-victim", victim), ("life-wrap", wrap), ("life-bystander", bystander)];

/// The domain of the row, by name or in a directory.
pub fn open(name: &str, directory: &str) -> Domain {
    let options = Domain::options().window_bytes(16 << 30).memory_max_bytes(256 << 20);
    let options = if directory.is_empty() { options } else { options.directory(directory) };
    options.open(name).expect("the domain")
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3_600));
    }
}

/// Holds the other end of all partners, and does what it is told.
fn victim(arguments: &[String]) {
    let domain = open(&arguments[0], &arguments[1]);
    // SAFETY: names the main thread.
    let main = unsafe { libc::syscall(libc::SYS_gettid) };
    let (leave, left) = std::sync::mpsc::channel::<()>();
    // Not the main thread: that one may end before the others.
    std::thread::spawn(move || {
        let ends = Ends::attach(&domain);
        ends.take_call();
        say(&format!("ready {main}"));
        let pulse = domain.channel("life pulse").buffered(4).sender::<u64>().expect("attach");
        let spare = domain.channel("life spare").rendezvous().sender::<u64>().expect("attach");
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "pulse" => drop(pulse.send_timeout(1, Duration::from_secs(5))),
                "leader" => {
                    let _ = leave.send(());
                    while status_of(main as i32) != Some('Z') {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    say("done");
                }
                "threads" => {
                    threads(&domain);
                    say("done");
                }
                "children" => {
                    children();
                    say("done");
                }
                end => go(&domain, end),
            }
        }
        drop((ends, spare));
        std::process::exit(0);
    });
    let _ = left.recv();
    // SAFETY: ends the main thread, and only it: its frames stay, nothing is run.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Ends this process as the order says.
fn go(domain: &Domain, order: &str) {
    match order {
        "segv" => {
            no_core();
            // SAFETY: none: it must fault.
            unsafe { std::ptr::null_mut::<u8>().wrapping_add(64).write_volatile(1) }
        }
        "abort" => {
            no_core();
            std::process::abort()
        }
        // SAFETY: ends the process; nothing is run.
        "_exit" => unsafe { libc::_exit(0) },
        // The main thread is gone, so this is the last one of the program; the library's own goes with the process.
        // SAFETY: as above.
        "last" => unsafe { libc::_exit(0) },
        "exit" => {
            let other = domain.clone();
            std::thread::spawn(move || {
                let rx = other.channel("life own").buffered(1).wait(Wait::Park).receiver::<u64>();
                let _ = rx.expect("attach").recv();
            });
            std::thread::sleep(Duration::from_millis(2));
            std::process::exit(0)
        }
        "exec" => exec(),
        "fork and exec" => {
            fork_one();
            exec()
        }
        "close" => {
            // SAFETY: none: a program that closes descriptors which are not its own.
            unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            for_ever()
        }
        "fork and exit" => {
            fork_one();
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        "spawn and exit" => {
            let mut command = Command::new("sleep");
            command.arg("8").stdin(Stdio::null()).stdout(Stdio::null());
            // SAFETY: nothing is done; with it the child is forked, not spawned.
            unsafe { command.pre_exec(|| Ok(())) };
            let forked = command.spawn();
            let spawned = Command::new("sleep").arg("8").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            drop((forked, spawned));
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        "vfork and exit" => {
            std::thread::spawn(|| clone_one(libc::CLONE_VM | libc::CLONE_VFORK));
            std::thread::sleep(Duration::from_millis(2));
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        "clone and exit" => {
            clone_one(0);
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        other => panic!("no order {other:?}"),
    }
}

/// Becomes another program, which ends with whoever started us: that was said for the main thread only.
fn exec() -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let why = Command::new("sleep").arg("60").stdin(Stdio::null()).stderr(Stdio::null()).exec();
    panic!("{why}")
}

/// A crash that is meant leaves no core file.
fn no_core() {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call on a local struct.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
}

/// Ends by itself when the test must be long over, since its parent does not end it.
extern "C" fn hang(_: *mut libc::c_void) -> libc::c_int {
    // SAFETY: plain system calls.
    unsafe {
        libc::alarm(8);
        loop {
            libc::pause();
        }
    }
}

/// A forked child that does nothing and goes on for a while.
fn fork_one() {
    // SAFETY: the child makes plain system calls only.
    if unsafe { libc::fork() } == 0 {
        hang(std::ptr::null_mut());
    }
}

/// A child that was made without the C library's knowledge: no fork handler has run, all descriptors are there.
fn clone_one(flags: libc::c_int) {
    let stack = Box::leak(vec![0_u128; 4_096].into_boxed_slice());
    // SAFETY: a stack of its own, given for ever; the child makes plain system calls only.
    let child = unsafe {
        libc::clone(hang, stack.as_mut_ptr_range().end.cast(), flags | libc::SIGCHLD, std::ptr::null_mut())
    };
    assert!(child > 0);
}

/// Threads that come and go as threads do not: with a panic in a wait, and without any ado.
fn threads(domain: &Domain) {
    std::panic::set_hook(Box::new(|_| {}));
    for how in 0..3 {
        let domain = domain.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let rx =
                domain.channel("life own").buffered(1).wait(Wait::Park).receiver::<u64>().expect("attach");
            let _ = rx.recv_timeout(Duration::from_millis(2));
            let _ = tell.send(());
            match how {
                0 => {}
                1 => panic!("meant"),
                // SAFETY: ends this thread only; what it holds stays held.
                _ => unsafe {
                    libc::syscall(libc::SYS_exit, 0);
                },
            }
        });
        let _ = told.recv();
        if how < 2 {
            let _ = thread.join();
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Children that were forked, and ended or became other programs.
fn children() {
    // SAFETY: the child ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let mut command = Command::new("true");
    // SAFETY: nothing is done; with it the child is forked, not spawned.
    unsafe { command.stdin(Stdio::null()).stdout(Stdio::null()).pre_exec(|| Ok(())) };
    let _ = command.status();
    let _ = Command::new("true").stdin(Stdio::null()).stdout(Stdio::null()).status();
}

fn status_of(pid: i32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// Becomes the tracer of a process, all of its threads, and stops it. Gives the threads.
pub fn trace(pid: i32) -> std::io::Result<Vec<i32>> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let mut traced = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let Some(thread) = thread.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // SAFETY: neither call touches memory of ours.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, thread, nothing, nothing) != 0
                || libc::ptrace(libc::PTRACE_INTERRUPT, thread, nothing, nothing) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
        }
        traced.push(thread);
    }
    Ok(traced)
}

/// Waits for the ends of threads that were traced: without that their process cannot be waited for.
pub fn reap(pid: i32, traced: &[i32]) {
    for thread in traced.iter().filter(|thread| **thread != pid) {
        let mut status = 0;
        // SAFETY: waits for what we trace.
        while unsafe { libc::waitpid(*thread, &mut status, libc::__WALL) } == *thread
            && libc::WIFSTOPPED(status)
        {}
    }
}

/// Starts the victim with something between us and it.
fn wrap(arguments: &[String]) {
    let [name, directory, how] = arguments else { panic!("three arguments") };
    let spaces = match how.as_str() {
        "pid" => libc::CLONE_NEWPID,
        "net" => libc::CLONE_NEWPID | libc::CLONE_NEWNET,
        _ => 0,
    };
    if spaces != 0 {
        if let Err(why) = unshare(spaces) {
            say(&format!("skipped no new namespaces: {why}"));
            return;
        }
    }
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["role", "life-victim", name, directory]);
    // SAFETY: one async-signal-safe system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
    let child = command.spawn().expect("start the victim");
    std::mem::forget(child);
    for_ever();
}

/// New namespaces for our children; with a user namespace if that is what it takes.
pub fn unshare(spaces: libc::c_int) -> std::io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: plain system calls; there is one thread.
    unsafe {
        if libc::unshare(spaces) == 0 {
            return Ok(());
        }
        if libc::unshare(spaces | libc::CLONE_NEWUSER) != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    let _ = std::fs::write("/proc/self/setgroups", "deny");
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Has nothing to do with any of it.
fn bystander(arguments: &[String]) {
    let domain = open(&arguments[0], &arguments[1]);
    let _quiet = [0, 1]
        .map(|n| domain.channel(&format!("bystander {n}")).buffered(2).sender::<u64>().expect("attach"));
    let rx = domain.channel("bystander 2").buffered(2).wait(Wait::Park).receiver::<u64>().expect("attach");
    let pid = std::process::id();
    say(&format!("/proc/{pid}/task/{}/status", rustix::thread::gettid().as_raw_nonzero()));
    let _ = rx.recv();
}
