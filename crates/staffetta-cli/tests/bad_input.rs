//! What users get wrong: a clear sentence, the documented exit code, and never a hang or a signal.

mod common;

use common::*;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const ENVIRONMENT: i32 = 4;

/// The command ends with `code`, and says each of `words`.
fn refused(output: std::process::Output, expected: i32, words: &[&str]) {
    let text = stderr(&output);
    assert_eq!(code(&output), expected, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(stdout(&output), "", "nothing is printed before the file is known to be good");
}

#[test]
fn a_missing_file() {
    refused(run(&["demo", "/no/such/file"]), INPUT, &["/no/such/file", "no such file", "check"]);
    refused(run(&["demo", "/etc/passwd/x"]), INPUT, &["/etc/passwd/x", "cannot be read"]);
    refused(run(&["demo", ""]), USAGE, &["FILE"]);
}

#[test]
fn an_empty_file() {
    let directory = directory();
    let path = file(&directory, "empty", b"");
    refused(run(&["demo", path.to_str().unwrap()]), INPUT, &["is empty", "choose"]);
    refused(run(&["demo", "-"]), INPUT, &["standard input is empty"]);
    refused(shell("$STAFFETTA demo <(true)"), INPUT, &["is empty"]);
}

#[test]
fn a_directory() {
    refused(run(&["demo", "/"]), INPUT, &["is a directory", "tar c"]);
    refused(shell("$STAFFETTA demo - < /"), INPUT, &["is a directory"]);
}

#[test]
fn an_unreadable_file() {
    // Fails for root too, unlike a file without permissions.
    refused(run(&["demo", "/proc/self/mem"]), INPUT, &["cannot be read", "check"]);
    let directory = directory();
    let path = file(&directory, "closed", b"x");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_err() {
        refused(run(&["demo", path.to_str().unwrap()]), INPUT, &["Permission denied", "ls -l"]);
    }
}

#[test]
fn a_file_larger_than_memory() {
    let directory = directory();
    let path = directory.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(1 << 43).expect("a sparse file");
    let path = path.to_str().unwrap();
    refused(run(&["demo", path]), INPUT, &["8 TiB", "at most", "available", "head -c"]);
}

#[test]
fn a_pipe_larger_than_memory_is_read_to_the_limit_only() {
    let output = shell("ulimit -v 100000; yes | $STAFFETTA demo -");
    refused(output, INPUT, &["goes on", "at most", "head -c"]);
}

#[test]
fn a_file_size_limit_is_no_signal() {
    let output = shell("ulimit -f 0; $STAFFETTA demo");
    refused(output, ENVIRONMENT, &["File too large", "ulimit -f"]);
}

#[test]
fn too_few_descriptors() {
    let output = shell("ulimit -n 5; $STAFFETTA demo");
    refused(output, ENVIRONMENT, &["Too many open files", "ulimit -n"]);
}

#[test]
fn sizes_that_are_none() {
    for size in ["0", "x", "1XB", "-1", "99999999999999T"] {
        let argument = format!("--message-size={size}");
        refused(run(&["demo", &argument]), USAGE, &["--message-size"]);
    }
}

#[test]
fn a_picture_that_cannot_be_written() {
    let output = run(&["demo", "--plot", "/no/such/directory/out.svg"]);
    refused(output, ENVIRONMENT, &["cannot write the picture", "/no/such/directory/out.svg"]);
}

#[test]
fn rows_and_cores_that_do_not_exist() {
    refused(run(&["bench", "--only", "nothing"]), USAGE, &["--only", "limit.cacheline"]);
    refused(run(&["bench", "--cores", "0,0"]), USAGE, &["--cores"]);
    refused(run(&["bench", "--cores", "0,100000"]), USAGE, &["100000"]);
    refused(run(&["bench", "--blocks", "0"]), USAGE, &["--blocks"]);
}

#[test]
fn one_core_is_not_enough_to_measure_two_processes() {
    let output = shell("taskset -c $(taskset -cp $$ | sed 's/.*: *//;s/[,-].*//') $STAFFETTA bench");
    refused(output, ENVIRONMENT, &["two cores"]);
}

#[test]
fn the_hidden_command_is_not_for_people() {
    let output = run(&["__side", "demo-sender", "--parent", "1"]);
    refused(output, USAGE, &["not by hand"]);
}
