//! The process that answers.

use super::catalogue::specs;
use super::orders::Request;
use super::subject::{Side, Spec, Subject};
use super::Plan;
use crate::failure::Fault;
use crate::two::wire::Wire;
use std::collections::HashMap;

/// Does what ping requests until its wire is closed.
pub fn serve(link: &Wire, plan: Plan) -> Result<(), Fault> {
    serve_specs(&specs(plan.quick), link)
}

/// The same over a list of one's own.
pub fn serve_specs(specs: &[Spec], link: &Wire) -> Result<(), Fault> {
    let mut open: HashMap<usize, Box<dyn Subject>> = HashMap::new();
    loop {
        let done = match link.recv()? {
            Request::Open { slot, spec, variant } => {
                (specs[spec].open[variant])(Side::Pong, link).map(|subject| {
                    open.insert(slot, subject);
                    true
                })
            }
            Request::Facts => super::facts::measure(Side::Pong, link).map(|_| true),
            Request::CloseAll => {
                open.clear();
                Ok(true)
            }
            // Nothing is said after the rounds: ping knows, it has had the last answer.
            Request::Pong { slot, rounds } => match open.get_mut(&slot) {
                Some(subject) => subject.prepare(rounds).and_then(|()| subject.pong(rounds)).map(|()| false),
                None => Err("pong was asked for a subject that is not open".into()),
            },
            Request::Stream { slot, first, messages } => match open.get_mut(&slot) {
                Some(subject) => subject.stream_receive(first, messages).map(|()| true),
                None => Err("pong was asked for a subject that is not open".into()),
            },
        };
        match done {
            Ok(true) => link.send(&())?,
            Ok(false) => {}
            // Ping may be spinning and not hear it; our end makes the coordinator end both.
            Err(fault) => {
                eprintln!("staffetta: the answering process: {fault}");
                link.give_up(&fault.to_string())?;
                return Err(fault);
            }
        }
    }
}
