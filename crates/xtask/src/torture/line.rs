//! What a row reports.

/// One line of the report.
#[derive(Default)]
pub struct Line {
    /// What was tried; says what is counted (`kills: ...`).
    pub name: String,
    /// How often.
    pub tried: u64,
    /// Messages, replies or ends that are nowhere any more.
    pub lost: u64,
    /// Messages that came twice, out of order, or changed.
    pub duplicated: u64,
    /// Bytes, blocks, entries, seats, descriptors, files or processes that are left behind.
    pub leaked: u64,
    /// Waits that did not end, or not in time.
    pub hung: u64,
    /// Anything else that was wrong.
    pub wrong: u64,
    /// Figures that go with it (`PeerDied p50 0.2 ms`).
    pub figures: Vec<String>,
    /// Why it could not be tried here, if it could not.
    pub skipped: Option<String>,
    /// What exactly went wrong: the first few.
    pub failures: Vec<String>,
    /// Waits that took strangely long, and ended.
    pub notes: Vec<String>,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Lost,
    Duplicated,
    Leaked,
    Hung,
    Wrong,
}

/// Failures that are told in full; the others are only counted.
const TOLD: usize = 40;

impl Line {
    /// Nothing tried yet.
    pub fn new(name: impl Into<String>) -> Line {
        Line { name: name.into(), ..Line::default() }
    }

    /// Counts one fault, of which nothing new is to be told.
    pub fn count(&mut self, fault: Fault) {
        *match fault {
            Fault::Lost => &mut self.lost,
            Fault::Duplicated => &mut self.duplicated,
            Fault::Leaked => &mut self.leaked,
            Fault::Hung => &mut self.hung,
            Fault::Wrong => &mut self.wrong,
        } += 1;
    }

    /// Counts one fault, and tells what it was.
    pub fn fault(&mut self, fault: Fault, what: impl Into<String>) {
        self.count(fault);
        if self.failures.len() < TOLD {
            self.failures.push(format!("{fault:?}: {}", what.into()));
        }
    }

    /// Nothing was wrong.
    pub fn is_well(&self) -> bool {
        self.lost + self.duplicated + self.leaked + self.hung + self.wrong == 0
    }

    /// The line itself.
    pub fn text(&self, seed: u64) -> String {
        let Line { name, tried, lost, duplicated, leaked, hung, wrong, .. } = self;
        if let Some(why) = &self.skipped {
            return format!("{name}: SKIPPED, {why}");
        }
        let mut text = format!(
            "{name}: tried {tried}, lost {lost}, duplicated {duplicated}, leaked {leaked}, hung {hung}, seed {seed}"
        );
        if *wrong > 0 {
            text += &format!(", otherwise wrong {wrong}");
        }
        for figure in &self.figures {
            text += &format!(", {figure}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Line};

    #[test]
    fn a_line_says_what_was_found_and_is_not_well_then() {
        let mut line = Line { tried: 3, ..Line::new("kills") };
        assert!(line.is_well());
        assert_eq!(line.text(7), "kills: tried 3, lost 0, duplicated 0, leaked 0, hung 0, seed 7");
        line.fault(Fault::Hung, "who");
        assert!(!line.is_well());
        assert!(line.text(7).contains("hung 1"));
        assert_eq!(line.failures, ["Hung: who"]);
    }
}
