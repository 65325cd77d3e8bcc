//! Private memory to private memory between processes: one copy where the kernel allows it, two where it does not, and the
//! result says which; killed, stopped and replaced partners.

#![allow(unsafe_code)] // Asks the kernel whether it allows what is tested, and filters system calls.

mod common;
#[allow(dead_code)]
#[path = "common/seccomp.rs"]
mod seccomp;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::forms::wait_of;
use common::{finish, name, role, start, until, watchdog, Random};
use staffetta::{
    Addresses, DescriptorState, Domain, Method, Receiver, RecvError, SendFailure, Sender, Transfer, Wait,
};

const CHANNEL: &str = "channel";
/// Lengths in bytes: nothing, a byte, the edges of a page and of two, and some that take long.
const LENGTHS: [usize; 9] = [0, 1, 24, 4095, 4096, 4097, 8192, 65_537, 16 << 20];
/// Bytes of a message whose copy takes long enough to be killed or stopped in.
const LONG: usize = 8 << 20;

/// Message `n` of `length` bytes: its first and last byte differ from the rest.
fn message(n: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![n as u8 | 1; length];
    if let Some(last) = bytes.last_mut() {
        *last = 0xa0;
    }
    if let Some(first) = bytes.first_mut() {
        *first = !(n as u8);
    }
    bytes
}

/// Waits until the other side has come, if it is to come first.
fn let_it_come(first: bool, descriptor: impl Fn() -> DescriptorState, state: DescriptorState) {
    if !first {
        until(|| descriptor() == state);
    }
}

fn send_in_order(tx: &Sender<[u8]>, bytes: &[u8], sender_first: bool) -> Transfer {
    let_it_come(sender_first, || tx.descriptor().unwrap().state, DescriptorState::Want);
    tx.send_from(bytes).unwrap()
}

fn receive_in_order(rx: &Receiver<[u8]>, target: &mut [u8], sender_first: bool) -> Transfer {
    let_it_come(!sender_first, || rx.descriptor().unwrap().state, DescriptorState::Offer);
    rx.recv_into(target).unwrap()
}

