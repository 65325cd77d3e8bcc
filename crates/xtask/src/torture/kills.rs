//! The thinnest row: a sender over a rendezvous is killed at a random moment; its receiver gets every message it was sent, in
//! order, and then `PeerDied`.

use std::io::Write;
use std::time::{Duration, Instant};

use staffetta::{Domain, RecvError, Wait};

use super::line::{Fault, Line};
use super::plan::Plan;
use super::process::start;
use super::{Role, Row};

pub const ROW: Row = Row {
    name: "kills",
    about: "real SIGKILLs at random moments",
    tries: (100, 10_000),
    limits: "random moments",
    run,
};

pub const VICTIM: Role = ("victim", victim);

fn victim(arguments: &[String]) {
    let domain = Domain::join(&arguments[0]).expect("join");
    let tx = domain.channel("it").rendezvous().wait(Wait::Park).sender::<u64>().expect("attach");
    for n in 0.. {
        if tx.send(n).is_err() {
            return;
        }
    }
}

fn run(plan: &Plan) -> Vec<Line> {
    let mut random = plan.random(1);
    let mut line = Line::new("kills of a sender");
    let name = format!("torture-kills-{}", std::process::id());
    let domain = Domain::options().window_bytes(16 << 30).open(&name).expect("a domain");
    let mut died = Vec::new();
    for _ in 0..plan.tries {
        line.tried += 1;
        let rx = domain.channel("it").rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach");
        let mut process = start("victim", &[&name]);
        let after = random.below(2_000);
        let mut expected = 0;
        let killed = loop {
            match rx.recv_timeout(Duration::from_secs(1)) {
                Ok(n) if n == expected => expected += 1,
                Ok(n) => line.fault(Fault::Duplicated, format!("{n} came instead of {expected}")),
                Err(RecvError::TimedOut) => {
                    line.fault(Fault::Hung, format!("no message after {expected}"));
                    break Instant::now();
                }
                Err(why) => panic!("{why}"),
            }
            if expected > after {
                let _ = process.0.kill();
                break Instant::now();
            }
        };
        loop {
            match rx.recv_timeout(Duration::from_secs(1)) {
                Ok(n) if n == expected => expected += 1,
                Ok(n) => line.fault(Fault::Duplicated, format!("{n} came instead of {expected}")),
                Err(RecvError::PeerDied) => break died.push(killed.elapsed()),
                Err(why) => {
                    line.fault(Fault::Hung, format!("{why} instead of PeerDied"));
                    break;
                }
            }
        }
    }
    died.sort();
    if let Some(median) = died.get(died.len() / 2) {
        line.figures.push(format!("PeerDied p50 {median:.0?}"));
    }
    let _ = std::io::stdout().flush();
    vec![line]
}
