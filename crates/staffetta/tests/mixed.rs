//! One channel of small messages, used in every way there is: values and variables, mixed.

mod common;

use common::options;
use staffetta::{Method, SendError, Variable, Wait};

/// V: from or into a variable; v: a value.
const PATTERNS: [&str; 7] = ["v", "V", "vV", "vvV", "vVV", "vvvV", "vVvvV"];

fn is_variable(pattern: &str, n: u64) -> bool {
    pattern.as_bytes()[n as usize % pattern.len()] == b'V'
}

/// `receiver_first`: sends only when the receiver waits already.
fn pass(wait: Wait, method: Method, sends: &'static str, receives: &'static str, receiver_first: bool) {
    const MESSAGES: u64 = 30;
    let domain = options().wait(wait).create().unwrap();
    let (tx, rx) = domain.channel("small").method(method).unnamed::<u64>().unwrap();
    let mut target: Variable<u64> = domain.variable().unwrap();
    let receiver = std::thread::spawn(move || {
        let receive = |n| {
            if is_variable(receives, n) {
                rx.recv_into(&mut target).unwrap();
                *target.get().unwrap()
            } else {
                rx.recv().unwrap()
            }
        };
        (0..MESSAGES).map(receive).collect::<Vec<u64>>()
    });
    let mut variable = domain.variable::<u64>().unwrap();
    for n in 0..MESSAGES {
        variable.set(n);
        let mut send = || match (is_variable(sends, n), receiver_first) {
            (true, true) => tx.try_send_variable(&mut variable).is_ok(),
            (true, false) => tx.send_variable(&mut variable).map(|()| true).unwrap(),
            (false, true) => {
                tx.try_send(n).map_err(|SendError { message, .. }| assert_eq!(message, n)).is_ok()
            }
            (false, false) => tx.send(n).map(|()| true).unwrap(),
        };
        while !send() {
            std::thread::yield_now();
        }
    }
    let what = format!("{sends} into {receives}, {wait}, {method}, receiver first: {receiver_first}");
    assert_eq!(receiver.join().unwrap(), (0..MESSAGES).collect::<Vec<u64>>(), "{what}");
    let (sent, received) = tx.channel_counters();
    assert_eq!((sent.messages, sent.bytes), (MESSAGES, 8 * MESSAGES), "{what}");
    assert_eq!((received.messages, received.bytes), (MESSAGES, 8 * MESSAGES), "{what}");
}

#[test]
fn each_small_message_arrives_once_and_in_order() {
    for wait in Wait::ALL {
        for method in [Method::Coinciding, Method::Distinct] {
            for sends in PATTERNS {
                for receives in PATTERNS {
                    pass(wait, method, sends, receives, true);
                    pass(wait, method, sends, receives, false);
                }
            }
        }
    }
}
