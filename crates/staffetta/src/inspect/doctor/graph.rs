//! Who can go on, and who never will: the wait-for graph, without a word of where it was read.
//!
//! A wait has *arms*: a select several, anybody else one. It ends when one of its arms does (OR). An arm is for whoever could end it:
//! one of them is enough (OR: a receiver of many senders), or all are needed (AND: the sender of a broadcast and the receivers that
//! are behind).
//!
//! G1. Everybody is taken for lost at first who waits without a deadline and for nobody outside. Whoever could be helped by one who
//!     is not lost is not lost either; again, until nothing changes. Who is left is lost: all that could help is lost too.
//! G2. A process helps if one of its threads does. So a process is lost only if all its threads are.

use std::collections::{BTreeMap, BTreeSet};

/// One arm of a wait.
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// The processes that could end it.
    pub who: Vec<u16>,
    /// All are needed.
    pub all: bool,
    /// Somebody could who is not seen: who is not there yet, whoever takes an end out of a message.
    pub outside: bool,
}

/// One thread that waits.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Its process.
    pub process: u16,
    /// It has a deadline, or was not seen to wait all the time.
    pub ends: bool,
    /// What it waits for.
    pub arms: Vec<Arm>,
}

/// Processes that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knot {
    /// Their waits, each after one that waits for its process where that is possible.
    pub waits: Vec<usize>,
    /// Processes that are lost because they wait for those.
    pub also: Vec<u16>,
}

/// The waits that will never end (G1). `may_help`: does the process have a thread that waits for nothing?
pub fn lost(waits: &[Wait], may_help: impl Fn(u16) -> bool) -> BTreeSet<usize> {
    let mut lost: BTreeSet<usize> = (0..waits.len()).filter(|i| !waits[*i].ends).collect();
    loop {
        let is_lost = |process: u16| {
            let mut its = waits.iter().enumerate().filter(|(_, wait)| wait.process == process).peekable();
            its.peek().is_some() && !may_help(process) && its.all(|(i, _)| lost.contains(&i))
            // G2
        };
        let is_blocked = |arm: &Arm| match (arm.outside, arm.all) {
            (true, _) => false,
            (_, true) => arm.who.iter().any(|process| is_lost(*process)),
            (_, false) => !arm.who.is_empty() && arm.who.iter().all(|process| is_lost(*process)),
        };
        let helped = |i: &usize| !waits[*i].arms.iter().all(is_blocked);
        let saved: Vec<usize> = lost.iter().copied().filter(helped).collect();
        if saved.is_empty() {
            return lost;
        }
        lost.retain(|i| !saved.contains(i));
    }
}

/// Sorts those who are lost into knots: processes each of which waits, by way of others, for itself.
pub fn knots(waits: &[Wait], lost: &BTreeSet<usize>) -> Vec<Knot> {
    let mut edges: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for wait in lost.iter().map(|i| &waits[*i]) {
        let whom = wait.arms.iter().flat_map(|arm| arm.who.iter().copied());
        edges.entry(wait.process).or_default().extend(whom);
    }
    let reaches: BTreeMap<u16, BTreeSet<u16>> =
        edges.keys().map(|process| (*process, reached(&edges, *process))).collect();
    let both = |a: &u16, b: &u16| {
        let to = |a: &u16, b: &u16| reaches.get(a).is_some_and(|reached| reached.contains(b));
        to(a, b) && to(b, a)
    };
    let mut knots = Vec::new();
    let mut told: BTreeSet<u16> = BTreeSet::new();
    for process in edges.keys() {
        if !both(process, process) || told.contains(process) {
            continue;
        }
        let members: BTreeSet<u16> = edges.keys().copied().filter(|other| both(process, other)).collect();
        told.extend(&members);
        let behind = |other: &u16| !members.contains(other) && reaches[other].contains(process);
        let also = edges.keys().copied().filter(behind).collect();
        knots.push(Knot { waits: in_turn(waits, lost, &members), also });
    }
    knots
}

fn reached(edges: &BTreeMap<u16, BTreeSet<u16>>, from: u16) -> BTreeSet<u16> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(process) = next.pop() {
        for to in edges.get(&process).into_iter().flatten() {
            if reached.insert(*to) {
                next.push(*to);
            }
        }
    }
    reached
}

