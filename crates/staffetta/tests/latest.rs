//! The latest value: always whole, always the newest, and a sender that waits for nobody.

mod common;

use std::process::Child;
use std::time::Duration;

use common::{finish, name, role, start, until, watchdog, Random};
use rustix::process::Signal;
use staffetta::{Domain, LatestReceiver, LatestSender, Method, RecvError, SendFailure, Wait};

const CHANNEL: &str = "pose";
/// The last word is a checksum of the others.
type Pose = [u64; 512];

fn pose(n: u64) -> Pose {
    let mut pose = [n; 512];
    (1..511)
        .for_each(|i| pose[i] = pose[i - 1].wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i as u64));
    pose[511] = sum(&pose);
    pose
}

fn sum(pose: &Pose) -> u64 {
    pose[..511].iter().fold(0, |sum: u64, word| sum.rotate_left(5) ^ word)
}

/// Its number, if it is whole.
fn whole(pose: &Pose) -> u64 {
    assert_eq!(pose[511], sum(pose), "torn");
    pose[0]
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 100);
    let wait = Wait::ALL.into_iter().find(|w| w.to_string() == arguments[1]).unwrap();
    let domain = common::options().wait(wait).open(&arguments[0]).unwrap();
    let told = || domain.channel("told").many_to_one(64).sender::<u64>().unwrap();
    match role.as_str() {
        // Sends for ever, each as it was built before its number was known to anybody.
        "sense" => {
            let tx = domain.channel(CHANNEL).latest().sender::<Pose>().unwrap();
            told().send(tx.sent()).unwrap();
            loop {
                let mut slot = tx.reserve().unwrap().zeroed();
                *slot = pose(slot.seq());
                slot.send().unwrap();
            }
        }
        // Looks at values until the sender has left; each is whole, and newer than the one before.
        "watch" => {
            let rx = domain.channel(CHANNEL).latest().receiver::<Pose>().unwrap();
            let told = told();
            told.send(u64::MAX).unwrap(); // from now on it misses what it does not see
            let mut last = None;
            let mut seen = 0;
            loop {
                match rx.recv_ref() {
                    Ok(value) => {
                        assert_eq!(whole(&value), value.seq());
                        assert!(last.is_none_or(|last| last < value.seq()));
                        last = Some(value.seq());
                        seen += 1;
                    }
                    Err(RecvError::Disconnected) => break,
                    Err(why) => panic!("{why}"),
                }
            }
            assert_eq!(seen + rx.missed(), last.unwrap() + 1);
            assert_eq!(whole(&rx.get().unwrap()), last.unwrap(), "it stays");
            told.send(last.unwrap()).unwrap();
        }
        // Has a value in hand, says which, and looks at it again when it is told to go on.
        "hold" => {
            let rx = domain.channel(CHANNEL).latest().receiver::<Pose>().unwrap();
            let go_on = domain.receiver::<u64>("go on").unwrap();
            let told = told();
            let value = rx.get_ref().unwrap();
            told.send(whole(&value)).unwrap();
            let newest = go_on.recv().unwrap();
            assert_eq!(whole(&value), value.seq(), "it was overwritten");
            drop(value);
            assert_eq!(whole(&rx.recv().unwrap()), newest);
        }
        other => panic!("no role {other}"),
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

fn stop(child: &Child) {
    signal(child, Signal::STOP);
    let status = format!("/proc/{}/status", child.id());
    until(|| std::fs::read_to_string(&status).unwrap().contains("State:\tT"));
}

fn pair(domain: &Domain) -> (LatestSender<Pose>, LatestReceiver<Pose>) {
    let latest = || domain.channel(CHANNEL).latest();
    (latest().sender().unwrap(), latest().receiver().unwrap())
}

#[test]
fn the_newest_and_nothing_else() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair(&domain);
    assert!(matches!(rx.get(), Err(RecvError::WouldBlock)));
    assert!(matches!(rx.get_ref(), Err(RecvError::WouldBlock)));
    assert!(matches!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut)));
    let mut missed = 0;
    let mut n = 0;
    for burst in 1..50 {
        (0..burst).for_each(|more| tx.send(pose(n + more)).unwrap());
        n += burst;
        let newest = n - 1;
        missed += burst - 1;
        match burst % 4 {
            0 => assert_eq!(whole(&rx.recv().unwrap()), newest),
            1 => assert_eq!(whole(&rx.get().unwrap()), newest),
            2 => assert_eq!(rx.recv_ref().unwrap().seq(), newest),
            _ => {
                let value = rx.get_ref().unwrap();
                assert_eq!((whole(&value), value.seq()), (newest, newest));
                assert!(matches!(rx.get(), Err(RecvError::Held)));
            }
        }
        assert_eq!(rx.missed(), missed);
        // It has been seen; and can be looked at again.
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
        assert_eq!((whole(&rx.get().unwrap()), whole(&rx.get_ref().unwrap())), (newest, newest));
        assert_eq!(rx.missed(), missed);
        let late = domain.channel(CHANNEL).latest().receiver::<Pose>().unwrap();
        assert_eq!(whole(&late.recv().unwrap()), newest);
        assert_eq!(late.missed(), 0);
    }
    assert_eq!(tx.sent(), n);
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    assert_eq!(whole(&rx.get().unwrap()), n - 1);
}

