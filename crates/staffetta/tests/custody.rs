//! Capabilities on their way: senders that die or leave, receivers that are replaced, mappings that are kept.

mod common;

use std::process::Child;
use std::time::Duration;

use common::{finish, name, options, role, start, until, watchdog};
use staffetta::{AcquireError, Domain, Method, Parcel, Receiver, RecvError, Sender};

/// Messages in a buffer.
const K: u64 = 4;
/// Elements of a large message.
const LARGE: usize = 8 << 20;

fn sender(domain: &Domain) -> Sender<Parcel<[u64]>> {
    domain.channel("c").method(Method::Capability).basic(K).sender().unwrap()
}

fn receiver(domain: &Domain) -> Receiver<Parcel<[u64]>> {
    domain.channel("c").method(Method::Capability).basic(K).receiver().unwrap()
}

fn parcel(domain: &Domain, n: u64) -> Parcel<[u64]> {
    let mut parcel = domain.parcels(Method::Capability).zeroed::<[u64]>(1000).unwrap();
    parcel.fill(n);
    parcel
}

fn expect(rx: &Receiver<Parcel<[u64]>>, n: u64) {
    let parcel = rx.recv().unwrap();
    assert!(parcel.len() == 1000 && parcel.iter().all(|x| *x == n), "{n}: {}", parcel[0]);
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = options().open(&arguments[0]).unwrap();
    let done = domain.channel("done").basic(8);
    match role.as_str() {
        // Sends all that fits into the buffer; then stays, leaves, or exits without a word.
        "send" => {
            let tx = sender(&domain);
            (0..K).for_each(|n| tx.send(parcel(&domain, n)).unwrap());
            let done = done.sender::<u64>().unwrap();
            done.send(0).unwrap();
            match &*arguments[1] {
                "stay" => sleep(),
                "told" => drop(domain.channel("leave too").basic(1).receiver::<u64>().unwrap().recv()),
                _ => {}
            }
        }
        // Sends while it is alone, and leaves when somebody has come.
        "alone" => {
            let tx = sender(&domain);
            (0..K).for_each(|n| tx.send(parcel(&domain, n)).unwrap());
            std::fs::write(&arguments[1], []).unwrap();
            domain.channel("leave").basic(1).receiver::<u64>().unwrap().recv().unwrap();
        }
        // Holds the receiving end until it is told to leave it; stays in the domain, or not.
        "attach" => {
            let rx = receiver(&domain);
            domain.channel("attached").basic(1).sender::<u64>().unwrap().send(0).unwrap();
            domain.channel("leave").basic(1).receiver::<u64>().unwrap().recv().unwrap();
            drop(rx);
            domain.channel("gone").basic(1).sender::<u64>().unwrap().send(0).unwrap();
            if arguments[1] == "stay" {
                sleep();
            }
        }
        "receive" => {
            let rx = receiver(&domain);
            (0..K).for_each(|n| expect(&rx, n));
        }
        // Sends everything back, and so keeps mappings that it does not use.
        "echo" => {
            let rx = receiver(&domain);
            let tx = domain.channel("back").method(Method::Capability).sender::<Parcel<[u64]>>().unwrap();
            for parcel in rx {
                tx.send(parcel).unwrap();
            }
        }
        // Has all of them in its hands when it is killed.
        "hold" => {
            let rx = receiver(&domain);
            let held: Vec<_> = (0..K).map(|_| rx.recv().unwrap()).collect();
            done.sender::<u64>().unwrap().send(held.len() as u64).unwrap();
            sleep();
        }
        // Has no room for the mapping at first, or for the descriptor.
        "cramped" => {
            use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
            let rx = receiver(&domain);
            domain.channel("attached").basic(1).sender::<u64>().unwrap().send(0).unwrap();
            let (what, current) = if arguments[1] == "space" {
                let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
                let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
                (Resource::As, pages * rustix::param::page_size() as u64 + (8 << 20))
            } else {
                (Resource::Nofile, 3)
            };
            let before = getrlimit(what);
            setrlimit(what, Rlimit { current: Some(current), maximum: before.maximum }).unwrap();
            tell(&domain, "go on");
            for _ in 0..2 {
                let error = rx.recv().unwrap_err();
                let refused =
                    matches!(error, RecvError::Acquire(AcquireError::System(_) | AcquireError::Take(_)));
                assert!(refused, "{error}");
            }
            setrlimit(what, before).unwrap();
            assert_eq!(rx.recv().unwrap()[LARGE - 1], 7);
            expect(&rx, 8);
        }
        "witness" => sleep(),
        other => panic!("no role {other}"),
    }
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn stop(child: &Child) {
    use rustix::process::{kill_process, waitid, Pid, Signal, WaitId, WaitIdOptions};
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::STOP).unwrap();
    // It takes a moment: each of its threads has to notice.
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
}

fn go_on(child: &Child) {
    use rustix::process::{kill_process, Pid, Signal};
    kill_process(Pid::from_child(child), Signal::CONT).unwrap();
}

