//! The service among real processes: joined at once, killed, stopped, replaced, forked.
//!
//! Every test starts this very test binary again, as members that do what they are told over their
//! standard input ([`member`]). The process table is the smallest that can serve as a roster.

use super::door::{self, OpenError, Opened, Wanted};
use super::name::Name;
use super::place::{Place, Site};
use super::service::{Entrance, PassError, Roster, Service, TakeError};
use super::wire::Member;
use crate::os::fork::NotInherited;
use crate::os::mapping::{Access, Mapping, Placement};
use crate::os::memfd;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const FORMAT: u64 = 1;
const SLOTS: usize = 16;

// ---------------------------------------------------------------------------------------------
// The roster
// ---------------------------------------------------------------------------------------------

const JOINED: u64 = 1;
const LEFT: u64 = 2;
const DEAD: u64 = 3;

/// A slot of the shared table; all zeroes means never used.
#[repr(C)]
struct Slot {
    /// `generation << 2 | state`.
    word: AtomicU64,
    address_len: AtomicU32,
    address: [AtomicU8; 100],
    /// How often this member was told that the one in slot n has died, or left.
    deaths: [AtomicU32; SLOTS],
    departures: [AtomicU32; SLOTS],
}

struct Table {
    mapping: Mapping,
    memory: OwnedFd,
    me: Member,
    forsaken: AtomicU32,
}

#[allow(unsafe_code)] // the table of a test, in shared memory
impl Table {
    /// Maps the table and takes a slot that was never used.
    fn enter(memory: OwnedFd) -> Self {
        let len = size_of::<[Slot; SLOTS]>();
        let place = Placement::Anywhere;
        let mapping = Mapping::map(memory.as_fd(), 0, len, place, Access::ReadWrite).unwrap();
        let me = Member { slot: 0, generation: 7 };
        let mut table = Self { mapping, memory, me, forsaken: AtomicU32::new(0) };
        let free = |slot: &Slot| slot.word.compare_exchange(0, 7 << 2, SeqCst, SeqCst).is_ok();
        table.me.slot = table.slots().iter().position(free).expect("a free slot") as u16;
        table
    }

    fn slots(&self) -> &[Slot; SLOTS] {
        // SAFETY: the mapping has this length, lives as long as `self`, and holds only atomics,
        // for which every byte pattern is valid.
        unsafe { self.mapping.base().cast().as_ref() }
    }

    fn slot(&self, number: u16) -> &Slot {
        &self.slots()[usize::from(number)]
    }

    fn mark(&self, who: Member, state: u64) {
        let word = &self.slot(who.slot).word;
        let joined = who.generation << 2 | JOINED;
        let _ = word.compare_exchange(joined, who.generation << 2 | state, SeqCst, SeqCst);
    }
}

impl Roster for Table {
    fn me(&self) -> Member {
        self.me
    }

    fn publish(&self, address: &[u8]) {
        let slot = self.slot(self.me.slot);
        for (place, byte) in slot.address.iter().zip(address) {
            place.store(*byte, SeqCst);
        }
        slot.address_len.store(address.len() as u32, SeqCst);
        slot.word.store(self.me.generation << 2 | JOINED, SeqCst);
    }

    fn others(&self) -> Vec<(Member, Vec<u8>)> {
        let numbered = self.slots().iter().zip(0u16..);
        numbered
            .filter(|(slot, _)| slot.word.load(SeqCst) & 3 == JOINED)
            .map(|(slot, number)| {
                let len = slot.address_len.load(SeqCst) as usize;
                let address = slot.address[..len].iter().map(|byte| byte.load(SeqCst));
                let generation = slot.word.load(SeqCst) >> 2;
                let who = Member { slot: number, generation };
                (who, address.collect())
            })
            .collect()
    }

    fn is_live(&self, who: Member) -> bool {
        self.slot(who.slot).word.load(SeqCst) == who.generation << 2 | JOINED
    }

    fn died(&self, who: Member) {
        self.mark(who, DEAD);
        let told = &self.slot(self.me.slot).deaths[usize::from(who.slot)];
        told.fetch_add(1, SeqCst);
    }

    fn left(&self, who: Member) {
        let told = &self.slot(self.me.slot).departures[usize::from(who.slot)];
        told.fetch_add(1, SeqCst);
    }

