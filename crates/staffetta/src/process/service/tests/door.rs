//! Ways in, and those who are not let in.

use super::member::enter;
use super::process::Process;
use super::table::{Table, DEAD, LEFT, SLOTS};
use super::{eventually, unique, FORMAT, PATIENCE};
use crate::os::fork::NotInherited;
use crate::process::door::{self, OpenError, Opened, Wanted};
use crate::process::name::Name;
use crate::process::place::{Place, Site};
use crate::process::service::{Entrance, Roster, Service};
use crate::process::wire;
use rustix::process::Signal;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let _ = socket::send(&intruder, &wire::encode::join(FORMAT), &[]);
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
    let message = wire::decode(&buffer[..len], descriptors).unwrap();
    let wire::Message::Welcome { host, memory, stake, listener, payload } = message else {
        panic!("{message:?}");
    };
    assert_eq!(host, table.me);
    let welcome = door::Welcome { memory, stake, listener, payload, door, host };
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