fn hear(domain: &Domain, channel: &str) {
    let rx = domain.channel(channel).basic(if channel == "done" { 8 } else { 1 }).receiver::<u64>().unwrap();
    while rx.recv().is_err() {}
}

fn tell(domain: &Domain, channel: &str) {
    domain.channel(channel).basic(1).sender::<u64>().unwrap().send(0).unwrap();
}

/// A process that was the receiver while all was sent, and is so no more.
fn predecessor(name: &str, domain: &Domain, stays: &str) -> Child {
    let child = start("attach", &[name, stays]);
    hear(domain, "attached");
    child
}

#[test]
fn without_a_receiver_messages_wait_for_one() {
    let _watchdog = watchdog("no receiver yet", 60);
    let name = name("lone");
    let domain = options().open(&name).unwrap();
    let tx = sender(&domain);
    (0..K).for_each(|n| tx.send(parcel(&domain, n)).unwrap());
    finish(start("receive", &[&name]));
}

#[test]
fn a_receiver_is_replaced_between_send_and_receive() {
    let _watchdog = watchdog("replaced receivers", 60);
    for stays in ["stay", "leave"] {
        let name = name("replaced");
        let domain = options().open(&name).unwrap();
        let first = predecessor(&name, &domain, stays);
        let tx = sender(&domain);
        (0..K).for_each(|n| tx.send(parcel(&domain, n)).unwrap());
        tell(&domain, "leave");
        hear(&domain, "gone");
        finish(start("receive", &[&name]));
        kill(first);
    }
}

#[test]
fn what_a_dead_sender_sent_is_with_whoever_was_there() {
    let _watchdog = watchdog("dead senders", 60);
    for ends in ["stay", "leave"] {
        // No receiver was ever there: a keeper has it, the witness or this process; and who leaves hands it
        // on.
        let name = name("dead");
        let domain = options().open(&name).unwrap();
        let witness = start("witness", &[&name]);
        let child = start("send", &[&name, ends]);
        hear(&domain, "done");
        if ends == "stay" {
            kill(child);
        } else {
            finish(child);
        }
        let rx = receiver(&domain);
        (0..K).for_each(|n| expect(&rx, n));
        kill(witness);
    }
}

#[test]
fn who_was_alone_hands_over_when_it_leaves() {
    let _watchdog = watchdog("one that was alone", 60);
    let name = name("alone");
    let sent = std::env::temp_dir().join(&name);
    let child = start("alone", &[&name, sent.to_str().unwrap()]);
    until(|| sent.exists());
    std::fs::remove_file(&sent).unwrap();
    let domain = options().open(&name).unwrap();
    tell(&domain, "leave");
    finish(child);
    let rx = receiver(&domain);
    (0..K).for_each(|n| expect(&rx, n));
}

#[test]
fn a_dead_senders_messages_come_from_the_receiver_before_us() {
    let _watchdog = watchdog("dead senders, replaced receivers", 60);
    for stays in ["stay", "leave"] {
        let name = name("dead-replaced");
        let domain = options().open(&name).unwrap();
        let first = predecessor(&name, &domain, stays);
        let child = start("send", &[&name, "stay"]);
        hear(&domain, "done");
        kill(child);
        tell(&domain, "leave");
        hear(&domain, "gone");
        let rx = receiver(&domain);
        (0..K).for_each(|n| expect(&rx, n));
        kill(first);
    }
}

#[test]
fn all_who_have_it_leave_at_once() {
    let _watchdog = watchdog("leaving together", 120);
    for _ in 0..20 {
        let name = name("together");
        let domain = options().open(&name).unwrap();
        let first = predecessor(&name, &domain, "leave");
        let child = start("send", &[&name, "told"]);
        hear(&domain, "done");
        tell(&domain, "leave");
        hear(&domain, "gone");
        tell(&domain, "leave too");
        finish(first);
        finish(child);
        let rx = receiver(&domain);
        (0..K).for_each(|n| expect(&rx, n));
    }
}

#[test]
fn what_everybody_took_to_the_grave_is_an_error_and_the_channel_goes_on() {
    let _watchdog = watchdog("lost", 60);
    let name = name("lost");
    let domain = options().open(&name).unwrap();
    let first = predecessor(&name, &domain, "stay");
    let child = start("send", &[&name, "stay"]);
    hear(&domain, "done");
    // Both who had the descriptors die; we never had one.
    kill(child);
    kill(first);
    let rx = receiver(&domain);
    let charged = domain.memory().unwrap().1;
    for n in 0..K {
        let error = rx.recv().unwrap_err();
        assert!(matches!(error, RecvError::Acquire(AcquireError::Lost)), "{n}: {error}");
    }
    assert_eq!(charged - domain.memory().unwrap().1, K * 8192, "the budget has it back");
    let tx = sender(&domain);
    tx.send(parcel(&domain, 9)).unwrap();
    expect(&rx, 9);
}

