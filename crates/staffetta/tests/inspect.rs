//! A domain looked at from outside: running, full of waiters, with every member stopped, dead.
#![allow(unsafe_code)]

mod common;

use std::process::Child;

use common::{name, role, start, until, watchdog};
use rustix::process::{kill_process, Pid, Signal};
use staffetta::inspect::{
    self, DomainView, EndState, InspectError, Membership, Observer, ProcessStatus, Side,
};
use staffetta::{DescriptorState, Domain, Kind, Message, Wait};

#[derive(Message, Clone, Copy)]
struct Frame {
    seq: u64,
    pixels: [u8; 100],
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 300);
    let domain = common::options().wait(Wait::Park).open(&arguments[0]).unwrap();
    let frame = |seq| Frame { seq, pixels: [0; 100] };
    let forever = || std::thread::sleep(std::time::Duration::from_secs(600));
    match role.as_str() {
        "offers" => domain.sender::<u64>("numbers").unwrap().send(1).unwrap(),
        "fills" => {
            let tx = domain.channel("frames").buffered(2).sender::<Frame>().unwrap();
            (0..3).for_each(|seq| tx.send(frame(seq)).unwrap());
        }
        "queues" => {
            let tx = domain.channel("jobs").bounded(4).sender::<Frame>().unwrap();
            (0..5).for_each(|seq| tx.send(frame(seq)).unwrap());
            forever();
        }
        "receives" => {
            // Holds the other end of the queue, and takes two: so there are sends that wait for this very process.
            let rx = domain.channel("jobs").bounded(4).receiver::<Frame>().unwrap();
            assert_eq!(rx.recv().unwrap().seq, 0);
            let _from_nobody = domain.channel("silence").basic(1).receiver::<u8>().unwrap().recv();
        }
        other => panic!("no role {other}"),
    }
    forever();
}

struct Members(Vec<Child>);

