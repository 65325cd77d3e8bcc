//! The copy of the sources with every fault behind a switch.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::faults::{self, Mutant};

/// Says which fault is on: its number, from 1.
pub const SWITCH: &str = "STAFFETTA_MUTANT";

/// What the faults ask.
const ASKED: &str = "//! Which of the faults is on.

/// Is fault `number` on?
pub fn on(number: u32) -> bool {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let on = || std::env::var(\"STAFFETTA_MUTANT\").ok().and_then(|on| on.parse().ok()).unwrap_or(0);
    *ON.get_or_init(on) == number
}
";

/// Where the sources of the copy are, in its folder. One level further down than ours, since cargo tells the crates of two workspaces
/// that share a target folder by their paths from the root.
pub const SOURCE: &str = "source";

/// Brings the copy of `root` in `folder` up to date, with all the faults in it.
pub fn plant(root: &Path, folder: &Path) -> Result<(), String> {
    let read = |file: &Path| {
        std::fs::read_to_string(root.join(file))
            .map_err(|why| format!("cannot read {}: {why}", file.display()))
    };
    let workspace = read(Path::new("Cargo.toml"))?.replace("\"crates/", &format!("\"{SOURCE}/crates/"));
    write(&folder.join("Cargo.toml"), workspace.as_bytes())?;
    write(&folder.join("Cargo.lock"), read(Path::new("Cargo.lock"))?.as_bytes())?;
    let source = folder.join(SOURCE);
    let mut files = vec![PathBuf::from("README.md")];
    collect(root, Path::new("crates"), &mut files)
        .map_err(|why| format!("cannot read the sources: {why}"))?;
    let mut there = HashSet::from([PathBuf::from("crates/staffetta/src/mutant.rs")]);
    for file in files {
        let Ok(mut bytes) = std::fs::read(root.join(&file)) else {
            continue; // gone meanwhile
        };
        if faults::all().any(|mutant| Path::new(mutant.file) == file)
            || file.ends_with("staffetta/src/lib.rs")
        {
            bytes = infect(&file, read(&file)?)?.into_bytes();
        }
        write(&source.join(&file), &bytes)?;
        there.insert(file);
    }
    write(&source.join("crates/staffetta/src/mutant.rs"), ASKED.as_bytes())?;
    // What is gone from the sources is no part of the copy.
    let mut old = Vec::new();
    collect(&source, Path::new("crates"), &mut old).map_err(|why| format!("cannot read the copy: {why}"))?;
    for file in old.into_iter().filter(|file| !there.contains(file)) {
        std::fs::remove_file(source.join(&file))
            .map_err(|why| format!("cannot remove {}: {why}", file.display()))?;
    }
    Ok(())
}

/// The text of one file with its faults.
fn infect(file: &Path, mut text: String) -> Result<String, String> {
    if file.ends_with("staffetta/src/lib.rs") {
        text.push_str("\nmod mutant;\n");
    }
    for (number, mutant) in (1..).zip(faults::all()).filter(|(_, mutant)| Path::new(mutant.file) == file) {
        let Mutant { what, at, to, .. } = mutant;
        let complaint = |why: String| Err(format!("mutant {number}, {what} ({}): {why}", mutant.file));
        let Some(((before, inner), after)) =
            at.split_once('»').and_then(|(first, after)| Some((first.split_once('«')?, after)))
        else {
            return complaint("nothing stands in « and »".to_owned());
        };
        let from = format!("{before}{inner}{after}");
        let many = text.matches(&from).count();
        if many != 1 {
            return complaint(format!(
                "its text is {many} times in the file, and must be there once: {from:?}"
            ));
        }
        let both = format!("{before}(if crate::mutant::on({number}) {{ {to} }} else {{ {inner} }}){after}");
        text = text.replacen(&from, &both, 1);
    }
    Ok(text)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() && entry.file_name() != "target" => collect(root, &path, files)?,
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Only if it changes: so the next build has less to do.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|why| format!("cannot write {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{copy, faults};
    use super::infect;

    #[test]
    fn every_mutant_still_has_its_place() {
        let root = copy::root().unwrap();
        for mutant in faults::all() {
            let text = std::fs::read_to_string(root.join(mutant.file)).unwrap();
            let infected = infect(Path::new(mutant.file), text.clone()).unwrap();
            assert_ne!(infected, text, "{}", mutant.what);
        }
    }
}
