//! `staffetta limits`: what this machine and this library can hold, and where each figure comes from.

use crate::failure::Failure;
use crate::machine;
use crate::show::size::{duration, show};
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words};
use clap::Args;
use rustix::process::{getrlimit, Resource};
use serde::Serialize;

/// Print the limits: what the library can hold, what the kernel must offer, what is set here
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// One limit. The library's own limits come as such rows too.
#[derive(Serialize)]
pub struct Limit {
    /// What is limited.
    pub name: String,
    /// How much of it there is; nothing when it is unlimited.
    pub value: Option<u64>,
    /// `bytes`, `descriptors`, …; for a kernel, `version`.
    pub unit: &'static str,
    /// The value for people, when a number does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where it comes from.
    pub origin: String,
}

/// Runs the command.
pub fn run(args: LimitsArgs) -> Result<(), Failure> {
    let mut limits = of_library();
    limits.extend(of_kernel());
    if args.json {
        let text =
            serde_json::to_string_pretty(&limits).map_err(|error| Failure::os("cannot write JSON", error))?;
        return line(&text);
    }
    let columns = [words("limit", 34), numbers("value", 22), words("unit", 11), words("from, or remark", 20)];
    table::head(&columns, Style::of_stdout())?;
    for limit in limits {
        let value = match (&limit.text, limit.value) {
            (Some(text), _) => text.clone(),
            (None, None) => "unlimited".into(),
            (None, Some(value)) if limit.unit == "bytes" => show(value),
            (None, Some(value)) if limit.unit == "ns" => duration(value as f64),
            (None, Some(value)) => value.to_string(),
        };
        let unit = if ["bytes", "ns"].contains(&limit.unit) { "" } else { limit.unit };
        table::row(&columns, &[limit.name, value, unit.into(), limit.origin])?;
    }
    Ok(())
}

fn of_library() -> Vec<Limit> {
    let limit = |limit: staffetta::Limit| Limit {
        name: limit.name.to_owned(),
        value: Some(limit.value),
        unit: limit.unit,
        text: None,
        origin: limit.remark.to_owned(),
    };
    staffetta::limits().into_iter().map(limit).collect()
}

/// What the library asks of the kernel, with the version that first had it.
const NEEDED: [(&str, (u32, u32)); 5] = [
    ("memfd_create with seals", (3, 17)),
    ("MADV_WIPEONFORK", (4, 14)),
    ("MAP_FIXED_NOREPLACE", (4, 17)),
    ("pidfd_send_signal", (5, 1)),
    ("pidfd_open", (5, 3)),
];

fn of_kernel() -> Vec<Limit> {
    let version = |(major, minor): (u32, u32)| Some(u64::from(major) << 16 | u64::from(minor));
    let kernel = |name: &str, text: String, pair, origin: &str| Limit {
        name: name.to_owned(),
        value: version(pair),
        unit: "version",
        text: Some(text),
        origin: origin.to_owned(),
    };
    let release = machine::kernel();
    let (smallest_for, smallest) = NEEDED.iter().max_by_key(|need| need.1).copied().unwrap_or(("", (0, 0)));
    let mut limits = vec![
        kernel("kernel, running", release.clone(), parse_release(&release), "uname"),
        kernel("kernel, smallest needed", format!("{}.{}", smallest.0, smallest.1), smallest, smallest_for),
    ];
    for (name, pair) in NEEDED {
        let text = format!("{}.{}", pair.0, pair.1);
        limits.push(kernel(&format!("  {name}"), text, pair, "first kernel that has it"));
    }
    let number = |name: &str, value, unit, origin: &str| Limit {
        name: name.to_owned(),
        value,
        unit,
        text: None,
        origin: origin.to_owned(),
    };
    limits.push(number("page", Some(rustix::param::page_size() as u64), "bytes", "auxiliary vector"));
    limits.push(number(
        "cores usable",
        Some(machine::usable_cores().len() as u64),
        "cores",
        "sched_getaffinity",
    ));
    limits.push(number(
        "memory available",
        Some(machine::available_bytes()),
        "bytes",
        "/proc/meminfo, control groups, ulimit -v",
    ));
    limits.push(cross_memory());
    for (name, resource, unit, origin) in [
        ("address space", Resource::As, "bytes", "ulimit -v"),
        ("file size", Resource::Fsize, "bytes", "ulimit -f"),
        ("locked memory", Resource::Memlock, "bytes", "ulimit -l"),
        ("core dump", Resource::Core, "bytes", "ulimit -c"),
        ("open descriptors", Resource::Nofile, "descriptors", "ulimit -n"),
        ("processes and threads", Resource::Nproc, "threads", "ulimit -u"),
    ] {
        limits.push(number(name, getrlimit(resource).current, unit, origin));
    }
    limits
}

/// Whose private memory a receiver may read, so that what `send_from` sends is copied once.
fn cross_memory() -> Limit {
    let here = 0_u8;
    let refused = crate::raw::read_process(std::process::id(), (&raw const here) as u64, &mut [0]).err();
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let scope = scope.ok().and_then(|text| text.trim().parse().ok());
    let text = match (&refused, scope) {
        (Some(_), _) => "nobody's",
        (None, None | Some(0)) => "the same user's",
        (None, Some(1)) => "descendants'",
        (None, Some(2)) => "as CAP_SYS_PTRACE only",
        (None, Some(_)) => "its own",
    };
    Limit {
        name: "private memory that may be read".to_owned(),
        value: scope,
        unit: "scope",
        text: Some(text.to_owned()),
        origin: match refused {
            Some(why) => format!("process_vm_readv: {why}; send_from copies twice"),
            None => "kernel.yama.ptrace_scope; else send_from copies twice".to_owned(),
        },
    }
}

/// The two leading numbers of `6.8.0-45-generic`.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases_are_read() {
        assert_eq!(super::parse_release("6.8.0-45-generic"), (6, 8));
        assert_eq!(super::parse_release("5.14"), (5, 14));
        assert_eq!(super::parse_release("?"), (0, 0));
    }
}
