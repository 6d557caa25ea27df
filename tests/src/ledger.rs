//! What the harnesses have counted: one line of JSON for each run, added to one file.
//!
//! The file is `target/ledger.jsonl`, or the one that the environment variable `ANNALS_LEDGER` names; none when that is
//! empty. `./test` adds lines of its own, for what is no harness; it leaves out what it has not counted.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

mod table;

pub use table::table;

/// What one run of one harness has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The harness.
    pub harness: String,
    /// The commit it was built from, as it was checked out; `-dirty` behind it when something was changed since. Empty
    /// where there is no git. Filled in when the entry is [recorded](record).
    pub commit: String,
    /// Seeds, as `first..last`, or what stands for them.
    pub seeds: String,
    /// States that were opened and checked: after a crash, say.
    pub states: u64,
    /// Of these, those with a second crash inside a recovery.
    pub double_crashes: u64,
    /// Faults that were injected: kills, errors, cuts.
    pub faults: u64,
    /// Tests that were run, of what is made of tests.
    pub tests: u64,
    /// Inputs or schedules that were run, of what counts them.
    pub executions: u64,
    /// Bugs that were planted for a harness to find.
    pub planted: u64,
    /// Of these, those that were found.
    pub caught: u64,
    /// Breaches of a promise. What was planted is none.
    pub found: u64,
    /// How long it took.
    pub seconds: f64,
    /// Why it, or a part of it, could not be run, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// The ledger; `None` when there is to be none.
pub fn path() -> Option<PathBuf> {
    match std::env::var_os("ANNALS_LEDGER") {
        None => Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ledger.jsonl")),
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
    }
}

/// Adds a line, for the commit that is checked out.
///
/// # Errors
/// Those of writing the file.
#[expect(
    clippy::disallowed_methods,
    reason = "the ledger is no part of a log; it is written beside the build"
)]
pub fn record(entry: &Entry) -> io::Result<()> {
    let Some(path) = path() else { return Ok(()) };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    let entry = Entry {
        commit: commit(),
        seconds: (entry.seconds * 10.0).round() / 10.0,
        ..entry.clone()
    };
    let line = serde_json::to_string(&entry)? + "\n";
    // One write, so that runs at the same time do not tear each other's lines.
    file.write_all(line.as_bytes())
}

/// The entries of a ledger.
///
/// # Errors
/// The number of the first line that is none, and why.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let lines = (1..).zip(text.lines());
    let entries = lines.map(|(number, line)| {
        let entry = serde_json::from_str(line);
        entry.map_err(|error| format!("line {number} is no entry: {error}"))
    });
    entries.collect()
}

/// The commit that is checked out, or nothing where there is no git.
fn commit() -> String {
    let git = Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    git.ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_with_every_count_and_is_read_again() {
        let entry = Entry {
            harness: "kills".into(),
            commit: "abc".into(),
            seeds: "1..9".into(),
            states: 2,
            double_crashes: 1,
            faults: 3,
            tests: 4,
            executions: 5,
            planted: 7,
            caught: 6,
            found: 0,
            seconds: 1.5,
            skipped: Some("no \"mount\"".into()),
        };
        let line = serde_json::to_string(&entry).expect("it can be written");
        assert_eq!(
            line,
            r#"{"harness":"kills","commit":"abc","seeds":"1..9","states":2,"double_crashes":1,"faults":3,"tests":4,"#
                .to_owned()
                + r#""executions":5,"planted":7,"caught":6,"found":0,"seconds":1.5,"skipped":"no \"mount\""}"#
        );
        assert_eq!(parse(&line), Ok(vec![entry]));
    }

    #[test]
    fn what_is_not_counted_is_left_out_and_what_is_no_entry_is_told() {
        let sound = r#"{"harness":"loom","commit":"abc","tests":9,"found":0,"seconds":3}"#;
        let read = parse(sound).expect("it is an entry");
        assert_eq!((read[0].tests, read[0].states), (9, 0));
        let torn = parse(&format!("{sound}\n{}", &sound[..20]));
        assert!(torn.is_err_and(|error| error.starts_with("line 2 ")));
    }
}
