//! Processes with fewer rights, less memory or another view of the machine than usual: other users,
//! sandboxes, containers, control groups, strict overcommit. Each is had for real; where the machine does not
//! permit it, the test says `skipped` and why.
#![allow(unsafe_code)]
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] // the filters name system calls by number

mod common;
#[path = "common/seccomp.rs"]
mod seccomp;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::forms::{receiver, sender, Form, When};
use common::{finish, name, play, role, start, until, watchdog};
use seccomp::Refused;
use staffetta::{
    AllocateError, Domain, DomainError, DomainOptions, Method, OpenError, Parcel, PlaceError, RecvError,
};

const MIB: u64 = 1 << 20;
/// A user that owns nothing here: `nobody` on most systems, and only a number in any case.
const OTHER_UID: u32 = 65_534;

/// This process becomes another user, for good.
fn become_other_user() {
    // SAFETY: plain system calls; the C library changes all threads together.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
        assert_eq!(libc::setresuid(OTHER_UID, OTHER_UID, OTHER_UID), 0);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn with_directory(directory: &str) -> DomainOptions {
    match directory {
        "" => common::options(),
        path => common::options().directory(path),
    }
}

/// Messages of every form and by every reference method, from one process to the other.
fn exchange(domain: &Domain, sends: bool) {
    const MESSAGES: u64 = 50;
    for form in Form::all() {
        let channel = format!("exchange-{}", form.code());
        if sends {
            let mut tx = sender(domain, &channel, form);
            (0..MESSAGES).for_each(|n| (tx.send)(n, When::Blocking).unwrap());
        } else {
            let mut rx = receiver(domain, &channel, form);
            (0..MESSAGES).for_each(|n| assert_eq!((rx.recv)(When::Blocking).unwrap(), n, "{form:?}"));
        }
    }
}

/// Fills the domain with parcels, each byte of them written, until it refuses; then all is well again.
fn fill(domain: &Domain, budget: u64) {
    const STEP: usize = 1 << 20;
    let (tx, rx) = domain.channel("").basic(1).unnamed::<Parcel<[u8]>>().unwrap();
    let mut sent = Parcel::<[u8]>::with_tail(domain, STEP).unwrap();
    sent.fill(7);
    tx.send(sent).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match Parcel::<[u8]>::with_tail(domain, STEP) {
            Ok(mut parcel) => {
                parcel.fill(1);
                held.push(parcel);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AllocateError::Full { .. }), "{error}");
    let filled = held.len() as u64 * STEP as u64;
    assert!(filled > budget / 4 * 3, "full with only {filled} bytes of {budget}");
    assert!(rx.recv().unwrap().iter().all(|byte| *byte == 7), "what was sent is untouched");
    drop(held);
    Parcel::<[u8]>::with_tail(domain, STEP).unwrap();
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 100);
    match role.as_str() {
        "exchange" => {
            let domain = with_directory(&arguments[1]).open(&arguments[0]).unwrap();
            exchange(&domain, arguments[2] == "sends");
        }
        "exchange on 5.3" => {
            // It is one: what came later is not known.
            for call in
                [libc::SYS_futex_waitv, libc::SYS_close_range, libc::SYS_pidfd_getfd, libc::SYS_clone3]
            {
                // SAFETY: arguments that each of them refuses.
                let answer = unsafe { libc::syscall(call, usize::MAX, 0, 0, 0, 0) };
                let errno = std::io::Error::last_os_error().raw_os_error();
                assert_eq!((answer, errno), (-1, Some(libc::ENOSYS)), "system call {call}");
            }
            // SAFETY: a constant text.
            assert_eq!(unsafe { libc::memfd_create(c"later".as_ptr(), libc::MFD_NOEXEC_SEAL) }, -1);
            let domain = common::options().open(&arguments[0]).unwrap();
            exchange(&domain, arguments[2] == "sends");
        }
        "vanish" => {
            let domain = with_directory(&arguments[1]).open(&arguments[0]).unwrap();
            let tx = domain.sender::<u64>("vanish").unwrap();
            tx.send(1).unwrap();
            // SAFETY: ends the process as a crash does: nothing is said, nothing dropped.
            unsafe { libc::_exit(9) };
        }
        // Another user holds a name of ours, until its input ends.
        "squat" => {
            become_other_user();
            let _held = packets(arguments[0].as_bytes());
            let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
        }
        // Another user meets what is ours.
        "stranger" => {
            become_other_user();
            let [name, theirs, directory] = &arguments[..] else { panic!("three arguments") };
            // The same name is another domain: names belong to users.
            let domain = common::options().create_new(name).unwrap();
            assert!(!domain.receiver::<u64>("c").unwrap().has_peer());
            // Our own name, held by the user who started us.
            for wanted in [DomainOptions::open, DomainOptions::join, DomainOptions::create_new] {
                held_by_another(wanted(&common::options(), theirs).unwrap_err(), 0, OTHER_UID);
            }
            let error = common::options().directory(directory).open(name).unwrap_err();
            assert!(matches!(&error, DomainError::Place(_)), "{error}");
            assert!(error.to_string().contains(directory), "{error}");
            // Knocking at the other user's door by hand: closed, and nothing comes out.
            let address = format!("staffetta/0/{name}");
            let socket = packets_to(address.as_bytes()).unwrap();
            let mut buffer = [0; 64];
            let _ = rustix::net::send(&socket, b"let me in", rustix::net::SendFlags::NOSIGNAL);
            let got = rustix::net::recv(&socket, &mut buffer, rustix::net::RecvFlags::empty());
            assert!(matches!(got, Ok((0, _)) | Err(rustix::io::Errno::CONNRESET)), "{got:?}");
        }
        // Neither a panic nor a hang, whatever is refused; and the error names it.
        "refused" => {
            let refused = arguments[1].as_str();
            let outcome = common::options().create().map(drop);
            let joined = common::options().join(&arguments[0]).map(|domain| {
                let tx = domain.sender::<u64>("c").unwrap();
                tx.send(1).unwrap();
                let parcels = domain.sender::<Parcel<u64>>("p").unwrap();
                parcels.send(Parcel::new(&domain, 2).unwrap()).unwrap();
                if refused == "memfd_create" {
                    let error = domain.parcels(Method::Capability).new(1_u64).err().unwrap();
                    assert!(matches!(error, AllocateError::System(_)), "{error}");
                    says_what_to_do(&error.to_string());
                }
                domain.trim().map(drop)
            });
            for error in [outcome.err(), joined.err()].into_iter().flatten() {
                eprintln!("{refused} refused: {error}");
                says_what_to_do(&error.to_string());
            }
        }
        "in-256-MiB" => {
            std::fs::write(&arguments[0], std::process::id().to_string()).unwrap();
            let domain = Domain::options().window_bytes(16 << 30).create().unwrap();
            let (budget, _) = domain.memory().unwrap();
            assert_eq!(budget, 128 * MIB, "half of the group's limit");
            fill(&domain, budget);
            let error = common::options().memory_max_bytes(300 * MIB).create().unwrap_err();
            assert!(matches!(error, DomainError::Budget { limit: 0x1000_0000, .. }), "{error}");
            assert!(error.to_string().contains("control group"), "{error}");
        }
        "strict" => {
            let domain = Domain::create().unwrap();
            let (budget, _) = domain.memory().unwrap();
            eprintln!("vm.overcommit_memory=2: a budget of {} MiB", budget / MIB);
            let error = common::options().memory_max_bytes(1 << 60).create().unwrap_err();
            assert!(matches!(error, DomainError::Budget { .. }), "{error}");
            assert!(error.to_string().contains("overcommit_memory"), "{error}");
            let small = common::options().memory_max_bytes(64 * MIB).create().unwrap();
            fill(&small, 64 * MIB);
        }
        other => panic!("no role {other}"),
    }
}

