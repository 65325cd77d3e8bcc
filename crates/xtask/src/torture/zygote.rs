//! Processes that start quickly: forked from one that has joined no domain and has one thread.
//!
//! Whoever forks is the parent: it kills and reaps, so that no process id is used again behind its back.

#![allow(unsafe_code)] // fork.

use std::time::Duration;

use rustix::process::{kill_process, waitpid, Pid, Signal, WaitOptions, WaitStatus};

use super::wait::{self, Waited};

/// A forked process. Killed and reaped when dropped.
pub struct Forked {
    pid: Option<Pid>,
}

/// Forks; the child does `play`, and ends. The caller must have one thread, and be in no domain.
///
/// A child dies with its parent.
pub fn fork(play: impl FnOnce()) -> Forked {
    // SAFETY: this process has one thread, so the child may do whatever the parent might.
    match unsafe { libc::fork() } {
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(play)).is_ok();
            // SAFETY: ends the process, without what the parent has registered for its own end.
            unsafe { libc::_exit(if well { 0 } else { PANICKED }) }
        }
        pid => Forked { pid: Some(Pid::from_raw(pid).expect("fork")) },
    }
}

/// How a child ends that panicked.
pub const PANICKED: i32 = 101;

impl Forked {
    /// Its process id, while it was not reaped.
    pub fn pid(&self) -> Option<u32> {
        self.pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for the end. None: it had been reaped.
    pub fn kill(&mut self) -> Option<WaitStatus> {
        self.signal(Signal::KILL);
        self.reap(true)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<WaitStatus> {
        self.reap(false)
    }

    /// Waits for it to end by itself; tells how. The error: it does not.
    pub fn finish(&mut self) -> Result<(WaitStatus, Waited), String> {
        let mut status = None;
        let waited = wait::until(Duration::from_micros(100), || {
            status = self.ended();
            status.is_some()
        })?;
        Ok((status.ok_or("it had been reaped")?, waited))
    }

    fn reap(&mut self, wait: bool) -> Option<WaitStatus> {
        let options = if wait { WaitOptions::empty() } else { WaitOptions::NOHANG };
        let (_, status) = waitpid(Some(self.pid?), options).ok()??;
        self.pid = None;
        Some(status)
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
    }
}
