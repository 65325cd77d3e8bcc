//! Channels between threads of one process: the library's own, and what they are compared with.
//!
//! | file | what it is |
//! |---|---|
//! | `peers` | each library's channel: how it is made, how one message is sent and received |
//! | `race` | so many senders and so many receivers, and numbered messages in one direction |
//!
//! The figure of a row is the time that one message takes in a long stream, not a latency: its `msg/s` is that turned
//! round. `std.crossbeam` is the limit of all rows of its form, so all run in turn, in the same process on the same cores,
//! and the ratio tells more than the figures.
//!
//! The form is the end of the name: `1:1` is one sender and one receiver with a buffer of 1024 messages, and so on; `meet`
//! is one of each without a buffer.

mod peers;
mod race;

use super::subject::{LimitName, Open, Spec};
use peers::{Crossbeam, Kanal, Local, Mpsc, Peer, Rtrb};
use race::{Form, Race};

/// What the others are compared with.
const BASE: &str = "std.crossbeam";

/// The names of a form's rows.
struct Names {
    local: &'static str,
    crossbeam: &'static str,
    kanal: &'static str,
    mpsc: &'static str,
    rtrb: &'static str,
}

macro_rules! names {
    ($form:literal) => {
        Names {
            local: concat!("local.", $form),
            crossbeam: concat!("std.crossbeam.", $form),
            kanal: concat!("std.kanal.", $form),
            mpsc: concat!("std.mpsc.", $form),
            rtrb: concat!("std.rtrb.", $form),
        }
    };
}

const BUFFER: usize = 1024;

const FORMS: [(Names, Form); 5] = [
    (names!("1:1"), Form { senders: 1, receivers: 1, degree: BUFFER }),
    (names!("2:1"), Form { senders: 2, receivers: 1, degree: BUFFER }),
    (names!("1:2"), Form { senders: 1, receivers: 2, degree: BUFFER }),
    (names!("2:2"), Form { senders: 2, receivers: 2, degree: BUFFER }),
    (names!("meet"), Form { senders: 1, receivers: 1, degree: 0 }),
];

/// Is it a row of this folder that the others are compared with?
pub fn is_base(what: &str) -> bool {
    what.starts_with(BASE)
}

/// All rows. A quick run has shorter ones.
pub fn specs(quick: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (names, form) in FORMS {
        // Long beside the time that it takes to wake the threads.
        let batch = match (form.degree, quick) {
            (0, true) => 1 << 11,
            (0, false) => 1 << 12,
            (_, true) => 1 << 13,
            (_, false) => 1 << 15,
        };
        let limit = LimitName { what: names.crossbeam, reference: None, bytes: 8, touch: None };
        let mut row = |what: &'static str, limit, wait, open: Open| {
            let (reference, touch) = (None, None);
            specs.push(Spec {
                what,
                reference,
                wait,
                bytes: 8,
                touch,
                batch,
                alone: true,
                limit,
                open: vec![open],
            });
        };
        row(names.crossbeam, None, None, open::<Crossbeam>(form));
        row(names.local, Some(limit), Some("spin-then-park"), open::<Local>(form));
        row(names.kanal, Some(limit), None, open::<Kanal>(form));
        if form.receivers == 1 {
            row(names.mpsc, Some(limit), None, open::<Mpsc>(form));
        }
        if form.degree != 0 && form.senders == 1 && form.receivers == 1 {
            row(names.rtrb, Some(limit), Some("spin"), open::<Rtrb>(form));
        }
    }
    specs
}

fn open<P: Peer>(form: Form) -> Open {
    Box::new(move |side, wire| Ok(Box::new(Race::<P>::open(form, side, wire)?)))
}
