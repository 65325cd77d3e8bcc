//! Processes killed and stopped at random moments: the survivor is told, never hangs, and nothing that was sent is
//! lost or doubled; the next process takes over; memory is conserved.

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use common::forms::{receiver, sender, wait_of, Form, What, When};
use common::{name, role, start, watchdog, Random};
use staffetta::{Domain, Method, Parcel, RecvError, SendFailure, Wait};

const CHANNEL: &str = "channel";
/// Numbers of one sender's life begin at a multiple of this.
const LIFE: u64 = 1 << 32;

/// Elements of a message whose copy takes long enough to be stopped in: 32 MiB.
const LONG: usize = 4 << 20;

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = common::options().wait(wait_of(&arguments[1])).open(&arguments[0]).unwrap();
    let form = Form::decode(&arguments[2]);
    match role.as_str() {
        // Sends numbers until it is killed.
        "send" => {
            let first: u64 = arguments[3].parse().unwrap();
            let mut tx = sender(&domain, CHANNEL, form);
            for n in first.. {
                while let Err((back, why)) = (tx.send)(n, When::Blocking) {
                    assert_eq!(back, n);
                    assert!(matches!(why, SendFailure::Disconnected | SendFailure::PeerDied), "{why}");
                }
            }
        }
        // Receives until it is killed, and writes down what.
        "receive" => {
            let mut log = std::fs::OpenOptions::new().append(true).open(&arguments[3]).unwrap();
            let mut rx = receiver(&domain, CHANNEL, form);
            loop {
                match (rx.recv)(When::Blocking) {
                    Ok(n) => log.write_all(&n.to_le_bytes()).unwrap(),
                    Err(RecvError::Disconnected | RecvError::PeerDied) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        // Only there, as another one who sweeps.
        "witness" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        // Allocates, drops, sends to itself, for ever.
        "churn" => {
            let mut random = Random::new("churn");
            let channel = domain.channel("");
            let channel = if random.below(2) == 0 { channel.basic(3) } else { channel.buffered(3) };
            let (tx, rx) = channel.unnamed::<Parcel<[u8]>>().unwrap();
            let mut held = Vec::new();
            loop {
                let bytes = 1 << random.below(18);
                held.push(domain.parcels(Method::default()).zeroed::<[u8]>(bytes).unwrap());
                if held.len() > 8 {
                    let i = random.below(held.len() as u64) as usize;
                    tx.send(held.swap_remove(i)).unwrap();
                    held.push(rx.recv().unwrap());
                    let i = random.below(held.len() as u64) as usize;
                    held.swap_remove(i);
                }
            }
        }
        "long-send" => {
            let tx = domain.sender::<[u64]>(CHANNEL).unwrap();
            let mut variable = domain.variable_slice::<u64>(LONG).unwrap();
            for n in 1.. {
                variable.zero(LONG).unwrap().fill(n);
                while tx.send_variable(&mut variable).is_err() {}
            }
        }
        "long-receive" => {
            let rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
            let mut variable = domain.variable_slice::<u64>(LONG).unwrap();
            let mut last = 0;
            loop {
                match rx.recv_into(&mut variable) {
                    Ok(()) => {
                        let got = variable.get().unwrap();
                        assert!(got.iter().all(|x| *x == got[0]), "torn");
                        assert!(got[0] > last, "{} after {last}", got[0]);
                        last = got[0];
                    }
                    Err(RecvError::Disconnected) => return,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        other => panic!("no role {other}"),
    }
}

fn partner(role: &str, name: &str, wait: Wait, form: Form, rest: &[&str]) -> Child {
    let (wait, code) = (wait.to_string(), form.code());
    let mut arguments = vec![name, &wait, &code];
    arguments.extend(rest);
    start(role, &arguments)
}

fn kill(mut child: Child) {
    let early = child.try_wait().unwrap();
    assert!(early.is_none(), "a process in a role ended by itself: {early:?}");
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
}

fn pause(random: &mut Random) {
    // Mostly soon after it began, sometimes later.
    let most = [50, 500, 3_000][random.below(3) as usize];
    let end = Instant::now() + Duration::from_micros(random.below(most));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_sender_is_killed() {
    let _watchdog = watchdog("killed senders", 300);
    let mut random = Random::new("a_sender_is_killed");
    let mut lost_early = 0;
    for form in Form::all() {
        for wait in Wait::ALL {
            let name = name("kill-sender");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let witness = partner("witness", &name, wait, form, &[]);
            let mut rx = receiver(&domain, CHANNEL, form);
            for life in 0..4 {
                let child = partner("send", &name, wait, form, &[&(life * LIFE).to_string()]);
                let mut next = life * LIFE;
                let before = random.below(200);
                let mut child = Some(child);
                let killer = loop {
                    match (rx.recv)(When::Blocking) {
                        Ok(n) => {
                            assert_eq!(n, next, "{form:?} {wait}, life {life}: lost or doubled");
                            next += 1;
                            if next - life * LIFE > before && child.is_some() {
                                let child = child.take().expect("there");
                                let (mut r, salt) = (Random::new("killer"), random.below(u64::MAX));
                                r.below(salt | 1);
                                break std::thread::spawn(move || {
                                    pause(&mut r);
                                    kill(child);
                                });
                            }
                        }
                        Err(RecvError::Disconnected | RecvError::PeerDied) if next == life * LIFE => {
                            lost_early += 1; // the one before
                        }
                        Err(other) => panic!("{form:?} {wait}: {other}"),
                    }
                };
                // All that it sent until it died, then its death.
                let why = loop {
                    match (rx.recv)(When::Blocking) {
                        Ok(n) => {
                            assert_eq!(n, next, "{form:?} {wait}, life {life}: lost or doubled");
                            next += 1;
                        }
                        Err(why) => break why,
                    }
                };
                assert!(matches!(why, RecvError::PeerDied), "{form:?} {wait}: {why}");
                killer.join().unwrap();
            }
            kill(witness);
        }
    }
    eprintln!("{} kills, {lost_early} reported late", Form::all().len() * 12);
}

#[test]
fn a_receiver_is_killed() {
    let _watchdog = watchdog("killed receivers", 300);
    let mut random = Random::new("a_receiver_is_killed");
    let log = std::env::temp_dir().join(format!("{}.log", name("received")));
    let mut unknown = 0;
    for form in Form::all() {
        for wait in Wait::ALL {
            std::fs::write(&log, []).unwrap();
            let name = name("kill-receiver");
            let domain = common::options().wait(wait).open(&name).unwrap();
            let witness = partner("witness", &name, wait, form, &[]);
            let mut tx = sender(&domain, CHANNEL, form);
            let mut n = 0;
            for _ in 0..4 {
                let child = partner("receive", &name, wait, form, &[log.to_str().unwrap()]);
                let until_n = n + 1 + form.degree() + random.below(200);
                while n < until_n {
                    match (tx.send)(n, When::Blocking) {
                        Ok(()) => n += 1,
                        Err((back, SendFailure::PeerDied | SendFailure::Disconnected)) => assert_eq!(back, n),
                        Err((_, other)) => panic!("{form:?} {wait}: {other}"),
                    }
                }
                let (mut r, salt) = (Random::new("killer"), random.below(u64::MAX));
                r.below(salt | 1);
                let killer = std::thread::spawn(move || {
                    pause(&mut r);
                    kill(child);
                });
                let why = loop {
                    match (tx.send)(n, When::Blocking) {
                        Ok(()) => n += 1,
                        Err((back, why)) => {
                            assert_eq!(back, n, "{form:?} {wait}");
                            break why;
                        }
                    }
                };
                assert!(matches!(why, SendFailure::PeerDied), "{form:?} {wait}: {why}");
                killer.join().unwrap();
            }
            let bytes = std::fs::read(&log).unwrap();
            let received: Vec<u64> =
                bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
            assert!(received.is_sorted_by(|a, b| a < b), "{form:?} {wait}: doubled or out of order");
            // What was taken and not yet written down died with its receiver: one in each life; and the rest is buffered.
            let missing = n - received.len() as u64;
            assert!(missing <= 4 + form.degree() + 1, "{form:?} {wait}: {missing} of {n} were lost");
            unknown += missing;
            kill(witness);
        }
    }
    eprintln!("{unknown} messages died in the hands of their receivers, or are buffered");
    std::fs::remove_file(&log).unwrap();
}

#[test]
fn memory_is_conserved_over_kills() {
    let _watchdog = watchdog("conservation", 300);
    let mut random = Random::new("memory_is_conserved_over_kills");
    let name = name("conserve");
    let domain = common::options().open(&name).unwrap();
    let form = Form { what: What::Parcel, method: Method::Coinciding };
    let base = domain.memory().unwrap().1;
    let mut most = 0;
    let mut history = Vec::new();
    for round in 0..150 {
        let children: Vec<Child> =
            (0..2).map(|_| partner("churn", &name, Wait::SpinThenPark, form, &[])).collect();
        std::thread::sleep(Duration::from_millis(8 + random.below(10)));
        for child in children {
            pause(&mut random);
            kill(child);
        }
        if round % 10 == 9 {
            // When all is swept and given back, only what was lost is still charged.
            let mut left = u64::MAX;
            for _ in 0..200 {
                domain.trim().unwrap();
                left = left.min(domain.memory().unwrap().1);
                std::thread::sleep(Duration::from_millis(1));
            }
            history.push(left - base);
            most = most.max(left - base);
        }
    }
    eprintln!("bytes charged when nobody holds anything, every 20 kills: {history:?}");
    // Records of blocks stay charged; a few blocks may be lost between two words (at most 128 KiB each).
    assert!(most < 2 << 20, "{most} bytes are lost: {history:?}");
}

#[test]
fn who_attaches_right_after_a_death_gets_the_end() {
    let _watchdog = watchdog("attach after death", 120);
    let name = name("heir");
    let domain = common::options().open(&name).unwrap();
    let form = Form::all()[0];
    for life in 0..30 {
        let rx = domain.receiver::<u64>(CHANNEL).unwrap();
        let child = partner("send", &name, Wait::Park, form, &["0"]);
        while rx.recv().is_err() {}
        kill(child);
        // The process is gone; whether anybody has heard of it is no concern of ours.
        let tx = domain.sender::<u64>(CHANNEL).unwrap_or_else(|why| panic!("life {life}: {why}"));
        drop((tx, rx));
    }
}

#[test]
fn what_is_buffered_in_a_channel_that_is_over_is_given_back() {
    let domain = Domain::create().unwrap();
    for method in Method::ALL {
        let round = || {
            let (tx, rx) = domain.channel("").method(method).basic(3).unnamed::<Parcel<[u8]>>().unwrap();
            (0..3).for_each(|_| tx.send(domain.parcels(method).zeroed(100_000).unwrap()).unwrap());
            drop((tx, rx));
            domain.trim().unwrap();
            domain.memory().unwrap().1
        };
        let first = round();
        for _ in 0..20 {
            assert!(round() <= first, "{method}: more is charged in every round");
        }
    }
}

/// Stops a process for a moment, at a random one.
fn stop(child: &Child, cont: bool) {
    let pid = rustix::process::Pid::from_child(child);
    let signal = if cont { rustix::process::Signal::CONT } else { rustix::process::Signal::STOP };
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_stopped_partner_is_alive_and_nothing_is_lost() {
    let _watchdog = watchdog("stopped partners", 300);
    let mut random = Random::new("stopped");
    for form in Form::all() {
        let wait = Wait::ALL[random.below(3) as usize];
        let name = name("stop");
        let domain = common::options().wait(wait).open(&name).unwrap();
        let mut rx = receiver(&domain, CHANNEL, form);
        let child = partner("send", &name, wait, form, &["0"]);
        let mut next = 0;
        for _ in 0..10 {
            for _ in 0..1 + random.below(50) {
                assert_eq!((rx.recv)(When::Blocking).unwrap(), next, "{form:?} {wait}");
                next += 1;
            }
            stop(&child, false);
            // It may have sent some before it stopped; then time passes, and that is all.
            loop {
                match (rx.recv)(When::Within(Duration::from_millis(3))) {
                    Ok(n) => {
                        assert_eq!(n, next, "{form:?} {wait}");
                        next += 1;
                    }
                    Err(RecvError::TimedOut) => break,
                    Err(other) => panic!("{form:?} {wait}: {other}"),
                }
            }
            // Others get on.
            let (tx, other) = domain.channel("").basic(1).unnamed::<u64>().unwrap();
            tx.send(1).unwrap();
            assert_eq!(other.recv().unwrap(), 1);
            stop(&child, true);
        }
        kill(child);
    }
}

#[test]
fn deadlines_hold_while_the_partner_is_stopped_in_a_long_copy() {
    let _watchdog = watchdog("stopped in a copy", 300);
    let mut random = Random::new("stopped in a copy");
    let form = Form::all()[0];
    let (mut stopped_sends, mut stopped_receives) = (0, 0);
    let most = Duration::from_millis(5);
    {
        let name = name("long-send");
        let domain = common::options().open(&name).unwrap();
        let rx = domain.receiver::<[u64]>(CHANNEL).unwrap();
        let child = partner("long-send", &name, Wait::SpinThenPark, form, &[]);
        let mut variable = domain.variable_slice::<u64>(LONG).unwrap();
        let mut last = 0;
        for _ in 0..30 {
            let mut look =
                |result: Result<(), RecvError>, variable: &mut staffetta::Variable<[u64]>| match result {
                    Ok(()) => {
                        let got = variable.get().unwrap();
                        assert!(got.len() == LONG && got.iter().all(|x| *x == got[0]), "torn");
                        assert_eq!(got[0], last + 1, "lost or doubled");
                        last += 1;
                        true
                    }
                    Err(RecvError::TimedOut) => false,
                    Err(other) => panic!("{other}"),
                };
            look(rx.recv_into(&mut variable), &mut variable);
            std::thread::scope(|scope| {
                let (delay, child) = (random.below(40_000), &child);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(delay));
                    stop(child, false);
                });
                // Until it is stopped; then each of these ends by its deadline, or the watchdog bites.
                let mut in_a_row = 0;
                while in_a_row < 8 {
                    let came = look(rx.recv_into_timeout(&mut variable, most), &mut variable);
                    in_a_row = if came { 0 } else { in_a_row + 1 };
                }
                stopped_sends += 1;
            });
            stop(&child, true);
        }
        kill(child);
    }
    {
        let name = name("long-receive");
        let domain = common::options().open(&name).unwrap();
        let tx = domain.sender::<[u64]>(CHANNEL).unwrap();
        let mut child = partner("long-receive", &name, Wait::SpinThenPark, form, &[]);
        let mut variable = domain.variable_slice::<u64>(LONG).unwrap();
        let mut n = 1;
        for _ in 0..30 {
            let mut send = |time: Option<Duration>, n: &mut u64| {
                variable.zero(LONG).unwrap().fill(*n);
                let sent = match time {
                    None => tx.send_variable(&mut variable),
                    Some(time) => tx.send_variable_timeout(&mut variable, time),
                };
                assert_eq!(variable.get().map(|m| (m.len(), m[0], m[LONG - 1])), Some((LONG, *n, *n)));
                match sent.map_err(|e| e.why) {
                    Ok(()) => *n += 1,
                    Err(SendFailure::TimedOut) => return false,
                    Err(other) => panic!("{other}"),
                }
                true
            };
            send(None, &mut n);
            std::thread::scope(|scope| {
                let (delay, child) = (random.below(40_000), &child);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(delay));
                    stop(child, false);
                });
                let mut in_a_row = 0;
                while in_a_row < 8 {
                    in_a_row = if send(Some(most), &mut n) { 0 } else { in_a_row + 1 };
                }
                stopped_receives += 1;
            });
            stop(&child, true);
        }
        drop(tx);
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
    eprintln!("{stopped_sends} stopped senders, {stopped_receives} stopped receivers");
}
