//! The help teaches, the completions complete, the limits are told.

mod common;

use common::*;

#[test]
fn every_command_has_examples_and_exit_codes() {
    for (arguments, words) in [
        (&["--help"][..], &["Examples:", "staffetta demo", "Exit codes:", "130"][..]),
        (&["demo", "--help"], &["Examples:", "staffetta demo --json", "Exit codes:", "counted"]),
        (&["bench", "--help"], &["Examples:", "--only", "Exit codes:", "ratio", "eight raw variants"]),
        (&["run", "--help"], &["Examples:", "--outlive", "Exit codes:", "127", "launched!()"]),
        (&["list", "--help"], &["Examples:", "--json", "Exit codes:", "disturbs none"]),
        (&["inspect", "--help"], &["Examples:", "DOMAIN/CHANNEL", "--json", "Exit codes:"]),
        (
            &["doctor", "--help"],
            &[
                "Examples:",
                "--receive \"answers\" 4.0 s-->",
                "--strict",
                "Exit codes:",
                "something is wrong",
                "Not seen",
            ],
        ),
        (&["rate", "--help"], &["Examples:", "--interval", "--count", "--json", "Exit codes:"]),
        (
            &["send", "--help"],
            &["Examples:", "--raw", "--layout", "--wait", "One JSON value on each line", "Exit codes:"],
        ),
        (
            &["recv", "--help"],
            &["Examples:", "--consume", "--follow", "4 bytes, the least significant first", "130"],
        ),
        (
            &["soak", "--help"],
            &[
                "Examples:",
                "--flavor",
                "Exit codes:",
                "exactly once",
                "drop-oldest",
                "broadcast",
                "latest",
                "request-reply",
                "local",
            ],
        ),
        (&["limits", "--help"], &["Examples:", "--json"]),
        (&["completions", "--help"], &["Example", "bash"]),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 0);
        let text = stdout(&output);
        for word in words {
            assert!(text.contains(word), "{arguments:?}: `{word}` is missing in\n{text}");
        }
        assert!(!text.contains("__side"), "the hidden command shows");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("message-size"), "{shell}");
    }
    assert_eq!(code(&run(&["completions", "command.com"])), 2);
}

#[test]
fn the_bash_completions_load() {
    let output = shell("source <($STAFFETTA completions bash) && complete -p staffetta");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn limits_as_text_and_as_json() {
    let output = run(&["limits"]);
    assert!(stdout(&output).contains("kernel, smallest needed"));
    assert!(stdout(&output).contains("processes of a domain"));
    let limits = json(&run(&["limits", "--json"]));
    for limit in limits.as_array().expect("an array") {
        for key in ["name", "unit", "origin"] {
            assert!(limit[key].is_string(), "{limit}");
        }
    }
}

#[test]
fn no_command_is_a_usage_error() {
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["dance"])), 2);
    assert_eq!(code(&run(&["--version"])), 0);
}
