//! One thread of another process, stepped instruction by instruction or run to a chosen one.
//!
//! The traced process was forked from this one, so what lies at an address of its program lies there here, too: its next
//! instruction is read from our own memory. It runs to the next mark, an `int3`, at full speed; a hardware breakpoint
//! (a debug register of that thread alone) stops it before a chosen instruction, so the program itself is never changed.

#![allow(unsafe_code)] // ptrace, and reading instructions where they lie.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libc::{c_long, c_void, pid_t};

/// How a stretch of running ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// After one instruction, before a breakpoint, or behind a mark.
    Here,
    /// It sleeps in the kernel.
    Asleep,
    /// It runs and runs.
    Busy,
    /// The process is no more: its signal, or its exit code.
    Gone { signal: i32, code: i32 },
    /// It got a signal that nobody expects.
    Signal(i32),
}

/// A traced thread.
pub struct Traced {
    pub pid: pid_t,
    pub tid: pid_t,
    /// It was resumed and has not stopped since.
    running: bool,
    /// Another thread of its process, which stands still.
    beside: Option<pid_t>,
}

/// Registers that are of interest.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// The next instruction.
    pub rip: u64,
    /// What a mark says.
    pub rdi: u64,
    /// Before a system call: which.
    pub rax: u64,
}

const DEBUG_REGISTERS: usize = std::mem::offset_of!(libc::user, u_debugreg);

fn ptrace(request: u32, tid: pid_t, address: usize, data: usize) -> c_long {
    // SAFETY: the requests made here read and write nothing of this process, or what `data` points to (registers).
    unsafe { libc::ptrace(request, tid, address as *mut c_void, data as *mut c_void) }
}

/// Lets the parent trace this process, which is about to run to a mark.
pub fn trace_me() {
    ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
}

/// Says in a process that nobody traces it any more. Written by the tracer, where the child has it.
static IS_ALONE: AtomicU64 = AtomicU64::new(0);

/// Where the tracer is told that the operation begins, or ends with this outcome.
#[inline(never)]
pub fn mark(outcome: u64) {
    // SAFETY: a trap; whoever traces this process goes on behind it.
    unsafe { std::arch::asm!("int3", in("rdi") outcome, options(nostack)) };
}

/// The same at the end of an operation whose process may be alone by then.
///
/// A handler of the signal would not do: a breakpoint that is met where all signals are blocked takes it away.
#[inline(never)]
pub fn mark_end(outcome: u64) {
    if IS_ALONE.load(Relaxed) == 0 {
        mark(outcome);
    }
}

/// SIGCHLD is blocked, so that [`Traced::wait`] can sleep until a child stops, and no longer than it wants.
pub fn block_child_signals() {
    let set = child_signals();
    // SAFETY: a set that was initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

fn child_signals() -> libc::sigset_t {
    // SAFETY: all zero is a value of the type, and sigemptyset initialises it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        set
    }
}

impl Traced {
    /// A child that called [`trace_me`] and runs to its first mark.
    pub fn child(pid: pid_t) -> Traced {
        Traced { pid, tid: pid, running: true, beside: None }
    }