/// The waits among `members`, one after the other as they wait for each other.
fn in_turn(waits: &[Wait], lost: &BTreeSet<usize>, members: &BTreeSet<u16>) -> Vec<usize> {
    let whom = |i: usize| waits[i].arms.iter().flat_map(|arm| arm.who.iter().copied());
    let inside = |i: &usize| members.contains(&waits[*i].process) && whom(*i).any(|to| members.contains(&to));
    let mut left: Vec<usize> = lost.iter().copied().filter(inside).collect();
    let mut turn: Vec<usize> = Vec::new();
    while !left.is_empty() {
        let follows =
            |i: &usize| turn.last().is_some_and(|last| whom(*last).any(|to| to == waits[*i].process));
        let at = left.iter().position(follows).unwrap_or(0);
        turn.push(left.remove(at));
    }
    turn
}

/// Processes that others wait for and that wait for nobody themselves, each with those who wait for it, also by way of others.
pub fn held_up_by(waits: &[Wait]) -> BTreeMap<u16, BTreeSet<u16>> {
    let mut edges: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for wait in waits {
        edges
            .entry(wait.process)
            .or_default()
            .extend(wait.arms.iter().flat_map(|arm| arm.who.iter().copied()));
    }
    let mut held: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for waiter in edges.keys() {
        for process in reached(&edges, *waiter).into_iter().filter(|process| !edges.contains_key(process)) {
            held.entry(process).or_default().insert(*waiter);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(who: &[u16]) -> Arm {
        Arm { who: who.to_vec(), ..Arm::default() }
    }

    fn wait(process: u16, arms: &[Arm]) -> Wait {
        Wait { process, ends: false, arms: arms.to_vec() }
    }

    fn knots_of(waits: &[Wait]) -> Vec<Knot> {
        knots(waits, &lost(waits, |_| false))
    }

    #[test]
    fn two_that_wait_for_each_other_and_one_who_waits_for_them() {
        let waits = [wait(1, &[one(&[2])]), wait(3, &[one(&[1])]), wait(2, &[one(&[1])])];
        assert_eq!(knots_of(&waits), [Knot { waits: vec![0, 2], also: vec![3] }]);
    }

    #[test]
    fn a_chain_is_no_knot() {
        let waits = [wait(1, &[one(&[2])]), wait(2, &[one(&[3])])];
        assert_eq!(knots_of(&waits), []);
        assert!(lost(&waits, |_| false).is_empty());
        assert_eq!(held_up_by(&waits), BTreeMap::from([(3, BTreeSet::from([1, 2]))]));
    }

    #[test]
    fn a_deadline_a_stranger_or_another_thread_saves_all() {
        let ring = |change: &dyn Fn(&mut Wait)| {
            let mut waits = [wait(1, &[one(&[2])]), wait(2, &[one(&[3])]), wait(3, &[one(&[1])])];
            change(&mut waits[1]);
            waits
        };
        assert_eq!(knots_of(&ring(&|_| ()))[0].waits, [0, 1, 2]);
        assert_eq!(knots_of(&ring(&|wait| wait.ends = true)), []);
        assert_eq!(knots_of(&ring(&|wait| wait.arms.push(Arm { outside: true, ..one(&[]) }))), []);
        assert_eq!(knots_of(&ring(&|wait| wait.arms.push(one(&[9])))), []);
        assert_eq!(knots_of(&ring(&|wait| wait.arms[0].who.push(9))), []);
        let waits = ring(&|_| ());
        assert_eq!(knots(&waits, &lost(&waits, |process| process == 3)), []);
    }

    #[test]
    fn one_of_all_who_are_needed_is_enough_to_be_lost() {
        let all = Arm { all: true, ..one(&[2, 9]) };
        let waits = [wait(1, &[all]), wait(2, &[one(&[1])])];
        assert_eq!(knots_of(&waits)[0].waits, [0, 1]);
    }

    #[test]
    fn a_select_is_lost_when_all_its_arms_are() {
        let waits = [wait(1, &[one(&[2]), one(&[3])]), wait(2, &[one(&[1])]), wait(3, &[one(&[1])])];
        assert_eq!(knots_of(&waits).len(), 1);
        let freed = [waits[0].clone(), waits[1].clone()];
        assert_eq!(knots_of(&freed), []);
    }

    #[test]
    fn threads_of_a_process_are_lost_together_or_not_at_all() {
        let waits = [wait(1, &[one(&[2])]), wait(1, &[one(&[9])]), wait(2, &[one(&[1])])];
        assert_eq!(knots_of(&waits), []);
        assert_eq!(knots_of(&[waits[0].clone(), waits[2].clone()]).len(), 1);
        assert_eq!(knots_of(&[wait(1, &[one(&[1])])])[0].waits, [0], "one that waits for itself");
    }

    #[test]
    fn two_knots_are_two() {
        let waits =
            [wait(1, &[one(&[2])]), wait(2, &[one(&[1])]), wait(5, &[one(&[6])]), wait(6, &[one(&[5])])];
        assert_eq!(knots_of(&waits).len(), 2);
    }
}
