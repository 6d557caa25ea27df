//! `annals repair`: it explains, changes nothing unless told to, and leaves a log that opens for writing.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::tempdir;

use crate::inspection::{damage_event, fill};
use crate::process::{cat, import, run};

const LINE: &str = "{\"aggregate_id\":\"dog-1\",\"topic\":\"T\",\"payload\":\"after\"}\n";

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file());
    let named = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name != "LOCK")
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_sound_log_has_nothing_to_repair() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let log = dir.path().to_str().unwrap();
    let before = files(dir.path());
    let said = run(["repair", log]).code(0).stdout;
    assert!(said.contains("nothing to repair"), "{said}");
    let json = run(["repair", log, "--quarantine", "--yes", "--json"])
        .code(0)
        .json();
    assert_eq!(
        (json["needed"].as_bool(), json["repaired"].as_bool()),
        (Some(false), Some(false))
    );
    assert_eq!(files(dir.path()), before);
}

#[test]
fn damage_is_explained_then_quarantined_and_the_log_goes_on() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let file = damage_event(dir.path(), 20);
    let log = dir.path().to_str().unwrap();
    let before = files(dir.path());
    // The log was closed, so the damage lies in front of what is known to be durable.
    import(dir.path(), &[], LINE).code(1).error("repair");

    // Told, and left as it is.
    let said = run(["repair", log]).code(1).stdout;
    for words in [
        "cannot be opened for writing",
        "position 20",
        "1 event cannot be read",
        "--quarantine",
        "quarantine-0000000001-",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    run(["repair", log, "--quarantine", "--yes", "--dry-run"]).code(1);
    run(["repair", log, "--quarantine"]).code(2).error("--yes");
    run(["repair", log, "--yes"]).code(2);
    assert_eq!(files(dir.path()), before);

    let json = run(["repair", log, "--quarantine", "--yes", "--json"])
        .code(0)
        .json();
    assert_eq!(json["repaired"], true);
    let loss = &json["losses"][0];
    assert_eq!(
        (loss["first_position"].as_u64(), loss["events"].as_u64()),
        (Some(20), Some(1))
    );
    assert_eq!(loss["file"], file.to_str().unwrap());
    let kept = std::fs::read(loss["quarantine"].as_str().unwrap()).unwrap();
    let start = loss["offset"].as_u64().unwrap() as usize;
    let segment = file.file_name().unwrap().to_str().unwrap();
    assert_eq!(kept, before[segment][start..start + kept.len()]);

    import(dir.path(), &[], LINE).code(0);
    let printed = cat(dir.path(), &[]).code(1);
    assert_eq!(printed.stdout.lines().count(), 50);
    assert!(
        printed.stdout.contains("\"position\":51,"),
        "{}",
        printed.stdout
    );
    printed.error("quarantined");
    let verified = run(["verify", log, "--json"]).code(0).json();
    assert_eq!(verified["damages"].as_array().unwrap().len(), 0);
    assert_eq!(verified["quarantined"][0]["first_position"], 20);
    let words = run(["verify", log]).code(0).stdout;
    assert!(
        words.starts_with("quarantined: ") && words.contains("sound: 50 events"),
        "{words}"
    );
    assert!(
        run(["repair", log])
            .code(0)
            .stdout
            .contains("quarantined before")
    );
}

#[test]
fn a_log_that_is_written_to_or_none_at_all_is_not_repaired() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("none");
    run(["repair", missing.to_str().unwrap()])
        .code(2)
        .error("nothing is there");
    fill(dir.path());
    let writer = annals_engine::Log::open(dir.path()).unwrap();
    run(["repair", dir.path().to_str().unwrap()])
        .code(2)
        .error("in use");
    writer.close().unwrap();
}
