//! `annals stat` and `annals verify`: what they say of sound and of damaged logs.

use std::path::{Path, PathBuf};

use tempfile::tempdir;

use crate::process::{cat, import, run};

/// Fifty events whose payloads can be found in the file.
pub(crate) fn fill(dir: &Path) {
    let lines: String = (1..=50)
        .map(|number| {
            format!("{{\"aggregate_id\":\"dog-{}\",\"topic\":\"T\",\"payload\":\"payload-{number:03}\"}}\n", number % 5)
        })
        .collect();
    import(dir, &[], &lines).code(0);
}

/// Flips a bit in the payload of an event. Answers the file.
pub(crate) fn damage_event(dir: &Path, number: u64) -> PathBuf {
    let needle = format!("payload-{number:03}").into_bytes();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(place) = bytes
                .windows(needle.len())
                .position(|window| window == needle)
            {
                bytes[place] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                return path;
            }
        }
    }
    panic!("no segment holds {needle:?}");
}

#[test]
fn stat_has_its_keys_and_counts() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let log = dir.path().to_str().unwrap();
    let stat = run(["stat", log, "--json"]).code(0).json();
    let count = |key: &str| {
        stat[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {stat}"))
    };
    assert_eq!(
        (count("events"), count("aggregates"), count("last_position")),
        (50, 5, 50)
    );
    assert_eq!((count("first_position"), count("sealed_segments")), (1, 0));
    assert!(count("segments") >= 1 && count("format_version") >= 1);
    assert_eq!(count("bytes"), count("log_bytes") + count("index_bytes"));
    assert!(stat["memory"]["tail_index_bytes"].as_u64().unwrap() > 0);
    assert_eq!(stat["memory"]["sealed_index_bytes"], 0);
    assert_eq!(stat["recovery"]["outcome"], "clean");
    assert!(stat["recovery"]["damages"].as_array().unwrap().is_empty());
    assert!(stat["followers"].as_array().unwrap().is_empty());

    let followed = annals_engine::Log::open(dir.path()).unwrap();
    followed.set_follower("mail", 7).unwrap();
    followed.close().unwrap();
    let stat = run(["stat", log, "--json"]).code(0).json();
    assert_eq!(stat["followers"][0]["name"], "mail");
    assert_eq!(stat["followers"][0]["position"], 7);

    let table = run(["stat", log]).code(0).stdout;
    for word in [
        "events",
        "aggregates",
        "segments",
        "bytes",
        "recovery",
        "clean",
        "mail up to position 7",
    ] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn an_empty_log_is_sound() {
    let dir = tempdir().unwrap();
    import(dir.path(), &[], "").code(0);
    let log = dir.path().to_str().unwrap();
    let stat = run(["stat", log, "--json"]).code(0).json();
    assert_eq!(
        (stat["events"].as_u64(), stat["last_position"].as_u64()),
        (Some(0), Some(0))
    );
    assert_eq!(cat(dir.path(), &[]).code(0).stdout, "");
    run(["verify", log]).code(0);
}

#[test]
fn verify_reads_everything_and_finds_nothing() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let log = dir.path().to_str().unwrap();
    let report = run(["verify", log, "--json"]).code(0).json();
    assert_eq!(report["events"], 50);
    assert!(report["bytes"].as_u64().unwrap() > 50 * 50, "{report}");
    assert!(report["damages"].as_array().unwrap().is_empty(), "{report}");
    assert!(
        run(["verify", log])
            .code(0)
            .stdout
            .starts_with("sound: 50 events")
    );
}

#[test]
fn a_flipped_bit_is_found_and_the_rest_is_read() {
    let dir = tempdir().unwrap();
    fill(dir.path());
    let file = damage_event(dir.path(), 20);
    let log = dir.path().to_str().unwrap();

    let report = run(["verify", log, "--json"]).code(1).json();
    let damages = report["damages"].as_array().unwrap();
    assert!(!damages.is_empty(), "{report}");
    let about_20 = |damage: &serde_json::Value| {
        damage["first_position"]
            .as_u64()
            .is_some_and(|first| first <= 20)
            && damage["last_position"]
                .as_u64()
                .is_some_and(|last| last >= 20)
            && damage["file"] == file.to_str().unwrap()
            && damage["offset"].as_u64().is_some_and(|offset| offset > 0)
    };
    assert!(damages.iter().any(about_20), "{report}");
    let words = run(["verify", log]).code(1).stdout;
    assert_eq!(words.matches("damaged: ").count(), 1, "{words}");
    assert!(!words.contains("annals verify"), "{words}");

    let printed = cat(dir.path(), &[]).code(1);
    assert!(printed.stderr.starts_with("annals: "), "{}", printed.stderr);
    for number in (1..=50).filter(|number| *number != 20) {
        assert!(
            printed.stdout.contains(&format!("\"payload-{number:03}\"")),
            "{number} in {}",
            printed.stdout
        );
    }
    assert!(!printed.stdout.contains("\"position\":20,"));
}
