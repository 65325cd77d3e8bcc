//! What a driver found, on its way to the process that prints.

use std::time::Duration;

use super::super::line::{Fault, Line};
use super::super::wait::Waited;

/// What was done, and what was wrong.
#[derive(Default)]
pub struct Report {
    /// Kills, or stops.
    pub strikes: u64,
    /// Letters that came.
    pub messages: u64,
    /// Letters that may have been in the hands of a receiver that was killed.
    pub in_hand: u64,
    /// Letters of which a receiver was told that they are lost, since all who had their memory were killed.
    pub told_lost: u64,
    /// Comparisons of what is in use.
    pub accounts: u64,
    /// Meshes that could not go on.
    pub broken: u64,
    /// The longest wait.
    pub longest: Duration,
    /// Waits that took strangely long, and why.
    pub late: Vec<String>,
    /// What was wrong.
    pub faults: Vec<(Fault, String)>,
}

const FAULTS: [Fault; 5] = [Fault::Lost, Fault::Duplicated, Fault::Leaked, Fault::Hung, Fault::Wrong];

impl Report {
    /// Something was wrong.
    pub fn fault(&mut self, fault: Fault, what: String) {
        self.faults.push((fault, what));
    }

    /// Something that was waited for came.
    pub fn waited(&mut self, what: &str, waited: Waited) {
        self.longest = self.longest.max(waited.time);
        self.late
            .extend(waited.seen.map(|seen| format!("{what}, after {:?}; after 1 s: {seen}", waited.time)));
    }

    /// Into the line of the row: what is the same in every row.
    pub fn finish(self, line: &mut Line) {
        for (fault, what) in self.faults {
            line.fault(fault, what);
        }
        line.notes.extend(self.late);
        line.figures.push(format!("longest wait {:.1} ms", self.longest.as_secs_f64() * 1e3));
    }

    /// As lines of text.
    pub fn text(&self) -> String {
        let Report { strikes, messages, in_hand, told_lost, accounts, broken, longest, late, faults } = self;
        let mut text = format!("sum {strikes} {messages} {in_hand} {told_lost} {accounts} {broken}\n");
        for (fault, what) in faults {
            text += &format!("{fault:?} {}\n", what.replace('\n', " "));
        }
        for late in late {
            text += &format!("late {}\n", late.replace('\n', " "));
        }
        text += &format!("longest {}\n", longest.as_micros());
        text
    }

    /// Adds what the text of another says.
    pub fn add(&mut self, text: &str) {
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if word == "sum" {
                let mut numbers = rest.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
                let sums = [
                    &mut self.strikes,
                    &mut self.messages,
                    &mut self.in_hand,
                    &mut self.told_lost,
                    &mut self.accounts,
                    &mut self.broken,
                ];
                sums.into_iter().for_each(|sum| *sum += numbers.next().unwrap_or(0));
            } else if let Some(fault) = FAULTS.into_iter().find(|fault| format!("{fault:?}") == word) {
                self.faults.push((fault, rest.to_owned()));
            } else if word == "late" {
                self.late.push(rest.to_owned());
            } else if word == "longest" {
                self.longest = self.longest.max(Duration::from_micros(rest.parse().unwrap_or(0)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let mut one = Report {
            strikes: 3,
            messages: 9,
            in_hand: 1,
            told_lost: 4,
            accounts: 2,
            broken: 1,
            longest: Duration::from_micros(1),
            late: Vec::new(),
            faults: Vec::new(),
        };
        one.fault(Fault::Hung, "it\nhangs".to_owned());
        one.waited("it", Waited { time: Duration::from_millis(1_200), seen: Some("all\nasleep".to_owned()) });
        let mut all = Report::default();
        all.add(&one.text());
        all.add(&one.text());
        assert_eq!((all.strikes, all.messages, all.in_hand), (6, 18, 2));
        assert_eq!((all.told_lost, all.accounts, all.broken), (8, 4, 2));
        assert_eq!((all.longest, all.late.len()), (Duration::from_millis(1_200), 2));
        assert_eq!(all.late[0], "it, after 1.2s; after 1 s: all asleep");
        assert_eq!(all.faults, vec![(Fault::Hung, "it hangs".to_owned()); 2]);
    }
}
