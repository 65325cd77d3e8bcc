//! The examples run, end by themselves, and print what they say they print.

mod common;

use common::*;

#[test]
fn pipeline() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pipeline.sh");
    let name = format!("example-pipeline-{}", std::process::id());
    let output = shell(&format!("timeout 60 '{script}' '{name}'"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    // Samples 0, 3, 6 and 9 are zero.
    let bar = |n: u32| format!("sample {n}: {}\n", "*".repeat(5 * (n as usize % 3)));
    let expected: String = (0..10).filter(|n| n % 3 != 0).map(bar).collect();
    assert_eq!(stdout(&output), expected);
}

#[test]
fn the_examples_of_the_help_parse() {
    for (command, of) in
        [("send", "send"), ("recv", "recv"), ("list", "list"), ("inspect", "inspect"), ("rate", "rate")]
    {
        let text = stdout(&run(&[command, "--help"]));
        assert!(text.contains(&format!("staffetta {of}")), "{text}");
    }
    // A frame as the help of `send` writes it.
    let name = format!("example-frame-{}", std::process::id());
    let output = shell(&format!(
        "printf '\\2\\0\\0\\0hi' | timeout 60 $STAFFETTA send {name}/text --raw --layout '[u8]' &
         timeout 60 $STAFFETTA recv {name}/text --consume --wait; wait"
    ));
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("[104,105]\n", ""));
}
