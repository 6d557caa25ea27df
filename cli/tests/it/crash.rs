//! What an import promises when its process is killed: what was acknowledged is there, nothing else than the
//! input is, and in its order.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use tempfile::tempdir;

use crate::process::{annals, cat, import, run};
use crate::sample::{self, Sample};

const LINES: u64 = 30_000;

/// Starts an import, kills it behind the acknowledgement with this number, and answers the last one printed.
fn import_killed_after(acks_wanted: usize, log: &Path, file: &Path, options: &[&str]) -> usize {
    let mut args = vec![
        "import",
        log.to_str().unwrap(),
        file.to_str().unwrap(),
        "--acks",
    ];
    args.extend(options);
    let mut child = annals(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    for _ in 0..acks_wanted {
        last = acks.next().unwrap().unwrap().parse().unwrap();
    }
    child.kill().unwrap();
    // What it had printed before the signal came was acknowledged too. The last line may be cut.
    while let Some(Ok(ack)) = acks.next() {
        match ack.parse::<usize>() {
            Ok(position) if position > last && position <= LINES as usize => last = position,
            _ => break,
        }
    }
    child.wait().unwrap();
    last
}

fn check_killed_import(acks_wanted: usize, options: &[&str], shown_before_recovery: bool) {
    let dir = tempdir().unwrap();
    let (log, file) = (dir.path().join("log"), dir.path().join("events"));
    let sample: Sample = sample::lines(LINES);
    std::fs::write(&file, sample.text()).unwrap();
    let acknowledged = import_killed_after(acks_wanted, &log, &file, options);
    assert!(
        acknowledged < LINES as usize,
        "killed too late to prove anything"
    );

    // As the crash left it: read-only, nothing is mended.
    let printed = cat(&log, &[]).code(0);
    let shown = sample.assert_prefix(&printed.stdout);
    if shown_before_recovery {
        assert!(
            shown >= acknowledged,
            "{shown} events shown, {acknowledged} acknowledged"
        );
    }
    if shown > 0 {
        let stat = run(["stat", log.to_str().unwrap(), "--json"])
            .code(0)
            .json();
        assert_eq!(stat["recovery"]["outcome"], "needs_recovery", "{stat}");
        printed.error("more events than shown may be found when it is opened for writing");
    }

    // Opened by the next writer, even one that has nothing to write.
    let opened = import(&log, &[], "").code(0);
    let recovered = cat(&log, &[]).code(0);
    assert_eq!(recovered.stderr, "");
    let kept = sample.assert_prefix(&recovered.stdout);
    if kept > shown {
        opened.usage("recovered: ");
    }
    assert!(
        kept >= acknowledged.max(shown),
        "{kept} events kept, {acknowledged} acknowledged, {shown} shown"
    );
    run(["verify", log.to_str().unwrap()]).code(0);

    // And the import can go on with the next line.
    let rest: String = sample.input[kept..]
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    import(&log, &["--batch", "1000"], &rest).code(0);
    assert_eq!(
        sample.assert_prefix(&cat(&log, &[]).code(0).stdout),
        LINES as usize
    );
}

#[test]
fn every_acknowledged_event_survives_kill_9() {
    for acks_wanted in [1, 40, 300] {
        check_killed_import(acks_wanted, &["--segment-len", "65536"], true);
    }
}

#[test]
fn every_acknowledged_batch_survives_kill_9() {
    for acks_wanted in [1, 150] {
        check_killed_import(
            acks_wanted,
            &["--batch", "17", "--segment-len", "262144"],
            true,
        );
    }
}

#[test]
fn every_buffered_event_survives_the_end_of_its_process() {
    // A reader beside the log shows what is durable only; whoever recovers it finds the rest.
    for acks_wanted in [1, 3_000] {
        check_killed_import(
            acks_wanted,
            &["--buffered", "--segment-len", "65536"],
            false,
        );
    }
}
