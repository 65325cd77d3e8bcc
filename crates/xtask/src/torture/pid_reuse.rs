//! A member dies, and its process number is another's at once: of a stranger, or of another member. Nobody takes the one for
//! the other.
//!
//! In a pid namespace of its own, where the next number is chosen by writing the one before it to `ns_last_pid`:
//!
//! ```text
//!   1  the director: forks the others, and never joins the domain; so all of them have the same private addresses
//!   |- a host      member, receives from each victim          in every second round it is stopped while the change happens,
//!   |- a witness   member, receives from each victim          and learns of the death when the number is another's already
//!   |- victim      number N: sends its round over three channels (the third one lends private memory), and is killed
//!   `- heir        number N again: a stranger, or a member that sends its round over the same channels
//! ```
//!
//! What must come: from the victim its round and then `PeerDied`, once; from an heir that is a member its round, also after
//! whoever was stopped goes on; from a stranger nothing: its memory, which has other bytes at the address that was lent, is not
//! read, and it lives until the director ends it.

#![allow(unsafe_code)] // fork in a process with one thread, and what goes with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use staffetta::{Domain, RecvError, Wait};

use super::life;
use super::line::{Fault, Line};
use super::plan::Plan;
use super::process::start;
use super::random::Random;
use super::{Role, Row};

pub const ROW: Row = Row {
    name: "pid-reuse",
    about: "a member is killed, and a stranger or another member gets its process number",
    tries: (1_000, 100_000),
    limits: "one number at a time; needs a user or a pid namespace of its own",
    run,
};

pub const ROLE: Role = ("pid-reuse", director);

const NEVER: Duration = Duration::from_secs(5);
/// Bytes that are lent: too many to be staged by mistake, and other ones in each process.
const LENT: usize = 4_096;

fn run(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("pid-reuse: misidentified is lost, duplicated or otherwise wrong");
    let name = format!("torture-reuse-{}", std::process::id());
    let (tries, seed) = (plan.tries.to_string(), plan.random(0x91d).next().to_string());
    let mut process = start("pid-reuse", &[&name, &tries, &seed]);
    let answers = BufReader::new(process.0.stdout.take().expect("piped"));
    let mut ended = false;
    for answer in answers.lines().map_while(Result::ok) {
        match answer.split_once(' ') {
            Some(("tried", number)) => line.tried = number.parse().unwrap_or(0),
            Some(("skipped", why)) => line.skipped = Some(why.to_owned()),
            Some(("figure", what)) => line.figures.push(what.to_owned()),
            Some(("lost", what)) => line.fault(Fault::Lost, what),
            Some(("duplicated", what)) => line.fault(Fault::Duplicated, what),
            Some(("hung", what)) => line.fault(Fault::Hung, what),
            Some(("over", _)) => ended = true,
            _ => line.fault(Fault::Wrong, answer),
        }
    }
    if !ended && line.skipped.is_none() {
        line.fault(Fault::Wrong, "its director ended early");
    }
    vec![line]
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

/// Forks this process, which has one thread.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: there is no other thread that could have held a lock.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: plain system calls.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        child();
        // SAFETY: ends the child: nothing of its parent's is run.
        unsafe { libc::_exit(0) };
    }
    pid
}

fn wait_for(pid: i32) {
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a child of ours that was not waited for yet: the number is its.
    unsafe { libc::kill(pid, signal) };
}

/// Makes the namespaces; its child is process 1 of them.
fn director(arguments: &[String]) {
    let spaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    if let Err(why) = life::unshare(spaces) {
        return say(&format!("skipped no pid namespace of its own: {why}"));
    }
    let first = fork(|| {
        let proc = c"/proc".as_ptr();
        // SAFETY: plain system calls with constant texts.
        let mounted = unsafe {
            libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            );
            libc::mount(c"proc".as_ptr(), proc, c"proc".as_ptr(), 0, std::ptr::null())
        };
        if mounted != 0 {
            return say(&format!("skipped no /proc of its own: {}", std::io::Error::last_os_error()));
        }
        if let Err(why) = std::fs::write(LAST, "100") {
            return say(&format!("skipped the next process number cannot be chosen: {why}"));
        }
        direct(&arguments[0], arguments[1].parse().unwrap_or(1), arguments[2].parse().unwrap_or(1));
    });
    wait_for(first);
}

