//! `staffetta soak`: short ones.

mod common;

use common::*;

/// Flavors, and how many kinds of cargo each has at the least.
const FLAVORS: [(&str, usize); 14] = [
    ("rendezvous", 2),
    ("basic", 2),
    ("buffered", 3),
    ("bounded", 3),
    ("many-to-one", 3),
    ("work-queue", 3),
    ("drop-oldest", 3),
    ("broadcast", 2),
    ("broadcast-drop-oldest", 2),
    ("broadcast-disconnect", 2),
    ("latest", 2),
    ("request-reply", 1),
    ("local", 1),
    ("local-rendezvous", 1),
];

#[test]
fn a_short_soak_of_every_flavor() {
    for (wait, messages) in [("spin-then-park", "20000"), ("park", "5e3")] {
        let report = json(&run(&["soak", "--wait", wait, "--messages", messages, "--degree", "3", "--json"]));
        let rows = report["rows"].as_array().expect("rows");
        for (flavor, cargoes) in FLAVORS {
            let of: Vec<_> = rows.iter().filter(|row| row["flavor"] == flavor).collect();
            assert_eq!(of.len(), cargoes, "{flavor}: {report}");
            for row in of {
                assert!(row["problem"].is_null(), "{row}");
                assert_eq!(row["wait"], wait);
                assert!(flavor == "drop-oldest" || row["dropped"] == 0, "{row}");
                let misses = ["broadcast-drop-oldest", "broadcast-disconnect", "latest"].contains(&flavor);
                assert!(misses || row["missed"] == 0, "{row}");
            }
        }
    }
}

/// Who is much too slow misses messages, and what it was told adds up: else nothing was checked.
#[test]
fn slow_receivers_miss_messages_and_they_add_up() {
    for flavor in ["broadcast-drop-oldest", "broadcast-disconnect", "latest"] {
        let soak = ["soak", "--flavor", flavor, "--messages", "200000", "--degree", "1", "--processes", "3"];
        let report = json(&run(&[&soak[..], &["--carry", "values", "--wait", "park", "--json"]].concat()));
        let row = &report["rows"][0];
        assert!(row["problem"].is_null() && row["receivers"] == 3, "{row}");
        assert!(row["missed"].as_u64().is_some_and(|missed| missed > 0), "nobody was slow: {row}");
    }
}

#[test]
fn one_row_as_text() {
    let output = run(&[
        "soak",
        "--flavor",
        "work-queue",
        "--carry",
        "in-place",
        "--method",
        "distinct",
        "--messages",
        "1000",
        "--processes",
        "3",
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.lines().count() == 2 && text.contains("1:3") && text.contains("distinct"), "{text}");
}

#[test]
fn what_cannot_be_soaked_is_said() {
    for arguments in [
        &["--messages", "0"][..],
        &["--messages", "many"],
        &["--flavor", "carrier-pigeon"],
        &["--wait", "never"],
        &["--processes", "0"],
        &["--flavor", "basic", "--carry", "in-place"],
        &["--flavor", "broadcast", "--carry", "parcels"],
        &["--flavor", "request-reply", "--carry", "in-place"],
        &["--flavor", "local", "--carry", "parcels"],
    ] {
        let output = run(&[&["soak"], arguments].concat());
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn a_process_of_a_soak_is_not_started_by_hand() {
    assert_eq!(code(&run(&["__soak", "{}", "--parent", "1"])), 2);
}
