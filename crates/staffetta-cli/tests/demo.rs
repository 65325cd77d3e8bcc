//! `staffetta demo` as users run it.

mod common;

use common::*;

#[test]
fn a_small_file_arrives_by_every_mechanism() {
    let directory = directory();
    // Not a multiple of a word, nor of the message: the last message is short.
    let bytes: Vec<u8> = (0..100_003u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let path = file(&directory, "small", &bytes);
    let report = json(&run(&["demo", "--json", "--message-size", "4001", path.to_str().unwrap()]));
    assert_eq!(report["file"], path.to_str().unwrap());
    assert_eq!(report["bytes"], 100_003);
    let rows = report["rows"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|row| row["mechanism"].as_str().unwrap()).collect();
    for name in ["tcp", "unix", "pipe", "basic", "rendezvous", "parcel"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    for row in rows {
        assert_eq!(row["verified"], true, "{row}");
        assert!(row["gb_per_s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["cpu_s"].as_f64().unwrap() >= 0.0, "{row}");
        assert!(row["context_switches"].is_u64(), "{row}");
        if ["tcp", "unix", "pipe"].contains(&row["mechanism"].as_str().unwrap()) {
            assert_eq!(row["copies_per_message"], 2, "{row}");
            assert_eq!(row["bytes_copied"], 2 * 100_003, "{row}");
            assert!(row["reference"].is_null() && row["wait"].is_null(), "{row}");
        }
        let counted = match row["mechanism"].as_str().unwrap() {
            "basic" => Some(2),
            "rendezvous" => Some(1),
            "parcel" => Some(0),
            _ => None,
        };
        if let Some(copies) = counted {
            assert_eq!(row["copies_per_message"], copies, "{row}");
            assert_eq!(row["bytes_copied"], copies * 100_003, "{row}");
            assert!(row["wait"].is_string(), "{row}");
            assert_eq!(row["reference"].is_string(), row["mechanism"] != "basic", "{row}");
        }
        let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "mechanism",
            "reference",
            "wait",
            "gb_per_s",
            "copies_per_message",
            "bytes_copied",
            "context_switches",
            "cpu_s",
            "verified",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}

#[test]
fn every_mechanism_by_every_reference_and_wait() {
    let directory = directory();
    let path = file(&directory, "small", &[3; 10_000]);
    let report = json(&run(&["demo", "--all", "--json", "--message-size", "1000", path.to_str().unwrap()]));
    let rows = report["rows"].as_array().expect("rows");
    for (mechanism, references) in [
        ("rendezvous", &["coinciding", "distinct"][..]),
        ("parcel", &["coinciding", "distinct", "capability"]),
    ] {
        for reference in references {
            for wait in ["spin", "spin-then-park", "park"] {
                let found = rows.iter().find(|row| {
                    row["mechanism"] == mechanism && row["reference"] == *reference && row["wait"] == wait
                });
                let row = found.unwrap_or_else(|| panic!("no {mechanism}, {reference}, {wait}"));
                assert_eq!(row["verified"], true, "{row}");
            }
        }
    }
}

#[test]
fn messages_of_every_size() {
    let directory = directory();
    let path = file(&directory, "small", &[7; 1000]);
    for size in ["1", "999", "1000", "1001", "64KiB", "1TiB"] {
        let report = json(&run(&["demo", "--json", "--message-size", size, path.to_str().unwrap()]));
        for row in report["rows"].as_array().unwrap() {
            assert_eq!(row["verified"], true, "messages of {size}: {row}");
        }
    }
}

#[test]
fn the_standard_input_and_pipes_are_read_to_the_end() {
    for script in [
        "head -c 300000 /dev/zero | $STAFFETTA demo --json -",
        "head -c 300000 /dev/zero | $STAFFETTA demo --json /dev/stdin",
        "$STAFFETTA demo --json <(head -c 300000 /dev/zero)",
        "d=$(mktemp -d) && mkfifo $d/p && (head -c 300000 /dev/zero > $d/p &) && \
            $STAFFETTA demo --json $d/p; e=$?; rm -r $d; exit $e",
    ] {
        let report = json(&shell(script));
        assert_eq!(report["bytes"], 300_000, "{script}");
        assert!(report["rows"].as_array().unwrap().iter().all(|row| row["verified"] == true));
    }
}

#[test]
fn the_table_has_a_row_each_then_bars_and_no_colour_in_a_pipe() {
    let directory = directory();
    let path = file(&directory, "small", &[1; 5000]);
    let output = run(&["demo", path.to_str().unwrap()]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    for word in ["mechanism", "tcp", "unix", "pipe", "2*", "verified", "GB/s", "known, not counted"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours in a pipe:\n{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_picture_is_drawn() {
    let directory = directory();
    let path = file(&directory, "small", &[1; 5000]);
    let picture = directory.path().join("out.svg");
    let output = run(&["demo", path.to_str().unwrap(), "--plot", picture.to_str().unwrap(), "--json"]);
    json(&output);
    let svg = std::fs::read_to_string(picture).expect("the picture");
    assert!(svg.starts_with("<svg") && svg.contains("tcp") && svg.contains("GB/s"), "{svg}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let output = shell("set -o pipefail; $STAFFETTA demo <(echo hello) | head -1");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