    fn welcome(&self) -> Option<(BorrowedFd<'_>, Vec<u8>)> {
        Some((self.memory.as_fd(), b"payload".to_vec()))
    }

    fn forsaken(&self, payload: &[u8]) {
        assert_eq!(payload, b"payload");
        self.forsaken.fetch_add(1, SeqCst);
    }
}

// ---------------------------------------------------------------------------------------------
// A member
// ---------------------------------------------------------------------------------------------

fn place_from(text: &str) -> Place {
    match text {
        "" => Place::Abstract,
        path => Place::Directory(PathBuf::from(path)),
    }
}

/// Opens a domain like a program does.
fn enter(place: &Place, name: &str) -> (Arc<Table>, Service) {
    let site = Site::new(place).unwrap();
    let name = Name::new(name).unwrap();
    let (entrance, memory) = match door::open(&site, &name, Wanted::Either, FORMAT, PATIENCE) {
        Ok(Opened::Created(listener)) => {
            let len = size_of::<[Slot; SLOTS]>() as u64;
            let memory = memfd::create(c"roster", len, false).unwrap();
            (Entrance::created(site, name, listener, FORMAT), memory)
        }
        Ok(Opened::Joined(welcome)) => {
            let (entrance, memory, payload) = Entrance::joined(site, Some(name), welcome, FORMAT);
            assert_eq!(payload, b"payload");
            (entrance, memory)
        }
        Err(error) => panic!("{error}"),
    };
    let table = Arc::new(Table::enter(memory));
    let roster: Arc<dyn Roster> = table.clone();
    let service = Service::start(entrance, roster).unwrap();
    (table, service)
}

/// What a process that was started by [`Process::start`] does: obeys, line by line.
#[test]
fn member() {
    let Ok(name) = std::env::var("STAFFETTA_TEST_NAME") else {
        return; // not a member, but the test run itself
    };
    let place = place_from(&std::env::var("STAFFETTA_TEST_PLACE").unwrap_or_default());
    let (table, service) = enter(&place, &name);
    let mut service = Some(service);
    println!("@{}", table.me.slot);
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let who = |at: usize| Member { slot: number(at) as u16, generation: 7 };
        let mine = table.slot(table.me.slot);
        let answer = match (words[0], &service) {
            ("linked", Some(service)) => service.linked().len().to_string(),
            ("deaths", _) => mine.deaths[number(1) as usize].load(SeqCst).to_string(),
            ("departures", _) => mine.departures[number(1) as usize].load(SeqCst).to_string(),
            ("pass", Some(service)) => {
                let file = memfd::create(c"passed", 4096, false).unwrap();
                rustix::io::pwrite(&file, words[2].as_bytes(), 0).unwrap();
                match service.pass(who(1), number(2), file.as_fd()) {
                    Ok(()) => "passed".to_owned(),
                    Err(PassError::WouldBlock) => "would block".to_owned(),
                    Err(PassError::Gone) => "gone".to_owned(),
                    Err(other) => other.to_string(),
                }
            }
            ("take", Some(service)) => match service.take(number(1)) {
                Ok(file) => {
                    let mut buffer = [0; 20];
                    rustix::io::pread(&file, &mut buffer, 0).unwrap();
                    let text = String::from_utf8(buffer.to_vec()).unwrap();
                    text.trim_end_matches('\0').to_owned()
                }
                Err(TakeError::Unknown { .. }) => "unknown".to_owned(),
                Err(TakeError::Full) => "full".to_owned(),
                Err(other) => other.to_string(),
            },
            ("leave", _) => {
                table.mark(table.me, LEFT);
                service = None;
                "left".to_owned()
            }
            ("fork", _) => fork_a_sleeper().to_string(),
            ("exec", _) => exec_a_sleeper(),
            ("descriptors", _) => {
                limit_descriptors(words[1] == "plenty");
                "limited".to_owned()
            }
            _ => panic!("what is {line:?}?"),
        };
        println!("@{answer}");
    }
}

#[allow(unsafe_code)] // a bare fork is what is tested
fn fork_a_sleeper() -> i32 {
    // SAFETY: the child only sleeps and leaves.
    unsafe {
        match libc::fork() {
            0 => {
                libc::sleep(60);
                libc::_exit(0)
            }
            pid => pid,
        }
    }
}