/// The sentence tells a person what can be changed.
fn says_what_to_do(text: &str) {
    let remedies = ["sandbox", "seccomp", "raise", "not permitted"];
    assert!(remedies.iter().any(|word| text.contains(word)), "it does not say what to do: {text}");
}

fn held_by_another(error: DomainError, by: u32, own: u32) {
    match &error {
        DomainError::Open(OpenError::ForeignUser { uid, own_uid, .. }) => {
            assert_eq!((*uid, *own_uid), (by, own), "{error}");
        }
        other => panic!("another user holds the name, and the error is: {other}"),
    }
    assert!(error.to_string().contains("choose another name"), "{error}");
}

/// A listening socket of the kind that domains use, at an abstract name.
fn packets(name: &[u8]) -> rustix::fd::OwnedFd {
    let address = rustix::net::SocketAddrUnix::new_abstract_name(name).unwrap();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None)
            .unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    socket
}

/// A connection to such a socket.
fn packets_to(name: &[u8]) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let address = rustix::net::SocketAddrUnix::new_abstract_name(name)?;
    let kind = rustix::net::SocketType::SEQPACKET;
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

#[test]
fn a_name_held_by_another_user() {
    let _watchdog = watchdog("another user", 60);
    if !is_root() {
        eprintln!("skipped: only root can start a process of another user");
        return;
    }
    let own = rustix::process::geteuid().as_raw();
    let squatted = name("squatted");
    let socket = format!("staffetta/{own}/{squatted}");
    let mut squatter = start("squat", &[&socket]);
    until(|| packets_to(socket.as_bytes()).is_ok());
    for wanted in [DomainOptions::open, DomainOptions::join, DomainOptions::create_new] {
        held_by_another(wanted(&common::options(), &squatted).unwrap_err(), OTHER_UID, own);
    }
    drop(squatter.stdin.take());
    finish(squatter);
    common::options().create_new(&squatted).unwrap();
    // The other direction: what is ours, seen by another user.
    let name = name("ours");
    let domain = common::options().create_new(&name).unwrap();
    let _tx = domain.sender::<u64>("c").unwrap();
    let theirs = format!("{name}-theirs");
    let _squat = packets(format!("staffetta/{OTHER_UID}/{theirs}").as_bytes());
    let directory = Directory::new("private");
    let inside = common::options().directory(&directory.0).create_new(&name).unwrap();
    finish(start("stranger", &[&name, &theirs, directory.path()]));
    // And a directory of another user's, seen by us.
    let foreign = Directory::new("foreign");
    std::os::unix::fs::chown(&foreign.0, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    let error = common::options().directory(&foreign.0).open(&name).unwrap_err();
    assert!(
        matches!(error, DomainError::Place(PlaceError::ForeignDirectory { uid: OTHER_UID, .. })),
        "{error}"
    );
    drop(inside);
}

/// A private directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(what: &str) -> Directory {
        let path = std::env::temp_dir().join(name(what));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Directory(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts this binary in a role under a filter; `None`, aloud, where filters are not permitted.
fn start_without(refused: &[Refused], role: &str, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    common::die_with_parent(&mut command);
    seccomp::without(&mut command, refused);
    match play(&mut command, role, arguments).spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("skipped: no system call filter can be installed: {error}");
            None
        }
    }
}

