//! What `annals bench` promises: every workload that it names, as lines with fixed fields, and nothing left behind.
//!
//! No figure passes or fails here.

use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use crate::process::{Ran, run};

/// Runs it with few events in `dir`.
fn bench(dir: &Path, options: &[&str]) -> Ran {
    let mut args = vec!["bench", "--events", "2000", "--dir", dir.to_str().unwrap()];
    args.extend(options);
    run(args)
}

fn lines(ran: &Ran) -> Vec<Value> {
    let parsed = ran.stdout.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().unwrap()
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["workload"].as_str().unwrap())
        .collect()
}

/// Workload, unit, whether more is better, whether there are latencies, a raw limit, another workload beside it.
const LINES: [(&str, &str, bool, bool, bool, bool); 30] = [
    ("W1", "commits/s", true, true, true, false),
    ("W2.16", "events/s", true, true, false, false),
    ("W2.64", "events/s", true, true, false, false),
    ("W2.submit", "events/s", true, true, false, false),
    ("W3a", "events/s", true, true, true, false),
    ("W3b", "events/s", true, true, true, false),
    ("W4", "aggregates/s", true, true, false, false),
    ("W4hot", "ms", false, true, false, false),
    ("W5", "events/s", true, false, false, false),
    ("W5.topic", "events/s", true, false, false, false),
    ("W5.tag", "events/s", true, false, false, false),
    ("W6killed", "ms", false, false, false, false),
    ("W6killed_buffered", "ms", false, false, false, false),
    ("W6clean", "ms", false, false, false, false),
    ("W7bytes", "bytes/event", false, false, false, false),
    ("W7heap", "MiB", false, false, false, false),
    ("W8", "commits/s", true, true, false, true),
    ("W9.1", "events/s", true, true, false, true),
    ("W9.8", "events/s", true, true, false, true),
    ("WC", "events/s", true, true, false, true),
    ("W10.W7bytes", "bytes/event", false, false, false, false),
    ("W10.W7heap", "MiB", false, false, false, false),
    ("W10.W4", "aggregates/s", true, true, false, true),
    ("W10.scattered", "us/segment", false, true, false, false),
    ("W10.W1", "commits/s", true, true, false, true),
    ("W10.W3a", "events/s", true, true, false, true),
    ("W10.W6killed", "ms", false, false, false, false),
    ("W10.W6killed_buffered", "ms", false, false, false, false),
    ("W10.W6clean", "ms", false, false, false, false),
    ("W10.new_version_check", "ns", false, false, false, true),
];

#[test]
fn every_workload_is_a_line_with_its_fields() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("annals-bench-mine"), "mine").unwrap();
    let ran = bench(dir.path(), &["--json"]).code(0);
    let lines = lines(&ran);
    assert_eq!(names(&lines), LINES.map(|line| line.0));
    for (line, (name, unit, more_is_better, has_latency, has_raw, has_base)) in
        lines.iter().zip(LINES)
    {
        assert_eq!(line["unit"], unit, "{line}");
        assert_eq!(line["higher_is_better"], more_is_better, "{line}");
        // The one figure that is a difference may be anything.
        assert!(
            line["value"].as_f64().unwrap() > 0.0 || name == "W10.scattered",
            "{line}"
        );
        for (fields, are_there) in [
            (&["p50_us", "p99_us"][..], has_latency),
            (
                &["raw", "ratio_to_raw", "raw_p50_us", "raw_p99_us"],
                has_raw,
            ),
            (&["base", "base_value", "ratio_to_base"], has_base),
            (&["cores", "events"], true),
        ] {
            let is_there = |field: &&str| line.get(*field).is_some_and(|value| !value.is_null());
            // What was run beside it may be told without a ratio.
            assert!(
                !are_there || fields.iter().all(is_there),
                "{fields:?} in {line}"
            );
            assert!(
                are_there || has_base_alone(fields) || !fields.iter().any(is_there),
                "{fields:?} in {line}"
            );
        }
    }
    let text = ran.stdout.lines().next().unwrap();
    let order = [
        "workload",
        "value",
        "unit",
        "p50_us",
        "p99_us",
        "raw",
        "ratio_to_raw",
        "higher_is_better",
    ];
    let places = order.map(|field| text.find(&format!("\"{field}\":")).unwrap());
    assert!(places.is_sorted(), "{text}");

    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("annals-bench-mine")).unwrap(),
        "mine"
    );
}

fn has_base_alone(fields: &[&str]) -> bool {
    fields.contains(&"base")
}

#[test]
fn only_what_is_picked_is_run() {
    let dir = tempdir().unwrap();
    let ran = bench(dir.path(), &["--json", "--only", "W4,W5"]).code(0);
    assert_eq!(names(&lines(&ran)), ["W4", "W5", "W5.topic", "W5.tag"]);
}

#[test]
fn without_json_there_is_a_table() {
    let dir = tempdir().unwrap();
    let ran = bench(dir.path(), &["--only", "W1,W7bytes"]).code(0);
    let rows: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{}", ran.stdout);
    assert!(rows[0].starts_with("2,000 events"), "{}", rows[0]);
    assert!(
        rows[2].contains("commits/s") && rows[2].contains("raw"),
        "{}",
        rows[2]
    );
    assert!(rows[3].contains("in commits of 1:"), "{}", rows[3]);
    // Where it works is said before it starts.
    assert!(
        ran.stderr
            .contains(dir.path().file_name().unwrap().to_str().unwrap()),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_cannot_be_run_is_said_before_anything_is_made() {
    let dir = tempdir().unwrap();
    bench(dir.path(), &["--only", "W1,W11"])
        .code(2)
        .error("no workload \"W11\"; there are W1 W2.16");
    let huge = ["--events", "18446744073709551615", "--only", "W5"];
    let mut args = vec!["bench", "--dir", dir.path().to_str().unwrap()];
    args.extend(huge);
    run(args)
        .code(2)
        .error("are needed; give a --dir with more room");
    bench(&dir.path().join("missing"), &[])
        .code(2)
        .error("give a --dir that exists");
    run(["bench", "--events", "10"]).code(2).usage("1000");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
