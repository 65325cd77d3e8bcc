//! `staffetta bench` as users run it.

mod common;

use common::*;

const WHATS: [&str; 5] = ["limit.cacheline", "limit.futex", "limit.memcpy", "limit.mmap", "limit.touch"];

fn two_cores() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2)
}

#[test]
fn every_limit_is_measured() {
    if !two_cores() {
        return;
    }
    let rows = json(&run(&["bench", "--quick", "--blocks", "2", "--only", "limit.", "--json"]));
    let rows = rows.as_array().expect("an array");
    for what in WHATS {
        assert!(rows.iter().any(|row| row["what"] == what), "{what} is missing");
    }
    for row in rows {
        let mut keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "bytes",
                "copies",
                "limit",
                "messages_per_s",
                "oneway_ns",
                "ratio",
                "reference",
                "touch",
                "wait",
                "what"
            ]
        );
        let ns = |name: &str| row["oneway_ns"][name].as_f64().unwrap_or_else(|| panic!("{row}"));
        assert!(0.0 < ns("min") && ns("min") <= ns("p50"), "{row}");
        assert!(ns("p50") <= ns("p99") && ns("p99") <= ns("p999"), "{row}");
    }
}

#[test]
fn the_table_says_where_and_how_it_was_measured() {
    if !two_cores() {
        return;
    }
    let output = run(&["bench", "--quick", "--blocks", "1", "--only", "limit.cacheline"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    for word in ["limit.cacheline", "pinned to cores", "Linux", "staffetta bench --quick"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}

#[test]
fn the_rendezvous_is_measured_beside_its_limits() {
    if !two_cores() {
        return;
    }
    let output = run(&["bench", "--quick", "--blocks", "3", "--only", "rendezvous", "--json"]);
    let rows = json(&output);
    let rows = rows.as_array().expect("an array");
    let find = |what: &str, wait: &str| {
        rows.iter()
            .find(|row| row["what"] == what && row["wait"] == wait)
            .unwrap_or_else(|| panic!("no {what}"))
    };
    for (what, wait, limit, copies) in [
        ("rendezvous", "spin", "limit.cacheline", 2),
        ("rendezvous", "spin-then-park", "limit.cacheline", 2),
        ("rendezvous", "park", "limit.futex", 2),
        ("rendezvous.variable", "spin", "limit.cacheline", 1),
        ("rendezvous.locked", "spin", "limit.cacheline", 1),
    ] {
        let row = find(what, wait);
        assert_eq!(row["limit"], limit, "{row}");
        assert_eq!(row["copies"].as_f64(), Some(f64::from(copies)), "{row}");
        assert!(row["messages_per_s"].as_f64().unwrap() > 0.0, "{row}");
        let ratio = |name: &str| row["ratio"][name].as_f64().unwrap_or_else(|| panic!("{row}"));
        assert!(ratio("q1") <= ratio("median") && ratio("median") <= ratio("q3"), "{row}");
    }
}

#[test]
fn private_memory_is_copied_once_or_left_out_aloud() {
    if !two_cores() {
        return;
    }
    let output = run(&["bench", "--quick", "--blocks", "2", "--only", "private", "--json"]);
    let rows = json(&output);
    let rows = rows.as_array().expect("an array");
    if rows.is_empty() {
        assert!(stderr(&output).contains("process_vm_readv is refused here"), "{}", stderr(&output));
        return eprintln!("SKIPPED: {}", stderr(&output));
    }
    for row in rows {
        assert_eq!(
            (row["limit"].as_str(), row["copies"].as_f64()),
            (Some("limit.vm_readv"), Some(1.0)),
            "{row}"
        );
    }
}

#[test]
fn no_parcel_and_no_buffered_message_is_miscounted() {
    if !two_cores() {
        return;
    }
    let only = ["--only", "parcel", "--only", "basic", "--only", "buffered"];
    let arguments = [&["bench", "--quick", "--blocks", "1", "--json"], &only[..]].concat();
    let rows = json(&run(&arguments));
    for row in rows.as_array().expect("an array") {
        let copies = if row["what"] == "parcel" { 0.0 } else { 2.0 };
        assert_eq!(row["copies"].as_f64(), Some(copies), "{row}");
    }
}

#[test]
fn channels_within_a_process_are_measured_beside_others() {
    if !two_cores() {
        return;
    }
    // Few, for they share the machine with the other tests, and a quick run leaves out what comes too late.
    let whats =
        ["local.1:1", "local.2:2", "local.meet", "std.rtrb", "std.crossbeam.1:1", "std.crossbeam.2:2"];
    let only = whats.map(|what| ["--only", what]).concat();
    let rows = json(&run(&[&["bench", "--quick", "--blocks", "1", "--json"], &only[..]].concat()));
    let rows = rows.as_array().expect("an array");
    let find =
        |what: &str| rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no {what}"));
    for (what, limit) in [
        ("local.1:1", "std.crossbeam.1:1"),
        ("local.2:2", "std.crossbeam.2:2"),
        ("local.meet", "std.kanal.meet"),
        ("std.rtrb.1:1", "std.crossbeam.1:1"),
    ] {
        let row = find(what);
        assert_eq!(row["limit"], limit, "{row}");
        // Rounded it may be 0 on a busy machine, where another library parks for every message.
        assert!(row["ratio"]["median"].is_f64(), "{row}");
        assert!(row["messages_per_s"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(find("std.crossbeam.2:2")["messages_per_s"].as_f64().unwrap() > 0.0);
}