    /// Another thread of a process: stopped where it is.
    pub fn seize(pid: pid_t, tid: pid_t) -> Option<Traced> {
        if ptrace(libc::PTRACE_SEIZE, tid, 0, 0) != 0 || ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) != 0 {
            return None;
        }
        let mut traced = Traced { pid, tid, running: true, beside: None };
        (traced.wait(Duration::from_secs(1), true) == Stop::Here).then_some(traced)
    }

    /// With another thread of the process, which stands still until the end.
    pub fn beside(self, still: Option<Traced>) -> Traced {
        Traced { beside: still.map(|still| still.tid), ..self }
    }

    /// Where it is.
    pub fn registers(&self) -> Registers {
        // SAFETY: all integers.
        let mut user: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        ptrace(libc::PTRACE_GETREGS, self.tid, 0, &raw mut user as usize);
        Registers { rip: user.rip, rdi: user.rdi, rax: user.rax }
    }

    /// Is the next instruction a system call?
    pub fn is_at_syscall(at: u64) -> bool {
        // SAFETY: the child executes it, and it has the same program at the same place as we do.
        unsafe { (at as *const [u8; 2]).read_unaligned() == [0x0f, 0x05] }
    }

    /// Does the next instruction lock a line: a LOCK prefix, or XCHG with memory?
    pub fn is_at_locked(at: u64) -> bool {
        // SAFETY: as above; an instruction has at most 15 bytes, and this program goes on behind it.
        let bytes = unsafe { (at as *const [u8; 16]).read_unaligned() };
        let is_prefix =
            |b: &u8| matches!(b, 0x66 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 | 0x40..=0x4f);
        let prefixes = bytes.iter().take_while(|b| is_prefix(b)).count().min(14);
        match bytes[prefixes] {
            0xf0 => true,
            0x86 | 0x87 => bytes[prefixes + 1] < 0xc0,
            _ => false,
        }
    }

    /// Is the next instruction a mark?
    pub fn is_at_mark(at: u64) -> bool {
        // SAFETY: as above.
        unsafe { (at as *const u8).read() == 0xcc }
    }

    /// Executes one instruction. It may sleep in it, if it is a system call.
    pub fn step(&mut self, may_sleep: bool, patience: Duration) -> Stop {
        if !self.running {
            ptrace(libc::PTRACE_SINGLESTEP, self.tid, 0, 0);
            self.running = true;
        }
        if may_sleep {
            return self.wait(patience, false);
        }
        loop {
            if let Some(stop) = self.look(0) {
                return stop;
            }
        }
    }

    /// Runs to the breakpoint, or to the next mark.
    pub fn run(&mut self, patience: Duration) -> Stop {
        if !self.running {
            ptrace(libc::PTRACE_CONT, self.tid, 0, 0);
            self.running = true;
        }
        self.wait(patience, false)
    }

    /// Stops before this instruction from now on.
    pub fn set_breakpoint(&self, at: u64) -> bool {
        ptrace(libc::PTRACE_POKEUSER, self.tid, DEBUG_REGISTERS, at as usize) == 0
            && ptrace(libc::PTRACE_POKEUSER, self.tid, DEBUG_REGISTERS + 7 * 8, 1) == 0
    }

    /// Never any more.
    pub fn clear_breakpoint(&self) {
        ptrace(libc::PTRACE_POKEUSER, self.tid, DEBUG_REGISTERS + 7 * 8, 0);
    }

    /// Kills it, wherever it is, and waits until it is no more.
    pub fn kill(&mut self) {
        // SAFETY: a child of ours that was not waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        if self.tid != self.pid {
            // A traced thread is not gone before its tracer has been told.
            self.reap(self.tid);
            self.beside.into_iter().for_each(|tid| self.reap(tid));
        }
        self.reap(self.pid);
    }

    /// Takes note of everything that a thread has to say, until it is gone.
    fn reap(&self, tid: pid_t) {
        let mut status = 0;
        // SAFETY: `status` is ours.
        while unsafe { libc::waitpid(tid, &mut status, libc::__WALL) } == tid
            && !libc::WIFEXITED(status)
            && !libc::WIFSIGNALED(status)
        {}
    }

    /// Lets it go, stopped by a real SIGSTOP: all its threads.
    pub fn leave_stopped(&mut self) {
        if self.running {
            // It sleeps in the kernel: nothing to let go of before it has stopped.
            // SAFETY: a child of ours that was not waited for.
            unsafe { libc::kill(self.pid, libc::SIGSTOP) };
            let mut status = 0;
            // SAFETY: `status` is ours.
            unsafe { libc::waitpid(self.tid, &mut status, libc::__WALL) };
            self.running = false;
        }
        ptrace(libc::PTRACE_POKEDATA, self.tid, IS_ALONE.as_ptr() as usize, 1);
        self.pass_end_mark();
        ptrace(libc::PTRACE_DETACH, self.tid, 0, libc::SIGSTOP as usize);
    }

    /// If it has seen that it is traced, and is on its way to the mark at the end: it comes behind that.
    fn pass_end_mark(&mut self) {
        /// More than either function is long.
        const BYTES: u64 = 64;
        let within = |at: u64, function: fn(u64)| at.wrapping_sub(function as usize as u64) < BYTES;
        for _ in 0..BYTES {
            let at = self.registers().rip;
            if !within(at, mark_end) && !within(at, mark) {
                return;
            }
            let passes = Traced::is_at_mark(at);
            self.step(false, Duration::MAX);
            if passes {
                return;
            }
        }
    }

    /// Lets it go on, untraced.
    pub fn resume_stopped(&mut self) {
        // SAFETY: a child of ours that was not waited for.
        unsafe { libc::kill(self.pid, libc::SIGCONT) };
    }

    /// Waits for an untraced one to end; gives its exit code, or the signal that killed it.
    pub fn finish(&mut self, within: Duration) -> Option<Result<i32, i32>> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            match self.look(libc::WNOHANG) {
                Some(Stop::Gone { code, signal: 0 }) => return Some(Ok(code)),
                Some(Stop::Gone { signal, .. }) => return Some(Err(signal)),
                _ => {}
            }
            sleep_until_child_signal(Duration::from_millis(1));
        }
        None
    }

    /// What has happened, if anything has.
    fn look(&mut self, flags: i32) -> Option<Stop> {
        let mut status = 0;
        // SAFETY: `status` is ours.
        let got = unsafe { libc::waitpid(self.tid, &mut status, libc::__WALL | flags) };
        if got != self.tid {
            return None;
        }
        self.running = false;
        if libc::WIFEXITED(status) {
            return Some(Stop::Gone { signal: 0, code: libc::WEXITSTATUS(status) });
        }
        if libc::WIFSIGNALED(status) {
            return Some(Stop::Gone { signal: libc::WTERMSIG(status), code: 0 });
        }
        Some(match libc::WSTOPSIG(status) {
            libc::SIGTRAP => Stop::Here,
            other => Stop::Signal(other),
        })
    }

    /// Waits for a stop; tells after a moment that it sleeps, and after `patience` that it is busy.
    fn wait(&mut self, patience: Duration, stop_expected: bool) -> Stop {
        let begun = Instant::now();
        let mut asleep = 0;
        loop {
            if let Some(stop) = self.look(libc::WNOHANG) {
                return stop;
            }
            let nap = if asleep == 0 { 300 } else { 100 };
            sleep_until_child_signal(Duration::from_micros(nap));
            if stop_expected {
                continue;
            }
            asleep = if self.sleeps() { asleep + 1 } else { 0 };
            if asleep >= 3 {
                // A stop between the look and this one wins.
                return self.look(libc::WNOHANG).unwrap_or(Stop::Asleep);
            }
            if begun.elapsed() > patience {
                return Stop::Busy;
            }
        }
    }

    fn sleeps(&self) -> bool {
        state(self.pid, self.tid) == Some('S')
    }
}

