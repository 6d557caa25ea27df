//! The ledger: one line of JSON for each run of a harness, with what it tried and found.
//!
//! `ANNALS_LEDGER` names the file; else it is `ledger.jsonl` in the directory of the build. Lines are only ever added, so
//! that figures can be summed over many runs; `ANNALS_COMMIT` names the commit, else git is asked.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a run has to say.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The harness: a short name that stays.
    pub harness: &'a str,
    /// Seeds, from and up to but not including.
    pub seeds: (u64, u64),
    /// States or cases judged.
    pub states: u64,
    /// Of these, those with a second crash inside a recovery.
    pub double_crashes: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Promises found broken.
    pub found: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Entry<'_> {
    /// The entry as a line, without its end.
    pub fn line(&self, commit: &str) -> String {
        let mut line = String::new();
        // Names and commits hold nothing that JSON would have to escape.
        let _ = write!(
            line,
            r#"{{"harness":"{}","commit":"{commit}","seeds":[{},{}],"states":{},"double_crashes":{},"faults":{},"found":{},"seconds":{:.1}}}"#,
            self.harness,
            self.seeds.0,
            self.seeds.1,
            self.states,
            self.double_crashes,
            self.faults,
            self.found,
            self.elapsed.as_secs_f64()
        );
        line
    }

    /// Adds it to the ledger; answers where that is.
    ///
    /// # Errors
    /// When the file cannot be written.
    #[expect(
        clippy::disallowed_methods,
        reason = "no file of a log: what was found is told to people"
    )]
    pub fn append(&self) -> io::Result<PathBuf> {
        let path = path();
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut line = self.line(&commit());
        line.push('\n');
        // One write of a short line to a file opened for appending: two harnesses do not mix theirs.
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(line.as_bytes())?;
        Ok(path)
    }
}

fn path() -> PathBuf {
    std::env::var_os("ANNALS_LEDGER").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            target
                .unwrap_or_else(|| root.join("target"))
                .join("ledger.jsonl")
        },
        PathBuf::from,
    )
}

fn commit() -> String {
    std::env::var("ANNALS_COMMIT").unwrap_or_else(|_| {
        let output = Command::new("git")
            .args(["rev-parse", "--short=12", "HEAD"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        let name = output
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok());
        let name = name.map(|name| name.trim().to_owned());
        name.filter(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_of_json() {
        let entry = Entry {
            harness: "crash-points",
            seeds: (0, 8),
            states: 10,
            double_crashes: 1,
            faults: 0,
            found: 0,
            elapsed: Duration::from_millis(1500),
        };
        assert_eq!(
            entry.line("abc"),
            r#"{"harness":"crash-points","commit":"abc","seeds":[0,8],"states":10,"double_crashes":1,"faults":0,"found":0,"seconds":1.5}"#
        );
    }
}