fn options(arguments: &[String]) -> staffetta::DomainOptions {
    let addresses = if arguments[1] == "distinct" { Addresses::Distinct } else { Addresses::Coinciding };
    common::options().wait(wait_of(&arguments[2])).addresses(addresses).cross_memory(arguments[3] == "lends")
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    if role == "idle" {
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let domain = options(&arguments).open(&arguments[0]).unwrap();
    match role.as_str() {
        "send" => {
            let tx = domain.sender::<[u8]>(CHANNEL).unwrap();
            let copies: u32 = arguments[4].parse().unwrap();
            for (n, length) in LENGTHS.into_iter().enumerate() {
                for sender_first in [true, false] {
                    let went = send_in_order(&tx, &message(n, length), sender_first);
                    assert_eq!(
                        (went.elements, went.copies),
                        (length, copies),
                        "sender first: {sender_first}"
                    );
                }
            }
        }
        "receive" => {
            let rx = domain.receiver::<[u8]>(CHANNEL).unwrap();
            let copies: u32 = arguments[4].parse().unwrap();
            receive_all(&rx, copies);
        }
        "too-long" => {
            let tx = domain.sender::<[u8]>(CHANNEL).unwrap();
            for sender_first in [true, false] {
                let_it_come(sender_first, || tx.descriptor().unwrap().state, DescriptorState::Want);
                let why = tx.send_from(&message(1, 5000)).unwrap_err().why;
                assert!(matches!(why, SendFailure::TooLong { length: 5000, capacity: 4999 }), "{why}");
                assert_eq!(tx.send_from(&message(2, 4999)).unwrap().elements, 4999);
            }
        }
        // Sends the numbers of its life until it is killed.
        "long-send" => {
            let tx = domain.sender::<[u64]>(CHANNEL).unwrap();
            for n in 1.. {
                while tx.send_from(&vec![n; LONG / 8]).is_err() {}
            }
        }
        "long-receive" => {
            let rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
            let mut target = vec![0; LONG / 8];
            let mut last = 0;
            loop {
                match rx.recv_into(&mut target) {
                    Ok(came) => {
                        assert_eq!(came.elements, target.len());
                        assert!(target.iter().all(|x| *x == target[0]), "torn");
                        assert!(target[0] > last, "{} after {last}", target[0]);
                        last = target[0];
                    }
                    Err(RecvError::Disconnected) => return,
                    Err(RecvError::PeerDied) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        // Lends, and while it waits runs another program.
        "exec" => {
            use std::os::unix::process::CommandExt;
            let tx = domain.sender::<[u8]>(CHANNEL).unwrap();
            std::thread::spawn(move || tx.send_from(&message(1, LONG)));
            let rx = domain.receiver::<u64>("go").unwrap();
            rx.recv().unwrap();
            panic!("{}", Command::new("sleep").arg("600").exec());
        }
        "huge" => {
            let tx = domain.sender::<[u8]>(CHANNEL).unwrap();
            let mut bytes = vec![0; HUGE];
            for at in huge_marks() {
                bytes[at] = 7;
            }
            assert_eq!(tx.send_from(&bytes).unwrap().copies, 1);
        }
        other => panic!("no role {other}"),
    }
}

/// Whether nothing can be read the kernel does not say.
fn assert_copies(length: usize, copies: u32, expected: u32, sender_first: bool) {
    assert!(length == 0 || copies == expected, "{copies} copies of {length} B, sender first: {sender_first}");
}

fn receive_all(rx: &Receiver<[u8]>, copies: u32) {
    let mut target = vec![0; LENGTHS[LENGTHS.len() - 1] + 1];
    for (n, length) in LENGTHS.into_iter().enumerate() {
        for sender_first in [true, false] {
            let came = receive_in_order(rx, &mut target, sender_first);
            assert_eq!(came.elements, length);
            assert_copies(length, came.copies, copies, sender_first);
            assert!(target[..length] == message(n, length), "message {n} of {length} bytes came otherwise");
        }
    }
}

fn partner(role: &str, name: &str, method: Method, wait: Wait, lends: bool, rest: &[&str]) -> Child {
    let (method, wait) = (method.to_string(), wait.to_string());
    let mut arguments = vec![name, &method, &wait, if lends { "lends" } else { "keeps" }];
    arguments.extend(rest);
    start(role, &arguments)
}

/// May this process read the memory of its children? What is to be copied once is skipped, aloud, where it may not.
fn may_attach() -> bool {
    let mut child = start("idle", &[]);
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // What lies there in the child does not matter: nothing, mostly.
    let remote = libc::iovec { iov_base: 4096 as *mut libc::c_void, iov_len: 1 };
    // SAFETY: one byte is written at most.
    let read = unsafe { libc::process_vm_readv(child.id() as i32, &local, 1, &remote, 1, 0) };
    let refused = std::io::Error::last_os_error();
    child.kill().unwrap();
    child.wait().unwrap();
    let may = read == 1 || refused.raw_os_error() == Some(libc::EFAULT);
    if !may {
        eprintln!("SKIPPED: this process may not read its children's memory: {refused}");
    }
    may
}

#[test]
fn one_copy_in_both_orders() {
    let _watchdog = watchdog("one copy", 300);
    if !may_attach() {
        return;
    }
    for method in Method::ALL {
        for wait in Wait::ALL {
            let name = name("one-copy");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let rx = domain.channel(CHANNEL).method(method).receiver::<[u8]>().unwrap();
            let sender = partner("send", &name, method, wait, true, &["1"]);
            receive_all(&rx, 1);
            let (sent, received) = rx.channel_counters();
            let bytes = 2 * LENGTHS.iter().sum::<usize>() as u64;
            assert_eq!((sent.bytes_copied, received.bytes_copied), (0, bytes), "{method} {wait}");
            finish(sender);
        }
    }
}

#[test]
fn two_copies_where_either_side_keeps_its_memory() {
    let _watchdog = watchdog("two copies", 300);
    for (i, (lends, reads)) in [(true, false), (false, true), (false, false)].into_iter().enumerate() {
        for method in Method::ALL {
            let wait = Wait::ALL[i];
            let name = name("two-copies");
            let domain = common::options().wait(wait).cross_memory(reads).open(&name).unwrap();
            let rx = domain.channel(CHANNEL).method(method).receiver::<[u8]>().unwrap();
            let sender = partner("send", &name, method, wait, lends, &["2"]);
            receive_all(&rx, 2);
            let (sent, received) = rx.channel_counters();
            let bytes = 2 * LENGTHS.iter().sum::<usize>() as u64;
            assert_eq!((sent.bytes_copied, received.bytes_copied), (bytes, bytes), "{method} {wait}");
            finish(sender);
        }
    }
}

#[test]
fn two_copies_where_a_filter_forbids_it() {
    let _watchdog = watchdog("a filter", 120);
    for errno in [libc::EPERM, libc::ENOSYS] {
        let name = name("filter");
        let domain = common::options().open(&name).unwrap();
        let tx = domain.sender::<[u8]>(CHANNEL).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        common::die_with_parent(&mut command);
        seccomp::without(&mut command, &[(libc::SYS_process_vm_readv, errno)]);
        let arguments = [&name, "coinciding", "spin-then-park", "lends", "2"];
        let receiver = common::play(&mut command, "receive", &arguments).spawn().unwrap();
        for (n, length) in LENGTHS.into_iter().enumerate() {
            for sender_first in [true, false] {
                let went = send_in_order(&tx, &message(n, length), sender_first);
                assert_eq!(went.elements, length);
                assert_copies(length, went.copies, 2, sender_first);
            }
        }
        finish(receiver);
    }
}

/// Every kind of source into every kind of target, whoever comes first.
#[test]
fn other_ways_to_send_and_to_receive() {
    let _watchdog = watchdog("other ways", 120);
    let domain = common::options().create().unwrap();
    for sender_first in [true, false] {
        for (from, into, copies) in [
            ("slice lent", "slice", 1),
            ("slice lent", "variable", 1),
            ("slice staged", "slice", 2),
            ("variable", "slice", if sender_first { 1 } else { 2 }),
        ] {
            let (tx, rx) = domain.channel("").rendezvous().unnamed::<[u8]>().unwrap();
            let before = tx.channel_counters();
            let before = before.0.bytes_copied + before.1.bytes_copied;
            let what = format!("{from} into {into}, sender first: {sender_first}");
            let mut source = domain.variable_slice::<u8>(9000).unwrap();
            let mut target = domain.variable_slice::<u8>(10_000).unwrap();
            assert!(source.set_slice(&message(3, 9000)));
            let sends = std::thread::spawn(move || {
                let_it_come(sender_first, || tx.descriptor().unwrap().state, DescriptorState::Want);
                match from {
                    "slice lent" => drop(tx.send_from(&message(3, 9000)).unwrap()),
                    "slice staged" => tx.send_slice(&message(3, 9000)).unwrap(),
                    _ => tx.send_variable(&mut source).unwrap(),
                }
            });
            let_it_come(!sender_first, || rx.descriptor().unwrap().state, DescriptorState::Offer);
            if into == "slice" {
                let mut slice = vec![0; 10_000];
                let came = rx.recv_into(&mut slice).unwrap();
                assert_eq!((came.elements, came.copies), (9000, copies), "{what}");
                assert!(slice[..9000] == message(3, 9000), "{what}");
            } else {
                rx.recv_into(&mut target).unwrap();
                assert!(target.get().unwrap() == message(3, 9000), "{what}");
            }
            sends.join().unwrap();
            let (sent, received) = rx.channel_counters();
            let copied = sent.bytes_copied + received.bytes_copied - before;
            assert_eq!(copied, 9000 * u64::from(copies), "{what}");
        }
    }
    // A channel with a buffer copies into it and out of it.
    let (tx, rx) = domain.channel("").basic(2).unnamed::<[u8]>().unwrap();
    assert_eq!(tx.send_from(&message(4, 5000)).unwrap().copies, 2);
    let mut target = [0; 6000];
    let came = rx.recv_into(&mut target).unwrap();
    assert_eq!((came.elements, came.copies), (5000, 2));
    assert!(target[..5000] == message(4, 5000));
}

#[test]
fn too_long_for_the_target() {
    let _watchdog = watchdog("too long", 120);
    for lends in [true, false] {
        let name = name("too-long");
        let domain = common::options().open(&name).unwrap();
        let rx = domain.receiver::<[u8]>(CHANNEL).unwrap();
        let sender = partner("too-long", &name, Method::Coinciding, Wait::SpinThenPark, lends, &[]);
        let mut target = vec![0; 4999];
        for sender_first in [true, false] {
            let_it_come(!sender_first, || rx.descriptor().unwrap().state, DescriptorState::Offer);
            let why = rx.recv_into(&mut target).unwrap_err();
            assert!(matches!(why, RecvError::TooLong { length: 5000, capacity: 4999 }), "{why}");
            assert_eq!(rx.recv_into(&mut target).unwrap().elements, 4999);
            assert!(target == message(2, 4999), "what follows is not lost");
        }
        finish(sender);
    }
}

fn pause(random: &mut Random, most_us: u64) {
    let end = Instant::now() + Duration::from_micros(random.below(most_us));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

fn kill(mut child: Child) {
    let early = child.try_wait().unwrap();
    assert!(early.is_none(), "a process in a role ended by itself: {early:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn lenders_are_killed() {
    let _watchdog = watchdog("killed lenders", 300);
    let mut random = Random::new("lenders_are_killed");
    let name = name("kill-lender");
    let domain = common::options().open(&name).unwrap();
    // The same domain, for a receiver that reads nobody's memory: what is lent to it is lent in vain.
    let timid = common::options().cross_memory(false).open(&name).unwrap();
    let mut rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
    let mut target = vec![0; LONG / 8];
    let (mut copies, mut late) = ([0; 3], 0);
    for life in 0..60 {
        if life == 30 {
            drop(rx);
            rx = timid.receiver::<[u64]>(CHANNEL).unwrap();
        }
        let (wait, lends) = (Wait::ALL[random.below(3) as usize], random.below(4) != 0);
        let child = partner("long-send", &name, Method::Coinciding, wait, lends, &[]);
        let first = loop {
            match rx.recv_into(&mut target) {
                Ok(came) => break came,
                Err(RecvError::PeerDied) => late += 1, // the one before
                Err(other) => panic!("{other}"),
            }
        };
        copies[first.copies as usize] += 1;
        let mut next = target[0] + 1;
        assert_eq!(next, 2, "the first of its life");
        let pauses = random.below(40_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(pauses));
            kill(child);
        });
        let why = loop {
            match rx.recv_into(&mut target) {
                Ok(came) => {
                    assert!(target.iter().all(|x| *x == next), "torn, lost or doubled");
                    next += 1;
                    copies[came.copies as usize] += 1;
                }
                Err(why) => break why,
            }
        };
        assert!(matches!(why, RecvError::PeerDied), "{why}");
        killer.join().unwrap();
    }
    eprintln!("60 kills; {} messages copied once, {} twice; {late} deaths told late", copies[1], copies[2]);
}

#[test]
fn readers_are_killed() {
    let _watchdog = watchdog("killed readers", 300);
    let mut random = Random::new("readers_are_killed");
    let name = name("kill-reader");
    let domain = common::options().open(&name).unwrap();
    let tx = domain.sender::<[u64]>(CHANNEL).unwrap();
    let (mut n, mut copies) = (0, [0; 3]);
    for _ in 0..60 {
        let (wait, lends) = (Wait::ALL[random.below(3) as usize], random.below(4) != 0);
        let child = partner("long-receive", &name, Method::Coinciding, wait, lends, &[]);
        let pauses = random.below(40_000);
        let mut killer = None;
        let mut child = Some(child);
        let why = loop {
            let bytes = vec![n + 1; LONG / 8];
            let sent = tx.send_from(&bytes);
            assert!(bytes.iter().all(|x| *x == n + 1), "somebody wrote into what was lent");
            match sent.map_err(|e| e.why) {
                Ok(went) => {
                    n += 1;
                    copies[went.copies as usize] += 1;
                    killer = killer.or_else(|| {
                        let child = child.take()?;
                        Some(std::thread::spawn(move || {
                            std::thread::sleep(Duration::from_micros(pauses));
                            kill(child);
                        }))
                    });
                }
                Err(_) if killer.is_none() => {} // the one before, told late
                Err(why) => break why,
            }
        };
        assert!(matches!(why, SendFailure::PeerDied), "{why}");
        killer.unwrap().join().unwrap();
    }
    eprintln!("60 kills; {} messages copied once, {} twice", copies[1], copies[2]);
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    use rustix::process::{kill_process, waitid, Pid, Signal, WaitId, WaitIdOptions};
    let pid = Pid::from_child(child);
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        // Stopping takes a moment: each of its threads has to notice.
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    }
}

/// A lender that is stopped lends all the same.
#[test]
fn a_stopped_lender_is_read() {
    let _watchdog = watchdog("stopped lender", 120);
    if !may_attach() {
        return;
    }
    let name = name("stopped-lender");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
    let child = partner("long-send", &name, Method::Coinciding, Wait::Park, true, &[]);
    let mut target = vec![0; LONG / 8];
    for n in 1..5 {
        until(|| rx.descriptor().unwrap().state == DescriptorState::Offer);
        signal(&child, rustix::process::Signal::STOP);
        assert_eq!(rx.recv_into(&mut target).unwrap().copies, 1);
        assert!(target.iter().all(|x| *x == n));
        let why = rx.recv_into_timeout(&mut target, Duration::from_millis(5)).unwrap_err();
        assert!(matches!(why, RecvError::TimedOut), "{why}");
        signal(&child, rustix::process::Signal::CONT);
    }
    kill(child);
}

/// One that is stopped before it has staged what was lent in vain holds nobody beyond the deadline.
#[test]
fn a_stopped_lender_in_vain_holds_nobody_beyond_the_deadline() {
    let _watchdog = watchdog("stopped lender in vain", 120);
    let mut random = Random::new("stopped lender in vain");
    let name = name("stopped-in-vain");
    let domain = common::options().cross_memory(false).open(&name).unwrap();
    let mut target = vec![0; LONG / 8];
    for _ in 0..10 {
        // A new sender does not know yet that it lends in vain.
        let rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
        let child = partner("long-send", &name, Method::Coinciding, Wait::Park, true, &[]);
        until(|| rx.descriptor().unwrap().state == DescriptorState::Offer);
        assert!(rx.descriptor().unwrap().lent);
        let try_it = random.below(2) == 0;
        signal(&child, rustix::process::Signal::STOP);
        let why = match try_it {
            true => rx.try_recv_into(&mut target).unwrap_err(),
            false => rx.recv_into_timeout(&mut target, Duration::from_millis(5)).unwrap_err(),
        };
        assert!(matches!(why, RecvError::TimedOut | RecvError::WouldBlock), "{why}");
        signal(&child, rustix::process::Signal::CONT);
        for n in 1..4 {
            assert_eq!(rx.recv_into(&mut target).unwrap().copies, 2);
            assert!(target.iter().all(|x| *x == n), "lost or doubled");
        }
        kill(child);
        // What it had sent comes; and then its end, told here and not to the next receiver.
        let why = loop {
            match rx.recv_into(&mut target) {
                Ok(came) => assert_eq!(came.copies, 2),
                Err(why) => break why,
            }
        };
        assert!(matches!(why, RecvError::PeerDied), "{why}");
    }
}

/// A deadline holds while the receiver is stopped, also in the middle; what it had read it drops.
#[test]
fn a_stopped_reader_holds_nobody_beyond_the_deadline() {
    let _watchdog = watchdog("stopped reader", 300);
    let mut random = Random::new("stopped reader");
    let name = name("stopped-reader");
    let domain = common::options().open(&name).unwrap();
    let tx = domain.sender::<[u64]>(CHANNEL).unwrap();
    let mut child = partner("long-receive", &name, Method::Coinciding, Wait::SpinThenPark, true, &[]);
    let (mut n, mut given_up) = (1, 0);
    for _ in 0..30 {
        let mut send = |most: Option<Duration>| {
            let mut bytes = vec![n; LONG / 8];
            let sent = match most {
                None => tx.send_from(&bytes),
                Some(most) => tx.send_from_timeout(&bytes, most),
            };
            bytes.fill(0); // ours again: whoever still reads it must not take it
            match sent.map_err(|e| e.why) {
                Ok(_) => n += 1,
                Err(SendFailure::TimedOut) => return false,
                Err(other) => panic!("{other}"),
            }
            true
        };
        send(None);
        std::thread::scope(|scope| {
            let child = &child;
            let mut random = Random::new("stop");
            scope.spawn(move || {
                pause(&mut random, 20_000);
                signal(child, rustix::process::Signal::STOP);
            });
            let mut in_a_row = 0;
            while in_a_row < 4 {
                in_a_row = if send(Some(Duration::from_millis(5))) { 0 } else { in_a_row + 1 };
            }
        });
        given_up += 4;
        pause(&mut random, 500);
        signal(&child, rustix::process::Signal::CONT);
    }
    drop(tx);
    assert!(child.wait().unwrap().success());
    eprintln!("{given_up} sends given up, {n} received");
}

/// A process that lends and then runs another program: its memory is gone, and what is at the same place is not read for it.
#[test]
fn a_lender_that_runs_another_program_is_gone() {
    let _watchdog = watchdog("exec", 120);
    let name = name("exec");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.receiver::<[u8]>(CHANNEL).unwrap();
    let go = domain.sender::<u64>("go").unwrap();
    let child = partner("exec", &name, Method::Coinciding, Wait::Park, true, &[]);
    until(|| rx.descriptor().unwrap().state == DescriptorState::Offer);
    go.send(1).unwrap();
    let program = format!("/proc/{}/comm", child.id());
    until(|| std::fs::read_to_string(&program).unwrap().trim() == "sleep");
    let mut target = vec![0; LONG];
    let why = rx.recv_into(&mut target).unwrap_err();
    assert!(matches!(why, RecvError::PeerDied), "{why}");
    kill(child);
}

/// More than the kernel transfers in one call.
const HUGE: usize = 3 << 30;

fn huge_marks() -> [usize; 7] {
    [0, 1, (1 << 30) - 1, 1 << 30, (2 << 30) - 4096, 2 << 30, HUGE - 1]
}

#[test]
fn more_than_one_call_transfers() {
    let _watchdog = watchdog("3 GiB", 300);
    let about = std::fs::read_to_string("/proc/meminfo").unwrap();
    let available = about.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let available: u64 = available.trim().trim_end_matches(" kB").parse().unwrap();
    if available < 10 << 20 || !may_attach() {
        eprintln!("SKIPPED: 3 GiB want 10 GiB of memory available, there are {} MiB", available >> 10);
        return;
    }
    let name = name("huge");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.receiver::<[u8]>(CHANNEL).unwrap();
    let sender = partner("huge", &name, Method::Coinciding, Wait::Park, true, &[]);
    let mut target = vec![0; HUGE];
    let came = rx.recv_into(&mut target).unwrap();
    assert_eq!((came.elements, came.copies), (HUGE, 1));
    for at in huge_marks() {
        assert_eq!(target[at], 7, "at {at}");
        target[at] = 0;
    }
    assert!(target[..1 << 20].iter().all(|byte| *byte == 0));
    finish(sender);
}

/// Two threads of one process, and a domain that is full: what is lent needs no room.
#[test]
fn a_full_domain_can_be_lent_through() {
    let _watchdog = watchdog("full", 120);
    for lends in [true, false] {
        let domain = Domain::options().memory_max_bytes(1 << 20).cross_memory(lends).create().unwrap();
        let (tx, rx) = domain.channel("").rendezvous().unnamed::<[u8]>().unwrap();
        let receiver = std::thread::spawn(move || rx.recv_into(&mut vec![0; LONG]).map(|came| came.copies));
        match tx.send_from(&message(1, LONG)) {
            Ok(went) => assert_eq!(receiver.join().unwrap().unwrap(), went.copies),
            Err(error) => {
                assert!(matches!(error.why, SendFailure::NoStaging), "{error}");
                drop(tx);
                let why = receiver.join().unwrap().unwrap_err();
                assert!(matches!(why, RecvError::Disconnected), "{why}");
                assert!(!lends || !may_attach());
            }
        }
    }
}