fn sleep_until_child_signal(most: Duration) {
    let set = child_signals();
    let time = libc::timespec { tv_sec: 0, tv_nsec: most.as_nanos() as i64 };
    // SAFETY: both are ours; no information is asked for.
    unsafe { libc::sigtimedwait(&set, std::ptr::null_mut(), &time) };
}

/// The kernel's letter for the state of a thread.
pub fn state(pid: pid_t, tid: pid_t) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// The thread of a process that has this name.
pub fn thread_called(pid: pid_t, name: &str) -> Option<pid_t> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let called = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        (called.trim() == name).then(|| thread.file_name().to_str()?.parse().ok())?
    })
}

/// Are all threads of a process stopped, or is it gone?
pub fn is_stopped(pid: pid_t) -> bool {
    states(pid).into_iter().all(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// Waits until all threads of a process have slept, or stood, for a moment; not for ever.
pub fn await_quiet(pid: pid_t) {
    let mut looks = 0;
    for _ in 0..1_000 {
        let quiet = states(pid).into_iter().all(|state| matches!(state, 'S' | 't'));
        looks = if quiet { looks + 1 } else { 0 };
        if looks == 3 {
            return;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Of each thread of a process that is there still.
fn states(pid: pid_t) -> Vec<char> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    numbers.filter_map(|tid| state(pid, tid)).collect()
}
