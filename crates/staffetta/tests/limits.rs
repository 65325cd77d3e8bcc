//! What the library says it adds to a process is what it adds.

mod common;

use common::{finish, name, role, start};
use staffetta::{limits, Domain};

fn value(what: &str) -> usize {
    let limit = limits().into_iter().find(|limit| limit.name == what);
    limit.unwrap_or_else(|| panic!("no limit `{what}`")).value as usize
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Threads of the library's; those of the test harness come and go.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("staffetta")).count()
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    assert_eq!(role, "member");
    let domain = Domain::join(&arguments[0]).unwrap();
    domain.sender::<u64>(&arguments[1]).unwrap().send(1).unwrap();
    // Until the test has looked.
    let _ = domain.receiver::<u64>(&arguments[2]).unwrap().recv();
}

/// Alone in its binary's process but for `roles`, which does nothing there.
#[test]
fn descriptors_and_threads() {
    if role().is_some() {
        return;
    }
    let before = descriptors();
    let name = name("limits");
    let domain = common::options().create_new(&name).unwrap();
    let alone = descriptors();
    assert!(alone - before <= value("descriptors, alone"), "{} descriptors", alone - before);
    const PEERS: usize = 3;
    let ends: Vec<_> = (0..PEERS).map(|n| (format!("here-{n}"), format!("done-{n}"))).collect();
    let peers: Vec<_> = ends.iter().map(|(here, done)| start("member", &[&name, here, done])).collect();
    for (here, _) in &ends {
        domain.receiver::<u64>(here).unwrap().recv().unwrap();
    }
    let now = descriptors();
    let most = value("descriptors, each peer");
    assert!(now - alone <= most * PEERS, "{} more for {PEERS} peers", now - alone);
    for ((_, done), peer) in ends.iter().zip(peers) {
        domain.sender::<u64>(done).unwrap().send(1).unwrap();
        finish(peer);
    }
    assert!((1..=value("threads added")).contains(&threads()), "{} threads", threads());
}

#[test]
fn every_limit_says_what_it_is() {
    for limit in limits() {
        assert!(!limit.name.is_empty() && !limit.unit.is_empty() && !limit.remark.is_empty(), "{limit:?}");
    }
    assert_eq!(value("processes of a domain"), 1024);
    assert!(value("window, smallest") < value("window, default"));
}
