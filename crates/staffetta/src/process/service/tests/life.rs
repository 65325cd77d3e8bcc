//! Members that join, are killed, stopped, replaced and forked.

use super::member::enter;
use super::process::Process;
use super::{eventually, unique, FORMAT, PATIENCE};
use crate::process::door::{self, Opened, Wanted};
use crate::process::name::Name;
use crate::process::place::{Place, Site};
use crate::process::wire::Member;
use rustix::process::Signal;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[test]
fn eight_that_join_at_once_are_all_linked() {
    let mut members = Process::crowd(8, &unique("crowd"));
    for member in &mut members {
        member.expect("linked", "7");
    }
}

#[test]
fn a_killed_member_is_noticed_by_all_and_once() {
    let mut members = Process::crowd(5, &unique("killed"));
    for member in &mut members {
        member.expect("linked", "4");
    }
    let mut victim = members.pop().unwrap();
    let start = Instant::now();
    victim.kill();
    let order = format!("deaths {}", victim.slot);
    for member in &mut members {
        member.expect(&order, "1");
    }
    println!("noticed by all within {:?} of the kill", start.elapsed());
    // A link, a spare link and a pidfd all tell of it; only the first may count.
    std::thread::sleep(Duration::from_millis(50));
    for member in &mut members {
        assert_eq!(member.ask(&order), "1");
        assert_eq!(member.ask(&format!("departures {}", victim.slot)), "0");
        assert_eq!(member.ask("linked"), "3");
    }
}

#[test]
fn who_asks_knows_of_a_death_before_the_thread_has_met_the_dead_one() {
    let name = unique("unmet");
    let (table, service) = enter(&Place::Abstract, &name);
    // Another one, who answers at the door; and one that keeps our thread busy by leaving.
    let mut host = Process::start("", &name);
    let mut leaver = Process::start("", &name);
    host.expect("linked", "2");
    let stalled = table.stalled.lock().unwrap();
    leaver.ask("leave");
    let departures = &table.slot(table.me.slot).departures[usize::from(leaver.slot)];
    eventually(|| departures.load(SeqCst) == 1);
    let mut victim = Process::start("", &name);
    let who = Member { slot: victim.slot, generation: 7 };
    assert!(!service.has_exited(who));
    victim.kill();
    assert!(service.has_exited(who));
    assert!(!service.has_exited(Member { slot: host.slot, generation: 7 }));
    drop(stalled);
    let deaths = &table.slot(table.me.slot).deaths[usize::from(victim.slot)];
    eventually(|| deaths.load(SeqCst) == 1);
}

#[test]
fn one_that_leaves_has_not_died() {
    let mut members = Process::crowd(3, &unique("leaves"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let mut leaver = members.pop().unwrap();
    assert_eq!(leaver.ask("leave"), "left");
    for member in &mut members {
        member.expect(&format!("departures {}", leaver.slot), "1");
    }
    leaver.kill();
    std::thread::sleep(Duration::from_millis(50));
    for member in &mut members {
        assert_eq!(member.ask(&format!("deaths {}", leaver.slot)), "0");
    }
}

#[test]
fn one_that_runs_another_program_is_dead() {
    let mut members = Process::crowd(3, &unique("exec"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let mut victim = members.pop().unwrap();
    // With a forked child around, which would keep the links open if it had them.
    let child = victim.ask("fork").parse().unwrap();
    assert_eq!(victim.ask("exec"), "replaced");
    for member in &mut members {
        member.expect(&format!("deaths {}", victim.slot), "1");
    }
    assert!(victim.child.try_wait().unwrap().is_none(), "still running");
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}

#[test]
fn a_name_is_free_at_once_when_all_are_killed() {
    let name = unique("again");
    for _ in 0..3 {
        let mut members = Process::crowd(3, &name);
        members[0].expect("linked", "2");
        for member in &mut members {
            member.kill();
        }
        let site = Site::new(&Place::Abstract).unwrap();
        let free = Name::new(name.clone()).unwrap();
        let opened = door::open(&site, &free, Wanted::New, FORMAT, PATIENCE);
        assert!(matches!(opened, Ok(Opened::Created(_))), "{opened:?}");
    }
}

#[test]
fn stopped_members_block_nobody() {
    let name = unique("stopped");
    let mut members = Process::crowd(3, &name);
    for member in &mut members {
        member.expect("linked", "2");
    }
    members[1].signal(Signal::STOP);
    members[2].signal(Signal::STOP);
    let mut joiner = Process::start("", &name);
    joiner.expect("linked", "3");
    members[0].expect("linked", "3");

    // One that is killed while it is stopped has not answered the joiner.
    let mut victim = members.pop().unwrap();
    victim.kill();
    for member in [&mut members[0], &mut joiner] {
        member.expect(&format!("deaths {}", victim.slot), "1");
    }
    members[1].signal(Signal::CONT);
    members[1].expect("linked", "2");
    members[1].expect(&format!("deaths {}", victim.slot), "1");
    assert_eq!(joiner.ask(&format!("deaths {}", members[1].slot)), "0");
}

#[test]
fn a_forked_child_is_told_and_disturbs_nothing() {
    let name = unique("forked");
    let mut members = Process::crowd(2, &name);
    for member in &mut members {
        member.expect("linked", "1");
    }
    let child: i32 = members[0].ask("fork").parse().unwrap();
    let victim = members[0].slot;
    members[0].kill();
    members[1].expect(&format!("deaths {victim}"), "1");
    // The sleeping child of the victim outlives it, and still holds nothing.
    let mut last = members.pop().unwrap();
    last.kill();
    let site = Site::new(&Place::Abstract).unwrap();
    let free = Name::new(name).unwrap();
    let start = Instant::now();
    // It closes what it must not hold when it first runs, which may be later than the deaths.
    while door::open(&site, &free, Wanted::New, FORMAT, PATIENCE).is_err() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}
