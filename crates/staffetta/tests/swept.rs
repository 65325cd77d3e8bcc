//! A process that closes descriptors which are not its own is dead for the others while it runs on. When it finds out it refuses, and
//! does nothing to whoever has its slot by then.

#![allow(unsafe_code)] // closes descriptors that are others'

mod common;

use std::io::Write;
use std::time::Duration;

use common::{finish, name, role, start, until, watchdog};
use staffetta::{AttachError, RecvError, SendFailure, Wait};

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = common::options().wait(Wait::Park).open(&arguments[0]).unwrap();
    if role == "newcomer" {
        let tx = domain.channel("newcomer").rendezvous().sender::<u64>().unwrap();
        tx.send(5).unwrap();
        tx.send(6).unwrap();
        return;
    }
    let tx = domain.channel("careless").buffered(2).sender::<u64>().unwrap();
    let rx = domain.channel("nobody").rendezvous().receiver::<u64>().unwrap();
    tx.send(1).unwrap();
    // SAFETY: none: a program that closes descriptors which are not its own.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // Somebody else has our slot by now.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let told = rx.recv_timeout(Duration::from_millis(100));
    assert!(matches!(told, Err(RecvError::Forked)), "a call that waits: {told:?}");
    assert!(matches!(rx.try_recv(), Err(RecvError::Forked)));
    let sent = tx.send(2);
    assert!(
        matches!(&sent, Err(error) if matches!(error.why, SendFailure::Forked) && error.message == 2),
        "{sent:?}"
    );
    assert!(matches!(domain.channel("other").rendezvous().sender::<u64>(), Err(AttachError::Forked)));
    drop((tx, rx, domain));
}

#[test]
fn who_closes_all_descriptors_finds_out_and_hurts_nobody() {
    let _watchdog = watchdog("closed descriptors", 60);
    let name = name("swept");
    let domain = common::options().open(&name).unwrap();
    let rx = domain.channel("careless").buffered(2).receiver::<u64>().unwrap();
    let of_newcomer = domain.channel("newcomer").rendezvous().receiver::<u64>().unwrap();
    let mut careless = start("careless", &[&name]);
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(matches!(rx.recv(), Err(RecvError::PeerDied)));
    let observer = staffetta::inspect::Observer::of(&name).unwrap();
    let processes = || observer.look().unwrap().processes;
    until(|| processes().len() == 1);
    let newcomer = start("newcomer", &[&name]);
    assert_eq!(of_newcomer.recv().unwrap(), 5);
    careless.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    finish(careless);
    assert!(matches!(rx.try_recv(), Err(RecvError::NoPeer)), "nothing of what it sent while it was dead");
    assert!(processes().iter().any(|process| process.pid == newcomer.id()), "the newcomer is still a member");
    assert_eq!(of_newcomer.recv().unwrap(), 6);
    finish(newcomer);
}
