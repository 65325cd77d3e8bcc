//! What the library says it adds to a process is what it adds.

mod common;

use common::{finish, name, role, start};
use staffetta::{limits, Domain};

fn value(what: &str) -> usize {
    let limit = limits().into_iter().find(|limit| limit.name == what);
    limit.unwrap_or_else(|| panic!("no limit `{what}`")).value as usize
}

fn entries(of: &str) -> usize {
    std::fs::read_dir(of).map_or(0, Iterator::count)
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    assert_eq!(role, "member");
    let domain = Domain::join(&arguments[0]).unwrap();
    // Until the test has looked.
    let _ = domain.receiver::<u64>("done").unwrap().recv();
}

/// Alone in its binary's process but for `roles`, which does nothing there.
#[test]
fn descriptors_and_threads() {
    if role().is_some() {
        return;
    }
    let count = || (entries("/proc/self/fd"), entries("/proc/self/task"));
    let before = count();
    let name = name("limits");
    let domain = Domain::options().create_new(&name).unwrap();
    let alone = count();
    assert!(alone.0 - before.0 <= value("descriptors, alone"), "{} descriptors", alone.0 - before.0);
    const PEERS: usize = 3;
    let peers: Vec<_> = (0..PEERS).map(|_| start("member", &[&name])).collect();
    let most = value("descriptors, each peer");
    for peer in peers {
        // They take turns at the one channel.
        let done = domain.sender::<u64>("done").unwrap();
        let _ = done.send(1);
        let now = count();
        assert!(now.0 - alone.0 <= most * PEERS, "{} more for {PEERS} peers", now.0 - alone.0);
        drop(done);
        finish(peer);
    }
    assert!(value("threads added") >= 1 && alone.1 > before.1);
}

#[test]
fn every_limit_says_what_it_is() {
    for limit in limits() {
        assert!(!limit.name.is_empty() && !limit.unit.is_empty() && !limit.remark.is_empty(), "{limit:?}");
    }
    assert_eq!(value("processes of a domain"), 1024);
    assert!(value("window, smallest") < value("window, default"));
}
