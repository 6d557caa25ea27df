//! What the commands say of damaged logs: the right file and place, everything once, numbers that agree, and exit codes
//! that scripts can go by.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::inspection::{damage_event, fill};
use crate::process::{cat, import, run};

const LINE: &str = "{\"aggregate_id\":\"dog-1\",\"topic\":\"T\",\"payload\":\"after\"}\n";

/// A closed log of several segments, in commits of twenty events, and its name.
fn rolled(events: u64) -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    append(&log, events);
    (dir, log)
}

fn append(log: &Path, events: u64) {
    let filler = "x".repeat(200);
    let lines: String = (1..=events)
        .map(|number| {
            format!(
                "{{\"aggregate_id\":\"dog-{}\",\"topic\":\"T\",\"payload\":\"payload-{number:03}{filler}\"}}\n",
                number % 5
            )
        })
        .collect();
    import(log, &["--segment-len", "65536", "--batch", "20"], &lines).code(0);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn cut(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

/// The last segment that holds events: the one behind it is a spare.
fn last_segment(log: &Path) -> PathBuf {
    let number = run(["stat", text(log), "--json"]).json()["segments"]
        .as_u64()
        .unwrap();
    log.join(format!("{number:010}.seg"))
}

/// What `verify` says of the one damage in the log, and `cat`, and `repair`, as file and first position.
#[track_caller]
fn check_end_is_lost(log: &Path, file: &Path, first: u64, last: u64) {
    let report = run(["verify", text(log), "--json"]).code(1).json();
    let damages = report["damages"].as_array().unwrap();
    assert_eq!(damages.len(), 1, "{report}");
    let damage = &damages[0];
    assert_eq!(damage["file"], text(file), "{report}");
    assert_eq!(damage["first_position"], first, "{report}");
    assert_eq!(damage["last_position"], last, "{report}");
    assert_eq!(report["lost_events"], last + 1 - first, "{report}");
    let offset = damage["offset"].as_u64().unwrap();

    let printed = cat(log, &[]).code(1);
    assert_eq!(printed.stdout.lines().count() as u64, first - 1);
    let lost = last + 1 - first;
    printed.error(&format!(
        "{lost} events cannot be read: {}: damaged at offset {offset}, positions {first} to {last}: ",
        file.display()
    ));
    // Whoever looks by key is told, too: what is lost may belong to it.
    for options in [["--topic", "T"], ["--aggregate", "dog-1"]] {
        cat(log, &options).code(1).error(text(file));
        let backward = [options[0], options[1], "--reverse"];
        cat(log, &backward).code(1).error(text(file));
    }

    let plan = run(["repair", text(log), "--json"]).code(1).json();
    assert_eq!(plan["losses"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["losses"][0]["file"], text(file), "{plan}");
    for said in [&plan["losses"][0], &plan["refused"]] {
        assert_eq!(said["first_position"], first, "{plan}");
        assert_eq!(said["last_position"], last, "{plan}");
    }
    assert_eq!(plan["forgets_versions"], true, "{plan}");
    let words = run(["repair", text(log)]).code(1).stdout;
    assert_eq!(words.matches("damaged: ").count(), 1, "{words}");
    assert!(!words.contains("no repair needed"), "{words}");
    import(log, &[], LINE).code(1).error(text(file));
}

#[test]
fn a_lost_end_is_told_where_it_is() {
    let (_dir, log) = rolled(500);
    let last = last_segment(&log);
    std::fs::remove_file(&last).unwrap();
    check_end_is_lost(&log, &last, 441, 500);
    std::fs::write(&last, []).unwrap();
    check_end_is_lost(&log, &last, 441, 500);

    for kept in [None, Some(0), Some(4096), Some(6000)] {
        let dir = tempdir().unwrap();
        fill(dir.path());
        let only = dir.path().join("0000000001.seg");
        match kept {
            None => std::fs::remove_file(&only).unwrap(),
            Some(len) => cut(&only, len),
        }
        let first = match kept {
            Some(6000) => cat(dir.path(), &[]).stdout.lines().count() as u64 + 1,
            _ => 1,
        };
        assert_eq!(first > 1, kept == Some(6000));
        check_end_is_lost(dir.path(), &only, first, 50);
    }
}

#[test]
fn a_header_that_is_damaged_says_no_position_that_cannot_be() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let only = dir.path().join("0000000001.seg");
    let mut bytes = std::fs::read(&only).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&only, bytes).unwrap();
    check_end_is_lost(dir.path(), &only, 1, 50);
    for command in ["verify", "repair", "stat"] {
        let said = run([command, text(dir.path()), "--json"]).stdout;
        assert!(!said.contains(&u64::MAX.to_string()), "{command}: {said}");
    }
}

#[test]
fn an_event_in_a_larger_commit_is_one_event() {
    let (_dir, log) = rolled(500);
    for (number, needs_repair) in [(30, false), (495, true)] {
        let file = damage_event(&log, number);
        let report = run(["verify", text(&log), "--json"]).code(1).json();
        let damages = report["damages"].as_array().unwrap();
        assert_eq!(damages.len(), 1, "{report}");
        assert_eq!(
            (&damages[0]["first_position"], &damages[0]["last_position"]),
            (&Value::from(number), &Value::from(number))
        );
        assert_eq!(report["events"], 499);
        assert_eq!(report["lost_events"], 1);
        let words = run(["verify", text(&log)]).code(1).stdout;
        assert!(words.contains("; 1 event cannot be read; "), "{words}");

        let plan = run(["repair", text(&log), "--json"]).code(1).json();
        let loss = &plan["losses"][0];
        assert_eq!(loss["first_position"], number, "{plan}");
        assert_eq!(loss["last_position"], number, "{plan}");
        assert_eq!(loss["events"], 1);
        assert_eq!(plan["refused"].is_object(), needs_repair, "{plan}");
        let printed = cat(&log, &[]).code(1);
        assert_eq!(printed.stdout.lines().count(), 499);
        let printed = printed.error(&format!("position {number}: "));
        assert!(!printed.stderr.contains("offset 0,"), "{}", printed.stderr);

        // Mended again for the next one.
        let needle = format!("payload-{number:03}").into_bytes();
        let mut bytes = std::fs::read(&file).unwrap();
        let mut damaged = needle.clone();
        damaged[0] ^= 1;
        let place = bytes.windows(needle.len()).position(|at| at == damaged);
        bytes[place.unwrap()] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        run(["verify", text(&log)]).code(0);
    }
}

#[test]
fn versions_that_an_index_counts_are_not_forgotten() {
    let (_dir, log) = rolled(500);
    damage_event(&log, 30);
    let plan = run(["repair", text(&log), "--json"]).code(1).json();
    assert_eq!(plan["forgets_versions"], false, "{plan}");
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let plan = run(["repair", text(&log), "--json"]).code(1).json();
    assert_eq!(plan["forgets_versions"], true, "{plan}");
}

#[test]
fn indexes_that_were_deleted_are_no_fault_of_the_last_writer() {
    let (_dir, log) = rolled(500);
    std::fs::remove_file(log.join("0000000001.idx")).unwrap();
    let said = import(&log, &[], LINE).code(0).stderr;
    assert!(said.contains("1 index file derived anew"), "{said}");
    assert!(!said.contains("did not close"), "{said}");
}

#[test]
fn what_can_be_read_again_needs_no_repair() {
    let (_dir, log) = rolled(500);
    let file = log.join("0000000002.seg");
    let sound = std::fs::read(&file).unwrap();
    cut(&file, 30_000);
    run(["repair", text(&log), "--quarantine", "--yes"]).code(0);
    std::fs::write(&file, sound).unwrap();
    let plan = run(["repair", text(&log), "--json"]).code(0).json();
    assert_eq!(
        (plan["needed"].as_bool(), plan["healed"].as_u64()),
        (Some(false), Some(1))
    );
    let words = run(["repair", text(&log)]).code(0).stdout;
    assert!(words.contains("can be read again"), "{words}");
    // Nobody has to be asked, and then it is off the list.
    let words = run(["repair", text(&log), "--quarantine"]).code(0).stdout;
    assert!(words.contains("off the list"), "{words}");
    let plan = run(["repair", text(&log), "--json"]).code(0).json();
    assert_eq!(plan["healed"], 0);
    run(["verify", text(&log)]).code(0);
}

#[test]
fn a_sound_log_is_not_asked_about() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let log = text(dir.path());
    let said = run(["repair", log, "--quarantine"]).code(0).stdout;
    assert!(said.contains("nothing to repair"), "{said}");
    let plan = run(["repair", log, "--quarantine", "--json"])
        .code(0)
        .json();
    assert_eq!(plan["needed"], false);
    // Of a damaged one there is the plan, and why it was not run.
    damage_event(dir.path(), 20);
    let refused = run(["repair", log, "--quarantine", "--json"]).code(2);
    assert_eq!(refused.json()["repaired"], false);
    refused.error("--yes");
}

