//! Descriptors passed, asked for and left behind.

use super::process::Process;
use super::unique;
use rustix::process::Signal;

#[test]
fn a_descriptor_arrives_even_if_its_sender_is_killed() {
    let mut members = Process::crowd(2, &unique("pass"));
    for member in &mut members {
        member.expect("linked", "1");
    }
    let mut sender = members.pop().unwrap();
    let mut receiver = members.pop().unwrap();
    assert_eq!(receiver.ask("obtain 41"), "nobody");
    assert_eq!(sender.ask(&format!("pass {} 41", receiver.slot)), "passed");
    assert_eq!(receiver.ask("take 41"), "41");
    assert_eq!(receiver.ask("obtain 41"), "nobody");
    assert_eq!(sender.ask(&format!("pass {} 9", sender.slot)), "passed");
    assert_eq!(sender.ask("take 9"), "9");

    // The receiver's thread is stopped, so what is passed now waits in the kernel.
    receiver.signal(Signal::STOP);
    assert_eq!(sender.ask(&format!("pass {} 42", receiver.slot)), "passed");
    sender.kill();
    receiver.signal(Signal::CONT);
    assert_eq!(receiver.ask("take 42"), "42");
    receiver.expect(&format!("deaths {}", sender.slot), "1");
    let order = format!("pass {} 43", sender.slot);
    assert_eq!(receiver.ask(&order), "gone");
}

#[test]
fn a_full_queue_is_back_pressure_and_loses_nothing() {
    let mut members = Process::crowd(2, &unique("full"));
    for member in &mut members {
        member.expect("linked", "1");
    }
    let mut sender = members.pop().unwrap();
    let mut receiver = members.pop().unwrap();
    receiver.signal(Signal::STOP);
    let mut passed = 0;
    while sender.ask(&format!("pass {} {passed}", receiver.slot)) == "passed" {
        passed += 1;
        assert!(passed < 100_000);
    }
    println!("{passed} descriptors wait in the queue of a stopped process");
    receiver.signal(Signal::CONT);
    sender.expect(&format!("pass {} {passed}", receiver.slot), "passed");
    for id in 0..=passed {
        assert_eq!(receiver.ask(&format!("take {id}")), id.to_string());
    }
}

#[test]
fn a_member_without_descriptors_loses_nothing_and_recovers() {
    let name = unique("starved");
    let mut members = Process::crowd(2, &name);
    for member in &mut members {
        member.expect("linked", "1");
    }
    assert_eq!(members[0].ask("descriptors none"), "limited");
    let order = format!("pass {} 5", members[0].slot);
    assert_eq!(members[1].ask(&order), "passed");
    let answer = members[0].ask("take 5");
    assert!(answer.contains("no file descriptor left"), "{answer}");
    let mut joiner = Process::start("", &name);
    joiner.expect("linked", "2");
    assert_eq!(members[0].ask("linked"), "1");
    assert_eq!(members[0].ask("descriptors plenty"), "limited");
    members[0].expect("take 5", "5");
    members[0].expect("linked", "2");
}

#[test]
fn whoever_has_a_descriptor_gives_it_to_whoever_asks() {
    let mut members = Process::crowd(4, &unique("ask"));
    for member in &mut members {
        member.expect("linked", "3");
    }
    // Passed to one, asked for by another; who passed it is dead by then.
    let order = format!("pass {} 7", members[1].slot);
    assert_eq!(members[0].ask(&order), "passed");
    members[0].kill();
    assert_eq!(members[2].ask("obtain 7"), "7");
    assert_eq!(members[2].ask("obtain 8"), "nobody");
    // Who gave it keeps it: once more, and it is gone only with its last holder.
    assert_eq!(members[3].ask("obtain 7"), "7");
    members[1].kill();
    assert_eq!(members[2].ask("obtain 7"), "nobody");
}

#[test]
fn who_leaves_hands_over_what_was_passed_to_it() {
    let mut members = Process::crowd(3, &unique("heir"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let order = format!("pass {} 7", members[1].slot);
    assert_eq!(members[0].ask(&order), "passed");
    members[0].kill();
    assert_eq!(members[1].ask("leave"), "left");
    members[1].kill();
    assert_eq!(members[2].ask("obtain 7"), "7");
}

#[test]
fn an_answer_is_awaited_from_one_that_is_stopped_and_not_from_one_that_dies() {
    let mut members = Process::crowd(3, &unique("stopped-ask"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    let order = format!("pass {} 7", members[1].slot);
    assert_eq!(members[0].ask(&order), "passed");
    members[0].kill();
    members[1].signal(Signal::STOP);
    assert_eq!(members[2].ask("take 7"), "later");
    members[2].order("obtain 7");
    members[1].signal(Signal::CONT);
    assert_eq!(members[2].answer(), "7");
    // And killed while it is asked.
    members[1].signal(Signal::STOP);
    members[2].order("obtain 8");
    members[1].kill();
    assert_eq!(members[2].answer(), "nobody");
}

#[test]
fn nobody_is_waited_for_to_unmap_who_has_died() {
    let mut members = Process::crowd(3, &unique("unmap"));
    for member in &mut members {
        member.expect("linked", "2");
    }
    assert_eq!(members[0].ask("unmapped 1"), "unmapped");
    members[1].signal(Signal::STOP);
    members[0].order("unmapped 1");
    members[1].kill();
    assert_eq!(members[0].answer(), "unmapped");
}
