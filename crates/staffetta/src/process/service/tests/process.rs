//! The one who gives orders to members in other processes.

use super::PATIENCE;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A member in a process of its own; killed when dropped.
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) orders: ChildStdin,
    pub(super) answers: BufReader<ChildStdout>,
    pub(super) slot: u16,
}

impl Process {
    /// Starts a member without waiting for it to have joined.
    pub(super) fn launch(wrapper: &[&str], place: &str, name: &str) -> Child {
        let program = std::env::current_exe().unwrap();
        let mut words: Vec<_> = wrapper.iter().map(PathBuf::from).collect();
        words.push(program);
        Command::new(&words[0])
            .args(&words[1..])
            .args(["process::service::tests::member::member", "--exact", "--nocapture"])
            .env("STAFFETTA_TEST_NAME", name)
            .env("STAFFETTA_TEST_PLACE", place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until it has joined.
    pub(super) fn joined(mut child: Child) -> Self {
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, orders, answers, slot: 0 };
        process.slot = process.answer().parse().unwrap();
        process
    }

    pub(super) fn start(place: &str, name: &str) -> Self {
        Self::joined(Self::launch(&[], place, name))
    }

    /// Several, joining all at once.
    pub(super) fn crowd(count: usize, name: &str) -> Vec<Self> {
        let children: Vec<_> = (0..count).map(|_| Self::launch(&[], "", name)).collect();
        children.into_iter().map(Self::joined).collect()
    }

    pub(super) fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let len = self.answers.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "the member has ended");
            // The test harness of the other side prints lines of its own, some without an end.
            if let Some((_, answer)) = line.split_once('@') {
                return answer.trim_end().to_owned();
            }
        }
    }

    pub(super) fn ask(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    /// Asks, and leaves the answer for later.
    pub(super) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Asks until the answer is the one expected.
    #[track_caller]
    pub(super) fn expect(&mut self, order: &str, expected: &str) {
        let start = Instant::now();
        loop {
            let answer = self.ask(order);
            if answer == expected {
                return;
            }
            let waited = start.elapsed();
            assert!(
                waited < PATIENCE,
                "member {}: {order}: {answer}, not {expected}, after {waited:?}",
                self.slot
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        use rustix::process::{kill_process, waitid, Pid, WaitId, WaitIdOptions};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            // Stopping takes a moment: each of its threads has to notice.
            waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
        }
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
