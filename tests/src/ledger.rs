//! What the harnesses have counted: one line of JSON for each run, added to one file.
//!
//! The file is `target/ledger.jsonl`, or the one that the environment variable `ANNALS_LEDGER` names.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

/// What one run of one harness has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The harness.
    pub harness: &'static str,
    /// Seeds, as `first..last`, or what stands for them.
    pub seeds: String,
    /// States that were opened and checked: after a crash, say.
    pub states: u64,
    /// Of these, those with a second crash inside a recovery.
    pub double_crashes: u64,
    /// Faults that were injected: kills, errors, cuts.
    pub faults: u64,
    /// Breaches of a promise.
    pub found: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Adds a line.
///
/// # Errors
/// Those of writing the file.
#[expect(
    clippy::disallowed_methods,
    reason = "the ledger is no part of a log; it is written beside the build"
)]
pub fn record(entry: &Entry) -> io::Result<()> {
    let path = std::env::var_os("ANNALS_LEDGER").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ledger.jsonl"),
        PathBuf::from,
    );
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    // One write, so that runs at the same time do not tear each other's lines.
    file.write_all(line(entry, &commit()).as_bytes())
}

fn line(entry: &Entry, commit: &str) -> String {
    let Entry {
        harness,
        seeds,
        states,
        double_crashes,
        faults,
        found,
        seconds,
    } = entry;
    format!(
        "{{\"harness\":\"{harness}\",\"commit\":\"{commit}\",\"seeds\":\"{seeds}\",\"states\":{states},\
         \"double_crashes\":{double_crashes},\"faults\":{faults},\"found\":{found},\"seconds\":{seconds:.1}}}\n"
    )
}

/// The commit that is checked out, or nothing where there is no git.
fn commit() -> String {
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
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
    fn a_line_is_json_with_every_count() {
        let entry = Entry {
            harness: "kills",
            seeds: "1..9".into(),
            states: 2,
            double_crashes: 1,
            faults: 3,
            found: 0,
            seconds: 1.25,
        };
        assert_eq!(
            line(&entry, "abc"),
            "{\"harness\":\"kills\",\"commit\":\"abc\",\"seeds\":\"1..9\",\"states\":2,\
             \"double_crashes\":1,\"faults\":3,\"found\":0,\"seconds\":1.2}\n"
        );
    }
}
