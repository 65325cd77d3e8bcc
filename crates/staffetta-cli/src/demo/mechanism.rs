//! What a mechanism is to the demo: a name, and how each side opens it and moves a file over it.
//!
//! To add a mechanism, write one file that implements [`Mechanism`] and name it in `catalogue`.

use crate::failure::Fault;
use crate::two::wire::Wire;

/// One way to bring messages from one process to another.
pub trait Mechanism {
    /// `tcp`, `basic`, `parcel` …
    fn name(&self) -> &'static str;

    /// The method by which shared references are resolved, if it uses any.
    fn reference(&self) -> Option<&'static str> {
        None
    }

    /// How it waits, if that can be chosen.
    fn wait(&self) -> Option<&'static str> {
        None
    }

    /// How the copies of a message are known.
    fn copies(&self) -> Copies;

    /// Whether it is shown without `--all`.
    fn by_default(&self) -> bool {
        true
    }

    /// Opens the sending end. Both ends open at the same time and may talk over `meet`.
    fn sender(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Sending>, Fault>;

    /// Opens the receiving end.
    fn receiver(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Receiving>, Fault>;
}

/// How the copies of a message are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Copies {
    /// By construction, at least so many; nobody counts them.
    Known(u64),
    /// By the channel, which counts the bytes it copies: see [`Sending::bytes_copied`].
    Counted,
}

/// The sending end, in its process.
pub trait Sending {
    /// Called before every pass, outside the timed part: build here what is sent from where it lies.
    fn prepare(&mut self, _messages: Messages<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Sends all messages, in order.
    fn send_all(&mut self, messages: Messages<'_>) -> Result<(), Fault>;

    /// The bytes copied on this channel since it was opened, by both sides, for [`Copies::Counted`].
    fn bytes_copied(&self) -> u64 {
        0
    }
}

/// The receiving end, in its process.
pub trait Receiving {
    /// Receives all messages of the plan, in order, and shows each to `reader`.
    fn receive_all(&mut self, plan: Plan, reader: &mut dyn FnMut(&[u8])) -> Result<(), Fault>;
}

/// How a file is cut into messages.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The whole file.
    pub bytes: u64,
    /// Every message but the last, which may be shorter.
    pub message_bytes: u64,
}

impl Plan {
    /// The length of each message.
    pub fn lengths(self) -> impl Iterator<Item = usize> {
        let count = self.bytes.div_ceil(self.message_bytes);
        (0..count)
            .map(move |index| (self.bytes - index * self.message_bytes).min(self.message_bytes) as usize)
    }

    /// The length of the longest message: what a target variable must hold.
    pub fn longest(self) -> usize {
        self.bytes.min(self.message_bytes) as usize
    }
}

/// The messages of a file, in the memory of the sender.
#[derive(Clone, Copy)]
pub struct Messages<'a> {
    /// The whole file.
    pub data: &'a [u8],
    /// How it is cut.
    pub plan: Plan,
}

impl<'a> Messages<'a> {
    /// Each message.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.data.chunks(self.plan.message_bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_cut_the_file_alike() {
        for (bytes, message_bytes) in [(1, 1), (10, 3), (9, 3), (5, 100)] {
            let plan = Plan { bytes, message_bytes };
            let data = vec![0; bytes as usize];
            let sent: Vec<usize> = Messages { data: &data, plan }.iter().map(<[u8]>::len).collect();
            assert_eq!(sent, plan.lengths().collect::<Vec<_>>());
            assert_eq!(sent.iter().max(), Some(&plan.longest()));
        }
    }
}