#[test]
fn a_backup_is_not_made_shorter_by_a_log_that_lost_its_end() {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("to"));
    fill(&log);
    run(["backup", text(&log), text(&to), "--copy"]).code(0);
    cut(&log.join("0000000001.seg"), 6000);
    let shown = cat(&log, &[]).code(1).stdout.lines().count();
    let refused = run(["backup", text(&log), text(&to), "--copy"]).code(2);
    refused
        .error(&format!("can be read up to position {shown}, "))
        .error("up to position 50, and the log has lost its end")
        .error("was not changed");
    run(["verify", text(&to)]).code(0);
}

#[test]
fn a_backup_that_is_cut_short_says_what_it_has_left() {
    let (dir, log) = rolled(500);
    let to = dir.path().join("to");
    let missing = log.join("0000000002.seg");
    let sound = std::fs::read(&missing).unwrap();
    std::fs::remove_file(&missing).unwrap();
    run(["backup", text(&log), text(&to)])
        .code(2)
        .error(&format!("{} holds an unfinished backup", to.display()));
    std::fs::write(&missing, sound).unwrap();
    run(["backup", text(&log), text(&to)]).code(0);
    run(["verify", text(&to)]).code(0);
    // The earlier one is what it was, when a later one fails.
    append(&log, 500);
    std::fs::remove_file(log.join("0000000004.seg")).unwrap();
    run(["backup", text(&log), text(&to)])
        .code(2)
        .error(&format!("the earlier backup in {} is", to.display()));
    run(["verify", text(&to)]).code(0);
    assert_eq!(cat(&to, &[]).code(0).stdout.lines().count(), 500);
}