impl Members {
    fn signal(&self, signal: Signal) {
        for child in &self.0 {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A domain of which this process is no member.
fn crowded(name: &str) -> Members {
    let roles = ["offers", "fills", "queues", "receives"];
    Members(roles.iter().map(|role| start(role, &[name])).collect())
}

/// Everybody sleeps where its role ends.
fn settled(view: &DomainView) -> bool {
    let asleep = |channel: &str, side| {
        let waits = view.channel(channel).map(|channel| channel.waits.as_slice()).unwrap_or_default();
        waits.iter().any(|wait| wait.side == side && wait.asleep)
    };
    view.processes.len() == 4
        && asleep("numbers", Side::Sender)
        && asleep("frames", Side::Sender)
        && asleep("silence", Side::Receiver)
        && view.channel("jobs").is_some_and(|jobs| jobs.waiting == 4 && jobs.counters().0.messages == 5)
}

fn observer(name: &str) -> Observer {
    let mut observer = None;
    until(|| {
        observer = Observer::of(name).ok();
        observer.is_some()
    });
    observer.unwrap()
}

#[test]
fn a_domain_whose_members_are_all_stopped() {
    let _watchdog = watchdog("stopped", 120);
    let name = name("inspect");
    let members = crowded(&name);
    let observer = observer(&name);
    until(|| observer.look().is_ok_and(|view| settled(&view)));
    members.signal(Signal::STOP);
    let all_stopped = |view: &DomainView| view.processes.iter().all(|p| p.status == ProcessStatus::Stopped);
    until(|| observer.look().is_ok_and(|view| all_stopped(&view)));

    // Found anew, as a tool finds it that is started now.
    let found = inspect::domains().into_iter().find(|found| found.name.as_deref() == Some(&name)).unwrap();
    let mut pids: Vec<u32> = members.0.iter().map(Child::id).collect();
    pids.sort_unstable();
    assert_eq!((&found.pids, &found.obstacle), (&pids, &None));
    let view = Observer::of(&found.identity.unwrap()).unwrap().look().unwrap();
    assert_eq!(view.name.as_deref(), Some(name.as_str()));
    assert!(view.is_alive() && settled(&view), "{view:#?}");
    assert!(view.processes.iter().all(|p| p.membership == Membership::Live && pids.contains(&p.pid)));
    let slot = |role: usize| view.processes.iter().find(|p| p.pid == members.0[role].id()).unwrap().slot;

    let numbers = view.channel("numbers").unwrap();
    let descriptor = numbers.descriptor.unwrap();
    assert_eq!(
        (descriptor.state, descriptor.sender, descriptor.receiver),
        (DescriptorState::Offer, Some(slot(0)), None)
    );
    let wait = &numbers.waits[0];
    assert_eq!((wait.process, wait.for_whom.len(), numbers.waits.len()), (Some(slot(0)), 0, 1));
    assert!(numbers.receivers.is_empty() && numbers.senders[0].state == EndState::Attached);

    let frames = view.channel("frames").unwrap();
    let spec = frames.spec.as_ref().unwrap();
    assert_eq!((spec.kind, spec.degree, frames.waiting), (Kind::Buffered, 2, 2));
    assert!(spec.schema.identity().ends_with("::Frame@1") && spec.schema == Frame::schema());
    let states: Vec<_> = frames.slots.iter().map(|slot| slot.state).collect();
    assert_eq!(states, ["FULL", "FULL", "EMPTY"]);
    assert_eq!(frames.counters().0.messages, 2);

    let jobs = view.channel("jobs").unwrap();
    assert_eq!((jobs.senders[0].process, jobs.receivers[0].process), (Some(slot(2)), Some(slot(3))));
    assert_eq!(jobs.counters().1.messages, 1);
    assert!(jobs.spec.as_ref().unwrap().form.as_ref().unwrap().contains("64 senders"));

    // Who sleeps has a PCB, which says on what.
    let silence = view.channel("silence").unwrap();
    let wait = silence.waits.iter().find(|wait| wait.side == Side::Receiver).unwrap();
    let pcb = view.pcbs.iter().find(|pcb| Some(pcb.index) == wait.pcb).unwrap();
    assert_eq!((pcb.process, pcb.sleeps_on), (slot(3), Some(silence.index)));

    // Nothing was disturbed: they go on as if nobody had looked.
    members.signal(Signal::CONT);
    let domain = common::options().open(&name).unwrap();
    assert_eq!(domain.receiver::<u64>("numbers").unwrap().recv().unwrap(), 1);
    let rx = domain.receiver::<Frame>("frames").unwrap();
    (0..3).for_each(|seq| assert_eq!(rx.recv().unwrap().seq, seq));
}

#[test]
fn looking_fills_no_memory_and_what_is_over_can_still_be_read() {
    let _watchdog = watchdog("over", 120);
    let name = name("inspect-over");
    let mut members = crowded(&name);
    let observer = observer(&name);
    until(|| observer.look().is_ok_and(|view| settled(&view)));
    members.signal(Signal::STOP);
    let memory = |pid: u32| {
        // The memory file of the domain, by its holder.
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let is_domain = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy() == "/memfd:staffetta (deleted)")
        };
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(fds.into_iter().find(is_domain).unwrap().path()).unwrap().blocks()
    };
    let before = memory(members.0[0].id());
    for _ in 0..100 {
        observer.look().unwrap();
    }
    assert_eq!(memory(members.0[0].id()), before, "reading made pages present");
    for child in &mut members.0 {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let view = observer.look().unwrap();
    assert!(!view.is_alive() && view.channel("frames").unwrap().waiting == 2);
    assert!(matches!(Observer::of(&name).unwrap_err(), InspectError::NoDomain { .. }));
}

#[test]
fn what_is_not_there() {
    let error = Observer::of("no such domain").unwrap_err();
    assert!(
        error.to_string().starts_with("there is no domain \"no such domain\" of this user; there"),
        "{error}"
    );
    // Without a name it is found by its identity.
    let domain = common::options().create().unwrap();
    let tx = domain.sender::<u8>("x").unwrap();
    let mine = |found: &&inspect::FoundDomain| {
        let view = found.identity.as_ref().and_then(|identity| Observer::of(identity).ok()?.look().ok());
        view.is_some_and(|view| {
            view.window_base == domain.window_base() as u64 && view.channel("x").is_some()
        })
    };
    let all = inspect::domains();
    let found = all.iter().find(mine).expect("it is listed");
    assert_eq!(found.name, None);
    drop(tx);
}

#[test]
fn garbage_in_a_domain_is_an_empty_view_or_an_error() {
    let _watchdog = watchdog("garbage", 120);
    let mut random = common::Random::new("garbage");
    let domain = common::options().create().unwrap();
    let (_tx, _rx) = domain.channel("").bounded(4).unnamed::<u64>().unwrap();
    let _buffered = domain.channel("buffered").buffered(4).sender::<u64>().unwrap();
    let _rendezvous = domain.channel("rendezvous").sender::<u64>().unwrap();
    let base = domain.window_base();
    let all = inspect::domains();
    let by_base = |found: &&inspect::FoundDomain| {
        let view = found.identity.as_ref().and_then(|identity| Observer::of(identity).ok()?.look().ok());
        view.is_some_and(|view| view.window_base == base as u64)
    };
    let identity = all.iter().find(by_base).unwrap().identity.clone().unwrap();
    let observer = Observer::of(&identity).unwrap();
    // Channel records, and the words of header, slots and PCBs that come after the identity.
    let places = [(1 << 20, 3 * 1024), (64, 704), (64 << 10, 1024), (576 << 10, 256)];
    for _ in 0..400 {
        let (from, bytes) = places[random.below(4) as usize];
        let at = base + from + random.below(bytes / 8) as usize * 8;
        // SAFETY: a word of the domain's window, which is mapped; a wild program would write there as well.
        let word = unsafe { &*(at as *const std::sync::atomic::AtomicU64) };
        use std::sync::atomic::Ordering::Relaxed;
        let before = word.load(Relaxed);
        let wild = match random.below(3) {
            0 => before ^ 1 << random.below(64),
            1 => u64::MAX >> random.below(64),
            _ => random.below(u64::MAX),
        };
        word.store(wild, Relaxed);
        let _ = observer.look();
        word.store(before, Relaxed);
    }
    assert_eq!(observer.look().unwrap().channels.len(), 3);
}

#[test]
fn every_process_of_a_domain_that_is_opened_twice_is_told_once() {
    let name = name("inspect-twice");
    let one = common::options().open(&name).unwrap();
    let two = Domain::join(&name).unwrap();
    let view = Observer::of(&name).unwrap().look().unwrap();
    assert_eq!(view.processes.len(), 1);
    assert_eq!(view.processes[0].pid, std::process::id());
    drop((one, two));
}
