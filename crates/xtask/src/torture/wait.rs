//! Waiting for what must happen. What has not happened after [`EVER`] hangs; who is not through [`SOON`] is looked at.
//!
//! The limit is long because waits of a second were seen where nothing hung, on a machine that was busy with something else. How
//! long waits really are is a figure of the line.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What has not happened in this time never does.
pub const EVER: Duration = Duration::from_secs(15);
/// What takes longer is strange.
const SOON: Duration = Duration::from_secs(1);

/// How long it took to come true.
#[derive(Debug)]
pub struct Waited {
    /// At most [`EVER`], if it came true.
    pub time: Duration,
    /// What the processes did when they were late.
    pub seen: Option<String>,
}

/// Until it is so. The error: what the children of this process were doing meanwhile.
pub fn until(nap: Duration, mut so: impl FnMut() -> bool) -> Result<Waited, String> {
    let begun = Instant::now();
    let mut seen = None;
    loop {
        if so() {
            return Ok(Waited { time: begun.elapsed(), seen });
        }
        if begun.elapsed() > SOON && seen.is_none() {
            seen = Some(children());
        }
        if begun.elapsed() > EVER {
            return Err(seen.unwrap_or_default());
        }
        std::thread::sleep(nap);
    }
}

/// What each thread of each child of this process does: its state, system call, place in the kernel, and CPU time in ticks.
fn children() -> String {
    let mine = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = mine.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: String = children.collect();
    let of = |pid: &str| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let threads: Vec<String> = threads.flatten().filter_map(|entry| thread(&entry.path())).collect();
        Some(format!("{pid}: {}", threads.join(", ")))
    };
    let all: Vec<String> = children.split_whitespace().filter_map(of).collect();
    format!("[{}]", all.join("; "))
}

fn thread(of: &Path) -> Option<String> {
    let read = |what: &str| fs::read_to_string(of.join(what)).unwrap_or_default();
    let stat = read("stat");
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    let call = read("syscall");
    let call: Vec<&str> = call.split_whitespace().take(4).collect();
    let (state, call, place) = (fields.first()?, call.join(" "), read("wchan"));
    Some(format!("{name} {state}, call {call}, in {place}, {ticks} ticks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_so_and_who_is_late_is_looked_at() {
        let mut looks = 0;
        let waited = until(Duration::ZERO, || {
            looks += 1;
            looks == 3
        });
        assert!(waited.is_ok_and(|waited| waited.seen.is_none()) && looks == 3);

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let begun = Instant::now();
        let late = until(Duration::from_millis(10), || begun.elapsed() > SOON * 5 / 4).unwrap();
        assert!(late.time > SOON);
        let (seen, pid) = (late.seen.unwrap(), child.id());
        assert!(seen.contains(&format!("{pid}: sleep S, call ")), "{seen}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
