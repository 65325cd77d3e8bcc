//! A member's process number, and when it is not that member's any more.

use super::process::Process;
use super::unique;
use rustix::process::Signal;

#[test]
fn a_number_is_the_members_until_it_dies_and_not_a_moment_longer() {
    let mut members = Process::crowd(2, &unique("number"));
    let mut victim = members.pop().unwrap();
    let (number, still) = (format!("number {}", victim.slot), format!("still {}", victim.slot));
    members[0].expect(&number, &victim.child.id().to_string());
    assert_eq!(members[0].ask(&still), "true");
    victim.signal(Signal::STOP);
    assert_eq!(members[0].ask(&still), "true", "stopped is not dead");
    // From the moment of its exit, before anybody waits for the process and its number is free.
    victim.child.kill().unwrap();
    let waited = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    let pid = rustix::process::Pid::from_child(&victim.child);
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), waited).unwrap();
    assert_eq!(members[0].ask(&still), "false");
    victim.kill();
    assert_eq!(members[0].ask(&still), "false");
    assert_eq!(members[0].ask(&number), "not now");
}

#[test]
fn who_runs_another_program_has_its_number_still_and_is_not_who_it_was() {
    let mut members = Process::crowd(2, &unique("renumbered"));
    let mut victim = members.pop().unwrap();
    let (number, still) = (format!("number {}", victim.slot), format!("still {}", victim.slot));
    members[0].expect(&number, &victim.child.id().to_string());
    assert_eq!(victim.ask("exec"), "replaced");
    members[0].expect(&still, "false");
    assert!(victim.child.try_wait().unwrap().is_none(), "the process lives on");
}