fn exec_a_sleeper() -> String {
    use std::os::unix::process::CommandExt;
    println!("@replaced");
    Command::new("sleep").arg("60").exec().to_string()
}

/// Leaves this process without a free descriptor, or gives it plenty.
fn limit_descriptors(plenty: bool) {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = if plenty { maximum } else { Some(64) };
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    // Fills the gaps below the limit, for good.
    while !plenty && std::fs::File::open("/dev/null").map(std::mem::forget).is_ok() {}
}

// ---------------------------------------------------------------------------------------------
// The one who gives orders
// ---------------------------------------------------------------------------------------------

/// A member in a process of its own; killed when dropped.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    slot: u16,
}

impl Process {
    /// Starts a member without waiting for it to have joined.
    fn launch(wrapper: &[&str], place: &str, name: &str) -> Child {
        let program = std::env::current_exe().unwrap();
        let mut words: Vec<_> = wrapper.iter().map(PathBuf::from).collect();
        words.push(program);
        Command::new(&words[0])
            .args(&words[1..])
            .args(["process::service_test::member", "--exact", "--nocapture"])
            .env("STAFFETTA_TEST_NAME", name)
            .env("STAFFETTA_TEST_PLACE", place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until it has joined.
    fn joined(mut child: Child) -> Self {
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, orders, answers, slot: 0 };
        process.slot = process.answer().parse().unwrap();
        process
    }

    fn start(place: &str, name: &str) -> Self {
        Self::joined(Self::launch(&[], place, name))
    }

    /// Several, joining all at once.
    fn crowd(count: usize, name: &str) -> Vec<Self> {
        let children: Vec<_> = (0..count).map(|_| Self::launch(&[], "", name)).collect();
        children.into_iter().map(Self::joined).collect()
    }

    fn answer(&mut self) -> String {
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

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answer()
    }

    /// Asks until the answer is the one expected.
    #[track_caller]
    fn expect(&mut self, order: &str, expected: &str) {
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

    fn signal(&self, signal: Signal) {
        use rustix::process::{kill_process, waitid, Pid, WaitId, WaitIdOptions};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            // Stopping takes a moment: each of its threads has to notice.
            waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
        }
    }

    fn kill(&mut self) {
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

/// A name that no other test, and no other run, uses.
fn unique(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

// ---------------------------------------------------------------------------------------------
// The tests
// ---------------------------------------------------------------------------------------------

#[test]
fn eight_that_join_at_once_are_all_linked() {
    let mut members = Process::crowd(8, &unique("crowd"));
    for member in &mut members {
        member.expect("linked", "7");
    }
}

#[test]
fn a_killed_member_is_noticed_by_all_and_once() {
    let mut members = Process::crowd(5, &unique("killed"));
    for member in &mut members {
        member.expect("linked", "4");
    }
    let mut victim = members.pop().unwrap();
    let start = Instant::now();
    victim.kill();
    let order = format!("deaths {}", victim.slot);
    for member in &mut members {
        member.expect(&order, "1");
    }
    println!("noticed by all within {:?} of the kill", start.elapsed());
    // A link, a spare link and a pidfd all tell of it; only the first may count.
    std::thread::sleep(Duration::from_millis(50));
    for member in &mut members {
        assert_eq!(member.ask(&order), "1");
        assert_eq!(member.ask(&format!("departures {}", victim.slot)), "0");
        assert_eq!(member.ask("linked"), "3");
    }
}

#[test]
fn one_that_leaves_has_not_died() {
    let mut members = Process::crowd(3, &unique("leaves"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let mut leaver = members.pop().unwrap();
    assert_eq!(leaver.ask("leave"), "left");
    for member in &mut members {
        member.expect(&format!("departures {}", leaver.slot), "1");
    }
    leaver.kill();
    std::thread::sleep(Duration::from_millis(50));
    for member in &mut members {
        assert_eq!(member.ask(&format!("deaths {}", leaver.slot)), "0");
    }
}

#[test]
fn one_that_runs_another_program_is_dead() {
    let mut members = Process::crowd(3, &unique("exec"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let mut victim = members.pop().unwrap();
    // With a forked child around, which would keep the links open if it had them.
    let child = victim.ask("fork").parse().unwrap();
    assert_eq!(victim.ask("exec"), "replaced");
    for member in &mut members {
        member.expect(&format!("deaths {}", victim.slot), "1");
    }
    assert!(victim.child.try_wait().unwrap().is_none(), "still running");
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}

#[test]
fn a_name_is_free_at_once_when_all_are_killed() {
    let name = unique("again");
    for _ in 0..3 {
        let mut members = Process::crowd(3, &name);
        members[0].expect("linked", "2");
        for member in &mut members {
            member.kill();
        }
        let site = Site::new(&Place::Abstract).unwrap();
        let free = Name::new(name.clone()).unwrap();
        let opened = door::open(&site, &free, Wanted::New, FORMAT, PATIENCE);
        assert!(matches!(opened, Ok(Opened::Created(_))), "{opened:?}");
    }
}

#[test]
fn stopped_members_block_nobody() {
    let name = unique("stopped");
    let mut members = Process::crowd(3, &name);
    for member in &mut members {
        member.expect("linked", "2");
    }
    members[1].signal(Signal::STOP);
    members[2].signal(Signal::STOP);
    let mut joiner = Process::start("", &name);
    joiner.expect("linked", "3");
    members[0].expect("linked", "3");

    // One that is killed while it is stopped has not answered the joiner.
    let mut victim = members.pop().unwrap();
    victim.kill();
    for member in [&mut members[0], &mut joiner] {
        member.expect(&format!("deaths {}", victim.slot), "1");
    }
    members[1].signal(Signal::CONT);
    members[1].expect("linked", "2");
    members[1].expect(&format!("deaths {}", victim.slot), "1");
    assert_eq!(joiner.ask(&format!("deaths {}", members[1].slot)), "0");
}

#[test]
fn if_all_are_stopped_a_joiner_says_so() {
    let name = unique("silent");
    let member = Process::start("", &name);
    member.signal(Signal::STOP);
    let site = Site::new(&Place::Abstract).unwrap();
    let open = |wanted| {
        let name = Name::new(name.clone()).unwrap();
        door::open(&site, &name, wanted, FORMAT, Duration::from_millis(300)).unwrap_err()
    };
    let error = open(Wanted::Either);
    assert!(matches!(error, OpenError::NoAnswer { .. }), "{error}");
    let error = open(Wanted::New);
    assert!(matches!(error, OpenError::NameTaken { .. }), "{error}");
}

#[test]
fn another_format_is_refused_with_both_numbers() {
    let name = unique("format");
    let _member = Process::start("", &name);
    let site = Site::new(&Place::Abstract).unwrap();
    let name = Name::new(name).unwrap();
    let error = door::open(&site, &name, Wanted::Existing, 99, PATIENCE).unwrap_err();
    let expected = |error: &_| matches!(error, OpenError::WrongFormat { theirs: FORMAT, ours: 99, .. });
    assert!(expected(&error), "{error}");
    let nobody = Name::new(unique("nobody")).unwrap();
    let error = door::open(&site, &nobody, Wanted::Existing, FORMAT, PATIENCE).unwrap_err();
    assert!(matches!(error, OpenError::NoSuchDomain { .. }), "{error}");
}

#[test]
fn a_descriptor_arrives_even_if_its_sender_is_killed() {
    let mut members = Process::crowd(2, &unique("pass"));
    for member in &mut members {
        member.expect("linked", "1");
    }
    let mut sender = members.pop().unwrap();
    let mut receiver = members.pop().unwrap();
    assert_eq!(receiver.ask("take 41"), "unknown");
    assert_eq!(sender.ask(&format!("pass {} 41", receiver.slot)), "passed");
    assert_eq!(receiver.ask("take 41"), "41");
    assert_eq!(receiver.ask("take 41"), "unknown");
    assert_eq!(sender.ask(&format!("pass {} 9", sender.slot)), "passed");
    assert_eq!(sender.ask("take 9"), "9");

    // The receiver's thread is stopped, so what is passed now waits in the kernel.
    receiver.signal(Signal::STOP);
    assert_eq!(sender.ask(&format!("pass {} 42", receiver.slot)), "passed");
    sender.kill();
    receiver.signal(Signal::CONT);
    assert_eq!(receiver.ask("take 42"), "42");
    receiver.expect(&format!("deaths {}", sender.slot), "1");
    let order = format!("pass {} 43", sender.slot);
    assert_eq!(receiver.ask(&order), "gone");
}

#[test]
fn a_full_queue_is_back_pressure_and_loses_nothing() {
    let mut members = Process::crowd(2, &unique("full"));
    for member in &mut members {
        member.expect("linked", "1");
    }
    let mut sender = members.pop().unwrap();
    let mut receiver = members.pop().unwrap();
    receiver.signal(Signal::STOP);
    let mut passed = 0;
    while sender.ask(&format!("pass {} {passed}", receiver.slot)) == "passed" {
        passed += 1;
        assert!(passed < 100_000);
    }
    println!("{passed} descriptors wait in the queue of a stopped process");
    receiver.signal(Signal::CONT);
    sender.expect(&format!("pass {} {passed}", receiver.slot), "passed");
    for id in 0..=passed {
        assert_eq!(receiver.ask(&format!("take {id}")), id.to_string());
    }
}

#[test]
fn a_member_without_descriptors_loses_nothing_and_recovers() {
    let name = unique("starved");
    let mut members = Process::crowd(2, &name);
    for member in &mut members {
        member.expect("linked", "1");
    }
    assert_eq!(members[0].ask("descriptors none"), "limited");
    let order = format!("pass {} 5", members[0].slot);
    assert_eq!(members[1].ask(&order), "passed");
    let answer = members[0].ask("take 5");
    assert!(answer.contains("no file descriptor left"), "{answer}");
    let mut joiner = Process::start("", &name);
    joiner.expect("linked", "2");
    assert_eq!(members[0].ask("linked"), "1");
    assert_eq!(members[0].ask("descriptors plenty"), "limited");
    members[0].expect("take 5", "5");
    members[0].expect("linked", "2");
}

#[test]
fn a_directory_joins_two_network_namespaces() {
    let probe = Command::new("unshare").args(["--net", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this user may not create a network namespace (unshare --net)");
        return;
    }
    let path = std::env::temp_dir().join(unique("dir"));
    let place = path.to_str().unwrap();
    let mut here = Process::start(place, "relay");
    let mut there = Process::joined(Process::launch(&["unshare", "--net"], place, "relay"));
    here.expect("linked", "1");
    there.expect("linked", "1");
    there.kill();
    here.expect(&format!("deaths {}", there.slot), "1");
    here.kill();
    // Only stale files are left; the next one replaces them.
    let mut next = Process::start(place, "relay");
    assert_eq!(next.slot, 0);
    assert_eq!(next.ask("leave"), "left");
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir(path).unwrap();
}

#[test]
fn another_user_is_refused_on_both_sides() {
    use crate::os::socket::{self, Address, Received};
    use rustix::process::{geteuid, Uid};
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can act as another user");
        return;
    }
    let stranger = Uid::from_raw(54_321);
    let name = Name::new(unique("foreign")).unwrap();
    let address = Address::abstract_name(format!("staffetta/0/{name}").as_bytes()).unwrap();
    // Identity belongs to the thread that listens or connects.
    let as_stranger = |work: &(dyn Fn() -> NotInherited + Sync)| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::set_thread_res_uid(None, stranger, None).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    };
    let squatter = as_stranger(&|| socket::listen(&address, 4).unwrap());
    let site = Site::new(&Place::Abstract).unwrap();
    let error = door::open(&site, &name, Wanted::Either, FORMAT, PATIENCE).unwrap_err();
    assert!(matches!(error, OpenError::ForeignUser { uid: 54_321, own_uid: 0, .. }), "{error}");
    drop(squatter);
    // A process that another test is starting holds a copy of it until it execs.
    while socket::connect(&address).is_ok() {
        std::thread::yield_now();
    }

    let (_table, _service) = enter(&Place::Abstract, name.as_str());
    let intruder = as_stranger(&|| socket::connect(&address).unwrap());
    let _ = socket::send(&intruder, &super::wire::encode::join(FORMAT), &[]);
    let start = Instant::now();
    let answer = loop {
        match socket::receive(&intruder, &mut [0; 1024]) {
            Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
            other => break other,
        }
        assert!(start.elapsed() < PATIENCE);
    };
    assert!(matches!(answer, Ok(Received::End)), "{answer:?}");
}

#[test]
fn a_forked_child_is_told_and_disturbs_nothing() {
    let name = unique("forked");
    let mut members = Process::crowd(2, &name);
    for member in &mut members {
        member.expect("linked", "1");
    }
    let child: i32 = members[0].ask("fork").parse().unwrap();
    let victim = members[0].slot;
    members[0].kill();
    members[1].expect(&format!("deaths {victim}"), "1");
    // The sleeping child of the victim outlives it, and still holds nothing.
    let mut last = members.pop().unwrap();
    last.kill();
    let site = Site::new(&Place::Abstract).unwrap();
    let free = Name::new(name).unwrap();
    let start = Instant::now();
    // It closes what it must not hold when it first runs, which may be later than the deaths.
    while door::open(&site, &free, Wanted::New, FORMAT, PATIENCE).is_err() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}

/// Waits for something that another thread is about to do.
#[track_caller]
fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_invitation_is_a_way_in_and_can_be_forsaken() {
    let (table, service) = enter(&Place::Abstract, &unique("invited"));
    let invitation = service.invite().unwrap();
    drop(invitation);
    eventually(|| table.forsaken.load(SeqCst) == 1);

    // Another member in the same process: nothing forbids that.
    let door = NotInherited::register(service.invite().unwrap()).unwrap();
    let mut buffer = [0; 1024];
    let received = crate::os::socket::receive(&door, &mut buffer).unwrap();
    let crate::os::socket::Received::Message { len, descriptors } = received else {
        panic!("a welcome is in it");
    };
    let message = super::wire::decode(&buffer[..len], descriptors).unwrap();
    let super::wire::Message::Welcome { host, memory, listener, payload } = message else {
        panic!("{message:?}");
    };
    assert_eq!(host, table.me);
    let welcome = super::door::Welcome { memory, listener, payload, door, host };
    let site = Site::new(&Place::Abstract).unwrap();
    let (entrance, memory, _) = Entrance::joined(site, None, welcome, FORMAT);
    let guest_table = Arc::new(Table::enter(memory));
    let roster: Arc<dyn Roster> = guest_table.clone();
    let guest = Service::start(entrance, roster).unwrap();
    eventually(|| service.linked() == [guest_table.me]);
    guest_table.mark(guest_table.me, LEFT);
    drop(guest);
    let slot = usize::from(guest_table.me.slot);
    let mine = table.slot(table.me.slot);
    eventually(|| mine.departures[slot].load(SeqCst) == 1);
    assert_eq!(mine.deaths[slot].load(SeqCst), 0);
    assert_eq!(table.forsaken.load(SeqCst), 1);
}

#[test]
fn a_joiner_that_dies_before_it_says_who_it_is_gives_its_place_back() {
    let name = unique("abandoned");
    let (table, _service) = enter(&Place::Abstract, &name);
    let site = Site::new(&Place::Abstract).unwrap();
    let name = Name::new(name).unwrap();
    let opened = door::open(&site, &name, Wanted::Existing, FORMAT, PATIENCE).unwrap();
    let Opened::Joined(welcome) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(welcome.host, table.me);
    drop(welcome);
    eventually(|| table.forsaken.load(SeqCst) == 1);
}

#[test]
fn victims_killed_while_they_join_leave_nobody_behind() {
    let name = unique("victims");
    let (table, service) = enter(&Place::Abstract, &name);
    let mut witness = Process::start("", &name);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = seed | 1;
    for _ in 0..SLOTS - 2 {
        let mut victim = Process::launch(&[], "", &name);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 4_000));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    // Whoever had published itself has been found dead; nobody waits for it.
    eventually(|| table.others().len() == 2);
    eventually(|| service.linked().len() == 1);
    witness.expect("linked", "1");
    for slot in 0..SLOTS {
        let told = table.slot(table.me.slot).deaths[slot].load(SeqCst);
        assert!(told <= 1, "slot {slot}: {told}");
        assert_eq!(table.slot(table.me.slot).departures[slot].load(SeqCst), 0);
    }
    let dead = table.slots().iter();
    let dead = dead.filter(|slot| slot.word.load(SeqCst) & 3 == DEAD).count();
    println!("{dead} of {} were killed after they had joined", SLOTS - 2);
}
