//! What a domain has in use, seen from outside: when it is quiet, all of it is somebody's, and no more than before.

use std::collections::HashSet;
use std::time::Duration;

use staffetta::inspect::{Account, InspectError, Leaked, Observer};

use super::wait::{self, Waited};

/// Looks at one domain.
pub struct Books(Observer);

/// What may be in use when a domain is quiet. What may not: ends, messages that wait, entries, channels without a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quiet {
    /// Members.
    pub processes: u64,
    /// Channels with names: they stay as long as the domain.
    pub channels: u64,
    /// Threads of members that slept at least once.
    pub pcbs: u64,
}

impl Books {
    /// Of the domain called so, which must have a member.
    pub fn of(name: &str) -> Result<Books, InspectError> {
        Observer::of(name).map(Books)
    }

    /// Looks until nothing is lost and no more is in use than `quiet` says: a death need not have been swept yet, and what
    /// is on its way looks lost for a moment. The error: what stays wrong, a sentence for each thing; what was `told` before is not
    /// waited for and not told again.
    pub fn settle(&self, quiet: &Quiet, told: &mut HashSet<String>) -> Result<Waited, Vec<String>> {
        let mut found = Vec::new();
        let settled = wait::until(Duration::from_micros(300), || {
            let account = self.0.account();
            found = account.map_or_else(|why| vec![why.to_string()], |account| wrong_in(&account, quiet));
            found.retain(|what| !told.contains(what));
            found.is_empty()
        });
        told.extend(found.iter().cloned());
        settled.map_err(|_| found)
    }
}

fn wrong_in(account: &Account, quiet: &Quiet) -> Vec<String> {
    let mut wrong: Vec<String> = account
        .leaks
        .iter()
        .map(|leak| match leak.what {
            // The sums grow; the difference stays.
            Leaked::Charged | Leaked::Retained => format!("{:?}: {} bytes too many", leak.what, leak.bytes),
            _ => leak.to_string(),
        })
        .collect();
    for (what, now, most) in [
        ("processes", account.processes, quiet.processes),
        ("channels with names", account.channels_named, quiet.channels),
        ("channels without names", account.channels_unnamed, 0),
        ("PCBs", account.pcbs, quiet.pcbs),
        ("ends", account.ends, 0),
        ("entries", account.entries, 0),
        ("blocks of messages that wait", account.blocks_waiting, 0),
        ("blocks in parcels", account.blocks_enclosed, 0),
        ("capabilities", account.capabilities_owned, 0),
    ] {
        if now > most {
            wrong.push(format!("{now} {what} in use instead of {most}"));
        }
    }
    wrong
}