#[test]
fn calls_that_a_sandbox_refuses() {
    let _watchdog = watchdog("refused calls", 200);
    let name = name("refused");
    let domain = common::options().create_new(&name).unwrap();
    let calls = [
        ("memfd_create", libc::SYS_memfd_create),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("epoll_create1", libc::SYS_epoll_create1),
        ("eventfd2", libc::SYS_eventfd2),
        ("getrandom", libc::SYS_getrandom),
        ("socket", libc::SYS_socket),
        ("fallocate", libc::SYS_fallocate),
        ("sched_getaffinity", libc::SYS_sched_getaffinity),
    ];
    for (call, number) in calls {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let values = domain.receiver::<u64>("c").unwrap();
            let parcels = domain.receiver::<Parcel<u64>>("p").unwrap();
            let Some(mut child) = start_without(&[(number, errno)], "refused", &[&name, call]) else {
                return;
            };
            // Some of them join, and then send; some cannot.
            let (mut value, mut parcel) = (None, None);
            let status = loop {
                let soon = Duration::from_millis(10);
                value = value.or(values.recv_timeout(soon).ok());
                parcel = parcel.or(parcels.recv_timeout(soon).ok().map(|parcel| *parcel));
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
            };
            assert!(status.success(), "{call} refused with {errno}: {status}");
            if call == "memfd_create" {
                // A domain that exists needs no memory file of its own.
                assert_eq!((value, parcel), (Some(1), Some(2)));
            }
        }
    }
}

#[test]
fn everything_works_under_dockers_default_filter() {
    let _watchdog = watchdog("docker", 120);
    let (name, filter) = (name("docker"), seccomp::docker());
    let Some(sending) = start_without(&filter, "exchange", &[&name, "", "sends"]) else {
        return;
    };
    let receiving = start_without(&filter, "exchange", &[&name, "", "receives"]).unwrap();
    finish(sending);
    finish(receiving);
}

/// The smallest kernel that is promised, as far as the calls that it knows go; one without `futex_waitv`, too.
#[test]
fn everything_works_with_the_system_calls_of_5_3() {
    let _watchdog = watchdog("5.3", 120);
    let name = name("5.3");
    let start = |role: &str, arguments: &[&str]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        common::die_with_parent(&mut command);
        seccomp::as_on_5_3(&mut command);
        play(&mut command, role, arguments).spawn()
    };
    let sending = match start("exchange on 5.3", &[&name, "", "sends"]) {
        Ok(child) => child,
        Err(error) => return eprintln!("skipped: no system call filter can be installed: {error}"),
    };
    finish(start("exchange on 5.3", &[&name, "", "receives"]).unwrap());
    finish(sending);
    // A death is noticed there, too: by a member that knows no later call either.
    let domain = common::options().open(&name).unwrap();
    let rx = domain.receiver::<u64>("vanish").unwrap();
    let mut vanishing = start("vanish", &[&name, ""]).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(matches!(rx.recv(), Err(RecvError::PeerDied)));
    assert_eq!(vanishing.wait().unwrap().code(), Some(9));
}

