//! `annals backup` and `annals restore`: what is in a backup comes back, and nothing that is not whole does.

use tempfile::tempdir;

use crate::inspection::{damage_event, fill};
use crate::process::{cat, import, run};

const LINE: &str = "{\"aggregate_id\":\"dog-1\",\"topic\":\"T\",\"payload\":\"after\"}\n";

#[test]
fn a_backup_of_a_log_in_use_is_verified_and_restored() {
    let dir = tempdir().unwrap();
    let (log, to, restored) = (
        dir.path().join("log"),
        dir.path().join("to"),
        dir.path().join("restored"),
    );
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    fill(&log);
    let writer = annals_engine::Log::open(&log).unwrap();
    let json = run(["backup", &text(&log), &text(&to), "--json"])
        .code(0)
        .json();
    assert_eq!(
        (
            json["first_position"].as_u64(),
            json["last_position"].as_u64()
        ),
        (Some(1), Some(50))
    );
    assert!(json["copied_bytes"].as_u64().unwrap() > 2500, "{json}");
    let _ = writer
        .append(annals_engine::NewEvent::new("T", "{}"))
        .unwrap();
    writer.close().unwrap();
    let said = run(["backup", &text(&log), &text(&to), "--copy"])
        .code(0)
        .stdout;
    assert!(said.contains("positions 1 to 51"), "{said}");
    run(["verify", &text(&to)]).code(0);
    assert_eq!(cat(&to, &[]).code(0).stdout, cat(&log, &[]).code(0).stdout);
    import(&to, &[], LINE).code(2).error("backup");

    let said = run(["restore", &text(&to), &text(&restored)])
        .code(0)
        .stdout;
    assert!(said.contains("position 51"), "{said}");
    assert_eq!(
        cat(&restored, &[]).code(0).stdout,
        cat(&log, &[]).code(0).stdout
    );
    import(&restored, &[], LINE).code(0);
    run(["verify", &text(&restored)]).code(0);
    run(["restore", &text(&to), &text(&restored)])
        .code(2)
        .error("empty");
    run(["backup", &text(&log), &text(&restored)])
        .code(2)
        .error("no backup");
}

#[test]
fn damage_in_a_log_or_in_its_backup_is_told() {
    let dir = tempdir().unwrap();
    let (log, to, restored) = (
        dir.path().join("log"),
        dir.path().join("to"),
        dir.path().join("restored"),
    );
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    fill(&log);
    run(["backup", &text(&log), &text(&to)]).code(0);
    damage_event(&to, 20);
    let report = run(["verify", &text(&to), "--json"]).code(1).json();
    assert!(report["damages"].as_array().unwrap().len() >= 2, "{report}");
    run(["restore", &text(&to), &text(&restored)])
        .code(1)
        .error("checksum");
    import(&restored, &[], LINE).code(2).error("cut short");
    std::fs::remove_dir_all(&to).unwrap();
    run(["restore", &text(&to), &text(&restored)])
        .code(2)
        .error("no backup");

    damage_event(&log, 30);
    let said = run(["backup", &text(&log), &text(&to)]).code(1).stdout;
    assert!(
        said.contains("damaged: ") && said.contains("position 30"),
        "{said}"
    );
}