#[test]
fn one_guard_at_a_time() {
    let domain = Domain::create().unwrap();
    let (tx, rx) = pair(&domain);
    let slot = tx.reserve().unwrap();
    assert!(matches!(tx.send(pose(1)).unwrap_err().why, SendFailure::Held));
    drop(slot);
    assert!(rx.get().is_err(), "nothing was sent");
    tx.send(pose(0)).unwrap();
    std::mem::forget(rx.recv_ref().unwrap());
    assert!(matches!(rx.recv_ref(), Err(RecvError::Held)));
    (1..100).for_each(|n| tx.send(pose(n)).unwrap());
}

/// More receivers than it is made for are told so; as many as it is made for may each hold a value for ever.
#[test]
fn the_sender_never_waits_for_those_who_hold() {
    let domain = Domain::create().unwrap();
    let latest = || domain.channel(CHANNEL).latest().receivers(3);
    let tx = latest().sender::<Pose>().unwrap();
    let receivers: Vec<_> = (0..3).map(|_| latest().receiver::<Pose>().unwrap()).collect();
    assert!(latest().receiver::<Pose>().is_err());
    let mut held = Vec::new();
    for (n, rx) in receivers.iter().enumerate() {
        tx.send(pose(n as u64)).unwrap();
        held.push(rx.get_ref().unwrap());
    }
    (3..10_000).for_each(|n| tx.send(pose(n)).unwrap());
    for (n, value) in held.iter().enumerate() {
        assert_eq!(whole(value), n as u64);
    }
}

#[test]
fn whole_values_between_processes() {
    let _watchdog = watchdog("whole", 100);
    for wait in Wait::ALL {
        for method in Method::ALL {
            let name = name("whole");
            let domain = common::options().open(&name).unwrap();
            let told = domain.channel("told").many_to_one(64).receiver::<u64>().unwrap();
            let tx = domain.channel(CHANNEL).latest().method(method).sender::<Pose>().unwrap();
            let watchers = [0, 1].map(|_| start("watch", &[&name, &wait.to_string()]));
            assert_eq!((told.recv().unwrap(), told.recv().unwrap()), (u64::MAX, u64::MAX));
            let values = 3_000;
            (0..values).for_each(|n| tx.send(pose(n)).unwrap());
            drop(tx);
            watchers.into_iter().for_each(finish);
            assert_eq!((told.recv().unwrap(), told.recv().unwrap()), (values - 1, values - 1));
        }
    }
}

/// A receiver is stopped with a value in hand, another is killed: the sender goes on, the value stays.
#[test]
fn a_stopped_receiver_keeps_its_value() {
    let _watchdog = watchdog("stopped", 100);
    let name = name("latest-stopped");
    let domain = common::options().open(&name).unwrap();
    let told = domain.channel("told").many_to_one(64).receiver::<u64>().unwrap();
    let go_on = domain.sender::<u64>("go on").unwrap();
    let (tx, rx) = pair(&domain);
    tx.send(pose(0)).unwrap();
    let holder = start("hold", &[&name, "park"]);
    assert_eq!(told.recv().unwrap(), 0);
    stop(&holder);
    let values = 30_000;
    for n in 1..values {
        tx.send(pose(n)).unwrap();
        assert_eq!(whole(&rx.get_ref().unwrap()), n);
    }
    signal(&holder, Signal::CONT);
    go_on.send(values - 1).unwrap();
    finish(holder);
}

/// The sender is killed at any moment, with a value half built: nobody ever sees it; the last whole one stays.
#[test]
fn the_sender_is_killed_at_any_moment() {
    let _watchdog = watchdog("sender killed", 100);
    let mut random = Random::new("latest: the_sender_is_killed");
    for wait in Wait::ALL {
        let name = name("latest-killed");
        let domain = common::options().open(&name).unwrap();
        let told = domain.channel("told").many_to_one(64).receiver::<u64>().unwrap();
        let rx = domain.channel(CHANNEL).latest().wait(wait).receiver::<Pose>().unwrap();
        let mut last = None;
        for _ in 0..10 {
            let sensor = start("sense", &[&name, &wait.to_string()]);
            while told.recv().is_err() {}
            let until = std::time::Instant::now() + Duration::from_micros(random.below(20_000));
            let mut look = |rx: &LatestReceiver<Pose>| match rx.recv_ref() {
                Ok(value) => {
                    assert_eq!(whole(&value), value.seq());
                    assert!(last.is_none_or(|last| last < value.seq()));
                    last = Some(value.seq());
                    true
                }
                Err(RecvError::PeerDied | RecvError::Disconnected) => false,
                Err(why) => panic!("{why}"),
            };
            while std::time::Instant::now() < until {
                look(&rx);
            }
            kill(sensor);
            while look(&rx) {}
            assert_eq!(Some(whole(&rx.get().unwrap())), last);
        }
    }
}