/// A control group below our own that may use so much memory; goes with the test.
struct Group(PathBuf);

impl Group {
    fn new(limit_bytes: u64) -> Result<Group, String> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let mut problem = "no memory controller is mounted".to_owned();
        // `id:controllers:path`, for the old hierarchy and for the unified one.
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
            let (roots, file): (&[&str], _) = match controllers {
                "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.max"),
                c if c.split(',').any(|c| c == "memory") => {
                    (&["/sys/fs/cgroup/memory"], "memory.limit_in_bytes")
                }
                _ => continue,
            };
            for root in roots {
                // In a container, the group's path may lead out of what is mounted: then its top is ours.
                let own = Path::new(root).join(path.trim_start_matches('/'));
                let own = if own.is_dir() { own } else { PathBuf::from(root) };
                if !own.join("cgroup.procs").exists() {
                    continue;
                }
                let group = Group(own.join(name("staffetta")));
                if let Err(error) = std::fs::create_dir(&group.0) {
                    problem = format!("{}: {error}", group.0.display());
                    continue;
                }
                let limit = std::fs::write(group.0.join(file), limit_bytes.to_string());
                match limit {
                    Ok(()) => return Ok(group),
                    Err(error) => problem = format!("{}: {error}", group.0.join(file).display()),
                }
            }
        }
        Err(problem)
    }

    fn kills(&self) -> u64 {
        ["memory.events", "memory.oom_control"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(self.0.join(file)).ok())
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("left behind: {}", self.0.display());
    }
}

#[test]
fn a_control_group_of_256_mib() {
    let _watchdog = watchdog("control group", 100);
    let group = match Group::new(256 * MIB) {
        Ok(group) => group,
        Err(problem) => {
            eprintln!("skipped: no control group with a memory limit can be made: {problem}");
            return;
        }
    };
    let procs = group.0.join("cgroup.procs");
    finish(start("in-256-MiB", &[procs.to_str().unwrap()]));
    assert_eq!(group.kills(), 0, "the OOM killer was here");
}

/// Changes a setting of the whole machine, so it is asked for by STAFFETTA_TEST_OVERCOMMIT=1.
#[test]
fn strict_overcommit() {
    const SETTING: &str = "/proc/sys/vm/overcommit_memory";
    let _watchdog = watchdog("overcommit", 100);
    if std::env::var_os("STAFFETTA_TEST_OVERCOMMIT").is_none() {
        eprintln!(
            "skipped: it changes vm.overcommit_memory for a moment; STAFFETTA_TEST_OVERCOMMIT=1 permits that"
        );
        return;
    }
    struct Restore(String);
    impl Drop for Restore {
        fn drop(&mut self) {
            std::fs::write(SETTING, self.0.trim()).expect("the setting is restored");
        }
    }
    let before = Restore(std::fs::read_to_string(SETTING).unwrap());
    if let Err(error) = std::fs::write(SETTING, "2") {
        eprintln!("skipped: {SETTING} cannot be written: {error}");
        std::mem::forget(before);
        return;
    }
    let status = start("strict", &[]).wait().unwrap();
    drop(before);
    assert!(status.success(), "{status}");
}

#[test]
fn both_ends_in_containers_of_their_own() {
    let _watchdog = watchdog("containers", 120);
    let namespaces: &[&[&str]] = &[
        &["--pid", "--ipc", "--net", "--fork", "--kill-child"],
        &["--user", "--map-current-user", "--pid", "--ipc", "--net", "--fork", "--kill-child"],
    ];
    let runs = |options: &&&[&str]| {
        let mut command = Command::new("unshare");
        command.args(**options).arg("true").stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(namespaces) = namespaces.iter().find(runs) else {
        eprintln!("skipped: unshare is missing or not permitted");
        return;
    };
    let contained = |role: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        common::die_with_parent(&mut command);
        command.args(*namespaces).arg(std::env::current_exe().unwrap());
        play(&mut command, role, arguments).spawn().unwrap()
    };
    let (directory, name) = (Directory::new("containers"), name("containers"));
    let sending = contained("exchange", &[&name, directory.path(), "sends"]);
    let receiving = contained("exchange", &[&name, directory.path(), "receives"]);
    finish(sending);
    finish(receiving);
    // A death is seen from another container.
    let domain = common::options().directory(&directory.0).open(&name).unwrap();
    let rx = domain.receiver::<u64>("vanish").unwrap();
    let mut vanishing = contained("vanish", &[&name, directory.path()]);
    assert_eq!(rx.recv().unwrap(), 1);
    let error = rx.recv().unwrap_err();
    assert!(matches!(error, RecvError::PeerDied), "{error}");
    assert_eq!(vanishing.wait().unwrap().code(), Some(9));
}
