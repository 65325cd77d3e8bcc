//! Rows `loom` and `shuttle`: the shipped protocols under model checkers, with an actor that stops for good before any of its atomic
//! steps. Row `windows`: members of a real domain that stop for good between two steps that belong together. They are tests of the
//! library (`crates/staffetta/src/model`, `windows_test.rs`); these rows run them and read what they print.

use std::process::Command;

use super::line::{Fault, Line};
use super::plan::Plan;
use super::Row;

/// Tests under shuttle: they share the schedules.
const SHUTTLE_TESTS: u64 = 7;

pub const LOOM: Row = Row {
    name: "loom",
    about: "two actors of each protocol in every interleaving; one stops for good before each of its atomic steps",
    tries: (1, 1),
    limits: "2 preemptions (soak: all models, 3); no load buffering; SeqCst taken for weaker",
    run: loom,
};

pub const SHUTTLE: Row = Row {
    name: "shuttle",
    about: "three or four actors of each protocol on random schedules; one crashes before a random step",
    tries: (28_000, 100_000_000),
    limits: "sequentially consistent only; not the rendezvous and the ring, which loom has",
    run: shuttle,
};

pub const WINDOWS: Row = Row {
    name: "windows",
    about: "a member, or one that sweeps it, is killed between any two steps that belong together: no leak, and whoever waits is told",
    tries: (1, 1),
    limits: "the windows somebody named in the code (memory::stop); the victim is a thread of the same process",
    run: windows,
};

fn windows(_plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("windows: kills");
    for text in read(&mut test("windows_test"), &mut line, "windows: ") {
        line.tried += number_before(&text, " kills").unwrap_or(0);
        line.figures.extend(text.split(" kills ").nth(1).map(str::to_owned));
    }
    if line.tried == 0 {
        line.fault(Fault::Wrong, "nobody was killed");
    }
    vec![line]
}

fn loom(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("loom: executions");
    let mut command = test(if plan.soak { "loom" } else { "loom_stops" });
    if plan.soak {
        command.env("LOOM_MAX_PREEMPTIONS", "3");
    }
    let (mut models, mut stops) = (0, 0);
    for text in read(&mut command, &mut line, "loom: ") {
        models += 1;
        line.tried += number_before(&text, " executions").unwrap_or(0);
        stops += number_before(&text, " times").unwrap_or(0);
    }
    line.figures.push(format!("{models} models, stopped {stops} times"));
    vec![line]
}

fn shuttle(plan: &Plan) -> Vec<Line> {
    let mut line = Line::new("shuttle: schedules");
    let each = plan.tries.div_ceil(SHUTTLE_TESTS);
    let mut command = test("shuttle");
    command.env("STAFFETTA_SHUTTLE_SCHEDULES", each.to_string());
    command.env("STAFFETTA_SHUTTLE_SEED", plan.seed.to_string());
    let mut crashes = 0;
    for text in read(&mut command, &mut line, "shuttle: ") {
        line.tried += number_before(&text, " schedules").unwrap_or(0);
        crashes += number_before(&text, " actors crashed").unwrap_or(0);
    }
    line.figures.push(format!("{crashes} actors crashed"));
    vec![line]
}

/// The library's tests whose names contain `filter`, two at a time.
fn test(filter: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--locked", "--quiet", "--package", "staffetta", "--lib", filter]);
    command.args(["--", "--nocapture", "--test-threads=2"]);
    command
}

/// What it prints on lines that begin so. If it fails, that is said.
fn read(command: &mut Command, line: &mut Line, begins: &str) -> Vec<String> {
    let output = match command.output() {
        Ok(output) => output,
        Err(why) => {
            line.fault(Fault::Wrong, format!("cargo cannot be started: {why}"));
            return Vec::new();
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let panics: Vec<&str> =
            told.lines().chain(text.lines()).filter(|line| line.contains("panicked")).collect();
        line.fault(Fault::Wrong, format!("{}: {}", output.status, panics.join("; ")));
    }
    // Tests print while the harness does: a line may begin with the harness's dots.
    text.lines().filter_map(|line| line.find(begins).map(|at| line[at..].to_owned())).collect()
}

/// The number that stands before `what`.
fn number_before(text: &str, what: &str) -> Option<u64> {
    text.split(what).next().filter(|before| before.len() < text.len())?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn numbers_are_read() {
        let text =
            "loom: x, y: 12 executions, preemptions Some(2), stopped before each of 3 steps, 7 times, 0.1 s";
        assert_eq!(number_before(text, " executions"), Some(12));
        assert_eq!(number_before(text, " times"), Some(7));
        assert_eq!(number_before(text, " schedules"), None);
    }
}
