//! The coordinator's side: starts the two processes, waits for their answers, ends them.

use super::side::Role;
use super::wire::{wait_any, Wire};
use crate::failure::Failure;
use crate::interrupt;
use rustix::fd::BorrowedFd;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

/// How often a waiting coordinator looks up: it runs on a core that may be measured, so not too often.
/// A signal ends the wait at once.
#[derive(Clone, Copy)]
pub struct LookEvery {
    /// Milliseconds.
    pub ms: i64,
}

/// Two running processes. Dropping it kills both and waits until they are gone.
pub struct Pair {
    children: [Child; 2],
    wires: [Wire; 2],
}

impl Pair {
    /// Starts two processes in the given roles; `extra` is passed to both.
    pub fn start(roles: [Role; 2], extra: &[String]) -> Result<Pair, Failure> {
        let cannot = |error| Failure::os("cannot make the sockets between the processes", error);
        let (link_first, link_second) = Wire::pair().map_err(cannot)?;
        let (control_first, side_first) = Wire::pair().map_err(cannot)?;
        let (control_second, side_second) = Wire::pair().map_err(cannot)?;
        let start = |role: Role, control, link| {
            // The running program itself, even when the file has been replaced meanwhile.
            Command::new("/proc/self/exe")
                .arg0("staffetta")
                .args(["__side", role.word(), "--parent", &std::process::id().to_string()])
                .args(extra)
                .stdin(std::process::Stdio::from(control))
                .stdout(std::process::Stdio::from(link))
                .spawn()
                .map_err(|error| Failure::os("cannot start a second process from /proc/self/exe", error))
        };
        let mut first = start(roles[0], side_first, link_first)?;
        let second = match start(roles[1], side_second, link_second) {
            Ok(second) => second,
            Err(failure) => {
                end(&mut first);
                return Err(failure);
            }
        };
        Ok(Pair { children: [first, second], wires: [Wire::new(control_first), Wire::new(control_second)] })
    }

    /// Gives an order to one process, with descriptors if it needs them.
    pub fn order<T: Serialize>(&mut self, side: usize, order: &T, fds: &[BorrowedFd]) -> Result<(), Failure> {
        self.wires[side].send_with(order, fds).map_err(|_| self.why_gone(side))
    }

    /// Waits for the first answer of any of `sides`, and tells whose it is; meanwhile calls `look`.
    pub fn answer_of<T: DeserializeOwned>(
        &mut self,
        sides: &[usize],
        every: LookEvery,
        look: &mut dyn FnMut(),
    ) -> Result<(usize, T), Failure> {
        loop {
            interrupt::check()?;
            look();
            let wires: Vec<&Wire> = sides.iter().map(|&side| &self.wires[side]).collect();
            let ready = wait_any(&wires, every.ms)
                .map_err(|error| Failure::os("cannot wait for the processes", error))?;
            if let Some(ready) = ready {
                let side = sides[ready];
                return match self.wires[side].recv() {
                    Ok(answer) => Ok((side, answer)),
                    Err(_) => Err(self.why_gone(side)),
                };
            }
            // A process that waits for one that has died may never answer.
            for side in 0..self.children.len() {
                if matches!(self.children[side].try_wait(), Ok(Some(_))) {
                    return Err(self.why_gone(side));
                }
            }
        }
    }

    /// Why a process no longer answers.
    fn why_gone(&mut self, side: usize) -> Failure {
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        // Its wire is closed, so it is ending; if it is not, it is no use to us any more.
        let status = match wait_a_moment(&mut self.children[side]) {
            Some(status) => status,
            None => {
                end(&mut self.children[side]);
                return Failure::Mechanism("one of the two processes stopped answering".into());
            }
        };
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        match status.signal() {
            Some(signal) if interrupt::is_request(signal) => Failure::Interrupted(signal),
            Some(9) => Failure::Environment(
                "one of the two processes was killed (out of memory? see `dmesg`); \
                 try a smaller file or message size"
                    .into(),
            ),
            _ => Failure::Mechanism(format!("one of the two processes ended early: {status}")),
        }
    }
}

fn wait_a_moment(child: &mut Child) -> Option<std::process::ExitStatus> {
    for _ in 0..100 {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    None
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}
