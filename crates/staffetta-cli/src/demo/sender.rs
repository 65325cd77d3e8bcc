//! The process that holds the file and sends it.

use super::catalogue::mechanisms;
use super::mechanism::{Messages, Plan, Sending};
use super::orders::{halves, word_sum, Answer, Digest, Order, Passed, Progress};
use super::source::load;
use crate::failure::Fault;
use crate::machine::now_ns;
use crate::raw::{SharedWords, Usage};
use crate::two::wire::Wire;

/// Does what the coordinator orders until it closes the wire.
pub fn serve(control: &Wire, link: &Wire) -> Result<(), Fault> {
    let Some((data, plan)) = load_file(control)? else {
        return Ok(());
    };
    let messages = Messages { data: &data, plan };
    let mechanisms = mechanisms();
    let mut open: Option<Box<dyn Sending>> = None;
    loop {
        let answer = match (control.recv()?, &mut open) {
            (Order::Open(index), _) => match mechanisms[index].sender(link, plan) {
                Ok(end) => {
                    open = Some(end);
                    Answer::Done
                }
                Err(fault) => {
                    link.give_up(&fault.to_string())?;
                    Answer::Failed(fault.to_string())
                }
            },
            (Order::Pass(_), Some(end)) => match pass(end.as_mut(), messages, link) {
                Ok(passed) => Answer::Passed(passed),
                Err(fault) => {
                    link.give_up(&fault.to_string())?;
                    Answer::Failed(fault.to_string())
                }
            },
            (Order::Count, Some(end)) => Answer::Counted(end.bytes_copied()),
            (Order::Close, _) => {
                open = None;
                link.drain();
                Answer::Done
            }
            _ => Answer::Failed("an order that makes no sense to the sender".into()),
        };
        control.send(&answer)?;
    }
}

fn load_file(control: &Wire) -> Result<Option<(Vec<u8>, Plan)>, Fault> {
    let (order, fds) = control.recv_with()?;
    let mut fds = fds.into_iter();
    let (Order::Load { source, message_bytes, bytes_available }, Some(words)) = (order, fds.next()) else {
        return Err("the file must be loaded first".into());
    };
    let progress = Progress(SharedWords::open(words, Progress::LINES)?);
    match load(&source, fds.next(), bytes_available, &|done, whole| progress.set(done, whole)) {
        Ok(data) => {
            let plan = Plan { bytes: data.len() as u64, message_bytes };
            let sum = Messages { data: &data, plan }
                .iter()
                .fold(0u64, |sum, message| sum.wrapping_add(word_sum(message)));
            let hash = halves(xxhash_rust::xxh3::xxh3_128(&data));
            control.send(&Answer::Loaded { bytes: plan.bytes, digest: Digest { sum, hash } })?;
            Ok(Some((data, plan)))
        }
        Err(bad) => {
            control.send(&Answer::Bad(bad))?;
            Ok(None)
        }
    }
}

fn pass(end: &mut dyn Sending, messages: Messages, link: &Wire) -> Result<Passed, Fault> {
    end.prepare(messages)?;
    // The receiver says that it is ready: the clock starts with both sides awake.
    link.recv::<()>()?;
    let before = Usage::now();
    let start_ns = now_ns();
    end.send_all(messages)?;
    let end_ns = now_ns();
    Ok(Passed {
        start_ns,
        end_ns,
        usage: Usage::now().since(before),
        bytes: messages.plan.bytes,
        digest: Digest::default(),
    })
}
