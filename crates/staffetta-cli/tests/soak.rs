//! `staffetta soak`: short ones.

mod common;

use common::*;

#[test]
fn a_short_soak_of_every_flavor() {
    for (wait, messages) in [("spin-then-park", "20000"), ("park", "5e3")] {
        let report = json(&run(&["soak", "--wait", wait, "--messages", messages, "--degree", "3", "--json"]));
        let rows = report["rows"].as_array().expect("rows");
        for flavor in
            ["rendezvous", "basic", "buffered", "bounded", "many-to-one", "work-queue", "drop-oldest"]
        {
            let of: Vec<_> = rows.iter().filter(|row| row["flavor"] == flavor).collect();
            assert!(of.len() >= 2, "{flavor}: {report}");
            for row in of {
                assert!(row["problem"].is_null(), "{row}");
                assert_eq!(row["wait"], wait);
                assert!(flavor == "drop-oldest" || row["dropped"] == 0, "{row}");
            }
        }
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
