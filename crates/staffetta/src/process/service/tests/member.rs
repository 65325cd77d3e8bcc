//! A member in a process of its own: does what it is told over its standard input, line by line.

use super::table::{Slot, Table, LEFT, SLOTS};
use super::{FORMAT, PATIENCE};
use crate::os::memfd;
use crate::process::door::{self, Opened, Wanted};
use crate::process::name::Name;
use crate::process::place::{Place, Site};
use crate::process::service::{Entrance, Number, ObtainError, PassError, Roster, Service};
use crate::process::wire::Member;
use rustix::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn place_from(text: &str) -> Place {
    match text {
        "" => Place::Abstract,
        path => Place::Directory(PathBuf::from(path)),
    }
}

/// Opens a domain like a program does.
pub(super) fn enter(place: &Place, name: &str) -> (Arc<Table>, Service) {
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
            ("take", Some(service)) => obtain(service, number(1), Some(Instant::now())),
            ("obtain", Some(service)) => obtain(service, number(1), None),
            ("unmapped", Some(service)) => {
                assert_eq!(service.have_unmapped(number(1)), []);
                "unmapped".to_owned()
            }
            ("number", Some(service)) => match service.number_of(who(1), None) {
                Number::Is(pid) => pid.to_string(),
                Number::NotNow => "not now".to_owned(),
                Number::None => "none".to_owned(),
            },
            ("still", Some(service)) => service.is_still(who(1)).to_string(),
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

/// What is in the file that stands for `id`.
fn obtain(service: &Service, id: u64, deadline: Option<Instant>) -> String {
    match service.obtain(id, deadline) {
        Ok(handed) => {
            let mut buffer = [0; 20];
            rustix::io::pread(&handed.descriptor, &mut buffer, 0).unwrap();
            let text = String::from_utf8(buffer.to_vec()).unwrap();
            text.trim_end_matches('\0').to_owned()
        }
        Err(ObtainError::Nobody) => "nobody".to_owned(),
        Err(ObtainError::Later) => "later".to_owned(),
        Err(ObtainError::Take(other)) => other.to_string(),
    }
}

#[allow(unsafe_code)] // a bare fork is what is tested
pub(super) fn fork_a_sleeper() -> i32 {
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

pub(super) fn exec_a_sleeper() -> String {
    use std::os::unix::process::CommandExt;
    println!("@replaced");
    Command::new("sleep").arg("60").exec().to_string()
}

/// Leaves this process without a free descriptor, or gives it plenty.
pub(super) fn limit_descriptors(plenty: bool) {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = if plenty { maximum } else { Some(64) };
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    // Fills the gaps below the limit, for good.
    while !plenty && std::fs::File::open("/dev/null").map(std::mem::forget).is_ok() {}
}