/// Both who have it are stopped, a third one asks; then they go on or are killed, in each order.
#[test]
fn who_is_asked_is_killed_or_goes_on() {
    let _watchdog = watchdog("who is asked is killed", 120);
    // What becomes of the sender and of the receiver before us; and whom it happens to first.
    for [sender_dies, first_dies, sender_is_next] in [
        [true, true, true],
        [true, true, false],
        [true, false, true],
        [true, false, false],
        [false, true, true],
        [false, true, false],
    ] {
        let name = name("asked");
        let domain = options().open(&name).unwrap();
        let first = predecessor(&name, &domain, "stay");
        let child = start("send", &[&name, "stay"]);
        hear(&domain, "done");
        tell(&domain, "leave");
        hear(&domain, "gone");
        stop(&child);
        stop(&first);
        let rx = receiver(&domain);
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "it is owed to us");
        std::thread::scope(|scope| {
            let asks =
                scope.spawn(move || (0..K).map(|_| rx.recv().map(|parcel| parcel[0])).collect::<Vec<_>>());
            let mut fates = [(child, sender_dies), (first, first_dies)];
            if !sender_is_next {
                fates.reverse();
            }
            let mut alive = Vec::new();
            for (process, dies) in fates {
                if dies {
                    kill(process);
                } else {
                    go_on(&process);
                    alive.push(process);
                }
            }
            for (n, received) in asks.join().unwrap().into_iter().enumerate() {
                match received {
                    Ok(got) => assert_eq!(got, n as u64),
                    Err(error) => {
                        assert!(sender_dies && first_dies, "{error}");
                        assert!(matches!(error, RecvError::Acquire(AcquireError::Lost)), "{error}");
                    }
                }
            }
            alive.into_iter().for_each(kill);
        });
    }
}

#[test]
fn what_cannot_be_taken_now_is_received_later() {
    let _watchdog = watchdog("no address space, no descriptors", 60);
    for lacks in ["space", "descriptors"] {
        let name = name("cramped");
        let domain = options().open(&name).unwrap();
        let child = start("cramped", &[&name, lacks]);
        hear(&domain, "attached");
        hear(&domain, "go on");
        let tx = sender(&domain);
        let mut large = domain.parcels(Method::Capability).zeroed::<[u64]>(LARGE).unwrap();
        large[LARGE - 1] = 7;
        tx.send(large).unwrap();
        tx.send(parcel(&domain, 8)).unwrap();
        finish(child);
    }
}

#[test]
fn what_a_dead_receiver_held_is_given_back() {
    let _watchdog = watchdog("dead receivers", 60);
    let name = name("held");
    let domain = options().open(&name).unwrap();
    let tx = sender(&domain);
    (0..K).for_each(|n| tx.send(parcel(&domain, n)).unwrap());
    let child = start("hold", &[&name]);
    hear(&domain, "done");
    let charged = domain.memory().unwrap().1;
    kill(child);
    until(|| domain.memory().unwrap().1 <= charged - K * 8192);
}

#[test]
fn a_stopped_sender_is_waited_for_and_holds_no_deadline() {
    let _watchdog = watchdog("stopped senders", 60);
    let name = name("stopped");
    let domain = options().open(&name).unwrap();
    let first = predecessor(&name, &domain, "stay");
    let child = start("send", &[&name, "stay"]);
    hear(&domain, "done");
    stop(&child);
    kill(first);
    let rx = receiver(&domain);
    // It is taken, and owed to us; each of these is over by its deadline, or the watchdog bites.
    for _ in 0..3 {
        assert!(matches!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvError::TimedOut)));
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    }
    go_on(&child);
    (0..K).for_each(|n| expect(&rx, n));
    kill(child);
}

#[test]
fn who_seals_has_others_unmap_what_they_do_not_use() {
    let _watchdog = watchdog("seal", 60);
    let name = name("seal");
    let domain = options().open(&name).unwrap();
    let child = start("echo", &[&name]);
    let tx = sender(&domain);
    let rx = domain.channel("back").method(Method::Capability).receiver::<Parcel<[u64]>>().unwrap();
    for n in 0..50 {
        tx.send(parcel(&domain, n)).unwrap();
        let mut capability = rx.recv().unwrap().release().ok().unwrap();
        capability.seal().unwrap();
        assert_eq!(capability.acquire_read().unwrap()[999], n);
    }
    // One that is killed keeps no mapping.
    tx.send(parcel(&domain, 50)).unwrap();
    let mut capability = rx.recv().unwrap().release().ok().unwrap();
    stop(&child);
    std::thread::scope(|scope| {
        let sealed = scope.spawn(|| capability.seal());
        kill(child);
        sealed.join().unwrap().unwrap();
    });
    // A mapping of our own that was forgotten is named.
    let mut capability = parcel(&domain, 51).release().ok().unwrap();
    std::mem::forget(capability.acquire_read().unwrap());
    if let Err(error) = capability.seal() {
        assert!(matches!(error, AcquireError::StillMapped { .. }), "{error}");
        assert!(error.to_string().contains("ReadOnly"), "{error}");
    }
}
