//! Messages between two real processes: every mechanism, every reference method, every wait policy.

mod common;

use common::{finish, name, options, role, start};
use staffetta::{Domain, Method, Parcel, Wait};

const MESSAGES: u64 = 2_000;

fn wait_of(text: &str) -> Wait {
    Wait::ALL.into_iter().find(|w| w.to_string() == text).expect("a wait policy")
}

fn method_of(text: &str) -> Method {
    Method::ALL.into_iter().find(|m| m.to_string() == text).expect("a method")
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = options().wait(wait_of(&arguments[1])).open(&arguments[0]).unwrap();
    let method = method_of(&arguments[2]);
    match role.as_str() {
        "echo-values" => {
            let rx = domain.receiver::<u64>("there").unwrap();
            let tx = domain.sender::<u64>("back").unwrap();
            for n in rx {
                tx.send(n + 1).unwrap();
            }
        }
        "echo-large" => {
            let rx = domain.receiver::<[u64; 100]>("there").unwrap();
            let tx = domain.sender::<[u64; 100]>("back").unwrap();
            for n in rx {
                tx.send(n.map(|x| x + 1)).unwrap();
            }
        }
        "echo-variables" => {
            let rx = domain.channel("there").method(method).receiver::<[u64]>().unwrap();
            let tx = domain.channel("back").method(method).sender::<[u64]>().unwrap();
            let mut variable = domain.variable_slice::<u64>(1000).unwrap();
            while rx.recv_into(&mut variable).is_ok() {
                variable.get_mut().unwrap().iter_mut().for_each(|x| *x += 1);
                tx.send_variable(&mut variable).unwrap();
            }
        }
        "echo-parcels" => {
            let rx = domain.channel("there").method(method).receiver::<Parcel<[u64]>>().unwrap();
            let tx = domain.channel("back").method(method).sender::<Parcel<[u64]>>().unwrap();
            for mut parcel in rx {
                parcel.iter_mut().for_each(|x| *x += 1);
                tx.send(parcel).unwrap();
            }
        }
        other => panic!("no role {other}"),
    }
}

fn for_all(role: &str, methods: &[Method], test: impl Fn(&Domain, Method)) {
    for wait in Wait::ALL {
        for &method in methods {
            let name = name(role);
            let child = start(role, &[&name, &wait.to_string(), &method.to_string()]);
            let domain = options().wait(wait).open(&name).unwrap();
            test(&domain, method);
            finish(child);
        }
    }
}

#[test]
fn values() {
    for_all("echo-values", &[Method::Coinciding], |domain, _| {
        let tx = domain.sender::<u64>("there").unwrap();
        let rx = domain.receiver::<u64>("back").unwrap();
        for n in 0..MESSAGES {
            tx.send(n).unwrap();
            assert_eq!(rx.recv().unwrap(), n + 1);
        }
        let (sent, received) = tx.channel_counters();
        assert_eq!((sent.messages, sent.bytes, sent.bytes_copied), (MESSAGES, 8 * MESSAGES, 8 * MESSAGES));
        drop(tx);
        assert!(rx.recv().is_err());
        assert!(received.messages >= MESSAGES - 1);
    });
}

#[test]
fn values_larger_than_a_line() {
    for_all("echo-large", &[Method::Coinciding], |domain, _| {
        let tx = domain.sender::<[u64; 100]>("there").unwrap();
        let rx = domain.receiver::<[u64; 100]>("back").unwrap();
        for n in 0..MESSAGES {
            tx.send([n; 100]).unwrap();
            assert_eq!(rx.recv().unwrap(), [n + 1; 100]);
        }
    });
}

#[test]
fn variables_are_copied_once() {
    for_all("echo-variables", &Method::ALL, |domain, method| {
        let tx = domain.channel("there").method(method).sender::<[u64]>().unwrap();
        let rx = domain.channel("back").method(method).receiver::<[u64]>().unwrap();
        let mut variable = domain.variable_slice::<u64>(1000).unwrap();
        let mut bytes = 0;
        for n in 0..MESSAGES {
            let length = (n % 1001) as usize;
            variable.zero(length).unwrap().fill(n);
            tx.send_variable(&mut variable).unwrap();
            rx.recv_into(&mut variable).unwrap();
            assert_eq!(variable.get().unwrap(), vec![n + 1; length]);
            bytes += length as u64 * 8;
        }
        let (sent, received) = rx.channel_counters();
        assert_eq!(received.bytes, bytes);
        assert_eq!(sent.bytes_copied + received.bytes_copied, bytes, "exactly one copy");
    });
}

#[test]
fn parcels_are_not_copied() {
    for_all("echo-parcels", &Method::ALL, |domain, method| {
        let tx = domain.channel("there").method(method).sender::<Parcel<[u64]>>().unwrap();
        let rx = domain.channel("back").method(method).receiver::<Parcel<[u64]>>().unwrap();
        let mut parcel = domain.parcels(method).zeroed::<[u64]>(1000).unwrap();
        for n in 0..MESSAGES {
            assert!(parcel.iter().all(|x| *x == n));
            tx.send(parcel).unwrap();
            parcel = rx.recv().unwrap();
        }
        let (sent, received) = rx.channel_counters();
        assert_eq!(received.messages, MESSAGES);
        assert_eq!(received.bytes, MESSAGES * 8000);
        assert_eq!(sent.bytes_copied + received.bytes_copied, 0);
    });
}
