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
