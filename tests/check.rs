//! `evenkeel check` as a pipeline runs it: what it prints, and how it ends.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The exit status, and what is printed.
fn check(arguments: &[&str]) -> (i32, String) {
    fed(arguments, Stdio::null())
}

/// The same with something to read from.
fn fed(arguments: &[&str], stdin: impl Into<Stdio>) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("check")
        .args(arguments)
        .stdin(stdin)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed)
}

#[test]
fn the_exit_status_is_as_fail_on_says() {
    let (error, warning) = (
        "tests/corpus/rules/GB003.yaml",
        "tests/corpus/rules/GB007.yaml",
    );
    for (arguments, status) in [
        (&["-f", error][..], 1),
        (&["-f", error, "--fail-on=never"], 0),
        (&["-f", warning], 0),
        (&["-f", warning, "--fail-on=warning"], 1),
        (
            &["-f", "tests/corpus/healthy-pair.yaml", "--fail-on=info"],
            0,
        ),
        (&["-f", "tests/corpus/none.yaml"], 2),
    ] {
        assert_eq!(check(arguments).0, status, "{arguments:?}");
    }
}

/// As a rendered chart comes.
#[test]
fn what_is_fed_is_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for arguments in [&["-f", "-"][..], &["-"]] {
        let file = File::open(corpus.join("rules/GB003.yaml")).unwrap();
        let (status, printed) = fed(arguments, file);
        assert_eq!(status, 1, "{printed}");
        assert!(
            printed.contains("GB003") && printed.contains("stdin:"),
            "{printed}"
        );
        let (status, printed) = fed(arguments, Stdio::null());
        assert_eq!(status, 2, "{arguments:?}: {printed}");
    }
}

#[test]
fn what_others_read_is_printed_alone() {
    let file = "tests/corpus/rules/GB003.yaml";
    let (status, log) = check(&["-f", file, "-o", "sarif"]);
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((status, &log["version"]), (1, &"2.1.0".into()));
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "GB003");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], file);
    let (status, lines) = check(&["-f", file, "-o", "github"]);
    assert_eq!(status, 1);
    let begin = format!("::error file={file},line=");
    assert!(lines.starts_with(&begin), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("::")), "{lines}");
}
