//! Real processes for tests: a test starts its own binary again, in a role.
#![allow(dead_code, unsafe_code)]

pub mod flavor;
pub mod forked;
pub mod forms;
pub mod to_all;

use std::process::{Child, Command, Stdio};

use staffetta::{Carried, Domain, Receiver, Sender};

/// A name that no other test uses at the same time.
pub fn name(test: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Options for tests: a small window, so that the many domains of one test process find room side by side.
pub fn options() -> staffetta::DomainOptions {
    staffetta::Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 30)
}

/// Bytes in use, without those that free blocks keep, and entries: of a domain with a name.
pub fn in_use(domain: &staffetta::Domain) -> (u64, usize) {
    domain.trim().expect("trim");
    let observer = staffetta::inspect::Observer::of(domain.name().expect("a name")).expect("observe");
    let view = observer.look().expect("look");
    (view.memory_bytes - view.retained_bytes, view.entries_in_use)
}

/// As much is in use as before. After a death: whoever sweeps has told the others, and may not be through yet.
pub fn comes_back_to(domain: &staffetta::Domain, before: (u64, usize), what: &str) {
    let begun = std::time::Instant::now();
    while in_use(domain) != before && begun.elapsed() < std::time::Duration::from_secs(20) {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    assert_eq!(in_use(domain), before, "{what}: something leaked");
}

/// Starts this test binary again to play `role`; `arguments` reach it through [`role`].
pub fn start(role: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    die_with_parent(&mut command);
    play(&mut command, role, arguments).spawn().expect("start a process")
}

/// What makes a command that starts this test binary, perhaps by way of another program, play `role`.
pub fn play<'c>(command: &'c mut Command, role: &str, arguments: &[&str]) -> &'c mut Command {
    command
        .args(["--exact", "roles", "--nocapture", "--test-threads=1"])
        .env("STAFFETTA_TEST_ROLE", role)
        .env("STAFFETTA_TEST_ARGUMENTS", arguments.join("\u{1f}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
}

/// The role this process is to play, if any, and its arguments.
pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var("STAFFETTA_TEST_ROLE").ok()?;
    let arguments = std::env::var("STAFFETTA_TEST_ARGUMENTS").unwrap_or_default();
    Some((role, arguments.split('\u{1f}').map(str::to_owned).collect()))
}

/// Waits for a process and insists that it succeeded.
pub fn finish(mut child: Child) {
    let status = child.wait().expect("wait");
    assert!(status.success(), "a process in a role failed: {status}");
}

/// Kills a process in a role, which had not ended by itself.
pub fn kill(mut child: Child) {
    use std::os::unix::process::ExitStatusExt;
    child.kill().expect("kill");
    let status = child.wait().expect("wait");
    assert_eq!(status.signal(), Some(9), "a process in a role ended by itself: {status}");
}

/// What processes in roles say. The senders' lanes are made here, so that they are not taken for a leak later.
pub fn listen(domain: &Domain) -> Receiver<u64> {
    let channel = || domain.channel("ready").many_to_one(8);
    drop((0..8).map(|_| channel().sender::<u64>().unwrap()).collect::<Vec<_>>());
    channel().receiver::<u64>().unwrap()
}

/// A channel without a name of this form.
pub fn pair<T: Carried>(domain: &Domain, form: &str) -> (Sender<T>, Receiver<T>) {
    let channel = domain.channel("");
    let channel = match form {
        "basic" => channel.basic(2),
        "buffered" => channel.buffered(2),
        "bounded" => channel.bounded(2),
        "many-to-one" => channel.many_to_one(2),
        "work queue" => channel.work_queue(2),
        _ => channel.rendezvous(),
    };
    channel.unnamed().unwrap()
}

/// A test that fails or is killed leaves no process behind.
pub fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: one async-signal-safe system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
}

/// A test that hangs fails, aloud: the whole program ends if this is not dropped in time. Generous: it tells "for
/// ever" from "slow", nothing else.
pub struct Watchdog(std::sync::Arc<std::sync::atomic::AtomicBool>);

pub fn watchdog(what: &str, seconds: u64) -> Watchdog {
    use std::sync::atomic::{AtomicBool, Ordering};
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let (seen, what) = (over.clone(), what.to_owned());
    std::thread::spawn(move || {
        for _ in 0..seconds * 10 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            if seen.load(Ordering::Relaxed) {
                return;
            }
        }
        eprintln!("HANG: {what} is not over after {seconds} s");
        std::process::abort();
    });
    Watchdog(over)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Random numbers that can be had again: xorshift, the seed from STAFFETTA_TEST_SEED or the clock, printed.
pub struct Random(u64);

impl Random {
    pub fn new(test: &str) -> Random {
        let seed = std::env::var("STAFFETTA_TEST_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64 | 1);
        eprintln!("{test}: STAFFETTA_TEST_SEED={seed}");
        Random(seed | 1)
    }

    pub fn seeded(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Waits until something is so; the watchdog says if it never is.
pub fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}
