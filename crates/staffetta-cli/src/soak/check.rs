//! How one message is told from another, and what a receiver notes of those that it gets.
//!
//! A receiver cannot keep 10^9 numbers. It notes, of each sender, how many came, that each number was higher than the one before
//! (so none came twice here, and the order was kept), and the sum of their fingerprints. If the sums of all
//! receivers together are the senders' own, and as many came as were sent, the same messages came as were sent, each once.

use serde::{Deserialize, Serialize};

/// A message: its number, which says who sent it, and the number's fingerprint, which says that it is whole.
pub type Message = [u64; 2];

const WHO_BITS: u32 = 8;

/// Message `n` of sender `who`.
#[inline]
pub fn message(who: u64, n: u64) -> Message {
    let number = n << WHO_BITS | who;
    [number, mix(number)]
}

/// SplitMix64's last steps: any bit of the number changes half of the fingerprint's.
#[inline]
fn mix(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The messages of one sender: sent by it, or come from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heap {
    pub count: u64,
    /// The sum of their fingerprints.
    pub sum: u64,
    /// The number that the next one has at the least.
    next: u64,
}

impl Heap {
    /// One more.
    #[inline]
    pub fn add(&mut self, message: Message) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(message[1]);
    }

    /// Both together.
    pub fn with(self, other: Heap) -> Heap {
        Heap { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum), next: 0 }
    }
}

/// What a process found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// Of each sender.
    pub heaps: Vec<Heap>,
    /// Messages that it dropped.
    pub dropped: u64,
    /// The first thing that was wrong.
    pub problem: Option<String>,
}

impl Found {
    pub fn of(senders: u64) -> Found {
        Found { heaps: vec![Heap::default(); senders as usize], ..Found::default() }
    }

    /// A message came.
    #[inline]
    pub fn take(&mut self, message: Message) {
        let [number, fingerprint] = message;
        let (who, n) = (number & ((1 << WHO_BITS) - 1), number >> WHO_BITS);
        match self.heaps.get_mut(who as usize) {
            Some(heap) if fingerprint == mix(number) && n >= heap.next => {
                heap.next = n + 1;
                heap.add(message);
            }
            _ => self.wrong(who, n, fingerprint == mix(number)),
        }
    }

    #[cold]
    fn wrong(&mut self, who: u64, n: u64, whole: bool) {
        let what = if whole { "came twice, or out of its order" } else { "came torn" };
        self.problem.get_or_insert(format!("message {n} of sender {who} {what}"));
    }
}

/// Are those that came those that were sent? `drops`: but for those that were dropped.
pub fn verdict(sent: &[Found], came: &[Found], drops: bool) -> Result<(), String> {
    if let Some(problem) = sent.iter().chain(came).find_map(|found| found.problem.clone()) {
        return Err(problem);
    }
    let senders = sent.first().map_or(0, |found| found.heaps.len());
    let of =
        |all: &[Found], who: usize| all.iter().fold(Heap::default(), |sum, found| sum.with(found.heaps[who]));
    let dropped: u64 = sent.iter().map(|found| found.dropped).sum();
    let count = |all: &[Found]| (0..senders).map(|who| of(all, who).count).sum::<u64>();
    if count(came) + dropped != count(sent) {
        return Err(format!("{} were sent, {} came and {dropped} were dropped", count(sent), count(came)));
    }
    match (0..senders).find(|&who| !drops && of(sent, who) != of(came, who)) {
        Some(who) => Err(format!("what came from sender {who} is not what it sent")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(numbers: impl IntoIterator<Item = u64>) -> Found {
        let mut found = Found::of(1);
        numbers.into_iter().for_each(|n| found.heaps[0].add(message(0, n)));
        found
    }

    fn came(numbers: &[u64]) -> Found {
        let mut found = Found::of(1);
        numbers.iter().for_each(|&n| found.take(message(0, n)));
        found
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let all = [sent(0..6)];
        assert_eq!(verdict(&all, &[came(&[0, 1, 2, 3, 4, 5])], false), Ok(()));
        assert_eq!(verdict(&all, &[came(&[1, 4]), came(&[0, 2, 3, 5])], false), Ok(()));
        for wrong in [
            &[came(&[0, 1, 2, 3, 4])][..],
            &[came(&[0, 1, 1, 2, 3, 4, 5])],
            &[came(&[0, 1, 3, 2, 4, 5])],
            &[came(&[0, 1, 2, 3, 4, 5, 6])],
            &[came(&[0, 1, 2]), came(&[2, 3, 4])],
            &[came(&[0, 1, 2]), came(&[2, 3, 4, 5])],
        ] {
            assert!(verdict(&all, wrong, false).is_err(), "{wrong:?}");
        }
        let mut torn = Found::of(1);
        torn.take([message(0, 1)[0], 7]);
        assert!(verdict(&all, &[torn], false).is_err());
        let mut drops = sent(0..6);
        drops.dropped = 2;
        assert_eq!(verdict(&[drops.clone()], &[came(&[0, 1, 4, 5])], true), Ok(()));
        assert!(verdict(&[drops], &[came(&[0, 1, 5])], true).is_err());
    }
}
