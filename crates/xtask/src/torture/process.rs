//! Processes of the battery: this program again, in a role.

#![allow(unsafe_code)] // What a child does between fork and exec.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process in a role. Killed, and waited for, when dropped.
pub struct Process(pub Child);

/// Starts this program in a role of [`super::ROLES`]; its standard input and output are pipes to us.
pub fn start(role: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.arg("role").arg(role).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: one async-signal-safe system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
    Process(command.spawn().expect("start a process"))
}

impl Process {
    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends it a signal. It must not have been waited for.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal);
    }

    /// Waits for it to end by itself. None: it does not in this time.
    pub fn finish(&mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