#[test]
fn a_backup_inside_the_log_is_refused() {
    let (dir, log) = rolled(100);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&log, &link).unwrap();
    for to in [
        log.join("backup"),
        log.join("a/b"),
        link.join("backup"),
        dir.path().join("log/../log/backup"),
        log.clone(),
    ] {
        run(["backup", text(&log), text(&to)])
            .code(2)
            .error("a place inside the log");
    }
    assert!(!log.join("backup").exists() && !log.join("a").exists());
    run(["backup", text(&link), text(&dir.path().join("logs"))]).code(0);
}

#[test]
fn heads_that_know_of_a_lost_event_are_sound() {
    let dir = tempdir().unwrap();
    let log = dir.path();
    let filler = "x".repeat(200);
    // Each event is the only one of its aggregate.
    let lines: String = (1..=2000)
        .map(|number| {
            format!("{{\"aggregate_id\":\"dog-{number}\",\"topic\":\"T\",\"payload\":\"payload-{number:03}{filler}\"}}\n")
        })
        .collect();
    import(log, &["--segment-len", "65536", "--batch", "20"], &lines).code(0);
    let names = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap());
    let mut heads = names.filter(|entry| entry.file_name().to_str().unwrap().starts_with("heads-"));
    assert!(heads.next().is_some(), "there are heads to be asked");
    damage_event(log, 30);
    let report = run(["verify", text(log), "--json"]).code(1).json();
    assert_eq!(report["damages"].as_array().unwrap().len(), 1, "{report}");
}
