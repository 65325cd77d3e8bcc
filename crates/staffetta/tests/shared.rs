//! What every channel has to do (`conformance`), of the channels of a domain; their ends are held by threads of one process here,
//! who know nothing of each other but the domain. `local.rs` runs the same over channels within a process.

mod common;
mod conformance;

use conformance::{everything, Flavor};
use staffetta::{Domain, Receiver, Sender, Wait};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    Rendezvous,
    Buffered,
    Bounded,
    WorkQueue,
}

struct Shared {
    domain: Domain,
    form: Form,
    degree: u64,
    wait: Wait,
}

impl Flavor for Shared {
    type Tx = Sender<u64>;
    type Rx = Receiver<u64>;

    fn name(&self) -> String {
        format!("{:?}, degree {}, {}", self.form, self.degree, self.wait)
    }

    fn degree(&self) -> u64 {
        self.degree
    }

    fn most(&self) -> (usize, usize) {
        match self.form {
            Form::Rendezvous | Form::Buffered => (1, 1),
            Form::Bounded => (64, 64),
            Form::WorkQueue => (1, 64),
        }
    }

    fn messages(&self) -> u64 {
        if self.wait == Wait::Park {
            1_000
        } else {
            4_000
        }
    }

    fn waits_for_successors(&self) -> bool {
        true
    }

    fn channel(&self, senders: usize, receivers: usize) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
        let name = common::name("conformance");
        let channel = || {
            let channel = self.domain.channel(&name).wait(self.wait);
            match self.form {
                Form::Rendezvous => channel.rendezvous(),
                Form::Buffered => channel.buffered(self.degree),
                Form::Bounded => channel.bounded(self.degree),
                Form::WorkQueue => channel.work_queue(self.degree),
            }
        };
        let receivers = (0..receivers).map(|_| channel().receiver().unwrap()).collect();
        ((0..senders).map(|_| channel().sender().unwrap()).collect(), receivers)
    }
}

fn run(form: Form, degrees: &[u64]) {
    for &degree in degrees {
        for wait in Wait::ALL {
            everything(&Shared { domain: common::options().create().unwrap(), form, degree, wait });
        }
    }
}

#[test]
fn the_rendezvous() {
    run(Form::Rendezvous, &[0]);
}

#[test]
fn buffered_channels() {
    run(Form::Buffered, &[1, 3]);
}

#[test]
fn bounded_channels() {
    run(Form::Bounded, &[1, 8]);
}

#[test]
fn work_queues() {
    run(Form::WorkQueue, &[1, 8]);
}