const LAST: &str = "/proc/sys/kernel/ns_last_pid";

/// Forks a child with this number. None: somebody else's thread has it.
fn fork_as(number: i32, child: impl FnOnce()) -> Option<i32> {
    std::fs::write(LAST, (number - 1).to_string()).ok()?;
    let pid = fork(child);
    if pid != number {
        signal(pid, libc::SIGKILL);
        wait_for(pid);
        return None;
    }
    Some(pid)
}

/// One that is asked and answers, in lines.
struct Other {
    pid: i32,
    line: BufReader<UnixStream>,
}

impl Other {
    fn start(play: impl FnOnce(UnixStream)) -> Other {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let pid = fork(|| play(theirs));
        Other { pid, line: BufReader::new(ours) }
    }

    /// Asks; the answer can wait.
    fn ask(&mut self, what: &str) {
        let _ = writeln!(self.line.get_mut(), "{what}");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let _ = self.line.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// Answers each line.
fn answer_all(line: UnixStream, mut answer: impl FnMut(&str) -> String) {
    let mut line = BufReader::new(line);
    let mut question = String::new();
    while line.read_line(&mut question).is_ok_and(|bytes| bytes > 0) {
        let text = answer(question.trim_end());
        let _ = writeln!(line.get_mut(), "{text}");
        question.clear();
    }
}

/// A member that receives: "until N" answers with all that came up to message N, or to a death.
fn receiver(name: &str, channel: &str, line: UnixStream) {
    let domain = life::open(name, "");
    let rx = domain.channel(channel).rendezvous().wait(Wait::Park).receiver::<u64>().expect("attach");
    let lent = format!("{channel} lent");
    let lent = domain.channel(&lent).rendezvous().wait(Wait::Park).receiver::<[u8]>().expect("attach");
    answer_all(line, |question| match question {
        "next" => match rx.recv_timeout(NEVER) {
            Ok(number) => number.to_string(),
            Err(RecvError::PeerDied) => "died".to_owned(),
            Err(why) => format!("{why:?}"),
        },
        // What was lent, or the end of who lent it.
        "lent" => {
            let mut bytes = [0; LENT];
            match lent.recv_into_timeout(&mut bytes, NEVER) {
                Ok(_) => format!("lent {}", bytes[0]),
                Err(RecvError::PeerDied) => "died".to_owned(),
                Err(why) => format!("{why:?}"),
            }
        }
        other => format!("no question {other:?}"),
    });
}

/// A member that sends its round on all channels, lends `byte`, and then waits to be killed.
fn sender(name: &str, round: u64, lends: &mut [u8], byte: u8) {
    lends.fill(byte);
    let domain = life::open(name, "");
    let ends = ["host", "witness"].map(|channel| attach(&domain, channel));
    for (tx, _) in &ends {
        if tx.send_timeout(round, NEVER).is_err() {
            return;
        }
    }
    // Its offer stands when it is killed.
    let _ = ends[0].1.send_from(lends);
    wait_to_be_killed();
}

fn attach(domain: &Domain, channel: &str) -> (staffetta::Sender<u64>, staffetta::Sender<[u8]>) {
    let wait = Wait::Park;
    let values = domain.channel(channel).rendezvous().wait(wait).sender::<u64>().expect("attach");
    let lent = format!("{channel} lent");
    (values, domain.channel(&lent).rendezvous().wait(wait).sender::<[u8]>().expect("attach"))
}

fn wait_to_be_killed() {
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

/// Numbers that may turn out to be taken, in all.
const MISSED_MAX: u32 = 1_000;

fn direct(name: &str, tries: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut lends = vec![0_u8; LENT];
    let mut host = Other::start(|line| receiver(name, "host", line));
    let mut witness = Other::start(|line| receiver(name, "witness", line));
    let (mut tried, mut strangers, mut stopped, mut same, mut met_first) = (0, 0, 0, 0, 0);
    // Each round's number is free, unless a thread of one of the four others has it.
    let mut missed = 0;
    while tried < tries {
        let number = 1_000 + random.below(20_000) as i32;
        let round = 2 * tried;
        let Some(victim) = fork_as(number, || sender(name, round, &mut lends, 1)) else {
            // A thread of somebody else's came between.
            missed += 1;
            if missed > MISSED_MAX {
                say("the number is taken, whichever is asked for");
                return;
            }
            continue;
        };
        host.ask("next");
        witness.ask("next");
        for other in [&mut host, &mut witness] {
            expect(other, &round.to_string(), "the victim's round");
            other.ask("next"); // They wait for it when it is killed.
        }
        // Sometimes the witness, sometimes the host hears of the death only when the number is another's.
        let sleeper = match random.below(3) {
            0 => None,
            1 => Some(witness.pid),
            _ => Some(host.pid),
        };
        if let Some(pid) = sleeper {
            signal(pid, libc::SIGSTOP);
            // SAFETY: waits for a child of ours to be stopped.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WUNTRACED) };
            stopped += 1;
        }
        signal(victim, libc::SIGKILL);
        wait_for(victim);
        let member = random.below(2) == 0;
        let (orders, mut stranger_lives) = UnixStream::pair().expect("a pair of sockets");
        let heir = fork_as(number, || {
            if member {
                return sender(name, round + 1, &mut lends, 2);
            }
            lends.fill(3);
            // It says that it lives, when asked.
            let mut orders = orders;
            while orders.read_exact(&mut [0]).is_ok() {
                let _ = orders.write_all(&[lends[0]]);
            }
        });
        let Some(heir) = heir else {
            // A thread of a member that lives took it: this round shows nothing.
            if let Some(pid) = sleeper {
                signal(pid, libc::SIGCONT);
            }
            for other in [&mut host, &mut witness] {
                expect(other, "died", "the victim's end");
            }
            continue;
        };
        // The heir comes in; then who was stopped goes on.
        if let Some(pid) = sleeper {
            if member {
                std::thread::sleep(Duration::from_millis(1 + random.below(6)));
            }
            signal(pid, libc::SIGCONT);
        }
        // Each is told of the death, once, also if its next partner was there before it woke.
        for other in [&mut host, &mut witness] {
            let heirs = (round + 1).to_string();
            let first = other.answer();
            // One that had not begun to wait when the dead one was swept, and had looked who is there, may meet the heir first: then
            // its next call is told.
            let met = member && first == heirs;
            met_first += u64::from(met);
            if !met && first != "died" {
                say(&format!("wrong the first after the change: {first:?}"));
            }
            if member {
                other.ask("next");
                match met {
                    true => expect(other, "died", "the victim's end, after the heir's round"),
                    false => expect(other, &heirs, "the heir's round"),
                }
            }
        }
        if !member {
            // What the victim lent cannot be had any more; and nothing of the stranger's is taken for it.
            host.ask("lent");
            expect(&mut host, "died", "what was lent by the dead one");
        }
        if member {
            for other in [&mut host, &mut witness] {
                other.ask("next");
            }
            same += 1;
        } else {
            // It was neither ended nor changed.
            let _ = stranger_lives.set_read_timeout(Some(NEVER));
            let mut lives = [0];
            let asked = stranger_lives.write_all(&[1]).and_then(|()| stranger_lives.read_exact(&mut lives));
            if asked.is_err() || lives != [3] {
                say(&format!("the stranger with the number of the dead one: {asked:?}, {lives:?}"));
            }
            strangers += 1;
        }
        signal(heir, libc::SIGKILL);
        wait_for(heir);
        if member {
            for other in [&mut host, &mut witness] {
                expect(other, "died", "the heir's end, once");
            }
        }
        tried += 1;
    }
    say(&format!("tried {tried}"));
    say(&format!(
        "figure {strangers} strangers, {same} members, {stopped} times a survivor was stopped meanwhile, \
         {met_first} times one met the heir first and was told next"
    ));
    say("over and out");
}

fn expect(other: &mut Other, wanted: &str, what: &str) {
    let answer = other.answer();
    if answer == wanted {
        return;
    }
    let kind = match (answer.as_str(), wanted) {
        ("TimedOut", _) => "hung",
        ("died", _) => "lost",
        (_, "died") => "duplicated",
        _ => "wrong",
    };
    say(&format!("{kind} {what}: {answer:?}, not {wanted:?}"));
}
