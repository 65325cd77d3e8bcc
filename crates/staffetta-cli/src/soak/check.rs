//! How one message is told from another, and what a receiver notes of those that it gets.
//!
//! A receiver cannot keep 10^9 numbers. It notes, of each sender, how many came, that each number was higher than the one before
//! (so none came twice here, and the order was kept), and the sum of their fingerprints. If the sums of all
//! receivers together are the senders' own, and as many came as were sent, the same messages came as were sent, each once.
//! Where each message goes to all receivers this holds for each of them; what it missed is counted, and must be exactly what
//! its numbers jump over.

use super::plan::Promise;
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

/// Its number among those of its sender.
#[inline]
pub fn number(message: Message) -> u64 {
    message[0] >> WHO_BITS
}

/// The answer to a request: nobody else's.
#[inline]
pub fn answer(request: Message) -> Message {
    [!request[0], mix(request[1])]
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
    pub next: u64,
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
    /// Messages that it was told it missed.
    pub missed: u64,
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
        let [label, fingerprint] = message;
        let (who, n) = (label & ((1 << WHO_BITS) - 1), number(message));
        match self.heaps.get_mut(who as usize) {
            Some(heap) if fingerprint == mix(label) && n >= heap.next => {
                heap.next = n + 1;
                heap.add(message);
            }
            _ => self.wrong(who, n, fingerprint == mix(label)),
        }
    }

    /// A message came from the only sender; `missed` so far were missed, so the channel says.
    #[inline]
    pub fn take_after_missing(&mut self, message: Message, missed: u64) {
        let (n, next) = (number(message), self.heaps.first().map_or(0, |heap| heap.next));
        let told = missed.wrapping_sub(self.missed);
        if n.wrapping_sub(next) != told && n >= next {
            self.note(format!("message {n} came where {next} was due, and {told} were said to be missed"));
        }
        self.missed = missed;
        self.take(message);
    }

    /// Something is wrong; the first thing is kept.
    #[cold]
    pub fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    #[cold]
    fn wrong(&mut self, who: u64, n: u64, whole: bool) {
        let next = self.heaps.get(who as usize).map_or(0, |heap| heap.next);
        self.note(match whole {
            true => format!("message {n} of sender {who} came after message {}", next.saturating_sub(1)),
            false => format!("message {n} of sender {who} came torn"),
        });
    }
}

/// Did those come that were sent, as `promise` has it?
pub fn verdict(sent: &[Found], came: &[Found], promise: Promise) -> Result<(), String> {
    if let Some(problem) = sent.iter().chain(came).find_map(|found| found.problem.clone()) {
        return Err(problem);
    }
    match promise {
        Promise::ToAll => (1..).zip(came).try_for_each(|(number, found)| to_all(sent, found, number)),
        _ => to_one(sent, came, promise == Promise::ToOneOrDropped),
    }
}

fn to_one(sent: &[Found], came: &[Found], drops: bool) -> Result<(), String> {
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

/// What one receiver of several got, of a sender whose messages go to all.
fn to_all(sent: &[Found], came: &Found, number: usize) -> Result<(), String> {
    let (sent, got) =
        (sent.iter().fold(Heap::default(), |sum, found| sum.with(found.heaps[0])), came.heaps[0]);
    let missed = came.missed;
    if got.count + missed != sent.count {
        let (sent, got) = (sent.count, got.count);
        return Err(format!("{sent} were sent; receiver {number} got {got} and missed {missed}"));
    }
    if got.next != sent.count {
        return Err(format!("the last message did not come to receiver {number}"));
    }
    if missed == 0 && got.sum != sent.sum {
        return Err(format!("what came to receiver {number} is not what was sent"));
    }
    Ok(())
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
        let verdict = |came: &[Found]| verdict(&all, came, Promise::ToOne);
        assert_eq!(verdict(&[came(&[0, 1, 2, 3, 4, 5])]), Ok(()));
        assert_eq!(verdict(&[came(&[1, 4]), came(&[0, 2, 3, 5])]), Ok(()));
        for wrong in [
            &[came(&[0, 1, 2, 3, 4])][..],
            &[came(&[0, 1, 1, 2, 3, 4, 5])],
            &[came(&[0, 1, 3, 2, 4, 5])],
            &[came(&[0, 1, 2, 3, 4, 5, 6])],
            &[came(&[0, 1, 2]), came(&[2, 3, 4])],
            &[came(&[0, 1, 2]), came(&[2, 3, 4, 5])],
        ] {
            assert!(verdict(wrong).is_err(), "{wrong:?}");
        }
        let mut torn = Found::of(1);
        torn.take([message(0, 1)[0], 7]);
        assert!(verdict(&[torn]).is_err());
    }

    #[test]
    fn what_was_dropped_adds_up() {
        let mut drops = sent(0..6);
        drops.dropped = 2;
        assert_eq!(verdict(&[drops.clone()], &[came(&[0, 1, 4, 5])], Promise::ToOneOrDropped), Ok(()));
        assert!(verdict(&[drops], &[came(&[0, 1, 5])], Promise::ToOneOrDropped).is_err());
    }

    #[test]
    fn what_goes_to_all_goes_to_each() {
        let all = [sent(0..6)];
        let verdict = |came: &[Found]| verdict(&all, came, Promise::ToAll);
        // Numbers, and how many the channel said were missed before each.
        let of = |came: &[(u64, u64)]| {
            let mut found = Found::of(1);
            came.iter().for_each(|&(n, missed)| found.take_after_missing(message(0, n), missed));
            found
        };
        let whole = of(&[0, 1, 2, 3, 4, 5].map(|n| (n, 0)));
        let gaps = of(&[(1, 1), (2, 1), (5, 3)]);
        assert_eq!(verdict(&[whole.clone(), gaps.clone()]), Ok(()));
        for wrong in [
            of(&[0, 1, 2, 3, 4].map(|n| (n, 0))),          // the last is lost
            of(&[0, 1, 3, 4, 5].map(|n| (n, 0))),          // one is lost, and nobody says so
            of(&[(0, 0), (1, 0), (5, 2)]),                 // two are said to be lost, and three are
            of(&[(0, 0), (1, 1), (2, 1), (3, 1), (5, 1)]), // the wrong one is said to be lost
            of(&[0, 1, 2, 2, 3, 4, 5].map(|n| (n, 0))),    // twice
            of(&[(0, 0), (1, 0), (5, 3), (4, 3)]),         // backwards
            of(&[(1, 1), (2, 1), (4, 2)]), // what was missed adds up, but the last did not come
        ] {
            assert!(verdict(&[whole.clone(), wrong.clone()]).is_err(), "{wrong:?}");
        }
    }
}
