//! `annals import`: what is stored, what is refused, and how that is said.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use tempfile::tempdir;

use crate::process::{annals, cat, import, run};
use crate::sample;

fn event(fields: &str) -> String {
    format!("{{\"topic\":\"T\",\"payload\":1{fields}}}\n")
}

#[test]
fn a_hundred_thousand_events_come_back_byte_for_byte_across_segments() {
    let dir = tempdir().unwrap();
    let (log, file) = (dir.path().join("log"), dir.path().join("events.ndjson"));
    let sample = sample::lines(100_000);
    std::fs::write(&file, sample.text()).unwrap();
    let (log_arg, file_arg) = (log.to_str().unwrap(), file.to_str().unwrap());
    let summary = run([
        "import",
        log_arg,
        file_arg,
        "--batch",
        "500",
        "--segment-len",
        "1048576",
        "--json",
    ])
    .code(0)
    .json();
    assert_eq!(
        (
            summary["events"].as_u64(),
            summary["last_position"].as_u64()
        ),
        (Some(100_000), Some(100_000))
    );

    assert_eq!(
        sample.assert_prefix(&cat(&log, &[]).code(0).stdout),
        100_000
    );
    let stat = run(["stat", log_arg, "--json"]).code(0).json();
    assert!(stat["segments"].as_u64().unwrap() > 5, "{stat}");
}

#[test]
fn an_import_goes_on_where_the_log_ends() {
    let dir = tempdir().unwrap();
    let sample = sample::lines(30);
    let text = sample.text();
    let (first, second) = text.split_at(text.match_indices('\n').nth(11).unwrap().0 + 1);
    import(dir.path(), &["--batch", "5"], first).code(0);
    import(dir.path(), &["--buffered"], second).code(0);
    assert_eq!(
        sample.assert_prefix(&cat(dir.path(), &[]).code(0).stdout),
        30
    );
}

#[test]
fn an_import_of_nothing_says_where_the_log_ends() {
    let dir = tempdir().unwrap();
    import(dir.path(), &[], &event("").repeat(5)).code(0);
    import(dir.path(), &[], "\n")
        .code(0)
        .error("nothing stored; the log ends at position 5");
    let summary = import(dir.path(), &["--json"], "").code(0).json();
    assert_eq!(
        (&summary["events"], &summary["last_position"]),
        (&0.into(), &5.into())
    );
    assert_eq!(summary["recovery"]["outcome"], "clean");
}

#[test]
fn acknowledgements_are_the_last_position_of_each_commit() {
    let dir = tempdir().unwrap();
    let lines = event("").repeat(7);
    assert_eq!(
        import(dir.path(), &["--acks", "--batch", "3"], &lines)
            .code(0)
            .stdout,
        "3\n6\n7\n"
    );
    assert_eq!(
        import(dir.path(), &["--acks", "--buffered"], &event(""))
            .code(0)
            .stdout,
        "8\n"
    );
}

