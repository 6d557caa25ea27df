//! `annals cat`: which events, in which order.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use tempfile::tempdir;

use crate::process::{annals, cat, import, run};

const UUID: &str = "0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b9a01";

/// Ten events: aggregates a, b and a UUID, topics A, B and C, tags x and y.
fn fill(dir: &Path) {
    let line = |id: &str, topic: &str, tags: &str| {
        format!("{{\"aggregate_id\":{id},\"topic\":\"{topic}\",\"payload\":1,\"tags\":{tags}}}\n")
    };
    let uuid = format!("\"{UUID}\"");
    let lines = line("\"a\"", "A", "[\"x\"]")
        + &line("\"b\"", "A", "[\"y\"]")
        + &line("\"a\"", "B", "[\"x\",\"y\"]")
        + &line("null", "C", "[]")
        + &line("\"a\"", "C", "[\"x\"]")
        + &line(&uuid, "A", "[\"y\",\"x\"]")
        + &line("\"b\"", "B", "[]")
        + &line(&uuid, "B", "[\"x\"]")
        + &line("null", "A", "[\"x\",\"y\"]")
        + &line("\"a\"", "A", "[]");
    import(dir, &["--batch", "4"], &lines).code(0);
}

#[track_caller]
fn positions(dir: &Path, options: &[&str]) -> Vec<u64> {
    let printed = cat(dir, options).code(0).stdout;
    printed
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["position"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

#[test]
fn filters_choose_and_combine() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    fill(dir);
    assert_eq!(positions(dir, &[]), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(positions(dir, &["--json", "--from", "9"]), [9, 10]);
    assert_eq!(positions(dir, &["--from", "11"]), [] as [u64; 0]);
    assert_eq!(positions(dir, &["--limit", "3", "--from", "2"]), [2, 3, 4]);
    assert_eq!(positions(dir, &["--limit", "0"]), [] as [u64; 0]);
    assert_eq!(positions(dir, &["--topic", "A"]), [1, 2, 6, 9, 10]);
    assert_eq!(
        positions(dir, &["--topic", "B", "--topic", "C"]),
        [3, 4, 5, 7, 8]
    );
    assert_eq!(positions(dir, &["--tag", "x"]), [1, 3, 5, 6, 8, 9]);
    assert_eq!(positions(dir, &["--tag", "x", "--tag", "y"]), [3, 6, 9]);
    assert_eq!(
        positions(dir, &["--tag", "x", "--topic", "A", "--topic", "C"]),
        [1, 5, 6, 9]
    );
    assert_eq!(positions(dir, &["--tag", "nobody"]), [] as [u64; 0]);
    assert_eq!(positions(dir, &["--aggregate", "a"]), [1, 3, 5, 10]);
    assert_eq!(positions(dir, &["--aggregate", UUID]), [6, 8]);
    assert_eq!(
        positions(
            dir,
            &[
                "--aggregate",
                "a",
                "--tag",
                "x",
                "--topic",
                "B",
                "--topic",
                "C"
            ]
        ),
        [3, 5]
    );
    assert_eq!(
        positions(dir, &["--aggregate", "a", "--from", "3", "--limit", "2"]),
        [3, 5]
    );
}

#[test]
fn reverse_is_newest_first_and_starts_at_from() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    fill(dir);
    assert_eq!(
        positions(dir, &["--reverse"]),
        [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    );
    assert_eq!(
        positions(dir, &["--reverse", "--from", "4", "--limit", "2"]),
        [4, 3]
    );
    assert_eq!(positions(dir, &["--reverse", "--topic", "B"]), [8, 7, 3]);
    assert_eq!(
        positions(dir, &["--reverse", "--aggregate", "a", "--from", "9"]),
        [5, 3, 1]
    );
}

#[test]
fn an_unknown_aggregate_and_a_missing_log_are_said() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    cat(dir.path(), &["--aggregate", "c"])
        .code(2)
        .error("aggregate c has no events");
    for command in ["cat", "stat", "verify"] {
        run([command, "/nowhere/log"]).code(2).error("/nowhere/log");
    }
    let other = tempdir().unwrap();
    std::fs::write(other.path().join("letter.txt"), "Dear log").unwrap();
    cat(other.path(), &[])
        .code(2)
        .error(other.path().to_str().unwrap());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let dir = tempdir().unwrap();
    // More than a pipe and the buffers hold.
    let lines = format!("{{\"topic\":\"T\",\"payload\":\"{}\"}}\n", "x".repeat(1000)).repeat(1000);
    import(dir.path(), &["--batch", "1000"], &lines).code(0);
    let mut child = annals(["cat", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("{\"position\":1,"));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn follow_prints_what_is_there_and_then_what_comes() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    fill(dir);
    let dir_name = dir.to_str().unwrap();
    let follow = |options: &[&str]| {
        let args = ["cat", dir_name, "--follow"].into_iter();
        let mut child = annals(args.chain(options.iter().copied()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    let position = |line: std::io::Result<String>| -> u64 {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        event["position"].as_u64().unwrap()
    };
    let (mut child, mut lines) = follow(&["--from", "8"]);
    let (mut of_new, mut new_lines) = follow(&["--aggregate", "new", "--tag", "x"]);
    let (mut limited, limited_lines) = follow(&["--topic", "N", "--limit", "2"]);
    let (mut ahead, mut lines_ahead) = follow(&["--from", "14"]);
    for expected in 8..=10 {
        assert_eq!(position(lines.next().unwrap()), expected);
    }
    for expected in [11, 13, 15] {
        let line = |tag: &str| {
            format!(
                "{{\"aggregate_id\":\"new\",\"topic\":\"N\",\"payload\":1,\"tags\":[\"{tag}\"]}}\n"
            )
        };
        import(dir, &["--batch", "1"], &(line("x") + &line("y"))).code(0);
        assert_eq!(position(lines.next().unwrap()), expected);
        assert_eq!(position(lines.next().unwrap()), expected + 1);
        assert_eq!(position(new_lines.next().unwrap()), expected);
    }
    assert_eq!(position(lines_ahead.next().unwrap()), 14);
    assert_eq!(limited_lines.map(position).collect::<Vec<_>>(), [11, 12]);
    assert!(limited.wait().unwrap().success());
    for child in [&mut child, &mut of_new, &mut ahead] {
        assert!(child.try_wait().unwrap().is_none(), "it goes on");
        child.kill().unwrap();
        let _ = child.wait().unwrap();
    }
    cat(dir, &["--follow", "--reverse"])
        .code(2)
        .usage("--reverse");
}
