//! The copy with all faults in it, built, and its checks: tests of its library.
//!
//! A check that did not try anything is [`Outcome::Absent`], never passed: a test file that is not there any more, a filter that
//! no test matches.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::faults::Test;
use super::tree::{self, SWITCH};
use crate::torture::process::Process;

/// With what tests exit of which some failed.
const FAILED: i32 = 101;

/// How a check ended.
pub enum Outcome {
    Passed,
    /// It failed, in this way.
    Noticed(&'static str),
    /// Nothing was tried: why.
    Absent(String),
}

/// The copy, built: its tests by the name of their file.
pub struct Built {
    tests: HashMap<String, PathBuf>,
    folder: PathBuf,
}

impl Built {
    /// Brings the copy up to date and builds what these checks need of it.
    pub fn new(checks: &[Test]) -> Result<Built, String> {
        let root = root()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("mutants");
        tree::plant(&root, &folder)?;
        let cargo = |arguments: &[&str]| {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // The same target folder, so what others wrote need not be compiled again.
            command.current_dir(&folder).env("CARGO_TARGET_DIR", &target).args(arguments);
            let output = command.output().map_err(|why| format!("cargo cannot be started: {why}"))?;
            if output.status.success() {
                return Ok(output.stdout);
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("the copy with the mutants in {} does not build:\n{said}", folder.display()))
        };
        let mut names: Vec<_> = checks.iter().map(|Test(file, _)| *file).collect();
        names.dedup();
        let mut arguments = vec!["test", "--locked", "--quiet", "--package", "staffetta", "--no-run"];
        arguments.push("--message-format=json-render-diagnostics");
        for name in &names {
            match *name {
                "lib" => arguments.push("--lib"),
                test => arguments.extend(["--test", test]),
            }
        }
        let mut tests = HashMap::new();
        if !names.is_empty() {
            let output = cargo(&arguments)?;
            for artifact in String::from_utf8_lossy(&output).lines() {
                if let (Some(name), Some(path)) =
                    (field(artifact, "\"name\":\""), field(artifact, "\"executable\":\""))
                {
                    let name = if name == "staffetta" { "lib" } else { name };
                    tests.insert(name.to_owned(), PathBuf::from(path));
                }
            }
        }
        Ok(Built { tests, folder })
    }

    /// Runs a check with fault `number` on (0: none).
    pub fn check(&self, by: &Test, number: usize, seed: u64, patience: Duration) -> Outcome {
        let (seed, number) = (seed.to_string(), number.to_string());
        let Test(file, filter) = by;
        let Some(path) = self.tests.get(*file) else {
            return Outcome::Absent(format!("there is no test file {file}"));
        };
        let mut command = Command::new(path);
        command.args([filter, "--test-threads=1"]).env("STAFFETTA_TEST_SEED", &seed);
        command.current_dir(self.folder.join(tree::SOURCE).join("crates/staffetta"));
        // What it says goes to a file: a pipe that is full would hold it up.
        static CHECKS: AtomicUsize = AtomicUsize::new(0);
        let said = self.folder.join(format!("said-{}", CHECKS.fetch_add(1, Relaxed)));
        let file = match File::create(&said) {
            Ok(file) => file,
            Err(why) => return Outcome::Absent(format!("cannot write {}: {why}", said.display())),
        };
        // Nobody reads the backtraces, and they take long.
        command.env(SWITCH, number).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        let ended = match command.spawn() {
            Ok(child) => Process(child).finish(patience),
            Err(why) => return Outcome::Absent(format!("cannot be started: {why}")),
        };
        let text = std::fs::read(&said).unwrap_or_default();
        let _ = std::fs::remove_file(&said);
        let Some(status) = ended else {
            return Outcome::Noticed("hangs");
        };
        let text = String::from_utf8_lossy(&text);
        if by.tried(&text).is_none_or(|tried| tried == 0) {
            return Outcome::Absent("nothing was tried".to_owned());
        }
        match status.code() {
            Some(0) => Outcome::Passed,
            Some(code) if code != FAILED => Outcome::Absent(format!("it ended with {status}")),
            Some(_) => Outcome::Noticed("fails"),
            None => Outcome::Noticed("is killed by a signal"),
        }
    }
}

/// What follows `key` in one of cargo's messages, to the next quotation mark; the last one, since the target's own name
/// comes after those of its package.
fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.rsplit_once(key)?.1.split('"').next()
}

/// The workspace's root.
pub fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).filter(|root| root.join("Cargo.lock").is_file());
    root.map(Path::to_owned).ok_or_else(|| format!("{} is in no checkout any more", here.display()))
}