#[test]
fn an_acknowledgement_is_printed_as_soon_as_the_event_is_stored() {
    let dir = tempdir().unwrap();
    let mut child = annals(["import", dir.path().to_str().unwrap(), "-", "--acks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap()).lines();
    for position in 1..=3 {
        stdin.write_all(event("").as_bytes()).unwrap();
        assert_eq!(acks.next().unwrap().unwrap(), position.to_string());
        // Another process sees at once what was acknowledged, while the writer has the log open.
        assert_eq!(
            cat(dir.path(), &[]).code(0).stdout.lines().count(),
            position
        );
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_bad_line_stops_with_its_number_and_keeps_what_came_before() {
    for batch in ["1", "2", "100"] {
        let dir = tempdir().unwrap();
        let file = dir.path().join("events");
        let lines = event("").repeat(3) + "\n  \n" + "{\"topic\":\"T\"}\n" + &event("");
        std::fs::write(&file, lines).unwrap();
        let log = dir.path().join("log");
        let (log_arg, file_arg) = (log.to_str().unwrap(), file.to_str().unwrap());
        run(["import", log_arg, file_arg, "--batch", batch])
            .code(2)
            .error(&format!("{file_arg}:6: missing field `payload`"))
            .error("3 events stored before it, up to position 3");
        assert_eq!(cat(&log, &[]).code(0).stdout.lines().count(), 3);
    }
}

#[test]
fn what_the_log_refuses_is_a_bad_line_too() {
    for batch in ["1", "100"] {
        let dir = tempdir().unwrap();
        let long = format!("{{\"topic\":\"{}\",\"payload\":1}}\n", "t".repeat(1025));
        let lines = event("").repeat(5) + &long + &event("");
        import(dir.path(), &["--batch", batch], &lines)
            .code(2)
            .error("stdin:6: bytes of a topic: 1025, expected 1..=1024");
        assert_eq!(cat(dir.path(), &[]).code(0).stdout.lines().count(), 5);
    }
}

#[test]
fn a_batch_longer_than_the_log_takes_becomes_several_commits() {
    let dir = tempdir().unwrap();
    let wide = format!("{{\"topic\":\"T\",\"payload\":\"{}\"}}\n", "x".repeat(3000)).repeat(40);
    let options = ["--batch", "1000", "--segment-len", "65536", "--acks"];
    let acks = import(dir.path(), &options, &wide).code(0).stdout;
    assert!(
        acks.ends_with("40\n") && acks.lines().count() >= 8,
        "{acks}"
    );
    assert_eq!(cat(dir.path(), &[]).code(0).stdout.lines().count(), 40);
}

#[test]
fn an_unexpected_version_is_a_conflict_with_its_line() {
    for batch in ["1", "2", "100"] {
        let dir = tempdir().unwrap();
        let expecting = |version: u64| {
            event(&format!(
                r#","aggregate_id":"dog","expected_version":{version}"#
            ))
        };
        let lines = expecting(0) + &expecting(1) + &event("") + &expecting(1) + &expecting(3);
        import(dir.path(), &["--batch", batch], &lines)
            .code(1)
            .error("stdin:4: aggregate dog: last version is 2, expected 1");
        assert_eq!(cat(dir.path(), &[]).code(0).stdout.lines().count(), 3);
        // The version is compared with the log, not only with the lines before.
        import(dir.path(), &["--batch", batch], &expecting(0))
            .code(1)
            .error("stdin:1: ");
        import(
            dir.path(),
            &["--batch", batch],
            &(expecting(2) + &expecting(3)),
        )
        .code(0);
    }
}

#[test]
fn a_conflict_later_in_a_batch_keeps_the_lines_before_it() {
    let dir = tempdir().unwrap();
    let line = |id: &str, version: u64| {
        event(&format!(
            r#","aggregate_id":"{id}","expected_version":{version}"#
        ))
    };
    let lines = line("a", 0) + &line("b", 0) + &line("c", 7) + &line("d", 9);
    import(dir.path(), &["--batch", "10"], &lines)
        .code(1)
        .error("stdin:3: aggregate c");
    assert_eq!(cat(dir.path(), &[]).code(0).stdout.lines().count(), 2);
}

#[test]
fn a_version_is_checked_behind_lines_that_expect_nothing() {
    let dir = tempdir().unwrap();
    let lines = event(r#","aggregate_id":"a""#).repeat(2)
        + &event(r#","aggregate_id":"a","expected_version":2"#);
    import(dir.path(), &["--batch", "10"], &lines).code(0);
    import(dir.path(), &["--batch", "10"], &lines)
        .code(1)
        .error("stdin:3: ");
}

#[test]
fn wrong_usage_and_missing_input_exit_with_2() {
    let dir = tempdir().unwrap();
    let log = dir.path().to_str().unwrap();
    run(["import", log, "/nowhere/events"])
        .code(2)
        .error("/nowhere/events: cannot read");
    run(["import", log, log]).code(2).error("cannot read");
    assert!(
        run(["import", log, "-", "--batch", "0"])
            .code(2)
            .stderr
            .starts_with("annals: ")
    );
    assert!(run(["sing"]).code(2).stderr.starts_with("annals: "));
    run(["import", log, "-", "--segment-len", "1"])
        .code(2)
        .usage("'--segment-len <BYTES>': 1 is not in 65536..=2147483648");
    run(["--version"]).code(0);
    for command in ["demo", "import", "cat", "stat", "verify"] {
        assert!(run([command, "--help"]).code(0).stdout.contains("Example"));
        assert!(run(["help", command]).code(0).stdout.contains("Example"));
    }
}

#[test]
fn a_log_in_use_is_refused_to_a_second_writer() {
    let dir = tempdir().unwrap();
    let mut child = annals(["import", dir.path().to_str().unwrap(), "-", "--acks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(event("").as_bytes()).unwrap();
    let mut ack = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut ack)
        .unwrap();
    import(dir.path(), &[], &event("")).code(2).error("in use");
    let stat = run(["stat", dir.path().to_str().unwrap(), "--json"])
        .code(0)
        .json();
    assert_eq!(stat["recovery"]["outcome"], "in_use");
    drop(stdin);
    assert!(child.wait().unwrap().success());
    import(dir.path(), &[], &event("")).code(0);
}
