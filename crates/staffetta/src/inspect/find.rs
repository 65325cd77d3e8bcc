//! Which domains there are: the memory files that this user's processes have open, and the names that are listened on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::{FoundDomain, InspectError};
use crate::member::read_text;
use crate::memory::header::{Header, FORMAT_VERSION};
use crate::memory::reading::{Reading, Unreadable};
use crate::os::proc::{self, FileId, Open};

/// What a domain's memory file is called (domain/window.rs).
const FILE_NAME: &str = "staffetta";

/// Who has which domain open.
fn holders() -> BTreeMap<FileId, Vec<Open>> {
    let mut holders: BTreeMap<FileId, Vec<Open>> = BTreeMap::new();
    for open in proc::processes().into_iter().flat_map(|pid| proc::memory_files(pid, FILE_NAME)) {
        holders.entry(open.file).or_default().push(open);
    }
    holders
}

/// The processes that have a domain open now.
pub(super) fn pids(file: FileId) -> Vec<u32> {
    let has = |pid: &u32| proc::memory_files(*pid, FILE_NAME).iter().any(|open| open.file == file);
    proc::processes().into_iter().filter(has).collect()
}

pub(super) fn identity(header: &Header) -> String {
    let [low, high] = [&header.identity[0], &header.identity[1]].map(|word| word.load(Relaxed));
    format!("#{high:016x}{low:016x}")
}

/// A domain's memory, and what to show of it.
pub(super) struct Candidate {
    pub(super) shown: FoundDomain,
    pub(super) file: FileId,
    pub(super) reading: Option<Reading>,
}

/// All domains; those without memory to be seen last.
pub(super) fn candidates() -> Vec<Candidate> {
    let mut found: Vec<Candidate> =
        holders().into_iter().filter_map(|(file, open)| candidate(file, &open)).collect();
    let uid = rustix::process::geteuid().as_raw();
    for name in proc::abstract_listeners(&format!("staffetta/{uid}/")) {
        // Mailboxes have one part more (process/place.rs).
        let known = found.iter().any(|one| one.shown.name.as_deref() == Some(name.as_str()));
        if name.contains('/') || known {
            continue;
        }
        let why = "its name is taken, and none of its processes can be seen from here: another process namespace, or \
                   another version of staffetta";
        let shown = FoundDomain {
            name: Some(name),
            identity: None,
            pids: Vec::new(),
            obstacle: Some(why.to_owned()),
        };
        found.push(Candidate { shown, file: (0, 0), reading: None });
    }
    found.sort_by(|a, b| (&a.shown.name, &a.shown.identity).cmp(&(&b.shown.name, &b.shown.identity)));
    found
}

fn candidate(file: FileId, open: &[Open]) -> Option<Candidate> {
    let pids = open.iter().map(|open| open.pid).collect();
    let mut obstacle = None;
    for open in open {
        let reading = proc::open_for_reading(*open).map_err(Unreadable::System).and_then(Reading::new);
        let header = reading.and_then(|reading| Ok((reading.header()?, reading)));
        match header {
            Ok((header, reading)) => {
                let name = Some(read_text(&header.name)).filter(|name| !name.is_empty());
                let shown = FoundDomain { name, identity: Some(identity(&header)), pids, obstacle: None };
                return Some(Candidate { shown, file, reading: Some(reading) });
            }
            Err(Unreadable::Foreign) => return None,
            Err(Unreadable::Version(theirs)) => {
                obstacle = Some(format!(
                    "it has format {theirs}, this program speaks format {FORMAT_VERSION}; use the staffetta of its version"
                ));
            }
            // The next one may let us.
            Err(Unreadable::System(error)) => obstacle = obstacle.or(Some(error.to_string())),
        }
    }
    let shown = FoundDomain { name: None, identity: None, pids, obstacle };
    Some(Candidate { shown, file, reading: None })
}

/// The memory that a descriptor stands for.
pub(super) fn reading(memory: std::os::fd::BorrowedFd<'_>) -> Result<Reading, InspectError> {
    let look = |errno| crate::os::Error::new("look at a domain's memory", errno);
    let file = memory.try_clone_to_owned().map_err(|_| look(rustix::io::Errno::MFILE))?;
    Reading::new(file).map_err(|why| match why {
        Unreadable::System(error) => error.into(),
        Unreadable::Foreign | Unreadable::Version(_) => look(rustix::io::Errno::INVAL).into(),
    })
}

/// The one domain of this name, or identity.
pub(super) fn one(name: &str) -> Result<Candidate, InspectError> {
    let (mut those, others): (Vec<Candidate>, Vec<Candidate>) = candidates().into_iter().partition(|one| {
        let by_identity =
            |identity: &String| name.len() > 1 && name.starts_with('#') && identity.starts_with(name);
        one.shown.name.as_deref() == Some(name) || one.shown.identity.as_ref().is_some_and(by_identity)
    });
    match (those.pop(), those.len()) {
        (None, _) => {
            let known = others.iter().map(|one| one.shown.to_string()).collect();
            Err(InspectError::NoDomain { name: name.to_owned(), known })
        }
        (Some(one), 0) => Ok(one),
        (Some(last), _) => {
            those.push(last);
            let identities = those.into_iter().map(|one| one.shown.identity.unwrap_or_default()).collect();
            Err(InspectError::Several { name: name.to_owned(), identities })
        }
    }
}
