//! The process that the file goes to.

use super::catalogue::mechanisms;
use super::mechanism::{Plan, Receiving};
use super::orders::{halves, word_sum, Answer, Digest, Order, Passed, Progress, Reader};
use crate::failure::Fault;
use crate::machine::now_ns;
use crate::raw::{SharedWords, Usage};
use crate::two::wire::Wire;
use xxhash_rust::xxh3::Xxh3;

/// Does what the coordinator orders until it closes the wire.
pub fn serve(control: &Wire, link: &Wire) -> Result<(), Fault> {
    let (order, words) = control.recv_fd()?;
    let Order::Expect(plan) = order else {
        return Err("the file must be announced first".into());
    };
    let progress = Progress(SharedWords::open(words, Progress::LINES)?);
    control.send(&Answer::Done)?;
    let mechanisms = mechanisms();
    let mut open: Option<Box<dyn Receiving>> = None;
    loop {
        let answer = match (control.recv()?, &mut open) {
            (Order::Open(index), _) => match mechanisms[index].receiver(link, plan) {
                Ok(end) => {
                    open = Some(end);
                    Answer::Done
                }
                Err(fault) => {
                    link.give_up(&fault.to_string())?;
                    Answer::Failed(fault.to_string())
                }
            },
            (Order::Pass(reader), Some(end)) => match pass(end.as_mut(), plan, reader, &progress, link) {
                Ok(passed) => Answer::Passed(passed),
                Err(fault) => {
                    link.give_up(&fault.to_string())?;
                    Answer::Failed(fault.to_string())
                }
            },
            (Order::Close, _) => {
                open = None;
                link.drain();
                Answer::Done
            }
            _ => Answer::Failed("an order that makes no sense to the receiver".into()),
        };
        control.send(&answer)?;
    }
}

fn pass(
    end: &mut dyn Receiving,
    plan: Plan,
    reader: Reader,
    progress: &Progress,
    link: &Wire,
) -> Result<Passed, Fault> {
    let mut bytes = 0;
    let mut sum = 0u64;
    let mut hash = Xxh3::new();
    progress.set(0, plan.bytes);
    let before = Usage::now();
    link.send(&())?;
    let start_ns = now_ns();
    end.receive_all(plan, &mut |message| {
        match reader {
            Reader::Sum => sum = sum.wrapping_add(word_sum(message)),
            Reader::Hash => hash.update(message),
        }
        bytes += message.len() as u64;
        progress.set(bytes, plan.bytes);
    })?;
    let end_ns = now_ns();
    let usage = Usage::now().since(before);
    let digest = Digest { sum, hash: halves(hash.digest128()) };
    Ok(Passed { start_ns, end_ns, usage, bytes, digest })
}
