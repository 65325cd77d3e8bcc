//! Streams of messages between so many senders and receivers: between threads of one process over the library's own channels and
//! over what they are compared with, and between processes over the channels with many ends.
//!
//! | file | what it is |
//! |---|---|
//! | `peers` | each library's channel: how it is made, how one message is sent and received |
//! | `race` | so many senders and so many receivers, and numbered messages in one direction |
//!
//! The figure of a row is the time that one message takes in a long stream, not a latency: its `msg/s` is that turned
//! round. All rows of a form are compared with one of them, so that they run in turn, in the same process on the same cores,
//! and the ratio tells more than the figures: with `std.crossbeam`; without a buffer with `std.kanal`, since crossbeam
//! parks so often there that its blocks would last a hundred times as long (a quick run leaves them out).
//!
//! The form is the end of the name: `1:1` is one sender and one receiver with a buffer of 1024 messages, and so on; `meet`
//! is one of each without a buffer.

mod peers;
mod race;

use super::subject::{LimitName, Open, Spec};
use peers::{Bounded, Crossbeam, Kanal, Local, ManyToOne, Mpsc, Peer, Rtrb, WorkQueue};
use race::{Form, Race};

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
    FORMS.iter().any(|(names, form)| names.base(*form) == what)
}

impl Names {
    /// What the others of this form are compared with.
    fn base(&self, form: Form) -> &'static str {
        if form.degree == 0 {
            self.kanal
        } else {
            self.crossbeam
        }
    }
}

/// All rows. A quick run has shorter ones.
pub fn specs(quick: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (names, form) in FORMS {
        // Long beside the time that it takes to wake the threads.
        let batch = match (form.degree, quick) {
            (0, true) => 1 << 10,
            (0, false) => 1 << 11,
            (_, true) => 1 << 13,
            (_, false) => 1 << 15,
        };
        let base = names.base(form);
        let mut row = |what: &'static str, wait, open: Open| {
            let (reference, touch) = (None, None);
            let limit = (what != base).then_some(LimitName { what: base, reference, bytes: 8, touch });
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
        let meets = form.degree == 0;
        let single = form.senders == 1 && form.receivers == 1;
        row(names.local, Some("spin-then-park"), open::<Local>(form));
        row(names.kanal, None, open::<Kanal>(form));
        if !(meets && quick) {
            row(names.crossbeam, None, open::<Crossbeam>(form));
        }
        if form.receivers == 1 && !(quick && (meets || !single)) {
            row(names.mpsc, None, open::<Mpsc>(form));
        }
        // Between two processes, beside threads of one.
        match (form.senders, form.receivers) {
            (2, 1) => row("many-to-one", Some("spin-then-park"), open::<ManyToOne>(form)),
            (1, 2) => row("work-queue", Some("spin-then-park"), open::<WorkQueue>(form)),
            (2, 2) => row("bounded", Some("spin-then-park"), open::<Bounded>(form)),
            _ => {}
        }
        if single && !meets {
            row(names.rtrb, Some("spin"), open::<Rtrb>(form));
        }
    }
    specs
}

fn open<P: Peer>(form: Form) -> Open {
    Box::new(move |side, wire| Ok(Box::new(Race::<P>::open(form, side, wire)?)))
}
